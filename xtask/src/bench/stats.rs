//! Samples and what becomes of them: medians with the least and the most, as people read them.

/// One run of one contender.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// Seconds of each command that was timed; their sum counts.
    pub(super) parts: Vec<f64>,
    /// Seconds of the processor that they took, in the program and in the kernel.
    pub(super) cpu: f64,
    /// The largest resident memory of any of the commands, in bytes.
    pub(super) peak: u64,
}

impl Sample {
    /// This, and then another command.
    pub(super) fn then(mut self, next: Sample) -> Sample {
        self.parts.extend(next.parts);
        Sample { cpu: self.cpu + next.cpu, peak: self.peak.max(next.peak), ..self }
    }

    /// The same with the processor's seconds in place of those of the clock.
    pub(super) fn of_processor(self) -> Sample {
        Sample { parts: vec![self.cpu], ..self }
    }

    fn seconds(&self) -> f64 {
        self.parts.iter().sum()
    }
}

/// All runs of one contender; never empty.
#[derive(Clone, Debug)]
pub(super) struct Series(Vec<Sample>);

impl Series {
    pub(super) fn new(samples: Vec<Sample>) -> Option<Series> {
        if samples.is_empty() { None } else { Some(Series(samples)) }
    }

    /// The median of the whole runs, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        median(self.0.iter().map(Sample::seconds).collect())
    }

    /// The median of the part at this place, in seconds.
    pub(super) fn part(&self, place: usize) -> f64 {
        median(self.0.iter().filter_map(|sample| sample.parts.get(place).copied()).collect())
    }

    /// The largest resident memory of any run, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.0.iter().map(|sample| sample.peak).max().unwrap_or(0)
    }

    /// `1.80 s (1.75 to 1.91 s)`.
    pub(super) fn shown(&self) -> String {
        let all = || self.0.iter().map(Sample::seconds);
        let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        format!("{} ({} to {})", seconds(self.seconds()), seconds(least), seconds(most))
    }

    /// The rate at which these bytes were worked through: `2.4 GB/s`.
    pub(super) fn rate(&self, bytes: u64) -> String {
        format!("{:.2} GB/s", bytes as f64 / 1e9 / self.seconds())
    }

    /// The same for what is slower: `298 MB/s`.
    pub(super) fn slow_rate(&self, bytes: u64) -> String {
        format!("{:.0} MB/s", bytes as f64 / 1e6 / self.seconds())
    }
}

/// The middle value, or the mean of the two in the middle; zero of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => at(middle),
        _ => f64::midpoint(at(middle - 1), at(middle)),
    }
}

/// Seconds to three digits: `3.1 ms`, `712 ms`, `1.80 s`, `23.7 s`.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.0995 => format!("{:.1} ms", s * 1e3),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.995 => format!("{s:.2} s"),
        s => format!("{s:.1} s"),
    }
}

/// Memory as people read it: `11.4 MiB`, `4.1 GiB`.
pub(super) fn memory(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1000.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: f64, peak: u64) -> Sample {
        Sample { parts: vec![seconds], cpu: seconds / 2.0, peak }
    }

    #[test]
    fn the_middle_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }

    #[test]
    fn a_series_has_its_median_its_ends_and_its_peak() {
        let series = Series::new(vec![sample(2.0, 5), sample(1.0, 9), sample(30.0, 7)]).expect("three");
        assert_eq!((series.seconds(), series.peak()), (2.0, 9));
        assert_eq!(series.shown(), "2.00 s (1.00 s to 30.0 s)");
        assert_eq!(series.rate(4_000_000_000), "2.00 GB/s");
        assert_eq!(series.slow_rate(500_000_000), "250 MB/s");
        assert!(Series::new(Vec::new()).is_none());
    }

    #[test]
    fn commands_in_a_row_add_up() {
        let both = sample(1.0, 9).then(sample(2.0, 5));
        assert_eq!((both.seconds(), both.cpu, both.peak), (3.0, 1.5, 9));
        assert_eq!(both.clone().of_processor().seconds(), 1.5);
        let series = Series::new(vec![both]).expect("one");
        assert_eq!((series.part(0), series.part(1)), (1.0, 2.0));
    }

    #[test]
    fn three_digits_are_shown() {
        let shown = [0.0031, 0.0999, 0.7124, 0.9999, 1.8, 9.999, 23.71].map(seconds);
        assert_eq!(shown, ["3.1 ms", "100 ms", "712 ms", "1.00 s", "1.80 s", "10.0 s", "23.7 s"]);
        assert_eq!((memory(12 << 20), memory(4 << 30)), ("12.0 MiB".to_owned(), "4.0 GiB".to_owned()));
    }
}
