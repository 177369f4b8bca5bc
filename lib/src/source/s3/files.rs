//! Small files, read and written whole: signatures.

use std::sync::Arc;

use aws_sdk_s3::{
    config::timeout::TimeoutConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ServerSideEncryption},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

use super::{
    Store,
    connect::{ATTEMPT, Clients},
    heads,
    read::{Pace, Stop, fill},
    trouble::Trouble,
    wire::WholeFile,
};
use crate::{Bundle, Bytes, Error, Replace, code::Code, limits, shown::Shown};

/// What an upload is given on top, for each so many bytes of it.
const BYTES_PER_SECOND: u64 = 128 << 10;

/// A small file, and the ETag it had.
pub(super) struct Small {
    pub(super) bytes: Vec<u8>,
    tag: Option<String>,
}

/// Reads a file whole; none where there is none.
pub(super) async fn read(
    store: &Store,
    key: &str,
    limit: u64,
    left: Option<Duration>,
) -> Result<Option<Small>, Error> {
    let mut pace = Pace::new(limit, left);
    loop {
        let clients = store.clients();
        match attempt(store, &clients, key, limit).await {
            Ok(small) => return Ok(Some(small)),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Trouble(trouble)) if trouble.is_absent() => return Ok(None),
            Err(Stop::Trouble(trouble)) => pace.wait(store, &clients, key, trouble, false).await?,
        }
    }
}

async fn attempt(store: &Store, clients: &Clients, key: &str, limit: u64) -> Result<Small, Stop> {
    let customer = store.options.customer_key.as_ref();
    let answer = clients
        .reads
        .get_object()
        .bucket(&store.bucket)
        .key(key)
        .set_sse_customer_algorithm(customer.map(|_| "AES256".to_owned()))
        .set_sse_customer_key(customer.map(|key| key.base64()))
        .set_sse_customer_key_md5(customer.map(|key| key.md5_base64()))
        .customize()
        .mutate_request(|request| request.add_extension(WholeFile))
        .send()
        .await
        .map_err(|error| Trouble::of(&error))?;
    let uri = store.uri(key).to_string();
    if let Some(finding) = store.objection(key, answer.server_side_encryption(), answer.ssekms_key_id()) {
        return Err(Error::from(finding).into());
    }
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or_else(|| Trouble::nonsense("answered without a length"))?;
    let tag = answer.e_tag().map(str::to_owned);
    if length > limit {
        let what = format!("{} is larger than {}", Shown(&uri), Bytes(limit));
        return Err(Error::new(Code::JsonTooLarge, what).into());
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    fill(answer.body, &mut bytes, length, store.options.stall()).await?;
    Ok(Small { bytes, tag })
}

/// Writes a file whole, where what stands there may be replaced.
pub(super) async fn write(
    store: Arc<Store>,
    key: String,
    bytes: Vec<u8>,
    replace: Replace,
    left: Option<Duration>,
) -> Result<(), Error> {
    let standing = match replace {
        Replace::Anything => Standing::Whatever,
        Replace::Nothing => match heads::head(&store, &key, None).await? {
            Ok(_) => return Err(exists(&store, &key, "there is something already")),
            // A store that knows no conditions would overwrite what it was not asked about; and whoever may write need
            // not be one who may read.
            Err(trouble) if trouble.is_absent() || trouble.is_denied() => Standing::Nothing,
            Err(trouble) => return Err(store.failed(&key, &trouble)),
        },
        Replace::Signature => match read(&store, &key, limits::BUNDLE_BYTES, left).await {
            Ok(None) => Standing::Nothing,
            Ok(Some(small)) => match (Bundle::parse(&small.bytes), small.tag) {
                (Ok(_), Some(tag)) => Standing::Tag(tag),
                _ => return Err(exists(&store, &key, "what is there is not a model signature")),
            },
            Err(error) if error.code() == Code::JsonTooLarge => {
                return Err(exists(&store, &key, "what is there is not a model signature"));
            }
            Err(error) => return Err(error),
        },
    };
    put(&store, &key, bytes, standing, left).await
}

/// What stands where a file is to be written, and must still stand there then.
enum Standing {
    Whatever,
    Nothing,
    Tag(String),
}

async fn put(
    store: &Store,
    key: &str,
    bytes: Vec<u8>,
    standing: Standing,
    left: Option<Duration>,
) -> Result<(), Error> {
    let customer = store.options.customer_key.as_ref();
    let service_key = store.options.kms_key.as_ref();
    let time = ATTEMPT + Duration::from_secs(bytes.len() as u64 / BYTES_PER_SECOND);
    let times = TimeoutConfig::builder().read_timeout(time).operation_attempt_timeout(time).build();
    let (none, tag) = match &standing {
        Standing::Whatever => (None, None),
        Standing::Nothing => (Some("*".to_owned()), None),
        Standing::Tag(tag) => (None, Some(tag.clone())),
    };
    let sum = STANDARD.encode(Sha256::digest(&bytes));
    let written = store
        .call(|clients| {
            clients
                .calls
                .put_object()
                .bucket(&store.bucket)
                .key(key)
                .content_type("application/json")
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .checksum_sha256(&sum)
                .set_if_none_match(none.clone())
                .set_if_match(tag.clone())
                .set_server_side_encryption(service_key.map(|_| ServerSideEncryption::AwsKms))
                .set_ssekms_key_id(service_key.cloned())
                .set_sse_customer_algorithm(customer.map(|_| "AES256".to_owned()))
                .set_sse_customer_key(customer.map(|key| key.base64()))
                .set_sse_customer_key_md5(customer.map(|key| key.md5_base64()))
                .body(ByteStream::from(bytes.clone()))
                .customize()
                .config_override(aws_sdk_s3::config::Config::builder().timeout_config(times.clone()))
                .send()
        })
        .await?;
    match written {
        Ok(answer) => match store.objection(key, answer.server_side_encryption(), answer.ssekms_key_id()) {
            Some(finding) => Err(finding.into()),
            None => Ok(()),
        },
        Err(trouble) if trouble.is_taken() && !matches!(standing, Standing::Whatever) => {
            // The answer to an attempt that succeeded may have been lost, and the next one refused for it.
            match read(store, key, limits::BUNDLE_BYTES, left).await {
                Ok(Some(small)) if small.bytes == bytes => Ok(()),
                _ => Err(exists(store, key, "somebody else wrote there at the same time")),
            }
        }
        Err(trouble) => Err(store.failed(key, &trouble)),
    }
}

fn exists(store: &Store, key: &str, why: &str) -> Error {
    Error::new(Code::OutputExists, format!("{} is not written: {why}", Shown(&store.uri(key).to_string())))
}
