//! Keys: reading them, signing and verifying with them. A new key type has its room here.
//!
//! OMS 1.0 requires ECDSA on P-256, P-384 and P-521 with SHA-256, SHA-384 and SHA-512, signatures in DER. Ed25519 is not
//! in its list; DSSE allows it, and other tools of the field use it.

mod pem;
mod private;
mod public;

pub use private::{KeyType, Passphrase, PrivateKey};
pub(crate) use public::PaeDigest;
pub use public::PublicKey;
