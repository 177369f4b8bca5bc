//! Stores to read models from: servers on this machine, filled with the bench's own models.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Missing, target_dir, workspace};

use super::models::{BESIDES, Signed, leave_room};
use super::watch::Watch;
use crate::Done;
use crate::test::{announce, cargo};

/// How long the servers may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What else a machine may have that would lead a client elsewhere.
const ELSEWHERE: [&str; 15] = [
    "ALL_PROXY",
    "AWS_DEFAULT_PROFILE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "HUGGING_FACE_HUB_TOKEN",
    "all_proxy",
    "http_proxy",
    "https_proxy",
];

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// MinIO over TLS.
    Tls,
    /// MinIO without, for a proxy in front of it.
    Plain,
}

/// How a client reaches a store, or a proxy in front of it.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// Scheme, host and port.
    url: String,
    /// Variables, credentials among them: they are for commands and for nobody's eyes.
    environment: Vec<(String, String)>,
}

/// A model in a bucket of its own, with its signature at the usual place.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    kind: Kind,
    pub(super) bucket: String,
    /// What the keys begin with, and the slash.
    pub(super) prefix: String,
    pub(super) reach: Reach,
    /// The authority of the server's certificate, a file.
    ca: PathBuf,
}

/// The servers, which end with this value.
pub(super) struct Stores {
    process: Child,
    pipes: RefCell<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    dir: PathBuf,
    stored: RefCell<Vec<Stored>>,
}

impl Stores {
    /// Builds and starts the program with the servers, which are started when they are first needed and keep what they
    /// have in a folder of their own in `dir`.
    pub(super) fn start(dir: &Path) -> Done<Stores> {
        let mut build = cargo();
        build.args(["build", "--quiet", "--profile", "xtask", "-p", "xtask", "--features", "stores"]);
        build.args(["--bin", "bench-stores"]);
        announce(&build);
        let status = build.arg("--target-dir").arg(target_dir()).current_dir(workspace()).status()?;
        if !status.success() {
            return Err(format!("building the servers' program ended with {status}").into());
        }
        let [own, _] = BESIDES;
        let place = dir.join(own);
        fs::create_dir_all(&place)?;
        // Not in the group of the terminal, whose Ctrl-C would end it under the command that reads from it.
        let mut process = Command::new(target_dir().join("xtask/bench-stores"))
            .env("TMPDIR", &place)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let pipes = pipes.map(|(input, output)| (input, BufReader::new(output)));
        Ok(Stores { process, pipes: RefCell::new(pipes), dir: dir.to_path_buf(), stored: RefCell::default() })
    }

