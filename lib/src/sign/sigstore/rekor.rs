//! The log entry: Rekor v1 (`dsse` 0.0.1) and v2 (`hashedrekord` 0.0.2).

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use sigstore_verify::{
    rekor::{DsseEntry, HashedRekordV2, LogEntry, RekorV2KeyDetails},
    types::{
        DerCertificate, DsseEnvelope, DsseSignature, KeyId, KindVersion, PayloadBytes, Sha256Hash,
        SignatureBytes, TransparencyLogEntry,
    },
};

use super::{Place, RekorVersion};
use crate::{
    Error,
    bundle::{Envelope, PAYLOAD_TYPE},
    http::{Answer, Call},
};

const SERVICE: &str = "the transparency log Rekor";

/// Writes an envelope into a log, and gives the entry as bundles have it.
///
/// # Errors
/// `service-failed`.
pub(super) fn entry(
    url: &str,
    version: RekorVersion,
    envelope: &Envelope,
    leaf: &[u8],
    place: &Place<'_>,
) -> Result<Value, Error> {
    match version {
        RekorVersion::V1 => first(url, envelope, leaf, place),
        RekorVersion::V2 => second(url, envelope, leaf, place),
    }
}

/// Rekor v1 wants the whole envelope, and keeps the digests of it.
fn first(url: &str, envelope: &Envelope, leaf: &[u8], place: &Place<'_>) -> Result<Value, Error> {
    let entries = format!("{url}/api/v1/log/entries");
    let signed = DsseEnvelope::new(
        PAYLOAD_TYPE,
        PayloadBytes::from_bytes(&envelope.payload),
        DsseSignature::new(SignatureBytes::from_bytes(&envelope.signature), KeyId::default()),
    );
    let unmade = |error: &dyn std::fmt::Display| {
        Call::get(SERVICE, entries.as_str()).unusable(format!("the entry cannot be written: {error}"))
    };
    let entry =
        DsseEntry::new(&signed, &DerCertificate::new(leaf.to_vec())).map_err(|error| unmade(&error))?;
    drop(signed);
    let body = serde_json::to_vec(&entry).map_err(|error| unmade(&error))?;
    drop(entry);
    let call = Call::post(SERVICE, entries.as_str(), "application/json", body).accept("application/json");
    let answer = place.http.send(&call, place.run)?;
    let (call, answer) = match known_already(&answer) {
        // An attempt of which no answer came had arrived.
        Some(id) => {
            let call = Call::get(SERVICE, format!("{entries}/{id}")).accept("application/json");
            let answer = place.http.call(&call, place.run)?;
            (call, answer)
        }
        None => {
            let answer = answer.ok(&call)?;
            (call, answer)
        }
    };
    let made: HashMap<String, LogEntry> =
        serde_json::from_slice(&answer.body).map_err(|error| call.unusable(error))?;
    let mut made = made.into_values();
    let (Some(entry), None) = (made.next(), made.next()) else {
        return Err(call.unusable("there is not one entry in it"));
    };
    let entry = entry.to_bundle_entry(KindVersion::DsseV001).map_err(|error| call.unusable(error))?;
    serde_json::to_value(entry).map_err(|error| call.unusable(error))
}

/// The id of an entry that was there before, which Rekor v1 tells by the status 409 and its place.
fn known_already(answer: &Answer) -> Option<&str> {
    let id = answer.location.as_deref().filter(|_| answer.status == 409)?.rsplit('/').next()?;
    (!id.is_empty() && id.len() <= 80 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Rekor v2 wants the digest of what was signed.
fn second(url: &str, envelope: &Envelope, leaf: &[u8], place: &Place<'_>) -> Result<Value, Error> {
    let digest: [u8; 32] = Sha256::digest(envelope.pae()).into();
    let request = HashedRekordV2::new_with_certificate(
        &Sha256Hash::new(digest),
        &SignatureBytes::from_bytes(&envelope.signature),
        &DerCertificate::new(leaf.to_vec()),
        RekorV2KeyDetails::PkixEcdsaP256Sha256,
    );
    let entries = format!("{url}/api/v2/log/entries");
    let body = serde_json::to_vec(&request).map_err(|error| {
        Call::get(SERVICE, entries.as_str()).unusable(format!("the entry cannot be written: {error}"))
    })?;
    let call = Call::post(SERVICE, entries, "application/json", body).accept("application/json");
    let answer = place.http.call(&call, place.run)?;
    let entry: TransparencyLogEntry =
        serde_json::from_slice(&answer.body).map_err(|error| call.unusable(error))?;
    if entry.kind_version != KindVersion::HashedRekordV002 {
        return Err(call.unusable("the entry is of another kind than was asked for"));
    }
    serde_json::to_value(entry).map_err(|error| call.unusable(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_was_there_before_is_known_by_its_place() {
        let answer = |status, location: Option<&str>| Answer {
            status,
            headers: reqwest::header::HeaderMap::new(),
            body: Vec::new(),
            location: location.map(ToOwned::to_owned),
        };
        assert_eq!(known_already(&answer(409, Some("/api/v1/log/entries/00ff"))), Some("00ff"));
        assert_eq!(known_already(&answer(201, Some("/api/v1/log/entries/00ff"))), None);
        assert_eq!(known_already(&answer(409, Some("https://evil.example/../x?y"))), None);
        assert_eq!(known_already(&answer(409, None)), None);
    }
}
