use std::{
    fmt,
    fs::{self, File},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sha2::Digest as _;

use super::*;
use crate::{
    ReadMode,
    code::Code,
    hash::{Job, queue::*, read::Reading, results::lock},
    manifest::Digest,
    run::{Cancel, Events},
    source::{Entry, Kind, Stamp},
};

const MIB: u64 = 1 << 20;

/// A ramp of prime period, so that swapped pieces cannot cancel out.
fn ramp(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// What each crate says of the whole at once.
fn one_shot(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Sha256 => Digest::new(algorithm, &sha2::Sha256::digest(bytes)),
        Algorithm::Blake2b => Digest::new(algorithm, &blake2::Blake2b512::digest(bytes)),
        Algorithm::Blake3 => Digest::new(algorithm, blake3::hash(bytes).as_bytes()),
    }
    .unwrap()
}

/// Files in a folder, or the same bytes without files; and what may go wrong with them.
struct Folder {
    folder: tempfile::TempDir,
    entries: Vec<Entry>,
    /// Whether [`Source::file`] gives files.
    files: bool,
    opened: AtomicUsize,
    /// Happens when a file was opened.
    on_open: fn(&Entry, File) -> Result<Option<File>, Error>,
}

impl Folder {
    fn new(contents: &[Vec<u8>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let entries = contents.iter().enumerate().map(|(number, bytes)| {
            let name = format!("file-{number}");
            fs::write(folder.path().join(&name), bytes).unwrap();
            entry(&name, bytes.len() as u64)
        });
        let entries = entries.collect();
        Folder {
            folder,
            entries,
            files: true,
            opened: AtomicUsize::new(0),
            on_open: |_, file| Ok(Some(file)),
        }
    }

    /// A plan with a job for each file.
    fn whole(&self, algorithm: Algorithm) -> Plan<'_> {
        self.plan(algorithm, u64::MAX)
    }

    /// A plan with a job for each `size` bytes of a file, and one for an empty file.
    fn plan(&self, algorithm: Algorithm, size: u64) -> Plan<'_> {
        let mut jobs = Vec::new();
        for (entry, Entry { size: end, .. }) in self.entries.iter().enumerate() {
            let mut start = 0;
            while start < *end || (start == 0 && *end == 0) {
                let range = start..end.saturating_sub(start).min(size) + start;
                start = range.end.max(1);
                jobs.push(Job { entry, range });
            }
        }
        Plan { algorithm, entries: &self.entries, jobs, expected: Vec::new() }
    }

    fn bytes(&self, job: &Job) -> Vec<u8> {
        let bytes = fs::read(self.folder.path().join(&self.entries[job.entry].name)).unwrap();
        bytes[job.range.start as usize..job.range.end as usize].to_vec()
    }

    /// Hashes a plan and compares every result with [`one_shot`].
    fn assert_right(&self, plan: &Plan<'_>, run: &Run, what: &str) {
        let results = digests(super::hash(plan, self, None, run));
        assert_eq!(results.len(), plan.jobs.len());
        for (result, job) in results.into_iter().zip(&plan.jobs) {
            let right = one_shot(plan.algorithm, &self.bytes(job));
            assert_eq!(result.unwrap(), right, "{what}: {} {job:?}", plan.algorithm);
        }
    }
}

fn entry(name: &str, size: u64) -> Entry {
    Entry {
        name: name.to_owned(),
        kind: Kind::File,
        real: None,
        through: None,
        size,
        stamp: Stamp::default(),
        stated: None,
    }
}

