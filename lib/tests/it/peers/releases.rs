//! The older releases: what they signed we verify, and its tampered twin we refuse. What we sign they verify where they can.

use std::fs;

use testkit::peers::{Answer, Job};
use testkit::pki::{KeyKind, Shape};
use weightseal::Code::{
    CertificateAnchorUnknown, FileChanged, FileMissing, FileUnsigned, KeyNotTrusted, SignatureInvalid,
};
use weightseal::{Accept, Code};

use super::{Case, Python, Signed, certificates, codes, rich};

const OLDER: [&str; 5] = ["0.2.0", "0.3.1", "1.0.0", "1.0.1", "1.1.0"];
const CURVES: [KeyKind; 3] = [KeyKind::P256, KeyKind::P384, KeyKind::P521];
const CHAINS: [(Shape, KeyKind); 3] = [
    (Shape::RsaAuthorities, KeyKind::P256),
    (Shape::P384Authorities, KeyKind::P384),
    (Shape::Plain, KeyKind::P521),
];

/// The first release has a Python interface only, and a format of its own.
fn first(python: &Python) -> bool {
    python.peer.version() == "0.2.0"
}

/// Signs without `notes.txt`.
fn sign(case: &Case, python: &Python) -> Answer {
    case.write("model/notes.txt", "not part of it");
    if first(python) {
        let job = Job::new(case.model(), case.path("model.sig")).ignore(case.path("model/notes.txt"));
        return python.peer.sign_key(&job, &case.path("signer.key")).expect("it runs");
    }
    case.peer_signs(python, &["--ignore-paths", "model/notes.txt"])
}

fn verify(case: &Case, python: &Python) -> Answer {
    if first(python) {
        let job = Job::new(case.model(), case.path("model.sig"));
        return python.peer.verify_key(&job, &case.path("signer.pub")).expect("it runs");
    }
    case.peer_verifies(python, &[])
}

/// Changes the model and the bundle of a case that verifies, and demands each time that this is found.
fn expect_twins_refused(case: &Case, found: impl Fn() -> Vec<Code>, context: &str) {
    assert_eq!(found(), [], "{context}");
    case.write("model/config.json", "{}");
    assert_eq!(found(), [FileChanged], "{context}");
    fs::remove_file(case.path("model/config.json")).expect("removed");
    assert_eq!(found(), [FileMissing], "{context}");
    case.write("model/added", "");
    assert_eq!(found(), [FileUnsigned, FileMissing], "{context}");
    rich(&case.model());
    assert_eq!(found(), [FileUnsigned], "{context}");
    fs::remove_file(case.path("model/added")).expect("removed");
    assert_eq!(found(), [], "{context}");
    case.edit_payload(|text| format!("{text} "));
    assert_eq!(found(), [SignatureInvalid], "{context}");
}

#[test]
fn what_every_release_signed_with_a_key_is_verified() {
    for version in OLDER {
        let Some(python) = Python::release(version) else { continue };
        for kind in CURVES {
            let context = format!("{version} {kind:?}");
            let case = Case::empty(kind);
            rich(&case.model());
            sign(&case, &python).expect_accepted();
            // Only the last of them names the key that signed.
            let other = Accept::key(case.other.public_pem()).expect("a key");
            let named = if version == "1.1.0" { KeyNotTrusted } else { SignatureInvalid };
            assert_eq!(codes(&case.open(), &case.path("model.sig"), other), [named], "{context}");

            // Nor did the others record what they left out, so that it has to be said again.
            let recorded: &[Code] = if version == "1.1.0" { &[] } else { &[FileUnsigned] };
            assert_eq!(case.found(), recorded, "{context}");
            let mut model = case.open();
            assert!(model.ignore_path("notes.txt"));
            expect_twins_refused(&case, || case.found_in(&model), &context);
        }
    }
}

#[test]
fn what_every_release_signed_with_a_certificate_is_verified() {
    for version in OLDER {
        let Some(python) = Python::release(version) else { continue };
        if !python.peer.signs_certificates() {
            continue;
        }
        for (shape, kind) in CHAINS {
            let context = format!("{version} {shape:?} {kind:?}");
            let case = Case::empty(kind);
            rich(&case.model());
            certificates::lay_out(&case, &shape.case(kind));
            certificates::peer_signs(&case, &python).expect_accepted();
            assert_eq!(certificates::found(&case, "other.crt"), [CertificateAnchorUnknown], "{context}");
            expect_twins_refused(&case, || certificates::found(&case, "anchors.crt"), &context);
        }
    }
}

/// All but the first, which knows only a format of its own.
#[test]
fn what_we_sign_is_verified_by_the_releases_that_can() {
    for version in OLDER {
        let Some(python) = Python::release(version) else { continue };
        for kind in CURVES {
            let case = Case::empty(kind);
            rich(&case.model());
            case.sign(Signed::ByUs, &python);
            let answer = verify(&case, &python);
            assert_eq!(answer.accepted(), !first(&python), "{kind:?}: {}", answer.ended);
            case.write("model/config.json", "{}");
            verify(&case, &python).expect_refused();
        }
        if !python.peer.verifies_certificates() {
            continue;
        }
        for (shape, kind) in CHAINS {
            let case = Case::empty(kind);
            rich(&case.model());
            let chain = shape.case(kind);
            certificates::lay_out(&case, &chain);
            certificates::sign(&case, &chain, Signed::ByUs, &python);
            certificates::peer(&case, "anchors.crt", &python).expect_accepted();
            certificates::peer(&case, "other.crt", &python).expect_refused();
            case.write("model/config.json", "{}");
            certificates::peer(&case, "anchors.crt", &python).expect_refused();
        }
    }
}
