//! `sign`: its flags, and the checked configuration that comes of them.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use tracing::warn;
use weightseal::{Code, Error, Hashing, ModelUri, RekorVersion, SignIn};

use super::{
    HashArgs, Method, ModelArgs, ModelConfig, RunArgs, RunConfig, StoreArgs, Words,
    method::{Given, feature_missing, infer},
    values::{self, default_signature, on_disk},
};
use crate::{
    identity::{Secret, TokenFrom},
    passphrase::PassphraseFrom,
};

pub(super) const EXAMPLES: &str = "Examples:\n  \
    weightseal sign models/llama --private-key release.key --name acme/llama-3 --version 1.2\n  \
    weightseal sign models/llama --private-key release.key --shard-size 64MiB --hash-algorithm blake3\n  \
    weightseal sign certificate model.gguf --private-key leaf.key --signing-certificate leaf.pem --certificate-chain \
    ca.pem\n  \
    weightseal sign models/llama --identity-token-file /var/run/secrets/tokens/sigstore\n  \
    weightseal sign sigstore models/llama --trusted-root trusted_root.json --signing-config signing_config.json\n\n\
    Who signs with the method sigstore, the first that applies:\n  \
    1. whom one of these flags names: --identity-token-file, --identity-token,\n     \
       --use-ambient-credentials (the job of GitHub, GitLab, Buildkite or CircleCI),\n     \
       or --oauth-force-oob and --client-id (you, after signing in)\n  \
    2. the token in SIGSTORE_ID_TOKEN\n  \
    3. the job, in one of these services\n  \
    4. you, after signing in with a browser, where there is a terminal";

const KEY: &str = "Signing method key";
const CERTIFICATE: &str = "Signing method certificate (with --private-key)";
const SIGSTORE: &str = "Signing method sigstore";
const PKCS11: &str = "Signing methods pkcs11 (not in this build)";

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    words: Words,

    /// Where to write the signature: a path, s3:// or hf:// [default: MODEL/model.sig, or FILE.sig beside a single file; of
    /// a model in a store there is none]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = values::PlaceParser)]
    signature: Option<ModelUri>,

    /// Put the signature beside the model in its store
    #[arg(long, conflicts_with = "signature")]
    upload: bool,

    /// Replace whatever file is there; without it only a signature is replaced
    #[arg(long)]
    force: bool,

    /// Read no weights: sign the digests that the Hub states of a full commit. The statement says so, and is accepted where
    /// a policy accepts it
    #[arg(long)]
    from_stated: bool,

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

    #[command(flatten)]
    sigstore: SigstoreArgs,

    #[command(flatten)]
    stores: StoreArgs,

    /// The URI of a key in a PKCS#11 device
    #[arg(long, value_name = "URI", help_heading = PKCS11)]
    pkcs11_uri: Option<String>,
}

/// The flags of the method sigstore.
#[derive(Args, Debug)]
struct SigstoreArgs {
    /// Read the OpenID Connect token from this file, such as Kubernetes projects into a pod
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = SIGSTORE)]
    identity_token_file: Option<PathBuf>,

    /// The OpenID Connect token itself, which everybody on this machine can see while the command runs
    #[arg(long, value_name = "TOKEN", help_heading = SIGSTORE)]
    identity_token: Option<Secret>,

    /// Sign as the continuous-integration job that this command runs in
    #[arg(long, overrides_with = "use_ambient_credentials", help_heading = SIGSTORE)]
    use_ambient_credentials: bool,

    /// Sign in by a code that is typed, and start no browser
    #[arg(long, overrides_with = "oauth_force_oob", help_heading = SIGSTORE)]
    oauth_force_oob: bool,

    /// The OAuth client's id [default: sigstore]
    #[arg(long, value_name = "ID", help_heading = SIGSTORE)]
    client_id: Option<String>,

    /// The OAuth client's secret
    #[arg(long, value_name = "SECRET", help_heading = SIGSTORE)]
    client_secret: Option<Secret>,

    /// Use Sigstore's staging instance instead of its public one
    #[arg(long, overrides_with = "use_staging", help_heading = SIGSTORE)]
    use_staging: bool,

    /// Use the Sigstore instance that this file describes (ClientTrustConfig, as model_signing takes it)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = SIGSTORE)]
    trust_config: Option<PathBuf>,

    /// What to verify the new signature with, before it is written (trusted_root.json); with --signing-config
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = SIGSTORE)]
    trusted_root: Option<PathBuf>,

    /// The services to sign with (signing_config.json); with --trusted-root
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = SIGSTORE)]
    signing_config: Option<PathBuf>,

    /// The interface of the transparency log [default: the newest that the instance has]
    #[arg(long, value_name = "VERSION", value_parser = ["1", "2"], help_heading = SIGSTORE)]
    rekor_version: Option<String>,
}

