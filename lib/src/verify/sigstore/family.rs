//! Our bundle in the types of the library that verifies, made anew from what we parsed.

use std::collections::BTreeMap;

use sigstore_verify::types::{
    Artifact, ArtifactDigest, Bundle as FamilyBundle, CanonicalizedBody, DerCertificate, DerPublicKey,
    DigestBytes, DsseEnvelope, HashAlgorithm, KeyId, LogIndex, LogKeyId, MediaType, PayloadBytes,
    PublicKeyIdentifier, Sha256Hash, SignatureBytes, SignatureContent, SignedTimestamp, TimestampToken,
    TransparencyLogEntry, VerificationMaterial,
    bundle::{
        CertificateContent, CheckpointData, InclusionPromise, InclusionProof, KindVersion, LogId,
        MessageSignature, Rfc3161Timestamp, TimestampVerificationData, VerificationMaterialContent,
        X509Certificate,
    },
    dsse::DsseSignature,
};

use crate::{
    bundle::{Bundle, LogEntry, LogProof, PAYLOAD_TYPE},
    code::Code,
    report::Finding,
    shown::Shown,
};

/// What the library is told a bundle was signed with.
pub(super) enum Signed<'a> {
    /// A certificate, and what leads to its authority.
    Certificate(&'a [Vec<u8>]),
    /// A bare key.
    Key,
}

/// The bundle for the library.
pub(super) fn bundle(bundle: &Bundle, signed: &Signed<'_>) -> Result<FamilyBundle, Finding> {
    let version = bundle.evidence.version;
    let signer = match signed {
        Signed::Certificate([leaf]) if version == 3 => VerificationMaterialContent::Certificate(
            CertificateContent::new(DerCertificate::new(leaf.clone())),
        ),
        Signed::Certificate(chain) => VerificationMaterialContent::X509CertificateChain {
            certificates: chain
                .iter()
                .map(|der| X509Certificate::new(DerCertificate::new(der.clone())))
                .collect(),
        },
        Signed::Key => VerificationMaterialContent::PublicKey(PublicKeyIdentifier::new("")),
    };
    let entries = bundle.evidence.entries.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let timestamps = bundle.evidence.timestamps.iter().map(|der| Rfc3161Timestamp::new(token(der))).collect();
    let material = VerificationMaterial::new(signer)
        .with_tlog_entries(entries)
        .with_timestamp_verification_data(TimestampVerificationData::new(timestamps));
    let content = if is_message(bundle) {
        SignatureContent::MessageSignature(MessageSignature::new(signature(bundle)))
    } else {
        SignatureContent::DsseEnvelope(DsseEnvelope::new(
            PAYLOAD_TYPE,
            PayloadBytes::new(bundle.envelope.payload.to_vec()),
            DsseSignature::new(signature(bundle), KeyId::default()),
        ))
    };
    let media_type = match version {
        1 => MediaType::Bundle0_1,
        2 => MediaType::Bundle0_2,
        _ => MediaType::Bundle0_3,
    };
    Ok(FamilyBundle::new(media_type, material, content))
}

/// Whether the library has to be told of a signature over plain bytes, those that DSSE signs, instead of one of an envelope.
/// It is the same signature, and the one way in which the library compares it with entries of `hashedrekord` 0.0.1.
pub(super) fn is_message(bundle: &Bundle) -> bool {
    bundle.evidence.entries.iter().any(|entry| kind(entry) == Some(KindVersion::HashedRekordV001))
}

pub(super) fn signature(bundle: &Bundle) -> SignatureBytes {
    SignatureBytes::new(bundle.envelope.signature.clone())
}

pub(super) fn token(der: &[u8]) -> TimestampToken {
    TimestampToken::new(der.to_vec())
}

pub(super) fn key(spki_der: &[u8]) -> DerPublicKey {
    DerPublicKey::new(spki_der.to_vec())
}

/// The kind of an entry, where the library knows it.
pub(super) fn kind(entry: &LogEntry) -> Option<KindVersion> {
    match (entry.kind.as_str(), entry.version.as_str()) {
        ("hashedrekord", "0.0.1") => Some(KindVersion::HashedRekordV001),
        ("hashedrekord", "0.0.2") => Some(KindVersion::HashedRekordV002),
        ("dsse", "0.0.1") => Some(KindVersion::DsseV001),
        ("intoto", "0.0.2") => Some(KindVersion::IntotoV002),
        _ => None,
    }
}

