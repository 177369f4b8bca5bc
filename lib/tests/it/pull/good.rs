//! Pulls that succeed, by exchange.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
};

use weightseal::{Accept, Bundle, Hashing, KeySigner, Local, Model, Pull, Run, Source};

use super::*;

#[test]
fn a_model_comes_into_a_folder_that_was_not_there() {
    for world in [World::files(), World::shards()] {
        let source = world.new.source();
        let report = world.pulled(&source, &world.pull());
        assert_eq!(source.read(), world.new.total(), "every byte once");
        assert_eq!(
            (report.counts.signed, report.counts.verified),
            (world.new.files.len() as u64, world.new.files.len() as u64)
        );
        assert_eq!(report.bytes, world.new.total());
    }
}

#[test]
fn every_digest_and_a_folder_on_disk_can_be_pulled() {
    for algorithm in [Algorithm::Sha256, Algorithm::Blake2b, Algorithm::Blake3] {
        for hashing in [Hashing::files(algorithm), Hashing::shards(algorithm, 100_000).unwrap()] {
            let world = World::with(&hashing);
            let source = world.dir.path().join("source");
            write(&source, &world.new.files);
            let model = Model::open(&source).unwrap();
            model.pull(&world.policy(), one(&world.new.bundle), &world.pull(), &Run::new()).unwrap();
            world.stands(&world.new);
        }
    }
}

#[test]
fn the_old_model_stands_whole_until_the_new_one_does() {
    for world in [World::files(), World::shards()] {
        world.put_old();
        let world = Arc::new(world);
        for after in [1, world.new.total() / 2, world.new.total()] {
            let seen = Arc::clone(&world);
            let source = Tested::does(memory(&world.new.files), after, move || seen.stands(&seen.old));
            world.pulled(&source, &world.pull());
            fs::remove_dir_all(world.dest()).unwrap();
            world.put_old();
        }
    }
}

#[test]
fn whoever_holds_the_old_folder_keeps_the_old_files() {
    let world = World::files();
    world.put_old();
    let held = fs::File::open(world.dest().join("weights/1.bin")).unwrap();
    world.pulled(&world.new.source(), &world.pull());
    let mut bytes = vec![0; LARGE];
    std::os::unix::fs::FileExt::read_exact_at(&held, &mut bytes, 0).unwrap();
    assert!(bytes == world.old.files["weights/1.bin"]);
}

#[test]
fn an_empty_folder_is_pulled_into() {
    let world = World::files();
    fs::create_dir(world.dest()).unwrap();
    world.pulled(&world.new.source(), &world.pull());
    // By a path with a slash at its end, and by one that ends in dots.
    world.pulled(&world.new.source(), &Pull::new(format!("{}/", world.dest().display())));
    world.pulled(&world.new.source(), &Pull::new(world.dest().join("weights/..")));
}

#[test]
fn files_and_folders_can_be_read_as_others_are() {
    let world = World::files();
    world.pulled(&world.new.source(), &world.pull());
    let (file, folder) = (world.dir.path().join("file"), world.dir.path().join("folder"));
    fs::File::options().create_new(true).write(true).mode(0o644).open(&file).unwrap();
    fs::DirBuilder::new().mode(0o755).create(&folder).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode();
    for name in ["README.md", "empty.txt", "weights/deep/er/3.bin", "model.sig"] {
        assert_eq!(mode(&world.dest().join(name)), mode(&file), "{name}");
    }
    for name in ["", "weights", "weights/deep/er"] {
        assert_eq!(mode(&world.dest().join(name)), mode(&folder), "{name}");
    }
}

#[test]
fn links_become_files_and_what_is_not_signed_stays_behind() {
    let world = World::files();
    let source = world.dir.path().join("source");
    write(&source, &world.new.files);
    symlink("weights/1.bin", source.join("one")).unwrap();
    let model = Model::open(&source).unwrap().allow_symlinks(true);
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&world.key), &Run::new()).unwrap();
    fs::write(source.join("unsigned"), "x").unwrap();
    let refused = model.pull(&world.policy(), one(&bundle), &world.pull(), &Run::new()).unwrap_err();
    assert_eq!(found(refused.report()), BTreeSet::from([Code::FileUnsigned]));
    assert!(!world.dest().exists());
    let model = model.ignore_unsigned_files(true);
    let verified = model.pull(&world.policy(), one(&bundle), &world.pull(), &Run::new()).unwrap();
    assert_eq!((verified.report().counts.unsigned, verified.report().counts.links), (1, 1));
    let mut expected = world.new.files.clone();
    expected.insert("one".to_owned(), expected["weights/1.bin"].clone());
    expected.insert("model.sig".to_owned(), bundle.to_json().into_bytes());
    assert!(tree(&world.dest()) == expected);
    assert!(world.dest().join("one").symlink_metadata().unwrap().is_file());
}

