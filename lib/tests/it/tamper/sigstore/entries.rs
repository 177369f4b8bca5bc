//! Log entries: promise, proof, position, log, kind, and what they are about.

use serde_json::{Value, json};
use testkit::forge::{
    Authority, Body, Entry, Forge, Kind, Leaf, Log, Logged, Signer, Signing, TIME, encode, leaf_hash, window,
};
use weightseal::Code;

use super::{Case, entries, flip, payload, refused, statement};

#[test]
fn a_promise_that_is_not_the_logs_is_refused() {
    let case = Case::v1();
    let promise = "signedEntryTimestamp";
    case.refuses_entry(Code::LogPromiseInvalid, |entry| flip(&mut entry["inclusionPromise"][promise]));
    case.refuses_entry(Code::LogPromiseInvalid, |entry| {
        entry["inclusionPromise"][promise] = encode(b"garbage").into();
    });
    case.refuses_entry(Code::LogPromiseInvalid, |entry| {
        entry["integratedTime"] = (TIME + 1).to_string().into();
    });
    case.refuses_entry(Code::LogPromiseInvalid, |entry| entry["logIndex"] = "4163437".into());
    let forge = Forge::new();
    let other = forge.other_v1.clone();
    case.refuses_entry(Code::LogPromiseInvalid, |entry| {
        let body = Body { kind: String::new(), version: String::new(), json: body_of(entry) };
        let promise = other.promise(&body, other.earlier + 5, TIME);
        entry["inclusionPromise"]["signedEntryTimestamp"] = encode(&promise).into();
    });
}

fn body_of(entry: &Value) -> Vec<u8> {
    testkit::forge::decode(entry["canonicalizedBody"].as_str().unwrap())
}

#[test]
fn a_proof_that_does_not_lead_to_the_root_is_refused() {
    for case in [Case::v1(), Case::v2()] {
        let hashes = |entry: &mut Value, change: fn(&mut Vec<Value>)| {
            change(entry["inclusionProof"]["hashes"].as_array_mut().unwrap());
        };
        for change in [
            |hashes: &mut Vec<Value>| flip(&mut hashes[0]),
            |hashes: &mut Vec<Value>| flip(&mut hashes[3]),
            |hashes: &mut Vec<Value>| drop(hashes.remove(0)),
            |hashes: &mut Vec<Value>| drop(hashes.pop()),
            |hashes: &mut Vec<Value>| hashes.push(encode(&[0; 32]).into()),
            |hashes: &mut Vec<Value>| hashes.swap(0, 1),
            |hashes: &mut Vec<Value>| hashes.clear(),
            |hashes: &mut Vec<Value>| hashes[0] = encode(&[0; 31]).into(),
        ] {
            case.refuses_entry(Code::LogProofInvalid, |entry| hashes(entry, change));
        }
        case.refuses_entry(Code::LogProofInvalid, |entry| entry["inclusionProof"]["logIndex"] = "4".into());
        case.refuses_entry(Code::LogRootMismatch, |entry| flip(&mut entry["inclusionProof"]["rootHash"]));
        case.refuses_entry(Code::LogSizeMismatch, |entry| entry["inclusionProof"]["treeSize"] = "12".into());
        case.refuses_entry(Code::LogSizeMismatch, |entry| entry["inclusionProof"]["treeSize"] = "0".into());
        case.refuses_entry(Code::LogSizeMismatch, |entry| entry["inclusionProof"]["logIndex"] = "11".into());
        case.refuses_entry(Code::LogProofMissing, |entry| {
            entry.as_object_mut().unwrap().remove("inclusionProof");
        });
        case.refuses_entry(Code::LogProofMissing, |entry| {
            entry["inclusionProof"].as_object_mut().unwrap().remove("checkpoint");
        });
    }
    // Rekor v2 counts leaves of one tree only.
    Case::v2().refuses_entry(Code::LogProofInvalid, |entry| entry["logIndex"] = "4".into());
}

#[test]
fn a_leaf_that_is_really_a_node_of_the_tree_is_refused() {
    let forge = Forge::new();
    let signing = forge.v2();
    let mut wire = signing.bundle(&payload());
    // What two leaves hash to, given as a leaf: the tag before a leaf is another one.
    let nodes = [leaf_hash(b"entry 0"), leaf_hash(b"entry 1")].concat();
    super::entry(&mut wire)["canonicalizedBody"] = encode(&nodes).into();
    refused(&forge.root(), &wire, Code::LogProofInvalid);
}

#[test]
fn entries_of_logs_that_the_root_does_not_have_are_refused() {
    for case in [Case::v1(), Case::v2()] {
        case.refuses_entry(Code::LogUnknown, |entry| flip(&mut entry["logId"]["keyId"]));
        case.refuses_entry(Code::LogUnknown, |entry| entry["logId"]["keyId"] = "".into());
        case.refuses_root(Code::LogUnknown, |root| root["tlogs"] = json!([]));
    }
    let forge = Forge::new();
    let stranger = Log::v2("log2.forge.example", 7);
    let signing = Signing { logged: vec![Logged::v2(&stranger)], ..forge.v2() };
    refused(&forge.root(), &signing.bundle(&payload()), Code::LogUnknown);
}

