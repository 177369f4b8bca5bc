//! What is left out: paths that are ignored, Git's own, the signature; and links that are followed.

use std::fs;
use std::os::unix::fs::symlink;

use weightseal::Code::{FileChanged, FileMissing, FileUnsigned, SymlinkRefused};
use weightseal::{Algorithm, Hashing};

use super::{Case, Python, Signed};

const FILES: fn() -> Hashing = || Hashing::files(Algorithm::Sha256);

/// Adds what is to be ignored.
fn with_extras() -> Case {
    let case = Case::new();
    case.write("model/cache/a", "cached");
    case.write("model/cache/deep/b", "cached");
    case.write("model/notes.txt", "not part of it");
    case
}

/// Signs without those extras: one given relative, one absolute, and one that lies outside.
fn sign_without_extras(case: &Case, signed: Signed, python: &Python) {
    let (notes, outside) = (case.path("model/notes.txt"), case.path("elsewhere"));
    match signed {
        Signed::ByUs => {
            let mut model = case.open();
            assert!(model.ignore_path("cache"));
            assert!(model.ignore_path(&notes));
            assert!(!model.ignore_path(&outside));
            case.sign_ours(&model, &FILES());
        }
        Signed::ByPeer => {
            let [notes, outside] = [&notes, &outside].map(|path| path.to_str().expect("text"));
            // A relative path counts from the folder it is started in, which is the one above the model.
            let paths = ["model/cache", notes, outside].map(|path| ["--ignore-paths", path]);
            case.peer_signs(python, paths.as_flattened()).expect_accepted();
        }
    }
}

fn recorded(case: &Case) -> Vec<String> {
    let statement = case.statement();
    let paths = statement["predicate"]["serialization"]["ignore_paths"].as_array().expect("paths").clone();
    let mut paths: Vec<String> = paths.iter().map(|path| path.as_str().expect("text").to_owned()).collect();
    paths.sort();
    paths
}

#[test]
fn ignored_paths_are_recorded_and_go_both_ways() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = with_extras();
        sign_without_extras(&case, signed, &python);
        let expected = [".git", ".gitattributes", ".github", ".gitignore", "cache", "notes.txt"];
        assert_eq!(recorded(&case), expected, "signed {signed:?}");
        case.expect_verified(&python);

        case.write("model/cache/deep/b", "changed");
        case.write("model/cache/c", "new");
        fs::remove_file(case.path("model/notes.txt")).expect("removed");
        case.expect_verified(&python);

        // Parts are compared, not letters.
        case.write("model/cache2", "not in the cache");
        case.expect_refused(&python, &[FileUnsigned]);
        fs::remove_file(case.path("model/cache2")).expect("removed");

        case.write("model/config.json", "{}");
        case.expect_refused(&python, &[FileChanged]);
    }
}

#[test]
fn whoever_verifies_can_ignore_more() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        case.sign(signed, &python);
        case.write("model/logs/today.txt", "added by whoever runs it");
        case.write("model/.lock", "");
        case.expect_refused(&python, &[FileUnsigned, FileUnsigned]);

        let (logs, lock) = (case.path("model/logs"), "model/.lock");
        let flags = ["--ignore-paths", logs.to_str().expect("text"), "--ignore-paths", lock];
        let mut model = case.open();
        assert!(model.ignore_path(&logs) && model.ignore_path(".lock"));
        assert_eq!(case.found_in(&model), []);
        case.peer_verifies(&python, &flags).expect_accepted();

        case.write("model/config.json", "{}");
        assert_eq!(case.found_in(&model), [FileChanged]);
        case.peer_verifies(&python, &flags).expect_refused();
    }
}

#[test]
fn gits_own_paths_are_left_out_unless_they_are_wanted() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        case.write("model/.gitattributes", "*.safetensors filter=lfs\n");
        case.write("model/.git/HEAD", "ref: refs/heads/main\n");
        case.write("model/.github/workflows/ci.yml", "on: push\n");
        case.sign(signed, &python);
        case.expect_verified(&python);
        case.write("model/.gitattributes", "changed");
        case.write("model/.git/index", "added");
        case.expect_verified(&python);
        // They are Git's at the top only.
        case.write("model/sub/.gitignore", "changed");
        case.expect_refused(&python, &[FileChanged]);

        match signed {
            Signed::ByUs => case.sign_ours(&case.open().include_git_paths(true), &FILES()),
            Signed::ByPeer => case.peer_signs(&python, &["--no-ignore-git-paths"]).expect_accepted(),
        }
        let found = || case.found_in(&case.open().include_git_paths(true));
        let peer = || case.peer_verifies(&python, &["--no-ignore-git-paths"]);
        assert_eq!(found(), [], "signed {signed:?}");
        peer().expect_accepted();
        case.write("model/.git/index", "changed");
        assert_eq!(found(), [FileChanged], "signed {signed:?}");
        peer().expect_refused();
        // Once signed they have to match, for us even where they would be left out.
        assert_eq!(case.found(), [FileChanged]);
        fs::remove_file(case.path("model/.git/index")).expect("removed");
        assert_eq!(found(), [FileMissing], "signed {signed:?}");
        peer().expect_refused();
    }
}

