//! `weightseal loadset`: what a model server would load. Nothing is verified.

use std::{fmt::Write as _, sync::Arc};

use serde::Serialize;
use weightseal::{
    Access, Bytes, Cancel, Code, Error, LoadSet, LoadSetFile, Manifest, Model, ModelUri, Run, Shown, Verdict,
};

use crate::{
    args::{LoadsetArgs, Reach},
    bar::Progress,
    files::in_place,
    render::{
        Console,
        json::{VERSION, shown},
    },
};

/// Said before anything else.
const NOTICE: &str = "nothing here is verified; this is what would be loaded";

/// At most this many findings are shown to people.
const FINDINGS_SHOWN: usize = 20;

/// The JSON of `loadset`.
#[derive(Serialize)]
struct Listed {
    version: u32,
    /// Never true.
    verified: bool,
    notice: &'static str,
    model: String,
    /// The signature that says what is signed; nobody has proven it.
    signature: Option<String>,
    #[serde(flatten)]
    set: LoadSet,
}

/// Prints what would be loaded of a model. Ends as a verification that found the same.
///
/// # Errors
/// Those of the arguments, the model, a signature that was named, and the output.
pub(crate) fn run(args: LoadsetArgs, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    let access = args.stores.access(Reach::Model)?;
    let run = args.run.start(cancel, Arc::new(Progress::new(console.quiet)));
    let mut model = Model::open_at(&args.model, &access, &run)?.allow_symlinks(args.allow_symlinks);
    let signed = signed(args.signature.as_ref(), &model, &access, &run)?;
    if let Some((place, _)) = &signed {
        model.leave_out_signature_at(place);
    }
    let mut set = model.load_set(&run)?;
    if let Some((_, manifest)) = &signed {
        set.mark_signed(manifest);
    }
    let listed = Listed {
        version: VERSION,
        verified: false,
        notice: NOTICE,
        model: shown(&args.model),
        signature: signed.map(|(place, _)| shown(&place)),
        set,
    };
    console.show(&listed, text)?;
    Ok(Verdict::of(&listed.set.findings).exit())
}

/// What the signature says is signed: the one that was named, or else the one at the usual place, if there is one.
fn signed(
    named: Option<&ModelUri>,
    model: &Model,
    access: &Access,
    run: &Run,
) -> Result<Option<(ModelUri, Manifest)>, Error> {
    let Some(place) = named.cloned().or_else(|| model.usual_signature()) else { return Ok(None) };
    let bundle = match access.read_bundle(&place, run) {
        Err(error) if named.is_none() && error.code() == Code::SignatureAbsent => return Ok(None),
        read => read,
    };
    let statement = bundle.and_then(|bundle| bundle.unverified_statement());
    let statement = statement.map_err(|error| in_place(&place, error))?;
    Ok(Some((place, statement.manifest().clone())))
}

fn text(listed: &Listed) -> String {
    let Listed { model, signature, set, .. } = listed;
    let mut out = format!("{NOTICE}\n  model: {}\n", Shown(model));
    if let Some(signature) = signature {
        let _ = writeln!(out, "  signature: {} (not verified)", Shown(signature));
    }
    if let Some(base) = &set.base_model {
        let _ = writeln!(out, "  built on: {}", Shown(base));
    }
    for LoadSetFile { name, size, kind, signed } in &set.files {
        let signed = if *signed == Some(false) { "  NOT SIGNED" } else { "" };
        let _ =
            writeln!(out, "  {:<13}  {:>12}  {}{signed}", kind.name(), Bytes(*size).to_string(), Shown(name));
    }
    let files = if set.files.len() == 1 { "file" } else { "files" };
    let _ = writeln!(out, "  {} {files}, {}", set.files.len(), Bytes(set.bytes));
    for finding in set.findings.iter().take(FINDINGS_SHOWN) {
        let _ = writeln!(out, "  {}: {}", finding.code, finding.what);
    }
    if let Some(more) = set.findings.len().checked_sub(FINDINGS_SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(out, "  … and {more} more");
    }
    out
}
