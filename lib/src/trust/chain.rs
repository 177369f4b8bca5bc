//! The chain from a TUF root to the trusted root: root, timestamp, snapshot, targets, target.
//!
//! The family's client makes the checks; here is what it reads from (a folder, the cache, a server), what it leaves behind,
//! and what its errors are called.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use jiff_02::Timestamp;
use serde::{Deserialize, Serialize};
use sigstore_tuf::{
    Error as TufError, MetadataStore, Repository, Updater, UpdaterConfig, transport::FetchFuture,
};

use crate::{Error, code::Code, limits, shown::Shown};

/// The targets that are fetched: the trusted root, and the addresses to sign with.
const TRUSTED_ROOT: &str = "trusted_root.json";
const SIGNING_CONFIG: &str = "signing_config.v0.2.json";

/// The largest target that is taken, in bytes, whatever its metadata says.
const TARGET_BYTES: u64 = limits::KEY_BYTES;

/// Files by the names that the family's client stores them under.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The versions of a repository's four roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustVersions {
    /// Of the root, which names all keys.
    pub root: u64,
    /// Of the timestamp, which says what is current.
    pub timestamp: u64,
    /// Of the snapshot, which lists the metadata.
    pub snapshot: u64,
    /// Of the targets, which list the files.
    pub targets: u64,
}

impl TrustVersions {
    /// Whether these are older than others. A new root may have changed keys, after which the other roles count anew.
    pub(super) fn is_behind(&self, other: &TrustVersions) -> bool {
        let lower = self.timestamp < other.timestamp
            || self.snapshot < other.snapshot
            || self.targets < other.targets;
        self.root < other.root || (self.root == other.root && lower)
    }
}

/// When a repository's four roles expire, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrustExpiry {
    /// The root.
    pub root: i64,
    /// The timestamp.
    pub timestamp: i64,
    /// The snapshot.
    pub snapshot: i64,
    /// The targets.
    pub targets: i64,
}

impl TrustExpiry {
    /// The first of them.
    pub fn first(&self) -> i64 {
        self.root.min(self.timestamp).min(self.snapshot).min(self.targets)
    }
}

/// What a whole chain came to.
pub(super) struct Chain {
    pub(super) versions: TrustVersions,
    pub(super) expires: TrustExpiry,
    pub(super) trusted_root: Vec<u8>,
    pub(super) signing_config: Option<Vec<u8>>,
}

/// When a chain has to be valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct When(Timestamp);

impl When {
    /// At some time; how old it is has to be told otherwise.
    pub(super) const EVER: When = When(Timestamp::MIN);

    /// At this time, in seconds since 1970: an expired role is an error, for it may be an old one held back.
    #[cfg(feature = "sigstore-tuf")]
    pub(super) fn at(unix: i64) -> Self {
        When(Timestamp::from_second(unix).unwrap_or(Timestamp::MAX))
    }
}

