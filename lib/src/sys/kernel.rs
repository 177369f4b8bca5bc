//! System calls: pushing dirty pages out, telling network file systems, opening beneath a folder.

use std::{
    fs::File,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Pushes the file's dirty pages out to its device and waits for them; whether that was done.
///
/// Not for durability: a page that is written back is write-protected again, so that the next write through a mapping that
/// somebody holds changes the file's times. On file systems in memory (tmpfs, ramfs) the call succeeds, writes nothing back
/// and protects nothing: there content can change under equal times.
#[cfg(target_os = "linux")]
pub(crate) fn write_out(file: &File) -> bool {
    use std::os::fd::AsRawFd;

    const ALL: libc::c_uint =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    loop {
        // SAFETY: The call takes an open descriptor, which `file` keeps open, and numbers; it touches no memory of ours. A
        // length of 0 means up to the end of the file.
        if unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, ALL) } == 0 {
            return true;
        }
        match io::Error::last_os_error().kind() {
            io::ErrorKind::Interrupted => {}
            // A kernel or sandbox without the call; `fdatasync` writes the pages as well, for more.
            io::ErrorKind::Unsupported => return file.sync_data().is_ok(),
            _ => return false,
        }
    }
}

/// The portable twin, ten times as slow.
#[cfg(not(target_os = "linux"))]
pub(crate) fn write_out(file: &File) -> bool {
    file.sync_data().is_ok()
}

/// Whether the file lies on a file system whose pages have no device to go to, by the magic numbers of `statfs(2)`.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn is_in_memory(file: &File) -> bool {
    // tmpfs, ramfs, hugetlbfs
    const MAGIC: [u32; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];
    rustix::fs::fstatfs(file).is_ok_and(|stat| MAGIC.contains(&(stat.f_type as u32)))
}

/// File systems whose files lie on another machine or with another process, by the magic numbers of `statfs(2)`: there a
/// mapped page may take long, fail, or vanish by somebody else's hand.
#[cfg(target_os = "linux")]
const NETWORK_FILE_SYSTEMS: [u32; 20] = [
    0x0000_6969, // NFS
    0x0000_517b, // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x00c3_6400, // Ceph
    0x6573_5546, // FUSE: s3fs, gcsfuse, sshfs, virtiofs, ...
    0x0102_1997, // 9p
    0x5346_414f, // AFS
    0x6b41_4653, // kAFS
    0x7375_7245, // Coda
    0x0000_564c, // NCP
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0xaad7_aaea, // PanFS
    0x0116_1970, // GFS2
    0x7461_636f, // OCFS2
    0xbeef_dead, // StorNext
    0x786f_4256, // VirtualBox shared folders
    0xbacb_acbc, // VMware shared folders
];

/// Whether the file lies on a network file system, or might.
#[cfg(target_os = "linux")]
pub(crate) fn is_network_fs(file: &File) -> bool {
    // The field's type differs between processors, and a number with its highest bit set may be extended by its sign.
    rustix::fs::fstatfs(file).map_or(true, |stat| NETWORK_FILE_SYSTEMS.contains(&(stat.f_type as u32)))
}

/// The portable twin: it might.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_network_fs(_: &File) -> bool {
    true
}

/// What direct reads begin and end at, and their memory too, in bytes: the largest block of a device in common use.
pub(crate) const DIRECT_BLOCK: usize = 4096;

/// Makes reads of this open file pass by the page cache.
///
/// # Errors
/// `EINVAL` where the file system cannot.
#[cfg(target_os = "linux")]
pub(crate) fn set_direct(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT)?)
}

/// The portable twin: nothing can.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set_direct(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens `path` beneath the folder `dir` for reading, following no link in any of its parts.
///
/// `path` is relative, of plain parts between single slashes, or `.` for the folder itself. Besides `flags` it is opened
/// with `CLOEXEC`, `NOCTTY`, `NOFOLLOW` and `NONBLOCK`, so that a FIFO that was swapped in blocks nobody: the caller looks
/// at what it got. With `PATH` a link at the end is opened itself, not what it leads to. Mount points are crossed.
///
/// # Errors
/// `ELOOP` where a part is a link, `EXDEV` where the path is absolute or has a part `..`, `EINVAL` where it is not of plain
/// parts; else what the kernel says.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(rustix::io::Errno::XDEV.into());
    }
    if path != "." && path.split('/').any(|part| part.is_empty() || part == ".") {
        return Err(rustix::io::Errno::INVAL.into());
    }
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    #[cfg(target_os = "linux")]
    if openat2_works(dir) {
        return open_at_once(dir, path, flags);
    }
    open_by_parts(dir, path, flags)
}

/// Whether the kernel has `openat2` (5.6) and lets us call it; found out once.
///
/// An older kernel answers `ENOSYS`, a sandbox that does not know the call `EPERM` or `EACCES`, which files answer as well:
/// so it is asked with an empty path, at which the call itself only ever says `ENOENT`.
#[cfg(target_os = "linux")]
fn openat2_works(dir: BorrowedFd<'_>) -> bool {
    static WORKS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *WORKS.get_or_init(|| {
        let answer = rustix::fs::openat2(dir, "", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), beneath());
        answer.is_err_and(|error| error == rustix::io::Errno::NOENT)
    })
}

