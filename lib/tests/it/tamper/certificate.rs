//! Certificates through whole bundles: each defect with its code, identities, and the time.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::pki::{Cert, Defect, FROM, Key, KeyKind, Pki, Shape, TO, email, sign_pae, uri};
use weightseal::{Accept, Bundle, CertificateVerifier, Code, FixedClock, Policy, Run};

use crate::good::{Good, envelope, one, pae, parse, refused, refused_in, verified, verified_in};

/// The good model's payload, signed with this key under this chain.
fn signed(good: &Good, chain: &[Vec<u8>], key: &Key) -> Bundle {
    let payload = good.payload();
    let certificates: Vec<Value> =
        chain.iter().map(|der| json!({"rawBytes": STANDARD.encode(der)})).collect();
    let mut wire = good.wire();
    wire["verificationMaterial"] = json!({
        "x509CertificateChain": {"certificates": certificates}, "tlogEntries": [],
    });
    wire["dsseEnvelope"] = envelope(&payload, &sign_pae(key, &pae(&payload)));
    parse(&wire)
}

fn trusting(anchors: &str) -> Policy {
    Policy::new().accept(Accept::certificate(anchors).unwrap())
}

fn at(anchors: &str, unix: i64) -> Policy {
    Policy::new().accept(Accept::verifier(verifier(anchors).at(unix)))
}

fn verifier(anchors: &str) -> CertificateVerifier {
    CertificateVerifier::from_pem(anchors.as_bytes()).unwrap()
}

const KINDS: [KeyKind; 4] = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];

#[test]
fn every_shape_of_chain_verifies() {
    let good = Good::new();
    for shape in Shape::ALL {
        for kind in KINDS {
            let case = shape.case(kind);
            let bundle = signed(&good, &case.chain_der(), case.key());
            verified(&good.model(), &trusting(&case.anchors_pem()), &[bundle]);
        }
    }
}

#[test]
fn every_defect_is_refused_with_its_code() {
    let good = Good::new();
    for defect in Defect::ALL {
        let code = match defect {
            Defect::Expired | Defect::IntermediateExpired | Defect::RootExpired => Code::CertificateExpired,
            Defect::NotYetValid => Code::CertificateNotYetValid,
            Defect::WrongUsage | Defect::NoUsage => Code::CertificateUsage,
            Defect::OtherRoot | Defect::OtherRootSameName | Defect::Cut => Code::CertificateAnchorUnknown,
            Defect::OutOfOrder => Code::CertificateChainBroken,
            Defect::NotACa | Defect::NoBasicConstraints => Code::CertificateNotACa,
            Defect::NoCertSign => Code::CertificateKeyUsage,
            Defect::PathLength => Code::CertificatePathLength,
            Defect::NamePermitted | Defect::NameExcluded => Code::CertificateNameConstraint,
            Defect::CriticalExtension => Code::CertificateCriticalExtension,
            Defect::Sha1 | Defect::Rsa1024 => Code::CertificateWeak,
            Defect::Changed | Defect::CrossSigned => Code::CertificateSignature,
            Defect::TooLong => Code::CertificateChainTooLong,
            Defect::Truncated => Code::CertificateMalformed,
        };
        for kind in KINDS {
            let (chain, key, anchors) = defect.case(kind);
            let bundle = signed(&good, &chain, &key);
            refused(&good.model(), &trusting(&anchors), &[bundle], &[code]);
        }
    }
}

#[test]
fn another_time_may_be_asked_about_and_the_report_says_so() {
    let good = Good::new();
    let (chain, key, anchors) = Defect::Expired.case(KeyKind::P256);
    let bundle = || signed(&good, &chain, &key);
    let report = verified(&good.model(), &at(&anchors, FROM + 3600), &[bundle()]);
    let time = report.signatures[0].time.clone().unwrap();
    assert_eq!((&*time.at, &*time.by), ("2020-01-01T01:00:00Z", "--at"));
    // Both ends of the validity lie within it.
    for (when, code) in [
        (FROM - 1, Some(Code::CertificateNotYetValid)),
        (FROM, None),
        (FROM + 86_400, None),
        (FROM + 86_401, Some(Code::CertificateExpired)),
    ] {
        match code {
            Some(code) => drop(refused(&good.model(), &at(&anchors, when), &[bundle()], &[code])),
            None => drop(verified(&good.model(), &at(&anchors, when), &[bundle()])),
        }
    }
    // The clock of the run decides where nothing else is said.
    let clock = |unix: i64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix.unsigned_abs());
        Run::new().clock(FixedClock(time))
    };
    let case = Shape::Plain.case(KeyKind::P256);
    let plain = || signed(&good, &case.chain_der(), case.key());
    let policy = trusting(&case.anchors_pem());
    let report = verified_in(&good.model(), &policy, &[plain()], &clock(TO));
    assert_eq!(report.signatures[0].time.clone().unwrap().by, "clock");
    refused_in(&good.model(), &policy, &[plain()], &[Code::CertificateExpired], &clock(TO + 1));
    refused_in(&good.model(), &policy, &[plain()], &[Code::CertificateNotYetValid], &clock(FROM - 1));
}

