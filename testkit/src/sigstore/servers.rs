//! The servers: how each is started, and when it is ready.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::authority::PASSPHRASE;
use super::issuer::{AUDIENCE, Issuer};
use crate::http;
use crate::keeper::Kept;
use crate::ready::{free_port, until_ready};

/// What the log of certificates and Rekor v1 call themselves.
const CT_ORIGIN: &str = "ct.localhost";
const REKOR_V1_HOST: &str = "rekor1.localhost";

/// The name of Rekor v2, which clients want to be the host of its address.
pub(super) const REKOR_V2_ORIGIN: &str = "127.0.0.1";

/// A free port for every purpose.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) fulcio: u16,
    pub(super) ct: u16,
    pub(super) rekor_v1: u16,
    pub(super) rekor_v2: u16,
    pub(super) tsa: u16,
    trillian: u16,
    fulcio_grpc: u16,
    fulcio_metrics: u16,
    rekor_v2_grpc: u16,
    rekor_v2_metrics: u16,
}

impl Ports {
    /// Ports that nobody listens on at this moment.
    pub(super) fn free() -> io::Result<Ports> {
        // Kept until all are chosen, so that none is chosen twice.
        let mut held = Vec::new();
        let mut port = || -> io::Result<u16> {
            let listener = free_port()?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        Ok(Ports {
            fulcio: port()?,
            ct: port()?,
            rekor_v1: port()?,
            rekor_v2: port()?,
            tsa: port()?,
            trillian: port()?,
            fulcio_grpc: port()?,
            fulcio_metrics: port()?,
            rekor_v2_grpc: port()?,
            rekor_v2_metrics: port()?,
        })
    }
}

/// `http://127.0.0.1:PORT`.
pub(super) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// When a server is ready.
enum Ready {
    /// It answers this address with 200.
    Answers(String),
    /// It accepts connections.
    Listens(u16),
}

impl Ready {
    fn is_so(&self) -> bool {
        match self {
            Ready::Answers(url) => http::get(url).is_ok_and(|response| response.status == 200),
            Ready::Listens(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
        }
    }
}

/// Starts all of them: programs from `bin`, keys and everything they write in `run`. In the order in which they are
/// to end, the last first.
pub(super) fn start(bin: &Path, run: &Path, ports: &Ports, issuers: [&Issuer; 2]) -> io::Result<Vec<Kept>> {
    for dir in ["log", "ct", "rekor-v2"] {
        fs::create_dir(run.join(dir))?;
    }
    fs::write(run.join("fulcio.yaml"), fulcio_config(issuers))?;
    let file = |name: &str| run.join(name).into_os_string();
    let start = |name: &str, args: Vec<OsString>| {
        // Rekor v1 does not start without a home, and reads settings there; nobody asks a proxy for the next server.
        let environment =
            [("HOME", run.as_os_str().to_owned()), ("NO_PROXY", "*".into()), ("no_proxy", "*".into())];
        Kept::start(name, &bin.join(name), &args, &environment, &run.join("log"))
    };

    let mut trillian = start("trillian-mem", flags(&[("listen", address(ports.trillian))]))?;
    let mut ct = start("tesseract", tesseract(ports, &file))?;
    let mut tsa = start("timestamp-server", timestamp_server(ports, &file))?;
    let mut rekor_v2 = start("rekor-tiles", rekor_tiles(ports, &file))?;
    let mut fulcio = start("fulcio", fulcio(ports, &file))?;
    until_ready(&mut trillian, || Ready::Listens(ports.trillian).is_so())?;
    // It asks for its tree when it starts.
    let mut rekor_v1 = start("rekor-server", rekor_server(ports, &file))?;

    until_ready(&mut ct, || Ready::Answers(format!("{}/ct/v1/get-roots", url(ports.ct))).is_so())?;
    until_ready(&mut tsa, || Ready::Answers(format!("{}/ping", url(ports.tsa))).is_so())?;
    until_ready(&mut rekor_v2, || Ready::Answers(format!("{}/healthz", url(ports.rekor_v2))).is_so())?;
    until_ready(&mut fulcio, || Ready::Answers(format!("{}/healthz", url(ports.fulcio))).is_so())?;
    until_ready(&mut rekor_v1, || Ready::Answers(format!("{}/api/v1/log", url(ports.rekor_v1))).is_so())?;
    Ok(vec![rekor_v1, fulcio, rekor_v2, tsa, ct, trillian])
}

fn address(port: u16) -> OsString {
    format!("127.0.0.1:{port}").into()
}

/// `--name=value` for each.
fn flags(all: &[(&str, OsString)]) -> Vec<OsString> {
    let flag = |(name, value): &(&str, OsString)| {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        flag
    };
    all.iter().map(flag).collect()
}

/// The same below the command `serve`.
fn serve(all: &[(&str, OsString)]) -> Vec<OsString> {
    std::iter::once("serve".into()).chain(flags(all)).collect()
}

fn port(port: u16) -> OsString {
    port.to_string().into()
}

type File<'a> = &'a dyn Fn(&str) -> OsString;

fn tesseract(ports: &Ports, file: File<'_>) -> Vec<OsString> {
    flags(&[
        ("http_endpoint", address(ports.ct)),
        ("origin", CT_ORIGIN.into()),
        ("private_key", file("ct-key.pem")),
        ("storage_dir", file("ct")),
        ("roots_pem_file", file("fulcio-root.pem")),
        // Answers do not wait for the next tree.
        ("enable_publication_awaiter", "false".into()),
        ("batch_max_age", "50ms".into()),
        ("checkpoint_interval", "200ms".into()),
    ])
}

fn timestamp_server(ports: &Ports, file: File<'_>) -> Vec<OsString> {
    flags(&[
        ("host", "127.0.0.1".into()),
        ("port", port(ports.tsa)),
        ("key", file("tsa-key.pem")),
        ("chain", file("tsa-chain.pem")),
    ])
}

fn rekor_tiles(ports: &Ports, file: File<'_>) -> Vec<OsString> {
    serve(&[
        ("http-address", "127.0.0.1".into()),
        ("http-port", port(ports.rekor_v2)),
        ("grpc-address", "127.0.0.1".into()),
        ("grpc-port", port(ports.rekor_v2_grpc)),
        ("http-metrics-port", port(ports.rekor_v2_metrics)),
        ("hostname", REKOR_V2_ORIGIN.into()),
        ("storage-dir", file("rekor-v2")),
        ("signer-filepath", file("rekor-v2-key.pem")),
        ("signer-password", "".into()),
        ("batch-max-age", "50ms".into()),
        ("checkpoint-interval", "200ms".into()),
    ])
}

fn fulcio(ports: &Ports, file: File<'_>) -> Vec<OsString> {
    serve(&[
        ("ca", "fileca".into()),
        ("fileca-cert", file("fulcio-chain.pem")),
        ("fileca-key", file("fulcio-key.pem")),
        ("fileca-key-passwd", PASSPHRASE.into()),
        ("fileca-watch", "false".into()),
        ("ct-log-url", url(ports.ct).into()),
        ("ct-log-origin", CT_ORIGIN.into()),
        ("ct-log-public-key-path", file("ct-public.pem")),
        ("config-path", file("fulcio.yaml")),
        ("host", "127.0.0.1".into()),
        ("port", port(ports.fulcio)),
        ("grpc-host", "127.0.0.1".into()),
        ("grpc-port", port(ports.fulcio_grpc)),
        ("metrics-port", port(ports.fulcio_metrics)),
        ("legacy-unix-domain-socket", file("fulcio.sock")),
    ])
}

/// It also opens a port for metrics, 2112 of every interface, which no flag moves; where that is taken it does without.
fn rekor_server(ports: &Ports, file: File<'_>) -> Vec<OsString> {
    // All but the search by hash, which wants a database of its own.
    let endpoints = "getLogInfo,getPublicKey,getLogProof,createLogEntry,getLogEntryByIndex,getLogEntryByUUID,searchLogQuery";
    serve(&[
        ("port", port(ports.rekor_v1)),
        ("rekor_server.address", "127.0.0.1".into()),
        ("rekor_server.hostname", REKOR_V1_HOST.into()),
        ("rekor_server.signer", file("rekor-v1-key.pem")),
        ("trillian_log_server.address", "127.0.0.1".into()),
        ("trillian_log_server.port", port(ports.trillian)),
        ("enable_retrieve_api", "false".into()),
        ("enabled_api_endpoints", endpoints.into()),
    ])
}

/// One issuer whose tokens are for email addresses, and one for addresses of workloads.
fn fulcio_config([email, uri]: [&Issuer; 2]) -> String {
    let entry = |issuer: &Issuer, kind: &str| {
        let url = issuer.url();
        format!(
            "  {url}:\n    issuer-url: {url}\n    client-id: {AUDIENCE}\n    type: {kind}\n    \
             contact: dev@example.com\n    description: an issuer of tests\n"
        )
    };
    let of_uris = entry(uri, "uri") + "    subject-domain: http://localhost\n";
    format!("oidc-issuers:\n{}{of_uris}", entry(email, "email"))
}
