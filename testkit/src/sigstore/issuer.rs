//! An issuer of identity tokens: it publishes its key as OpenID Connect has it, and mints tokens in this process.

use std::io;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::http::{Request, Response, Server};
use crate::pki::Key;

/// Whom tokens are for.
pub(super) const AUDIENCE: &str = "sigstore";

/// The name of its only key.
const KEY_ID: &str = "weightseal-testkit";

/// For how many seconds a token is good.
const LIFETIME: u64 = 600;

/// A running issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    key: Key,
    url: String,
    _server: Server,
}

impl Issuer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) fn start(key: &Key) -> io::Result<Issuer> {
        let jwks = jwks(key).to_string();
        let server = Server::start(move |stream| {
            // Who hangs up is not answered.
            let _ = answer(stream, &jwks);
        })?;
        Ok(Issuer { key: key.clone(), url: url(server.port()), _server: server })
    }

    /// Its name, which is where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The claims every token has, good from now on.
    pub(super) fn claims(&self, subject: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        json!({
            "iss": self.url,
            "sub": subject,
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now.saturating_sub(5),
            "exp": now + LIFETIME,
        })
    }

    /// A token of these claims, whatever they are.
    pub(super) fn mint(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}).to_string();
        let signed = format!("{}.{}", encoded(&header), encoded(claims.to_string()));
        let signature = self.key.sign_es256(signed.as_bytes());
        format!("{signed}.{}", encoded(signature))
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Fulcio takes an issuer without TLS only under this name.
fn url(port: u16) -> String {
    format!("http://localhost:{port}")
}

fn answer(stream: &TcpStream, jwks: &str) -> io::Result<()> {
    let Some(request) = Request::read(stream)? else { return Ok(()) };
    let response = match request.path.as_str() {
        "/.well-known/openid-configuration" => {
            let url = url(stream.local_addr()?.port());
            Response::new(200, "application/json", discovery(&url).to_string())
        }
        "/keys" => Response::new(200, "application/json", jwks),
        // Nobody logs in here: tokens are minted, not asked for.
        _ => Response::new(404, "text/plain", *b"not here"),
    };
    response.write(stream)
}

fn discovery(url: &str) -> Value {
    json!({
        "issuer": url,
        "jwks_uri": format!("{url}/keys"),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn jwks(key: &Key) -> Value {
    // The point stands at the end of the key: 04, x, y.
    let spki = key.spki_der();
    let (x, y) = spki[spki.len() - 64..].split_at(32);
    json!({"keys": [{
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
        "use": "sig",
        "kid": KEY_ID,
        "x": encoded(x),
        "y": encoded(y),
    }]})
}
