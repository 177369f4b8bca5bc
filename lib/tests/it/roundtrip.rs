//! What is signed verifies: every method, key, serialization and digest, however it is read.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

use serde::Deserialize;
use testkit::{
    models::{REVISION, hub_cache, small},
    pki::{KeyKind, Shape},
    temporary,
};
use weightseal::{
    Accept, Algorithm, Bundle, CertificateSigner, Hashing, KeySigner, Memory, Model, Policy, PrivateKey,
    Replace, Run, Signer,
};

use crate::good::{FILES, Good, hex, one, sha256, unhex, verified, verified_in, write_files};

/// The bundle as the schemas of OMS 1.0 have it: nothing missing, nothing more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StrictBundle {
    media_type: String,
    verification_material: StrictMaterial,
    dsse_envelope: StrictEnvelope,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StrictMaterial {
    public_key: Option<StrictKey>,
    x509_certificate_chain: Option<StrictChain>,
    tlog_entries: Vec<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictKey {
    hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictChain {
    certificates: Vec<StrictCertificate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StrictCertificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StrictEnvelope {
    payload: String,
    payload_type: String,
    signatures: [StrictSignature; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictSignature {
    sig: String,
    keyid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictStatement {
    _type: String,
    subject: [StrictSubject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: StrictPredicate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictSubject {
    name: String,
    digest: StrictDigest,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictDigest {
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictPredicate {
    serialization: StrictSerialization,
    resources: Vec<StrictResource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictSerialization {
    method: String,
    hash_type: String,
    shard_size: Option<u64>,
    allow_symlinks: bool,
    ignore_paths: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictResource {
    name: String,
    algorithm: String,
    digest: String,
}

/// Reads a bundle by the schemas alone, and checks what they say of values. Gives the statement back.
fn strict(bundle: &Bundle) -> StrictStatement {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let wire: StrictBundle = serde_json::from_str(&bundle.to_json()).unwrap();
    assert_eq!(wire.media_type, "application/vnd.dev.sigstore.bundle.v0.3+json");
    let StrictMaterial { public_key, x509_certificate_chain, tlog_entries } = wire.verification_material;
    assert_eq!(tlog_entries.len(), 0);
    match (public_key, x509_certificate_chain) {
        (Some(key), None) => assert_eq!(unhex(&key.hint).len(), 32),
        (None, Some(chain)) => {
            for certificate in &chain.certificates {
                STANDARD.decode(&certificate.raw_bytes).unwrap();
            }
            assert!(!chain.certificates.is_empty());
        }
        _ => panic!("one kind of material"),
    }
    assert_eq!(wire.dsse_envelope.payload_type, "application/vnd.in-toto+json");
    let [signature] = &wire.dsse_envelope.signatures;
    assert!(!STANDARD.decode(&signature.sig).unwrap().is_empty());
    assert_eq!(signature.keyid, "");
    let payload = STANDARD.decode(&wire.dsse_envelope.payload).unwrap();

    let statement: StrictStatement = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement._type, "https://in-toto.io/Statement/v1");
    assert_eq!(statement.predicate_type, "https://model_signing/signature/v1.0");
    let StrictPredicate { serialization, resources } = &statement.predicate;
    assert!(["sha256", "blake2b", "blake3"].contains(&&*serialization.hash_type));
    match serialization.shard_size {
        Some(size) => assert!(serialization.method == "shards" && size > 0),
        None => assert_eq!(serialization.method, "files"),
    }
    let length = if serialization.hash_type == "blake2b" { 64 } else { 32 };
    for resource in resources {
        assert_eq!(resource.algorithm, serialization.hash_type);
        assert_eq!(hex(&unhex(&resource.digest)), resource.digest);
        assert_eq!(unhex(&resource.digest).len(), length);
    }
    assert!(resources.is_sorted_by(|a, b| a.name < b.name), "sorted by code points, each once");
    let all: Vec<u8> = resources.iter().flat_map(|resource| unhex(&resource.digest)).collect();
    let [subject] = &statement.subject;
    assert_eq!(subject.digest.sha256, sha256(&all));
    statement
}

fn private(key: &testkit::pki::Key) -> PrivateKey {
    PrivateKey::from_pem(key.pkcs8_pem().as_bytes(), || Ok(None)).unwrap()
}

/// A folder with empty files, nested ones, names with colons, and one large enough to be mapped.
fn fill(folder: &Path) {
    write_files(folder, FILES);
    write_files(
        folder,
        [
            ("a:b:0:10", &b"colons"[..]),
            (":", b":"),
            ("deep/er/and/deeper/file", b"x"),
            ("\u{e9}t\u{e9} \u{1f600}.txt", b"letters of any script"),
        ],
    );
    let large: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.join("large.bin"), large).unwrap();
}

#[test]
fn every_method_key_serialization_and_digest() {
    let dir = temporary().unwrap();
    fill(dir.path());
    let model = || Model::open(dir.path()).unwrap();
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        let case = Shape::Plain.case(kind);
        let key = private(case.key());
        let leaf = case.leaf_pem();
        let certificate =
            CertificateSigner::new(private(case.key()), leaf.as_bytes(), case.intermediates_pem().as_bytes());
        let accept_key = Accept::key(key.public().to_pem()).unwrap();
        let accept_certificate = Accept::certificate(case.anchors_pem()).unwrap();
        let methods: [(Box<dyn Signer>, Accept); 2] = [
            (Box::new(KeySigner::new(key)), accept_key),
            (Box::new(certificate.unwrap()), accept_certificate),
        ];
        for (signer, accept) in methods {
            for algorithm in Algorithm::ALL {
                for size in [None, Some(4099), Some(100_003), Some(1_000_000_000)] {
                    let hashing = match size {
                        None => Hashing::files(algorithm),
                        Some(size) => Hashing::shards(algorithm, size).unwrap(),
                    };
                    let bundle = model().sign(&hashing, &*signer, &Run::new()).unwrap();
                    strict(&bundle);
                    let bundle = Bundle::parse(bundle.to_json().as_bytes()).unwrap();
                    let policy = Policy::new().accept(accept.clone());
                    for (map, threads) in [(false, 1), (false, 4), (true, 1), (true, 4)] {
                        let run = Run::new()
                            .read(if map { weightseal::ReadMode::Mmap } else { weightseal::ReadMode::Pread })
                            .threads(threads);
                        verified_in(&model(), &policy, one(&bundle), &run);
                    }
                }
            }
        }
    }
}

#[test]
fn digests_are_those_that_others_compute() {
    let content = b"weights";
    let expected = [
        (Algorithm::Sha256, sha256(content)),
        (Algorithm::Blake3, blake3::hash(content).to_hex().to_string()),
        (Algorithm::Blake2b, hex(&<blake2::Blake2b512 as blake2::Digest>::digest(content))),
    ];
    for (algorithm, digest) in expected {
        let model = Model::from_source(Memory::new("m").with("a", *content));
        let manifest = model.manifest(&Hashing::files(algorithm), &Run::new()).unwrap();
        assert_eq!(manifest.resources()[0].digest.hex(), digest);
    }
}

#[test]
fn shards_of_every_odd_size_cover_every_file() {
    let dir = temporary().unwrap();
    write_files(dir.path(), FILES);
    write_files(dir.path(), [("a:b:0:10", &b"colons"[..]), ("x:1:2", b"more colons")]);
    let model = || Model::open(dir.path()).unwrap();
    let good = Good::new();
    for size in [1, 2, 3, 5, 7, 10, 13, 24, 25, 26, u64::MAX] {
        let hashing = Hashing::shards(Algorithm::Sha256, size).unwrap();
        let bundle = model().sign(&hashing, &crate::good::signer(&good.key), &Run::new()).unwrap();
        let statement = strict(&bundle);
        assert_eq!(statement.predicate.serialization.shard_size, Some(size));
        let of = |name: &str| {
            let prefix = format!("{name}:");
            statement.predicate.resources.iter().filter(|r| r.name.starts_with(&prefix)).count()
        };
        assert_eq!(of("deploy/run.sh"), usize::try_from(25_u64.div_ceil(size)).unwrap());
        assert_eq!(of("x:1:2"), usize::try_from(11_u64.div_ceil(size)).unwrap());
        assert_eq!(of("empty.txt"), 0);
        verified(&model(), &good.policy(), &[bundle]);
    }
}

#[test]
fn what_is_written_is_in_code_point_order_and_by_the_schema() {
    let good = Good::with(
        &Hashing::files(Algorithm::Sha256),
        KeyKind::P256,
        |folder| {
            write_files(
                folder,
                [("Z", &b"upper case first"[..]), ("\u{fffd}", b"x"), ("\u{1f600}", b"past the first plane")],
            );
        },
        |model| model.release(Some("acme/llama-3".into()), Some("1.2".into())),
    );
    let statement = strict(&good.bundle);
    let names: Vec<&str> = statement.predicate.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "README.md",
            "Z",
            "config.json",
            "deploy-a",
            "deploy.md",
            "deploy/run.sh",
            "empty.txt",
            "model.safetensors",
            "\u{fffd}",
            "\u{1f600}",
        ]
    );
    assert_eq!(statement.subject[0].name, "model");
    let annotations = statement.subject[0].annotations.clone().unwrap();
    assert_eq!(
        annotations.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["name=acme/llama-3", "version=1.2"]
    );
    assert!(!statement.predicate.serialization.allow_symlinks);
    // Without a name and a version there are no annotations, and no word of them.
    assert!(strict(&Good::new().bundle).subject[0].annotations.is_none());
    // The hint is over the key's PEM text.
    let hint = good.wire()["verificationMaterial"]["publicKey"]["hint"].clone();
    assert_eq!(hint, sha256(good.key.public_pem().as_bytes()));
}

#[test]
fn ignored_paths_gits_files_and_the_signature_itself() {
    let dir = temporary().unwrap();
    let folder = dir.path().join("model");
    fill(&folder);
    write_files(&folder, [(".git/HEAD", &b"x"[..]), ("scratch/a", b"x"), ("scratch.txt", b"signed")]);
    let key = testkit::pki::Key::new(KeyKind::Ed25519, 1);
    for git in [false, true] {
        let sig = folder.join(format!("model-{git}.sig"));
        let model = || {
            let mut model = Model::open(&folder).unwrap().include_git_paths(git);
            assert!(model.ignore_path(folder.join("scratch")));
            model.leave_out_signature(&sig);
            model
        };
        let hashing = Hashing::files(Algorithm::Sha256);
        let bundle = model().sign(&hashing, &crate::good::signer(&key), &Run::new()).unwrap();
        let statement = strict(&bundle);
        let names: Vec<&str> = statement.predicate.resources.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names.contains(&".git/HEAD"), git);
        assert!(!names.contains(&"scratch/a") && names.contains(&"scratch.txt"));
        let ignored = statement.predicate.serialization.ignore_paths.unwrap_or_default();
        let own = format!("model-{git}.sig");
        assert!(ignored.contains(&own) && ignored.contains(&"scratch".to_owned()), "{ignored:?}");
        assert_eq!(ignored.contains(&".git".to_owned()), !git);
        bundle.write(&sig, Replace::Nothing).unwrap();
        // The verifier says nothing: the statement says it all.
        let bundles = [Bundle::read(&sig).unwrap()];
        verified(&Model::open(&folder).unwrap(), &crate::good::trusting(&key), &bundles);
    }
}

#[test]
fn a_model_in_another_place_with_other_times_and_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let good = Good::new();
    let elsewhere = temporary().unwrap();
    let folder = elsewhere.path().join("renamed");
    write_files(&folder, FILES);
    fs::set_permissions(folder.join("config.json"), PermissionsExt::from_mode(0o755)).unwrap();
    verified(&Model::open(&folder).unwrap(), &good.policy(), good.bundles());
    // Through a link to the folder, and by a path with dots.
    symlink(&folder, elsewhere.path().join("link")).unwrap();
    for path in ["link", "link/", "renamed/../renamed/."] {
        let model = Model::open(elsewhere.path().join(path)).unwrap();
        verified(&model, &good.policy(), good.bundles());
    }
    // And in memory.
    let memory = FILES.iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(*name, *bytes));
    verified(&Model::from_source(memory), &good.policy(), good.bundles());
}

#[test]
fn a_model_of_safetensors_in_the_hubs_cache() {
    let dir = temporary().unwrap();
    small(&dir.path().join("model")).unwrap();
    let snapshot =
        hub_cache(&dir.path().join("hub"), "acme/llama", REVISION, &dir.path().join("model")).unwrap();
    let key = testkit::pki::Key::new(KeyKind::P384, 1);
    let hashing = Hashing::shards(Algorithm::Blake3, 65_537).unwrap();
    let places = [dir.path().join("model"), snapshot];
    for from in &places {
        let model = Model::open(from).unwrap();
        let bundle = model.sign(&hashing, &crate::good::signer(&key), &Run::new()).unwrap();
        for to in &places {
            verified(&Model::open(to).unwrap(), &crate::good::trusting(&key), one(&bundle));
        }
    }
}

#[test]
fn a_changed_tensor_is_named() {
    let dir = temporary().unwrap();
    let folder = dir.path().join("model");
    small(&folder).unwrap();
    let key = testkit::pki::Key::new(KeyKind::Ed25519, 1);
    let hashing = Hashing::shards(Algorithm::Sha256, 10_000).unwrap();
    let model = || Model::open(&folder).unwrap();
    let bundles = [model().sign(&hashing, &crate::good::signer(&key), &Run::new()).unwrap()];
    verified(&model(), &crate::good::trusting(&key), &bundles);
    let path = folder.join("model-00002-of-00002.safetensors");
    let tensor = testkit::models::tensors(&path).unwrap().swap_remove(1);
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from((tensor.start + tensor.end) / 2).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let codes = [weightseal::Code::FileChanged];
    let report = crate::good::refused(&model(), &crate::good::trusting(&key), &bundles, &codes);
    let finding = &report.findings[0];
    assert!(finding.range.clone().unwrap().contains(&(at as u64)));
    assert!(finding.tensors.contains(&tensor.name), "{:?}", finding.tensors);
}
