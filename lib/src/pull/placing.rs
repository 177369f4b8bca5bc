//! The last steps: what is verified and safe on disk comes into its place.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::{CStr, OsStr},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Access, AtFlags, FileType, Mode, RenameFlags, Stat},
    io::Errno,
};

use super::{
    folders_above,
    journal::{Journal, Phase},
    place::{LOST_AND_FOUND, Old, Place, SIGNATURE, failed},
    staging::{MODEL, Staging},
    tree,
};
use crate::{Bundle, Error, Run, fs::PUBLIC, source::local::PULL};

/// Makes the new model whole beside the old one and exchanges them in one step.
///
/// # Errors
/// Until the exchange the old model is as it was: `changed-while-read` where somebody changed it meanwhile, `disk-full`,
/// `io-failed`.
pub(super) fn exchange(
    place: &Place,
    staging: &Staging,
    mut journal: Journal,
    signature: &Bundle,
    run: &Run,
) -> Result<(), Error> {
    let failed = |error| failed(&place.path, error);
    let Some((above, name)) = &place.beside else { return Err(failed(Errno::BUSY.into())) };
    let container = staging.container.as_fd();
    let model = tree::open_or_make(container, MODEL, tree::OPEN_TO_READERS).map_err(failed)?;
    let inode = rustix::fs::fstat(&model).map_err(|error| failed(error.into()))?.st_ino;
    // By this the next pull knows whether what it finds there is the new model or the old one.
    (journal.phase, journal.folder) = (Phase::Placing, Some(inode));
    staging.write_journal(&journal).map_err(failed)?;
    move_files(staging, model.as_fd(), true).map_err(failed)?;
    tree::write(model.as_fd(), SIGNATURE, signature.to_json().as_bytes(), PUBLIC).map_err(failed)?;
    if let Some(old) = &place.old {
        narrow(model.as_fd(), old.folder.as_fd()).map_err(failed)?;
    }
    tree::sync(container).map_err(failed)?;

    run.check()?;
    place.unchanged()?;
    let exchanged = match &place.old {
        Some(old) => {
            let stood = (old.stamp.device, old.stamp.inode);
            match exchange_folders(container, above.as_fd(), name, stood) {
                Ok(true) => Ok(()),
                Ok(false) => return Err(place.changed()),
                Err(error) => Err(error),
            }
        }
        None => tree::rename_new(container, MODEL, above.as_fd(), name.as_os_str()),
    };
    exchanged.map_err(|error: io::Error| match Errno::from_io_error(&error) {
        Some(Errno::EXIST | Errno::NOENT | Errno::NOTEMPTY) => place.changed(),
        Some(Errno::XDEV | Errno::BUSY | Errno::INVAL | Errno::PERM | Errno::ACCESS) => failed(error)
            .with_help("the folder cannot be exchanged as a whole: pull into it in place (--in-place)"),
        _ => failed(error),
    })?;
    tree::sync(above).map_err(failed)
}

/// Takes from a folder what nobody but its owner may do in the one that it replaces.
fn narrow(model: BorrowedFd<'_>, old: BorrowedFd<'_>) -> io::Result<()> {
    let (own, old) = (rustix::fs::fstat(model)?.st_mode, rustix::fs::fstat(old)?.st_mode);
    let narrowed = own & (old | tree::OURS_ALONE);
    match narrowed == own {
        true => Ok(()),
        false => Ok(rustix::fs::fchmod(model, Mode::from_raw_mode(narrowed))?),
    }
}

/// Exchanges the new model with the old one; whether what was taken away is what stood there, by its device and inode. Where
/// somebody has put something else there, it is given back.
fn exchange_folders(
    container: BorrowedFd<'_>,
    above: BorrowedFd<'_>,
    name: &OsStr,
    stood: (u64, u64),
) -> io::Result<bool> {
    let inode = |stat: Option<Stat>| stat.map(|stat| (stat.st_dev, stat.st_ino));
    let exchange = || rustix::fs::renameat_with(container, MODEL, above, name, RenameFlags::EXCHANGE);
    let ours = inode(tree::look(container, MODEL)?);
    exchange()?;
    if inode(tree::look(container, MODEL)?) == Some(stood) {
        return Ok(true);
    }
    if exchange().is_err() || inode(tree::look(container, MODEL)?) != ours {
        // Whatever it is, it is not ours to be removed.
        rustix::fs::renameat(container, MODEL, container, NOT_OURS)?;
        let what = format!(
            "somebody has put another folder there, which is kept as {NOT_OURS} in the one where the pull stages"
        );
        return Err(io::Error::other(what));
    }
    Ok(false)
}

