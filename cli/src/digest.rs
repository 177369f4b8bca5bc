//! `weightseal digest`.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use serde::Serialize;
use weightseal::{Cancel, Error, Shown};

use crate::{
    args::{DigestArgs, Reach},
    bar::Progress,
    render::{
        Console,
        json::{Hashed, Listed, VERSION, shown},
    },
    sign::expect_sigbus,
};

/// The digest of a model; the JSON of `digest`.
#[derive(Serialize)]
struct Digest<'a> {
    version: u32,
    model: String,
    #[serde(flatten)]
    hashed: Hashed,
    bytes: u64,
    kernel: Option<&'static str>,
    seconds: f64,
    /// Each file or shard, where they were asked for.
    listed: Option<Vec<Listed<'a>>>,
}

/// Prints what the root digest of a model is, or would be, in a signature.
///
/// # Errors
/// Those of the arguments, the model and the output.
pub(crate) fn run(args: DigestArgs, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    let started = Instant::now();
    let config = args.content.of(args.model);
    let hashing = args.hash.check()?;
    let progress = Arc::new(Progress::new(console.quiet));
    let run = args.run.start(cancel, progress.clone());
    let mut model = config.open(&args.stores.access(Reach::Model)?, &run)?;
    args.signature
        .iter()
        .chain(&model.usual_signature())
        .for_each(|place| model.leave_out_signature_at(place));
    expect_sigbus(console)?;
    let manifest = model.manifest(&hashing, &run)?;
    let digest = Digest {
        version: VERSION,
        model: shown(&config.place),
        hashed: (&manifest).into(),
        bytes: progress.bytes(),
        kernel: progress.kernel(),
        seconds: started.elapsed().as_secs_f64(),
        listed: args.files.then(|| manifest.resources().iter().map(Listed::from).collect()),
    };
    console.show(&digest, text)?;
    Ok(0)
}

fn text(digest: &Digest<'_>) -> String {
    let mut out = format!("{}  {}\n", digest.hashed.root_digest, Shown(&digest.model));
    for resource in digest.listed.iter().flatten() {
        let _ = writeln!(out, "{resource}");
    }
    out
}
