//! One run: how it may be stopped, how much it may use, what time it is, and who is told how it goes.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::{Error, code::Code, limits, report::Finding, sys::lanes::Kernel};

/// The last argument of every slow call: cancellation, deadline, clock, events, threads and memory.
///
/// A new one has no deadline, as many threads as the process may use (affinity and cgroup quota, v1 and v2), 64 MiB for
/// data in flight (128 MiB where it comes from a server), the system's clock, and reads files by `pread`.
#[derive(Clone)]
pub struct Run {
    cancel: Cancel,
    started: Instant,
    deadline: Option<Instant>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn Events>,
    threads: usize,
    memory: Option<u64>,
    /// Ends this run and not the one it is a part of.
    part_ended: Option<Arc<AtomicBool>>,
    read: ReadMode,
    kernel: Option<Kernel>,
    fail_fast: bool,
}

/// How files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadMode {
    /// What is fastest: mapped where files lie on this machine and are long enough, else by `pread`.
    ///
    /// As [`Mmap`](ReadMode::Mmap), only for programs that handle SIGBUS.
    Auto,
    /// Mapped into memory wherever the kernel does it, else by `pread`.
    ///
    /// Only for programs that handle SIGBUS: a file that somebody truncates between the check and the read raises it. See
    /// [`crate::sigbus`].
    Mmap,
    /// By `pread`, into buffers.
    #[default]
    Pread,
    /// Past the page cache (`O_DIRECT`): what the device has, and what others cached stays as it is. A file system that
    /// cannot is an error.
    Direct,
}

impl ReadMode {
    /// All of them.
    pub const ALL: [ReadMode; 4] = [ReadMode::Auto, ReadMode::Mmap, ReadMode::Pread, ReadMode::Direct];

    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            ReadMode::Auto => "auto",
            ReadMode::Mmap => "mmap",
            ReadMode::Pread => "pread",
            ReadMode::Direct => "direct",
        }
    }
}

/// A switch that ends a run from another thread or a signal handler.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the run at its next check, within milliseconds.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// What time it is: validity is checked against this, so that it can be checked without waiting.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub SystemTime);

impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        self.0
    }
}

/// Who is told how a run goes. Calls come from several threads at once and must return quickly.
pub trait Events: Send + Sync {
    /// Reading begins: so many files and bytes.
    fn hashing(&self, files: u64, bytes: u64) {
        let _ = (files, bytes);
    }

    /// What hashes: the kernel by its name, on so many threads, so many ranges at once on each.
    fn kernel(&self, name: &'static str, threads: usize, lanes: usize) {
        let _ = (name, threads, lanes);
    }

    /// So many more bytes were read and hashed.
    fn hashed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Reading has ended, for whatever reason.
    fn done(&self) {}

    /// Something was found. Differences of names and sizes come before the first byte is read.
    fn found(&self, finding: &Finding) {
        let _ = finding;
    }

    /// Something the user should know though it changes no verdict; outside names in it are already escaped.
    fn note(&self, text: &str) {
        let _ = text;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl Events for NoEvents {}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// A run with the defaults.
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Run {
            cancel: Cancel::default(),
            started: Instant::now(),
            deadline: None,
            clock: Arc::new(SystemClock),
            events: Arc::new(NoEvents),
            threads: threads.clamp(1, limits::THREADS),
            memory: None,
            part_ended: None,
            read: ReadMode::Pread,
            kernel: None,
            fail_fast: false,
        }
    }

    /// How many threads may hash, 1 to 256.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.clamp(1, limits::THREADS);
        self
    }

    /// How many bytes may be mapped or buffered at once, over all threads; at least 1 MiB for each server that is read from.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Ends the run when it has taken this long, counted from this call.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Instant::now().checked_add(after);
        self
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Tells this listener how the run goes.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn Events>) -> Self {
        self.events = events;
        self
    }

    /// Ends the run when this is cancelled.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// How files are read; else by `pread`.
    #[must_use]
    pub fn read(mut self, mode: ReadMode) -> Self {
        self.read = mode;
        self
    }

    /// Computes SHA-256 with this kernel; else with the one that is fastest on this processor.
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Ends a verification at the first difference, so that a report has one and not all.
    #[must_use]
    pub fn fail_fast(mut self, fast: bool) -> Self {
        self.fail_fast = fast;
        self
    }

    /// Whether the run may go on; slow loops ask every few milliseconds.
    ///
    /// # Errors
    /// `interrupted` when it was cancelled, `deadline-passed` when its time is over.
    pub fn check(&self) -> Result<(), Error> {
        let part_ended = self.part_ended.as_ref().is_some_and(|ended| ended.load(Ordering::Relaxed));
        if self.cancel.is_cancelled() || part_ended {
            return Err(Error::new(Code::Interrupted, "the run was interrupted"));
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::new(
                Code::DeadlinePassed,
                format!(
                    "the run took longer than the {:.1} s it was given",
                    (deadline - self.started).as_secs_f64()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// How much of the time allowed is left; none where there is no deadline.
    #[cfg(any(feature = "hub", feature = "s3", feature = "sigstore-tuf"))]
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The time now, by the run's clock.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The time now in whole seconds since 1970, negative before.
    pub fn now_unix(&self) -> i64 {
        unix(self.now())
    }

    pub(crate) fn told(&self) -> &dyn Events {
        &*self.events
    }

    pub(crate) fn thread_count(&self) -> usize {
        self.threads
    }

    /// How much may be held of files on this machine.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.unwrap_or(64 << 20)
    }

    /// How much may be held of what comes from a server: what was asked for is on its way for a while.
    pub(crate) fn memory_fetched(&self) -> u64 {
        self.memory.unwrap_or(128 << 20)
    }

    /// The same run, which ends also when this is set.
    pub(crate) fn part(&self, ended: Arc<AtomicBool>) -> Run {
        Run { part_ended: Some(ended), ..self.clone() }
    }

    pub(crate) fn read_mode(&self) -> ReadMode {
        self.read
    }

    pub(crate) fn sha256_kernel(&self) -> Option<Kernel> {
        self.kernel
    }

    pub(crate) fn fails_fast(&self) -> bool {
        self.fail_fast
    }
}

/// Whole seconds since 1970, rounded down, negative before.
pub(crate) fn unix(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs_f64().ceil() as u64).unwrap_or(i64::MAX),
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("threads", &self.threads)
            .field("memory", &self.memory)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_when_cancelled_or_late() {
        let cancel = Cancel::default();
        let run = Run::new().cancel(cancel.clone());
        assert!(run.check().is_ok());
        cancel.cancel();
        assert_eq!(run.check().unwrap_err().code(), Code::Interrupted);
        assert_eq!(Run::new().deadline(Duration::ZERO).check().unwrap_err().code(), Code::DeadlinePassed);
    }
}
