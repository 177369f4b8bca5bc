//! Sigstore identities of a policy file, and the trusted root that they are verified with.

use std::path::Path;

use super::{
    identities::Trusted,
    types,
    yaml::{Node, Problem},
};

/// The identity that a policy describes, with its trusted root.
#[cfg(not(feature = "sigstore"))]
pub(super) fn sigstore(
    _: &types::Sigstore,
    node: &Node,
    _: Option<(&types::TrustedRoot, &Node)>,
    _: &Path,
) -> Result<Trusted, Vec<Problem>> {
    let what = "a Sigstore identity stands here, which needs the feature \"sigstore\", and this build does not have it";
    Err(vec![Problem { code: crate::code::Code::FeatureMissing, ..Problem::new(node.mark, what) }])
}

#[cfg(feature = "sigstore")]
pub(super) use with_feature::{Root, sigstore};

#[cfg(feature = "sigstore")]
mod with_feature {
    use std::time::Duration;

    use super::*;
    use crate::{
        Accept, Bundle, Claim, Error, RootOrigin, RootSource, Run, SigstoreIdentity, SigstoreVerifier,
        TrustedRoot,
        code::Code,
        report::Finding,
        shown::Shown,
        verify::{NotProven, Proof, Verifier},
    };

    /// How much later than this machine's clock an instance may have spoken.
    const CLOCKS_DIFFER: i64 = 24 * 3600;

    /// What a Sigstore identity is verified with.
    #[derive(Clone, Debug)]
    pub(in crate::policy::file) enum Root {
        /// A file, which was read.
        Given(TrustedRoot),
        /// An instance, which is looked up when a rule needs it.
        Instance { name: &'static str, max_age: Option<Duration> },
    }

    impl Root {
        /// How signatures of this identity are verified with this root.
        pub(in crate::policy::file) fn accept(&self, identity: SigstoreIdentity) -> Result<Accept, Error> {
            match self {
                Root::Given(root) => Ok(Accept::verifier(SigstoreVerifier::new(root.clone(), identity))),
                Root::Instance { name, max_age } => {
                    let root = resolve(name)?;
                    let origin = root.origin().clone();
                    let inner = SigstoreVerifier::new(root, identity);
                    Ok(Accept::verifier(Fresh { inner, origin, max_age: *max_age }))
                }
            }
        }
    }

    /// The trusted root of an instance.
    fn resolve(name: &'static str) -> Result<TrustedRoot, Error> {
        use sigstore_verify::trust_root as family;
        let text = match name {
            "staging" => family::SIGSTORE_STAGING_TRUSTED_ROOT,
            _ => family::SIGSTORE_PRODUCTION_TRUSTED_ROOT,
        };
        let origin =
            RootOrigin { source: RootSource::Embedded, name: name.to_owned(), as_of: None, expires: None };
        TrustedRoot::parse(text.as_bytes(), origin)
    }

    /// Verifies with a trusted root that may not be older than so much.
    #[derive(Debug)]
    struct Fresh {
        inner: SigstoreVerifier,
        origin: RootOrigin,
        max_age: Option<Duration>,
    }

    impl Verifier for Fresh {
        fn verify(&self, bundle: &Bundle, run: &Run) -> Result<Proof, NotProven> {
            // A bundle of another method does not need the root.
            if bundle.signing_method() == "sigstore"
                && let Some(max_age) = self.max_age
            {
                fresh(&self.origin, max_age, run.now_unix()).map_err(NotProven::Refused)?;
            }
            self.inner.verify(bundle, run)
        }
    }

    /// Refuses a root that is older than so much, one of an unknown age, and a clock that cannot tell.
    fn fresh(origin: &RootOrigin, max_age: Duration, now: i64) -> Result<(), Finding> {
        let allowed = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        let name = Shown(&origin.name);
        let Some(as_of) = origin.as_of else {
            let what =
                format!("the age of the trusted root of {name} is not known, and the policy limits it");
            return Err(Finding::new(Code::TrustRootStale, what));
        };
        let age = now.saturating_sub(as_of);
        if age < -CLOCKS_DIFFER {
            let what = format!("by this machine's clock the trusted root of {name} is of the future");
            return Err(Finding::new(Code::ClockWrong, what));
        }
        if age > allowed {
            let what = format!(
                "the trusted root of {name} is {} hours old, and the policy allows {}",
                age / 3600,
                allowed / 3600
            );
            return Err(Finding::new(Code::TrustRootStale, what));
        }
        Ok(())
    }

    /// The identity that a policy describes, with its trusted root.
    pub(in crate::policy::file) fn sigstore(
        given: &types::Sigstore,
        node: &Node,
        trust: Option<(&types::TrustedRoot, &Node)>,
        base: &Path,
    ) -> Result<Trusted, Vec<Problem>> {
        let root = match trust {
            Some((given, place)) => read(given, place, base),
            None => Err(Problem::new(
                node.mark,
                "a Sigstore identity needs a trusted_root, its own or the policy's",
            )),
        };
        let (claims, mut problems) = claims(given, node);
        match (identity(given, node), root) {
            (Ok(identity), Ok(root)) if problems.is_empty() => {
                let with = |identity: SigstoreIdentity, (claim, value): &(Claim, &String)| {
                    identity.claim(*claim, *value)
                };
                let identity = claims.iter().fold(identity, with);
                Ok(Trusted::sigstore(in_words(given), identity, root))
            }
            (identity, root) => {
                problems.extend(identity.err());
                problems.extend(root.err());
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

    fn read(given: &types::TrustedRoot, node: &Node, base: &Path) -> Result<Root, Problem> {
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
                let name = match instance {
                    types::Instance::PublicGood => "public-good",
                    types::Instance::Staging => "staging",
                };
                Ok(Root::Instance { name, max_age: max_age.transpose()? })
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

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ages_have_a_unit() {
            assert_eq!(
                ["12h", "30d", "4w"].map(age),
                [12, 720, 672].map(|hours| Some(Duration::from_secs(hours * 3600)))
            );
            for text in ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30m", "99999999999999999w"] {
                assert_eq!(age(text), None, "{text}");
            }
        }

        #[test]
        fn a_root_that_is_too_old_or_of_unknown_age_or_of_the_future_tells_nothing() {
            let day = 24 * 3600;
            let origin = |as_of| RootOrigin { as_of, ..RootOrigin::given("public-good") };
            let code = |as_of| {
                fresh(&origin(as_of), Duration::from_secs(30 * day as u64), 1000 * day).err().map(|f| f.code)
            };
            assert_eq!([Some(1000 * day), Some(970 * day), Some(1000 * day + 60)].map(code), [None; 3]);
            assert_eq!(code(Some(970 * day - 1)), Some(Code::TrustRootStale));
            assert_eq!(code(None), Some(Code::TrustRootStale));
            assert_eq!(code(Some(1002 * day)), Some(Code::ClockWrong));
        }

        #[test]
        fn the_built_in_roots_can_be_used() {
            for name in ["public-good", "staging"] {
                assert_eq!(resolve(name).unwrap().origin().source, RootSource::Embedded);
            }
        }
    }
}
