//! One model, from its place to its report.

use std::{path::Path, time::Instant};

use weightseal::{
    Access, Bundle, Class, Code, Error, Failure, Finding, Mode, Model, ModelUri, Pull, Report, Run, Shown,
    Verified,
};

use crate::{
    config::{Config, ForModel, Trust, Who, shown},
    log::say,
    target::{Target, Way},
};

/// Checks one model. Whatever comes of it is a report, and only a model that was verified has one that says so.
pub(crate) fn check(config: &Config, target: &Target, trust: &Result<Trust, Error>, run: &Run) -> Report {
    let started = Instant::now();
    let counts = match trust {
        Ok(trust) => config.for_model(trust, target, run).map_err(Error::into_finding),
        Err(error) => Err(error.finding().clone()),
    };
    let mut report = match &counts {
        Ok(counts) => verify(config, target, counts, run).unwrap_or_else(|finding| {
            let mut report = refused(config, target, finding);
            report.model_id.clone_from(&counts.id);
            if let Some(rule) = &counts.rule {
                report.policy = Some(rule.clone());
                // What is to be pulled is put nowhere unless it verifies, whatever the rule says.
                report.mode = if matches!(target.way, Way::Into(_)) { Mode::Enforce } else { rule.mode };
                report.conclude();
            }
            report
        }),
        Err(finding) => refused(config, target, finding.clone()),
    };
    report.seconds = started.elapsed().as_secs_f64();
    report
}

/// The report on what was not even checked, because of `finding`.
pub(crate) fn refused(config: &Config, target: &Target, finding: Finding) -> Report {
    let id = config.model_id.clone().or_else(|| target.has_id().then(|| target.id().ok()).flatten());
    let mut report = Report::new(target.name(), id, config.mode);
    report.findings.push(finding);
    report.conclude();
    report
}

/// The report on what lies below a folder and belongs to no model; none where there is nothing. Whether it passes is for the
/// rules to say that each path would have as a model's id; one without a rule in warn mode does not.
pub(crate) fn strays(
    config: &Config,
    target: &Target,
    findings: impl Iterator<Item = Finding>,
    trust: &Result<Trust, Error>,
) -> Option<Report> {
    let mut report = Report::new(target.name(), None, config.mode);
    report.findings.extend(findings);
    if report.findings.is_empty() {
        return None;
    }
    if let Ok(Trust { who: Who::File(policy), .. }) = trust {
        let warns = |finding: &Finding| {
            let name = finding.name.as_deref()?;
            Some(policy.explain(name).ok()?.policy.mode == Mode::Warn)
        };
        if report.findings.iter().all(|finding| warns(finding) == Some(true)) {
            report.mode = Mode::Warn;
        }
    }
    report.conclude();
    Some(report)
}

fn verify(config: &Config, target: &Target, counts: &ForModel, run: &Run) -> Result<Report, Finding> {
    run.check().map_err(Error::into_finding)?;
    // What a model server loads from the Hub's cache is checked there; only warn mode looks at what is in a store.
    let offline = target.way == Way::Here && (config.mode == Mode::Enforce || config.watch.is_some());
    let access = config.stores.access(offline).map_err(Error::into_finding)?;
    let mut model = Model::open_at(&target.place, &access, run)
        .map_err(|error| absent(target, offline, error).into_finding())?
        .allow_symlinks(config.allow_symlinks)
        .ignore_unsigned_files(config.ignore_unsigned_files)
        .include_git_paths(config.include_git_paths);
    if let Some(id) = &counts.id {
        model = model.id(id);
    }
    for ignored in &config.ignore_paths {
        if !model.ignore_path(ignored) {
            say(format_args!(
                "the path {:?} to leave out is not in {model}",
                Shown(&ignored.to_string_lossy())
            ));
        }
    }
    if let Some(receipts) = counts.receipts.clone().filter(|_| target.way == Way::Here) {
        model = model.receipts(receipts);
    }
    let kept = config.signature_folder.as_ref().map(|folder| -> Result<_, Error> {
        let id = counts.id.clone().map_or_else(|| target.id(), Ok)?;
        Ok(file_of(&id).map(|file| folder.join(file)))
    });
    let kept = kept.transpose().map_err(Error::into_finding)?.flatten();
    let bundles = signatures(config, &model, kept.as_deref(), &access, run)?;
    let verified = match &target.way {
        Way::Into(folder) => {
            let pull = Pull::new(folder).repair(config.repair).wait(true);
            model.pull(&counts.policy, &bundles, &pull, run)
        }
        Way::Here | Way::Below => model.verify(&counts.policy, &bundles, run),
    };
    let mut report = match verified {
        Ok(verified) => Verified::into_report(verified),
        // A failure that names no reason must not pass as a success.
        Err(failure) if failure.report().is_verified() => {
            return Err(Finding::new(Code::Panicked, "the check ended without a verdict"));
        }
        Err(failure) => Failure::into_report(failure),
    };
    if let ModelUri::Path(path) = &target.place {
        leave_out_linked(&mut report, path);
    } else if let Some(ModelUri::Path(signature)) = model.usual_signature() {
        leave_out_linked(&mut report, signature.parent().unwrap_or(&signature));
    }
    Ok(report)
}

