//! Leaving a test out aloud: what a machine lacks is named, and in CI it is a failure.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::{env, io, thread};

/// Something a test needs and this machine does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    what: String,
    why: String,
}

impl Missing {
    /// `what` is lacking, because of `why`.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Missing {
        Missing { what: what.into(), why: why.into() }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl Error for Missing {}

/// Whether this is a CI run, where nothing may be skipped: the variable `CI` is `true`.
pub fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Says that the running test is skipped and why; the test then returns.
///
/// The line goes to standard error itself, where the test harness does not hold it back.
///
/// # Panics
/// In CI ([`in_ci`]), where a machine that lacks something is a defect.
#[expect(clippy::panic, reason = "a panic is how a test fails")]
pub fn skip_or_fail(reason: impl fmt::Display) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    if in_ci() {
        panic!("{test} cannot be skipped where CI=true: {reason}");
    }
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
}

/// What was found, or nothing once the test has been skipped.
///
/// ```no_run
/// # use testkit::{or_skip, peers};
/// let Some(peer) = or_skip(peers::peer("1.1.1")) else { return };
/// ```
///
/// # Panics
/// As [`skip_or_fail`].
pub fn or_skip<T>(found: Result<T, Missing>) -> Option<T> {
    found.map_err(skip_or_fail).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_thing_says_what_and_why() {
        let missing = Missing::new("model-signing 9.9.9", "there is no such release");
        assert_eq!(missing.to_string(), "model-signing 9.9.9: there is no such release");
    }

    #[test]
    fn what_is_there_is_not_skipped() {
        assert_eq!(or_skip(Ok(7)), Some(7));
    }

    #[test]
    fn what_is_not_there_fails_in_ci_and_is_skipped_elsewhere() {
        let ended =
            std::panic::catch_unwind(|| or_skip::<()>(Err(Missing::new("this", "it is a test of skipping"))));
        match ended {
            Ok(skipped) => assert!(!in_ci() && skipped.is_none()),
            Err(_) => assert!(in_ci()),
        }
    }
}
