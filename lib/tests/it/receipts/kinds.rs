//! Each file system that is known, and some that are not, as volumes of the test's own.

use std::{fs, path::Path, process::Command};

use testkit::{
    Missing, or_skip, skip_or_fail,
    volume::{Kind, Volume},
};
use weightseal::Code;

use super::{Case, LARGE, content::written_through_a_mapping, make_model};

const KNOWN: [Kind; 3] = [Kind::Ext4, Kind::Xfs, Kind::Btrfs];

fn volume(kind: Kind) -> Option<Volume> {
    or_skip(Volume::new(kind, 320))
}

/// The model on the volume, the receipts beside the volume.
fn case_on(volume: &Volume) -> Case {
    let case = Case::at(&testkit::target_dir(), None);
    let model = volume.path().join("model");
    make_model(&model);
    fs::remove_dir_all(case.folder()).unwrap();
    std::os::unix::fs::symlink(model, case.folder()).unwrap();
    case
}

#[test]
fn a_receipt_outlives_that_the_volume_is_mounted_again() {
    for kind in KNOWN {
        let Some(mut volume) = volume(kind) else { return };
        let case = case_on(&volume);
        case.is_hashed("there is none yet");
        case.uses_receipt();
        volume.mount_again().unwrap();
        case.uses_receipt();
        fs::write(volume.path().join("model/README.md"), "other").unwrap();
        case.is_refused(Code::FileChanged, "not what they were");
    }
}

#[test]
fn a_write_through_a_mapping_shows_on_each() {
    if !crate::good::has_program("python3") {
        skip_or_fail(Missing::new("a process that maps a file", "there is no python3"));
        return;
    }
    for kind in KNOWN {
        for dirty in [false, true] {
            let Some(volume) = volume(kind) else { return };
            written_through_a_mapping(&case_on(&volume), dirty);
        }
    }
}

#[test]
fn another_volume_at_the_same_path() {
    for kind in KNOWN {
        let (Some(mut volume), Some(mut other)) = (volume(kind), volume(kind)) else { return };
        let case = case_on(&volume);
        // The same files with the same content, made at almost the same time.
        make_model(&other.path().join("model"));
        case.is_hashed("there is none yet");
        case.uses_receipt();
        volume.exchange(&mut other).unwrap();
        case.is_hashed("another file system");
        case.uses_receipt();
        volume.exchange(&mut other).unwrap();
        fs::write(other.path().join("model").join(LARGE), vec![8; 1 << 20]).unwrap();
        case.is_hashed("another file system");
        case.uses_receipt();
        volume.exchange(&mut other).unwrap();
        case.is_refused(Code::FileChanged, "another file system");
    }
}

#[test]
fn a_snapshot_at_the_same_path() {
    let Some(volume) = volume(Kind::Btrfs) else { return };
    let btrfs = |args: &[&str], paths: &[&Path]| {
        let ended = testkit::capture(Command::new("btrfs").args(args).args(paths)).unwrap();
        ended.expect_code(0);
    };
    let (first, second) = (volume.path().join("first"), volume.path().join("second"));
    btrfs(&["subvolume", "create"], &[&first]);
    make_model(&first.join("model"));
    let case = case_on(&volume);
    fs::remove_file(case.folder()).unwrap();
    std::os::unix::fs::symlink(first.join("model"), case.folder()).unwrap();
    case.is_hashed("there is none yet");
    case.uses_receipt();
    // Inodes and times are those of the first.
    btrfs(&["subvolume", "snapshot"], &[&first, &second]);
    case.uses_receipt();
    let aside = volume.path().join("aside");
    fs::rename(&first, &aside).unwrap();
    fs::rename(&second, &first).unwrap();
    case.is_hashed("another file system");
}

#[test]
fn a_model_that_lies_on_two_file_systems() {
    let (Some(volume), Some(other)) = (volume(Kind::Ext4), volume(Kind::Ext4)) else { return };
    let case = case_on(&volume);
    let deploy = volume.path().join("model/deploy");
    fs::rename(deploy.join("run.sh"), volume.path().join("run.sh")).unwrap();
    fs::copy(volume.path().join("run.sh"), other.path().join("run.sh")).unwrap();
    fs::remove_dir(other.path().join("lost+found")).unwrap();
    let mount = |program: &str, args: &[&Path]| {
        let ended = testkit::capture(Command::new(program).args(args)).unwrap();
        ended.expect_code(0);
    };
    mount("mount", &[Path::new("--bind"), other.path(), &deploy]);
    let report = case.verified();
    mount("umount", &[&deploy]);
    let report = super::hashed(report, "another file system than the model");
    assert!(!report.receipt.unwrap().written);
}

