//! `cargo xtask test`: what the tests need, then the tests.

use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use testkit::peers::{VERSIONS, peer};
use testkit::{Missing, in_ci, kubernetes, run, s3, sigstore, workspace};

use crate::Done;

/// Installs the peers, builds the servers, then runs `cargo test` with these further arguments.
pub(crate) fn run(args: &[OsString]) -> Done {
    peers()?;
    servers()?;
    let mut cargo = cargo();
    cargo.arg("test");
    // Cargo would take the whole workspace over a package that was asked for.
    let chosen = |arg: &OsString| {
        arg.to_str().is_some_and(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
    };
    if !args.iter().any(chosen) {
        cargo.arg("--workspace");
    }
    cargo.args(args).current_dir(workspace());
    announce(&cargo);
    let status = cargo.status()?;
    if status.success() { Ok(()) } else { Err(format!("the tests ended with {status}").into()) }
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Shows a command of [`cargo`] as it would be typed, without the path of the toolchain.
pub(crate) fn announce(cargo: &Command) {
    println!("$ {}", run::command_line(Command::new("cargo").args(cargo.get_args())));
}

fn peers() -> Done {
    println!("other implementations to test against, under target/peers:");
    VERSIONS.iter().try_for_each(|version| there(&format!("model-signing {version} is"), || peer(version)))
}

fn servers() -> Done {
    println!("servers to test against:");
    there("those of Sigstore are", sigstore::build)?;
    there("those that speak S3 are", s3::build)?;
    there("those of Kubernetes are", kubernetes::build)
}

/// Gets something that tests can do without, though not in CI.
fn there<T>(what: &str, get: impl FnOnce() -> Result<T, Missing>) -> Done {
    let start = Instant::now();
    match get() {
        Ok(_) => println!("  {what} there ({:.1} s)", start.elapsed().as_secs_f64()),
        Err(missing) if in_ci() => return Err(format!("{missing}; with CI=true nothing is skipped").into()),
        Err(missing) => println!("  skipped: {missing}"),
    }
    Ok(())
}
