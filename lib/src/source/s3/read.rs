//! Ranges of files: each answer is checked before a byte of it counts, and a cut one is gone on with where it was cut.

use std::{ops::Range, sync::Arc, time::Duration};

use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::ByteStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Store, connect::Clients, trouble::Trouble};
use crate::{Entry, Error, code::Code, drip::Drip, rt, shown::Shown};

/// How many attempts in a row may fail without a byte.
const ATTEMPTS: u32 = 6;

/// An attempt is worth so many bytes: how many there may be at most, for a store that gives little each time.
const BYTES_PER_ATTEMPT: u64 = 64 << 10;

/// The first wait, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait, whatever a store asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Why an attempt did not give everything.
pub(super) enum Stop {
    /// Another may do better, or not.
    Trouble(Trouble),
    /// No other will.
    Error(Error),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Stop::Trouble(trouble)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// The bytes of a file that are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) tag: Arc<str>,
    pub(super) size: u64,
    pub(super) range: Range<u64>,
}

impl Wanted {
    pub(super) fn of(entry: &Entry, key: String, range: Range<u64>) -> Self {
        let tag = entry.stamp.tag.clone().unwrap_or_default();
        Wanted { key, name: entry.name.clone(), tag, size: entry.size, range }
    }

    fn changed(&self, how: &str) -> Error {
        Error::new(Code::ChangedWhileRead, format!("{:?} {how}", Shown(&self.name))).with_name(&self.name)
    }
}

/// Counts attempts, and waits between them.
pub(super) struct Pace {
    failed: u32,
    attempts: u64,
    most: u64,
    skewed: bool,
    renewed: bool,
    until: Option<Instant>,
}

impl Pace {
    /// For so many bytes, and so much time that is left.
    pub(super) fn new(bytes: u64, left: Option<Duration>) -> Self {
        let until = left.and_then(|left| Instant::now().checked_add(left));
        Pace {
            failed: 0,
            attempts: 0,
            most: 32 + bytes / BYTES_PER_ATTEMPT,
            skewed: false,
            renewed: false,
            until,
        }
    }

    /// Waits for the next attempt, or gives what ends them all. `progress`: the last one gave bytes.
    pub(super) async fn wait(
        &mut self,
        store: &Store,
        taken: &Arc<Clients>,
        key: &str,
        trouble: Trouble,
        progress: bool,
    ) -> Result<(), Error> {
        self.attempts += 1;
        self.failed = if progress { 0 } else { self.failed + 1 };
        if trouble.is_expired() && !self.renewed {
            self.renewed = true;
            return store.renew(taken).await;
        }
        if trouble.is_skewed() && !self.skewed {
            self.skewed = true;
            return Ok(());
        }
        if !trouble.is_passing() {
            return Err(store.failed(key, &trouble));
        }
        let given_up = |why: String| {
            let error = store.failed(key, &trouble);
            let help = error.help().to_owned();
            Error::new(error.code(), format!("{error} ({why})")).with_help(help)
        };
        if self.failed >= ATTEMPTS || self.attempts >= self.most {
            return Err(given_up(format!("{} attempts", self.attempts)));
        }
        let wait = trouble.after.unwrap_or_else(|| rt::backoff(FIRST_WAIT, self.failed.max(1)));
        let left = self.until.map_or(LONGEST_WAIT, |until| until.saturating_duration_since(Instant::now()));
        if wait >= left.min(LONGEST_WAIT) {
            return Err(given_up(match trouble.after {
                Some(asked) => format!("it asks to wait {} s, longer than there is time", asked.as_secs()),
                None => "no time is left to try again".to_owned(),
            }));
        }
        sleep(wait).await;
        Ok(())
    }
}

/// Reads a range, all of it, into the buffer, which is emptied first.
pub(super) async fn range(
    store: Arc<Store>,
    wanted: Wanted,
    mut buffer: Vec<u8>,
    left: Option<Duration>,
) -> Result<Vec<u8>, Error> {
    let length = usize::try_from(wanted.range.end.saturating_sub(wanted.range.start)).unwrap_or(usize::MAX);
    buffer.clear();
    buffer.try_reserve_exact(length).map_err(|_| {
        Error::new(
            Code::IoFailed,
            format!("there is no memory for {length} bytes of {:?}", Shown(&wanted.name)),
        )
    })?;
    let mut pace = Pace::new(length as u64, left);
    while buffer.len() < length {
        let (before, begun) = (buffer.len(), Instant::now());
        let clients = store.clients();
        match attempt(&store, &clients, &wanted, &mut buffer, length).await {
            Ok(()) => {}
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Trouble(trouble)) if trouble.is_another() => {
                return Err(wanted.changed("changed while it was read"));
            }
            Err(Stop::Trouble(trouble)) if trouble.is_absent() => return Err(wanted.changed("is gone")),
            Err(Stop::Trouble(trouble)) => {
                let progress = Drip::was_worth(begun.elapsed(), buffer.len() - before);
                pace.wait(&store, &clients, &wanted.key, trouble, progress)
                    .await
                    .map_err(|error| error.with_name(&wanted.name))?;
            }
        }
    }
    Ok(buffer)
}

