//! Every field that Kubernetes knows of a container, changed in the gate.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::admission::{Guarded, set};

/// A change of each field of a container: where below the gate, the new value, and the fields that the refusal names.
fn changes() -> Vec<(&'static str, Value, &'static str)> {
    let tool = || json!({ "exec": { "command": ["true"] } });
    vec![
        ("args", json!(["--help"]), "args"),
        ("args/-", json!("--mode=warn"), "args"),
        ("command", json!(["/bin/true"]), "command"),
        ("env", json!([{ "name": "WEIGHTSEAL_MODE", "value": "warn" }]), "env"),
        ("envFrom", json!([{ "configMapRef": { "name": "mine" } }]), "envFrom"),
        ("image", json!(format!("registry.example.com/weightseal-init@sha256:{}", "ab".repeat(32))), "image"),
        ("image", json!("registry.example.com/weightseal-init:1.0"), "image"),
        ("image", json!("registry.example.com/weightseal-init"), "image"),
        ("imagePullPolicy", json!("Never"), "imagePullPolicy"),
        ("lifecycle", json!({ "postStart": tool() }), ""),
        ("livenessProbe", tool(), ""),
        ("ports", json!([{ "containerPort": 80 }]), "ports"),
        ("readinessProbe", tool(), ""),
        ("resizePolicy", json!([{ "resourceName": "cpu", "restartPolicy": "NotRequired" }]), "resizePolicy"),
        ("resources/limits/memory", json!("64Gi"), "resources"),
        ("resources", json!({}), "resources"),
        ("restartPolicy", json!("Always"), "restartPolicy"),
        ("restartPolicy", json!("Never"), "restartPolicy"),
        (
            "restartPolicyRules",
            json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [1] } }]),
            "",
        ),
        ("securityContext/runAsUser", json!(0), "securityContext"),
        ("securityContext/allowPrivilegeEscalation", json!(true), "securityContext"),
        ("securityContext/readOnlyRootFilesystem", json!(false), "securityContext"),
        ("securityContext", Value::Null, "securityContext"),
        ("startupProbe", tool(), ""),
        ("stdin", json!(true), "stdin"),
        ("stdinOnce", json!(true), "stdinOnce"),
        ("terminationMessagePath", json!("/etc/weightseal/policy.yaml"), "terminationMessagePath"),
        ("terminationMessagePolicy", json!("File"), "terminationMessagePolicy"),
        ("tty", json!(true), "tty"),
        (
            "volumeDevices",
            json!([{ "name": "model-cache", "devicePath": "/etc/weightseal/policy.yaml" }]),
            "",
        ),
        ("workingDir", json!("/tmp"), "workingDir"),
    ]
}

#[test]
fn each_field_of_the_gate_is_the_parameters() {
    let Some(guarded) = Guarded::shared() else { return };
    for (field, value, named) in changes() {
        let mut pod = guarded.pod("changed");
        guarded.dry(&pod).expect_code(0);
        set(&mut pod, &format!("/spec/initContainers/0/{field}"), value);
        let ended = guarded.dry(&pod);
        assert_eq!(ended.code(), Some(1), "{field} is admitted: {ended}");
        // Some are refused for containers of this kind before any policy is asked.
        let words = if named.is_empty() {
            "spec.initContainers[0]".to_owned()
        } else {
            format!("init container weightseal differs from ModelGate weightseal in {named}: take these")
        };
        assert!(ended.err().contains(&words), "{field}: {ended}");
    }
}

#[test]
fn fields_that_only_sidecars_may_have_make_the_gate_one() {
    let Some(guarded) = Guarded::shared() else { return };
    for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
        let probe = json!({ "exec": { "command": ["true"] } });
        let value = if field == "lifecycle" { json!({ "postStart": probe }) } else { probe };
        let mut pod = guarded.pod("changed");
        set(&mut pod, &format!("/spec/initContainers/0/{field}"), value);
        set(&mut pod, "/spec/initContainers/0/restartPolicy", json!("Always"));
        let ended = guarded.dry(&pod).expect_code(1);
        let mut both = [field, "restartPolicy"];
        both.sort_unstable();
        assert!(ended.err().contains(&format!("ModelGate weightseal in {}: ", both.join(", "))), "{ended}");
    }
}

#[test]
fn no_field_that_this_kubernetes_knows_of_a_container_is_left_out_above() {
    let Some(guarded) = Guarded::shared() else { return };
    let api = guarded.cluster.admin().kubectl(&["get", "--raw", "/openapi/v2"]).expect_code(0);
    let api: Value = serde_json::from_slice(&api.stdout).unwrap();
    let known = api["definitions"]["io.k8s.api.core.v1.Container"]["properties"].as_object().unwrap();
    let tried: BTreeSet<_> =
        changes().iter().map(|(field, ..)| field.split('/').next().unwrap().to_owned()).collect();
    let left: Vec<_> = known.keys().filter(|field| !tried.contains(*field)).collect();
    // The name is what makes it the gate, and mounts have tests of their own.
    assert_eq!(left, ["name", "volumeMounts"]);
}
