//! What clients are given: trusted roots, signing configurations, and both in one as the Python client has it.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::authority::ORGANIZATION;
use crate::pki::{Key, KeyKind};

const TRUSTED_ROOT: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
const SIGNING_CONFIG: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
const TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

/// Since when everything counts; the certificates say the same.
const START: &str = "2020-01-01T00:00:00Z";

/// The log id of Rekor v1 and of a log of certificates: the digest of the key.
pub(super) fn v1_log_id(key: &Key) -> [u8; 32] {
    Sha256::digest(key.spki_der()).into()
}

/// The log id of Rekor v2: the key hash of a signed note, whole, whose first four bytes are the hint in a checkpoint.
///
/// # Panics
/// If this is no Ed25519 key.
pub(super) fn v2_log_id(origin: &str, key: &Key) -> [u8; 32] {
    assert_eq!(key.kind(), KeyKind::Ed25519, "Rekor v2 signs with Ed25519");
    let spki = key.spki_der();
    let raw = &spki[spki.len() - 32..];
    Sha256::digest([origin.as_bytes(), b"\n\x01", raw].concat()).into()
}

/// A trusted root of these logs and authorities.
pub(super) fn trusted_root(logs: &[Value], ca: &Value, ct: &Value, tsa: &Value) -> Value {
    json!({
        "mediaType": TRUSTED_ROOT,
        "tlogs": logs,
        "certificateAuthorities": [ca],
        "ctlogs": [ct],
        "timestampAuthorities": [tsa],
    })
}

/// A signing configuration with one server of each kind.
pub(super) fn signing_config(ca: &str, oidc: &str, log: (&str, u32), tsa: &str) -> Value {
    let service = |url: &str, version: u32| {
        json!({
            "url": url,
            "majorApiVersion": version,
            "validFor": {"start": START},
            "operator": ORGANIZATION,
        })
    };
    json!({
        "mediaType": SIGNING_CONFIG,
        "caUrls": [service(ca, 1)],
        "oidcUrls": [service(oidc, 1)],
        "rekorTlogUrls": [service(log.0, log.1)],
        "tsaUrls": [service(tsa, 1)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    })
}

/// Both in one.
pub(super) fn trust_config(trusted_root: &Value, signing_config: &Value) -> Value {
    json!({
        "mediaType": TRUST_CONFIG,
        "trustedRoot": trusted_root,
        "signingConfig": signing_config,
    })
}
