//! What the program was told, checked once; only this travels on.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::SignedDuration;
use weightseal::{
    Accept, CertificateVerifier, Code, Error, Kernel, KeyVerifier, Mode, Policy, PolicyFile, PolicyReport,
    ReadMode, Receipts, Run, Shown, SigstoreVerifier, limits, read_key,
};

use crate::{
    apart,
    settings::{Given, Refused, Task, bad, look_for},
    sigstore::Sigstore,
    stores::Stores,
    target::{self, Target, Way},
    watch,
};

/// How long a check may take unless told.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The least that [`Run::memory`] is set to: with less a thread can hardly read.
const LEAST_MEMORY: u64 = 1 << 20;

/// Settings that say something of one model, and so cannot be given with several.
const OF_ONE_MODEL: [&str; 5] = ["signature", "expect-digest", "model-id", "name", "version"];

/// Settings that would weaken or contradict a policy: it says itself who is trusted, how strictly, and which files count.
const LEFT_TO_THE_POLICY: [&str; 17] = [
    "mode",
    "require",
    "public-key",
    "public-key-pem",
    "certificate-chain",
    "certificate-chain-pem",
    "certificate-identity",
    "identity",
    "identity-regexp",
    "identity-provider",
    "identity-provider-regexp",
    "claim",
    "trusted-root",
    "use-staging",
    "ignore-paths",
    "ignore-unsigned-files",
    "allow-symlinks",
];

/// Settings that say nothing of what is verified, and how: receipts hold whatever they are. So does the model's place, which
/// receipts know themselves.
const WITHOUT_MEANING: [&str; 17] = [
    "model",
    "models-under",
    "deadline",
    "threads",
    "memory",
    "read",
    "kernel",
    "fail-fast",
    "termination-log",
    "metrics-file",
    "audit-log",
    "receipts",
    "receipt-key",
    "interval",
    "full-every",
    "rate",
    "state",
];

/// Where the termination message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Termination {
    /// Nowhere.
    Off,
    /// Kubernetes' own place, where that exists.
    Default,
    /// The file that was told; it is made where it does not exist.
    Told(PathBuf),
}

impl Termination {
    fn new(told: Option<OsString>) -> Self {
        match told {
            None => Termination::Default,
            Some(path) if path == "none" => Termination::Off,
            Some(path) => Termination::Told(path.into()),
        }
    }

    /// Where it goes when the settings cannot be right.
    pub(crate) fn of_misuse(args: &[OsString], variables: &[(OsString, OsString)]) -> Self {
        Termination::new(look_for("termination-log", args, variables))
    }
}

/// The settings.
#[derive(Debug)]
pub(crate) struct Config {
    /// What to check, at least one.
    pub(crate) targets: Vec<Target>,
    /// Whether a pull makes use of what its folder holds already.
    pub(crate) repair: bool,
    pub(crate) stores: Stores,
    /// The signatures of the one model; without any, the one at the usual place.
    pub(crate) signatures: Vec<PathBuf>,
    /// Where those lie of models that have none at the usual place.
    pub(crate) signature_folder: Option<PathBuf>,
    pub(crate) model_id: Option<String>,
    pub(crate) ignore_paths: Vec<PathBuf>,
    pub(crate) ignore_unsigned_files: bool,
    pub(crate) allow_symlinks: bool,
    pub(crate) include_git_paths: bool,
    pub(crate) mode: Mode,
    pub(crate) deadline: Option<Duration>,
    pub(crate) termination: Termination,
    threads: Option<usize>,
    /// How files are read, where a signal handler stands ready.
    pub(crate) read: ReadMode,
    kernel: Option<Kernel>,
    fail_fast: bool,
    memory: Option<u64>,
    /// What only `watch` is told.
    pub(crate) watch: Option<watch::Settings>,
    /// Where metrics go.
    pub(crate) metrics: Option<PathBuf>,
    /// Where the audit event of each model goes.
    pub(crate) audit: Option<PathBuf>,
    receipts: Option<Kept>,
    /// The policy file that says all else.
    policy_file: Option<Written>,
    /// The SHA-256 that it has to have.
    policy_sha256: Option<String>,
    /// The policy without trust, which is read from files.
    policy: Policy,
    keys: Pem,
    certificates: Pem,
    identity: Option<String>,
    sigstore: Sigstore,
}

