//! The load set: what a model server would load of a model, which has to be exactly what is signed and there.
//!
//! It is no part of OMS and of a plain verification. Where a policy demands it, it is checked with the names, before a byte
//! is hashed; `docs/load-set.md` says what is checked and why.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::{
    Error, Manifest, Method, Run,
    code::Code,
    hash::digest_of,
    limits,
    manifest::ManifestFile,
    model::Model,
    policy::Pattern,
    report::{Finding, LoadSetReport, Report},
    safetensors,
    shown::Shown,
    source::{
        Entry, Source,
        listing::{By, GIT_PATHS, Hidden, Listing, Rules, Signed, covers},
    },
};

mod documents;
mod missing;
pub(crate) mod names;
mod reading;
pub(crate) mod scan;

use documents::Documents;
use missing::Present;
pub use names::LoadKind;
use names::{Number, Part, base};

/// At most so many findings of the load set are told one by one.
pub(crate) const FINDINGS: usize = 10_000;

/// What a policy demands of the load set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// On which model an adapter has to build.
    pub(crate) base_model: Option<String>,
    /// Signed files that need not be there, as long as nobody would load them.
    pub(crate) missing: Vec<Pattern>,
    /// Only whether there is something that is not signed: the rest is not there yet.
    pub(crate) names_only: bool,
}

/// What a model server would load of a model, as far as the files themselves tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadSet {
    /// The files, in the order of their names.
    pub files: Vec<LoadSetFile>,
    /// How many bytes they have in all.
    pub bytes: u64,
    /// On which model it builds, where it is an adapter: as its configuration says, of several the first one's.
    pub base_model: Option<String>,
    /// Code of other repositories that it would have loaded.
    pub remote_code: Vec<RemoteCode>,
    /// What is wrong with it: files that an index names and that are not there, what is not as its format has it, code
    /// of other repositories.
    pub findings: Vec<Finding>,
}

/// A file that would be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadSetFile {
    /// Its name in the model, not escaped.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// What it is loaded as.
    pub kind: LoadKind,
    /// Whether it is signed, where that is known.
    pub signed: Option<bool>,
}

/// Code of another repository, and the file that names it; neither is escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RemoteCode {
    /// The file.
    pub file: String,
    /// What it names.
    pub names: String,
}

impl LoadSet {
    /// Says of each file whether a manifest has it, which nobody has to have proven.
    pub fn mark_signed(&mut self, manifest: &Manifest) {
        let signed: HashSet<&str> = manifest.files().iter().map(|file| file.name.as_str()).collect();
        let is_whole = manifest.files().iter().any(|file| file.name.is_whole_model());
        let only = self.files.len() == 1;
        for file in &mut self.files {
            file.signed = Some(signed.contains(file.name.as_str()) || (is_whole && only));
        }
    }
}

/// What the command `loadset` prints: everything counts as signed that is there.
///
/// # Errors
/// When the model could not be listed or read.
pub(crate) fn of_model(model: &Model, run: &Run) -> Result<LoadSet, Error> {
    let rules = Rules { follow_links: model.follows_links(), ..Rules::default() };
    let listing = Listing::take(model.source(), &rules, &|_: &str| Signed::No, run)?;
    let is_signature = |entry: &&Entry| model.signature_names().contains(&entry.name);
    let files: Vec<&Entry> = listing.files.iter().filter(|entry| !is_signature(entry)).collect();
    let names: HashSet<&str> = files.iter().map(|entry| entry.name.as_str()).collect();
    let is_there = |name: &str| names.contains(name);
    let view = View {
        source: model.source(),
        files,
        counts: &is_there,
        is_there: &is_there,
        as_signed: &|_, _| Ok(None),
    };
    let mut looked = view.look(run)?;
    looked.findings.splice(0..0, listing.findings.iter().cloned());
    let mut set = LoadSet {
        base_model: looked.base_model(),
        findings: looked.findings,
        remote_code: looked
            .documents
            .remote
            .into_iter()
            .map(|(file, names)| RemoteCode { file, names })
            .collect(),
        ..LoadSet::default()
    };
    set.files.extend(view.files.iter().filter_map(|entry| {
        let kind = LoadKind::of(&entry.name)?;
        Some(LoadSetFile { name: entry.name.clone(), size: entry.size, kind, signed: None })
    }));
    set.bytes = set.files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    Ok(set)
}

