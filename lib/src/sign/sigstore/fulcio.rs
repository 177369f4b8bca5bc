//! The certificate: Fulcio's interface, version 2 (`fulcio.proto`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use sigstore_fulcio::{Configuration, IssuerUrl, OidcIssuer};

use super::{IdentityToken, Place};
use crate::{
    Error,
    code::Code,
    http::{Answer, Call},
    keys::PrivateKey,
    shown::Shown,
    verify::x509,
};

/// Who tokens are for, where Fulcio does not say.
const AUDIENCE: &str = "sigstore";

const SERVICE: &str = "the certificate authority Fulcio";

/// Which claim of the token the key has to sign, to prove that whoever asks for the certificate has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Challenge {
    Email,
    Subject,
}

impl Challenge {
    fn of(self, token: &IdentityToken) -> Option<&str> {
        match self {
            Challenge::Email => token.email(),
            Challenge::Subject => Some(token.subject()),
        }
    }
}

/// What Fulcio knows of a token's issuer.
#[derive(Debug)]
struct Issuer {
    audience: String,
    challenge: Challenge,
    kind: Option<String>,
    domain: Option<String>,
    unverified_email: bool,
}

/// A certificate, and who it has to be for.
pub(super) struct Certified {
    /// DER.
    pub(super) leaf: Vec<u8>,
    /// The identity that the token says, where it can be told from the token.
    pub(super) identity: Option<String>,
}

/// Asks for a certificate for this key.
///
/// # Errors
/// `token-issuer`, `token-audience`, `token-unverified`, `token-malformed`; `service-failed`.
pub(super) fn certify(
    url: &str,
    token: &IdentityToken,
    key: &PrivateKey,
    place: &Place<'_>,
) -> Result<Certified, Error> {
    let issuer = issuer(url, token, place)?;
    token.check_audience(issuer.as_ref().map_or(AUDIENCE, |issuer| &issuer.audience))?;
    let (leaf, challenge) = match &issuer {
        Some(issuer) => {
            issuer.check(token)?;
            (request(url, token, key, issuer.challenge, place)?.ok_or_refused(token)?, issuer.challenge)
        }
        None => guess(url, token, key, place)?,
    };
    let identity = match (issuer.as_ref().and_then(|issuer| issuer.kind.as_deref()), challenge) {
        (Some("email"), _) | (None, Challenge::Email) => token.email().map(ToOwned::to_owned),
        (Some("uri" | "spiffe"), _) => Some(token.subject().to_owned()),
        (Some("username"), _) => issuer
            .and_then(|issuer| issuer.domain)
            .map(|domain| format!("{}!{}", token.subject(), domain.trim_start_matches("https://"))),
        (Some("kubernetes"), _) => service_account(token.subject()),
        // What jobs are called is up to Fulcio's templates.
        _ => None,
    };
    Ok(Certified { leaf, identity })
}

/// `system:serviceaccount:NAMESPACE:NAME`, as Fulcio writes it.
fn service_account(subject: &str) -> Option<String> {
    let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(format!("https://kubernetes.io/namespaces/{namespace}/serviceaccounts/{name}"))
}

/// What Fulcio says of the token's issuer; none where this Fulcio does not say what it knows.
fn issuer(url: &str, token: &IdentityToken, place: &Place<'_>) -> Result<Option<Issuer>, Error> {
    let call = Call::get(SERVICE, format!("{url}/api/v2/configuration")).accept("application/json");
    let answer = place.http.send(&call, place.run)?;
    let known = match answer.status {
        200..=299 => serde_json::from_slice::<Configuration>(&answer.body).ok(),
        _ => None,
    };
    let Some(known) = known.filter(|known| !known.issuers.is_empty()) else {
        place.run.told().note("Fulcio does not say which issuers it knows; the token is tried as it is");
        return Ok(None);
    };
    match known.issuers.into_iter().find(|known| is(&known.issuer, token.issuer())) {
        Some(known) => Ok(Some(Issuer::from(known))),
        None => {
            let (issuer, url) = (Shown(token.issuer()), crate::http::url_shown(url));
            Err(Error::new(Code::TokenIssuer, format!("Fulcio at {url} knows no issuer {issuer}")))
        }
    }
}

/// Whether Fulcio means this issuer: `*` stands for letters, digits, `-` and `_`, at least one.
fn is(known: &IssuerUrl, issuer: &str) -> bool {
    match known {
        IssuerUrl::Exact(url) => url == issuer,
        IssuerUrl::Wildcard(pattern) => {
            let pattern: Vec<String> = pattern.split('*').map(regex_lite::escape).collect();
            regex_lite::Regex::new(&format!(r"\A{}\z", pattern.join("[-_a-zA-Z0-9]+")))
                .is_ok_and(|pattern| pattern.is_match(issuer))
        }
        _ => false,
    }
}

impl From<OidcIssuer> for Issuer {
    fn from(known: OidcIssuer) -> Self {
        let challenge = match known.challenge_claim.as_deref() {
            Some("email") => Challenge::Email,
            Some(_) => Challenge::Subject,
            None if known.issuer_type.as_deref() == Some("email") => Challenge::Email,
            None => Challenge::Subject,
        };
        Issuer {
            audience: if known.audience.is_empty() { AUDIENCE.to_owned() } else { known.audience },
            challenge,
            kind: known.issuer_type,
            domain: known.subject_domain,
            unverified_email: known.skip_email_verification,
        }
    }
}

