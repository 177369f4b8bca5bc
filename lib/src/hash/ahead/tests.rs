use std::{
    fmt, fs,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    Error,
    hash::{Job, queue::Queue},
    manifest::{Algorithm, Digest},
    source::{Entry, Kind, Stamp},
    sys::kernel::is_in_memory,
};

const MIB: u64 = 1 << 20;

/// Files on a disk: the folder for temporary files of many systems is in memory, where nothing is ever cold.
struct Disk {
    folder: tempfile::TempDir,
    entries: Vec<Entry>,
}

impl Disk {
    fn new(lengths: &[u64]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let entries = entries(lengths);
        for entry in &entries {
            let path = folder.path().join(&entry.name);
            fs::write(&path, ramp(entry.size)).unwrap();
            File::open(&path).unwrap().sync_all().unwrap();
        }
        Disk { folder, entries }
    }

    fn open(&self, entry: usize) -> File {
        File::open(self.folder.path().join(&self.entries[entry].name)).unwrap()
    }

    /// Whether files can be cold at all where these lie.
    fn has_device(&self) -> bool {
        let has = !is_in_memory(&self.open(0));
        if !has {
            testkit::skip_or_fail("the file system keeps everything in memory");
        }
        has
    }

    fn warm(&self) {
        for entry in &self.entries {
            fs::read(self.folder.path().join(&entry.name)).unwrap();
        }
    }

    fn cool(&self) {
        for (number, entry) in self.entries.iter().enumerate() {
            forget(&self.open(number), &(0..entry.size));
        }
    }
}

impl Source for Disk {
    fn list(&self, _: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.entries.iter().cloned().try_for_each(each)
    }

    fn read_at(&self, entry: &Entry, _: u64, _: &mut [u8], _: &Run) -> Result<usize, Error> {
        panic!("{} is read as the file that it is", entry.name)
    }

    fn file(&self, entry: &Entry, _: &Run) -> Result<Option<File>, Error> {
        Ok(Some(File::open(self.folder.path().join(&entry.name)).unwrap()))
    }

    fn base_name(&self) -> String {
        "disk".to_owned()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk")
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk")
    }
}

/// A ramp of prime period, so that swapped pieces cannot cancel out.
fn ramp(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn entries(lengths: &[u64]) -> Vec<Entry> {
    let entry = |(number, size): (usize, &u64)| Entry {
        name: format!("file-{number}"),
        kind: Kind::File,
        real: None,
        through: None,
        size: *size,
        stamp: Stamp::default(),
        stated: None,
    };
    lengths.iter().enumerate().map(entry).collect()
}

/// A plan with a job for each file.
fn whole(algorithm: Algorithm, entries: &[Entry]) -> Plan<'_> {
    shards(algorithm, entries, u64::MAX)
}

/// A plan with a job for each `size` bytes of a file, and one for an empty file.
fn shards(algorithm: Algorithm, entries: &[Entry], size: u64) -> Plan<'_> {
    let mut jobs = Vec::new();
    for (entry, Entry { size: end, .. }) in entries.iter().enumerate() {
        let mut start = 0;
        while start < *end || (start == 0 && *end == 0) {
            let range = start..end.saturating_sub(start).min(size) + start;
            start = range.end.max(1);
            jobs.push(Job { entry, range });
        }
    }
    Plan { algorithm, entries, jobs, expected: Vec::new() }
}

fn order(plan: &Plan<'_>) -> Vec<usize> {
    Queue::new(plan, 1, 1).order
}

fn chunks(plan: &Plan<'_>, streams: usize) -> Vec<(usize, Range<u64>)> {
    Chunks::new(plan, order(plan), streams).collect()
}

/// In MiB.
fn in_mib(chunks: Vec<(usize, Range<u64>)>) -> Vec<(usize, Range<u64>)> {
    chunks.into_iter().map(|(entry, range)| (entry, range.start / MIB..range.end / MIB)).collect()
}

