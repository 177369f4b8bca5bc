//! A release that stays in memory: an interpreter takes longer to start than most of the checks take.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::peers::{Answer, Peer, peer};
use testkit::{Ended, or_skip, target_dir};

/// Runs pieces of Python that it is sent.
const SESSION: &str = include_str!("session.py");
/// The command line.
const COMMAND_LINE: &str = "from model_signing._cli import main\nmain(args, 'model_signing')";
/// These releases make a Sigstore signer, which wants the network, before they look at which method was asked for.
const OFFLINE: &str = "from model_signing._signing import sign_sigstore\n\
                       sign_sigstore.Signer.__init__ = lambda self, **_: None\n";
/// How long one answer may take; far more than any needs.
const LIMIT: Duration = Duration::from_secs(120);

/// One per release and process. Each ends when this process does, for its input ends then.
static SESSIONS: Mutex<Option<HashMap<String, Arc<Mutex<Session>>>>> = Mutex::new(None);

/// An installed release whose command line and interface can be asked many times.
pub(super) struct Python {
    pub(super) peer: Peer,
    session: Arc<Mutex<Session>>,
}

impl Python {
    /// The release, or nothing where it cannot be had: the test is then skipped.
    pub(super) fn release(version: &str) -> Option<Python> {
        let peer = or_skip(peer(version))?;
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions
            .get_or_insert_default()
            .entry(version.to_owned())
            .or_insert_with(|| Arc::new(Mutex::new(Session::start(&peer))))
            .clone();
        Some(Python { peer, session })
    }

    /// The latest release.
    pub(super) fn latest() -> Option<Python> {
        Python::release("1.1.1")
    }

    /// What its command line answers to these arguments.
    pub(super) fn cli<A: AsRef<str> + Debug>(&self, dir: &Path, args: &[A]) -> Answer {
        self.run(COMMAND_LINE, dir, args)
    }

    /// What comes of a piece of Python, which finds its arguments in `args`.
    pub(super) fn run<A: AsRef<str> + Debug>(&self, code: &str, dir: &Path, args: &[A]) -> Answer {
        let started = Instant::now();
        let offline = if matches!(self.peer.version(), "0.3.1" | "1.0.0" | "1.0.1") { OFFLINE } else { "" };
        let code = format!("{offline}{code}");
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let request = json!({ "code": code, "args": args, "dir": dir });
        let answer =
            self.session.lock().unwrap_or_else(PoisonError::into_inner).ask(&request, self.peer.version());
        let text = |field: &str| answer[field].as_str().expect("text").as_bytes().to_vec();
        let code = i32::try_from(answer["code"].as_i64().expect("a number")).expect("an exit code");
        Answer {
            ended: Ended {
                command: format!("model-signing {}: {args:?}", self.peer.version()),
                status: ExitStatus::from_raw(code << 8),
                stdout: text("out"),
                stderr: text("err"),
                took: started.elapsed(),
            },
        }
    }
}

struct Session {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Session {
    fn start(peer: &Peer) -> Session {
        let mut child = Command::new(peer.python())
            .args(["-c", SESSION])
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONUTF8", "1")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .env_remove("MODEL_SIGNING_LOG_LEVEL")
            .current_dir(target_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let requests = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Session { child, requests, answers }
    }

    fn ask(&mut self, request: &Value, version: &str) -> Value {
        writeln!(self.requests, "{request}").expect("Python still listens");
        match self.answers.recv_timeout(LIMIT) {
            Ok(line) => serde_json::from_str(&line).expect("an answer in JSON"),
            Err(why) => {
                // A late answer must not be taken for the next one's.
                self.child.kill().expect("killed");
                panic!("Python with model-signing {version} does not answer ({why}): {request}");
            }
        }
    }
}
