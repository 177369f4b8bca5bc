//! Reading ahead: what is not in the page cache is brought there before it is hashed, many reads at once.
//!
//! A device answers many requests in the time of one; a thread that waits for each of its own gets a fraction of what the
//! device can do. So where files are cold a pool of threads reads them in the order in which the hashing threads will want
//! them, a bounded number of bytes ahead. It changes nothing that is hashed: whoever is too early waits for the page.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Plan, queue::subtree_length, results::lock};
use crate::{
    ReadMode, Run,
    source::Source,
    sys::{
        cache::{Cached, cached, descriptors, forget, room},
        kernel::is_network_fs,
        map::fetch,
    },
};

/// Less is not worth the question, in bytes.
const WORTH_IT: u64 = 4 << 20;

/// How many reads are under way at once, at most, and on a volume behind a network, where each is a journey.
const READS: usize = 32;

/// The same on a disk of this machine, for each hashing thread. Each read asks the disk for all of its bytes at once, so that
/// a few keep it busy; more only fight for the kernel's memory. Measured with two hashing threads, 4.3 GB on a virtual disk
/// that gives 2.1 GB/s to eight `cat`: 1.82 s with 2 reads, 1.91 s with 4, 2.42 s with 8, 2.51 s with 32.
const LOCAL_READS: usize = 2;

/// What is read at once, in bytes.
const CHUNK: u64 = 4 << 20;

/// How far reading is ahead of hashing, in bytes.
const DISTANCE: u64 = READS as u64 * CHUNK;

/// The same where memory is short.
const LEAST_DISTANCE: u64 = 2 * CHUNK;

/// What each read is copied to, and forgotten, in bytes.
const SCRATCH: usize = 128 << 10;

/// How many ranges are looked at to find out whether a model is cold.
const SAMPLES: usize = 32;

/// Reads a plan ahead of its hashing.
pub(super) struct Ahead<'a> {
    plan: &'a Plan<'a>,
    reads: usize,
    distance: u64,
    state: Mutex<State<'a>>,
    /// Rung when bytes were hashed, or hashing has ended.
    bell: Condvar,
    hashed: AtomicU64,
    ended: AtomicBool,
    /// Where the model is larger than what the cache can hold: for each entry how many of its bytes are to stay there, the
    /// first of the model in the order of names, which whoever loads it wants first. Empty where all may stay.
    stay: Vec<u64>,
}

struct State<'a> {
    chunks: Chunks<'a>,
    /// How many bytes were taken to be read.
    taken: u64,
}

impl<'a> Ahead<'a> {
    /// None where nothing is gained: the files are warm, few, or not files.
    pub(super) fn new(
        plan: &'a Plan<'a>,
        order: &[usize],
        threads: usize,
        lanes: usize,
        source: &dyn Source,
        run: &Run,
    ) -> Option<Self> {
        let bytes = plan.jobs.iter().map(super::Job::length).fold(0, u64::saturating_add);
        if bytes < WORTH_IT || run.read_mode() == ReadMode::Direct {
            return None;
        }
        let cold = cold(plan, order, source, run)?;
        let room = room().unwrap_or(u64::MAX);
        let distance = DISTANCE.min(room / 4).max(LEAST_DISTANCE);
        // A quarter is left to whoever else lives in it.
        let stays = room / 4 * 3;
        let mut left = stays.saturating_sub(distance);
        let stay = if bytes <= stays {
            Vec::new()
        } else {
            plan.entries
                .iter()
                .map(|entry| {
                    let stays = entry.size.min(left);
                    left -= stays;
                    stays
                })
                .collect()
        };
        let chunks = Chunks::new(plan, order.to_vec(), threads * lanes);
        let reads = if is_network_fs(&cold) { READS } else { READS.min(LOCAL_READS * threads) };
        let reads = reads.min((distance / CHUNK) as usize);
        let state = Mutex::new(State { chunks, taken: 0 });
        Some(Ahead {
            plan,
            reads,
            distance,
            state,
            bell: Condvar::new(),
            hashed: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            stay,
        })
    }

    /// Reads, until everything is read or hashing has ended; what goes wrong is for the hashing threads to tell.
    pub(super) fn work(&self, source: &dyn Source, run: &Run) {
        let mut scratch = vec![0; SCRATCH];
        // A handle of its own, since the kernel notes with each how it is read.
        let mut opened: Option<(usize, Option<File>)> = None;
        while let Some((entry, range)) = self.next() {
            if opened.as_ref().is_none_or(|(of, _)| *of != entry) {
                opened = Some((entry, open(self.plan, entry, source, run)));
            }
            let Some((_, Some(file))) = &opened else { continue };
            if cached(file, &range) == Cached::Yes {
                continue;
            }
            if !fetch(file, &range) {
                self.read(file, range, &mut scratch);
            }
        }
    }

