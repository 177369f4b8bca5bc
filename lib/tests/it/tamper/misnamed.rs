//! Names that a store may list and no disk has.

use std::fmt;

use testkit::pki::KeyKind;
use weightseal::{Algorithm, Code, Entry, Error, Hashing, Kind, Memory, Model, Run, Source, Stamp};

use crate::good::{FILES, Good, refused, sha256, verified};

/// The good model in a store, with one more entry.
#[derive(Clone, Debug)]
struct Planted(Memory, Vec<Entry>);

impl Planted {
    fn new(name: &str, kind: Kind, count: usize) -> Self {
        let memory = FILES.iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(*name, *bytes));
        let entry = |n: usize| Entry {
            name: if n == 0 { name.to_owned() } else { format!("{name}-{n}") },
            kind: kind.clone(),
            real: None,
            through: None,
            size: 1,
            stamp: Stamp::default(),
            stated: None,
        };
        Planted(memory, (0..count).map(entry).collect())
    }

    fn model(self) -> Model {
        Model::from_source(self)
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store")
    }
}

impl Source for Planted {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.0.list(run, each)?;
        self.1.iter().cloned().try_for_each(each)
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        self.0.read_at(entry, offset, buf, run)
    }

    fn base_name(&self) -> String {
        "m".to_owned()
    }
}

#[test]
fn a_name_that_leads_elsewhere_hides_nowhere() {
    let good = Good::new();
    verified(&Planted::new(".git/config", Kind::File, 1).model(), &good.policy(), good.bundles());
    for name in [
        ".git/../evil.py",
        ".gitattributes/../evil.py",
        ".git/../model.safetensors",
        ".git/./x",
        ".git//x",
        "../evil.py",
        ".git/",
    ] {
        let planted = Planted::new(name, Kind::BadName, 1).model();
        refused(&planted, &good.policy(), good.bundles(), &[Code::FileNameInvalid]);
        // Tolerated or not.
        let tolerant = planted.ignore_unsigned_files(true);
        refused(&tolerant, &good.policy(), good.bundles(), &[Code::FileNameInvalid]);
    }
    // A name that is only not text lies where it says.
    verified(&Planted::new(".git/\u{fffd}", Kind::BadName, 1).model(), &good.policy(), good.bundles());
}

#[test]
fn of_very_many_files_that_are_not_signed_some_are_told_and_the_others_counted() {
    let good = Good::new();
    let planted = Planted::new("unsigned", Kind::File, 10_123).model();
    let report = refused(&planted, &good.policy(), good.bundles(), &[Code::FileUnsigned]);
    assert_eq!(report.findings.len(), 10_001);
    assert!(report.findings.iter().any(|finding| finding.what.starts_with("123 more files")));
    let tolerant = planted.ignore_unsigned_files(true);
    assert_eq!(verified(&tolerant, &good.policy(), good.bundles()).counts.unsigned, 10_123);
    // All of them are signed.
    let hashing = Hashing::files(Algorithm::Sha256);
    let signer = crate::good::signer(&testkit::pki::Key::new(KeyKind::Ed25519, 1));
    let many = (0..10_123).fold(Memory::new("m"), |memory, n| memory.with(format!("f{n}"), "x"));
    let bundle = Model::from_source(many).sign(&hashing, &signer, &Run::new()).unwrap();
    let statement = bundle.unverified_statement().unwrap();
    assert_eq!(statement.manifest().files().len(), 10_123);
    assert_eq!(statement.manifest().resources()[0].digest.hex(), sha256(b"x"));
}
