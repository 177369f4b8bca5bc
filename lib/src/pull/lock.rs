//! One pull at a time into each folder.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    thread,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::tree;
use crate::{Error, Run, code::Code, shown::Shown};

/// How often a pull that waits for another one looks again.
const POLL: Duration = Duration::from_millis(20);

/// How often a folder may go away while it is opened, before that is an error.
const TRIES: u32 = 50;

/// A lock that other processes see, held until it is let go or the process ends, however it ends.
///
/// The file goes with the lock. So whoever gets hold of one looks whether it still stands under its name.
#[derive(Debug)]
pub(super) struct Lock {
    folder: OwnedFd,
    name: OsString,
    _file: File,
}

impl Lock {
    /// Locks the file `name` in the folder that `open` opens, or makes; it is called again when the folder is gone meanwhile.
    ///
    /// # Errors
    /// `pull-unfinished` while another one has it and this one is not to `wait`; `interrupted`, `deadline-passed`;
    /// `permission-denied`, `io-failed`, `disk-full`.
    pub(super) fn take(
        open: &dyn Fn() -> io::Result<OwnedFd>,
        name: &OsStr,
        wait: bool,
        dest: &str,
        run: &Run,
    ) -> Result<Lock, Error> {
        let failed = |error: io::Error| Error::io("begin a pull into", dest, error, Code::IoFailed);
        let (mut told, mut tries) = (false, 0);
        loop {
            run.check()?;
            let folder = match open() {
                // It was removed while it was being opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                    thread::sleep(POLL);
                    continue;
                }
                folder => folder.map_err(failed)?,
            };
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = match rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => File::from(file),
                // The folder was removed between the two steps.
                Err(Errno::NOENT) if tries < TRIES => {
                    tries += 1;
                    thread::sleep(POLL);
                    continue;
                }
                Err(Errno::ACCESS) if matches!(tree::look(folder.as_fd(), name), Ok(Some(_))) => {
                    return Err(somebody_elses(dest));
                }
                Err(error) => return Err(failed(error.into())),
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if wait => {
                    if !told {
                        run.told().note(&format!("waiting for another pull into {}", Shown(dest)));
                        told = true;
                    }
                    thread::sleep(POLL);
                    continue;
                }
                Err(Errno::WOULDBLOCK) => {
                    let what = format!("another pull into {} is under way", Shown(dest));
                    return Err(Error::new(Code::PullUnfinished, what)
                        .with_help("wait for it: its result can be used, or pulled again"));
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            let here = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
            if tree::kind(&here) != FileType::RegularFile {
                return Err(failed(Errno::EXIST.into()));
            }
            let named = tree::look(folder.as_fd(), name).map_err(failed)?;
            if named.is_some_and(|named| (named.st_dev, named.st_ino) == (here.st_dev, here.st_ino)) {
                return Ok(Lock { folder, name: name.to_owned(), _file: file });
            }
        }
    }

    /// The folder that the lock stands in.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Removes the file and lets go.
    pub(super) fn release(self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty())?)
    }
}

/// Another user has begun a pull into a folder, and has left what this one may not touch.
pub(super) fn somebody_elses(dest: &str) -> Error {
    let what = format!("somebody else is pulling into {}, or has begun to", Shown(dest));
    Error::new(Code::PermissionDenied, what).with_help("have him finish, or remove what his pull has left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_gone_for_good_is_an_error() {
        let dir = testkit::temporary().unwrap();
        let path = dir.path().join("gone");
        std::fs::create_dir(&path).unwrap();
        let folder = tree::open(rustix::fs::CWD, &path).unwrap();
        std::fs::remove_dir(&path).unwrap();
        let open = || folder.try_clone();
        let error = Lock::take(&open, "lock".as_ref(), false, "dest", &Run::new()).unwrap_err();
        assert_eq!(error.code(), Code::IoFailed);
    }
}
