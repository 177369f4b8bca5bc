//! Pulls that are refused, and leave the folder as it was.

use std::{fs, os::unix::fs::symlink};

use weightseal::{Hashing, Mode, Pull};

use super::*;

/// The two ways.
fn ways(world: &World) -> [Pull; 2] {
    [world.pull(), world.pull().in_place(true)]
}

#[test]
fn the_policy_is_asked_before_anything_is_read_or_touched() {
    let world = World::files();
    world.put_old();
    let source = world.new.source();
    let model = Model::from_source(source.clone());
    let other = trusting(&Key::new(KeyKind::Ed25519, 9));
    for (policy, code) in [(Policy::new(), Code::TrustMissing), (other, Code::KeyNotTrusted)] {
        for pull in ways(&world) {
            let failure = model.pull(&policy, one(&world.new.bundle), &pull, &Run::new()).unwrap_err();
            assert_eq!(found(failure.report()), BTreeSet::from([code]));
        }
    }
    let failure = model.pull(&world.policy(), &[], &world.pull(), &Run::new()).unwrap_err();
    assert_eq!(found(failure.report()), BTreeSet::from([Code::SignatureMissing]));
    assert_eq!((source.read(), source.listed()), (0, 0));
    world.stands(&world.old);
    world.nothing_beside();
}

#[test]
fn bytes_that_are_not_as_signed_leave_the_folder_as_it_was() {
    for world in [World::files(), World::shards()] {
        world.put_old();
        for in_place in [false, true] {
            let pull = world.pull().in_place(in_place);
            for name in ["README.md", "weights/2.bin"] {
                let mut wrong = world.new.files.clone();
                *wrong.get_mut(name).unwrap().last_mut().unwrap() ^= 1;
                let source = Tested::new(memory(&wrong));
                let report = world.refused(&source, &pull, &[Code::FileChanged]);
                assert_eq!(report.findings[0].name.as_deref(), Some(name));
                world.stands(&world.old);
                // What was right is kept, and would be taken from there.
                let kept = world.dir.path().join(".dest.weightseal-pull");
                assert_eq!(kept.exists(), !in_place);
                let _ = fs::remove_dir_all(kept);
            }
        }
        // So that what was right is of use for the next pull, and what was wrong is not.
        let source = world.new.source();
        let mut wrong = world.new.files.clone();
        wrong.get_mut("weights/2.bin").unwrap()[5] ^= 1;
        world.refused(&Tested::new(memory(&wrong)), &world.pull(), &[Code::FileChanged]);
        world.pulled(&source, &world.pull());
        assert_eq!(source.read(), LARGE as u64 + 7);
    }
}

#[test]
fn names_and_lengths_are_compared_before_a_byte_is_fetched() {
    let world = World::shards();
    world.put_old();
    let whole = || memory(&world.new.files);
    for (memory, codes) in [
        (whole().without("deploy"), &[Code::FileMissing][..]),
        (whole().with("extra", "x"), &[Code::FileUnsigned]),
        (whole().with("deploy", "longer than before"), &[Code::FileLonger]),
        (whole().with("deploy", "x"), &[Code::FileShorter]),
    ] {
        for pull in ways(&world) {
            let source = Tested::new(memory.clone());
            world.refused(&source, &pull, codes);
            assert_eq!(source.read(), 0);
            world.stands(&world.old);
            world.nothing_beside();
        }
    }
}

#[test]
fn what_is_no_signed_model_is_not_replaced() {
    let world = World::files();
    let there = |name: &str, bytes: &str| {
        let _ = fs::remove_dir_all(world.dest());
        fs::create_dir(world.dest()).unwrap();
        fs::write(world.dest().join(name), bytes).unwrap();
    };
    for (name, bytes) in
        [("thesis.tex", "years of work"), ("model.sig", "{}"), ("model.sig", ""), (".weightseal", "")]
    {
        for pull in ways(&world) {
            there(name, bytes);
            let source = world.new.source();
            world.refused(&source, &pull, &[Code::OutputExists]);
            assert_eq!(source.read(), 0);
            assert_eq!(tree(&world.dest()), BTreeMap::from([(name.to_owned(), bytes.into())]));
            world.nothing_beside();
        }
    }
    for pull in ways(&world) {
        there("thesis.tex", "a draft");
        world.pulled(&world.new.source(), &pull.force(true));
    }
}

