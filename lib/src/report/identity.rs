//! Who signed, as reports say it.

use std::collections::BTreeMap;

use serde::Serialize;

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Identity {
    /// A bare public key.
    Key {
        /// `Ed25519`, `ECDSA P-256`, `ECDSA P-384` or `ECDSA P-521`.
        algorithm: String,
        /// SHA-256 over the key's SPKI in DER, in hex.
        fingerprint: String,
    },
    /// The holder of a certificate.
    Certificate {
        /// The subject, as RFC 4514 writes it.
        subject: String,
        /// The subject's alternative names: mail addresses, URIs, host names.
        names: Vec<String>,
        /// The issuer, as RFC 4514 writes it.
        issuer: String,
        /// The serial number in hex.
        serial: String,
        /// SHA-256 over the certificate in DER, in hex.
        fingerprint: String,
    },
    /// Somebody whom an identity provider knows, by a short-lived certificate of Sigstore.
    Sigstore {
        /// A mail address, a URI or a user name.
        identity: String,
        /// Who vouches for it.
        issuer: String,
        /// What the certificate says of the build that signed, by kebab-case names such as `source-repository-ref`.
        claims: BTreeMap<String, String>,
        /// The serial number in hex.
        serial: String,
        /// SHA-256 over the certificate in DER, in hex.
        fingerprint: String,
    },
}

impl Identity {
    /// The names by which a signer is known, in lower case; none of a bare key.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Identity::Key { .. } => Vec::new(),
            Identity::Certificate { subject, names, .. } => {
                let all = names.iter().chain([subject]).filter(|name| !name.is_empty());
                all.map(|name| name.to_lowercase()).collect()
            }
            // One person, whoever vouches for him.
            Identity::Sigstore { identity, .. } => vec![identity.to_lowercase()],
        }
    }

    /// SHA-256 over the key or certificate, in hex.
    pub fn fingerprint(&self) -> &str {
        match self {
            Identity::Key { fingerprint, .. }
            | Identity::Certificate { fingerprint, .. }
            | Identity::Sigstore { fingerprint, .. } => fingerprint,
        }
    }
}