/// What every model is judged by.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) who: Who,
    /// What was hashed before.
    receipts: Option<Receipts>,
}

/// What signatures are trusted by.
#[derive(Debug)]
pub(crate) enum Who {
    /// A policy file, which has a rule for each model or none.
    File(Box<PolicyFile>),
    /// The settings, for every model.
    Settings(Box<Policy>),
}

/// What counts for one model.
#[derive(Debug)]
pub(crate) struct ForModel {
    pub(crate) policy: Policy,
    pub(crate) id: Option<String>,
    /// The rule of the policy file that it comes of.
    pub(crate) rule: Option<PolicyReport>,
    pub(crate) receipts: Option<Receipts>,
}

/// Where receipts are kept.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    key: PathBuf,
    /// The settings that have to be as they were.
    context: String,
}

impl Kept {
    fn given(given: &Given) -> Result<Option<Self>, Error> {
        match (given.path("receipts"), given.path("receipt-key")) {
            (None, None) => Ok(None),
            (Some(folder), Some(key)) => {
                Ok(Some(Kept { folder, key, context: given.context(&WITHOUT_MEANING) }))
            }
            (folder, _) => {
                let flag = if folder.is_some() { "receipts" } else { "receipt-key" };
                let what = format!("{} was given alone", given.by(flag).unwrap_or_default());
                Err(Error::new(Code::ArgumentsConflict, what)
                    .with_help("give both --receipts and --receipt-key, or none"))
            }
        }
    }
}

/// Where a policy is written.
#[derive(Debug)]
enum Written {
    File(PathBuf),
    Text(String),
}

/// Where PEM comes from.
#[derive(Debug)]
enum Pem {
    Files(Vec<PathBuf>),
    /// The name of the variable, and its text.
    Variable(String, String),
}