#[test]
fn file_systems_that_are_not_known() {
    for (kind, why) in [(Kind::Tmpfs, "does not lie on ext4"), (Kind::Ext4Coarse, "whole seconds")] {
        let Some(volume) = volume(kind) else { return };
        let case = case_on(&volume);
        case.is_hashed_without(why);
        case.is_hashed_without(why);
    }
}

#[test]
fn an_overlay_is_not_the_file_system_below_it() {
    let Some(volume) = volume(Kind::Ext4) else { return };
    let place = |name: &str| {
        let path = volume.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let (lower, upper, work, merged) = (place("lower"), place("upper"), place("work"), place("merged"));
    make_model(&lower.join("model"));
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mut mount = Command::new("mount");
    mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged);
    let mounted = testkit::capture(&mut mount).unwrap();
    if mounted.code() != Some(0) {
        skip_or_fail(Missing::new("an overlay", "this kernel has none"));
        return;
    }
    let case = case_on(&volume);
    fs::remove_file(case.folder()).unwrap();
    std::os::unix::fs::symlink(merged.join("model"), case.folder()).unwrap();
    let report = case.verified();
    testkit::capture(Command::new("umount").arg(&merged)).unwrap().expect_code(0);
    let report = super::hashed(report, "does not lie on ext4");
    assert!(!report.receipt.unwrap().written);
}

/// As an ordinary user who owns both files, exchanges their blocks: of ext4 by the call for defragmenting, of XFS by its own.
const EXCHANGE: &str = "
import fcntl, os, struct, sys
kind, signed, evil = sys.argv[1:]
os.setgid(54321); os.setuid(54321)
one, two = os.open(signed, os.O_RDWR), os.open(evil, os.O_RDWR)
size = os.fstat(one).st_size
if kind == 'ext4':
    blocks = size // os.fstat(one).st_blksize
    fcntl.ioctl(two, 0xc028660f, bytearray(struct.pack('IIQQQQ', 0, one, 0, 0, blocks, 0)))
else:
    stat = os.fstat(one)
    time = lambda at: struct.pack('qi4x', at // 10**9, at % 10**9)
    bulk = struct.pack('QHHIIIi4xq', stat.st_ino, stat.st_mode, 1, stat.st_uid, stat.st_gid, 0, 4096, size)
    bulk += time(stat.st_atime_ns) + time(stat.st_mtime_ns) + time(stat.st_ctime_ns)
    call = bytearray(struct.pack('qqqqq', 0, one, two, 0, size) + bytes(16) + bulk.ljust(136, bytes(1)))
    fcntl.ioctl(one, 0xc0c0586d, call)
os.posix_fadvise(one, 0, 0, os.POSIX_FADV_DONTNEED)
";

/// All that a stamp has.
fn stamp(path: &Path) -> impl PartialEq + std::fmt::Debug + use<> {
    use std::os::unix::fs::MetadataExt as _;
    let file = fs::metadata(path).unwrap();
    (file.ino(), file.len(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec())
}

#[test]
fn blocks_that_are_exchanged_leave_all_times_as_they_are() {
    for (kind, name) in [(Kind::Ext4, "ext4"), (Kind::Xfs, "xfs")] {
        let Some(volume) = volume(kind) else { return };
        let case = case_on(&volume);
        let (signed, evil) = (volume.path().join("model").join(LARGE), volume.path().join("evil"));
        fs::write(&evil, vec![8; 1 << 20]).unwrap();
        for path in [&signed, &evil] {
            std::os::unix::fs::chown(path, Some(54_321), Some(54_321)).unwrap();
            fs::File::open(path).unwrap().sync_all().unwrap();
        }
        // Whoever owns the file can do it, so that it has no receipt from the first.
        case.is_hashed_without("its owner (user 54321)");
        let before = stamp(&signed);
        let Some(ended) = super::python(EXCHANGE, &[Path::new(name), &signed, &evil]) else { return };
        if ended.code() != Some(0) {
            skip_or_fail(Missing::new("a call that exchanges blocks", format!("{kind:?}: {ended}")));
            return;
        }
        assert_eq!(stamp(&signed), before, "{kind:?}");
        case.is_refused(Code::FileChanged, "its owner (user 54321)");
    }
}
