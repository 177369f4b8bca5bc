//! Tampered twins: a model that both verify, with one thing changed, which both refuse.

use std::fs;
use std::os::unix::fs::symlink;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use testkit::pki::{Key, KeyKind};
use weightseal::Code::{
    FieldUnknown, FileChanged, FileMissing, FileUnsigned, JsonInvalid, KeyNotTrusted, MaterialAmbiguous,
    MaterialMissing, MediaTypeUnsupported, NotAFile, PayloadTypeUnsupported, SignatureCount,
    SignatureInvalid, SymlinkRefused,
};
use weightseal::{Accept, Code};

use super::{Case, Python, Signed, codes, rich};

/// What is changed, how, and what we find then.
type Twin = (&'static str, fn(&Case), &'static [Code]);

const CONTENT: [Twin; 16] = [
    ("one byte of the weights", |case| flip(case, "model.safetensors", 40_000), &[FileChanged]),
    ("the first byte", |case| flip(case, "deploy/x", 0), &[FileChanged]),
    ("the last byte", |case| flip(case, "\u{1f600}.bin", 4), &[FileChanged]),
    ("a byte more", |case| case.write("model/deploy-a", "aa"), &[FileChanged]),
    ("emptied", |case| case.write("model/deploy-a", ""), &[FileChanged]),
    ("no longer empty", |case| case.write("model/empty.bin", "\0"), &[FileChanged]),
    ("removed", |case| remove(case, "config.json"), &[FileMissing]),
    ("an empty file removed", |case| remove(case, "empty.bin"), &[FileMissing]),
    ("added", |case| case.write("model/added.bin", "1"), &[FileUnsigned]),
    ("an empty file added", |case| case.write("model/deploy/deep/none", ""), &[FileUnsigned]),
    ("a hidden file added", |case| case.write("model/.cache", "1"), &[FileUnsigned]),
    ("renamed", |case| rename(case, "deploy.md", "deploy.MD"), &[FileUnsigned, FileMissing]),
    ("moved", |case| rename(case, "deploy/x", "x"), &[FileMissing, FileUnsigned]),
    ("the two é exchanged", |case| exchange(case, "\u{e9}.txt", "e\u{301}.txt"), &[FileChanged, FileChanged]),
    ("a link in the place of the same bytes", link, &[SymlinkRefused]),
    ("a folder in the place of a file", folder, &[NotAFile]),
];

const BUNDLE: [Twin; 13] = [
    ("a digest in the payload", |case| case.edit_payload(change_digest), &[SignatureInvalid]),
    ("a space in the payload", |case| case.edit_payload(|text| format!("{text} ")), &[SignatureInvalid]),
    ("the statement of another model", other_statement, &[SignatureInvalid]),
    ("a byte of the signature", signature, &[SignatureInvalid]),
    ("another key's hint", other_hint, &[KeyNotTrusted]),
    ("no signature", |case| set(case, "/dsseEnvelope/signatures", json!([])), &[SignatureCount]),
    ("another media type", |case| set(case, "/mediaType", json!("text/plain")), &[MediaTypeUnsupported]),
    (
        "another payload type",
        |case| set(case, "/dsseEnvelope/payloadType", json!("text/plain")),
        &[PayloadTypeUnsupported],
    ),
    ("an unknown field", |case| case.edit(|bundle| bundle["more"] = json!(1)), &[FieldUnknown]),
    (
        "an unknown field in the envelope",
        |case| case.edit(|bundle| bundle["dsseEnvelope"]["more"] = json!(1)),
        &[FieldUnknown],
    ),
    ("a certificate beside the key", certificate_too, &[MaterialAmbiguous]),
    ("no material", |case| set(case, "/verificationMaterial", json!({})), &[MaterialMissing]),
    ("cut", cut, &[JsonInvalid]),
];

#[test]
fn content_that_was_changed_is_refused_by_both() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        each_twin(&python, signed, &CONTENT);
    }
}

#[test]
fn a_bundle_that_was_changed_is_refused_by_both() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        each_twin(&python, signed, &BUNDLE);
    }
}

fn each_twin(python: &Python, signed: Signed, twins: &[Twin]) {
    for (what, change, found) in twins {
        let case = Case::new();
        case.sign(signed, python);
        case.expect_verified(python);
        change(&case);
        assert_eq!(case.found(), *found, "{what}, signed {signed:?}");
        let answer = case.peer_verifies(python, &[]);
        assert!(answer.refused(), "{what}, signed {signed:?}: {}", answer.ended);
    }
}

