//! The statement: its types, digests and names, under a signature that is right.

use serde_json::{Value, json};
use weightseal::{Code, Report};

use crate::good::{Good, fit_root, one, refused, verified};

fn resources(statement: &mut Value) -> &mut Vec<Value> {
    statement["predicate"]["resources"].as_array_mut().unwrap()
}

#[test]
fn types_of_statement_and_predicate() {
    let good = Good::new();
    for kind in ["", "https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1/", "x"] {
        good.refuses(good.changed(|s| s["_type"] = kind.into()), Code::StatementTypeUnsupported);
    }
    for kind in [
        "",
        "https://model_signing/signature/v1.1",
        "https://model_signing/signature/v1.0/",
        "https://model_signing/Digests/v0.2",
        "https://slsa.dev/provenance/v1",
    ] {
        good.refuses(good.changed(|s| s["predicateType"] = kind.into()), Code::PredicateTypeUnsupported);
    }
}

#[test]
fn one_subject_with_the_root_digest_of_the_resources() {
    let good = Good::new();
    let subject = good.statement()["subject"][0].clone();
    for subjects in [json!([]), json!([subject, subject])] {
        good.refuses(good.changed(|s| s["subject"] = subjects), Code::SubjectCount);
    }
    let root = |text: String| good.changed(|s| s["subject"][0]["digest"]["sha256"] = text.into());
    let right = subject["digest"]["sha256"].as_str().unwrap().to_owned();
    verified(&good.model(), &good.policy(), &[root(right.clone())]);
    let report = good.refuses(root("0".repeat(64)), Code::RootDigestMismatch);
    assert_eq!(report.findings[0].actual.as_deref(), Some(&*format!("sha256:{right}")));
    for wrong in [right.to_uppercase(), right[2..].to_owned(), format!("{right}00"), String::new()] {
        good.refuses(root(wrong), Code::DigestMalformed);
    }
    // The order of the resources is signed with them.
    good.refuses(good.changed(|s| resources(s).reverse()), Code::RootDigestMismatch);
    verified(&good.model(), &good.policy(), &[good.changed_with_root(|s| resources(s).reverse())]);
    // The subject's name binds nothing.
    let renamed = good.changed(|s| s["subject"][0]["name"] = "../other\n".into());
    verified(&good.model(), &good.policy(), &[renamed]);
}

#[test]
fn digests_are_lower_case_hex_of_their_algorithm() {
    let good = Good::new();
    let digest = |change: fn(&str) -> String| {
        good.changed(|s| {
            let old = &mut resources(s)[1]["digest"];
            *old = change(old.as_str().unwrap()).into();
        })
    };
    for change in [
        (|old| old.to_uppercase()) as fn(&str) -> String,
        |old| old[2..].to_owned(),
        |old| format!("{old}00"),
        |old| format!("0x{}", &old[2..]),
        |old| old.replace(|c: char| c.is_ascii_digit(), "g"),
        |_| String::new(),
        |_| "é".repeat(32),
    ] {
        let report = good.refuses(digest(change), Code::DigestMalformed);
        assert_eq!(report.findings[0].name.as_deref(), Some("config.json"));
    }
}

#[test]
fn algorithms_are_those_of_the_registry_and_one_for_all() {
    let good = Good::new();
    let with = |kind: &'static str| {
        good.changed(move |s| s["predicate"]["serialization"]["hash_type"] = kind.into())
    };
    for unknown in ["", "md5", "sha1", "SHA256", "sha-256", "blake2", "sha512"] {
        good.refuses(with(unknown), Code::AlgorithmUnsupported);
    }
    for other in ["blake3", "blake2b"] {
        good.refuses(with(other), Code::AlgorithmMismatch);
    }
    for other in ["blake3", "sha512", "SHA256", ""] {
        let bundle = good.changed(|s| resources(s)[1]["algorithm"] = other.into());
        good.refuses(bundle, Code::AlgorithmMismatch);
    }
    for method in ["", "file", "FILES", "tree"] {
        let bundle = good.changed(|s| s["predicate"]["serialization"]["method"] = method.into());
        good.refuses(bundle, Code::AlgorithmUnsupported);
    }
    // BLAKE3 digests are as long as SHA-256's; calling them so makes each file another one.
    let bundle = good.changed(|s| {
        s["predicate"]["serialization"]["hash_type"] = "blake3".into();
        resources(s).iter_mut().for_each(|r| r["algorithm"] = "blake3".into());
    });
    good.refuses(bundle, Code::FileChanged);
}

