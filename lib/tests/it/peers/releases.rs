//! The older releases: what they signed we verify, and its tampered twin we refuse.

use testkit::peers::{Answer, Job};
use testkit::pki::{KeyKind, Shape};
use weightseal::Code::{self, CertificateAnchorUnknown, FileChanged, FileUnsigned, KeyNotTrusted, SignatureInvalid};
use weightseal::{Accept, Algorithm, Hashing};

use super::{Case, Python, codes, rich};

const OLDER: [&str; 5] = ["0.2.0", "0.3.1", "1.0.0", "1.0.1", "1.1.0"];
const CURVES: [KeyKind; 3] = [KeyKind::P256, KeyKind::P384, KeyKind::P521];

fn sign_key(case: &Case, python: &Python) -> Answer {
    // The first release has no command line.
    if python.peer.version() == "0.2.0" {
        let job = Job::new(case.model(), case.path("model.sig"));
        return python.peer.sign_key(&job, &case.path("signer.key")).expect("it runs");
    }
    case.peer_signs(python, &[])
}

fn verify_key(case: &Case, python: &Python) -> Answer {
    if python.peer.version() == "0.2.0" {
        let job = Job::new(case.model(), case.path("model.sig"));
        return python.peer.verify_key(&job, &case.path("signer.pub")).expect("it runs");
    }
    case.peer_verifies(python, &[])
}

#[test]
fn keys_of_every_release_are_verified() {
    for version in OLDER {
        let Some(python) = Python::release(version) else { continue };
        for kind in CURVES {
            let case = Case::empty(kind);
            rich(&case.model());
            sign_key(&case, &python).expect_accepted();
            assert_eq!(case.found(), [], "{version} {kind:?}");
            let other = Accept::key(case.other.public_pem()).expect("a key");
            let found = codes(&case.open(), &case.path("model.sig"), other);
            println!("{version} {kind:?} other {found:?} {}", verify_key(&case, &python).ended);
            case.write("model/config.json", "{}");
            assert_eq!(case.found(), [FileChanged], "{version} {kind:?}");
            rich(&case.model());
            case.write("model/added", "");
            assert_eq!(case.found(), [FileUnsigned], "{version} {kind:?}");
            case.edit_payload(|text| format!("{text} "));
            println!("{:?}", case.found());
            case.sign_ours(&case.open(), &Hashing::files(Algorithm::Sha256));
            println!("{version} verifies ours {}", verify_key(&case, &python).ended);
        }
    }
}

#[test]
fn certificates_of_every_release_are_verified() {
    for version in OLDER {
        let Some(python) = Python::release(version) else { continue };
        if !python.peer.signs_certificates() { continue; }
        for (shape, kind) in [(Shape::RsaAuthorities, KeyKind::P256), (Shape::Plain, KeyKind::P384), (Shape::Plain, KeyKind::P521)] {
            let chain = shape.case(kind);
            let case = Case::empty(kind);
            rich(&case.model());
            case.write("leaf.key", chain.key().pkcs8_pem());
            case.write("leaf.crt", chain.leaf_pem());
            case.write("chain.crt", chain.intermediates_pem());
            case.write("anchors.crt", chain.anchors_pem());
            let job = Job::new(case.model(), case.path("model.sig"));
            python.peer.sign_certificate(&job, &case.path("leaf.key"), &case.path("leaf.crt"), &[&case.path("chain.crt")]).expect("runs").expect_accepted();
            let found = || codes(&case.open(), &case.path("model.sig"), Accept::certificate(chain.anchors_pem()).unwrap());
            assert_eq!(found(), [], "{version} {kind:?}");
            case.write("model/config.json", "{}");
            assert_eq!(found(), [FileChanged], "{version} {kind:?}");
            let _ : Code = SignatureInvalid; let _ = (KeyNotTrusted, CertificateAnchorUnknown);
        }
    }
}
