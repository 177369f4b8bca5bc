//! Safetensors headers: which tensors lie in which bytes of a file. Bounded; a header that cannot be read names no tensor.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;

use crate::{
    Error, Run, limits,
    loadset::scan::{Step, Value, scan},
    shown::Shown,
    source::{Entry, Source},
};

/// The tensors of one file and their bytes, counted from the start of the file.
#[derive(Debug, Default)]
pub(crate) struct Tensors(Vec<(String, Range<u64>)>);

#[derive(Deserialize)]
struct Tensor {
    data_offsets: [u64; 2],
}

impl Tensors {
    /// Reads the header of a file. The header may be a changed one itself: what it says is a help, no evidence.
    pub(crate) fn read(source: &dyn Source, entry: &Entry, run: &Run) -> Self {
        Self::try_read(source, entry, run).unwrap_or_default()
    }

    fn try_read(source: &dyn Source, entry: &Entry, run: &Run) -> Option<Self> {
        let mut length = [0; 8];
        if source.read_at(entry, 0, &mut length, run).ok()? != length.len() {
            return None;
        }
        let length = u64::from_le_bytes(length);
        if length > limits::SAFETENSORS_HEADER_BYTES || length > entry.size {
            return None;
        }
        let mut header = vec![0; usize::try_from(length).ok()?];
        if source.read_at(entry, 8, &mut header, run).ok()? != header.len() {
            return None;
        }
        Self::parse(&header)
    }

    /// Parses a header, the JSON after the first 8 bytes of a file.
    fn parse(header: &[u8]) -> Option<Self> {
        let data = 8 + header.len() as u64;
        let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
        let tensors =
            entries.into_iter().filter(|(name, _)| name != "__metadata__").filter_map(|(name, value)| {
                let [start, end] = Tensor::deserialize(value).ok()?.data_offsets;
                Some((name, data.checked_add(start)?..data.checked_add(end)?))
            });
        let mut tensors: Vec<_> = tensors.collect();
        tensors.sort_by_key(|(_, range)| range.start);
        Some(Tensors(tensors))
    }

