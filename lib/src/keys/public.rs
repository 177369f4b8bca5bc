//! Public keys.

use std::fmt;

use pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use signature::hazmat::PrehashVerifier as _;

use super::pem;
use crate::{Error, code::Code, manifest::hex};

/// A public key of a type that models are signed with.
#[derive(Clone)]
pub struct PublicKey {
    kind: Kind,
    /// SPKI in DER, as this crate encodes it.
    der: Vec<u8>,
}

#[derive(Clone)]
enum Kind {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

/// Which digest an ECDSA signature is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PaeDigest {
    /// That of the curve: SHA-256, SHA-384, SHA-512.
    OfCurve,
    /// SHA-256 for every curve, as release 0.2.0 of the reference signed.
    AlwaysSha256,
}

impl PublicKey {
    /// Reads a key from PEM (SPKI, `PUBLIC KEY`); the first such block counts.
    ///
    /// # Errors
    /// `key-malformed`; `key-unsupported` for RSA and other curves.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        let mut keys = Self::all_from_pem(text)?;
        Ok(keys.swap_remove(0))
    }

    /// Reads every key of a PEM text; there is at least one.
    ///
    /// # Errors
    /// As [`from_pem`](PublicKey::from_pem), for any of them.
    pub fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, Error> {
        let text = std::str::from_utf8(text)
            .map_err(|_| Error::new(Code::KeyMalformed, "the public key is not a PEM file"))?;
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for block in pem::blocks(text) {
            if block.label == "PUBLIC KEY" {
                keys.push(Self::from_der(&block.der)?);
            } else {
                others.push(block.label);
            }
        }
        if keys.len() != text.matches("-----BEGIN PUBLIC KEY-----").count() {
            return Err(Error::new(Code::KeyMalformed, "a PEM block PUBLIC KEY is cut or is not base64"));
        }
        if !keys.is_empty() {
            return Ok(keys);
        }
        let error = Error::new(Code::KeyMalformed, "there is no PEM block PUBLIC KEY in the public key file");
        Err(match others.first() {
            Some(&"CERTIFICATE") => {
                error.with_help("this is a certificate; give it with --certificate-chain")
            }
            Some(label) if label.ends_with("PRIVATE KEY") => {
                error.with_help("this is a private key; give the public one that belongs to it")
            }
            _ => error,
        })
    }

    /// Reads a key from SPKI in DER (RFC 5280, SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// As [`from_pem`](PublicKey::from_pem).
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let malformed = |_| Error::new(Code::KeyMalformed, "the public key cannot be parsed");
        let info = spki::SubjectPublicKeyInfoRef::try_from(der).map_err(|error| {
            Error::new(Code::KeyMalformed, "the public key is not a SubjectPublicKeyInfo").with_source(error)
        })?;
        let curve = info.algorithm.parameters_oid().ok();
        let kind =
            match (info.algorithm.oid.to_string().as_str(), curve.map(|oid| oid.to_string()).as_deref()) {
                ("1.3.101.112", _) => ed25519_dalek::VerifyingKey::from_public_key_der(der)
                    .map(Kind::Ed25519)
                    .map_err(malformed)?,
                ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => {
                    p256::ecdsa::VerifyingKey::from_public_key_der(der).map(Kind::P256).map_err(malformed)?
                }
                ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => {
                    p384::ecdsa::VerifyingKey::from_public_key_der(der).map(Kind::P384).map_err(malformed)?
                }
                ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => {
                    p521::ecdsa::VerifyingKey::from_public_key_der(der).map(Kind::P521).map_err(malformed)?
                }
                (algorithm, curve) => {
                    return Err(Error::new(
                        Code::KeyUnsupported,
                        format!(
                            "the public key's type {algorithm}{} is not supported",
                            curve.map(|c| format!(" ({c})")).unwrap_or_default()
                        ),
                    ));
                }
            };
        Self::new(kind)
    }

    fn new(kind: Kind) -> Result<Self, Error> {
        let der = match &kind {
            Kind::Ed25519(key) => key.to_public_key_der(),
            Kind::P256(key) => key.to_public_key_der(),
            Kind::P384(key) => key.to_public_key_der(),
            Kind::P521(key) => key.to_public_key_der(),
        }
        .map_err(|error| {
            Error::new(Code::KeyMalformed, "the public key cannot be encoded").with_source(error)
        })?;
        Ok(PublicKey { kind, der: der.into_vec() })
    }

    pub(super) fn ed25519(key: ed25519_dalek::VerifyingKey) -> Result<Self, Error> {
        Self::new(Kind::Ed25519(key))
    }

    pub(super) fn p256(key: p256::ecdsa::VerifyingKey) -> Result<Self, Error> {
        Self::new(Kind::P256(key))
    }

    pub(super) fn p384(key: p384::ecdsa::VerifyingKey) -> Result<Self, Error> {
        Self::new(Kind::P384(key))
    }

    pub(super) fn p521(key: p521::ecdsa::VerifyingKey) -> Result<Self, Error> {
        Self::new(Kind::P521(key))
    }

    /// The key as SPKI in PEM, with LF and a final newline: the text that hints are the digest of.
    pub fn to_pem(&self) -> String {
        der::pem::encode_string("PUBLIC KEY", LineEnding::LF, &self.der).unwrap_or_default()
    }

    /// The hint by which a bundle says which key it was signed with: hex SHA-256 over the PEM text (OMS, method key).
    pub fn hint(&self) -> String {
        hex(&Sha256::digest(self.to_pem()))
    }

    /// The key as SPKI in DER.
    pub(crate) fn spki_der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 over the SPKI in DER, in hex: what this key is called in reports and revocations.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.der))
    }

    /// `Ed25519`, `ECDSA P-256`, `ECDSA P-384` or `ECDSA P-521`.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Ed25519(_) => "Ed25519",
            Kind::P256(_) => "ECDSA P-256",
            Kind::P384(_) => "ECDSA P-384",
            Kind::P521(_) => "ECDSA P-521",
        }
    }

    /// Whether `signature` is this key's over `message`. Ed25519 by RFC 8032 with the strict equation; ECDSA by FIPS 186-5,
    /// the signature in DER.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8], digest: PaeDigest) -> bool {
        match &self.kind {
            Kind::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|s| key.verify_strict(message, &s).is_ok()),
            Kind::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&Sha256::digest(message), &s).is_ok()),
            Kind::P384(key) => p384::ecdsa::Signature::from_der(signature).is_ok_and(|s| match digest {
                PaeDigest::OfCurve => key.verify_prehash(&Sha384::digest(message), &s).is_ok(),
                PaeDigest::AlwaysSha256 => key.verify_prehash(&Sha256::digest(message), &s).is_ok(),
            }),
            Kind::P521(key) => p521::ecdsa::Signature::from_der(signature).is_ok_and(|s| match digest {
                PaeDigest::OfCurve => key.verify_prehash(&Sha512::digest(message), &s).is_ok(),
                PaeDigest::AlwaysSha256 => {
                    // The crate refuses a digest shorter than half the curve; as a number it is the same with zeros before it.
                    let mut padded = [0; 66];
                    padded[34..].copy_from_slice(&Sha256::digest(message));
                    key.verify_prehash(&padded, &s).is_ok()
                }
            }),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key {}", self.algorithm(), self.fingerprint())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for PublicKey {}
