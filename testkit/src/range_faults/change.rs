//! How each fault changes an answer.

use std::io::{self, Read};
use std::net::TcpStream;
use std::thread;

use super::answer::{Answer, Framing, gone};
use super::body::{Flipped, Throttled, gzip};
use super::fault::s3_error;
use super::{RangeFault, Shared};
use crate::http::Request;

/// A `Date` that no clock has yet.
const FAR: &str = "Thu, 01 Jan 2099 00:00:00 GMT";

/// Answers one request.
pub(super) fn answered(
    shared: &Shared,
    fault: Option<&RangeFault>,
    request: &Request,
    stream: &TcpStream,
) -> io::Result<()> {
    if let Some(mut own) = fault.and_then(|fault| own(fault, request)) {
        if request.method == "HEAD" {
            own.body = Box::new(io::empty());
        }
        return own.write(stream, u64::MAX);
    }
    if let Some(RangeFault::Delay(time)) = fault {
        thread::sleep(*time);
    }
    let answer = match Answer::of(&shared.upstream, request) {
        Ok(answer) => answer,
        Err(error) => return gone(&error).write(stream),
    };
    // What is refused anyway is not made worse.
    let fault = fault.filter(|_| (200..300).contains(&answer.status));
    match fault {
        Some(RangeFault::StallAfter { bytes }) => {
            answer.write(stream, *bytes)?;
            // Until the client has had enough, or the server is dropped.
            while (&mut &*stream).read(&mut [0; 64])? > 0 {}
            Ok(())
        }
        Some(RangeFault::CutAfter { bytes, .. }) => answer.write(stream, *bytes),
        Some(fault) => changed(shared, fault, answer)?.write(stream, u64::MAX),
        None => answer.write(stream, u64::MAX),
    }
}

/// What is answered without asking anybody.
fn own(fault: &RangeFault, request: &Request) -> Option<Answer<'static>> {
    let to = |code: u16, place: &str| {
        let location = ("location".to_owned(), format!("{place}{}", request.path));
        Answer::new(code, vec![location], String::new())
    };
    let s3 = |status: u16, code: &str| Answer::new(status, Vec::new(), s3_error(code));
    match fault {
        RangeFault::Redirect { code, to: place } => Some(to(*code, place)),
        RangeFault::EndlessRedirect => {
            Some(to(307, &format!("http://{}", request.header("host").unwrap_or_default())))
        }
        RangeFault::Status { code, retry_after, body, .. } => {
            let wait = retry_after.map(|seconds| ("retry-after".to_owned(), seconds.to_string()));
            Some(Answer::new(*code, wait.into_iter().collect(), body.clone()))
        }
        RangeFault::SlowDown { .. } => Some(s3(503, "SlowDown")),
        RangeFault::ExpiredToken { .. } => Some(s3(400, "ExpiredToken")),
        RangeFault::ClockSkew => {
            let mut skew = s3(403, "RequestTimeTooSkewed");
            skew.set("date", Some(FAR));
            Some(skew)
        }
        _ => None,
    }
}

/// First and last byte of an answer, and how many the whole object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    total: u64,
}

impl Range {
    fn of(answer: &Answer<'_>) -> Option<Range> {
        let (range, total) = answer.header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some(Range { first: first.parse().ok()?, last: last.parse().ok()?, total: total.parse().ok()? })
    }

    fn text(self) -> String {
        format!("bytes {}-{}/{}", self.first, self.last, self.total)
    }
}

fn changed<'a>(shared: &'a Shared, fault: &RangeFault, mut answer: Answer<'a>) -> io::Result<Answer<'a>> {
    let range = Range::of(&answer);
    let length = answer.length().unwrap_or_default();
    match fault {
        RangeFault::ShortBody => {
            answer.framing = Framing::Length(length.saturating_sub(1));
            answer.body = Box::new(answer.body.take(length.saturating_sub(1)));
        }
        RangeFault::LongBody => {
            answer.framing = Framing::Chunked;
            answer.body = Box::new(answer.body.chain(&b"\0"[..]));
        }
        RangeFault::EndlessBody => {
            answer.framing = Framing::Chunked;
            answer.body = Box::new(answer.body.chain(io::repeat(0)));
        }
        RangeFault::WrongRange => moved(&mut answer, range, length)?,
        RangeFault::Whole200 => {
            if let Some(Range { first, last, total }) = range {
                let (before, after) = (first, total.saturating_sub(last + 1));
                answer.status = 200;
                answer.set("content-range", None);
                answer.framing = Framing::Length(total);
                let zeros = |count| io::repeat(0).take(count);
                answer.body = Box::new(zeros(before).chain(answer.body).chain(zeros(after)));
            }
        }
        RangeFault::OtherEtag { .. } => {
            // Of the same form, since some clients look at that.
            let other: String = answer.header("etag").unwrap_or("\"0\"").chars().map(other_digit).collect();
            answer.set("etag", Some(&other));
        }
        RangeFault::OtherSize => {
            if let Some(range) = range {
                answer.set("content-range", Some(&Range { total: range.total + 1, ..range }.text()));
            }
        }
        RangeFault::WrongBytes => {
            answer.body = Box::new(Flipped { body: answer.body, before: length / 2 });
        }
        RangeFault::Gzip => {
            let mut bytes = Vec::new();
            answer.body.read_to_end(&mut bytes)?;
            let bytes = gzip(&bytes);
            answer.framing = Framing::Length(bytes.len() as u64);
            answer.body = Box::new(io::Cursor::new(bytes));
            answer.set("content-encoding", Some("gzip"));
        }
        RangeFault::Header { name, value } => answer.set(name, value.as_deref()),
        RangeFault::Throttle { .. } => {
            if let Some(bucket) = &shared.bucket {
                answer.body = Box::new(Throttled { bucket, body: answer.body });
            }
        }
        _ => {}
    }
    Ok(answer)
}

fn other_digit(digit: char) -> char {
    match digit {
        '0' => '1',
        '1'..='9' => '0',
        'a'..='f' => '0',
        other => other,
    }
}

/// Another piece of the object than was asked for, one byte further on or before. The byte that was not fetched is a
/// zero. All of an object is not moved but one byte shorter.
fn moved(answer: &mut Answer<'_>, range: Option<Range>, length: u64) -> io::Result<()> {
    let mut bytes = Vec::new();
    answer.body.read_to_end(&mut bytes)?;
    let range = range.unwrap_or(Range { first: 0, last: length.saturating_sub(1), total: length });
    let other = if range.last + 1 < range.total {
        bytes.drain(..bytes.len().min(1));
        bytes.push(0);
        Range { first: range.first + 1, last: range.last + 1, ..range }
    } else if range.first > 0 {
        bytes.pop();
        bytes.insert(0, 0);
        Range { first: range.first - 1, last: range.last - 1, ..range }
    } else {
        bytes.pop();
        Range { last: range.last.saturating_sub(1), ..range }
    };
    if answer.header("content-range").is_some() {
        answer.set("content-range", Some(&other.text()));
    }
    answer.framing = Framing::Length(bytes.len() as u64);
    answer.body = Box::new(io::Cursor::new(bytes));
    Ok(())
}
