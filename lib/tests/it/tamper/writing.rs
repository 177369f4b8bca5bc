//! Signing: what there is to sign, what is left out, and that a signature is written whole or not at all.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use testkit::{pki::KeyKind, temporary};
use weightseal::{Algorithm, Bundle, Code, Events, Hashing, Model, Replace, Run};

use crate::good::{Good, again, in_child, passed, signer, trusting, verified, write_files};

fn hashing() -> Hashing {
    Hashing::files(Algorithm::Sha256)
}

#[test]
fn an_empty_model_is_not_signed() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 4] = [
        ("nothing", |_| ()),
        ("empty folders", |folder| fs::create_dir_all(folder.join("a/b")).unwrap()),
        ("only Git's files", |folder| write_files(folder, [(".gitignore", &b"x"[..]), (".git/HEAD", b"x")])),
        ("only signatures", |folder| {
            fs::write(folder.join("model.sig"), Good::new().bundle.to_json()).unwrap();
        }),
    ];
    for (name, make) in cases {
        let dir = temporary().unwrap();
        make(dir.path());
        let key = testkit::pki::Key::new(KeyKind::Ed25519, 1);
        let model = || Model::open(dir.path()).unwrap();
        let error = model().sign(&hashing(), &signer(&key), &Run::new()).unwrap_err();
        assert_eq!((error.code(), error.class().exit()), (Code::ModelEmpty, 2), "{name}");
        // With one file it is.
        fs::write(dir.path().join("a.txt"), "").unwrap();
        model().sign(&hashing(), &signer(&key), &Run::new()).unwrap();
        // Which in shards has none.
        let shards = Hashing::shards(Algorithm::Sha256, 5).unwrap();
        let error = model().sign(&shards, &signer(&key), &Run::new()).unwrap_err();
        assert_eq!(error.code(), Code::ModelEmpty, "{name}");
    }
    assert_eq!(Hashing::shards(Algorithm::Sha256, 0).unwrap_err().code(), Code::BadArgument);
    let dir = temporary().unwrap();
    assert_eq!(Model::open(dir.path().join("none")).unwrap_err().code(), Code::ModelAbsent);
}

/// Keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Events for Notes {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[test]
fn signatures_beside_the_new_one_are_left_out_recorded_and_told() {
    let good = Good::new();
    let text = good.bundle.to_json();
    write_files(
        &good.folder(),
        [
            ("skill.oms.sig", text.as_bytes()),
            ("old\u{202e}.sig", text.as_bytes()),
            // No signatures, whatever they are called.
            ("broken.sig", &text.as_bytes()[..100]),
            ("other.json", b"{\"mediaType\": \"x\"}"),
            // Nor is one below taken for one of this model's.
            ("deploy/vendor.sig", text.as_bytes()),
        ],
    );
    let notes = Arc::new(Notes::default());
    let run = Run::new().events(notes.clone());
    let mut model = good.model();
    model.leave_out_signature(good.path("model.sig"));
    let bundle = model.sign(&hashing(), &signer(&good.key), &run).unwrap();
    let statement = bundle.unverified_statement().unwrap();
    let ignored = &statement.manifest().serialization().ignore_paths;
    for name in ["skill.oms.sig", "old\u{202e}.sig", "model.sig", ".git"] {
        assert!(ignored.iter().any(|path| path == name), "{name} in {ignored:?}");
    }
    let signed: Vec<&str> = statement.manifest().files().iter().map(|file| file.name.as_str()).collect();
    for name in ["broken.sig", "other.json", "deploy/vendor.sig"] {
        assert!(signed.contains(&name), "{name} in {signed:?}");
    }
    assert!(!signed.contains(&"skill.oms.sig"));
    let notes = notes.0.lock().unwrap().join("\n");
    assert_eq!(notes.lines().count(), 2, "{notes}");
    assert!(notes.contains("skill.oms.sig") && !notes.contains('\u{202e}'), "{notes}");

    bundle.write(good.path("model.sig"), Replace::Nothing).unwrap();
    let bundles = [Bundle::read(good.path("model.sig")).unwrap()];
    let report = verified(&good.model(), &trusting(&good.key), &bundles);
    assert_eq!(report.counts.ignored, 3);
}

