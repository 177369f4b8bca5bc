//! Manifests as they stand, in pods: images, keys and the node are this machine's, and what a processor of it can do.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::digest::sha256_file;
use testkit::keeper::KeptFolder;
use testkit::kubernetes::Node;
use testkit::{models, or_skip, temporary};

use super::{Pod, Stage, release, sign, stage};
use crate::manifests::{built, documents, find, server};
use crate::{change, key};

const SHARD: &str = "model-00001-of-00002.safetensors";

/// The pod of a Deployment, in a namespace of its own.
struct Shipped {
    stage: &'static Stage,
    namespace: &'static str,
    volume: KeptFolder,
    pod: Value,
}

impl Shipped {
    /// What kustomize makes of a folder, with a signed model on its claim.
    fn new(stage: &'static Stage, namespace: &'static str, folder: &str) -> Shipped {
        let cluster = stage.node.cluster();
        cluster.namespace(namespace, &[("pod-security.kubernetes.io/enforce", "restricted")]);
        let volume = KeptFolder::new().unwrap();
        fs::set_permissions(volume.path(), Permissions::from_mode(0o755)).unwrap();
        stage.node.volume(namespace, "model-cache-pvc", volume.path());
        // Without the admission policies, which this API server may not know.
        let yaml = built(cluster, folder);
        let is_known =
            |one: &&str| ["kind: ConfigMap\n", "kind: Deployment\n"].iter().any(|kind| one.contains(kind));
        let known: Vec<&str> = yaml.split("\n---\n").filter(is_known).collect();
        let documents = documents(cluster, &known.join("\n---\n"));
        let map = find(&documents, "ConfigMap", "weightseal-policy").unwrap();
        let policy = with_own_key(map["data"]["policy.yaml"].as_str().unwrap());
        give_policy(stage.node, namespace, &policy);
        let mut pod = server(&documents);
        here(&mut pod, namespace, &stage.server);
        for container in pod["spec"]["initContainers"].as_array_mut().unwrap() {
            container["image"] = json!(stage.gate);
            // Other tests run pods at the same time.
            container["resources"]["requests"]["cpu"] = json!("10m");
            for arg in container["args"].as_array_mut().unwrap() {
                if arg.as_str().unwrap().starts_with("--policy-sha256=") {
                    *arg = json!(format!("--policy-sha256={}", sha256(&policy)));
                }
            }
        }
        let shipped = Shipped { stage, namespace, volume, pod };
        models::small(&shipped.model()).unwrap();
        sign(&shipped.model(), &release(), "acme/llama-3", "1.2");
        shipped
    }

    fn model(&self) -> PathBuf {
        self.volume.path().join("llama-3")
    }

    /// Starts the pod anew; gives it when the gate has ended, with the gate's report on the model.
    fn run(&self) -> (Pod, Value) {
        self.stage.create(std::slice::from_ref(&self.pod));
        let gate_ended = |pod: &Pod| pod.gate()["state"]["terminated"].is_object();
        let pod = self.stage.until_in(self.namespace, "vllm", "checked", gate_ended);
        let args = ["logs", "vllm", "--container=weightseal", "--namespace", self.namespace];
        let log = self.stage.admin().kubectl(&args).expect_code(0).out();
        let line = log.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{log}"));
        let line: Value = serde_json::from_str(line).unwrap();
        (pod, line["models"][0].clone())
    }

    fn delete(&self) {
        let args = ["delete", "pod", "vllm", "--namespace", self.namespace, "--grace-period=1", "--wait"];
        self.stage.admin().kubectl(&args).expect_code(0);
    }

    /// Changes a byte of the weights and sets the time back.
    fn change(&self) {
        let shard = self.model().join(SHARD);
        let before = fs::metadata(&shard).unwrap().modified().unwrap();
        change(&shard, 100_000);
        File::options().write(true).open(&shard).unwrap().set_modified(before).unwrap();
    }
}

/// A policy with the key of these tests in the place of the example's.
pub(crate) fn with_own_key(policy: &str) -> String {
    let indented: String = key(0).public_pem().lines().map(|line| format!("        {line}\n")).collect();
    let end = "-----END PUBLIC KEY-----\n";
    let from = policy.find("        -----BEGIN").unwrap();
    let to = policy.find(end).unwrap() + end.len();
    format!("{}{indented}{}", &policy[..from], &policy[to..])
}

pub(crate) fn sha256(text: &str) -> String {
    let folder = temporary().unwrap();
    let file = folder.path().join("text");
    fs::write(&file, text).unwrap();
    sha256_file(&file).unwrap()
}

/// Makes what the manifests' pods refer to by name.
pub(crate) fn give_policy(node: &Node<'_>, namespace: &str, policy: &str) {
    let of = |name: &str| json!({ "name": name, "namespace": namespace });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": of("vllm") },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": of("weightseal-policy"), "data": { "policy.yaml": policy } },
    ] });
    node.cluster().admin().apply(&list.to_string()).expect_code(0);
}

