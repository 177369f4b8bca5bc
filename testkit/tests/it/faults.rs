//! The server of faults goes wrong in the way it was asked to, and in no other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testkit::faults::{Fault, FaultServer};
use testkit::http::{get, post, send};

fn body() -> &'static [u8] {
    br#"{"token": "secret"}"#
}

/// What comes of a post to a server in front of another one, which answers with an empty object.
fn posted(fault: Fault) -> (FaultServer, FaultServer, std::io::Result<testkit::http::Response>) {
    let real = FaultServer::start(Fault::Pass, "");
    let server = FaultServer::start(fault, real.url());
    let answer = post(&format!("{}/api?x", server.url()), "application/json", body());
    (server, real, answer)
}

#[test]
fn a_status_comes_with_its_reason_and_its_headers() {
    let (server, real, answer) = posted(Fault::forbidden("the issuer is not known"));
    let answer = answer.expect("HTTP");
    assert_eq!((answer.status, answer.header("content-type")), (403, Some("application/json")));
    let reason: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(reason["message"], "the issuer is not known");
    assert_eq!((server.requests(), real.requests()), (1, 0));

    let answer = posted(Fault::too_many(7)).2.expect("HTTP");
    assert_eq!((answer.status, answer.header("Retry-After")), (429, Some("7")));
    assert_eq!(posted(Fault::internal()).2.expect("HTTP").status, 500);
}

#[test]
fn a_server_that_fails_first_passes_on_afterwards() {
    let (server, real, answer) = posted(Fault::unavailable(2));
    assert_eq!(answer.expect("HTTP").status, 503);
    let again = || post(&format!("{}/api?x", server.url()), "application/json", body()).expect("HTTP");
    assert_eq!((again().status, real.requests()), (503, 0));
    let answer = again();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert_eq!((server.requests(), real.requests()), (3, 1));

    let passed_on = &real.seen()[0];
    assert_eq!((passed_on.method.as_str(), passed_on.path.as_str()), ("POST", "/api?x"));
    assert_eq!(
        (passed_on.header("content-type"), passed_on.body.as_slice()),
        (Some("application/json"), body())
    );
}

#[test]
fn a_redirect_shows_whether_a_secret_came_along() {
    let target = FaultServer::start(Fault::Pass, "");
    let server = FaultServer::start(Fault::Redirect { code: 307, to: target.url().to_owned() }, "");
    let answer = post(&format!("{}/api", server.url()), "application/json", body()).expect("HTTP");
    let location = answer.header("location").expect("where to");
    assert_eq!((answer.status, location), (307, format!("{}/api", target.url()).as_str()));
    assert!(server.received("secret") && !target.received("secret"));

    let header = ("Authorization".to_owned(), "Bearer other".to_owned());
    send("POST", location, &[header], body()).expect("HTTP");
    assert!(target.received("secret") && target.received("other"), "{:?}", target.seen());
    assert!(!target.received("neither"));
}

#[test]
fn a_cut_answer_announces_more_than_it_has() {
    let (_server, real, answer) = posted(Fault::Cut);
    assert_eq!(answer.expect_err("it is cut").kind(), ErrorKind::UnexpectedEof);
    assert_eq!(real.requests(), 1);
}

#[test]
fn an_answer_is_as_large_as_was_asked_for() {
    let answer = posted(Fault::Huge { bytes: 5_000_000 }).2.expect("HTTP");
    assert_eq!((answer.status, answer.body.len()), (201, 5_000_000));
    assert_eq!(Fault::huge(), Fault::Huge { bytes: 300_000_000 });
}

#[test]
fn garbage_is_no_json_or_not_even_http() {
    let answer = posted(Fault::Garbage).2.expect("HTTP");
    assert_eq!((answer.status, answer.header("content-type")), (201, Some("application/json")));
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());
    assert_eq!(posted(Fault::NotHttp).2.expect_err("no HTTP").kind(), ErrorKind::InvalidData);
}

#[test]
fn a_delay_is_waited_for() {
    let start = Instant::now();
    let answer = posted(Fault::Delay(Duration::from_millis(300))).2.expect("HTTP");
    assert!(answer.status == 200 && start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_server_that_stalls_answers_nothing_until_it_is_dropped() {
    let server = FaultServer::start(Fault::Stall, "");
    let mut stream =
        TcpStream::connect(server.url().trim_start_matches("http://")).expect("somebody is there");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let error = stream.read(&mut [0; 8]).expect_err("nothing comes");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    assert_eq!(server.requests(), 1);
    drop(server);
    assert_eq!(stream.read(&mut [0; 8]).expect("it is closed"), 0);
}

#[test]
fn a_server_that_closes_counts_who_came() {
    let server = FaultServer::start(Fault::Close, "");
    for come in 1..=3 {
        get(server.url()).expect_err("it is closed");
        assert_eq!((server.requests(), server.seen().len()), (come, 0));
    }
}
