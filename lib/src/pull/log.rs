//! The log of a staging: which bytes of which numbered file were written. It is never believed, only spares work.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    os::fd::BorrowedFd,
};

use rustix::fs::{Mode, OFlags};

use super::{ranges::Ranges, staging::Staged, tree};
use crate::fs::PUBLIC;

/// Its name.
const LOG: &str = "log";

/// Largest log that is read, in bytes: enough for a hundred terabytes.
const LOG_LIMIT: u64 = 1 << 30;

/// What the log says, line by line: a number, a start, an end. A line that was cut says nothing.
pub(super) fn read(container: BorrowedFd<'_>) -> io::Result<Vec<(usize, Range<u64>)>> {
    let file = match tree::open_file(container, LOG) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LOG_LIMIT).read_to_end(&mut bytes)?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    Ok(lines.filter_map(|line| parsed(std::str::from_utf8(line).ok()?)).collect())
}

/// The lines that say of a file which of its bytes were written.
pub(super) fn lines(number: usize, ranges: &Ranges) -> String {
    let mut lines = String::new();
    for range in ranges.iter() {
        let _ = writeln!(lines, "{number} {} {}", range.start, range.end);
    }
    lines
}

fn parsed(line: &str) -> Option<(usize, Range<u64>)> {
    let mut words = line.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let range = words.next()?.parse().ok()?..words.next()?.parse().ok()?;
    (words.next().is_none() && range.start < range.end).then_some((number, range))
}

/// Writes the log anew, and opens it to be added to.
pub(super) fn begin(container: BorrowedFd<'_>, files: &[Staged]) -> io::Result<File> {
    let lines: String = files.iter().enumerate().map(|(number, file)| lines(number, &file.part)).collect();
    tree::write(container, LOG, lines.as_bytes(), PUBLIC)?;
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(container, LOG, flags, Mode::empty())?))
}
