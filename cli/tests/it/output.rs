//! Output that cannot be written, and files that are there already.

use std::{fs, path::Path};

use crate::{json::Failed, world::World};

#[test]
fn a_disk_that_is_full_leaves_nothing_behind() {
    let world = World::new();
    world.sign();
    let before = (world.listing(), fs::read(world.path("m/model.sig")).unwrap());
    // No file may have a byte: the write fails as it does on a full disk.
    for line in [
        "weightseal sign m --private-key other.key",
        "weightseal sign m --private-key other.key --signature new.sig",
        "weightseal keygen new",
        "weightseal man .",
    ] {
        let ended = world.shell(&format!("ulimit -f 0; {line}")).expect_code(3);
        assert!(
            ended.err().contains("error: cannot write ") && ended.err().contains("free some room"),
            "{ended}"
        );
        assert_eq!(before, (world.listing(), fs::read(world.path("m/model.sig")).unwrap()), "{line}");
    }
    // A report that was asked for and cannot be written is not success, but evidence stays evidence.
    let verify = "ulimit -f 0; weightseal verify m --report out.json --public-key";
    let ended = world.shell(&format!("{verify} release.pub")).expect_code(3);
    assert!(ended.out().starts_with("verified: m\n") && ended.err().contains("out.json"), "{ended}");
    world.shell(&format!("{verify} other.pub")).expect_code(1);
    assert_eq!(before.0, world.listing());
}

#[test]
fn standard_output_that_cannot_be_written_is_not_success() {
    if !Path::new("/dev/full").exists() {
        testkit::skip_or_fail("/dev/full is not there");
        return;
    }
    let world = World::new();
    world.sign();
    for (line, code) in [
        ("weightseal verify m --public-key release.pub", 3),
        ("weightseal verify m --public-key release.pub --format json", 3),
        ("weightseal verify m --public-key other.pub", 1),
        ("weightseal verify m --public-key other.pub --format json --mode warn", 3),
        ("weightseal sign m --private-key release.key", 3),
        ("weightseal digest m --format json", 3),
        ("weightseal inspect m", 3),
        ("weightseal --version", 3),
        ("weightseal --help", 3),
        ("weightseal completions bash", 3),
    ] {
        let ended = world.shell(&format!("{line} > /dev/full")).expect_code(code);
        assert!(ended.err().contains("error: cannot write to standard output: no space left"), "{ended}");
    }
    let ended = world.shell("weightseal sign none --private-key x --format json > /dev/full").expect_code(2);
    assert!(ended.err().starts_with("error: "), "{ended}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::new();
    world.sign();
    for (line, code) in [
        ("weightseal man", 0),
        ("weightseal completions zsh", 0),
        ("weightseal verify m --public-key release.pub", 0),
        ("weightseal verify m --public-key other.pub --format json", 1),
        ("weightseal verify --help", 0),
    ] {
        // The sleep sees to it that nobody reads any more when it writes.
        let ended = world.shell(&format!("{{ sleep 0.2; {line}; echo $? >&2; }} | true"));
        assert_eq!(ended.err(), format!("{code}\n"), "{ended}");
    }
}

#[test]
fn a_signature_that_cannot_be_written_is_told_before_the_model_is_read() {
    let world = World::new();
    world.write("there", "something");
    for signature in ["no/such/folder/model.sig", "there", "m", "one.gguf/model.sig"] {
        let sign = ["sign", "m", "--private-key", "release.key", "-v", "--signature", signature];
        let ended = world.run(&sign).expect_code(2);
        assert!(!ended.err().contains("hashing") && ended.err().contains("error: "), "{ended}");
    }
}

#[test]
fn manual_pages_and_completions_are_whole() {
    let world = World::new();
    fs::create_dir(world.path("man")).unwrap();
    world.run(&["man", "man"]).expect_code(0);
    for name in ["weightseal", "weightseal-sign", "weightseal-verify", "weightseal-keygen"] {
        let page = fs::read_to_string(world.path(&format!("man/{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")) && page.contains(".SH SYNOPSIS"), "{page}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.run(&["completions", shell]).expect_code(0).out();
        for flag in ["certificate-identity", "ignore-unsigned-files", "keygen"] {
            assert!(script.contains(flag), "{shell} lacks {flag}");
        }
    }
    let bash = world.shell("weightseal completions bash > c && bash -n c").expect_code(0);
    assert_eq!(bash.err(), "");
}

#[test]
fn errors_in_json_are_on_standard_output_alone() {
    let world = World::new();
    let ended = world.run(&["inspect", "m", "--format", "json"]).expect_code(2);
    assert_eq!((Failed::of(&ended.out()).0.as_str(), ended.err().as_str()), ("signature-absent", ""));
}
