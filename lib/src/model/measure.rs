//! Listing and hashing a model to be signed.

use std::collections::BTreeSet;

use super::{Model, stated};
use crate::{
    Bundle, Error, Run,
    code::Code,
    hash::{Hashing, Job, Plan, hash},
    limits,
    manifest::{Manifest, Method, Resource, Serialization},
    report::Finding,
    shown::Shown,
    source::{
        Entry, Kind,
        listing::{GIT_PATHS, Listing, Rules, Signed, covers},
    },
};

/// What [`Model::manifest`] does.
pub(super) fn manifest(model: &Model, hashing: &Hashing, run: &Run) -> Result<Manifest, Error> {
    if model.release.stated {
        stated::may_be_signed(model, hashing)?;
    }
    let ignore_paths = ignore_paths(model, run)?;
    let rules = Rules {
        ignore: ignore_paths.iter().map(String::as_str).collect(),
        follow_links: model.symlinks,
        tolerate_unsigned: false,
        may_be_unsigned: &[],
        most_unsigned: None,
        load_set: false,
    };
    let source = &*model.source;
    let nothing_signed = |_: &str| Signed::No;
    let listing = Listing::take(source, &rules, &nothing_signed, run)?;
    refuse(&listing.findings)?;
    refuse(&source.objections(&listing.files.iter().collect::<Vec<_>>(), run)?)?;

    let plan = plan(&listing.files, hashing);
    if plan.jobs.is_empty() {
        return Err(Error::new(Code::ModelEmpty, format!("{model} has no file to sign")));
    }
    run.told().hashing(
        listing.files.len() as u64,
        listing.files.iter().map(|entry| entry.size).fold(0, u64::saturating_add),
    );
    let hashes = match model.release.stated {
        true => stated::digests(&plan, source, run),
        false => hash(&plan, source, None, run),
    };
    run.told().done();
    let hashes = hashes?;
    refuse(&listing.changes(&Listing::take(source, &rules, &nothing_signed, run)?))?;
    source.unmoved(run)?;

    let mut resources = Vec::with_capacity(plan.jobs.len());
    for (job, digest) in plan.jobs.iter().zip(hashes.digests) {
        let digest = digest.ok_or_else(|| Error::new(Code::Panicked, "a range was left unhashed"))??;
        let entry =
            plan.entries.get(job.entry).ok_or_else(|| Error::new(Code::Panicked, "a job without a file"))?;
        let range = hashing.shard_size.is_some().then(|| job.range.clone());
        resources.push(Resource { name: entry.resource_name()?, range, digest });
    }
    resources.sort_by_cached_key(Resource::identifier);
    let method = hashing.shard_size.map_or(Method::Files, |size| Method::Shards { size });
    let serialization =
        Serialization { method, algorithm: hashing.algorithm, allow_symlinks: model.symlinks, ignore_paths };
    Manifest::new(serialization, resources)
}

/// One job for each file, or for each shard; files without bytes have no shard.
fn plan<'a>(files: &'a [Entry], hashing: &Hashing) -> Plan<'a> {
    let mut jobs = Vec::new();
    for (entry, file) in files.iter().enumerate() {
        match hashing.shard_size {
            None => jobs.push(Job { entry, range: 0..file.size }),
            Some(size) => {
                let mut start = 0;
                while start < file.size {
                    let end = start.saturating_add(size).min(file.size);
                    jobs.push(Job { entry, range: start..end });
                    start = end;
                }
            }
        }
    }
    Plan { algorithm: hashing.algorithm, entries: files, jobs, expected: Vec::new() }
}

/// The paths to leave out and to record: Git's, the caller's, the signatures', and other signatures beside those.
fn ignore_paths(model: &Model, run: &Run) -> Result<Vec<String>, Error> {
    let mut paths: BTreeSet<String> = model.ignore.iter().chain(&model.signatures).cloned().collect();
    if !model.git_paths && !model.source.is_single_file() {
        paths.extend(GIT_PATHS.map(str::to_owned));
    }
    for sibling in signatures_beside(model, run)? {
        if !paths.iter().any(|path| covers(path, &sibling)) {
            run.told().note(&format!("left out {:?}: it is a signature itself", Shown(&sibling)));
            paths.insert(sibling);
        }
    }
    if let Some(pattern) = paths.iter().find(|path| path.contains(['*', '?', '['])) {
        return Err(Error::new(
            Code::BadArgument,
            format!(
                "the path {:?} cannot be recorded as ignored: other tools could take it for a pattern",
                Shown(pattern)
            ),
        )
        .with_help("rename the file, or sign it"));
    }
    Ok(paths.into_iter().collect())
}

/// Files in the folders of the given signatures, or else at the top, that are model signatures as well.
fn signatures_beside(model: &Model, run: &Run) -> Result<Vec<String>, Error> {
    fn folder(name: &str) -> &str {
        name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
    let mut folders: BTreeSet<&str> = model.signatures.iter().map(|name| folder(name)).collect();
    folders.insert("");
    let mut candidates = Vec::new();
    // On disk every file is looked into; in a store, where that is a journey each, those that are called like one.
    let remote = model.source.shape().reads > 0;
    model.source.list(run, &mut |entry| {
        let called_so =
            || [".sig", ".sigstore", ".sigstore.json"].iter().any(|end| entry.name.ends_with(end));
        if entry.kind == Kind::File
            && (!remote || called_so())
            && folders.contains(folder(&entry.name))
            && !model.signatures.contains(&entry.name)
        {
            candidates.push(entry);
        }
        Ok(())
    })?;
    candidates.retain(|entry| is_signature(model, entry, run));
    Ok(candidates.into_iter().map(|entry| entry.name).collect())
}

/// Whether a file parses as a signature of a model. What cannot be read is none: the hash will tell why.
fn is_signature(model: &Model, entry: &Entry, run: &Run) -> bool {
    if entry.size > limits::BUNDLE_BYTES || model.source.is_single_file() {
        return false;
    }
    let mut start = [0; 64];
    let Ok(length) = model.source.read_at(entry, 0, &mut start, run) else { return false };
    if start.iter().take(length).find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return false;
    }
    let mut bytes = vec![0; usize::try_from(entry.size).unwrap_or(0)];
    match model.source.read_at(entry, 0, &mut bytes, run) {
        Ok(length) if length == bytes.len() => {
            Bundle::parse(&bytes).and_then(|bundle| bundle.unverified_statement()).is_ok()
        }
        _ => false,
    }
}

/// The first finding as an error, with how many more there are.
fn refuse(findings: &[Finding]) -> Result<(), Error> {
    let Some(first) = findings.first() else { return Ok(()) };
    let mut first = first.clone();
    if let Some(more) = findings.len().checked_sub(1).filter(|more| *more > 0) {
        first.what = format!("{} (and {more} more)", first.what);
    }
    Err(first.into())
}
