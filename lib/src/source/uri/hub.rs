//! `hf://[datasets/|spaces/]org/name[@revision][/path]`, as huggingface_hub's file system has it.

use std::fmt;

use super::invalid;
use crate::{Error, limits};

/// The branch that is meant where no revision is given.
const MAIN: &str = "main";

/// Longest part of an id, in bytes, as the Hub has it.
const ID_PART: usize = 96;

/// Longest revision, in bytes: what Git takes as the name of a file.
const REVISION: usize = 255;

/// What kind of repository it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RepoKind {
    /// A model.
    #[default]
    Model,
    /// A dataset.
    Dataset,
    /// A space.
    Space,
}

impl RepoKind {
    /// All of them.
    pub const ALL: [RepoKind; 3] = [RepoKind::Model, RepoKind::Dataset, RepoKind::Space];

    /// In the plural, as URLs of the Hub's API and folders of its cache have it.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
            RepoKind::Space => "spaces",
        }
    }

    /// What stands before an id, in URIs and in the URLs of files.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
            RepoKind::Space => "spaces/",
        }
    }
}

/// A repository on the Hub, or a folder or file in it.
///
/// A path is written as it is, nothing in it is escaped; a `/` in a revision is written `%2F`, but for `refs/pr/1` and
/// `refs/convert/parquet`, which may stand as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubUri {
    /// What kind of repository it is.
    pub kind: RepoKind,
    /// Its id: `org/name`, or `name` for the few that have no owner.
    pub id: String,
    /// A branch, a tag, a commit, `refs/pr/1`; none for the branch `main`.
    pub revision: Option<String>,
    /// The folder or file in the repository; empty for the whole.
    pub path: String,
}

impl HubUri {
    /// Reads what follows `hf://`.
    ///
    /// # Errors
    /// `uri-invalid`.
    pub(crate) fn parse(rest: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            invalid(&format!("hf://{rest}"), why)
                .with_help("write hf://org/name, hf://org/name@revision/path")
        };
        let (kind, named) = match rest.split_once('/') {
            Some((first, after)) => match RepoKind::ALL.into_iter().find(|kind| kind.plural() == first) {
                Some(kind) => (kind, after),
                None => (RepoKind::Model, rest),
            },
            None => (RepoKind::Model, rest),
        };
        // An id has two parts, or one where that can be told; what follows the first `@` in them is a revision.
        let second = named.find('/').map(|slash| slash + 1);
        let end =
            second.and_then(|second| Some(second + named.get(second..)?.find('/')?)).unwrap_or(named.len());
        let (id, revision, path) = match named.get(..end).and_then(|parts| parts.find('@')) {
            Some(at) => {
                let (id, after) =
                    (named.get(..at).unwrap_or_default(), named.get(at + 1..).unwrap_or_default());
                let (revision, path) = revision(after).map_err(refuse)?;
                (id, Some(revision), path)
            }
            None => {
                let path = named.get(end..).unwrap_or_default();
                (named.get(..end).unwrap_or_default(), None, path.strip_prefix('/').unwrap_or(path))
            }
        };
        // At the end of a path a slash says nothing: no path is both a file and a folder.
        let path = path.strip_suffix('/').unwrap_or(path);
        check_id(id).map_err(refuse)?;
        check_path(path).map_err(refuse)?;
        Ok(HubUri { kind, id: id.to_owned(), revision, path: path.to_owned() })
    }

    /// Whether it could have been read from a text: its fields are open to everybody.
    ///
    /// # Errors
    /// `uri-invalid`.
    #[cfg(feature = "hub")]
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_id(&self.id)
            .and_then(|()| self.revision.as_deref().map_or(Ok(()), check_revision))
            .and_then(|()| check_path(&self.path))
            .map_err(|why| invalid(&self.to_string(), why))
    }

    /// Whether a revision is a commit: 40 digits of lower-case hex.
    pub fn is_commit(revision: &str) -> bool {
        revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The revision, or the branch `main` where there is none.
    pub fn revision_or_main(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The same at no particular revision.
    #[must_use]
    pub fn without_revision(mut self) -> Self {
        self.revision = None;
        self
    }

    /// The same at this revision.
    #[cfg(feature = "hub")]
    #[must_use]
    pub(crate) fn at(&self, revision: &str) -> HubUri {
        HubUri { revision: Some(revision.to_owned()), ..self.clone() }
    }

    /// The file of this name in the folder.
    #[must_use]
    pub(crate) fn join(&self, name: &str) -> HubUri {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        HubUri { path, ..self.clone() }
    }

    pub(crate) fn name_of(&self, file: &HubUri) -> Option<String> {
        let name = match self.path.as_str() {
            "" => file.path.as_str(),
            folder => file.path.strip_prefix(folder)?.strip_prefix('/')?,
        };
        let same =
            (self.kind, &self.id, self.revision_or_main()) == (file.kind, &file.id, file.revision_or_main());
        (same && !name.is_empty()).then(|| name.to_owned())
    }
}

/// The revision that a text begins with, and the path after it.
fn revision(text: &str) -> Result<(String, &str), &'static str> {
    let mut parts = text.splitn(4, '/');
    let (written, path) = match (parts.next(), parts.next(), parts.next()) {
        (Some("refs"), Some(kind), Some(name)) if is_special(kind, name) => {
            let length = "refs//".len() + kind.len() + name.len();
            (text.get(..length).unwrap_or_default(), parts.next().unwrap_or_default())
        }
        (Some("refs"), ..) => return Err("a / in a revision is written as %2F"),
        (Some(first), ..) => (first, text.get(first.len() + 1..).unwrap_or_default()),
        _ => ("", ""),
    };
    let revision = decoded(written).ok_or("its revision is not rightly escaped")?;
    check_revision(&revision)?;
    Ok((revision, path))
}

