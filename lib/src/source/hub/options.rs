//! How the Hub is reached: what was said, and what the environment and the files of the Hub's own client say.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Url;
use zeroize::Zeroizing;

use crate::{Error, Run, code::Code, fs::read_bounded, http::url_shown, shown::Shown};

/// The Hub.
const HUB: &str = "https://huggingface.co";

/// How long a server may be silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(10);

/// Largest file with a token, in bytes.
const TOKEN_BYTES: u64 = 64 << 10;

/// How the Hugging Face Hub is reached.
///
/// A new one goes to `HF_ENDPOINT`, else to <https://huggingface.co>, with the token of `HF_TOKEN`, else of
/// `HUGGING_FACE_HUB_TOKEN`, else of the file that the Hub's own client keeps (`HF_TOKEN_PATH`, else `token` in `HF_HOME`), and
/// finds that client's cache at `HF_HUB_CACHE`, else in `HF_HOME`. `HF_HUB_DISABLE_IMPLICIT_TOKEN` and `HF_HUB_OFFLINE` count.
///
/// A token goes over TLS only, and only to huggingface.co or to a host that was named here: by [`endpoint`](Self::endpoint) or
/// [`token_host`](Self::token_host). A Hub on this machine counts as named where HTTP is allowed.
#[derive(Clone, Default)]
pub struct HubOptions {
    endpoint: Option<String>,
    token: Option<Zeroizing<String>>,
    no_token: bool,
    token_hosts: Vec<String>,
    cache: Option<PathBuf>,
    no_cache: bool,
    offline: bool,
    silence: Option<Duration>,
    /// Whether servers may be spoken to without TLS.
    pub(crate) allow_http: bool,
    /// Roots for TLS besides those of the system, in PEM.
    pub(crate) tls_ca: Option<Vec<u8>>,
    /// Whether it was told whose token is used: once for all that is done with these options.
    told: Arc<AtomicBool>,
}

impl HubOptions {
    /// What the environment says.
    pub fn new() -> Self {
        Self::default()
    }

    /// The address of the Hub, or of a mirror, which gets the token as well.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// The token, in place of the one that the environment or a file has.
    #[must_use]
    pub fn token(mut self, token: Zeroizing<String>) -> Self {
        self.token = Some(token);
        self
    }

    /// Asks as nobody, whatever tokens there are.
    #[must_use]
    pub fn no_token(mut self) -> Self {
        self.no_token = true;
        self
    }

    /// A host that may be given the token: `host`, or `host:port`.
    #[must_use]
    pub fn token_host(mut self, host: impl Into<String>) -> Self {
        self.token_hosts.push(host.into());
        self
    }

    /// The folder in which the Hub's own client keeps what it fetched.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Does not look into the cache.
    #[must_use]
    pub fn no_cache(mut self) -> Self {
        self.no_cache = true;
        self
    }

