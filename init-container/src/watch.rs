//! `watch`: models are checked again and again beside their server.
//!
//! The stamps of all files are compared at each interval, and no byte is read for that; now and then every byte is hashed
//! again. What comes of it is kept where `probe` reads it. The volume is only ever touched by threads of their own: while one
//! of them hangs, signals are still obeyed, and what was found grows too old to count.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use weightseal::{Cancel, Code, Error, Finding, Mode, Model, Run, Stamps, Verdict, Written};

use crate::{
    Progressed, check_all, conclude,
    config::{Config, Termination},
    listen, lock,
    log::{Progress, say},
    outcome::{Outcome, Teller},
    panicked, record,
    settings::{Refused, Task},
    target::{Target, Way},
    under::Found,
};

mod pace;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use pace::Paced;
pub(crate) use settings::Settings;
pub(crate) use state::probe;
use state::{State, Store};

/// Watches until a signal comes; gives the exit code: 0, but 1 where the models were found to be other ones, and 2 where the
/// settings cannot be right.
pub(crate) fn run(args: &[OsString], variables: &[(OsString, OsString)]) -> u8 {
    let config = match Config::read(Task::Watch, args, variables) {
        Ok(config) => Arc::new(config),
        Err(Refused::Help(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return Verdict::Misuse.exit();
        }
        Err(Refused::Misuse(error)) => {
            say(format_args!("{}: {error} ({})", error.code(), error.help()));
            let teller = Teller::open(&Termination::of_misuse(args, variables), &[]);
            return teller.finish(&Outcome::new(Mode::Enforce, Vec::new(), Some(error.into_finding()), 0.0));
        }
    };
    let teller = Arc::new(Teller::open(&config.termination, &config.targets));
    let refuse = |error: Error| {
        say(format_args!("{}: {error} ({})", error.code(), error.help()));
        teller.finish(&Outcome::new(config.mode, Vec::new(), Some(error.into_finding()), 0.0))
    };
    let Some(settings) = &config.watch else {
        return refuse(Error::new(Code::BadArgument, "there is nothing to watch by"));
    };
    let (store, failed) = match Store::open(&settings.state, settings.interval) {
        Ok(opened) => opened,
        Err(error) => return refuse(error),
    };
    let (tell, events) = mpsc::channel();
    if let Err(error) = listen_for(&tell) {
        return refuse(Error::new(Code::IoFailed, format!("signals cannot be received: {error}")));
    }
    say(format_args!("weightseal {}, watching", env!("CARGO_PKG_VERSION")));
    let mut watch = Watch::new(Arc::clone(&config), Arc::clone(&teller), store, tell);
    if let Some(why) = failed {
        watch.fail_again(&why);
    }
    loop {
        watch.begin_what_is_due();
        match events.recv_timeout(watch.until_next()) {
            Ok(Event::Signal) => {
                say("ends, as it was told to");
                return watch.stop();
            }
            Ok(Event::Checked(checked)) => watch.checked(*checked),
            Ok(Event::Looked(looked)) => watch.looked(looked),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Verdict::CouldNotTell.exit(),
        }
    }
}

/// What the waiting thread is told.
enum Event {
    Signal,
    Checked(Box<Checked>),
    Looked(Result<Seen, Error>),
}

fn listen_for(tell: &Sender<Event>) -> io::Result<()> {
    let (inner, signals) = mpsc::channel();
    listen(inner)?;
    let tell = tell.clone();
    thread::Builder::new().name("stop".to_owned()).spawn(move || {
        if signals.recv().is_ok() {
            let _ = tell.send(Event::Signal);
        }
    })?;
    Ok(())
}

/// What the file system says of all models at one moment.
struct Seen {
    models: Vec<(Target, Stamps)>,
    /// What was found below a folder.
    found: Vec<Found>,
}

impl Seen {
    fn look(config: &Config, run: &Run) -> Result<Seen, Error> {
        let mut seen = Seen { models: Vec::new(), found: Vec::new() };
        let access = config.stores.access(true)?;
        for target in &config.targets {
            let targets = match target.way {
                Way::Below => {
                    let name = target.name();
                    let found = Found::below(Path::new(&name), run)?;
                    let targets = found.targets(Path::new(&name));
                    seen.found.push(found);
                    targets
                }
                _ => vec![target.clone()],
            };
            for target in targets {
                let stamps = Model::open_at(&target.place, &access, run)?.stamps(run)?;
                seen.models.push((target, stamps));
            }
        }
        Ok(seen)
    }

    /// What is different later.
    fn written(&self, later: &Seen) -> Option<Written> {
        let found = self.found.iter().zip(&later.found);
        if let Some(finding) = found.into_iter().find_map(|(one, other)| one.changes(other)) {
            return Some(Written::Content(finding.name.unwrap_or(finding.what)));
        }
        let targets = |seen: &Seen| seen.models.iter().map(|(target, _)| target.clone()).collect::<Vec<_>>();
        if targets(self) != targets(later) {
            return Some(Written::Content("the list of models".to_owned()));
        }
        let mut unclear = None;
        for ((target, one), (_, other)) in self.models.iter().zip(&later.models) {
            let place = |name: String| format!("{}/{name}", target.name());
            match one.written(other) {
                Some(Written::Content(name)) => return Some(Written::Content(place(name))),
                Some(Written::Unclear(name)) => {
                    unclear.get_or_insert_with(|| Written::Unclear(place(name)));
                }
                None => {}
            }
        }
        unclear
    }
}

/// What came of a full check.
struct Checked {
    outcome: Outcome,
    /// What was there before and after it; or why that cannot be said.
    seen: Result<(Seen, Seen), Error>,
}

/// Everything between two events.
struct Watch {
    config: Arc<Config>,
    teller: Arc<Teller>,
    store: Store,
    tell: Sender<Event>,
    state: State,
    /// What was there when all of it was verified last.
    verified: Option<Seen>,
    /// The run of the full check that is under way.
    checking: Option<Cancel>,
    is_looking: bool,
    /// Whether any model may not be loaded unless it is verified.
    is_enforced: bool,
    next_look: Instant,
    /// When every byte is to be hashed again; none after evidence was found and told.
    next_full: Option<Instant>,
}

impl Watch {
    fn new(config: Arc<Config>, teller: Arc<Teller>, store: Store, tell: Sender<Event>) -> Self {
        let now = Instant::now();
        let next_look = now + store.interval();
        let mut watch = Watch {
            config,
            teller,
            store,
            tell,
            state: State::Unsure("the models are being checked".to_owned()),
            verified: None,
            checking: None,
            is_looking: false,
            is_enforced: true,
            next_look,
            next_full: Some(now),
        };
        watch.keep();
        watch
    }

    fn until_next(&self) -> Duration {
        let full = self.next_full.filter(|_| self.checking.is_none());
        let next = full.map_or(self.next_look, |full| full.min(self.next_look));
        next.saturating_duration_since(Instant::now())
    }

    /// Starts what is to be done now.
    fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        if now >= self.next_look {
            self.next_look = now + self.store.interval();
            if matches!(self.state, State::Failed(_)) {
                // It stays so; were it not written before, it is now.
                self.keep();
            } else if self.verified.is_none() {
                // The first check has not come to its end: nothing is there to compare with.
                self.keep();
            } else if !self.is_looking {
                self.begin_look();
            }
        }
        if self.checking.is_none() && self.next_full.is_some_and(|full| now >= full) {
            self.begin_check();
        }
    }

    fn begin_look(&mut self) {
        let (config, tell) = (Arc::clone(&self.config), self.tell.clone());
        self.is_looking = self.spawn("look", move || {
            let looked = panic::catch_unwind(AssertUnwindSafe(|| Seen::look(&config, &Run::new())));
            let looked = looked.unwrap_or_else(|panic| Err(Error::from(panicked(&*panic))));
            let _ = tell.send(Event::Looked(looked));
        });
    }

    fn begin_check(&mut self) {
        let cancel = Cancel::default();
        self.checking = Some(cancel.clone());
        self.next_full = None;
        let (config, teller, tell) = (Arc::clone(&self.config), Arc::clone(&self.teller), self.tell.clone());
        let spawned = self.spawn("check", move || {
            let checked = check(&config, &teller, &cancel);
            let _ = tell.send(Event::Checked(Box::new(checked)));
        });
        if !spawned {
            self.checking = None;
            self.next_full = Some(self.next_look);
        }
    }

    fn spawn(&mut self, name: &str, job: impl FnOnce() + Send + 'static) -> bool {
        match thread::Builder::new().name(name.to_owned()).spawn(job) {
            Ok(_) => true,
            Err(error) => {
                self.unsure(format!("no thread can be started: {error}"));
                false
            }
        }
    }

    /// Takes in what a full check came to.
    fn checked(&mut self, Checked { outcome, seen }: Checked) {
        self.checking = None;
        let settings = self.config.watch.as_ref();
        let again = settings.map_or(self.store.interval(), |settings| settings.full_every);
        let outcome = record::keep(&self.config, outcome);
        self.is_enforced = outcome.reports().iter().any(|report| report.mode == Mode::Enforce);
        let had_failed = matches!(self.state, State::Failed(_));
        let admitted = outcome.admitted();
        if had_failed && admitted {
            // Whatever is there now, the server has loaded what was there before.
            return;
        }
        self.teller.finish(&outcome);
        if !admitted {
            let why = outcome.message();
            match outcome.verdict() {
                Verdict::Rejected => self.fail(why),
                _ if had_failed => {}
                _ => {
                    self.unsure(why);
                    self.next_full = Some(self.next_look);
                }
            }
            return;
        }
        self.next_full = Instant::now().checked_add(again);
        let (before, after) = match seen {
            Ok(seen) => seen,
            Err(error) => {
                self.unsure(format!("could-not-tell: {}: {error}", error.code()));
                self.next_full = Some(self.next_look);
                return;
            }
        };
        match before.written(&after) {
            None => {
                let since =
                    self.verified.replace(after).and_then(|old| Some(old.written(self.verified.as_ref()?)));
                if let Some(Some(Written::Content(name))) = since
                    && self.is_enforced
                {
                    let why = self.tell_written(&name);
                    return self.fail(why);
                }
                self.state = State::Ready;
                self.keep();
            }
            Some(Written::Content(name) | Written::Unclear(name)) => self.again(written_to(&name)),
        }
    }

    /// Takes in what a look at the stamps came to.
    fn looked(&mut self, looked: Result<Seen, Error>) {
        self.is_looking = false;
        let Some(verified) = &self.verified else { return };
        if matches!(self.state, State::Failed(_)) {
            return;
        }
        let written = match &looked {
            Ok(now) => verified.written(now),
            // Nothing was found against the models: once they can be seen again, they count as before.
            Err(error) => return self.unsure(format!("could-not-tell: {}: {error}", error.code())),
        };
        match written {
            // What a full check could not tell is for a full check to say.
            None if self.next_full.is_some_and(|full| full <= self.next_look) || self.is_rechecking() => {
                self.keep()
            }
            None => {
                self.state = State::Ready;
                self.keep();
            }
            Some(Written::Content(name)) if self.is_enforced => {
                let why = self.tell_written(&name);
                self.fail(why);
                // Which file and how is for a full check to say.
                self.next_full = Some(Instant::now());
            }
            Some(Written::Content(name)) => {
                // It may be loaded all the same.
                say(written_to(&name));
                self.next_full = Some(Instant::now());
            }
            Some(Written::Unclear(name)) => self.again(written_to(&name)),
        }
    }

    /// Tells that something was written to; gives the message.
    fn tell_written(&self, name: &str) -> String {
        let finding = Finding::new(Code::ChangedWhileRead, written_to(name)).about(name);
        let outcome = Outcome::new(Mode::Enforce, Vec::new(), Some(finding), 0.0);
        self.teller.finish(&outcome);
        outcome.message()
    }

    /// Whether a full check is under way that has to say what is unsure.
    fn is_rechecking(&self) -> bool {
        self.checking.is_some() && matches!(self.state, State::Unsure(_))
    }

    /// Not ready until a full check says otherwise, which begins now.
    fn again(&mut self, why: String) {
        self.unsure(format!("could-not-tell: changed-while-read: {why}; every byte is being hashed again"));
        self.next_full = Some(Instant::now());
    }

    fn unsure(&mut self, why: String) {
        if !matches!(self.state, State::Failed(_)) {
            say(format_args!("not ready: {}", first_line(&why)));
            self.state = State::Unsure(why);
            self.keep();
        }
    }

    /// Not ready any more, for as long as the pod is there.
    fn fail(&mut self, why: String) {
        say(format_args!("not ready, and stays so: {}", first_line(&why)));
        self.state = State::Failed(why);
        self.keep();
    }

    /// The same after a restart, told again.
    fn fail_again(&mut self, why: &str) {
        let what = format!("an earlier run in this pod found: {}", first_line(why));
        let outcome =
            Outcome::new(self.config.mode, Vec::new(), Some(Finding::new(Code::ChangedWhileRead, what)), 0.0);
        self.teller.finish(&outcome);
        self.next_full = None;
        self.fail(why.to_owned());
    }

    /// Writes the state down. Where that fails it grows too old to count.
    fn keep(&mut self) {
        if let Err(error) = self.store.write(&self.state) {
            say(format_args!("the state cannot be written: {error}"));
        }
    }

    fn stop(self) -> u8 {
        if let Some(cancel) = &self.checking {
            cancel.cancel();
        }
        match &self.state {
            State::Failed(why) => {
                self.teller.say_last(why);
                Verdict::Rejected.exit()
            }
            // A sidecar that ends with its pod has not failed.
            _ => {
                self.teller.say_last("");
                0
            }
        }
    }
}

