//! Reading files: the Hub says where a large one lies, and its bytes come from there, without the token.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use reqwest::{Url, header};

use super::{
    client::{COMMIT, Client, LINKED_ETAG, LINKED_SIZE, SERVICE, is_other_commit, is_packed, is_redirect},
    listing::Row,
};
use crate::{
    Error, Run,
    code::Code,
    drip::Drip,
    http::{Call, Failure, Get, Pace, Reply, url_shown},
    manifest::hex,
    rt,
    shown::Shown,
    source::uri::HubUri,
};

/// How many redirects are followed for one file.
const HOPS: usize = 5;

/// Of how many files it is remembered where they lie.
const PLACES: usize = 4096;

/// What is read whole where a server knows no ranges, in bytes; a file in LFS is never.
pub(super) const SMALL: u64 = 10 << 20;

/// How long to wait for another thread that asks where the same file lies.
const WAIT: Duration = Duration::from_millis(5);

/// Where files lie.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Box<str>, Arc<Mutex<Place>>>>);

/// Where one file lies: not shown, since such addresses let whoever has them read the file.
#[derive(Default)]
struct Place {
    url: Option<Arc<Url>>,
    /// What the server there calls its content.
    etag: Option<String>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl Places {
    fn of(&self, path: &str) -> Arc<Mutex<Place>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(path) {
            return Arc::clone(place);
        }
        // Whoever reads goes on with his own; the others ask again.
        if places.len() >= PLACES {
            places.clear();
        }
        Arc::clone(places.entry(path.into()).or_default())
    }
}

/// Holds a place, as soon as nobody else does.
fn held<'a>(place: &'a Mutex<Place>, run: &Run) -> Result<MutexGuard<'a, Place>, Error> {
    loop {
        match place.try_lock() {
            Ok(held) => return Ok(held),
            Err(TryLockError::Poisoned(held)) => return Ok(held.into_inner()),
            Err(TryLockError::WouldBlock) => rt::sleep(run, WAIT)?,
        }
    }
}

/// One read of one file.
pub(super) struct Reading<'a> {
    pub(super) client: &'a Client,
    pub(super) uri: &'a HubUri,
    pub(super) commit: &'a str,
    pub(super) row: &'a Row,
    pub(super) run: &'a Run,
    pub(super) places: &'a Places,
}

/// Why an attempt gave nothing: what may pass, and what will not.
enum Stop {
    Failure(Failure, String),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// What came of asking where a file lies.
enum Found {
    /// Its bytes themselves.
    Here(Reply),
    There(Arc<Url>),
}

impl Reading<'_> {
    /// Reads a range into the buffer, which is empty; again from where it was cut, as long as that may help.
    ///
    /// # Errors
    /// `changed-while-read`, `access-denied`, `service-failed`; those of [`Run::check`].
    pub(super) fn read(&self, range: Range<u64>, mut buffer: Vec<u8>) -> Result<Vec<u8>, Error> {
        let place = self.places.of(&self.row.path);
        let mut pace = Pace::of_part();
        let mut renewed = false;
        loop {
            let (before, begun) = (buffer.len(), Instant::now());
            let rest = range.start + before as u64..range.end;
            let (read, outcome) = self.attempt(rest, buffer, &place, &mut renewed)?;
            buffer = read;
            let Err((failure, shown)) = outcome else { return Ok(buffer) };
            if Drip::was_worth(begun.elapsed(), buffer.len() - before) {
                pace.got_further();
            }
            let failed = |why: String| {
                let what = format!(
                    "{:?} cannot be read: {SERVICE} at {shown}: {failure}{why}",
                    Shown(&self.row.path)
                );
                failure.error(Error::new(Code::ServiceFailed, what))
            };
            pace.wait(&failure, self.run)?.map_err(failed)?;
        }
    }

