//! Names from outside, made safe to show.
//!
//! File names, certificate names and servers' words may hold newlines, escape sequences, `::`, `%0A`, marks that turn the
//! direction of text, or quotes. Whoever prints one prints it through [`Shown`].

use std::fmt::{self, Write as _};

/// A name from outside, shown so that it cannot leave its line, colour a terminal, turn text around or start a command.
///
/// Letters, digits, marks and spaces of any script are shown as they are; controls, line and paragraph separators, format
/// characters (bidirectional marks, zero-width characters, tags), private-use characters and backslashes are written as
/// `\n`, `\r`, `\t`, `\\` or `\u{..}`; a quotation mark is written `\"`. The second of two colons or number
/// signs is escaped as well, and a percent sign, since continuous-integration services read `::`, `##[` and `%0A` in logs.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

/// At most this many characters of a name are shown; the rest is counted.
const SHOWN_CHARS: usize = 512;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous = '\0';
        for (count, c) in self.0.chars().enumerate() {
            if count == SHOWN_CHARS {
                return write!(
                    f,
                    "… ({} more bytes)",
                    self.0.len() - self.0.chars().take(count).map(char::len_utf8).sum::<usize>()
                );
            }
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '%' => f.write_str("\\u{25}")?,
                ':' if previous == ':' => f.write_str("\\u{3a}")?,
                '#' if previous == '#' => f.write_str("\\u{23}")?,
                c if hidden(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
            previous = c;
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Whether a character is invisible, moves others, or has no agreed look.
pub(crate) fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c as u32,
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5
            | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F
            | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0xE000..=0xF8FF | 0x13430..=0x1345F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0x10FFFF)
}

/// Writes a value as JSON in plain ASCII: everything that [`Shown`] would escape, and every other character past `~`, is
/// written as `\uXXXX`, so that a terminal which shows the JSON is as safe as one which shows the text.
///
/// # Errors
/// When the writer fails.
pub fn write_json<T: serde::Serialize + ?Sized>(
    value: &T,
    pretty: bool,
    out: impl std::io::Write,
) -> std::io::Result<()> {
    if pretty {
        value.serialize(&mut serde_json::Serializer::with_formatter(
            out,
            Ascii(serde_json::ser::PrettyFormatter::new()),
        ))
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(
            out,
            Ascii(serde_json::ser::CompactFormatter),
        ))
    }
    .map_err(std::io::Error::from)
}

/// A value as one string of plain ASCII JSON; see [`write_json`].
pub fn json<T: serde::Serialize + ?Sized>(value: &T, pretty: bool) -> String {
    let mut out = Vec::new();
    match write_json(value, pretty, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

struct Ascii<F>(F);

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(fn $name<W: ?Sized + std::io::Write>(&mut self, writer: &mut W $(, $arg: $type)*) -> std::io::Result<()> {
            self.0.$name(writer $(, $arg)*)
        })*
    };
}

impl<F: serde_json::ser::Formatter> serde_json::ser::Formatter for Ascii<F> {
    forward! {
        begin_array(); end_array(); begin_array_value(first: bool); end_array_value();
        begin_object(); end_object(); begin_object_key(first: bool); end_object_key();
        begin_object_value(); end_object_value();
    }

    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        let mut rest = fragment;
        // A number sign after another starts a command of some continuous-integration services, wherever it stands.
        while let Some(at) = rest.find(|c: char| !(' '..='~').contains(&c) || c == '#') {
            let (plain, odd) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = odd.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_line_or_turns_it_around() {
        let name = "##vso[a\n::error::x\r\u{1b}[31m\u{202e}%0A\"\\\u{2028}\u{feff}";
        assert_eq!(
            Shown(name).to_string(),
            "#\\u{23}vso[a\\n:\\u{3a}error:\\u{3a}x\\r\\u{1b}[31m\\u{202e}\\u{25}0A\\\"\\\\\\u{2028}\\u{feff}"
        );
        assert_eq!(Shown("モデル/é.bin").to_string(), "モデル/é.bin");
    }

    #[test]
    fn long_names_are_cut_and_say_so() {
        let shown = Shown(&"x".repeat(600)).to_string();
        assert!(shown.ends_with("… (88 more bytes)"), "{shown}");
    }

    #[test]
    fn json_is_ascii_and_reads_back() {
        let value = vec!["é\u{1f600}\u{202e}\u{7f}\n\"".to_owned()];
        let text = json(&value, false);
        assert_eq!(text, r#"["\u00e9\ud83d\ude00\u202e\u007f\n\""]"#);
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), value);
    }
}
