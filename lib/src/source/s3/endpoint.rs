//! The address of a store.

use std::net::IpAddr;

use crate::{Error, code::Code};

/// The address of a store, as far as it decides something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Without TLS.
    pub(super) is_plain: bool,
    /// The host, without the port and in lower case; an IPv6 address without brackets.
    pub(super) host: String,
}

impl Endpoint {
    /// Reads the scheme and the host of a URL; none where it has no such.
    pub(super) fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_plain = match scheme.to_ascii_lowercase().as_str() {
            "http" => true,
            "https" => false,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host_port.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?.0,
            None => host_port.split_once(':').map_or(host_port, |(host, _)| host),
        };
        (!host.is_empty()).then(|| Endpoint { is_plain, host: host.to_ascii_lowercase() })
    }

    /// An endpoint that somebody gave, which has neither a user nor a query.
    ///
    /// # Errors
    /// `bad-argument`, without the URL, which may hold a password.
    pub(super) fn given(url: &str) -> Result<Self, Error> {
        let refuse =
            |why: &str| Error::new(Code::BadArgument, format!("the endpoint of S3 cannot be used: {why}"));
        let endpoint = Endpoint::of(url).ok_or_else(|| refuse("it is not a URL of https or http"))?;
        if url.contains(['?', '#']) || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(refuse("it is more than a host, a port and a path"));
        }
        if url.contains('@') {
            return Err(refuse("credentials do not belong into it")
                .with_help("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile"));
        }
        Ok(endpoint)
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether a bucket can stand before the host's name, as AWS has it.
    pub(super) fn has_bucket_names(&self) -> bool {
        ["amazonaws.com", "amazonaws.com.cn"].iter().any(|domain| {
            self.host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// Whether it is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Whether it is where a machine or a container asks for its own credentials: always without TLS, and never through a
    /// proxy.
    pub(super) fn is_metadata(&self) -> bool {
        match self.address() {
            Some(IpAddr::V4(address)) => address.is_link_local(),
            // What AWS uses of its own: fd00:ec2::/32.
            Some(IpAddr::V6(address)) => matches!(address.segments(), [0xfd00, 0xec2, ..]),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_however_the_url_is_written() {
        for (url, plain, host) in [
            ("https://s3.us-east-1.amazonaws.com", false, "s3.us-east-1.amazonaws.com"),
            ("HTTP://LocalHost:9000/path?x", true, "localhost"),
            ("http://[fd00:ec2::254]:80/latest", true, "fd00:ec2::254"),
            ("http://a@b@169.254.169.254", true, "169.254.169.254"),
        ] {
            assert_eq!(Endpoint::of(url), Some(Endpoint { is_plain: plain, host: host.to_owned() }), "{url}");
        }
        for url in ["", "minio:9000", "ftp://host", "https://", "https:///path", "http://[::1"] {
            assert_eq!(Endpoint::of(url), None, "{url}");
        }
    }

    #[test]
    fn an_endpoint_has_neither_user_nor_query_and_an_error_does_not_repeat_it() {
        assert!(Endpoint::given("https://minio.example:9000/").is_ok());
        for url in ["minio", "https://me:pw@host", "https://host?x=pw", "https://host#pw", "https://ho st/pw"]
        {
            let error = Endpoint::given(url).unwrap_err();
            assert_eq!(error.code(), Code::BadArgument, "{url}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }

    #[test]
    fn hosts_are_told_apart() {
        let of = |host: &str| Endpoint { is_plain: true, host: host.to_owned() };
        assert!(
            of("s3.eu-west-1.amazonaws.com").has_bucket_names() && of("amazonaws.com").has_bucket_names()
        );
        assert!(
            !of("evilamazonaws.com").has_bucket_names() && !of("amazonaws.com.example").has_bucket_names()
        );
        assert!(
            of("127.0.0.9").is_loopback()
                && of("::1").is_loopback()
                && !of("localhost.example").is_loopback()
        );
        assert!(of("169.254.170.2").is_metadata() && of("fd00:ec2::23").is_metadata());
        assert!(!of("10.0.0.1").is_metadata() && !of("fd00:ec3::1").is_metadata());
    }
}