#[test]
fn what_is_no_folder_is_not_replaced() {
    let world = World::files();
    fs::create_dir(world.dir.path().join("real")).unwrap();
    for pull in [world.pull(), world.pull().force(true), Pull::new(format!("{}/", world.dest().display()))] {
        symlink("real", world.dest()).unwrap();
        world.refused(&world.new.source(), &pull, &[Code::OutputExists]);
        fs::remove_file(world.dest()).unwrap();
        symlink("nowhere", world.dest()).unwrap();
        world.refused(&world.new.source(), &pull, &[Code::OutputExists]);
        fs::remove_file(world.dest()).unwrap();
        fs::write(world.dest(), "x").unwrap();
        world.refused(&world.new.source(), &pull, &[Code::OutputExists]);
        fs::remove_file(world.dest()).unwrap();
    }
    world.refused(&world.new.source(), &Pull::new(world.dest().join("a/b")), &[Code::BadArgument]);
    assert_eq!(fs::read_dir(world.dir.path().join("real")).unwrap().count(), 0);
}

#[test]
fn a_model_is_not_pulled_into_itself() {
    let world = World::files();
    world.put_old();
    let model = Model::open(world.dest()).unwrap();
    fs::create_dir(world.dest().join("gone/inner")).unwrap();
    let inside = |name: &str| world.dest().join(name);
    for dest in [world.dest(), inside("gone/inner"), inside("gone/new"), world.dir.path().to_owned()] {
        let failure =
            model.pull(&world.policy(), one(&world.old.bundle), &Pull::new(&dest), &Run::new()).unwrap_err();
        assert_eq!(found(failure.report()), BTreeSet::from([Code::ArgumentsConflict]), "{dest:?}");
    }
    world.nothing_beside();
}