#[test]
fn given_signatures_are_left_out_wherever_they_lie_and_whatever_they_are_called() {
    let good = Good::new();
    let dir = temporary().unwrap();
    for (place, path) in [
        ("in the model", good.path("weights.bin")),
        ("below", good.path("deploy/sig")),
        ("outside", dir.path().join("model.sig")),
    ] {
        good.bundle.write(&path, Replace::Nothing).unwrap();
        let bundles = [Bundle::read(&path).unwrap()];
        let report = verified(&good.model(), &good.policy(), &bundles);
        assert_eq!(report.signatures[0].bundle.as_deref(), path.to_str(), "{place}");
        fs::remove_file(path).unwrap();
    }
    // Several, each of which is given.
    let paths = [good.path("a.sig"), good.path("b.sig")];
    let bundles = paths.clone().map(|path| {
        good.bundle.write(&path, Replace::Nothing).unwrap();
        Bundle::read(&path).unwrap()
    });
    verified(&good.model(), &good.policy(), &bundles);
    crate::good::refused(&good.model(), &good.policy(), &bundles[..1], &[Code::FileUnsigned]);
}

#[test]
fn a_signed_file_does_not_become_a_signature_by_being_given_as_one() {
    // The bundle was signed as a file of the model: given as the signature it still has to match.
    let good = Good::with(
        &hashing(),
        KeyKind::Ed25519,
        |folder| fs::write(folder.join("model.sig"), "was here before").unwrap(),
        |model| model,
    );
    good.bundle.write(good.path("model.sig"), Replace::Anything).unwrap();
    let bundles = [Bundle::read(good.path("model.sig")).unwrap()];
    crate::good::refused(&good.model(), &good.policy(), &bundles, &[Code::FileChanged]);
}

#[test]
fn only_a_signature_is_replaced_by_a_signature() {
    let good = Good::new();
    let path = good.dir.path().join("model.sig");
    let write = |replace| good.bundle.write(&path, replace);
    let refused = |replace| {
        let error = write(replace).unwrap_err();
        assert_eq!((error.code(), error.class().exit()), (Code::OutputExists, 2));
    };
    fs::write(&path, "my thesis").unwrap();
    refused(Replace::Nothing);
    refused(Replace::Signature);
    assert_eq!(fs::read(&path).unwrap(), b"my thesis");
    write(Replace::Anything).unwrap();
    refused(Replace::Nothing);
    write(Replace::Signature).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), good.bundle.to_json());
    for folder in [Replace::Signature, Replace::Anything] {
        let error = good.bundle.write(good.folder(), folder).unwrap_err();
        assert_eq!(error.code(), Code::OutputExists);
    }
    assert_eq!(names(good.dir.path()), ["model", "model.sig"]);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A bundle of some 30 KiB.
fn long_bundle() -> Bundle {
    let files = |folder: &Path| (0..200).for_each(|n| fs::write(folder.join(format!("f{n}")), "x").unwrap());
    let bundle = Good::with(&hashing(), KeyKind::Ed25519, files, |model| model).bundle;
    assert!(bundle.to_json().len() > 20_000);
    bundle
}

/// Writes the bundle where there is no room for it: nothing may be left behind, and what was there stays.
fn write_without_room(bundle: &Bundle, folder: &Path, before: Option<&str>) {
    let path = folder.join("model.sig");
    let replace = if before.is_some() { Replace::Signature } else { Replace::Nothing };
    let error = bundle.write(&path, replace).unwrap_err();
    assert_eq!((error.code(), error.class().exit()), (Code::DiskFull, 3), "{error}");
    match before {
        Some(before) => {
            assert_eq!(names(folder), ["model.sig"]);
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
        }
        None => assert_eq!(names(folder), [""; 0]),
    }
}

#[test]
fn where_a_file_may_not_grow_nothing_is_left_behind() {
    const TEST: &str = "tamper::writing::where_a_file_may_not_grow_nothing_is_left_behind";
    if !in_child(TEST) {
        // 16 blocks of 512 bytes, or of 1024 with some shells; the signal that goes with it is ignored.
        let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""];
        passed(again(TEST, &limited));
        return;
    }
    let bundle = long_bundle();
    let short = Good::new().bundle.to_json();
    for before in [None, Some(&*short)] {
        let dir = temporary().unwrap();
        if let Some(before) = before {
            fs::write(dir.path().join("model.sig"), before).unwrap();
        }
        write_without_room(&bundle, dir.path(), before);
    }
}

/// A file system of so many bytes, where this process may mount one.
struct Tiny(testkit::TempDir);

impl Tiny {
    fn mount(bytes: usize) -> Option<Tiny> {
        let dir = temporary().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Tiny(dir))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_nothing_is_left_behind() {
    let bundle = long_bundle();
    let short = Good::new().bundle.to_json();
    for before in [None, Some(&*short)] {
        // Without the right to mount there is the test above, which comes by the same error another way.
        let Some(tiny) = Tiny::mount(if before.is_some() { 8192 } else { 4096 }) else { return };
        if let Some(before) = before {
            fs::write(tiny.0.path().join("model.sig"), before).unwrap();
        }
        write_without_room(&bundle, tiny.0.path(), before);
    }
}