/// What was taken away and is not ours, in the folder where a pull stages.
const NOT_OURS: &str = "not-ours";

/// Whether folders can be exchanged here at all: not every network file system can.
pub(super) fn can_exchange(container: BorrowedFd<'_>) -> io::Result<bool> {
    let probes = ["probe-a", "probe-b"];
    for probe in probes {
        tree::open_or_make(container, probe, tree::OURS_ALONE)?;
    }
    let [one, other] = probes;
    let exchanged = rustix::fs::renameat_with(container, one, container, other, RenameFlags::EXCHANGE);
    for probe in [c"probe-a", c"probe-b"] {
        tree::remove(container, probe)?;
    }
    match exchanged {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Renames the files of the new model into the folder, one by one, the signature last. Readers are told by the journal. What
/// the model does not have is removed first, if it is to be.
///
/// # Errors
/// `disk-full`, `io-failed`. The journal stays then, and the model is not whole until a pull comes to its end.
pub(super) fn in_place(
    place: &Place,
    old: &Old,
    staging: &Staging,
    mut journal: Journal,
    signature: &Bundle,
    prunes: bool,
) -> Result<(), Error> {
    let failed = |error| failed(&place.path, error);
    let container = staging.container.as_fd();
    let folder = old.folder.as_fd();
    // Before anything is touched: there is room for it.
    let bundle = signature.to_json();
    tree::write_new(container, SIGNATURE, bundle.as_bytes(), PUBLIC).map_err(failed)?;
    make_folders(folder, staging).map_err(failed)?;
    journal.phase = Phase::Placing;
    staging.write_journal(&journal).map_err(failed)?;
    tree::sync(folder).map_err(failed)?;
    if prunes {
        prune(folder, staging).map_err(failed)?;
    }
    move_files(staging, folder, false).map_err(failed)?;
    rustix::fs::renameat(container, SIGNATURE, folder, SIGNATURE).map_err(|error| failed(error.into()))?;
    tree::sync(folder).map_err(failed)
}

/// Makes all folders that the new model needs, and looks whether they can be written to. When it fails there is none of those
/// that it has made.
fn make_folders(to: BorrowedFd<'_>, staging: &Staging) -> io::Result<()> {
    let names = staging.files.iter().filter(|file| !file.is_kept).map(|file| file.name.as_str());
    // Those above come before those in them.
    let folders: BTreeSet<&str> = folders_above(names).into_iter().collect();
    let mut made = Vec::new();
    let done = is_writable(to)
        .and_then(|()| folders.into_iter().try_for_each(|folder| make_folder(to, folder, &mut made)));
    if done.is_err() {
        for (above, name) in made.into_iter().rev() {
            // An empty folder that stays is no part of a model.
            let _ = rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR);
        }
    }
    done
}

fn make_folder<'a>(to: BorrowedFd<'_>, path: &'a str, made: &mut Vec<(OwnedFd, &'a str)>) -> io::Result<()> {
    let mut at = tree::open(to, ".")?;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(tree::OPEN_TO_READERS)) {
            Ok(()) => {
                let above = at.try_clone()?;
                at = tree::open(at.as_fd(), part)?;
                made.push((above, part));
            }
            Err(Errno::EXIST) => match tree::look(at.as_fd(), part)? {
                Some(stat) if tree::kind(&stat) == FileType::Directory => {
                    at = tree::open(at.as_fd(), part)?;
                }
                // What stands in the way is removed first.
                _ => return Ok(()),
            },
            Err(error) => return Err(error.into()),
        }
        if parts.peek().is_none() {
            is_writable(at.as_fd())?;
        }
    }
    Ok(())
}

