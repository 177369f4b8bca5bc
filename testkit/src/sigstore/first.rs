//! The first certificates: Fulcio says that it is well before it has asked the issuers for their keys, and the log of
//! certificates for its first promise. Until then a client that does not ask twice may be sent away.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::http::post;
use crate::pki::{Key, KeyKind};

/// How long the first certificate for an issuer may take; keys and servers are made anew after that.
const WITHIN: Duration = Duration::from_secs(20);

/// How often it is asked for.
const POLL: Duration = Duration::from_millis(100);

/// Waits until Fulcio gives a certificate for a token made by `token`, whose possession is proven over `subject`.
pub(super) fn certificate(fulcio: &str, token: impl Fn() -> String, subject: &str) -> io::Result<()> {
    let key = Key::new(KeyKind::P256, 77);
    let start = Instant::now();
    loop {
        let request = json!({
            "credentials": {"oidcIdentityToken": token()},
            "publicKeyRequest": {
                "publicKey": {"algorithm": "ECDSA", "content": key.public_pem()},
                "proofOfPossession": STANDARD.encode(key.sign(subject.as_bytes())),
            },
        });
        let url = format!("{fulcio}/api/v2/signingCert");
        let answer = post(&url, "application/json", request.to_string().as_bytes());
        let words = match answer {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => format!("{} {}", answer.status, answer.text()),
            Err(error) => error.to_string(),
        };
        if start.elapsed() > WITHIN {
            return Err(io::Error::other(format!("Fulcio gives no certificate: {words}")));
        }
        thread::sleep(POLL);
    }
}
