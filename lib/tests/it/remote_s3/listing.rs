//! What there is, and that it is read as it was listed.

use std::collections::BTreeMap;

use testkit::{
    or_skip,
    s3::{Bucket, Put, Store, minio, versitygw},
};
use weightseal::{Algorithm, Cancel, Code, Digest, Kind, Run, S3, Source};

use super::{bytes, files_of, filled, open, options, read, refused, soon};
use crate::source_contract;

fn keeps_the_contract(store: &Store) {
    let files = source_contract::files();
    let bucket = filled(store, "llama/", &files);
    for at in ["llama", "llama/"] {
        let model = open(&format!("s3://{bucket}/{at}"), &options(store)).unwrap();
        assert_eq!(model.base_name(), "llama");
        source_contract::contract(&model, &files);
    }
    let whole: BTreeMap<_, _> =
        files.iter().map(|(name, bytes)| (format!("llama/{name}"), bytes.clone())).collect();
    let model = open(&format!("s3://{bucket}"), &options(store)).unwrap();
    assert_eq!(model.base_name(), bucket);
    source_contract::contract(&model, &whole);
    let one = BTreeMap::from([("large".to_owned(), files["large"].clone())]);
    let model = open(&format!("s3://{bucket}/llama/large"), &options(store)).unwrap();
    source_contract::contract(&model, &one);
}

#[test]
fn a_bucket_of_minio_keeps_the_contract() {
    let Some(store) = or_skip(minio()) else { return };
    keeps_the_contract(store);
}

#[test]
fn a_bucket_of_versitygw_keeps_the_contract() {
    let Some(store) = or_skip(versitygw()) else { return };
    keeps_the_contract(store);
}

#[test]
fn a_run_that_is_over_reads_nothing() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(10))]));
    let model = open(&format!("s3://{bucket}"), &options(store)).unwrap();
    let entry = files_of(&model).swap_remove(0);
    let cancel = Cancel::default();
    let run = Run::new().cancel(cancel.clone());
    assert!(model.read_at(&entry, 0, &mut [0; 8], &run).is_ok());
    cancel.cancel();
    refused(source_contract::list(&model, &run), Code::Interrupted);
    refused(model.read_at(&entry, 0, &mut [0; 8], &run), Code::Interrupted);
    refused(model.stated(&[&entry], &run), Code::Interrupted);
    refused(S3::open(&super::uri(&format!("s3://{bucket}")), &options(store), &run), Code::Interrupted);
}

#[test]
fn offsets_past_every_end_read_nothing() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(3))]));
    let model = open(&format!("s3://{bucket}"), &options(store)).unwrap();
    let entry = files_of(&model).swap_remove(0);
    for offset in [3, 1 << 40, i64::MAX as u64, u64::MAX] {
        assert_eq!(model.read_at(&entry, offset, &mut [0; 8], &soon()).unwrap(), 0, "{offset}");
    }
    refused(model.fetch(&entry, 0..4, Vec::new(), &soon()), Code::ChangedWhileRead);
    // The buffer's memory is used again, and what was in it is gone.
    let again = model.fetch(&entry, 1..3, vec![9; 100], &soon()).unwrap();
    assert_eq!((again.as_slice(), again.capacity()), (&bytes(3)[1..], 100));
}

#[test]
fn what_changed_since_the_listing_is_not_read() {
    let Some(store) = or_skip(minio()) else { return };
    let content = bytes(100_000);
    for versioning in [false, true] {
        let bucket = store.bucket(Bucket { versioning, ..Bucket::default() });
        store.put(&bucket, "m/a", &content);
        let model = open(&format!("s3://{bucket}/m"), &options(store)).unwrap();
        let entry = files_of(&model).swap_remove(0);
        assert_eq!(read(&model, &entry).unwrap(), content);

        let mut other = content.clone();
        other[5] ^= 1;
        store.put(&bucket, "m/a", &other);
        refused(read(&model, &entry), Code::ChangedWhileRead);
        refused(model.stated(&[&entry], &soon()), Code::ChangedWhileRead);
        store.put(&bucket, "m/a", &content[..50_000]);
        refused(model.fetch(&entry, 60_000..70_000, Vec::new(), &soon()), Code::ChangedWhileRead);
        store.delete(&bucket, "m/a");
        let what = refused(read(&model, &entry), Code::ChangedWhileRead);
        assert!(what.contains("\"a\" is gone"), "{what}");
        refused(model.stated(&[&entry], &soon()), Code::ChangedWhileRead);

        // The same bytes again are another version, where there are versions.
        store.put(&bucket, "m/a", &content);
        assert_eq!(read(&model, &entry).is_ok(), !versioning);
        assert_eq!(read(&model, &files_of(&model)[0]).unwrap(), content);
    }
}

