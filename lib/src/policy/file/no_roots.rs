//! What stands in the place of trusted roots where Sigstore is not built in: whatever needs one says so.

use std::{marker::PhantomData, path::Path};

use super::{
    identities::Trusted,
    types,
    yaml::{Node, Problem},
};
use crate::{CertificateVerifier, Error, KeyVerifier, Run, code::Code};

/// A trusted root, of which there are none.
#[derive(Clone, Debug)]
pub(super) enum Root {}

/// How the trusted roots of one rule are found.
pub(super) struct Roots<'a>(PhantomData<&'a Run>);

impl<'a> Roots<'a> {
    pub(super) fn stored(_: &'a Run) -> Self {
        Roots(PhantomData)
    }

    pub(super) fn key(&mut self, verifier: KeyVerifier, root: Option<&Root>) -> Result<KeyVerifier, Error> {
        root.map_or(Ok(verifier), |none| match *none {})
    }

    pub(super) fn certificate(
        &mut self,
        verifier: CertificateVerifier,
        root: Option<&Root>,
    ) -> Result<CertificateVerifier, Error> {
        root.map_or(Ok(verifier), |none| match *none {})
    }
}

fn missing(node: &Node, what: &str) -> Problem {
    let what = format!("{what}, which needs the feature \"sigstore\", and this build does not have it");
    Problem { code: Code::FeatureMissing, ..Problem::new(node.mark, what) }
}

pub(super) fn read(_: &types::TrustedRoot, node: &Node, _: &Path) -> Result<Root, Problem> {
    Err(missing(node, "a trusted root of Sigstore stands here"))
}

pub(super) fn sigstore(_: &types::Sigstore, node: &Node, _: bool, _: &Path) -> Result<Trusted, Vec<Problem>> {
    Err(vec![missing(node, "a Sigstore identity stands here")])
}
