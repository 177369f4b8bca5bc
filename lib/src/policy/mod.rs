//! Policy: which models, who may sign, what is revoked, and how sure one has to be. In memory.
//!
//! A policy is the only way from proofs to a [`VerifiedStatement`], and that is the only way to an expected manifest.

use std::{collections::HashSet, fmt, sync::Arc};

use serde::Serialize;

use crate::{
    Bundle, Error, Run,
    bundle::Statement,
    code::Code,
    manifest::{Algorithm, Digest},
    report::{Assurance, Binding, Finding, Report, SignatureReport},
    shown::Shown,
    verify::{CertificateVerifier, KeyVerifier, NotProven, Proof, Verifier},
};

/// What becomes of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// What is not verified does not pass.
    #[default]
    Enforce,
    /// What is not verified passes, and the report says so.
    Warn,
}

/// Somebody whose signature counts.
#[derive(Clone, Debug)]
pub struct Accept(Arc<dyn Verifier>);

impl Accept {
    /// The holder of this public key, in PEM, or of any of several in one text.
    ///
    /// # Errors
    /// `key-malformed`, `key-unsupported`.
    pub fn key(pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Accept::verifier(KeyVerifier::from_pem(pem.as_ref())?))
    }

    /// Whoever has a certificate that leads to one of these, in PEM.
    ///
    /// # Errors
    /// `key-malformed`.
    pub fn certificate(pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Accept::verifier(CertificateVerifier::from_pem(pem.as_ref())?))
    }

    /// Whomever this verifier proves.
    pub fn verifier(verifier: impl Verifier + 'static) -> Self {
        Accept(Arc::new(verifier))
    }
}

/// Who may sign which model, and how sure one has to be. Every default is the strict one: nobody is trusted, every given
/// signature has to be accepted, every byte has to be hashed, and what is not verified does not pass.
#[derive(Clone, Debug)]
pub struct Policy {
    accepts: Vec<Accept>,
    require: Option<usize>,
    digests: Vec<Digest>,
    revoked_keys: HashSet<String>,
    revoked_certificates: HashSet<String>,
    revoked_digests: HashSet<String>,
    model: Option<String>,
    name: Option<String>,
    version: Option<String>,
    assurance: Assurance,
    mode: Mode,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy {
    /// A policy that trusts nobody yet.
    pub fn new() -> Self {
        Policy {
            accepts: Vec::new(),
            require: None,
            digests: Vec::new(),
            revoked_keys: HashSet::new(),
            revoked_certificates: HashSet::new(),
            revoked_digests: HashSet::new(),
            model: None,
            name: None,
            version: None,
            assurance: Assurance::Hashed,
            mode: Mode::Enforce,
        }
    }

    /// Counts this one's signature.
    #[must_use]
    pub fn accept(mut self, accept: Accept) -> Self {
        self.accepts.push(accept);
        self
    }

    /// Requires signatures by so many different signers; bundles beyond that need not be accepted, but what an accepted one
    /// says has to be true. Without it every bundle that is given has to be accepted.
    ///
    /// Signatures whose keys, certificate subjects or any alternative names coincide are one signer's, however many they are.
    #[must_use]
    pub fn require(mut self, identities: usize) -> Self {
        self.require = Some(identities.max(1));
        self
    }

    /// Demands that the signed root digest is this one, or another one that was demanded.
    ///
    /// # Errors
    /// `digest-malformed`, `algorithm-unsupported` unless it is a SHA-256 digest, as `sha256:HEX` or as hex.
    pub fn digest(mut self, digest: &str) -> Result<Self, Error> {
        self.digests.push(root_digest(digest)?);
        Ok(self)
    }

    /// Demands that the signer called the model so (`sign --name`).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Demands that the signer gave the model this version (`sign --version`).
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Says that this policy is for the model with this id only; any other is refused.
    #[must_use]
    pub fn model(mut self, id: impl Into<String>) -> Self {
        self.model = Some(id.into());
        self
    }

    /// Revokes a key: hex SHA-256 over its SPKI in DER, as reports call it, or the hint of its bundles.
    ///
    /// # Errors
    /// `bad-argument` unless it is the hex of a SHA-256; colons, spaces and case do not matter.
    pub fn revoke_key(mut self, fingerprint: &str) -> Result<Self, Error> {
        let hex = revoked_hex(fingerprint, 64..=64, "a key's SHA-256 fingerprint of 64 hex digits")?;
        self.revoked_keys.insert(hex);
        Ok(self)
    }

    /// Revokes a certificate, be it leaf, authority or anchor: its serial number in hex, or hex SHA-256 over its DER.
    ///
    /// # Errors
    /// `bad-argument` unless it is hex of at most 40 digits, or of 64; colons, spaces and case do not matter.
    pub fn revoke_certificate(mut self, serial: &str) -> Result<Self, Error> {
        let what = "a serial number of up to 40 hex digits, or a SHA-256 of 64";
        let hex = revoked_hex(serial, 1..=40, what).or_else(|_| revoked_hex(serial, 64..=64, what))?;
        self.revoked_certificates.insert(without_zeros(&hex));
        Ok(self)
    }

    /// Revokes a model: its root digest.
    ///
    /// # Errors
    /// As [`digest`](Policy::digest).
    pub fn revoke_digest(mut self, digest: &str) -> Result<Self, Error> {
        self.revoked_digests.insert(root_digest(digest)?.hex());
        Ok(self)
    }

    /// The least assurance that passes; [`Assurance::Hashed`] unless it is set.
    #[must_use]
    pub fn assurance(mut self, least: Assurance) -> Self {
        self.assurance = least;
        self
    }

    /// What becomes of a verdict; [`Mode::Enforce`] unless it is set.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn is_mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn least_assurance(&self) -> Assurance {
        self.assurance
    }

