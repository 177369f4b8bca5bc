//! Tells the program which commit it is built from, where that can be known.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=WEIGHTSEAL_COMMIT");
    let root = Path::new("..").join(".git");
    for name in ["HEAD", "logs/HEAD"] {
        let path = root.join(name);
        // A path that is not there would make every build a new one.
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let commit = env::var("WEIGHTSEAL_COMMIT").ok().or_else(|| {
        // Only in a checkout: a package may lie inside of somebody else's.
        let asked = root.exists().then(|| Command::new("git").args(["rev-parse", "HEAD"]).output())?.ok()?;
        asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_owned())
    });
    if let Some(commit) = commit.filter(|commit| commit.chars().all(|c| c.is_ascii_alphanumeric())) {
        println!("cargo:rustc-env=WEIGHTSEAL_COMMIT={commit}");
    }
}
