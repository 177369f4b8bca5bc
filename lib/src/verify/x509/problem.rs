//! What can be wrong with a chain, one variant for each cause.

use std::{fmt, time::Duration};

use x509_cert_02::der::DateTime;

use crate::shown::Shown;

/// Why a chain is refused, or a PEM text cannot be used.
///
/// `Display` says what and where, with names made safe to show. A certificate is named by its subject, or where that is
/// empty by its serial number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// An empty chain, or a PEM text without a certificate.
    NoCertificate,
    /// More of something than is looked at.
    TooMany { what: &'static str, found: usize, most: usize },
    /// Bytes that are no certificate, or one that breaks RFC 5280's rules of form.
    Malformed { which: String, why: String },
    /// A certificate is not followed by the one that it names as its issuer.
    ChainOrder { subject: String, issuer: String, next: String },
    /// The chain ends, or is cut, before a certificate that was given.
    UnknownAnchor { subject: String, issuer: String },
    /// The signature on a certificate was not made by the key of the certificate that it names as its issuer.
    BadSignature { subject: String, issuer: String },
    /// Before the validity; seconds since 1970.
    NotYetValid { subject: String, not_before: i64 },
    /// After the validity; seconds since 1970.
    Expired { subject: String, not_after: i64 },
    /// The leaf has neither key usage digitalSignature nor extended key usage codeSigning.
    WrongUsage { subject: String },
    /// A certificate above another one is not marked as an authority (basicConstraints, CA:TRUE).
    NotACa { subject: String },
    /// An authority's key usage lacks keyCertSign.
    NoCertSign { subject: String },
    /// More intermediates below an authority than its pathLenConstraint allows.
    PathLength { subject: String, allowed: usize, found: usize },
    /// A name that an authority above does not permit, or excludes.
    NameConstraint { subject: String, name: String, authority: String },
    /// A critical extension that is not understood here.
    UnknownCriticalExtension { subject: String, oid: String },
    /// No certificate policy is left where an authority demands one (RFC 5280, 6.1.5).
    Policy { subject: String },
    /// A certificate is signed over SHA-1, MD5 or older.
    WeakDigest { subject: String, oid: String },
    /// An RSA key under 2048 bits.
    WeakKey { subject: String, bits: usize },
    /// A key or signature algorithm that is not checked here.
    UnsupportedAlgorithm { subject: String, oid: String },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NoCertificate => f.write_str("there is no certificate"),
            Problem::TooMany { what, found, most } => write!(f, "{found} {what} are more than {most}"),
            Problem::Malformed { which, why } => write!(f, "{} is malformed: {}", Shown(which), Shown(why)),
            Problem::ChainOrder { subject, issuer, next } => write!(
                f,
                "certificate {} names {} as its issuer, but is followed by {}",
                Shown(subject),
                Shown(issuer),
                Shown(next)
            ),
            Problem::UnknownAnchor { subject, issuer } => write!(
                f,
                "certificate {} was issued by {}, which is not among the given certificates",
                Shown(subject),
                Shown(issuer)
            ),
            Problem::BadSignature { subject, issuer } => {
                write!(f, "certificate {} is not signed with the key of {}", Shown(subject), Shown(issuer))
            }
            Problem::NotYetValid { subject, not_before } => {
                write!(f, "certificate {} is not valid before {}", Shown(subject), Moment(*not_before))
            }
            Problem::Expired { subject, not_after } => {
                write!(f, "certificate {} expired after {}", Shown(subject), Moment(*not_after))
            }
            Problem::WrongUsage { subject } => write!(
                f,
                "certificate {} has neither key usage digitalSignature nor extended key usage codeSigning",
                Shown(subject)
            ),
            Problem::NotACa { subject } => {
                write!(
                    f,
                    "certificate {} issued another one without being marked as an authority",
                    Shown(subject)
                )
            }
            Problem::NoCertSign { subject } => {
                write!(f, "certificate {} issued another one without key usage keyCertSign", Shown(subject))
            }
            Problem::PathLength { subject, allowed, found } => write!(
                f,
                "certificate {} allows {allowed} intermediates below it, and there are {found}",
                Shown(subject)
            ),
            Problem::NameConstraint { subject, name, authority } => write!(
                f,
                "certificate {} has the name {}, which its authority {} may not certify",
                Shown(subject),
                Shown(name),
                Shown(authority)
            ),
            Problem::UnknownCriticalExtension { subject, oid } => {
                write!(f, "certificate {} has the unknown critical extension {oid}", Shown(subject))
            }
            Problem::Policy { subject } => {
                write!(f, "certificate {} has no policy where its authorities demand one", Shown(subject))
            }
            Problem::WeakDigest { subject, oid } => {
                write!(f, "certificate {} is signed over a weak digest, algorithm {oid}", Shown(subject))
            }
            Problem::WeakKey { subject, bits } => {
                write!(f, "certificate {} has an RSA key of {bits} bits, under 2048", Shown(subject))
            }
            Problem::UnsupportedAlgorithm { subject, oid } => {
                write!(f, "certificate {} uses the unsupported algorithm {oid}", Shown(subject))
            }
        }
    }
}

impl std::error::Error for Problem {}

/// Seconds since 1970 as RFC 3339 writes a time.
struct Moment(i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = u64::try_from(self.0)
            .ok()
            .and_then(|s| DateTime::from_unix_duration(Duration::from_secs(s)).ok());
        match time {
            Some(time) => time.fmt(f),
            None => write!(f, "second {}", self.0),
        }
    }
}
