//! The guard of model volumes, judged by a real API server: a pod that is admitted, and one thing changed at a time.

use std::{
    path::PathBuf,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    Ended, Missing,
    kubernetes::{Client, ControlPlane},
    or_skip, workspace,
};

/// How long the API server may take to follow a change of its policies; it takes about a second.
const FOLLOWS: Duration = Duration::from_secs(60);

/// An API server with the manifests' policies, a guarded namespace, and a tenant in it.
pub(crate) struct Guarded {
    pub(crate) cluster: ControlPlane,
    /// The gate and its volumes as the API server keeps them: with its defaults.
    pub(crate) gate: Value,
    pub(crate) volumes: Vec<Value>,
}

/// What a tenant may do: much, but nothing that belongs to no namespace.
const TENANT: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: tenant, namespace: inference }
rules:
  - apiGroups: [""]
    resources: [pods, pods/ephemeralcontainers, pods/resize, pods/exec, configmaps, secrets, services, serviceaccounts, persistentvolumeclaims, podtemplates]
    verbs: [get, list, watch, create, update, patch, delete]
  - apiGroups: [apps]
    resources: [deployments]
    verbs: [get, list, watch, create, update, patch, delete]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: tenant, namespace: inference }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: tenant }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: dev }]
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: model-loader, namespace: inference }
automountServiceAccountToken: false
"#;

/// A folder of the manifests.
pub(crate) fn manifests(folder: &str) -> PathBuf {
    workspace().join("init-container/manifests").join(folder)
}

/// Installs the definition of the parameter, the parameter and both policies, as they stand.
pub(crate) fn install(cluster: &ControlPlane) {
    let admin = cluster.admin();
    let definition = manifests("admission/definition.yaml");
    admin.kubectl(&["apply", "--filename", definition.to_str().unwrap()]).expect_code(0);
    let established =
        ["wait", "--for=condition=Established", "customresourcedefinition/modelgates.admission.weightseal"];
    admin.kubectl(&established).expect_code(0);
    admin.kubectl(&["apply", "--kustomize", manifests("admission").to_str().unwrap()]).expect_code(0);
}

impl Guarded {
    /// A new one, with the policies in force.
    pub(crate) fn start() -> Result<Guarded, Missing> {
        Ok(Guarded::on(ControlPlane::start()?))
    }

    /// The same on an API server that knows nothing yet.
    pub(crate) fn on(cluster: ControlPlane) -> Guarded {
        cluster.namespace("inference", &[("weightseal/gate", "enforce")]);
        let admin = cluster.admin();
        admin.apply(TENANT).expect_code(0);
        install(&cluster);
        let spec = admin.get(&["modelgate", "weightseal"])["spec"].take();
        let volumes = spec["volumes"].as_array().unwrap().clone();
        let guarded = Guarded { gate: spec["container"].clone(), cluster, volumes };
        let mut ungated = guarded.pod("ungated");
        ungated["spec"]["initContainers"] = json!([]);
        guarded.until_refused(&ungated, "has no init container weightseal");
        let mut labelled = ungated;
        labelled["metadata"]["labels"] = json!({ "weightseal/inject": "true" });
        guarded.until(|| guarded.dry(&labelled), |ended| ended.code() == Some(0));
        guarded
    }