impl Config {
    /// Reads and checks flags and variables; reads no file. `args` begins with the program's name.
    pub(crate) fn read(
        task: Task,
        args: &[OsString],
        variables: &[(OsString, OsString)],
    ) -> Result<Self, Refused> {
        let given = Given::read(task, args, variables)?;
        let mode = given.parsed("mode", "enforce or warn", mode)?.unwrap_or_default();
        let targets = target::given(&given, task, mode)?;
        let of_one = OF_ONE_MODEL.iter().find_map(|flag| given.by(flag));
        let one = matches!(&targets[..], [target] if target.way != Way::Below);
        if let (Some(by), false) = (of_one, one) {
            let what = format!("{by} says something of one model, and there may be others");
            return Err(Error::new(Code::ArgumentsConflict, what)
                .with_help("run an init container for each model")
                .into());
        }
        let policy_sha256 = given.text("policy-sha256")?;
        if let Some(hex) = &policy_sha256
            && (hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            let by = given.by("policy-sha256").unwrap_or_default();
            return Err(bad(format!("{by} is not 64 hexadecimal digits")).into());
        }
        let config = Config {
            signatures: given.paths("signature"),
            signature_folder: given.path("signatures"),
            model_id: given.text("model-id")?,
            ignore_paths: given.paths("ignore-paths"),
            ignore_unsigned_files: given.switch("ignore-unsigned-files")?,
            allow_symlinks: given.switch("allow-symlinks")?,
            include_git_paths: given.switch("no-ignore-git-paths")?,
            mode,
            deadline: given
                .parsed("deadline", "a duration as 90s or 1h30m, or none", deadline)?
                // Who watches has all the time there is.
                .unwrap_or((task == Task::Check).then_some(DEADLINE)),
            termination: Termination::new(given.path("termination-log").map(PathBuf::into_os_string)),
            threads: given.parsed("threads", "a number from 1 to 256", |text| {
                text.parse().ok().filter(|threads| (1..=limits::THREADS).contains(threads))
            })?,
            read: given
                .parsed("read", "auto, mmap, pread or direct", |text| {
                    ReadMode::ALL.into_iter().find(|mode| mode.name() == text)
                })?
                // What is mapped and truncated ends the program, which is not to end.
                .unwrap_or(if task == Task::Watch { ReadMode::Pread } else { ReadMode::Auto }),
            kernel: given.parsed("kernel", "a kernel of this processor", |text| text.parse().ok())?,
            fail_fast: given.switch("fail-fast")?,
            memory: given.parsed("memory", "a size as 64Mi, at least 1Mi", size)?,
            watch: (task == Task::Watch).then(|| watch::Settings::given(&given)).transpose()?,
            metrics: given.path("metrics-file"),
            audit: given.path("audit-log"),
            receipts: Kept::given(&given)?,
            policy_file: written(&given)?,
            policy_sha256,
            policy: policy(&given, mode)?,
            keys: Pem::given(&given, "public-key")?,
            certificates: Pem::given(&given, "certificate-chain")?,
            identity: given.text("certificate-identity")?,
            sigstore: Sigstore::given(&given)?,
            repair: !given.switch("no-repair")?,
            stores: Stores::given(&given)?,
            targets,
        };
        config.check_trust(&given)?;
        let state = config.watch.as_ref().map(|watch| watch.state.as_path());
        let receipts = config.receipts.as_ref().map(|kept| kept.folder.as_path());
        let outputs = [
            ("receipts", receipts),
            ("audit-log", config.audit.as_deref()),
            ("metrics-file", config.metrics.as_deref()),
            ("state", state),
        ];
        apart::check(&config.targets, &outputs)?;
        Ok(config)
    }

    fn check_trust(&self, given: &Given) -> Result<(), Error> {
        if let (None, Some(by)) = (&self.policy_file, given.by("policy-sha256")) {
            let what = format!("{by} was given without a policy");
            return Err(Error::new(Code::ArgumentsConflict, what).with_help("give --policy as well"));
        }
        if let Some(policy) = given.by("policy").or(given.by("policy-text")) {
            let beside = LEFT_TO_THE_POLICY.iter().find_map(|flag| given.by(flag));
            return beside.map_or(Ok(()), |by| {
                let what = format!("{policy} was given, and {by} does not go with it");
                Err(Error::new(Code::ArgumentsConflict, what).with_help("leave it to the policy"))
            });
        }
        if self.keys.is_none() && self.certificates.is_none() && self.sigstore.identity.is_none() {
            return Err(Error::new(
                Code::TrustMissing,
                "nothing was given that a signature could be trusted by",
            )
            .with_help(
                "give --policy, --public-key, --certificate-chain or --identity, or their variables",
            ));
        }
        match given.by("certificate-identity") {
            Some(by) if self.certificates.is_none() => Err(Error::new(
                Code::ArgumentsConflict,
                format!("{by} was given without a certificate to trust"),
            )
            .with_help("give --certificate-chain as well")),
            _ => Ok(()),
        }
    }

    /// All that is trusted, read from files.
    ///
    /// # Errors
    /// Those of the policy file, or else `key-absent`, `key-malformed`, `key-unsupported`, `permission-denied`, `io-failed`; those of a
    /// trusted root.
    pub(crate) fn trust(&self, run: &Run) -> Result<Trust, Error> {
        let who = self.who(run)?;
        let receipts = match &self.receipts {
            None => None,
            Some(Kept { folder, key, context }) => {
                let policy = match &who {
                    Who::File(policy) => policy.digest(),
                    Who::Settings(_) => "",
                };
                let context = format!("{context}{policy}");
                Some(Receipts::open(folder, &read_key(key)?, context.as_bytes())?)
            }
        };
        Ok(Trust { who, receipts })
    }

