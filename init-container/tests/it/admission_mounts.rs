//! Mounts of the gate and of those who read model volumes, changed one at a time.

use serde_json::{Value, json};

use crate::admission::{Guarded, assert_refused, set};

#[test]
fn mounts_of_the_gate_are_those_of_the_parameter_and_of_the_pods_model_volumes() {
    let Some(guarded) = Guarded::shared() else { return };
    let mount = |value: Value| vec![("/spec/initContainers/0/volumeMounts/-", value)];
    assert_refused(
        guarded,
        vec![
            (
                "the policy is not mounted",
                vec![("/spec/initContainers/0/volumeMounts/0", Value::Null)],
                "init container weightseal lacks the mount at /etc/weightseal as ModelGate weightseal has it",
            ),
            (
                "the policy is mounted elsewhere",
                vec![("/spec/initContainers/0/volumeMounts/0/mountPath", json!("/etc/other"))],
                "lacks the mount at /etc/weightseal",
            ),
            (
                "another policy over it",
                mount(json!({ "name": "work", "mountPath": "/etc/weightseal/policy.yaml" })),
                "has a mount of its own at /etc/weightseal/policy.yaml",
            ),
            (
                "a volume over a model",
                mount(json!({ "name": "work", "mountPath": "/weightseal/models/model-cache-pvc/llama" })),
                "has a mount of its own at /weightseal/models/model-cache-pvc/llama: only model volumes",
            ),
            (
                "over the program",
                mount(json!({ "name": "work", "mountPath": "/weightseal-init", "subPath": "x" })),
                "has a mount of its own at /weightseal-init",
            ),
            (
                "a model volume at a strange place",
                mount(
                    json!({ "name": "model-cache", "mountPath": "/weightseal/models/else", "readOnly": true }),
                ),
                "has a mount of its own at /weightseal/models/else",
            ),
            (
                "one claim in the place of another",
                vec![("/spec/initContainers/0/volumeMounts/1/name", json!("adapters"))],
                "has a mount of its own at /weightseal/models/model-cache-pvc",
            ),
            (
                "a part in the place of the whole",
                vec![("/spec/initContainers/0/volumeMounts/1/subPath", json!("good"))],
                "has a mount of its own at /weightseal/models/model-cache-pvc",
            ),
            (
                "another part",
                vec![("/spec/initContainers/0/volumeMounts/2/subPath", json!("acme/other"))],
                "has a mount of its own at /weightseal/models/adapters-pvc/acme/lora",
            ),
            (
                "by an expression",
                vec![
                    ("/spec/initContainers/0/volumeMounts/2/subPath", Value::Null),
                    ("/spec/initContainers/0/volumeMounts/2/subPathExpr", json!("acme/lora")),
                ],
                "has a mount of its own at /weightseal/models/adapters-pvc/acme/lora",
            ),
            (
                "the gate could write",
                vec![("/spec/initContainers/0/volumeMounts/1/readOnly", json!(false))],
                "has a mount of its own at /weightseal/models/model-cache-pvc",
            ),
            (
                "what is mounted on the node later",
                vec![("/spec/initContainers/0/volumeMounts/1/mountPropagation", json!("HostToContainer"))],
                "has a mount of its own at /weightseal/models/model-cache-pvc",
            ),
            (
                "a token that is none",
                mount(
                    json!({ "name": "weightseal-policy", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }),
                ),
                "has a mount of its own at /var/run/secrets/kubernetes.io/serviceaccount",
            ),
            (
                "a part over what is mounted",
                mount(
                    json!({ "name": "model-cache", "mountPath": "/weightseal/models/model-cache-pvc/link/llama",
                              "subPath": "link/llama", "readOnly": true }),
                ),
                "init container weightseal has a mount in another of its mounts, at \
                 /weightseal/models/model-cache-pvc/link/llama: leave it out",
            ),
            (
                "a part over a part",
                mount(
                    json!({ "name": "adapters", "mountPath": "/weightseal/models/adapters-pvc/acme/lora/link",
                              "subPath": "acme/lora/link", "readOnly": true }),
                ),
                "has a mount in another of its mounts, at /weightseal/models/adapters-pvc/acme/lora/link",
            ),
            (
                "a claim that looks like a part of another",
                vec![(
                    "/spec/volumes/-",
                    json!({ "name": "more", "persistentVolumeClaim": { "claimName": "model-cache-pvc/llama" } }),
                )],
                "volume more is of a claim whose name no claim can have",
            ),
            (
                "a claim by dots",
                vec![(
                    "/spec/volumes/-",
                    json!({ "name": "more", "persistentVolumeClaim": { "claimName": ".." } }),
                )],
                "volume more is of a claim whose name no claim can have",
            ),
            (
                "a volume is not mounted by the gate",
                vec![("/spec/initContainers/0/volumeMounts/1", Value::Null)],
                "container vllm mounts volume model-cache, which the gate does not mount: give init container weightseal the same \
             read-only at /weightseal/models/model-cache-pvc",
            ),
            (
                "a part of a volume is not mounted by the gate",
                vec![("/spec/initContainers/0/volumeMounts/2", Value::Null)],
                "container vllm mounts subPath acme/lora of volume adapters, which the gate does not mount",
            ),
            (
                "the server reads another part",
                vec![("/spec/containers/0/volumeMounts/1/subPath", json!("acme/other"))],
                "container vllm mounts subPath acme/other of volume adapters, which the gate does not mount",
            ),
            (
                "the server reads the whole of what was checked in part",
                vec![("/spec/containers/0/volumeMounts/1/subPath", Value::Null)],
                "container vllm mounts volume adapters, which the gate does not mount",
            ),
            (
                "a sidecar reads another part",
                vec![(
                    "/spec/initContainers/1/volumeMounts",
                    json!([{ "name": "adapters", "mountPath": "/a", "readOnly": true, "subPath": "b" }]),
                )],
                "container proxy mounts subPath b of volume adapters",
            ),
            (
                "a second volume of another claim",
                vec![
                    (
                        "/spec/volumes/-",
                        json!({ "name": "third", "persistentVolumeClaim": { "claimName": "third" } }),
                    ),
                    (
                        "/spec/containers/1/volumeMounts",
                        json!([{ "name": "third", "mountPath": "/m", "readOnly": true }]),
                    ),
                ],
                "container metrics mounts volume third, which the gate does not mount",
            ),
        ],
    );
}

