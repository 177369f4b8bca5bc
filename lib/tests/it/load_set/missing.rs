//! Signed files that are not there, as in a cache that was filled by patterns.

use std::fs;

use weightseal::{Code, Policy, PolicyFile, Report, Run};

use super::{FIRST, INDEX, SECOND, policy_file, safetensors, signed_with};
use crate::good::{Good, refused, write_files};

/// A model as publishers have them: with weights in other formats besides, and with what belongs to other programs.
fn published() -> Good {
    signed_with(|folder| {
        let shard = safetensors(&["a"]);
        write_files(
            folder,
            [
                ("LICENSE", &b"x"[..]),
                ("original/params.json", b"{}"),
                ("original/tokenizer.model", b"x"),
                ("original/consolidated.00.pth", b"x"),
                ("pytorch_model-00001-of-00002.bin", b"x"),
                ("pytorch_model-00002-of-00002.bin", b"x"),
                (
                    "pytorch_model.bin.index.json",
                    br#"{"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "c": "pytorch_model-00002-of-00002.bin"}}"#,
                ),
                ("rust_model.ot", b"x"),
                ("consolidated.safetensors", &shard),
            ],
        );
    })
}

fn all_may(good: &Good) -> Policy {
    policy_file(good, "    missing: {allow: ['**']}\n")
}

fn check(good: &Good, policy: &Policy) -> Result<Report, Box<Report>> {
    let verified = good.model().id("m").verify(policy, good.bundles(), &Run::new());
    verified.map(weightseal::Verified::into_report).map_err(|failure| Box::new(failure.into_report()))
}

#[test]
fn a_cache_lacks_what_nobody_loads() {
    let good = published();
    assert_eq!(check(&good, &all_may(&good)).unwrap().counts.missing, 0);
    let gone = [
        "README.md",
        "LICENSE",
        "original",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "pytorch_model.bin.index.json",
        "rust_model.ot",
    ];
    for name in gone {
        let path = good.path(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    let report = check(&good, &all_may(&good)).unwrap();
    assert!(report.is_verified() && report.findings.is_empty());
    assert_eq!((report.counts.signed, report.counts.verified, report.counts.missing), (19, 10, 9));
    assert!(report.to_string().contains("10 of 19 signed files are present"), "{report}");
    // Only what the policy names.
    let policy = policy_file(&good, "    missing: {allow: [README.md, LICENSE, 'original/**', '*.bin']}\n");
    let report = check(&good, &policy).unwrap_err();
    assert_eq!(crate::good::found(&report), [Code::FileMissing].into());
    let named: Vec<_> = report.findings.iter().filter_map(|finding| finding.name.as_deref()).collect();
    assert_eq!(named, ["pytorch_model.bin.index.json", "rust_model.ot"]);
    // And nothing where it says nothing, be the load set demanded or not.
    assert_eq!(check(&good, &policy_file(&good, "    load_set: true\n")).unwrap_err().findings.len(), 9);
    assert_eq!(check(&good, &policy_file(&good, "")).unwrap_err().findings.len(), 9);
    let by_hand = good.policy().may_be_missing("**").unwrap();
    assert_eq!(check(&good, &by_hand).unwrap().counts.missing, 9);
}

#[test]
fn what_is_loaded_is_never_missing() {
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "modeling_x.py",
        "chat_template.jinja",
        INDEX,
        FIRST,
        SECOND,
        "consolidated.safetensors",
        "original/params.json",
        "original/consolidated.00.pth",
        "pytorch_model-00001-of-00002.bin",
    ] {
        let good = published();
        assert!(check(&good, &all_may(&good)).is_ok());
        fs::remove_file(good.path(name)).unwrap();
        // Something else of its folder is still there, or something names it.
        let lacks = name == "original/consolidated.00.pth";
        let report = refused(&good.model().id("m"), &all_may(&good), good.bundles(), &[Code::FileMissing]);
        assert!(report.findings[0].what.contains("would be loaded"), "{name} {lacks} {report}");
    }
}

#[test]
fn missing_files_open_no_other_hole() {
    let good = published();
    let policy = all_may(&good);
    write_files(&good.folder(), [(".github/evil.py", &b"x"[..])]);
    good.verifies();
    refused(&good.model().id("m"), &policy, good.bundles(), &[Code::LoadSetUnsigned]);
    let good = published();
    fs::write(good.path("README.md"), "other").unwrap();
    refused(
        &good.model().id("m"),
        &policy_file(&good, "    missing: {allow: ['**']}\n"),
        good.bundles(),
        &[Code::FileChanged],
    );
}

#[test]
fn a_policy_says_what_it_demands() {
    let good = published();
    let pem: String = good.key.public_pem().lines().map(|line| format!("        {line}\n")).collect();
    let text = |more: &str| {
        format!(
            "apiVersion: weightseal/v1\nkind: Policy\nidentities:\n  a:\n    key:\n      pem: |\n{pem}rules:\n  \
             - models: [m]\n    require: {{of: [a]}}\n    identity: any-model-of-these\n{more}"
        )
    };
    let explained =
        |more: &str| PolicyFile::parse(text(more).as_bytes(), ".").unwrap().explain("m").unwrap().to_string();
    assert!(!explained("").contains("load set"));
    let all = explained("    base_model: acme/x\n    missing: {allow: ['*.md']}\n");
    for line in
        ["load set: has to be what is signed and there\n", "base model: acme/x\n", "may be missing: *.md\n"]
    {
        assert!(all.contains(line), "{all}");
    }
    for (more, part) in [
        ("    missing: {allow: ['a***']}\n", "three asterisks"),
        ("    missing: ['*.md']\n", "a list stands where"),
        ("    missing: {deny: ['*.md']}\n", "there is no field"),
        ("    load_set: yes\n", "true or false"),
    ] {
        let error = PolicyFile::parse(text(more).as_bytes(), ".").unwrap_err();
        assert_eq!(error.code(), Code::PolicyInvalid);
        assert!(error.to_string().contains(part), "{error}");
    }
}
