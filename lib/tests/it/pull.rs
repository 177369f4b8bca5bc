//! Models that are pulled: into their place verified, or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use testkit::{
    TempDir,
    pki::{Key, KeyKind},
    temporary,
};
use weightseal::{
    Algorithm, Bundle, Code, Entry, Error, Hashing, Memory, Model, Policy, Pull, Report, Run, Source,
};

use crate::good::{found, one, signer, trusting};

mod good;
mod in_place;
mod killed;
mod liars;
mod refused;
mod repair;
mod resume;
mod volumes;

/// How long each large file is, in bytes.
const LARGE: usize = (1 << 20) + 9;

/// The shards of those that are signed in shards.
const SHARD: u64 = 256 << 10;

/// Two releases of a model, each with its signature, and a folder to pull them into.
struct World {
    dir: TempDir,
    key: Key,
    old: Signed,
    new: Signed,
}

/// A model in memory, signed.
#[derive(Clone)]
struct Signed {
    files: BTreeMap<String, Vec<u8>>,
    bundle: Bundle,
}

impl World {
    fn files() -> World {
        World::with(&Hashing::files(Algorithm::Sha256))
    }

    fn shards() -> World {
        World::with(&Hashing::shards(Algorithm::Sha256, SHARD).unwrap())
    }

    fn with(hashing: &Hashing) -> World {
        let key = Key::new(KeyKind::Ed25519, 1);
        let old = Signed::new(
            &key,
            hashing,
            &[("README.md", 10), ("gone/old.bin", 5000), ("weights/1.bin", LARGE)],
            1,
        );
        let new = Signed::new(
            &key,
            hashing,
            &[
                ("README.md", 12),
                ("deploy", 7),
                ("empty.txt", 0),
                ("weights/1.bin", LARGE),
                ("weights/2.bin", LARGE + 7),
                ("weights/deep/er/3.bin", 70_000),
            ],
            2,
        );
        World { dir: temporary().unwrap(), key, old, new }
    }

    fn dest(&self) -> PathBuf {
        self.dir.path().join("dest")
    }

    fn pull(&self) -> Pull {
        Pull::new(self.dest())
    }

    fn policy(&self) -> Policy {
        trusting(&self.key)
    }

    /// Pulls the new release from this source.
    #[track_caller]
    fn pulled(&self, source: &Tested, pull: &Pull) -> Report {
        self.pulled_in(source, pull, &Run::new())
    }

    #[track_caller]
    fn pulled_in(&self, source: &Tested, pull: &Pull, run: &Run) -> Report {
        let verified = self.try_pull(source, pull, run).unwrap_or_else(|report| panic!("{report}"));
        assert!(verified.is_verified() && verified.findings.is_empty(), "{verified}");
        self.stands(&self.new);
        self.nothing_beside();
        verified
    }

    /// Demands that the new release is not pulled from this source, with exactly these codes.
    #[track_caller]
    fn refused(&self, source: &Tested, pull: &Pull, codes: &[Code]) -> Report {
        self.refused_in(source, pull, codes, &Run::new())
    }

    #[track_caller]
    fn refused_in(&self, source: &Tested, pull: &Pull, codes: &[Code], run: &Run) -> Report {
        let report = match self.try_pull(source, pull, run) {
            Ok(report) => panic!("this should not be pulled: {report}"),
            Err(report) => *report,
        };
        assert_eq!(found(&report), BTreeSet::from_iter(codes.iter().copied()), "{report}");
        assert!(!report.admitted && report.exit_code() > 0);
        report
    }

    fn try_pull(&self, source: &Tested, pull: &Pull, run: &Run) -> Result<Report, Box<Report>> {
        let model = Model::from_source(source.clone());
        match model.pull(&self.policy(), one(&self.new.bundle), pull, run) {
            Ok(verified) => Ok(verified.into_report()),
            Err(failure) => Err(Box::new(failure.into_report())),
        }
    }

    /// Puts the old release in the folder, as a pull would.
    fn put_old(&self) {
        write(&self.dest(), &self.old.files);
        fs::write(self.dest().join("model.sig"), self.old.bundle.to_json()).unwrap();
        self.stands(&self.old);
    }

    /// Demands that the folder holds this release: the signed files, the signature, and nothing else; and that it verifies.
    #[track_caller]
    fn stands(&self, signed: &Signed) {
        assert_eq!(names(&tree(&self.dest())), names(&signed.placed()));
        assert!(tree(&self.dest()) == signed.placed(), "names are right, bytes are not");
        self.verifies();
    }

    #[track_caller]
    fn verifies(&self) {
        let bundle = Bundle::read(self.dest().join("model.sig")).unwrap();
        let model = Model::open(self.dest()).unwrap();
        let verified = model.verify(&self.policy(), &[bundle], &Run::new());
        assert!(verified.is_ok(), "{}", verified.unwrap_err().report());
    }

