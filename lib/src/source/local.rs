//! Models on disk, the Hub's cache included.
//!
//! Everything is opened by directory handles: a link that is swapped in while the model is walked is not followed.

use std::{
    ffi::CString,
    fmt,
    fs::File,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    Entry, FileStamp, Kind, Source, Stamp,
    hub_cache::{BLOBS, HubRepository, SHARED},
};
use crate::{Error, Run, code::Code, limits, report::Finding, shown::Shown, sys::kernel};

mod links;
mod settle;

pub(crate) use settle::Settled;

/// How long ago a file must have been changed for its next change to show in its times: the coarsest clock of file systems
/// ticks every 10 ms.
const SETTLED: Duration = Duration::from_millis(20);

/// A model on disk: a folder, or a single file.
#[derive(Debug)]
pub struct Local {
    /// As the user gave it.
    given: PathBuf,
    shown: String,
    /// The model's folder, or that of the single file; free of links.
    path: PathBuf,
    root: OwnedFd,
    /// The one file, where the model is a single file.
    only: Option<String>,
    hub: Option<HubRepository>,
    /// It is looked at by whoever pulls into it: what he keeps there does not count.
    pulling: bool,
}

/// What a pull keeps at the top of a folder that it pulls into, as long as the model there is not whole.
pub(crate) const PULL: &str = ".weightseal";

/// What it keeps there from the first moment to the last.
pub(crate) const JOURNAL: &str = "journal";

