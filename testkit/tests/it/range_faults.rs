//! The proxy of faults passes on what it should, and goes wrong in the way it was asked to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use testkit::faults::{Fault, FaultServer};
use testkit::http::{Response, Server, get, send};
use testkit::range_faults::{RangeFault, RangeFaultServer, Scope};

/// As large as the object is.
const SIZE: usize = 1_000_000;

fn object() -> Vec<u8> {
    (0..SIZE).map(|at| (at * 31 + at / 251) as u8 | 1).collect()
}

/// A store with one object, whose path does not matter.
fn store() -> FaultlessStore {
    let server = Server::start(|stream| {
        let Ok(Some(request)) = testkit::http::Request::read(stream) else { return };
        let all = object();
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let mut response = match range {
            Some((first, last)) => {
                let (first, last) = (first.parse().unwrap_or(0), last.parse().unwrap_or(SIZE - 1));
                let mut response = Response::new(206, "binary/octet-stream", &all[first..=last]);
                response.headers.push(("content-range".into(), format!("bytes {first}-{last}/{SIZE}")));
                response
            }
            None => Response::new(200, "binary/octet-stream", all),
        };
        response.headers.push(("ETag".into(), "\"0123abcd-2\"".into()));
        response.headers.push(("x-host".into(), request.header("host").unwrap_or_default().into()));
        if request.method == "HEAD" {
            use std::io::Write as _;
            let mut stream = stream;
            let _ = stream.write_all(&response.head());
        } else {
            let _ = response.write(stream);
        }
    })
    .expect("a free port");
    FaultlessStore { url: format!("http://127.0.0.1:{}", server.port()), _server: server }
}

struct FaultlessStore {
    url: String,
    _server: Server,
}

fn asked(proxy: &RangeFaultServer, path: &str, range: Option<&str>) -> io::Result<Response> {
    let range = range.map(|range| ("Range".to_owned(), format!("bytes={range}")));
    send("GET", &format!("{}{path}", proxy.url()), range.as_slice(), &[])
}

/// The bytes from 1000 to 1999, through a proxy with this fault.
fn ranged(fault: RangeFault) -> Response {
    let store = store();
    let proxy = RangeFaultServer::start(fault, &store.url);
    asked(&proxy, "/it?a=b", Some("1000-1999")).expect("an answer")
}

fn right() -> Vec<u8> {
    object()[1000..2000].to_vec()
}

#[test]
fn what_is_right_is_passed_on_as_it_came() {
    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::Pass, &store.url);
    let answer = asked(&proxy, "/it?a=b", Some("1000-1999")).expect("an answer");
    assert_eq!((answer.status, &answer.body), (206, &right()));
    assert_eq!(answer.header("content-range"), Some("bytes 1000-1999/1000000"));
    assert_eq!(answer.header("etag"), Some("\"0123abcd-2\""));
    assert_eq!(answer.header("x-host"), proxy.url().strip_prefix("http://"));

    let all = asked(&proxy, "/it", None).expect("an answer");
    assert_eq!((all.status, all.body), (200, object()));
    let seen = proxy.seen();
    assert_eq!((proxy.requests(), proxy.chosen()), (2, 1));
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("GET", "/it?a=b"));
    assert_eq!((seen[0].header("range"), seen[1].header("range")), (Some("bytes=1000-1999"), None));
    assert!(proxy.received("bytes=1000") && !proxy.received("secret"));
}

#[test]
fn a_body_is_passed_on_and_a_head_has_none() {
    let real = FaultServer::start(Fault::Pass, "");
    let proxy = RangeFaultServer::on(Scope::everything(), RangeFault::Pass, real.url());
    let header = ("Authorization".to_owned(), "Bearer token".to_owned());
    send("PUT", &format!("{}/a", proxy.url()), &[header], b"body").expect("an answer");
    let seen = &real.seen()[0];
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("PUT", &b"body"[..]));
    assert_eq!(seen.header("authorization"), Some("Bearer token"));
    assert!(proxy.received("token") && proxy.received("body"));

    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::Pass, &store.url);
    let mut stream = TcpStream::connect(proxy.url().trim_start_matches("http://")).expect("it listens");
    stream.write_all(b"HEAD /it HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut head = String::new();
    stream.read_to_string(&mut head).expect("text");
    assert!(head.contains("content-length: 1000000\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_store_that_is_not_there_is_a_bad_gateway() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", nobody.local_addr().expect("its address"));
    drop(nobody);
    assert_eq!(get(RangeFaultServer::start(RangeFault::Pass, &url).url()).expect("an answer").status, 502);
}

#[test]
fn a_body_is_shorter_or_longer_than_was_asked_for() {
    let short = ranged(RangeFault::ShortBody);
    assert_eq!((short.status, short.body.as_slice()), (206, &right()[..999]));
    assert_eq!(short.header("content-length"), Some("999"));
    let long = ranged(RangeFault::LongBody);
    assert_eq!((long.status, &long.body), (206, &[right(), vec![0]].concat()));
    assert_eq!(long.header("content-length"), None);
}

#[test]
fn a_body_without_an_end_has_none() {
    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::EndlessBody, &store.url);
    let mut stream = TcpStream::connect(proxy.url().trim_start_matches("http://")).expect("it listens");
    stream.write_all(b"GET /it HTTP/1.1\r\nhost: a\r\nrange: bytes=0-9\r\n\r\n").expect("sent");
    let read = io::copy(&mut (&mut stream).take(30_000_000), &mut io::sink()).expect("more and more");
    assert_eq!(read, 30_000_000);
}

