//! The client for HTTP under the vendor's own: what may be spoken to how, and how much an answer may be.

use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use aws_sdk_s3::{
    config::http::{HttpRequest, HttpResponse},
    error::{BoxError, ConnectorError},
    primitives::SdkBody,
};
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    runtime_components::RuntimeComponents,
};
use http_body::{Body, Frame, SizeHint};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::endpoint::Endpoint;
use crate::{Error, code::Code};

/// So many pools of connections share the reads: a server that speaks HTTP/2 gets as many connections and not one, on
/// which all reads would share one window.
const LANES: usize = 4;

/// Most connections of a pool that are kept for the next read.
const IDLE: usize = 32;

/// Largest answer that is not a file's bytes: a list of a thousand keys of a thousand bytes, each escaped.
const ANSWER_BYTES: u64 = 4 << 20;

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The store itself.
    Store,
    /// Credentials: services of the cloud, and the machine's or container's own address for that.
    Credentials,
}

/// A client with these roots of TLS.
pub(super) fn client(role: Role, allow_http: bool, roots: TrustStore) -> Result<SharedHttpClient, Error> {
    let tls = TlsContext::builder().with_trust_store(roots).build().map_err(|error| {
        Error::new(Code::ServiceFailed, format!("TLS cannot be set up: {}", crate::words::cause(&error)))
    })?;
    Ok(SharedHttpClient::new(Wire { role, allow_http, tls, connectors: Mutex::default() }))
}

/// The system's roots, and those in these PEM files. Certificates that cannot be used as roots are left out.
///
/// # Errors
/// `key-malformed` where a file has none that can.
pub(super) fn roots(files: &[Vec<u8>]) -> Result<TrustStore, Error> {
    let mut store = TrustStore::default();
    for pem in files {
        let usable: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
            .filter_map(Result::ok)
            .filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok())
            .collect();
        if usable.is_empty() {
            return Err(Error::new(
                Code::KeyMalformed,
                "the root certificates for TLS cannot be used: there is none in the file",
            )
            .with_help("give a PEM file with one certificate or more"));
        }
        for certificate in usable {
            store = store.with_pem_certificate(pem_of(&certificate));
        }
    }
    Ok(store)
}

fn pem_of(certificate: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let base64 = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// Why a request was not sent: it would have gone without TLS.
#[derive(Debug)]
pub(super) struct Insecure;

impl fmt::Display for Insecure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it would be spoken to without TLS")
    }
}

impl StdError for Insecure {}

/// Makes the connectors, one set for each setting of timeouts.
struct Wire {
    role: Role,
    allow_http: bool,
    tls: TlsContext,
    connectors: Mutex<HashMap<Times, SharedHttpConnector>>,
}

type Times = (Option<Duration>, Option<Duration>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({:?})", self.role)
    }
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let times = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = connectors.entry(times).or_insert_with(|| {
            let build = |proxies: ProxyConfig| {
                let mut builder = Connector::builder()
                    .connector_settings(settings.clone())
                    .pool_max_idle_per_host(IDLE)
                    .proxy_config(proxies)
                    .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                    .tls_context(self.tls.clone());
                builder.set_sleep_impl(components.sleep_impl());
                SharedHttpConnector::new(builder.build())
            };
            let lanes = if self.role == Role::Store { LANES } else { 1 };
            SharedHttpConnector::new(Lanes {
                role: self.role,
                allow_http: self.allow_http,
                lanes: (0..lanes).map(|_| build(ProxyConfig::from_env())).collect(),
                direct: (self.role == Role::Credentials).then(|| build(ProxyConfig::disabled())),
                next: AtomicUsize::new(0),
            })
        });
        connector.clone()
    }
}

/// The connectors of one client.
#[derive(Debug)]
struct Lanes {
    role: Role,
    allow_http: bool,
    lanes: Vec<SharedHttpConnector>,
    /// Past every proxy.
    direct: Option<SharedHttpConnector>,
    next: AtomicUsize,
}

impl Lanes {
    fn choose(&self, request: &HttpRequest) -> Result<&SharedHttpConnector, ConnectorError> {
        let endpoint = Endpoint::of(request.uri()).ok_or_else(|| {
            ConnectorError::user("the address of the request is no URL of http or https".into())
        })?;
        let own = self.role == Role::Credentials && (endpoint.is_metadata() || endpoint.is_loopback());
        if endpoint.is_plain && !self.allow_http && !own {
            return Err(ConnectorError::user(Box::new(Insecure)));
        }
        if let Some(direct) =
            self.direct.as_ref().filter(|_| endpoint.is_metadata() || endpoint.is_loopback())
        {
            return Ok(direct);
        }
        // Other requests come one after the other, and do best on one connection.
        let lane = match request.headers().get("range") {
            Some(_) => self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len().max(1),
            None => 0,
        };
        self.lanes.get(lane).ok_or_else(|| ConnectorError::user("there is no connector".into()))
    }
}

