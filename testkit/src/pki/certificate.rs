//! Certificates, right or wrong in every way that a test may want.

use std::{str::FromStr, time::Duration};

use sha2::{Digest as _, Sha256};
use x509_cert_02::{
    Certificate, TbsCertificate, Version,
    der::{
        Any, DateTime, Decode, Encode,
        asn1::{BitString, GeneralizedTime, Ia5String, ObjectIdentifier, OctetString, UtcTime},
        oid::AssociatedOid,
    },
    ext::{
        Extension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints,
            SubjectAltName, SubjectKeyIdentifier, constraints::name::GeneralSubtree,
        },
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity},
};

pub use x509_cert_02::ext::pkix::{KeyUsages, name::GeneralName};

use super::{Digest, Key, KeyKind};

/// 2020-01-01, since when certificates are valid unless told otherwise, in seconds since 1970.
pub const FROM: i64 = 1_577_836_800;
/// 2049-12-31, until when.
pub const TO: i64 = 2_524_607_999;
/// 9999-12-31 23:59:59, which RFC 5280 has for "no end".
pub const FOREVER: i64 = 253_402_300_799;

/// Extended key usage codeSigning.
pub const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// Extended key usage serverAuth.
pub const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// Extended key usage timeStamping.
pub const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// A certificate with its key pair.
#[derive(Debug, Clone)]
pub struct Cert {
    certificate: Certificate,
    key: Key,
}

impl Cert {
    /// As DER.
    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        super::pem("CERTIFICATE", &self.der())
    }

    /// Its key pair.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The certificate, to read or to change; its signature does not change with it.
    pub fn certificate(&mut self) -> &mut Certificate {
        &mut self.certificate
    }
}

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub struct Pki {
    key: Key,
    subject: Name,
    issuer: Option<Name>,
    serial: SerialNumber,
    from: i64,
    to: i64,
    version: Version,
    extensions: Vec<Extension>,
    key_ids: bool,
    digest: Option<Digest>,
    pss: bool,
}

impl Pki {
    /// A root: `CN=Test Root`, key of seed 0, CA:TRUE, keyCertSign and cRLSign.
    pub fn root(kind: KeyKind) -> Self {
        Pki::bare(kind, 0)
            .subject("CN=Test Root")
            .ca(None)
            .usages(KeyUsages::KeyCertSign | KeyUsages::CRLSign)
    }

    /// An intermediate: `CN=Test Intermediate`, key of seed 1, otherwise as a root.
    pub fn intermediate(kind: KeyKind) -> Self {
        Pki::root(kind).seed(1).subject("CN=Test Intermediate")
    }

    /// A leaf: `CN=Test Signer`, key of seed 2, digitalSignature.
    pub fn leaf(kind: KeyKind) -> Self {
        Pki::bare(kind, 2).subject("CN=Test Signer").usages(KeyUsages::DigitalSignature)
    }

    /// Without any extension but the key identifiers.
    fn bare(kind: KeyKind, seed: u64) -> Self {
        let key = Key::new(kind, seed);
        let serial = SerialNumber::new(&Sha256::digest(key.spki_der())[..16]).unwrap();
        Pki {
            key,
            subject: Name::default(),
            issuer: None,
            serial,
            from: FROM,
            to: TO,
            version: Version::V3,
            extensions: Vec::new(),
            key_ids: true,
            digest: None,
            pss: false,
        }
    }

    /// The subject, as RFC 4514 writes it; empty for none.
    pub fn subject(mut self, name: &str) -> Self {
        self.subject = if name.is_empty() { Name::default() } else { Name::from_str(name).unwrap() };
        self
    }

    /// The issuer's name, where it shall not be the name of whoever issues.
    pub fn issuer(mut self, name: &str) -> Self {
        self.issuer = Some(Name::from_str(name).unwrap());
        self
    }

    /// Another key of the same kind. A new key brings a serial number of its own.
    pub fn seed(mut self, seed: u64) -> Self {
        let Pki { key, serial, .. } = Pki::bare(self.key.kind(), seed);
        (self.key, self.serial) = (key, serial);
        self
    }

    /// The key pair.
    pub fn key(mut self, key: &Key) -> Self {
        self.key = key.clone();
        self
    }

    /// The serial number, big-endian.
    pub fn serial(mut self, bytes: &[u8]) -> Self {
        self.serial = SerialNumber::new(bytes).unwrap();
        self
    }

