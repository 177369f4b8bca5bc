//! The init container as a pod sees it: its exit code, its one line, its termination message.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod admission;
mod admission_fields;
mod admission_injected;
mod admission_mounts;
mod admission_node;
mod admission_parameter;
mod admission_rights;
mod admitted;
mod ended;
mod kubelet;
mod line;
mod loaded;
mod manifests;
mod manifests_audit;
mod pinned;
mod pod;
mod policy;
mod pulled;
mod recorded;
mod refused;
mod under;
mod watched;

use std::{
    ffi::OsStr,
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use line::Line;
use testkit::{
    Ended, TempDir, capture, models,
    pki::{Key, KeyKind},
    temporary,
};
use weightseal::{Algorithm, Bundle, Hashing, KeySigner, Model, Replace, Run, Signer};

/// A volume with a signed model, the public key, and a termination log in which rejected: an older message stands.
struct Volume {
    dir: TempDir,
}

impl Volume {
    /// The small model, signed in whole files as `acme/llama-3` 1.2.
    fn new() -> Self {
        let volume = Volume { dir: temporary().unwrap() };
        models::small(&volume.model()).unwrap();
        volume.sign(&volume.model());
        fs::write(volume.path("release.pub"), key(0).public_pem()).unwrap();
        fs::write(volume.log(), "rejected: an older message ".repeat(300)).unwrap();
        volume
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model")
    }

    fn log(&self) -> PathBuf {
        self.path("termination-log")
    }

    fn message(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// Signs a model; gives the signature's path.
    fn sign(&self, model: &Path) -> PathBuf {
        let signer = KeySigner::from_pem(key(0).pkcs8_pem().as_bytes(), None).unwrap();
        let beside = model.with_file_name(format!("{}.sig", model.file_name().unwrap().to_str().unwrap()));
        let path = if model.is_dir() { model.join("model.sig") } else { beside };
        sign(model, &Hashing::files(Algorithm::Sha256), &signer, &path);
        path
    }

    /// The program with the model, the key and the termination log, and no variable that it could read.
    fn command(&self) -> Command {
        let mut command = program();
        command.arg("--model").arg(self.model());
        self.rest(command)
    }

    /// The same for other models.
    fn models(&self, models: &[&Path]) -> Command {
        let mut command = program();
        for model in models {
            command.arg("--model").arg(model);
        }
        self.rest(command)
    }

    fn rest(&self, mut command: Command) -> Command {
        command.arg("--public-key").arg(self.path("release.pub")).arg("--termination-log").arg(self.log());
        command
    }

    /// Runs it with more arguments.
    fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ended {
        capture(self.command().args(args)).unwrap()
    }

    /// Changes one byte of a file.
    fn change(&self, name: &str, at: u64) {
        change(&self.model().join(name), at);
    }
}

/// Changes one byte of a file.
fn change(path: &Path, at: u64) {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    std::io::Read::read_exact(&mut file, &mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

/// The program without any variable of its own.
fn program() -> Command {
    bare(env!("CARGO_BIN_EXE_weightseal-init"))
}

/// A command that passes no variable of the program's own on.
fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIGHTSEAL_"))
    {
        command.env_remove(name);
    }
    command
}

fn key(seed: u64) -> Key {
    Key::new(KeyKind::P256, seed)
}

fn sign(model: &Path, hashing: &Hashing, signer: &dyn Signer, path: &Path) {
    let mut model = Model::open(model).unwrap().release(Some("acme/llama-3".into()), Some("1.2".into()));
    model.leave_out_signature(path);
    model.sign(hashing, signer, &Run::new()).unwrap().write(path, Replace::Signature).unwrap();
}

/// The root digest that a signature claims.
fn root_digest(signature: &Path) -> String {
    Bundle::read(signature).unwrap().unverified_statement().unwrap().manifest().root_digest().to_string()
}

/// Demands an exit code, and one line that says the same.
#[track_caller]
fn outcome(ended: Ended, code: i32) -> Line {
    let ended = ended.expect_code(code);
    let line = Line::read(&ended.stdout);
    assert_eq!((line.exit_code, line.admitted), (code, code == 0), "{ended}");
    line
}

/// Demands a code, and gives the codes of all findings: first those about the run, then the model's.
#[track_caller]
fn codes(ended: Ended, code: i32) -> Vec<String> {
    outcome(ended, code).codes()
}