impl Source for Folder {
    fn list(&self, _: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.entries.iter().cloned().try_for_each(each)
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], _: &Run) -> Result<usize, Error> {
        use std::os::unix::fs::FileExt;

        assert!(!self.files, "a file that was given is read as one");
        // In small pieces, as stores answer.
        let length = buf.len().min(10_007);
        let file = File::open(self.folder.path().join(&entry.name)).unwrap();
        Ok(file.read_at(&mut buf[..length], offset).unwrap())
    }

    fn file(&self, entry: &Entry, _: &Run) -> Result<Option<File>, Error> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if !self.files {
            return Ok(None);
        }
        let path = self.folder.path().join(&entry.name);
        (self.on_open)(entry, fs::OpenOptions::new().read(true).write(path.is_file()).open(path).unwrap())
    }

    fn base_name(&self) -> String {
        "folder".to_owned()
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("folder")
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("folder")
    }
}

/// Does something at every window, and counts the bytes.
struct AtEach<F> {
    happens: F,
    bytes: AtomicU64,
}

impl<F: Fn() + Send + Sync> AtEach<F> {
    fn new(happens: F) -> Arc<Self> {
        Arc::new(AtEach { happens, bytes: AtomicU64::new(0) })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl<F: Fn() + Send + Sync> Events for AtEach<F> {
    fn hashed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.happens)();
    }
}

/// Every way to read, with one thread and with several.
fn runs() -> Vec<(String, bool, Run)> {
    let mut runs = Vec::new();
    for threads in [1, 8] {
        for mode in ReadMode::ALL {
            runs.push((
                format!("{}, {threads} threads", mode.name()),
                true,
                Run::new().threads(threads).read(mode),
            ));
        }
        for kernel in Kernel::available() {
            let run = Run::new().threads(threads).kernel(kernel);
            runs.push((format!("{}, {threads} threads", kernel.name()), true, run));
        }
        let run = Run::new().threads(threads).read(ReadMode::Mmap);
        runs.push((format!("source, {threads} threads"), false, run));
    }
    runs
}

/// The results of a run that went to its end.
fn digests(hashes: Result<Hashes, Error>) -> Vec<Result<Digest, Error>> {
    hashes.unwrap().digests.into_iter().map(Option::unwrap).collect()
}

fn code(result: &Result<Digest, Error>) -> Option<Code> {
    result.as_ref().err().map(Error::code)
}

#[test]
fn whole_files_of_every_length_on_a_seam() {
    let seams = [64, 128, 1024, 4096, 64 << 10, 128 << 10, 256 << 10, MIB, 2 * MIB];
    let lengths = [0, 1].into_iter().chain(seams.into_iter().flat_map(|seam| [seam - 1, seam, seam + 1]));
    let mut folder = Folder::new(&lengths.map(ramp).collect::<Vec<_>>());
    for (way, files, run) in runs() {
        folder.files = files;
        for algorithm in Algorithm::ALL {
            folder.assert_right(&folder.whole(algorithm), &run, &way);
        }
    }
}

#[test]
fn blake3_of_divided_ranges_is_that_of_the_whole() {
    let seams = [SUBTREE, DIVIDE_FROM, 3 * SUBTREE, 4 * SUBTREE, 5 * SUBTREE, 7 * SUBTREE];
    let lengths = seams.into_iter().flat_map(|seam| [seam - 1, seam, seam + 1, seam + 1024]);
    let longest = ramp(7 * SUBTREE + 5000);
    let mut folder = Folder::new(&[longest]);
    // From the start, from a page on, and from a byte on.
    let jobs: Vec<_> = lengths
        .flat_map(|length| [0, 4096, 77].map(|start| Job { entry: 0, range: start..start + length }))
        .filter(|job| job.range.end <= folder.entries[0].size)
        .collect();
    assert!(jobs.len() >= 69);
    for (way, files, run) in runs() {
        folder.files = files;
        let plan = Plan {
            algorithm: Algorithm::Blake3,
            entries: &folder.entries,
            jobs: jobs.clone(),
            expected: Vec::new(),
        };
        folder.assert_right(&plan, &run, &way);
    }
}

