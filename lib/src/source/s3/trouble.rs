//! What a store said when it did not do what it was asked: whether to ask again, and what to tell.

use std::{
    error::Error as StdError,
    fmt,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::{DateTime, DateTimeFormat},
};

use super::wire::Insecure;
use crate::{Error, code::Code, shown::Shown, words};

/// Runs of letters and digits of this length in a store's words are secrets or identify nothing that helps: keys,
/// signatures, session tokens.
const SECRET_CHARS: usize = 40;

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) struct Trouble {
    kind: Kind,
    /// What happened, safe to show.
    told: String,
    /// The status of the answer, where there was one.
    status: Option<u16>,
    /// The store's own code for it.
    code: String,
    /// The region that the bucket is in, where the store said so.
    region: Option<String>,
    /// How long the store asked to wait.
    pub(super) after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The store answered with an error.
    Answer,
    /// No answer, or one that was cut or stalled.
    Transport,
    /// No answer, since its certificate was refused.
    Certificate,
    /// Nothing was sent, since there are no credentials.
    NoCredentials,
    /// Nothing was sent, since it would have been without TLS.
    Insecure,
    /// An answer that says what cannot be.
    Nonsense,
}

impl Trouble {
    /// What the vendor's client says.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match error.raw_response() {
            Some(raw) => Trouble::answered(error, raw),
            None => Trouble::unanswered(error),
        }
    }

    fn answered<E>(error: &SdkError<E, HttpResponse>, raw: &HttpResponse) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let header = |name: &str| raw.headers().get(name);
        let status = raw.status().as_u16();
        if raw.status().is_success() {
            let told =
                format!("gave an answer that cannot be used: {}", said(&words::cause(innermost(error))));
            return Trouble { kind: Kind::Nonsense, status: Some(status), ..Trouble::new(told) };
        }
        let code = error.code().filter(|code| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_graphic()));
        let code = code.unwrap_or_default().to_owned();
        let mut told = format!("the store answered {status}");
        if !code.is_empty() {
            told.push_str(&format!(" {}", Shown(&code)));
        }
        if let Some(message) = error.message().filter(|message| !message.is_empty() && *message != code) {
            told.push_str(&format!(": {}", said(message).trim_end_matches('.')));
        }
        if (300..400).contains(&status) {
            told.push_str(", a redirect, which is not followed");
        }
        Trouble {
            kind: Kind::Answer,
            status: Some(status),
            code,
            region: header("x-amz-bucket-region").filter(|region| is_region(region)).map(str::to_owned),
            after: header("retry-after").and_then(|text| asked(text, SystemTime::now())),
            ..Trouble::new(told)
        }
    }

    fn unanswered(error: &(dyn StdError + 'static)) -> Self {
        let chain =
            || std::iter::successors(Some(error), |error: &&(dyn StdError + 'static)| (*error).source());
        let text = said(&words::cause(innermost(error)));
        let kind = if chain().any(|cause| cause.is::<Insecure>()) {
            Kind::Insecure
        } else if chain().any(|cause| cause.to_string().to_ascii_lowercase().contains("credential")) {
            Kind::NoCredentials
        } else if ["certificate", "UnknownIssuer"].iter().any(|word| text.contains(word)) {
            Kind::Certificate
        } else {
            Kind::Transport
        };
        let told = match kind {
            Kind::Insecure => text,
            // Where each place was empty, a list of all places helps nobody.
            Kind::NoCredentials if text.contains("no credentials found in chain") => {
                "there are no credentials to ask with".to_owned()
            }
            Kind::NoCredentials => format!("there are no credentials to ask with: {text}"),
            _ => format!("the store cannot be reached: {text}"),
        };
        Trouble { kind, ..Trouble::new(told) }
    }

    fn new(told: String) -> Self {
        Trouble { kind: Kind::Transport, told, status: None, code: String::new(), region: None, after: None }
    }

    /// The connection failed in the middle of an answer, or the answer stopped coming: what the store did.
    pub(super) fn cut(told: &str) -> Self {
        Trouble::new(format!("the store {told}"))
    }

    /// An answer that says what cannot be: what the store did, safe to show.
    pub(super) fn nonsense(told: &str) -> Self {
        Trouble { kind: Kind::Nonsense, ..Trouble::new(format!("the store {told}")) }
    }

    /// Whether another attempt may do better.
    pub(super) fn is_passing(&self) -> bool {
        let passing = ["RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling"];
        match self.kind {
            Kind::Transport => true,
            // 501 and 505 are about the request as such.
            Kind::Answer => {
                matches!(self.status, Some(429 | 500 | 502..=504 | 506..=599))
                    || passing.contains(&self.code.as_str())
            }
            _ => false,
        }
    }

    /// Whether this machine's clock is to blame. The vendor's client learns the difference from such an answer.
    pub(super) fn is_skewed(&self) -> bool {
        self.code == "RequestTimeTooSkewed"
    }

    /// Whether the time of the credentials is over, so that others may do better.
    pub(super) fn is_expired(&self) -> bool {
        ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"].contains(&self.code.as_str())
    }

    /// Whether there is no such object.
    pub(super) fn is_absent(&self) -> bool {
        self.status == Some(404) && ["NoSuchKey", "NotFound", ""].contains(&self.code.as_str())
    }

    /// Whether access was refused, for whatever reason.
    pub(super) fn is_denied(&self) -> bool {
        self.kind == Kind::Answer
            && matches!(self.status, Some(401 | 403))
            && !self.is_expired()
            && !self.is_skewed()
    }

    /// Whether what stands there is not what was asked for: another ETag, fewer bytes.
    pub(super) fn is_another(&self) -> bool {
        matches!(self.status, Some(412 | 416))
    }

    /// Whether a write was refused for what stands there, or is being written there.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.status, Some(409 | 412))
    }

    /// The error; `what` is what was asked about, safe to show, and `region` the one that was asked.
    pub(super) fn error(&self, what: impl fmt::Display, region: &str) -> Error {
        let elsewhere = self
            .region
            .as_deref()
            .filter(|actual| *actual != region && matches!(self.status, Some(301 | 307 | 400)));
        if let Some(actual) = elsewhere {
            let told =
                format!("{what}: the bucket is in the region {actual}, and {} was asked", Shown(region));
            return Error::new(Code::ServiceFailed, told).with_help(format!("set AWS_REGION={actual}"));
        }
        let (code, help) = self.verdict();
        let error = Error::new(code, format!("{what}: {}", self.told));
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }

    fn verdict(&self) -> (Code, Option<&'static str>) {
        match self.kind {
            Kind::Insecure => return (Code::TransportInsecure, None),
            Kind::NoCredentials => {
                let help = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or give the machine a role; \
                            public buckets are read without credentials where that is asked for";
                return (Code::AccessDenied, Some(help));
            }
            Kind::Certificate if self.told.contains("CaUsedAsEndEntity") => {
                let help = "its certificate is that of an authority itself: give the store one that the authority issued";
                return (Code::ServiceFailed, Some(help));
            }
            Kind::Certificate => {
                let help = "give the root certificate of the authority that the store's is of (AWS_CA_BUNDLE, --tls-ca FILE)";
                return (Code::ServiceFailed, Some(help));
            }
            Kind::Transport | Kind::Nonsense => return (Code::ServiceFailed, None),
            Kind::Answer => {}
        }
        match (self.code.as_str(), self.status) {
            ("NoSuchBucket", _) => {
                (Code::ModelAbsent, Some("check the name of the bucket, and the endpoint"))
            }
            ("RequestTimeTooSkewed", _) => {
                (Code::ServiceFailed, Some("set this machine's clock: it differs too much from the store's"))
            }
            ("InvalidObjectState", _) => {
                (Code::ServiceFailed, Some("restore the object from its archive, and try again"))
            }
            _ if self.is_expired() => {
                (Code::AccessDenied, Some("the credentials' time is over: get new ones"))
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidClientTokenId", _) => {
                (Code::AccessDenied, Some("check the credentials, and that they are of this store"))
            }
            (_, Some(401 | 403)) => (Code::AccessDenied, None),
            (_, Some(400)) => {
                let help = "check the endpoint and the region; an object that is encrypted with a customer's key (SSE-C) \
                            needs that key";
                (Code::ServiceFailed, Some(help))
            }
            _ => (Code::ServiceFailed, None),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

/// The error below the layers that say only that a request was to be sent.
fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        let layer = error.to_string();
        if !matches!(
            layer.as_str(),
            "dispatch failure"
                | "io error"
                | "timeout"
                | "other"
                | "user error"
                | "request has timed out"
                | "response error"
                | "service error"
                | "unhandled error"
                | "failed to construct request"
        ) {
            break;
        }
        error = source;
    }
    error
}

/// A store's words without what may be secret.
fn said(text: &str) -> String {
    let secret = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut out = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(secret) {
        let (before, run) = rest.split_at(begin);
        let (run, after) = run.split_at(run.find(|c: char| !secret(c)).unwrap_or(run.len()));
        out.push_str(before);
        out.push_str(if run.len() >= SECRET_CHARS { "[left out]" } else { run });
        rest = after;
    }
    out.push_str(rest);
    words::guarded(&out)
}

/// Whether a text can be the name of a region: letters, digits and hyphens.
pub(super) fn is_region(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `Retry-After`: seconds, or a date.
fn asked(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::from_str(text.trim(), DateTimeFormat::HttpDate).ok()?;
    Some(SystemTime::try_from(date).ok()?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{error::ErrorMetadata, operation::get_object::GetObjectError, primitives::SdkBody};

    use super::*;

    #[test]
    fn a_stores_words_are_told_without_what_may_be_secret() {
        let key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
        let text = format!("Access Denied for Signature={}, key {key}, at s3:GetObject", "0f".repeat(32));
        assert_eq!(said(&text), "Access Denied for [left out], key [left out], at s3:GetObject");
        assert_eq!(
            said("bucket my-models/llama\n::error"),
            "bucket my-models/llama :\\u{3a}error".replace(" :", "\\n:")
        );
    }

    fn answer(status: u16, code: &str, headers: &[(&'static str, &'static str)]) -> Trouble {
        let mut raw = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        for (name, value) in headers {
            raw.headers_mut().insert(*name, *value);
        }
        let meta = ErrorMetadata::builder().code(code).message(format!("a test of {code}.")).build();
        Trouble::of(&SdkError::service_error(GetObjectError::generic(meta), raw))
    }

    #[test]
    fn answers_have_their_codes() {
        for (status, code, expected, passing) in [
            (503, "SlowDown", Code::ServiceFailed, true),
            (429, "", Code::ServiceFailed, true),
            (400, "RequestTimeout", Code::ServiceFailed, true),
            (501, "NotImplemented", Code::ServiceFailed, false),
            (400, "InvalidRequest", Code::ServiceFailed, false),
            (400, "ExpiredToken", Code::AccessDenied, false),
            (403, "AccessDenied", Code::AccessDenied, false),
            (403, "InvalidObjectState", Code::ServiceFailed, false),
            (403, "RequestTimeTooSkewed", Code::ServiceFailed, false),
            (404, "NoSuchBucket", Code::ModelAbsent, false),
            (404, "kms:KeyNotFound", Code::ServiceFailed, false),
            (307, "TemporaryRedirect", Code::ServiceFailed, false),
        ] {
            let trouble = answer(status, code, &[]);
            assert_eq!(trouble.error("it", "us-east-1").code(), expected, "{status} {code}");
            assert_eq!(trouble.is_passing(), passing, "{status} {code}");
        }
        assert!(answer(404, "NoSuchKey", &[]).is_absent() && !answer(404, "NoSuchBucket", &[]).is_absent());
        let told = answer(403, "AccessDenied", &[]).error("s3://b/k", "us-east-1").to_string();
        assert_eq!(told, "s3://b/k: the store answered 403 AccessDenied: a test of AccessDenied");
    }

    #[test]
    fn the_region_that_a_bucket_is_in_is_told() {
        let elsewhere = answer(301, "PermanentRedirect", &[("x-amz-bucket-region", "eu-west-1")]);
        let error = elsewhere.error("s3://b/k", "us-east-1");
        assert_eq!(error.code(), Code::ServiceFailed);
        assert_eq!(
            error.to_string(),
            "s3://b/k: the bucket is in the region eu-west-1, and us-east-1 was asked"
        );
        assert_eq!(error.help(), "set AWS_REGION=eu-west-1");
        for region in ["eu west", "", "us-east-1"] {
            let other = answer(301, "PermanentRedirect", &[("x-amz-bucket-region", region)]);
            assert!(other.error("it", "us-east-1").to_string().contains("a redirect, which is not followed"));
        }
    }

    #[test]
    fn a_store_may_ask_for_a_wait_in_seconds_or_by_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(asked(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(asked("Tue, 14 Nov 2023 22:13:30 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(asked("soon", now), None);
    }
}
