//! Brings servers up by hand, for whoever wants to try things on them: what `cargo xtask services` runs.
//!
//! It needs no handler for signals: the servers end with this process, however it ends.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

mod hub;
mod kubernetes;
mod s3;
mod sigstore;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Something that runs until it is dropped. What it displays is where it is, and the lines to try it with.
trait Service: Display {
    /// Renews what does not last.
    fn renew(&self) -> io::Result<()> {
        Ok(())
    }
}

/// How often that is.
const RENEWAL: Duration = Duration::from_secs(240);

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Hub,
    Kubernetes,
    S3,
    Sigstore,
}

impl Name {
    fn of(word: &OsString) -> Option<Name> {
        match word.to_str()? {
            "hub" => Some(Name::Hub),
            "kubernetes" => Some(Name::Kubernetes),
            "s3" => Some(Name::S3),
            "sigstore" => Some(Name::Sigstore),
            _ => None,
        }
    }

    fn start(self, dir: Option<&Path>) -> Result<Box<dyn Service>> {
        match self {
            Name::Hub => hub::start(),
            Name::Kubernetes => kubernetes::start(),
            Name::S3 => s3::start(),
            Name::Sigstore => sigstore::start(dir),
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    let Some((names, dir)) = parsed(&args) else {
        eprintln!("usage: services hub|kubernetes|s3|sigstore... [DIR]");
        return ExitCode::from(2);
    };
    match run(&names, dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The services, each once, and the folder that only Sigstore has a use for.
fn parsed(args: &[OsString]) -> Option<(Vec<Name>, Option<&Path>)> {
    let (names, dir) = match args.split_last()? {
        (dir, names) if Name::of(dir).is_none() => (names, Some(Path::new(dir))),
        _ => (args, None),
    };
    let mut known = Vec::new();
    for name in names {
        let name = Name::of(name)?;
        if known.contains(&name) {
            return None;
        }
        known.push(name);
    }
    (dir.is_none() || known.contains(&Name::Sigstore)).then_some((known, dir))
}

fn run(names: &[Name], dir: Option<&Path>) -> Result<()> {
    let mut services = Vec::new();
    for name in names {
        services.push(name.start(dir)?);
    }
    for service in &services {
        println!("{service}");
    }
    println!("They end with Ctrl-C, or with the end of standard input.");
    io::stdout().flush()?;

    let (end, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        // What somebody types meanwhile means nothing.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(end);
    });
    while ended.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
        services.iter().try_for_each(|service| service.renew())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_last_and_is_for_sigstore() {
        let of = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            parsed(&words).map(|(names, dir)| (names, dir.map(Path::to_path_buf)))
        };
        assert_eq!(of(&["s3"]), Some((vec![Name::S3], None)));
        assert_eq!(of(&["s3", "hub"]), Some((vec![Name::S3, Name::Hub], None)));
        let both = vec![Name::Sigstore, Name::S3];
        assert_eq!(of(&["sigstore", "s3", "a"]), Some((both, Some("a".into()))));
        for wrong in [&[][..], &["a"], &["s3", "a"], &["a", "sigstore"], &["s3", "s3"]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
