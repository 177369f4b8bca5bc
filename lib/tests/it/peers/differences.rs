//! Where we differ from the peer on purpose.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use serde_json::json;
use testkit::pki::{Key, KeyKind};
use weightseal::Code::{
    BadArgument, FileChanged, FileMissing, FileNameInvalid, FileUnsigned, JsonDuplicateKey, ModelEmpty,
    ResourcesEmpty, SignatureCount, SpecialFile, SymlinkEscapes,
};
use weightseal::{Algorithm, Code, Hashing, Run};

use super::{Case, Python, Signed, rich};

/// What signing the model as it is fails with.
fn refusal(case: &Case, links: bool) -> Code {
    let model = case.open().allow_symlinks(links);
    model.manifest(&Hashing::files(Algorithm::Sha256), &Run::new()).expect_err("refused").code()
}

/// A signature over nothing would verify whatever is ignored or tolerated.
#[test]
fn the_peer_signs_an_empty_model_and_we_do_not() {
    let Some(python) = Python::latest() else { return };
    let case = Case::empty(KeyKind::P256);
    assert_eq!(refusal(&case, false), ModelEmpty);
    case.peer_signs(&python, &[]).expect_accepted();
    case.peer_verifies(&python, &[]).expect_accepted();
    assert_eq!(case.found(), [ResourcesEmpty]);
    case.write("model/evil.bin", "1");
    case.peer_verifies(&python, &["--ignore_unsigned_files"]).expect_accepted();
    assert_eq!(case.found_in(&case.open().ignore_unsigned_files(true)), [ResourcesEmpty]);
}

/// The peer passes links to folders over; we sign the names through them, and let its statements be without them.
#[test]
fn links_to_folders_are_passed_over_by_the_peer_and_signed_by_us() {
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    symlink("deploy", case.path("model/linked")).expect("linked");
    case.peer_signs(&python, &["--allow_symlinks"]).expect_accepted();
    case.peer_verifies(&python, &["--allow_symlinks"]).expect_accepted();
    let found = || case.found_in(&case.open().allow_symlinks(true));
    assert_eq!(found(), []);
    // What lies behind the link is let pass for being signed by its own name, nothing else.
    case.write("model/deploy/new", "x");
    assert_eq!(found(), [FileUnsigned, FileUnsigned]);
    fs::remove_file(case.path("model/deploy/new")).expect("removed");

    case.sign_ours(&case.open().allow_symlinks(true), &Hashing::files(Algorithm::Sha256));
    assert_eq!(found(), []);
    case.peer_verifies(&python, &["--allow_symlinks"]).expect_refused();
}

#[test]
fn links_out_of_the_model_are_followed_by_the_peer_alone() {
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    case.write("outside.bin", "elsewhere");
    symlink("../outside.bin", case.path("model/escaping.bin")).expect("linked");
    assert_eq!(refusal(&case, true), SymlinkEscapes);
    case.peer_signs(&python, &["--allow_symlinks"]).expect_accepted();
    case.peer_verifies(&python, &["--allow_symlinks"]).expect_accepted();
    assert_eq!(case.found_in(&case.open().allow_symlinks(true)), [SymlinkEscapes]);
}

#[test]
fn a_signed_file_that_is_ignored_is_missing_for_the_peer_and_checked_by_us() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        case.sign(signed, &python);
        let mut model = case.open();
        assert!(model.ignore_path("config.json"));
        assert_eq!(case.found_in(&model), []);
        let flags = ["--ignore-paths", "model/config.json"];
        case.peer_verifies(&python, &flags).expect_refused();

        fs::remove_file(case.path("model/config.json")).expect("removed");
        assert_eq!(case.found_in(&model), [FileMissing]);
        case.peer_verifies(&python, &flags).expect_refused();
    }
}

/// Letters that mean a pattern elsewhere are plain ones to both when reading; we write none, for who reads it may not know.
#[test]
fn what_looks_like_a_pattern_is_recorded_by_the_peer_alone() {
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    case.write("model/a*b", "ignored");
    case.write("model/axb", "signed");
    let mut model = case.open();
    assert!(model.ignore_path("a*b"));
    let refused = model.manifest(&Hashing::files(Algorithm::Sha256), &Run::new()).expect_err("refused");
    assert_eq!(refused.code(), BadArgument);

    case.peer_signs(&python, &["--ignore-paths", "model/a*b"]).expect_accepted();
    case.write("model/a*b", "changed");
    case.expect_verified(&python);
    case.write("model/axb", "changed");
    case.expect_refused(&python, &[FileChanged]);
}

/// Of two signatures, or of a key that stands twice, the peer takes one; another reader may take the other.
#[test]
fn a_bundle_that_can_be_read_in_two_ways_is_refused_by_us_alone() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        case.sign(signed, &python);
        let expect = |code: Code| {
            assert_eq!(case.found(), [code], "signed {signed:?}");
            case.peer_verifies(&python, &[]).expect_accepted();
        };
        case.edit(|bundle| {
            let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().expect("signatures");
            signatures.push(json!({ "sig": "AAAA", "keyid": "" }));
        });
        expect(SignatureCount);

        case.edit(|bundle| drop(bundle["dsseEnvelope"]["signatures"].as_array_mut().and_then(Vec::pop)));
        case.expect_verified(&python);
        let text = fs::read_to_string(case.path("model.sig")).expect("readable");
        case.write("model.sig", format!("{{\"mediaType\":\"text/plain\",{}", &text[1..]));
        expect(JsonDuplicateKey);
    }
}

/// OMS does not list it, DSSE allows it; the peer has no such key.
#[test]
fn ed25519_is_ours_alone() {
    let Some(python) = Python::latest() else { return };
    let case = Case::empty(KeyKind::Ed25519);
    rich(&case.model());
    case.sign(Signed::ByUs, &python);
    assert_eq!(case.found(), []);
    case.peer_verifies(&python, &[]).expect_refused();
    case.peer_signs(&python, &[]).expect_refused();

    let other = Key::new(KeyKind::P256, 12);
    case.write("signer.pub", other.public_pem());
    case.peer_verifies(&python, &[]).expect_refused();
}

#[test]
fn pipes_and_names_that_are_not_text_are_refused_by_both() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        case.sign(signed, &python);

        let pipe = case.path("model/pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        assert_eq!(refusal(&case, false), SpecialFile);
        case.expect_refused(&python, &[SpecialFile]);
        fs::remove_file(pipe).expect("removed");
        case.expect_verified(&python);

        fs::write(case.model().join(OsStr::from_bytes(b"\xff.bin")), "1").expect("written");
        assert_eq!(refusal(&case, false), FileNameInvalid);
        case.expect_refused(&python, &[FileNameInvalid]);
    }
}
