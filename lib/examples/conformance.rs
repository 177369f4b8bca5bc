//! The adapter that the public OMS conformance suite drives: signs and verifies by the library's public API alone.
//!
//! ```text
//! conformance sign-model --method key --model-path M --output-bundle B --private-key K
//! conformance verify-model --method key --model-path M --bundle B --public-key P
//! conformance capabilities
//! conformance benchmark-model --operation verify --repeat 5 …
//! ```
//! With the method sigstore, OMS_TRUSTED_ROOT names a trusted root, or OMS_TRUST_CONFIG a trust configuration, of an instance
//! of one's own; else it is the public one, or with --use-staging that for tests.
//! Exit code 0 on success; else the code of the class: 1 rejected, 2 misuse, 3 could not tell.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::{collections::HashMap, error::Error as StdError, fs, path::Path, process::ExitCode, time::Instant};

use weightseal::{
    Accept, Algorithm, Bundle, CertificateSigner, Code, Error, Hashing, Http, IdentityToken, Instance,
    KeySigner, Model, Policy, PrivateKey, Replace, Run, Shown, Signer, SigningConfig, SigstoreIdentity,
    SigstoreSigner, SigstoreVerifier, TrustStore, TrustedRoot, read_key, sigbus,
};

/// The flags that take a value; each may be repeated.
const VALUES: [&str; 19] = [
    "method",
    "model-path",
    "output-bundle",
    "bundle",
    "private-key",
    "public-key",
    "signing-cert",
    "cert-chain",
    "ignore-paths",
    "identity-token",
    "identity",
    "identity-provider",
    "operation",
    "repeat",
    "hash-algorithm",
    "shard-size",
    "chunk-size",
    "max-workers",
    "password",
];

/// The flags that take none.
const SWITCHES: [&str; 2] = ["ignore-unsigned-files", "use-staging"];

fn main() -> ExitCode {
    sigbus::exit_on_sigbus(3, Vec::new());
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let class = error.downcast_ref::<Error>().map_or(2, |error| error.class().exit());
            ExitCode::from(
                error
                    .downcast_ref::<weightseal::Failure>()
                    .map_or(class, |failure| failure.report().verdict.exit()),
            )
        }
    }
}

fn run() -> Result<(), Box<dyn StdError>> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().ok_or_else(|| misuse("a command is missing"))?;
    let flags = Flags::parse(arguments)?;
    match command.as_str() {
        "sign-model" => {
            let bundle = sign(&flags)?;
            let output = Path::new(flags.one("output-bundle")?);
            if let Some(folder) = output.parent() {
                fs::create_dir_all(folder)?;
            }
            bundle.write(output, Replace::Anything)?;
        }
        "verify-model" => {
            let report = verify(&flags)?;
            println!("{report}");
        }
        "capabilities" => {
            let flags: Vec<String> = VALUES.iter().chain(&SWITCHES).map(|flag| format!("--{flag}")).collect();
            println!(
                "{}",
                serde_json::json!({
                    "flags": flags,
                    "hash_algorithms": Algorithm::ALL.map(Algorithm::name),
                    "benchmark_model": true,
                    "client_version": env!("CARGO_PKG_VERSION"),
                })
            );
        }
        "benchmark-model" => {
            let repeat: usize = flags.optional("repeat").unwrap_or("1").parse()?;
            let mut times = Vec::new();
            for _ in 0..repeat {
                let start = Instant::now();
                match flags.one("operation")? {
                    "sign" => {
                        let bundle = sign(&flags)?;
                        if let Some(output) = flags.optional("output-bundle") {
                            bundle.write(output, Replace::Anything)?;
                        }
                    }
                    "verify" => drop(verify(&flags)?),
                    other => return Err(misuse(&format!("unknown operation {}", Shown(other))).into()),
                }
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            println!("{}", serde_json::json!({ "times_ms": times }));
        }
        other => return Err(misuse(&format!("unknown command {}", Shown(other))).into()),
    }
    Ok(())
}

