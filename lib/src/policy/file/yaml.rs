//! From text to a tree: YAML without all that lets one text mean two things.
//!
//! Anchors, aliases, tags, merge keys, directives, a second document, a key given twice, values that are nothing and characters
//! that cannot be seen are refused. Scalars stay the text that was written: `1.10` is not the number 1.1.

use std::{collections::HashMap, fmt};

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::{
    code::Code,
    limits,
    shown::{Shown, hidden},
};

/// A place in the file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<&Marker> for Mark {
    fn from(marker: &Marker) -> Self {
        Mark { line: marker.line(), column: marker.col() + 1 }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a policy file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: Option<Mark>,
    pub(super) code: Code,
    pub(super) what: String,
    pub(super) help: Option<String>,
}

impl Problem {
    pub(super) fn new(at: impl Into<Option<Mark>>, what: impl Into<String>) -> Self {
        Problem { at: at.into(), code: Code::PolicyInvalid, what: what.into(), help: None }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A scalar; `plain` where it has no quotes around it.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) mark: Mark,
    pub(super) name: String,
}

impl Node {
    /// What stands under a key.
    pub(super) fn find(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The same; the mapping itself where nothing does.
    pub(super) fn get(&self, name: &str) -> &Node {
        self.find(name).unwrap_or(self)
    }

    /// Where a key stands.
    pub(super) fn key(&self, name: &str) -> Mark {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(key, _)| key.name == name).map_or(self.mark, |(key, _)| key.mark)
            }
            _ => self.mark,
        }
    }

    /// An item of a list; the list itself where there is none.
    pub(super) fn item(&self, at: usize) -> &Node {
        match &self.value {
            Value::List(items) => items.get(at).unwrap_or(self),
            _ => self,
        }
    }
}

/// Reads a text. Either the tree comes, or at least one problem.
pub(super) fn read(bytes: &[u8]) -> Result<Node, Vec<Problem>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let before = std::str::from_utf8(before).unwrap_or_default();
            let last = before.rsplit('\n').next().unwrap_or_default();
            let mark = Mark { line: before.matches('\n').count() + 1, column: last.chars().count() + 1 };
            return Err(vec![Problem::new(mark, "the text is not UTF-8")]);
        }
    };
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: limits::POLICY_DEPTH,
        block_nesting_limit: limits::POLICY_DEPTH,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                let what = format!("this is not YAML: {}", Shown(&error.info()));
                builder.problems.push(Problem::new(Mark::from(error.marker()), what));
                break;
            }
        }
        if builder.documents > 1 {
            break;
        }
    }
    if builder.problems.is_empty() {
        builder.problems.extend(unseen(text));
    }
    match builder.root {
        Some(root) if builder.problems.is_empty() => Ok(root),
        None if builder.problems.is_empty() => Err(vec![Problem::new(None, "the file is empty")]),
        _ => Err(builder.problems),
    }
}

/// Refuses what cannot be seen outside of values too: there it can make a comment look like a field, or a
/// field like a comment, to whoever reviews the policy. A carriage return alone ends a line for YAML and for few others.
fn unseen(text: &str) -> Option<Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, content) in text.split('\n').enumerate() {
        let content = content.strip_suffix('\r').unwrap_or(content);
        if let Some((column, c)) = content.chars().enumerate().find(|(_, c)| hidden(*c) && *c != '\t') {
            let what = format!("the text holds a character that cannot be seen, U+{:04X}", u32::from(c));
            return Some(Problem::new(Mark { line: line + 1, column: column + 1 }, what));
        }
    }
    None
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    problems: Vec<Problem>,
}

/// A list or mapping whose end has not come yet.
struct Open {
    mark: Mark,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        /// Where each key stands.
        known: HashMap<String, Mark>,
        /// The key whose value comes next.
        key: Option<Key>,
    },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) {
        let mark = Mark::from(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.refuse(mark, "a second document begins here, and a policy is one");
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse(mark, "an alias stands here, and policies have none: write the value out");
                self.place(Node { mark, value: Value::Text { text: "*".to_owned(), plain: true } });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.bare(mark, anchor, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                self.visible(mark, &text, plain);
                self.place(Node { mark, value: Value::Text { text: text.into_owned(), plain } });
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.bare(mark, anchor, tag.is_some());
                self.open.push(Open { mark, kind: Kind::List(Vec::new()) });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.bare(mark, anchor, tag.is_some());
                let kind = Kind::Map { entries: Vec::new(), known: HashMap::new(), key: None };
                self.open.push(Open { mark, kind });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { mark, kind }) = self.open.pop() else { return };
                let value = match kind {
                    Kind::List(items) => Value::List(items),
                    Kind::Map { entries, .. } => Value::Map(entries),
                };
                self.place(Node { mark, value });
            }
            _ => {}
        }
    }

    fn refuse(&mut self, mark: Mark, what: &str) {
        self.problems.push(Problem::new(mark, what));
    }

    /// Refuses what stands before a value.
    fn bare(&mut self, mark: Mark, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.refuse(mark, "an anchor stands here, and policies have none");
        }
        if tag {
            self.refuse(mark, "a tag stands here, and policies have none");
        }
    }

    /// Refuses a scalar that is nothing, or not what it looks like.
    fn visible(&mut self, mark: Mark, text: &str, plain: bool) {
        if text.is_empty() || (plain && matches!(text, "~" | "null" | "Null" | "NULL")) {
            self.refuse(mark, "the value is empty: give one, or leave the field out");
        }
        if let Some(c) = text.chars().find(|c| hidden(*c) && !matches!(c, '\n' | '\r' | '\t')) {
            self.refuse(
                mark,
                &format!("the text holds a character that cannot be seen, U+{:04X}", u32::from(c)),
            );
        }
    }

    /// Puts a node that is whole into its place.
    fn place(&mut self, node: Node) {
        let problem = match self.open.last_mut() {
            None => {
                self.root.get_or_insert(node);
                None
            }
            Some(Open { kind: Kind::List(items), .. }) => {
                items.push(node);
                None
            }
            Some(Open { kind: Kind::Map { entries, known, key }, .. }) => match key.take() {
                Some(key) => {
                    entries.push((key, node));
                    None
                }
                None => {
                    let (named, problem) = as_key(node, known);
                    *key = Some(named);
                    problem
                }
            },
        };
        self.problems.extend(problem);
    }
}

