//! What is checked, what is pulled into and what is written to have to be apart: one would change the other after its check.

use std::path::{Path, PathBuf};

use weightseal::{Code, Error, ModelUri};

use crate::{
    config::shown,
    target::{Target, Way},
};

/// Refuses folders to pull into that overlap with each other or with what is checked, and outputs inside of models; these are
/// given with their flags.
///
/// # Errors
/// `arguments-conflict`.
pub(crate) fn check(targets: &[Target], outputs: &[(&str, Option<&Path>)]) -> Result<(), Error> {
    let folders: Vec<(PathBuf, bool)> = targets.iter().flat_map(folders).collect();
    for (at, (one, pulled)) in folders.iter().enumerate() {
        let mut others = folders.iter().skip(at + 1).filter(|(_, other)| *pulled || *other);
        if let Some((other, _)) = others.find(|(other, _)| one.starts_with(other) || other.starts_with(one)) {
            let what = format!("{} and {} overlap, and one of them is pulled into", shown(one), shown(other));
            return Err(Error::new(Code::ArgumentsConflict, what)
                .with_help("give each model that is pulled a folder of its own"));
        }
    }
    for (flag, output) in outputs {
        let Some(output) = output.map(real) else { continue };
        if let Some((folder, _)) = folders.iter().find(|(folder, _)| output.starts_with(folder)) {
            let what = format!("--{flag} would write into {}, which is checked", shown(folder));
            return Err(Error::new(Code::ArgumentsConflict, what).with_help("give it another volume"));
        }
    }
    Ok(())
}

/// Where a target's files are on this disk, and whether that is pulled into.
fn folders(target: &Target) -> Vec<(PathBuf, bool)> {
    let read = match &target.place {
        ModelUri::Path(path) => Some((real(path), false)),
        _ => None,
    };
    let written = match &target.way {
        Way::Into(folder) => Some((real(folder), true)),
        Way::Here | Way::Below => None,
    };
    read.into_iter().chain(written).collect()
}

/// A path free of links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found {
        Some((above, real)) => path.strip_prefix(above).map_or_else(|_| path.clone(), |rest| real.join(rest)),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_refused_links_included() {
        let dir = testkit::temporary().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("real")).unwrap();
        std::os::unix::fs::symlink("real", path("link")).unwrap();
        let model = |name: &str| Target::on_disk(path(name), None);
        let pull = |source: &str, name: &str| Target {
            place: source.parse().unwrap(),
            way: Way::Into(path(name)),
            id: None,
        };
        let code = |targets: &[Target]| check(targets, &[]).err().map(|error| error.code());
        let refused = Some(Code::ArgumentsConflict);
        for (targets, expected) in [
            ([pull("s3://b/a", "a"), pull("s3://b/b", "b")], None),
            ([pull("s3://b/a", "a"), pull("s3://b/b", "a")], refused),
            ([pull("s3://b/a", "a"), pull("s3://b/b", "a/b")], refused),
            ([pull("s3://b/a", "real/x"), pull("s3://b/b", "link/x")], refused),
            ([model("real"), pull("s3://b/b", "link/x")], refused),
            ([model("a"), pull("s3://b/b", "ab")], None),
            // A base model and its adapter may lie in one another.
            ([model("a"), model("a/adapter")], None),
        ] {
            assert_eq!(code(&targets), expected, "{targets:?}");
        }
        let output = |name: &str| {
            check(&[model("a")], &[("receipts", Some(&path(name)))]).map_err(|error| error.code())
        };
        assert_eq!(output("receipts"), Ok(()));
        assert_eq!(output("a"), Err(Code::ArgumentsConflict));
        assert_eq!(output("a/.receipts"), Err(Code::ArgumentsConflict));
    }
}
