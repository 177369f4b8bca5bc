//! What came of it: findings, the verdict, and the report that carries them (report schema, version 1).

use std::{fmt, ops::Range};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    code::{Class, Code},
    policy::Mode,
    shown::Shown,
};

mod identity;
mod text;

pub use identity::Identity;
pub use text::Bytes;

/// The version of the report's JSON; it changes when a field changes its meaning or goes, not when one is added.
pub const REPORT_VERSION: u32 = 1;

/// One thing that was found: a code, what and where, and the facts.
#[derive(Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of finding it is.
    pub code: Code,
    /// What was found and where, in words; outside names in it are escaped.
    pub what: String,
    /// The file or resource it is about, as it is named, not escaped.
    pub name: Option<String>,
    /// What should have been: a digest, a length, a name.
    pub expected: Option<String>,
    /// What was.
    pub actual: Option<String>,
    /// The bytes it is about, end exclusive: a shard.
    pub range: Option<Range<u64>>,
    /// The safetensors tensors that lie in those bytes, wholly or in part; not escaped.
    pub tensors: Vec<String>,
    /// The path of the bundle it is about, where there are several.
    pub bundle: Option<String>,
    pub(crate) help: Option<String>,
}

impl Finding {
    /// A finding of this code; `what` has outside names already escaped.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Finding {
            code,
            what: what.into(),
            name: None,
            expected: None,
            actual: None,
            range: None,
            tensors: Vec::new(),
            bundle: None,
            help: None,
        }
    }

    /// The same, about this file or resource.
    #[must_use]
    pub fn about(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same, with what should have been and what was.
    #[must_use]
    pub fn differs(mut self, expected: impl fmt::Display, actual: impl fmt::Display) -> Self {
        self.expected = Some(expected.to_string());
        self.actual = Some(actual.to_string());
        self
    }

    /// The same, with a help of its own instead of the code's.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// How to put it right.
    pub fn help(&self) -> &str {
        self.help.as_deref().unwrap_or(self.code.help())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.what)
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Bytes {
            start: u64,
            end: u64,
        }
        let mut out = serializer.serialize_struct("Finding", 10)?;
        out.serialize_field("code", &self.code)?;
        out.serialize_field("class", self.code.class().name())?;
        out.serialize_field("message", &self.what)?;
        out.serialize_field("help", self.help())?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("expected", &self.expected)?;
        out.serialize_field("actual", &self.actual)?;
        out.serialize_field(
            "range",
            &self.range.as_ref().map(|range| Bytes { start: range.start, end: range.end }),
        )?;
        out.serialize_field("tensors", &self.tensors)?;
        out.serialize_field("bundle", &self.bundle)?;
        out.end()
    }
}

/// The judgement on a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Every check was made and found nothing.
    Verified,
    /// There is evidence against the model or its signature.
    Rejected,
    /// The call cannot be right.
    Misuse,
    /// Nothing can be said, hence not verified.
    CouldNotTell,
}

impl Verdict {
    /// The verdict that findings come to: evidence wins, misuse before all.
    pub fn of(findings: &[Finding]) -> Verdict {
        let has = |class| findings.iter().any(|finding| finding.code.class() == class);
        if has(Class::Misuse) {
            Verdict::Misuse
        } else if has(Class::Rejected) {
            Verdict::Rejected
        } else if has(Class::CouldNotTell) {
            Verdict::CouldNotTell
        } else {
            Verdict::Verified
        }
    }

