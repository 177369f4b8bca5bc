//! Whom a policy file names: keys, certificates, Sigstore identities.

use std::{collections::BTreeMap, path::Path};

use super::{
    roots::{self, Root, Roots},
    types,
    yaml::{Node, Problem},
};
use crate::{Accept, CertificateVerifier, Error, KeyVerifier, PublicKey, fs::read_key, shown::Shown};

/// Somebody who may sign, ready to be asked for.
#[derive(Clone, Debug)]
pub(super) struct Trusted {
    /// Who it is, in words.
    pub(super) what: String,
    trust: Trust,
}

#[derive(Clone, Debug)]
enum Trust {
    Key(KeyVerifier),
    Certificate(CertificateVerifier),
    /// With a trusted root of its own, or the policy's.
    #[cfg(feature = "sigstore")]
    Sigstore(Box<(crate::SigstoreIdentity, Option<Root>)>),
}

impl Trusted {
    #[cfg(feature = "sigstore")]
    pub(super) fn sigstore(what: String, identity: crate::SigstoreIdentity, own: Option<Root>) -> Self {
        Trusted { what, trust: Trust::Sigstore(Box::new((identity, own))) }
    }

    /// How signatures of this identity are verified; `shared` is the policy's trusted root.
    pub(super) fn accept(&self, shared: Option<&Root>, roots: &mut Roots<'_>) -> Result<Accept, Error> {
        Ok(match &self.trust {
            Trust::Key(verifier) => Accept::verifier(roots.key(verifier.clone(), shared)?),
            Trust::Certificate(verifier) => Accept::verifier(roots.certificate(verifier.clone(), shared)?),
            #[cfg(feature = "sigstore")]
            Trust::Sigstore(both) => {
                let (identity, own) = &**both;
                Accept::verifier(roots.sigstore(identity.clone(), own.as_ref().or(shared))?)
            }
        })
    }
}

/// Checks every identity.
pub(super) fn check(
    document: &types::Document,
    root: &Node,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Trusted> {
    let mut found = BTreeMap::new();
    for (name, identity) in &document.identities {
        let node = root.get("identities").get(name);
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            let what = format!(
                "the name {:?} has other characters than letters, digits, '-', '_' and '.'",
                Shown(name)
            );
            problems.push(Problem::new(root.get("identities").key(name), what));
        }
        let trusted = match identity {
            types::Identity::Key(source) => key(source, node.get("key"), base),
            types::Identity::Certificate(given) => certificate(given, node.get("certificate"), base),
            types::Identity::Sigstore(given) => {
                roots::sigstore(given, node.get("sigstore"), document.trusted_root.is_some(), base)
            }
        };
        match trusted {
            Ok(trusted) => {
                found.insert(name.clone(), trusted);
            }
            Err(more) => problems.extend(more),
        }
    }
    found
}

/// The text of a source, and where it comes from as far as that has to be said.
fn pem(source: &types::Source, node: &Node, base: &Path) -> Result<(String, Vec<u8>), Vec<Problem>> {
    match source {
        types::Source::Pem(text) => Ok((String::new(), text.clone().into_bytes())),
        types::Source::File(path) => {
            let path = base.join(path);
            let bytes = read_key(&path).map_err(|error| vec![Problem::of(node.get("file").mark, &error)])?;
            Ok((format!("{}: ", Shown(&path.to_string_lossy())), bytes))
        }
    }
}

/// The problem of a text that is no key or certificate.
fn unusable(node: &Node, from: &str, error: &Error) -> Vec<Problem> {
    let mut problem = Problem::of(node.mark, error);
    problem.what = format!("{from}{}", problem.what);
    vec![problem]
}

fn key(source: &types::Source, node: &Node, base: &Path) -> Result<Trusted, Vec<Problem>> {
    let (from, text) = pem(source, node, base)?;
    let keys = PublicKey::all_from_pem(&text).map_err(|error| unusable(node, &from, &error))?;
    let verifier = KeyVerifier::from_pem(&text).map_err(|error| unusable(node, &from, &error))?;
    let names: Vec<String> =
        keys.iter().map(|key| format!("{} key {}", key.algorithm(), key.fingerprint())).collect();
    Ok(Trusted { what: names.join(" or "), trust: Trust::Key(verifier) })
}

fn certificate(given: &types::Certificate, node: &Node, base: &Path) -> Result<Trusted, Vec<Problem>> {
    let place = node.get("anchors");
    let verifier = pem(&given.anchors, place, base).and_then(|(from, text)| {
        CertificateVerifier::from_pem(&text).map_err(|error| unusable(place, &from, &error))
    });
    match (&given.identity, given.any_identity, verifier) {
        (Some(identity), false, Ok(verifier)) => {
            let what = format!("certificate of {}", Shown(identity));
            Ok(Trusted { what, trust: Trust::Certificate(verifier.identity(identity)) })
        }
        (None, true, Ok(verifier)) => {
            let what = "any certificate of its authorities".to_owned();
            Ok(Trusted { what, trust: Trust::Certificate(verifier) })
        }
        (identity, _, verifier) => {
            let mut problems = verifier.err().unwrap_or_default();
            if identity.is_some() == given.any_identity {
                let what =
                    "give identity (whose certificate it has to be), or any_identity: true, and not both";
                problems.push(Problem::new(node.mark, what));
            }
            Err(problems)
        }
    }
}
