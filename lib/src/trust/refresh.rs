//! Fetches the current trusted root. Only here a socket is opened.

use std::time::Duration;

use crate::{
    Error, Run,
    code::Code,
    http::{Call, Http},
    report::RootSource,
};

use super::{
    cache::Cache,
    chain::{Fetch, When},
    root::TrustedRoot,
    store::{TrustState, TrustStore},
};

/// Older than this, `auto` fetches anew: a day, in seconds.
const DAY: i64 = 86_400;

/// How long `auto` may take: whoever verifies did not ask for the network, and a firewall that is silent takes all it gets.
const AUTO: Duration = Duration::from_secs(20);

/// How long `auto` does with what is there after it failed, in seconds: a machine without network is not to wait for one
/// with every model.
const PAUSE: i64 = 600;

/// When the trusted root is fetched anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// Never: no socket is opened.
    #[default]
    Never,
    /// When it is older than a day. That it could not be fetched is told, and the one that is there is used.
    Auto,
    /// Now; that it could not be fetched is an error.
    Require,
}

impl TrustStore {
    /// The same, reaching its repository so; without this the system's roots are trusted for TLS.
    #[must_use]
    pub fn http(mut self, http: Http) -> Self {
        self.http = Some(http);
        self
    }

    /// Fetches the instance's current metadata, trusted root and signing configuration, verifies all of it from the embedded
    /// TUF root, and puts it into the cache, whole or not at all.
    ///
    /// Nothing may have expired, and no version may be lower than one that the cache has.
    ///
    /// # Errors
    /// `trust-refresh-failed` when the repository is out of reach, refuses, redirects, is slow or sends too much;
    /// `trust-metadata-expired`, `-rollback`, `-signature`, `-mismatch`, `-invalid`; `trust-cache-unsafe`,
    /// `trust-cache-invalid`, `clock-wrong`, `permission-denied`, `disk-full`, `io-failed`; `bad-argument` when there is no
    /// folder for a cache; those of [`Run::check`].
    pub fn refresh(&self, run: &Run) -> Result<TrustState, Error> {
        let http = match &self.http {
            Some(http) => http.clone(),
            None => Http::new()?,
        };
        let web = Web { http, base: self.instance.url().to_owned(), run: run.clone() };
        self.take(web, When::at, run)
    }

    /// The trusted root, fetched anew where that is asked for: see [`load`](TrustStore::load).
    ///
    /// # Errors
    /// As [`load`](TrustStore::load); with [`Refresh::Require`] also as [`refresh`](TrustStore::refresh).
    pub fn resolve(&self, refresh: Refresh, run: &Run) -> Result<TrustedRoot, Error> {
        match refresh {
            Refresh::Never => self.load(run),
            Refresh::Require => {
                self.refresh(run)?;
                self.load(run)
            }
            Refresh::Auto => self.auto(run),
        }
    }

    fn auto(&self, run: &Run) -> Result<TrustedRoot, Error> {
        let now = run.now_unix();
        // One that is from the future is a guess, not an answer: the clock was wrong then, or is now.
        let fresh = |root: &TrustedRoot| {
            let origin = root.origin();
            let age = origin.as_of.map(|as_of| now.saturating_sub(as_of));
            origin.source == RootSource::Cache && age.is_some_and(|age| (0..DAY).contains(&age))
        };
        let there = match self.load(run) {
            Ok(root) if fresh(&root) => return Ok(root),
            Ok(root) => Ok(root),
            // Of a mirror there may be none yet.
            Err(error) if error.code() == Code::TrustRootAbsent => Err(error),
            Err(error) => return Err(error),
        };
        let cache = self.cache();
        let failed = cache.as_ref().and_then(Cache::failed_at).map(|failed| now.saturating_sub(failed));
        if there.is_ok() && failed.is_some_and(|ago| (0..PAUSE).contains(&ago)) {
            return there;
        }
        let time = run.time_left().map_or(AUTO, |left| left.min(AUTO));
        match self.refresh(&run.clone().deadline(time)) {
            Ok(_) => self.load(run),
            Err(error) => {
                run.check()?;
                if let Some(cache) = cache {
                    cache.failed_now(now);
                }
                run.told()
                    .note(&format!("the trusted root could not be refreshed: {error} ({})", error.code()));
                there
            }
        }
    }
}

struct Web {
    http: Http,
    base: String,
    run: Run,
}

impl Web {
    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let call = Call::get("the trust repository", format!("{}/{path}", self.base)).limit(limit);
        let answer = match self.http.send(&call, &self.run) {
            Ok(answer) => answer,
            Err(error) if matches!(error.code(), Code::DeadlinePassed | Code::Interrupted) => {
                return Err(error);
            }
            Err(error) => return Err(Error::new(Code::TrustRefreshFailed, error.to_string())),
        };
        // Object stores answer 403 where nothing is and nothing may be listed.
        if matches!(answer.status, 403 | 404) {
            return Ok(None);
        }
        let answer =
            answer.ok(&call).map_err(|error| Error::new(Code::TrustRefreshFailed, error.to_string()))?;
        Ok(Some(answer.body))
    }
}

impl Fetch for Web {
    fn metadata(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        self.get(name, limit)
    }

    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        self.get(&format!("targets/{path}"), limit)
    }
}
