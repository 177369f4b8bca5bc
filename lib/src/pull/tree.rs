//! Folders by their handles: made, removed, written and synced without ever following a link.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat},
    io::Errno,
    path::Arg,
};

use crate::limits;

/// How folders are opened: themselves, never what a link leads to.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Permissions of folders of a model, before the umask.
pub(super) const OPEN_TO_READERS: u32 = 0o755;
/// Permissions of folders that are nobody else's business.
pub(super) const OURS_ALONE: u32 = 0o700;

/// Opens a folder in another one.
pub(super) fn open(at: BorrowedFd<'_>, name: impl Arg) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, name, FOLDER, Mode::empty())?)
}

/// Opens a folder in another one, and makes it if it is not there.
pub(super) fn open_or_make(at: BorrowedFd<'_>, name: impl Arg + Copy, mode: u32) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => open(at, name),
        Err(error) => Err(error.into()),
    }
}

/// Opens the folder of this path, of plain parts, and makes what of it is not there.
pub(super) fn open_or_make_path(at: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let mut folder = open(at, ".")?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        folder = open_or_make(folder.as_fd(), part, OPEN_TO_READERS)?;
    }
    Ok(folder)
}

/// What stands under a name, links themselves; none where nothing does.
pub(super) fn look(at: BorrowedFd<'_>, name: impl Arg) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What kind of thing a look saw.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The names in a folder, in no particular order.
pub(super) fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for item in Dir::read_from(folder)? {
        let item = item?;
        if ![&b"."[..], b".."].contains(&item.file_name().to_bytes()) {
            names.push(item.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Removes whatever stands under a name, with all that is in it; nothing there is no error.
pub(super) fn remove(at: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    remove_below(at, name, 0)
}

fn remove_below(at: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
    // Most things are files; a folder says so. Some systems say "not allowed" of a folder.
    let folder = match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => open_to_empty(at, name)?,
        Err(error) => match look(at, name)? {
            Some(stat) if kind(&stat) == FileType::Directory => open_to_empty(at, name)?,
            _ => return Err(error.into()),
        },
    };
    if depth > 2 * limits::FOLDER_DEPTH {
        return Err(io::Error::other("folders lie too deep in each other"));
    }
    for inner in names(folder.as_fd())? {
        remove_below(folder.as_fd(), &inner, depth + 1)?;
    }
    match rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a folder that is to be emptied: of ours, if need be made writable; never one where something is mounted, which is no
/// part of what is removed.
fn open_to_empty(at: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let folder = match open(at, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(at, name).map_err(|_| error)?;
            open(at, name)?
        }
        folder => folder?,
    };
    if is_mounted(at, folder.as_fd())? {
        return Err(Errno::BUSY.into());
    }
    let stat = rustix::fs::fstat(&folder)?;
    if stat.st_mode & OURS_ALONE != OURS_ALONE {
        // Where this is refused, removing what is in it will say so.
        let _ = rustix::fs::fchmod(&folder, Mode::from_raw_mode(OURS_ALONE));
    }
    Ok(folder)
}

/// Lets its owner into a folder: by its handle, so that no link is followed that somebody puts there.
#[cfg(target_os = "linux")]
fn unlock(at: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(at, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(OURS_ALONE))?)
}

/// The portable twin cannot.
#[cfg(not(target_os = "linux"))]
fn unlock(_: BorrowedFd<'_>, _: &CStr) -> io::Result<()> {
    Err(Errno::NOTSUP.into())
}

/// Whether something is mounted on a folder, which was opened in another one.
fn is_mounted(at: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> io::Result<bool> {
    let device = |folder| rustix::fs::fstat(folder).map(|stat| stat.st_dev);
    Ok(device(at)? != device(folder)? || is_mount_root(folder, None))
}

/// Whether another file system, or another part of the same one, is mounted there, as far as the kernel tells (Linux 5.8).
pub(super) fn is_mount_point(above: BorrowedFd<'_>, name: &OsStr) -> bool {
    is_mount_root(above, Some(name))
}

#[cfg(target_os = "linux")]
fn is_mount_root(at: BorrowedFd<'_>, name: Option<&OsStr>) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags};

    let flags = if name.is_some() { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::EMPTY_PATH };
    match rustix::fs::statx(at, name.unwrap_or_default(), flags, StatxFlags::BASIC_STATS) {
        Ok(found) => found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        Err(Errno::NOSYS) => false,
        Err(_) => true,
    }
}

/// The portable twin: the device alone tells.
#[cfg(not(target_os = "linux"))]
fn is_mount_root(_: BorrowedFd<'_>, _: Option<&OsStr>) -> bool {
    false
}

/// A folder or file somewhere in this folder on which something is mounted, by its path in it.
pub(super) fn mount_below(folder: BorrowedFd<'_>) -> io::Result<Option<PathBuf>> {
    mount_in(folder, 0)
}

fn mount_in(folder: BorrowedFd<'_>, depth: usize) -> io::Result<Option<PathBuf>> {
    if depth > 2 * limits::FOLDER_DEPTH {
        return Err(io::Error::other("folders lie too deep in each other"));
    }
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if [".", ".."].iter().any(|own| name == *own) {
            continue;
        }
        if is_mount_point(folder, name) && matches!(look(folder, name), Ok(Some(_))) {
            return Ok(Some(name.into()));
        }
        if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            continue;
        }
        // What cannot be looked into is not looked into when it is removed either.
        let Ok(inner) = open(folder, name) else { continue };
        if is_mounted(folder, inner.as_fd())? {
            return Ok(Some(name.into()));
        }
        if let Some(below) = mount_in(inner.as_fd(), depth + 1)? {
            return Ok(Some(PathBuf::from(name).join(below)));
        }
    }
    Ok(None)
}

/// Makes a folder's names survive a crash; file systems that cannot sync a folder do not lose them either way.
pub(super) fn sync(folder: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::BADF) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file in a folder for reading, without waiting for a pipe.
pub(super) fn open_file(at: BorrowedFd<'_>, name: impl Arg) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::openat(at, name, flags, Mode::empty())?))
}

/// Writes a file whole or not at all: under a name of its own, synced, renamed over what stands there; the folder is synced
/// too.
pub(super) fn write(at: BorrowedFd<'_>, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = format!("{name}.new");
    write_new(at, &beside, bytes, mode)?;
    rustix::fs::renameat(at, &beside, at, name)?;
    sync(at)
}

/// Writes a file that nobody looks for, in the place of what stands there, and syncs it.
pub(super) fn write_new(at: BorrowedFd<'_>, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(at, name, flags, Mode::from_raw_mode(mode))?);
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames, refusing to replace what stands there.
pub(super) fn rename_new<P: Arg + Copy, Q: Arg + Copy>(
    from: BorrowedFd<'_>,
    name: P,
    to: BorrowedFd<'_>,
    new: Q,
) -> io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        // A file system that cannot do so in one step: nobody else knows of the folder, so that a look before is as good.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match look(to, new)? {
            Some(_) => Err(Errno::EXIST.into()),
            None => Ok(rustix::fs::renameat(from, name, to, new)?),
        },
        done => Ok(done?),
    }
}
