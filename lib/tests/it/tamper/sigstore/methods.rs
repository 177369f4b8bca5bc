//! Bundles of keys and of certificates that carry log entries and timestamps.

use serde_json::Value;
use testkit::{
    forge::{Forge, Kind, Log, Logged, Signing, TIME, Tsa, encode},
    pki::{Case as Chain, FROM, Key, KeyKind, Pki, Shape},
};
use weightseal::{
    Accept, Bundle, CertificateVerifier, Code, FixedClock, KeyVerifier, NotProven, Policy, Proof, Run,
    Verifier,
};

use super::{entries, flip, payload, stamps, statement, trusted};

/// The bundle of a key with an entry and a timestamp.
fn keyed(forge: &Forge, key: &Key) -> Signing {
    Signing {
        logged: vec![Logged::v1(&forge.v1), Logged::v2(&forge.v2)],
        stamps: vec![(forge.tsa.clone(), TIME + 5)],
        ..Signing::with_key(key)
    }
}

fn parse(wire: &Value) -> Bundle {
    Bundle::parse(wire.to_string().as_bytes()).unwrap()
}

fn code(outcome: Result<Proof, NotProven>) -> Code {
    match outcome {
        Ok(_) => panic!("this should not verify"),
        Err(NotProven::NotMine(finding) | NotProven::Refused(finding)) => finding.code,
    }
}

/// Verifiers of the key with and without a root.
fn verifiers(forge: &Forge, key: &Key) -> (KeyVerifier, KeyVerifier) {
    let without = KeyVerifier::from_pem(key.public_pem().as_bytes()).unwrap();
    (without.clone().trusted_root(trusted(&forge.root())), without)
}

#[test]
fn what_a_key_bundle_proves_counts_where_a_root_is_given() {
    let forge = Forge::new();
    let key = Key::new(KeyKind::P256, 1);
    let bundle = parse(&keyed(&forge, &key).bundle(&payload()));
    let (with, without) = verifiers(&forge, &key);
    let proof = with.verify(&bundle, &Run::new()).unwrap();
    let shown = format!("{proof:?}");
    assert!(shown.contains("2025-06-15T15:06:40Z") && shown.contains("log1.forge.example"), "{shown}");
    let proof = without.verify(&bundle, &Run::new()).unwrap();
    let shown = format!("{proof:?}");
    assert!(shown.contains("2 transparency-log entries in the bundle were not checked"), "{shown}");
    assert!(shown.contains("timestamps in the bundle were not checked"), "{shown}");
    assert!(!shown.contains("2025-06-15"), "{shown}");
}

#[test]
fn key_bundles_without_anything_to_check_need_no_root() {
    let forge = Forge::new();
    let key = Key::new(KeyKind::P256, 1);
    let (with, without) = verifiers(&forge, &key);
    let bundle = parse(&Signing::with_key(&key).bundle(&payload()));
    assert!(with.verify(&bundle, &Run::new()).is_ok() && without.verify(&bundle, &Run::new()).is_ok());
}

#[test]
fn key_bundles_of_every_curve_may_be_logged() {
    let forge = Forge::new();
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519] {
        let key = Key::new(kind, 1);
        for of in [Kind::Dsse, Kind::Intoto, Kind::HashedrekordV1] {
            let logged = vec![Logged { kind: of, ..Logged::v1(&forge.v1) }];
            let signing = Signing { logged, ..keyed(&forge, &key) };
            verifiers(&forge, &key).0.verify(&parse(&signing.bundle(&payload())), &Run::new()).unwrap();
        }
    }
}

#[test]
fn log_entries_of_the_largest_curve_are_refused_as_unsupported_and_its_timestamps_count() {
    let forge = Forge::new();
    let key = Key::new(KeyKind::P521, 1);
    let with = verifiers(&forge, &key).0;
    let logged = Signing { logged: vec![Logged::v1(&forge.v1)], ..keyed(&forge, &key) };
    let logged = parse(&logged.bundle(&payload()));
    assert_eq!(code(with.verify(&logged, &Run::new())), Code::LogEntryUnsupported);
    let stamped = Signing { logged: Vec::new(), ..keyed(&forge, &key) };
    let proof = with.verify(&parse(&stamped.bundle(&payload())), &Run::new()).unwrap();
    assert!(format!("{proof:?}").contains("2025-06-15T15:06:45Z"), "{proof:?}");
}

#[test]
fn a_key_may_be_named_as_the_tools_of_sigstore_name_it() {
    let forge = Forge::new();
    let key = Key::new(KeyKind::P256, 1);
    let mut wire = keyed(&forge, &key).bundle(&payload());
    let hint = encode(&testkit::pki::Digest::Sha256.of(&key.spki_der()));
    wire["verificationMaterial"]["publicKey"]["hint"] = hint.into();
    let (with, without) = verifiers(&forge, &key);
    assert!(with.verify(&parse(&wire), &Run::new()).is_ok());
    assert!(without.verify(&parse(&wire), &Run::new()).is_ok());
    let (other, _) = verifiers(&forge, &Key::new(KeyKind::P256, 2));
    assert_eq!(code(other.verify(&parse(&wire), &Run::new())), Code::KeyNotTrusted);
}

