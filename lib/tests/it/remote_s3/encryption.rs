//! What must be encrypted, and with which key.

use testkit::{
    or_skip,
    pki::{Key, KeyKind},
    s3::{Bucket, KEY, Put, minio, versitygw},
};
use weightseal::{Access, Algorithm, Code, Hashing, Model, ModelUri, Replace, Source as _, SseCKey};

use super::{bytes, files_of, open, options, read, refused, soon};
use crate::good::Good;

fn kms() -> Put {
    Put { sse_kms: Some(KEY.to_owned()), ..Put::default() }
}

#[test]
fn what_is_not_encrypted_with_the_key_that_is_demanded_is_refused() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    let content = bytes(5000);
    store.put_with(&bucket, "kms/a", &content, &kms());
    store.put_with(&bucket, "s3/a", &content, &Put { sse_s3: true, ..Put::default() });
    store.put(&bucket, "none/a", &content);
    let open = |key: &str, demanded: &str| {
        let model = open(&format!("s3://{bucket}/{key}"), &options(store).require_sse_kms(demanded)).unwrap();
        let entry = files_of(&model).swap_remove(0);
        (model, entry)
    };
    for demanded in [KEY, "arn:aws:kms:test-key"] {
        let (model, entry) = open("kms", demanded);
        assert_eq!(read(&model, &entry).unwrap(), content);
        assert!(model.objections(&[&entry], &soon()).unwrap().is_empty());
    }
    for (key, demanded, actual) in [
        ("kms", "other-key", "arn:aws:kms:test-key"),
        ("kms", "key", "arn:aws:kms:test-key"),
        ("s3", KEY, "AES256"),
        ("none", KEY, "none"),
    ] {
        let (model, entry) = open(key, demanded);
        let error = read(&model, &entry).unwrap_err();
        assert_eq!(error.code(), Code::EncryptionNotExpected, "{error}");
        let finding = error.finding();
        assert_eq!(finding.name.as_deref(), Some("a"));
        assert_eq!((finding.expected.as_deref(), finding.actual.as_deref()), (Some(demanded), Some(actual)));
        let found = model.objections(&[&entry], &soon()).unwrap();
        assert_eq!(
            found.iter().map(|finding| finding.code).collect::<Vec<_>>(),
            [Code::EncryptionNotExpected]
        );
    }
}

#[test]
fn a_store_that_ignores_the_demand_is_refused() {
    let Some(store) = or_skip(versitygw()) else { return };
    let bucket = store.bucket(Bucket::default());
    store.put_with(&bucket, "m/a", &bytes(100), &kms());
    let model = open(&format!("s3://{bucket}/m"), &options(store).require_sse_kms(KEY)).unwrap();
    refused(read(&model, &files_of(&model)[0]), Code::EncryptionNotExpected);
}

#[test]
fn a_customers_key_opens_what_was_encrypted_with_it_and_nothing_else() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = store.bucket(Bucket::default());
    let content = bytes(300_000);
    let key = [7; 32];
    store.put_with(&bucket, "m/a", &content, &Put { sse_c: Some(key), ..Put::default() });
    let uri = format!("s3://{bucket}/m");
    let with = |key: [u8; 32]| options(store).sse_c_key(SseCKey::new(key));
    let model = open(&uri, &with(key)).unwrap();
    let entry = files_of(&model).swap_remove(0);
    assert_eq!(read(&model, &entry).unwrap(), content);
    assert_eq!(model.fetch(&entry, 70_000..70_010, Vec::new(), &soon()).unwrap(), content[70_000..70_010]);
    assert_eq!(model.stated(&[&entry], &soon()).unwrap(), [None]);

    let wrong = open(&uri, &with([8; 32])).unwrap();
    let error = read(&wrong, &entry).unwrap_err();
    assert_eq!(error.code(), Code::AccessDenied);
    assert!(error.help().contains("the key that the file is encrypted with"), "{}", error.help());
    let without = open(&uri, &options(store)).unwrap();
    let error = read(&without, &entry).unwrap_err();
    assert_eq!(error.code(), Code::ServiceFailed);
    assert!(error.help().contains("needs that key"), "{}", error.help());
    // One object alone is asked about when it is opened.
    assert!(open(&format!("{uri}/a"), &with(key)).unwrap().is_single_file());
    refused(open(&format!("{uri}/a"), &with([8; 32])), Code::AccessDenied);
    refused(open(&format!("{uri}/a"), &options(store)), Code::ServiceFailed);
}

