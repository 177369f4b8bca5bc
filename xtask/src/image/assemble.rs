//! From files to an image: buildah does it, twice, and what it made is read again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::image::{Image, PROGRAM, pack};
use testkit::{capture, temporary};

use crate::Done;

/// Makes the image in `place` and writes its archive; gives the digest of its manifest.
///
/// # Errors
/// buildah fails, or two images differ, or what is in them is not what `image` says.
pub(super) fn assemble(image: &Image, place: &Path, archive: &Path) -> Done<String> {
    // In two folders, so that a name of one in the image would be seen.
    let (there, here) = (temporary()?, emptied(place.join("build"))?);
    let made = by_buildah(image, &here)?;
    let again = by_buildah(image, there.path())?;
    fs::remove_dir_all(&here)?;
    if made != again {
        return Err("two images of the same files are not the same bytes".into());
    }
    fs::write(archive, made)?;
    let (digest, read) = Image::read(archive)?;
    if read != *image {
        return Err(format!("buildah made\n{read:#?}\ninstead of\n{image:#?}").into());
    }
    Ok(digest)
}

fn emptied(folder: PathBuf) -> Done<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The archive of an image that buildah made, with all that it stores in `dir`.
fn by_buildah(image: &Image, dir: &Path) -> Done<Vec<u8>> {
    let (root, layout) = (dir.join("root"), dir.join("layout"));
    lay_out(image, &root)?;
    let buildah = |args: &[&str]| -> Done<String> {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(dir.join("storage")).arg("--runroot").arg(dir.join("run"));
        let ended = capture(command.args(["--storage-driver", "vfs"]).args(args).current_dir(&root))?;
        if ended.code() == Some(0) {
            Ok(ended.out().trim().to_owned())
        } else {
            Err(ended.to_string().into())
        }
    };
    let container = buildah(&["from", "scratch"])?;
    buildah(&["copy", "--quiet", "--chown", "0:0", &container, ".", "/"])?;
    let entrypoint = serde_json::to_string(&image.entrypoint)?;
    let mut config = vec!["config", "--os", "linux", "--arch", &image.architecture, "--user", &image.user];
    config.extend(["--entrypoint", &entrypoint]);
    let labels: Vec<String> = image.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.iter().for_each(|label| config.extend(["--label", label]));
    config.push(&container);
    buildah(&config)?;
    let seconds = image.files.values().map(|file| file.modified).max().unwrap_or_default().to_string();
    let layout_name = layout.to_str().ok_or("the target folder's name is not UTF-8")?;
    // Neither history nor a label of the builder: an image says nothing about when and by which release it was made.
    // The layer is compressed here, since a registry's client would do it otherwise, and so change the digest.
    buildah(&[
        "commit",
        "--quiet",
        "--rm",
        "--format=oci",
        "--identity-label=false",
        "--omit-history",
        "--disable-compression=false",
        "--timestamp",
        &seconds,
        &container,
        &format!("oci:{layout_name}:{PROGRAM}:{}", env!("CARGO_PKG_VERSION")),
    ])?;
    Ok(pack(members(&layout, &layout)?)?)
}

/// Writes the files of an image into a folder.
pub(super) fn lay_out(image: &Image, root: &Path) -> Done {
    fs::create_dir_all(root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    for (path, file) in &image.files {
        let path = root.join(path);
        for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(&path, &file.content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

/// All files below a folder, by their path in it.
fn members(top: &Path, folder: &Path) -> Done<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.append(&mut members(top, &path)?);
        } else {
            let name = path.strip_prefix(top)?.to_str().ok_or("a name is not UTF-8")?;
            all.insert(name.to_owned(), fs::read(&path)?);
        }
    }
    Ok(all)
}