    /// The verdict in a word: `verified`, `rejected`, `misuse` or `could-not-tell`.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::Rejected => "rejected",
            Verdict::Misuse => "misuse",
            Verdict::CouldNotTell => "could-not-tell",
        }
    }

    /// The exit code, 0 to 3, of a program that enforces it.
    pub const fn exit(self) -> u8 {
        match self {
            Verdict::Verified => 0,
            Verdict::Rejected => 1,
            Verdict::Misuse => 2,
            Verdict::CouldNotTell => 3,
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much a check is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Assurance {
    /// The store's own digests were compared; no byte was read.
    Stated,
    /// Every byte was hashed earlier, and nothing changed since.
    Receipt,
    /// Every signed byte was read and hashed.
    Hashed,
}

impl Assurance {
    /// The assurance in a word: `stated`, `receipt` or `hashed`.
    pub const fn name(self) -> &'static str {
        match self {
            Assurance::Stated => "stated",
            Assurance::Receipt => "receipt",
            Assurance::Hashed => "hashed",
        }
    }
}

impl Serialize for Assurance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One bundle that was given, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureReport {
    /// Where the bundle was read from.
    pub bundle: Option<String>,
    /// Whether the policy accepted it.
    pub accepted: bool,
    /// How it was signed: `key`, `certificate` or `sigstore`.
    pub signing_method: Option<String>,
    /// Who signed: a key's fingerprint or a certificate's names; only where the signature was proven.
    pub identity: Option<Identity>,
    /// The time that counts for validity, in seconds since 1970, and by what it is proven: `clock`, `--at`, a log, a TSA.
    pub time: Option<ProvenTime>,
    /// The log entries that were proven.
    pub logged: Vec<LoggedAt>,
    /// What Sigstore's part of it was verified with.
    pub trusted_root: Option<RootOrigin>,
    /// The root digest of the signed statement.
    pub root_digest: Option<String>,
    /// `files` or `shards`.
    pub serialization: Option<String>,
    /// The digest algorithm of the resources.
    pub hash_algorithm: Option<String>,
    /// The signed name and version of the model, from the subject's annotations.
    pub name: Option<String>,
    /// The signed version.
    pub version: Option<String>,
    /// What the statement is silent about but the reader should know, for example its old format.
    pub notes: Vec<String>,
}

/// An entry of a transparency log that was proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedAt {
    /// The log's address, as the trusted root has it.
    pub log: String,
    /// The entry's position in it.
    pub index: u64,
}

/// A time and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvenTime {
    /// RFC 3339, in UTC.
    pub at: String,
    /// `timestamp` (an RFC 3161 authority's), `log` (a transparency log's), `clock` (this machine's, now) or `--at` (the
    /// caller's word).
    pub by: String,
}

/// Where a trusted root came from, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootOrigin {
    /// Who gave it.
    pub source: RootSource,
    /// The file, or the instance: `public-good`, `staging`, or a mirror's URL.
    pub name: String,
    /// When its repository last said that it is current, in seconds since 1970; none of a file that was given.
    pub as_of: Option<i64>,
    /// When the first of its repository's signed roles expires, in seconds since 1970; none of a file that was given.
    pub expires: Option<i64>,
}

/// Who gave a trusted root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RootSource {
    /// The caller.
    Given,
    /// The cache, where an earlier run had put it.
    Cache,
    /// This build.
    Embedded,
}

impl RootOrigin {
    /// A file that the caller gave.
    pub fn given(name: impl Into<String>) -> Self {
        RootOrigin { source: RootSource::Given, name: name.into(), as_of: None, expires: None }
    }

    /// What to say where a role of the root's repository has expired at this time, in seconds since 1970, so that keys may
    /// have been changed or withdrawn since.
    pub fn staleness(&self, now: i64) -> Option<String> {
        let expired = self.expires.filter(|expires| *expires < now)?;
        let days = self.as_of.map(|as_of| now.saturating_sub(as_of).max(0) / 86_400);
        let age = match days {
            Some(1) => "1 day old".to_owned(),
            Some(days) => format!("{days} days old"),
            None => "of unknown age".to_owned(),
        };
        let from = match self.source {
            RootSource::Given => "that was given",
            RootSource::Cache => "in the cache",
            RootSource::Embedded => "of this build",
        };
        let at =
            jiff::Timestamp::from_second(expired).map_or_else(|_| expired.to_string(), |at| at.to_string());
        let name = Shown(&self.name);
        Some(format!("the trusted root {from} ({name}) is {age}; its repository's word expired at {at}"))
    }
}

