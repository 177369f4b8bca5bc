//! Versions that can be compared.

use std::{cmp::Ordering, fmt};

/// Most numbers in a version.
const NUMBERS: usize = 8;

/// A version of one to eight decimal numbers with dots between: `1.2`, `2026.01.31`. Compared number by number from the left;
/// a number that is missing counts as 0, so that 1.2 and 1.2.0 are equal. Anything else has no order that everybody agrees on.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    text: String,
    numbers: Vec<u64>,
}

impl Version {
    /// The version, unless it cannot be compared.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let numbers: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
        (numbers.len() <= NUMBERS).then(|| Version { text: text.to_owned(), numbers })
    }

    /// Whether it is older than another one.
    pub(crate) fn is_before(&self, other: &Version) -> bool {
        let number = |version: &Version, at| version.numbers.get(at).copied().unwrap_or(0);
        (0..NUMBERS)
            .map(|at| number(self, at).cmp(&number(other, at)))
            .find(|order| order.is_ne())
            .is_some_and(Ordering::is_lt)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_number_by_number_or_not_at_all() {
        for (older, newer) in
            [("1.2", "1.10"), ("1.2", "1.2.0.1"), ("0", "0.0.1"), ("2025.12.31", "2026.01.01"), ("9", "10")]
        {
            let (older, newer) = (Version::parse(older).unwrap(), Version::parse(newer).unwrap());
            assert!(older.is_before(&newer) && !newer.is_before(&older), "{older} {newer}");
        }
        let (short, long) = (Version::parse("1.2").unwrap(), Version::parse("01.2.0").unwrap());
        assert!(!short.is_before(&long) && !long.is_before(&short));
        for text in [
            "",
            "v1",
            "1.",
            ".1",
            "1..2",
            "1.2-rc1",
            "1.2 ",
            "+1",
            "-1",
            "latest",
            "1.99999999999999999999",
            "١",
        ] {
            assert!(Version::parse(text).is_none(), "{text}");
        }
        assert!(Version::parse("1.1.1.1.1.1.1.1").is_some() && Version::parse("1.1.1.1.1.1.1.1.1").is_none());
    }
}
