//! What came of it, for machines: one line of JSON on standard output, and the termination message.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustix::fs::OFlags;
use serde::Serialize;
use weightseal::{
    Binding, Finding, Identity, LoadSetReport, Mode, PolicyReport, ReceiptReport, Report, Shown,
    SignatureReport, Verdict, sigbus,
};

use crate::{
    config::{Termination, shown},
    log::say,
    target::Target,
};

/// The version of the line's format; it changes when a field changes its meaning or goes, not when one is added.
const VERSION: u32 = 1;

/// Kubernetes reads this file when the container has ended, and keeps so many bytes of it.
const TERMINATION_LOG: &str = "/dev/termination-log";
const MESSAGE_BYTES: usize = 4096;

/// Models in the line.
const MODELS: usize = 100;
/// Findings of one model in the line, signatures, and names in each of them.
const FINDINGS: usize = 100;
const SIGNATURES: usize = 16;
const NAMES: usize = 16;
/// Bytes of one text in the line.
const TEXT_BYTES: usize = 512;

/// Characters of a model and of a file in the first line of the termination message, which stays under 200.
const HEAD_CHARS: usize = 56;
/// Characters of a reason there that names no file.
const REASON_CHARS: usize = 68;

/// How long the line may wait for its reader: a pipe that is full and that nobody empties ends as could not tell.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// What came of the whole run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    mode: Mode,
    reports: Vec<Arc<Report>>,
    /// On the run as a whole: the settings, and what ended it.
    general: Option<Arc<Report>>,
    seconds: f64,
    notes: Vec<String>,
}

impl Outcome {
    /// The outcome of these reports, and of what was found about the run as a whole.
    pub(crate) fn new(mode: Mode, reports: Vec<Arc<Report>>, general: Option<Finding>, seconds: f64) -> Self {
        let general = general.map(|finding| {
            let mut report = Report::new("", None, mode);
            report.findings.push(finding);
            report.conclude();
            Arc::new(report)
        });
        Outcome { mode, reports, general, seconds, notes: Vec::new() }
    }

    /// The same, with what people should know though it changes no verdict.
    pub(crate) fn notes(self, notes: Vec<String>) -> Self {
        Outcome { notes, ..self }
    }

    /// The same, with one more thing that was found about the run as a whole.
    pub(crate) fn and(self, finding: Finding) -> Self {
        let findings = self.general.iter().flat_map(|report| report.findings.clone());
        let mut report = Report::new("", None, self.mode);
        report.findings = findings.chain([finding]).collect();
        report.conclude();
        Outcome { general: Some(Arc::new(report)), ..self }
    }

    /// The reports on the models.
    pub(crate) fn reports(&self) -> &[Arc<Report>] {
        &self.reports
    }