#[test]
fn the_identity_is_the_whole_name_and_nothing_else() {
    let good = Good::new();
    let root = Pki::root(KeyKind::P256).self_signed();
    let leaf = Pki::leaf(KeyKind::P256)
        .subject("CN=signer,O=Acme")
        .names(&[email("signer@example.com"), uri("https://example.com/build")])
        .issue(&root);
    let bundle = || signed(&good, &[leaf.der()], leaf.key());
    let policy =
        |identity: &str| Policy::new().accept(Accept::verifier(verifier(&root.pem()).identity(identity)));
    for right in ["signer@example.com", "https://example.com/build", "CN=signer,O=Acme"] {
        verified(&good.model(), &policy(right), &[bundle()]);
    }
    for wrong in [
        "",
        "signer",
        "CN=signer",
        "O=Acme",
        "@example.com",
        "example.com",
        "signer@example.com.evil.org",
        "Signer@example.com",
        "*@example.com",
        ".*",
        "signer@example.com ",
        "https://example.com/",
        "https://example.com/build2",
        "CN=Test Root",
    ] {
        refused(&good.model(), &policy(wrong), &[bundle()], &[Code::CertificateIdentity]);
    }
}

#[test]
fn an_empty_identity_is_nobodys_even_where_the_subject_is_empty() {
    let good = Good::new();
    let root = Pki::root(KeyKind::P256).self_signed();
    let leaf = Pki::leaf(KeyKind::P256).subject("").names(&[email("signer@example.com")]).issue(&root);
    let bundle = || signed(&good, &[leaf.der()], leaf.key());
    let policy =
        |identity: &str| Policy::new().accept(Accept::verifier(verifier(&root.pem()).identity(identity)));
    verified(&good.model(), &policy("signer@example.com"), &[bundle()]);
    // As of a variable that is not set.
    refused(&good.model(), &policy(""), &[bundle()], &[Code::CertificateIdentity]);
}

#[test]
fn the_leaf_has_to_have_signed_and_another_leaf_of_the_root_does_not_do() {
    let good = Good::new();
    let case = Shape::Plain.case(KeyKind::P256);
    let policy = trusting(&case.anchors_pem());
    verified(&good.model(), &policy, &[signed(&good, &case.chain_der(), case.key())]);
    for other in [Key::new(KeyKind::P256, 66), case.chain[1].key().clone(), good.key.clone()] {
        let bundle = signed(&good, &case.chain_der(), &other);
        refused(&good.model(), &policy, &[bundle], &[Code::SignatureInvalid]);
    }
}

#[test]
fn a_root_inside_the_bundle_is_never_trusted() {
    let good = Good::new();
    // Somebody else's authority, with the same names throughout.
    let root = Pki::root(KeyKind::P256).seed(66).self_signed();
    let leaf = Pki::leaf(KeyKind::P256).seed(67).issue(&root);
    let chain = [leaf.der(), root.der()];
    verified(&good.model(), &trusting(&root.pem()), &[signed(&good, &chain, leaf.key())]);
    let honest = Pki::root(KeyKind::P256).self_signed();
    let bundle = signed(&good, &chain, leaf.key());
    refused(&good.model(), &trusting(&honest.pem()), &[bundle], &[Code::CertificateAnchorUnknown]);
}

#[test]
fn keys_are_no_trust_for_certificates() {
    let good = Good::new();
    let case = Shape::Plain.case(KeyKind::P256);
    let bundle = signed(&good, &case.chain_der(), case.key());
    // Not even the leaf's own key: it was not said that it may sign without its certificate.
    let policy = Policy::new().accept(Accept::key(case.key().public_pem()).unwrap());
    refused(&good.model(), &policy, one(&bundle), &[Code::MethodNotAccepted]);
    let both = policy.accept(Accept::certificate(case.anchors_pem()).unwrap());
    verified(&good.model(), &both, &[bundle]);
}

#[test]
fn an_rsa_leaf_cannot_sign_models() {
    let good = Good::new();
    let root = Pki::root(KeyKind::P256).self_signed();
    let leaf: Cert = Pki::leaf(KeyKind::Rsa2048).issue(&root);
    let bundle = signed(&good, &[leaf.der()], leaf.key());
    refused(&good.model(), &trusting(&root.pem()), &[bundle], &[Code::CertificateAlgorithm]);
}
