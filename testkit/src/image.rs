//! Container images, written and read without any program that builds them: OCI archives of one layer.
//!
//! What another program built can be read and compared, and a test that needs a program in a container gets an image of
//! it in milliseconds. The same content always gives the same bytes, and so the same digest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::run::{LIMIT, capture_within};

/// The user and group that the image of the init container names: numbers, so that `runAsNonRoot` can judge them.
pub const USER: &str = "65532:65532";

/// Where the init container lies in its image.
pub const PROGRAM: &str = "weightseal-init";

/// An image of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The processor, as OCI calls it: `amd64` or `arm64`.
    pub architecture: String,
    /// When it was made, as in `2026-01-31T12:00:00Z`.
    pub created: String,
    /// Who runs the program.
    pub user: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// What a container is told besides: variables, arguments, the working folder and so on, as they stand in the
    /// configuration; empty for the init container.
    pub settings: BTreeMap<String, Value>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// All regular files, by path.
    pub files: BTreeMap<String, File>,
}

/// A regular file of an [`Image`].
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// The permissions, as in `0o755`.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// When it was last changed, in seconds since 1970.
    pub modified: u64,
    /// All of its bytes.
    pub content: Vec<u8>,
}

/// Not the content, which is megabytes.
impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let File { mode, owner, modified, content } = self;
        write!(f, "{mode:o} {owner:?} {modified} {} bytes {}", content.len(), sha256(content))
    }
}

/// Writes an image that holds a program and nothing else, as that of the init container does; gives its digest.
///
/// `docker load`, `podman load` and `ctr --namespace k8s.io images import` take the archive. The program has to be
/// linked statically to run in it.
///
/// # Errors
/// The program cannot be read, or the archive cannot be written.
pub fn image(program: &Path, archive: &Path) -> io::Result<String> {
    let content = fs::read(program)?;
    let file = File { mode: 0o755, owner: (0, 0), modified: 0, content };
    let image = Image {
        architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.to_owned(),
        created: "1970-01-01T00:00:00Z".to_owned(),
        user: USER.to_owned(),
        entrypoint: vec![format!("/{PROGRAM}")],
        settings: BTreeMap::new(),
        labels: BTreeMap::new(),
        files: BTreeMap::from([(PROGRAM.to_owned(), file)]),
    };
    image.write(archive)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

impl Image {
    /// Writes the image as an OCI archive whose layer is not compressed; gives the digest of its manifest, as in
    /// `sha256:0123…`.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn write(&self, archive: &Path) -> io::Result<String> {
        let mut layer = Tar::default();
        for (path, file) in &self.files {
            layer.file(path, file)?;
        }
        let layer = layer.finish();
        let mut settings = self.settings.clone();
        settings.insert("User".to_owned(), json!(self.user));
        settings.insert("Entrypoint".to_owned(), json!(self.entrypoint));
        if !self.labels.is_empty() {
            settings.insert("Labels".to_owned(), json!(self.labels));
        }
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": self.created,
            "config": settings,
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": digest(config.as_bytes()), "size": config.len() },
            "layers": [{ "mediaType": LAYER, "digest": digest(&layer), "size": layer.len() }],
        })
        .to_string();
        let named = digest(manifest.as_bytes());
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{ "mediaType": MANIFEST, "digest": named, "size": manifest.len() }],
        });
        let blobs = [layer, config.into_bytes(), manifest.into_bytes()];
        let mut members: BTreeMap<String, Vec<u8>> =
            blobs.into_iter().map(|blob| (format!("blobs/sha256/{}", sha256(&blob)), blob)).collect();
        members.insert("index.json".to_owned(), index.to_string().into_bytes());
        members.insert("oci-layout".to_owned(), LAYOUT.into());
        fs::write(archive, pack(members)?)?;
        Ok(named)
    }

    /// Reads an OCI archive of one image with one layer, which may be compressed by gzip; gives the digest of its
    /// manifest as well. Every digest on the way is compared.
    ///
    /// # Errors
    /// The archive cannot be read, is no such archive, holds something that is neither a file nor a folder, or a
    /// digest is not that of the bytes.
    pub fn read(archive: &Path) -> io::Result<(String, Image)> {
        let members = unpack(&fs::read(archive)?)?;
        let blob = |descriptor: &Value| -> io::Result<Vec<u8>> {
            let digest = text(descriptor, "/digest")?;
            let path = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
            let blob = members.get(&path).ok_or_else(|| invalid(format!("{path} is not in the archive")))?;
            if format!("sha256:{}", sha256(&blob.content)) != digest {
                return Err(invalid(format!("{path} does not have the digest that it is named by")));
            }
            Ok(blob.content.clone())
        };
        let index = members.get("index.json").ok_or_else(|| invalid("there is no index.json"))?;
        let index: Value = serde_json::from_slice(&index.content)?;
        let entry = only(&index, "/manifests")?;
        let manifest: Value = serde_json::from_slice(&blob(entry)?)?;
        let config: Value = serde_json::from_slice(&blob(part(&manifest, "/config")?)?)?;
        let layer = blob(only(&manifest, "/layers")?)?;
        let layer = if layer.starts_with(&[0x1f, 0x8b]) { gunzip(&layer)? } else { layer };
        if only(&config, "/rootfs/diff_ids")?.as_str() != Some(&digest(&layer)) {
            return Err(invalid("the layer is not the one that the configuration names"));
        }
        let settings: BTreeMap<String, Value> = serde_json::from_value(part(&config, "/config")?.clone())?;
        let image = Image {
            architecture: text(&config, "/architecture")?,
            created: text(&config, "/created")?,
            user: text(&config, "/config/User")?,
            entrypoint: serde_json::from_value(part(&config, "/config/Entrypoint")?.clone())?,
            labels: settings
                .get("Labels")
                .map_or(Ok(BTreeMap::new()), |all| serde_json::from_value(all.clone()))?,
            settings: settings
                .into_iter()
                .filter(|(name, _)| !["User", "Entrypoint", "Labels"].contains(&name.as_str()))
                .collect(),
            files: unpack(&layer)?,
        };
        Ok((text(entry, "/digest")?, image))
    }
}

