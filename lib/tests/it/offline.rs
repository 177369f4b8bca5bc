//! Signing and verifying open no socket.

use std::{fs, net::TcpListener};

use testkit::{Ended, Missing, skip_or_fail};

use crate::good::{Good, again, has_program, in_child, passed};

/// Ends itself at the first system call `socket` (by a seccomp filter: load the number of the call, compare it with the
/// two numbers that are given, kill the process or allow), and becomes the program that it is given.
const FILTER: &str = "
import ctypes, os, platform, struct, sys
number = {'x86_64': 41, 'aarch64': 198}[platform.machine()]
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7fff0000)]
filter = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(code), ctypes.addressof(filter)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
for arguments in [(38, 1, None, 0, 0), (22, 2, ctypes.addressof(program), 0, 0)]:
    if prctl(*arguments) != 0:
        sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
";

/// Runs a test of this binary where a socket means death; nothing where that cannot be had.
pub(crate) fn without_sockets(test: &str) -> Option<Ended> {
    let lacking = if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        "the number of the call is not known for this processor"
    } else if !has_program("python3") {
        "there is no python3"
    } else {
        let ended = again(test, &["python3", "-c", FILTER]);
        if ended.code() != Some(77) {
            return Some(ended);
        }
        "the kernel takes no filter"
    };
    skip_or_fail(Missing::new("a process that may open no socket", lacking));
    None
}

#[test]
fn signing_and_verifying_work_where_a_socket_means_death() {
    const TEST: &str = "offline::signing_and_verifying_work_where_a_socket_means_death";
    if !in_child(TEST) {
        if let Some(ended) = without_sockets(TEST) {
            passed(ended);
        }
        return;
    }
    let good = Good::new();
    good.verifies();
    fs::write(good.path("config.json"), "x").unwrap();
    good.refused(&[weightseal::Code::FileChanged]);
}

#[test]
fn a_socket_does_mean_death_there() {
    const TEST: &str = "offline::a_socket_does_mean_death_there";
    if !in_child(TEST) {
        if let Some(ended) = without_sockets(TEST) {
            // SIGSYS: the one above was really watched.
            assert_eq!(ended.signal(), Some(31), "{ended}");
        }
        return;
    }
    drop(TcpListener::bind("127.0.0.1:0"));
}
