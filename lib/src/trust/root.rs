//! The trusted root: a file of Sigstore's (`trusted_root.json`), read strictly.

use std::{fmt, path::Path};

use serde::Serialize;
use sigstore_verify::trust_root as family;

use crate::{Error, bundle::json, code::Code, fs, limits, shown::Shown};

/// The media types of trusted roots.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// The media type of the file that holds a trusted root and a signing configuration.
const TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";

/// The keys and certificates that Sigstore bundles are verified with, and where they came from.
#[derive(Clone)]
pub struct TrustedRoot {
    pub(crate) family: family::TrustedRoot,
    pub(crate) origin: RootOrigin,
}

/// Where a trusted root came from, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootOrigin {
    /// Who gave it.
    pub source: RootSource,
    /// The file, or the instance: `public-good`, `staging`, or a mirror's URL.
    pub name: String,
    /// When its repository last said that it is current, in seconds since 1970; none of a file that was given.
    pub as_of: Option<i64>,
    /// When the first of its repository's signed roles expires, in seconds since 1970; none of a file that was given.
    pub expires: Option<i64>,
}

/// Who gave a trusted root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RootSource {
    /// The caller.
    Given,
    /// The cache, where an earlier run had put it.
    Cache,
    /// This build.
    Embedded,
}

impl TrustedRoot {
    /// Parses a trusted root, or takes the one of a trust configuration (`ClientTrustConfig`). At most 1 MiB.
    ///
    /// # Errors
    /// `trust-root-invalid` when it is not JSON of a known version, or lacks authorities or logs: with those nothing could
    /// ever be verified.
    pub fn parse(bytes: &[u8], origin: RootOrigin) -> Result<Self, Error> {
        let invalid = |what: String| {
            Error::new(Code::TrustRootInvalid, format!("the trusted root {} {what}", Shown(&origin.name)))
        };
        if bytes.len() as u64 > limits::KEY_BYTES {
            return Err(invalid(format!("is larger than {} bytes", limits::KEY_BYTES)));
        }
        let text = json::check(bytes, "it").map_err(|error| invalid(format!("cannot be read: {error}")))?;
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| invalid(format!("cannot be read: {error}")))?;
        let media_type = |value: &serde_json::Value| {
            value.get("mediaType").and_then(|text| text.as_str()).unwrap_or_default().to_owned()
        };
        let value = match media_type(&value) {
            combined if combined == TRUST_CONFIG => value
                .get("trustedRoot")
                .cloned()
                .ok_or_else(|| invalid("is a trust configuration without a trusted root".to_owned()))?,
            _ => value,
        };
        let version = media_type(&value);
        if !MEDIA_TYPES.contains(&version.as_str()) {
            return Err(invalid(format!(
                "has the media type {:?}, which is none of a trusted root",
                Shown(&version)
            )));
        }
        let family: family::TrustedRoot =
            serde_json::from_value(value).map_err(|error| invalid(format!("cannot be read: {error}")))?;
        if family.certificate_authorities.is_empty()
            && family.timestamp_authorities.is_empty()
            && family.tlogs.is_empty()
        {
            return Err(invalid("is empty".to_owned()));
        }
        // Whatever the library refuses of it is told here and not with the first bundle.
        sigstore_verify::Verifier::new(&family)
            .map_err(|error| invalid(format!("cannot be used: {error}")))?;
        Ok(TrustedRoot { family, origin })
    }

    /// Reads a trusted root, or a trust configuration, from a file.
    ///
    /// # Errors
    /// `trust-root-absent` when there is no such file; the codes of [`TrustedRoot::parse`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = fs::read_bounded(
            path,
            limits::KEY_BYTES,
            "the trusted root",
            Code::TrustRootAbsent,
            Code::TrustRootInvalid,
        )?;
        TrustedRoot::parse(&bytes, RootOrigin::given(path.display().to_string()))
    }

    /// Where it came from.
    pub fn origin(&self) -> &RootOrigin {
        &self.origin
    }
}

impl RootOrigin {
    /// A file that the caller gave.
    pub fn given(name: impl Into<String>) -> Self {
        RootOrigin { source: RootSource::Given, name: name.into(), as_of: None, expires: None }
    }
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedRoot").field(&self.origin).finish()
    }
}
