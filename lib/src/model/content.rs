//! Steps 4 to 7 of a verification: the content of a model against a manifest that is true.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{Model, stated};
use crate::{
    Error, Run,
    code::Code,
    hash::{Hashes, Job, Plan, hash},
    loadset::Compared,
    manifest::{Algorithm, Digest, Manifest, ManifestFile, Method, Resource},
    receipt::Attempt,
    report::{Finding, Report},
    safetensors::Tensors,
    shown::Shown,
    source::{
        Entry, Stamp,
        listing::{GIT_PATHS, Listing, Rules, Signed},
    },
};

/// What was hashed already in one verification, by algorithm, path and bytes: several statements on one model mostly name the
/// same files. A digest holds as long as the stamp of its file does.
#[derive(Default)]
pub(crate) struct Hashed(HashMap<(Algorithm, String, Range<u64>), (Stamp, Digest)>);

impl Hashed {
    fn get(&self, algorithm: Algorithm, entry: &Entry, range: &Range<u64>) -> Option<Digest> {
        let (stamp, digest) = self.0.get(&(algorithm, entry.name.clone(), range.clone()))?;
        (*stamp == entry.stamp && *stamp != Stamp::default()).then_some(*digest)
    }
}

/// Checks a model against a manifest; what is found goes into the report. `hashed` has what earlier statements needed, and is
/// added to where there are later ones. Returns whether a receipt stood in for hashing.
///
/// # Errors
/// When the check as a whole could not be made. What was found until then stands in the report.
pub(super) fn check(
    model: &Model,
    manifest: &Manifest,
    hashed: Option<&mut Hashed>,
    receipt: Option<&mut Attempt<'_>>,
    run: &Run,
    report: &mut Report,
) -> Result<bool, Error> {
    let base_name = model.source.base_name();
    let named = Named::take(model, manifest, &base_name, run, report)?;
    let by_receipt = receipt.is_some_and(|receipt| named.has_receipt(receipt, run, report));
    let mut digests = |plan: &Plan<'_>| match model.release.stated {
        true => stated::digests(plan, &*model.source, run),
        false if by_receipt => Ok(Hashes::expected(plan)),
        false => hash(plan, &*model.source, None, run),
    };
    let read_before = report.bytes;
    named.check(hashed, &mut digests, run, report)?;
    if by_receipt {
        report.bytes = read_before;
    }
    Ok(by_receipt)
}

/// How a plan is hashed; what is pulled is written down on the way.
pub(crate) type HashWith<'a> = dyn FnMut(&Plan<'_>) -> Result<Hashes, Error> + 'a;

/// A model whose names and sizes were held against a manifest, and whose bytes were not yet.
pub(crate) struct Named<'a> {
    model: &'a Model,
    manifest: &'a Manifest,
    rules: Rules<'a>,
    wanted: Wanted<'a>,
    listing: Listing,
    pairs: Vec<Pair>,
    /// A difference was found that ends the run.
    enough: bool,
}

impl<'a> Named<'a> {
    /// Step 4: names, and sizes where shards give them, before a byte is read. What differs goes into the report; `base_name`
    /// is that of the model's source.
    ///
    /// # Errors
    /// When the model could not be listed.
    pub(crate) fn take(
        model: &'a Model,
        manifest: &'a Manifest,
        base_name: &'a str,
        run: &Run,
        report: &mut Report,
    ) -> Result<Self, Error> {
        let rules = Rules {
            ignore: ignored(model, manifest),
            follow_links: model.symlinks && manifest.serialization().allow_symlinks,
            tolerate_unsigned: model.unsigned,
            may_be_unsigned: &model.may_be_unsigned,
            most_unsigned: Some(UNSIGNED_FINDINGS),
            load_set: model.load_set.is_some(),
        };
        // Older implementations call the file of a single-file model "."; whoever verifies a folder finds no such file.
        let wanted = Wanted::new(manifest, if model.source.is_single_file() { base_name } else { "." });
        let listing = Listing::take(&*model.source, &rules, &|name: &str| wanted.signed(name), run)?;
        let first = report.findings.len();
        let pairs = compare(&wanted, &listing, manifest, report);
        if let Some(demand) = &model.load_set {
            let listed = pairs
                .iter()
                .filter_map(|pair| Some((manifest.files().get(pair.file)?, listing.files.get(pair.entry)?)));
            let pairs = listed.collect();
            let signed = |name: &str| wanted.signed(name) == Signed::Yes;
            Compared { model, demand, manifest, listing: &listing, signed: &signed, pairs }
                .check(first, run, report)?;
        }
        let paired: Vec<&Entry> = pairs.iter().filter_map(|pair| listing.files.get(pair.entry)).collect();
        report.findings.extend(model.source.objections(&paired, run)?);
        let enough = run.fails_fast() && report.findings.len() > first;
        for finding in report.findings.iter().skip(first) {
            run.told().found(finding);
        }
        Ok(Named { model, manifest, rules, wanted, listing, pairs, enough })
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> &'a Manifest {
        self.manifest
    }

