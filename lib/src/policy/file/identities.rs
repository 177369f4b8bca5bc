//! Whom a policy file names: keys, certificates, Sigstore identities.

use std::{collections::BTreeMap, path::Path};

use super::{
    roots, types,
    yaml::{Node, Problem},
};
use crate::{Accept, CertificateVerifier, Error, PublicKey, fs::read_key, shown::Shown};

/// Somebody who may sign, ready to be asked for.
#[derive(Clone, Debug)]
pub(super) struct Trusted {
    /// Who it is, in words.
    pub(super) what: String,
    trust: Trust,
}

#[derive(Clone, Debug)]
enum Trust {
    Ready(Accept),
    /// Where the root may be one that is looked up when the rule is applied.
    #[cfg(feature = "sigstore")]
    Sigstore(Box<(crate::SigstoreIdentity, roots::Root)>),
}

impl Trusted {
    /// How signatures of this identity are verified.
    pub(super) fn accept(&self) -> Result<Accept, Error> {
        match &self.trust {
            Trust::Ready(accept) => Ok(accept.clone()),
            #[cfg(feature = "sigstore")]
            Trust::Sigstore(both) => both.1.accept(both.0.clone()),
        }
    }
}

/// Checks every identity; says as well whether the policy's trusted root is needed.
pub(super) fn check(
    document: &types::Document,
    root: &Node,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> (BTreeMap<String, Trusted>, bool) {
    let mut found = BTreeMap::new();
    let mut uses_root = false;
    let shared = root.get("trusted_root");
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
                let own = given
                    .trusted_root
                    .as_ref()
                    .map(|given| (given, node.get("sigstore").get("trusted_root")));
                uses_root |= own.is_none();
                let trust = own.or(document.trusted_root.as_ref().map(|given| (given, shared)));
                roots::sigstore(given, node.get("sigstore"), trust, base)
            }
        };
        match trusted {
            Ok(trusted) => {
                found.insert(name.clone(), trusted);
            }
            Err(more) => problems.extend(more),
        }
    }
    (found, uses_root)
}

impl Trusted {
    fn ready(what: String, accept: Accept) -> Self {
        Trusted { what, trust: Trust::Ready(accept) }
    }

    #[cfg(feature = "sigstore")]
    pub(super) fn sigstore(what: String, identity: crate::SigstoreIdentity, root: roots::Root) -> Self {
        Trusted { what, trust: Trust::Sigstore(Box::new((identity, root))) }
    }
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
    let accept = Accept::key(&text).map_err(|error| unusable(node, &from, &error))?;
    let names: Vec<String> =
        keys.iter().map(|key| format!("{} key {}", key.algorithm(), key.fingerprint())).collect();
    Ok(Trusted::ready(names.join(" or "), accept))
}

fn certificate(given: &types::Certificate, node: &Node, base: &Path) -> Result<Trusted, Vec<Problem>> {
    let place = node.get("anchors");
    let verifier = pem(&given.anchors, place, base).and_then(|(from, text)| {
        CertificateVerifier::from_pem(&text).map_err(|error| unusable(place, &from, &error))
    });
    match (&given.identity, given.any_identity, verifier) {
        (Some(identity), false, Ok(verifier)) => {
            let what = format!("certificate of {}", Shown(identity));
            Ok(Trusted::ready(what, Accept::verifier(verifier.identity(identity))))
        }
        (None, true, Ok(verifier)) => {
            Ok(Trusted::ready("any certificate of its authorities".to_owned(), Accept::verifier(verifier)))
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
