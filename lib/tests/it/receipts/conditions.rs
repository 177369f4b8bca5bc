//! Where a receipt is neither used nor written, and what else has to be as it was.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use testkit::pki::{Key, KeyKind};
use weightseal::{Accept, Algorithm, Assurance, Code, Hashing, Memory, Mode, Model, Policy, PolicyFile, Run};

use super::{Case, FILES, NAME};
use crate::good::{At, Moment, one, refused, refused_in, signer, trusting, verified, verified_in};

#[test]
fn no_byte_is_read() {
    let Some(case) = Case::start() else { return };
    // Out of the cache, and what was not read is not in it afterwards.
    let path = case.path(super::LARGE);
    let run = |program: &str, args: &[&str]| {
        let ended = testkit::capture(std::process::Command::new(program).args(args)).unwrap();
        ended.expect_code(0).out().trim().to_owned()
    };
    if !crate::good::has_program("fincore") || !crate::good::has_program("dd") {
        testkit::skip_or_fail(testkit::Missing::new("fincore and dd", "they are not installed"));
        return;
    }
    let text = path.to_str().unwrap();
    let pages = || run("fincore", &["--noheadings", "--raw", "--output", "PAGES", text]);
    run("dd", &[&format!("if={text}"), "iflag=nocache", "count=0"]);
    assert_eq!(pages(), "0");
    case.uses_receipt();
    assert_eq!(pages(), "0");
    fs::remove_file(case.receipt()).unwrap();
    case.is_hashed("there is none yet");
    assert_ne!(pages(), "0");
}

#[test]
fn everything_but_hashing_is_done_all_the_same() {
    let Some(case) = Case::start() else { return };
    let refused = |policy: &Policy, code| {
        let report = refused(&case.model(), policy, one(&case.bundle), &[code]);
        assert_eq!(report.receipt, None, "the content was not looked at: {report}");
    };
    let fingerprint = match case.uses_receipt().signatures.remove(0).identity {
        Some(identity) => identity.fingerprint().to_owned(),
        None => panic!("nobody signed"),
    };
    refused(&case.policy().revoke_key(&fingerprint).unwrap(), Code::KeyRevoked);
    let root = case.bundle.unverified_statement().unwrap().manifest().root_digest().to_string();
    refused(&case.policy().revoke_digest(&root).unwrap(), Code::ModelRevoked);
    refused(&trusting(&Key::new(KeyKind::Ed25519, 2)), Code::KeyNotTrusted);
    refused(&case.policy().name("acme/llama-3"), Code::NameNotExpected);
    refused(&Policy::new(), Code::TrustMissing);
    let late = Run::new().deadline(Duration::ZERO);
    refused_in(&case.model(), &case.policy(), one(&case.bundle), &[Code::DeadlinePassed], &late);
    let cancel = weightseal::Cancel::default();
    let switch = cancel.clone();
    let run = At::run(Moment::Read, move || switch.cancel()).cancel(cancel);
    refused_in(&case.model(), &case.policy(), one(&case.bundle), &[Code::Interrupted], &run);
    case.uses_receipt();
}

#[test]
fn another_bundle_that_is_as_good() {
    let Some(case) = Case::start() else { return };
    let model = Model::open(case.folder()).unwrap().release(Some("acme/llama-3".into()), Some("1.2".into()));
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&case.key), &Run::new()).unwrap();
    let case = Case { bundle, ..case };
    case.is_hashed("the signatures are not what they were");
    case.uses_receipt();
    // Two of them over the same files.
    let second = Key::new(KeyKind::P256, 2);
    let also = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&second), &Run::new()).unwrap();
    let policy = || case.policy().accept(Accept::key(second.public_pem()).unwrap()).require(2);
    let check = |bundles: &[weightseal::Bundle]| verified(&case.model(), &policy(), bundles);
    let both = [case.bundle.clone(), also];
    super::hashed(check(&both), "the signatures are not what they were");
    super::used(check(&both));
    // Two that say the same of the bytes in different ways.
    let shards = Hashing::shards(Algorithm::Sha256, 1 << 16).unwrap();
    let mut unlike = both;
    fs::remove_file(case.path("empty.txt")).unwrap();
    unlike[0] = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&case.key), &Run::new()).unwrap();
    unlike[1] = model.sign(&shards, &signer(&second), &Run::new()).unwrap();
    for _ in 0..2 {
        let report = check(&unlike);
        assert_eq!(report.assurance, Some(Assurance::Hashed));
        super::assert_why(&report.receipt.unwrap(), "over different things");
    }
}

