//! Verifying: a bundle becomes a [`Proof`] of who signed which bytes. Whether he may, the policy says.

use std::{fmt::Debug, sync::Arc};

use crate::{
    Bundle, Run,
    report::{Finding, Identity, LoggedAt, ProvenTime, RootOrigin},
};

mod certificate;
mod key;
#[cfg(feature = "sigstore")]
mod sigstore;
pub(crate) mod x509;

pub use certificate::{CertificateVerifier, unverified_identities};
pub use key::KeyVerifier;
#[cfg(feature = "sigstore")]
pub use sigstore::{Claim, SigstoreIdentity, SigstoreVerifier};

/// Verifies the bundles of one signing method against what the caller trusts.
pub trait Verifier: Debug + Send + Sync {
    /// Proves who signed a bundle's payload, and when it counts as signed.
    ///
    /// # Errors
    /// [`NotProven::NotMine`] when the bundle is not for this trust, so that others may be asked;
    /// [`NotProven::Refused`] when it is and does not hold.
    fn verify(&self, bundle: &Bundle, run: &Run) -> Result<Proof, NotProven>;
}

/// Why a verifier gives no proof.
#[derive(Clone, Debug)]
pub enum NotProven {
    /// Another key, or another method: ask the next verifier.
    NotMine(Finding),
    /// It is for this verifier, and does not hold.
    Refused(Finding),
}

/// Who signed which bytes, and what proves when.
#[derive(Clone, Debug)]
pub struct Proof {
    pub(crate) identity: Identity,
    pub(crate) time: ProvenTime,
    /// The payload that was checked; nothing else is to be parsed.
    pub(crate) payload: Arc<[u8]>,
    /// The certificates on the path: serial number and SHA-256 of each, in hex.
    pub(crate) certificates: Vec<String>,
    /// SHA-256 over the signing key's SPKI in DER, in hex.
    pub(crate) key: String,
    /// The hint by which bundles name the signing key.
    pub(crate) hint: String,
    /// What the reader should know.
    pub(crate) notes: Vec<String>,
    /// The log entries that were proven.
    pub(crate) logged: Vec<LoggedAt>,
    /// What Sigstore's part of it was verified with.
    pub(crate) root: Option<RootOrigin>,
}

impl Proof {
    /// The bytes that were signed: a statement in JSON.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// A time as RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(unix: i64) -> String {
    jiff::Timestamp::from_second(unix).map_or_else(|_| unix.to_string(), |time| time.to_string())
}

/// What the log entries and timestamps of a bundle prove that `key` signed, where a trusted root was given for them.
#[derive(Default)]
struct Evidence {
    /// In seconds since 1970, and as reports have it.
    time: Option<(i64, ProvenTime)>,
    logged: Vec<LoggedAt>,
    root: Option<RootOrigin>,
    notes: Vec<String>,
}

#[cfg(feature = "sigstore")]
fn evidence(
    bundle: &Bundle,
    key: &crate::keys::PublicKey,
    leaf: Option<&[u8]>,
    root: Option<&crate::trust::TrustedRoot>,
    run: &Run,
) -> Result<Evidence, Finding> {
    let Some(root) = root else { return Ok(Evidence { notes: unchecked(bundle), ..Evidence::default() }) };
    if unchecked(bundle).is_empty() {
        return Ok(Evidence::default());
    }
    let notes = root.fresh(None, run)?;
    let sigstore::Evidenced { time, logged } = sigstore::evidence(bundle, key, leaf, root, run)?;
    Ok(Evidence { time, logged, root: Some(root.origin().clone()), notes })
}

/// Notes on what a bundle carries and nobody checked.
fn unchecked(bundle: &Bundle) -> Vec<String> {
    let mut notes = Vec::new();
    if !bundle.evidence.entries.is_empty() {
        let entries = bundle.evidence.entries.len();
        notes.push(format!("{entries} transparency-log entries in the bundle were not checked"));
    }
    if !bundle.evidence.timestamps.is_empty() {
        notes.push("timestamps in the bundle were not checked".to_owned());
    }
    notes
}

/// Whether `key` signed a bundle's payload: the encoding of DSSE first, then, only for statements in the format of the
/// reference's release 0.2.0, the one of that release.
fn signed_by(key: &crate::keys::PublicKey, bundle: &Bundle) -> Option<SignedAs> {
    use crate::{bundle::claims_legacy, keys::PaeDigest};
    let envelope = &bundle.envelope;
    if key.verifies(&envelope.pae(), &envelope.signature, PaeDigest::OfCurve) {
        return Some(SignedAs::Dsse);
    }
    if claims_legacy(&envelope.payload)
        && key.verifies(&envelope.legacy_pae(), &envelope.signature, PaeDigest::AlwaysSha256)
    {
        return Some(SignedAs::Legacy);
    }
    None
}

/// By which encoding a signature fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SignedAs {
    Dsse,
    Legacy,
}

impl SignedAs {
    fn note(self) -> Option<String> {
        (self == SignedAs::Legacy).then(|| {
            "signed in the encoding of model_signing 0.2.0; sign again with a current tool".to_owned()
        })
    }
}