#[cfg(target_os = "linux")]
fn beneath() -> rustix::fs::ResolveFlags {
    use rustix::fs::ResolveFlags;

    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// Opens by one call, in which the kernel sees to it that the path stays beneath.
#[cfg(target_os = "linux")]
fn open_at_once(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    // The kernel takes O_PATH together with these few others only.
    let flags = if flags.contains(OFlags::PATH) {
        flags & (OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    } else {
        flags
    };
    retry(|| rustix::fs::openat2(dir, path, flags, Mode::empty(), beneath()))
}

/// The portable twin: one call for each part, from the handle of the one before, none of which follows a link.
fn open_by_parts(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    const FOLDER: OFlags = OFlags::PATH; // asks for no more than walking through it does
    #[cfg(not(target_os = "linux"))]
    const FOLDER: OFlags = OFlags::RDONLY;
    let folder_flags = FOLDER.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

    let mut parts = path.split('/').peekable();
    let mut folder: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let at = folder.as_ref().map_or(dir, std::os::fd::AsFd::as_fd);
        if parts.peek().is_none() {
            return retry(|| rustix::fs::openat(at, part, flags, Mode::empty()));
        }
        match retry(|| rustix::fs::openat(at, part, folder_flags, Mode::empty())) {
            Ok(next) => folder = Some(next),
            // "Not a folder" is said of a link too. This second look decides nothing but the words.
            Err(error) => {
                let link = rustix::fs::statat(at, part, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
                return Err(if link { rustix::io::Errno::LOOP.into() } else { error });
            }
        }
    }
    Err(rustix::io::Errno::INVAL.into())
}

fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(call)?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Read,
        os::{
            fd::AsFd,
            unix::fs::{MetadataExt, symlink},
        },
    };

    use super::*;

    type Open = fn(BorrowedFd<'_>, &str, OFlags) -> io::Result<OwnedFd>;

    /// Both ways, called with the flags that [`open_beneath`] passes on.
    fn ways() -> Vec<(&'static str, Open)> {
        vec![
            ("openat2", {
                #[cfg(target_os = "linux")]
                let way: Open = open_at_once;
                #[cfg(not(target_os = "linux"))]
                let way: Open = open_by_parts;
                way
            }),
            ("by parts", open_by_parts),
            ("open_beneath", open_beneath),
        ]
    }

    const FLAGS: OFlags = OFlags::RDONLY
        .union(OFlags::CLOEXEC)
        .union(OFlags::NOCTTY)
        .union(OFlags::NOFOLLOW)
        .union(OFlags::NONBLOCK);

    /// A folder `model` with files in it, beside a secret that no path may reach.
    fn models() -> (tempfile::TempDir, File) {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("model/a/b")).unwrap();
        fs::write(top.path().join("model/a/b/c"), "inside").unwrap();
        fs::create_dir_all(top.path().join("outside/b")).unwrap();
        fs::write(top.path().join("outside/b/c"), "secret").unwrap();
        let model = File::open(top.path().join("model")).unwrap();
        (top, model)
    }

    fn errno(result: io::Result<OwnedFd>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn both_ways_open_what_is_there() {
        let (_top, model) = models();
        for (way, open) in ways() {
            let mut text = String::new();
            File::from(open(model.as_fd(), "a/b/c", FLAGS).unwrap()).read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{way}");
            for folder in [".", "a", "a/b"] {
                let folder = File::from(open(model.as_fd(), folder, FLAGS | OFlags::DIRECTORY).unwrap());
                assert!(folder.metadata().unwrap().is_dir(), "{way}");
            }
            assert_eq!(errno(open(model.as_fd(), "a/b/none", FLAGS)), Some(libc::ENOENT), "{way}");
            assert_eq!(errno(open(model.as_fd(), "a/none/c", FLAGS)), Some(libc::ENOENT), "{way}");
            assert_eq!(errno(open(model.as_fd(), "a/b/c/d", FLAGS)), Some(libc::ENOTDIR), "{way}");
            assert_eq!(
                errno(open(model.as_fd(), "a/b/c", FLAGS | OFlags::DIRECTORY)),
                Some(libc::ENOTDIR),
                "{way}"
            );
        }
    }

    #[test]
    fn both_ways_refuse_a_link_swapped_in_for_any_part() {
        let outside = |top: &tempfile::TempDir, part: &str| match part {
            "a" => top.path().join("outside"),
            "a/b" => top.path().join("outside/b"),
            _ => top.path().join("outside/b/c"),
        };
        for (way, open) in ways() {
            for part in ["a", "a/b", "a/b/c"] {
                let (top, model) = models();
                let place = top.path().join("model").join(part);
                let aside = top.path().join("aside");
                fs::rename(&place, &aside).unwrap();
                // Out of the model by an absolute and a relative path, and to its own bytes: a link is refused as such.
                for target in [outside(&top, part), "../outside".into(), aside.clone(), "nowhere".into()] {
                    symlink(&target, &place).unwrap();
                    let got = errno(open(model.as_fd(), "a/b/c", FLAGS));
                    assert_eq!(got, Some(libc::ELOOP), "{way}: {part} -> {}", target.display());
                    fs::remove_file(&place).unwrap();
                }
                fs::rename(&aside, &place).unwrap();
                assert!(open(model.as_fd(), "a/b/c", FLAGS).is_ok(), "{way}: {part} put back");
            }
        }
    }

    #[test]
    fn links_in_proc_lead_nowhere_either() {
        let proc = File::open("/proc/self").unwrap();
        for (way, open) in ways() {
            assert_eq!(errno(open(proc.as_fd(), "cwd/any", FLAGS)), Some(libc::ELOOP), "{way}");
            assert_eq!(errno(open(proc.as_fd(), "exe", FLAGS)), Some(libc::ELOOP), "{way}");
        }
    }

    #[test]
    fn paths_that_are_not_of_plain_parts_are_refused() {
        let (top, model) = models();
        let absolute = top.path().join("model/a/b/c").display().to_string();
        for path in ["..", "../outside/b/c", "a/../a/b/c", "a/..", "/", &absolute] {
            assert_eq!(errno(open_beneath(model.as_fd(), path, OFlags::RDONLY)), Some(libc::EXDEV), "{path}");
        }
        for path in ["", "a/", "a//b", "./a", "a/.", "a/b/c\0"] {
            assert_eq!(
                errno(open_beneath(model.as_fd(), path, OFlags::RDONLY)),
                Some(libc::EINVAL),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_pipe_is_opened_without_waiting_and_a_link_by_itself() {
        let (top, model) = models();
        let pipe = top.path().join("model/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        symlink("pipe", top.path().join("model/link")).unwrap();
        for (way, open) in ways() {
            let pipe = open(model.as_fd(), "pipe", FLAGS).unwrap();
            let kind = |fd: &OwnedFd| FileType::from_raw_mode(rustix::fs::fstat(fd).unwrap().st_mode);
            assert_eq!(kind(&pipe), FileType::Fifo, "{way}");
            assert!(rustix::io::fcntl_getfd(&pipe).unwrap().contains(rustix::io::FdFlags::CLOEXEC), "{way}");
            let link = open(model.as_fd(), "link", FLAGS | OFlags::PATH).unwrap();
            assert_eq!(kind(&link), FileType::Symlink, "{way}");
        }
        // And without being told to.
        let pipe = open_beneath(model.as_fd(), "pipe", OFlags::RDONLY).unwrap();
        assert!(rustix::io::fcntl_getfd(&pipe).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let link = open_beneath(model.as_fd(), "link", OFlags::PATH).unwrap();
        assert_eq!(FileType::from_raw_mode(rustix::fs::fstat(&link).unwrap().st_mode), FileType::Symlink);
    }

    /// Writes through a mapping, stamps, writes again: what the call answers, and whether the second write shows.
    #[cfg(target_os = "linux")]
    fn mapped_write_shows(folder: &std::path::Path, push: bool) -> (bool, bool) {
        let file = tempfile::tempfile_in(folder).unwrap();
        file.set_len(8192).unwrap();
        // SAFETY: Nobody else has the file, and only this map writes to it.
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
        // Longer than any clock tick that stamps files.
        let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
        let stamp =
            || file.metadata().map(|metadata| (metadata.modified().unwrap(), metadata.ctime_nsec())).unwrap();
        map[0] = 1;
        let answer = push && write_out(&file);
        pause();
        let before = stamp();
        map[0] = 2;
        pause();
        (answer, stamp() != before)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mapped_write_after_pages_were_pushed_out_shows_wherever_there_is_a_device() {
        let folder = tempfile::tempdir().unwrap();
        let memory = std::path::Path::new("/dev/shm");
        for folder in [folder.path(), memory].into_iter().filter(|folder| folder.exists()) {
            let in_memory = is_in_memory(&File::open(folder).unwrap());
            assert_eq!(mapped_write_shows(folder, true), (true, !in_memory), "{}", folder.display());
            // The call is what makes it show.
            assert!(!mapped_write_shows(folder, false).1, "{}", folder.display());
        }
    }

    #[test]
    fn a_pipe_has_no_pages_to_push_out() {
        let (read, _write) = io::pipe().unwrap();
        assert!(!write_out(&File::from(OwnedFd::from(read))));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_local_file_system_is_told_from_one_that_cannot_be_known() {
        // /proc is on every Linux, and is not on a network.
        assert!(!is_network_fs(&File::open("/proc/self/status").unwrap()));
        assert!(NETWORK_FILE_SYSTEMS.contains(&(rustix::fs::NFS_SUPER_MAGIC as u32)));
    }
}
