//! The policy file: who may sign which model, in YAML, read strictly. `docs/policy.md` describes it.
//!
//! text -> tree (`yaml`) -> types (`decode`, `types`) -> checked rules (`rules`, `identities`) -> the one that applies.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{Content, Mode, Policy, glob::Rank};
use crate::{Error, Run, code::Code, fs, limits, manifest::Digest, report::PolicyReport, shown::Shown};

mod decode;
mod explain;
mod identities;
#[cfg_attr(not(feature = "sigstore"), path = "no_roots.rs")]
mod roots;
mod rules;
#[cfg(test)]
mod schema;
mod types;
mod yaml;

pub use explain::{Demands, Explanation, Match, Named, RevokedCounts};
use identities::Trusted;
use roots::{Root, Roots};
use rules::Rule;
use yaml::Problem;

/// The JSON schema of policy files.
pub const POLICY_SCHEMA: &str = include_str!("policy.schema.json");

/// A policy file, read and checked as a whole: keys and certificates in it and beside it included.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: Option<String>,
    digest: String,
    /// The files beside it that hold what it trusts.
    beside: Vec<PathBuf>,
    name: Option<String>,
    /// What Sigstore identities, and log entries and timestamps of all others, are verified with.
    root: Option<Root>,
    identities: BTreeMap<String, Trusted>,
    /// What no rule accepts.
    revoked: Policy,
    rules: Vec<Rule>,
}

/// The rule of a policy file that applies to one model.
#[derive(Clone, Debug)]
pub struct Applied {
    policy: Policy,
    report: PolicyReport,
}

impl Applied {
    /// The rule as a policy. It is for this model's id alone, which has to be set with [`Model::id`](crate::Model::id).
    pub fn into_policy(self) -> Policy {
        self.policy
    }

    /// Which rule it is, as reports say it.
    pub fn report(&self) -> &PolicyReport {
        &self.report
    }
}