/// What bound this model to the signature, beyond its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// `expected-digest`, `name`, `version` or `min-version`.
    pub by: String,
    /// The value that was demanded and found.
    pub value: String,
}

/// Which policy file was applied, and which of its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyReport {
    /// Where the file was read from; none of one that was given as bytes.
    pub path: Option<String>,
    /// SHA-256 over the file: `sha256:` and hex.
    pub digest: String,
    /// What the file calls itself.
    pub name: Option<String>,
    /// The number of the rule, from 1.
    pub rule: usize,
    /// The line on which the rule begins, from 1.
    pub line: usize,
    /// The pattern by which the rule matches the model's id.
    pub pattern: String,
    /// The rule's mode.
    pub mode: Mode,
}

/// What became of the receipt on a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReceiptReport {
    /// Whether one stood in for hashing.
    pub used: bool,
    /// Whether one was written: everything was hashed in this run.
    pub written: bool,
    /// When everything that it stands for was hashed, as RFC 3339 in UTC.
    pub hashed_at: Option<String>,
    /// How many files the kernel itself has measured and lets nobody write (fs-verity).
    pub measured: u64,
    /// Why none was used.
    pub why: Option<String>,
    /// Why none could be written, where one was due.
    pub not_written: Option<String>,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Files that the signature names.
    pub signed: u64,
    /// Signed files whose every byte was found as signed.
    pub verified: u64,
    /// Files on disk that are hidden from the check by ignore paths, git defaults or as signatures.
    pub ignored: u64,
    /// Files on disk that are not signed and were tolerated: on request, or since they are empty and shards cannot name them.
    pub unsigned: u64,
    /// Links that were followed.
    pub links: u64,
    /// Signed files that are not there, and need not be by the policy.
    pub missing: u64,
}

/// What a model server would load of a model, where a policy demanded that it be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadSetReport {
    /// How many files: all of them are signed where the model is verified.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// On which model it builds, where it is an adapter, as its configuration says; not escaped.
    pub base_model: Option<String>,
}

/// The whole outcome of a check of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of this format: [`REPORT_VERSION`].
    pub version: u32,
    /// Where the model is.
    pub model: String,
    /// The id that policies match it by.
    pub model_id: Option<String>,
    /// The judgement.
    pub verdict: Verdict,
    /// Whether the caller's mode lets it pass: `verified`, or a tolerated verdict in warn mode.
    pub admitted: bool,
    /// `enforce` or `warn`.
    pub mode: Mode,
    /// The policy file and its rule, where one was applied.
    pub policy: Option<PolicyReport>,
    /// How much the check is worth, where it came that far.
    pub assurance: Option<Assurance>,
    /// What became of receipts; none, and absent from JSON, where none are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptReport>,
    /// The bundles that were given.
    pub signatures: Vec<SignatureReport>,
    /// What bound the model; empty when only its content did, so that any other model of the same signer would pass in its place.
    pub bound: Vec<Binding>,
    /// How many of what.
    pub counts: Counts,
    /// What would be loaded, where the policy demanded that it be checked.
    pub load_set: Option<LoadSetReport>,
    /// Bytes that were read and hashed.
    pub bytes: u64,
    /// What hashed them: the kernel of SHA-256 by its name (`sha-ni`, `avx512`, ...), `blake3` or `blake2b`; none where
    /// nothing was hashed.
    pub kernel: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What was found, in the order of the names.
    pub findings: Vec<Finding>,
}

impl Report {
    /// A report on a model about which nothing is known yet, which is no verdict to rely on until it is
    /// [concluded](Report::conclude).
    pub fn new(model: impl Into<String>, model_id: Option<String>, mode: Mode) -> Self {
        Report {
            version: REPORT_VERSION,
            model: model.into(),
            model_id,
            verdict: Verdict::CouldNotTell,
            admitted: false,
            mode,
            policy: None,
            assurance: None,
            receipt: None,
            signatures: Vec::new(),
            bound: Vec::new(),
            counts: Counts::default(),
            load_set: None,
            bytes: 0,
            kernel: None,
            seconds: 0.0,
            findings: Vec::new(),
        }
    }

