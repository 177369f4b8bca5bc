//! Requests passed on, and answers passed back.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;

use crate::http::{PATIENCE, Request, Response, header, read_body, read_head};

/// How much of a body is moved at a time, in bytes.
const PIECE: usize = 256 << 10;

/// What belongs to one connection and goes no further.
const HOP: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the other side knows where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// An answer whose body is still to come.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) framing: Framing,
    pub(super) body: Box<dyn Read + 'a>,
}

impl<'a> Answer<'a> {
    /// One of our own.
    pub(super) fn new(status: u16, headers: Vec<(String, String)>, body: String) -> Answer<'a> {
        let kind = match body.as_bytes().first() {
            Some(b'<') => "application/xml",
            Some(b'{') => "application/json",
            _ => "text/plain",
        };
        let kind = ("content-type".to_owned(), kind.to_owned());
        let framing = Framing::Length(body.len() as u64);
        let body = Box::new(io::Cursor::new(body.into_bytes()));
        Answer { status, headers: [kind].into_iter().chain(headers).collect(), framing, body }
    }

    /// What a store answers.
    pub(super) fn of(upstream: &str, request: &Request) -> io::Result<Answer<'a>> {
        let host = upstream.strip_prefix("http://").unwrap_or(upstream);
        let stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", request.method, request.path);
        for (name, value) in request.headers.iter().filter(|(name, _)| passes(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !request.body.is_empty() || !matches!(request.method.as_str(), "GET" | "HEAD") {
            head.push_str(&format!("content-length: {}\r\n", request.body.len()));
        }
        head.push_str("\r\n");
        (&stream).write_all(head.as_bytes())?;
        (&stream).write_all(&request.body)?;

        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader)?;
        let length = header(&headers, "content-length").and_then(|length| length.parse().ok());
        let bare = request.method == "HEAD" || matches!(status, 204 | 304);
        let (framing, body): (_, Box<dyn Read>) = match length {
            _ if bare => (Framing::Length(length.unwrap_or(0)), Box::new(io::empty())),
            Some(length) => (Framing::Length(length), Box::new(reader.take(length))),
            None => {
                let body = read_body(&mut reader, &headers, true)?;
                (Framing::Length(body.len() as u64), Box::new(io::Cursor::new(body)))
            }
        };
        let headers = headers.into_iter().filter(|(name, _)| passes(name)).collect();
        Ok(Answer { status, headers, framing, body })
    }

    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// A header with another value, or without.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// How many bytes the body has, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        }
    }

    /// Sends it, and no more than so many bytes of its body.
    pub(super) fn write(mut self, mut stream: &TcpStream, most: u64) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut head = format!("HTTP/1.1 {} Test\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Length(length) => head.push_str(&format!("content-length: {length}\r\n\r\n")),
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n\r\n"),
        }
        stream.write_all(head.as_bytes())?;

        let (mut piece, mut left) = (vec![0; PIECE], most);
        loop {
            let room = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            let read = self.body.read(&mut piece[..room])?;
            if read == 0 {
                break;
            }
            left -= read as u64;
            if self.framing == Framing::Chunked {
                write!(stream, "{read:x}\r\n")?;
            }
            stream.write_all(&piece[..read])?;
            if self.framing == Framing::Chunked {
                stream.write_all(b"\r\n")?;
            }
        }
        if self.framing == Framing::Chunked { stream.write_all(b"0\r\n\r\n") } else { Ok(()) }
    }
}

fn passes(name: &str) -> bool {
    !HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// What a client gets when the store is not there.
pub(super) fn gone(error: &io::Error) -> Response {
    Response::new(502, "text/plain", format!("the proxy got no answer: {error}"))
}
