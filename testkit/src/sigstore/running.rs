//! A Sigstore that is up, with all that a test may want of it.

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::authority::Keys;
use super::build::build;
use super::first;
use super::issuer::Issuer;
use super::servers::{self, Ports, REKOR_V2_ORIGIN, url};
use super::trust;
use crate::faults::{Fault, FaultServer};
use crate::forge::{authority_json, log_json};
use crate::keeper::{Kept, KeptFolder};
use crate::pki::{Cert, Key};
use crate::skip::Missing;

/// How often all of it is started: somebody else may have taken a port meanwhile.
const TRIES: u32 = 3;

/// Where the timestamping authority takes requests.
const TSA_PATH: &str = "/api/v1/timestamp";

/// How a Sigstore is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    dir: Option<PathBuf>,
}

impl Options {
    /// A folder for the files that clients read, which stays; otherwise it is a temporary one.
    #[must_use]
    pub fn dir(self, dir: impl Into<PathBuf>) -> Options {
        Options { dir: Some(dir.into()) }
    }
}

/// A server that a client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It issues certificates.
    Fulcio,
    /// The log that a client waits for an inclusion promise of.
    RekorV1,
    /// The log that answers with a proof.
    RekorV2,
    /// It signs the time.
    Tsa,
}

/// A running Sigstore. Dropping it ends its servers and waits for that; so does the end of the process, whatever its
/// cause.
#[derive(Debug)]
pub struct Sigstore {
    dir: PathBuf,
    keys: Keys,
    email_issuer: Issuer,
    uri_issuer: Issuer,
    fulcio: String,
    ct: String,
    rekor_v1: String,
    rekor_v2: String,
    tsa: String,
    written: AtomicU32,
    /// Before the folder that they write into.
    _servers: Vec<Kept>,
    _run: KeptFolder,
}

/// The one that all tests of a program share, started by the first that asks.
///
/// # Errors
/// As [`Sigstore::start`].
pub fn shared() -> Result<&'static Sigstore, Missing> {
    static SHARED: OnceLock<Result<Sigstore, Missing>> = OnceLock::new();
    SHARED.get_or_init(|| Sigstore::start(&Options::default())).as_ref().map_err(Clone::clone)
}

impl Sigstore {
    /// Starts one with fresh keys and empty logs, and waits until every server is ready.
    ///
    /// # Errors
    /// The servers cannot be built (see [`build`]), or one does not start: then its last words are in the error.
    pub fn start(options: &Options) -> Result<Sigstore, Missing> {
        let bin = build()?;
        let mut tried = 1;
        loop {
            match Sigstore::once(&bin, options) {
                Ok(sigstore) => return Ok(sigstore),
                Err(_) if tried < TRIES => tried += 1,
                Err(error) => return Err(Missing::new("a private Sigstore", error.to_string())),
            }
        }
    }

    fn once(bin: &Path, options: &Options) -> io::Result<Sigstore> {
        let run = KeptFolder::new()?;
        let keys = Keys::fresh();
        keys.write(run.path())?;
        let (email_issuer, uri_issuer) = (Issuer::start(&keys.oidc)?, Issuer::start(&keys.oidc)?);
        let ports = Ports::free()?;
        let servers = servers::start(bin, run.path(), &ports, [&email_issuer, &uri_issuer])?;
        let sigstore = Sigstore {
            dir: options.dir.clone().unwrap_or_else(|| run.path().join("client")),
            keys,
            email_issuer,
            uri_issuer,
            fulcio: url(ports.fulcio),
            ct: url(ports.ct),
            rekor_v1: url(ports.rekor_v1),
            rekor_v2: url(ports.rekor_v2),
            tsa: url(ports.tsa) + TSA_PATH,
            written: AtomicU32::new(0),
            _servers: servers,
            _run: run,
        };
        sigstore.write_files()?;
        let (email, subject) = ("first@example.com", "http://localhost/first");
        first::certificate(&sigstore.fulcio, || sigstore.token(email), email)?;
        first::certificate(&sigstore.fulcio, || sigstore.uri_token(subject, None), subject)?;
        Ok(sigstore)
    }

    fn write_files(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let (root, v1, v2) = (self.root(), self.config(Role::RekorV1), self.config(Role::RekorV2));
        let files = [
            (self.trusted_root(), &root),
            (self.signing_config(), &v2),
            (self.signing_config_v1(), &v1),
            (self.trust_config(), &trust::trust_config(&root, &v2)),
            (self.trust_config_v1(), &trust::trust_config(&root, &v1)),
        ];
        files.iter().try_for_each(|(path, json)| fs::write(path, format!("{json:#}\n")))
    }

