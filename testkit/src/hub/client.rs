//! The real clients: the Python library `huggingface_hub`, and the mirror `olah` in front of a Hub.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Hub, Kind, TOKEN};
use crate::http;
use crate::keeper::{Kept, KeptFolder};
use crate::peers::environment;
use crate::run::{Ended, capture};
use crate::skip::Missing;

/// Uploads, downloads and lists; its own words say how.
const SCRIPT: &str = include_str!("client.py");

/// How long the mirror may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Python client, with what it is to say and to whom.
#[derive(Clone, Debug)]
pub struct Client {
    python: PathBuf,
    kind: Kind,
    token: Option<String>,
}

/// `huggingface_hub` 2.4.0, installed from the package index unless it is there already.
///
/// # Errors
/// There is no Python that can make virtual environments, or the packages cannot be had.
pub fn client() -> Result<Client, Missing> {
    let python = environment("huggingface_hub-2.4.0", &["huggingface_hub==2.4.0"], "huggingface_hub")?;
    Ok(Client { python, kind: Kind::Model, token: Some(TOKEN.to_owned()) })
}

impl Client {
    /// The interpreter of its virtual environment.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// The same for this kind of repository; at first it is for models.
    #[must_use]
    pub fn of(self, kind: Kind) -> Client {
        Client { kind, ..self }
    }

    /// The same with this token or none; at first it has the one that may do everything.
    #[must_use]
    pub fn token(self, token: Option<&str>) -> Client {
        Client { token: token.map(str::to_owned), ..self }
    }

    /// Makes the repository if it is not there, and puts the folder's files into its branch `main`. Prints the commit.
    ///
    /// # Errors
    /// It cannot be run, or does not end in time.
    pub fn upload_folder(&self, endpoint: &str, folder: &Path, id: &str) -> io::Result<Ended> {
        self.run(endpoint, "upload", id, "main", folder)
    }

    /// Puts the files of a revision into a folder, where they are files. Prints the folder.
    ///
    /// # Errors
    /// As [`Client::upload_folder`].
    pub fn snapshot_download(
        &self,
        endpoint: &str,
        id: &str,
        revision: &str,
        folder: &Path,
    ) -> io::Result<Ended> {
        self.run(endpoint, "download", id, revision, folder)
    }

    /// Puts the files of a revision into a cache, where they are links. Prints the snapshot's folder.
    ///
    /// # Errors
    /// As [`Client::upload_folder`].
    pub fn snapshot_cache(
        &self,
        endpoint: &str,
        id: &str,
        revision: &str,
        cache: &Path,
    ) -> io::Result<Ended> {
        self.run(endpoint, "cache", id, revision, cache)
    }

    /// Prints a line of JSON for each file of a revision: `path`, `size`, `oid`, and `sha256` for one of LFS.
    ///
    /// # Errors
    /// As [`Client::upload_folder`].
    pub fn list(&self, endpoint: &str, id: &str, revision: &str) -> io::Result<Ended> {
        self.run(endpoint, "list", id, revision, Path::new(""))
    }

    fn run(&self, endpoint: &str, verb: &str, id: &str, revision: &str, path: &Path) -> io::Result<Ended> {
        let job = json!({
            "endpoint": endpoint, "token": self.token, "verb": verb, "id": id, "kind": self.kind.singular(),
            "revision": revision, "path": path,
        });
        let home = crate::temporary()?;
        let mut command = Command::new(&self.python);
        command.arg("-c").arg(SCRIPT).arg(job.to_string());
        command
            .env("HF_ENDPOINT", endpoint)
            .env("HF_HOME", home.path())
            .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            .env("HF_HUB_DISABLE_UPDATE_CHECK", "1");
        capture(apart(&mut command))
    }
}

/// Apart from the user's own settings of Python and of the Hub.
fn apart(command: &mut Command) -> &mut Command {
    for name in ["PYTHONPATH", "PYTHONHOME", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.envs(SETTINGS)
}

/// What both programs are told.
const SETTINGS: [(&str, &str); 6] = [
    ("HF_HUB_DISABLE_XET", "1"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("NO_PROXY", "127.0.0.1,localhost"),
    ("no_proxy", "127.0.0.1,localhost"),
    ("PYTHONNOUSERSITE", "1"),
    ("PYTHONUTF8", "1"),
];

/// A mirror in front of a Hub, with a cache of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Olah {
    url: String,
    /// Before its folder, which it writes into.
    _server: Kept,
    _folder: KeptFolder,
}

/// `olah` 0.5.4 in front of this Hub, installed from the package index unless it is there already.
///
/// # Errors
/// There is no Python that can make virtual environments, the packages cannot be had, or it does not start.
pub fn olah(hub: &Hub) -> Result<Olah, Missing> {
    let python = environment("olah-0.5.4", &["olah==0.5.4"], "olah.server")?;
    let failed = |why: String| Missing::new("olah 0.5.4", why);
    started(hub, &python.with_file_name("olah-cli")).map_err(|error| failed(error.to_string()))
}

impl Olah {
    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn started(hub: &Hub, program: &Path) -> io::Result<Olah> {
    let folder = KeptFolder::new()?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let here = format!("127.0.0.1:{port}");
    let bare = |url: &str| url.trim_start_matches("http://").to_owned();
    let mut args: Vec<OsString> = Vec::new();
    for (flag, value) in [
        ("--host", "127.0.0.1".to_owned()),
        ("--port", port.to_string()),
        ("--hf-scheme", "http".to_owned()),
        ("--hf-netloc", bare(hub.url())),
        ("--hf-lfs-netloc", bare(hub.cdn_url())),
        ("--mirror-netloc", here.clone()),
        ("--mirror-lfs-netloc", here.clone()),
        // Otherwise what a branch names would be remembered for ten minutes.
        ("--metadata-cache-ttl", "0".to_owned()),
    ] {
        args.extend([flag.into(), value.into()]);
    }
    for (flag, name) in [("--repos-path", "repos"), ("--log-path", "logs")] {
        args.extend([flag.into(), folder.path().join(name).into()]);
    }
    let settings: Vec<(&str, OsString)> =
        SETTINGS.iter().map(|(name, value)| (*name, OsString::from(*value))).collect();
    let mut server = Kept::start("olah", program, &args, &settings, folder.path())?;
    let (url, start) = (format!("http://{here}"), Instant::now());
    while http::get(&url).is_err() {
        if server.ended()?.is_some() || start.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("it does not start: {}", server.last_words())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(Olah { url, _server: server, _folder: folder })
}
