//! Which Sigstore is trusted, and how its trusted root is kept current.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use weightseal::{Code, Error, Http, Instance, Refresh, Run, Shown, TrustStore, TrustedRoot, read_key};

use super::values;

const TRUST: &str = "Trusted root";

/// Which Sigstore instance.
#[derive(Args, Clone, Debug)]
pub(crate) struct InstanceArgs {
    /// Use Sigstore's staging instance instead of the public one
    #[arg(long, overrides_with = "use_staging", conflicts_with = "tuf_mirror", help_heading = TRUST)]
    use_staging: bool,

    /// Use the instance whose TUF repository is here, with --tuf-root
    #[arg(long, value_name = "URL", requires = "tuf_root", value_hint = ValueHint::Url, help_heading = TRUST)]
    tuf_mirror: Option<String>,

    /// The root.json that trust in --tuf-mirror begins with, fetched in a way that you trust
    #[arg(long, value_name = "FILE", requires = "tuf_mirror", value_hint = ValueHint::FilePath, help_heading = TRUST)]
    tuf_root: Option<PathBuf>,
}

impl InstanceArgs {
    /// The store of the instance's trusted root.
    ///
    /// # Errors
    /// `bad-argument`, `key-absent` and those of reading for the TUF root.
    pub(crate) fn store(&self) -> Result<TrustStore, Error> {
        let instance = match (&self.tuf_mirror, &self.tuf_root) {
            (Some(url), Some(root)) => Instance::Mirror { url: mirror(url)?, root: read_key(root)? },
            _ if self.use_staging => Instance::Staging,
            _ => Instance::PublicGood,
        };
        Ok(TrustStore::new(instance))
    }
}

/// A URL to which the names of files can be appended.
fn mirror(url: &str) -> Result<String, Error> {
    let known = url.starts_with("https://") || url.starts_with("http://");
    if known && !url.contains(['?', '#', ' ']) {
        return Ok(url.to_owned());
    }
    // By the name that leaves out what may be secret.
    let name = Instance::Mirror { url: url.to_owned(), root: Vec::new() }.name();
    Err(Error::new(Code::BadArgument, format!("--tuf-mirror {} is no URL of a folder", Shown(&name)))
        .with_help("give an https or http URL without a query"))
}

/// What Sigstore bundles are verified with: flattened into every command that verifies them.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrustArgs {
    /// Trust what this file holds, a trusted_root.json or a trust configuration, and nothing else
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = TRUST,
          conflicts_with_all = ["use_staging", "tuf_mirror", "trust_refresh"])]
    trusted_root: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) instance: InstanceArgs,

    /// Fetch the trusted root anew: never; when it is older than a day, else using the one that is there (auto); or now,
    /// and fail without (require) [default: auto]. It is kept below WEIGHTSEAL_TRUST_CACHE, or else ~/.cache/weightseal/trust
    #[arg(long, value_name = "WHEN", value_enum, conflicts_with = "offline", help_heading = TRUST)]
    trust_refresh: Option<RefreshArg>,

    /// Open no socket at all
    #[arg(long, overrides_with = "offline", help_heading = TRUST)]
    offline: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RefreshArg {
    /// Never
    Never,
    /// When it is older than a day
    Auto,
    /// Now
    Require,
}

impl TrustArgs {
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// The trusted root that these arguments come to: a root that is given, or else the instance's. `http` makes what it is
    /// fetched with, and is asked only where it is.
    ///
    /// # Errors
    /// Those of the library's `TrustedRoot::read` and `TrustStore::resolve`, of `http`, and `bad-argument`.
    pub(crate) fn resolve(
        &self,
        http: impl FnOnce() -> Result<Http, Error>,
        run: &Run,
    ) -> Result<TrustedRoot, Error> {
        if let Some(file) = &self.trusted_root {
            return TrustedRoot::read(file);
        }
        self.current(self.instance.store()?, http, run)
    }

    /// The trusted root of an instance that a policy names, as these arguments say how it is kept current.
    ///
    /// # Errors
    /// As [`resolve`](TrustArgs::resolve).
    pub(crate) fn resolve_instance(
        &self,
        instance: Instance,
        http: impl FnOnce() -> Result<Http, Error>,
        run: &Run,
    ) -> Result<TrustedRoot, Error> {
        self.current(TrustStore::new(instance), http, run)
    }

    fn current(
        &self,
        store: TrustStore,
        http: impl FnOnce() -> Result<Http, Error>,
        run: &Run,
    ) -> Result<TrustedRoot, Error> {
        match self.refresh() {
            Refresh::Never => store.load(run),
            refresh => store.http(http()?).resolve(refresh, run),
        }
    }

