//! Passphrases: from a file, the command line, the environment, or the terminal.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal as _},
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
    sync::Mutex,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use weightseal::{Code, Error, Passphrase};

/// The variable that holds a passphrase.
const VARIABLE: &str = "WEIGHTSEAL_PASSPHRASE";

/// Where a passphrase comes from.
pub(crate) enum PassphraseFrom {
    /// A file, without its last line end.
    File(PathBuf),
    /// The command line.
    Argument(String),
    /// The variable, or else the terminal.
    Asking,
}

impl std::fmt::Debug for PassphraseFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PassphraseFrom::File(path) => write!(f, "File({})", path.display()),
            PassphraseFrom::Argument(_) => f.write_str("Argument(..)"),
            PassphraseFrom::Asking => f.write_str("Asking"),
        }
    }
}

impl PassphraseFrom {
    /// The passphrase of a key that is encrypted.
    ///
    /// # Errors
    /// `passphrase-missing` when there is nobody to ask; those of the file; `interrupted`.
    pub(crate) fn open(&self) -> Result<Option<Passphrase>, Error> {
        match self {
            PassphraseFrom::File(path) => Passphrase::file(path).map(Some),
            PassphraseFrom::Argument(text) => Ok(Some(Passphrase::new(text.as_str()))),
            PassphraseFrom::Asking => match from_environment() {
                Some(passphrase) => Ok(Some(passphrase)),
                None => ask("Passphrase of the private key: ").map(|text| Some(Passphrase::new(text))),
            },
        }
    }

    /// The passphrase for a new key, asked for twice.
    ///
    /// # Errors
    /// As [`open`](PassphraseFrom::open), and `bad-argument` when it is empty or was typed differently.
    pub(crate) fn choose(&self) -> Result<Passphrase, Error> {
        let chosen = match self {
            PassphraseFrom::Asking if from_environment().is_none() => {
                let text = ask("Passphrase for the new key: ")?;
                if ask("Once more: ")? != text {
                    return Err(Error::new(Code::BadArgument, "the two passphrases are not the same"));
                }
                Some(Passphrase::new(text))
            }
            _ => self.open()?,
        };
        match chosen {
            Some(passphrase) if passphrase.is_empty() => {
                Err(Error::new(Code::BadArgument, "an empty passphrase protects nothing"))
            }
            Some(passphrase) => Ok(passphrase),
            None => Err(missing()),
        }
    }
}

fn from_environment() -> Option<Passphrase> {
    env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(|value| Passphrase::new(value.into_vec()))
}

fn missing() -> Error {
    Error::new(Code::PassphraseMissing, "a passphrase is needed and there is no terminal to ask for it")
        .with_help(format!("give --passphrase-file FILE, or set {VARIABLE}"))
}

/// The terminal as it was before its echo was switched off.
static TERMINAL: Mutex<Option<(File, Termios)>> = Mutex::new(None);

fn ask(prompt: &str) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return Err(missing());
    }
    let before = File::open("/dev/tty").ok().and_then(|tty| tcgetattr(&tty).ok().map(|state| (tty, state)));
    *terminal() = before;
    let answer = rpassword::prompt_password(prompt);
    *terminal() = None;
    answer.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Error::new(Code::Interrupted, "the run was interrupted"),
        _ => missing().with_source(error),
    })
}

fn terminal() -> std::sync::MutexGuard<'static, Option<(File, Termios)>> {
    TERMINAL.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Gives the terminal its echo back, where the process ends in the middle of a prompt.
pub(crate) fn restore_terminal() {
    if let Some((tty, state)) = terminal().take() {
        // It was worth a try.
        let _ = tcsetattr(&tty, OptionalActions::Now, &state);
    }
}
