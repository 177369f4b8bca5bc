//! A memory cgroup, of version 1 or 2, as a container has one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use testkit::Missing;

/// A cgroup with a limit of memory, page cache included; dropping it removes it.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one below the root of the hierarchy that has the memory controller.
    pub(super) fn new(limit: u64) -> Result<Cgroup, Missing> {
        let missing = |why: String| Missing::new("a memory cgroup", why);
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let Some((root, version)) = hierarchy(&mounts, |root| {
            fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
        }) else {
            return Err(missing("no hierarchy with a memory controller is mounted".to_owned()));
        };
        let dir = root.join(format!("weightseal-bench-{}", std::process::id()));
        let refused = |error: std::io::Error| missing(format!("{}: {error}", dir.display()));
        if version == 2 {
            // Without it the group has no limit to write, which is then the error.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        }
        fs::create_dir(&dir).map_err(refused)?;
        let group = Cgroup(dir.clone());
        let file = if version == 2 { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(dir.join(file), limit.to_string()).map_err(refused)?;
        Ok(group)
    }

    /// The same command inside: a shell enters the group and then becomes the command.
    pub(super) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.arg("-c").arg(r#"echo $$ > "$0" && exec "$@""#).arg(self.0.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What has just ended in it may take a moment to be gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The mount point of the memory controller, and the version of its hierarchy. `controllers` reads those of a root.
fn hierarchy(mounts: &str, controllers: impl Fn(&Path) -> String) -> Option<(PathBuf, u8)> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (root, kind, options) = (PathBuf::from(words.next()?), words.next()?, words.next()?);
        match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => Some((root, 1)),
            "cgroup2" if controllers(&root).split_whitespace().any(|name| name == "memory") => {
                Some((root, 2))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_version_is_found() {
        let first = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n\
                     cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                     cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n";
        let none = |_: &Path| String::new();
        assert_eq!(hierarchy(first, none), Some(("/sys/fs/cgroup/memory".into(), 1)));
        let second = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let has = |_: &Path| "cpuset cpu io memory pids\n".to_owned();
        assert_eq!(hierarchy(second, has), Some(("/sys/fs/cgroup".into(), 2)));
        assert_eq!(hierarchy(second, none), None);
    }
}
