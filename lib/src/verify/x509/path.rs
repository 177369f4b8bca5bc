//! Finding a path to an anchor, and holding it to RFC 5280, section 6.
//!
//! `pkix-path` 0.3 walks the path: links of names, validity, critical extensions, CA:TRUE, keyCertSign, path length and
//! the policy tree. It is handed a copy of each certificate, because four things in it do not fit; they are done here
//! instead, and what stands for them in the copies is neutral:
//!
//! - Signatures. It checks them over a re-encoding of the certificate, we over the bytes that were signed, before. Its
//!   verifier, [`Vouched`], accepts just the pairs of certificate and issuer's key that were checked so.
//! - The anchor. It takes a bare name and key, of which it sees neither validity nor extensions, and where the last
//!   certificate below has equal subject and issuer it demands the anchor's key of it, which a leaf with its issuer's name
//!   does not have. So the anchor is the last certificate of the path, vouched for by being what the caller gave. A root of
//!   version 1 cannot say CA:TRUE, so its copy says it.
//! - Name constraints. It ignores those on kinds of names that it does not know, lets an `@` in a URI's path hide the host,
//!   reads neither an empty constraint nor an email address in a subject that is not IA5String, and refuses a constraint on
//!   email or URI that two authorities of a path repeat. [`names`] does them; the copies have none.
//! - Serial numbers. It refuses two equal ones of one issuer, which hand-made authorities have; the copies are numbered.

use signature_2::Error as SignatureError;
use x509_cert_02::{
    self as x509,
    der::{Encode, asn1::OctetString, oid::AssociatedOid},
    ext::{
        Extension,
        pkix::{
            BasicConstraints, CertificatePolicies, ExtendedKeyUsage, InhibitAnyPolicy, KeyUsage,
            NameConstraints, PolicyConstraints, PolicyMappings, SubjectAltName,
        },
    },
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef},
};

use super::{Anchor, Problem, certificate::Certificate, names, signature};

/// Most signatures checked for one chain.
const CHECKS: usize = 128;

/// Finds a path from the first certificate of the chain, and gives the certificates on it: the leaf first, the anchor last.
/// The chain's certificates must name one another as issuers.
pub(super) fn find<'a>(
    chain: &'a [Certificate],
    anchors: &'a [Anchor],
    at: i64,
) -> Result<Vec<&'a Certificate>, Problem> {
    let mut search = Search { anchors, checked: Vec::new(), unsigned: false, failure: None };
    let mut path: Vec<&Certificate> = Vec::new();
    let mut rest = chain.iter().peekable();
    while let Some(certificate) = rest.next() {
        path.push(certificate);
        if anchors.iter().any(|anchor| anchor.0.der() == certificate.der()) {
            // What is wrong with this path is wrong with every longer one too.
            walk(&path, at)?;
            return Ok(path);
        }
        if let Some(anchor) = search.ends_above(&path, at)? {
            path.push(anchor);
            return Ok(path);
        }
        let stop = match rest.peek().map(|next| search.is_made_by(certificate, next)) {
            Some(Ok(true)) => continue,
            Some(Ok(false)) => Some(bad_signature(certificate)),
            Some(Err(problem)) => Some(problem),
            None => search.unsigned.then(|| bad_signature(certificate)),
        };
        search.failure = search.failure.or(stop);
        break;
    }
    let last = path.last().ok_or(Problem::NoCertificate)?;
    Err(search.failure.unwrap_or_else(|| Problem::UnknownAnchor {
        subject: last.label(),
        issuer: last.issuer().to_owned(),
    }))
}

fn bad_signature(certificate: &Certificate) -> Problem {
    Problem::BadSignature { subject: certificate.label(), issuer: certificate.issuer().to_owned() }
}

struct Search<'a> {
    anchors: &'a [Anchor],
    /// Certificate, issuer's key, and whether this key signed it: authorities with many certificates have few keys.
    checked: Vec<(&'a [u8], &'a [u8], bool)>,
    /// Whether anchors that the last certificate may well mean as its issuer did not sign it.
    unsigned: bool,
    /// Of the paths that led to an anchor, or nearly so, why the first one did not hold.
    failure: Option<Problem>,
}

