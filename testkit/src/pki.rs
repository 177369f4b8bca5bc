//! Keys and certificates for tests, all from fixed seeds.
//!
//! ```
//! use testkit::pki::{KeyKind, Pki};
//!
//! let root = Pki::root(KeyKind::P384).subject("CN=Acme Root,O=Acme").self_signed();
//! let leaf = Pki::leaf(KeyKind::Ed25519).subject("CN=signer").issue(&root);
//! assert!(leaf.pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
//! let signature = leaf.key().sign(b"payload");
//! assert_eq!(signature.len(), 64);
//! ```
//!
//! [`Shape`] lists chains that verify, [`Defect`] what can be wrong with one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests call this, and a panic is how a test fails"
)]

mod cases;
mod certificate;
mod key;
mod primes;

pub use cases::{Case, Defect, Shape};
pub use certificate::{
    CODE_SIGNING, Cert, FOREVER, FROM, GeneralName, KeyUsages, Pki, SERVER_AUTH, TIME_STAMPING, TO,
    directory, dns, email, ip, uri,
};
pub use key::{Digest, Key, KeyKind, sign_pae};

/// A PEM block with lines of 64 letters, as RFC 7468 wants it.
pub fn pem(label: &str, der: &[u8]) -> String {
    use pkcs8::der::pem::{LineEnding, encode_string};

    encode_string(label, LineEnding::LF, der).unwrap()
}
