//! Models to sign: valid, of any size, the same bytes for the same seed.

mod hub_cache;
mod safetensors;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

pub use hub_cache::{hub_cache, share_blobs};
pub use safetensors::{Dtype, Placed, Tensor, safetensors, tensors};

/// The revision [`hub_cache`] is usually given: 40 hexadecimal digits, as Git writes a commit.
pub const REVISION: &str = "8b3219a92973c328a8e22fadcfa821b5dc75636a";

/// Columns of a generated weight matrix, two bytes each.
const COLUMNS: u64 = 1024;
const ROW: u64 = 2 * COLUMNS;

/// The weights of a model: how many files, how large, in what pieces.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Files; more than one are named `model-00001-of-00002.safetensors` and get an index.
    pub shards: u32,
    /// Bytes of tensors in each file, without its header.
    pub shard_bytes: u64,
    /// The largest tensor, in bytes; rounded down to whole rows of 2 KiB, at least one.
    pub tensor_bytes: u64,
    /// The content: equal seeds give equal bytes.
    pub seed: u64,
}

impl Weights {
    /// One file of this many bytes, in tensors of at most 4 MiB.
    pub fn single(bytes: u64) -> Weights {
        Weights { shards: 1, shard_bytes: bytes, tensor_bytes: 4 << 20, seed: 1 }
    }

    /// This many files of this many bytes each, in tensors of at most 4 MiB.
    pub fn sharded(shards: u32, shard_bytes: u64) -> Weights {
        Weights { shards, ..Weights::single(shard_bytes) }
    }

    /// The same with other content.
    #[must_use]
    pub fn seed(self, seed: u64) -> Weights {
        Weights { seed, ..self }
    }

    /// Writes the files, and for several of them `model.safetensors.index.json`, into a folder that it makes.
    /// Returns the paths of the safetensors files in their order.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn write(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::create_dir_all(dir)?;
        let shards = self.shards.max(1);
        let mut paths = Vec::new();
        let mut weight_map = BTreeMap::new();
        for shard in 1..=shards {
            let name = match shards {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{shard:05}-of-{shards:05}.safetensors"),
            };
            let tensors = self.tensors(shard);
            let path = dir.join(&name);
            safetensors(&path, &tensors, self.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(shard)))?;
            weight_map.extend(tensors.into_iter().map(|tensor| (tensor.name, name.clone())));
            paths.push(path);
        }
        if shards > 1 {
            let total = u64::from(shards).saturating_mul(self.shard_bytes);
            let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
            write_json(&dir.join("model.safetensors.index.json"), &index)?;
        }
        Ok(paths)
    }

    /// The tensors of one file: whole matrices, then what is left as a vector, an odd byte as a tensor of its own.
    fn tensors(&self, shard: u32) -> Vec<Tensor> {
        const KINDS: [&str; 4] = [
            "self_attn.q_proj.weight",
            "self_attn.o_proj.weight",
            "mlp.up_proj.weight",
            "mlp.down_proj.weight",
        ];
        let rows = (self.tensor_bytes / ROW).max(1);
        let mut tensors = Vec::new();
        let mut left = self.shard_bytes;
        for (layer, kind) in (0_u32..).flat_map(|layer| KINDS.map(|kind| (layer, kind))) {
            let rows = rows.min(left / ROW);
            if rows == 0 {
                break;
            }
            let name = format!("model.layers.{shard}{layer:04}.{kind}");
            tensors.push(Tensor::new(name, Dtype::Bf16, [rows, COLUMNS]));
            left -= rows * ROW;
        }
        if left >= 2 {
            tensors.push(Tensor::new(format!("model.norm.{shard}.weight"), Dtype::Bf16, [left / 2]));
        }
        if left % 2 == 1 {
            tensors.push(Tensor::new(format!("model.flag.{shard}"), Dtype::U8, [1]));
        }
        tensors
    }
}