    /// Which of the flags were given that say what is trusted, and not how it is kept current.
    pub(crate) fn choosing(&self) -> [(bool, &'static str); 3] {
        [
            (self.trusted_root.is_some(), "--trusted-root"),
            (self.instance.use_staging, "--use-staging"),
            (self.instance.tuf_mirror.is_some(), "--tuf-mirror"),
        ]
    }

    /// When the trusted root is fetched anew.
    fn refresh(&self) -> Refresh {
        match self.trust_refresh {
            _ if self.offline => Refresh::Never,
            Some(RefreshArg::Never) => Refresh::Never,
            Some(RefreshArg::Auto) | None => Refresh::Auto,
            Some(RefreshArg::Require) => Refresh::Require,
        }
    }

    /// The file that is trusted, where one is given.
    pub(crate) fn given_root(&self) -> Option<&Path> {
        self.trusted_root.as_deref()
    }
}

/// `weightseal trust`.
#[derive(Args, Debug)]
pub(crate) struct TrustCommandArgs {
    #[command(subcommand)]
    pub(crate) command: TrustCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Show which trusted root would be used, where it is from, how old it is and whom it trusts; opens no socket
    Show {
        /// Show this file instead
        #[arg(value_name = "TRUSTED_ROOT", value_hint = ValueHint::FilePath,
              conflicts_with_all = ["use_staging", "tuf_mirror"])]
        file: Option<PathBuf>,

        #[command(flatten)]
        instance: InstanceArgs,
    },
    /// Fetch the current trusted root, verify it from the embedded TUF root, and put it into the cache
    Refresh {
        #[command(flatten)]
        instance: InstanceArgs,

        /// Trust these root certificates for TLS as well, in PEM
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        tls_ca: Option<PathBuf>,

        /// End when it has taken this long (500ms, 30s, 5m), with exit code 3
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        timeout: Option<Duration>,
    },
    /// Put a copy of a TUF repository that was carried here into the cache, verified like a refresh; opens no socket
    Import {
        /// The copy: a folder with timestamp.json and targets/, or with metadata/ and targets/
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,

        #[command(flatten)]
        instance: InstanceArgs,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        trust: TrustArgs,
    }

    fn parsed(args: &[&str]) -> Result<TrustArgs, clap::error::ErrorKind> {
        let args = std::iter::once("weightseal").chain(args.iter().copied());
        Only::try_parse_from(args).map(|only| only.trust).map_err(|error| error.kind())
    }

    #[test]
    fn offline_is_never_and_nothing_is_auto() {
        for (args, refresh) in [
            (&[][..], Refresh::Auto),
            (&["--offline"], Refresh::Never),
            (&["--trust-refresh", "never"], Refresh::Never),
            (&["--trust-refresh=require", "--use-staging"], Refresh::Require),
        ] {
            assert_eq!(parsed(args).unwrap().refresh(), refresh, "{args:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument};
        for (args, kind) in [
            (&["--offline", "--trust-refresh", "auto"][..], ArgumentConflict),
            (&["--trusted-root", "x", "--trust-refresh", "require"], ArgumentConflict),
            (&["--trusted-root", "x", "--use-staging"], ArgumentConflict),
            (&["--use-staging", "--tuf-mirror", "http://x", "--tuf-root", "y"], ArgumentConflict),
            (&["--tuf-mirror", "http://x"], MissingRequiredArgument),
            (&["--tuf-root", "x"], MissingRequiredArgument),
        ] {
            assert_eq!(parsed(args).unwrap_err(), kind, "{args:?}");
        }
    }

    #[test]
    fn a_mirror_is_a_url_without_a_query() {
        assert!(mirror("https://host/tuf").is_ok() && mirror("http://127.0.0.1:8080").is_ok());
        for url in ["host/tuf", "ftp://host", "https://host/?token=secret", "https://host/#x", "file:///tuf"]
        {
            let error = mirror(url).unwrap_err();
            assert_eq!(error.code(), Code::BadArgument);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_given_root_is_read_and_nothing_is_fetched() {
        let args = parsed(&["--trusted-root", "/nowhere/trusted_root.json"]).unwrap();
        assert_eq!(args.given_root(), Some(Path::new("/nowhere/trusted_root.json")));
        let error = args.resolve(|| panic!("no client is wanted"), &Run::new()).unwrap_err();
        assert_eq!(error.code(), Code::TrustRootAbsent);
    }
}
