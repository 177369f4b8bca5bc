//! The servers that speak S3 are real: what they say of an object is so, and what they refuse is refused.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use testkit::range_faults::{RangeFault, RangeFaultServer};
use testkit::s3::sdk::config::{Builder as Config, Credentials};
use testkit::s3::sdk::error::{ProvideErrorMetadata, SdkError};
use testkit::s3::sdk::types::{ChecksumMode, ServerSideEncryption};
use testkit::s3::{Bucket, KEY, Put, Store, build, minio, plain_minio, sse_c, versitygw};
use testkit::{models, or_skip, temporary};

/// The MD5 of `weights`, and its SHA-256 as S3 writes it.
const WEIGHTS_MD5: &str = "63f4f1e9b725370f459720575cd5f953";
const WEIGHTS_SHA256: &str = "mhKQONmgCu0M9qfqBZylCoE0SQYauHhIzxoT6v3zOyw=";

const MIB: usize = 1 << 20;

/// Bytes that repeat nowhere soon.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// The code of HTTP and of S3 that a call was refused with.
#[track_caller]
fn refused<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String) {
    let error = result.expect_err("it is refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    (status, code.unwrap_or_default().to_owned())
}

fn all() -> Vec<&'static Store> {
    [minio(), plain_minio(), versitygw()].into_iter().filter_map(or_skip).collect()
}

#[test]
fn what_was_put_is_there_in_parts_and_in_pages() {
    for store in all() {
        let bucket = store.bucket(Bucket::default());
        assert_eq!(store.keys(&bucket, ""), [""; 0]);
        let once = store.put(&bucket, "llama/config.json", b"{}");
        assert_eq!((once.etag.as_str(), once.version), ("99914b932bd37a50b983c5e7c90ae93b", None));
        let parts = store.put_multipart(&bucket, "llama/weights", &bytes(11 * MIB), 5 << 20);
        let (digest, count) = parts.etag.split_once('-').expect("hex-N");
        assert_eq!((digest.len(), count), (32, "3"), "{store:?}");
        assert_eq!(store.get(&bucket, "llama/weights").expect("it is there"), bytes(11 * MIB));
        assert_eq!(store.keys(&bucket, "llama/"), ["llama/config.json", "llama/weights"]);
        store.delete(&bucket, "llama/weights");
        assert_eq!(store.get(&bucket, "llama/weights"), None);

        let range = store.client().get_object().bucket(&bucket).key("llama/config.json").range("bytes=1-1");
        let range = store.wait(range.send()).expect("a range");
        assert_eq!((range.content_range(), range.content_length()), (Some("bytes 1-1/2"), Some(1)));
        let range = store.client().get_object().bucket(&bucket).key("llama/config.json").range("bytes=2-");
        assert_eq!(refused(store.wait(range.send())).0, 416);
        let other = store.client().get_object().bucket(&bucket).key("llama/config.json").if_match("\"0\"");
        assert_eq!(refused(store.wait(other.send())).0, 412);
    }
}

#[test]
fn a_folder_is_put_as_it_is() {
    let dir = temporary().expect("temporary folder");
    models::small(dir.path()).expect("a model");
    fs::create_dir(dir.path().join("sub")).expect("made");
    fs::write(dir.path().join("sub/notes"), "x").expect("written");
    for store in all() {
        let bucket = store.bucket(Bucket::default());
        let keys = store.put_folder(&bucket, "a/b", dir.path());
        assert_eq!(store.keys(&bucket, ""), keys);
        assert!(keys.contains(&"a/b/sub/notes".to_owned()), "{keys:?}");
        for key in keys {
            let file = fs::read(dir.path().join(key.trim_start_matches("a/b/"))).expect("readable");
            assert_eq!(store.get(&bucket, &key), Some(file));
        }
    }
}

