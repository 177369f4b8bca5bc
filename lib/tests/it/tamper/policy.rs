//! Whose signature counts, for which model, and how many of them.

use std::fs;

use serde_json::Value;
use testkit::pki::{Key, KeyKind, Shape};
use weightseal::{
    Accept, Algorithm, Assurance, Bundle, CertificateSigner, Code, Hashing, Mode, Policy, PrivateKey, Run,
    Verdict,
};

use crate::good::{Good, fit_root, one, refused, sha256, signer, trusting, verified};

fn hashing() -> Hashing {
    Hashing::files(Algorithm::Sha256)
}

/// The good model, named and with a version.
fn released() -> Good {
    Good::with(
        &hashing(),
        KeyKind::Ed25519,
        |_| (),
        |model| model.release(Some("acme/llama-3".into()), Some("1.2".into())),
    )
}

fn root(good: &Good) -> String {
    good.bundle.unverified_statement().unwrap().manifest().root_digest().to_string()
}

/// The same model, signed by another key.
fn signed_by(good: &Good, key: &Key) -> Bundle {
    good.model().sign(&hashing(), &signer(key), &Run::new()).unwrap()
}

#[test]
fn without_trust_or_signature_there_is_no_verdict_to_have() {
    let good = Good::new();
    refused(&good.model(), &Policy::new(), good.bundles(), &[Code::TrustMissing]);
    refused(&good.model(), &good.policy(), &[], &[Code::SignatureMissing]);
    refused(&good.model(), &good.policy().require(1), &[], &[Code::SignatureMissing]);
}

#[test]
fn another_model_of_the_same_signer_is_told_by_the_expected_digest() {
    let good = Good::new();
    let other = Good::with(
        &hashing(),
        KeyKind::Ed25519,
        |folder| fs::write(folder.join("config.json"), "{}").unwrap(),
        |model| model,
    );
    // Both verify under the one key: nothing in the format says which model was meant.
    let report = other.verifies();
    assert_eq!(report.bound, []);
    assert!(report.to_string().contains("bound"), "{report}");
    let expecting = || good.policy().digest(&root(&good)).unwrap();
    let report = verified(&good.model(), &expecting(), good.bundles());
    assert_eq!((&*report.bound[0].by, &report.bound[0].value), ("expected-digest", &root(&good)));
    let report = refused(&other.model(), &expecting(), other.bundles(), &[Code::DigestNotExpected]);
    assert_eq!(report.findings[0].actual.as_ref(), Some(&root(&other)));
    // One of several, with and without the algorithm's name.
    let bare = root(&other).replace("sha256:", "");
    let both = expecting().digest(&bare).unwrap();
    verified(&good.model(), &both, good.bundles());
    verified(&other.model(), &both, other.bundles());
    // A caller may spell it as other tools print it.
    let upper = good.policy().digest(&root(&good).to_uppercase()).unwrap();
    verified(&good.model(), &upper, good.bundles());
    for wrong in ["", "x", "sha256:", &bare[2..], &format!("{bare}00"), &bare.replace('a', "g")] {
        assert_eq!(good.policy().digest(wrong).unwrap_err().code(), Code::DigestMalformed, "{wrong}");
    }
    let blake3 = format!("blake3:{bare}");
    assert_eq!(good.policy().digest(&blake3).unwrap_err().code(), Code::AlgorithmUnsupported);
}

#[test]
fn an_older_release_is_told_by_name_and_version() {
    let good = released();
    let policy = |name: &str, version: &str| good.policy().name(name).version(version);
    let report = verified(&good.model(), &policy("acme/llama-3", "1.2"), good.bundles());
    let bound: Vec<_> = report.bound.iter().map(|b| (b.by.as_str(), b.value.as_str())).collect();
    assert_eq!(bound, [("name", "acme/llama-3"), ("version", "1.2")]);

    let older = good.changed(|s| s["subject"][0]["annotations"]["version"] = "1.1".into());
    verified(&good.model(), &good.policy().name("acme/llama-3"), one(&older));
    let report =
        refused(&good.model(), &policy("acme/llama-3", "1.2"), &[older], &[Code::VersionNotExpected]);
    assert_eq!(report.findings[0].actual.as_deref(), Some("1.1"));
    for name in ["", "acme/llama", "acme/llama-33", "ACME/llama-3", "acme/llama-3 "] {
        let bundles = [good.bundle.clone()];
        refused(&good.model(), &policy(name, "1.2"), &bundles, &[Code::NameNotExpected]);
    }
    // A statement that names nothing does not meet a rule, nor does one whose annotation is no text.
    let annotations: [fn(&mut Value); 3] = [
        |s| drop(s["subject"][0].as_object_mut().unwrap().remove("annotations")),
        |s| s["subject"][0]["annotations"]["name"] = 5.into(),
        |s| s["subject"][0]["annotations"] = serde_json::json!({}),
    ];
    for change in annotations {
        let bundle = good.changed(change);
        verified(&good.model(), &good.policy(), one(&bundle));
        refused(&good.model(), &policy("acme/llama-3", "1.2"), &[bundle], &[Code::NameNotExpected]);
    }
}

