//! The settings by name: one table from which the flags, the variables and the help are made.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use clap::{
    Arg, ArgAction, Command,
    error::{ContextKind, ContextValue, ErrorKind},
    value_parser,
};
use weightseal::{Code, Error, Shown};

/// What every variable of this program begins with.
const PREFIX: &str = "WEIGHTSEAL_";

/// How many values a setting takes, and what stands between them in its variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// None: the flag alone, `true` or `false` in the variable.
    Switch,
    /// One.
    One,
    /// Several: the flag repeats, the variable holds one a line.
    Lines,
    /// Several paths: the flag repeats, the variable holds them with `:` between, as PATH does.
    Paths,
    /// One text, by variable alone: PEM, a policy.
    Text,
}

/// A setting: its flag without the dashes, and what `--help` says of it.
struct Setting {
    flag: &'static str,
    takes: Takes,
    value: &'static str,
    help: &'static str,
}

const fn setting(flag: &'static str, takes: Takes, value: &'static str, help: &'static str) -> Setting {
    Setting { flag, takes, value, help }
}

/// All of them.
const SETTINGS: &[Setting] = &[
    setting(
        "model",
        Takes::Lines,
        "PATH",
        "A model to check: a folder, a single file, or hf://org/name@revision in the Hub's cache",
    ),
    setting(
        "models-under",
        Takes::One,
        "DIR",
        "Check every model below this folder, and that there is nothing else",
    ),
    setting(
        "no-repair",
        Takes::Switch,
        "",
        "Fetch all of a model that is pulled, and not only what DEST lacks",
    ),
    setting(
        "signature",
        Takes::Lines,
        "FILE",
        "A signature of the one model [default: MODEL/model.sig, or FILE.sig beside a single file]",
    ),
    setting(
        "signatures",
        Takes::One,
        "DIR",
        "Where signatures lie of models that have none of their own: ID.sig, with -- for each / in the id and models-- for hf://",
    ),
    setting(
        "policy",
        Takes::One,
        "FILE",
        "Accept what the rule of this policy for the model accepts; what would weaken it is refused beside it",
    ),
    setting("policy-text", Takes::Text, "", ""),
    setting(
        "policy-sha256",
        Takes::One,
        "HEX",
        "Demand this SHA-256 of the policy, and that it trusts nothing in files of its own",
    ),
    setting("public-key", Takes::Paths, "FILE", "Accept signatures by the keys in this PEM file"),
    setting("public-key-pem", Takes::Text, "", ""),
    setting(
        "certificate-chain",
        Takes::Paths,
        "FILE",
        "Accept certificates that lead to one in this PEM file",
    ),
    setting("certificate-chain-pem", Takes::Text, "", ""),
    setting(
        "certificate-identity",
        Takes::One,
        "NAME",
        "Demand that the signing certificate is this one's: an alternative name or the subject, whole",
    ),
    setting(
        "identity",
        Takes::One,
        "IDENTITY",
        "Accept Sigstore signatures of this identity: the whole mail address, or the whole URI of the workflow",
    ),
    setting(
        "identity-regexp",
        Takes::One,
        "REGEXP",
        "Accept those of whatever identity this regular expression matches as a whole",
    ),
    setting("identity-provider", Takes::One, "URL", "Demand that this provider vouches for the identity"),
    setting(
        "identity-provider-regexp",
        Takes::One,
        "REGEXP",
        "Demand a provider that this regular expression matches as a whole",
    ),
    setting(
        "claim",
        Takes::Lines,
        "NAME=VALUE",
        "Demand that the certificate says this of the build, for example source-repository-ref=refs/heads/main",
    ),
    setting(
        "trusted-root",
        Takes::One,
        "FILE",
        "Verify logs and timestamps with this trusted_root.json [default: the cache, or else the built-in one]",
    ),
    setting("use-staging", Takes::Switch, "", "Verify with the trusted root of Sigstore's staging instance"),
    setting(
        "trust-cache",
        Takes::One,
        "DIR",
        "Where weightseal trust refresh or import has put trusted roots; nothing is ever fetched here",
    ),
    setting(
        "expect-digest",
        Takes::Lines,
        "DIGEST",
        "Demand this signed root digest of the one model, or another that is demanded",
    ),
    setting(
        "model-id",
        Takes::One,
        "ID",
        "What policies and reports call the one model [default with a policy: its path]",
    ),
    setting("name", Takes::One, "NAME", "Demand that the signer called the one model so"),
    setting("version", Takes::One, "VERSION", "Demand that the signer gave the one model this version"),
    setting(
        "require",
        Takes::One,
        "N",
        "Demand signatures by so many different signers, and tolerate others that are not accepted",
    ),
    setting(
        "ignore-paths",
        Takes::Lines,
        "PATH",
        "Leave out a path with all below it, relative to the model or absolute",
    ),
    setting("ignore-unsigned-files", Takes::Switch, "", "Tolerate files that are not signed"),
    setting(
        "allow-symlinks",
        Takes::Switch,
        "",
        "Follow links inside the model, if it was signed with links",
    ),
    setting(
        "no-ignore-git-paths",
        Takes::Switch,
        "",
        "Check .git, .gitignore, .gitattributes and .github as well",
    ),
    setting("revoked-key", Takes::Lines, "FINGERPRINT", "Refuse this key: hex SHA-256 of its SPKI in DER"),
    setting(
        "revoked-certificate",
        Takes::Lines,
        "SERIAL",
        "Refuse this certificate: its serial number in hex, or hex SHA-256 of its DER",
    ),
    setting("revoked-digest", Takes::Lines, "DIGEST", "Refuse models with this root digest"),
    setting(
        "mode",
        Takes::One,
        "MODE",
        "enforce, or warn: let pass what is not verified, and say so [default: enforce]",
    ),
    setting(
        "deadline",
        Takes::One,
        "DURATION",
        "End after this long as not verified, for example 90s or 1h30m; or none [default: 30m]",
    ),
    setting(
        "receipts",
        Takes::One,
        "DIR",
        "Keep receipts here, so that what was hashed and has not changed since is not hashed again",
    ),
    setting(
        "receipt-key",
        Takes::One,
        "FILE",
        "Authenticate receipts with what is in this file: at least 32 bytes that nobody else has",
    ),
    setting(
        "tls-ca",
        Takes::One,
        "FILE",
        "Trust these roots for TLS as well, in PEM: those of a private authority",
    ),
    setting(
        "hf-token-host",
        Takes::Lines,
        "HOST",
        "A host besides huggingface.co that the Hub's token may go to",
    ),
    setting("allow-http", Takes::Switch, "", "Speak to stores without TLS where their address says so"),
    setting(
        "metrics-file",
        Takes::One,
        "FILE",
        "Write metrics to this file, as the text collector of Prometheus' node exporter reads them",
    ),
    setting("audit-log", Takes::One, "FILE", "Append one line of JSON for each model to this file"),
    setting(
        "threads",
        Takes::One,
        "N",
        "Hash with so many threads, 1 to 256 [default: as many as the container may use]",
    ),
    setting(
        "memory",
        Takes::One,
        "SIZE",
        "Map or buffer at most so much of the model at once, for example 64Mi [default: 64Mi]",
    ),
    setting(
        "read",
        Takes::One,
        "HOW",
        "Read files by mmap, pread, or direct (past the page cache) [default: auto, the fastest of the first two]",
    ),
    setting("kernel", Takes::One, "KERNEL", "Compute SHA-256 with this kernel [default: the fastest]"),
    setting("fail-fast", Takes::Switch, "", "Stop at the first difference"),
    setting(
        "termination-log",
        Takes::One,
        "FILE",
        "Where the termination message goes, or none [default: /dev/termination-log where it exists]",
    ),
];

