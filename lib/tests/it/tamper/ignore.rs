//! What is left out: by the statement, by the verifier, by Git's defaults; and that it hides nothing that is signed.

use std::{fs, path::Path};

use serde_json::json;
use testkit::pki::KeyKind;
use weightseal::{Algorithm, Code, Hashing, Run};

use crate::good::{Good, one, refused, verified, write_files};

fn hashing() -> Hashing {
    Hashing::files(Algorithm::Sha256)
}

/// Whether a bundle that ignores `path` verifies a model to which the file `name` was added.
fn covers(path: &str, name: &str) -> bool {
    let good = Good::new();
    let bundle = good.changed(|s| s["predicate"]["serialization"]["ignore_paths"] = json!([path]));
    verified(&good.model(), &good.policy(), one(&bundle));
    write_files(&good.folder(), [(name, &b"x"[..])]);
    match good.model().verify(&good.policy(), one(&bundle), &Run::new()) {
        Ok(verified) => {
            assert_eq!(verified.report().counts.ignored, 1);
            true
        }
        Err(_) => {
            refused(&good.model(), &good.policy(), &[bundle], &[Code::FileUnsigned]);
            false
        }
    }
}

#[test]
fn an_ignored_path_covers_itself_and_what_is_below_and_nothing_else() {
    for (path, name, covered) in [
        ("extra", "extra", true),
        ("extra", "extra/deep/file", true),
        ("extra/", "extra/file", true),
        ("./extra", "extra", true),
        ("extra/.", "extra/file", true),
        ("extra//deep", "extra/deep/file", true),
        ("extra/deep", "extra/deep/file", true),
        ("extra", "extra.txt", false),
        ("extra", "extras/file", false),
        ("extra", "deploy/extra", false),
        ("extra/deep", "extra/deeper", false),
        ("Extra", "extra", false),
        // What ignores nothing.
        (".", "extra", false),
        ("", "extra", false),
        ("./", "extra", false),
        ("/", "extra", false),
        ("..", "extra", false),
        ("deploy/../extra", "extra", false),
        ("../model/extra", "extra", false),
        ("/extra", "extra", false),
        ("extra\0", "extra", false),
        // Letters, not patterns.
        ("*", "extra", false),
        ("ext*", "extra", false),
        ("e?tra", "extra", false),
        ("[e]xtra", "extra", false),
        ("**/extra", "extra", false),
        ("*", "*", true),
        ("a?[b]", "a?[b]/c", true),
    ] {
        assert_eq!(covers(path, name), covered, "{path:?} covers {name:?}");
    }
}

#[test]
fn a_path_of_the_signers_own_folders_does_no_harm() {
    let good = Good::new();
    let own = good.folder().join("extra");
    for path in [own.to_str().unwrap(), "test/assets/model/ignore-me", "/home/signer/model"] {
        let bundle = good.changed(|s| s["predicate"]["serialization"]["ignore_paths"] = json!([path]));
        verified(&good.model(), &good.policy(), one(&bundle));
        fs::write(&own, "x").unwrap();
        refused(&good.model(), &good.policy(), &[bundle], &[Code::FileUnsigned]);
        fs::remove_file(&own).unwrap();
    }
}

#[test]
fn a_signed_file_that_is_ignored_still_has_to_match() {
    let ignored = |path: &str| {
        let good = Good::new();
        let bundle = good.changed(|s| s["predicate"]["serialization"]["ignore_paths"] = json!([path]));
        verified(&good.model(), &good.policy(), one(&bundle));
        (good, bundle)
    };
    for (path, name) in [("config.json", "config.json"), ("deploy", "deploy/run.sh")] {
        let (good, bundle) = ignored(path);
        fs::write(good.path(name), "x").unwrap();
        good.refuses(bundle, Code::FileChanged);
        let (good, bundle) = ignored(path);
        fs::remove_file(good.path(name)).unwrap();
        good.refuses(bundle, Code::FileMissing);
        let (good, bundle) = ignored(path);
        fs::remove_file(good.path(name)).unwrap();
        fs::create_dir(good.path(name)).unwrap();
        good.refuses(bundle, Code::NotAFile);
        // By the verifier's own word too.
        let good = Good::new();
        fs::write(good.path(name), "x").unwrap();
        let mut model = good.model();
        assert!(model.ignore_path(path));
        refused(&model, &good.policy(), good.bundles(), &[Code::FileChanged]);
    }
}