#[test]
fn another_key_is_refused_by_both() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        for kind in [KeyKind::P256, KeyKind::P384] {
            let case = Case::new();
            case.sign(signed, &python);
            case.expect_verified(&python);
            let other = Key::new(kind, 12);
            case.write("other.pub", other.public_pem());
            let found = || {
                let accept = Accept::key(other.public_pem()).expect("a key");
                codes(&case.open(), &case.path("model.sig"), accept)
            };
            let peer = || {
                let args =
                    ["verify", "key", "model", "--signature", "model.sig", "--public_key", "other.pub"];
                python.cli(case.dir(), &args)
            };
            assert_eq!(found(), [KeyNotTrusted]);
            peer().expect_refused();

            // Nothing but the hint told them apart until here.
            case.edit(|bundle| bundle["verificationMaterial"]["publicKey"]["hint"] = "".into());
            assert_eq!(found(), [SignatureInvalid]);
            peer().expect_refused();
            case.expect_verified(&python);
        }
    }
}

/// Who tolerates unsigned files tolerates nothing else.
#[test]
fn unsigned_files_alone_can_be_tolerated() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        case.sign(signed, &python);
        let tolerant = || {
            let found = case.found_in(&case.open().ignore_unsigned_files(true));
            (found, case.peer_verifies(&python, &["--ignore_unsigned_files"]))
        };
        case.write("model/added.bin", "1");
        case.expect_refused(&python, &[FileUnsigned]);
        let (found, answer) = tolerant();
        assert_eq!(found, []);
        answer.expect_accepted();

        flip(&case, "config.json", 3);
        let (found, answer) = tolerant();
        assert_eq!(found, [FileChanged]);
        answer.expect_refused();

        remove(&case, "config.json");
        let (found, answer) = tolerant();
        assert_eq!(found, [FileMissing]);
        answer.expect_refused();
    }
}

fn flip(case: &Case, name: &str, at: usize) {
    let path = case.model().join(name);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
}

fn remove(case: &Case, name: &str) {
    fs::remove_file(case.model().join(name)).expect("removed");
}

fn rename(case: &Case, from: &str, to: &str) {
    fs::rename(case.model().join(from), case.model().join(to)).expect("renamed");
}

fn exchange(case: &Case, one: &str, other: &str) {
    rename(case, one, "for a moment");
    rename(case, other, one);
    rename(case, "for a moment", other);
}

fn link(case: &Case) {
    remove(case, "copy of config (1).json");
    symlink("config.json", case.model().join("copy of config (1).json")).expect("linked");
}

fn folder(case: &Case) {
    remove(case, "deploy-a");
    fs::create_dir(case.model().join("deploy-a")).expect("made");
}

fn change_digest(text: String) -> String {
    let statement: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let digest = statement["predicate"]["resources"][0]["digest"].as_str().expect("a digest").to_owned();
    let reversed: String = digest.chars().rev().collect();
    text.replace(&digest, &reversed)
}

/// Puts the statement of a model of the same files, one of them changed, under this signature.
fn other_statement(case: &Case) {
    let other = Case::empty(KeyKind::P256);
    rich(&other.model());
    flip(&other, "config.json", 3);
    other.sign_ours(&other.open(), &weightseal::Hashing::files(weightseal::Algorithm::Sha256));
    assert_eq!(other.found(), []);
    let statement = other.statement().to_string();
    case.edit_payload(|_| statement);
}

/// Puts another value in the place of one.
fn set(case: &Case, field: &str, value: Value) {
    case.edit(|bundle| *bundle.pointer_mut(field).expect("it is there") = value);
}

fn certificate_too(case: &Case) {
    let chain = json!({ "certificates": [{ "rawBytes": "MAA=" }] });
    case.edit(|bundle| bundle["verificationMaterial"]["x509CertificateChain"] = chain);
}

fn cut(case: &Case) {
    let text = fs::read(case.path("model.sig")).expect("readable");
    case.write("model.sig", &text[..text.len() / 2]);
}

fn signature(case: &Case) {
    case.edit(|bundle| {
        let sig = &mut bundle["dsseEnvelope"]["signatures"][0]["sig"];
        let mut bytes = BASE64.decode(sig.as_str().expect("a signature")).expect("base64");
        *bytes.last_mut().expect("bytes") ^= 1;
        *sig = BASE64.encode(bytes).into();
    });
}

fn other_hint(case: &Case) {
    let other = weightseal::PublicKey::from_pem(case.other.public_pem().as_bytes()).expect("a key");
    case.edit(|bundle| bundle["verificationMaterial"]["publicKey"]["hint"] = other.hint().into());
}