impl HttpConnector for Lanes {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = match self.choose(&request) {
            Ok(connector) => connector,
            Err(error) => return HttpConnectorFuture::ready(Err(error)),
        };
        // What is read of a file is counted by its reader.
        let is_file = request.extension::<WholeFile>().is_some() || request.headers().get("range").is_some();
        let answered = connector.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answered.await.map_err(refusal)?;
            Ok(if is_file && answer.status().is_success() { answer } else { bounded(answer) })
        })
    }
}

/// A server whose certificate is refused is not asked again: it will be refused the next time.
fn refusal(error: ConnectorError) -> ConnectorError {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.to_string().contains("invalid peer certificate") {
            return ConnectorError::user(error.into_source());
        }
        next = cause.source();
    }
    error
}

/// Marks a request whose answer is the bytes of a file.
#[derive(Clone, Debug)]
pub(super) struct WholeFile;

fn bounded(answer: HttpResponse) -> HttpResponse {
    let status = answer.status();
    let headers = answer.headers().clone();
    let mut bounded = HttpResponse::new(
        status,
        SdkBody::from_body_1_x(Bounded { body: answer.into_body(), left: ANSWER_BYTES }),
    );
    *bounded.headers_mut() = headers;
    bounded
}

/// A body that fails when it is too long.
struct Bounded {
    body: SdkBody,
    left: u64,
}

impl Body for Bounded {
    type Data = <SdkBody as Body>::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(length) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(Some(Err(TooLong.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

/// An answer that is too long to be one.
#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {}", crate::Bytes(ANSWER_BYTES))
    }
}

impl StdError for TooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Named(&'static str);

    impl HttpConnector for Named {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::ready(Ok(bounded(HttpResponse::new(
                200.try_into().unwrap(),
                SdkBody::from(self.0),
            ))))
        }
    }

    fn chosen(role: Role, allow_http: bool, url: &str) -> Option<bool> {
        let lanes = Lanes {
            role,
            allow_http,
            lanes: vec![SharedHttpConnector::new(Named("lane"))],
            direct: (role == Role::Credentials).then(|| SharedHttpConnector::new(Named("direct"))),
            next: AtomicUsize::new(0),
        };
        let connector = lanes.choose(&HttpRequest::get(url).unwrap()).ok()?;
        Some(format!("{connector:?}").contains("direct"))
    }

    #[test]
    fn only_a_machines_own_address_is_spoken_to_without_tls_and_past_proxies() {
        for (role, url, expected) in [
            (Role::Store, "https://s3.example/b", Some(false)),
            (Role::Store, "http://s3.example/b", None),
            (Role::Store, "http://127.0.0.1:9000/b", None),
            (Role::Store, "http://169.254.169.254/b", None),
            (Role::Credentials, "https://sts.example/", Some(false)),
            (Role::Credentials, "http://sts.example/", None),
            (Role::Credentials, "http://127.0.0.1:5000/credentials", Some(true)),
            (Role::Credentials, "http://169.254.169.254/latest", Some(true)),
            (Role::Credentials, "http://[fd00:ec2::254]/latest", Some(true)),
        ] {
            assert_eq!(chosen(role, false, url), expected, "{role:?} {url}");
            assert!(chosen(role, true, url).is_some(), "{role:?} {url}");
        }
        assert_eq!(chosen(Role::Store, true, "ftp://s3.example/b"), None);
    }

    #[tokio::test]
    async fn an_answer_has_an_end() {
        use aws_sdk_s3::primitives::ByteStream;
        let body = |length: u64| {
            let bytes = vec![0; usize::try_from(length).unwrap()];
            ByteStream::new(SdkBody::from_body_1_x(Bounded {
                body: SdkBody::from(bytes),
                left: ANSWER_BYTES,
            }))
        };
        assert_eq!(body(ANSWER_BYTES).collect().await.unwrap().to_vec().len() as u64, ANSWER_BYTES);
        assert!(body(ANSWER_BYTES + 1).collect().await.is_err());
    }

    #[test]
    fn roots_for_tls_are_certificates() {
        let key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "nothing", key, broken] {
            assert_eq!(roots(&[pem.into()]).unwrap_err().code(), Code::KeyMalformed, "{pem}");
        }
        assert!(roots(&[]).is_ok());
        assert_eq!(pem_of(&[0; 50]).lines().map(str::len).collect::<Vec<_>>(), [27, 64, 4, 25]);
    }
}
