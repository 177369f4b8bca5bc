//! How servers are spoken to: one client, no redirects, time and size limits, retries, and errors that say why.
//!
//! The clients of the Sigstore crates neither limit an answer nor keep the cause of a failure, and follow redirects with
//! the token in the request. So requests are made here, and those crates make their bodies and read the answers.

use std::time::Duration;

use reqwest::{
    Client, Method, Request, Response, Url,
    header::{self, HeaderMap},
    redirect::Policy,
};

use zeroize::Zeroizing;

use crate::{Error, Run, code::Code, rt};

#[cfg(feature = "hub")]
mod range;
mod retry;
mod words;

#[cfg(feature = "hub")]
pub(crate) use range::{Get, Reply};
pub(crate) use retry::{Failure, Pace};
pub(crate) use words::{cause, guarded, url_shown};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long one attempt may take, the answer's body included: Rekor v2 answers when the entry is in the log, which takes it
/// up to 20 s.
const ATTEMPT: Duration = Duration::from_secs(45);

/// What an upload is given on top, for each so many bytes of its body.
const BYTES_PER_SECOND: u64 = 128 << 10;

/// Largest body of an answer, where a call says nothing else.
const ANSWER_BYTES: u64 = 1 << 20;

/// How servers are reached: the client for every call of one run.
///
/// Roots of TLS are those of the system, or of `SSL_CERT_FILE`; `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`
/// count; no redirect is followed, since a token in the request would be carried to another host.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
}

impl Http {
    /// A client that trusts the system's roots for TLS.
    ///
    /// # Errors
    /// `service-failed` when TLS cannot be set up.
    pub fn new() -> Result<Self, Error> {
        // Without any root on this machine plain HTTP still works; a server with TLS is refused when it is called.
        let client = builder().build().or_else(|_| builder().tls_certs_only([]).build());
        client.map(|client| Http { client }).map_err(no_tls)
    }

    /// A client that trusts these roots as well, in PEM: those of a private authority.
    ///
    /// # Errors
    /// `key-malformed` when there is no certificate, or one that cannot be used.
    pub fn with_ca(pem: &[u8]) -> Result<Self, Error> {
        let client = builder().tls_certs_merge(roots(pem)?).build();
        client.map(|client| Http { client }).map_err(|error| malformed(cause(&error)))
    }

    /// A client for many large answers at once, in parts: each on a connection of its own, since one that all share is as
    /// slow as one, and with the bytes as they were sent, since nothing is asked for that would have to be unpacked.
    ///
    /// # Errors
    /// As [`new`](Http::new) and [`with_ca`](Http::with_ca).
    #[cfg(feature = "hub")]
    pub(crate) fn for_parts(ca: Option<&[u8]>, proxies: bool) -> Result<Self, Error> {
        let builder = || {
            let builder = builder().http1_only().no_gzip().no_deflate().no_brotli().no_zstd();
            if proxies { builder } else { builder.no_proxy() }
        };
        let client = match ca {
            Some(pem) => {
                let client = builder().tls_certs_merge(roots(pem)?).build();
                client.map_err(|error| malformed(cause(&error)))?
            }
            None => builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(no_tls)?,
        };
        Ok(Http { client })
    }

    /// The client itself, for crates that take one. It has no limit for an answer, and does not try again.
    #[cfg_attr(not(feature = "sigstore-sign"), allow(dead_code, reason = "for services that are written to"))]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call, again where that may help, until there is an answer of success.
    ///
    /// # Errors
    /// `service-failed` with the cause, or with the status and the server's reason; those of [`Run::check`].
    #[cfg_attr(not(feature = "sigstore-sign"), allow(dead_code, reason = "for services that are written to"))]
    pub(crate) fn call(&self, call: &Call, run: &Run) -> Result<Answer, Error> {
        self.send(call, run)?.ok(call)
    }

