//! Temporary.
mod peers;