    /// What a verification of the folder finds.
    fn found_in_dest(&self, signed: &Signed) -> BTreeSet<Code> {
        let mut model = Model::open(self.dest()).unwrap();
        model.leave_out_signature(self.dest().join("model.sig"));
        let verified = model.verify(&self.policy(), one(&signed.bundle), &Run::new());
        verified.map_or_else(|failure| found(failure.report()), |_| BTreeSet::new())
    }

    /// Demands that nothing lies beside the folder.
    #[track_caller]
    fn nothing_beside(&self) {
        let beside: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(beside.iter().all(|name| name == "dest"), "{beside:?}");
    }

    /// What lies in the folder where a pull stages, by the number of the file.
    fn staged(&self) -> PathBuf {
        let beside = self.dir.path().join(".dest.weightseal-pull");
        if beside.exists() { beside } else { self.dest().join(".weightseal") }
    }
}

impl Signed {
    fn new(key: &Key, hashing: &Hashing, files: &[(&str, usize)], seed: u64) -> Signed {
        let mut files: BTreeMap<String, Vec<u8>> = files
            .iter()
            .map(|(name, length)| (name.to_string(), bytes(*length, seed + name.len() as u64)))
            .collect();
        let memory = memory(&files);
        let bundle = Model::from_source(memory).sign(hashing, &signer(key), &Run::new()).unwrap();
        if bundle.unverified_statement().unwrap().manifest().files().len() < files.len() {
            // Shards cannot name it.
            files.remove("empty.txt");
        }
        Signed { files, bundle }
    }

    /// The files as they stand when they were pulled.
    fn placed(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files.clone();
        files.insert("model.sig".to_owned(), self.bundle.to_json().into_bytes());
        files
    }

    fn source(&self) -> Tested {
        Tested::new(memory(&self.files))
    }

    fn total(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }
}

fn memory(files: &BTreeMap<String, Vec<u8>>) -> Memory {
    files.iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(name, bytes.clone()))
}

/// Bytes that look random and are the same each time.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes
}

/// All files below a folder, and links as what they say.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, prefix: &str, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&entry.path(), &format!("{name}/"), into);
            } else if kind.is_symlink() {
                into.insert(name, format!("-> {:?}", fs::read_link(entry.path()).unwrap()).into_bytes());
            } else {
                into.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(folder, "", &mut all);
    all
}

fn names(tree: &BTreeMap<String, Vec<u8>>) -> Vec<&String> {
    tree.keys().collect()
}

fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    crate::good::write_files(folder, files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
}

/// What a tested source does besides.
type Action = Box<dyn FnOnce() + Send>;

/// A source that counts, is slow, breaks off, or has something done when it is read.
#[derive(Clone)]
struct Tested(Arc<Inner>);

struct Inner {
    memory: Memory,
    /// Bytes that were read.
    read: AtomicU64,
    /// How often it was listed.
    listed: AtomicU64,
    /// How many bytes it gives before it breaks off.
    gives: AtomicU64,
    pause: Duration,
    /// Done when so many bytes were read.
    action: Mutex<Option<(u64, Action)>>,
}

impl Tested {
    fn new(memory: Memory) -> Tested {
        Tested::made(memory, u64::MAX, Duration::ZERO, None)
    }

    fn made(memory: Memory, gives: u64, pause: Duration, action: Option<(u64, Action)>) -> Tested {
        Tested(Arc::new(Inner {
            memory,
            read: AtomicU64::new(0),
            listed: AtomicU64::new(0),
            gives: AtomicU64::new(gives),
            pause,
            action: Mutex::new(action),
        }))
    }

    /// Gives only so many bytes.
    fn breaks_off(memory: Memory, after: u64) -> Tested {
        Tested::made(memory, after, Duration::ZERO, None)
    }

    /// Does something when so many bytes were read.
    fn does(memory: Memory, after: u64, action: impl FnOnce() + Send + 'static) -> Tested {
        Tested::made(memory, u64::MAX, Duration::ZERO, Some((after, Box::new(action))))
    }

    fn read(&self) -> u64 {
        self.0.read.load(Ordering::SeqCst)
    }

    fn listed(&self) -> u64 {
        self.0.listed.load(Ordering::SeqCst)
    }
}

impl Source for Tested {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.0.listed.fetch_add(1, Ordering::SeqCst);
        self.0.memory.list(run, each)
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        std::thread::sleep(self.0.pause);
        let wanted = buf.len() as u64;
        let before =
            self.0.gives.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(wanted));
        if before.is_err() {
            self.0.gives.store(0, Ordering::SeqCst);
            return Err(Error::new(Code::ServiceFailed, "the line broke"));
        }
        let read = self.0.memory.read_at(entry, offset, buf, run)?;
        let total = self.0.read.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
        let mut action = self.0.action.lock().unwrap();
        if action.as_ref().is_some_and(|(after, _)| *after <= total) {
            action.take().unwrap().1();
        }
        Ok(read)
    }

    fn base_name(&self) -> String {
        self.0.memory.base_name()
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.memory.fmt(f)
    }
}

impl fmt::Debug for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tested")
    }
}
