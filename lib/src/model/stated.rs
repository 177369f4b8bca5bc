//! Digests that the store itself states, in place of those of the bytes.

use std::collections::BTreeMap;

use super::Model;
use crate::{
    Error, HubUri, ModelUri, Run,
    code::Code,
    hash::{Hashes, Hashing, Plan},
    manifest::{Algorithm, Digest},
    shown::Shown,
    source::{Entry, Source},
};

/// What the store states of each range of a plan; only whole files have a statement, and only in SHA-256.
///
/// # Errors
/// What the store said when it was asked.
pub(super) fn digests(plan: &Plan<'_>, source: &dyn Source, run: &Run) -> Result<Hashes, Error> {
    let whole = |entry: usize, range: &std::ops::Range<u64>| {
        plan.entries.get(entry).filter(|listed| *range == (0..listed.size))
    };
    let asked: BTreeMap<usize, &Entry> = match plan.algorithm {
        Algorithm::Sha256 => {
            plan.jobs.iter().filter_map(|job| Some((job.entry, whole(job.entry, &job.range)?))).collect()
        }
        _ => BTreeMap::new(),
    };
    let entries: Vec<&Entry> = asked.values().copied().collect();
    let stated = source.stated(&entries, run)?;
    let stated: BTreeMap<usize, Digest> =
        asked.into_keys().zip(stated).filter_map(|(entry, digest)| Some((entry, digest?))).collect();
    let digests = plan.jobs.iter().map(|job| {
        let of = stated.get(&job.entry).filter(|_| whole(job.entry, &job.range).is_some());
        Some(of.copied().ok_or_else(|| not_stated(plan, job.entry)))
    });
    Ok(Hashes { digests: digests.collect(), kernel: None })
}

fn not_stated(plan: &Plan<'_>, entry: usize) -> Error {
    let name = plan.entries.get(entry).map_or("", |entry| entry.name.as_str());
    let what = match plan.algorithm {
        Algorithm::Sha256 => format!("the store states no SHA-256 of the whole file {:?}", Shown(name)),
        other => format!("what is signed of {:?} is its {other}, which no store states", Shown(name)),
    };
    Error::new(Code::NotStated, what).with_name(name)
}

/// Whether what a store states may be signed.
///
/// # Errors
/// `arguments-conflict` for other digests than SHA-256 of whole files, `bad-argument` where the model is no full commit.
pub(super) fn may_be_signed(model: &Model, hashing: &Hashing) -> Result<(), Error> {
    if hashing.algorithm != Algorithm::Sha256 || hashing.shard_size.is_some() {
        let what = "stores state the SHA-256 of whole files: neither shards nor another digest can be signed from that";
        return Err(Error::new(Code::ArgumentsConflict, what)
            .with_help("leave out --shard-size and --hash-algorithm, or --from-stated"));
    }
    let pinned = matches!(&model.given, Some(ModelUri::Hub(uri)) if uri.revision.as_deref().is_some_and(HubUri::is_commit));
    if !pinned {
        let what = "what a store states is only signed of a full commit on the Hub, which nobody can change";
        return Err(
            Error::new(Code::BadArgument, what).with_help("write hf://org/name@COMMIT, all 40 digits of it")
        );
    }
    Ok(())
}
