//! Safetensors headers: which tensors lie in which bytes of a file. Bounded; a header that cannot be read names no tensor.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;

use crate::{
    Run, limits,
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

#[cfg(test)]
mod tests {
    use super::*;

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
