//! `slow-volume FOLDER MOUNTPOINT MILLISECONDS`: a read-only volume over a folder of files, whose every read request
//! takes that long, many at the same time. So does a network volume answer.
//!
//! It prints `ready` once it is mounted, and lives until its standard input ends: whoever started it cannot die and
//! leave it behind. Exit codes: 0 unmounted, 1 not mounted, 2 misuse.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's words")]

#[cfg(target_os = "linux")]
mod volume;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let [folder, mountpoint, delay] = args.as_slice() else { return misuse() };
    let Some(delay) = delay.to_str().and_then(|delay| delay.parse().ok()) else { return misuse() };
    match serve(Path::new(folder), Path::new(mountpoint), Duration::from_millis(delay)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slow-volume: {error}");
            ExitCode::FAILURE
        }
    }
}

fn misuse() -> ExitCode {
    eprintln!("usage: slow-volume FOLDER MOUNTPOINT MILLISECONDS");
    ExitCode::from(2)
}

#[cfg(target_os = "linux")]
fn serve(folder: &Path, mountpoint: &Path, delay: Duration) -> std::io::Result<()> {
    let mounted = volume::mount(folder, mountpoint, delay)?;
    println!("ready");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    mounted.umount_and_join()
}

#[cfg(not(target_os = "linux"))]
fn serve(_: &Path, _: &Path, _: Duration) -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "only Linux can mount it"))
}
