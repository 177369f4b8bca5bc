//! The init container in pods of a real kubelet: what starts, what never does, and what the pod's status says of it.
//!
//! All pods share one node, one namespace that holds them to the restricted standard, and one volume with a folder for
//! each case. The main container stands in for a model server: it starts and waits.

mod cases;
mod disturbed;
mod pulled;
pub(crate) mod shipped;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::keeper::KeptFolder;
use testkit::kubernetes::{Client, Node};
use testkit::pki::{Cert, KeyKind, Pki, email};
use testkit::{Missing, models};
use weightseal::{Algorithm, CertificateSigner, Hashing, KeySigner, Model, PrivateKey, Replace, Run, Signer};

use crate::key;

const NAMESPACE: &str = "inference";
const CLAIM: &str = "model-cache-pvc";

/// Where every container has the volume.
const CACHE: &str = "/models/cache";

/// How long the node may take for what it does in a second.
const LIMIT: Duration = Duration::from_secs(300);

/// How often pods are looked at.
const POLL: Duration = Duration::from_millis(300);

/// What all pods share.
pub(crate) struct Stage {
    pub(crate) node: &'static Node<'static>,
    volume: KeptFolder,
    pub(crate) gate: String,
    pub(crate) server: String,
}

/// The one of this program, made by the first test that asks.
pub(crate) fn stage() -> Result<&'static Stage, Missing> {
    static SHARED: OnceLock<Result<Stage, Missing>> = OnceLock::new();
    SHARED.get_or_init(Stage::new).as_ref().map_err(Clone::clone)
}

impl Stage {
    fn new() -> Result<Stage, Missing> {
        let node = Node::shared()?;
        let gate = gate(node)?;
        let server = node.program("stand-in", "stand-in", "registry.example.com/vllm")?;
        let volume = KeptFolder::new().map_err(|error| Missing::new("a volume", error.to_string()))?;
        fs::set_permissions(volume.path(), Permissions::from_mode(0o755)).unwrap();
        node.cluster().namespace(NAMESPACE, &[("pod-security.kubernetes.io/enforce", "restricted")]);
        node.volume(NAMESPACE, CLAIM, volume.path());
        let stage = Stage { node, volume, gate, server };
        let files = json!({
            "release.pub": key(0).public_pem(), "root.pem": root().pem(), "policy.yaml": policy("enforce"),
            "edited.yaml": policy("warn"),
        });
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": files,
            "metadata": { "name": "weightseal", "namespace": NAMESPACE } });
        stage.admin().apply(&map.to_string()).expect_code(0);
        Ok(stage)
    }

    /// kubectl as somebody who may do everything.
    pub(crate) fn admin(&self) -> Client {
        self.node.cluster().admin()
    }

    /// Makes the small model in the folder of a case, signed as `acme/llama-3` 1.2 by the key that is trusted.
    pub(crate) fn model(&self, case: &str) -> PathBuf {
        let model = self.volume.path().join(case).join("llama-3");
        models::small(&model).unwrap();
        sign(&model, &release(), "acme/llama-3", "1.2");
        model
    }

    /// A pod of this name whose init container checks the model of the case of the same name.
    pub(crate) fn pod(&self, case: &str, args: &[&str], restart: &str) -> Value {
        let model = format!("--model={CACHE}/{case}/llama-3");
        let args: Vec<&str> = std::iter::once(model.as_str()).chain(args.iter().copied()).collect();
        let security = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] } });
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": case, "namespace": NAMESPACE },
            "spec": {
                "nodeName": "localhost", "restartPolicy": restart, "automountServiceAccountToken": false,
                "enableServiceLinks": false, "terminationGracePeriodSeconds": 1,
                "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                    "seccompProfile": { "type": "RuntimeDefault" } },
                "initContainers": [{ "name": "weightseal", "image": self.gate, "args": args,
                    "securityContext": security, "volumeMounts": [
                        { "name": "model-cache", "mountPath": CACHE, "readOnly": true },
                        { "name": "weightseal", "mountPath": "/etc/weightseal", "readOnly": true }] }],
                "containers": [{ "name": "vllm", "image": self.server, "securityContext": security,
                    "volumeMounts": [{ "name": "model-cache", "mountPath": CACHE, "readOnly": true }] }],
                "volumes": [
                    { "name": "model-cache", "persistentVolumeClaim": { "claimName": CLAIM, "readOnly": true } },
                    { "name": "weightseal", "configMap": { "name": "weightseal" } }],
            },
        })
    }

    /// Creates pods with one request each.
    pub(crate) fn create(&self, pods: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods });
        self.admin().create(&list.to_string()).expect_code(0);
    }

    /// Waits until the pod is as wanted.
    #[track_caller]
    pub(crate) fn until(&self, name: &str, wanted: &str, is_so: impl Fn(&Pod) -> bool) -> Pod {
        self.until_in(NAMESPACE, name, wanted, is_so)
    }

    /// The same for a pod of another namespace.
    #[track_caller]
    pub(crate) fn until_in(
        &self,
        namespace: &str,
        name: &str,
        wanted: &str,
        is_so: impl Fn(&Pod) -> bool,
    ) -> Pod {
        let start = Instant::now();
        loop {
            let pod = Pod(self.admin().get(&["pod", name, "--namespace", namespace]));
            if is_so(&pod) {
                return pod;
            }
            assert!(start.elapsed() < LIMIT, "{name} is not {wanted}: {pod}\n{}", self.node.last_words());
            thread::sleep(POLL);
        }
    }

    /// What the init container wrote.
    pub(crate) fn logs(&self, name: &str) -> String {
        let args = ["logs", name, "--container=weightseal", "--namespace", NAMESPACE];
        self.admin().kubectl(&args).expect_code(0).out()
    }
}

