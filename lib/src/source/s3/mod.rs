//! Models in S3, and in stores that speak its protocol.

use std::{fmt, ops::Range, sync::Arc};

use super::{Entry, Kind, Shape, Source, shorter, uri::S3Uri};
use crate::{Digest, Error, Replace, ResourceName, Run, code::Code, report::Finding, rt, shown::Shown};

mod connect;
mod endpoint;
mod files;
mod heads;
mod list;
mod options;
mod read;
mod store;
mod trouble;
mod wire;

pub use options::{S3Options, SseCKey};

use read::Wanted;
use store::Store;

/// A model in S3, or in a store that speaks its protocol: the objects under a prefix, or one object.
pub struct S3 {
    uri: S3Uri,
    store: Arc<Store>,
    /// The model is the one object of this key.
    is_one: bool,
}

impl S3 {
    /// Opens a model: the objects under `key/`, or the one object `key`.
    ///
    /// # Errors
    /// `model-absent` where there is neither, or no such bucket; `bad-argument` where there are both, or no region is known;
    /// `access-denied`, `service-failed`, `transport-insecure`; `key-malformed` and `key-absent` for the roots of TLS.
    pub fn open(uri: &S3Uri, options: &S3Options, run: &Run) -> Result<Self, Error> {
        let store = Store::connect(&uri.bucket, options, run)?;
        let (asked, wanted) = (Arc::clone(&store), uri.clone());
        let is_one = rt::wait(run, async move { find(&asked, &wanted).await })??;
        Ok(S3 { uri: uri.clone(), store, is_one })
    }

    /// Reads one small file whole; none where there is none.
    pub(crate) fn read_file(
        uri: &S3Uri,
        options: &S3Options,
        limit: u64,
        run: &Run,
    ) -> Result<Option<Vec<u8>>, Error> {
        let key = file_key(uri)?;
        let store = Store::connect(&uri.bucket, options, run)?;
        let left = run.time_left();
        let read = rt::wait(run, async move { files::read(&store, &key, limit, left).await })??;
        Ok(read.map(|small| small.bytes))
    }

    /// Writes one small file; `output-exists` where there is one already that may not be replaced.
    pub(crate) fn write_file(
        uri: &S3Uri,
        options: &S3Options,
        bytes: Vec<u8>,
        replace: Replace,
        run: &Run,
    ) -> Result<(), Error> {
        let key = file_key(uri)?;
        let store = Store::connect(&uri.bucket, options, run)?;
        rt::wait(run, files::write(store, key, bytes, replace, run.time_left()))?
    }

    /// The key of a listed entry.
    fn key(&self, entry: &Entry) -> String {
        match self.is_one {
            true => self.uri.key.clone(),
            false => format!("{}{}", self.uri.prefix(), entry.name),
        }
    }

    fn wanted(&self, entry: &Entry, range: Range<u64>) -> Wanted {
        Wanted::of(entry, self.key(entry), range)
    }

    /// The files among entries, with their places.
    fn files(&self, entries: &[&Entry]) -> Vec<Wanted> {
        entries.iter().map(|entry| self.wanted(entry, 0..entry.size)).collect()
    }
}

/// Whether the model is one object.
async fn find(store: &Store, uri: &S3Uri) -> Result<bool, Error> {
    let shown = uri.to_string();
    let absent = || Error::new(Code::ModelAbsent, format!("there is nothing at {}", Shown(&shown)));
    let prefix = uri.prefix();
    if uri.is_folder {
        return if list::any(store, &prefix).await? { Ok(false) } else { Err(absent()) };
    }
    let (object, folder) = tokio::join!(heads::head(store, &uri.key, None), list::any(store, &prefix));
    match (object?, folder) {
        (Ok(_), Ok(true)) => Err(Error::new(
            Code::BadArgument,
            format!("{} is an object, and a folder of objects as well", Shown(&shown)),
        )
        .with_help(format!("write {shown}/ for the folder"))),
        (Ok(_), Ok(false)) => Ok(true),
        // Whoever may read the one object need not be one who may list.
        (Ok(_), Err(error)) if error.code() == Code::AccessDenied => Ok(true),
        (_, Err(error)) => Err(error),
        (Err(trouble), Ok(true)) if trouble.is_absent() => Ok(false),
        (Err(trouble), Ok(false)) if trouble.is_absent() => Err(absent()),
        (Err(trouble), Ok(true)) => {
            Err(store.failed(&uri.key, &trouble).with_help(format!("write {shown}/ if the folder is meant")))
        }
        (Err(trouble), Ok(false)) => Err(store.failed(&uri.key, &trouble)),
    }
}