/// Where the files of a repository are read: at most so many bytes, none for a file that is not there.
pub(super) trait Fetch: Send + Sync {
    /// # Errors
    /// The code that says why it could not be told whether the file is there.
    fn metadata(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error>;
    /// # Errors
    /// As for metadata.
    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error>;
}

/// Verifies the chain of a repository from a TUF root, without going back behind `floor`, which holds what was verified
/// before; gives what it came to and the files that it takes to verify it again.
///
/// # Errors
/// `trust-metadata-expired`, `-rollback`, `-signature`, `-mismatch`, `-invalid`, and those of reading.
pub(super) fn follow(
    tuf_root: &[u8],
    from: impl Fetch + 'static,
    floor: Files,
    when: When,
) -> Result<(Chain, Files), Error> {
    let trouble = Trouble::default();
    let source = Source { from, trouble: trouble.clone() };
    let shelf = Shelf(Arc::new(Mutex::new(floor)));
    let staged = shelf.clone();
    walk(tuf_root, source, Some(shelf), when)
        .map_err(|error| trouble.take().unwrap_or_else(|| served(&told(&error))))?;
    // What was gathered is what will be trusted later: it has to verify by itself, and the files that this takes are kept.
    let gathered = std::mem::take(&mut *staged.0.lock().unwrap_or_else(PoisonError::into_inner));
    again(tuf_root, gathered).map_err(|error| served(&error))
}

/// Verifies files that were kept, without a look at the time; gives those of them that it takes.
///
/// # Errors
/// `trust-metadata-signature`, `-mismatch`, `-invalid`.
pub(super) fn again(tuf_root: &[u8], files: Files) -> Result<(Chain, Files), Error> {
    let used = Arc::new(Mutex::new(BTreeSet::new()));
    let files = Arc::new(files);
    let kept = Kept { files: Arc::clone(&files), used: Arc::clone(&used) };
    let source = Source { from: kept, trouble: Trouble::default() };
    let chain = walk(tuf_root, source, None, When::EVER).map_err(|error| told(&error))?;
    let used = used.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = files.iter().filter(|(name, _)| used.contains(*name));
    Ok((chain, kept.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()))
}

fn walk(
    tuf_root: &[u8],
    source: impl Repository + 'static,
    shelf: Option<Shelf>,
    when: When,
) -> Result<Chain, TufError> {
    let mut config = UpdaterConfig::default();
    config.max_root_rotations = limits::ROOT_ROTATIONS;
    config.target_max_length = TARGET_BYTES;
    let mut updater = Updater::new(source, tuf_root)?.with_config(config);
    if let Some(shelf) = shelf {
        updater = updater.with_store(shelf);
    }
    let time = when.0;
    ready(updater.refresh(time))?;
    let trusted_root = ready(updater.get_target(TRUSTED_ROOT, time))?;
    let signing_config = match ready(updater.get_target(SIGNING_CONFIG, time)) {
        Ok(bytes) => Some(bytes),
        Err(TufError::TargetNotFound(_)) => None,
        Err(error) => return Err(error),
    };
    let set = updater.trusted();
    let (Some(timestamp), Some(snapshot), Some(targets)) =
        (set.timestamp(), set.snapshot(), set.targets_role("targets"))
    else {
        return Err(TufError::NotRefreshed);
    };
    let root = set.root();
    Ok(Chain {
        versions: TrustVersions {
            root: root.version,
            timestamp: timestamp.version,
            snapshot: snapshot.version,
            targets: targets.version,
        },
        expires: TrustExpiry {
            root: root.expires.as_second(),
            timestamp: timestamp.expires.as_second(),
            snapshot: snapshot.expires.as_second(),
            targets: targets.expires.as_second(),
        },
        trusted_root,
        signing_config,
    })
}

/// The outcome of a future that never waits, as all here are: what they read, they read before they give it.
fn ready<T>(future: impl Future<Output = Result<T, TufError>>) -> Result<T, TufError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(TufError::transport("the repository did not answer")),
    }
}

/// Our own error of a read, which the family's client would flatten to text.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<Error>>>);

impl Trouble {
    fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A [`Fetch`] as the family's client wants it.
struct Source<F> {
    from: F,
    trouble: Trouble,
}

impl<F: Fetch> Source<F> {
    fn answer(&self, got: Result<Option<Vec<u8>>, Error>) -> FetchFuture<'_> {
        let got = got.map_err(|error| {
            let told = TufError::transport(error.to_string());
            *self.trouble.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        });
        Box::pin(std::future::ready(got))
    }
}

impl<F: Fetch> Repository for Source<F> {
    fn fetch_metadata<'a>(&'a self, name: &'a str, limit: u64) -> FetchFuture<'a> {
        self.answer(plain(name).and_then(|()| self.from.metadata(name, limit)))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, limit: u64) -> FetchFuture<'a> {
        self.answer(plain(path).and_then(|()| self.from.target(path, limit)))
    }
}