#[test]
fn a_signature_is_encrypted_as_the_model_is() {
    let Some(store) = or_skip(minio()) else { return };
    let good = Good::new();
    let bundle = &good.bundles()[0];
    let bucket = store.bucket(Bucket::default());
    let to = |name: &str| -> ModelUri { format!("s3://{bucket}/{name}").parse().unwrap() };
    let by_service = Access::new().s3(options(store).require_sse_kms(KEY));
    by_service.write_bundle(bundle, &to("kms.sig"), Replace::Nothing, &soon()).unwrap();
    assert_eq!(by_service.read_bundle(&to("kms.sig"), &soon()).unwrap().to_json(), bundle.to_json());
    let unknown = Access::new().s3(options(store).require_sse_kms("other-key"));
    refused(unknown.write_bundle(bundle, &to("other.sig"), Replace::Nothing, &soon()), Code::ServiceFailed);
    refused(unknown.read_bundle(&to("kms.sig"), &soon()), Code::EncryptionNotExpected);

    let own = Access::new().s3(options(store).sse_c_key(SseCKey::new([7; 32])));
    own.write_bundle(bundle, &to("own.sig"), Replace::Nothing, &soon()).unwrap();
    assert_eq!(own.read_bundle(&to("own.sig"), &soon()).unwrap().to_json(), bundle.to_json());
    assert!(Access::new().s3(options(store)).read_bundle(&to("own.sig"), &soon()).is_err());
}

#[test]
fn a_model_is_verified_where_it_stands() {
    let Some(store) = or_skip(minio()) else { return };
    let good = Good::new();
    let bucket = store.bucket(Bucket::default());
    store.put_folder_with(&bucket, "llama", &good.folder(), &kms());
    let access = Access::new().s3(options(store).require_sse_kms(KEY));
    let uri: ModelUri = format!("s3://{bucket}/llama").parse().unwrap();
    let model = Model::open_at(&uri, &access, &soon()).unwrap();
    crate::good::verified(&model, &good.policy(), good.bundles());
    store.put_with(&bucket, "llama/added", b"x", &kms());
    crate::good::refused(&model, &good.policy(), good.bundles(), &[Code::FileUnsigned]);
}

#[test]
fn a_large_object_in_parts_is_verified_in_a_bucket_with_versions_that_encrypts() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket =
        store.bucket(Bucket { versioning: true, sse_kms: Some(KEY.to_owned()), ..Bucket::default() });
    let mut weights = bytes(100 << 20);
    let first = store.put_multipart(&bucket, "llama/model.safetensors", &weights, 16 << 20);
    assert!(first.etag.ends_with("-7") && first.version.is_some(), "{first:?}");
    let access = Access::new().s3(options(store).require_sse_kms(KEY));
    let uri: ModelUri = format!("s3://{bucket}/llama").parse().unwrap();
    let model = Model::open_at(&uri, &access, &soon()).unwrap();
    let key = Key::new(KeyKind::Ed25519, 1);
    let hashing = Hashing::files(Algorithm::Sha256);
    let bundle = model.sign(&hashing, &crate::good::signer(&key), &soon()).unwrap();
    let policy = crate::good::trusting(&key);
    let report = crate::good::verified(&model, &policy, std::slice::from_ref(&bundle));
    assert_eq!(report.bytes, 100 << 20);
    // A later version is another model, however much of it is the same.
    weights[99 << 20] ^= 1;
    store.put_multipart(&bucket, "llama/model.safetensors", &weights, 16 << 20);
    crate::good::refused(&model, &policy, &[bundle], &[Code::FileChanged]);
}