    /// How many threads are worth starting. Each has a file open, and most are left to the hashing threads.
    pub(super) fn threads(&self) -> usize {
        self.reads.min(descriptors() as usize / 8)
    }

    /// Where it cannot be mapped, by copying it.
    fn read(&self, file: &File, mut range: Range<u64>, scratch: &mut [u8]) {
        while range.start < range.end {
            let length = scratch.len().min((range.end - range.start) as usize);
            let into = scratch.get_mut(..length).unwrap_or_default();
            match file.read_at(into, range.start) {
                Ok(read) if read > 0 && !self.ended.load(Ordering::Relaxed) => range.start += read as u64,
                _ => return,
            }
        }
    }

    /// The next range to be read, when its time has come; none at the end.
    fn next(&self) -> Option<(usize, Range<u64>)> {
        let mut state = lock(&self.state);
        loop {
            if self.ended.load(Ordering::Relaxed) {
                return None;
            }
            if state.taken < self.hashed.load(Ordering::Relaxed).saturating_add(self.distance) {
                let (entry, range) = state.chunks.next()?;
                state.taken += range.end - range.start;
                return Some((entry, range));
            }
            state = self.bell.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Tells that the bytes `range` of an entry are hashed.
    pub(super) fn hashed(&self, entry: usize, file: Option<&File>, range: &Range<u64>) {
        self.hashed.fetch_add(range.end - range.start, Ordering::Relaxed);
        drop(lock(&self.state)); // as in `end`
        self.bell.notify_one();
        if let (Some(stays), Some(file)) = (self.stay.get(entry), file)
            && *stays < range.end
        {
            forget(file, &(range.start.max(*stays)..range.end));
        }
    }

    /// Ends the reading.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(lock(&self.state)); // nobody is between the question and the wait
        self.bell.notify_all();
    }
}

/// Some of the ranges are looked at, here and there: the first file found that is not in the page cache.
fn cold(plan: &Plan<'_>, order: &[usize], source: &dyn Source, run: &Run) -> Option<File> {
    let step = order.len().div_ceil(SAMPLES).max(1);
    let mut opened: Option<(usize, Option<File>)> = None;
    for job in order.iter().step_by(step).filter_map(|job| plan.jobs.get(*job)) {
        if opened.as_ref().is_none_or(|(entry, _)| *entry != job.entry) {
            opened = Some((job.entry, open(plan, job.entry, source, run)));
        }
        let Some((_, Some(file))) = &opened else { continue };
        if job.length() > 0 && cached(file, &job.range) != Cached::Yes {
            return opened.and_then(|(_, file)| file);
        }
    }
    None
}

fn open(plan: &Plan<'_>, entry: usize, source: &dyn Source, run: &Run) -> Option<File> {
    source.file(plan.entries.get(entry)?, run).ok()?
}

/// The ranges of a plan in pieces, in the order in which they are hashed: so many jobs at once, piece after piece of each,
/// and the next job where one ends.
struct Chunks<'a> {
    plan: &'a Plan<'a>,
    waiting: std::vec::IntoIter<usize>,
    /// The jobs that are hashed at once: the entry, and what is left.
    streams: Vec<(usize, Range<u64>)>,
    turn: usize,
}

impl<'a> Chunks<'a> {
    fn new(plan: &'a Plan<'a>, order: Vec<usize>, streams: usize) -> Self {
        // Divided ranges are hashed by all threads together, one after another.
        let divided = plan.jobs.iter().any(|job| subtree_length(plan.algorithm, job.length()).is_some());
        let mut chunks = Chunks { plan, waiting: order.into_iter(), streams: Vec::new(), turn: 0 };
        for _ in 0..if divided { 1 } else { streams } {
            let stream = chunks.begin();
            chunks.streams.extend(stream);
        }
        chunks
    }

    /// The next job that has bytes.
    fn begin(&mut self) -> Option<(usize, Range<u64>)> {
        let jobs = self.waiting.by_ref().filter_map(|job| self.plan.jobs.get(job));
        jobs.filter(|job| job.length() > 0).map(|job| (job.entry, job.range.clone())).next()
    }
}

impl Iterator for Chunks<'_> {
    type Item = (usize, Range<u64>);

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, left) = self.streams.get_mut(self.turn)?;
        let end = left.end.min(left.start.saturating_add(CHUNK));
        let chunk = (*entry, left.start..end);
        left.start = end;
        if !left.is_empty() {
            self.turn += 1;
        } else if let Some(next) = self.begin() {
            self.streams.insert(self.turn, next);
            self.turn += 1;
            self.streams.remove(self.turn);
        } else {
            self.streams.remove(self.turn);
        }
        if self.turn >= self.streams.len() {
            self.turn = 0;
        }
        Some(chunk)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