    /// Steps 1 to 3 of a verification: proves the bundles, asks whether their signers may sign this model, and gives out the
    /// statements that are true. What was found goes into the report; nothing is given out when it does not suffice.
    pub(crate) fn judge(
        &self,
        bundles: &[Bundle],
        model_id: Option<&str>,
        run: &Run,
        report: &mut Report,
    ) -> Vec<VerifiedStatement> {
        if let Err(finding) = self.preconditions(bundles, model_id) {
            report.findings.push(finding);
            return Vec::new();
        }
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        for bundle in bundles {
            let mut row = SignatureReport::of(bundle);
            match self.accept_bundle(bundle, run, &mut row) {
                Ok(statement) => {
                    row.accepted = true;
                    accepted.push(statement);
                }
                Err(mut finding) => {
                    finding.bundle = bundle.path.clone();
                    refused.push(finding);
                }
            }
            report.signatures.push(row);
        }
        let signers = signers(&accepted);
        let enough = self.require.map_or(refused.is_empty(), |required| signers >= required);
        if !enough {
            if let Some(required) = self.require.filter(|_| refused.is_empty() || !accepted.is_empty()) {
                let what = format!("{signers} of {required} required signers have signed");
                refused.push(Finding::new(Code::TooFewSignatures, what));
            }
            report.findings.append(&mut refused);
            return Vec::new();
        }
        // With k of n, a signature that does not count is no finding, but it is not passed over in silence either.
        for finding in refused {
            for row in
                report.signatures.iter_mut().filter(|row| !row.accepted && row.bundle == finding.bundle)
            {
                row.notes.push(format!("{}: {}", finding.code, finding.what));
            }
        }
        report.bound = self.bound(&accepted);
        accepted
    }

