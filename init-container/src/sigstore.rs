//! Trust in a Sigstore identity. The trusted root is a file, or what a cache or this build has: nothing is fetched.

use std::path::PathBuf;

use weightseal::{Claim, Code, Error, Instance, Run, SigstoreIdentity, TrustStore, TrustedRoot};

use crate::settings::Given;

/// The settings that say who must have signed.
const WHO: [&str; 5] =
    ["identity", "identity-regexp", "identity-provider", "identity-provider-regexp", "claim"];

/// What was told about Sigstore.
#[derive(Debug)]
pub(crate) struct Sigstore {
    /// Who must have signed; none where only timestamps of other signatures are to be checked.
    pub(crate) identity: Option<SigstoreIdentity>,
    root: Option<PathBuf>,
    staging: bool,
    cache: Option<PathBuf>,
}

impl Sigstore {
    /// Reads the settings.
    ///
    /// # Errors
    /// `trust-missing` where identity or issuer is missing; `arguments-conflict`; `bad-argument`.
    pub(crate) fn given(given: &Given) -> Result<Self, Error> {
        let root = given.path("trusted-root");
        let staging = given.switch("use-staging")?;
        if let (true, true, Some(by)) = (root.is_some(), staging, given.by("use-staging")) {
            let what = format!("both {} and {by} were given", given.by("trusted-root").unwrap_or_default());
            return Err(conflict(what));
        }
        Ok(Sigstore { identity: identity(given)?, root, staging, cache: given.path("trust-cache") })
    }

    /// The trusted root, where one is needed: for an identity, or where one was given.
    ///
    /// # Errors
    /// Those of reading a trusted root and of the cache.
    pub(crate) fn root(&self, run: &Run) -> Result<Option<TrustedRoot>, Error> {
        if let Some(file) = &self.root {
            return TrustedRoot::read(file).map(Some);
        }
        if self.identity.is_none() {
            return Ok(None);
        }
        let instance = if self.staging { Instance::Staging } else { Instance::PublicGood };
        self.stored(instance, run).map(Some)
    }

    /// The trusted root of an instance, from the cache or this build.
    ///
    /// # Errors
    /// Those of the cache.
    pub(crate) fn stored(&self, instance: Instance, run: &Run) -> Result<TrustedRoot, Error> {
        let mut store = TrustStore::new(instance);
        if let Some(cache) = &self.cache {
            store = store.cache_dir(cache);
        }
        store.load(run)
    }
}

fn identity(given: &Given) -> Result<Option<SigstoreIdentity>, Error> {
    if !WHO.iter().any(|flag| given.has(flag)) {
        return Ok(None);
    }
    let one = |exact: &str, pattern: &str| -> Result<Result<String, String>, Error> {
        match (given.text(exact)?, given.text(pattern)?) {
            (Some(_), Some(_)) => {
                let by = |flag| given.by(flag).unwrap_or_default();
                Err(conflict(format!("both {} and {} were given", by(exact), by(pattern))))
            }
            (Some(text), None) => Ok(Ok(text)),
            (None, Some(pattern)) => Ok(Err(pattern)),
            (None, None) => Err(Error::new(Code::TrustMissing, format!("no {exact} was given"))
                .with_help("give both --identity and --identity-provider, or their variables")),
        }
    };
    let issuer = one("identity-provider", "identity-provider-regexp")?;
    let exact_issuer = issuer.clone().unwrap_or_default();
    let mut identity = match one("identity", "identity-regexp")? {
        Ok(identity) => SigstoreIdentity::new(identity, exact_issuer),
        Err(pattern) => SigstoreIdentity::matching(&pattern, exact_issuer)?,
    };
    if let Err(pattern) = &issuer {
        identity = identity.issuer_matching(pattern)?;
    }
    let claims = given.all_parsed("claim", "NAME=VALUE with the name of a claim", |text| {
        let (name, value) = text.split_once('=')?;
        let claim = Claim::ALL.iter().find(|claim| claim.name() == name)?;
        (!value.is_empty()).then(|| (*claim, value.to_owned()))
    })?;
    Ok(Some(claims.into_iter().fold(identity, |identity, (claim, value)| identity.claim(claim, value))))
}

fn conflict(what: String) -> Error {
    Error::new(Code::ArgumentsConflict, what).with_help("give one of the two")
}
