//! Sigstore identities of a policy file, and the trusted roots that signatures are verified with.

use std::{path::Path, time::Duration};

use super::{
    identities::Trusted,
    types,
    yaml::{Node, Problem},
};
use crate::{
    CertificateVerifier, Claim, Error, Instance, KeyVerifier, Run, SigstoreIdentity, SigstoreVerifier,
    TrustStore, TrustedRoot, shown::Shown,
};

/// What signatures are verified with.
#[derive(Clone, Debug)]
pub(super) enum Root {
    /// A file, which was read.
    Given(TrustedRoot),
    /// An instance, which is looked up when a rule needs it.
    Instance { instance: Instance, max_age: Option<Duration> },
}

/// Finds the trusted root of an instance.
type Find<'a> = dyn Fn(&Instance) -> Result<TrustedRoot, Error> + 'a;

/// How the trusted roots of one rule are found.
pub(super) struct Roots<'a> {
    find: Box<Find<'a>>,
    known: Vec<(Instance, TrustedRoot)>,
}

impl<'a> Roots<'a> {
    /// Those of the cache, or of this build.
    pub(super) fn stored(run: &'a Run) -> Self {
        Roots::found_by(|instance: &Instance| TrustStore::new(instance.clone()).load(run))
    }

    /// Those that the caller finds.
    pub(super) fn found_by(find: impl Fn(&Instance) -> Result<TrustedRoot, Error> + 'a) -> Self {
        Roots { find: Box::new(find), known: Vec::new() }
    }

    fn get(&mut self, root: &Root) -> Result<TrustedRoot, Error> {
        match root {
            Root::Given(root) => Ok(root.clone()),
            Root::Instance { instance, max_age } => {
                let known = self.known.iter().find(|(known, _)| known == instance);
                let found = match known {
                    Some((_, root)) => root.clone(),
                    None => {
                        let root = (self.find)(instance)?;
                        self.known.push((instance.clone(), root.clone()));
                        root
                    }
                };
                Ok(match max_age {
                    Some(age) => found.max_age(*age),
                    None => found,
                })
            }
        }
    }

    /// A key whose bundles may hold log entries and timestamps.
    pub(super) fn key(&mut self, verifier: KeyVerifier, root: Option<&Root>) -> Result<KeyVerifier, Error> {
        match root {
            Some(root) => Ok(verifier.trusted_root(self.get(root)?)),
            None => Ok(verifier),
        }
    }

    /// A certificate whose bundles may hold log entries and timestamps.
    pub(super) fn certificate(
        &mut self,
        verifier: CertificateVerifier,
        root: Option<&Root>,
    ) -> Result<CertificateVerifier, Error> {
        match root {
            Some(root) => Ok(verifier.trusted_root(self.get(root)?)),
            None => Ok(verifier),
        }
    }

    /// An identity of Sigstore.
    pub(super) fn sigstore(
        &mut self,
        identity: SigstoreIdentity,
        root: Option<&Root>,
    ) -> Result<SigstoreVerifier, Error> {
        let missing = || Error::new(crate::Code::TrustRootAbsent, "a Sigstore identity has no trusted root");
        Ok(SigstoreVerifier::new(self.get(root.ok_or_else(missing)?)?, identity))
    }
}

/// A trusted root as a policy describes it.
pub(super) fn read(given: &types::TrustedRoot, node: &Node, base: &Path) -> Result<Root, Problem> {
    match (&given.file, given.instance) {
        (Some(_), None) if given.max_age.is_some() => Err(Problem::new(
            node.key("max_age"),
            "max_age goes with an instance: nobody says how old a file is",
        )),
        (Some(path), None) => TrustedRoot::read(base.join(path))
            .map(Root::Given)
            .map_err(|error| Problem::of(node.get("file").mark, &error)),
        (None, Some(instance)) => {
            let max_age = given.max_age.as_ref().map(|text| {
                let what = || format!("{:?} is not an age such as 12h, 30d or 4w", Shown(text));
                age(text).ok_or_else(|| Problem::new(node.get("max_age").mark, what()))
            });
            let instance = match instance {
                types::Instance::PublicGood => Instance::PublicGood,
                types::Instance::Staging => Instance::Staging,
            };
            Ok(Root::Instance { instance, max_age: max_age.transpose()? })
        }
        _ => Err(Problem::new(node.mark, "give file or instance, and not both")),
    }
}

