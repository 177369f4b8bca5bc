//! `cargo xtask demo`: the main job on real weights, each command shown with its output and held to its promise.

mod index;
mod promise;
mod tamper;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use testkit::{target_dir, workspace};

use crate::Done;
use crate::test::{announce, cargo};
use promise::{Program, Rejection};
use tamper::Target;

/// The size of a shard; the flag that is passed says the same.
const SHARD: u64 = 1 << 20;
const SHARD_FLAG: &str = "1MiB";

/// How its programs are built: hashing as fast as what is shipped, in half the time.
const PROFILE: &str = "demo";

/// Runs the demo on the user's own model, or on the one it gets; with programs that lie in a folder, or that it builds.
pub(crate) fn run(own: Option<&Path>, programs: Option<&Path>) -> Done {
    let start = Instant::now();
    let place = target_dir().join("demo");
    let own = own.map(|path| guarded(path, &place)).transpose()?;
    clean(&place)?;

    println!("Weightseal: the main job on real weights\n");
    let programs = match programs {
        Some(folder) => std::path::absolute(folder)?,
        None => {
            build()?;
            println!();
            target_dir().join(PROFILE)
        }
    };
    let model = match &own {
        Some(path) => path.clone(),
        None => weights::get(&place)?,
    };
    let before = tamper::stamps(&model)?;
    let (files, bytes) = (before.len(), before.iter().map(|stamp| stamp.bytes).sum::<u64>());
    println!("The model is {}: {files} files, {:.1} MB", shown(&model).display(), bytes as f64 / 1e6);

    let steps = signed_and_refused(&programs, &place, &model)?;
    if tamper::stamps(&model)? != before {
        return Err(format!("{} is not as it was before", model.display()).into());
    }
    println!(
        "\nAll {steps} commands ended as promised, in {:.0} s. The model is as it was; the keys, the\n\
         signature and the changed copy are in {}.",
        start.elapsed().as_secs_f64(),
        shown(&place).display()
    );
    Ok(())
}

/// The commands, in the order a user would type them; returns how many they were.
fn signed_and_refused(programs: &Path, place: &Path, model: &Path) -> Done<usize> {
    let weightseal = Program::new(programs, "weightseal");
    let init = Program::new(programs, "weightseal-init");
    let (keys, signature) = (place.join("demo"), place.join("model.sig"));
    let (private, public) = (place.join("demo.key"), place.join("demo.pub"));
    let (report, log) = (place.join("report.json"), place.join("termination-log"));

    weightseal.step("Make a key pair").arg("keygen").path(&keys).ends_with(0)?;
    weightseal
        .step("Sign the model, in shards of 1 MiB")
        .arg("sign")
        .path(model)
        .flag("--private-key", &private)
        .arg("--shard-size")
        .arg(SHARD_FLAG)
        .flag("--signature", &signature)
        .ends_with(0)?;
    let verify = |title: &str, model: &Path| {
        let step = weightseal.step(title).arg("verify").path(model);
        step.flag("--public-key", &public).flag("--signature", &signature)
    };
    verify("Verify it", model).ends_with(0)?;

    let target = Target::choose(model)?;
    let copy = place.join("changed").join(model.file_name().unwrap_or(model.as_os_str()));
    tamper::copy(model, &copy)?;
    target.change(&copy)?;
    println!("\n# Change one byte in a copy: {target}");

    verify("Verify the copy: it has to be refused", &copy).flag("--report", &report).ends_with(1)?;
    let named = Rejection::read(&report)?.names(&target, SHARD)?;
    println!("  its report names {named}");

    let gate = |title: &str, model: &Path| {
        let step = init.step(title).flag("--model", model).flag("--signature", &signature);
        step.flag("--public-key", &public).flag("--termination-log", &log)
    };
    promise::outcome(&gate("The init container lets a pod with the model start", model).ends_with(0)?)?;
    if fs::read(&log).is_ok_and(|message| !message.is_empty()) {
        return Err("the termination message is not empty although the model is verified".into());
    }
    promise::outcome(
        &gate("The init container keeps a pod with the copy from starting", &copy).ends_with(1)?,
    )?;
    let message = fs::read_to_string(&log)?;
    if message.trim().is_empty() || message.len() > 4096 {
        return Err(
            format!("the termination message has {} bytes instead of 1 to 4096", message.len()).into()
        );
    }
    println!("  the pod's status would begin: {}", message.lines().next().unwrap_or_default());
    Ok(6)
}

fn build() -> Done {
    let mut cargo = cargo();
    cargo.args(["build", "--profile", PROFILE, "-p", "weightseal-cli", "-p", "weightseal-init"]);
    announce(&cargo);
    let status = cargo.arg("--target-dir").arg(target_dir()).current_dir(workspace()).status()?;
    if status.success() { Ok(()) } else { Err(format!("the build ended with {status}").into()) }
}

/// The user's model as an absolute path, if the demo can leave it alone.
fn guarded(own: &Path, place: &Path) -> Done<PathBuf> {
    let real = own.canonicalize().map_err(|error| format!("{} cannot be opened: {error}", own.display()))?;
    fs::create_dir_all(place)?;
    let place = place.canonicalize()?;
    if real.starts_with(&place) || place.starts_with(&real) {
        let why = "it and the demo's own folder lie in each other";
        return Err(format!("{} cannot be the model: {why} ({})", own.display(), place.display()).into());
    }
    // Not the canonical path: a snapshot of the Hub's cache is known by where it stands.
    Ok(std::path::absolute(own)?)
}

/// Empties the demo's folder, save for the download.
fn clean(place: &Path) -> Done {
    fs::create_dir_all(place)?;
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if entry.file_name() == weights::DOWNLOAD {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A path as it is typed from the workspace, where the commands run.
fn shown(path: &Path) -> &Path {
    path.strip_prefix(workspace()).unwrap_or(path)
}
