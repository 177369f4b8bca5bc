//! The receipt as a file, in the hands of somebody else.

use std::{fs, os::unix::fs::PermissionsExt as _};

use testkit::{
    or_skip,
    volume::{Kind, Volume},
};
use weightseal::{Model, Receipts, Run};

use super::{Case, make_model, make_receipts};
use crate::good::{one, verified};

#[test]
fn a_receipt_has_no_name_of_a_file_in_it_and_is_the_owners_alone() {
    let Some(case) = Case::start() else { return };
    let path = case.receipt();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.len() < 1024 && !text.contains("README") && !text.contains("large"), "{text}");
}

#[test]
fn a_receipt_that_was_changed_cut_or_made_up() {
    let Some(case) = Case::start() else { return };
    let path = case.receipt();
    let good = fs::read(&path).unwrap();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    for (bytes, why) in [
        (with(|bytes| bytes[20] ^= 1), "not authentic"),
        (with(|bytes| bytes.truncate(200)), "not authentic"),
        (with(|bytes| bytes.truncate(bytes.len() - 1)), "not authentic"),
        (with(Vec::clear), "not authentic"),
        (with(|bytes| bytes.push(b'\n')), "not authentic"),
        (b"{}\n0000\n".to_vec(), "not authentic"),
        (vec![b' '; 20 << 10], "larger than"),
    ] {
        fs::write(&path, bytes).unwrap();
        case.is_hashed(why);
        case.uses_receipt();
    }
    // The old one is authentic still, and as good as ever, while nothing has changed.
    fs::write(&path, good).unwrap();
    case.uses_receipt();
}

#[test]
fn what_stands_in_the_place_of_a_receipt_and_is_none() {
    let Some(case) = Case::start() else { return };
    let path = case.receipt();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let receipt = case.is_hashed_without("not a regular file").receipt.unwrap();
    assert!(receipt.not_written.is_some(), "{receipt:?}");
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    case.is_hashed_without("not a regular file");
    fs::remove_file(&path).unwrap();
    case.is_hashed("there is none yet");
}

#[test]
fn a_receipt_of_another_model() {
    let Some(case) = Case::start() else { return };
    let other = case.dir.path().join("other");
    make_model(&other);
    let model = || Model::open(&other).unwrap().receipts(case.receipts());
    let check = || verified(&model(), &case.policy(), one(&case.bundle)).receipt.unwrap();
    let first = case.receipt();
    assert!(check().written);
    assert!(check().used);
    let second = fs::read_dir(case.receipts_folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| *path != first)
        .unwrap();
    fs::copy(&first, &second).unwrap();
    let receipt = check();
    assert!(!receipt.used && receipt.written, "{receipt:?}");
    assert_eq!(receipt.why.as_deref(), Some("it is of another model"));
    // The same folder under another id is another model too.
    let named = || verified(&model().id("acme/llama-3"), &case.policy(), one(&case.bundle)).receipt.unwrap();
    assert_eq!(named().why.as_deref(), Some("it is of another model"));
    assert!(named().used);
    // Over other bytes it is no better.
    fs::copy(&first, &second).unwrap();
    super::change(&other.join(super::NAME));
    super::refused_for_a_byte(&model(), &case.policy(), &case.bundle, "it is of another model");
}

#[test]
fn another_key_or_context() {
    let Some(case) = Case::start() else { return };
    let model = |key: &[u8], context: &[u8]| {
        let receipts = Receipts::open(case.receipts_folder(), key, context).unwrap();
        Model::open(case.folder()).unwrap().receipts(receipts)
    };
    let check =
        |key: &[u8], context: &[u8]| verified(&model(key, context), &case.policy(), one(&case.bundle));
    let report = check(&[8; 32], b"context");
    super::hashed(report, "not authentic");
    // Which put its own in the place of the first.
    case.is_hashed("not authentic");
    super::hashed(check(&[7; 32], b"other"), "there is none yet");
    super::used(check(&[7; 32], b"other"));
    case.uses_receipt();
    case.change();
    super::refused_for_a_byte(&model(&[8; 32], b"context"), &case.policy(), &case.bundle, "not authentic");
}

#[test]
fn a_receipt_copied_over_that_of_another_context() {
    let Some(case) = Case::start() else { return };
    let first = case.receipt();
    let receipts = Receipts::open(case.receipts_folder(), &[7; 32], b"other").unwrap();
    let model = Model::open(case.folder()).unwrap().receipts(receipts);
    let check = || verified(&model, &case.policy(), one(&case.bundle));
    check();
    for file in fs::read_dir(case.receipts_folder()).unwrap() {
        let path = file.unwrap().path();
        if path != first {
            fs::copy(&first, path).unwrap();
        }
    }
    super::hashed(check(), "the settings are not what they were");
    super::used(check());
}

#[test]
fn folders_that_others_write_into_hold_no_receipts() {
    let Some(case) = Case::start() else { return };
    let set = |mode| fs::set_permissions(case.receipts_folder(), fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o777, 0o757, 0o1777] {
        set(mode);
        case.is_hashed_without("others may write");
    }
    // A group of this process's own is nobody else.
    set(0o2775);
    case.uses_receipt();
    if rustix::process::geteuid().is_root() {
        let chown = |user, group| std::os::unix::fs::chown(case.receipts_folder(), user, group).unwrap();
        chown(None, Some(54_321));
        case.is_hashed_without("others may write");
        set(0o755);
        case.uses_receipt();
        chown(Some(54_321), None);
        case.is_hashed_without("belongs to somebody else");
        chown(Some(0), None);
    }
    set(0o755);
    case.uses_receipt();
}

#[test]
fn no_folder_and_no_room_are_no_failure() {
    let Some(case) = Case::start() else { return };
    fs::rename(case.receipts_folder(), case.dir.path().join("aside")).unwrap();
    case.is_hashed_without("cannot be looked at");
    fs::write(case.receipts_folder(), "").unwrap();
    case.is_hashed_without("is no folder");
    fs::remove_file(case.receipts_folder()).unwrap();
    make_receipts(&case.receipts_folder());
    case.is_hashed("there is none yet");

    let Some(full) = or_skip(Volume::new(Kind::Tmpfs, 1)) else { return };
    fs::set_permissions(full.path(), fs::Permissions::from_mode(0o755)).unwrap();
    while fs::write(full.path().join("a"), vec![0; 2 << 20]).is_ok() {}
    let receipts = Receipts::open(full.path(), &[7; 32], b"").unwrap();
    let model = Model::open(case.folder()).unwrap().receipts(receipts);
    let report = crate::good::verified_in(&model, &case.policy(), one(&case.bundle), &Run::new());
    let receipt = report.receipt.unwrap();
    assert!(!receipt.written && receipt.not_written.is_some_and(|why| why.contains("no space left")));
}