#[test]
fn a_policy_for_one_model_is_for_no_other() {
    let good = Good::new();
    let policy = good.policy().model("acme/llama-3");
    let bundles = [good.bundle.clone()];
    verified(&good.model().id("acme/llama-3"), &policy, &bundles);
    for other in [good.model(), good.model().id("acme/llama"), good.model().id("")] {
        refused(&other, &policy, &bundles, &[Code::ModelNotExpected]);
    }
}

#[test]
fn revoked_keys_and_models() {
    let good = Good::new();
    let bundles = [good.bundle.clone()];
    let fingerprint = sha256(&good.key.spki_der());
    let report = verified(&good.model(), &good.policy().revoke_key(&"0".repeat(64)).unwrap(), &bundles);
    assert_eq!(report.signatures[0].identity.clone().unwrap().fingerprint(), fingerprint);
    let pairs = fingerprint.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase());
    for spelled in [
        fingerprint.clone(),
        fingerprint.to_uppercase(),
        format!("sha256:{fingerprint}"),
        pairs.collect::<Vec<_>>().join(":"),
    ] {
        let policy = good.policy().revoke_key(&spelled).unwrap();
        refused(&good.model(), &policy, &bundles, &[Code::KeyRevoked]);
    }
    let policy = good.policy().revoke_digest(&root(&good)).unwrap();
    refused(&good.model(), &policy, &bundles, &[Code::ModelRevoked]);
    verified(&good.model(), &good.policy().revoke_digest(&"0".repeat(64)).unwrap(), &bundles);
}

/// A chain of leaf and authority verifies, and does not when what `of` says of either is revoked.
fn revoked(of: fn(&mut testkit::pki::Cert) -> String) {
    let good = Good::new();
    let mut case = Shape::Plain.case(KeyKind::P256);
    let key = PrivateKey::from_pem(case.key().pkcs8_pem().as_bytes(), || Ok(None)).unwrap();
    let certified =
        CertificateSigner::new(key, case.leaf_pem().as_bytes(), case.intermediates_pem().as_bytes()).unwrap();
    let bundles = [good.model().sign(&hashing(), &certified, &Run::new()).unwrap()];
    let anchors = case.anchors_pem();
    let trusting = || Policy::new().accept(Accept::certificate(&anchors).unwrap());
    verified(&good.model(), &trusting().revoke_certificate("1234").unwrap(), &bundles);
    let by_key = trusting().revoke_key(&sha256(&case.key().spki_der())).unwrap();
    refused(&good.model(), &by_key, &bundles, &[Code::KeyRevoked]);
    for cert in &mut case.chain {
        let revoked = of(cert);
        for spelled in [revoked.clone(), revoked.to_uppercase()] {
            let policy = trusting().revoke_certificate(&spelled).unwrap();
            refused(&good.model(), &policy, &bundles, &[Code::CertificateRevoked]);
        }
    }
}

#[test]
fn what_is_no_fingerprint_revokes_nothing_in_silence() {
    for bad in ["", "alice", "0x", "12345678901234567890123456789012345678901", &"g".repeat(64)] {
        assert_eq!(Policy::new().revoke_certificate(bad).unwrap_err().code(), Code::BadArgument, "{bad}");
        assert_eq!(Policy::new().revoke_key(bad).unwrap_err().code(), Code::BadArgument, "{bad}");
    }
}

#[test]
fn certificates_revoked_by_serial_number() {
    revoked(|cert| crate::good::hex(cert.certificate().tbs_certificate.serial_number.as_bytes()));
}

#[test]
fn certificates_revoked_by_digest() {
    revoked(|cert| sha256(&cert.der()));
}

#[test]
fn of_several_signatures_each_counts_unless_a_number_is_required() {
    let good = Good::new();
    let foreign = signed_by(&good, &Key::new(KeyKind::P256, 7));
    let both = [good.bundle.clone(), foreign.clone()];
    refused(&good.model(), &good.policy(), &both, &[Code::KeyNotTrusted]);
    let report = verified(&good.model(), &good.policy().require(1), &both);
    assert!(report.signatures[0].accepted && !report.signatures[1].accepted);
    assert!(report.signatures[0].notes.is_empty(), "{report}");
    assert!(report.signatures[1].notes.iter().any(|note| note.contains("key-not-trusted")), "{report}");
    refused(&good.model(), &good.policy().require(2), &both, &[Code::KeyNotTrusted, Code::TooFewSignatures]);
    let all = good.policy().accept(Accept::key(Key::new(KeyKind::P256, 7).public_pem()).unwrap());
    verified(&good.model(), &all.clone(), &both);
    verified(&good.model(), &all.clone().require(2), &both);
    refused(&good.model(), &all.require(3), &both, &[Code::TooFewSignatures]);
    // None of them: each says why.
    let other = trusting(&Key::new(KeyKind::Ed25519, 9)).require(1);
    refused(&good.model(), &other, &[foreign], &[Code::KeyNotTrusted]);
}

