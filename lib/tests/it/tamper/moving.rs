//! Models that change while they are verified.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use testkit::{Missing, pki::KeyKind, skip_or_fail};
use weightseal::{Algorithm, Code, Hashing, Kernel, ReadMode, Run, Verdict};

use crate::good::{
    At, FILES, Good, Moment, again, found, has_program, in_child, passed, refused_in, verified_in,
    write_files,
};

const NAME: &str = "large.bin";
const SIZE: usize = 9 << 20;

/// The good model with a file of several windows.
fn large(folder: &Path) {
    fs::write(folder.join(NAME), vec![7; SIZE]).unwrap();
}

fn good() -> Good {
    Good::with(&Hashing::files(Algorithm::Sha256), KeyKind::Ed25519, large, |model| model)
}

/// Writes one byte into a file, whose length stays.
fn poke(path: &Path, at: u64, byte: u8) {
    use std::os::unix::fs::FileExt as _;
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[byte], at).unwrap();
}

/// Verifies while `action` is done at one moment, mapped and not: each time it has to be found out.
fn caught(moment: Moment, codes: &[Code], action: fn(PathBuf)) {
    for map in [false, true] {
        let good = good();
        let folder = good.folder();
        let run =
            At::run(moment, move || action(folder)).read(if map { ReadMode::Mmap } else { ReadMode::Pread });
        refused_in(&good.model(), &good.policy(), good.bundles(), codes, &run);
    }
}

#[test]
fn a_run_in_which_nothing_happens_verifies() {
    for moment in [Moment::Listed, Moment::Reading, Moment::Read] {
        for map in [false, true] {
            let good = good();
            let run = At::run(moment, || ()).read(if map { ReadMode::Mmap } else { ReadMode::Pread });
            verified_in(&good.model(), &good.policy(), good.bundles(), &run);
        }
    }
}

#[test]
fn content_that_changes_after_it_was_read() {
    let moved = [Code::ChangedWhileRead];
    caught(Moment::Read, &moved, |folder| poke(&folder.join(NAME), 5, 8));
    caught(Moment::Read, &moved, |folder| poke(&folder.join("config.json"), 5, 8));
    // Even where the bytes are the same ones.
    caught(Moment::Read, &moved, |folder| poke(&folder.join(NAME), 5, 7));
    caught(Moment::Read, &moved, |folder| fs::write(folder.join(NAME), "short").unwrap());
    caught(Moment::Read, &moved, |folder| fs::remove_file(folder.join("README.md")).unwrap());
    // Another file under the same name, with the same bytes and times.
    caught(Moment::Read, &moved, |folder| {
        let path = folder.join("config.json");
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(folder.join("../new"), fs::read(&path).unwrap()).unwrap();
        fs::File::options().write(true).open(folder.join("../new")).unwrap().set_modified(times).unwrap();
        fs::rename(folder.join("../new"), &path).unwrap();
    });
    // Times set back do not hide a change.
    caught(Moment::Read, &moved, |folder| {
        let path = folder.join(NAME);
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        poke(&path, 5, 8);
        fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    });
}

#[test]
fn content_that_changes_while_it_is_read() {
    let moved = [Code::ChangedWhileRead];
    // Behind what was read already, and before it.
    caught(Moment::Reading, &moved, |folder| poke(&folder.join(NAME), SIZE as u64 - 1, 8));
    caught(Moment::Reading, &moved, |folder| poke(&folder.join(NAME), 5, 8));
    // There and back: what was hashed may be anything.
    caught(Moment::Reading, &moved, |folder| {
        poke(&folder.join(NAME), 5, 8);
        poke(&folder.join(NAME), 5, 7);
    });
}

