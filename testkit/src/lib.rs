//! What the tests and tasks of this workspace share: models to sign, other implementations to agree with, and
//! programs run to their end.
//!
//! | module | holds |
//! |---|---|
//! | [`models`] | valid safetensors models of any size, the Hub's cache layout |
//! | [`peers`] | the Python implementation, releases 0.2.0 to 1.1.1, each in a virtual environment |
//! | `pki` | keys and certificates from fixed seeds, right and wrong ones (feature `pki`, on by default) |
//! | [`sigstore`] | a private Sigstore of real servers (feature `sigstore`, on by default) |
//! | [`s3`] | MinIO and versitygw, and a client that fills their buckets (feature `s3`, on by default) |
//! | [`kubernetes`] | an API server and a node, with kubectl (feature `kubernetes`, on by default) |
//! | [`faults`] | a server that goes wrong in front of a real one |
//! | [`range_faults`] | a proxy that goes wrong where ranges of an object are read |
//! | [`http`] | as much HTTP as these need |
//! | [`image`] | container images, written and read without a program that builds them |
//! | [`keeper`] | servers that never outlive whoever started them |
//! | `forge` | a Sigstore instance that runs nowhere and signs whatever a test wants (feature `pki`) |
//! | `hub` | a double of the Hugging Face Hub, and its real clients (feature `pki`) |
//! | [`tuf`] | a real TUF repository and a server for it that can misbehave |
//! | [`volume`] | file systems of a test's own |
//! | [`run`] | a command with its exit code and its whole output |
//! | [`skip`] | leaving a test out aloud, and never in CI |
//! | [`digest`] | the SHA-256 of a file |
//! | [`dirs`] | the workspace, its target folder, temporary folders |
//!
//! It is not published and does not depend on the library, so that what it makes is an independent witness.

pub mod digest;
pub mod dirs;
pub mod faults;
#[cfg(feature = "pki")]
pub mod forge;
mod go;
pub mod http;
#[cfg(feature = "pki")]
pub mod hub;
pub mod image;
pub mod keeper;
pub mod kubernetes;
pub mod models;
pub mod names;
pub mod peers;
#[cfg(feature = "pki")]
pub mod pki;
pub mod range_faults;
#[cfg(any(feature = "kubernetes", feature = "s3", feature = "sigstore"))]
mod ready;
pub mod run;
pub mod s3;
pub mod sigstore;
pub mod skip;
pub mod tuf;
pub mod volume;

pub use dirs::{target_dir, temporary, workspace};
pub use run::{Ended, capture, capture_within};
pub use skip::{Missing, in_ci, or_skip, skip_or_fail};
pub use tempfile::TempDir;
