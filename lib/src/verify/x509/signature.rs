//! Signatures on certificates.
//!
//! ECDSA with P-256, P-384 or P-521 over any of SHA-256, SHA-384 and SHA-512 (authorities do pair a P-256 key with
//! SHA-384), RSA of 2048 to 8192 bits over the same digests in both paddings of RFC 8017, and Ed25519. SHA-1, MD5 and
//! older digests, and smaller RSA keys, are told apart from what is merely unknown.

use der::Decode as _;
use ed25519_dalek::pkcs8::DecodePublicKey;
use rsa::{
    pkcs1::{RsaPssParamsOwned, RsaPublicKeyRef},
    pkcs1v15, pss,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use signature::{Verifier, hazmat::PrehashVerifier};
use x509_cert_02::{
    der::{Encode, asn1::ObjectIdentifier},
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use super::{Problem, certificate::Certificate};

/// Smallest RSA modulus, in bits.
const RSA_BITS: usize = 2048;

/// Key algorithms: RFC 3279, RFC 5480, RFC 8410.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Signature algorithms: RFC 4055, RFC 5758.
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// Signature algorithms over SHA-1, MD5, MD4 and MD2, with RSA, ECDSA and DSA.
const WEAK: [ObjectIdentifier; 8] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.3"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
    ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"),
    ObjectIdentifier::new_unwrap("1.3.14.3.2.27"),
    ObjectIdentifier::new_unwrap("1.3.14.3.2.29"),
];

/// The digests of RSA-PSS parameters (RFC 8017, A.2.3), by their own identifiers.
const SHA1: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const MGF1: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Clone, Copy)]
enum Scheme {
    Ecdsa(Hash),
    Pkcs1(Hash),
    /// Its digest, also that of its mask, and the length of its salt.
    Pss(Hash, usize),
    Ed25519,
}

/// Whether the issuer's key made the signature on the certificate.
///
/// # Errors
/// The [`Problem`] with the certificate's algorithm or the issuer's key if this cannot be told.
pub(super) fn made_by(certificate: &Certificate, issuer: &Certificate) -> Result<bool, Problem> {
    let parsed = certificate.parsed();
    let scheme = scheme(certificate, &parsed.signature_algorithm)?;
    check_key(issuer)?;
    let unsupported = |oid: ObjectIdentifier| Problem::UnsupportedAlgorithm {
        subject: issuer.label(),
        oid: oid.to_string(),
    };
    let key = &issuer.parsed().tbs_certificate.subject_public_key_info;
    let (spki, message, signature) = (issuer.spki_der(), certificate.tbs(), parsed.signature.raw_bytes());
    let unreadable = |_| issuer.malformed("its key cannot be read");
    match (scheme, key.algorithm.oid) {
        (Scheme::Ecdsa(hash), EC) => {
            let digest = digest(hash, message);
            match curve(key) {
                Some(P256) => {
                    let key = p256::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(unreadable)?;
                    Ok(p256::ecdsa::Signature::from_der(signature)
                        .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok()))
                }
                Some(P384) => {
                    let key = p384::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(unreadable)?;
                    Ok(p384::ecdsa::Signature::from_der(signature)
                        .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok()))
                }
                Some(P521) => {
                    let key = p521::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(unreadable)?;
                    Ok(p521::ecdsa::Signature::from_der(signature)
                        .is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok()))
                }
                other => Err(unsupported(other.unwrap_or(EC))),
            }
        }
        (Scheme::Pkcs1(hash), RSA) => {
            let key = rsa::PublicKey::from_public_key_der(spki).map_err(unreadable)?;
            Ok(pkcs1v15::Signature::try_from(signature).is_ok_and(|s| match hash {
                Hash::Sha256 => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &s).is_ok(),
                Hash::Sha384 => pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &s).is_ok(),
                Hash::Sha512 => pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &s).is_ok(),
            }))
        }
        (Scheme::Pss(hash, salt), RSA) => {
            let key = rsa::PublicKey::from_public_key_der(spki).map_err(unreadable)?;
            Ok(pss::Signature::try_from(signature).is_ok_and(|s| match hash {
                Hash::Sha256 => {
                    pss::VerifyingKey::<Sha256>::new_with_salt_len(key, salt).verify(message, &s).is_ok()
                }
                Hash::Sha384 => {
                    pss::VerifyingKey::<Sha384>::new_with_salt_len(key, salt).verify(message, &s).is_ok()
                }
                Hash::Sha512 => {
                    pss::VerifyingKey::<Sha512>::new_with_salt_len(key, salt).verify(message, &s).is_ok()
                }
            }))
        }
        (Scheme::Ed25519, ED25519) => {
            let key = ed25519_dalek::VerifyingKey::from_public_key_der(spki).map_err(unreadable)?;
            Ok(ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|s| key.verify_strict(message, &s).is_ok()))
        }
        // Another kind of key than the certificate was signed with: some other authority of the same name.
        (_, EC | RSA | ED25519) => Ok(false),
        (_, other) => Err(unsupported(other)),
    }
}

