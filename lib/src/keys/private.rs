//! Private keys.

use std::{fmt, path::Path, str::FromStr};

use pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use signature::{Signer as _, hazmat::PrehashSigner as _};
use zeroize::Zeroizing;

use super::{PublicKey, pem};
use crate::{Error, code::Code, fs, limits, shown::Shown};

/// A private key that models can be signed with. It is wiped from memory when it is dropped.
pub struct PrivateKey {
    kind: Kind,
    public: PublicKey,
}

enum Kind {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
}

/// A type of key that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyType {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
}

impl FromStr for KeyType {
    type Err = Error;

    /// # Errors
    /// `key-unsupported` for any name but `ed25519`, `p256`, `p384` and `p521` (case and `-` do not matter).
    fn from_str(name: &str) -> Result<Self, Error> {
        match name.to_ascii_lowercase().replace('-', "").as_str() {
            "ed25519" => Ok(KeyType::Ed25519),
            "p256" | "ecdsap256" => Ok(KeyType::P256),
            "p384" | "ecdsap384" => Ok(KeyType::P384),
            "p521" | "ecdsap521" => Ok(KeyType::P521),
            _ => Err(Error::new(
                Code::KeyUnsupported,
                format!("key type {:?} is none of ed25519, p256, p384 and p521", Shown(name)),
            )),
        }
    }
}

/// What opens an encrypted private key; wiped from memory when it is dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// A passphrase that is at hand.
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Passphrase(Zeroizing::new(text.into()))
    }

    /// A passphrase from a file of at most 1 MiB, without its last line end.
    ///
    /// # Errors
    /// `key-absent` when there is no such file, `permission-denied`, `io-failed`.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut text = Zeroizing::new(fs::read_bounded(
            path.as_ref(),
            limits::KEY_BYTES,
            "the passphrase",
            Code::KeyAbsent,
            Code::BadArgument,
        )?);
        if text.last() == Some(&b'\n') {
            text.pop();
            if text.last() == Some(&b'\r') {
                text.pop();
            }
        }
        Ok(Passphrase(text))
    }

    /// Whether it has no letter, so that it would protect nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

