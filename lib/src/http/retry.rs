//! When a call is made again: after failures that may pass, later each time, and never past the end of the run.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use reqwest::header::{self, HeaderMap};

use super::{Answer, words};
use crate::{Error, Run, rt};

/// How many times a call is made at most.
const ATTEMPTS: u32 = 4;

/// The same for a part of a file, without a byte of it between them, and however many bytes there are.
#[cfg(feature = "hub")]
const PART_ATTEMPTS: (u32, u32) = (6, 64);

/// The first wait, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait that a server is granted when it asks for one.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    /// Whether another attempt may do better.
    passing: bool,
    /// How long the server asked to wait.
    after: Option<Duration>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Failure {
    /// A failure that another attempt would only repeat.
    pub(crate) fn final_one(what: String) -> Self {
        Failure { what, passing: false, after: None }
    }

    /// A failure that another attempt may do without.
    #[cfg(feature = "hub")]
    pub(crate) fn passing(what: String) -> Self {
        Failure { what, passing: true, after: None }
    }

    /// The error with how to put it right, where that can be told.
    pub(crate) fn error(&self, error: Error) -> Error {
        match self.what.contains("UnknownIssuer") {
            true => error.with_help(
                "give the root certificate of the authority that the server's is of (--tls-ca FILE)",
            ),
            false => error,
        }
    }

    /// No answer, within the time that it was given.
    pub(crate) fn transport(error: reqwest::Error, time: Duration) -> Self {
        let error = error.without_url();
        let told = words::cause(&error);
        let what = if error.is_timeout() && error.is_connect() {
            "could not be connected to in time".to_owned()
        } else if error.is_timeout() {
            format!("gave no whole answer within {:.1} s", time.as_secs_f64())
        } else if error.is_dns() {
            format!("its name cannot be resolved: {told}")
        } else if error.is_connect() {
            format!("cannot be connected to: {told}")
        } else {
            format!("the connection failed: {told}")
        };
        // A certificate that is refused will be so the next time; a whole attempt's time was enough.
        let refused = ["certificate", "UnknownIssuer"].iter().any(|word| told.contains(word));
        let passing = !refused && (!error.is_timeout() || error.is_connect());
        Failure { what, passing, after: None }
    }

    /// A redirect, which is not followed.
    pub(crate) fn redirected(status: u16, location: Option<&str>) -> Self {
        let to = location.map(|url| format!(" to {}", words::url_shown(url))).unwrap_or_default();
        Failure::final_one(format!("answered {status} with a redirect{to}, which is not followed"))
    }

    /// A status that is not one of success.
    pub(crate) fn status(answer: &Answer) -> Self {
        let status = reqwest::StatusCode::from_u16(answer.status).ok();
        let name = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
        let mut what = format!("answered {} {name}", answer.status).trim_end().to_owned();
        if let Some(reason) = words::reason(&answer.body) {
            what.push_str(&format!(": {reason}"));
        }
        // 501 and 505 are about the request as such.
        let passing = matches!(answer.status, 429 | 500 | 502..=504 | 506..=599);
        Failure { what, passing, after: asked_in(&answer.headers, SystemTime::now()) }
    }
}

/// How long a server asks to wait.
fn asked_in(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    text(header::RETRY_AFTER.as_str())
        .and_then(|text| asked(text, now))
        .or_else(|| text("ratelimit").and_then(window))
}

/// `RateLimit: "api";r=0;t=7`: how many seconds are left of the window in which nothing more is to be had.
fn window(text: &str) -> Option<Duration> {
    let mut parts = text.split(';').map(str::trim);
    let seconds = parts.find_map(|part| part.strip_prefix("t=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

/// `Retry-After`: seconds, or a date.
fn asked(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::try_from(at).ok()?.duration_since(now).unwrap_or_default())
}

/// Counts attempts and waits between them.
pub(crate) struct Pace {
    attempts: u32,
    /// How many there may be.
    most: u32,
    /// Attempts that got further.
    further: u32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace { attempts: 0, most: ATTEMPTS, further: 0 }
    }

    /// For a part of a file.
    #[cfg(feature = "hub")]
    pub(crate) fn of_part() -> Self {
        Pace { most: PART_ATTEMPTS.0, ..Pace::new() }
    }

    /// The last attempt failed too, but got further than those before it.
    #[cfg(feature = "hub")]
    pub(crate) fn got_further(&mut self) {
        self.further += 1;
        if self.further < PART_ATTEMPTS.1 {
            self.attempts = 0;
        }
    }

    /// Waits for the next attempt; an inner error says why there is none, to be appended to the failure.
    ///
    /// # Errors
    /// Those of [`Run::check`].
    pub(crate) fn wait(&mut self, failure: &Failure, run: &Run) -> Result<Result<(), String>, Error> {
        self.attempts += 1;
        if !failure.passing {
            return Ok(Err(String::new()));
        }
        if self.attempts >= self.most {
            return Ok(Err(format!(" ({} attempts)", self.attempts + self.further)));
        }
        let wait = failure.after.unwrap_or_else(|| rt::backoff(FIRST_WAIT, self.attempts));
        let left = run.time_left().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        if wait >= left {
            return Ok(Err(match failure.after {
                Some(asked) => format!(" (it asks to wait {} s, longer than there is time)", asked.as_secs()),
                None => " (no time is left to try again)".to_owned(),
            }));
        }
        rt::sleep(run, wait).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_a_wait_in_seconds_or_by_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(asked(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(asked("Tue, 14 Nov 2023 22:13:30 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(asked("Tue, 14 Nov 2023 22:13:10 GMT", now), Some(Duration::ZERO));
        assert_eq!(asked("soon", now), None);
        assert_eq!(window(r#""api";r=0;t=7"#), Some(Duration::from_secs(7)));
        assert_eq!(window(r#""api"; r=0 ; t=7"#), Some(Duration::from_secs(7)));
        assert_eq!(window(r#""api";r=0;t=x"#), None);
    }
}
