//! Key pairs from fixed seeds, in the encodings that tools write.

use ed25519_dalek::pkcs8::KeypairBytes;
use pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding, PrivateKeyInfoRef, SecretDocument, pkcs5::pbes2};
use rsa::{BoxedUint, pkcs1v15, pss};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use signature::{SignatureEncoding, Signer, hazmat::PrehashSigner};

use super::primes::{Primes, RSA_1024, RSA_2048};

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyKind {
    Ed25519,
    P256,
    P384,
    P521,
    /// Four keys: seeds 0 to 3.
    Rsa2048,
    /// Three keys, seeds 0 to 2: too small to be accepted anywhere.
    Rsa1024,
}

/// The digest that a signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Digest {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Digest::Sha1 => Sha1::digest(bytes).to_vec(),
            Digest::Sha256 => Sha256::digest(bytes).to_vec(),
            Digest::Sha384 => Sha384::digest(bytes).to_vec(),
            Digest::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// A key pair. The same kind and seed always give the same one.
#[derive(Clone)]
pub struct Key {
    kind: KeyKind,
    secret: Secret,
}

#[derive(Clone)]
enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::SecretKey),
    P384(p384::SecretKey),
    P521(p521::SecretKey),
    Rsa(Box<rsa::PrivateKey>),
}

impl Key {
    /// The key pair of this kind and seed.
    ///
    /// # Panics
    /// For RSA, if there is no key of this seed; see [`KeyKind`].
    pub fn new(kind: KeyKind, seed: u64) -> Self {
        let label = format!("{kind:?} {seed}");
        let secret = match kind {
            KeyKind::Ed25519 => Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(
                &Sha256::digest(label.as_bytes()).into(),
            )),
            KeyKind::P256 => {
                Secret::P256(p256::SecretKey::from_slice(&Sha256::digest(label.as_bytes())).unwrap())
            }
            KeyKind::P384 => {
                Secret::P384(p384::SecretKey::from_slice(&Sha384::digest(label.as_bytes())).unwrap())
            }
            KeyKind::P521 => {
                let wide = [&[0, 0], Sha512::digest(label.as_bytes()).as_slice()].concat();
                Secret::P521(p521::SecretKey::from_slice(&wide).unwrap())
            }
            KeyKind::Rsa2048 => Secret::Rsa(Box::new(rsa_key(&RSA_2048, seed))),
            KeyKind::Rsa1024 => Secret::Rsa(Box::new(rsa_key(&RSA_1024, seed))),
        };
        Key { kind, secret }
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The digest that this key signs over when none is asked for: that of its curve, SHA-256 for RSA.
    pub fn digest(&self) -> Digest {
        match self.kind {
            KeyKind::P384 => Digest::Sha384,
            KeyKind::P521 | KeyKind::Ed25519 => Digest::Sha512,
            KeyKind::P256 | KeyKind::Rsa2048 | KeyKind::Rsa1024 => Digest::Sha256,
        }
    }