#[test]
fn nothing_that_is_let_pass_comes_to_look_checked() {
    let Some(case) = Case::start() else { return };
    let without = |model: &Model, policy: &Policy, why: &str| {
        let report = verified(model, policy, one(&case.bundle));
        let report = super::hashed(report, why);
        assert!(!report.receipt.unwrap().written);
    };
    without(&case.model(), &case.policy().mode(Mode::Warn), "not enforce");
    without(&case.model().ignore_unsigned_files(true), &case.policy(), "not signed are tolerated");
    let mut ignoring = case.model();
    assert!(ignoring.ignore_path("no-such-file"));
    without(&ignoring, &case.policy(), "left out");
    case.uses_receipt();
    // What warn mode admits leaves no receipt.
    fs::write(case.path(NAME), "not the weights").unwrap();
    fs::remove_file(case.receipt()).unwrap();
    let warn = case.policy().mode(Mode::Warn);
    let failure = case.model().verify(&warn, one(&case.bundle), &Run::new()).unwrap_err();
    assert!(failure.report().admitted && !failure.report().receipt.as_ref().unwrap().written);
    case.is_refused(Code::FileChanged, "there is none yet");
    assert_eq!(fs::read_dir(case.receipts_folder()).unwrap().count(), 0);
}

#[test]
fn files_without_bytes_that_shards_cannot_name() {
    let Some(case) = Case::new() else { return };
    let place = case.dir.path().to_owned();
    let shards = Hashing::shards(Algorithm::Sha256, 1000).unwrap();
    let sharded = Case::with(&place, None, &shards);
    sharded.is_hashed_without("not signed are tolerated");
    fs::remove_file(sharded.path("empty.txt")).unwrap();
    assert_eq!(FILES[5], ("empty.txt", &b""[..]));
    sharded.is_hashed("there is none yet");
    sharded.uses_receipt();
}

#[test]
fn files_that_somebody_else_may_write() {
    let Some(case) = Case::start() else { return };
    let path = case.path(NAME);
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    set(0o664);
    case.is_hashed_without("its group");
    set(0o646);
    case.is_hashed_without("everybody");
    if rustix::process::geteuid().is_root() {
        set(0o444);
        std::os::unix::fs::chown(&path, Some(54_321), None).unwrap();
        case.is_hashed_without("its owner (user 54321)");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    set(0o644);
    case.is_hashed("not what they were");
    case.uses_receipt();
}

#[test]
fn a_model_that_is_not_on_this_disk() {
    let Some(case) = Case::start() else { return };
    let memory = FILES.iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(*name, *bytes));
    let model = || Model::from_source(memory.clone()).receipts(case.receipts());
    let bundle = model().sign(&Hashing::files(Algorithm::Sha256), &signer(&case.key), &Run::new()).unwrap();
    let report = verified(&model(), &case.policy(), one(&bundle));
    assert_eq!(report.assurance, Some(Assurance::Hashed));
    super::assert_why(&report.receipt.unwrap(), "not on this disk");
}