/// Gives a pod what this machine has in the place of graphics processors and a vLLM.
pub(crate) fn here(pod: &mut Value, namespace: &str, server: &str) {
    pod["metadata"]["namespace"] = json!(namespace);
    let spec = &mut pod["spec"];
    spec["nodeName"] = json!("localhost");
    spec["terminationGracePeriodSeconds"] = json!(1);
    let container = spec["containers"][0].as_object_mut().unwrap();
    container.insert("image".to_owned(), json!(server));
    for field in ["resources", "readinessProbe", "args"] {
        container.remove(field);
    }
}

#[test]
fn the_deployment_starts_on_what_was_signed_and_on_nothing_else() {
    let Some(stage) = or_skip(stage()) else { return };
    let shipped = Shipped::new(stage, "shipped", "base");
    let (pod, report) = shipped.run();
    assert_eq!((pod.ended(), &report["verdict"]), ((0, ""), &json!("verified")), "{report}");
    stage.until_in("shipped", "vllm", "started", |pod| pod.main()["started"] == true).runs();
    shipped.delete();
    shipped.change();
    let (pod, report) = shipped.run();
    assert_eq!(report["findings"][0]["code"], "file-changed", "{report}");
    let (code, message) = pod.ended();
    assert!(code == 1 && message.contains(&format!("file-changed: {SHARD:?}")), "{message}");
    pod.never_started();
    shipped.delete();
}

#[test]
fn in_warn_mode_the_deployment_starts_and_says_what_was_wrong() {
    let Some(stage) = or_skip(stage()) else { return };
    let shipped = Shipped::new(stage, "warned", "overlays/warn");
    shipped.change();
    let (pod, report) = shipped.run();
    assert_eq!((&report["verdict"], &report["admitted"]), (&json!("rejected"), &json!(true)), "{report}");
    let (code, message) = pod.ended();
    assert!(code == 0 && message.contains(&format!("file-changed: {SHARD:?}")), "{message}");
    stage.until_in("warned", "vllm", "started", |pod| pod.main()["started"] == true).runs();
    shipped.delete();
}

#[test]
fn a_restart_by_receipt_reads_no_weights_and_a_write_makes_it_read_all() {
    let Some(stage) = or_skip(stage()) else { return };
    let shipped = Shipped::new(stage, "receipts", "overlays/receipts");
    // As a new volume is: root's.
    let receipts = KeptFolder::new().unwrap();
    fs::set_permissions(receipts.path(), Permissions::from_mode(0o755)).unwrap();
    stage.node.volume("receipts", "weightseal-receipts", receipts.path());
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "key": "k".repeat(44) },
        "metadata": { "name": "weightseal-receipt-key", "namespace": "receipts" } });
    stage.admin().apply(&secret.to_string()).expect_code(0);
    let run = || {
        let (pod, report) = shipped.run();
        shipped.delete();
        (pod.ended().0, report)
    };
    let (code, report) = run();
    assert_eq!(
        (code, &report["receipt"]["written"], &report["assurance"]),
        (0, &json!(true), &json!("hashed")),
        "{report}"
    );
    let (code, report) = run();
    assert_eq!(
        (code, &report["receipt"]["used"], &report["assurance"]),
        (0, &json!(true), &json!("receipt")),
        "{report}"
    );
    assert_eq!(report["bytes"], 0, "{report}");

    shipped.change();
    let (code, report) = run();
    assert_eq!((code, &report["receipt"]["used"]), (1, &json!(false)), "{report}");
    assert_eq!(report["findings"][0]["code"], "file-changed", "{report}");
}

#[test]
fn a_sidecar_that_saw_a_change_keeps_the_pod_from_being_ready_across_its_restarts() {
    let Some(stage) = or_skip(stage()) else { return };
    let mut shipped = Shipped::new(stage, "watched", "overlays/watch");
    // Not to wait for a minute.
    for arg in shipped.pod["spec"]["initContainers"][1]["args"].as_array_mut().unwrap() {
        if arg == "--interval=1m" {
            *arg = json!("--interval=1s");
        }
    }
    let until = |wanted: &str, is_so: &dyn Fn(&Pod) -> bool| {
        stage.until_in("watched", "vllm", wanted, |pod| is_so(pod))
    };
    let watch = |pod: &Pod| pod.0["status"]["initContainerStatuses"][1].clone();
    let is_ready = |pod: &Pod| {
        let conditions = pod.0["status"]["conditions"].as_array().unwrap().clone();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    shipped.run();
    until("ready", &is_ready).runs();

    let shard = shipped.model().join(SHARD);
    change(&shard, 100_000);
    let pod = until("not ready", &|pod| !is_ready(pod));
    pod.runs();
    assert_eq!(watch(&pod)["ready"], false, "{pod}");
    // Put back, and with another process of the sidecar's: what was seen was seen.
    change(&shard, 100_000);
    stage.node.signal(watch(&pod)["containerID"].as_str().unwrap(), "SIGKILL");
    until("watched anew", &|pod| {
        watch(pod)["restartCount"].as_i64() > Some(0) && watch(pod)["state"]["running"].is_object()
    });
    let logs = ["logs", "vllm", "--container=weightseal-watch", "--namespace=watched"];
    let says = |_: &Pod| stage.admin().kubectl(&logs).expect_code(0).out().contains(SHARD);
    let again = until("saying why it is not ready", &says);
    assert_eq!((watch(&again)["ready"].as_bool(), is_ready(&again)), (Some(false), false), "{again}");
    again.runs();
    shipped.delete();
}
