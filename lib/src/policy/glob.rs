//! Patterns for model ids and file names: `*`, `**`, `?`, and nothing else.

use std::cmp::Reverse;

use crate::{Error, code::Code, shown::Shown};

/// Longest pattern, in bytes.
const PATTERN_BYTES: usize = 512;

/// A pattern that matches whole texts: `*` any characters but `/`, `**` any characters, `?` one character but `/`. Every
/// other character, brackets, braces and backslashes included, stands for itself; case counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This character.
    Literal(char),
    /// `?`
    One,
    /// `*`
    Within,
    /// `**`
    Across,
}

/// How specific a pattern is: of two patterns that match the same text the greater one counts. In this order: no pattern at
/// all; more characters that stand for themselves; fewer `**`; fewer `*`; fewer `?`.
pub(crate) type Rank = (bool, usize, Reverse<usize>, Reverse<usize>, Reverse<usize>);

impl Pattern {
    /// # Errors
    /// `policy-invalid` for an empty pattern, one of more than 512 bytes, and three asterisks in a row.
    pub(crate) fn new(text: &str) -> Result<Self, Error> {
        let invalid =
            |why: &str| Error::new(Code::PolicyInvalid, format!("the pattern {:?} {why}", Shown(text)));
        if text.is_empty() {
            return Err(invalid("is empty"));
        }
        if text.len() > PATTERN_BYTES {
            return Err(invalid("is longer than 512 bytes"));
        }
        if text.contains("***") {
            return Err(invalid("has three asterisks in a row"));
        }
        let mut parts = Vec::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '?' => Part::One,
                '*' if chars.next_if_eq(&'*').is_some() => Part::Across,
                '*' => Part::Within,
                c => Part::Literal(c),
            });
        }
        Ok(Pattern { text: text.to_owned(), parts })
    }

    /// The pattern as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole text matches. Takes at most the product of both lengths in steps.
    pub(crate) fn matches(&self, text: &str) -> bool {
        // Which beginnings of the pattern match what was read so far.
        let mut here = vec![false; self.parts.len() + 1];
        if let Some(first) = here.first_mut() {
            *first = true;
        }
        self.skip_asterisks(&mut here);
        for c in text.chars() {
            let mut next = vec![false; self.parts.len() + 1];
            for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| here.get(*at) == Some(&true)) {
                let (taken, stays) = match part {
                    Part::Literal(literal) => (*literal == c, false),
                    Part::One => (c != '/', false),
                    Part::Within => (c != '/', true),
                    Part::Across => (true, true),
                };
                if taken && let Some(place) = next.get_mut(if stays { at } else { at + 1 }) {
                    *place = true;
                }
            }
            self.skip_asterisks(&mut next);
            here = next;
        }
        here.last() == Some(&true)
    }

    /// An asterisk matches nothing as well.
    fn skip_asterisks(&self, here: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::Within | Part::Across)
                && here.get(at) == Some(&true)
                && let Some(after) = here.get_mut(at + 1)
            {
                *after = true;
            }
        }
    }

    /// How specific it is.
    pub(crate) fn rank(&self) -> Rank {
        let count = |wanted: fn(&Part) -> bool| self.parts.iter().filter(|part| wanted(part)).count();
        let literal = count(|part| matches!(part, Part::Literal(_)));
        (
            literal == self.parts.len(),
            literal,
            Reverse(count(|part| *part == Part::Across)),
            Reverse(count(|part| *part == Part::Within)),
            Reverse(count(|part| *part == Part::One)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn patterns_match_whole_texts_and_have_three_wildcards() {
        for (text, matching, others) in [
            (
                "acme/*",
                &["acme/a", "acme/", "acme/llama-3"][..],
                &["acme", "acme/a/b", "xacme/a", "ACME/a"][..],
            ),
            ("acme/**", &["acme/a", "acme/a/b", "acme/"], &["acme", "bcme/a"]),
            ("**", &["", "a", "a/b/c"], &[]),
            ("*", &["", "a"], &["a/b", "/"]),
            ("**/llama", &["/llama", "a/llama", "a/b/llama"], &["llama", "a/llama/b"]),
            ("a?c", &["abc", "aéc"], &["ac", "a/c", "abbc"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "a/bc", "abcd"]),
            ("a/**/b", &["a//b", "a/x/y/b"], &["a/b", "a/b/c"]),
            ("[ab]{c,d}\\*", &["[ab]{c,d}\\", "[ab]{c,d}\\x"], &["a", "[ab]{c,d}*/"]),
            ("acme/llama-3", &["acme/llama-3"], &["acme/llama-3 ", "acme/llama-30", "acme/llama-"]),
        ] {
            for id in matching {
                assert!(pattern(text).matches(id), "{text} {id}");
            }
            for id in others {
                assert!(!pattern(text).matches(id), "{text} {id}");
            }
        }
    }

    #[test]
    fn specificity_is_a_total_order_with_the_exact_text_on_top() {
        let falling = [
            "acme/llama-3",
            "acme/llama-?",
            "acme/llama-*",
            "acme/llama-**",
            "acme/*",
            "acme/**",
            "*/*",
            "**/**",
        ];
        for pair in falling.windows(2) {
            assert!(pattern(pair[0]).rank() > pattern(pair[1]).rank(), "{pair:?}");
        }
        assert!(pattern("a").rank() > pattern("*/llama-3-chat").rank());
        assert_eq!(pattern("acme/*-3").rank(), pattern("acme/3-*").rank());
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        for text in ["", "a***b", &"x".repeat(513)] {
            assert_eq!(Pattern::new(text).unwrap_err().code(), Code::PolicyInvalid);
        }
    }

    #[test]
    fn many_asterisks_take_no_longer_than_their_number() {
        let text = format!("{}b", "*a".repeat(200));
        assert!(!pattern(&text).matches(&"a".repeat(5000)));
    }
}
