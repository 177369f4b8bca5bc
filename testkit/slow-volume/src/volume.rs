//! The volume itself: a flat folder, all of it known at the start.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEntry, ReplyOpen, Request,
};

/// Requests that are answered at the same time. The kernel keeps 16 of its read-ahead in flight besides those that
/// programs wait for, so that none of them waits for a thread.
const THREADS: usize = 64;

/// How far the kernel reads ahead of a program: its default for disks and network volumes.
const READ_AHEAD: u32 = 128 << 10;

/// Nothing changes here, so that the kernel need not ask twice.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Inode 1 is the folder; the files follow.
const FIRST_FILE: u64 = 2;

thread_local! {
    /// What each thread reads into, kept so that only the first request pays for its pages.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Entry {
    name: OsString,
    file: File,
    size: u64,
}

struct Volume {
    files: Vec<Entry>,
    delay: Duration,
}

/// Mounts a volume over the files of `folder`; dropping what is returned unmounts it.
pub(crate) fn mount(folder: &Path, mountpoint: &Path, delay: Duration) -> io::Result<BackgroundSession> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            let size = file.metadata()?.len();
            files.push(Entry { name: entry.file_name(), file, size });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("slow-volume".to_owned())];
    config.n_threads = Some(THREADS);
    fuser::spawn_mount(Volume { files, delay }, mountpoint, &config)
}

impl Volume {
    fn entry(&self, inode: INodeNo) -> Option<&Entry> {
        let index = inode.0.checked_sub(FIRST_FILE)?;
        self.files.get(usize::try_from(index).ok()?)
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match self.entry(inode) {
            Some(entry) => (FileType::RegularFile, 0o444, entry.size),
            None if inode == INodeNo::ROOT => (FileType::Directory, 0o555, 0),
            None => return None,
        };
        let time = UNIX_EPOCH;
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Volume {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that reads less far ahead answers with its own limit, which then holds.
        let _ = config.set_max_readahead(READ_AHEAD);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.files.iter().zip(FIRST_FILE..).find(|(entry, _)| entry.name == name);
        match found.and_then(|(_, inode)| self.attributes(INodeNo(inode))) {
            Some(attributes) if parent == INodeNo::ROOT => reply.entry(&FOREVER, &attributes, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&FOREVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // What one program has read stays in the page cache for the next.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(entry) = self.entry(inode) else { return reply.error(Errno::ENOENT) };
        thread::sleep(self.delay);
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let Some(part) = buffer.get_mut(..size) else { return reply.error(Errno::EIO) };
            match read_fully(&entry.file, part, offset).map(|n| part.get(..n)) {
                Ok(Some(bytes)) => reply.data(bytes),
                _ => reply.error(Errno::EIO),
            }
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        for (entry, place) in self.files.iter().zip(0_u64..).skip_while(|(_, place)| *place < offset) {
            if reply.add(INodeNo(FIRST_FILE + place), place + 1, FileType::RegularFile, &entry.name) {
                break;
            }
        }
        reply.ok();
    }
}

/// Reads until the part is full or the file ends: the kernel takes a short answer for the end of the file.
fn read_fully(file: &File, part: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = part.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
