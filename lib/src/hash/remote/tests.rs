use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize},
    time::Instant,
};

use sha2::Digest as _;

use super::*;
use crate::{
    hash::Job,
    run::Cancel,
    source::{Kind, Stamp},
};

const MIB: u64 = 1 << 20;

type Answer = dyn Fn(&Entry, &Range<u64>, &Run) -> Result<(), Error> + Send + Sync;

/// A store in memory that answers when it likes, in whatever order.
struct Store {
    files: Vec<(Entry, Vec<u8>)>,
    shape: Shape,
    answer: Box<Answer>,
    asked: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// Bytes that were fetched and are not hashed.
    held: AtomicU64,
}

impl Store {
    fn new(lengths: &[u64]) -> Self {
        let files = lengths.iter().enumerate().map(|(number, length)| {
            let bytes = (0..*length).map(|at| ((at + number as u64) % 251) as u8).collect();
            let mut entry = Entry::plain(format!("file-{number}"), Kind::File);
            (entry.size, entry.stamp) = (*length, Stamp::default());
            (entry, bytes)
        });
        Store {
            files: files.collect(),
            shape: Shape { reads: 6, part: 16 << 10 },
            answer: Box::new(|_, range, _| {
                // Later parts come first.
                let late = (range.start / 4096 * 7919 % 5) * 300;
                thread::sleep(Duration::from_micros(late));
                Ok(())
            }),
            asked: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            held: AtomicU64::new(0),
        }
    }

    fn answers(
        mut self,
        answer: impl Fn(&Entry, &Range<u64>, &Run) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        self.answer = Box::new(answer);
        self
    }

    fn entries(&self) -> Vec<Entry> {
        self.files.iter().map(|(entry, _)| entry.clone()).collect()
    }

    fn bytes(&self, job: &Job) -> &[u8] {
        &self.files[job.entry].1[job.range.start as usize..job.range.end as usize]
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("store")
    }
}

impl Source for Store {
    fn list(&self, _: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.entries().into_iter().try_for_each(each)
    }

    fn read_at(&self, _: &Entry, _: u64, _: &mut [u8], _: &Run) -> Result<usize, Error> {
        panic!("parts are fetched")
    }

    fn fetch(
        &self,
        entry: &Entry,
        range: Range<u64>,
        mut buffer: Vec<u8>,
        run: &Run,
    ) -> Result<Vec<u8>, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        self.held.fetch_max(buffer.capacity() as u64, Ordering::SeqCst);
        let answered = (self.answer)(entry, &range, run);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answered?;
        let (_, bytes) = self.files.iter().find(|(of, _)| of.name == entry.name).unwrap();
        buffer.clear();
        buffer.extend_from_slice(&bytes[range.start as usize..range.end as usize]);
        Ok(buffer)
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn base_name(&self) -> String {
        "store".to_owned()
    }
}

fn plan(algorithm: Algorithm, entries: &[Entry], shard: u64) -> Plan<'_> {
    let mut jobs = Vec::new();
    for (entry, Entry { size, .. }) in entries.iter().enumerate() {
        let mut start = 0;
        while start < *size || (start == 0 && *size == 0) {
            let end = start.saturating_add(shard).min(*size);
            jobs.push(Job { entry, range: start..end });
            start = end.max(1);
        }
    }
    Plan { algorithm, entries, jobs, expected: Vec::new() }
}

fn one_shot(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Sha256 => Digest::new(algorithm, &sha2::Sha256::digest(bytes)),
        Algorithm::Blake2b => Digest::new(algorithm, &blake2::Blake2b512::digest(bytes)),
        Algorithm::Blake3 => Digest::new(algorithm, blake3::hash(bytes).as_bytes()),
    }
    .unwrap()
}

fn results(hashes: Result<Hashes, Error>) -> Vec<Result<Digest, Error>> {
    hashes.unwrap().digests.into_iter().map(|digest| digest.unwrap()).collect()
}

fn gone(entry: &Entry) -> Error {
    Error::new(Code::ChangedWhileRead, "it is gone").with_name(&entry.name)
}

#[test]
fn parts_in_any_order_give_every_digest() {
    let store = Store::new(&[0, 1, 63, 64, 65, 16_383, 16_384, 16_385, 100_000, 300_007, 5, 0, 70_000]);
    let entries = store.entries();
    for algorithm in [Algorithm::Sha256, Algorithm::Blake2b, Algorithm::Blake3] {
        for shard in [u64::MAX, 65_536, 10_000] {
            for (threads, memory) in [(1, MIB), (2, 64 * MIB), (5, 0)] {
                let plan = plan(algorithm, &entries, shard);
                let run = Run::new().threads(threads).memory(memory);
                for (result, job) in results(hash(&plan, &store, None, &run)).into_iter().zip(&plan.jobs) {
                    assert_eq!(result.unwrap(), one_shot(algorithm, store.bytes(job)), "{algorithm} {job:?}");
                }
            }
        }
    }
    assert!(
        (2..=6).contains(&store.most_under_way.into_inner()),
        "several reads at once, no more than asked for"
    );
}

