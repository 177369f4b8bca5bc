//! A Sigstore instance that runs nowhere: an authority, logs and a timestamp authority from fixed seeds, which sign whatever
//! a test wants, right or wrong, at whatever time.
//!
//! It is written from the formats' specifications and shares no code with any verifier.
//!
//! ```
//! use testkit::forge::Forge;
//!
//! let forge = Forge::new();
//! let bundle = forge.v2().bundle(b"{}");
//! assert_eq!(bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["version"], "0.0.2");
//! assert_eq!(forge.root()["tlogs"][1]["baseUrl"], "https://log2.forge.example");
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests call this, and a panic is how a test fails"
)]

mod authority;
mod body;
mod log;
mod root;
mod signing;
mod tree;
mod tsa;

pub use authority::{Authority, CtLog, EMAIL, ISSUER, Leaf, Sct, user_name};
pub use body::{Body, Signer};
pub use log::{Entry, Log};
pub use root::{authority_json, log_json, period, window};
pub use signing::{Kind, Logged, Signing};
pub use tree::{leaf_hash, proof, root as tree_root};
pub use tsa::Tsa;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use x509_cert_02::der::{Any, Encode, Tag};

/// When bundles are signed unless told otherwise: 2025-06-15 15:06:40 UTC, in seconds since 1970.
pub const TIME: i64 = 1_750_000_000;
/// Since when everything of the instance is trusted: a year before.
pub const START: i64 = TIME - 365 * 86_400;

/// The instance.
#[derive(Debug, Clone)]
pub struct Forge {
    /// Issues the certificates.
    pub authority: Authority,
    /// Logs the certificates.
    pub ct: CtLog,
    /// A log as Rekor v1 runs it.
    pub v1: Log,
    /// A log as Rekor v2 runs it.
    pub v2: Log,
    /// Another log of either kind, which the root trusts just as much.
    pub other_v1: Log,
    /// The same of Rekor v2.
    pub other_v2: Log,
    /// The timestamp authority.
    pub tsa: Tsa,
}

impl Default for Forge {
    fn default() -> Self {
        Forge::new()
    }
}

impl Forge {
    /// The same one every time.
    pub fn new() -> Self {
        Forge {
            authority: Authority::new("Forge", 0),
            ct: CtLog::new(0),
            v1: Log::v1("log1.forge.example", 0),
            v2: Log::v2("log2.forge.example", 0),
            other_v1: Log::v1("other1.forge.example", 1),
            other_v2: Log::v2("other2.forge.example", 1),
            tsa: Tsa::new("Forge", 0),
        }
    }

    /// The trusted root: everything of the instance, valid from [`START`] on.
    pub fn root(&self) -> Value {
        root::root(self)
    }

    /// The trusted root after an edit.
    pub fn root_with(&self, edit: impl FnOnce(&mut Value)) -> Value {
        let mut root = self.root();
        edit(&mut root);
        root
    }

    /// A certificate for the key of this leaf, by the instance's authority.
    pub fn issue(&self, leaf: &Leaf) -> crate::pki::Cert {
        self.authority.issue(leaf)
    }

    /// A leaf that verifies: P-256, [`EMAIL`] by [`ISSUER`], ten minutes around [`TIME`], logged.
    pub fn leaf(&self) -> Leaf {
        Leaf::new(&self.ct)
    }

    /// A bundle of format 0.3 with an entry of Rekor v2 and a timestamp.
    pub fn v2(&self) -> Signing {
        Signing { logged: vec![Logged::v2(&self.v2)], ..self.unlogged() }
    }

    /// A bundle of format 0.3 with an entry of Rekor v1, which also says when.
    pub fn v1(&self) -> Signing {
        Signing { logged: vec![Logged::v1(&self.v1)], stamps: Vec::new(), ..self.unlogged() }
    }

    /// The same with a timestamp, and without the log's promise.
    pub fn v1_stamped(&self) -> Signing {
        let logged = Logged { promise: false, ..Logged::v1(&self.v1) };
        Signing { logged: vec![logged], ..self.unlogged() }
    }

    /// A bundle of format 0.3 with a timestamp and no log entry.
    pub fn unlogged(&self) -> Signing {
        Signing::new(&self.issue(&self.leaf()), &self.tsa)
    }
}

/// Base64 as bundles have it.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of base64.
///
/// # Panics
/// When it is none.
pub fn decode(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// DER of a value of this type made of these parts.
fn tlv(tag: Tag, parts: &[&[u8]]) -> Vec<u8> {
    Any::new(tag, parts.concat()).unwrap().to_der().unwrap()
}
