//! What outlasts a check: receipts, and the sidecar that watches.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use serde_json::{Value, json};
use testkit::keeper::KeptFolder;
use testkit::or_skip;

use super::{NAMESPACE, Pod, stage};
use crate::change;

const KEY: &str = "--public-key=/etc/weightseal/release.pub";

const SHARD: &str = "model-00001-of-00002.safetensors";

/// The user that the pods run as.
const USER: u32 = 65532;

#[test]
fn a_restart_by_receipt_reads_no_weights_and_a_write_makes_it_read_all() {
    let Some(stage) = or_skip(stage()) else { return };
    let model = stage.model("receipt");
    let receipts = KeptFolder::new().unwrap();
    chown(receipts.path(), Some(USER), Some(USER)).unwrap();
    stage.node.volume(NAMESPACE, "weightseal-receipts", receipts.path());
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "key": "k".repeat(32) },
        "metadata": { "name": "weightseal-receipt-key", "namespace": NAMESPACE } });
    stage.admin().apply(&secret.to_string()).expect_code(0);
    let args = [KEY, "--receipts=/var/lib/weightseal", "--receipt-key=/etc/weightseal-receipts/key"];
    let mut pod = stage.pod("receipt", &args, "Never");
    let add = |pod: &mut Value, place: &str, what: Value| {
        pod.pointer_mut(place).and_then(Value::as_array_mut).unwrap().push(what);
    };
    for (name, path, volume) in [
        (
            "receipts",
            "/var/lib/weightseal",
            json!({ "persistentVolumeClaim": { "claimName": "weightseal-receipts" } }),
        ),
        (
            "receipt-key",
            "/etc/weightseal-receipts",
            json!({ "secret": { "secretName": "weightseal-receipt-key" } }),
        ),
    ] {
        add(&mut pod, "/spec/initContainers/0/volumeMounts", json!({ "name": name, "mountPath": path }));
        let mut volume = volume;
        volume["name"] = json!(name);
        add(&mut pod, "/spec/volumes", volume);
    }
    // Starts the pod anew: how the gate ended, and what it says of the receipt.
    let run = || {
        stage.create(std::slice::from_ref(&pod));
        let ended = stage.until("receipt", "checked", |pod| pod.gate()["state"]["terminated"].is_object());
        let log = stage.logs("receipt");
        let line = log.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{log}"));
        let line: Value = serde_json::from_str(line).unwrap();
        let delete = ["delete", "pod", "receipt", "--namespace", NAMESPACE, "--grace-period=1", "--wait"];
        stage.admin().kubectl(&delete).expect_code(0);
        (ended.ended().0, line["models"][0].clone())
    };
    let (code, report) = run();
    assert_eq!(
        (code, &report["receipt"]["written"], &report["assurance"]),
        (0, &json!(true), &json!("hashed"))
    );
    let (code, report) = run();
    assert_eq!(
        (code, &report["receipt"]["used"], &report["assurance"]),
        (0, &json!(true), &json!("receipt"))
    );
    assert_eq!(report["bytes"], 0, "{report}");

    let shard = model.join(SHARD);
    let before = fs::metadata(&shard).unwrap().modified().unwrap();
    change(&shard, 100_000);
    File::options().write(true).open(&shard).unwrap().set_modified(before).unwrap();
    let (code, report) = run();
    assert_eq!((code, &report["receipt"]["used"]), (1, &json!(false)), "{report}");
    assert_eq!(report["findings"][0]["code"], "file-changed", "{report}");
}

#[test]
fn a_sidecar_that_saw_a_change_keeps_the_pod_from_being_ready_across_its_restarts() {
    let Some(stage) = or_skip(stage()) else { return };
    let model = stage.model("watched");
    fs::set_permissions(&model, Permissions::from_mode(0o755)).unwrap();
    let mut pod = stage.pod("watched", &[KEY], "Always");
    let mut sidecar = pod["spec"]["initContainers"][0].clone();
    sidecar["name"] = json!("weightseal-watch");
    sidecar["restartPolicy"] = json!("Always");
    let args = sidecar["args"].as_array_mut().unwrap();
    args.insert(0, json!("watch"));
    args.extend([json!("--state=/run/weightseal"), json!("--interval=1s")]);
    sidecar["readinessProbe"] = json!({ "periodSeconds": 1, "failureThreshold": 1,
        "exec": { "command": ["/weightseal-init", "probe", "--state=/run/weightseal"] } });
    let state = json!({ "name": "state", "mountPath": "/run/weightseal" });
    sidecar["volumeMounts"].as_array_mut().unwrap().push(state);
    pod["spec"]["initContainers"].as_array_mut().unwrap().push(sidecar);
    pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "state", "emptyDir": {} }));
    stage.create(&[pod]);
    let watch = |pod: &Pod| pod.0["status"]["initContainerStatuses"][1].clone();
    let is_ready = |pod: &Pod| {
        let conditions = pod.0["status"]["conditions"].as_array().unwrap().clone();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let pod = stage.until("watched", "ready", is_ready);
    pod.runs();

    change(&model.join(SHARD), 100_000);
    let pod = stage.until("watched", "not ready", |pod| !is_ready(pod));
    pod.runs();
    assert_eq!(watch(&pod)["ready"], false, "{pod}");
    // Put back, and with another process of the sidecar's: what was seen was seen.
    change(&model.join(SHARD), 100_000);
    stage.node.signal(watch(&pod)["containerID"].as_str().unwrap(), "SIGKILL");
    let again = stage.until("watched", "watched anew", |pod| {
        watch(pod)["restartCount"].as_i64() > Some(0) && watch(pod)["state"]["running"].is_object()
    });
    let logs = ["logs", "watched", "--container=weightseal-watch", "--namespace", NAMESPACE];
    let says = |_: &Pod| stage.admin().kubectl(&logs).expect_code(0).out().contains(SHARD);
    let again = stage.until(again.name(), "says why it is not ready", says);
    assert_eq!((watch(&again)["ready"].as_bool(), is_ready(&again)), (Some(false), false), "{again}");
    again.runs();
}
