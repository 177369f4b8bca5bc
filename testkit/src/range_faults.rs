//! A proxy that goes wrong where ranges of an object are read.
//!
//! ```no_run
//! # use testkit::{or_skip, range_faults::{RangeFault, RangeFaultServer, Scope}, s3};
//! let Some(store) = or_skip(s3::plain_minio()) else { return };
//! let proxy = RangeFaultServer::start(RangeFault::WrongBytes, store.url());
//! // … a client with store.env_at(proxy.url()) verifies an object, and must find that it is another …
//! let scope = Scope::heads().suffix(".safetensors");
//! let proxy = RangeFaultServer::on(scope, RangeFault::status(500), store.url());
//! ```
//!
//! It stands in front of any `http://` store. Everything that a [`Scope`] does not choose is passed on as it came, with
//! its `Host`, which signatures of S3 cover: a bucket that can be read without the proxy can be read through it. Each
//! connection is for one request, as many at a time as a client likes, and bodies are passed on as they come.

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

mod answer;
mod body;
mod change;
mod fault;

use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::{Request, Server};
use body::Bucket;
pub use fault::{RangeFault, Scope};

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    fault: RangeFault,
    scope: Scope,
    upstream: String,
    /// The bytes that may pass, for [`RangeFault::Throttle`].
    bucket: Option<Bucket>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    /// How many of them the scope chose.
    chosen: usize,
}

/// A proxy that goes wrong, on 127.0.0.1. It ends when it is dropped.
#[derive(Debug)]
pub struct RangeFaultServer {
    url: String,
    shared: Arc<Shared>,
    _server: Server,
}

impl RangeFaultServer {
    /// Starts one that goes wrong where a GET has a `Range`. `upstream`, like `http://127.0.0.1:5555`, is where requests
    /// are passed on to.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(fault: RangeFault, upstream: &str) -> RangeFaultServer {
        RangeFaultServer::on(Scope::ranges(), fault, upstream)
    }

    /// Starts one that goes wrong for other requests, or for fewer.
    ///
    /// # Panics
    /// There is no free port.
    pub fn on(scope: Scope, fault: RangeFault, upstream: &str) -> RangeFaultServer {
        let bucket = match fault {
            RangeFault::Throttle { bytes_per_second } => Some(Bucket::new(bytes_per_second)),
            _ => None,
        };
        let upstream = upstream.trim_end_matches('/').to_owned();
        let shared = Arc::new(Shared { fault, scope, upstream, bucket, seen: Mutex::default() });
        let server = {
            let shared = Arc::clone(&shared);
            Server::start(move |stream| shared.connection(stream))
        };
        let server = server.expect("a free port");
        RangeFaultServer { url: format!("http://127.0.0.1:{}", server.port()), shared, _server: server }
    }

    /// Where it is: scheme, host and port.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests came in.
    pub fn requests(&self) -> usize {
        self.shared.seen().requests.len()
    }

    /// How many of them the scope chose, whether the fault came with them or was over.
    pub fn chosen(&self) -> usize {
        self.shared.seen().chosen
    }

    /// The requests, in their order.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen().requests.clone()
    }

    /// Whether this text came in as it is, in a path, a header or a body.
    pub fn received(&self, secret: &str) -> bool {
        self.shared.seen().requests.iter().any(|request| request.contains(secret))
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self, stream: &TcpStream) {
        let Ok(Some(request)) = Request::read(stream) else { return };
        let before = {
            let mut seen = self.seen();
            seen.requests.push(request.clone());
            let before = self.scope.chooses(&request).then_some(seen.chosen);
            seen.chosen += usize::from(before.is_some());
            before
        };
        let fault = before.filter(|before| self.fault.comes(*before)).map(|_| &self.fault);
        // A client that had enough is none of our business.
        let _ = change::answered(self, fault, &request, stream);
    }
}
