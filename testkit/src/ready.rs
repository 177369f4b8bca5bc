//! What every real server needs: a port, and somebody who waits until it is ready.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use crate::keeper::Kept;

/// How long a server may take to be ready. Idle machines need two seconds for all of them.
const READY: Duration = Duration::from_secs(90);

/// How often an unready server is asked.
const POLL: Duration = Duration::from_millis(20);

/// Below the ports that the system gives to whoever connects somewhere, so that nobody gets one between now and the
/// start of its server.
pub(crate) fn free_port() -> io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        let port = 15_000 + u16::try_from(random() % 17_000).unwrap_or_default();
        match TcpListener::bind(("127.0.0.1", port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 100 => tries += 1,
            other => return other,
        }
    }
}

/// Waits until a server is ready.
///
/// # Errors
/// It ended, with its last words, or it is late.
pub(crate) fn until_ready(server: &mut Kept, ready: impl Fn() -> bool) -> io::Result<()> {
    let start = Instant::now();
    loop {
        // Asked first: somebody else may answer on the port that it did not get.
        if let Some(status) = server.ended()? {
            let (name, words) = (server.name(), server.last_words());
            return Err(io::Error::other(format!("{name} ended with {status}: {words}")));
        }
        if ready() {
            return Ok(());
        }
        if start.elapsed() > READY {
            let (name, words) = (server.name(), server.last_words());
            let late = format!("{name} is not ready after {} s: {words}", READY.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, late));
        }
        thread::sleep(POLL);
    }
}

/// Another number each time: the hash of nothing under random keys.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
