//! The manifests as they stand: valid, admitted by a real API server under their own policies, and the chart the same.

use std::{process::Command, sync::OnceLock};

use serde_json::{Deserializer, Value, json};
use testkit::{
    Ended, Missing, capture,
    digest::sha256_file,
    kubernetes::{ControlPlane, Schemas},
    or_skip, workspace,
};
use weightseal::PolicyFile;

use crate::admission::{Guarded, manifests};

/// Folders that kustomize builds. Those of overlays come after what they change.
const BUILT: [&str; 8] = [
    "base",
    "admission",
    "loader",
    "overlays/pull",
    "overlays/receipts",
    "overlays/watch",
    "overlays/warn",
    "ray",
];

/// Files that stand alone, besides the definition, which the API server describes to nobody and validates itself.
const FILES: [&str; 3] = ["pod.yaml", "pod-injected.yaml", "base/secret.yaml"];

/// An API server that knows KServe and KubeRay, with the policies and the base in it.
fn platform() -> Option<&'static Guarded> {
    static PLATFORM: OnceLock<Result<Guarded, Missing>> = OnceLock::new();
    let started = || {
        let guarded = Guarded::start()?;
        guarded.cluster.install_definitions()?;
        apply(&guarded, "base", &[]).expect_code(0);
        Ok(guarded)
    };
    or_skip(PLATFORM.get_or_init(started).as_ref().map_err(Clone::clone))
}

fn apply(guarded: &Guarded, folder: &str, more: &[&str]) -> Ended {
    let path = manifests(folder);
    let args = [&["apply", "--kustomize", path.to_str().unwrap()], more].concat();
    guarded.cluster.admin().kubectl(&args)
}

/// What kustomize makes of a folder.
pub(crate) fn built(cluster: &ControlPlane, folder: &str) -> String {
    cluster.admin().kubectl(&["kustomize", manifests(folder).to_str().unwrap()]).expect_code(0).out()
}

/// YAML documents as JSON.
pub(crate) fn documents(cluster: &ControlPlane, yaml: &str) -> Vec<Value> {
    let args = ["create", "--dry-run=client", "--validate=false", "--output=json", "--filename=-"];
    let ended = cluster.admin().with_input(&args, yaml).expect_code(0);
    let mut documents: Vec<Value> =
        Deserializer::from_slice(&ended.stdout).into_iter().map(Result::unwrap).collect();
    documents
        .sort_by_key(|document| (document["kind"].to_string(), document["metadata"]["name"].to_string()));
    documents
}

/// The pod that a template makes.
fn pod(template: &Value, name: &str) -> Value {
    let mut pod = template.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!("inference");
    pod
}

pub(crate) fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    documents.iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
}

/// The pod of the Deployment among these.
pub(crate) fn server(documents: &[Value]) -> Value {
    pod(&find(documents, "Deployment", "vllm").unwrap()["spec"]["template"], "vllm")
}

/// Every value of this field, wherever it is.
fn every<'a>(value: &'a Value, field: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| every(value, field, found)),
        Value::Object(map) => {
            found.extend(map.get(field));
            map.values().for_each(|value| every(value, field, found));
        }
        _ => {}
    }
}

fn chart(cluster: &ControlPlane, args: &[&str]) -> Ended {
    let mut helm: Command = cluster.helm();
    helm.args(args).arg(workspace().join("init-container/chart"));
    capture(&mut helm).unwrap()
}

fn rendered(cluster: &ControlPlane, values: &[&str]) -> String {
    chart(cluster, &[&["template", "release", "--namespace=inference"], values].concat()).expect_code(0).out()
}

