//! The Hub's cache: `models--ORG--NAME` with `blobs` and `snapshots`, whose files are links into the blobs.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io::{self, Read as _},
    os::fd::OwnedFd,
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, Stat},
    io::Errno,
};
use serde::Deserialize;

use super::local::{FOLDER, open_folder};
use crate::{Error, Run, code::Code, limits, report::Finding, shown::Shown};

/// What a repository of a Hub cache keeps beside its snapshots: a loader asks it first, and so it decides what is loaded.
#[derive(Debug)]
pub(crate) struct Bookkeeping {
    repository: PathBuf,
    revision: String,
    /// References and marks of absence with their folders, and the modules that the cache keeps, by their path from the
    /// repository.
    pub(crate) items: Vec<(String, Metadata)>,
}

impl Bookkeeping {
    /// That of the repository whose snapshot a path is, or lies in; none elsewhere. Whether there are blobs does not matter.
    ///
    /// # Errors
    /// `too-many-entries`, `permission-denied`, `io-failed`, `changed-while-read`; those of [`Run::check`].
    pub(crate) fn of(path: &Path, run: &Run) -> Result<Option<Self>, Error> {
        let mut below = path;
        for snapshots in path.ancestors().skip(1) {
            let repository = snapshots.parent().filter(|parent| {
                let name = parent.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let is_one = ["models--", "datasets--", "spaces--"].iter().any(|kind| name.starts_with(kind));
                is_one && snapshots.file_name().is_some_and(|name| name == "snapshots")
            });
            if let (Some(repository), Some(revision)) = (repository, below.file_name()) {
                let revision = revision.to_string_lossy().into_owned();
                let mut found =
                    Bookkeeping { repository: repository.to_owned(), revision, items: Vec::new() };
                for name in ["refs", ".no_exist", "trees"] {
                    found.add(name, &repository.join(name), 0, run)?;
                }
                // Beside `hub` in the folder that HF_HOME names, as it is unless told otherwise; by its name, since a loader
                // asks nobody where links lead.
                let cache =
                    repository.parent().filter(|cache| cache.file_name().is_some_and(|name| name == "hub"));
                if let Some(home) = cache.and_then(Path::parent) {
                    found.add(MODULES, &home.join("modules"), 0, run)?;
                }
                return Ok(Some(found));
            }
            below = snapshots;
        }
        Ok(None)
    }

