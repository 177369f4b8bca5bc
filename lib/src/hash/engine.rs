//! Jobs to threads: one queue, longest file first, every thread pulling from it.

use std::{
    any::Any,
    cmp::Reverse,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use blake3::hazmat::ChainingValue;

use super::{
    Job, Plan, Sink,
    digester::{Digester, Subtree, merge},
    read::{LEAST, Reader, Reading, Room, Stop},
};
use crate::{
    Error, Run,
    code::Code,
    manifest::{Algorithm, Digest},
    shown::Shown,
    source::Source,
};

/// A longer BLAKE3 range is divided among threads, in bytes.
const DIVIDE_FROM: u64 = 8 << 20;

/// The least length of the subtrees that it is divided into, in bytes: a millisecond's work.
const SUBTREE: u64 = 4 << 20;

/// The most subtrees of one range; with more bytes they are longer. Bounds what is held until they are merged to 2 MiB.
const SUBTREES: u64 = 1 << 16;

/// Another thread pays for itself with this much more to do, in bytes: half a millisecond's work.
const WORTH_A_THREAD: u64 = 1 << 20;

/// What opening a file and beginning a range costs, in bytes that could be hashed meanwhile.
const JOB_COST: u64 = 16 << 10;

type Results = Vec<Option<Result<Digest, Error>>>;

/// Hashes a plan: see [`super::hash`].
pub(super) fn hash(
    plan: &Plan<'_>,
    source: &dyn Source,
    tee: Option<&dyn Sink>,
    run: &Run,
) -> Result<Vec<Result<Digest, Error>>, Error> {
    run.check()?;
    let threads = threads(plan, run);
    let engine = Engine {
        plan,
        source,
        tee,
        run,
        room: Room::new(run.memory_bytes(), threads),
        queue: Queue::new(plan),
        results: Mutex::new(plan.jobs.iter().map(|_| None).collect()),
        ended: AtomicBool::new(false),
        end: Mutex::new(None),
    };
    thread::scope(|scope| {
        for number in 1..threads {
            // Where the system gives no more threads, those that are there do the work.
            if thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn_scoped(scope, || engine.work_guarded())
                .is_err()
            {
                break;
            }
        }
        engine.work_guarded();
    });
    if let Some(error) = owned(engine.end) {
        return Err(error);
    }
    let no_result = || Err(Error::new(Code::Panicked, "a range was left unhashed"));
    Ok(owned(engine.results).into_iter().map(|result| result.unwrap_or_else(no_result)).collect())
}

/// How many threads are worth starting, and have memory to read with.
fn threads(plan: &Plan<'_>, run: &Run) -> usize {
    let (mut work, mut units) = (0_u64, 0_u64);
    for job in &plan.jobs {
        let length = job.range.end.saturating_sub(job.range.start);
        work = work.saturating_add(length).saturating_add(JOB_COST);
        units =
            units.saturating_add(subtree_length(plan.algorithm, length).map_or(1, |of| length.div_ceil(of)));
    }
    let most = (run.memory_bytes() / LEAST).min(units).min(work.div_ceil(WORTH_A_THREAD));
    run.thread_count().min(usize::try_from(most).unwrap_or(usize::MAX)).max(1)
}

/// The length of the subtrees that a range of `length` bytes is divided into, if it is.
fn subtree_length(algorithm: Algorithm, length: u64) -> Option<u64> {
    let divided = algorithm == Algorithm::Blake3 && length > DIVIDE_FROM;
    divided.then(|| length.div_ceil(SUBTREES).next_power_of_two().max(SUBTREE))
}

/// What the threads of one call share.
struct Engine<'a> {
    plan: &'a Plan<'a>,
    source: &'a dyn Source,
    tee: Option<&'a dyn Sink>,
    run: &'a Run,
    room: Room,
    queue: Queue<'a>,
    results: Mutex<Results>,
    /// The run has ended before its end: every thread stops at its next window.
    ended: AtomicBool,
    /// And why.
    end: Mutex<Option<Error>>,
}

