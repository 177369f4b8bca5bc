//! Signing method sigstore (OMS 1.0; the Sigstore client specification, "Verification").
//!
//! The numbers are those of the specification's steps; 5 is taken before 4. Steps 1 and 5 are what the library that verifies
//! leaves out; where it does the work itself, its answer is compared with ours.
//!
//! 1. Each log entry is of a log that the trusted root has, and its proof of that log ([`entry`]).
//! 2. A time is established, by timestamps or by what a log has signed ([`times`]).
//! 3. The certificate was valid then, and leads to an authority that was trusted then; a log had it.
//! 4. The log holds the entry; the signature is the certificate's; the entry is about this very signature.
//! 5. The log's key was trusted then.
//! 6. The certificate is the identity's, as its issuer knows it, and says what was demanded ([`identity`]).

mod entry;
mod family;
mod identity;
mod problem;
mod times;

use std::time::Duration;

use sigstore_verify::{
    Error, Policy, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier as Library,
    trust_root::TransparencyLog,
};

pub use identity::{Claim, SigstoreIdentity};

use super::{NotProven, Proof, Verifier, certificate::code, rfc3339, x509};
use crate::{
    Bundle, Run,
    bundle::{LogEntry, Material},
    code::Code,
    keys::PublicKey,
    report::{Finding, Identity, LoggedAt, ProvenTime},
    shown::Shown,
    trust::TrustedRoot,
};
use family::Signed;
use times::Times;

/// What the library cannot verify, of all that model signatures use.
const P521: &str = "ECDSA P-521";

/// Verifies bundles whose certificate a Sigstore authority issued to one identity, as its logs and timestamps prove.
#[derive(Clone, Debug)]
pub struct SigstoreVerifier {
    root: TrustedRoot,
    identity: SigstoreIdentity,
    max_age: Option<Duration>,
}

impl SigstoreVerifier {
    /// A verifier for what this identity signed, as this trusted root proves it. Opens no socket.
    pub fn new(root: TrustedRoot, identity: SigstoreIdentity) -> Self {
        SigstoreVerifier { root, identity, max_age: None }
    }

    /// Accepts nothing when the trusted root was last known to be current longer ago than this.
    #[must_use]
    pub fn max_root_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }
}

impl Verifier for SigstoreVerifier {
    fn verify(&self, bundle: &Bundle, run: &Run) -> Result<Proof, NotProven> {
        let Material::Sigstore(chain) = &bundle.material else {
            let what = format!(
                "the bundle was signed by the method {}, and a Sigstore identity was given",
                bundle.signing_method()
            );
            return Err(NotProven::NotMine(Finding::new(Code::MethodNotAccepted, what)));
        };
        let notes = self.root.fresh(self.max_age, run).map_err(NotProven::Refused)?;
        let proven = prove(bundle, chain, &self.root, run).map_err(NotProven::Refused)?;
        // 6. Whose it is.
        self.identity.check(&proven.stated).map_err(NotProven::NotMine)?;
        Ok(proven.proof(bundle, &self.root, notes))
    }
}

/// What a Sigstore bundle proves, whoever signed it.
struct Proven {
    stated: x509::Stated,
    /// Serial number and SHA-256 of the leaf and of whatever may have issued it.
    certificates: Vec<String>,
    time: ProvenTime,
    logged: Vec<LoggedAt>,
    key: PublicKey,
}

