//! What a repository must not get away with. Each case begins with a refresh that was good, and the cache stays as it was.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use testkit::tuf::Misbehaviour;
use weightseal::{Code, Run};

use super::{Case, in_days, named};

#[test]
fn older_metadata_is_a_rollback() {
    let Some(case) = Case::refreshed("v2") else { return };
    case.serve("v1");
    let error = case.refused(Code::TrustMetadataRollback);
    assert!(error.to_string().contains("timestamp"), "{error}");
}

#[test]
fn an_older_snapshot_under_a_newer_timestamp_is_a_rollback() {
    let Some(case) = Case::refreshed("v4") else { return };
    // Root 2 and its keys are the cache's; the timestamp of v3 is older than that of v4.
    case.serve("v3");
    case.refused(Code::TrustMetadataRollback);
}

#[test]
fn metadata_that_is_held_back_until_it_expires_is_refused() {
    let Some(case) = Case::refreshed("v2") else { return };
    case.store().refresh(&in_days(6)).unwrap();
    let error = case.store().refresh(&in_days(8)).unwrap_err();
    assert_eq!(error.code(), Code::TrustMetadataExpired, "{error}");
    assert_eq!(named(&case.store().load(&in_days(8)).unwrap()), "two");
}

#[test]
fn every_role_that_has_expired_is_refused() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let Some(case) = Case::refreshed("v1") else { return };
        case.serve(&format!("expired-{role}"));
        let error = case.refused(Code::TrustMetadataExpired);
        assert!(error.to_string().contains(role), "{error}");
    }
}

#[test]
fn metadata_of_other_keys_is_refused() {
    let Some(case) = Case::refreshed("v1") else { return };
    let foreign = case.story.join("foreign");
    for (file, from) in [("timestamp.json", "timestamp.json"), ("2.root.json", "2.root.json")] {
        case.server.misbehave(file, Misbehaviour::Other(fs::read(foreign.join(from)).unwrap()));
        case.refused(Code::TrustMetadataSignature);
        case.server.behave();
    }
    case.serve("v2");
    let snapshot = fs::read_dir(&foreign).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = snapshot.filter(|path| path.to_str().unwrap().ends_with("snapshot.json")).last().unwrap();
    case.server.misbehave("2.snapshot.json", Misbehaviour::Other(fs::read(snapshot).unwrap()));
    // The timestamp has the digest of the snapshot, which is looked at first.
    case.refused(Code::TrustMetadataMismatch);
    case.server.behave();
    let targets = fs::read_dir(&foreign).unwrap().map(|entry| entry.unwrap().path());
    let targets = targets.filter(|path| path.to_str().unwrap().ends_with("2.targets.json")).last().unwrap();
    case.server.misbehave("2.targets.json", Misbehaviour::Other(fs::read(targets).unwrap()));
    case.refused(Code::TrustMetadataSignature);
    case.server.behave();
    case.store().refresh(&Run::new()).unwrap();
}

#[test]
fn a_root_that_jumps_over_one_is_refused() {
    let Some(case) = Case::refreshed("v1") else { return };
    let first = fs::read(case.story.join("v1/1.root.json")).unwrap();
    case.server.misbehave("2.root.json", Misbehaviour::Other(first));
    case.refused(Code::TrustMetadataMismatch);
}

#[test]
fn parts_of_two_versions_do_not_mix() {
    for (new, old) in [("2.snapshot.json", "v1/1.snapshot.json"), ("2.targets.json", "v1/1.targets.json")] {
        let Some(case) = Case::refreshed("v1") else { return };
        case.serve("v2");
        case.server.misbehave(new, Misbehaviour::Other(fs::read(case.story.join(old)).unwrap()));
        case.refused(Code::TrustMetadataMismatch);
    }
}

/// The target of a point of the story whose name ends so.
fn target(point: &Path, ending: &str) -> String {
    let names = fs::read_dir(point.join("targets")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    format!("targets/{}", names.filter(|name| name.ends_with(ending)).last().unwrap())
}

#[test]
fn a_changed_target_is_refused() {
    for ending in ["trusted_root.json", "signing_config.v0.2.json"] {
        let Some(case) = Case::refreshed("v1") else { return };
        case.serve("v2");
        let name = target(&case.story.join("v2"), ending);
        let mut bytes = fs::read(case.story.join("v2").join(&name)).unwrap();
        bytes[1] ^= 1;
        case.server.misbehave(&name, Misbehaviour::Other(bytes));
        case.refused(Code::TrustMetadataMismatch);
    }
}

#[test]
fn a_repository_without_a_usable_trusted_root_is_refused() {
    for point in ["empty", "useless"] {
        let Some(case) = Case::refreshed("v1") else { return };
        case.serve(point);
        case.refused(Code::TrustMetadataInvalid);
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    for file in ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "TARGET"] {
        let Some(case) = Case::refreshed("v1") else { return };
        case.serve("v2");
        let name = match file {
            "TARGET" => target(&case.story.join("v2"), "trusted_root.json"),
            file => file.to_owned(),
        };
        case.server.misbehave(&name, Misbehaviour::Endless(300 << 20));
        let begun = Instant::now();
        let error = case.refused(Code::TrustRefreshFailed);
        assert!(error.to_string().contains("answered with more than"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{file}");
    }
}

#[test]
fn a_server_that_fails_is_told_with_its_cause() {
    let Some(case) = Case::refreshed("v1") else { return };
    case.serve("v2");
    let elsewhere = format!("{}/timestamp.json", case.server.url());
    for (how, words) in [
        (Misbehaviour::Status(500), "500"),
        (Misbehaviour::Status(401), "401"),
        (Misbehaviour::Redirect(elsewhere), "redirect"),
        (Misbehaviour::Cut, "connection failed"),
        (Misbehaviour::Status(404), "timestamp.json not found"),
    ] {
        case.server.misbehave("timestamp.json", how.clone());
        let error = case.refused(Code::TrustRefreshFailed);
        assert!(error.to_string().contains(words), "{how:?}: {error}");
    }
    case.server.behave();
    case.store().refresh(&Run::new()).unwrap();
}

#[test]
fn garbage_is_no_metadata() {
    let Some(case) = Case::refreshed("v1") else { return };
    for bytes in
        [&b"<html>welcome</html>"[..], b"", b"{}", b"{\"signed\": 1, \"signatures\": []}", b"\xff\xfe"]
    {
        for file in ["timestamp.json", "2.root.json"] {
            case.server.misbehave(file, Misbehaviour::Other(bytes.to_vec()));
            case.refused(Code::TrustMetadataInvalid);
            case.server.behave();
        }
    }
}

#[test]
fn a_silent_server_costs_no_more_than_the_time_allowed() {
    let Some(case) = Case::refreshed("v1") else { return };
    case.server.misbehave("timestamp.json", Misbehaviour::Silent(Duration::from_secs(60)));
    let begun = Instant::now();
    let error = case.store().refresh(&Run::new().deadline(Duration::from_millis(500))).unwrap_err();
    assert!(matches!(error.code(), Code::DeadlinePassed | Code::TrustRefreshFailed), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(named(&case.store().load(&Run::new()).unwrap()), "one");
}

#[test]
fn nobody_at_the_address_is_told() {
    let Some(case) = Case::at("v1") else { return };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = case.store_at(&format!("http://{free}")).refresh(&Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::TrustRefreshFailed);
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let error = case.store_at("ftp://127.0.0.1/").refresh(&Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::TrustRefreshFailed, "{error}");
}
