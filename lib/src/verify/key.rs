//! Signing method key (OMS 1.0).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::{Evidence, NotProven, Proof, Verifier, rfc3339, signed_by};
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
    #[cfg(feature = "sigstore")]
    root: Option<crate::TrustedRoot>,
}

impl KeyVerifier {
    /// A verifier for this key.
    pub fn new(key: PublicKey) -> Self {
        KeyVerifier::of(vec![key])
    }

    /// A verifier for every key of a PEM text.
    ///
    /// # Errors
    /// As [`PublicKey::from_pem`], for any of them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Ok(KeyVerifier::of(PublicKey::all_from_pem(pem)?))
    }

    fn of(keys: Vec<PublicKey>) -> Self {
        KeyVerifier {
            keys,
            #[cfg(feature = "sigstore")]
            root: None,
        }
    }

    /// Checks log entries and timestamps of a bundle with this root; without one they are reported as unchecked.
    #[cfg(feature = "sigstore")]
    #[must_use]
    pub fn trusted_root(mut self, root: crate::TrustedRoot) -> Self {
        self.root = Some(root);
        self
    }

    /// What log entries and timestamps prove, as far as anything was given to check them with.
    fn evidence(&self, bundle: &Bundle, key: &PublicKey, run: &Run) -> Result<Evidence, Finding> {
        #[cfg(feature = "sigstore")]
        return super::evidence(bundle, key, None, self.root.as_ref(), run);
        #[cfg(not(feature = "sigstore"))]
        {
            let _ = (key, run);
            Ok(Evidence { notes: super::unchecked(bundle), ..Evidence::default() })
        }
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
                && *hint != sigstore_hint(key)
            {
                let what = "the bundle was signed with another key than the given one";
                let finding = Finding::new(Code::KeyNotTrusted, what)
                    .differs(format!("key with hint {own}"), format!("key with hint {}", Shown(hint)));
                reason.get_or_insert(NotProven::NotMine(finding));
                continue;
            }
            if let Some(encoding) = signed_by(key, bundle) {
                let Evidence { time, logged, root, mut notes } =
                    self.evidence(bundle, key, run).map_err(NotProven::Refused)?;
                notes.extend(encoding.note());
                let now = || ProvenTime { at: rfc3339(run.now_unix()), by: "clock".to_owned() };
                return Ok(Proof {
                    identity: Identity::Key {
                        algorithm: key.algorithm().to_owned(),
                        fingerprint: key.fingerprint(),
                    },
                    time: time.map_or_else(now, |(_, time)| time),
                    payload: bundle.envelope.payload.clone(),
                    certificates: Vec::new(),
                    key: key.fingerprint(),
                    hint: own,
                    notes,
                    logged,
                    root,
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

/// By what the tools of Sigstore name a key in a bundle: base64 of the SHA-256 over its SPKI in DER.
fn sigstore_hint(key: &PublicKey) -> String {
    STANDARD.encode(Sha256::digest(key.spki_der()))
}
