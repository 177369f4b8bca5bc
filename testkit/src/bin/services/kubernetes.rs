//! An API server, and this machine as its node.

use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use testkit::keeper::KeptFolder;
use testkit::kubernetes::{ControlPlane, Node};
use testkit::target_dir;

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
    /// What pods can be made of, or why this machine is no node.
    node: Result<Images, String>,
    volume: KeptFolder,
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
    let volume = KeptFolder::new()?;
    fs::set_permissions(volume.path(), Permissions::from_mode(0o755))?;
    let node = Node::shared().map_err(|missing| missing.to_string());
    println!("Kubernetes is up after {:.1} s", start.elapsed().as_secs_f64());
    let node = node.and_then(|node| {
        node.volume(NAMESPACE, CLAIM, volume.path());
        images(node).map_err(|missing| missing.to_string())
    });
    Ok(Box::new(Running { cluster, node, volume }))
}

fn images(node: &Node<'_>) -> Result<Images, testkit::Missing> {
    let server = node.program("testkit", "stand-in", "registry.example.com/vllm")?;
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
        let Images { gate, server } = match &self.node {
            Ok(images) => images,
            Err(why) => return writeln!(f, "This machine is no node, so no pod starts: {why}\n"),
        };
        writeln!(
            f,
            "This machine is its node. There are no controllers and there is no scheduler, and nothing is pulled. In the
namespace {NAMESPACE}, the claim {CLAIM} is the folder {volume}:
  weightseal keygen release
  cp --recursive MODEL {volume}/llama-3
  weightseal sign {volume}/llama-3 --private-key release.key
  kubectl --namespace {NAMESPACE} create configmap weightseal --from-file release.pub
  kubectl --namespace {NAMESPACE} apply --filename - <<END
apiVersion: v1
kind: Pod
metadata: {{ name: vllm }}
spec:
  nodeName: localhost
  automountServiceAccountToken: false
  securityContext: {{ runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{ type: RuntimeDefault }} }}
  initContainers:
    - name: weightseal
      image: {gate}
      args: [--model=/models/cache/llama-3, --public-key=/etc/weightseal/release.pub]
      securityContext: {{ allowPrivilegeEscalation: false, capabilities: {{ drop: [ALL] }} }}
      volumeMounts:
        - {{ name: model-cache, mountPath: /models/cache, readOnly: true }}
        - {{ name: weightseal, mountPath: /etc/weightseal, readOnly: true }}
  containers:
    - name: vllm
      image: {server}
      securityContext: {{ allowPrivilegeEscalation: false, capabilities: {{ drop: [ALL] }} }}
      volumeMounts:
        - {{ name: model-cache, mountPath: /models/cache, readOnly: true }}
  volumes:
    - name: model-cache
      persistentVolumeClaim: {{ claimName: {CLAIM}, readOnly: true }}
    - name: weightseal
      configMap: {{ name: weightseal }}
END
  kubectl --namespace {NAMESPACE} describe pod vllm
",
            volume = self.volume.path().display()
        )
    }
}

impl Service for Running {}
