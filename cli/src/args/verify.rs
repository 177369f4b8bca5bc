//! `verify`: its flags, and the checked configuration that comes of them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use weightseal::{Assurance, Code, Error, Mode, ModelUri, Policy, SigstoreIdentity};

use super::{
    Method, ModelArgs, ModelConfig, RunArgs, RunConfig, StoreArgs, Words,
    method::{Given, feature_missing, infer},
    model::{CONTENT, LIMITS},
    policy::leave_it_to_the_policy,
    sigstore::{IdentityArgs, SIGSTORE},
    trust::TrustArgs,
    values::{self, default_signature, on_disk},
};

pub(super) const EXAMPLES: &str = "Examples:\n  \
    weightseal verify models/llama --public-key release.pub --name acme/llama-3 --version 1.2\n  \
    weightseal verify models/llama --public-key release.pub --format json --report report.json\n  \
    weightseal verify certificate model.gguf --certificate-chain root.pem --certificate-identity release@acme.example\n  \
    weightseal verify models/llama --identity release@acme.example --identity-provider https://accounts.example.com";

const KEY: &str = "Signing method key";
const CERTIFICATE: &str = "Signing method certificate";
const POLICY: &str = "Which model, and what is revoked";

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    words: Words,

    /// The policy: a file that says who may sign which model. What would weaken it is refused beside it
    #[arg(long, value_name = "FILE", env = "WEIGHTSEAL_POLICY", hide_env_values = true, value_hint = ValueHint::FilePath)]
    policy: Option<PathBuf>,

    /// The signature; may be given several times, and then every one of them has to be accepted, unless --require says
    /// how many [default: MODEL/model.sig, or FILE.sig beside a single file]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = values::PlaceParser)]
    signature: Vec<ModelUri>,

    /// Demand signatures by this many different signers; the others need not be accepted then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    require: Option<u16>,

    /// Whether what is not verified fails, or passes with exit code 0 and a report that says so [default: enforce]
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,

    /// Write the report as JSON to this file as well; a regular file is replaced, and one of an earlier run is removed
    /// at the start
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    report: Option<PathBuf>,

    /// The signer's public key, in PEM; may be given several times, and any may match
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = KEY)]
    public_key: Vec<PathBuf>,

    /// Certificates that are trusted (roots, intermediates, or the leaf), in PEM; may be given several times. The
    /// system's store never is
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = CERTIFICATE)]
    certificate_chain: Vec<PathBuf>,

    /// Demand this signer: a whole alternative name (mail address, URI, host), or the whole subject; with
    /// --identity-provider the same as --identity
    #[arg(long, value_name = "NAME", help_heading = CERTIFICATE)]
    certificate_identity: Option<String>,

    /// Check validity at this time instead of now: 2026-01-31T12:00:00Z, 2026-01-31, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = values::time, allow_negative_numbers = true, help_heading = CERTIFICATE)]
    at: Option<i64>,

    /// Log the SHA-256 of each given certificate
    #[arg(long, overrides_with = "log_fingerprints", help_heading = CERTIFICATE)]
    log_fingerprints: bool,

    /// Demand this signed root digest, as sign and digest print it; may be given several times, and any may match
    #[arg(long, value_name = "DIGEST", value_parser = values::root_digest, help_heading = POLICY)]
    expect_digest: Vec<String>,

    /// Demand that the signer called the model so
    #[arg(long, value_name = "NAME", help_heading = POLICY)]
    name: Option<String>,

    /// Demand that the signer gave it this version
    #[arg(long = "version", value_name = "VERSION", help_heading = POLICY)]
    release: Option<String>,

    /// The id of the model, by which a policy's rules match it [default with a policy: its path]
    #[arg(long, value_name = "ID", help_heading = POLICY)]
    model_id: Option<String>,

    /// Refuse this key: the SHA-256 by which reports call it; may be given several times
    #[arg(long, value_name = "SHA256", value_parser = values::fingerprint, help_heading = POLICY)]
    revoked_key: Vec<String>,

    /// Refuse this certificate, leaf or authority: its serial number or SHA-256, in hex; may be given several times
    #[arg(long, value_name = "HEX", value_parser = values::certificate, help_heading = POLICY)]
    revoked_certificate: Vec<String>,

    /// Refuse the model with this root digest; may be given several times
    #[arg(long, value_name = "DIGEST", value_parser = values::root_digest, help_heading = POLICY)]
    revoked_digest: Vec<String>,

    #[command(flatten)]
    content: ModelArgs,

    /// Read no weights: compare the signed digests with those that the store itself states
    #[arg(long, help_heading = CONTENT)]
    stated: bool,

    /// The weakest check that passes, of the signer too: that every byte was read, or that the store states the digests
    /// [default: hashed]
    #[arg(long, value_enum, value_name = "LEVEL", help_heading = CONTENT)]
    assurance: Option<AssuranceArg>,

    /// Tolerate files that are not signed; they are counted in the report
    #[arg(long, overrides_with_all = ["ignore_unsigned_files", "no_ignore_unsigned_files"], help_heading = CONTENT)]
    ignore_unsigned_files: bool,

    /// Refuse them; so it is unless told otherwise
    #[arg(long, overrides_with_all = ["no_ignore_unsigned_files", "ignore_unsigned_files"], help_heading = CONTENT)]
    no_ignore_unsigned_files: bool,

    /// Stop at the first difference: one finding and not all, and nothing hashed where names or sizes differ already
    #[arg(long, help_heading = LIMITS)]
    fail_fast: bool,

    #[command(flatten, next_help_heading = LIMITS)]
    run: RunArgs,

    #[command(flatten)]
    who: IdentityArgs,

    #[command(flatten)]
    roots: TrustArgs,

    /// The same as --trusted-root; model_signing calls a file so that holds a signing configuration too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = SIGSTORE,
          conflicts_with = "trusted_root")]
    trust_config: Option<PathBuf>,

    #[command(flatten)]
    stores: StoreArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AssuranceArg {
    /// Every byte was read
    Hashed,
    /// The store states the digests
    Stated,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// It fails
    Enforce,
    /// It passes
    Warn,
}