    /// One attempt to read all of a range; the buffer comes back with what there was.
    #[allow(clippy::type_complexity, reason = "a buffer, and besides it what went wrong and where")]
    fn attempt(
        &self,
        range: Range<u64>,
        buffer: Vec<u8>,
        place: &Mutex<Place>,
        renewed: &mut bool,
    ) -> Result<(Vec<u8>, Result<(), (Failure, String)>), Error> {
        match self.reply(&range, place, renewed) {
            Ok((reply, skip, length)) => {
                let shown = reply.shown();
                let (buffer, done) = self.receive(reply, buffer, &range, skip, length)?;
                Ok((buffer, done.map_err(|failure| (failure, shown))))
            }
            Err(Stop::Failure(failure, shown)) => Ok((buffer, Err((failure, shown)))),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn receive(
        &self,
        reply: Reply,
        mut buffer: Vec<u8>,
        range: &Range<u64>,
        skip: usize,
        length: usize,
    ) -> Result<(Vec<u8>, Result<(), Failure>), Error> {
        if length as u64 == range.end - range.start {
            return reply.body(buffer, length, self.run);
        }
        // The whole of a small file, from a server that knows no ranges.
        let (whole, done) = reply.body(Vec::new(), length, self.run)?;
        if done.is_ok() {
            let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            buffer.extend(whole.iter().skip(skip).take(wanted));
        }
        Ok((buffer, done))
    }

    /// The head of an answer that has the range: how many bytes to skip of its body, and how long that is.
    fn reply(
        &self,
        range: &Range<u64>,
        place: &Mutex<Place>,
        renewed: &mut bool,
    ) -> Result<(Reply, usize, usize), Stop> {
        let known = held(place, self.run)?.url.clone();
        let mut url = match known {
            Some(url) => url,
            None => match self.find(range, place, None)? {
                Found::Here(reply) => return self.checked(reply, range, None),
                Found::There(url) => url,
            },
        };
        loop {
            let reply = self.follow(&url, range)?;
            // What lets read at such an address ends after a while.
            if matches!(reply.status(), 400 | 401 | 403 | 404 | 410) && !*renewed {
                *renewed = true;
                url = match self.find(range, place, Some(&url))? {
                    Found::Here(reply) => return self.checked(reply, range, None),
                    Found::There(url) => url,
                };
                continue;
            }
            return self.checked(reply, range, Some(place));
        }
    }

    /// Asks the Hub for the file. Of many threads one does, the others take what it found. `stale` is what did not help.
    fn find(
        &self,
        range: &Range<u64>,
        place: &Mutex<Place>,
        stale: Option<&Arc<Url>>,
    ) -> Result<Found, Stop> {
        // A file that is not in LFS has most often its bytes here, and is read in one go.
        let mut held = match self.row.sha256 {
            Some(_) => Some(self::held(place, self.run)?),
            None => None,
        };
        // Another thread may have asked meanwhile.
        if let Some(url) = held.as_ref().and_then(|place| place.url.as_ref())
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, url))
        {
            return Ok(Found::There(Arc::clone(url)));
        }
        let from = self.client.file(self.uri, self.commit, &self.row.path);
        let from = Url::parse(&from)
            .map_err(|_| Error::new(Code::ServiceFailed, format!("{} is no address", url_shown(&from))))?;
        let reply = self.ask(&from, range, true)?;
        let redirected = is_redirect(reply.status());
        if !redirected && !matches!(reply.status(), 200 | 206) {
            return Err(self.refused(reply)?);
        }
        let elsewhere = match redirected {
            true => {
                let to = self.client.redirect(&from, reply.header(header::LOCATION));
                Some(to.map_err(|why| self.stop(why, &reply))?)
            }
            false => None,
        };
        self.check_identity(&reply, elsewhere.as_ref())?;
        let Some(to) = elsewhere else { return Ok(Found::Here(reply)) };
        let to = Arc::new(to);
        match &mut held {
            Some(place) => place.url = Some(Arc::clone(&to)),
            None => self::held(place, self.run)?.url = Some(Arc::clone(&to)),
        }
        Ok(Found::There(to))
    }

    /// Asks where the Hub said that the file lies, without the token, and goes on from there as far as it is sent.
    fn follow(&self, url: &Url, range: &Range<u64>) -> Result<Reply, Stop> {
        let mut url = url.clone();
        for _ in 0..HOPS {
            let reply = self.ask(&url, range, false)?;
            if !is_redirect(reply.status()) {
                return Ok(reply);
            }
            let to = self.client.redirect(&url, reply.header(header::LOCATION));
            url = to.map_err(|why| self.stop(why, &reply))?;
        }
        let failure = Failure::final_one(format!("answered with more than {HOPS} redirects"));
        Err(Stop::Failure(failure, url_shown(url.as_str())))
    }

    fn ask(&self, url: &Url, range: &Range<u64>, with_token: bool) -> Result<Reply, Stop> {
        let get = Get {
            url,
            range: (range.start, range.end.saturating_sub(1)),
            bearer: if with_token { self.client.bearer() } else { None },
            silence: self.client.silence,
        };
        let reply = self.client.http.head(&get, self.run)?;
        reply.map_err(|failure| Stop::Failure(failure, url_shown(url.as_str())))
    }

