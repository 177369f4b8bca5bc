//! The whole line: source -> listing -> hash -> manifest -> statement -> sign or verify -> report.

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use crate::{
    Access, Bundle, Error, LoadKind, Memory, Mode, ModelUri, Policy, Pull, Receipts, Run,
    access::Opened,
    bundle::{Release, Statement},
    code::Code,
    hash::Hashing,
    loadset::{self, Demand, LoadSet},
    manifest::Manifest,
    policy::{Pattern, VerifiedStatement},
    report::{Assurance, Finding, Report},
    shown::Shown,
    sign::Signer,
    source::{Source, hub_cache::Bookkeeping, local::Local},
};

pub(crate) mod content;
mod measure;
mod paths;
mod receipts;
mod stated;

use content::Agreement;

/// A model: where it is, what it is called, and which of its files count.
#[derive(Clone, Debug)]
pub struct Model {
    source: Arc<dyn Source>,
    /// The same, where it is this disk.
    local: Option<Arc<Local>>,
    /// The model's folder on disk, free of links; none for a single file and elsewhere.
    folder: Option<PathBuf>,
    /// Where it is, as far as that can be said.
    uri: Option<ModelUri>,
    /// The same as it was given: on the Hub not yet with the commit.
    given: Option<ModelUri>,
    /// Of a model in the Hub's cache: where it is on the Hub.
    on_hub: Option<ModelUri>,
    id: Option<String>,
    release: Release,
    ignore: Vec<String>,
    signatures: Vec<String>,
    git_paths: bool,
    symlinks: bool,
    unsigned: bool,
    /// What a policy file says may be unsigned.
    may_be_unsigned: Vec<Pattern>,
    /// What the policy demands of the load set, where it does.
    load_set: Option<Demand>,
    receipts: Option<Receipts>,
}

