//! What a bundle says it was signed with: `verificationMaterial` (Sigstore bundle; OMS 1.0, section 5).

use serde_json::value::RawValue;

use super::{
    envelope::decode,
    json::{Array, Object},
};
use crate::{Error, code::Code, limits};

/// What a bundle says it was signed with. A claim: none of it is ever a reason to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Material {
    /// A bare key, perhaps with the hint which one.
    Key {
        /// Hex SHA-256 over the key's SPKI in PEM.
        hint: Option<String>,
    },
    /// A certificate and what leads to its root: DER, leaf first.
    Certificates(Vec<Vec<u8>>),
    /// The same, issued to a Sigstore identity; but for old bundles the leaf alone.
    Sigstore(Vec<Vec<u8>>),
}

/// What proves when something was signed, and that it was logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The version of the bundle's format behind its media type: 1, 2 or 3 for 0.1, 0.2, 0.3.
    pub(crate) version: u8,
    /// Entries of transparency logs, as written.
    pub(crate) entries: Vec<LogEntry>,
    /// RFC 3161 timestamps over the signature: DER.
    pub(crate) timestamps: Vec<Vec<u8>>,
}

/// An entry of a transparency log (`TransparencyLogEntry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    /// The position in the log; with Rekor v1 over all its trees.
    pub(crate) index: u64,
    /// By what the trusted root knows the log.
    pub(crate) log: Vec<u8>,
    pub(crate) kind: String,
    pub(crate) version: String,
    /// Seconds since 1970; none of Rekor v2.
    pub(crate) integrated: Option<i64>,
    /// The log's promise to hold the entry (SET).
    pub(crate) promise: Option<Vec<u8>>,
    pub(crate) proof: Option<LogProof>,
    /// What was logged.
    pub(crate) body: Vec<u8>,
}

/// Why a log holds an entry (`InclusionProof`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogProof {
    /// The position in the tree.
    pub(crate) index: u64,
    pub(crate) root: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) hashes: Vec<Vec<u8>>,
    /// The signed note, as text; empty where there is none.
    pub(crate) checkpoint: String,
}

impl Material {
    /// The signing method it stands for: `key`, `certificate` or `sigstore`.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Material::Key { .. } => "key",
            Material::Certificates(_) => "certificate",
            Material::Sigstore(_) => "sigstore",
        }
    }
}

/// Takes the material apart.
///
/// # Errors
/// `material-missing`, `material-ambiguous`; the codes of fields.
pub(super) fn parse(mut wire: Object<'_>, version: u8) -> Result<(Material, Evidence), Error> {
    let kinds = ["publicKey", "x509CertificateChain", "certificate"]
        .into_iter()
        .filter(|kind| wire.has(kind))
        .count();
    if kinds > 1 {
        return Err(Error::new(
            Code::MaterialAmbiguous,
            format!("the bundle has {kinds} kinds of verification material"),
        ));
    }
    let entries = wire.optional_array("tlogEntries", limits::LOG_ENTRIES)?;
    let entries = entries.objects().map(|entry| entry_of(entry?)).collect::<Result<Vec<_>, _>>()?;
    let timestamps = match wire.nullable_object("timestampVerificationData")? {
        Some(mut data) => {
            let list = data.optional_array("rfc3161Timestamps", limits::LOG_ENTRIES)?;
            data.finish()?;
            timestamps(&list)?
        }
        None => Vec::new(),
    };
    let material = if let Some(mut key) = wire.optional_object("publicKey")? {
        let hint = key.optional_string("hint")?.filter(|hint| !hint.is_empty()).map(Into::into);
        // Written before 1.1: the key itself. It is the signer's claim about himself, so it is not even looked at.
        for ignored in ["rawBytes", "keyDetails", "validFor"] {
            let _: Option<&RawValue> = key.raw(ignored);
        }
        key.finish()?;
        Material::Key { hint }
    } else if let Some(mut chain) = wire.optional_object("x509CertificateChain")? {
        let certificates = chain.array("certificates", limits::JSON_ITEMS)?;
        chain.finish()?;
        let chain = certificates
            .objects()
            .map(|certificate| certificate_of(certificate?))
            .collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() {
            return Err(Error::new(Code::MaterialMissing, "the certificate chain is empty"));
        }
        if version < 3 && !entries.is_empty() {
            Material::Sigstore(chain)
        } else {
            Material::Certificates(chain)
        }
    } else if let Some(certificate) = wire.optional_object("certificate")? {
        Material::Sigstore(vec![certificate_of(certificate)?])
    } else {
        return Err(Error::new(Code::MaterialMissing, "the bundle has no verification material"));
    };
    wire.finish()?;
    Ok((material, Evidence { version, entries, timestamps }))
}

