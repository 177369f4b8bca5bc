//! Whether a verification may use and write receipts at all.

use super::Model;
use crate::{
    Bundle, Mode, Policy,
    policy::VerifiedStatement,
    receipt::{Attempt, Circumstances},
};

/// The attempt of a verification, where the model's caller keeps receipts. `model` is set as it is checked, with what a policy
/// file says of files.
pub(super) fn attempt<'a>(
    model: &'a Model,
    policy: &'a Policy,
    bundles: &'a [Bundle],
    statements: &'a [VerifiedStatement],
) -> Option<Attempt<'a>> {
    let receipts = model.receipts.as_ref().filter(|_| !statements.is_empty())?;
    let mut manifests = statements.iter().map(|one| one.statement().manifest());
    let first = manifests.next();
    // Nothing that was let pass comes to look like something that was checked.
    let obstacles = [
        (policy.is_mode() != Mode::Enforce, "the mode is not enforce"),
        (!policy.takes_receipts(), "the policy demands that every byte is hashed"),
        (model.release.stated, "no byte is read, but what the store states"),
        (!model.ignore.is_empty(), "paths are left out"),
        (model.unsigned || !model.may_be_unsigned.is_empty(), "files that are not signed are tolerated"),
        (!manifests.all(|manifest| Some(manifest) == first), "the signatures are over different things"),
    ];
    if let Some((_, why)) = obstacles.into_iter().find(|(stands, _)| *stands) {
        return Some(Attempt::none(why));
    }
    let Some(local) = model.local.as_deref().filter(|_| model.is_on_disk()) else {
        return Some(Attempt::none("the model is not on this disk"));
    };
    let mut place = local.path().to_owned();
    if model.source.is_single_file() {
        place.push(model.source.base_name());
    }
    Some(Attempt::new(Circumstances {
        receipts,
        local,
        place,
        id: model.id.as_deref(),
        policy: policy.origin(),
        bundles,
        statements,
    }))
}