impl Model {
    /// A model on disk: a folder, a single file, or a snapshot in the Hub's cache.
    ///
    /// # Errors
    /// `model-absent`, `permission-denied`, `io-failed`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let given = path.as_ref().to_owned();
        let local = Local::open(path)?;
        let folder = (!local.is_single_file()).then(|| local.path().to_owned());
        let (local, uri) = (Arc::new(local), Some(ModelUri::Path(given)));
        let source = Arc::clone(&local);
        Ok(Model { source, local: Some(local), folder, uri, ..Model::from_source(Memory::default()) })
    }

    /// A model wherever it is: on disk, in S3, on the Hub. A branch on the Hub is resolved once, here; where the cache of the
    /// Hub's own client holds the whole commit, the model is opened there.
    ///
    /// # Errors
    /// As [`open`](Model::open); `uri-invalid`, `access-denied`, `service-failed`, `transport-insecure`, `feature-missing`.
    pub fn open_at(uri: &ModelUri, access: &Access, run: &Run) -> Result<Self, Error> {
        match uri {
            ModelUri::Path(path) => Model::open(path),
            _ => match access.open(uri, run)? {
                Opened::InCache(folder, on_hub) => {
                    run.told().note(&format!(
                        "{} is in the cache of the Hub's client: {}",
                        Shown(&on_hub.to_string()),
                        Shown(&folder.display().to_string())
                    ));
                    Ok(Model { given: Some(uri.clone()), on_hub: Some(on_hub), ..Model::open(folder)? })
                }
                Opened::InStore(source, place) => {
                    let (source, given) = (source.into(), Some(uri.clone()));
                    Ok(Model { source, uri: Some(place), given, ..Model::from_source(Memory::default()) })
                }
            },
        }
    }

    /// A model in another store.
    pub fn from_source(source: impl Source + 'static) -> Self {
        Model {
            source: Arc::new(source),
            local: None,
            folder: None,
            uri: None,
            given: None,
            on_hub: None,
            id: None,
            release: Release::default(),
            ignore: Vec::new(),
            signatures: Vec::new(),
            git_paths: false,
            symlinks: false,
            unsigned: false,
            may_be_unsigned: Vec::new(),
            load_set: None,
            receipts: None,
        }
    }

    /// The id by which policies match the model, for example `acme/llama-3`.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The name and version to sign into the statement (`subject[0].annotations`), which a policy can demand.
    #[must_use]
    pub fn release(mut self, name: Option<String>, version: Option<String>) -> Self {
        (self.release.name, self.release.version) = (name, version);
        self
    }

    /// Compares the signed digests with what the store itself states of its files, and reads no weights. The assurance is
    /// `stated`, which a policy has to accept. Signing so signs the digests that the store states, and says so in the
    /// statement: only by files, with SHA-256, and of a full commit on the Hub, which nobody can change.
    #[must_use]
    pub fn stated(mut self, stated: bool) -> Self {
        self.release.stated = stated;
        self
    }

    /// Where the model's signature is when nothing else is said: `model.sig` in it, or `FILE.sig` beside a single file; for a
    /// model on the Hub in the commit that was opened. None for a source of the caller's own.
    pub fn usual_signature(&self) -> Option<ModelUri> {
        let uri = self.uri.as_ref()?;
        Some(if self.source.is_single_file() { uri.beside(".sig") } else { uri.join("model.sig") })
    }

    /// Leaves out a path with all below it: relative to the model, or absolute; in a store, a name in the model. Returns
    /// false, and leaves out nothing, for a path outside of the model or the model itself.
    pub fn ignore_path(&mut self, path: impl AsRef<Path>) -> bool {
        let inside = self.inside(path.as_ref());
        self.ignore.extend(inside.clone());
        inside.is_some()
    }

    /// Leaves out a signature file, at whatever path and whatever it is called; a relative path counts from the current
    /// folder, and paths outside of the model change nothing. Bundles that were read from files leave out themselves.
    pub fn leave_out_signature(&mut self, path: impl AsRef<Path>) {
        if self.folder.is_none() {
            return;
        }
        let Ok(path) = std::path::absolute(path) else { return };
        self.signatures.extend(self.inside(&path));
        if let Ok(real) = path.canonicalize() {
            self.signatures.extend(self.inside(&real));
        }
        self.signatures.dedup();
    }

    /// The same, wherever the signature is.
    pub fn leave_out_signature_at(&mut self, place: &ModelUri) {
        match place {
            ModelUri::Path(path) => self.leave_out_signature(path),
            _ => {
                let models = [&self.given, &self.uri, &self.on_hub];
                self.signatures.extend(models.into_iter().flatten().find_map(|uri| uri.name_of(place)));
            }
        }
    }

    /// Whether `.git`, `.gitignore`, `.gitattributes` and `.github` at the top of the model count like other files. They do
    /// not unless this is set.
    #[must_use]
    pub fn include_git_paths(mut self, include: bool) -> Self {
        self.git_paths = include;
        self
    }

    /// Whether symbolic links that stay in the model are followed. A statement that was signed without links is not verified
    /// with them, whatever is said here.
    #[must_use]
    pub fn allow_symlinks(mut self, allow: bool) -> Self {
        self.symlinks = allow;
        self
    }

    /// Whether files that are not signed are tolerated when verifying.
    #[must_use]
    pub fn ignore_unsigned_files(mut self, ignore: bool) -> Self {
        self.unsigned = ignore;
        self
    }

    /// Keeps receipts: what was hashed in full is not hashed again as long as nothing has changed. Only in enforce mode, on
    /// ext4, XFS and Btrfs, where nothing is tolerated and nobody but root and whom this process runs as may write the files;
    /// else, and on any doubt, every byte is hashed, and [`Report::receipt`] says why. Giving them is the yes to their use,
    /// unless the policy demands [`Assurance::Hashed`]. A [pull](Model::pull) reads every byte and takes no notice of them.
    #[must_use]
    pub fn receipts(mut self, receipts: Receipts) -> Self {
        self.receipts = Some(receipts);
        self
    }

    /// Lists and hashes the model: what would be signed.
    ///
    /// # Errors
    /// `model-empty`; a content finding such as `symlink-refused`; `changed-while-read`; `bad-argument` when an ignored path
    /// could be taken for a pattern.
    pub fn manifest(&self, hashing: &Hashing, run: &Run) -> Result<Manifest, Error> {
        measure::manifest(self, hashing, run)
    }

    /// What a model server would load of the model as it is now, and what is wrong with that. Nothing is verified, and no
    /// weights are read but for the headers of safetensors files.
    ///
    /// # Errors
    /// When the model could not be listed or read as a whole.
    pub fn load_set(&self, run: &Run) -> Result<LoadSet, Error> {
        loadset::of_model(self, run)
    }

    /// Signs the model as it is now.
    ///
    /// Signature files that lie beside the given ones in the model are left out and recorded as ignored; the run's events
    /// are told which.
    ///
    /// # Errors
    /// As [`manifest`](Model::manifest), and the signer's.
    pub fn sign(&self, hashing: &Hashing, signer: &dyn Signer, run: &Run) -> Result<Bundle, Error> {
        let manifest = self.manifest(hashing, run)?;
        let statement = Statement::new(&self.source.base_name(), self.release.clone(), manifest)?;
        signer.sign(&statement, run)
    }

    /// Verifies the model against its signatures and a policy.
    ///
    /// # Errors
    /// The whole report, when the verdict is anything but verified; also where warn mode admits it.
    pub fn verify(&self, policy: &Policy, bundles: &[Bundle], run: &Run) -> Result<Verified, Failure> {
        self.judged(policy, policy.is_mode(), bundles, run, |statements, report| {
            self.check(statements, bundles, policy, run, report)
        })
    }

    /// Copies the model into a folder and verifies it in the same pass: nothing stands there under its name before every byte
    /// of every signed file was hashed and found as signed. See [`Pull`].
    ///
    /// The policy judges the bundles first; unless it accepts them nothing is read and nothing is written. The first bundle
    /// that was accepted becomes `model.sig` in the folder. Warn mode admits nothing here: what does not verify is not put
    /// in place.
    ///
    /// # Errors
    /// The whole report, as [`verify`](Model::verify). Besides its codes `output-exists` where the folder holds something
    /// that is no signed model, `pull-unfinished` while another pull into it is under way, `disk-full`, and
    /// `changed-while-read` also where somebody changed the folder meanwhile.
    pub fn pull(
        &self,
        policy: &Policy,
        bundles: &[Bundle],
        pull: &Pull,
        run: &Run,
    ) -> Result<Verified, Failure> {
        self.judged(policy, Mode::Enforce, bundles, run, |statements, report| {
            let accepted = bundles.iter().zip(&report.signatures).find(|(_, row)| row.accepted);
            let Some((signature, _)) = accepted.filter(|_| !statements.is_empty()) else { return Ok(()) };
            let mut model = self.with_signatures(bundles, policy);
            // What is put somewhere is read.
            model.release.stated = false;
            // What is not fetched could stand in the folder already, with bytes that nobody has hashed.
            model.load_set.iter_mut().for_each(|demand| demand.missing.clear());
            pull.run(&model, statements, signature, run, report)
        })
    }

    /// Has the policy judge the bundles, then the content checked against what they say, and gives the verdict on both.
    fn judged(
        &self,
        policy: &Policy,
        mode: Mode,
        bundles: &[Bundle],
        run: &Run,
        content: impl FnOnce(&[VerifiedStatement], &mut Report) -> Result<(), Error>,
    ) -> Result<Verified, Failure> {
        let started = Instant::now();
        let mut report = Report::new(self.place(), self.id.clone(), mode);
        report.policy = policy.origin().cloned();
        let statements = match self.leaves_it_to(policy) {
            Ok(()) => policy.judge(bundles, self.id.as_deref(), run, &mut report),
            Err(finding) => {
                report.findings.push(finding);
                Vec::new()
            }
        };
        if let Err(error) = content(&statements, &mut report) {
            report.findings.push(error.into_finding());
        }
        report.seconds = started.elapsed().as_secs_f64();
        report.conclude();
        if report.is_verified() && !statements.is_empty() {
            Ok(Verified { report, statements })
        } else {
            Err(Failure { report: Box::new(report) })
        }
    }

    /// Refuses settings of the model's that would weaken a policy file: which files count is said there.
    fn leaves_it_to(&self, policy: &Policy) -> Result<(), Finding> {
        let settings = [
            (!self.ignore.is_empty(), "that leaves out paths"),
            (self.unsigned, "that tolerates files which are not signed"),
            (self.symlinks, "that follows links"),
        ];
        let own = settings.iter().find(|(own, _)| *own && policy.content().is_some());
        own.map_or(Ok(()), |(_, what)| {
            let what = format!("a setting of the model {what} was given beside a policy file");
            Err(Finding::new(Code::ArgumentsConflict, what))
        })
    }

    /// Checks the content against every statement that was accepted; equal manifests are checked once.
    fn check(
        &self,
        statements: &[VerifiedStatement],
        bundles: &[Bundle],
        policy: &Policy,
        run: &Run,
        report: &mut Report,
    ) -> Result<(), Error> {
        let assurance = if self.release.stated { Assurance::Stated } else { Assurance::Hashed };
        if assurance < policy.least_assurance() && !statements.is_empty() {
            let least = policy.least_assurance().name();
            let what = format!("the policy requires {least}, and the model is only {}", assurance.name());
            return Err(Error::new(Code::AssuranceTooLow, what));
        }
        let model = self.with_signatures(bundles, policy);
        let agreement = if self.is_on_disk() { Agreement::Same } else { self.agreement(statements) };
        if agreement == Agreement::Unlike {
            let what = format!(
                "the signatures hash {model} in different ways, and its store could answer each with other bytes"
            );
            return Err(Error::new(Code::StatementsUnlike, what));
        }
        let mut receipt = receipts::attempt(&model, policy, bundles, statements);
        let mut hashed = content::Hashed::default();
        let mut checked: Vec<&Manifest> = Vec::new();
        for statement in statements {
            let manifest = statement.statement().manifest();
            if !checked.contains(&manifest) {
                checked.push(manifest);
                let hashed = (statements.len() > 1).then_some(&mut hashed);
                let used = content::check(&model, manifest, hashed, receipt.as_mut(), run, report)?;
                report.assurance = Some(if used { Assurance::Receipt } else { assurance });
            }
            if run.fails_fast() && !report.findings.is_empty() {
                break;
            }
        }
        // What a loader makes of a cache is no part of a plain verification.
        if model.load_set.is_some() {
            let manifests = statements.iter().map(|statement| statement.statement().manifest());
            let names: HashSet<&str> =
                manifests.flat_map(|manifest| manifest.files()).map(|file| file.name.as_str()).collect();
            let has_code = names.iter().any(|name| LoadKind::of(name) == Some(LoadKind::Code));
            for beside in self.bookkeeping(run)? {
                report.findings.extend(beside.findings(&|name| names.contains(name), has_code));
            }
        }
        if agreement == Agreement::Differ && report.findings.is_empty() {
            // No bytes are as all of them say: the store has given each of them its own.
            let what = format!("the signatures say different things of {model}, and all proved to be right");
            report.findings.push(Finding::new(Code::StatementsDiffer, what));
        }
        report.receipt = receipt.map(|receipt| receipt.finish(report.findings.is_empty()));
        Ok(())
    }

    /// Whether its files are on this disk, in the cache of the Hub's client included.
    pub fn is_here(&self) -> bool {
        self.local.is_some()
    }

    /// Whether the model lies on this disk, where the stamps of its files tell of every change. What a store says of changes is
    /// the store's own word.
    fn is_on_disk(&self) -> bool {
        matches!(self.uri, Some(ModelUri::Path(_)))
    }

    /// How far the statements say the same of the files that they share.
    fn agreement(&self, statements: &[VerifiedStatement]) -> Agreement {
        let base_name = self.source.base_name();
        let whole = if self.source.is_single_file() { base_name.as_str() } else { "." };
        let manifests: Vec<&Manifest> = statements.iter().map(|one| one.statement().manifest()).collect();
        let others = manifests.iter().enumerate().flat_map(|(at, one)| {
            manifests.iter().skip(at + 1).filter(move |other| *other != one).map(move |other| (*one, *other))
        });
        others.map(|(one, other)| content::agreement(one, other, whole)).max().unwrap_or(Agreement::Same)
    }

    /// The same, without these bundles among its files, and with what a policy file says of files that count.
    fn with_signatures(&self, bundles: &[Bundle], policy: &Policy) -> Model {
        let mut model = self.clone();
        for bundle in bundles {
            match (&bundle.remote, bundle.path()) {
                (Some(place), _) => model.leave_out_signature_at(place),
                (None, Some(path)) => model.leave_out_signature(path),
                (None, None) => {}
            }
        }
        if let Some(content) = policy.content() {
            model.symlinks = content.symlinks;
            model.may_be_unsigned.clone_from(&content.unsigned);
        }
        model.load_set = policy.demanded_load_set();
        model
    }

    /// What the Hub's cache keeps beside it: by the path that was given, and by the one without links.
    pub(crate) fn bookkeeping(&self, run: &Run) -> Result<Vec<Bookkeeping>, Error> {
        let (Some(ModelUri::Path(given)), Some(local)) = (&self.uri, &self.local) else {
            return Ok(Vec::new());
        };
        let given = std::path::absolute(given).unwrap_or_default();
        let mut all: Vec<_> = Bookkeeping::of(&given, run)?.into_iter().collect();
        if given != local.path() {
            all.extend(Bookkeeping::of(local.path(), run)?);
        }
        Ok(all)
    }

    /// Where its files are.
    pub(crate) fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// The names of the signatures that are left out.
    pub(crate) fn signature_names(&self) -> &[String] {
        &self.signatures
    }

    /// Whether links that stay in it are followed.
    pub(crate) fn follows_links(&self) -> bool {
        self.symlinks
    }

    /// Its folder on disk, free of links, if it has one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// A copy of it on disk, to which the same settings apply, with this one more file left out as a signature.
    pub(crate) fn copied_to(&self, local: Local, signature: &str) -> Model {
        let mut model = Model { folder: Some(local.path().to_owned()), ..self.clone() };
        (model.source, model.local, model.uri) = (Arc::new(local), None, None);
        if let Some(demand) = &mut model.load_set {
            demand.names_only = true;
        }
        model.signatures.push(signature.to_owned());
        model
    }

    /// Where it is, as reports say it: not escaped.
    fn place(&self) -> String {
        self.on_hub.as_ref().map_or_else(|| self.source.to_string(), ToString::to_string)
    }

    /// The name that a path on disk has in the model.
    fn inside(&self, path: &Path) -> Option<String> {
        match &self.uri {
            Some(uri) if uri.is_remote() => {
                let name = path.to_str()?.trim_start_matches("./").trim_end_matches('/');
                (!name.is_empty() && path.is_relative()).then(|| name.to_owned())
            }
            _ => paths::inside(self.folder.as_deref()?, path),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.place()).fmt(f)
    }
}

/// A model that was verified; made by [`Model::verify`] alone.
#[derive(Debug)]
pub struct Verified {
    report: Report,
    statements: Vec<VerifiedStatement>,
}

impl Verified {
    /// What was checked and found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The report, without the statements.
    pub fn into_report(self) -> Report {
        self.report
    }

    /// What the accepted signers signed: at least one statement.
    pub fn statements(&self) -> &[VerifiedStatement] {
        &self.statements
    }
}

/// A model that was not verified, with the whole report.
#[derive(Debug)]
pub struct Failure {
    report: Box<Report>,
}

impl Failure {
    /// What was checked and found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The report.
    pub fn into_report(self) -> Report {
        *self.report
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.report.findings.first() {
            Some(Finding { what, .. }) => write!(f, "{}: {what}", self.report.verdict),
            None => write!(f, "{}", self.report.verdict),
        }
    }
}

impl std::error::Error for Failure {}
