//! As a pod runs it: an unprivileged user, a read-only root, a read-only model, a termination log that is a mount.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use testkit::{Ended, capture, skip_or_fail};

use crate::{Volume, codes, outcome};

/// What the kubelet and the container runtime do, with mounts that only this process sees.
const SANDBOX: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$MODEL" "$MODEL"
mount -o remount,bind,ro "$MODEL"
mount --bind "$LOG" "$LOG"
mount -t tmpfs tmpfs /dev
: > /dev/termination-log
mount --bind "$LOG" /dev/termination-log
mount -o remount,bind,ro /dev
mount -o remount,bind,ro /
if touch "$MODEL/written" /written 2> /dev/null; then exit 99; fi
exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "$@"
"#;

/// A volume that others may read, and the program where others may run it.
fn shared() -> (Volume, PathBuf) {
    let volume = Volume::new();
    let program = volume.path("weightseal-init");
    fs::copy(env!("CARGO_BIN_EXE_weightseal-init"), &program).unwrap();
    for path in [volume.dir.path(), &program] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    // The kubelet makes the log so that any user of the container can write it.
    fs::set_permissions(volume.log(), Permissions::from_mode(0o666)).unwrap();
    (volume, program)
}

/// Runs the program in the sandbox; none where this machine cannot make one.
fn sandboxed(volume: &Volume, program: &Path, args: &[&str]) -> Option<Ended> {
    if !rustix::process::geteuid().is_root() {
        skip_or_fail("only root can mount a read-only root and change the user");
        return None;
    }
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.env("MODEL", volume.model()).env("LOG", volume.log());
        command
    };
    let possible = "mount --make-rprivate / && setpriv --reuid 65534 --regid 65534 --clear-groups true";
    match capture(&mut unshare(possible)) {
        Ok(ended) if ended.code() == Some(0) => {}
        Ok(ended) => {
            skip_or_fail(format_args!("no mounts of one's own or no other user: {}", ended.err().trim()));
            return None;
        }
        Err(error) => {
            skip_or_fail(error);
            return None;
        }
    }
    let mut command = unshare(SANDBOX);
    command
        .arg(program)
        .arg("--model")
        .arg(volume.model())
        .arg("--public-key")
        .arg(volume.path("release.pub"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIGHTSEAL_"))
    {
        command.env_remove(name);
    }
    Some(capture(command.args(args)).unwrap())
}

#[test]
fn it_works_without_privileges_and_with_nothing_to_write_to_but_its_log() {
    let (volume, program) = shared();
    let Some(ended) = sandboxed(&volume, &program, &[]) else { return };
    let line = outcome(ended, 0);
    assert_eq!((line.models[0].counts.verified, volume.message().as_str()), (7, ""));
    volume.change("config.json", 3);
    let Some(ended) = sandboxed(&volume, &program, &[]) else { return };
    assert_eq!(codes(ended, 1), ["file-changed"]);
    assert!(volume.message().starts_with("rejected: "), "{}", volume.message());
}

#[test]
fn what_it_may_not_read_is_not_verified() {
    for name in ["config.json", "1_Pooling", "model.sig"] {
        let (volume, program) = shared();
        fs::set_permissions(volume.model().join(name), Permissions::from_mode(0o700)).unwrap();
        let Some(ended) = sandboxed(&volume, &program, &[]) else { return };
        assert_eq!(codes(ended, 3), ["permission-denied"], "{name}");
        assert!(volume.message().contains(": permission-denied: "), "{}", volume.message());
        let Some(ended) = sandboxed(&volume, &program, &["--mode", "warn"]) else { return };
        assert_eq!(outcome(ended, 0).verdict, "could-not-tell");
    }
    let (volume, program) = shared();
    fs::set_permissions(volume.path("release.pub"), Permissions::from_mode(0o600)).unwrap();
    let Some(ended) = sandboxed(&volume, &program, &[]) else { return };
    assert_eq!(codes(ended, 3), ["permission-denied"]);
    // A log that it may not write changes no verdict.
    let (volume, program) = shared();
    fs::set_permissions(volume.log(), Permissions::from_mode(0o600)).unwrap();
    let Some(ended) = sandboxed(&volume, &program, &[]) else { return };
    outcome(ended, 0);
    assert!(volume.message().starts_with("rejected: an older message"));
}
