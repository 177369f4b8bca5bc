//! `weightseal inspect`: what a signature claims. Nothing is verified, and nothing it prints is a reason to trust.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use weightseal::{
    Access, Bundle, Cancel, Code, Error, Identity, ModelUri, Run, Shown, Statement, limits,
    unverified_identities,
};

use crate::{
    args::{InspectArgs, Reach, default_signature},
    files::{in_file, in_place},
    render::{
        Console,
        json::{Hashed, Listed, Named, VERSION, shown},
    },
};

/// Said before anything else.
const NOTICE: &str = "nothing here is verified; this is what the signature claims";

/// At most this many resources are shown to people who do not ask for more.
const SHOWN: usize = 20;

/// The claims of a signature; the JSON of `inspect`.
#[derive(Serialize)]
struct Claims<'a> {
    version: u32,
    /// Never true.
    verified: bool,
    notice: &'static str,
    signature: String,
    signing_method: &'static str,
    /// Which key, for the signing method key.
    hint: Option<&'a str>,
    /// Leaf first, for the signing method certificate.
    certificates: Vec<Identity>,
    subject: &'a str,
    release: Named,
    /// Whether it is in the format of release 0.2.0 of the reference.
    legacy: bool,
    #[serde(flatten)]
    hashed: Hashed,
    allow_symlinks: bool,
    ignore_paths: &'a [String],
    listed: Vec<Listed<'a>>,
}

/// Prints what a signature claims.
///
/// # Errors
/// `signature-absent`, and those of a malformed signature.
pub(crate) fn run(args: &InspectArgs, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    let (place, bundle) = match &args.place {
        ModelUri::Path(path) => find(path).map(|(path, bundle)| (ModelUri::Path(path), bundle))?,
        place => fetch(place, &args.stores.access(Reach::Model)?, &Run::new().cancel(cancel.clone()))?,
    };
    let statement = bundle.unverified_statement().map_err(|error| in_place(&place, error))?;
    let claims = claims(&place, &bundle, &statement)?;
    console.show(&claims, |claims| text(claims, args.all))?;
    Ok(0)
}

/// The signature at a path: the file itself, or the one at the usual place of the model there.
fn find(given: &Path) -> Result<(PathBuf, Bundle), Error> {
    let usual = default_signature(given);
    let metadata = fs::metadata(given)
        .map_err(|error| Error::io("open", given.display(), error, Code::SignatureAbsent))?;
    let itself = if metadata.is_dir() || metadata.len() > limits::BUNDLE_BYTES {
        None
    } else {
        Some(Bundle::read(given).map_err(|error| in_file(given, error)))
    };
    match itself {
        Some(Ok(bundle)) => Ok((given.to_owned(), bundle)),
        Some(Err(error)) if !usual.is_file() => Err(error),
        _ => {
            let bundle = Bundle::read(&usual).map_err(|error| match error.code() {
                Code::SignatureAbsent => error.with_help("give the signature itself"),
                _ => in_file(&usual, error),
            })?;
            Ok((usual, bundle))
        }
    }
}

/// The same in a store.
fn fetch(given: &ModelUri, access: &Access, run: &Run) -> Result<(ModelUri, Bundle), Error> {
    let itself = access.read_bundle(given, run);
    if !matches!(&itself, Err(error) if error.code() == Code::SignatureAbsent) {
        return itself.map(|bundle| (given.clone(), bundle)).map_err(|error| in_place(given, error));
    }
    let usual = given.join("model.sig");
    let bundle = access.read_bundle(&usual, run).map_err(|error| in_place(&usual, error))?;
    Ok((usual, bundle))
}

fn claims<'a>(place: &ModelUri, bundle: &'a Bundle, statement: &'a Statement) -> Result<Claims<'a>, Error> {
    let manifest = statement.manifest();
    Ok(Claims {
        version: VERSION,
        verified: false,
        notice: NOTICE,
        signature: shown(place),
        signing_method: bundle.signing_method(),
        hint: bundle.hint(),
        certificates: unverified_identities(bundle).map_err(|error| in_place(place, error))?,
        subject: statement.subject(),
        release: statement.release().into(),
        legacy: statement.is_legacy(),
        hashed: manifest.into(),
        allow_symlinks: manifest.serialization().allow_symlinks,
        ignore_paths: &manifest.serialization().ignore_paths,
        listed: manifest.resources().iter().map(Listed::from).collect(),
    })
}

fn text(claims: &Claims<'_>, all: bool) -> String {
    let mut out = format!("{NOTICE}\n");
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(out, "  {what}: {}", Shown(value));
    };
    line("signature", &claims.signature);
    line("signing method", claims.signing_method);
    if let Some(hint) = claims.hint {
        line("key hint", hint);
    }
    let mut certificates = String::new();
    for certificate in &claims.certificates {
        // Names in an identity are escaped by itself.
        let _ = writeln!(certificates, "  {certificate}");
    }
    line("subject", claims.subject);
    for (what, value) in [("name", &claims.release.name), ("version", &claims.release.version)] {
        if let Some(value) = value {
            line(what, value);
        }
    }
    if let Some(digests) = claims.release.digests {
        line("digests", &format!("{digests} by the store; the signer read no weights"));
    }
    if claims.legacy {
        line("format", "model_signing 0.2.0");
    }
    let hashed = &claims.hashed;
    line(
        "serialization",
        &match hashed.shard_size {
            Some(size) => format!("shards of {size} bytes, {}", hashed.hash_algorithm),
            None => format!("files, {}", hashed.hash_algorithm),
        },
    );
    line("symbolic links", if claims.allow_symlinks { "followed" } else { "none" });
    for ignored in claims.ignore_paths {
        line("ignored", ignored);
    }
    line("root digest", &hashed.root_digest);
    line("files", &hashed.files.to_string());
    out.push_str(&certificates);
    let shown = if all { usize::MAX } else { SHOWN };
    for resource in claims.listed.iter().take(shown) {
        let _ = writeln!(out, "  {resource}");
    }
    if let Some(more) = claims.listed.len().checked_sub(shown).filter(|more| *more > 0) {
        let _ = writeln!(out, "  … and {more} more (--all shows them)");
    }
    out
}