#[test]
fn every_manifest_is_as_its_kind_wants_it() {
    let Some(guarded) = platform() else { return };
    let schemas = Schemas::of(&guarded.cluster);
    let check = |what: &str, yaml: &str| {
        let ended = schemas.check(yaml).expect_code(0);
        assert!(ended.out().contains("Invalid: 0, Errors: 0, Skipped: 0"), "{what}: {ended}");
        assert!(!ended.out().contains("Valid: 0"), "{what}: {ended}");
    };
    for folder in BUILT.iter().chain(&["kserve"]) {
        check(folder, &built(&guarded.cluster, folder));
    }
    for file in FILES {
        check(file, &std::fs::read_to_string(manifests(file)).unwrap());
    }
    check("chart", &rendered(&guarded.cluster, &[]));
    check("chart", &rendered(&guarded.cluster, &["--set=gate.inject=true,model.storageClass=fast"]));
    // One field more, and it is not.
    let more = built(&guarded.cluster, "base").replacen("  replicas: 1", "  replicas: 1\n  replica: 1", 1);
    assert!(schemas.check(&more).expect_code(1).out().contains("replica"));
}

#[test]
fn every_folder_is_taken_by_the_api_server_as_it_stands_and_its_pods_are_admitted() {
    let Some(guarded) = platform() else { return };
    for folder in BUILT.iter().chain(&["kserve"]) {
        let ended = apply(guarded, folder, &["--dry-run=server"]).expect_code(0);
        // No warning: neither of Pod Security, nor of fields.
        assert_eq!(ended.err(), "", "{folder}");
    }
    for file in ["pod.yaml", "pod-injected.yaml"] {
        let file = manifests(file);
        let ended =
            guarded.dev().kubectl(&["create", "--dry-run=server", "--filename", file.to_str().unwrap()]);
        assert_eq!(ended.expect_code(0).err(), "");
    }
    let cluster = &guarded.cluster;
    for folder in ["base", "overlays/pull", "overlays/watch"] {
        guarded.dry(&server(&documents(cluster, &built(cluster, folder)))).expect_code(0);
    }
    let inject = rendered(cluster, &["--set=gate.inject=true"]);
    let admitted = guarded.dry(&server(&documents(cluster, &inject))).expect_code(0);
    let admitted: Value = serde_json::from_slice(&admitted.stdout).unwrap();
    assert_eq!(admitted["spec"]["initContainers"][0]["name"], "weightseal");
    // The loader is for those who may use its account.
    let loader = documents(cluster, &built(cluster, "loader"));
    let loader = find(&loader, "Pod", "model-loader").unwrap();
    guarded.cluster.admin().apply(&loader.to_string()).expect_code(0);
    let refused = guarded.dry(&pod(loader, "another")).expect_code(1);
    assert!(refused.err().contains("has no init container weightseal"), "{refused}");

    // Ray's pods are made of these templates.
    let ray = documents(cluster, &built(cluster, "ray"));
    let ray = &find(&ray, "RayService", "llama-3").unwrap()["spec"]["rayClusterConfig"];
    guarded.dry(&pod(&ray["headGroupSpec"]["template"], "head")).expect_code(0);
    let mut worker = pod(&ray["workerGroupSpecs"][0]["template"], "worker");
    let ended = guarded.dry(&worker).expect_code(0);
    let gated: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(gated["spec"]["initContainers"][0]["name"], "weightseal");
    worker["metadata"]["labels"] = json!({});
    guarded.dry(&worker).expect_code(1);
}

#[test]
fn overlays_that_change_the_gate_change_the_parameter_with_it() {
    let Some(guarded) = or_skip(Guarded::start()) else { return };
    let cluster = &guarded.cluster;
    apply(&guarded, "base", &[]).expect_code(0);
    let base = server(&documents(cluster, &built(cluster, "base")));
    guarded.until(|| guarded.dry(&base), |ended| ended.code() == Some(0));
    for folder in ["overlays/receipts", "overlays/warn"] {
        apply(&guarded, folder, &[]).expect_code(0);
        guarded.until_refused(&base, "init container weightseal differs from ModelGate weightseal in args");
        guarded.dry(&server(&documents(cluster, &built(cluster, folder)))).expect_code(0);
    }
    apply(&guarded, "admission", &[]).expect_code(0);
    guarded.until(|| guarded.dry(&base), |ended| ended.code() == Some(0));
}

