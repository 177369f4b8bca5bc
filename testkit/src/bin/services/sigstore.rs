//! A private Sigstore, with a token that stays good.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use testkit::peers::peer;
use testkit::sigstore::{Options, Sigstore, build};

use super::{Result, Service};

/// Whom the token is for.
const EMAIL: &str = "dev@example.com";

struct Running {
    sigstore: Sigstore,
    peer: PathBuf,
}

/// Starts one, with what clients read in this folder.
pub(super) fn start(dir: Option<&Path>) -> Result<Box<dyn Service>> {
    build()?;
    // Installed if need be; where it cannot be had, whoever has it elsewhere can still read the lines.
    let peer = peer("1.1.1").map(|peer| peer.python().with_file_name("model_signing"));
    let peer = peer.unwrap_or_else(|_| PathBuf::from("model_signing"));
    let start = Instant::now();
    let options = dir.map_or_else(Options::default, |dir| Options::default().dir(dir));
    let sigstore = Sigstore::start(&options)?;
    write_token(&sigstore)?;
    println!("Sigstore is up after {:.1} s", start.elapsed().as_secs_f64());
    Ok(Box::new(Running { sigstore, peer }))
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&described(&self.sigstore, &self.peer))
    }
}

impl Service for Running {
    /// The token is good for ten minutes.
    fn renew(&self) -> io::Result<()> {
        write_token(&self.sigstore)
    }
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