/// What reads this plan ahead by so many bytes, wherever its files are.
fn ahead<'a>(plan: &'a Plan<'a>, distance: u64, stay: Vec<u64>) -> Ahead<'a> {
    let chunks = Chunks::new(plan, order(plan), 2);
    Ahead {
        plan,
        reads: READS,
        distance,
        state: Mutex::new(State { chunks, taken: 0 }),
        bell: Condvar::new(),
        hashed: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        stay,
    }
}

#[test]
fn streams_take_turns_and_the_next_job_starts_where_one_ends() {
    let entries = entries(&[11 * MIB, 9 * MIB, 0, 6 * MIB, MIB]);
    for algorithm in [Algorithm::Sha256, Algorithm::Blake2b] {
        let plan = whole(algorithm, &entries);
        assert_eq!(
            in_mib(chunks(&plan, 2)),
            [
                (0, 0..4),
                (1, 0..4),
                (0, 4..8),
                (1, 4..8),
                (0, 8..11),
                (1, 8..9),
                // Both ended in this turn, and the longer of the next two took the place of the first.
                (3, 0..4),
                (4, 0..1),
                (3, 4..6),
            ]
        );
        assert_eq!(
            in_mib(chunks(&plan, 1)),
            [
                (0, 0..4),
                (0, 4..8),
                (0, 8..11),
                (1, 0..4),
                (1, 4..8),
                (1, 8..9),
                (3, 0..4),
                (3, 4..6),
                (4, 0..1)
            ]
        );
    }
}

#[test]
fn a_job_that_ends_amid_the_others_leaves_its_place_to_the_next() {
    let entries = entries(&[9 * MIB, 3 * MIB, 2 * MIB, MIB]);
    assert_eq!(
        in_mib(chunks(&whole(Algorithm::Sha256, &entries), 2)),
        [(0, 0..4), (1, 0..3), (0, 4..8), (2, 0..2), (0, 8..9), (3, 0..1)]
    );
}

#[test]
fn divided_jobs_go_one_after_another() {
    let entries = entries(&[9 * MIB, 5 * MIB, 5 * MIB]);
    let divided = [(0, 0..4), (0, 4..8), (0, 8..9), (1, 0..4), (1, 4..5), (2, 0..4), (2, 4..5)];
    assert_eq!(in_mib(chunks(&whole(Algorithm::Blake3, &entries), 3)), divided);
    // None is long enough to be divided.
    assert_eq!(
        in_mib(chunks(&whole(Algorithm::Blake3, &entries[1..]), 2)),
        [(0, 0..4), (1, 0..4), (0, 4..5), (1, 4..5)]
    );
}

#[test]
fn every_byte_of_every_job_comes_once_and_no_more_jobs_at_once_than_streams() {
    let entries = entries(&[13 * MIB + 1, 0, 5 * MIB, 8 * MIB, 1, 0, 4 * MIB, 3 * MIB + 77, 12 * MIB, 999]);
    for algorithm in Algorithm::ALL {
        for size in [u64::MAX, 8 * MIB, 5 * MIB + 3, 100_003] {
            let plan = shards(algorithm, &entries, size);
            let divided = algorithm == Algorithm::Blake3 && size > 8 * MIB;
            for streams in [1, 2, 3, 8, 1000] {
                let what = format!("{algorithm}, shards of {size}, {streams} streams");
                // Jobs in the order of their first bytes, and how far each has come.
                let mut begun: Vec<(usize, u64)> = Vec::new();
                for (entry, range) in chunks(&plan, streams) {
                    assert!(!range.is_empty() && range.end - range.start <= CHUNK, "{what}: {range:?}");
                    let of = |job: &Job| {
                        job.entry == entry && job.range.start <= range.start && range.end <= job.range.end
                    };
                    let job = plan.jobs.iter().position(of).unwrap();
                    match begun.iter_mut().find(|(of, _)| *of == job) {
                        Some((_, reached)) => {
                            assert_eq!(*reached, range.start, "{what}: {job}");
                            *reached = range.end;
                        }
                        None => {
                            assert_eq!(plan.jobs[job].range.start, range.start, "{what}: {job}");
                            begun.push((job, range.end));
                        }
                    }
                    let open = begun.iter().filter(|(job, reached)| *reached < plan.jobs[*job].range.end);
                    let most = if divided { 1 } else { streams };
                    assert!(open.count() <= most, "{what}");
                }
                for (job, reached) in &begun {
                    assert_eq!(*reached, plan.jobs[*job].range.end, "{what}: {job}");
                }
                let begun: Vec<_> = begun.into_iter().map(|(job, _)| job).collect();
                let with_bytes = order(&plan).into_iter().filter(|job| plan.jobs[*job].length() > 0);
                assert_eq!(begun, with_bytes.collect::<Vec<_>>(), "{what}");
            }
        }
    }
}

