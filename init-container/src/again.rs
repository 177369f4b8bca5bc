//! A last look at everything that was verified: what was checked first is still as it was when the last one is.

use std::sync::Arc;

use weightseal::{Code, Error, Finding, Mode, Model, Report, Run, Shown, Stamps, Written};

use crate::{
    config::Config,
    target::{Target, Way},
};

/// What the file system said of each target's files when it was checked.
#[derive(Default)]
pub(crate) struct Looks(Vec<Option<Stamps>>);

impl Looks {
    /// Looks at a model before it is checked, or after it was put somewhere.
    pub(crate) fn add(&mut self, look: Option<Stamps>) {
        self.0.push(look);
    }

    /// Looks at everything that was verified once more; gives the reports that have to change, with their places. Each is
    /// judged by the mode of its own rule.
    pub(crate) fn again(
        &self,
        config: &Config,
        targets: &[Target],
        reports: &[Arc<Report>],
        run: &Run,
    ) -> Vec<(usize, Report)> {
        let all = targets.iter().zip(reports).zip(&self.0).enumerate();
        let verified =
            all.filter(|(_, ((target, report), _))| target.way != Way::Below && report.is_verified());
        let changed = verified.filter_map(|(at, ((target, report), before))| {
            let finding = match (before, look(config, target, run)) {
                (Some(before), Ok(Some(after))) => changed(&before.written(&after)?),
                // What is in a store says so itself when it is read.
                (None, Ok(None)) => return None,
                (_, Err(error)) if error.code() != Code::ModelAbsent => error.into_finding(),
                _ => Finding::new(
                    Code::ChangedWhileRead,
                    "it went or was replaced while the models were checked",
                ),
            };
            let mut report = Report::clone(report);
            report.findings.push(finding);
            report.conclude();
            Some((at, report))
        });
        changed.collect()
    }
}

/// What the file system says of a target's files; none of one that is in a store.
///
/// # Errors
/// It cannot be found, or cannot be listed.
pub(crate) fn look(config: &Config, target: &Target, run: &Run) -> Result<Option<Stamps>, Error> {
    let model = match &target.way {
        // Only warn mode looks at what is in a store, and lets it pass anyway.
        Way::Here if config.mode == Mode::Warn && target.place.is_remote() => return Ok(None),
        Way::Into(folder) => Model::open(folder)?,
        Way::Here | Way::Below => Model::open_at(&target.place, &config.stores.access(true)?, run)?,
    };
    if model.is_here() { model.stamps(run).map(Some) } else { Ok(None) }
}

fn changed(written: &Written) -> Finding {
    let (Written::Content(name) | Written::Unclear(name)) = written;
    let what =
        format!("{:?} was written to, added or removed while the other models were checked", Shown(name));
    Finding::new(Code::ChangedWhileRead, what).about(name)
}
