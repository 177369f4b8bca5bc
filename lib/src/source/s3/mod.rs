//! Models in S3, and stores that speak its protocol.

use std::fmt;

use super::{Entry, Shape, Source, uri::S3Uri};
use crate::{Error, Replace, Run, code::Code};

/// How S3, and stores that speak its protocol are reached.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// Whether servers may be spoken to without TLS.
    pub(crate) allow_http: bool,
    /// Roots for TLS besides those of the system, in PEM.
    pub(crate) tls_ca: Option<Vec<u8>>,
}

impl S3Options {
    #[allow(missing_docs)]
    #[must_use]
    pub fn endpoint_url(self, _: &str) -> Self {
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub fn region(self, _: &str) -> Self {
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub fn profile(self, _: &str) -> Self {
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub fn require_sse_kms(self, _: &str) -> Self {
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub fn path_style(self, _: bool) -> Self {
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub fn anonymous(self, _: bool) -> Self {
        self
    }

    #[allow(missing_docs)]
    pub fn sse_c_key(self, _: &[u8]) -> Result<Self, Error> {
        Ok(self)
    }
}

/// A model in S3, and stores that speak its protocol.
#[derive(Debug)]
pub struct S3 {
    uri: S3Uri,
}

impl S3 {
    /// Opens a model.
    ///
    /// # Errors
    /// `model-absent`, `access-denied`, `service-failed`, `transport-insecure`.
    pub fn open(uri: &S3Uri, options: &S3Options, run: &Run) -> Result<Self, Error> {
        let _ = (options, run);
        Ok(S3 { uri: uri.clone() })
    }

    /// Reads one small file whole; none where there is none.
    pub(crate) fn read_file(
        uri: &S3Uri,
        options: &S3Options,
        limit: u64,
        run: &Run,
    ) -> Result<Option<Vec<u8>>, Error> {
        let _ = (uri, options, limit, run);
        Err(Error::new(Code::FeatureMissing, "not yet"))
    }

    /// Writes one small file; `output-exists` where there is one already that may not be replaced.
    pub(crate) fn write_file(
        uri: &S3Uri,
        options: &S3Options,
        bytes: Vec<u8>,
        replace: Replace,
        run: &Run,
    ) -> Result<(), Error> {
        let _ = (uri, options, bytes, replace, run);
        Err(Error::new(Code::FeatureMissing, "not yet"))
    }
}

impl Source for S3 {
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

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}