#[test]
fn content_that_changes_between_listing_and_reading() {
    let moved = [Code::ChangedWhileRead];
    caught(Moment::Listed, &moved, |folder| poke(&folder.join(NAME), 5, 8));
    caught(Moment::Listed, &moved, |folder| fs::remove_file(folder.join(NAME)).unwrap());
    caught(Moment::Listed, &moved, |folder| {
        // A link swapped in for a file is not followed, whatever it leads to.
        fs::rename(folder.join(NAME), folder.join("../moved")).unwrap();
        symlink(folder.join("../moved"), folder.join(NAME)).unwrap();
    });
    caught(Moment::Listed, &moved, |folder| {
        fs::remove_file(folder.join(NAME)).unwrap();
        fs::create_dir(folder.join(NAME)).unwrap();
    });
    caught(Moment::Listed, &moved, |folder| {
        // Nor is a link in the place of a folder.
        fs::rename(folder.join("deploy"), folder.join("../deploy")).unwrap();
        symlink(folder.join("../deploy"), folder.join("deploy")).unwrap();
    });
    caught(Moment::Listed, &moved, |folder| {
        // Nobody waits for a pipe that was swapped in.
        fs::remove_file(folder.join(NAME)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.join(NAME), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
    });
}

/// Verifies while a file is cut to `length` bytes, which is to be an error.
fn truncated(algorithm: Algorithm, moment: Moment, length: u64, map: bool, threads: usize) {
    let good = Good::with(&Hashing::files(algorithm), KeyKind::Ed25519, large, |model| model);
    let path = good.path(NAME);
    let cut = move || fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
    let run = At::run(moment, cut).read(if map { ReadMode::Mmap } else { ReadMode::Pread }).threads(threads);
    let run = if threads == 1 { run.kernel(Kernel::Sha2) } else { run };
    refused_in(&good.model(), &good.policy(), good.bundles(), &[Code::ChangedWhileRead], &run);
}

/// Moments and lengths: before, in and after the window that was read last.
const CUTS: [(Moment, u64); 5] = [
    (Moment::Listed, 0),
    (Moment::Reading, 0),
    (Moment::Reading, 1 << 20),
    (Moment::Reading, (2 << 20) + 1),
    (Moment::Reading, SIZE as u64 - 1),
];

#[test]
fn a_file_that_is_truncated_while_it_is_read_or_mapped_is_an_error_and_no_crash() {
    for (moment, length) in CUTS {
        for algorithm in Algorithm::ALL {
            truncated(algorithm, moment, length, false, 4);
            // One thread and one lane: it is cut between two windows, which the next one finds out before it reads.
            truncated(algorithm, moment, length, true, 1);
        }
    }
}

#[test]
fn a_file_that_is_truncated_in_the_middle_of_a_mapped_window_ends_the_program_in_order() {
    const TEST: &str =
        "tamper::moving::a_file_that_is_truncated_in_the_middle_of_a_mapped_window_ends_the_program_in_order";
    if in_child(TEST) {
        weightseal::sigbus::exit_on_sigbus(3, Vec::new());
        for (moment, length) in CUTS {
            for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
                truncated(algorithm, moment, length, true, 4);
            }
        }
        return;
    }
    // Other threads are reading their windows: what comes is an error or SIGBUS, and a program that maps files says so.
    for _ in 0..3 {
        let ended = again(TEST, &[]);
        match ended.code() {
            Some(3) => {}
            _ => passed(ended),
        }
    }
}

#[test]
fn what_appears_after_the_first_listing() {
    let moved = [Code::ChangedWhileRead];
    for moment in [Moment::Listed, Moment::Reading, Moment::Read] {
        caught(moment, &moved, |folder| fs::write(folder.join("new.txt"), "x").unwrap());
        caught(moment, &moved, |folder| {
            fs::create_dir_all(folder.join("deploy/new")).unwrap();
            fs::write(folder.join("deploy/new/file"), "").unwrap();
        });
        caught(moment, &moved, |folder| symlink("config.json", folder.join("new-link")).unwrap());
    }
    // Where it may be there, its coming changes nothing.
    let good = good();
    let mut model = good.model().ignore_unsigned_files(true);
    assert!(model.ignore_path("cache"));
    let path = good.path("new.txt");
    let run = At::run(Moment::Listed, move || fs::write(path, "x").unwrap());
    verified_in(&model, &good.policy(), good.bundles(), &run);
}

#[test]
fn a_link_that_is_turned_while_its_target_is_read() {
    let links = |folder: &Path| symlink("config.json", folder.join("link")).unwrap();
    let hashing = Hashing::files(Algorithm::Sha256);
    let good = Good::with(&hashing, KeyKind::Ed25519, links, |model| model.allow_symlinks(true));
    let folder = good.folder();
    let run = At::run(Moment::Read, move || {
        fs::remove_file(folder.join("link")).unwrap();
        symlink("README.md", folder.join("link")).unwrap();
    });
    let model = good.model().allow_symlinks(true);
    let moved = [Code::ChangedWhileRead];
    refused_in(&model, &good.policy(), good.bundles(), &moved, &run);
}

#[test]
fn what_is_evidently_changed_wins_over_what_moves() {
    let good = good();
    fs::write(good.path("README.md"), "changed").unwrap();
    let path = good.path(NAME);
    let run = At::run(Moment::Read, move || poke(&path, 5, 8));
    let codes = [Code::FileChanged, Code::ChangedWhileRead];
    let report = refused_in(&good.model(), &good.policy(), good.bundles(), &codes, &run);
    assert_eq!(report.verdict, Verdict::Rejected);
}

