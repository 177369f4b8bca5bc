//! Policies that cannot be used: each is a good one with one thing changed.

use super::*;

/// Every field that a policy can have, but those of Sigstore.
fn whole() -> String {
    let digest = format!("sha256:{}", "ab".repeat(32));
    format!(
        r#"apiVersion: weightseal/v1
kind: Policy
metadata: {{ name: production }}
revoked:
  digests: ["{digest}"]
  keys: ["{hex}"]
  certificates: ["0A:FF"]
identities:
  release:
    key: {{ file: keys/1.pub }}
  acme-ca:
    certificate:
      anchors: {{ file: keys/root.pem }}
      identity: release@acme.example
  anybody:
    certificate:
      anchors: {{ file: keys/root.pem }}
      any_identity: true
  inline:
    key:
      pem: |
{pem}
rules:
  - models: ["acme/*", "acme/llama-3"]
    mode: enforce
    require: {{ signatures: 1, of: [release, acme-ca, anybody, inline] }}
    name: acme/llama-3
    min_version: 1.2
    signed_after: 2026-01-01T00:00:00Z
    assurance: hashed
    digests: ["{digest}"]
    revoked: {{ digests: ["{digest}"], keys: ["{hex}"], certificates: ["1"] }}
    unsigned: {{ allow: ["*.md", "docs/**"] }}
    allow_symlinks: true
  - models: ["acme/**"]
    require: {{ of: [release] }}
    name_is_model_id: true
  - models: ["**"]
    mode: warn
    require: {{ of: [release] }}
    identity: any-model-of-these
"#,
        hex = "cd".repeat(32),
        pem = key(2).public_pem().lines().map(|line| format!("        {line}\n")).collect::<String>(),
    )
}

#[test]
fn a_policy_with_every_field_is_read_and_each_field_misspelt_is_refused_where_it_stands() {
    let world = World::new();
    let whole = whole();
    let policy = world.parse(&whole).unwrap();
    assert_eq!((policy.name(), policy.counts()), (Some("production"), (4, 3)));
    let mut fields = 0;
    for (at, _) in whole.match_indices(": ").chain(whole.match_indices(":\n")) {
        let start = whole[..at]
            .rfind(|c: char| !c.is_alphanumeric() && !"_-".contains(c))
            .map_or(0, |before| before + 1);
        let line = whole[..at].matches('\n').count() + 1;
        // Names of identities are no fields; what is misspelt of them is unknown to the rules.
        let misspelt = format!("{}x{}", &whole[..at], &whole[at..]);
        let error = world.parse(&misspelt).expect_err(&whole[start..at]);
        assert_eq!(error.code(), Code::PolicyInvalid, "{error}");
        let word = format!("\"{}x\"", &whole[start..at]);
        let named = error.to_string().contains(&word) || error.to_string().contains("there is no identity");
        assert!(named, "{word}: {error}");
        if error.to_string().contains(&word) {
            assert!(error.to_string().starts_with(&format!("policy:{line}:")), "{line}: {error}");
        }
        fields += 1;
    }
    assert!(fields > 40, "{fields}");
    for required in ["apiVersion: weightseal/v1\n", "kind: Policy\n"] {
        world.invalid(&whole.replace(required, ""), "is missing");
    }
    world.invalid(&whole.replace("weightseal/v1", "weightseal/v2"), "\"weightseal/v2\" is none of");
    world.invalid(&whole.replace("kind: Policy", "kind: Rules"), "\"Rules\" is none of");
}

#[test]
fn yaml_that_could_be_read_in_two_ways_is_refused() {
    let world = World::new();
    let good = rule("name: acme/llama-3");
    world.parse(&good).unwrap();
    for (from, to, part) in [
        ("name: acme", "name: &x acme", "an anchor"),
        ("name: acme/llama-3", "name: *x", "an alias"),
        ("name: acme", "name: !!str acme", "a tag"),
        ("name: acme/llama-3", "<<: { name: x }", "a merge key"),
        ("name: acme/llama-3", "name: acme/llama-3\n    name: acme/llama-2", "given twice"),
        ("kind: Policy\n", "kind: Policy\nkind: Policy\n", "given twice"),
        ("name: acme/llama-3", "name:", "the value is empty"),
        ("name: acme/llama-3", "name: ''", "the value is empty"),
        ("name: acme/llama-3", "name: acme/\u{202e}llama", "cannot be seen"),
        ("name: acme/llama-3", "name: [acme/llama-3]", "a list stands where a text is expected"),
        ("[\"acme/*\"]", "acme/*", "stands where a list is expected"),
        ("rules:", "---\nrules:", "a second document"),
    ] {
        assert!(good.contains(from), "{from}");
        world.invalid(&good.replace(from, to), part);
    }
    world.invalid("", "empty");
    world.invalid("- 1\n", "a list stands where a mapping is expected");
    // It may be a key.
    world.invalid("wXJ2k9\n", "1:1: a text stands where a mapping is expected");
    world.invalid(&format!("{good}#{}", "x".repeat(2 << 20)), "larger than 1048576 bytes");
    let path = world.path("policy.yaml");
    fs::write(&path, format!("{good}#{}", "x".repeat(2 << 20))).unwrap();
    assert_eq!(PolicyFile::read(&path).unwrap_err().code(), Code::PolicyInvalid);
    assert_eq!(PolicyFile::read(world.path("none.yaml")).unwrap_err().code(), Code::PolicyAbsent);
}

