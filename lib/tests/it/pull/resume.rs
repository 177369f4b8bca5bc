//! Pulls that were cut, and taken up again.

use std::{fs, os::unix::fs::FileExt as _};

use weightseal::Pull;

use super::*;

/// The new release, cut when so many bytes were fetched; the folder keeps the old one.
fn cut(world: &World, pull: &Pull, after: u64) -> u64 {
    let source = Tested::breaks_off(memory(&world.new.files), after);
    world.refused(&source, pull, &[Code::ServiceFailed]);
    assert!(world.staged().join("log").exists());
    source.read()
}

#[test]
fn what_was_fetched_is_not_fetched_again() {
    for world in [World::files(), World::shards()] {
        for in_place in [false, true] {
            let _ = fs::remove_dir_all(world.dest());
            world.put_old();
            let pull = world.pull().in_place(in_place);
            let half = world.new.total() / 2;
            let first = cut(&world, &pull, half);
            if in_place {
                assert_eq!(world.found_in_dest(&world.old), BTreeSet::from([Code::PullUnfinished]));
            } else {
                world.stands(&world.old);
            }
            let second = cut(&world, &pull, half / 2);
            let source = world.new.source();
            let report = world.pulled(&source, &pull);
            assert!(first >= 1 << 20 && second >= 1 << 19, "{first} {second}");
            assert_eq!(first + second + source.read(), world.new.total(), "in place: {in_place}");
            assert_eq!(report.bytes, world.new.total(), "every byte was hashed all the same");
        }
    }
}

#[test]
fn a_run_that_was_ended_is_taken_up() {
    for world in [World::files(), World::shards()] {
        let cancel = weightseal::Cancel::default();
        let switch = cancel.clone();
        let half = world.new.total() / 2;
        let source = Tested::does(memory(&world.new.files), half, move || switch.cancel());
        world.refused_in(&source, &world.pull(), &[Code::Interrupted], &Run::new().cancel(cancel));
        assert!(!world.dest().exists());
        let again = world.new.source();
        world.pulled(&again, &world.pull());
        assert!(again.read() <= world.new.total() - half, "{} of {}", again.read(), world.new.total());
    }
}

