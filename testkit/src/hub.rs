//! A double of the Hugging Face Hub, in this process: an API and, on another host, the place that large files come from.
//!
//! ```no_run
//! # use testkit::hub::{Hub, HubFault, Kind, Visibility};
//! let hub = Hub::start();
//! hub.create(Kind::Model, "acme/llama", Visibility::Public);
//! let commit = hub.commit(Kind::Model, "acme/llama", "main", &[("config.json", &b"{}"[..])]);
//! hub.misbehave(HubFault::ListingCut);
//! // … a client is sent to hub.url() with hub.token() …
//! assert!(!hub.cdn_received(hub.token()));
//! ```
//!
//! It speaks as much as the Python client `huggingface_hub` 2.4.0 wants for uploads and snapshots; [`client`] is that
//! client, and [`olah`] a mirror that stands in front of a Hub.

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

mod answer;
mod api;
mod client;
mod example;
mod fault;
mod files;
mod listing;
mod repository;
mod state;
mod upload;

use std::collections::{BTreeMap, HashMap};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::http::{Request, Server};
use repository::{Content, Files, Repository, Stored};
use state::{Place, Shared, State};

pub use client::{Client, Olah, client, olah};
pub use example::{Example, serve_example};
pub use fault::{HubFault, Told};
pub use repository::{Kind, Visibility};

/// The token that may do everything.
const TOKEN: &str = "hf_good";

/// A token of somebody who has no access to what is private or gated.
const OTHER_TOKEN: &str = "hf_other";

/// Files of a commit that stay where they are.
type Named<'a> = (&'a str, Content);

/// A Hub on 127.0.0.1. It ends when it is dropped.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    /// Last, so that nobody is answered any more while the rest is dropped.
    _servers: [Server; 2],
}

