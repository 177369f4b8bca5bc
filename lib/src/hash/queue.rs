//! What is to be done, in the order in which it is begun.

use std::{
    cmp::Reverse,
    ops::Range,
    sync::{Arc, Mutex},
};

use blake3::hazmat::ChainingValue;

use super::{Job, Plan, digester::merge, read::Reading, results::lock};
use crate::{
    Error,
    manifest::{Algorithm, Digest},
};

/// A longer BLAKE3 range is divided among threads, in bytes.
pub(super) const DIVIDE_FROM: u64 = 8 << 20;

/// The least length of the subtrees that it is divided into, in bytes: a millisecond's work.
pub(super) const SUBTREE: u64 = 4 << 20;

/// The most subtrees of one range; with more bytes they are longer. Bounds what is held until they are merged to 2 MiB.
pub(super) const SUBTREES: u64 = 1 << 16;

/// The length of the subtrees that a range of `length` bytes is divided into, if it is.
pub(super) fn subtree_length(algorithm: Algorithm, length: u64) -> Option<u64> {
    let divided = algorithm == Algorithm::Blake3 && length > DIVIDE_FROM;
    divided.then(|| length.div_ceil(SUBTREES).next_power_of_two().max(SUBTREE))
}

/// A piece of work for one thread.
pub(super) enum Unit<'a> {
    /// A job.
    Whole { job: usize, reading: Arc<Reading<'a>>, range: Range<u64> },
    /// Subtree number `at` of a job's BLAKE3 tree.
    Part { job: usize, reading: Arc<Reading<'a>>, tree: Arc<Tree>, at: usize, range: Range<u64> },
    /// A job that no plan should hold.
    Invalid { job: usize },
}

/// The jobs in the order in which they are begun: the file with the longest job first, the jobs of one file together, so
/// that only the files that threads are reading are open.
pub(super) struct Queue<'a> {
    plan: &'a Plan<'a>,
    /// Indices of jobs.
    pub(super) order: Vec<usize>,
    next: Mutex<Next<'a>>,
}

/// How far the queue was pulled.
#[derive(Default)]
struct Next<'a> {
    /// What each thread begins with, the last first: dealt in turn, so that the longest jobs do not all fall to one.
    dealt: Vec<Vec<Unit<'a>>>,
    /// The next place in the order.
    place: usize,
    /// How many units were pulled and are not done.
    active: usize,
    /// The file of the jobs begun last, kept open for the next job of the same file.
    reading: Option<(usize, Arc<Reading<'a>>)>,
    /// A job that is being divided: its tree and the next subtree.
    dividing: Option<(Arc<Tree>, usize)>,
}

impl<'a> Queue<'a> {
    /// The queue for so many threads, each of which works on up to `lanes` jobs at once.
    pub(super) fn new(plan: &'a Plan<'a>, threads: usize, lanes: usize) -> Self {
        let mut longest = vec![0; plan.entries.len()];
        for job in &plan.jobs {
            if let Some(longest) = longest.get_mut(job.entry) {
                *longest = job.length().max(*longest);
            }
        }
        let mut order: Vec<usize> = (0..plan.jobs.len()).collect();
        order.sort_by_key(|at| {
            plan.jobs.get(*at).map(|job| (Reverse(longest.get(job.entry)), job.entry, job.range.start))
        });
        let dealt = (0..threads.max(1)).map(|_| Vec::new()).collect();
        let mut next = Next { dealt, place: 0, active: 0, reading: None, dividing: None };
        let queue = Queue { plan, order, next: Mutex::default() };
        // What may be divided is for all threads: it is not dealt.
        if lanes > 1 {
            for turn in 0..(threads * lanes).min(queue.order.len()) {
                if let (Some(unit), Some(to)) = (queue.take(&mut next), next.dealt.get_mut(turn % threads)) {
                    to.insert(0, unit);
                }
            }
        }
        *lock(&queue.next) = next;
        queue
    }

    /// The next unit of work for a thread that has `held` of them; none when it is not to have more, or all are begun.
    ///
    /// What is left near the end is shared among the threads evenly.
    pub(super) fn pull(&self, thread: usize, held: usize) -> Option<Unit<'a>> {
        let next = &mut *lock(&self.next);
        let mut unit = next.dealt.get_mut(thread).and_then(Vec::pop);
        if unit.is_none() {
            let left = self.order.len() - next.place;
            let share = (next.active + left).div_ceil(next.dealt.len().max(1));
            if held == 0 || held < share {
                unit = self.take(next);
            }
        }
        // A thread without any work takes from another that has not begun: the system may have given fewer threads.
        if unit.is_none() && held == 0 {
            unit = next.dealt.iter_mut().find_map(Vec::pop);
        }
        next.active += usize::from(unit.is_some());
        unit
    }

    /// Counts a unit as done.
    pub(super) fn done(&self) {
        let next = &mut *lock(&self.next);
        next.active = next.active.saturating_sub(1);
    }

    /// The next unit in the order.
    fn take(&self, next: &mut Next<'a>) -> Option<Unit<'a>> {
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
                let reading = Arc::new(Reading::new(*entry, listed));
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
pub(super) struct Tree {
    /// Their length in bytes; the last may be shorter.
    pub(super) subtree: u64,
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

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.state).error.is_some()
    }

    pub(super) fn set(&self, at: usize, value: Result<ChainingValue, Error>) {
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
    pub(super) fn part_done(&self) -> Option<Result<Digest, Error>> {
        let state = &mut *lock(&self.state);
        state.left = state.left.saturating_sub(1);
        (state.left == 0).then(|| match state.error.take() {
            Some(error) => Err(error),
            None => merge(std::mem::take(&mut state.values)),
        })
    }
}
