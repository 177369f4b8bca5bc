//! A window of a file, mapped into memory for as long as it is looked at.

use std::{fs::File, ops::Range};

/// Why a window cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapError {
    /// The file ends before the window does.
    Truncated,
    /// The kernel or the file system does not map it, or could not read it; `pread` works, or says what is wrong.
    Refused,
}

/// Bytes of a file in memory, mapped and in place; unmapped when this is dropped.
#[derive(Debug)]
pub(crate) struct Window {
    map: Map,
    end: u64,
}

impl Window {
    /// Maps the bytes `range` (end exclusive) of `file` and reads them into memory.
    ///
    /// The window need not begin or end at a page. All its pages are in place when this returns, so that a file which is
    /// already shorter is an error here and not a SIGBUS later. What remains is a file that is truncated while the
    /// window stands: see [`sigbus`](super::sigbus).
    ///
    /// # Errors
    /// [`MapError::Truncated`] when the file ends a page or more before the range, what is nearer shows in
    /// [`close`](Self::close); [`MapError::Refused`] when the window cannot be mapped.
    pub(crate) fn of(file: &File, range: Range<u64>) -> Result<Window, MapError> {
        let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len > 0 && isize::try_from(*len).is_ok()).ok_or(MapError::Refused)?;
        Ok(Window { map: map(file, range.start, len)?, end: range.end })
    }

    /// The bytes. Somebody who writes to the file can change them at any moment.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Unmaps the window and tells whether what was seen in it were bytes of the file to the end.
    ///
    /// # Errors
    /// [`MapError::Truncated`] when the file became shorter: a file cut inside its last page shows zeros there and raises
    /// nothing, so that whatever was made of the bytes is worthless.
    pub(crate) fn close(self, file: &File) -> Result<(), MapError> {
        if reaches(file, self.end) { Ok(()) } else { Err(MapError::Truncated) }
    }
}

#[cfg(target_os = "linux")]
type Map = memmap2::Mmap;

#[cfg(target_os = "linux")]
fn map(file: &File, start: u64, len: usize) -> Result<Map, MapError> {
    use memmap2::{Advice, MmapOptions};

    // SAFETY: The mapping is read-only and owned by the window, whose bytes are borrowed from it and cannot outlive it;
    // nothing in this process writes to the pages. Another process that has the file open can: by writing it can change
    // bytes while they are looked at, which the digests that are computed here take for what they are, bytes of unknown
    // value that are looked at in no other way; headers are parsed from copies. By truncating it can take pages away, so
    // that a read of them raises SIGBUS: it ends the process, it never yields other memory. Programs that map have opted
    // in to that and handle the signal (`sigbus`).
    let map =
        unsafe { MmapOptions::new().offset(start).len(len).map(file) }.map_err(|_| MapError::Refused)?;
    match map.advise(Advice::PopulateRead) {
        Ok(()) => Ok(map),
        // EFAULT: the file ends before the window, or its pages could not be read. Any other error: a kernel before 5.14, or
        // a file system that cannot. The length tells the first from the rest, which `pread` deals with.
        Err(_) if reaches(file, start.saturating_add(len as u64)) => Err(MapError::Refused),
        Err(_) => Err(MapError::Truncated),
    }
}

/// The portable twin: nothing is mapped where the kernel cannot say beforehand whether a page is there.
#[cfg(not(target_os = "linux"))]
type Map = Vec<u8>;

#[cfg(not(target_os = "linux"))]
fn map(_: &File, _: u64, _: usize) -> Result<Map, MapError> {
    Err(MapError::Refused)
}

/// Brings the bytes `range` of a file into the page cache and waits for them; whether that could be done.
///
/// A mapping that is to have large pages makes the kernel read as much as two at each fault, whatever the device's
/// read-ahead is set to, and keep it in pieces as large as the file system has. That is what makes later mappings of the file
/// cheap, ours and those of whoever loads it. Only a byte of each is mapped, since what is mapped counts as memory of ours.
#[cfg(target_os = "linux")]
pub(crate) fn fetch(file: &File, range: &Range<u64>) -> bool {
    use memmap2::{Advice, MmapOptions};

    // Two large pages at each fault: one that is waited for, and the next.
    const STEP: usize = 4 << 20;
    range.clone().step_by(STEP).all(|start| {
        // SAFETY: The mapping is read-only, owned by this function, and nothing ever looks at its bytes.
        let Ok(map) = (unsafe { MmapOptions::new().offset(start).len(1).map(file) }) else { return false };
        [Advice::HugePage, Advice::PopulateRead].into_iter().all(|advice| map.advise(advice).is_ok())
    })
}

/// The portable twin: it cannot.
#[cfg(not(target_os = "linux"))]
pub(crate) fn fetch(_: &File, _: &Range<u64>) -> bool {
    false
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
            for end in seams.into_iter().filter(|end| *end > start) {
                let window = Window::of(&file, start as u64..end as u64).unwrap();
                assert!(window.bytes() == &bytes[start..end], "{start}..{end}");
                assert_eq!(window.close(&file), Ok(()));
            }
        }
    }

    #[test]
    fn a_file_that_ends_before_the_window_is_truncated() {
        let file = file_of(&ramp(5000));
        // Past the last page, in the last page, and from behind the end on.
        for range in [0..9000, 0..5001, 4999..5001, 9000..9001] {
            let seen = Window::of(&file, range.clone()).and_then(|window| window.close(&file));
            assert_eq!(seen, Err(MapError::Truncated), "{range:?}");
        }
        assert_eq!(Window::of(&file, 0..5000).unwrap().bytes().len(), 5000);
    }

    #[test]
    fn a_file_cut_while_it_is_looked_at_is_truncated_even_within_a_page() {
        let file = file_of(&ramp(5000));
        // Only the last page is cut, and only in part: reading on is allowed, and shows zeros.
        let window = Window::of(&file, 0..5000).unwrap();
        file.set_len(4999).unwrap();
        assert_eq!(window.bytes()[4999], 0);
        assert_eq!(window.close(&file), Err(MapError::Truncated));
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let unreadable = File::create(folder.path().join("write-only")).unwrap();
        unreadable.set_len(5000).unwrap();
        let folder = File::open(folder.path()).unwrap();
        let file = file_of(&ramp(10));
        for (file, range) in [
            (&unreadable, 0..5000),
            (&folder, 0..1),
            (&file, 0..u64::MAX),
            (&file, 1..1),
            (&file, Range { start: 2, end: 1 }),
        ] {
            assert_eq!(Window::of(file, range).unwrap_err(), MapError::Refused);
        }
    }
}
