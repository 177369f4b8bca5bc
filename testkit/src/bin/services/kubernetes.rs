//! An API server, and this machine as its node.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use testkit::keeper::KeptFolder;
use testkit::kubernetes::{ControlPlane, Node};
use testkit::{models, target_dir};

use super::{Result, Service};

/// Where pods can be tried: a namespace that holds them to the strictest standard, and a volume for models in it.
const NAMESPACE: &str = "inference";
const CLAIM: &str = "model-cache-pvc";

/// What `cargo xtask image` has made, if it has.
const IMAGE: &str = if cfg!(target_arch = "aarch64") {
    "image/arm64/weightseal-init.tar"
} else {
    "image/amd64/weightseal-init.tar"
};

struct Running {
    cluster: &'static ControlPlane,
    /// Whether there are pods to try, or why this machine is no node.
    node: Result<(), String>,
    /// The volume, and the pods.
    folder: KeptFolder,
}

/// The image of the init container, and that of a stand-in for a model server.
struct Images {
    gate: String,
    server: String,
}

/// Starts both, or the API server alone where this machine cannot be a node.
pub(super) fn start() -> Result<Box<dyn Service>> {
    testkit::kubernetes::build()?;
    let start = Instant::now();
    let cluster = ControlPlane::shared()?;
    cluster.namespace(NAMESPACE, &[("pod-security.kubernetes.io/enforce", "restricted")]);
    let folder = KeptFolder::new()?;
    // Containers are other users, who look for their files below it.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    models::small(&folder.path().join(CLAIM).join("llama-3"))?;
    let node = Node::shared().map_err(|missing| missing.to_string());
    println!("Kubernetes is up after {:.1} s", start.elapsed().as_secs_f64());
    let node = node.and_then(|node| {
        node.volume(NAMESPACE, CLAIM, &folder.path().join(CLAIM));
        let images = images(node).map_err(|missing| missing.to_string())?;
        pods(&images, folder.path()).map_err(|error| error.to_string())
    });
    Ok(Box::new(Running { cluster, node, folder }))
}

fn images(node: &Node<'_>) -> Result<Images, testkit::Missing> {
    let server = node.program("stand-in", "stand-in", "registry.example.com/vllm")?;
    let (archive, name) = (target_dir().join(IMAGE), "registry.example.com/weightseal-init");
    let gate = if archive.is_file() {
        println!("the image of the init container is {}", archive.display());
        node.import(&archive, name)
    } else {
        println!("building the init container, since `cargo xtask image` has made no image of it");
        node.program("weightseal-init", "weightseal-init", name)?
    };
    Ok(Images { gate, server })
}

/// Writes a pod with the gate in front, and one without.
fn pods(images: &Images, folder: &Path) -> io::Result<()> {
    let Images { gate, server } = images;
    let pod = |name: &str, gate: &str, volumes: &str| {
        format!(
            "apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: {NAMESPACE} }}
spec:
  nodeName: localhost
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {{ runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{ type: RuntimeDefault }} }}
{gate}  containers:
    - name: vllm
      image: {server}
      securityContext: {{ allowPrivilegeEscalation: false, capabilities: {{ drop: [ALL] }} }}
      volumeMounts:
        - {{ name: model-cache, mountPath: /models/cache, readOnly: true }}
  volumes:
    - name: model-cache
      persistentVolumeClaim: {{ claimName: {CLAIM}, readOnly: true }}
{volumes}"
        )
    };
    let gate = format!(
        "  initContainers:
    - name: weightseal
      image: {gate}
      args: [--model=/models/cache/llama-3, --public-key=/etc/weightseal/release.pub]
      terminationMessagePolicy: FallbackToLogsOnError
      securityContext: {{ allowPrivilegeEscalation: false, capabilities: {{ drop: [ALL] }} }}
      volumeMounts:
        - {{ name: model-cache, mountPath: /models/cache, readOnly: true }}
        - {{ name: weightseal, mountPath: /etc/weightseal, readOnly: true }}
"
    );
    let keys = "    - name: weightseal\n      configMap: { name: weightseal }\n";
    fs::write(folder.join("pod.yaml"), pod("vllm", &gate, keys))?;
    fs::write(folder.join("without-gate.yaml"), pod("vllm-without-gate", "", ""))
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (admin, dev) = (self.cluster.admin(), self.cluster.dev());
        let bin = admin.program().parent().unwrap_or(admin.program()).display();
        writeln!(
            f,
            "An API server at {}, for the admin, and for dev, who may do nothing until a role says so:
  export PATH={bin}:$PATH
  export KUBECONFIG={}
  export KUBECONFIG={}
",
            self.cluster.url(),
            admin.config().display(),
            dev.config().display()
        )?;
        if let Err(why) = &self.node {
            return writeln!(f, "This machine is no node, so no pod starts: {why}\n");
        }
        let folder = self.folder.path().display();
        writeln!(
            f,
            "This machine is its node. There are no controllers and there is no scheduler, and nothing is pulled. In the
namespace {NAMESPACE}, the claim {CLAIM} is a folder with a small model in it. As the admin, sign it and see the pod run:
  weightseal keygen release
  weightseal sign {folder}/{CLAIM}/llama-3 --private-key release.key
  kubectl --namespace {NAMESPACE} create configmap weightseal --from-file release.pub
  kubectl apply --filename {folder}/pod.yaml
  kubectl --namespace {NAMESPACE} get pod vllm

Change a byte, and see why the same pod does not start:
  kubectl --namespace {NAMESPACE} delete pod vllm
  printf x | dd of={folder}/{CLAIM}/llama-3/model-00001-of-00002.safetensors bs=1 seek=100000 conv=notrunc
  kubectl apply --filename {folder}/pod.yaml
  kubectl --namespace {NAMESPACE} describe pod vllm

Have the API server refuse a pod without a gate:
  kubectl apply --filename init-container/manifests/admission/definition.yaml
  kubectl wait --for=condition=Established customresourcedefinition/modelgates.admission.weightseal
  kubectl apply --kustomize init-container/manifests/admission
  kubectl label namespace {NAMESPACE} weightseal/gate=enforce
  kubectl apply --filename {folder}/without-gate.yaml
"
        )
    }
}

impl Service for Running {}
