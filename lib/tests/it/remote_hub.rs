//! Models on the Hugging Face Hub: a double that keeps its word, and one that does not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::hub::{Hub as Double, HubFault, Kind as RepoType, Told, Visibility};
use weightseal::{
    Access, Cancel, Code, Digest, Entry, Error, Events, Hub, HubOptions, HubUri, Kind, ModelUri, Run, Source,
};
use zeroize::Zeroizing;

use crate::source_contract::{contract, files, list};

mod cache;
mod lies;
mod others;
mod ranges;
mod write;

const ID: &str = "acme/llama";

/// A Hub with one public model.
fn double(files: &BTreeMap<String, Vec<u8>>) -> Double {
    let hub = Double::start();
    hub.create(RepoType::Model, ID, Visibility::Public);
    commit(&hub, files);
    hub
}

fn commit(hub: &Double, files: &BTreeMap<String, Vec<u8>>) -> String {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    hub.commit(RepoType::Model, ID, "main", &files)
}

/// Small files and two in LFS, one of them in a folder.
fn model() -> BTreeMap<String, Vec<u8>> {
    let weights = |first: usize, length: usize| (first..first + length).map(|n| (n % 251) as u8).collect();
    [
        ("README.md", b"# A model\n".to_vec()),
        ("config.json", b"{}\n".to_vec()),
        ("empty.txt", Vec::new()),
        ("model.safetensors", weights(0, 300_001)),
        ("more/weights.bin", weights(7, 5000)),
        ("more/notes.txt", b"notes".to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect()
}

/// With the right token, and apart from the settings of whoever runs the tests.
fn options(hub: &Double) -> HubOptions {
    let token = Zeroizing::new(hub.token().to_owned());
    HubOptions::new().endpoint(hub.url()).token(token).no_cache().allow_http(true)
}

fn uri(text: &str) -> HubUri {
    match text.parse() {
        Ok(ModelUri::Hub(uri)) => uri,
        other => panic!("{text}: {other:?}"),
    }
}

fn open(hub: &Double, text: &str) -> Result<Hub, Error> {
    Hub::open(&uri(text), &options(hub), &Run::new())
}

fn opened(hub: &Double) -> Hub {
    open(hub, "hf://acme/llama").unwrap()
}

fn entry(hub: &Hub, name: &str) -> Entry {
    list(hub, &Run::new()).unwrap().into_iter().find(|entry| entry.name == name).unwrap()
}

fn fetch(hub: &Hub, name: &str) -> Result<Vec<u8>, Error> {
    let entry = entry(hub, name);
    hub.fetch(&entry, 0..entry.size, Vec::new(), &Run::new())
}

#[track_caller]
fn fails<T>(result: Result<T, Error>, code: Code) -> String {
    let error = result.err().unwrap();
    assert_eq!(error.code(), code, "{error}");
    let text = format!("{error} {error:?} {}", error.help());
    for secret in ["hf_good", "hf_other", "Signature=", "Expires="] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[test]
fn a_model_on_the_hub_keeps_the_contract() {
    let hub = double(&files());
    contract(&opened(&hub), &files());
    hub.page_size(2);
    hub.redirects_small_files(true);
    hub.with_xet(true);
    contract(&opened(&hub), &files());
    for (path, at) in [("folder", "folder/"), ("folder/more", "folder/more/")] {
        let below = files().into_iter();
        let below = below.filter_map(|(name, bytes)| Some((name.strip_prefix(at)?.to_owned(), bytes)));
        let below: BTreeMap<_, _> = below.collect();
        let opened = open(&hub, &format!("hf://acme/llama/{path}")).unwrap();
        let names: Vec<_> = list(&opened, &Run::new()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert!(below.keys().all(|name| names.contains(name)), "{names:?}");
        assert_eq!(fetch(&opened, below.keys().next().unwrap()).unwrap(), *below.values().next().unwrap());
    }
    for name in files().keys() {
        let base = name.rsplit('/').next().unwrap().to_owned();
        let one = BTreeMap::from([(base.clone(), files()[name].clone())]);
        let opened = open(&hub, &format!("hf://acme/llama/{name}")).unwrap();
        assert_eq!(opened.base_name(), base);
        contract(&opened, &one);
    }
    assert!(!hub.cdn_received(hub.token()) && hub.cdn_seen().len() > 10);
}

#[test]
fn what_was_listed_and_is_another_is_not_read_and_a_run_that_is_over_reads_nothing() {
    let hub = double(&model());
    let opened = opened(&hub);
    let listed = entry(&opened, "model.safetensors");
    let cancel = Cancel::default();
    let over = Run::new().cancel(cancel.clone());
    assert!(opened.read_at(&listed, 0, &mut [0; 8], &over).is_ok());
    cancel.cancel();
    fails(list(&opened, &over), Code::Interrupted);
    fails(opened.read_at(&listed, 0, &mut [0; 8], &over), Code::Interrupted);

    let changed = |change: &dyn Fn(&mut Entry)| {
        let mut entry = listed.clone();
        change(&mut entry);
        opened.fetch(&entry, 0..8, Vec::new(), &Run::new())
    };
    assert_eq!(changed(&|_| ()).unwrap().len(), 8);
    fails(changed(&|entry| entry.size += 1), Code::ChangedWhileRead);
    fails(changed(&|entry| entry.stamp.tag = None), Code::ChangedWhileRead);
    fails(changed(&|entry| entry.stamp.file.inode += 1), Code::ChangedWhileRead);
    fails(changed(&|entry| entry.name = "gone".to_owned()), Code::ChangedWhileRead);
    fails(changed(&|entry| entry.name = "more".to_owned()), Code::ChangedWhileRead);
    let past = opened.fetch(&listed, 0..listed.size + 1, Vec::new(), &Run::new());
    fails(past, Code::ChangedWhileRead);
}

#[test]
fn a_branch_a_tag_and_a_pull_request_become_a_commit_and_stay_it() {
    let hub = double(&model());
    let first = hub.revision(RepoType::Model, ID, "main").unwrap();
    hub.tag(RepoType::Model, ID, "v1.0", "main");
    let pull = hub.pull_request(RepoType::Model, ID);
    hub.misbehave(HubFault::BranchMoves);
    let branch = opened(&hub);
    hub.behave();
    let second = hub.revision(RepoType::Model, ID, "main").unwrap();
    assert_ne!(first, second);
    hub.branch(RepoType::Model, ID, "feature/x", &first);
    assert_eq!((branch.commit(), branch.to_string()), (first.as_str(), format!("hf://acme/llama@{first}")));
    // What is read is what was there then.
    assert_eq!(fetch(&branch, "model.safetensors").unwrap(), model()["model.safetensors"]);
    let tag = entry(&branch, "model.safetensors").stamp.tag.unwrap();
    assert!(tag.starts_with(&format!("{first}:")), "{tag}");

    let commit =
        |revision: &str| open(&hub, &format!("hf://acme/llama@{revision}")).unwrap().commit().to_owned();
    assert_eq!(commit("v1.0"), first);
    assert_eq!(commit("feature%2Fx"), first);
    assert_eq!(commit(&first), first);
    assert_eq!(commit("main"), second);
    assert_eq!(commit(&pull), hub.revision(RepoType::Model, ID, &pull).unwrap());
    let file = open(&hub, "hf://acme/llama/more").unwrap();
    assert_eq!(file.to_string(), format!("hf://acme/llama@{second}/more"));
}

#[test]
fn datasets_spaces_and_models_without_an_owner_are_opened_too() {
    let hub = Double::start();
    for (kind, id, text) in [
        (RepoType::Dataset, "acme/data", "hf://datasets/acme/data"),
        (RepoType::Space, "acme/app", "hf://spaces/acme/app"),
        (RepoType::Model, "gpt2", "hf://gpt2@main"),
    ] {
        hub.create(kind, id, Visibility::Private);
        hub.commit(kind, id, "main", &[("a b%20/c?d#e", vec![1; 3000]), ("x", b"y".to_vec())]);
        let opened = open(&hub, text).unwrap();
        assert_eq!(fetch(&opened, "a b%20/c?d#e").unwrap(), vec![1; 3000]);
        assert_eq!(fetch(&opened, "x").unwrap(), b"y");
        assert!(opened.to_string().starts_with(text.trim_end_matches("@main")), "{opened}");
        assert_eq!(opened.base_name(), id.rsplit('/').next().unwrap());
    }
}

#[test]
fn refusals_say_what_is_to_be_done() {
    let hub = double(&model());
    hub.create(RepoType::Model, "acme/private", Visibility::Private);
    hub.create(RepoType::Model, "acme/gated", Visibility::Gated);
    for id in ["acme/private", "acme/gated"] {
        hub.commit(RepoType::Model, id, "main", &[("model.safetensors", [1; 2000])]);
    }
    let other = || options(&hub).token(Zeroizing::new(hub.other_token().to_owned()));
    let nobody = || options(&hub).no_token();
    let open = |options: HubOptions, text: &str| Hub::open(&uri(text), &options, &Run::new());
    let read = |options: HubOptions, text: &str| {
        open(options, text).and_then(|opened| fetch(&opened, "model.safetensors"))
    };
    assert!(
        read(options(&hub), "hf://acme/private").is_ok() && read(options(&hub), "hf://acme/gated").is_ok()
    );
    assert!(read(nobody(), "hf://acme/llama").is_ok());

    assert!(fails(open(nobody(), "hf://acme/nothing"), Code::AccessDenied).contains("give a token"));
    assert!(fails(open(nobody(), "hf://acme/private"), Code::AccessDenied).contains("give a token"));
    fails(open(other(), "hf://acme/private"), Code::ModelAbsent);
    fails(open(options(&hub), "hf://acme/nothing"), Code::ModelAbsent);
    assert!(fails(read(nobody(), "hf://acme/gated"), Code::AccessDenied).contains("accept the terms"));
    assert!(fails(read(other(), "hf://acme/gated"), Code::AccessDenied).contains("accept the terms"));
    let bad = options(&hub).token(Zeroizing::new("nonsense".to_owned()));
    assert!(fails(open(bad, "hf://acme/llama"), Code::AccessDenied).contains("check the token"));
    assert!(fails(open(options(&hub), "hf://acme/llama@none"), Code::ModelAbsent).contains("revision"));
    fails(open(options(&hub), "hf://acme/llama/none"), Code::ModelAbsent);
    fails(open(options(&hub), "hf://acme/llama/mor"), Code::ModelAbsent);
    let commit = "0".repeat(40);
    fails(open(options(&hub), &format!("hf://acme/llama@{commit}")), Code::ModelAbsent);
    fails(open(options(&hub).offline(true), "hf://acme/llama"), Code::ServiceFailed);
    fails(open(options(&hub).allow_http(false), "hf://acme/llama"), Code::TransportInsecure);
    hub.rename(RepoType::Model, ID, "acme/other");
    assert!(fails(open(options(&hub), "hf://acme/llama"), Code::ServiceFailed).contains("renamed"));

    hub.misbehave(HubFault::TokenEcho);
    fails(open(options(&hub), "hf://acme/other"), Code::AccessDenied);
}

#[test]
fn a_hub_that_asks_to_wait_is_waited_for_within_the_time_of_the_run() {
    let hub = double(&model());
    for told in [Told::RetryAfter, Told::RateLimit, Told::Nothing] {
        hub.misbehave(HubFault::RateLimited { times: 1, seconds: 1, told });
        let opened = opened(&hub);
        hub.misbehave(HubFault::RateLimited { times: 1, seconds: 1, told });
        assert_eq!(fetch(&opened, "config.json").unwrap(), b"{}\n");
    }
    let late = Run::new().deadline(Duration::from_secs(3));
    hub.misbehave(HubFault::RateLimited { times: 9, seconds: 40, told: Told::RateLimit });
    let text = fails(Hub::open(&uri("hf://acme/llama"), &options(&hub), &late), Code::ServiceFailed);
    assert!(text.contains("asks to wait 40 s"), "{text}");
}

#[test]
fn a_listing_is_asked_for_once_and_costs_few_requests() {
    let hub = Double::start();
    hub.create(RepoType::Model, ID, Visibility::Public);
    let names: Vec<String> = (0..2100).map(|number| format!("layers/{number}/weight")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"w"[..])).collect();
    hub.commit(RepoType::Model, ID, "main", &files);
    let opened = opened(&hub);
    let first = list(&opened, &Run::new()).unwrap();
    // Folders are rows as well.
    assert_eq!(first.iter().filter(|entry| entry.kind == Kind::File).count(), 2100);
    assert_eq!(hub.seen().len(), 1 + 5);
    assert_eq!(list(&opened, &Run::new()).unwrap().len(), first.len());
    assert_eq!(hub.seen().len(), 6);
}

#[test]
fn digests_are_stated_for_large_files_and_made_of_small_ones() {
    let hub = double(&model());
    let opened = opened(&hub);
    let entries = list(&opened, &Run::new()).unwrap();
    let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.kind == Kind::File).collect();
    hub.forget();
    let stated = opened.stated(&entries, &Run::new()).unwrap();
    for (entry, digest) in entries.iter().zip(stated) {
        let expected = crate::good::sha256(&model()[&entry.name]);
        assert_eq!(digest.map(|digest: Digest| digest.hex()), Some(expected), "{}", entry.name);
        assert_eq!(entry.stated.is_some(), model()[&entry.name].len() > 1024, "{}", entry.name);
    }
    // The empty one has nothing to read, the large ones are not read.
    assert_eq!((hub.asked("/resolve/"), hub.cdn_seen().len()), (3, 0), "{:?}", hub.requests());
    hub.misbehave(HubFault::FileGone);
    hub.victim("config.json");
    fails(opened.stated(&entries, &Run::new()), Code::ChangedWhileRead);
}

#[test]
fn it_is_told_once_whose_token_is_used() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);
    impl Events for Notes {
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
    let hub = double(&model());
    let notes = Arc::new(Notes::default());
    let run = Run::new().events(Arc::clone(&notes) as Arc<dyn Events>);
    let options = options(&hub);
    for _ in 0..2 {
        Hub::open(&uri("hf://acme/llama"), &options, &run).unwrap();
    }
    assert_eq!(*notes.0.lock().unwrap(), ["the Hub is asked with the token that was given"]);
    assert!(hub.received(hub.token()));
    let access = Access::new().allow_http(true).hub(options);
    let debug = format!("{:?} {:?}", access, opened(&hub));
    assert!(!debug.contains(hub.token()), "{debug}");
}
