//! A store that goes wrong: each fault has its code, and none of them is ever good content.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use testkit::{
    or_skip,
    range_faults::{RangeFault, RangeFaultServer, Scope},
    s3::{Bucket, Store, plain_minio},
};
use weightseal::{Cancel, Code, Entry, Error, Run, S3, S3Options, Source as _};

use super::{bytes, files_of, open, options, read, refused, soon};
use crate::source_contract;

const LENGTH: usize = 3 << 20;

/// One bucket with one model for all tests here: nobody writes to it.
fn model() -> Option<(&'static Store, &'static str)> {
    static BUCKET: OnceLock<String> = OnceLock::new();
    let store = or_skip(plain_minio())?;
    let bucket = BUCKET.get_or_init(|| {
        let bucket = store.bucket(Bucket::default());
        store.put(&bucket, "m/a", &bytes(LENGTH));
        store.put(&bucket, "m/b", &bytes(1000));
        bucket
    });
    Some((store, bucket))
}

struct Faulty {
    proxy: RangeFaultServer,
    model: S3,
    entry: Entry,
}

impl Faulty {
    /// The model behind a proxy, opened and listed, which is none of the faults.
    fn new(fault: RangeFault) -> Option<Faulty> {
        Faulty::with(fault, |options| options)
    }

    fn with(fault: RangeFault, set: impl FnOnce(S3Options) -> S3Options) -> Option<Faulty> {
        let (store, bucket) = model()?;
        let proxy = RangeFaultServer::start(fault, store.url());
        let options = set(options(store).endpoint_url(proxy.url()).stall_after(Duration::from_millis(500)));
        let model = open(&format!("s3://{bucket}/m"), &options).unwrap();
        let entry = files_of(&model).swap_remove(0);
        Some(Faulty { proxy, model, entry })
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        read(&self.model, &self.entry)
    }
}

/// Demands that a fault has this code, on a range in the middle of a file.
#[track_caller]
fn is(fault: RangeFault, code: Code) -> Option<String> {
    let faulty = Faulty::new(fault)?;
    let what = refused(faulty.model.fetch(&faulty.entry, 1000..200_000, Vec::new(), &soon()), code);
    assert!(!what.contains("Signature"), "{what}");
    Some(what)
}

