//! Signing method sigstore (OMS 1.0; the Sigstore client specification, "Signing"): a key that lives for one signature, a
//! certificate that says whose it is, a timestamp, and an entry of a public log.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Signer, key::seal};
use crate::{
    Bundle, Error, Http, KeyType, PrivateKey, Run, SigstoreIdentity, SigstoreVerifier, Statement,
    TrustedRoot,
    bundle::{Envelope, MEDIA_TYPE, PAYLOAD_TYPE},
    code::Code,
    shown::Shown,
    verify::{NotProven, Verifier, x509},
};

mod ambient;
mod config;
mod fulcio;
mod oauth;
mod rekor;
mod token;
mod tsa;

pub use ambient::Ambient;
pub use config::{RekorVersion, SigningConfig};
pub use oauth::{Person, SignIn};
pub use token::{IdentityToken, TokenFile, TokenSource};

/// Signs as whoever a token of an identity provider says.
///
/// Whatever the services answer is verified with the trusted root before the bundle is given away: a bundle that nobody
/// could verify is never written.
#[derive(Clone, Debug)]
pub struct SigstoreSigner {
    config: SigningConfig,
    root: TrustedRoot,
    token: Arc<dyn TokenSource>,
    http: Http,
    rekor: Option<RekorVersion>,
}

/// Where and how calls are made.
struct Place<'a> {
    http: &'a Http,
    run: &'a Run,
}

impl SigstoreSigner {
    /// A signer that uses these services, and checks what they made with this trusted root.
    pub fn new(
        config: SigningConfig,
        root: TrustedRoot,
        token: impl TokenSource + 'static,
        http: Http,
    ) -> Self {
        SigstoreSigner { config, root, token: Arc::new(token), http, rekor: None }
    }

    /// Uses logs of this interface only; else of the newest.
    #[must_use]
    pub fn rekor(mut self, version: RekorVersion) -> Self {
        self.rekor = Some(version);
        self
    }

    /// Whether there are services and a token now: asked before a model is read, so that it is not done in vain.
    ///
    /// # Errors
    /// `signing-config-invalid`; the codes of tokens.
    pub fn check(&self, run: &Run) -> Result<(), Error> {
        self.config.select(self.rekor, run.now_unix())?;
        self.token.token(run)?.check_time(run.now_unix())
    }

    /// The bundle is verified as anybody would: with the identity that the token says, or else the certificate.
    fn verify(
        &self,
        bundle: &Bundle,
        certified: &fulcio::Certified,
        token: &IdentityToken,
        run: &Run,
    ) -> Result<(), Error> {
        let unverifiable = |what: String| {
            Error::new(
                Code::BundleUnverifiable,
                format!("the signature that was just made cannot be verified: {what}"),
            )
        };
        let stated = x509::stated(&certified.leaf).map_err(|problem| unverifiable(problem.to_string()))?;
        let issuer = stated.issuer.unwrap_or_default();
        if issuer != token.issuer() && token.federated_issuer() != Some(&issuer) {
            return Err(unverifiable(format!(
                "the certificate names the issuer {}, and the token is of {}",
                Shown(&issuer),
                Shown(token.issuer())
            )));
        }
        let identity = certified.identity.clone().unwrap_or(stated.identity);
        let verifier = SigstoreVerifier::new(self.root.clone(), SigstoreIdentity::new(identity, issuer));
        match verifier.verify(bundle, run) {
            Ok(_) => Ok(()),
            Err(NotProven::NotMine(finding) | NotProven::Refused(finding)) => {
                run.check()?;
                Err(unverifiable(format!("{} ({})", finding.what, finding.code)))
            }
        }
    }
}

impl Signer for SigstoreSigner {
    fn sign(&self, statement: &Statement, run: &Run) -> Result<Bundle, Error> {
        self.sign_payload(statement.payload(), run)
    }
}

impl SigstoreSigner {
    /// Signs any in-toto statement, byte for byte. Models are signed with [`crate::Model::sign`].
    ///
    /// # Errors
    /// As [`Signer::sign`].
    pub fn sign_payload(&self, payload: &Arc<[u8]>, run: &Run) -> Result<Bundle, Error> {
        run.check()?;
        let place = Place { http: &self.http, run };
        let services = self.config.select(self.rekor, run.now_unix())?;
        let token = self.token.token(run)?;
        token.check_time(run.now_unix())?;
        let key = PrivateKey::generate(KeyType::P256)?;
        let certified = fulcio::certify(base(&services.fulcio), &token, &key, &place)?;
        let envelope = seal(&key, payload)?;
        // Before the log: uploading a large statement takes its time, and the certificate's is short.
        let timestamps = services
            .tsa
            .iter()
            .map(|url| tsa::timestamp(url, &envelope.signature, &place))
            .collect::<Result<Vec<_>, _>>()?;
        let entries = services
            .rekor
            .iter()
            .map(|(url, version)| rekor::entry(base(url), *version, &envelope, &certified.leaf, &place))
            .collect::<Result<Vec<_>, _>>()?;
        let bundle = bundle(&certified.leaf, &entries, &timestamps, &envelope)?;
        self.verify(&bundle, &certified, &token, run)?;
        Ok(bundle)
    }
}

impl Bundle {
    /// The positions of its entries in transparency logs. Nothing of it is proven.
    pub fn unverified_log_indexes(&self) -> Vec<u64> {
        self.evidence.entries.iter().map(|entry| entry.index).collect()
    }
}

/// An address that paths are appended to.
fn base(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// The bundle, as if it had been read: what services answered goes through the same checks as what others wrote.
fn bundle(
    leaf: &[u8],
    entries: &[Value],
    timestamps: &[Vec<u8>],
    envelope: &Envelope,
) -> Result<Bundle, Error> {
    let timestamps: Vec<Value> =
        timestamps.iter().map(|der| json!({"signedTimestamp": STANDARD.encode(der)})).collect();
    let mut material = json!({
        "certificate": {"rawBytes": STANDARD.encode(leaf)},
        "tlogEntries": entries,
    });
    if !timestamps.is_empty() {
        material["timestampVerificationData"] = json!({"rfc3161Timestamps": timestamps});
    }
    let text = format!(
        r#"{{"mediaType":"{MEDIA_TYPE}","verificationMaterial":{material},"dsseEnvelope":{{"payload":"{}","payloadType":"{PAYLOAD_TYPE}","signatures":[{{"sig":"{}","keyid":""}}]}}}}"#,
        STANDARD.encode(&envelope.payload),
        STANDARD.encode(&envelope.signature),
    );
    Bundle::parse(text.as_bytes()).map_err(|error| {
        Error::new(
            Code::BundleUnverifiable,
            format!("what the services answered does not make a signature: {error} ({})", error.code()),
        )
    })
}
