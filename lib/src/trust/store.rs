//! The trusted root of an instance: from its cache, or else embedded. Nothing here opens a socket.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sigstore_tuf::TrustedMetadataSet;

use crate::{
    Error, Run,
    code::Code,
    report::{RootOrigin, RootSource},
    shown::Shown,
};

use super::{
    cache::{Cache, Record},
    chain::{self, Chain, Fetch, Files, TrustExpiry, TrustVersions, When},
    embedded::{self, DATA_DATE, check_clock, day},
    instance::Instance,
    root::TrustedRoot,
};

/// The trusted root of one Sigstore instance, its cache, and how it is kept current.
#[derive(Clone, Debug)]
pub struct TrustStore {
    pub(super) instance: Instance,
    base: Option<PathBuf>,
    #[cfg(feature = "sigstore-tuf")]
    pub(super) http: Option<crate::http::Http>,
}

/// What a [`TrustStore`] would use, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrustState {
    /// Which root, from where, as of when.
    pub origin: RootOrigin,
    /// The folder of the cache; none where there can be none.
    pub cache: Option<String>,
    /// The versions of the roles; none of what is embedded.
    pub versions: Option<TrustVersions>,
    /// When the roles expire; none of what is embedded.
    pub expires: Option<TrustExpiry>,
}

/// A cache that was verified just now.
pub(super) struct Current {
    chain: Chain,
    files: Files,
    refreshed: i64,
}

impl Current {
    /// When the repository last said that this is current: when it was fetched, and not after its timestamp had expired,
    /// which is signed where the other is not.
    fn as_of(&self) -> i64 {
        self.refreshed.min(self.chain.expires.timestamp)
    }

    fn origin(&self, instance: &Instance) -> RootOrigin {
        RootOrigin {
            source: RootSource::Cache,
            name: instance.name(),
            as_of: Some(self.as_of()),
            expires: Some(self.chain.expires.first()),
        }
    }

    fn root(&self, instance: &Instance, code: Code) -> Result<TrustedRoot, Error> {
        TrustedRoot::parse(&self.chain.trusted_root, self.origin(instance))
            .map_err(|error| Error::new(code, error.to_string()))
    }
}

impl TrustStore {
    /// The store of this instance, cached in a folder below `WEIGHTSEAL_TRUST_CACHE`, or else below
    /// `$XDG_CACHE_HOME/weightseal/trust`, `~/.cache/weightseal/trust`; without a cache where none of them is set.
    pub fn new(instance: Instance) -> Self {
        TrustStore {
            instance,
            base: default_base(),
            #[cfg(feature = "sigstore-tuf")]
            http: None,
        }
    }

    /// The same with its cache in a folder below this one.
    #[must_use]
    pub fn cache_dir(mut self, base: impl Into<PathBuf>) -> Self {
        self.base = Some(base.into());
        self
    }

    /// The trusted root: of the cache, which is verified whole from the embedded TUF root, or else the embedded one.
    ///
    /// A cache that is older than what is embedded is not used. One that cannot be trusted is an error and not passed over:
    /// whoever spoils it would otherwise choose an older root. Roles that have expired since the cache was written are no
    /// error, so that machines without a network go on; [`RootOrigin::staleness`] tells of it.
    ///
    /// # Errors
    /// `trust-cache-unsafe`, `trust-cache-invalid`; `trust-root-absent` for a mirror that was never refreshed nor imported;
    /// `clock-wrong`, `permission-denied`, `io-failed`.
    pub fn load(&self, run: &Run) -> Result<TrustedRoot, Error> {
        check_clock(run)?;
        match self.current()? {
            Some(current) => current.root(&self.instance, Code::TrustCacheInvalid),
            None => {
                let embedded = embedded::of(&self.instance).ok_or_else(|| self.absent("trusted root"))?;
                TrustedRoot::parse(embedded.trusted_root.as_bytes(), self.embedded_origin())
            }
        }
    }

    /// The signing configuration, which has the addresses of an instance's services: as [`load`](TrustStore::load).
    ///
    /// # Errors
    /// As [`load`](TrustStore::load); `trust-root-absent` where the repository has none.
    pub fn signing_config(&self, run: &Run) -> Result<Vec<u8>, Error> {
        check_clock(run)?;
        match self.current()? {
            Some(current) => current.chain.signing_config.ok_or_else(|| {
                Error::new(
                    Code::TrustRootAbsent,
                    format!("the trust repository {} has no signing configuration", self.instance.shown()),
                )
                .with_help("give a signing configuration")
            }),
            None => {
                let embedded =
                    embedded::of(&self.instance).ok_or_else(|| self.absent("signing configuration"))?;
                Ok(embedded.signing_config.as_bytes().to_vec())
            }
        }
    }

    /// What [`load`](TrustStore::load) would use.
    ///
    /// # Errors
    /// As [`load`](TrustStore::load).
    pub fn state(&self, run: &Run) -> Result<TrustState, Error> {
        check_clock(run)?;
        let current = self.current()?;
        if current.is_none() && embedded::of(&self.instance).is_none() {
            return Err(self.absent("trusted root"));
        }
        Ok(self.described(current.as_ref()))
    }

    fn described(&self, current: Option<&Current>) -> TrustState {
        TrustState {
            origin: current.map_or_else(|| self.embedded_origin(), |current| current.origin(&self.instance)),
            cache: self.folder().map(|folder| folder.display().to_string()),
            versions: current.map(|current| current.chain.versions),
            expires: current.map(|current| current.chain.expires),
        }
    }