    /// The files that are to be hashed, in the order of the manifest: what is signed, and what stands in its place.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'a ManifestFile, &Entry)> {
        let files = self.manifest.files();
        self.pairs
            .iter()
            .filter_map(|pair| Some((files.get(pair.file)?, self.listing.files.get(pair.entry)?)))
    }

    /// Whether a receipt says of every file that it was found as signed, and that nothing changed since.
    fn has_receipt(&self, receipt: &mut Attempt<'_>, run: &Run, report: &Report) -> bool {
        if !report.findings.is_empty() || self.pairs.len() != self.manifest.files().len() {
            return receipt.refuse("the model differs from what is signed".to_owned());
        }
        if report.counts.unsigned > 0 || self.listing.tolerated > 0 {
            return receipt.refuse("files that are not signed are tolerated".to_owned());
        }
        receipt.look(&self.files().map(|(_, entry)| entry).collect::<Vec<_>>(), run)
    }

    /// Steps 5 to 7: hashes every byte that is signed, by `with`; looks whether the model moved meanwhile; and tells the
    /// difference.
    ///
    /// # Errors
    /// As [`check`].
    pub(crate) fn check(
        &self,
        mut hashed: Option<&mut Hashed>,
        with: &mut HashWith<'_>,
        run: &Run,
        report: &mut Report,
    ) -> Result<(), Error> {
        let Named { model, manifest, rules, wanted, listing, pairs, enough } = self;
        let source = &*model.source;

        // 5. Every byte that is signed.
        let algorithm = manifest.serialization().algorithm;
        let (mut known, mut jobs, mut resources) = (Vec::new(), Vec::new(), Vec::new());
        for (job, resource) in ranges(manifest, &listing.files, pairs) {
            let entry = listing.files.get(job.entry);
            match hashed
                .as_deref()
                .zip(entry)
                .and_then(|(hashed, entry)| hashed.get(algorithm, entry, &job.range))
            {
                Some(digest) => known.push((job, resource, digest)),
                None => {
                    jobs.push(job);
                    resources.push(resource);
                }
            }
        }
        let expected = |resource: &usize| Some(manifest.resources().get(*resource)?.digest);
        let expected = resources.iter().filter_map(expected).collect();
        let plan = Plan { algorithm, entries: &listing.files, jobs, expected };
        run.told()
            .hashing(pairs.len() as u64, plan.jobs.iter().map(Job::length).fold(0, u64::saturating_add));
        let hashes = if *enough { Ok(Hashes::none(&plan)) } else { with(&plan) };
        run.told().done();
        let hashes = hashes?;

        // 6. The same names and stamps as before, and the model still in its place?
        let signed = |name: &str| wanted.signed(name);
        let mut changes = listing.changes(&Listing::take(source, rules, &signed, run)?);
        changes.extend(source.unmoved(run).err().map(Error::into_finding));

        // 7. The difference.
        let mut difference = Difference::new(&changes);
        for (job, resource, digest) in known {
            difference.add(manifest, &listing.files, &job, resource, Ok(digest));
        }
        for ((job, resource), digest) in plan.jobs.iter().zip(resources).zip(hashes.digests) {
            let Some(digest) = digest else {
                // Not hashed, since one difference was enough.
                difference.failed.insert(job.entry);
                continue;
            };
            report.bytes += if digest.is_ok() && !model.release.stated { job.length() } else { 0 };
            if let (Some(hashed), Some(entry), Ok(digest)) =
                (hashed.as_deref_mut(), listing.files.get(job.entry), &digest)
            {
                let key = (algorithm, entry.name.clone(), job.range.clone());
                hashed.0.insert(key, (entry.stamp.clone(), *digest));
            }
            difference.add(manifest, &listing.files, job, resource, digest);
        }
        count(listing, manifest, pairs.len() - difference.failed.len(), report);
        report.kernel = hashes.kernel.map(str::to_owned).or(report.kernel.take());
        let mut findings = difference.findings;
        name_tensors(model, &listing.files, &mut findings, run);
        for finding in findings.iter().chain(&changes) {
            run.told().found(finding);
        }
        report.findings.extend(findings);
        report.findings.extend(changes);
        let place =
            |finding: &Finding| (finding.name.clone(), finding.range.as_ref().map(|range| range.start));
        report.findings.sort_by_cached_key(place);
        report.findings.dedup();
        Ok(())
    }
}

