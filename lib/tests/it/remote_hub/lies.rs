//! A Hub whose word cannot be relied upon: each lie alone, beside a listing that is right.

use weightseal::{Accept, Algorithm, Hashing, KeySigner, KeyType, Memory, Model, Policy, PrivateKey};

use super::*;

#[test]
fn a_listing_that_is_cut_or_contradicts_itself_is_no_listing() {
    let hub = double(&model());
    for (fault, word) in [
        (HubFault::ListingCut, "lacks"),
        (HubFault::ListingCutByEmptyPage, "lacks"),
        (HubFault::RelativeNext, "not a whole one"),
        (HubFault::NextToOtherHost, "another server"),
        (HubFault::NextLoops, "have no end"),
        (HubFault::ListingEndless, "more than the commit has"),
        (HubFault::RowMissing, "lacks"),
        (HubFault::RowWithoutDigest, "no digest of"),
        (HubFault::RowWithoutLfs, "differ in"),
        (HubFault::DuplicateRow, "twice"),
        (HubFault::UnknownRow, "whether file or folder"),
        (HubFault::SizeLiesInTree, "differ in"),
        (HubFault::SizeNegative, "cannot be read"),
        (HubFault::SizeHuge, "no size of"),
        (HubFault::DigestLiesInTree, "differ in"),
        (HubFault::DigestMalformed, "no digest of"),
        (HubFault::DeepJson, "cannot be read"),
        (HubFault::NotJson, "cannot be read"),
    ] {
        hub.behave();
        assert!(list(&opened(&hub), &Run::new()).is_ok());
        hub.misbehave(fault.clone());
        if fault == HubFault::ListingEndless {
            hub.page_size(2);
        }
        let text = fails(list(&opened(&hub), &Run::new()), Code::ListingInvalid);
        hub.page_size(1000);
        assert!(text.contains(word), "{fault:?}: {text}");
    }
    // Of a small file too.
    hub.victim("config.json");
    for fault in [HubFault::RowWithoutDigest, HubFault::DigestLiesInTree, HubFault::DigestMalformed] {
        hub.misbehave(fault);
        fails(list(&opened(&hub), &Run::new()), Code::ListingInvalid);
    }
    hub.misbehave(HubFault::HugePage { bytes: 17 << 20 });
    fails(list(&opened(&hub), &Run::new()), Code::ServiceFailed);
    for fault in [HubFault::CommitLies, HubFault::CommitMalformed] {
        hub.misbehave(fault);
        fails(open(&hub, "hf://acme/llama"), Code::ListingInvalid);
    }
    // A commit that is not the one that a page is about.
    hub.behave();
    let good = opened(&hub);
    hub.misbehave(HubFault::CommitLies);
    fails(list(&good, &Run::new()), Code::ListingInvalid);
    hub.behave();
    assert!(list(&good, &Run::new()).is_ok());
}

#[test]
fn a_listing_of_a_folder_is_held_against_the_commit_too() {
    let hub = double(&model());
    let folder = || open(&hub, "hf://acme/llama/more").unwrap();
    assert_eq!(list(&folder(), &Run::new()).unwrap().len(), 2);
    hub.victim("more/weights.bin");
    for fault in
        [HubFault::RowMissing, HubFault::SizeLiesInTree, HubFault::ListingCut, HubFault::DuplicateRow]
    {
        hub.misbehave(fault);
        fails(list(&folder(), &Run::new()), Code::ListingInvalid);
    }
    // What does not lie in the folder.
    hub.misbehave(HubFault::UnknownRow);
    let text = fails(list(&folder(), &Run::new()), Code::ListingInvalid);
    assert!(text.contains("does not lie in the folder"), "{text}");
}

#[test]
fn names_that_no_resource_has_are_entries_that_are_never_read() {
    let hub = double(&model());
    for fault in [
        HubFault::NameWithDots,
        HubFault::AbsoluteName,
        HubFault::ControlName,
        HubFault::LongName,
        HubFault::BadEscapes,
    ] {
        hub.misbehave(fault.clone());
        let opened = opened(&hub);
        let entries = list(&opened, &Run::new()).unwrap();
        let bad: Vec<_> = entries.iter().filter(|entry| entry.kind == Kind::BadName).collect();
        assert_eq!(bad.len(), 1, "{fault:?}");
        hub.forget();
        fails(opened.fetch(bad[0], 0..1, Vec::new(), &Run::new()), Code::ChangedWhileRead);
        assert!(hub.seen().is_empty() && hub.cdn_seen().is_empty());
        let error = hashed(opened).unwrap_err();
        assert_eq!(error.code(), Code::FileNameInvalid, "{fault:?}: {error}");
    }
}

fn hashed(source: Hub) -> Result<weightseal::Manifest, Error> {
    Model::from_source(source).manifest(&Hashing::files(Algorithm::Sha256), &Run::new())
}

#[test]
fn what_the_hub_says_of_a_file_has_to_be_what_it_listed() {
    let hub = double(&model());
    for fault in
        [HubFault::LinkedDigestLies, HubFault::LinkedSizeLies, HubFault::FileGone, HubFault::CommitLies]
    {
        hub.behave();
        let opened = opened(&hub);
        assert!(list(&opened, &Run::new()).is_ok());
        hub.misbehave(fault);
        fails(fetch(&opened, "model.safetensors"), Code::ChangedWhileRead);
        hub.behave();
        assert!(fetch(&opened, "model.safetensors").is_ok());
    }
    hub.misbehave(HubFault::SizeLies);
    fails(fetch(&opened(&hub), "model.safetensors"), Code::ChangedWhileRead);
}

#[test]
fn bytes_that_are_not_the_signed_ones_are_not_verified() {
    let hub = double(&model());
    let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
    let policy = Policy::new().accept(Accept::key(key.public().to_pem()).unwrap());
    let memory = model().into_iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(name, bytes));
    let hashing = Hashing::files(Algorithm::Sha256);
    let bundle = Model::from_source(memory).sign(&hashing, &KeySigner::new(key), &Run::new()).unwrap();
    let access = Access::new().allow_http(true).hub(options(&hub));
    let verify = || {
        let model = Model::open_at(&"hf://acme/llama".parse().unwrap(), &access, &Run::new()).unwrap();
        match model.verify(&policy, std::slice::from_ref(&bundle), &Run::new()) {
            Ok(_) => Vec::new(),
            Err(failure) => failure.report().findings.iter().map(|finding| finding.code).collect(),
        }
    };
    assert_eq!(verify(), []);
    hub.misbehave(HubFault::BytesLie);
    assert_eq!(verify(), [Code::FileChanged, Code::FileChanged]);
    hub.misbehave(HubFault::NameWithDots);
    assert_eq!(verify(), [Code::FileNameInvalid]);
    hub.behave();
    hub.commit(RepoType::Model, ID, "main", &[("run.py", b"import os")]);
    assert_eq!(verify(), [Code::FileUnsigned]);
    hub.remove(RepoType::Model, ID, "main", &["run.py", "config.json"]);
    assert_eq!(verify(), [Code::FileMissing]);
    assert!(!hub.cdn_received(hub.token()));
}
