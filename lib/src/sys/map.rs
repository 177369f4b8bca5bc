//! A window of a file, mapped into memory for as long as a closure looks at it.

use std::{fs::File, ops::Range};

/// Why a window could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapError {
    /// The file ends before the window does.
    Truncated,
    /// The kernel or the file system does not map it, or could not read it; `pread` works, or says what is wrong.
    Refused,
}

/// Maps the bytes `range` (end exclusive) of `file`, reads them into memory, and shows them to `look`.
///
/// The window need not begin or end at a page; it is unmapped before this returns. All its pages are in place before
/// `look` runs, so that a file which is already shorter is an error here and not a SIGBUS there. What remains is a file
/// that is truncated while `look` runs: see [`sigbus`](super::sigbus).
///
/// # Errors
/// [`MapError::Truncated`] when the file does not reach the end of the range, before or after `look`: then what it saw
/// may have been zeros in place of the file's bytes, and its result is dropped. [`MapError::Refused`] when the window
/// cannot be mapped; then `look` was not called.
pub(crate) fn with_window<R>(
    file: &File,
    range: Range<u64>,
    look: impl FnOnce(&[u8]) -> R,
) -> Result<R, MapError> {
    let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|len| isize::try_from(*len).is_ok()).ok_or(MapError::Refused)?;
    if len == 0 {
        return Ok(look(&[]));
    }
    let result = mapped(file, range.start, len, look)?;
    // A file cut inside its last page shows zeros there, and raises nothing.
    if reaches(file, range.end) { Ok(result) } else { Err(MapError::Truncated) }
}

#[cfg(target_os = "linux")]
fn mapped<R>(file: &File, start: u64, len: usize, look: impl FnOnce(&[u8]) -> R) -> Result<R, MapError> {
    use memmap2::{Advice, MmapOptions};

    // SAFETY: The mapping is read-only, is owned by this function, and lives until it returns; `look` gets a borrow that
    // cannot outlive it, and nothing in this process writes to the pages. Another process that has the file open can: by
    // writing it can change bytes while `look` reads them, which the digests that are computed here take for what they
    // are, bytes of unknown value that are looked at in no other way; headers are parsed from copies. By truncating it can
    // take pages away, so that a read of them raises SIGBUS: it ends the process, it never yields other memory.
    // Programs that map have opted in to that and handle the signal (`sigbus`).
    let map =
        unsafe { MmapOptions::new().offset(start).len(len).map(file) }.map_err(|_| MapError::Refused)?;
    match map.advise(Advice::PopulateRead) {
        Ok(()) => Ok(look(&map)),
        // EFAULT: the file ends before the window, or its pages could not be read. Any other error: a kernel before 5.14, or
        // a file system that cannot. The length tells the first from the rest, which `pread` deals with.
        Err(_) if reaches(file, start.saturating_add(len as u64)) => Err(MapError::Refused),
        Err(_) => Err(MapError::Truncated),
    }
}

/// The portable twin: nothing is mapped where the kernel cannot say beforehand whether a page is there.
#[cfg(not(target_os = "linux"))]
fn mapped<R>(_: &File, _: u64, _: usize, _: impl FnOnce(&[u8]) -> R) -> Result<R, MapError> {
    Err(MapError::Refused)
}

/// Whether the file has at least `end` bytes; no, when nobody can tell.
fn reaches(file: &File, end: u64) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() >= end)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A ramp of prime period, so that no two windows of it look alike.
    fn ramp(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    fn file_of(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn a_window_shows_the_bytes_of_its_range_wherever_it_begins_and_ends() {
        let bytes = ramp(3 * 4096 + 100);
        let file = file_of(&bytes);
        let seams = [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 3 * 4096, bytes.len() - 1, bytes.len()];
        for start in seams {
            for end in seams.into_iter().filter(|end| *end >= start) {
                let seen = with_window(&file, start as u64..end as u64, <[u8]>::to_vec).unwrap();
                assert!(seen == bytes[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn a_file_that_ends_before_the_window_is_truncated() {
        let file = file_of(&ramp(5000));
        // Past the last page, in the last page, and from behind the end on.
        for range in [0..9000, 0..5001, 4999..5001, 9000..9001] {
            assert_eq!(with_window(&file, range.clone(), |_| ()), Err(MapError::Truncated), "{range:?}");
        }
        assert_eq!(with_window(&file, 0..5000, <[u8]>::len), Ok(5000));
    }

    #[test]
    fn a_file_cut_while_it_is_looked_at_is_truncated_even_within_a_page() {
        let file = file_of(&ramp(5000));
        // Only the last page is cut, and only in part: reading on is allowed, and shows zeros.
        let seen = with_window(&file, 0..5000, |bytes| {
            file.set_len(4999).unwrap();
            bytes[4999]
        });
        assert_eq!(seen, Err(MapError::Truncated));
    }

    #[test]
    fn what_cannot_be_mapped_is_refused_before_it_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let unreadable = File::create(folder.path().join("write-only")).unwrap();
        unreadable.set_len(5000).unwrap();
        let folder = File::open(folder.path()).unwrap();
        let file = file_of(&ramp(10));
        for (file, range) in [
            (&unreadable, 0..5000),
            (&folder, 0..1),
            (&file, 0..u64::MAX),
            (&file, Range { start: 2, end: 1 }),
        ] {
            let mut looked = false;
            assert_eq!(with_window(file, range, |_| looked = true), Err(MapError::Refused));
            assert!(!looked);
        }
    }
}