#[test]
fn an_entry_under_the_id_of_another_trusted_log_is_refused() {
    let forge = Forge::new();
    for (case, other) in
        [(Case::v1(), &forge.other_v1), (Case::v2(), &forge.other_v2), (Case::v2(), &forge.v1)]
    {
        case.refuses_entry(Code::CheckpointForeign, |entry| {
            entry["logId"]["keyId"] = encode(&other.id).into()
        });
    }
}

#[test]
fn a_second_entry_has_to_be_as_good_as_the_first() {
    let forge = Forge::new();
    let payload = payload();
    for case in [Case::v1(), Case::v2()] {
        let second = |code, logged: Logged, signing: &Signing, payload: &[u8]| {
            let entry = logged.wire(payload, &signing.signature(payload), &signing.signer());
            case.refuses(code, |wire| entries(wire).push(entry));
        };
        let signing = forge.v2();
        let unproven = Logged { proof: false, promise: false, ..Logged::v2(&forge.v2) };
        second(Code::LogProofMissing, unproven, &signing, &payload);
        let promised = Logged { proof: false, ..Logged::v1(&forge.v1) };
        second(Code::LogProofMissing, promised, &signing, &payload);
        second(Code::LogEntryMismatch, Logged::v2(&forge.v2), &signing, &statement("other"));
        second(Code::LogEntryMismatch, Logged::v1(&forge.v1), &signing, &statement("other"));
        second(Code::LogUnknown, Logged::v2(&Log::v2("stranger.example", 9)), &signing, &payload);
        let late = Logged { integrated: Some(TIME + 301), ..Logged::v1(&forge.v1) };
        second(Code::CertificateExpired, late, &signing, &payload);
    }
}

#[test]
fn an_entry_about_something_else_is_refused() {
    let forge = Forge::new();
    let payload = payload();
    let other_leaf = forge.issue(&Leaf { from: TIME - 200, ..forge.leaf() });
    let other_key =
        forge.issue(&Leaf { key: testkit::pki::Key::new(testkit::pki::KeyKind::P256, 6), ..forge.leaf() });
    for (logged, signing) in [
        (Logged::v1(&forge.v1), forge.v1()),
        (Logged { kind: Kind::Intoto, ..Logged::v1(&forge.v1) }, forge.v1()),
        (Logged { kind: Kind::HashedrekordV1, ..Logged::v1(&forge.v1) }, forge.v1()),
        (Logged::v2(&forge.v2), forge.v2()),
    ] {
        let case = Case::new(&forge, &Signing { logged: vec![logged.clone()], ..signing.clone() });
        let signature = signing.signature(&payload);
        let mut signatures =
            vec![(payload.clone(), forge.v2().by(&other_key).signature(&payload), signing.signer())];
        signatures.push((statement("other"), signature.clone(), signing.signer()));
        signatures.push((payload.clone(), signature.clone(), Signer::Certificate(other_key.der())));
        signatures.push((payload.clone(), signature.clone(), Signer::Key(other_key.key().spki_der())));
        // The same key in another certificate. Rekor v1's intoto binds the key alone.
        if logged.kind != Kind::Intoto {
            signatures.push((payload.clone(), signature.clone(), Signer::Certificate(other_leaf.der())));
            signatures.push((payload.clone(), signature.clone(), Signer::Key(signing.key.spki_der())));
        }
        for (payload, signature, signer) in signatures {
            let entry = logged.wire(&payload, &signature, &signer);
            case.refuses(Code::LogEntryMismatch, |wire| entries(wire)[0] = entry);
        }
    }
}

#[test]
fn entries_of_kinds_that_nobody_here_reads_are_refused() {
    for case in [Case::v1(), Case::v2()] {
        for (kind, version) in [
            ("dsse", "0.0.2"),
            ("intoto", "0.0.1"),
            ("hashedrekord", "0.0.9"),
            ("rekord", "0.0.1"),
            ("", ""),
            ("DSSE", "0.0.1"),
            ("dsse\u{1b}[31m", "0.0.1 "),
        ] {
            case.refuses_entry(Code::LogEntryUnsupported, |entry| {
                entry["kindVersion"] = json!({"kind": kind, "version": version});
            });
        }
    }
    // Of a kind that is known, and of which the body is not.
    Case::v1().refuses_entry(Code::LogEntryMismatch, |entry| {
        entry["kindVersion"] = json!({"kind": "hashedrekord", "version": "0.0.1"});
    });
}

#[test]
fn an_entry_whose_body_is_of_another_kind_or_garbage_is_refused() {
    let forge = Forge::new();
    for (log, kind, version, signing) in [
        (&forge.v1, "dsse", "0.0.1", forge.v1()),
        (&forge.v1, "hashedrekord", "0.0.1", forge.v1()),
        (&forge.v2, "hashedrekord", "0.0.2", forge.v2()),
    ] {
        let case = Case::new(&forge, &signing);
        let integrated = signing.logged[0].integrated;
        for json in [&b"{}"[..], b"", b"\xff", b"null", b"{\"kind\":\"x\"}"] {
            let body = Body { kind: kind.to_owned(), version: version.to_owned(), json: json.to_vec() };
            let logged = Entry { integrated, promise: integrated.is_some(), ..Entry::new(body) };
            case.refuses_entry(Code::LogEntryMismatch, |entry| *entry = log.entry(&logged));
        }
    }
}

