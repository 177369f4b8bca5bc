//! Progress: a bar on a terminal, a line every ten seconds elsewhere, nothing with `--quiet`; on standard error.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::{debug, info};
use weightseal::{Bytes, Events, Finding};

/// The bar that is on the screen.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A bar for less than this would only flicker.
const WORTH_A_BAR: Duration = Duration::from_millis(300);

/// How often there is a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Writes to standard error, with the bar out of the way. Nobody is left to tell when that fails.
pub(crate) fn say(text: &[u8]) {
    let write = || drop(io::stderr().lock().write_all(text));
    match &*locked(&BAR) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Takes the bar off the screen.
pub(crate) fn clear() {
    if let Some(bar) = locked(&BAR).take() {
        bar.finish_and_clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    Nothing,
    Bar,
    Lines(Duration),
}

/// Tells the user how a run goes.
pub(crate) struct Progress {
    show: Show,
    work: Arc<Work>,
    ticker: Mutex<Option<Ticker>>,
}

/// What there is to do, and what is done.
struct Work {
    started: Mutex<Instant>,
    files: AtomicU64,
    bytes: AtomicU64,
    done: AtomicU64,
    /// The work of all hashing in the run.
    all: AtomicU64,
    /// What hashes it.
    kernel: Mutex<Option<&'static str>>,
}

impl Progress {
    /// Progress as the user wants it, for a run that begins now.
    pub(crate) fn new(quiet: bool) -> Self {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::showing(match quiet {
            true => Show::Nothing,
            false if io::stderr().is_terminal() && !dumb => Show::Bar,
            false => Show::Lines(LINE_EVERY),
        })
    }

    fn showing(show: Show) -> Self {
        let work = Work {
            started: Mutex::new(Instant::now()),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            done: AtomicU64::new(0),
            all: AtomicU64::new(0),
            kernel: Mutex::new(None),
        };
        Progress { show, work: Arc::new(work), ticker: Mutex::new(None) }
    }

    /// Bytes that were hashed so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.work.all.load(Ordering::Relaxed)
    }

    /// What hashed them.
    pub(crate) fn kernel(&self) -> Option<&'static str> {
        *locked(&self.work.kernel)
    }

    fn draw(&self) {
        let work = &self.work;
        // Another thread that draws just now draws this as well.
        let Ok(mut bar) = BAR.try_lock() else { return };
        if bar.is_none() {
            let elapsed = locked(&work.started).elapsed();
            if elapsed < WORTH_A_BAR {
                return;
            }
            let total = work.bytes.load(Ordering::Relaxed);
            let new = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            *bar = Some(new.with_style(style()).with_elapsed(elapsed));
        }
        if let Some(bar) = &*bar {
            bar.set_position(work.done.load(Ordering::Relaxed));
        }
    }
}

fn style() -> ProgressStyle {
    const TEMPLATE: &str =
        "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Events for Progress {
    fn hashing(&self, files: u64, bytes: u64) {
        debug!("hashing {files} files, {}", Bytes(bytes));
        *locked(&self.work.started) = Instant::now();
        self.work.files.store(files, Ordering::Relaxed);
        self.work.bytes.store(bytes, Ordering::Relaxed);
        self.work.done.store(0, Ordering::Relaxed);
        if let Show::Lines(every) = self.show {
            *locked(&self.ticker) = Ticker::start(&self.work, every);
        }
    }

    fn kernel(&self, name: &'static str, threads: usize, lanes: usize) {
        *locked(&self.work.kernel) = Some(name);
        debug!("hashing by {name}: {threads} threads, {lanes} at once on each");
    }

    fn hashed(&self, bytes: u64) {
        self.work.done.fetch_add(bytes, Ordering::Relaxed);
        self.work.all.fetch_add(bytes, Ordering::Relaxed);
        if self.show == Show::Bar {
            self.draw();
        }
    }

    fn done(&self) {
        drop(locked(&self.ticker).take());
        clear();
        let seconds = locked(&self.work.started).elapsed().as_secs_f64();
        let done = self.work.done.load(Ordering::Relaxed);
        debug!("hashed {} in {seconds:.3} s, {}/s", Bytes(done), Bytes(rate(done, seconds)));
    }

    fn found(&self, finding: &Finding) {
        debug!("found {}: {finding}", finding.code);
    }

    fn note(&self, text: &str) {
        info!("{text}");
    }
}

/// A thread that says a line now and then, until it is dropped.
struct Ticker {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts it; where there is no thread to be had, nothing is said.
    fn start(work: &Arc<Work>, every: Duration) -> Option<Self> {
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let (work, until) = (Arc::clone(work), Arc::clone(&over));
        let tick = move || {
            let (over, changed) = &*until;
            let mut is_over = locked(over);
            while !*is_over {
                let (guard, timeout) =
                    changed.wait_timeout(is_over, every).unwrap_or_else(PoisonError::into_inner);
                is_over = guard;
                if timeout.timed_out() && !*is_over {
                    say(line(&work).as_bytes());
                }
            }
        };
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(tick).ok()?;
        Some(Ticker { over, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let (over, changed) = &*self.over;
        *locked(over) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked, and if it did the run is none the worse.
            let _ = thread.join();
        }
    }
}

/// How far the work is, in a line.
fn line(work: &Work) -> String {
    let seconds = locked(&work.started).elapsed().as_secs_f64();
    let (done, total) = (work.done.load(Ordering::Relaxed), work.bytes.load(Ordering::Relaxed));
    let rate = rate(done, seconds);
    let left = match total.saturating_sub(done).checked_div(rate) {
        Some(left) => duration(left),
        None => "unknown time".to_owned(),
    };
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    format!("hashed {} of {} ({percent}%), {}/s, {left} left\n", Bytes(done), Bytes(total), Bytes(rate))
}

fn rate(bytes: u64, seconds: f64) -> u64 {
    // As a float it cannot overflow, and a cast saturates.
    (bytes as f64 / seconds.max(1e-9)) as u64
}

/// Whole seconds for people: `40 s`, `5 min`, `3.5 h`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let progress = Progress::showing(Show::Nothing);
        progress.hashing(3, 4_000_000_000);
        *locked(&progress.work.started) = Instant::now() - Duration::from_secs(10);
        assert_eq!(line(&progress.work), "hashed 0 bytes of 4.0 GB (0%), 0 bytes/s, unknown time left\n");
        progress.hashed(1_000_000_000);
        let line = line(&progress.work);
        assert!(line.starts_with("hashed 1.0 GB of 4.0 GB (25%), ") && line.ends_with(" s left\n"), "{line}");
        assert_eq!([duration(40), duration(300), duration(12_600)], ["40 s", "5 min", "3.5 h"]);
    }

    #[test]
    fn the_ticker_ends_with_its_run_and_counts_go_on_over_several() {
        let progress = Progress::showing(Show::Lines(Duration::from_millis(1)));
        for _ in 0..3 {
            progress.hashing(1, 10);
            assert!(locked(&progress.ticker).is_some());
            progress.hashed(10);
            progress.done();
            assert!(locked(&progress.ticker).is_none());
        }
        assert_eq!(progress.bytes(), 30);
    }
}
