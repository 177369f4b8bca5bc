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
use std::time::Instant;

use testkit::peers;
use testkit::sigstore::{Options, Sigstore, build};

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

fn sigstore(dir: Option<&Path>) -> Result<(), Box<dyn Error>> {
    build()?;
    let start = Instant::now();
    let options = dir.map_or_else(Options::default, |dir| Options::default().dir(dir));
    let sigstore = Sigstore::start(&options)?;
    let token = sigstore.dir().join("token");
    // Without a newline, which one of the clients would take for a part of it.
    fs::write(&token, sigstore.token("dev@example.com"))?;
    println!("up after {:.1} s", start.elapsed().as_secs_f64());
    println!("{}", described(&sigstore, &token));
    io::stdout().flush()?;
    // Until its end; what somebody types meanwhile means nothing.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn described(sigstore: &Sigstore, token: &Path) -> String {
    let (trust, token) = (sigstore.trust_config(), token.display());
    let trust = trust.display();
    let servers = [
        ("Fulcio", sigstore.fulcio_url()),
        ("Rekor v2", sigstore.rekor_v2_url()),
        ("Rekor v1", sigstore.rekor_v1_url()),
        ("TSA", sigstore.tsa_url()),
        ("CT log", sigstore.ct_url()),
        ("issuer", sigstore.issuer()),
        ("of URIs", sigstore.uri_issuer()),
    ];
    let mut text: String = servers.iter().map(|(name, url)| format!("  {name:9} {url}\n")).collect();
    let dir = sigstore.dir().display();
    text += &format!(
        "\nIn {dir}: trusted_root.json, signing_config.json, trust_config.json (both in one); with Rekor v1 \
         signing_config_v1.json, trust_config_v1.json; token, for dev@example.com, good for ten minutes.\n"
    );
    text += &format!(
        "\nSign and verify:\n  weightseal sign sigstore MODEL --trust-config {trust} --identity-token-file {token}\n  \
         weightseal verify sigstore MODEL --trust-config {trust} --identity dev@example.com --identity-provider {}\n",
        sigstore.issuer()
    );
    // The peer is only named where it is there: nobody asked to install it.
    let python = peers::peer("1.1.1").map(|peer| peer.python().with_file_name("model_signing"));
    let python = python.map_or_else(|_| "model_signing".to_owned(), |path| path.display().to_string());
    text += &format!(
        "\nThe same with the Python implementation:\n  {python} sign sigstore MODEL --signature MODEL.sig --trust_config \
         {trust} --identity_token \"$(cat {token})\"\n  {python} verify sigstore MODEL --signature MODEL.sig \
         --trust_config {trust} --identity dev@example.com --identity_provider {}\n",
        sigstore.issuer()
    );
    text += "\nThey end with Ctrl-C, or with the end of standard input.";
    text
}
