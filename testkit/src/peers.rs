//! The Python implementation of OMS, as another signer and verifier to agree with.
//!
//! Each release lives in a virtual environment under the target folder and is driven as its users drive it: by its
//! command line where it has one. What that command line has no flag for (other digests, shards) goes through its
//! Python interface.

mod install;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::run::{Ended, capture};

pub use install::{VERSIONS, environment, peer};

/// Runs the command line of 0.3.1, 1.0.0 and 1.0.1 without the network.
const OFFLINE: &str = include_str!("peers/offline.py");
/// Does by 0.2.0's Python interface what the later command lines do.
const FIRST: &str = include_str!("peers/first.py");
/// Signs and verifies by the Python interface of 1.x, with any digest and shard size.
const INTERFACE: &str = include_str!("peers/interface.py");

/// One installed release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    version: String,
    python: PathBuf,
}

/// A model, its signature, and the flags that signing and verifying share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    model: PathBuf,
    signature: PathBuf,
    ignore_paths: Vec<PathBuf>,
    ignore_git_paths: bool,
    allow_symlinks: bool,
    ignore_unsigned_files: bool,
    current_dir: Option<PathBuf>,
    hashing: Option<Hashing>,
}

/// How the peer is to hash, where its command line would not: see [`Job::hashing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// Whole files, with `sha256`, `blake2` or `blake3` in the peer's own words.
    Files(&'static str),
    /// Shards of this many bytes, with `sha256` or `blake2`.
    Shards(&'static str, u64),
}

impl Job {
    /// Nothing ignored but Git's own files and the signature, no links followed.
    pub fn new(model: impl Into<PathBuf>, signature: impl Into<PathBuf>) -> Job {
        Job {
            model: model.into(),
            signature: signature.into(),
            ignore_paths: Vec::new(),
            ignore_git_paths: true,
            allow_symlinks: false,
            ignore_unsigned_files: false,
            current_dir: None,
            hashing: None,
        }
    }

    /// One more `--ignore-paths`.
    #[must_use]
    pub fn ignore(mut self, path: impl Into<PathBuf>) -> Job {
        self.ignore_paths.push(path.into());
        self
    }

    /// `--no-ignore-git-paths`.
    #[must_use]
    pub fn with_git_paths(self) -> Job {
        Job { ignore_git_paths: false, ..self }
    }

    /// `--allow_symlinks`, which 1.0.1 and older do not know.
    #[must_use]
    pub fn allow_symlinks(self) -> Job {
        Job { allow_symlinks: true, ..self }
    }

    /// `--ignore_unsigned_files`, which 1.0.1 and older do not know; only for verifying.
    #[must_use]
    pub fn ignore_unsigned_files(self) -> Job {
        Job { ignore_unsigned_files: true, ..self }
    }

    /// The folder the peer is started in, which its relative paths are against.
    #[must_use]
    pub fn current_dir(self, dir: impl Into<PathBuf>) -> Job {
        Job { current_dir: Some(dir.into()), ..self }
    }

    /// Hashes so, by the Python interface of 1.1, to sign and to verify: what it would guess from the bundle is wrong
    /// for `blake2`.
    #[must_use]
    pub fn hashing(self, hashing: Hashing) -> Job {
        Job { hashing: Some(hashing), ..self }
    }
}

/// What a peer answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The program it ran as, with its output.
    pub ended: Ended,
}

impl Answer {
    /// Whether it signed, or verified.
    ///
    /// Releases before 1.0.1 exit with 0 whatever came out, so that its own closing line counts as well.
    pub fn accepted(&self) -> bool {
        let out = self.ended.out();
        let said = out.lines().any(|line| matches!(line, "Signing succeeded" | "Verification succeeded"));
        self.ended.code() == Some(0) && said
    }

    /// Whether it refused in its own words, as opposed to not having run at all.
    pub fn refused(&self) -> bool {
        let said = [self.ended.out(), self.ended.err()].iter().any(|text| {
            text.contains("Signing failed with error") || text.contains("Verification failed with error")
        });
        !self.accepted() && said
    }

    /// Demands that it signed or verified.
    ///
    /// # Panics
    /// It did not; the message holds all it wrote.
    #[track_caller]
    pub fn expect_accepted(&self) {
        assert!(self.accepted(), "the peer did not accept\n{}", self.ended);
    }

    /// Demands that it refused in its own words.
    ///
    /// # Panics
    /// It accepted, or could not be run; the message holds all it wrote.
    #[track_caller]
    pub fn expect_refused(&self) {
        assert!(self.refused(), "the peer did not refuse\n{}", self.ended);
    }
}

impl Peer {
    /// The release, like `1.1.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The Python interpreter of its environment, where `model_signing` and `cryptography` can be imported.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Whether it can sign with a certificate: 0.3.1 cannot, for a misspelt argument in its own code.
    pub fn signs_certificates(&self) -> bool {
        self.version != "0.3.1"
    }

    /// Whether it can verify a certificate's signature: 0.2.0 and 0.3.1 cannot, for defects of their own.
    pub fn verifies_certificates(&self) -> bool {
        !matches!(self.version.as_str(), "0.2.0" | "0.3.1")
    }

    /// Signs with an unencrypted EC private key in PEM.
    ///
    /// # Errors
    /// It cannot be run, or does not end in time.
    pub fn sign_key(&self, job: &Job, private_key: &Path) -> io::Result<Answer> {
        self.run(job, "sign", "key", &[("private_key", &[private_key])])
    }

    /// Verifies with an EC public key in PEM.
    ///
    /// # Errors
    /// As [`Peer::sign_key`].
    pub fn verify_key(&self, job: &Job, public_key: &Path) -> io::Result<Answer> {
        self.run(job, "verify", "key", &[("public_key", &[public_key])])
    }

