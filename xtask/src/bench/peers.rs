//! The programs to compare with: found or installed, each with its version, and their commands.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::peers::{environment, peer};
use testkit::{Missing, capture, capture_within, target_dir};

use super::models::Signed;

/// The release of the Python implementation.
const MODEL_SIGNING: &str = "1.1.1";
/// What the loader runs on.
const SAFETENSORS: &str = "0.8.0";
const NUMPY: &str = "numpy>=2,<3";
/// The release of `b3sum`, in crates.io.
const B3SUM: &str = "1.8.7";
/// How long an installation may take.
const INSTALLATION: Duration = Duration::from_secs(900);

/// The release of Amazon's own client for Python.
const BOTO3: &str = "1.44.8";

/// Loads a model with the Python interface of safetensors.
const LOADER: &str = include_str!("loader.py");

/// Downloads a model with the transfer manager of boto3.
const DOWNLOADER: &str = include_str!("downloader.py");

/// A program that is there.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// Its name and version, for the table.
    pub(super) shown: String,
}

/// The Python implementation.
pub(super) fn python() -> Result<Program, Missing> {
    let peer = peer(MODEL_SIGNING)?;
    let python = words(peer.python(), &["--version"], 2);
    let path = peer.python().with_file_name("model_signing");
    Ok(Program { path, shown: format!("model-signing {MODEL_SIGNING} ({python})") })
}

/// The Python of the loader.
pub(super) fn loader() -> Result<Program, Missing> {
    let path = environment("loader", &[&format!("safetensors=={SAFETENSORS}"), NUMPY], "safetensors.numpy")?;
    Ok(Program { path, shown: format!("Python's safetensors {SAFETENSORS}") })
}

/// The Python of the downloads from S3.
pub(super) fn boto3() -> Result<Program, Missing> {
    let path = environment(&format!("boto3-{BOTO3}"), &[&format!("boto3=={BOTO3}")], "boto3")?;
    Ok(Program { path, shown: format!("boto3 {BOTO3}") })
}

/// The system's `curl`.
pub(super) fn curl() -> Result<Program, Missing> {
    let path = PathBuf::from("curl");
    match capture(Command::new(&path).arg("--version")) {
        Ok(_) => Ok(Program { shown: words(&path, &["--version"], 2), path }),
        Err(error) => Err(Missing::new("curl", error.to_string())),
    }
}

/// `b3sum`, built here; the system's where that fails.
pub(super) fn b3sum() -> Result<Program, Missing> {
    let root = target_dir().join("bench/b3sum");
    let own = root.join("bin/b3sum");
    let found = |path: PathBuf| Program { shown: words(&path, &["--version"], 2), path };
    if own.exists() {
        return Ok(found(own));
    }
    println!("building b3sum {B3SUM}");
    let mut install = crate::test::cargo();
    install.args(["install", "b3sum", "--version", B3SUM, "--locked", "--root"]).arg(&root);
    let ended = capture_within(&mut install, &[], INSTALLATION);
    if own.exists() {
        return Ok(found(own));
    }
    if capture(Command::new("b3sum").arg("--version")).is_ok() {
        return Ok(found("b3sum".into()));
    }
    let why = match ended {
        Ok(ended) => {
            ended.err().lines().rfind(|line| line.contains("error")).unwrap_or("no reason given").to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(Missing::new(format!("b3sum {B3SUM}"), why))
}

/// The system's `openssl`.
pub(super) fn openssl() -> Result<Program, Missing> {
    let path = PathBuf::from("openssl");
    match capture(Command::new(&path).arg("version")) {
        Ok(_) => Ok(Program { shown: words(&path, &["version"], 2), path }),
        Err(error) => Err(Missing::new("openssl", error.to_string())),
    }
}

/// A model-transparency-go that the user has built.
pub(super) fn go(path: &Path) -> Program {
    Program { path: path.to_path_buf(), shown: "model-transparency-go".to_owned() }
}

impl Program {
    /// Verifies as both model-signing and model-transparency-go spell it.
    pub(super) fn verify(&self, signed: &Signed, public_key_flag: &str) -> Command {
        let mut command = self.command();
        command.args(["verify", "key"]).arg(&signed.model).arg("--signature").arg(&signed.signature);
        command.arg(public_key_flag).arg(&signed.public_key);
        command
    }

    /// Loads all safetensors files of a folder; prints how many bytes.
    pub(super) fn load(&self, model: &Path) -> Command {
        let mut command = self.command();
        command.arg("-c").arg(LOADER).arg(model);
        command
    }

    /// Downloads everything below a prefix into a folder, with the transfer manager's defaults, or with parts of so many
    /// bytes and so many at once.
    pub(super) fn download(
        &self,
        bucket: &str,
        prefix: &str,
        folder: &Path,
        parts: Option<(u64, usize)>,
    ) -> Command {
        let mut command = self.command();
        command.arg("-c").arg(DOWNLOADER).args([bucket, prefix]).arg(folder);
        if let Some((bytes, at_once)) = parts {
            command.args([bytes.to_string(), at_once.to_string()]);
        }
        command
    }

    /// Does what a file of `curl`'s own options says, and nothing of the user's.
    pub(super) fn configured(&self, config: &Path) -> Command {
        let mut command = self.command();
        command.arg("--disable").arg("--config").arg(config);
        command
    }

    /// Digests a file.
    pub(super) fn digest(&self, args: &[&str], file: &Path) -> Command {
        let mut command = self.command();
        command.args(args).arg(file);
        command
    }

    /// The program apart from the user's own Python settings.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("PYTHONNOUSERSITE", "1").env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        command.env_remove("MODEL_SIGNING_LOG_LEVEL");
        command
    }
}

/// Reads the files of a folder side by side, a process for each, and does nothing with them.
pub(super) fn cats(model: &Path) -> Command {
    const SCRIPT: &str = r#"for f in "$0"/*; do cat "$f" >/dev/null & p="$p $!"; done; for i in $p; do wait $i || exit 1; done"#;
    let mut command = Command::new("sh");
    command.arg("-c").arg(SCRIPT).arg(model);
    command
}

/// The first words that a program says of itself.
fn words(program: &Path, args: &[&str], count: usize) -> String {
    let said = capture(Command::new(program).args(args)).map(|ended| ended.out() + &ended.err());
    said.unwrap_or_default().split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}