/// How far two statements say the same of the files that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Agreement {
    /// They say the same.
    Same,
    /// No bytes can be as both say.
    Differ,
    /// They say it in different ways: only whoever reads the bytes once for both can tell whether they agree.
    Unlike,
}

/// Compares what two manifests say of the files that they share; `whole` is what the name `.` stands for.
pub(crate) fn agreement(one: &Manifest, other: &Manifest, whole: &str) -> Agreement {
    let algorithm = |manifest: &Manifest| manifest.serialization().algorithm;
    let others = Wanted::new(other, whole);
    let named: HashMap<&str, &ManifestFile> =
        other.files().iter().map(|file| (others.name(file), file)).collect();
    let ones = Wanted::new(one, whole);
    let mut agreement = Agreement::Same;
    for file in one.files() {
        let Some(same) = named.get(ones.name(file)) else { continue };
        let resources = |manifest: &'_ Manifest, file: &ManifestFile| -> Vec<(Option<Range<u64>>, Digest)> {
            let all = file.resources.iter().filter_map(|index| manifest.resources().get(*index as usize));
            all.map(|resource| (resource.range.clone(), resource.digest)).collect()
        };
        let (here, there) = (resources(one, file), resources(other, same));
        if algorithm(one) != algorithm(other)
            || !here.iter().map(|one| &one.0).eq(there.iter().map(|one| &one.0))
        {
            return Agreement::Unlike;
        }
        if here != there {
            agreement = Agreement::Differ;
        }
    }
    agreement
}

/// Counts files. Several statements are mostly on the same ones, so that the largest number counts, and of what was verified
/// the smallest.
fn count(listing: &Listing, manifest: &Manifest, verified: usize, report: &mut Report) {
    let verified = verified as u64;
    let counts = &mut report.counts;
    counts.verified = if counts.signed == 0 { verified } else { counts.verified.min(verified) };
    counts.signed = counts.signed.max(manifest.files().len() as u64);
    counts.ignored = counts.ignored.max(listing.ignored);
    counts.unsigned += listing.tolerated;
    counts.links = counts.links.max(listing.links);
}

/// What is left out: by the statement, by the caller, by Git's defaults, and the signatures.
fn ignored<'a>(model: &'a Model, manifest: &'a Manifest) -> Vec<&'a str> {
    let git = GIT_PATHS.into_iter().filter(|_| !model.git_paths);
    let named = manifest
        .serialization()
        .ignore_paths
        .iter()
        .chain(&model.ignore)
        .chain(&model.signatures)
        .map(String::as_str);
    named.chain(git).collect()
}