#[test]
fn nothing_comes_of_jobs_without_bytes() {
    let entries = entries(&[0, 0, 0]);
    assert_eq!(chunks(&whole(Algorithm::Sha256, &entries), 2), []);
    let plan = whole(Algorithm::Sha256, &entries);
    assert_eq!(ahead(&plan, CHUNK, Vec::new()).next(), None);
}

/// A chunk is handed out whole as soon as its first byte is near enough.
#[test]
fn reading_waits_for_hashing_when_it_is_far_enough_ahead() {
    let entries = entries(&[40 * MIB + 5, 21 * MIB, 2 * MIB, 100, 3]);
    let plan = whole(Algorithm::Sha256, &entries);
    let all: u64 = entries.iter().map(|entry| entry.size).sum();
    for distance in [1, CHUNK, 3 * CHUNK, 3 * CHUNK + 9, 1 << 40] {
        let ahead = ahead(&plan, distance, Vec::new());
        let (out, chunks) = mpsc::channel();
        let (mut taken, mut hashed) = (0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let out = out;
                while let Some(chunk) = ahead.next() {
                    out.send(chunk).unwrap();
                }
            });
            let mut waiting = std::collections::VecDeque::new();
            loop {
                // All that is due comes, however long that takes.
                while taken < all && taken < hashed + distance {
                    let (entry, range): (usize, Range<u64>) = chunks.recv().unwrap();
                    taken += range.end - range.start;
                    waiting.push_back((entry, range));
                }
                // And no more, which a look shows in vain if the other thread is slow, but never wrongly.
                if waiting.len() < 4 {
                    thread::sleep(Duration::from_millis(2));
                }
                assert!(taken == all || chunks.try_recv().is_err(), "{taken} taken, {hashed} hashed");
                let Some((entry, range)) = waiting.pop_front() else { break };
                hashed += range.end - range.start;
                ahead.hashed(entry, None, &range);
            }
        });
        assert_eq!((taken, hashed), (all, all), "{distance}");
        assert!(chunks.recv().is_err());
        assert_eq!(ahead.next(), None);
    }
}

#[test]
fn everybody_ends_with_hashing() {
    let entries = entries(&[400 * MIB]);
    let plan = whole(Algorithm::Sha256, &entries);
    // Some of them wait when it ends, and some come later.
    for pause in [0, 20] {
        let ahead = ahead(&plan, 2 * CHUNK, Vec::new());
        let here = Arc::new(Barrier::new(9));
        thread::scope(|scope| {
            let readers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        here.wait();
                        std::iter::from_fn(|| ahead.next()).count()
                    })
                })
                .collect();
            here.wait();
            thread::sleep(Duration::from_millis(pause));
            ahead.end();
            let taken: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert!(taken <= 2, "{taken} chunks");
        });
        assert_eq!(ahead.next(), None, "nothing comes after the end");
    }
}

#[test]
fn only_cold_files_of_some_length_are_read_ahead_and_not_past_the_cache() {
    let disk = Disk::new(&[5 * MIB, 3 * MIB]);
    let plan = whole(Algorithm::Sha256, &disk.entries);
    let new = |mode| Ahead::new(&plan, &order(&plan), 2, 1, &disk, &Run::new().read(mode)).is_some();
    disk.warm();
    for mode in ReadMode::ALL {
        assert!(!new(mode), "warm: {mode:?}");
    }
    if !disk.has_device() {
        return;
    }
    disk.cool();
    for mode in ReadMode::ALL {
        assert_eq!(new(mode), mode != ReadMode::Direct, "cold: {mode:?}");
    }
    // One of them is enough.
    disk.warm();
    forget(&disk.open(1), &(0..3 * MIB));
    assert!(new(ReadMode::Auto));

    let short = whole(Algorithm::Sha256, &disk.entries[1..]);
    disk.cool();
    assert!(Ahead::new(&short, &order(&short), 2, 1, &disk, &Run::new()).is_none());
}