    /// The names of the tensors that have bytes in `range`, in the order of their bytes.
    pub(crate) fn in_range(&self, range: &Range<u64>) -> Vec<String> {
        self.0
            .iter()
            .filter(|(_, bytes)| bytes.start < range.end && range.start < bytes.end)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// So much of a file is read at once in the hope that its header is in it: in a store every read is a journey.
const FIRST_READ: u64 = 256 << 10;

/// Reads the header of a file and holds it against the format: which tensors are in it, sorted; or why it is none that
/// a loader could take.
///
/// The header is an object of tensors whose bytes follow each other from the end of the header to the end of the file,
/// without gaps; each has as many as its type and shape say.
///
/// # Errors
/// What reading it came to.
pub(crate) fn tensors(
    source: &dyn Source,
    entry: &Entry,
    run: &Run,
) -> Result<Result<Vec<String>, String>, Error> {
    if entry.size < 8 {
        return Ok(Err("is shorter than the length of a header".to_owned()));
    }
    let mut bytes = source.fetch(entry, 0..entry.size.min(FIRST_READ), Vec::new(), run)?;
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if length > limits::SAFETENSORS_HEADER_BYTES {
        let most = limits::SAFETENSORS_HEADER_BYTES;
        return Ok(Err(format!("has a header of {length} bytes, and no more than {most} are read")));
    }
    let end = 8 + length;
    if end > entry.size {
        return Ok(Err(format!("has a header of {length} bytes, which is longer than the file")));
    }
    if end > bytes.len() as u64 {
        let rest = source.fetch(entry, bytes.len() as u64..end, Vec::new(), run)?;
        bytes.extend_from_slice(&rest);
    }
    let header = usize::try_from(end).ok().and_then(|end| bytes.get(8..end)).unwrap_or_default();
    Ok(header_tensors(header, entry.size - end))
}

/// More dimensions has no tensor.
const DIMENSIONS: usize = 1024;

/// What a header says of one tensor.
#[derive(Default)]
struct Described {
    name: String,
    dtype: Option<String>,
    shape: Option<Vec<u64>>,
    offsets: Option<Vec<u64>>,
}

/// The names in a header, sorted, whose tensors have `data` bytes in all.
fn header_tensors(header: &[u8], data: u64) -> Result<Vec<String>, String> {
    if header.first() != Some(&b'{') {
        return Err("has a header that is no object".to_owned());
    }
    // Each is held against the format as soon as it is whole, so that little is kept of many.
    let mut ranges: Vec<(Range<u64>, String)> = Vec::new();
    let mut last: Option<Described> = None;
    scan(header, &mut |path, value| match (path, value) {
        ([], Value::Map) => Ok(()),
        ([Step::Key(name)], Value::Map | Value::Null) if name == "__metadata__" => Ok(()),
        ([Step::Key(name), _], Value::Text(_)) if name == "__metadata__" => Ok(()),
        ([Step::Key(name)], Value::Map) => {
            let next = Described { name: name.clone().into_owned(), ..Described::default() };
            ranges.extend(last.replace(next).map(Described::end).transpose()?);
            Ok(())
        }
        ([Step::Key(name), Step::Key(field), rest @ ..], value) if name != "__metadata__" => {
            let Some(tensor) = &mut last else { return Ok(()) };
            tensor.field(field, rest, value).ok_or_else(|| {
                format!("has a header that says of the tensor {:?} what no header says", Shown(name))
            })
        }
        _ => Err("has a header that holds something else than tensors".to_owned()),
    })?;
    ranges.extend(last.map(Described::end).transpose()?);
    ranges.sort_unstable_by_key(|(range, _)| (range.start, range.end));
    let mut end = 0;
    for (range, name) in &ranges {
        if range.start != end {
            let how = if range.start < end { "in bytes of another one" } else { "behind bytes of none" };
            return Err(format!("has the tensor {:?} {how}", Shown(name)));
        }
        end = range.end;
    }
    if end != data {
        return Err(format!("has {data} bytes of tensors, and its header speaks of {end}"));
    }
    let mut names: Vec<String> = ranges.into_iter().map(|(_, name)| name).collect();
    names.sort_unstable();
    Ok(names)
}

impl Described {
    /// Takes one field, or an item of it; none where it is not as the format has it.
    fn field(&mut self, field: &str, rest: &[Step<'_>], value: &Value<'_>) -> Option<()> {
        let list = match field {
            "dtype" => {
                let (Value::Text(dtype), []) = (value, rest) else { return None };
                self.dtype = Some(dtype.clone().into_owned());
                return Some(());
            }
            "shape" => &mut self.shape,
            "data_offsets" => &mut self.offsets,
            // Loaders pass over what they do not know.
            _ => return Some(()),
        };
        match (rest, value) {
            ([], Value::List) => *list = Some(Vec::new()),
            ([Step::Item(item)], Value::Number(number)) if *item < DIMENSIONS => {
                list.as_mut()?.push(number.parse().ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    /// Its bytes and its name, once all of it was read.
    fn end(self) -> Result<(Range<u64>, String), String> {
        let range = self.range().map_err(|why| format!("has the tensor {:?} {why}", Shown(&self.name)))?;
        Ok((range, self.name))
    }

    /// Its bytes, counted from the end of the header; or what is wrong with it.
    fn range(&self) -> Result<Range<u64>, &'static str> {
        let (Some(dtype), Some(shape), Some([start, end])) =
            (&self.dtype, &self.shape, self.offsets.as_deref())
        else {
            return Err("without type, shape or bytes");
        };
        let length = end.checked_sub(*start).ok_or("that ends before it begins")?;
        // Of a type that is not known here, whoever loads it knows more.
        if let Some(bits) = bits(dtype) {
            let count = shape.iter().try_fold(1_u64, |count, length| count.checked_mul(*length));
            if count.and_then(|count| count.checked_mul(bits)) != length.checked_mul(8) {
                return Err("whose bytes are not as many as its shape says");
            }
        }
        Ok(*start..*end)
    }
}

/// How many bits a number of a type has.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "F32" | "I32" | "U32" => 32,
        "F64" | "I64" | "U64" | "C64" => 64,
        "BOOL" | "U8" | "I8" => 8,
        other if other.starts_with("F8_") => 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_the_format_has_it() {
        let tensor = |dtype: &str, shape: &str, start: u64, end: u64| {
            format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
        };
        let named = |tensors: &[String]| {
            let tensors = tensors.iter().enumerate().map(|(n, tensor)| format!("\"t{n}\":{tensor}"));
            format!("{{{}}}", tensors.collect::<Vec<_>>().join(","))
        };
        let check = |header: &str, data: u64| header_tensors(header.as_bytes(), data);
        let good =
            named(&[tensor("F32", "[2]", 4, 12), tensor("F32", "[1,1]", 0, 4), tensor("I8", "[0]", 12, 12)]);
        assert_eq!(check(&good, 12).unwrap(), ["t0", "t1", "t2"]);
        assert_eq!(check(r#"{"__metadata__":{"format":"pt"}}   "#, 0).unwrap(), [""; 0]);
        assert_eq!(check(&named(&[tensor("F4", "[4]", 0, 2)]), 2).unwrap(), ["t0"]);
        assert_eq!(check(&named(&[tensor("NEW", "[9]", 0, 2)]), 2).unwrap(), ["t0"]);
        for (header, data, why) in [
            (good.clone(), 13, "speaks of"),
            (good, 11, "speaks of"),
            (named(&[tensor("F32", "[1]", 0, 4), tensor("F32", "[1]", 2, 6)]), 6, "of another one"),
            (named(&[tensor("F32", "[1]", 0, 4), tensor("F32", "[1]", 0, 4)]), 4, "of another one"),
            (named(&[tensor("F32", "[1]", 4, 8)]), 8, "of none"),
            (named(&[tensor("F32", "[1]", 4, 0)]), 4, "before it begins"),
            (named(&[tensor("F32", "[2]", 0, 4)]), 4, "as its shape says"),
            (named(&[tensor("F4", "[3]", 0, 1)]), 1, "as its shape says"),
            (named(&[tensor("F32", "[4294967296,4294967296]", 0, 4)]), 4, "as its shape says"),
            (named(&[tensor("F64", "[1]", 0, u64::MAX)]), 8, "as its shape says"),
            (named(&[tensor("NEW", "[1]", 0, u64::MAX)]), 8, "speaks of"),
            (named(&[tensor("F32", "[-1]", 0, 4)]), 4, "no header says"),
            (named(&[tensor("F32", "[1.0]", 0, 4)]), 4, "no header says"),
            (named(&[tensor("F32", "1", 0, 4)]), 4, "no header says"),
            (r#"{"a":{"dtype":"F32","shape":[1]}}"#.to_owned(), 4, "without type"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#.to_owned(), 4, "without type"),
            (r#"{"a":1}"#.to_owned(), 0, "something else"),
            (r#"{"__metadata__":{"a":1}}"#.to_owned(), 0, "something else"),
            (r#"{"__metadata__":[]}"#.to_owned(), 0, "something else"),
            (r#"{"a":{},"a":{}}"#.to_owned(), 0, "twice"),
            (" {}".to_owned(), 0, "no object"),
            ("[]".to_owned(), 0, "no object"),
            (String::new(), 0, "no object"),
            ("{".to_owned(), 0, "not valid JSON"),
        ] {
            let error = check(&header, data).unwrap_err();
            assert!(error.contains(why), "{header}: {error}");
        }
    }

    #[test]
    fn tensors_are_found_by_their_bytes() {
        let header = br#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let tensors = Tensors::parse(header).unwrap();
        let data = 8 + header.len() as u64;
        assert_eq!(tensors.in_range(&(data..data + 1)), ["a"]);
        assert_eq!(tensors.in_range(&(data + 3..data + 5)), ["a", "b"]);
        assert_eq!(tensors.in_range(&(data + 11..data + 100)), ["b"]);
        assert!(tensors.in_range(&(0..data)).is_empty());
        for bad in [
            &b"["[..],
            b"{\"a\":1}",
            b"{\"a\":{\"data_offsets\":[1]}}",
            b"\xff",
            br#"{"a":{"data_offsets":[0,18446744073709551615]}}"#,
        ] {
            assert!(Tensors::parse(bad).unwrap_or_default().in_range(&(0..u64::MAX)).is_empty());
        }
    }
}