impl PrivateKey {
    /// Makes a new key from the operating system's random numbers.
    ///
    /// # Errors
    /// `io-failed` when there are none.
    pub fn generate(kind: KeyType) -> Result<Self, Error> {
        // One in 2^32 draws is outside of a curve's order; a few more draws make that impossible to see.
        for _ in 0..16 {
            let mut seed = Zeroizing::new([0_u8; 66]);
            getrandom::fill(&mut *seed)
                .map_err(|_| Error::new(Code::IoFailed, "the system gave no random numbers"))?;
            seed[0] &= 1;
            let made = match kind {
                KeyType::Ed25519 => {
                    seed.first_chunk().map(|seed| Kind::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed)))
                }
                KeyType::P256 => p256::ecdsa::SigningKey::from_slice(&seed[34..]).ok().map(Kind::P256),
                KeyType::P384 => p384::ecdsa::SigningKey::from_slice(&seed[18..]).ok().map(Kind::P384),
                KeyType::P521 => p521::ecdsa::SigningKey::from_slice(&seed[..]).ok().map(Kind::P521),
            };
            if let Some(kind) = made {
                return Self::new(kind);
            }
        }
        Err(Error::new(Code::IoFailed, "the system's random numbers make no key"))
    }

    /// Reads a key from PEM: PKCS#8, encrypted PKCS#8 (PBES2), or SEC1; blocks with curve parameters are skipped.
    ///
    /// The passphrase is asked for only when the key is encrypted.
    ///
    /// # Errors
    /// `key-malformed`, `key-unsupported`, `passphrase-missing`, `passphrase-wrong`.
    pub fn from_pem(
        text: &[u8],
        passphrase: impl FnOnce() -> Result<Option<Passphrase>, Error>,
    ) -> Result<Self, Error> {
        let text = std::str::from_utf8(text)
            .map_err(|_| Error::new(Code::KeyMalformed, "the private key is not a PEM file"))?;
        for block in pem::blocks(text) {
            match block.label {
                "PRIVATE KEY" => return Self::from_pkcs8(&block.der),
                "EC PRIVATE KEY" if block.headers => {
                    return Err(Error::new(
                        Code::KeyUnsupported,
                        "the private key is encrypted in the traditional form of OpenSSL",
                    )
                    .with_help("convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"));
                }
                "EC PRIVATE KEY" => return Self::from_sec1(&block.der),
                "ENCRYPTED PRIVATE KEY" => {
                    let passphrase = passphrase()?.ok_or_else(|| {
                        Error::new(
                            Code::PassphraseMissing,
                            "the private key is encrypted and no passphrase was given",
                        )
                    })?;
                    let encrypted =
                        pkcs8::EncryptedPrivateKeyInfoRef::try_from(&block.der[..]).map_err(|error| {
                            Error::new(Code::KeyMalformed, "the encrypted private key cannot be parsed")
                                .with_source(error)
                        })?;
                    let plain = encrypted.decrypt(&passphrase.0[..]).map_err(|error| match error {
                        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm {
                            ..
                        }) => Error::new(
                            Code::KeyUnsupported,
                            "the private key is encrypted in a way that is not supported",
                        )
                        .with_help("convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW")
                        .with_source(error),
                        _ => {
                            Error::new(Code::PassphraseWrong, "the passphrase does not open the private key")
                        }
                    })?;
                    return Self::from_pkcs8(plain.as_bytes());
                }
                "RSA PRIVATE KEY" | "OPENSSH PRIVATE KEY" | "DSA PRIVATE KEY" => {
                    return Err(Error::new(
                        Code::KeyUnsupported,
                        format!("a key of the form {} cannot sign models", block.label),
                    ));
                }
                _ => {}
            }
        }
        let error = Error::new(Code::KeyMalformed, "there is no private key in the private key file");
        Err(if text.contains("BEGIN PUBLIC KEY") {
            error.with_help("this is a public key; give the private one")
        } else {
            error
        })
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let malformed = |_| Error::new(Code::KeyMalformed, "the private key cannot be parsed");
        let info = pkcs8::PrivateKeyInfoRef::try_from(der).map_err(|error| {
            Error::new(Code::KeyMalformed, "the private key is not PKCS#8").with_source(error)
        })?;
        let curve = info.algorithm.parameters_oid().ok().map(|oid| oid.to_string());
        let kind = match (info.algorithm.oid.to_string().as_str(), curve.as_deref()) {
            ("1.3.101.112", _) => {
                ed25519_dalek::SigningKey::from_pkcs8_der(der).map(Kind::Ed25519).map_err(malformed)?
            }
            ("1.2.840.10045.2.1", Some(P256)) => {
                p256::ecdsa::SigningKey::from_pkcs8_der(der).map(Kind::P256).map_err(malformed)?
            }
            ("1.2.840.10045.2.1", Some(P384)) => {
                p384::ecdsa::SigningKey::from_pkcs8_der(der).map(Kind::P384).map_err(malformed)?
            }
            ("1.2.840.10045.2.1", Some(P521)) => {
                p521::ecdsa::SigningKey::from_pkcs8_der(der).map(Kind::P521).map_err(malformed)?
            }
            (algorithm, curve) => return Err(unsupported(algorithm, curve)),
        };
        Self::new(kind)
    }

    fn from_sec1(der: &[u8]) -> Result<Self, Error> {
        let malformed = || Error::new(Code::KeyMalformed, "the private key is not a SEC1 key");
        let key = sec1::EcPrivateKey::try_from(der).map_err(|error| malformed().with_source(error))?;
        let curve = key.parameters.and_then(|parameters| parameters.named_curve()).map(|oid| oid.to_string());
        let scalar = key.private_key;
        let kind = match (curve.as_deref(), scalar.len()) {
            (Some(P256), _) | (None, 32) => p256::ecdsa::SigningKey::from_slice(scalar).ok().map(Kind::P256),
            (Some(P384), _) | (None, 48) => p384::ecdsa::SigningKey::from_slice(scalar).ok().map(Kind::P384),
            (Some(P521), _) | (None, 66) => p521::ecdsa::SigningKey::from_slice(scalar).ok().map(Kind::P521),
            (curve, _) => return Err(unsupported("SEC1", curve)),
        };
        Self::new(kind.ok_or_else(malformed)?)
    }

    fn new(kind: Kind) -> Result<Self, Error> {
        let public = match &kind {
            Kind::Ed25519(key) => PublicKey::ed25519(key.verifying_key()),
            Kind::P256(key) => PublicKey::p256(*key.verifying_key()),
            Kind::P384(key) => PublicKey::p384(*key.verifying_key()),
            Kind::P521(key) => PublicKey::p521(*key.verifying_key()),
        }?;
        Ok(PrivateKey { kind, public })
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key as PKCS#8 in PEM; encrypted with scrypt and AES-256 (PBES2) where there is a passphrase.
    ///
    /// # Errors
    /// `key-malformed` when it cannot be encoded.
    pub fn to_pem(&self, passphrase: Option<&Passphrase>) -> Result<Zeroizing<String>, Error> {
        let failed = |error: pkcs8::Error| {
            Error::new(Code::KeyMalformed, "the private key cannot be encoded").with_source(error)
        };
        let der = match &self.kind {
            Kind::Ed25519(key) => key.to_pkcs8_der(),
            Kind::P256(key) => key.to_pkcs8_der(),
            Kind::P384(key) => key.to_pkcs8_der(),
            Kind::P521(key) => key.to_pkcs8_der(),
        }
        .map_err(failed)?;
        match passphrase {
            None => der.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|error| failed(error.into())),
            Some(passphrase) => {
                let info = pkcs8::PrivateKeyInfoRef::try_from(der.as_bytes()).map_err(failed)?;
                let encrypted = info.encrypt(&passphrase.0[..]).map_err(failed)?;
                encrypted
                    .to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF)
                    .map_err(|error| failed(error.into()))
            }
        }
    }

    /// Signs a message: Ed25519 (RFC 8032), or ECDSA with the digest of the curve and deterministic nonces (RFC 6979), in DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::new(Code::KeyMalformed, "the private key cannot sign");
        Ok(match &self.kind {
            Kind::Ed25519(key) => key.sign(message).to_vec(),
            Kind::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(&Sha256::digest(message)).map_err(failed)?;
                signature.to_der().as_bytes().to_vec()
            }
            Kind::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    key.sign_prehash(&Sha384::digest(message)).map_err(failed)?;
                signature.to_der().as_bytes().to_vec()
            }
            Kind::P521(key) => {
                let signature: p521::ecdsa::Signature =
                    key.sign_prehash(&Sha512::digest(message)).map_err(failed)?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }
}

