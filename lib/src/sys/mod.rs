//! The doors to the kernel and the only unsafe code: mapped windows, system calls without a safe wrapper, a signal handler.
//!
//! Each unsafe block states why it is sound; everything that leaves this module is safe to call. What needs no unsafe but
//! is a matter of the kernel (opening beneath a folder, kinds of file systems) stands here too, each with a portable twin.

// The workspace denies unsafe code; here it is allowed, since a mapping, `sync_file_range` and a signal handler have no
// safe form.
#![allow(unsafe_code)]

pub(crate) mod cache;
pub(crate) mod file_system;
pub(crate) mod kernel;
pub(crate) mod lanes;
pub(crate) mod map;
pub mod sigbus;
