//! What an image is held to when it is there: its size, and that its program judges in an empty room.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use testkit::image::{Image, PROGRAM, USER};
use testkit::{capture, in_ci, temporary, workspace};

use super::{Arch, LIMIT, assemble};
use crate::Done;

/// Demands that it is small; says how small.
pub(super) fn size(image: &Image, archive: &Path) -> Done<String> {
    let files: u64 = image.files.values().map(|file| file.content.len() as u64).sum();
    let packed = fs::metadata(archive)?.len();
    if files > LIMIT {
        return Err(format!("the files in the image have {files} bytes, more than {LIMIT}").into());
    }
    Ok(format!("{:.1} MB of files, {:.1} MB to pull", files as f64 / 1e6, packed as f64 / 1e6))
}

/// Demands that the program says what it is for, verifies a model, and refuses it with one byte changed: in a folder
/// with the image's files and a model, as the image's user.
pub(super) fn runs(image: &Image, arch: Arch) -> Done<String> {
    let emulator = format!("qemu-{}-static", arch.processor());
    let emulator_path = capture(Command::new("sh").arg("-c").arg(format!("command -v {emulator}")))?.out();
    if arch != Arch::HERE && emulator_path.is_empty() {
        if in_ci() {
            return Err(format!("{emulator} is not there; with CI=true nothing is skipped").into());
        }
        return Ok(format!("not run: {emulator} is not there"));
    }
    let dir = temporary()?;
    let root = dir.path().join("root");
    assemble::lay_out(image, &root)?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let model = root.join("model");
    copy(&workspace().join("testdata/models/small"), &model)?;
    let bundles = workspace().join("testdata/bundles");
    fs::copy(bundles.join("model_signing-1.1.1.sig"), root.join("model.sig"))?;
    fs::copy(bundles.join("p384.pub"), root.join("key.pub"))?;

    let program = format!("/{PROGRAM}");
    let mut words = Vec::new();
    if arch != Arch::HERE {
        fs::copy(emulator_path.trim(), root.join("emulator"))?;
        words.push("/emulator");
    }
    words.push(&program);
    let ends_with = |code: i32, args: &[&str], says: &str| -> Done {
        let mut command = Command::new("chroot");
        if !rustix::process::geteuid().is_root() {
            // Without the right to change the root, in a namespace where there is only one user.
            command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "chroot"]);
        } else {
            command.arg(format!("--userspec={USER}"));
        }
        let ended = capture(command.arg(&root).args(&words).args(args).env_clear().env("PATH", path()))?;
        if ended.code() == Some(code) && ended.out().contains(says) {
            Ok(())
        } else {
            Err(format!("exit code {code} and {says:?} were expected\n{ended}").into())
        }
    };
    let gate = ["--model=/model", "--signature=/model.sig", "--public-key=/key.pub"];
    ends_with(2, &["--help"], "Usage: weightseal-init")?;
    ends_with(0, &gate, r#""verdict":"verified""#)?;
    let weights = model.join("model.bin");
    let mut bytes = fs::read(&weights)?;
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
    fs::write(&weights, bytes)?;
    ends_with(1, &gate, r#""verdict":"rejected""#)?;
    let by = if arch == Arch::HERE { String::new() } else { format!(", by {emulator}") };
    Ok(format!("run{by}: it verified a model, and refused it with one byte changed"))
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> Done {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use testkit::image::{File, image};

    /// An image of a script, which cannot run where there is no shell.
    fn script() -> (testkit::TempDir, std::path::PathBuf, Image) {
        let dir = temporary().expect("temporary folder");
        let (script, archive) = (dir.path().join("script"), dir.path().join("script.tar"));
        fs::write(&script, "#!/bin/sh\nexit 0\n").expect("written");
        image(&script, &archive).expect("an image");
        let image = Image::read(&archive).expect("read").1;
        (dir, archive, image)
    }

    #[test]
    fn a_large_image_is_refused() {
        let (_dir, archive, mut image) = script();
        assert!(size(&image, &archive).is_ok());
        let content = vec![0; usize::try_from(LIMIT).expect("small") + 1];
        let large = File { mode: 0o444, owner: (0, 0), modified: 0, content };
        image.files = BTreeMap::from([("large".to_owned(), large)]);
        assert!(size(&image, &archive).is_err());
    }

    #[test]
    fn a_program_that_does_not_judge_is_refused() {
        let (_dir, _archive, image) = script();
        let why = runs(&image, Arch::HERE).expect_err("there is no shell").to_string();
        assert!(why.contains("Usage: weightseal-init"), "{why}");
    }
}