impl Issuer {
    /// What Fulcio would refuse the token for.
    fn check(&self, token: &IdentityToken) -> Result<(), Error> {
        if self.challenge != Challenge::Email {
            return Ok(());
        }
        if token.email().is_none() {
            return Err(Error::new(
                Code::TokenMalformed,
                format!("the identity token of {} has no claim email", Shown(token.issuer())),
            ));
        }
        if !self.unverified_email && token.email_verified() != Some(true) {
            return Err(Error::new(
                Code::TokenUnverified,
                format!(
                    "the identity token of {} does not say that its mail address was checked",
                    Shown(token.issuer())
                ),
            ));
        }
        Ok(())
    }
}

/// The two claims that it can be, one after the other, where Fulcio does not say which.
fn guess(
    url: &str,
    token: &IdentityToken,
    key: &PrivateKey,
    place: &Place<'_>,
) -> Result<(Vec<u8>, Challenge), Error> {
    let mail = token.email().is_some();
    let first = if mail { Challenge::Email } else { Challenge::Subject };
    let asked = request(url, token, key, first, place)?;
    if mail && matches!(asked.answer.status, 400) {
        let second = request(url, token, key, Challenge::Subject, place)?;
        if matches!(second.answer.status, 200..=299) {
            return Ok((second.ok_or_refused(token)?, Challenge::Subject));
        }
    }
    Ok((asked.ok_or_refused(token)?, first))
}

/// A request for a certificate, answered.
struct Asked {
    call: Call,
    answer: Answer,
}

fn request(
    url: &str,
    token: &IdentityToken,
    key: &PrivateKey,
    challenge: Challenge,
    place: &Place<'_>,
) -> Result<Asked, Error> {
    let claim = challenge.of(token).unwrap_or_default();
    let proof = key.sign(claim.as_bytes())?;
    let body = json!({
        "credentials": {"oidcIdentityToken": token.secret()},
        "publicKeyRequest": {
            "publicKey": {"content": key.public().to_pem()},
            "proofOfPossession": STANDARD.encode(proof),
        },
    });
    let call = Call::post(
        SERVICE,
        format!("{url}/api/v2/signingCert"),
        "application/json",
        body.to_string().into_bytes(),
    )
    .accept("application/json");
    let answer = place.http.send(&call, place.run)?;
    Ok(Asked { call, answer })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    signed_certificate_embedded_sct: Option<WireChain>,
    signed_certificate_detached_sct: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct WireChain {
    chain: WireCertificates,
}

#[derive(Deserialize)]
struct WireCertificates {
    certificates: Vec<String>,
}

impl Asked {
    /// The certificate, in DER.
    fn ok_or_refused(self, token: &IdentityToken) -> Result<Vec<u8>, Error> {
        let Asked { call, answer } = self;
        let refused = matches!(answer.status, 400 | 401 | 403);
        let answer = answer.ok(&call).map_err(|error| {
            let issuer = Shown(token.issuer());
            if refused {
                error.with_help(format!(
                    "check that the token of {issuer} is one that this Fulcio accepts, and is new"
                ))
            } else {
                error
            }
        })?;
        let wire: Wire = serde_json::from_slice(&answer.body).map_err(|error| call.unusable(error))?;
        let Some(WireChain { chain }) = wire.signed_certificate_embedded_sct else {
            return Err(call.unusable(match wire.signed_certificate_detached_sct {
                Some(_) => "its certificate does not carry the proof that it was logged",
                None => "there is no certificate in it",
            }));
        };
        let leaf =
            chain.certificates.first().ok_or_else(|| call.unusable("there is no certificate in it"))?;
        let ders = x509::ders_from_pem(leaf.as_bytes()).map_err(|problem| call.unusable(problem))?;
        ders.into_iter().next().ok_or_else(|| call.unusable("there is no certificate in it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_issuers_stand_for_names_and_nothing_else() {
        let eks = IssuerUrl::Wildcard("https://oidc.eks.*.amazonaws.com/id/*".to_owned());
        assert!(is(&eks, "https://oidc.eks.eu-west-1.amazonaws.com/id/AB_9"));
        for other in [
            "https://oidc.eks.eu-west-1.amazonaws.com/id/",
            "https://oidc.eks.evil.example/x.amazonaws.com/id/A",
            "https://oidcxeks.eu.amazonaws.com/id/A",
            "https://oidc.eks.eu.amazonaws.com/id/A/b",
            "xhttps://oidc.eks.eu.amazonaws.com/id/A",
        ] {
            assert!(!is(&eks, other), "{other}");
        }
        assert!(is(&IssuerUrl::Exact("https://a".to_owned()), "https://a"));
        assert!(!is(&IssuerUrl::Exact("https://a".to_owned()), "https://a/"));
    }

    #[test]
    fn service_accounts_are_called_as_fulcio_calls_them() {
        assert_eq!(
            service_account("system:serviceaccount:team:signer").unwrap(),
            "https://kubernetes.io/namespaces/team/serviceaccounts/signer"
        );
        assert_eq!(service_account("somebody"), None);
    }
}
