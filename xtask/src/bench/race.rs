//! Contenders that do the same work in turn, so that whatever the machine is up to meanwhile meets them all.

use testkit::Missing;

use super::Bench;
use super::stats::{Sample, Series, seconds};
use crate::Done;

/// One run of a contender.
type Run<'a> = Box<dyn Fn() -> Done<Sample> + 'a>;

/// The contenders of a row.
pub(super) struct Race<'a> {
    bench: &'a Bench<'a>,
    row: &'static str,
    ours: Run<'a>,
    others: Vec<(&'static str, Result<Run<'a>, Missing>)>,
    warm: bool,
}

impl<'a> Race<'a> {
    pub(super) fn new(
        bench: &'a Bench<'a>,
        row: &'static str,
        ours: impl Fn() -> Done<Sample> + 'a,
    ) -> Race<'a> {
        Race { bench, row, ours: Box::new(ours), others: Vec::new(), warm: false }
    }

    /// Lets everybody run once unmeasured, which brings the programs into the page cache as well.
    pub(super) fn warm(self) -> Race<'a> {
        Race { warm: true, ..self }
    }

    /// One more contender, or why it cannot run.
    pub(super) fn against<F: Fn() -> Done<Sample> + 'a>(
        mut self,
        name: &'static str,
        run: Result<F, Missing>,
    ) -> Race<'a> {
        self.others.push((name, run.map(|run| Box::new(run) as Run<'a>)));
        self
    }

    /// Runs all of them in turn, as often as was asked for; first ours, then the others in their order.
    pub(super) fn run(self) -> Done<(Series, Vec<Result<Series, Missing>>)> {
        if self.warm {
            (self.ours)()?;
            for (_, contender) in &self.others {
                if let Ok(contender) = contender {
                    contender()?;
                }
            }
        }
        let runs = self.bench.options.runs;
        let mut ours = Vec::new();
        let mut others = vec![Vec::new(); self.others.len()];
        for run in 1..=runs {
            let mut told = format!("{}: run {run} of {runs}", self.row);
            let mut tell = |name: &str, sample: &Sample| {
                let parts: Vec<_> = sample.parts.iter().map(|part| seconds(*part)).collect();
                told.push_str(&format!(", {name} {}", parts.join(" + ")));
            };
            let sample = (self.ours)()?;
            tell("weightseal", &sample);
            ours.push(sample);
            for ((name, contender), samples) in self.others.iter().zip(&mut others) {
                let Ok(contender) = contender else { continue };
                let sample = contender()?;
                tell(name, &sample);
                samples.push(sample);
            }
            println!("{told}");
        }
        let series = |samples| Series::new(samples).ok_or("no run");
        let others = self.others.into_iter().zip(others).map(|((_, contender), samples)| match contender {
            Ok(_) => Ok(Ok(series(samples)?)),
            Err(missing) => Ok(Err(missing)),
        });
        Ok((series(ours)?, others.collect::<Done<_>>()?))
    }
}