#[test]
fn minio_encrypts_and_says_under_which_key() {
    for store in [minio(), plain_minio()].into_iter().filter_map(or_skip) {
        let bucket = store.bucket(Bucket::default());
        let by_default = store.bucket(Bucket { sse_kms: Some(KEY.to_owned()), ..Bucket::default() });
        let kms = Put { sse_kms: Some(KEY.to_owned()), ..Put::default() };
        assert_eq!(store.put(&bucket, "plain", b"weights").etag, WEIGHTS_MD5);
        store.put_with(&bucket, "s3", b"weights", &Put { sse_s3: true, ..Put::default() });
        let put = store.put_with(&bucket, "kms", b"weights", &kms);
        // Not the MD5 of the content, which it looks like.
        assert!(put.etag.len() == 32 && put.etag != WEIGHTS_MD5, "{}", put.etag);
        store.put_multipart_with(&bucket, "parts", &bytes(6 * MIB), 5 << 20, &kms);
        store.put(&by_default, "kms", b"weights");

        let head = |bucket: &str, key: &str| {
            let head = store.wait(store.client().head_object().bucket(bucket).key(key).send());
            let head = head.expect("it is there");
            (head.server_side_encryption, head.ssekms_key_id)
        };
        let under_key = (Some(ServerSideEncryption::AwsKms), Some(format!("arn:aws:kms:{KEY}")));
        assert_eq!(head(&bucket, "kms"), under_key);
        assert_eq!(head(&bucket, "parts"), under_key);
        assert_eq!(head(&by_default, "kms"), under_key);
        assert_eq!(head(&bucket, "plain"), (None, None));
        assert_eq!(head(&bucket, "s3"), (Some(ServerSideEncryption::Aes256), None));
        assert_eq!(store.get(&bucket, "kms").as_deref(), Some(&b"weights"[..]));

        let other = store.client().put_object().bucket(&bucket).key("other");
        let other =
            other.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id("other-key").send();
        assert_eq!(refused(store.wait(other)), (404, "kms:KeyNotFound".to_owned()));
    }
}

#[test]
fn minio_gives_an_object_only_to_who_brings_its_key() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    let put = Put { sse_c: Some([1; 32]), ..Put::default() };
    store.put_with(&bucket, "own", b"weights", &put);
    store.put_multipart_with(&bucket, "parts", &bytes(6 * MIB), 5 << 20, &put);
    for (key, content) in [("own", b"weights".to_vec()), ("parts", bytes(6 * MIB))] {
        let get = |headers: Option<(String, String, String)>| {
            let (algorithm, own, md5) =
                headers.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
            let call = store.client().get_object().bucket(&bucket).key(key);
            let call = call.set_sse_customer_algorithm(algorithm).set_sse_customer_key(own);
            call.set_sse_customer_key_md5(md5).send()
        };
        let right = store.wait(get(Some(sse_c(&[1; 32])))).expect("the right key");
        assert_eq!(store.wait(right.body.collect()).expect("whole").to_vec(), content);
        assert_eq!(refused(store.wait(get(None))).0, 400);
        assert_eq!(refused(store.wait(get(Some(sse_c(&[2; 32]))))).0, 403);
    }
}

#[test]
fn a_checksum_is_there_where_it_was_asked_for() {
    for store in all() {
        let bucket = store.bucket(Bucket::default());
        let with = Put { sha256: true, ..Put::default() };
        store.put(&bucket, "without", b"weights");
        store.put_with(&bucket, "once", b"weights", &with);
        store.put_multipart_with(&bucket, "parts", &bytes(6 * MIB), 5 << 20, &with);
        let sha256 = |key: &str| {
            let call = store.client().head_object().bucket(&bucket).key(key);
            let head = store.wait(call.checksum_mode(ChecksumMode::Enabled).send()).expect("it is there");
            (head.checksum_sha256, head.checksum_type.map(|kind| kind.as_str().to_owned()))
        };
        assert_eq!(sha256("without").0, None, "{store:?}");
        let (once, kind) = sha256("once");
        assert_eq!((once.as_deref(), kind.as_deref()), (Some(WEIGHTS_SHA256), Some("FULL_OBJECT")));
        let (parts, kind) = sha256("parts");
        assert_eq!(kind.as_deref(), Some("COMPOSITE"), "{store:?}");
        assert!(parts.is_some_and(|parts| parts.ends_with("-2")), "{store:?}");
    }
}

#[test]
fn versions_stay_where_they_were_asked_for() {
    for store in all() {
        let bucket = store.bucket(Bucket { versioning: true, ..Bucket::default() });
        let first = store.put(&bucket, "it", b"first").version.expect("a version");
        let second = store.put(&bucket, "it", b"second").version.expect("a version");
        assert_ne!(first, second);
        assert_eq!(store.get(&bucket, "it").as_deref(), Some(&b"second"[..]));
        store.delete(&bucket, "it");
        assert_eq!(store.get(&bucket, "it"), None);
        let call = store.client().get_object().bucket(&bucket).key("it").version_id(first);
        let answer = store.wait(call.send()).expect("it is kept");
        assert_eq!(store.wait(answer.body.collect()).expect("whole").to_vec(), b"first");
    }
}

