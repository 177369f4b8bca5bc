//! Links in models, and the Hub's cache, whose files are links by design.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use testkit::{
    models::{REVISION, hub_cache, share_blobs},
    pki::{Key, KeyKind},
};
use weightseal::{Accept, Algorithm, Code, Hashing, KeySigner, Model, Policy, Run};

use crate::good::{Good, refused, verified, write_files};

fn hashing() -> Hashing {
    Hashing::files(Algorithm::Sha256)
}

/// A model with links to a file and to a folder, signed with links.
fn linked() -> Good {
    let links = |folder: &Path| {
        symlink("config.json", folder.join("link.json")).unwrap();
        symlink("../config.json", folder.join("deploy/up.json")).unwrap();
        symlink("deploy", folder.join("alias")).unwrap();
        // By an absolute path that stays in the model.
        symlink(folder.canonicalize().unwrap().join("README.md"), folder.join("absolute")).unwrap();
        // Out and in again.
        symlink("../model/README.md", folder.join("roundabout")).unwrap();
    };
    Good::with(&hashing(), KeyKind::Ed25519, links, |model| model.allow_symlinks(true))
}

#[test]
fn links_count_when_signer_and_verifier_both_say_so() {
    let good = linked();
    let text = good.statement().to_string();
    for name in ["link.json", "deploy/up.json", "alias/run.sh", "alias/up.json", "absolute", "roundabout"] {
        assert!(text.contains(&format!("\"name\":\"{name}\"")), "{name} in {text}");
    }
    let bundles = [good.bundle.clone()];
    let allowed = good.model().allow_symlinks(true);
    let report = verified(&allowed, &good.policy(), &bundles);
    assert_eq!(report.counts.links, 6);
    // The verifier did not.
    refused(&good.model(), &good.policy(), &bundles, &[Code::SymlinkRefused, Code::FileMissing]);
    // The signer did not.
    let without = good.changed(|s| s["predicate"]["serialization"]["allow_symlinks"] = false.into());
    refused(&allowed, &good.policy(), &[without], &[Code::SymlinkRefused, Code::FileMissing]);
    // Neither did when it was signed.
    let error = good.model().manifest(&hashing(), &Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::SymlinkRefused);
}

#[test]
fn a_link_that_nobody_signed_is_refused_or_forgiven() {
    for target in ["config.json", "deploy"] {
        let good = Good::new();
        symlink(target, good.path("new-link")).unwrap();
        let report = good.refused(&[Code::SymlinkRefused]);
        assert_eq!(report.findings[0].name.as_deref(), Some("new-link"));
        verified(&good.model().ignore_unsigned_files(true), &good.policy(), good.bundles());
    }
}

/// Links that lead nowhere good, each with its code.
fn bad_links(outside: &Path) -> Vec<(PathBuf, Code)> {
    vec![
        (outside.join("secret"), Code::SymlinkEscapes),
        (outside.to_owned(), Code::SymlinkEscapes),
        ("../outside/secret".into(), Code::SymlinkEscapes),
        ("deploy/../../outside/secret".into(), Code::SymlinkEscapes),
        ("/etc/passwd".into(), Code::SymlinkEscapes),
        ("/".into(), Code::SymlinkEscapes),
        ("..".into(), Code::SymlinkEscapes),
        ("../model-but-longer/secret".into(), Code::SymlinkEscapes),
        (".".into(), Code::SymlinkCycle),
        ("bad".into(), Code::SymlinkCycle),
        ("./bad/x".into(), Code::SymlinkCycle),
        ("nothing".into(), Code::SymlinkDangling),
        ("config.json/x".into(), Code::SymlinkDangling),
    ]
}

