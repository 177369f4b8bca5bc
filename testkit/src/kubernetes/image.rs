//! An image of one program, as an archive of the Open Container Initiative's layout.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::digest::hex;

/// Makes an image from scratch: the program at `/NAME`, which it starts, and nothing else. Equal programs make equal
/// archives. Returns the digest that a pod names it by, `sha256:…`.
///
/// # Errors
/// The program cannot be read, or the archive cannot be written.
pub fn image(program: &Path, name: &str, archive: &Path) -> io::Result<String> {
    let layer = tar(&[(name, 0o755, &fs::read(program)?)])?;
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": { "Entrypoint": [format!("/{name}")], "User": "65532:65532" },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        "history": [{ "created_by": "testkit" }],
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [described("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes())],
    })
    .to_string();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", hex(&Sha256::digest(bytes)));
    let bytes = tar(&[
        ("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", 0o644, index.as_bytes()),
        (&blob(manifest.as_bytes()), 0o644, manifest.as_bytes()),
        (&blob(config.as_bytes()), 0o644, config.as_bytes()),
        (&blob(&layer), 0o644, &layer),
    ])?;
    fs::write(archive, bytes)?;
    Ok(digest(manifest.as_bytes()))
}

/// What Go calls this machine's processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

/// The length of a header, and what every content is filled up to.
const BLOCK: usize = 512;

/// An archive of files: name, mode and content, of nobody's time.
fn tar(files: &[(&str, u32, &[u8])]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, mode, content) in files {
        let fields = [
            (0, 100, (*name).to_owned()),
            (100, 8, format!("{mode:07o}")),
            (108, 8, format!("{:07o}", 0)),
            (116, 8, format!("{:07o}", 0)),
            (124, 12, format!("{:011o}", content.len())),
            (136, 12, format!("{:011o}", 0)),
            // The sum takes itself for spaces.
            (148, 8, " ".repeat(8)),
            (156, 1, "0".to_owned()),
            (257, 8, "ustar\x0000".to_owned()),
        ];
        let mut header = [0; BLOCK];
        for (start, length, text) in fields {
            put(&mut header, start, length, text.as_bytes())?;
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, 8, format!("{sum:06o}\0 ").as_bytes())?;
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    Ok(bytes)
}

fn put(header: &mut [u8; BLOCK], start: usize, length: usize, text: &[u8]) -> io::Result<()> {
    let field = header.get_mut(start..start + length).and_then(|field| field.get_mut(..text.len()));
    let field = field.ok_or_else(|| io::Error::other("too long for an archive"))?;
    field.copy_from_slice(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{capture, temporary};

    #[test]
    fn an_archive_is_read_by_tar_and_the_same_again() {
        let dir = temporary().expect("temporary folder");
        let program = dir.path().join("program");
        fs::write(&program, "x".repeat(1000)).expect("written");
        let archives = ["one.tar", "two.tar"].map(|name| dir.path().join(name));
        for archive in &archives {
            image(&program, "it", archive).expect("made");
        }
        assert_eq!(fs::read(&archives[0]).expect("one"), fs::read(&archives[1]).expect("two"));
        let listed =
            capture(Command::new("tar").arg("--list").arg("--file").arg(&archives[0])).expect("tar runs");
        let names = listed.expect_code(0).out();
        assert!(
            names.starts_with("oci-layout\nindex.json\nblobs/sha256/") && names.lines().count() == 5,
            "{names}"
        );
    }
}
