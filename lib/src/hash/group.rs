//! Several jobs of SHA-256 at once in one thread.
//!
//! One stream of SHA-256 leaves most of a core idle, since each of its steps waits for the one before; the steps of other
//! streams fill the gaps. So a thread drives a group of lanes, each of them a job; a lane whose job ends takes the next.

use super::{
    engine::{Engine, for_range},
    queue::Unit,
    read::{Cursor, Reader, Stop},
};
use crate::{
    manifest::Digest,
    sys::lanes::{Block, End, INITIAL, Kernel, Lane, State, digest},
};

/// The lanes of one thread.
pub(super) struct Group<'e, 'a> {
    engine: &'e Engine<'a>,
    thread: usize,
    /// The jobs that are being hashed.
    streams: Vec<Stream<'a>>,
    /// Streams whose jobs have ended, for their buffers.
    spare: Vec<Stream<'a>>,
}

/// A job in the making.
struct Stream<'a> {
    job: usize,
    cursor: Cursor<'a>,
    /// How many bytes of the cursor's piece are in the state.
    done: usize,
    state: State,
    /// How many bytes the pieces before had.
    length: u64,
}

impl<'e, 'a> Group<'e, 'a> {
    pub(super) fn new(engine: &'e Engine<'a>, thread: usize) -> Self {
        Group { engine, thread, streams: Vec::new(), spare: Vec::new() }
    }

    /// Works until the queue is empty.
    pub(super) fn work(mut self) -> Result<(), Stop> {
        loop {
            while self.streams.len() < self.engine.lanes
                && let Some(unit) = self.engine.queue.pull(self.thread, self.streams.len())
            {
                self.begin(unit)?;
            }
            if self.streams.is_empty() {
                return Ok(());
            }
            self.step();
            let mut at = 0;
            while let Some(stream) = self.streams.get_mut(at) {
                if !stream.blocks().is_empty() {
                    at += 1;
                    continue;
                }
                if let Some(result) = for_range(stream.advance(&self.engine.reader))?.transpose() {
                    let stream = self.streams.swap_remove(at);
                    self.engine.results.note(stream.job, result);
                    self.engine.queue.done();
                    self.spare.push(stream);
                }
            }
        }
    }

    /// Gives a job a lane.
    fn begin(&mut self, unit: Unit<'a>) -> Result<(), Stop> {
        let (job, reading, range) = match unit {
            Unit::Whole { job, reading, range } => (job, reading, range),
            // Only BLAKE3 is divided.
            Unit::Part { job, .. } | Unit::Invalid { job } => {
                self.engine.results.note_invalid(job);
                self.engine.queue.done();
                return Ok(());
            }
        };
        let mut cursor = self.spare.pop().map(|stream| stream.cursor).unwrap_or_default();
        cursor.begin(reading, range);
        self.streams.push(Stream { job, cursor, done: 0, state: INITIAL, length: 0 });
        Ok(())
    }

    /// Hashes as many blocks of each lane as the lane with the fewest has.
    fn step(&mut self) {
        let mut lanes: Vec<Lane<'_>> = self.streams.iter_mut().map(Stream::lane).collect();
        let blocks = self.engine.kernel.compress(&mut lanes);
        for stream in &mut self.streams {
            stream.done += blocks * size_of::<Block>();
        }
    }
}

impl<'a> Stream<'a> {
    /// The whole blocks that are left of the piece.
    fn blocks(&self) -> &[Block] {
        self.cursor.piece().get(self.done..).unwrap_or_default().as_chunks().0
    }

    fn lane(&mut self) -> Lane<'_> {
        let rest = self.cursor.piece().get(self.done..).unwrap_or_default();
        Lane { state: &mut self.state, blocks: rest.as_chunks().0 }
    }

    /// Goes on to the next piece with a whole block in it; at the end of the range, the digest.
    fn advance(&mut self, reader: &Reader<'_>) -> Result<Option<Digest>, Stop> {
        while self.blocks().is_empty() {
            let piece = self.cursor.piece();
            self.length += piece.len() as u64;
            if self.cursor.is_last() {
                // Only the last piece has bytes after its last block.
                let rest = piece.get(self.done..).unwrap_or_default();
                let end = End::new(rest, self.length);
                Kernel::Sha2.compress(&mut [Lane { state: &mut self.state, blocks: end.blocks() }]);
                let digest = Digest::sha256(digest(&self.state));
                // Lets the piece go, and tells whether it was what the file has.
                self.cursor.advance(reader)?;
                return Ok(Some(digest));
            }
            self.cursor.advance(reader)?;
            self.done = 0;
        }
        Ok(None)
    }
}
