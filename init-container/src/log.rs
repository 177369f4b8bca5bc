//! What people read: lines on standard error, with progress.

use std::{
    fmt,
    io::{self, Write as _},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use weightseal::{Bytes, Events, Finding};

/// Findings that are told as they come; the report at the end counts them all.
const TOLD: usize = 10;

/// Writes a line; outside names in it are escaped already. Where nobody reads it, nobody misses it.
pub(crate) fn say(text: impl fmt::Display) {
    // One write, so that lines of several threads do not mix.
    let line = format!("weightseal-init: {text}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// How far the hashing is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    hashing: AtomicBool,
    total: AtomicU64,
    hashed: AtomicU64,
    /// Bytes hashed when progress was last told.
    told: AtomicU64,
    found: AtomicUsize,
}

impl Progress {
    /// Tells how far it is, when something is being hashed; the last time was `since` ago.
    pub(crate) fn tell(&self, since: Duration) {
        if !self.hashing.load(Ordering::Relaxed) {
            return;
        }
        let hashed = self.hashed.load(Ordering::Relaxed);
        let before = self.told.swap(hashed, Ordering::Relaxed);
        let rate = hashed.saturating_sub(before) as f64 / since.as_secs_f64().max(f64::EPSILON);
        say(format_args!(
            "hashed {} of {}, {}/s",
            Bytes(hashed),
            Bytes(self.total.load(Ordering::Relaxed)),
            Bytes(rate as u64)
        ));
    }
}

impl Events for Progress {
    fn hashing(&self, files: u64, bytes: u64) {
        self.hashed.store(0, Ordering::Relaxed);
        self.told.store(0, Ordering::Relaxed);
        self.total.store(bytes, Ordering::Relaxed);
        self.hashing.store(true, Ordering::Relaxed);
        say(format_args!("hashing {} in {files} files", Bytes(bytes)));
    }

    fn hashed(&self, bytes: u64) {
        self.hashed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn done(&self) {
        self.hashing.store(false, Ordering::Relaxed);
    }

    fn found(&self, finding: &Finding) {
        if self.found.fetch_add(1, Ordering::Relaxed) < TOLD {
            say(format_args!("found {}: {}", finding.code, finding.what));
        }
    }

    fn note(&self, text: &str) {
        say(text);
    }
}
