//! A server of faults: it stands in front of a real one, or of none, and goes wrong in one way.
//!
//! ```no_run
//! # use testkit::faults::{Fault, FaultServer};
//! let target = FaultServer::start(Fault::Pass, "");
//! let server = FaultServer::start(Fault::Redirect { code: 307, to: target.url().to_owned() }, "");
//! // … a client is sent to server.url() …
//! assert!(!target.received("its token"));
//! ```

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::http::{self, Request, Response, Server};

/// How a server goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers so, each time.
    Status {
        /// The code, like 403.
        code: u16,
        /// Besides the length; a JSON type where the body begins with a brace.
        headers: Vec<(String, String)>,
        /// As it stands.
        body: String,
    },
    /// Answers with a code so many times, then passes on.
    FailsFirst {
        /// How many requests fail.
        times: usize,
        /// The code, like 503.
        code: u16,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Waits, then passes on.
    Delay(Duration),
    /// Passes on, announces the whole answer, sends half of it and closes.
    Cut,
    /// Sends to another place.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        code: u16,
        /// What the path of the request is put after.
        to: String,
    },
    /// Answers 201 with so many spaces.
    Huge {
        /// How many.
        bytes: u64,
    },
    /// Answers 201, says it is JSON, and sends bytes that are none.
    Garbage,
    /// Sends bytes that are no HTTP.
    NotHttp,
    /// Reads the request and never answers.
    Stall,
    /// Closes at once.
    Close,
    /// Passes on and only records; 200 with an empty object where there is nowhere to pass on to.
    Pass,
}

impl Fault {
    /// 403 with a reason in JSON, as a gateway in front of gRPC gives it.
    pub fn forbidden(reason: &str) -> Fault {
        Fault::Status { code: 403, headers: Vec::new(), body: refusal(7, reason) }
    }

    /// 429 with `Retry-After` in seconds, each time.
    pub fn too_many(retry_after: u64) -> Fault {
        let headers = vec![("retry-after".to_owned(), retry_after.to_string())];
        Fault::Status { code: 429, headers, body: refusal(8, "too many requests") }
    }

    /// 500, each time.
    pub fn internal() -> Fault {
        Fault::Status { code: 500, headers: Vec::new(), body: refusal(13, "internal error") }
    }

    /// 503 so many times, then the real server.
    pub fn unavailable(times: usize) -> Fault {
        Fault::FailsFirst { times, code: 503, retry_after: None }
    }

    /// 300 MB.
    pub fn huge() -> Fault {
        Fault::Huge { bytes: 300_000_000 }
    }
}

fn refusal(code: u32, message: &str) -> String {
    serde_json::json!({"code": code, "message": message, "details": []}).to_string()
}

/// A server that goes wrong on 127.0.0.1. It ends when it is dropped.
#[derive(Debug)]
pub struct FaultServer {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    closed: Arc<Mutex<usize>>,
    /// Last, so that nobody is answered any more while the rest is dropped.
    _server: Server,
}

impl FaultServer {
    /// Starts one. `upstream`, like `http://127.0.0.1:5555`, is where requests are passed on to, and empty where
    /// nothing is.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(fault: Fault, upstream: &str) -> FaultServer {
        let (seen, closed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let upstream = upstream.trim_end_matches('/').to_owned();
        let server = {
            let (seen, closed) = (Arc::clone(&seen), Arc::clone(&closed));
            Server::start(move |stream| {
                if fault == Fault::Close {
                    *closed.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    return;
                }
                let Ok(Some(request)) = Request::read(stream) else { return };
                let before = {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push(request.clone());
                    seen.len() - 1
                };
                // A client that had enough is none of our business.
                let _ = answer(&fault, &upstream, &request, before, stream);
            })
        };
        let server = server.expect("a free port");
        FaultServer { url: format!("http://127.0.0.1:{}", server.port()), seen, closed, _server: server }
    }

    /// Where it is: scheme, host and port.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests came in; for [`Fault::Close`], connections.
    pub fn requests(&self) -> usize {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) + self.seen().len()
    }

    /// The requests, in their order.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this text came in as it is, in a path, a header or a body.
    pub fn received(&self, secret: &str) -> bool {
        self.seen().iter().any(|request| request.contains(secret))
    }
}

/// Answers one request, before which there were so many others.
fn answer(
    fault: &Fault,
    upstream: &str,
    request: &Request,
    before: usize,
    mut stream: &TcpStream,
) -> io::Result<()> {
    match fault {
        Fault::Status { code, headers, body } => failure(*code, headers.clone(), body).write(stream),
        Fault::FailsFirst { times, code, retry_after } if before < *times => {
            let headers = retry_after.map(|seconds| ("retry-after".to_owned(), seconds.to_string()));
            failure(*code, headers.into_iter().collect(), &refusal(14, "try again")).write(stream)
        }
        Fault::FailsFirst { .. } | Fault::Pass => passed_on(upstream, request)?.write(stream),
        Fault::Delay(time) => {
            thread::sleep(*time);
            passed_on(upstream, request)?.write(stream)
        }
        Fault::Cut => {
            let response = passed_on(upstream, request)?;
            stream.write_all(&response.head())?;
            stream.write_all(response.body.get(..response.body.len() / 2).unwrap_or_default())
        }
        Fault::Redirect { code, to } => {
            let location = ("location".to_owned(), format!("{to}{}", request.path));
            failure(*code, vec![location], "").write(stream)
        }
        Fault::Huge { bytes } => huge(*bytes, stream),
        Fault::Garbage => Response::new(201, "application/json", *b"\x00\xff{]\x1b[31m\r\n").write(stream),
        Fault::NotHttp => stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n"),
        Fault::Stall => {
            // Until the client has had enough, or the server is dropped.
            while stream.read(&mut [0; 64])? > 0 {}
            Ok(())
        }
        Fault::Close => Ok(()),
    }
}

fn failure(status: u16, headers: Vec<(String, String)>, body: &str) -> Response {
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let mut response = Response::new(status, kind, body);
    response.headers.extend(headers);
    response
}

fn passed_on(upstream: &str, request: &Request) -> io::Result<Response> {
    if upstream.is_empty() {
        return Ok(Response::new(200, "application/json", *b"{}"));
    }
    let between = ["host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"];
    let kept = |name: &str| !between.iter().any(|between| name.eq_ignore_ascii_case(between));
    let headers: Vec<_> = request.headers.iter().filter(|(name, _)| kept(name)).cloned().collect();
    http::send(&request.method, &format!("{upstream}{}", request.path), &headers, &request.body)
}

fn huge(bytes: u64, mut stream: &TcpStream) -> io::Result<()> {
    let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {bytes}\r\n\r\n").as_bytes())?;
    io::copy(&mut io::repeat(b' ').take(bytes), &mut stream)?;
    Ok(())
}
