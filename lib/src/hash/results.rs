//! What comes of a plan, noted by many threads, and why hashing ends before its end.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Hashes, Plan, read::Stop};
use crate::{Error, Run, code::Code, manifest::Digest, shown::Shown};

/// What the threads of one call have come to.
pub(super) struct Results<'a> {
    plan: &'a Plan<'a>,
    run: &'a Run,
    digests: Mutex<Vec<Option<Result<Digest, Error>>>>,
    /// Why the run has ended before its end, if it has; the flag is set with it.
    end: Mutex<Option<End>>,
    /// Set when the run has ended for all threads.
    pub(super) ended: Arc<AtomicBool>,
}

/// Why hashing ends before everything is hashed.
enum End {
    Error(Error),
    /// A digest is not the expected one, and one difference is enough.
    Difference,
}

impl<'a> Results<'a> {
    pub(super) fn new(plan: &'a Plan<'a>, run: &'a Run) -> Self {
        Results {
            plan,
            run,
            digests: Mutex::new(plan.jobs.iter().map(|_| None).collect()),
            end: Mutex::new(None),
            ended: Arc::default(),
        }
    }

    /// Notes the result of a job. When the run is to end at the first difference and this is one, it ends.
    pub(super) fn note(&self, job: usize, result: Result<Digest, Error>) {
        let differs =
            self.plan.expected.get(job).is_some_and(|expected| result.as_ref().ok() != Some(expected));
        if let Some(slot) = lock(&self.digests).get_mut(job) {
            *slot = Some(result);
        }
        if differs && self.run.fails_fast() {
            self.end_with(End::Difference);
        }
    }

    /// Notes that a job cannot be done.
    pub(super) fn note_invalid(&self, job: usize) {
        let what = "a range to be hashed is of no listed file, or ends before it begins";
        self.note(job, Err(Error::new(Code::BadArgument, what)));
    }

    /// Ends the run with an error.
    pub(super) fn fail(&self, error: Error) {
        self.end_with(End::Error(error));
    }

    /// Works in this thread; what stops the work, and a panic, ends the run for all.
    pub(super) fn guard(&self, work: impl FnOnce() -> Result<(), Stop>) {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(()) | Err(Stop::Ended | Stop::Range(_))) => {}
            Ok(Err(Stop::Run(error))) => self.fail(error),
            Err(panic) => {
                let what = format!("hashing panicked: {}", Shown(words(&*panic)));
                self.fail(Error::new(Code::Panicked, what));
            }
        }
    }

    /// The first reason stands, save that an error tells more than a difference.
    fn end_with(&self, end: End) {
        let mut reason = lock(&self.end);
        if !matches!(*reason, Some(End::Error(_))) {
            *reason = Some(end);
        }
        self.ended.store(true, Ordering::Relaxed);
    }

    /// What has come of the plan, when all threads are done.
    pub(super) fn hashes(self, kernel: &'static str) -> Result<Hashes, Error> {
        match owned(self.end) {
            Some(End::Error(error)) => return Err(error),
            Some(End::Difference) => {}
            None => {
                let unhashed = || Err(Error::new(Code::Panicked, "a range was left unhashed"));
                for result in lock(&self.digests).iter_mut() {
                    result.get_or_insert_with(unhashed);
                }
            }
        }
        Ok(Hashes { digests: owned(self.digests), kernel: Some(kernel) })
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
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