#[test]
fn what_is_wrong_about_a_key_bundles_proofs_is_refused_by_its_code() {
    let forge = Forge::new();
    let key = Key::new(KeyKind::P256, 1);
    let (with, without) = verifiers(&forge, &key);
    let good = keyed(&forge, &key).bundle(&payload());
    let refuses = |expected: Code, change: &dyn Fn(&mut Value)| {
        let mut wire = good.clone();
        change(&mut wire);
        assert_eq!(code(with.verify(&parse(&wire), &Run::new())), expected);
        // Where nobody looks, the signature alone decides.
        assert!(without.verify(&parse(&wire), &Run::new()).is_ok());
    };
    refuses(Code::LogPromiseInvalid, &|wire| {
        flip(&mut entries(wire)[0]["inclusionPromise"]["signedEntryTimestamp"]);
    });
    refuses(Code::LogProofInvalid, &|wire| flip(&mut entries(wire)[1]["inclusionProof"]["hashes"][0]));
    refuses(Code::LogRootMismatch, &|wire| flip(&mut entries(wire)[1]["inclusionProof"]["rootHash"]));
    refuses(Code::LogUnknown, &|wire| flip(&mut entries(wire)[1]["logId"]["keyId"]));
    refuses(Code::LogEntryUnsupported, &|wire| entries(wire)[0]["kindVersion"]["version"] = "0.0.2".into());
    refuses(Code::CheckpointForeign, &|wire| {
        entries(wire)[1]["logId"]["keyId"] = encode(&forge.other_v2.id).into();
    });
    refuses(Code::LogProofMissing, &|wire| {
        entries(wire)[0].as_object_mut().unwrap().remove("inclusionProof");
    });
    refuses(Code::TimestampInvalid, &|wire| {
        stamps(wire)[0]["signedTimestamp"] = encode(&forge.tsa.stamp(b"other", TIME)).into();
    });
    refuses(Code::TimestampUntrusted, &|wire| {
        let signature = keyed(&forge, &key).signature(&payload());
        stamps(wire)[0]["signedTimestamp"] = encode(&Tsa::new("Stranger", 1).stamp(&signature, TIME)).into();
    });
    let entry = |logged: &Logged, payload: &[u8], signing: &Signing| {
        logged.wire(payload, &signing.signature(payload), &signing.signer())
    };
    for logged in [Logged::v1(&forge.v1), Logged::v2(&forge.v2)] {
        refuses(Code::LogEntryMismatch, &|wire| {
            entries(wire)[0] = entry(&logged, &statement("other"), &Signing::with_key(&key));
        });
        let other = Signing::with_key(&Key::new(KeyKind::P256, 2));
        refuses(Code::LogEntryMismatch, &|wire| entries(wire)[0] = entry(&logged, &payload(), &other));
    }
    let stranger = Logged::v2(&Log::v2("stranger.example", 9));
    refuses(Code::LogUnknown, &|wire| {
        entries(wire).push(entry(&stranger, &payload(), &Signing::with_key(&key)));
    });
}

/// A chain whose leaf was valid for an hour around [`TIME`], and is not any more.
fn expired(kind: KeyKind) -> Chain {
    let mut chain = Shape::Plain.case(kind);
    let issuer = chain.chain[1].clone();
    chain.chain[0] = Pki::leaf(kind).valid(TIME - 1800, TIME + 1800).issue(&issuer);
    chain
}

fn certified(forge: &Forge, chain: &Chain, times: &[i64]) -> Signing {
    Signing {
        chain: chain.chain_der(),
        stamps: times.iter().map(|time| (forge.tsa.clone(), *time)).collect(),
        ..Signing::with_key(chain.key())
    }
}

#[test]
fn an_expired_certificate_passes_where_a_timestamp_proves_that_it_was_valid() {
    let forge = Forge::new();
    let chain = expired(KeyKind::P384);
    let without = CertificateVerifier::from_pem(chain.anchors_pem().as_bytes()).unwrap();
    let with = without.clone().trusted_root(trusted(&forge.root()));
    let good = parse(&certified(&forge, &chain, &[TIME]).bundle(&payload()));
    let proof = with.verify(&good, &Run::new()).unwrap();
    assert!(format!("{proof:?}").contains("2025-06-15T15:06:40Z"), "{proof:?}");
    // Without a root nobody believes the timestamp, without a timestamp nobody can.
    assert_eq!(code(without.verify(&good, &Run::new())), Code::CertificateExpired);
    let bare = parse(&certified(&forge, &chain, &[]).bundle(&payload()));
    assert_eq!(code(with.verify(&bare, &Run::new())), Code::CertificateExpired);
    let then = || {
        Run::new().clock(FixedClock(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_750_000_000)))
    };
    assert!(without.verify(&bare, &then()).is_ok() && with.verify(&bare, &then()).is_ok());

    for (times, expected) in [
        (&[TIME + 1801][..], Code::CertificateExpired),
        (&[TIME - 1801], Code::CertificateNotYetValid),
        (&[FROM.max(TIME - 90_000)], Code::CertificateNotYetValid),
    ] {
        let bundle = parse(&certified(&forge, &chain, times).bundle(&payload()));
        assert_eq!(code(with.verify(&bundle, &Run::new())), expected, "{times:?}");
    }
}

