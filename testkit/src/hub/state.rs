//! What all connections share: the repositories, the settings, and what came in.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::fault::HubFault;
use super::repository::{Content, Kind, Repository, Visibility, sha256};
use crate::http::Request;

/// How much of a body is kept.
const KEPT: usize = 64 << 10;

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Api,
    Cdn,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    urls: OnceLock<[String; 2]>,
    state: Mutex<State>,
    seen: [Mutex<Vec<Request>>; 2],
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) repositories: BTreeMap<(Kind, String), Repository>,
    /// Former names.
    pub(super) moved: BTreeMap<(Kind, String), String>,
    /// The contents of LFS by their SHA-256.
    pub(super) pool: HashMap<String, Content>,
    pub(super) page: usize,
    pub(super) lfs_from: u64,
    pub(super) link_life: Duration,
    pub(super) cdn_through: Option<String>,
    pub(super) xet: bool,
    pub(super) resolve_cache: bool,
    pub(super) fault: Option<HubFault>,
    /// How often the fault was met.
    pub(super) failed: usize,
    pub(super) victim: Option<String>,
    /// How often each link was used.
    pub(super) uses: HashMap<String, usize>,
    links: u64,
    secret: u64,
}

impl Default for State {
    fn default() -> State {
        State {
            repositories: BTreeMap::new(),
            moved: BTreeMap::new(),
            pool: HashMap::new(),
            page: 1000,
            lfs_from: 1025,
            link_life: Duration::from_secs(3600),
            cdn_through: None,
            xet: false,
            resolve_cache: false,
            fault: None,
            failed: 0,
            victim: None,
            uses: HashMap::new(),
            links: 0,
            secret: RandomState::new().hash_one("links"),
        }
    }
}

impl Shared {
    /// To be called once, before anybody is told where the servers are.
    pub(super) fn is_at(&self, api: u16, cdn: u16) {
        self.urls.get_or_init(|| [format!("http://127.0.0.1:{api}"), format!("http://localhost:{cdn}")]);
    }

    pub(super) fn url(&self, place: Place) -> &str {
        let [api, cdn] = self.urls.get().expect("it has started");
        if place == Place::Api { api } else { cdn }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self, place: Place) -> MutexGuard<'_, Vec<Request>> {
        let [api, cdn] = &self.seen;
        let seen = if place == Place::Api { api } else { cdn };
        seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, place: Place, request: &Request) {
        let Request { method, path, headers, body } = request;
        let body = body.get(..KEPT).unwrap_or(body).to_vec();
        let kept = Request { method: method.clone(), path: path.clone(), headers: headers.clone(), body };
        self.seen(place).push(kept);
    }

    /// Where the CDN is for clients, which may be a server in front of it.
    pub(super) fn cdn_for_clients(&self, state: &State) -> String {
        state.cdn_through.clone().unwrap_or_else(|| self.url(Place::Cdn).to_owned())
    }
}

impl State {
    /// Whether it was not there before.
    pub(super) fn create(&mut self, kind: Kind, id: &str, visibility: Visibility) -> bool {
        let key = (kind, id.to_owned());
        if self.repositories.contains_key(&key) {
            return false;
        }
        self.moved.remove(&key);
        self.repositories.insert(key, Repository::new(id, visibility));
        true
    }

    /// A path with what lets somebody in for a while, each time another.
    pub(super) fn signed(&mut self, path: &str) -> String {
        self.links += 1;
        let expires = now() + self.link_life.as_secs();
        let signature = self.signature(path, expires, self.links);
        format!("{path}?Expires={expires}&Signature={signature}")
    }

    /// Whether a query lets somebody in.
    pub(super) fn lets_in(&self, path: &str, parameters: &[(String, String)]) -> bool {
        let value =
            |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let (Some(expires), Some(signature)) = (value("Expires"), value("Signature")) else { return false };
        let expires = expires.parse().unwrap_or(0);
        let link = signature.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let right = link.map(|link| self.signature(path, expires, link));
        right.as_deref() == Some(signature) && now() < expires
    }

    fn signature(&self, path: &str, expires: u64, link: u64) -> String {
        format!("{link:016x}{}", sha256(format!("{} {path} {expires} {link}", self.secret).as_bytes()))
    }
}

/// Whether a new file is one of LFS.
pub(super) fn is_lfs(path: &str, size: u64, lfs_from: u64) -> bool {
    size >= lfs_from || path.ends_with(".safetensors")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
