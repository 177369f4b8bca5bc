//! The identity of the job that this program runs in: GitHub, GitLab, Buildkite, CircleCI.

use std::{
    env,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ambient_id::Detector;
use reqwest::Url;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{IdentityToken, TokenSource};
use crate::{
    Error, Http, Run,
    code::Code,
    http::{self, Call},
    rt,
};

/// Whom the token is for.
const AUDIENCE: &str = "sigstore";

/// How long the service may take.
const TIME: Duration = Duration::from_secs(30);

/// How long a token has to be good for to be used again, in seconds.
const ENOUGH: i64 = 60;

/// The variables by which continuous-integration services tell that they run a job.
const SERVICES: [(&str, &str); 4] = [
    ("GITHUB_ACTIONS", "GitHub Actions"),
    ("GITLAB_CI", "GitLab CI"),
    ("BUILDKITE", "Buildkite"),
    ("CIRCLECI", "CircleCI"),
];

/// The identity of the continuous-integration job that this program runs in.
#[derive(Debug)]
pub struct Ambient {
    http: Http,
    last: Mutex<Option<IdentityToken>>,
}

impl Ambient {
    /// A source of tokens for the job.
    pub fn new(http: Http) -> Self {
        Ambient { http, last: Mutex::new(None) }
    }

    /// The continuous-integration service that this program seems to run in. Whether the job has an identity is another
    /// question.
    pub fn service() -> Option<&'static str> {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
        SERVICES.iter().find(|(variable, _)| set(variable)).map(|(_, service)| *service)
    }
}

/// What GitHub's service answers.
#[derive(Deserialize)]
struct Answered {
    value: String,
}

impl Ambient {
    /// Asks GitHub's service as every other one is asked: again where that may help, and for no more than a token is long.
    /// The family's own call takes whatever is sent.
    fn github(&self, run: &Run) -> Result<Zeroizing<String>, Error> {
        let variable = |name: &str| {
            env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
                Error::new(Code::ServiceFailed, format!("the job may not ask for one: {name} is not set"))
            })
        };
        let url = variable("ACTIONS_ID_TOKEN_REQUEST_URL")?;
        let bearer = Zeroizing::new(variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?);
        // What is no URL is refused with the call.
        let url = Url::parse(&url).map_or(url, |mut url| {
            url.query_pairs_mut().append_pair("audience", AUDIENCE);
            url.into()
        });
        let call = Call::get("the token service", url).accept("application/json").bearer(bearer);
        let answer = self.http.call(&call, run)?;
        let body = Zeroizing::new(answer.body);
        // An error of the parser could quote the token.
        let answered = serde_json::from_slice::<Answered>(&body);
        answered
            .map(|answered| Zeroizing::new(answered.value))
            .map_err(|_| call.unusable("there is no token in it"))
    }

    /// Asks what the family knows besides. Some of it runs a program and waits for it, which must not keep the one thread
    /// of the network: no time would end it.
    fn other(&self, run: &Run) -> Result<Result<Option<Zeroizing<String>>, String>, Error> {
        let detector = Detector::new_with_client(self.http.client().clone());
        rt::wait(run, async move {
            let handle = tokio::runtime::Handle::current();
            let asked = tokio::task::spawn_blocking(move || handle.block_on(detector.detect(AUDIENCE)));
            let found = tokio::time::timeout(TIME, asked).await;
            let found = found.map_err(|_| format!("no answer within {} s", TIME.as_secs()))?;
            let found = found.map_err(|error| http::cause(&error))?.map_err(|error| http::cause(&error))?;
            Ok(found.map(|token| Zeroizing::new(token.reveal().to_owned())))
        })
    }
}

impl TokenSource for Ambient {
    fn token(&self, run: &Run) -> Result<IdentityToken, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = last.as_ref().filter(|token| token.check_time(run.now_unix() + ENOUGH).is_ok()) {
            return Ok(token.clone());
        }
        let unavailable = |what: String| {
            let service = Ambient::service().unwrap_or("the environment");
            Error::new(Code::TokenUnavailable, format!("{service} gave no identity token: {what}")).with_help(
                "allow the job to ask for one (GitHub: permissions id-token: write; GitLab: id_tokens with SIGSTORE_ID_TOKEN), or \
                 give a token with --identity-token-file",
            )
        };
        let text = if env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
            self.github(run).map_err(|error| match error.code() {
                Code::ServiceFailed => unavailable(error.to_string()),
                _ => error,
            })?
        } else {
            self.other(run)?
                .map_err(unavailable)?
                .ok_or_else(|| Error::new(Code::TokenMissing, "this is no job of a service that is known"))?
        };
        let token = IdentityToken::parse(&text)?;
        *last = Some(token.clone());
        Ok(token)
    }
}
