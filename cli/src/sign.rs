//! `weightseal sign`.

use std::{fmt::Write as _, fs, path::Path, sync::Arc, time::Instant};

use serde::Serialize;
use tracing::info;
use weightseal::{
    Algorithm, Bundle, Bytes, Cancel, CertificateSigner, Code, Error, Identity, KeySigner, Manifest, Method,
    Model, ModelUri, PrivateKey, PublicKey, Replace, Run, Shown, Signer, read_key, unverified_identities,
};

use crate::{
    args::{Format, KeyFile, Reach, SignArgs, SignConfig, Signing, on_disk},
    bar::Progress,
    files, identity,
    render::{
        Console,
        github::Cell,
        json::{Hashed, Named, VERSION, shown},
        text::{shell_path, shell_place, shell_word},
    },
    signals,
};

/// What was signed; the JSON of `sign`.
#[derive(Serialize)]
struct Signed {
    version: u32,
    model: String,
    signature: String,
    signing_method: &'static str,
    identity: Identity,
    /// Positions in transparency logs, of Sigstore's signatures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log_indexes: Vec<u64>,
    release: Named,
    #[serde(flatten)]
    hashed: Hashed,
    bytes: u64,
    kernel: Option<&'static str>,
    seconds: f64,
    /// The line to verify with.
    verify: String,
}

/// Signs a model and says what was signed.
///
/// # Errors
/// Those of the arguments, the key, the model and the output.
pub(crate) fn run(args: SignArgs, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    let config = args.check()?;
    let access = config.stores.access(if config.from_stated { Reach::Stated } else { Reach::Model })?;
    let started = Instant::now();
    let progress = Arc::new(Progress::new(console.quiet));
    let run = config.run.start(cancel, progress.clone());
    let mut model = config
        .model
        .open(&access, &run)?
        .release(config.name.clone(), config.release.clone())
        .stated(config.from_stated);
    let place = place(&config, &model)?;
    model.leave_out_signature_at(&place);
    // Before the passphrase is asked for and the model is read.
    let replace = match (&place, config.force) {
        (_, true) => Replace::Anything,
        (ModelUri::Path(_), false) => Replace::Signature,
        // Whoever shares a store is not to lose what another has put there.
        (_, false) => Replace::Nothing,
    };
    if let ModelUri::Path(path) = &place {
        refuse_to_replace_the_model(path, &config)?;
    }
    access.check_writable(&place, replace, &run)?;
    let key = key(&config.signing)?;
    expect_sigbus(console)?;

    let (signer, public) = signer(&config.signing, key, &run)?;
    let bundle = model.sign(&config.hashing, &*signer, &run)?;
    let statement = bundle.unverified_statement()?;
    tell_what_the_reference_cannot(statement.manifest(), public.as_ref());
    let identity = match (unverified_identities(&bundle)?.into_iter().next(), &public) {
        (Some(leaf), _) => leaf,
        (None, Some(public)) => {
            Identity::Key { algorithm: public.algorithm().to_owned(), fingerprint: public.fingerprint() }
        }
        (None, None) => return Err(Error::new(Code::BundleUnverifiable, "the signature names nobody")),
    };
    access.write_bundle(&bundle, &place, replace, &run)?;

    let signed = Signed {
        version: VERSION,
        model: shown(&config.model.place),
        signature: shown(&place),
        signing_method: bundle.signing_method(),
        log_indexes: bundle.unverified_log_indexes(),
        verify: verify_line(&config, public.as_ref(), &identity),
        identity,
        release: statement.release().into(),
        hashed: statement.manifest().into(),
        bytes: progress.bytes(),
        kernel: progress.kernel(),
        seconds: started.elapsed().as_secs_f64(),
    };
    console.show(&signed, text)?;
    console.summarize(|| summary(&signed));
    Ok(0)
}

/// Where the signature goes. One beside a model on the Hub goes onto the branch that was given, and not into the commit that
/// it stands for.
fn place(config: &SignConfig, model: &Model) -> Result<ModelUri, Error> {
    let unknown = || Error::new(Code::BadArgument, "there is no usual place for the signature");
    match (&config.signature, &config.model.place, model.usual_signature().ok_or_else(unknown)?) {
        (Some(place), ..) => Ok(place.clone()),
        (None, ModelUri::Hub(given), ModelUri::Hub(mut usual)) => {
            usual.revision.clone_from(&given.revision);
            Ok(ModelUri::Hub(usual))
        }
        (None, _, usual) => Ok(usual),
    }
}

