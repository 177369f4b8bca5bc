//! Models in the Hugging Face Hub.

use std::fmt;

use super::{Entry, Shape, Source, uri::HubUri};
use crate::{Error, Replace, Run, code::Code};

/// How the Hugging Face Hub are reached.
#[derive(Clone, Debug, Default)]
pub struct HubOptions {
    /// Whether servers may be spoken to without TLS.
    pub(crate) allow_http: bool,
    /// Roots for TLS besides those of the system, in PEM.
    pub(crate) tls_ca: Option<Vec<u8>>,
}

impl HubOptions {
    #[allow(missing_docs)]
    #[must_use]
    pub fn endpoint(self, _: &str) -> Self {
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub fn token_host(self, _: &str) -> Self {
        self
    }
}

/// A model in the Hugging Face Hub.
#[derive(Debug)]
pub struct Hub {
    uri: HubUri,
}

impl Hub {
    /// Opens a model.
    ///
    /// # Errors
    /// `model-absent`, `access-denied`, `service-failed`, `transport-insecure`.
    pub fn open(uri: &HubUri, options: &HubOptions, run: &Run) -> Result<Self, Error> {
        let _ = (options, run);
        Ok(Hub { uri: uri.clone() })
    }

    /// Where it is, with the commit.
    pub(crate) fn uri(&self) -> &HubUri {
        &self.uri
    }

    /// Reads one small file whole; none where there is none.
    pub(crate) fn read_file(
        uri: &HubUri,
        options: &HubOptions,
        limit: u64,
        run: &Run,
    ) -> Result<Option<Vec<u8>>, Error> {
        let _ = (uri, options, limit, run);
        Err(Error::new(Code::FeatureMissing, "not yet"))
    }

    /// Writes one small file; `output-exists` where there is one already that may not be replaced.
    pub(crate) fn write_file(
        uri: &HubUri,
        options: &HubOptions,
        bytes: Vec<u8>,
        replace: Replace,
        run: &Run,
    ) -> Result<(), Error> {
        let _ = (uri, options, bytes, replace, run);
        Err(Error::new(Code::FeatureMissing, "not yet"))
    }
}

impl Source for Hub {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        let _ = (run, each);
        Err(Error::new(Code::FeatureMissing, "not yet"))
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        let _ = (entry, offset, buf, run);
        Err(Error::new(Code::FeatureMissing, "not yet"))
    }

    fn shape(&self) -> Shape {
        Shape::REMOTE
    }

    fn base_name(&self) -> String {
        self.uri.to_string()
    }
}

impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}