/// A key, and what is wrong with it.
fn as_key(node: Node, known: &mut HashMap<String, Mark>) -> (Key, Option<Problem>) {
    let mark = node.mark;
    let Value::Text { text: name, plain } = node.value else {
        let key = Key { mark, name: String::new() };
        return (key, Some(Problem::new(mark, "a list or a mapping stands in the place of a key")));
    };
    let problem = match known.get(&name) {
        _ if plain && name == "<<" => {
            Some(Problem::new(mark, "a merge key stands here, and policies have none: write the fields out"))
        }
        Some(first) => Some(Problem::new(
            mark,
            format!("{:?} is given twice; the first time in line {}", Shown(&name), first.line),
        )),
        None => None,
    };
    known.entry(name.clone()).or_insert(mark);
    (Key { mark, name }, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(String, String)> {
        let problems = read(text.as_bytes()).err().unwrap_or_default();
        problems
            .into_iter()
            .map(|problem| (problem.at.map(|at| at.to_string()).unwrap_or_default(), problem.what))
            .collect()
    }

    #[test]
    fn what_lets_a_text_mean_two_things_is_refused_where_it_stands() {
        for (text, at, part) in [
            ("a: &x 1", "1:7", "an anchor"),
            ("a: 1\nb: *x\n", "2:4", "an alias"),
            ("a: !!str 1", "1:", "a tag"),
            ("a: !own 1", "1:", "a tag"),
            ("a: 1\n<<: {b: 1}\n", "2:1", "a merge key"),
            ("a: 1\nb: 2\n\"a\": 3\n", "3:1", "\"a\" is given twice; the first time in line 1"),
            ("a: {b: 1, b: 2}", "1:11", "\"b\" is given twice"),
            ("a: 1\n---\nb: 2\n", "2:1", "a second document"),
            ("%YAML 1.2\n---\na: 1\n", "1:1", "this is not YAML"),
            ("a:\nb: 1\n", "1:2", "the value is empty"),
            ("a: ~\n", "1:4", "the value is empty"),
            ("a: null\n", "1:4", "the value is empty"),
            ("a: ''\n", "1:4", "the value is empty"),
            ("a: x\u{202e}y\n", "1:4", "U+202E"),
            ("a: \"x\\u200by\"\n", "1:4", "U+200B"),
            // A comment that looks like a field, or a field that looks like a comment.
            ("a: 1\n# \u{2066}b: 2\n", "2:3", "U+2066"),
            ("# x\ra: 1\n", "1:4", "U+000D"),
            ("a: 1 # \u{85}b: 2\n", "1:8", "U+0085"),
            ("? [a]\n: 1\n", "1:3", "in the place of a key"),
            ("a: [1, 2\n", "1:4", "this is not YAML"),
            ("a: 1\n b: 2\n", "2:", "this is not YAML"),
            ("", "", "the file is empty"),
            ("# nothing\n", "", "the file is empty"),
        ] {
            let found = problems(text);
            assert!(
                found.iter().any(|(place, what)| place.starts_with(at) && what.contains(part)),
                "{text:?} {found:?}"
            );
        }
        let not_text = read(b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!((not_text.len(), not_text[0].at), (1, Some(Mark { line: 2, column: 4 })));
    }

    #[test]
    fn all_that_can_be_told_is_told_at_once() {
        assert_eq!(problems("a: &x 1\nb: *x\nc: !t 1\na: ~\n").len(), 5);
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        assert!(read("\u{feff}a: 1\r\nb: é # ü\r\n".as_bytes()).is_ok());
        let node = read(b"a: 1.10\nb: yes\nc: 0x1F\nd: |\n  x\n  y\ne: 'null'\n").unwrap();
        let text = |key: &str| match &node.get(key).value {
            Value::Text { text, .. } => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(["a", "b", "c", "d", "e"].map(text), ["1.10", "yes", "0x1F", "x\ny\n", "null"]);
        assert_eq!(
            (node.key("c"), node.get("c").mark),
            (Mark { line: 3, column: 1 }, Mark { line: 3, column: 4 })
        );
    }

    #[test]
    fn deep_and_long_texts_end_soon() {
        let started = std::time::Instant::now();
        for piece in [
            "[", "{", "- ", "? ", "a: ", "!", "'", "&a ", "*a ", "\"", "|\n", "#", "\u{feff}", "- - a\n", "%",
        ] {
            let text = piece.repeat((1 << 20) / piece.len());
            // Some of it is even YAML; none of it takes long.
            assert!(read(text.as_bytes()).is_err() || matches!(piece, "'" | "|\n" | "- - a\n"), "{piece:?}");
        }
        let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
        assert!(read(keys.as_bytes()).is_ok());
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert!(read(deep.as_bytes()).is_err());
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }
}
