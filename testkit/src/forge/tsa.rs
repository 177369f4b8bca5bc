//! A timestamp authority (RFC 3161).

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use x509_cert_02::{
    der::{
        DateTime, Encode, Tag, TagNumber,
        asn1::{GeneralizedTime, ObjectIdentifier, OctetString},
    },
    ext::pkix::ExtendedKeyUsage,
};

use super::tlv;
use crate::pki::{Cert, Digest, FOREVER, KeyKind, KeyUsages, Pki};

const SHA_256: &str = "2.16.840.1.101.3.4.2.1";
const ECDSA_SHA_256: &str = "1.2.840.10045.4.3.2";
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// A timestamp authority: a root and the leaf that signs.
#[derive(Debug, Clone)]
pub struct Tsa {
    /// The root.
    pub root: Cert,
    /// What signs.
    pub leaf: Cert,
}

impl Tsa {
    /// An authority of this name. Another seed brings other keys under the same names.
    pub fn new(name: &str, seed: u64) -> Tsa {
        let root = Pki::root(KeyKind::P384)
            .seed(150 + 10 * seed)
            .subject(&format!("CN={name} TSA Root,O={name}"))
            .valid(super::START, FOREVER)
            .self_signed();
        let leaf = Pki::leaf(KeyKind::P256)
            .seed(151 + 10 * seed)
            .subject(&format!("CN={name} TSA,O={name}"))
            .usages(KeyUsages::DigitalSignature)
            .extension(true, &ExtendedKeyUsage(vec![TIME_STAMPING]))
            .valid(super::START, FOREVER)
            .issue(&root);
        Tsa { root, leaf }
    }

    /// The answer to a request to stamp these bytes, at this time in seconds since 1970: a granted `TimeStampResp`.
    pub fn stamp(&self, bytes: &[u8], time: i64) -> Vec<u8> {
        let granted = tlv(Tag::Sequence, &[&0u8.to_der().unwrap()]);
        tlv(Tag::Sequence, &[&granted, &self.token(bytes, time)])
    }

    /// The token alone: a `ContentInfo`, without certificates.
    pub fn token(&self, bytes: &[u8], time: i64) -> Vec<u8> {
        let info = info(bytes, time);
        let algorithm = tlv(Tag::Sequence, &[&oid(SHA_256)]);
        let content = [oid(TST_INFO), explicit(&octets(&info))].concat();
        let signed = [
            3u8.to_der().unwrap(),
            tlv(Tag::Set, &[&algorithm]),
            tlv(Tag::Sequence, &[&content]),
            tlv(Tag::Set, &[&self.signer_info(&info, &algorithm)]),
        ]
        .concat();
        tlv(Tag::Sequence, &[&oid(SIGNED_DATA), &explicit(&tlv(Tag::Sequence, &[&signed]))])
    }

    /// RFC 5652, section 5.3: the signature is over the attributes as a set.
    fn signer_info(&self, info: &[u8], algorithm: &[u8]) -> Vec<u8> {
        let attribute = |kind, value: Vec<u8>| tlv(Tag::Sequence, &[&oid(kind), &tlv(Tag::Set, &[&value])]);
        let attributes = [
            attribute(CONTENT_TYPE, oid(TST_INFO)),
            attribute(MESSAGE_DIGEST, octets(&Sha256::digest(info))),
        ]
        .concat();
        let signature = self.leaf.key().sign_over(Digest::Sha256, &tlv(Tag::Set, &[&attributes]));
        let certificate = self.leaf.clone().certificate().tbs_certificate.clone();
        let signer = [certificate.issuer.to_der().unwrap(), certificate.serial_number.to_der().unwrap()];
        tlv(
            Tag::Sequence,
            &[
                &1u8.to_der().unwrap(),
                &tlv(Tag::Sequence, &[&signer.concat()]),
                algorithm,
                &tlv(context(), &[&attributes]),
                &tlv(Tag::Sequence, &[&oid(ECDSA_SHA_256)]),
                &octets(&signature),
            ],
        )
    }
}

/// What is stamped, and when.
fn info(bytes: &[u8], time: i64) -> Vec<u8> {
    let time = DateTime::from_unix_duration(Duration::from_secs(u64::try_from(time).unwrap())).unwrap();
    let algorithm = tlv(Tag::Sequence, &[&oid(SHA_256)]);
    tlv(
        Tag::Sequence,
        &[
            &1u8.to_der().unwrap(),
            &oid("1.3.6.1.4.1.57264.2"),
            &tlv(Tag::Sequence, &[&algorithm, &octets(&Sha256::digest(bytes))]),
            &1_000_003u32.to_der().unwrap(),
            &GeneralizedTime::from_date_time(time).to_der().unwrap(),
        ],
    )
}

fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new(text).unwrap().to_der().unwrap()
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    OctetString::new(bytes).unwrap().to_der().unwrap()
}

/// The tag of a field marked with 0.
fn context() -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber::N0 }
}

fn explicit(value: &[u8]) -> Vec<u8> {
    tlv(context(), &[value])
}
