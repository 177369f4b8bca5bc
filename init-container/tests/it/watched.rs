//! `watch` beside a server, and what `probe` says of it. Each waits for what has to come, however long it takes.

use std::{
    fs::{self, File, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Ended, capture, run::LIMIT};

use crate::{Volume, codes, line::Line, program};

/// A watch that is ended when a test is.
struct Watch<'a> {
    volume: &'a Volume,
    child: Child,
    /// What it wrote so far, a line for each check.
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl<'a> Watch<'a> {
    /// Starts one over the volume's model, with the volume's state.
    fn start(volume: &'a Volume, args: &[&str]) -> Self {
        Self::over(volume, &["--model", volume.model().to_str().unwrap()], args)
    }

    fn over(volume: &'a Volume, models: &[&str], args: &[&str]) -> Self {
        fs::create_dir_all(state(volume)).unwrap();
        let mut command = program();
        command.arg("watch").args(models).arg("--state").arg(state(volume));
        let interval = if args.contains(&"--interval") { &[][..] } else { &["--interval", "300ms"] };
        command.args(interval).args(args).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = volume.rest(command).spawn().unwrap();
        let (stdout, lines) = (BufReader::new(child.stdout.take().unwrap()), Arc::<Mutex<Vec<_>>>::default());
        let reader = {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                stdout.lines().for_each(|line| lines.lock().unwrap().push(line.unwrap() + "\n"))
            })
        };
        Watch { volume, child, lines, reader: Some(reader) }
    }

    /// Waits until the probe says so, and gives its line.
    #[track_caller]
    fn until(&mut self, is: impl Fn(i32, &str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let ended = probe(self.volume);
            let (code, line) = (ended.code().unwrap(), ended.out());
            assert_eq!(line.lines().count(), 1, "{line}");
            if is(code, &line) {
                return line;
            }
            assert!(started.elapsed() < LIMIT, "it stays {line}");
            assert!(self.child.try_wait().unwrap().is_none(), "the watch has ended; {line}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has told of so many checks.
    #[track_caller]
    fn until_lines(&mut self, lines: usize) {
        let started = Instant::now();
        while self.lines.lock().unwrap().len() < lines {
            assert!(started.elapsed() < LIMIT, "it tells nothing");
            assert!(self.child.try_wait().unwrap().is_none(), "the watch has ended");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn until_ready(&mut self) {
        self.until(|code, line| code == 0 && line == "ready\n");
    }

    #[track_caller]
    fn until_not(&mut self, why: &str) -> String {
        self.until(|code, line| code == 1 && line.starts_with("not ready: ") && line.contains(why))
    }

    /// Ends it as the kubelet does; gives its exit code and what it wrote, a line for each check.
    fn end(mut self) -> (Option<i32>, Vec<Line>) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let lines = self.lines.lock().unwrap();
        (status.code(), lines.iter().map(|line| Line::read(line.as_bytes())).collect())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn state(volume: &Volume) -> PathBuf {
    volume.path("state")
}

fn probe(volume: &Volume) -> Ended {
    capture(program().args(["probe", "--state"]).arg(state(volume))).unwrap()
}

#[test]
fn a_model_as_it_was_signed_is_ready_until_the_pod_ends() {
    let volume = Volume::new();
    assert_eq!(probe(&volume).expect_code(1).out(), "not ready: there is no state yet\n");
    let mut watch = Watch::start(&volume, &[]);
    watch.until_ready();
    let (code, lines) = watch.end();
    assert_eq!((code, lines.len(), volume.message().as_str()), (Some(0), 1, ""));
    assert_eq!((lines[0].verdict.as_str(), lines[0].models[0].counts.verified), ("verified", 7));
    // By its variable, too; and nothing else.
    let ended = capture(program().arg("probe").env("WEIGHTSEAL_STATE", state(&volume))).unwrap();
    assert!(ended.out().starts_with("not ready: ") || ended.out() == "ready\n", "{ended}");
    for args in [&["probe"][..], &["probe", "--state", "/s", "--model", "/m"], &["probe", "--model", "/m"]] {
        assert_eq!(capture(program().args(args)).unwrap().code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_changed_byte_is_never_ready_again_not_after_a_restart_nor_when_it_is_put_back() {
    let volume = Volume::new();
    let mut watch = Watch::start(&volume, &[]);
    watch.until_ready();
    volume.change("model-00002-of-00002.safetensors", 100_000);
    let line = watch.until_not("file-changed");
    assert!(line.contains("model-00002-of-00002.safetensors"), "{line}");
    volume.change("model-00002-of-00002.safetensors", 100_000);
    let (code, lines) = watch.end();
    assert_eq!(code, Some(1));
    let verdicts: Vec<&str> = lines.iter().map(|line| line.verdict.as_str()).collect();
    assert_eq!(verdicts, ["verified", "could-not-tell", "rejected"]);
    assert_eq!(lines[1].codes(), ["changed-while-read"]);
    assert!(volume.message().starts_with("rejected: \""), "{}", volume.message());
    assert_eq!(probe(&volume).expect_code(1).out(), line);

    let mut again = Watch::start(&volume, &["--full-every", "1s"]);
    again.until_lines(1);
    again.until_not("file-changed");
    let (code, lines) = again.end();
    assert_eq!((code, lines[0].exit_code), (Some(1), 3));
    assert!(lines[0].findings[0].message.contains("file-changed"), "{lines:?}");
    assert!(volume.message().starts_with("rejected: \""), "{}", volume.message());
    // Another pod begins anew.
    fs::remove_file(state(&volume).join("state")).unwrap();
    Watch::start(&volume, &[]).until_ready();
}

#[test]
fn a_write_that_sets_the_time_back_is_noticed() {
    let volume = Volume::new();
    let mut watch = Watch::start(&volume, &[]);
    watch.until_ready();
    let path = volume.model().join("model-00001-of-00002.safetensors");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    volume.change("model-00001-of-00002.safetensors", 1000);
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    watch.until_not("file-changed");
}

#[test]
fn what_was_put_back_before_anybody_hashed_it_was_written_to_all_the_same() {
    let volume = Volume::new();
    let mut watch = Watch::start(&volume, &[]);
    watch.until_ready();
    // The same bytes: no check will find anything.
    let path = volume.model().join("config.json");
    let text = fs::read(&path).unwrap();
    fs::write(&path, text).unwrap();
    watch.until_not("changed-while-read");
    let (code, lines) = watch.end();
    assert_eq!((code, lines.last().unwrap().codes()), (Some(1), vec!["changed-while-read".to_owned()]));
}

#[test]
fn other_rights_are_hashed_again_and_pass() {
    let volume = Volume::new();
    let mut watch = Watch::start(&volume, &[]);
    watch.until_ready();
    fs::set_permissions(volume.model().join("config.json"), Permissions::from_mode(0o640)).unwrap();
    watch.until_lines(2);
    watch.until_ready();
    let (code, lines) = watch.end();
    assert_eq!((code, lines.len()), (Some(0), 2));
    assert!(lines.iter().all(|line| line.verdict == "verified"), "{lines:?}");
}

#[test]
fn a_model_that_is_wrong_from_the_start_is_never_ready() {
    let volume = Volume::new();
    fs::write(volume.model().join("modeling_x.py"), "x").unwrap();
    let mut watch = Watch::start(&volume, &[]);
    watch.until_not("file-unsigned");
    fs::remove_file(volume.model().join("modeling_x.py")).unwrap();
    watch.until_not("file-unsigned");
    assert_eq!(watch.end().0, Some(1));
    assert!(volume.message().starts_with("rejected: \""), "{}", volume.message());
    // Warn mode says so and is ready.
    let warned = Volume::new();
    fs::write(warned.model().join("modeling_x.py"), "x").unwrap();
    let mut watch = Watch::start(&warned, &["--mode", "warn"]);
    watch.until_ready();
    fs::write(warned.model().join("modeling_y.py"), "y").unwrap();
    watch.until_ready();
    assert_eq!(watch.end().0, Some(0));
}

#[test]
fn a_volume_that_is_out_of_reach_for_a_while_is_not_ready_for_a_while() {
    let volume = Volume::new();
    let mut watch = Watch::start(&volume, &[]);
    watch.until_ready();
    fs::rename(volume.model(), volume.path("away")).unwrap();
    watch.until_not("model-absent");
    fs::rename(volume.path("away"), volume.model()).unwrap();
    watch.until_ready();
    assert_eq!(watch.end().0, Some(0));
}

#[test]
fn what_appears_beside_the_models_is_noticed() {
    let volume = Volume::new();
    fs::create_dir(volume.path("models")).unwrap();
    fs::rename(volume.model(), volume.path("models/llama")).unwrap();
    let root = volume.path("models");
    let mut watch = Watch::over(&volume, &["--models-under", root.to_str().unwrap()], &[]);
    watch.until_ready();
    fs::write(root.join("x.py"), "x").unwrap();
    watch.until_not("file-unsigned");
}

#[test]
fn every_byte_is_hashed_on_a_schedule_and_in_its_time() {
    let volume = Volume::new();
    let mut watch = Watch::start(&volume, &["--full-every", "100ms", "--rate", "100Mi"]);
    watch.until_ready();
    watch.until_lines(3);
    watch.until_ready();
    let (code, lines) = watch.end();
    assert_eq!(code, Some(0));
    assert!(lines.iter().all(|line| line.verdict == "verified"), "{lines:?}");
}

#[test]
fn a_signal_ends_it_in_the_middle_of_a_check() {
    let volume = Volume::new();
    let file = File::options().write(true).open(volume.model().join("README.md")).unwrap();
    file.set_len(1 << 40).unwrap();
    let mut watch = Watch::start(&volume, &["--rate", "1Mi"]);
    watch.until_not("being checked");
    assert_eq!(watch.end().0, Some(0));
    assert_eq!(probe(&volume).code(), Some(1));
}

#[test]
fn settings_that_cannot_be_right_are_misuse() {
    let volume = Volume::new();
    fs::create_dir(state(&volume)).unwrap();
    let (model, folder) = (volume.model(), state(&volume));
    let run = |args: &[&str]| {
        let mut command = program();
        command.arg("watch").args(args);
        capture(&mut volume.rest(command)).unwrap()
    };
    let (model, folder) = (model.to_str().unwrap(), folder.to_str().unwrap());
    for args in [
        &["--model", model][..],
        &["--model", model, "--state", "/no/such/folder"],
        &["--state", folder],
        &["--model", model, "--state", folder, "--interval", "0s"],
        &["--model", model, "--state", folder, "--rate", "fast"],
        &["--model", "s3://b/m", "--state", folder, "--mode", "warn"],
        &[model, "/dest", "--state", folder],
    ] {
        assert_eq!(codes(run(args), 2), ["bad-argument"], "{args:?}");
    }
}
