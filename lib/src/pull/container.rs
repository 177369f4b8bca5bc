//! The folder where a pull stages: what it puts there, and what somebody else must have.

use std::{ffi::CStr, io, os::fd::BorrowedFd};

use rustix::fs::FileType;

use super::{journal::Journal, tree};
use crate::source::local::JOURNAL;

/// All that a pull puts into the folder where it stages, but for its lock; the journal last, which tells of the others.
pub(super) const OURS: [&CStr; 10] = [
    c"staging",
    c"log",
    c"log.new",
    c"model",
    c"model.sig",
    c"probe",
    c"probe-a",
    c"probe-b",
    c"journal.new",
    c"journal",
];

/// What of it can be there before the journal is.
const BEFORE_THE_JOURNAL: [&[u8]; 5] = [b"lock", b"probe", b"probe-a", b"probe-b", b"journal.new"];

/// Whether something lies in a folder where a pull would stage that no pull has put there. In the folder that is pulled into
/// a journal counts that cannot be read; beside it, where others may write, it has to be one.
pub(super) fn is_foreign(container: BorrowedFd<'_>, beside: bool) -> io::Result<bool> {
    let has_journal = match beside {
        true => Journal::read(container).is_some(),
        false => has_journal(container)?,
    };
    let ours =
        |name: &CStr| BEFORE_THE_JOURNAL.contains(&name.to_bytes()) || (has_journal && OURS.contains(&name));
    Ok(tree::names(container)?.iter().any(|name| !ours(name)))
}

/// Whether there is a journal, be it one that cannot be read.
pub(super) fn has_journal(container: BorrowedFd<'_>) -> io::Result<bool> {
    let found = tree::look(container, JOURNAL)?;
    Ok(found.is_some_and(|stat| tree::kind(&stat) == FileType::RegularFile))
}
