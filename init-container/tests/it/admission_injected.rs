//! The gate put in front of labelled pods by the API server.

use std::path::Path;

use serde_json::{Value, json};

use crate::admission::{Guarded, bare, set};

/// What becomes of a labelled pod with these containers and volumes. It is admitted.
fn injected(guarded: &Guarded, change: impl Fn(&mut Value)) -> Value {
    let mut pod = guarded.pod("labelled");
    pod["metadata"]["labels"] = json!({ "weightseal/inject": "true" });
    let spec = pod["spec"].as_object_mut().unwrap();
    spec.remove("initContainers");
    let volumes = spec["volumes"].as_array_mut().unwrap();
    volumes.retain(|volume| volume["name"] != "weightseal-policy");
    change(&mut pod);
    let ended = guarded.dry(&pod).expect_code(0);
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// The gate's mounts of model volumes: where, of which volume, which part.
fn models(pod: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mounts = pod["spec"]["initContainers"][0]["volumeMounts"].as_array().unwrap();
    let mut models = Vec::new();
    for mount in mounts {
        if Path::new(mount["mountPath"].as_str().unwrap()).starts_with("/weightseal/models") {
            assert_eq!(mount["readOnly"], true);
            models.push((text(&mount["mountPath"]), text(&mount["name"]), text(&mount["subPath"])));
        }
    }
    models.sort();
    models
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

fn place(path: &str, volume: &str, part: &str) -> (String, String, String) {
    (format!("/weightseal/models/{path}"), volume.to_owned(), part.to_owned())
}

#[test]
fn a_labelled_pod_gets_the_gate_as_the_parameter_has_it_and_its_volumes() {
    let Some(guarded) = Guarded::shared() else { return };
    let pod = injected(guarded, |_| {});
    assert_eq!(names(&pod["spec"]["initContainers"]), ["weightseal"]);
    assert_eq!(
        models(&pod),
        [
            place("adapters-pvc/acme/lora", "adapters", "acme/lora"),
            place("model-cache-pvc", "model-cache", ""),
        ]
    );
    let mut gate = pod["spec"]["initContainers"][0].clone();
    gate["volumeMounts"].as_array_mut().unwrap().truncate(1);
    // The API server adds its token to whatever has mounts.
    assert_eq!(gate, guarded.gate);
    for volume in &guarded.volumes {
        assert!(pod["spec"]["volumes"].as_array().unwrap().contains(volume));
    }
    assert_eq!(pod.get("weightseal"), None);
}

#[test]
fn it_comes_before_other_init_containers_and_only_once() {
    let Some(guarded) = Guarded::shared() else { return };
    let others = json!([
        { "name": "migrate", "image": "registry.example.com/migrate", "volumeMounts": [
            { "name": "adapters", "mountPath": "/a", "subPath": "acme/other", "readOnly": true }] },
        { "name": "proxy", "image": "registry.example.com/proxy", "restartPolicy": "Always", "volumeMounts": [
            { "name": "model-cache", "mountPath": "/a", "subPath": "llama", "readOnly": true }] },
    ]);
    let pod = injected(guarded, |pod| pod["spec"]["initContainers"] = others.clone());
    assert_eq!(names(&pod["spec"]["initContainers"]), ["weightseal", "migrate", "proxy"]);
    // Of a volume whose root is mounted by the server, the root alone.
    assert_eq!(
        models(&pod),
        [
            place("adapters-pvc/acme/lora", "adapters", "acme/lora"),
            place("adapters-pvc/acme/other", "adapters", "acme/other"),
            place("model-cache-pvc", "model-cache", ""),
        ]
    );

    // The result, created anew, stays as it is.
    let mut again = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "again", "namespace": "inference", "labels": { "weightseal/inject": "true" } }, "spec": pod["spec"] });
    let same = guarded.dry(&again).expect_code(0);
    let same: Value = serde_json::from_slice(&same.stdout).unwrap();
    assert_eq!(same["spec"], pod["spec"]);

    // What another policy or webhook put before it goes behind.
    let gate = again["spec"]["initContainers"].as_array_mut().unwrap().remove(0);
    set(&mut again, "/spec/initContainers/-", gate);
    let moved = guarded.dry(&again).expect_code(0);
    let moved: Value = serde_json::from_slice(&moved.stdout).unwrap();
    assert_eq!(moved["spec"], pod["spec"]);
}

