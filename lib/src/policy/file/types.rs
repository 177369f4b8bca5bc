//! The policy file as it is written. `docs/policy.md` describes it, `docs/policy.schema.json` is made of these types.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

/// A policy: who may sign which model.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Policy"))]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// The version of this format.
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: DocumentKind,
    /// What the policy is called.
    pub(super) metadata: Option<Metadata>,
    /// What Sigstore identities are verified with, unless they say otherwise.
    pub(super) trusted_root: Option<TrustedRoot>,
    /// What no rule accepts.
    #[serde(default)]
    pub(super) revoked: Revoked,
    /// Who may sign, by names of your own; each has to be used by a rule.
    pub(super) identities: BTreeMap<String, Identity>,
    /// The rules. The one whose pattern is the most specific applies, and no other.
    pub(super) rules: Vec<Rule>,
}

impl Document {
    /// The files that hold what is trusted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let in_file = |source: &Source| match source {
            Source::File(path) => Some(path.clone()),
            Source::Pem(_) => None,
        };
        let root = |root: &Option<TrustedRoot>| root.as_ref()?.file.clone();
        let identities = self.identities.values().filter_map(|identity| match identity {
            Identity::Key(source) => in_file(source),
            Identity::Certificate(given) => in_file(&given.anchors),
            Identity::Sigstore(given) => root(&given.trusted_root),
        });
        root(&self.trusted_root).into_iter().chain(identities).collect()
    }
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum ApiVersion {
    #[serde(rename = "weightseal/v1")]
    V1,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum DocumentKind {
    Policy,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    /// The policy's name, for reports.
    pub(super) name: String,
}

/// Sigstore's keys and certificates: a file, or an instance.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "sigstore"), expect(dead_code, reason = "its form is checked all the same"))]
pub(super) struct TrustedRoot {
    /// A trusted_root.json, or a trust configuration that holds one; relative to the policy file.
    pub(super) file: Option<PathBuf>,
    /// An instance whose trusted root is cached or built in.
    pub(super) instance: Option<Instance>,
    /// How long ago the instance may have said that its trusted root is current: 12h, 30d, 4w.
    pub(super) max_age: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Instance {
    PublicGood,
    Staging,
}

/// Somebody who may sign, by exactly one signing method.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Identity {
    /// The holder of a key; several keys in one text are one holder's.
    Key(Source),
    /// Whoever has a certificate of these authorities.
    Certificate(Certificate),
    /// A Sigstore identity.
    Sigstore(Sigstore),
}

/// PEM: in a file, or here.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// Relative to the policy file.
    File(PathBuf),
    Pem(String),
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Certificate {
    /// The certificates that the chain may end in: roots, intermediates, or the leaf itself.
    pub(super) anchors: Source,
    /// Whose certificate it has to be: a whole alternative name, or the whole subject.
    pub(super) identity: Option<String>,
    /// Accepts whomever the authorities certified; either this or identity has to be given.
    #[serde(default)]
    pub(super) any_identity: bool,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "sigstore"), expect(dead_code, reason = "its form is checked all the same"))]
pub(super) struct Sigstore {
    /// The whole identity: a mail address, or a URI.
    pub(super) identity: Option<String>,
    /// A regular expression for the whole identity.
    pub(super) identity_regexp: Option<String>,
    /// Who vouches for the identity: the whole URL.
    pub(super) issuer: Option<String>,
    /// A regular expression for the whole issuer.
    pub(super) issuer_regexp: Option<String>,
    /// What the certificate has to say of the build that signed, for example source-repository-ref: refs/heads/main.
    #[serde(default)]
    pub(super) claims: BTreeMap<String, String>,
    /// Another trusted root than the policy's.
    pub(super) trusted_root: Option<TrustedRoot>,
}

/// What is revoked.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Revoked {
    /// Models, by their root digests.
    #[serde(default)]
    pub(super) digests: Vec<String>,
    /// Keys, by SHA-256 over their SPKI in DER, in hex.
    #[serde(default)]
    pub(super) keys: Vec<String>,
    /// Certificates, leaf or authority, by serial number or SHA-256, in hex.
    #[serde(default)]
    pub(super) certificates: Vec<String>,
}

/// What is demanded of the models whose ids match.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Patterns for whole model ids: `*` any characters but /, `**` any characters, `?` one character but /.
    pub(super) models: Vec<String>,
    /// Whether what is not verified passes.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Who has to have signed.
    pub(super) require: Require,
    /// What the signer has to have called the model.
    pub(super) name: Option<String>,
    /// The signer has to have called the model by its id.
    #[serde(default)]
    pub(super) name_is_model_id: bool,
    /// The oldest version that passes; goes with a name.
    pub(super) min_version: Option<String>,
    /// The root digests that pass.
    pub(super) digests: Option<Vec<String>>,
    /// What this rule does not accept.
    #[serde(default)]
    pub(super) revoked: Revoked,
    /// The earliest time of signing, as a log or a timestamp proves it.
    pub(super) signed_after: Option<String>,
    /// The weakest check that passes.
    pub(super) assurance: Option<Assurance>,
    /// What may be in a model and not be signed.
    #[serde(default)]
    pub(super) unsigned: Unsigned,
    /// Whether what a model server would load has to be exactly what is signed and there.
    #[serde(default)]
    pub(super) load_set: bool,
    /// The model that an adapter has to build on, as its configuration calls it; checks the load set.
    pub(super) base_model: Option<String>,
    /// What may be signed and not be in a model, as long as nobody would load it; checks the load set.
    #[serde(default)]
    pub(super) missing: Missing,
    /// Whether links that stay in the model are followed, if it was signed with links.
    #[serde(default)]
    pub(super) allow_symlinks: bool,
    /// Needed in enforce mode where neither name nor digests bind the model.
    pub(super) identity: Option<AnyModel>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    #[default]
    Enforce,
    Warn,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Require {
    /// How many of them, each another one; all of them unless it is given.
    pub(super) signatures: Option<u64>,
    /// Names of identities.
    pub(super) of: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Assurance {
    /// Every signed byte was hashed.
    Hashed,
    /// Every signed byte was hashed earlier, and nothing changed since.
    Receipt,
    /// The store's own digests were compared.
    Stated,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Unsigned {
    /// Patterns for whole file names, relative to the model, as for models.
    #[serde(default)]
    pub(super) allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Missing {
    /// Patterns for whole file names, relative to the model, as for models.
    #[serde(default)]
    pub(super) allow: Vec<String>,
}

/// That a signature is good for any model of its signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum AnyModel {
    AnyModelOfThese,
}