#[test]
fn a_proxy_that_only_passes_on_is_no_fault() {
    let Some(faulty) = Faulty::new(RangeFault::Pass) else { return };
    assert_eq!(faulty.read().unwrap(), bytes(LENGTH));
    assert_eq!(faulty.proxy.chosen(), 1);
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_refused() {
    for (fault, code) in [
        (RangeFault::LongBody, Code::ServiceFailed),
        (RangeFault::EndlessBody, Code::ServiceFailed),
        (RangeFault::WrongRange, Code::ServiceFailed),
        (RangeFault::Whole200, Code::ServiceFailed),
        (RangeFault::OtherEtag { after: 0 }, Code::ChangedWhileRead),
        (RangeFault::OtherSize, Code::ChangedWhileRead),
        (RangeFault::header("etag", None), Code::ServiceFailed),
        (RangeFault::header("content-range", None), Code::ServiceFailed),
        (RangeFault::header("content-range", Some("bytes 1000-199999/*")), Code::ServiceFailed),
        (RangeFault::Redirect { code: 301, to: "http://127.0.0.1:1".to_owned() }, Code::ServiceFailed),
        (RangeFault::Redirect { code: 307, to: "http://127.0.0.1:1".to_owned() }, Code::ServiceFailed),
        (RangeFault::EndlessRedirect, Code::ServiceFailed),
        (RangeFault::Gzip, Code::ServiceFailed),
        (RangeFault::status(400), Code::ServiceFailed),
        (RangeFault::status(401), Code::AccessDenied),
        (RangeFault::status(403), Code::AccessDenied),
        (RangeFault::status(404), Code::ServiceFailed),
        (RangeFault::status(412), Code::ChangedWhileRead),
        (RangeFault::status(416), Code::ChangedWhileRead),
        (RangeFault::status(501), Code::ServiceFailed),
    ] {
        let told = format!("{fault:?}");
        if is(fault, code).is_none() {
            return;
        }
        println!("{told}: {code}");
    }
}

#[test]
fn a_body_that_is_always_short_is_no_answer() {
    let Some(what) = is(RangeFault::ShortBody, Code::ServiceFailed) else { return };
    assert!(what.contains("(6 attempts)"), "{what}");
}

#[test]
fn an_object_that_becomes_another_one_between_two_ranges_is_noticed() {
    let Some(faulty) = Faulty::new(RangeFault::OtherEtag { after: 1 }) else { return };
    let part = |range| faulty.model.fetch(&faulty.entry, range, Vec::new(), &soon());
    assert_eq!(part(0..1000).unwrap(), bytes(LENGTH)[..1000]);
    let error = part(1000..2000).unwrap_err();
    assert_eq!((error.code(), error.finding().name.as_deref()), (Code::ChangedWhileRead, Some("a")));
}

#[test]
fn wrong_bytes_are_given_as_they_are_since_they_are_hashed() {
    let Some(faulty) = Faulty::new(RangeFault::WrongBytes) else { return };
    let read = faulty.read().unwrap();
    assert!(read.len() == LENGTH && read != bytes(LENGTH));
}

#[test]
fn a_cut_answer_is_gone_on_with_where_it_was_cut() {
    let Some(faulty) = Faulty::new(RangeFault::CutAfter { bytes: 400_000, times: 7 }) else { return };
    assert_eq!(faulty.read().unwrap(), bytes(LENGTH));
    let ranges: Vec<String> =
        faulty.proxy.seen().iter().filter_map(|request| request.header("range").map(str::to_owned)).collect();
    assert!(ranges.len() > 7, "{ranges:?}");
    assert!(ranges.windows(2).all(|pair| pair[0] != pair[1]), "{ranges:?}");
    assert!(ranges.iter().all(|range| range.ends_with(&format!("-{}", LENGTH - 1))), "{ranges:?}");
}

#[test]
fn a_stalled_answer_is_gone_on_with_and_one_without_a_byte_given_up() {
    // So much comes each time that six attempts are not enough, if those that gave something counted.
    let Some(faulty) = Faulty::new(RangeFault::StallAfter { bytes: 400_000 }) else { return };
    assert_eq!(faulty.read().unwrap(), bytes(LENGTH));
    let Some(faulty) = Faulty::new(RangeFault::StallAfter { bytes: 0 }) else { return };
    let what = refused(faulty.read(), Code::ServiceFailed);
    assert!(what.contains("(6 attempts)"), "{what}");
    assert_eq!(faulty.proxy.chosen(), 6);
}

#[test]
fn a_store_that_gives_little_each_time_is_given_up() {
    let Some(faulty) = Faulty::new(RangeFault::CutAfter { bytes: 1, times: usize::MAX }) else { return };
    let late = Run::new().deadline(Duration::from_secs(60));
    let asked = faulty.model.fetch(&faulty.entry, 0..1000, Vec::new(), &late);
    let what = refused(asked, Code::ServiceFailed);
    assert!(what.contains("(32 attempts)"), "{what}");
}

#[test]
fn a_busy_store_is_asked_again_and_not_for_ever() {
    for fault in [
        RangeFault::SlowDown { times: 2 },
        RangeFault::Status { code: 429, times: 2, retry_after: Some(1), body: String::new() },
        RangeFault::Status { code: 500, times: 2, retry_after: None, body: "<html>oops</html>".to_owned() },
    ] {
        let Some(faulty) = Faulty::new(fault) else { return };
        assert_eq!(faulty.read().unwrap(), bytes(LENGTH));
        assert_eq!(faulty.proxy.chosen(), 3);
    }
    let Some(faulty) = Faulty::new(RangeFault::status(503)) else { return };
    refused(faulty.read(), Code::ServiceFailed);
    assert_eq!(faulty.proxy.chosen(), 6);
}

#[test]
fn no_wait_goes_past_the_end_of_the_run() {
    let long = RangeFault::Status { code: 503, times: 9, retry_after: Some(100), body: String::new() };
    let Some(faulty) = Faulty::new(long) else { return };
    let run = Run::new().deadline(Duration::from_secs(30));
    let what = refused(read_in(&faulty, &run), Code::ServiceFailed);
    assert!(what.contains("it asks to wait 100 s"), "{what}");
    assert_eq!(faulty.proxy.chosen(), 1);

    let Some(faulty) = Faulty::with(RangeFault::StallAfter { bytes: 10 }, |options| {
        options.stall_after(Duration::from_secs(600))
    }) else {
        return;
    };
    let begun = Instant::now();
    refused(read_in(&faulty, &Run::new().deadline(Duration::from_secs(1))), Code::DeadlinePassed);
    let cancel = Cancel::default();
    let run = Run::new().cancel(cancel.clone());
    let switch = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
    });
    refused(read_in(&faulty, &run), Code::Interrupted);
    switch.join().unwrap();
    // Not the 600 s of the stall.
    assert!(begun.elapsed() < Duration::from_secs(60));
}

fn read_in(faulty: &Faulty, run: &Run) -> Result<Vec<u8>, Error> {
    faulty.model.fetch(&faulty.entry, 0..faulty.entry.size, Vec::new(), run)
}

#[test]
fn credentials_whose_time_is_over_are_read_anew_once() {
    let Some(faulty) = Faulty::new(RangeFault::ExpiredToken { after: 1 }) else { return };
    assert!(faulty.model.fetch(&faulty.entry, 0..1000, Vec::new(), &soon()).is_ok());
    let error = faulty.read().unwrap_err();
    assert_eq!(error.code(), Code::AccessDenied);
    assert!(error.help().contains("get new ones"), "{}", error.help());
    assert_eq!(faulty.proxy.chosen(), 3);
}

