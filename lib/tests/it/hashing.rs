//! How a model is hashed: by which kernel, read in which way, and no further than the first difference where that is enough.

use std::{
    fs,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use testkit::{
    TempDir,
    pki::{Key, KeyKind},
    temporary,
};
use weightseal::{Algorithm, Bundle, Code, Events, Hashing, Kernel, Model, Report, Run, Verdict};

use crate::good::{one, refused_in, sha256, signer, trusting, verified_in};

const MIB: u64 = 1 << 20;

/// A model whose files are as long as it is told, and its signature.
struct Files {
    dir: TempDir,
    key: Key,
    bundle: Bundle,
}

impl Files {
    /// `0.bin`, `1.bin` and so on in a folder, signed and asserted to verify.
    fn new(dir: TempDir, lengths: &[u64], hashing: &Hashing) -> Files {
        for (number, length) in lengths.iter().enumerate() {
            let bytes: Vec<u8> = (0..*length).map(|at| (at % 251) as u8 ^ number as u8).collect();
            fs::write(dir.path().join(format!("{number}.bin")), bytes).unwrap();
        }
        let key = Key::new(KeyKind::Ed25519, 1);
        let bundle = Model::open(dir.path()).unwrap().sign(hashing, &signer(&key), &Run::new()).unwrap();
        let files = Files { dir, key, bundle };
        let report = files.verified(&Run::new());
        assert_eq!(report.bytes, lengths.iter().sum::<u64>());
        files
    }

    /// Of 8, 4, 2 and 1 MiB, so that the number of bytes tells which were hashed.
    fn large() -> Files {
        let lengths = [8, 4, 2, 1].map(|length| length * MIB);
        Files::new(temporary().unwrap(), &lengths, &Hashing::files(Algorithm::Sha256))
    }

    /// Changes one byte and no length.
    fn change(&self, number: usize, at: u64) {
        let path = self.dir.path().join(format!("{number}.bin"));
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }

    fn verified(&self, run: &Run) -> Report {
        verified_in(&Model::open(self.dir.path()).unwrap(), &trusting(&self.key), one(&self.bundle), run)
    }

    fn refused(&self, codes: &[Code], run: &Run) -> Report {
        let model = Model::open(self.dir.path()).unwrap();
        refused_in(&model, &trusting(&self.key), one(&self.bundle), codes, run)
    }
}

/// Counts the bytes that were hashed.
#[derive(Default)]
struct Hashed(AtomicU64);

impl Hashed {
    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Events for Hashed {
    fn hashed(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The names that a report's findings are about.
fn names(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.name.as_deref().unwrap()).collect()
}

#[test]
fn one_difference_is_enough_where_it_is_asked_for() {
    let files = Files::large();
    files.change(1, 0);
    files.change(3, MIB - 1);
    // The longest file comes first, and each by itself.
    let run = || Run::new().threads(1).kernel(Kernel::Sha2);
    let told = Arc::new(Hashed::default());
    let report = files.refused(&[Code::FileChanged], &run().fail_fast(true).events(told.clone()));
    assert_eq!(names(&report), ["1.bin"]);
    assert_eq!((report.bytes, report.counts.verified, report.counts.signed), (12 * MIB, 1, 4));
    assert_eq!(told.bytes(), 12 * MIB, "what was not needed was hashed");

    let report = files.refused(&[Code::FileChanged], &run());
    assert_eq!(names(&report), ["1.bin", "3.bin"]);
    assert_eq!((report.bytes, report.counts.verified), (15 * MIB, 2));
}

#[test]
fn one_difference_is_enough_for_several_statements() {
    let files = Files::large();
    let model = || Model::open(files.dir.path()).unwrap();
    let shards = Hashing::shards(Algorithm::Sha256, MIB).unwrap();
    let shards = model().sign(&shards, &signer(&files.key), &Run::new()).unwrap();
    let bundles = [files.bundle.clone(), shards];
    let run = || Run::new().threads(1).kernel(Kernel::Sha2);
    assert!(model().verify(&trusting(&files.key), &bundles, &run().fail_fast(true)).is_ok());
    files.change(0, 7);
    files.change(3, 7);
    let report = |run: Run| {
        let report = model().verify(&trusting(&files.key), &bundles, &run).unwrap_err().into_report();
        assert!(report.findings.iter().all(|finding| finding.code == Code::FileChanged), "{report}");
        (report.findings.len(), report.bytes)
    };
    // The first file alone; else each file, and the one changed shard of each. The file of one shard is hashed once.
    assert_eq!(report(run().fail_fast(true)), (1, 8 * MIB));
    assert_eq!(report(run()), (4, 29 * MIB));
}

#[test]
fn files_that_were_not_hashed_are_not_verified() {
    let files = Files::large();
    files.change(0, 8 * MIB - 1);
    files.change(3, 0);
    for kernel in Kernel::available() {
        for threads in [1, 3] {
            let what = format!("{kernel}, {threads} threads");
            let told = Arc::new(Hashed::default());
            let run = Run::new().threads(threads).kernel(kernel).fail_fast(true).events(told.clone());
            let report = files.refused(&[Code::FileChanged], &run);
            assert_eq!(report.verdict, Verdict::Rejected);
            let names = names(&report);
            assert!((1..=threads).contains(&names.len()), "{what}: {names:?}");
            assert!(names.iter().all(|name| ["0.bin", "3.bin"].contains(name)), "{what}: {names:?}");
            // The lengths are powers of two.
            let hashed = (report.bytes / MIB).count_ones() as u64;
            assert_eq!(report.counts.verified, hashed - names.len() as u64, "{what}: {}", report.bytes);
            assert!(report.bytes <= told.bytes(), "{what}");
        }
    }
}

#[test]
fn shards_of_a_file_that_were_not_hashed_keep_it_from_being_verified() {
    let hashing = Hashing::shards(Algorithm::Sha256, MIB).unwrap();
    let files = Files::new(temporary().unwrap(), &[4 * MIB, 2 * MIB], &hashing);
    files.change(0, MIB);
    files.change(0, 3 * MIB);
    let run = || Run::new().threads(1).kernel(Kernel::Sha2);
    let report = files.refused(&[Code::FileChanged], &run().fail_fast(true));
    let ranges: Vec<_> = report.findings.iter().map(|finding| finding.range.clone().unwrap()).collect();
    assert_eq!(ranges, std::slice::from_ref(&(MIB..2 * MIB)));
    assert_eq!((report.bytes, report.counts.verified), (2 * MIB, 0));
    let report = files.refused(&[Code::FileChanged], &run());
    assert_eq!((report.findings.len(), report.bytes, report.counts.verified), (2, 6 * MIB, 1));
}

#[test]
fn nothing_is_hashed_where_names_or_sizes_differ_already() {
    let files = Files::large();
    fs::remove_file(files.dir.path().join("2.bin")).unwrap();
    files.change(0, 0);
    let told = Arc::new(Hashed::default());
    let run = |fast| Run::new().fail_fast(fast).events(told.clone());
    let report = files.refused(&[Code::FileMissing], &run(true));
    assert_eq!(names(&report), ["2.bin"]);
    assert_eq!((report.bytes, report.counts.verified, report.kernel), (0, 0, None));
    fs::write(files.dir.path().join("more.bin"), "not signed").unwrap();
    let report = files.refused(&[Code::FileMissing, Code::FileUnsigned], &run(true));
    assert_eq!((report.bytes, report.counts.verified), (0, 0));
    assert_eq!(told.bytes(), 0);
    let report = files.refused(&[Code::FileMissing, Code::FileUnsigned, Code::FileChanged], &run(false));
    assert_eq!((report.bytes, report.counts.verified), (13 * MIB, 2));

    let hashing = Hashing::shards(Algorithm::Sha256, MIB).unwrap();
    let files = Files::new(temporary().unwrap(), &[2 * MIB, MIB], &hashing);
    fs::OpenOptions::new()
        .write(true)
        .open(files.dir.path().join("1.bin"))
        .unwrap()
        .set_len(MIB + 1)
        .unwrap();
    let report = files.refused(&[Code::FileLonger], &Run::new().fail_fast(true));
    assert_eq!((report.bytes, report.counts.verified), (0, 0));
}

#[test]
fn a_good_model_is_hashed_as_a_whole_however_fast_it_could_fail() {
    let files = Files::large();
    for threads in [1, 3] {
        let report = files.verified(&Run::new().threads(threads).fail_fast(true));
        assert_eq!((report.bytes, report.counts.verified), (15 * MIB, 4));
    }
}

/// Past the page cache.
#[cfg(target_os = "linux")]
mod direct {
    use std::{os::unix::fs::OpenOptionsExt, path::Path};

    use testkit::skip_or_fail;
    use weightseal::ReadMode;

    use super::*;

    /// Whether files in this folder can be read past the page cache.
    fn reads_direct(folder: &Path) -> bool {
        let path = folder.join("probe-direct");
        fs::write(&path, "probe").unwrap();
        let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
        fs::remove_file(path).unwrap();
        opened.is_ok()
    }

    #[test]
    fn a_model_is_verified_past_the_page_cache() {
        let on_disk = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        if !reads_direct(on_disk().path()) {
            skip_or_fail("the target folder's file system cannot be read past the page cache");
            return;
        }
        // Around blocks, and shards that begin and end amid them.
        let lengths = [0, 1, 4095, 4096, 4097, MIB - 1, 2 * MIB + 4097];
        for (hashing, at) in [
            (Hashing::files(Algorithm::Sha256), 2 * MIB + 4096),
            (Hashing::files(Algorithm::Blake3), MIB),
            (Hashing::files(Algorithm::Blake2b), 0),
            (Hashing::shards(Algorithm::Sha256, 70_001).unwrap(), 70_001),
        ] {
            let lengths = match hashing {
                // Shards cannot name a file without bytes.
                _ if at == 70_001 => &lengths[1..],
                _ => &lengths[..],
            };
            let files = Files::new(on_disk(), lengths, &hashing);
            let last = lengths.len() - 1;
            for threads in [1, 2] {
                let run = Run::new().threads(threads).read(ReadMode::Direct);
                let report = files.verified(&run);
                assert_eq!(report.bytes, lengths.iter().sum::<u64>());
            }
            files.change(last, at);
            // Whether the changed byte has reached the device already or not.
            let report = files.refused(&[Code::FileChanged], &Run::new().read(ReadMode::Direct));
            assert_eq!(names(&report), [format!("{last}.bin")]);
            assert_eq!(report.counts.verified, report.counts.signed - 1);
            let bundle = Model::open(files.dir.path()).unwrap().sign(
                &hashing,
                &signer(&files.key),
                &Run::new().read(ReadMode::Direct),
            );
            let changed = Files { bundle: bundle.unwrap(), ..files };
            changed.verified(&Run::new());
        }
    }

    #[test]
    fn a_file_system_that_cannot_be_read_past_the_page_cache_is_told() {
        let memory = Path::new("/dev/shm");
        let Ok(dir) = tempfile::tempdir_in(memory) else {
            skip_or_fail("/dev/shm cannot be written");
            return;
        };
        let can = reads_direct(dir.path());
        let files = Files::new(dir, &[0, 5000, 300_000], &Hashing::files(Algorithm::Sha256));
        let run = Run::new().read(ReadMode::Direct);
        if can {
            files.verified(&run);
            return;
        }
        let report = files.refused(&[Code::IoFailed], &run);
        assert_eq!(report.verdict, Verdict::CouldNotTell);
        assert_eq!(report.counts.verified, 0);
        for finding in report.findings {
            assert!(finding.what.starts_with("cannot read past the page cache "), "{finding}");
            assert_eq!(finding.help(), "this file system cannot; leave out --read direct");
        }
    }
}

/// Eight files as small as those of many models are.
fn small() -> TempDir {
    let dir = temporary().unwrap();
    for number in 0..8_usize {
        let bytes: Vec<u8> = (0..number * 1000 + 55).map(|at| (at % 241) as u8).collect();
        fs::write(dir.path().join(format!("{number}.bin")), bytes).unwrap();
    }
    dir
}

#[test]
fn every_kernel_gives_the_digests_of_all_others_and_is_named() {
    let dir = small();
    let key = Key::new(KeyKind::Ed25519, 1);
    let model = Model::open(dir.path()).unwrap();
    let kernels = Kernel::available();
    assert_eq!(kernels.first(), Some(&Kernel::Sha2));
    let sign = |run: Run| {
        let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&key), &run).unwrap();
        let payload = bundle.unverified_statement().unwrap().payload().to_vec();
        (bundle, serde_json::from_slice::<serde_json::Value>(&payload).unwrap())
    };
    let (_, unforced) = sign(Run::new());
    for resource in unforced["predicate"]["resources"].as_array().unwrap() {
        let bytes = fs::read(dir.path().join(resource["name"].as_str().unwrap())).unwrap();
        assert_eq!(resource["digest"], sha256(&bytes));
    }
    let root = unforced["subject"][0]["digest"]["sha256"].as_str().unwrap();
    for &signs in &kernels {
        let (bundle, statement) = sign(Run::new().kernel(signs));
        assert_eq!(statement["subject"][0]["digest"]["sha256"], root, "{signs}");
        for &verifies in &kernels {
            let run = Run::new().kernel(verifies);
            let report = verified_in(&model, &trusting(&key), one(&bundle), &run);
            assert_eq!(report.kernel.as_deref(), Some(verifies.name()));
            assert_eq!(
                report.signatures[0].root_digest.as_deref().map(|digest| digest.ends_with(root)),
                Some(true)
            );
        }
        let run = Run::new().kernel(signs);
        fs::rename(dir.path().join("7.bin"), dir.path().join("aside")).unwrap();
        fs::write(dir.path().join("7.bin"), vec![0; 7055]).unwrap();
        refused_in(&model, &trusting(&key), one(&bundle), &[Code::FileChanged, Code::FileUnsigned], &run);
        fs::rename(dir.path().join("aside"), dir.path().join("7.bin")).unwrap();
    }
}

#[test]
fn digests_that_have_no_kernels_are_named_themselves() {
    let dir = small();
    let key = Key::new(KeyKind::Ed25519, 1);
    let model = Model::open(dir.path()).unwrap();
    for algorithm in [Algorithm::Blake2b, Algorithm::Blake3] {
        let bundle = model.sign(&Hashing::files(algorithm), &signer(&key), &Run::new()).unwrap();
        for kernel in Kernel::available() {
            let run = Run::new().kernel(kernel);
            let report = verified_in(&model, &trusting(&key), one(&bundle), &run);
            assert_eq!(report.kernel.as_deref(), Some(algorithm.name()));
        }
    }
}

/// A kernel that this processor has is not silently left out.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_the_processor_has_is_used() {
    let sha_ni = is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx");
    let avx2 = is_x86_feature_detected!("avx2");
    let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    let kernels = Kernel::available();
    for (kernel, has) in [
        (Kernel::Sha2, true),
        (Kernel::ShaNi, sha_ni),
        (Kernel::Avx2, avx2),
        (Kernel::Avx512, avx512),
        (Kernel::ArmSha2, false),
    ] {
        assert_eq!(kernels.contains(&kernel), has, "{kernel}");
        assert_eq!(kernel.name().parse::<Kernel>().is_ok(), has, "{kernel}");
    }
    let fastest = match (sha_ni, avx512, avx2) {
        (true, ..) => "sha-ni",
        (false, true, _) => "avx512",
        (false, false, true) => "avx2",
        _ => "sha2",
    };
    let dir = small();
    let key = Key::new(KeyKind::Ed25519, 1);
    let model = Model::open(dir.path()).unwrap();
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&key), &Run::new()).unwrap();
    let report = verified_in(&model, &trusting(&key), one(&bundle), &Run::new());
    assert_eq!(report.kernel.as_deref(), Some(fastest));
}
