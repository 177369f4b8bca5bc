//! Models that are in the cache of the Hub's own client already.

use std::fs;

use testkit::{models::hub_cache, temporary};
use weightseal::Local;

use super::*;
use crate::good::write_files;

#[test]
fn a_model_that_is_in_the_cache_whole_is_found_there() {
    let dir = temporary().unwrap();
    let (folder, cache) = (dir.path().join("model"), dir.path().join("hub"));
    let hub = double(&model());
    let commit = hub.revision(RepoType::Model, ID, "main").unwrap();
    write_files(&folder, model().iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let with = |options: HubOptions| options.cache(&cache);
    let cached = |text: &str, offline: bool| {
        let options = HubOptions::new().endpoint(hub.url()).no_token().allow_http(true);
        Hub::cached(&uri(text), &with(options).offline(offline), &Run::new()).unwrap()
    };
    // Nothing is asked where nothing is there.
    assert_eq!(cached("hf://acme/llama", false), None);
    assert_eq!(cached(&format!("hf://acme/llama@{commit}"), false), None);
    assert_eq!(cached("hf://acme/llama", true), None);
    assert!(hub.seen().is_empty());

    let snapshot = hub_cache(&cache, ID, &commit, &folder).unwrap();
    for text in ["hf://acme/llama", &format!("hf://acme/llama@{commit}")] {
        assert_eq!(cached(text, false), Some(snapshot.clone()));
    }
    assert_eq!(cached("hf://acme/llama/more", false), Some(snapshot.join("more")));
    assert_eq!(cached("hf://acme/llama/config.json", false), Some(snapshot.join("config.json")));
    assert!(list(&Local::open(&snapshot).unwrap(), &Run::new()).is_ok());

    // Offline a commit is known by its folder, a branch by what was written when it was fetched.
    hub.forget();
    let references = cache.join("models--acme--llama/refs");
    fs::create_dir_all(&references).unwrap();
    fs::write(references.join("main"), format!("{commit}\n")).unwrap();
    for text in ["hf://acme/llama", &format!("hf://acme/llama@{commit}")] {
        assert_eq!(cached(text, true), Some(snapshot.clone()));
    }
    assert_eq!(cached("hf://acme/llama/nothing", true), None);
    assert_eq!(cached("hf://acme/llama@other", true), None);
    for bad in ["../../snapshots", "", "main", &commit.to_uppercase()] {
        fs::write(references.join("main"), bad).unwrap();
        assert_eq!(cached("hf://acme/llama", true), None, "{bad}");
    }
    assert!(hub.seen().is_empty());

    // One file that is not there, or cut, and it is no longer whole.
    let path = snapshot.join("config.json");
    let blob = fs::canonicalize(&path).unwrap();
    fs::write(&blob, "{").unwrap();
    assert_eq!(cached("hf://acme/llama", false), None);
    fs::remove_file(&blob).unwrap();
    assert_eq!(cached("hf://acme/llama", false), None);
    assert_eq!(cached("hf://acme/llama/more", false), Some(snapshot.join("more")));
    assert_eq!(cached(&format!("hf://acme/llama@{commit}"), true), Some(snapshot.clone()));
    fs::write(&blob, "{}\n").unwrap();
    assert_eq!(cached("hf://acme/llama", false), Some(snapshot));

    // A branch that moved on is another commit.
    hub.commit(RepoType::Model, ID, "main", &[("new", b"new")]);
    assert_eq!(cached("hf://acme/llama", false), None);
    assert!(cached(&format!("hf://acme/llama@{commit}"), false).is_some());
    let none = with(options(&hub)).no_cache();
    assert_eq!(Hub::cached(&uri("hf://acme/llama"), &none, &Run::new()).unwrap(), None);
}