impl Setting {
    fn variable(&self) -> String {
        format!("{PREFIX}{}", self.flag.replace('-', "_").to_ascii_uppercase())
    }

    fn arg(&self) -> Option<Arg> {
        let action = match self.takes {
            Takes::Text => return None,
            Takes::Switch => ArgAction::SetTrue,
            Takes::One => ArgAction::Set,
            Takes::Lines | Takes::Paths => ArgAction::Append,
        };
        let arg = Arg::new(self.flag).long(self.flag).action(action).help(format!(
            "{} [{}]",
            self.help,
            self.variable()
        ));
        Some(match self.takes {
            Takes::Switch => arg,
            _ => arg.value_name(self.value).value_parser(value_parser!(OsString)),
        })
    }

    /// Takes a variable apart. One final newline is dropped: files and YAML blocks have it.
    fn split(&self, text: &OsStr) -> Vec<OsString> {
        let bytes = text.as_bytes();
        // A text is what was hashed, to the last byte.
        let bytes = bytes.strip_suffix(b"\n").filter(|_| self.takes != Takes::Text).unwrap_or(bytes);
        let between = match self.takes {
            Takes::Switch | Takes::One | Takes::Text => return vec![OsString::from_vec(bytes.to_vec())],
            Takes::Lines => b'\n',
            Takes::Paths => b':',
        };
        bytes.split(|byte| *byte == between).map(|part| OsString::from_vec(part.to_vec())).collect()
    }
}

