//! What a model server would load, and what was hashed before.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use testkit::{Ended, skip_or_fail};

use crate::{Volume, codes, line::Line, outcome};

#[test]
fn what_would_be_loaded_is_signed_however_it_is_hidden() {
    let volume = Volume::new();
    let line = outcome(volume.run::<&str>(&[]), 0);
    let set = line.models[0].load_set.as_ref().unwrap();
    assert!(set.files >= 3 && set.bytes > 300_000 && set.base_model.is_none(), "{set:?}");
    fs::write(volume.model().join("modeling_x.py"), "import os").unwrap();
    for args in [&[][..], &["--ignore-unsigned-files"], &["--ignore-paths", "modeling_x.py"]] {
        let line = outcome(volume.run(args), 1);
        assert_eq!(line.models[0].findings[0].name.as_deref(), Some("modeling_x.py"), "{args:?}");
    }
    // Warn mode says so, and lets it pass.
    let line = outcome(volume.run(&["--mode", "warn", "--ignore-unsigned-files"]), 0);
    assert_eq!(line.verdict, "rejected");
    assert!(volume.message().contains("modeling_x.py"), "{}", volume.message());
}

/// A volume with a folder for receipts and their key; none where receipts are not to be had.
struct Kept {
    volume: Volume,
}

impl Kept {
    fn new() -> Option<Kept> {
        let volume = Volume::new();
        let kept = Kept { volume };
        let folder = kept.folder();
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(kept.key(), [7; 32]).unwrap();
        let first = kept.run(&[]);
        let receipt = first.models[0].receipt.as_ref().unwrap();
        if !receipt.written {
            skip_or_fail(format_args!(
                "no receipts here: {:?}",
                receipt.not_written.as_ref().or(receipt.why.as_ref())
            ));
            return None;
        }
        Some(kept)
    }

    fn folder(&self) -> PathBuf {
        self.volume.path("receipts")
    }

    fn key(&self) -> PathBuf {
        self.volume.path("receipt.key")
    }

    fn ended(&self, args: &[&str]) -> Ended {
        let (folder, key) = (self.folder(), self.key());
        let own = ["--receipts", folder.to_str().unwrap(), "--receipt-key", key.to_str().unwrap()];
        self.volume.run(&[&own, args].concat())
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Line {
        outcome(self.ended(args), 0)
    }

    /// Whether a receipt stood in for hashing.
    #[track_caller]
    fn is_used(&self, args: &[&str]) -> bool {
        let line = self.run(args);
        let model = &line.models[0];
        let used = model.receipt.as_ref().unwrap().used;
        assert_eq!(
            (model.assurance.as_deref() == Some("receipt"), model.bytes == 0),
            (used, used),
            "{line:?}"
        );
        used
    }
}

#[test]
fn what_was_hashed_is_not_hashed_again_until_something_changes() {
    let Some(kept) = Kept::new() else { return };
    assert!(kept.is_used(&[]) && kept.is_used(&["--threads", "1", "--deadline", "1h"]));
    // Other settings, another key, another id: hashed again, each time.
    assert!(!kept.is_used(&["--model-id", "acme/other"]));
    assert!(!kept.is_used(&["--no-ignore-git-paths"]));
    fs::write(kept.key(), [8; 32]).unwrap();
    assert!(!kept.is_used(&[]) && kept.is_used(&[]));
    // Another byte is found.
    kept.volume.change("model-00002-of-00002.safetensors", 100_000);
    assert_eq!(codes(kept.ended(&[]), 1), ["file-changed"]);
    kept.volume.change("model-00002-of-00002.safetensors", 100_000);
    assert!(!kept.is_used(&[]) && kept.is_used(&[]));
    // What is not signed is found although nothing is hashed.
    fs::write(kept.volume.model().join("modeling_x.py"), "x").unwrap();
    assert_eq!(outcome(kept.ended(&[]), 1).models[0].findings[0].name.as_deref(), Some("modeling_x.py"));
}

#[test]
fn receipts_need_a_folder_and_a_key() {
    let volume = Volume::new();
    let (folder, key) = (volume.path("receipts"), volume.path("receipt.key"));
    fs::create_dir(&folder).unwrap();
    fs::write(&key, [7; 31]).unwrap();
    let (folder, key) = (folder.to_str().unwrap(), key.to_str().unwrap());
    assert_eq!(codes(volume.run(&["--receipts", folder, "--receipt-key", key]), 2), ["bad-argument"]);
    assert_eq!(codes(volume.run(&["--receipts", folder, "--receipt-key", "/none"]), 2), ["key-absent"]);
    assert_eq!(codes(volume.run(&["--receipts", folder]), 2), ["arguments-conflict"]);
    assert_eq!(codes(volume.run(&["--receipt-key", key]), 2), ["arguments-conflict"]);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}
