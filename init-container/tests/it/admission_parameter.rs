//! What the parameter decides: claims, loaders, what is for the gate alone. Each test has an API server of its own,
//! whose parameter it changes.

use serde_json::{Value, json};
use testkit::or_skip;

use crate::admission::{Guarded, bare, install, manifests, set};

impl Guarded {
    /// Changes the parameter, as those may who decide.
    fn patch(&self, patch: &Value) {
        let patch = format!("--patch={patch}");
        let args = ["patch", "modelgate", "weightseal", "--type=merge", &patch];
        self.cluster.admin().kubectl(&args).expect_code(0);
    }
}

#[test]
fn the_parameter_decides_which_claims_hold_models_and_without_it_nothing_is_admitted() {
    let Some(guarded) = or_skip(Guarded::start()) else { return };
    let mut plain = guarded.pod("plain");
    set(&mut plain, "/spec/initContainers/0/volumeMounts/2", Value::Null);
    guarded.dry(&plain).expect_code(1);
    // Of two claims only one holds models: the other may be mounted in any way, but is none of the gate's.
    guarded.patch(&json!({ "spec": { "claims": ["other-pvc", "model-cache-pvc"] } }));
    guarded.until(|| guarded.dry(&plain), |ended| ended.code() == Some(0));
    set(&mut plain, "/spec/containers/0/volumeMounts/1/readOnly", Value::Null);
    guarded.dry(&plain).expect_code(0);
    let both = guarded.dry(&guarded.pod("both")).expect_code(1);
    assert!(
        both.err().contains("has a mount of its own at /weightseal/models/adapters-pvc/acme/lora"),
        "{both}"
    );
    set(&mut plain, "/spec/containers/0/volumeMounts/0/readOnly", Value::Null);
    let refused = guarded.dry(&plain).expect_code(1);
    assert!(refused.err().contains("container vllm can write volume model-cache"), "{refused}");

    // Every claim again, after the policies were gone for a while: they follow it as before.
    for kind in ["validatingadmissionpolicy", "validatingadmissionpolicybinding"] {
        guarded.cluster.admin().kubectl(&["delete", kind, "weightseal-guard"]).expect_code(0);
    }
    for kind in ["mutatingadmissionpolicy", "mutatingadmissionpolicybinding"] {
        guarded.cluster.admin().kubectl(&["delete", kind, "weightseal-inject"]).expect_code(0);
    }
    guarded.until(|| guarded.dry(&guarded.pod("both")), |ended| ended.code() == Some(0));
    let policies = manifests("admission");
    guarded.cluster.admin().kubectl(&["apply", "--kustomize", policies.to_str().unwrap()]).expect_code(0);
    guarded
        .until_refused(&plain, "mounts subPath acme/lora of volume adapters, which the gate does not mount");
    guarded.patch(&json!({ "spec": { "claims": ["other-pvc"] } }));
    guarded.until_refused(&guarded.pod("both"), "has a mount of its own");

    // None at all.
    guarded.cluster.admin().kubectl(&["delete", "modelgate", "weightseal"]).expect_code(0);
    for mut pod in [guarded.pod("gated"), bare("bare")] {
        guarded.until_refused(&pod, "no params found for policy binding with `Deny` parameterNotFoundAction");
        pod["metadata"]["labels"] = json!({ "weightseal/inject": "true" });
        guarded.until_refused(&pod, "no params found for policy binding with `Deny` parameterNotFoundAction");
    }

    // Nor without its kind; once both are back, everything is as before.
    let definition = ["delete", "customresourcedefinition", "modelgates.admission.weightseal"];
    guarded.cluster.admin().kubectl(&definition).expect_code(0);
    guarded.dry(&bare("bare")).expect_code(1);
    install(&guarded.cluster);
    guarded.until(|| guarded.dry(&guarded.pod("both")), |ended| ended.code() == Some(0));
}

#[test]
fn a_loader_is_exempt_where_who_creates_it_may_use_its_service_account() {
    let Some(guarded) = or_skip(Guarded::start()) else { return };
    let mut loader = guarded.pod("loader");
    loader["spec"]["initContainers"] = json!([]);
    loader["spec"]["serviceAccountName"] = json!("model-loader");
    set(&mut loader, "/spec/containers/0/volumeMounts/0/readOnly", Value::Null);
    // Whoever may create pods may write any service account into them.
    let refused = guarded.dry(&loader).expect_code(1);
    assert!(refused.err().contains("has no init container weightseal"), "{refused}");
    let right = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: loader, namespace: inference }
rules: [{ apiGroups: [''], resources: [serviceaccounts], resourceNames: [model-loader], verbs: [use] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: loader, namespace: inference }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: loader }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: dev }]
";
    guarded.cluster.admin().apply(right).expect_code(0);
    guarded.until(|| guarded.dry(&loader), |ended| ended.code() == Some(0));
    // Only that one, and only past the gate.
    let mut other = loader.clone();
    other["spec"]["serviceAccountName"] = json!("default");
    assert!(guarded.dry(&other).expect_code(1).err().contains("has no init container weightseal"));
    set(&mut loader, "/spec/hostPID", json!(true));
    assert!(guarded.dry(&loader).expect_code(1).err().contains("hostPID"));
}

