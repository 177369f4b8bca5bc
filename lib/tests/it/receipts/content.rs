//! What changed since the receipt was written: hashed again, and refused where it is not as signed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, symlink},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use testkit::{Missing, skip_or_fail};
use weightseal::{Code, Model, Run};

use super::{Case, LARGE, NAME};
use crate::good::{At, Moment, has_program, one, refused_in};

/// Writes other bytes of the same length into a file, and sets its times back.
fn overwrite(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = fs::metadata(path).unwrap();
    assert_eq!(
        (before.len(), before.mtime_nsec(), before.ino()),
        (after.len(), after.mtime_nsec(), after.ino())
    );
}

#[test]
fn other_bytes_of_the_same_length_under_the_same_time() {
    let Some(case) = Case::start() else { return };
    overwrite(&case.path(NAME));
    case.is_refused(Code::FileChanged, "not what they were");
    // And so it stays: nothing was written that would let it pass.
    case.is_refused(Code::FileChanged, "not what they were");
}

#[test]
fn the_same_bytes_written_again_are_hashed_again_and_pass() {
    let Some(case) = Case::start() else { return };
    overwrite(&case.path(NAME));
    overwrite(&case.path(NAME));
    case.is_hashed("not what they were");
    case.uses_receipt();
}

#[test]
fn another_file_under_the_name_of_one() {
    let Some(case) = Case::start() else { return };
    let aside = case.dir.path().join("aside");
    fs::copy(case.path(NAME), &aside).unwrap();
    fs::rename(&aside, case.path(NAME)).unwrap();
    case.is_hashed("not what they were");
    case.uses_receipt();
    fs::copy(case.path(NAME), &aside).unwrap();
    overwrite(&aside);
    fs::rename(&aside, case.path(NAME)).unwrap();
    case.is_refused(Code::FileChanged, "not what they were");
}

#[test]
fn a_file_with_another_name_to_it() {
    let Some(case) = Case::start() else { return };
    // Nothing changed but that somebody has a name of his own for the file now.
    fs::hard_link(case.path(NAME), case.dir.path().join("mine")).unwrap();
    case.is_hashed("not what they were");
    case.uses_receipt();
}

#[test]
fn two_files_that_change_names() {
    let Some(case) = Case::start() else { return };
    let aside = case.dir.path().join("aside");
    fs::rename(case.path("deploy-a"), &aside).unwrap();
    fs::rename(case.path("deploy.md"), case.path("deploy-a")).unwrap();
    fs::rename(&aside, case.path("deploy.md")).unwrap();
    case.is_refused(Code::FileChanged, "not what they were");
}

#[test]
fn a_file_more_or_less() {
    let Some(case) = Case::start() else { return };
    fs::write(case.path("modeling.py"), "").unwrap();
    case.is_refused(Code::FileUnsigned, "differs from what is signed");
    fs::remove_file(case.path("modeling.py")).unwrap();
    // Names and stamps are as they were when the receipt was written.
    case.uses_receipt();
    fs::remove_file(case.path("README.md")).unwrap();
    case.is_refused(Code::FileMissing, "differs from what is signed");
}

#[test]
fn whole_folders_that_change_places() {
    let Some(case) = Case::start() else { return };
    let (aside, other) = (case.dir.path().join("aside"), case.dir.path().join("other"));
    super::make_model(&other);
    overwrite(&other.join(LARGE));
    fs::rename(case.folder(), &aside).unwrap();
    fs::rename(&other, case.folder()).unwrap();
    case.is_refused(Code::FileChanged, "not what they were");
    // The folder that was checked, back at its place, is what it was.
    fs::rename(case.folder(), &other).unwrap();
    fs::rename(&aside, case.folder()).unwrap();
    case.uses_receipt();
}

#[test]
fn a_link_that_leads_elsewhere() {
    let Some(case) = Case::new() else { return };
    symlink("README.md", case.path("link")).unwrap();
    let folder = case.folder();
    let model = || Model::open(&folder).unwrap().allow_symlinks(true);
    let bundle = model()
        .sign(
            &weightseal::Hashing::files(weightseal::Algorithm::Sha256),
            &crate::good::signer(&case.key),
            &Run::new(),
        )
        .unwrap();
    let case = Case { bundle, ..case };
    let verify =
        || crate::good::verified(&model().receipts(case.receipts()), &case.policy(), one(&case.bundle));
    assert!(verify().receipt.unwrap().written);
    let report = super::used(verify());
    assert_eq!(report.counts.links, 1);
    // To the same file, by another link.
    fs::remove_file(case.path("link")).unwrap();
    symlink("README.md", case.path("link")).unwrap();
    let receipt = verify().receipt.unwrap();
    assert!(!receipt.used && receipt.written, "{receipt:?}");
    super::used(verify());
    fs::remove_file(case.path("link")).unwrap();
    symlink("config.json", case.path("link")).unwrap();
    refused_in(
        &model().receipts(case.receipts()),
        &case.policy(),
        one(&case.bundle),
        &[Code::FileChanged],
        &Run::new(),
    );
}

#[test]
fn a_change_while_the_receipt_is_used() {
    let moments = [Moment::Listed, Moment::Read];
    for moment in moments {
        let Some(case) = Case::start() else { return };
        let path = case.path(NAME);
        let run = At::run(moment, move || overwrite(&path));
        let codes = [Code::ChangedWhileRead];
        let report = refused_in(&case.model(), &case.policy(), one(&case.bundle), &codes, &run);
        assert_eq!(report.exit_code(), 3);
    }
}

/// Another process that holds a file mapped, and writes through the mapping on demand.
struct Mapper {
    child: Child,
    answers: BufReader<ChildStdout>,
}

const MAPPER: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
view = mmap.mmap(file.fileno(), 0)
file.close()
print('mapped', flush=True)
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
        let mut mapper = Mapper { child, answers };
        mapper.said("mapped\n");
        mapper
    }

    fn said(&mut self, expected: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, expected);
    }

    fn write(&mut self, at: usize, byte: u8) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{at} {byte}").unwrap();
        self.said("done\n");
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

/// Writes through a mapping from before the first check, after the receipt was used.
pub(super) fn written_through_a_mapping(case: &Case, dirty: bool) {
    let mut mapper = Mapper::new(&case.path(LARGE));
    if dirty {
        // The page is dirty, and open to more writes, before anybody looks; its bytes are the signed ones.
        mapper.write(5000, 8);
        mapper.write(5000, 7);
    }
    case.is_hashed("there is none yet");
    case.uses_receipt();
    mapper.write(5000, 9);
    case.is_refused(Code::FileChanged, "not what they were");
    // Put back by the same way: the bytes are right again, and it is hashing that says so.
    mapper.write(5000, 7);
    case.is_hashed("not what they were");
    case.uses_receipt();
}

#[test]
fn a_write_through_a_mapping_from_before_the_first_check() {
    if !has_program("python3") {
        skip_or_fail(Missing::new("a process that maps a file", "there is no python3"));
        return;
    }
    for dirty in [false, true] {
        let Some(case) = Case::new() else { return };
        written_through_a_mapping(&case, dirty);
    }
}
