//! `sign`: its flags, and the checked configuration that comes of them.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use tracing::warn;
use weightseal::{Code, Error, Hashing};

use super::{
    HashArgs, Method, ModelArgs, ModelConfig, RunArgs, RunConfig, Words,
    method::{Given, feature_missing, infer},
    values::default_signature,
};
use crate::passphrase::PassphraseFrom;

pub(super) const EXAMPLES: &str = "Examples:\n  \
    weightseal sign models/llama --private-key release.key --name acme/llama-3 --version 1.2\n  \
    weightseal sign models/llama --private-key release.key --shard-size 64MiB --hash-algorithm blake3\n  \
    weightseal sign certificate model.gguf --private-key leaf.key --signing-certificate leaf.pem --certificate-chain \
    ca.pem";

const KEY: &str = "Signing method key";
const CERTIFICATE: &str = "Signing method certificate (with --private-key)";
const SIGSTORE: &str = "Signing methods sigstore and pkcs11 (not in this build)";

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    words: Words,

    /// Where to write the signature [default: MODEL/model.sig, or FILE.sig beside a single file]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    signature: Option<PathBuf>,

    /// Replace whatever file is there; without it only a signature is replaced
    #[arg(long)]
    force: bool,

    /// Sign this as the model's name, for verify --name to demand
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Sign this as the model's version, for verify --version to demand
    #[arg(long = "version", value_name = "VERSION")]
    release: Option<String>,

    /// The private key: PEM with PKCS#8, encrypted PKCS#8, or SEC1
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = KEY)]
    private_key: Option<PathBuf>,

    /// Read the key's passphrase from this file; else it is WEIGHTSEAL_PASSPHRASE, or asked for on the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = KEY)]
    passphrase_file: Option<PathBuf>,

    /// The key's passphrase itself, which everybody on this machine can see while the command runs
    #[arg(long, value_name = "PASSWORD", conflicts_with = "passphrase_file", help_heading = KEY)]
    password: Option<String>,

    /// The certificate of the key, in PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = CERTIFICATE)]
    signing_certificate: Option<PathBuf>,

    /// Certificates that lead from it to the root, in PEM; may be given several times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = CERTIFICATE)]
    certificate_chain: Vec<PathBuf>,

    #[command(flatten)]
    hash: HashArgs,

    #[command(flatten)]
    content: ModelArgs,

    #[command(flatten)]
    run: RunArgs,

    /// The URI of a key in a PKCS#11 device
    #[arg(long, value_name = "URI", help_heading = SIGSTORE)]
    pkcs11_uri: Option<String>,

    /// Use Sigstore's staging instance
    #[arg(long, overrides_with = "use_staging", help_heading = SIGSTORE)]
    use_staging: bool,

    /// Use the Sigstore instance that this file describes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = SIGSTORE)]
    trust_config: Option<PathBuf>,

    /// Use the identity that the environment (a CI job) has
    #[arg(long, overrides_with = "use_ambient_credentials", help_heading = SIGSTORE)]
    use_ambient_credentials: bool,

    /// Use this OpenID Connect token
    #[arg(long, value_name = "TOKEN", help_heading = SIGSTORE)]
    identity_token: Option<String>,

    /// Do not start a browser
    #[arg(long, overrides_with = "oauth_force_oob", help_heading = SIGSTORE)]
    oauth_force_oob: bool,

    /// The OAuth client's id
    #[arg(long, value_name = "ID", help_heading = SIGSTORE)]
    client_id: Option<String>,

    /// The OAuth client's secret
    #[arg(long, value_name = "SECRET", help_heading = SIGSTORE)]
    client_secret: Option<String>,
}

/// What is to be signed with what.
#[derive(Debug)]
pub(crate) struct SignConfig {
    pub(crate) model: ModelConfig,
    pub(crate) signature: PathBuf,
    /// Whether the signature goes where verify looks for it.
    pub(crate) usual_place: bool,
    pub(crate) force: bool,
    pub(crate) name: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) private_key: PathBuf,
    pub(crate) passphrase: PassphraseFrom,
    pub(crate) signing: Signing,
    pub(crate) hashing: Hashing,
    pub(crate) run: RunConfig,
}