#[test]
fn every_kernel_gives_the_same() {
    let store = Store::new(&[300_007, 70_000, 5, 130_001]);
    let entries = store.entries();
    let plan = plan(Algorithm::Sha256, &entries, u64::MAX);
    for kernel in Kernel::available() {
        let hashes = results(hash(&plan, &store, None, &Run::new().threads(2).kernel(kernel)));
        for (result, job) in hashes.into_iter().zip(&plan.jobs) {
            assert_eq!(result.unwrap(), one_shot(Algorithm::Sha256, store.bytes(job)), "{}", kernel.name());
        }
    }
}

#[test]
fn memory_bounds_what_is_held() {
    for (memory, reads, longest) in [
        (0, 24, 1 << 40),
        (MIB, 24, 1 << 40),
        (64 * MIB, 24, 1 << 40),
        (128 * MIB, 24, 100),
        (u64::MAX, 24, u64::MAX),
        (MIB, 1, 0),
    ] {
        let entries = [];
        let jobs = vec![Job { entry: 0, range: 0..longest }];
        let plan = Plan { algorithm: Algorithm::Sha256, entries: &entries, jobs, expected: Vec::new() };
        let room = Room::new(Shape { reads, part: 4 * MIB }, memory, &plan);
        assert!(
            room.part * LEAST_PARTS <= memory.max(MIB) && room.memory == memory.max(MIB),
            "{memory}: {room:?}"
        );
        assert!(room.reads == reads && room.part.is_multiple_of(64), "{room:?}");
    }
    let plan = Plan {
        algorithm: Algorithm::Sha256,
        entries: &[],
        jobs: vec![Job { entry: 0, range: 0..u64::MAX }],
        expected: Vec::new(),
    };
    let room = Room::new(Shape::REMOTE, 128 * MIB, &plan);
    assert_eq!(room, Room { part: 4 * MIB, memory: 128 * MIB, reads: 16 });

    // With little memory hashing goes on though every part comes late.
    let store = Store::new(&[MIB; 3]);
    let entries = store.entries();
    let plan = super::tests::plan(Algorithm::Sha256, &entries, u64::MAX);
    assert!(results(hash(&plan, &store, None, &Run::new().memory(1))).iter().all(Result::is_ok));
    assert!(store.held.into_inner() <= 64 << 10);
}

#[test]
fn a_file_that_fails_fails_alone() {
    let store = Store::new(&[100_000, 200_000, 300_000, 3]).answers(|entry, range, _| {
        if entry.name == "file-1" && range.start >= 32_768 { Err(gone(entry)) } else { Ok(()) }
    });
    let entries = store.entries();
    for shard in [u64::MAX, 50_000] {
        let plan = plan(Algorithm::Sha256, &entries, shard);
        for (result, job) in results(hash(&plan, &store, None, &Run::new())).into_iter().zip(&plan.jobs) {
            // The part that fails begins before or in the shard.
            match job.entry {
                1 if job.range.end > 32_768 => {
                    let error = result.unwrap_err();
                    assert_eq!(
                        (error.code(), error.finding().name.as_deref()),
                        (Code::ChangedWhileRead, Some("file-1"))
                    );
                }
                _ => assert_eq!(result.unwrap(), one_shot(Algorithm::Sha256, store.bytes(job))),
            }
        }
    }
}

#[test]
fn a_store_that_answers_nobody_is_given_up() {
    let store = Store::new(&[10; 2000])
        .answers(|_, _, _| Err(Error::new(Code::ServiceFailed, "the store does not answer")));
    let entries = store.entries();
    let plan = plan(Algorithm::Sha256, &entries, u64::MAX);
    let error = hash(&plan, &store, None, &Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::ServiceFailed);
    assert!(store.asked.into_inner() < 50);
    // Where other files come, each failure is that file's.
    let store = Store::new(&[10; 200]).answers(|entry, _, _| match entry.name.ends_with('7') {
        true => Err(Error::new(Code::ServiceFailed, "not this one")),
        false => Ok(()),
    });
    let failed = results(hash(
        &super::tests::plan(Algorithm::Sha256, &store.entries(), 10),
        &store,
        None,
        &Run::new(),
    ));
    assert_eq!(failed.iter().filter(|result| result.is_err()).count(), 20);
}