#[test]
fn what_was_read_ahead_is_in_the_cache() {
    let disk = Disk::new(&[9 * MIB + 5, 3 * MIB]);
    if !disk.has_device() {
        return;
    }
    let plan = whole(Algorithm::Sha256, &disk.entries);
    disk.cool();
    assert_ne!(cached(&disk.open(0), &(0..9 * MIB + 5)), Cached::Yes);
    ahead(&plan, 1 << 40, Vec::new()).work(&disk, &Run::new());
    for (number, entry) in disk.entries.iter().enumerate() {
        assert_eq!(cached(&disk.open(number), &(0..entry.size)), Cached::Yes, "{number}");
    }
    // The way of those who cannot map.
    disk.cool();
    ahead(&plan, 1 << 40, Vec::new()).read(&disk.open(0), 0..9 * MIB + 5, &mut vec![0; SCRATCH]);
    assert_eq!(cached(&disk.open(0), &(0..9 * MIB + 5)), Cached::Yes);
}

#[test]
fn what_may_not_stay_in_the_cache_is_forgotten_once_it_is_hashed() {
    let disk = Disk::new(&[8 * MIB]);
    if !disk.has_device() {
        return;
    }
    let plan = whole(Algorithm::Sha256, &disk.entries);
    let file = disk.open(0);
    disk.warm();
    let staying = ahead(&plan, CHUNK, Vec::new());
    staying.hashed(0, Some(&file), &(0..8 * MIB));
    assert_eq!(cached(&file, &(0..8 * MIB)), Cached::Yes);
    let going = ahead(&plan, CHUNK, vec![4 * MIB]);
    going.hashed(0, Some(&file), &(0..2 * MIB));
    going.hashed(0, Some(&file), &(2 * MIB..6 * MIB));
    assert_eq!(cached(&file, &(0..4 * MIB)), Cached::Yes);
    assert_ne!(cached(&file, &(4 * MIB..6 * MIB)), Cached::Yes);
    assert_eq!(cached(&file, &(6 * MIB..8 * MIB)), Cached::Yes);
    assert_eq!(going.hashed.load(Ordering::Relaxed), 6 * MIB);
}

#[test]
fn cold_files_have_the_digests_of_warm_ones() {
    use sha2::Digest as _;

    let disk = Disk::new(&[9 * MIB + 3, 3 * MIB + 5, 300_000, 0]);
    if !disk.has_device() {
        return;
    }
    for algorithm in Algorithm::ALL {
        let right: Vec<Digest> = disk
            .entries
            .iter()
            .map(|entry| ramp(entry.size))
            .map(|bytes| match algorithm {
                Algorithm::Sha256 => Digest::new(algorithm, &sha2::Sha256::digest(&bytes)).unwrap(),
                Algorithm::Blake2b => Digest::new(algorithm, &blake2::Blake2b512::digest(&bytes)).unwrap(),
                Algorithm::Blake3 => Digest::new(algorithm, blake3::hash(&bytes).as_bytes()).unwrap(),
            })
            .collect();
        let plan = whole(algorithm, &disk.entries);
        for mode in ReadMode::ALL {
            let run = Run::new().threads(2).read(mode);
            disk.cool();
            assert_eq!(
                Ahead::new(&plan, &order(&plan), 2, 1, &disk, &run).is_some(),
                mode != ReadMode::Direct,
                "{algorithm}, {mode:?}: not cold"
            );
            let hashes = crate::hash::hash(&plan, &disk, None, &run).unwrap();
            let digests: Vec<Digest> =
                hashes.digests.into_iter().map(|digest| digest.unwrap().unwrap()).collect();
            assert_eq!(digests, right, "{algorithm}, {mode:?}");
        }
    }
}
