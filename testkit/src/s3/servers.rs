//! The servers: how each is started.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::store::KEY;
use crate::keeper::{Kept, KeptFolder};
use crate::pki::{KeyKind, Pki, SERVER_AUTH, dns, ip};
use crate::ready::{free_port, random};

/// Which server, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Minio,
    /// Without TLS.
    PlainMinio,
    Versitygw,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Minio | Kind::PlainMinio => "minio",
            Kind::Versitygw => "versitygw",
        }
    }

    fn scheme(self) -> &'static str {
        if self == Kind::PlainMinio { "http" } else { "https" }
    }
}

/// A server that was started, and may not be ready yet.
pub(super) struct Started {
    pub(super) url: String,
    pub(super) ca: PathBuf,
    pub(super) access_key: String,
    pub(super) secret_key: String,
    /// Ends before its folder goes.
    pub(super) server: Kept,
    pub(super) folder: KeptFolder,
}

/// Starts the program from `bin` with everything it writes in a folder of its own.
pub(super) fn start(kind: Kind, bin: &Path) -> io::Result<Started> {
    let folder = KeptFolder::new()?;
    let dir = folder.path();
    for name in ["data", "versions", "certs", "log"] {
        fs::create_dir(dir.join(name))?;
    }
    certificates(kind, dir)?;
    let port = free_port()?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let access_key = "weightseal-test".to_owned();
    let secret_key = format!("secret-{:016x}{:016x}", random(), random());

    let file = |name: &str| dir.join(name).into_os_string();
    let args: Vec<OsString> = match kind {
        Kind::Minio | Kind::PlainMinio => vec![
            "server".into(),
            "--quiet".into(),
            "--address".into(),
            address.as_str().into(),
            "--certs-dir".into(),
            file("certs"),
            file("data"),
        ],
        Kind::Versitygw => vec![
            "--port".into(),
            address.as_str().into(),
            "--cert".into(),
            file("certs/public.crt"),
            "--key".into(),
            file("certs/private.key"),
            "--quiet".into(),
            "posix".into(),
            "--versioning-dir".into(),
            file("versions"),
            file("data"),
        ],
    };
    let key = format!("{KEY}:{}", STANDARD.encode([random().to_be_bytes(); 4].concat()));
    let environment: Vec<(&str, OsString)> = vec![
        ("HOME", dir.as_os_str().to_owned()),
        ("NO_PROXY", "*".into()),
        ("no_proxy", "*".into()),
        ("MINIO_ROOT_USER", access_key.as_str().into()),
        ("MINIO_ROOT_PASSWORD", secret_key.as_str().into()),
        ("MINIO_KMS_SECRET_KEY", key.into()),
        ("MINIO_BROWSER", "off".into()),
        ("MINIO_UPDATE", "off".into()),
        ("ROOT_ACCESS_KEY", access_key.as_str().into()),
        ("ROOT_SECRET_KEY", secret_key.as_str().into()),
    ];
    let server = Kept::start(kind.name(), &bin.join(kind.name()), &args, &environment, &dir.join("log"))?;
    let url = format!("{}://{address}", kind.scheme());
    Ok(Started { url, ca: dir.join("ca.pem"), access_key, secret_key, server, folder })
}

/// Writes the authority's certificate and, where there is TLS, the server's with its key, as both programs read them.
fn certificates(kind: Kind, dir: &Path) -> io::Result<()> {
    let seed = random();
    let root = Pki::root(KeyKind::P256).seed(seed).subject("CN=s3-root,O=private-s3").ca(Some(0));
    let root = root.self_signed();
    fs::write(dir.join("ca.pem"), root.pem())?;
    if kind == Kind::PlainMinio {
        return Ok(());
    }
    let leaf = Pki::leaf(KeyKind::P256)
        .seed(seed.wrapping_add(1))
        .subject("CN=s3,O=private-s3")
        .not_a_ca()
        .extended(&[SERVER_AUTH])
        .names(&[ip(&[127, 0, 0, 1]), dns("localhost"), dns("store.example.test")])
        .issue(&root);
    fs::write(dir.join("certs/public.crt"), leaf.pem())?;
    fs::write(dir.join("certs/private.key"), leaf.key().pkcs8_pem())
}
