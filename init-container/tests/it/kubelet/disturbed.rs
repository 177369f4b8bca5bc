//! What happens to an init container from outside, and afterwards.

use std::fs::{self, OpenOptions};

use serde_json::json;
use testkit::or_skip;

use super::cases::endless;
use super::{CACHE, Pod, Stage, release, sign, stage};
use crate::change;

const KEY: &str = "--public-key=/etc/weightseal/release.pub";

/// Creates a pod that hashes without end, and waits until it does; gives its container.
fn hashing(stage: &Stage, case: &str, args: &[&str]) -> String {
    endless(&stage.model(case));
    stage.create(&[stage.pod(case, args, "Never")]);
    let pod =
        stage.until(case, "running its init container", |pod| pod.gate()["state"]["running"].is_object());
    pod.gate()["containerID"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_killed_keeps_the_pod_from_starting_and_says_that_it_was() {
    let Some(stage) = or_skip(stage()) else { return };
    let container = hashing(stage, "killed", &[KEY, "--mode=warn"]);
    // It is in the middle once it says so.
    stage.until("killed", "hashing", |_| stage.logs("killed").contains(": hashing "));
    stage.node.signal(&container, "SIGKILL");
    let pod = stage.until("killed", "ended", |pod| pod.phase() == "Failed");
    pod.never_started();
    killed(&pod, "killed");
}

#[test]
fn what_runs_out_of_memory_keeps_the_pod_from_starting_and_says_that_it_was_killed() {
    let Some(stage) = or_skip(stage()) else { return };
    let model = stage.model("out-of-memory");
    let files: Vec<_> = (0..64).map(|n| model.join(format!("{n}.bin"))).collect();
    files.iter().for_each(|file| fs::write(file, "x").unwrap());
    sign(&model, &release(), "acme/llama-3", "1.2");
    // A buffer of a mebibyte for each thread, and a file that keeps it for each.
    files
        .iter()
        .for_each(|file| OpenOptions::new().write(true).open(file).unwrap().set_len(1 << 40).unwrap());
    let args = [KEY, "--read=direct", "--memory=1Gi", "--threads=64", "--mode=warn"];
    let mut pod = stage.pod("out-of-memory", &args, "Never");
    pod["spec"]["initContainers"][0]["resources"] = json!({ "limits": { "memory": "24Mi" } });
    stage.create(&[pod]);
    let pod = stage.until("out-of-memory", "ended", |pod| pod.phase() == "Failed");
    pod.never_started();
    assert_eq!(pod.gate()["state"]["terminated"]["reason"], "OOMKilled", "{pod}");
    killed(&pod, "out-of-memory");
}

/// Demands that the message says so, which was written before.
#[track_caller]
fn killed(pod: &Pod, case: &str) {
    let (code, message) = pod.ended();
    assert_eq!(code, 137, "{message}");
    let first: String = message.chars().take(200).collect();
    assert!(first.starts_with(&format!("could-not-tell: \"{CACHE}/{case}/llama-3\": ")), "{message}");
    assert!(first.contains("ended before its verdict") && first.contains("out of memory"), "{message}");
}

#[test]
fn a_model_that_is_put_right_starts_the_same_pod() {
    let Some(stage) = or_skip(stage()) else { return };
    let model = stage.model("put-right");
    let shard = model.join("model-00001-of-00002.safetensors");
    change(&shard, 100_000);
    stage.create(&[stage.pod("put-right", &[KEY], "Always")]);
    let refused = stage.until("put-right", "waiting to try again", |pod| {
        pod.gate()["lastState"]["terminated"]["exitCode"] == 1
            && pod.gate()["restartCount"].as_i64() > Some(1)
    });
    refused.never_started();
    let message = refused.gate()["lastState"]["terminated"]["message"].as_str().unwrap();
    assert!(message.contains("file-changed: \"model-00001-of-00002.safetensors\""), "{message}");
    change(&shard, 100_000);
    let started = stage.until("put-right", "running", |pod| pod.phase() == "Running");
    started.runs();
    assert_eq!((started.uid(), started.ended()), (refused.uid(), (0, "")), "{started}");
}