/// What is to be verified against what.
#[derive(Debug)]
pub(crate) struct VerifyConfig {
    pub(crate) model: ModelConfig,
    pub(crate) unsigned: bool,
    pub(crate) stated: bool,
    pub(crate) stores: StoreArgs,
    pub(crate) trust: Trust,
    pub(crate) roots: Roots,
    pub(crate) demands: Demands,
    pub(crate) fail_fast: bool,
    pub(crate) run: RunConfig,
}

/// What a signature may be trusted by.
#[derive(Debug)]
pub(crate) enum Trust {
    Keys(Vec<PathBuf>),
    Certificates {
        chain: Vec<PathBuf>,
        identity: Option<String>,
        at: Option<i64>,
        log_fingerprints: bool,
    },
    Sigstore(Box<SigstoreIdentity>),
    /// A policy file, and the model's id.
    Policy {
        file: PathBuf,
        model_id: String,
    },
}

/// Where the trusted root comes from.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Whether one is needed: always for Sigstore's signatures, else where one was given.
    pub(crate) needed: bool,
    pub(crate) args: TrustArgs,
    pub(crate) trust_config: Option<PathBuf>,
    pub(crate) tls_ca: Option<PathBuf>,
}

/// Everything that is said about a verification apart from content, trust and limits.
#[derive(Debug)]
pub(crate) struct Demands {
    /// The signatures that were named; none for the usual place.
    pub(crate) signatures: Vec<ModelUri>,
    pub(crate) model_id: Option<String>,
    /// The policy, but for who is trusted.
    pub(crate) policy: Policy,
}

impl VerifyArgs {
    /// The model, as far as one was given.
    ///
    /// # Errors
    /// `bad-argument`.
    pub(crate) fn model(&self) -> Result<ModelUri, Error> {
        Ok(self.words.resolve()?.1)
    }

    /// The same arguments without the destination of a pull.
    pub(super) fn with_dest(self, third: Option<PathBuf>) -> Result<(Self, PathBuf), Error> {
        let (words, dest) = self.words.split_dest(third)?;
        Ok((VerifyArgs { words, ..self }, dest))
    }

    pub(super) fn reads_nothing(&self) -> bool {
        self.stated
    }

    pub(crate) fn report(&self) -> Option<&Path> {
        self.report.as_deref()
    }

    /// Every file on disk that is read besides the model.
    pub(crate) fn inputs(&self) -> Vec<PathBuf> {
        let usual = self.model().ok().and_then(|model| on_disk(&model).map(default_signature));
        let given = [&self.public_key, &self.certificate_chain];
        let given = given.into_iter().flatten().map(PathBuf::as_path);
        let given = given.chain(self.signature.iter().filter_map(on_disk));
        let roots = self.trust_config.iter().map(PathBuf::as_path).chain(self.roots.given_root());
        let files = given.chain(self.policy.as_deref()).chain(roots);
        files.map(ToOwned::to_owned).chain(usual).collect()
    }

    pub(crate) fn model_id(&self) -> Option<&str> {
        self.model_id.as_deref()
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.mode {
            Some(ModeArg::Warn) => Mode::Warn,
            Some(ModeArg::Enforce) | None => Mode::Enforce,
        }
    }

