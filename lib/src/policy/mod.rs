//! Policy: which models, who may sign, what is revoked, and how sure one has to be. In memory; `file` reads it from YAML.
//!
//! A policy is the only way from proofs to a [`VerifiedStatement`], and that is the only way to an expected manifest.

use std::{collections::HashSet, sync::Arc};

use serde::Serialize;

use crate::{
    Error,
    code::Code,
    loadset::Demand,
    manifest::{Algorithm, Digest},
    report::{Assurance, PolicyReport},
    shown::Shown,
    verify::{CertificateVerifier, KeyVerifier, Verifier},
};

mod file;
mod glob;
mod judge;
mod signers;
mod version;

pub use file::{
    Applied, Demands, Explanation, Match, Named, POLICY_SCHEMA, PolicyFile, RevokedCounts, model_id_of,
};
pub(crate) use glob::Pattern;
pub use judge::VerifiedStatement;
use version::Version;

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
    /// Who is accepted, and the name under which he counts.
    accepts: Vec<(Option<String>, Accept)>,
    require: Option<usize>,
    /// Of each of these, one.
    digests: Vec<Vec<Digest>>,
    revoked_keys: HashSet<String>,
    revoked_certificates: HashSet<String>,
    revoked_digests: HashSet<String>,
    model: Option<String>,
    name: Option<String>,
    version: Option<String>,
    min_version: Option<Version>,
    signed_after: Option<i64>,
    same_content: bool,
    /// None where nothing was said.
    assurance: Option<Assurance>,
    mode: Mode,
    content: Option<Content>,
    load_set: bool,
    base_model: Option<String>,
    /// Signed files that may be missing.
    missing: Vec<Pattern>,
    origin: Option<PolicyReport>,
}

