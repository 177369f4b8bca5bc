//! What is built in, and that nothing of it needs the network.

use std::time::{Duration, UNIX_EPOCH};

use testkit::temporary;
use weightseal::{Code, FixedClock, Instance, PartyKind, Refresh, RootSource, Run, TrustStore};

use super::{Case, named};
use crate::{
    good::{in_child, passed},
    offline::without_sockets,
};

#[test]
fn the_public_and_the_staging_instance_are_built_in() {
    let cache = temporary().unwrap();
    for (instance, log) in [
        (Instance::PublicGood, "https://rekor.sigstore.dev"),
        (Instance::Staging, "https://rekor.sigstage.dev"),
    ] {
        let name = instance.name();
        let store = TrustStore::new(instance).cache_dir(cache.path());
        let run = Run::new();
        let root = store.load(&run).unwrap();
        assert_eq!(
            (root.origin().source, root.origin().name.as_str()),
            (RootSource::Embedded, name.as_str())
        );
        assert!(root.origin().as_of.unwrap() < run.now_unix());
        assert!(root.origin().expires.unwrap() > root.origin().as_of.unwrap());
        let parties = root.parties();
        for kind in [
            PartyKind::Log,
            PartyKind::CertificateAuthority,
            PartyKind::CertificateLog,
            PartyKind::TimestampAuthority,
        ] {
            assert!(parties.iter().any(|party| party.kind == kind), "{name}: {kind:?}");
        }
        assert!(parties.iter().any(|party| party.uri.as_deref() == Some(log)), "{parties:?}");
        let config: serde_json::Value = serde_json::from_slice(&store.signing_config(&run).unwrap()).unwrap();
        assert_eq!(config["mediaType"], "application/vnd.dev.sigstore.signingconfig.v0.2+json");
        assert_eq!(store.state(&run).unwrap().versions, None);
    }
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn the_embedded_root_says_when_its_own_time_is_over() {
    let cache = temporary().unwrap();
    let store = TrustStore::new(Instance::PublicGood).cache_dir(cache.path());
    let origin = store.state(&Run::new()).unwrap().origin;
    let expires = origin.expires.unwrap();
    assert_eq!(origin.staleness(expires), None);
    assert!(origin.staleness(expires + 1).unwrap().contains("of this build (public-good)"));
}

#[test]
fn a_clock_before_the_build_can_tell_nothing() {
    let Some(case) = Case::refreshed("v1") else { return };
    let run = Run::new().clock(FixedClock(UNIX_EPOCH + Duration::from_secs(1_600_000_000)));
    for error in [
        case.store().load(&run).unwrap_err(),
        case.store().state(&run).unwrap_err(),
        case.store().refresh(&run).unwrap_err(),
        case.store().resolve(Refresh::Auto, &run).unwrap_err(),
        case.store().import(case.story.join("v1"), &run).unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::ClockWrong, "{error}");
    }
    assert!(case.server.asked().is_empty());
}

#[test]
fn trust_is_loaded_and_imported_where_a_socket_means_death() {
    const TEST: &str = "trust::embedded::trust_is_loaded_and_imported_where_a_socket_means_death";
    if !in_child(TEST) {
        // What Python needs is fetched here, where it may be.
        if Case::at("v1").is_some()
            && let Some(ended) = without_sockets(TEST)
        {
            passed(ended);
        }
        return;
    }
    let (cache, run) = (temporary().unwrap(), Run::new());
    let store = TrustStore::new(Instance::PublicGood).cache_dir(cache.path());
    store.resolve(Refresh::Never, &run).unwrap();
    store.signing_config(&run).unwrap();
    let story = super::story().unwrap();
    let root = std::fs::read(story.join("v1/1.root.json")).unwrap();
    let mirror = Instance::Mirror { url: "http://127.0.0.1:9".to_owned(), root };
    let store = TrustStore::new(mirror).cache_dir(cache.path());
    store.import(story.join("v3"), &run).unwrap();
    assert_eq!(named(&store.resolve(Refresh::Never, &run).unwrap()), "two");
}