impl PolicyFile {
    /// Reads a policy file of at most 1 MiB, and the keys and certificates that it names.
    ///
    /// # Errors
    /// `policy-absent`, `policy-invalid`, `policy-ambiguous`; `feature-missing` for Sigstore identities in a build that cannot
    /// verify them; `key-absent`, `key-malformed`, `key-unsupported`, `trust-root-absent`, `trust-root-invalid`;
    /// `permission-denied`, `io-failed`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        PolicyFile::check(path).map_err(first)
    }

    /// Reads a policy from memory; paths in it are relative to a folder.
    ///
    /// # Errors
    /// As [`read`](PolicyFile::read).
    pub fn parse(bytes: &[u8], base: impl AsRef<Path>) -> Result<Self, Error> {
        parse(bytes, base.as_ref(), None).map_err(first)
    }

    /// Reads a policy file, and tells all that is wrong with it and not only the first.
    ///
    /// # Errors
    /// As [`read`](PolicyFile::read); at least one error, in the order of their places.
    pub fn check(path: impl AsRef<Path>) -> Result<Self, Vec<Error>> {
        let path = path.as_ref();
        let bytes = read(path).map_err(|error| vec![error])?;
        let base = path.parent().unwrap_or(Path::new(""));
        parse(&bytes, base, Some(path.to_string_lossy().into_owned()))
    }

    /// Reads a policy file if its bytes have this SHA-256, in hex, and are all that it trusts: a digest says nothing of keys,
    /// certificates and trusted roots in other files.
    ///
    /// # Errors
    /// As [`read`](PolicyFile::read); `policy-not-expected`, `bad-argument`.
    pub fn read_pinned(path: impl AsRef<Path>, sha256: &str) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = read(path)?;
        let shown = Shown(&path.to_string_lossy()).to_string();
        let base = path.parent().unwrap_or(Path::new(""));
        pinned(&bytes, sha256, &shown)?;
        parse(&bytes, base, Some(path.to_string_lossy().into_owned())).map_err(first)?.alone(&shown)
    }

    /// The same of a policy in memory.
    ///
    /// # Errors
    /// As [`read_pinned`](PolicyFile::read_pinned).
    pub fn parse_pinned(bytes: &[u8], sha256: &str) -> Result<Self, Error> {
        pinned(bytes, sha256, "the policy")?;
        parse(bytes, Path::new(""), None).map_err(first)?.alone("the policy")
    }

    /// The same, if it trusts nothing that lies in other files.
    fn alone(self, shown: &str) -> Result<Self, Error> {
        match self.beside.first() {
            None => Ok(self),
            Some(file) => {
                let file = Shown(&file.to_string_lossy()).to_string();
                let what =
                    format!("{shown} trusts what is in the file {file}, of which its digest says nothing");
                Err(Error::new(Code::PolicyNotExpected, what)
                    .with_help("put the keys and certificates into the policy itself (pem), and name an instance as trusted root"))
            }
        }
    }

    /// SHA-256 over the file: `sha256:` and hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the policy calls itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How many identities and how many rules it has.
    pub fn counts(&self) -> (usize, usize) {
        (self.identities.len(), self.rules.len())
    }

    /// The rule that applies to a model: the one with the most specific pattern of all that match the model's id.
    ///
    /// Patterns match whole ids; the most specific one is the id itself, then the one with more characters that are no
    /// wildcards, then with fewer `**`, fewer `*`, fewer `?`.
    ///
    /// # Errors
    /// `policy-no-rule` when none matches; `policy-ambiguous` when those of several rules are equally specific; the codes of
    /// `TrustStore::load` where the policy names an instance of Sigstore.
    pub fn rule_for(&self, model_id: &str, run: &Run) -> Result<Applied, Error> {
        self.apply(model_id, &mut Roots::stored(run))
    }

    /// The same, where the caller finds the trusted roots of instances: he may want to fetch them.
    ///
    /// # Errors
    /// As [`rule_for`](PolicyFile::rule_for), and those of `find`.
    #[cfg(feature = "sigstore")]
    pub fn rule_for_with(
        &self,
        model_id: &str,
        find: impl Fn(&crate::Instance) -> Result<crate::TrustedRoot, Error>,
    ) -> Result<Applied, Error> {
        self.apply(model_id, &mut Roots::found_by(find))
    }

    fn apply(&self, model_id: &str, roots: &mut Roots<'_>) -> Result<Applied, Error> {
        let (rule, pattern) = self.select(model_id)?;
        let report = self.report(rule, pattern);
        let mut policy = rule.policy.clone().also(self.revoked.clone())?.model(model_id);
        if rule.name_is_model_id {
            policy = policy.name(model_id);
        }
        for name in &rule.of {
            let trusted = self.identities.get(name).ok_or_else(|| {
                Error::new(Code::PolicyInvalid, format!("there is no identity {:?}", Shown(name)))
            })?;
            policy = policy.accept_as(name, trusted.accept(self.root.as_ref(), roots)?);
        }
        Ok(Applied { policy: policy.of_file(rule.content.clone(), report.clone()), report })
    }

    /// Which rule applies to a model and why, what it demands, and which others match as well.
    ///
    /// # Errors
    /// `policy-no-rule`, `policy-ambiguous`.
    pub fn explain(&self, model_id: &str) -> Result<Explanation, Error> {
        let (rule, pattern) = self.select(model_id)?;
        Ok(explain::explain(self, model_id, rule, pattern))
    }

    /// Each rule that matches, with the most specific of its patterns that do.
    fn matching(&self, model_id: &str) -> Vec<(Rank, &Rule, &str)> {
        let mut found: Vec<(Rank, &Rule, &str)> = Vec::new();
        for rule in &self.rules {
            let matching = rule.patterns.iter().filter(|pattern| pattern.matches(model_id));
            let best = matching.max_by_key(|pattern| pattern.rank());
            found.extend(best.map(|pattern| (pattern.rank(), rule, pattern.text())));
        }
        found.sort_by_key(|(rank, ..)| Reverse(*rank));
        found
    }

    fn select(&self, model_id: &str) -> Result<(&Rule, &str), Error> {
        let found = self.matching(model_id);
        match found.as_slice() {
            [] => Err(Error::new(
                Code::PolicyNoRule,
                format!("no rule of {} is for the model {:?}", self.shown(), Shown(model_id)),
            )),
            [(rank, rule, pattern), (other_rank, other, other_pattern), ..] if rank == other_rank => {
                let what = format!(
                    "{}: rule {} (line {}, {:?}) and rule {} (line {}, {:?}) are for the model {:?}, and neither is more specific",
                    self.shown(),
                    rule.number,
                    rule.line,
                    Shown(pattern),
                    other.number,
                    other.line,
                    Shown(other_pattern),
                    Shown(model_id)
                );
                Err(Error::new(Code::PolicyAmbiguous, what))
            }
            [(_, rule, pattern), ..] => Ok((rule, pattern)),
        }
    }

    fn report(&self, rule: &Rule, pattern: &str) -> PolicyReport {
        PolicyReport {
            path: self.path.clone(),
            digest: self.digest.clone(),
            name: self.name.clone(),
            rule: rule.number,
            line: rule.line,
            pattern: pattern.to_owned(),
            mode: rule.policy.is_mode(),
        }
    }

    fn shown(&self) -> String {
        self.path.as_deref().map_or_else(|| "the policy".to_owned(), |path| Shown(path).to_string())
    }
}

/// The id of a model on disk that was given no other: its path as it was given, but for `./` at its beginning and slashes at
/// its end.
///
/// # Errors
/// `bad-argument` when that says nothing, or not what it seems to: a path that has `..`, `.` or nothing between two slashes,
/// one that is not UTF-8, and the current folder.
pub fn model_id_of(path: &Path) -> Result<String, Error> {
    let shown = path.to_string_lossy();
    let unclear = |why: &str| {
        Error::new(Code::BadArgument, format!("the path {:?} is no model id: {why}", Shown(&shown)))
            .with_help("give the model's id with --model-id")
    };
    let text = path.to_str().ok_or_else(|| unclear("it is not UTF-8"))?;
    let mut id = text.trim_end_matches('/');
    while let Some(rest) = id.strip_prefix("./") {
        id = rest;
    }
    if id.is_empty() || id == "." {
        return Err(unclear("it names nothing"));
    }
    let parts = id.strip_prefix('/').unwrap_or(id);
    if parts.split('/').any(|part| matches!(part, "" | "." | ".."))
        || Path::new(id).components().any(|part| part == Component::ParentDir)
    {
        return Err(unclear("it has parts that do not name anything"));
    }
    Ok(id.to_owned())
}