async fn attempt(
    store: &Store,
    clients: &Clients,
    wanted: &Wanted,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Result<(), Stop> {
    let from = wanted.range.start + buffer.len() as u64;
    let missing = from..wanted.range.end;
    let key = store.options.customer_key.as_ref();
    let answer = clients
        .reads
        .get_object()
        .bucket(&store.bucket)
        .key(&wanted.key)
        .if_match(&*wanted.tag)
        .range(format!("bytes={}-{}", missing.start, missing.end - 1))
        .set_sse_customer_algorithm(key.map(|_| "AES256".to_owned()))
        .set_sse_customer_key(key.map(|key| key.base64()))
        .set_sse_customer_key_md5(key.map(|key| key.md5_base64()))
        .send()
        .await
        .map_err(|error| Trouble::of(&error))?;
    check(store, wanted, &missing, &answer)?;
    fill(answer.body, buffer, length, store.options.stall()).await.map_err(|stop| match stop {
        Stop::Trouble(trouble) if trouble.is_passing() => Stop::Trouble(trouble),
        Stop::Trouble(trouble) => Stop::Error(store.failed(&wanted.key, &trouble).with_name(&wanted.name)),
        error => error,
    })
}

/// Whether an answer is about the file that was listed, and has the bytes that were asked for.
fn check(store: &Store, wanted: &Wanted, missing: &Range<u64>, answer: &GetObjectOutput) -> Result<(), Stop> {
    let nonsense = |told: &str| store.failed(&wanted.key, &Trouble::nonsense(told)).with_name(&wanted.name);
    let tag = answer.e_tag().ok_or_else(|| nonsense("answered without an ETag"))?;
    if tag != &*wanted.tag {
        return Err(wanted.changed("changed while it was read").into());
    }
    match answer.content_range() {
        Some(text) => {
            let (range, size) =
                content_range(text).ok_or_else(|| nonsense("answered with a range that cannot be read"))?;
            if size != wanted.size {
                let how = format!("changed while it was read: it has {size} bytes, and had {}", wanted.size);
                return Err(wanted.changed(&how).into());
            }
            if range != *missing {
                return Err(nonsense("answered with another range than the one that it was asked for").into());
            }
        }
        None if *missing == (0..wanted.size) => {}
        None => return Err(nonsense("answered with the whole object for a range of it").into()),
    }
    let length = missing.end - missing.start;
    match answer.content_length().map(|announced| u64::try_from(announced).unwrap_or(u64::MAX)) {
        // Where nothing is announced, what comes is counted.
        None => {}
        Some(announced) if announced == length => {}
        Some(announced) if announced > length => {
            return Err(nonsense(&format!("answered with {announced} bytes for a range of {length}")).into());
        }
        Some(announced) => {
            return Err(
                Trouble::cut(&format!("answered with {announced} bytes for a range of {length}")).into()
            );
        }
    }
    if !store.is_same_version(&wanted.key, &wanted.tag, answer.version_id()) {
        return Err(wanted.changed("changed while it was read: it has another version").into());
    }
    match store.objection(&wanted.name, answer.server_side_encryption(), answer.ssekms_key_id()) {
        Some(finding) => Err(Error::from(finding).into()),
        None => Ok(()),
    }
}

/// Reads `bytes FIRST-LAST/SIZE`.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    (first <= last && last < size).then(|| (first..last + 1, size))
}

/// Adds a body to the buffer as it comes, up to the length that the buffer is to have.
pub(super) async fn fill(
    mut body: ByteStream,
    buffer: &mut Vec<u8>,
    length: usize,
    stall: Duration,
) -> Result<(), Stop> {
    let mut drip = Drip::new();
    loop {
        let chunk = match timeout(stall, body.next()).await {
            Err(_) => {
                let told =
                    format!("sent nothing for {:.1} s in the middle of an answer", stall.as_secs_f64());
                return Err(Trouble::cut(&told).into());
            }
            Ok(Some(Err(error))) => {
                let told = format!("cut its answer: {}", crate::words::cause(&error));
                return Err(Trouble::cut(&told).into());
            }
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) if buffer.len() < length => {
                return Err(Trouble::cut("sent fewer bytes than it was asked for").into());
            }
            Ok(None) => return Ok(()),
        };
        if chunk.len() > length.saturating_sub(buffer.len()) {
            return Err(Trouble::nonsense("sent more bytes than it was asked for").into());
        }
        buffer.extend_from_slice(&chunk);
        drip.more(chunk.len()).map_err(|told| Trouble::cut(&told))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_strictly() {
        assert_eq!(content_range("bytes 0-0/1"), Some((0..1, 1)));
        assert_eq!(content_range("bytes 5-9/100"), Some((5..10, 100)));
        for bad in [
            "",
            "bytes 5-9",
            "bytes 9-5/100",
            "bytes 5-9/*",
            "bytes 5-100/100",
            "bytes +5-9/100",
            "bytes -9/100",
            "5-9/100",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        let largest = u64::MAX;
        assert_eq!(content_range(&format!("bytes 0-{largest}/{largest}")), None);
    }

    #[tokio::test]
    async fn a_body_has_the_length_that_it_must() {
        let fill = |bytes: &'static [u8], length| async move {
            let mut buffer = b"ab".to_vec();
            let filled =
                fill(ByteStream::from_static(bytes), &mut buffer, length, Duration::from_secs(1)).await;
            match filled {
                Ok(()) => Ok(buffer),
                Err(Stop::Trouble(trouble)) => Err(trouble.is_passing()),
                Err(Stop::Error(error)) => panic!("{error}"),
            }
        };
        assert_eq!(fill(b"cd", 4).await.unwrap(), b"abcd");
        assert!(fill(b"c", 4).await.unwrap_err());
        assert!(!fill(b"cde", 4).await.unwrap_err());
    }
}