#[test]
fn a_part_of_a_part_is_checked_with_it() {
    let Some(guarded) = Guarded::shared() else { return };
    let pod = injected(guarded, |pod| {
        set(
            pod,
            "/spec/containers/1/volumeMounts",
            json!([
                { "name": "adapters", "mountPath": "/one", "subPath": "acme/lora/inner/most", "readOnly": true },
                { "name": "adapters", "mountPath": "/two", "subPath": "acme/lora-2", "readOnly": true },
            ]),
        );
    });
    assert_eq!(
        models(&pod),
        [
            place("adapters-pvc/acme/lora", "adapters", "acme/lora"),
            place("adapters-pvc/acme/lora-2", "adapters", "acme/lora-2"),
            place("model-cache-pvc", "model-cache", ""),
        ]
    );
}

#[test]
fn several_volumes_of_one_claim_and_one_part_in_several_containers_are_one_mount() {
    let Some(guarded) = Guarded::shared() else { return };
    let pod = injected(guarded, |pod| {
        let claim = json!({ "name": "same", "persistentVolumeClaim": { "claimName": "adapters-pvc", "readOnly": true } });
        set(pod, "/spec/volumes/-", claim);
        set(
            pod,
            "/spec/containers/1/volumeMounts",
            json!([
                { "name": "same", "mountPath": "/one", "subPath": "acme/lora", "readOnly": true },
                { "name": "adapters", "mountPath": "/two", "subPath": "acme/lora", "readOnly": true },
            ]),
        );
    });
    assert_eq!(
        models(&pod),
        [
            place("adapters-pvc/acme/lora", "adapters", "acme/lora"),
            place("model-cache-pvc", "model-cache", ""),
        ]
    );
}

#[test]
fn injection_puts_nothing_right_that_the_guard_refuses() {
    let Some(guarded) = Guarded::shared() else { return };
    let refused = |change: &dyn Fn(&mut Value), words: &str| {
        let mut pod = guarded.pod("labelled");
        pod["metadata"]["labels"] = json!({ "weightseal/inject": "true" });
        change(&mut pod);
        let ended = guarded.dry(&pod).expect_code(1);
        assert!(ended.err().contains(words), "{ended}");
    };
    refused(
        &|pod| set(pod, "/spec/containers/0/volumeMounts/0/readOnly", Value::Null),
        "can write volume model-cache",
    );
    refused(
        &|pod| set(pod, "/spec/initContainers/0/args", json!(["--help"])),
        "differs from ModelGate weightseal in args",
    );
    refused(
        &|pod| {
            pod["spec"]["initContainers"] = json!([]);
            set(pod, "/spec/volumes/3", json!({ "name": "weightseal-policy", "emptyDir": {} }));
        },
        "volume weightseal-policy is missing or differs",
    );
}

#[test]
fn pods_without_the_label_or_a_model_volume_stay_as_they_are() {
    let Some(guarded) = Guarded::shared() else { return };
    let mut pod = bare("plain");
    pod["metadata"]["labels"] = json!({ "weightseal/inject": "true" });
    let ended = guarded.dry(&pod).expect_code(0);
    let plain: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(plain["spec"].get("initContainers"), None);

    let mut other = guarded.pod("other");
    other["metadata"]["labels"] = json!({ "weightseal/inject": "yes" });
    other["spec"]["initContainers"] = json!([]);
    assert!(guarded.dry(&other).expect_code(1).err().contains("has no init container weightseal"));
}

