//! The same checks of models in the Hub's cache and in stores.

use std::fs;

use testkit::models::{REVISION, hub_cache};
use weightseal::{Code, Model, Run};

use super::{demanding, good, signed_with};
use crate::good::{refused, verified};

#[test]
fn a_snapshot_in_the_hubs_cache_is_a_model_like_others() {
    let good = good();
    let cache = good.dir.path().join("hub");
    let snapshot = hub_cache(&cache, "acme/llama-3", REVISION, &good.folder()).unwrap();
    let model = || Model::open(&snapshot).unwrap();
    assert_eq!(verified(&model(), &demanding(&good), good.bundles()).load_set.unwrap().files, 9);
    assert_eq!(model().load_set(&Run::new()).unwrap().files.len(), 9);
    fs::remove_file(snapshot.join("README.md")).unwrap();
    refused(&model(), &demanding(&good), good.bundles(), &[Code::FileMissing]);
    let may = good.policy().may_be_missing("*.md").unwrap();
    assert_eq!(model().verify(&may, good.bundles(), &Run::new()).unwrap().report().counts.missing, 1);
    // A link into the blobs is a file, one that leads elsewhere is none.
    let blob = fs::read_link(snapshot.join("tokenizer.json")).unwrap();
    let hidden = snapshot.join(".github");
    fs::create_dir(&hidden).unwrap();
    std::os::unix::fs::symlink(std::path::Path::new("..").join(blob), hidden.join("evil.py")).unwrap();
    verified_but_for_the_readme(&model(), &good);
    refused(&model(), &may, good.bundles(), &[Code::LoadSetUnsigned]);
}

#[test]
fn a_list_of_a_commit_leads_to_no_bytes_but_the_snapshots() {
    let good = good();
    let cache = good.dir.path().join("hub");
    let snapshot = hub_cache(&cache, "acme/llama-3", REVISION, &good.folder()).unwrap();
    let repository = cache.join("models--acme--llama-3");
    let (blob, absent) = ("a".repeat(64), "b".repeat(64));
    fs::write(repository.join("blobs").join(&blob), "evil").unwrap();
    fs::create_dir(repository.join("trees")).unwrap();
    let list = |file: &str, sha256: &str| {
        let files = serde_json::json!({ file: { "size": 4, "blob_id": "0", "lfs_sha256": sha256 }, "README.md": { "size": 1 } });
        let tree = serde_json::json!({ "format_version": 1, "files": files });
        fs::write(repository.join("trees").join(format!("{REVISION}.json")), tree.to_string()).unwrap();
    };
    let model = || Model::open(&snapshot).unwrap();
    for (file, sha256) in [("pytorch_model.bin", &*absent), ("config.json", &*blob)] {
        list(file, sha256);
        verified(&model(), &demanding(&good), good.bundles());
    }
    for (file, sha256) in [("adapter_config.json", &*blob), ("config.json", "../trees/x.json")] {
        list(file, sha256);
        refused(&model(), &demanding(&good), good.bundles(), &[Code::FileUnsigned]);
    }
    fs::write(repository.join("trees").join(format!("{REVISION}.json")), "no list").unwrap();
    refused(&model(), &demanding(&good), good.bundles(), &[Code::FileUnsigned]);
}

#[test]
fn code_that_the_cache_keeps_from_earlier_does_not_run_in_the_place_of_the_models() {
    let good = good();
    let snapshot = hub_cache(&good.dir.path().join("hub"), "acme/llama-3", REVISION, &good.folder()).unwrap();
    let model = || Model::open(&snapshot).unwrap();
    let modules = good.dir.path().join("modules/transformers_modules/acme");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("__init__.py"), "").unwrap();
    verified(&model(), &demanding(&good), good.bundles());
    fs::write(modules.join("modeling_x.py"), "import os\n").unwrap();
    verified(&model(), &good.policy(), good.bundles());
    let report = refused(&model(), &demanding(&good), good.bundles(), &[Code::FileUnsigned]);
    let name = "../../modules/transformers_modules/acme/modeling_x.py";
    assert_eq!(report.findings[0].name.as_deref(), Some(name));
    // A model without code has none to be replaced.
    let plain = signed_with(|folder| {
        for name in ["modeling_x.py", "tokenization_x.py", "config.json", "tokenizer_config.json"] {
            fs::remove_file(folder.join(name)).unwrap();
        }
    });
    let cache = plain.dir.path().join("hub-without-code/hub");
    let modules = plain.dir.path().join("hub-without-code/modules/transformers_modules");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("x.py"), "import os\n").unwrap();
    let snapshot = hub_cache(&cache, "acme/plain", REVISION, &plain.folder()).unwrap();
    verified(&Model::open(&snapshot).unwrap(), &demanding(&plain), plain.bundles());
}

fn verified_but_for_the_readme(model: &Model, good: &crate::good::Good) {
    refused(model, &good.policy(), good.bundles(), &[Code::FileMissing]);
}