fn sign(flags: &Flags) -> Result<Bundle, Box<dyn StdError>> {
    let key = || -> Result<PrivateKey, Box<dyn StdError>> {
        let passphrase = flags.optional("password").map(weightseal::Passphrase::new);
        Ok(PrivateKey::from_pem(&read_key(flags.one("private-key")?)?, || Ok(passphrase))?)
    };
    let signer: Box<dyn Signer> = match flags.one("method")? {
        "key" => Box::new(KeySigner::new(key()?)),
        "certificate" => Box::new(CertificateSigner::new(
            key()?,
            &read_key(flags.one("signing-cert")?)?,
            &flags.files("cert-chain")?,
        )?),
        "sigstore" => {
            let token = IdentityToken::parse(flags.one("identity-token")?)?;
            Box::new(SigstoreSigner::new(flags.services()?, flags.trusted_root()?, token, Http::new()?))
        }
        method => return Err(unknown(method).into()),
    };
    let algorithm: Algorithm = flags.optional("hash-algorithm").unwrap_or("sha256").parse()?;
    let hashing = match flags.optional("shard-size").map(str::parse).transpose()? {
        Some(size) if size > 0 => Hashing::shards(algorithm, size)?,
        _ => Hashing::files(algorithm),
    };
    let mut model = model(flags)?;
    if let Some(output) = flags.optional("output-bundle") {
        model.leave_out_signature(output);
    }
    Ok(model.sign(&hashing, &*signer, &flags.run()?)?)
}

fn verify(flags: &Flags) -> Result<weightseal::Report, Box<dyn StdError>> {
    let accept = match flags.one("method")? {
        "key" => Accept::key(read_key(flags.one("public-key")?)?)?,
        "certificate" => Accept::certificate(flags.files("cert-chain")?)?,
        "sigstore" => {
            let who = SigstoreIdentity::new(flags.one("identity")?, flags.one("identity-provider")?);
            Accept::verifier(SigstoreVerifier::new(flags.trusted_root()?, who))
        }
        method => return Err(unknown(method).into()),
    };
    let model = model(flags)?.allow_symlinks(true).ignore_unsigned_files(flags.has("ignore-unsigned-files"));
    let bundle = Bundle::read(flags.one("bundle")?)?;
    Ok(model.verify(&Policy::new().accept(accept), &[bundle], &flags.run()?)?.into_report())
}

fn model(flags: &Flags) -> Result<Model, Error> {
    let mut model = Model::open(flags.one("model-path")?)?;
    for path in flags.all("ignore-paths") {
        model.ignore_path(path);
    }
    Ok(model)
}

fn misuse(what: &str) -> Error {
    Error::new(Code::BadArgument, what)
}

fn unknown(method: &str) -> Error {
    misuse(&format!("unknown signing method {}", Shown(method)))
}

/// A file that the environment names.
fn own(variable: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(variable).filter(|file| !file.is_empty())
}

struct Flags(HashMap<String, Vec<String>>);

impl Flags {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut flags: HashMap<String, Vec<String>> = HashMap::new();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let name = argument
                .strip_prefix("--")
                .ok_or_else(|| misuse(&format!("unexpected argument {}", Shown(&argument))))?;
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let values = flags.entry(name.to_owned()).or_default();
            if VALUES.contains(&name) {
                let value = inline.or_else(|| arguments.next());
                values.push(value.ok_or_else(|| misuse(&format!("--{name} needs a value")))?);
            } else if !SWITCHES.contains(&name) {
                return Err(misuse(&format!("unknown flag --{}", Shown(name))));
            }
        }
        Ok(Flags(flags))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn optional(&self, name: &str) -> Option<&str> {
        self.all(name).last().map(String::as_str)
    }

    fn one(&self, name: &str) -> Result<&str, Error> {
        self.optional(name).ok_or_else(|| misuse(&format!("--{name} is missing")))
    }

    /// The contents of all files that a flag names, one after another.
    fn files(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        for path in self.all(name) {
            all.extend(read_key(path)?);
            all.push(b'\n');
        }
        Ok(all)
    }

    /// The instance of Sigstore, where it is none of one's own.
    fn store(&self) -> TrustStore {
        TrustStore::new(if self.has("use-staging") { Instance::Staging } else { Instance::PublicGood })
    }

    fn trusted_root(&self) -> Result<TrustedRoot, Error> {
        match own("OMS_TRUSTED_ROOT").or_else(|| own("OMS_TRUST_CONFIG")) {
            Some(file) => TrustedRoot::read(file),
            None => self.store().load(&Run::new()),
        }
    }

    fn services(&self) -> Result<SigningConfig, Error> {
        match own("OMS_TRUST_CONFIG") {
            Some(file) => SigningConfig::read(file),
            None => SigningConfig::parse(&self.store().signing_config(&Run::new())?, "the instance's"),
        }
    }

    fn run(&self) -> Result<Run, Box<dyn StdError>> {
        let run = Run::new().read(weightseal::ReadMode::Auto);
        Ok(match self.optional("max-workers") {
            Some(workers) => run.threads(workers.parse()?),
            None => run,
        })
    }
}