#[test]
fn rules_that_mean_nothing_or_contradict_themselves_are_refused() {
    let world = World::new();
    for (lines, part) in [
        ("", "nothing binds the model"),
        ("require: { of: [] }\nname: x", "nobody may sign"),
        ("require: { of: [nobody] }\nname: x", "there is no identity \"nobody\""),
        ("require: { of: [release, release] }\nname: x", "given twice"),
        ("require: { signatures: 2, of: [release] }\nname: x", "2 signatures are demanded of 1 identities"),
        ("require: { signatures: 0, of: [release] }\nname: x", "0 signatures"),
        ("require: { signatures: -1, of: [release] }\nname: x", "a whole number"),
        ("require: { signatures: '1', of: [release] }\nname: x", "a whole number"),
        ("require: {}\nname: x", "the field of is missing"),
        ("name: x\nname_is_model_id: true", "contradict each other"),
        ("name: x\nidentity: any-model-of-these", "any-model-of-these, and binds"),
        ("identity: any", "\"any\" is none of"),
        ("min_version: 1.2\nidentity: any-model-of-these", "goes with name"),
        ("name: x\nmin_version: latest", "is not a version"),
        ("digests: []", "would accept every model"),
        ("digests: [abc]", "abc"),
        ("digests: [blake3:00]", "00"),
        ("name: x\nsigned_after: 2026-01-01", "is not a time"),
        ("name: x\nmode: off", "\"off\" is none of enforce, warn"),
        ("name: x\nassurance: none", "\"none\" is none of"),
        ("name: x\nallow_symlinks: yes", "true or false"),
        ("name: x\nallow_symlinks: 'true'", "true or false"),
        ("name: x\nunsigned: { allow: [a***b] }", "three asterisks"),
        ("name: x\nrevoked: { keys: [abc] }", "abc"),
        ("name: x\nrevoked: { certificates: [serial] }", "serial"),
        ("name: x\nrevoked: { digests: ['md5:00'] }", "md5"),
    ] {
        world.invalid(&rule(lines), part);
    }
    let good = rule("name: x");
    world.parse(&good).unwrap();
    for (from, to, part) in [
        ("[\"acme/*\"]", "[]", "for no model"),
        ("[\"acme/*\"]", "[\"a***\"]", "three asterisks"),
        ("[\"acme/*\"]", "[a, a]", "given twice"),
        ("  - models", "  - {}\n  - models", "is missing"),
        ("rules:", "rules: []\nx:", "there is no field \"x\""),
        (
            "  release:",
            "  spare: { key: { file: keys/2.pub } }\n  release:",
            "no rule names the identity \"spare\"",
        ),
        ("  release:", "  're lease':", "other characters"),
        ("{ key: { file: keys/1.pub } }", "{}", "exactly one of key, certificate, sigstore"),
        ("{ key: { file: keys/1.pub } }", "{ key: { file: a, pem: b } }", "exactly one of file, pem"),
        (
            "{ key: { file: keys/1.pub } }",
            "{ certificate: { anchors: { file: keys/root.pem } } }",
            "any_identity: true",
        ),
        (
            "{ key: { file: keys/1.pub } }",
            "{ certificate: { anchors: { file: keys/root.pem }, identity: a, any_identity: true } }",
            "and not both",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        world.invalid(&good.replacen(from, to, 1), part);
    }
    world.invalid_with(&good.replace("keys/1.pub", "keys/none.pub"), Code::KeyAbsent, "keys/none.pub");
    world.invalid_with(&good.replace("keys/1.pub", "keys/root.pem"), Code::KeyMalformed, "keys/root.pem");
    let anchors = good
        .replace("key: { file: keys/1.pub }", "certificate: { anchors: { file: keys/1.pub }, identity: a }");
    world.invalid_with(&anchors, Code::KeyMalformed, "keys/1.pub");
    world.invalid_with(&good.replace("file: keys/1.pub", "pem: nothing"), Code::KeyMalformed, "policy:4:");
}

#[test]
fn everything_that_is_wrong_is_told_in_the_order_of_its_place() {
    let world = World::new();
    let path = world.path("policy.yaml");
    let text = rule("min_version: x\nmode: warn\ndigests: []\nname: n\nname_is_model_id: true");
    fs::write(&path, text.replace("keys/1.pub", "keys/none.pub")).unwrap();
    let errors = PolicyFile::check(&path).unwrap_err();
    let codes: Vec<Code> = errors.iter().map(Error::code).collect();
    assert_eq!(
        codes,
        [Code::KeyAbsent, Code::PolicyInvalid, Code::PolicyInvalid, Code::PolicyInvalid],
        "{errors:?}"
    );
    assert!(errors[0].to_string().starts_with(&format!("{}:4:", path.display())), "{errors:?}");
    assert!(PolicyFile::read(&path).unwrap_err().help().contains("3 more"));
    fs::write(&path, rule("nam: x\nmode: warn").replace("key: ", "kee: ")).unwrap();
    assert_eq!(PolicyFile::check(&path).unwrap_err().len(), 2);
    fs::write(&path, rule("name: x")).unwrap();
    assert!(PolicyFile::check(&path).is_ok());
}
