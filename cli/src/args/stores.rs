//! How stores are reached: `s3://` and `hf://`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use weightseal::{Access, Error, HubOptions, S3Options, SseCKey, read_key};

use crate::files::in_file;

pub(super) const STORES: &str = "Stores (s3://, hf://)";

/// How stores are reached.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreArgs {
    /// The address of a store that speaks the protocol of S3 [env: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, help_heading = STORES)]
    s3_endpoint_url: Option<String>,

    /// The region of the bucket [env: AWS_REGION]
    #[arg(long, value_name = "REGION", help_heading = STORES)]
    s3_region: Option<String>,

    /// Take credentials and settings from this profile [env: AWS_PROFILE]
    #[arg(long, value_name = "NAME", help_heading = STORES)]
    s3_profile: Option<String>,

    /// Whether the bucket stands in the path and not in the host name [default: at any endpoint but Amazon's]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = STORES)]
    s3_path_style: Option<bool>,

    /// Read a public bucket, without credentials
    #[arg(long, help_heading = STORES)]
    s3_anonymous: bool,

    /// Demand that every object is encrypted under this KMS key
    #[arg(long, value_name = "KEY_ID", help_heading = STORES)]
    require_sse_kms: Option<String>,

    /// The key of objects that are encrypted with the customer's own (SSE-C): 32 bytes, as they are, in base64 or in hex
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = STORES)]
    sse_c_key_file: Option<PathBuf>,

    /// The address of the Hub, or of a mirror of it; the token goes there [env: HF_ENDPOINT, without the token]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, help_heading = STORES)]
    hf_endpoint: Option<String>,

    /// A host besides huggingface.co that the Hub's token may go to; may be given several times
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname, help_heading = STORES)]
    hf_token_host: Vec<String>,

    /// Speak to stores without TLS where their address says so
    #[arg(long, help_heading = STORES)]
    allow_http: bool,

    /// Trust these root certificates for TLS as well, in PEM: those of a private authority
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = STORES)]
    pub(crate) tls_ca: Option<PathBuf>,
}

/// What of a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The model, from the Hub's cache where it is there.
    Model,
    /// What the store states.
    Stated,
    /// Nothing: only the Hub's cache.
    Offline,
}

impl StoreArgs {
    /// The flags that were given, with their values, for a line to type.
    pub(crate) fn given(&self) -> Vec<(&'static str, Option<String>)> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let valued = [
            ("--s3-endpoint-url", self.s3_endpoint_url.clone()),
            ("--s3-region", self.s3_region.clone()),
            ("--s3-profile", self.s3_profile.clone()),
            ("--s3-path-style", self.s3_path_style.map(|given| given.to_string())),
            ("--require-sse-kms", self.require_sse_kms.clone()),
            ("--sse-c-key-file", self.sse_c_key_file.as_ref().map(path)),
            ("--hf-endpoint", self.hf_endpoint.clone()),
            ("--tls-ca", self.tls_ca.as_ref().map(path)),
        ];
        let hosts = self.hf_token_host.iter().map(|host| ("--hf-token-host", Some(host.clone())));
        let bare = [("--s3-anonymous", self.s3_anonymous), ("--allow-http", self.allow_http)];
        let bare = bare.into_iter().filter_map(|(flag, given)| given.then_some((flag, None)));
        valued.into_iter().filter(|(_, value)| value.is_some()).chain(hosts).chain(bare).collect()
    }

    /// How stores are reached, with the files that were named.
    ///
    /// # Errors
    /// `key-absent`, `key-malformed`, `bad-argument`.
    pub(crate) fn access(&self, at: Reach) -> Result<Access, Error> {
        let mut s3 = S3Options::default().anonymous(self.s3_anonymous);
        if let Some(url) = &self.s3_endpoint_url {
            s3 = s3.endpoint_url(url);
        }
        if let Some(region) = &self.s3_region {
            s3 = s3.region(region);
        }
        if let Some(profile) = &self.s3_profile {
            s3 = s3.profile(profile);
        }
        if let Some(path_style) = self.s3_path_style {
            s3 = s3.path_style(path_style);
        }
        if let Some(key) = &self.require_sse_kms {
            s3 = s3.require_sse_kms(key);
        }
        if let Some(file) = &self.sse_c_key_file {
            s3 = s3.sse_c_key(SseCKey::parse(&read_key(file)?).map_err(|error| in_file(file, error))?);
        }
        let mut hub = HubOptions::default().offline(at == Reach::Offline);
        if at == Reach::Stated {
            hub = hub.no_cache();
        }
        if let Some(url) = &self.hf_endpoint {
            hub = hub.endpoint(url);
        }
        for host in &self.hf_token_host {
            hub = hub.token_host(host);
        }
        let mut access = Access::new().allow_http(self.allow_http).s3(s3).hub(hub);
        if let Some(file) = &self.tls_ca {
            access = access.tls_ca(&read_key(file)?);
        }
        Ok(access)
    }
}