#[test]
fn a_wrong_range_says_that_it_is_another() {
    let on = ranged(RangeFault::WrongRange);
    assert_eq!(on.header("content-range"), Some("bytes 1001-2000/1000000"));
    assert_eq!((on.status, &on.body[..999]), (206, &right()[1..]));

    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::WrongRange, &store.url);
    let before = asked(&proxy, "/it", Some("999990-999999")).expect("an answer");
    assert_eq!(before.header("content-range"), Some("bytes 999989-999998/1000000"));
    assert_eq!((before.body.len(), &before.body[1..]), (10, &object()[999_990..999_999]));
    let all = asked(&proxy, "/it", Some("0-999999")).expect("an answer");
    assert_eq!(all.header("content-range"), Some("bytes 0-999998/1000000"));
    assert_eq!(all.body, object()[..SIZE - 1]);
}

#[test]
fn everything_instead_of_a_range_has_the_range_in_its_place() {
    let whole = ranged(RangeFault::Whole200);
    assert_eq!((whole.status, whole.header("content-range"), whole.body.len()), (200, None, SIZE));
    assert_eq!(whole.body[1000..2000], right());
    assert!(whole.body[..1000].iter().chain(&whole.body[2000..]).all(|byte| *byte == 0));
}

#[test]
fn another_etag_comes_after_right_ones() {
    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::OtherEtag { after: 2 }, &store.url);
    let etag = || {
        let answer = asked(&proxy, "/it", Some("0-9")).expect("an answer");
        assert_eq!(answer.body, object()[..10]);
        answer.header("etag").expect("an ETag").to_owned()
    };
    assert_eq!((etag(), etag()), (etag_of_the_store(), etag_of_the_store()));
    assert_eq!((etag(), etag()), ("\"10000000-0\"".to_owned(), "\"10000000-0\"".to_owned()));
}

fn etag_of_the_store() -> String {
    "\"0123abcd-2\"".to_owned()
}

#[test]
fn wrong_bytes_have_the_right_length() {
    let wrong = ranged(RangeFault::WrongBytes);
    assert_eq!((wrong.status, wrong.body.len()), (206, 1000));
    assert_eq!(differing(&wrong.body, &right()), [500]);
    // In a body of several pieces, too.
    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::WrongBytes, &store.url);
    let all = asked(&proxy, "/it", Some("0-999999")).expect("an answer").body;
    assert_eq!(differing(&all, &object()), [SIZE / 2]);
}

/// Where they differ.
fn differing(one: &[u8], other: &[u8]) -> Vec<usize> {
    assert_eq!(one.len(), other.len());
    (0..one.len()).filter(|at| one[*at] != other[*at]).collect()
}

#[test]
fn another_size_or_header_comes_with_the_right_bytes() {
    let other = ranged(RangeFault::OtherSize);
    assert_eq!((other.header("content-range"), &other.body), (Some("bytes 1000-1999/1000001"), &right()));
    let other = ranged(RangeFault::header("Content-Range", None));
    assert_eq!((other.header("content-range"), &other.body), (None, &right()));
    assert_eq!(ranged(RangeFault::header("etag", Some("W/\"x\""))).header("etag"), Some("W/\"x\""));
}

#[test]
fn a_body_that_stalls_comes_to_a_point_and_ends_with_the_server() {
    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::StallAfter { bytes: 100 }, &store.url);
    let mut stream = TcpStream::connect(proxy.url().trim_start_matches("http://")).expect("it listens");
    stream.write_all(b"GET /it HTTP/1.1\r\nhost: a\r\nrange: bytes=0-999\r\n\r\n").expect("sent");
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        (&mut stream).take(1).read_to_end(&mut read).expect("the head");
    }
    let mut come = [0; 100];
    stream.read_exact(&mut come).expect("so many bytes");
    assert_eq!(come, object()[..100]);
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let error = stream.read(&mut [0]).expect_err("nothing more comes");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    drop(proxy);
    assert_eq!(stream.read(&mut [0]).expect("it is closed"), 0);
}

#[test]
fn a_body_is_cut_so_many_times() {
    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::CutAfter { bytes: 100, times: 2 }, &store.url);
    for _ in 0..2 {
        let error = asked(&proxy, "/it", Some("1000-1999")).expect_err("it is cut");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    assert_eq!(asked(&proxy, "/it", Some("1000-1999")).expect("an answer").body, right());
}