/// The names that are signed, as this model has them.
struct Wanted<'a> {
    /// What the name `.` stands for.
    whole: &'a str,
    files: HashSet<&'a str>,
    folders: HashSet<&'a str>,
}

impl<'a> Wanted<'a> {
    fn new(manifest: &'a Manifest, whole: &'a str) -> Self {
        let mut wanted =
            Wanted { whole, files: HashSet::with_capacity(manifest.files().len()), folders: HashSet::new() };
        for file in manifest.files() {
            let mut name = wanted.name(file);
            wanted.files.insert(name);
            while let Some((folder, _)) = name.rsplit_once('/') {
                if !wanted.folders.insert(folder) {
                    break;
                }
                name = folder;
            }
        }
        wanted
    }

    fn name(&self, file: &'a ManifestFile) -> &'a str {
        if file.name.is_whole_model() { self.whole } else { file.name.as_str() }
    }

    fn signed(&self, name: &str) -> Signed {
        if self.files.contains(name) {
            Signed::Yes
        } else if self.folders.contains(name) {
            Signed::Below
        } else {
            Signed::No
        }
    }
}

/// A signed file and the entry that stands in its place: indices into the manifest's files and the listing's.
struct Pair {
    file: usize,
    entry: usize,
}

/// Compares names and sizes; the pairs that are left are to be hashed.
fn compare<'a>(
    wanted: &Wanted<'a>,
    listing: &Listing,
    manifest: &'a Manifest,
    report: &mut Report,
) -> Vec<Pair> {
    let entries: HashMap<&str, usize> =
        listing.files.iter().enumerate().map(|(n, entry)| (entry.name.as_str(), n)).collect();
    let told: HashSet<&str> = listing.findings.iter().filter_map(|finding| finding.name.as_deref()).collect();
    let unreadable: Vec<&str> = listing
        .findings
        .iter()
        .filter(|finding| finding.code.class() == crate::code::Class::CouldNotTell)
        .filter_map(|f| f.name.as_deref())
        .collect();
    let mut pairs = Vec::with_capacity(manifest.files().len());
    let mut findings = listing.findings.clone();
    for (n, file) in manifest.files().iter().enumerate() {
        let name = wanted.name(file);
        let Some((entry_at, entry)) = entries.get(name).and_then(|at| Some((*at, listing.files.get(*at)?)))
        else {
            let hidden = unreadable.iter().any(|folder| file.name.is_in(folder));
            if !told.contains(name) && !hidden {
                findings.push(
                    Finding::new(Code::FileMissing, format!("the signed file {:?} is missing", file.name))
                        .about(name),
                );
            }
            continue;
        };
        match file.size {
            Some(size) if size != entry.size => findings.push(wrong_size(name, size, entry.size)),
            _ => pairs.push(Pair { file: n, entry: entry_at }),
        }
    }
    for entry in &listing.files {
        if wanted.signed(&entry.name) == Signed::Yes {
            continue;
        }
        // The reference follows links to files only, so that its statements have no names through a link to a folder. Such a
        // name is let pass where the statement has none through that link and the file itself is signed.
        if let Some(link) = &entry.through
            && wanted.signed(link) == Signed::No
            && wanted.signed(entry.location()) == Signed::Yes
        {
            continue;
        }
        // Shards cannot name a file without bytes.
        let nameless = entry.size == 0 && manifest.serialization().method != Method::Files;
        if nameless {
            report.counts.unsigned += 1;
        } else {
            findings.push(
                Finding::new(Code::FileUnsigned, format!("the file {:?} is not signed", Shown(&entry.name)))
                    .about(&*entry.name),
            );
        }
    }
    findings.sort_by(|a, b| a.name.cmp(&b.name));
    if listing.unkept > 0 {
        let what = format!("{} more files are not signed", listing.unkept);
        findings.push(Finding::new(Code::FileUnsigned, what));
    }
    report.findings.append(&mut findings);
    pairs
}