/// Steps 1 to 5.
fn prove(bundle: &Bundle, chain: &[Vec<u8>], root: &TrustedRoot, run: &Run) -> Result<Proven, Finding> {
    // 1. The entries, each of them: one that proves nothing must not ride along.
    let logs = logs(bundle, root)?;
    if logs.is_empty() {
        return Err(Finding::new(Code::LogEntryMissing, "the bundle has no entry of a transparency log"));
    }
    // 2. The times.
    let times = Times::of(bundle, root, run)?;
    let Some(time) = times.earliest() else {
        let what = "neither a timestamp nor a log's promise says when the signature was made";
        return Err(Finding::new(Code::TimeUnproven, what));
    };
    // 3. The certificate.
    let malformed = |problem: x509::Problem| Finding::new(code(&problem), problem.to_string());
    if chain.len() > x509::CHAIN_LENGTH {
        let (what, found, most) = ("certificates in the chain", chain.len(), x509::CHAIN_LENGTH);
        return Err(malformed(x509::Problem::TooMany { what, found, most }));
    }
    let (leaf, others) = chain.split_first().ok_or_else(|| malformed(x509::Problem::NoCertificate))?;
    let stated = x509::stated(leaf).map_err(malformed)?;
    others.iter().try_for_each(|der| x509::must_be_authority(der)).map_err(malformed)?;
    valid_at(&stated, &times)?;
    if !stated.signs_code {
        let what = "the certificate is not for signing code: key usage digitalSignature and extended usage codeSigning";
        return Err(Finding::new(Code::CertificateUsage, what));
    }
    if !stated.scts {
        let what = "the certificate carries no signed certificate timestamp";
        return Err(Finding::new(Code::SctMissing, what));
    }
    if root.family.ctlogs.is_empty() {
        let what = "the trusted root has no log of certificates, and so none that logged this one";
        return Err(Finding::new(Code::SctInvalid, what));
    }
    let key = PublicKey::from_der(&stated.spki_der)
        .map_err(|error| Finding::new(Code::CertificateAlgorithm, error.to_string()))?;
    if key.algorithm() == P521 {
        let what = format!("the certificate is for {P521}, which cannot be verified with Sigstore");
        return Err(Finding::new(Code::CertificateAlgorithm, what));
    }
    // 5. The logs' keys: asked before the library, which calls such a log's promise and checkpoint wrong.
    trusted_at(&logs, &times)?;
    // 3 and 4. Chain, SCT, inclusion, promise, signature, and that the entry is about it.
    let verified = ask(bundle, &Signed::Certificate(chain), root, &VerificationPolicy::any_identity())?;
    let proven: Vec<i64> = verified.verified_timestamps().iter().map(|time| time.as_second()).collect();
    let complete = verified.certificate_verified() && verified.sct_verified() && verified.tlog_verified();
    if !complete || !times.all().all(|time| proven.contains(&time)) {
        return Err(Finding::new(Code::TimeUnproven, "the bundle's times could not be proven"));
    }
    let certificates = certificates(&stated, leaf, others, root);
    Ok(Proven { stated, certificates, time, logged: logged(bundle, &logs), key })
}

/// The certificates that a revocation may name: the library does not say which path it found, so that each one counts that
/// leads from the leaf upwards, of the bundle and of the trusted root.
fn certificates(stated: &x509::Stated, leaf: &[u8], others: &[Vec<u8>], root: &TrustedRoot) -> Vec<String> {
    let authorities = root.family.certificate_authorities.iter();
    let trusted = authorities.flat_map(|authority| &authority.cert_chain.certificates);
    let trusted = trusted.map(|certificate| certificate.raw_bytes.as_bytes());
    let issuers = x509::issuers(leaf, others.iter().map(Vec::as_slice).chain(trusted));
    let own = (stated.serial_hex.clone(), stated.sha256_hex.clone());
    std::iter::once(own).chain(issuers).flat_map(|(serial, sha256)| [serial, sha256]).collect()
}

impl Proven {
    fn proof(self, bundle: &Bundle, root: &TrustedRoot, notes: Vec<String>) -> Proof {
        let Proven { stated, certificates, time, logged, key } = self;
        Proof {
            time,
            payload: bundle.envelope.payload.clone(),
            certificates,
            key: key.fingerprint(),
            hint: key.hint(),
            notes,
            logged,
            root: Some(root.origin().clone()),
            identity: identity_of(stated),
        }
    }
}

fn identity_of(stated: x509::Stated) -> Identity {
    let claims = Claim::ALL
        .iter()
        .filter_map(|claim| Some((claim.name().to_owned(), identity::claimed(&stated, *claim)?.to_owned())));
    Identity::Sigstore {
        claims: claims.collect(),
        identity: stated.identity,
        issuer: stated.issuer.unwrap_or_default(),
        serial: stated.serial_hex,
        fingerprint: stated.sha256_hex,
    }
}

/// Whom a certificate names. Nothing of it is checked.
///
/// # Errors
/// `certificate-malformed`.
pub(super) fn unverified_identity(leaf: &[u8]) -> Result<Identity, crate::Error> {
    x509::stated(leaf)
        .map(identity_of)
        .map_err(|problem| crate::Error::new(code(&problem), problem.to_string()))
}

/// What else a bundle of a key or of a certificate proves: when it was signed, and that logs hold it.
pub(super) struct Evidenced {
    pub(super) time: Option<(i64, ProvenTime)>,
    pub(super) logged: Vec<LoggedAt>,
}

