//! As much HTTP/1.1 as a server and a client of tests need: one request for each connection, without TLS.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a client waits for the next byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What came in at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names as they were sent, in their order.
    pub headers: Vec<(String, String)>,
    /// Whole, whichever way it was sent.
    pub body: Vec<u8>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The code, like 200.
    pub status: u16,
    /// Names as they were sent, in their order.
    pub headers: Vec<(String, String)>,
    /// Whole, whichever way it was sent.
    pub body: Vec<u8>,
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Request {
    /// The value of the first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Whether this text is in it as it is: in the path, a header's value or the body.
    pub fn contains(&self, text: &str) -> bool {
        let headers = self.headers.iter().any(|(_, value)| value.contains(text));
        headers || self.path.contains(text) || String::from_utf8_lossy(&self.body).contains(text)
    }

    /// Reads one; nothing when the other side closed without a word.
    ///
    /// # Errors
    /// It is no HTTP, or it was cut off.
    pub fn read(stream: &TcpStream) -> io::Result<Option<Request>> {
        let mut reader = BufReader::new(stream);
        let Some(first) = line(&mut reader)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err(no_http(&first)) };
        let headers = read_headers(&mut reader)?;
        if header(&headers, "expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        // A request without a length has no body, unlike a response.
        let body = read_body(&mut reader, &headers, false)?;
        Ok(Some(Request { method: method.to_owned(), path: path.to_owned(), headers, body }))
    }
}

impl Response {
    /// One with a body and the type of it.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Response {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Response { status, headers, body: body.into() }
    }

    /// The value of the first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body, with U+FFFD for what is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Everything before the body, for an answer that closes the connection.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Test\r\n", self.status);
        let own = ["content-length", "transfer-encoding", "connection"];
        for (name, value) in &self.headers {
            if !own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", self.body.len()));
        head.into_bytes()
    }

    /// Sends it.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn write(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.write_all(&self.head())?;
        stream.write_all(&self.body)?;
        stream.flush()
    }
}

/// Gets what is there.
///
/// # Errors
/// As [`send`].
pub fn get(url: &str) -> io::Result<Response> {
    send("GET", url, &[], &[])
}

/// Posts a body.
///
/// # Errors
/// As [`send`].
pub fn post(url: &str, content_type: &str, body: &[u8]) -> io::Result<Response> {
    send("POST", url, &[("content-type".to_owned(), content_type.to_owned())], body)
}

/// Sends a request and reads the whole answer, whatever its code; redirects are not followed.
///
/// # Errors
/// The address is no `http://host:port/…`, nobody is there, or the answer is no HTTP or was cut off.
pub fn send(method: &str, url: &str, headers: &[(String, String)], body: &[u8]) -> io::Result<Response> {
    let rest = url.strip_prefix("http://");
    let rest =
        rest.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, format!("{url} is not http://")))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;

    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut writer = &stream;
    writer.write_all(head.as_bytes())?;
    writer.write_all(body)?;
    read_response(&stream)
}

fn read_response(stream: &TcpStream) -> io::Result<Response> {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader)?;
    let body = read_body(&mut reader, &headers, true)?;
    Ok(Response { status, headers, body })
}

/// The code and the headers of an answer, after those that only say that one will come.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    loop {
        let first = line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| no_http(&first))?;
        let headers = read_headers(reader)?;
        if !(100..200).contains(&status) {
            return Ok((status, headers));
        }
    }
}

fn no_http(line: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("no HTTP: {line:?}"))
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = reader.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let text = line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        if text.is_empty() {
            return Ok(headers);
        }
        let (name, value) = text.split_once(':').ok_or_else(|| no_http(&text))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

pub(crate) fn read_body(
    reader: &mut impl BufRead,
    headers: &[(String, String)],
    to_the_end: bool,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
            let digits = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| no_http(&size))?;
            exactly(reader, size, &mut body)?;
            line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match header(headers, "content-length") {
        Some(length) => exactly(reader, length.parse().map_err(|_| no_http(length))?, &mut body)?,
        None if to_the_end => drop(reader.read_to_end(&mut body)?),
        None => {}
    }
    Ok(body)
}

fn exactly(reader: &mut impl BufRead, size: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let read = reader.take(size).read_to_end(into)?;
    if u64::try_from(read) == Ok(size) { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// The connections that are open, so that a server can end while they are.
type Open = Arc<Mutex<HashMap<u64, TcpStream>>>;

/// A server on a free port of 127.0.0.1, with a thread for each connection. Dropping it closes them all.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    open: Open,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one that hands each connection over.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(each: impl Fn(&TcpStream) + Send + Sync + 'static) -> io::Result<Server> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (ended, open) = (Arc::new(AtomicBool::new(false)), Open::default());
        let acceptor = {
            let (ended, open) = (Arc::clone(&ended), Arc::clone(&open));
            thread::spawn(move || accept(&listener, &ended, &open, &Arc::new(each)))
        };
        Ok(Server { address, ended, open, acceptor: Some(acceptor) })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

fn accept<F>(listener: &TcpListener, ended: &AtomicBool, open: &Open, each: &Arc<F>)
where
    F: Fn(&TcpStream) + Send + Sync + 'static,
{
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for stream in listener.incoming() {
        if ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(copy) = stream.try_clone() else { continue };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, copy);
        let (open, each) = (Arc::clone(open), Arc::clone(each));
        thread::spawn(move || {
            each(&stream);
            linger(&stream);
            open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        });
    }
}

/// Closes so that the other side still gets what was sent: unread bytes would turn the end into a reset.
fn linger(stream: &TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
    let mut rest = [0; 4096];
    let mut reader = stream;
    while reader.read(&mut rest).is_ok_and(|read| read > 0) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // The acceptor looks up when somebody comes.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(body: &'static [u8]) -> Server {
        Server::start(move |mut stream| {
            let request = Request::read(stream).expect("HTTP").expect("a request");
            assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a?b"));
            assert_eq!((request.header("Content-Type"), request.body.as_slice()), (Some("x/y"), &b"in"[..]));
            stream.write_all(body).expect("sent");
        })
        .expect("a server")
    }

    fn asked(server: &Server) -> io::Result<Response> {
        post(&format!("http://127.0.0.1:{}/a?b", server.port()), "x/y", b"in")
    }

    #[test]
    fn a_body_is_read_by_length_in_chunks_and_to_the_end() {
        for answer in [
            &b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\nA: b\r\n\r\noutmore"[..],
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n1;x\r\no\r\n2\r\nut\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nA: b\r\n\r\nout",
        ] {
            let response = asked(&answering(answer)).expect("an answer");
            assert_eq!((response.status, response.text().as_str()), (201, "out"));
            assert_eq!(response.header("a"), Some("b"));
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_is_an_error() {
        let cut = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nout");
        assert_eq!(asked(&cut).expect_err("it is cut").kind(), ErrorKind::UnexpectedEof);
        let garbage = answering(b"\x16\x03 no http\r\n");
        assert_eq!(asked(&garbage).expect_err("it is no HTTP").kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_server_ends_while_a_connection_is_open() {
        let server = Server::start(|stream| {
            let _ = Request::read(stream);
        })
        .expect("a server");
        let address = server.address;
        let open = TcpStream::connect(address).expect("somebody is there");
        drop(server);
        assert!(TcpStream::connect(address).is_err(), "somebody is there still");
        drop(open);
    }
}