    /// The one that all tests share which change neither policies nor parameter.
    pub(crate) fn shared() -> Option<&'static Guarded> {
        static SHARED: OnceLock<Result<Guarded, Missing>> = OnceLock::new();
        or_skip(SHARED.get_or_init(Guarded::start).as_ref().map_err(Clone::clone))
    }

    pub(crate) fn dev(&self) -> Client {
        self.cluster.dev()
    }

    /// A pod that is admitted: a server that reads a claim's root and a part of another one, and a sidecar.
    pub(crate) fn pod(&self, name: &str) -> Value {
        let mut gate = self.gate.clone();
        let mounts = gate["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({ "name": "model-cache", "mountPath": "/weightseal/models/model-cache-pvc", "readOnly": true }));
        mounts.push(json!({ "name": "adapters", "mountPath": "/weightseal/models/adapters-pvc/acme/lora",
                            "subPath": "acme/lora", "readOnly": true }));
        let mut volumes = vec![
            json!({ "name": "model-cache", "persistentVolumeClaim": { "claimName": "model-cache-pvc", "readOnly": true } }),
            json!({ "name": "adapters", "persistentVolumeClaim": { "claimName": "adapters-pvc" } }),
            json!({ "name": "work", "emptyDir": {} }),
        ];
        volumes.extend(self.volumes.iter().cloned());
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "inference" },
            "spec": {
                "initContainers": [
                    gate,
                    { "name": "proxy", "image": "registry.example.com/proxy", "restartPolicy": "Always" },
                ],
                "containers": [
                    { "name": "vllm", "image": "registry.example.com/vllm", "volumeMounts": [
                        { "name": "model-cache", "mountPath": "/models/cache", "readOnly": true },
                        { "name": "adapters", "mountPath": "/models/adapters", "subPath": "acme/lora", "readOnly": true },
                        { "name": "work", "mountPath": "/scratch" },
                    ] },
                    { "name": "metrics", "image": "registry.example.com/metrics" },
                ],
                "volumes": volumes,
            },
        })
    }

    /// What the API server would say to the tenant who creates this.
    pub(crate) fn dry(&self, pod: &Value) -> Ended {
        self.dev()
            .with_input(&["create", "--dry-run=server", "--output=json", "--filename=-"], &pod.to_string())
    }

    /// Waits until this is refused in these words.
    pub(crate) fn until_refused(&self, pod: &Value, words: &str) {
        self.until(|| self.dry(pod), |ended| ended.err().contains(words));
    }

    /// Asks again until the answer is the one that is waited for.
    pub(crate) fn until(&self, ask: impl Fn() -> Ended, fits: impl Fn(&Ended) -> bool) {
        let since = Instant::now();
        loop {
            let ended = ask();
            if fits(&ended) {
                return;
            }
            assert!(since.elapsed() < FOLLOWS, "the API server does not follow\n{ended}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Sets a value in a document: `-` at a pointer's end adds to a list, and null takes away.
pub(crate) fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let at = document.pointer_mut(parent).unwrap_or_else(|| panic!("nothing is at {parent}"));
    match (at, value) {
        (Value::Array(list), value) if last == "-" => list.push(value),
        (Value::Array(list), Value::Null) => drop(list.remove(last.parse().unwrap())),
        (Value::Array(list), value) => list[last.parse::<usize>().unwrap()] = value,
        (Value::Object(map), Value::Null) => drop(map.remove(last).unwrap()),
        (Value::Object(map), value) => drop(map.insert(last.to_owned(), value)),
        (other, _) => panic!("{other} is no list and no object"),
    }
}

/// One change of the good pod, in one or more places, and words of the refusal.
pub(crate) type Case = (&'static str, Vec<(&'static str, Value)>, &'static str);

/// Asserts that each change alone is refused in its words.
pub(crate) fn assert_refused(guarded: &Guarded, cases: Vec<Case>) {
    assert_eq!(guarded.dry(&guarded.pod("good")).expect_code(0).err(), "");
    let mut wrong = Vec::new();
    for (what, changes, words) in cases {
        let mut pod = guarded.pod("changed");
        for (pointer, value) in changes {
            set(&mut pod, pointer, value);
        }
        let ended = guarded.dry(&pod);
        let refused = ended.code() == Some(1)
            && ended.err().contains(
                "ValidatingAdmissionPolicy 'weightseal-guard' with binding 'weightseal-guard' denied",
            )
            && ended.err().contains(words);
        if !refused {
            wrong.push(format!("{what}: expected to be refused with {words:?}\n{ended}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pod_without_the_gate_in_its_place_is_refused() {
    let Some(guarded) = Guarded::shared() else { return };
    let gate = guarded.pod("good")["spec"]["initContainers"][0].clone();
    let first = json!({ "name": "first", "image": "registry.example.com/first" });
    assert_refused(
        guarded,
        vec![
            (
                "no gate",
                vec![("/spec/initContainers/0", Value::Null)],
                "container vllm mounts a model volume and the pod has no init container weightseal: label the pod",
            ),
            (
                "second place",
                vec![("/spec/initContainers/0", first.clone()), ("/spec/initContainers/-", gate.clone())],
                "init container weightseal is not the first: move it to initContainers[0]",
            ),
            (
                "among the containers",
                vec![("/spec/initContainers", json!([])), ("/spec/containers/-", gate.clone())],
                "mounts a model volume and the pod has no init container weightseal",
            ),
            (
                "a server that calls itself the gate",
                vec![
                    ("/spec/containers", json!([first])),
                    (
                        "/spec/initContainers/0",
                        json!({ "name": "weightseal", "image": "registry.example.com/vllm",
                "restartPolicy": "Always", "volumeMounts": [{ "name": "model-cache", "mountPath": "/models" }] }),
                    ),
                ],
                "init container weightseal differs from ModelGate weightseal in",
            ),
            (
                "a server that calls itself the gate, in second place",
                vec![
                    ("/spec/containers", json!([first])),
                    (
                        "/spec/initContainers",
                        json!([first_of("other"), { "name": "weightseal", "image": "registry.example.com/vllm",
                "restartPolicy": "Always", "volumeMounts": [{ "name": "model-cache", "mountPath": "/models", "readOnly": true }] }]),
                    ),
                ],
                "init container weightseal is not the first",
            ),
        ],
    );
}

fn first_of(name: &str) -> Value {
    json!({ "name": name, "image": "registry.example.com/first" })
}

#[test]
fn other_ways_to_the_data_and_to_the_gate_are_closed() {
    let Some(guarded) = Guarded::shared() else { return };
    let volume = |value: Value| vec![("/spec/volumes/-", value)];
    let kind = "volume more is of a kind that reaches data past the gate";
    let template = json!({ "name": "more", "ephemeral": { "volumeClaimTemplate": { "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } } } });
    assert_refused(
        guarded,
        vec![
            ("hostPath", volume(json!({ "name": "more", "hostPath": { "path": "/var/lib/kubelet" } })), kind),
            ("nfs", volume(json!({ "name": "more", "nfs": { "server": "store", "path": "/models" } })), kind),
            ("csi", volume(json!({ "name": "more", "csi": { "driver": "nfs.csi.k8s.io" } })), kind),
            (
                "iscsi",
                volume(
                    json!({ "name": "more", "iscsi": { "targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:a", "lun": 0 } }),
                ),
                kind,
            ),
            // The claim is called changed-more, as a claim of models may be.
            ("ephemeral", volume(template.clone()), kind),
            (
                "a shared process namespace",
                vec![("/spec/shareProcessNamespace", json!(true))],
                "shareProcessNamespace lets other containers into",
            ),
            (
                "the processes of the node",
                vec![("/spec/hostPID", json!(true))],
                "hostPID reaches the gates of other pods",
            ),
            (
                "privileged",
                vec![("/spec/containers/1/securityContext", json!({ "privileged": true }))],
                "container metrics is privileged or adds capabilities",
            ),
            (
                "a capability",
                vec![(
                    "/spec/containers/1/securityContext",
                    json!({ "capabilities": { "add": ["SYS_ADMIN"] } }),
                )],
                "container metrics is privileged or adds capabilities",
            ),
            (
                "the policy's ConfigMap swapped",
                vec![("/spec/volumes/3/configMap/name", json!("mine"))],
                "volume weightseal-policy is missing or differs from ModelGate weightseal",
            ),
            (
                "the policy's ConfigMap swapped for a folder",
                vec![("/spec/volumes/3", json!({ "name": "weightseal-policy", "emptyDir": {} }))],
                "volume weightseal-policy is missing or differs",
            ),
            (
                "a key of the ConfigMap swapped",
                vec![("/spec/volumes/3/configMap/items", json!([{ "key": "other", "path": "policy.yaml" }]))],
                "volume weightseal-policy is missing or differs",
            ),
        ],
    );
    // None of these needs a model volume to be refused.
    for (what, change, words) in [
        ("hostPath", ("/spec/volumes", json!([{ "name": "more", "hostPath": { "path": "/" } }])), kind),
        ("ephemeral", ("/spec/volumes", json!([template])), kind),
        (
            "the processes of the node",
            ("/spec/hostPID", json!(true)),
            "hostPID reaches the gates of other pods",
        ),
    ] {
        let mut pod = bare("plain");
        guarded.dry(&pod).expect_code(0);
        set(&mut pod, change.0, change.1);
        let ended = guarded.dry(&pod).expect_code(1);
        assert!(ended.err().contains(words), "{what}: {ended}");
    }
}

/// A pod that has nothing to do with models.
pub(crate) fn bare(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "inference" },
        "spec": { "containers": [{ "name": "one", "image": "registry.example.com/one" }] },
    })
}

#[test]
fn a_pod_without_a_model_volume_needs_no_gate_and_one_whose_volumes_are_wholly_checked_may_read_parts() {
    let Some(guarded) = Guarded::shared() else { return };
    let mut pod = bare("plain");
    pod["spec"]["volumes"] = json!([
        { "name": "a", "emptyDir": {} }, { "name": "b", "configMap": { "name": "b" } }, { "name": "c", "secret": { "secretName": "c" } },
    ]);
    guarded.dry(&pod).expect_code(0);

    let mut parts = guarded.pod("parts");
    set(&mut parts, "/spec/containers/0/volumeMounts/0/subPath", json!("llama"));
    set(
        &mut parts,
        "/spec/containers/1/volumeMounts",
        json!([
            { "name": "model-cache", "mountPath": "/other", "subPath": "other/model", "readOnly": true },
        ]),
    );
    guarded.dry(&parts).expect_code(0);
}
