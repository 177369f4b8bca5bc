//! The command line as it is used: whole invocations, their output, exit codes, and what they leave behind.

#![allow(missing_docs)]

mod cases;
mod ends;
mod hostile;
mod json;
mod keys;
mod output;
mod peer_lines;
mod world;
