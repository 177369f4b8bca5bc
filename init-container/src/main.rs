//! `weightseal-init` stands before a model server in its pod: it ends with 0 only if every model passes.
//!
//! `watch` checks them again and again beside the server, and `probe` tells what came of it.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | every model is verified, or was admitted by warn mode |
//! | 1 | rejected: there is evidence against a model or its signature |
//! | 2 | misuse: the settings cannot be right; also `--help`, which verifies nothing |
//! | 3 | could not tell: unreadable, changed meanwhile, deadline, signal, panic, SIGBUS, nobody to tell |
//!
//! The check runs on a thread of its own. This one waits for its end, for the deadline and for signals, whichever comes
//! first, and is the only one that tells the outcome: once.

#![forbid(unsafe_code)]

use std::{
    any::Any,
    env,
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    path::Path,
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::signal::{SIGINT, SIGTERM, SIGXFSZ};
use weightseal::{Bytes, Cancel, Code, Error, Finding, Mode, ReadMode, Report, Run, Shown, Verdict};

mod again;
mod apart;
mod check;
mod config;
mod log;
mod outcome;
mod record;
mod settings;
mod sigstore;
mod stores;
mod target;
mod under;
mod watch;

use again::Looks;
use config::{Config, Termination, Trust};
use log::{Progress, say};
use outcome::{Outcome, Teller};
use settings::{Refused, Task};
use target::{Target, Way};
use under::Found;

/// How long a check may take to end by itself after a signal or its deadline; then it is left behind.
const GRACE: Duration = Duration::from_millis(400);

/// How often it is asked whether a signal came.
const POLL: Duration = Duration::from_millis(10);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    panic::set_hook(Box::new(say_panic));
    // Whatever panics outside of a check, and so with nobody left to tell, is not a success either.
    let code = panic::catch_unwind(run).unwrap_or(Verdict::CouldNotTell.exit());
    ExitCode::from(code)
}

/// Reads the settings, checks the models, tells the outcome; gives the exit code.
fn run() -> u8 {
    // Handled, so that a write over a size limit fails instead of the process.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let args: Vec<_> = env::args_os().collect();
    let variables: Vec<_> = env::vars_os().collect();
    // The name of what is to be done instead of a check stands first.
    let instead = args.get(1).and_then(|word| word.to_str());
    let rest = || args.iter().take(1).chain(args.iter().skip(2)).cloned().collect::<Vec<_>>();
    match instead {
        Some("watch") => return watch::run(&rest(), &variables),
        Some("probe") => return watch::probe(&rest(), &variables),
        _ => {}
    }
    let config = match Config::read(Task::Check, &args, &variables) {
        Ok(config) => Arc::new(config),
        Err(Refused::Help(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return Verdict::Misuse.exit();
        }
        Err(Refused::Misuse(error)) => {
            say(format_args!("{}: {error} ({})", error.code(), error.help()));
            let teller = Teller::open(&Termination::of_misuse(&args, &variables), &[]);
            return teller.finish(&Outcome::new(Mode::Enforce, Vec::new(), Some(error.into_finding()), 0.0));
        }
    };
    let teller = Arc::new(Teller::open(&config.termination, &config.targets));
    let started = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| race(&config, &teller))).unwrap_or_else(|panic| {
        conclude(&config, &Progressed::of(&config), Some(panicked(&*panic)), started)
    });
    let outcome = record::keep(&config, outcome);
    teller.finish(&outcome)
}

/// What the waiting thread is told.
enum Event {
    /// The check has ended, or panicked.
    Ended(thread::Result<()>),
    /// A signal came.
    Signal(i32),
}

/// How far a check is.
#[derive(Clone, Debug)]
struct Progressed {
    /// What is to be checked: the models that are found come in on the way.
    targets: Vec<Target>,
    /// The reports that are ready, in the same order.
    reports: Vec<Arc<Report>>,
    /// What people should know though it changes no verdict.
    notes: Vec<String>,
}

impl Progressed {
    fn of(config: &Config) -> Self {
        Progressed { targets: config.targets.clone(), reports: Vec::new(), notes: Vec::new() }
    }
}

type Reports = Arc<Mutex<Progressed>>;

