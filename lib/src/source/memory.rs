//! Models in memory: for tests, and for whoever has the bytes already.

use std::{collections::BTreeMap, fmt};

use super::{Entry, Kind, Source, Stamp};
use crate::{Error, Run, code::Code, shown::Shown};

/// A model in memory.
#[derive(Clone, Default)]
pub struct Memory {
    name: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// A model without files; `name` becomes the subject's name.
    pub fn new(name: impl Into<String>) -> Self {
        Memory { name: name.into(), files: BTreeMap::new() }
    }

    /// The same model with this file, or with new bytes of it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.into(), bytes.into());
        self
    }

    /// The same model without this file.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.files.remove(name);
        self
    }
}

impl Source for Memory {
    fn list(&self, _run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.files.iter().try_for_each(|(name, bytes)| {
            each(Entry {
                name: name.clone(),
                kind: Kind::File,
                real: None,
                through: None,
                size: bytes.len() as u64,
                stamp: Stamp::default(),
                stated: None,
            })
        })
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], _run: &Run) -> Result<usize, Error> {
        let bytes = self.files.get(&entry.name).ok_or_else(|| {
            Error::new(Code::ChangedWhileRead, format!("{:?} is gone", Shown(&entry.name)))
                .with_name(&entry.name)
        })?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }

    fn base_name(&self) -> String {
        self.name.clone()
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory:{}", self.name)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} files)", self.files.len())
    }
}