/// What only `watch` has.
const OF_WATCH: &[Setting] = &[
    setting(
        "interval",
        Takes::One,
        "DURATION",
        "Compare the stamps of all files this often; no byte is read for it [default: 1m]",
    ),
    setting("full-every", Takes::One, "DURATION", "Hash every byte again this often [default: 24h]"),
    setting(
        "rate",
        Takes::One,
        "SIZE",
        "Hash at most so much in a second, for example 200Mi [default: no limit]",
    ),
    setting(
        "state",
        Takes::One,
        "DIR",
        "Where the state is kept that probe reads: an emptyDir of the pod's own",
    ),
];

/// What the program was called to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Check models once, before the server starts.
    Check,
    /// Check them again and again beside the server.
    Watch,
}

impl Task {
    fn settings(self) -> impl Iterator<Item = &'static Setting> {
        let own = if self == Task::Watch { OF_WATCH } else { &[] };
        SETTINGS.iter().chain(own)
    }

    fn command(self) -> Command {
        let trust = "(--policy FILE | --public-key FILE | --certificate-chain FILE | --identity ID --identity-provider URL)";
        let (about, usage) = match self {
            Task::Check => (
                "Checks models before a pod starts, and ends with 0 only if every one of them passes.",
                format!(
                    "weightseal-init (--model PATH | --models-under DIR | SRC DEST [SRC DEST ...]) {trust} [OPTIONS]\n       \
                     weightseal-init watch --state DIR (--model PATH | --models-under DIR) {trust} [OPTIONS]\n       \
                     weightseal-init probe --state DIR"
                ),
            ),
            Task::Watch => (
                "Checks models again and again beside their server; weightseal-init probe --state DIR tells how they are.",
                format!(
                    "weightseal-init watch --state DIR (--model PATH | --models-under DIR) {trust} [OPTIONS]"
                ),
            ),
        };
        let command = Command::new("weightseal-init")
            .about(about)
            .override_usage(usage)
            .after_help(
                "Each option can be given as the variable in brackets instead; the flag wins. Lists hold one value a line, lists of\n\
                 key and certificate files have colons between. WEIGHTSEAL_PUBLIC_KEY_PEM and WEIGHTSEAL_CERTIFICATE_CHAIN_PEM hold\n\
                 the PEM text itself, WEIGHTSEAL_POLICY_TEXT a policy. How stores are reached is said by the variables of their own\n\
                 tools: AWS_*, HF_*, HTTPS_PROXY, SSL_CERT_FILE.\n\n\
                 Exit codes: 0 verified (or admitted by warn mode), 1 rejected, 2 misuse, 3 could not tell. This help ends with 2,\n\
                 since it verifies nothing.",
            )
            .disable_version_flag(true)
            .args(self.settings().filter_map(Setting::arg));
        match self {
            Task::Watch => command,
            Task::Check => command.arg(
                Arg::new(PAIRS)
                    .value_name("SRC DEST")
                    .num_args(1..)
                    .action(ArgAction::Append)
                    .value_parser(value_parser!(OsString))
                    .help("Pull the model SRC (s3://, hf:// or a path) into the folder DEST and verify it on its way"),
            ),
        }
    }
}

/// What the arguments without a flag are called here.
const PAIRS: &str = "pairs";

/// What was given for one setting, and by what.
#[derive(Debug)]
pub(crate) struct Value {
    /// The flag or variable.
    pub(crate) by: String,
    values: Vec<OsString>,
}

/// Why there are no settings.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Help was asked for: its text.
    Help(String),
    /// They cannot be right.
    Misuse(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Misuse(error)
    }
}

/// What was given, by flag.
#[derive(Debug)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Value>,
    /// The arguments without a flag.
    pub(crate) pairs: Vec<OsString>,
}

