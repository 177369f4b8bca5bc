//! `cargo xtask bench`: verification against other programs on the same files, in turn, and the table of it.

mod cgroup;
mod kernel;
mod machine;
mod models;
mod options;
mod peers;
mod race;
mod rows;
mod stats;
mod store;
mod table;
mod volume;
mod watch;

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use testkit::{Missing, target_dir, workspace};

use crate::Done;
use crate::test::{announce, cargo};
use models::{Hashing, Model, Models, Signed};
use options::Task;
pub(crate) use options::{HELP, Options};
use rows::ROWS;
use stats::Sample;
use store::Stores;
use table::Line;
use watch::Watch;

/// The page with the table.
const PAGE: &str = "docs/performance.md";

/// What every row needs.
struct Bench<'a> {
    options: &'a Options,
    watch: Watch,
    models: Models,
    program: PathBuf,
    /// The servers, from the first row that needs them to the end of all rows.
    stores: OnceCell<Stores>,
}

/// Does what was asked for.
pub(crate) fn run(options: &Options) -> Done {
    match options.task {
        Task::List => {
            ROWS.iter().for_each(|row| println!("{:12}  {}", row.name, row.about));
            Ok(())
        }
        Task::Clean => models::clean(&options.dir),
        Task::Measure => measure(options),
    }
}

fn measure(options: &Options) -> Done {
    fs::create_dir_all(target_dir().join("bench"))?;
    fs::create_dir_all(&options.dir)?;
    let watch = Watch::new(target_dir().join("bench/output"));
    watch.heed_signals()?;
    let program = build()?;
    let models = Models::new(&options.dir, options.mib, program.clone());
    let bench = Bench { options, watch, models, program, stores: OnceCell::new() };

    let machine = machine::described(&options.dir);
    println!("{machine}\n");
    let (mut lines, mut failed) = (Vec::new(), 0);
    for row in ROWS.iter().filter(|row| options.wants(row.name)) {
        match (row.run)(&bench) {
            Ok(measured) => lines.extend(measured),
            Err(error) => {
                bench.watch.go_on()?;
                failed += usize::from(!error.is::<Missing>());
                println!("{}: {error}", row.name);
                lines.push(Line::unmeasured(row.name, row.about, &error.to_string()));
            }
        }
    }
    let Bench { watch, stores, .. } = bench;
    drop(stores);
    watch.go_on()?;

    let rows: Vec<String> = lines.iter().map(Line::markdown).collect();
    println!("\n{}", table::markdown(&rows));
    if failed > 0 {
        return Err(format!("{failed} of the rows failed to run").into());
    }
    if options.counts() {
        write(&machine, &lines, options.runs)
    } else {
        println!("{PAGE} stays as it is: this was a trial, smaller or with fewer runs than a figure needs");
        Ok(())
    }
}

fn write(machine: &str, lines: &[Line], runs: usize) -> Done {
    let path = workspace().join(PAGE);
    let page = fs::read_to_string(&path)?;
    let when = format!("Medians of {runs} runs, the least and the most in brackets; {}.", machine::today()?);
    let order = ROWS.map(|row| row.name);
    match table::rewritten(&page, machine, &when, &order, lines) {
        Ok(page) => {
            fs::write(&path, page)?;
            println!("written into {PAGE}");
        }
        Err(why) => println!("{PAGE} stays as it is: {why}"),
    }
    Ok(())
}

/// Builds the command line and, beside it, the init container, with the settings by which they are shipped.
fn build() -> Done<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "-p", "weightseal-cli", "-p", "weightseal-init"]);
    announce(&cargo);
    let status = cargo.arg("--target-dir").arg(target_dir()).current_dir(workspace()).status()?;
    if !status.success() {
        return Err(format!("the build ended with {status}").into());
    }
    Ok(target_dir().join("release/weightseal"))
}

impl Bench<'_> {
    /// A model with its signature.
    fn signed(&self, model: Model, hashing: Hashing) -> Done<Signed> {
        self.models.signed(&self.watch, model, hashing)
    }

    /// The same, in the page cache.
    fn warm(&self, model: Model, hashing: Hashing) -> Done<Signed> {
        let signed = self.signed(model, hashing)?;
        machine::warm(&self.watch, &signed.model)?;
        Ok(signed)
    }

    /// The servers, started when they are first asked for.
    fn stores(&self) -> Done<&Stores> {
        match self.stores.get() {
            Some(stores) => Ok(stores),
            None => {
                let started = Stores::start(&self.options.dir)?;
                Ok(self.stores.get_or_init(|| started))
            }
        }
    }

    /// Our command that verifies a model.
    fn verification(&self, signed: &Signed) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["verify", "key"]).arg(&signed.model).arg("--signature").arg(&signed.signature);
        command.arg("--public-key").arg(&signed.public_key);
        command
    }

    /// Verifies a model with ours.
    fn verify(&self, signed: &Signed) -> Done<Sample> {
        self.watch.run(self.verification(signed))
    }

    /// What runs another program's command on a model.
    fn runner<'a>(
        &'a self,
        command: impl Fn(&Signed) -> Command + 'a,
        signed: &'a Signed,
    ) -> impl Fn() -> Done<Sample> + 'a {
        move || self.watch.run(command(signed))
    }
}
