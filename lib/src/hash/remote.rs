//! What comes from a server: many parts are fetched at once, and hashed as they arrive.
//!
//! A server answers late but many at once, so parts of several jobs are asked for at the same time, those of one job in
//! their order. Every part that was asked for arrives or fails, and the parts before it were asked for earlier: so whatever
//! waits for its turn in memory will have it, and the bounded memory is never full of parts that nobody can use.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{
    Hashes, Plan, Sink,
    digester::Digester,
    read::Stop,
    results::{Results, lock},
};
use crate::{
    Error, Kernel, Run,
    code::Code,
    manifest::{Algorithm, Digest},
    source::{Entry, Shape, Source, shorter},
    sys::lanes::{Block, End, INITIAL, Lane, State, digest},
};

/// The least memory that is worked with, in bytes.
const LEAST_MEMORY: u64 = 1 << 20;

/// So many parts of the largest size fit into memory at least, on their way, arrived or being hashed.
const LEAST_PARTS: u64 = 16;

/// After so many failures in a row, in times of the reads that are under way at once, the store as a whole is given up.
const ROUNDS_OF_FAILURES: usize = 2;

/// So many streams of SHA-256 at least are hashed together where they are there: one alone leaves most of a core idle.
const PAIR: usize = 2;

/// How long a thread sleeps at most before it asks whether the run may go on.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// Hashes a plan: see [`super::hash`].
pub(super) fn hash(
    plan: &Plan<'_>,
    source: &dyn Source,
    tee: Option<&dyn Sink>,
    run: &Run,
) -> Result<Hashes, Error> {
    run.check()?;
    let bytes = plan.jobs.iter().map(super::Job::length).fold(0, u64::saturating_add);
    let room = Room::new(source.shape(), run.memory_fetched(), plan);
    let threads = (run.thread_count() as u64).min(bytes.div_ceil(room.part)).max(1) as usize;
    let kernel = plan.kernel(bytes, run);
    let name = match plan.algorithm {
        Algorithm::Sha256 => kernel.name(),
        other => other.name(),
    };
    run.told().kernel(name, threads, kernel.lanes());
    let results = Results::new(plan, run);
    let part_run = run.part(results.ended.clone());
    let pool = Pool {
        plan,
        source,
        tee,
        run: &part_run,
        whole_run: run,
        room,
        kernel,
        width: threads * kernel.lanes(),
        threads,
        results: &results,
        state: Mutex::new(Work::new(plan)),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        let pool = &pool;
        let named = |name| thread::Builder::new().name(name);
        // Where the system gives no more threads, those that are there do the work: one of each kind must be.
        let fetch = |number| {
            let work = move || pool.guard(|| pool.fetch());
            named(format!("fetch-{number}")).spawn_scoped(scope, work).ok()
        };
        let fetching = (0..room.reads).map_while(fetch).count();
        if fetching == 0 {
            results.fail(Error::new(Code::IoFailed, "no thread to fetch with can be started"));
        }
        let hash = |number| {
            let work = move || pool.guard(|| pool.hash());
            named(format!("hash-{number}")).spawn_scoped(scope, work).ok()
        };
        (1..threads).map_while(hash).for_each(drop);
        pool.guard(|| pool.hash());
    });
    drop(pool);
    results.hashes(name)
}

/// How much is fetched at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// The length of a part, in bytes: a multiple of every digest's blocks.
    part: u64,
    /// How many bytes may be held, those on their way included.
    memory: u64,
    /// How many parts are on their way at once.
    reads: usize,
}

impl Room {
    fn new(shape: Shape, memory: u64, plan: &Plan<'_>) -> Self {
        let memory = memory.max(LEAST_MEMORY);
        // Powers of two are whole blocks of every digest, and short files need no more than they have.
        let most = 1 << shape.part.min(memory / LEAST_PARTS).max(64).ilog2();
        let longest = plan.jobs.iter().map(super::Job::length).max().unwrap_or(0);
        let part = longest.max(64).checked_next_power_of_two().unwrap_or(most).min(most);
        Room { part, memory, reads: shape.reads.max(1) }
    }
}

/// What the threads of one call share.
struct Pool<'a> {
    plan: &'a Plan<'a>,
    source: &'a dyn Source,
    tee: Option<&'a dyn Sink>,
    /// Ends when hashing does, so that nobody waits for a server in vain.
    run: &'a Run,
    whole_run: &'a Run,
    room: Room,
    kernel: Kernel,
    /// How many jobs are fetched side by side: as many as can be hashed so.
    width: usize,
    threads: usize,
    results: &'a Results<'a>,
    state: Mutex<Work>,
    /// Rung whenever something arrived, was hashed or ended.
    changed: Condvar,
}

