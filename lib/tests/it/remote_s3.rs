//! Models in S3: real servers, and a proxy in front of one that goes wrong.

use std::{collections::BTreeMap, time::Duration};

use testkit::s3::{Bucket, Store};
use weightseal::{Code, Entry, Error, Kind, ModelUri, Run, S3, S3Options, S3Uri, Source};

mod encryption;
mod faults;
mod listing;
mod reached;
mod writes;

/// What reaches a server: its address, its authority, its user.
fn options(store: &Store) -> S3Options {
    S3Options::new()
        .endpoint_url(store.url())
        .region(store.region())
        .credentials(store.access_key(), store.secret_key(), None)
        .tls_ca(&std::fs::read(store.ca()).unwrap())
        .allow_http(store.url().starts_with("http://"))
}

fn uri(text: &str) -> S3Uri {
    match text.parse().unwrap() {
        ModelUri::S3(uri) => uri,
        other => panic!("{other:?}"),
    }
}

fn open(text: &str, options: &S3Options) -> Result<S3, Error> {
    S3::open(&uri(text), options, &soon())
}

/// A run that ends, whatever a server does.
fn soon() -> Run {
    Run::new().deadline(Duration::from_secs(120))
}

#[track_caller]
fn files_of(model: &S3) -> Vec<Entry> {
    let entries = crate::source_contract::list(model, &soon()).unwrap();
    entries.into_iter().filter(|entry| entry.kind == Kind::File).collect()
}

#[track_caller]
fn read(model: &S3, entry: &Entry) -> Result<Vec<u8>, Error> {
    model.fetch(entry, 0..entry.size, Vec::new(), &soon())
}

/// Demands the code, and gives the words.
#[track_caller]
fn refused<T>(result: Result<T, Error>, code: Code) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => {
            assert_eq!(error.code(), code, "{error}");
            error.to_string()
        }
    }
}

/// A new bucket with these files under a prefix.
fn filled(store: &Store, prefix: &str, files: &BTreeMap<String, Vec<u8>>) -> String {
    let bucket = store.bucket(Bucket::default());
    for (name, bytes) in files {
        store.put(&bucket, &format!("{prefix}{name}"), bytes);
    }
    bucket
}

/// Bytes of which no two neighbouring kilobytes are the same.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 253) as u8 ^ (n / 1024 % 251) as u8).collect()
}
