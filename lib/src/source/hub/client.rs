//! Talking to the Hub: addresses, the token, and what its refusals mean.

use reqwest::{
    Url,
    header::{HeaderMap, HeaderName},
};
use std::time::Duration;
use zeroize::Zeroizing;

use super::{HubOptions, options::Settled};
use crate::{
    Error, Run,
    code::Code,
    http::{Answer, Call, Http},
    shown::Shown,
    source::uri::{HubUri, encoded},
};

/// How errors name the Hub.
pub(super) const SERVICE: &str = "the Hub";

/// The commit that an answer is about.
pub(super) const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
/// What a redirect leads to: its SHA-256 for a file in LFS.
pub(super) const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
/// What a redirect leads to: how long it is.
pub(super) const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");

/// The statuses with which a server sends elsewhere.
pub(super) fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Speaks to one Hub.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) http: Http,
    endpoint: Url,
    bearer: Option<Zeroizing<String>>,
    allow_http: bool,
    pub(super) silence: Duration,
}

impl Client {
    /// # Errors
    /// `service-failed` when no server is to be asked; `bad-argument`, `transport-insecure`, `key-malformed`.
    pub(super) fn new(options: &HubOptions, settled: Settled, uri: &HubUri) -> Result<Self, Error> {
        if settled.offline {
            let what = format!("{} lies on the Hub, which is not to be asked", Shown(&uri.to_string()));
            return Err(Error::new(Code::ServiceFailed, what)
                .with_help("allow network access, or fetch the model into the Hub's cache first"));
        }
        Ok(Client {
            // What goes to this machine without TLS, a token with it, goes through nobody else's hands.
            http: Http::for_parts(options.tls_ca.as_deref(), settled.endpoint.scheme() == "https")?,
            endpoint: settled.endpoint,
            bearer: settled.token,
            allow_http: options.allow_http,
            silence: settled.silence,
        })
    }

    /// The token, for requests to the Hub itself and nowhere else.
    pub(super) fn bearer(&self) -> Option<&Zeroizing<String>> {
        self.bearer.as_ref()
    }

    fn base(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// A URL of the API that is about a repository.
    pub(super) fn api(&self, uri: &HubUri, rest: &str) -> String {
        format!("{}/api/{}/{}/{rest}", self.base(), uri.kind.plural(), uri.id)
    }

    /// The URL of a file.
    pub(super) fn file(&self, uri: &HubUri, revision: &str, path: &str) -> String {
        let (base, prefix) = (self.base(), uri.kind.prefix());
        format!("{base}/{prefix}{}/resolve/{}/{}", uri.id, encoded(revision), encoded_path(path))
    }

    /// Whether a URL leads to the Hub itself.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        let origin = |url: &Url| {
            (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
        };
        origin(url) == origin(&self.endpoint) && url.username().is_empty() && url.password().is_none()
    }

