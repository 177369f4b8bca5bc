//! Why a rule applies to a model, and what it demands: for whoever writes policies.

use std::fmt;

use serde::Serialize;

use super::{Policy, PolicyFile, rules::Rule};
use crate::{
    policy::glob::Rank,
    report::{Assurance, PolicyReport},
    shown::Shown,
};

/// Which rule applies to a model, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The id of the model.
    pub model_id: String,
    /// The file and the rule that applies.
    pub policy: PolicyReport,
    /// Why it is this rule.
    pub why: String,
    /// What it demands.
    pub demands: Demands,
    /// The other rules that match, the most specific first.
    pub others: Vec<Match>,
}

/// A rule that matches and does not apply.
#[derive(Clone, Debug, Serialize)]
pub struct Match {
    /// The number of the rule, from 1.
    pub rule: usize,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The most specific of its patterns that match.
    pub pattern: String,
    /// Why it does not apply.
    pub why: String,
}

/// What a rule demands.
#[derive(Clone, Debug, Serialize)]
pub struct Demands {
    /// How many different signers.
    pub signatures: usize,
    /// Of whom.
    pub of: Vec<Named>,
    /// The signed name of the model.
    pub name: Option<String>,
    /// The oldest signed version.
    pub min_version: Option<String>,
    /// The root digests that pass; any where there are none.
    pub digests: Vec<String>,
    /// The earliest proven time of signing, as RFC 3339.
    pub signed_after: Option<String>,
    /// The weakest check that passes; none where the rule says nothing: hashed, or a receipt where those are kept.
    pub assurance: Option<Assurance>,
    /// Patterns for files that need not be signed.
    pub unsigned: Vec<String>,
    /// Whether what a model server would load has to be exactly what is signed and there.
    pub load_set: bool,
    /// The model that an adapter has to build on.
    pub base_model: Option<String>,
    /// Patterns for files that may be signed and not be there, as long as nobody would load them.
    pub missing: Vec<String>,
    /// Whether links that stay in the model are followed.
    pub allow_symlinks: bool,
    /// How much is revoked, by the rule and by the whole policy.
    pub revoked: RevokedCounts,
}

/// A named identity.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// Its name in the policy.
    pub name: String,
    /// Who it is, in words.
    pub identity: String,
}

/// How many of what are revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RevokedCounts {
    /// Models, by root digest.
    pub digests: usize,
    /// Keys.
    pub keys: usize,
    /// Certificates.
    pub certificates: usize,
}

impl RevokedCounts {
    pub(super) fn of(policy: &Policy) -> Self {
        RevokedCounts {
            digests: policy.revoked_digests.len(),
            keys: policy.revoked_keys.len(),
            certificates: policy.revoked_certificates.len(),
        }
    }

    fn and(self, more: Self) -> Self {
        RevokedCounts {
            digests: self.digests + more.digests,
            keys: self.keys + more.keys,
            certificates: self.certificates + more.certificates,
        }
    }
}

pub(super) fn explain(file: &PolicyFile, model_id: &str, rule: &Rule, pattern: &str) -> Explanation {
    let matching = file.matching(model_id);
    let best = matching.first().map(|(rank, ..)| *rank);
    let others: Vec<Match> = matching
        .iter()
        .skip(1)
        .map(|(rank, rule, pattern)| Match {
            rule: rule.number,
            line: rule.line,
            pattern: (*pattern).to_owned(),
            why: best.map(|best| less_specific(best, *rank)).unwrap_or_default(),
        })
        .collect();
    let mut demands = rule.demands.clone();
    demands.revoked = demands.revoked.and(RevokedCounts::of(&file.revoked));
    if rule.name_is_model_id {
        demands.name = Some(model_id.to_owned());
    }
    let named = rule.of.iter().map(|name| Named {
        name: name.clone(),
        identity: file.identities.get(name).map(|trusted| trusted.what.clone()).unwrap_or_default(),
    });
    demands.of = named.collect();
    let why = match (best, others.is_empty()) {
        (Some((true, ..)), _) => "its pattern is the model's id itself",
        (_, true) => "no other rule matches",
        _ => "its pattern is the most specific of those that match",
    };
    Explanation {
        model_id: model_id.to_owned(),
        policy: file.report(rule, pattern),
        why: why.to_owned(),
        demands,
        others,
    }
}

/// By what one pattern is less specific than the one that applies.
fn less_specific(best: Rank, rank: Rank) -> String {
    let why = if best.0 != rank.0 {
        "the other one is the id itself"
    } else if best.1 != rank.1 {
        "it has fewer characters that are no wildcards"
    } else if best.2 != rank.2 {
        "it has more **"
    } else if best.3 != rank.3 {
        "it has more *"
    } else {
        "it has more ?"
    };
    format!("less specific: {why}")
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PolicyReport { path, digest, name, rule, line, pattern, mode } = &self.policy;
        writeln!(f, "model: {}", Shown(&self.model_id))?;
        write!(f, "policy: {}", Shown(path.as_deref().unwrap_or(digest)))?;
        if let Some(name) = name {
            write!(f, " ({})", Shown(name))?;
        }
        let mode = if *mode == super::Mode::Enforce { "enforce" } else { "warn" };
        writeln!(f, "\nrule: {rule} (line {line}), by {:?}: {}", Shown(pattern), self.why)?;
        writeln!(f, "mode: {mode}")?;
        write!(f, "{}", self.demands)?;
        for other in &self.others {
            let Match { rule, line, pattern, why } = other;
            writeln!(f, "also matches: rule {rule} (line {line}), by {:?}: {why}", Shown(pattern))?;
        }
        Ok(())
    }
}

impl fmt::Display for Demands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "signatures: {} of {}", self.signatures, self.of.len())?;
        for Named { name, identity } in &self.of {
            writeln!(f, "  {}: {identity}", Shown(name))?;
        }
        if self.name.is_none() && self.digests.is_empty() {
            writeln!(f, "bound by: nothing; any model of these signers passes")?;
        }
        for (what, value) in [
            ("name", &self.name),
            ("version: at least", &self.min_version),
            ("signed after", &self.signed_after),
        ] {
            if let Some(value) = value {
                let colon = if what.contains(':') { "" } else { ":" };
                writeln!(f, "{what}{colon} {}", Shown(value))?;
            }
        }
        for digest in &self.digests {
            writeln!(f, "digest: {digest}")?;
        }
        match self.assurance {
            Some(least) => writeln!(f, "assurance: at least {}", least.name())?,
            None => writeln!(f, "assurance: hashed, or a receipt of it where receipts are kept")?,
        }
        for pattern in &self.unsigned {
            writeln!(f, "may be unsigned: {}", Shown(pattern))?;
        }
        if self.load_set {
            writeln!(f, "load set: has to be what is signed and there")?;
        }
        if let Some(base) = &self.base_model {
            writeln!(f, "base model: {}", Shown(base))?;
        }
        for pattern in &self.missing {
            writeln!(f, "may be missing: {}", Shown(pattern))?;
        }
        if self.allow_symlinks {
            writeln!(f, "links: followed inside the model, if it was signed so")?;
        }
        let RevokedCounts { digests, keys, certificates } = self.revoked;
        if self.revoked != RevokedCounts::default() {
            writeln!(f, "revoked: {digests} digests, {keys} keys, {certificates} certificates")?;
        }
        Ok(())
    }
}