#[test]
fn links_out_of_the_model_in_circles_and_to_nothing() {
    let probe = linked();
    let outside = probe.dir.path().join("outside");
    for (n, (_, code)) in bad_links(&outside).into_iter().enumerate() {
        let good = linked();
        write_files(good.dir.path(), [("outside/secret", &b"x"[..]), ("model-but-longer/secret", b"x")]);
        let (target, _) = bad_links(&good.dir.path().join("outside")).swap_remove(n);
        symlink(&target, good.path("bad")).unwrap();
        let allowed = good.model().allow_symlinks(true);
        let report = refused(&allowed, &good.policy(), good.bundles(), &[code]);
        assert_eq!(report.findings[0].name.as_deref(), Some("bad"), "{target:?}");
        let error = allowed.manifest(&hashing(), &Run::new()).unwrap_err();
        assert_eq!(error.code(), code, "{target:?}");
        // In the place of a signed file nothing forgives it.
        fs::remove_file(good.path("bad")).unwrap();
        fs::remove_file(good.path("link.json")).unwrap();
        symlink(Path::new(&target), good.path("link.json")).unwrap();
        if target.as_os_str() == "bad" || target.as_os_str() == "./bad/x" {
            continue;
        }
        let forgiving = good.model().allow_symlinks(true).ignore_unsigned_files(true);
        refused(&forgiving, &good.policy(), good.bundles(), &[code]);
    }
}

#[test]
fn circles_of_several_links_end() {
    let good = linked();
    symlink("two", good.path("one")).unwrap();
    symlink("one", good.path("two")).unwrap();
    fs::create_dir_all(good.path("a/b")).unwrap();
    symlink("..", good.path("a/b/up")).unwrap();
    symlink("../a", good.path("deploy/round")).unwrap();
    symlink("../deploy", good.path("a/round")).unwrap();
    let allowed = good.model().allow_symlinks(true);
    // Each way round is told where it closes.
    let report = refused(&allowed, &good.policy(), good.bundles(), &[Code::SymlinkCycle]);
    for name in ["one", "two", "a/b/up"] {
        assert!(report.findings.iter().any(|finding| finding.name.as_deref() == Some(name)), "{report}");
    }
}

#[test]
fn a_link_that_leads_elsewhere_is_told_by_its_content() {
    let good = linked();
    fs::remove_file(good.path("link.json")).unwrap();
    symlink("README.md", good.path("link.json")).unwrap();
    let allowed = good.model().allow_symlinks(true);
    let report = refused(&allowed, &good.policy(), good.bundles(), &[Code::FileChanged]);
    assert_eq!(report.findings[0].name.as_deref(), Some("link.json"));
    // A folder behind the link where a file was signed.
    fs::remove_file(good.path("link.json")).unwrap();
    symlink("deploy", good.path("link.json")).unwrap();
    let report = refused(&allowed, &good.policy(), good.bundles(), &[Code::NotAFile, Code::FileUnsigned]);
    assert!(report.findings.iter().any(|f| f.name.as_deref() == Some("link.json/run.sh")));
}

/// The good model in a Hub's cache; a bundle of the plain folder verifies the snapshot.
struct Cache {
    good: Good,
    snapshot: PathBuf,
}

fn cache() -> Cache {
    let good = Good::new();
    let snapshot = hub_cache(&good.dir.path().join("hub"), "acme/llama", REVISION, &good.folder()).unwrap();
    let cache = Cache { good, snapshot };
    cache.verifies();
    cache
}

impl Cache {
    fn model(&self) -> Model {
        Model::open(&self.snapshot).unwrap()
    }

    fn verifies(&self) {
        let report = verified(&self.model(), &self.good.policy(), self.good.bundles());
        assert_eq!(report.counts.links, 0);
    }

    fn relink(&self, name: &str, target: impl AsRef<Path>) {
        fs::remove_file(self.snapshot.join(name)).unwrap();
        symlink(target, self.snapshot.join(name)).unwrap();
    }

    fn blob(&self, name: &str) -> PathBuf {
        self.snapshot.join(name).canonicalize().unwrap()
    }

    fn refused(&self, codes: &[Code]) {
        for links in [false, true] {
            let model = self.model().allow_symlinks(links);
            refused(&model, &self.good.policy(), self.good.bundles(), codes);
        }
    }
}

