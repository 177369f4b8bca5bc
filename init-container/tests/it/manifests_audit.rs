//! The audit policy, in an API server that writes its log by it.

use std::fs;

use serde_json::{Value, json};
use testkit::{kubernetes::ControlPlane, or_skip, temporary};

use crate::admission::{Guarded, manifests};

#[test]
fn the_audit_log_says_who_changed_what_decides_and_why_pods_were_refused_and_holds_no_secret() {
    let dir = temporary().unwrap();
    let log = dir.path().join("audit.log");
    let flags = [
        ("audit-policy-file", manifests("audit/policy.yaml").into()),
        ("audit-log-path", log.clone().into()),
    ];
    let Some(cluster) = or_skip(ControlPlane::start_with(&flags)) else { return };
    let guarded = Guarded::on(cluster);
    let admin = guarded.cluster.admin();

    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "hf-token", "namespace": "inference" },
        "stringData": { "token": "hf_not-to-be-written-down" } });
    guarded.dev().create(&secret.to_string()).expect_code(0);
    let mut pod = guarded.pod("refused");
    pod["spec"]["containers"][0]["env"] =
        json!([{ "name": "TOKEN", "value": "not-to-be-written-down-either" }]);
    pod["spec"]["initContainers"] = json!([]);
    guarded.dev().create(&pod.to_string()).expect_code(1);
    guarded.dev().create(&guarded.pod("lives").to_string()).expect_code(0);
    let debug = json!({ "spec": { "ephemeralContainers": [{ "name": "debug", "image": "registry.example.com/debug" }] } });
    let patch = format!("--patch={debug}");
    let args =
        ["patch", "pod", "lives", "--namespace=inference", "--subresource=ephemeralcontainers", &patch];
    guarded.dev().kubectl(&args).expect_code(0);
    admin
        .kubectl(&["patch", "modelgate", "weightseal", "--type=merge", "--patch={\"spec\":{\"loaders\":[]}}"])
        .expect_code(0);
    guarded.dev().kubectl(&["delete", "namespace", "inference", "--wait=false"]).expect_code(1);

    // An event is written before its answer is sent.
    let text = fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |user: &str, verb: &str, resource: &str, code: u16| {
        let found = events.iter().find(|event| {
            event["user"]["username"] == user
                && event["verb"] == verb
                && event["objectRef"]["resource"] == resource
                && event["responseStatus"]["code"] == code
                && !event["requestURI"].as_str().unwrap().contains("dryRun")
        });
        found.unwrap_or_else(|| panic!("no event of {user} who may {verb} {resource} and got {code}"))
    };
    assert_eq!(find("admin", "patch", "modelgates", 200)["requestObject"]["spec"]["loaders"], json!([]));
    assert_eq!(find("dev", "create", "secrets", 201)["level"], "Metadata");
    assert_eq!(
        find("dev", "delete", "namespaces", 403)["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    let ephemeral = find("dev", "patch", "pods", 200);
    assert_eq!(ephemeral["objectRef"]["subresource"], "ephemeralcontainers");
    assert_eq!(ephemeral["requestObject"]["spec"]["ephemeralContainers"][0]["name"], "debug");
    let why = find("dev", "create", "pods", 403)["annotations"]["validation.policy.admission.k8s.io/validation_failure"].to_string();
    assert!(why.contains("has no init container weightseal"), "{why}");
    assert!(!text.contains("not-to-be-written-down"));
    // Nor as Secrets hold it.
    assert!(!text.contains("aGZfbm90LXRvLWJlLXdyaXR0ZW4tZG93bg=="));
}
