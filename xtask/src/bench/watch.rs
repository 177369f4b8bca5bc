//! Commands run to their end with their time and memory, and ended when they take too long or the user has enough.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use testkit::run::command_line;
use wait4::Wait4;

use super::stats::Sample;
use crate::Done;

/// How long a command may take: the slowest, a loader on a volume of 2 ms, takes a minute at full size.
const LIMIT: Duration = Duration::from_secs(900);

/// How often the running command is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How much of a command's output an error shows.
const SHOWN: usize = 600;

/// Runs commands, one after the other.
pub(super) struct Watch {
    stopped: Arc<AtomicBool>,
    running: Arc<Mutex<Option<Running>>>,
    output: PathBuf,
}

/// The command that runs, in a process group of its own.
struct Running {
    group: Pid,
    until: Instant,
}

impl Watch {
    /// Commands write into the file `output`, each over what the one before has written.
    pub(super) fn new(output: PathBuf) -> Watch {
        let watch = Watch { stopped: Arc::default(), running: Arc::default(), output };
        let (stopped, running) = (Arc::clone(&watch.stopped), Arc::clone(&watch.running));
        thread::spawn(move || {
            loop {
                thread::sleep(TICK);
                let guard = lock(&running);
                let Some(command) = guard.as_ref() else { continue };
                if stopped.load(Ordering::Relaxed) || Instant::now() >= command.until {
                    // It may just have ended by itself, and its group with it.
                    let _ = kill_process_group(command.group, Signal::KILL);
                }
            }
        });
        watch
    }

    /// Lets SIGINT and SIGTERM stop the commands, and the bench in order; a second one ends it at once.
    pub(super) fn heed_signals(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&self.stopped))?;
            flag::register(signal, Arc::clone(&self.stopped))?;
        }
        Ok(())
    }

    /// An error once the user has asked to stop.
    pub(super) fn go_on(&self) -> Done {
        if self.stopped.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
    }

    /// Runs a command that has to end with exit code 0; what it wrote comes with its sample.
    pub(super) fn run_with_output(&self, mut command: Command) -> Done<(Sample, String)> {
        self.go_on()?;
        let shown = command_line(&command);
        let file = File::create(&self.output)?;
        let start = Instant::now();
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{shown} cannot be started: {error}"))?;
        let group = Pid::from_child(&child);
        *lock(&self.running) = Some(Running { group, until: start + LIMIT });
        // Waits without reaping, so that the number stays the child's for as long as the watch may kill it.
        let waited = loop {
            match waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                waited => break waited,
            }
        };
        let took = start.elapsed();
        *lock(&self.running) = None;
        waited?;
        // The kernel's own account of this child and of what it waited for: `VmHWM` in /proc is gone before the exit
        // can be seen. Its floor is the memory of whoever started the child, here a few MiB.
        let used = child.wait4()?;
        self.go_on()?;
        let wrote = String::from_utf8_lossy(&fs::read(&self.output)?).into_owned();
        if used.status.code() != Some(0) {
            let late = if took >= LIMIT { " (it took too long)" } else { "" };
            let words: String = wrote.trim().chars().take(SHOWN).collect();
            return Err(format!("`{shown}` ended with {}{late}: {words}", used.status).into());
        }
        let cpu = (used.rusage.utime + used.rusage.stime).as_secs_f64();
        Ok((Sample { parts: vec![took.as_secs_f64()], cpu, peak: used.rusage.maxrss }, wrote))
    }

    /// The same without the output.
    pub(super) fn run(&self, command: Command) -> Done<Sample> {
        Ok(self.run_with_output(command)?.0)
    }
}

fn lock(running: &Mutex<Option<Running>>) -> MutexGuard<'_, Option<Running>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> (testkit::TempDir, Watch) {
        let dir = testkit::temporary().expect("temporary folder");
        let watch = Watch::new(dir.path().join("output"));
        (dir, watch)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn memory_and_output_are_those_of_the_command() {
        let (_dir, watch) = watch();
        let (small, wrote) = watch.run_with_output(shell("echo out; echo err >&2")).expect("sh runs");
        assert_eq!((wrote.as_str(), small.parts.len()), ("out\nerr\n", 1));
        // `dd` holds one block in memory.
        let large = watch.run(shell("dd if=/dev/zero of=/dev/null bs=64M count=1")).expect("dd runs");
        assert!(large.peak >= 64 << 20, "{large:?}");
        assert!(small.peak > 0 && small.cpu < 10.0, "{small:?}");
        let busy = watch.run(shell("n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done")).expect("sh runs");
        assert!(busy.cpu > small.cpu, "{busy:?}");
    }

    #[test]
    fn another_exit_code_is_an_error_with_what_was_said() {
        let (_dir, watch) = watch();
        let error = watch.run(shell("echo no such model; exit 3")).expect_err("refused");
        assert!(error.to_string().contains("exit status: 3: no such model"), "{error}");
    }

    #[test]
    fn a_stop_ends_the_command_and_all_it_started() {
        let (_dir, watch) = watch();
        let stopped = Arc::clone(&watch.stopped);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            stopped.store(true, Ordering::Relaxed);
        });
        let start = Instant::now();
        let error = watch.run(shell("sleep 60 & wait")).expect_err("interrupted");
        assert_eq!(error.to_string(), "interrupted");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