    /// Verifies what a repository has, from the embedded TUF root and not behind the cache, and puts it into the cache.
    pub(super) fn take(
        &self,
        from: impl Fetch + 'static,
        when: impl FnOnce(i64) -> When,
        run: &Run,
    ) -> Result<TrustState, Error> {
        check_clock(run)?;
        let cache = self.cache().ok_or_else(|| {
            Error::new(Code::BadArgument, "there is no folder to keep the trusted root in")
                .with_help("name one by WEIGHTSEAL_TRUST_CACHE")
        })?;
        self.first_root()?;
        let _lock = cache.lock(run)?;
        let floor = self.cached(&cache)?.map_or_else(Files::new, |current| current.files);
        let now = run.now_unix();
        let (chain, files) = chain::follow(self.instance.tuf_root(), from, floor, when(now))?;
        let current = Current { refreshed: now.min(chain.expires.timestamp), chain, files };
        current.root(&self.instance, Code::TrustMetadataInvalid)?;
        if self.superseded(&current) {
            return Err(Error::new(
                Code::TrustMetadataRollback,
                format!(
                    "what the trust repository {} has expired at {}, before this program's own copy was made",
                    self.instance.shown(),
                    day(current.chain.expires.timestamp)
                ),
            )
            .with_help("nothing is to be done: this program's own copy is newer"));
        }
        run.check()?;
        let described = self.described(Some(&current));
        cache.write(&Record {
            refreshed: current.refreshed,
            versions: current.chain.versions,
            files: current.files,
        })?;
        Ok(described)
    }

    /// The cache, verified, unless there is none or the embedded data is newer.
    fn current(&self) -> Result<Option<Current>, Error> {
        let Some(cache) = self.cache() else { return Ok(None) };
        Ok(self.cached(&cache)?.filter(|current| !self.superseded(current)))
    }

    fn superseded(&self, current: &Current) -> bool {
        embedded::of(&self.instance).is_some() && current.as_of() < DATA_DATE
    }

    fn cached(&self, cache: &Cache) -> Result<Option<Current>, Error> {
        let Some(record) = cache.read()? else { return Ok(None) };
        let shown = cache.folder().display().to_string();
        let invalid = |what: String| {
            Error::new(Code::TrustCacheInvalid, format!("the trust cache {} {what}", Shown(&shown)))
        };
        let (chain, files) = match chain::again(self.instance.tuf_root(), record.files) {
            Ok(verified) => verified,
            // Written by an older program, before keys were changed that this one knows of.
            Err(_) if record.versions.root < self.first_root()? => return Ok(None),
            Err(error) => return Err(invalid(format!("does not verify: {error}"))),
        };
        let root = chain.versions.root.max(record.versions.root);
        if chain.versions != (TrustVersions { root, ..record.versions }) {
            return Err(invalid("holds other versions than were written into it".to_owned()));
        }
        Ok(Some(Current { chain, files, refreshed: record.refreshed }))
    }

    /// The version of the TUF root that all begins with.
    fn first_root(&self) -> Result<u64, Error> {
        let set = TrustedMetadataSet::from_root(self.instance.tuf_root()).map_err(|error| {
            Error::new(
                Code::TrustRootInvalid,
                format!(
                    "the TUF root of {} cannot be used: {}",
                    self.instance.shown(),
                    Shown(&error.to_string())
                ),
            )
            .with_help("give the root.json of the repository")
        })?;
        Ok(set.root().version)
    }

    fn embedded_origin(&self) -> RootOrigin {
        let set = TrustedMetadataSet::from_root(self.instance.tuf_root()).ok();
        RootOrigin {
            source: RootSource::Embedded,
            name: self.instance.name(),
            as_of: Some(DATA_DATE),
            expires: set.map(|set| set.root().expires.as_second()),
        }
    }

    pub(super) fn cache(&self) -> Option<Cache> {
        self.folder().map(Cache::new)
    }

    fn folder(&self) -> Option<PathBuf> {
        self.base.as_ref().map(|base| base.join(self.instance.folder()))
    }

    fn absent(&self, what: &str) -> Error {
        Error::new(
            Code::TrustRootAbsent,
            format!("there is no {what} of {}: nothing is embedded or cached", self.instance.shown()),
        )
        .with_help("fetch it with weightseal trust refresh, or import it with weightseal trust import")
    }
}

/// The folder of all caches, as the environment has it.
fn default_base() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = set("WEIGHTSEAL_TRUST_CACHE") {
        return Some(own);
    }
    // A relative XDG_CACHE_HOME is to be passed over, as its specification says.
    let xdg = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = || set("HOME").filter(|path| path.is_absolute()).map(|home| home.join(".cache"));
    xdg.or_else(home).map(|cache| cache.join(Path::new("weightseal/trust")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(refreshed: i64, expires: i64) -> Current {
        let roles = TrustExpiry { root: expires, timestamp: expires, snapshot: expires, targets: expires };
        let chain = Chain {
            versions: TrustVersions::default(),
            expires: roles,
            trusted_root: Vec::new(),
            signing_config: None,
        };
        Current { chain, files: Files::new(), refreshed }
    }

    #[test]
    fn a_cache_that_is_older_than_this_build_is_not_used() {
        let public = TrustStore::new(Instance::PublicGood);
        let mirror = TrustStore::new(Instance::Mirror { url: "http://a".to_owned(), root: Vec::new() });
        for (refreshed, expires, older) in [
            (DATA_DATE, DATA_DATE + 1, false),
            (DATA_DATE - 1, DATA_DATE + 1, true),
            // However new it says that it is, its timestamp had expired by then.
            (DATA_DATE + 9, DATA_DATE - 1, true),
        ] {
            assert_eq!(public.superseded(&current(refreshed, expires)), older);
            assert!(!mirror.superseded(&current(refreshed, expires)));
        }
    }
}