#[test]
fn a_timestamp_of_a_certificate_bundle_has_to_be_right() {
    let forge = Forge::new();
    let chain = expired(KeyKind::P256);
    let with = CertificateVerifier::from_pem(chain.anchors_pem().as_bytes())
        .unwrap()
        .trusted_root(trusted(&forge.root()));
    let stranger =
        Signing { stamps: vec![(Tsa::new("Stranger", 1), TIME)], ..certified(&forge, &chain, &[]) };
    assert_eq!(
        code(with.verify(&parse(&stranger.bundle(&payload())), &Run::new())),
        Code::TimestampUntrusted
    );
    let mut wire = certified(&forge, &chain, &[TIME]).bundle(&payload());
    stamps(&mut wire)[0]["signedTimestamp"] = encode(&forge.tsa.stamp(b"other", TIME)).into();
    assert_eq!(code(with.verify(&parse(&wire), &Run::new())), Code::TimestampInvalid);
}

#[test]
fn a_log_entry_of_a_certificate_bundle_proves_the_time_too() {
    let forge = Forge::new();
    let chain = expired(KeyKind::P256);
    let with = CertificateVerifier::from_pem(chain.anchors_pem().as_bytes())
        .unwrap()
        .trusted_root(trusted(&forge.root()));
    for kind in [Kind::Dsse, Kind::Intoto] {
        let logged = vec![Logged { kind, ..Logged::v1(&forge.v1) }];
        let signing = Signing { logged, ..certified(&forge, &chain, &[]) };
        let proof = with.verify(&parse(&signing.bundle(&payload())), &Run::new()).unwrap();
        assert!(format!("{proof:?}").contains("2025-06-15T15:06:40Z"), "{proof:?}");
        let mut wire = signing.bundle(&payload());
        entries(&mut wire)[0]["integratedTime"] = (TIME - 1).to_string().into();
        assert_eq!(code(with.verify(&parse(&wire), &Run::new())), Code::LogPromiseInvalid);
        let other = signing.logged[0].wire(
            &statement("other"),
            &signing.signature(&statement("other")),
            &signing.signer(),
        );
        let mut wire = signing.bundle(&payload());
        entries(&mut wire)[0] = other;
        assert_eq!(code(with.verify(&parse(&wire), &Run::new())), Code::LogEntryMismatch);
    }
}

#[test]
fn an_entry_of_rekor_v2_may_name_the_certificate_itself() {
    let forge = Forge::new();
    let chain = expired(KeyKind::P256);
    let with = CertificateVerifier::from_pem(chain.anchors_pem().as_bytes())
        .unwrap()
        .trusted_root(trusted(&forge.root()));
    let logged = || vec![Logged::v2(&forge.v2)];
    let signing = Signing { logged: logged(), ..certified(&forge, &chain, &[TIME]) };
    let proof = with.verify(&parse(&signing.bundle(&payload())), &Run::new()).unwrap();
    assert!(format!("{proof:?}").contains("2025-06-15T15:06:40Z"), "{proof:?}");

    let mut wire = signing.bundle(&payload());
    let other = expired(KeyKind::P384);
    let other = Signing { logged: logged(), ..certified(&forge, &other, &[TIME]) };
    entries(&mut wire)[0] =
        signing.logged[0].wire(&payload(), &signing.signature(&payload()), &other.signer());
    assert_eq!(code(with.verify(&parse(&wire), &Run::new())), Code::LogEntryMismatch);
    let mut wire = signing.bundle(&payload());
    flip(&mut entries(&mut wire)[0]["inclusionProof"]["hashes"][0]);
    assert_eq!(code(with.verify(&parse(&wire), &Run::new())), Code::LogProofInvalid);
}

#[test]
fn a_policy_says_in_notes_what_nobody_checked() {
    let forge = Forge::new();
    let model = weightseal::Model::from_source(weightseal::Memory::new("m").with("a.bin", "weights"));
    let key = Key::new(KeyKind::P256, 1);
    let bundle = parse(&keyed(&forge, &key).bundle(&payload()));
    let policy = Policy::new().accept(Accept::key(key.public_pem()).unwrap());
    let report = crate::good::verified(&model, &policy, std::slice::from_ref(&bundle));
    assert_eq!(report.signatures[0].notes.len(), 2, "{report}");
    assert_eq!(report.signatures[0].logged, []);
    let policy = Policy::new().accept(Accept::verifier(verifiers(&forge, &key).0));
    let report = crate::good::verified(&model, &policy, &[bundle]);
    assert_eq!(report.signatures[0].logged.len(), 2, "{report}");
    assert_eq!(report.signatures[0].time.as_ref().unwrap().by, "log");
    assert!(report.signatures[0].trusted_root.is_some());
}
