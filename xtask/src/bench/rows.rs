//! The rows: what is measured, against what, and what is wanted of it.

mod cold;
mod restart;
mod store;
mod warm;

use super::Bench;
use super::table::Line;
use crate::Done;

/// A row of the table; it may give several lines, each a comparison of its own.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What it measures, in a line.
    pub(super) about: &'static str,
    pub(super) run: fn(&Bench<'_>) -> Done<Vec<Line>>,
}

/// All rows in the order of the table.
pub(super) const ROWS: [Row; 19] = [
    Row {
        name: "warm-8",
        about: "verify 8 files; model-signing, model-transparency-go, the kernel",
        run: warm::eight,
    },
    Row {
        name: "one-file",
        about: "verify one large file, hashed whole; model-signing",
        run: warm::one_file,
    },
    Row { name: "shards", about: "verify one large file in shards; openssl dgst", run: warm::shards },
    Row { name: "blake3", about: "verify one large file by BLAKE3; b3sum", run: warm::blake3 },
    Row { name: "small-files", about: "verify 10,000 small files; model-signing", run: warm::small_files },
    Row { name: "cold-disk", about: "verify cold files on the disk; as many cat", run: cold::disk },
    Row { name: "slow-1ms", about: "verify and load, 1 ms a read; the load alone", run: cold::slow_1ms },
    Row { name: "slow-2ms", about: "verify and load, 2 ms a read; the load alone", run: cold::slow_2ms },
    Row {
        name: "slow-cgroup",
        about: "the same at 1 ms in a memory cgroup of 1 GiB",
        run: cold::slow_cgroup,
    },
    Row { name: "disk-load", about: "verify and load on the disk; the load alone", run: cold::disk_load },
    Row { name: "tiny", about: "verify 1 MB, the whole process; model-signing", run: warm::tiny },
    Row { name: "memory", about: "peak memory; that of four times the model", run: warm::memory_peak },
    Row {
        name: "receipt",
        about: "the gate once more, with its receipt; hashed in full",
        run: restart::receipt,
    },
    Row { name: "s3-verify", about: "verify 8 files from S3; boto3 and model-signing", run: store::verify },
    Row { name: "s3-cpu", about: "its processor time; curl and local hashing", run: store::cpu },
    Row { name: "s3-wire", about: "verify from a server that gives 300 MB/s; the cap", run: store::wire },
    Row { name: "s3-pull", about: "pull 8 files from S3; the download alone", run: store::pull },
    Row {
        name: "s3-memory",
        about: "peak memory of verifying from S3; that of four times the model",
        run: store::memory_peak,
    },
    Row {
        name: "hub-stated",
        about: "requests to verify what a Hub states of 3,000 files",
        run: store::stated,
    },
];
