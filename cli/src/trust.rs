//! `weightseal trust`: which trusted root is used, and keeping it current.

use std::{fmt::Write as _, path::Path, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;
use weightseal::{
    Cancel, Error, Http, RootOrigin, RootSource, Run, Shown, TrustExpiry, TrustState, TrustStore,
    TrustVersions, TrustedParty, TrustedRoot, read_key,
};

use crate::{
    args::{TrustCommand, TrustCommandArgs},
    bar::Progress,
    render::{Console, json::VERSION},
    signals,
};

/// A trusted root; the JSON of all of `trust`.
#[derive(Serialize)]
struct Trust {
    version: u32,
    origin: RootOrigin,
    /// In words, why it is this one.
    why: &'static str,
    /// What a report says of its age; null while nothing has expired.
    stale: Option<String>,
    /// The folder of the cache, used or not.
    cache: Option<String>,
    versions: Option<TrustVersions>,
    expires: Option<TrustExpiry>,
    trusted: Vec<TrustedParty>,
}

/// Runs one of the subcommands.
///
/// # Errors
/// Those of the trusted root, its cache and its repository; and of output.
pub(crate) fn run(args: &TrustCommandArgs, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    let mut run = Run::new().cancel(cancel.clone()).events(Arc::new(Progress::new(console.quiet)));
    let trust = match &args.command {
        TrustCommand::Show { file: Some(file), .. } => given(file, &run)?,
        TrustCommand::Show { file: None, instance } => {
            let store = instance.store()?;
            kept(&store, store.state(&run)?, &run)?
        }
        TrustCommand::Refresh { instance, tls_ca, timeout } => {
            if let Some(after) = *timeout {
                run = run.deadline(after);
                signals::end_after(after);
            }
            let http = http(tls_ca.as_deref())?;
            let store = instance.store()?.http(http);
            kept(&store, store.refresh(&run)?, &run)?
        }
        TrustCommand::Import { dir, instance } => {
            let store = instance.store()?;
            kept(&store, store.import(dir, &run)?, &run)?
        }
    };
    console.show(&trust, text)?;
    Ok(0)
}

/// How servers are reached: by the system's roots for TLS, and those in this file as well.
///
/// # Errors
/// `key-absent`, `key-malformed`, and those of reading.
pub(crate) fn http(tls_ca: Option<&Path>) -> Result<Http, Error> {
    match tls_ca {
        Some(file) => Http::with_ca(&read_key(file)?),
        None => Http::new(),
    }
}

fn given(file: &Path, run: &Run) -> Result<Trust, Error> {
    let root = TrustedRoot::read(file)?;
    Ok(Trust {
        version: VERSION,
        origin: root.origin().clone(),
        why: why(root.origin()),
        stale: root.origin().staleness(run.now_unix()),
        cache: None,
        versions: None,
        expires: None,
        trusted: root.parties(),
    })
}

fn kept(store: &TrustStore, state: TrustState, run: &Run) -> Result<Trust, Error> {
    Ok(Trust {
        version: VERSION,
        why: why(&state.origin),
        stale: state.origin.staleness(run.now_unix()),
        origin: state.origin,
        cache: state.cache,
        versions: state.versions,
        expires: state.expires,
        trusted: store.load(run)?.parties(),
    })
}

fn why(origin: &RootOrigin) -> &'static str {
    match origin.source {
        RootSource::Given => "it was given",
        RootSource::Cache => {
            "the cache has it, verified just now from the TUF root that is built in or given"
        }
        RootSource::Embedded => "it is built in, and the cache has none that is newer",
    }
}

fn text(trust: &Trust) -> String {
    let mut out = format!("trusted root: {}\n  why: {}\n", Shown(&trust.origin.name), trust.why);
    let mut line = |what: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(out, "  {what}: {value}");
        }
    };
    line("as of", trust.origin.as_of.map(at));
    line("cache", trust.cache.as_deref().map(|path| Shown(path).to_string()));
    if let (Some(versions), Some(expires)) = (&trust.versions, &trust.expires) {
        for (role, version, expires) in [
            ("root", versions.root, expires.root),
            ("timestamp", versions.timestamp, expires.timestamp),
            ("snapshot", versions.snapshot, expires.snapshot),
            ("targets", versions.targets, expires.targets),
        ] {
            line(role, Some(format!("version {version}, until {}", at(expires))));
        }
    } else {
        line("its TUF root is valid until", trust.origin.expires.map(at));
    }
    line("note", trust.stale.clone());
    for party in &trust.trusted {
        let uri = party.uri.as_deref().unwrap_or("-");
        let _ = writeln!(out, "{}: {}{}", party.kind.name(), Shown(uri), validity(party));
        let _ = writeln!(out, "  sha256:{}", party.fingerprint);
    }
    out
}

fn validity(party: &TrustedParty) -> String {
    let mut out = String::new();
    for (word, time) in [("from", party.from), ("until", party.until)] {
        if let Some(time) = time {
            let _ = write!(out, " {word} {}", at(time));
        }
    }
    out
}

fn at(unix: i64) -> String {
    Timestamp::from_second(unix).map_or_else(|_| unix.to_string(), |time| time.to_string())
}