/// Demands a name that stays in its folder and means the same in a URL.
fn plain(name: &str) -> Result<(), Error> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-~%/".contains(c);
    let parts = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if parts && name.len() <= 512 && name.chars().all(known) {
        return Ok(());
    }
    Err(Error::new(
        Code::TrustMetadataInvalid,
        format!("the trust repository names a file {:?}, which is no plain name", Shown(name)),
    ))
}

/// What the client has verified, as it stores it.
#[derive(Clone)]
struct Shelf(Arc<Mutex<Files>>);

impl MetadataStore for Shelf {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, TufError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    fn store(&self, name: &str, bytes: &[u8]) -> Result<(), TufError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// The same files as a repository: they are stored without version and digest in their names, save for the roots.
struct Kept {
    files: Arc<Files>,
    used: Arc<Mutex<BTreeSet<String>>>,
}

impl Kept {
    fn get(&self, name: String, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.files.get(&name) {
            Some(bytes) if bytes.len() as u64 <= limit => {
                self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
                Ok(Some(bytes.clone()))
            }
            _ => Ok(None),
        }
    }
}

impl Fetch for Kept {
    fn metadata(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let numbered = name.split_once('.').filter(|(version, _)| version.parse::<u64>().is_ok());
        match numbered {
            Some((_, "root.json")) => self.get(format!("root_history/{name}"), limit),
            Some((_, rest)) => self.get(rest.to_owned(), limit),
            None => self.get(name.to_owned(), limit),
        }
    }

    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let known = [TRUSTED_ROOT, SIGNING_CONFIG];
        let name = known.into_iter().find(|name| path == *name || path.ends_with(&format!(".{name}")));
        name.map_or(Ok(None), |name| self.get(format!("targets/{name}"), limit))
    }
}

/// The family's error as one of ours.
fn told(error: &TufError) -> Error {
    let code = match error {
        TufError::Expired { .. } => Code::TrustMetadataExpired,
        TufError::Rollback { .. } => Code::TrustMetadataRollback,
        TufError::DuplicateSignature { .. }
        | TufError::ThresholdNotMet { .. }
        | TufError::UnusableKey { .. }
        | TufError::UnsupportedScheme { .. }
        | TufError::Crypto(_) => Code::TrustMetadataSignature,
        TufError::IntegrityMismatch(_) | TufError::BadRootVersion { .. } => Code::TrustMetadataMismatch,
        TufError::Transport { .. } | TufError::Io { .. } => Code::TrustRefreshFailed,
        _ => Code::TrustMetadataInvalid,
    };
    let mut text = match error {
        // It says twice what kind of error it is.
        TufError::Transport { message, .. } => message.clone(),
        error => error.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    Error::new(code, Shown(&text).to_string())
}

/// The same error, of what a repository serves.
fn served(error: &Error) -> Error {
    let what = match error.code() {
        Code::TrustRefreshFailed => "cannot be read",
        _ => "does not verify",
    };
    Error::new(error.code(), format!("the trust repository {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_its_folder_is_refused() {
        for name in ["timestamp.json", "17.root.json", "ab12.trusted_root.json", "sub/ab12.x%2Fy.json"] {
            assert!(plain(name).is_ok(), "{name}");
        }
        for name in
            ["", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a?b", "a#b", "http://b", "a\\b", "a b"]
        {
            assert_eq!(plain(name).unwrap_err().code(), Code::TrustMetadataInvalid, "{name}");
        }
    }

    #[test]
    fn a_root_that_is_none_is_told() {
        for bytes in ["", "{}", "[1]", "{\"signed\":{},\"signatures\":[]}"] {
            let error = again(bytes.as_bytes(), Files::new()).err().unwrap();
            assert_eq!(error.code(), Code::TrustMetadataInvalid, "{bytes}: {error}");
        }
    }
}
