//! The machine: what it is, its page cache, its disk.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;

use testkit::{Missing, capture};

use super::watch::Watch;
use crate::Done;

/// Processor, cores, memory, kernel and file system in a line.
pub(super) fn described(dir: &Path) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = match field(&cpu, "model name") {
        Some(name) => {
            let number = |name| field(&cpu, name).unwrap_or("?");
            format!("{name} (family {}, model {})", number("cpu family"), number("model"))
        }
        None => std::env::consts::ARCH.to_owned(),
    };
    let kib = field(&memory, "MemTotal").and_then(|total| total.split(' ').next()?.parse::<f64>().ok());
    format!(
        "Machine: {processor}, {} cores, {:.0} GiB, Linux {}, {}.",
        cores(),
        kib.unwrap_or(0.0) / f64::from(1 << 20),
        kernel.trim(),
        file_system(dir).unwrap_or_else(|| "unknown file system".to_owned())
    )
}

/// Processors this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Today's date in UTC, as `date` has it.
pub(super) fn today() -> Done<String> {
    Ok(capture(Command::new("date").args(["-u", "+%Y-%m-%d"]))?.out().trim().to_owned())
}

/// The value behind `name :` in one of the tables of /proc.
fn field<'a>(table: &'a str, name: &str) -> Option<&'a str> {
    let found = table.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim())
}

/// The type of the file system of a path: of the mounts that hold it the deepest, and of those the last.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        path.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// Bytes that are free on the file system of a folder.
pub(super) fn free_space(dir: &Path) -> Done<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Empties the page cache, that of every volume.
pub(super) fn drop_caches() -> Result<(), Missing> {
    // Only what is on the disk can be dropped.
    rustix::fs::sync();
    let dropped = OpenOptions::new().write(true).open("/proc/sys/vm/drop_caches");
    dropped.and_then(|mut file| file.write_all(b"3")).map_err(|error| {
        Missing::new("cold files", format!("the page cache cannot be dropped ({error}): root can"))
    })
}

/// Brings the files of a folder into the page cache, from a cold one where that can be had: pages that are left of
/// writing lie in smaller pieces than those that were read ahead, and then every run would depend on how they came.
pub(super) fn warm(watch: &Watch, model: &Path) -> Done {
    let _ = drop_caches();
    let mut part = vec![0; 1 << 20];
    for entry in fs::read_dir(model)? {
        watch.go_on()?;
        let mut file = File::open(entry?.path())?;
        while file.read(&mut part)? > 0 {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_proc_are_read() {
        let table = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: A Processor: 9\n";
        assert_eq!(field(table, "model name"), Some("A Processor: 9"));
        assert_eq!((field(table, "model"), field(table, "cores")), (Some("2"), None));
    }

    #[test]
    fn the_machine_is_described() {
        let dir = testkit::temporary().expect("temporary folder");
        let line = described(dir.path());
        assert!(line.starts_with("Machine: ") && line.contains(&format!("{} cores", cores())), "{line}");
        assert!(free_space(dir.path()).expect("a file system") > 0);
    }
}