    /// The configuration that these arguments come to.
    ///
    /// # Errors
    /// `bad-argument`, `arguments-conflict`, `feature-missing`, `trust-missing`.
    pub(crate) fn check(self) -> Result<VerifyConfig, Error> {
        let (named, model) = self.words.resolve()?;
        let policy = self.demands()?;
        if let Some(file) = self.policy.clone() {
            return self.with_policy(file, named, model, policy);
        }
        let method = infer(named, &self.given())?;
        let given_root = self.trust_config.is_some() || self.roots.choosing().iter().any(|(given, _)| *given);
        let roots = Roots {
            needed: method == Method::Sigstore || given_root,
            args: self.roots,
            trust_config: self.trust_config,
            tls_ca: self.stores.tls_ca.clone(),
        };
        let trust = match method {
            Method::Sigstore => Trust::Sigstore(Box::new(self.who.check(self.certificate_identity)?)),
            Method::Pkcs11Key | Method::Pkcs11Certificate => {
                return Err(feature_missing(method, "pkcs11")
                    .with_help("verify without the device: --public-key FILE, or --certificate-chain FILE"));
            }
            Method::Key if self.public_key.is_empty() => {
                return Err(trust_missing("no public key")
                    .with_help("give the signer's public key: --public-key FILE"));
            }
            Method::Key => Trust::Keys(self.public_key),
            Method::Certificate if self.certificate_chain.is_empty() => {
                return Err(trust_missing("no certificate").with_help(
                    "give the root certificate of the signer's authority: --certificate-chain FILE; the system's store \
                     of web roots is never used",
                ));
            }
            Method::Certificate => Trust::Certificates {
                chain: self.certificate_chain,
                identity: self.certificate_identity,
                at: self.at,
                log_fingerprints: self.log_fingerprints,
            },
        };
        let demands = Demands { signatures: self.signature, model_id: self.model_id, policy };
        Ok(VerifyConfig {
            model: self.content.of(model),
            unsigned: self.ignore_unsigned_files,
            stated: self.stated,
            stores: self.stores,
            trust,
            roots,
            demands,
            fail_fast: self.fail_fast,
            run: self.run,
        })
    }

    /// The configuration with a policy: flags may only demand more than it does.
    fn with_policy(
        self,
        file: PathBuf,
        named: Option<Method>,
        model: ModelUri,
        demands: Policy,
    ) -> Result<VerifyConfig, Error> {
        let roots =
            self.roots.choosing().into_iter().chain([(self.trust_config.is_some(), "--trust-config")]);
        let others = [
            (self.mode.is_some(), "--mode"),
            (self.require.is_some(), "--require"),
            (self.ignore_unsigned_files, "--ignore-unsigned-files"),
            (self.content.leaves_out(), "--ignore-paths"),
            (self.content.follows_links(), "--allow-symlinks"),
            (self.assurance.is_some(), "--assurance"),
        ];
        let others: Vec<_> = others.into_iter().chain(roots).collect();
        leave_it_to_the_policy(named, &self.given(), &others)?;
        let model_id = self.model_id.map_or_else(|| model.id(), Ok)?;
        Ok(VerifyConfig {
            unsigned: false,
            stated: self.stated,
            trust: Trust::Policy { file, model_id: model_id.clone() },
            roots: Roots {
                needed: false,
                args: self.roots,
                trust_config: None,
                tls_ca: self.stores.tls_ca.clone(),
            },
            stores: self.stores,
            demands: Demands { signatures: self.signature, model_id: Some(model_id), policy: demands },
            model: self.content.of(model),
            fail_fast: self.fail_fast,
            run: self.run,
        })
    }

    fn demands(&self) -> Result<Policy, Error> {
        let mut policy = Policy::new().mode(self.mode());
        match self.assurance {
            Some(AssuranceArg::Stated) => policy = policy.assurance(Assurance::Stated),
            Some(AssuranceArg::Hashed) | None => {}
        }
        if let Some(signers) = self.require {
            policy = policy.require(usize::from(signers));
        }
        for digest in &self.expect_digest {
            policy = policy.digest(digest)?;
        }
        if let Some(name) = &self.name {
            policy = policy.name(name);
        }
        if let Some(version) = &self.release {
            policy = policy.version(version);
        }
        policy = self.revoked_key.iter().try_fold(policy, |policy, key| policy.revoke_key(key))?;
        policy = self
            .revoked_certificate
            .iter()
            .try_fold(policy, |policy, serial| policy.revoke_certificate(serial))?;
        for digest in &self.revoked_digest {
            policy = policy.revoke_digest(digest)?;
        }
        Ok(policy)
    }

    /// The flags that say something about the signing method.
    fn given(&self) -> Vec<Given> {
        const SIGSTORE: &[Method] = &[Method::Sigstore];
        const KEY: &[Method] = &[Method::Key];
        const CERTIFICATE: &[Method] = &[Method::Certificate];
        const EITHER: &[Method] = &[Method::Certificate, Method::Sigstore];
        [
            (!self.public_key.is_empty(), "--public-key", KEY, true),
            (!self.certificate_chain.is_empty(), "--certificate-chain", CERTIFICATE, true),
            (self.log_fingerprints, "--log-fingerprints", CERTIFICATE, true),
            (self.certificate_identity.is_some(), "--certificate-identity", EITHER, false),
            (self.at.is_some(), "--at", CERTIFICATE, false),
        ]
        .into_iter()
        .filter_map(|(given, flag, methods, tells)| given.then_some(Given { flag, methods, tells }))
        // A trusted root is good for the timestamps of every method; only an identity tells that Sigstore is meant.
        .chain(self.who.flags().into_iter().map(|flag| Given { flag, methods: SIGSTORE, tells: true }))
        .collect()
    }
}

fn trust_missing(what: &str) -> Error {
    Error::new(Code::TrustMissing, format!("{what} was given that the signature could be trusted by"))
}