    fn who(&self, run: &Run) -> Result<Who, Error> {
        let file = match (&self.policy_file, &self.policy_sha256) {
            (None, _) => return self.trusting(run).map(|policy| Who::Settings(Box::new(policy))),
            (Some(Written::File(path)), None) => PolicyFile::read(path)?,
            (Some(Written::File(path)), Some(sha256)) => PolicyFile::read_pinned(path, sha256)?,
            // The paths in it have no folder to be relative to.
            (Some(Written::Text(text)), None) => PolicyFile::parse(text.as_bytes(), "/")?,
            (Some(Written::Text(text)), Some(sha256)) => PolicyFile::parse_pinned(text.as_bytes(), sha256)?,
        };
        Ok(Who::File(Box::new(file)))
    }

    /// What counts for one model: a policy, and the model's id.
    ///
    /// # Errors
    /// Those of [`PolicyFile::rule_for`]; `bad-argument` when a path is no model id.
    pub(crate) fn for_model(&self, trust: &Trust, model: &Target, run: &Run) -> Result<ForModel, Error> {
        let (policy, id, rule) = match &trust.who {
            Who::Settings(policy) => {
                let own = model.has_id().then(|| model.id()).transpose()?;
                ((**policy).clone(), self.model_id.clone().or(own), None)
            }
            Who::File(file) => {
                let id = self.model_id.clone().map_or_else(|| model.id(), Ok)?;
                let applied =
                    file.rule_for_with(&id, |instance| self.sigstore.stored(instance.clone(), run))?;
                let rule = applied.report().clone();
                (applied.into_policy().also(self.policy.clone())?, Some(id), Some(rule))
            }
        };
        // What the model server will load is what has to be signed and there; warn mode says what enforce would.
        Ok(ForModel { policy: policy.load_set(true), id, rule, receipts: trust.receipts.clone() })
    }

    /// The policy of the settings, with all that is trusted.
    fn trusting(&self, run: &Run) -> Result<Policy, Error> {
        let mut policy = self.policy.clone();
        let root = self.sigstore.root(run)?;
        for (from, text) in self.keys.read()? {
            let mut verifier = KeyVerifier::from_pem(&text).map_err(|error| within(&from, &error))?;
            if let Some(root) = &root {
                verifier = verifier.trusted_root(root.clone());
            }
            policy = policy.accept(Accept::verifier(verifier));
        }
        let certificates = self.certificates.read()?;
        if !certificates.is_empty() {
            let mut together = Vec::new();
            for (from, text) in &certificates {
                // Alone first, so that the error names its file.
                CertificateVerifier::from_pem(text).map_err(|error| within(from, &error))?;
                together.extend_from_slice(text);
                together.push(b'\n');
            }
            let mut verifier = CertificateVerifier::from_pem(&together)?;
            if let Some(identity) = &self.identity {
                verifier = verifier.identity(identity);
            }
            if let Some(root) = &root {
                verifier = verifier.trusted_root(root.clone());
            }
            policy = policy.accept(Accept::verifier(verifier));
        }
        if let (Some(identity), Some(root)) = (&self.sigstore.identity, root) {
            policy = policy.accept(Accept::verifier(SigstoreVerifier::new(root, identity.clone())));
        }
        Ok(policy)
    }

    /// A run as it was told.
    pub(crate) fn run(&self) -> Run {
        let mut run = Run::new().fail_fast(self.fail_fast);
        if let Some(kernel) = self.kernel {
            run = run.kernel(kernel);
        }
        if let Some(deadline) = self.deadline {
            run = run.deadline(deadline);
        }
        if let Some(threads) = self.threads {
            run = run.threads(threads);
        }
        if let Some(memory) = self.memory {
            run = run.memory(memory);
        }
        run
    }
}