    fn ask(&self, question: &Value) -> Done<Value> {
        let mut pipes = self.pipes.borrow_mut();
        let (input, output) = pipes.as_mut().ok_or("the servers have no pipes")?;
        let mut line = String::new();
        writeln!(input, "{question}")?;
        output.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|_| "the program with the servers has ended")?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        match (text("missing"), text("error")) {
            (Some(missing), _) => Err(Missing::new("a store", missing).into()),
            (_, Some(error)) => Err(format!("the servers: {error}").into()),
            _ => Ok(answer),
        }
    }

    /// Puts a model into a bucket, unless it is in one already.
    pub(super) fn stored(&self, watch: &Watch, kind: Kind, signed: &Signed) -> Done<Stored> {
        let prefix = prefix(signed)?;
        let known = |stored: &&Stored| stored.kind == kind && stored.prefix == prefix;
        if let Some(stored) = self.stored.borrow().iter().find(known) {
            return Ok(stored.clone());
        }
        let stored = self.bucket(kind, signed)?;
        watch.go_on()?;
        println!("putting the model {} into a bucket", prefix.trim_end_matches('/'));
        let folder = &signed.model;
        self.ask(&json!({
            "ask": "folder", "store": kind.name(), "bucket": stored.bucket, "prefix": prefix, "folder": folder,
        }))?;
        self.sign(&stored, signed)?;
        self.stored.borrow_mut().push(stored.clone());
        Ok(stored)
    }

    /// Makes another model of copies of this one's objects, within the store: `N-NAME` of each `NAME`.
    pub(super) fn copied(&self, watch: &Watch, of: &Stored, signed: &Signed) -> Done<Stored> {
        let prefix = prefix(signed)?;
        leave_room(&self.dir, signed.bytes, "the model of copies in the store")?;
        let copies = Stored { prefix: prefix.clone(), ..of.clone() };
        println!("copying the model {} in its bucket", prefix.trim_end_matches('/'));
        for file in fs::read_dir(&signed.model)? {
            watch.go_on()?;
            let name = file?.file_name().to_string_lossy().into_owned();
            let (_, original) = name.split_once('-').ok_or("a file that is no copy")?;
            self.ask(&json!({
                "ask": "copy", "store": of.kind.name(), "bucket": of.bucket,
                "from": format!("{}{original}", of.prefix), "to": format!("{prefix}{name}"),
            }))?;
        }
        self.sign(&copies, signed)?;
        Ok(copies)
    }

    /// Deletes a model from its bucket.
    pub(super) fn forget(&self, stored: &Stored) -> Done {
        self.ask(&json!({
            "ask": "forget", "store": stored.kind.name(), "bucket": stored.bucket, "prefix": stored.prefix,
        }))?;
        self.stored.borrow_mut().retain(|known| known.prefix != stored.prefix || known.kind != stored.kind);
        Ok(())
    }

    /// The same model behind a proxy through which all bodies together come no faster than this.
    pub(super) fn throttled(&self, stored: &Stored, bytes_per_second: u64) -> Done<Stored> {
        let kind = stored.kind.name();
        let answer =
            self.ask(&json!({ "ask": "throttle", "store": kind, "bytes_per_second": bytes_per_second }))?;
        Ok(Stored { reach: Reach::of(&answer)?, ..stored.clone() })
    }

    /// A Hub with the model in a repository of this name: its address.
    pub(super) fn hub(&self, id: &str, signed: &Signed) -> Done<String> {
        let answer = self.ask(&json!({ "ask": "hub", "id": id, "folder": signed.model }))?;
        Ok(said(&answer, "url")?.to_owned())
    }

    /// How many requests the Hub was asked since the last time.
    pub(super) fn requests(&self) -> Done<u64> {
        let answer = self.ask(&json!({ "ask": "requests" }))?;
        answer.get("count").and_then(Value::as_u64).ok_or_else(|| "the Hub does not count".into())
    }

    fn bucket(&self, kind: Kind, signed: &Signed) -> Done<Stored> {
        leave_room(&self.dir, signed.bytes, "the model in a store")?;
        let answer = self.ask(&json!({ "ask": "bucket", "store": kind.name() }))?;
        let text = |name| said(&answer, name);
        Ok(Stored {
            kind,
            bucket: text("bucket")?.to_owned(),
            prefix: prefix(signed)?,
            reach: Reach::of(&answer)?,
            ca: text("ca")?.into(),
        })
    }

    fn sign(&self, stored: &Stored, signed: &Signed) -> Done {
        let key = format!("{}model.sig", stored.prefix);
        self.ask(&json!({
            "ask": "file", "store": stored.kind.name(), "bucket": stored.bucket, "key": key,
            "file": signed.signature,
        }))?;
        Ok(())
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        // The end of its input ends it, and with it every server, whose folders go then.
        self.pipes.get_mut().take();
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if start.elapsed() >= PATIENCE {
                // Its own number, and not yet waited for.
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
            thread::sleep(Duration::from_millis(10));
        }
        let [own, _] = BESIDES;
        let place = self.dir.join(own);
        while fs::read_dir(&place).is_ok_and(|mut left| left.next().is_some()) && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Tls => "tls",
            Kind::Plain => "plain",
        }
    }
}

impl Reach {
    fn of(answer: &Value) -> Done<Reach> {
        let pairs = answer.get("environment").cloned().ok_or("the servers gave no environment")?;
        Ok(Reach { url: said(answer, "url")?.to_owned(), environment: serde_json::from_value(pairs)? })
    }

    /// Sends a command there and nowhere else.
    fn lead(&self, mut command: Command) -> Command {
        apart(&mut command).envs(self.environment.iter().map(|(name, value)| (name, value)));
        for (name, value) in &self.environment {
            match name.as_str() {
                // As Python's clients call it.
                "AWS_REGION" => command.env("AWS_DEFAULT_REGION", value),
                "NO_PROXY" => command.env("no_proxy", value),
                _ => &mut command,
            };
        }
        command
    }
}

impl Stored {
    /// Like `s3://models-0123/eight`.
    pub(super) fn uri(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix.trim_end_matches('/'))
    }

    /// Whether it is reached without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.kind == Kind::Plain
    }

    /// A command with this model's server for its only one.
    pub(super) fn lead(&self, command: Command) -> Command {
        self.reach.lead(command)
    }

    /// A file of options with which `curl` gets all files of the model in ranges of so many bytes, so many at once, and
    /// prints how many bytes each had.
    pub(super) fn curl_config(&self, signed: &Signed, part: u64, at_once: usize) -> Done<String> {
        let mut files = Vec::new();
        for file in fs::read_dir(&signed.model)? {
            let file = file?;
            files.push((file.file_name().to_string_lossy().into_owned(), file.metadata()?.len()));
        }
        files.sort();
        let place = format!("{}/{}/{}", self.reach.url, self.bucket, self.prefix);
        Ok(curl_config(&place, &self.ca, &files, part, at_once))
    }
}

