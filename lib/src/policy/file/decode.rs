//! From the tree to the types, by serde: whatever a type does not have is an error that says where.

use std::fmt;

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
        VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::yaml::{Key, Mark, Node, Problem, Value};
use crate::shown::Shown;

/// Reads a type from a node.
pub(super) fn decode<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, Problem> {
    T::deserialize(node).map_err(|fault| Problem::new(fault.at.unwrap_or(node.mark), fault.what))
}

/// What serde found wrong, and where, as soon as that is known.
#[derive(Debug)]
pub(super) struct Fault {
    at: Option<Mark>,
    what: String,
}

impl Fault {
    fn at(mut self, mark: Mark) -> Self {
        self.at.get_or_insert(mark);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Fault { at: None, what: Shown(&what.to_string()).to_string() }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let what = format!("there is no field {:?} here; there are {}", Shown(field), expected.join(", "));
        Fault { at: None, what }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Fault { at: None, what: format!("{:?} is none of {}", Shown(variant), expected.join(", ")) }
    }

    fn missing_field(field: &'static str) -> Self {
        Fault { at: None, what: format!("the field {field} is missing") }
    }
}

impl Node {
    fn wrong(&self, wanted: &str) -> Fault {
        let what = match &self.value {
            // A file of one word is no policy, and may be a secret that was named in the place of one.
            Value::Text { .. } if wanted == "a mapping" => {
                format!("a text stands where {wanted} is expected")
            }
            Value::Text { text, .. } => format!("{:?} stands where {wanted} is expected", Shown(text)),
            Value::List(_) => format!("a list stands where {wanted} is expected"),
            Value::Map(_) => format!("a mapping stands where {wanted} is expected"),
        };
        Fault { at: Some(self.mark), what }
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Text { .. } => self.deserialize_str(visitor),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Text { text, .. } => {
                visitor.visit_borrowed_str(text).map_err(|fault: Fault| fault.at(self.mark))
            }
            _ => Err(self.wrong("a text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Text { text, plain: true } if text == "true" => visitor.visit_bool(true),
            Value::Text { text, plain: true } if text == "false" => visitor.visit_bool(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let number = match &self.value {
            Value::Text { text, plain: true } if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()
            }
            _ => None,
        };
        visitor.visit_u64(number.ok_or_else(|| self.wrong("a whole number"))?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::List(items) => visitor.visit_seq(Items(items.iter())).map_err(|fault| fault.at(self.mark)),
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Map(entries) => {
                let entries = Entries { rest: entries.iter(), value: None };
                visitor.visit_map(entries).map_err(|fault| fault.at(self.mark))
            }
            _ => Err(self.wrong("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    /// A word, or a mapping with one key that says which it is.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Text { text, .. } => {
                let word: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(word).map_err(|fault| fault.at(self.mark))
            }
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => visitor.visit_enum(One { key, node }).map_err(|fault| fault.at(key.mark)),
                _ => Err(self.wrong(&format!("a mapping with exactly one of {}", variants.join(", ")))),
            },
            Value::List(_) => Err(self.wrong(&format!("one of {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct
        identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, (Key, Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        self.value = Some(node);
        let name: StrDeserializer<'_, Fault> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.at(key.mark))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self.value.take().ok_or_else(|| de::Error::custom("a value without a key"))?;
        seed.deserialize(node).map_err(|fault| fault.at(node.mark))
    }
}

/// A mapping with one key.
struct One<'de> {
    key: &'de Key,
    node: &'de Node,
}

impl<'de> EnumAccess<'de> for One<'de> {
    type Error = Fault;
    type Variant = &'de Node;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, &'de Node), Fault> {
        let name: StrDeserializer<'_, Fault> = self.key.name.as_str().into_deserializer();
        Ok((seed.deserialize(name).map_err(|fault| fault.at(self.key.mark))?, self.node))
    }
}

impl<'de> VariantAccess<'de> for &'de Node {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(self.wrong("nothing"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }
}