/// The references with a `/` that are known by sight.
fn is_special(kind: &str, name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && match kind {
            "pr" => name.bytes().all(|byte| byte.is_ascii_digit()),
            "convert" => name.bytes().all(word),
            _ => false,
        }
}

fn is_special_reference(revision: &str) -> bool {
    let parts = revision.strip_prefix("refs/").and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(kind, name)| is_special(kind, name))
}

/// What the Hub takes as an id.
fn check_id(id: &str) -> Result<(), &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    for part in id.split('/') {
        let ends = part.as_bytes().first().zip(part.as_bytes().last());
        if part.len() > ID_PART || !ends.is_some_and(|(first, last)| word(*first) && word(*last)) {
            return Err("it does not begin with the name of a repository, org/name");
        }
        if !part.bytes().all(|byte| word(byte) || byte == b'-' || byte == b'.') {
            return Err("a repository's name has letters, digits, - _ and . only");
        }
    }
    let id = id.to_ascii_lowercase();
    if RepoKind::ALL.iter().any(|kind| id.split('/').next() == Some(kind.plural())) {
        return Err("nobody is called models, datasets or spaces");
    }
    if id.contains("--") || id.contains("..") || id.split('/').any(|part| part.ends_with(".git")) {
        return Err("a repository's name has no --, no .. and no .git at its end");
    }
    Ok(())
}

/// What Git takes as the name of a reference.
fn check_revision(revision: &str) -> Result<(), &'static str> {
    if revision.is_empty() || revision.len() > REVISION {
        return Err("its revision is empty or too long");
    }
    let refused = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    if revision.contains(refused)
        || revision.contains("..")
        || revision.contains("@{")
        || revision.starts_with('-')
        || revision.ends_with('.')
        || matches!(revision, "@" | "refs")
        || revision.split('/').any(part)
    {
        return Err("its revision is not the name of a branch, a tag or a commit");
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > limits::NAME_BYTES || path.contains(char::is_control) {
        return Err("its path is too long, or holds control characters");
    }
    match path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err("its path has a part that is empty, . or .."),
        false => Ok(()),
    }
}

/// A text without its `%XX`; none where one of them is cut, or the whole is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || u8::try_from(char::from(rest.next()?).to_digit(16)?).ok();
                digit()? << 4 | digit()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A part of a URL's path: everything escaped that has a meaning there, the `/` too.
pub(in crate::source) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl fmt::Display for HubUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}{}", self.kind.prefix(), self.id)?;
        // Without it, the path of a repository that has no owner would read as its name.
        let needed = !self.path.is_empty() && !self.id.contains('/');
        match self.revision.as_deref().or(needed.then_some(MAIN)) {
            Some(revision) if is_special_reference(revision) => write!(f, "@{revision}")?,
            Some(revision) => write!(f, "@{}", encoded(revision))?,
            None => {}
        }
        match self.path.as_str() {
            "" => Ok(()),
            path => write!(f, "/{path}"),
        }
    }
}

#[cfg(test)]
mod tests;