fn certificate_of(mut wire: Object<'_>) -> Result<Vec<u8>, Error> {
    let der = bytes(&mut wire, "rawBytes")?;
    wire.finish()?;
    Ok(der)
}

fn timestamps(list: &Array<'_>) -> Result<Vec<Vec<u8>>, Error> {
    list.objects()
        .map(|timestamp| {
            let mut timestamp = timestamp?;
            let der = bounded(&mut timestamp, "signedTimestamp")?;
            timestamp.finish()?;
            Ok(der)
        })
        .collect()
}

fn entry_of(mut wire: Object<'_>) -> Result<LogEntry, Error> {
    let mut log = wire.object("logId")?;
    let mut kind = wire.object("kindVersion")?;
    let promise = match wire.nullable_object("inclusionPromise")? {
        Some(mut promise) => {
            let signed = bytes(&mut promise, "signedEntryTimestamp")?;
            promise.finish()?;
            Some(signed)
        }
        None => None,
    };
    let proof = wire.nullable_object("inclusionProof")?.map(proof_of).transpose()?;
    let entry = LogEntry {
        // What is 0 is left out by some (proto3).
        index: wire.int64("logIndex")?.unwrap_or(0),
        log: bytes(&mut log, "keyId")?,
        kind: kind.string("kind")?.into_owned(),
        version: kind.string("version")?.into_owned(),
        integrated: wire.int64("integratedTime")?.filter(|time| *time > 0).map(|time| time as i64),
        promise,
        proof,
        body: bounded(&mut wire, "canonicalizedBody")?,
    };
    log.finish()?;
    kind.finish()?;
    wire.finish()?;
    Ok(entry)
}

fn proof_of(mut wire: Object<'_>) -> Result<LogProof, Error> {
    let hashes = wire.optional_array("hashes", limits::PROOF_HASHES)?;
    let hashes = hashes
        .strings()
        .map(|hash| decode(&hash?).ok_or_else(|| wire.mistyped("hashes", "base64")))
        .collect::<Result<Vec<_>, _>>()?;
    let checkpoint = match wire.nullable_object("checkpoint")? {
        Some(mut checkpoint) => {
            let envelope = checkpoint.optional_string("envelope")?.unwrap_or_default().into_owned();
            checkpoint.finish()?;
            envelope
        }
        None => String::new(),
    };
    let proof = LogProof {
        index: wire.int64("logIndex")?.unwrap_or(0),
        root: bytes(&mut wire, "rootHash")?,
        size: wire.int64("treeSize")?.unwrap_or(0),
        hashes,
        checkpoint,
    };
    wire.finish()?;
    Ok(proof)
}

fn bytes(wire: &mut Object<'_>, field: &str) -> Result<Vec<u8>, Error> {
    let text = wire.string(field)?;
    decode(&text).ok_or_else(|| wire.mistyped(field, "base64"))
}

/// The same of what only a hostile bundle has large: all of it is copied, parsed and hashed several times.
fn bounded(wire: &mut Object<'_>, field: &str) -> Result<Vec<u8>, Error> {
    let bytes = bytes(wire, field)?;
    if bytes.len() > limits::EVIDENCE_BYTES {
        let what = format!("{} is larger than {} bytes", wire.path_of(field), limits::EVIDENCE_BYTES);
        return Err(Error::new(Code::JsonTooLarge, what));
    }
    Ok(bytes)
}