    /// Signs these bytes: ECDSA in DER, RSA PKCS#1 v1.5, Ed25519.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_over(self.digest(), message)
    }

    /// The same over another digest; Ed25519 has only its own.
    pub fn sign_over(&self, digest: Digest, message: &[u8]) -> Vec<u8> {
        let hash = digest.of(message);
        match &self.secret {
            Secret::Ed25519(key) => key.sign(message).to_vec(),
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from(key).sign_prehash(&hash).unwrap();
                signature.to_der().to_vec()
            }
            Secret::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    p384::ecdsa::SigningKey::from(key).sign_prehash(&hash).unwrap();
                signature.to_der().to_vec()
            }
            Secret::P521(key) => {
                let signature: p521::ecdsa::Signature =
                    p521::ecdsa::SigningKey::from(key).sign_prehash(&hash).unwrap();
                signature.to_der().to_vec()
            }
            Secret::Rsa(key) => {
                let key = key.as_ref().clone();
                match digest {
                    Digest::Sha1 => pkcs1v15::SigningKey::<Sha1>::new(key).sign(message).to_vec(),
                    Digest::Sha256 => pkcs1v15::SigningKey::<Sha256>::new(key).sign(message).to_vec(),
                    Digest::Sha384 => pkcs1v15::SigningKey::<Sha384>::new(key).sign(message).to_vec(),
                    Digest::Sha512 => pkcs1v15::SigningKey::<Sha512>::new(key).sign(message).to_vec(),
                }
            }
        }
    }

    /// Signs as ES256 of JOSE: ECDSA over SHA-256, the two numbers side by side instead of in DER.
    ///
    /// # Panics
    /// If this is no P-256 key.
    pub fn sign_es256(&self, message: &[u8]) -> Vec<u8> {
        let Secret::P256(key) = &self.secret else { panic!("{:?} is no P-256 key", self.kind) };
        let signature: p256::ecdsa::Signature =
            p256::ecdsa::SigningKey::from(key).sign_prehash(&Sha256::digest(message)).unwrap();
        signature.to_bytes().to_vec()
    }

    /// Signs with RSA-PSS, the salt as long as the digest; it differs from call to call.
    ///
    /// # Panics
    /// If this is no RSA key.
    pub fn sign_pss(&self, digest: Digest, message: &[u8]) -> Vec<u8> {
        let Secret::Rsa(key) = &self.secret else { panic!("{:?} is no RSA key", self.kind) };
        let key = key.as_ref().clone();
        match digest {
            Digest::Sha1 => pss::SigningKey::<Sha1>::new(key).sign(message).to_vec(),
            Digest::Sha256 => pss::SigningKey::<Sha256>::new(key).sign(message).to_vec(),
            Digest::Sha384 => pss::SigningKey::<Sha384>::new(key).sign(message).to_vec(),
            Digest::Sha512 => pss::SigningKey::<Sha512>::new(key).sign(message).to_vec(),
        }
    }

    /// The public key as a DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> Vec<u8> {
        match &self.secret {
            Secret::Ed25519(key) => key.verifying_key().to_public_key_der().unwrap().into_vec(),
            Secret::P256(key) => key.public_key().to_public_key_der().unwrap().into_vec(),
            Secret::P384(key) => key.public_key().to_public_key_der().unwrap().into_vec(),
            Secret::P521(key) => key.public_key().to_public_key_der().unwrap().into_vec(),
            Secret::Rsa(key) => key.to_public_key().to_public_key_der().unwrap().into_vec(),
        }
    }

    /// The public key as SPKI PEM.
    pub fn public_pem(&self) -> String {
        super::pem("PUBLIC KEY", &self.spki_der())
    }

    /// The private key as PKCS#8 PEM.
    pub fn pkcs8_pem(&self) -> String {
        super::pem("PRIVATE KEY", self.pkcs8().as_bytes())
    }

    /// The private key as PKCS#8 PEM, encrypted as OpenSSL 3 does it: PBKDF2 with SHA-256, 2048 rounds, AES-256-CBC. The
    /// salt is fixed.
    pub fn encrypted_pkcs8_pem(&self, passphrase: &str) -> String {
        let parameters =
            pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(2048, b"fixed salt 1234", [7; 16]).unwrap();
        let plain = self.pkcs8();
        let key = PrivateKeyInfoRef::try_from(plain.as_bytes()).unwrap();
        let encrypted = key.encrypt_with_params(parameters, passphrase).unwrap();
        super::pem("ENCRYPTED PRIVATE KEY", encrypted.as_bytes())
    }

    /// The private key as SEC1 PEM (RFC 5915), as `openssl ecparam -genkey -noout` writes it.
    ///
    /// # Panics
    /// If this is no key on a curve of NIST's.
    pub fn sec1_pem(&self) -> String {
        match &self.secret {
            Secret::P256(key) => key.to_sec1_pem(LineEnding::LF).unwrap().to_string(),
            Secret::P384(key) => key.to_sec1_pem(LineEnding::LF).unwrap().to_string(),
            Secret::P521(key) => key.to_sec1_pem(LineEnding::LF).unwrap().to_string(),
            Secret::Ed25519(_) | Secret::Rsa(_) => panic!("{:?} has no SEC1 form", self.kind),
        }
    }

    fn pkcs8(&self) -> SecretDocument {
        match &self.secret {
            // Version 1, without the public key: OpenSSL reads no other.
            Secret::Ed25519(key) => {
                KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_der().unwrap()
            }
            Secret::P256(key) => key.to_pkcs8_der().unwrap(),
            Secret::P384(key) => key.to_pkcs8_der().unwrap(),
            Secret::P521(key) => key.to_pkcs8_der().unwrap(),
            Secret::Rsa(key) => key.to_pkcs8_der().unwrap(),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Signs a pre-authentication encoding, or any bytes, as a bundle's envelope wants it: ECDSA in DER over the digest of the
/// curve, Ed25519 over the bytes.
pub fn sign_pae(key: &Key, pae: &[u8]) -> Vec<u8> {
    key.sign(pae)
}

fn rsa_key(table: &[Primes], seed: u64) -> rsa::PrivateKey {
    let (p, q) = table[usize::try_from(seed).unwrap()];
    let number = |hex: &str| {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        BoxedUint::from_be_slice(&bytes, u32::try_from(8 * bytes.len()).unwrap()).unwrap()
    };
    rsa::PrivateKey::from_p_q(number(p), number(q), BoxedUint::from(65537u64)).unwrap()
}