fn entry(entry: &LogEntry) -> Result<TransparencyLogEntry, Finding> {
    let kind = kind(entry).ok_or_else(|| unsupported(entry))?;
    let index = LogIndex::new(entry.index).map_err(|error| malformed(Code::FieldMistyped, &error))?;
    let log = LogId::new(LogKeyId::new(entry.log.clone()));
    let mut family = TransparencyLogEntry::new(index, log, kind, CanonicalizedBody::new(entry.body.clone()));
    if let Some(time) = entry.integrated {
        let time =
            jiff_02::Timestamp::from_second(time).map_err(|error| malformed(Code::FieldMistyped, &error))?;
        family = family.with_integrated_time(time);
    }
    if let Some(promise) = &entry.promise {
        family = family.with_inclusion_promise(InclusionPromise::new(SignedTimestamp::new(promise.clone())));
    }
    if let Some(proof) = &entry.proof {
        family = family.with_inclusion_proof(inclusion(proof)?);
    }
    Ok(family)
}

/// What is said of an entry of a kind that nobody here can read.
pub(super) fn unsupported(entry: &LogEntry) -> Finding {
    let what = format!("a log entry is of the kind {} {}", Shown(&entry.kind), Shown(&entry.version));
    Finding::new(Code::LogEntryUnsupported, what)
}

fn inclusion(proof: &LogProof) -> Result<InclusionProof, Finding> {
    let index = LogIndex::new(proof.index).map_err(|error| malformed(Code::FieldMistyped, &error))?;
    let hashes = proof.hashes.iter().map(|hash| digest(hash)).collect::<Result<Vec<_>, _>>()?;
    let checkpoint = CheckpointData::new(proof.checkpoint.clone())
        .map_err(|error| malformed(Code::CheckpointInvalid, &error))?;
    Ok(InclusionProof::new(index, digest(&proof.root)?, proof.size, hashes, checkpoint))
}

pub(super) fn digest(bytes: &[u8]) -> Result<Sha256Hash, Finding> {
    Sha256Hash::try_from(bytes).map_err(|error| malformed(Code::LogProofInvalid, &error))
}

fn malformed(code: Code, error: &dyn std::fmt::Display) -> Finding {
    Finding::new(code, format!("a log entry cannot be read: {}", Shown(&error.to_string())))
}

/// The types of statements whose subjects mean what they are taken for here.
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// What the payload says it is about, which is all that the library wants of it: a digest of its first subject. What the
/// payload means, others say.
pub(super) fn subject(payload: &[u8]) -> Result<Artifact<'static>, Finding> {
    #[derive(serde::Deserialize)]
    struct Claimed {
        #[serde(rename = "_type")]
        kind: String,
        subject: Vec<Subject>,
    }
    #[derive(serde::Deserialize)]
    struct Subject {
        digest: BTreeMap<String, String>,
    }
    let claimed: Claimed = serde_json::from_slice(payload).map_err(|error| {
        Finding::new(
            Code::FieldMissing,
            format!("the payload is no statement: {}", Shown(&error.to_string())),
        )
    })?;
    if !STATEMENTS.contains(&claimed.kind.as_str()) {
        let what = format!("the payload is of the type {}", Shown(&claimed.kind));
        return Err(Finding::new(Code::StatementTypeUnsupported, what));
    }
    let digests = claimed.subject.into_iter().next().map(|subject| subject.digest).unwrap_or_default();
    let digest = |name, algorithm| {
        let bytes = DigestBytes::from_hex(digests.get(name)?).ok()?;
        Some(Artifact::from(ArtifactDigest::new(algorithm, bytes).ok()?))
    };
    let sha512 = || digest("sha512", HashAlgorithm::Sha2512);
    digest("sha256", HashAlgorithm::Sha2256).or_else(sha512).ok_or_else(|| {
        Finding::new(Code::FieldMissing, "the statement's subject has neither SHA-256 nor SHA-512")
    })
}