    /// Draws verdict and admission from the findings: the one place that knows the table of verdicts.
    ///
    /// Evidence wins: `rejected` over `could-not-tell` over `verified`. Warn mode admits both, but neither misuse nor a
    /// run that was ended by a deadline, a signal, a panic or a bus error.
    pub fn conclude(&mut self) {
        self.verdict = Verdict::of(&self.findings);
        let ended = self.findings.iter().any(|finding| {
            matches!(
                finding.code,
                Code::DeadlinePassed | Code::Interrupted | Code::Panicked | Code::TruncatedWhileMapped
            )
        });
        self.admitted = match self.verdict {
            Verdict::Verified => true,
            Verdict::Misuse => false,
            Verdict::Rejected | Verdict::CouldNotTell => self.mode == Mode::Warn && !ended,
        };
    }

    /// The exit code: 0 when admitted, else that of the verdict.
    pub fn exit_code(&self) -> u8 {
        if self.admitted { 0 } else { self.verdict.exit() }
    }

    /// Whether every check was made and found nothing; never true of what warn mode merely admitted.
    pub fn is_verified(&self) -> bool {
        self.verdict == Verdict::Verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_wins_and_warn_mode_admits_only_what_it_may() {
        let table: &[(&[Code], Verdict, bool)] = &[
            (&[], Verdict::Verified, true),
            (&[Code::FileChanged], Verdict::Rejected, true),
            (&[Code::IoFailed], Verdict::CouldNotTell, true),
            (&[Code::IoFailed, Code::FileChanged], Verdict::Rejected, true),
            (&[Code::FileChanged, Code::TrustMissing], Verdict::Misuse, false),
            (&[Code::DeadlinePassed], Verdict::CouldNotTell, false),
            (&[Code::FileChanged, Code::Interrupted], Verdict::Rejected, false),
            (&[Code::Panicked], Verdict::CouldNotTell, false),
            (&[Code::TruncatedWhileMapped], Verdict::CouldNotTell, false),
        ];
        for (codes, verdict, admitted_by_warn) in table {
            let mut report = Report::new("m", None, Mode::Enforce);
            report.findings = codes.iter().map(|code| Finding::new(*code, "x")).collect();
            report.conclude();
            assert_eq!(report.verdict, *verdict);
            assert_eq!(report.admitted, codes.is_empty());
            assert_eq!(report.exit_code(), verdict.exit());
            report.mode = Mode::Warn;
            report.conclude();
            assert_eq!((report.verdict, report.admitted), (*verdict, *admitted_by_warn), "{codes:?}");
            assert_eq!(report.exit_code(), if *admitted_by_warn { 0 } else { verdict.exit() });
        }
    }

    #[test]
    fn a_new_report_verifies_nothing() {
        let report = Report::new("m", None, Mode::Warn);
        assert!(!report.is_verified() && !report.admitted && report.exit_code() == 3);
    }

    #[test]
    fn a_root_whose_repository_has_expired_says_how_old_it_is() {
        let mut origin = RootOrigin {
            source: RootSource::Cache,
            name: "staging".to_owned(),
            as_of: Some(1_800_000_000),
            expires: Some(1_800_000_000 + 7 * 86_400),
        };
        assert_eq!(origin.staleness(1_800_000_000 + 7 * 86_400), None);
        assert_eq!(
            origin.staleness(1_800_000_000 + 10 * 86_400).unwrap(),
            "the trusted root in the cache (staging) is 10 days old; its repository's word expired at \
             2027-01-22T08:00:00Z"
        );
        origin.expires = None;
        assert_eq!(origin.staleness(i64::MAX), None);
        assert_eq!(RootOrigin::given("x").staleness(i64::MAX), None);
    }
}