/// The same archive whoever packs it: members in order of their names, without owners and times.
///
/// # Errors
/// A name has more than 100 bytes.
pub fn pack(members: BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut tar = Tar::default();
    for (path, content) in members {
        tar.file(&path, &File { mode: 0o644, owner: (0, 0), modified: 0, content })?;
    }
    Ok(tar.finish())
}

const BLOCK: usize = 512;

/// A tar archive in the POSIX format of 1988, which everything reads.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn file(&mut self, path: &str, file: &File) -> io::Result<()> {
        let mut header = [0; BLOCK];
        let mut field = |at: usize, width: usize, bytes: &[u8]| match header.get_mut(at..at + width) {
            Some(place) if bytes.len() <= width => {
                place.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                Ok(())
            }
            _ => Err(invalid(format!("{path} does not fit into the header of an archive"))),
        };
        field(0, 100, path.as_bytes())?;
        field(100, 8, format!("{:07o}", file.mode).as_bytes())?;
        field(108, 8, format!("{:07o}", file.owner.0).as_bytes())?;
        field(116, 8, format!("{:07o}", file.owner.1).as_bytes())?;
        field(124, 12, format!("{:011o}", file.content.len()).as_bytes())?;
        field(136, 12, format!("{:011o}", file.modified).as_bytes())?;
        field(148, 8, b"        ")?;
        field(156, 1, b"0")?;
        field(257, 8, b"ustar\x0000")?;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        let sum = format!("{sum:06o}\0 ");
        header.iter_mut().skip(148).zip(sum.bytes()).for_each(|(to, from)| *to = from);
        self.0.extend(header);
        self.0.extend(&file.content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

/// The regular files of an archive; folders are passed over, and anything else is an error.
fn unpack(mut tar: &[u8]) -> io::Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    while let Some((header, rest)) = tar.split_at_checked(BLOCK)
        && header.iter().any(|byte| *byte != 0)
    {
        let field = |at: usize, width: usize| {
            let bytes = header.get(at..at + width).unwrap_or_default();
            String::from_utf8_lossy(bytes).trim_matches(|c| c == '\0' || c == ' ').to_owned()
        };
        let number = |at: usize, width: usize| {
            u64::from_str_radix(&field(at, width), 8)
                .map_err(|_| invalid("a number in the header of an archive cannot be read"))
        };
        let small = |at: usize| number(at, 8).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let path = field(0, 100);
        let size = usize::try_from(number(124, 12)?).map_err(invalid)?;
        let content =
            rest.get(..size).ok_or_else(|| invalid(format!("{path} is cut off in its archive")))?.to_vec();
        // Some writers put the kind of file above the permissions.
        let file = File {
            // Some writers put the kind of file above the permissions.
            mode: small(100)? & 0o7777,
            owner: (small(108)?, small(116)?),
            modified: number(136, 12)?,
            content,
        };
        match field(156, 1).as_str() {
            "0" | "" => {
                let path = path.trim_start_matches("./").to_owned();
                if files.insert(path, file).is_some() {
                    return Err(invalid("a file stands twice in an archive"));
                }
            }
            "5" => {}
            other => return Err(invalid(format!("{path} is of the type {other} and not a file"))),
        }
        tar = rest.get(size.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    Ok(files)
}

fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let ended = capture_within(Command::new("gzip").args(["--decompress", "--stdout"]), bytes, LIMIT)?;
    if ended.code() == Some(0) { Ok(ended.stdout) } else { Err(invalid(ended)) }
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

fn part<'a>(value: &'a Value, path: &str) -> io::Result<&'a Value> {
    value.pointer(path).ok_or_else(|| invalid(format!("{path} is not there")))
}

