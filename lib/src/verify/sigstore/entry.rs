//! What a log entry has to be before anything is computed: of a log that is trusted, with a proof whose parts agree with a
//! checkpoint of that very log. The library that verifies checks none of these bonds.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use sigstore_verify::{
    crypto::VerificationKey,
    trust_root::TransparencyLog,
    types::{Checkpoint, bundle::KindVersion},
};

use super::family;
use crate::{
    bundle::{LogEntry, LogProof},
    code::Code,
    limits,
    manifest::hex,
    report::Finding,
    shown::Shown,
    trust::TrustedRoot,
};

/// The byte by which a signed note's key identifier says that the key is Ed25519 (C2SP signed-note).
const ED25519: u8 = 1;

/// Length of the DER that precedes the 32 bytes of an Ed25519 key in its SPKI.
const ED25519_PREFIX: usize = 12;

/// Checks one entry, and says of which of the root's logs it is.
///
/// # Errors
/// `log-entry-unsupported`, `log-unknown`, `log-proof-missing`, `log-root-mismatch`, `log-size-mismatch`,
/// `log-proof-invalid`, `checkpoint-invalid`, `checkpoint-foreign`.
pub(super) fn check<'r>(
    entry: &LogEntry,
    version: u8,
    root: &'r TrustedRoot,
) -> Result<&'r TransparencyLog, Finding> {
    let kind = family::kind(entry).ok_or_else(|| family::unsupported(entry))?;
    let log = root.family.tlogs.iter().find(|log| log.log_id.key_id.as_bytes() == entry.log);
    let Some(log) = log else {
        let what = format!("the trusted root has no log with the id {}", hex(&entry.log));
        return Err(Finding::new(Code::LogUnknown, what));
    };
    match &entry.proof {
        Some(proof) => check_proof(entry, proof, kind, log)?,
        // The format of 0.3 wants the proof; before, the log's promise alone would do.
        None if version < 3 && entry.promise.is_some() => {}
        None => {
            return Err(Finding::new(Code::LogProofMissing, "a log entry has no proof of inclusion"));
        }
    }
    Ok(log)
}

fn check_proof(
    entry: &LogEntry,
    proof: &LogProof,
    kind: KindVersion,
    log: &TransparencyLog,
) -> Result<(), Finding> {
    if proof.checkpoint.is_empty() {
        return Err(Finding::new(Code::LogProofMissing, "the proof of inclusion has no checkpoint"));
    }
    // Each line may be a signature that has to be checked, and the library checks them once more.
    let (length, lines) = (proof.checkpoint.len(), proof.checkpoint.lines().count());
    if length > limits::CHECKPOINT_BYTES || lines > limits::CHECKPOINT_LINES {
        let what = format!("the checkpoint is too large: {length} bytes in {lines} lines");
        return Err(Finding::new(Code::CheckpointInvalid, what));
    }
    let checkpoint = Checkpoint::from_text(&proof.checkpoint).map_err(|error| {
        let why = error.to_string();
        Finding::new(Code::CheckpointInvalid, format!("the checkpoint cannot be read: {}", Shown(&why)))
    })?;
    if !is_whole(&proof.checkpoint, &checkpoint) {
        let what = "the checkpoint has more in it than a note and its signatures";
        return Err(Finding::new(Code::CheckpointInvalid, what));
    }
    signed_by(&checkpoint, kind, log)?;
    if checkpoint.root_hash().as_slice() != proof.root {
        let what = "the proof of inclusion is for another root than the checkpoint's";
        return Err(Finding::new(Code::LogRootMismatch, what)
            .differs(checkpoint.root_hash().to_hex(), hex(&proof.root)));
    }
    if checkpoint.tree_size() != proof.size {
        let what = "the proof of inclusion is for a tree of another size than the checkpoint's";
        return Err(Finding::new(Code::LogSizeMismatch, what).differs(checkpoint.tree_size(), proof.size));
    }
    if proof.index >= proof.size {
        let what = format!("entry {} is not in a tree of {} entries", proof.index, proof.size);
        return Err(Finding::new(Code::LogSizeMismatch, what));
    }
    // Rekor v1 counts entries over all its trees, and leaves within one.
    if kind == KindVersion::HashedRekordV002 && entry.index != proof.index {
        let what = "the proof of inclusion is for another position than the entry's";
        return Err(Finding::new(Code::LogProofInvalid, what).differs(entry.index, proof.index));
    }
    Ok(())
}

/// Whether the text is the signed note and nothing else. The library takes spaces and whole lines besides, which nobody has
/// signed.
fn is_whole(text: &str, checkpoint: &Checkpoint) -> bool {
    let signatures = checkpoint.signatures().iter().map(|signature| {
        let bytes = [signature.key_id.as_slice(), signature.signature.as_bytes()].concat();
        format!("\u{2014} {} {}\n", signature.name, STANDARD.encode(&bytes))
    });
    let note = String::from_utf8_lossy(checkpoint.signed_data());
    text.strip_prefix(&*note).and_then(|rest| rest.strip_prefix('\n'))
        == Some(&signatures.collect::<String>())
}

/// Whether the log signed the checkpoint, under its own name. Witnesses may have signed it too.
fn signed_by(checkpoint: &Checkpoint, kind: KindVersion, log: &TransparencyLog) -> Result<(), Finding> {
    let foreign = |what: String| Finding::new(Code::CheckpointForeign, what);
    let origin = checkpoint.origin();
    if kind == KindVersion::HashedRekordV002 && !is_origin_of(origin, log) {
        let what = format!("the checkpoint is of the log {}, and the entry of another one", Shown(origin));
        return Err(foreign(what));
    }
    // Rekor v1 writes the number of the tree behind the name.
    let name = origin.split_once(" - ").map_or(origin, |(name, _)| name);
    let id = log.log_id.key_id.as_bytes();
    let own: Vec<_> = checkpoint
        .signatures()
        .iter()
        .filter(|signature| id.starts_with(signature.key_id.as_slice()) && signature.name == name)
        .collect();
    if own.is_empty() {
        return Err(foreign(format!("the log with the id {} has not signed the checkpoint", hex(id))));
    }
    let key = VerificationKey::from_spki(&log.public_key.raw_bytes)
        .map_err(|error| Finding::new(Code::LogUnknown, format!("the log's key cannot be used: {error}")))?;
    if own.iter().any(|signature| key.verify(checkpoint.signed_data(), &signature.signature).is_ok()) {
        return Ok(());
    }
    Err(Finding::new(Code::CheckpointInvalid, "the log's signature on the checkpoint is wrong"))
}

/// Whether a log of Rekor v2 has this origin: its id is a hash over origin and key (C2SP signed-note), or else its address
/// is at that host.
fn is_origin_of(origin: &str, log: &TransparencyLog) -> bool {
    let spki = log.public_key.raw_bytes.as_bytes();
    let key = spki.get(ED25519_PREFIX..).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(origin);
    hash.update([b'\n', ED25519]);
    hash.update(key);
    let id = log.log_id.key_id.as_bytes();
    if key.len() == 32 && id == hash.finalize().as_slice() {
        return true;
    }
    let by_key = Sha256::digest(spki);
    id == by_key.as_slice() && host(&log.base_url) == Some(origin)
}

/// The host and port of a URL, and its path where it has one, as origins are written.
fn host(url: &str) -> Option<&str> {
    Some(url.split_once("://")?.1.trim_end_matches('/'))
}
