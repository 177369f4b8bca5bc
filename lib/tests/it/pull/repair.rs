//! Repairs: what is right in a folder stays, and only the rest is fetched.

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use super::*;

const NAME: &str = "weights/2.bin";

/// The new release in its folder, with something done to it.
fn damaged(world: &World, damage: impl FnOnce(&Path)) {
    let _ = fs::remove_dir_all(world.dest());
    world.pulled(&world.new.source(), &world.pull());
    damage(&world.dest());
}

fn poke(folder: &Path) {
    fs::File::options().write(true).open(folder.join(NAME)).unwrap().write_all_at(b"?!", 300_000).unwrap();
}

#[test]
fn only_what_is_damaged_is_fetched() {
    for (world, whole) in [(World::files(), LARGE as u64 + 7), (World::shards(), SHARD)] {
        damaged(&world, poke);
        let inode = |name: &str| world.dest().join(name).metadata().unwrap().ino();
        let before = (inode("weights/1.bin"), inode(NAME), world.dest().metadata().unwrap().ino());
        let source = world.new.source();
        let report = world.pulled(&source, &world.pull().repair(true));
        assert_eq!(source.read(), whole);
        let after = (inode("weights/1.bin"), inode(NAME), world.dest().metadata().unwrap().ino());
        assert_eq!((before.0, before.2), (after.0, after.2), "what was right stays where it is");
        assert_ne!(before.1, after.1, "what was not is never written to");
        assert_eq!(report.bytes, world.new.total());
    }
}

#[test]
fn what_is_whole_needs_nothing() {
    for world in [World::files(), World::shards()] {
        damaged(&world, |_| ());
        let source = world.new.source();
        let inode = world.dest().join("model.sig").metadata().unwrap().ino();
        world.pulled(&source, &world.pull().repair(true));
        assert_eq!(source.read(), 0);
        assert_ne!(world.dest().join("model.sig").metadata().unwrap().ino(), inode);
    }
}

#[test]
fn files_that_are_shorter_longer_gone_or_links_are_made_again() {
    for world in [World::files(), World::shards()] {
        let shards = !world.new.files.contains_key("empty.txt");
        let resized = |length: u64| {
            move |folder: &Path| {
                fs::File::options().write(true).open(folder.join(NAME)).unwrap().set_len(length).unwrap();
            }
        };
        let length = LARGE as u64 + 7;
        damaged(&world, resized(2 * SHARD + 5));
        let source = world.new.source();
        world.pulled(&source, &world.pull().repair(true));
        assert_eq!(source.read(), if shards { length - 2 * SHARD } else { length });
        damaged(&world, resized(length + 1));
        let source = world.new.source();
        world.pulled(&source, &world.pull().repair(true));
        assert_eq!(source.read(), if shards { 0 } else { length });
        damaged(&world, |folder| fs::remove_file(folder.join(NAME)).unwrap());
        let source = world.new.source();
        world.pulled(&source, &world.pull().repair(true));
        assert_eq!(source.read(), length);
        damaged(&world, |folder| fs::remove_dir_all(folder.join("weights")).unwrap());
        world.pulled(&world.new.source(), &world.pull().repair(true));
        damaged(&world, |folder| fs::write(folder.join("README.md"), "").unwrap());
        world.pulled(&world.new.source(), &world.pull().repair(true));
        if !shards {
            damaged(&world, |folder| fs::write(folder.join("empty.txt"), "x").unwrap());
            world.pulled(&world.new.source(), &world.pull().repair(true));
        }
    }
}

#[test]
fn what_is_not_signed_is_refused_and_stays() {
    let world = World::shards();
    for (codes, damage) in [
        (
            &[Code::FileUnsigned][..],
            (|folder: &Path| fs::write(folder.join("extra"), "x").unwrap()) as fn(&Path),
        ),
        (&[Code::SymlinkRefused], |folder| {
            std::os::unix::fs::symlink("README.md", folder.join("link")).unwrap()
        }),
        (&[Code::NotAFile], |folder| {
            fs::remove_file(folder.join("deploy")).unwrap();
            fs::create_dir(folder.join("deploy")).unwrap();
        }),
        (&[Code::NotAFile, Code::FileUnsigned], |folder| {
            fs::remove_dir_all(folder.join("weights/deep")).unwrap();
            fs::write(folder.join("weights/deep"), "x").unwrap();
        }),
    ] {
        damaged(&world, |folder| {
            poke(folder);
            damage(folder);
        });
        let before = tree(&world.dest());
        let source = world.new.source();
        world.refused(&source, &world.pull().repair(true), codes);
        assert_eq!(source.read(), 0);
        assert!(tree(&world.dest()) == before);
    }
}

#[test]
fn a_repair_from_a_wrong_source_changes_nothing() {
    for world in [World::files(), World::shards()] {
        damaged(&world, poke);
        let before = tree(&world.dest());
        let mut wrong = world.new.files.clone();
        wrong.get_mut(NAME).unwrap()[300_000] ^= 1;
        let source = Tested::new(memory(&wrong));
        world.refused(&source, &world.pull().repair(true), &[Code::FileChanged]);
        assert!(tree(&world.dest()) == before);
    }
}

#[test]
fn a_file_that_changes_after_it_was_found_right_is_not_passed_off_as_right() {
    let world = World::shards();
    damaged(&world, poke);
    let dest = world.dest();
    let source = Tested::does(memory(&world.new.files), 1, move || {
        fs::File::options()
            .write(true)
            .open(dest.join("weights/1.bin"))
            .unwrap()
            .write_all_at(b"?!", 9)
            .unwrap();
    });
    world.refused(&source, &world.pull().repair(true), &[Code::ChangedWhileRead]);
    assert_eq!(fs::read(world.dest().join(NAME)).unwrap()[300_000..300_002], *b"?!", "nothing was replaced");
}

#[test]
fn a_repair_that_was_cut_is_taken_up() {
    let world = World::files();
    damaged(&world, poke);
    let half = Tested::breaks_off(memory(&world.new.files), LARGE as u64 / 2);
    world.refused(&half, &world.pull().repair(true), &[Code::ServiceFailed]);
    assert_eq!(world.found_in_dest(&world.new), BTreeSet::from([Code::PullUnfinished]));
    let source = world.new.source();
    world.pulled(&source, &world.pull().repair(true));
    assert_eq!(half.read() + source.read(), LARGE as u64 + 7);
}

#[test]
fn where_nothing_is_there_is_nothing_to_repair() {
    let world = World::files();
    world.pulled(&world.new.source(), &world.pull().repair(true));
}
