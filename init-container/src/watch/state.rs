//! The state that `watch` keeps in a folder of the pod's own, and that `probe` reads.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::time::ClockId;
use serde::Serialize;
use weightseal::{Code, Error, Replace, Verdict, write_whole};

use crate::{
    config::shown,
    settings::{bad, look_for},
};

/// The name of the file in the folder.
const FILE: &str = "state";

/// Longest file, in bytes.
const FILE_BYTES: u64 = 64 << 10;

/// A state counts for so many intervals.
const FRESH: f64 = 3.0;

/// How the models are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Verified, and unchanged since.
    Ready,
    /// Not known; it may become known.
    Unsure(String),
    /// Found to be other ones, or written to; for good.
    Failed(String),
}

/// As it is written.
#[derive(Serialize)]
struct Kept<'a> {
    version: u32,
    state: &'static str,
    /// Seconds since the machine was started.
    at: f64,
    /// Seconds.
    interval: f64,
    why: &'a str,
}

/// As it is read.
struct Read {
    state: State,
    at: f64,
    interval: f64,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    interval: Duration,
}

impl Store {
    /// Opens the folder; with it, why an earlier run in this pod failed, if it did.
    ///
    /// # Errors
    /// `bad-argument` where there is no such folder; `permission-denied`, `io-failed`.
    pub(super) fn open(folder: &Path, interval: Duration) -> Result<(Store, Option<String>), Error> {
        if !folder.is_dir() {
            let what = format!("there is no folder {} to keep the state in", shown(folder));
            return Err(Error::new(Code::BadArgument, what).with_help("mount an emptyDir there"));
        }
        let path = folder.join(FILE);
        let failed = match read(&path) {
            Ok(Read { state: State::Failed(why), .. }) => Some(why),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // What it said is lost, and may have been that.
            Err(error) => Some(format!("the state in {} cannot be read: {error}", shown(folder))),
        };
        Ok((Store { path, interval }, failed))
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Writes the state as it is now, whole or not at all.
    ///
    /// # Errors
    /// Those of [`write_whole`].
    pub(super) fn write(&self, state: &State) -> Result<(), Error> {
        let (state, why) = match state {
            State::Ready => ("ready", ""),
            State::Unsure(why) => ("unsure", why.as_str()),
            State::Failed(why) => ("failed", why.as_str()),
        };
        let kept = Kept { version: 1, state, at: uptime(), interval: self.interval.as_secs_f64(), why };
        let json = weightseal::json(&kept, false) + "\n";
        write_whole(&self.path, json.as_bytes(), Replace::Anything, weightseal::PUBLIC)
    }
}

/// Seconds since the machine was started, by a clock that nobody sets.
fn uptime() -> f64 {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn read(path: &Path) -> io::Result<Read> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES).read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::other("it is not as it was written"))
}

/// Reads what was written: one object of texts and numbers.
fn parse(text: &str) -> Option<Read> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let why = value.get("why")?.as_str()?.to_owned();
    let state = match (value.get("version")?.as_u64()?, value.get("state")?.as_str()?) {
        (1, "ready") => State::Ready,
        (1, "unsure") => State::Unsure(why),
        (1, "failed") => State::Failed(why),
        _ => return None,
    };
    Some(Read { state, at: value.get("at")?.as_f64()?, interval: value.get("interval")?.as_f64()? })
}

/// `probe`: says in one line whether the models are as they were verified; the exit code is 0 only then.
pub(crate) fn probe(args: &[OsString], variables: &[(OsString, OsString)]) -> u8 {
    let only = |args: &[OsString]| match args {
        [_] => true,
        [_, flag] => flag.to_string_lossy().starts_with("--state="),
        [_, flag, _] => flag == "--state",
        _ => false,
    };
    let folder = look_for("state", args, variables).filter(|_| only(args));
    let (code, line) = match folder {
        Some(folder) => judge(&PathBuf::from(folder).join(FILE), uptime()),
        None => {
            let error = bad("probe takes --state DIR and nothing else".to_owned());
            (Verdict::Misuse.exit(), error.to_string())
        }
    };
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
    code
}

/// What there is to say of a state.
fn judge(path: &Path, now: f64) -> (u8, String) {
    let not = |why: &str| (1, format!("not ready: {why}"));
    let read = match read(path) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return not("there is no state yet"),
        Err(error) => return not(&format!("the state cannot be read: {error}")),
    };
    let age = now - read.at;
    match read.state {
        State::Failed(why) | State::Unsure(why) => not(&plain(&why)),
        State::Ready if !(0.0..=FRESH * read.interval).contains(&age) => {
            not(&format!("nobody has looked for {age:.0} s, at intervals of {:.0} s", read.interval))
        }
        State::Ready => (0, "ready".to_owned()),
    }
}

/// The first line of what was written here: names in it were escaped before.
fn plain(why: &str) -> String {
    why.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(LINE).collect()
}

/// Characters of a line that says why.
const LINE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_state_is_ready_and_a_failure_is_found_again() {
        let dir = testkit::temporary().unwrap();
        let (store, failed) = Store::open(dir.path(), Duration::from_secs(60)).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(failed, None);
        assert_eq!(judge(&path, 0.0).0, 1);
        let at = |state: &State, later: f64| {
            store.write(state).unwrap();
            judge(&path, uptime() + later)
        };
        assert_eq!(at(&State::Ready, 1.0), (0, "ready".to_owned()));
        assert_eq!(at(&State::Ready, 179.0).0, 0);
        // Too old; and of a machine that was started again since.
        for later in [181.0, -3600.0] {
            let (code, line) = at(&State::Ready, later);
            assert!(code == 1 && line.starts_with("not ready: nobody has looked for "), "{line}");
        }
        let why = "rejected: \"/m\": file-changed: \"x\"\nmore".to_owned();
        let (code, line) = at(&State::Failed(why.clone()), 0.0);
        assert!(code == 1 && line.contains("file-changed") && line.ends_with("\"x\""), "{line}");
        assert_eq!(Store::open(dir.path(), Duration::from_secs(1)).unwrap().1, Some(why));
        assert_eq!(at(&State::Unsure("x".into()), 0.0), (1, "not ready: x".to_owned()));
        assert_eq!(Store::open(dir.path(), Duration::from_secs(1)).unwrap().1, None);
        for text in
            ["", "{}", "ready", "{\"version\":2,\"state\":\"ready\",\"at\":1,\"interval\":1,\"why\":\"\"}"]
        {
            std::fs::write(&path, text).unwrap();
            assert!(Store::open(dir.path(), Duration::from_secs(1)).unwrap().1.is_some(), "{text}");
            assert_eq!(judge(&path, 0.0).0, 1);
        }
        assert!(Store::open(&dir.path().join("none"), Duration::from_secs(1)).is_err());
    }
}
