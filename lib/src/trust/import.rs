//! A trust repository carried by hand, as a folder, to where there is no network.

use std::path::{Path, PathBuf};

use crate::{Error, Run, code::Code, fs, shown::Shown};

use super::{
    chain::{Fetch, When},
    store::{TrustState, TrustStore},
};

impl TrustStore {
    /// Puts a copy of the instance's TUF repository into the cache: a folder with `timestamp.json` and `targets/`, or with
    /// `metadata/` and `targets/`; `file://` may stand before its path.
    ///
    /// All of it is verified as by a refresh, and never goes back behind the cache. Copies take their time, hence one that
    /// has expired on the way is no error: it is as old as it says, and [`RootOrigin::staleness`](crate::RootOrigin) tells.
    ///
    /// # Errors
    /// `trust-root-absent` when there is no such folder; `trust-metadata-rollback`, `-signature`, `-mismatch`, `-invalid`;
    /// `trust-cache-unsafe`, `trust-cache-invalid`, `clock-wrong`, `permission-denied`, `disk-full`, `io-failed`.
    pub fn import(&self, from: impl AsRef<Path>, run: &Run) -> Result<TrustState, Error> {
        self.take(Folder::open(from.as_ref())?, |_| When::EVER, run)
    }
}

struct Folder {
    metadata: PathBuf,
    targets: PathBuf,
}

impl Folder {
    fn open(given: &Path) -> Result<Self, Error> {
        let text = given.to_str().and_then(|text| text.strip_prefix("file://"));
        let folder = text.map_or(given, Path::new);
        let nested = folder.join("metadata");
        let metadata = if nested.join("timestamp.json").is_file() { nested } else { folder.to_owned() };
        if !metadata.join("timestamp.json").is_file() {
            return Err(Error::new(
                Code::TrustRootAbsent,
                format!("{} is no copy of a TUF repository", Shown(&folder.display().to_string())),
            )
            .with_help("give the folder that holds timestamp.json and targets/, or metadata/ and targets/"));
        }
        Ok(Folder { metadata, targets: folder.join("targets") })
    }
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    match fs::read_bounded(path, limit, "the file", Code::TrustRootAbsent, Code::TrustMetadataInvalid) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.code() == Code::TrustRootAbsent => Ok(None),
        Err(error) => Err(error),
    }
}

impl Fetch for Folder {
    fn metadata(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        read(&self.metadata.join(name), limit)
    }

    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        read(&self.targets.join(path), limit)
    }
}