#[test]
fn long_ranges_are_divided_into_a_bounded_number_of_subtrees() {
    assert_eq!(subtree_length(Algorithm::Sha256, 1 << 40), None);
    assert_eq!(subtree_length(Algorithm::Blake3, DIVIDE_FROM), None);
    assert_eq!(subtree_length(Algorithm::Blake3, DIVIDE_FROM + 1), Some(SUBTREE));
    assert_eq!(subtree_length(Algorithm::Blake3, SUBTREE * SUBTREES), Some(SUBTREE));
    for length in [SUBTREE * SUBTREES + 1, 1 << 40, (1 << 50) + 7, 1 << 62, u64::MAX] {
        let subtree = subtree_length(Algorithm::Blake3, length).unwrap();
        assert!(subtree.is_power_of_two() && length.div_ceil(subtree) <= SUBTREES, "{length}: {subtree}");
    }
}

#[test]
fn shards_of_every_file_share_its_handle_and_give_the_digest_of_their_range() {
    let mut folder = Folder::new(&[ramp(3_000_001), ramp(0), ramp(999_999), ramp(9_000_000), ramp(700)]);
    for (way, files, run) in runs() {
        folder.files = files;
        for algorithm in Algorithm::ALL {
            let plan = folder.plan(algorithm, 70_001);
            folder.opened.store(0, Ordering::Relaxed);
            folder.assert_right(&plan, &run, &way);
            // Once to see whether it is in the page cache, and once to be hashed.
            let opened = folder.opened.load(Ordering::Relaxed);
            assert!((5..=10).contains(&opened), "{way}: {opened}");
        }
    }
}

#[test]
fn little_memory_still_gives_the_right_digests() {
    let folder = Folder::new(&[ramp(9 * MIB + 3), ramp(300_000)]);
    for memory in [0, 5000, 70_000, 600_000, 3 * MIB] {
        for algorithm in Algorithm::ALL {
            let run = Run::new().threads(4).memory(memory).read(ReadMode::Auto);
            folder.assert_right(&folder.whole(algorithm), &run, &format!("{memory} bytes"));
        }
    }
}

#[test]
fn threads_are_started_only_for_work_and_memory_enough() {
    let entries = [entry("a", 1 << 40)];
    let count = |algorithm, lengths: &[u64], run: Run| {
        let jobs = lengths.iter().map(|length| Job { entry: 0, range: 0..*length }).collect();
        Work::of(&Plan { algorithm, entries: &entries, jobs, expected: Vec::new() }).threads(&run)
    };
    let run = || Run::new().threads(4);
    assert_eq!(count(Algorithm::Sha256, &[], run()), 1);
    assert_eq!(count(Algorithm::Sha256, &[100_000; 5], run()), 1);
    assert_eq!(count(Algorithm::Sha256, &[1000 * MIB], run()), 1);
    assert_eq!(count(Algorithm::Sha256, &[MIB; 2], run()), 2);
    assert_eq!(count(Algorithm::Sha256, &[10; 10_000], run()), 4);
    assert_eq!(count(Algorithm::Blake3, &[9 * MIB], run()), 3);
    assert_eq!(count(Algorithm::Blake3, &[1000 * MIB], run()), 4);
    assert_eq!(count(Algorithm::Blake3, &[1000 * MIB], run().memory(3 * LEAST)), 3);
    assert_eq!(count(Algorithm::Blake3, &[1000 * MIB], run().memory(0)), 1);
}