    /// Adds something with all below it; no link is followed.
    fn add(&mut self, name: &str, path: &Path, depth: usize, run: &Run) -> Result<(), Error> {
        run.check()?;
        let failed = |error| Error::io("read", path.display(), error, Code::ChangedWhileRead);
        let metadata = match path.symlink_metadata() {
            Err(error) if depth == 0 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed)?,
        };
        if self.items.len() >= limits::ENTRIES || depth > limits::FOLDER_DEPTH {
            let what =
                format!("{} holds too much beside its snapshots", Shown(&self.repository.to_string_lossy()));
            return Err(Error::new(Code::TooManyEntries, what));
        }
        let is_folder = metadata.is_dir();
        self.items.push((name.to_owned(), metadata));
        if is_folder {
            for item in fs::read_dir(path).map_err(failed)? {
                let item = item.map_err(failed)?.file_name();
                let inner = item.to_str().ok_or_else(|| {
                    let what = format!("a name in {} is not valid UTF-8", Shown(&path.to_string_lossy()));
                    Error::new(Code::FileNameInvalid, what)
                })?;
                self.add(&format!("{name}/{inner}"), &path.join(inner), depth + 1, run)?;
            }
        }
        Ok(())
    }

    /// What of it would lead a loader to something else than the snapshot, or make it miss a file that the snapshot has or
    /// that is `signed`; and, where the model `has_code`, code that would run in the place of the model's own.
    pub(crate) fn findings(&self, signed: &dyn Fn(&str) -> bool, has_code: bool) -> Vec<Finding> {
        let marks = format!(".no_exist/{}/", self.revision);
        let wrong = self.items.iter().filter_map(|(name, metadata)| {
            let is_folder = metadata.is_dir();
            let is_module = name.starts_with(MODULES);
            if is_module && (!has_code || is_folder || (metadata.is_file() && metadata.len() == 0)) {
                return None;
            }
            let (code, what) = if is_module {
                // What loaders copy there they take for the model's code whenever size and time are the same, and whatever
                // lies there can be imported.
                (
                    Code::FileUnsigned,
                    "is code kept from earlier, which loaders run in the place of the model's",
                )
            } else if metadata.is_symlink() {
                (Code::SymlinkRefused, "is a symbolic link beside the snapshots")
            } else if !is_folder && (!metadata.is_file() || !name.contains('/')) {
                (Code::SpecialFile, "is neither a reference nor a mark of absence")
            } else if let Some(reference) = name.strip_prefix("refs/") {
                if reference.split('/').any(is_like_a_commit) {
                    (
                        Code::FileUnsigned,
                        "is a reference that is called like a commit, and leads a loader elsewhere",
                    )
                } else if !is_folder && !self.leads_to_a_snapshot(name) {
                    (Code::FileUnsigned, "is a reference to no commit that the cache has")
                } else {
                    return None;
                }
            } else if let Some(list) = name.strip_prefix("trees/") {
                if is_folder || list != format!("{}.json", self.revision) || self.lists_what_is_there(name) {
                    return None;
                }
                (
                    Code::FileUnsigned,
                    "lists files that the snapshot does not have, and where a loader finds bytes for them",
                )
            } else if let Some(absent) = name.strip_prefix(&marks).filter(|_| !is_folder) {
                let snapshot = self.repository.join("snapshots").join(&self.revision);
                if !signed(absent) && snapshot.join(absent).symlink_metadata().is_err() {
                    return None;
                }
                (
                    Code::FileUnsigned,
                    "marks a file as absent that the model has, so that loaders leave it out",
                )
            } else {
                return None;
            };
            let finding = Finding::new(code, format!("{:?} {what}", Shown(name))).about(name.clone());
            Some(finding.with_help("remove it; where servers keep code of their own, HF_MODULES_CACHE says"))
        });
        wrong.take(FINDINGS).collect()
    }

    /// Whether a list of the files of a commit leads to no bytes of others than the snapshot has. The Hub's client (2.4) takes
    /// the SHA-256 of a file in it for the name of a blob.
    fn lists_what_is_there(&self, name: &str) -> bool {
        let Some(bytes) = self.read(name, limits::LOADED_JSON_BYTES) else { return false };
        let Ok(tree) = serde_json::from_slice::<Tree>(&bytes) else { return false };
        let snapshot = self.repository.join("snapshots").join(&self.revision);
        tree.files.iter().all(|(file, listed)| {
            let Some(blob) = &listed.lfs_sha256 else { return true };
            let is_sha256 = blob.len() == 64 && blob.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
            is_sha256
                && (is_there(snapshot.join(file)) || !is_there(self.repository.join("blobs").join(blob)))
        })
    }

    /// A regular file of at most so many bytes.
    fn read(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let mut options = fs::File::options();
        options.read(true).custom_flags(flags.try_into().unwrap_or_default());
        let mut bytes = Vec::new();
        let read = options
            .open(self.repository.join(name))
            .and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
        (read.is_ok() && bytes.len() as u64 <= most).then_some(bytes)
    }

    /// Whether a reference holds a commit that is there, and no other byte: loaders take its text as it stands.
    fn leads_to_a_snapshot(&self, name: &str) -> bool {
        let text = self.read(name, REFERENCE_BYTES).and_then(|bytes| String::from_utf8(bytes).ok());
        let is_commit = |text: &String| {
            text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        text.filter(is_commit).is_some_and(|commit| {
            let snapshot = self.repository.join("snapshots").join(commit);
            snapshot.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
        })
    }
}

/// Where loaders keep modules of models that they have run, seen from a repository.
const MODULES: &str = "../../modules";

/// Findings that are told.
const FINDINGS: usize = 100;

/// Longer than any commit.
const REFERENCE_BYTES: u64 = 128;

/// The list of the files of a commit, as the Hub's client keeps it.
#[derive(Deserialize)]
struct Tree {
    files: HashMap<String, Listed>,
}

#[derive(Deserialize)]
struct Listed {
    lfs_sha256: Option<String>,
}

