//! The line of JSON, read so strictly that a field more or less fails.

#![allow(dead_code, reason = "that each field is there and of its type is what is tested")]

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) version: u32,
    pub(crate) program: String,
    pub(crate) program_version: String,
    pub(crate) verdict: String,
    pub(crate) admitted: bool,
    pub(crate) exit_code: i32,
    pub(crate) mode: String,
    pub(crate) seconds: f64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) models: Vec<Model>,
    pub(crate) more_models: usize,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) version: u32,
    pub(crate) model: String,
    pub(crate) model_id: Option<String>,
    pub(crate) verdict: String,
    pub(crate) admitted: bool,
    pub(crate) mode: String,
    pub(crate) policy: Option<Policy>,
    pub(crate) assurance: Option<String>,
    pub(crate) signatures: Vec<Signature>,
    pub(crate) bound: Vec<Binding>,
    pub(crate) load_set: Option<LoadSet>,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) counts: Counts,
    pub(crate) bytes: u64,
    pub(crate) kernel: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) more_findings: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) path: Option<String>,
    pub(crate) digest: String,
    pub(crate) name: Option<String>,
    pub(crate) rule: usize,
    pub(crate) line: usize,
    pub(crate) pattern: String,
    pub(crate) mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signature {
    pub(crate) bundle: Option<String>,
    pub(crate) accepted: bool,
    pub(crate) signing_method: Option<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) time: Option<Time>,
    pub(crate) logged: Vec<Logged>,
    pub(crate) trusted_root: Option<TrustedRoot>,
    pub(crate) root_digest: Option<String>,
    pub(crate) serialization: Option<String>,
    pub(crate) hash_algorithm: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub(crate) enum Identity {
    Key { algorithm: String, fingerprint: String },
    Certificate { subject: String, names: Vec<String>, issuer: String, serial: String, fingerprint: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Time {
    at: String,
    by: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logged {
    log: String,
    index: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustedRoot {
    source: String,
    name: String,
    as_of: Option<i64>,
    expires: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Binding {
    pub(crate) by: String,
    pub(crate) value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) signed: u64,
    pub(crate) verified: u64,
    pub(crate) ignored: u64,
    pub(crate) unsigned: u64,
    pub(crate) links: u64,
    pub(crate) missing: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadSet {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) base_model: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receipt {
    pub(crate) used: bool,
    pub(crate) written: bool,
    pub(crate) hashed_at: Option<String>,
    pub(crate) measured: u64,
    pub(crate) why: Option<String>,
    pub(crate) not_written: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finding {
    pub(crate) code: String,
    pub(crate) class: String,
    pub(crate) message: String,
    pub(crate) help: String,
    pub(crate) name: Option<String>,
    pub(crate) expected: Option<String>,
    pub(crate) actual: Option<String>,
    pub(crate) range: Option<Range>,
    pub(crate) tensors: Vec<String>,
    pub(crate) bundle: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    start: u64,
    end: u64,
}

impl Line {
    /// Reads all of standard output: one line of visible ASCII.
    #[track_caller]
    pub(crate) fn read(stdout: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stdout);
        let line = text.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {text:?}"));
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!((line.version, line.program.as_str()), (1, "weightseal-init"));
        assert_eq!(line.admitted, line.exit_code == 0);
        line
    }

    /// The codes of all findings: first those about the run, then the models'.
    pub(crate) fn codes(&self) -> Vec<String> {
        let models = self.models.iter().flat_map(|model| &model.findings);
        self.findings.iter().chain(models).map(|finding| finding.code.clone()).collect()
    }

    /// The verdicts on the models.
    pub(crate) fn verdicts(&self) -> Vec<&str> {
        self.models.iter().map(|model| model.verdict.as_str()).collect()
    }
}
