//! Signing method key (OMS 1.0).

use super::{NotProven, Proof, Verifier, rfc3339, signed_by, unchecked};
use crate::{
    Bundle, Error, Run,
    bundle::Material,
    code::Code,
    keys::PublicKey,
    report::{Finding, Identity, ProvenTime},
    shown::Shown,
};

/// Verifies bundles that one key signed. The key is the caller's; one inside a bundle is not even looked at.
#[derive(Clone, Debug)]
pub struct KeyVerifier {
    key: PublicKey,
}

impl KeyVerifier {
    /// A verifier for this key.
    pub fn new(key: PublicKey) -> Self {
        KeyVerifier { key }
    }

    /// A verifier for a key in PEM.
    ///
    /// # Errors
    /// As [`PublicKey::from_pem`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Ok(KeyVerifier { key: PublicKey::from_pem(pem)? })
    }
}

impl Verifier for KeyVerifier {
    fn verify(&self, bundle: &Bundle, run: &Run) -> Result<Proof, NotProven> {
        let Material::Key { hint } = &bundle.material else {
            let what = format!(
                "the bundle was signed by the method {}, and a key was given",
                bundle.signing_method()
            );
            return Err(NotProven::NotMine(Finding::new(Code::MethodNotAccepted, what)));
        };
        let own = self.key.hint();
        if let Some(hint) = hint
            && *hint != own
        {
            let what = "the bundle was signed with another key than the given one";
            let finding = Finding::new(Code::KeyNotTrusted, what)
                .differs(format!("key with hint {own}"), format!("key with hint {}", Shown(hint)));
            return Err(NotProven::NotMine(finding));
        }
        let Some(encoding) = signed_by(&self.key, bundle) else {
            let finding = Finding::new(
                Code::SignatureInvalid,
                format!(
                    "the signature is not that of the {} key {} over this payload",
                    self.key.algorithm(),
                    self.key.fingerprint()
                ),
            );
            // Without a hint it may be another key's.
            return Err(if hint.is_some() {
                NotProven::Refused(finding)
            } else {
                NotProven::NotMine(finding)
            });
        };
        let mut notes = unchecked(bundle);
        notes.extend(encoding.note());
        Ok(Proof {
            identity: Identity::Key {
                algorithm: self.key.algorithm().to_owned(),
                fingerprint: self.key.fingerprint(),
            },
            time: ProvenTime { at: rfc3339(run.now_unix()), by: "clock".to_owned() },
            payload: bundle.envelope.payload.clone(),
            certificates: Vec::new(),
            key: self.key.fingerprint(),
            notes,
        })
    }
}
