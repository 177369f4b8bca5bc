//! What lies below a folder: the models in it, and whatever else a model server could load from there.
//!
//! Folders are opened by handles and no link is followed, so that nothing outside of the folder is ever looked at.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use weightseal::{Code, Error, Finding, ModelUri, RepoKind, Run, Shown};

use crate::{config::shown, target::Target};

/// Folders in each other, and models in all of them.
const DEPTH: usize = 32;
const MODELS: usize = 1000;
/// Names that are looked at.
const NAMES: usize = 1_000_000;
/// Findings that are kept.
const FINDINGS: usize = 1000;

/// A model's signature in its folder.
const SIGNATURE: &str = "model.sig";

/// Largest bookkeeping file of the Hub's client: a reference, a version, a tag, in bytes.
const BOOKKEEPING: u64 = 1024;

/// What a file has to hold to be bookkeeping.
type Holds = fn(&[u8]) -> bool;

/// A commit, as a reference names it, or the number of a version.
fn is_number(bytes: &[u8]) -> bool {
    bytes.trim_ascii().iter().all(u8::is_ascii_hexdigit)
}

/// What marks the folder of a cache.
fn is_tag(bytes: &[u8]) -> bool {
    bytes.starts_with(b"Signature: 8a477f597d28d172789f06886806bc55")
}

/// Where a model is, and the device and the inode of its folder; none of what is no model.
type Place = Option<(PathBuf, (u64, u64))>;

/// What was found below a folder.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// The models, in the order of their paths, each with the device and the inode of its folder.
    models: Vec<(PathBuf, String, (u64, u64))>,
    /// What is none, and may not be there.
    pub(crate) findings: Vec<Finding>,
    /// Findings beyond those.
    more: usize,
}

impl Found {
    /// Looks at all that is below a folder.
    ///
    /// # Errors
    /// `model-absent` where there is no such folder or nothing in it; `bad-argument` where it is itself a model;
    /// `too-many-entries`; those of [`Run::check`].
    pub(crate) fn below(folder: &Path, run: &Run) -> Result<Found, Error> {
        let failed = |error: Errno| Error::io("list", shown(folder), error.into(), Code::ModelAbsent);
        let root =
            rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| match error {
                    Errno::NOTDIR => Error::new(
                        Code::BadArgument,
                        format!("{} is no folder, and has no models below it", shown(folder)),
                    ),
                    error => failed(error),
                })?;
        let mut walk = Walk { root: folder, run, names: 0, shared: HashSet::new(), found: Found::default() };
        walk.folder(root, Path::new(""), 0)?;
        let mut found = walk.found;
        found.models.sort();
        found.findings.sort_by(|one, other| one.name.cmp(&other.name));
        if found.more > 0 {
            let what = format!("{} more below {} belong to no model", found.more, shown(folder));
            found.findings.push(Finding::new(Code::FileUnsigned, what));
        }
        if found.models.is_empty() && found.findings.is_empty() {
            let what = format!("there is no model below {}", shown(folder));
            return Err(Error::new(Code::ModelAbsent, what));
        }
        Ok(found)
    }

    /// The models, to be checked.
    pub(crate) fn targets(&self, folder: &Path) -> Vec<Target> {
        let target =
            |(path, id, _): &(PathBuf, String, _)| Target::on_disk(folder.join(path), Some(id.clone()));
        self.models.iter().map(target).collect()
    }

    /// What is there later and was not, or is no more.
    pub(crate) fn changes(&self, later: &Found) -> Option<Finding> {
        // By their ids, since their rules are to judge.
        let names = |found: &Found| -> BTreeSet<(String, Place)> {
            let models = found.models.iter().cloned();
            let models = models.map(|(path, id, inode)| (id, Some((path, inode))));
            let others = found.findings.iter().filter_map(|finding| Some((finding.name.clone()?, None)));
            models.chain(others).collect()
        };
        let (before, after) = (names(self), names(later));
        let (name, _) = before.symmetric_difference(&after).next()?;
        Some(changed(name, "came, went or was replaced"))
    }
}

