//! The program of the image: static, and the same bytes wherever it is built with the same tools.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{capture, target_dir, workspace};

use super::Arch;
use crate::Done;
use crate::test::{announce, cargo};

/// The folders whose names get into programs, and what is written instead.
fn places() -> Done<[(PathBuf, String); 3]> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).ok_or("there is no home folder")?;
    let rustc = |args: &[&str]| -> Done<String> {
        Ok(capture(Command::new("rustc").args(args).current_dir(workspace()))?.out())
    };
    let version = rustc(&["-vV"])?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    let sources = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust");
    Ok([
        (workspace().to_path_buf(), "/weightseal".to_owned()),
        (home.join("registry/src"), "/crates".to_owned()),
        (sources, format!("/rustc/{}", commit.ok_or("rustc does not say what it is made from")?)),
    ])
}

/// Compiles the program; gives its path.
///
/// The target is always named: what follows is then for the program and not for what only builds it.
pub(super) fn build(arch: Arch) -> Done<PathBuf> {
    let target = arch.target();
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(places()?.map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display())));
    let mut cargo = cargo();
    for (name, _) in env::vars_os().filter(|(name, _)| decides(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo.args(["build", "--locked", "--release", "-p", "weightseal-init", "--target", &target]);
    announce(&cargo);
    let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
    let status = cargo
        .arg("--target-dir")
        .arg(target_dir())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_INCREMENTAL", "0")
        .env(linker, arch.compiler())
        .current_dir(workspace())
        .status()?;
    if !status.success() {
        return Err(format!("the build ended with {status}").into());
    }
    Ok(target_dir().join(target).join("release/weightseal-init"))
}

/// Whether a variable of the user's would change what is built.
fn decides(variable: &str) -> bool {
    ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "AWS_LC_"].iter().any(|of| variable.starts_with(of))
        || ["RUSTFLAGS", "CFLAGS", "CPPFLAGS", "RUSTC_WRAPPER"].iter().any(|of| variable.contains(of))
}

/// Demands that no folder of this machine is named in the program: elsewhere it would be another program.
pub(super) fn names_no_place(program: &[u8]) -> Done {
    for (place, _) in places()? {
        let name = place.to_string_lossy();
        if program.windows(name.len()).any(|part| part == name.as_bytes()) {
            return Err(format!("the program names {name}, so that it is another one elsewhere").into());
        }
    }
    Ok(())
}

/// Demands that the program needs no other file to start.
pub(super) fn is_static(program: &Path) -> Done {
    let headers =
        Command::new("readelf").args(["--wide", "--segments", "--dynamic"]).arg(program).capture()?;
    if !headers.contains("Program Headers") {
        return Err("readelf does not show the headers of the program".into());
    }
    match ["INTERP", "(NEEDED)"].iter().find(|mark| headers.contains(*mark)) {
        Some(mark) => Err(format!("the program is not static: it has {mark}").into()),
        None => Ok(()),
    }
}

/// A program's standard output.
trait Capture {
    fn capture(&mut self) -> Done<String>;
}

impl Capture for Command {
    fn capture(&mut self) -> Done<String> {
        let ended = capture(self)?;
        if ended.code() == Some(0) { Ok(ended.out()) } else { Err(ended.to_string().into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_libraries_is_refused() {
        let why = is_static(Path::new("/bin/sh")).expect_err("it has an interpreter").to_string();
        assert!(why.contains("INTERP"), "{why}");
        assert!(is_static(&workspace().join("Cargo.toml")).is_err());
    }

    #[test]
    fn a_program_that_names_a_folder_of_this_machine_is_refused() {
        let place = workspace().to_string_lossy().into_owned();
        assert!(names_no_place(b"panicked at lib/src/model.rs").is_ok());
        assert!(names_no_place(format!("panicked at {place}/lib/src/model.rs").as_bytes()).is_err());
    }

    #[test]
    fn variables_that_change_what_is_built_are_known() {
        for variable in
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "CFLAGS", "TARGET_CFLAGS"]
        {
            assert!(decides(variable), "{variable}");
        }
        for variable in ["PATH", "CARGO_HOME", "CARGO_NET_OFFLINE"] {
            assert!(!decides(variable), "{variable}");
        }
    }
}
