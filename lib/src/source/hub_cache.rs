//! The Hub's cache: `models--ORG--NAME` with `blobs` and `snapshots`, whose files are links into the blobs.

use std::{
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, Stat},
    io::Errno,
};

use super::local::{FOLDER, open_folder};

/// The repository of a Hub cache that a snapshot belongs to: `models--ORG--NAME`, with `blobs` and `snapshots` in it.
#[derive(Debug)]
pub(super) struct HubRepository {
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
}

/// The location of a blob, seen from a snapshot; no path inside a model starts so.
pub(super) const BLOBS: &str = "../../blobs/";

impl HubRepository {
    /// The repository whose snapshot `folder` is, or lies in.
    pub(super) fn find(folder: &Path) -> Option<Self> {
        let snapshots = folder
            .ancestors()
            .skip(1)
            .find(|ancestor| ancestor.file_name().is_some_and(|name| name == "snapshots"))?;
        let path = snapshots.parent().filter(|path| Self::is_one(path))?;
        let root = open_folder(path).ok()?;
        Some(HubRepository { path: path.to_owned(), root })
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

    pub(super) fn stat(&self, blob: &str) -> Result<Stat, Errno> {
        let blobs = rustix::fs::openat(&self.root, "blobs", FOLDER, Mode::empty())?;
        rustix::fs::statat(&blobs, blob, AtFlags::SYMLINK_NOFOLLOW)
    }
}