/// The key of a URI that is to be a file.
fn file_key(uri: &S3Uri) -> Result<String, Error> {
    if uri.is_folder {
        let what = format!("{} is a folder, not a file", Shown(&uri.to_string()));
        return Err(Error::new(Code::BadArgument, what));
    }
    Ok(uri.key.clone())
}

impl Source for S3 {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.store.forget_versions();
        if !self.is_one {
            return list::all(&self.store, &self.uri.prefix(), run, each);
        }
        let (store, key) = (Arc::clone(&self.store), self.uri.key.clone());
        let answer = rt::wait(run, async move {
            heads::head(&store, &key, None).await?.map_err(|trouble| match trouble.is_absent() {
                true => Error::new(
                    Code::ChangedWhileRead,
                    format!("{} is gone", Shown(&store.uri(&key).to_string())),
                ),
                false => store.failed(&key, &trouble),
            })
        })??;
        let invalid = |what: &str| {
            Error::new(
                Code::ListingInvalid,
                format!("{}: the store did not say {what}", Shown(&self.uri.to_string())),
            )
        };
        let size = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let size = size.ok_or_else(|| invalid("how long it is"))?;
        let tag =
            answer.e_tag().filter(|tag| !tag.is_empty()).ok_or_else(|| invalid("which one it is (ETag)"))?;
        let name = self.base_name();
        each(match ResourceName::parse(&name) {
            Ok(_) => list::file(name, size, tag),
            Err(_) => Entry::plain(name, Kind::BadName),
        })
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        run.check()?;
        let end = offset.saturating_add(buf.len() as u64).min(entry.size);
        if offset >= end {
            return Ok(0);
        }
        let bytes = self.fetch(entry, offset..end, Vec::new(), run)?;
        match buf.get_mut(..bytes.len()) {
            Some(room) => room.copy_from_slice(&bytes),
            None => return Err(shorter(entry)),
        }
        Ok(bytes.len())
    }

    fn shape(&self) -> Shape {
        Shape::REMOTE
    }

    fn fetch(&self, entry: &Entry, range: Range<u64>, buffer: Vec<u8>, run: &Run) -> Result<Vec<u8>, Error> {
        run.check()?;
        if range.end > entry.size {
            return Err(shorter(entry));
        }
        rt::wait(
            run,
            read::range(Arc::clone(&self.store), self.wanted(entry, range), buffer, run.time_left()),
        )?
    }

    fn stated(&self, entries: &[&Entry], run: &Run) -> Result<Vec<Option<Digest>>, Error> {
        let asked =
            heads::each(Arc::clone(&self.store), self.files(entries), |_, _, answer| heads::digest(answer));
        rt::wait(run, asked)?
    }

    fn objections(&self, entries: &[&Entry], run: &Run) -> Result<Vec<Finding>, Error> {
        if self.store.options.kms_key.is_none() {
            return Ok(Vec::new());
        }
        let files: Vec<&Entry> = entries.iter().copied().filter(|entry| entry.kind == Kind::File).collect();
        let asked = heads::each(Arc::clone(&self.store), self.files(&files), |store, file, answer| {
            store.objection(&file.name, answer.server_side_encryption(), answer.ssekms_key_id())
        });
        Ok(rt::wait(run, asked)??.into_iter().flatten().collect())
    }

    fn is_single_file(&self) -> bool {
        self.is_one
    }

    fn base_name(&self) -> String {
        let last = self.uri.key.rsplit('/').next().unwrap_or_default();
        if last.is_empty() { self.uri.bucket.clone() } else { last.to_owned() }
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({:?})", Shown(&self.uri.to_string()))
    }
}
