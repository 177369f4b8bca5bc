//! Downloading and verifying in one pass: a model comes into its folder verified, or not at all.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use crate::{
    Bundle, Error, Model, Run,
    code::Code,
    manifest::Manifest,
    model::content::Named,
    policy::VerifiedStatement,
    report::{Assurance, Report},
    shown::Shown,
};

mod composed;
mod container;
mod journal;
mod lock;
mod log;
mod place;
mod placing;
mod ranges;
mod ready;
mod session;
mod staging;
mod tree;

use placing::RESERVED;
use session::Session;

/// Longest name of a file or folder, without those above it, in bytes: what file systems of Linux take.
const PART_BYTES: usize = 255;

/// Where a model is pulled to, and how: see [`Model::pull`].
///
/// As a rule the new model is made whole in a folder beside, every byte hashed on its way there, and then exchanged with the
/// old one in one step: readers see the old model or the new one. Where that cannot be done, since the folder is a mount point
/// or the one above it cannot be written, files are renamed into it one by one; meanwhile a journal in it tells
/// [`Model::verify`] and [`Model::sign`] to answer `pull-unfinished`. A pull that was cut is taken up by the next one of the
/// same model.
#[derive(Clone, Debug)]
pub struct Pull {
    pub(crate) dest: PathBuf,
    pub(crate) repair: bool,
    pub(crate) force: bool,
    pub(crate) wait: bool,
    pub(crate) in_place: bool,
}

impl Pull {
    /// A pull into this folder, which need not be there yet; the one above it has to.
    pub fn new(dest: impl AsRef<Path>) -> Self {
        Pull { dest: dest.as_ref().to_owned(), repair: false, force: false, wait: false, in_place: false }
    }

    /// Whether files that are in the folder already are made use of. Those that are right stay, and of the others what is
    /// right is copied, each shard by itself; the rest is fetched. What is not signed there is not removed: it is refused, as
    /// by [`Model::verify`].
    #[must_use]
    pub fn repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// Whether a folder may be replaced that holds something else than a signed model.
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Whether to wait, within the run's time, for another pull into the same folder; else it is an error.
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Whether a folder that is there already keeps its place, so that its files are renamed into it one by one even where it
    /// could be exchanged as a whole: for programs that hold it open.
    #[must_use]
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// What [`Model::pull`] does once the policy has accepted these statements. The model is put in its place when this
    /// returns and the report has no finding.
    pub(crate) fn run(
        &self,
        model: &Model,
        statements: &[VerifiedStatement],
        signature: &Bundle,
        run: &Run,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut manifests: Vec<&Manifest> = Vec::new();
        for statement in statements {
            let manifest = statement.statement().manifest();
            if !manifests.contains(&manifest) {
                manifests.push(manifest);
            }
        }
        self.is_apart_from(model)?;
        // Names and sizes of all statements, before a byte is fetched and before anything is touched.
        let base_name = model.source().base_name();
        let mut named = Vec::new();
        for manifest in &manifests {
            named.push(Named::take(model, manifest, &base_name, run, report)?);
        }
        if !report.findings.is_empty() {
            return Ok(());
        }
        let files = files(&named)?;
        let total = files.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
        let mut session = Session::open(self, files, &journal::key(&manifests), run)?;
        let fetched = session.fetch(model, &named, run, report);
        if fetched.is_ok() && !report.findings.is_empty() {
            session.give_up(None, report, run);
            return Ok(());
        }
        report.assurance = report.assurance.max(fetched.is_ok().then_some(Assurance::Hashed));
        run.told().note(&format!("fetched {} of {total} bytes", session.fetched()));
        match fetched.and_then(|()| session.place(signature, run)) {
            Ok(()) => session.end(run),
            Err(error) => {
                session.give_up(Some(&error), report, run);
                Err(error)
            }
        }
    }

    /// Refuses to pull a model into itself.
    fn is_apart_from(&self, model: &Model) -> Result<(), Error> {
        let (Some(source), Ok(dest)) = (model.folder(), real(&self.dest)) else { return Ok(()) };
        if !source.starts_with(&dest) && !dest.starts_with(source) {
            return Ok(());
        }
        let what =
            format!("{} and the model {model} lie in each other", Shown(&self.dest.display().to_string()));
        Err(Error::new(Code::ArgumentsConflict, what))
    }
}

/// The path of a folder, free of links; of one that is not there yet it is the path that it will have.
fn real(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().or_else(|error| {
        let absolute = std::path::absolute(path)?;
        let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Err(error) };
        Ok(above.canonicalize()?.join(name))
    })
}

/// All folders that these names lie in.
fn folders_above<'a>(names: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
    let mut folders = HashSet::new();
    for mut name in names {
        while let Some((above, _)) = name.rsplit_once('/') {
            if !folders.insert(above) {
                break;
            }
            name = above;
        }
    }
    folders
}

/// The files of all statements, with their lengths in bytes, in the order of their names.
///
/// # Errors
/// When they could not all be put into one folder.
fn files(named: &[Named<'_>]) -> Result<Vec<(String, u64)>, Error> {
    let mut files: Vec<(String, u64)> = named
        .iter()
        .flat_map(|named| named.files().map(|(_, entry)| (entry.name.clone(), entry.size)))
        .collect();
    files.sort();
    files.dedup();
    let folders = folders_above(files.iter().map(|(name, _)| name.as_str()));
    for ((name, _), next) in files.iter().zip(files.iter().skip(1).map(Some).chain([None])) {
        let refuse =
            |code, why: &str| Err(Error::new(code, format!("{:?} {why}", Shown(name))).with_name(name));
        if next.is_some_and(|(next, _)| next == name) {
            return refuse(Code::ChangedWhileRead, "changed while the model was listed");
        }
        if folders.contains(name.as_str()) {
            return refuse(Code::NotAFile, "is a file and a folder, and cannot be both on a disk");
        }
        if name.split('/').any(|part| part.len() > PART_BYTES) {
            return refuse(Code::FileNameInvalid, "is too long for a disk");
        }
        let top = name.split('/').next().unwrap_or_default();
        // Some file systems take both for the same name.
        if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(top)) {
            return refuse(
                Code::OutputExists,
                "is signed, and would stand where a pull writes something of its own",
            );
        }
    }
    Ok(files)
}
