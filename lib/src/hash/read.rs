//! Reading one range of a file piece by piece: mapped, by `pread`, past the page cache, or as its source reads it.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Sink, ahead::Ahead};
use crate::{
    Error, ReadMode, Run,
    code::Code,
    source::{self, Entry, Source},
    sys::{
        kernel::{DIRECT_BLOCK, is_network_fs, set_direct},
        map::{MapError, Window},
    },
};

/// Shorter ranges are not mapped, in bytes: a mapping has a price of its own, however short it is.
const MAP_FROM: u64 = 128 << 10;

/// The largest window, in bytes.
const WINDOW: u64 = 2 << 20;

/// The smallest, in bytes: below it unmapping costs more than what a copy would.
const LEAST_WINDOW: u64 = 256 << 10;

/// The larger buffer for what is not mapped, in bytes: it stays in a core's second-level cache.
const BUFFER: u64 = 256 << 10;

/// The same past the page cache, where each read is a trip to the device.
const DIRECT_BUFFER: u64 = 1 << 20;

/// The least that a thread reads with, in bytes; with less memory for each there are fewer threads.
pub(super) const LEAST: u64 = 64 << 10;

/// How much one range that is being read may hold at once, in bytes. Both are powers of two, on which BLAKE3 is fastest
/// and which are whole blocks of every digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// The mapped window; 0 where there is too little memory to map.
    window: u64,
    /// The buffer, 4 KiB at least.
    buffer: u64,
}

impl Room {
    /// The share of each range of `memory` bytes, when each of `threads` threads reads `lanes` of them at once.
    pub(super) fn new(memory: u64, threads: usize, lanes: usize, mode: ReadMode) -> Self {
        let lanes = lanes.max(1) as u64;
        let share = memory / (lanes * threads.max(1) as u64);
        let most = match mode {
            ReadMode::Direct => DIRECT_BUFFER,
            _ => (BUFFER / lanes).max(LEAST),
        };
        let buffer = if share < 8192 { 4096 } else { 1 << share.min(most).ilog2() };
        // Both may be held at once, and a window that does not begin at a page takes one more, of 64 KiB on some processors.
        let left = share.saturating_sub(buffer + (64 << 10));
        let window = if left < LEAST_WINDOW { 0 } else { 1 << left.min(WINDOW).ilog2() };
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
    pub(super) fn by_source(entry: &Entry, error: Error) -> Self {
        match error.code() {
            Code::Interrupted | Code::DeadlinePassed => Stop::Run(error),
            _ if error.finding().name.is_some() => Stop::Range(error),
            _ => Stop::Range(error.with_name(&entry.name)),
        }
    }
}

/// A file that ranges are read from: opened once, when the first of them is, and closed with the last.
pub(super) struct Reading<'a> {
    /// Which of the plan's entries it is.
    number: usize,
    entry: &'a Entry,
    opened: OnceLock<Result<Option<File>, Error>>,
    /// Whether it can be mapped, as far as is known.
    mappable: OnceLock<bool>,
    /// The kernel refused to map it.
    refused: AtomicBool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(number: usize, entry: &'a Entry) -> Self {
        Reading {
            number,
            entry,
            opened: OnceLock::new(),
            mappable: OnceLock::new(),
            refused: AtomicBool::new(false),
        }
    }

    pub(super) fn open(&self, source: &dyn Source, run: &Run) -> Result<Option<&File>, Stop> {
        let open = || {
            let file = source.file(self.entry, run)?;
            if let Some(file) = file.as_ref().filter(|_| run.read_mode() == ReadMode::Direct) {
                set_direct(file).map_err(|error| not_direct(self.entry, error))?;
            }
            Ok(file)
        };
        match self.opened.get_or_init(open) {
            Ok(file) => Ok(file.as_ref()),
            // Each range of the file has the error to report.
            Err(error) => Err(Stop::by_source(self.entry, error.finding().clone().into())),
        }
    }

    fn is_mappable(&self, file: &File, mode: ReadMode) -> bool {
        let maps = || match mode {
            ReadMode::Auto => !is_network_fs(file),
            ReadMode::Mmap => true,
            ReadMode::Pread | ReadMode::Direct => false,
        };
        *self.mappable.get_or_init(maps) && !self.refused.load(Ordering::Relaxed)
    }
}