impl Hub {
    /// Starts an empty one.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start() -> Hub {
        let shared = Arc::new(Shared::default());
        let server = |place: Place| {
            let shared = Arc::clone(&shared);
            Server::start(move |stream| serve(&shared, place, stream)).expect("a free port")
        };
        let servers = [server(Place::Api), server(Place::Cdn)];
        shared.is_at(servers[0].port(), servers[1].port());
        Hub { shared, _servers: servers }
    }

    /// Where the API is, like `http://127.0.0.1:5555`.
    pub fn url(&self) -> &str {
        self.shared.url(Place::Api)
    }

    /// Where large files come from: another port and another host, like `http://localhost:5556`.
    pub fn cdn_url(&self) -> &str {
        self.shared.url(Place::Cdn)
    }

    /// The token that may do everything: `hf_good`.
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// A token without access to what is private or gated, as any other that begins with `hf_`. What does not begin so
    /// is no token to the Hub at all.
    pub fn other_token(&self) -> &'static str {
        OTHER_TOKEN
    }

    /// What sends a client here with the right token, and keeps it from the user's own settings.
    pub fn env(&self) -> Vec<(String, String)> {
        let nowhere = "/nonexistent/huggingface";
        let pairs = [
            ("HF_ENDPOINT", self.url()),
            ("HF_TOKEN", self.token()),
            ("HF_HOME", nowhere),
            ("HF_TOKEN_PATH", "/nonexistent/huggingface/token"),
            ("HF_HUB_DISABLE_XET", "1"),
            ("NO_PROXY", "127.0.0.1,localhost"),
            ("no_proxy", "127.0.0.1,localhost"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// A new empty repository, with the branch `main`. The id is `org/name`, or `name` alone.
    ///
    /// # Panics
    /// It is there already.
    pub fn create(&self, kind: Kind, id: &str, visibility: Visibility) {
        let before = self.shared.state().create(kind, id, visibility);
        assert!(before, "{id} is there already");
    }

    /// Gives a repository another name; the old one leads to it from then on.
    ///
    /// # Panics
    /// There is no such repository.
    pub fn rename(&self, kind: Kind, id: &str, to: &str) {
        let mut state = self.shared.state();
        let repository = state.repositories.remove(&(kind, id.to_owned())).expect("a repository");
        state.repositories.insert((kind, to.to_owned()), repository);
        state.moved.insert((kind, id.to_owned()), to.to_owned());
    }

    /// Puts these files into a branch, besides those that are there, and gives the new commit's id.
    ///
    /// # Panics
    /// There is no such repository or branch.
    pub fn commit<B: AsRef<[u8]>>(&self, kind: Kind, id: &str, branch: &str, files: &[(&str, B)]) -> String {
        let bytes = |bytes: &B| Content::Bytes(Arc::from(bytes.as_ref()));
        let named: Vec<Named<'_>> = files.iter().map(|(path, content)| (*path, bytes(content))).collect();
        self.add(kind, id, branch, &named)
    }

    /// The same with files on disk, which are served from there and must stay as they are.
    ///
    /// # Panics
    /// There is no such repository or branch, or a file cannot be read.
    pub fn commit_files(&self, kind: Kind, id: &str, branch: &str, files: &[(&str, PathBuf)]) -> String {
        let file = |path: &PathBuf| Content::File(Arc::from(path.as_path()));
        let named: Vec<Named<'_>> = files.iter().map(|(path, content)| (*path, file(content))).collect();
        self.add(kind, id, branch, &named)
    }

    /// The same with all files below a folder, under their paths from there.
    ///
    /// # Panics
    /// As [`Hub::commit_files`].
    pub fn commit_folder(&self, kind: Kind, id: &str, branch: &str, folder: &Path) -> String {
        let mut found = Vec::new();
        below(folder, "", &mut found);
        let files: Vec<(&str, PathBuf)> =
            found.iter().map(|(name, path)| (name.as_str(), path.clone())).collect();
        self.commit_files(kind, id, branch, &files)
    }

    fn add(&self, kind: Kind, id: &str, branch: &str, named: &[Named<'_>]) -> String {
        // What is large is read before the lock is taken, so that others are still answered.
        let lfs_from = self.shared.state().lfs_from;
        let stored = stored(named, lfs_from);
        self.on(kind, id, |repository, pool| {
            let head = repository.head(branch).expect("a branch");
            let mut files = head.files.clone();
            for (path, file) in stored {
                if let Some(sha256) = &file.sha256 {
                    pool.insert(sha256.clone(), file.content.clone());
                }
                files.insert(path, file);
            }
            let commit = repository.add(&head.id, files, "more files");
            repository.advance(branch, &commit);
            commit
        })
    }

    /// Takes files out of a branch, and gives the new commit's id.
    ///
    /// # Panics
    /// There is no such repository or branch.
    pub fn remove(&self, kind: Kind, id: &str, branch: &str, paths: &[&str]) -> String {
        self.on(kind, id, |repository, _| {
            let head = repository.head(branch).expect("a branch");
            let mut files = head.files.clone();
            files.retain(|path, _| !paths.contains(&path.as_str()));
            let commit = repository.add(&head.id, files, "fewer files");
            repository.advance(branch, &commit);
            commit
        })
    }

    /// A new branch at a revision.
    ///
    /// # Panics
    /// There is no such repository or revision.
    pub fn branch(&self, kind: Kind, id: &str, name: &str, revision: &str) {
        self.on(kind, id, |repository, _| {
            let commit = repository.resolve(revision).expect("a revision");
            repository.branches.insert(name.to_owned(), commit.id.clone());
        });
    }

    /// A tag at a revision, or a moved one.
    ///
    /// # Panics
    /// There is no such repository or revision.
    pub fn tag(&self, kind: Kind, id: &str, name: &str, revision: &str) {
        self.on(kind, id, |repository, _| {
            let commit = repository.resolve(revision).expect("a revision");
            repository.tags.insert(name.to_owned(), commit.id.clone());
        });
    }

    /// A pull request upon `main`, with what `main` has: its reference, like `refs/pr/1`, which further commits may go to.
    ///
    /// # Panics
    /// There is no such repository.
    pub fn pull_request(&self, kind: Kind, id: &str) -> String {
        self.on(kind, id, |repository, _| {
            let head = repository.head("main").expect("a branch");
            repository.open_pull(&head.id, head.files.clone(), "a pull request").0
        })
    }

    /// The commit that a revision names.
    pub fn revision(&self, kind: Kind, id: &str, revision: &str) -> Option<String> {
        let state = self.shared.state();
        let repository = state.repositories.get(&(kind, id.to_owned()))?;
        repository.resolve(revision).map(|commit| commit.id.clone())
    }

    /// The paths of a revision, in order; none where there is none.
    pub fn paths(&self, kind: Kind, id: &str, revision: &str) -> Vec<String> {
        let state = self.shared.state();
        let repository = state.repositories.get(&(kind, id.to_owned()));
        let commit = repository.and_then(|repository| repository.resolve(revision));
        commit.map(|commit| commit.files.keys().cloned().collect()).unwrap_or_default()
    }

    /// The content of a file at a revision, if it is there.
    ///
    /// # Panics
    /// It lies on disk and cannot be read.
    pub fn get(&self, kind: Kind, id: &str, revision: &str, path: &str) -> Option<Arc<[u8]>> {
        let content = {
            let state = self.shared.state();
            let commit = state.repositories.get(&(kind, id.to_owned()))?.resolve(revision)?;
            commit.files.get(path)?.content.clone()
        };
        Some(content.read().expect("readable"))
    }

    /// How many rows a page of a listing has at most; 1000 at first.
    pub fn page_size(&self, rows: usize) {
        self.shared.state().page = rows.max(1);
    }

    /// From how many bytes on a new file is one of LFS; 1025 at first. Files `*.safetensors` always are.
    pub fn lfs_from(&self, bytes: u64) {
        self.shared.state().lfs_from = bytes;
    }

    /// How long a link to a large file is good for; an hour at first.
    pub fn link_life(&self, life: Duration) {
        self.shared.state().link_life = life;
    }

    /// Sends clients here for large files, like to a server of faults in front of [`Hub::cdn_url`].
    pub fn cdn_through(&self, url: &str) {
        self.shared.state().cdn_through = Some(url.trim_end_matches('/').to_owned());
    }

    /// Whether answers also have what clients of Xet look for; at first they have not.
    pub fn with_xet(&self, xet: bool) {
        self.shared.state().xet = xet;
    }

    /// Whether small files are behind a relative redirect on the same host; at first they are not.
    pub fn redirects_small_files(&self, redirects: bool) {
        self.shared.state().resolve_cache = redirects;
    }

    /// Goes wrong in this way from now on, and no longer in another.
    pub fn misbehave(&self, fault: HubFault) {
        let mut state = self.shared.state();
        (state.fault, state.failed) = (Some(fault), 0);
        state.uses.clear();
    }

    /// The file that a fault of one file is about; the first of LFS where none is named, and the first of all without one.
    pub fn victim(&self, path: &str) {
        self.shared.state().victim = Some(path.to_owned());
    }

    /// Behaves again.
    pub fn behave(&self) {
        self.shared.state().fault = None;
    }

    /// How often each was asked for, like `GET /api/models/acme/llama/tree/main`: method and path as they came,
    /// without the query. What came in at the CDN begins with `GET /cdn/` or `PUT /upload/`, and the SHA-256 follows.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.seen().into_iter().chain(self.cdn_seen()) {
            let path = request.path.split('?').next().unwrap_or_default();
            *counts.entry(format!("{} {path}", request.method)).or_default() += 1;
        }
        counts
    }

    /// How many requests there were whose method and path, as [`Hub::requests`] has them, contain this.
    pub fn asked(&self, part: &str) -> usize {
        self.requests().iter().filter(|(request, _)| request.contains(part)).map(|(_, count)| count).sum()
    }

    /// The requests at the API, in their order. Of a body only the first 64 KiB are kept.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen(Place::Api).clone()
    }

    /// The requests at the CDN, in their order.
    pub fn cdn_seen(&self) -> Vec<Request> {
        self.shared.seen(Place::Cdn).clone()
    }

    /// Whether this text came in at the API as it is, in a path, a header or a body.
    pub fn received(&self, secret: &str) -> bool {
        self.seen().iter().any(|request| holds(request, secret))
    }

    /// Whether this text came in at the CDN as it is, in a path, a header or a body.
    pub fn cdn_received(&self, secret: &str) -> bool {
        self.cdn_seen().iter().any(|request| holds(request, secret))
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.seen(Place::Api).clear();
        self.shared.seen(Place::Cdn).clear();
    }

    fn on<T>(
        &self,
        kind: Kind,
        id: &str,
        change: impl FnOnce(&mut Repository, &mut HashMap<String, Content>) -> T,
    ) -> T {
        let mut state = self.shared.state();
        let State { repositories, pool, .. } = &mut *state;
        change(repositories.get_mut(&(kind, id.to_owned())).expect("a repository"), pool)
    }
}

