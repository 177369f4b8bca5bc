//! The table: its lines, as text and as the part of docs/performance.md between two comments.

use super::stats::{Series, memory, seconds};

/// The comments between which docs/performance.md is written.
const BEGIN: &str = "<!-- bench: from here to the next such comment, `cargo xtask bench` writes -->";
const END: &str = "<!-- bench: end -->";

const HEADS: [&str; 7] = ["row", "work", "weightseal", "against", "ratio", "wanted", "holds"];

/// What a ratio should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Wanted {
    fn holds(self, value: f64) -> bool {
        match self {
            Wanted::AtLeast(least) => value >= least,
            Wanted::AtMost(most) => value <= most,
        }
    }

    fn shown(self) -> String {
        match self {
            Wanted::AtLeast(least) => format!("at least {least}"),
            Wanted::AtMost(most) => format!("at most {most}"),
        }
    }
}

/// One comparison, a line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) row: String,
    pub(super) work: String,
    pub(super) ours: String,
    pub(super) against: String,
    pub(super) ratio: String,
    pub(super) wanted: String,
    /// Nothing where it was not measured.
    pub(super) holds: Option<bool>,
}

impl Line {
    /// How many times as fast as the other, or how much longer, as `wanted` has it.
    pub(super) fn compared(
        row: &str,
        work: &str,
        ours: &Series,
        against: String,
        theirs: f64,
        wanted: Wanted,
    ) -> Line {
        let ratio = match wanted {
            Wanted::AtLeast(_) => theirs / ours.seconds(),
            Wanted::AtMost(_) => ours.seconds() / theirs,
        };
        Line { ours: ours.shown(), against, ..Line::of(row, work, wanted) }.with(ratio, wanted)
    }

    /// The same against a program's runs, or the reason why there are none.
    pub(super) fn raced(
        row: &str,
        work: &str,
        ours: &Series,
        peer: &str,
        theirs: &Result<Series, testkit::Missing>,
        wanted: Wanted,
    ) -> Line {
        match theirs {
            Ok(theirs) => Line::compared(
                row,
                work,
                ours,
                format!("{peer}: {}", theirs.shown()),
                theirs.seconds(),
                wanted,
            ),
            Err(why) => Line { ours: ours.shown(), ..Line::missing(row, work, &why.to_string(), wanted) },
        }
    }

    /// Nothing could be compared, because of `why`.
    pub(super) fn missing(row: &str, work: &str, why: &str, wanted: Wanted) -> Line {
        Line { against: format!("not measured: {why}"), ..Line::of(row, work, wanted) }
    }

    /// A row that came to nothing, because of `why`.
    pub(super) fn unmeasured(row: &str, work: &str, why: &str) -> Line {
        Line { wanted: String::new(), ..Line::missing(row, work, why, Wanted::AtLeast(0.0)) }
    }

    /// Two peaks of memory that should be equal, and no larger than `most` bytes.
    pub(super) fn peaks(
        row: &str,
        work: &str,
        small: &Series,
        other: &str,
        large: &Series,
        most: u64,
    ) -> Line {
        let (small, large) = (small.peak(), large.peak());
        let ratio = large as f64 / small as f64;
        Line {
            row: row.to_owned(),
            work: work.to_owned(),
            ours: memory(small),
            against: format!("{other}: {}", memory(large)),
            ratio: format!("{ratio:.2}"),
            wanted: format!("at most 1.1, both under {}", memory(most)),
            holds: Some(ratio <= 1.1 && small.max(large) < most),
        }
    }

    /// A peak of memory that should be smaller than `most` bytes.
    pub(super) fn peak(row: &str, work: &str, ours: &Series, against: String, most: u64) -> Line {
        Line {
            row: row.to_owned(),
            work: work.to_owned(),
            ours: memory(ours.peak()),
            against,
            ratio: String::new(),
            wanted: format!("under {}", memory(most)),
            holds: Some(ours.peak() < most),
        }
    }

    /// A time that should be shorter than `most` seconds, and another that it stands in for.
    pub(super) fn within(
        row: &str,
        work: &str,
        ours: &Series,
        against: String,
        theirs: f64,
        most: f64,
    ) -> Line {
        Line {
            row: row.to_owned(),
            work: work.to_owned(),
            ours: ours.shown(),
            against,
            ratio: format!("{:.0}", theirs / ours.seconds()),
            wanted: format!("under {}", seconds(most)),
            holds: Some(ours.seconds() < most),
        }
    }

