//! Checkpoints: whose they are, and whether they can be read.

use serde_json::Value;
use testkit::forge::{Forge, Log, Logged, Signing, decode, encode, leaf_hash, tree_root};
use weightseal::Code;

use super::{Case, checkpoint, payload, refused};

/// The case with a change of the checkpoint's text.
#[track_caller]
fn refuses(case: &Case, code: Code, change: impl FnOnce(&str) -> String) {
    case.refuses_entry(code, |entry| {
        let note = checkpoint(entry);
        *note = change(note.as_str().unwrap()).into();
    });
}

/// The signature line's bytes, changed.
fn with_signature(note: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let (head, signature) = note.trim_end().rsplit_once(' ').unwrap();
    let mut bytes = decode(signature);
    change(&mut bytes);
    format!("{head} {}\n", encode(&bytes))
}

#[test]
fn a_checkpoint_that_the_log_did_not_sign_is_refused() {
    for case in [Case::v1(), Case::v2()] {
        refuses(&case, Code::CheckpointInvalid, |note| {
            with_signature(note, |bytes| *bytes.last_mut().unwrap() ^= 1)
        });
        refuses(&case, Code::CheckpointInvalid, |note| with_signature(note, |bytes| bytes.truncate(40)));
        refuses(&case, Code::CheckpointForeign, |note| with_signature(note, |bytes| bytes[0] ^= 1));
        refuses(&case, Code::CheckpointForeign, |note| with_signature(note, |bytes| bytes[3] ^= 1));
        // A line more is signed or not there.
        refuses(&case, Code::CheckpointInvalid, |note| note.replacen("\n\n", "\nmore\n\n", 1));
    }
}

