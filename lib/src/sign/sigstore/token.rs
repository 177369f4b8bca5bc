//! Identity tokens (OpenID Connect Core 1.0, section 2): what they say is read before anybody else sees them, so that what
//! a certificate authority would refuse is refused here, with the reason.

use std::{
    fmt,
    fmt::Debug,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{Error, Run, bundle::json, code::Code, fs, shown::Shown, verify::rfc3339};

/// Largest token that is read, in bytes.
const TOKEN_BYTES: u64 = 64 << 10;

/// How far clocks may be apart, in seconds.
const SKEW: i64 = 60;

/// Where identity tokens come from. Asked when it is time to sign, which may be hours after a large model began to be
/// hashed: whoever can get a new token gives one then.
pub trait TokenSource: Debug + Send + Sync {
    /// A token.
    ///
    /// # Errors
    /// The codes of tokens.
    fn token(&self, run: &Run) -> Result<IdentityToken, Error>;
}

/// A token that says who somebody is, as an identity provider signed it. Neither `Debug` nor any error shows it.
#[derive(Clone)]
pub struct IdentityToken {
    raw: Zeroizing<String>,
    claims: Map<String, Value>,
}

/// A file with a token, such as Kubernetes projects into a pod; read each time, since it is renewed.
#[derive(Clone, Debug)]
pub struct TokenFile(pub PathBuf);

impl IdentityToken {
    /// Parses a token; space around it does not matter. Nothing of it is verified here: the certificate authority does that.
    ///
    /// # Errors
    /// `token-malformed`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw = text.trim();
        let malformed = |what: &str| Error::new(Code::TokenMalformed, format!("the identity token {what}"));
        if raw.is_empty() {
            return Err(malformed("is empty"));
        }
        if raw.len() as u64 > TOKEN_BYTES {
            return Err(malformed(&format!("is larger than {TOKEN_BYTES} bytes")));
        }
        if raw.contains(|c: char| !c.is_ascii_graphic()) {
            return Err(malformed("has letters that no token has"));
        }
        let parts: Vec<&str> = raw.split('.').collect();
        let [_, claims, _] = parts[..] else {
            return Err(malformed(&format!(
                "has {} parts with dots between them instead of three",
                parts.len()
            )));
        };
        let claims =
            decode(claims).map(Zeroizing::new).ok_or_else(|| malformed("has claims that are not base64"))?;
        // An error of the parser could quote the claims.
        let claims = json::check(&claims, "it")
            .ok()
            .and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok())
            .ok_or_else(|| malformed("has claims that are not a JSON object"))?;
        let token = IdentityToken { raw: Zeroizing::new(raw.to_owned()), claims };
        for needed in ["iss", "sub"] {
            if token.text(needed).is_none_or(str::is_empty) {
                return Err(malformed(&format!("has no claim {needed}")));
            }
        }
        if token.seconds("exp").is_none() {
            return Err(malformed("has no claim exp"));
        }
        Ok(token)
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    /// `token-absent` when there is no such file; `token-malformed`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let bytes = fs::read_bounded(
            path,
            TOKEN_BYTES + 2,
            "the identity token",
            Code::TokenAbsent,
            Code::TokenMalformed,
        )
        .map(Zeroizing::new)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Error::new(Code::TokenMalformed, format!("the identity token in {} is not text", Shown(&shown)))
        })?;
        IdentityToken::parse(text)
            .map_err(|error| Error::new(error.code(), format!("{error}, in {}", Shown(&shown))))
    }

    /// Who made it.
    pub fn issuer(&self) -> &str {
        self.text("iss").unwrap_or_default()
    }

    /// Whom it is about, as its issuer knows him.
    pub fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    /// His mail address.
    pub fn email(&self) -> Option<&str> {
        self.text("email").filter(|email| !email.is_empty())
    }

    /// Whether the issuer has checked the mail address; none where it does not say.
    pub(super) fn email_verified(&self) -> Option<bool> {
        match self.claims.get("email_verified")? {
            Value::Bool(verified) => Some(*verified),
            // Some providers write it as text.
            Value::String(text) => Some(text == "true"),
            _ => Some(false),
        }
    }

    /// Who vouches behind the issuer, where that one only passes on what another provider said.
    pub(super) fn federated_issuer(&self) -> Option<&str> {
        self.claims.get("federated_claims")?.get("connector_id")?.as_str()
    }

    /// Whether it was made for this audience.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        self.audiences().any(|given| given == audience)
    }

    /// Refuses a token whose time is not now.
    ///
    /// # Errors
    /// `token-expired`, `token-not-yet-valid`.
    pub fn check_time(&self, now: i64) -> Result<(), Error> {
        let exp = self.seconds("exp").unwrap_or_default();
        if exp <= now {
            let what = format!("the identity token of {} expired at {}", Shown(self.issuer()), rfc3339(exp));
            return Err(Error::new(Code::TokenExpired, what));
        }
        let from = [self.seconds("nbf"), self.seconds("iat")].into_iter().flatten().max();
        match from {
            Some(from) if from > now.saturating_add(SKEW) => {
                let what =
                    format!("the identity token of {} is valid from {}", Shown(self.issuer()), rfc3339(from));
                Err(Error::new(Code::TokenNotYetValid, what))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a token that was made for somebody else.
    ///
    /// # Errors
    /// `token-audience`.
    pub(super) fn check_audience(&self, wanted: &str) -> Result<(), Error> {
        if self.is_for(wanted) {
            return Ok(());
        }
        let given: Vec<&str> = self.audiences().collect();
        let given = if given.is_empty() { "nobody".to_owned() } else { given.join(", ") };
        let what = format!("the identity token is for {}, and not for {}", Shown(&given), Shown(wanted));
        Err(Error::new(Code::TokenAudience, what)
            .with_help(format!("ask for a token with the audience {}", Shown(wanted))))
    }

    /// The token itself, for whom it was made.
    pub(super) fn secret(&self) -> &str {
        &self.raw
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    fn seconds(&self, claim: &str) -> Option<i64> {
        let number = self.claims.get(claim)?;
        // Fractions are allowed (RFC 7519, section 2), and cut here.
        number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))
    }

    fn audiences(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self.claims.get("aud") {
            Some(Value::String(one)) => (Some(one.as_str()), None),
            Some(Value::Array(many)) => (None, Some(many)),
            _ => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
    }
}

impl Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityToken").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

impl TokenSource for IdentityToken {
    fn token(&self, _: &Run) -> Result<IdentityToken, Error> {
        Ok(self.clone())
    }
}

impl<T: TokenSource + ?Sized> TokenSource for Box<T> {
    fn token(&self, run: &Run) -> Result<IdentityToken, Error> {
        (**self).token(run)
    }
}

impl TokenSource for TokenFile {
    fn token(&self, _: &Run) -> Result<IdentityToken, Error> {
        IdentityToken::read(&self.0)
    }
}

/// Base64 in the URL's alphabet, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::URL_SAFE, config).decode(text).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    pub(in super::super) fn good() -> Value {
        json!({"iss": "https://issuer.example", "sub": "someone", "aud": "sigstore", "exp": NOW + 600, "iat": NOW,
               "email": "dev@example.com", "email_verified": true})
    }

    pub(in super::super) fn text(claims: &Value) -> String {
        format!("eyJhbGciOiJFUzI1NiJ9.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn with(edit: impl FnOnce(&mut Value)) -> Result<IdentityToken, Error> {
        let mut claims = good();
        edit(&mut claims);
        IdentityToken::parse(&text(&claims))
    }

    #[test]
    fn a_good_token_is_read_with_space_around_it() {
        let token = IdentityToken::parse(&format!(" {}\r\n", text(&good()))).unwrap();
        assert_eq!(token.issuer(), "https://issuer.example");
        assert_eq!((token.subject(), token.email()), ("someone", Some("dev@example.com")));
        assert_eq!(token.email_verified(), Some(true));
        assert_eq!(token.secret(), text(&good()));
        assert!(token.check_time(NOW).is_ok() && token.check_audience("sigstore").is_ok());
    }

    #[test]
    fn what_is_no_token_is_malformed_and_not_repeated() {
        let secret = text(&good());
        let body = secret.split('.').nth(1).unwrap();
        for bad in [
            "",
            "  ",
            "one.two",
            "a.b.c.d",
            &format!("h.{body}"),
            "h.!!!.s",
            "h.e30.s",
            "h.W10.s",
            "h.bm8.s",
            &format!("h.{body}\u{e9}.s"),
            &"x".repeat(70_000),
        ] {
            let error = IdentityToken::parse(bad).unwrap_err();
            assert_eq!(error.code(), Code::TokenMalformed, "{bad:.20}");
            assert!(!error.to_string().contains(body));
        }
        for claim in ["iss", "sub", "exp"] {
            let error = with(|claims| drop(claims.as_object_mut().unwrap().remove(claim))).unwrap_err();
            assert_eq!(error.code(), Code::TokenMalformed);
            assert!(error.to_string().ends_with(claim));
        }
    }

    #[test]
    fn a_token_is_good_in_its_time_only() {
        let code = |token: IdentityToken, now| token.check_time(now).unwrap_err().code();
        let token = with(|_| ()).unwrap();
        assert!(token.check_time(NOW + 599).is_ok());
        assert_eq!(code(token, NOW + 600), Code::TokenExpired);
        let early = with(|claims| claims["nbf"] = json!(NOW + 61)).unwrap();
        assert_eq!(code(early, NOW), Code::TokenNotYetValid);
        let fraction = with(|claims| claims["exp"] = json!(NOW as f64 + 0.5)).unwrap();
        assert_eq!(code(fraction, NOW), Code::TokenExpired);
    }

    #[test]
    fn a_token_has_to_be_for_the_audience() {
        let many = with(|claims| claims["aud"] = json!(["other", "sigstore"])).unwrap();
        assert!(many.check_audience("sigstore").is_ok());
        for aud in [json!("sigstore2"), json!(["a", "b"]), Value::Null] {
            let token = with(|claims| claims["aud"] = aud).unwrap();
            assert_eq!(token.check_audience("sigstore").unwrap_err().code(), Code::TokenAudience);
        }
    }

    #[test]
    fn a_token_never_shows_itself() {
        let token = with(|_| ()).unwrap();
        let debug = format!("{token:?}");
        assert!(!debug.contains(token.secret()) && !debug.contains("dev@example.com"), "{debug}");
    }

    #[test]
    fn a_token_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = TokenFile(path.clone());
        assert_eq!(source.token(&Run::new()).unwrap_err().code(), Code::TokenAbsent);
        std::fs::write(&path, text(&good()) + "\n").unwrap();
        assert_eq!(source.token(&Run::new()).unwrap().subject(), "someone");
        std::fs::write(&path, "none").unwrap();
        let error = source.token(&Run::new()).unwrap_err();
        assert_eq!(error.code(), Code::TokenMalformed);
        assert!(error.to_string().ends_with("/token"), "{error}");
    }
}
