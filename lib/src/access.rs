//! How stores are reached, and what is read from and written to them besides models.

#[cfg(any(feature = "hub", feature = "s3"))]
use crate::limits;
use crate::{
    Bundle, Error, Local, ModelUri, PUBLIC, Replace, Run, check_writable,
    code::{Class, Code},
    shown::Shown,
    source::Source,
    write_whole,
};
use std::path::PathBuf;

#[cfg(feature = "hub")]
use crate::{Hub, HubOptions};
#[cfg(feature = "s3")]
use crate::{S3, S3Options};

/// Where a model was found.
pub(crate) enum Opened {
    /// In a folder on disk, in the cache of the Hub's own client; and where it is on the Hub.
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only the Hub has a cache"))]
    InCache(PathBuf, ModelUri),
    /// In its store, and where there for good.
    InStore(Box<dyn Source>, ModelUri),
}

/// How stores are reached: credentials, addresses, roots of TLS.
///
/// A new one takes what the environment and the usual files of each store's own tools say, speaks TLS only, and trusts the
/// system's roots.
#[derive(Clone, Debug, Default)]
pub struct Access {
    #[cfg(feature = "s3")]
    s3: S3Options,
    #[cfg(feature = "hub")]
    hub: HubOptions,
}

impl Access {
    /// What the environment says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether servers may be spoken to without TLS.
    #[must_use]
    pub fn allow_http(mut self, allow: bool) -> Self {
        #[cfg(feature = "s3")]
        {
            self.s3.allow_http = allow;
        }
        #[cfg(feature = "hub")]
        {
            self.hub.allow_http = allow;
        }
        let _ = (&mut self, allow);
        self
    }

    /// Trusts these roots for TLS as well, in PEM: those of a private authority.
    #[must_use]
    pub fn tls_ca(mut self, pem: &[u8]) -> Self {
        #[cfg(feature = "s3")]
        {
            self.s3.tls_ca = Some(pem.to_vec());
        }
        #[cfg(feature = "hub")]
        {
            self.hub.tls_ca = Some(pem.to_vec());
        }
        let _ = (&mut self, pem);
        self
    }

    /// What else to know of S3. What is said here of TLS counts for all stores.
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn s3(mut self, mut options: S3Options) -> Self {
        options.allow_http |= self.s3.allow_http;
        options.tls_ca = self.s3.tls_ca.or(options.tls_ca);
        self.s3 = options;
        self
    }

    /// What else to know of the Hub; says nothing of TLS.
    #[cfg(feature = "hub")]
    #[must_use]
    pub fn hub(mut self, options: HubOptions) -> Self {
        let HubOptions { allow_http, tls_ca, .. } = self.hub;
        self.hub = options;
        (self.hub.allow_http, self.hub.tls_ca) = (allow_http, tls_ca);
        self
    }

    /// Opens the store of a model, and says where it is for good: on the Hub, in which commit.
    ///
    /// # Errors
    /// `model-absent`, `access-denied`, `service-failed`, `transport-insecure`; `feature-missing`.
    pub(crate) fn open(&self, uri: &ModelUri, run: &Run) -> Result<Opened, Error> {
        let _ = run;
        let source: Box<dyn Source> = match uri {
            ModelUri::Path(path) => Box::new(Local::open(path)?),
            #[cfg(feature = "s3")]
            ModelUri::S3(uri) => Box::new(S3::open(uri, &self.s3, run)?),
            #[cfg(feature = "hub")]
            ModelUri::Hub(uri) => {
                if self.hub.is_offline() {
                    let absent = || Error::new(Code::ModelAbsent, format!("{uri} is not in the Hub's cache"));
                    let cached = Hub::cached(uri, &self.hub, run)?;
                    let uri = ModelUri::Hub(uri.clone());
                    return cached.map(|folder| Opened::InCache(folder, uri)).ok_or_else(absent);
                }
                let hub = Hub::open(uri, &self.hub, run)?;
                let pinned = ModelUri::Hub(hub.uri().clone());
                if let Some(snapshot) = hub.snapshot() {
                    return Ok(Opened::InCache(snapshot, pinned));
                }
                return Ok(Opened::InStore(Box::new(hub), pinned));
            }
            #[allow(unreachable_patterns, reason = "with all features there is no other")]
            other => return Err(missing(other)),
        };
        Ok(Opened::InStore(source, uri.clone()))
    }