/// A small whole model of seven files: two safetensors of 192 KiB with their index, `config.json`, `tokenizer.json`,
/// `1_Pooling/config.json` in a folder of its own, and a `README.md`.
///
/// # Errors
/// The folder cannot be made or written.
pub fn small(dir: &Path) -> io::Result<()> {
    Weights { shards: 2, shard_bytes: 192 << 10, tensor_bytes: 64 << 10, seed: 7 }.write(dir)?;
    companions(dir)
}

/// The files that stand beside the weights: configuration, tokenizer, a nested folder, a model card.
///
/// # Errors
/// The folder cannot be made or written.
pub fn companions(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir.join("1_Pooling"))?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": COLUMNS,
        "num_hidden_layers": 4, "torch_dtype": "bfloat16", "vocab_size": 64,
    });
    write_json(&dir.join("config.json"), &config)?;
    let vocabulary: BTreeMap<String, u32> = (0..64).map(|id| (format!("token{id}"), id)).collect();
    let tokenizer = json!({ "version": "1.0", "model": { "type": "WordLevel", "vocab": vocabulary } });
    write_json(&dir.join("tokenizer.json"), &tokenizer)?;
    let pooling = json!({ "word_embedding_dimension": COLUMNS, "pooling_mode_mean_tokens": true });
    write_json(&dir.join("1_Pooling/config.json"), &pooling)?;
    fs::write(dir.join("README.md"), "# A model made for tests\n\nIts weights are random numbers.\n")
}

fn write_json(path: &Path, value: &serde_json::Value) -> io::Result<()> {
    fs::write(path, format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary;

    fn sizes(paths: &[PathBuf]) -> Vec<u64> {
        let tensors =
            |path: &PathBuf| tensors(path).expect("valid safetensors").last().map_or(0, |last| last.end);
        let header = |path: &PathBuf| tensors_start(path);
        paths.iter().map(|path| tensors(path) - header(path)).collect()
    }

    fn tensors_start(path: &Path) -> u64 {
        tensors(path).expect("valid safetensors").first().map_or(0, |first| first.start)
    }

    #[test]
    fn any_size_is_met_to_the_byte() {
        let dir = temporary().expect("temporary folder");
        for bytes in [1, 2, ROW - 1, ROW, ROW + 1, 3 * ROW + 5, 100_000] {
            let weights = Weights { tensor_bytes: ROW, ..Weights::single(bytes) };
            let paths = weights.write(dir.path()).expect("written");
            assert_eq!(sizes(&paths), [bytes]);
        }
    }

    #[test]
    fn the_index_names_every_tensor_once() {
        let dir = temporary().expect("temporary folder");
        let paths = Weights::sharded(3, 10_001).write(dir.path()).expect("written");
        assert_eq!(sizes(&paths), [10_001; 3]);
        let index = fs::read(dir.path().join("model.safetensors.index.json")).expect("an index");
        let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
        let map = index["weight_map"].as_object().expect("a map");
        let mut named = 0;
        for path in &paths {
            let file = path.file_name().and_then(|name| name.to_str()).expect("a name");
            for tensor in tensors(path).expect("valid safetensors") {
                assert_eq!(map[&tensor.name], file);
                named += 1;
            }
        }
        assert_eq!((map.len(), index["metadata"]["total_size"].as_u64()), (named, Some(30_003)));
    }

    #[test]
    fn the_seed_decides_the_bytes() {
        let dir = temporary().expect("temporary folder");
        let bytes = |seed| {
            let paths = Weights::single(50_000).seed(seed).write(dir.path()).expect("written");
            fs::read(&paths[0]).expect("readable")
        };
        let first = bytes(1);
        assert_eq!(first, bytes(1));
        assert_ne!(first, bytes(2));
        let shards = Weights::sharded(2, 50_000).write(dir.path()).expect("written");
        let tail = |path: &Path| fs::read(path).expect("readable").split_off(tensors_start(path) as usize);
        assert_ne!(tail(&shards[0]), tail(&shards[1]));
    }

    #[test]
    fn the_small_model_has_its_seven_files() {
        let dir = temporary().expect("temporary folder");
        small(dir.path()).expect("written");
        for name in [
            "1_Pooling/config.json",
            "README.md",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ] {
            assert!(dir.path().join(name).is_file(), "{name} is missing");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 7);
    }
}