/// `--force` replaces whatever is there, but neither the model, nor a file of it that is not called `*.sig`, nor a key.
fn refuse_to_replace_the_model(path: &Path, config: &SignConfig) -> Result<(), Error> {
    let place = |path: &Path| fs::canonicalize(path).ok();
    let refuse = |what: &str| {
        Err(Error::new(Code::BadArgument, format!("the signature would replace {what}"))
            .with_help("give another file with --signature"))
    };
    if !path.is_file() || Bundle::read(path).is_ok() {
        return Ok(());
    }
    let Some(model) = on_disk(&config.model.place) else { return Ok(()) };
    if place(path) == place(model) {
        return refuse("the model");
    }
    if !config.force {
        return Ok(());
    }
    let mut model = Model::open(model)?;
    // What is called a signature may be a broken one.
    let called_one = path.extension().is_some_and(|extension| extension == "sig");
    if !called_one && model.ignore_path(std::path::absolute(path).unwrap_or_default()) {
        return refuse("a file of the model that is no signature");
    }
    let pem = read_key(path).is_ok_and(|text| text.windows(11).any(|window| window == b"-----BEGIN "));
    if pem { refuse("a key or certificate") } else { Ok(()) }
}

/// The private key, of methods that have one.
fn key(signing: &Signing) -> Result<Option<PrivateKey>, Error> {
    match signing {
        Signing::Key(file) | Signing::Certificate { key: file, .. } => {
            let KeyFile { path, passphrase } = file;
            files::private_key(path, passphrase).map(Some)
        }
        Signing::Sigstore(_) => Ok(None),
    }
}

fn signer(
    signing: &Signing,
    key: Option<PrivateKey>,
    run: &Run,
) -> Result<(Box<dyn Signer>, Option<PublicKey>), Error> {
    let public = key.as_ref().map(|key| key.public().clone());
    let signer: Box<dyn Signer> = match (signing, key) {
        (Signing::Certificate { certificate, chain, .. }, Some(key)) => {
            let (leaf, chain) = (read_key(certificate)?, files::certificates(chain)?);
            let signer = CertificateSigner::new(key, &leaf, &chain);
            Box::new(signer.map_err(|error| files::in_file(certificate, error))?)
        }
        (_, Some(key)) => Box::new(KeySigner::new(key)),
        (Signing::Sigstore(config), None) => Box::new(identity::signer(config, run)?),
        (_, None) => return Err(Error::new(Code::KeyAbsent, "there is no key to sign with")),
    };
    Ok((signer, public))
}

/// Prepares for a model that is truncated while it is mapped.
pub(crate) fn expect_sigbus(console: &Console) -> Result<(), Error> {
    let error = Error::new(Code::TruncatedWhileMapped, Code::TruncatedWhileMapped.meaning());
    let json = (console.format == Format::Json)
        .then(|| weightseal::json(&crate::render::json::Failed::from(&error), false) + "\n");
    signals::expect_sigbus(&error, json)
}

/// Says it where a signature is one that the reference's command line cannot verify.
fn tell_what_the_reference_cannot(manifest: &Manifest, public: Option<&PublicKey>) {
    let serialization = manifest.serialization();
    let mut unknown = Vec::new();
    if public.is_some_and(|public| public.algorithm() == "Ed25519") {
        unknown.push("an Ed25519 key");
    }
    if matches!(serialization.method, Method::Shards { .. }) {
        unknown.push("shards");
    }
    match serialization.algorithm {
        Algorithm::Blake2b => unknown.push("blake2b"),
        Algorithm::Blake3 => unknown.push("blake3"),
        _ => {}
    }
    if serialization.allow_symlinks {
        unknown.push("followed links");
    }
    if !unknown.is_empty() {
        info!(
            "the command line of model_signing cannot verify this signature, for it has {}",
            unknown.join(", ")
        );
    }
}

