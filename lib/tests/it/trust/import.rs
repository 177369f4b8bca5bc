//! A repository carried by hand.

use std::fs;

use weightseal::{Code, RootSource, Run};

use super::{Case, copy, in_days, named};

#[test]
fn a_copy_is_imported_as_it_was_served_or_as_it_was_made() {
    let Some(case) = Case::at("v3") else { return };
    let store = case.store();
    let state = store.import(case.story.join("v3"), &Run::new()).unwrap();
    assert_eq!(state.versions.unwrap().root, 2);
    let root = store.load(&Run::new()).unwrap();
    assert_eq!((named(&root).as_str(), root.origin().source), ("two", RootSource::Cache));

    let made = testkit::temporary().unwrap();
    copy(&case.story.join("v4"), &made.path().join("metadata"));
    fs::rename(made.path().join("metadata/targets"), made.path().join("targets")).unwrap();
    store.import(format!("file://{}", made.path().display()), &Run::new()).unwrap();
    assert_eq!(named(&store.load(&Run::new()).unwrap()), "four");
    assert!(case.server.asked().is_empty());
}

#[test]
fn a_copy_that_expired_on_the_way_is_taken_and_says_its_age() {
    let Some(case) = Case::at("v1") else { return };
    let store = case.store();
    let state = store.import(case.story.join("v2"), &in_days(20)).unwrap();
    assert_eq!(state.origin.as_of, state.expires.map(|expires| expires.timestamp));
    let note = state.origin.staleness(in_days(20).now_unix()).unwrap();
    assert!(note.contains("13 days old") || note.contains("12 days old"), "{note}");
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let case = Case::at("v1").unwrap();
        case.store().import(case.story.join(format!("expired-{role}")), &Run::new()).unwrap();
        assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "two");
    }
}

#[test]
fn an_import_is_verified_like_a_refresh() {
    let Some(case) = Case::refreshed("v2") else { return };
    let before = fs::read(case.file()).unwrap();
    let refused = |from: &std::path::Path, code| {
        let error = case.store().import(from, &Run::new()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(fs::read(case.file()).unwrap() == before);
    };
    refused(&case.story.join("v1"), Code::TrustMetadataRollback);
    refused(&case.story.join("foreign"), Code::TrustMetadataSignature);
    refused(&case.story.join("nowhere"), Code::TrustRootAbsent);
    refused(case.dir.path(), Code::TrustRootAbsent);

    let cut = case.copy("v3");
    fs::remove_file(cut.join("3.targets.json")).unwrap();
    refused(&cut, Code::TrustRefreshFailed);
    fs::copy(case.story.join("v2/2.targets.json"), cut.join("3.targets.json")).unwrap();
    refused(&cut, Code::TrustMetadataMismatch);
    fs::write(cut.join("3.targets.json"), vec![b' '; 6 << 20]).unwrap();
    refused(&cut, Code::TrustMetadataInvalid);
    fs::copy(case.story.join("v3/3.targets.json"), cut.join("3.targets.json")).unwrap();
    case.store().import(&cut, &Run::new()).unwrap();
    fs::remove_dir_all(cut).unwrap();
}
