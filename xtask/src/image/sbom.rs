//! What the program consists of, as CycloneDX 1.6: exactly the crates in it, and what the C compiler's side adds.
//!
//! It is written here because the tools that write one see features of the whole workspace, or crates that only run
//! while something is built, and put a random number and the time of day into the document.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::image::PROGRAM;
use testkit::{capture, temporary};

use super::Arch;
use super::crates::{Package, Tree, checksums};
use super::revision::Revision;
use crate::Done;

/// Under what the program is, with all that is linked into it.
pub(super) const LICENCES: &str = "Apache-2.0 AND BSD-3-Clause AND ISC AND MIT AND Unicode-3.0 AND Zlib AND \
    LGPL-2.1-or-later AND GPL-3.0-or-later WITH GCC-exception-3.1";

/// Writes the document.
pub(super) fn write(tree: &Tree, arch: Arch, revision: &Revision, program: &[u8]) -> Done<String> {
    let checksums = checksums()?;
    let mut components = Vec::new();
    for package in tree.packages.keys().filter(|package| **package != tree.root) {
        let mut component = component("library", package);
        match checksums.get(&(package.name.clone(), package.version.clone())) {
            Some(sum) => component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]),
            // The library is of this workspace.
            None if package.name == "weightseal" => {}
            None => return Err(format!("Cargo.lock has no checksum of {}", package.name).into()),
        }
        components.push(component);
    }
    components.extend(linked(arch)?);
    let dependencies: Vec<Value> = tree
        .packages
        .iter()
        .map(|(package, needs)| {
            json!({ "ref": url(package), "dependsOn": needs.iter().map(url).collect::<Vec<_>>() })
        })
        .collect();
    let mut root = component("application", &tree.root);
    root["hashes"] = json!([{ "alg": "SHA-256", "content": sha256(program)? }]);
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": revision.time(),
            "component": root,
            "tools": { "components": [
                { "type": "application", "name": "rustc", "version": first_line(&["rustc", "--version"])? },
                { "type": "application", "name": "gcc",
                  "version": first_line(&[&arch.compiler(), "-dumpfullversion"])? },
            ] },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(kind: &str, package: &Package) -> Value {
    json!({
        "type": kind,
        "bom-ref": url(package),
        "name": package.name,
        "version": package.version,
        "purl": url(package),
        "licenses": [{ "expression": package.licence }],
    })
}

fn url(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

/// What is linked in besides crates: Rust's own library, and those of the C compiler, by their packages.
fn linked(arch: Arch) -> Done<Vec<Value>> {
    let rust = first_line(&["rustc", "--version"])?;
    let version = rust.split_whitespace().nth(1).unwrap_or_default();
    let mut linked = vec![json!({
        "type": "library",
        "bom-ref": format!("pkg:generic/rust-std@{version}"),
        "name": "rust-std",
        "version": version,
        "purl": format!("pkg:generic/rust-std@{version}"),
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    })];
    let libraries = [
        ("libc.a", "glibc", "LGPL-2.1-or-later"),
        ("libgcc_eh.a", "libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    ];
    for (file, name, licence) in libraries {
        let path = first_line(&[&arch.compiler(), &format!("-print-file-name={file}")])?;
        let path = Path::new(&path).canonicalize()?;
        let (package, version) = debian(&path).unwrap_or_else(|| (name.to_owned(), "unknown".to_owned()));
        let url = format!("pkg:deb/debian/{package}@{}", version.replace('+', "%2B"));
        linked.push(json!({
            "type": "library",
            "bom-ref": url,
            "name": name,
            "version": version,
            "purl": url,
            "licenses": [{ "expression": licence }],
        }));
    }
    Ok(linked)
}

/// The package of Debian that a file is from, and its version.
fn debian(path: &Path) -> Option<(String, String)> {
    let owner = first_line(&["dpkg-query", "--search", path.to_str()?]).ok()?;
    let package = owner.split(": ").next()?;
    let version = first_line(&["dpkg-query", "--show", "--showformat=${Version}", package]).ok()?;
    Some((package.split(':').next()?.to_owned(), version))
}

fn first_line(command: &[&str]) -> Done<String> {
    let (program, args) = command.split_first().ok_or("no command")?;
    let ended = capture(Command::new(program).args(args).env("LC_ALL", "C"))?;
    match ended.out().lines().next() {
        Some(line) if ended.code() == Some(0) => Ok(line.trim().to_owned()),
        _ => Err(ended.to_string().into()),
    }
}

fn sha256(bytes: &[u8]) -> Done<String> {
    let dir = temporary()?;
    let path = dir.path().join(PROGRAM);
    std::fs::write(&path, bytes)?;
    Ok(testkit::digest::sha256_file(&path)?)
}
