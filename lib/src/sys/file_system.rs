//! Which file system a file lies on, and what the kernel itself has measured of it.

use std::{fs::File, io, os::fd::AsFd};

/// File systems of which it is known that every change of a file's bytes shows in its times once its pages were written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystemKind {
    /// ext4, also where the kernel's ext4 serves an older format.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl FileSystemKind {
    /// All of them.
    const ALL: [FileSystemKind; 3] = [FileSystemKind::Ext4, FileSystemKind::Xfs, FileSystemKind::Btrfs];

    /// Its usual name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            FileSystemKind::Ext4 => "ext4",
            FileSystemKind::Xfs => "xfs",
            FileSystemKind::Btrfs => "btrfs",
        }
    }

    /// The magic number of `statfs(2)`.
    const fn magic(self) -> u32 {
        match self {
            FileSystemKind::Ext4 => 0xef53,
            FileSystemKind::Xfs => 0x5846_5342,
            FileSystemKind::Btrfs => 0x9123_683e,
        }
    }

    /// A call that this file system's code alone answers, and everybody may make: its number, the length of the answer, and
    /// where in it the UUID stands.
    ///
    /// ext2 and ext3 have ext4's magic number, but only the code of ext4 answers `EXT4_IOC_GETFSUUID` (Linux 6.0);
    /// `XFS_IOC_FSGEOMETRY_V1` and `BTRFS_IOC_FS_INFO` are as old as containers. `FS_IOC_GETFSUUID` (Linux 6.9) would tell no
    /// more, and btrfs does not answer it.
    #[cfg(target_os = "linux")]
    const fn call(self) -> (u32, usize, usize) {
        match self {
            FileSystemKind::Ext4 => (0x8008_662c, 24, 8),
            FileSystemKind::Xfs => (0x8070_5864, 112, 64),
            FileSystemKind::Btrfs => (0x8400_941f, 1024, 16),
        }
    }
}

/// A file system that is known, wherever it is mounted and whatever its device is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// Whose code answered.
    pub(crate) kind: FileSystemKind,
    /// The UUID that it was made with.
    pub(crate) uuid: [u8; 16],
    /// What `statfs(2)` calls `f_fsid`: of ext4 the folded UUID, of btrfs that with the subvolume. XFS puts the number of its
    /// device there, which tells nothing: 0.
    pub(crate) fsid: u64,
}

/// The file system that an open file or folder lies on, if it is one of those that are known.
#[cfg(target_os = "linux")]
pub(crate) fn file_system(file: impl AsFd) -> Option<FileSystem> {
    let stat = rustix::fs::fstatfs(file.as_fd()).ok()?;
    // The field's type differs between processors, and a number with its highest bit set may be extended by its sign.
    let kind = FileSystemKind::ALL.into_iter().find(|kind| stat.f_type as u32 == kind.magic())?;
    let (request, length, at) = kind.call();
    let mut answer = vec![0_u8; length];
    if kind == FileSystemKind::Ext4 {
        // The length of a UUID that there is room for.
        answer.get_mut(..4)?.copy_from_slice(&16_u32.to_ne_bytes());
    }
    ask(file.as_fd(), request, &mut answer).ok()?;
    let uuid: [u8; 16] = answer.get(at..at + 16)?.try_into().ok()?;
    // Without one it could be any.
    if uuid == [0; 16] {
        return None;
    }
    let fsid = match kind {
        FileSystemKind::Xfs => 0,
        FileSystemKind::Ext4 | FileSystemKind::Btrfs => fsid(file.as_fd())?,
    };
    Some(FileSystem { kind, uuid, fsid })
}

/// The portable twin: none is known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn file_system(_: impl AsFd) -> Option<FileSystem> {
    None
}

/// `f_fsid`, of which the safe wrapper does not give out the numbers.
#[cfg(target_os = "linux")]
fn fsid(file: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
    rustix::fs::fstatvfs(file).ok().map(|stat| stat.f_fsid)
}

