//! Pulls on volumes: mount points, full and read-only ones.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use testkit::{Missing, or_skip};

use super::*;

/// A file system in memory, mounted as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts one of so many KiB, if this process may.
    fn new(at: &Path, kib: u64) -> Option<Mounted> {
        fs::create_dir_all(at).unwrap();
        let missing = |why: String| Missing::new("the right to mount", why);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k,nr_inodes=500,mode=0755"), "weightseal-test"])
            .arg(at)
            .output();
        let mounted = mounted.map_err(|error| missing(error.to_string())).and_then(|output| {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(Mounted(at.to_owned())) } else { Err(missing(why)) }
        });
        or_skip(mounted)
    }

    fn remount(&self, how: &str) {
        let mut command = Command::new("mount");
        assert!(command.args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs a test as a user who is not root.
fn as_a_user(name: &str, test: impl FnOnce()) {
    use crate::good::{again, has_program, in_child, passed};

    if in_child(name) {
        return test();
    }
    let mut before = Vec::new();
    if rustix::process::geteuid().is_root() {
        if !has_program("setpriv") {
            return testkit::skip_or_fail(Missing::new("setpriv", "a user who is not root is needed"));
        }
        before = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    }
    passed(again(name, &before));
}

fn locked(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_mount_point_keeps_its_place() {
    let world = World::files();
    let Some(_mounted) = Mounted::new(&world.dest(), 64 << 10) else { return };
    let inode = world.dest().metadata().unwrap().ino();
    // What an ext4 disk has at its root.
    fs::create_dir(world.dest().join("lost+found")).unwrap();
    fs::write(world.dest().join("lost+found/#12"), "x").unwrap();
    let verified = world.try_pull(&world.new.source(), &world.pull(), &Run::new());
    assert!(verified.is_ok(), "{}", verified.unwrap_err());
    let mut expected = world.new.placed();
    expected.insert("lost+found/#12".to_owned(), b"x".to_vec());
    assert!(tree(&world.dest()) == expected);
    assert_eq!(world.dest().metadata().unwrap().ino(), inode);
    fs::remove_dir_all(world.dest().join("lost+found")).unwrap();
    world.stands(&world.new);
    // Once more, over another release.
    let model = Model::from_source(world.old.source());
    model.pull(&world.policy(), one(&world.old.bundle), &world.pull(), &Run::new()).unwrap();
    world.stands(&world.old);
    world.pulled(&world.new.source(), &world.pull());
}

#[test]
fn another_part_of_the_same_file_system_is_a_mount_point_too() {
    let world = World::files();
    let real = world.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::create_dir(world.dest()).unwrap();
    let bound = Command::new("mount").arg("--bind").arg(&real).arg(world.dest()).output();
    let bound = bound.ok().filter(|output| output.status.success()).map(|_| Mounted(world.dest()));
    let Some(_bound) = or_skip(bound.ok_or_else(|| Missing::new("the right to mount", "refused"))) else {
        return;
    };
    let verified = world.try_pull(&world.new.source(), &world.pull(), &Run::new());
    assert!(verified.is_ok(), "{}", verified.unwrap_err());
    world.stands(&world.new);
    assert!(tree(&real) == world.new.placed());
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_fetched() {
    let world = World::files();
    let Some(_mounted) = Mounted::new(world.dir.path(), 2 << 10) else { return };
    let source = world.new.source();
    world.refused(&source, &world.pull(), &[Code::DiskFull]);
    assert_eq!(source.read(), 0);
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 0);
}

#[test]
fn a_disk_that_fills_up_leaves_the_folder_as_it_was() {
    for in_place in [false, true] {
        for at_its_end in [false, true] {
            let world = World::files();
            let Some(mounted) = Mounted::new(world.dir.path(), 16 << 10) else { return };
            world.put_old();
            let filler = world.dir.path().join("filler");
            let fills = filler.clone();
            let after = if at_its_end { world.new.total() } else { 1 };
            let source = Tested::does(memory(&world.new.files), after, move || {
                let mut file = fs::File::create(fills).unwrap();
                while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
            });
            world.refused(&source, &world.pull().in_place(in_place), &[Code::DiskFull]);
            fs::remove_file(filler).unwrap();
            world.stands(&world.old);
            world.nothing_beside();
            world.pulled(&world.new.source(), &world.pull().in_place(in_place));
            drop(mounted);
        }
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_told() {
    let world = World::files();
    let Some(mounted) = Mounted::new(world.dir.path(), 16 << 10) else { return };
    world.put_old();
    mounted.remount("ro");
    for pull in [world.pull(), world.pull().in_place(true), world.pull().repair(true)] {
        let source = world.new.source();
        world.refused(&source, &pull, &[Code::IoFailed]);
        assert_eq!(source.read(), 0);
    }
    world.stands(&world.old);
    world.nothing_beside();
}

#[test]
fn a_user_without_the_right_to_write_is_told() {
    as_a_user("pull::volumes::a_user_without_the_right_to_write_is_told", || {
        let world = World::files();
        world.put_old();
        // The folder above cannot be written: so it is done in place.
        locked(world.dir.path(), 0o555);
        let inode = world.dest().metadata().unwrap().ino();
        world.pulled(&world.new.source(), &world.pull());
        assert_eq!(world.dest().metadata().unwrap().ino(), inode);
        // Nor can the folder itself.
        locked(&world.dest(), 0o555);
        world.refused(
            &world.old.source(),
            &world.pull().repair(true),
            &[Code::FileMissing, Code::FileUnsigned],
        );
        world.refused(&world.new.source(), &world.pull(), &[Code::PermissionDenied]);
        world.stands(&world.new);
        locked(&world.dest(), 0o755);
        locked(world.dir.path(), 0o755);
    });
}

#[test]
fn what_is_mounted_in_the_folder_is_not_emptied() {
    for at in ["cache", "weights", "weights/deep/er"] {
        for in_place in [false, true] {
            let world = World::files();
            world.put_old();
            let Some(_mounted) = Mounted::new(&world.dest().join(at), 64) else { return };
            fs::write(world.dest().join(at).join("mine"), "x").unwrap();
            let before = tree(&world.dest());
            let source = world.new.source();
            world.refused(&source, &world.pull().in_place(in_place).force(true), &[Code::OutputExists]);
            assert_eq!(source.read(), 0);
            assert!(tree(&world.dest()) == before);
            world.nothing_beside();
        }
    }
    // Mounted meanwhile: it goes with the old model, and stays what it is.
    let world = World::files();
    world.put_old();
    fs::create_dir(world.dest().join("cache")).unwrap();
    let (sender, mounted) = std::sync::mpsc::channel();
    let at = world.dest().join("cache");
    let source = Tested::does(memory(&world.new.files), 1, move || {
        let mounted = Mounted::new(&at, 64);
        if mounted.is_some() {
            fs::write(at.join("mine"), "x").unwrap();
        }
        sender.send(mounted).unwrap();
    });
    let verified = world.try_pull(&source, &world.pull(), &Run::new());
    assert!(verified.is_ok(), "{}", verified.unwrap_err());
    world.stands(&world.new);
    let Some(mut mounted) = mounted.recv().unwrap() else { return };
    mounted.0 = world.dir.path().join(".dest.weightseal-pull/model/cache");
    assert_eq!(fs::read(mounted.0.join("mine")).unwrap(), b"x");
}

#[test]
fn the_root_of_all_folders_is_not_pulled_into() {
    let world = World::files();
    let source = world.new.source();
    for root in ["/", "/tmp/.."] {
        world.refused(&source, &Pull::new(root).force(true), &[Code::OutputExists]);
    }
    assert_eq!(source.read(), 0);
}

#[test]
fn folders_of_an_old_model_that_were_locked_are_removed() {
    as_a_user("pull::volumes::folders_of_an_old_model_that_were_locked_are_removed", || {
        for in_place in [false, true] {
            for mode in [0o555, 0o000] {
                let world = World::files();
                world.put_old();
                fs::write(world.dest().join("gone/other"), "x").unwrap();
                locked(&world.dest().join("gone"), mode);
                let pull = world.pull().in_place(in_place);
                world.pulled(&world.new.source(), &pull);
            }
        }
    });
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_anything_is_touched() {
    as_a_user("pull::volumes::a_folder_that_cannot_be_written_is_found_before_anything_is_touched", || {
        for in_place in [false, true] {
            let world = World::files();
            world.put_old();
            locked(&world.dest(), 0o555);
            let source = world.new.source();
            world.refused(&source, &world.pull().in_place(in_place), &[Code::PermissionDenied]);
            assert_eq!(source.read(), 0);
            world.stands(&world.old);
            world.nothing_beside();
            locked(&world.dest(), 0o755);
        }
        let world = World::files();
        world.put_old();
        locked(&world.dest().join("weights"), 0o555);
        let pull = world.pull().in_place(true);
        world.refused(&world.new.source(), &pull, &[Code::PermissionDenied]);
        let mut there = tree(&world.dest());
        there.retain(|name, _| !name.starts_with(".weightseal/"));
        assert!(there == world.old.placed());
        locked(&world.dest().join("weights"), 0o755);
        let source = world.new.source();
        world.pulled(&source, &pull);
        assert_eq!(source.read(), 0, "all was kept");
    });
}

#[test]
fn what_another_user_has_left_is_not_made_use_of() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip_or_fail(Missing::new("root", "files of another user are needed"));
    }
    for in_place in [false, true] {
        let world = World::files();
        world.put_old();
        let pull = world.pull().in_place(in_place);
        let broken = Tested::breaks_off(memory(&world.new.files), world.new.total() / 2);
        world.refused(&broken, &pull, &[Code::ServiceFailed]);
        let left = world.staged();
        std::os::unix::fs::chown(&left, Some(12_345), None).unwrap();
        let before = tree(&left);
        world.refused(&world.new.source(), &pull, &[Code::PermissionDenied]);
        assert!(tree(&left) == before, "nor removed");
        std::os::unix::fs::chown(&left, Some(0), None).unwrap();
        // Where others could have written, all is fetched again.
        fs::set_permissions(&left, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let source = world.new.source();
        world.pulled(&source, &pull);
        assert_eq!(source.read(), world.new.total());
    }
}

#[test]
fn a_full_disk_leaves_the_old_model_readable() {
    for in_place in [false, true] {
        let world = World::files();
        let Some(_mounted) = Mounted::new(world.dir.path(), 8 << 10) else { return };
        world.put_old();
        // Not even a folder can be made: pages and inodes are all used.
        let mut file = fs::File::create(world.dir.path().join("filler")).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
        for n in 0.. {
            if fs::File::create(world.dir.path().join(format!("filler-{n}"))).is_err() {
                break;
            }
        }
        let before = fs::read_dir(world.dir.path()).unwrap().count();
        world.refused(&world.new.source(), &world.pull().in_place(in_place), &[Code::DiskFull]);
        world.stands(&world.old);
        // Room for very little, step by step.
        for n in 0..8 {
            fs::remove_file(world.dir.path().join(format!("filler-{n}"))).unwrap();
            world.refused(&world.new.source(), &world.pull().in_place(in_place), &[Code::DiskFull]);
            world.stands(&world.old);
            assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), before - n - 1);
        }
    }
}
