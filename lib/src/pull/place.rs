//! Where a model is pulled to: what stands there now, and how the new one can come into its place.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, FileType};

use super::{
    Pull, container,
    journal::{Journal, Phase},
    tree,
};
use crate::{
    Bundle, Error,
    code::Code,
    fs::read_open,
    limits,
    shown::Shown,
    source::{FileStamp, local::PULL},
};

/// The name of the signature in a folder that was pulled.
pub(super) const SIGNATURE: &str = "model.sig";

/// What a disk's own root has, and no model.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// Longest name of a folder that has something beside it which is called after it, in bytes.
const NAME_BYTES: usize = 220;

/// How the new model comes into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is made whole beside the folder and exchanged with it in one step.
    Exchange,
    /// Its files are renamed into the folder one by one, under a journal.
    InPlace,
}

/// The folder that is pulled into.
#[derive(Debug)]
pub(super) struct Place {
    /// Its path, absolute.
    pub(super) path: PathBuf,
    /// The folder it is in and its name there; every place has them.
    pub(super) beside: Option<(OwnedFd, OsString)>,
    /// What stands there now.
    pub(super) old: Option<Old>,
    pub(super) way: Way,
}

/// A folder that is there already.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) folder: OwnedFd,
    pub(super) stamp: FileStamp,
    /// An earlier pull into it has left something there.
    is_unfinished: bool,
    /// Something else stands in the place of what a pull would leave in it.
    is_foreign: bool,
    /// The journal of an earlier pull into it which did not come to its end.
    pub(super) journal: Option<Journal>,
}

impl Place {
    /// Looks where a pull goes to, and changes nothing.
    ///
    /// # Errors
    /// `output-exists` where something stands that is no folder, or a folder with something in it that is no signed model;
    /// `bad-argument` where the folder above is missing; `permission-denied`, `io-failed`.
    pub(super) fn find(pull: &Pull) -> Result<Place, Error> {
        let failed = |error| failed(&pull.dest, error);
        let path = plain(&pull.dest).map_err(failed)?;
        let beside = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => {
                // The path to it may lead through links, as its user meant.
                let real = folder.canonicalize().map_err(failed)?;
                Some((tree::open(rustix::fs::CWD, &real).map_err(failed)?, name.to_owned()))
            }
            _ => None,
        };
        let Some(beside) = beside else {
            let what = format!("{} is the root of all folders", Shown(&path.display().to_string()));
            return Err(Error::new(Code::OutputExists, what).with_help("name a folder in it"));
        };
        let (above, name) = (beside.0.as_fd(), beside.1.as_os_str());
        let found = tree::look(above, name).map_err(failed)?;
        // Beside it there is to be room for names that are longer.
        let is_short = name.len() <= NAME_BYTES;
        let Some(found) = found else {
            if !is_short {
                let what = format!(
                    "the name of the folder {} is longer than {NAME_BYTES} bytes",
                    Shown(&path.display().to_string())
                );
                return Err(Error::new(Code::BadArgument, what).with_help("choose a shorter name"));
            }
            return Ok(Place { path, beside: Some(beside), old: None, way: Way::Exchange });
        };
        match tree::kind(&found) {
            FileType::Directory => {}
            kind => {
                let what = if kind == FileType::Symlink { "a symbolic link" } else { "no folder" };
                let what = format!("{} is {what}", Shown(&path.display().to_string()));
                return Err(Error::new(Code::OutputExists, what)
                    .with_help("name a folder, or one that is not there yet"));
            }
        }
        let folder = tree::open(above, name).map_err(failed)?;
        let stamp = stamp(folder.as_fd()).map_err(failed)?;
        let own = tree::look(folder.as_fd(), PULL).map_err(failed)?;
        let is_unfinished = own.is_some_and(|own| tree::kind(&own) == FileType::Directory);
        let is_foreign = is_unfinished
            && tree::open(folder.as_fd(), PULL)
                .and_then(|own| container::is_foreign(own.as_fd(), false))
                .unwrap_or(true);
        let journal = tree::open(folder.as_fd(), PULL).ok().and_then(|own| Journal::read(own.as_fd()));
        let old = Old { folder, stamp, is_unfinished, is_foreign, journal };
        let exchange = is_short && !pull.in_place && !pull.repair && !is_unfinished;
        let exchange = exchange && can_exchange(above, name, old.folder.as_fd());
        let way = if exchange { Way::Exchange } else { Way::InPlace };
        let place = Place { path, beside: Some(beside), old: Some(old), way };
        place.may_be_replaced(pull.force)?;
        Ok(place)
    }

    /// Its path, to be shown.
    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether what stands there was made by us or signed: anything else is not taken away.
    fn may_be_replaced(&self, force: bool) -> Result<(), Error> {
        // Files of a model that was being put there may stand without its signature.
        let is_placing =
            |old: &Old| old.journal.as_ref().is_some_and(|journal| journal.phase == Phase::Placing);
        let Some(old) = self.old.as_ref().filter(|old| !force && !is_placing(old)) else {
            return Ok(());
        };
        let names = tree::names(old.folder.as_fd()).map_err(|error| failed(&self.path, error))?;
        let counts = |name: &[u8]| {
            name != LOST_AND_FOUND.as_bytes()
                && !(name == PULL.as_bytes() && old.is_unfinished && !old.is_foreign)
        };
        if !names.iter().any(|name| counts(name.to_bytes())) {
            return Ok(());
        }
        let signature = tree::open_file(old.folder.as_fd(), SIGNATURE).ok().and_then(|file| {
            let read = read_open(
                file,
                SIGNATURE,
                limits::BUNDLE_BYTES,
                "the signature",
                Code::SignatureAbsent,
                Code::JsonTooLarge,
            );
            Bundle::parse(&read.ok()?).ok()
        });
        if signature.is_some() {
            return Ok(());
        }
        let what = format!(
            "the folder {} is not empty, and has no signature {SIGNATURE} as a model would that was pulled",
            Shown(&self.shown())
        );
        Err(Error::new(Code::OutputExists, what).with_help("choose another folder, empty it, or force it"))
    }

    /// Whether the folder is still what it was when it was looked at first.
    ///
    /// # Errors
    /// `changed-while-read` when it is not.
    pub(super) fn unchanged(&self) -> Result<(), Error> {
        let Some((above, name)) = &self.beside else { return Ok(()) };
        let found = tree::look(above.as_fd(), name.as_os_str()).map_err(|error| failed(&self.path, error))?;
        let now = found.map(|stat| FileStamp::of(&stat));
        if now == self.old.as_ref().map(|old| old.stamp) { Ok(()) } else { Err(self.changed()) }
    }

    pub(super) fn changed(&self) -> Error {
        let what = format!("{} changed while a model was pulled into it", Shown(&self.shown()));
        Error::new(Code::ChangedWhileRead, what)
            .with_help("pull again when nobody else writes there; nothing was replaced")
    }
}

