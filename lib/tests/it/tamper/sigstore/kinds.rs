//! What verifies: every kind of entry, key, identity and format.

use testkit::{
    forge::{EMAIL, Forge, ISSUER, Kind, Leaf, Log, Logged, Signing, TIME, log_json, user_name},
    pki::{Digest, Key, KeyKind, email, uri},
};
use weightseal::{Code, SigstoreIdentity};

use super::{payload, proves, proves_of, refused};

#[test]
fn entries_of_both_rekors_verify_with_and_without_timestamps() {
    let forge = Forge::new();
    let both = Signing { logged: vec![Logged::v1(&forge.v1), Logged::v2(&forge.v2)], ..forge.v2() };
    let of = |kind| Signing { logged: vec![Logged { kind, ..Logged::v1(&forge.v1) }], ..forge.v1() };
    let (intoto, hashedrekord) = (of(Kind::Intoto), of(Kind::HashedrekordV1));
    let mut hashedrekords = hashedrekord.clone();
    hashedrekords.logged.push(Logged::v2(&forge.v2));
    let stamped_twice =
        Signing { stamps: vec![(forge.tsa.clone(), TIME), (forge.tsa.clone(), TIME + 1)], ..forge.v2() };
    for signing in
        [forge.v2(), forge.v1(), forge.v1_stamped(), both, intoto, hashedrekord, hashedrekords, stamped_twice]
    {
        let proof = proves(&forge.root(), &signing.bundle(&payload()));
        assert_eq!(proof.payload(), payload());
    }
}

#[test]
fn trees_of_every_shape_verify() {
    let forge = Forge::new();
    for (size, index) in [(1, 0), (2, 0), (2, 1), (3, 2), (7, 3), (8, 7), (9, 8), (100, 63), (100, 64)] {
        for logged in [Logged::v1(&forge.v1), Logged::v2(&forge.v2)] {
            let logged = vec![Logged { size, index, ..logged }];
            proves(&forge.root(), &Signing { logged, ..forge.v2() }.bundle(&payload()));
        }
    }
}

#[test]
fn bundles_of_formats_before_0_3_verify() {
    let forge = Forge::new();
    let promised = Logged { proof: false, ..Logged::v1(&forge.v1) };
    let chain = |signing: Signing| Signing {
        chain: [signing.chain, vec![forge.authority.intermediate.der(), forge.authority.root.der()]].concat(),
        ..signing
    };
    for signing in [
        forge.v1().version(1),
        Signing { logged: vec![promised], ..forge.v1().version(1) },
        forge.v1().version(2),
        forge.v2().version(2),
        chain(forge.v1().version(1)),
        chain(forge.v1().version(2)),
    ] {
        proves(&forge.root(), &signing.bundle(&payload()));
    }
}

#[test]
fn every_kind_of_key_verifies() {
    let forge = Forge::new();
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519] {
        let leaf = forge.issue(&Leaf { key: Key::new(kind, 5), ..forge.leaf() });
        proves(&forge.root(), &forge.v1().by(&leaf).bundle(&payload()));
        proves(&forge.root(), &forge.v1_stamped().by(&leaf).bundle(&payload()));
        let logged = vec![Logged { kind: Kind::HashedrekordV1, ..Logged::v1(&forge.v1) }];
        proves(&forge.root(), &Signing { logged, ..forge.v1().by(&leaf) }.bundle(&payload()));
    }
}

#[test]
fn every_kind_of_identity_verifies() {
    let forge = Forge::new();
    let workflow = "https://github.com/acme/model/.github/workflows/release.yml@refs/tags/v1";
    for (name, identity) in [
        (email(EMAIL), EMAIL),
        (uri(workflow), workflow),
        (user_name("dev!forge.example"), "dev!forge.example"),
    ] {
        let leaf = forge.issue(&Leaf { names: vec![name], ..forge.leaf() });
        let wire = forge.v2().by(&leaf).bundle(&payload());
        proves_of(&forge.root(), &wire, SigstoreIdentity::new(identity, ISSUER));
    }
}

#[test]
fn the_issuer_is_read_from_either_extension() {
    let forge = Forge::new();
    for leaf in [Leaf { old_issuer: None, ..forge.leaf() }, Leaf { issuer: None, ..forge.leaf() }] {
        proves(&forge.root(), &forge.v2().by(&forge.issue(&leaf)).bundle(&payload()));
    }
}

#[test]
fn numbers_may_be_bare_and_what_is_nothing_may_be_null_or_left_out() {
    let forge = Forge::new();
    let mut wire = forge.v2().bundle(&payload());
    let entry = super::entry(&mut wire);
    entry["logIndex"] = 5.into();
    entry["inclusionProof"]["treeSize"] = 11.into();
    entry["integratedTime"] = "0".into();
    entry["inclusionPromise"] = serde_json::Value::Null;
    proves(&forge.root(), &wire);
    let first = Signing { logged: vec![Logged { size: 4, index: 0, ..Logged::v2(&forge.v2) }], ..forge.v2() };
    let mut wire = first.bundle(&payload());
    let entry = super::entry(&mut wire).as_object_mut().unwrap();
    entry.remove("logIndex");
    entry["inclusionProof"].as_object_mut().unwrap().remove("logIndex");
    proves(&forge.root(), &wire);
}

#[test]
fn a_checkpoint_may_say_more_and_may_be_signed_by_witnesses() {
    let forge = Forge::new();
    for (signing, log, witness) in
        [(forge.v2(), &forge.v2, &forge.other_v2), (forge.v1(), &forge.v1, &forge.other_v1)]
    {
        let mut wire = signing.bundle(&payload());
        let note = super::checkpoint(super::entry(&mut wire));
        let text = note.as_str().unwrap().split("\n\n").next().unwrap();
        let text = format!("{text}\nTimestamp: 1750000000000000000\n");
        let own = log.note(&text);
        let theirs = witness.note(&text);
        *note = format!("{text}\n{}{}", &theirs[text.len() + 1..], &own[text.len() + 1..]).into();
        proves(&forge.root(), &wire);
    }
}

#[test]
fn a_log_of_rekor_v2_may_have_another_kind_of_key_if_its_origin_is_its_host() {
    let forge = Forge::new();
    let key = Key::new(KeyKind::P256, 77);
    let log = Log {
        url: "https://log3.forge.example/".to_owned(),
        origin: "log3.forge.example".to_owned(),
        id: Digest::Sha256.of(&key.spki_der()),
        key,
        earlier: 0,
    };
    let root = forge.root_with(|root| {
        root["tlogs"].as_array_mut().unwrap().push(log_json(&log.url, &log.key, &log.id));
    });
    let bundle = |log: &Log| Signing { logged: vec![Logged::v2(log)], ..forge.v2() }.bundle(&payload());
    proves(&root, &bundle(&log));
    for origin in ["log4.forge.example", "log3.forge.example/x", "forge.example", ""] {
        let renamed = Log { origin: origin.to_owned(), ..log.clone() };
        let code = if origin.is_empty() { Code::CheckpointInvalid } else { Code::CheckpointForeign };
        refused(&root, &bundle(&renamed), code);
    }
}