#[test]
fn a_public_bucket_is_read_without_credentials_and_no_other_is() {
    let Some(store) = or_skip(plain_minio()) else { return };
    for (public, status) in [(true, 200), (false, 403)] {
        let bucket = store.bucket(Bucket { public, ..Bucket::default() });
        store.put(&bucket, "it", b"weights");
        for path in ["it", "?list-type=2"] {
            let answer = testkit::http::get(&format!("{}/{bucket}/{path}", store.url())).expect("an answer");
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
    }
    let Some(store) = or_skip(versitygw()) else { return };
    store.bucket(Bucket { public: true, ..Bucket::default() });
}

#[test]
fn wrong_credentials_are_refused() {
    for store in all() {
        let bucket = store.bucket(Bucket::default());
        store.put(&bucket, "it", b"weights");
        let wrong = Credentials::new(store.access_key(), "wrong", None, None, "test");
        let wrong = Config::new().credentials_provider(wrong);
        let call = store.client().get_object().bucket(&bucket).key("it").customize().config_override(wrong);
        assert_eq!(refused(store.wait(call.send())), (403, "SignatureDoesNotMatch".to_owned()));
    }
}

#[test]
fn each_runs_once_with_an_authority_and_a_secret_of_its_own() {
    let stores = all();
    for (at, store) in stores.iter().enumerate() {
        let address = store.url().rsplit('/').next().expect("an address");
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        TcpStream::connect(address).expect("somebody listens");
        assert!(!format!("{store:?}").contains(store.secret_key()));
        let env = store.env();
        assert!(env.contains(&("AWS_ENDPOINT_URL".to_owned(), store.url().to_owned())), "{env:?}");
        for other in &stores[..at] {
            assert_ne!(other.secret_key(), store.secret_key());
            let pem = |store: &Store| fs::read(store.ca()).expect("readable");
            assert_ne!(pem(other), pem(store));
        }
    }
    if let Some(store) = or_skip(minio()) {
        assert!(std::ptr::eq(store, or_skip(minio()).expect("the same")));
    }
}

#[test]
fn a_signed_request_stays_right_through_the_proxy() {
    let Some(store) = or_skip(plain_minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    store.put_multipart(&bucket, "a/weights", &bytes(11 * MIB), 5 << 20);
    let through = |fault| {
        let proxy = RangeFaultServer::start(fault, store.url());
        let there = Config::new().endpoint_url(proxy.url());
        let call = store.client().get_object().bucket(&bucket).key("a/weights").range("bytes=100-8388707");
        let answer = store.wait(call.customize().config_override(there).send());
        let answer = answer.map(|answer| {
            assert_eq!(answer.content_range(), Some("bytes 100-8388707/11534336"));
            store.wait(answer.body.collect()).expect("whole").to_vec()
        });
        (proxy, answer)
    };
    let right = bytes(11 * MIB)[100..8_388_708].to_vec();
    let (proxy, answer) = through(RangeFault::Pass);
    assert!(answer.expect("an answer") == right && !proxy.received(store.secret_key()));
    assert!(proxy.received(store.access_key()), "{:?}", proxy.seen());
    assert!(through(RangeFault::WrongBytes).1.expect("an answer") != right);
    assert_eq!(refused(through(RangeFault::ExpiredToken { after: 0 }).1), (400, "ExpiredToken".to_owned()));
    // The client tries again by itself.
    let (proxy, answer) = through(RangeFault::SlowDown { times: 1 });
    assert!(answer.expect("an answer") == right && proxy.chosen() == 2);
}

#[test]
fn the_program_prints_how_to_reach_what_it_started_and_ends_it_with_standard_input() {
    if or_skip(build()).is_none() {
        return;
    }
    let temporary = temporary().expect("temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_services"));
    command.args(["s3", "hub"]).env("TMPDIR", temporary.path());
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let output = BufReader::new(program.stdout.take().expect("its output"));
    let lines: Vec<String> = output
        .lines()
        .map(|line| line.expect("text"))
        .take_while(|line| !line.starts_with("They end"))
        .collect();
    let values = |name: &str| -> Vec<&str> {
        let start = format!("export {name}=");
        lines.iter().filter_map(|line| line.trim().strip_prefix(&start)).collect()
    };
    let urls = values("AWS_ENDPOINT_URL");
    assert!(urls.len() == 2 && values("HF_ENDPOINT").len() == 1, "{lines:#?}");
    let listens = |url: &&str| TcpStream::connect(url.trim_start_matches("https://")).is_ok();
    assert!(urls.iter().all(listens), "{urls:?}");
    for file in values("AWS_CA_BUNDLE") {
        assert!(file.starts_with(&*temporary.path().to_string_lossy()), "{file}");
        assert!(fs::read_to_string(file).expect("readable").starts_with("-----BEGIN CERTIFICATE-----"));
    }
    assert!(lines.iter().any(|line| line.contains("weightseal sign s3://models/llama")), "{lines:#?}");

    drop(program.stdin.take());
    assert_eq!(program.wait().expect("it ended").code(), Some(0));
    // The stores are in statics, which are not dropped: their keepers end them.
    let start = Instant::now();
    let left = || fs::read_dir(temporary.path()).expect("readable").count();
    while urls.iter().any(listens) || left() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "left: {urls:?}, {}", left());
        thread::sleep(Duration::from_millis(20));
    }
}
