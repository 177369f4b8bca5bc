//! Put in front by the API server, run by a kubelet: what is injected works, on a claim's root and on a part of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{keeper::KeptFolder, kubernetes::Node, models, or_skip};

use crate::{
    admission::{install, manifests},
    kubelet::{
        gate, release,
        shipped::{give_policy, here, sha256, with_own_key},
        sign,
    },
};

/// A namespace of its own, in an API server that others use too.
const NAMESPACE: &str = "guarded";

/// How long the node may take for what it does in a second.
const LIMIT: Duration = Duration::from_secs(300);

/// Asks again until the answer fits.
#[track_caller]
fn until<T>(what: &str, node: &Node<'_>, ask: impl Fn() -> T, fits: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let answer = ask();
        if fits(&answer) {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "{what}\n{}", node.last_words());
        thread::sleep(Duration::from_millis(300));
    }
}

/// The pod of `pod-injected.yaml`, with what this machine has in the place of graphics processors and a vLLM.
fn pod(node: &Node<'_>, server: &str, name: &str) -> Value {
    let file = manifests("pod-injected.yaml");
    let args = ["create", "--dry-run=client", "--output=json", "--filename", file.to_str().unwrap()];
    let ended = node.cluster().admin().kubectl(&args).expect_code(0);
    let mut pod: Value = serde_json::from_slice(&ended.stdout).unwrap();
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["restartPolicy"] = json!("Never");
    here(&mut pod, NAMESPACE, server);
    pod
}

#[test]
fn a_labelled_pod_gets_the_gate_once_and_the_kubelet_runs_it() {
    let Some(node) = or_skip(Node::shared()) else { return };
    let Some(gate) = or_skip(gate(node)) else { return };
    let Some(server) = or_skip(node.program("stand-in", "stand-in", "registry.example.com/vllm")) else {
        return;
    };
    let volume = KeptFolder::new().unwrap();
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let model = volume.path().join("llama-3");
    models::small(&model).unwrap();
    sign(&model, &release(), "acme/llama-3", "1.2");

    let cluster = node.cluster();
    let admin = cluster.admin();
    let labels = [("weightseal/gate", "enforce"), ("pod-security.kubernetes.io/enforce", "restricted")];
    cluster.namespace(NAMESPACE, &labels);
    node.volume(NAMESPACE, "model-cache-pvc", volume.path());
    let policy = with_own_key(&fs::read_to_string(manifests("base/policy.yaml")).unwrap());
    let digest = sha256(&policy);
    give_policy(node, NAMESPACE, &policy);

    install(cluster);
    let mut parameter = admin.get(&["modelgate", "weightseal"]);
    parameter["spec"]["container"]["image"] = json!(gate);
    let args = parameter["spec"]["container"]["args"].as_array_mut().unwrap();
    args[2] = json!(format!("--policy-sha256={digest}"));
    admin.with_input(&["replace", "--filename=-"], &parameter.to_string()).expect_code(0);

    let dry = |pod: &Value| {
        admin.with_input(&["create", "--dry-run=server", "--output=json", "--filename=-"], &pod.to_string())
    };
    until(
        "the parameter is not followed",
        node,
        || dry(&pod(node, &server, "good")),
        |ended| ended.code() == Some(0) && ended.out().contains(&digest) && ended.out().contains(&gate),
    );
    let get = |name: &str| admin.get(&["pod", name, "--namespace", NAMESPACE]);
    let create = |name: &str, part: bool| {
        let mut pod = pod(node, &server, name);
        if part {
            pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("llama-3");
        }
        admin.create(&pod.to_string()).expect_code(0);
        let ended = |pod: &Value| {
            pod["status"]["phase"] == "Failed" || pod["status"]["containerStatuses"][0]["started"] == true
        };
        let pod = until("the pod neither starts nor fails", node, || get(name), ended);
        assert_eq!(pod["spec"]["initContainers"].as_array().unwrap().len(), 1);
        // The node has no room for many gates at once.
        admin.kubectl(&["delete", "pod", name, "--namespace", NAMESPACE]).expect_code(0);
        pod
    };
    for (name, part) in [("good", false), ("good-part", true)] {
        let pod = create(name, part);
        assert_eq!(pod["status"]["phase"], "Running", "{:#}", pod["status"]);
        let ended = &pod["status"]["initContainerStatuses"][0]["state"]["terminated"];
        assert_eq!((&ended["exitCode"], ended.get("message")), (&json!(0), None), "{ended:#}");
    }

    // One file more that nobody signed, and nothing starts any more.
    fs::write(model.join("modeling_x.py"), "import os\n").unwrap();
    for (name, part) in [("bad", false), ("bad-part", true)] {
        let pod = create(name, part);
        assert_eq!(pod["status"]["phase"], "Failed", "{:#}", pod["status"]);
        let ended = &pod["status"]["initContainerStatuses"][0]["state"]["terminated"];
        let message = ended["message"].as_str().unwrap_or_default();
        assert_eq!(ended["exitCode"], 1, "{:#}", pod["status"]);
        assert!(message.contains("file-unsigned: \"modeling_x.py\""), "{message}");
        assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    }
    // An edited policy is refused by the gate, whatever it says.
    fs::remove_file(model.join("modeling_x.py")).unwrap();
    let edited = json!({ "data": { "policy.yaml": format!("{policy}\n") } });
    let patch = format!("--patch={edited}");
    admin
        .kubectl(&["patch", "configmap", "weightseal-policy", "--namespace", NAMESPACE, &patch])
        .expect_code(0);
    let other = create("edited", false);
    let ended = &other["status"]["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!((&other["status"]["phase"], &ended["exitCode"]), (&json!("Failed"), &json!(2)), "{ended:#}");
    assert!(ended["message"].as_str().unwrap().contains("policy-not-expected"), "{ended:#}");
}
