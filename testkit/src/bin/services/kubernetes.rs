//! An API server, and this machine as its node.

use std::fmt;
use std::time::Instant;

use testkit::kubernetes::{ControlPlane, Node};

use super::{Result, Service};

/// Where pods can be tried: a namespace that holds them to the strictest standard.
const NAMESPACE: &str = "inference";

struct Running {
    cluster: &'static ControlPlane,
    /// The image of a stand-in for a model server, or why this machine is no node.
    image: Result<String, String>,
}

/// Starts both, or the API server alone where this machine cannot be a node.
pub(super) fn start() -> Result<Box<dyn Service>> {
    testkit::kubernetes::build()?;
    let start = Instant::now();
    let cluster = ControlPlane::shared()?;
    cluster.namespace(NAMESPACE, &[("pod-security.kubernetes.io/enforce", "restricted")]);
    let image = Node::shared()
        .and_then(|node| node.program("testkit", "stand-in", "registry.example.com/stand-in"))
        .map_err(|missing| missing.to_string());
    println!("Kubernetes is up after {:.1} s", start.elapsed().as_secs_f64());
    Ok(Box::new(Running { cluster, image }))
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
        match &self.image {
            Ok(image) => writeln!(
                f,
                "This machine is its node. There are no controllers and there is no scheduler, and nothing is pulled:
  kubectl get nodes
  kubectl --namespace {NAMESPACE} apply --filename - <<END
apiVersion: v1
kind: Pod
metadata: {{ name: vllm }}
spec:
  nodeName: localhost
  automountServiceAccountToken: false
  securityContext: {{ runAsNonRoot: true, seccompProfile: {{ type: RuntimeDefault }} }}
  containers:
    - name: vllm
      image: {image}
      securityContext: {{ allowPrivilegeEscalation: false, capabilities: {{ drop: [ALL] }} }}
END
  kubectl --namespace {NAMESPACE} get pods
"
            ),
            Err(why) => writeln!(f, "This machine is no node, so no pod starts: {why}\n"),
        }
    }
}

impl Service for Running {}