#[test]
fn one_signer_counts_once() {
    let good = Good::new();
    let twice = [good.bundle.clone(), good.bundle.clone()];
    verified(&good.model(), &good.policy(), &twice);
    refused(&good.model(), &good.policy().require(2), &twice, &[Code::TooFewSignatures]);
    // By two statements.
    let renamed = good.changed(|s| s["subject"][0]["name"] = "other".into());
    let two = [good.bundle.clone(), renamed];
    refused(&good.model(), &good.policy().require(2), &two, &[Code::TooFewSignatures]);
    // By the bare key and by a certificate for the same key.
    let case = Shape::Plain.case(KeyKind::P256);
    let key = || PrivateKey::from_pem(case.key().pkcs8_pem().as_bytes(), || Ok(None)).unwrap();
    let certified =
        CertificateSigner::new(key(), case.leaf_pem().as_bytes(), case.intermediates_pem().as_bytes())
            .unwrap();
    let bundles =
        [signed_by(&good, case.key()), good.model().sign(&hashing(), &certified, &Run::new()).unwrap()];
    let policy = trusting(case.key()).accept(Accept::certificate(case.anchors_pem()).unwrap());
    verified(&good.model(), &policy, &bundles);
    refused(&good.model(), &policy.require(2), &bundles, &[Code::TooFewSignatures]);
}

#[test]
fn statements_that_differ_are_each_checked() {
    let good = Good::new();
    let key = Key::new(KeyKind::P256, 7);
    let policy = || good.policy().accept(Accept::key(key.public_pem()).unwrap()).require(2);
    let other = Good { dir: testkit::temporary().unwrap(), key: key.clone(), bundle: signed_by(&good, &key) };
    verified(&good.model(), &policy(), &[good.bundle.clone(), other.bundle.clone()]);
    // The second signer saw another file.
    let differing = other.changed(|s| {
        s["predicate"]["resources"][1]["digest"] = "0".repeat(64).into();
        fit_root(s);
    });
    let bundles = [good.bundle.clone(), differing];
    let report = refused(&good.model(), &policy(), &bundles, &[Code::FileChanged]);
    assert_eq!(report.findings[0].name.as_deref(), Some("config.json"));
}

#[test]
fn warn_mode_admits_and_never_verifies() {
    let good = Good::new();
    let warn = || good.policy().mode(Mode::Warn);
    let report = verified(&good.model(), &warn(), good.bundles());
    assert_eq!(report.mode, Mode::Warn);
    fs::write(good.path("config.json"), "x").unwrap();
    let failure = good.model().verify(&warn(), good.bundles(), &Run::new()).unwrap_err();
    let report = failure.report();
    assert_eq!((report.verdict, report.admitted, report.exit_code()), (Verdict::Rejected, true, 0));
    assert!(!report.is_verified());
    assert!(report.to_string().contains("warn"), "{report}");
    // Misuse and lateness it does not admit.
    let late = Run::new().deadline(std::time::Duration::ZERO);
    let failure = good.model().verify(&warn(), good.bundles(), &late).unwrap_err();
    assert_eq!((failure.report().admitted, failure.report().exit_code()), (false, 3));
    let nobody = Policy::new().mode(Mode::Warn);
    let failure = good.model().verify(&nobody, good.bundles(), &Run::new()).unwrap_err();
    assert_eq!((failure.report().admitted, failure.report().exit_code()), (false, 2));
    let unsigned = good.model().verify(&warn(), &[], &Run::new()).unwrap_err();
    assert_eq!((unsigned.report().admitted, unsigned.report().exit_code()), (true, 0));
}

#[test]
fn every_byte_was_hashed_and_the_report_says_so() {
    let good = Good::new();
    for least in [Assurance::Stated, Assurance::Receipt, Assurance::Hashed] {
        let report = verified(&good.model(), &good.policy().assurance(least), good.bundles());
        assert_eq!(report.assurance, Some(Assurance::Hashed));
        let bytes: usize = crate::good::FILES.iter().map(|(_, content)| content.len()).sum();
        assert_eq!(report.bytes, bytes as u64);
    }
    // Where it did not come to that, none is claimed.
    let report = refused(
        &good.model(),
        &trusting(&Key::new(KeyKind::P256, 7)),
        good.bundles(),
        &[Code::KeyNotTrusted],
    );
    assert_eq!((report.assurance, report.bytes, report.signatures[0].identity.clone()), (None, 0, None));
    assert_eq!(report.signatures[0].root_digest, None);
}
