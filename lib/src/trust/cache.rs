//! The cache of one instance: a single file, so that it is whole or not there, in a folder that nobody else may write; and
//! beside it the highest versions that were seen, so that an older file that is put back is noticed.
//!
//! Its first line has the digest of the rest, which tells damage from intent; trust comes from the signatures in it alone.

use std::{
    fmt::Write as _,
    fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Error, Replace, Run, code::Code, fs, limits, shown::Shown};

use super::chain::{Files, TrustVersions};

/// The name of the file in the folder of its instance.
const FILE: &str = "trust-cache";

/// The name of the file with the highest versions that were seen. It is written after the other one, so that a crash
/// between them leaves it behind and never ahead.
const HIGHEST: &str = "trust-versions";

/// The name of the file with the time at which a refresh by itself failed, in seconds since 1970.
#[cfg(feature = "sigstore-tuf")]
const FAILED: &str = "failed";

/// What its first line begins with; the digest of all other lines follows.
const HEADER: &str = "weightseal-trust-cache 1 sha256:";

/// How long another refresh is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a refresh left behind.
pub(super) struct Record {
    /// When that was, in seconds since 1970.
    pub(super) refreshed: i64,
    /// The highest versions that were seen: what older files cannot be put in place of.
    pub(super) versions: TrustVersions,
    pub(super) files: Files,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    refreshed: i64,
    versions: TrustVersions,
    files: std::collections::BTreeMap<String, String>,
}

