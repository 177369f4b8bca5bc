//! Bundles: the file `model.sig` (Sigstore bundle, OMS 1.0).

use std::{fmt, path::Path};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    Error, ModelUri,
    code::Code,
    fs::{self, Replace},
    limits,
    shown::Shown,
};

mod envelope;
pub(crate) mod json;
mod material;
mod statement;

#[cfg(feature = "sigstore")]
pub(crate) use envelope::PAYLOAD_TYPE;
pub(crate) use envelope::{Envelope, pae};
pub(crate) use material::{Evidence, Material};
#[cfg(feature = "sigstore")]
pub(crate) use material::{LogEntry, LogProof};
pub(crate) use statement::claims_legacy;
pub use statement::{Release, Statement};

use json::Object;

/// The media type that is written.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A signature of a model as it stands in a file: what was signed, the signature, and a hint what to verify it with.
///
/// Parsed strictly and once; nothing in it is true until a policy has accepted it.
#[derive(Clone)]
pub struct Bundle {
    pub(crate) path: Option<String>,
    /// Where it was read from, where that is not a disk.
    pub(crate) remote: Option<ModelUri>,
    pub(crate) material: Material,
    pub(crate) envelope: Envelope,
    pub(crate) evidence: Evidence,
    /// Media type and material as they were read, to be written again as they are.
    read: Option<(String, Box<RawValue>)>,
}

impl Bundle {
    /// Reads and parses a bundle.
    ///
    /// # Errors
    /// `signature-absent` when there is no such file; the codes of [`Bundle::parse`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let bytes = fs::read_bounded(
            path,
            limits::BUNDLE_BYTES,
            "the signature",
            Code::SignatureAbsent,
            Code::JsonTooLarge,
        )?;
        let mut bundle = Bundle::parse(&bytes)?;
        bundle.path = Some(shown);
        Ok(bundle)
    }

    /// Parses a bundle: at most 160 MiB, 64 levels, no duplicate keys, no unknown fields, exactly one kind of material.
    ///
    /// # Errors
    /// The codes of JSON and fields; `media-type-unsupported`, `material-missing`, `material-ambiguous`,
    /// `message-signature`, `payload-type-unsupported`, `signature-count`. The payload is not parsed here.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = json::check(bytes, "the bundle")?;
        let mut bundle = Object::document(text, "")?;
        let media_type = bundle.string("mediaType")?;
        let version = media_version(&media_type)?;
        if bundle.has("messageSignature") {
            return Err(Error::new(Code::MessageSignature, "the bundle has a messageSignature"));
        }
        let written = bundle.peek("verificationMaterial").map(ToOwned::to_owned);
        let material = bundle.object("verificationMaterial")?;
        let envelope = bundle.object("dsseEnvelope")?;
        bundle.finish()?;
        let (material, evidence) = material::parse(material, version)?;
        let read = written.map(|material| (media_type.into_owned(), material));
        Ok(Bundle {
            path: None,
            remote: None,
            material,
            envelope: Envelope::parse(envelope)?,
            evidence,
            read,
        })
    }

    /// A bundle that was just signed.
    pub(crate) fn new(material: Material, envelope: Envelope) -> Self {
        Bundle { path: None, remote: None, material, envelope, evidence: Evidence::default(), read: None }
    }

    /// The same, read from this place in a store.
    pub(crate) fn at(self, uri: ModelUri) -> Self {
        Bundle { path: Some(uri.to_string()), remote: Some(uri), ..self }
    }

    /// The statement that the bundle carries. Nothing in it is proven.
    ///
    /// # Errors
    /// As [`Statement::parse`].
    pub fn unverified_statement(&self) -> Result<Statement, Error> {
        Statement::parse(self.envelope.payload.clone())
    }

    /// The signing method it claims: `key`, `certificate` or `sigstore`.
    pub fn signing_method(&self) -> &'static str {
        self.material.method()
    }

    /// The hint which key it was signed with: hex SHA-256 over the key's SPKI in PEM, as a rule. A claim, not escaped.
    pub fn hint(&self) -> Option<&str> {
        match &self.material {
            Material::Key { hint } => hint.as_deref(),
            _ => None,
        }
    }

    /// Where it was read from: a path, or a URI.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The bundle's JSON, in one line, as the OMS 1.0 schemas have it; of a bundle that was read, its media type and material
    /// are as they were.
    pub fn to_json(&self) -> String {
        let encoded = |bytes: &[u8]| envelope::encode(bytes);
        let material = match &self.material {
            Material::Key { hint } => WireMaterial {
                public_key: hint.as_deref().map(|hint| WireKey { hint }),
                ..WireMaterial::default()
            },
            Material::Certificates(chain) => WireMaterial {
                x509_certificate_chain: Some(WireChain {
                    certificates: chain
                        .iter()
                        .map(|der| WireCertificate { raw_bytes: encoded(der) })
                        .collect(),
                }),
                ..WireMaterial::default()
            },
            // Only bundles that were read have one.
            Material::Sigstore(_) => WireMaterial::default(),
        };
        let (media_type, verification_material) = match &self.read {
            Some((media_type, material)) => (media_type.as_str(), Written::Read(material)),
            None => (MEDIA_TYPE, Written::Made(material)),
        };
        serde_json::to_string(&WireBundle {
            media_type,
            verification_material,
            dsse_envelope: WireEnvelope {
                payload: encoded(&self.envelope.payload),
                payload_type: envelope::PAYLOAD_TYPE,
                signatures: [WireSignature { sig: encoded(&self.envelope.signature), keyid: "" }],
            },
        })
        .unwrap_or_default()
    }

    /// Writes the bundle to a file, whole or not at all: beside it, synced, renamed.
    ///
    /// # Errors
    /// `output-exists` when `replace` does not allow what stands there; `disk-full`, `permission-denied`, `io-failed`.
    pub fn write(&self, path: impl AsRef<Path>, replace: Replace) -> Result<(), Error> {
        fs::write_whole(path.as_ref(), self.to_json().as_bytes(), replace, fs::PUBLIC)
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("path", &self.path)
            .field("method", &self.signing_method())
            .finish_non_exhaustive()
    }
}

/// The version of the bundle format behind its media type: 1, 2 or 3 for 0.1, 0.2, 0.3.
fn media_version(media_type: &str) -> Result<u8, Error> {
    match media_type {
        "application/vnd.dev.sigstore.bundle+json;version=0.1" => Ok(1),
        "application/vnd.dev.sigstore.bundle+json;version=0.2" => Ok(2),
        "application/vnd.dev.sigstore.bundle+json;version=0.3" | MEDIA_TYPE => Ok(3),
        other => Err(Error::new(
            Code::MediaTypeUnsupported,
            format!("the media type {:?} is not that of a bundle", Shown(other)),
        )),
    }
}

/// The bundle as it is written (OMS schemas: no further fields).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireBundle<'a> {
    media_type: &'a str,
    verification_material: Written<'a>,
    dsse_envelope: WireEnvelope,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Read(&'a RawValue),
    Made(WireMaterial<'a>),
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireMaterial<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<WireKey<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<WireChain>,
    tlog_entries: [(); 0],
}

#[derive(Serialize)]
struct WireKey<'a> {
    hint: &'a str,
}

#[derive(Serialize)]
struct WireChain {
    certificates: Vec<WireCertificate>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireCertificate {
    raw_bytes: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireEnvelope {
    payload: String,
    payload_type: &'static str,
    signatures: [WireSignature; 1],
}

#[derive(Serialize)]
struct WireSignature {
    sig: String,
    keyid: &'static str,
}