    /// A number of things that should be no larger than `most`.
    pub(super) fn counted(row: &str, work: &str, count: u64, what: &str, against: &str, most: u64) -> Line {
        Line {
            row: row.to_owned(),
            work: work.to_owned(),
            ours: format!("{count} {what}"),
            against: against.to_owned(),
            ratio: String::new(),
            wanted: format!("at most {most}"),
            holds: Some(count <= most),
        }
    }

    /// More about what was measured of ours.
    pub(super) fn ours_with(self, more: &str) -> Line {
        Line { ours: format!("{}, {more}", self.ours), ..self }
    }

    /// More about what it was compared with, if there is any.
    pub(super) fn against_with(self, more: &str) -> Line {
        if more.is_empty() { self } else { Line { against: format!("{}, {more}", self.against), ..self } }
    }

    fn of(row: &str, work: &str, wanted: Wanted) -> Line {
        Line {
            row: row.to_owned(),
            work: work.to_owned(),
            ours: String::new(),
            against: String::new(),
            ratio: String::new(),
            wanted: wanted.shown(),
            holds: None,
        }
    }

    fn with(self, ratio: f64, wanted: Wanted) -> Line {
        Line { ratio: format!("{ratio:.2}"), holds: Some(wanted.holds(ratio)), ..self }
    }

    /// As a row of a Markdown table.
    pub(super) fn markdown(&self) -> String {
        let holds = self.holds.map_or("", |holds| if holds { "yes" } else { "no" });
        let cells = [&self.row, &self.work, &self.ours, &self.against, &self.ratio, &self.wanted, holds];
        // What a program said about its failure may hold anything.
        let cells = cells.map(|cell| cell.replace(['|', '\n'], " "));
        format!("| {} |", cells.join(" | "))
    }
}

/// A whole table in Markdown, from rows that [`Line::markdown`] made.
pub(super) fn markdown(rows: &[String]) -> String {
    let rule = format!("|{}", "---|".repeat(HEADS.len()));
    format!("| {} |\n{rule}\n{}\n", HEADS.join(" | "), rows.join("\n"))
}

/// The page with the part between the comments written anew: the machine, when, and the table.
///
/// Rows of the old table that this run could not measure, or was not to, stay where they are of the same machine; of
/// another one they would stand beside what they have nothing to do with. `order` names all rows there are.
///
/// Errors when the page has no such part, or only some of the rows were measured and the others are of elsewhere.
pub(super) fn rewritten(
    page: &str,
    machine: &str,
    when: &str,
    order: &[&str],
    lines: &[Line],
) -> Result<String, String> {
    let place = |mark: &str| page.find(mark).ok_or(format!("it has no comment `{mark}`"));
    let (begin, end) = (place(BEGIN)? + BEGIN.len(), place(END)?);
    let old = page.get(begin..end).ok_or("its two comments are in the wrong order")?;
    let same_machine = old.lines().any(|line| line == machine);
    let mut rows = Vec::new();
    for row in order {
        let new: Vec<&Line> = lines.iter().filter(|line| line.row == *row).collect();
        let old: Vec<&str> = old.lines().filter(|line| line.starts_with(&format!("| {row} |"))).collect();
        if new.iter().all(|line| line.holds.is_none()) && same_machine && !old.is_empty() {
            rows.extend(old.into_iter().map(str::to_owned));
        } else if new.is_empty() {
            return Err(format!("its row {row} was not measured on this machine: run all rows once"));
        } else {
            rows.extend(new.into_iter().map(Line::markdown));
        }
    }
    let (before, after) = (page.get(..begin).unwrap_or_default(), page.get(end..).unwrap_or_default());
    Ok(format!("{before}\n{machine}\n{when}\n\n{}{after}", markdown(&rows)))
}

/// `verify 4.50 s, load 3.20 s`: the two parts of a series, by their names.
pub(super) fn parts(series: &Series, names: [&str; 2]) -> String {
    let [first, second] = names;
    format!("{first} {}, {second} {}", seconds(series.part(0)), seconds(series.part(1)))
}

#[cfg(test)]
mod tests {
    use super::super::stats::Sample;
    use super::*;

    fn series(seconds: f64) -> Series {
        Series::new(vec![Sample { parts: vec![seconds], cpu: seconds, peak: 10 << 20 }]).expect("a sample")
    }

