//! Where models are: the trait that a store implements, and what it lists.

use std::{
    fmt::{Debug, Display},
    fs::File,
    ops::Range,
    sync::Arc,
};

use crate::{
    Error, Run,
    code::Code,
    manifest::{Digest, ResourceName},
    report::Finding,
    shown::Shown,
};

#[cfg(feature = "hub")]
pub(crate) mod hub;
pub(crate) mod hub_cache;
pub(crate) mod listing;
pub(crate) mod local;
pub(crate) mod memory;
#[cfg(feature = "s3")]
pub(crate) mod s3;
pub(crate) mod uri;

/// A store of one model's files.
///
/// A source says what is there and reads it; it decides nothing. Which entries are ignored, which links are followed and
/// what is refused is decided in one place for all sources, in the listing.
pub trait Source: Debug + Display + Send + Sync {
    /// Lists everything in the model, in any order.
    ///
    /// # Errors
    /// When the listing as a whole cannot be had; what concerns one entry is that entry's [`Kind`]. An error that `each`
    /// returns ends the listing and is passed on.
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error>;

    /// Reads into `buf` from byte `offset` of a listed file on; short only at the end of the file.
    ///
    /// # Errors
    /// `changed-while-read` when the file is not the one that was listed; else what the store said.
    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error>;

    /// The listed file, opened, where the store has real files that may be mapped.
    ///
    /// After this call every change to the file shows in a later [`Stamp`].
    ///
    /// # Errors
    /// As [`read_at`](Source::read_at).
    fn file(&self, entry: &Entry, run: &Run) -> Result<Option<File>, Error> {
        let _ = (entry, run);
        Ok(None)
    }

    /// How the store is read best.
    fn shape(&self) -> Shape {
        Shape::LOCAL
    }

    /// Reads the bytes `range` (end exclusive) of a listed file, all of them, for stores where every read is a journey:
    /// `buffer` is emptied, filled and handed back, so that its memory is used again. Calls come from several threads.
    ///
    /// # Errors
    /// As [`read_at`](Source::read_at); `changed-while-read` too when the file ends before the range does.
    fn fetch(
        &self,
        entry: &Entry,
        range: Range<u64>,
        mut buffer: Vec<u8>,
        run: &Run,
    ) -> Result<Vec<u8>, Error> {
        buffer.clear();
        buffer.resize(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or_default(), 0);
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(entry, range.start.saturating_add(filled as u64), rest, run)? {
                0 => return Err(shorter(entry)),
                read => filled += read,
            }
        }
        Ok(buffer)
    }

    /// The SHA-256 of each of these files, whole, as the store itself states it: none where it states none. No file is
    /// read that is not small.
    ///
    /// # Errors
    /// What the store said when it was asked.
    fn stated(&self, entries: &[&Entry], run: &Run) -> Result<Vec<Option<Digest>>, Error> {
        let _ = run;
        Ok(entries.iter().map(|entry| entry.stated).collect())
    }

    /// What the store says of these files that speaks against them: that they are not encrypted as was demanded.
    ///
    /// # Errors
    /// What the store said when it was asked.
    fn objections(&self, entries: &[&Entry], run: &Run) -> Result<Vec<Finding>, Error> {
        let _ = (entries, run);
        Ok(Vec::new())
    }

    /// Whether the model still stands where it was opened: not another one put in its place.
    ///
    /// # Errors
    /// `changed-while-read` when it does not.
    fn unmoved(&self, run: &Run) -> Result<(), Error> {
        let _ = run;
        Ok(())
    }

    /// Whether the model is one file rather than a folder of files.
    fn is_single_file(&self) -> bool {
        false
    }

    /// The base name of the model, which a statement's subject carries.
    fn base_name(&self) -> String;
}

/// A file that ended before its listed size.
pub(crate) fn shorter(entry: &Entry) -> Error {
    let what =
        format!("{} became shorter than the {} bytes it was listed with", Shown(&entry.name), entry.size);
    Error::new(Code::ChangedWhileRead, what).with_name(&entry.name)
}

/// How a store is read best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many reads are to be under way at once; 0 where files are on this machine and its own way of reading is best.
    pub reads: usize,
    /// How much is read at once, in bytes.
    pub part: u64,
}

impl Shape {
    /// Files on this machine.
    pub const LOCAL: Shape = Shape { reads: 0, part: 0 };
    /// A server to which each read is a journey: 16 reads of at most 4 MiB.
    pub const REMOTE: Shape = Shape { reads: 16, part: 4 << 20 };
}

/// One thing that a source listed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path in the model. Where [`Kind::BadName`] says that it cannot be named, a lossy rendering.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// For a link that leads to a file or folder in the model: the path there without any link. Else none.
    pub real: Option<String>,
    /// For a name that a file has through a link to a folder: that link. Such entries are added to the listing; a source
    /// gives none.
    pub through: Option<String>,
    /// Length of the file, or of the file a link leads to, in bytes.
    pub size: u64,
    /// What changes when it changes, links and their targets both.
    pub stamp: Stamp,
    /// The SHA-256 that the store states for the whole file, where a listing has it.
    pub stated: Option<Digest>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file. A link into the blobs of a Hub cache counts as one.
    File,
    /// A folder; what is in it is listed besides.
    Folder,
    /// A link to a regular file in the model.
    LinkToFile,
    /// A link to a folder in the model; what lies behind it is listed under its own name only.
    LinkToFolder,
    /// A link that leads out of the model.
    LinkOut,
    /// A link that leads to itself, or through too many others.
    LinkCycle,
    /// A link to nothing.
    LinkDangling,
    /// A pipe, socket or device, or a link to one; it is never opened. The word says which.
    Special(&'static str),
    /// A file or folder whose name is not valid UTF-8 or too long.
    BadName,
    /// A folder that could not be read, and why.
    Unreadable(Box<crate::report::Finding>),
}

/// What tells whether an entry is still what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The entry itself, or the file at the end of a link.
    pub file: FileStamp,
    /// The link, where there is one.
    pub link: Option<FileStamp>,
    /// What a store without a file system says in place of the above: an ETag, a commit with an object's id.
    pub tag: Option<Arc<str>>,
}

/// What the file system says about one inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    /// The file system.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since 1970.
    pub modified: i128,
    /// Time of the last change of content or metadata, in nanoseconds since 1970; no user can set it.
    pub changed: i128,
}

impl Entry {
    /// An entry of which only the name and the kind matter.
    pub(crate) fn plain(name: String, kind: Kind) -> Self {
        Entry { name, kind, real: None, through: None, size: 0, stamp: Stamp::default(), stated: None }
    }

    /// The path under which the file is opened: its own, or that at the end of its link.
    pub fn location(&self) -> &str {
        self.real.as_deref().unwrap_or(&self.name)
    }

    /// The name as a resource name.
    ///
    /// # Errors
    /// `name-invalid` when it cannot be one.
    pub fn resource_name(&self) -> Result<ResourceName, Error> {
        ResourceName::parse(&self.name)
    }
}
