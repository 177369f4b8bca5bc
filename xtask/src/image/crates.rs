//! Which crates are in the program: each is somebody's to trust, so that none comes in unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;

use testkit::{capture, workspace};

use super::Arch;
use crate::Done;
use crate::test::cargo;

/// The list that is kept beside the program.
const LIST: &str = "init-container/crates.txt";

/// What the library can do more, in the order in which the init container takes it, and what brings the crates.
const PARTS: [(&str, &str); 4] = [
    ("", "digests, keys, certificates, policies"),
    ("sigstore", "what Sigstore signed, without its servers"),
    ("hub", "models on the Hugging Face Hub"),
    ("s3", "models in S3"),
];

/// A crate of a certain version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// As SPDX writes it.
    pub(super) licence: String,
}

impl Package {
    /// A line of `cargo tree`: name, version and more, then the licence.
    fn parse(line: &str) -> Option<Package> {
        let (package, licence) = line.split_once('|')?;
        let mut words = package.split_whitespace();
        let name = words.next()?.to_owned();
        let version = words.next()?.strip_prefix('v')?.to_owned();
        let licence = licence.trim_end_matches(" (*)");
        // Crates older than SPDX's expressions separate by a slash.
        let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
        Some(Package { name, version, licence })
    }

    /// The name with as much of the version as is incompatible with others: updates leave it as it is.
    fn line(&self) -> String {
        let zeros = self.version.split('.').take_while(|part| *part == "0").count();
        let parts: Vec<&str> = self.version.split(['.', '-', '+']).take(zeros + 1).collect();
        format!("{} {}", self.name, parts.join("."))
    }
}

/// The crates of the program, each with those it calls.
pub(super) struct Tree {
    pub(super) root: Package,
    pub(super) packages: BTreeMap<Package, BTreeSet<Package>>,
}

impl Tree {
    /// The crates in the image: none that only runs while it is built.
    pub(super) fn of_image(arch: Arch) -> Done<Tree> {
        let mut packages: BTreeMap<Package, BTreeSet<Package>> = BTreeMap::new();
        // Those that the one at hand hangs from, by depth.
        let mut path: Vec<Package> = Vec::new();
        for line in tree("weightseal-init", "", "normal,no-proc-macro", arch)? {
            let start = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
            let (depth, rest) = line.split_at(start);
            let package = Package::parse(rest).ok_or_else(|| format!("cargo tree writes {line:?}"))?;
            path.truncate(depth.parse()?);
            if let Some(above) = path.last() {
                packages.entry(above.clone()).or_default().insert(package.clone());
            }
            packages.entry(package.clone()).or_default();
            path.push(package);
        }
        let root = path.into_iter().next().ok_or("cargo tree writes nothing")?;
        Ok(Tree { root, packages })
    }

    /// How many of them come from the registry: all but the program and its library.
    pub(super) fn registry(&self) -> usize {
        self.packages.keys().filter(|package| !package.name.starts_with("weightseal")).count()
    }
}

/// Demands that the list says which crates there are; with `WEIGHTSEAL_UPDATE=1` it does afterwards.
pub(super) fn check() -> Done {
    let path = workspace().join(LIST);
    let right = list()?;
    if env::var_os("WEIGHTSEAL_UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &right)?;
    }
    let listed = fs::read_to_string(&path).unwrap_or_default();
    if listed == right {
        return Ok(());
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, now) = (lines(&listed), lines(&right));
    let mut why = format!("{LIST} does not say which crates are in the image:\n");
    now.difference(&before).try_for_each(|line| writeln!(why, "  + {line}"))?;
    before.difference(&now).try_for_each(|line| writeln!(why, "  - {line}"))?;
    Err(format!("{why}where each of them is wanted, WEIGHTSEAL_UPDATE=1 writes the list").into())
}

