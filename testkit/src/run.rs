//! Running a program to its end with all it writes.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a program may take unless told: long enough for a slow machine, short enough for CI to say who hangs.
pub const LIMIT: Duration = Duration::from_secs(600);

/// How often an unfinished program is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A program that has ended, and everything it wrote.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The program and its arguments, as they could be typed.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// From start to end.
    pub took: Duration,
}

impl Ended {
    /// The exit code; nothing when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard output as text, with U+FFFD for what is not UTF-8.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, with U+FFFD for what is not UTF-8.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Demands this exit code, and gives the value back.
    ///
    /// # Panics
    /// The code is another one; the message holds the command and all of its output.
    #[track_caller]
    #[expect(clippy::panic, reason = "a panic is how a test fails")]
    pub fn expect_code(self, code: i32) -> Ended {
        if self.code() != Some(code) {
            panic!("expected exit code {code}\n{self}");
        }
        self
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        writeln!(f, "{} after {:.2} s", self.status, self.took.as_secs_f64())?;
        for (name, text) in [("stdout", self.out()), ("stderr", self.err())] {
            if !text.is_empty() {
                writeln!(f, "--- {name}\n{}", text.trim_end_matches('\n'))?;
            }
        }
        Ok(())
    }
}

/// Runs a command to its end without standard input, within [`LIMIT`].
///
/// # Errors
/// As [`capture_within`].
pub fn capture(command: &mut Command) -> io::Result<Ended> {
    capture_within(command, &[], LIMIT)
}

/// Runs a command to its end with `stdin` as its standard input, within `limit`.
///
/// # Errors
/// It cannot be started, or it did not end in time (`TimedOut`): then it is killed, and the error holds what it
/// had written.
pub fn capture_within(command: &mut Command, stdin: &[u8], limit: Duration) -> io::Result<Ended> {
    let shown = command_line(command);
    let start = Instant::now();
    let mut child = command
        .stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{shown} cannot be started: {error}")))?;
    let writer = child.stdin.take().map(|mut pipe| {
        let bytes = stdin.to_vec();
        // A program may end without reading its input, which is not for us to judge.
        thread::spawn(move || drop(pipe.write_all(&bytes)))
    });
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait(&mut child, start, limit)?;
    let status = match status {
        Some(status) => status,
        None => {
            child.kill()?;
            child.wait()?;
            let wrote = String::from_utf8_lossy(&stderr.so_far()).into_owned();
            let late = format!("{shown} did not end within {} s: {wrote}", limit.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, late));
        }
    };
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    Ok(Ended {
        command: shown,
        status,
        stdout: stdout.whole(),
        stderr: stderr.whole(),
        took: start.elapsed(),
    })
}

/// The longest word of a command that is shown whole: a script that is passed as an argument is not.
const SHOWN: usize = 400;

/// A command as it could be typed in a shell, save that very long words are cut.
pub fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if let Some((cut, _)) = word.char_indices().nth(SHOWN) {
        let start = word.get(..cut).unwrap_or_default();
        return format!("{}…", quoted(start));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn wait(child: &mut Child, start: Instant, limit: Duration) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// What a pipe has given so far, read on a thread of its own.
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Drain {
    /// A killed program's children may hold the pipe open, so this does not wait for its end.
    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn whole(self) -> Vec<u8> {
        // A reader that panicked leaves what it had read.
        let _ = self.reader.join();
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn drain<R: Read + Send + 'static>(pipe: Option<R>) -> Drain {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&bytes);
    let reader = thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut part = [0; 8192];
        loop {
            match pipe.read(&mut part) {
                Ok(0) => return,
                Ok(n) => {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).extend(part.iter().take(n));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was read before an error is still worth showing.
                Err(_) => return,
            }
        }
    });
    Drain { bytes, reader }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn both_streams_and_the_code_are_kept() {
        let ended = capture(&mut shell("echo out; echo err >&2; exit 3")).expect("sh runs").expect_code(3);
        assert_eq!((ended.out().as_str(), ended.err().as_str()), ("out\n", "err\n"));
        assert_eq!(ended.command, "sh -c 'echo out; echo err >&2; exit 3'");
    }

    #[test]
    fn a_script_does_not_drown_the_command() {
        let mut command = Command::new("python3");
        command.arg("-c").arg("é".repeat(SHOWN + 1)).arg("it's");
        let shown = command_line(&command);
        assert!(shown.starts_with("python3 -c 'é") && shown.ends_with(r"é'… 'it'\''s'"), "{shown}");
    }

    #[test]
    fn more_output_than_a_pipe_holds_does_not_stall() {
        let script = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2";
        let ended = capture(&mut shell(script)).expect("sh runs").expect_code(0);
        assert_eq!((ended.stdout.len(), ended.stderr.len()), (1_000_000, 1_000_000));
    }

    #[test]
    fn input_reaches_the_program_and_may_be_left_unread() {
        let input = vec![b'x'; 300_000];
        let ended = capture_within(&mut shell("wc -c"), &input, LIMIT).expect("sh runs").expect_code(0);
        assert_eq!(ended.out().trim(), "300000");
        capture_within(&mut shell("exit 0"), &input, LIMIT).expect("sh runs").expect_code(0);
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let late = capture_within(Command::new("sleep").arg("60"), &[], Duration::from_millis(50));
        assert_eq!(late.expect_err("sleep is late").kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_signal_is_not_an_exit_code() {
        let ended = capture(&mut shell("kill -9 $$")).expect("sh runs");
        assert_eq!((ended.code(), ended.signal()), (None, Some(9)));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = capture(&mut Command::new("no-such-program")).expect_err("it is not there");
        assert!(error.to_string().starts_with("no-such-program cannot be started"), "{error}");
    }

    #[test]
    #[should_panic(expected = "expected exit code 0")]
    fn another_code_fails_the_test() {
        capture(&mut shell("exit 1")).expect("sh runs").expect_code(0);
    }
}
