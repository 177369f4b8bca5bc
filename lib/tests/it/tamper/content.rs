//! Content that is not the signed one.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    time::{Duration, Instant},
};

use testkit::{Missing, skip_or_fail};
use weightseal::{Code, Run};

use crate::good::{Good, again, has_program, in_child, passed, refused, refused_in, verified};

const FILE: &str = "config.json";

/// The good model after one change to it, refused with this code, about this name, whether or not unsigned files are
/// forgiven.
fn changed(change: impl Fn(&Good), code: Code, name: &str) {
    let good = Good::new();
    change(&good);
    for forgiving in [false, true] {
        let model = good.model().ignore_unsigned_files(forgiving);
        let report = refused(&model, &good.policy(), good.bundles(), &[code]);
        assert_eq!(report.findings.len(), 1, "{report}");
        assert_eq!(report.findings[0].name.as_deref(), Some(name));
        assert_eq!(report.counts.verified + 1, report.counts.signed, "{report}");
    }
}

fn replace_by_folder(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

#[test]
fn each_signed_file_has_to_be_there_as_it_was() {
    for (name, content) in crate::good::FILES {
        changed(|good| fs::remove_file(good.path(name)).unwrap(), Code::FileMissing, name);
        let longer = [content, b"x"].concat();
        changed(|good| fs::write(good.path(name), &longer).unwrap(), Code::FileChanged, name);
        if content.is_empty() {
            continue;
        }
        changed(|good| fs::write(good.path(name), &content[1..]).unwrap(), Code::FileChanged, name);
        changed(|good| fs::write(good.path(name), b"").unwrap(), Code::FileChanged, name);
        for at in [0, content.len() / 2, content.len() - 1] {
            let mut flipped = content.to_vec();
            flipped[at] ^= 1;
            changed(|good| fs::write(good.path(name), &flipped).unwrap(), Code::FileChanged, name);
        }
    }
}

#[test]
fn a_change_is_found_wherever_it_is_in_a_large_file() {
    let large = vec![7; 5 << 20];
    for at in [0, 131_071, 2 << 20, (4 << 20) + 1, (5 << 20) - 1] {
        for algorithm in weightseal::Algorithm::ALL {
            let good = Good::with(
                &weightseal::Hashing::files(algorithm),
                testkit::pki::KeyKind::Ed25519,
                |folder| fs::write(folder.join("large.bin"), &large).unwrap(),
                |model| model,
            );
            let mut flipped = large.clone();
            flipped[at] ^= 1;
            fs::write(good.path("large.bin"), flipped).unwrap();
            for map in [false, true] {
                let run = Run::new().read(if map {
                    weightseal::ReadMode::Mmap
                } else {
                    weightseal::ReadMode::Pread
                });
                let bundles = [good.bundle.clone()];
                let report = refused_in(&good.model(), &good.policy(), &bundles, &[Code::FileChanged], &run);
                let finding = &report.findings[0];
                assert_eq!(finding.name.as_deref(), Some("large.bin"));
                assert_ne!(finding.expected, finding.actual);
            }
        }
    }
}

#[test]
fn a_renamed_file_is_missing_and_its_new_name_is_not_signed() {
    let good = Good::new();
    fs::rename(good.path(FILE), good.path("config.jsonx")).unwrap();
    good.refused(&[Code::FileMissing, Code::FileUnsigned]);
    let good = Good::new();
    let (a, b) = (fs::read(good.path("deploy-a")).unwrap(), fs::read(good.path("deploy.md")).unwrap());
    fs::write(good.path("deploy-a"), b).unwrap();
    fs::write(good.path("deploy.md"), a).unwrap();
    assert_eq!(good.refused(&[Code::FileChanged]).findings.len(), 2);
}

#[test]
fn a_folder_stands_in_the_place_of_a_signed_file() {
    changed(|good| replace_by_folder(&good.path(FILE)), Code::NotAFile, FILE);
    let good = Good::new();
    replace_by_folder(&good.path(FILE));
    fs::write(good.path(FILE).join("inside"), "x").unwrap();
    good.refused(&[Code::NotAFile, Code::FileUnsigned]);
    let forgiving = good.model().ignore_unsigned_files(true);
    refused(&forgiving, &good.policy(), good.bundles(), &[Code::NotAFile]);
}

#[test]
fn a_file_stands_in_the_place_of_a_folder_with_signed_files() {
    let good = Good::new();
    fs::remove_dir_all(good.path("deploy")).unwrap();
    fs::write(good.path("deploy"), "x").unwrap();
    good.refused(&[Code::FileMissing, Code::FileUnsigned]);
    // An empty folder is nothing.
    let good = Good::new();
    fs::create_dir_all(good.path("new/folder")).unwrap();
    good.verifies();
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[test]
fn a_pipe_or_socket_is_refused_and_nobody_waits_for_it() {
    let started = Instant::now();
    changed(
        |good| {
            fs::remove_file(good.path(FILE)).unwrap();
            fifo(&good.path(FILE));
        },
        Code::SpecialFile,
        FILE,
    );
    changed(
        |good| {
            fs::remove_file(good.path(FILE)).unwrap();
            drop(UnixListener::bind(good.path(FILE)).unwrap());
        },
        Code::SpecialFile,
        FILE,
    );
    // One that nobody signed as well, unless such are forgiven; and behind a link.
    let good = Good::new();
    fifo(&good.path("pipe"));
    good.refused(&[Code::SpecialFile]);
    verified(&good.model().ignore_unsigned_files(true), &good.policy(), good.bundles());
    let hashing = weightseal::Hashing::files(weightseal::Algorithm::Sha256);
    let error = good.model().manifest(&hashing, &Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::SpecialFile);
    // A pipe that was waited for would never be written to.
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_link_stands_in_the_place_of_a_signed_file() {
    changed(
        |good| {
            fs::rename(good.path(FILE), good.dir.path().join("outside")).unwrap();
            symlink(good.dir.path().join("outside"), good.path(FILE)).unwrap();
        },
        Code::SymlinkEscapes,
        FILE,
    );
    let good = Good::new();
    fs::rename(good.path(FILE), good.path("moved")).unwrap();
    symlink("moved", good.path(FILE)).unwrap();
    good.refused(&[Code::SymlinkRefused, Code::FileUnsigned]);
}

#[test]
fn a_file_that_nobody_signed() {
    for name in ["new.txt", ".hidden", "deploy/new.txt", ".cache/x/y", ".gitmodules", "model.sig", "empty"] {
        let good = Good::new();
        let path = good.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, if name == "empty" { "" } else { "x" }).unwrap();
        let report = good.refused(&[Code::FileUnsigned]);
        assert_eq!(report.findings[0].name.as_deref(), Some(name));
        let forgiving = good.model().ignore_unsigned_files(true);
        let report = verified(&forgiving, &good.policy(), good.bundles());
        assert_eq!(report.counts.unsigned, 1);
    }
}

#[test]
fn a_name_on_disk_that_is_not_text() {
    let bad = std::ffi::OsStr::from_bytes(b"bad\xff\xfename");
    for folder in [false, true] {
        let good = Good::new();
        let path = good.folder().join(bad);
        if folder {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("inside"), "x").unwrap();
        } else {
            fs::write(&path, "x").unwrap();
        }
        good.refused(&[Code::FileNameInvalid]);
        verified(&good.model().ignore_unsigned_files(true), &good.policy(), good.bundles());
        let hashing = weightseal::Hashing::files(weightseal::Algorithm::Sha256);
        let error = good.model().manifest(&hashing, &Run::new()).unwrap_err();
        assert_eq!(error.code(), Code::FileNameInvalid);
    }
}

#[test]
fn a_file_or_folder_that_may_not_be_read() {
    const TEST: &str = "tamper::content::a_file_or_folder_that_may_not_be_read";
    if rustix::process::geteuid().is_root() {
        // Nothing is denied to root.
        if has_program("setpriv") {
            let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
            passed(again(TEST, &nobody));
        } else {
            skip_or_fail(Missing::new("a user to whom something is denied", "there is no setpriv"));
        }
        return;
    }
    let deny = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
    for name in [FILE, "deploy", "deploy/run.sh"] {
        for forgiving in [false, true] {
            let good = Good::new();
            deny(&good.path(name));
            let model = good.model().ignore_unsigned_files(forgiving);
            let codes = [Code::PermissionDenied];
            let report = refused(&model, &good.policy(), good.bundles(), &codes);
            assert_eq!(report.findings.len(), 1);
            assert_eq!(report.findings[0].name.as_deref(), Some(name));
            fs::set_permissions(good.path(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    // A folder in which nothing is signed hides files from the check.
    let good = Good::new();
    fs::create_dir(good.path("secret")).unwrap();
    deny(&good.path("secret"));
    good.refused(&[Code::PermissionDenied]);
    fs::set_permissions(good.path("secret"), PermissionsExt::from_mode(0o755)).unwrap();
    good.verifies();
    // Evidence wins over what could not be told.
    let good = Good::new();
    deny(&good.path(FILE));
    fs::write(good.path("README.md"), "x").unwrap();
    good.refused(&[Code::PermissionDenied, Code::FileChanged]);
    assert!(in_child(TEST) || !rustix::process::geteuid().is_root());
}
