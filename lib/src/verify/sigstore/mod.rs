//! Signing method sigstore (OMS 1.0; the Sigstore client specification, "Verification").

mod identity;

pub use identity::{Claim, SigstoreIdentity};

use super::{NotProven, Proof, Verifier};
use crate::{Bundle, Run, trust::TrustedRoot};

/// Verifies bundles whose certificate a Sigstore authority issued to one identity, as its logs and timestamps prove.
#[derive(Clone, Debug)]
pub struct SigstoreVerifier {
    root: TrustedRoot,
    identities: Vec<SigstoreIdentity>,
}

impl SigstoreVerifier {
    /// A verifier for what this identity signed, as this trusted root proves it. Opens no socket.
    pub fn new(root: TrustedRoot, identity: SigstoreIdentity) -> Self {
        SigstoreVerifier { root, identities: vec![identity] }
    }
}

impl Verifier for SigstoreVerifier {
    fn verify(&self, _: &Bundle, _: &Run) -> Result<Proof, NotProven> {
        let _ = (&self.root, &self.identities);
        unreachable!("in the works")
    }
}