fn text(value: &Value, path: &str) -> io::Result<String> {
    let text = part(value, path)?.as_str();
    text.map(str::to_owned).ok_or_else(|| invalid(format!("{path} is not text")))
}

/// The one element of a list.
fn only<'a>(value: &'a Value, path: &str) -> io::Result<&'a Value> {
    match part(value, path)?.as_array().map(Vec::as_slice) {
        Some([only]) => Ok(only),
        _ => Err(invalid(format!("{path} is not a list of one"))),
    }
}

fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{capture, temporary};

    /// An image of a file that says hello, and the folder it lies in.
    fn hello() -> (crate::TempDir, std::path::PathBuf, String) {
        let dir = temporary().expect("temporary folder");
        let (program, archive) = (dir.path().join("hello"), dir.path().join("hello.tar"));
        fs::write(&program, "#!/bin/sh\necho hello\n").expect("written");
        let digest = image(&program, &archive).expect("image");
        (dir, archive, digest)
    }

    #[test]
    fn what_was_written_is_read() {
        let (dir, archive, digest) = hello();
        let (read, image) = Image::read(&archive).expect("read");
        assert_eq!((read, image.user.as_str()), (digest.clone(), USER));
        assert_eq!(image.entrypoint, ["/weightseal-init"]);
        let file = image.files.get(PROGRAM).expect("the program");
        assert_eq!(
            (file.mode, file.owner, file.content.as_slice()),
            (0o755, (0, 0), &b"#!/bin/sh\necho hello\n"[..])
        );
        let again = dir.path().join("again.tar");
        assert_eq!(image.write(&again).expect("written"), digest);
        assert_eq!(fs::read(again).expect("read"), fs::read(archive).expect("read"));
    }

    #[test]
    fn the_tar_program_reads_it_too() {
        let (dir, archive, _) = hello();
        let unpacked = capture(Command::new("tar").arg("-C").arg(dir.path()).arg("-xf").arg(&archive));
        unpacked.expect("tar runs").expect_code(0);
        let index: Value = serde_json::from_slice(&fs::read(dir.path().join("index.json")).expect("read"))
            .expect("an index");
        assert_eq!(index.pointer("/manifests/0/mediaType"), Some(&json!(MANIFEST)));
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let (_dir, archive, _) = hello();
        let mut bytes = fs::read(&archive).expect("read");
        let at = bytes.windows(5).position(|part| part == b"hello").expect("the program");
        bytes[at] ^= 1;
        fs::write(&archive, bytes).expect("written");
        let error = Image::read(&archive).expect_err("it was changed");
        assert!(error.to_string().contains("does not have the digest"), "{error}");
    }

    #[test]
    fn a_compressed_layer_is_read() {
        let packed = pack(BTreeMap::from([("a".to_owned(), b"abc".to_vec())])).expect("packed");
        let zipped =
            capture_within(Command::new("gzip").arg("-c"), &packed, LIMIT).expect("gzip runs").stdout;
        assert_eq!(gunzip(&zipped).expect("unpacked"), packed);
        assert_eq!(unpack(&packed).expect("files").get("a").expect("a").content, b"abc");
    }
}
