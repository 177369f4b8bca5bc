//! `policy`: its words; and what may not be said beside a policy.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use weightseal::{Code, Error, ModelUri, Shown};

use super::{method::Given, values::PlaceParser};

pub(super) const EXAMPLES: &str = "Examples:\n  \
    weightseal policy check policy.yaml\n  \
    weightseal policy explain models/llama --policy policy.yaml --model-id acme/llama-3\n  \
    weightseal policy schema > policy.schema.json";

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy file, with all keys and certificates that it names, and tell everything that is wrong with it
    Check {
        /// The policy file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Tell which rule of a policy applies to a model and why, and what it demands
    Explain(ExplainArgs),
    /// Print the JSON schema of policy files
    Schema,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The model, which need not exist
    #[arg(value_hint = ValueHint::AnyPath, value_parser = PlaceParser)]
    model: ModelUri,

    /// The policy file
    #[arg(long, value_name = "FILE", env = "WEIGHTSEAL_POLICY", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub(crate) policy: PathBuf,

    /// The id of the model [default: its path]
    #[arg(long, value_name = "ID")]
    model_id: Option<String>,
}

impl ExplainArgs {
    /// The model's id.
    ///
    /// # Errors
    /// `bad-argument` when its path is none.
    pub(crate) fn model_id(&self) -> Result<String, Error> {
        self.model_id.clone().map_or_else(|| self.model.id(), Ok)
    }
}

/// Refuses what would weaken or contradict a policy: it says itself who is trusted, how strictly, and which files count.
///
/// # Errors
/// `arguments-conflict`.
pub(super) fn leave_it_to_the_policy(
    named: Option<super::Method>,
    trust: &[Given],
    others: &[(bool, &str)],
) -> Result<(), Error> {
    let trust = trust.iter().map(|given| given.flag);
    let others = others.iter().filter_map(|(given, flag)| given.then_some(*flag));
    let what = match (named, trust.chain(others).next()) {
        (_, Some(flag)) => flag.to_owned(),
        (Some(method), None) => format!("the signing method {method}"),
        (None, None) => return Ok(()),
    };
    Err(Error::new(
        Code::ArgumentsConflict,
        format!(
            "a policy is given (--policy or WEIGHTSEAL_POLICY), and {} does not go with it",
            Shown(&what)
        ),
    )
    .with_help("leave it to the policy, or verify without one"))
}
