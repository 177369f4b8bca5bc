//! Sets of byte ranges.

use std::ops::Range;

/// A set of bytes, as ranges (end exclusive) in order, none of which touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds bytes.
    pub(super) fn add(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Those that overlap or touch become one with it.
        let first = self.0.partition_point(|other| other.end < range.start);
        let last = self.0.partition_point(|other| other.start <= range.end);
        for other in self.0.get(first..last).unwrap_or_default() {
            range = range.start.min(other.start)..range.end.max(other.end);
        }
        self.0.splice(first..last, [range]);
    }

    /// Takes bytes out.
    pub(super) fn remove(&mut self, range: &Range<u64>) {
        let left = self.0.iter().flat_map(|other| {
            let before = other.start..other.end.min(range.start);
            let after = other.start.max(range.end)..other.end;
            // Nothing taken out leaves it as it is, not as two halves.
            if range.is_empty() { [other.clone(), 0..0] } else { [before, after] }
        });
        self.0 = left.filter(|range| !range.is_empty()).collect();
    }

    /// Whether any byte of `range` is in it.
    pub(super) fn touches(&self, range: &Range<u64>) -> bool {
        let first = self.0.partition_point(|other| other.end <= range.start);
        !range.is_empty() && self.0.get(first).is_some_and(|other| other.start < range.end)
    }

    /// Whether it holds all bytes before `end`.
    pub(super) fn is_up_to(&self, end: u64) -> bool {
        self.missing(&(0..end)).is_empty()
    }

    /// What of `range` is in it, and what is not, in the order of the bytes.
    pub(super) fn split(&self, range: &Range<u64>) -> Vec<(Range<u64>, bool)> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let first = self.0.partition_point(|other| other.end <= range.start);
        for other in self.0.iter().skip(first).take_while(|other| other.start < range.end) {
            let piece = other.start.max(at)..other.end.min(range.end);
            if at < piece.start {
                pieces.push((at..piece.start, false));
            }
            at = piece.end;
            pieces.push((piece, true));
        }
        if at < range.end {
            pieces.push((at..range.end, false));
        }
        pieces
    }

    /// What of `range` is not in it.
    pub(super) fn missing(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.split(range).into_iter().filter(|(_, inside)| !inside).map(|(range, _)| range).collect()
    }

    /// How many bytes it holds.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Its ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes below 64, as bits: what the ranges are held against.
    fn bits(ranges: &Ranges) -> u64 {
        ranges.iter().flat_map(Clone::clone).fold(0, |bits, byte| bits | 1 << byte)
    }

    #[test]
    fn ranges_are_what_bits_are() {
        // Numbers that look random and are the same each time.
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut ranges, mut expected) = (Ranges::default(), 0u64);
        for _ in 0..20_000 {
            let start = next(63);
            let range = start..(start + next(9)).min(63);
            let mask = range.clone().fold(0, |bits, byte| bits | 1 << byte);
            if next(2) == 0 {
                ranges.add(range.clone());
                expected |= mask;
            } else {
                ranges.remove(&range);
                expected &= !mask;
            }
            assert_eq!(bits(&ranges), expected);
            assert_eq!(ranges.total(), u64::from(expected.count_ones()));
            assert!(ranges.0.windows(2).all(|two| two[0].end < two[1].start));
            let asked = next(30)..30 + next(30);
            let asked_bits = asked.clone().fold(0, |bits, byte| bits | 1 << byte);
            assert_eq!(ranges.touches(&asked), expected & asked_bits != 0);
            let missing = ranges.missing(&asked).into_iter().flatten().fold(0, |bits, byte| bits | 1 << byte);
            assert_eq!(missing, asked_bits & !expected);
            let pieces = ranges.split(&asked);
            assert_eq!(
                pieces.iter().map(|(piece, _)| piece.end - piece.start).sum::<u64>(),
                asked.end - asked.start
            );
            assert!(pieces.windows(2).all(|two| two[0].0.end == two[1].0.start && two[0].1 != two[1].1));
        }
        let mut five = Ranges::default();
        five.add(0..5);
        assert!(five.is_up_to(5) && !five.is_up_to(6) && Ranges::default().is_up_to(0));
    }
}
