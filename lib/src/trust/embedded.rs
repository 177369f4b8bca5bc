//! What this build carries: the TUF roots from which all else is verified, the trusted roots as of one day, and that day.

use crate::{Error, Run, code::Code};

use super::instance::Instance;

/// The day of the embedded data, in seconds since 1970: 2026-10-23, when `sigstore-trust-root` 0.15.1 was released.
pub(super) const DATA_DATE: i64 = 1_792_713_600;

/// No time before this can be now: the day of the embedded data, or `SOURCE_DATE_EPOCH` of the build where it is later.
const BUILD_DATE: i64 = later(DATA_DATE, option_env!("SOURCE_DATE_EPOCH"));

/// Public data of one Sigstore instance.
pub(super) struct Embedded {
    pub(super) tuf_root: &'static [u8],
    pub(super) trusted_root: &'static str,
    pub(super) signing_config: &'static str,
}

const PUBLIC_GOOD: Embedded = Embedded {
    tuf_root: include_bytes!("embedded/public-good.root.json"),
    trusted_root: sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT,
    signing_config: sigstore_verify::trust_root::SIGSTORE_PRODUCTION_SIGNING_CONFIG,
};

const STAGING: Embedded = Embedded {
    tuf_root: include_bytes!("embedded/staging.root.json"),
    trusted_root: sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT,
    signing_config: sigstore_verify::trust_root::SIGSTORE_STAGING_SIGNING_CONFIG,
};

/// What is embedded for an instance: nothing for a mirror of somebody's own.
pub(super) fn of(instance: &Instance) -> Option<&'static Embedded> {
    match instance {
        Instance::PublicGood => Some(&PUBLIC_GOOD),
        Instance::Staging => Some(&STAGING),
        Instance::Mirror { .. } => None,
    }
}

/// Demands that it is not earlier than the day on which this program was built: on a clock that stands before, what has
/// expired would count as valid.
///
/// # Errors
/// `clock-wrong`.
pub fn check_clock(run: &Run) -> Result<(), Error> {
    let now = run.now_unix();
    if now >= BUILD_DATE {
        return Ok(());
    }
    Err(Error::new(
        Code::ClockWrong,
        format!("this machine's clock says {}, which is before {}", day(now), day(BUILD_DATE)),
    ))
}

/// A time as people read it.
pub(super) fn day(unix: i64) -> String {
    jiff::Timestamp::from_second(unix).map_or_else(|_| format!("{unix} s"), |time| time.to_string())
}

const fn later(date: i64, text: Option<&str>) -> i64 {
    let Some(text) = text else { return date };
    match i64::from_str_radix(text, 10) {
        Ok(epoch) if epoch > date => epoch,
        _ => date,
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, process::Command, time::Duration};

    use super::*;
    use crate::FixedClock;

    #[test]
    fn a_clock_before_the_build_is_told() {
        let at = |unix: i64| {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap());
            check_clock(&Run::new().clock(FixedClock(time)))
        };
        assert!(at(BUILD_DATE).is_ok());
        assert_eq!(at(BUILD_DATE - 1).unwrap_err().code(), Code::ClockWrong);
        assert_eq!(at(0).unwrap_err().code(), Code::ClockWrong);
    }

    #[test]
    fn the_date_of_the_build_counts_where_it_is_later() {
        assert_eq!(later(5, None), 5);
        assert_eq!(later(5, Some("6")), 6);
        assert_eq!(later(5, Some("4")), 5);
        assert_eq!(later(5, Some("yesterday")), 5);
    }

    /// The folder of the family's crate, wherever cargo keeps it.
    fn family() -> PathBuf {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--offline",
                "--all-features",
                "--manifest-path",
                manifest,
            ])
            .output()
            .unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let found = packages.iter().find(|package| package["name"] == "sigstore-trust-root").unwrap();
        PathBuf::from(found["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
    }

    #[test]
    fn the_embedded_roots_are_those_of_the_family() {
        let repository = family().join("repository");
        for (embedded, name) in [(PUBLIC_GOOD, "tuf_root.json"), (STAGING, "tuf_staging_root.json")] {
            assert!(std::fs::read(repository.join(name)).unwrap() == embedded.tuf_root, "{name}");
        }
    }
}
