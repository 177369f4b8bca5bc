//! Where things lie: the workspace, its target folder, temporary folders.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The root of the workspace, as it was when this crate was compiled.
pub fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The target folder the running program was built into.
///
/// Cargo marks it with `CACHEDIR.TAG`; a program that was moved elsewhere gets `CARGO_TARGET_DIR`, or `target` in
/// the workspace.
pub fn target_dir() -> PathBuf {
    let marked = env::current_exe().ok().and_then(|exe| {
        exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).map(Path::to_path_buf)
    });
    marked
        .or_else(|| env::var_os("CARGO_TARGET_DIR").map(|dir| workspace().join(dir)))
        .unwrap_or_else(|| workspace().join("target"))
}

/// A new empty folder that is removed when the value is dropped.
///
/// # Errors
/// The system's temporary folder cannot be written.
pub fn temporary() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("weightseal-").tempdir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_folder_is_the_one_this_test_runs_from() {
        let exe = env::current_exe().expect("path of the test");
        assert!(exe.starts_with(target_dir()), "{} is not in {}", exe.display(), target_dir().display());
        assert!(workspace().join("testkit/Cargo.toml").is_file());
    }

    #[test]
    fn a_temporary_folder_goes_with_its_value() {
        let dir = temporary().expect("temporary folder");
        let path = dir.path().to_path_buf();
        assert!(path.is_dir());
        drop(dir);
        assert!(!path.exists());
    }
}