/// SHA-1 or longer, in any case.
fn is_like_a_commit(name: &str) -> bool {
    name.len() >= 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The repository of a Hub cache that a snapshot belongs to: `models--ORG--NAME`, with `blobs` and `snapshots` in it.
#[derive(Debug)]
pub(super) struct HubRepository {
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
    /// The cache, where repositories share blobs.
    pub(super) cache: Option<(PathBuf, OwnedFd)>,
}

/// The location of a blob, seen from a snapshot; no path inside a model starts so.
pub(super) const BLOBS: &str = "../../blobs/";

/// The location of a blob that repositories share (huggingface_hub 2.4): `XX/HASH` in the cache's own `blobs`, to which the
/// repository's blob is a link.
pub(super) const SHARED: &str = "../../../blobs/";

impl HubRepository {
    /// The repository whose snapshot `folder` is, or lies in.
    pub(super) fn find(folder: &Path) -> Option<Self> {
        let snapshots = folder
            .ancestors()
            .skip(1)
            .find(|ancestor| ancestor.file_name().is_some_and(|name| name == "snapshots"))?;
        let path = snapshots.parent().filter(|path| Self::is_one(path))?;
        let root = open_folder(path).ok()?;
        let shared = path.parent().filter(|cache| cache.join("blobs").is_dir());
        let cache = shared.and_then(|cache| Some((cache.to_owned(), open_folder(cache).ok()?)));
        Some(HubRepository { path: path.to_owned(), root, cache })
    }

    /// Whether a folder is a repository of the Hub's cache: by its name and the two folders that each has.
    pub(super) fn is_one(path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ["models--", "datasets--", "spaces--"].iter().any(|kind| name.starts_with(kind))
            && path.join("blobs").is_dir()
            && path.join("snapshots").is_dir()
    }

    /// The name of the blob that a link in `folder` leads to, if it leads to one of this repository.
    ///
    /// Only a target of the very form that the Hub's clients write counts: as many `..` as the link lies deep in the
    /// repository, then `blobs/NAME`; or the repository's own path with it. Any other may lead anywhere by way of links.
    pub(super) fn blob(&self, folder: &Path, link: &str, target: &Path) -> Option<String> {
        let inside = if target.is_absolute() {
            target.strip_prefix(&self.path).ok()?.to_owned()
        } else {
            let link = folder.join(link);
            let up: PathBuf =
                link.parent()?.strip_prefix(&self.path).ok()?.components().map(|_| "..").collect();
            target.strip_prefix(up).ok()?.to_owned()
        };
        let mut parts = inside.components();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Component::Normal(blobs)), Some(Component::Normal(name)), None) if blobs == "blobs" => {
                name.to_str().map(str::to_owned)
            }
            _ => None,
        }
    }

    /// Where the bytes of a blob are, and what stands there; a link that is none to a shared blob stands for itself.
    pub(super) fn stat(&self, blob: &str) -> Result<(String, Stat), Errno> {
        let blobs = rustix::fs::openat(&self.root, "blobs", FOLDER, Mode::empty())?;
        let stat = rustix::fs::statat(&blobs, blob, AtFlags::SYMLINK_NOFOLLOW)?;
        if let (FileType::Symlink, Some((_, cache))) = (FileType::from_raw_mode(stat.st_mode), &self.cache) {
            let target = rustix::fs::readlinkat(&blobs, blob, Vec::new())?;
            if let Some((folder, hash)) = target.to_str().ok().and_then(shared) {
                let shared = rustix::fs::openat(cache, "blobs", FOLDER, Mode::empty())?;
                let shared = rustix::fs::openat(&shared, folder, FOLDER, Mode::empty())?;
                let stat = rustix::fs::statat(&shared, hash, AtFlags::SYMLINK_NOFOLLOW)?;
                return Ok((format!("{SHARED}{folder}/{hash}"), stat));
            }
        }
        Ok((format!("{BLOBS}{blob}"), stat))
    }
}

/// The folder and the name of a shared blob, from the text of the link to it, which the Hub's client writes in this form alone.
fn shared(target: &str) -> Option<(&str, &str)> {
    let (folder, hash) = target.strip_prefix("../../blobs/")?.split_once('/')?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hash && hash.get(..2) == Some(folder)).then_some((folder, hash))
}
