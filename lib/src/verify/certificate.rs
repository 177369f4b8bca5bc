//! Signing method certificate (OMS 1.0): a chain from the leaf in the bundle to a certificate that the caller gave.

use super::{Evidence, NotProven, Proof, Verifier, rfc3339, signed_by, x509};
use crate::{
    Bundle, Error, Run,
    bundle::Material,
    code::Code,
    keys::PublicKey,
    report::{Finding, Identity, ProvenTime},
    shown::Shown,
};

/// Verifies bundles whose certificate chain ends in one of the caller's certificates (RFC 5280, section 6), at the time of
/// the run. The system's store of web roots is never used: with it any TLS certificate would sign models.
#[derive(Clone, Debug)]
pub struct CertificateVerifier {
    anchors: Vec<x509::Anchor>,
    identity: Option<String>,
    at: Option<i64>,
    #[cfg(feature = "sigstore")]
    root: Option<crate::TrustedRoot>,
}

impl CertificateVerifier {
    /// A verifier for chains that end in a certificate of this PEM text: a root, an intermediate, or the leaf itself.
    /// Intermediates in it complete a chain that lacks them.
    ///
    /// # Errors
    /// `key-malformed` when there is no certificate in it, or one that cannot be parsed.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let anchors = x509::anchors_from_pem(pem).map_err(|problem| {
            Error::new(Code::KeyMalformed, format!("the given certificates cannot be used: {problem}"))
        })?;
        Ok(CertificateVerifier {
            anchors,
            identity: None,
            at: None,
            #[cfg(feature = "sigstore")]
            root: None,
        })
    }

    /// Demands that the leaf is this one's: a whole alternative name (mail address, URI, host name) or the whole subject as
    /// RFC 4514 writes it. Nothing else than the whole text matches.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Checks validity at this time, in seconds since 1970, instead of now; the report says so.
    #[must_use]
    pub fn at(mut self, unix: i64) -> Self {
        self.at = Some(unix);
        self
    }

    /// Checks log entries and timestamps of a bundle with this root; the time that they prove is then the one at which
    /// certificates have to be valid. Without one they are reported as unchecked.
    #[cfg(feature = "sigstore")]
    #[must_use]
    pub fn trusted_root(mut self, root: crate::TrustedRoot) -> Self {
        self.root = Some(root);
        self
    }

    /// What log entries and timestamps prove, as far as anything was given to check them with.
    fn evidence(&self, bundle: &Bundle, leaf: &[u8], run: &Run) -> Result<Evidence, Finding> {
        #[cfg(feature = "sigstore")]
        if self.root.is_some() {
            let malformed = |problem: x509::Problem| Finding::new(code(&problem), problem.to_string());
            let key = PublicKey::from_der(&x509::public_key_der(leaf).map_err(malformed)?)
                .map_err(|error| Finding::new(Code::CertificateAlgorithm, error.to_string()))?;
            return super::evidence(bundle, &key, Some(leaf), self.root.as_ref(), run);
        }
        let _ = (leaf, run);
        Ok(Evidence { notes: super::unchecked(bundle), ..Evidence::default() })
    }

    /// SHA-256 over each given certificate and its subject, for logs.
    pub fn fingerprints(&self) -> Vec<String> {
        let line = |(sha256, subject): (String, &str)| format!("{sha256} {}", Shown(subject));
        self.anchors.iter().map(|anchor| line(anchor.fingerprint())).collect()
    }
}

/// Whom the certificates of a bundle name, leaf first, of Sigstore's the leaf alone; none for other signing methods. Claims:
/// nothing of it is checked.
///
/// # Errors
/// `certificate-malformed`.
pub fn unverified_identities(bundle: &Bundle) -> Result<Vec<Identity>, Error> {
    let chain = match &bundle.material {
        Material::Certificates(chain) => chain,
        #[cfg(feature = "sigstore")]
        Material::Sigstore(chain) => {
            return chain
                .first()
                .map(|leaf| super::sigstore::unverified_identity(leaf))
                .into_iter()
                .collect();
        }
        _ => return Ok(Vec::new()),
    };
    chain
        .iter()
        .map(|der| {
            let claims =
                x509::claims(der).map_err(|problem| Error::new(code(&problem), problem.to_string()))?;
            Ok(Identity::Certificate {
                subject: claims.subject,
                names: claims.sans,
                issuer: claims.issuer,
                serial: claims.serial_hex,
                fingerprint: claims.sha256_hex,
            })
        })
        .collect()
}

