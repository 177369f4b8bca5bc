//! Buckets and what is in them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and a panic is how a test fails"
)]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use aws_sdk_s3::error::{DisplayErrorContext, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    VersioningConfiguration,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Store;
use crate::ready::random;

/// Files larger than this are put in parts of this size, in bytes.
const PART: u64 = 64 << 20;

/// A bucket to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Earlier versions of objects stay.
    pub versioning: bool,
    /// Objects are encrypted under this key unless they say otherwise. Not with versitygw, which refuses to be told.
    pub sse_kms: Option<String>,
    /// Whoever comes without credentials may list it and read from it.
    pub public: bool,
}

/// How an object is put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Encrypted under this key of the key service: [`KEY`](super::KEY) is the only one there is.
    pub sse_kms: Option<String>,
    /// Encrypted by the server under a key that it does not name (SSE-S3).
    pub sse_s3: bool,
    /// Encrypted under this key, which the client brings with each request (SSE-C). It needs TLS.
    pub sse_c: Option<[u8; 32]>,
    /// With a SHA-256 that the server keeps: of the whole object (FULL_OBJECT), or, put in parts, of the parts' digests
    /// (COMPOSITE). Without it the object has no checksum.
    pub sha256: bool,
}

/// An object as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Without quotation marks.
    pub etag: String,
    /// In a bucket with versions.
    pub version: Option<String>,
}

impl Put {
    fn encryption(&self) -> Option<ServerSideEncryption> {
        let kms = self.sse_kms.as_ref().map(|_| ServerSideEncryption::AwsKms);
        kms.or(self.sse_s3.then_some(ServerSideEncryption::Aes256))
    }

    fn own_key(&self) -> (Option<String>, Option<String>, Option<String>) {
        let own = self.sse_c.as_ref().map(sse_c);
        own.map_or((None, None, None), |(algorithm, key, md5)| (Some(algorithm), Some(key), Some(md5)))
    }
}

/// The values of the three headers of SSE-C: algorithm, key, MD5 of the key.
pub fn sse_c(key: &[u8; 32]) -> (String, String, String) {
    ("AES256".to_owned(), STANDARD.encode(key), STANDARD.encode(Md5::digest(key)))
}

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

/// What a call gave.
#[track_caller]
fn done<T, E>(what: &str, result: Result<T, SdkError<E>>) -> T
where
    SdkError<E>: std::error::Error,
{
    result.unwrap_or_else(|error| panic!("{what}: {}", DisplayErrorContext(error)))
}

fn stored(etag: Option<&str>, version: Option<&str>) -> Stored {
    let etag = etag.expect("an ETag").trim_matches('"').to_owned();
    Stored { etag, version: version.map(str::to_owned) }
}

impl Store {
    /// Makes a bucket and gives its name, which no other has.
    ///
    /// # Panics
    /// The server refuses; so does every method below.
    #[track_caller]
    pub fn bucket(&self, bucket: Bucket) -> String {
        let name = format!("models-{:016x}", random());
        self.bucket_named(&name, bucket);
        name
    }

