//! The identity of the job that this program runs in: GitHub, GitLab, Buildkite, CircleCI.

use std::{
    env,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ambient_id::Detector;

use super::{IdentityToken, TokenSource};
use crate::{Error, Http, Run, code::Code, http, rt};

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
        // The family's own call hides why it failed.
        let detector = Detector::new_with_client(self.http.client().clone());
        let found = rt::wait(run, async move {
            let found = tokio::time::timeout(TIME, detector.detect(AUDIENCE)).await;
            let found = found.map_err(|_| format!("no answer within {} s", TIME.as_secs()))?;
            found.map_err(|error| http::cause(&error))
        })?;
        let token = found
            .map_err(unavailable)?
            .ok_or_else(|| Error::new(Code::TokenMissing, "this is no job of a service that is known"))?;
        let token = IdentityToken::parse(token.reveal())?;
        *last = Some(token.clone());
        Ok(token)
    }
}
