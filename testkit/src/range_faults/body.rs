//! Bodies on their way.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The bytes that may pass, for all connections together.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_second: u64,
    /// When everything that was let through will have passed.
    passed: Mutex<Instant>,
}

/// What was not used in this time may be caught up with: sleeping ends late.
const SLACK: Duration = Duration::from_millis(10);

impl Bucket {
    pub(super) fn new(bytes_per_second: u64) -> Bucket {
        Bucket { bytes_per_second: bytes_per_second.max(1), passed: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes more may have passed.
    fn wait(&self, bytes: usize) {
        let nanoseconds = (bytes as u128).saturating_mul(1_000_000_000) / u128::from(self.bytes_per_second);
        let takes = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let passed = {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = Instant::now().checked_sub(SLACK).unwrap_or(*passed);
            *passed = (*passed).max(earliest) + takes;
            *passed
        };
        thread::sleep(passed.saturating_duration_since(Instant::now()));
    }
}

/// A body no faster than its bucket allows.
pub(super) struct Throttled<'a, R> {
    pub(super) bucket: &'a Bucket,
    pub(super) body: R,
}

impl<R: Read> Read for Throttled<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(into)?;
        self.bucket.wait(read);
        Ok(read)
    }
}

/// A body with one byte changed.
pub(super) struct Flipped<R> {
    pub(super) body: R,
    /// How many bytes come before that one.
    pub(super) before: u64,
}

impl<R: Read> Read for Flipped<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(into)?;
        let here = usize::try_from(self.before).ok().and_then(|before| into.get_mut(..read)?.get_mut(before));
        match here {
            Some(byte) => {
                *byte ^= 0xff;
                self.before = u64::MAX;
            }
            None => self.before = self.before.saturating_sub(read as u64),
        }
        Ok(read)
    }
}

/// As gzip, in blocks that are stored and not compressed, which every reader of it takes.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    // No name, no time, an unknown system.
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(0xffff).peekable();
    if blocks.peek().is_none() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out.extend(crc32(bytes).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    });
    let step = |crc: u32, byte: &u8| {
        let at = (crc ^ u32::from(*byte)) & 0xff;
        table.get(at as usize).copied().unwrap_or_default() ^ (crc >> 8)
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_that_everybody_has() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn only_one_byte_is_changed_wherever_reads_end() {
        for before in 0..10 {
            let mut changed = Vec::new();
            // One byte at a time, then all at once.
            let mut body = Flipped { body: &b"0123456789"[..], before };
            let mut one = [0];
            while body.read(&mut one).expect("readable") > 0 {
                changed.push(one[0]);
            }
            let mut at_once = Vec::new();
            Flipped { body: &b"0123456789"[..], before }.read_to_end(&mut at_once).expect("readable");
            assert_eq!(changed, at_once);
            let others: Vec<_> = changed.iter().zip(b"0123456789").map(|(a, b)| a != b).collect();
            let at = usize::try_from(before).expect("small");
            assert!(others[at] && others.iter().filter(|other| **other).count() == 1, "{before}: {others:?}");
        }
    }

    #[test]
    fn a_bucket_lets_no_more_through_than_it_has() {
        let (bucket, start) = (Bucket::new(1_000_000), Instant::now());
        (0..10).for_each(|_| bucket.wait(10_000));
        // A tenth of a second, of which the slack may be had at once.
        assert!(start.elapsed() >= Duration::from_millis(90) - SLACK, "{:?}", start.elapsed());
    }
}
