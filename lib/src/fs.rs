//! Files written whole or not at all, and small files read within bounds.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Bundle, Error, code::Code, limits, shown::Shown};

/// What a write may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Nothing: an existing file is an error.
    Nothing,
    /// A file that parses as a model signature.
    Signature,
    /// Any regular file.
    Anything,
}

/// Permissions of signatures and public keys, before the umask.
pub const PUBLIC: u32 = 0o644;
/// Permissions of private keys.
pub const PRIVATE: u32 = 0o600;

/// Reads a regular file of at most `limit` bytes, without ever waiting for a pipe.
pub(crate) fn read_bounded(
    path: &Path,
    limit: u64,
    what: &str,
    absent: Code,
    too_large: Code,
) -> Result<Vec<u8>, Error> {
    let shown = path.display().to_string();
    let failed = |error| Error::io(&format!("read {what}"), &shown, error, absent);
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    read_open(file, &shown, limit, what, absent, too_large)
}

/// The same of a file that was opened without waiting.
pub(crate) fn read_open(
    file: File,
    shown: &str,
    limit: u64,
    what: &str,
    absent: Code,
    too_large: Code,
) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::io(&format!("read {what}"), shown, error, absent);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::new(Code::BadArgument, format!("{what} {} is not a regular file", Shown(shown))));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(too_large, format!("{what} {} is larger than {limit} bytes", Shown(shown))));
    }
    Ok(bytes)
}

/// Reads a key or certificate file of at most 1 MiB, without ever waiting for a pipe.
///
/// # Errors
/// `key-absent` when there is no such file, `key-malformed` when it is larger, `bad-argument` when it is no regular file,
/// `permission-denied`, `io-failed`.
pub fn read_key(path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
    read_bounded(
        path.as_ref(),
        limits::KEY_BYTES,
        "the key or certificate file",
        Code::KeyAbsent,
        Code::KeyMalformed,
    )
}

/// Whether a write to `path` could be allowed: asked before the long work, so that it is not done in vain.
///
/// # Errors
/// `output-exists`, `bad-argument`, `permission-denied`, `io-failed`, and `model-absent` where the folder is missing.
pub fn check_writable(path: &Path, replace: Replace) -> Result<(), Error> {
    let shown = path.display().to_string();
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.is_file() => {
            return Err(Error::new(
                Code::OutputExists,
                format!("{} exists and is not a regular file", Shown(&shown)),
            )
            .with_help("choose another name"));
        }
        Ok(_) => match replace {
            Replace::Nothing => return Err(exists(path)),
            Replace::Signature => {
                if Bundle::read(path).is_err() {
                    return Err(Error::new(
                        Code::OutputExists,
                        format!("{} exists and is not a model signature", Shown(&shown)),
                    ));
                }
            }
            Replace::Anything => {}
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("write", &shown, error, Code::BadArgument)),
    }
    let folder = folder_of(path);
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).map_err(|error| {
        Error::io("write into the folder", folder.display(), error.into(), Code::BadArgument)
    })
}

/// Writes a file whole or not at all: under a name beside it, synced, renamed; the folder is synced too.
///
/// # Errors
/// As [`check_writable`], and `disk-full`. Nothing is left behind.
pub fn write_whole(path: &Path, bytes: &[u8], replace: Replace, mode: u32) -> Result<(), Error> {
    check_writable(path, replace)?;
    let failed = |error| Error::io("write", path.display(), error, Code::BadArgument);
    let mut beside = Beside::create(path, mode).map_err(failed)?;
    beside.file.write_all(bytes).map_err(failed)?;
    beside.file.sync_all().map_err(failed)?;
    let renamed = match replace {
        Replace::Nothing => rename_new(&beside.path, path),
        Replace::Signature | Replace::Anything => std::fs::rename(&beside.path, path),
    };
    renamed.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => failed(error),
    })?;
    beside.keep();
    // The name has to survive a crash as well; file systems that cannot sync a folder do not lose it either way.
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Renames, refusing to replace what somebody put there meanwhile; file systems that cannot do so in one step link and unlink.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        done => Ok(done?),
    }
}

fn exists(path: &Path) -> Error {
    Error::new(Code::OutputExists, format!("{} exists already", Shown(&path.display().to_string())))
        .with_help("choose another name, or remove it")
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Files that are being written under a name beside their own.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes every file that is not finished: for a program that ends at once, on a second signal for example.
pub fn abandon_unfinished() {
    for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = std::fs::remove_file(path);
    }
}

/// A file beside another one, removed unless it is kept.
struct Beside {
    path: PathBuf,
    file: File,
}

impl Beside {
    fn create(path: &Path, mode: u32) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().unwrap_or_default();
        loop {
            let mut beside = std::ffi::OsString::from(".");
            beside.push(name);
            beside.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
            let beside = folder_of(path).join(beside);
            let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside) {
                Ok(file) => {
                    unfinished.push(beside.clone());
                    return Ok(Beside { path: beside, file });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets the file: it has its own name now.
    fn keep(self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.path);
        std::mem::forget(self);
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_whole_or_absent_and_nothing_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write_whole(&path, b"one", Replace::Nothing, PRIVATE).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            write_whole(&path, b"two", Replace::Nothing, PUBLIC).unwrap_err().code(),
            Code::OutputExists
        );
        assert_eq!(
            write_whole(&path, b"two", Replace::Signature, PUBLIC).unwrap_err().code(),
            Code::OutputExists
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write_whole(&path, b"two", Replace::Anything, PUBLIC).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(
            write_whole(folder.path(), b"x", Replace::Anything, PUBLIC).unwrap_err().code(),
            Code::OutputExists
        );
        assert_eq!(
            write_whole(&folder.path().join("no/out"), b"x", Replace::Anything, PUBLIC).unwrap_err().code(),
            Code::BadArgument
        );
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn bounded_reads_refuse_what_is_larger_or_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, b"12345").unwrap();
        let read = |path: &Path, limit| read_bounded(path, limit, "it", Code::KeyAbsent, Code::KeyMalformed);
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().code(), Code::KeyMalformed);
        assert_eq!(read(&folder.path().join("none"), 4).unwrap_err().code(), Code::KeyAbsent);
        assert_eq!(read(folder.path(), 4).unwrap_err().code(), Code::BadArgument);
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read(&pipe, 4).unwrap_err().code(), Code::BadArgument);
    }
}
