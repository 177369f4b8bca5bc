//! Stores that speak S3, with a model in each.

use std::fmt;
use std::time::Instant;

use testkit::s3::{Bucket, KEY, Put, Store, minio, versitygw};
use testkit::{models, temporary};

use super::{Result, Service};

/// Where the model is.
const BUCKET: &str = "models";

struct Running {
    minio: &'static Store,
    versitygw: &'static Store,
}

/// Starts MinIO and versitygw.
pub(super) fn start() -> Result<Box<dyn Service>> {
    testkit::s3::build()?;
    let start = Instant::now();
    let (minio, versitygw) = (minio()?, versitygw()?);
    let folder = temporary()?;
    models::small(folder.path())?;
    let encrypted = Put { sse_kms: Some(KEY.to_owned()), ..Put::default() };
    for store in [minio, versitygw] {
        store.bucket_named(BUCKET, Bucket { versioning: true, ..Bucket::default() });
        store.put_folder_with(BUCKET, "llama", folder.path(), &Put { sha256: true, ..Put::default() });
    }
    minio.put_folder_with(BUCKET, "llama-encrypted", folder.path(), &encrypted);
    println!("MinIO and versitygw are up after {:.1} s", start.elapsed().as_secs_f64());
    Ok(Box::new(Running { minio, versitygw }))
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minio, versitygw) = (exports(self.minio), exports(self.versitygw));
        writeln!(
            f,
            "MinIO, with s3://{BUCKET}/llama, and s3://{BUCKET}/llama-encrypted under the key {KEY}:
{minio}
Sign and verify:
  weightseal keygen release
  weightseal sign s3://{BUCKET}/llama --private-key release.key --upload
  weightseal verify s3://{BUCKET}/llama --public-key release.pub

The same in versitygw, with s3://{BUCKET}/llama:
{versitygw}"
        )
    }
}

impl Service for Running {}

/// What a shell needs to reach it.
fn exports(store: &Store) -> String {
    store.env().iter().map(|(name, value)| format!("  export {name}={value}\n")).collect()
}