/// Refuses an RSA key under 2048 bits; other keys are left to whoever uses them.
pub(super) fn check_key(certificate: &Certificate) -> Result<(), Problem> {
    let spki = &certificate.parsed().tbs_certificate.subject_public_key_info;
    if spki.algorithm.oid != RSA {
        return Ok(());
    }
    let bits = RsaPublicKeyRef::from_der(spki.subject_public_key.raw_bytes())
        .map_err(|_| certificate.malformed("its RSA key cannot be read"))
        .map(|key| match key.modulus.as_bytes() {
            [] => 0,
            [first, rest @ ..] => (u8::BITS - first.leading_zeros()) as usize + 8 * rest.len(),
        })?;
    if bits < RSA_BITS { Err(Problem::WeakKey { subject: certificate.label(), bits }) } else { Ok(()) }
}

fn curve(key: &SubjectPublicKeyInfoOwned) -> Option<ObjectIdentifier> {
    key.algorithm.parameters.as_ref()?.decode_as().ok()
}

fn scheme(certificate: &Certificate, algorithm: &AlgorithmIdentifierOwned) -> Result<Scheme, Problem> {
    let subject = || certificate.label();
    Ok(match algorithm.oid {
        ECDSA_SHA256 => Scheme::Ecdsa(Hash::Sha256),
        ECDSA_SHA384 => Scheme::Ecdsa(Hash::Sha384),
        ECDSA_SHA512 => Scheme::Ecdsa(Hash::Sha512),
        RSA_SHA256 => Scheme::Pkcs1(Hash::Sha256),
        RSA_SHA384 => Scheme::Pkcs1(Hash::Sha384),
        RSA_SHA512 => Scheme::Pkcs1(Hash::Sha512),
        RSA_PSS => return pss_scheme(certificate, algorithm),
        ED25519 => Scheme::Ed25519,
        oid if WEAK.contains(&oid) => {
            return Err(Problem::WeakDigest { subject: subject(), oid: oid.to_string() });
        }
        oid => return Err(Problem::UnsupportedAlgorithm { subject: subject(), oid: oid.to_string() }),
    })
}

/// RFC 4055, 3.1: the mask must be made with the same digest. Parameters left out mean SHA-1.
fn pss_scheme(certificate: &Certificate, algorithm: &AlgorithmIdentifierOwned) -> Result<Scheme, Problem> {
    let unreadable = || certificate.malformed("its RSA-PSS parameters cannot be read");
    let encoded = algorithm.parameters.to_der().map_err(|_| unreadable())?;
    let parameters = match encoded.as_slice() {
        [] => RsaPssParamsOwned::default(),
        encoded => RsaPssParamsOwned::from_der(encoded).map_err(|_| unreadable())?,
    };
    let mask = parameters.mask_gen.parameters.as_ref().map(|mask| mask.oid);
    let hash = match parameters.hash.oid {
        SHA256 => Hash::Sha256,
        SHA384 => Hash::Sha384,
        SHA512 => Hash::Sha512,
        SHA1 => {
            return Err(Problem::WeakDigest {
                subject: certificate.label(),
                oid: format!("{RSA_PSS} with {SHA1}"),
            });
        }
        other => {
            return Err(Problem::UnsupportedAlgorithm {
                subject: certificate.label(),
                oid: format!("{RSA_PSS} with {other}"),
            });
        }
    };
    if parameters.mask_gen.oid != MGF1 || mask != Some(parameters.hash.oid) {
        return Err(Problem::UnsupportedAlgorithm {
            subject: certificate.label(),
            oid: format!("{RSA_PSS} with two digests"),
        });
    }
    Ok(Scheme::Pss(hash, parameters.salt_len.into()))
}

fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => Sha256::digest(message).to_vec(),
        Hash::Sha384 => Sha384::digest(message).to_vec(),
        Hash::Sha512 => Sha512::digest(message).to_vec(),
    }
}