/// The line to type to verify what was signed.
fn verify_line(config: &SignConfig, public: Option<&PublicKey>, identity: &Identity) -> String {
    let mut line = String::from("weightseal verify ");
    if matches!(config.signing, Signing::Sigstore(_)) {
        line.push_str("sigstore ");
    }
    line.push_str(&shell_place(&config.model.place));
    let mut bare = None;
    let mut add = |flag: &str, value: &str| {
        // A value that begins like a flag has to be joined to its own.
        let joint = if value.trim_start_matches('\'').starts_with('-') { '=' } else { ' ' };
        let _ = write!(line, " {flag}{joint}{value}");
    };
    if !config.usual_place {
        config.signature.iter().for_each(|place| add("--signature", &shell_place(place)));
    }
    match &config.signing {
        Signing::Key(key) => {
            let file = public.and_then(|public| files::public_key_beside(&key.path, public));
            add("--public-key", &file.map_or_else(|| "PUBLIC_KEY".to_owned(), |file| shell_path(&file)));
        }
        Signing::Certificate { chain, .. } if chain.is_empty() => {
            add("--certificate-chain", "ROOT_CERTIFICATE")
        }
        Signing::Certificate { chain, .. } => {
            chain.iter().for_each(|file| add("--certificate-chain", &shell_path(file)));
        }
        Signing::Sigstore(sigstore) => {
            if let Identity::Sigstore { identity, issuer, .. } = identity {
                add("--identity", &shell_word(identity));
                add("--identity-provider", &shell_word(issuer));
            }
            match identity::verify_flag(&sigstore.instance) {
                Some((flag, Some(file))) => add(flag, &shell_path(file)),
                Some((flag, None)) => bare = Some(flag),
                None => {}
            }
        }
    }
    if let Some(name) = &config.name {
        add("--name", &shell_word(name));
    }
    if let Some(version) = &config.release {
        add("--version", &shell_word(version));
    }
    let bare = bare.map(|flag| (flag, None));
    let stores = if config.model.place.is_remote() { config.stores.given() } else { Vec::new() };
    for (flag, value) in bare.into_iter().chain(stores) {
        match value {
            Some(value) => {
                let _ = write!(line, " {flag}={}", shell_word(&value));
            }
            None => {
                let _ = write!(line, " {flag}");
            }
        }
    }
    if config.model.symlinks {
        line.push_str(" --allow-symlinks");
    }
    line
}

fn text(signed: &Signed) -> String {
    let hashed = &signed.hashed;
    let mut out = format!("signed: {}\n", Shown(&signed.model));
    let _ = writeln!(out, "  signature: {}", Shown(&signed.signature));
    let _ = writeln!(out, "  digest: {}", hashed.root_digest);
    let _ = writeln!(out, "  signed by: {}", signed.identity);
    for index in &signed.log_indexes {
        let _ = writeln!(out, "  log entry: {index}");
    }
    for (what, value) in [("name", &signed.release.name), ("version", &signed.release.version)] {
        if let Some(value) = value {
            let _ = writeln!(out, "  {what}: {}", Shown(value));
        }
    }
    let _ = writeln!(out, "  hashed: {}", amount(hashed, signed.bytes, signed.seconds));
    let _ = writeln!(out, "verify it with:\n  {}", signed.verify);
    out
}

/// `7 files, 394.2 kB in 0.01 s (sha256)`.
pub(crate) fn amount(hashed: &Hashed, bytes: u64, seconds: f64) -> String {
    let mut out = if hashed.files == 1 { "1 file".to_owned() } else { format!("{} files", hashed.files) };
    if let Some(size) = hashed.shard_size {
        let _ = write!(out, " in {} shards of {}", hashed.resources, Bytes(size));
    }
    let _ = write!(out, ", {} in {seconds:.2} s ({})", Bytes(bytes), hashed.hash_algorithm);
    out
}

fn summary(signed: &Signed) -> String {
    format!(
        "### weightseal sign\n\n| | |\n|---|---|\n| model | {} |\n| signature | {} |\n| digest | {} |\n| signed by | {} |\n\n",
        Cell(&Shown(&signed.model).to_string()),
        Cell(&Shown(&signed.signature).to_string()),
        Cell(&signed.hashed.root_digest),
        Cell(&signed.identity.to_string()),
    )
}
