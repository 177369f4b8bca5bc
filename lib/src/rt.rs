//! The one runtime for everything that speaks HTTP: started when it is first needed, on a thread of its own.
//!
//! Callers are synchronous and wait on a channel, so that it makes no difference whether they run inside somebody's
//! asynchronous program, where a runtime of our own must neither be started nor dropped.

use std::{
    future::{Future, pending},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle};

use crate::{Error, Run, code::Code};

/// How often a waiting caller asks whether its run may go on.
const CHECK_EVERY: Duration = Duration::from_millis(50);

static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

/// Runs a task on the runtime and waits for what it gives.
///
/// # Errors
/// Those of [`Run::check`], which is asked while waiting; the task is then given up. `io-failed` when there can be no
/// runtime, `panicked` when the task did.
pub(crate) fn wait<T: Send + 'static>(
    run: &Run,
    task: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    run.check()?;
    let (send, receive) = mpsc::sync_channel(1);
    let task = runtime()?.spawn(async move {
        // Nobody listens when the run has ended meanwhile.
        let _ = send.send(task.await);
    });
    loop {
        match receive.recv_timeout(CHECK_EVERY) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(Code::Panicked, "the thread for the network failed"));
            }
            Err(RecvTimeoutError::Timeout) => run.check().inspect_err(|_| task.abort())?,
        }
    }
}

/// Waits in the caller's thread.
///
/// # Errors
/// Those of [`Run::check`].
#[cfg_attr(
    not(any(feature = "hub", feature = "sigstore-tuf")),
    allow(dead_code, reason = "reads of S3 wait in their task")
)]
pub(crate) fn sleep(run: &Run, how_long: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        run.check()?;
        match how_long.checked_sub(begun.elapsed()) {
            None | Some(Duration::ZERO) => return Ok(()),
            Some(left) => thread::sleep(left.min(CHECK_EVERY)),
        }
    }
}

/// How long to wait before the next of several attempts, of which so many failed: twice as long each time, less a random part
/// up to half of it, so that those who failed together do not come back together.
pub(crate) fn backoff(first: Duration, failed: u32) -> Duration {
    let whole = first * 2_u32.saturating_pow(failed.saturating_sub(1));
    let mut random = [0; 4];
    // Without randomness the wait is whole.
    let _ = getrandom::fill(&mut random);
    whole - whole.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX) / 2.0)
}

fn runtime() -> Result<Handle, Error> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*runtime {
        return Ok(handle.clone());
    }
    let failed = |error: std::io::Error| {
        Error::new(Code::IoFailed, format!("no thread for the network can be started: {error}"))
    };
    let started = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = started.handle().clone();
    thread::Builder::new()
        .name("weightseal-net".to_owned())
        .spawn(move || started.block_on(pending::<()>()))
        .map_err(failed)?;
    *runtime = Some(handle.clone());
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cancel;

    #[test]
    fn waits_double_and_differ() {
        let first = Duration::from_millis(200);
        for failed in 1..6 {
            let whole = first * 2_u32.pow(failed - 1);
            let waits: Vec<_> = (0..20).map(|_| backoff(first, failed)).collect();
            assert!(waits.iter().all(|wait| *wait <= whole && *wait >= whole / 2), "{waits:?}");
            assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
        }
    }

    #[test]
    fn a_task_gives_its_value_outside_and_inside_of_an_asynchronous_program() {
        let run = Run::new();
        assert_eq!(wait(&run, async { 7 }).unwrap(), 7);
        let inside = Builder::new_current_thread().build().unwrap();
        assert_eq!(inside.block_on(async { wait(&run, async { 8 }) }).unwrap(), 8);
    }

    #[test]
    fn a_task_that_never_ends_is_given_up_when_the_run_ends() {
        let begun = Instant::now();
        let late = Run::new().deadline(Duration::from_millis(80));
        assert_eq!(wait(&late, pending::<()>()).unwrap_err().code(), Code::DeadlinePassed);
        let cancel = Cancel::default();
        let run = Run::new().cancel(cancel.clone());
        let switch = thread::spawn(move || {
            thread::sleep(Duration::from_millis(60));
            cancel.cancel();
        });
        assert_eq!(wait(&run, pending::<()>()).unwrap_err().code(), Code::Interrupted);
        switch.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_task_that_panics_is_an_error_and_the_next_one_runs() {
        let run = Run::new();
        let failed = wait(&run, async { panic!("as it is meant to") });
        assert_eq!(failed.map(|()| 0).unwrap_err().code(), Code::Panicked);
        assert_eq!(wait(&run, async { 9 }).unwrap(), 9);
    }

    #[test]
    fn sleeping_ends_with_the_run() {
        let run = Run::new().deadline(Duration::from_millis(70));
        assert_eq!(sleep(&run, Duration::from_secs(60)).unwrap_err().code(), Code::DeadlinePassed);
        assert!(sleep(&Run::new(), Duration::ZERO).is_ok());
    }
}