impl Local {
    /// Opens a model at a path: a folder with files in it, or one file.
    ///
    /// # Errors
    /// `model-absent`, `permission-denied`, `io-failed`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let given = path.as_ref();
        let shown = given.display().to_string();
        let failed = |error| Error::io("open the model", &shown, error, Code::ModelAbsent);
        let metadata = given.metadata().map_err(failed)?;
        let (folder, only) = if metadata.is_dir() {
            (given.canonicalize().map_err(failed)?, None)
        } else {
            let name = given.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Error::new(Code::FileNameInvalid, format!("the name of {} is not valid UTF-8", Shown(&shown)))
            })?;
            let folder =
                given.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (folder.canonicalize().map_err(failed)?, Some(name.to_owned()))
        };
        let root = open_folder(&folder).map_err(failed)?;
        if only.is_none() && HubRepository::is_one(&folder) {
            return Err(Error::new(
                Code::ModelAbsent,
                format!("{} is a repository of the Hub's cache, not a model", Shown(&shown)),
            )
            .with_help("give one of its snapshots: the folder snapshots/REVISION in it"));
        }
        let hub = HubRepository::find(&folder);
        Ok(Local { given: given.to_owned(), shown, path: folder, root, only, hub, pulling: false })
    }

    /// A folder that this process is pulling into.
    ///
    /// # Errors
    /// As [`open`](Local::open).
    pub(crate) fn open_pulling(path: &Path) -> Result<Self, Error> {
        Ok(Local { pulling: true, ..Local::open(path)? })
    }

    /// The model's folder as it was opened.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Refuses a folder that a pull has not finished with: old files may stand beside new ones.
    fn not_pulled_into(&self) -> Result<(), Error> {
        let look = |name: &str| rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = look(PULL).and_then(|stat| match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(stat),
            // Whatever it is besides is listed like any other entry, unless it leads to a journal.
            _ => look(&format!("{PULL}/{JOURNAL}")),
        });
        match found {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Ok(_) => Err(Error::new(
                Code::PullUnfinished,
                format!("a pull into {} is under way, or was cut", Shown(&self.path.display().to_string())),
            )),
            Err(error) => {
                let path = self.path.join(PULL);
                Err(Error::io("look at", path.display(), error.into(), Code::ChangedWhileRead))
            }
        }
    }

    /// The folder of the model, free of links; for a single file, the folder it is in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn walk(&self, folder: OwnedFd, prefix: &str, depth: usize, walk: &mut Walk<'_>) -> Result<(), Error> {
        let unreadable = |error: Errno| {
            Error::io("list", self.path.join(prefix).display(), error.into(), Code::ChangedWhileRead)
        };
        if depth > limits::FOLDER_DEPTH {
            return Err(Error::new(
                Code::TooManyEntries,
                format!("{:?} lies more than {} folders deep", Shown(prefix), limits::FOLDER_DEPTH),
            ));
        }
        let mut listing = Dir::read_from(&folder).map_err(unreadable)?;
        let mut items = Vec::new();
        loop {
            let item = listing.read().transpose().map_err(unreadable)?;
            let ended = item.is_none();
            if let Some(item) = item.filter(|item| ![&b"."[..], b".."].contains(&item.file_name().to_bytes()))
            {
                items.push(Item {
                    name: item.file_name().to_owned(),
                    is_folder: item.file_type() == FileType::Directory,
                    stat: None,
                });
            }
            if ended || items.len() >= BATCH {
                walk.run.check()?;
                stat_all(&folder, &mut items);
                for item in items.drain(..) {
                    self.visit(&folder, prefix, depth, item, walk)?;
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Adds one item of a folder, and all that is below it.
    fn visit(
        &self,
        folder: &OwnedFd,
        prefix: &str,
        depth: usize,
        item: Item,
        walk: &mut Walk<'_>,
    ) -> Result<(), Error> {
        let raw = item.name.to_bytes();
        if self.pulling && prefix.is_empty() && raw == PULL.as_bytes() {
            return Ok(());
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        let name = format!("{prefix}{slash}{}", String::from_utf8_lossy(raw));
        if std::str::from_utf8(raw).is_err() || name.len() > limits::NAME_BYTES {
            return walk.add(Entry::plain(name, Kind::BadName));
        }
        match item.stat {
            Some(Ok(stat)) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
                walk.add(self.entry(name, &stat))
            }
            Some(Err(error)) => walk.add(unreadable_entry(name, error)),
            _ => match rustix::fs::openat(folder, &item.name, FOLDER, Mode::empty()) {
                Ok(inner) => {
                    walk.add(Entry::plain(name.clone(), Kind::Folder))?;
                    self.walk(inner, &name, depth + 1, walk)
                }
                Err(error) => walk.add(unreadable_entry(name, error)),
            },
        }
    }

    /// The entry of something that is no folder.
    fn entry(&self, name: String, stat: &Stat) -> Entry {
        let here = FileStamp::of(stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Entry {
                name,
                kind: Kind::File,
                real: None,
                through: None,
                size: here.size,
                stamp: Stamp { file: here, ..Stamp::default() },
                stated: None,
            },
            FileType::Symlink => match self.resolve(&name) {
                Ok((kind, real, target)) => {
                    let target = target.unwrap_or_default();
                    Entry {
                        name,
                        kind,
                        real,
                        through: None,
                        size: target.size,
                        stamp: Stamp { file: target, link: Some(here), tag: None },
                        stated: None,
                    }
                }
                Err(error) => unreadable_entry(name, error),
            },
            other => Entry {
                name,
                kind: Kind::Special(special(other)),
                real: None,
                through: None,
                size: 0,
                stamp: Stamp { file: here, ..Stamp::default() },
                stated: None,
            },
        }
    }

    fn open_entry(&self, entry: &Entry) -> Result<File, Error> {
        let location = entry.location();
        let hub = self.hub.as_ref();
        let blob = location.strip_prefix(BLOBS).zip(hub.map(|hub| &hub.root));
        let shared = location.strip_prefix(SHARED).zip(hub.and_then(|hub| Some(&hub.cache.as_ref()?.1)));
        let opened = match shared.or(blob) {
            Some((blob, holder)) => {
                kernel::open_beneath(holder.as_fd(), &format!("blobs/{blob}"), OFlags::RDONLY)
            }
            None => kernel::open_beneath(self.root.as_fd(), location, OFlags::RDONLY),
        };
        opened
            .map(File::from)
            .map_err(|error| failed_to_open(entry, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
}

/// How folders are opened: themselves, never what a link leads to.
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) fn open_folder(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FOLDER, Mode::empty())?)
}

fn unreadable_entry(name: String, error: Errno) -> Entry {
    let finding = Error::io("read", &name, error.into(), Code::ChangedWhileRead).into_finding();
    let finding = if matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::NOENT) {
        Finding::new(Code::ChangedWhileRead, format!("{:?} changed while the model was listed", Shown(&name)))
    } else {
        finding
    };
    Entry {
        kind: Kind::Unreadable(Box::new(finding.about(name.clone()))),
        name,
        real: None,
        through: None,
        size: 0,
        stamp: Stamp::default(),
        stated: None,
    }
}

fn failed_to_open(entry: &Entry, error: Errno) -> Error {
    match error {
        Errno::LOOP | Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::NXIO => changed(entry),
        error => Error::io("open", &entry.name, error.into(), Code::ChangedWhileRead).with_name(&entry.name),
    }
}

fn changed(entry: &Entry) -> Error {
    Error::new(Code::ChangedWhileRead, format!("{:?} changed while it was read", Shown(&entry.name)))
        .with_name(&entry.name)
}

/// Whether an opened file is still the one that was listed.
fn same_as_listed(file: &File, entry: &Entry) -> Result<(), Error> {
    let stat = rustix::fs::fstat(file).map_err(|error| failed_to_open(entry, error))?;
    if FileStamp::of(&stat) == entry.stamp.file { Ok(()) } else { Err(changed(entry)) }
}

fn special(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "special file",
    }
}

impl FileStamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanoseconds = |seconds: i128, rest: i128| seconds * 1_000_000_000 + rest;
        FileStamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: nanoseconds(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            changed: nanoseconds(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        }
    }
}

/// Hands entries on, and bounds and interrupts the walk.
/// How many names of a folder are looked at together.
const BATCH: usize = 4096;

/// Another thread pays for itself with so many names to look at, and so many at most: on a disk they save little, on a network
/// most of the time.
const STATS_A_THREAD: usize = 512;

