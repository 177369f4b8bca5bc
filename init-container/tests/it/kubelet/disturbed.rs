//! What happens to an init container from outside, and afterwards.

use testkit::or_skip;

use super::cases::endless;
use super::{CACHE, Stage, stage};
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
    let (code, message) = pod.ended();
    assert_eq!(code, 137, "{message}");
    let first: String = message.chars().take(200).collect();
    assert!(first.starts_with(&format!("could-not-tell: \"{CACHE}/killed/llama-3\": ")), "{message}");
    assert!(first.contains("ended before its verdict") && first.contains("killed"), "{message}");
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
