//! The one error type: a [`Finding`] that stopped the run, and what caused it.

use std::{error::Error as StdError, fmt, io};

use crate::{
    code::{Class, Code},
    report::Finding,
    shown::Shown,
};

/// Why a call did not succeed: a code with its class and help, what happened and where, and the cause.
///
/// `Display` says what and where, in lower case; [`Error::help`] says how to put it right; the cause is in
/// [`source`](StdError::source) and is not repeated in the text.
pub struct Error(Box<Inner>);

struct Inner {
    finding: Finding,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this code; `what` says what happened and where, with outside names already [`Shown`].
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Finding::new(code, what).into()
    }

    /// An error about a path, by what the operating system said.
    ///
    /// A missing file becomes `absent`, the code that fits what the path was for.
    pub fn io(what: &str, path: impl fmt::Display, error: io::Error, absent: Code) -> Self {
        let path = path.to_string();
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => absent,
            io::ErrorKind::PermissionDenied => Code::PermissionDenied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Code::DiskFull
            }
            _ => Code::IoFailed,
        };
        let mut inner = Inner {
            finding: Finding::new(code, format!("cannot {what} {}: {}", Shown(&path), os_text(&error))),
            source: None,
        };
        inner.source = Some(Box::new(error));
        Error(Box::new(inner))
    }

    /// The same error with a help of its own instead of the code's.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.finding.help = Some(help.into());
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same error, about this resource or file.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.0.finding.name = Some(name.into());
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.finding.code
    }

    /// The class, which decides the exit code.
    pub fn class(&self) -> Class {
        self.code().class()
    }

    /// How to put it right.
    pub fn help(&self) -> &str {
        self.0.finding.help()
    }

    /// The error as a finding for a report.
    pub fn finding(&self) -> &Finding {
        &self.0.finding
    }

    /// The error as a finding for a report, without its cause.
    pub fn into_finding(self) -> Finding {
        self.0.finding
    }
}

/// What the operating system said, without Rust's "(os error N)".
fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        Error(Box::new(Inner { finding, source: None }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.finding.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code())
            .field("what", &self.0.finding.what)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
