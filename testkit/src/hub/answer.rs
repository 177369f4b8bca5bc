//! What the Hub answers, and how it is sent: from memory or straight from a file, the whole or a range, and many
//! answers on one connection.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::repository::Content;
use crate::http::Request;

/// What follows the headers.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Bytes(Vec<u8>),
    Part {
        content: Content,
        start: u64,
        length: u64,
    },
    /// Spaces, and then the bytes.
    Padded(u64, Vec<u8>),
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Answer { status, headers, body: Body::Bytes(body.into()) }
    }

    pub(super) fn json(value: &Value) -> Answer {
        Answer::new(200, "application/json; charset=utf-8", value.to_string())
    }

    /// A refusal as the Hub words it: in JSON, and in headers, with a code where it has one.
    pub(super) fn refusal(status: u16, code: &str, message: &str) -> Answer {
        let mut answer = Answer::json(&json!({ "error": message }));
        answer.status = status;
        if !code.is_empty() {
            answer = answer.with("X-Error-Code", code);
        }
        answer.with("X-Error-Message", message)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A content of this size and tag as the request wants it: the whole, a range, or only what is said of it.
    pub(super) fn content(request: &Request, content: Content, size: u64, etag: &str) -> Answer {
        let tag = format!("\"{etag}\"");
        let named = |name: &str| request.header(name).map(|value| value == "*" || value.contains(&tag));
        if named("if-match") == Some(false) {
            return Answer::new(412, "text/plain", "");
        }
        let range = request.header("range").filter(|_| named("if-range") != Some(false));
        let part = |status, start, length| {
            let headers = [
                ("Content-Type", "application/octet-stream".to_owned()),
                ("Accept-Ranges", "bytes".to_owned()),
                ("ETag", tag.clone()),
            ];
            let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Answer { status, headers, body: Body::Part { content, start, length } }
        };
        match range.and_then(|range| asked(range, size)) {
            None => part(200, 0, size),
            Some(None) => Answer::new(416, "text/plain", "").with("Content-Range", format!("bytes */{size}")),
            Some(Some((first, last))) => part(206, first, last - first + 1)
                .with("Content-Range", format!("bytes {first}-{last}/{size}")),
        }
    }

    fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Part { length, .. } => *length,
            Body::Padded(spaces, bytes) => spaces + bytes.len() as u64,
        }
    }

    /// Sends it; a request with `HEAD` gets no body.
    pub(super) fn write(&self, mut stream: &TcpStream, request: &Request, last: bool) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Hub\r\nContent-Length: {}\r\n", self.status, self.length());
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(if last { "Connection: close\r\n\r\n" } else { "\r\n" });
        let mut head = head.into_bytes();
        if request.method == "HEAD" {
            return stream.write_all(&head);
        }
        match &self.body {
            Body::Bytes(bytes) => {
                head.extend_from_slice(bytes);
                stream.write_all(&head)
            }
            Body::Part { content: Content::Bytes(bytes), start, length } => {
                stream.write_all(&head)?;
                let bytes = bytes.get(place(*start)?..place(start + length)?);
                stream.write_all(bytes.ok_or(io::ErrorKind::InvalidInput)?)
            }
            Body::Part { content: Content::File(path), start, length } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*start))?;
                stream.write_all(&head)?;
                // The kernel copies this by itself.
                let sent = io::copy(&mut file.take(*length), &mut stream)?;
                if sent == *length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
            Body::Padded(spaces, bytes) => {
                stream.write_all(&head)?;
                io::copy(&mut io::repeat(b' ').take(*spaces), &mut stream)?;
                stream.write_all(bytes)
            }
        }
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

/// The first and the last byte that a header `Range` asks for: none where it is not understood, and none inside where
/// there is no such byte.
fn asked(range: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.saturating_sub(1);
    let (first, last) = match (first, last) {
        ("", count) => (size.saturating_sub(count.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(end)),
    };
    Some((first < size && first <= last).then_some((first, last)))
}

/// The bytes that `%` and two digits stand for; nothing where they stand for no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Text as a part of a path or of a query.
pub(super) fn encoded(text: &str, kept: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.as_bytes().contains(&byte);
    text.bytes().fold(String::new(), |text, byte| {
        if plain(byte) {
            text + char::from(byte).encode_utf8(&mut [0; 4])
        } else {
            text + &format!("%{byte:02X}")
        }
    })
}

/// The value of a parameter in a query, or of a field in a form.
pub(super) fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let plain = |text: &str| decoded(&text.replace('+', " ")).unwrap_or_default();
    pairs.map(|(name, value)| (plain(name), plain(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_it_says_and_ends_with_the_content() {
        for (range, expected) in [
            ("bytes=0-0", Some(Some((0, 0)))),
            ("bytes=3-", Some(Some((3, 9)))),
            ("bytes=-3", Some(Some((7, 9)))),
            ("bytes=-30", Some(Some((0, 9)))),
            ("bytes=5-100", Some(Some((5, 9)))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=5-4", Some(None)),
            ("bytes=1-2,4-5", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(asked(range, 10), expected, "{range}");
        }
        assert_eq!(asked("bytes=0-", 0), Some(None));
    }

    #[test]
    fn text_comes_back_from_its_escapes() {
        let text = "refs/pr/1 é%";
        assert_eq!(encoded(text, "/"), "refs/pr/1%20%C3%A9%25");
        assert_eq!(decoded(&encoded(text, "")).as_deref(), Some(text));
        assert_eq!((decoded("%zz"), decoded("%f"), decoded("%ff")), (None, None, None));
        assert_eq!(parameters("a=b%20c+d&e"), [("a".into(), "b c d".into()), ("e".into(), String::new())]);
    }
}
