//! The row on pods that are started again: the gate finds its receipt, and hashes nothing.

use std::fs;
use std::process::Command;

use super::super::Bench;
use super::super::models::{Hashing, Model, Signed};
use super::super::race::Race;
use super::super::stats::Sample;
use super::super::table::Line;
use crate::Done;

/// How long a restart may take, in seconds.
const MOST: f64 = 0.05;

/// What the receipts are authenticated with here.
const KEY: &str = "the benchmark's receipts are authenticated with this";

pub(super) fn receipt(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "receipt";
    let signed = bench.warm(Model::Eight, Hashing::Sha256)?;
    let receipts = bench.models.beside("receipts");
    if receipts.exists() {
        fs::remove_dir_all(&receipts)?;
    }
    fs::create_dir_all(&receipts)?;
    let key = receipts.with_extension("key");
    fs::write(&key, KEY)?;
    let with_receipts = || {
        let mut gate = gate(bench, &signed);
        gate.arg("--receipts").arg(&receipts).arg("--receipt-key").arg(&key);
        bench.watch.run_with_output(gate)
    };
    // Written by the run that nobody measures.
    with_receipts()?;
    let restarted = || -> Done<Sample> {
        let (sample, wrote) = with_receipts()?;
        match wrote.contains(r#""assurance":"receipt""#) {
            true => Ok(sample),
            false => Err(format!("no receipt was used: {wrote}").into()),
        }
    };
    let (ours, others) = Race::new(bench, ROW, restarted)
        .warm()
        .against("hashed in full", Ok(|| bench.watch.run(gate(bench, &signed))))
        .run()?;
    let Some(Ok(full)) = others.first() else { return Err("no contender".into()) };
    let work = format!("the gate again before {}, sha256, with its receipt", signed.shown);
    let against = format!("hashed in full: {}", full.shown());
    fs::remove_dir_all(&receipts)?;
    fs::remove_file(&key)?;
    Ok(vec![Line::within(ROW, &work, &ours, against, full.seconds(), MOST)])
}

/// The gate in front of a model.
fn gate(bench: &Bench<'_>, signed: &Signed) -> Command {
    let mut command = Command::new(bench.program.with_file_name("weightseal-init"));
    command.arg("--model").arg(&signed.model).arg("--signature").arg(&signed.signature);
    command.arg("--public-key").arg(&signed.public_key).args(["--termination-log", "none"]);
    command
}
