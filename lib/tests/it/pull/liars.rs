//! Several signatures on a model whose store answers each of them with other bytes.

use std::fs;

use weightseal::{Accept, Failure, Verified};

use super::*;

/// A store that gives one release until it has given all of it once, and another one thereafter, under the same stamps.
struct Liar {
    first: Memory,
    then: Memory,
    after: u64,
    read: AtomicU64,
}

impl Liar {
    fn new(first: &BTreeMap<String, Vec<u8>>, then: &BTreeMap<String, Vec<u8>>) -> Liar {
        let after = first.values().map(|bytes| bytes.len() as u64).sum();
        Liar { first: memory(first), then: memory(then), after, read: AtomicU64::new(0) }
    }
}

impl Source for Liar {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.first.list(run, each)
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        let honest = self.read.load(Ordering::SeqCst) < self.after;
        let read = if honest { &self.first } else { &self.then }.read_at(entry, offset, buf, run)?;
        self.read.fetch_add(read as u64, Ordering::SeqCst);
        Ok(read)
    }

    fn base_name(&self) -> String {
        self.first.base_name()
    }
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)
    }
}

impl fmt::Debug for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Liar")
    }
}

/// Two releases with files of the same names and sizes.
fn releases() -> [BTreeMap<String, Vec<u8>>; 2] {
    [1, 2].map(|seed| {
        [("config.json", 40), ("weights.bin", 300_000)]
            .map(|(name, length)| (name.to_owned(), bytes(length, seed)))
            .into()
    })
}

/// Signatures by as many keys, each of its own kind and on its own release; and a policy that wants them all.
fn signed(all: &[(&BTreeMap<String, Vec<u8>>, Hashing)]) -> (Vec<Bundle>, Policy) {
    let mut policy = Policy::new().require(all.len());
    let mut bundles = Vec::new();
    for (number, (files, hashing)) in all.iter().enumerate() {
        let key = Key::new(KeyKind::Ed25519, 10 + number as u64);
        policy = policy.accept(Accept::key(key.public_pem()).unwrap());
        let model = Model::from_source(memory(files));
        bundles.push(model.sign(hashing, &signer(&key), &Run::new()).unwrap());
    }
    (bundles, policy)
}

#[track_caller]
fn codes(result: Result<Verified, Failure>) -> BTreeSet<Code> {
    result.map_or_else(|failure| found(failure.report()), |_| BTreeSet::new())
}

fn kinds() -> [Hashing; 3] {
    [
        Hashing::files(Algorithm::Sha256),
        Hashing::files(Algorithm::Blake3),
        Hashing::shards(Algorithm::Sha256, 100_000).unwrap(),
    ]
}

#[test]
fn every_statement_is_held_against_the_bytes_that_are_put_in_place() {
    let [one, two] = releases();
    let [files, other, shards] = kinds();
    for (statements, changes) in [
        (vec![(&one, files), (&one, other)], false),
        (vec![(&one, files), (&one, other), (&one, shards)], false),
        (vec![(&one, files), (&two, other)], true),
        (vec![(&one, files), (&two, shards)], true),
        (vec![(&one, files), (&two, files)], true),
        (vec![(&one, shards), (&two, other), (&one, files)], true),
    ] {
        for in_place in [false, true] {
            let dir = temporary().unwrap();
            let dest = dir.path().join("dest");
            let old = [("README.md".to_owned(), vec![1; 9])].into();
            if in_place {
                write(&dest, &old);
            }
            let (bundles, policy) = signed(&statements);
            let pull = Pull::new(&dest).in_place(in_place).force(true);
            let model = Model::from_source(Liar::new(&one, &two));
            let result = model.pull(&policy, &bundles, &pull, &Run::new());
            if changes {
                assert_eq!(codes(result), BTreeSet::from([Code::FileChanged]));
                assert!(if in_place { tree(&dest) == old } else { !dest.exists() });
                continue;
            }
            assert_eq!(codes(result), BTreeSet::new());
            let mut placed = tree(&dest);
            placed.remove("model.sig");
            assert!(placed == one);
            let mut copy = Model::open(&dest).unwrap();
            copy.leave_out_signature(dest.join("model.sig"));
            copy.verify(&policy, &bundles, &Run::new()).unwrap();
        }
    }
}

#[test]
fn a_store_cannot_answer_two_statements_with_two_models() {
    let [one, two] = releases();
    let [files, other, shards] = kinds();
    let verify = |statements: &[(&BTreeMap<String, Vec<u8>>, Hashing)]| {
        let (bundles, policy) = signed(statements);
        codes(Model::from_source(Liar::new(&one, &two)).verify(&policy, &bundles, &Run::new()))
    };
    for kind in kinds() {
        assert_eq!(verify(&[(&one, kind)]), BTreeSet::new());
        assert_eq!(verify(&[(&one, kind), (&two, kind)]), BTreeSet::from([Code::StatementsDiffer]));
    }
    for (a, b) in [(&files, &other), (&files, &shards), (&shards, &other)] {
        assert_eq!(verify(&[(&one, *a), (&two, *b)]), BTreeSet::from([Code::StatementsUnlike]));
    }
    // On this disk it is the file system that tells of changes.
    let dir = temporary().unwrap();
    let folder = dir.path().join("m");
    fs::create_dir(&folder).unwrap();
    write(&folder, &one);
    let (bundles, policy) = signed(&[(&one, files), (&one, other), (&one, shards)]);
    Model::open(&folder).unwrap().verify(&policy, &bundles, &Run::new()).unwrap();
}
