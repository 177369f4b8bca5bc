//! Signing in as a person: OAuth 2.0 with an authorization code and PKCE, by a browser or by a code that is typed.

use std::{fmt, io, sync::Arc};

use reqwest::Url;
use serde::Deserialize;
use sigstore_oidc::{
    AuthCallback, AuthMode, AuthOptions, HtmlTemplates, MinimalTemplates, OAuthClient, OAuthConfig,
    SecretString,
};
use zeroize::Zeroizing;

use super::{IdentityToken, base};
use crate::{
    Error, Http, Run,
    code::Code,
    http::{self, Call},
    rt,
    shown::Shown,
};

const SERVICE: &str = "the identity provider";

/// The client that public instances know.
const CLIENT: &str = "sigstore";

/// The person who signs in. Called from the thread of the network, which waits meanwhile.
pub trait Person: Send + Sync {
    /// Tells where to sign in; a browser was opened there, or none could be.
    fn visit(&self, url: &str, opened: bool);

    /// Asks for the code that the provider's page shows.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn code(&self) -> io::Result<Zeroizing<String>>;
}

/// How a person signs in.
#[derive(Clone, Default)]
pub struct SignIn {
    /// The client's id; `sigstore` where there is none.
    pub client_id: Option<String>,
    /// The client's secret, for providers that want one.
    pub client_secret: Option<String>,
    /// Whether a code is typed, and no browser started.
    pub out_of_band: bool,
}

impl SignIn {
    /// Has a person sign in at a provider.
    ///
    /// # Errors
    /// `service-failed` when the provider cannot be asked how; `token-unavailable` when it gave no token; those of
    /// [`Run::check`]; `token-malformed`.
    pub fn token(
        &self,
        provider: &str,
        person: Arc<dyn Person>,
        http: &Http,
        run: &Run,
    ) -> Result<IdentityToken, Error> {
        let Endpoints { authorization_endpoint, token_endpoint, .. } = endpoints(provider, http, run)?;
        let client_id = self.client_id.as_deref().unwrap_or(CLIENT);
        let config = OAuthConfig::new(authorization_endpoint, self.with_secret(client_id, &token_endpoint))
            .with_client_id(client_id);
        let client = OAuthClient::with_http_client(config, http.client().clone());
        let options = AuthOptions::new().with_force_oob(self.out_of_band);
        let token = rt::wait(run, async move {
            let token = client.authenticate_with_options(Asked(person), options).await;
            token.map_err(|error| http::cause(&error))
        })?;
        let token = token.map_err(|why| {
            let provider = http::url_shown(provider);
            Error::new(Code::TokenUnavailable, format!("{SERVICE} {provider} gave no identity token: {why}"))
        })?;
        IdentityToken::parse(token.expose_secret())
    }

    /// The address for tokens, with the client's secret where there is one: the client sends both as HTTP's basic
    /// authentication, in no other way.
    fn with_secret(&self, client_id: &str, endpoint: &str) -> String {
        let (Some(secret), Ok(mut url)) = (&self.client_secret, Url::parse(endpoint)) else {
            return endpoint.to_owned();
        };
        match url.set_username(client_id).and_then(|()| url.set_password(Some(secret))) {
            Ok(()) => url.to_string(),
            Err(()) => endpoint.to_owned(),
        }
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("out_of_band", &self.out_of_band).finish_non_exhaustive()
    }
}

/// Where to sign in and where tokens are given (OpenID Connect Discovery 1.0, section 3).
#[derive(Debug, Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
}

fn endpoints(provider: &str, http: &Http, run: &Run) -> Result<Endpoints, Error> {
    let call = Call::get(SERVICE, format!("{}/.well-known/openid-configuration", base(provider)))
        .accept("application/json");
    let answer = http.call(&call, run)?;
    let endpoints: Endpoints = serde_json::from_slice(&answer.body).map_err(|error| call.unusable(error))?;
    if base(&endpoints.issuer) != base(provider) {
        return Err(call.unusable(format!("it is that of {}", endpoints.issuer)));
    }
    for url in [&endpoints.authorization_endpoint, &endpoints.token_endpoint] {
        // One of them is opened by the system, which would open programs and files too; the other gets the code.
        let plain = provider.starts_with("http://");
        let fits =
            |url: Url| url.has_host() && (url.scheme() == "https" || (plain && url.scheme() == "http"));
        if !Url::parse(url).is_ok_and(fits) {
            return Err(call.unusable(format!("{:?} is not a URL as that of the provider is", Shown(url))));
        }
    }
    Ok(endpoints)
}

/// A person, as the client wants to have one.
struct Asked(Arc<dyn Person>);

impl HtmlTemplates for Asked {
    fn success_html(&self) -> &str {
        "<!DOCTYPE html><title>Signed in</title><p>You have signed in, and may close this window."
    }

    fn error_html(&self, error: &str) -> String {
        MinimalTemplates.error_html(error)
    }
}

impl AuthCallback for Asked {
    fn auth_url_ready(&self, url: &str, mode: AuthMode) {
        self.0.visit(url, mode == AuthMode::BrowserRedirect);
    }

    fn prompt_for_code(&self) -> io::Result<SecretString> {
        self.0.code().map(|code| SecretString::new(code.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_the_client_goes_into_the_address_for_tokens_and_nowhere_else() {
        let sign_in = SignIn { client_secret: Some("p@ss/word".to_owned()), ..SignIn::default() };
        assert_eq!(
            sign_in.with_secret("me", "https://i.example/token"),
            "https://me:p%40ss%2Fword@i.example/token"
        );
        assert_eq!(SignIn::default().with_secret("me", "https://i.example/token"), "https://i.example/token");
        assert!(!format!("{sign_in:?}").contains("p@ss"));
    }
}
