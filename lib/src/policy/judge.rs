//! Steps 1 to 3 of a verification: from bundles to the statements that are true.

use std::{collections::HashSet, fmt};

use super::{Accept, Policy, Version, signers::signers, without_zeros};
use crate::{
    Bundle, Error, Run,
    bundle::{Release, Statement},
    code::{Class, Code},
    report::{Assurance, Binding, Finding, Report, SignatureReport},
    shown::Shown,
    verify::{NotProven, Proof, rfc3339},
};

/// What proves a time: a transparency log, or a timestamp authority.
const PROVING: [&str; 2] = ["log", "timestamp"];

impl Policy {
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
        let signers = signers(&accepted, self.accepts.iter().any(|(name, _)| name.is_some()));
        let enough = self.require.map_or(refused.is_empty(), |required| signers >= required);
        if !enough {
            // Of what could not be told it is not known whether it would have sufficed.
            let unknown =
                refused.iter().filter(|finding| finding.code.class() == Class::CouldNotTell).count();
            let too_few = |required: &usize| {
                refused.is_empty() || (!accepted.is_empty() && signers + unknown < *required)
            };
            if let Some(required) = self.require.filter(too_few) {
                let what = format!("{signers} of {required} required signers have signed");
                refused.push(Finding::new(Code::TooFewSignatures, what));
            }
            report.findings.append(&mut refused);
            return Vec::new();
        }
        if self.same_content && !same_content(&accepted) {
            let what = "the accepted signatures are not over the same content";
            report.findings.push(Finding::new(Code::StatementsDiffer, what));
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
        let (proof, named) = self.prove(bundle, run)?;
        row.identity = Some(proof.identity.clone());
        row.time = Some(proof.time.clone());
        row.notes.clone_from(&proof.notes);
        row.logged.clone_from(&proof.logged);
        row.trusted_root.clone_from(&proof.root);
        self.not_revoked(&proof)?;
        self.late_enough(&proof)?;
        let statement = Statement::parse(proof.payload.clone()).map_err(Error::into_finding)?;
        let digest = statement.manifest().root_digest();
        row.describe(&statement);
        if self.revoked_digests.contains(&digest.hex()) {
            return Err(Finding::new(Code::ModelRevoked, format!("the model {digest} is revoked")));
        }
        if let Some(wanted) = self.digests.iter().find(|wanted| !wanted.contains(&digest)) {
            let expected = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            return Err(Finding::new(
                Code::DigestNotExpected,
                "the signature is for another model or release than expected",
            )
            .differs(expected, digest));
        }
        let release = statement.release();
        demand(Code::NameNotExpected, "name", self.name.as_ref(), release.name.as_ref())?;
        demand(Code::VersionNotExpected, "version", self.version.as_ref(), release.version.as_ref())?;
        if let Some(least) = &self.min_version {
            not_before(least, release)?;
        }
        if release.stated && self.least_assurance() > Assurance::Stated {
            let what = "the signer read no weights, and signed the digests that the store stated";
            return Err(Finding::new(Code::AssuranceTooLow, what)
                .with_help("have the model signed by who reads it, or accept the assurance \"stated\""));
        }
        let names = named.iter().filter_map(|at| self.accepts.get(*at)?.0.as_deref());
        let names = names.map(|name| Shown(name).to_string()).collect::<Vec<_>>().join(", ");
        if !names.is_empty() {
            row.notes.push(format!("accepted as {names}"));
        }
        let mut who = proof.identity.names();
        who.push(proof.key);
        Ok(VerifiedStatement { statement, who, named })
    }

    fn not_revoked(&self, proof: &Proof) -> Result<(), Finding> {
        if self.revoked_keys.contains(&proof.key) || self.revoked_keys.contains(&proof.hint) {
            return Err(Finding::new(Code::KeyRevoked, format!("the key {} is revoked", proof.key)));
        }
        let revoked = |serial: &&String| self.revoked_certificates.contains(&without_zeros(serial));
        match proof.certificates.iter().find(revoked) {
            Some(serial) => {
                Err(Finding::new(Code::CertificateRevoked, format!("the certificate {serial} is revoked")))
            }
            None => Ok(()),
        }
    }

