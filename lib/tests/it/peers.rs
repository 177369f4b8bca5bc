//! Python's model-signing, the reference implementation of OMS, as a peer: what one of us signs the other verifies, and what
//! was changed since both refuse. Where we differ on purpose, a test states what each does.

mod case;
mod certificates;
mod differences;
mod hashing;
mod ignoring;
mod keys;
mod releases;
mod session;
#[cfg(feature = "sigstore")]
mod sigstore;
mod tampered;

use case::{Case, Signed, codes, rich};
use session::Python;
