//! `cargo xtask services`: real servers on this machine, until they are told to end.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use testkit::{target_dir, workspace};

use crate::Done;
use crate::test::{announce, cargo};

/// Builds the program that starts the servers, and becomes it: it has more to build than the other tasks should.
pub(crate) fn run(args: &[OsString]) -> Done {
    let mut cargo = cargo();
    cargo.args(["build", "--package", "testkit", "--bin", "services"]);
    announce(&cargo);
    let status = cargo.arg("--target-dir").arg(target_dir()).current_dir(workspace()).status()?;
    if !status.success() {
        return Err(format!("the build ended with {status}").into());
    }
    let error = Command::new(target_dir().join("debug/services")).args(args).exec();
    Err(format!("the program that starts the servers cannot be run: {error}").into())
}
