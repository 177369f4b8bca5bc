//! A private Sigstore of real servers: Fulcio with a log of certificates, Rekor v1 and v2, a timestamping authority,
//! and issuers of identity tokens.
//!
//! ```no_run
//! # use testkit::{or_skip, sigstore};
//! let Some(sigstore) = or_skip(sigstore::shared()) else { return };
//! let (trust, token) = (sigstore.trust_config(), sigstore.token("dev@example.com"));
//! ```
//!
//! All of it is on 127.0.0.1, with keys of its own, and none of it outlives the process that started it. The
//! servers are Go programs, which [`build`] makes once; the issuers run in this process.

#[cfg(feature = "sigstore")]
mod authority;
mod build;
#[cfg(feature = "sigstore")]
mod first;
#[cfg(feature = "sigstore")]
mod issuer;
#[cfg(feature = "sigstore")]
mod running;
#[cfg(feature = "sigstore")]
mod servers;
#[cfg(feature = "sigstore")]
mod trust;

pub use build::build;
#[cfg(feature = "sigstore")]
pub use running::{Options, Role, Sigstore, shared};
