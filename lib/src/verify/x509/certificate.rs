//! One certificate: parsed once, its form checked, its parts at hand.

use std::collections::BTreeSet;

use x509_cert_02::{
    self as x509,
    der::{
        Decode, DecodeOwned, Encode, Header, Reader, SliceReader, asn1::ObjectIdentifier, oid::AssociatedOid,
    },
    ext::{
        Extension,
        pkix::{
            AuthorityKeyIdentifier, CertificatePolicies, ExtendedKeyUsage, KeyUsage, SubjectAltName,
            SubjectKeyIdentifier, name::GeneralName,
        },
    },
    name::Name,
};

use super::{Problem, text};

/// Largest certificate, in bytes.
const BYTES: usize = 64 << 10;
/// Most attributes in a name: comparing names takes time that grows with their square.
const ATTRIBUTES: usize = 64;
/// Most policies of one certificate: the policy tree of a chain grows with their product.
const POLICIES: usize = 64;

/// Extended key usage codeSigning (RFC 5280, 4.2.1.12).
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");

/// A certificate as it was encoded and as it was understood.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    der: Vec<u8>,
    /// The bytes that its issuer signed, as they stand in `der`.
    tbs: Vec<u8>,
    spki_der: Vec<u8>,
    parsed: x509::Certificate,
    subject: String,
    issuer: String,
}

impl Certificate {
    /// Parses a certificate and refuses what RFC 5280 forbids in its form; `which` names it in an error.
    pub(super) fn parse(der: &[u8], which: &str) -> Result<Self, Problem> {
        let malformed = |why: &str| Problem::Malformed { which: which.to_owned(), why: why.to_owned() };
        if der.len() > BYTES {
            return Err(malformed("it is larger than 64 KiB"));
        }
        let invalid = |e: x509::der::Error| malformed(&e.to_string().to_lowercase());
        let parsed = x509::Certificate::from_der(der).map_err(invalid)?;
        let tbs = signed_bytes(der).map_err(invalid)?.to_vec();
        let fields = &parsed.tbs_certificate;
        if parsed.signature_algorithm != fields.signature {
            return Err(malformed("it names two different signature algorithms"));
        }
        if parsed.signature.unused_bits() != 0 {
            return Err(malformed("its signature is not a whole number of bytes"));
        }
        if [&fields.subject, &fields.issuer]
            .iter()
            .any(|n| n.0.iter().map(|rdn| rdn.0.len()).sum::<usize>() > ATTRIBUTES)
        {
            return Err(malformed("a name in it has more than 64 attributes"));
        }
        let extensions = fields.extensions.as_deref().unwrap_or_default();
        if !extensions.is_empty() && fields.version != x509::Version::V3 {
            return Err(malformed("it has extensions, but is not of version 3"));
        }
        if extensions.iter().map(|e| e.extn_id).collect::<BTreeSet<_>>().len() != extensions.len() {
            return Err(malformed("it has an extension twice"));
        }
        let spki_der = fields.subject_public_key_info.to_der().map_err(invalid)?;
        let (subject, issuer) = (text::name(&fields.subject), text::name(&fields.issuer));
        let certificate = Certificate { der: der.to_vec(), tbs, spki_der, subject, issuer, parsed };
        certificate.check_policies()?;
        Ok(certificate)
    }