impl Given {
    /// Reads flags and variables; `args` begins with the program's name.
    pub(crate) fn read(
        task: Task,
        args: &[OsString],
        variables: &[(OsString, OsString)],
    ) -> Result<Self, Refused> {
        let matches = task.command().try_get_matches_from(args).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp => Refused::Help(error.to_string()),
            _ => Refused::Misuse(wrong_argument(&error)),
        })?;
        let mut given = BTreeMap::new();
        for (name, text) in
            variables.iter().filter(|(name, _)| name.as_bytes().starts_with(PREFIX.as_bytes()))
        {
            let setting = task.settings().find(|setting| *name == *setting.variable()).ok_or_else(|| {
                bad(format!("the variable {} is unknown", Shown(&name.to_string_lossy()))).with_help(
                    "see --help; of a Service of this name: set enableServiceLinks to false in the pod",
                )
            })?;
            given.insert(setting.flag, Value { by: setting.variable(), values: setting.split(text) });
        }
        for setting in task.settings().filter(|setting| setting.takes != Takes::Text) {
            let values: Vec<OsString> = match setting.takes {
                Takes::Switch if matches.get_flag(setting.flag) => vec!["true".into()],
                Takes::Switch => continue,
                _ => matches.get_many(setting.flag).into_iter().flatten().cloned().collect(),
            };
            if !values.is_empty() {
                given.insert(setting.flag, Value { by: format!("--{}", setting.flag), values });
            }
        }
        if let Some(value) = given.values().find(|value| value.values.iter().any(|value| value.is_empty())) {
            return Err(bad(format!("{} has an empty value", value.by))
                .with_help("give it a value, or leave it out")
                .into());
        }
        let pairs = match task {
            Task::Check => matches.get_many(PAIRS).into_iter().flatten().cloned().collect(),
            Task::Watch => Vec::new(),
        };
        Ok(Given { values: given, pairs })
    }

    /// Everything that was given but for these flags, as one text that no other settings have.
    pub(crate) fn context(&self, without: &[&str]) -> String {
        let mut text = String::new();
        for (flag, value) in self.values.iter().filter(|(flag, _)| !without.contains(flag)) {
            text.push_str(&format!("{flag} {}", value.values.len()));
            for value in &value.values {
                text.push_str(&format!(" {}:{:?}", value.len(), value));
            }
            text.push('\n');
        }
        text
    }

    /// Whether something was given.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.values.contains_key(flag)
    }

    /// By what it was given: the flag, or the variable.
    pub(crate) fn by(&self, flag: &str) -> Option<&str> {
        self.values.get(flag).map(|value| value.by.as_str())
    }

    /// Paths.
    pub(crate) fn paths(&self, flag: &str) -> Vec<PathBuf> {
        self.values.get(flag).into_iter().flat_map(|value| &value.values).map(PathBuf::from).collect()
    }

    /// The one path.
    pub(crate) fn path(&self, flag: &str) -> Option<PathBuf> {
        self.paths(flag).into_iter().next()
    }

    /// Texts.
    pub(crate) fn texts(&self, flag: &str) -> Result<Vec<String>, Error> {
        let Some(value) = self.values.get(flag) else { return Ok(Vec::new()) };
        let text = |text: &OsString| {
            text.to_str().map(str::to_owned).ok_or_else(|| bad(format!("{} is not valid UTF-8", value.by)))
        };
        value.values.iter().map(text).collect()
    }

    /// The one text.
    pub(crate) fn text(&self, flag: &str) -> Result<Option<String>, Error> {
        Ok(self.texts(flag)?.into_iter().next())
    }

    /// Whether a switch is on.
    pub(crate) fn switch(&self, flag: &str) -> Result<bool, Error> {
        match self.text(flag)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.wrong(flag, "true or false")),
        }
    }

    /// The one value, read by `parse`; `wanted` says what that can read.
    pub(crate) fn parsed<T>(
        &self,
        flag: &str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        Ok(self.all_parsed(flag, wanted, parse)?.into_iter().next())
    }

    /// Every value, read by `parse`.
    pub(crate) fn all_parsed<T>(
        &self,
        flag: &str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        self.texts(flag)?.iter().map(|text| parse(text).ok_or_else(|| self.wrong(flag, wanted))).collect()
    }

    /// A wrong value is not shown: somebody may have put a secret in the wrong place.
    fn wrong(&self, flag: &str, wanted: &str) -> Error {
        bad(format!("{} is not {wanted}", self.by(flag).unwrap_or(flag)))
    }
}

/// The value of one setting where the others may be wrong, so that even a misuse is told where it was asked to be.
pub(crate) fn look_for(
    flag: &str,
    args: &[OsString],
    variables: &[(OsString, OsString)],
) -> Option<OsString> {
    let setting = Task::Watch.settings().find(|setting| setting.flag == flag)?;
    let (flag, assigned) = (format!("--{flag}"), format!("--{flag}="));
    let mut args = args.iter();
    let mut found = None;
    while let Some(arg) = args.next() {
        if *arg == *flag {
            found = args.next().cloned();
        } else if let Some(value) = arg.as_bytes().strip_prefix(assigned.as_bytes()) {
            found = Some(OsString::from_vec(value.to_vec()));
        }
    }
    let by_variable = || {
        let (_, text) = variables.iter().find(|(name, _)| *name == *setting.variable())?;
        setting.split(text).into_iter().next()
    };
    found.or_else(by_variable).filter(|value| !value.is_empty())
}

/// What is wrong with the arguments: by which flag and how, without its value.
fn wrong_argument(error: &clap::Error) -> Error {
    let how = error.kind().as_str().unwrap_or("cannot be used");
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) if arg.starts_with('-') => {
            let flag = arg.split('=').next().unwrap_or_default();
            bad(format!("{}: {how}", Shown(flag)))
        }
        _ => bad(how.to_owned()),
    }
}

/// Misuse of a setting.
pub(crate) fn bad(what: String) -> Error {
    Error::new(Code::BadArgument, what).with_help("see --help")
}

#[cfg(test)]
mod tests;
