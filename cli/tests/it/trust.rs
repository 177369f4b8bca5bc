//! `weightseal trust`, with a repository of its own.

use std::fs;

use serde_json::{Value, json};
use testkit::{
    pki::{Key, KeyKind},
    skip_or_fail,
    tuf::{Misbehaviour, Server, repository},
};

use crate::world::World;

/// A trusted root with one log at this address; the key is in base64.
fn trusted_root(uri: &str, key: &str) -> String {
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": uri,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {"rawBytes": key, "keyDetails": "PKIX_ED25519", "validFor": {"start": "2025-01-01T00:00:00Z"}},
            "logId": {"keyId": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="},
        }],
    })
    .to_string()
}

/// A world with `v1` and `v2` of a repository, and the TUF root that both begin with; none where there is no Python.
fn world() -> Option<World> {
    let world = World::new();
    let pem = Key::new(KeyKind::Ed25519, 7).public_pem();
    let key: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let files = |uri| json!({"trusted_root.json": trusted_root(uri, &key)});
    let steps = json!([
        {"do": "init", "targets": files("https://one.example")},
        {"do": "save", "to": "v1"},
        {"do": "targets", "targets": files("https://two.example")},
        {"do": "save", "to": "v2"},
    ]);
    match repository(world.dir(), &steps) {
        Ok(()) => Some(world),
        Err(missing) => {
            skip_or_fail(missing);
            None
        }
    }
}

#[test]
fn a_trusted_root_is_refreshed_shown_and_imported() {
    let Some(world) = world() else { return };
    let server = Server::start(world.path("v1")).unwrap();
    let url = server.url();
    let trust = |words: &[&str]| {
        let instance = ["--tuf-mirror", &url, "--tuf-root", "v1/1.root.json"];
        world.run(&[&["trust"], words, &instance].concat())
    };
    let absent = trust(&["show"]).expect_code(2);
    assert!(absent.err().contains("weightseal trust refresh"), "{absent}");

    let shown = trust(&["refresh"]).expect_code(0);
    assert!(shown.out().contains("log: https://one.example from 2025-01-01T00:00:00Z\n"), "{shown}");
    assert!(shown.out().contains("timestamp: version 1, until "), "{shown}");
    assert_eq!(trust(&["show"]).expect_code(0).out(), shown.out());

    let json: Value =
        serde_json::from_str(&trust(&["show", "--format", "json"]).expect_code(0).out()).unwrap();
    assert_eq!(json["origin"]["source"], "cache");
    assert_eq!(json["origin"]["name"], url.as_str());
    assert_eq!(json["versions"], json!({"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}));
    assert_eq!(json["trusted"][0]["kind"], "log");
    assert_eq!(json["stale"], Value::Null);

    server.misbehave("timestamp.json", Misbehaviour::Status(410));
    let failed = trust(&["refresh"]).expect_code(3);
    assert!(failed.err().contains("410"), "{failed}");
    drop(server);
    trust(&["refresh", "--timeout", "5s"]).expect_code(3);

    let imported = trust(&["import", "v2"]).expect_code(0);
    assert!(imported.out().contains("https://two.example"), "{imported}");
    let older = trust(&["import", "v1"]).expect_code(3);
    assert!(older.err().contains("rollback"), "{older}");
    assert_eq!(trust(&["show"]).expect_code(0).out(), imported.out());
    assert!(fs::metadata(world.path(".cache/weightseal/trust")).unwrap().is_dir());
}

#[test]
fn a_file_is_shown_without_cache_or_socket() {
    let Some(world) = world() else { return };
    let name = fs::read_dir(world.path("v2/targets")).unwrap().next().unwrap().unwrap().path();
    fs::copy(name, world.path("root.json")).unwrap();
    let shown = world.run(&["trust", "show", "root.json"]).expect_code(0);
    assert!(shown.out().starts_with("trusted root: root.json\n  why: it was given\n"), "{shown}");
    assert!(shown.out().contains("https://two.example"), "{shown}");
}
