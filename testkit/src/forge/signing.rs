//! How a bundle is signed, and the bundle.

use serde_json::{Value, json};

use super::{Body, Entry, Log, Signer, TIME, Tsa, encode};
use crate::pki::{Cert, Key, sign_pae};

pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Of which kind a log entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `dsse` 0.0.1 (Rekor v1).
    Dsse,
    /// `intoto` 0.0.2 (Rekor v1).
    Intoto,
    /// `hashedrekord` 0.0.1 (Rekor v1).
    HashedrekordV1,
    /// `hashedrekord` 0.0.2 (Rekor v2).
    Hashedrekord,
}

/// An entry that a bundle is to have.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Which log.
    pub log: Log,
    /// Which kind.
    pub kind: Kind,
    /// When it was logged, where the log says so.
    pub integrated: Option<i64>,
    /// Whether the log promises to hold it.
    pub promise: bool,
    /// Whether the log proves to hold it.
    pub proof: bool,
    /// How many leaves the tree has.
    pub size: usize,
    /// Which of them it is.
    pub index: usize,
}

impl Logged {
    /// A `dsse` entry with promise and proof.
    pub fn v1(log: &Log) -> Logged {
        Logged {
            log: log.clone(),
            kind: Kind::Dsse,
            integrated: Some(TIME),
            promise: true,
            proof: true,
            size: 11,
            index: 5,
        }
    }

    /// A `hashedrekord` entry of Rekor v2, with proof.
    pub fn v2(log: &Log) -> Logged {
        Logged { kind: Kind::Hashedrekord, integrated: None, promise: false, ..Logged::v1(log) }
    }

    /// The body about this signature.
    pub fn body(&self, payload: &[u8], signature: &[u8], signer: &Signer) -> Body {
        match self.kind {
            Kind::Dsse => Body::dsse(payload, signature, signer),
            Kind::Intoto => Body::intoto(payload, signature, signer),
            Kind::HashedrekordV1 => Body::hashedrekord_v1(&pae(payload), signature, signer),
            Kind::Hashedrekord => Body::hashedrekord(&pae(payload), signature, signer),
        }
    }

    /// The entry about this signature, as bundles have it.
    pub fn wire(&self, payload: &[u8], signature: &[u8], signer: &Signer) -> Value {
        self.log.entry(&Entry {
            body: self.body(payload, signature, signer),
            size: self.size,
            index: self.index,
            integrated: self.integrated,
            promise: self.promise,
            proof: self.proof,
        })
    }
}

/// How a bundle is signed.
#[derive(Debug, Clone)]
pub struct Signing {
    /// With what.
    pub key: Key,
    /// The certificates in the bundle, leaf first: DER. None for a bare key.
    pub chain: Vec<Vec<u8>>,
    /// Whether certificates are given as a chain even where format 0.3 wants one alone.
    pub chained: bool,
    /// The version of the format: 1, 2 or 3 for 0.1, 0.2, 0.3.
    pub version: u8,
    /// The log entries.
    pub logged: Vec<Logged>,
    /// The timestamps: by whom, and when.
    pub stamps: Vec<(Tsa, i64)>,
}

impl Signing {
    /// A bundle of format 0.3 with a timestamp.
    pub fn new(leaf: &Cert, tsa: &Tsa) -> Signing {
        Signing {
            chain: vec![leaf.der()],
            stamps: vec![(tsa.clone(), TIME)],
            ..Signing::with_key(leaf.key())
        }
    }

    /// A bundle of format 0.3 signed by a bare key, without anything else.
    pub fn with_key(key: &Key) -> Signing {
        Signing {
            key: key.clone(),
            chain: Vec::new(),
            chained: false,
            version: 3,
            logged: Vec::new(),
            stamps: Vec::new(),
        }
    }

    /// The same signed by the holder of this certificate, which alone is in the bundle.
    #[must_use]
    pub fn by(mut self, leaf: &Cert) -> Signing {
        (self.key, self.chain) = (leaf.key().clone(), vec![leaf.der()]);
        self
    }

    /// The same of another version of the format.
    #[must_use]
    pub fn version(mut self, version: u8) -> Signing {
        self.version = version;
        self
    }

    /// Who signs, as logs have it.
    pub fn signer(&self) -> Signer {
        match self.chain.first() {
            Some(leaf) => Signer::Certificate(leaf.clone()),
            None => Signer::Key(self.key.spki_der()),
        }
    }

    /// The signature over a payload.
    pub fn signature(&self, payload: &[u8]) -> Vec<u8> {
        sign_pae(&self.key, &pae(payload))
    }

    /// The bundle over this payload.
    pub fn bundle(&self, payload: &[u8]) -> Value {
        let signature = self.signature(payload);
        let entries: Vec<Value> =
            self.logged.iter().map(|logged| logged.wire(payload, &signature, &self.signer())).collect();
        let stamps: Vec<Value> = self
            .stamps
            .iter()
            .map(|(tsa, time)| json!({"signedTimestamp": encode(&tsa.stamp(&signature, *time))}))
            .collect();
        let mut material = self.material();
        material["tlogEntries"] = entries.into();
        if !stamps.is_empty() {
            material["timestampVerificationData"] = json!({"rfc3161Timestamps": stamps});
        }
        json!({
            "mediaType": media_type(self.version),
            "verificationMaterial": material,
            "dsseEnvelope": envelope(payload, &signature),
        })
    }

    fn material(&self) -> Value {
        let certificates: Vec<Value> =
            self.chain.iter().map(|der| json!({"rawBytes": encode(der)})).collect();
        match certificates.as_slice() {
            [] => json!({"publicKey": {"hint": self.hint()}}),
            [leaf] if self.version == 3 && !self.chained => json!({"certificate": leaf}),
            _ => json!({"x509CertificateChain": {"certificates": certificates}}),
        }
    }

    /// By what bundles of bare keys name the key: hex SHA-256 over its PEM.
    fn hint(&self) -> String {
        use sha2::{Digest as _, Sha256};
        super::hex(&Sha256::digest(self.key.public_pem()))
    }
}

fn media_type(version: u8) -> String {
    match version {
        3 => "application/vnd.dev.sigstore.bundle.v0.3+json".to_owned(),
        old => format!("application/vnd.dev.sigstore.bundle+json;version=0.{old}"),
    }
}

/// The envelope as bundles have it.
pub(super) fn envelope(payload: &[u8], signature: &[u8]) -> Value {
    json!({
        "payload": encode(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": encode(signature)}],
    })
}

/// What is signed: DSSE's pre-authentication encoding.
fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}