/// Starts the check, and waits for it, the deadline or a signal.
fn race(config: &Arc<Config>, teller: &Arc<Teller>) -> Outcome {
    let (tell, events) = mpsc::channel();
    let cancel = Cancel::default();
    let progress = Arc::new(Progress::default());
    if let Err(error) = listen(tell.clone()) {
        let what = format!("signals cannot be received: {error}");
        let finding = Some(Finding::new(Code::IoFailed, what));
        return conclude(config, &Progressed::of(config), finding, Instant::now());
    }
    say(format_args!("weightseal {}", env!("CARGO_PKG_VERSION")));
    let job = {
        let (config, teller) = (Arc::clone(config), Arc::clone(teller));
        let (cancel, progress) = (cancel.clone(), Arc::clone(&progress));
        move |reports: &Reports| {
            let run = config.run().cancel(cancel).events(progress);
            check_all(&config, &teller, &run, reports);
        }
    };
    supervise(config, &progress, &cancel, (tell, events), job)
}

/// Runs `job` on a thread of its own until it ends or has to; what it left unreported was not verified.
fn supervise(
    config: &Config,
    progress: &Progress,
    cancel: &Cancel,
    (tell, events): (Sender<Event>, Receiver<Event>),
    job: impl FnOnce(&Reports) + Send + 'static,
) -> Outcome {
    let started = Instant::now();
    let reports = Arc::new(Mutex::new(Progressed::of(config)));
    let theirs = Arc::clone(&reports);
    let spawned = thread::Builder::new().name("check".to_owned()).spawn(move || {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| job(&theirs)));
        // Nobody waits any more where this one came too late.
        let _ = tell.send(Event::Ended(ended));
    });
    if let Err(error) = spawned {
        let finding = Finding::new(Code::IoFailed, format!("no thread can be started: {error}"));
        return conclude(config, &Progressed::of(config), Some(finding), started);
    }

    // When the check is left behind, and what is said then. It knows its deadline itself, and has some time to end by it.
    let mut end = config.deadline.and_then(|deadline| {
        let what = format!("the check took longer than the {:.1} s it was given", deadline.as_secs_f64());
        Some((started.checked_add(deadline)?.checked_add(GRACE)?, Finding::new(Code::DeadlinePassed, what)))
    });
    let mut interrupted = None;
    let mut told = started;
    let reason = loop {
        let progress_due = told + TELL_EVERY;
        let wake = end.as_ref().map_or(progress_due, |(at, _)| progress_due.min(*at));
        match events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
            Ok(Event::Ended(Ok(()))) => break interrupted,
            Ok(Event::Ended(Err(panic))) => break Some(panicked(&*panic)),
            Ok(Event::Signal(signal)) => {
                cancel.cancel();
                let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                say(format_args!("ends: {name} was received"));
                let finding = Finding::new(Code::Interrupted, format!("{name} ended the check"));
                let at = Instant::now() + GRACE;
                end = Some(end.filter(|(before, _)| *before < at).unwrap_or((at, finding.clone())));
                interrupted = Some(finding);
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                match &end {
                    Some((at, finding)) if now >= *at => break Some(finding.clone()),
                    _ if now >= progress_due => {
                        progress.tell(now - told);
                        told = now;
                    }
                    _ => {}
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                break Some(Finding::new(Code::Panicked, "the check ended without a word"));
            }
        }
    };
    let progressed = lock(&reports).clone();
    conclude(config, &progressed, reason, started)
}

/// The outcome, with a report on each target that has none: it was not verified, because of `reason`.
fn conclude(config: &Config, progressed: &Progressed, reason: Option<Finding>, started: Instant) -> Outcome {
    let Progressed { targets, reports, notes } = progressed;
    let mut reports = reports.clone();
    for target in targets.iter().skip(reports.len()) {
        let finding =
            reason.clone().unwrap_or_else(|| Finding::new(Code::Panicked, "the model was left unchecked"));
        reports.push(Arc::new(check::refused(config, target, finding)));
    }
    Outcome::new(config.mode, reports, reason, started.elapsed().as_secs_f64()).notes(notes.clone())
}