/// How far the work is.
struct Work {
    /// Jobs that are not begun.
    waiting: VecDeque<usize>,
    /// Jobs of which parts are to be asked for yet: numbers of streams, in turn.
    asking: VecDeque<usize>,
    /// Jobs that are begun, by their number.
    streams: BTreeMap<usize, Stream>,
    /// Jobs whose next part has arrived and that nobody is hashing.
    ready: VecDeque<usize>,
    /// How many bytes are held, or on their way.
    held: u64,
    /// The memory of large parts, to be used again.
    spare: Vec<Vec<u8>>,
    /// How many ranges failed since one came.
    failures: usize,
}

/// A job in the making.
struct Stream {
    entry: usize,
    /// What is not asked for yet.
    to_ask: Range<u64>,
    /// Where the next part to be hashed begins.
    next: u64,
    end: u64,
    /// Parts that have arrived, by where they begin.
    arrived: BTreeMap<u64, Vec<u8>>,
    /// How many parts are on their way.
    asked: usize,
    hasher: Option<Hasher>,
    failed: bool,
}

enum Hasher {
    /// SHA-256 beside other streams.
    Lane(State),
    Whole(Box<Digester>),
}

/// A part to be hashed.
struct Piece {
    job: usize,
    bytes: Vec<u8>,
    hasher: Hasher,
    /// How many bytes are hashed.
    done: usize,
    /// How many bytes of the job came before, and whether this is its last part.
    before: u64,
    is_last: bool,
}

impl Work {
    /// The longest jobs first, those of one file together, as when files are on disk.
    fn new(plan: &Plan<'_>) -> Self {
        let mut longest = vec![0; plan.entries.len()];
        for job in &plan.jobs {
            if let Some(longest) = longest.get_mut(job.entry) {
                *longest = job.length().max(*longest);
            }
        }
        let mut waiting: Vec<usize> = (0..plan.jobs.len()).collect();
        waiting.sort_by_key(|at| {
            plan.jobs.get(*at).map(|job| (Reverse(longest.get(job.entry)), job.entry, job.range.start))
        });
        Work {
            waiting: waiting.into(),
            asking: VecDeque::new(),
            streams: BTreeMap::new(),
            ready: VecDeque::new(),
            held: 0,
            spare: Vec::new(),
            failures: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.streams.is_empty()
    }
}

/// What is to be fetched next.
struct Ask<'a> {
    job: usize,
    entry: &'a Entry,
    range: Range<u64>,
    buffer: Vec<u8>,
}

impl<'a> Pool<'a> {
    /// Works in this thread; everybody is woken at its end, since it may be the end of all.
    fn guard(&self, work: impl FnOnce() -> Result<(), Stop>) {
        self.results.guard(work);
        drop(lock(&self.state));
        self.changed.notify_all();
    }

    fn check(&self) -> Result<(), Stop> {
        if self.results.ended.load(Ordering::Relaxed) {
            return Err(Stop::Ended);
        }
        self.whole_run.check().map_err(Stop::Run)
    }

