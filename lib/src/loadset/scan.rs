//! JSON as loaders read it, value by value and without a tree: what has millions of them takes little memory.
//!
//! Loaders are written in Python, whose JSON also has `NaN` and `Infinity`. What two readers could read in two ways is
//! refused: a key given twice in one object, and what is no UTF-8.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
};

use crate::{limits, shown::Shown};

/// One step from the whole document to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A key of an object.
    Key(Cow<'a, str>),
    /// An item of a list, from 0.
    Item(usize),
}

impl Step<'_> {
    /// Whether it is this key.
    pub(crate) fn is(&self, key: &str) -> bool {
        matches!(self, Step::Key(own) if own == key)
    }

    /// The key, of a step into an object.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Step::Key(key) => Some(key),
            Step::Item(_) => None,
        }
    }
}

/// A value. Objects and lists are told when they begin; what is in them comes after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// An object.
    Map,
    /// A list.
    List,
    /// A text.
    Text(Cow<'a, str>),
    /// A number, as it is written.
    Number(&'a str),
    /// True or false.
    Truth(bool),
    /// Nothing.
    Null,
}

/// Who is told of each value and where it stands; what he does not accept ends the reading.
pub(crate) type Each<'f, 'a> = dyn FnMut(&[Step<'a>], &Value<'a>) -> Result<(), String> + 'f;

/// Reads a whole document.
///
/// # Errors
/// Why it is not accepted, in words that follow on its name.
pub(crate) fn scan<'a>(bytes: &'a [u8], each: &mut Each<'_, 'a>) -> Result<(), String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 at byte {}", error.valid_up_to()))?;
    let mut scanner = Scanner {
        text,
        at: 0,
        path: Vec::new(),
        hasher: RandomState::new(),
        seen: HashSet::new(),
        objects: 0,
    };
    scanner.value(each)?;
    scanner.space();
    if scanner.at == text.len() { Ok(()) } else { Err(scanner.invalid()) }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Step<'a>>,
    hasher: RandomState,
    /// Hashes of every key with the number of its object.
    seen: HashSet<u64>,
    objects: u64,
}

impl<'a> Scanner<'a> {
    fn invalid(&self) -> String {
        format!("is not valid JSON at byte {}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this byte, after space.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &str) -> bool {
        let there = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn value(&mut self, each: &mut Each<'_, 'a>) -> Result<(), String> {
        self.space();
        let value = match self.peek() {
            Some(b'{') => return self.map(each),
            Some(b'[') => return self.list(each),
            Some(b'"') => Value::Text(self.string()?),
            Some(b't') if self.word("true") => Value::Truth(true),
            Some(b'f') if self.word("false") => Value::Truth(false),
            Some(b'n') if self.word("null") => Value::Null,
            Some(b'N' | b'I' | b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            _ => return Err(self.invalid()),
        };
        each(&self.path, &value)
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.at += 1;
        if self.path.len() < limits::JSON_DEPTH {
            return Ok(());
        }
        Err(format!("is nested more than {} levels deep", limits::JSON_DEPTH))
    }

    fn map(&mut self, each: &mut Each<'_, 'a>) -> Result<(), String> {
        each(&self.path, &Value::Map)?;
        self.deeper()?;
        self.objects += 1;
        let object = self.objects;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.seen.insert(self.hasher.hash_one((object, &*key))) {
                return Err(format!("has the key {:?} twice in one object", Shown(&key)));
            }
            if self.seen.len() > limits::LOADED_KEYS {
                return Err(format!("has more than {} keys", limits::LOADED_KEYS));
            }
            if !self.take(b':') {
                return Err(self.invalid());
            }
            self.path.push(Step::Key(key));
            self.value(each)?;
            self.path.pop();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.invalid());
            }
        }
    }

