//! What others keep of an outcome: metrics for Prometheus, and an audit event for each model.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use rustix::fs::OFlags;
use serde::Serialize;
use weightseal::{
    Assurance, Code, Error, Finding, Identity, PolicyReport, Replace, Report, Shown, Verdict, write_whole,
};

use crate::{
    config::{Config, shown},
    log::say,
    outcome::{Outcome, bound, bound_identity, bound_policy},
};

/// How long writing may take: a file on a network may not answer.
const WITHIN: Duration = Duration::from_secs(2);

/// Models that have metrics of their own.
const MODELS: usize = 100;
/// Codes and signers of one event.
const CODES: usize = 100;
const SIGNERS: usize = 16;

/// Keeps what was asked to be kept. An event that cannot be written is an outcome that nobody is told of; metrics that cannot
/// be written are only logged.
pub(crate) fn keep(config: &Config, outcome: Outcome) -> Outcome {
    let outcome = match &config.audit {
        None => outcome,
        Some(path) => {
            let events = events(&outcome);
            let told = path.clone();
            match within(move || append(&told, &events)) {
                Ok(()) => outcome,
                Err(error) => {
                    let what = format!("the audit event cannot be written to {}: {error}", shown(path));
                    say(&what);
                    outcome.and(Finding::new(Code::IoFailed, what))
                }
            }
        }
    };
    if let Some(path) = config.metrics.clone() {
        let text = metrics(&outcome, now());
        if let Err(error) = within(move || write_metrics(&path, &text)) {
            say(format_args!("the metrics cannot be written: {error}"));
        }
    }
    outcome
}

/// Does something that may not return.
fn within<T: Send + 'static>(what: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let (done, written) = mpsc::channel();
    let spawned = thread::Builder::new().name("record".to_owned()).spawn(move || {
        let _ = done.send(what());
    });
    spawned.map_err(|error| error.to_string())?;
    written.recv_timeout(WITHIN).unwrap_or_else(|_| Err("it takes too long".to_owned()))
}

fn now() -> SystemTime {
    SystemTime::now()
}

/// One model, as whoever looks later wants to know it.
#[derive(Serialize)]
struct Event {
    version: u32,
    /// RFC 3339, in UTC.
    time: String,
    program: &'static str,
    program_version: &'static str,
    model: String,
    model_id: Option<String>,
    verdict: Verdict,
    admitted: bool,
    assurance: Option<Assurance>,
    /// The root digest of the first signature that was accepted.
    root_digest: Option<String>,
    signers: Vec<Identity>,
    codes: Vec<Code>,
    policy: Option<PolicyReport>,
}

/// The lines of all models; of a run that came to none, one line says so.
fn events(outcome: &Outcome) -> String {
    let time = jiff::Timestamp::try_from(now()).map(|time| time.to_string()).unwrap_or_default();
    let mut lines = String::new();
    for report in outcome.all() {
        let accepted = || report.signatures.iter().filter(|signature| signature.accepted);
        let mut codes: Vec<Code> = Vec::new();
        for finding in &report.findings {
            if !codes.contains(&finding.code) && codes.len() < CODES {
                codes.push(finding.code);
            }
        }
        let event = Event {
            version: 1,
            time: time.clone(),
            program: "weightseal-init",
            program_version: env!("CARGO_PKG_VERSION"),
            model: bound(&report.model),
            model_id: report.model_id.as_ref().map(bound),
            verdict: report.verdict,
            admitted: report.admitted,
            assurance: report.assurance,
            root_digest: accepted().find_map(|signature| signature.root_digest.clone()),
            signers: accepted()
                .filter_map(|signature| signature.identity.as_ref())
                .take(SIGNERS)
                .map(bound_identity)
                .collect(),
            codes,
            policy: report.policy.as_ref().map(bound_policy),
        };
        lines.push_str(&weightseal::json(&event, false));
        lines.push('\n');
    }
    lines
}

/// Appends to a regular file, never through a link; what is there stays.
fn append(path: &Path, lines: &str) -> Result<(), String> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let open = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // One write, so that the lines of several pods do not mix.
        file.write_all(lines.as_bytes())?;
        file.sync_data()
    };
    open().map_err(|error| error.to_string())
}

/// Replaces the file as a whole, so that nobody reads half of it; only a file of metrics is replaced.
fn write_metrics(path: &Path, text: &str) -> Result<(), String> {
    let is_ours = match fs::symlink_metadata(path) {
        Ok(metadata) => {
            metadata.is_file()
                && (metadata.len() == 0 || begins(path).is_ok_and(|old| old == HEAD.as_bytes()))
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_ours {
        return Err(format!("{} is something else", shown(path)));
    }
    write_whole(path, text.as_bytes(), Replace::Anything, weightseal::PUBLIC)
        .map_err(|error: Error| error.to_string())
}

/// As much of a file's beginning as [`HEAD`] has.
fn begins(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(HEAD.len() as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the file begins with.
const HEAD: &str = "# HELP weightseal_";

/// The outcome as Prometheus reads it.
fn metrics(outcome: &Outcome, now: SystemTime) -> String {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut text = String::new();
    let mut family = |name: &str, help: &str, rows: &mut dyn Iterator<Item = (String, f64)>| {
        text.push_str(&format!("# HELP weightseal_{name} {help}\n# TYPE weightseal_{name} gauge\n"));
        for (labels, value) in rows {
            text.push_str(&format!("weightseal_{name}{labels} {value}\n"));
        }
    };
    let models: Vec<(String, &Report)> = outcome
        .reports()
        .iter()
        .take(MODELS)
        .map(|report| {
            let id = report.model_id.as_deref().unwrap_or_default();
            (format!("{{model={},id={}}}", label(&report.model), label(id)), &**report)
        })
        .collect();
    let of_each = |value: fn(&Report) -> f64| {
        models.iter().map(move |(labels, report)| (labels.clone(), value(report)))
    };
    family(
        "verified",
        "Whether the model was verified.",
        &mut of_each(|report| f64::from(u8::from(report.is_verified()))),
    );
    family(
        "admitted",
        "Whether the model may be loaded.",
        &mut of_each(|report| f64::from(u8::from(report.admitted))),
    );
    family("bytes", "Bytes of the model that were hashed.", &mut of_each(|report| report.bytes as f64));
    family("model_seconds", "How long the model took.", &mut of_each(|report| report.seconds));
    let whole = |value: f64| std::iter::once((String::new(), value));
    family("seconds", "How long the whole run took.", &mut whole(outcome.seconds()));
    family(
        "exit_code",
        "How the run ended: 0 verified, 1 rejected, 2 misuse, 3 could not tell.",
        &mut whole(outcome.exit_code().into()),
    );
    family("last_check_timestamp_seconds", "When the run ended.", &mut whole(now));
    text
}

/// A label's value, quoted: of other characters than plain ones the escaped form is shown.
fn label(value: &str) -> String {
    let value = Shown(&bound(value)).to_string();
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