    /// Where a redirect leads that may be followed, without the token.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn redirect(&self, from: &Url, location: Option<&str>) -> Result<Url, &'static str> {
        let location = location.ok_or("answered with a redirect to nowhere")?;
        let to = from.join(location).map_err(|_| "answered with a redirect that is no URL")?;
        match to.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err("answered with a redirect to a server without TLS, which is not followed"),
            _ => return Err("answered with a redirect to what is not HTTP, which is not followed"),
        }
        if !to.has_host() || !to.username().is_empty() || to.password().is_some() {
            return Err("answered with a redirect that cannot be followed");
        }
        Ok(to)
    }

    /// Asks the Hub, with the token, where there is one.
    pub(super) fn call(&self, url: impl Into<String>) -> Call {
        self.with_bearer(Call::get(SERVICE, url)).redirects()
    }

    /// Sends something to the Hub.
    pub(super) fn post(&self, url: impl Into<String>, content_type: &'static str, body: Vec<u8>) -> Call {
        self.with_bearer(Call::post(SERVICE, url, content_type, body)).redirects()
    }

    fn with_bearer(&self, call: Call) -> Call {
        match &self.bearer {
            Some(token) => call.bearer(token.clone()),
            None => call,
        }
    }

    /// Makes a call that is answered by the Hub itself.
    ///
    /// # Errors
    /// What the Hub's refusal means; `service-failed`; those of [`Run::check`].
    pub(super) fn ask(&self, call: &Call, uri: &HubUri, run: &Run) -> Result<Answer, Error> {
        let mut answer = self.http.send(call, run)?;
        // Mirrors were seen that want a slash at the end.
        let slashed = Url::parse(call.url()).ok().and_then(|url| slashed(&url, answer.location.as_deref()));
        if let (true, Some(url)) = (is_redirect(answer.status), slashed) {
            answer = self.http.send(&call.again(url).redirects(), run)?;
        }
        if is_redirect(answer.status) {
            let error = call.refused(&answer);
            return Err(
                error.with_help("the repository may have been renamed: give the name that it has now")
            );
        }
        match answer.status {
            200..=299 if self.repeats_token(&answer.body) => Err(call.unusable("it repeats the token")),
            200..=299 => plain(call, answer),
            _ => Err(self.refusal(call, &answer, uri)),
        }
    }

    /// Whether the token stands in an answer: what is made of one may be shown.
    fn repeats_token(&self, body: &[u8]) -> bool {
        let token = self.bearer.as_ref().map(|token| token.as_bytes());
        token.is_some_and(|token| body.windows(token.len()).any(|window| window == token))
    }

    /// What it means that the Hub refused.
    pub(super) fn refusal(&self, call: &Call, answer: &Answer, uri: &HubUri) -> Error {
        let shown = uri.to_string();
        let shown = Shown(&shown);
        let denied = |help: &str| {
            Error::new(Code::AccessDenied, format!("access to {shown} was refused")).with_help(help)
        };
        let absent = |what: &str| Error::new(Code::ModelAbsent, format!("{shown} {what}"));
        match (error_code(&answer.headers), answer.status, self.bearer.is_some()) {
            ("GatedRepo", _, false) => {
                denied("accept the terms on the model's page, and give the token of who did (HF_TOKEN)")
            }
            ("GatedRepo", _, true) => {
                denied("accept the terms on the model's page, as the user whose token it is")
            }
            ("DisabledRepo", ..) => denied("the repository was disabled; see its page"),
            ("RepoNotFound", 404, _) => absent("is not on the Hub, or is not shown to whoever asks"),
            ("RepoNotFound", _, false) | (_, 401, false) => {
                denied("give a token (HF_TOKEN), or check the name")
            }
            ("RepoNotFound", ..) | (_, 401 | 403, _) => denied("check the token, and what it may read"),
            ("RevisionNotFound", ..) => absent("has no such revision"),
            ("EntryNotFound", ..) | (_, 404, _) => absent("is not on the Hub"),
            _ => call.refused(answer),
        }
    }
}

/// Where a redirect leads, if that is the same address with a slash at its end.
fn slashed(from: &Url, location: Option<&str>) -> Option<Url> {
    let mut expected = from.clone();
    expected.set_path(&format!("{}/", from.path()));
    from.join(location?).ok().filter(|to| *to == expected)
}

/// The Hub's own word for why it refuses.
pub(super) fn error_code(headers: &HeaderMap) -> &str {
    headers.get(ERROR_CODE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The answer, unless it was packed though nobody asked for it.
pub(super) fn plain(call: &Call, answer: Answer) -> Result<Answer, Error> {
    match is_packed(&answer.headers) {
        true => Err(call.unusable("it is packed, which was not asked for")),
        false => Ok(answer),
    }
}

pub(super) fn is_packed(headers: &HeaderMap) -> bool {
    headers.get(reqwest::header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// Whether an answer says that it is about another commit.
pub(super) fn is_other_commit(headers: &HeaderMap, commit: &str) -> bool {
    headers.get(COMMIT).is_some_and(|value| value != commit)
}

/// A path in a repository, as URLs have it.
pub(super) fn encoded_path(path: &str) -> String {
    path.split('/').map(encoded).collect::<Vec<_>>().join("/")
}
