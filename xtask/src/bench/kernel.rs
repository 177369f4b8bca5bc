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
    bench.args(["bench", "-p", "weightseal", "--bench", "kernels"]);
    announce(&bench);
    bench.arg("--target-dir").arg(target_dir()).current_dir(workspace());
    let ended = capture_within(&mut bench, &[], LIMIT).map_err(|error| missing(&error.to_string()))?;
    best(&ended.out()).ok_or_else(|| missing("`cargo bench` says nothing of a kernel x4"))
}

/// The best rate of the lines that name a kernel with `x4` and give a number before `GB/s`.
fn best(output: &str) -> Option<f64> {
    let rates = output.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let named = words.iter().any(|word| *word == "x4" || word.ends_with("-x4"));
        let unit = words.iter().position(|word| *word == "GB/s")?;
        let rate = words.get(unit.checked_sub(1)?)?.parse::<f64>().ok()?;
        named.then_some(rate)
    });
    rates.max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_kernel_of_four_lanes_counts() {
        let output = "sha256 scalar    0.45 GB/s\n\
                      sha256 sha-ni x2 2.41 GB/s\n\
                      sha256 sha-ni x4 3.52 GB/s\n\
                      sha256 sha-ni-avx512vl-x4 3.81 GB/s\n\
                      sha256 avx512 x16 4.03 GB/s\n";
        assert_eq!(best(output), Some(3.81));
        assert_eq!(best("no kernel here\n"), None);
        assert_eq!(best("x4 GB/s"), None);
    }
}