/// A model whose names were held against a manifest.
pub(crate) struct Compared<'a> {
    pub(crate) model: &'a Model,
    pub(crate) demand: &'a Demand,
    pub(crate) manifest: &'a Manifest,
    pub(crate) listing: &'a Listing,
    /// Whether a file of this name is signed.
    pub(crate) signed: &'a dyn Fn(&str) -> bool,
    /// The signed files that are there as long as they should be.
    pub(crate) pairs: Vec<(&'a ManifestFile, &'a Entry)>,
}

impl Compared<'_> {
    /// Checks the load set; what is found goes into the report, whose findings from `first` on are those of the names. Signed
    /// files that may be missing are no findings any more.
    ///
    /// # Errors
    /// What ended the run.
    pub(crate) fn check(&self, first: usize, run: &Run, report: &mut Report) -> Result<(), Error> {
        self.unsigned(report);
        if self.demand.names_only {
            return Ok(());
        }
        let names = self.listing.files.iter().map(|entry| &entry.name);
        let hidden = self.listing.hidden.iter().filter(|hidden| self.is_read(hidden));
        let hidden = hidden.map(|hidden| &hidden.name);
        let there: HashSet<&str> = names.chain(hidden).map(String::as_str).collect();
        let files: HashMap<&str, &ManifestFile> =
            self.pairs.iter().map(|(file, entry)| (entry.name.as_str(), *file)).collect();
        let view = View {
            source: self.model.source(),
            files: self.pairs.iter().map(|(_, entry)| *entry).collect(),
            counts: self.signed,
            is_there: &|name| there.contains(name),
            as_signed: &|entry, bytes| self.as_signed(files.get(entry.name.as_str()).copied(), entry, bytes),
        };
        let mut looked = view.look(run)?;
        self.base_model(&mut looked);
        self.missing(&looked, &there, first, report);
        let loaded = view.files.iter().filter(|entry| LoadKind::of(&entry.name).is_some());
        let (files, bytes) =
            loaded.fold((0, 0_u64), |(files, bytes), entry| (files + 1, bytes.saturating_add(entry.size)));
        report.load_set = Some(LoadSetReport { files, bytes, base_model: looked.base_model() });
        report.findings.append(&mut looked.findings);
        Ok(())
    }

    /// Tells what is there and would be loaded, and was passed over since it is ignored or need not be signed.
    fn unsigned(&self, report: &mut Report) {
        let by_shards = self.manifest.serialization().method != Method::Files;
        let loaded = self
            .listing
            .files
            .iter()
            .filter(|entry| !(self.signed)(&entry.name) && LoadKind::of(&entry.name).is_some());
        let unsigned = |name: &str, why: &str| {
            let what = format!("the file {:?} would be loaded and is not signed; {why}", Shown(name));
            Finding::new(Code::LoadSetUnsigned, what).about(name)
        };
        let passed_over = loaded.filter_map(|entry| match &entry.through {
            // Its content is signed, but not by this name, by which somebody may look for it.
            Some(link) => {
                Some(unsigned(&entry.name, &format!("it has this name through the link {:?}", Shown(link))))
            }
            None if by_shards && entry.size == 0 => {
                Some(unsigned(&entry.name, "it is empty, and shards name no file without bytes"))
            }
            None => None,
        });
        let signatures = self.model.signature_names();
        let others = self.listing.hidden.iter().filter(|hidden| !signatures.contains(&hidden.name));
        let others = others.filter(|hidden| self.is_read(hidden));
        let hidden = others.map(|hidden| match &hidden.unreadable {
            Some(why) => why.clone(),
            None => unsigned(&hidden.name, &self.hidden_by(hidden)),
        });
        report.findings.extend(passed_over.chain(hidden).take(FINDINGS));
        if self.listing.more_hidden > 0 {
            let what = format!("{} more files would be loaded and are not signed", self.listing.more_hidden);
            report.findings.push(Finding::new(Code::LoadSetUnsigned, what));
        }
    }

    /// Whether a loader may read what was passed over: not the card of a model, but that of a pipeline, which names others
    /// that are loaded with it (diffusers).
    fn is_read(&self, hidden: &Hidden) -> bool {
        let pipeline = names::inside(names::folder(&hidden.name), "model_index.json");
        !names::is_card(&hidden.name)
            || hidden.leads
            || hidden.unreadable.is_some()
            || (self.signed)(&pipeline)
    }

    /// By what a file was passed over.
    fn hidden_by(&self, hidden: &Hidden) -> String {
        let covered = |paths: &[String]| paths.iter().any(|path| covers(path, &hidden.name));
        match hidden.by {
            By::Tolerated => "files that are not signed are tolerated".to_owned(),
            By::Allowed => "the policy lets it be unsigned".to_owned(),
            By::Ignored if GIT_PATHS.iter().any(|path| covers(path, &hidden.name)) => {
                "what Git keeps is ignored".to_owned()
            }
            By::Ignored if covered(&self.manifest.serialization().ignore_paths) => {
                "the signature itself ignores it".to_owned()
            }
            By::Ignored => "it was given as a path to ignore".to_owned(),
        }
    }

    /// Whether the bytes of a whole file are the signed ones: what is read of it now must not be something else than what is
    /// hashed later.
    fn as_signed(
        &self,
        file: Option<&ManifestFile>,
        entry: &Entry,
        bytes: &[u8],
    ) -> Result<Option<Finding>, Error> {
        let algorithm = self.manifest.serialization().algorithm;
        for index in file.iter().flat_map(|file| &file.resources) {
            let Some(resource) = self.manifest.resources().get(*index as usize) else { continue };
            let part = match &resource.range {
                Some(range) => usize::try_from(range.start)
                    .ok()
                    .zip(usize::try_from(range.end).ok())
                    .and_then(|(start, end)| bytes.get(start..end))
                    .unwrap_or_default(),
                None => bytes,
            };
            let digest = digest_of(algorithm, part)?;
            if digest != resource.digest {
                return Ok(Some(crate::model::content::changed(entry, resource, &digest)));
            }
        }
        Ok(None)
    }

    fn base_model(&self, looked: &mut Looked) {
        let Some(wanted) = &self.demand.base_model else { return };
        let not = |what: String, name: Option<&str>, actual: &str| {
            let finding = Finding::new(Code::BaseModelNotExpected, what).differs(wanted, actual);
            name.into_iter().fold(finding, |finding, name| finding.about(name))
        };
        let bases = &looked.documents.base_models;
        let mut findings = Vec::new();
        if bases.is_empty() {
            let what = format!("nothing in the model says that it builds on {:?}", Shown(wanted));
            findings.push(not(what, None, "none"));
        }
        for (name, actual) in bases.iter().filter(|(_, actual)| *actual != wanted) {
            let what = format!("{:?} builds on {:?}, not on {:?}", Shown(name), Shown(actual), Shown(wanted));
            findings.push(not(what, Some(name), actual));
        }
        looked.findings.append(&mut findings);
    }

    /// Takes back what was found of signed files that need not be there.
    fn missing(&self, looked: &Looked, there: &HashSet<&str>, first: usize, report: &mut Report) {
        if self.demand.missing.is_empty() {
            return;
        }
        let signed: Vec<&str> = there.iter().copied().filter(|name| (self.signed)(name)).collect();
        let present = Present::new(&signed, &looked.documents);
        let mut missing = 0;
        let mut at = 0;
        report.findings.retain_mut(|finding| {
            at += 1;
            let name = finding.name.as_deref().filter(|_| finding.code == Code::FileMissing);
            let Some(name) = name.filter(|_| at > first) else { return true };
            if !self.demand.missing.iter().any(|pattern| pattern.matches(name)) {
                return true;
            }
            if present.may_lack(name) {
                missing += 1;
                return false;
            }
            finding.what.push_str("; it would be loaded, and the policy can let only others be missing");
            true
        });
        report.counts.missing = report.counts.missing.max(missing);
    }
}

