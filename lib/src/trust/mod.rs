//! What Sigstore's signatures are trusted by: the keys of logs, authorities and timestamp services.
//!
//! A root that is given goes before the cache, the cache before what is embedded. The cache is verified from the embedded TUF
//! root at each use; only `refresh` opens a socket.

mod cache;
mod chain;
mod embedded;
mod import;
mod instance;
mod parties;
#[cfg(feature = "sigstore-tuf")]
mod refresh;
mod root;
mod store;

pub use chain::{TrustExpiry, TrustVersions};
pub use embedded::check_clock;
pub use instance::Instance;
pub use parties::{PartyKind, TrustedParty};
#[cfg(feature = "sigstore-tuf")]
pub use refresh::Refresh;
pub use root::TrustedRoot;
pub use store::{TrustState, TrustStore};