    /// Waits until something changes, or it is time to look at the clock.
    fn wait<'w>(&self, work: MutexGuard<'w, Work>) -> MutexGuard<'w, Work> {
        let woken = self.changed.wait_timeout(work, CHECK_EVERY);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Fetches one part after another, until all were asked for.
    fn fetch(&self) -> Result<(), Stop> {
        while let Some(ask) = self.next_ask()? {
            let fetched = self.source.fetch(ask.entry, ask.range.clone(), ask.buffer, self.run);
            let fetched =
                fetched.and_then(|bytes| match bytes.len() as u64 == ask.range.end - ask.range.start {
                    true => Ok(bytes),
                    false => Err(shorter(ask.entry)),
                });
            if let (Ok(bytes), Some(tee)) = (&fetched, self.tee) {
                tee.take(ask.entry, ask.range.start, bytes).map_err(Stop::Run)?;
            }
            self.arrived(ask.job, ask.entry, &ask.range, fetched)?;
        }
        Ok(())
    }

    /// The next part to ask for, when there is room for it; none when all were asked for.
    fn next_ask(&self) -> Result<Option<Ask<'a>>, Stop> {
        let mut work = lock(&self.state);
        loop {
            self.check()?;
            while work.asking.len() < self.width
                && let Some(job) = work.waiting.pop_front()
            {
                self.begin(&mut work, job);
            }
            if work.asking.is_empty() && work.waiting.is_empty() {
                return Ok(None);
            }
            if work.held + self.room.part <= self.room.memory
                && let Some(ask) = self.ask(&mut work)
            {
                work.held += ask.range.end - ask.range.start;
                return Ok(Some(ask));
            }
            work = self.wait(work);
        }
    }

    /// Begins a job.
    fn begin(&self, work: &mut Work, job: usize) {
        let planned = self.plan.jobs.get(job).filter(|job| job.range.start <= job.range.end);
        let Some(planned) = planned.filter(|job| job.entry < self.plan.entries.len()) else {
            self.results.note_invalid(job);
            return;
        };
        if planned.range.is_empty() {
            self.results.note(job, Digester::new(self.plan.algorithm).finish());
            return;
        }
        let hasher = match self.plan.algorithm {
            Algorithm::Sha256 => Hasher::Lane(INITIAL),
            other => Hasher::Whole(Box::new(Digester::new(other))),
        };
        let stream = Stream {
            entry: planned.entry,
            to_ask: planned.range.clone(),
            next: planned.range.start,
            end: planned.range.end,
            arrived: BTreeMap::new(),
            asked: 0,
            hasher: Some(hasher),
            failed: false,
        };
        work.streams.insert(job, stream);
        work.asking.push_back(job);
    }

    /// The next part of the job whose turn it is.
    fn ask(&self, work: &mut Work) -> Option<Ask<'a>> {
        let job = work.asking.pop_front()?;
        let stream = work.streams.get_mut(&job)?;
        let start = stream.to_ask.start;
        let end = stream.to_ask.end.min(start.saturating_add(self.room.part));
        stream.to_ask.start = end;
        stream.asked += 1;
        let entry = self.plan.entries.get(stream.entry)?;
        if !stream.to_ask.is_empty() {
            work.asking.push_back(job);
        }
        // Short parts have memory of their own, so that they do not take up that of long ones.
        let buffer = if self.is_large(end - start) { work.spare.pop() } else { None };
        Some(Ask { job, entry, range: start..end, buffer: buffer.unwrap_or_default() })
    }

    fn is_large(&self, bytes: u64) -> bool {
        bytes > self.room.part / 2
    }

    /// Lets the memory of a part go.
    fn let_go(&self, work: &mut Work, bytes: Vec<u8>) {
        work.held -= bytes.len() as u64;
        if self.is_large(bytes.len() as u64) {
            work.spare.push(bytes);
        }
    }

    /// Takes in what came of a part.
    fn arrived(
        &self,
        job: usize,
        entry: &Entry,
        range: &Range<u64>,
        fetched: Result<Vec<u8>, Error>,
    ) -> Result<(), Stop> {
        let work = &mut *lock(&self.state);
        if self.results.ended.load(Ordering::Relaxed) {
            // What ended it has been said; that this part was given up with it tells nothing.
            return Err(Stop::Ended);
        }
        let Some(stream) = work.streams.get_mut(&job) else { return Ok(()) };
        stream.asked -= 1;
        match fetched {
            Ok(bytes) if !stream.failed => {
                work.failures = 0;
                stream.arrived.insert(range.start, bytes);
                if range.start == stream.next && stream.hasher.is_some() {
                    work.ready.push_back(job);
                }
            }
            Ok(bytes) => self.let_go(work, bytes),
            Err(error) => {
                work.held -= range.end - range.start;
                work.failures += 1;
                let given_up = matches!(error.code(), Code::ServiceFailed | Code::AccessDenied)
                    && work.failures >= ROUNDS_OF_FAILURES * self.room.reads;
                match Stop::by_source(entry, error) {
                    Stop::Range(error) if given_up => return Err(Stop::Run(error)),
                    Stop::Range(error) if !stream.failed => self.give_up(work, job, error),
                    Stop::Range(_) => {}
                    stop => return Err(stop),
                }
            }
        }
        self.forget(work, job);
        self.changed.notify_all();
        Ok(())
    }

    /// A job that cannot be done: what was fetched of it is let go, and no more is asked for.
    fn give_up(&self, work: &mut Work, job: usize, error: Error) {
        let mut arrived = BTreeMap::new();
        if let Some(stream) = work.streams.get_mut(&job) {
            stream.failed = true;
            stream.to_ask.start = stream.to_ask.end;
            arrived = std::mem::take(&mut stream.arrived);
        }
        arrived.into_values().for_each(|bytes| self.let_go(work, bytes));
        work.asking.retain(|asking| *asking != job);
        work.ready.retain(|ready| *ready != job);
        self.results.note(job, Err(error));
    }

    /// Forgets a job that failed, when nothing of it is on its way or being hashed.
    fn forget(&self, work: &mut Work, job: usize) {
        let over = |stream: &Stream| stream.failed && stream.asked == 0 && stream.hasher.is_some();
        if work.streams.get(&job).is_some_and(over) {
            work.streams.remove(&job);
        }
    }

    /// Hashes what arrives, until all is hashed.
    fn hash(&self) -> Result<(), Stop> {
        let mut pieces = Vec::new();
        loop {
            if !self.take(&mut pieces)? {
                return Ok(());
            }
            self.compress(&mut pieces);
            for piece in pieces.drain(..) {
                self.run.told().hashed(piece.bytes.len() as u64);
                self.hashed(piece);
            }
        }
    }

    /// Takes this thread's share of what is ready; no when everything is hashed.
    fn take(&self, pieces: &mut Vec<Piece>) -> Result<bool, Stop> {
        let mut work = lock(&self.state);
        let mut patient = self.kernel.lanes() > 1;
        loop {
            self.check()?;
            // Two streams are hashed in little more time than one: while there is room for more, a second is waited for.
            let may_wait = work.ready.len() == 1
                && work.streams.len() > 1
                && work.held + self.room.part <= self.room.memory;
            if patient && may_wait {
                let woken = self.changed.wait_timeout(work, CHECK_EVERY);
                let (again, waited) = woken.unwrap_or_else(PoisonError::into_inner);
                (work, patient) = (again, !waited.timed_out());
                continue;
            }
            let share = work.ready.len().div_ceil(self.threads).max(PAIR).min(self.kernel.lanes());
            for _ in 0..share {
                let Some(job) = work.ready.pop_front() else { break };
                let start = self.plan.jobs.get(job).map_or(0, |job| job.range.start);
                let Some(stream) = work.streams.get_mut(&job) else { continue };
                let Some(bytes) = stream.arrived.remove(&stream.next) else { continue };
                let Some(hasher) = stream.hasher.take() else { continue };
                let before = stream.next - start;
                stream.next += bytes.len() as u64;
                let is_last = stream.next == stream.end;
                pieces.push(Piece { job, bytes, hasher, done: 0, before, is_last });
            }
            if !pieces.is_empty() {
                return Ok(true);
            }
            if work.is_done() {
                return Ok(false);
            }
            work = self.wait(work);
        }
    }

    /// Hashes parts, those of SHA-256 side by side.
    fn compress(&self, pieces: &mut [Piece]) {
        for piece in pieces.iter_mut() {
            if let Hasher::Whole(digester) = &mut piece.hasher {
                digester.update(&piece.bytes);
            }
        }
        loop {
            // Streams are as long as the shortest of them, then go on without it.
            let mut lanes = Vec::with_capacity(pieces.len());
            let mut places = Vec::with_capacity(pieces.len());
            for piece in pieces.iter_mut() {
                let blocks = piece.bytes.get(piece.done..).unwrap_or_default().as_chunks().0;
                if let (Hasher::Lane(state), false) = (&mut piece.hasher, blocks.is_empty()) {
                    lanes.push(Lane { state, blocks });
                    places.push(&mut piece.done);
                }
            }
            let bytes = self.kernel.compress(&mut lanes) * size_of::<Block>();
            if bytes == 0 {
                return;
            }
            places.into_iter().for_each(|done| *done += bytes);
        }
    }

    /// Puts a stream back after a part of it was hashed; after the last, notes its digest.
    fn hashed(&self, piece: Piece) {
        let Piece { job, bytes, hasher, before, is_last, .. } = piece;
        let digest = is_last.then(|| finish(&hasher, &bytes, before + bytes.len() as u64));
        let work = &mut *lock(&self.state);
        self.let_go(work, bytes);
        if let Some(stream) = work.streams.get_mut(&job) {
            stream.hasher = Some(hasher);
            if let Some(digest) = digest {
                work.streams.remove(&job);
                self.results.note(job, digest);
            } else if !stream.failed && stream.arrived.contains_key(&stream.next) {
                work.ready.push_back(job);
            }
        }
        self.forget(work, job);
        self.changed.notify_all();
    }
}

/// The digest of a job whose last part is hashed but for what is less than a block.
fn finish(hasher: &Hasher, last: &[u8], length: u64) -> Result<Digest, Error> {
    match hasher {
        Hasher::Lane(state) => {
            let mut state = *state;
            let end = End::new(last.as_chunks::<64>().1, length);
            Kernel::Sha2.compress(&mut [Lane { state: &mut state, blocks: end.blocks() }]);
            Ok(Digest::sha256(digest(&state)))
        }
        Hasher::Whole(digester) => digester.clone().finish(),
    }
}

#[cfg(test)]
mod tests;