#[test]
fn the_longest_file_comes_first_and_only_files_being_read_are_open() {
    let lengths = [5, 30, 7, 30];
    let entries: Vec<_> = lengths.iter().map(|length| entry(&format!("{length}"), *length)).collect();
    let job = |entry, range| Job { entry, range };
    let jobs = vec![
        job(0, 0..5),
        job(1, 0..10),
        job(2, 0..7),
        job(3, 20..30),
        job(3, 0..10),
        job(1, 10..30),
        job(3, 10..20),
    ];
    let plan = Plan { algorithm: Algorithm::Sha256, entries: &entries, jobs, expected: Vec::new() };
    let queue = Queue::new(&plan, 1, 1);
    let mut seen = Vec::new();
    let mut held: Option<(usize, std::sync::Weak<Reading<'_>>)> = None;
    while let Some(unit) = queue.pull(0, 0) {
        let Unit::Whole { job, reading, .. } = unit else { panic!("SHA-256 is not divided") };
        let entry = plan.jobs[job].entry;
        if let Some((of, file)) = &held {
            match file.upgrade() {
                Some(file) => assert!(*of == entry && Arc::ptr_eq(&file, &reading), "{job}"),
                None => assert_ne!(*of, entry, "{job}: the file was closed too early"),
            }
        }
        held = Some((entry, Arc::downgrade(&reading)));
        seen.push(job);
    }
    assert_eq!(seen, [1, 5, 4, 6, 3, 2, 0]);
    assert!(held.unwrap().1.upgrade().is_none(), "the last file was left open");
}

/// Notes every range that it is handed.
#[derive(Default)]
struct Copy(Mutex<Vec<(String, u64, Vec<u8>)>>);

impl Sink for Copy {
    fn take(&self, entry: &Entry, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        lock(&self.0).push((entry.name.clone(), offset, bytes.to_vec()));
        Ok(())
    }
}

#[test]
fn the_sink_is_handed_each_byte_once() {
    let contents = [ramp(10 * MIB + 1), ramp(0), ramp(500_000), ramp(1)];
    let mut folder = Folder::new(&contents);
    for (way, files, run) in runs() {
        folder.files = files;
        for (algorithm, size) in [(Algorithm::Blake3, u64::MAX), (Algorithm::Sha256, 300_007)] {
            let copy = Copy::default();
            let results = digests(super::hash(&folder.plan(algorithm, size), &folder, Some(&copy), &run));
            assert!(results.iter().all(Result::is_ok));
            let mut pieces = copy.0.into_inner().unwrap();
            pieces.sort();
            for (number, bytes) in contents.iter().enumerate() {
                let name = format!("file-{number}");
                let mut copied = Vec::new();
                for (_, offset, piece) in pieces.iter().filter(|(of, ..)| *of == name) {
                    assert_eq!(*offset, copied.len() as u64, "{way}: a gap or an overlap in {name}");
                    copied.extend_from_slice(piece);
                }
                assert!(copied == *bytes, "{way}: {name}");
            }
        }
    }
}

/// Fails at the first range of the first file, and is in no hurry with others.
struct Full;

impl Sink for Full {
    fn take(&self, entry: &Entry, _: u64, _: &[u8]) -> Result<(), Error> {
        if entry.name == "file-0" {
            return Err(Error::new(Code::DiskFull, "no room for the copy"));
        }
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }
}

#[test]
fn the_sinks_error_ends_the_run_for_every_thread() {
    let folder = Folder::new(&[ramp(64 * MIB), ramp(64 * MIB)]);
    for threads in [1, 2] {
        let told = AtEach::new(|| ());
        let run = Run::new().threads(threads).events(told.clone());
        let error = super::hash(&folder.whole(Algorithm::Sha256), &folder, Some(&Full), &run).unwrap_err();
        assert_eq!(error.code(), Code::DiskFull);
        // The whole second file would take the sink five seconds.
        assert!(told.bytes() < 64 * MIB, "{} bytes", told.bytes());
    }
}

#[test]
fn a_cancelled_run_ends_within_a_window_of_each_thread() {
    let mut folder = Folder::new(&[ramp(24 * MIB), ramp(24 * MIB)]);
    for (way, files, run) in runs() {
        folder.files = files;
        for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
            let cancel = Cancel::default();
            let switch = cancel.clone();
            let told = AtEach::new(move || switch.cancel());
            let run = run.clone().cancel(cancel).events(told.clone());
            let error = super::hash(&folder.whole(algorithm), &folder, None, &run).unwrap_err();
            assert_eq!(error.code(), Code::Interrupted, "{way}");
            assert!((1..=16 * MIB).contains(&told.bytes()), "{way}: {} bytes", told.bytes());
        }
    }
}

