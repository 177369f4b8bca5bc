//! Pulls into a folder that keeps its place.

use std::{fs, os::unix::fs::MetadataExt as _};

use weightseal::{Hashing, KeySigner};

use super::*;

fn in_place(world: &World) -> Pull {
    world.pull().in_place(true)
}

#[test]
fn the_folder_stays_and_its_files_are_the_new_ones() {
    for world in [World::files(), World::shards()] {
        world.put_old();
        let inode = world.dest().metadata().unwrap().ino();
        world.pulled(&world.new.source(), &in_place(&world));
        assert_eq!(world.dest().metadata().unwrap().ino(), inode);
        assert!(!world.dest().join("gone").exists(), "what the new model does not have is removed");
    }
}

#[test]
fn readers_are_told_as_long_as_it_is_under_way() {
    let world = Arc::new(World::files());
    world.put_old();
    let seen = Arc::clone(&world);
    let source = Tested::does(memory(&world.new.files), 1, move || {
        assert_eq!(seen.found_in_dest(&seen.old), BTreeSet::from([Code::PullUnfinished]));
        let model = Model::open(seen.dest()).unwrap();
        let hashing = Hashing::files(Algorithm::Sha256);
        let signer = KeySigner::from_pem(seen.key.pkcs8_pem().as_bytes(), None).unwrap();
        assert_eq!(model.sign(&hashing, &signer, &Run::new()).unwrap_err().code(), Code::PullUnfinished);
        assert_eq!(model.manifest(&hashing, &Run::new()).unwrap_err().code(), Code::PullUnfinished);
        // Besides, nothing of the old model was touched.
        let mut there = tree(&seen.dest());
        there.retain(|name, _| !name.starts_with(".weightseal/"));
        assert!(there == seen.old.placed());
    });
    world.pulled(&source, &in_place(&world));
}

#[test]
fn whatever_a_pull_has_left_tells_readers() {
    let world = World::files();
    world.put_old();
    let own = world.dest().join(".weightseal");
    let unfinished = BTreeSet::from([Code::PullUnfinished]);
    fs::create_dir(&own).unwrap();
    assert_eq!(world.found_in_dest(&world.old), unfinished);
    for kind in ["file", "folder", "link"] {
        let journal = own.join("journal");
        match kind {
            "file" => fs::write(&journal, "anything").unwrap(),
            "folder" => fs::create_dir(&journal).unwrap(),
            _ => std::os::unix::fs::symlink("nowhere", &journal).unwrap(),
        }
        assert_eq!(world.found_in_dest(&world.old), unfinished, "{kind}");
        fs::remove_dir_all(&own).unwrap();
        fs::create_dir(&own).unwrap();
    }
    // A link that leads to a journal elsewhere.
    fs::rename(&own, world.dir.path().join("elsewhere")).unwrap();
    fs::write(world.dir.path().join("elsewhere/journal"), "").unwrap();
    std::os::unix::fs::symlink(world.dir.path().join("elsewhere"), &own).unwrap();
    assert_eq!(world.found_in_dest(&world.old), unfinished);
    // What is no folder and leads to none is a file like any other.
    fs::remove_file(&own).unwrap();
    fs::write(&own, "").unwrap();
    assert_eq!(world.found_in_dest(&world.old), BTreeSet::from([Code::FileUnsigned]));
    fs::remove_file(&own).unwrap();
    world.stands(&world.old);
}

#[test]
fn a_folder_that_was_left_is_pulled_into_again() {
    for left in ["", "journal", "lock"] {
        let world = World::files();
        world.put_old();
        let own = world.dest().join(".weightseal");
        fs::create_dir(&own).unwrap();
        if !left.is_empty() {
            fs::write(own.join(left), "{ nothing that could be read").unwrap();
        }
        // Although it was not asked for, it is done in place.
        let inode = world.dest().metadata().unwrap().ino();
        world.pulled(&world.new.source(), &world.pull());
        assert_eq!(world.dest().metadata().unwrap().ino(), inode);
    }
}

#[test]
fn what_stands_in_the_way_goes() {
    let world = World::files();
    world.put_old();
    // A folder where a file comes, a file and a link where folders come, and the signature's place.
    fs::create_dir_all(world.dest().join("deploy/inner")).unwrap();
    fs::remove_dir_all(world.dest().join("weights")).unwrap();
    std::os::unix::fs::symlink(world.dir.path(), world.dest().join("weights")).unwrap();
    fs::remove_file(world.dest().join("model.sig")).unwrap();
    fs::create_dir(world.dest().join("model.sig")).unwrap();
    fs::write(world.dest().join("model.sig/x"), "x").unwrap();
    fs::write(world.dest().join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    let before = fs::read_dir(world.dir.path()).unwrap().count();
    world.refused(&world.new.source(), &in_place(&world), &[Code::OutputExists]);
    world.pulled(&world.new.source(), &in_place(&world).force(true));
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), before, "no link was followed");
}

use std::os::unix::ffi::OsStrExt as _;
