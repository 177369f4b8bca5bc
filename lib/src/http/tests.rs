use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use super::*;

/// A server on this machine that answers each connection as it is told, and remembers what was asked.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers the connections in turn, and every later one as the last.
    fn start(answers: Vec<Answering>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&seen);
        thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                heard.lock().unwrap().push(request(&mut stream));
                match &answers[count.min(answers.len() - 1)] {
                    Answering::Say(bytes) => drop(stream.write_all(bytes)),
                    Answering::Nothing => drop(thread::spawn(move || {
                        thread::sleep(Duration::from_secs(20));
                        drop(stream);
                    })),
                }
            }
        });
        Server { url, seen }
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn get(&self) -> Call {
        Call::get("the service", format!("{}/path?secret=1", self.url))
    }
}

enum Answering {
    Say(Vec<u8>),
    /// Keeps the connection open and is silent.
    Nothing,
}

fn request(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse::<usize>().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn say(status: &str, headers: &str, body: &str) -> Answering {
    let length = body.len();
    Answering::Say(
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
            .into_bytes(),
    )
}

fn failed(call: &Call, run: &Run) -> String {
    let error = Http::new().unwrap().call(call, run).unwrap_err();
    assert_eq!(error.code(), Code::ServiceFailed, "{error}");
    let text = error.to_string();
    assert!(!text.contains("secret"), "{text}");
    text
}

#[test]
fn an_answer_of_success_is_given_and_the_agent_names_itself() {
    let server = Server::start(vec![say("201 Created", "location: /there\r\n", "made")]);
    let call = Call::post("the service", format!("{}/x", server.url), "text/plain", b"body".to_vec());
    let answer = Http::new().unwrap().call(&call, &Run::new()).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (201, &b"made"[..]));
    assert_eq!(answer.location.as_deref(), Some("/there"));
    let seen = server.seen.lock().unwrap()[0].to_ascii_lowercase();
    assert!(seen.contains("user-agent: weightseal/") && seen.ends_with("body"), "{seen}");
}

#[test]
fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    let server = Server::start(vec![
        say("503 Unavailable", "", ""),
        Answering::Say(Vec::new()),
        say("200 OK", "", "at last"),
    ]);
    assert_eq!(Http::new().unwrap().call(&server.get(), &Run::new()).unwrap().body, b"at last");
    assert_eq!(server.requests(), 3);

    let server = Server::start(vec![say("400 Bad Request", "", r#"{"message":"no such thing"}"#)]);
    let text = failed(&server.get(), &Run::new());
    assert_eq!(text, format!("the service at {}/path: answered 400 Bad Request: no such thing", server.url));
    assert_eq!(server.requests(), 1);
    assert_eq!(Http::new().unwrap().send(&server.get(), &Run::new()).unwrap().status, 400);
}

#[test]
fn what_does_not_pass_is_told_with_the_number_of_attempts() {
    let server = Server::start(vec![say("500 Oops", "", "sorry")]);
    let text = failed(&server.get(), &Run::new());
    assert!(text.ends_with("answered 500 Internal Server Error: sorry (4 attempts)"), "{text}");
    assert_eq!(server.requests(), 4);
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for_within_the_time_of_the_run() {
    let server = Server::start(vec![say("429 Slow", "retry-after: 1\r\n", ""), say("200 OK", "", "now")]);
    let begun = Instant::now();
    assert_eq!(Http::new().unwrap().call(&server.get(), &Run::new()).unwrap().body, b"now");
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let server = Server::start(vec![say("429 Slow", "retry-after: 30\r\n", "")]);
    let begun = Instant::now();
    let text = failed(&server.get(), &Run::new().deadline(Duration::from_secs(3)));
    assert!(text.contains("asks to wait 30 s"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let other = Server::start(vec![say("200 OK", "", "wrong")]);
    let server =
        Server::start(vec![say("307 Elsewhere", &format!("location: {}/x?secret=2\r\n", other.url), "")]);
    let text = failed(&server.get(), &Run::new());
    assert!(
        text.ends_with(&format!("answered 307 with a redirect to {}/x, which is not followed", other.url)),
        "{text}"
    );
    assert_eq!(other.requests(), 0);
}

#[test]
fn an_answer_past_its_limit_is_not_read() {
    let told = Server::start(vec![Answering::Say(
        b"HTTP/1.1 200 OK\r\ncontent-length: 300000000\r\n\r\n  ".to_vec(),
    )]);
    assert!(failed(&told.get(), &Run::new()).ends_with("answered with more than 1.0 MB"));
    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    endless.resize(2000, b' ');
    let untold = Server::start(vec![Answering::Say(endless)]);
    assert!(failed(&untold.get().limit(1000), &Run::new()).ends_with("answered with more than 1.0 kB"));
    assert_eq!((told.requests(), untold.requests()), (1, 1));
}

#[test]
fn causes_are_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let call = Call::get("the service", format!("http://{closed}/?secret"));
    let text = failed(&call, &Run::new());
    assert!(text.contains("cannot be connected to") && text.contains("Connection refused"), "{text}");

    let call = Call::get("the service", "http://name.invalid/?secret");
    let text = failed(&call, &Run::new().deadline(Duration::from_secs(8)));
    assert!(text.contains("its name cannot be resolved"), "{text}");

    // It speaks no TLS, and answers the greeting at once.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let call = Call::get("the service", format!("https://{}/?secret", plain.local_addr().unwrap()));
    thread::spawn(move || {
        for stream in plain.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let text = failed(&call, &Run::new().deadline(Duration::from_secs(8)));
    assert!(text.contains("cannot be connected to") && text.contains("corrupt message"), "{text}");

    let cut =
        Server::start(vec![Answering::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec())]);
    let text = failed(&cut.get(), &Run::new());
    assert!(text.contains("the connection failed: ") && text.ends_with("(4 attempts)"), "{text}");

    let babble = Server::start(vec![Answering::Say(b"\x00\xffnot http at all\r\n\r\n".to_vec())]);
    assert!(failed(&babble.get(), &Run::new()).contains("the connection failed: "));

    for url in ["ftp://host/?secret", "file:///etc/passwd?secret", "nothing"] {
        assert!(failed(&Call::get("the service", url), &Run::new()).contains("not a URL of http"));
    }
}

#[test]
fn a_silent_server_costs_no_more_than_the_time_of_the_run() {
    let server = Server::start(vec![Answering::Nothing]);
    let begun = Instant::now();
    let text = failed(&server.get(), &Run::new().deadline(Duration::from_millis(700)));
    assert!(text.contains("gave no whole answer within 0."), "{text}");
    assert!(begun.elapsed() < Duration::from_millis(1500));
}

#[test]
fn roots_for_tls_are_certificates() {
    for bad in [&b""[..], b"none", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(Http::with_ca(bad).unwrap_err().code(), Code::KeyMalformed);
    }
}
