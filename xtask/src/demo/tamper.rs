//! The byte that is changed: which it is, and in what copy.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use testkit::models::tensors;

use crate::Done;

/// How deep a folder may lie in a model; links that lead round in a circle end here.
const MAX_DEPTH: usize = 64;

/// One byte of one file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    file: PathBuf,
    bytes: u64,
    offset: u64,
    tensor: Option<String>,
}

impl Target {
    #[cfg(test)]
    pub(super) fn new(file: &str, bytes: u64, offset: u64, tensor: Option<&str>) -> Target {
        Target { file: file.into(), bytes, offset, tensor: tensor.map(str::to_owned) }
    }

    /// The byte in the middle of the largest tensor of the largest safetensors file; where there is none, the byte
    /// in the middle of the largest file.
    pub(super) fn choose(model: &Path) -> Done<Target> {
        let files = stamps(model)?;
        let files: Vec<_> = files.into_iter().filter(|stamp| !stamp.is_git()).collect();
        let weights = |stamp: &&Stamp| stamp.file.extension().is_some_and(|ending| ending == "safetensors");
        let largest = |stamp: &&Stamp| stamp.bytes;
        let chosen =
            files.iter().filter(weights).max_by_key(largest).or_else(|| files.iter().max_by_key(largest));
        let Some(Stamp { file, bytes, .. }) = chosen.filter(|stamp| stamp.bytes > 0) else {
            return Err(format!("{} holds no file with a byte to change", model.display()).into());
        };
        let path = if file.as_os_str().is_empty() { model.to_path_buf() } else { model.join(file) };
        // What is not safetensors has no tensors, and its middle is as good a place.
        let tensor = tensors(&path).ok().and_then(|all| all.into_iter().max_by_key(|t| t.end - t.start));
        let tensor = tensor.filter(|tensor| tensor.start < tensor.end);
        let offset = tensor.as_ref().map_or(bytes / 2, |tensor| tensor.start.midpoint(tensor.end));
        let named = if file.as_os_str().is_empty() {
            model.file_name().map(PathBuf::from).unwrap_or_default()
        } else {
            file.clone()
        };
        Ok(Target { file: named, bytes: *bytes, offset, tensor: tensor.map(|tensor| tensor.name) })
    }

    /// Turns one bit of the byte in a copy of the model.
    pub(super) fn change(&self, copy: &Path) -> io::Result<()> {
        let path = if copy.is_file() { copy.to_path_buf() } else { copy.join(&self.file) };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.offset)?;
        file.write_all_at(&byte.map(|value| value ^ 1), self.offset)?;
        file.sync_all()
    }

    /// The file as a signature names it.
    pub(super) fn file_name(&self) -> String {
        self.file.to_string_lossy().into_owned()
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn tensor(&self) -> Option<&str> {
        self.tensor.as_deref()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of {}", self.offset, self.file_name())?;
        match self.tensor() {
            Some(tensor) => write!(f, ", inside the tensor {tensor}"),
            None => Ok(()),
        }
    }
}

/// A file of a model and when it was last touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The path in the model; empty for a model that is one file.
    file: PathBuf,
    /// The size.
    pub(super) bytes: u64,
    changed: [i64; 4],
}

impl Stamp {
    /// Whether it is one of the paths that a signature leaves out by default.
    fn is_git(&self) -> bool {
        let first = self.file.components().next().map(|part| part.as_os_str());
        [".git", ".gitignore", ".gitattributes", ".github"].iter().any(|name| first == Some(name.as_ref()))
    }
}

/// All files of a model, sorted by path.
pub(super) fn stamps(model: &Path) -> Done<Vec<Stamp>> {
    let mut found = Vec::new();
    walk(model, Path::new(""), 0, &mut |file, path| {
        let meta = fs::metadata(path)?;
        let changed = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        found.push(Stamp { file: file.to_path_buf(), bytes: meta.len(), changed });
        Ok(())
    })?;
    found.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(found)
}

