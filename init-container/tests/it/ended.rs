//! Checks that are ended before their end: by deadline, by signal, by force.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Ended, run::LIMIT};

use crate::{Volume, codes, line::Line, outcome};

/// A volume whose model takes longer to hash than any test waits: one file has a terabyte without content.
fn endless() -> Volume {
    let volume = Volume::new();
    let file = OpenOptions::new().write(true).open(volume.model().join("README.md")).unwrap();
    file.set_len(1 << 40).unwrap();
    volume
}

/// Starts the program and waits until it hashes.
fn hashing(volume: &Volume, args: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = volume
        .command()
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(": hashing ") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended by itself: {:?}", child.wait());
    }
    (child, stderr)
}

/// Sends a signal while the model is hashed; gives how it ended and what it wrote.
fn signalled(volume: &Volume, args: &[&str], signal: Signal) -> (ExitStatus, Vec<u8>) {
    disturbed(volume, args, |child| kill_process(Pid::from_child(child), signal).unwrap())
}

/// Does something while the model is hashed.
fn disturbed(volume: &Volume, args: &[&str], disturb: impl FnOnce(&Child)) -> (ExitStatus, Vec<u8>) {
    let (mut child, mut stderr) = hashing(volume, args);
    disturb(&child);
    let sent = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if sent.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("it did not end");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    stderr.read_to_string(&mut String::new()).unwrap();
    (status, stdout)
}

/// Demands that nothing but the deadline was found, whoever noticed it.
#[track_caller]
fn late(ended: Ended) {
    let codes = codes(ended, 3);
    assert!(!codes.is_empty() && codes.iter().all(|code| code == "deadline-passed"), "{codes:?}");
}

#[test]
fn a_deadline_ends_as_not_verified_in_warn_mode_too() {
    let volume = Volume::new();
    outcome(volume.run(&["--deadline", "10m"]), 0);
    for mode in ["enforce", "warn"] {
        late(volume.run(&["--deadline", "1ns", "--mode", mode]));
        let message = volume.message();
        assert!(
            message.starts_with("could-not-tell: \"") && message.contains("/model\": deadline-passed: "),
            "{message}"
        );
    }
    let volume = endless();
    for mode in ["enforce", "warn"] {
        late(volume.run(&["--deadline", "300ms", "--mode", mode]));
        let first = volume.message().lines().next().unwrap().to_owned();
        assert!(first.contains("/model\": deadline-passed: "), "{first}");
    }
}

#[test]
fn a_signal_ends_it_at_once_as_not_verified_in_warn_mode_too() {
    let volume = endless();
    for (signal, mode) in
        [(Signal::TERM, "enforce"), (Signal::TERM, "warn"), (Signal::INT, "enforce"), (Signal::INT, "warn")]
    {
        let (status, stdout) = signalled(&volume, &["--mode", mode], signal);
        let line = Line::read(&stdout);
        assert_eq!((status.code(), line.exit_code, line.verdicts()), (Some(3), 3, vec!["could-not-tell"]));
        assert!(
            !line.codes().is_empty() && line.codes().iter().all(|code| code == "interrupted"),
            "{line:?}"
        );
        assert!(volume.message().contains(": interrupted: "), "{}", volume.message());
    }
}

#[test]
fn a_bus_error_ends_it_with_an_outcome_in_warn_mode_too() {
    let volume = endless();
    for mode in ["enforce", "warn"] {
        fs::write(volume.log(), "rejected: an older message ".repeat(300)).unwrap();
        let (status, stdout) = signalled(&volume, &["--mode", mode], Signal::BUS);
        let line = Line::read(&stdout);
        assert_eq!((status.code(), line.exit_code, line.verdict.as_str()), (Some(3), 3, "could-not-tell"));
        assert!(line.codes().iter().all(|code| code == "truncated-while-mapped"), "{line:?}");
        let message = volume.message();
        assert!(
            message.starts_with("could-not-tell: ") && message.contains("truncated-while-mapped"),
            "{message}"
        );
        assert!(
            !message.contains("older message") && !message.contains("killed") && message.len() <= 4096,
            "{message}"
        );
    }
}

#[test]
fn a_file_that_is_truncated_while_it_is_hashed_is_not_verified() {
    let volume = endless();
    let file = volume.model().join("README.md");
    let (status, stdout) = disturbed(&volume, &[], |_| {
        OpenOptions::new().write(true).open(&file).unwrap().set_len(1 << 20).unwrap();
    });
    // By an error of the read, or by the bus error that came in between.
    let line = Line::read(&stdout);
    assert_eq!((status.code(), line.verdicts()), (Some(3), vec!["could-not-tell"]), "{line:?}");
    assert!(volume.message().starts_with("could-not-tell: "), "{}", volume.message());
}

#[test]
fn what_is_killed_leaves_a_message_and_no_verdict() {
    let volume = endless();
    let (status, stdout) = signalled(&volume, &["--mode", "warn"], Signal::KILL);
    assert_eq!((status.signal(), stdout.len()), (Some(9), 0));
    let message = volume.message();
    assert!(
        message.starts_with("could-not-tell: \"") && message.ends_with("killed, or out of memory"),
        "{message}"
    );
}

#[test]
fn evidence_that_was_found_before_stays_evidence() {
    let volume = endless();
    fs::write(volume.model().join("extra.bin"), "x").unwrap();
    let second = volume.path("second");
    fs::create_dir(&second).unwrap();
    let (status, stdout) = signalled(&volume, &["--model", second.to_str().unwrap()], Signal::TERM);
    let line = Line::read(&stdout);
    assert_eq!((status.code(), line.exit_code), (Some(1), 1));
    assert_eq!(line.verdicts(), ["rejected", "could-not-tell"]);
    assert_eq!(line.codes(), ["interrupted", "file-unsigned", "interrupted", "interrupted"]);
    assert!(volume.message().starts_with("rejected: "), "{}", volume.message());
}