/// A policy that gives pods a claim, as KServe's webhook does for `pvc://`: after the injection was asked, or before.
const LATECOMER: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: { name: latecomer }
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{ apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods] }]
    objectSelector: { matchLabels: { late: 'true' } }
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          [JSONPatch{op: 'add', path: '/spec/volumes/-', value: Object.spec.volumes{name: 'late', persistentVolumeClaim:
             Object.spec.volumes.persistentVolumeClaim{claimName: 'late-pvc'}}},
           JSONPatch{op: 'add', path: '/spec/containers/0/volumeMounts/-', value: Object.spec.containers.volumeMounts{
             name: 'late', mountPath: '/mnt/models', subPath: 'llama', readOnly: true}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: { name: latecomer }
spec: { policyName: latecomer }
";

#[test]
fn what_is_mounted_later_in_the_admission_is_checked_as_well() {
    let Some(guarded) = Guarded::shared() else { return };
    guarded.cluster.admin().apply(LATECOMER).expect_code(0);
    let mut alone = bare("late");
    alone["metadata"]["labels"] = json!({ "late": "true" });
    alone["spec"]["volumes"] = json!([{ "name": "work", "emptyDir": {} }]);
    alone["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "work", "mountPath": "/scratch" }]);
    guarded.until_refused(
        &alone,
        "container one mounts a model volume and the pod has no init container weightseal",
    );
    alone["metadata"]["labels"]["weightseal/inject"] = json!("true");
    let gated = guarded.dry(&alone).expect_code(0);
    let gated: Value = serde_json::from_slice(&gated.stdout).unwrap();
    assert_eq!(models(&gated), [place("late-pvc/llama", "late", "llama")]);

    // Beside what was there before.
    let pod = injected(guarded, |pod| pod["metadata"]["labels"]["late"] = json!("true"));
    assert_eq!(names(&pod["spec"]["initContainers"]), ["weightseal"]);
    assert_eq!(
        models(&pod),
        [
            place("adapters-pvc/acme/lora", "adapters", "acme/lora"),
            place("late-pvc/llama", "late", "llama"),
            place("model-cache-pvc", "model-cache", ""),
        ]
    );
}

/// A pod whose server mounts so many claims, with or without the gate.
fn large(guarded: &Guarded, claims: usize, gated: bool) -> Value {
    let mut pod = guarded.pod("large");
    let mut volumes = guarded.volumes.clone();
    let mut mounts = Vec::new();
    let mut gate = guarded.gate.clone();
    for number in 0..claims {
        let (name, claim) = (format!("volume-{number:04}"), format!("model-claim-{number:04}"));
        let place = |path: String| json!({ "name": name, "mountPath": path, "readOnly": true });
        mounts.push(place(format!("/models/some/where/model-{number:04}")));
        gate["volumeMounts"].as_array_mut().unwrap().push(place(format!("/weightseal/models/{claim}")));
        volumes.push(json!({ "name": name, "persistentVolumeClaim": { "claimName": claim } }));
    }
    pod["spec"]["initContainers"] = if gated { json!([gate]) } else { json!([]) };
    pod["spec"]["volumes"] = json!(volumes);
    pod["spec"]["containers"] =
        json!([{ "name": "vllm", "image": "registry.example.com/vllm", "volumeMounts": mounts }]);
    pod
}

#[test]
fn pods_of_very_many_volumes_are_within_what_expressions_may_cost() {
    let Some(guarded) = Guarded::shared() else { return };
    guarded.dry(&large(guarded, 2000, true)).expect_code(0);
    let ungated = guarded.dry(&large(guarded, 2000, false)).expect_code(1);
    assert!(ungated.err().contains("has no init container weightseal"), "{}", ungated.err());

    // The injection takes some hundred; more is refused, not let through.
    let labelled = |claims| {
        let mut pod = large(guarded, claims, false);
        pod["metadata"]["labels"] = json!({ "weightseal/inject": "true" });
        guarded.dry(&pod)
    };
    let ended = labelled(500).expect_code(0);
    assert_eq!(models(&serde_json::from_slice(&ended.stdout).unwrap()).len(), 500);
    let refused = labelled(2000).expect_code(1);
    assert!(refused.err().contains("cost limit exceeded"), "{}", refused.err());
}