/// Names that no signed file may have.
const BAD_NAMES: [&str; 16] = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "../x",
    "a/../x",
    "a/..",
    "./a",
    "a/.",
    "a/./b",
    "a//b",
    "a/",
    "//a",
    "a\0b",
    "\0",
];

#[test]
fn names_are_paths_inside_the_model() {
    let good = Good::new();
    for name in BAD_NAMES {
        let renamed = good.changed(|s| resources(s)[1]["name"] = name.into());
        named_invalid(&good, renamed, name);
        // Nor is it forgiven where unsigned files are, nor as one more name.
        let added = good.changed_with_root(|s| {
            let mut more = resources(s)[0].clone();
            more["name"] = name.into();
            resources(s).push(more);
        });
        named_invalid(&good, added, name);
    }
    let long = "x/".repeat(2048) + "y";
    named_invalid(&good, good.changed(|s| resources(s)[1]["name"] = long.clone().into()), &long);
}

fn named_invalid(good: &Good, bundle: weightseal::Bundle, name: &str) {
    for forgiving in [false, true] {
        let model = good.model().ignore_unsigned_files(forgiving);
        let report: Report = refused(&model, &good.policy(), one(&bundle), &[Code::NameInvalid]);
        assert_eq!(report.findings[0].name.as_deref(), Some(name));
    }
}

#[test]
fn names_are_text_and_what_is_not_utf8_is_no_json() {
    let good = Good::new();
    let payload = good.payload();
    let at = payload.windows(11).position(|bytes| bytes == b"config.json").unwrap();
    let mut changed = payload;
    changed[at] = 0xff;
    good.refuses(good.resigned(&changed), Code::JsonInvalid);
    // Half of a surrogate pair is no text either.
    let text = good.statement().to_string().replace("config.json", "\\udc80onfig.json");
    good.refuses(good.resigned(text.as_bytes()), Code::JsonInvalid);
    // Overlong, so that a NUL or a slash would hide in it.
    let text = good.statement().to_string();
    for hidden in [&b"\xc0\x80"[..], b"\xc0\xaf", b"\xed\xa0\x80"] {
        let at = text.find("config.json").unwrap();
        let bytes = [&text.as_bytes()[..at], hidden, &text.as_bytes()[at..]].concat();
        good.refuses(good.resigned(&bytes), Code::JsonInvalid);
    }
}

#[test]
fn a_name_occurs_once_whatever_its_digest() {
    let good = Good::new();
    for digest in [None, Some("0".repeat(64))] {
        for forgiving in [false, true] {
            let bundle = good.changed_with_root(|s| {
                let mut again = resources(s)[1].clone();
                if let Some(digest) = &digest {
                    again["digest"] = digest.clone().into();
                }
                resources(s).push(again);
            });
            let model = good.model().ignore_unsigned_files(forgiving);
            let report = refused(&model, &good.policy(), &[bundle], &[Code::NameDuplicate]);
            assert_eq!(report.findings[0].name.as_deref(), Some("config.json"));
        }
    }
    // Letters that look alike are other names: that file is missing, and the one on disk is not signed.
    let alike = good.changed(|s| resources(s)[1]["name"] = "Config.json".into());
    refused(&good.model(), &good.policy(), &[alike], &[Code::FileMissing, Code::FileUnsigned]);
}

#[test]
fn a_statement_without_resources_verifies_nothing() {
    let good = Good::new();
    for forgiving in [false, true] {
        let bundle = good.changed(|s| {
            resources(s).clear();
            fit_root(s);
        });
        let model = good.model().ignore_unsigned_files(forgiving);
        refused(&model, &good.policy(), &[bundle], &[Code::ResourcesEmpty]);
    }
}

#[test]
fn the_name_of_a_whole_model_stands_alone() {
    let good = Good::new();
    // A folder has no file of that name.
    let bundle = good.changed_with_root(|s| {
        resources(s).truncate(1);
        resources(s)[0]["name"] = ".".into();
    });
    let model = good.model().ignore_unsigned_files(true);
    refused(&model, &good.policy(), &[bundle], &[Code::FileMissing]);
}