    fn list(&mut self, each: &mut Each<'_, 'a>) -> Result<(), String> {
        each(&self.path, &Value::List)?;
        self.deeper()?;
        if self.take(b']') {
            return Ok(());
        }
        for item in 0.. {
            self.path.push(Step::Item(item));
            self.value(each)?;
            self.path.pop();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                break;
            }
        }
        Err(self.invalid())
    }

    fn number(&mut self) -> Result<&'a str, String> {
        let start = self.at;
        if !["NaN", "Infinity", "-Infinity"].iter().any(|word| self.word(word)) {
            while matches!(self.peek(), Some(b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
                self.at += 1;
            }
        }
        let number = self.text.get(start..self.at).unwrap_or_default();
        if number.parse::<f64>().is_ok() { Ok(number) } else { Err(self.invalid()) }
    }

    /// A text between quotation marks; borrowed unless it has escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        if self.peek() != Some(b'"') {
            return Err(self.invalid());
        }
        self.at += 1;
        let mut start = self.at;
        let mut out: Option<String> = None;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(match out {
                        Some(out) => Cow::Owned(out + rest),
                        None => Cow::Borrowed(rest),
                    });
                }
                Some(b'\\') => {
                    let out = out.get_or_insert_default();
                    out.push_str(self.text.get(start..self.at).unwrap_or_default());
                    self.at += 1;
                    let escaped = self.escaped().ok_or_else(|| self.invalid())?;
                    out.push(escaped);
                    start = self.at;
                }
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err(self.invalid()),
            }
        }
    }

    /// What an escape stands for. Half of a pair of surrogates stands for nothing that can be a name.
    fn escaped(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let after = self.at;
                if (0xd800..0xdc00).contains(&first) && self.word("\\u") {
                    let second = self.hex()?;
                    if (0xdc00..0xe000).contains(&second) {
                        return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
                    }
                    self.at = after;
                }
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value with its path.
    fn all(text: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        scan(text.as_bytes(), &mut |path, value| {
            let path = path.iter().map(|step| match step {
                Step::Key(key) => format!(".{key}"),
                Step::Item(item) => format!("[{item}]"),
            });
            found.push(format!("{} {value:?}", path.collect::<String>()));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn values_come_with_their_places() {
        let text = r#" {"a": [1, -2.5e3, NaN, -Infinity], "b": {"c": "x\ny\u00e9\ud83d\ude00", "d": null}, "e": true} "#;
        assert_eq!(
            all(text).unwrap(),
            [
                " Map",
                ".a List",
                ".a[0] Number(\"1\")",
                ".a[1] Number(\"-2.5e3\")",
                ".a[2] Number(\"NaN\")",
                ".a[3] Number(\"-Infinity\")",
                ".b Map",
                ".b.c Text(\"x\\nyé😀\")",
                ".b.d Null",
                ".e Truth(true)",
            ]
        );
        for text in ["{}", "[]", "1", "\"\"", "[[], {}]", r#"{"a":{"a":{"a":1}}}"#, r#""\ud800""#] {
            assert!(all(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_or_could_be_two_is_refused() {
        for text in [
            "",
            "{",
            "[",
            "{]",
            "[}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "{} {}",
            "\u{feff}{}",
            "{a:1}",
            "'a'",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "nul",
            "-",
            "1.2.3",
            "+1",
            "Inf",
            "[1 2]",
            "{\"a\" 1}",
            "\"",
            "\"\\",
            "\"\\u00é\"",
        ] {
            assert!(all(text).is_err(), "{text}");
        }
        assert!(scan(b"{\"a\":\"\xff\"}", &mut |_, _| Ok(())).unwrap_err().contains("UTF-8"));
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"b":1,"b":1}}]"#] {
            assert!(all(text).unwrap_err().contains("twice"), "{text}");
        }
    }

    #[test]
    fn depth_and_keys_are_bounded() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(all(&nest(64)).is_ok());
        assert!(all(&nest(65)).unwrap_err().contains("deep"));
        assert!(all(&"[".repeat(1_000_000)).unwrap_err().contains("deep"));
        assert!(all(&"{\"a\":".repeat(1_000_000)).unwrap_err().contains("deep"));
        let many: Vec<String> = (0..=limits::LOADED_KEYS).map(|n| format!("\"{n}\":0")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert!(scan(many.as_bytes(), &mut |_, _| Ok(())).unwrap_err().contains("keys"));
    }
}