fn holds(request: &Request, secret: &str) -> bool {
    let headers = request.headers.iter().any(|(_, value)| value.contains(secret));
    headers || request.path.contains(secret) || String::from_utf8_lossy(&request.body).contains(secret)
}

fn below(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            below(&path, &format!("{name}/"), found);
        } else {
            found.push((name, path));
        }
    }
}

fn stored(named: &[Named<'_>], lfs_from: u64) -> Files {
    let stored = |path: &str, content: &Content| {
        let size = match content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(path) => path.metadata().expect("a file").len(),
        };
        if !state::is_lfs(path, size, lfs_from) {
            return Stored::regular(content.read().expect("readable"));
        }
        let (size, sha256) = content.measured().expect("readable");
        Stored::lfs(content.clone(), size, sha256)
    };
    named.iter().map(|(path, content)| ((*path).to_owned(), Arc::new(stored(path, content)))).collect()
}

/// Answers what comes on one connection. Clients here wait for an answer before they ask again.
fn serve(shared: &Shared, place: Place, stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    while let Ok(Some(request)) = Request::read(stream) {
        let last = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        shared.record(place, &request);
        let answer = match place {
            Place::Api => api::answer(shared, &request),
            Place::Cdn => files::cdn(shared, &request),
        };
        // A client that had enough is none of our business.
        if answer.write(stream, &request, last).is_err() || last {
            return;
        }
    }
}