/// The first of several errors, which says how many more there are.
fn first(errors: Vec<Error>) -> Error {
    let more = errors.len().saturating_sub(1);
    let mut errors = errors.into_iter();
    match errors.next() {
        Some(error) if more == 0 => error,
        Some(error) => {
            let help = format!("{}; {more} more: see weightseal policy check", error.help());
            error.with_help(help)
        }
        None => Error::new(Code::PolicyInvalid, "the policy cannot be used"),
    }
}

/// The bytes of a policy file.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read_bounded(path, limits::POLICY_BYTES, "the policy", Code::PolicyAbsent, Code::PolicyInvalid)
}

/// Refuses bytes that have another SHA-256 than this.
fn pinned(bytes: &[u8], sha256: &str, shown: &str) -> Result<(), Error> {
    let hex = sha256.strip_prefix("sha256:").unwrap_or(sha256);
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::new(Code::BadArgument, "the SHA-256 of the policy has 64 hexadecimal digits"));
    }
    let actual = Digest::sha256(Sha256::digest(bytes).into()).to_string();
    if actual == format!("sha256:{}", hex.to_ascii_lowercase()) {
        return Ok(());
    }
    let what = format!("{shown} has the digest {actual}, which is not the one that was given");
    Err(Error::new(Code::PolicyNotExpected, what))
}

fn parse(bytes: &[u8], base: &Path, path: Option<String>) -> Result<PolicyFile, Vec<Error>> {
    let shown = path.as_deref().map_or_else(|| "policy".to_owned(), |path| Shown(path).to_string());
    let errors = |mut problems: Vec<Problem>| {
        problems.sort_by_key(|problem| problem.at);
        problems.dedup();
        problems.into_iter().map(|problem| problem.into_error(&shown)).collect::<Vec<_>>()
    };
    if bytes.len() as u64 > limits::POLICY_BYTES {
        let what = format!("it is larger than {} bytes", limits::POLICY_BYTES);
        return Err(errors(vec![Problem::new(None, what)]));
    }
    let root = yaml::read(bytes).map_err(errors)?;
    let document: types::Document = decode::decode(&root).map_err(|problem| {
        let mut all = rules::every_fault(&root);
        all.push(problem);
        errors(all)
    })?;
    let digest = Digest::sha256(Sha256::digest(bytes).into()).to_string();
    let mut problems = Vec::new();
    let shared =
        document.trusted_root.as_ref().map(|given| roots::read(given, root.get("trusted_root"), base));
    let shared = shared.and_then(|read| read.map_err(|problem| problems.push(problem)).ok());
    let identities = identities::check(&document, &root, base, &mut problems);
    let checked = rules::check(&document, &root, &mut problems);
    let revoked = rules::revoke(Policy::new(), &document.revoked, root.get("revoked"), &mut problems);
    if !problems.is_empty() {
        return Err(errors(problems));
    }
    let beside = document.files();
    let name = document.metadata.map(|metadata| metadata.name);
    Ok(PolicyFile { path, digest, beside, name, root: shared, identities, revoked, rules: checked })
}

impl Problem {
    fn into_error(self, shown: &str) -> Error {
        let what = match self.at {
            Some(at) => format!("{shown}:{at}: {}", self.what),
            None => format!("{shown}: {}", self.what),
        };
        let error = Error::new(self.code, what);
        match self.help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }

    /// A problem with something that another part of the crate refused. What it calls evidence against a model is a mistake
    /// here; what could not be read stays that.
    fn of(at: yaml::Mark, error: &Error) -> Self {
        use crate::code::Class;
        if error.class() == Class::Rejected || error.code() == Code::BadArgument {
            return Problem::new(at, error.to_string());
        }
        Problem {
            at: Some(at),
            code: error.code(),
            what: error.to_string(),
            help: Some(error.help().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_an_id_as_it_was_given_or_none() {
        for (path, id) in [
            ("m", "m"),
            ("./m", "m"),
            ("././models/m/", "models/m"),
            ("/models/acme/m//", "/models/acme/m"),
            ("models/a b", "models/a b"),
            ("..m/x..", "..m/x.."),
        ] {
            assert_eq!(model_id_of(Path::new(path)).unwrap(), id, "{path}");
        }
        for path in ["", ".", "./", "/", "..", "../m", "a/../m", "a/./m", "a//m", "a/.."] {
            assert_eq!(model_id_of(Path::new(path)).unwrap_err().code(), Code::BadArgument, "{path}");
        }
        let not_text: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"m\xff");
        assert_eq!(model_id_of(Path::new(not_text)).unwrap_err().code(), Code::BadArgument);
    }
}