#[test]
fn a_snapshot_of_the_hubs_cache_is_a_model() {
    let cache = cache();
    // It signs like the plain folder, without a word on links.
    let manifest = cache.model().manifest(&hashing(), &Run::new()).unwrap();
    assert_eq!(&manifest, cache.good.bundle.unverified_statement().unwrap().manifest());
    // By an absolute path to the blob as well.
    let blob = cache.blob("config.json");
    cache.relink("config.json", &blob);
    cache.verifies();
    // A changed blob is a changed file.
    fs::write(blob, "{}").unwrap();
    cache.refused(&[Code::FileChanged]);
}

#[test]
fn a_blob_that_repositories_share_is_a_blob() {
    let cache = cache();
    let hub = cache.good.dir.path().join("hub");
    share_blobs(&hub).unwrap();
    cache.verifies();
    let manifest = cache.model().manifest(&hashing(), &Run::new()).unwrap();
    assert_eq!(&manifest, cache.good.bundle.unverified_statement().unwrap().manifest());
    let single = Model::open(cache.snapshot.join("config.json")).unwrap();
    assert!(single.manifest(&hashing(), &Run::new()).is_ok());

    let shared = cache.blob("config.json");
    let blob = cache.snapshot.join(fs::read_link(cache.snapshot.join("config.json")).unwrap());
    let relink = |target: &Path| {
        fs::remove_file(&blob).unwrap();
        symlink(target, &blob).unwrap();
    };
    let good = fs::read_link(&blob).unwrap();
    // Elsewhere with the right content, or there by another way.
    let hash = shared.file_name().unwrap().to_str().unwrap();
    let elsewhere = cache.good.dir.path().join("aside");
    fs::copy(&shared, &elsewhere).unwrap();
    fs::copy(&shared, hub.join("blobs").join(hash)).unwrap();
    for target in [
        shared.clone(),
        elsewhere,
        format!("../../blobs/{hash}").into(),
        format!("../../blobs/./{}/{hash}", &hash[..2]).into(),
        format!("../../../hub/blobs/{}/{hash}", &hash[..2]).into(),
    ] {
        relink(&target);
        cache.refused(&[Code::SymlinkEscapes]);
    }
    relink(&good);
    cache.verifies();
    fs::write(&shared, "{}").unwrap();
    cache.refused(&[Code::FileChanged]);
    fs::remove_file(&shared).unwrap();
    cache.refused(&[Code::SymlinkDangling]);
    symlink("/etc/hostname", &shared).unwrap();
    cache.refused(&[Code::SymlinkEscapes]);
}

#[test]
fn links_to_anything_but_a_blob_of_the_repository_are_refused() {
    let cache = cache();
    let content = fs::read(cache.snapshot.join("config.json")).unwrap();
    let home = cache.snapshot.parent().unwrap().parent().unwrap().to_owned();
    // The blob of another repository, with the right content.
    let other = cache.good.dir.path().join("hub/models--evil--llama");
    write_files(&other, [("blobs/abc", &content[..]), ("snapshots/x", b"")]);
    cache.relink("config.json", "../../../models--evil--llama/blobs/abc");
    cache.refused(&[Code::SymlinkEscapes]);
    cache.relink("config.json", other.join("blobs/abc"));
    cache.refused(&[Code::SymlinkEscapes]);
    // Beside the blobs, or below them.
    for (at, target) in [("refs/x", "../../refs/x"), ("blobs/sub/x", "../../blobs/sub/x"), ("x", "../../x")] {
        write_files(&home, [(at, &content[..])]);
        cache.relink("config.json", target);
        cache.refused(&[Code::SymlinkEscapes]);
    }
    fs::remove_dir_all(home.join("blobs/sub")).unwrap();
    // Another snapshot of the same repository.
    write_files(&home, [("snapshots/other/config.json", &content[..])]);
    cache.relink("config.json", "../other/config.json");
    cache.refused(&[Code::SymlinkEscapes]);
    // A blob that is no file.
    fs::create_dir(home.join("blobs/folder")).unwrap();
    cache.relink("config.json", "../../blobs/folder");
    cache.refused(&[Code::SymlinkEscapes]);
    cache.relink("config.json", "../../blobs/none");
    cache.refused(&[Code::SymlinkDangling]);
}