/// So many headers are read at once from a server.
const HEADERS: usize = 4;

/// The names of a file's tensors, or why it has no header; or what reading it came to.
type Header = Result<Result<Vec<String>, String>, Error>;

/// Asks of the whole bytes of a file whether they are the signed ones.
type AsSigned<'a> = dyn Fn(&Entry, &[u8]) -> Result<Option<Finding>, Error> + 'a;

/// The files that count.
struct View<'a> {
    source: &'a dyn Source,
    files: Vec<&'a Entry>,
    /// Whether a file may be named: it is signed, and what is signed and not there is told elsewhere.
    counts: &'a dyn Fn(&str) -> bool,
    /// Whether a file is there, so that it is told elsewhere why it does not count.
    is_there: &'a dyn Fn(&str) -> bool,
    as_signed: &'a AsSigned<'a>,
}

/// What was seen of them.
#[derive(Debug, Default)]
struct Looked {
    documents: Documents,
    findings: Vec<Finding>,
}

impl Looked {
    fn base_model(&self) -> Option<String> {
        let bases = &self.documents.base_models;
        bases.get("adapter_config.json").or_else(|| bases.values().next()).cloned()
    }

    fn found(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }
}

impl View<'_> {
    /// # Errors
    /// What ended the run.
    fn look(&self, run: &Run) -> Result<Looked, Error> {
        let mut looked = Looked::default();
        self.documents(&mut looked, run)?;
        self.safetensors(&mut looked, run)?;
        self.named(&mut looked);
        self.parts(&mut looked);
        let remote = std::mem::take(&mut looked.documents.remote);
        for (name, reference) in &remote {
            let what =
                format!("{:?} has code of another repository loaded: {:?}", Shown(name), Shown(reference));
            looked.found(Finding::new(Code::RemoteCode, what).about(name.as_str()));
        }
        looked.documents.remote = remote;
        let mut invalid = std::mem::take(&mut looked.documents.findings);
        looked.findings.append(&mut invalid);
        Ok(looked)
    }

    /// Reads every configuration and index.
    fn documents(&self, looked: &mut Looked, run: &Run) -> Result<(), Error> {
        let mut buffer = Vec::new();
        let documents = self.files.iter().filter(|entry| Documents::reads(&entry.name));
        for (count, entry) in documents.enumerate() {
            run.check()?;
            if count >= limits::LOADED_DOCUMENTS {
                let what = format!("the model has more than {} JSON files", limits::LOADED_DOCUMENTS);
                looked.found(Finding::new(Code::TooManyEntries, what));
                return Ok(());
            }
            if entry.size > limits::LOADED_JSON_BYTES {
                if Documents::is_strict(&entry.name) {
                    let why = format!("is larger than {} bytes", limits::LOADED_JSON_BYTES);
                    looked.documents.invalid(&entry.name, &why);
                }
                continue;
            }
            buffer = match self.source.fetch(entry, 0..entry.size, std::mem::take(&mut buffer), run) {
                Ok(bytes) => bytes,
                Err(error) => {
                    run.check()?;
                    looked.found(error.into_finding().about(entry.name.as_str()));
                    continue;
                }
            };
            match (self.as_signed)(entry, &buffer)? {
                Some(finding) => looked.found(finding),
                None => looked.documents.read(&entry.name, &buffer),
            }
        }
        Ok(())
    }

    /// Reads the header of every safetensors file, and looks for the tensors that indexes say are in it.
    fn safetensors(&self, looked: &mut Looked, run: &Run) -> Result<(), Error> {
        let mut indexed: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for (index, of) in looked.documents.indexes.iter().enumerate() {
            for (shard, name) in of.shards.iter().enumerate() {
                indexed.entry(name).or_default().push((index, shard));
            }
        }
        let mut findings = Vec::new();
        let is_one =
            |entry: &&&Entry| [".safetensors", ".sft"].iter().any(|end| base(&entry.name).ends_with(end));
        let files: Vec<&Entry> = self.files.iter().filter(is_one).copied().collect();
        let at_once = if self.source.shape().reads > 0 { HEADERS } else { 1 };
        let headers = files.chunks(at_once).flat_map(|some| some.iter().zip(self.headers(some, run)));
        for (entry, header) in headers {
            run.check()?;
            if findings.len() >= FINDINGS {
                break;
            }
            let invalid = |why: &str| {
                let what = format!("{:?} {why}", Shown(&entry.name));
                Finding::new(Code::LoadSetInvalid, what).about(entry.name.as_str())
            };
            let tensors = match header {
                Ok(Ok(tensors)) => tensors,
                Ok(Err(why)) => {
                    findings.push(invalid(&why));
                    continue;
                }
                Err(error) => {
                    run.check()?;
                    findings.push(error.into_finding().about(entry.name.as_str()));
                    continue;
                }
            };
            for (index, shard) in indexed.get(entry.name.as_str()).into_iter().flatten() {
                let Some(index) = looked.documents.indexes.get(*index) else { continue };
                let is_in = |tensor: &&str| tensors.binary_search_by(|own| own.as_str().cmp(tensor)).is_ok();
                let mut absent = index.of(*shard).filter(|tensor| !is_in(tensor));
                if let Some(first) = absent.next() {
                    let more = match absent.count() {
                        0 => String::new(),
                        more => format!(" and {more} more"),
                    };
                    let index = Shown(&index.name);
                    findings.push(invalid(&format!(
                        "has no tensor {:?}{more}, which {index:?} says",
                        Shown(first)
                    )));
                }
            }
        }
        findings.into_iter().for_each(|finding| looked.found(finding));
        Ok(())
    }

    /// The tensors of these files; where each read is a journey, all at once.
    fn headers(&self, files: &[&Entry], run: &Run) -> Vec<Header> {
        let read = |entry: &Entry| safetensors::tensors(self.source, entry, run);
        let (Some((first, others)), false) = (files.split_first(), files.len() == 1) else {
            return files.iter().map(|entry| read(entry)).collect();
        };
        std::thread::scope(|scope| {
            let spawn = |entry| std::thread::Builder::new().spawn_scoped(scope, move || read(entry)).ok();
            let threads: Vec<_> = others.iter().map(|entry| (*entry, spawn(*entry))).collect();
            let first = read(first);
            let others = threads.into_iter().map(|(entry, thread)| match thread {
                Some(thread) => thread.join().unwrap_or_else(|_| {
                    let what = format!("the thread that read {:?} has ended early", Shown(&entry.name));
                    Err(Error::new(Code::Panicked, what))
                }),
                // Where the system gives no thread, it is read here.
                None => read(entry),
            });
            std::iter::once(first).chain(others).collect()
        })
    }

    /// Whether what is named is there.
    fn named(&self, looked: &mut Looked) {
        let absent = |name: &str| !(self.counts)(name) && !(self.is_there)(name);
        let incomplete = |name: &str, by: &str, what: &str| {
            let what =
                format!("{what} {:?}, which {:?} names, is neither there nor signed", Shown(name), Shown(by));
            Finding::new(Code::LoadSetIncomplete, what).about(name)
        };
        let there: HashSet<&str> = self.files.iter().map(|entry| entry.name.as_str()).collect();
        let documents = &looked.documents;
        let shards = documents.indexes.iter().flat_map(|index| {
            let follows = documents.follows(index, &|name| there.contains(name));
            // What is called as weights and there is told where it is not signed.
            let excused = move |shard: &str| !follows && LoadKind::of(shard).is_some();
            let absent = index.shards.iter().filter(move |shard| absent(shard) && !excused(shard));
            absent.map(move |shard| incomplete(shard, &index.name, "the shard"))
        });
        let needed = looked.documents.needed.iter().filter_map(|needed| {
            let is_absent = needed.any_of.iter().all(|name| absent(name));
            let name = needed.any_of.first().filter(|_| is_absent)?;
            Some(incomplete(name, &needed.by, needed.what))
        });
        let findings: Vec<Finding> = shards.chain(needed).take(FINDINGS).collect();
        findings.into_iter().for_each(|finding| looked.found(finding));
    }

    /// Whether of files in parts all parts are there. What an index names by itself is told by the index.
    fn parts(&self, looked: &mut Looked) {
        let is_whole = |index: &&documents::Index| index.shards.iter().all(|shard| (self.counts)(shard));
        let whole = looked.documents.indexes.iter().filter(is_whole);
        let named: HashSet<&str> = whole.flat_map(|index| &index.shards).map(String::as_str).collect();
        let mut sets: BTreeMap<Part<'_>, Vec<(Number, &str)>> = BTreeMap::new();
        for entry in &self.files {
            if LoadKind::of(&entry.name) == Some(LoadKind::Weights)
                && let Some((part, number)) = Part::of(&entry.name)
            {
                sets.entry(part).or_default().push((number, &entry.name));
            }
        }
        let mut findings = Vec::new();
        for (part, there) in sets {
            // GGUF files have no index.
            let is_gguf = part.after.to_lowercase().ends_with(".gguf");
            if !is_gguf && there.iter().all(|(_, name)| named.contains(name)) {
                continue;
            }
            let numbers: HashSet<u32> = there.iter().map(|(number, _)| number.value).collect();
            // Numbers of one digit tell how the others are written.
            let width = there.iter().map(|(number, _)| number.width).min().unwrap_or_default();
            let Some((_, name)) = there.first() else { continue };
            let first = u32::from(!numbers.contains(&0));
            let last = part.count().map(|count| count - 1 + first);
            let Some(last) = last.filter(|last| numbers.iter().all(|number| number <= last)) else {
                let what = format!(
                    "the name {:?} says of how many parts its file is one, and cannot be right",
                    Shown(name)
                );
                findings.push(Finding::new(Code::LoadSetInvalid, what).about(*name));
                continue;
            };
            let is_known = |name: &String| (self.counts)(name) || (self.is_there)(name);
            let mut others = (first..=last).filter(|number| !numbers.contains(number));
            let absent = others.find(|number| {
                ![part.name(*number, width), part.name(*number, part.total.len())].iter().any(is_known)
            });
            if let Some(absent) = absent.map(|number| part.name(number, width)) {
                let what = format!(
                    "{:?} is neither there nor signed, and {:?} is a part of the same file",
                    Shown(&absent),
                    Shown(name)
                );
                findings.push(Finding::new(Code::LoadSetIncomplete, what).about(absent));
            }
        }
        findings.into_iter().for_each(|finding| looked.found(finding));
    }
}
