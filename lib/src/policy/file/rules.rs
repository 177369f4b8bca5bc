//! Rules that can be applied, out of rules as they are written; and all that is wrong with those.

use std::collections::{HashMap, HashSet};

use super::{
    Content, Demands, Mode, Policy, RevokedCounts, decode, types,
    yaml::{Node, Problem, Value},
};
use crate::{
    code::Code,
    policy::{Pattern, Version, certificate_hex, key_hex, root_digest},
    report::Assurance,
    shown::Shown,
    verify::rfc3339,
};

/// A rule that was checked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// From 1.
    pub(super) number: usize,
    pub(super) line: usize,
    pub(super) patterns: Vec<Pattern>,
    /// All of it but who is accepted and what depends on the model.
    pub(super) policy: Policy,
    pub(super) of: Vec<String>,
    pub(super) name_is_model_id: bool,
    pub(super) content: Content,
    pub(super) demands: Demands,
}

/// What does not fit the types: serde stops at the first of it, and here each rule and identity is asked by itself.
pub(super) fn every_fault(root: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(Value::Map(identities)) = root.find("identities").map(|node| &node.value) {
        problems
            .extend(identities.iter().filter_map(|(_, node)| decode::decode::<types::Identity>(node).err()));
    }
    if let Some(Value::List(rules)) = root.find("rules").map(|node| &node.value) {
        problems.extend(rules.iter().filter_map(|node| decode::decode::<types::Rule>(node).err()));
    }
    problems
}

/// Checks every rule, and what rules have to do with each other.
pub(super) fn check(document: &types::Document, root: &Node, problems: &mut Vec<Problem>) -> Vec<Rule> {
    let list = root.get("rules");
    if document.rules.is_empty() {
        problems.push(Problem::new(list.mark, "there is no rule"));
    }
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut rules = Vec::new();
    for (at, rule) in document.rules.iter().enumerate() {
        let node = list.item(at);
        for (nth, pattern) in rule.models.iter().enumerate() {
            let mark = node.get("models").item(nth).mark;
            match known.get(pattern.as_str()) {
                Some(before) if *before == at => {
                    problems
                        .push(Problem::new(mark, format!("the pattern {:?} is given twice", Shown(pattern))));
                }
                Some(before) => {
                    let what = format!("rule {} has the pattern {:?} as well", before + 1, Shown(pattern));
                    problems.push(Problem { code: Code::PolicyAmbiguous, ..Problem::new(mark, what) });
                }
                None => {
                    known.insert(pattern, at);
                }
            }
        }
        rules.push(one(at + 1, rule, node, document, problems));
    }
    let used: HashSet<&String> = document.rules.iter().flat_map(|rule| &rule.require.of).collect();
    // Whom a rule with a mistake in its names means is not known.
    let mistaken = document.rules.iter().any(|rule| {
        rule.require.of.is_empty()
            || rule.require.of.iter().any(|name| !document.identities.contains_key(name))
    });
    for name in document.identities.keys().filter(|name| !mistaken && !used.contains(name)) {
        let what = format!("no rule names the identity {:?}", Shown(name));
        problems.push(Problem::new(root.get("identities").key(name), what));
    }
    rules
}

/// Checks one rule.
fn one(
    number: usize,
    rule: &types::Rule,
    node: &Node,
    document: &types::Document,
    problems: &mut Vec<Problem>,
) -> Rule {
    let mode = match rule.mode {
        types::Mode::Enforce => Mode::Enforce,
        types::Mode::Warn => Mode::Warn,
    };
    let assurance = rule.assurance.map(|assurance| match assurance {
        types::Assurance::Hashed => Assurance::Hashed,
        types::Assurance::Receipt => Assurance::Receipt,
        types::Assurance::Stated => Assurance::Stated,
    });
    if rule.models.is_empty() {
        problems.push(Problem::new(node.get("models").mark, "the rule is for no model"));
    }
    let required = required(&rule.require, node.get("require"), document, problems);
    let mut policy = Policy::new().mode(mode).require(required).same_content();
    policy.assurance = assurance;
    policy.name.clone_from(&rule.name);
    policy.min_version = min_version(rule, node, problems);
    policy.signed_after = rule.signed_after.as_ref().and_then(|text| {
        let time = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
        let what = || format!("{:?} is not a time such as 2026-01-31T12:00:00Z", Shown(text));
        time.map_err(|_| problems.push(Problem::new(node.get("signed_after").mark, what()))).ok()
    });
    if let Some(digests) = &rule.digests {
        let place = node.get("digests");
        if digests.is_empty() {
            problems.push(Problem::new(
                place.mark,
                "the list is empty, and would accept every model: leave it out, or list a digest",
            ));
        }
        let parsed = parsed(digests, place, problems, root_digest);
        policy.digests.push(parsed);
    }
    policy.load_set = rule.load_set;
    policy.base_model.clone_from(&rule.base_model);
    policy.missing = parsed(&rule.missing.allow, node.get("missing").get("allow"), problems, Pattern::new);
    policy = revoke(policy, &rule.revoked, node.get("revoked"), problems);
    binding(rule, node, mode, problems);
    let content = Content {
        symlinks: rule.allow_symlinks,
        unsigned: parsed(&rule.unsigned.allow, node.get("unsigned").get("allow"), problems, Pattern::new),
    };
    Rule {
        number,
        line: node.mark.line,
        patterns: parsed(&rule.models, node.get("models"), problems, Pattern::new),
        of: rule.require.of.clone(),
        name_is_model_id: rule.name_is_model_id,
        content,
        demands: demands(rule, required, &policy, assurance),
        policy,
    }
}

