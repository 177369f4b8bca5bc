//! What the library that verifies has to say, in our codes.

use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

use crate::{code::Code, report::Finding, shown::Shown};

/// Its error as a finding.
pub(super) fn finding(error: &Error) -> Finding {
    let code = match error {
        Error::SignatureInvalid(_) => Code::SignatureInvalid,
        Error::Certificate(error) => certificate(error),
        Error::TransparencyLog(error) => log(error),
        Error::Timestamp(error) => match error {
            TimestampError::OutsideAuthorityValidity { .. } => Code::TimestampUntrusted,
            TimestampError::NoVerifiedTimestamp(_) => Code::TimeUnproven,
            _ => Code::TimestampInvalid,
        },
        // The payload's own digest is what it is asked about, so that only an entry's can be another.
        Error::ArtifactMismatch(_) => Code::LogEntryMismatch,
        Error::UnsupportedBundle(_) => Code::LogEntryUnsupported,
        Error::Crypto(_) => Code::CertificateAlgorithm,
        Error::InvalidTrustRoot(_) | Error::TrustRoot(_) | Error::TrustedCertificate(_) => {
            Code::TrustRootInvalid
        }
        // Whatever else it minds in a bundle: we read it, and it could not.
        _ => Code::FieldMistyped,
    };
    Finding::new(code, format!("the signature does not hold: {}", Shown(&error.to_string())))
}

fn certificate(error: &CertificateError) -> Code {
    match error {
        CertificateError::Malformed(why) if why.contains("UnsupportedCriticalExtension") => {
            Code::CertificateCriticalExtension
        }
        CertificateError::Malformed(_) => Code::CertificateMalformed,
        CertificateError::NoValidAuthority { .. } => Code::CertificateAnchorUnknown,
        CertificateError::NotYetValid { .. } => Code::CertificateNotYetValid,
        CertificateError::Expired { .. } => Code::CertificateExpired,
        CertificateError::Sct(_) => Code::SctInvalid,
        CertificateError::ChainInvalid(why) => chain(why),
        _ => Code::CertificateAnchorUnknown,
    }
}

/// The library tells why a chain does not hold in words only, those of webpki's errors.
fn chain(why: &str) -> Code {
    let codes = [
        ("UnknownIssuer", Code::CertificateAnchorUnknown),
        ("CertExpired", Code::CertificateExpired),
        ("CertNotValidYet", Code::CertificateNotYetValid),
        // The leaf has it, as was seen before: what lacks it is no authority of the trusted root.
        ("RequiredEku", Code::CertificateAnchorUnknown),
        ("UnsupportedCriticalExtension", Code::CertificateCriticalExtension),
        ("NameConstraint", Code::CertificateNameConstraint),
        ("PathLenConstraint", Code::CertificatePathLength),
        ("InvalidSignature", Code::CertificateSignature),
        ("CaUsedAsEndEntity", Code::CertificateUsage),
    ];
    let found = codes.into_iter().find(|(word, _)| why.contains(word));
    found.map_or(Code::CertificateAnchorUnknown, |(_, code)| code)
}

fn log(error: &TransparencyLogError) -> Code {
    match error {
        TransparencyLogError::UnknownLog { .. } => Code::LogUnknown,
        TransparencyLogError::InclusionProof(_) => Code::LogProofInvalid,
        TransparencyLogError::Checkpoint(_) => Code::CheckpointInvalid,
        TransparencyLogError::InclusionPromise(_) => Code::LogPromiseInvalid,
        TransparencyLogError::IntegratedTime(_) => Code::TimeInFuture,
        // An entry that describes something else, or nothing that can be read, is not this bundle's.
        _ => Code::LogEntryMismatch,
    }
}