    /// The validity, in seconds since 1970, both ends within.
    pub fn valid(mut self, from: i64, to: i64) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// CA:TRUE, with at most so many intermediates below.
    pub fn ca(self, path_length: Option<u8>) -> Self {
        self.extension(true, &BasicConstraints { ca: true, path_len_constraint: path_length })
    }

    /// CA:FALSE.
    pub fn not_a_ca(self) -> Self {
        self.extension(true, &BasicConstraints { ca: false, path_len_constraint: None })
    }

    /// The key usages.
    pub fn usages(self, usages: impl Into<x509_cert_02::der::flagset::FlagSet<KeyUsages>>) -> Self {
        self.extension(true, &KeyUsage(usages.into()))
    }

    /// The extended key usages.
    pub fn extended(self, usages: &[ObjectIdentifier]) -> Self {
        self.extension(false, &ExtendedKeyUsage(usages.to_vec()))
    }

    /// The same, critical, as RFC 3161 wants it of a timestamping authority.
    pub fn only_for(self, usage: ObjectIdentifier) -> Self {
        self.extension(true, &ExtendedKeyUsage(vec![usage]))
    }

    /// The alternative names.
    pub fn names(self, names: &[GeneralName]) -> Self {
        self.extension(false, &SubjectAltName(names.to_vec()))
    }

    /// The name constraints: what is permitted, and what is excluded.
    pub fn constrain(self, permitted: &[GeneralName], excluded: &[GeneralName]) -> Self {
        let subtrees = |names: &[GeneralName]| {
            let all: Vec<_> = names
                .iter()
                .map(|base| GeneralSubtree { base: base.clone(), minimum: 0, maximum: None })
                .collect();
            Some(all).filter(|all| !all.is_empty())
        };
        self.extension(
            true,
            &NameConstraints {
                permitted_subtrees: subtrees(permitted),
                excluded_subtrees: subtrees(excluded),
            },
        )
    }

    /// An extension, in the place of one of the same type.
    pub fn extension<T: Encode + AssociatedOid>(self, critical: bool, value: &T) -> Self {
        self.raw_extension(T::OID, critical, &value.to_der().unwrap())
    }

    /// An extension of any type and content, in the place of one of the same type.
    pub fn raw_extension(self, oid: ObjectIdentifier, critical: bool, value: &[u8]) -> Self {
        let mut without = self.without(oid);
        without.extensions.push(Extension {
            extn_id: oid,
            critical,
            extn_value: OctetString::new(value).unwrap(),
        });
        without
    }

    /// Without the extension of this type.
    pub fn without(mut self, oid: ObjectIdentifier) -> Self {
        self.extensions.retain(|e| e.extn_id != oid);
        self
    }

    /// Without subject and authority key identifiers.
    pub fn without_key_ids(mut self) -> Self {
        self.key_ids = false;
        self
    }

    /// X.509 version 1, which has no extensions.
    pub fn version_1(mut self) -> Self {
        self.version = Version::V1;
        self
    }

    /// The digest that it is signed over, instead of the issuer's own.
    pub fn digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// RSA-PSS instead of PKCS#1 v1.5.
    pub fn pss(mut self) -> Self {
        self.pss = true;
        self
    }

    /// The certificate, signed by this issuer.
    pub fn issue(self, issuer: &Cert) -> Cert {
        let name = issuer.certificate.tbs_certificate.subject.clone();
        self.sign(name, &issuer.key)
    }

    /// The certificate, signed by itself.
    pub fn self_signed(self) -> Cert {
        let (name, key) = (self.subject.clone(), self.key.clone());
        self.sign(name, &key)
    }

    fn sign(mut self, issuer: Name, signer: &Key) -> Cert {
        let digest = self.digest.unwrap_or(signer.digest());
        let algorithm = algorithm(signer, digest, self.pss);
        let spki = SubjectPublicKeyInfoOwned::from_der(&self.key.spki_der()).unwrap();
        if self.key_ids {
            let own = SubjectKeyIdentifier(key_id(&self.key));
            let authority = AuthorityKeyIdentifier {
                key_identifier: Some(key_id(signer)),
                authority_cert_issuer: None,
                authority_cert_serial_number: None,
            };
            self = self.extension(false, &own).extension(false, &authority);
        }
        let v3 = self.version == Version::V3 && !self.extensions.is_empty();
        let tbs_certificate = TbsCertificate {
            version: self.version,
            serial_number: self.serial,
            signature: algorithm.clone(),
            issuer: self.issuer.unwrap_or(issuer),
            validity: Validity { not_before: time(self.from), not_after: time(self.to) },
            subject: self.subject,
            subject_public_key_info: spki,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: v3.then_some(self.extensions),
        };
        let message = tbs_certificate.to_der().unwrap();
        let signature =
            if self.pss { signer.sign_pss(digest, &message) } else { signer.sign_over(digest, &message) };
        let certificate = Certificate {
            tbs_certificate,
            signature_algorithm: algorithm,
            signature: BitString::from_bytes(&signature).unwrap(),
        };
        Cert { certificate, key: self.key }
    }
}

