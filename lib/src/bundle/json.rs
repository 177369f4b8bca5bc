//! Strict JSON: one reading of a document, or none.
//!
//! serde_json tokenizes; this adds what two readers could differ on. Duplicate keys are refused at any depth, nesting is
//! bounded, and objects are taken apart field by field so that a missing, mistyped or unknown field is told with its path.

use std::{borrow::Cow, cell::Cell, collections::HashSet, fmt};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{Error, code::Code, limits, shown::Shown};

/// Checks a whole document and returns it as text.
///
/// # Errors
/// `json-too-large`, `json-invalid` (not UTF-8 included), `json-too-deep`, `json-duplicate-key`.
pub(crate) fn check<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Error> {
    if bytes.len() as u64 > limits::BUNDLE_BYTES {
        return Err(Error::new(
            Code::JsonTooLarge,
            format!("{what} is larger than {} bytes", limits::BUNDLE_BYTES),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Error::new(Code::JsonInvalid, format!("{what} is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outcome =
        Strict { depth: 0, fault: &fault }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match outcome {
        Ok(()) => Ok(text),
        Err(error) => {
            let (code, why) = match fault.take() {
                Some(Fault::Depth) => {
                    (Code::JsonTooDeep, format!("is nested more than {} levels deep", limits::JSON_DEPTH))
                }
                Some(Fault::Keys) => {
                    (Code::JsonTooLarge, format!("has an object with more than {} keys", limits::JSON_ITEMS))
                }
                Some(Fault::Duplicate(key)) => {
                    (Code::JsonDuplicateKey, format!("has the key {:?} twice in one object", Shown(&key)))
                }
                None => (Code::JsonInvalid, "is not valid JSON".to_owned()),
            };
            Err(Error::new(code, format!("{what} {why} (line {}, column {})", error.line(), error.column())))
        }
    }
}

enum Fault {
    Depth,
    Keys,
    Duplicate(String),
}

#[derive(Clone, Copy)]
struct Strict<'f> {
    depth: usize,
    fault: &'f Cell<Option<Fault>>,
}

impl Strict<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == limits::JSON_DEPTH {
            self.fault.set(Some(Fault::Depth));
            return Err(E::custom("too deep"));
        }
        Ok(Strict { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        // Almost every object has a handful of keys; a set only pays for the others.
        let mut few: Vec<Key<'de>> = Vec::new();
        let mut many: HashSet<Key<'de>> = HashSet::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if few.contains(&key) || many.contains(&key) {
                self.fault.set(Some(Fault::Duplicate(key.0.into_owned())));
                return Err(de::Error::custom("duplicate key"));
            }
            if many.len() == limits::JSON_ITEMS {
                self.fault.set(Some(Fault::Keys));
                return Err(de::Error::custom("too many keys"));
            }
            if few.len() < 16 {
                few.push(key);
            } else {
                many.insert(key);
            }
            map.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// A key, borrowed from the document unless it holds escapes.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// An object of a checked document, taken apart field by field.
pub(crate) struct Object<'a> {
    path: String,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The object that the whole document is.
    pub(crate) fn document(text: &'a str, path: &str) -> Result<Self, Error> {
        Self::from_text(text, path.to_owned())
    }

    fn from_text(text: &'a str, path: String) -> Result<Self, Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    fields.push((key.0, value));
                }
                Ok(fields)
            }
        }
        match serde_json::Deserializer::from_str(text).deserialize_map(Fields) {
            Ok(fields) => Ok(Object { path, fields }),
            Err(_) => Err(mistyped(&path, "an object")),
        }
    }

    fn join(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    fn take(&mut self, field: &str) -> Option<&'a RawValue> {
        let at = self.fields.iter().position(|(name, _)| name == field)?;
        Some(self.fields.swap_remove(at).1)
    }

    fn need(&mut self, field: &str) -> Result<&'a RawValue, Error> {
        self.take(field).ok_or_else(|| {
            Error::new(Code::FieldMissing, format!("the field {} is missing", Shown(&self.join(field))))
        })
    }

    /// What the field holds, as it is written, without taking it.
    pub(crate) fn peek(&self, field: &str) -> Option<&'a RawValue> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, raw)| *raw)
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| name == field)
    }

    /// A required string.
    pub(crate) fn string(&mut self, field: &str) -> Result<Cow<'a, str>, Error> {
        let raw = self.need(field)?;
        as_string(raw).ok_or_else(|| mistyped(&self.join(field), "a string"))
    }

    /// A string that may be left out.
    pub(crate) fn optional_string(&mut self, field: &str) -> Result<Option<Cow<'a, str>>, Error> {
        if self.has(field) { self.string(field).map(Some) } else { Ok(None) }
    }

    /// A required boolean.
    pub(crate) fn boolean(&mut self, field: &str) -> Result<bool, Error> {
        let raw = self.need(field)?;
        serde_json::from_str(raw.get()).map_err(|_| mistyped(&self.join(field), "a boolean"))
    }

    /// A required whole number of 64 bits, written without fraction or exponent.
    pub(crate) fn whole(&mut self, field: &str) -> Result<u64, Error> {
        let raw = self.need(field)?;
        serde_json::from_str(raw.get()).map_err(|_| mistyped(&self.join(field), "a whole number"))
    }

    /// A required object.
    pub(crate) fn object(&mut self, field: &str) -> Result<Object<'a>, Error> {
        let raw = self.need(field)?;
        Object::from_text(raw.get(), self.join(field))
    }

    /// An object that may be left out.
    pub(crate) fn optional_object(&mut self, field: &str) -> Result<Option<Object<'a>>, Error> {
        if self.has(field) { self.object(field).map(Some) } else { Ok(None) }
    }

    /// An object that may be left out, or null, which is the same where protocol buffers are written as JSON.
    pub(crate) fn nullable_object(&mut self, field: &str) -> Result<Option<Object<'a>>, Error> {
        if self.peek(field).is_some_and(|raw| raw.get() == "null") {
            self.take(field);
        }
        self.optional_object(field)
    }

    /// A whole number of at most 63 bits that may be left out, in digits, bare or as a string: so protocol buffers are
    /// written as JSON.
    pub(crate) fn int64(&mut self, field: &str) -> Result<Option<u64>, Error> {
        let Some(raw) = self.take(field) else { return Ok(None) };
        let text = as_string(raw).unwrap_or(Cow::Borrowed(raw.get()));
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<i64>().ok().filter(|_| digits && (text == "0" || !text.starts_with('0')));
        number
            .map(|number| Some(number.unsigned_abs()))
            .ok_or_else(|| mistyped(&self.join(field), "a whole number of up to 63 bits"))
    }

    /// A required array of at most so many items.
    pub(crate) fn array(&mut self, field: &str, most: usize) -> Result<Array<'a>, Error> {
        struct Items(usize);
        impl<'de> Visitor<'de> for Items {
            type Value = Option<Vec<&'de RawValue>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() < self.0 {
                        items.push(item);
                    } else {
                        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                        return Ok(None);
                    }
                }
                Ok(Some(items))
            }
        }
        let raw = self.need(field)?;
        let path = self.join(field);
        match serde_json::Deserializer::from_str(raw.get()).deserialize_seq(Items(most)) {
            Ok(Some(items)) => Ok(Array { path, items }),
            Ok(None) => {
                Err(Error::new(Code::JsonTooLarge, format!("{} has more than {most} items", Shown(&path))))
            }
            Err(_) => Err(mistyped(&path, "an array")),
        }
    }

    /// An array; one that is left out is empty.
    pub(crate) fn optional_array(&mut self, field: &str, most: usize) -> Result<Array<'a>, Error> {
        if self.has(field) {
            self.array(field, most)
        } else {
            Ok(Array { path: self.join(field), items: Vec::new() })
        }
    }

    /// Whatever the field holds, as it is written.
    pub(crate) fn raw(&mut self, field: &str) -> Option<&'a RawValue> {
        self.take(field)
    }

    /// Refuses every field that was not taken.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.fields.first() {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(
                Code::FieldUnknown,
                format!("the field {} is unknown", Shown(&self.join(name))),
            )),
        }
    }

    /// Where a field of this object stands, to be shown.
    pub(crate) fn path_of(&self, field: &str) -> String {
        Shown(&self.join(field)).to_string()
    }

    /// An error of a field of this object.
    pub(crate) fn mistyped(&self, field: &str, what: &str) -> Error {
        mistyped(&self.join(field), what)
    }
}

