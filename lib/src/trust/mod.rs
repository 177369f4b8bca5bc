//! What Sigstore's signatures are trusted by: the keys of logs, authorities and timestamp services.

mod root;

pub use root::TrustedRoot;
