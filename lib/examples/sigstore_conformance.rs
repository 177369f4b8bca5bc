//! The client that the public Sigstore conformance suite drives, for envelopes over statements of any predicate.
//!
//! ```text
//! sigstore_conformance verify-bundle [--staging] --bundle FILE --certificate-identity ID --certificate-oidc-issuer URL
//!     [--trusted-root FILE] FILE_OR_DIGEST
//! sigstore_conformance verify-bundle --bundle FILE --key FILE [--trusted-root FILE] FILE_OR_DIGEST
//! sigstore_conformance sign-bundle [--staging] --identity-token TOKEN --bundle FILE [--trusted-root FILE]
//!     [--signing-config FILE] FILE
//! ```
//! Exit code 0 on success; else the code of the class: 1 rejected, 2 misuse, 3 could not tell. What is signed is a
//! statement about the file with the predicate type below.
#![allow(clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::{collections::HashMap, error::Error as StdError, fs, process::ExitCode};

use sha2::{Digest as _, Sha256, Sha512};
use weightseal::{
    Bundle, Code, Error, Http, IdentityToken, Instance, KeyVerifier, NotProven, Proof, Replace, Run,
    SigningConfig, SigstoreIdentity, SigstoreSigner, SigstoreVerifier, TrustStore, TrustedRoot, Verifier,
    read_key,
};

/// The predicate type of what is signed here.
const PREDICATE: &str = "https://example.org/weightseal/conformance/v1";

/// The flags that take a value.
const VALUES: [&str; 7] = [
    "bundle",
    "certificate-identity",
    "certificate-oidc-issuer",
    "identity-token",
    "key",
    "signing-config",
    "trusted-root",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.downcast_ref::<Error>().map_or(1, |error| error.class().exit()))
        }
    }
}

fn run() -> Result<(), Box<dyn StdError>> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().ok_or_else(|| misuse("a command is missing"))?;
    let call = Call::parse(arguments)?;
    match command.as_str() {
        "verify-bundle" => verify(&call),
        "sign-bundle" => sign(&call),
        other => Err(misuse(&format!("unknown command {other:?}")).into()),
    }
}

fn verify(call: &Call) -> Result<(), Box<dyn StdError>> {
    let bundle = Bundle::read(call.one("bundle")?)?;
    let root = call.root()?;
    let run = Run::new();
    let identity = ["certificate-identity", "certificate-oidc-issuer"].map(|flag| call.flags.get(flag));
    let proof = match (call.flags.get("key"), identity) {
        (Some(key), [None, None]) => {
            KeyVerifier::from_pem(&read_key(key)?)?.trusted_root(root).verify(&bundle, &run)
        }
        (None, [Some(identity), Some(issuer)]) => {
            SigstoreVerifier::new(root, SigstoreIdentity::new(identity, issuer)).verify(&bundle, &run)
        }
        _ => return Err(misuse("give either a key, or an identity and its issuer").into()),
    };
    let proof = proof.map_err(|not_proven| match not_proven {
        NotProven::NotMine(finding) | NotProven::Refused(finding) => {
            format!("{}: {}", finding.code, finding.what)
        }
    })?;
    about(&proof, call.artifact()?)
        .then_some(())
        .ok_or_else(|| "the statement is about something else".into())
}

fn sign(call: &Call) -> Result<(), Box<dyn StdError>> {
    let artifact = call.artifact()?;
    let content = fs::read(artifact)?;
    let statement = serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": artifact, "digest": {"sha256": hex(&Sha256::digest(&content))}}],
        "predicateType": PREDICATE,
        "predicate": {},
    });
    let token = IdentityToken::parse(call.one("identity-token")?)?;
    let run = Run::new();
    let services = match call.flags.get("signing-config") {
        Some(path) => SigningConfig::read(path)?,
        None => SigningConfig::parse(&call.store().signing_config(&run)?, "the instance's")?,
    };
    let signer = SigstoreSigner::new(services, call.root()?, token, Http::new()?);
    let bundle = signer.sign_payload(&statement.to_string().into_bytes().into(), &run)?;
    Ok(bundle.write(call.one("bundle")?, Replace::Anything)?)
}

/// Whether what was signed is about this artifact.
fn about(proof: &Proof, artifact: &str) -> bool {
    let stated: serde_json::Value = serde_json::from_slice(proof.payload()).unwrap_or_default();
    let given = artifact
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && !fs::exists(artifact).unwrap_or(true));
    let content = fs::read(artifact).ok();
    let sha256 = given.map(ToOwned::to_owned).or_else(|| Some(hex(&Sha256::digest(content.as_ref()?))));
    let sha512 = content.as_ref().map(|content| hex(&Sha512::digest(content)));
    let subjects = stated["subject"].as_array().into_iter().flatten();
    let is = |digest: &serde_json::Value, wanted: &Option<String>| {
        digest.as_str().is_some_and(|digest| Some(digest) == wanted.as_deref())
    };
    subjects
        .map(|subject| &subject["digest"])
        .any(|digests| is(&digests["sha256"], &sha256) || is(&digests["sha512"], &sha512))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn misuse(what: &str) -> Error {
    Error::new(Code::BadArgument, what)
}

/// What the suite asks for.
struct Call {
    flags: HashMap<String, String>,
    staging: bool,
    artifact: Option<String>,
}

impl Call {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut call = Call { flags: HashMap::new(), staging: false, artifact: None };
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                Some("staging") => call.staging = true,
                Some(flag) if VALUES.contains(&flag) => {
                    let value = arguments.next().ok_or_else(|| misuse(&format!("--{flag} needs a value")))?;
                    call.flags.insert(flag.to_owned(), value);
                }
                Some(flag) => return Err(misuse(&format!("unknown flag --{flag}"))),
                None => call.artifact = Some(argument),
            }
        }
        Ok(call)
    }

    fn one(&self, flag: &str) -> Result<&str, Error> {
        self.flags.get(flag).map(String::as_str).ok_or_else(|| misuse(&format!("--{flag} is missing")))
    }

    fn artifact(&self) -> Result<&str, Error> {
        self.artifact.as_deref().ok_or_else(|| misuse("no artifact is given"))
    }

    fn store(&self) -> TrustStore {
        TrustStore::new(if self.staging { Instance::Staging } else { Instance::PublicGood })
    }

    fn root(&self) -> Result<TrustedRoot, Error> {
        match self.flags.get("trusted-root") {
            Some(path) => TrustedRoot::read(path),
            None => self.store().load(&Run::new()),
        }
    }
}
