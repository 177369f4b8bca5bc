//! Puts a release into a virtual environment of its own, once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Peer;
use crate::dirs::target_dir;
use crate::run::{Ended, capture_within};
use crate::skip::Missing;

/// The releases there are, oldest first.
pub const VERSIONS: [&str; 6] = ["0.2.0", "0.3.1", "1.0.0", "1.0.1", "1.1.0", "1.1.1"];

/// What each needs besides itself today; none declares it all.
///
/// The older ones import modules that the newer `sigstore` has dropped, and all import `OpenSSL`.
fn requirements(version: &str) -> Vec<String> {
    let besides: &[&str] = match version {
        "1.1.0" | "1.1.1" => &["pyOpenSSL"],
        _ => &["sigstore>=3.6.7,<4", "sigstore-protobuf-specs", "pyOpenSSL"],
    };
    let own = format!("model-signing=={version}");
    std::iter::once(own).chain(besides.iter().map(|&name| name.to_owned())).collect()
}

/// How long one step of an installation may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Answers of this process, so that a machine without network is found out once and not by every test.
static KNOWN: Mutex<Option<HashMap<String, Result<Peer, Missing>>>> = Mutex::new(None);

/// The release `version` of model-signing, installed from the package index under `target/peers/VERSION` unless it
/// is there already.
///
/// Several tests and processes may ask at the same time: one installs, the others wait for it.
///
/// # Errors
/// There is no such release in [`VERSIONS`], no Python that can make virtual environments, or the packages cannot be
/// had.
pub fn peer(version: &str) -> Result<Peer, Missing> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    known.entry(version.to_owned()).or_insert_with(|| find(version)).clone()
}

fn find(version: &str) -> Result<Peer, Missing> {
    let missing = |why: String| Missing::new(format!("model-signing {version}"), why);
    if !VERSIONS.contains(&version) {
        return Err(missing("not one of the releases that are known here".to_owned()));
    }
    let python = installed(version, &requirements(version), "model_signing");
    Ok(Peer { version: version.to_owned(), python: python.map_err(|error| missing(error.to_string()))? })
}

/// The Python of a virtual environment of its own under `target/peers/NAME`, with these packages of the package index
/// in it and `module` found to import; installed unless it is there already.
///
/// # Errors
/// There is no Python that can make virtual environments, or the packages cannot be had.
pub fn environment(name: &str, packages: &[&str], module: &str) -> Result<PathBuf, Missing> {
    let packages: Vec<String> = packages.iter().map(|&package| package.to_owned()).collect();
    installed(name, &packages, module).map_err(|error| Missing::new(packages.join(", "), error.to_string()))
}

fn installed(name: &str, packages: &[String], module: &str) -> io::Result<PathBuf> {
    let home = target_dir().join("peers");
    fs::create_dir_all(&home)?;
    let lock = File::create(home.join(format!("{name}.lock")))?;
    lock.lock()?;

    let dir = home.join(name);
    let python = dir.join("bin/python");
    let (marker, wanted) = (dir.join("complete"), packages.join("\n"));
    // An interpreter that was removed from under the environment leaves a dangling link, which does not exist.
    if !python.exists() || fs::read_to_string(&marker).ok().as_deref() != Some(&wanted) {
        install(&dir, &python, packages, module)?;
        fs::write(&marker, &wanted)?;
    }
    Ok(python)
}

fn install(dir: &Path, python: &Path, packages: &[String], module: &str) -> io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    step(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--retries",
        "1",
    ]);
    step(pip.args(packages))?;
    // What was installed must also start: a release that no longer imports is not there.
    step(Command::new(python).args(["-c", &format!("import {module}")]))
}

fn step(command: &mut Command) -> io::Result<()> {
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    let ended = capture_within(command, &[], LIMIT)?;
    if ended.code() == Some(0) { Ok(()) } else { Err(io::Error::other(last_words(&ended))) }
}

/// The command and the last line it wrote, which is where Python puts the error.
fn last_words(ended: &Ended) -> String {
    let (out, err) = (ended.out(), ended.err());
    let last = err.lines().chain(out.lines()).rfind(|line| !line.trim().is_empty()).unwrap_or("no output");
    format!("`{}` ended with {}: {}", ended.command, ended.status, last.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_never_was_is_missing() {
        let missing = peer("9.9.9").expect_err("no such release");
        assert_eq!(missing.to_string(), "model-signing 9.9.9: not one of the releases that are known here");
    }

    #[test]
    fn every_release_is_pinned() {
        for version in VERSIONS {
            assert_eq!(requirements(version)[0], format!("model-signing=={version}"));
        }
    }
}
