//! What was fetched and is not yet in its place: one numbered file for each file of the model, a log of what was written to
//! them, and the journal.
//!
//! The log makes a cut pull cheaper to repeat, and nothing else: whatever is taken from here is hashed again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::{self, Write as _},
    ops::Range,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::fs::{FileType, Mode, OFlags};

use super::{journal::Journal, journal::Phase, log, ranges::Ranges, tree};
use crate::{
    Error, Run,
    code::Code,
    fs::PUBLIC,
    hash::Sink,
    report::Bytes,
    shown::Shown,
    source::{Entry, local::Local},
};

/// The folder of the numbered files.
pub(super) const STAGING: &str = "staging";
/// The new model, where it is made whole before it is exchanged with the old one.
pub(super) const MODEL: &str = "model";

/// So many bytes of a file are written before the log says so: what a killed process loses of each file.
const LOG_EVERY: u64 = 1 << 20;

/// So many bytes of a file are written before they are synced: bounds what has to be waited for at the end.
const SYNC_EVERY: u64 = 64 << 20;

/// Most numbered files that are open at once.
const OPEN_FILES: usize = 64;

/// How many files are synced at once.
const SYNCS: usize = 8;

/// A file of the model.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) name: String,
    pub(super) size: u64,
    /// What of it was staged before this pass.
    pub(super) part: Ranges,
    /// What of it can be had from the folder that is pulled into, and the file there.
    old: Option<(Entry, Ranges)>,
    /// The file in the folder that is pulled into is right, and stays.
    pub(super) is_kept: bool,
    now: Mutex<Now>,
}

/// What was written of a file in this pass.
#[derive(Debug, Default)]
struct Now {
    written: Ranges,
    unlogged: Ranges,
    unsynced: u64,
}

/// Where bytes of a file are had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The numbered file.
    Part,
    /// The file in the folder that is pulled into.
    Old,
    /// The source.
    Source,
}

/// What a pull keeps on disk while it fetches.
#[derive(Debug)]
pub(super) struct Staging {
    /// The folder of all this.
    pub(super) container: OwnedFd,
    /// The folder of the numbered files.
    pub(super) folder: OwnedFd,
    log: Mutex<File>,
    pub(super) files: Vec<Staged>,
    numbers: HashMap<String, usize>,
    open: Mutex<Open>,
    fetched: AtomicU64,
    /// Files of which bytes that were thought to be on this disk could not be read.
    unreadable: Mutex<HashSet<usize>>,
    /// The folder that is pulled into, where its files are made use of.
    old: Option<Local>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<usize, Arc<File>>,
    order: VecDeque<usize>,
}

impl Staging {
    /// Begins to stage these files, by name and size in bytes, in a folder that is locked and has a journal. What an earlier
    /// pull of the same model has left there is taken up, all else is removed.
    pub(super) fn begin(container: OwnedFd, resumes: bool, files: Vec<(String, u64)>) -> io::Result<Self> {
        if !resumes {
            for name in [c"staging", c"log", c"model"] {
                tree::remove(container.as_fd(), name)?;
            }
        }
        let folder = tree::open_or_make(container.as_fd(), STAGING, tree::OURS_ALONE)?;
        let numbers = files.iter().enumerate().map(|(number, (name, _))| (name.clone(), number)).collect();
        let staged = |(name, size)| Staged {
            name,
            size,
            part: Ranges::default(),
            old: None,
            is_kept: false,
            now: Mutex::default(),
        };
        let mut files: Vec<Staged> = files.into_iter().map(staged).collect();
        if resumes {
            take_up(container.as_fd(), folder.as_fd(), &mut files)?;
        }
        let log = log::begin(container.as_fd(), &files)?;
        Ok(Staging {
            container,
            folder,
            log: Mutex::new(log),
            files,
            numbers,
            open: Mutex::default(),
            fetched: AtomicU64::new(0),
            unreadable: Mutex::default(),
            old: None,
        })
    }

    /// Makes use of files in the folder that is pulled into: of each, by its number, the entry there and the bytes that were
    /// found right. Whole ones are kept as they are.
    pub(super) fn reuse(&mut self, old: Local, found: Vec<(usize, Entry, Ranges)>) {
        self.old = Some(old);
        for (number, entry, right) in found {
            let Some(file) = self.files.get_mut(number) else { continue };
            file.is_kept = entry.size == file.size && right.is_up_to(file.size);
            file.old = Some((entry, right));
        }
    }