/// A whole number of hours, days or weeks.
fn age(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(hours * 3600).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// The identity that a policy describes, with its own trusted root; `shared` says that the policy has one.
pub(super) fn sigstore(
    given: &types::Sigstore,
    node: &Node,
    shared: bool,
    base: &Path,
) -> Result<Trusted, Vec<Problem>> {
    let own = given.trusted_root.as_ref().map(|own| read(own, node.get("trusted_root"), base)).transpose();
    let (claims, mut problems) = claims(given, node);
    if given.trusted_root.is_none() && !shared {
        let what = "a Sigstore identity needs a trusted_root, its own or the policy's";
        problems.push(Problem::new(node.mark, what));
    }
    match (identity(given, node), own) {
        (Ok(identity), Ok(own)) if problems.is_empty() => {
            let with = |identity: SigstoreIdentity, (claim, value): &(Claim, &String)| {
                identity.claim(*claim, *value)
            };
            let identity = claims.iter().fold(identity, with);
            Ok(Trusted::sigstore(in_words(given), identity, own))
        }
        (identity, own) => {
            problems.extend(identity.err());
            problems.extend(own.err());
            Err(problems)
        }
    }
}

/// The claims that are demanded, and those that there are not.
fn claims<'a>(given: &'a types::Sigstore, node: &Node) -> (Vec<(Claim, &'a String)>, Vec<Problem>) {
    let (mut claims, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in &given.claims {
        match Claim::ALL.iter().find(|claim| claim.name() == name) {
            Some(claim) => claims.push((*claim, value)),
            None => {
                let names = Claim::ALL.iter().map(|claim| claim.name()).collect::<Vec<_>>().join(", ");
                let what = format!("there is no claim {:?}; there are {names}", Shown(name));
                problems.push(Problem::new(node.get("claims").key(name), what));
            }
        }
    }
    (claims, problems)
}

/// Identity and issuer, each as a text or as a pattern.
fn identity(given: &types::Sigstore, node: &Node) -> Result<SigstoreIdentity, Problem> {
    let issuer = given.issuer.clone().unwrap_or_default();
    let identity = match (&given.identity, &given.identity_regexp) {
        (Some(identity), None) => Ok(SigstoreIdentity::new(identity, issuer)),
        (None, Some(pattern)) => SigstoreIdentity::matching(pattern, issuer)
            .map_err(|error| Problem::of(node.get("identity_regexp").mark, &error)),
        _ => Err(Problem::new(node.mark, "give identity or identity_regexp, and not both")),
    }?;
    match (&given.issuer, &given.issuer_regexp) {
        (Some(_), None) => Ok(identity),
        (None, Some(pattern)) => identity
            .issuer_matching(pattern)
            .map_err(|error| Problem::of(node.get("issuer_regexp").mark, &error)),
        _ => Err(Problem::new(node.mark, "give issuer or issuer_regexp, and not both")),
    }
}

fn in_words(given: &types::Sigstore) -> String {
    let either = |text: &Option<String>, pattern: &Option<String>| match (text, pattern) {
        (Some(text), _) => Shown(text).to_string(),
        (None, pattern) => format!("matching {}", Shown(pattern.as_deref().unwrap_or_default())),
    };
    let mut words = format!(
        "Sigstore identity {}, issuer {}",
        either(&given.identity, &given.identity_regexp),
        either(&given.issuer, &given.issuer_regexp)
    );
    for (name, value) in &given.claims {
        words.push_str(&format!(", {name} {}", Shown(value)));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(["12h", "30d", "4w"].map(age), [hours(12), hours(720), hours(672)]);
        for text in ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30m", "99999999999999999w"] {
            assert_eq!(age(text), None, "{text}");
        }
    }

    #[test]
    fn a_root_is_looked_up_once_and_may_not_be_older_than_the_policy_says() {
        let run = Run::new();
        let stored = TrustStore::new(Instance::PublicGood).cache_dir("/nonexistent").load(&run).unwrap();
        let now = run.now_unix();
        for (as_of, age, stale) in [
            (Some(now - 10 * 86_400), "30d", false),
            (Some(now - 31 * 86_400), "30d", true),
            (None, "30d", true),
        ] {
            let asked = std::cell::Cell::new(0);
            let mut roots = Roots::found_by(|_| {
                asked.set(asked.get() + 1);
                let mut root = stored.clone();
                root.origin.as_of = as_of;
                Ok(root)
            });
            let root = Root::Instance { instance: Instance::PublicGood, max_age: self::age(age) };
            for _ in 0..2 {
                let fresh = roots.get(&root).unwrap().fresh(None, &run);
                assert_eq!(
                    fresh.err().map(|finding| finding.code),
                    stale.then_some(crate::Code::TrustRootStale)
                );
            }
            assert_eq!(asked.get(), 1);
        }
    }
}
