//! Signatures written into buckets.

use testkit::{
    or_skip,
    range_faults::{RangeFault, RangeFaultServer, Scope},
    s3::{Bucket, Store, minio, plain_minio, versitygw},
};
use weightseal::{Access, Code, ModelUri, Replace};

use super::{options, refused, soon};
use crate::good::Good;

fn replaces_what_it_may(store: &Store) {
    let good = Good::new();
    let bundle = &good.bundles()[0];
    let access = Access::new().s3(options(store));
    let bucket = store.bucket(Bucket::default());
    let to = |name: &str| -> ModelUri { format!("s3://{bucket}/m/{name}").parse().unwrap() };
    let write = |name: &str, replace: Replace| access.write_bundle(bundle, &to(name), replace, &soon());
    let stands = |name: &str| store.get(&bucket, &format!("m/{name}"));
    let whole = Some(bundle.to_json().into_bytes());

    for replace in [Replace::Nothing, Replace::Signature, Replace::Anything] {
        let name = format!("{replace:?}");
        write(&name, replace).unwrap();
        assert_eq!(stands(&name), whole, "{name}");
        assert_eq!(access.read_bundle(&to(&name), &soon()).unwrap().to_json(), bundle.to_json());
        // There is one now.
        refused(write(&name, Replace::Nothing), Code::OutputExists);
        write(&name, Replace::Signature).unwrap();

        store.put(&bucket, &format!("m/{name}"), b"weights");
        refused(write(&name, Replace::Nothing), Code::OutputExists);
        refused(write(&name, Replace::Signature), Code::OutputExists);
        assert_eq!(stands(&name).as_deref(), Some(&b"weights"[..]));
        write(&name, Replace::Anything).unwrap();
        assert_eq!(stands(&name), whole, "{name}");
    }
    refused(access.read_bundle(&to("none"), &soon()), Code::SignatureAbsent);
    refused(write("folder/", Replace::Anything), Code::BadArgument);
    let nowhere: ModelUri = "s3://no-such-bucket-here/a.sig".parse().unwrap();
    refused(access.write_bundle(bundle, &nowhere, Replace::Anything, &soon()), Code::ModelAbsent);
    refused(access.read_bundle(&nowhere, &soon()), Code::ModelAbsent);
}

#[test]
fn a_signature_in_minio_replaces_what_it_may() {
    let Some(store) = or_skip(minio()) else { return };
    replaces_what_it_may(store);
}

#[test]
fn a_signature_in_versitygw_replaces_what_it_may() {
    let Some(store) = or_skip(versitygw()) else { return };
    replaces_what_it_may(store);
}

#[test]
fn an_answer_that_fails_once_is_no_failure_and_writes_once() {
    let Some(store) = or_skip(plain_minio()) else { return };
    let good = Good::new();
    let bundle = &good.bundles()[0];
    let bucket = store.bucket(Bucket::default());
    let to: ModelUri = format!("s3://{bucket}/a.sig").parse().unwrap();
    let fault = RangeFault::SlowDown { times: 1 };
    let proxy = RangeFaultServer::on(Scope::everything(), fault, store.url());
    let access = Access::new().s3(options(store).endpoint_url(proxy.url()));
    access.write_bundle(bundle, &to, Replace::Nothing, &soon()).unwrap();
    assert_eq!(store.get(&bucket, "a.sig"), Some(bundle.to_json().into_bytes()));
    assert!(!proxy.received(store.secret_key()));
}

#[test]
fn a_signature_is_not_read_without_an_end() {
    let Some(store) = or_skip(plain_minio()) else { return };
    let good = Good::new();
    let bucket = store.bucket(Bucket::default());
    store.put(&bucket, "a.sig", good.bundles()[0].to_json().as_bytes());
    let from: ModelUri = format!("s3://{bucket}/a.sig").parse().unwrap();
    let read = |fault: RangeFault| {
        let proxy = RangeFaultServer::on(Scope::gets(), fault, store.url());
        Access::new().s3(options(store).endpoint_url(proxy.url())).read_bundle(&from, &soon())
    };
    assert!(read(RangeFault::Pass).is_ok());
    assert!(read(RangeFault::CutAfter { bytes: 10, times: 1 }).is_ok());
    refused(read(RangeFault::EndlessBody), Code::ServiceFailed);
    refused(
        read(RangeFault::Redirect { code: 307, to: "http://127.0.0.1:1".to_owned() }),
        Code::ServiceFailed,
    );
}
