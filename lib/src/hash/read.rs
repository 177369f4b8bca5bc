//! Reading one range of a file window by window: mapped, by `pread`, or as its source reads it.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::Sink;
use crate::{
    Error, Run,
    code::Code,
    shown::Shown,
    source::{Entry, Source},
    sys::{
        kernel::is_network_fs,
        map::{MapError, with_window},
    },
};

/// Shorter ranges are not mapped, in bytes: a mapping has a price of its own, however short it is.
const MAP_FROM: u64 = 128 << 10;

/// The larger window, in bytes. Measured warm with BLAKE3 on two cores: 512 KiB windows gave 7.6 GB/s, 1 MiB
/// 8.4, 2 MiB 9.7, and 4 MiB, at twice the memory, 10.1.
const WINDOW: u64 = 2 << 20;

/// The larger buffer for what is not mapped, in bytes: it stays in a core's second-level cache.
const BUFFER: u64 = 256 << 10;

/// The least that a thread reads with, in bytes; with less memory for each there are fewer threads.
pub(super) const LEAST: u64 = 64 << 10;

/// How much one thread may hold at once, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// The mapped window; 0 where there is too little memory to map.
    window: u64,
    /// The buffer, 4 KiB at least.
    buffer: u64,
}

impl Room {
    /// Each of `threads` threads' share of `memory` bytes.
    pub(super) fn new(memory: u64, threads: usize) -> Self {
        let share = memory / (threads.max(1) as u64);
        // Both may be held at once, and a window that does not begin at a page takes one more, of 64 KiB on some processors.
        let window = [WINDOW, WINDOW / 2]
            .into_iter()
            .find(|window| share >= window + BUFFER + (64 << 10))
            .unwrap_or(0);
        // BLAKE3 is fastest on powers of two.
        let buffer = if share < 8192 { 4096 } else { 1 << share.min(BUFFER).ilog2() };
        Room { window, buffer }
    }
}

/// What ends the reading of a range.
#[derive(Debug)]
pub(super) enum Stop {
    /// The range cannot be read; others can.
    Range(Error),
    /// The whole run ends.
    Run(Error),
    /// The whole run has ended already, by another thread.
    Ended,
}

impl Stop {
    /// An error of a source: a run that is cancelled or late ends, all else is about the one file.
    fn by_source(entry: &Entry, error: Error) -> Self {
        match error.code() {
            Code::Interrupted | Code::DeadlinePassed => Stop::Run(error),
            _ if error.finding().name.is_some() => Stop::Range(error),
            _ => Stop::Range(error.with_name(&entry.name)),
        }
    }
}

/// A file that ranges are read from: opened once, when the first of them is, and closed with the last.
pub(super) struct Reading<'a> {
    pub(super) entry: &'a Entry,
    opened: OnceLock<Result<Option<File>, Error>>,
    /// Whether it can be mapped, as far as is known.
    mappable: OnceLock<bool>,
    /// The kernel refused to map it.
    refused: AtomicBool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(entry: &'a Entry) -> Self {
        Reading { entry, opened: OnceLock::new(), mappable: OnceLock::new(), refused: AtomicBool::new(false) }
    }

    fn open(&self, source: &dyn Source, run: &Run) -> Result<Option<&File>, Stop> {
        match self.opened.get_or_init(|| source.file(self.entry, run)) {
            Ok(file) => Ok(file.as_ref()),
            // Each range of the file has the error to report.
            Err(error) => Err(Stop::by_source(self.entry, error.finding().clone().into())),
        }
    }

    fn is_mappable(&self, file: &File) -> bool {
        *self.mappable.get_or_init(|| !is_network_fs(file)) && !self.refused.load(Ordering::Relaxed)
    }
}

/// One thread's means of reading, used for range after range.
pub(super) struct Reader<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) tee: Option<&'a dyn Sink>,
    pub(super) run: &'a Run,
    /// Set when the run has ended for all threads.
    pub(super) ended: &'a AtomicBool,
    pub(super) room: Room,
    /// As long as the longest read that was not mapped.
    pub(super) buffer: Vec<u8>,
}