#[test]
fn each_digest_of_a_policy_is_its_files_and_each_policy_trusts_nothing_outside_of_itself() {
    let Some(guarded) = platform() else { return };
    let cluster = &guarded.cluster;
    let [base, warn] = ["base", "overlays/warn"].map(|folder| {
        let file = manifests(folder).join("policy.yaml");
        PolicyFile::read(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("file:"), "{folder}");
        sha256_file(&file).unwrap()
    });
    assert_ne!(base, warn);
    for folder in BUILT.iter().chain(&["kserve"]) {
        let digest = if *folder == "overlays/warn" { &warn } else { &base };
        let yaml = built(cluster, folder);
        let named: Vec<_> = yaml.split("--policy-sha256=").skip(1).map(|rest| &rest[..64]).collect();
        assert!(named.iter().all(|named| *named == digest), "{folder}: {named:?}");
        assert_eq!(named.is_empty(), ["ray", "kserve"].contains(folder), "{folder}");
    }
    assert!(
        built(cluster, "kserve").contains(&format!("name: WEIGHTSEAL_POLICY_SHA256\n      value: {base}"))
    );
    for file in ["pod.yaml", "admission/parameter.yaml", "loader/loader.yaml", "overlays/watch/watch.yaml"] {
        assert!(
            std::fs::read_to_string(manifests(file)).unwrap().contains(&format!("--policy-sha256={base}")),
            "{file}"
        );
    }
}

#[test]
fn images_are_named_by_digest_and_tokens_by_variables_of_what_pulls() {
    let Some(guarded) = platform() else { return };
    for folder in BUILT {
        let documents = documents(&guarded.cluster, &built(&guarded.cluster, folder));
        for document in documents.iter().filter(|document| document["kind"] != "CustomResourceDefinition") {
            let mut images = Vec::new();
            every(document, "image", &mut images);
            for image in images.into_iter().filter_map(Value::as_str) {
                assert!(image.contains("@sha256:"), "{folder}: {image}");
            }
            let mut variables = Vec::new();
            every(document, "env", &mut variables);
            for variable in variables.into_iter().filter_map(Value::as_array).flatten() {
                let name = variable["name"].as_str().unwrap();
                let secret = variable.pointer("/valueFrom/secretKeyRef/name");
                assert_eq!(
                    name.contains("TOKEN"),
                    secret.is_some_and(|secret| secret == "hf-token"),
                    "{folder}: {variable}"
                );
            }
            // No token of a service account in any pod.
            let mut accounts = Vec::new();
            every(document, "automountServiceAccountToken", &mut accounts);
            assert!(accounts.into_iter().all(|automount| automount == false), "{folder}");
        }
    }
}

#[test]
fn the_chart_is_the_base_by_values() {
    let Some(guarded) = platform() else { return };
    let cluster = &guarded.cluster;
    let lint = chart(cluster, &["lint", "--strict"]).expect_code(0);
    assert!(lint.out().contains("0 chart(s) failed"), "{lint}");
    let whole = rendered(cluster, &["--set=namespace.create=true"]);
    assert_eq!(documents(cluster, &whole), documents(cluster, &built(cluster, "base")));
    let with_token = documents(cluster, &rendered(cluster, &["--set=token.value=it"]));
    assert_eq!(find(&with_token, "Secret", "hf-token").unwrap()["stringData"]["token"], "it");

    let other = rendered(cluster, &["--set=model.claim=other,quota.create=false"]);
    assert!(
        other.contains("mountPath: \"/weightseal/models/other\",") && other.contains("claimName: \"other\","),
        "{other}"
    );
    let kinds: Vec<_> = documents(cluster, &other).iter().map(|document| document["kind"].clone()).collect();
    for kind in ["Namespace", "ResourceQuota", "LimitRange", "Secret"] {
        assert!(!kinds.contains(&json!(kind)), "{kind}");
    }
    for (value, words) in [
        ("gate.image=registry.example.com/weightseal-init:1.0", "gate/image"),
        // What follows would be a comment.
        (
            "gate.image=evil:1 #@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "gate/image",
        ),
        ("gate.mode=warn", "gate"),
        ("model.mountPath=/tmp", "model/mountPath"),
        ("model.mountPath=/proc/self/root", "model/mountPath"),
        ("model.mountPath=models", "model/mountPath"),
        ("server.replicas=many", "server/replicas"),
    ] {
        let ended = chart(cluster, &["template", "release", &format!("--set={value}")]).expect_code(1);
        assert!(
            ended.err().contains("values don't meet the specifications") && ended.err().contains(words),
            "{ended}"
        );
    }
}