/// What is to be signed with what.
#[derive(Debug)]
pub(crate) struct SignConfig {
    pub(crate) model: ModelConfig,
    /// Where the signature goes; none for beside the model, in its store.
    pub(crate) signature: Option<ModelUri>,
    /// Whether the signature goes where verify looks for it.
    pub(crate) usual_place: bool,
    pub(crate) from_stated: bool,
    pub(crate) stores: StoreArgs,
    pub(crate) force: bool,
    pub(crate) name: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) signing: Signing,
    pub(crate) hashing: Hashing,
    pub(crate) run: RunConfig,
}

/// The signing method with what it needs.
#[derive(Debug)]
pub(crate) enum Signing {
    Key(KeyFile),
    Certificate { key: KeyFile, certificate: PathBuf, chain: Vec<PathBuf> },
    Sigstore(Box<SigstoreConfig>),
}

/// A private key and what opens it.
#[derive(Debug)]
pub(crate) struct KeyFile {
    pub(crate) path: PathBuf,
    pub(crate) passphrase: PassphraseFrom,
}

/// Who signs, and with which services.
#[derive(Debug)]
pub(crate) struct SigstoreConfig {
    pub(crate) token: TokenFrom,
    pub(crate) instance: Instance,
    pub(crate) rekor: Option<RekorVersion>,
    pub(crate) tls_ca: Option<PathBuf>,
}

/// A Sigstore instance.
#[derive(Debug)]
pub(crate) enum Instance {
    PublicGood,
    Staging,
    /// One file with both.
    Trust(PathBuf),
    Files {
        root: PathBuf,
        services: PathBuf,
    },
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
            Method::Sigstore => Signing::Sigstore(Box::new(self.sigstore.check(self.stores.tls_ca.clone())?)),
            Method::Pkcs11Key | Method::Pkcs11Certificate => {
                return Err(
                    feature_missing(method, "pkcs11").with_help("sign with a key file (--private-key)")
                );
            }
            Method::Key | Method::Certificate => {
                let passphrase = passphrase(self.passphrase_file, self.password);
                let key = KeyFile { path: needed(self.private_key, "--private-key", method)?, passphrase };
                match method {
                    Method::Certificate => Signing::Certificate {
                        key,
                        certificate: needed(self.signing_certificate, "--signing-certificate", method)?,
                        chain: self.certificate_chain,
                    },
                    _ => Signing::Key(key),
                }
            }
        };
        let usual = on_disk(&model).map(|path| ModelUri::Path(default_signature(path)));
        if usual.is_none() && self.signature.is_none() && !self.upload {
            let what = "nothing says where the signature of a model in a store goes";
            return Err(Error::new(Code::BadArgument, what)
                .with_help("give --upload to put it beside the model, or --signature FILE"));
        }
        Ok(SignConfig {
            usual_place: self.signature.is_none() || self.signature == usual,
            signature: self.signature.or(usual),
            from_stated: self.from_stated,
            stores: self.stores,
            model: self.content.of(model),
            force: self.force,
            name: self.name,
            release: self.release,
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
        ]
        .into_iter()
        .chain(self.sigstore.given().map(|(given, flag)| (given, flag, SIGSTORE)))
        .filter_map(|(given, flag, methods)| given.then_some(Given { flag, methods, tells: true }))
        .collect()
    }
}

