//! The cache of the Hub's own client: what it has of a model already.

use std::path::{Path, PathBuf};

use crate::{code::Code, fs::read_bounded, source::hub_cache::HubRepository, source::uri::HubUri};

/// Longest reference, in bytes: a commit and a newline.
const REFERENCE_BYTES: u64 = 128;

/// The folder of a repository in a cache, if it is one.
fn repository(cache: &Path, uri: &HubUri) -> Option<PathBuf> {
    let name = format!("{}--{}", uri.kind.plural(), uri.id.replace('/', "--"));
    Some(cache.join(name)).filter(|path| HubRepository::is_one(path))
}

/// Whether there is anything of a repository, or of a commit of it.
pub(super) fn has(cache: &Path, uri: &HubUri, commit: Option<&str>) -> bool {
    match commit {
        Some(commit) => snapshot(cache, uri, commit).is_some(),
        None => repository(cache, uri).is_some(),
    }
}

/// The snapshot of a commit, if there is one.
pub(super) fn snapshot(cache: &Path, uri: &HubUri, commit: &str) -> Option<PathBuf> {
    let snapshots = repository(cache, uri)?.join("snapshots");
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    Some(snapshots.join(commit)).filter(|path| is_folder(path))
}

/// The commit that a reference named when the model was last fetched.
pub(super) fn reference(cache: &Path, uri: &HubUri) -> Option<String> {
    let revision = uri.revision_or_main();
    if HubUri::is_commit(revision) {
        return Some(revision.to_owned());
    }
    let path = repository(cache, uri)?.join("refs").join(revision);
    let read =
        read_bounded(&path, REFERENCE_BYTES, "the reference", Code::ModelAbsent, Code::IoFailed).ok()?;
    let commit = String::from_utf8(read).ok()?.trim().to_owned();
    HubUri::is_commit(&commit).then_some(commit)
}