#[test]
fn a_late_run_ends_within_a_window_of_each_thread() {
    let folder = Folder::new(&[ramp(24 * MIB), ramp(24 * MIB)]);
    let plan = folder.whole(Algorithm::Sha256);
    let told = AtEach::new(|| thread::sleep(Duration::from_millis(400)));
    let run =
        Run::new().threads(2).read(ReadMode::Auto).events(told.clone()).deadline(Duration::from_millis(300));
    assert_eq!(super::hash(&plan, &folder, None, &run).unwrap_err().code(), Code::DeadlinePassed);
    assert!(told.bytes() <= 4 * MIB, "{} bytes", told.bytes());
    let run = Run::new().deadline(Duration::ZERO);
    let nothing = Plan { jobs: Vec::new(), ..plan };
    assert_eq!(super::hash(&nothing, &folder, None, &run).unwrap_err().code(), Code::DeadlinePassed);
}

#[test]
fn a_source_that_was_interrupted_ends_the_run() {
    let mut folder = Folder::new(&[ramp(10), ramp(20)]);
    folder.on_open = |_, _| Err(Error::new(Code::Interrupted, "the run was interrupted"));
    let error = super::hash(&folder.whole(Algorithm::Sha256), &folder, None, &Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::Interrupted);
}

#[test]
fn a_file_cut_before_it_is_read_has_changed_and_the_others_go_on() {
    for (way, files, run) in runs() {
        for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
            // By one byte, by all, and by some windows.
            for left in [9 * MIB - 1, 0, 3 * MIB] {
                let mut folder = Folder::new(&[ramp(9 * MIB), ramp(5000)]);
                folder.files = files;
                File::options()
                    .write(true)
                    .open(folder.folder.path().join("file-0"))
                    .unwrap()
                    .set_len(left)
                    .unwrap();
                let results = digests(super::hash(&folder.whole(algorithm), &folder, None, &run));
                assert_eq!(code(&results[0]), Some(Code::ChangedWhileRead), "{way}: {left} bytes left");
                let finding = results[0].as_ref().unwrap_err().finding();
                assert_eq!(finding.name.as_deref(), Some("file-0"));
                assert_eq!(finding.what, "file-0 became shorter than the 9437184 bytes it was listed with");
                assert_eq!(*results[1].as_ref().unwrap(), one_shot(algorithm, &ramp(5000)), "{way}");
            }
        }
    }
}

#[test]
fn a_file_cut_while_it_is_read_has_changed() {
    for (way, files, run) in runs() {
        let mut folder = Folder::new(&[ramp(9 * MIB)]);
        folder.files = files;
        let path = folder.folder.path().join("file-0");
        let told =
            AtEach::new(move || File::options().write(true).open(&path).unwrap().set_len(MIB).unwrap());
        let run = run.events(told.clone());
        let results = digests(super::hash(&folder.whole(Algorithm::Sha256), &folder, None, &run));
        assert_eq!(code(&results[0]), Some(Code::ChangedWhileRead), "{way}");
        assert!((1..=2 * MIB).contains(&told.bytes()), "{way}");
    }
}

#[test]
fn a_file_that_grows_is_hashed_as_far_as_it_was_listed() {
    let mut folder = Folder::new(&[ramp(3 * MIB + 5), ramp(0)]);
    folder.on_open = |entry, file| {
        file.set_len(entry.size + 10_000).unwrap();
        Ok(Some(file))
    };
    for (way, files, run) in runs() {
        folder.files = files;
        folder.assert_right(&folder.whole(Algorithm::Sha256), &run, &way);
    }
}