#[test]
fn all_accepted_statements_have_to_fit() {
    let world = World::files();
    let other = Key::new(KeyKind::P256, 2);
    let policy = world.policy().accept(Accept::key(other.public_pem()).unwrap());
    let model = || Model::from_source(memory(&world.new.files));
    let sign = |model: &Model, hashing| -> Bundle {
        model
            .sign(&hashing, &KeySigner::from_pem(other.pkcs8_pem().as_bytes(), None).unwrap(), &Run::new())
            .unwrap()
    };
    for hashing in [
        Hashing::files(Algorithm::Sha256),
        Hashing::files(Algorithm::Blake3),
        Hashing::shards(Algorithm::Sha256, 100_000).unwrap(),
    ] {
        let second = sign(&model(), hashing);
        let bundles = [world.new.bundle.clone(), second];
        let source = world.new.source();
        let pulled = Model::from_source(source.clone());
        pulled.pull(&policy, &bundles, &world.pull(), &Run::new()).unwrap();
        world.stands(&world.new);
        assert_eq!(
            source.read(),
            world.new.total(),
            "each byte is fetched once, however many statements there are"
        );
    }
    // The other one has signed something else.
    let changed = memory(&world.new.files).with("deploy", "another");
    let bundles =
        [world.new.bundle.clone(), sign(&Model::from_source(changed), Hashing::files(Algorithm::Sha256))];
    fs::remove_dir_all(world.dest()).unwrap();
    let refused = model().pull(&policy, &bundles, &world.pull(), &Run::new()).unwrap_err();
    assert_eq!(found(refused.report()), BTreeSet::from([Code::FileChanged]));
    assert!(!world.dest().exists());
}

#[test]
fn a_single_file_is_pulled_into_a_folder() {
    let world = World::files();
    let path = world.dir.path().join("weights.bin");
    fs::write(&path, "weights").unwrap();
    let local = Local::open(&path).unwrap();
    assert!(local.is_single_file());
    let model = Model::open(&path).unwrap();
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&world.key), &Run::new()).unwrap();
    model.pull(&world.policy(), one(&bundle), &world.pull(), &Run::new()).unwrap();
    let pulled = Model::open(world.dest().join("weights.bin")).unwrap();
    let bundle = Bundle::read(world.dest().join("model.sig")).unwrap();
    pulled.verify(&world.policy(), &[bundle], &Run::new()).unwrap();
}

#[test]
fn many_files_are_pulled() {
    let key = Key::new(KeyKind::Ed25519, 1);
    let files: BTreeMap<String, Vec<u8>> =
        (0..1000).map(|n| (format!("{}/{n}", n % 50), bytes(n % 300, n as u64))).collect();
    let bundle = Model::from_source(memory(&files))
        .sign(&Hashing::files(Algorithm::Sha256), &signer(&key), &Run::new())
        .unwrap();
    let world = World { new: Signed { files, bundle }, ..World::files() };
    world.pulled(&world.new.source(), &world.pull());
}

#[test]
fn a_folder_stays_closed_to_whom_it_was_closed() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::files();
    world.put_old();
    for mode in [0o700, 0o750, 0o755] {
        fs::set_permissions(world.dest(), fs::Permissions::from_mode(mode)).unwrap();
        world.pulled(&world.new.source(), &world.pull());
        assert_eq!(world.dest().metadata().unwrap().mode() & 0o027, mode & 0o027);
    }
}

#[test]
fn a_name_that_leaves_no_room_for_one_beside_is_refused() {
    let world = World::files();
    let source = world.new.source();
    for length in [221, 255] {
        let dest = world.dir.path().join("x".repeat(length));
        world.refused(&source, &Pull::new(&dest), &[Code::BadArgument]);
        assert_eq!((source.read(), dest.exists()), (0, false));
        // In one that is there it is done in place.
        fs::create_dir(&dest).unwrap();
        world.try_pull(&world.new.source(), &Pull::new(&dest), &Run::new()).unwrap();
        assert!(tree(&dest) == world.new.placed());
    }
    world.try_pull(&source, &Pull::new(world.dir.path().join("x".repeat(220))), &Run::new()).unwrap();
}
