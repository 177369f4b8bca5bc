//! What `cargo xtask bench` was asked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use testkit::target_dir;

use super::rows;

/// The help of the task.
pub(crate) const HELP: &str = "\
Measure verification against other programs on the same files, and write the table of docs/performance.md

Usage: cargo xtask bench [OPTIONS]

Options:
  --runs N       runs of each program of a row, in turn; the medians count [default: 5]
  --rows A,B,C   only these rows
  --dir DIR      where the models are made, once [default: target/bench/models]
  --size MIB     size of the large models, for a trial [default: 4096]
  --go PROGRAM   a model-transparency-go of your own build; it has no release that could be installed
  --list         print the rows and what they measure
  --clean        remove the models in DIR, and what rows on stores may have left there
  --help         print this

The models take 9 GB: 8 files of 512 MiB, one of 4 GiB, 10,000 of 16 KiB. The two programs are built here, and the
programs they are compared with are installed under target: model-signing, safetensors, numpy and boto3 from PyPI, b3sum
from crates.io; openssl and curl are the system's. What cannot be had or done here is told in its row.

Rows on stores (s3-*, hub-*) start MinIO, which is built with Go once, and a double of the Hub on 127.0.0.1. They have
their own copies of the models in DIR, 30 GB with those of s3-memory, and take them away when they end.

Rows with cold files drop the page cache, a slow volume is mounted with FUSE, a row runs in a memory cgroup: these
three need root. Nothing else should run meanwhile. The table is written into docs/performance.md by runs of full size
with 5 runs or more; one that measured some of the rows leaves the others, if they are of this machine.

Exit codes: 0 measured, whether or not the rows hold; 1 something failed to run; 2 misuse.
";

/// The size of the large models, in MiB.
const FULL_SIZE: u64 = 4096;

/// Runs that a figure needs to be written down.
const ENOUGH_RUNS: usize = 5;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Measure,
    List,
    Clean,
}

/// The arguments, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(super) task: Task,
    pub(super) runs: usize,
    /// Names of rows; none for all of them.
    pub(super) rows: Vec<String>,
    pub(super) dir: PathBuf,
    pub(super) mib: u64,
    pub(super) go: Option<PathBuf>,
}

impl Options {
    /// Reads what follows `bench` on the command line.
    pub(crate) fn parse(args: &[OsString]) -> Result<Options, String> {
        let mut options = Options {
            task: Task::Measure,
            runs: ENOUGH_RUNS,
            rows: Vec::new(),
            dir: target_dir().join("bench/models"),
            mib: FULL_SIZE,
            go: None,
        };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let flag = flag.to_str().unwrap_or_default();
            let mut value = || args.next().ok_or(format!("{flag} needs a value"));
            match flag {
                "--list" => options.task = Task::List,
                "--clean" => options.task = Task::Clean,
                "--runs" => options.runs = number(flag, value()?, 1, 1000)? as usize,
                "--size" => options.mib = number(flag, value()?, 8, 1 << 20)?,
                "--dir" => options.dir = absolute(value()?)?,
                "--go" => options.go = Some(absolute(value()?)?),
                "--rows" => {
                    for name in value()?.to_str().unwrap_or_default().split(',') {
                        if !rows::ROWS.iter().any(|row| row.name == name) {
                            return Err(format!("there is no row {name:?}; --list tells which there are"));
                        }
                        options.rows.push(name.to_owned());
                    }
                }
                _ => return Err(format!("bench knows no {flag:?}")),
            }
        }
        Ok(options)
    }

    /// Whether a row is to be measured.
    pub(super) fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|name| name == row)
    }

    /// Whether the figures of this run are to be written down, or it is a trial.
    pub(super) fn counts(&self) -> bool {
        self.mib == FULL_SIZE && self.runs >= ENOUGH_RUNS
    }
}

fn number(flag: &str, value: &OsString, least: u64, most: u64) -> Result<u64, String> {
    let number = value.to_str().and_then(|value| value.parse().ok());
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{flag} takes a number from {least} to {most}, not {value:?}"))
}

fn absolute(path: &OsString) -> Result<PathBuf, String> {
    std::path::absolute(Path::new(path)).map_err(|error| format!("{path:?} is not a path: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_asked_for_is_everything_at_full_size() {
        let options = parse(&[]).expect("no arguments");
        assert_eq!((options.task, options.runs, options.mib), (Task::Measure, 5, 4096));
        assert!(options.counts() && options.wants("tiny"));
    }

    #[test]
    fn rows_are_chosen_by_name() {
        let options = parse(&["--rows", "tiny,warm-8", "--rows", "blake3"]).expect("three rows");
        assert!(options.wants("tiny") && options.wants("warm-8") && options.wants("blake3"));
        assert!(!options.wants("shards"));
        assert!(parse(&["--rows", "tiny,none"]).expect_err("no such row").contains("\"none\""));
    }

    #[test]
    fn a_trial_does_not_count() {
        assert!(!parse(&["--size", "64"]).expect("a size").counts());
        assert!(!parse(&["--runs", "4"]).expect("runs").counts());
        assert!(parse(&["--runs", "9"]).expect("runs").counts());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for args in [
            &["--runs"][..],
            &["--runs", "0"],
            &["--runs", "many"],
            &["--size", "7"],
            &["--size", "-1"],
            &["--fast"],
            &["tiny"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
