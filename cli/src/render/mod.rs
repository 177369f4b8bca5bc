//! Printing: one module for each form, and the console that knows which is wanted.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};

use serde::Serialize;
use weightseal::{Code, Error, Report};

use crate::{
    args::{Format, Global, Switch, When},
    bar, signals,
};

pub(crate) mod github;
pub(crate) mod json;
pub(crate) mod text;

/// Where and how results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    pub(crate) format: Format,
    color: bool,
    github: bool,
    pub(crate) quiet: bool,
}

impl Console {
    /// The console that flags and environment ask for.
    pub(crate) fn new(global: &Global) -> Self {
        let github = match global.github {
            Switch::On => true,
            Switch::Off => false,
            Switch::Auto => env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
        };
        Console { format: global.format, color: colored(global.color), github, quiet: global.quiet }
    }

    /// A console for what goes wrong before there are flags.
    pub(crate) fn plain(format: Format) -> Self {
        Console { format, color: false, github: false, quiet: false }
    }

    /// Prints text on standard output.
    ///
    /// # Errors
    /// `disk-full`, `io-failed`; none when whoever reads it has seen enough and is gone.
    pub(crate) fn print(&self, text: &str) -> Result<(), Error> {
        written(io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()))
    }

    /// Prints a line of JSON on standard output.
    ///
    /// # Errors
    /// As [`print`](Console::print).
    pub(crate) fn print_json<T: Serialize>(&self, value: &T) -> Result<(), Error> {
        let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let done = weightseal::write_json(value, false, &mut out).and_then(|()| out.write_all(b"\n"));
        written(done.and_then(|()| out.flush()))
    }

    /// Prints a result in the format that is wanted.
    ///
    /// # Errors
    /// As [`print`](Console::print).
    pub(crate) fn show<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Error> {
        match self.format {
            Format::Text => self.print(&text(value)),
            Format::Json => self.print_json(value),
        }
    }

    /// Prints a report, and gives the exit code of its verdict.
    ///
    /// # Errors
    /// As [`print`](Console::print).
    pub(crate) fn report(&self, report: &Report) -> Result<u8, Error> {
        self.show(report, |report| text::report(report, self.color))?;
        if self.github {
            self.aside(&github::annotations(report));
            github::summarize(|| github::report(report));
        }
        Ok(exit_code(report))
    }

    /// Prints an error, and gives its exit code.
    pub(crate) fn fail(&self, error: &Error) -> u8 {
        bar::clear();
        let said = match self.format {
            Format::Text => {
                bar::say(text::error(error).as_bytes());
                Ok(())
            }
            Format::Json => self.print_json(&json::Failed::from(error)),
        };
        if said.is_err() {
            // Standard output cannot be written: whoever reads standard error is to know.
            bar::say(text::error(error).as_bytes());
        }
        self.annotate(error);
        signals::exit_code(error.code())
    }

    /// Says an error on standard error, where standard output has its result already, or cannot have one.
    pub(crate) fn complain(&self, error: &Error) {
        bar::say(text::error(error).as_bytes());
        self.annotate(error);
    }

    /// Adds an error's annotation where GitHub's are wanted.
    fn annotate(&self, error: &Error) {
        if self.github {
            self.aside(&github::annotation(error.finding(), None));
        }
    }

    /// Adds to the step summary where GitHub's is wanted.
    pub(crate) fn summarize(&self, markdown: impl FnOnce() -> String) {
        if self.github {
            github::summarize(markdown);
        }
    }

    /// Prints workflow commands where they do not get into JSON.
    fn aside(&self, commands: &str) {
        match self.format {
            // A report that could not be printed has been an error already.
            Format::Text => drop(self.print(commands)),
            Format::Json => bar::say(commands.as_bytes()),
        }
    }
}

/// The exit code of a report: that of its verdict, unless a signal ended the run.
pub(crate) fn exit_code(report: &Report) -> u8 {
    let interrupted = report.findings.iter().any(|finding| finding.code == Code::Interrupted);
    if interrupted { signals::exit_code(Code::Interrupted) } else { report.exit_code() }
}

fn written(done: io::Result<()>) -> Result<(), Error> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to", "standard output", error, Code::IoFailed)
                .with_help("check where standard output goes; nothing is said about the model"))
        }
        _ => Ok(()),
    }
}

/// Whether standard output is coloured. NO_COLOR goes before CLICOLOR_FORCE, and both before the terminal.
fn colored(when: When) -> bool {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if set("NO_COLOR").is_some() => false,
        When::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        When::Auto => io::stdout().is_terminal() && set("TERM").is_none_or(|term| term != "dumb"),
    }
}
