//! Each pod from a model that passes and one change: what the kubelet makes of it.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use testkit::digest::sha256_file;
use testkit::pki::{FROM, TO};
use testkit::{or_skip, temporary};
use weightseal::KeySigner;

use super::{CACHE, LIMIT, POLL, Pod, Stage, certified, policy, sign, stage};
use crate::{change, key, line::Line};

const KEY: &str = "--public-key=/etc/weightseal/release.pub";
const CHAIN: &str = "--certificate-chain=/etc/weightseal/root.pem";
const IDENTITY: &str = "--certificate-identity=release@acme.example";
const POLICY: &str = "--policy=/etc/weightseal/policy.yaml";
const ID: &str = "--model-id=acme/llama-3";

/// `{sha256}` stands for the digest of the policy that is meant.
const PINNED: &str = "--policy-sha256={sha256}";

/// A model, what is done to it, how it is checked, and what is to come of it.
struct Case {
    name: &'static str,
    change: fn(&Path),
    args: &'static [&'static str],
    /// The exit code, and how the message goes on after the verdict and the model.
    ends: (i64, &'static str),
}

const fn case(
    name: &'static str,
    change: fn(&Path),
    args: &'static [&'static str],
    ends: (i64, &'static str),
) -> Case {
    Case { name, change, args, ends }
}

/// What does nothing.
const AS_SIGNED: fn(&Path) = |_| ();

/// What starts: these are also what the others are one change away from.
const STARTS: [Case; 5] = [
    case("good", AS_SIGNED, &[KEY, "--name=acme/llama-3", "--version=1.2"], (0, "")),
    case("good-by-certificate", by_certificate, &[CHAIN, IDENTITY], (0, "")),
    case("good-by-policy", AS_SIGNED, &[POLICY, ID], (0, "")),
    case("good-by-pinned-policy", AS_SIGNED, &[POLICY, PINNED, ID], (0, "")),
    case(
        "warned-of",
        one_byte,
        &[KEY, "--mode=warn"],
        (0, "file-changed: \"model-00002-of-00002.safetensors\""),
    ),
];

const NEVER_STARTS: [Case; 20] = [
    case("one-byte", one_byte, &[KEY], (1, "file-changed: \"model-00002-of-00002.safetensors\"")),
    case(
        "shard-missing",
        |model| fs::remove_file(model.join("model-00001-of-00002.safetensors")).unwrap(),
        &[KEY],
        (1, "file-missing: \"model-00001-of-00002.safetensors\""),
    ),
    case(
        "unsigned-code",
        |model| fs::write(model.join("modeling_x.py"), "import os\n").unwrap(),
        &[KEY],
        (1, "file-unsigned: \"modeling_x.py\""),
    ),
    case(
        "other-model",
        |model| again(model, "acme/mistral-7b", "1.2"),
        &[KEY, "--name=acme/llama-3"],
        (1, "name-not-expected: "),
    ),
    case(
        "other-model-by-policy",
        |model| again(model, "acme/mistral-7b", "1.2"),
        &[POLICY, ID],
        (1, "name-not-expected: "),
    ),
    case(
        "older",
        |model| again(model, "acme/llama-3", "1.1"),
        &[KEY, "--version=1.2"],
        (1, "version-not-expected: "),
    ),
    case(
        "older-by-policy",
        |model| again(model, "acme/llama-3", "1.1"),
        &[POLICY, ID],
        (1, "version-too-low: "),
    ),
    case(
        "other-key",
        |model| {
            let other = KeySigner::from_pem(key(1).pkcs8_pem().as_bytes(), None).unwrap();
            sign(model, &other, "acme/llama-3", "1.2");
        },
        &[KEY],
        (1, "key-not-trusted: "),
    ),
    case(
        "other-identity",
        |model| sign(model, &certified("somebody@acme.example", FROM, TO), "acme/llama-3", "1.2"),
        &[CHAIN, IDENTITY],
        (1, "certificate-identity: "),
    ),
    case(
        "expired-certificate",
        |model| sign(model, &certified("release@acme.example", FROM, FROM + 86_400), "acme/llama-3", "1.2"),
        &[CHAIN, IDENTITY],
        (1, "certificate-expired: "),
    ),
    case("no-rule", AS_SIGNED, &[POLICY, "--model-id=other/llama-3"], (1, "policy-no-rule: ")),
    case(
        "edited-policy",
        AS_SIGNED,
        &["--policy=/etc/weightseal/edited.yaml", PINNED, ID],
        (2, "policy-not-expected: "),
    ),
    case(
        "no-signature",
        |model| fs::remove_file(model.join("model.sig")).unwrap(),
        &[KEY],
        (1, "signature-missing: "),
    ),
    case(
        "unreadable-file",
        |model| only_root(&model.join("config.json"), 0o600),
        &[KEY],
        (3, "permission-denied: \"config.json\""),
    ),
    case(
        "unreadable-volume",
        |model| only_root(model.parent().unwrap(), 0o700),
        &[KEY],
        (3, "permission-denied: "),
    ),
    case(
        "deadline-in-warn-mode",
        endless,
        &[KEY, "--mode=warn", "--deadline=500ms"],
        (3, "deadline-passed: "),
    ),
    case("deadline", endless, &[KEY, "--deadline=500ms"], (3, "deadline-passed: ")),
    case("no-model", |model| fs::remove_dir_all(model).unwrap(), &[KEY], (2, "model-absent: ")),
    case("no-key", AS_SIGNED, &["--public-key=/etc/weightseal/none.pub"], (2, "key-absent: ")),
    case("misspelt", AS_SIGNED, &[KEY, "--verison=1.2"], (2, "bad-argument: ")),
];