impl Verifier for CertificateVerifier {
    fn verify(&self, bundle: &Bundle, run: &Run) -> Result<Proof, NotProven> {
        let Material::Certificates(chain) = &bundle.material else {
            let what = format!(
                "the bundle was signed by the method {}, and certificates were given",
                bundle.signing_method()
            );
            return Err(NotProven::NotMine(Finding::new(Code::MethodNotAccepted, what)));
        };
        let first = chain.first().map(Vec::as_slice).unwrap_or_default();
        let Evidence { time, logged, root, mut notes } =
            self.evidence(bundle, first, run).map_err(NotProven::Refused)?;
        // The caller's word, or else what is proven, or else now.
        let (at, time) = match (self.at, time) {
            (Some(at), _) => (at, ProvenTime { at: rfc3339(at), by: "--at".to_owned() }),
            (None, Some(proven)) => proven,
            (None, None) => {
                let now = run.now_unix();
                (now, ProvenTime { at: rfc3339(now), by: "clock".to_owned() })
            }
        };
        let leaf = x509::verify_chain(chain, &self.anchors, at).map_err(|problem| {
            let finding = Finding::new(code(&problem), problem.to_string());
            // Another of the caller's certificates may be the right one.
            match problem {
                x509::Problem::UnknownAnchor { .. } => NotProven::NotMine(finding),
                _ => NotProven::Refused(finding),
            }
        })?;
        // An empty text names nobody, though a subject may be empty: it is what a variable holds that is not set.
        if let Some(wanted) = &self.identity
            && (wanted.is_empty() || (*wanted != leaf.subject && !leaf.sans.contains(wanted)))
        {
            let names = std::iter::once(&leaf.subject)
                .chain(&leaf.sans)
                .map(|name| Shown(name).to_string())
                .collect::<Vec<_>>()
                .join(", ");
            let finding = Finding::new(
                Code::CertificateIdentity,
                format!("the certificate is that of {names}, not of {}", Shown(wanted)),
            );
            return Err(NotProven::NotMine(finding.differs(wanted, names)));
        }
        let key = PublicKey::from_der(&leaf.spki_der).map_err(|_| {
            NotProven::Refused(Finding::new(
                Code::CertificateAlgorithm,
                format!(
                    "the key of certificate {} is of a type that cannot sign models",
                    Shown(&leaf.subject)
                ),
            ))
        })?;
        let Some(encoding) = signed_by(&key, bundle) else {
            return Err(NotProven::Refused(Finding::new(
                Code::SignatureInvalid,
                format!(
                    "the signature is not that of certificate {} over this payload",
                    Shown(&leaf.subject)
                ),
            )));
        };
        notes.extend(encoding.note());
        Ok(Proof {
            time,
            payload: bundle.envelope.payload.clone(),
            certificates: leaf.path.into_iter().flat_map(|(serial, sha256)| [serial, sha256]).collect(),
            key: key.fingerprint(),
            hint: key.hint(),
            identity: Identity::Certificate {
                subject: leaf.subject,
                names: leaf.sans,
                issuer: leaf.issuer,
                serial: leaf.serial_hex,
                fingerprint: leaf.sha256_hex,
            },
            notes,
            logged,
            root,
        })
    }
}

pub(super) fn code(problem: &x509::Problem) -> Code {
    use x509::Problem;
    match problem {
        Problem::NoCertificate | Problem::Malformed { .. } => Code::CertificateMalformed,
        Problem::TooMany { .. } => Code::CertificateChainTooLong,
        Problem::ChainOrder { .. } => Code::CertificateChainBroken,
        Problem::UnknownAnchor { .. } => Code::CertificateAnchorUnknown,
        Problem::BadSignature { .. } => Code::CertificateSignature,
        Problem::NotYetValid { .. } => Code::CertificateNotYetValid,
        Problem::Expired { .. } => Code::CertificateExpired,
        Problem::WrongUsage { .. } => Code::CertificateUsage,
        Problem::NotACa { .. } => Code::CertificateNotACa,
        Problem::NoCertSign { .. } => Code::CertificateKeyUsage,
        Problem::PathLength { .. } => Code::CertificatePathLength,
        Problem::NameConstraint { .. } => Code::CertificateNameConstraint,
        Problem::UnknownCriticalExtension { .. } => Code::CertificateCriticalExtension,
        Problem::Policy { .. } => Code::CertificatePolicy,
        Problem::WeakDigest { .. } | Problem::WeakKey { .. } => Code::CertificateWeak,
        Problem::UnsupportedAlgorithm { .. } => Code::CertificateAlgorithm,
    }
}