impl<'a> Engine<'a> {
    /// Works until the queue is empty or the run has ended; a panic ends the run.
    fn work_guarded(&self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            self.end_with(Error::new(Code::Panicked, format!("hashing panicked: {}", Shown(words(&*panic)))));
        }
    }

    fn work(&self) {
        let mut reader = Reader {
            source: self.source,
            tee: self.tee,
            run: self.run,
            ended: &self.ended,
            room: self.room,
            buffer: Vec::new(),
        };
        while let Some(unit) = self.queue.pull() {
            match self.hash_unit(&mut reader, unit) {
                Ok(()) => {}
                Err(Stop::Run(error)) => return self.end_with(error),
                // A range's own error was noted as its result.
                Err(Stop::Ended | Stop::Range(_)) => return,
            }
        }
    }

    /// Hashes one unit and notes its result; an error ends this thread's work.
    fn hash_unit(&self, reader: &mut Reader<'_>, unit: Unit<'a>) -> Result<(), Stop> {
        match unit {
            Unit::Whole { job, reading, range } => {
                let mut digester = Digester::new(self.plan.algorithm);
                let read = reader.read(&reading, range, |bytes| digester.update(bytes));
                let result = for_range(read)?.and_then(|()| digester.finish());
                self.note(job, result);
            }
            Unit::Part { job, reading, tree, at, range } => {
                if !tree.has_failed() {
                    let mut subtree = Subtree::new(at as u64 * tree.subtree);
                    let read = reader.read(&reading, range, |bytes| subtree.update(bytes));
                    tree.set(at, for_range(read)?.map(|()| subtree.finish()));
                }
                if let Some(result) = tree.part_done() {
                    self.note(job, result);
                }
            }
            Unit::Invalid { job } => {
                self.note(
                    job,
                    Err(Error::new(
                        Code::BadArgument,
                        "a range to be hashed is of no listed file, or ends before it begins",
                    )),
                );
            }
        }
        Ok(())
    }

    fn note(&self, job: usize, result: Result<Digest, Error>) {
        if let Some(slot) = lock(&self.results).get_mut(job) {
            *slot = Some(result);
        }
    }

    /// Ends the run; the first reason stands.
    fn end_with(&self, error: Error) {
        lock(&self.end).get_or_insert(error);
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// A piece of work for one thread.
enum Unit<'a> {
    /// A job.
    Whole { job: usize, reading: Arc<Reading<'a>>, range: Range<u64> },
    /// Subtree number `at` of a job's BLAKE3 tree.
    Part { job: usize, reading: Arc<Reading<'a>>, tree: Arc<Tree>, at: usize, range: Range<u64> },
    /// A job that no plan should hold.
    Invalid { job: usize },
}

/// The jobs in the order in which they are begun: the file with the longest job first, the jobs of one file together, so
/// that only the files that threads are reading are open.
struct Queue<'a> {
    plan: &'a Plan<'a>,
    order: Vec<usize>,
    next: Mutex<Next<'a>>,
}

/// How far the queue was pulled.
#[derive(Default)]
struct Next<'a> {
    /// The next place in the order.
    place: usize,
    /// The file of the jobs begun last, kept open for the next job of the same file.
    reading: Option<(usize, Arc<Reading<'a>>)>,
    /// A job that is being divided: its tree and the next subtree.
    dividing: Option<(Arc<Tree>, usize)>,
}

impl<'a> Queue<'a> {
    fn new(plan: &'a Plan<'a>) -> Self {
        let length = |job: &Job| job.range.end.saturating_sub(job.range.start);
        let mut longest = vec![0; plan.entries.len()];
        for job in &plan.jobs {
            if let Some(longest) = longest.get_mut(job.entry) {
                *longest = length(job).max(*longest);
            }
        }
        let mut order: Vec<usize> = (0..plan.jobs.len()).collect();
        order.sort_by_key(|at| {
            plan.jobs.get(*at).map(|job| (Reverse(longest.get(job.entry)), job.entry, job.range.start))
        });
        Queue { plan, order, next: Mutex::default() }
    }

    /// The next unit of work; none when all are begun.
    fn pull(&self) -> Option<Unit<'a>> {
        let next = &mut *lock(&self.next);
        let Some(&job) = self.order.get(next.place) else {
            // The last file is closed when its last reader is done.
            next.reading = None;
            return None;
        };
        let unit = self.unit(next, job);
        // A divided job keeps its place until its last subtree is begun.
        if next.dividing.is_none() {
            next.place += 1;
        }
        Some(unit)
    }

    fn unit(&self, next: &mut Next<'a>, job: usize) -> Unit<'a> {
        let Some(Job { entry, range }) = self.plan.jobs.get(job) else { return Unit::Invalid { job } };
        let Some(length) = range.end.checked_sub(range.start) else { return Unit::Invalid { job } };
        let reading = match &next.reading {
            Some((of, reading)) if of == entry => Arc::clone(reading),
            _ => {
                let Some(listed) = self.plan.entries.get(*entry) else { return Unit::Invalid { job } };
                let reading = Arc::new(Reading::new(listed));
                next.reading = Some((*entry, Arc::clone(&reading)));
                reading
            }
        };
        let Some(subtree) = subtree_length(self.plan.algorithm, length) else {
            return Unit::Whole { job, reading, range: range.clone() };
        };
        let (tree, at) = next.dividing.take().unwrap_or_else(|| (Arc::new(Tree::new(length, subtree)), 0));
        let start = range.start + at as u64 * subtree;
        let end = range.end.min(start.saturating_add(subtree));
        if end < range.end {
            next.dividing = Some((Arc::clone(&tree), at + 1));
        }
        Unit::Part { job, reading, tree, at, range: start..end }
    }
}

/// The subtrees of one divided job.
struct Tree {
    /// Their length in bytes; the last may be shorter.
    subtree: u64,
    state: Mutex<TreeState>,
}

struct TreeState {
    values: Vec<ChainingValue>,
    /// How many are not done yet.
    left: usize,
    /// The first error; then the other subtrees need not be read.
    error: Option<Error>,
}

impl Tree {
    fn new(length: u64, subtree: u64) -> Self {
        let count = usize::try_from(length.div_ceil(subtree)).unwrap_or(usize::MAX);
        Tree {
            subtree,
            state: Mutex::new(TreeState { values: vec![[0; 32]; count], left: count, error: None }),
        }
    }

    fn has_failed(&self) -> bool {
        lock(&self.state).error.is_some()
    }

    fn set(&self, at: usize, value: Result<ChainingValue, Error>) {
        let state = &mut *lock(&self.state);
        match (value, state.values.get_mut(at)) {
            (Ok(value), Some(slot)) => *slot = value,
            (Ok(_), None) => {}
            (Err(error), _) => {
                state.error.get_or_insert(error);
            }
        }
    }

    /// Counts one subtree as done; after the last, the job's result.
    fn part_done(&self) -> Option<Result<Digest, Error>> {
        let state = &mut *lock(&self.state);
        state.left = state.left.saturating_sub(1);
        (state.left == 0).then(|| match state.error.take() {
            Some(error) => Err(error),
            None => merge(std::mem::take(&mut state.values)),
        })
    }
}

/// Sets the error of one range apart from what ends the work.
fn for_range(read: Result<(), Stop>) -> Result<Result<(), Error>, Stop> {
    match read {
        Ok(()) => Ok(Ok(())),
        Err(Stop::Range(error)) => Ok(Err(error)),
        Err(stop) => Err(stop),
    }
}

/// A panic's message, where it has one.
fn words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (_, Some(words)) => words,
        _ => "without a word",
    }
}

/// Locks; a panic elsewhere ends the run by itself and leaves nothing half-changed that is looked at again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