#[test]
fn a_single_file_has_a_receipt_of_its_own() {
    let Some(case) = Case::start() else { return };
    let model = || Model::open(case.path(NAME)).unwrap().receipts(case.receipts());
    let bundle = model().sign(&Hashing::files(Algorithm::Sha256), &signer(&case.key), &Run::new()).unwrap();
    let check = || verified(&model(), &case.policy(), one(&bundle));
    assert!(check().receipt.unwrap().written);
    super::used(check());
    case.uses_receipt();
    fs::write(case.path(NAME), "other").unwrap();
    refused(&model(), &case.policy(), one(&bundle), &[Code::FileChanged]);
}

#[test]
fn a_policy_that_demands_hashing_is_obeyed() {
    let Some(case) = Case::start() else { return };
    let check = |policy: Policy| verified_in(&case.model(), &policy, one(&case.bundle), &Run::new());
    let report = super::hashed(check(case.policy().assurance(Assurance::Hashed)), "every byte is hashed");
    assert!(!report.receipt.unwrap().written);
    for least in [Assurance::Receipt, Assurance::Stated] {
        super::used(check(case.policy().assurance(least)));
    }
    super::used(check(case.policy()));
}

/// A policy file with this line in its rule.
fn policy_file(case: &Case, line: &str) -> PolicyFile {
    let text = format!(
        "apiVersion: weightseal/v1\nkind: Policy\nidentities:\n  release:\n    key: {{pem: {:?}}}\nrules:\n  - models: [acme/llama]\n    \
         identity: any-model-of-these\n    require:\n      of: [release]\n{line}",
        case.key.public_pem()
    );
    PolicyFile::parse(text.as_bytes(), case.dir.path()).unwrap()
}

#[test]
fn a_policy_file_is_bound_with_its_rule() {
    let Some(case) = Case::new() else { return };
    let check = |file: &PolicyFile| {
        let policy = file.rule_for("acme/llama", &Run::new()).unwrap().into_policy();
        verified(&case.model().id("acme/llama"), &policy, one(&case.bundle))
    };
    let file = policy_file(&case, "");
    super::hashed(check(&file), "there is none yet");
    super::used(check(&file));
    // A comment more is another policy.
    let edited = policy_file(&case, "# nothing\n");
    super::hashed(check(&edited), "the policy or its rule");
    super::used(check(&edited));
    super::hashed(check(&policy_file(&case, "    assurance: hashed\n")), "every byte is hashed");
    super::hashed(check(&policy_file(&case, "    mode: warn\n")), "not enforce");
    let unsigned = policy_file(&case, "    unsigned: {allow: ['*.txt']}\n");
    super::hashed(check(&unsigned), "not signed are tolerated");
    let receipt = policy_file(&case, "    assurance: receipt\n");
    super::hashed(check(&receipt), "the policy or its rule");
    super::used(check(&receipt));
    case.change();
    let policy = file.rule_for("acme/llama", &Run::new()).unwrap().into_policy();
    let model = case.model().id("acme/llama");
    super::refused_for_a_byte(&model, &policy, &case.bundle, "the policy or its rule");
}

#[test]
fn the_report_says_it_in_text_and_json() {
    let Some(case) = Case::new() else { return };
    let first = case.is_hashed("there is none yet");
    assert!(first.to_string().contains("  receipt: not used: there is none yet; written\n"), "{first}");
    let report = case.uses_receipt();
    let at = report.receipt.as_ref().unwrap().hashed_at.clone().unwrap();
    assert_eq!(first.receipt.unwrap().hashed_at.as_deref(), Some(&*at));
    assert!(
        report.to_string().contains(&format!("  receipt: hashed at {at}, unchanged since\n")),
        "{report}"
    );
    assert!(report.to_string().contains("0 bytes") && report.to_string().contains("(receipt)"), "{report}");
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["assurance"], "receipt");
    let expected = serde_json::json!({
        "used": true, "written": false, "hashed_at": at, "measured": 0, "why": null, "not_written": null
    });
    assert_eq!(value["receipt"], expected);
    let plain = verified(&Model::open(case.folder()).unwrap(), &case.policy(), one(&case.bundle));
    assert!(serde_json::to_value(&plain).unwrap().get("receipt").is_none());
}