#[test]
fn names_that_a_disk_or_the_pull_itself_cannot_take_are_refused() {
    let world = World::files();
    for (name, code) in [
        ("model.sig", Code::OutputExists),
        ("model.sig/x", Code::OutputExists),
        ("Model.SIG", Code::OutputExists),
        (".Weightseal", Code::OutputExists),
        (".weightseal/journal", Code::OutputExists),
        ("deploy/x", Code::NotAFile),
        (&"x".repeat(256), Code::FileNameInvalid),
    ] {
        let files: BTreeMap<String, Vec<u8>> =
            [("deploy", "x"), (name, "y")].map(|(name, bytes)| (name.to_owned(), bytes.into())).into();
        let hashing = Hashing::files(Algorithm::Sha256);
        let model = Model::from_source(memory(&files));
        let bundle = model.sign(&hashing, &signer(&world.key), &Run::new()).unwrap();
        // It is a good signature of a good model, as far as that goes.
        model.verify(&world.policy(), one(&bundle), &Run::new()).unwrap();
        let failure = model.pull(&world.policy(), one(&bundle), &world.pull(), &Run::new()).unwrap_err();
        assert_eq!(found(failure.report()), BTreeSet::from([code]), "{name}");
        assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_changes_meanwhile_is_not_replaced() {
    for in_place in [false, true] {
        for what in ["new", "write", "remove", "replace"] {
            let world = World::files();
            world.put_old();
            let dest = world.dest();
            let source = Tested::does(memory(&world.new.files), 1, move || match what {
                "new" => fs::write(dest.join("mine"), "x").unwrap(),
                "write" if in_place => fs::write(dest.join("README.md"), "mine").unwrap(),
                "write" => fs::create_dir(dest.join("mine")).unwrap(),
                "remove" => fs::remove_file(dest.join("README.md")).unwrap(),
                _ => {
                    fs::rename(&dest, dest.with_file_name("moved")).unwrap();
                    fs::create_dir(&dest).unwrap();
                    fs::write(dest.join("mine"), "x").unwrap();
                }
            });
            world.refused(&source, &world.pull().in_place(in_place), &[Code::ChangedWhileRead]);
            let there = tree(&world.dest());
            assert!(!there.contains_key("deploy"), "{what}");
            assert!(what != "new" || there.contains_key("mine"));
        }
    }
    // Where nothing stood, somebody puts something.
    let world = World::files();
    let dest = world.dest();
    let source = Tested::does(memory(&world.new.files), 1, move || {
        fs::create_dir(&dest).unwrap();
        fs::write(dest.join("mine"), "x").unwrap();
    });
    world.refused(&source, &world.pull(), &[Code::ChangedWhileRead]);
    assert_eq!(names(&tree(&world.dest())), ["mine"]);
}

#[test]
fn warn_mode_admits_nothing() {
    let world = World::files();
    let mut wrong = world.new.files.clone();
    wrong.get_mut("deploy").unwrap()[0] ^= 1;
    let model = Model::from_source(memory(&wrong));
    let policy = world.policy().mode(Mode::Warn);
    let failure = model.pull(&policy, one(&world.new.bundle), &world.pull(), &Run::new()).unwrap_err();
    assert!(!failure.report().admitted && failure.report().exit_code() == 1);
    assert!(!world.dest().exists());
}

#[test]
fn two_pulls_do_not_meet() {
    for in_place in [false, true] {
        let world = Arc::new(World::files());
        world.put_old();
        let (inner, pull) = (Arc::clone(&world), world.pull().in_place(in_place));
        let second = pull.clone();
        let source = Tested::does(memory(&world.new.files), 1, move || {
            let other = inner.new.source();
            inner.refused(&other, &second, &[Code::PullUnfinished]);
            assert_eq!(other.read(), 0);
            let run = Run::new().deadline(Duration::from_millis(60));
            inner.refused_in(&other, &second.clone().wait(true), &[Code::DeadlinePassed], &run);
        });
        world.pulled(&source, &pull);
    }
}

#[test]
fn who_waits_has_his_turn() {
    for in_place in [false, true] {
        let world = Arc::new(World::files());
        world.put_old();
        let pull = world.pull().in_place(in_place).wait(true);
        let pulls: Vec<_> = (0..3)
            .map(|_| {
                let (world, pull) = (Arc::clone(&world), pull.clone());
                std::thread::spawn(move || world.try_pull(&world.new.source(), &pull, &Run::new()).map(drop))
            })
            .collect();
        for pull in pulls {
            pull.join().unwrap().unwrap_or_else(|report| panic!("{report}"));
        }
        world.stands(&world.new);
        world.nothing_beside();
    }
}

#[test]
fn nothing_is_removed_that_somebody_has_put_where_a_pull_stages() {
    for in_place in [false, true] {
        for broken in [false, true] {
            let world = World::files();
            world.put_old();
            let pull = world.pull().in_place(in_place);
            if broken {
                let source = Tested::breaks_off(memory(&world.new.files), LARGE as u64 / 2);
                world.refused(&source, &pull, &[Code::ServiceFailed]);
            }
            let at = match in_place {
                true => world.dest().join(".weightseal"),
                false => world.dir.path().join(".dest.weightseal-pull"),
            };
            fs::create_dir_all(at.join("model/mine")).unwrap();
            fs::write(at.join("model/mine/x"), "x").unwrap();
            if broken {
                fs::rename(at.join("model"), at.join("precious")).unwrap();
            }
            let before = tree(&at);
            let source = world.new.source();
            world.refused(&source, &pull, &[Code::OutputExists]);
            assert_eq!(source.read(), 0);
            assert!(tree(&at) == before);
        }
    }
}

#[test]
fn what_is_put_where_a_pull_stages_meanwhile_is_not_removed() {
    for ends in [false, true] {
        let world = World::files();
        world.put_old();
        let at = world.dir.path().join(".dest.weightseal-pull");
        let (away, mine) = (world.dir.path().join("away"), at.join("model/mine"));
        let moved = (at.clone(), away.clone());
        let action = move || {
            fs::rename(moved.0, moved.1).unwrap();
            fs::create_dir_all(mine.parent().unwrap()).unwrap();
            fs::write(mine, "x").unwrap();
        };
        let mut files = world.new.files.clone();
        if !ends {
            files.values_mut().for_each(|bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
        }
        let source = Tested::does(memory(&files), 1, action);
        let result = world.try_pull(&source, &world.pull(), &Run::new());
        assert_eq!(result.is_ok(), ends);
        assert_eq!(fs::read(at.join("model/mine")).unwrap(), b"x");
        assert!(!ends || fs::read_dir(away).unwrap().count() == 0);
        world.stands(if ends { &world.new } else { &world.old });
    }
}

#[test]
fn a_journal_alone_makes_no_signed_model_of_a_folder() {
    let world = World::files();
    world.put_old();
    let broken = Tested::breaks_off(memory(&world.new.files), LARGE as u64 / 2);
    world.refused(&broken, &world.pull().in_place(true), &[Code::ServiceFailed]);
    fs::remove_file(world.dest().join("model.sig")).unwrap();
    let source = world.new.source();
    world.refused(&source, &world.pull().in_place(true), &[Code::OutputExists]);
    // Nor is a folder empty in which something stands where a pull keeps its own.
    fs::remove_dir_all(world.dest()).unwrap();
    fs::create_dir_all(world.dest().join(".weightseal/mine")).unwrap();
    world.refused(&source, &world.pull(), &[Code::OutputExists]);
    assert!(world.dest().join(".weightseal/mine").exists());
    assert_eq!(source.read(), 0);
}