#[test]
fn the_first_difference_ends_it_where_one_is_enough() {
    let store = Store::new(&[10_000; 300]);
    let entries = store.entries();
    let mut plan = plan(Algorithm::Sha256, &entries, u64::MAX);
    plan.expected = plan.jobs.iter().map(|job| one_shot(Algorithm::Sha256, store.bytes(job))).collect();
    plan.expected[3] = Digest::sha256([7; 32]);
    let hashes = hash(&plan, &store, None, &Run::new().memory(MIB).fail_fast(true)).unwrap();
    assert!(hashes.digests[3].as_ref().unwrap().is_ok());
    assert!(hashes.digests.iter().any(Option::is_none) && store.asked.into_inner() < 200);
}

#[test]
fn nobody_waits_for_a_server_that_stalls() {
    let stall = |_: &Entry, _: &Range<u64>, run: &Run| loop {
        run.check()?;
        thread::sleep(Duration::from_millis(5));
    };
    let store = Store::new(&[10; 5]).answers(stall);
    let entries = store.entries();
    let plan = plan(Algorithm::Sha256, &entries, u64::MAX);
    let begun = Instant::now();
    let error = hash(&plan, &store, None, &Run::new().deadline(Duration::from_millis(80))).unwrap_err();
    assert_eq!(error.code(), Code::DeadlinePassed);
    let cancel = Cancel::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            cancel.cancel();
        });
        let error = hash(&plan, &store, None, &Run::new().cancel(cancel.clone())).unwrap_err();
        assert_eq!(error.code(), Code::Interrupted);
    });
    // One that stalls does not hold up the end that another brings.
    let store = Store::new(&[10; 5]).answers(move |entry, range, run| match entry.name.as_str() {
        "file-4" => panic!("as it is meant to"),
        _ => stall(entry, range, run),
    });
    let error = hash(&super::tests::plan(Algorithm::Sha256, &store.entries(), 10), &store, None, &Run::new())
        .unwrap_err();
    assert_eq!(error.code(), Code::Panicked);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_sink_gets_every_byte_once_and_may_end_it() {
    struct Pieces(Mutex<HashMap<String, BTreeMap<u64, Vec<u8>>>>);
    impl Sink for Pieces {
        fn take(&self, entry: &Entry, offset: u64, bytes: &[u8]) -> Result<(), Error> {
            let before = lock(&self.0).entry(entry.name.clone()).or_default().insert(offset, bytes.to_vec());
            assert!(before.is_none());
            Ok(())
        }
    }
    struct Full;
    impl Sink for Full {
        fn take(&self, _: &Entry, offset: u64, _: &[u8]) -> Result<(), Error> {
            if offset > 0 { Err(Error::new(Code::DiskFull, "full")) } else { Ok(()) }
        }
    }
    let store = Store::new(&[100_000, 7, 50_000]);
    let entries = store.entries();
    let plan = plan(Algorithm::Blake3, &entries, u64::MAX);
    let pieces = Pieces(Mutex::default());
    assert!(results(hash(&plan, &store, Some(&pieces), &Run::new())).iter().all(Result::is_ok));
    for (entry, bytes) in &store.files {
        let got: Vec<u8> = lock(&pieces.0)[&entry.name].values().flatten().copied().collect();
        assert_eq!(got, *bytes);
    }
    assert_eq!(hash(&plan, &store, Some(&Full), &Run::new()).unwrap_err().code(), Code::DiskFull);
}

#[test]
fn a_store_that_answers_too_little_or_too_much_is_not_believed() {
    #[derive(Debug)]
    struct Wrong(usize);
    impl fmt::Display for Wrong {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrong")
        }
    }
    impl Source for Wrong {
        fn list(&self, _: &Run, _: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
            Ok(())
        }
        fn read_at(&self, _: &Entry, _: u64, _: &mut [u8], _: &Run) -> Result<usize, Error> {
            Ok(0)
        }
        fn fetch(&self, _: &Entry, _: Range<u64>, _: Vec<u8>, _: &Run) -> Result<Vec<u8>, Error> {
            Ok(vec![0; self.0])
        }
        fn shape(&self) -> Shape {
            Shape::REMOTE
        }
        fn base_name(&self) -> String {
            String::new()
        }
    }
    let store = Store::new(&[100]);
    let entries = store.entries();
    for length in [0, 99, 101] {
        let plan = plan(Algorithm::Sha256, &entries, u64::MAX);
        let result = results(hash(&plan, &Wrong(length), None, &Run::new())).swap_remove(0);
        assert_eq!(result.unwrap_err().code(), Code::ChangedWhileRead);
    }
}
