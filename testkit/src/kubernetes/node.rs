//! This machine as a node: containerd and a kubelet.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and a panic is how a test fails"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::control_plane::ControlPlane;
use super::program::static_program;
use crate::image::{File as Packed, Image, USER};
use crate::keeper::{Kept, KeptFolder};
use crate::ready::{free_port, until_ready};
use crate::run::{Ended, capture};
use crate::skip::Missing;

/// How long another process may keep this machine as its node.
const TURN: Duration = Duration::from_secs(900);

/// What holds the namespaces of a pod together.
const PAUSE: &str = "registry.example.com/pause";

/// Programs of Debian, and the packages that hold them.
const PROGRAMS: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("jq", "jq"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
];

/// This machine as the node `localhost` of a cluster. Dropping it ends its programs, its containers and its mounts.
///
/// A pod runs here when its `nodeName` says so. It has a network of its own in which there is nothing; only one that
/// may have `hostNetwork` reaches the servers of this machine. Memory limits hold; limits on open files and the like, and
/// the order in which the kernel kills for lack of memory, are this machine's.
#[derive(Debug)]
pub struct Node<'a> {
    cluster: &'a ControlPlane,
    /// There until the value is dropped.
    running: Option<Kept>,
    folder: KeptFolder,
    _turn: File,
}

impl<'a> Node<'a> {
    /// The one that all tests of a program share, a node of [`ControlPlane::shared`].
    ///
    /// # Errors
    /// As [`Node::join`].
    pub fn shared() -> Result<&'static Node<'static>, Missing> {
        static SHARED: OnceLock<Result<Node<'static>, Missing>> = OnceLock::new();
        SHARED.get_or_init(|| Node::join(ControlPlane::shared()?)).as_ref().map_err(Clone::clone)
    }

