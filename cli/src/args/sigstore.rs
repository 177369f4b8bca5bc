//! Who must have signed, where Sigstore says who it was.

use clap::Args;
use weightseal::{Claim, Code, Error, Shown, SigstoreIdentity};

pub(crate) const SIGSTORE: &str = "Signing method sigstore";

/// The identity, its issuer, and what the certificate has to say of the build.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdentityArgs {
    /// Demand this signer: the whole mail address, or the whole URI of the workflow [alias: --certificate-identity]
    #[arg(long, value_name = "IDENTITY", help_heading = SIGSTORE, conflicts_with = "identity_regexp")]
    identity: Option<String>,

    /// Demand a signer whom this regular expression matches as a whole
    #[arg(long, value_name = "REGEXP", visible_alias = "certificate-identity-regexp", help_heading = SIGSTORE)]
    identity_regexp: Option<String>,

    /// Demand that this provider vouches for him: the whole URL, for example `https://accounts.example.com`
    #[arg(long, value_name = "URL", visible_alias = "certificate-oidc-issuer", help_heading = SIGSTORE,
          conflicts_with = "identity_provider_regexp")]
    identity_provider: Option<String>,

    /// Demand a provider whom this regular expression matches as a whole
    #[arg(long, value_name = "REGEXP", visible_alias = "certificate-oidc-issuer-regexp", help_heading = SIGSTORE)]
    identity_provider_regexp: Option<String>,

    /// Demand that the certificate says this of the build that signed, for example
    /// source-repository-ref=refs/heads/main; may be given several times, and all have to fit
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim, help_heading = SIGSTORE)]
    claim: Vec<(Claim, String)>,
}

impl IdentityArgs {
    /// The identity that these arguments come to; `certificate` is what --certificate-identity says.
    ///
    /// # Errors
    /// `trust-missing` without an identity or without an issuer; `arguments-conflict`; `bad-argument`.
    pub(crate) fn check(self, certificate: Option<String>) -> Result<SigstoreIdentity, Error> {
        let exact = match (self.identity, certificate) {
            (Some(_), Some(_)) => return Err(twice("--identity")),
            (one, other) => one.or(other),
        };
        let issuer = self.identity_provider.as_deref();
        if issuer.is_none() && self.identity_provider_regexp.is_none() {
            return Err(missing("no identity provider", "--identity-provider URL"));
        }
        let mut identity = match (exact, self.identity_regexp) {
            (Some(_), Some(_)) => return Err(twice("--identity-regexp")),
            (Some(exact), None) => SigstoreIdentity::new(exact, issuer.unwrap_or_default()),
            (None, Some(pattern)) => SigstoreIdentity::matching(&pattern, issuer.unwrap_or_default())?,
            (None, None) => return Err(missing("no identity", "--identity IDENTITY")),
        };
        if let Some(pattern) = &self.identity_provider_regexp {
            identity = identity.issuer_matching(pattern)?;
        }
        Ok(self.claim.into_iter().fold(identity, |identity, (claim, value)| identity.claim(claim, value)))
    }

    /// The flags that were given.
    pub(crate) fn flags(&self) -> Vec<&'static str> {
        [
            (self.identity.is_some(), "--identity"),
            (self.identity_regexp.is_some(), "--identity-regexp"),
            (self.identity_provider.is_some(), "--identity-provider"),
            (self.identity_provider_regexp.is_some(), "--identity-provider-regexp"),
            (!self.claim.is_empty(), "--claim"),
        ]
        .into_iter()
        .filter_map(|(given, flag)| given.then_some(flag))
        .collect()
    }
}

fn missing(what: &str, flag: &str) -> Error {
    Error::new(Code::TrustMissing, format!("{what} was given that the signature could be trusted by"))
        .with_help(format!(
            "give {flag}; a Sigstore signature is that of an identity as its provider knows it"
        ))
}

fn twice(flag: &str) -> Error {
    let what = format!("--certificate-identity and {flag} both say who must have signed");
    Error::new(Code::ArgumentsConflict, what).with_help("give one of the two")
}

/// `NAME=VALUE` of a claim.
fn claim(text: &str) -> Result<(Claim, String), String> {
    let names = || Claim::ALL.iter().map(|claim| claim.name()).collect::<Vec<_>>().join(", ");
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("it has no =; the names are {}", names()))?;
    let claim = Claim::ALL.iter().find(|claim| claim.name() == name);
    let claim = claim.ok_or_else(|| format!("{:?} is none of {}", Shown(name), names()))?;
    if value.is_empty() {
        return Err(format!("{name} has no value"));
    }
    Ok((*claim, value.to_owned()))
}