#[test]
fn a_checkpoint_under_another_name_is_refused() {
    let forge = Forge::new();
    for (case, log) in [(Case::v1(), &forge.v1), (Case::v2(), &forge.v2)] {
        let host = log.origin.split(' ').next().unwrap();
        for other in ["other.example", "LOG.forge.example"] {
            refuses(&case, Code::CheckpointForeign, |note| note.replacen(host, other, 1));
        }
        // On the line of the signature alone.
        refuses(&case, Code::CheckpointForeign, |note| {
            note.replace(&format!("\u{2014} {host} "), "\u{2014} other.example ")
        });
        refuses(&case, Code::CheckpointForeign, |note| {
            note.replace(&format!("\u{2014} {host} "), &format!("\u{2014} {host}. "))
        });
        // The log itself signed, under another name.
        let renamed = Log { origin: "other.example".to_owned(), ..log.clone() };
        let logged = Logged { log: renamed, ..if log.is_v2() { Logged::v2(log) } else { Logged::v1(log) } };
        if log.is_v2() {
            let wire = Signing { logged: vec![logged], ..forge.v2() }.bundle(&payload());
            refused(&forge.root(), &wire, Code::CheckpointForeign);
        }
    }
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_refused() {
    for case in [Case::v1(), Case::v2()] {
        let long = "x".repeat(100_000);
        for text in ["garbage", "\n\n", "\n", "\u{2014}", "a\n1\n\n\u{2014} a", &long] {
            refuses(&case, Code::CheckpointInvalid, |_| text.to_owned());
        }
        refuses(&case, Code::LogProofMissing, |_| String::new());
        refuses(&case, Code::CheckpointInvalid, |note| note.replacen("\n\n", "\n", 1));
        refuses(&case, Code::CheckpointInvalid, |note| note[..note.find("\u{2014}").unwrap()].to_owned());
        refuses(&case, Code::CheckpointInvalid, |note| note.replacen("\n11\n", "\n-11\n", 1));
        refuses(&case, Code::CheckpointInvalid, |note| note.replacen("\n11\n", "\n\n", 1));
        refuses(&case, Code::CheckpointInvalid, |note| note.replace('\u{2014}', "-"));
        refuses(&case, Code::CheckpointInvalid, |note| with_signature(note, Vec::clear));
    }
}

#[test]
fn a_checkpoint_of_another_tree_of_the_same_log_is_refused() {
    for case in [Case::v1(), Case::v2()] {
        let forge = Forge::new();
        let log = if case.wire["verificationMaterial"]["tlogEntries"][0]["integratedTime"].is_null() {
            forge.v2
        } else {
            forge.v1
        };
        refuses(&case, Code::LogRootMismatch, |_| log.checkpoint(11, &[7; 32]));
        case.refuses_entry(Code::LogProofInvalid, |entry| {
            entry["inclusionProof"]["rootHash"] = encode(&[7; 32]).into();
            *checkpoint(entry) = log.checkpoint(11, &[7; 32]).into();
        });
        refuses(&case, Code::CheckpointInvalid, |_| log.checkpoint(11, &[7; 31]));
    }
}

#[test]
fn nothing_stands_beside_the_note_and_its_signatures() {
    for case in [Case::v1(), Case::v2()] {
        for change in [
            |note: &str| note.trim_end().to_owned(),
            |note: &str| format!("{note}\n"),
            |note: &str| format!("{note} "),
            |note: &str| format!("{note}\nmore\n"),
            |note: &str| format!("{} more\n", note.trim_end()),
            |note: &str| note.replacen("\u{2014} ", "\u{2014}  ", 1),
            |note: &str| note.replacen("\u{2014} ", " \u{2014} ", 1),
            |note: &str| note.replace('\n', "\r\n"),
        ] {
            refuses(&case, Code::CheckpointInvalid, change);
        }
    }
}

/// Another log of the same root, which anybody might run, signs a tree that holds nothing but the entry.
fn foreign(entry: &mut Value, other: &Log) {
    let body = decode(entry["canonicalizedBody"].as_str().unwrap());
    let root = tree_root(&[leaf_hash(&body)]);
    entry["logIndex"] = "0".into();
    entry["inclusionProof"] = serde_json::json!({
        "logIndex": "0",
        "treeSize": "1",
        "hashes": [],
        "rootHash": encode(&root),
        "checkpoint": {"envelope": other.checkpoint(1, &root)},
    });
}

#[test]
fn a_checkpoint_of_another_trusted_log_is_refused() {
    let forge = Forge::new();
    for other in [&forge.v1, &forge.other_v1, &forge.other_v2] {
        Case::v2().refuses_entry(Code::CheckpointForeign, |entry| foreign(entry, other));
        // Under the right name, too.
        let named = Log { origin: forge.v2.origin.clone(), ..other.clone() };
        Case::v2().refuses_entry(Code::CheckpointForeign, |entry| foreign(entry, &named));
        // And with the right hint.
        let hinted = Log { id: forge.v2.id.clone(), ..named };
        Case::v2().refuses_entry(Code::CheckpointInvalid, |entry| foreign(entry, &hinted));
    }
    let stamped = Case::new(&forge, &forge.v1_stamped());
    for other in [&forge.v2, &forge.other_v1, &forge.other_v2] {
        stamped.refuses_entry(Code::CheckpointForeign, |entry| foreign(entry, other));
        let hinted = Log { origin: forge.v1.origin.clone(), id: forge.v1.id.clone(), ..other.clone() };
        stamped.refuses_entry(Code::CheckpointInvalid, |entry| foreign(entry, &hinted));
    }
}

#[test]
fn a_signature_of_another_log_beside_does_not_count_for_the_own_one() {
    let forge = Forge::new();
    for (case, log, other) in
        [(Case::v1(), &forge.v1, &forge.other_v1), (Case::v2(), &forge.v2, &forge.other_v2)]
    {
        case.refuses_entry(Code::CheckpointInvalid, |entry| {
            let note = checkpoint(entry);
            let text = note.as_str().unwrap().to_owned();
            let head = text.split("\n\n").next().unwrap().to_owned() + "\n";
            let broken = with_signature(&text, |bytes| *bytes.last_mut().unwrap() ^= 1);
            let named = Log { origin: log.origin.clone(), ..other.clone() };
            *note = format!("{broken}{}", &named.note(&head)[head.len() + 1..]).into();
        });
    }
}

#[test]
fn a_checkpoint_with_signatures_without_end_is_refused_before_any_is_checked() {
    let begun = std::time::Instant::now();
    for case in [Case::v1(), Case::v2()] {
        // Witnesses may sign as well.
        let mut wire = case.wire.clone();
        let note = checkpoint(super::entry(&mut wire));
        let line = format!("\u{2014} witness.example {}\n", encode(&[7; 68]));
        *note = format!("{}{}", note.as_str().unwrap(), line.repeat(60)).into();
        super::proves(&case.root, &wire);
        // Each of these costs two checks of a signature by the log's own key.
        refuses(&case, Code::CheckpointInvalid, |note| {
            let (head, signature) = note.split_once("\n\n").unwrap();
            let wrong = with_signature(signature, |bytes| *bytes.last_mut().unwrap() ^= 1);
            format!("{head}\n\n{}{signature}", wrong.repeat(100_000))
        });
        refuses(&case, Code::CheckpointInvalid, |note| {
            format!("{note}\u{2014} witness.example {}\n", encode(&vec![7; 60_000]))
        });
    }
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

#[test]
fn evidence_that_is_larger_than_any_is_refused_before_it_is_parsed() {
    let case = Case::v2();
    let large = || Value::from(encode(&vec![b' '; (1 << 20) + 1]));
    case.refuses_entry(Code::JsonTooLarge, |entry| entry["canonicalizedBody"] = large());
    case.refuses(Code::JsonTooLarge, |wire| super::stamps(wire)[0]["signedTimestamp"] = large());
}