/// The check itself: every model, one after the other.
fn check_all(config: &Config, teller: &Teller, run: &Run, reports: &Reports) {
    let started = Instant::now();
    let trust = config.trust(run);
    let room = weightseal::memory_limit();
    let mut found = None;
    let mut looks = Looks::default();
    while let Some(target) = next(reports) {
        let what = "a file that was truncated while it was mapped ended the check";
        let so_far = lock(reports).clone();
        let if_truncated =
            conclude(config, &so_far, Some(Finding::new(Code::TruncatedWhileMapped, what)), started);
        let handled = teller.prepare_for_sigbus(&if_truncated);
        let mode = match config.read {
            ReadMode::Auto | ReadMode::Mmap if !handled => ReadMode::Pread,
            mode => mode,
        };
        let run = run.clone().read(mode);
        let report = if target.way == Way::Below {
            match below(config, &target, found.take(), &trust, &run) {
                Below::Models(models, now) => {
                    say(format_args!("{} found below {}", count(models.len()), target.shown()));
                    let mut progressed = lock(reports);
                    let at = progressed.reports.len();
                    progressed.targets.splice(at..at, models);
                    found = Some(now);
                    continue;
                }
                Below::Nothing => {
                    lock(reports).targets.pop();
                    continue;
                }
                Below::Report(report) => *report,
            }
        } else {
            say(format_args!("checking {}", target.shown()));
            // What cannot be looked at the check will say.
            let before = again::look(config, &target, &run).ok().flatten();
            let report = check::check(config, &target, &trust, &run);
            let put = matches!(target.way, Way::Into(_)) && report.is_verified();
            looks.add(if put { again::look(config, &target, &run).ok().flatten() } else { before });
            report
        };
        say(report.to_string().trim_end());
        let mut progressed = lock(reports);
        progressed.reports.push(Arc::new(report));
        if let (Some(note), true) = (too_large(&progressed.reports, room), progressed.notes.is_empty()) {
            say(&note);
            progressed.notes.push(note);
        }
    }
    let Progressed { targets, reports: made, .. } = lock(reports).clone();
    for (at, report) in looks.again(config, &targets, &made, run) {
        say(report.to_string().trim_end());
        if let Some(place) = lock(reports).reports.get_mut(at) {
            *place = Arc::new(report);
        }
    }
}

/// The first target that has no report.
fn next(reports: &Reports) -> Option<Target> {
    let progressed = lock(reports);
    progressed.targets.get(progressed.reports.len()).cloned()
}

/// What became of a folder whose models are to be found.
enum Below {
    /// They were found, and are to be checked first.
    Models(Vec<Target>, Found),
    /// They were checked, and there is nothing else.
    Nothing,
    /// Something of it is wrong.
    Report(Box<Report>),
}

/// Finds the models below a folder; when they were `found` and checked, looks whether anything else is there.
fn below(
    config: &Config,
    target: &Target,
    found: Option<Found>,
    trust: &Result<Trust, Error>,
    run: &Run,
) -> Below {
    let folder = Path::new(&target.name()).to_owned();
    let now = match Found::below(&folder, run) {
        Ok(now) => now,
        Err(error) => return Below::Report(Box::new(check::refused(config, target, error.into_finding()))),
    };
    let Some(found) = found else { return Below::Models(now.targets(&folder), now) };
    let changed = found.changes(&now);
    match check::strays(config, target, now.findings.into_iter().chain(changed), trust) {
        Some(report) => Below::Report(Box::new(report)),
        None => Below::Nothing,
    }
}

/// What is to be said where less memory may be used than the models have bytes.
fn too_large(reports: &[Arc<Report>], room: Option<u64>) -> Option<String> {
    let bytes = reports.iter().map(|report| report.bytes).fold(0, u64::saturating_add);
    let room = room.filter(|room| *room < bytes)?;
    Some(format!(
        "{} were read, and the memory limit is {}: the rest will not be in the page cache when the model server loads it; \
         give this container a limit above the models' size",
        Bytes(bytes),
        Bytes(room)
    ))
}

/// Passes on SIGTERM and SIGINT.
fn listen(tell: Sender<Event>) -> io::Result<()> {
    let pending = Arc::new(AtomicUsize::new(0));
    for signal in [SIGTERM, SIGINT] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&pending), number)?;
    }
    // Asked for now and then: whatever else would wake a thread from a handler here is a socket, and there is to be none.
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        loop {
            thread::sleep(POLL);
            let signal = i32::try_from(pending.swap(0, Ordering::SeqCst)).unwrap_or_default();
            if signal != 0 && tell.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// A panic as a finding.
fn panicked(panic: &(dyn Any + Send)) -> Finding {
    Finding::new(Code::Panicked, format!("the check panicked: {}", Shown(words(panic))))
}

/// A panic's message, where it has one.
fn words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (_, Some(words)) => words,
        _ => "without a word",
    }
}

fn say_panic(info: &PanicHookInfo<'_>) {
    let place =
        info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    say(format_args!("panicked{place}: {}", Shown(words(info.payload()))));
}

fn count(models: usize) -> String {
    if models == 1 { "1 model".to_owned() } else { format!("{models} models") }
}

/// Locks; what a panic left behind is whole, since reports are only ever added.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