#[test]
fn a_file_that_cannot_be_opened_fails_each_of_its_ranges_and_no_other() {
    let mut folder = Folder::new(&[ramp(50_000), ramp(5000), ramp(0)]);
    folder.on_open = |entry, file| match entry.size {
        5000 => Ok(Some(file)),
        _ => Err(Error::new(Code::PermissionDenied, "cannot open it")),
    };
    for threads in [1, 8] {
        folder.opened.store(0, Ordering::Relaxed);
        let plan = folder.plan(Algorithm::Sha256, 10_000);
        let results = digests(super::hash(&plan, &folder, None, &Run::new().threads(threads)));
        for (result, job) in results.iter().zip(&plan.jobs) {
            let denied = (job.entry != 1).then_some(Code::PermissionDenied);
            assert_eq!(code(result), denied, "{job:?}");
            if let Err(error) = result {
                assert_eq!(error.finding().name.as_deref(), Some(&*format!("file-{}", job.entry)));
            }
        }
        assert_eq!(folder.opened.load(Ordering::Relaxed), 3, "not opened again for each range");
    }
}

/// A folder in a file's place can be opened, but neither mapped nor read: mapping is refused, and `pread` says why.
#[test]
fn what_cannot_be_read_says_where() {
    for mode in [ReadMode::Mmap, ReadMode::Pread] {
        for (algorithm, size) in [(Algorithm::Sha256, 300_000), (Algorithm::Blake3, 10 * MIB)] {
            let mut folder = Folder::new(&[]);
            fs::create_dir(folder.folder.path().join("x")).unwrap();
            folder.entries.push(entry("x", size + 7));
            let plan = Plan {
                algorithm,
                entries: &folder.entries,
                jobs: vec![Job { entry: 0, range: 7..size + 7 }],
                expected: Vec::new(),
            };
            // Alone, so that the first subtree's error is the first error.
            let results = digests(super::hash(&plan, &folder, None, &Run::new().threads(1).read(mode)));
            let error = results[0].as_ref().unwrap_err();
            assert_eq!(error.code(), Code::IoFailed);
            assert_eq!(error.to_string(), "cannot read byte 7 of x: is a directory");
            assert_eq!(error.finding().name.as_deref(), Some("x"));
        }
    }
}

#[test]
fn a_panic_ends_the_run_and_is_told() {
    for threads in [1, 8] {
        for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
            let folder = Folder::new(&[ramp(9 * MIB), ramp(9 * MIB), ramp(9 * MIB)]);
            let told = AtEach::new(|| panic!("the listener's {}", "bug\n"));
            let run = Run::new().threads(threads).read(ReadMode::Auto).events(told.clone());
            let error = super::hash(&folder.whole(algorithm), &folder, None, &run).unwrap_err();
            assert_eq!(error.code(), Code::Panicked);
            assert_eq!(error.to_string(), "hashing panicked: the listener's bug\\n");
            assert!(told.bytes() <= threads as u64 * 2 * MIB);
        }
    }
}

#[test]
fn a_range_of_no_file_has_no_digest() {
    let folder = Folder::new(&[ramp(100)]);
    let ranges =
        [(0, 0..100), (1, 0..100), (0, Range { start: 9, end: 8 }), (0, 0..101), (0, u64::MAX - 1..u64::MAX)];
    let jobs = ranges.into_iter().map(|(entry, range)| Job { entry, range }).collect();
    let plan = Plan { algorithm: Algorithm::Sha256, entries: &folder.entries, jobs, expected: Vec::new() };
    let results = digests(super::hash(&plan, &folder, None, &Run::new()));
    let codes: Vec<_> = results.iter().map(code).collect();
    assert_eq!(
        codes[..4],
        [None, Some(Code::BadArgument), Some(Code::BadArgument), Some(Code::ChangedWhileRead)]
    );
    assert!(codes[4].is_some());
}