    /// Reads a signature, wherever it is.
    ///
    /// # Errors
    /// `signature-absent` where there is none; those of [`Bundle::read`]; `access-denied`, `service-failed`,
    /// `transport-insecure`, `feature-missing`.
    pub fn read_bundle(&self, uri: &ModelUri, run: &Run) -> Result<Bundle, Error> {
        let _ = run;
        #[allow(unused_variables, reason = "without a feature no store is left")]
        let bytes = match uri {
            ModelUri::Path(path) => return Bundle::read(path),
            #[cfg(feature = "s3")]
            ModelUri::S3(uri) => S3::read_file(uri, &self.s3, limits::BUNDLE_BYTES, run)?,
            #[cfg(feature = "hub")]
            ModelUri::Hub(uri) => Hub::read_file(uri, &self.hub, limits::BUNDLE_BYTES, run)?,
            #[allow(unreachable_patterns, reason = "with all features there is no other")]
            other => return Err(missing(other)),
        };
        #[allow(unreachable_code, reason = "without a feature no store is left")]
        let bytes: Option<Vec<u8>> = bytes;
        let absent = || Error::new(Code::SignatureAbsent, format!("there is no signature at {uri}"));
        Ok(Bundle::parse(&bytes.ok_or_else(absent)?)?.at(uri.clone()))
    }

    /// Whether a signature could be written there: asked before the long work, so that it is not done in vain.
    ///
    /// # Errors
    /// As [`write_bundle`](Access::write_bundle).
    pub fn check_writable(&self, uri: &ModelUri, replace: Replace, run: &Run) -> Result<(), Error> {
        let there = match (uri, replace) {
            (ModelUri::Path(path), _) => return check_writable(path, replace),
            (_, Replace::Anything) => return Ok(()),
            _ => self.read_bundle(uri, run),
        };
        let exists = |what: &str| {
            Err(Error::new(
                Code::OutputExists,
                format!("{}: there is {what} already", Shown(&uri.to_string())),
            ))
        };
        match (there, replace) {
            (Err(error), _) if error.code() == Code::SignatureAbsent => Ok(()),
            (Ok(_), Replace::Signature) => Ok(()),
            (Ok(_), _) => exists("a signature"),
            (Err(error), _) if error.class() == Class::Rejected => exists("something that is no signature"),
            (Err(error), _) => Err(error),
        }
    }

    /// Writes a signature, wherever it is to be.
    ///
    /// # Errors
    /// `output-exists` where there is something that may not be replaced; those of [`write_whole`]; `access-denied`,
    /// `service-failed`, `transport-insecure`, `feature-missing`.
    pub fn write_bundle(
        &self,
        bundle: &Bundle,
        uri: &ModelUri,
        replace: Replace,
        run: &Run,
    ) -> Result<(), Error> {
        let _ = run;
        let bytes = bundle.to_json().into_bytes();
        match uri {
            ModelUri::Path(path) => write_whole(path, &bytes, replace, PUBLIC),
            #[cfg(feature = "s3")]
            ModelUri::S3(uri) => S3::write_file(uri, &self.s3, bytes, replace, run),
            #[cfg(feature = "hub")]
            ModelUri::Hub(uri) => Hub::write_file(uri, &self.hub, bytes, replace, run),
            #[allow(unreachable_patterns, reason = "with all features there is no other")]
            other => Err(missing(other)),
        }
    }
}

#[allow(dead_code, reason = "with all features nothing is missing")]
fn missing(uri: &ModelUri) -> Error {
    let (scheme, feature) = match uri {
        ModelUri::Hub(_) => ("hf", "hub"),
        _ => ("s3", "s3"),
    };
    Error::new(Code::FeatureMissing, format!("{scheme}:// needs the feature \"{feature}\" of this library"))
}