/// An array of a checked document.
pub(crate) struct Array<'a> {
    path: String,
    items: Vec<&'a RawValue>,
}

impl<'a> Array<'a> {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The items, each of which must be an object.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Result<Object<'a>, Error>> {
        self.items
            .iter()
            .enumerate()
            .map(|(n, raw)| Object::from_text(raw.get(), format!("{}[{n}]", self.path)))
    }

    /// The items, each of which must be a string.
    pub(crate) fn strings(&self) -> impl Iterator<Item = Result<Cow<'a, str>, Error>> {
        self.items.iter().enumerate().map(|(n, raw)| {
            as_string(raw).ok_or_else(|| mistyped(&format!("{}[{n}]", self.path), "a string"))
        })
    }
}

fn as_string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(raw.get()).ok().map(|key| key.0)
}

fn mistyped(path: &str, what: &str) -> Error {
    let path = if path.is_empty() { "the document" } else { path };
    Error::new(Code::FieldMistyped, format!("{} is not {what}", Shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<Code> {
        check(text.as_bytes(), "it").err().map(|error| error.code())
    }

    #[test]
    fn one_reading_or_none() {
        assert_eq!(code(r#"{"a":{"b":[1,2.5,null,true,"x"]},"c":{"b":0}}"#), None);
        for (text, expected) in [
            ("", Code::JsonInvalid),
            ("{", Code::JsonInvalid),
            ("{} {}", Code::JsonInvalid),
            ("\u{feff}{}", Code::JsonInvalid),
            (r#"{"a":"\ud800"}"#, Code::JsonInvalid),
            (r#"{"a":NaN}"#, Code::JsonInvalid),
            (r#"{"a":1,"a":1}"#, Code::JsonDuplicateKey),
            (r#"{"a":1,"\u0061":1}"#, Code::JsonDuplicateKey),
            (r#"[{"x":[{"a":1,"b":2,"a":3}]}]"#, Code::JsonDuplicateKey),
        ] {
            assert_eq!(code(text), Some(expected), "{text}");
        }
        let wide = (0..40).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
        assert_eq!(code(&format!("{{{wide}}}")), None);
        assert_eq!(code(&format!("{{{wide},\"k39\":0}}")), Some(Code::JsonDuplicateKey));
        assert_eq!(check(b"{\"a\":\"\xff\"}", "it").unwrap_err().code(), Code::JsonInvalid);
    }

    #[test]
    fn sixty_four_levels_and_no_more() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(code(&nest(64)), None);
        assert_eq!(code(&nest(65)), Some(Code::JsonTooDeep));
        assert_eq!(code(&"[".repeat(1_000_000)), Some(Code::JsonTooDeep));
    }

    #[test]
    fn fields_are_told_by_their_path() {
        let text = r#"{"a":{"s":"x","n":4.0,"extra":1}}"#;
        let mut a = Object::document(text, "").unwrap().object("a").unwrap();
        assert_eq!(a.string("s").unwrap(), "x");
        assert_eq!(a.whole("n").unwrap_err().to_string(), "a.n is not a whole number");
        assert_eq!(a.string("t").unwrap_err().to_string(), "the field a.t is missing");
        assert_eq!(a.finish().unwrap_err().code(), Code::FieldUnknown);
    }
}
