//! The resource definitions of KServe and KubeRay, out of their Go modules.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::control_plane::ControlPlane;
use crate::dirs::temporary;
use crate::run::{LIMIT, capture_within};
use crate::skip::Missing;

/// A module with its hash, and the files in it that define resources.
struct Module {
    name: &'static str,
    version: &'static str,
    sum: &'static str,
    files: &'static [&'static str],
}

const MODULES: [Module; 2] = [
    Module {
        name: "github.com/kserve/kserve",
        version: "v0.19.0",
        sum: "h1:8Pbdm9Ekn1JEuHrobqJhZI4uRHyf5bk1ofb5+3kEI14=",
        files: &[
            "config/crd/full/serving.kserve.io_inferenceservices.yaml",
            "config/crd/full/serving.kserve.io_servingruntimes.yaml",
            "config/crd/full/serving.kserve.io_clusterservingruntimes.yaml",
            "config/crd/full/clusterstoragecontainer/serving.kserve.io_clusterstoragecontainers.yaml",
        ],
    },
    Module {
        name: "github.com/ray-project/kuberay/ray-operator",
        version: "v1.5.0",
        sum: "h1:KCjCQ7PSsvs9Ke+90CZbbs498nuaIJ/JkXk4vd54EVg=",
        files: &[
            "config/crd/bases/ray.io_rayclusters.yaml",
            "config/crd/bases/ray.io_rayjobs.yaml",
            "config/crd/bases/ray.io_rayservices.yaml",
        ],
    },
];

/// The last resource of each module that the API server describes to clients.
const DESCRIBED: [&str; 3] = [
    "io.kserve.serving.v1beta1.InferenceService",
    "io.kserve.serving.v1alpha1.ClusterStorageContainer",
    "io.ray.v1.RayService",
];

/// How long the API server may take to describe what was installed.
const DESCRIPTION: Duration = Duration::from_secs(60);

impl ControlPlane {
    /// Installs the definitions of KServe's InferenceService, ServingRuntime, ClusterServingRuntime and
    /// ClusterStorageContainer and of KubeRay's RayCluster, RayJob and RayService, and waits until the API server
    /// validates and describes them. Nothing acts on such resources.
    ///
    /// # Errors
    /// A module cannot be had, or is another one than its hash says; the API server does not take a definition.
    pub fn install_definitions(&self) -> Result<(), Missing> {
        self.try_install().map_err(|error| Missing::new("resources of KServe and KubeRay", error.to_string()))
    }

    fn try_install(&self) -> io::Result<()> {
        let mut command = self.admin().command();
        // The annotation in which kubectl otherwise remembers what it applied would be too long.
        command.args(["apply", "--server-side", "--force-conflicts"]);
        for module in &MODULES {
            let folder = module.folder()?;
            for file in module.files {
                command.arg("--filename").arg(folder.join(file));
            }
        }
        let mut wait = self.admin().command();
        wait.args([
            "wait",
            "--for=condition=Established",
            "customresourcedefinition",
            "--all",
            "--timeout=60s",
        ]);
        for command in [&mut command, &mut wait] {
            let ended = capture_within(command, &[], LIMIT)?;
            if ended.code() != Some(0) {
                return Err(io::Error::other(ended.to_string()));
            }
        }
        let start = Instant::now();
        while start.elapsed() < DESCRIPTION {
            let described = self.admin().kubectl(&["get", "--raw", "/openapi/v2"]).out();
            if DESCRIBED.iter().all(|name| described.contains(name)) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the API server does not describe them"))
    }
}

impl Module {
    /// Where its files are, once they are there.
    fn folder(&self) -> io::Result<PathBuf> {
        let elsewhere = temporary()?;
        let module = format!("{}@{}", self.name, self.version);
        let mut go = Command::new("go");
        go.args(["mod", "download", "-json", &module]).current_dir(elsewhere.path());
        go.env("GOFLAGS", "").env("GOWORK", "off").env("GO111MODULE", "on").env("GOTOOLCHAIN", "local");
        let ended = capture_within(&mut go, &[], LIMIT)?;
        let answer: Value =
            serde_json::from_slice(&ended.stdout).map_err(|_| io::Error::other(ended.to_string()))?;
        let field = |name: &str| answer.get(name).and_then(Value::as_str);
        if let Some(error) = field("Error") {
            return Err(io::Error::other(error.to_owned()));
        }
        if field("Sum") != Some(self.sum) {
            return Err(io::Error::other(format!(
                "{module} has the hash {:?}, not {}",
                field("Sum"),
                self.sum
            )));
        }
        field("Dir").map(PathBuf::from).ok_or_else(|| io::Error::other(format!("{module} is nowhere")))
    }
}
