//! What logs hold: the bodies of their entries, as Rekor writes them (canonical JSON, keys in order).

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{encode, hex};

/// The body of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The kind of entry.
    pub kind: String,
    /// The version of that kind.
    pub version: String,
    /// What the log holds.
    pub json: Vec<u8>,
}

/// Whose signature is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// The holder of this certificate: DER.
    Certificate(Vec<u8>),
    /// The holder of this key: DER of its SPKI.
    Key(Vec<u8>),
}

impl Signer {
    fn pem(&self) -> String {
        match self {
            Signer::Certificate(der) => crate::pki::pem("CERTIFICATE", der),
            Signer::Key(der) => crate::pki::pem("PUBLIC KEY", der),
        }
    }
}

impl Body {
    /// A body of any kind, version and content.
    pub fn new(kind: &str, version: &str, spec: &Value) -> Body {
        let body = json!({"apiVersion": version, "kind": kind, "spec": spec});
        Body { kind: kind.to_owned(), version: version.to_owned(), json: body.to_string().into_bytes() }
    }

    /// `dsse` 0.0.1 of Rekor v1.
    pub fn dsse(payload: &[u8], signature: &[u8], signer: &Signer) -> Body {
        let envelope = super::signing::envelope(payload, signature).to_string();
        Body::new(
            "dsse",
            "0.0.1",
            &json!({
                "envelopeHash": digest(envelope.as_bytes()),
                "payloadHash": digest(payload),
                "signatures": [{"signature": encode(signature), "verifier": encode(signer.pem().as_bytes())}],
            }),
        )
    }

    /// `intoto` 0.0.2 of Rekor v1, which encodes the signature twice.
    pub fn intoto(payload: &[u8], signature: &[u8], signer: &Signer) -> Body {
        let envelope = super::signing::envelope(payload, signature).to_string();
        Body::new(
            "intoto",
            "0.0.2",
            &json!({"content": {
                "envelope": {
                    "payloadType": super::signing::PAYLOAD_TYPE,
                    "signatures": [{
                        "publicKey": encode(signer.pem().as_bytes()),
                        "sig": encode(encode(signature).as_bytes()),
                    }],
                },
                "hash": digest(envelope.as_bytes()),
                "payloadHash": digest(payload),
            }}),
        )
    }

    /// `hashedrekord` 0.0.1 of Rekor v1 over the bytes that were signed.
    pub fn hashedrekord_v1(signed: &[u8], signature: &[u8], signer: &Signer) -> Body {
        Body::new(
            "hashedrekord",
            "0.0.1",
            &json!({
                "data": {"hash": digest(signed)},
                "signature": {
                    "content": encode(signature),
                    "publicKey": {"content": encode(signer.pem().as_bytes())},
                },
            }),
        )
    }

    /// `hashedrekord` 0.0.2 of Rekor v2 over the bytes that were signed.
    pub fn hashedrekord(signed: &[u8], signature: &[u8], signer: &Signer) -> Body {
        let mut verifier = json!({"keyDetails": "PKIX_ECDSA_P256_SHA_256"});
        match signer {
            Signer::Certificate(der) => verifier["x509Certificate"] = json!({"rawBytes": encode(der)}),
            Signer::Key(der) => verifier["publicKey"] = json!({"rawBytes": encode(der)}),
        }
        Body::new(
            "hashedrekord",
            "0.0.2",
            &json!({"hashedRekordV002": {
                "data": {"algorithm": "SHA2_256", "digest": encode(&Sha256::digest(signed))},
                "signature": {"content": encode(signature), "verifier": verifier},
            }}),
        )
    }
}

fn digest(bytes: &[u8]) -> Value {
    json!({"algorithm": "sha256", "value": hex(&Sha256::digest(bytes))})
}