    fn line(row: &str, ours: f64) -> Line {
        Line::compared(row, "work", &series(ours), "peer: 2.00 s".to_owned(), 2.0, Wanted::AtLeast(2.0))
    }

    #[test]
    fn a_ratio_holds_or_does_not() {
        assert_eq!((line("a", 1.0).ratio.as_str(), line("a", 1.0).holds), ("2.00", Some(true)));
        assert_eq!((line("a", 1.1).ratio.as_str(), line("a", 1.1).holds), ("1.82", Some(false)));
        let longer =
            |ours| Line::compared("a", "work", &series(ours), String::new(), 2.0, Wanted::AtMost(1.6)).holds;
        assert_eq!((longer(3.2), longer(3.3)), (Some(true), Some(false)));
    }

    #[test]
    fn equal_memory_is_small_too() {
        let peaks = |small: u64, large: u64| {
            let of = |peak| Series::new(vec![Sample { parts: vec![1.0], cpu: 1.0, peak }]).expect("a sample");
            Line::peaks("m", "work", &of(small), "larger", &of(large), 64 << 20).holds
        };
        assert_eq!(peaks(20 << 20, 21 << 20), Some(true));
        assert_eq!(peaks(20 << 20, 23 << 20), Some(false));
        assert_eq!(peaks(64 << 20, 64 << 20), Some(false));
    }

    #[test]
    fn a_number_may_be_as_large_as_wanted() {
        let line = |count| Line::counted("hub", "work", count, "requests", "3,000 files", 29);
        assert_eq!((line(29).holds, line(30).holds), (Some(true), Some(false)));
        assert_eq!(line(29).markdown(), "| hub | work | 29 requests | 3,000 files |  | at most 29 | yes |");
    }

    #[test]
    fn a_missing_peer_is_said() {
        let missing = Err(testkit::Missing::new("b3sum", "no | network"));
        let line = Line::raced("blake3", "work", &series(1.0), "b3sum", &missing, Wanted::AtLeast(1.0));
        assert_eq!(
            line.markdown(),
            "| blake3 | work | 1.00 s (1.00 s to 1.00 s) | not measured: b3sum: no   network |  | at least 1 |  |"
        );
    }

    #[test]
    fn only_the_part_between_the_comments_is_written() {
        let page = format!("# Title\n\n{BEGIN}\nstale\n{END}\n\nprose\n");
        let written = rewritten(&page, "a machine", "today", &["a"], &[line("a", 1.0)]).expect("written");
        assert!(
            written.starts_with(&format!("# Title\n\n{BEGIN}\na machine\ntoday\n\n| row |")),
            "{written}"
        );
        assert!(written.ends_with(&format!("| yes |\n{END}\n\nprose\n")), "{written}");
        assert!(!written.contains("stale"));
        let again = rewritten(&written, "a machine", "today", &["a"], &[line("a", 1.0)]);
        assert_eq!(again.as_deref(), Ok(written.as_str()));
    }

    #[test]
    fn rows_of_this_machine_stay_and_others_do_not() {
        let page = format!("{BEGIN}\n{END}\n");
        let both = [line("a", 1.0), line("b", 1.0)];
        let full = rewritten(&page, "a machine", "today", &["a", "b"], &both).expect("written");
        let partly = |machine| rewritten(&full, machine, "later", &["a", "b"], &[line("b", 4.0)]);
        let merged = partly("a machine").expect("written");
        assert!(merged.contains(&line("a", 1.0).markdown()) && merged.contains(&line("b", 4.0).markdown()));
        assert!(!merged.contains(&line("b", 1.0).markdown()) && merged.contains("later"));
        assert!(partly("another").expect_err("refused").contains("row a"));

        let lines = ["a", "b"].map(|row| Line::unmeasured(row, "work", "only root can"));
        let not_root = rewritten(&full, "a machine", "later", &["a", "b"], &lines).expect("written");
        assert_eq!(not_root, full.replace("today", "later"));
        let elsewhere = rewritten(&full, "another", "later", &["a", "b"], &lines).expect("written");
        assert!(elsewhere.contains("only root can") && !elsewhere.contains(&line("a", 1.0).markdown()));
    }

    #[test]
    fn a_page_without_the_comments_is_left_alone() {
        for page in [String::new(), format!("{END}\n{BEGIN}\n")] {
            assert!(rewritten(&page, "a machine", "today", &[], &[]).is_err());
        }
    }
}