fn is_writable(folder: BorrowedFd<'_>) -> io::Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(folder, ".", access, AtFlags::empty())?)
}

/// Moves every staged file to its name beneath `to`, folders made on the way, and syncs the folders.
fn move_files(staging: &Staging, to: BorrowedFd<'_>, is_new: bool) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    let mut here = ("", tree::open(to, ".")?);
    for (number, file) in staging.files.iter().enumerate().filter(|(_, file)| !file.is_kept) {
        let (folder, leaf) = file.name.rsplit_once('/').unwrap_or(("", &file.name));
        if here.0 != folder {
            here = (folder, tree::open_or_make_path(to, folder)?);
        }
        let mut above = folder;
        while folders.insert(above) && !above.is_empty() {
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
        }
        let number = number.to_string();
        if is_new {
            tree::rename_new(staging.folder.as_fd(), number.as_str(), here.1.as_fd(), leaf)?;
        } else {
            rustix::fs::renameat(&staging.folder, number, &here.1, leaf)?;
        }
    }
    // The deepest first.
    for folder in folders.into_iter().rev() {
        tree::sync(tree::open_or_make_path(to, folder)?)?;
    }
    tree::sync(&staging.folder)
}

/// Removes what the new model does not have, and whatever stands in the way of its files and folders.
fn prune(folder: BorrowedFd<'_>, staging: &Staging) -> io::Result<()> {
    let folders = folders_above(staging.files.iter().map(|file| file.name.as_str()));
    let stays = [PULL, LOST_AND_FOUND];
    for name in tree::names(folder)? {
        if name.to_str().is_ok_and(|name| stays.contains(&name)) {
            continue;
        }
        prune_one(folder, "", &name, staging, &folders)?;
    }
    Ok(())
}

fn prune_one(
    at: BorrowedFd<'_>,
    path: &str,
    name: &CStr,
    staging: &Staging,
    folders: &HashSet<&str>,
) -> io::Result<()> {
    let slash = if path.is_empty() { "" } else { "/" };
    // A name that is no text is no name of a file that was signed.
    let Ok(text) = name.to_str() else { return tree::remove(at, name) };
    let full = format!("{path}{slash}{text}");
    let Some(found) = tree::look(at, name)? else { return Ok(()) };
    let is_folder = tree::kind(&found) == FileType::Directory;
    let stays = if is_folder {
        folders.contains(full.as_str())
    } else {
        full == SIGNATURE || staging.find(&full).is_some()
    };
    if !stays {
        return tree::remove(at, name);
    }
    if is_folder {
        let inner = tree::open(at, name)?;
        for name in tree::names(inner.as_fd())? {
            prune_one(inner.as_fd(), &full, &name, staging, folders)?;
        }
    }
    Ok(())
}

/// Names at the top of a folder that a pull uses itself, so that no file of a model can have them.
pub(super) const RESERVED: [&str; 2] = [SIGNATURE, PULL];

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn only_what_stood_there_is_taken_away() {
        let dir = testkit::temporary().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["container/model", "dest", "precious"] {
            fs::create_dir_all(path(name)).unwrap();
            fs::write(path(name).join("x"), name).unwrap();
        }
        let stat = path("dest").metadata().unwrap();
        let above = tree::open(rustix::fs::CWD, dir.path()).unwrap();
        let container = tree::open(above.as_fd(), "container").unwrap();
        let exchange = || {
            let stood = (stat.dev(), stat.ino());
            exchange_folders(container.as_fd(), above.as_fd(), "dest".as_ref(), stood).unwrap()
        };
        let says = |name: &str| fs::read_to_string(path(name).join("x")).unwrap();
        // Somebody has put another folder there after it was looked at.
        fs::rename(path("dest"), path("away")).unwrap();
        fs::rename(path("precious"), path("dest")).unwrap();
        assert!(!exchange());
        assert_eq!([says("dest"), says("container/model")], ["precious", "container/model"]);
        fs::rename(path("dest"), path("precious")).unwrap();
        fs::rename(path("away"), path("dest")).unwrap();
        assert!(exchange());
        assert_eq!([says("dest"), says("container/model")], ["container/model", "dest"]);
    }
}
