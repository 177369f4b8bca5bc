//! File systems of a test's own: an image in a file, made, mounted, and taken away with the value.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{Missing, target_dir};

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4, with inodes as large as `mkfs` makes them by itself on large disks.
    Ext4,
    /// ext4 with inodes of 128 bytes, whose times are of whole seconds.
    Ext4Coarse,
    /// ext2, which the kernel's ext4 may serve.
    Ext2,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// A file system in memory.
    Tmpfs,
}

impl Kind {
    /// The words by which it is made; the image follows.
    fn make(self) -> &'static [&'static str] {
        match self {
            Kind::Ext4 => &["mkfs.ext4", "-q", "-F", "-I", "256"],
            Kind::Ext4Coarse => &["mkfs.ext4", "-q", "-F", "-I", "128"],
            Kind::Ext2 => &["mkfs.ext2", "-q", "-F"],
            Kind::Xfs => &["mkfs.xfs", "-q", "-f"],
            Kind::Btrfs => &["mkfs.btrfs", "-q", "-f"],
            Kind::Tmpfs => &[],
        }
    }
}

/// A mounted file system. Dropping it unmounts it.
#[derive(Debug)]
pub struct Volume {
    /// The image, and the folder that it is mounted on.
    dir: TempDir,
    path: PathBuf,
    mounted: bool,
}

impl Volume {
    /// Makes a file system of so many MiB and mounts it. XFS takes 300 and more, btrfs 120.
    ///
    /// # Errors
    /// What is lacking: mostly the right to mount.
    pub fn new(kind: Kind, mebibytes: u64) -> Result<Volume, Missing> {
        let what = format!("a file system of its own ({kind:?})");
        let failed = |error: io::Error| Missing::new(&what, error.to_string());
        // Not in memory, where an image of some hundred MiB would take that much of it.
        let dir = tempfile::Builder::new().prefix("volume-").tempdir_in(target_dir()).map_err(failed)?;
        let path = dir.path().join("mounted");
        fs::create_dir(&path).map_err(failed)?;
        let mut volume = Volume { dir, path, mounted: false };
        if let Some((program, args)) = kind.make().split_first() {
            File::create(volume.image()).and_then(|image| image.set_len(mebibytes << 20)).map_err(failed)?;
            run(program, args.iter().map(OsStr::new).chain([volume.image().as_os_str()]), &what)?;
        } else {
            let size = format!("size={mebibytes}m");
            run(
                "mount",
                ["-t", "tmpfs", "-o", &size, "tmpfs"]
                    .map(OsStr::new)
                    .into_iter()
                    .chain([volume.path.as_os_str()]),
                &what,
            )?;
            volume.mounted = true;
            return Ok(volume);
        }
        volume.mount(&what)?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts it and mounts it again: another device as like as not.
    ///
    /// # Errors
    /// It is in use, or cannot be mounted any more.
    pub fn mount_again(&mut self) -> Result<(), Missing> {
        let what = "to mount a file system again";
        self.unmount(what)?;
        self.mount(what)
    }

    /// Mounts each file system where the other was.
    ///
    /// # Errors
    /// As [`mount_again`](Volume::mount_again).
    pub fn exchange(&mut self, other: &mut Volume) -> Result<(), Missing> {
        let what = "to exchange two file systems";
        let failed = |error: io::Error| Missing::new(what, error.to_string());
        self.unmount(what)?;
        other.unmount(what)?;
        let (one, two, aside) = (self.image(), other.image(), self.dir.path().join("aside"));
        fs::rename(&one, &aside).map_err(failed)?;
        fs::rename(&two, &one).map_err(failed)?;
        fs::rename(&aside, &two).map_err(failed)?;
        self.mount(what)?;
        other.mount(what)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&mut self, what: &str) -> Result<(), Missing> {
        let image = self.image();
        run("mount", [OsStr::new("-o"), OsStr::new("loop"), image.as_os_str(), self.path.as_os_str()], what)?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self, what: &str) -> Result<(), Missing> {
        if self.mounted {
            run("umount", [self.path.as_os_str()], what)?;
            self.mounted = false;
        }
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted && self.unmount("to unmount").is_err() {
            // Somebody has a file open; the mount goes when he closes it.
            let _ = run("umount", [OsStr::new("--lazy"), self.path.as_os_str()], "to unmount");
        }
    }
}

/// Runs a program to its end.
fn run<'a>(program: &str, args: impl IntoIterator<Item = &'a OsStr>, what: &str) -> Result<(), Missing> {
    let ended = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Missing::new(what, format!("{program}: {error}")))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let said = said.lines().next_back().unwrap_or_default();
    Err(Missing::new(what, format!("{program} ended with {}: {said}", ended.status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::or_skip;

    #[test]
    fn a_volume_keeps_its_files_and_goes_with_its_value() {
        for kind in [Kind::Ext4, Kind::Ext4Coarse, Kind::Ext2, Kind::Xfs, Kind::Btrfs] {
            let Some(mut volume) = or_skip(Volume::new(kind, 320)) else { return };
            fs::write(volume.path().join("file"), "x").expect("written");
            volume.mount_again().expect("mounted again");
            assert_eq!(fs::read(volume.path().join("file")).expect("read"), b"x", "{kind:?}");
            let place = volume.dir.path().to_owned();
            drop(volume);
            assert!(!place.exists(), "{kind:?}");
        }
    }

    #[test]
    fn two_volumes_change_places() {
        let Some(mut one) = or_skip(Volume::new(Kind::Ext4, 16)) else { return };
        let Some(mut other) = or_skip(Volume::new(Kind::Ext4, 16)) else { return };
        fs::write(one.path().join("one"), "").expect("written");
        fs::write(other.path().join("other"), "").expect("written");
        one.exchange(&mut other).expect("exchanged");
        assert!(one.path().join("other").exists() && other.path().join("one").exists());
    }

    #[test]
    fn a_volume_in_memory_has_no_image() {
        let Some(volume) = or_skip(Volume::new(Kind::Tmpfs, 1)) else { return };
        fs::write(volume.path().join("file"), "x").expect("written");
        assert!(!volume.image().exists());
    }
}
