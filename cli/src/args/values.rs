//! Values of flags: sizes, durations, times, fingerprints; and the usual place of a signature.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, Command, builder::TypedValueParser, error::ErrorKind};
use jiff::Timestamp;
use weightseal::{Error, ModelUri, ReadMode};

/// A number of bytes: `65536`, `64MiB`, `1GB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err("not a size such as 1000000000, 64MiB or 1GB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "not a size such as 1000000000, 64MiB or 1GB")?;
    match number.checked_mul(factor) {
        Some(0) => Err("a size of 0 bytes is too small".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("more bytes than 64 bits can count".to_owned()),
    }
}

/// A length of time: `500ms`, `30s`, `5m`, `2h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("not a duration such as 500ms, 30s, 5m or 2h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "not a duration such as 500ms, 30s, 5m or 2h")?;
    match number.checked_mul(milliseconds) {
        Some(0) => Err("no time at all is too short".to_owned()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err("longer than can be waited".to_owned()),
    }
}

/// How files are read.
pub(crate) fn read_mode(text: &str) -> Result<ReadMode, String> {
    let modes = ReadMode::ALL;
    modes
        .into_iter()
        .find(|mode| mode.name() == text)
        .ok_or_else(|| format!("not one of {}", modes.map(ReadMode::name).join(", ")))
}

/// A point in time, in seconds since 1970: RFC 3339, a date (its first second in UTC), or the seconds themselves.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds)
            .map(|_| seconds)
            .map_err(|_| "outside of the years that are known".to_owned());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_second());
    }
    format!("{text}T00:00:00Z")
        .parse::<Timestamp>()
        .map(|midnight| midnight.as_second())
        .map_err(|_| "not a time such as 2026-01-31T12:00:00Z, 2026-01-31 or 1769860800".to_owned())
}

/// The fingerprint of a key: 64 hex digits, perhaps with `sha256:` before and colons between them.
pub(crate) fn fingerprint(text: &str) -> Result<String, String> {
    let digits = hex(text);
    if digits.len() == 64 { Ok(digits) } else { Err("not a SHA-256 fingerprint in 64 hex digits".to_owned()) }
}

/// A certificate: its fingerprint, or its serial number of at most 20 bytes (RFC 5280, 4.1.2.2).
pub(crate) fn certificate(text: &str) -> Result<String, String> {
    let digits = hex(text.strip_prefix("0x").unwrap_or(text));
    if digits.len() == 64 || (1..=40).contains(&digits.len()) {
        Ok(digits)
    } else {
        Err("neither a SHA-256 fingerprint nor a serial number in hex".to_owned())
    }
}

/// The hex digits of a text that has nothing else in it but what is written between digits; empty for any other text.
fn hex(text: &str) -> String {
    let digits: String = text
        .strip_prefix("sha256:")
        .unwrap_or(text)
        .chars()
        .filter(|c| !matches!(c, ':' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if digits.chars().all(|c| c.is_ascii_hexdigit()) { digits } else { String::new() }
}

/// A root digest: SHA-256 as `sha256:HEX` or as hex.
pub(crate) fn root_digest(text: &str) -> Result<String, String> {
    let digits = hex(text);
    if digits.len() == 64 && !text.contains(' ') {
        Ok(format!("sha256:{digits}"))
    } else {
        Err("not a root digest: sha256: and 64 hex digits".to_owned())
    }
}

/// Where something is: a URI of a store, or else a path.
pub(crate) fn place(text: &Path) -> Result<ModelUri, Error> {
    match text.to_str() {
        Some(uri) if uri.contains("://") => uri.parse(),
        _ => Ok(ModelUri::Path(text.to_owned())),
    }
}

/// The same, for the parser: paths need not be UTF-8.
#[derive(Clone)]
pub(crate) struct PlaceParser;

impl TypedValueParser for PlaceParser {
    type Value = ModelUri;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<ModelUri, clap::Error> {
        place(Path::new(value)).map_err(|error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).with_cmd(command)
        })
    }
}

/// A path, of a place on disk.
pub(crate) fn on_disk(place: &ModelUri) -> Option<&Path> {
    match place {
        ModelUri::Path(path) => Some(path),
        _ => None,
    }
}

/// Where the signature of a model on disk is when nothing else is said: `model.sig` in its folder, `FILE.sig` beside a single
/// file.
pub(crate) fn default_signature(model: &Path) -> PathBuf {
    if model.is_dir() {
        return model.join("model.sig");
    }
    let mut beside = OsString::from(model);
    beside.push(".sig");
    PathBuf::from(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_they_say() {
        for (text, bytes) in [
            ("1", 1),
            ("1000000000", 1_000_000_000),
            ("1MiB", 1 << 20),
            ("1MB", 1_000_000),
            ("2gib", 2 << 30),
            ("7kB", 7000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "0MiB", "-1", "1.5GiB", "1G", "1 MiB", "MiB", "99999999TiB", "1e9"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, milliseconds) in
            [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "0s", "-1s", "1.5h", "s", "99999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_in_three_forms() {
        for text in ["1769860800", "2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00"] {
            let hours = if text.contains('T') || text.len() == 10 && text.starts_with('1') { 12 } else { 0 };
            assert_eq!(time(text), Ok(1_769_817_600 + hours * 3600), "{text}");
        }
        for text in ["", "yesterday", "2026-02-30", "2026-01-31T12:00:00", "99999999999999"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_revocation_that_could_match_nothing_is_refused() {
        let digits = "0a".repeat(32);
        let spaced = digits
            .as_bytes()
            .chunks(2)
            .map(|b| std::str::from_utf8(b).unwrap())
            .collect::<Vec<_>>()
            .join(":");
        for text in [digits.clone(), digits.to_uppercase(), format!("sha256:{digits}"), spaced] {
            assert_eq!(fingerprint(&text), Ok(digits.clone()), "{text}");
        }
        assert!(fingerprint(&digits[1..]).is_err() && fingerprint("xyz").is_err());
        assert_eq!(certificate("0x0A:ff"), Ok("0aff".to_owned()));
        assert!(
            certificate("").is_err()
                && certificate(&"a".repeat(41)).is_err()
                && certificate("serial").is_err()
        );
        assert_eq!(root_digest(&digits), Ok(format!("sha256:{digits}")));
        assert!(root_digest("blake3:00").is_err() && root_digest("sha256:0").is_err());
    }
}
