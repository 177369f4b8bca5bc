//! From what the environment and the options say to a client of the vendor's.

use std::{env, path::PathBuf, time::Duration};

use aws_config::{
    BehaviorVersion, ConfigLoader, SdkConfig, environment::EnvironmentVariableRegionProvider,
    meta::region::RegionProviderChain, profile::ProfileFileRegionProvider,
};
use aws_sdk_s3::{
    Client,
    config::{
        Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_types::service_config::ServiceConfigKey;

use super::{
    endpoint::Endpoint,
    options::S3Options,
    trouble::is_region,
    wire::{self, Role},
};
use crate::{Error, code::Code, shown::Shown};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long one attempt of a call may take that is not the reading of a file.
pub(super) const ATTEMPT: Duration = Duration::from_secs(45);

/// How many times such a call is made at most.
const ATTEMPTS: u32 = 4;

/// The region of stores that have none.
const NO_REGION: &str = "us-east-1";

/// The clients of one model, which share connections' settings, credentials and the store's address.
#[derive(Debug)]
pub(super) struct Clients {
    /// For calls that the vendor's client repeats by itself.
    pub(super) calls: Client,
    /// For reads, which are repeated here, from where they were cut.
    pub(super) reads: Client,
    /// The region that is asked.
    pub(super) region: String,
}

/// Reads the environment and the files of AWS's own tools, and makes the clients. Asks nobody but, where no region is set
/// and no endpoint, the machine's own address for its region.
///
/// # Errors
/// `bad-argument`, `arguments-conflict`, `key-malformed`, `key-absent`, `transport-insecure`.
pub(super) async fn connect(options: &S3Options) -> Result<Clients, Error> {
    options.check()?;
    if let Some(url) = &options.endpoint_url {
        admit(&Endpoint::given(url)?, options)?;
    }
    let mut files: Vec<Vec<u8>> = options.tls_ca.iter().cloned().collect();
    if let Some(path) = variable("AWS_CA_BUNDLE") {
        files.push(crate::read_key(PathBuf::from(path))?);
    }
    let roots = wire::roots(&files)?;

    let config = load(options, wire::client(Role::Credentials, options.allow_http, roots.clone())?).await;
    let endpoint = match endpoint_url(options, &config) {
        Some(url) => Some(Endpoint::given(&url)?),
        None => None,
    };
    if let Some(endpoint) = &endpoint {
        admit(endpoint, options)?;
    }
    let region = region(&config, endpoint.as_ref())?;
    let path_style =
        options.path_style.unwrap_or_else(|| endpoint.as_ref().is_some_and(|own| !own.has_bucket_names()));
    let builder = aws_sdk_s3::config::Builder::from(&config)
        .region(Region::new(region.clone()))
        .force_path_style(path_style)
        .http_client(wire::client(Role::Store, options.allow_http, roots)?);
    let times = TimeoutConfig::builder().connect_timeout(CONNECT);
    let calls = builder
        .clone()
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(times.clone().read_timeout(ATTEMPT).operation_attempt_timeout(ATTEMPT).build())
        .build();
    let reads = builder
        .retry_config(RetryConfig::disabled())
        .timeout_config(times.read_timeout(options.stall()).build())
        .build();
    Ok(Clients { calls: Client::from_conf(calls), reads: Client::from_conf(reads), region })
}

/// Whether the endpoint may be spoken to.
fn admit(endpoint: &Endpoint, options: &S3Options) -> Result<(), Error> {
    if !endpoint.is_plain {
        return Ok(());
    }
    if options.customer_key.is_some() {
        return Err(Error::new(
            Code::TransportInsecure,
            "the key for encryption would be sent to the store without TLS",
        )
        .with_help("use https"));
    }
    match options.allow_http {
        true => Ok(()),
        false => {
            Err(Error::new(Code::TransportInsecure, "the endpoint of S3 would be spoken to without TLS"))
        }
    }
}

async fn load(options: &S3Options, http: aws_sdk_s3::config::SharedHttpClient) -> SdkConfig {
    let mut loader: ConfigLoader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(ATTEMPT).build())
        // What is read is hashed anyway; a checksum of a whole file is of no use for a part of it.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Stalls are seen here, where the read goes on from where it stopped.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if options.anonymous {
        loader = loader.no_credentials();
    } else if let Some(credentials) = &options.credentials {
        loader = loader.credentials_provider(credentials.clone());
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    } else if options.endpoint_url.is_some()
        || variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL")).is_some()
    {
        // The machine's own address is not asked for the region of somebody else's store.
        let mut profile = ProfileFileRegionProvider::builder();
        if let Some(name) = &options.profile {
            profile = profile.profile_name(name);
        }
        loader = loader.region(
            RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile.build()),
        );
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

/// The endpoint as the vendor's client takes it, from the options, the environment or a profile.
fn endpoint_url(options: &S3Options, config: &SdkConfig) -> Option<String> {
    if options.endpoint_url.is_some() {
        return options.endpoint_url.clone();
    }
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    config
        .service_config()
        .and_then(|service| service.load_config(key))
        .or_else(|| config.endpoint_url().map(str::to_owned))
}

fn region(config: &SdkConfig, endpoint: Option<&Endpoint>) -> Result<String, Error> {
    match (config.region(), endpoint) {
        // It becomes a part of the host's name.
        (Some(region), _) if !is_region(region.as_ref()) => {
            let what = format!("{:?} is no region of S3", Shown(region.as_ref()));
            Err(Error::new(Code::BadArgument, what)
                .with_help("correct AWS_REGION, the profile, or --s3-region"))
        }
        (Some(region), _) => Ok(region.to_string()),
        (None, Some(endpoint)) if !endpoint.has_bucket_names() => Ok(NO_REGION.to_owned()),
        _ => Err(Error::new(Code::BadArgument, "the region of the bucket in S3 is not known")
            .with_help("set AWS_REGION, a region in the profile, or AWS_ENDPOINT_URL for another store")),
    }
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
