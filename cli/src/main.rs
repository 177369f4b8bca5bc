//! The command `weightseal`: signs model weights, and verifies them.
//!
//! Parse, dispatch, exit. A subcommand gets its arguments and a console; what it gives back is an exit code, or the error
//! that this module prints.

#![forbid(unsafe_code)]

use std::{env, ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use weightseal::{Cancel, Code, Error, Shown};

use crate::{
    args::{Cli, Command, Format, wanted_format},
    log::Level,
    render::Console,
};

mod about;
mod args;
mod bar;
mod digest;
mod files;
mod guard;
mod identity;
mod inspect;
mod keygen;
mod loadset;
mod log;
mod passphrase;
mod policy;
mod render;
mod sign;
mod signals;
mod trust;
mod verify;

fn main() -> ExitCode {
    guard::install();
    let args = args::normalised(env::args_os());
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &args),
    };
    let console = Console::new(&cli.global);
    let exit = guard::run(|| dispatch(cli, &console)).flatten();
    ExitCode::from(exit.unwrap_or_else(|error| console.fail(&error)))
}

fn dispatch(cli: Cli, console: &Console) -> Result<u8, Error> {
    if cli.version {
        return about::version(console, cli.json);
    }
    let Some(command) = cli.command else {
        if console.format == Format::Text {
            bar::say(Cli::command().render_help().to_string().as_bytes());
        }
        return Err(Error::new(Code::BadArgument, "no command is given").with_help("see weightseal --help"));
    };
    Level::of(&cli.global)?.start();
    let cancel = Cancel::default();
    signals::listen(&cancel)?;
    match command {
        Command::Sign(args) => sign::run(*args, console, &cancel),
        Command::Verify(args) => verify::run(*args, console, &cancel),
        Command::Pull(args) => verify::pull(*args, console, &cancel),
        Command::Digest(args) => digest::run(args, console, &cancel),
        Command::Loadset(args) => loadset::run(args, console, &cancel),
        Command::Inspect(args) => inspect::run(&args, console, &cancel),
        Command::Keygen(args) => keygen::run(args, console),
        Command::Trust(args) => trust::run(&args, console, &cancel),
        Command::Policy { command } => policy::run(command, console),
        Command::Completions { shell } => about::completions(console, shell),
        Command::Man { dir } => about::man(console, dir.as_deref()),
    }
}

/// What the parser has to say: help on standard output, or how the arguments are wrong.
fn usage(error: &clap::Error, args: &[OsString]) -> ExitCode {
    let console = Console::plain(wanted_format(args));
    let text = error.render().to_string();
    let exit = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => console.print(&text).map(|()| 0),
        kind => {
            let code = match kind {
                ErrorKind::ArgumentConflict => Code::ArgumentsConflict,
                _ => Code::BadArgument,
            };
            Err(Error::new(code, complaint(&text)).with_help(advice(&text, args)))
        }
    };
    ExitCode::from(exit.unwrap_or_else(|error| console.fail(&error)))
}

/// The parser's first paragraph, in one line.
fn complaint(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let paragraph = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    Shown(&paragraph.collect::<Vec<_>>().join(" ")).to_string()
}

/// The parser's tips, and where the right usage is told.
fn advice(text: &str, args: &[OsString]) -> String {
    let command = Cli::command();
    let typed = args.iter().skip(1).filter_map(|arg| arg.to_str());
    let name = typed.clone().find(|word| command.get_subcommands().any(|sub| sub.get_name() == *word));
    let help = match name {
        Some(name) => format!("see weightseal {name} --help"),
        None => "see weightseal --help".to_owned(),
    };
    let tips =
        text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).map(|tip| Shown(tip).to_string());
    tips.chain([help]).collect::<Vec<_>>().join("; ")
}
