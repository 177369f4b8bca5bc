//! The safetensors format: eight bytes of header length, a JSON header, the tensors one after another.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

/// The longest header the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// Bytes written at once.
const PART: usize = 1 << 20;

/// A kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 16 bits with the exponent of an `F32`.
    Bf16,
    /// IEEE 754, 32 bits.
    F32,
    /// A byte.
    U8,
}

impl Dtype {
    fn name(self) -> &'static str {
        match self {
            Dtype::Bf16 => "BF16",
            Dtype::F32 => "F32",
            Dtype::U8 => "U8",
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Dtype::Bf16 => 2,
            Dtype::F32 => 4,
            Dtype::U8 => 1,
        }
    }
}

/// A tensor to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, unique in the file.
    pub name: String,
    /// What it is made of.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<u64>,
}

impl Tensor {
    /// A tensor of this name, kind and shape.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: impl Into<Vec<u64>>) -> Tensor {
        Tensor { name: name.into(), dtype, shape: shape.into() }
    }

    fn bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.bytes(), |bytes, side| bytes.saturating_mul(*side))
    }
}

/// A tensor in a file: where its bytes lie, counted from the start of the file, end exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// Its first byte.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
}

/// Writes a safetensors file of these tensors in this order, filled with numbers that follow from `seed`.
///
/// # Errors
/// The file cannot be written.
pub fn safetensors(path: &Path, tensors: &[Tensor], seed: u64) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.bytes();
        let entry =
            json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [start, end] });
        if header.insert(tensor.name.clone(), entry).is_some() {
            return Err(invalid(format!("two tensors are named {}", tensor.name)));
        }
    }
    let mut header = Value::Object(header).to_string();
    // Spaces after the header let the tensors start at a multiple of eight, as their readers like it.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));

    let mut file = BufWriter::with_capacity(PART, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    fill(&mut file, end, seed)?;
    file.into_inner()?.sync_data()
}

/// The tensors of a safetensors file in the order of their bytes.
///
/// # Errors
/// The file cannot be read, or is not valid safetensors (`InvalidData`).
pub fn tensors(path: &Path) -> io::Result<Vec<Placed>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > size.saturating_sub(8) {
        return Err(invalid(format!("a header of {length} bytes in a file of {size}")));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    let header: Map<String, Value> = serde_json::from_slice(&header)?;
    let mut placed = Vec::new();
    for (name, entry) in header {
        if name == "__metadata__" {
            continue;
        }
        let offset = |at: usize| entry.get("data_offsets")?.get(at)?.as_u64()?.checked_add(8 + length);
        match (offset(0), offset(1)) {
            (Some(start), Some(end)) if start <= end && end <= size => {
                placed.push(Placed { name, start, end })
            }
            _ => return Err(invalid(format!("tensor {name} does not lie in the file"))),
        }
    }
    placed.sort_by_key(|tensor| (tensor.start, tensor.end));
    Ok(placed)
}

/// Writes `bytes` pseudo-random bytes: SplitMix64, whose state is a counter, so that no block repeats another.
fn fill(out: &mut impl Write, bytes: u64, seed: u64) -> io::Result<()> {
    let mut state = seed;
    let mut part = vec![0; PART];
    let mut left = bytes;
    while left > 0 {
        for word in part.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        let now = usize::try_from(left).unwrap_or(PART).min(PART);
        out.write_all(part.get(..now).unwrap_or(&part))?;
        left -= now as u64;
    }
    Ok(())
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary;

    #[test]
    fn what_is_written_is_found_where_it_lies() {
        let dir = temporary().expect("temporary folder");
        let path = dir.path().join("model.safetensors");
        // The names are not in the order of the bytes, which is the order given.
        let made = [
            Tensor::new("z", Dtype::F32, [3, 5]),
            Tensor::new("a", Dtype::Bf16, [7]),
            Tensor::new("empty", Dtype::F32, [0]),
            Tensor::new("m", Dtype::U8, []),
        ];
        safetensors(&path, &made, 1).expect("written");
        let found = tensors(&path).expect("valid");
        let start = found[0].start;
        assert_eq!(start % 8, 0);
        let spans: Vec<_> = found.iter().map(|t| (t.name.as_str(), t.start - start, t.end - start)).collect();
        assert_eq!(spans, [("z", 0, 60), ("a", 60, 74), ("empty", 74, 74), ("m", 74, 75)]);
        assert_eq!(std::fs::metadata(&path).expect("there").len(), start + 75);
    }

    #[test]
    fn the_content_is_the_sequence_of_splitmix64() {
        let mut bytes = Vec::new();
        fill(&mut bytes, 20, 1_234_567).expect("memory");
        // The first two numbers that the published algorithm gives for this seed.
        let expected = [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973];
        assert_eq!(bytes[..8], expected[0].to_le_bytes());
        assert_eq!(bytes[8..16], expected[1].to_le_bytes());
        assert_eq!(bytes.len(), 20);
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let dir = temporary().expect("temporary folder");
        let twice = [Tensor::new("a", Dtype::U8, [1]), Tensor::new("a", Dtype::U8, [1])];
        let error = safetensors(&dir.path().join("twice"), &twice, 1).expect_err("refused");
        assert_eq!(error.to_string(), "two tensors are named a");
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let dir = temporary().expect("temporary folder");
        let path = dir.path().join("bad");
        let header = br#"{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#;
        for length in [header.len() as u64, u64::MAX, 60] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(header);
            std::fs::write(&path, bytes).expect("written");
            assert_eq!(tensors(&path).expect_err("refused").kind(), io::ErrorKind::InvalidData);
        }
    }
}