/// What the file system says of a folder.
fn stamp(folder: BorrowedFd<'_>) -> io::Result<FileStamp> {
    Ok(FileStamp::of(&rustix::fs::fstat(folder)?))
}

/// An error about the folder.
pub(super) fn failed(path: &Path, error: io::Error) -> Error {
    let failed = Error::io("pull into", path.display(), error, Code::BadArgument);
    match failed.code() {
        Code::BadArgument => failed.with_help("check the path; the folder above it has to be there"),
        _ => failed,
    }
}

/// The absolute path of a folder whose last part is its name: what ends in `.` or `..` is resolved.
fn plain(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    // A slash at the end would follow a link.
    let absolute: PathBuf = absolute.components().collect();
    let ends_plainly =
        path.components().next_back().is_some_and(|part| matches!(part, std::path::Component::Normal(_)));
    if ends_plainly { Ok(absolute) } else { absolute.canonicalize() }
}

/// Whether the folder lies on the same file system as the one above it, and both may be written: a folder that is moved into
/// another one is written to, since it names the one above it.
fn can_exchange(above: BorrowedFd<'_>, name: &OsStr, folder: BorrowedFd<'_>) -> bool {
    let is_writable = |folder| {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(folder, ".", access, AtFlags::empty()).is_ok()
    };
    let (Ok(upper), Ok(own)) = (rustix::fs::fstat(above), rustix::fs::fstat(folder)) else { return false };
    // Under a sticky folder everybody moves what is his.
    let user = rustix::process::geteuid();
    let is_sticky = upper.st_mode & STICKY != 0;
    let moves = !is_sticky || user.is_root() || [upper.st_uid, own.st_uid].contains(&user.as_raw());
    moves
        && is_writable(above)
        && is_writable(folder)
        && upper.st_dev == own.st_dev
        && !tree::is_mount_point(above, name)
}

/// The sticky bit of a folder's mode.
const STICKY: u32 = 0o1000;
