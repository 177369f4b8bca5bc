//! What the Hub holds: repositories, their commits, and the contents that these name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::digest::{hex, sha256_file};

/// What kind of repository it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A model, whose addresses have no prefix.
    #[default]
    Model,
    /// A dataset, under `datasets/`.
    Dataset,
    /// A space, under `spaces/`.
    Space,
}

impl Kind {
    /// The name as the addresses of the API have it.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
            Kind::Space => "spaces",
        }
    }

    /// The name as the fields of the API have it.
    pub fn singular(self) -> &'static str {
        self.plural().trim_end_matches('s')
    }

    /// What addresses of files begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
            Kind::Space => "spaces/",
        }
    }

    pub(super) fn named(name: &str) -> Option<Kind> {
        [Kind::Model, Kind::Dataset, Kind::Space]
            .into_iter()
            .find(|kind| name == kind.plural() || name == kind.singular())
    }
}

/// Who may see a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// Only whoever has the right token; for all others it is not there.
    Private,
    /// Everybody sees what it holds, but only whoever has the right token gets the files.
    Gated,
}

/// Bytes, in memory or in a file, never copied to be handed out.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Bytes(Arc<[u8]>),
    File(Arc<Path>),
}

/// A file of a commit.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) size: u64,
    /// Git's SHA-1: of the content, and for a file of LFS of the pointer to it.
    pub(super) oid: String,
    /// The SHA-256 of the content, for a file of LFS only.
    pub(super) sha256: Option<String>,
}

pub(super) type Files = BTreeMap<String, Arc<Stored>>;

/// One commit, which never changes.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) files: Files,
}

#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) visibility: Visibility,
    pub(super) branches: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    /// `refs/pr/1` and so on.
    pub(super) pulls: BTreeMap<String, String>,
    pub(super) commits: HashMap<String, Arc<Commit>>,
}

impl Repository {
    pub(super) fn new(name: &str, visibility: Visibility) -> Repository {
        let mut repository = Repository { visibility, ..Repository::default() };
        let first = repository.add(name, Files::new(), "initial commit");
        repository.branches.insert("main".to_owned(), first);
        repository
    }

    /// The commit that a branch, a tag, a pull request or a commit's own id names.
    pub(super) fn resolve(&self, revision: &str) -> Option<Arc<Commit>> {
        let named = [&self.branches, &self.tags, &self.pulls].into_iter().find_map(|refs| refs.get(revision));
        self.commits.get(named.map_or(revision, String::as_str)).cloned()
    }

    /// What a commit to this branch or pull request is put upon.
    pub(super) fn head(&self, branch: &str) -> Option<Arc<Commit>> {
        let head = self.branches.get(branch).or_else(|| self.pulls.get(branch))?;
        self.commits.get(head).cloned()
    }

    /// A new commit with these files, after `parent`; nothing refers to it yet.
    pub(super) fn add(&mut self, parent: &str, files: Files, title: &str) -> String {
        let mut digest = Sha1::new();
        digest.update(format!("{parent} {title} {}", self.commits.len()));
        for (path, file) in &files {
            digest.update(format!("\n{path} {}", file.oid));
        }
        let id = hex(&digest.finalize());
        let commit = Commit { id: id.clone(), title: title.to_owned(), files };
        self.commits.insert(id.clone(), Arc::new(commit));
        id
    }

    /// Makes a branch, or a pull request, point at a commit.
    pub(super) fn advance(&mut self, branch: &str, id: &str) {
        let refs = if branch.starts_with("refs/pr/") { &mut self.pulls } else { &mut self.branches };
        refs.insert(branch.to_owned(), id.to_owned());
    }

    /// Opens a pull request with these files upon a branch, and gives its reference.
    pub(super) fn open_pull(&mut self, parent: &str, files: Files, title: &str) -> (String, String) {
        let id = self.add(parent, files, title);
        let reference = format!("refs/pr/{}", self.pulls.len() + 1);
        self.pulls.insert(reference.clone(), id.clone());
        (reference, id)
    }
}

impl Content {
    /// The whole, for what is small.
    pub(super) fn read(&self) -> io::Result<Arc<[u8]>> {
        match self {
            Content::Bytes(bytes) => Ok(Arc::clone(bytes)),
            Content::File(path) => fs::read(path).map(Arc::from),
        }
    }

    /// Its size and SHA-256.
    pub(super) fn measured(&self) -> io::Result<(u64, String)> {
        match self {
            Content::Bytes(bytes) => Ok((bytes.len() as u64, sha256(bytes))),
            Content::File(path) => Ok((File::open(path)?.metadata()?.len(), sha256_file(path)?)),
        }
    }
}

impl Stored {
    /// A file as Git keeps it.
    pub(super) fn regular(content: Arc<[u8]>) -> Stored {
        let (size, oid) = (content.len() as u64, git_blob(&content));
        Stored { content: Content::Bytes(content), size, oid, sha256: None }
    }

    /// A file as LFS keeps it.
    pub(super) fn lfs(content: Content, size: u64, sha256: String) -> Stored {
        let oid = git_blob(pointer(&sha256, size).as_bytes());
        Stored { content, size, oid, sha256: Some(sha256) }
    }
}

/// What Git holds in place of a file of LFS.
pub(super) fn pointer(sha256: &str, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

/// Git's name for a content.
pub(super) fn git_blob(content: &[u8]) -> String {
    let mut digest = Sha1::new();
    digest.update(format!("blob {}\0", content.len()));
    digest.update(content);
    hex(&digest.finalize())
}

pub(super) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// The folders that a path lies in, the outermost first.
pub(super) fn folders<'a>(paths: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let cuts =
        |path: &'a String| path.match_indices('/').map(|(at, _)| path.get(..at).unwrap_or(path).to_owned());
    paths.flat_map(cuts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_named_as_git_names_them() {
        assert_eq!(git_blob(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(git_blob(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn a_commit_stays_what_it_was_when_its_branch_moves() {
        let mut repository = Repository::new("a/b", Visibility::Public);
        let first = repository.head("main").expect("a branch");
        let files = Files::from([("a".to_owned(), Arc::new(Stored::regular(Arc::from(&b"x"[..]))))]);
        let second = repository.add(&first.id, files, "more");
        repository.advance("main", &second);
        assert_eq!(repository.resolve("main").map(|commit| commit.files.len()), Some(1));
        assert_eq!(repository.resolve(&first.id).map(|commit| commit.files.len()), Some(0));
        assert!(repository.resolve("other").is_none());
    }

    #[test]
    fn folders_are_those_that_paths_lie_in() {
        let paths = ["a/b/c".to_owned(), "a/d".to_owned(), "e".to_owned()];
        assert_eq!(folders(paths.iter()).into_iter().collect::<Vec<_>>(), ["a", "a/b"]);
    }
}