    fn preconditions(&self, bundles: &[Bundle], model_id: Option<&str>) -> Result<(), Finding> {
        if self.accepts.is_empty() {
            return Err(Finding::new(
                Code::TrustMissing,
                "nothing was given that a signature could be trusted by",
            ));
        }
        if bundles.is_empty() {
            return Err(Finding::new(Code::SignatureMissing, "the model has no signature"));
        }
        if let Some(wanted) = &self.model
            && model_id != Some(wanted)
        {
            let actual = model_id.unwrap_or("without an id");
            return Err(Finding::new(
                Code::ModelNotExpected,
                format!(
                    "the policy is for the model {:?}, and this one is {:?}",
                    Shown(wanted),
                    Shown(actual)
                ),
            )
            .differs(wanted, actual));
        }
        Ok(())
    }

    /// Proves one bundle and holds its statement against the rules.
    fn accept_bundle(
        &self,
        bundle: &Bundle,
        run: &Run,
        row: &mut SignatureReport,
    ) -> Result<VerifiedStatement, Finding> {
        let proof = self.prove(bundle, run)?;
        row.identity = Some(proof.identity.clone());
        row.time = Some(proof.time.clone());
        row.notes.clone_from(&proof.notes);
        row.logged.clone_from(&proof.logged);
        row.trusted_root.clone_from(&proof.root);
        if self.revoked_keys.contains(&proof.key) || self.revoked_keys.contains(&proof.hint) {
            return Err(Finding::new(Code::KeyRevoked, format!("the key {} is revoked", proof.key)));
        }
        if let Some(serial) = proof
            .certificates
            .iter()
            .find(|serial| self.revoked_certificates.contains(&without_zeros(serial)))
        {
            return Err(Finding::new(
                Code::CertificateRevoked,
                format!("the certificate {serial} is revoked"),
            ));
        }
        let statement = Statement::parse(proof.payload.clone()).map_err(Error::into_finding)?;
        let digest = statement.manifest().root_digest();
        row.describe(&statement);
        if self.revoked_digests.contains(&digest.hex()) {
            return Err(Finding::new(Code::ModelRevoked, format!("the model {digest} is revoked")));
        }
        if !self.digests.is_empty() && !self.digests.contains(&digest) {
            let expected = self.digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            return Err(Finding::new(
                Code::DigestNotExpected,
                "the signature is for another model or release than expected",
            )
            .differs(expected, digest));
        }
        let release = statement.release();
        demand(Code::NameNotExpected, "name", self.name.as_ref(), release.name.as_ref())?;
        demand(Code::VersionNotExpected, "version", self.version.as_ref(), release.version.as_ref())?;
        let mut who = proof.identity.names();
        who.push(proof.key);
        Ok(VerifiedStatement { statement, who })
    }

    /// Asks each accepted verifier; the reason that tells most is given when none proves the bundle.
    fn prove(&self, bundle: &Bundle, run: &Run) -> Result<Proof, Finding> {
        if cfg!(not(feature = "sigstore")) && bundle.signing_method() == "sigstore" {
            return Err(Finding::new(
                Code::MethodUnsupported,
                "the bundle was signed with Sigstore, which this build cannot verify",
            ));
        }
        let telling = |code| match code {
            Code::MethodNotAccepted => 0,
            Code::KeyNotTrusted | Code::CertificateAnchorUnknown => 1,
            Code::CertificateIdentity => 2,
            _ => 3,
        };
        let mut reason: Option<Finding> = None;
        for Accept(verifier) in &self.accepts {
            let finding = match verifier.verify(bundle, run) {
                Ok(proof) => return Ok(proof),
                Err(NotProven::NotMine(finding) | NotProven::Refused(finding)) => finding,
            };
            if reason.as_ref().is_none_or(|before| telling(finding.code) > telling(before.code)) {
                reason = Some(finding);
            }
        }
        Err(reason.unwrap_or_else(|| {
            Finding::new(Code::TrustMissing, "nothing was given that a signature could be trusted by")
        }))
    }

