//! The trusted root of the instance (`trusted_root.json`).

use std::time::Duration;

use serde_json::{Value, json};
use x509_cert_02::der::DateTime;

use super::{Forge, Log, START, encode};
use crate::pki::{Cert, Key, KeyKind};

pub(super) fn root(forge: &Forge) -> Value {
    let Forge { authority, ct, v1, v2, other_v1, other_v2, tsa } = forge;
    let logs: Vec<Value> = [v1, v2, other_v1, other_v2]
        .map(|Log { url, key, id, .. }| log_json(url, key, id))
        .into_iter()
        .collect();
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": logs,
        "certificateAuthorities": [authority_json("https://ca.forge.example", &[&authority.intermediate, &authority.root])],
        "ctlogs": [log_json("https://ct.forge.example", &ct.key, &ct.id())],
        "timestampAuthorities": [authority_json("https://tsa.forge.example", &[&tsa.leaf, &tsa.root])],
    })
}

/// A log of either kind, as a trusted root has it; trusted from [`START`] on.
pub fn log_json(url: &str, key: &Key, id: &[u8]) -> Value {
    let details = match key.kind() {
        KeyKind::Ed25519 => "PKIX_ED25519",
        _ => "PKIX_ECDSA_P256_SHA_256",
    };
    json!({
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": encode(&key.spki_der()), "keyDetails": details, "validFor": period(START, None)},
        "logId": {"keyId": encode(id)},
    })
}

/// An authority with its chain, leaf first, as a trusted root has it; trusted from [`START`] on.
pub fn authority_json(uri: &str, chain: &[&Cert]) -> Value {
    let certificates: Vec<Value> =
        chain.iter().map(|certificate| json!({"rawBytes": encode(&certificate.der())})).collect();
    json!({
        "subject": {"organization": "Forge", "commonName": "Forge"},
        "uri": uri,
        "certChain": {"certificates": certificates},
        "validFor": period(START, None),
    })
}

/// A period of time, ends within, in seconds since 1970.
pub fn period(from: i64, to: Option<i64>) -> Value {
    match to {
        Some(to) => json!({"start": rfc3339(from), "end": rfc3339(to)}),
        None => json!({"start": rfc3339(from)}),
    }
}

/// Changes the period in which a log's key or an authority is trusted.
pub fn window(item: &mut Value, from: i64, to: Option<i64>) {
    let item = if item.get("publicKey").is_some() { &mut item["publicKey"] } else { item };
    item["validFor"] = period(from, to);
}

fn rfc3339(time: i64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(u64::try_from(time).unwrap())).unwrap().to_string()
}
