//! The large case, and the one that pretends to be small.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use testkit::{
    pki::{Key, KeyKind},
    temporary,
};
use weightseal::{Algorithm, Bundle, Code, Hashing, Memory, Model, Run};

use crate::good::{one, refused, signer, trusting, verified};

fn hashing() -> Hashing {
    Hashing::files(Algorithm::Sha256)
}

#[test]
fn a_hundred_and_fifty_thousand_resources() {
    let key = Key::new(KeyKind::Ed25519, 1);
    let files = |changed: Option<usize>| {
        (0..150_000).fold(Memory::new("m"), |memory, n| {
            let bytes = if changed == Some(n) { u32::MAX } else { n as u32 };
            memory.with(format!("shard-{:03}/expert-{n:06}.bin", n / 1000), bytes.to_le_bytes())
        })
    };
    let model = Model::from_source(files(None));
    let bundle = model.sign(&hashing(), &signer(&key), &Run::new()).unwrap();
    let text = bundle.to_json();
    assert!(text.len() > 20_000_000, "{} bytes", text.len());
    let bundle = Bundle::parse(text.as_bytes()).unwrap();
    let report = verified(&model, &trusting(&key), one(&bundle));
    assert_eq!(report.counts.verified, 150_000);
    let changed = Model::from_source(files(Some(149_999)));
    let report = refused(&changed, &trusting(&key), &[bundle], &[Code::FileChanged]);
    assert_eq!(report.counts.verified, 149_999);
    assert_eq!(report.findings[0].name.as_deref(), Some("shard-149/expert-149999.bin"));
}

#[test]
fn ten_thousand_files_on_disk() {
    let dir = temporary().unwrap();
    for n in 0..10_000 {
        let folder = dir.path().join(format!("{:02}", n / 100));
        if n % 100 == 0 {
            fs::create_dir(&folder).unwrap();
        }
        fs::write(folder.join(format!("{n:05}.bin")), n.to_string()).unwrap();
    }
    let key = Key::new(KeyKind::Ed25519, 1);
    let model = || Model::open(dir.path()).unwrap();
    let bundle = model().sign(&hashing(), &signer(&key), &Run::new()).unwrap();
    let report = verified(&model(), &trusting(&key), one(&bundle));
    assert_eq!(report.counts.verified, 10_000);
    // All of them are wrong: each is told in the report, twenty in the text.
    for n in 0..10_000 {
        fs::write(dir.path().join(format!("{:02}/{n:05}.bin", n / 100)), "wrong").unwrap();
    }
    let report = refused(&model(), &trusting(&key), &[bundle], &[Code::FileChanged]);
    assert_eq!(report.findings.len(), 10_000);
    let text = report.to_string();
    assert!(text.contains("and 9980 more") && text.lines().count() < 100, "{text}");
}

/// Folders of which each holds two links to the next: 2^levels ways to the last one.
fn bomb(folder: &Path, levels: usize, file: bool) {
    for level in 0..levels {
        let here = folder.join(format!("d{level}"));
        fs::create_dir(&here).unwrap();
        for link in ["a", "b"] {
            symlink(format!("../d{}", level + 1), here.join(link)).unwrap();
        }
    }
    let last = folder.join(format!("d{levels}"));
    fs::create_dir(&last).unwrap();
    if file {
        fs::write(last.join("file"), "x").unwrap();
    }
}

/// A model with a bomb in it, whose links are followed, is refused in time.
fn refused_in_time(file: bool) {
    let dir = temporary().unwrap();
    fs::write(dir.path().join("a.txt"), "x").unwrap();
    bomb(dir.path(), 36, file);
    // The deadline is there so that a failure is told before the day is over.
    let run = Run::new().deadline(Duration::from_secs(10));
    let model = Model::open(dir.path()).unwrap().allow_symlinks(true);
    let error = model.manifest(&hashing(), &run).unwrap_err();
    assert_eq!((error.code(), error.class().exit()), (Code::TooManyEntries, 3));
    // Who follows no links is not troubled by them.
    let error = Model::open(dir.path()).unwrap().manifest(&hashing(), &Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::SymlinkRefused);
}

#[test]
fn links_that_multiply_names_are_bounded() {
    refused_in_time(true);
}

#[test]
fn links_that_multiply_and_lead_to_nothing_are_bounded() {
    refused_in_time(false);
}

#[test]
fn a_few_links_that_multiply_are_fine() {
    let dir = temporary().unwrap();
    bomb(dir.path(), 8, true);
    let model = Model::open(dir.path()).unwrap().allow_symlinks(true);
    let manifest = model.manifest(&hashing(), &Run::new()).unwrap();
    // One way from the last folder, two from the one before, and so on.
    assert_eq!(manifest.files().len(), (0..=8).map(|n| 1 << n).sum::<usize>());
}

#[test]
fn deep_folders_to_the_limit_and_no_deeper() {
    let key = Key::new(KeyKind::Ed25519, 1);
    for (depth, fits) in [(200, true), (256, true), (257, false), (1000, false)] {
        let dir = temporary().unwrap();
        let mut path = dir.path().to_owned();
        (0..depth).for_each(|_| path.push("d"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        let model = || Model::open(dir.path()).unwrap();
        match model().sign(&hashing(), &signer(&key), &Run::new()) {
            Ok(bundle) => {
                assert!(fits, "{depth}");
                verified(&model(), &trusting(&key), &[bundle]);
            }
            Err(error) => {
                assert!(!fits, "{depth}: {error}");
                assert_eq!((error.code(), error.class().exit()), (Code::TooManyEntries, 3));
            }
        }
    }
}

#[test]
fn long_names_to_the_limit_and_no_longer() {
    let key = Key::new(KeyKind::Ed25519, 1);
    let part = "n".repeat(255);
    // Sixteen parts of 255 bytes and their slashes are 4095 bytes.
    let name = [&*part; 16].join("/");
    assert_eq!(name.len(), 4095);
    for (name, fits) in [(name.clone(), true), (format!("{name}n"), true), (format!("{name}nn"), false)] {
        let model = Model::from_source(Memory::new("m").with(&*name, "x"));
        match model.sign(&hashing(), &signer(&key), &Run::new()) {
            Ok(bundle) => {
                assert!(fits);
                verified(&model, &trusting(&key), &[bundle]);
            }
            Err(error) => {
                assert!(!fits, "{error}");
                assert_eq!(error.code(), Code::NameInvalid);
            }
        }
    }
}
