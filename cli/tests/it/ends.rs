//! Runs that are ended: by a signal, by a truncated model, by the clock.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ExitStatus, Stdio},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    json::{Failed, Report},
    world::{LIMIT, World},
};

/// More than any machine hashes within the limit, and no more than the file system can hold as a hole.
const ENDLESS: u64 = 1 << 42;

/// A run that hashes a file without end.
struct Endless {
    world: World,
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Endless {
    /// The world that it runs in. What is signed by files says nothing of sizes, so that all of it has to be hashed.
    fn world() -> World {
        let world = World::new();
        world.sign();
        let file = OpenOptions::new().write(true).open(world.path("m/config.json")).unwrap();
        file.set_len(ENDLESS).unwrap();
        world
    }

    /// Starts it, and waits until it has begun to hash.
    fn start(args: &[&str]) -> Self {
        let world = Endless::world();
        let mut command = world.command(env!("CARGO_BIN_EXE_weightseal"));
        command.args(args).arg("-v").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("hashing") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it hashed");
        }
        Endless { world, child, stderr }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: exit status, standard output, the rest of standard error.
    fn end(mut self) -> (ExitStatus, String, String, World) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > LIMIT => {
                    self.child.kill().unwrap();
                    panic!("it did not end");
                }
                None => std::thread::sleep(std::time::Duration::from_millis(2)),
            }
        };
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut err).unwrap();
        (status, out, err, self.world)
    }
}

#[test]
fn signals_end_a_verification_with_their_code_and_leave_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let run = Endless::start(&["verify", "m", "--public-key", "release.pub", "--report", "out.json"]);
        let before = run.world.listing();
        run.signal(signal);
        let (status, out, err, world) = run.end();
        assert_eq!(status.code(), Some(code), "{out}{err}");
        assert!(out.starts_with("could-not-tell: m\n") && out.contains("\n  interrupted: "), "{out}");
        let mut after = world.listing();
        after.retain(|name| name != "out.json");
        assert_eq!(before, after);
        let report: Report = serde_json::from_slice(&fs::read(world.path("out.json")).unwrap()).unwrap();
        assert_eq!((report.verdict.as_str(), report.admitted), ("could-not-tell", false));
    }
}

#[test]
fn a_run_holds_no_socket() {
    for args in
        [&["verify", "m", "--public-key", "release.pub"][..], &["sign", "m", "--private-key", "other.key"]]
    {
        let run = Endless::start(args);
        let open = fs::read_dir(format!("/proc/{}/fd", run.child.id())).unwrap();
        let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
        assert!(open.iter().any(|path| path.ends_with("m")), "{open:?}");
        assert!(!open.iter().any(|path| path.to_string_lossy().starts_with("socket:")), "{open:?}");
        run.signal(Signal::TERM);
        assert_eq!(run.end().0.code(), Some(143));
    }
}

#[test]
fn a_signal_ends_a_signature_and_the_old_one_stays() {
    let run = Endless::start(&["sign", "m", "--private-key", "other.key", "--format", "json"]);
    let before = (run.world.listing(), fs::read(run.world.path("m/model.sig")).unwrap());
    run.signal(Signal::INT);
    let (status, out, _, world) = run.end();
    assert_eq!(status.code(), Some(130));
    assert_eq!(Failed::of(&out), ("interrupted".to_owned(), "could-not-tell".to_owned()));
    assert_eq!(before, (world.listing(), fs::read(world.path("m/model.sig")).unwrap()));
}

#[test]
fn warn_mode_does_not_admit_what_was_interrupted() {
    let run = Endless::start(&["verify", "m", "--public-key", "release.pub", "--mode", "warn"]);
    run.signal(Signal::INT);
    assert_eq!(run.end().0.code(), Some(130));
}

#[test]
fn a_deadline_is_no_verdict_even_in_warn_mode() {
    let world = Endless::world();
    for mode in ["enforce", "warn"] {
        let verify = ["verify", "m", "--public-key", "release.pub", "--timeout", "300ms", "--mode", mode];
        let ended = world.run(&verify).expect_code(3);
        assert!(ended.out().contains("\n  deadline-passed: "), "{ended}");
    }
}

#[test]
fn a_run_that_does_not_end_by_itself_is_ended() {
    let world = World::new();
    let mut command = world.command(env!("CARGO_BIN_EXE_weightseal"));
    // More than a pipe holds, so that it hangs in a write as soon as nobody reads.
    command
        .args(["digest", "m", "--files", "--shard-size", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_bus_error_is_exit_3_with_a_report_in_the_format_that_was_asked_for() {
    let run = Endless::start(&["verify", "m", "--public-key", "release.pub"]);
    run.signal(Signal::BUS);
    let (status, out, err, _) = run.end();
    assert_eq!((status.code(), out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("error: a file was truncated"), "{err}");

    let run =
        Endless::start(&["verify", "m", "--public-key", "release.pub", "--format", "json", "--mode", "warn"]);
    run.signal(Signal::BUS);
    let (status, out, ..) = run.end();
    assert_eq!(status.code(), Some(3));
    let report: Report = serde_json::from_str(&out).unwrap();
    assert_eq!((report.verdict.as_str(), report.admitted), ("could-not-tell", false));
    assert_eq!(report.codes(), ["truncated-while-mapped"]);

    let run = Endless::start(&["digest", "m", "--format", "json"]);
    run.signal(Signal::BUS);
    let (status, out, ..) = run.end();
    assert_eq!(status.code(), Some(3));
    assert_eq!(Failed::of(&out).0, "truncated-while-mapped");
}

#[test]
fn a_model_that_is_truncated_meanwhile_is_neither_verified_nor_rejected() {
    let run = Endless::start(&["verify", "m", "--public-key", "release.pub", "--format", "json"]);
    OpenOptions::new().write(true).open(run.world.path("m/config.json")).unwrap().set_len(10).unwrap();
    let (status, out, err, _) = run.end();
    assert_eq!(status.code(), Some(3), "{out}{err}");
    let report: Report = serde_json::from_str(&out).unwrap();
    assert!(
        report.codes().iter().all(|code| ["changed-while-read", "truncated-while-mapped"].contains(code)),
        "{out}"
    );
    assert!(!report.findings.is_empty() && report.verdict == "could-not-tell");
}
