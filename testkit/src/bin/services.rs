//! Brings servers up by hand, for whoever wants to try things on them: what `cargo xtask services` runs.
//!
//! It needs no handler for signals: the servers end with this process, however it ends.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use testkit::peers::peer;
use testkit::sigstore::{Options, Sigstore, build};

/// Whom the token is for.
const EMAIL: &str = "dev@example.com";

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    let (service, dir) = match args.as_slice() {
        [service] => (service, None),
        [service, dir] => (service, Some(PathBuf::from(dir))),
        _ => return misuse(),
    };
    if service != "sigstore" {
        return misuse();
    }
    match sigstore(dir.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn misuse() -> ExitCode {
    eprintln!("usage: services sigstore [DIR]");
    ExitCode::from(2)
}

/// How often the token is made anew, which is good for ten minutes.
const RENEWAL: Duration = Duration::from_secs(240);

fn sigstore(dir: Option<&Path>) -> Result<(), Box<dyn Error>> {
    build()?;
    // Installed if need be; where it cannot be had, whoever has it elsewhere can still read the lines.
    let peer = peer("1.1.1").map(|peer| peer.python().with_file_name("model_signing"));
    let peer = peer.unwrap_or_else(|_| PathBuf::from("model_signing"));
    let start = Instant::now();
    let options = dir.map_or_else(Options::default, |dir| Options::default().dir(dir));
    let sigstore = Sigstore::start(&options)?;
    write_token(&sigstore)?;
    println!("up after {:.1} s", start.elapsed().as_secs_f64());
    println!("{}\nThey end with Ctrl-C, or with the end of standard input.", described(&sigstore, &peer));
    io::stdout().flush()?;

    let (end, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        // What somebody types meanwhile means nothing.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(end);
    });
    while ended.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
        write_token(&sigstore)?;
    }
    Ok(())
}

fn token_file(sigstore: &Sigstore) -> PathBuf {
    sigstore.dir().join("token")
}

/// Without a newline, which some clients take for a part of it, and never half of it.
fn write_token(sigstore: &Sigstore) -> io::Result<()> {
    let (file, beside) = (token_file(sigstore), sigstore.dir().join("token.new"));
    fs::write(&beside, sigstore.token(EMAIL))?;
    fs::rename(beside, file)
}

fn described(sigstore: &Sigstore, peer: &Path) -> String {
    let servers = [
        ("Fulcio", sigstore.fulcio_url()),
        ("Rekor v2", sigstore.rekor_v2_url()),
        ("Rekor v1", sigstore.rekor_v1_url()),
        ("TSA", sigstore.tsa_url()),
        ("CT log", sigstore.ct_url()),
        ("issuer", sigstore.issuer()),
        ("of URIs", sigstore.uri_issuer()),
    ];
    let servers: String = servers.iter().map(|(name, url)| format!("  {name:9} {url}\n")).collect();
    let (dir, trust, token) = (sigstore.dir().display(), sigstore.trust_config(), token_file(sigstore));
    let (trust, token, peer, issuer) = (trust.display(), token.display(), peer.display(), sigstore.issuer());
    format!(
        "{servers}
In {dir}:
  trusted_root.json, signing_config.json; trust_config.json has both
  signing_config_v1.json, trust_config_v1.json: the same with Rekor v1
  token: for {EMAIL}, always good for some minutes more

Sign and verify:
  weightseal sign sigstore MODEL --trust-config {trust} --identity-token-file {token}
  weightseal verify sigstore MODEL --trust-config {trust} --identity {EMAIL} --identity-provider {issuer}

The same with the Python implementation:
  {peer} sign sigstore MODEL --signature MODEL.sig --trust_config {trust} --identity_token \"$(cat {token})\"
  {peer} verify sigstore MODEL --signature MODEL.sig --trust_config {trust} --identity {EMAIL} --identity_provider {issuer}
"
    )
}