#[test]
fn a_log_whose_key_was_not_valid_at_the_proven_time_is_refused() {
    for (case, log) in [(Case::v1(), 0), (Case::v2(), 1)] {
        case.refuses_root(Code::LogKeyExpired, |root| {
            window(&mut root["tlogs"][log], TIME - 900, Some(TIME - 1))
        });
        case.refuses_root(Code::LogKeyExpired, |root| window(&mut root["tlogs"][log], TIME + 1, None));
        // Not before the end of the century.
        case.refuses_root(Code::LogKeyExpired, |root| window(&mut root["tlogs"][log], 4_000_000_000, None));
        let mut root = case.root.clone();
        window(&mut root["tlogs"][log], TIME, Some(TIME));
        super::proves(&root, &case.wire);
    }
}

#[test]
fn a_bundle_without_entries_is_refused() {
    let forge = Forge::new();
    refused(&forge.root(), &forge.unlogged().bundle(&payload()), Code::LogEntryMissing);
    Case::v2().refuses(Code::LogEntryMissing, |wire| {
        wire["verificationMaterial"].as_object_mut().unwrap().remove("tlogEntries");
    });
}

#[test]
fn another_key_with_its_own_certificate_does_not_get_into_a_logged_bundle() {
    let forge = Forge::new();
    let mallory =
        forge.issue(&Leaf { key: testkit::pki::Key::new(testkit::pki::KeyKind::P256, 66), ..forge.leaf() });
    let mallory = forge.v1().by(&mallory).bundle(&payload());
    let swap = |wire: &mut Value| {
        wire["verificationMaterial"]["certificate"] = mallory["verificationMaterial"]["certificate"].clone();
        wire["dsseEnvelope"] = mallory["dsseEnvelope"].clone();
    };
    Case::v1().refuses(Code::LogEntryMismatch, swap);
    // There the timestamp is looked at first.
    Case::v2().refuses(Code::TimestampInvalid, swap);
    // His certificate alone, and his signature alone.
    Case::v1().refuses(Code::SignatureInvalid, |wire| {
        wire["verificationMaterial"]["certificate"] = mallory["verificationMaterial"]["certificate"].clone();
    });
    Case::v1().refuses(Code::SignatureInvalid, |wire| wire["dsseEnvelope"] = mallory["dsseEnvelope"].clone());
}

#[test]
fn a_changed_payload_or_signature_is_refused() {
    let forge = Forge::new();
    let logged = vec![Logged { kind: Kind::HashedrekordV1, ..Logged::v1(&forge.v1) }];
    let hashedrekord = Case::new(&forge, &Signing { logged, ..forge.v1() });
    hashedrekord.refuses(Code::SignatureInvalid, |wire| {
        flip(&mut wire["dsseEnvelope"]["signatures"][0]["sig"]);
    });
    for case in [Case::v1(), Case::v2(), hashedrekord] {
        case.refuses(Code::SignatureInvalid, |wire| {
            wire["dsseEnvelope"]["payload"] = encode(&statement("other")).into();
        });
    }
    Case::v1()
        .refuses(Code::SignatureInvalid, |wire| flip(&mut wire["dsseEnvelope"]["signatures"][0]["sig"]));
    Case::v2()
        .refuses(Code::TimestampInvalid, |wire| flip(&mut wire["dsseEnvelope"]["signatures"][0]["sig"]));
}

#[test]
fn another_envelope_of_the_same_signer_with_its_own_timestamp_is_not_what_was_logged() {
    let forge = Forge::new();
    for kind in [Kind::Dsse, Kind::Intoto, Kind::HashedrekordV1, Kind::Hashedrekord] {
        let logged = match kind {
            Kind::Hashedrekord => Logged::v2(&forge.v2),
            kind => Logged { kind, promise: false, ..Logged::v1(&forge.v1) },
        };
        let signing = Signing { logged: vec![logged], ..forge.v2() };
        let other = signing.bundle(&statement("other"));
        Case::new(&forge, &signing).refuses(Code::LogEntryMismatch, |wire| {
            wire["dsseEnvelope"] = other["dsseEnvelope"].clone();
            let stamps = "timestampVerificationData";
            wire["verificationMaterial"][stamps] = other["verificationMaterial"][stamps].clone();
        });
    }
}

#[test]
fn an_entry_of_another_instance_is_refused() {
    let forge = Forge::new();
    let elsewhere =
        Forge { authority: Authority::new("Forge", 3), v2: Log::v2("log2.forge.example", 3), ..Forge::new() };
    refused(&forge.root(), &elsewhere.v2().bundle(&payload()), Code::LogUnknown);
}
