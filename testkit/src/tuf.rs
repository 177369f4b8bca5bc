//! A real TUF repository, made with python-tuf, and a server for it that can be told to misbehave.

mod server;

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{peers::environment, run::capture, skip::Missing};

pub use server::{Misbehaviour, Server};

/// Makes the repository; its own words say how.
const MAKE: &str = include_str!("tuf/make.py");

/// Makes a repository in steps, as the head of `tuf/make.py` lists them, and saves it in folders below `folder`.
///
/// # Errors
/// There is no Python, the packages cannot be had, or a step failed.
pub fn repository(folder: &Path, steps: &Value) -> Result<(), Missing> {
    let python = environment("tuf-7.0.1", &["tuf==7.0.1", "securesystemslib==1.6.0", "cryptography"], "tuf")?;
    let mut command = Command::new(python);
    command.arg("-c").arg(MAKE).arg(folder).arg(steps.to_string());
    command
        .env("PYTHONNOUSERSITE", "1")
        .env("PYTHONUTF8", "1")
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME");
    let failed = |why: String| Missing::new("a TUF repository".to_owned(), why);
    let ended = capture(&mut command).map_err(|error| failed(error.to_string()))?;
    if ended.code() == Some(0) { Ok(()) } else { Err(failed(ended.to_string())) }
}
