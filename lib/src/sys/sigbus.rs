//! What a program says and does when a mapped file is truncated under it.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

/// What the handler says, made beforehand, since a signal handler may allocate nothing.
struct Prepared {
    code: u8,
    messages: Vec<(OwnedFd, Vec<u8>)>,
}

static PREPARED: AtomicPtr<Prepared> = AtomicPtr::new(ptr::null_mut());

/// How many threads have entered the handler; none comes back.
static ENTERED: AtomicUsize = AtomicUsize::new(0);

/// How long the handler waits for a descriptor that takes no more bytes, in milliseconds.
const PATIENCE: libc::c_int = 500;

/// Ends the process with exit code `code` when it receives SIGBUS, after writing each message to its descriptor.
///
/// A program that lets a run map files ([`ReadMode::Auto`](crate::ReadMode::Auto), [`Mmap`](crate::ReadMode::Mmap)) calls
/// this first: a file that somebody truncates in the instant between the check and the read raises SIGBUS, and nothing can
/// be said about the model any more. The exit code for that is 3, could not tell. Called again, the new code and messages
/// replace the old ones, whose descriptors are closed.
///
/// A message is written as it stands, in order, at its descriptor's position. One whose descriptor fails, or takes no
/// bytes for half a second, is given up: the process ends all the same.
pub fn exit_on_sigbus(code: u8, messages: Vec<(OwnedFd, Vec<u8>)>) {
    let old = PREPARED.swap(Box::into_raw(Box::new(Prepared { code, messages })), Ordering::SeqCst);
    if old.is_null() {
        install();
    } else if ENTERED.load(Ordering::SeqCst) == 0 {
        // SAFETY: `old` came from Box::into_raw in an earlier call, and the swap handed it to this call alone. A handler may
        // only look at it if it loaded the pointer before the swap, and every handler counts itself in before it loads: none
        // was counted after the swap, in the one order of these sequentially consistent operations, so none holds `old`.
        drop(unsafe { Box::from_raw(old) });
    }
}

fn install() {
    let handler: extern "C" fn(libc::c_int) = on_sigbus;
    // SAFETY: `action` is a plain C structure for which all zeros are valid, and is filled in before it is used; the pointers
    // are to locals that outlive the calls. The handler has the type that a handler without SA_SIGINFO must have, is a function
    // of this program, and does only what is allowed in a signal handler. SA_ONSTACK lets it run where the thread has a
    // stack for signals, as Rust gives each of its own. The calls cannot fail for SIGBUS and a valid address.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
    }
}

extern "C" fn on_sigbus(_: libc::c_int) {
    if ENTERED.fetch_add(1, Ordering::SeqCst) > 0 {
        // Another thread speaks already, and ends this one with the process.
        loop {
            // SAFETY: The call takes nothing; it waits for a signal, and is allowed in a handler.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: The pointer is null or from Box::into_raw; what it points to is only freed by `exit_on_sigbus` while no handler
    // is counted in, and this one is.
    let code = match unsafe { PREPARED.load(Ordering::SeqCst).as_ref() } {
        Some(prepared) => {
            for (to, message) in &prepared.messages {
                say(to.as_raw_fd(), message);
            }
            libc::c_int::from(prepared.code)
        }
        None => 3,
    };
    // SAFETY: The call takes a number, does not return, runs nothing of this program, and is allowed in a handler.
    unsafe { libc::_exit(code) }
}

/// Writes bytes with calls that a signal handler may make.
fn say(to: libc::c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let mut wait = libc::pollfd { fd: to, events: libc::POLLOUT, revents: 0 };
        // SAFETY: The pointer is to one pollfd, as the count says, which outlives the call.
        if unsafe { libc::poll(&mut wait, 1, PATIENCE) } <= 0 {
            return;
        }
        // A pipe that is ready takes this many bytes without blocking.
        let length = bytes.len().min(libc::PIPE_BUF);
        // SAFETY: The pointer and length are within `bytes`, which is borrowed for the call.
        let written = unsafe { libc::write(to, bytes.as_ptr().cast(), length) };
        match usize::try_from(written).ok().and_then(|written| bytes.get(written..)) {
            Some(rest) if written > 0 => bytes = rest,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::process::ExitStatusExt,
        process::{Command, Output, Stdio},
    };

    use super::*;

    /// Tells this test's own process, started again, that it is the one to die.
    const CHILD: &str = "WEIGHTSEAL_TEST_SIGBUS";

    /// Runs one test of this module again in a process of its own.
    fn again(test: &str) -> Output {
        let module = module_path!().split_once("::").unwrap().1;
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::{test}"), "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Reads a page that was mapped and is no longer there.
    fn touch_what_was_truncated() -> u8 {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        // SAFETY: Nobody else has the file, and that the read below ends the process is what is tested.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        file.set_len(0).unwrap();
        std::hint::black_box(&map)[1 << 19]
    }

    fn stderr() -> OwnedFd {
        rustix::io::dup(std::io::stderr()).unwrap()
    }

    #[test]
    fn a_truncated_mapping_ends_the_process_with_the_last_code_and_messages() {
        if std::env::var_os(CHILD).is_some() {
            exit_on_sigbus(9, vec![(stderr(), b"replaced".to_vec())]);
            exit_on_sigbus(3, vec![(stderr(), b"first,".to_vec()), (stderr(), vec![b'x'; 20_000])]);
            panic!("read {}", touch_what_was_truncated());
        }
        let output = again("a_truncated_mapping_ends_the_process_with_the_last_code_and_messages");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.ends_with(&format!("first,{}", "x".repeat(20_000))) && !said.contains("replaced"),
            "{said}"
        );
    }

    #[test]
    fn without_the_handler_the_same_read_kills() {
        if std::env::var_os(CHILD).is_some() {
            panic!("read {}", touch_what_was_truncated());
        }
        let status = again("without_the_handler_the_same_read_kills").status;
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status:?}");
    }

    #[test]
    fn a_descriptor_that_takes_nothing_does_not_keep_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let (_unread, full) = std::io::pipe().unwrap();
            rustix::io::ioctl_fionbio(&full, true).unwrap();
            while (&full).write(&[0; 4096]).is_ok() {}
            while (&full).write(&[0]).is_ok() {}
            rustix::io::ioctl_fionbio(&full, false).unwrap();
            let (read, broken) = std::io::pipe().unwrap();
            drop(read);
            exit_on_sigbus(
                3,
                vec![
                    (full.into(), b"never read".to_vec()),
                    (broken.into(), b"never taken".to_vec()),
                    (stderr(), b"still said".to_vec()),
                ],
            );
            panic!("read {}", touch_what_was_truncated());
        }
        let output = again("a_descriptor_that_takes_nothing_does_not_keep_the_process");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(output.stderr.ends_with(b"still said"), "{output:?}");
    }
}
