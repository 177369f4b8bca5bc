//! Signing: a statement becomes a bundle. A new signing method is one file here and one in [`crate::verify`].

use std::fmt::Debug;

use crate::{Bundle, Error, Run, Statement};

mod certificate;
mod key;
#[cfg(feature = "sigstore-sign")]
mod sigstore;

pub use certificate::CertificateSigner;
pub use key::KeySigner;
#[cfg(feature = "sigstore-sign")]
pub use sigstore::{
    Ambient, IdentityToken, Person, RekorVersion, SignIn, SigningConfig, SigstoreSigner, TokenFile,
    TokenSource,
};

/// Signs statements.
pub trait Signer: Debug + Send + Sync {
    /// Signs a statement's payload, byte for byte, into a bundle of its own.
    ///
    /// # Errors
    /// Whatever keeps the key or service from signing.
    fn sign(&self, statement: &Statement, run: &Run) -> Result<Bundle, Error>;
}