#[test]
fn the_verifier_may_ignore_more() {
    let good = Good::new();
    write_files(&good.folder(), [("cache/x", &b"x"[..]), ("cache/y", b"y")]);
    good.refused(&[Code::FileUnsigned]);
    let mut model = good.model();
    for nothing in [".", "", "..", "/etc", "../other"] {
        assert!(!model.ignore_path(nothing), "{nothing:?}");
    }
    refused(&model, &good.policy(), good.bundles(), &[Code::FileUnsigned]);
    assert!(model.ignore_path(good.path("cache")));
    let report = verified(&model, &good.policy(), good.bundles());
    assert_eq!(report.counts.ignored, 2);
}

fn git(folder: &Path) {
    write_files(
        folder,
        [
            (".git/HEAD", &b"ref"[..]),
            (".gitignore", b"*.tmp"),
            (".gitattributes", b"*"),
            (".github/ci.yml", b"on: push"),
        ],
    );
}

#[test]
fn gits_files_are_left_out_at_the_top_and_nowhere_else() {
    let good = Good::with(&hashing(), KeyKind::Ed25519, git, |model| model);
    assert!(!good.statement()["predicate"]["resources"].to_string().contains(".git"));
    let report = good.verifies();
    assert_eq!(report.counts.ignored, 4);
    fs::write(good.path(".git/HEAD"), "other").unwrap();
    good.verifies();
    // Whoever does not leave them out sees them, unless the statement names them.
    let bundle = good.changed(|s| s["predicate"]["serialization"]["ignore_paths"] = json!([]));
    verified(&good.model(), &good.policy(), one(&bundle));
    let strict = good.model().include_git_paths(true);
    refused(&strict, &good.policy(), &[bundle], &[Code::FileUnsigned]);

    for name in ["deploy/.gitignore", "deploy/.git/HEAD", ".gitmodules", ".gitkeep", ".git-x"] {
        let good = Good::new();
        write_files(&good.folder(), [(name, &b"x"[..])]);
        good.refused(&[Code::FileUnsigned]);
    }
}

#[test]
fn gits_files_once_signed_have_to_match() {
    let good = Good::with(&hashing(), KeyKind::Ed25519, git, |model| model.include_git_paths(true));
    assert!(good.statement()["predicate"]["resources"].to_string().contains(".git/HEAD"));
    // Whatever the verifier's default is.
    good.verifies();
    for name in [".git/HEAD", ".gitignore", ".github/ci.yml"] {
        let old = fs::read(good.path(name)).unwrap();
        fs::write(good.path(name), "changed").unwrap();
        good.refused(&[Code::FileChanged]);
        fs::remove_file(good.path(name)).unwrap();
        good.refused(&[Code::FileMissing]);
        fs::write(good.path(name), old).unwrap();
        good.verifies();
    }
    // A new one below is left out by default, and seen by whoever asks for it.
    fs::write(good.path(".git/new"), "x").unwrap();
    good.verifies();
    let strict = good.model().include_git_paths(true);
    refused(&strict, &good.policy(), good.bundles(), &[Code::FileUnsigned]);
}

#[test]
fn a_path_that_others_take_for_a_pattern_is_not_recorded() {
    for name in ["*", "*.tmp", "a?", "deploy/[x]"] {
        let good = Good::new();
        write_files(&good.folder(), [(name, &b"x"[..])]);
        let mut model = good.model();
        assert!(model.ignore_path(good.path(name)));
        let error = model.manifest(&hashing(), &Run::new()).unwrap_err();
        assert_eq!((error.code(), error.class().exit()), (Code::BadArgument, 2), "{name}");
        // As a file to sign it is one like any other.
        let manifest = good.model().manifest(&hashing(), &Run::new()).unwrap();
        assert!(manifest.files().iter().any(|file| file.name.as_str() == name));
        // And a verifier, who records nothing, may leave it out.
        verified(&model, &good.policy(), good.bundles());
    }
    // A signature file of such a name is to be recorded too.
    let good = Good::new();
    let mut model = good.model();
    model.leave_out_signature(good.path("model[1].sig"));
    assert_eq!(model.manifest(&hashing(), &Run::new()).unwrap_err().code(), Code::BadArgument);
}
