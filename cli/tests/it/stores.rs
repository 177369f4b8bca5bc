//! Models in stores: signed, verified and pulled where they are.

use std::fs;

use serde_json::Value;
use testkit::{
    Ended, capture_within,
    hub::{Hub, Kind, Visibility},
    models::hub_cache,
    or_skip,
    s3::{self, Bucket, Put, Store},
};

use crate::world::{LIMIT, World};

/// A folder with a key pair, and a bucket with the model `m` under `llama/`.
struct InBucket {
    world: World,
    store: &'static Store,
    bucket: String,
}

impl InBucket {
    fn new(store: &'static Store) -> InBucket {
        let world = World::new();
        world.run(&["keygen", "k", "--type", "p256"]).expect_code(0);
        let bucket = store.bucket(Bucket::default());
        store.put_folder(&bucket, "llama/", &world.path("m"));
        InBucket { world, store, bucket }
    }

    fn uri(&self) -> String {
        format!("s3://{}/llama", self.bucket)
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.world.command(env!("CARGO_BIN_EXE_weightseal"));
        command.args(args).envs(self.store.env());
        let ended = capture_within(&mut command, b"", LIMIT).unwrap();
        let secret = self.store.secret_key();
        assert!(!ended.out().contains(secret) && !ended.err().contains(secret), "a credential is shown");
        ended
    }

    fn verify(&self, more: &[&str]) -> Ended {
        self.run(&[&["verify", &self.uri(), "--public-key", "k.pub"], more].concat())
    }

    fn sign(&self, more: &[&str]) -> Ended {
        self.run(&[&["sign", &self.uri(), "--private-key", "k.key"], more].concat())
    }

    fn change(&self, name: &str) {
        let key = format!("llama/{name}");
        let mut bytes = self.store.get(&self.bucket, &key).unwrap();
        bytes[10] ^= 1;
        self.store.put(&self.bucket, &key, &bytes);
    }
}

#[track_caller]
fn says(ended: &Ended, code: i32, what: &str) {
    assert_eq!(ended.code(), Some(code), "{ended}");
    assert!(ended.out().contains(what) || ended.err().contains(what), "{what}: {ended}");
}

#[test]
fn a_model_in_a_bucket_is_signed_verified_and_pulled() {
    let Some(store) = or_skip(s3::minio()) else { return };
    let case = InBucket::new(store);
    says(&case.sign(&[]), 2, "nothing says where the signature");
    says(&case.verify(&[]), 1, "signature-missing");
    says(&case.sign(&["--upload"]), 0, "/llama/model.sig");
    says(&case.verify(&[]), 0, "verified");
    // Never over another one unasked.
    says(&case.sign(&["--upload"]), 2, "a signature already");
    says(&case.sign(&["--upload", "--force"]), 0, "signed");
    // A signature elsewhere, on disk and in the store.
    says(&case.sign(&["--signature", "here.sig"]), 0, "here.sig");
    says(&case.verify(&["--signature", "here.sig"]), 0, "verified");
    let there = format!("s3://{}/signatures/llama.sig", case.bucket);
    says(&case.sign(&["--signature", &there]), 0, &there);
    says(&case.verify(&["--signature", &there]), 0, "verified");
    // What the line says that is printed after signing works.
    let said = case.sign(&["--upload", "--force"]).out();
    let line: Vec<&str> = said.lines().last().unwrap().trim().split(' ').skip(1).collect();
    case.run(&line).expect_code(0);

    says(&case.run(&["pull", &case.uri(), "dest", "--public-key", "k.pub"]), 0, "verified");
    case.world.run(&["verify", "dest", "--public-key", "k.pub"]).expect_code(0);
    assert_eq!(
        fs::read(case.world.path("dest/model.safetensors")).unwrap(),
        fs::read(case.world.path("m/model.safetensors")).unwrap()
    );

    case.change("model.safetensors");
    says(&case.verify(&[]), 1, "file-changed");
    says(&case.run(&["pull", &case.uri(), "other", "--public-key", "k.pub"]), 1, "file-changed");
    assert!(!case.world.path("other").exists());
    // What was there stays as it was.
    says(&case.run(&["pull", &case.uri(), "dest", "--public-key", "k.pub"]), 1, "file-changed");
    case.world.run(&["verify", "dest", "--public-key", "k.pub"]).expect_code(0);
}

