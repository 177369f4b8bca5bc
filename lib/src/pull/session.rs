//! One pull, from its lock to its end.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    io,
    ops::Range,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::fs::AtFlags;

use super::{
    Pull,
    composed::Composed,
    container::OURS,
    journal::{Journal, Phase},
    lock::Lock,
    place::{LOST_AND_FOUND, Place, SIGNATURE, Way, failed},
    placing,
    ranges::Ranges,
    ready::{Left, Ready, prepare},
    staging::Staging,
    tree,
};
use crate::{
    Bundle, Error, Model, NoEvents, Run,
    code::{Class, Code},
    hash::{Hashes, Job, Plan, hash},
    manifest::{Algorithm, Digest},
    model::content::{Hashed, Named},
    report::{Finding, Report},
    shown::Shown,
    source::{
        Entry, Kind, Source as _,
        local::{Local, PULL},
    },
};

/// The folder beside the one that is pulled into, between these two and in front of what comes last.
const BESIDE: (&str, &str) = (".", ".weightseal-pull");

/// Digests that are known of files which stay in their place.
type Known = HashMap<(Algorithm, String, Range<u64>), Digest>;

/// A pull that is under way.
pub(super) struct Session<'a> {
    pull: &'a Pull,
    place: Place,
    lock: Lock,
    staging: Staging,
    journal: Journal,
    /// What stood in the folder when the pull began, where it keeps its place.
    before: Vec<Entry>,
    /// Files of the folder may be those of one model beside those of another.
    is_mixed: bool,
    /// An earlier pull of the same model was cut when it was putting files in their place, or had done so.
    was_placing: bool,
    /// This one was doing so.
    is_placing: bool,
    known: Known,
    /// Files whose staged bytes are as a statement says: what another one says is held against the same bytes.
    checked: HashSet<String>,
}

