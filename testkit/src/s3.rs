//! Real servers that speak S3: MinIO, and versitygw as the second opinion.
//!
//! ```no_run
//! # use testkit::{or_skip, s3::{self, Bucket, Put}};
//! let Some(store) = or_skip(s3::minio()) else { return };
//! let bucket = store.bucket(Bucket::default());
//! store.put_with(&bucket, "llama/config.json", b"{}", &Put { sha256: true, ..Put::default() });
//! // … a client with store.env() reads s3://BUCKET/llama …
//! ```
//!
//! All of them are on 127.0.0.1, under an authority and with credentials of their own, and none outlives the process
//! that started it. They are Go programs, which [`build`] makes once.
//!
//! What is real about which:
//!
//! | | MinIO | versitygw |
//! |---|---|---|
//! | SSE-KMS | encrypts, and answers the key | takes the header and ignores it |
//! | SSE-C | wants the key | takes the header and ignores it |
//! | a key that is not there | refused: `kms:KeyNotFound` | taken |
//! | versions, ranges, conditions, pages | yes | yes |
//!
//! MinIO's own key service has one key, [`KEY`]. What is not encrypted by it is encrypted by the server's unnamed key
//! ([`Put::sse_s3`]), by a key that clients bring ([`Put::sse_c`]), or not at all.

mod build;
#[cfg(feature = "s3")]
mod objects;
#[cfg(feature = "s3")]
mod servers;
#[cfg(feature = "s3")]
mod store;

#[cfg(feature = "s3")]
pub use aws_sdk_s3 as sdk;
pub use build::build;
#[cfg(feature = "s3")]
pub use objects::{Bucket, Put, Stored, sse_c};
#[cfg(feature = "s3")]
pub use store::{KEY, Store, minio, plain_minio, versitygw};
