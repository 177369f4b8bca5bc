//! One model, from its path to its report.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use weightseal::{Bundle, Class, Code, Error, Finding, Model, Report, Run, Shown};

use crate::{
    config::{Config, ForModel, Trust, shown},
    log::say,
};

/// Checks one model. Whatever comes of it is a report, and only a model that was verified has one that says so.
pub(crate) fn check(config: &Config, path: &Path, trust: &Result<Trust, Error>, run: &Run) -> Report {
    let started = Instant::now();
    let counts = match trust {
        Ok(trust) => config.for_model(trust, path, run).map_err(Error::into_finding),
        Err(error) => Err(error.finding().clone()),
    };
    let mut report = match &counts {
        Ok(counts) => verify(config, path, counts, run).unwrap_or_else(|finding| {
            let mut report = refused(config, path, finding);
            report.model_id.clone_from(&counts.id);
            if let Some(rule) = &counts.rule {
                (report.mode, report.policy) = (rule.mode, Some(rule.clone()));
                report.conclude();
            }
            report
        }),
        Err(finding) => refused(config, path, finding.clone()),
    };
    report.seconds = started.elapsed().as_secs_f64();
    report
}

/// The report on a model that was not even checked, because of `finding`.
pub(crate) fn refused(config: &Config, path: &Path, finding: Finding) -> Report {
    let mut report = Report::new(path.to_string_lossy(), config.model_id.clone(), config.mode);
    report.findings.push(finding);
    report.conclude();
    report
}

fn verify(config: &Config, path: &Path, counts: &ForModel, run: &Run) -> Result<Report, Finding> {
    run.check().map_err(Error::into_finding)?;
    let mut model = Model::open(path)
        .map_err(Error::into_finding)?
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
    let bundles = signatures(config, path)?;
    match model.verify(&counts.policy, &bundles, run) {
        Ok(verified) => Ok(verified.into_report()),
        // A failure that names no reason must not pass as a success.
        Err(failure) if failure.report().is_verified() => {
            Err(Finding::new(Code::Panicked, "the check ended without a verdict"))
        }
        Err(failure) => Ok(failure.into_report()),
    }
}

/// Reads the signatures that were given, or the one at the usual place; one that cannot be read stands for all.
fn signatures(config: &Config, model: &Path) -> Result<Vec<Bundle>, Finding> {
    if !config.signatures.is_empty() {
        return config.signatures.iter().map(|path| read(path)).collect();
    }
    let path = usual_place(model);
    match read(&path) {
        Ok(bundle) => Ok(vec![bundle]),
        // Nobody named this file, so that its absence is no misuse.
        Err(finding) if finding.code == Code::SignatureAbsent => Err(Finding::new(
            Code::SignatureMissing,
            format!("the model has no signature at {}", shown(&path)),
        )),
        Err(finding) => Err(finding),
    }
}

fn read(path: &Path) -> Result<Bundle, Finding> {
    Bundle::read(path).map_err(|error| {
        let mut finding = error.into_finding();
        // What is wrong inside does not say inside of what.
        if finding.code.class() == Class::Rejected {
            finding.what = format!("in {}: {}", shown(path), finding.what);
        }
        finding.bundle = Some(path.to_string_lossy().into_owned());
        finding
    })
}

/// `MODEL/model.sig`, or `FILE.sig` beside a single file.
fn usual_place(model: &Path) -> PathBuf {
    if model.is_dir() {
        return model.join("model.sig");
    }
    let mut path = model.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}
