//! A running server with a client of its own.

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::HttpClientError;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use tokio::runtime::{Builder, Runtime};

use super::build;
use super::servers::{Kind, Started, start};
use crate::keeper::{Kept, KeptFolder};
use crate::ready::until_ready;
use crate::skip::Missing;

/// The name of the one key that MinIO encrypts with. It answers `arn:aws:kms:test-key`.
pub const KEY: &str = "test-key";

/// What every server is told it is in.
const REGION: &str = "us-east-1";

/// How often a start is tried: another program may take the port between its choice and its use.
const TRIES: u32 = 3;

/// A running server that speaks S3, with buckets to fill. Dropping it ends the server.
pub struct Store {
    url: String,
    ca: PathBuf,
    access_key: String,
    secret_key: String,
    client: Client,
    runtime: Runtime,
    _server: Kept,
    _folder: KeptFolder,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url).finish_non_exhaustive()
    }
}

/// MinIO over TLS, with a key service, one for this process.
///
/// # Errors
/// It cannot be built (see [`build`]), or it does not start: then its last words are in the error.
pub fn minio() -> Result<&'static Store, Missing> {
    static SHARED: OnceLock<Result<Store, Missing>> = OnceLock::new();
    SHARED.get_or_init(|| Store::start(Kind::Minio)).as_ref().map_err(Clone::clone)
}

/// MinIO without TLS, for a proxy to stand in front of it, one for this process. Its key service is there, but SSE-C
/// needs TLS.
///
/// # Errors
/// As [`minio`].
pub fn plain_minio() -> Result<&'static Store, Missing> {
    static SHARED: OnceLock<Result<Store, Missing>> = OnceLock::new();
    SHARED.get_or_init(|| Store::start(Kind::PlainMinio)).as_ref().map_err(Clone::clone)
}

/// versitygw over TLS, which keeps objects as files and versions of them, one for this process.
///
/// # Errors
/// As [`minio`].
pub fn versitygw() -> Result<&'static Store, Missing> {
    static SHARED: OnceLock<Result<Store, Missing>> = OnceLock::new();
    SHARED.get_or_init(|| Store::start(Kind::Versitygw)).as_ref().map_err(Clone::clone)
}

impl Store {
    fn start(kind: Kind) -> Result<Store, Missing> {
        let bin = build()?;
        let mut tried = 1;
        loop {
            match Store::once(kind, &bin) {
                Ok(store) => return Ok(store),
                Err(_) if tried < TRIES => tried += 1,
                Err(error) => return Err(Missing::new(kind.name(), error.to_string())),
            }
        }
    }

    fn once(kind: Kind, bin: &Path) -> io::Result<Store> {
        let Started { url, ca, access_key, secret_key, mut server, folder } = start(kind, bin)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let pem = std::fs::read(&ca)?;
        let client = client(&url, pem, &access_key, &secret_key).map_err(io::Error::other)?;
        until_ready(&mut server, || runtime.block_on(client.list_buckets().send()).is_ok())?;
        let store =
            Store { url, ca, access_key, secret_key, client, runtime, _server: server, _folder: folder };
        Ok(store)
    }

    /// `https://127.0.0.1:PORT`; its certificate is also good for `localhost`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of its authority, as PEM.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The name of its one user, who may do everything.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// What that user signs with; another one for each server.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Its region.
    pub fn region(&self) -> &str {
        REGION
    }

    /// What a program needs to reach it, and nothing of what else the machine may have for AWS.
    pub fn env(&self) -> Vec<(String, String)> {
        self.env_at(&self.url)
    }

    /// The same for a proxy in front of it.
    pub fn env_at(&self, url: &str) -> Vec<(String, String)> {
        let nothing = "/nonexistent/aws";
        [
            ("AWS_ACCESS_KEY_ID", self.access_key()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key()),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL", url),
            ("AWS_CA_BUNDLE", &self.ca.to_string_lossy()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", nothing),
            ("AWS_SHARED_CREDENTIALS_FILE", nothing),
            ("NO_PROXY", "127.0.0.1,localhost"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// A client with its credentials, for what there is no method for. Its calls are waited for by [`Store::wait`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for what a call of [`Store::client`] gives. Several threads may wait at the same time.
    ///
    /// # Panics
    /// In an asynchronous context.
    pub fn wait<F: Future>(&self, call: F) -> F::Output {
        self.runtime.block_on(call)
    }
}

fn client(url: &str, ca: Vec<u8>, access_key: &str, secret_key: &str) -> Result<Client, HttpClientError> {
    let trust = TrustStore::empty().with_pem_certificate(ca);
    let tls = TlsContext::builder().with_trust_store(trust).build()?;
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build_https();
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(120)).build();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "testkit"))
        .force_path_style(true)
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard())
        // Only what a test asks for: an object has a checksum or it has none.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // A busy machine is slow without being stalled.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Ok(Client::from_conf(config.build()))
}