    /// Makes this machine a node and waits until it is ready; first, while another process has it as a node, until that
    /// ends.
    ///
    /// # Errors
    /// Whoever asks is not root, containerd or runc is not there, or one does not start: then its last words are in
    /// the error.
    pub fn join(cluster: &'a ControlPlane) -> Result<Node<'a>, Missing> {
        let missing = |error: io::Error| Missing::new("a node of Kubernetes", error.to_string());
        possible().map_err(missing)?;
        let pause = static_program("stand-in", "stand-in")?;
        let turn = turn().map_err(missing)?;
        Node::start(cluster, &pause, turn).map_err(missing)
    }

    fn start(cluster: &'a ControlPlane, pause: &Path, turn: File) -> io::Result<Node<'a>> {
        let folder = KeptFolder::new()?;
        let dir = folder.path();
        // Containers are other users, who look for their files below it.
        fs::set_permissions(dir, Permissions::from_mode(0o711))?;
        for name in ["log", "network", "plugins", "kubelet", "manifests"] {
            fs::create_dir(dir.join(name))?;
        }
        for name in ["loopback", "no-network"] {
            script(&dir.join("plugins").join(name), include_str!("node/no-network.sh"))?;
        }
        script(&dir.join("runc"), include_str!("node/runc.sh"))?;
        script(&dir.join("start"), include_str!("node/start.sh"))?;
        fs::write(dir.join("network/no-network.conflist"), network())?;
        // Nobody is asked for a name.
        fs::write(dir.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        fs::copy(cluster.client("node").config(), dir.join("node.kubeconfig"))?;
        let digest = packed(pause, "pause", &dir.join("pause.tar"))?;
        fs::write(dir.join("pause.name"), PAUSE)?;
        fs::write(dir.join("containerd.toml"), containerd(dir, &format!("{PAUSE}@{digest}")))?;
        let port = free_port()?.local_addr()?.port();
        fs::write(dir.join("kubelet.json"), kubelet(dir, port))?;

        let mut args: Vec<OsString> =
            ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]
                .map(OsString::from)
                .into();
        args.extend([dir.join("start"), dir.to_owned(), cluster.bin().join("kubelet")].map(OsString::from));
        let environment =
            [("HOME", dir.as_os_str().to_owned()), ("NO_PROXY", "*".into()), ("no_proxy", "*".into())];
        let mut running =
            Kept::start("kubelet", Path::new("unshare"), &args, &environment, &dir.join("log"))?;
        let ready =
            ["get", "node", "localhost", "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}"];
        until_ready(&mut running, || cluster.admin().kubectl(&ready).out() == "True")?;
        Ok(Node { cluster, running: Some(running), folder, _turn: turn })
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> &'a ControlPlane {
        self.cluster
    }

    /// Takes in an image, an archive of the Open Container Initiative's layout; gives the reference that pods name,
    /// `NAME@sha256:…`. Nothing is ever pulled.
    ///
    /// # Panics
    /// containerd refuses it.
    pub fn import(&self, archive: &Path, name: &str) -> String {
        let mut ctr = self.ctr();
        let ended = capture(ctr.args(["images", "import", "--digests", "--base-name", name]).arg(archive));
        let ended = ended.expect("ctr runs").expect_code(0);
        let out = ended.out();
        let reference = out.split_whitespace().find(|word| word.starts_with(&format!("{name}@sha256:")));
        reference.map(ToOwned::to_owned).unwrap_or_else(|| panic!("no image in it\n{ended}"))
    }

    /// Builds a program of this workspace without any library and takes it in as an image.
    ///
    /// # Errors
    /// It cannot be built.
    ///
    /// # Panics
    /// As [`Node::import`].
    pub fn program(&self, package: &str, name: &str, reference: &str) -> Result<String, Missing> {
        let program = static_program(package, name)?;
        // Two may ask for the same one at once.
        let missing = |error: io::Error| Missing::new(name, error.to_string());
        let folder = crate::temporary().map_err(missing)?;
        let archive = folder.path().join("image.tar");
        packed(&program, name, &archive).map_err(missing)?;
        Ok(self.import(&archive, reference))
    }

    /// Makes a folder of this machine the volume of a claim, bound as a controller would do it. A claim that is there
    /// already is kept.
    ///
    /// # Panics
    /// The API server refuses.
    pub fn volume(&self, namespace: &str, claim: &str, folder: &Path) {
        let name = format!("{namespace}-{claim}");
        let admin = self.cluster.admin();
        let claimed = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "namespace": namespace, "name": claim },
            "spec": { "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": name,
                "resources": { "requests": { "storage": "1Gi" } } } });
        admin.apply(&claimed.to_string()).expect_code(0);
        let claimed = admin.get(&["persistentvolumeclaim", claim, "--namespace", namespace]);
        let volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name }, "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteMany"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain", "local": { "path": folder },
            "claimRef": { "namespace": namespace, "name": claim,
                "uid": claimed.pointer("/metadata/uid").expect("it has an identity") },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": ["localhost"] }] }] } } } });
        admin.apply(&volume.to_string()).expect_code(0);
        let bound = |what: &[&str], status: &str| {
            let patch = format!("--patch={{\"status\":{status}}}");
            admin
                .kubectl(&[&["patch", "--subresource=status", "--type=merge", &patch], what].concat())
                .expect_code(0);
        };
        bound(&["persistentvolume", &name], r#"{"phase":"Bound"}"#);
        let claimed = r#"{"phase":"Bound","accessModes":["ReadWriteMany"],"capacity":{"storage":"1Gi"}}"#;
        bound(&["persistentvolumeclaim", claim, "--namespace", namespace], claimed);
    }

    /// Sends a signal, like `SIGKILL`, to the first process of a container from outside; `id` as a pod's status names
    /// it, `containerd://…`.
    ///
    /// # Panics
    /// There is no such container.
    pub fn signal(&self, id: &str, signal: &str) -> Ended {
        let id = id.trim_start_matches("containerd://");
        let ended = capture(self.ctr().args(["tasks", "kill", "--signal", signal, id]));
        ended.expect("ctr runs").expect_code(0)
    }

    /// The last lines that the kubelet wrote.
    pub fn last_words(&self) -> String {
        self.running.as_ref().map(Kept::last_words).unwrap_or_default()
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.folder.path().join("containerd.sock")).args(["--namespace", "k8s.io"]);
        ctr
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        drop(self.running.take());
        // Only then does the kernel end what was started in its namespace; meanwhile it may write into its folder.
        let start = Instant::now();
        let socket = self.folder.path().join("containerd.sock");
        while UnixStream::connect(&socket).is_ok() && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether this machine has what a node needs.
fn possible() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    if ids.and_then(|ids| ids.split_whitespace().nth(1)) != Some("0") {
        return Err(io::Error::other("only root can be one"));
    }
    for (program, package) in PROGRAMS {
        let script = "PATH=$PATH:/usr/sbin:/sbin command -v \"$1\"";
        let found = capture(Command::new("sh").args(["-c", script, "sh", program]))?;
        if found.code() != Some(0) {
            let why = format!("there is no {program}, which is in Debian's package {package}");
            return Err(io::Error::other(why));
        }
    }
    Ok(())
}

