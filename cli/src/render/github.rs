//! GitHub Actions: annotations on the lines of a run, and the summary of a step.

use std::{
    env,
    fmt::{self, Write as _},
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
};

use tracing::warn;
use weightseal::{Bytes, Finding, Report, Shown};

/// GitHub shows ten errors of a step, and stores fifty of a job; people read fewer.
const ANNOTATIONS: usize = 20;

/// At most this many findings are in a summary; it may have 1 MiB.
const ROWS: usize = 20;

/// The annotations of a report: one for each finding, up to a bound.
pub(crate) fn annotations(report: &Report) -> String {
    let mut out = String::new();
    for finding in report.findings.iter().take(ANNOTATIONS) {
        out.push_str(&annotation(finding, Some(report)));
    }
    if let Some(more) = report.findings.len().checked_sub(ANNOTATIONS).filter(|more| *more > 0) {
        let _ = writeln!(out, "::notice title=weightseal::and {more} more findings, which the report has");
    }
    out
}

/// One finding as an annotation; on the file that it is about, as far as it is known. What warn mode admits is a warning.
pub(crate) fn annotation(finding: &Finding, report: Option<&Report>) -> String {
    let level = if report.is_some_and(|report| report.admitted) { "warning" } else { "error" };
    let mut out = format!("::{level} ");
    if let (Some(name), Some(report)) = (&finding.name, report) {
        let path = if report.model == *name || report.model.ends_with(&format!("/{name}")) {
            report.model.clone()
        } else {
            format!("{}/{name}", report.model.trim_end_matches('/'))
        };
        let _ = write!(out, "file={},", Property(&Shown(&path).to_string()));
    }
    let title = format!("weightseal: {}", finding.code);
    let _ = writeln!(
        out,
        "title={}::{}",
        Property(&title),
        Data(&format!("{} ({})", finding.what, finding.help()))
    );
    out
}

/// A message, escaped as the runner unescapes it.
struct Data<'a>(&'a str);

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '%' => f.write_str("%25")?,
                '\r' => f.write_str("%0D")?,
                '\n' => f.write_str("%0A")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The value of a property, escaped as the runner unescapes it.
struct Property<'a>(&'a str);

impl fmt::Display for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Data(self.0).to_string().replace(':', "%3A").replace(',', "%2C"))
    }
}

/// Appends to the summary of the step that runs, where there is one.
pub(crate) fn summarize(markdown: impl FnOnce() -> String) {
    let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return };
    // A pipe in its place must not be waited for.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().append(true).create(true).custom_flags(flags).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(markdown().as_bytes())) {
        warn!("the step summary cannot be written: {error}");
    }
}

/// A report as a section of a step summary.
pub(crate) fn report(report: &Report) -> String {
    let admitted = if report.admitted && !report.is_verified() { ", admitted in warn mode" } else { "" };
    let mut out = format!("### weightseal verify: {}{admitted}\n\n| | |\n|---|---|\n", report.verdict);
    let mut row = |what: &str, value: &str| {
        let _ = writeln!(out, "| {what} | {} |", Cell(value));
    };
    row("model", &Shown(&report.model).to_string());
    for signature in &report.signatures {
        let by = signature
            .identity
            .as_ref()
            .map_or_else(|| "nobody who is trusted".to_owned(), ToString::to_string);
        row("signed by", &by);
        if let Some(digest) = &signature.root_digest {
            row("digest", &Shown(digest).to_string());
        }
    }
    for binding in &report.bound {
        row("bound by", &format!("{} {}", binding.by, Shown(&binding.value)));
    }
    if report.bound.is_empty() && report.assurance.is_some() {
        row("bound by", "its content alone: any other model of this signer would pass in its place");
    }
    if let Some(assurance) = report.assurance {
        let counts = &report.counts;
        let checked = format!(
            "{} of {} signed files, {} in {:.2} s ({})",
            counts.verified,
            counts.signed,
            Bytes(report.bytes),
            report.seconds,
            assurance.name()
        );
        row("checked", &checked);
    }
    if report.findings.is_empty() {
        out.push('\n');
        return out;
    }
    out.push_str("\n| finding | what | what to do |\n|---|---|---|\n");
    for finding in report.findings.iter().take(ROWS) {
        let _ = writeln!(out, "| {} | {} | {} |", finding.code, Cell(&finding.what), Cell(finding.help()));
    }
    if let Some(more) = report.findings.len().checked_sub(ROWS).filter(|more| *more > 0) {
        let _ = writeln!(out, "\nand {more} more");
    }
    out.push('\n');
    out
}

/// Text in a cell of a table, where nothing in it is markup, a link, a mention or a new line: punctuation is written as
/// character references, which Markdown shows and never reads.
pub(crate) struct Cell<'a>(pub(crate) &'a str);

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                ' ' | '/' | '-' => f.write_char(c)?,
                c if c.is_ascii_punctuation() => write!(f, "&#{};", c as u32)?,
                c if c.is_control() => write!(f, "&#65533;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use weightseal::{Code, Mode};

    use super::*;

    #[test]
    fn names_cannot_end_an_annotation_or_begin_another() {
        let name = "a\n::error::x,y:z%0A";
        let mut report = Report::new("m", None, Mode::Enforce);
        report
            .findings
            .push(Finding::new(Code::FileMissing, format!("{:?} is missing", Shown(name))).about(name));
        report.conclude();
        let text = annotations(&report);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.starts_with(
                "::error file=m/a\\n%3A\\u{3a}error%3A\\u{3a}x%2Cy%3Az\\u{25}0A,title=weightseal%3A file-missing::\"a\\n"
            ),
            "{text}"
        );
        assert_eq!(Data("100%\r\n").to_string(), "100%25%0D%0A");
    }

    #[test]
    fn at_most_twenty_annotations_and_one_that_counts_the_rest() {
        let mut report = Report::new("m", None, Mode::Warn);
        for n in 0..30 {
            report.findings.push(Finding::new(Code::FileMissing, "missing").about(n.to_string()));
        }
        report.conclude();
        let text = annotations(&report);
        assert_eq!(text.lines().filter(|line| line.starts_with("::warning file=m/")).count(), 20);
        assert_eq!(
            text.lines().last(),
            Some("::notice title=weightseal::and 10 more findings, which the report has")
        );
        assert_eq!(self::report(&report).matches("| file-missing |").count(), 20);
        assert!(self::report(&report).contains("\nand 10 more\n"));
    }

    #[test]
    fn a_cell_holds_no_markup() {
        assert_eq!(
            Cell("a|b`c`\n<x>[y](z)@me é").to_string(),
            "a&#124;b&#96;c&#96;&#65533;&#60;x&#62;&#91;y&#93;&#40;z&#41;&#64;me é"
        );
    }
}