    /// Holds the proven time against the one after which the model has to be signed.
    fn late_enough(&self, proof: &Proof) -> Result<(), Finding> {
        let Some(after) = self.signed_after else { return Ok(()) };
        let proven = PROVING.contains(&proof.time.by.as_str());
        let at = proof.time.at.parse::<jiff::Timestamp>().ok().filter(|_| proven);
        let Some(at) = at else {
            let what = "the policy demands a time of signing, and neither a log nor a timestamp proves one";
            return Err(Finding::new(Code::TimeUnproven, what));
        };
        if at.as_second() < after {
            let wanted = rfc3339(after);
            let what = format!("the model was signed at {at}, and the policy accepts none before {wanted}");
            return Err(Finding::new(Code::SignedTooEarly, what).differs(wanted, at));
        }
        Ok(())
    }

    /// Asks each accepted verifier; the reason that tells most is given when none proves the bundle. Of verifiers that have
    /// names all are asked, and it is said which of them prove it; a proof that is revoked or too early counts for nobody.
    fn prove(&self, bundle: &Bundle, run: &Run) -> Result<(Proof, Vec<usize>), Finding> {
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
        let mut proven: Option<(Proof, Vec<usize>)> = None;
        let mut early: Option<Proof> = None;
        for (at, (name, Accept(verifier))) in self.accepts.iter().enumerate() {
            let proof = verifier.verify(bundle, run).map_err(|not| match not {
                NotProven::NotMine(finding) | NotProven::Refused(finding) => finding,
            });
            let finding = match (proof, name) {
                (Ok(proof), None) => return Ok((proof, Vec::new())),
                (Ok(proof), Some(_)) => {
                    // What is revoked by one path is revoked by every other.
                    if self.not_revoked(&proof).is_err() {
                        return Ok((proof, Vec::new()));
                    }
                    match &mut proven {
                        _ if self.late_enough(&proof).is_err() => {
                            early.get_or_insert(proof);
                        }
                        Some((_, named)) => named.push(at),
                        none => *none = Some((proof, vec![at])),
                    }
                    continue;
                }
                (Err(finding), _) => finding,
            };
            if reason.as_ref().is_none_or(|before| telling(finding.code) > telling(before.code)) {
                reason = Some(finding);
            }
        }
        // One that is too early is told as that by whoever asked.
        if let Some(proven) = proven.or(early.map(|proof| (proof, Vec::new()))) {
            return Ok(proven);
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
        if let Some(version) = &self.min_version {
            bind("min-version", version.to_string());
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

/// Refuses a signed version that is older than this one, or that cannot be compared with it.
fn not_before(least: &Version, release: &Release) -> Result<(), Finding> {
    let actual = release.version.as_deref();
    let (code, how) = match actual.map(Version::parse) {
        Some(Some(version)) if !version.is_before(least) => return Ok(()),
        Some(Some(_)) => (Code::VersionTooLow, "is older than"),
        Some(None) => (Code::VersionIncomparable, "cannot be compared with"),
        None => (Code::VersionNotExpected, "is absent, and has to be at least"),
    };
    let actual = actual.unwrap_or("none");
    let what = match code {
        Code::VersionNotExpected => format!("the signed version of the model {how} {least}"),
        _ => format!("the signed version {:?} of the model {how} {least}", Shown(actual)),
    };
    Err(Finding::new(code, what).differs(format!("{least} or later"), actual))
}

/// Whether all statements are over the same resources, digest by digest. What each leaves out may differ: a signature that
/// was there already is left out by the next.
fn same_content(accepted: &[VerifiedStatement]) -> bool {
    let mut manifests = accepted.iter().map(|accepted| accepted.statement.manifest());
    let first = manifests.next();
    manifests.all(|manifest| {
        first.is_none_or(|first| {
            let (one, other) = (first.serialization(), manifest.serialization());
            (one.method, one.algorithm) == (other.method, other.algorithm)
                && first.resources() == manifest.resources()
        })
    })
}

/// A statement that an accepted identity signed; made by [`Policy`] alone.
pub struct VerifiedStatement {
    statement: Statement,
    /// By what the signer is known: his key's fingerprint and all his names.
    pub(super) who: Vec<String>,
    /// Which of the policy's named identities he is.
    pub(super) named: Vec<usize>,
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
        if statement.release().stated {
            self.notes
                .push("the signer read no weights: the digests are those that the store stated".to_owned());
        }
    }
}