    /// The number of a file, and the file.
    pub(super) fn find(&self, name: &str) -> Option<(usize, &Staged)> {
        let number = *self.numbers.get(name)?;
        Some((number, self.files.get(number)?))
    }

    /// Notes that bytes of a file which were thought to be on this disk cannot be read.
    pub(super) fn is_unreadable(&self, number: usize) {
        lock(&self.unreadable).insert(number);
    }

    /// Whether bytes of a file on this disk could be read whenever they were asked for.
    pub(super) fn was_readable(&self, name: &str) -> bool {
        self.find(name).is_none_or(|(number, _)| !lock(&self.unreadable).contains(&number))
    }

    /// Bytes that came from the source.
    pub(super) fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Whether anything is staged that another pull could go on with.
    pub(super) fn has_progress(&self) -> bool {
        self.files.iter().any(|file| file.part.total() > 0 || lock(&file.now).written.total() > 0)
    }

    /// Whether any of these bytes need not be fetched.
    pub(super) fn is_local(&self, name: &str, range: &Range<u64>) -> bool {
        self.find(name).is_some_and(|(_, file)| file.is_local(range))
    }

    /// Where the bytes `range` of a file are had from, in their order.
    pub(super) fn origins(&self, name: &str, range: &Range<u64>) -> Vec<(Range<u64>, Origin)> {
        match self.find(name) {
            Some((_, file)) => file.origins(range),
            None => vec![(range.clone(), Origin::Source)],
        }
    }

    /// Counts what was written in the last pass as staged.
    pub(super) fn absorb(&mut self) {
        for file in &mut self.files {
            let now = std::mem::take(file.now.get_mut().unwrap_or_else(PoisonError::into_inner));
            now.written.iter().for_each(|range| file.part.add(range.clone()));
            file.now = Mutex::new(Now { written: Ranges::default(), ..now });
        }
    }

    /// Forgets what is said to be there of these bytes, since it is wrong. Of a file that is kept nothing can be forgotten:
    /// it was right before; whether it was forgotten.
    pub(super) fn forget(&mut self, name: &str, range: &Range<u64>) -> bool {
        let Some(file) = self.numbers.get(name).and_then(|number| self.files.get_mut(*number)) else {
            return false;
        };
        if file.is_kept {
            return false;
        }
        file.part.remove(range);
        if let Some((_, right)) = &mut file.old {
            right.remove(range);
        }
        true
    }

    /// Refuses to begin what there is clearly no room for.
    ///
    /// # Errors
    /// `disk-full`.
    pub(super) fn has_room(&self, dest: &str) -> Result<(), Error> {
        let left = |file: &Staged| file.size - file.part.total().min(file.size);
        let needed = self.files.iter().filter(|file| !file.is_kept).map(left).fold(0, u64::saturating_add);
        let Ok(volume) = rustix::fs::fstatvfs(&self.folder) else { return Ok(()) };
        let room = volume.f_bavail.saturating_mul(volume.f_frsize);
        // Some file systems say nothing of their size.
        if volume.f_blocks == 0 || needed <= room {
            return Ok(());
        }
        let what =
            format!("{} has no room for {} more: {} are left", Shown(dest), Bytes(needed), Bytes(room));
        Err(Error::new(Code::DiskFull, what))
    }

