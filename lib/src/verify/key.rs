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

/// Verifies bundles that one of some keys signed. The keys are the caller's; one inside a bundle is not even looked at.
#[derive(Clone, Debug)]
pub struct KeyVerifier {
    keys: Vec<PublicKey>,
}

impl KeyVerifier {
    /// A verifier for this key.
    pub fn new(key: PublicKey) -> Self {
        KeyVerifier { keys: vec![key] }
    }

    /// A verifier for every key of a PEM text.
    ///
    /// # Errors
    /// As [`PublicKey::from_pem`], for any of them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Ok(KeyVerifier { keys: PublicKey::all_from_pem(pem)? })
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
        let mut reason = None;
        for key in &self.keys {
            let own = key.hint();
            if let Some(hint) = hint
                && *hint != own
            {
                let what = "the bundle was signed with another key than the given one";
                let finding = Finding::new(Code::KeyNotTrusted, what)
                    .differs(format!("key with hint {own}"), format!("key with hint {}", Shown(hint)));
                reason.get_or_insert(NotProven::NotMine(finding));
                continue;
            }
            if let Some(encoding) = signed_by(key, bundle) {
                let mut notes = unchecked(bundle);
                notes.extend(encoding.note());
                return Ok(Proof {
                    identity: Identity::Key {
                        algorithm: key.algorithm().to_owned(),
                        fingerprint: key.fingerprint(),
                    },
                    time: ProvenTime { at: rfc3339(run.now_unix()), by: "clock".to_owned() },
                    payload: bundle.envelope.payload.clone(),
                    certificates: Vec::new(),
                    key: key.fingerprint(),
                    hint: own,
                    notes,
                });
            }
            let finding = Finding::new(
                Code::SignatureInvalid,
                format!(
                    "the signature is not that of the {} key {} over this payload",
                    key.algorithm(),
                    key.fingerprint()
                ),
            );
            // Without a hint it may be another key's.
            reason =
                Some(if hint.is_some() { NotProven::Refused(finding) } else { NotProven::NotMine(finding) });
        }
        Err(reason
            .unwrap_or_else(|| NotProven::NotMine(Finding::new(Code::KeyNotTrusted, "no key was given"))))
    }
}