#[test]
fn an_object_and_a_folder_of_the_same_name_are_told_apart_by_a_slash() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    store.put(&bucket, "llama", b"object");
    store.put(&bucket, "llama-2/a", b"a");
    let at = |key: &str| open(&format!("s3://{bucket}/{key}"), &options(store));
    assert!(at("llama").unwrap().is_single_file());
    refused(at("llama/"), Code::ModelAbsent);
    refused(at("llama-"), Code::ModelAbsent);
    refused(at("nothing"), Code::ModelAbsent);

    store.put(&bucket, "llama/", b"");
    let error = at("llama").unwrap_err();
    assert_eq!(error.code(), Code::BadArgument);
    assert_eq!(error.help(), format!("write s3://{bucket}/llama/ for the folder"));
    let folder = at("llama/").unwrap();
    assert!(!folder.is_single_file() && source_contract::list(&folder, &soon()).unwrap().is_empty());

    refused(open("s3://no-such-bucket-here/llama", &options(store)), Code::ModelAbsent);
    refused(open("s3://no-such-bucket-here", &options(store)), Code::ModelAbsent);
    let empty = store.bucket(Bucket::default());
    refused(open(&format!("s3://{empty}"), &options(store)), Code::ModelAbsent);
}

#[test]
fn names_are_listed_as_they_are_and_markers_as_folders() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    let names = ["a b+c%20d", "é/ü", "line\nfeed", "control\u{1}", "a-b", "a/b", "quote\"'&<>", "…"];
    for name in names {
        store.put(&bucket, &format!("m/{name}"), name.as_bytes());
    }
    store.put(&bucket, "m/", b"");
    store.put(&bucket, "m/folder/", b"");
    let model = open(&format!("s3://{bucket}/m"), &options(store)).unwrap();
    let entries = source_contract::list(&model, &soon()).unwrap();
    let mut files: Vec<_> = entries.iter().filter(|entry| entry.kind == Kind::File).collect();
    for entry in &files {
        assert_eq!(read(&model, entry).unwrap(), entry.name.as_bytes(), "{:?}", entry.name);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut expected = names;
    expected.sort_unstable();
    assert_eq!(files.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), expected);
    let others: Vec<_> = entries.iter().filter(|entry| entry.kind != Kind::File).collect();
    assert_eq!(others.len(), 1);
    assert_eq!((others[0].name.as_str(), &others[0].kind), ("folder", &Kind::Folder));
}

#[test]
fn more_objects_than_fit_on_a_page_are_listed_once_each() {
    let Some(store) = or_skip(versitygw()) else { return };
    let bucket = store.bucket(Bucket::default());
    for n in 0..1200 {
        store.put(&bucket, &format!("m/{n}"), n.to_string().as_bytes());
    }
    let model = open(&format!("s3://{bucket}/m"), &options(store)).unwrap();
    let files = files_of(&model);
    let mut numbers: Vec<u32> = files.iter().map(|entry| entry.name.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1200).collect::<Vec<_>>());
    let stated = model.stated(&files.iter().collect::<Vec<_>>(), &soon()).unwrap();
    assert_eq!(stated, vec![None; 1200]);
}

#[test]
fn only_a_digest_of_the_whole_object_is_stated() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    let content = bytes(6 << 20);
    let sha256 = Put { sha256: true, ..Put::default() };
    store.put_with(&bucket, "m/a-whole", &content, &sha256);
    store.put(&bucket, "m/b-without", &content);
    store.put_multipart_with(&bucket, "m/c-parts", &content, 5 << 20, &sha256);
    store.put_multipart(&bucket, "m/d-parts-without", &content, 5 << 20);
    let model = open(&format!("s3://{bucket}/m"), &options(store)).unwrap();
    let files = files_of(&model);
    let digest = Digest::new(Algorithm::Sha256, &crate::good::unhex(&crate::good::sha256(&content))).unwrap();
    let stated = model.stated(&files.iter().collect::<Vec<_>>(), &soon()).unwrap();
    assert_eq!(stated, [Some(digest), None, None, None]);
    for entry in &files {
        assert_eq!(read(&model, entry).unwrap(), content, "{}", entry.name);
    }
}