/// Makes wrong what was staged, in whichever file is longest.
fn tear(world: &World) -> PathBuf {
    let staging = world.staged().join("staging");
    let files = fs::read_dir(staging).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn what_was_torn_is_fetched_again_in_the_same_run() {
    for world in [World::files(), World::shards()] {
        for kind in ["byte", "cut", "gone", "link", "log", "half a log", "no log"] {
            let after = world.new.total() - 10;
            cut(&world, &world.pull(), after);
            let torn = tear(&world);
            let log = world.staged().join("log");
            match kind {
                "byte" => {
                    fs::File::options().write(true).open(torn).unwrap().write_all_at(b"?!", 1000).unwrap()
                }
                "cut" => fs::File::options().write(true).open(torn).unwrap().set_len(5000).unwrap(),
                "gone" => fs::remove_file(torn).unwrap(),
                "link" => {
                    fs::rename(&torn, world.dir.path().join("torn")).unwrap();
                    std::os::unix::fs::symlink(world.dir.path().join("torn"), &torn).unwrap();
                }
                // A log that says too much, or is no log.
                "log" => {
                    let lines: String = (0..9).map(|number| format!("{number} 0 99999999999\n")).collect();
                    fs::write(log, lines + "x y z\n\n1 2\n7 5 3\n-1 0 4\n99 0 9\n\u{fe}").unwrap();
                }
                "half a log" => {
                    let bytes = fs::read(&log).unwrap();
                    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
                }
                _ => fs::remove_file(log).unwrap(),
            }
            let source = world.new.source();
            world_pulled_beside(&world, &source, &Run::new().fail_fast(true));
            if kind == "byte" {
                let most =
                    if world.new.files.contains_key("empty.txt") { world.new.total() - 1 } else { 2 * SHARD };
                assert!(source.read() <= most, "{} for {kind}", source.read());
            }
            fs::remove_dir_all(world.dest()).unwrap();
            let _ = fs::remove_file(world.dir.path().join("torn"));
        }
    }
}

/// As [`World::pulled_in`], where the test itself has put something beside the folder.
fn world_pulled_beside(world: &World, source: &Tested, run: &Run) {
    let report = world.try_pull(source, &world.pull(), run).unwrap_or_else(|report| panic!("{report}"));
    assert!(report.is_verified());
    world.stands(&world.new);
    assert!(!world.dir.path().join(".dest.weightseal-pull").exists());
}

#[test]
fn what_was_staged_of_another_model_is_of_no_use() {
    let world = World::files();
    cut(&world, &world.pull(), world.new.total() / 2);
    let source = world.old.source();
    let model = Model::from_source(source.clone());
    model.pull(&world.policy(), one(&world.old.bundle), &world.pull(), &Run::new()).unwrap();
    world.stands(&world.old);
    world.nothing_beside();
    assert_eq!(source.read(), world.old.total());
}

#[test]
fn a_pull_that_was_cut_before_the_exchange_is_taken_up() {
    // What a killed pull leaves when it is putting the new model together.
    for done in [0, 1, 4] {
        let world = World::files();
        let run = Run::new();
        // Cut by whoever changes the folder: all is fetched, and put together.
        world.put_old();
        let dest = world.dest();
        let source =
            Tested::does(memory(&world.new.files), 1, move || fs::write(dest.join("mine"), "x").unwrap());
        world.refused_in(&source, &world.pull(), &[Code::ChangedWhileRead], &run);
        let model = world.staged().join("model");
        assert!(tree(&model) == world.new.placed(), "it was made whole");
        // As if some files had not been moved yet: the first ones, in the order of their names.
        for (number, name) in world.new.files.keys().enumerate().skip(done) {
            fs::rename(model.join(name), world.staged().join("staging").join(number.to_string())).unwrap();
        }
        let again = world.new.source();
        world.pulled(&again, &world.pull());
        assert_eq!(again.read(), 0, "{done} were moved");
    }
}

#[test]
fn what_is_left_of_an_old_model_is_not_taken_for_the_new_one() {
    // As if it had been killed after the exchange: what lies in the staging is the old model.
    let world = World::files();
    cut(&world, &world.pull(), world.new.total() / 2);
    write(&world.staged().join("model"), &world.new.files);
    let journal = fs::read_to_string(world.staged().join("journal")).unwrap();
    let journal = journal.replace("fetching", "placing").replace("null", "1");
    fs::write(world.staged().join("journal"), journal).unwrap();
    let source = world.new.source();
    world.pulled(&source, &world.pull());
    assert!(source.read() > 0);
}

#[test]
fn a_pull_that_was_killed_after_the_exchange_is_hashed_again_and_not_fetched() {
    for world in [World::files(), World::shards()] {
        cut(&world, &world.pull(), world.new.total() / 2);
        let journal = fs::read_to_string(world.staged().join("journal")).unwrap();
        world.pulled(&world.new.source(), &world.pull());
        // The old model, half removed, under the journal of a pull that has exchanged it.
        let inode = std::os::unix::fs::MetadataExt::ino(&world.dest().metadata().unwrap());
        let journal = journal.replace("fetching", "placing").replace("null", &inode.to_string());
        let left = world.dir.path().join(".dest.weightseal-pull");
        for damaged in [false, true] {
            fs::DirBuilder::new().create(&left).unwrap();
            fs::set_permissions(&left, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            fs::create_dir(left.join("staging")).unwrap();
            fs::write(left.join("journal"), &journal).unwrap();
            write(&left.join("model"), &BTreeMap::from([("weights/1.bin".to_owned(), bytes(77, 1))]));
            if damaged {
                fs::write(world.dest().join("README.md"), "not what it was").unwrap();
            }
            let source = world.new.source();
            world.pulled(&source, &world.pull());
            assert_eq!(source.read(), if damaged { 12 } else { 0 });
        }
    }
}

#[test]
fn what_is_left_of_a_pull_that_was_killed_before_its_journal_is_taken_away() {
    for left in ["probe-a", "probe-b", "probe", "journal.new"] {
        let world = World::files();
        world.put_old();
        let beside = world.dir.path().join(".dest.weightseal-pull");
        fs::create_dir(&beside).unwrap();
        match left {
            "probe-a" | "probe-b" => fs::create_dir(beside.join(left)).unwrap(),
            _ => fs::write(beside.join(left), "").unwrap(),
        }
        world.pulled(&world.new.source(), &world.pull());
    }
}
