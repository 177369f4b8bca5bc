//! Signing method key (OMS 1.0): a bare key, named in the bundle by the digest of its public part.

use std::sync::Arc;

use super::Signer;
use crate::{
    Bundle, Error, Run, Statement,
    bundle::{Envelope, Material, pae},
    code::Code,
    keys::{PaeDigest, Passphrase, PrivateKey},
};

/// Signs with a private key.
#[derive(Debug)]
pub struct KeySigner {
    key: PrivateKey,
}

impl KeySigner {
    /// A signer with this key.
    pub fn new(key: PrivateKey) -> Self {
        KeySigner { key }
    }

    /// A signer with a key from PEM: PKCS#8, encrypted PKCS#8, or SEC1.
    ///
    /// # Errors
    /// `key-malformed`, `key-unsupported`, `passphrase-missing`, `passphrase-wrong`.
    pub fn from_pem(pem: &[u8], passphrase: Option<Passphrase>) -> Result<Self, Error> {
        Ok(KeySigner { key: PrivateKey::from_pem(pem, || Ok(passphrase))? })
    }

    /// The key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

impl Signer for KeySigner {
    fn sign(&self, statement: &Statement, run: &Run) -> Result<Bundle, Error> {
        run.check()?;
        let envelope = seal(&self.key, statement.payload())?;
        let material = Material::Key { hint: Some(self.key.public().hint()) };
        Ok(Bundle::new(material, envelope))
    }
}

/// Signs a statement's bytes, and checks the signature at once: a faulty computation must neither give the key away nor be found by
/// whoever verifies.
pub(super) fn seal(key: &PrivateKey, payload: &Arc<[u8]>) -> Result<Envelope, Error> {
    let message = pae(payload);
    let signature = key.sign(&message)?;
    if !key.public().verifies(&message, &signature, PaeDigest::OfCurve) {
        return Err(Error::new(
            Code::IoFailed,
            "the signature that was just made does not verify; this machine computes wrongly",
        ));
    }
    Ok(Envelope { payload: Arc::clone(payload), signature })
}
