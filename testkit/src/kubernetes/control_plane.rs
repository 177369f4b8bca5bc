//! An API server that is up, with its users.

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use super::build;
use super::client::Client;
use crate::keeper::{Kept, KeptFolder};
use crate::pki::{Key, KeyKind, Pki, SERVER_AUTH, dns, ip};
use crate::ready::{free_port, random, until_ready};
use crate::run::capture;
use crate::skip::Missing;

/// How often a start is tried: another program may take a port between its choice and its use.
const TRIES: u32 = 3;

/// Who may do everything, who may do nothing until a role is bound to them, and the node.
const USERS: [(&str, &str, &str); 3] = [
    ("admin", "admin", "system:masters"),
    ("dev", "dev", "developers"),
    ("node", "system:node:localhost", "system:nodes"),
];

/// A running API server with its store. Dropping it ends both.
#[derive(Debug)]
pub struct ControlPlane {
    url: String,
    bin: PathBuf,
    /// In the order in which they end, before their folder goes.
    _servers: [Kept; 2],
    folder: KeptFolder,
}

impl ControlPlane {
    /// Starts one that knows nothing yet, and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be built (see [`build`]), or it does not start: then its last words are in the error.
    pub fn start() -> Result<ControlPlane, Missing> {
        ControlPlane::start_with(&[])
    }

    /// The same with flags of kube-apiserver besides, each as its name and its value.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn start_with(more: &[(&str, OsString)]) -> Result<ControlPlane, Missing> {
        let bin = build()?;
        let mut tried = 1;
        loop {
            match ControlPlane::once(&bin, more) {
                Ok(cluster) => return Ok(cluster),
                Err(_) if tried < TRIES => tried += 1,
                Err(error) => return Err(Missing::new("an API server of Kubernetes", error.to_string())),
            }
        }
    }

    /// The one that all tests of a program share, started by the first that asks.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn shared() -> Result<&'static ControlPlane, Missing> {
        static SHARED: OnceLock<Result<ControlPlane, Missing>> = OnceLock::new();
        SHARED.get_or_init(ControlPlane::start).as_ref().map_err(Clone::clone)
    }

    fn once(bin: &Path, more: &[(&str, OsString)]) -> io::Result<ControlPlane> {
        let folder = KeptFolder::new()?;
        let dir = folder.path();
        for name in ["home", "log"] {
            fs::create_dir(dir.join(name))?;
        }
        // Kept until all are chosen, so that none is chosen twice.
        let held = [free_port()?, free_port()?, free_port()?];
        let [api, store, peer] = [port(&held, 0)?, port(&held, 1)?, port(&held, 2)?];
        drop(held);
        keys(dir)?;
        let url = format!("https://127.0.0.1:{api}");
        users(dir, &url)?;

        let mut etcd = start("etcd", bin, dir, etcd(dir, store, peer))?;
        until_ready(&mut etcd, || listens(store))?;
        let flags = [kube_apiserver(dir, api, store), flags(more)].concat();
        let mut server = start("kube-apiserver", bin, dir, flags)?;
        let admin = Client::new(bin.join("kubectl"), dir.join("admin.kubeconfig"), dir.join("home"));
        until_ready(&mut server, || {
            listens(api)
                && capture(admin.command().args(["get", "--raw", "/readyz"]))
                    .is_ok_and(|ended| ended.code() == Some(0))
        })?;
        let cluster = ControlPlane { url, bin: bin.to_owned(), _servers: [server, etcd], folder };
        cluster.try_furnish("default").map_err(io::Error::other)?;
        Ok(cluster)
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of its authority, as PEM.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// kubectl as somebody who may do everything.
    pub fn admin(&self) -> Client {
        self.client("admin")
    }

    /// kubectl as the user `dev` of the group `developers`, who may do nothing until a role is bound to either.
    pub fn dev(&self) -> Client {
        self.client("dev")
    }

    /// helm with the admin's configuration, without arguments.
    pub fn helm(&self) -> Command {
        self.tool("helm")
    }

    /// kubeconform without arguments.
    pub fn kubeconform(&self) -> Command {
        self.tool("kubeconform")
    }

    /// Makes a namespace with these labels, and in it what controllers would: the service account `default`, and the
    /// ConfigMap with the server's authority that tokens are mounted with.
    ///
    /// # Panics
    /// The API server refuses.
    pub fn namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels },
        });
        self.admin().apply(&namespace.to_string()).expect_code(0);
        self.furnish(name);
    }

    /// Makes in a namespace that is there what controllers would, as [`ControlPlane::namespace`] does.
    ///
    /// # Panics
    /// The API server refuses.
    pub fn furnish(&self, namespace: &str) {
        self.try_furnish(namespace).expect("a namespace can be furnished");
    }

    fn try_furnish(&self, namespace: &str) -> Result<(), String> {
        let authority = fs::read_to_string(self.authority()).map_err(|error| error.to_string())?;
        let of = |name: &str| json!({ "name": name, "namespace": namespace });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": of("default") },
            { "apiVersion": "v1", "kind": "ConfigMap", "metadata": of("kube-root-ca.crt"), "data": { "ca.crt": authority } },
        ] });
        let ended = self.admin().apply(&list.to_string());
        if ended.code() == Some(0) { Ok(()) } else { Err(ended.to_string()) }
    }

    pub(super) fn bin(&self) -> &Path {
        &self.bin
    }

    pub(super) fn client(&self, name: &str) -> Client {
        let dir = self.folder.path();
        let config = dir.join(format!("{name}.kubeconfig"));
        Client::new(self.bin.join("kubectl"), config, dir.join("home"))
    }

    fn tool(&self, name: &str) -> Command {
        let home = self.folder.path().join("home");
        let mut command = Command::new(self.bin.join(name));
        command
            .env("KUBECONFIG", self.admin().config())
            .env("HOME", home)
            .env("NO_PROXY", "*")
            .env("no_proxy", "*");
        command
    }
}

