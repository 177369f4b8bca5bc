//! A program that starts, says so and waits: what runs in a pod where a test needs something to run. It stands for a
//! model server, and for the process that holds a pod together.

use std::io::{self, Write as _};
use std::thread;

fn main() {
    // Where nobody listens, it runs all the same.
    let _ = writeln!(io::stdout(), "started");
    loop {
        thread::park();
    }
}