#[test]
fn whoever_reads_model_volumes_reads_them_only_and_as_they_are() {
    let Some(guarded) = Guarded::shared() else { return };
    let work = |path: &str| vec![("/spec/containers/0/volumeMounts/2/mountPath", json!(path))];
    let hides =
        ", which is in another mount: in containers with a model volume, give each mount a path apart";
    let links = ", where links may lead into a model volume: take a path that is not below /proc";
    let message = |path: &str| vec![("/spec/containers/0/terminationMessagePath", json!(path))];
    // A second mount of the folder that the server may write.
    let inner = |path: &str| {
        vec![(
            "/spec/containers/0/volumeMounts/-",
            json!({ "name": "work", "mountPath": path, "subPath": "x" }),
        )]
    };
    assert_refused(
        guarded,
        vec![
            (
                "the server can write",
                vec![("/spec/containers/0/volumeMounts/0/readOnly", Value::Null)],
                "container vllm can write volume model-cache: set readOnly: true on its mount at /models/cache",
            ),
            (
                "a sidecar can write",
                vec![(
                    "/spec/initContainers/1/volumeMounts",
                    json!([{ "name": "model-cache", "mountPath": "/m" }]),
                )],
                "container proxy can write volume model-cache",
            ),
            (
                "another container can write",
                vec![(
                    "/spec/containers/1/volumeMounts",
                    json!([{ "name": "model-cache", "mountPath": "/m" }]),
                )],
                "container metrics can write volume model-cache",
            ),
            (
                "an expression",
                vec![
                    ("/spec/containers/0/volumeMounts/1/subPath", Value::Null),
                    ("/spec/containers/0/volumeMounts/1/subPathExpr", json!("acme/lora")),
                ],
                "which the gate does not mount",
            ),
            (
                "an expression over the root",
                vec![("/spec/containers/0/volumeMounts/0/subPathExpr", json!("llama"))],
                "container vllm mounts volume model-cache with subPathExpr, mountPropagation or a subPath",
            ),
            (
                "what is mounted on the node later",
                vec![("/spec/containers/0/volumeMounts/0/mountPropagation", json!("HostToContainer"))],
                "with subPathExpr, mountPropagation or a subPath",
            ),
            (
                "a part with a dot",
                vec![("/spec/containers/0/volumeMounts/0/subPath", json!("a/./b"))],
                "with subPathExpr, mountPropagation or a subPath",
            ),
            (
                "a part with a slash more",
                vec![("/spec/containers/0/volumeMounts/0/subPath", json!("a//b"))],
                "with subPathExpr, mountPropagation or a subPath",
            ),
            ("below a model path", work("/models/cache/llama"), hides),
            ("far below a model path", work("/models/cache/hub/models--a--b/refs"), hides),
            ("below the other", work("/models/adapters/config.json"), hides),
            (
                "a ConfigMap below",
                vec![(
                    "/spec/containers/0/volumeMounts/-",
                    json!({ "name": "weightseal-policy", "mountPath": "/models/cache/x" }),
                )],
                hides,
            ),
            (
                "a model below a model",
                vec![("/spec/containers/0/volumeMounts/1/mountPath", json!("/models/cache/llama"))],
                hides,
            ),
            // A link in the volume above leads over a model: an init container has put it there.
            ("below an emptyDir", inner("/scratch/link/llama"), hides),
            ("far below an emptyDir", inner("/scratch/a/b/c/link/llama"), hides),
            (
                "a ConfigMap below an emptyDir",
                vec![(
                    "/spec/containers/0/volumeMounts/-",
                    json!({ "name": "weightseal-policy", "mountPath": "/scratch/link/config.json" }),
                )],
                hides,
            ),
            (
                "below an emptyDir in a sidecar",
                vec![(
                    "/spec/initContainers/1/volumeMounts",
                    json!([
                        { "name": "model-cache", "mountPath": "/m", "readOnly": true },
                        { "name": "work", "mountPath": "/tmp" },
                        { "name": "work", "mountPath": "/tmp/link/llama", "subPath": "x" },
                    ]),
                )],
                hides,
            ),
            (
                "the message for the kubelet below an emptyDir",
                message("/scratch/link/llama/config.json"),
                hides,
            ),
            ("over the message for the kubelet", work("/dev"), hides),
            (
                "a cloud's token by a link of /run",
                vec![
                    ("/spec/containers/0/volumeMounts/2/mountPath", json!("/run")),
                    (
                        "/spec/containers/0/volumeMounts/-",
                        json!({ "name": "work", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount" }),
                    ),
                ],
                hides,
            ),
            (
                "the service account's token by a link of /run",
                vec![
                    ("/spec/containers/0/volumeMounts/2/mountPath", json!("/run")),
                    (
                        "/spec/containers/0/volumeMounts/-",
                        json!({ "name": "work", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }),
                    ),
                ],
                hides,
            ),
            // Links that are there in every container.
            ("by the root of the process", work("/proc/self/root/models/cache/llama"), links),
            ("over the process itself", work("/proc"), links),
            ("by an open file", work("/dev/fd/3/llama"), links),
            ("by the device's folder", work("/sys/dev"), links),
            (
                "by the link of /var/run",
                vec![
                    ("/spec/containers/0/volumeMounts/0/mountPath", json!("/run/models")),
                    ("/spec/containers/0/volumeMounts/2/mountPath", json!("/var/run/models/llama")),
                ],
                links,
            ),
            ("by the link of /var/lock", work("/var/lock/models"), links),
            ("at the token that goes by /var/run", work("/run/secrets/kubernetes.io/serviceaccount"), links),
            ("the message for the kubelet by the root", message("/proc/self/root/models/cache/a"), links),
            (
                "the message for the kubelet at the token",
                message("/var/run/secrets/kubernetes.io/serviceaccount"),
                links,
            ),
            // Who can write the volume above removes the folder that the model is mounted on, and the mount with it.
            ("above a model path", work("/models"), hides),
            (
                "above a model path, and read-only",
                vec![(
                    "/spec/containers/0/volumeMounts/-",
                    json!({ "name": "weightseal-policy", "mountPath": "/models" }),
                )],
                hides,
            ),
            (
                "at a model path",
                work("/models/cache/"),
                "container vllm mounts something at /models/cache/: write the path",
            ),
            (
                "by two slashes",
                work("/models//cache/llama"),
                "container vllm mounts something at /models//cache/llama",
            ),
            ("by a dot", work("/models/./cache/llama"), "mounts something at /models/./cache/llama"),
            // Two dots are refused by the API server itself in some versions; nothing else may let them through.
            (
                "from the working directory",
                work("models/cache/llama"),
                "mounts something at models/cache/llama",
            ),
            (
                "a model at a crooked path",
                vec![("/spec/containers/0/volumeMounts/0/mountPath", json!("/models/./cache"))],
                "mounts something at /models/./cache",
            ),
            (
                "the message for the kubelet over a model's file",
                vec![("/spec/containers/0/terminationMessagePath", json!("/models/cache/llama/config.json"))],
                "container vllm mounts something at /models/cache/llama/config.json, which is in another mount",
            ),
            (
                "the message for the kubelet over a model",
                vec![("/spec/containers/0/terminationMessagePath", json!("/models/cache"))],
                hides,
            ),
            (
                "the message for the kubelet by a detour",
                vec![("/spec/containers/0/terminationMessagePath", json!("/models/../models/cache/a"))],
                "mounts something at /models/../models/cache/a",
            ),
            (
                "a device over a model's file",
                vec![
                    (
                        "/spec/volumes/-",
                        json!({ "name": "disk", "persistentVolumeClaim": { "claimName": "disk" } }),
                    ),
                    (
                        "/spec/containers/0/volumeDevices",
                        json!([{ "name": "disk", "devicePath": "/models/cache/llama/a.bin" }]),
                    ),
                ],
                "container vllm has volumeDevices beside or of a model volume",
            ),
            (
                "a model claim as a device",
                vec![
                    (
                        "/spec/volumes/-",
                        json!({ "name": "disk", "persistentVolumeClaim": { "claimName": "disk" } }),
                    ),
                    (
                        "/spec/containers/1/volumeDevices",
                        json!([{ "name": "disk", "devicePath": "/dev/disk" }]),
                    ),
                ],
                "container metrics has volumeDevices beside or of a model volume",
            ),
        ],
    );
    // Exactly there, the API server itself takes no second one, whoever asks.
    let mut twice = guarded.pod("twice");
    set(&mut twice, "/spec/containers/0/volumeMounts/2/mountPath", json!("/models/cache"));
    let ended = guarded.dry(&twice).expect_code(1);
    assert!(ended.err().contains("must be unique"), "{ended}");
}

#[test]
fn mounts_apart_from_each_other_pass_and_so_does_the_service_accounts_token() {
    let Some(guarded) = Guarded::shared() else { return };
    let mut pod = guarded.pod("apart");
    let mounts = pod.pointer_mut("/spec/containers/0/volumeMounts").unwrap().as_array_mut().unwrap();
    for (number, path) in [
        "/dev/shm",
        "/tmp",
        "/run/vllm",
        "/var/runs",
        "/process",
        "/worker",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/var/run/secrets/eks.amazonaws.com/serviceaccount",
    ]
    .into_iter()
    .enumerate()
    {
        mounts.push(json!({ "name": "work", "mountPath": path, "subPath": number.to_string() }));
    }
    guarded.dry(&pod).expect_code(0);
    // Whoever reads no model mounts what they like.
    pod["spec"]["containers"][1]["volumeMounts"] = json!([
        { "name": "work", "mountPath": "/tmp" }, { "name": "work", "mountPath": "/tmp/inner" },
        { "name": "work", "mountPath": "/var/run/proxy" },
    ]);
    guarded.dry(&pod).expect_code(0);
}
