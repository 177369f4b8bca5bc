//! The trusted root: a file of Sigstore's (`trusted_root.json`), read strictly.

use std::{fmt, path::Path, time::Duration};

use sigstore_verify::trust_root as family;

use crate::{
    Error, Run,
    bundle::json,
    code::Code,
    fs, limits,
    report::{Finding, RootOrigin},
    shown::Shown,
};

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
    /// How old it may be, by the caller's word.
    max_age: Option<Duration>,
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
        Ok(TrustedRoot { family, origin, max_age: None })
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

    /// The same, with which nothing is verified when it was last known to be current longer ago than this.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Whether it is young enough to be used; what a reader should know of its age.
    ///
    /// # Errors
    /// `clock-wrong`; `trust-root-stale` when its age is more than `most`, or is not known.
    pub(crate) fn fresh(&self, most: Option<Duration>, run: &Run) -> Result<Vec<String>, Finding> {
        super::check_clock(run).map_err(Error::into_finding)?;
        let now = run.now_unix();
        if let Some(most) = most.into_iter().chain(self.max_age).min() {
            let age = self.origin.as_of.map(|time| now.saturating_sub(time));
            if age.is_none_or(|age| age > i64::try_from(most.as_secs()).unwrap_or(i64::MAX)) {
                let days = |seconds: i64| format!("{} days", seconds / 86_400);
                let old = age.map_or("of unknown age".to_owned(), |age| format!("{} old", days(age)));
                let what = format!(
                    "the trusted root {} is {old}, and {} are allowed",
                    Shown(&self.origin.name),
                    days(i64::try_from(most.as_secs()).unwrap_or(i64::MAX))
                );
                return Err(Finding::new(Code::TrustRootStale, what));
            }
        }
        let stale = self.origin.staleness(now).map(|text| format!("{}: {text}", Code::TrustRootStale));
        Ok(stale.into_iter().collect())
    }

    /// Where it came from.
    pub fn origin(&self) -> &RootOrigin {
        &self.origin
    }
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedRoot").field(&self.origin).finish()
    }
}