/// An email address as an alternative name or a constraint.
pub fn email(text: &str) -> GeneralName {
    GeneralName::Rfc822Name(Ia5String::new(text).unwrap())
}

/// A DNS name.
pub fn dns(text: &str) -> GeneralName {
    GeneralName::DnsName(Ia5String::new(text).unwrap())
}

/// A URI.
pub fn uri(text: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(Ia5String::new(text).unwrap())
}

/// An IP address, or for a constraint an address followed by its mask.
pub fn ip(bytes: &[u8]) -> GeneralName {
    GeneralName::IpAddress(OctetString::new(bytes).unwrap())
}

/// A distinguished name, as RFC 4514 writes it.
pub fn directory(name: &str) -> GeneralName {
    GeneralName::DirectoryName(Name::from_str(name).unwrap())
}

/// RFC 7093, 2, method 1.
fn key_id(key: &Key) -> OctetString {
    OctetString::new(&Sha256::digest(key.spki_der())[..20]).unwrap()
}

/// RFC 5280, 4.1.2.5: UTCTime to the end of 2049, GeneralizedTime from then on.
fn time(seconds: i64) -> Time {
    let date = DateTime::from_unix_duration(Duration::from_secs(u64::try_from(seconds).unwrap())).unwrap();
    match UtcTime::from_date_time(date) {
        Ok(time) => Time::UtcTime(time),
        Err(_) => Time::GeneralTime(GeneralizedTime::from_date_time(date)),
    }
}

/// The signature algorithm of this key over this digest.
fn algorithm(key: &Key, digest: Digest, pss: bool) -> AlgorithmIdentifierOwned {
    use Digest::{Sha1, Sha256, Sha384, Sha512};
    let rsa = matches!(key.kind(), KeyKind::Rsa2048 | KeyKind::Rsa1024);
    let oid = match (key.kind(), digest) {
        _ if rsa && pss => "1.2.840.113549.1.1.10",
        (KeyKind::Ed25519, _) => "1.3.101.112",
        (_, Sha1) if rsa => "1.2.840.113549.1.1.5",
        (_, Sha256) if rsa => "1.2.840.113549.1.1.11",
        (_, Sha384) if rsa => "1.2.840.113549.1.1.12",
        (_, Sha512) if rsa => "1.2.840.113549.1.1.13",
        (_, Sha1) => "1.2.840.10045.4.1",
        (_, Sha256) => "1.2.840.10045.4.3.2",
        (_, Sha384) => "1.2.840.10045.4.3.3",
        (_, Sha512) => "1.2.840.10045.4.3.4",
    };
    let parameters = match rsa {
        true if pss => Some(pss_parameters(digest)),
        true => Some(Any::null()),
        false => None,
    };
    AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(oid), parameters }
}

/// RFC 4055, 3.1: digest, mask over the same digest, salt of the digest's length.
fn pss_parameters(digest: Digest) -> Any {
    let oid = ObjectIdentifier::new_unwrap(match digest {
        Digest::Sha1 => "1.3.14.3.2.26",
        Digest::Sha256 => "2.16.840.1.101.3.4.2.1",
        Digest::Sha384 => "2.16.840.1.101.3.4.2.2",
        Digest::Sha512 => "2.16.840.1.101.3.4.2.3",
    });
    let hash = AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }.to_der().unwrap();
    let mask = AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8"),
        parameters: Some(Any::from_der(&hash).unwrap()),
    };
    let salt = u8::try_from(digest.of(b"").len()).unwrap();
    let fields =
        [tagged(0xa0, &hash), tagged(0xa1, &mask.to_der().unwrap()), tagged(0xa2, &salt.to_der().unwrap())];
    Any::from_der(&tagged(0x30, &fields.concat())).unwrap()
}

/// DER of a tag, a length under 128 and a value.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(value.len()).unwrap()], value].concat()
}
