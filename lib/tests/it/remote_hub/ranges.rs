//! Ranges of large files, from servers that give others, or none.

use testkit::range_faults::{RangeFault, RangeFaultServer};
use weightseal::Class;

use super::*;

const LARGE: &str = "model.safetensors";

/// A model whose large files come through a server that goes wrong.
fn through(fault: RangeFault) -> (Double, RangeFaultServer) {
    let hub = double(&model());
    let proxy = RangeFaultServer::start(fault, hub.cdn_url());
    hub.cdn_through(proxy.url());
    (hub, proxy)
}

fn impatient(hub: &Double) -> Hub {
    let options = options(hub).silence(Duration::from_millis(300));
    Hub::open(&uri("hf://acme/llama"), &options, &Run::new()).unwrap()
}

fn part(hub: &Hub, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
    hub.fetch(&entry(hub, LARGE), range, Vec::new(), &Run::new())
}

fn whole() -> Vec<u8> {
    model()[LARGE].clone()
}

#[test]
fn ranges_are_read_from_elsewhere_without_the_token_and_asked_for_once() {
    let (hub, proxy) = through(RangeFault::Pass);
    let opened = opened(&hub);
    for (from, to) in [(0, 1), (0, 300_001), (300_000, 300_001), (1000, 70_000)] {
        let read = part(&opened, from..to).unwrap();
        assert_eq!(read, whole()[from as usize..to as usize]);
    }
    // A buffer's memory is used again.
    let buffer = Vec::with_capacity(1 << 20);
    let address = buffer.as_ptr();
    let read = opened.fetch(&entry(&opened, LARGE), 5..5000, buffer, &Run::new()).unwrap();
    assert_eq!((read.as_ptr(), &read[..]), (address, &whole()[5..5000]));
    assert!(part(&opened, 7..7).unwrap().is_empty());
    assert_eq!((hub.asked("/resolve/"), proxy.requests()), (1, 5));
    assert!(hub.received(hub.token()) && !hub.cdn_received(hub.token()) && !proxy.received(hub.token()));
    for request in proxy.seen() {
        assert!(request.header("authorization").is_none() && request.header("cookie").is_none());
        assert!(request.header("referer").is_none());
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
}

#[test]
fn many_threads_ask_once_where_a_file_lies() {
    let (hub, proxy) = through(RangeFault::Delay(Duration::from_millis(20)));
    let opened = opened(&hub);
    let listed = entry(&opened, LARGE);
    std::thread::scope(|scope| {
        for number in 0..24 {
            let (opened, listed) = (&opened, &listed);
            scope.spawn(move || {
                let range = number * 10_000..(number + 1) * 10_000;
                let read = opened.fetch(listed, range.clone(), Vec::new(), &Run::new()).unwrap();
                assert_eq!(read, whole()[range.start as usize..range.end as usize]);
            });
        }
    });
    assert_eq!((hub.asked("/resolve/"), proxy.requests()), (1, 24));
}

#[test]
fn an_answer_that_is_not_the_range_is_refused() {
    for (fault, code) in [
        (RangeFault::LongBody, Code::ServiceFailed),
        (RangeFault::EndlessBody, Code::ServiceFailed),
        (RangeFault::WrongRange, Code::ServiceFailed),
        (RangeFault::Whole200, Code::ServiceFailed),
        (RangeFault::OtherSize, Code::ChangedWhileRead),
        (RangeFault::Gzip, Code::ServiceFailed),
        (RangeFault::header("content-range", None), Code::ServiceFailed),
        (RangeFault::header("content-range", Some("bytes 1000-1999/*")), Code::ServiceFailed),
        (RangeFault::EndlessRedirect, Code::ServiceFailed),
        (RangeFault::Redirect { code: 302, to: "ftp://127.0.0.1".to_owned() }, Code::ServiceFailed),
        (RangeFault::Redirect { code: 302, to: "file://".to_owned() }, Code::ServiceFailed),
        (RangeFault::ClockSkew, Code::ServiceFailed),
        (RangeFault::status(404), Code::ServiceFailed),
        (RangeFault::status(416), Code::ChangedWhileRead),
        (RangeFault::status(501), Code::ServiceFailed),
    ] {
        let (hub, proxy) = through(fault.clone());
        let text = fails(part(&opened(&hub), 1000..2000), code);
        assert!(!text.contains("/cdn/") || !text.contains('?'), "{fault:?}: {text}");
        // Nothing of it is tried without an end.
        assert!(proxy.requests() <= 6, "{fault:?}: {}", proxy.requests());
        assert!(!proxy.received(hub.token()));
    }
    let (hub, _proxy) = through(RangeFault::OtherEtag { after: 1 });
    let opened = opened(&hub);
    assert!(part(&opened, 0..10).is_ok());
    fails(part(&opened, 10..20), Code::ChangedWhileRead);
    // The whole may come as the whole.
    let (hub, _proxy) = through(RangeFault::Whole200);
    assert_eq!(fetch(&self::opened(&hub), LARGE).unwrap(), whole());
}

#[test]
fn what_was_cut_is_read_on_from_there() {
    for fault in [
        RangeFault::CutAfter { bytes: 1000, times: 3 },
        RangeFault::CutAfter { bytes: 0, times: 2 },
        RangeFault::StallAfter { bytes: 100_000 },
        RangeFault::SlowDown { times: 2 },
        RangeFault::Status { code: 429, times: 1, retry_after: Some(1), body: String::new() },
        RangeFault::Status { code: 500, times: 2, retry_after: None, body: String::new() },
    ] {
        let (hub, proxy) = through(fault.clone());
        assert_eq!(fetch(&impatient(&hub), LARGE).unwrap(), whole(), "{fault:?}");
        let seen = proxy.seen();
        if let RangeFault::CutAfter { bytes: 1000, .. } = fault {
            assert_eq!(seen[3].header("range"), Some("bytes=3000-300000"));
        }
        assert!(seen.len() >= 2);
    }
}

#[test]
fn nothing_is_tried_past_the_end_of_the_run() {
    for fault in [
        RangeFault::StallAfter { bytes: 0 },
        RangeFault::ShortBody,
        RangeFault::CutAfter { bytes: 0, times: usize::MAX },
        RangeFault::status(503),
    ] {
        let (hub, _proxy) = through(fault.clone());
        let opened = impatient(&hub);
        let listed = entry(&opened, LARGE);
        let run = Run::new().deadline(Duration::from_millis(1200));
        let error = opened.fetch(&listed, 0..1000, Vec::new(), &run).unwrap_err();
        assert_eq!(error.class(), Class::CouldNotTell, "{fault:?}: {error}");
    }
    // And not for ever without one.
    let (hub, proxy) = through(RangeFault::ShortBody);
    let text = fails(part(&impatient(&hub), 0..1000), Code::ServiceFailed);
    assert!(text.contains("attempts") && proxy.requests() < 10, "{text}");
}

#[test]
fn a_link_that_ends_is_asked_for_again_once() {
    let hub = double(&model());
    let opened = opened(&hub);
    hub.misbehave(HubFault::LinksExpire { after: 2 });
    for number in 0..7 {
        assert_eq!(part(&opened, number..number + 10).unwrap().len(), 10);
    }
    assert_eq!(hub.asked("/resolve/"), 4);
    // One that never works is no reason to go on.
    hub.misbehave(HubFault::LinksExpire { after: 0 });
    hub.forget();
    fails(part(&opened, 0..10), Code::ServiceFailed);
    assert!(hub.asked("/resolve/") <= 2);
    let (hub, _proxy) = through(RangeFault::ExpiredToken { after: 1 });
    let opened = self::opened(&hub);
    assert!(part(&opened, 0..10).is_ok());
    fails(part(&opened, 0..10), Code::ServiceFailed);
}

#[test]
fn redirects_are_followed_a_few_times_and_never_with_the_token() {
    let hub = double(&model());
    let last = RangeFaultServer::start(RangeFault::Pass, hub.cdn_url());
    let to = |url: &str| RangeFault::Redirect { code: 307, to: url.to_owned() };
    let mut chain = vec![last];
    for _ in 0..5 {
        let next = RangeFaultServer::start(to(chain[chain.len() - 1].url()), hub.cdn_url());
        chain.push(next);
    }
    let opened = opened(&hub);
    for (length, works) in [(1, true), (4, true), (5, false)] {
        hub.misbehave(HubFault::RedirectTo(chain[length].url().to_owned()));
        let fresh = self::opened(&hub);
        let read = part(&fresh, 5..500);
        match works {
            true => assert_eq!(read.unwrap(), whole()[5..500], "{length}"),
            false => drop(fails(read, Code::ServiceFailed)),
        }
    }
    assert!(chain.iter().all(|server| server.requests() > 0 && !server.received(hub.token())));
    for elsewhere in ["ftp://127.0.0.1", "http://user:pass@127.0.0.1:9", "javascript:", "http://"] {
        hub.misbehave(HubFault::RedirectTo(elsewhere.to_owned()));
        fails(part(&self::opened(&hub), 0..10), Code::ServiceFailed);
    }
    hub.misbehave(HubFault::RedirectLoops);
    fails(part(&opened, 0..10), Code::ServiceFailed);
    // The loop is on the Hub's own host, and is walked without the token.
    let seen = hub.seen();
    let with_token = seen.iter().filter(|request| request.path.contains("/resolve/"));
    let with_token = with_token.filter(|request| request.header("authorization").is_some()).count();
    assert!(with_token < hub.asked("/resolve/"));
}

#[test]
fn small_files_are_read_in_parts_even_where_they_come_whole() {
    let hub = double(&model());
    let proxy = RangeFaultServer::start(RangeFault::Whole200, hub.url());
    let options = options(&hub).endpoint(proxy.url());
    let opened = Hub::open(&uri("hf://acme/llama"), &options, &Run::new()).unwrap();
    let listed = entry(&opened, "README.md");
    let read = opened.fetch(&listed, 2..5, Vec::new(), &Run::new());
    assert_eq!(read.unwrap(), b"A m");
    let proxy = RangeFaultServer::start(
        RangeFault::header("etag", Some("\"0000000000000000000000000000000000000000\"")),
        hub.url(),
    );
    let options = options.endpoint(proxy.url());
    let opened = Hub::open(&uri("hf://acme/llama"), &options, &Run::new()).unwrap();
    fails(fetch(&opened, "README.md"), Code::ChangedWhileRead);
}
