//! Servers that send too little to be waited for: a byte every few seconds is no answer, though it is never silent.

use std::time::{Duration, Instant};

/// How long a server may be slow.
const WINDOW: Duration = Duration::from_secs(60);

/// What it sends at least in each second, on average over that time, in bytes.
const LEAST: u64 = 1 << 10;

/// Watches what a server sends.
pub(crate) struct Drip {
    since: Instant,
    bytes: u64,
}

impl Drip {
    pub(crate) fn new() -> Self {
        Drip { since: Instant::now(), bytes: 0 }
    }

    /// Takes note of so many more bytes; the words where they came too slowly.
    pub(crate) fn more(&mut self, bytes: usize) -> Result<(), String> {
        self.at(Instant::now(), bytes)
    }

    fn at(&mut self, now: Instant, bytes: usize) -> Result<(), String> {
        self.bytes += bytes as u64;
        let taken = now.saturating_duration_since(self.since);
        if taken < WINDOW {
            return Ok(());
        }
        if self.bytes < LEAST * WINDOW.as_secs() {
            return Err(format!("sent {} in {} s", crate::Bytes(self.bytes), taken.as_secs()));
        }
        (self.since, self.bytes) = (now, 0);
        Ok(())
    }

    /// Whether an attempt that took so long and gave so many bytes was worth its time.
    pub(crate) fn was_worth(taken: Duration, bytes: usize) -> bool {
        bytes > 0 && bytes as u64 >= LEAST.saturating_mul(taken.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_with_next_to_nothing_is_enough() {
        let begun = Instant::now();
        let mut drip = Drip { since: begun, bytes: 0 };
        for second in (0..55).step_by(5) {
            assert_eq!(drip.at(begun + Duration::from_secs(second), 1), Ok(()));
        }
        assert!(
            drip.at(begun + Duration::from_secs(60), 1).unwrap_err().starts_with("sent 12 bytes in 60 s")
        );
        // As slow as it may be, for as long as it likes.
        let mut slow = Drip { since: begun, bytes: 0 };
        for second in 1..1000 {
            assert_eq!(slow.at(begun + Duration::from_secs(second), 1024), Ok(()));
        }
        assert!(Drip::was_worth(Duration::from_millis(900), 1) && !Drip::was_worth(Duration::ZERO, 0));
        assert!(!Drip::was_worth(Duration::from_secs(60), 12));
    }
}