#[test]
fn signing_a_model_that_moves_gives_no_signature() {
    for moment in [Moment::Listed, Moment::Reading, Moment::Read] {
        for action in [
            (|folder: PathBuf| poke(&folder.join(NAME), SIZE as u64 - 1, 8)) as fn(PathBuf),
            |folder| fs::write(folder.join("new.txt"), "x").unwrap(),
            |folder| fs::remove_file(folder.join(NAME)).unwrap(),
        ] {
            let good = good();
            let folder = good.folder();
            let run = At::run(moment, move || action(folder));
            let hashing = Hashing::files(Algorithm::Sha256);
            let error = good.model().sign(&hashing, &crate::good::signer(&good.key), &run).unwrap_err();
            assert_eq!((error.code(), error.class().exit()), (Code::ChangedWhileRead, 3), "{error}");
        }
    }
}

/// Another process that holds a file mapped and writes through the mapping on demand: no call that names the file is made.
struct Mapper {
    child: std::process::Child,
    answers: BufReader<std::process::ChildStdout>,
}

const MAPPER: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
view = mmap.mmap(file.fileno(), 0)
file.close()
for line in sys.stdin:
    at, byte = map(int, line.split())
    view[at] = byte
    print('done', flush=True)
";

impl Mapper {
    fn new(path: &Path) -> Mapper {
        let mut child = Command::new("python3")
            .args(["-c", MAPPER])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Mapper { child, answers }
    }

    fn write(&mut self, at: usize, byte: u8) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{at} {byte}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        let _ = self.answers.read_to_string(&mut rest);
        let _ = self.child.wait();
    }
}

#[test]
fn content_that_is_written_through_somebodys_mapping_after_the_stamp() {
    if !has_program("python3") {
        skip_or_fail(Missing::new("a process that maps a file", "there is no python3"));
        return;
    }
    let dir = tempfile::tempdir_in(testkit::target_dir()).unwrap();
    // A file system in memory writes nothing back, so that its pages stay writable.
    const TMPFS: i128 = 0x0102_1994;
    if i128::from(rustix::fs::statfs(dir.path()).unwrap().f_type) == TMPFS {
        skip_or_fail(Missing::new("a file system on a disk", "the target folder lies on a tmpfs"));
        return;
    }
    for moment in [Moment::Listed, Moment::Reading, Moment::Read] {
        for map in [false, true] {
            let folder = dir.path().join(format!("{moment:?}{map}"));
            write_files(&folder, FILES);
            large(&folder);
            let good = good();
            let model = weightseal::Model::open(&folder).unwrap();
            verified_in(&model, &good.policy(), good.bundles(), &Run::new());
            let mut mapper = Mapper::new(&folder.join(NAME));
            // The page is dirty, and open to more writes, before anybody looks; its bytes are the signed ones.
            mapper.write(100, 8);
            mapper.write(100, 7);
            let run = At::run(moment, move || mapper.write(100, 9)).read(if map {
                ReadMode::Mmap
            } else {
                ReadMode::Pread
            });
            let report = match model.verify(&good.policy(), good.bundles(), &run) {
                Ok(verified) => panic!("{moment:?} {map}: {}", verified.report()),
                Err(failure) => failure.into_report(),
            };
            let codes = found(&report);
            // Before the stamp's pages were written out it is as if the file had been so all along.
            let fine = codes.len() == 1
                && (codes.contains(&Code::ChangedWhileRead)
                    || moment == Moment::Listed && codes.contains(&Code::FileChanged));
            assert!(fine, "{moment:?} {map}: {report}");
        }
    }
}

#[test]
fn a_run_that_is_late_or_interrupted_has_no_verdict() {
    let good = good();
    let bundles = [good.bundle.clone()];
    let late = Run::new().deadline(std::time::Duration::ZERO);
    refused_in(&good.model(), &good.policy(), &bundles, &[Code::DeadlinePassed], &late);
    for moment in [Moment::Listed, Moment::Reading, Moment::Read] {
        let cancel = weightseal::Cancel::default();
        let switch = cancel.clone();
        let run = At::run(moment, move || switch.cancel()).cancel(cancel);
        refused_in(&good.model(), &good.policy(), &bundles, &[Code::Interrupted], &run);
    }
}

#[test]
fn another_model_put_in_the_place_of_the_checked_one() {
    caught(Moment::Read, &[Code::ChangedWhileRead], |folder| {
        fs::rename(&folder, folder.with_extension("aside")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(NAME), "evil").unwrap();
    });
}