fn wrong_size(name: &str, expected: u64, actual: u64) -> Finding {
    let (code, how) =
        if actual > expected { (Code::FileLonger, "longer") } else { (Code::FileShorter, "shorter") };
    Finding::new(code, format!("the file {:?} is {how} than signed", Shown(name)))
        .about(name)
        .differs(format!("{expected} bytes"), format!("{actual} bytes"))
}

/// What is to be hashed, and for each range the resource that it is to equal.
fn ranges(manifest: &Manifest, entries: &[Entry], pairs: &[Pair]) -> Vec<(Job, usize)> {
    let mut ranges = Vec::new();
    for pair in pairs {
        let (Some(file), Some(entry)) = (manifest.files().get(pair.file), entries.get(pair.entry)) else {
            continue;
        };
        for index in &file.resources {
            let index = *index as usize;
            let range = manifest.resources().get(index).and_then(|resource| resource.range.clone());
            ranges.push((Job { entry: pair.entry, range: range.unwrap_or(0..entry.size) }, index));
        }
    }
    ranges
}

/// Collects what the digests tell.
struct Difference<'a> {
    /// Files whose stamps say that they changed meanwhile: what was read of them tells nothing.
    moving: HashSet<&'a str>,
    /// Entries of which something is wrong.
    failed: HashSet<usize>,
    findings: Vec<Finding>,
}

impl<'a> Difference<'a> {
    fn new(changes: &'a [Finding]) -> Self {
        let moving = changes.iter().filter_map(|finding| finding.name.as_deref()).collect();
        Difference { moving, failed: HashSet::new(), findings: Vec::new() }
    }

    fn add(
        &mut self,
        manifest: &Manifest,
        entries: &[Entry],
        job: &Job,
        resource: usize,
        digest: Result<Digest, Error>,
    ) {
        let (Some(entry), Some(resource)) = (entries.get(job.entry), manifest.resources().get(resource))
        else {
            return;
        };
        if self.moving.contains(entry.name.as_str()) {
            self.failed.insert(job.entry);
            return;
        }
        match digest {
            Ok(actual) if actual == resource.digest => {}
            Ok(actual) => {
                self.failed.insert(job.entry);
                self.findings.push(changed(entry, resource, &actual));
            }
            Err(error) => {
                // A file that cannot be read is told once, not for every shard.
                if self.failed.insert(job.entry) {
                    self.findings.push(error.into_finding().about(&*entry.name));
                }
            }
        }
    }
}

/// That a file, or a shard of it, has another digest than was signed.
pub(crate) fn changed(entry: &Entry, resource: &Resource, actual: &Digest) -> Finding {
    let what = match &resource.range {
        Some(range) => {
            format!("bytes {} to {} of {:?} are not as signed", range.start, range.end, Shown(&entry.name))
        }
        None => format!("the file {:?} is not as signed", Shown(&entry.name)),
    };
    let mut finding =
        Finding::new(Code::FileChanged, what).about(&*entry.name).differs(resource.digest, actual);
    finding.range.clone_from(&resource.range);
    finding
}

/// At most this many files that are not signed are told one by one; a store can have millions of them.
const UNSIGNED_FINDINGS: usize = 10_000;

/// At most this many changed shards are looked up in the headers of their files.
const NAMED_FINDINGS: usize = 1000;

/// Names the tensors that lie in changed shards.
fn name_tensors(model: &Model, entries: &[Entry], findings: &mut [Finding], run: &Run) {
    let mut known: HashMap<String, Tensors> = HashMap::new();
    for finding in findings.iter_mut().take(NAMED_FINDINGS) {
        let (Some(name), Some(range)) = (&finding.name, &finding.range) else { continue };
        if !name.ends_with(".safetensors") || run.check().is_err() {
            continue;
        }
        if !known.contains_key(name) {
            let Some(entry) = entries.iter().find(|entry| entry.name == *name) else { continue };
            known.clear();
            known.insert(name.clone(), Tensors::read(&*model.source, entry, run));
        }
        if let Some(tensors) = known.get(name) {
            finding.tensors = tensors.in_range(range);
        }
    }
}