/// The image of the init container: the archive that `WEIGHTSEAL_IMAGE` names, else one of the program as it is.
pub(crate) fn gate(node: &Node<'_>) -> Result<String, Missing> {
    let name = "registry.example.com/weightseal-init";
    match std::env::var_os("WEIGHTSEAL_IMAGE") {
        Some(archive) => Ok(node.import(Path::new(&archive), name)),
        None => node.program("weightseal-init", "weightseal-init", name),
    }
}

/// A policy in this mode that trusts the key which stands in it, for releases of `acme` from 1.2 on.
pub(crate) fn policy(mode: &str) -> String {
    let policy = json!({
        "apiVersion": "weightseal/v1", "kind": "Policy",
        "identities": { "release": { "key": { "pem": key(0).public_pem() } } },
        "rules": [{ "models": ["acme/*"], "mode": mode, "require": { "of": ["release"] }, "name_is_model_id": true,
            "min_version": "1.2" }],
    });
    policy.to_string()
}

/// A pod as the API server knows it.
pub(crate) struct Pod(Value);

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0["status"])
    }
}

impl Pod {
    pub(crate) fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap()
    }

    pub(crate) fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap()
    }

    pub(crate) fn phase(&self) -> &str {
        self.0["status"]["phase"].as_str().unwrap_or_default()
    }

    /// The status of the init container.
    pub(crate) fn gate(&self) -> &Value {
        &self.0["status"]["initContainerStatuses"][0]
    }

    /// The status of the main container.
    pub(crate) fn main(&self) -> &Value {
        &self.0["status"]["containerStatuses"][0]
    }

    /// How the init container ended: its exit code, and its termination message.
    #[track_caller]
    pub(crate) fn ended(&self) -> (i64, &str) {
        let ended = &self.gate()["state"]["terminated"];
        let code = ended["exitCode"].as_i64().unwrap_or_else(|| panic!("it has not ended: {self}"));
        (code, ended["message"].as_str().unwrap_or_default())
    }

    /// Demands that the main container runs.
    #[track_caller]
    pub(crate) fn runs(&self) {
        assert_eq!((self.phase(), self.main()["started"].as_bool()), ("Running", Some(true)), "{self}");
        assert!(self.main()["state"]["running"].is_object(), "{self}");
    }

    /// Demands that the main container has never been started.
    #[track_caller]
    pub(crate) fn never_started(&self) {
        let main = self.main();
        assert_eq!(main["state"]["waiting"]["reason"], "PodInitializing", "{self}");
        assert_eq!(
            (main["started"].as_bool(), main["restartCount"].as_i64()),
            (Some(false), Some(0)),
            "{self}"
        );
        assert!(main["containerID"].is_null() && main["lastState"] == json!({}), "{self}");
    }
}

/// The one who signs releases.
pub(crate) fn release() -> KeySigner {
    KeySigner::from_pem(key(0).pkcs8_pem().as_bytes(), None).unwrap()
}

/// The authority whose certificates are accepted.
pub(crate) fn root() -> Cert {
    Pki::root(KeyKind::P384).self_signed()
}

/// One who signs by a certificate of that authority, which is valid in this time.
pub(crate) fn certified(name: &str, from: i64, to: i64) -> CertificateSigner {
    let leaf = Pki::leaf(KeyKind::P256).names(&[email(name)]).valid(from, to).issue(&root());
    let key = PrivateKey::from_pem(leaf.key().pkcs8_pem().as_bytes(), || Ok(None)).unwrap();
    CertificateSigner::new(key, leaf.pem().as_bytes(), b"").unwrap()
}

/// Signs a model in place of who signed it before.
pub(crate) fn sign(model: &Path, signer: &dyn Signer, name: &str, version: &str) {
    let signature = model.join("model.sig");
    let mut open = Model::open(model).unwrap().release(Some(name.into()), Some(version.into()));
    open.leave_out_signature(&signature);
    let hashing = Hashing::files(Algorithm::Sha256);
    open.sign(&hashing, signer, &Run::new()).unwrap().write(&signature, Replace::Signature).unwrap();
    fs::set_permissions(&signature, Permissions::from_mode(0o644)).unwrap();
}