/// Something in a folder.
struct Item {
    name: CString,
    /// As the folder says, which on some file systems it does not.
    is_folder: bool,
    /// What it is, where it is not known to be a folder.
    stat: Option<Result<Stat, Errno>>,
}

/// Looks at all of them, several at a time.
fn stat_all(folder: &OwnedFd, items: &mut [Item]) {
    let stat_each = |items: &mut [Item]| {
        for item in items.iter_mut().filter(|item| !item.is_folder && item.stat.is_none()) {
            item.stat = Some(rustix::fs::statat(folder, &item.name, AtFlags::SYMLINK_NOFOLLOW));
        }
    };
    std::thread::scope(|scope| {
        let (here, others) = items.split_at_mut(items.len().min(STATS_A_THREAD));
        for part in others.chunks_mut(STATS_A_THREAD) {
            // Where the system gives no thread, the rest is looked at below.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || stat_each(part));
        }
        stat_each(here);
    });
    stat_each(items);
}

struct Walk<'a> {
    run: &'a Run,
    count: usize,
    each: &'a mut dyn FnMut(Entry) -> Result<(), Error>,
}

impl Walk<'_> {
    fn add(&mut self, entry: Entry) -> Result<(), Error> {
        self.count += 1;
        if self.count % 128 == 1 {
            self.run.check()?;
        }
        if self.count > limits::ENTRIES {
            return Err(Error::new(
                Code::TooManyEntries,
                format!("the model has more than {} entries", limits::ENTRIES),
            ));
        }
        (self.each)(entry)
    }
}

impl Source for Local {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        if !self.pulling {
            self.not_pulled_into()?;
        }
        let mut walk = Walk { run, count: 0, each };
        let Some(only) = &self.only else {
            let failed = |error: Errno| Error::io("list", &self.shown, error.into(), Code::ChangedWhileRead);
            let root = rustix::fs::openat(&self.root, ".", FOLDER, Mode::empty()).map_err(failed)?;
            return self.walk(root, "", 0, &mut walk);
        };
        match rustix::fs::statat(&self.root, only, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let mut entry = self.entry(only.clone(), &stat);
                // The one file is the model: whatever a link in its place leads to lies outside, but for a Hub's blob.
                if matches!(entry.kind, Kind::LinkToFile | Kind::LinkToFolder) {
                    entry.kind = Kind::LinkOut;
                }
                walk.add(entry)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(error) => walk.add(unreadable_entry(only.clone(), error)),
        }
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        let file = self.open_entry(entry)?;
        same_as_listed(&file, entry)?;
        if offset >= entry.size {
            return Ok(0);
        }
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            run.check()?;
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(
                        Error::io("read", &entry.name, error, Code::ChangedWhileRead).with_name(&entry.name)
                    );
                }
            }
        }
        Ok(done)
    }

    fn file(&self, entry: &Entry, _run: &Run) -> Result<Option<File>, Error> {
        let file = self.open_entry(entry)?;
        // Pages that somebody dirtied through a mapping become write-protected, so that his next write moves the times.
        kernel::write_out(&file);
        same_as_listed(&file, entry)?;
        // Some file systems say no length, or a wrong one; what lies behind it would be loaded and never hashed.
        if file.read_at(&mut [0], entry.size).is_ok_and(|read| read > 0) {
            return Err(changed(entry));
        }
        wait_until_settled(entry.stamp.file.changed);
        Ok(Some(file))
    }

    fn unmoved(&self, _run: &Run) -> Result<(), Error> {
        let given = match self.only {
            None => self.given.as_path(),
            Some(_) => {
                self.given.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
            }
        };
        let hub = self.hub.iter().map(|hub| (hub.path.as_path(), &hub.root));
        let cache = self.hub.iter().filter_map(|hub| hub.cache.as_ref());
        let cache = cache.map(|(path, handle)| (path.as_path(), handle));
        for (path, handle) in std::iter::once((given, &self.root)).chain(hub).chain(cache) {
            let opened = rustix::fs::fstat(handle).map(|stat| (stat.st_dev, stat.st_ino));
            let found = rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
            if opened.is_err() || opened != found {
                return Err(Error::new(
                    Code::ChangedWhileRead,
                    format!("{} was replaced while it was read", Shown(&path.display().to_string())),
                ));
            }
        }
        Ok(())
    }

    fn is_single_file(&self) -> bool {
        self.only.is_some()
    }

    fn base_name(&self) -> String {
        match &self.only {
            Some(name) => name.clone(),
            None => self
                .path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_else(|| "model".to_owned()),
        }
    }
}

/// Waits out the clock tick in which a file was changed: a change in the same tick would leave its times as they are.
fn wait_until_settled(changed: i128) {
    let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return };
    let age = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX) - changed;
    if let Ok(age) = u64::try_from(age)
        && let Some(rest) = SETTLED.checked_sub(Duration::from_nanos(age))
    {
        std::thread::sleep(rest);
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
