//! The JSON of every command, read through types that know each field and no other.

#![allow(dead_code)]

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use crate::world::World;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    version: u32,
    model: String,
    model_id: Option<String>,
    pub(crate) verdict: String,
    pub(crate) admitted: bool,
    mode: String,
    pub(crate) policy: Option<Policy>,
    assurance: Option<String>,
    signatures: Vec<Signature>,
    bound: Vec<Binding>,
    counts: Counts,
    load_set: Option<LoadSet>,
    bytes: u64,
    kernel: Option<String>,
    seconds: f64,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn codes(&self) -> Vec<&str> {
        self.findings.iter().map(|finding| finding.code.as_str()).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    path: Option<String>,
    pub(crate) digest: String,
    name: Option<String>,
    pub(crate) rule: usize,
    line: usize,
    pattern: String,
    mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    bundle: Option<String>,
    accepted: bool,
    signing_method: Option<String>,
    identity: Option<Identity>,
    time: Option<Time>,
    logged: Vec<Logged>,
    trusted_root: Option<Root>,
    root_digest: Option<String>,
    serialization: Option<String>,
    hash_algorithm: Option<String>,
    name: Option<String>,
    version: Option<String>,
    notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Identity {
    Key {
        algorithm: String,
        fingerprint: String,
    },
    Certificate {
        subject: String,
        names: Vec<String>,
        issuer: String,
        serial: String,
        fingerprint: String,
    },
    Sigstore {
        identity: String,
        issuer: String,
        claims: BTreeMap<String, String>,
        serial: String,
        fingerprint: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logged {
    log: String,
    index: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    source: String,
    name: String,
    as_of: Option<i64>,
    expires: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    at: String,
    by: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Binding {
    by: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    signed: u64,
    verified: u64,
    ignored: u64,
    unsigned: u64,
    links: u64,
    missing: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadSet {
    files: u64,
    bytes: u64,
    base_model: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finding {
    pub(crate) code: String,
    class: String,
    pub(crate) message: String,
    help: String,
    pub(crate) name: Option<String>,
    expected: Option<String>,
    actual: Option<String>,
    range: Option<Range>,
    tensors: Vec<String>,
    bundle: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    start: u64,
    end: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failed {
    error: Failure,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    code: String,
    class: String,
    message: String,
    help: String,
}

impl Failed {
    /// Code and class of an error.
    pub(crate) fn of(json: &str) -> (String, String) {
        let failed: Failed = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
        (failed.error.code, failed.error.class)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: Option<String>,
    version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    version: u32,
    model: String,
    signature: String,
    signing_method: String,
    identity: Identity,
    #[serde(default)]
    log_indexes: Vec<u64>,
    release: Named,
    serialization: String,
    shard_size: Option<u64>,
    hash_algorithm: String,
    root_digest: String,
    files: u64,
    resources: u64,
    bytes: u64,
    kernel: Option<String>,
    seconds: f64,
    verify: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digest {
    version: u32,
    model: String,
    serialization: String,
    shard_size: Option<u64>,
    hash_algorithm: String,
    root_digest: String,
    files: u64,
    resources: u64,
    bytes: u64,
    kernel: Option<String>,
    seconds: f64,
    listed: Option<Vec<Listed>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    range: Option<Range>,
    digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    version: u32,
    verified: bool,
    notice: String,
    signature: String,
    signing_method: String,
    hint: Option<String>,
    certificates: Vec<Identity>,
    subject: String,
    release: Named,
    legacy: bool,
    serialization: String,
    shard_size: Option<u64>,
    hash_algorithm: String,
    root_digest: String,
    files: u64,
    resources: u64,
    allow_symlinks: bool,
    ignore_paths: Vec<String>,
    listed: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    version: u32,
    private_key: String,
    public_key: String,
    algorithm: String,
    fingerprint: String,
    encrypted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    name: String,
    version: String,
    features: Vec<String>,
    kernels: Vec<String>,
    extensions: Vec<String>,
    commit: Option<String>,
}

/// What a command prints with `--format json`: one line of plain ASCII, and nothing else.
fn read<T: DeserializeOwned>(world: &World, args: &[&str], code: i32) -> T {
    let ended = world.run(&[args, &["--format", "json"]].concat()).expect_code(code);
    let out = ended.out();
    assert!(out.is_ascii() && out.ends_with('\n') && out.lines().count() == 1, "{ended}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn every_command_says_in_json_what_is_documented_and_no_more() {
    let world = World::new();
    let sign = ["sign", "m", "--private-key", "release.key", "--shard-size", "8KiB", "--name", "a"];
    let signed: Signed = read(&world, &sign, 0);
    assert_eq!((signed.version, signed.files, signed.resources, signed.shard_size), (1, 2, 4, Some(8192)));
    assert_eq!((signed.release.name.as_deref(), signed.release.version), (Some("a"), None));
    assert!(matches!(signed.identity, Identity::Key { .. }) && signed.signature == "m/model.sig");

    let digest: Digest = read(&world, &["digest", "m", "--shard-size", "8KiB", "--files"], 0);
    assert_eq!((&digest.root_digest, digest.bytes), (&signed.root_digest, signed.bytes));
    assert_eq!(digest.listed.unwrap().len(), 4);
    assert!(read::<Digest>(&world, &["digest", "m"], 0).listed.is_none());

    let claims: Claims = read(&world, &["inspect", "m"], 0);
    assert!(!claims.verified && claims.notice.contains("nothing here is verified"));
    assert_eq!((claims.root_digest, claims.listed.len()), (signed.root_digest.clone(), 4));

    let report: Report = read(&world, &["verify", "m", "--public-key", "release.pub", "--model-id", "x"], 0);
    assert_eq!((report.verdict.as_str(), report.admitted, report.version), ("verified", true, 1));
    assert_eq!(report.signatures[0].root_digest.as_ref(), Some(&signed.root_digest));
    assert_eq!((report.counts.verified, report.counts.ignored, report.bytes), (2, 1, signed.bytes));

    let pair: Pair = read(&world, &["keygen", "new", "--type", "P384", "--passphrase-file", "passphrase"], 0);
    assert_eq!(
        (pair.private_key.as_str(), pair.algorithm.as_str(), pair.encrypted),
        ("new.key", "ECDSA P-384", true)
    );

    let about: About = read(&world, &["--version"], 0);
    assert_eq!((about.name.as_str(), about.version.as_str()), ("weightseal", env!("CARGO_PKG_VERSION")));
    let plain = world.run(&["--version", "--json"]).expect_code(0).out();
    assert_eq!(serde_json::from_str::<About>(&plain).unwrap().features, about.features);
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checked {
    version: u32,
    policy: String,
    valid: bool,
    digest: Option<String>,
    name: Option<String>,
    identities: Option<usize>,
    rules: Option<usize>,
    problems: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explained {
    version: u32,
    model_id: String,
    policy: Policy,
    why: String,
    demands: Demands,
    others: Vec<Match>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Demands {
    signatures: usize,
    of: Vec<Who>,
    name: Option<String>,
    min_version: Option<String>,
    digests: Vec<String>,
    signed_after: Option<String>,
    assurance: String,
    unsigned: Vec<String>,
    load_set: bool,
    base_model: Option<String>,
    missing: Vec<String>,
    allow_symlinks: bool,
    revoked: RevokedCounts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    name: String,
    identity: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokedCounts {
    digests: usize,
    keys: usize,
    certificates: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    rule: usize,
    line: usize,
    pattern: String,
    why: String,
}

#[test]
fn policies_are_told_in_json() {
    let world = World::new();
    world.write(
        "policy.yaml",
        "apiVersion: weightseal/v1\nkind: Policy\nidentities: {release: {key: {file: release.pub}}}\nrules:\n  \
         - {models: ['acme/*'], require: {of: [release]}, name_is_model_id: true}\n  \
         - {models: ['**'], require: {of: [release]}, identity: any-model-of-these}\n",
    );
    let checked: Checked = read(&world, &["policy", "check", "policy.yaml"], 0);
    assert_eq!((checked.valid, checked.identities, checked.rules), (true, Some(1), Some(2)));
    world.write("bad.yaml", "kind: Policy\n");
    let bad: Checked = read(&world, &["policy", "check", "bad.yaml"], 2);
    assert!(!bad.valid && bad.digest.is_none() && bad.problems[0].code == "policy-invalid");
    let explain = ["policy", "explain", "acme/llama", "--policy", "policy.yaml"];
    let explained: Explained = read(&world, &explain, 0);
    assert_eq!((explained.policy.rule, explained.others.len(), explained.demands.of.len()), (1, 1, 1));
    assert_eq!(Some(&explained.policy.digest), checked.digest.as_ref());
    world.run(&["sign", "m", "--private-key", "release.key", "--name", "acme/llama", "-q"]).expect_code(0);
    let verify = ["verify", "m", "--policy", "policy.yaml", "--model-id", "acme/llama"];
    let report: Report = read(&world, &verify, 0);
    assert_eq!(report.policy.unwrap().digest, explained.policy.digest);
}

#[test]
fn certificates_are_told_in_json() {
    let world = World::new();
    let chain = ["--signing-certificate", "leaf.pem", "--certificate-chain", "ca.pem"];
    let signed: Signed = read(&world, &[&["sign", "m", "--private-key", "leaf.key"][..], &chain].concat(), 0);
    let Identity::Certificate { names, .. } = signed.identity else { panic!("{:?}", signed.identity) };
    assert_eq!(names, ["signer@example.com"]);
    assert_eq!(read::<Claims>(&world, &["inspect", "m"], 0).certificates.len(), 2);
    let verify = ["verify", "m", "--certificate-chain", "root.pem", "--at", "2030-01-01"];
    let report: Report = read(&world, &verify, 0);
    let time = report.signatures[0].time.as_ref().unwrap();
    assert_eq!((time.at.as_str(), time.by.as_str()), ("2030-01-01T00:00:00Z", "--at"));
}

#[test]
fn a_refusal_is_a_report_and_a_call_without_a_model_an_error() {
    let world = World::new();
    world.sign();
    std::fs::remove_file(world.path("m/config.json")).unwrap();
    let report: Report = read(&world, &["verify", "m", "--public-key", "release.pub"], 1);
    assert_eq!(report.codes(), ["file-missing"]);
    for (args, code) in [
        (&["verify", "m"][..], "trust-missing"),
        (&["verify", "key", "m"], "trust-missing"),
        (&["verify", "nothing", "--public-key", "release.pub"], "model-absent"),
        (&["verify", "m", "--public-key", "none"], "key-absent"),
        (&["verify", "m", "--public-key", "release.pub", "--signature", "none"], "signature-absent"),
        (&["verify", "m", "--public-key", "release.pub", "--identity", "x"], "arguments-conflict"),
    ] {
        let report: Report = read(&world, args, 2);
        assert_eq!((report.verdict.as_str(), report.codes()), ("misuse", vec![code]));
    }
    for args in
        [&["verify"][..], &["verify", "x", "m"], &["verify", "m", "--no-such-flag"], &["nothing"], &[]]
    {
        let ended = world.run(&[args, &["--format", "json"]].concat()).expect_code(2);
        assert_eq!(Failed::of(&ended.out()), ("bad-argument".to_owned(), "misuse".to_owned()), "{ended}");
        assert_eq!(ended.err(), "", "{ended}");
    }
    let ended = world.run(&["-q", "-v", "verify", "m", "--format=json"]).expect_code(2);
    assert_eq!(Failed::of(&ended.out()).0, "arguments-conflict");
}
