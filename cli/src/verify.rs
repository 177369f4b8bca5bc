//! `weightseal verify`.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::info;
use weightseal::{
    Accept, Access, Bundle, Cancel, CertificateVerifier, Class, Code, Error, Failure, Instance, Model,
    ModelUri, Policy, PolicyFile, Pull, Replace, Report, Run, Shown, SigstoreVerifier, TrustedRoot, Verified,
    check_writable, write_whole,
};

use crate::{
    args::{Demands, Format, PullArgs, Reach, Roots, Trust, VerifyArgs, VerifyConfig, on_disk},
    bar::{self, Progress},
    files, guard,
    render::{Console, exit_code, json},
    signals,
    trust::http,
};

/// Verifies a model. Whatever happens there is a report, but for a call without a model.
///
/// # Errors
/// `bad-argument`.
pub(crate) fn run(args: VerifyArgs, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    report(args, None, console, cancel)
}

/// Downloads a model and verifies it. The report is that of verify.
///
/// # Errors
/// `bad-argument`, `arguments-conflict`.
pub(crate) fn pull(args: PullArgs, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    let (args, pull) = args.split()?;
    report(args, Some(pull), console, cancel)
}

fn report(args: VerifyArgs, pull: Option<Pull>, console: &Console, cancel: &Cancel) -> Result<u8, Error> {
    let model = args.model()?;
    let mut unknown = Report::new(json::shown(&model), args.model_id().map(ToOwned::to_owned), args.mode());
    let file = args.report().map(ToOwned::to_owned);
    if let Some(path) = &file
        && let Err(error) = make_room(path, &model, &args.inputs())
    {
        return Ok(finish(unknown, Some(error), None, console));
    }
    Ok(match guard::run(|| attempt(args, pull.as_ref(), &mut unknown, console, cancel)).flatten() {
        Ok(report) => finish(report, None, file.as_deref(), console),
        Err(error) => finish(unknown, Some(error), file.as_deref(), console),
    })
}

/// Sees to it that the report can be written, and that nobody takes one of an earlier run for that of this one.
fn make_room(path: &Path, model: &ModelUri, inputs: &[PathBuf]) -> Result<(), Error> {
    let place = |path: &Path| fs::canonicalize(path).ok();
    let refuse = |what: &str| {
        let shown = path.display().to_string();
        Err(Error::new(Code::BadArgument, format!("the report {} {what}", Shown(&shown)))
            .with_help("give another file with --report"))
    };
    if let Some(model) = on_disk(model) {
        let within = Model::open(model)
            .is_ok_and(|mut model| model.ignore_path(std::path::absolute(path).unwrap_or_default()));
        if within || place(path).is_some_and(|path| place(model) == Some(path)) {
            return refuse("would change the model");
        }
    }
    if place(path).is_some_and(|path| inputs.iter().any(|input| place(input).as_ref() == Some(&path))) {
        return refuse("would replace a file that this command reads");
    }
    check_writable(path, Replace::Anything)?;
    if path.exists() && !is_report(path) {
        return refuse("exists and is not a report");
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("replace", path.display(), error, Code::BadArgument))
        }
        _ => Ok(()),
    }
}

/// Whether a file is empty or a report, which may be replaced by another one.
fn is_report(path: &Path) -> bool {
    let Ok(text) = fs::read(path) else { return false };
    text.is_empty()
        || serde_json::from_slice::<serde_json::Value>(&text)
            .is_ok_and(|value| value.get("verdict").is_some() && value.get("findings").is_some())
}

/// Verifies as far as it goes, and puts the model where it is to go.
fn attempt(
    args: VerifyArgs,
    pull: Option<&Pull>,
    unknown: &mut Report,
    console: &Console,
    cancel: &Cancel,
) -> Result<Report, Error> {
    let VerifyConfig { model, unsigned, stated, stores, trust, roots, demands, fail_fast, run } =
        args.check()?;
    let reach = match (roots.args.is_offline(), stated) {
        (true, _) => Reach::Offline,
        (false, true) => Reach::Stated,
        (false, false) => Reach::Model,
    };
    if reach == Reach::Offline && (stated || matches!(model.place, ModelUri::S3(_))) {
        let what = "--offline opens no connection, and the store would have to be asked";
        return Err(
            Error::new(Code::ArgumentsConflict, what).with_help("leave out --offline, or verify a copy")
        );
    }
    let access = stores.access(reach)?;
    unknown.model_id.clone_from(&demands.model_id);
    let events = Arc::new(Progress::new(console.quiet));
    let run = run.start(cancel, events).fail_fast(fail_fast);
    let open = || model.open(&access, &run).map(|model| model.ignore_unsigned_files(unsigned).stated(stated));
    // What is fetched for Sigstore is not fetched for nothing.
    let early = matches!(trust, Trust::Sigstore(_))
        .then(|| open().and_then(|model| Ok((bundles(&demands, &model, &access, &run)?, model))))
        .transpose()?;
    let policy = trusting(trust, &roots, demands.policy.clone(), unknown, &run)?;
    expect_sigbus(unknown, console)?;
    let (bundles, mut model) = match early {
        Some(early) => early,
        None => {
            let model = open()?;
            (bundles(&demands, &model, &access, &run)?, model)
        }
    };
    if let Some(id) = &demands.model_id {
        model = model.id(id);
    }
    run.check()?;
    let verified = match pull {
        Some(pull) => model.pull(&policy, &bundles, pull, &run),
        None => model.verify(&policy, &bundles, &run),
    };
    Ok(verified.map_or_else(Failure::into_report, Verified::into_report))
}