    /// How long it took.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// What was found about the run as a whole, then the reports on the models.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Report> {
        self.general.iter().chain(&self.reports).map(|report| &**report)
    }

    /// The worst verdict of all: evidence wins, misuse before all. Of nothing, nothing can be said.
    pub(crate) fn verdict(&self) -> Verdict {
        let worst = [Verdict::Misuse, Verdict::Rejected, Verdict::CouldNotTell, Verdict::Verified];
        worst
            .into_iter()
            .find(|verdict| self.all().any(|report| report.verdict == *verdict))
            .unwrap_or(Verdict::CouldNotTell)
    }

    /// Whether every one may pass.
    pub(crate) fn admitted(&self) -> bool {
        !self.reports.is_empty() && self.all().all(|report| report.admitted)
    }

    /// 0 if every model may pass, else the code of the worst verdict.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.verdict() {
            _ if self.admitted() => 0,
            // A verdict that does not let pass never ends as one that does.
            Verdict::Verified => Verdict::CouldNotTell.exit(),
            verdict => verdict.exit(),
        }
    }

    /// The one line of JSON, in ASCII, with its newline. However many findings and however long the names, it is bounded.
    pub(crate) fn line(&self) -> String {
        let line = Line {
            version: VERSION,
            program: "weightseal-init",
            program_version: env!("CARGO_PKG_VERSION"),
            verdict: self.verdict(),
            admitted: self.admitted(),
            exit_code: self.exit_code(),
            mode: self.mode,
            seconds: self.seconds,
            findings: self.general.iter().flat_map(|report| &report.findings).map(bound_finding).collect(),
            models: self.reports.iter().take(MODELS).map(|report| Bounded::new(report)).collect(),
            more_models: self.reports.len().saturating_sub(MODELS),
            notes: bound_all(&self.notes),
        };
        weightseal::json(&line, false) + "\n"
    }

    /// The termination message: empty when all is verified, else at most 4096 bytes whose first line says which model,
    /// which file and why.
    pub(crate) fn message(&self) -> String {
        let mut bad: Vec<&Report> = self.all().filter(|report| !report.is_verified()).collect();
        // The worst model first; the sort keeps the order of equals.
        bad.sort_by_key(|report| report.verdict != self.verdict());
        let Some(first) = bad.first() else { return String::new() };
        let mut message = if self.admitted() { "admitted (warn mode): ".to_owned() } else { String::new() };
        message.push_str(&head(first));
        for report in bad {
            message.push('\n');
            if report.model.is_empty() {
                for finding in &report.findings {
                    message.push_str(&format!(
                        "{}: {}\n  help: {}\n",
                        finding.code,
                        finding.what,
                        finding.help()
                    ));
                }
            } else {
                message.push_str(&report.to_string());
            }
        }
        cut(message.trim_end(), MESSAGE_BYTES)
    }
}

/// The first line on a report: verdict, model, code, and the file or else the reason.
fn head(report: &Report) -> String {
    let mut head = report.verdict.to_string();
    if !report.model.is_empty() {
        head.push_str(&format!(": {}", end_of(&report.model, HEAD_CHARS)));
    }
    let deciding = |finding: &&Finding| Verdict::of(std::slice::from_ref(*finding)) == report.verdict;
    if let Some(finding) = report.findings.iter().find(deciding) {
        head.push_str(&format!(": {}: ", finding.code));
        match &finding.name {
            Some(name) => head.push_str(&end_of(name, HEAD_CHARS)),
            None => head.push_str(&cut_chars(&finding.what, REASON_CHARS)),
        }
    }
    head
}

/// The end of a name, quoted and escaped, in at most so many characters with the quotes: the end is what tells names apart.
fn end_of(name: &str, chars: usize) -> String {
    let width = |text: &str| Shown(text).to_string().chars().count() + 3;
    let mut start = name.len();
    for (at, _) in name.char_indices().rev() {
        if width(name.get(at..).unwrap_or_default()) > chars {
            break;
        }
        start = at;
    }
    let before = if start == 0 { "" } else { "…" };
    format!("\"{before}{}\"", Shown(name.get(start..).unwrap_or_default()))
}