/// What all ranges of one call are read with.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) tee: Option<&'a dyn Sink>,
    pub(super) run: &'a Run,
    /// Set when the run has ended for all threads.
    pub(super) ended: &'a AtomicBool,
    pub(super) room: Room,
    /// Whether what is hashed is better mapped than copied, where both can be done: the processor fetches the next bytes
    /// while it computes, if it computes long enough on each.
    pub(super) worth_mapping: bool,
    /// Told what was hashed, where there is one.
    pub(super) ahead: Option<&'a Ahead<'a>>,
}

impl Reader<'_> {
    fn check(&self) -> Result<(), Stop> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(Stop::Ended);
        }
        self.run.check().map_err(Stop::Run)
    }

    /// Whether a range is read through a mapping.
    ///
    /// Never with a sink: somebody who writes to the file could have other bytes copied than were hashed.
    fn maps(&self, reading: &Reading<'_>, file: &File, left: u64) -> bool {
        self.tee.is_none()
            && self.room.window > 0
            && left >= MAP_FROM
            && (self.worth_mapping || self.run.read_mode() == ReadMode::Mmap)
            && reading.is_mappable(file, self.run.read_mode())
    }
}

/// Reads the bytes of one range after another, in order, a piece at a time.
///
/// All pieces of a range but its last have a power of two of bytes, 4 KiB at least.
#[derive(Default)]
pub(super) struct Cursor<'a> {
    reading: Option<Arc<Reading<'a>>>,
    /// What is not read yet.
    left: Range<u64>,
    held: Held,
    buffer: Buffer,
}

/// The piece that a cursor holds.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Window(Window),
    /// These bytes of the buffer.
    Buffer(Range<usize>),
}

impl<'a> Cursor<'a> {
    /// Turns to the bytes `range` (end exclusive) of a file.
    pub(super) fn begin(&mut self, reading: Arc<Reading<'a>>, range: Range<u64>) {
        self.held = Held::Nothing;
        self.reading = Some(reading);
        self.left = range;
    }

    /// The piece that was read last; no bytes after the range's end.
    pub(super) fn piece(&self) -> &[u8] {
        match &self.held {
            Held::Nothing => &[],
            Held::Window(window) => window.bytes(),
            Held::Buffer(bytes) => self.buffer.bytes.get(bytes.clone()).unwrap_or_default(),
        }
    }

    /// Whether nothing of the range comes after the piece.
    pub(super) fn is_last(&self) -> bool {
        self.left.is_empty()
    }

    /// Lets the piece go and reads the next; no when there is none.
    ///
    /// When this fails, some bytes of the last piece may have been zeros in place of the file's: what was made of the
    /// range is worthless.
    pub(super) fn advance(&mut self, reader: &Reader<'_>) -> Result<bool, Stop> {
        let Some(reading) = self.reading.as_deref() else { return Ok(false) };
        reader.check()?;
        let file = reading.open(reader.source, reader.run)?;
        let hashed = self.piece().len() as u64;
        if let (Held::Window(window), Some(file)) = (std::mem::take(&mut self.held), file) {
            window.close(file).map_err(|_| shorter(reading.entry))?;
        }
        if hashed > 0 {
            reader.run.told().hashed(hashed);
            if let Some(ahead) = reader.ahead {
                ahead.hashed(reading.number, file, &(self.left.start - hashed..self.left.start));
            }
        }
        let left = self.left.end - self.left.start;
        if left == 0 {
            self.reading = None;
            return Ok(false);
        }
        let start = self.left.start;
        if let Some(file) = file.filter(|file| reader.maps(reading, file, left)) {
            let end = start + left.min(reader.room.window);
            match Window::of(file, start..end) {
                Ok(window) => {
                    self.held = Held::Window(window);
                    self.left.start = end;
                    return Ok(true);
                }
                Err(MapError::Truncated) => return Err(shorter(reading.entry)),
                Err(MapError::Refused) => reading.refused.store(true, Ordering::Relaxed),
            }
        }
        let length = left.min(reader.room.buffer) as usize;
        self.held = Held::Buffer(self.buffer.fill(reader, reading.entry, file, start, length)?);
        self.left.start = start + length as u64;
        if let Some(tee) = reader.tee {
            tee.take(reading.entry, start, self.piece()).map_err(Stop::Run)?;
        }
        Ok(true)
    }