impl SigstoreArgs {
    fn given(&self) -> impl Iterator<Item = (bool, &'static str)> {
        self.identities()
            .into_iter()
            .chain(self.instances())
            .chain([
                (self.client_secret.is_some(), "--client-secret"),
                (self.rekor_version.is_some(), "--rekor-version"),
            ])
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The flags that say who signs; of a person who signs in there are several.
    fn identities(&self) -> [(bool, &'static str); 5] {
        [
            (self.identity_token_file.is_some(), "--identity-token-file"),
            (self.identity_token.is_some(), "--identity-token"),
            (self.use_ambient_credentials, "--use-ambient-credentials"),
            (self.oauth_force_oob, "--oauth-force-oob"),
            (self.client_id.is_some(), "--client-id"),
        ]
    }

    /// The flags that say with which instance.
    fn instances(&self) -> [(bool, &'static str); 4] {
        [
            (self.use_staging, "--use-staging"),
            (self.trust_config.is_some(), "--trust-config"),
            (self.trusted_root.is_some(), "--trusted-root"),
            (self.signing_config.is_some(), "--signing-config"),
        ]
    }

    fn check(self, tls_ca: Option<PathBuf>) -> Result<SigstoreConfig, Error> {
        Ok(SigstoreConfig {
            rekor: self.rekor_version.as_deref().map(|version| match version {
                "1" => RekorVersion::V1,
                _ => RekorVersion::V2,
            }),
            tls_ca,
            instance: self.instance()?,
            token: self.token()?,
        })
    }

    fn instance(&self) -> Result<Instance, Error> {
        let given: Vec<&str> =
            self.instances().iter().filter(|(given, _)| *given).map(|(_, flag)| *flag).collect();
        match (given.as_slice(), &self.trust_config, &self.trusted_root, &self.signing_config) {
            ([], ..) => Ok(Instance::PublicGood),
            (["--use-staging"], ..) => Ok(Instance::Staging),
            ([_], Some(file), ..) => Ok(Instance::Trust(file.clone())),
            ([_, _], None, Some(root), Some(services)) => {
                Ok(Instance::Files { root: root.clone(), services: services.clone() })
            }
            ([one], ..) => {
                let other = if *one == "--trusted-root" { "--signing-config" } else { "--trusted-root" };
                Err(Error::new(Code::BadArgument, format!("{one} is given without {other}")).with_help(
                    format!(
                        "give {other} FILE too: one says what to sign with, the other what to verify with"
                    ),
                ))
            }
            ([one, other, ..], ..) => Err(together(one, other, "give one Sigstore instance")),
        }
    }

    fn token(self) -> Result<TokenFrom, Error> {
        let given: Vec<&str> =
            self.identities().iter().filter(|(given, _)| *given).map(|(_, flag)| *flag).collect();
        // Two flags of one who signs in go together.
        let who =
            |flag: &str| if flag == "--client-id" { "--oauth-force-oob".to_owned() } else { flag.to_owned() };
        if let [first, rest @ ..] = given.as_slice()
            && let Some(other) = rest.iter().find(|other| who(other) != who(first))
        {
            return Err(together(first, other, "say in one way who signs"));
        }
        let person = SignIn {
            client_id: self.client_id,
            client_secret: self.client_secret.map(Secret::into_text),
            out_of_band: self.oauth_force_oob,
        };
        let token = match (self.identity_token_file, self.identity_token) {
            (Some(file), _) => TokenFrom::File(file),
            (_, Some(token)) => {
                warn!(
                    "--identity-token shows the token to everybody on this machine; --identity-token-file does not"
                );
                TokenFrom::Argument(token)
            }
            _ if self.use_ambient_credentials => TokenFrom::Job,
            _ if person.client_id.is_some() || person.out_of_band => return Ok(TokenFrom::Person(person)),
            _ if person.client_secret.is_none() => TokenFrom::Anything,
            _ => {
                return Err(Error::new(Code::BadArgument, "--client-secret is given without --client-id")
                    .with_help("give --client-id ID, whose secret it is"));
            }
        };
        if person.client_secret.is_some() {
            let flag = given.first().copied().unwrap_or_default();
            return Err(together(flag, "--client-secret", "say in one way who signs"));
        }
        Ok(token)
    }
}

fn together(one: &str, other: &str, help: &str) -> Error {
    Error::new(Code::ArgumentsConflict, format!("{one} and {other} cannot be given together")).with_help(help)
}

fn passphrase(file: Option<PathBuf>, password: Option<String>) -> PassphraseFrom {
    match (file, password) {
        (Some(file), _) => PassphraseFrom::File(file),
        (None, Some(password)) => {
            warn!("--password shows the passphrase to everybody on this machine; --passphrase-file does not");
            PassphraseFrom::Argument(password)
        }
        (None, None) => PassphraseFrom::Asking,
    }
}

fn needed<T>(value: Option<T>, flag: &str, method: Method) -> Result<T, Error> {
    value.ok_or_else(|| {
        Error::new(Code::BadArgument, format!("{flag} is missing for the signing method {method}"))
            .with_help(format!("give {flag} FILE"))
    })
}