/// Takes away what would lead a command elsewhere.
pub(super) fn apart(command: &mut Command) -> &mut Command {
    ELSEWHERE.iter().fold(command, |command, name| command.env_remove(name))
}

/// The options of [`Stored::curl_config`] for files of these names and sizes below a URL.
fn curl_config(place: &str, ca: &Path, files: &[(String, u64)], part: u64, at_once: usize) -> String {
    let mut config = format!("parallel\nparallel-max = {at_once}\nfail-early\nno-progress-meter\n");
    // Where the first of each file's parts were asked for, the second follow, as we ask for them.
    let longest = files.iter().map(|(_, size)| *size).max().unwrap_or(0);
    let starts = (0..longest).step_by(usize::try_from(part).unwrap_or(usize::MAX).max(1));
    let wanted = starts.flat_map(|start| {
        let longer = files.iter().filter(move |(_, size)| start < *size);
        longer.map(move |(name, size)| (name, start, (start + part).min(*size) - 1))
    });
    for (number, (name, first, last)) in wanted.enumerate() {
        // All but the first lines of the file are for one transfer and have to be said again.
        if number > 0 {
            config.push_str("next\n");
        }
        let _ = write!(
            config,
            "url = \"{place}{name}\"\nrange = \"{first}-{last}\"\noutput = \"/dev/null\"\ncacert = \"{}\"\n\
             noproxy = \"*\"\nfail\nwrite-out = \"%{{size_download}}\\n\"\n",
            ca.display()
        );
    }
    config
}

/// The folder of a model in a bucket.
fn prefix(signed: &Signed) -> Done<String> {
    let name = signed.model.file_name().ok_or("a model without a name")?;
    Ok(format!("{}/", name.to_string_lossy()))
}

fn said<'a>(answer: &'a Value, name: &str) -> Done<&'a str> {
    let said = answer.get(name).and_then(Value::as_str);
    Ok(said.ok_or_else(|| format!("the servers said nothing of {name}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_asks_for_every_byte_once_and_no_more() {
        let files = [("a".to_owned(), 10), ("b".to_owned(), 4), ("c".to_owned(), 0)];
        let config = curl_config("https://127.0.0.1:1/b/m/", Path::new("/ca.pem"), &files, 4, 24);
        let of = |name: &str| -> Vec<&str> {
            config.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).collect()
        };
        assert_eq!(of("range"), ["\"0-3\"", "\"0-3\"", "\"4-7\"", "\"8-9\""]);
        let url = |name| format!("\"https://127.0.0.1:1/b/m/{name}\"");
        assert_eq!(of("url"), ["a", "b", "a", "a"].map(url));
        assert_eq!((of("parallel-max"), of("cacert").len()), (vec!["24"], 4));
        assert_eq!(config.lines().filter(|line| *line == "next").count(), 3);
    }

    #[test]
    fn a_client_is_led_to_the_store_alone() {
        let environment = [("AWS_REGION", "here"), ("NO_PROXY", "127.0.0.1"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let reach = Reach { url: "https://127.0.0.1:1".to_owned(), environment };
        let command = reach.lead(Command::new("client"));
        let value = |name: &str| {
            let of = command.get_envs().find(|(key, _)| *key == name);
            of.map(|(_, value)| value.and_then(|value| value.to_str()))
        };
        assert_eq!(
            (value("AWS_DEFAULT_REGION"), value("no_proxy")),
            (Some(Some("here")), Some(Some("127.0.0.1")))
        );
        assert_eq!((value("AWS_SECRET_ACCESS_KEY"), value("AWS_PROFILE")), (Some(Some("s")), Some(None)));
    }

    #[test]
    fn what_the_servers_lack_is_missing_and_not_a_failure() {
        let process = Command::new("sh")
            .args([
                "-c",
                r#"read -r _; echo '{"missing":"no Go"}'; read -r _; echo '{"error":"full"}'; read -r _"#,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = process.expect("sh runs");
        let pipes = process.stdin.take().zip(process.stdout.take());
        let pipes = RefCell::new(pipes.map(|(input, output)| (input, BufReader::new(output))));
        let stores = Stores { process, pipes, dir: PathBuf::new(), stored: RefCell::default() };
        let missing = stores.requests().expect_err("no Go");
        assert!(missing.is::<Missing>() && missing.to_string().contains("no Go"), "{missing}");
        let error = stores.requests().expect_err("full");
        assert!(!error.is::<Missing>() && error.to_string().contains("full"), "{error}");
        let ended = stores.requests().expect_err("it ends without an answer");
        assert!(ended.to_string().contains("has ended"), "{ended}");
    }
}