#[test]
fn the_chart_is_installed_into_a_namespace_of_its_own() {
    let Some(guarded) = platform() else { return };
    let cluster = &guarded.cluster;
    let refused = chart(cluster, &["template", "release"]).expect_code(1);
    assert!(refused.err().contains("give it one of its own with --namespace"), "{refused}");
    cluster.namespace("released", &[("weightseal/gate", "enforce")]);
    chart(cluster, &["install", "release", "--namespace=released"]).expect_code(0);
    let deployed = cluster.admin().get(&["deployment", "vllm", "--namespace=released"]);
    assert_eq!(deployed["spec"]["template"]["spec"]["initContainers"][0]["name"], "weightseal");
    let uninstall = ["uninstall", "release", "--namespace=released"];
    capture(cluster.helm().args(uninstall)).unwrap().expect_code(0);
}

#[test]
fn pods_are_held_to_the_restricted_standard() {
    let Some(guarded) = platform() else { return };
    let run = ["run", "root", "--image=registry.example.com/x", "--privileged", "--dry-run=server"];
    let ended = guarded.dev().kubectl(&[&run[..], &["--namespace=inference"]].concat()).expect_code(1);
    assert!(ended.err().contains("violates PodSecurity \"restricted:latest\""), "{ended}");
}

#[test]
fn who_deploys_may_do_that_and_no_more() {
    let Some(guarded) = platform() else { return };
    let may = |verb: &str, what: &str| {
        let somebody = ["--namespace=inference", "--as=somebody", "--as-group=developers"];
        let ended = guarded.cluster.admin().kubectl(
            &[&["auth", "can-i", verb], &what.split(' ').collect::<Vec<_>>()[..], &somebody].concat(),
        );
        ended.out().trim() == "yes"
    };
    for (verb, what) in [
        ("create", "pods"),
        ("create", "deployments.apps"),
        ("patch", "pods --subresource=ephemeralcontainers"),
        ("get", "pods --subresource=log"),
    ] {
        assert!(may(verb, what), "{verb} {what}");
    }
    for (verb, what) in [
        ("get", "secrets"),
        ("create", "secrets"),
        ("patch", "configmaps"),
        ("create", "configmaps"),
        ("delete", "persistentvolumeclaims"),
        ("create", "pods --subresource=exec"),
        ("use", "serviceaccounts/model-loader"),
        ("create", "serviceaccounts --subresource=token"),
        ("create", "networkpolicies.networking.k8s.io"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("patch", "namespaces"),
        ("patch", "modelgates.admission.weightseal"),
        ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io"),
    ] {
        assert!(!may(verb, what), "{verb} {what}");
    }
    let vllm = guarded.cluster.admin().acting_as("system:serviceaccount:inference:vllm");
    for what in ["pods", "secrets", "configmaps"] {
        vllm.kubectl(&["auth", "can-i", "get", what, "--namespace=inference"]).expect_code(1);
    }
}
