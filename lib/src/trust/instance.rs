//! Which Sigstore: the public one, its staging, or somebody's own.

use std::fmt;

use crate::shown::Shown;

use super::{cache::sha256_hex, embedded};

/// A Sigstore instance, by the TUF repository that publishes its trusted root.
#[derive(Clone, PartialEq, Eq)]
pub enum Instance {
    /// Sigstore's public-good instance.
    PublicGood,
    /// Sigstore's staging instance.
    Staging,
    /// A TUF repository of somebody's own, or a copy of one: `URL/timestamp.json`, `URL/targets/...`.
    Mirror {
        /// Where it is.
        url: String,
        /// A `root.json` of it that the caller trusts; later roots are verified from it.
        root: Vec<u8>,
    },
}

impl Instance {
    /// Where its repository is.
    pub(super) fn url(&self) -> &str {
        match self {
            Instance::PublicGood => "https://tuf-repo-cdn.sigstore.dev",
            Instance::Staging => "https://tuf-repo-cdn.sigstage.dev",
            Instance::Mirror { url, .. } => url.trim_end_matches('/'),
        }
    }

    /// The TUF root that all trust in it begins with.
    pub(super) fn tuf_root(&self) -> &[u8] {
        match self {
            Instance::Mirror { root, .. } => root,
            known => embedded::of(known).map_or(&[], |embedded| embedded.tuf_root),
        }
    }

    /// What it is called: `public-good`, `staging`, or the URL of a mirror without what may be secret in it.
    pub fn name(&self) -> String {
        match self {
            Instance::PublicGood => "public-good".to_owned(),
            Instance::Staging => "staging".to_owned(),
            Instance::Mirror { url, .. } => without_secrets(url),
        }
    }

    /// The name of its folder in the cache.
    pub(super) fn folder(&self) -> String {
        match self {
            Instance::Mirror { .. } => {
                format!("mirror-{}", sha256_hex(self.url().as_bytes()).chars().take(32).collect::<String>())
            }
            known => known.name(),
        }
    }

    /// Its name for an error.
    pub(super) fn shown(&self) -> String {
        Shown(&self.name()).to_string()
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.name()).finish()
    }
}

/// A URL without user, password, query and fragment.
pub(super) fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    match scheme {
        "" => format!("{host}{path}"),
        scheme => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_called_by_what_is_no_secret() {
        for (url, name) in [
            ("https://user:word@host:8443/tuf?token=1#x", "https://host:8443/tuf"),
            ("https://host", "https://host"),
            ("host/tuf@2", "host/tuf@2"),
        ] {
            assert_eq!(without_secrets(url), name);
        }
        let mirror = |url: &str| Instance::Mirror { url: url.to_owned(), root: Vec::new() };
        assert_eq!(mirror("http://a/").folder(), mirror("http://a").folder());
        assert_ne!(mirror("http://a").folder(), mirror("http://b").folder());
        assert_eq!(format!("{:?}", mirror("http://me:word@a/?token")), "Instance(\"http://a/\")");
    }
}