/// The folder of one instance.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Cache { folder }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is in it; nothing where no refresh was.
    ///
    /// # Errors
    /// `trust-cache-unsafe`, `trust-cache-invalid`, `permission-denied`, `io-failed`.
    pub(super) fn read(&self) -> Result<Option<Record>, Error> {
        if !self.check_folder()? {
            return Ok(None);
        }
        // In the order opposite to that of writing, so that a refresh meanwhile does not look like somebody's doing.
        let highest = self.file(HIGHEST)?;
        let Some(bytes) = self.file(FILE)? else { return Ok(None) };
        let record = parse(&bytes).map_err(|what| self.invalid(FILE, &what))?;
        if let Some(bytes) = highest {
            let highest: TrustVersions = serde_json::from_slice(&bytes)
                .map_err(|error| self.invalid(HIGHEST, &format!("cannot be read: {error}")))?;
            if record.versions.is_behind(&highest) {
                return Err(self.invalid(FILE, "is older than one that was there before"));
            }
        }
        Ok(Some(record))
    }

    /// The bytes of a file, which nobody else can have written; none where it is not there.
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.folder.join(name);
        let failed =
            |error| Error::io("read the trust cache", path.display(), error, Code::TrustCacheInvalid);
        let file = match open(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(link_or(error, &path)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(unsafe_because(&path, "is no regular file"));
        }
        check_owner(&path, &metadata)?;
        let mut bytes = Vec::new();
        file.take(limits::TRUST_CACHE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    fn invalid(&self, name: &str, what: &str) -> Error {
        let path = self.folder.join(name);
        Error::new(Code::TrustCacheInvalid, format!("the trust cache {} {what}", shown(&path)))
    }

    /// Puts a record in place of the one that is there, whole or not at all.
    ///
    /// # Errors
    /// `trust-cache-unsafe`, `permission-denied`, `disk-full`, `io-failed`.
    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        self.check_folder()?;
        let put = |name, bytes: &[u8]| {
            fs::write_whole(&self.folder.join(name), bytes, Replace::Anything, fs::PUBLIC)
        };
        put(FILE, &render(record))?;
        // Numbers alone: it cannot fail.
        put(HIGHEST, serde_json::to_string(&record.versions).unwrap_or_default().as_bytes())
    }

    /// When a refresh that nobody had asked for failed last; none where that is not known.
    #[cfg(feature = "sigstore-tuf")]
    pub(super) fn failed_at(&self) -> Option<i64> {
        let bytes = self.file(FAILED).ok()??;
        std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }

    /// Remembers that it failed now. Where that cannot be written it is tried again the sooner, and no more is lost.
    #[cfg(feature = "sigstore-tuf")]
    pub(super) fn failed_now(&self, now: i64) {
        let path = self.folder.join(FAILED);
        let _ = fs::write_whole(&path, format!("{now}\n").as_bytes(), Replace::Anything, fs::PUBLIC);
    }

    /// Makes the folder where it is missing, and keeps other refreshes out of it for as long as the value lives.
    ///
    /// # Errors
    /// `trust-cache-unsafe`, `trust-refresh-failed` when another refresh takes too long, those of the run,
    /// `permission-denied`, `disk-full`, `io-failed`.
    pub(super) fn lock(&self, run: &Run) -> Result<File, Error> {
        let failed = |error| Error::io("make the trust cache", self.folder.display(), error, Code::IoFailed);
        DirBuilder::new().recursive(true).mode(0o755).create(&self.folder).map_err(failed)?;
        self.check_folder()?;
        let path = self.folder.join("lock");
        let mut options = OpenOptions::new();
        let file = open(&path, options.write(true).create(true).mode(fs::PRIVATE))
            .map_err(|error| link_or(error, &path))?;
        let since = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => run.check()?,
            }
            if since.elapsed() > PATIENCE {
                return Err(Error::new(
                    Code::TrustRefreshFailed,
                    format!("another refresh has held {} for {} s", shown(&path), PATIENCE.as_secs()),
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether there is a folder; one that is there has to be safe, and so has the one that it is in: whoever can write there
    /// can take it away, and with it what is newer than this program's own copy.
    fn check_folder(&self) -> Result<bool, Error> {
        let there = self.check_own()?;
        if let Some(base) = self.folder.parent().filter(|base| !base.as_os_str().is_empty())
            && let Ok(metadata) = base.metadata()
        {
            check_base(base, &metadata)?;
        }
        Ok(there)
    }

    fn check_own(&self) -> Result<bool, Error> {
        let path = &self.folder;
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                return Err(Error::io(
                    "read the trust cache",
                    path.display(),
                    error,
                    Code::TrustCacheInvalid,
                ));
            }
        };
        if metadata.is_symlink() {
            return Err(unsafe_because(path, "is a symbolic link"));
        }
        if !metadata.is_dir() {
            return Err(unsafe_because(path, "is no folder"));
        }
        check_owner(path, &metadata)?;
        Ok(true)
    }
}

/// Demands that nobody else can write: the owner is root or this user, and group and others have no write bit.
fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != us {
        return Err(unsafe_because(path, &format!("belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(unsafe_because(path, &format!("can be written by others (mode {mode:o})")));
    }
    Ok(())
}

/// The same of the folder that caches are in, where a sticky bit keeps others from renaming what is ours.
fn check_base(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    const STICKY: u32 = 0o1000;
    if metadata.mode() & STICKY != 0 && metadata.uid() == 0 { Ok(()) } else { check_owner(path, metadata) }
}

fn unsafe_because(path: &Path, why: &str) -> Error {
    Error::new(Code::TrustCacheUnsafe, format!("the trust cache {} {why}", shown(path)))
}

/// Opens a file itself, never one that a link leads to, and without waiting for a pipe.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default()).open(path)
}

fn link_or(error: io::Error, path: &Path) -> Error {
    if path.is_symlink() {
        return unsafe_because(path, "is a symbolic link");
    }
    Error::io("open the trust cache", path.display(), error, Code::TrustCacheInvalid)
}

fn shown(path: &Path) -> String {
    Shown(&path.display().to_string()).to_string()
}

fn render(record: &Record) -> Vec<u8> {
    let body = Body {
        refreshed: record.refreshed,
        versions: record.versions,
        files: record.files.iter().map(|(name, bytes)| (name.clone(), STANDARD.encode(bytes))).collect(),
    };
    // Numbers and strings alone: it cannot fail.
    let body = serde_json::to_string(&body).unwrap_or_default();
    format!("{HEADER}{}\n{body}\n", sha256_hex(format!("{body}\n").as_bytes())).into_bytes()
}

fn parse(bytes: &[u8]) -> Result<Record, String> {
    if bytes.len() as u64 > limits::TRUST_CACHE_BYTES {
        return Err(format!("is larger than {} bytes", limits::TRUST_CACHE_BYTES));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is no text")?;
    let (first, body) = text.split_once('\n').ok_or("is cut")?;
    let digest = first.strip_prefix(HEADER).ok_or("is of another version, or something else")?;
    if digest != sha256_hex(body.as_bytes()) {
        return Err("is damaged".to_owned());
    }
    let body: Body = serde_json::from_str(body).map_err(|error| format!("cannot be read: {error}"))?;
    let mut files = Files::new();
    for (name, text) in body.files {
        let bytes = STANDARD.decode(text).map_err(|error| format!("cannot be read: {error}"))?;
        files.insert(name, bytes);
    }
    Ok(Record { refreshed: body.refreshed, versions: body.versions, files })
}

/// SHA-256 in hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let files = [("timestamp.json", "{}"), ("root_history/2.root.json", "{\"a\": 1}")];
        Record {
            refreshed: 1_800_000_000,
            versions: TrustVersions { root: 2, timestamp: 3, snapshot: 4, targets: 5 },
            files: files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_no_byte_of_it_can_change() {
        let written = render(&record());
        let read = parse(&written).unwrap();
        assert_eq!(
            (read.refreshed, read.versions, read.files),
            (record().refreshed, record().versions, record().files)
        );
        for place in 0..written.len() {
            let mut changed = written.clone();
            changed[place] ^= 1;
            assert!(parse(&changed).is_err(), "byte {place}");
            assert!(parse(&written[..place]).is_err(), "cut at {place}");
        }
    }
}
