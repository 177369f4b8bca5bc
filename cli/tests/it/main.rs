//! The command line as it is used: whole invocations, their output, exit codes, and what they leave behind.

#![allow(missing_docs, reason = "tests have names")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod cases;
mod ends;
mod hashing;
mod hostile;
mod json;
mod keys;
mod output;
mod peer_lines;
mod sigstore_sign;
mod stores;
mod trust;
mod world;
