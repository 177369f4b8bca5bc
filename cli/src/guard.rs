//! Panics: an error in this program, never a verdict.

use std::{
    env, panic,
    sync::{Mutex, PoisonError},
};

use weightseal::{Code, Error, Shown};

/// What the first panic said, and where.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics off the screen until somebody asks what they said; with RUST_BACKTRACE they are shown at once too.
pub(crate) fn install() {
    listen(env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0"));
}

fn listen(aloud: bool) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("no message").to_owned();
        let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
        FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text + &place);
        if aloud {
            usual(panic);
        }
    }));
}

/// Runs something; a panic in it, or in a thread that it waits for, becomes an error.
///
/// # Errors
/// `panicked`.
pub(crate) fn run<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    panic::catch_unwind(panic::AssertUnwindSafe(work)).map_err(|_| {
        let said = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
        let said = said.unwrap_or_else(|| "no message".to_owned());
        Error::new(Code::Panicked, format!("this program has an error: {}", Shown(&said)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_this_program_and_exit_code_3() {
        listen(true);
        assert_eq!(run(|| 7).unwrap(), 7);
        let error = run(|| -> u8 { panic!("at\nodds") }).unwrap_err();
        assert_eq!((error.code(), error.class().exit()), (Code::Panicked, 3));
        let text = error.to_string();
        assert!(text.contains("at\\nodds at ") && text.contains("guard.rs"), "{text}");
        let error = run(|| std::thread::scope(|scope| drop(scope.spawn(|| panic!("inside"))))).unwrap_err();
        assert!(error.to_string().contains("inside"), "{error}");
    }
}