impl<'a> Search<'a> {
    /// The anchor that issued the last certificate of the path, if there is one with which the whole path holds.
    fn ends_above(&mut self, path: &[&'a Certificate], at: i64) -> Result<Option<&'a Certificate>, Problem> {
        let Some(&last) = path.last() else { return Ok(None) };
        let mut candidates: Vec<_> = self
            .anchors
            .iter()
            .filter(|anchor| last.names_issuer(&anchor.0))
            .map(|anchor| (&anchor.0, last.identifies_issuer(&anchor.0)))
            .collect();
        candidates.sort_by_key(|(_, identified)| match identified {
            Some(true) => 0,
            None => 1,
            Some(false) => 2,
        });
        self.unsigned = false;
        for (anchor, identified) in candidates {
            match self.is_made_by(last, anchor) {
                Ok(true) => match walk(&[path, &[anchor]].concat(), at) {
                    Ok(()) => return Ok(Some(anchor)),
                    Err(problem) => {
                        self.failure.get_or_insert(problem);
                    }
                },
                // An authority of the same name that is known to have another key is just not this one.
                Ok(false) => self.unsigned |= identified != Some(false) && !last.is_self_issued(),
                Err(problem @ (Problem::TooMany { .. } | Problem::WeakDigest { .. })) => return Err(problem),
                Err(problem) => {
                    self.failure.get_or_insert(problem);
                }
            }
        }
        Ok(None)
    }

    fn is_made_by(&mut self, certificate: &'a Certificate, issuer: &'a Certificate) -> Result<bool, Problem> {
        let pair = (certificate.der(), issuer.spki_der());
        if let Some((_, _, made)) = self.checked.iter().find(|(c, k, _)| (*c, *k) == pair) {
            return Ok(*made);
        }
        if self.checked.len() == CHECKS {
            return Err(Problem::TooMany { what: "signatures to check", found: CHECKS + 1, most: CHECKS });
        }
        let made = signature::made_by(certificate, issuer)?;
        self.checked.push((pair.0, pair.1, made));
        Ok(made)
    }
}

/// Holds a path, leaf first and anchor last, to RFC 5280. Each signature but the anchor's was checked.
fn walk(path: &[&Certificate], at: i64) -> Result<(), Problem> {
    let Some(anchor) = path.last() else { return Err(Problem::NoCertificate) };
    for certificate in path {
        signature::check_key(certificate)?;
    }
    let copies = (0u64..)
        .zip(path)
        .map(|(n, certificate)| copy(n, certificate, path.len()))
        .collect::<x509::der::Result<Vec<_>>>()
        .map_err(|_| anchor.malformed("the chain cannot be encoded again"))?;
    let vouched = Vouched::new(&copies).map_err(|_| anchor.malformed("the chain cannot be encoded again"))?;
    let fields = &anchor.parsed().tbs_certificate;
    let trust = pkix_path::TrustAnchor::new(fields.issuer.clone(), fields.subject_public_key_info.clone());
    let Ok(now) = u64::try_from(at) else {
        return Err(Problem::NotYetValid { subject: anchor.label(), not_before: anchor.validity().0 });
    };
    let mut policy = pkix_path::ValidationPolicy::new(now);
    policy.max_path_len = u8::MAX;
    // Mappings let the policy tree double with each certificate. Without them, a path that needs one is refused.
    policy.initial_policy_mapping_inhibit = true;
    pkix_path::validate_path(&copies, &[trust], &policy, &vouched).map_err(|e| problem(&e, path, at))?;
    names::check(path)
}

/// What `pkix-path` gets to see of a certificate; see the top of this file.
fn copy(n: u64, certificate: &Certificate, length: usize) -> x509::der::Result<x509::Certificate> {
    let mut copy = certificate.parsed().clone();
    let fields = &mut copy.tbs_certificate;
    fields.serial_number = SerialNumber::from(n);
    if let Some(extensions) = &mut fields.extensions {
        extensions.retain(|e| e.extn_id != NameConstraints::OID);
    }
    let anchor = n > 0 && usize::try_from(n).is_ok_and(|n| n + 1 == length);
    if anchor && fields.version == x509::Version::V1 && certificate.is_self_issued() {
        let ca = BasicConstraints { ca: true, path_len_constraint: None };
        fields.extensions = Some(vec![Extension {
            extn_id: BasicConstraints::OID,
            critical: true,
            extn_value: OctetString::new(ca.to_der()?)?,
        }]);
    }
    Ok(copy)
}

/// The signatures of a path that were checked already: what was signed in the copies, and the signer's key.
struct Vouched(Vec<(Vec<u8>, Vec<u8>)>);

impl Vouched {
    /// Each copy with its issuer's key, the last one, the anchor, with its own.
    fn new(copies: &[x509::Certificate]) -> x509::der::Result<Self> {
        let issuers = copies.iter().skip(1).chain(copies.last());
        copies
            .iter()
            .zip(issuers)
            .map(|(c, i)| {
                Ok((c.tbs_certificate.to_der()?, i.tbs_certificate.subject_public_key_info.to_der()?))
            })
            .collect::<x509::der::Result<_>>()
            .map(Vouched)
    }
}

impl pkix_path::SignatureVerifier for Vouched {
    fn verify_signature(
        &self,
        _: AlgorithmIdentifierRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        message: &[u8],
        _: &[u8],
    ) -> Result<(), SignatureError> {
        let key = issuer.to_der().map_err(|_| SignatureError::new())?;
        if self.0.iter().any(|(m, k)| m == message && *k == key) {
            Ok(())
        } else {
            Err(SignatureError::new())
        }
    }
}

/// What `pkix-path` found, with the facts that it leaves out.
fn problem(error: &pkix_path::Error, path: &[&Certificate], at: i64) -> Problem {
    use pkix_path::Error;

    let label = |index: usize| path.get(index).map(|c| c.label()).unwrap_or_default();
    match *error {
        Error::ValidityPeriod { index } => {
            let (not_before, not_after) = path.get(index).map(|c| c.validity()).unwrap_or_default();
            if at < not_before {
                Problem::NotYetValid { subject: label(index), not_before }
            } else {
                Problem::Expired { subject: label(index), not_after }
            }
        }
        Error::NotCA { index } => Problem::NotACa { subject: label(index) },
        Error::KeyUsageMissing { index } => Problem::NoCertSign { subject: label(index) },
        Error::UnhandledCriticalExtension { index } => {
            let oid = path
                .get(index)
                .and_then(|c| c.extensions().iter().find(|e| e.critical && !UNDERSTOOD.contains(&e.extn_id)));
            Problem::UnknownCriticalExtension {
                subject: label(index),
                oid: oid.map(|e| e.extn_id.to_string()).unwrap_or_default(),
            }
        }
        Error::PathTooLong => path_too_long(path),
        Error::PolicyViolation { index } => Problem::Policy { subject: label(index) },
        Error::SignatureInvalid { index } | Error::ChainBroken { index } => match path.get(index) {
            Some(certificate) => bad_signature(certificate),
            None => Problem::NoCertificate,
        },
        Error::MalformedCertificate { index } => Problem::Malformed {
            which: format!("certificate {}", label(index)),
            why: "an extension in it cannot be read".to_owned(),
        },
        ref other => Problem::Malformed {
            which: format!("the chain of {}", label(0)),
            why: other.to_string().to_lowercase(),
        },
    }
}

/// The extensions that are understood when they are critical.
const UNDERSTOOD: [x509::der::asn1::ObjectIdentifier; 9] = [
    KeyUsage::OID,
    BasicConstraints::OID,
    SubjectAltName::OID,
    ExtendedKeyUsage::OID,
    NameConstraints::OID,
    CertificatePolicies::OID,
    PolicyMappings::OID,
    PolicyConstraints::OID,
    InhibitAnyPolicy::OID,
];

/// RFC 5280, 4.2.1.9: counted are the intermediates below an authority, the leaf and self-issued ones left out.
fn path_too_long(path: &[&Certificate]) -> Problem {
    let mut found = 0;
    for certificate in path.iter().skip(1) {
        let limit =
            certificate.extension::<BasicConstraints>().ok().flatten().and_then(|c| c.path_len_constraint);
        if let Some(allowed) = limit.map(usize::from).filter(|allowed| found > *allowed) {
            return Problem::PathLength { subject: certificate.label(), allowed, found };
        }
        found += usize::from(!certificate.is_self_issued());
    }
    Problem::TooMany { what: "intermediates", found, most: u8::MAX.into() }
}
