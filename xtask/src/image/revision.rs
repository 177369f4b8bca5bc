//! Which commit an image is made from, and when that was: what else two builds would differ in.

use std::env;
use std::process::Command;

use testkit::{capture, workspace};

use crate::Done;

/// The commit and its time.
pub(super) struct Revision {
    commit: Option<String>,
    seconds: u64,
}

impl Revision {
    /// Asks Git, unless `SOURCE_DATE_EPOCH` says the time.
    pub(super) fn read() -> Done<Revision> {
        let commit = match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain"])) {
            (Some(commit), Some(changes)) if changes.is_empty() => Some(commit),
            (Some(commit), _) => Some(format!("{commit}-changed")),
            (None, _) => None,
        };
        let stated = env::var("SOURCE_DATE_EPOCH").ok();
        let seconds = stated
            .or_else(|| git(&["log", "-1", "--format=%ct"]))
            .ok_or("this is not Git's working copy, so SOURCE_DATE_EPOCH has to say how old the source is")?;
        let seconds = seconds
            .parse()
            .map_err(|_| format!("SOURCE_DATE_EPOCH is {seconds}, not a number of seconds since 1970"))?;
        Ok(Revision { commit, seconds })
    }

    /// The commit, marked where the files are not those of the commit.
    pub(super) fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The same time as text, as in `2026-01-31T12:00:00Z`.
    pub(super) fn time(&self) -> String {
        let (day, second) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = date(day);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    pub(super) fn shown(&self) -> String {
        format!("{} of {}", self.commit().unwrap_or("no commit"), self.time())
    }
}

/// Year, month and day of a number of days since 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

fn git(args: &[&str]) -> Option<String> {
    let ended = capture(Command::new("git").args(args).current_dir(workspace())).ok()?;
    (ended.code() == Some(0)).then(|| ended.out().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        let times = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ];
        for (seconds, time) in times {
            assert_eq!(Revision { commit: None, seconds }.time(), time);
        }
    }
}
