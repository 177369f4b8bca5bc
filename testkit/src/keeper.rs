//! Servers that never outlive whoever started them.
//!
//! Each has a keeper, a shell that waits for the end of its standard input, a pipe that only the starting process holds.
//! However that process ends, by itself, by a panic or by a signal that cannot be caught, the system closes the pipe,
//! and the keeper ends the server. The system's own way, a signal on the parent's death, would also come when just the
//! thread ends that started the server, which a test's does.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

/// Runs its arguments and ends them with its input; ends with them, and as they did.
const SERVER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ while read -r _; do :; done; kill -KILL "$server"; } <&3 2>/dev/null &
watcher=$!
exec 3<&-
wait "$server"
status=$?
kill -KILL "$watcher" 2>/dev/null
exit "$status"
"#;

/// Removes a folder when its input ends. Who still writes into it is being ended at the same time.
const FOLDER: &str = r#"
while read -r _; do :; done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.2
    rm -rf -- "$1" 2>/dev/null && exit
done
"#;

/// A running server. Dropping it ends the server and waits for that.
#[derive(Debug)]
pub struct Kept {
    name: String,
    log: PathBuf,
    keeper: Child,
    /// Closed to end the server.
    pipe: Option<ChildStdin>,
}

impl Kept {
    /// Starts a program with these arguments and, besides its starter's, these environment variables. It writes into
    /// `NAME.log` in `logs`.
    ///
    /// # Errors
    /// The log cannot be made, or there is no shell.
    pub fn start(
        name: &str,
        program: &Path,
        args: &[OsString],
        environment: &[(&str, OsString)],
        logs: &Path,
    ) -> io::Result<Kept> {
        let log = logs.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut shell = keeper(SERVER);
        shell.arg(program).args(args).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut keeper = shell.stdout(output.try_clone()?).stderr(output).spawn()?;
        let pipe = keeper.stdin.take();
        Ok(Kept { name: name.to_owned(), log, keeper, pipe })
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.keeper.try_wait()
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last lines it wrote.
    pub fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It ends by itself: SIGKILL cannot be refused.
        let _ = self.keeper.wait();
    }
}

/// A folder that goes with the process that made it, also where values are not dropped, as statics are not.
#[derive(Debug)]
pub struct KeptFolder {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
    keeper: Child,
    pipe: Option<ChildStdin>,
}

impl KeptFolder {
    /// A new empty one among the system's temporary folders.
    ///
    /// # Errors
    /// It cannot be made, or there is no shell.
    pub fn new() -> io::Result<KeptFolder> {
        let dir = crate::dirs::temporary()?;
        let path = dir.path().to_path_buf();
        let mut keeper = keeper(FOLDER).arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pipe = keeper.stdin.take();
        Ok(KeptFolder { dir: Some(dir), path, keeper, pipe })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for KeptFolder {
    fn drop(&mut self) {
        drop(self.dir.take());
        // What is gone already needs no keeper.
        let _ = self.keeper.kill();
        drop(self.pipe.take());
        let _ = self.keeper.wait();
    }
}

/// A shell in a process group of its own, so that Ctrl-C reaches only whoever started it, who ends everything in order.
fn keeper(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg("keeper").stdin(Stdio::piped()).process_group(0);
    shell
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    fn kept(script: &str, logs: &Path) -> Kept {
        let args = ["-c", script].map(OsString::from);
        Kept::start("it", Path::new("sh"), &args, &[("GREETING", "hello".into())], logs).expect("started")
    }

    fn within_seconds(what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(10), "{what} took too long");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn runs(pid: &str) -> bool {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -0 \"$1\"", "sh", pid.trim()]).stderr(Stdio::null());
        kill.status().expect("sh runs").success()
    }

    #[test]
    fn a_server_ends_with_its_value() {
        let dir = crate::temporary().expect("temporary folder");
        let server = kept("echo $$; exec sleep 600", dir.path());
        let log = dir.path().join("it.log");
        within_seconds("its start", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')));
        let pid = fs::read_to_string(&log).expect("its log");
        assert!(runs(&pid));
        drop(server);
        assert!(!runs(&pid));
    }

    #[test]
    fn a_server_that_ends_by_itself_is_noticed_with_its_last_words() {
        let dir = crate::temporary().expect("temporary folder");
        let mut server = kept("echo $GREETING; exit 7", dir.path());
        within_seconds("its end", || server.ended().expect("known").is_some());
        assert_eq!(server.ended().expect("known").and_then(|status| status.code()), Some(7));
        assert_eq!((server.name(), server.last_words().as_str()), ("it", "hello"));
    }

    #[test]
    fn a_folder_goes_with_its_keepers_pipe() {
        let mut folder = KeptFolder::new().expect("a folder");
        fs::write(folder.path().join("file"), "x").expect("written");
        drop(folder.pipe.take());
        within_seconds("its removal", || !folder.path().exists());
    }
}