    /// The folder with the files that clients read.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The keys of every log and authority.
    pub fn trusted_root(&self) -> PathBuf {
        self.dir.join("trusted_root.json")
    }

    /// Where to sign: with Rekor v2 and the timestamping authority.
    pub fn signing_config(&self) -> PathBuf {
        self.dir.join("signing_config.json")
    }

    /// The same with Rekor v1.
    pub fn signing_config_v1(&self) -> PathBuf {
        self.dir.join("signing_config_v1.json")
    }

    /// Trusted root and [`Sigstore::signing_config`] in one, as the Python client reads it.
    pub fn trust_config(&self) -> PathBuf {
        self.dir.join("trust_config.json")
    }

    /// The same with Rekor v1.
    pub fn trust_config_v1(&self) -> PathBuf {
        self.dir.join("trust_config_v1.json")
    }

    /// Scheme, host and port of Fulcio.
    pub fn fulcio_url(&self) -> &str {
        &self.fulcio
    }

    /// Scheme, host and port of Rekor v1.
    pub fn rekor_v1_url(&self) -> &str {
        &self.rekor_v1
    }

    /// Scheme, host and port of Rekor v2.
    pub fn rekor_v2_url(&self) -> &str {
        &self.rekor_v2
    }

    /// The whole address of the timestamping authority, which has a path.
    pub fn tsa_url(&self) -> &str {
        &self.tsa
    }

    /// Scheme, host and port of the log of certificates.
    pub fn ct_url(&self) -> &str {
        &self.ct
    }

    /// The issuer of [`Sigstore::token`].
    pub fn issuer(&self) -> &str {
        self.email_issuer.url()
    }

    /// The issuer of [`Sigstore::uri_token`].
    pub fn uri_issuer(&self) -> &str {
        self.uri_issuer.url()
    }

    /// A token for an email address, good for ten minutes.
    pub fn token(&self, email: &str) -> String {
        self.email_issuer.mint(&self.email_claims(email))
    }

    /// The token of `dev@example.com` with its claims changed.
    pub fn token_with(&self, edit: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.email_claims("dev@example.com");
        edit(&mut claims);
        self.email_issuer.mint(&claims)
    }

    /// A token for a workload, good for ten minutes. Fulcio takes a subject under `http://localhost`; an `email` beside
    /// it is what some issuers add, and does not become the identity.
    pub fn uri_token(&self, subject: &str, email: Option<&str>) -> String {
        let mut claims = self.uri_issuer.claims(subject);
        if let Some(email) = email {
            claims["email"] = email.into();
            claims["email_verified"] = true.into();
        }
        self.uri_issuer.mint(&claims)
    }

    /// The token of `http://localhost/ci` with its claims changed.
    pub fn uri_token_with(&self, edit: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.uri_issuer.claims("http://localhost/ci");
        edit(&mut claims);
        self.uri_issuer.mint(&claims)
    }

    fn email_claims(&self, email: &str) -> Value {
        let mut claims = self.email_issuer.claims(email);
        claims["email"] = email.into();
        claims["email_verified"] = true.into();
        claims
    }

    /// The certificate above the one that Fulcio issues with.
    pub fn fulcio_root(&self) -> &Cert {
        &self.keys.fulcio_root
    }

    /// The certificate that Fulcio issues with.
    pub fn fulcio_intermediate(&self) -> &Cert {
        &self.keys.fulcio_intermediate
    }

    /// The certificate above that of the timestamping authority.
    pub fn tsa_root(&self) -> &Cert {
        &self.keys.tsa_root
    }

    /// The certificate of the timestamping authority.
    pub fn tsa_leaf(&self) -> &Cert {
        &self.keys.tsa_leaf
    }

    /// What the log of certificates signs with: P-256.
    pub fn ct_key(&self) -> &Key {
        &self.keys.ct
    }

    /// What Rekor v1 signs promises and checkpoints with: P-256.
    pub fn rekor_v1_key(&self) -> &Key {
        &self.keys.rekor_v1
    }

    /// What Rekor v2 signs checkpoints with: Ed25519.
    pub fn rekor_v2_key(&self) -> &Key {
        &self.keys.rekor_v2
    }

    /// The first line of Rekor v2's checkpoints. That of Rekor v1's ends with the number of its tree.
    pub fn rekor_v2_origin(&self) -> &str {
        REKOR_V2_ORIGIN
    }

    /// The log id of the log of certificates.
    pub fn ct_log_id(&self) -> [u8; 32] {
        trust::v1_log_id(self.ct_key())
    }

    /// The log id of Rekor v1.
    pub fn rekor_v1_log_id(&self) -> [u8; 32] {
        trust::v1_log_id(self.rekor_v1_key())
    }