impl Pem {
    fn given(given: &Given, flag: &str) -> Result<Self, Error> {
        let content = format!("{flag}-pem");
        let Some(variable) = given.by(&content) else { return Ok(Pem::Files(given.paths(flag))) };
        if given.has(flag) {
            let what = format!("both {} and {variable} were given", given.by(flag).unwrap_or(flag));
            return Err(Error::new(Code::ArgumentsConflict, what).with_help("give one of the two"));
        }
        Ok(Pem::Variable(variable.to_owned(), given.text(&content)?.unwrap_or_default()))
    }

    fn is_none(&self) -> bool {
        matches!(self, Pem::Files(files) if files.is_empty())
    }

    /// The texts, each with where it comes from, escaped.
    fn read(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        match self {
            Pem::Variable(name, text) => Ok(vec![(name.clone(), text.clone().into_bytes())]),
            Pem::Files(files) => files.iter().map(|path| Ok((shown(path), read_key(path)?))).collect(),
        }
    }
}

/// The policy that was given, as a file or as a text.
fn written(given: &Given) -> Result<Option<Written>, Error> {
    match (given.path("policy"), given.text("policy-text")?) {
        (Some(_), Some(_)) => {
            let by = |flag| given.by(flag).unwrap_or_default();
            let what = format!("both {} and {} were given", by("policy"), by("policy-text"));
            Err(Error::new(Code::ArgumentsConflict, what).with_help("give one of the two"))
        }
        (Some(path), None) => Ok(Some(Written::File(path))),
        (None, text) => Ok(text.map(Written::Text)),
    }
}

/// A path to be shown.
pub(crate) fn shown(path: &Path) -> String {
    Shown(&path.to_string_lossy()).to_string()
}

/// An error about something that comes from somewhere.
fn within(from: &str, error: &Error) -> Error {
    Error::new(error.code(), format!("{from}: {error}")).with_help(error.help())
}

/// The policy without trust.
fn policy(given: &Given, mode: Mode) -> Result<Policy, Error> {
    let mut policy = Policy::new().mode(mode);
    if let Some(signers) =
        given.parsed("require", "a number from 1 on", |text| text.parse().ok().filter(|n| *n > 0_usize))?
    {
        policy = policy.require(signers);
    }
    if let Some(name) = given.text("name")? {
        policy = policy.name(name);
    }
    if let Some(version) = given.text("version")? {
        policy = policy.version(version);
    }
    // The value is not shown: a slip may have put a secret in its place.
    let not = |flag: &str, what: &str| bad(format!("{} is not {what}", given.by(flag).unwrap_or(flag)));
    let digest = "a SHA-256 digest, as sha256:HEX";
    for text in given.texts("expect-digest")? {
        policy = policy.digest(&text).map_err(|_| not("expect-digest", digest))?;
    }
    for text in given.texts("revoked-digest")? {
        policy = policy.revoke_digest(&text).map_err(|_| not("revoked-digest", digest))?;
    }
    for text in given.texts("revoked-key")? {
        policy = policy.revoke_key(&text).map_err(|_| not("revoked-key", "64 hexadecimal digits"))?;
    }
    for text in given.texts("revoked-certificate")? {
        let what = "up to 40 hexadecimal digits of a serial number, or 64 of a SHA-256";
        policy = policy.revoke_certificate(&text).map_err(|_| not("revoked-certificate", what))?;
    }
    Ok(policy)
}

fn mode(text: &str) -> Option<Mode> {
    match text {
        "enforce" => Some(Mode::Enforce),
        "warn" => Some(Mode::Warn),
        _ => None,
    }
}

fn deadline(text: &str) -> Option<Option<Duration>> {
    if text == "none" { Some(None) } else { duration(text).map(Some) }
}

pub(crate) fn duration(text: &str) -> Option<Duration> {
    let duration: SignedDuration = text.parse().ok()?;
    duration.is_positive().then(|| duration.unsigned_abs())
}

/// A size in bytes, as Kubernetes writes it (`64Mi`, `1G`), a `B` after it or not.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.strip_suffix('B').unwrap_or(unit) {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes >= LEAST_MEMORY)
}

#[cfg(test)]
mod tests;
