//! A slow volume over a model, mounted for one row.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use testkit::{Missing, target_dir, workspace};

use crate::Done;
use crate::test::{announce, cargo};

/// How long the volume may take to be unmounted.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mounted volume; dropping it unmounts it.
///
/// It lives by the pipe to its process, so that it does not outlive the bench however that ends.
pub(super) struct Volume {
    process: Child,
    mountpoint: PathBuf,
}

impl Volume {
    /// Builds the volume's program and mounts it over a folder, every read taking so many milliseconds.
    pub(super) fn mount(folder: &Path, milliseconds: u32) -> Done<Volume> {
        if cfg!(not(target_os = "linux")) {
            return Err(Missing::new("a slow volume", "only Linux can mount it").into());
        }
        let mut build = cargo();
        build.args(["build", "--quiet", "--release", "-p", "slow-volume"]);
        announce(&build);
        let status = build.arg("--target-dir").arg(target_dir()).current_dir(workspace()).status()?;
        if !status.success() {
            return Err(format!("building the slow volume ended with {status}").into());
        }
        let mountpoint = target_dir().join(format!("bench/volume-{milliseconds}-ms"));
        // A bench that was killed may have left it mounted, with nobody to answer.
        if fs::read_dir(&mountpoint).is_err_and(|error| error.kind() == ErrorKind::NotConnected) {
            unmount(&mountpoint);
        }
        fs::create_dir_all(&mountpoint)?;
        // Not in the group of the terminal, whose Ctrl-C would end it under the command that reads from it.
        let mut process = Command::new(target_dir().join("release/slow-volume"))
            .args([folder, &mountpoint])
            .arg(milliseconds.to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut said = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let volume = Volume { process, mountpoint };
        if said.trim() != "ready" {
            return Err(
                Missing::new("a slow volume", "it cannot be mounted: root can, or fusermount3").into()
            );
        }
        Ok(volume)
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.mountpoint
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The end of its input unmounts it.
        drop(self.process.stdin.take());
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if start.elapsed() >= PATIENCE {
                // Its own number, and not yet waited for.
                let _ = self.process.kill();
                let _ = self.process.wait();
                unmount(&self.mountpoint);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Takes away a volume that nobody serves any more, as whoever may.
fn unmount(mountpoint: &Path) {
    for (program, args) in [("umount", "--lazy"), ("fusermount3", "-uz")] {
        let ended = Command::new(program).arg(args).arg(mountpoint).stderr(Stdio::null()).status();
        if ended.is_ok_and(|status| status.success()) {
            return;
        }
    }
}