/// The signature lies in the model as a rule, and may be given another name later.
#[test]
fn a_signature_in_the_model_leaves_itself_out() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        let signature = "model/model.sig";
        match signed {
            Signed::ByUs => {
                let mut model = case.open();
                model.leave_out_signature(case.path(signature));
                case.sign_ours(&model, &FILES());
                fs::rename(case.path("model.sig"), case.path(signature)).expect("moved");
            }
            Signed::ByPeer => {
                let args = ["sign", "key", "model", "--signature", signature, "--private_key", "signer.key"];
                python.cli(case.dir(), &args).expect_accepted();
            }
        }
        let verify = |signature: &str| {
            let accept = weightseal::Accept::key(case.key.public_pem()).expect("a key");
            let found = super::codes(&case.open(), &case.path(signature), accept);
            let args = ["verify", "key", "model", "--signature", signature, "--public_key", "signer.pub"];
            (found, python.cli(case.dir(), &args))
        };
        let (found, answer) = verify(signature);
        assert_eq!(found, [], "signed {signed:?}");
        answer.expect_accepted();

        let renamed = "model/skill.oms.sig";
        fs::rename(case.path(signature), case.path(renamed)).expect("renamed");
        let (found, answer) = verify(renamed);
        assert_eq!(found, [], "signed {signed:?}");
        answer.expect_accepted();
        fs::copy(case.path(renamed), case.path("model/another.sig")).expect("copied");
        let (found, answer) = verify(renamed);
        assert_eq!(found, [FileUnsigned], "signed {signed:?}");
        answer.expect_refused();
    }
}

#[test]
fn links_to_files_of_the_model_are_followed_where_both_sides_allow_them() {
    let Some(python) = Python::latest() else { return };
    for signed in Signed::EACH {
        let case = Case::new();
        symlink("../config.json", case.path("model/deploy/link.json")).expect("linked");
        match signed {
            Signed::ByUs => {
                let refused = case.open().manifest(&FILES(), &weightseal::Run::new()).expect_err("refused");
                assert_eq!(refused.code(), SymlinkRefused);
                case.sign_ours(&case.open().allow_symlinks(true), &FILES());
            }
            Signed::ByPeer => {
                case.peer_signs(&python, &[]).expect_refused();
                case.peer_signs(&python, &["--allow_symlinks"]).expect_accepted();
            }
        }
        let found = || case.found_in(&case.open().allow_symlinks(true));
        let peer = || case.peer_verifies(&python, &["--allow_symlinks"]);
        assert_eq!(found(), [], "signed {signed:?}");
        peer().expect_accepted();
        // Each wants the verifier's yes as well.
        case.expect_refused(&python, &[SymlinkRefused]);

        // Both names show what was done to the one file.
        case.write("model/config.json", "{}");
        assert_eq!(found(), [FileChanged, FileChanged], "signed {signed:?}");
        peer().expect_refused();
    }
}

/// The Python interface, which was there before the flag.
#[test]
fn links_signed_by_the_python_interface_are_verified() {
    const SIGN: &str = "
from model_signing import hashing, signing
config = hashing.Config().use_file_serialization(allow_symlinks=True).set_allow_symlinks(True)
signer = signing.Config().use_elliptic_key_signer(private_key='signer.key')
signer.set_hashing_config(config).sign('model', 'model.sig')
print('Signing succeeded')
";
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    symlink("config.json", case.path("model/link.json")).expect("linked");
    python.run::<&str>(SIGN, case.dir(), &[]).expect_accepted();
    assert_eq!(case.statement()["predicate"]["serialization"]["allow_symlinks"], true);
    assert_eq!(case.found(), [SymlinkRefused]);
    assert_eq!(case.found_in(&case.open().allow_symlinks(true)), []);
    case.write("model/link.json", "through the link");
    let found = case.found_in(&case.open().allow_symlinks(true));
    assert_eq!(found, [FileChanged, FileChanged]);
}
