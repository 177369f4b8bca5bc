//! How S3 is reached, and how what is in it must be encrypted.

use std::{fmt, sync::Arc, time::Duration};

use aws_sdk_s3::config::Credentials;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::{Error, code::Code};

/// How long a store may send nothing before a read is tried again, where nothing else is said.
const STALL: Duration = Duration::from_secs(10);

/// How S3, and stores that speak its protocol are reached.
///
/// A new one takes what the environment and the files of AWS's own tools say: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`,
/// `AWS_REGION`, `AWS_PROFILE`, `AWS_CA_BUNDLE`, and credentials from the environment, a profile, a web identity, a
/// container, a process or the machine's own role; `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count.
#[derive(Clone, Default)]
pub struct S3Options {
    pub(super) endpoint_url: Option<String>,
    pub(super) region: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) path_style: Option<bool>,
    pub(super) anonymous: bool,
    pub(super) credentials: Option<Credentials>,
    pub(super) kms_key: Option<String>,
    pub(super) customer_key: Option<SseCKey>,
    stall: Option<Duration>,
    pub(crate) allow_http: bool,
    pub(crate) tls_ca: Option<Vec<u8>>,
}

impl S3Options {
    /// What the environment says.
    pub fn new() -> Self {
        Self::default()
    }

    /// The address of a store that is not AWS's own, for example `https://minio.example:9000`.
    #[must_use]
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint_url = Some(url.into());
        self
    }

    /// The region of the bucket. A store of somebody else than AWS is asked as one in `us-east-1` where none is known.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The profile of the files of AWS's own tools.
    #[must_use]
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// Whether the bucket stands in the path of a request and not in its host name. Where nothing is said: in the path for
    /// every endpoint that is not AWS's own.
    #[must_use]
    pub fn path_style(mut self, path: bool) -> Self {
        self.path_style = Some(path);
        self
    }

    /// The credentials, for a program that has them; where none are given, the environment, a profile or a role has them.
    #[must_use]
    pub fn credentials(
        mut self,
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
    ) -> Self {
        let token = session_token.map(str::to_owned);
        self.credentials = Some(Credentials::new(access_key_id, secret_access_key, token, None, "given"));
        self
    }

    /// Whether requests are made without credentials, as public buckets allow.
    #[must_use]
    pub fn anonymous(mut self, anonymous: bool) -> Self {
        self.anonymous = anonymous;
        self
    }

    /// Demands that everything is encrypted by the store with this key of its key service (SSE-KMS): an id, an alias or a
    /// whole ARN. What is written is encrypted with it.
    #[must_use]
    pub fn require_sse_kms(mut self, key_id: impl Into<String>) -> Self {
        self.kms_key = Some(key_id.into());
        self
    }

    /// The key that everything is encrypted with (SSE-C); it is sent to the store with each request, over TLS alone.
    #[must_use]
    pub fn sse_c_key(mut self, key: SseCKey) -> Self {
        self.customer_key = Some(key);
        self
    }

    /// Whether the store may be spoken to without TLS.
    #[must_use]
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// Trusts these roots for TLS besides those of the system, in PEM: those of a private authority.
    #[must_use]
    pub fn tls_ca(mut self, pem: &[u8]) -> Self {
        self.tls_ca = Some(pem.to_vec());
        self
    }

    /// How long the store may send nothing before a read is tried again: 10 s where nothing is said.
    #[must_use]
    pub fn stall_after(mut self, time: Duration) -> Self {
        self.stall = Some(time);
        self
    }

    pub(super) fn stall(&self) -> Duration {
        self.stall.unwrap_or(STALL)
    }

    /// What cannot be right whatever the environment says.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.kms_key.is_some() && self.customer_key.is_some() {
            return Err(Error::new(
                Code::ArgumentsConflict,
                "a file is encrypted with a key of the store's key service or with one of your own, not with both",
            ));
        }
        if self.kms_key.as_deref().is_some_and(str::is_empty) {
            return Err(Error::new(Code::BadArgument, "the id of the key that is demanded is empty"));
        }
        if self.anonymous && (self.profile.is_some() || self.credentials.is_some()) {
            return Err(Error::new(
                Code::ArgumentsConflict,
                "neither a profile nor credentials are of use for requests without credentials",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("region", &self.region)
            .field("profile", &self.profile)
            .field("path_style", &self.path_style)
            .field("anonymous", &self.anonymous)
            .field("kms_key", &self.kms_key)
            .field("customer_key", &self.customer_key)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

/// A key of 256 bits for encryption with a customer's key (SSE-C). It is wiped from memory when it is no longer used, and
/// shown nowhere.
#[derive(Clone)]
pub struct SseCKey(Arc<Zeroizing<[u8; 32]>>);

impl SseCKey {
    /// The key itself.
    pub fn new(key: [u8; 32]) -> Self {
        SseCKey(Arc::new(Zeroizing::new(key)))
    }

    /// A key as it stands in a file: 32 bytes as they are, or in base64 or hexadecimal with white space around.
    ///
    /// # Errors
    /// `key-malformed`.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        let malformed = || {
            Error::new(Code::KeyMalformed, "the key for encryption is not one of 32 bytes")
                .with_help("give 32 bytes as they are, or in base64 or hexadecimal")
        };
        let mut key = Zeroizing::new([0; 32]);
        let text = content.trim_ascii();
        if content.len() == 32 {
            key.copy_from_slice(content);
        } else if text.len() == 64 {
            for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
                let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
                let (high, low) = digit(0).zip(digit(1)).ok_or_else(malformed)?;
                *byte = u8::try_from(high * 16 + low).map_err(|_| malformed())?;
            }
        } else {
            let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| malformed())?);
            if bytes.len() != 32 {
                return Err(malformed());
            }
            key.copy_from_slice(&bytes);
        }
        Ok(SseCKey(Arc::new(key)))
    }

    /// The key as a request carries it.
    pub(super) fn base64(&self) -> String {
        STANDARD.encode(self.0.as_slice())
    }

    /// The checksum of the key, which a request carries beside it.
    pub(super) fn md5_base64(&self) -> String {
        STANDARD.encode(Md5::digest(self.0.as_slice()))
    }
}

