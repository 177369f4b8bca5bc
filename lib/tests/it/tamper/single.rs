//! Models of one file.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use testkit::{
    TempDir,
    models::{REVISION, hub_cache},
    pki::{Key, KeyKind},
    temporary,
};
use weightseal::{Algorithm, Bundle, Code, Hashing, Model, Policy, Run};

use crate::good::{Good, refused, signer, trusting, verified, write_files};

const NAME: &str = "llama.gguf";

struct Single {
    dir: TempDir,
    good: Good,
}

impl Single {
    /// One file among others, signed by files or in shards; it verifies.
    fn new(hashing: &Hashing) -> Single {
        let dir = temporary().unwrap();
        write_files(dir.path(), [(NAME, &b"GGUF weights"[..]), ("beside.txt", b"not of the model")]);
        let key = Key::new(KeyKind::Ed25519, 1);
        let model = Model::open(dir.path().join(NAME)).unwrap();
        let bundle = model.sign(hashing, &signer(&key), &Run::new()).unwrap();
        let single = Single { dir, good: Good { dir: temporary().unwrap(), key, bundle } };
        verified(&single.model(), &single.policy(), single.good.bundles());
        single
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    fn model(&self) -> Model {
        Model::open(self.path()).unwrap()
    }

    fn policy(&self) -> Policy {
        trusting(&self.good.key)
    }

    fn named(&self, name: &str) -> Bundle {
        self.good.changed(|s| {
            for resource in s["predicate"]["resources"].as_array_mut().unwrap() {
                let old = resource["name"].as_str().unwrap();
                resource["name"] = old.replacen(NAME, name, 1).into();
            }
        })
    }
}

fn serializations() -> [Hashing; 2] {
    [Hashing::files(Algorithm::Sha256), Hashing::shards(Algorithm::Sha256, 5).unwrap()]
}

#[test]
fn a_file_is_named_by_its_base_name_or_by_a_dot() {
    for hashing in serializations() {
        let single = Single::new(&hashing);
        let statement = single.good.statement();
        assert!(statement["predicate"]["resources"][0]["name"].as_str().unwrap().starts_with(NAME));
        assert_eq!(statement["subject"][0]["name"], NAME);
        assert_eq!(statement["predicate"]["serialization"].get("ignore_paths"), None);
        for name in [NAME, "."] {
            verified(&single.model(), &single.policy(), &[single.named(name)]);
        }
        for name in ["other.gguf", "LLAMA.gguf", "llama.gguf2", "x/llama.gguf"] {
            refused(
                &single.model(),
                &single.policy(),
                &[single.named(name)],
                &[Code::FileMissing, Code::FileUnsigned],
            );
        }
        for name in ["", "./llama.gguf", "/llama.gguf", "../llama.gguf", ".."] {
            refused(&single.model(), &single.policy(), &[single.named(name)], &[Code::NameInvalid]);
        }
    }
}

#[test]
fn the_file_has_to_match_and_what_is_beside_it_does_not_count() {
    for hashing in serializations() {
        for name in [NAME, "."] {
            let single = Single::new(&hashing);
            let bundles = [single.named(name)];
            write_files(single.dir.path(), [("new", &b"x"[..]), (".git/HEAD", b"x")]);
            fs::write(single.dir.path().join("beside.txt"), "changed").unwrap();
            verified(&single.model(), &single.policy(), &bundles);
            fs::write(single.path(), "GGUF weighTs").unwrap();
            refused(&single.model(), &single.policy(), &bundles, &[Code::FileChanged]);
        }
    }
}

#[test]
fn a_renamed_file_verifies_by_the_dot_only() {
    let single = Single::new(&Hashing::files(Algorithm::Sha256));
    fs::rename(single.path(), single.dir.path().join("other.gguf")).unwrap();
    let model = Model::open(single.dir.path().join("other.gguf")).unwrap();
    verified(&model, &single.policy(), &[single.named(".")]);
    let codes = [Code::FileMissing, Code::FileUnsigned];
    refused(&model, &single.policy(), &[single.named(NAME)], &codes);
}

#[test]
fn a_folder_is_no_file_and_a_file_no_folder() {
    let single = Single::new(&Hashing::files(Algorithm::Sha256));
    let folder = single.dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::rename(single.path(), folder.join(NAME)).unwrap();
    let model = Model::open(&folder).unwrap();
    // By its base name it is the same as a folder with that one file; that is how the format has it.
    verified(&model, &single.policy(), &[single.named(NAME)]);
    let codes = [Code::FileMissing, Code::FileUnsigned];
    refused(&model, &single.policy(), &[single.named(".")], &codes);
}

#[test]
fn a_link_to_the_file_is_refused_and_a_blob_of_the_hubs_cache_is_not() {
    let single = Single::new(&Hashing::files(Algorithm::Sha256));
    let moved = single.dir.path().join("moved");
    fs::rename(single.path(), &moved).unwrap();
    symlink("moved", single.path()).unwrap();
    let bundles = [single.good.bundle.clone()];
    for links in [false, true] {
        let model = single.model().allow_symlinks(links);
        refused(&model, &single.policy(), &bundles, &[Code::SymlinkEscapes]);
    }

    let single = Single::new(&Hashing::files(Algorithm::Sha256));
    let folder = single.dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::copy(single.path(), folder.join(NAME)).unwrap();
    let snapshot = hub_cache(&single.dir.path().join("hub"), "acme/llama", REVISION, &folder).unwrap();
    let model = Model::open(snapshot.join(NAME)).unwrap();
    verified(&model, &single.policy(), single.good.bundles());
}
