//! Parts of files: an answer whose head is looked at first, and whose body is then read into a buffer that there is already.

use std::{future::Future, time::Duration};

use reqwest::{
    Response, Url,
    header::{self, HeaderMap, HeaderName},
};
use zeroize::Zeroizing;

use super::{Answer, Failure, Http, url_shown, words};
use crate::{Error, Run, drip::Drip, rt};

/// How much is read of an answer that says why there is none, in bytes.
const REASON_BYTES: usize = 16 << 10;

/// Asks for bytes of what is at a URL.
pub(crate) struct Get<'a> {
    pub(crate) url: &'a Url,
    /// The first byte, and the last.
    pub(crate) range: (u64, u64),
    /// The secret that lets ask.
    pub(crate) bearer: Option<&'a Zeroizing<String>>,
    /// How long the server may be silent.
    pub(crate) silence: Duration,
}

/// The head of an answer, of any status; its body has not been read.
#[derive(Debug)]
pub(crate) struct Reply {
    response: Response,
    secret: Option<Zeroizing<String>>,
    silence: Duration,
}

impl Http {
    /// Asks, once, and reads the head of the answer.
    ///
    /// # Errors
    /// Those of [`Run::check`]; an inner failure says why there is no answer.
    pub(crate) fn head(&self, get: &Get<'_>, run: &Run) -> Result<Result<Reply, Failure>, Error> {
        let (first, last) = get.range;
        let mut request = self
            .client
            .get(get.url.clone())
            .header(header::RANGE, format!("bytes={first}-{last}"))
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(bearer) = get.bearer {
            request = request.bearer_auth(bearer.as_str());
        }
        let (secret, silence) = (get.bearer.cloned(), get.silence);
        rt::wait(run, async move {
            let response = within(silence, request.send()).await?;
            Ok(Reply { response, secret, silence })
        })
    }
}

/// Waits for something of the server, but not for ever.
async fn within<T>(
    silence: Duration,
    something: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(silence, something).await {
        Ok(done) => done.map_err(|error| Failure::transport(error, silence)),
        Err(_) => Err(Failure::passing(format!("was silent for {:.1} s", silence.as_secs_f64()))),
    }
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header's value, where there is one and it is text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Where the answer came from.
    pub(crate) fn url(&self) -> &Url {
        self.response.url()
    }

    /// The same, safe to show.
    pub(crate) fn shown(&self) -> String {
        url_shown(self.url().as_str())
    }

    /// Why there is nothing to read: the status, with the server's reason.
    ///
    /// # Errors
    /// Those of [`Run::check`].
    pub(crate) fn refusal(self, run: &Run) -> Result<(Answer, Failure), Error> {
        let Reply { mut response, secret, silence } = self;
        rt::wait(run, async move {
            let mut body = Vec::new();
            let reading = async {
                while let Ok(Some(chunk)) = response.chunk().await {
                    body.extend(chunk.iter().take(REASON_BYTES - body.len()));
                    if body.len() == REASON_BYTES {
                        break;
                    }
                }
            };
            // A reason that cannot be read to its end is told as far as it goes.
            let _ = tokio::time::timeout(silence, reading).await;
            let secret = secret.as_ref().map(|secret| secret.as_str());
            let body = words::without_secret(&String::from_utf8_lossy(&body), secret);
            // The query of a signed address opens it, and servers repeat what they were asked for.
            let body = words::without_secret(&body, response.url().query()).into_bytes();
            let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
            let answer = Answer { status, headers, body, location: None };
            let failure = Failure::status(&answer);
            (answer, failure)
        })
    }

    /// Reads the body to the end of `buffer`, exactly `length` bytes; the buffer comes back with what there was, and besides
    /// it why that is not all.
    ///
    /// # Errors
    /// Those of [`Run::check`].
    pub(crate) fn body(
        self,
        mut buffer: Vec<u8>,
        length: usize,
        run: &Run,
    ) -> Result<(Vec<u8>, Result<(), Failure>), Error> {
        let Reply { mut response, silence, .. } = self;
        rt::wait(run, async move {
            let (mut left, mut drip) = (length, Drip::new());
            buffer.reserve_exact(left);
            let done = loop {
                match within(silence, response.chunk()).await {
                    Ok(Some(chunk)) if chunk.len() > left => {
                        break Err(Failure::final_one(format!(
                            "sent more than the {length} bytes asked for"
                        )));
                    }
                    Ok(Some(chunk)) => {
                        left -= chunk.len();
                        buffer.extend_from_slice(&chunk);
                        if let Err(told) = drip.more(chunk.len()) {
                            break Err(Failure::passing(told));
                        }
                    }
                    Ok(None) if left == 0 => break Ok(()),
                    Ok(None) => {
                        break Err(Failure::passing(format!("sent {} of {length} bytes", length - left)));
                    }
                    Err(failure) => break Err(failure),
                }
            };
            (buffer, done)
        })
    }
}
