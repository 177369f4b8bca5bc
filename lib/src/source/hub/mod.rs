//! Models on the Hugging Face Hub.
//!
//! Everything that is asked of the Hub is asked here: a branch is made a commit once, the files of the commit are listed
//! in two ways that have to agree, and ranges of them are read from where the Hub says that they lie.

use std::{
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use sha2::{Digest as _, Sha256};

use super::{Entry, Kind, Shape, Source, shorter, uri::HubUri};
use crate::{Digest, Error, Replace, Run, code::Code, shown::Shown};

mod cache;
mod client;
mod listing;
mod options;
mod read;
mod write;

pub use options::HubOptions;

use client::Client;
use listing::{Commit, Row};
use read::{Places, Reading, SMALL};

/// How many small files are read at once to be hashed, and how many of those that are longer than [`LITTLE`].
const READS: (usize, usize) = (16, 4);

/// What many may be in memory of, in bytes.
const LITTLE: u64 = 1 << 20;

/// A model on the Hugging Face Hub, at one commit.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    /// Where it is, with the commit for its revision.
    uri: HubUri,
    commit: Commit,
    /// The cache of the Hub's own client.
    cache: Option<PathBuf>,
    is_single_file: bool,
    /// Its files and folders, once they were listed.
    rows: Mutex<Option<Arc<Vec<Row>>>>,
    places: Places,
}

impl Hub {
    /// Opens a model: a branch or a tag becomes the commit that it is at, and stays that.
    ///
    /// # Errors
    /// `uri-invalid`, `model-absent`, `access-denied`, `listing-invalid`, `service-failed`, `transport-insecure`,
    /// `bad-argument`, `key-malformed`; those of [`Run::check`].
    pub fn open(uri: &HubUri, options: &HubOptions, run: &Run) -> Result<Self, Error> {
        uri.check()?;
        let settled = options.settle(run)?;
        let cache = settled.cache.clone();
        let client = Client::new(options, settled, uri)?;
        let commit = Commit::resolve(&client, uri, run)?;
        let is_single_file = commit.file(&uri.path).is_some();
        let folder = format!("{}/", uri.path);
        if !uri.path.is_empty() && !is_single_file && commit.below(&folder).next().is_none() {
            let what = format!("{} is not on the Hub", Shown(&uri.to_string()));
            return Err(Error::new(Code::ModelAbsent, what));
        }
        let uri = uri.at(&commit.id);
        Ok(Hub {
            client,
            uri,
            commit,
            cache,
            is_single_file,
            rows: Mutex::default(),
            places: Places::default(),
        })
    }

    /// The commit: 40 digits of lower-case hex.
    pub fn commit(&self) -> &str {
        &self.commit.id
    }

    /// Where the model is, with the commit for its revision.
    pub fn uri(&self) -> &HubUri {
        &self.uri
    }

    /// The model in the cache of the Hub's own client, if all of it is there: every file, as long as it is on the Hub.
    pub fn snapshot(&self) -> Option<PathBuf> {
        let snapshot = cache::snapshot(self.cache.as_deref()?, &self.uri, &self.commit.id)?;
        let folder = if self.uri.path.is_empty() { String::new() } else { format!("{}/", self.uri.path) };
        let is_whole = |row: &Row| {
            let metadata = snapshot.join(&*row.path).metadata();
            let same = |length: u64| length == row.size || !self.commit.is_measured;
            row.is_file() && metadata.is_ok_and(|metadata| metadata.is_file() && same(metadata.len()))
        };
        let whole = match self.commit.file(&self.uri.path) {
            Some(row) => is_whole(row),
            None => self.commit.below(&folder).all(is_whole),
        };
        whole.then(|| snapshot.join(&self.uri.path))
    }

