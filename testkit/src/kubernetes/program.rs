//! Programs of this workspace that need nothing of an image.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::dirs::{target_dir, workspace};
use crate::run::capture_within;
use crate::skip::Missing;

/// How long that may take, with all that it depends on.
const BUILD: Duration = Duration::from_secs(1800);

/// Builds a program of this workspace without any library that it would load, under `target/static`.
///
/// What it depends on is shared with the other builds that want it with the same features, since only the program
/// itself is linked another way.
///
/// # Errors
/// There is no cargo, or it does not build it.
pub fn static_program(package: &str, name: &str) -> Result<PathBuf, Missing> {
    // Two of one process would wait for each other anyway.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = target_dir().join("static");
    let build = || -> io::Result<()> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["rustc", "--locked", "--quiet", "--package", package, "--bin", name]);
        cargo.arg("--target-dir").arg(&folder).env("CARGO_BUILD_BUILD_DIR", target_dir());
        cargo.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
        let ended = capture_within(cargo.current_dir(workspace()), &[], BUILD)?;
        if ended.code() == Some(0) { Ok(()) } else { Err(io::Error::other(ended.to_string())) }
    };
    build().map_err(|error| Missing::new(format!("a static {name}"), error.to_string()))?;
    Ok(folder.join("debug").join(name))
}