    /// Signs with an EC private key and its certificate; `chain` are the intermediates that go into the bundle.
    ///
    /// # Errors
    /// As [`Peer::sign_key`].
    pub fn sign_certificate(
        &self,
        job: &Job,
        private_key: &Path,
        certificate: &Path,
        chain: &[&Path],
    ) -> io::Result<Answer> {
        let keys: [(&str, &[&Path]); 3] = [
            ("private_key", &[private_key]),
            ("signing_certificate", &[certificate]),
            ("certificate_chain", chain),
        ];
        self.run(job, "sign", "certificate", &keys)
    }

    /// Verifies a certificate's signature, trusting these root certificates.
    ///
    /// # Errors
    /// As [`Peer::sign_key`].
    pub fn verify_certificate(&self, job: &Job, anchors: &[&Path]) -> io::Result<Answer> {
        self.run(job, "verify", "certificate", &[("certificate_chain", anchors)])
    }

    /// Signs with an identity token, at the servers of a trust configuration (`ClientTrustConfig`). Only 1.1.0 and 1.1.1.
    ///
    /// # Errors
    /// As [`Peer::sign_key`].
    pub fn sign_sigstore(&self, job: &Job, trust_config: &Path, token: &str) -> io::Result<Answer> {
        let flags: [(&str, &[&Path]); 2] =
            [("trust_config", &[trust_config]), ("identity_token", &[Path::new(token)])];
        self.run(job, "sign", "sigstore", &flags)
    }

    /// Verifies that this identity of this issuer signed, trusting what a trust configuration says. Only 1.1.0 and 1.1.1.
    ///
    /// # Errors
    /// As [`Peer::sign_key`].
    pub fn verify_sigstore(
        &self,
        job: &Job,
        trust_config: &Path,
        identity: &str,
        issuer: &str,
    ) -> io::Result<Answer> {
        let flags: [(&str, &[&Path]); 3] = [
            ("trust_config", &[trust_config]),
            ("identity", &[Path::new(identity)]),
            ("identity_provider", &[Path::new(issuer)]),
        ];
        self.run(job, "verify", "sigstore", &flags)
    }

    /// Runs a script with its interpreter, offline and apart from the user's own Python settings.
    ///
    /// # Errors
    /// As [`Peer::sign_key`].
    pub fn script(&self, script: &str, args: &[OsString], current_dir: Option<&Path>) -> io::Result<Ended> {
        let mut command = Command::new(&self.python);
        command.arg("-c").arg(script).args(args);
        capture(self.set_up(&mut command, current_dir))
    }

    fn run(&self, job: &Job, verb: &str, method: &str, keys: &[(&str, &[&Path])]) -> io::Result<Answer> {
        let dir = job.current_dir.as_deref();
        let ended = match self.version.as_str() {
            "0.2.0" => self.script(FIRST, &[described(job, verb, method, keys).into()], dir)?,
            _ if job.hashing.is_some() => {
                self.script(INTERFACE, &[described(job, verb, method, keys).into()], dir)?
            }
            "0.3.1" | "1.0.0" | "1.0.1" => {
                self.script(OFFLINE, &command_line(job, verb, method, keys), dir)?
            }
            _ => {
                let mut command = Command::new(self.python.with_file_name("model_signing"));
                command.args(command_line(job, verb, method, keys));
                capture(self.set_up(&mut command, dir))?
            }
        };
        Ok(Answer { ended })
    }

    fn set_up<'a>(&self, command: &'a mut Command, current_dir: Option<&Path>) -> &'a mut Command {
        if let Some(dir) = current_dir {
            command.current_dir(dir);
        }
        command
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONUTF8", "1")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .env_remove("MODEL_SIGNING_LOG_LEVEL")
            // The servers it is given are on this machine.
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("no_proxy", "127.0.0.1,localhost")
    }
}

/// The arguments as the documentation of each release spells them.
fn command_line(job: &Job, verb: &str, method: &str, keys: &[(&str, &[&Path])]) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![verb.into(), method.into(), job.model.clone().into()];
    args.extend(["--signature".into(), job.signature.clone().into()]);
    for path in &job.ignore_paths {
        args.extend(["--ignore-paths".into(), path.clone().into()]);
    }
    let flags = [
        (!job.ignore_git_paths, "--no-ignore-git-paths"),
        (job.allow_symlinks, "--allow_symlinks"),
        (job.ignore_unsigned_files, "--ignore_unsigned_files"),
    ];
    args.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag.into()));
    for (name, paths) in keys {
        for path in *paths {
            args.extend([format!("--{name}").into(), (*path).into()]);
        }
    }
    args
}

/// The same as JSON, for the scripts that call a Python interface.
fn described(job: &Job, verb: &str, method: &str, keys: &[(&str, &[&Path])]) -> String {
    let mut text = json!({
        "verb": verb,
        "method": method,
        "model": job.model,
        "signature": job.signature,
        "ignore_paths": job.ignore_paths,
        "ignore_git_paths": job.ignore_git_paths,
        "allow_symlinks": job.allow_symlinks,
        "ignore_unsigned_files": job.ignore_unsigned_files,
    });
    if let Some(object) = text.as_object_mut() {
        let (algorithm, shard_size) = match job.hashing {
            None => (Value::Null, Value::Null),
            Some(Hashing::Files(algorithm)) => (algorithm.into(), Value::Null),
            Some(Hashing::Shards(algorithm, size)) => (algorithm.into(), size.into()),
        };
        object.insert("algorithm".to_owned(), algorithm);
        object.insert("shard_size".to_owned(), shard_size);
        object.extend(keys.iter().map(|(name, paths)| ((*name).to_owned(), json!(paths))));
    }
    text.to_string()
}