    /// The model in the cache of the Hub's own client, where it can be verified in place; none where it is not there, or not
    /// whole. With [`HubOptions::offline`] it is taken as it is: what is not there is missing.
    ///
    /// # Errors
    /// As [`open`](Hub::open).
    pub fn cached(uri: &HubUri, options: &HubOptions, run: &Run) -> Result<Option<PathBuf>, Error> {
        uri.check()?;
        let settled = options.settle(run)?;
        let Some(folder) = &settled.cache else { return Ok(None) };
        if settled.offline {
            let snapshot =
                cache::reference(folder, uri).and_then(|commit| cache::snapshot(folder, uri, &commit));
            let model = snapshot.map(|snapshot| snapshot.join(&uri.path));
            return Ok(model.filter(|model| model.exists()));
        }
        // What is not there need not be asked for.
        let revision = uri.revision_or_main();
        match cache::has(folder, uri, HubUri::is_commit(revision).then_some(revision)) {
            true => Ok(Hub::open(uri, options, run)?.snapshot()),
            false => Ok(None),
        }
    }

    /// Reads one small file whole; none where there is none.
    ///
    /// # Errors
    /// As [`open`](Hub::open), and `changed-while-read` for content that is not what the Hub says of it.
    pub(crate) fn read_file(
        uri: &HubUri,
        options: &HubOptions,
        limit: u64,
        run: &Run,
    ) -> Result<Option<Vec<u8>>, Error> {
        Hub::for_file(uri, options, run)?.download(uri, uri.revision_or_main(), limit, run)
    }

    /// Writes one small file, as a commit of its own; `output-exists` where there is one already that may not be replaced.
    ///
    /// # Errors
    /// As [`open`](Hub::open); `changed-while-read` when somebody else wrote to the branch meanwhile.
    pub(crate) fn write_file(
        uri: &HubUri,
        options: &HubOptions,
        bytes: Vec<u8>,
        replace: Replace,
        run: &Run,
    ) -> Result<(), Error> {
        Hub::for_file(uri, options, run)?.upload(uri, &bytes, replace, run)
    }

    fn for_file(uri: &HubUri, options: &HubOptions, run: &Run) -> Result<Client, Error> {
        uri.check()?;
        if uri.path.is_empty() {
            let what = format!("{} is a repository and not a file in it", Shown(&uri.to_string()));
            return Err(Error::new(Code::BadArgument, what).with_help("write hf://org/name/file"));
        }
        Client::new(options, options.settle(run)?, uri)
    }

