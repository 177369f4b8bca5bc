//! Signals: SIGINT and SIGTERM end the run within half a second, SIGBUS with a message, SIGXFSZ is an error of the write.

use std::{
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use weightseal::{Cancel, Code, Error, abandon_unfinished};

use crate::passphrase;

/// How long a run that was interrupted has to end by itself, say so, and tidy up.
const GRACE: Duration = Duration::from_millis(400);

/// How often it is asked whether a signal came.
const POLL: Duration = Duration::from_millis(10);

/// The signal that came.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Starts listening; the switch is thrown by the first signal, and a second one ends the process at once.
///
/// # Errors
/// `io-failed` when the system does not let this process handle signals.
pub(crate) fn listen(cancel: &Cancel) -> Result<(), Error> {
    let failed = |error: io::Error| {
        Error::new(Code::IoFailed, "this process cannot handle signals").with_source(error)
    };
    // Handled, so that the write over the limit fails instead of the process.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map_err(failed)?;
    let pending = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&pending), number).map_err(failed)?;
    }
    let cancel = cancel.clone();
    // Asked for now and then: whatever else would wake a thread from a handler here is a socket, and offline means none.
    let listen = move || {
        loop {
            thread::sleep(POLL);
            let signal = i32::try_from(pending.swap(0, Ordering::SeqCst)).unwrap_or_default();
            if signal == 0 {
                continue;
            }
            if RECEIVED.swap(signal, Ordering::SeqCst) != 0 {
                end(signal);
            }
            cancel.cancel();
            let late = thread::Builder::new().spawn(move || {
                thread::sleep(GRACE);
                end(signal);
            });
            if late.is_err() {
                end(signal);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
    Ok(())
}

/// The exit code of a run that ended with this error code or finding: 128 and the signal where one interrupted it.
pub(crate) fn exit_code(code: Code) -> u8 {
    match RECEIVED.load(Ordering::SeqCst) {
        signal if signal > 0 && code == Code::Interrupted => 128 | u8::try_from(signal).unwrap_or(0),
        _ => code.class().exit(),
    }
}

/// Ends the process with exit code 3 some time after a deadline that the run itself did not see, for example while it hangs in
/// a read of a network file system that does not come back.
pub(crate) fn end_after(deadline: Duration) {
    let late = move || {
        thread::sleep(deadline.saturating_add(GRACE));
        let error = Error::new(Code::DeadlinePassed, "the run did not end when its time was over");
        let _ = writeln!(io::stderr(), "error: {error}\n  help: {}", error.help());
        passphrase::restore_terminal();
        abandon_unfinished();
        process::exit(i32::from(Code::DeadlinePassed.class().exit()));
    };
    // Without a thread to spare the run still ends itself wherever it can.
    let _ = thread::Builder::new().name("deadline".to_owned()).spawn(late);
}

/// Ends the process whatever its other threads are at: they may hang in a read that does not come back, or in a write to a
/// terminal that is stopped, which is why a bar stays where it is.
fn end(signal: i32) -> ! {
    passphrase::restore_terminal();
    abandon_unfinished();
    process::exit(128 | signal);
}

/// Turns SIGBUS, which a file truncated while it is mapped raises, into exit code 3, with these words on standard error
/// and, where there are any, on standard output.
///
/// # Errors
/// `io-failed` when there are no more descriptors.
pub(crate) fn expect_sigbus(error: &Error, stdout: Option<String>) -> Result<(), Error> {
    let mut said = Vec::new();
    if io::stderr().is_terminal() {
        // The bar may be on the screen.
        said.extend(b"\r\x1b[K");
    }
    writeln!(said, "error: {error}\n  help: {}", error.help()).unwrap_or_default();
    let failed = |error| Error::io("duplicate", "standard error", error, Code::IoFailed);
    let mut messages = vec![(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?, said)];
    if let Some(line) = stdout {
        messages.push((io::stdout().as_fd().try_clone_to_owned().map_err(failed)?, line.into_bytes()));
    }
    weightseal::sigbus::exit_on_sigbus(Code::TruncatedWhileMapped.class().exit(), messages);
    Ok(())
}