/// Checks log entries and timestamps of a bundle that `key` signed, which may be that of the certificate `leaf`.
///
/// # Errors
/// The codes of log entries and timestamps.
pub(super) fn evidence(
    bundle: &Bundle,
    key: &PublicKey,
    leaf: Option<&[u8]>,
    root: &TrustedRoot,
    run: &Run,
) -> Result<Evidenced, Finding> {
    let logs = logs(bundle, root)?;
    let times = Times::of(bundle, root, run)?;
    if !logs.is_empty() {
        if key.algorithm() == P521 {
            let what = format!("log entries about signatures with {P521} cannot be verified");
            return Err(Finding::new(Code::LogEntryUnsupported, what));
        }
        trusted_at(&logs, &times)?;
        let policy = PublicKeyVerificationPolicy::new(family::key(key.spki_der()));
        let by_key = ask(bundle, &Signed::Key, root, &policy);
        match (by_key, leaf) {
            // The entry may name the certificate. Whom that is trusted by, is not asked here.
            (Err(finding), Some(leaf)) if finding.code == Code::LogEntryMismatch => {
                let policy = VerificationPolicy::any_identity().skip_certificate_chain();
                ask(bundle, &Signed::Certificate(&[leaf.to_vec()]), root, &policy)?;
            }
            (answer, _) => drop(answer?),
        }
    }
    let time = times.all().min().zip(times.earliest());
    Ok(Evidenced { time, logged: logged(bundle, &logs) })
}

/// What the library says of a bundle.
fn ask(
    bundle: &Bundle,
    signed: &Signed<'_>,
    root: &TrustedRoot,
    policy: &dyn Policy,
) -> Result<VerificationResult, Finding> {
    let subject = family::subject(&bundle.envelope.payload)?;
    let signed = family::bundle(bundle, signed)?;
    let finding = |error: Error| problem::finding(&error);
    let library = Library::new(&root.family).map_err(finding)?;
    if family::is_message(bundle) {
        library.verify(bundle.envelope.pae().as_slice(), &signed, policy).map_err(finding)
    } else {
        library.verify(subject, &signed, policy).map_err(finding)
    }
}

fn logs<'r>(bundle: &Bundle, root: &'r TrustedRoot) -> Result<Vec<&'r TransparencyLog>, Finding> {
    let evidence = &bundle.evidence;
    evidence.entries.iter().map(|entry| entry::check(entry, evidence.version, root)).collect()
}

fn logged(bundle: &Bundle, logs: &[&TransparencyLog]) -> Vec<LoggedAt> {
    let entries = bundle.evidence.entries.iter().zip(logs);
    // Without a promise nobody has signed at which position of Rekor v1's whole log it is, only at which of its tree.
    let proven = |entry: &LogEntry| match &entry.proof {
        Some(proof) if entry.promise.is_none() => proof.index,
        _ => entry.index,
    };
    entries.map(|(entry, log)| LoggedAt { log: log.base_url.clone(), index: proven(entry) }).collect()
}

/// Whether the certificate was valid at every time that is proven.
fn valid_at(stated: &x509::Stated, times: &Times) -> Result<(), Finding> {
    let (from, to) = (stated.not_before, stated.not_after);
    let finding = |code, time, what: &str, limit| {
        Finding::new(
            code,
            format!(
                "the signature was made at {}, and the certificate was valid {what} {}",
                rfc3339(time),
                rfc3339(limit)
            ),
        )
    };
    for time in times.all() {
        if time < from {
            return Err(finding(Code::CertificateNotYetValid, time, "from", from));
        }
        if time > to {
            return Err(finding(Code::CertificateExpired, time, "until", to));
        }
    }
    Ok(())
}

/// Whether each log's key was to be trusted at every time that is proven.
fn trusted_at(logs: &[&TransparencyLog], times: &Times) -> Result<(), Finding> {
    for log in logs {
        let Some(period) = log.public_key.valid_for else { continue };
        for time in times.all() {
            let within = jiff_02::Timestamp::from_second(time).is_ok_and(|time| period.contains(time));
            if !within {
                let what = format!(
                    "the signature was made at {}, when the key of the log {} was not valid",
                    rfc3339(time),
                    Shown(&log.base_url)
                );
                return Err(Finding::new(Code::LogKeyExpired, what));
            }
        }
    }
    Ok(())
}