/// The full check: what there is, every byte of it, and what there is then.
fn check(config: &Arc<Config>, teller: &Arc<Teller>, cancel: &Cancel) -> Checked {
    let started = Instant::now();
    let progressed = Arc::new(Mutex::new(Progressed::of(config)));
    let rate = config.watch.as_ref().and_then(|settings| settings.rate);
    let progress = Arc::new(Progress::default());
    let mut run = config.run().cancel(cancel.clone());
    run = match rate {
        // One thread, so that what is read at once is little as well.
        Some(rate) => run.threads(1).events(Arc::new(Paced::new(progress, rate, cancel.clone()))),
        None => run.events(progress),
    };
    let looks = Run::new().cancel(cancel.clone());
    let ended = panic::catch_unwind(AssertUnwindSafe(|| {
        let before = Seen::look(config, &looks);
        check_all(config, teller, &run, &progressed);
        before.and_then(|before| Ok((before, Seen::look(config, &looks)?)))
    }));
    let (seen, reason) = match ended {
        Ok(seen) => (seen, None),
        Err(panic) => (Err(Error::from(panicked(&*panic))), Some(panicked(&*panic))),
    };
    let progressed = lock(&progressed).clone();
    Checked { outcome: conclude(config, &progressed, reason, started), seen }
}

fn written_to(name: &str) -> String {
    format!("{:?} was written to, replaced, added or removed since it was verified", weightseal::Shown(name))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
