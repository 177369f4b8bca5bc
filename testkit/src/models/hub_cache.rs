//! The layout in which the Hugging Face Hub's client keeps what it downloads.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::digest::sha256_file;

/// Files of this size and above are stored by the Hub as LFS objects, whose blobs are named by SHA-256.
const LFS: u64 = 10 << 20;

/// Puts a copy of the model folder `model` into the cache `root`, as revision `revision` (40 hexadecimal digits) of
/// `repo` (`org/name`), and returns the snapshot's folder.
///
/// The folder `models--org--name` gets `blobs/HASH`, `snapshots/REVISION/…` whose files are links like
/// `../../blobs/HASH`, and `refs/main`. The Hub names a small blob by its Git hash; here it is named by the first
/// 40 digits of its SHA-256, which looks alike. Content that occurs twice is stored once.
///
/// # Errors
/// The model cannot be read or the cache not written; the model holds something that is neither file nor folder.
pub fn hub_cache(root: &Path, repo: &str, revision: &str, model: &Path) -> io::Result<PathBuf> {
    let home = root.join(format!("models--{}", repo.replace('/', "--")));
    let snapshot = home.join("snapshots").join(revision);
    for dir in [home.join("blobs"), home.join("refs"), snapshot.clone()] {
        fs::create_dir_all(dir)?;
    }
    fs::write(home.join("refs/main"), revision)?;
    link_all(model, &snapshot, &home.join("blobs"), "../../blobs")?;
    Ok(snapshot)
}

/// Lets the repositories of a cache share their blobs, as huggingface_hub 2.4 does with large files: each becomes a link
/// `../../blobs/XX/HASH`. The Hub's own hash is another one than here, where it is the SHA-256, and looks alike.
///
/// # Errors
/// The cache cannot be read or written.
pub fn share_blobs(root: &Path) -> io::Result<()> {
    let store = root.join("blobs");
    fs::create_dir_all(&store)?;
    fs::write(store.join(".huggingface-shared-blobs"), "1\n")?;
    for repository in fs::read_dir(root)? {
        let blobs = repository?.path().join("blobs");
        if !blobs.is_dir() {
            continue;
        }
        for blob in fs::read_dir(blobs)? {
            let blob = blob?.path();
            let hash = sha256_file(&blob)?;
            let place = format!("{}/{hash}", hash.get(..2).unwrap_or_default());
            let shared = store.join(&place);
            fs::create_dir_all(shared.parent().unwrap_or(&store))?;
            fs::rename(&blob, &shared)?;
            for beside in ["refs", "lock"] {
                fs::write(shared.with_extension(beside), "")?;
            }
            symlink(format!("../../blobs/{place}"), blob)?;
        }
    }
    Ok(())
}

fn link_all(from: &Path, to: &Path, blobs: &Path, up: &str) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir_all(&target)?;
            link_all(&source, &target, blobs, &format!("../{up}"))?;
        } else if kind.is_file() {
            let name = blob_name(&source)?;
            fs::copy(&source, blobs.join(&name))?;
            symlink(format!("{up}/{name}"), target)?;
        } else {
            let what = format!("{} is neither a file nor a folder", source.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
    }
    Ok(())
}

fn blob_name(path: &Path) -> io::Result<String> {
    let digest = sha256_file(path)?;
    let lfs = fs::metadata(path)?.len() >= LFS;
    Ok(if lfs { digest } else { digest.chars().take(40).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{REVISION, small};
    use crate::temporary;

    #[test]
    fn a_snapshot_is_links_to_blobs_and_reads_like_the_model() {
        let dir = temporary().expect("temporary folder");
        let (model, cache) = (dir.path().join("model"), dir.path().join("hub"));
        small(&model).expect("written");
        let snapshot = hub_cache(&cache, "acme/llama-3", REVISION, &model).expect("a cache");

        let home = cache.join("models--acme--llama-3");
        assert_eq!(snapshot, home.join("snapshots").join(REVISION));
        assert_eq!(fs::read_to_string(home.join("refs/main")).expect("a ref"), REVISION);
        for (name, up) in [("config.json", "../../blobs/"), ("1_Pooling/config.json", "../../../blobs/")] {
            let target = fs::read_link(snapshot.join(name)).expect("a link");
            let hash =
                target.to_str().and_then(|link| link.strip_prefix(up)).expect("a relative link to a blob");
            assert_eq!(hash.len(), 40);
            assert_eq!(
                fs::read(snapshot.join(name)).expect("readable"),
                fs::read(model.join(name)).expect("readable")
            );
        }
        assert_eq!(fs::read_dir(home.join("blobs")).expect("readable").count(), 7);
    }
}