    /// Makes a bucket of this name.
    #[track_caller]
    pub fn bucket_named(&self, name: &str, Bucket { versioning, sse_kms, public }: Bucket) {
        let client = self.client();
        done("a bucket", self.wait(client.create_bucket().bucket(name).send()));
        if versioning {
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let call = client.put_bucket_versioning().bucket(name).versioning_configuration(on);
            done("versions", self.wait(call.send()));
        }
        if let Some(key) = sse_kms {
            let default = ServerSideEncryptionByDefault::builder()
                .sse_algorithm(ServerSideEncryption::AwsKms)
                .kms_master_key_id(key)
                .build()
                .expect("complete");
            let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default);
            let rules = ServerSideEncryptionConfiguration::builder().rules(rule.build());
            let rules = rules.build().expect("complete");
            let call = client.put_bucket_encryption().bucket(name);
            done("encryption", self.wait(call.server_side_encryption_configuration(rules).send()));
        }
        if public {
            let (bucket, objects) = (format!("arn:aws:s3:::{name}"), format!("arn:aws:s3:::{name}/*"));
            let anybody = |actions: &[&str], resource: &str| {
                json!({
                    "Effect": "Allow",
                    "Principal": {"AWS": ["*"]},
                    "Action": actions,
                    "Resource": [resource],
                })
            };
            let policy = json!({
                "Version": "2012-10-17",
                "Statement": [
                    anybody(&["s3:GetBucketLocation", "s3:ListBucket"], &bucket),
                    anybody(&["s3:GetObject"], &objects),
                ],
            });
            let call = client.put_bucket_policy().bucket(name).policy(policy.to_string());
            done("a policy", self.wait(call.send()));
        }
    }

    /// Puts an object.
    #[track_caller]
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Stored {
        self.put_with(bucket, key, bytes, &Put::default())
    }

    /// Puts an object, encrypted or with a checksum.
    #[track_caller]
    pub fn put_with(&self, bucket: &str, key: &str, bytes: &[u8], put: &Put) -> Stored {
        let (algorithm, own, md5) = put.own_key();
        let call = self
            .client()
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(ByteStream::from(bytes.to_vec()))
            .set_server_side_encryption(put.encryption())
            .set_ssekms_key_id(put.sse_kms.clone())
            .set_sse_customer_algorithm(algorithm)
            .set_sse_customer_key(own)
            .set_sse_customer_key_md5(md5)
            .set_checksum_sha256(put.sha256.then(|| sha256(bytes)));
        let answer = done(key, self.wait(call.send()));
        stored(answer.e_tag(), answer.version_id())
    }

    /// Puts an object in parts of so many bytes, at least 5 MiB, the last of which may be smaller.
    #[track_caller]
    pub fn put_multipart(&self, bucket: &str, key: &str, bytes: &[u8], part_bytes: u64) -> Stored {
        self.put_multipart_with(bucket, key, bytes, part_bytes, &Put::default())
    }

    /// The same, encrypted or with checksums.
    #[track_caller]
    pub fn put_multipart_with(
        &self,
        bucket: &str,
        key: &str,
        bytes: &[u8],
        part_bytes: u64,
        put: &Put,
    ) -> Stored {
        self.put_parts(bucket, key, bytes, part_bytes, put)
    }

    #[track_caller]
    fn put_parts(&self, bucket: &str, key: &str, mut from: impl Read, part_bytes: u64, put: &Put) -> Stored {
        let client = self.client();
        let create = client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .set_server_side_encryption(put.encryption())
            .set_ssekms_key_id(put.sse_kms.clone())
            .set_sse_customer_algorithm(put.own_key().0)
            .set_sse_customer_key(put.own_key().1)
            .set_sse_customer_key_md5(put.own_key().2)
            .set_checksum_algorithm(put.sha256.then_some(ChecksumAlgorithm::Sha256));
        let upload = done(key, self.wait(create.send()));
        let upload = upload.upload_id().expect("the upload's name");

        let mut parts = Vec::new();
        for number in 1.. {
            let mut part = Vec::new();
            from.by_ref().take(part_bytes).read_to_end(&mut part).expect("readable");
            if part.is_empty() && number > 1 {
                break;
            }
            let checksum = put.sha256.then(|| sha256(&part));
            let call = client
                .upload_part()
                .bucket(bucket)
                .key(key)
                .upload_id(upload)
                .part_number(number)
                .body(ByteStream::from(part))
                .set_sse_customer_algorithm(put.own_key().0)
                .set_sse_customer_key(put.own_key().1)
                .set_sse_customer_key_md5(put.own_key().2)
                .set_checksum_sha256(checksum.clone());
            let answer = done(key, self.wait(call.send()));
            let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
            parts.push(part.set_checksum_sha256(checksum).build());
        }
        let all = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let call = client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(upload)
            .set_sse_customer_algorithm(put.own_key().0)
            .set_sse_customer_key(put.own_key().1)
            .set_sse_customer_key_md5(put.own_key().2)
            .multipart_upload(all);
        let answer = done(key, self.wait(call.send()));
        stored(answer.e_tag(), answer.version_id())
    }

    /// Puts every file below a folder, as `PREFIX/path`; large ones in parts. Links are followed. Gives the keys, sorted.
    #[track_caller]
    pub fn put_folder(&self, bucket: &str, prefix: &str, folder: &Path) -> Vec<String> {
        self.put_folder_with(bucket, prefix, folder, &Put::default())
    }

    /// The same, encrypted or with checksums.
    #[track_caller]
    pub fn put_folder_with(&self, bucket: &str, prefix: &str, folder: &Path, put: &Put) -> Vec<String> {
        let prefix = prefix.trim_end_matches('/');
        let mut keys = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
            let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            if path.is_dir() {
                keys.extend(self.put_folder_with(bucket, &key, &path, put));
            } else if fs::metadata(&path).expect("readable").len() > PART {
                self.put_parts(bucket, &key, File::open(&path).expect("readable"), PART, put);
                keys.push(key);
            } else {
                self.put_with(bucket, &key, &fs::read(&path).expect("readable"), put);
                keys.push(key);
            }
        }
        keys.sort();
        keys
    }

    /// What an object holds, or nothing where there is none.
    #[track_caller]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let call = self.client().get_object().bucket(bucket).key(key);
        let answer = match self.wait(call.send()) {
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                return None;
            }
            answer => done(key, answer),
        };
        let body = self.wait(answer.body.collect()).expect("the whole object");
        Some(body.to_vec())
    }

    /// Deletes an object; in a bucket with versions, it only looks deleted.
    #[track_caller]
    pub fn delete(&self, bucket: &str, key: &str) {
        done(key, self.wait(self.client().delete_object().bucket(bucket).key(key).send()));
    }

    /// The keys that begin so, all of them, in the server's order.
    #[track_caller]
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let (mut keys, mut next) = (Vec::new(), None);
        loop {
            let call = self.client().list_objects_v2().bucket(bucket).prefix(prefix);
            let page = done(bucket, self.wait(call.set_continuation_token(next).send()));
            keys.extend(page.contents().iter().filter_map(|object| object.key()).map(str::to_owned));
            next = page.next_continuation_token;
            if next.is_none() {
                return keys;
            }
        }
    }
}