fn port(held: &[std::net::TcpListener], at: usize) -> io::Result<u16> {
    let listener = held.get(at).ok_or_else(|| io::Error::other("too few ports"))?;
    Ok(listener.local_addr()?.port())
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn start(name: &str, bin: &Path, dir: &Path, args: Vec<OsString>) -> io::Result<Kept> {
    let home = dir.join("home").into_os_string();
    let environment = [("HOME", home), ("NO_PROXY", "*".into()), ("no_proxy", "*".into())];
    Kept::start(name, &bin.join(name), &args, &environment, &dir.join("log"))
}

/// `--name=value` for each.
pub(super) fn flags(all: &[(&str, OsString)]) -> Vec<OsString> {
    let flag = |(name, value): &(&str, OsString)| {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        flag
    };
    all.iter().map(flag).collect()
}

fn etcd(dir: &Path, store: u16, peer: u16) -> Vec<OsString> {
    let (store, peer) = (format!("http://127.0.0.1:{store}"), format!("http://127.0.0.1:{peer}"));
    flags(&[
        ("name", "only".into()),
        ("data-dir", dir.join("etcd").into()),
        // Nothing of it is to survive.
        ("unsafe-no-fsync", "true".into()),
        ("log-level", "warn".into()),
        ("listen-client-urls", store.as_str().into()),
        ("advertise-client-urls", store.into()),
        ("listen-peer-urls", peer.as_str().into()),
        ("initial-advertise-peer-urls", peer.as_str().into()),
        ("initial-cluster", format!("only={peer}").into()),
    ])
}

fn kube_apiserver(dir: &Path, api: u16, store: u16) -> Vec<OsString> {
    let file = |name: &str| dir.join(name).into_os_string();
    flags(&[
        ("etcd-servers", format!("http://127.0.0.1:{store}").into()),
        ("bind-address", "127.0.0.1".into()),
        ("advertise-address", "127.0.0.1".into()),
        ("secure-port", api.to_string().into()),
        ("tls-cert-file", file("server.pem")),
        ("tls-private-key-file", file("server-key.pem")),
        ("cert-dir", file("certs")),
        // No Service leads to it, since an address of this machine alone is refused as its endpoint.
        ("endpoint-reconciler-type", "none".into()),
        ("service-cluster-ip-range", "10.0.0.0/24".into()),
        ("service-account-issuer", "https://kubernetes.default.svc".into()),
        ("service-account-key-file", file("accounts-public.pem")),
        ("service-account-signing-key-file", file("accounts-key.pem")),
        ("authorization-mode", "Node,RBAC".into()),
        ("enable-admission-plugins", "NodeRestriction".into()),
        ("anonymous-auth", "false".into()),
        ("token-auth-file", file("tokens.csv")),
        ("allow-privileged", "true".into()),
    ])
}

/// The server's certificate under an authority of its own, and the key that tokens of service accounts are signed with.
fn keys(dir: &Path) -> io::Result<()> {
    let seed = random();
    let root =
        Pki::root(KeyKind::P256).seed(seed).subject("CN=kubernetes-root,O=tests").ca(Some(0)).self_signed();
    let leaf = Pki::leaf(KeyKind::P256)
        .seed(seed.wrapping_add(1))
        .subject("CN=kube-apiserver,O=tests")
        .not_a_ca()
        .extended(&[SERVER_AUTH])
        .names(&[ip(&[127, 0, 0, 1]), dns("localhost")])
        .issue(&root);
    let accounts = Key::new(KeyKind::P256, seed.wrapping_add(2));
    fs::write(dir.join("ca.pem"), root.pem())?;
    fs::write(dir.join("server.pem"), leaf.pem())?;
    fs::write(dir.join("server-key.pem"), leaf.key().pkcs8_pem())?;
    fs::write(dir.join("accounts-key.pem"), accounts.pkcs8_pem())?;
    fs::write(dir.join("accounts-public.pem"), accounts.public_pem())
}

/// A token for each user, and a configuration that holds it.
fn users(dir: &Path, url: &str) -> io::Result<()> {
    let mut tokens = String::new();
    for (name, user, group) in USERS {
        let token = format!("{:016x}{:016x}", random(), random());
        // Writing to a string does not fail.
        let _ = writeln!(tokens, "{token},{user},{user},{group}");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": url, "certificate-authority": dir.join("ca.pem") } }],
            "users": [{ "name": "it", "user": { "token": token } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it", "namespace": "default" } }],
        });
        fs::write(dir.join(format!("{name}.kubeconfig")), config.to_string())?;
    }
    fs::write(dir.join("tokens.csv"), tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::or_skip;

    #[test]
    fn the_admin_may_everything_and_the_plain_user_nothing_yet() {
        let Some(cluster) = or_skip(ControlPlane::shared()) else { return };
        let version = cluster.admin().kubectl(&["get", "--raw", "/version"]).expect_code(0);
        assert!(version.out().contains("\"gitVersion\": \"v1.37."), "{version}");
        cluster.namespace("one", &[("pod-security.kubernetes.io/enforce", "restricted")]);
        let refused = cluster.dev().kubectl(&["get", "pods", "--namespace=one"]).expect_code(1);
        assert!(refused.err().contains("\"dev\" cannot list resource \"pods\""), "{refused}");
    }

    #[test]
    fn pods_are_held_to_the_standard_of_their_namespace_and_service_accounts_are_there() {
        let Some(cluster) = or_skip(ControlPlane::shared()) else { return };
        cluster.namespace("two", &[("pod-security.kubernetes.io/enforce", "restricted")]);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod", "namespace": "two" },
            "spec": { "containers": [{ "name": "one", "image": "none" }] },
        });
        let refused = cluster.admin().create(&pod.to_string()).expect_code(1);
        assert!(refused.err().contains("violates PodSecurity \"restricted:latest\""), "{refused}");
        let token =
            cluster.admin().kubectl(&["create", "token", "default", "--namespace=two"]).expect_code(0);
        let asked = ["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"];
        let asked = [&[format!("--token={}", token.out().trim())][..], &asked.map(str::to_owned)].concat();
        let mut bare = Command::new(cluster.admin().program());
        bare.args([
            format!("--server={}", cluster.url()),
            format!("--certificate-authority={}", cluster.authority().display()),
        ]);
        let who = capture(bare.env("KUBECONFIG", "/dev/null").env("NO_PROXY", "*").args(asked))
            .expect("kubectl runs");
        assert_eq!(who.expect_code(0).out(), "system:serviceaccount:two:default");
        let acting = cluster.admin().acting_as("system:serviceaccount:two:default");
        let who = acting.kubectl(&["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]);
        assert_eq!(who.expect_code(0).out(), "system:serviceaccount:two:default");
    }
}