    /// The numbered file, opened.
    fn part(&self, number: usize) -> io::Result<Arc<File>> {
        let mut open = lock(&self.open);
        if let Some(file) = open.files.get(&number) {
            return Ok(Arc::clone(file));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let name = number.to_string();
        let file = Arc::new(File::from(rustix::fs::openat(
            &self.folder,
            &name,
            flags,
            Mode::from_raw_mode(PUBLIC),
        )?));
        if open.order.len() >= OPEN_FILES
            && let Some(oldest) = open.order.pop_front()
        {
            open.files.remove(&oldest);
        }
        open.order.push_back(number);
        open.files.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Reads bytes of a file that need not be fetched; short where there are no more.
    pub(super) fn read(
        &self,
        number: usize,
        origin: Origin,
        offset: u64,
        buf: &mut [u8],
        run: &Run,
    ) -> Result<usize, Error> {
        let Some(staged) = self.files.get(number) else { return Ok(0) };
        if origin == Origin::Old {
            return match (&self.old, &staged.old) {
                (Some(local), Some((entry, _))) => {
                    crate::source::Source::read_at(local, entry, offset, buf, run)
                }
                _ => Ok(0),
            };
        }
        let failed =
            |error| Error::io("read again", &staged.name, error, Code::IoFailed).with_name(&staged.name);
        let file = self.part(number).map_err(failed)?;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(done)
    }

    fn note(&self, number: usize, ranges: &Ranges) -> io::Result<()> {
        lock(&self.log).write_all(log::lines(number, ranges).as_bytes())
    }

    /// Makes every file that is to be put in place whole on disk: none is missing a byte, and all survive a crash.
    ///
    /// # Errors
    /// `disk-full`, `io-failed`, `changed-while-read` where somebody else wrote there; the run's.
    pub(super) fn complete(&mut self, run: &Run) -> Result<(), Error> {
        self.absorb();
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = self.files.get(number) else { return };
                if let Err(error) = run.check().and_then(|()| self.complete_one(number, file)) {
                    lock(&failed).get_or_insert(error);
                    next.store(self.files.len(), Ordering::Relaxed);
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..SYNCS.min(self.files.len()) {
                // Where the system gives no thread, the others do the work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn complete_one(&self, number: usize, staged: &Staged) -> Result<(), Error> {
        if staged.is_kept {
            return Ok(());
        }
        let failed = |error| {
            Error::io("write out", &staged.name, error, Code::ChangedWhileRead).with_name(&staged.name)
        };
        if !staged.part.is_up_to(staged.size) {
            let what = format!("{:?} was verified and not written", Shown(&staged.name));
            return Err(Error::new(Code::Panicked, what).with_name(&staged.name));
        }
        let file = self.part(number).map_err(failed)?;
        let opened = rustix::fs::fstat(&*file).map_err(|error| failed(error.into()))?;
        let named = tree::look(self.folder.as_fd(), number.to_string()).map_err(failed)?;
        let same = named.is_some_and(|named| (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino));
        if !same || u64::try_from(opened.st_size) != Ok(staged.size) {
            let what = format!("{:?} was changed by somebody else while it was staged", Shown(&staged.name));
            return Err(Error::new(Code::ChangedWhileRead, what).with_name(&staged.name));
        }
        file.sync_all().map_err(failed)
    }

    /// Writes down all that can be taken up again, without these files, which are removed.
    pub(super) fn keep(mut self, bad: &HashSet<&str>) -> io::Result<()> {
        self.absorb();
        for (number, file) in self.files.iter_mut().enumerate() {
            if bad.contains(file.name.as_str()) {
                file.part = Ranges::default();
                remove_part(self.folder.as_fd(), number)?;
            }
        }
        log::begin(self.container.as_fd(), &self.files)?.sync_all()
    }

    /// Removes the numbered files and their log.
    pub(super) fn remove(&self) -> io::Result<()> {
        lock(&self.open).files.clear();
        for name in [c"staging", c"log", c"log.new"] {
            tree::remove(self.container.as_fd(), name)?;
        }
        Ok(())
    }

    /// Writes the journal with this phase.
    pub(super) fn write_journal(&self, journal: &Journal) -> io::Result<()> {
        journal.write(self.container.as_fd())
    }
}

impl Staged {
    fn is_local(&self, range: &Range<u64>) -> bool {
        self.is_kept
            || self.part.touches(range)
            || self.old.as_ref().is_some_and(|(_, right)| right.touches(range))
    }

    fn origins(&self, range: &Range<u64>) -> Vec<(Range<u64>, Origin)> {
        if self.is_kept {
            return vec![(range.clone(), Origin::Old)];
        }
        let nothing = Ranges::default();
        let old = self.old.as_ref().map_or(&nothing, |(_, right)| right);
        let mut origins = Vec::new();
        for (piece, staged) in self.part.split(range) {
            if staged {
                origins.push((piece, Origin::Part));
                continue;
            }
            for (piece, right) in old.split(&piece) {
                origins.push((piece, if right { Origin::Old } else { Origin::Source }));
            }
        }
        origins
    }
}

impl Sink for Staging {
    fn take(&self, entry: &Entry, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some((number, staged)) = self.find(&entry.name).filter(|(_, staged)| !staged.is_kept) else {
            return Ok(());
        };
        let failed = |error| Error::io("write", &staged.name, error, Code::IoFailed).with_name(&staged.name);
        let range = offset..offset.saturating_add(bytes.len() as u64);
        for piece in staged.part.missing(&range) {
            let from = usize::try_from(piece.start - offset).unwrap_or(usize::MAX);
            let to = usize::try_from(piece.end - offset).unwrap_or(usize::MAX);
            let file = self.part(number).map_err(failed)?;
            file.write_all_at(bytes.get(from..to).unwrap_or_default(), piece.start).map_err(failed)?;
            let length = piece.end - piece.start;
            let copied: u64 = staged
                .origins(&piece)
                .iter()
                .filter(|(_, origin)| *origin == Origin::Old)
                .map(|(range, _)| range.end - range.start)
                .sum();
            self.fetched.fetch_add(length - copied, Ordering::Relaxed);
            let mut now = lock(&staged.now);
            now.written.add(piece.clone());
            now.unlogged.add(piece);
            now.unsynced += length;
            let whole = staged.part.total() + now.written.total() >= staged.size;
            let unlogged = if whole || now.unlogged.total() >= LOG_EVERY {
                std::mem::take(&mut now.unlogged)
            } else {
                Ranges::default()
            };
            let sync = now.unsynced >= SYNC_EVERY;
            if sync {
                now.unsynced = 0;
            }
            drop(now);
            self.note(number, &unlogged).map_err(failed)?;
            if sync {
                file.sync_data().map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Finds out what an earlier pull has staged, as far as its log says and as its files are that long.
fn take_up(container: BorrowedFd<'_>, folder: BorrowedFd<'_>, files: &mut [Staged]) -> io::Result<()> {
    // It was being put together when it was cut: what is there goes back to where it came from.
    let journal = Journal::read(container);
    if let Some(model) = tree::look(container, MODEL)? {
        if journal
            .is_some_and(|journal| journal.phase == Phase::Placing && journal.folder == Some(model.st_ino))
        {
            let model = tree::open(container, MODEL)?;
            for (number, file) in files.iter().enumerate() {
                take_back(model.as_fd(), &file.name, folder, number)?;
            }
        }
        tree::remove(container, c"model")?;
    }
    for (number, range) in log::read(container)? {
        if let Some(file) = files.get_mut(number) {
            file.part.add(range);
        }
    }
    let mut others: HashSet<_> = tree::names(folder)?.into_iter().collect();
    for (number, file) in files.iter_mut().enumerate() {
        let name = number.to_string();
        let Ok(c_name) = std::ffi::CString::new(name.clone()) else { continue };
        others.remove(&c_name);
        let found = tree::look(folder, &name)?;
        let length = found
            .filter(|stat| tree::kind(stat) == FileType::RegularFile && stat.st_nlink == 1)
            .and_then(|stat| u64::try_from(stat.st_size).ok())
            .filter(|length| *length <= file.size);
        match length {
            Some(length) if file.part.total() > 0 => file.part.remove(&(length..u64::MAX)),
            _ => {
                file.part = Ranges::default();
                tree::remove(folder, &c_name)?;
            }
        }
    }
    others.into_iter().try_for_each(|name| tree::remove(folder, &name))
}

/// Moves one file of a model that was being put together back among the numbered ones, if it is there.
fn take_back(model: BorrowedFd<'_>, name: &str, folder: BorrowedFd<'_>, number: usize) -> io::Result<()> {
    let mut at = tree::open(model, ".")?;
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return match tree::look(at.as_fd(), part)? {
                Some(_) => Ok(rustix::fs::renameat(&at, part, folder, number.to_string())?),
                None => Ok(()),
            };
        }
        at = match tree::open(at.as_fd(), part) {
            Ok(inner) => inner,
            Err(_) => return Ok(()),
        };
    }
    Ok(())
}

fn remove_part(folder: BorrowedFd<'_>, number: usize) -> io::Result<()> {
    let name = std::ffi::CString::new(number.to_string())?;
    tree::remove(folder, &name)
}

/// Locks; a panic elsewhere ends the run by itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
