//! Jobs to threads: every thread pulls from one queue, and hashes several jobs at once where that is faster.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use super::{
    Hashes, Plan, Sink,
    ahead::Ahead,
    digester::{Digester, Subtree},
    group::Group,
    queue::{Queue, Unit, subtree_length},
    read::{Cursor, LEAST, Reader, Room, Stop},
    results::Results,
};
use crate::{Error, Kernel, Run, manifest::Algorithm, source::Source};

/// Another thread pays for itself with this much more to do, in bytes: half a millisecond's work.
const WORTH_A_THREAD: u64 = 1 << 20;

/// What opening a file and beginning a range costs, in bytes that could be hashed meanwhile.
const JOB_COST: u64 = 16 << 10;

/// Hashes a plan: see [`super::hash`].
pub(super) fn hash(
    plan: &Plan<'_>,
    source: &dyn Source,
    tee: Option<&dyn Sink>,
    run: &Run,
) -> Result<Hashes, Error> {
    run.check()?;
    let work = Work::of(plan);
    let threads = work.threads(run);
    // With little memory fewer ranges are read at once.
    let most = (run.memory_bytes() / LEAST).min(plan.jobs.len() as u64) as usize;
    let kernel = plan.kernel(work.bytes, run);
    let lanes = kernel.lanes().min(most.div_ceil(threads)).max(1);
    let name = match plan.algorithm {
        // One stream is what the package is made for.
        Algorithm::Sha256 if lanes > 1 => kernel.name(),
        Algorithm::Sha256 => Kernel::Sha2.name(),
        other => other.name(),
    };
    run.told().kernel(name, threads, lanes);
    let results = Results::new(plan, run);
    let room = Room::new(run.memory_bytes(), threads, lanes, run.read_mode());
    let worth_mapping = match plan.algorithm {
        Algorithm::Sha256 => lanes <= Kernel::ShaNi.lanes(),
        Algorithm::Blake2b => true,
        Algorithm::Blake3 => false,
    };
    let queue = Queue::new(plan, threads, lanes);
    let ahead = Ahead::new(plan, &queue.order, threads, lanes, source, run);
    let engine = Engine {
        plan,
        reader: Reader {
            source,
            tee,
            run,
            ended: &results.ended,
            room,
            worth_mapping,
            ahead: ahead.as_ref(),
        },
        lanes,
        kernel,
        queue,
        results: &results,
    };
    thread::scope(|scope| {
        let engine = &engine;
        let named = |name| thread::Builder::new().name(name);
        // Where the system gives no more threads, those that are there do the work.
        let hash = |number| {
            named(format!("hash-{number}")).spawn_scoped(scope, move || engine.work_guarded(number)).ok()
        };
        let hashing: Vec<_> = (1..threads).map_while(hash).collect();
        if let Some(ahead) = engine.reader.ahead {
            // Whatever a source does there, it does to the hashing threads too, which tell.
            let work = move || drop(catch_unwind(AssertUnwindSafe(|| ahead.work(source, run))));
            let read = |number| named(format!("read-{number}")).spawn_scoped(scope, work).ok();
            (0..ahead.threads()).map_while(read).for_each(drop);
        }
        engine.work_guarded(0);
        for thread in hashing {
            // A panic was caught within.
            let _ = thread.join();
        }
        if let Some(ahead) = engine.reader.ahead {
            ahead.end();
        }
    });
    results.hashes(name)
}

/// How much there is to do.
struct Work {
    bytes: u64,
    /// Bytes, and what else takes time, in bytes.
    cost: u64,
    /// How many pieces there are for threads to take.
    units: u64,
}

impl Work {
    fn of(plan: &Plan<'_>) -> Self {
        let mut work = Work { bytes: 0, cost: 0, units: 0 };
        for job in &plan.jobs {
            let length = job.length();
            let units = subtree_length(plan.algorithm, length).map_or(1, |of| length.div_ceil(of));
            work.bytes = work.bytes.saturating_add(length);
            work.cost = work.cost.saturating_add(length).saturating_add(JOB_COST);
            work.units = work.units.saturating_add(units);
        }
        work
    }

    /// How many threads are worth starting, and have memory to read with.
    fn threads(&self, run: &Run) -> usize {
        let most = (run.memory_bytes() / LEAST).min(self.units).min(self.cost.div_ceil(WORTH_A_THREAD));
        run.thread_count().min(usize::try_from(most).unwrap_or(usize::MAX)).max(1)
    }
}

/// What the threads of one call share.
pub(super) struct Engine<'a> {
    plan: &'a Plan<'a>,
    pub(super) reader: Reader<'a>,
    /// How many jobs a thread works on at once; more than one only with SHA-256.
    pub(super) lanes: usize,
    /// And by what.
    pub(super) kernel: Kernel,
    pub(super) queue: Queue<'a>,
    pub(super) results: &'a Results<'a>,
}

impl<'a> Engine<'a> {
    /// Works until the queue is empty or the run has ended; a panic ends the run.
    fn work_guarded(&self, thread: usize) {
        self.results.guard(|| match self.lanes {
            2.. => Group::new(self, thread).work(),
            _ => self.work(thread),
        });
    }

    /// Hashes one unit after another.
    fn work(&self, thread: usize) -> Result<(), Stop> {
        let mut cursor = Cursor::default();
        while let Some(unit) = self.queue.pull(thread, 0) {
            self.hash_unit(&mut cursor, unit)?;
            self.queue.done();
        }
        Ok(())
    }

    /// Hashes one unit and notes its result; an error ends this thread's work.
    fn hash_unit(&self, cursor: &mut Cursor<'a>, unit: Unit<'a>) -> Result<(), Stop> {
        let reader = &self.reader;
        match unit {
            Unit::Whole { job, reading, range } => {
                cursor.begin(reading, range);
                let mut digester = Digester::new(self.plan.algorithm);
                let read = cursor.read(reader, |bytes| digester.update(bytes));
                self.results.note(job, for_range(read)?.and_then(|()| digester.finish()));
            }
            Unit::Part { job, reading, tree, at, range } => {
                if !tree.has_failed() {
                    cursor.begin(reading, range);
                    let mut subtree = Subtree::new(at as u64 * tree.subtree);
                    let read = cursor.read(reader, |bytes| subtree.update(bytes));
                    tree.set(at, for_range(read)?.map(|()| subtree.finish()));
                }
                if let Some(result) = tree.part_done() {
                    self.results.note(job, result);
                }
            }
            Unit::Invalid { job } => self.results.note_invalid(job),
        }
        Ok(())
    }
}

/// Sets the error of one range apart from what ends the work.
pub(super) fn for_range<T>(read: Result<T, Stop>) -> Result<Result<T, Error>, Stop> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(Stop::Range(error)) => Ok(Err(error)),
        Err(stop) => Err(stop),
    }
}

#[cfg(test)]
mod tests;
