//! Stamps that hold: what has to be true of files before their stamps may stand for their bytes.

use std::{fs::File, io, os::fd::AsFd as _, time::SystemTime};

use rustix::fs::Stat;

use super::{Local, SETTLED, wait_until_settled};
use crate::{
    Run,
    shown::Shown,
    source::{Entry, FileStamp},
    sys::{
        file_system::{FileSystem, FileSystemKind, Measurement, file_system, measured},
        kernel,
    },
};

/// Files whose stamps stand for their bytes: every later change of a byte moves one.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Where all of them lie.
    pub(crate) file_system: FileSystem,
    /// What the kernel measured of each, in the order in which they were given.
    pub(crate) measured: Vec<Option<Measurement>>,
}

/// Another thread pays for itself with so many files.
const FILES_A_THREAD: usize = 256;

impl Local {
    /// The second half of step 4, for all of these files and before any of them is read: pushes their dirty pages out, so that
    /// the next write through a mapping shows in their times, and waits until a change that comes now gets other times than
    /// the ones they have. No byte is read.
    ///
    /// # Errors
    /// Why the stamps may not stand for the bytes, in words: another file system than those that are known, several of them,
    /// times that are too coarse or in the future, a file that changed since it was listed, or one that somebody else may
    /// write. Whoever has such a file open for writing needs not write to change it: `EXT4_IOC_MOVE_EXT` and
    /// `XFS_IOC_SWAPEXT` exchange the blocks of two files and leave all times as they are (both were seen to), and a page that
    /// is the target of a read under way is filled without a fault.
    pub(crate) fn settle(&self, entries: &[&Entry], run: &Run) -> Result<Settled, String> {
        let place = Shown(&self.shown);
        let Some(file_system) = file_system(&self.root) else {
            return Err(format!("{place} does not lie on ext4, xfs or btrfs, or they do not say which one"));
        };
        let device = rustix::fs::fstat(&self.root).map(|stat| stat.st_dev).ok();
        let mut newest = i128::MIN;
        for entry in entries {
            let stamps = [Some(entry.stamp.file), entry.stamp.link];
            if stamps.iter().flatten().any(|stamp| Some(stamp.device) != device) {
                return Err(format!("{:?} lies on another file system than the model", Shown(&entry.name)));
            }
            if has_coarse_times(&entry.stamp.file) {
                return Err(format!("the times of {:?} are of whole seconds", Shown(&entry.name)));
            }
            newest = newest.max(entry.stamp.file.changed);
        }
        if newest > now() {
            return Err("a file was changed in the future: the clock was set back".to_owned());
        }
        let threads = run.thread_count().min(entries.len() / FILES_A_THREAD + 1);
        let share = entries.len().div_ceil(threads).max(1);
        let kind = file_system.kind;
        let parts: Vec<Result<Vec<Option<Measurement>>, String>> = std::thread::scope(|scope| {
            let mut shares = entries.chunks(share);
            let here = shares.next().unwrap_or_default();
            let others: Vec<_> = shares
                .map(|part| {
                    let thread =
                        std::thread::Builder::new().spawn_scoped(scope, || self.settle_each(part, kind, run));
                    (part, thread)
                })
                .collect();
            let mut parts = vec![self.settle_each(here, kind, run)];
            parts.extend(others.into_iter().map(|(part, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err("a thread ended".to_owned())),
                // Where the system gives no thread, this one does it.
                Err(_) => self.settle_each(part, kind, run),
            }));
            parts
        });
        let measured = parts.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        wait_until_settled(newest);
        // A clock that was set back meanwhile would have ended the wait too early.
        if now() < newest.saturating_add(i128::try_from(SETTLED.as_nanos()).unwrap_or(i128::MAX))
            && !entries.is_empty()
        {
            return Err("the clock was set back".to_owned());
        }
        Ok(Settled { file_system, measured })
    }

    fn settle_each(
        &self,
        entries: &[&Entry],
        kind: FileSystemKind,
        run: &Run,
    ) -> Result<Vec<Option<Measurement>>, String> {
        let mut all = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            if at % 64 == 0 {
                run.check().map_err(|error| error.to_string())?;
            }
            all.push(self.settle_one(entry, kind)?);
        }
        Ok(all)
    }

    fn settle_one(&self, entry: &Entry, kind: FileSystemKind) -> Result<Option<Measurement>, String> {
        let name = Shown(&entry.name);
        let failed = |what: &str, error: io::Error| format!("cannot {what} {name:?}: {}", error.kind());
        let file = self.open_entry(entry).map_err(|error| error.to_string())?;
        if !pushed_out(&file, kind) {
            return Err(format!("the pages of {name:?} could not be written out"));
        }
        let stat = rustix::fs::fstat(&file).map_err(|error| failed("look at", error.into()))?;
        if FileStamp::of(&stat) != entry.stamp.file {
            return Err(format!("{name:?} changed since it was listed"));
        }
        let measured = measured(&file).map_err(|error| failed("ask for the measurement of", error))?;
        // What the kernel measured it lets nobody write.
        match (&measured, who_else_writes(&stat)) {
            (None, Some(who)) => Err(format!("{who} may write {name:?}")),
            _ => Ok(measured),
        }
    }
}