    /// What is in the model, asked for once: a commit does not change.
    fn rows(&self, run: &Run) -> Result<Arc<Vec<Row>>, Error> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = &*rows {
            return Ok(Arc::clone(rows));
        }
        let listed = match self.commit.file(&self.uri.path) {
            Some(row) if self.commit.is_measured => vec![row.clone()],
            Some(_) => {
                let folder = self.uri.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let folder = HubUri { path: folder.to_owned(), ..self.uri.clone() };
                let mut rows = self.commit.list(&self.client, &folder, run)?;
                rows.retain(|row| *row.path == self.uri.path);
                rows
            }
            None => self.commit.list(&self.client, &self.uri, run)?,
        };
        Ok(Arc::clone(rows.insert(Arc::new(listed))))
    }

    /// At which byte of a path the name in the model begins.
    fn name_at(&self) -> usize {
        match (self.is_single_file, self.uri.path.as_str()) {
            (_, "") => 0,
            (true, path) => path.rfind('/').map_or(0, |slash| slash + 1),
            (false, path) => path.len() + 1,
        }
    }

    /// Reads the bytes of a listed file.
    fn read(&self, entry: &Entry, range: Range<u64>, buffer: Vec<u8>, run: &Run) -> Result<Vec<u8>, Error> {
        run.check()?;
        let rows = self.rows(run)?;
        let gone = || {
            let what = format!("{:?} is not in the model as it was listed", Shown(&entry.name));
            Error::new(Code::ChangedWhileRead, what).with_name(&entry.name)
        };
        let path = match self.is_single_file {
            true => self.uri.path.clone(),
            false => self.uri.join(&entry.name).path,
        };
        let row = rows.binary_search_by(|row| (*row.path).cmp(&path)).ok().and_then(|at| rows.get(at));
        let row = row.filter(|row| row.is_file()).ok_or_else(gone)?;
        let listed = row.entry(self.name_at(), self.commit());
        if (&listed.name, listed.size, &listed.stamp) != (&entry.name, entry.size, &entry.stamp) {
            return Err(gone());
        }
        if range.end > row.size {
            return Err(shorter(entry));
        }
        if range.is_empty() {
            return Ok(buffer);
        }
        let (client, uri, commit, places) = (&self.client, &self.uri, self.commit(), &self.places);
        Reading { client, uri, commit, row, run, places }.read(range, buffer)
    }

    /// Hashes small files, many at once; where one cannot be read, why.
    fn hash(
        &self,
        entries: &[(usize, &Entry)],
        threads: usize,
        run: &Run,
    ) -> Result<Vec<(usize, Digest)>, Error> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Digest)>, Error> {
            let mut digests = Vec::new();
            let mut buffer = Vec::new();
            while let Some((at, entry)) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                buffer.clear();
                let read = self.read(entry, 0..entry.size, buffer, run).inspect_err(|_| {
                    // The others need not go on.
                    next.store(entries.len(), Ordering::Relaxed);
                })?;
                digests.push((*at, Digest::sha256(Sha256::digest(&read).into())));
                buffer = read;
            }
            Ok(digests)
        };
        thread::scope(|scope| {
            let mut started = Vec::new();
            for _ in 1..threads.min(entries.len()) {
                // With fewer it takes longer.
                match thread::Builder::new().name("weightseal-hub".to_owned()).spawn_scoped(scope, work) {
                    Ok(thread) => started.push(thread),
                    Err(_) => break,
                }
            }
            let mut digests = work();
            for thread in started {
                let more = thread.join().unwrap_or_else(|_| {
                    Err(Error::new(Code::Panicked, "a thread that reads from the Hub failed"))
                });
                digests = match (digests, more) {
                    (Ok(mut digests), Ok(more)) => {
                        digests.extend(more);
                        Ok(digests)
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error),
                };
            }
            digests
        })
    }
}

impl Source for Hub {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        run.check()?;
        let from = self.name_at();
        for (count, row) in self.rows(run)?.iter().enumerate() {
            if count % 4096 == 0 {
                run.check()?;
            }
            each(row.entry(from, self.commit()))?;
        }
        Ok(())
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        let begin = offset.min(entry.size);
        let end = entry.size.min(begin.saturating_add(buf.len() as u64));
        let read = self.read(entry, begin..end, Vec::new(), run)?;
        let length = read.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..length), read.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }

    fn fetch(
        &self,
        entry: &Entry,
        range: Range<u64>,
        mut buffer: Vec<u8>,
        run: &Run,
    ) -> Result<Vec<u8>, Error> {
        buffer.clear();
        self.read(entry, range, buffer, run)
    }

    fn shape(&self) -> Shape {
        Shape::REMOTE
    }

    fn stated(&self, entries: &[&Entry], run: &Run) -> Result<Vec<Option<Digest>>, Error> {
        let mut digests: Vec<_> = entries.iter().map(|entry| entry.stated).collect();
        let small = entries.iter().enumerate().map(|(at, entry)| (at, *entry));
        let small = small.filter(|(_, entry)| entry.stated.is_none() && entry.kind == Kind::File);
        let (little, more): (Vec<_>, Vec<_>) =
            small.filter(|(_, entry)| entry.size <= SMALL).partition(|(_, entry)| entry.size <= LITTLE);
        for (entries, threads) in [(little, READS.0), (more, READS.1)] {
            for (at, digest) in self.hash(&entries, threads, run)? {
                if let Some(place) = digests.get_mut(at) {
                    *place = Some(digest);
                }
            }
        }
        Ok(digests)
    }

    fn is_single_file(&self) -> bool {
        self.is_single_file
    }

    fn base_name(&self) -> String {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        match self.uri.path.as_str() {
            "" => last(&self.uri.id),
            path => last(path),
        }
    }
}

impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}