    /// The log id of Rekor v2.
    pub fn rekor_v2_log_id(&self) -> [u8; 32] {
        trust::v2_log_id(self.rekor_v2_origin(), self.rekor_v2_key())
    }

    /// The trusted root, changed, in a file of its own.
    pub fn trusted_root_with(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        self.changed("trusted_root", self.root(), edit)
    }

    /// The signing configuration with Rekor v2, changed, in a file of its own.
    pub fn signing_config_with(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        self.changed("signing_config", self.config(Role::RekorV2), edit)
    }

    /// The signing configuration with Rekor v1, changed, in a file of its own.
    pub fn signing_config_v1_with(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        self.changed("signing_config_v1", self.config(Role::RekorV1), edit)
    }

    /// The trust configuration with Rekor v2, changed, in a file of its own.
    pub fn trust_config_with(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let both = trust::trust_config(&self.root(), &self.config(Role::RekorV2));
        self.changed("trust_config", both, edit)
    }

    /// The trust configuration with Rekor v1, changed, in a file of its own.
    pub fn trust_config_v1_with(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let both = trust::trust_config(&self.root(), &self.config(Role::RekorV1));
        self.changed("trust_config_v1", both, edit)
    }

    /// A signing configuration with another address for one server; with Rekor v1 for [`Role::RekorV1`], with Rekor
    /// v2 for every other. For [`Role::Tsa`] it is the whole address.
    pub fn signing_config_at(&self, role: Role, url: &str) -> PathBuf {
        self.changed("signing_config", self.config_at(role, url), |_| ())
    }

    /// The same with the trusted root in one file, as the Python client reads it. The root is unchanged.
    pub fn trust_config_at(&self, role: Role, url: &str) -> PathBuf {
        let both = trust::trust_config(&self.root(), &self.config_at(role, url));
        self.changed("trust_config", both, |_| ())
    }

    /// A server that goes wrong in front of one of these, and a signing configuration that leads to it.
    pub fn faulty(&self, role: Role, fault: Fault) -> (FaultServer, PathBuf) {
        let (server, url) = self.in_front(role, fault);
        let config = self.signing_config_at(role, &url);
        (server, config)
    }

    /// The same with a trust configuration.
    pub fn faulty_trust(&self, role: Role, fault: Fault) -> (FaultServer, PathBuf) {
        let (server, url) = self.in_front(role, fault);
        let config = self.trust_config_at(role, &url);
        (server, config)
    }

    fn in_front(&self, role: Role, fault: Fault) -> (FaultServer, String) {
        let (upstream, path) = match role {
            Role::Fulcio => (self.fulcio.as_str(), ""),
            Role::RekorV1 => (self.rekor_v1.as_str(), ""),
            Role::RekorV2 => (self.rekor_v2.as_str(), ""),
            Role::Tsa => (self.tsa.trim_end_matches(TSA_PATH), TSA_PATH),
        };
        let server = FaultServer::start(fault, upstream);
        let url = format!("{}{path}", server.url());
        (server, url)
    }

    fn config_at(&self, role: Role, url: &str) -> Value {
        let list = match role {
            Role::Fulcio => "caUrls",
            Role::RekorV1 | Role::RekorV2 => "rekorTlogUrls",
            Role::Tsa => "tsaUrls",
        };
        let mut config = self.config(role);
        config[list][0]["url"] = url.into();
        config
    }

    fn root(&self) -> Value {
        let logs = [
            log_json(&self.rekor_v2, self.rekor_v2_key(), &self.rekor_v2_log_id()),
            log_json(&self.rekor_v1, self.rekor_v1_key(), &self.rekor_v1_log_id()),
        ];
        trust::trusted_root(
            &logs,
            &authority_json(&self.fulcio, &self.keys.fulcio_chain()),
            &log_json(&self.ct, self.ct_key(), &self.ct_log_id()),
            &authority_json(&self.tsa, &self.keys.tsa_chain()),
        )
    }

    fn config(&self, role: Role) -> Value {
        let log = match role {
            Role::RekorV1 => (self.rekor_v1.as_str(), 1),
            Role::Fulcio | Role::RekorV2 | Role::Tsa => (self.rekor_v2.as_str(), 2),
        };
        trust::signing_config(&self.fulcio, self.issuer(), log, &self.tsa)
    }

    fn changed(&self, name: &str, mut json: Value, edit: impl FnOnce(&mut Value)) -> PathBuf {
        edit(&mut json);
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{name}-{number}.json"));
        fs::write(&path, format!("{json:#}\n")).expect("its own folder can be written");
        path
    }
}
