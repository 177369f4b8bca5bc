//! Policy files: one that is good, and one change of it at a time.

use std::{fs, path::Path};

use testkit::pki::{Key, KeyKind, Shape};
use weightseal::{
    Accept, Algorithm, Assurance, Bundle, CertificateSigner, Code, Error, Hashing, Mode, Model,
    POLICY_SCHEMA, Policy, PolicyFile, PrivateKey, PublicKey, Replace, Run,
};

use crate::good::{FILES, refused, signer, verified, write_files};

mod refused;
#[cfg(feature = "sigstore")]
mod sigstore;

/// The id of the model that the good policy is for.
const ID: &str = "acme/llama-3";

/// A folder with a model, its signatures, keys and a policy.
struct World {
    dir: testkit::TempDir,
}

fn key(seed: u64) -> Key {
    Key::new(KeyKind::Ed25519, seed)
}

impl World {
    fn new() -> World {
        let world = World { dir: testkit::temporary().unwrap() };
        write_files(&world.path("model"), FILES);
        fs::create_dir(world.path("keys")).unwrap();
        for seed in 1..=3 {
            fs::write(world.path(&format!("keys/{seed}.pub")), key(seed).public_pem()).unwrap();
        }
        fs::write(world.path("keys/root.pem"), Shape::Plain.case(KeyKind::P256).anchors_pem()).unwrap();
        world
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn model(&self) -> Model {
        Model::open(self.path("model")).unwrap().id(ID)
    }

    /// The model as this name and version, signed by the key of this seed.
    fn signed(&self, seed: u64, name: &str, version: &str) -> Bundle {
        let model = self.model().release(Some(name.into()), Some(version.into()));
        model.sign(&Hashing::files(Algorithm::Sha256), &signer(&key(seed)), &Run::new()).unwrap()
    }

    fn parse(&self, text: &str) -> Result<PolicyFile, Error> {
        PolicyFile::parse(text.as_bytes(), self.dir.path())
    }

    /// The policy that a text comes to for the model.
    #[track_caller]
    fn policy(&self, text: &str) -> Policy {
        self.parse(text).unwrap().rule_for(ID, &Run::new()).unwrap().into_policy()
    }

    #[track_caller]
    fn invalid(&self, text: &str, part: &str) {
        self.invalid_with(text, Code::PolicyInvalid, part);
    }

    #[track_caller]
    fn invalid_with(&self, text: &str, code: Code, part: &str) {
        let error = self.parse(text).expect_err(text);
        assert_eq!(error.code(), code, "{error}\n{text}");
        assert!(error.to_string().contains(part), "{error}\n{text}");
        assert_eq!(error.class().exit(), 2);
    }
}

/// A policy with one rule, whose further lines these are.
fn rule(lines: &str) -> String {
    let of = "require: { of: [release] }";
    let of = if lines.contains("require:") { "" } else { of };
    let identities: String = [("release", 1), ("second", 2), ("third", 3)]
        .iter()
        .filter(|(name, _)| *name == "release" || lines.contains(name))
        .map(|(name, seed)| format!("  {name}: {{ key: {{ file: keys/{seed}.pub }} }}\n"))
        .collect();
    let lines: String = lines.lines().map(|line| format!("    {}\n", line.trim())).collect();
    format!(
        "apiVersion: weightseal/v1\nkind: Policy\nidentities:\n{identities}rules:\n  - models: [\"acme/*\"]\n    {of}\n{lines}"
    )
}

#[test]
fn the_most_specific_rule_applies_and_a_tie_is_an_error() {
    let world = World::new();
    let rules = |patterns: &[&str]| {
        let mut text = rule("name: x").split("rules:").next().unwrap().to_owned() + "rules:\n";
        for pattern in patterns {
            text.push_str(&format!(
                "  - {{ models: [\"{pattern}\"], require: {{ of: [release] }}, name: x }}\n"
            ));
        }
        text
    };
    let policy = world.parse(&rules(&["**", "acme/*", "acme/llama-3", "*/llama-3"])).unwrap();
    for (id, number) in [
        ("acme/llama-3", 3),
        ("acme/llama-2", 2),
        ("other/llama-3", 4),
        ("other/llama-2", 1),
        ("acme/llama-3/x", 1),
        ("Acme/llama-3", 4),
    ] {
        assert_eq!(policy.rule_for(id, &Run::new()).unwrap().report().rule, number, "{id}");
        assert_eq!(policy.explain(id).unwrap().policy.rule, number, "{id}");
    }
    let explained = policy.explain("acme/llama-3").unwrap();
    assert_eq!(explained.others.iter().map(|other| other.rule).collect::<Vec<_>>(), [4, 2, 1]);

    let policy = world.parse(&rules(&["acme/*-3", "acme/3-*"])).unwrap();
    assert_eq!(policy.rule_for("acme/x-3", &Run::new()).unwrap().report().rule, 1);
    let error = policy.rule_for("acme/3-3", &Run::new()).unwrap_err();
    assert_eq!((error.code(), error.class().exit()), (Code::PolicyAmbiguous, 2));
    assert_eq!(policy.explain("acme/3-3").unwrap_err().code(), Code::PolicyAmbiguous);
    let error = policy.rule_for("other/x", &Run::new()).unwrap_err();
    assert_eq!((error.code(), error.class().exit()), (Code::PolicyNoRule, 1));
    world.invalid_with(&rules(&["acme/*", "x", "acme/*"]), Code::PolicyAmbiguous, "rule 1 has the pattern");
}

#[test]
fn a_model_verifies_by_its_rule_and_the_report_says_which() {
    let world = World::new();
    let path = world.path("policy.yaml");
    fs::write(&path, rule("name: acme/llama-3")).unwrap();
    let file = PolicyFile::read(&path).unwrap();
    let policy = file.rule_for(ID, &Run::new()).unwrap().into_policy();
    let bundles = [world.signed(1, ID, "1.2")];
    let report = verified(&world.model(), &policy, &bundles);
    let applied = report.policy.as_ref().unwrap();
    assert_eq!(
        (applied.rule, applied.line, applied.pattern.as_str(), applied.mode),
        (1, 6, "acme/*", Mode::Enforce)
    );
    assert_eq!(applied.digest, format!("sha256:{}", crate::good::sha256(&fs::read(&path).unwrap())));
    assert_eq!((applied.digest.as_str(), applied.path.as_deref()), (file.digest(), path.to_str()));
    assert_eq!(report.signatures[0].notes, ["accepted as release"]);
    assert!(report.to_string().contains("policy: rule 1 in "), "{report}");

    refused(&world.model(), &policy, &[world.signed(2, ID, "1.2")], &[Code::KeyNotTrusted]);
    refused(&world.model(), &policy, &[world.signed(1, "acme/llama-2", "1.2")], &[Code::NameNotExpected]);
    refused(&world.model(), &policy, &[], &[Code::SignatureMissing]);
    // A rule is for the model that it was looked up for.
    refused(&world.model().id("acme/llama-2"), &policy, &bundles, &[Code::ModelNotExpected]);
    fs::write(world.path("model/config.json"), "{}").unwrap();
    let report = refused(&world.model(), &policy, &bundles, &[Code::FileChanged]);
    assert!(report.policy.is_some());
}

#[test]
fn what_binds_the_model_is_demanded() {
    let world = World::new();
    let bundle = world.signed(1, ID, "1.2");
    let digest = bundle.unverified_statement().unwrap().manifest().root_digest().to_string();
    let other = format!("sha256:{}", "0".repeat(64));
    let check = |lines: &str| world.policy(&rule(lines));
    let model = world.model();
    let good = std::slice::from_ref(&bundle);
    verified(&model, &check("name_is_model_id: true"), good);
    refused(
        &model,
        &check("name_is_model_id: true"),
        &[world.signed(1, "x", "1.2")],
        &[Code::NameNotExpected],
    );
    verified(&model, &check(&format!("digests: [\"{other}\", \"{digest}\"]")), good);
    refused(&model, &check(&format!("digests: [\"{other}\"]")), good, &[Code::DigestNotExpected]);
    let report = verified(&model, &check("identity: any-model-of-these"), good);
    assert!(report.bound.is_empty());
    let unbound = check("mode: warn");
    assert!(verified(&model, &unbound, good).bound.is_empty());

    for (version, code) in [
        ("1.2", None),
        ("1.10", None),
        ("1.1.9", Some(Code::VersionTooLow)),
        ("1", Some(Code::VersionTooLow)),
        ("1.2-rc1", Some(Code::VersionIncomparable)),
        ("latest", Some(Code::VersionIncomparable)),
    ] {
        let policy = check("name: acme/llama-3\nmin_version: 1.2");
        let bundles = [world.signed(1, ID, version)];
        match code {
            None => assert_eq!(verified(&model, &policy, &bundles).bound.len(), 2, "{version}"),
            Some(code) => drop(refused(&model, &policy, &bundles, &[code])),
        }
    }
    let nameless = model.clone().release(Some(ID.into()), None);
    let nameless = nameless.sign(&Hashing::files(Algorithm::Sha256), &signer(&key(1)), &Run::new()).unwrap();
    let policy = check("name: acme/llama-3\nmin_version: 1.2");
    refused(&model, &policy, &[nameless], &[Code::VersionNotExpected]);
}

#[test]
fn what_is_revoked_by_the_rule_or_by_the_policy_is_refused() {
    let world = World::new();
    let bundles = [world.signed(1, ID, "1.2")];
    let digest = bundles[0].unverified_statement().unwrap().manifest().root_digest().to_string();
    let fingerprint = PublicKey::from_pem(key(1).public_pem().as_bytes()).unwrap().fingerprint();
    let good = rule("name: acme/llama-3");
    verified(&world.model(), &world.policy(&good), &bundles);
    for (what, code) in [
        (format!("digests: [\"{digest}\"]"), Code::ModelRevoked),
        (format!("keys: [\"{}\"]", fingerprint.to_uppercase()), Code::KeyRevoked),
    ] {
        let own = rule(&format!("name: acme/llama-3\nrevoked: {{ {what} }}"));
        let all = good.replace("rules:", &format!("revoked: {{ {what} }}\nrules:"));
        for text in [own, all] {
            let report = refused(&world.model(), &world.policy(&text), &bundles, &[code]);
            assert!(report.signatures[0].identity.is_some());
        }
    }
}

#[test]
fn certificates_are_those_of_whom_the_policy_names() {
    let world = World::new();
    let case = Shape::Plain.case(KeyKind::P256);
    let private = PrivateKey::from_pem(case.key().pkcs8_pem().as_bytes(), || Ok(None)).unwrap();
    let certificates =
        CertificateSigner::new(private, case.leaf_pem().as_bytes(), case.intermediates_pem().as_bytes())
            .unwrap();
    let model = world.model().release(Some(ID.into()), None);
    let bundles = [model.sign(&Hashing::files(Algorithm::Sha256), &certificates, &Run::new()).unwrap()];
    let with = |who: &str, lines: &str| {
        let text = rule(&format!("name: acme/llama-3\n{lines}"));
        let certificate = format!("certificate: {{ anchors: {{ file: keys/root.pem }}, {who} }}");
        world.policy(&text.replace("key: { file: keys/1.pub }", &certificate))
    };
    let named = with("identity: signer@example.com", "");
    let report = verified(&world.model(), &named, &bundles);
    let weightseal::Identity::Certificate { serial, .. } = report.signatures[0].identity.clone().unwrap()
    else {
        panic!("{report}")
    };
    verified(&world.model(), &with("any_identity: true", ""), &bundles);
    refused(&world.model(), &with("identity: other@example.com", ""), &bundles, &[Code::CertificateIdentity]);
    let revoked = with("any_identity: true", &format!("revoked: {{ certificates: [\"{serial}\"] }}"));
    refused(&world.model(), &revoked, &bundles, &[Code::CertificateRevoked]);
}

#[test]
fn several_signers_are_different_ones_and_mean_the_same_content() {
    let world = World::new();
    let [one, two, three] = [1, 2, 3].map(|seed| world.signed(seed, ID, "1.2"));
    let of = |require: &str| world.policy(&rule(&format!("name: acme/llama-3\nrequire: {{ {require} }}")));
    let model = world.model();
    let both = of("of: [release, second]");
    verified(&model, &both, &[one.clone(), two.clone()]);
    // All of them, unless a number is given.
    refused(&model, &both, std::slice::from_ref(&one), &[Code::TooFewSignatures]);
    refused(&model, &both, &[one.clone(), one.clone()], &[Code::TooFewSignatures]);
    let report =
        refused(&model, &both, &[one.clone(), three.clone()], &[Code::TooFewSignatures, Code::KeyNotTrusted]);
    assert!(report.signatures[0].accepted && !report.signatures[1].accepted);
    let two_of_three = of("signatures: 2, of: [release, second, third]");
    for pair in [[&one, &two], [&two, &three], [&three, &one]] {
        verified(&model, &two_of_three, &pair.map(Clone::clone));
    }
    let one_of_two = of("signatures: 1, of: [release, second]");
    for bundle in [&one, &two] {
        verified(&model, &one_of_two, std::slice::from_ref(bundle));
    }
    let report = verified(&model, &one_of_two, &[two.clone(), three.clone()]);
    assert!(!report.signatures[1].accepted && report.signatures[1].notes[0].contains("key-not-trusted"));

    // The second signer signs in shards: each statement is true, but they are not the same.
    let shards = model.clone().release(Some(ID.into()), Some("1.2".into()));
    let shards =
        shards.sign(&Hashing::shards(Algorithm::Sha256, 16).unwrap(), &signer(&key(2)), &Run::new()).unwrap();
    refused(&model, &both, &[one.clone(), shards], &[Code::StatementsDiffer]);

    // The second signature is made with the first one beside the model, which it leaves out.
    let beside = world.path("model/model.sig");
    one.write(&beside, Replace::Signature).unwrap();
    let mut later = world.model().release(Some(ID.into()), Some("1.2".into()));
    later.leave_out_signature(&beside);
    let second = later.sign(&Hashing::files(Algorithm::Sha256), &signer(&key(2)), &Run::new()).unwrap();
    verified(&model, &both, &[Bundle::read(&beside).unwrap(), second]);
}

#[test]
fn one_key_under_two_names_is_one_signer() {
    let world = World::new();
    fs::copy(world.path("keys/1.pub"), world.path("keys/2.pub")).unwrap();
    let policy = world.policy(&rule("name: acme/llama-3\nrequire: { of: [release, second] }"));
    let bundle = world.signed(1, ID, "1.2");
    let report = refused(&world.model(), &policy, &[bundle.clone(), bundle], &[Code::TooFewSignatures]);
    assert_eq!(report.signatures[0].notes, ["accepted as release, second"]);
}

#[test]
fn only_what_may_be_unsigned_is_tolerated() {
    let world = World::new();
    let bundles = [world.signed(1, ID, "1.2")];
    let policy =
        |allow: &str| world.policy(&rule(&format!("name: acme/llama-3\nunsigned: {{ allow: [{allow}] }}")));
    let put = |name: &str| write_files(&world.path("model"), [(name, &b"new"[..])]);
    verified(&world.model(), &policy("\"*.md\""), &bundles);
    put("NOTES.md");
    assert_eq!(verified(&world.model(), &policy("\"*.md\""), &bundles).counts.unsigned, 1);
    refused(&world.model(), &policy("\"*.txt\", notes.md"), &bundles, &[Code::FileUnsigned]);
    refused(&world.model(), &policy(""), &bundles, &[Code::FileUnsigned]);
    put("docs/a/b.md");
    refused(&world.model(), &policy("\"*.md\""), &bundles, &[Code::FileUnsigned]);
    verified(&world.model(), &policy("\"*.md\", \"docs/**\""), &bundles);
    // A link is no file, whatever it is called.
    std::os::unix::fs::symlink("NOTES.md", world.path("model/link.md")).unwrap();
    refused(&world.model(), &policy("\"*.md\", \"docs/**\""), &bundles, &[Code::SymlinkRefused]);
    fs::remove_file(world.path("model/link.md")).unwrap();
    // What is signed is checked all the same.
    put("README.md");
    refused(&world.model(), &policy("\"**\""), &bundles, &[Code::FileChanged]);
}

#[test]
fn links_are_followed_where_signer_and_rule_both_say_so() {
    let world = World::new();
    std::os::unix::fs::symlink("config.json", world.path("model/link.json")).unwrap();
    let linked = world.model().allow_symlinks(true).release(Some(ID.into()), None);
    let bundles = [linked.sign(&Hashing::files(Algorithm::Sha256), &signer(&key(1)), &Run::new()).unwrap()];
    let policy = |lines: &str| world.policy(&rule(&format!("name: acme/llama-3\n{lines}")));
    verified(&world.model(), &policy("allow_symlinks: true"), &bundles);
    refused(&world.model(), &policy("allow_symlinks: false"), &bundles, &[Code::SymlinkRefused]);
    refused(&world.model(), &policy(""), &bundles, &[Code::SymlinkRefused]);
}

#[test]
fn settings_of_a_model_do_not_weaken_a_policy_file() {
    let world = World::new();
    let bundles = [world.signed(1, ID, "1.2")];
    let policy = world.policy(&rule("name: acme/llama-3"));
    verified(&world.model(), &policy, &bundles);
    let mut ignoring = world.model();
    assert!(ignoring.ignore_path("config.json"));
    for model in [world.model().allow_symlinks(true), world.model().ignore_unsigned_files(true), ignoring] {
        refused(&model, &policy, &bundles, &[Code::ArgumentsConflict]);
    }
}

#[test]
fn demands_beside_a_policy_add_to_it_or_contradict_it() {
    let world = World::new();
    let bundles = [world.signed(1, ID, "1.2")];
    let digest = bundles[0].unverified_statement().unwrap().manifest().root_digest().to_string();
    let other = format!("sha256:{}", "0".repeat(64));
    let policy = || world.policy(&rule(&format!("name: acme/llama-3\ndigests: [\"{digest}\", \"{other}\"]")));
    let model = world.model();
    verified(&model, &policy(), &bundles);
    verified(
        &model,
        &policy().also(Policy::new().digest(&digest).unwrap().version("1.2")).unwrap(),
        &bundles,
    );
    let both = policy().also(Policy::new().digest(&other).unwrap()).unwrap();
    refused(&model, &both, &bundles, &[Code::DigestNotExpected]);
    refused(
        &model,
        &policy().also(Policy::new().version("1.3")).unwrap(),
        &bundles,
        &[Code::VersionNotExpected],
    );
    refused(
        &model,
        &policy().also(Policy::new().revoke_digest(&digest).unwrap()).unwrap(),
        &bundles,
        &[Code::ModelRevoked],
    );
    let error = policy().also(Policy::new().name("acme/llama-2")).unwrap_err();
    assert_eq!((error.code(), error.class().exit()), (Code::ArgumentsConflict, 2));
    let lenient = Policy::new().mode(Mode::Warn).assurance(Assurance::Stated).require(1).accept(accept(2));
    refused(&model, &policy().also(lenient).unwrap(), &[world.signed(2, ID, "1.2")], &[Code::KeyNotTrusted]);
}

fn accept(seed: u64) -> Accept {
    Accept::key(key(seed).public_pem()).unwrap()
}

#[test]
fn the_clock_proves_no_time_of_signing() {
    let world = World::new();
    let bundles = [world.signed(1, ID, "1.2")];
    let policy = world.policy(&rule("name: acme/llama-3\nsigned_after: 2020-01-01T00:00:00+01:00"));
    verified(&world.model(), &world.policy(&rule("name: acme/llama-3")), &bundles);
    refused(&world.model(), &policy, &bundles, &[Code::TimeUnproven]);
}

#[test]
fn warn_mode_admits_what_the_rule_says_and_no_mistake_in_it() {
    let world = World::new();
    let policy = world.policy(&rule("name: acme/llama-3\nmode: warn"));
    let report =
        world.model().verify(&policy, &[world.signed(2, ID, "1.2")], &Run::new()).unwrap_err().into_report();
    assert!(report.admitted && !report.is_verified() && report.exit_code() == 0, "{report}");
    assert_eq!(report.policy.unwrap().mode, Mode::Warn);
}

#[cfg(not(feature = "sigstore"))]
#[test]
fn sigstore_identities_need_their_feature() {
    let world = World::new();
    let text = rule("name: x").replace("key: { file: keys/1.pub }", "sigstore: { identity: a, issuer: b }");
    world.invalid_with(&text, Code::FeatureMissing, "sigstore");
}

#[test]
fn the_documents_example_is_a_policy_and_the_schema_is_json() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md")).unwrap();
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let world = World::new();
    fs::copy(world.path("keys/1.pub"), world.path("keys/release.pub")).unwrap();
    fs::copy(world.path("keys/root.pem"), world.path("keys/acme-ca.pem")).unwrap();
    match world.parse(example) {
        Ok(policy) => assert_eq!(policy.explain(ID).unwrap().policy.rule, 1),
        Err(error) => {
            assert!(cfg!(not(feature = "sigstore")) && error.code() == Code::FeatureMissing, "{error}")
        }
    }
    let schema: serde_json::Value = serde_json::from_str(POLICY_SCHEMA).unwrap();
    assert!(schema["properties"]["rules"].is_object());
}