#[test]
fn a_pod_starts_on_what_verifies_and_on_nothing_else() {
    let Some(stage) = or_skip(stage()) else { return };
    let cases: Vec<&Case> = STARTS.iter().chain(&NEVER_STARTS).collect();
    let folder = temporary().unwrap();
    let meant = folder.path().join("policy.yaml");
    fs::write(&meant, policy("enforce")).unwrap();
    let digest = sha256_file(&meant).unwrap();
    let mut pods = Vec::new();
    for case in &cases {
        (case.change)(&stage.model(case.name));
        let args: Vec<String> = case.args.iter().map(|arg| arg.replace("{sha256}", &digest)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        pods.push(stage.pod(case.name, &args, "Never"));
    }
    stage.create(&pods);
    let pods = settled(stage, &cases);
    for case in STARTS {
        let pod = pod(&pods, case.name);
        pod.runs();
        let (code, message) = pod.ended();
        assert_eq!((code, message.is_empty()), (0, case.ends.1.is_empty()), "{}: {message}", case.name);
        if !message.is_empty() {
            says(&case, "admitted (warn mode): rejected: ", message);
        }
    }
    for case in NEVER_STARTS {
        let pod = pod(&pods, case.name);
        assert_eq!(pod.phase(), "Failed", "{pod}");
        pod.never_started();
        let (code, message) = pod.ended();
        assert_eq!(code, case.ends.0, "{}: {message}", case.name);
        let verdict = ["", "rejected: ", "misuse: ", "could-not-tell: "][usize::try_from(code).unwrap()];
        says(&case, verdict, message);
    }
    // The line for machines is in the log, and the message where people look.
    let logs = stage.logs("good");
    let line = Line::read(logs.split_inclusive('\n').next_back().unwrap().as_bytes());
    assert_eq!((line.verdict.as_str(), line.models[0].counts.verified), ("verified", 7));
    let described =
        stage.admin().kubectl(&["describe", "pod", "one-byte", "--namespace=inference"]).expect_code(0);
    let shown =
        format!("rejected: \"{CACHE}/one-byte/llama-3\": file-changed: \"model-00002-of-00002.safetensors\"");
    assert!(described.out().contains(&shown), "{described}");
}

#[test]
fn a_memory_limit_below_the_models_size_is_told() {
    let Some(stage) = or_skip(stage()) else { return };
    let model = stage.model("limited");
    let large = model.join("large.bin");
    OpenOptions::new().write(true).create_new(true).open(&large).unwrap().set_len(96 << 20).unwrap();
    fs::set_permissions(&large, Permissions::from_mode(0o644)).unwrap();
    again(&model, "acme/llama-3", "1.2");
    let mut limited = stage.pod("limited", &[KEY], "Never");
    limited["spec"]["initContainers"][0]["resources"] = json!({ "limits": { "memory": "64Mi" } });
    stage.create(&[limited]);
    let pod = stage.until("limited", "checked", |pod| pod.gate()["state"]["terminated"].is_object());
    assert_eq!(pod.ended(), (0, ""), "{pod}");
    let logs = stage.logs("limited");
    let line = logs.lines().find(|line| line.starts_with('{')).unwrap();
    let notes = &serde_json::from_str::<Value>(line).unwrap()["notes"];
    assert!(notes.to_string().contains("the memory limit is 67.1 MB"), "{line}");
}

/// Demands that the first 200 characters of a message say verdict, model, file and why.
#[track_caller]
fn says(case: &Case, verdict: &str, message: &str) {
    let first: String = message.chars().take(200).collect();
    assert!(message.len() <= 4096 && first.starts_with(verdict), "{}: {message}", case.name);
    assert!(first.contains(case.ends.1), "{}: {message}", case.name);
    // What is wrong with the settings is wrong with no model.
    assert!(
        verdict == "misuse: " || first.contains(&format!("\"{CACHE}/{}/llama-3\": ", case.name)),
        "{message}"
    );
}

/// Waits until each pod runs or never will.
fn settled(stage: &Stage, cases: &[&Case]) -> Vec<Pod> {
    let start = Instant::now();
    loop {
        let all = stage.admin().get(&["pods", "--namespace=inference"]);
        let all = all["items"].as_array().unwrap().iter().cloned().map(Pod);
        let pods: Vec<Pod> = all.filter(|pod| cases.iter().any(|case| case.name == pod.name())).collect();
        let open: Vec<&Pod> =
            pods.iter().filter(|pod| !["Failed", "Running"].contains(&pod.phase())).collect();
        if open.is_empty() && pods.len() == cases.len() {
            return pods;
        }
        let names: Vec<&str> = open.iter().map(|pod| pod.name()).collect();
        assert!(start.elapsed() < LIMIT, "{names:?}: {}\n{}", open[0], stage.node.last_words());
        std::thread::sleep(POLL);
    }
}

#[track_caller]
fn pod<'a>(pods: &'a [Pod], name: &str) -> &'a Pod {
    pods.iter().find(|pod| pod.name() == name).unwrap()
}

fn by_certificate(model: &Path) {
    sign(model, &certified("release@acme.example", FROM, TO), "acme/llama-3", "1.2");
}

fn one_byte(model: &Path) {
    change(&model.join("model-00002-of-00002.safetensors"), 100_000);
}

/// Signs it as another release.
fn again(model: &Path, name: &str, version: &str) {
    sign(model, &super::release(), name, version);
}

fn only_root(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes it take longer than any test waits: one file gets a terabyte without content.
pub(super) fn endless(model: &Path) {
    OpenOptions::new().write(true).open(model.join("README.md")).unwrap().set_len(1 << 40).unwrap();
}