    /// Makes a call, again where that may help, until there is an answer: of success, or one that will not change.
    ///
    /// # Errors
    /// As [`Http::call`], but for statuses from 400 to 499, which are answers here.
    pub(crate) fn send(&self, call: &Call, run: &Run) -> Result<Answer, Error> {
        let request = self.request(call)?;
        let mut pace = Pace::new();
        loop {
            run.check()?;
            let failure = match self.attempt(call, &request, run)? {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            pace.wait(&failure, run)?
                .map_err(|why| failure.error(call.failed(&format!("{failure}{why}"))))?;
        }
    }

    fn request(&self, call: &Call) -> Result<Request, Error> {
        let url = Url::parse(&call.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| call.failed("that is not a URL of http or https"))?;
        let mut builder = self.client.request(call.method.clone(), url);
        if let Some(accept) = call.accept {
            builder = builder.header(header::ACCEPT, accept);
        }
        if let Some(content_type) = call.content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(bearer) = &call.bearer {
            // Marked as secret, so that nobody shows it.
            builder = builder.bearer_auth(bearer.as_str());
        }
        builder.body(call.body.clone()).build().map_err(|error| {
            call.failed(&format!("the request cannot be made: {}", cause(&error.without_url())))
        })
    }

    /// One attempt, within the time of the run.
    fn attempt(&self, call: &Call, request: &Request, run: &Run) -> Result<Result<Answer, Failure>, Error> {
        let more = call.body.len() as u64 + if call.large { call.limit } else { 0 };
        let more = Duration::from_secs(more / BYTES_PER_SECOND);
        // A little less than is left, so that what the server did is told and not only that the time is over.
        let left = run.time_left().map(|left| left.saturating_sub(Duration::from_millis(40)));
        let time = left.unwrap_or(Duration::MAX).min(ATTEMPT + more);
        let mut request = request.try_clone().ok_or_else(|| call.failed("the request cannot be repeated"))?;
        *request.timeout_mut() = Some(time);
        let client = self.client.clone();
        let wanted =
            Wanted { limit: call.limit, redirects: call.redirects, secret: call.bearer.clone(), time };
        rt::wait(run, async move {
            let answered = client.execute(request).await.map_err(|error| Failure::transport(error, time))?;
            read(answered, &wanted).await
        })
    }
}

fn no_tls(error: reqwest::Error) -> Error {
    Error::new(Code::ServiceFailed, format!("TLS cannot be set up: {}", cause(&error)))
}

fn malformed(why: String) -> Error {
    Error::new(Code::KeyMalformed, format!("the root certificates for TLS cannot be used: {why}"))
        .with_help("give a PEM file with one certificate or more")
}

/// The certificates of a PEM file.
fn roots(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, Error> {
    let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| malformed(cause(&error)))?;
    if roots.is_empty() {
        return Err(malformed("there is none in the file".to_owned()));
    }
    Ok(roots)
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("weightseal/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT)
        .read_timeout(ATTEMPT)
}

/// What is to be read of an answer.
struct Wanted {
    /// The largest body.
    limit: u64,
    /// Whether a redirect is an answer.
    redirects: bool,
    /// What the request carried: it is told to nobody, though the server repeats it.
    secret: Option<Zeroizing<String>>,
    /// How long it may take.
    time: Duration,
}

/// Reads an answer, or says why it is none.
async fn read(mut response: Response, wanted: &Wanted) -> Result<Answer, Failure> {
    let secret = wanted.secret.as_ref().map(|secret| secret.as_str());
    let status = response.status();
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    if status.is_redirection() && !wanted.redirects {
        let location = location.map(|location| words::without_secret(location, secret));
        return Err(Failure::redirected(status.as_u16(), location.as_deref()));
    }
    let location = location.map(str::to_owned);
    let too_large = || Failure::final_one(format!("answered with more than {}", crate::Bytes(wanted.limit)));
    if response.content_length().is_some_and(|length| length > wanted.limit) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::transport(error, wanted.time))? {
        if body.len() as u64 + chunk.len() as u64 > wanted.limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    if let (true, Some(_)) = (status.is_client_error() || status.is_server_error(), secret) {
        body = words::without_secret(&String::from_utf8_lossy(&body), secret).into_bytes();
    }
    let headers = std::mem::take(response.headers_mut());
    let answer = Answer { status: status.as_u16(), headers, body, location };
    match status.as_u16() {
        429 | 500..=599 => Err(Failure::status(&answer)),
        _ => Ok(answer),
    }
}

/// One request, which may be sent several times.
pub(crate) struct Call {
    service: &'static str,
    method: Method,
    url: String,
    content_type: Option<&'static str>,
    accept: Option<&'static str>,
    bearer: Option<Zeroizing<String>>,
    body: Vec<u8>,
    limit: u64,
    large: bool,
    redirects: bool,
}

impl Call {
    /// Asks for what is at a URL. The service is named as errors name it.
    pub(crate) fn get(service: &'static str, url: impl Into<String>) -> Self {
        Call {
            service,
            method: Method::GET,
            url: url.into(),
            content_type: None,
            accept: None,
            bearer: None,
            body: Vec::new(),
            limit: ANSWER_BYTES,
            large: false,
            redirects: false,
        }
    }

    /// Sends a body to a URL.
    #[cfg_attr(not(feature = "sigstore-sign"), allow(dead_code, reason = "for services that are written to"))]
    pub(crate) fn post(
        service: &'static str,
        url: impl Into<String>,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Self {
        Call { method: Method::POST, content_type: Some(content_type), body, ..Call::get(service, url) }
    }

    /// The largest body of the answer.
    pub(crate) fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The largest body of the answer, and time for as much.
    #[cfg(feature = "hub")]
    pub(crate) fn large(self, bytes: u64) -> Self {
        Call { limit: bytes, large: true, ..self }
    }

    /// A redirect is an answer; it is not followed.
    #[cfg(feature = "hub")]
    pub(crate) fn redirects(self) -> Self {
        Call { redirects: true, ..self }
    }

    /// The media type that is wanted.
    #[cfg_attr(not(feature = "sigstore-sign"), allow(dead_code, reason = "for services that are written to"))]
    pub(crate) fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = Some(media_type);
        self
    }

    /// The secret that lets ask.
    #[cfg_attr(not(feature = "sigstore-sign"), allow(dead_code, reason = "for services that are written to"))]
    pub(crate) fn bearer(mut self, secret: Zeroizing<String>) -> Self {
        self.bearer = Some(secret);
        self
    }

    /// The error for an answer that cannot be used; of `why`, tokens and queries are left out and the length is bounded.
    #[cfg_attr(not(feature = "sigstore-sign"), allow(dead_code, reason = "for services that are written to"))]
    pub(crate) fn unusable(&self, why: impl std::fmt::Display) -> Error {
        self.failed(&format!("gave an answer that cannot be used: {}", guarded(&why.to_string())))
    }

    /// Where it goes, with all that may be secret in it.
    #[cfg(feature = "hub")]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same question at another address, without the secret.
    #[cfg(feature = "hub")]
    pub(crate) fn again(&self, url: impl Into<String>) -> Self {
        let Call { limit, large, .. } = *self;
        Call { limit, large, ..Call::get(self.service, url) }
    }

    /// Where it goes, safe to show.
    #[cfg(feature = "hub")]
    pub(crate) fn shown(&self) -> String {
        url_shown(&self.url)
    }

    /// The error for an answer that was expected to be another one.
    #[cfg(feature = "hub")]
    pub(crate) fn refused(&self, answer: &Answer) -> Error {
        self.failed(&Failure::status(answer).to_string())
    }

    /// The error for a call that failed; `what` is safe to show.
    pub(crate) fn failed(&self, what: &str) -> Error {
        Error::new(Code::ServiceFailed, format!("{} at {}: {what}", self.service, url_shown(&self.url)))
    }
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    #[cfg_attr(
        not(feature = "sigstore-sign"),
        allow(dead_code, reason = "for services that are written to")
    )]
    pub(crate) location: Option<String>,
}

impl Answer {
    /// The answer, if it is one of success.
    ///
    /// # Errors
    /// `service-failed` with the status and the server's reason.
    pub(crate) fn ok(self, call: &Call) -> Result<Self, Error> {
        match self.status {
            200..=299 => Ok(self),
            _ => Err(call.failed(&Failure::status(&self).to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