#[test]
fn the_digest_of_a_model_is_the_same_wherever_it_is() {
    let Some(store) = or_skip(s3::minio()) else { return };
    let case = InBucket::new(store);
    let digest = |ended: Ended| ended.expect_code(0).out().split(' ').next().unwrap().to_owned();
    assert_eq!(digest(case.run(&["digest", &case.uri()])), digest(case.world.run(&["digest", "m"])));
    says(&case.sign(&["--upload"]), 0, "signed");
    let inspected = case.run(&["inspect", &case.uri(), "--format", "json"]).expect_code(0);
    let claims: Value = serde_json::from_str(&inspected.out()).unwrap();
    assert_eq!(claims["signature"], format!("{}/model.sig", case.uri()));
    let report = case.verify(&["--format", "json"]);
    let report: Value = serde_json::from_str(&report.expect_code(0).out()).unwrap();
    assert_eq!((&report["model"], &report["verdict"]), (&case.uri().into(), &"verified".into()));
}

#[test]
fn what_a_store_states_passes_only_where_it_is_accepted() {
    let Some(store) = or_skip(s3::minio()) else { return };
    let case = InBucket::new(store);
    says(&case.sign(&["--upload"]), 0, "signed");
    let stated = ["--stated", "--assurance", "stated"];
    says(&case.verify(&stated), 3, "not-stated");
    for entry in case.store.keys(&case.bucket, "llama/") {
        if !entry.ends_with("model.sig") {
            let bytes = case.store.get(&case.bucket, &entry).unwrap();
            case.store.put_with(&case.bucket, &entry, &bytes, &Put { sha256: true, ..Put::default() });
        }
    }
    says(&case.verify(&stated), 0, "(stated)");
    says(&case.verify(&["--stated"]), 1, "assurance-too-low");
    says(&case.sign(&["--from-stated", "--signature", "s.sig"]), 2, "full commit on the Hub");
    says(
        &case.run(&["pull", &case.uri(), "d", "--public-key", "k.pub", "--stated"]),
        2,
        "--stated does not go with pull",
    );
    says(&case.run(&["pull", &case.uri(), "d", "--public-key", "k.pub", "--mode", "warn"]), 2, "--mode warn");
    says(&case.run(&["pull", &case.uri(), "--public-key", "k.pub"]), 2, "no folder is given");
}

#[test]
fn a_policy_knows_a_model_in_a_bucket_by_its_uri() {
    let Some(store) = or_skip(s3::minio()) else { return };
    let case = InBucket::new(store);
    says(&case.sign(&["--upload"]), 0, "signed");
    let rule = |models: &str| {
        format!(
            "apiVersion: weightseal/v1\nkind: Policy\nidentities:\n  k:\n    key: {{ file: k.pub }}\n\
             rules:\n  - models: [\"{models}\"]\n    require: {{ of: [k] }}\n    identity: any-model-of-these\n"
        )
    };
    let verify = || case.run(&["verify", &format!("{}/", case.uri()), "--policy", "policy.yaml"]);
    case.world.write("policy.yaml", rule(&case.uri()));
    says(&verify(), 0, "verified");
    case.world.write("policy.yaml", rule("s3://other/**"));
    says(&verify(), 1, "policy-no-rule");
}