/// Makes a call whose answer goes into these bytes.
#[cfg(target_os = "linux")]
fn ask(file: std::os::fd::BorrowedFd<'_>, request: u32, answer: &mut [u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    // SAFETY: The descriptor is open as long as `file` lives. Each request that is made here writes at most as many bytes as
    // its callers give it: the length in the number itself, or the one that was written into the bytes before.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), request as _, answer.as_mut_ptr()) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel measured of a file that it lets nobody change (fs-verity).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measurement {
    /// The kernel's number of the digest: 1 is SHA-256, 2 SHA-512.
    algorithm: u16,
    digest: Vec<u8>,
}

impl Measurement {
    /// Number and digest as bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.algorithm.to_le_bytes().to_vec();
        bytes.extend(&self.digest);
        bytes
    }
}

/// Longest digest that the kernel measures with, in bytes.
const LONGEST: u16 = 64;

/// What the kernel measured of an open file; none where fs-verity is not turned on for it.
///
/// # Errors
/// What the kernel says; `InvalidData` for an answer that is not understood.
#[cfg(target_os = "linux")]
pub(crate) fn measured(file: &File) -> io::Result<Option<Measurement>> {
    const FS_IOC_MEASURE_VERITY: u32 = 0xc004_6686;
    let mut answer = [0_u8; 4 + LONGEST as usize];
    answer[2..4].copy_from_slice(&LONGEST.to_ne_bytes());
    match ask(file.as_fd(), FS_IOC_MEASURE_VERITY, &mut answer) {
        Ok(()) => decode(&answer).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(error) => match error.raw_os_error() {
            // Not turned on for this file, or in this file system, or in this kernel.
            Some(libc::ENODATA | libc::EOPNOTSUPP | libc::ENOTTY) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The portable twin: nothing is measured.
#[cfg(not(target_os = "linux"))]
pub(crate) fn measured(_: &File) -> io::Result<Option<Measurement>> {
    Ok(None)
}

/// Reads `struct fsverity_digest`: algorithm and length in two bytes each, then the digest.
fn decode(answer: &[u8]) -> Option<Measurement> {
    let number = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let (algorithm, length) = (number(0)?, number(2)?);
    let expected = match algorithm {
        1 => 32,
        2 => 64,
        _ => return None,
    };
    let digest = answer.get(4..4 + usize::from(length)).filter(|_| length == expected)?;
    Some(Measurement { algorithm, digest: digest.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(algorithm: u16, length: u16) -> Vec<u8> {
        let head = [algorithm.to_ne_bytes(), length.to_ne_bytes()].concat();
        [head, vec![7; LONGEST.into()]].concat()
    }

    #[test]
    fn a_measurement_is_decoded_whole_or_not_at_all() {
        let sha256 = decode(&answer(1, 32)).unwrap();
        assert_eq!(sha256, Measurement { algorithm: 1, digest: vec![7; 32] });
        assert_eq!(sha256.to_bytes(), [&[1, 0][..], &[7; 32]].concat());
        assert_eq!(decode(&answer(2, 64)).unwrap().digest.len(), 64);
        // Another length than its digest has, another digest, an answer that is cut.
        for wrong in
            [answer(1, 31), answer(1, 64), answer(2, 32), answer(0, 32), answer(3, 32), vec![1, 0, 32]]
        {
            assert_eq!(decode(&wrong), None, "{wrong:?}");
        }
        assert_eq!(decode(&answer(1, 32)[..35]), None);
    }

    #[test]
    fn an_ordinary_file_is_not_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(measured(&File::open(path).unwrap()).unwrap(), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_no_file_system_on_a_disk_is_not_known() {
        for path in ["/proc", "/sys", "/dev/shm"] {
            if let Ok(folder) = File::open(path) {
                assert_eq!(file_system(&folder), None, "{path}");
            }
        }
    }
}
