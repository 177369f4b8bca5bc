//! `weightseal policy`.

use std::{fmt::Write as _, path::Path};

use serde::Serialize;
use weightseal::{Class, Error, Explanation, Finding, POLICY_SCHEMA, PolicyFile, Shown};

use crate::{
    args::{ExplainArgs, PolicyCommand},
    render::{
        Console,
        json::{VERSION, path},
    },
};

/// The JSON of `policy check`.
#[derive(Serialize)]
struct Checked<'a> {
    version: u32,
    policy: String,
    valid: bool,
    digest: Option<&'a str>,
    name: Option<&'a str>,
    identities: Option<usize>,
    rules: Option<usize>,
    problems: Vec<&'a Finding>,
}

/// The JSON of `policy explain`.
#[derive(Serialize)]
struct Explained<'a> {
    version: u32,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

/// Checks or explains a policy.
///
/// # Errors
/// Those of the policy and of output.
pub(crate) fn run(command: PolicyCommand, console: &Console) -> Result<u8, Error> {
    match command {
        PolicyCommand::Check { file } => check(&file, console),
        PolicyCommand::Explain(args) => explain(&args, console),
        PolicyCommand::Schema => console.print(POLICY_SCHEMA).map(|()| 0),
    }
}

fn check(file: &Path, console: &Console) -> Result<u8, Error> {
    let checked = PolicyFile::check(file);
    let (policy, problems) = match &checked {
        Ok(policy) => (Some(policy), &[][..]),
        Err(errors) => (None, errors.as_slice()),
    };
    let checked = Checked {
        version: VERSION,
        policy: path(file),
        valid: policy.is_some(),
        digest: policy.map(PolicyFile::digest),
        name: policy.and_then(PolicyFile::name),
        identities: policy.map(|policy| policy.counts().0),
        rules: policy.map(|policy| policy.counts().1),
        problems: problems.iter().map(Error::finding).collect(),
    };
    console.show(&checked, text)?;
    // What could not be read says nothing about the policy; a mistake in it does.
    let misuse = problems.iter().find(|error| error.class() == Class::Misuse);
    Ok(misuse.or(problems.first()).map_or(0, |error| error.class().exit()))
}

fn text(checked: &Checked<'_>) -> String {
    let policy = Shown(&checked.policy);
    let (Some(identities), Some(rules)) = (checked.identities, checked.rules) else {
        let mut out = format!("not valid: {policy}\n");
        for problem in &checked.problems {
            let _ = writeln!(out, "  {}: {}", problem.code, problem.what);
        }
        return out;
    };
    let digest = checked.digest.unwrap_or_default();
    format!("valid: {policy}\n  digest: {digest}\n  identities: {identities}, rules: {rules}\n")
}

fn explain(args: &ExplainArgs, console: &Console) -> Result<u8, Error> {
    let explanation = PolicyFile::read(&args.policy)?.explain(&args.model_id()?)?;
    let explained = Explained { version: VERSION, explanation: &explanation };
    console.show(&explained, |explained| explained.explanation.to_string())?;
    Ok(0)
}