/// The same error, with what to do about a model that is not in the Hub's cache.
fn absent(target: &Target, offline: bool, error: Error) -> Error {
    match (&target.place, error.code()) {
        (ModelUri::Hub(_), Code::ModelAbsent) if offline => error.with_help(
            "put it into the cache that HF_HOME or HF_HUB_CACHE names, or pull it: weightseal-init SRC DEST",
        ),
        _ => error,
    }
}

/// Leaves out the digests of files that are reached through links: whoever can plant a link is not to learn what it leads to.
fn leave_out_linked(report: &mut Report, folder: &Path) {
    let is_link = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    for finding in &mut report.findings {
        let Some(name) = finding.name.as_deref().filter(|_| finding.actual.is_some()) else { continue };
        let path = folder.join(name);
        let linked = path.ancestors().take_while(|path| *path != folder).any(is_link) || is_link(&path);
        if linked {
            finding.actual = None;
        }
    }
}

/// The name of the file that holds the signature of a model with this id; none where another id could have the same.
fn file_of(id: &str) -> Option<String> {
    let id = id.strip_prefix("hf://").map_or_else(|| id.to_owned(), |id| format!("models/{id}"));
    // An address has two slashes where a path has one.
    let id = id.replace("://", "/");
    let parts = id.trim_start_matches('/').split('/');
    let is_plain = |part: &str| !part.contains("--") && !part.starts_with('-') && !part.ends_with('-');
    parts.clone().all(is_plain).then(|| format!("{}.sig", parts.collect::<Vec<_>>().join("--")))
}

/// Reads the signatures that were given, or the one at the usual place, or else the one that is `kept` elsewhere; one that cannot
/// be read stands for all.
fn signatures(
    config: &Config,
    model: &Model,
    kept: Option<&Path>,
    access: &Access,
    run: &Run,
) -> Result<Vec<Bundle>, Finding> {
    if !config.signatures.is_empty() {
        let places = config.signatures.iter().map(|path| ModelUri::Path(path.clone()));
        return places.map(|place| read(&place, access, run)).collect();
    }
    let missing = |what: String| Finding::new(Code::SignatureMissing, what);
    let usual = model.usual_signature();
    let usual = usual.ok_or_else(|| missing("the model has no usual place for a signature".to_owned()))?;
    match read(&usual, access, run) {
        Ok(bundle) => Ok(vec![bundle]),
        // Nobody named this file, so that its absence is no misuse.
        Err(finding) if finding.code == Code::SignatureAbsent => {
            let what = format!("the model has no signature at {}", Shown(&usual.to_string()));
            let Some(kept) = kept else { return Err(missing(what)) };
            match read(&ModelUri::Path(kept.to_owned()), access, run) {
                Ok(bundle) => Ok(vec![bundle]),
                Err(finding) if finding.code == Code::SignatureAbsent => {
                    Err(missing(format!("{what}, nor at {}", shown(kept))))
                }
                Err(finding) => Err(finding),
            }
        }
        // Nobody named it either where it is a pipe or a folder: that is what the volume holds, and no misuse.
        Err(finding) if finding.code == Code::BadArgument => {
            Err(Finding::new(Code::SpecialFile, finding.what))
        }
        Err(finding) => Err(finding),
    }
}

fn read(place: &ModelUri, access: &Access, run: &Run) -> Result<Bundle, Finding> {
    access.read_bundle(place, run).map_err(|error| {
        let mut finding = error.into_finding();
        // What is wrong inside does not say inside of what.
        if finding.code.class() == Class::Rejected {
            finding.what = format!("in {}: {}", Shown(&place.to_string()), finding.what);
        }
        finding.bundle = Some(place.to_string());
        finding
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_called_after_the_id() {
        for (id, file) in [
            ("hf://acme/llama-3", "models--acme--llama-3.sig"),
            ("model-cache-pvc/teams/a", "model-cache-pvc--teams--a.sig"),
            ("s3://bucket/llama", "s3--bucket--llama.sig"),
            ("/models/llama", "models--llama.sig"),
            ("../../etc/x", "..--..--etc--x.sig"),
        ] {
            assert_eq!(file_of(id).as_deref(), Some(file));
        }
        // These would be called as pvc/a/b and pvc/a-/b are.
        for id in ["pvc/a--b", "pvc/a-/b", "pvc/a/-b", "hf://acme/x--y"] {
            assert_eq!(file_of(id), None, "{id}");
        }
    }
}