#[test]
fn what_reaches_a_store_is_told_and_nothing_secret_is() {
    let Some(store) = or_skip(s3::minio()) else { return };
    let case = InBucket::new(store);
    says(&case.sign(&["--upload"]), 0, "signed");
    says(&case.verify(&["--s3-endpoint-url", "http://127.0.0.1:9"]), 2, "without TLS");
    says(&case.verify(&["--s3-endpoint-url", "https://127.0.0.1:9"]), 3, "service-failed");
    says(&case.verify(&["--require-sse-kms", "test-key"]), 1, "encryption-not-expected");
    says(&case.verify(&["--s3-anonymous"]), 3, "access-denied");
    says(&case.verify(&["--sse-c-key-file", "k.pub"]), 2, "k.pub");
    says(&case.verify(&["--s3-region", "evil.example/"]), 2, "no region");
    // However much is logged, no key is: neither a user's nor that of an object.
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    case.world.write("ssec", key);
    let logged = case.verify(&["--sse-c-key-file", "ssec", "-vv"]);
    assert!(!logged.err().contains(key) && !logged.err().contains(store.access_key()), "{logged}");
    let unknown = |args: &[&str]| {
        let mut command = case.world.command(env!("CARGO_BIN_EXE_weightseal"));
        command.args(args).envs(store.env()).env_remove("AWS_CA_BUNDLE");
        capture_within(&mut command, b"", LIMIT).unwrap()
    };
    let verify = ["verify", &case.uri(), "--public-key", "k.pub"];
    says(&unknown(&verify), 3, "service-failed");
    says(&unknown(&[&verify[..], &["--tls-ca", store.ca().to_str().unwrap()]].concat()), 0, "verified");
    let presigned =
        case.run(&["verify", "https://s3.example/b?X-Amz-Signature=SECRET", "--public-key", "k.pub"]);
    assert!(!presigned.err().contains("SECRET"), "{presigned}");
    says(&presigned, 2, "scheme");
    for bad in ["s3://", "s3:///llama", "gs://bucket/llama", "hf://"] {
        says(&case.run(&["verify", bad, "--public-key", "k.pub"]), 2, "URI");
    }
}

/// A folder with a key pair, and the model `m` as `acme/llama` on a Hub.
struct OnHub {
    world: World,
    hub: Hub,
    commit: String,
}

impl OnHub {
    fn new() -> OnHub {
        let world = World::new();
        let hub = Hub::start();
        hub.create(Kind::Model, "acme/llama", Visibility::Public);
        let commit = hub.commit_folder(Kind::Model, "acme/llama", "main", &world.path("m"));
        OnHub { world, hub, commit }
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.world.command(env!("CARGO_BIN_EXE_weightseal"));
        command.args(args).envs(self.hub.env());
        let ended = capture_within(&mut command, b"", LIMIT).unwrap();
        let secret = self.hub.token();
        assert!(!ended.out().contains(secret) && !ended.err().contains(secret), "a token is shown");
        assert!(!self.hub.cdn_received(secret), "a token went to another host");
        ended
    }

    fn sign(&self, uri: &str, more: &[&str]) -> Ended {
        self.run(&[&["sign", uri, "--private-key", "release.key", "--allow-http"], more].concat())
    }

    fn verify(&self, uri: &str, more: &[&str]) -> Ended {
        self.run(&[&["verify", uri, "--public-key", "release.pub", "--allow-http"], more].concat())
    }
}

#[test]
fn a_model_on_the_hub_is_signed_verified_and_pulled() {
    let case = OnHub::new();
    let uri = "hf://acme/llama";
    says(&case.run(&["verify", uri, "--public-key", "release.pub"]), 2, "without TLS");
    says(&case.verify(uri, &[]), 1, "signature-missing");
    says(&case.sign(uri, &["--upload"]), 0, "hf://acme/llama/model.sig");
    // The line that is printed after signing works.
    let said = case.sign(uri, &["--upload", "--force"]).out();
    let line: Vec<&str> = said.lines().last().unwrap().trim().split(' ').skip(1).collect();
    case.run(&line).expect_code(0);
    let verified = case.verify(uri, &[]);
    says(&verified, 0, "verified");
    // The branch is at another commit now, which the report names.
    let now = case.hub.revision(Kind::Model, "acme/llama", "main").unwrap();
    assert!(now != case.commit && verified.out().contains(&format!("hf://acme/llama@{now}")), "{verified}");
    says(&case.sign(uri, &["--upload"]), 2, "already");
    says(&case.sign(&format!("{uri}@{}", case.commit), &["--upload"]), 2, "branch");
    // The commit before has no signature.
    says(&case.verify(&format!("{uri}@{}", case.commit), &[]), 1, "signature-missing");
    says(&case.sign(uri, &["--signature", "here.sig"]), 0, "here.sig");
    says(&case.verify(&format!("{uri}@{}", case.commit), &["--signature", "here.sig"]), 0, "verified");

    let pulled = case.run(&["pull", uri, "dest", "--public-key", "release.pub", "--allow-http"]);
    says(&pulled, 0, "verified");
    case.world.run(&["verify", "dest", "--public-key", "release.pub"]).expect_code(0);

    let mut weights = fs::read(case.world.path("m/model.safetensors")).unwrap();
    weights[1000] ^= 1;
    case.hub.commit(Kind::Model, "acme/llama", "main", &[("model.safetensors", &weights)]);
    says(&case.verify(uri, &[]), 1, "file-changed");
    says(&case.verify(&format!("{uri}@{now}"), &[]), 0, "verified");
    let refused = case.run(&["pull", uri, "dest", "--public-key", "release.pub", "--allow-http"]);
    says(&refused, 1, "file-changed");
    case.world.run(&["verify", "dest", "--public-key", "release.pub"]).expect_code(0);
}