fn changed(name: &str, how: &str) -> Finding {
    let what = format!("{:?} {how} while the models were checked", Shown(name));
    Finding::new(Code::ChangedWhileRead, what).about(name)
}

/// One look at everything.
struct Walk<'a> {
    root: &'a Path,
    run: &'a Run,
    names: usize,
    /// Blobs in a cache's own folder that snapshots lead to.
    shared: HashSet<PathBuf>,
    found: Found,
}

/// Something in a folder.
struct Item {
    name: OsString,
    stat: Stat,
}

impl Item {
    fn is(&self, kind: FileType) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == kind
    }

    /// Whether it is a small file in `folder` that holds nothing else than that.
    fn holds(&self, folder: &OwnedFd, is: Holds) -> bool {
        let size = u64::try_from(self.stat.st_size).unwrap_or(u64::MAX);
        if !self.is(FileType::RegularFile) || size > BOOKKEEPING {
            return false;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(folder, &self.name, flags, Mode::empty()) else { return false };
        let mut bytes = Vec::new();
        let read = File::from(file).take(BOOKKEEPING + 1).read_to_end(&mut bytes);
        read.is_ok() && bytes.len() as u64 == size && is(&bytes)
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Walk<'_> {
    /// A folder that is not known to be anything.
    fn folder(&mut self, folder: OwnedFd, path: &Path, depth: usize) -> Result<(), Error> {
        let Some(items) = self.items(&folder, path)? else { return Ok(()) };
        if items.iter().any(|item| item.name == SIGNATURE) {
            if path.as_os_str().is_empty() {
                let what = format!("{} is itself a model", shown(self.root));
                return Err(Error::new(Code::BadArgument, what)
                    .with_help("give it with --model, or the folder above it"));
            }
            let Some(id) = path.to_str().map(str::to_owned) else { return self.bad_name(path) };
            return self.model(&folder, path, id);
        }
        let mut shared = None;
        let is_cache =
            items.iter().any(|item| repository_id(&item.name).is_some() && item.is(FileType::Directory));
        for item in &items {
            let inner = path.join(&item.name);
            let name = item.name.as_bytes();
            let is_beside = name.ends_with(b".weightseal-pull") || name.ends_with(b".weightseal-pull.lock");
            if name == b".weightseal" || (name.starts_with(b".") && is_beside) {
                let what = format!("{} says that a pull is under way, or was cut", self.shown(&inner));
                self.add(Finding::new(Code::PullUnfinished, what).about(inner.to_string_lossy()));
                continue;
            }
            match (item.is(FileType::Directory), is_cache, name) {
                (true, _, _) if repository_id(&item.name).is_some() => {
                    self.repository(&folder, item, &inner)?
                }
                // Which of them are some model's is known when all repositories were looked at.
                (true, true, b"blobs") => shared = Some(item),
                (true, true, b".locks") => {
                    self.bookkeeping(&folder, item, &inner, <[u8]>::is_empty, depth)?
                }
                (true, _, _) => {
                    if let Some(opened) = self.open(&folder, item, &inner)? {
                        self.deeper(depth)?;
                        self.folder(opened, &inner, depth + 1)?;
                    }
                }
                (false, true, b"version.txt") if item.holds(&folder, is_number) => {}
                (false, true, b"CACHEDIR.TAG") if item.holds(&folder, is_tag) => {}
                (false, ..) => self.stray(item, &inner),
            }
        }
        match shared {
            Some(item) => self.shared_blobs(&folder, item, &path.join(&item.name)),
            None => Ok(()),
        }
    }

    /// The blobs that the repositories of a cache share (huggingface_hub 2.4): `XX/HASH` and, beside each, who refers to it
    /// and a lock.
    fn shared_blobs(&mut self, above: &OwnedFd, item: &Item, path: &Path) -> Result<(), Error> {
        let Some(store) = self.open(above, item, path)? else { return Ok(()) };
        for item in self.items(&store, path)?.unwrap_or_default() {
            let inner = path.join(&item.name);
            if item.name == ".huggingface-shared-blobs" && item.holds(&store, is_number) {
                continue;
            }
            if !item.is(FileType::Directory) {
                self.stray(&item, &inner);
                continue;
            }
            let Some(folder) = self.open(&store, &item, &inner)? else { continue };
            for file in self.items(&folder, &inner)?.unwrap_or_default() {
                let name = Path::new(&file.name);
                let is_beside = name.extension().is_some_and(|end| end == "refs" || end == "lock");
                let blob =
                    Path::new(&item.name).join(if is_beside { name.with_extension("") } else { name.into() });
                if !(file.is(FileType::RegularFile) && self.shared.contains(&blob)) {
                    self.stray_or_below(&folder, &file, &inner.join(&file.name), 0)?;
                }
            }
        }
        Ok(())
    }

    /// A repository of the Hub's cache: its snapshots are models, and what they lead to is theirs.
    fn repository(&mut self, above: &OwnedFd, item: &Item, path: &Path) -> Result<(), Error> {
        let Some(folder) = self.open(above, item, path)? else { return Ok(()) };
        let Some(items) = self.items(&folder, path)? else { return Ok(()) };
        let id = repository_id(&item.name).unwrap_or_default();
        let models_before = self.found.models.len();
        let mut blobs = HashSet::new();
        for item in items.iter().filter(|item| item.name == "snapshots" && item.is(FileType::Directory)) {
            let inner = path.join(&item.name);
            let Some(snapshots) = self.open(&folder, item, &inner)? else { continue };
            for item in self.items(&snapshots, &inner)?.unwrap_or_default() {
                let inner = inner.join(&item.name);
                if !item.is(FileType::Directory) {
                    self.stray(&item, &inner);
                } else if let Some(snapshot) = self.open(&snapshots, &item, &inner)? {
                    self.model(&snapshot, &inner, id.clone())?;
                    self.linked(snapshot, &inner, 0, &mut blobs)?;
                }
            }
        }
        let has_snapshots = self.found.models.len() > models_before;
        for item in &items {
            let inner = path.join(&item.name);
            match (item.is(FileType::Directory), item.name.as_bytes()) {
                (true, b"snapshots") => {}
                // Of these the verification of each snapshot says where they lead.
                (true, b"refs") if has_snapshots => {}
                (true, b"refs") => self.bookkeeping(&folder, item, &inner, is_number, 0)?,
                // What each commit consists of: of a snapshot its verification says where that leads.
                (true, b"trees") => self.trees(&folder, item, &inner, models_before)?,
                // Which files a repository does not have, as the Hub's client remembers it.
                (true, b".no_exist") => self.bookkeeping(&folder, item, &inner, <[u8]>::is_empty, 0)?,
                (true, b"blobs") => {
                    let Some(folder) = self.open(&folder, item, &inner)? else { continue };
                    for item in self.items(&folder, &inner)?.unwrap_or_default() {
                        let is_linked = blobs.contains(&item.name);
                        // Where else a link may lead its snapshot's verification says.
                        let target =
                            rustix::fs::readlinkat(&folder, &item.name, Vec::new()).unwrap_or_default();
                        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                        if let (true, Ok(shared)) = (is_linked, target.strip_prefix("../../blobs")) {
                            self.shared.insert(shared.to_owned());
                        } else if !(is_linked && item.is(FileType::RegularFile)) {
                            self.stray(&item, &inner.join(&item.name));
                        }
                    }
                }
                _ => self.stray_or_below(&folder, item, &inner, 0)?,
            }
        }
        Ok(())
    }

    /// The names of the blobs that a snapshot leads to. Whether it leads anywhere else is for its verification to say.
    fn linked(
        &mut self,
        folder: OwnedFd,
        path: &Path,
        depth: usize,
        blobs: &mut HashSet<OsString>,
    ) -> Result<(), Error> {
        for item in self.items(&folder, path)?.unwrap_or_default() {
            let inner = path.join(&item.name);
            if item.is(FileType::Symlink) {
                let target = rustix::fs::readlinkat(&folder, &item.name, Vec::new()).unwrap_or_default();
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                let in_blobs = target.parent().and_then(Path::file_name).is_some_and(|name| name == "blobs");
                blobs.extend(target.file_name().filter(|_| in_blobs).map(OsStr::to_owned));
            } else if item.is(FileType::Directory)
                && let Some(opened) = self.open(&folder, &item, &inner)?
            {
                self.deeper(depth)?;
                self.linked(opened, &inner, depth + 1, blobs)?;
            }
        }
        Ok(())
    }

    /// A folder in which files that hold this are no model's and may be there.
    fn bookkeeping(
        &mut self,
        above: &OwnedFd,
        item: &Item,
        path: &Path,
        holds: Holds,
        depth: usize,
    ) -> Result<(), Error> {
        let Some(folder) = self.open(above, item, path)? else { return Ok(()) };
        for item in self.items(&folder, path)?.unwrap_or_default() {
            let inner = path.join(&item.name);
            if item.is(FileType::Directory) {
                self.deeper(depth)?;
                self.bookkeeping(&folder, &item, &inner, holds, depth + 1)?;
            } else if !item.holds(&folder, holds) {
                self.stray(&item, &inner);
            }
        }
        Ok(())
    }

    /// A folder with a list for each commit of which there is a snapshot, the models from `first` on.
    fn trees(&mut self, above: &OwnedFd, item: &Item, path: &Path, first: usize) -> Result<(), Error> {
        let Some(folder) = self.open(above, item, path)? else { return Ok(()) };
        for item in self.items(&folder, path)?.unwrap_or_default() {
            let commit = item.name.to_str().and_then(|name| name.strip_suffix(".json"));
            let mut snapshots =
                self.found.models.iter().skip(first).filter_map(|(path, ..)| path.file_name());
            let is_list = commit.is_some_and(|commit| snapshots.any(|snapshot| snapshot == commit));
            if !is_list || !item.is(FileType::RegularFile) {
                self.stray_or_below(&folder, &item, &path.join(&item.name), 0)?;
            }
        }
        Ok(())
    }

    /// Everything in a folder where no model can be.
    fn stray_or_below(
        &mut self,
        above: &OwnedFd,
        item: &Item,
        path: &Path,
        depth: usize,
    ) -> Result<(), Error> {
        if !item.is(FileType::Directory) {
            self.stray(item, path);
            return Ok(());
        }
        let Some(folder) = self.open(above, item, path)? else { return Ok(()) };
        self.deeper(depth)?;
        for item in self.items(&folder, path)?.unwrap_or_default() {
            self.stray_or_below(&folder, &item, &path.join(&item.name), depth + 1)?;
        }
        Ok(())
    }

    fn model(&mut self, folder: &OwnedFd, path: &Path, id: String) -> Result<(), Error> {
        let failed = |error: Errno| Error::io("read", self.shown(path), error.into(), Code::ChangedWhileRead);
        let stat = rustix::fs::fstat(folder).map_err(failed)?;
        if self.found.models.len() >= MODELS {
            return Err(too_many(self.root, &format!("more than {MODELS} models")));
        }
        self.found.models.push((path.to_owned(), id, (stat.st_dev, stat.st_ino)));
        Ok(())
    }

    /// What is in a folder, sorted; none of one that cannot be read.
    fn items(&mut self, folder: &OwnedFd, path: &Path) -> Result<Option<Vec<Item>>, Error> {
        self.run.check()?;
        let mut items = Vec::new();
        let all = match Dir::read_from(folder) {
            Ok(all) => all,
            Err(error) => {
                self.unreadable(path, error);
                return Ok(None);
            }
        };
        for entry in all {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.unreadable(path, error);
                    return Ok(None);
                }
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            self.names += 1;
            if self.names > NAMES {
                return Err(too_many(self.root, &format!("more than {NAMES} files and folders")));
            }
            if self.names.is_multiple_of(1024) {
                self.run.check()?;
            }
            match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => items.push(Item { name: name.to_owned(), stat }),
                Err(error) => self.unreadable(&path.join(name), error),
            }
        }
        items.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Some(items))
    }

    /// Opens a folder; none where that cannot be.
    fn open(&mut self, above: &OwnedFd, item: &Item, path: &Path) -> Result<Option<OwnedFd>, Error> {
        match rustix::fs::openat(above, &item.name, FOLDER, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            // Every disk of its own has one at its root, which only root may read.
            Err(Errno::ACCESS)
                if item.name == "lost+found" && item.stat.st_uid == 0 && item.stat.st_mode & 0o077 == 0 =>
            {
                Ok(None)
            }
            Err(error) => {
                self.unreadable(path, error);
                Ok(None)
            }
        }
    }

    /// Something that belongs to no model.
    fn stray(&mut self, item: &Item, path: &Path) {
        let shown = self.shown(path);
        let finding = match FileType::from_raw_mode(item.stat.st_mode) {
            FileType::RegularFile => {
                Finding::new(Code::FileUnsigned, format!("the file {shown} belongs to no model"))
            }
            FileType::Symlink => {
                Finding::new(Code::SymlinkRefused, format!("{shown} is a symbolic link outside of any model"))
            }
            _ => Finding::new(Code::SpecialFile, format!("{shown} is no file and belongs to no model")),
        };
        self.add(finding.about(path.to_string_lossy()));
    }

    fn bad_name(&mut self, path: &Path) -> Result<(), Error> {
        let what = format!("the name {} is not valid UTF-8, and no id of a model", self.shown(path));
        self.add(Finding::new(Code::FileNameInvalid, what).about(path.to_string_lossy()));
        Ok(())
    }

    fn unreadable(&mut self, path: &Path, error: Errno) {
        let shown = self.shown(path);
        let error = Error::io("read", shown, error.into(), Code::ChangedWhileRead);
        self.add(error.into_finding().about(path.to_string_lossy()));
    }

    fn add(&mut self, finding: Finding) {
        if self.found.findings.len() < FINDINGS {
            self.found.findings.push(finding);
        } else {
            self.found.more += 1;
        }
    }

    fn deeper(&self, depth: usize) -> Result<(), Error> {
        match depth >= DEPTH {
            true => Err(too_many(self.root, &format!("folders more than {DEPTH} deep"))),
            false => Ok(()),
        }
    }

    /// Relative to the folder, quoted and escaped.
    fn shown(&self, path: &Path) -> String {
        let path = path.to_string_lossy();
        format!("{:?}", Shown(if path.is_empty() { "." } else { &path }))
    }
}

fn too_many(root: &Path, what: &str) -> Error {
    Error::new(Code::TooManyEntries, format!("{} has {what}", shown(root)))
        .with_help("give the folder of each model with --model, or another folder")
}

/// The id of a model whose repository in the Hub's cache is called so.
fn repository_id(name: &OsStr) -> Option<String> {
    let id = name.to_str()?.strip_prefix("models--")?.replace("--", "/");
    let uri = format!("hf://{id}");
    match uri.parse() {
        Ok(ModelUri::Hub(hub))
            if hub.kind == RepoKind::Model && hub.revision.is_none() && hub.path.is_empty() =>
        {
            Some(hub.to_string())
        }
        _ => None,
    }
}