/// The trusted root, where one is needed.
fn root(roots: &Roots, run: &Run) -> Result<Option<TrustedRoot>, Error> {
    if !roots.needed {
        return Ok(None);
    }
    match &roots.trust_config {
        Some(file) => TrustedRoot::read(file),
        None => roots.args.resolve(|| http(roots.tls_ca.as_deref()), run),
    }
    .map(Some)
}

/// The policy, with whoever is trusted. Of a file, the rule is told to the report, which may come without a check.
fn trusting(
    trust: Trust,
    roots: &Roots,
    policy: Policy,
    unknown: &mut Report,
    run: &Run,
) -> Result<Policy, Error> {
    let root = root(roots, run)?;
    match trust {
        Trust::Policy { file, model_id } => {
            let find = |instance: &Instance| {
                roots.args.resolve_instance(instance.clone(), || http(roots.tls_ca.as_deref()), run)
            };
            let applied = PolicyFile::read(file)?.rule_for_with(&model_id, find)?;
            let rule = applied.report().clone();
            (unknown.mode, unknown.policy) = (rule.mode, Some(rule));
            applied.into_policy().also(policy)
        }
        Trust::Keys(paths) => Ok(files::public_keys(&paths)?
            .into_iter()
            .map(|verifier| match &root {
                Some(root) => verifier.trusted_root(root.clone()),
                None => verifier,
            })
            .fold(policy, |policy, verifier| policy.accept(Accept::verifier(verifier)))),
        Trust::Certificates { chain, identity, at, log_fingerprints } => {
            let mut verifier = CertificateVerifier::from_pem(&files::certificates(&chain)?)?;
            if let Some(identity) = identity {
                verifier = verifier.identity(identity);
            }
            if let Some(at) = at {
                verifier = verifier.at(at);
            }
            if let Some(root) = root {
                verifier = verifier.trusted_root(root);
            }
            if log_fingerprints {
                verifier.fingerprints().iter().for_each(|line| info!("trusted certificate {line}"));
            }
            Ok(policy.accept(Accept::verifier(verifier)))
        }
        Trust::Sigstore(identity) => {
            let root = root.ok_or_else(|| Error::new(Code::TrustMissing, "there is no trusted root"))?;
            Ok(policy.accept(Accept::verifier(SigstoreVerifier::new(root, *identity))))
        }
    }
}

/// The signatures that were named, all of them, or else the one at the usual place.
fn bundles(demands: &Demands, model: &Model, access: &Access, run: &Run) -> Result<Vec<Bundle>, Error> {
    let read = |place: &ModelUri| {
        // What is wrong inside of a signature says which one it is in.
        access.read_bundle(place, run).map_err(|error| match error.class() {
            Class::Rejected => files::in_place(place, error),
            _ => error,
        })
    };
    if !demands.signatures.is_empty() {
        return demands.signatures.iter().map(read).collect();
    }
    let usual = model.usual_signature().ok_or_else(|| {
        Error::new(Code::SignatureMissing, "there is no usual place for the signature of this model")
    })?;
    read(&usual).map(|bundle| vec![bundle]).map_err(|error| match error.code() {
        Code::SignatureAbsent => {
            let place = usual.to_string();
            let missing =
                Error::new(Code::SignatureMissing, format!("there is no signature at {}", Shown(&place)));
            if Path::new("model.sig").is_file() {
                // That is where the reference writes it.
                missing.with_help(
                    "./model.sig exists: give it with --signature model.sig, if it is this model's",
                )
            } else {
                missing
            }
        }
        _ => error,
    })
}

/// Prepares for a model that is truncated while it is mapped.
fn expect_sigbus(unknown: &Report, console: &Console) -> Result<(), Error> {
    let error = Error::new(Code::TruncatedWhileMapped, Code::TruncatedWhileMapped.meaning());
    let json = (console.format == Format::Json).then(|| {
        let mut report = unknown.clone();
        report.findings.push(error.finding().clone());
        report.conclude();
        weightseal::json(&report, false) + "\n"
    });
    signals::expect_sigbus(&error, json)
}

/// Draws the verdict, writes the report wherever it is wanted, and gives the exit code.
fn finish(mut report: Report, error: Option<Error>, file: Option<&Path>, console: &Console) -> u8 {
    bar::clear();
    if let Some(error) = &error {
        report.findings.push(error.finding().clone());
        report.conclude();
    }
    let unwritten = file.and_then(|path| {
        let json = weightseal::json(&report, true) + "\n";
        write_whole(path, json.as_bytes(), Replace::Anything, weightseal::PUBLIC).err()
    });
    let mut unsaid = None;
    let exit = match error {
        // Nothing was looked at, hence there is nothing to report to people.
        Some(error) if console.format == Format::Text && error.class() == Class::Misuse => {
            console.fail(&error)
        }
        _ => console.report(&report).unwrap_or_else(|error| {
            unsaid = Some(error);
            exit_code(&report)
        }),
    };
    [unsaid, unwritten].into_iter().flatten().fold(exit, |exit, error| {
        console.complain(&error);
        // Evidence against the model stays what it is.
        if exit == 0 { error.class().exit() } else { exit }
    })
}