impl<'a> Session<'a> {
    /// Locks the folder and takes up what an earlier pull of the same model has left. Nothing of the old model is touched.
    ///
    /// # Errors
    /// Those of [`Place::find`] and [`Lock::take`]; `disk-full`.
    pub(super) fn open(
        pull: &'a Pull,
        files: Vec<(String, u64)>,
        key: &str,
        run: &Run,
    ) -> Result<Self, Error> {
        let mut place = Place::find(pull)?;
        let mut is_placed = false;
        loop {
            let shown = place.shown();
            let lock = match place.way {
                Way::Exchange => {
                    let above = above(&place)?;
                    let name = container_name(&place, ".lock");
                    let lock = Lock::take(&|| tree::open(above, "."), &name, pull.wait, &shown, run)?;
                    // Another pull may have put a model there meanwhile.
                    place = match Place::find(pull) {
                        Ok(place) => place,
                        Err(error) => {
                            let _ = lock.release();
                            return Err(error);
                        }
                    };
                    if place.way != Way::Exchange {
                        lock.release().map_err(|error| failed(&place.path, error))?;
                        continue;
                    }
                    lock
                }
                Way::InPlace => {
                    let folder = old_folder(&place)?;
                    let open = || tree::open_or_make(folder, PULL, tree::OURS_ALONE);
                    let lock = Lock::take(&open, "lock".as_ref(), pull.wait, &shown, run);
                    if lock.is_err() {
                        // On a full disk there may be room for the folder and none for the lock; another pull's has one.
                        let _ = rustix::fs::unlinkat(folder, PULL, AtFlags::REMOVEDIR);
                    }
                    lock?
                }
            };
            let mut left = Left::default();
            match prepare(pull, &place, &lock, &files, key, run, &mut left) {
                Ok(Ready::To(prepared)) => {
                    let (staging, journal, before, earlier) = *prepared;
                    let was_placing = earlier
                        .is_some_and(|earlier| earlier.model == key && earlier.phase == Phase::Placing);
                    let is_mixed = place.way == Way::InPlace && journal.phase == Phase::Placing;
                    let was_placing = is_placed || (was_placing && is_mixed);
                    let known = Known::new();
                    return Ok(Session {
                        pull,
                        place,
                        lock,
                        staging,
                        journal,
                        before,
                        is_mixed,
                        was_placing,
                        is_placing: false,
                        known,
                        checked: HashSet::new(),
                    });
                }
                Ok(ready) => {
                    is_placed = matches!(ready, Ready::Placed);
                    lock.release().map_err(|error| failed(&place.path, error))?;
                    place.way = Way::InPlace;
                }
                Err(error) => {
                    match left {
                        Left { stays: false, container: Some(container) } => {
                            leave(&place, container.as_fd(), lock, false);
                        }
                        _ => drop(lock.release()),
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Bytes that were fetched from the source.
    pub(super) fn fetched(&self) -> u64 {
        self.staging.fetched()
    }

    /// Hashes every signed byte, and stages what is not in its place yet. What is wrong goes into the report.
    ///
    /// # Errors
    /// When it could not be done as a whole.
    pub(super) fn fetch(
        &mut self,
        model: &Model,
        named: &[Named<'_>],
        run: &Run,
        report: &mut Report,
    ) -> Result<(), Error> {
        if self.place.way == Way::InPlace && (self.pull.repair || self.was_placing) {
            if self.pull.repair {
                self.refuse_others(model, named, run, report)?;
                if !report.findings.is_empty() {
                    return Ok(());
                }
            }
            if let Some(first) = named.first() {
                self.reuse(first, run)?;
            }
        }
        self.staging.has_room(&self.place.shown())?;
        let mut hashed = Hashed::default();
        for one in named {
            let hashed = (named.len() > 1).then_some(&mut hashed);
            one.check(hashed, &mut |plan| self.hash(model, plan, run), run, report)?;
            if !report.findings.is_empty() {
                break;
            }
            self.checked.extend(one.files().map(|(_, entry)| entry.name.clone()));
        }
        Ok(())
    }

    /// Refuses what stands in the folder besides the signed files, as a verification of it would.
    fn refuse_others(
        &self,
        model: &Model,
        named: &[Named<'_>],
        run: &Run,
        report: &mut Report,
    ) -> Result<(), Error> {
        let copy = model.copied_to(self.local()?, SIGNATURE);
        let base_name = copy.source().base_name();
        let mut found = Report::new(self.place.shown(), None, report.mode);
        // What is to be repaired is nobody's news.
        let quiet = run.clone().events(Arc::new(NoEvents));
        for one in named {
            Named::take(&copy, one.manifest(), &base_name, &quiet, &mut found)?;
        }
        let to_be_repaired = [Code::FileMissing, Code::FileLonger, Code::FileShorter];
        let stands = |finding: &Finding| {
            let at_the_top = finding.name.as_deref().and_then(|name| name.split('/').next());
            to_be_repaired.contains(&finding.code) || at_the_top == Some(LOST_AND_FOUND)
        };
        found.findings.retain(|finding| !stands(finding));
        // A name of the model can lead through no link, nor can a file stand where a folder has to.
        let mut first_below = HashMap::new();
        for file in self.staging.files.iter().rev() {
            run.check()?;
            let above = file.name.match_indices('/').filter_map(|(at, _)| file.name.get(..at));
            first_below.extend(above.map(|above| (above, &file.name)));
        }
        for entry in self.before.iter().filter(|entry| entry.kind != Kind::Folder) {
            run.check()?;
            if let Some(name) = first_below.get(entry.name.as_str()) {
                let what = format!("no folder stands in the place of {:?}", Shown(&entry.name));
                found.findings.push(Finding::new(Code::NotAFile, what).about(name.as_str()));
            }
        }
        found.findings.dedup();
        found.findings.iter().for_each(|finding| run.told().found(finding));
        report.findings.extend(found.findings);
        Ok(())
    }

    /// Looks which files in the folder, or which shards of them, are right already.
    fn reuse(&mut self, named: &Named<'_>, run: &Run) -> Result<(), Error> {
        let manifest = named.manifest();
        let algorithm = manifest.serialization().algorithm;
        let there: HashMap<&str, &Entry> = self
            .before
            .iter()
            .filter(|entry| entry.kind == Kind::File)
            .map(|entry| (entry.name.as_str(), entry))
            .collect();
        let (mut entries, mut jobs, mut expected, mut numbers) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (file, source) in named.files() {
            let Some(entry) = there.get(source.name.as_str()) else { continue };
            let Some((number, _)) = self.staging.find(&source.name) else { continue };
            for index in &file.resources {
                let Some(resource) = manifest.resources().get(*index as usize) else { continue };
                let range = match &resource.range {
                    Some(range) if range.end <= entry.size => range.clone(),
                    None if entry.size == source.size => 0..entry.size,
                    _ => continue,
                };
                jobs.push(Job { entry: entries.len(), range });
                expected.push(resource.digest);
            }
            entries.push((*entry).clone());
            numbers.push(number);
        }
        let local = self.local()?;
        let plan = Plan { algorithm, entries: &entries, jobs, expected: Vec::new() };
        run.told().hashing(entries.len() as u64, plan.jobs.iter().map(Job::length).sum());
        let hashes = hash(&plan, &local, None, run);
        run.told().done();
        let mut right: Vec<Ranges> = entries.iter().map(|_| Ranges::default()).collect();
        // A file without bytes is right where its one digest is.
        let mut wrong = HashSet::new();
        for ((job, digest), expected) in plan.jobs.iter().zip(hashes?.digests).zip(expected) {
            match digest {
                Some(Ok(digest)) if digest == expected => {
                    if let Some(right) = right.get_mut(job.entry) {
                        right.add(job.range.clone());
                    }
                    if let Some(entry) = entries.get(job.entry) {
                        self.known.insert((algorithm, entry.name.clone(), job.range.clone()), digest);
                    }
                }
                _ => {
                    wrong.insert(job.entry);
                }
            }
        }
        let found = numbers.into_iter().zip(entries).zip(right).enumerate();
        let found = found.filter(|(at, ((_, entry), _))| entry.size > 0 || !wrong.contains(at));
        let found = found.map(|(_, ((number, entry), right))| (number, entry, right)).collect();
        self.staging.reuse(local, found);
        Ok(())
    }

    /// Hashes a plan of the source's files: from what is on this disk, and from the source what is not, which is written down
    /// on the way. Where what was on the disk proves to be wrong, it is fetched after all.
    fn hash(&mut self, model: &Model, plan: &Plan<'_>, run: &Run) -> Result<Hashes, Error> {
        let mut hashes = Hashes::none(plan);
        let name =
            |job: &Job| plan.entries.get(job.entry).map(|entry| entry.name.as_str()).unwrap_or_default();
        let mut first = Vec::new();
        for (at, job) in plan.jobs.iter().enumerate() {
            let is_kept = self.staging.find(name(job)).is_some_and(|(_, file)| file.is_kept);
            let key = (plan.algorithm, name(job).to_owned(), job.range.clone());
            match (self.known.get(&key).filter(|_| is_kept), hashes.digests.get_mut(at)) {
                (Some(digest), Some(slot)) => *slot = Some(Ok(*digest)),
                _ => first.push(at),
            }
        }
        let local: HashSet<usize> = first
            .iter()
            .copied()
            .filter(|at| plan.jobs.get(*at).is_some_and(|job| self.staging.is_local(name(job), &job.range)))
            .collect();
        let is_doubted = |at: &usize| plan.jobs.get(*at).is_some_and(|job| !self.checked.contains(name(job)));
        let tells = !local.iter().any(is_doubted);
        self.hash_some(model, plan, &first, tells, &mut hashes, run)?;
        let mut again = Vec::new();
        for at in first.into_iter().filter(|at| local.contains(at)) {
            let (Some(job), expected) = (plan.jobs.get(at), plan.expected.get(at)) else { continue };
            // Another statement was checked against these bytes: fetched again, they could be others.
            if self.checked.contains(name(job)) {
                continue;
            }
            let is_wrong = match hashes.digests.get(at) {
                Some(Some(Ok(digest))) => Some(digest) != expected,
                Some(Some(Err(_))) => !self.staging.was_readable(name(job)),
                _ => false,
            };
            if is_wrong && self.staging.forget(name(job), &job.range) {
                again.push(at);
            }
        }
        if !again.is_empty() {
            self.hash_some(model, plan, &again, true, &mut hashes, run)?;
        }
        Ok(hashes)
    }

    /// Hashes some jobs of a plan. Whether a difference may end the run is up to the caller: not while it could be due to what
    /// is on the disk.
    fn hash_some(
        &mut self,
        model: &Model,
        plan: &Plan<'_>,
        some: &[usize],
        tells: bool,
        hashes: &mut Hashes,
        run: &Run,
    ) -> Result<(), Error> {
        let jobs = some.iter().filter_map(|at| plan.jobs.get(*at).cloned()).collect();
        let expected =
            some.iter().filter_map(|at| plan.expected.get(*at).copied()).filter(|_| tells).collect();
        let part = Plan { algorithm: plan.algorithm, entries: plan.entries, jobs, expected };
        let composed = Composed { source: model.source(), staging: &self.staging };
        let done = hash(&part, &composed, Some(&self.staging), run)?;
        self.staging.absorb();
        for (at, digest) in some.iter().zip(done.digests) {
            if let Some(slot) = hashes.digests.get_mut(*at) {
                *slot = digest;
            }
        }
        hashes.kernel = done.kernel.or(hashes.kernel);
        Ok(())
    }

    /// Puts what is verified in its place.
    ///
    /// # Errors
    /// Those of the two ways, and `changed-while-read` where somebody else wrote into the folder meanwhile.
    pub(super) fn place(&mut self, signature: &Bundle, run: &Run) -> Result<(), Error> {
        self.staging.complete(run)?;
        run.check()?;
        let journal = self.journal.clone();
        let old = match (&self.place.old, self.place.way) {
            (Some(old), Way::InPlace) => old,
            _ => return placing::exchange(&self.place, &self.staging, journal, signature, run),
        };
        // The folder is still the one that stands there, and everything in it is what it was.
        let after = listed(&self.local()?, run)?;
        if !same(&self.before, &after) {
            return Err(self.place.changed());
        }
        let placed =
            placing::in_place(&self.place, old, &self.staging, journal, signature, !self.pull.repair);
        if placed.is_err() {
            self.is_placing = is_placing(&self.place);
            self.is_mixed |= self.is_placing;
        }
        placed.map_err(|error| match error.code() {
            Code::DiskFull if self.is_placing => error.with_help(
                "files of the new model stand beside those of the old one, so that it is pull-unfinished: free some \
                 room and pull again",
            ),
            _ => error,
        })
    }

    /// Removes all that served the pull, the old model included.
    ///
    /// # Errors
    /// When a journal could not be removed, so that readers take the model for unfinished.
    pub(super) fn end(self, run: &Run) -> Result<(), Error> {
        let Session { place, lock, staging, .. } = self;
        match place.way {
            Way::Exchange => {
                let container = staging.container.try_clone();
                drop(staging);
                let removed = container.and_then(|container| remove_container(&place, container.as_fd()));
                let released = lock.release();
                if let Err(error) = removed.and(released) {
                    let left = place.path.with_file_name(container_name(&place, ""));
                    let left = left.display().to_string();
                    run.told()
                        .note(&format!("the model is in place, and {} is left over: {error}", Shown(&left)));
                }
                Ok(())
            }
            Way::InPlace => {
                let ended = staging.remove().and_then(|()| end_in_place(&place, lock));
                ended.map_err(|error| failed(&place.path, error))
            }
        }
    }

    /// Ends a pull that has put nothing in its place. What was fetched is kept for the next one where this one was cut; where
    /// the disk is full or nothing was fetched, nothing stays.
    pub(super) fn give_up(mut self, error: Option<&Error>, report: &Report, run: &Run) {
        let codes = || report.findings.iter().map(|finding| finding.code).chain(error.map(Error::code));
        let is_full = codes().any(|code| code == Code::DiskFull);
        let is_rejected = codes().any(|code| code.class() == Class::Rejected);
        self.staging.absorb();
        // The old model stands in its place untouched, and is to be read again.
        let in_its_place = self.place.way == Way::InPlace && !self.is_mixed;
        let discards = is_full || !self.staging.has_progress() || (is_rejected && in_its_place);
        if !discards || self.is_placing {
            let bad: HashSet<&str> = report
                .findings
                .iter()
                .filter(|finding| finding.code.class() == Class::Rejected)
                .filter_map(|finding| finding.name.as_deref())
                .collect();
            let Session { place, lock, staging, .. } = self;
            if let Err(error) = staging.keep(&bad) {
                run.told().note(&format!("what was fetched cannot be kept: {error}"));
            }
            let kept = match place.way {
                Way::Exchange => place.path.with_file_name(container_name(&place, "")),
                Way::InPlace => place.path.join(PULL),
            };
            let _ = lock.release();
            let kept = kept.display().to_string();
            run.told().note(&format!("what was fetched is kept in {} for the next pull", Shown(&kept)));
            return;
        }
        let Session { place, lock, staging, is_mixed, .. } = self;
        let _ = staging.remove();
        leave(&place, staging.container.as_fd(), lock, is_mixed);
    }

    /// The folder that is pulled into, as a source.
    fn local(&self) -> Result<Local, Error> {
        open_local(&self.place)
    }
}

/// The folder that is pulled into as a source, which has to be the one that was locked.
pub(super) fn open_local(place: &Place) -> Result<Local, Error> {
    let local = Local::open_pulling(&place.path)?;
    let opened = rustix::fs::fstat(local.root()).map_err(|error| failed(&place.path, error.into()))?;
    let is_it = place
        .old
        .as_ref()
        .is_some_and(|old| (old.stamp.device, old.stamp.inode) == (opened.st_dev, opened.st_ino));
    if is_it { Ok(local) } else { Err(place.changed()) }
}

/// Everything in a folder, but for what a disk itself has there.
pub(super) fn listed(local: &Local, run: &Run) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    local.list(run, &mut |entry| {
        if entry.name.split('/').next() != Some(LOST_AND_FOUND) {
            entries.push(entry);
        }
        Ok(())
    })?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Whether two listings say the same.
fn same(before: &[Entry], after: &[Entry]) -> bool {
    let told =
        |entry: &Entry| (entry.name.clone(), entry.kind.clone(), entry.real.clone(), entry.stamp.clone());
    before.len() == after.len() && before.iter().zip(after).all(|(one, other)| told(one) == told(other))
}

/// Whether files are being put in their places in the folder, or were when a pull was cut.
fn is_placing(place: &Place) -> bool {
    let Some(old) = place.old.as_ref().filter(|_| place.way == Way::InPlace) else { return false };
    let container = tree::open(old.folder.as_fd(), PULL);
    let journal = container.ok().and_then(|container| Journal::read(container.as_fd()));
    journal.is_some_and(|journal| journal.phase == Phase::Placing)
}

/// Removes what a pull has made that came to nothing; the journal stays where the model is not whole.
fn leave(place: &Place, container: BorrowedFd<'_>, lock: Lock, is_mixed: bool) {
    // What cannot be removed now is found by the next pull.
    match place.way {
        Way::Exchange => {
            let _ = remove_container(place, container);
            let _ = lock.release();
        }
        Way::InPlace if is_mixed => {
            let _ = lock.release();
        }
        Way::InPlace => {
            let _ = end_in_place(place, lock);
        }
    }
}

/// Removes the folder beside the one that is pulled into, which is open: what a pull has put there, and the folder itself where
/// it still stands under its name. Whoever may write beside it can have put another one there.
pub(super) fn remove_container(place: &Place, container: BorrowedFd<'_>) -> io::Result<()> {
    let Some((above, _)) = &place.beside else { return Ok(()) };
    OURS.iter().try_for_each(|name| tree::remove(container, name))?;
    let name = container_name(place, "");
    let own = rustix::fs::fstat(container)?;
    let named = tree::look(above.as_fd(), name.as_os_str())?;
    if named.is_some_and(|named| (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)) {
        match rustix::fs::unlinkat(above, name.as_os_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    tree::sync(above)
}

/// Removes all that a pull keeps in the folder that it pulls into, the journal and the lock last.
fn end_in_place(place: &Place, lock: Lock) -> io::Result<()> {
    let Some(old) = &place.old else { return Ok(()) };
    OURS.iter().try_for_each(|name| tree::remove(lock.folder(), name))?;
    lock.release()?;
    match rustix::fs::unlinkat(&old.folder, PULL, AtFlags::REMOVEDIR) {
        // Another pull has begun.
        Ok(()) | Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    tree::sync(&old.folder)
}

/// The name beside the folder of what a pull stages, or of its lock.
pub(super) fn container_name(place: &Place, suffix: &str) -> OsString {
    let mut name = OsString::from(BESIDE.0);
    if let Some((_, own)) = &place.beside {
        name.push(own);
    }
    name.push(BESIDE.1);
    name.push(suffix);
    name
}

/// The folder above the one that is pulled into.
pub(super) fn above(place: &Place) -> Result<BorrowedFd<'_>, Error> {
    let above = place.beside.as_ref().map(|(above, _): &(OwnedFd, OsString)| above.as_fd());
    above.ok_or_else(|| failed(&place.path, rustix::io::Errno::BUSY.into()))
}

/// The folder that is pulled into.
pub(super) fn old_folder(place: &Place) -> Result<BorrowedFd<'_>, Error> {
    let folder = place.old.as_ref().map(|old| old.folder.as_fd());
    folder.ok_or_else(|| failed(&place.path, rustix::io::Errno::NOENT.into()))
}