fn cut_chars(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// At most so many bytes of a text, ended by `…` where it was longer.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8()));
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// The line of JSON.
#[derive(Serialize)]
struct Line {
    version: u32,
    program: &'static str,
    program_version: &'static str,
    verdict: Verdict,
    admitted: bool,
    exit_code: u8,
    mode: Mode,
    seconds: f64,
    findings: Vec<Finding>,
    models: Vec<Bounded>,
    /// Models beyond those that are listed.
    more_models: usize,
    notes: Vec<String>,
}

/// A report of bounded length.
#[derive(Serialize)]
struct Bounded {
    #[serde(flatten)]
    report: Report,
    /// Findings beyond those that are listed.
    more_findings: usize,
}

impl Bounded {
    /// Copies no more than it keeps: there may be a finding for each of a million files.
    fn new(report: &Report) -> Self {
        let bounded = Report {
            version: report.version,
            model: bound(&report.model),
            model_id: report.model_id.as_ref().map(bound),
            verdict: report.verdict,
            admitted: report.admitted,
            mode: report.mode,
            policy: report.policy.as_ref().map(bound_policy),
            assurance: report.assurance,
            receipt: report.receipt.as_ref().map(bound_receipt),
            signatures: report.signatures.iter().take(SIGNATURES).map(bound_signature).collect(),
            bound: report
                .bound
                .iter()
                .take(NAMES)
                .map(|by| Binding { by: by.by.clone(), value: bound(&by.value) })
                .collect(),
            load_set: report
                .load_set
                .as_ref()
                .map(|set| LoadSetReport { base_model: set.base_model.as_ref().map(bound), ..set.clone() }),
            counts: report.counts,
            bytes: report.bytes,
            kernel: report.kernel.clone(),
            seconds: report.seconds,
            findings: report.findings.iter().take(FINDINGS).map(bound_finding).collect(),
        };
        Bounded { more_findings: report.findings.len() - bounded.findings.len(), report: bounded }
    }
}

fn bound_finding(finding: &Finding) -> Finding {
    let mut bounded = finding.clone();
    bounded.what = bound(&finding.what);
    bounded.name = finding.name.as_ref().map(bound);
    bounded.expected = finding.expected.as_ref().map(bound);
    bounded.actual = finding.actual.as_ref().map(bound);
    bounded.tensors = bound_all(&finding.tensors);
    bounded.bundle = finding.bundle.as_ref().map(bound);
    bounded
}

fn bound_receipt(receipt: &ReceiptReport) -> ReceiptReport {
    ReceiptReport {
        why: receipt.why.as_ref().map(bound),
        not_written: receipt.not_written.as_ref().map(bound),
        ..receipt.clone()
    }
}

pub(crate) fn bound_policy(policy: &PolicyReport) -> PolicyReport {
    PolicyReport {
        path: policy.path.as_ref().map(bound),
        name: policy.name.as_ref().map(bound),
        pattern: bound(&policy.pattern),
        ..policy.clone()
    }
}

fn bound_signature(signature: &SignatureReport) -> SignatureReport {
    SignatureReport {
        bundle: signature.bundle.as_ref().map(bound),
        identity: signature.identity.as_ref().map(bound_identity),
        name: signature.name.as_ref().map(bound),
        version: signature.version.as_ref().map(bound),
        notes: bound_all(&signature.notes),
        ..signature.clone()
    }
}

pub(crate) fn bound_identity(identity: &Identity) -> Identity {
    match identity {
        Identity::Certificate { subject, names, issuer, serial, fingerprint } => Identity::Certificate {
            subject: bound(subject),
            names: bound_all(names),
            issuer: bound(issuer),
            serial: bound(serial),
            fingerprint: fingerprint.clone(),
        },
        // There are no more claims than there are names for them.
        Identity::Sigstore { identity, issuer, claims, serial, fingerprint } => Identity::Sigstore {
            identity: bound(identity),
            issuer: bound(issuer),
            claims: claims.iter().map(|(name, value)| (name.clone(), bound(value))).collect(),
            serial: bound(serial),
            fingerprint: fingerprint.clone(),
        },
        other => other.clone(),
    }
}

pub(crate) fn bound(text: impl AsRef<str>) -> String {
    cut(text.as_ref(), TEXT_BYTES)
}

fn bound_all(texts: &[String]) -> Vec<String> {
    texts.iter().take(NAMES).map(bound).collect()
}

/// Where outcomes are told.
#[derive(Debug)]
pub(crate) struct Teller {
    stdout: io::Result<File>,
    termination: Option<File>,
    /// The same file opened again, so that its position is its own.
    sigbus: Option<File>,
    /// Bytes of the message that stands in the termination log until the end.
    begun: usize,
}

impl Teller {
    /// Opens what outcomes are told to, and leaves in the termination log what is true should this process be killed.
    pub(crate) fn open(termination: &Termination, targets: &[Target]) -> Self {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let mut teller = Teller { stdout, termination: open_log(termination), sigbus: None, begun: 0 };
        if teller.termination.is_some() {
            teller.sigbus = open_log(termination);
            let first = targets.first().map(|target| end_of(&target.name(), HEAD_CHARS)).unwrap_or_default();
            let message = format!(
                "could-not-tell: {first}: the check was ended before its verdict: killed, or out of memory"
            );
            teller.begun = message.len();
            teller.write_message(&message);
        }
        teller
    }

    /// Prepares what is told and how the process ends when a mapped file is truncated under it. Where that cannot be
    /// prepared, files must not be mapped.
    pub(crate) fn prepare_for_sigbus(&self, outcome: &Outcome) -> bool {
        let Some(stdout) = self.stdout.as_ref().ok().and_then(|file| file.try_clone().ok()) else {
            return false;
        };
        let mut messages: Vec<(OwnedFd, Vec<u8>)> = vec![(stdout.into(), outcome.line().into_bytes())];
        if let Some(log) = self.sigbus.as_ref().and_then(|file| file.try_clone().ok()) {
            // It is written over what stands there, which it has to cover.
            let mut message = outcome.message().into_bytes();
            message.resize(message.len().max(self.begun), b' ');
            messages.push((log.into(), message));
        }
        sigbus::exit_on_sigbus(outcome.exit_code(), messages);
        true
    }

    /// Tells the outcome, and gives the exit code: that of the outcome, but never success that nobody was told of.
    pub(crate) fn finish(&self, outcome: &Outcome) -> u8 {
        let mut code = outcome.exit_code();
        // Should a check that was given up run into a truncated file now, it has nothing to say any more.
        sigbus::exit_on_sigbus(if code == 0 { Verdict::CouldNotTell.exit() } else { code }, Vec::new());
        let mut message = outcome.message();
        // First, since standard output may be a pipe that nobody empties.
        self.write_message(&message);
        if let Err(error) = self.write_line(outcome.line()) {
            let what = format!("the outcome cannot be written to standard output: {error}");
            say(&what);
            if code == 0 {
                code = Verdict::CouldNotTell.exit();
                message = cut(&format!("could-not-tell: {what}\n{message}"), MESSAGE_BYTES);
                self.write_message(&message);
            }
        }
        code
    }

    /// Leaves this as the termination message.
    pub(crate) fn say_last(&self, message: &str) {
        self.write_message(message);
    }

    /// Writes the outcome to standard output, and does not wait for ever for somebody to read it.
    fn write_line(&self, line: String) -> io::Result<()> {
        let mut file = match &self.stdout {
            Ok(file) => file.try_clone()?,
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        let (done, written) = mpsc::channel();
        thread::Builder::new().name("outcome".to_owned()).spawn(move || {
            let _ = done.send(file.write_all(line.as_bytes()));
        })?;
        let late = || io::Error::new(io::ErrorKind::TimedOut, "nobody reads it");
        written.recv_timeout(READ_WITHIN).unwrap_or_else(|_| Err(late()))
    }

    /// Writes the termination log in place: it is a mount, and cannot be replaced by another file.
    fn write_message(&self, message: &str) {
        let Some(file) = &self.termination else { return };
        let written =
            file.write_all_at(message.as_bytes(), 0).and_then(|()| file.set_len(message.len() as u64));
        if let Err(error) = written {
            say(format_args!("the termination message cannot be written: {error}"));
        }
    }
}

/// Opens the termination log; where that cannot be, it says so and changes no verdict.
fn open_log(termination: &Termination) -> Option<File> {
    let (path, create) = match termination {
        Termination::Off => return None,
        Termination::Default => (Path::new(TERMINATION_LOG), false),
        Termination::Told(path) => (path.as_path(), true),
    };
    // A pipe in its place must not be waited for, and a link in its place would lead elsewhere.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let opened = OpenOptions::new()
        .read(create)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o644)
        .custom_flags(flags)
        .open(path);
    let why = match opened {
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => {
            if !create || is_ours(&file) {
                return Some(file);
            }
            "it holds something else than a termination message".to_owned()
        }
        Ok(_) => "it is not a regular file".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return None,
        Err(error) => error.to_string(),
    };
    say(format_args!("the termination log {} cannot be used: {why}", shown(path)));
    None
}

/// Whether a file that was named is empty or holds an earlier message: a slip must not destroy a key or a weight.
fn is_ours(file: &File) -> bool {
    let mut start = [0; 16];
    match file.read_at(&mut start, 0) {
        Ok(length) => {
            let start = start.get(..length).unwrap_or_default();
            let words = ["rejected", "misuse", "could-not-tell", "admitted"];
            start.is_empty() || words.iter().any(|word| start.starts_with(word.as_bytes()))
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