    /// What the Hub itself says of a file has to be what it listed.
    fn check_identity(&self, reply: &Reply, elsewhere: Option<&Url>) -> Result<(), Stop> {
        let sha256 = self.row.sha256.map(|digest| hex(&digest));
        let known = |etag: &str| etag == &*self.row.oid || sha256.as_deref() == Some(etag);
        if is_other_commit(reply.headers(), self.commit) {
            return Err(self.changed("another commit").into());
        }
        let etag = reply.header(LINKED_ETAG).map(bare);
        // Where nothing leads elsewhere, the tag is the file's own; what servers in between make of it is theirs.
        let own = reply.header(header::ETAG).map(bare).filter(|etag| {
            elsewhere.is_none()
                && matches!(etag.len(), 40 | 64)
                && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let other = match &sha256 {
            Some(sha256) => etag.is_some_and(|etag| etag != sha256),
            None => etag.is_some_and(|etag| etag != &*self.row.oid),
        };
        if other || own.is_some_and(|etag| !known(etag)) {
            return Err(self.changed("other content").into());
        }
        let size = reply.header(LINKED_SIZE);
        if size.is_some_and(|size| size.parse() != Ok(self.row.size)) {
            return Err(self.changed("another length").into());
        }
        let all = etag.is_some() && size.is_some() && reply.headers().contains_key(COMMIT);
        match elsewhere {
            Some(url) if sha256.is_some() && !all && !self.client.is_own(url) => {
                Err(self.stop("sent elsewhere without saying of which file", reply))
            }
            _ => Ok(()),
        }
    }

    /// The answer, if it is one with this very range. At a place elsewhere the content has to keep its name.
    fn checked(
        &self,
        reply: Reply,
        range: &Range<u64>,
        place: Option<&Mutex<Place>>,
    ) -> Result<(Reply, usize, usize), Stop> {
        let size = self.row.size;
        let wanted = range.end - range.start;
        let whole = match reply.status() {
            206 => false,
            200 if wanted == size || (self.row.sha256.is_none() && size <= SMALL) => true,
            200 => return Err(self.stop("answered with the whole file where a part was asked for", &reply)),
            416 => return Err(self.changed("another length").into()),
            _ => return Err(self.refused(reply)?),
        };
        if is_packed(reply.headers()) {
            return Err(self.stop("packed its answer, which was not asked for", &reply));
        }
        if !whole {
            let (first, last, total) = reply
                .header(header::CONTENT_RANGE)
                .and_then(content_range)
                .ok_or_else(|| self.stop("does not say which part it answers with", &reply))?;
            if total != size {
                return Err(self.changed("another length").into());
            }
            if (first, last) != (range.start, range.end - 1) {
                return Err(self.stop("answered with another part than was asked for", &reply));
            }
        }
        let length = if whole { size } else { wanted };
        let stated = reply.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if stated.is_some_and(|stated| stated > length) {
            return Err(match whole {
                true => self.changed("another length").into(),
                false => self.stop("answered with more than was asked for", &reply),
            });
        }
        if let (Some(place), Some(etag)) = (place, reply.header(header::ETAG)) {
            let mut place = held(place, self.run)?;
            if place.etag.get_or_insert_with(|| etag.to_owned()) != etag {
                return Err(self.changed("other content").into());
            }
        }
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let skip = if whole { number(range.start) } else { 0 };
        Ok((reply, skip, number(length)))
    }

    /// A status that is not one of success: what may pass, and what the Hub means by the others.
    fn refused(&self, reply: Reply) -> Result<Stop, Error> {
        let shown = reply.shown();
        // The Hub itself, and not where it sent.
        let own = reply.url().as_str() == self.client.file(self.uri, self.commit, &self.row.path);
        let (answer, failure) = reply.refusal(self.run)?;
        Ok(match answer.status {
            404 | 410 if own => Stop::Error(self.changed("nothing")),
            401 | 403 if own => {
                let call = Call::get(SERVICE, shown);
                Stop::Error(self.client.refusal(&call, &answer, self.uri).with_name(&*self.row.path))
            }
            _ => Stop::Failure(failure, shown),
        })
    }

    fn stop(&self, why: &str, reply: &Reply) -> Stop {
        Stop::Failure(Failure::final_one(why.to_owned()), reply.shown())
    }

    fn changed(&self, to: &str) -> Error {
        let what = format!("{:?} is not what was listed: the Hub has {to} there now", Shown(&self.row.path));
        Error::new(Code::ChangedWhileRead, what).with_name(&*self.row.path)
    }
}

/// An ETag without its quotation marks.
pub(super) fn bare(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// `bytes FIRST-LAST/TOTAL`.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok())?
    };
    Some((number(first)?, number(last)?, number(total)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_has_three_numbers() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 9, 10)));
        for bad in [
            "",
            "bytes */10",
            "bytes 0-9/*",
            "bytes 0-9",
            "0-9/10",
            "bytes +0-9/10",
            "bytes 0-9/99999999999999999999",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        assert_eq!((bare("\"a\""), bare("W/\"a\""), bare("a")), ("a", "a", "a"));
    }
}