/// Makes an image of one program, which it starts, and nothing else; gives its digest.
fn packed(program: &Path, name: &str, archive: &Path) -> io::Result<String> {
    let content = fs::read(program)?;
    let file = Packed { mode: 0o755, owner: (0, 0), modified: 0, content };
    let image = Image {
        architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.to_owned(),
        created: "1970-01-01T00:00:00Z".to_owned(),
        user: USER.to_owned(),
        entrypoint: vec![format!("/{name}")],
        settings: BTreeMap::new(),
        labels: BTreeMap::new(),
        files: BTreeMap::from([(name.to_owned(), file)]),
    };
    image.write(archive)
}

/// Waits until no other process has this machine as its node.
fn turn() -> io::Result<File> {
    let path = std::env::temp_dir().join("weightseal-node.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < TURN => {
                thread::sleep(Duration::from_millis(100))
            }
            Err(TryLockError::WouldBlock) => {
                let minutes = TURN.as_secs() / 60;
                let why = format!("another process has had this machine as its node for {minutes} minutes");
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn script(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn network() -> String {
    json!({ "cniVersion": "0.3.1", "name": "none", "plugins": [{ "type": "no-network" }] }).to_string()
}

fn containerd(dir: &Path, pause: &str) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "{dir}/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/plugins"
    conf_dir = "{dir}/network"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{dir}/runc"
"#
    )
}

fn kubelet(dir: &Path, port: u16) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": "127.0.0.1", "port": port, "readOnlyPort": 0, "healthzPort": 0,
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": format!("unix://{}/containerd.sock", dir.display()),
        "staticPodPath": dir.join("manifests"), "podLogsDir": dir.join("pod-logs"), "resolvConf": dir.join("resolv.conf"),
        // Nobody answers there.
        "clusterDNS": ["10.0.0.10"],
        // It shares the machine: no groups but its own, no limits and tables are changed, and a full disk is no reason to
        // evict.
        "failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupsPerQOS": false, "enforceNodeAllocatable": [],
        "failSwapOn": false, "oomScoreAdj": 0, "maxOpenFiles": 4096, "makeIPTablesUtilChains": false,
        "localStorageCapacityIsolation": false,
        "evictionHard": { "memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%",
            "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%" },
        "imageGCHighThresholdPercent": 100,
        // Tests do not wait for the minutes that a container which failed waits elsewhere.
        "featureGates": { "KubeletCrashLoopBackOffMax": true },
        "crashLoopBackOff": { "maxContainerRestartPeriod": "2s" },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::or_skip;

    /// Whether a process has this word in its command line.
    fn runs_with(word: &str) -> bool {
        let processes = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
        let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines.any(|line| String::from_utf8_lossy(&line).contains(word))
    }

    #[test]
    fn a_pod_runs_on_this_machine_and_nothing_of_it_remains() {
        let Some(cluster) = or_skip(ControlPlane::start()) else { return };
        let Some(node) = or_skip(Node::join(&cluster)) else { return };
        let image = node.program("stand-in", "stand-in", "registry.example.com/stand-in");
        let Some(image) = or_skip(image) else { return };
        cluster.namespace("node", &[("pod-security.kubernetes.io/enforce", "restricted")]);
        let volume = crate::temporary().expect("temporary folder");
        node.volume("node", "claim", volume.path());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "it", "namespace": "node" },
            "spec": { "nodeName": "localhost",
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{ "name": "it", "image": image,
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                    "volumeMounts": [{ "name": "volume", "mountPath": "/volume" }] }],
                "volumes": [{ "name": "volume", "persistentVolumeClaim": { "claimName": "claim" } }] },
        });
        cluster.admin().create(&pod.to_string()).expect_code(0);
        let wait = ["wait", "pod/it", "--namespace=node", "--for=condition=Ready", "--timeout=300s"];
        cluster.admin().kubectl(&wait).expect_code(0);
        let logs = cluster.admin().kubectl(&["logs", "it", "--namespace=node"]).expect_code(0);
        assert_eq!(logs.out(), "started\n");

        let folder = node.folder.path().to_owned();
        let word = folder.to_str().expect("a name");
        assert!(runs_with(word));
        drop(node);
        assert!(!folder.exists() && !runs_with(word), "{word}");
    }
}