/// Copies a model, content and all: where it has a link, the copy has what the link leads to. The file system may
/// share the blocks until one side changes.
pub(super) fn copy(model: &Path, to: &Path) -> Done {
    walk(model, Path::new(""), 0, &mut |file, path| {
        let target = if file.as_os_str().is_empty() { to.to_path_buf() } else { to.join(file) };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut source = File::open(path)?;
        io::copy(&mut source, &mut File::create(&target)?)?;
        Ok(())
    })
}

type Each<'a> = dyn FnMut(&Path, &Path) -> io::Result<()> + 'a;

/// Calls `each` with every file below: its path in the model, and the one to open it by.
fn walk(model: &Path, inside: &Path, depth: usize, each: &mut Each<'_>) -> Done {
    let path = if inside.as_os_str().is_empty() { model.to_path_buf() } else { model.join(inside) };
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let meta = fs::metadata(&path).map_err(named)?;
    if meta.is_file() {
        each(inside, &path).map_err(named)?;
        return Ok(());
    }
    if !meta.is_dir() || depth > MAX_DEPTH {
        return Err(format!("{} is neither a file nor a folder of a model", path.display()).into());
    }
    for entry in fs::read_dir(&path).map_err(named)? {
        walk(model, &inside.join(entry.map_err(named)?.file_name()), depth + 1, each)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::models::{REVISION, Weights, hub_cache, small};
    use testkit::temporary;

    #[test]
    fn the_byte_lies_in_the_tensor_it_is_said_to_lie_in() {
        let dir = temporary().expect("temporary folder");
        let model = dir.path().join("model");
        small(&model).expect("a model");
        Weights::single(500_000).write(&model.join("large")).expect("more weights");
        let target = Target::choose(&model).expect("a byte");
        assert_eq!(target.file_name(), "large/model.safetensors");
        let all = tensors(&model.join(&target.file)).expect("safetensors");
        let inside =
            all.iter().find(|t| t.start <= target.offset && target.offset < t.end).expect("a tensor");
        assert_eq!(Some(inside.name.as_str()), target.tensor());
    }

    #[test]
    fn a_model_without_safetensors_has_a_byte_too() {
        let dir = temporary().expect("temporary folder");
        fs::write(dir.path().join("small.bin"), "ab").expect("written");
        fs::write(dir.path().join("model.gguf"), "abcdef").expect("written");
        fs::create_dir(dir.path().join(".git")).expect("made");
        fs::write(dir.path().join(".git/pack"), "not signed by default").expect("written");
        assert_eq!(Target::choose(dir.path()).expect("a byte"), Target::new("model.gguf", 6, 3, None));
        let single = dir.path().join("model.gguf");
        assert_eq!(Target::choose(&single).expect("a byte"), Target::new("model.gguf", 6, 3, None));
        fs::write(dir.path().join("model.gguf"), "").expect("written");
        fs::write(dir.path().join("small.bin"), "").expect("written");
        assert!(Target::choose(dir.path()).is_err());
    }

    #[test]
    fn only_the_copy_changes_and_only_by_one_bit() {
        let dir = temporary().expect("temporary folder");
        let (model, copied) = (dir.path().join("model"), dir.path().join("copy"));
        small(&model).expect("a model");
        let snapshot = hub_cache(&dir.path().join("hub"), "acme/llama", REVISION, &model).expect("a cache");
        for source in [model, snapshot] {
            let _ = fs::remove_dir_all(&copied);
            let before = stamps(&source).expect("readable");
            let target = Target::choose(&source).expect("a byte");
            copy(&source, &copied).expect("copied");
            target.change(&copied).expect("changed");
            assert_eq!(stamps(&source).expect("readable"), before);
            let mut bits = 0;
            for Stamp { file, .. } in before {
                let read = |root: &Path| fs::read(root.join(&file)).expect("readable");
                assert!(!copied.join(&file).is_symlink());
                let (old, new) = (read(&source), read(&copied));
                assert_eq!(old.len(), new.len());
                bits += old.iter().zip(&new).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            }
            assert_eq!(bits, 1);
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let dir = temporary().expect("temporary folder");
        std::os::unix::fs::symlink(".", dir.path().join("again")).expect("a link");
        assert!(stamps(dir.path()).is_err());
    }
}
