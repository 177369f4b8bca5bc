//! Pods that live, and what a tenant may not write.

use serde_json::{Value, json};
use testkit::Ended;

use crate::admission::Guarded;

/// Changes a pod that lives, as the tenant.
fn patch(guarded: &Guarded, name: &str, more: &[&str], patch: &Value) -> Ended {
    let patch = format!("--patch={patch}");
    let args = [&["patch", "pod", name, "--namespace=inference", "--type=strategic", &patch], more].concat();
    guarded.dev().kubectl(&args)
}

#[test]
fn a_pod_that_lives_stays_as_it_was_checked() {
    let Some(guarded) = Guarded::shared() else { return };
    guarded.dev().create(&guarded.pod("lives").to_string()).expect_code(0);
    let init = |value: Value| json!({ "spec": { "initContainers": [value] } });
    let other = format!("registry.example.com/weightseal-init@sha256:{}", "cd".repeat(32));
    for image in [other.as_str(), "registry.example.com/weightseal-init:1.0"] {
        let ended = patch(guarded, "lives", &[], &init(json!({ "name": "weightseal", "image": image })))
            .expect_code(1);
        assert!(
            ended.err().contains("init container weightseal differs from ModelGate weightseal in image"),
            "{ended}"
        );
    }
    // What has nothing to do with it may change.
    patch(guarded, "lives", &[], &json!({ "metadata": { "labels": { "a": "b" } } })).expect_code(0);
    let image =
        json!({ "spec": { "containers": [{ "name": "vllm", "image": "registry.example.com/vllm:2" }] } });
    patch(guarded, "lives", &[], &image).expect_code(0);

    let debug = |container: Value| {
        let container = json!({ "spec": { "ephemeralContainers": [container] } });
        patch(guarded, "lives", &["--subresource=ephemeralcontainers"], &container)
    };
    let mut container = json!({ "name": "debug", "image": "registry.example.com/debug" });
    let mount = |more: Value| {
        let mut mount = json!({ "name": "model-cache", "mountPath": "/m" });
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([mount])
    };
    container["volumeMounts"] = mount(json!({}));
    let ended = debug(container.clone()).expect_code(1);
    assert!(ended.err().contains("container debug can write volume model-cache"), "{ended}");
    container["volumeMounts"] = json!([{ "name": "adapters", "mountPath": "/m", "readOnly": true }]);
    let ended = debug(container.clone()).expect_code(1);
    assert!(
        ended.err().contains("container debug mounts volume adapters, which the gate does not mount"),
        "{ended}"
    );
    container["volumeMounts"] = json!([]);
    container["targetContainerName"] = json!("weightseal");
    let ended = debug(container.clone()).expect_code(1);
    assert!(
        ended.err().contains("an ephemeral container cannot have init container weightseal as its target"),
        "{ended}"
    );
    container["targetContainerName"] = json!("vllm");
    container["securityContext"] = json!({ "capabilities": { "add": ["SYS_PTRACE"] } });
    let ended = debug(container.clone()).expect_code(1);
    assert!(ended.err().contains("container debug is privileged or adds capabilities"), "{ended}");
    container["securityContext"] = json!({});
    container["volumeMounts"] = mount(json!({ "readOnly": true }));
    debug(container).expect_code(0);
    guarded
        .dev()
        .kubectl(&["delete", "pod", "lives", "--namespace=inference", "--wait=false"])
        .expect_code(0);
}

#[test]
fn what_is_resized_on_a_pod_that_lives_is_not_the_gate() {
    let Some(guarded) = Guarded::shared() else { return };
    guarded.dev().create(&guarded.pod("resized").to_string()).expect_code(0);
    let resources = json!({ "limits": { "memory": "1Gi" } });
    let gate = json!({ "spec": { "initContainers": [{ "name": "weightseal", "resources": resources }] } });
    let ended = patch(guarded, "resized", &["--subresource=resize"], &gate).expect_code(1);
    assert!(ended.err().contains("differs from ModelGate weightseal in resources"), "{ended}");
    guarded
        .dev()
        .kubectl(&["delete", "pod", "resized", "--namespace=inference", "--wait=false"])
        .expect_code(0);
}

#[test]
fn a_tenant_writes_neither_policies_nor_parameter_nor_the_namespaces_label() {
    let Some(guarded) = Guarded::shared() else { return };
    let dev = guarded.dev();
    let forbidden = |args: &[&str]| {
        let ended = dev.kubectl(args).expect_code(1);
        assert!(
            ended.err().contains("(Forbidden)") && ended.err().contains("User \"dev\" cannot"),
            "{ended}"
        );
    };
    forbidden(&["label", "namespace", "inference", "weightseal/gate-"]);
    forbidden(&[
        "patch",
        "namespace",
        "inference",
        "--patch={\"metadata\":{\"labels\":{\"weightseal/gate\":\"off\"}}}",
    ]);
    forbidden(&[
        "patch",
        "modelgate",
        "weightseal",
        "--type=merge",
        "--patch={\"spec\":{\"loaders\":[\"inference/default\"]}}",
    ]);
    forbidden(&["delete", "modelgate", "weightseal"]);
    forbidden(&["delete", "customresourcedefinition", "modelgates.admission.weightseal"]);
    for kind in ["validatingadmissionpolicy", "validatingadmissionpolicybinding"] {
        forbidden(&["delete", kind, "weightseal-guard"]);
        forbidden(&["patch", kind, "weightseal-guard", "--type=merge", "--patch={\"spec\":{}}"]);
    }
    for kind in ["mutatingadmissionpolicy", "mutatingadmissionpolicybinding"] {
        forbidden(&["delete", kind, "weightseal-inject"]);
    }
}