impl fmt::Debug for SseCKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SseCKey([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_bytes_base64_or_hexadecimal() {
        let key = [7; 32];
        let hex = "07".repeat(32);
        let base64 = STANDARD.encode(key);
        for content in [&key[..], hex.as_bytes(), base64.as_bytes(), format!(" {base64}\n").as_bytes()] {
            assert_eq!(SseCKey::parse(content).unwrap().base64(), base64);
        }
        for content in
            [&b""[..], &[7; 31], &[7; 33], &[b'x'; 64], b"AAAA", STANDARD.encode([7; 33]).as_bytes()]
        {
            assert_eq!(SseCKey::parse(content).unwrap_err().code(), Code::KeyMalformed);
        }
        let options = S3Options::new().sse_c_key(SseCKey::new(key)).endpoint_url("https://me:pw@host");
        let shown = format!("{options:?}");
        assert!(!shown.contains("7, 7") && !shown.contains(&base64) && !shown.contains("pw"), "{shown}");
        // As `openssl dgst -md5` has it.
        assert_eq!(SseCKey::new([0; 32]).md5_base64(), "cLyPS3KoaSFGi/joRB3OUQ==");
    }

    #[test]
    fn what_contradicts_itself_is_misuse() {
        let both = S3Options::new().require_sse_kms("k").sse_c_key(SseCKey::new([0; 32]));
        assert_eq!(both.check().unwrap_err().code(), Code::ArgumentsConflict);
        assert_eq!(S3Options::new().require_sse_kms("").check().unwrap_err().code(), Code::BadArgument);
        assert!(S3Options::new().require_sse_kms("k").check().is_ok());
    }
}
