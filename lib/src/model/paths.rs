//! Paths that a caller gives, as names in the model.

use std::path::{Component, Path, PathBuf};

/// The name that `path` has in the model at `folder` (free of links): none when it lies outside, is the model itself or is
/// not valid UTF-8. A relative path counts from the model. The last part is not followed when it is a link, and nothing has
/// to exist.
pub(super) fn inside(folder: &Path, path: &Path) -> Option<String> {
    let path = plain(&folder.join(path));
    let found = path.strip_prefix(folder).map(Path::to_owned).ok().or_else(|| {
        let real = real_parent(&path)?.join(path.file_name()?);
        real.strip_prefix(folder).map(Path::to_owned).ok()
    })?;
    let name = found.to_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// A path without `.` and `..`, by its text alone.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// The folder of a path without links: that of the nearest ancestor that exists, and the rest as it is written.
fn real_parent(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    parent
        .ancestors()
        .find_map(|ancestor| Some(ancestor.canonicalize().ok()?.join(parent.strip_prefix(ancestor).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_through_links_and_for_what_is_not_there_yet() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let folder = base.join("model");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::os::unix::fs::symlink(&folder, base.join("link")).unwrap();
        for (path, name) in [
            ("a", Some("a")),
            ("sub/../a", Some("a")),
            ("sub/", Some("sub")),
            (".", None),
            ("", None),
            ("..", None),
            ("../other", None),
        ] {
            assert_eq!(inside(&folder, Path::new(path)).as_deref(), name, "{path}");
        }
        assert_eq!(inside(&folder, &base.join("link/new/x.sig")).as_deref(), Some("new/x.sig"));
        assert_eq!(inside(&folder, &folder.join("sub/x")).as_deref(), Some("sub/x"));
        assert_eq!(inside(&folder, &base.join("modelx/y")), None);
        assert_eq!(inside(&folder, &base.join("link")), None);
    }
}