    /// Reads the range to its end and hands each piece to `take`. When this fails, what `take` made of them is worthless.
    pub(super) fn read(&mut self, reader: &Reader<'_>, mut take: impl FnMut(&[u8])) -> Result<(), Stop> {
        while self.advance(reader)? {
            take(self.piece());
        }
        Ok(())
    }
}

/// Memory for what is not mapped; as long as the longest read, and aligned as direct reads have to be.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// Reads `length` bytes from `start` on, all of them, and says where they stand.
    fn fill(
        &mut self,
        reader: &Reader<'_>,
        entry: &Entry,
        file: Option<&File>,
        start: u64,
        length: usize,
    ) -> Result<Range<usize>, Stop> {
        // A direct read begins and ends at blocks: what it has too much in front and behind is not looked at.
        let direct = file.is_some() && reader.run.read_mode() == ReadMode::Direct;
        let skipped = if direct { (start % DIRECT_BLOCK as u64) as usize } else { 0 };
        let wanted = skipped + length;
        let asked = if direct { wanted.next_multiple_of(DIRECT_BLOCK) } else { wanted };
        if self.bytes.len() < asked + DIRECT_BLOCK {
            self.bytes = vec![0; asked + DIRECT_BLOCK];
        }
        let first = self.bytes.as_ptr().align_offset(DIRECT_BLOCK).min(DIRECT_BLOCK);
        let mut filled = 0;
        while filled < wanted {
            let rest = self.bytes.get_mut(first + filled..first + asked).unwrap_or_default();
            let offset = start - skipped as u64 + filled as u64;
            let read = match file {
                Some(file) => match file.read_at(rest, offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(|error| Stop::Range(unreadable(entry, offset, error)))?,
                },
                None => reader
                    .source
                    .read_at(entry, offset, rest, reader.run)
                    .map_err(|error| Stop::by_source(entry, error))?,
            };
            if read == 0 {
                return Err(shorter(entry));
            }
            let before = filled;
            filled += read;
            if direct && filled < wanted {
                // Cut short within a block: from its start again, if that is any further.
                filled -= filled % DIRECT_BLOCK;
                if filled == before {
                    return Err(shorter(entry));
                }
            }
        }
        Ok(first + skipped..first + wanted)
    }
}

fn shorter(entry: &Entry) -> Stop {
    Stop::Range(source::shorter(entry))
}

fn unreadable(entry: &Entry, offset: u64, error: io::Error) -> Error {
    Error::io(&format!("read byte {offset} of"), &entry.name, error, Code::ChangedWhileRead)
        .with_name(&entry.name)
}

fn not_direct(entry: &Entry, error: io::Error) -> Error {
    Error::io("read past the page cache", &entry.name, error, Code::ChangedWhileRead)
        .with_name(&entry.name)
        .with_help("this file system cannot; leave out --read direct")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_stay_within_the_memory() {
        const MIB: u64 = 1 << 20;
        for (threads, lanes) in [(1, 1), (2, 1), (48, 1), (256, 1), (1, 4), (2, 4), (8, 16), (256, 16)] {
            for memory in [MIB, 4 * MIB, 16 * MIB, 64 * MIB] {
                for mode in ReadMode::ALL {
                    let room = Room::new(memory, threads, lanes, mode);
                    let held = room.window + if room.window > 0 { 64 << 10 } else { 0 } + room.buffer;
                    assert!(
                        held * (threads * lanes) as u64 <= memory || room.buffer == 4096,
                        "{threads} of {lanes} in {memory}: {room:?}"
                    );
                }
            }
        }
        let room = |memory, threads, lanes| Room::new(memory, threads, lanes, ReadMode::Auto);
        assert_eq!(room(64 * MIB, 2, 1), Room { window: WINDOW, buffer: BUFFER });
        assert_eq!(room(64 * MIB, 2, 4), Room { window: WINDOW, buffer: BUFFER / 4 });
        assert_eq!(room(64 * MIB, 48, 1), Room { window: WINDOW / 2, buffer: BUFFER });
        assert_eq!(room(64 * MIB, 256, 1), Room { window: 0, buffer: BUFFER });
        assert_eq!(room(200_000, 1, 1), Room { window: 0, buffer: 128 << 10 });
        assert_eq!(room(0, 0, 0), Room { window: 0, buffer: 4096 });
    }
}
