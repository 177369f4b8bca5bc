//! The rate of the SHA-256 kernel of four lanes in memory, by the benchmark of the library.

use std::time::Duration;

use testkit::{Missing, capture_within, target_dir, workspace};

use crate::test::{announce, cargo};

/// How long building and running it may take.
const LIMIT: Duration = Duration::from_secs(900);

/// GB/s of one core with everything in its caches.
pub(super) fn rate() -> Result<f64, Missing> {
    let missing = |why: &str| Missing::new("the x4 kernel's rate", why);
    if !workspace().join("lib/benches/kernels.rs").is_file() {
        return Err(missing("there is no benchmark of the kernels"));
    }
    let mut bench = cargo();
    bench.args(["bench", "-p", "weightseal", "--bench", "kernels", "--target-dir"]).arg(target_dir());
    bench.args(["--", "sha256/cached"]).current_dir(workspace());
    announce(&bench);
    let ended = capture_within(&mut bench, &[], LIMIT).map_err(|error| missing(&error.to_string()))?;
    best(&ended.out()).ok_or_else(|| missing("`cargo bench` says nothing of a kernel x4"))
}

/// The best rate of a kernel with four messages in its caches, by Criterion's estimate, the middle one of three.
fn best(output: &str) -> Option<f64> {
    let (mut rates, mut of_four) = (Vec::new(), false);
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // A name begins its line; what was measured follows in it, or in lines of their own.
        if let Some(name) = words.first().filter(|_| !line.starts_with(' ')) {
            of_four = name.starts_with("sha256/cached/") && name.ends_with("/4");
        }
        if let ["thrpt:", _, _, rate, "GB/s", ..] = words[..]
            && of_four
        {
            rates.extend(rate.parse::<f64>());
        }
    }
    rates.into_iter().max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_kernel_of_four_lanes_counts() {
        let output = "sha256/cached/sha2/1    time:   [15.9 us 16.0 us 16.1 us]\n\
            \x20                       thrpt:  [2.03 GB/s 2.04 GB/s 2.05 GB/s]\n\
            sha256/cached/avx2/4    time:   [124 us 125 us 126 us]\n\
            \x20                       thrpt:  [1.04 GB/s 1.05 GB/s 1.06 GB/s]\n\
            sha256/cached/sha-ni/4\n\
            \x20                       time:   [32.9 us 33.0 us 33.1 us]\n\
            \x20                       thrpt:  [3.94 GB/s 3.95 GB/s 3.96 GB/s]\n\
            sha256/cached/avx512/16 time:   [72 us 73 us 74 us]\n\
            \x20                       thrpt:  [7.09 GB/s 7.10 GB/s 7.11 GB/s]\n\
            sha256/memory/sha-ni/4  time:   [33 ms 34 ms 35 ms]\n\
            \x20                       thrpt:  [4.98 GB/s 4.99 GB/s 5.00 GB/s]\n";
        assert_eq!(best(output), Some(3.95));
        assert_eq!(best("no kernel here\n"), None);
    }
}
