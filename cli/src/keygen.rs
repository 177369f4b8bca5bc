//! `weightseal keygen`.

use std::{ffi::OsString, fs, path::PathBuf};

use serde::Serialize;
use tracing::info;
use weightseal::{Error, KeyType, PRIVATE, PUBLIC, PrivateKey, Replace, Shown, check_writable, write_whole};

use crate::{
    args::KeygenArgs,
    passphrase::PassphraseFrom,
    render::{
        Console,
        json::{VERSION, path},
    },
};

/// A new key pair; the JSON of `keygen`.
#[derive(Serialize)]
struct Pair {
    version: u32,
    private_key: String,
    public_key: String,
    algorithm: &'static str,
    /// By which reports call the key, and `--revoked-key` takes it.
    fingerprint: String,
    encrypted: bool,
}

/// Makes a key pair: both files, or none.
///
/// # Errors
/// `output-exists`, those of the passphrase and of writing.
pub(crate) fn run(args: KeygenArgs, console: &Console) -> Result<u8, Error> {
    let ending = |ending: &str| {
        let mut name = OsString::from(&args.name);
        name.push(ending);
        PathBuf::from(name)
    };
    let (private, public) = (ending(".key"), ending(".pub"));
    check_writable(&private, Replace::Nothing)?;
    check_writable(&public, Replace::Nothing)?;
    let kind: KeyType = args.kind.parse()?;
    let passphrase = match (args.passphrase_file, args.encrypt) {
        (Some(file), _) => Some(PassphraseFrom::File(file).choose()?),
        (None, true) => Some(PassphraseFrom::Asking.choose()?),
        (None, false) => None,
    };
    let key = PrivateKey::generate(kind)?;
    write_whole(&private, key.to_pem(passphrase.as_ref())?.as_bytes(), Replace::Nothing, PRIVATE)?;
    if let Err(error) = write_whole(&public, key.public().to_pem().as_bytes(), Replace::Nothing, PUBLIC) {
        // A private key whose public half is lost is of no use, and would stand in the way.
        let _ = fs::remove_file(&private);
        return Err(error);
    }
    if kind == KeyType::Ed25519 {
        info!("model_signing does not know Ed25519 keys; --type p256 makes one that it can verify with");
    }
    let pair = Pair {
        version: VERSION,
        private_key: path(&private),
        public_key: path(&public),
        algorithm: key.public().algorithm(),
        fingerprint: key.public().fingerprint(),
        encrypted: passphrase.is_some(),
    };
    console.show(&pair, text)?;
    Ok(0)
}

fn text(pair: &Pair) -> String {
    let encrypted = if pair.encrypted { "encrypted" } else { "not encrypted: whoever can read it can sign" };
    format!(
        "private key: {} ({encrypted})\npublic key: {}\n{} key {}\n",
        Shown(&pair.private_key),
        Shown(&pair.public_key),
        pair.algorithm,
        pair.fingerprint
    )
}