    /// RFC 5280, 4.2.1.4: no policy twice. Together with a cap on their number this keeps the policy tree small.
    fn check_policies(&self) -> Result<(), Problem> {
        let policies = self.extension::<CertificatePolicies>()?.map(|p| p.0).unwrap_or_default();
        let distinct: BTreeSet<_> = policies.iter().map(|p| p.policy_identifier).collect();
        if policies.len() > POLICIES || distinct.len() != policies.len() {
            return Err(self.malformed("it names a policy twice, or more than 64 of them"));
        }
        Ok(())
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    pub(super) fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    pub(super) fn parsed(&self) -> &x509::Certificate {
        &self.parsed
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn subject_name(&self) -> &Name {
        &self.parsed.tbs_certificate.subject
    }

    pub(super) fn issuer_name(&self) -> &Name {
        &self.parsed.tbs_certificate.issuer
    }

    /// What an error calls this certificate: its subject, or its serial number where that is empty.
    pub(super) fn label(&self) -> String {
        if self.subject.is_empty() { format!("serial {}", self.serial_hex()) } else { self.subject.clone() }
    }

    pub(super) fn malformed(&self, why: &str) -> Problem {
        Problem::Malformed { which: format!("certificate {}", self.label()), why: why.to_owned() }
    }

    /// Whether the issuer that this certificate names is the subject of the other. An empty name names nobody.
    pub(super) fn names_issuer(&self, other: &Certificate) -> bool {
        !self.issuer_name().is_empty() && pkix_path::names_match(self.issuer_name(), other.subject_name())
    }

    /// RFC 5280, 3.3: subject and issuer are the same.
    pub(super) fn is_self_issued(&self) -> bool {
        self.names_issuer(self)
    }

    /// Not before and not after, in seconds since 1970.
    pub(super) fn validity(&self) -> (i64, i64) {
        let validity = &self.parsed.tbs_certificate.validity;
        let seconds =
            |t: &x509::time::Time| i64::try_from(t.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        (seconds(&validity.not_before), seconds(&validity.not_after))
    }

    pub(super) fn serial_hex(&self) -> String {
        let bytes = self.parsed.tbs_certificate.serial_number.as_bytes();
        let start = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len().saturating_sub(1));
        text::hex(bytes.get(start..).unwrap_or_default())
    }

    pub(super) fn extensions(&self) -> &[Extension] {
        self.parsed.tbs_certificate.extensions.as_deref().unwrap_or_default()
    }

    /// The extension of this type; one that is there and cannot be read is an error, never absent.
    pub(super) fn extension<T: DecodeOwned + AssociatedOid>(&self) -> Result<Option<T>, Problem> {
        let Some(found) = self.extensions().iter().find(|e| e.extn_id == T::OID) else { return Ok(None) };
        T::from_der(found.extn_value.as_bytes())
            .map(Some)
            .map_err(|e| self.malformed(&format!("extension {}: {}", T::OID, e.to_string().to_lowercase())))
    }

    pub(super) fn alternative_names(&self) -> Result<Vec<GeneralName>, Problem> {
        Ok(self.extension::<SubjectAltName>()?.map(|names| names.0).unwrap_or_default())
    }

    /// OMS: the leaf has key usage digitalSignature or extended key usage codeSigning; either suffices.
    pub(super) fn may_sign(&self) -> Result<bool, Problem> {
        Ok(self.has_digital_signature()? || self.has_code_signing()?)
    }

    /// Whether it has the key usage digitalSignature.
    pub(super) fn has_digital_signature(&self) -> Result<bool, Problem> {
        Ok(self.extension::<KeyUsage>()?.is_some_and(|usage| usage.digital_signature()))
    }

    /// Whether it has the extended key usage codeSigning.
    pub(super) fn has_code_signing(&self) -> Result<bool, Problem> {
        Ok(self.extension::<ExtendedKeyUsage>()?.is_some_and(|usages| usages.0.contains(&CODE_SIGNING)))
    }

    /// Whether the key identifiers of both certificates say that the other is, or is not, the issuer; `None` where
    /// one of them has none. Nothing but a hint: the signature decides.
    pub(super) fn identifies_issuer(&self, other: &Certificate) -> Option<bool> {
        let wanted = self.extension::<AuthorityKeyIdentifier>().ok()??.key_identifier?;
        let offered = other.extension::<SubjectKeyIdentifier>().ok()??.0;
        Some(wanted == offered)
    }
}

/// The first element of the outer sequence, header included.
fn signed_bytes(der: &[u8]) -> x509::der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    Header::decode(&mut reader)?;
    reader.tlv_bytes()
}