/// What the list has to be.
fn list() -> Done<String> {
    let arch = Arch::Amd64;
    let lines = |package: &str, features: &str, edges: &str| -> Done<BTreeSet<String>> {
        let lines = tree(package, features, edges, arch)?;
        let packages = lines
            .iter()
            .filter_map(|line| Package::parse(line.trim_start_matches(|c: char| c.is_ascii_digit())));
        Ok(packages.filter(|package| !package.name.starts_with("weightseal")).map(|it| it.line()).collect())
    };
    let mut parts = Vec::new();
    let mut features = Vec::new();
    for (feature, what) in PARTS {
        features.push(feature);
        parts.push((what, lines("weightseal", &features.join(","), "normal,no-proc-macro")?));
    }
    parts.push(("flags, signals, times", lines("weightseal-init", "", "normal,no-proc-macro")?));
    let image = parts.last().map_or(0, |(_, lines)| lines.len());
    parts.push((
        "not in the image: they run while it is built",
        lines("weightseal-init", "", "normal,build")?,
    ));

    let mut text = format!(
        "# The {image} crates in the image from the registry, for what they are there first; `cargo xtask image`\n\
         # compares. A version is cut where updates are compatible; Cargo.lock has the rest.\n"
    );
    let mut seen = BTreeSet::new();
    for (what, lines) in parts {
        let new: Vec<&String> = lines.difference(&seen).collect();
        writeln!(text, "\n# {what}: {}", new.len())?;
        new.iter().try_for_each(|line| writeln!(text, "{line}"))?;
        seen.extend(lines);
    }
    Ok(text)
}

/// Lines of depth, crate and licence.
fn tree(package: &str, features: &str, edges: &str, arch: Arch) -> Done<Vec<String>> {
    let mut cargo = cargo();
    cargo.args(["tree", "--locked", "--prefix", "depth", "--format", "{p}|{l}", "--target", &arch.target()]);
    cargo.args(["--package", package, "--features", features, "--edges", edges]).current_dir(workspace());
    let ended = capture(&mut cargo)?;
    if ended.code() == Some(0) {
        Ok(ended.out().lines().map(str::to_owned).collect())
    } else {
        Err(ended.to_string().into())
    }
}

/// The digests of what the registry gave, by name and version, from `Cargo.lock`.
pub(super) fn checksums() -> Done<BTreeMap<(String, String), String>> {
    Ok(parse_checksums(&fs::read_to_string(workspace().join("Cargo.lock"))?))
}

fn parse_checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let packages = lock.split("[[package]]").filter_map(|package| {
        let value = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_the_crates() {
        if let Err(why) = check() {
            panic!("{why}");
        }
        let page = fs::read_to_string(workspace().join("docs/image.md")).expect("read");
        let tree = Tree::of_image(Arch::Amd64).expect("a tree");
        let stated = format!("**{} crates**", tree.registry());
        assert!(page.contains(&stated), "docs/image.md does not state {stated}");
    }

    #[test]
    fn each_crate_of_the_registry_has_a_checksum() {
        let (tree, checksums) = (Tree::of_image(Arch::Amd64).expect("a tree"), checksums().expect("a lock"));
        assert!(tree.root.name == "weightseal-init" && tree.packages.len() == tree.registry() + 2);
        for package in tree.packages.keys().filter(|package| !package.name.starts_with("weightseal")) {
            let sum = checksums.get(&(package.name.clone(), package.version.clone()));
            assert_eq!(sum.map(String::len), Some(64), "{package:?}");
        }
    }

    #[test]
    fn a_crate_is_read_from_its_line() {
        let package =
            Package::parse("tokio-macros v2.7.2 (proc-macro)|MIT / Apache-2.0 (*)").expect("a crate");
        let parts = (package.name.as_str(), package.version.as_str(), package.licence.as_str());
        assert_eq!(parts, ("tokio-macros", "2.7.2", "MIT OR Apache-2.0"));
    }

    #[test]
    fn updates_leave_a_line_as_it_is() {
        for (version, line) in
            [("1.2.3", "a 1"), ("0.2.3", "a 0.2"), ("0.0.3", "a 0.0.3"), ("1.0.0-rc.1", "a 1")]
        {
            let package =
                Package { name: "a".to_owned(), version: version.to_owned(), licence: String::new() };
            assert_eq!(package.line(), line);
        }
    }

    #[test]
    fn checksums_are_read_from_a_lock() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\ndependencies = [\n \"a\",\n]\n";
        let sums = parse_checksums(lock);
        assert_eq!(sums.len(), 1);
        assert_eq!(sums.get(&("a".to_owned(), "1.0.0".to_owned())).map(String::as_str), Some("00ff"));
    }
}
