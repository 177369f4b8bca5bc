//! Paths that a caller gives, as names in the model.

use std::path::{Component, Path, PathBuf};

/// The name that `path` has in the model at `folder` (free of links): none when it lies outside, is the model itself or is
/// not valid UTF-8. A relative path counts from the model. The last part is not followed when it is a link, and nothing has
/// to exist.
pub(super) fn inside(folder: &Path, path: &Path) -> Option<String> {
    let path = folder.join(path);
    let found = match path.strip_prefix(folder) {
        // Read as it is written; a `..` after a link leads elsewhere than its text says.
        Ok(inside) if !inside.components().any(|part| part == Component::ParentDir) => plain(inside),
        _ => plain(&real(&path)).strip_prefix(folder).ok()?.to_owned(),
    };
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

/// A path without links in its folders: the nearest one that exists is resolved, the rest stays as it is written.
fn real(path: &Path) -> PathBuf {
    let (folder, name) = match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => (folder, Path::new(name)),
        _ => (path, Path::new("")),
    };
    let resolved = folder.ancestors().find_map(|ancestor| {
        let rest = folder.strip_prefix(ancestor).ok()?;
        Some(ancestor.canonicalize().ok()?.join(rest))
    });
    resolved.unwrap_or_else(|| folder.to_owned()).join(name)
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
        std::fs::create_dir_all(base.join("other/deep")).unwrap();
        std::os::unix::fs::symlink(base.join("other/deep"), folder.join("out")).unwrap();
        assert_eq!(inside(&folder, &folder.join("out/../evil")), None, "it is beside where the link leads");
        assert_eq!(inside(&folder, &folder.join("out/x")).as_deref(), Some("out/x"));
        assert_eq!(inside(&folder, &base.join("modelx/y")), None);
        assert_eq!(inside(&folder, &base.join("link")), None);
    }
}