#[cfg(feature = "hub")]
#[test]
fn a_model_on_the_hub() {
    use testkit::hub::{Hub as Double, Kind, Visibility};
    use weightseal::{Access, HubOptions, ModelUri};

    let hub = Double::start();
    hub.create(Kind::Model, "acme/llama", Visibility::Public);
    let uri: ModelUri = "hf://acme/llama".parse().unwrap();
    let access =
        Access::new().allow_http(true).hub(HubOptions::new().endpoint(hub.url()).no_token().no_cache());
    let commit = |good: &crate::good::Good, more: &[(&str, &[u8])]| {
        let names: Vec<String> = fs::read_dir(good.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let bytes: Vec<Vec<u8>> = names.iter().map(|name| fs::read(good.path(name)).unwrap()).collect();
        let files = names.iter().map(String::as_str).zip(bytes.iter().map(Vec::as_slice));
        let files: Vec<(&str, &[u8])> = files.chain(more.iter().copied()).collect();
        hub.commit(Kind::Model, "acme/llama", "main", &files);
        Model::open_at(&uri, &access, &Run::new()).unwrap()
    };
    let good = good();
    let model = commit(&good, &[]);
    assert_eq!(verified(&model, &demanding(&good), good.bundles()).load_set.unwrap().files, 9);
    let model = commit(&good, &[(".github/evil.py", b"x")]);
    verified(&model, &good.policy(), good.bundles());
    refused(&model, &demanding(&good), good.bundles(), &[Code::LoadSetUnsigned]);
    let remote = signed_with(|folder| {
        fs::write(folder.join("config.json"), r#"{"auto_map": {"AutoModel": "evil/repo--m.M"}}"#).unwrap();
    });
    let hub_has_evil = commit(&remote, &[(".github/evil.py", b"x")]);
    let codes = [Code::RemoteCode, Code::LoadSetUnsigned];
    refused(&hub_has_evil, &demanding(&remote), remote.bundles(), &codes);
    assert_eq!(hub_has_evil.load_set(&Run::new()).unwrap().remote_code[0].names, "evil/repo--m.M");
}

#[cfg(feature = "s3")]
#[test]
fn a_model_in_a_bucket() {
    use testkit::{
        or_skip,
        s3::{Bucket, minio},
    };
    use weightseal::{Access, ModelUri, S3Options};

    let Some(store) = or_skip(minio()) else { return };
    let options = S3Options::new()
        .endpoint_url(store.url())
        .region(store.region())
        .credentials(store.access_key(), store.secret_key(), None)
        .tls_ca(&fs::read(store.ca()).unwrap())
        .allow_http(store.url().starts_with("http://"));
    let good = good();
    let bucket = store.bucket(Bucket::default());
    for entry in fs::read_dir(good.folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        store.put(&bucket, &format!("m/{name}"), &fs::read(good.path(&name)).unwrap());
    }
    let uri: ModelUri = format!("s3://{bucket}/m").parse().unwrap();
    let model = || Model::open_at(&uri, &Access::new().s3(options.clone()), &Run::new()).unwrap();
    assert_eq!(verified(&model(), &demanding(&good), good.bundles()).load_set.unwrap().files, 9);
    assert_eq!(model().load_set(&Run::new()).unwrap().findings, []);
    store.put(&bucket, "m/.github/evil.py", b"x");
    verified(&model(), &good.policy(), good.bundles());
    refused(&model(), &demanding(&good), good.bundles(), &[Code::LoadSetUnsigned]);
}

/// A store that answers the first read of one file with other bytes than all later ones.
#[derive(Debug)]
struct Twofaced {
    memory: weightseal::Memory,
    first: std::sync::Mutex<Option<Vec<u8>>>,
}

impl std::fmt::Display for Twofaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store with two faces")
    }
}

impl weightseal::Source for Twofaced {
    fn list(
        &self,
        run: &Run,
        each: &mut dyn FnMut(weightseal::Entry) -> Result<(), weightseal::Error>,
    ) -> Result<(), weightseal::Error> {
        self.memory.list(run, each)
    }

    fn read_at(
        &self,
        entry: &weightseal::Entry,
        offset: u64,
        buf: &mut [u8],
        run: &Run,
    ) -> Result<usize, weightseal::Error> {
        let first = (entry.name == "config.json").then(|| self.first.lock().unwrap().take()).flatten();
        if let Some(first) = first {
            let length = first.len().min(buf.len());
            buf[..length].copy_from_slice(&first[..length]);
            return Ok(length);
        }
        self.memory.read_at(entry, offset, buf, run)
    }

    fn base_name(&self) -> String {
        "m".to_owned()
    }
}

#[test]
fn a_store_cannot_have_other_bytes_parsed_than_it_has_hashed() {
    let evil = r#"{"auto_map": {"AutoModel": "evil/repo--m.M"}}"#;
    let good = signed_with(|folder| fs::write(folder.join("config.json"), evil).unwrap());
    let model = |first: Option<&str>| {
        let names = fs::read_dir(good.folder()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let memory = names.fold(weightseal::Memory::new("m"), |memory, name| {
            let bytes = fs::read(good.path(&name)).unwrap();
            memory.with(name, bytes)
        });
        let first = first.map(|first| format!("{first:<width$}", width = evil.len()).into_bytes());
        Model::from_source(Twofaced { memory, first: std::sync::Mutex::new(first) })
    };
    verified(&model(None), &good.policy(), good.bundles());
    refused(&model(None), &demanding(&good), good.bundles(), &[Code::RemoteCode]);
    refused(&model(Some("{}")), &demanding(&good), good.bundles(), &[Code::FileChanged]);
}