#[test]
fn receipts_and_their_key_are_for_the_gate_alone() {
    let Some(guarded) = or_skip(Guarded::start()) else { return };
    let mut gate = guarded.gate.clone();
    let mounts = gate["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({ "name": "weightseal-receipts", "mountPath": "/var/lib/weightseal" }));
    mounts.push(json!({ "name": "weightseal-key", "mountPath": "/etc/weightseal-key", "readOnly": true }));
    let mut volumes = guarded.volumes.clone();
    volumes.push(json!({ "name": "weightseal-receipts", "persistentVolumeClaim": { "claimName": "weightseal-receipts" } }));
    volumes.push(json!({ "name": "weightseal-key", "projected": { "defaultMode": 288, "sources": [{ "secret": { "name": "weightseal-key" } }] } }));
    volumes.push(json!({ "name": "weightseal-spare", "secret": { "secretName": "weightseal-spare", "defaultMode": 288 } }));
    guarded.patch(&json!({ "spec": { "container": gate, "volumes": volumes } }));
    let guarded = Guarded { gate, volumes, ..guarded };
    // A claim of the gate's own is no model volume, which only readers mount.
    guarded.until(|| guarded.dry(&guarded.pod("good")), |ended| ended.code() == Some(0));

    let words = "uses a Secret or claim that is for the gate alone";
    let key = |name: &str| json!([{ "name": "KEY", "valueFrom": { "secretKeyRef": { "name": name, "key": "key" } } }]);
    for (what, changes) in [
        (
            "the receipts",
            vec![(
                "/spec/containers/1/volumeMounts",
                json!([{ "name": "weightseal-receipts", "mountPath": "/r" }]),
            )],
        ),
        (
            "the key",
            vec![(
                "/spec/containers/1/volumeMounts",
                json!([{ "name": "weightseal-key", "mountPath": "/r", "readOnly": true }]),
            )],
        ),
        (
            "the receipts by another name",
            vec![(
                "/spec/volumes/-",
                json!({ "name": "mine", "persistentVolumeClaim": { "claimName": "weightseal-receipts" } }),
            )],
        ),
        (
            "the key by another name",
            vec![(
                "/spec/volumes/-",
                json!({ "name": "mine", "secret": { "secretName": "weightseal-key" } }),
            )],
        ),
        (
            "the key projected",
            vec![(
                "/spec/volumes/-",
                json!({ "name": "mine", "projected": { "sources": [{ "secret": { "name": "weightseal-spare" } }] } }),
            )],
        ),
        ("the key as a variable", vec![("/spec/containers/1/env", key("weightseal-key"))]),
        (
            "the key as a variable of an init container",
            vec![("/spec/initContainers/1/env", key("weightseal-spare"))],
        ),
        (
            "all keys as variables",
            vec![("/spec/containers/1/envFrom", json!([{ "secretRef": { "name": "weightseal-spare" } }]))],
        ),
    ] {
        let mut pod = guarded.pod("changed");
        for (pointer, value) in changes {
            set(&mut pod, pointer, value);
        }
        let ended = guarded.dry(&pod).expect_code(1);
        assert!(ended.err().contains(words), "{what}: {ended}");
    }
    // In a pod without models as well, and in one that looks as if it had the gate.
    let mut pod = bare("bare");
    pod["spec"]["volumes"] = json!([{ "name": "mine", "secret": { "secretName": "weightseal-spare" } }]);
    assert!(guarded.dry(&pod).expect_code(1).err().contains(words));
    let mut pod = bare("bare");
    pod["spec"]["volumes"] = json!(guarded.volumes);
    pod["spec"]["initContainers"] = json!([{ "name": "weightseal", "image": "registry.example.com/mine",
        "volumeMounts": [{ "name": "weightseal-key", "mountPath": "/r" }] }]);
    assert!(guarded.dry(&pod).expect_code(1).err().contains("differs from ModelGate weightseal in"));
    pod["spec"]["initContainers"] = json!([]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "weightseal-receipts", "mountPath": "/r" }]);
    assert!(guarded.dry(&pod).expect_code(1).err().contains(words));
}

#[test]
fn a_parameter_that_is_no_gate_cannot_be_written() {
    let Some(guarded) = Guarded::shared() else { return };
    let parameter = guarded.cluster.admin().get(&["modelgate", "weightseal"]);
    for (field, value, words) in [
        ("container/image", json!("registry.example.com/weightseal-init:1.0"), "spec.container.image"),
        ("container/restartPolicy", json!("Always"), "has no restartPolicy"),
        ("container/resources/requests", Value::Null, "spec.container.resources.requests: Required value"),
        (
            "container/volumeMounts/0/mountPath",
            json!("/weightseal/models"),
            "below /weightseal is the place of model volumes",
        ),
        ("claims", json!([]), "spec.claims"),
        ("loaders/0", json!("model-loader"), "spec.loaders[0]"),
    ] {
        let mut wrong = parameter.clone();
        set(&mut wrong, &format!("/spec/{field}"), value);
        let args = ["replace", "--dry-run=server", "--filename=-"];
        guarded.cluster.admin().with_input(&args, &parameter.to_string()).expect_code(0);
        let ended = guarded.cluster.admin().with_input(&args, &wrong.to_string()).expect_code(1);
        assert!(ended.err().contains(words), "{field}: {ended}");
    }
}
