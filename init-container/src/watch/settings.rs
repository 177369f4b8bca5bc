//! What only `watch` is told.

use std::{path::PathBuf, time::Duration};

use weightseal::Error;

use crate::{
    config::{duration, size},
    settings::{Given, bad},
};

const INTERVAL: Duration = Duration::from_secs(60);
const FULL_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often, how fast, and where what was found is kept.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) interval: Duration,
    pub(super) full_every: Duration,
    /// Bytes per second.
    pub(super) rate: Option<u64>,
    pub(crate) state: PathBuf,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// `bad-argument`.
    pub(crate) fn given(given: &Given) -> Result<Self, Error> {
        let time = |flag| given.parsed(flag, "a duration as 90s or 1h30m", duration);
        let state = given.path("state").ok_or_else(|| {
            bad("no folder was given to keep the state in".to_owned())
                .with_help("mount an emptyDir, and give it with --state")
        })?;
        Ok(Settings {
            interval: time("interval")?.unwrap_or(INTERVAL),
            full_every: time("full-every")?.unwrap_or(FULL_EVERY),
            rate: given.parsed("rate", "a size as 200Mi, at least 1Mi", size)?,
            state,
        })
    }
}
