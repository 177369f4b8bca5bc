//! Text for people: errors, the coloured verdict, and words for a shell.

use std::{error::Error as StdError, fmt::Write as _, path::Path};

use anstyle::{AnsiColor, Style};
use weightseal::{Error, ModelUri, Report, Shown, Verdict};

/// An error: what happened and where, its causes, how to put it right.
pub(crate) fn error(error: &Error) -> String {
    let what = error.to_string();
    let mut out = format!("error: {what}\n");
    let mut cause = error.source();
    while let Some(because) = cause {
        let text = because.to_string();
        // What the system said is in the message already, in its own letters.
        let plain = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        if !what.to_lowercase().contains(&plain) {
            let _ = writeln!(out, "  cause: {}", Shown(&text));
        }
        cause = because.source();
    }
    let _ = writeln!(out, "  help: {}", error.help());
    out
}

/// A report, its verdict in colour where that is wanted.
pub(crate) fn report(report: &Report, color: bool) -> String {
    let text = report.to_string();
    let verdict = report.verdict.name();
    match text.strip_prefix(verdict) {
        Some(rest) if color => {
            let color = match report.verdict {
                Verdict::Verified => AnsiColor::Green,
                Verdict::Rejected => AnsiColor::Red,
                _ => AnsiColor::Yellow,
            };
            let style = Style::new().bold().fg_color(Some(color.into()));
            format!("{style}{verdict}{style:#}{rest}")
        }
        _ => text,
    }
}

/// A path as it can be typed in a shell; one with invisible characters in the quotes that bash, zsh and ksh have for them.
pub(crate) fn shell_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') { shell_word(&format!("./{text}")) } else { shell_word(&text) }
}

/// A place as it can be typed in a shell.
pub(crate) fn shell_place(place: &ModelUri) -> String {
    match place {
        ModelUri::Path(path) => shell_path(path),
        other => shell_word(&other.to_string()),
    }
}

/// A word as it can be typed in a shell.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // Whatever cannot be shown as it is, a shell would not get as it is either.
    let visible = |c: char| {
        c == '"'
            || c == '%'
            || c == ':'
            || Shown(c.encode_utf8(&mut [0; 4])).to_string().len() == c.len_utf8()
    };
    if word.chars().all(visible) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut out = String::from("$'");
    for c in word.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            c if visible(c) => out.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use std::{io, process::Command};

    use weightseal::{Code, Mode};

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let absent = Error::io("open the model", "m", io::ErrorKind::NotFound.into(), Code::ModelAbsent);
        assert_eq!(
            error(&absent),
            "error: cannot open the model m: entity not found\n  help: check the path\n"
        );
        let other = Error::new(Code::BadArgument, "no").with_source(io::Error::other("the\nreason"));
        assert_eq!(error(&other), "error: no\n  cause: the\\nreason\n  help: see --help\n");
    }

    #[test]
    fn only_the_verdict_is_coloured() {
        let mut new = Report::new("m", None, Mode::Enforce);
        new.conclude();
        assert_eq!(report(&new, false), "verified: m\n");
        assert_eq!(report(&new, true), "\u{1b}[1m\u{1b}[32mverified\u{1b}[0m: m\n");
    }

    #[test]
    fn a_shell_reads_the_words_back() {
        for word in [
            "plain-1.0/x",
            "",
            "a b",
            "it's",
            "$HOME `id` \\ \"x\"",
            "100%: y",
            "a\nb'\u{1b}[31m\\\u{202e}é",
            "é",
        ] {
            let quoted = shell_word(word);
            assert!(!quoted.contains(['\n', '\u{1b}', '\u{202e}']), "{quoted}");
            let echo = Command::new("bash").arg("-c").arg(format!("printf %s {quoted}")).output();
            if let Ok(echo) = echo {
                assert_eq!(String::from_utf8(echo.stdout).unwrap(), word, "{quoted}");
            }
        }
        assert_eq!(shell_path(Path::new("-v")), "./-v");
    }
}