/// What a list holds, and a problem for each item of it that is none.
fn parsed<T>(
    texts: &[String],
    place: &Node,
    problems: &mut Vec<Problem>,
    parse: impl Fn(&str) -> Result<T, crate::Error>,
) -> Vec<T> {
    let mut found = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(value) => found.push(value),
            Err(error) => problems.push(Problem::of(place.item(at).mark, &error)),
        }
    }
    found
}

/// Adds what is revoked to a policy.
pub(super) fn revoke(
    mut policy: Policy,
    revoked: &types::Revoked,
    place: &Node,
    problems: &mut Vec<Problem>,
) -> Policy {
    let digests = parsed(&revoked.digests, place.get("digests"), problems, root_digest);
    policy.revoked_digests.extend(digests.iter().map(crate::Digest::hex));
    policy.revoked_keys.extend(parsed(&revoked.keys, place.get("keys"), problems, key_hex));
    let certificates = parsed(&revoked.certificates, place.get("certificates"), problems, certificate_hex);
    policy.revoked_certificates.extend(certificates);
    policy
}

/// How many signers a rule demands.
fn required(
    require: &types::Require,
    node: &Node,
    document: &types::Document,
    problems: &mut Vec<Problem>,
) -> usize {
    let of = node.get("of");
    if require.of.is_empty() {
        problems.push(Problem::new(of.mark, "the list is empty, so that nobody may sign"));
    }
    let mut known = HashSet::new();
    for (at, name) in require.of.iter().enumerate() {
        let mark = of.item(at).mark;
        if !document.identities.contains_key(name) {
            problems.push(Problem::new(mark, format!("there is no identity {:?}", Shown(name))));
        }
        if !known.insert(name) {
            problems.push(Problem::new(mark, format!("the identity {:?} is given twice", Shown(name))));
        }
    }
    let all = require.of.len();
    let Some(signatures) = require.signatures else { return all.max(1) };
    match usize::try_from(signatures) {
        Ok(signatures) if (1..=all).contains(&signatures) => signatures,
        _ => {
            let what = format!(
                "{signatures} signatures are demanded of {all} identities: give a number from 1 to {all}"
            );
            problems.push(Problem::new(node.get("signatures").mark, what));
            all.max(1)
        }
    }
}

fn min_version(rule: &types::Rule, node: &Node, problems: &mut Vec<Problem>) -> Option<Version> {
    let text = rule.min_version.as_ref()?;
    let mark = node.get("min_version").mark;
    if rule.name.is_none() && !rule.name_is_model_id {
        let what =
            "min_version goes with name or name_is_model_id: the version of another model says nothing";
        problems.push(Problem::new(mark, what));
    }
    let version = Version::parse(text);
    if version.is_none() {
        let what = format!("{:?} is not a version of one to eight numbers with dots between", Shown(text));
        problems.push(Problem::new(mark, what));
    }
    version
}

/// Something has to bind the model, or the rule has to say that nothing does.
fn binding(rule: &types::Rule, node: &Node, mode: Mode, problems: &mut Vec<Problem>) {
    if rule.name.is_some() && rule.name_is_model_id {
        let what = "name and name_is_model_id contradict each other: give one of them";
        problems.push(Problem::new(node.key("name_is_model_id"), what));
    }
    let bound = rule.name.is_some() || rule.name_is_model_id || rule.digests.is_some();
    match rule.identity {
        None if !bound && mode == Mode::Enforce => {
            let what = "nothing binds the model, so that any other model of these signers would pass in its place: give name, \
                        name_is_model_id or digests, or say identity: any-model-of-these";
            problems.push(Problem::new(node.mark, what));
        }
        Some(types::AnyModel::AnyModelOfThese) if bound => {
            let what = "the rule says any-model-of-these, and binds the model by its name or digest: give one of them";
            problems.push(Problem::new(node.key("identity"), what));
        }
        _ => {}
    }
}

/// What is told of a rule.
fn demands(rule: &types::Rule, required: usize, policy: &Policy, assurance: Option<Assurance>) -> Demands {
    Demands {
        signatures: required,
        of: Vec::new(),
        name: rule.name.clone(),
        min_version: policy.min_version.as_ref().map(ToString::to_string),
        digests: policy.digests.iter().flatten().map(ToString::to_string).collect(),
        signed_after: policy.signed_after.map(rfc3339),
        assurance,
        unsigned: rule.unsigned.allow.clone(),
        load_set: policy.demanded_load_set().is_some(),
        base_model: rule.base_model.clone(),
        missing: rule.missing.allow.clone(),
        allow_symlinks: rule.allow_symlinks,
        revoked: RevokedCounts::of(policy),
    }
}