#[test]
fn a_redirect_leads_elsewhere_or_nowhere() {
    let to = RangeFault::Redirect { code: 302, to: "http://localhost:1/x".to_owned() };
    let answer = ranged(to);
    assert_eq!((answer.status, answer.header("location")), (302, Some("http://localhost:1/x/it?a=b")));
    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::EndlessRedirect, &store.url);
    let answer = asked(&proxy, "/it?a=b", Some("0-9")).expect("an answer");
    let here = format!("{}/it?a=b", proxy.url());
    assert_eq!((answer.status, answer.header("location")), (307, Some(here.as_str())));
}

#[test]
fn errors_of_s3_have_their_code_and_their_time() {
    let code = |answer: &Response, code: &str| answer.text().contains(&format!("<Code>{code}</Code>"));
    let skew = ranged(RangeFault::ClockSkew);
    assert!(skew.status == 403 && code(&skew, "RequestTimeTooSkewed"), "{skew:?}");
    assert!(skew.header("date").is_some_and(|date| date.contains("2099")));
    assert_eq!(
        (skew.header("content-type"), ranged(RangeFault::status(500)).status),
        (Some("application/xml"), 500)
    );

    let store = store();
    let statuses = |fault| {
        let proxy = RangeFaultServer::start(fault, &store.url);
        [(); 3].map(|()| asked(&proxy, "/it", Some("0-9")).expect("an answer"))
    };
    let [first, second, third] = statuses(RangeFault::SlowDown { times: 2 });
    assert!(code(&first, "SlowDown"));
    assert_eq!([first.status, second.status, third.status], [503, 503, 206]);
    let [first, second, third] = statuses(RangeFault::ExpiredToken { after: 2 });
    assert!(code(&third, "ExpiredToken"));
    assert_eq!([first.status, second.status, third.status], [206, 206, 400]);
    let body = "{}".to_owned();
    let [first, second, _] = statuses(RangeFault::Status { code: 429, times: 1, retry_after: Some(7), body });
    assert_eq!((first.status, first.header("retry-after"), first.text().as_str()), (429, Some("7"), "{}"));
    assert_eq!(second.status, 206);
}

#[test]
fn gzip_is_what_it_says_and_another_number_of_bytes() {
    let answer = ranged(RangeFault::Gzip);
    assert_eq!((answer.status, answer.header("content-encoding")), (206, Some("gzip")));
    let mut python = std::process::Command::new("python3");
    python
        .args(["-c", "import gzip, sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))"]);
    let plain = testkit::capture_within(&mut python, &answer.body, Duration::from_secs(60));
    assert_eq!(plain.expect("Python runs").expect_code(0).stdout, right());
}

#[test]
fn a_delay_is_waited_for_and_a_throttle_is_for_all_bodies_together() {
    let start = Instant::now();
    assert_eq!(ranged(RangeFault::Delay(Duration::from_millis(300))).body, right());
    assert!(start.elapsed() >= Duration::from_millis(300));

    let store = store();
    let proxy = RangeFaultServer::start(RangeFault::Throttle { bytes_per_second: 4_000_000 }, &store.url);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(asked(&proxy, "/it", Some("0-999999")).expect("an answer").body, object());
            });
        }
    });
    assert!(start.elapsed() >= Duration::from_millis(950), "{:?}", start.elapsed());
}

#[test]
fn only_what_the_scope_chooses_goes_wrong() {
    let store = store();
    let status = |scope: &Scope, path: &str, range: Option<&str>| {
        let proxy = RangeFaultServer::on(scope.clone(), RangeFault::status(500), &store.url);
        asked(&proxy, path, range).expect("an answer").status
    };
    let range = Some("0-9");
    for (scope, with_range, without) in [
        (Scope::ranges(), 500, 200),
        (Scope::gets(), 500, 500),
        (Scope::everything(), 500, 500),
        (Scope::heads(), 206, 200),
    ] {
        assert_eq!((status(&scope, "/it", range), status(&scope, "/it", None)), (with_range, without));
    }
    let weights = Scope::ranges().suffix(".safetensors");
    assert_eq!(status(&weights, "/a.safetensors?x", range), 500);
    assert_eq!(status(&weights, "/a.json?x=.safetensors", range), 206);
    let listing = Scope::gets().query("list-type=2");
    assert_eq!(status(&listing, "/bucket?list-type=2&prefix=a", None), 500);
    assert_eq!(status(&listing, "/bucket/list-type=2", None), 200);

    let proxy = RangeFaultServer::on(Scope::heads(), RangeFault::status(500), &store.url);
    let mut stream = TcpStream::connect(proxy.url().trim_start_matches("http://")).expect("it listens");
    stream.write_all(b"HEAD /it HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut head = String::new();
    stream.read_to_string(&mut head).expect("text");
    assert!(head.starts_with("HTTP/1.1 500 ") && head.ends_with("\r\n\r\n"), "{head}");
}
