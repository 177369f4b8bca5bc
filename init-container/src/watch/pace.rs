//! Hashing that leaves the disk to others: whoever hears that bytes were hashed takes his time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use weightseal::{Cancel, Events, Finding};

use crate::log::Progress;

/// How long it sleeps at most before it looks whether the run has ended.
const NAP: Duration = Duration::from_millis(50);

/// Passes on what it hears, and returns only when as many bytes may have been hashed as were.
pub(super) struct Paced {
    inner: Arc<Progress>,
    /// Bytes per second.
    rate: u64,
    started: Instant,
    hashed: AtomicU64,
    cancel: Cancel,
}

impl Paced {
    pub(super) fn new(inner: Arc<Progress>, rate: u64, cancel: Cancel) -> Self {
        Paced { inner, rate, started: Instant::now(), hashed: AtomicU64::new(0), cancel }
    }

    /// When so many bytes may have been hashed, counted from the start.
    fn due(&self, bytes: u64) -> Duration {
        Duration::try_from_secs_f64(bytes as f64 / self.rate.max(1) as f64).unwrap_or(Duration::MAX)
    }
}

impl Events for Paced {
    fn hashing(&self, files: u64, bytes: u64) {
        self.inner.hashing(files, bytes);
    }

    fn hashed(&self, bytes: u64) {
        self.inner.hashed(bytes);
        let due = self.due(self.hashed.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes));
        while !self.cancel.is_cancelled() {
            let left = due.saturating_sub(self.started.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(NAP));
        }
    }

    fn done(&self) {
        self.inner.done();
    }

    fn found(&self, finding: &Finding) {
        self.inner.found(finding);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_a_run_that_ended_takes_none() {
        let paced = Paced::new(Arc::new(Progress::default()), 200 << 20, Cancel::default());
        assert_eq!(paced.due(200 << 20), Duration::from_secs(1));
        let started = Instant::now();
        for _ in 0..10 {
            paced.hashed(1 << 20);
        }
        assert!(started.elapsed() >= Duration::from_millis(45), "{:?}", started.elapsed());

        let cancel = Cancel::default();
        cancel.cancel();
        Paced::new(Arc::new(Progress::default()), 1, cancel).hashed(u64::MAX);
    }
}
