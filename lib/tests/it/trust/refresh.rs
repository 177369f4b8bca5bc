//! What a refresh brings, and what goes on without it.

use std::{fs, thread};

use testkit::tuf::Misbehaviour;
use weightseal::{Cancel, Code, Refresh, RootSource, Run, TrustVersions};

use super::{Case, in_days, named};

#[test]
fn what_was_refreshed_is_used_when_the_server_is_gone() {
    let Some(case) = Case::at("v2") else { return };
    let state = case.store().refresh(&Run::new()).unwrap();
    assert_eq!(state.versions, Some(TrustVersions { root: 1, timestamp: 2, snapshot: 2, targets: 2 }));
    let store = case.store();
    drop(case.server);
    let root = store.load(&Run::new()).unwrap();
    assert_eq!(named(&root), "two");
    assert_eq!(root.origin().source, RootSource::Cache);
    assert_eq!(root.origin().expires, state.expires.map(|expires| expires.first()));
    assert_eq!(store.signing_config(&Run::new()).unwrap(), b"two");
    assert_eq!(store.state(&Run::new()).unwrap(), state);
}

#[test]
fn a_mirror_that_was_never_asked_has_no_root() {
    let Some(case) = Case::at("v1") else { return };
    let run = Run::new();
    assert_eq!(case.store().load(&run).unwrap_err().code(), Code::TrustRootAbsent);
    assert_eq!(case.store().state(&run).unwrap_err().code(), Code::TrustRootAbsent);
    assert_eq!(case.store().signing_config(&run).unwrap_err().code(), Code::TrustRootAbsent);
    assert!(case.server.asked().is_empty());
}

#[test]
fn changed_keys_are_followed_and_remembered() {
    let Some(case) = Case::refreshed("v1") else { return };
    case.serve("v3");
    let versions = case.store().refresh(&Run::new()).unwrap().versions.unwrap();
    assert_eq!(versions, TrustVersions { root: 2, timestamp: 3, snapshot: 3, targets: 3 });
    assert!(case.server.asked().contains(&"2.root.json".to_owned()));
    case.serve("v4");
    case.store().refresh(&Run::new()).unwrap();
    let asked = case.server.asked();
    assert!(
        !asked.contains(&"2.root.json".to_owned()) && asked.contains(&"3.root.json".to_owned()),
        "{asked:?}"
    );
    assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "four");
}

#[test]
fn what_did_not_change_is_not_fetched_again() {
    let Some(case) = Case::refreshed("v2") else { return };
    case.store().refresh(&Run::new()).unwrap();
    assert_eq!(case.server.asked(), ["2.root.json", "timestamp.json"]);
    assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "two");
}

#[test]
fn auto_asks_when_a_day_has_passed_and_does_without_an_answer() {
    let Some(case) = Case::refreshed("v1") else { return };
    case.serve("v2");
    assert_eq!(named(&case.store().resolve(Refresh::Auto, &Run::new()).unwrap()), "one");
    assert_eq!(named(&case.store().resolve(Refresh::Never, &in_days(2)).unwrap()), "one");
    assert!(case.server.asked().is_empty());
    case.server.misbehave("timestamp.json", Misbehaviour::Status(410));
    assert_eq!(named(&case.store().resolve(Refresh::Auto, &in_days(2)).unwrap()), "one");
    assert!(!case.server.asked().is_empty());
    let error = case.store().resolve(Refresh::Require, &in_days(2)).unwrap_err();
    assert_eq!(error.code(), Code::TrustRefreshFailed);
    case.server.behave();
    case.server.asked();
    // It has just failed: not at once again.
    assert_eq!(named(&case.store().resolve(Refresh::Auto, &in_days(2)).unwrap()), "one");
    assert!(case.server.asked().is_empty());
    assert_eq!(named(&case.store().resolve(Refresh::Auto, &in_days(3)).unwrap()), "two");
}

#[test]
fn auto_fetches_the_first_root_of_a_mirror_and_says_when_there_is_none() {
    let Some(case) = Case::at("v1") else { return };
    case.server.misbehave("timestamp.json", Misbehaviour::Status(410));
    let error = case.store().resolve(Refresh::Auto, &Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::TrustRootAbsent);
    case.server.behave();
    assert_eq!(named(&case.store().resolve(Refresh::Auto, &Run::new()).unwrap()), "one");
}

#[test]
fn an_expired_cache_goes_on_offline_and_says_its_age() {
    let Some(case) = Case::refreshed("v2") else { return };
    let root = case.store().load(&in_days(6)).unwrap();
    let now = |days| in_days(days).now_unix();
    assert_eq!(root.origin().staleness(now(6)), None);
    let root = case.store().load(&in_days(30)).unwrap();
    assert_eq!(named(&root), "two");
    let note = root.origin().staleness(now(30)).unwrap();
    assert!(note.contains("30 days old"), "{note}");
}

#[test]
fn an_interrupted_refresh_leaves_the_cache_whole() {
    let Some(case) = Case::refreshed("v1") else { return };
    let before = fs::read(case.file()).unwrap();
    case.serve("v2");
    let file = fs::read_dir(case.story.join("v2/targets")).unwrap();
    for entry in file {
        let name = entry.unwrap().file_name().into_string().unwrap();
        case.server
            .misbehave(&format!("targets/{name}"), Misbehaviour::Silent(std::time::Duration::from_secs(60)));
    }
    let cancel = Cancel::default();
    let run = Run::new().cancel(cancel.clone());
    let store = case.store();
    let refresh = thread::spawn(move || store.refresh(&run).unwrap_err());
    while !case.server.asked().iter().any(|name| name.starts_with("targets/")) {
        thread::sleep(std::time::Duration::from_millis(5));
    }
    cancel.cancel();
    assert_eq!(refresh.join().unwrap().code(), Code::Interrupted);
    assert!(fs::read(case.file()).unwrap() == before);
    let mut names: Vec<_> =
        fs::read_dir(case.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["lock", "trust-cache", "trust-versions"]);
    case.server.behave();
    case.store().refresh(&Run::new()).unwrap();
    assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "two");
}

#[test]
fn two_refreshes_at_once_take_turns() {
    let Some(case) = Case::at("v2") else { return };
    thread::scope(|scope| {
        let both: Vec<_> = (0..2)
            .map(|_| {
                let store = case.store();
                scope.spawn(move || store.refresh(&Run::new()).unwrap())
            })
            .collect();
        both.into_iter().for_each(|one| drop(one.join().unwrap()));
    });
    assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "two");
}