/// What a policy file says about which files count; a model's own settings are refused beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// Whether links that stay in the model are followed, if it was signed so.
    pub(crate) symlinks: bool,
    /// The files that need not be signed.
    pub(crate) unsigned: Vec<Pattern>,
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
            min_version: None,
            signed_after: None,
            same_content: false,
            assurance: None,
            mode: Mode::Enforce,
            content: None,
            load_set: false,
            base_model: None,
            missing: Vec::new(),
            origin: None,
        }
    }

    /// Counts this one's signature.
    #[must_use]
    pub fn accept(mut self, accept: Accept) -> Self {
        self.accepts.push((None, accept));
        self
    }

    /// Counts this one's signature under a name. Of several signers each then counts as one of the names, and each name
    /// counts once.
    #[must_use]
    pub fn accept_as(mut self, name: impl Into<String>, accept: Accept) -> Self {
        self.accepts.push((Some(name.into()), accept));
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
        let digest = root_digest(digest)?;
        match self.digests.first_mut() {
            Some(any) => any.push(digest),
            None => self.digests.push(vec![digest]),
        }
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

    /// Demands that the signer gave the model this version or a later one: one to eight decimal numbers with dots between,
    /// compared number by number, a missing one as 0. What cannot be compared so is refused.
    ///
    /// # Errors
    /// `bad-argument` when this version cannot be compared.
    pub fn min_version(mut self, version: &str) -> Result<Self, Error> {
        let what = || format!("{:?} is not a version of numbers with dots between", Shown(version));
        self.min_version =
            Some(Version::parse(version).ok_or_else(|| Error::new(Code::BadArgument, what()))?);
        Ok(self)
    }

    /// Demands that a log or a timestamp proves that the model was signed at this time or later, in seconds since 1970. This
    /// machine's clock proves nothing of it.
    #[must_use]
    pub fn signed_after(mut self, unix: i64) -> Self {
        self.signed_after = Some(unix);
        self
    }

    /// Demands that all accepted signatures are over the same resources: with several signers, all of them mean this content.
    #[must_use]
    pub fn same_content(mut self) -> Self {
        self.same_content = true;
        self
    }

    /// Demands that what a model server would load of the model is exactly what is signed and there, however it may be hidden
    /// from the check otherwise, and that it loads no code of another repository.
    #[must_use]
    pub fn load_set(mut self, check: bool) -> Self {
        self.load_set = check;
        self
    }

    /// Demands that the model is an adapter which builds on this one (`base_model_name_or_path`), and checks the load set.
    #[must_use]
    pub fn base_model(mut self, name: impl Into<String>) -> Self {
        self.base_model = Some(name.into());
        self
    }

    /// Lets signed files be missing whose whole names match this pattern, as long as no model server would load them; the load
    /// set is checked then. May be called several times.
    ///
    /// # Errors
    /// `policy-invalid` for what is no pattern.
    pub fn may_be_missing(mut self, pattern: &str) -> Result<Self, Error> {
        self.missing.push(Pattern::new(pattern)?);
        Ok(self)
    }

    /// Adds what another policy demands of a model and what it revokes: digests, name, versions, time, model. Who is accepted
    /// and how strictly stays as it is.
    ///
    /// # Errors
    /// `arguments-conflict` when both demand another name, version or model, so that nothing could satisfy them.
    pub fn also(mut self, more: Policy) -> Result<Self, Error> {
        both("name", &mut self.name, more.name)?;
        both("version", &mut self.version, more.version)?;
        both("model id", &mut self.model, more.model)?;
        both("base model", &mut self.base_model, more.base_model)?;
        self.load_set |= more.load_set;
        self.digests.extend(more.digests);
        self.revoked_keys.extend(more.revoked_keys);
        self.revoked_certificates.extend(more.revoked_certificates);
        self.revoked_digests.extend(more.revoked_digests);
        self.signed_after = self.signed_after.max(more.signed_after);
        self.same_content |= more.same_content;
        self.min_version = match (self.min_version, more.min_version) {
            (Some(own), Some(other)) if own.is_before(&other) => Some(other),
            (own, other) => own.or(other),
        };
        Ok(self)
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
        self.revoked_keys.insert(key_hex(fingerprint)?);
        Ok(self)
    }

    /// Revokes a certificate, be it leaf, authority or anchor: its serial number in hex, or hex SHA-256 over its DER.
    ///
    /// # Errors
    /// `bad-argument` unless it is hex of at most 40 digits, or of 64; colons, spaces and case do not matter.
    pub fn revoke_certificate(mut self, serial: &str) -> Result<Self, Error> {
        self.revoked_certificates.insert(certificate_hex(serial)?);
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

    /// The least assurance that passes. Unless it is set every byte is hashed, or was, where whoever verifies keeps
    /// [`Receipts`](crate::Receipts); set to [`Assurance::Hashed`] it is hashed each time.
    #[must_use]
    pub fn assurance(mut self, least: Assurance) -> Self {
        self.assurance = Some(least);
        self
    }

    /// What becomes of a verdict; [`Mode::Enforce`] unless it is set.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Which files count, and of which file and rule this is a part.
    pub(crate) fn of_file(mut self, content: Content, origin: PolicyReport) -> Self {
        (self.content, self.origin) = (Some(content), Some(origin));
        self
    }

    /// What is demanded of the load set, where it is to be checked.
    pub(crate) fn demanded_load_set(&self) -> Option<Demand> {
        let (base_model, missing) = (self.base_model.clone(), self.missing.clone());
        (self.load_set || base_model.is_some() || !missing.is_empty()).then(|| Demand {
            base_model,
            missing,
            names_only: false,
        })
    }

    pub(crate) fn content(&self) -> Option<&Content> {
        self.content.as_ref()
    }

    pub(crate) fn origin(&self) -> Option<&PolicyReport> {
        self.origin.as_ref()
    }

    pub(crate) fn is_mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn least_assurance(&self) -> Assurance {
        self.assurance.unwrap_or(Assurance::Hashed)
    }

    /// Whether a receipt may stand in for hashing.
    pub(crate) fn takes_receipts(&self) -> bool {
        self.assurance != Some(Assurance::Hashed)
    }
}

/// Makes one demand of two, which must not contradict each other.
fn both(what: &str, own: &mut Option<String>, more: Option<String>) -> Result<(), Error> {
    match (&*own, more) {
        (Some(own), Some(more)) if *own != more => Err(Error::new(
            Code::ArgumentsConflict,
            format!("the {what} {:?} is demanded, and the policy demands {:?}", Shown(&more), Shown(own)),
        )
        .with_help("leave it to the policy")),
        (None, Some(more)) => {
            *own = Some(more);
            Ok(())
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

fn key_hex(fingerprint: &str) -> Result<String, Error> {
    revoked_hex(fingerprint, 64..=64, "a key's SHA-256 fingerprint of 64 hex digits")
}

fn certificate_hex(serial: &str) -> Result<String, Error> {
    let what = "a serial number of up to 40 hex digits, or a SHA-256 of 64";
    let hex = revoked_hex(serial, 1..=40, what).or_else(|_| revoked_hex(serial, 64..=64, what))?;
    Ok(without_zeros(&hex))
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
