//! Who signs with the method sigstore: where the identity token comes from, and which instance takes it.

use std::{
    env, fmt,
    io::{self, IsTerminal as _},
    path::PathBuf,
    sync::Arc,
};

use weightseal::{
    Ambient, Code, Error, Http, IdentityToken, Person, Refresh, Run, SignIn, SigningConfig, SigstoreSigner,
    TokenFile, TokenSource, TrustStore, TrustedRoot,
};
use zeroize::Zeroizing;

use crate::{
    args::{Instance, SigstoreConfig},
    bar, trust,
};

/// The variable that holds a token.
const VARIABLE: &str = "SIGSTORE_ID_TOKEN";

/// The ways to say who signs.
const WAYS: &str = "give --identity-token-file FILE, set SIGSTORE_ID_TOKEN, run in a job of GitHub, GitLab, Buildkite or \
                    CircleCI that may ask for a token, or sign in on a terminal (--oauth-force-oob without a browser)";

/// A text that is never shown.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a token comes from.
#[derive(Debug)]
pub(crate) enum TokenFrom {
    /// The command line.
    Argument(Secret),
    /// A file.
    File(PathBuf),
    /// The job that this command runs in.
    Job,
    /// Somebody who signs in.
    Person(SignIn),
    /// The variable, or else the job, or else somebody at a terminal.
    Anything,
}

/// Who signs and with what, asked as far as possible before the model is read.
///
/// # Errors
/// The codes of tokens, of the signing configuration, of the trusted root and of services.
pub(crate) fn signer(config: &SigstoreConfig, run: &Run) -> Result<SigstoreSigner, Error> {
    let http = trust::http(config.tls_ca.as_deref())?;
    // Before anything is asked of anybody.
    let who = who(&config.token, &http, run)?;
    let (services, root) = instance(&config.instance, &http, run)?;
    let token: Box<dyn TokenSource> = match who {
        Who::Known(source) => source,
        Who::Person(how) => {
            let provider = services.oidc_url(run.now_unix()).ok_or_else(|| {
                let what = "the signing configuration has no identity provider to sign in at";
                Error::new(Code::SigningConfigInvalid, what).with_help(WAYS)
            })?;
            Box::new(how.token(provider, Arc::new(Terminal), &http, run)?)
        }
    };
    let mut signer = SigstoreSigner::new(services, root, token, http);
    if let Some(version) = config.rekor {
        signer = signer.rekor(version);
    }
    signer.check(run)?;
    Ok(signer)
}

/// The services, and what to verify with what they make.
fn instance(instance: &Instance, http: &Http, run: &Run) -> Result<(SigningConfig, TrustedRoot), Error> {
    let known = match instance {
        Instance::PublicGood => weightseal::Instance::PublicGood,
        Instance::Staging => weightseal::Instance::Staging,
        Instance::Trust(file) => return Ok((SigningConfig::read(file)?, TrustedRoot::read(file)?)),
        Instance::Files { root, services } => {
            return Ok((SigningConfig::read(services)?, TrustedRoot::read(root)?));
        }
    };
    let name = known.name();
    let store = TrustStore::new(known).http(http.clone());
    let root = store.resolve(Refresh::Auto, run)?;
    Ok((SigningConfig::parse(&store.signing_config(run)?, name)?, root))
}

/// Who signs.
enum Who {
    /// Whoever the token says.
    Known(Box<dyn TokenSource>),
    /// Whoever signs in.
    Person(SignIn),
}

fn who(from: &TokenFrom, http: &Http, run: &Run) -> Result<Who, Error> {
    let source: Box<dyn TokenSource> = match from {
        TokenFrom::Argument(token) => Box::new(IdentityToken::parse(&token.0)?),
        TokenFrom::File(file) => Box::new(TokenFile(file.clone())),
        TokenFrom::Job => Box::new(Ambient::new(http.clone())),
        TokenFrom::Person(how) => return Ok(Who::Person(how.clone())),
        TokenFrom::Anything => {
            if let Some(token) = env::var_os(VARIABLE).filter(|token| !token.is_empty()) {
                let malformed =
                    |what: String| Error::new(Code::TokenMalformed, format!("{VARIABLE}: {what}"));
                let token =
                    token.to_str().ok_or_else(|| malformed("the identity token is not text".to_owned()))?;
                Box::new(IdentityToken::parse(token).map_err(|error| malformed(error.to_string()))?)
            } else if Ambient::service().is_some() {
                Box::new(Ambient::new(http.clone()))
            } else if io::stdin().is_terminal() && io::stderr().is_terminal() {
                return Ok(Who::Person(SignIn::default()));
            } else {
                let what = "no identity token is given, this is no job that has one, and there is no terminal to sign in on";
                return Err(Error::new(Code::TokenMissing, what).with_help(WAYS));
            }
        }
    };
    source.token(run)?.check_time(run.now_unix())?;
    Ok(Who::Known(source))
}

/// Whoever sits at the terminal.
struct Terminal;

impl Person for Terminal {
    fn visit(&self, url: &str, opened: bool) {
        // The whole of it is needed; it was made by this program but for its beginning, which may have no space in it.
        let url: String = url.chars().filter(char::is_ascii_graphic).collect();
        let how = if opened {
            "A browser was opened to sign in. Where it does not show, visit"
        } else {
            "Sign in here, and copy the code that is shown"
        };
        bar::say(format!("{how}:\n  {url}\n").as_bytes());
    }

    fn code(&self) -> io::Result<Zeroizing<String>> {
        if io::stdin().is_terminal() {
            return rpassword::prompt_password("Code: ").map(Zeroizing::new);
        }
        let mut code = Zeroizing::new(String::new());
        io::stdin().read_line(&mut code)?;
        Ok(code)
    }
}

/// The flag that `verify` needs for what this instance signed, and its file.
pub(crate) fn verify_flag(instance: &Instance) -> Option<(&'static str, Option<&PathBuf>)> {
    match instance {
        Instance::PublicGood => None,
        Instance::Staging => Some(("--use-staging", None)),
        Instance::Trust(file) => Some(("--trust-config", Some(file))),
        Instance::Files { root, .. } => Some(("--trusted-root", Some(root))),
    }
}
