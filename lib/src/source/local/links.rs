//! Where symbolic links lead.

use std::{
    collections::VecDeque,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Stat},
    io::Errno,
};

use super::{Local, special};
use crate::{
    limits,
    source::{FileStamp, Kind},
};

impl Local {
    /// Follows a link by hand, part by part: where it leads, the path there without links, and what stands there.
    pub(super) fn resolve(&self, link: &str) -> Result<(Kind, Option<String>, Option<FileStamp>), Errno> {
        let target = self.read_link(link)?;
        if let Some(blob) = self.hub.as_ref().and_then(|hub| hub.blob(&self.path, link, &target)) {
            return Ok(match self.hub.as_ref().map(|hub| hub.stat(&blob)) {
                Some(Ok((place, stat))) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    (Kind::File, Some(place), Some(FileStamp::of(&stat)))
                }
                Some(Err(Errno::NOENT)) => (Kind::LinkDangling, None, None),
                Some(Err(error @ (Errno::ACCESS | Errno::IO))) => return Err(error),
                _ => (Kind::LinkOut, None, None),
            });
        }
        let mut done: Vec<String> = link.split('/').map(str::to_owned).collect();
        done.pop();
        let mut todo = VecDeque::new();
        let mut followed = 0;
        if !self.enter(&target, &mut done, &mut todo) {
            return Ok((Kind::LinkOut, None, None));
        }
        let mut last: Option<Stat> = None;
        while let Some(part) = todo.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    last = None;
                    if done.pop().is_none() {
                        // Above the model: it may still come back, by the name of the model's own folder.
                        let Some(above) = self.path.parent() else { return Ok((Kind::LinkOut, None, None)) };
                        let rest: PathBuf = todo.drain(..).collect();
                        if !self.enter(&above.join(rest), &mut done, &mut todo) {
                            return Ok((Kind::LinkOut, None, None));
                        }
                    }
                    continue;
                }
                _ => {}
            }
            done.push(part);
            let here = done.join("/");
            let stat = match rustix::fs::statat(&self.root, &here, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok((Kind::LinkDangling, None, None)),
                Err(error) => return Err(error),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                followed += 1;
                if followed > limits::LINKS_FOLLOWED {
                    return Ok((Kind::LinkCycle, None, None));
                }
                done.pop();
                let target = self.read_link(&here)?;
                last = None;
                if !self.enter(&target, &mut done, &mut todo) {
                    return Ok((Kind::LinkOut, None, None));
                }
            } else {
                last = Some(stat);
            }
        }
        let real = done.join("/");
        let stat = match last {
            Some(stat) => stat,
            None if real.is_empty() => return Ok((Kind::LinkCycle, None, None)),
            None => rustix::fs::statat(&self.root, &real, AtFlags::SYMLINK_NOFOLLOW)?,
        };
        let stamp = FileStamp::of(&stat);
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => (Kind::LinkToFile, Some(real), Some(stamp)),
            FileType::Directory if link.strip_prefix(&real).is_some_and(|rest| rest.starts_with('/')) => {
                (Kind::LinkCycle, None, None)
            }
            // A folder's times change with what is in it, which is listed on its own: only which folder it is counts.
            FileType::Directory => (
                Kind::LinkToFolder,
                Some(real),
                Some(FileStamp { device: stamp.device, inode: stamp.inode, ..FileStamp::default() }),
            ),
            FileType::Symlink => (Kind::LinkCycle, None, None),
            other => (Kind::Special(special(other)), None, None),
        })
    }

    fn read_link(&self, name: &str) -> Result<PathBuf, Errno> {
        let target = rustix::fs::readlinkat(&self.root, name, Vec::new())?;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes())))
    }

    /// Puts a link's target before the parts still to be walked; false when it leads out of the model or is no text.
    fn enter(&self, target: &Path, done: &mut Vec<String>, todo: &mut VecDeque<String>) -> bool {
        let inside = if target.is_absolute() {
            // By the model's own path, or by another path to the same place.
            let stripped = target.strip_prefix(&self.path).map(Path::to_owned).or_else(|_| {
                target
                    .canonicalize()
                    .ok()
                    .and_then(|real| real.strip_prefix(&self.path).map(Path::to_owned).ok())
                    .ok_or(())
            });
            match stripped {
                Ok(inside) => {
                    done.clear();
                    inside
                }
                Err(()) => return false,
            }
        } else {
            target.to_owned()
        };
        for component in inside.components().rev() {
            match component {
                Component::Normal(part) => match part.to_str() {
                    Some(part) => todo.push_front(part.to_owned()),
                    None => return false,
                },
                Component::ParentDir => todo.push_front("..".to_owned()),
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return false,
            }
        }
        true
    }
}