#[test]
fn a_clock_that_differs_too_much_is_named() {
    let Some(faulty) = Faulty::new(RangeFault::ClockSkew) else { return };
    let error = faulty.read().unwrap_err();
    assert_eq!(error.code(), Code::ServiceFailed);
    assert!(error.help().contains("clock"), "{} {}", error, error.help());
}

#[test]
fn faults_of_lists_and_heads_have_their_codes_as_well() {
    let Some((store, bucket)) = model() else { return };
    let opened = |scope: Scope, fault: RangeFault| {
        let proxy = RangeFaultServer::on(scope, fault, store.url());
        let opened = open(&format!("s3://{bucket}/m"), &options(store).endpoint_url(proxy.url()));
        (proxy, opened)
    };
    let lists = || Scope::gets().query("list-type=2");
    for (fault, code) in [
        (RangeFault::status(403), Code::AccessDenied),
        (RangeFault::status(500), Code::ServiceFailed),
        (RangeFault::EndlessBody, Code::ServiceFailed),
        (RangeFault::Gzip, Code::ServiceFailed),
        (RangeFault::CutAfter { bytes: 100, times: usize::MAX }, Code::ServiceFailed),
        (RangeFault::Redirect { code: 301, to: "http://127.0.0.1:1".to_owned() }, Code::ServiceFailed),
    ] {
        let (_proxy, opened) = opened(lists(), fault);
        refused(opened, code);
    }
    for fault in [RangeFault::SlowDown { times: 1 }, RangeFault::CutAfter { bytes: 100, times: 1 }] {
        let (_proxy, opened) = opened(lists(), fault);
        assert_eq!(source_contract::list(&opened.unwrap(), &soon()).unwrap().len(), 2);
    }
    // A store that may not be asked about the object is not taken to have none.
    let (_proxy, denied) = opened(Scope::heads(), RangeFault::status(403));
    let error = denied.unwrap_err();
    assert_eq!(
        (error.code(), error.help()),
        (Code::AccessDenied, &*format!("write s3://{bucket}/m/ if the folder is meant"))
    );
    let proxy =
        RangeFaultServer::on(Scope::heads().suffix("/b"), RangeFault::OtherEtag { after: 0 }, store.url());
    let model = open(&format!("s3://{bucket}/m"), &options(store).endpoint_url(proxy.url())).unwrap();
    let files = files_of(&model);
    refused(model.stated(&files.iter().collect::<Vec<_>>(), &soon()), Code::ChangedWhileRead);
}

#[test]
fn a_bucket_in_another_region_is_named() {
    let Some((store, bucket)) = model() else { return };
    let fault = RangeFault::Status {
        code: 301,
        times: usize::MAX,
        retry_after: None,
        body: "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>".to_owned(),
    };
    let proxy = RangeFaultServer::on(Scope::everything(), fault, store.url());
    let what = refused(
        open(&format!("s3://{bucket}/m"), &options(store).endpoint_url(proxy.url())),
        Code::ServiceFailed,
    );
    assert!(what.contains("PermanentRedirect") && what.contains("is not followed"), "{what}");
}

#[test]
fn neither_secret_is_sent_nor_told() {
    let Some((store, bucket)) = model() else { return };
    let proxy = RangeFaultServer::on(Scope::everything(), RangeFault::status(500), store.url());
    let token = "a-session-token-which-is-secret";
    let options = options(store).endpoint_url(proxy.url()).credentials(
        store.access_key(),
        store.secret_key(),
        Some(token),
    );
    let error = open(&format!("s3://{bucket}/m"), &options).unwrap_err();
    assert!(proxy.received(token) && !proxy.received(store.secret_key()));
    let told = format!("{error} {error:?} {options:?}");
    assert!(!told.contains(token) && !told.contains(store.secret_key()), "{told}");
}

#[test]
fn many_reads_at_once_are_all_right() {
    let Some((store, bucket)) = model() else { return };
    let model = open(&format!("s3://{bucket}/m"), &options(store)).unwrap();
    let entry = files_of(&model).swap_remove(0);
    let expected = bytes(LENGTH);
    std::thread::scope(|scope| {
        for n in 0..24 {
            let (model, entry, expected) = (&model, &entry, &expected);
            scope.spawn(move || {
                let mut buffer = Vec::new();
                for round in 0..4 {
                    let from = (n * 4 + round) * 30_000;
                    let range = from as u64..(from + 100_000) as u64;
                    buffer = model.fetch(entry, range, buffer, &soon()).unwrap();
                    assert!(buffer == expected[from..from + 100_000], "{from}");
                }
            });
        }
    });
}