#[test]
fn a_blob_that_is_a_link_itself_is_not_followed() {
    let cache = cache();
    let blob = cache.blob("config.json");
    let outside = cache.good.dir.path().join("outside");
    fs::rename(&blob, &outside).unwrap();
    symlink(&outside, &blob).unwrap();
    cache.refused(&[Code::SymlinkEscapes]);
    fs::remove_file(&blob).unwrap();
    let sibling = cache.blob("README.md");
    fs::rename(&outside, blob.with_file_name("moved")).unwrap();
    symlink(sibling.with_file_name("moved"), &blob).unwrap();
    cache.refused(&[Code::SymlinkEscapes]);
    // Nor are the blobs as a whole, when their folder leads elsewhere.
    let cache = self::cache();
    let blobs = cache.blob("config.json").parent().unwrap().to_owned();
    let moved = cache.good.dir.path().join("moved");
    fs::rename(&blobs, &moved).unwrap();
    symlink(&moved, &blobs).unwrap();
    assert!(cache.model().verify(&cache.good.policy(), cache.good.bundles(), &Run::new()).is_err());
}

#[test]
fn a_folder_that_only_looks_like_a_cache_is_none() {
    // The same layout under a name that no repository has.
    let cache = cache();
    let home = cache.snapshot.parent().unwrap().parent().unwrap();
    let moved = home.with_file_name("llama");
    fs::rename(home, &moved).unwrap();
    let model = Model::open(moved.join("snapshots").join(REVISION)).unwrap().allow_symlinks(true);
    refused(&model, &cache.good.policy(), cache.good.bundles(), &[Code::SymlinkEscapes]);
}

#[test]
fn the_repository_as_a_whole_is_no_model() {
    let cache = cache();
    let home = cache.snapshot.parent().unwrap().parent().unwrap();
    let error = Model::open(home).unwrap_err();
    assert_eq!((error.code(), error.class().exit()), (Code::ModelAbsent, 2));
    assert!(error.help().contains("snapshots"));
}

/// A link in a snapshot that says `blobs/` in the end, but goes through another link on the way, is not a link to a blob.
#[test]
fn a_hub_link_that_goes_round_by_another_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("models--acme--tiny");
    let snapshot = repository.join("snapshots/abc");
    fs::create_dir_all(snapshot.join(".git")).unwrap();
    fs::create_dir_all(repository.join("blobs")).unwrap();
    fs::write(repository.join("blobs/one"), "good").unwrap();
    symlink("../../blobs/one", snapshot.join("model.safetensors")).unwrap();
    let key = Key::new(KeyKind::P256, 3);
    let open = || Model::open(&snapshot).unwrap();
    let signer = KeySigner::from_pem(key.pkcs8_pem().as_bytes(), None).unwrap();
    let bundle = open().sign(&hashing(), &signer, &Run::new()).unwrap();
    let policy = Policy::new().accept(Accept::key(key.public_pem()).unwrap());
    verified(&open(), &policy, std::slice::from_ref(&bundle));

    let evil = folder.path().join("evil/p/a/b/c");
    fs::create_dir_all(&evil).unwrap();
    fs::create_dir_all(folder.path().join("evil/blobs")).unwrap();
    fs::write(folder.path().join("evil/blobs/one"), "evil").unwrap();
    symlink(&evil, snapshot.join(".git/e")).unwrap();
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    symlink(".git/e/../../../../blobs/one", snapshot.join("model.safetensors")).unwrap();
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), b"evil", "that is what a loader reads");
    refused(&open(), &policy, &[bundle], &[Code::SymlinkEscapes]);
}