const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

fn unsupported(algorithm: &str, curve: Option<&str>) -> Error {
    let curve = curve.map(|curve| format!(" ({curve})")).unwrap_or_default();
    Error::new(Code::KeyUnsupported, format!("the private key's type {algorithm}{curve} is not supported"))
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {:?})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PaeDigest;

    const TYPES: [KeyType; 4] = [KeyType::Ed25519, KeyType::P256, KeyType::P384, KeyType::P521];

    #[test]
    fn every_type_signs_verifies_and_survives_its_file() {
        for kind in TYPES {
            let key = PrivateKey::generate(kind).unwrap();
            let signature = key.sign(b"message").unwrap();
            assert!(key.public().verifies(b"message", &signature, PaeDigest::OfCurve), "{kind:?}");
            assert!(!key.public().verifies(b"massage", &signature, PaeDigest::OfCurve), "{kind:?}");
            let other = PrivateKey::generate(kind).unwrap();
            assert!(!other.public().verifies(b"message", &signature, PaeDigest::OfCurve), "{kind:?}");

            let pem = key.to_pem(None).unwrap();
            let again = PrivateKey::from_pem(pem.as_bytes(), || panic!("not encrypted")).unwrap();
            assert_eq!(again.public(), key.public());
            let crlf = key.public().to_pem().replace('\n', "\r\n");
            assert_eq!(PublicKey::from_pem(crlf.as_bytes()).unwrap().hint(), key.public().hint());
        }
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let pem = key.to_pem(Some(&Passphrase::new("right"))).unwrap();
        assert!(pem.contains("ENCRYPTED"));
        let open =
            |phrase: Option<&str>| PrivateKey::from_pem(pem.as_bytes(), || Ok(phrase.map(Passphrase::new)));
        assert_eq!(open(Some("right")).unwrap().public(), key.public());
        assert_eq!(open(Some("wrong")).unwrap_err().code(), Code::PassphraseWrong);
        assert_eq!(open(None).unwrap_err().code(), Code::PassphraseMissing);
    }

    #[test]
    fn what_is_no_key_says_what_it_is() {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let none = || Ok(None);
        assert_eq!(PrivateKey::from_pem(b"hello", none).unwrap_err().code(), Code::KeyMalformed);
        assert_eq!(
            PrivateKey::from_pem(key.public().to_pem().as_bytes(), none).unwrap_err().help(),
            "this is a public key; give the private one"
        );
        assert_eq!(
            PublicKey::from_pem(key.to_pem(None).unwrap().as_bytes()).unwrap_err().help(),
            "this is a private key; give the public one that belongs to it"
        );
    }
}
