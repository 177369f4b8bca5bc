//! A model that the init container pulls into a volume of the pod's own, in the form in which KServe calls it.
//!
//! These pods have the host's network, in which the stores of this machine are: so their namespace is another one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use serde_json::{Value, json};
use testkit::names::Names;
use testkit::or_skip;
use testkit::s3::{self, Bucket};

use super::{Stage, stage};
use crate::key;

const NAMESPACE: &str = "stores";

/// What is pulled, and where to.
const KSERVE: &str = "/mnt/models";

/// Who tells names, in the pod that asks for one.
const NAMES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// Where the image has its authorities.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[test]
fn what_a_store_gives_starts_the_pod_and_a_store_that_is_down_does_not() {
    let Some(stage) = or_skip(stage()) else { return };
    let Some(store) = or_skip(s3::minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    store.put_folder(&bucket, "llama-3", &stage.model("stored"));
    let cluster = stage.node.cluster();
    cluster.namespace(NAMESPACE, &[]);
    let files = json!({ "release.pub": key(0).public_pem(), "store.pem": std::fs::read_to_string(store.ca()).unwrap() });
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": files,
        "metadata": { "name": "weightseal", "namespace": NAMESPACE } });
    stage.admin().apply(&map.to_string()).expect_code(0);
    // Nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = format!("https://{nobody}");
    for (name, url) in [("up", store.url()), ("down", down.as_str())] {
        let mut environment: BTreeMap<String, String> = store.env_at(url).into_iter().collect();
        // The image does not hold the store's authority, so that is mounted.
        environment.remove("AWS_CA_BUNDLE");
        environment.insert("SSL_CERT_FILE".to_owned(), "/etc/weightseal/store.pem".to_owned());
        stage.create(&objects(stage, name, &format!("s3://{bucket}/llama-3"), &environment));
    }
    // By a name that has to be asked for, and with authorities where the image has its own.
    let _names = Names::start(NAMES).unwrap();
    let (_, port) = store.url().rsplit_once(':').unwrap();
    let named = format!("https://store.example.test:{port}");
    let mut environment: BTreeMap<String, String> = store.env_at(&named).into_iter().collect();
    environment.remove("AWS_CA_BUNDLE");
    let [secret, mut pod] = objects(stage, "named", &format!("s3://{bucket}/llama-3"), &environment);
    pod["spec"]["dnsPolicy"] = json!("None");
    pod["spec"]["dnsConfig"] = json!({ "nameservers": [NAMES] });
    let roots = json!({ "name": "weightseal", "mountPath": ROOTS, "subPath": "store.pem", "readOnly": true });
    pod["spec"]["initContainers"][0]["volumeMounts"].as_array_mut().unwrap().push(roots);
    stage.create(&[secret, pod]);
    let named = stage.until_in(NAMESPACE, "named", "running", |pod| pod.phase() != "Pending");
    named.runs();
    assert_eq!(named.ended(), (0, ""), "{named}");
    let up = stage.until_in(NAMESPACE, "up", "running", |pod| pod.phase() != "Pending");
    up.runs();
    assert_eq!(up.ended(), (0, ""), "{up}");
    let down = stage.until_in(NAMESPACE, "down", "ended", |pod| pod.phase() != "Pending");
    assert_eq!(down.phase(), "Failed", "{down}");
    down.never_started();
    let (code, message) = down.ended();
    let first: String = message.chars().take(200).collect();
    assert_eq!(code, 3, "{message}");
    let said = format!("could-not-tell: \"s3://{bucket}/llama-3\": service-failed: ");
    assert!(first.starts_with(&said), "{message}");
}

/// A pod whose init container pulls a source with these variables, and the Secret that holds them.
fn objects(stage: &Stage, name: &str, source: &str, environment: &BTreeMap<String, String>) -> [Value; 2] {
    let mut pod = stage.pod(name, &[], "Never");
    pod["metadata"]["namespace"] = json!(NAMESPACE);
    let spec = &mut pod["spec"];
    spec["hostNetwork"] = json!(true);
    spec["volumes"][0] = json!({ "name": "models", "emptyDir": {} });
    spec["containers"][0]["volumeMounts"][0] =
        json!({ "name": "models", "mountPath": KSERVE, "readOnly": true });
    let gate = &mut spec["initContainers"][0];
    gate["args"] = json!([source, KSERVE, "--public-key=/etc/weightseal/release.pub", "--deadline=2m"]);
    gate["envFrom"] = json!([{ "secretRef": { "name": name } }]);
    gate["volumeMounts"][0] = json!({ "name": "models", "mountPath": KSERVE });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": environment,
        "metadata": { "name": name, "namespace": NAMESPACE } });
    [secret, pod]
}
