//! The page cache: what of a file is in it, and how much it may hold.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Component, Path, PathBuf},
};

/// Whether bytes of a file are in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// All but a few.
    Yes,
    No,
    /// The kernel or the file system does not tell.
    Unknown,
}

/// Whether the bytes `range` of a file, at least one, are in the page cache.
///
/// `cachestat(2)` (Linux 6.5) counts the pages, but later kernels answer it only to those who own the file or may write to
/// it; `mincore(2)` then says that all is there. For everybody else a few bytes are read on the condition that nothing is
/// waited for.
#[cfg(target_os = "linux")]
pub(crate) fn cached(file: &File, range: &Range<u64>) -> Cached {
    let pages = range.end.div_ceil(PAGE) - range.start / PAGE;
    match count_cached(file, range) {
        // For a few pages that are missing nobody need hurry.
        Some(cached) if cached + pages / 16 >= pages => Cached::Yes,
        Some(_) => Cached::No,
        None => probe(file, range),
    }
}

/// The portable twin: nobody tells.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cached(_: &File, _: &Range<u64>) -> Cached {
    Cached::Unknown
}

/// What pages are counted in, at least; where they are larger, fewer are counted than there are bytes for.
#[cfg(target_os = "linux")]
const PAGE: u64 = 4096;

/// The pages of a range that are cached.
#[cfg(target_os = "linux")]
fn count_cached(file: &File, range: &Range<u64>) -> Option<u64> {
    use std::os::fd::AsRawFd;

    /// Its number is the same on every processor.
    const SYS_CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct CacheRange {
        offset: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct CacheStat {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let asked = CacheRange { offset: range.start, length: range.end.saturating_sub(range.start) };
    let mut answer = CacheStat::default();
    // SAFETY: The pointers are to two structures laid out as the kernel's, which outlive the call; it reads the first and
    // writes the second. The descriptor is open for as long as `file` is borrowed.
    let result = unsafe {
        libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const asked, &raw mut answer, 0 as libc::c_uint)
    };
    let pages = rustix::param::page_size() as u64 / PAGE;
    (result == 0).then(|| answer.cached.saturating_mul(pages))
}

/// Reads a byte here and there of a range, and waits for none.
#[cfg(target_os = "linux")]
fn probe(file: &File, range: &Range<u64>) -> Cached {
    use rustix::io::{Errno, ReadWriteFlags};

    let last = range.end.saturating_sub(1).max(range.start);
    for at in [range.start, range.start + (last - range.start) / 2, last] {
        let mut byte = [0];
        let mut buffers = [io::IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(file, &mut buffers, at, ReadWriteFlags::NOWAIT) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Cached::No,
            Err(_) => return Cached::Unknown,
        }
    }
    Cached::Yes
}

/// Lets the page cache forget the bytes `range` of a file, as far as nobody else uses them.
#[cfg(target_os = "linux")]
pub(crate) fn forget(file: &File, range: &Range<u64>) {
    let length = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
    // That it failed costs others some memory, and us nothing.
    let _ = rustix::fs::fadvise(file, range.start, length, rustix::fs::Advice::DontNeed);
}

/// The portable twin does nothing.
#[cfg(not(target_os = "linux"))]
pub(crate) fn forget(_: &File, _: &Range<u64>) {}

/// How many files this process may have open at once.
pub(crate) fn descriptors() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many bytes of files this process can have in the page cache: what the memory limits of its cgroup and those above
/// it (v1 and v2) and the machine leave, files that are cached already included. None where nothing tells.
pub(crate) fn room() -> Option<u64> {
    room_by(Path::new("/"))
}

/// [`room`] of the system whose `proc` and `sys` lie below `root`.
fn room_by(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| field(&text, "MemAvailable:"));
    let machine = machine.and_then(|kib| kib.checked_mul(1024));
    groups(root).into_iter().filter_map(|(version, group)| version.room(&group)).chain(machine).min()
}

/// The least memory limit of this process's cgroup and those above it (v1 and v2), in bytes, where there is one below the
/// machine's memory: what is cached beyond it is lost.
pub fn memory_limit() -> Option<u64> {
    limit_by(Path::new("/"))
}

/// [`memory_limit`] of the system whose `proc` and `sys` lie below `root`.
fn limit_by(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.and_then(|text| field(&text, "MemTotal:")?.checked_mul(1024));
    let least = groups(root).into_iter().filter_map(|(version, group)| version.limit(&group)).min()?;
    Some(least).filter(|least| machine.is_none_or(|machine| *least < machine))
}

/// The folders of this process's cgroup and those above it that limit memory.
fn groups(root: &Path) -> Vec<(Version, PathBuf)> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let mounts = read("proc/self/mountinfo").unwrap_or_default();
    let all = mounts.lines().filter_map(|line| Hierarchy::of(line, &groups)).flat_map(|hierarchy| {
        let Hierarchy { version, mount, group } = hierarchy;
        let mut levels: Vec<PathBuf> = group.ancestors().map(|level| mount.join(level)).collect();
        levels.dedup();
        levels.into_iter().filter_map(move |level| Some((version, root.join(level.strip_prefix("/").ok()?))))
    });
    all.collect()
}

/// A mounted hierarchy of cgroups that limits memory.
struct Hierarchy {
    version: Version,
    mount: PathBuf,
    /// The process's own group, relative to the mount.
    group: PathBuf,
}

#[derive(Clone, Copy)]
enum Version {
    V1,
    V2,
}

impl Hierarchy {
    /// From a line of `/proc/self/mountinfo` (see proc(5)) and all of `/proc/self/cgroup`.
    fn of(mount: &str, groups: &str) -> Option<Hierarchy> {
        let (before, after) = mount.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let version = match kind {
            "cgroup2" => Version::V2,
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::V1,
            _ => return None,
        };
        let mut before = before.split(' ').skip(3);
        let (root, mount) = (before.next()?, before.next()?);
        let group = groups.lines().find_map(|line| {
            let (_, line) = line.split_once(':')?;
            let (controllers, path) = line.split_once(':')?;
            let right = match version {
                Version::V2 => controllers.is_empty(),
                Version::V1 => controllers.split(',').any(|controller| controller == "memory"),
            };
            right.then_some(path)
        })?;
        // In a container the group may be named as the host sees it; then the mount itself is the group.
        let group = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        let plain = group.components().all(|part| matches!(part, Component::Normal(_)));
        let group = if plain { group } else { Path::new("") };
        Some(Hierarchy { version, mount: PathBuf::from(mount), group: group.to_owned() })
    }
}

impl Version {
    /// The limit of one group. Without one v2 says "max", which is no number.
    fn limit(self, group: &Path) -> Option<u64> {
        let name = match self {
            Version::V2 => "memory.max",
            Version::V1 => "memory.limit_in_bytes",
        };
        fs::read_to_string(group.join(name)).ok()?.trim().parse().ok()
    }

    /// What one group leaves: its limit without what is neither free nor a cached file.
    fn room(self, group: &Path) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let number = |name: &str| read(name).and_then(|text| text.trim().parse::<u64>().ok());
        let (used, fields) = match self {
            Version::V2 => ("memory.current", ["inactive_file", "active_file"]),
            Version::V1 => ("memory.usage_in_bytes", ["total_inactive_file", "total_active_file"]),
        };
        // Without a limit v1 says a number that is larger than any memory.
        let limit = self.limit(group)?;
        let stat = read("memory.stat")?;
        let files: u64 = fields.iter().filter_map(|name| field(&stat, name)).sum();
        Some(limit.saturating_sub(number(used)?.saturating_sub(files)))
    }
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests;
