//! Bits flipped all over a bundle: none verifies but where nobody has signed what changed, and nothing is decided by it.

use serde_json::Value;
use testkit::forge::{Forge, Signing, decode, encode};
use weightseal::{Bundle, Run, SigstoreVerifier, Verifier};

use super::{payload, signed_by_dev, trusted};

/// Every string under this value, by its path.
fn strings(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path.to_owned()),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                strings(item, &format!("{path}/{at}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                strings(item, &format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// Fields that hold text and not base64.
fn is_text(path: &str) -> bool {
    [
        "/kind",
        "/version",
        "/envelope",
        "/mediaType",
        "/payloadType",
        "/logIndex",
        "/treeSize",
        "/integratedTime",
    ]
    .iter()
    .any(|end| path.ends_with(end))
}

/// What became of every so many-th byte of every string of a bundle, flipped.
fn flipped(forge: &Forge, signing: &Signing, step: usize) -> Vec<String> {
    let verifier = SigstoreVerifier::new(trusted(&forge.root()), signed_by_dev());
    let wire = signing.bundle(&payload());
    let mut paths = Vec::new();
    strings(&wire, "", &mut paths);
    let mut verified = Vec::new();
    for path in paths {
        let text = wire.pointer(&path).and_then(Value::as_str).unwrap();
        let bytes = if is_text(&path) { text.as_bytes().to_vec() } else { decode(text) };
        for at in (0..bytes.len()).step_by(if bytes.len() < 100 { 1 } else { step }) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 7);
            let changed = match is_text(&path) {
                true => String::from_utf8_lossy(&changed).into_owned(),
                false => encode(&changed),
            };
            let mut wire = wire.clone();
            *wire.pointer_mut(&path).unwrap() = changed.into();
            let Ok(bundle) = Bundle::parse(wire.to_string().as_bytes()) else { continue };
            if let Ok(proof) = verifier.verify(&bundle, &Run::new()) {
                assert_eq!(proof.payload(), payload(), "{path} at {at}");
                verified.push(format!("{path} at {at}"));
            }
        }
    }
    verified
}

#[test]
fn no_flipped_bit_verifies_in_a_bundle_of_rekor_v1() {
    let forge = Forge::new();
    let verified = flipped(&forge, &forge.v1(), 3);
    assert_eq!(verified, Vec::<String>::new());
}

#[test]
fn no_flipped_bit_verifies_in_a_bundle_of_rekor_v2_but_in_what_the_timestamp_does_not_sign() {
    let forge = Forge::new();
    let verified = flipped(&forge, &forge.v2(), 3);
    let stamp = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    let others: Vec<&String> = verified.iter().filter(|path| !path.starts_with(stamp)).collect();
    assert_eq!(others, Vec::<&String>::new());
}