    fn bound(&self, accepted: &[VerifiedStatement]) -> Vec<Binding> {
        let mut bound = Vec::new();
        let mut bind = |by: &str, value: String| bound.push(Binding { by: by.to_owned(), value });
        if !self.digests.is_empty() {
            let found: HashSet<String> = accepted
                .iter()
                .map(|statement| statement.statement.manifest().root_digest().to_string())
                .collect();
            found.into_iter().for_each(|digest| bind("expected-digest", digest));
        }
        if let Some(name) = &self.name {
            bind("name", name.clone());
        }
        if let Some(version) = &self.version {
            bind("version", version.clone());
        }
        bound
    }
}

/// Holds a signed annotation against the one that is demanded.
fn demand(code: Code, what: &str, wanted: Option<&String>, actual: Option<&String>) -> Result<(), Finding> {
    match wanted {
        Some(wanted) if actual != Some(wanted) => {
            let actual = actual.map_or("none", String::as_str);
            Err(Finding::new(
                code,
                format!("the signed {what} of the model is {:?}, not {:?}", Shown(actual), Shown(wanted)),
            )
            .differs(wanted, actual))
        }
        _ => Ok(()),
    }
}

fn root_digest(text: &str) -> Result<Digest, Error> {
    let digest: Digest = text.to_ascii_lowercase().parse()?;
    if digest.algorithm() == Algorithm::Sha256 {
        Ok(digest)
    } else {
        Err(Error::new(
            Code::AlgorithmUnsupported,
            format!("root digests are SHA-256, not {}", digest.algorithm()),
        ))
    }
}

/// What is revoked, as plain lower-case hex; what cannot be such a thing must not look revoked.
fn revoked_hex(text: &str, digits: std::ops::RangeInclusive<usize>, what: &str) -> Result<String, Error> {
    let lower = text.trim().to_ascii_lowercase();
    let hex = lower.strip_prefix("sha256:").or(lower.strip_prefix("0x")).unwrap_or(&lower);
    let hex: String = hex.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    if digits.contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(hex)
    } else {
        Err(Error::new(Code::BadArgument, format!("{:?} is not {what}", Shown(text))))
    }
}

/// A serial number without leading zeros, so that `0A`, `0a` and `a` are one.
fn without_zeros(hex: &str) -> String {
    hex.trim_start_matches('0').to_owned()
}

/// How many people signed: statements that share a key, a subject or any other name are one person's.
fn signers(accepted: &[VerifiedStatement]) -> usize {
    let mut people: Vec<HashSet<&str>> = Vec::new();
    for statement in accepted {
        let marks: HashSet<&str> = statement.who.iter().map(String::as_str).collect();
        let (same, mut others): (Vec<_>, Vec<_>) =
            people.into_iter().partition(|person| !person.is_disjoint(&marks));
        others.push(same.into_iter().flatten().chain(marks).collect());
        people = others;
    }
    people.len()
}

/// A statement that an accepted identity signed; made by [`Policy`] alone.
pub struct VerifiedStatement {
    statement: Statement,
    /// By what the signer is known: his key's fingerprint and all his names.
    who: Vec<String>,
}

impl VerifiedStatement {
    /// The statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }
}

impl fmt::Debug for VerifiedStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedStatement({})", self.statement.manifest().root_digest())
    }
}

impl SignatureReport {
    fn of(bundle: &Bundle) -> Self {
        SignatureReport {
            bundle: bundle.path.clone(),
            accepted: false,
            signing_method: Some(bundle.signing_method().to_owned()),
            identity: None,
            time: None,
            logged: Vec::new(),
            trusted_root: None,
            root_digest: None,
            serialization: None,
            hash_algorithm: None,
            name: None,
            version: None,
            notes: Vec::new(),
        }
    }

    /// Adds what a proven statement says.
    fn describe(&mut self, statement: &Statement) {
        let serialization = statement.manifest().serialization();
        self.root_digest = Some(statement.manifest().root_digest().to_string());
        self.serialization = Some(serialization.method.name().to_owned());
        self.hash_algorithm = Some(serialization.algorithm.name().to_owned());
        self.name.clone_from(&statement.release().name);
        self.version.clone_from(&statement.release().version);
    }
}