/// Writes a file's dirty pages out and protects them against writes that do not show.
fn pushed_out(file: &File, kind: FileSystemKind) -> bool {
    match kind {
        FileSystemKind::Ext4 | FileSystemKind::Xfs => kernel::write_out(file),
        // Pages that are to be compressed are handed to another thread, for which the other call does not wait.
        FileSystemKind::Btrfs => rustix::fs::fdatasync(file.as_fd()).is_ok(),
    }
}

/// Who may open a file for writing, besides root and whom this process runs as. Where there is an access control list, the
/// bits of the group are the most that anybody in it has.
fn who_else_writes(stat: &Stat) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    match stat.st_mode & 0o022 {
        _ if stat.st_uid != 0 && stat.st_uid != own => Some(format!("its owner (user {})", stat.st_uid)),
        0 => None,
        0o020 => Some(format!("its group ({})", stat.st_gid)),
        _ => Some("everybody".to_owned()),
    }
}

/// Whether a file's time has no fraction of a second: ext4 with inodes of 128 bytes keeps none, and a change in the same second
/// does not show. Of others, one file in very many is taken for such a one.
fn has_coarse_times(stamp: &FileStamp) -> bool {
    stamp.changed % 1_000_000_000 == 0
}

fn now() -> i128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.ok().and_then(|now| i128::try_from(now.as_nanos()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(uid: u32, mode: u32) -> Stat {
        let mut stat = rustix::fs::fstat(std::fs::File::open("/").unwrap()).unwrap();
        (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, 9, 0o100_000 | mode);
        stat
    }

    #[test]
    fn only_root_and_whom_it_runs_as_may_write() {
        let own = rustix::process::geteuid().as_raw();
        for (uid, mode, who) in [
            (0, 0o644, None),
            (own, 0o644, None),
            (0, 0o755, None),
            (own + 7, 0o644, Some(format!("its owner (user {})", own + 7))),
            // He may give himself the right.
            (own + 7, 0o444, Some(format!("its owner (user {})", own + 7))),
            (0, 0o664, Some("its group (9)".to_owned())),
            (0, 0o646, Some("everybody".to_owned())),
            (0, 0o666, Some("everybody".to_owned())),
        ] {
            assert_eq!(who_else_writes(&stat(uid, mode)), who, "{uid} {mode:o}");
        }
    }

    #[test]
    fn times_of_whole_seconds_are_coarse() {
        let stamp = |changed| FileStamp { changed, ..FileStamp::default() };
        assert!(has_coarse_times(&stamp(1_700_000_000_000_000_000)));
        assert!(!has_coarse_times(&stamp(1_700_000_000_000_000_001)));
    }
}
