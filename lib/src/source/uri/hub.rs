//! `hf://[datasets/|spaces/]org/name[@revision][/path]`, as huggingface_hub's file system has it.

use std::fmt;

use super::invalid;
use crate::Error;

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

/// A repository on the Hub, or a folder or file in it.
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
    pub(crate) fn parse(rest: &str) -> Result<Self, Error> {
        let _ = rest;
        Err(invalid(rest, "not yet"))
    }

    /// Whether it is pinned to a commit: 40 lower-case hexadecimal digits.
    pub fn is_commit(&self) -> bool {
        self.revision.as_deref().is_some_and(|revision| {
            revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    }

    /// The same at no particular revision.
    #[must_use]
    pub fn without_revision(mut self) -> Self {
        self.revision = None;
        self
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
        let same = (self.kind, &self.id) == (file.kind, &file.id);
        (same && !name.is_empty()).then(|| name.to_owned())
    }
}

impl fmt::Display for HubUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}", self.id)
    }
}
