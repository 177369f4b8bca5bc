//! Receipts, on real file systems: each case starts from one that is used, and changes one thing.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use testkit::{
    Missing, TempDir, or_skip,
    pki::{Key, KeyKind},
    target_dir,
    volume::{Kind, Volume},
};
use weightseal::{
    Algorithm, Assurance, Bundle, Code, Hashing, Model, Policy, ReceiptReport, Receipts, Report, Run,
};

use crate::good::{FILES, one, refused_in, signer, trusting, verified_in, write_files};

mod conditions;
mod content;
mod files;
mod kinds;

/// The file whose bytes are changed.
const NAME: &str = "model.safetensors";

/// A file of several pages.
const LARGE: &str = "large.bin";

/// A signed model and a folder for receipts, on a file system that is known.
struct Case {
    dir: TempDir,
    key: Key,
    bundle: Bundle,
    _volume: Option<Volume>,
}

impl Case {
    /// On the disk that the target folder lies on, or else on a volume of its own.
    fn new() -> Option<Case> {
        let known = [0xef53, 0x5846_5342, 0x9123_683e];
        let magic = rustix::fs::statfs(target_dir()).unwrap().f_type as u32;
        if known.contains(&magic) {
            return Some(Case::at(&target_dir(), None));
        }
        let volume = or_skip(Volume::new(Kind::Ext4, 64))?;
        let path = volume.path().to_owned();
        Some(Case::at(&path, Some(volume)))
    }

    fn at(place: &Path, volume: Option<Volume>) -> Case {
        Case::with(place, volume, &Hashing::files(Algorithm::Sha256))
    }

    fn with(place: &Path, volume: Option<Volume>, hashing: &Hashing) -> Case {
        let dir = tempfile::tempdir_in(place).unwrap();
        make_model(&dir.path().join("model"));
        make_receipts(&dir.path().join("receipts"));
        let key = Key::new(KeyKind::Ed25519, 1);
        let model = Model::open(dir.path().join("model")).unwrap();
        let bundle = model.sign(hashing, &signer(&key), &Run::new()).unwrap();
        Case { dir, key, bundle, _volume: volume }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("model")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn receipts_folder(&self) -> PathBuf {
        self.dir.path().join("receipts")
    }

    fn receipts(&self) -> Receipts {
        Receipts::open(self.receipts_folder(), &[7; 32], b"context").unwrap()
    }

    /// The one receipt that there is.
    fn receipt(&self) -> PathBuf {
        let mut all: Vec<_> =
            fs::read_dir(self.receipts_folder()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Changes a byte of the weights and sets the time back.
    fn change(&self) {
        change(&self.path(NAME));
    }

    fn model(&self) -> Model {
        Model::open(self.folder()).unwrap().receipts(self.receipts())
    }

    fn policy(&self) -> Policy {
        trusting(&self.key)
    }

    /// The model is hashed and a receipt written, and the next check uses it.
    fn start() -> Option<Case> {
        let case = Case::new()?;
        case.is_hashed("there is none yet");
        case.uses_receipt();
        Some(case)
    }

    #[track_caller]
    fn verified(&self) -> Report {
        verified_in(&self.model(), &self.policy(), one(&self.bundle), &Run::new())
    }

    /// Demands that a receipt stands in for hashing.
    #[track_caller]
    fn uses_receipt(&self) -> Report {
        used(self.verified())
    }

    /// Demands that every byte is hashed for this reason, and that the next check uses the receipt that was written.
    #[track_caller]
    fn is_hashed(&self, why: &str) -> Report {
        let report = hashed(self.verified(), why);
        assert!(report.receipt.as_ref().unwrap().written, "{report}");
        report
    }

    /// Demands that every byte is hashed for this reason, and that no receipt is written.
    #[track_caller]
    fn is_hashed_without(&self, why: &str) -> Report {
        let report = hashed(self.verified(), why);
        assert!(!report.receipt.as_ref().unwrap().written, "{report}");
        report
    }

    /// Demands that the model is refused with this code and that no receipt was used, for this reason.
    #[track_caller]
    fn is_refused(&self, code: Code, why: &str) -> Report {
        let report = refused_in(&self.model(), &self.policy(), one(&self.bundle), &[code], &Run::new());
        let receipt = report.receipt.as_ref().unwrap();
        assert!(!receipt.used && !receipt.written, "{report}");
        assert_why(receipt, why);
        assert_eq!(report.assurance, Some(Assurance::Hashed));
        report
    }
}

/// Writes the model's files, which nobody but their owner may write.
fn make_model(folder: &Path) {
    write_files(folder, FILES);
    fs::write(folder.join(LARGE), vec![7; 1 << 20]).unwrap();
    for name in FILES.iter().map(|(name, _)| *name).chain([LARGE]) {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
}

fn make_receipts(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Changes the first byte of a file, and sets its time back.
fn change(path: &Path) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

/// Demands that a model is hashed for this reason, and refused for a byte that was changed.
#[track_caller]
fn refused_for_a_byte(model: &Model, policy: &Policy, bundle: &Bundle, why: &str) {
    let report = refused_in(model, policy, one(bundle), &[Code::FileChanged], &Run::new());
    let receipt = report.receipt.as_ref().unwrap();
    assert!(!receipt.used && !receipt.written, "{report}");
    assert_why(receipt, why);
}

/// How many bytes are signed.
fn signed_bytes() -> u64 {
    FILES.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() + (1 << 20)
}

#[track_caller]
fn assert_why(receipt: &ReceiptReport, why: &str) {
    assert!(receipt.why.as_ref().is_some_and(|said| said.contains(why)), "{why}: {receipt:?}");
}

#[track_caller]
fn used(report: Report) -> Report {
    assert_eq!((report.assurance, report.bytes), (Some(Assurance::Receipt), 0), "{report}");
    assert_eq!(report.kernel, None);
    let receipt = report.receipt.clone().unwrap();
    assert!(
        receipt.used && !receipt.written && receipt.why.is_none() && receipt.hashed_at.is_some(),
        "{receipt:?}"
    );
    report
}

#[track_caller]
fn hashed(report: Report, why: &str) -> Report {
    assert_eq!((report.assurance, report.bytes), (Some(Assurance::Hashed), signed_bytes()), "{report}");
    let receipt = report.receipt.clone().unwrap();
    assert!(!receipt.used, "{report}");
    assert_why(&receipt, why);
    report
}

/// Runs a program of Python's to its end; none where there is no Python.
fn python(script: &str, args: &[&Path]) -> Option<testkit::Ended> {
    if !crate::good::has_program("python3") {
        testkit::skip_or_fail(Missing::new("a program in Python", "there is no python3"));
        return None;
    }
    let mut command = std::process::Command::new("python3");
    Some(testkit::capture(command.arg("-c").arg(script).args(args)).unwrap())
}
