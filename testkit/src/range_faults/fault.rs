//! What can go wrong, and where.

use std::time::Duration;

use crate::http::Request;

/// How a server goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeFault {
    /// The last byte is missing, and the length in the head is right for what comes.
    ShortBody,
    /// One byte more than was asked for, in chunks, whose head announces no length.
    LongBody,
    /// What was asked for, and then zeros without an end, in chunks.
    EndlessBody,
    /// The bytes from one further on, and a `Content-Range` that says so; at the end of the object, from one before.
    WrongRange,
    /// 200 with as much as the whole object has: what was asked for in its place, zeros around it.
    Whole200,
    /// The right bytes of an object that is said to be another one, after so many right answers.
    OtherEtag {
        /// How many answers are right.
        after: usize,
    },
    /// The right bytes of an object that is said to be one byte larger than it is.
    OtherSize,
    /// The byte in the middle is another one.
    WrongBytes,
    /// Sends so many bytes of the body and then nothing, on an open connection.
    StallAfter {
        /// How many bytes come.
        bytes: u64,
    },
    /// Announces everything, sends so many bytes of the body and closes, so many times; is then right.
    CutAfter {
        /// How many bytes come.
        bytes: u64,
        /// How many answers are cut.
        times: usize,
    },
    /// Sends to another place.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        code: u16,
        /// What the path of the request is put after.
        to: String,
    },
    /// 307 to where it was asked, each time.
    EndlessRedirect,
    /// Answers so, so many times; is then right.
    Status {
        /// The code, like 503.
        code: u16,
        /// How many requests get it.
        times: usize,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u64>,
        /// XML where it begins with `<`, JSON where it begins with a brace.
        body: String,
    },
    /// S3's 503 `SlowDown`, so many times; is then right.
    SlowDown {
        /// How many requests get it.
        times: usize,
    },
    /// S3's 400 `ExpiredToken`, after so many right answers.
    ExpiredToken {
        /// How many answers are right.
        after: usize,
    },
    /// S3's 403 `RequestTimeTooSkewed` with a `Date` years from now, each time.
    ClockSkew,
    /// Compressed, and says so, though nobody asked.
    Gzip,
    /// A header of this value in place of the right one, or none of this name.
    Header {
        /// Its name.
        name: String,
        /// Its value; nothing leaves it out.
        value: Option<String>,
    },
    /// Waits, then answers rightly.
    Delay(Duration),
    /// Right, and all bodies together no faster than this.
    Throttle {
        /// How fast.
        bytes_per_second: u64,
    },
    /// Right; only records.
    Pass,
}

impl RangeFault {
    /// This code with an error of S3, each time.
    pub fn status(code: u16) -> RangeFault {
        RangeFault::Status { code, times: usize::MAX, retry_after: None, body: s3_error("Test") }
    }

    /// Another value for a header, or none.
    pub fn header(name: &str, value: Option<&str>) -> RangeFault {
        RangeFault::Header { name: name.to_owned(), value: value.map(str::to_owned) }
    }

    /// Whether it comes with a request before which there were so many.
    pub(super) fn comes(&self, before: usize) -> bool {
        match self {
            RangeFault::OtherEtag { after } | RangeFault::ExpiredToken { after } => before >= *after,
            RangeFault::CutAfter { times, .. }
            | RangeFault::Status { times, .. }
            | RangeFault::SlowDown { times } => before < *times,
            _ => true,
        }
    }
}

/// The body of S3's error of this code.
pub(super) fn s3_error(code: &str) -> String {
    let head = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    format!("{head}\n<Error><Code>{code}</Code><Message>a test of {code}</Message></Error>")
}

/// Which requests a fault comes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    which: Which,
    suffix: Option<String>,
    query: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Ranges,
    Gets,
    Heads,
    All,
}

impl Scope {
    fn new(which: Which) -> Scope {
        Scope { which, suffix: None, query: None }
    }

    /// GETs with a `Range`.
    pub fn ranges() -> Scope {
        Scope::new(Which::Ranges)
    }

    /// GETs, with a `Range` or without.
    pub fn gets() -> Scope {
        Scope::new(Which::Gets)
    }

    /// HEADs.
    pub fn heads() -> Scope {
        Scope::new(Which::Heads)
    }

    /// Everything.
    pub fn everything() -> Scope {
        Scope::new(Which::All)
    }

    /// Of these, those whose path ends so. What follows a question mark is no part of it.
    #[must_use]
    pub fn suffix(self, suffix: &str) -> Scope {
        Scope { suffix: Some(suffix.to_owned()), ..self }
    }

    /// Of these, those whose query, what follows the question mark, has this in it: `list-type=2` is a listing.
    #[must_use]
    pub fn query(self, part: &str) -> Scope {
        Scope { query: Some(part.to_owned()), ..self }
    }

    pub(super) fn chooses(&self, request: &Request) -> bool {
        let which = match self.which {
            Which::Ranges => request.method == "GET" && request.header("range").is_some(),
            Which::Gets => request.method == "GET",
            Which::Heads => request.method == "HEAD",
            Which::All => true,
        };
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let suffix = self.suffix.as_ref().is_none_or(|suffix| path.ends_with(suffix));
        which && suffix && self.query.as_ref().is_none_or(|part| query.contains(part))
    }
}