    /// Asks no server.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Whether no server is to be asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline || is_set(&|name| std::env::var_os(name), "HF_HUB_OFFLINE")
    }

    /// How long a server may be silent while a file is read, before it is asked again; 10 s where nothing is said.
    #[must_use]
    pub fn silence(mut self, longest: Duration) -> Self {
        self.silence = Some(longest);
        self
    }

    /// Whether servers may be spoken to without TLS. A token is sent so to this machine only.
    #[must_use]
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// Trusts these roots for TLS as well, in PEM: those of a private authority.
    #[must_use]
    pub fn tls_ca(mut self, pem: &[u8]) -> Self {
        self.tls_ca = Some(pem.to_vec());
        self
    }

    /// What is to be done, with what the environment says.
    ///
    /// # Errors
    /// `bad-argument`, `transport-insecure`.
    pub(super) fn settle(&self, run: &Run) -> Result<Settled, Error> {
        let settled = self.settle_in(&|name| std::env::var_os(name))?;
        if !self.told.swap(true, Ordering::Relaxed) {
            settled.notes.iter().for_each(|note| run.told().note(note));
        }
        Ok(settled)
    }

    fn settle_in(&self, environment: Environment<'_>) -> Result<Settled, Error> {
        let flagged = self.endpoint.clone();
        let named = flagged.is_some();
        let endpoint = flagged.or_else(|| text(environment, "HF_ENDPOINT")).unwrap_or_else(|| HUB.to_owned());
        let endpoint = self.address(&endpoint)?;
        let mut notes = Vec::new();
        let token = match self.find_token(environment, &mut notes)? {
            Some((token, whose)) => {
                let host = Shown(endpoint.host_str().unwrap_or_default()).to_string();
                let sent = self.may_have_token(&endpoint, named);
                notes.push(match sent {
                    true => format!("the Hub is asked with {whose}"),
                    false => format!(
                        "the Hub is asked without a token: {host} is not named as a host that may have {whose}"
                    ),
                });
                sent.then_some(token)
            }
            None => None,
        };
        Ok(Settled {
            endpoint,
            token,
            offline: self.offline || is_set(environment, "HF_HUB_OFFLINE"),
            cache: if self.no_cache { None } else { self.cache_in(environment) },
            silence: self.silence.unwrap_or(SILENCE),
            notes,
        })
    }

    /// The address of the Hub, if it is one that may be used.
    fn address(&self, text: &str) -> Result<Url, Error> {
        let shown = url_shown(text);
        let url = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        let url = url.ok_or_else(|| {
            Error::new(Code::BadArgument, format!("{shown:?} is not the address of a Hub"))
                .with_help("write https://HOST, without a user, a password and a query")
        })?;
        if url.scheme() == "http" && !self.allow_http {
            return Err(Error::new(
                Code::TransportInsecure,
                format!("the Hub at {shown} would be spoken to without TLS"),
            ));
        }
        Ok(url)
    }

    /// Whether a server may have the token. `named` says that somebody named it for this call, and not the environment.
    fn may_have_token(&self, url: &Url, named: bool) -> bool {
        let host = url.host_str().unwrap_or_default();
        if url.scheme() != "https" {
            return self.allow_http && is_this_machine(host);
        }
        let hub = host == "huggingface.co" && url.port().is_none();
        hub || named || self.token_hosts.iter().any(|allowed| is_host(url, allowed))
    }

    /// The token, and whose it is.
    fn find_token(
        &self,
        environment: Environment<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Option<(Zeroizing<String>, String)>, Error> {
        if self.no_token {
            return Ok(None);
        }
        let found = match &self.token {
            Some(token) => Some((token.clone(), "the token that was given".to_owned())),
            None if is_set(environment, "HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            None => ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
                .into_iter()
                .find_map(|name| {
                    Some((Zeroizing::new(text(environment, name)?), format!("the token of {name}")))
                })
                .or_else(|| token_file(environment, notes)),
        };
        let found = found.map(|(token, whose)| (Zeroizing::new(token.trim().to_owned()), whose));
        match found {
            Some((token, whose)) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(Error::new(Code::BadArgument, format!("{whose} holds what no token has")))
            }
            found => Ok(found.filter(|(token, _)| !token.is_empty())),
        }
    }

    /// Where the Hub's own client keeps what it fetched.
    fn cache_in(&self, environment: Environment<'_>) -> Option<PathBuf> {
        self.cache
            .clone()
            .or_else(|| path(environment, "HF_HUB_CACHE"))
            .or_else(|| path(environment, "HUGGINGFACE_HUB_CACHE"))
            .or_else(|| home(environment).map(|home| home.join("hub")))
    }
}

/// The options as they are carried out.
pub(super) struct Settled {
    /// The Hub.
    pub(super) endpoint: Url,
    /// The token that it may have.
    pub(super) token: Option<Zeroizing<String>>,
    pub(super) offline: bool,
    /// The folder of the Hub's own client; none where it is not to be looked into.
    pub(super) cache: Option<PathBuf>,
    pub(super) silence: Duration,
    notes: Vec<String>,
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A variable with something in it.
fn text(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name)?.into_string().ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A variable that switches something on, as the Hub's own client reads it.
fn is_set(environment: Environment<'_>, name: &str) -> bool {
    text(environment, name)
        .is_some_and(|text| matches!(text.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
}

/// A variable with a path in it; a `~` at its beginning is the user's folder.
fn path(environment: Environment<'_>, name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(environment(name).filter(|value| !value.is_empty())?);
    match (path.strip_prefix("~"), environment("HOME")) {
        (Ok(rest), Some(home)) => Some(Path::new(&home).join(rest)),
        _ => Some(path),
    }
}

/// The folder of the Hub's own client.
fn home(environment: Environment<'_>) -> Option<PathBuf> {
    path(environment, "HF_HOME")
        .or_else(|| path(environment, "XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
        .or_else(|| path(environment, "HOME").map(|home| home.join(".cache/huggingface")))
}

/// The token that the Hub's own client keeps in a file.
fn token_file(environment: Environment<'_>, notes: &mut Vec<String>) -> Option<(Zeroizing<String>, String)> {
    let path =
        path(environment, "HF_TOKEN_PATH").or_else(|| home(environment).map(|home| home.join("token")))?;
    let shown = path.display().to_string();
    match read_bounded(&path, TOKEN_BYTES, "the token for the Hub", Code::TokenAbsent, Code::BadArgument) {
        Ok(bytes) => {
            let bytes = Zeroizing::new(bytes);
            let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
            Some((text, format!("the token in {}", Shown(&shown))))
        }
        Err(error) if error.code() == Code::TokenAbsent => None,
        // What is public can be read without.
        Err(error) => {
            notes.push(error.to_string());
            None
        }
    }
}

/// Whether a host is this machine itself.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether a URL leads to a host that was named as `host` or `host:port`.
fn is_host(url: &Url, named: &str) -> bool {
    let named = named.trim().to_ascii_lowercase();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    !host.is_empty() && (named == host || named == format!("{host}:{port}"))
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint.as_deref().map(url_shown))
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("no_token", &self.no_token)
            .field("token_hosts", &self.token_hosts)
            .field("cache", &self.cache)
            .field("no_cache", &self.no_cache)
            .field("offline", &self.offline)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