/// The signing method with what it needs besides the key.
#[derive(Debug)]
pub(crate) enum Signing {
    Key,
    Certificate { certificate: PathBuf, chain: Vec<PathBuf> },
}

impl SignArgs {
    /// The configuration that these arguments come to.
    ///
    /// # Errors
    /// `bad-argument`, `arguments-conflict`, `feature-missing`.
    pub(crate) fn check(self) -> Result<SignConfig, Error> {
        let (named, model) = self.words.resolve()?;
        let method = infer(named, &self.given())?;
        let signing = match method {
            Method::Sigstore => {
                return Err(feature_missing(method, "sigstore-sign").with_help(
                    "sign with a key (--private-key), or with a certificate (--private-key and --signing-certificate)",
                ));
            }
            Method::Pkcs11Key | Method::Pkcs11Certificate => {
                return Err(
                    feature_missing(method, "pkcs11").with_help("sign with a key file (--private-key)")
                );
            }
            Method::Key => Signing::Key,
            Method::Certificate => Signing::Certificate {
                certificate: needed(self.signing_certificate, "--signing-certificate", method)?,
                chain: self.certificate_chain,
            },
        };
        let passphrase = match (self.passphrase_file, self.password) {
            (Some(file), _) => PassphraseFrom::File(file),
            (None, Some(password)) => {
                warn!(
                    "--password shows the passphrase to everybody on this machine; --passphrase-file does not"
                );
                PassphraseFrom::Argument(password)
            }
            (None, None) => PassphraseFrom::Asking,
        };
        let usual = default_signature(&model);
        Ok(SignConfig {
            usual_place: self.signature.as_ref().is_none_or(|signature| *signature == usual),
            signature: self.signature.unwrap_or(usual),
            model: self.content.of(model),
            force: self.force,
            name: self.name,
            release: self.release,
            private_key: needed(self.private_key, "--private-key", method)?,
            passphrase,
            signing,
            hashing: self.hash.check()?,
            run: self.run,
        })
    }

    /// The flags that say something about the signing method.
    fn given(&self) -> Vec<Given> {
        const SIGSTORE: &[Method] = &[Method::Sigstore];
        const FILE: &[Method] = &[Method::Key, Method::Certificate];
        const CERTIFICATE: &[Method] = &[Method::Certificate, Method::Pkcs11Certificate];
        const DEVICE: &[Method] = &[Method::Pkcs11Key, Method::Pkcs11Certificate];
        [
            (self.private_key.is_some(), "--private-key", FILE),
            (self.passphrase_file.is_some(), "--passphrase-file", FILE),
            (self.password.is_some(), "--password", FILE),
            (self.pkcs11_uri.is_some(), "--pkcs11-uri", DEVICE),
            (self.signing_certificate.is_some(), "--signing-certificate", CERTIFICATE),
            (!self.certificate_chain.is_empty(), "--certificate-chain", CERTIFICATE),
            (self.use_staging, "--use-staging", SIGSTORE),
            (self.trust_config.is_some(), "--trust-config", SIGSTORE),
            (self.use_ambient_credentials, "--use-ambient-credentials", SIGSTORE),
            (self.identity_token.is_some(), "--identity-token", SIGSTORE),
            (self.oauth_force_oob, "--oauth-force-oob", SIGSTORE),
            (self.client_id.is_some(), "--client-id", SIGSTORE),
            (self.client_secret.is_some(), "--client-secret", SIGSTORE),
        ]
        .into_iter()
        .filter_map(|(given, flag, methods)| given.then_some(Given { flag, methods, tells: true }))
        .collect()
    }
}

fn needed<T>(value: Option<T>, flag: &str, method: Method) -> Result<T, Error> {
    value.ok_or_else(|| {
        Error::new(Code::BadArgument, format!("{flag} is missing for the signing method {method}"))
            .with_help(format!("give {flag} FILE"))
    })
}
