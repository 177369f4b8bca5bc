//! What a pull writes down before all else, so that readers know of it and the next one can go on where it was cut.

use std::{io, os::fd::BorrowedFd};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tree;
use crate::{
    code::Code,
    fs::{PUBLIC, read_open},
    manifest::{Manifest, hex},
    source::local::JOURNAL,
};

/// The version of the journal and of all that lies beside it.
const VERSION: u32 = 1;

/// Largest journal that is read, in bytes.
const LIMIT: u64 = 64 << 10;

/// The journal of a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    version: u32,
    /// What is pulled: see [`key`].
    pub(super) model: String,
    pub(super) phase: Phase,
    /// The inode of the folder that is to be exchanged with the old one, once that is about to happen.
    pub(super) folder: Option<u64>,
}

/// How far a pull has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// Nothing of the old model was touched.
    Fetching,
    /// Everything is verified, and is being put in its place.
    Placing,
}

impl Journal {
    pub(super) fn new(model: &str) -> Self {
        Journal { version: VERSION, model: model.to_owned(), phase: Phase::Fetching, folder: None }
    }

    /// The journal in a folder; none where there is none that can be made use of.
    pub(super) fn read(folder: BorrowedFd<'_>) -> Option<Self> {
        let file = tree::open_file(folder, JOURNAL).ok()?;
        let bytes = read_open(file, JOURNAL, LIMIT, "the journal", Code::IoFailed, Code::IoFailed).ok()?;
        let journal: Journal = serde_json::from_slice(&bytes).ok()?;
        (journal.version == VERSION).then_some(journal)
    }

    /// Writes it, so that it survives a crash.
    pub(super) fn write(&self, folder: BorrowedFd<'_>) -> io::Result<()> {
        tree::write(folder, JOURNAL, &serde_json::to_vec(self)?, PUBLIC)
    }
}

/// What is pulled, in a word: names and digests of all statements. What was staged of one model is of no use for another.
///
/// The root digest would not do, which is over digests without their names.
pub(super) fn key(manifests: &[&Manifest]) -> String {
    let mut all: Vec<[u8; 32]> = manifests
        .iter()
        .map(|manifest| {
            let mut hasher = Sha256::new();
            for resource in manifest.resources() {
                let name = resource.identifier();
                hasher.update((name.len() as u64).to_le_bytes());
                hasher.update(name);
                hasher.update(resource.digest.to_string());
            }
            hasher.finalize().into()
        })
        .collect();
    all.sort_unstable();
    hex(&Sha256::digest(all.concat()))
}
