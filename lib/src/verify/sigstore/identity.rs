//! Who a Sigstore certificate says signed, and who was asked for.

use regex_lite::Regex;

use crate::{Error, code::Code, report::Finding, shown::Shown, verify::x509::Stated};

/// Who must have signed: an identity and who vouches for it, both, and whatever else the certificate has to say.
///
/// Texts match whole and byte for byte; patterns match whole too.
#[derive(Clone, Debug)]
pub struct SigstoreIdentity {
    pub(super) identity: Matcher,
    pub(super) issuer: Matcher,
    pub(super) claims: Vec<(Claim, String)>,
}

/// A text, or a pattern for one.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    /// The whole text.
    Exact(String),
    /// What the pattern matches from the first to the last letter.
    Pattern { text: String, pattern: Regex },
}

impl SigstoreIdentity {
    /// This identity (a mail address or a URI, as it stands in the certificate) as this issuer knows it.
    pub fn new(identity: impl Into<String>, issuer: impl Into<String>) -> Self {
        SigstoreIdentity {
            identity: Matcher::Exact(identity.into()),
            issuer: Matcher::Exact(issuer.into()),
            claims: Vec::new(),
        }
    }

    /// Whatever identity this regular expression matches as a whole, as this issuer knows it.
    ///
    /// # Errors
    /// `bad-argument` when it is no regular expression.
    pub fn matching(pattern: &str, issuer: impl Into<String>) -> Result<Self, Error> {
        Ok(SigstoreIdentity { identity: Matcher::pattern(pattern)?, ..SigstoreIdentity::new("", issuer) })
    }

    /// The same, for every issuer that this regular expression matches as a whole.
    ///
    /// # Errors
    /// `bad-argument` when it is no regular expression.
    pub fn issuer_matching(mut self, pattern: &str) -> Result<Self, Error> {
        self.issuer = Matcher::pattern(pattern)?;
        Ok(self)
    }

    /// Demands that the certificate says so of the build that signed: of GitHub alone every branch of every fork has the
    /// same issuer.
    #[must_use]
    pub fn claim(mut self, claim: Claim, value: impl Into<String>) -> Self {
        self.claims.push((claim, value.into()));
        self
    }
}

impl SigstoreIdentity {
    /// Holds a certificate's statements against what was asked for.
    ///
    /// # Errors
    /// `identity-not-expected`, `issuer-not-expected`, `claim-not-expected`.
    pub(super) fn check(&self, stated: &Stated) -> Result<(), Finding> {
        if !self.identity.matches(&stated.identity) {
            let (wanted, actual) = (self.identity.text(), stated.identity.as_str());
            let what = format!("{} has signed, and not {}", Shown(actual), Shown(wanted));
            return Err(Finding::new(Code::IdentityNotExpected, what).differs(wanted, actual));
        }
        let issuer = stated.issuer.as_deref();
        if !issuer.is_some_and(|issuer| self.issuer.matches(issuer)) {
            let (wanted, actual) = (self.issuer.text(), issuer.unwrap_or("nobody"));
            let what = format!(
                "{} vouches for {}, and not {}",
                Shown(actual),
                Shown(&stated.identity),
                Shown(wanted)
            );
            return Err(Finding::new(Code::IssuerNotExpected, what).differs(wanted, actual));
        }
        for (claim, wanted) in &self.claims {
            let actual = claimed(stated, *claim);
            if actual != Some(wanted) {
                let actual = actual.unwrap_or("nothing");
                let what = format!(
                    "the certificate says {} of the {}, and not {}",
                    Shown(actual),
                    claim.name(),
                    Shown(wanted)
                );
                return Err(Finding::new(Code::ClaimNotExpected, what).differs(wanted, actual));
            }
        }
        Ok(())
    }
}

/// What a certificate says of the build that signed.
pub(super) fn claimed(stated: &Stated, claim: Claim) -> Option<&str> {
    stated.claims.iter().find(|(arc, _)| *arc == claim.arc()).map(|(_, text)| text.as_str())
}

impl Matcher {
    fn pattern(text: &str) -> Result<Self, Error> {
        let malformed = |why: String| {
            Error::new(Code::BadArgument, format!("{:?} is not a regular expression: {why}", Shown(text)))
        };
        // By itself first, so that a stray parenthesis cannot reach across what anchors it.
        Regex::new(text).map_err(|error| malformed(error.to_string()))?;
        let pattern =
            Regex::new(&format!(r"\A(?:{text})\z")).map_err(|error| malformed(error.to_string()))?;
        Ok(Matcher::Pattern { text: text.to_owned(), pattern })
    }

    pub(super) fn matches(&self, actual: &str) -> bool {
        match self {
            Matcher::Exact(text) => text == actual,
            Matcher::Pattern { pattern, .. } => pattern.is_match(actual),
        }
    }

    /// What was asked for.
    pub(super) fn text(&self) -> &str {
        match self {
            Matcher::Exact(text) | Matcher::Pattern { text, .. } => text,
        }
    }
}

macro_rules! claims {
    ($($variant:ident, $name:literal, $arc:literal, $meaning:literal;)*) => {
        /// What Fulcio writes into a certificate about the build that signed (Fulcio's `docs/oid-info.md`, arcs 9 to 23 of
        /// 1.3.6.1.4.1.57264.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Claim {
            $(#[doc = $meaning] $variant,)*
        }

        impl Claim {
            /// Every claim.
            pub const ALL: &'static [Claim] = &[$(Claim::$variant),*];

            /// The kebab-case name, as flags spell it, for example `source-repository-ref`.
            pub const fn name(self) -> &'static str {
                match self { $(Claim::$variant => $name,)* }
            }

            /// The last arc of its object identifier.
            pub(super) const fn arc(self) -> u32 {
                match self { $(Claim::$variant => $arc,)* }
            }
        }
    };
}

claims! {
    BuildSignerUri, "build-signer-uri", 9, "The workflow that ran, which may be shared by others.";
    BuildSignerDigest, "build-signer-digest", 10, "The commit of that workflow.";
    RunnerEnvironment, "runner-environment", 11, "On whose machine: `github-hosted` or `self-hosted`.";
    SourceRepository, "source-repository", 12, "The URI of the repository that was built.";
    SourceRepositoryDigest, "source-repository-digest", 13, "The commit that was built.";
    SourceRepositoryRef, "source-repository-ref", 14, "The branch or tag that was built, for example `refs/heads/main`.";
    SourceRepositoryId, "source-repository-id", 15, "The repository's number, which outlives its name.";
    SourceRepositoryOwner, "source-repository-owner", 16, "The URI of its owner.";
    SourceRepositoryOwnerId, "source-repository-owner-id", 17, "Its owner's number.";
    BuildConfigUri, "build-config-uri", 18, "The workflow that was triggered.";
    BuildConfigDigest, "build-config-digest", 19, "The commit of that workflow.";
    BuildTrigger, "build-trigger", 20, "What started it, for example `push` or `pull_request`.";
    RunInvocationUri, "run-invocation-uri", 21, "The run.";
    SourceRepositoryVisibility, "source-repository-visibility", 22, "`public` or `private`, when it was signed.";
    DeploymentEnvironment, "deployment-environment", 23, "The environment that the job deployed to.";
}