#[test]
fn what_the_hub_states_is_compared_and_signed_from() {
    let case = OnHub::new();
    let uri = "hf://acme/llama";
    says(&case.sign(uri, &["--upload"]), 0, "signed");
    case.hub.forget();
    says(&case.verify(uri, &["--stated", "--assurance", "stated"]), 0, "(stated)");
    assert_eq!(case.hub.cdn_seen().len(), 0, "no weights are read");
    says(&case.sign(uri, &["--from-stated", "--signature", "s.sig"]), 2, "full commit");
    let pinned = format!("{uri}@{}", case.commit);
    says(&case.sign(&pinned, &["--from-stated", "--signature", "s.sig"]), 0, "signed");
    says(&case.world.run(&["inspect", "s.sig"]), 0, "stated by the store");
    says(&case.verify(&pinned, &["--signature", "s.sig"]), 1, "assurance-too-low");
    says(&case.verify(&pinned, &["--signature", "s.sig", "--assurance", "stated"]), 0, "read no weights");
    case.world
        .run(&["verify", "m", "--signature", "s.sig", "--public-key", "release.pub", "--assurance", "stated"])
        .expect_code(0);
}

#[test]
fn a_model_in_the_hubs_cache_is_verified_there() {
    let case = OnHub::new();
    let uri = "hf://acme/llama";
    case.world.run(&["sign", "m", "--private-key", "release.key"]).expect_code(0);
    let commit = case.hub.commit_folder(Kind::Model, "acme/llama", "main", &case.world.path("m"));
    let cache = case.world.path("cache");
    let snapshot = hub_cache(&cache, "acme/llama", &commit, &case.world.path("m")).unwrap();
    fs::create_dir_all(cache.join("models--acme--llama/refs")).unwrap();
    fs::write(cache.join("models--acme--llama/refs/main"), &commit).unwrap();
    let cached = |more: &[&str]| {
        let mut command = case.world.command(env!("CARGO_BIN_EXE_weightseal"));
        command.args(["verify", uri, "--public-key", "release.pub", "--allow-http"]).args(more);
        command.envs(case.hub.env()).env("HF_HUB_CACHE", &cache);
        capture_within(&mut command, b"", LIMIT).unwrap()
    };
    case.hub.forget();
    let ended = cached(&[]);
    says(&ended, 0, "verified");
    assert!(ended.out().contains(&*snapshot.to_string_lossy()), "{ended}");
    assert!(ended.out().starts_with(&format!("verified: hf://acme/llama@{commit}")), "{ended}");
    assert!(case.hub.cdn_seen().is_empty() && case.hub.asked("/resolve/") == 0, "nothing is downloaded");
    case.hub.forget();
    says(&cached(&["--offline"]), 0, "verified");
    assert_eq!(case.hub.seen().len(), 0, "nobody is asked");
    // One file less, and the Hub is asked for it; offline it is missing.
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    says(&cached(&["--offline"]), 1, "file-missing");
    says(&cached(&[]), 0, &format!("hf://acme/llama@{commit}"));
}