impl Reader<'_> {
    /// Reads the bytes `range` (end exclusive) of a file, in order, and hands each window to `take` and to the sink.
    ///
    /// When this fails, `take` has seen some of the bytes, or zeros in place of some: what it made of them is worthless.
    pub(super) fn read(
        &mut self,
        reading: &Reading<'_>,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Stop> {
        self.check()?;
        let file = reading.open(self.source, self.run)?;
        let mut at = range.start;
        if let Some(file) = file.filter(|file| self.maps(reading, file, &range)) {
            while at < range.end {
                self.check()?;
                let end = range.end.min(at.saturating_add(self.room.window));
                match with_window(file, at..end, &mut take) {
                    Ok(()) => self.run.told().hashed(end - at),
                    Err(MapError::Truncated) => return Err(shorter(reading.entry)),
                    Err(MapError::Refused) => {
                        reading.refused.store(true, Ordering::Relaxed);
                        break;
                    }
                }
                at = end;
            }
        }
        while at < range.end {
            self.check()?;
            let length = self.fill(reading.entry, file, at, range.end - at)?;
            let bytes = self.buffer.get(..length).unwrap_or_default();
            take(bytes);
            if let Some(tee) = self.tee {
                tee.take(reading.entry, at, bytes).map_err(Stop::Run)?;
            }
            self.run.told().hashed(length as u64);
            at = at.saturating_add(length as u64);
        }
        Ok(())
    }

    /// Whether the range is read through a mapping.
    ///
    /// Never with a sink: somebody who writes to the file could have other bytes copied than were hashed.
    fn maps(&self, reading: &Reading<'_>, file: &File, range: &Range<u64>) -> bool {
        self.run.maps_files()
            && self.tee.is_none()
            && self.room.window > 0
            && range.end - range.start >= MAP_FROM
            && reading.is_mappable(file)
    }

    /// Fills the buffer with the next bytes, at most `left`, and says how many: at least one.
    fn fill(&mut self, entry: &Entry, file: Option<&File>, at: u64, left: u64) -> Result<usize, Stop> {
        let length = left.min(self.room.buffer) as usize;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let mut filled = 0;
        while let Some(rest) = self.buffer.get_mut(filled..length).filter(|rest| !rest.is_empty()) {
            let offset = at.saturating_add(filled as u64);
            let read = match file {
                Some(file) => match file.read_at(rest, offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(|error| Stop::Range(unreadable(entry, offset, error)))?,
                },
                None => self
                    .source
                    .read_at(entry, offset, rest, self.run)
                    .map_err(|error| Stop::by_source(entry, error))?,
            };
            if read == 0 {
                return Err(shorter(entry));
            }
            filled += read;
        }
        Ok(length)
    }

    fn check(&self) -> Result<(), Stop> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(Stop::Ended);
        }
        self.run.check().map_err(Stop::Run)
    }
}

fn shorter(entry: &Entry) -> Stop {
    let what =
        format!("{} became shorter than the {} bytes it was listed with", Shown(&entry.name), entry.size);
    Stop::Range(Error::new(Code::ChangedWhileRead, what).with_name(&entry.name))
}

fn unreadable(entry: &Entry, offset: u64, error: io::Error) -> Error {
    Error::io(&format!("read byte {offset} of"), &entry.name, error, Code::ChangedWhileRead)
        .with_name(&entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_stay_within_the_memory() {
        const MIB: u64 = 1 << 20;
        for threads in [1, 2, 8, 24, 25, 26, 48, 49, 64, 256] {
            for memory in [MIB, 4 * MIB, 16 * MIB, 64 * MIB] {
                let room = Room::new(memory, threads);
                let held = room.window + if room.window > 0 { 64 << 10 } else { 0 } + room.buffer;
                assert!(
                    held * threads as u64 <= memory || room.buffer == 4096,
                    "{threads} in {memory}: {room:?}"
                );
            }
        }
        assert_eq!(Room::new(64 * MIB, 2), Room { window: WINDOW, buffer: BUFFER });
        assert_eq!(Room::new(64 * MIB, 48), Room { window: WINDOW / 2, buffer: BUFFER });
        assert_eq!(Room::new(64 * MIB, 256), Room { window: 0, buffer: BUFFER });
        assert_eq!(Room::new(200_000, 1), Room { window: 0, buffer: 128 << 10 });
        assert_eq!(Room::new(0, 0), Room { window: 0, buffer: 4096 });
    }
}
