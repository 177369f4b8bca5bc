//! The models: made once, signed once, the same bytes wherever they are made.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::models::{Dtype, Tensor, safetensors};

use super::machine::free_space;
use super::stats::memory;
use super::watch::Watch;
use crate::Done;

/// Numbers of four bytes in a row of a matrix.
const COLUMNS: u64 = 1024;
/// The largest tensor: 32 MiB.
const ROWS: u64 = 8192;
/// Files of the model of small files, and the size of each.
const SMALL_FILES: u64 = 10_000;
const SMALL: usize = 16 << 10;
/// Bytes of each of the two files of the tiny model.
const TINY: u64 = 500_000;
/// Files of the model that is only listed: of the large kind, a little more than a kilobyte each, and small ones.
const LISTED: u64 = 2980;
const LISTED_BYTES: usize = 2048;
pub(super) const LISTED_SMALL: u64 = 20;
const LISTED_SMALL_BYTES: usize = 512;
/// Left free on the disk.
const SPARE: u64 = 1 << 30;
/// What else is made beside the models: the stores' own copies, and what was fetched from them.
pub(super) const BESIDES: [&str; 2] = ["stores", "fetched"];

/// The models there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// Eight safetensors files.
    Eight,
    /// The same four times, by hard links: four times the bytes to hash in a quarter of the space.
    FourTimesEight,
    /// One safetensors file of the same size.
    One,
    /// Thousands of small files.
    Small,
    /// Two files of a megabyte in all.
    Tiny,
    /// 3,000 files for a list of files to have, twenty of which the Hub does not keep in LFS.
    Listed,
}

/// How a model is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hashing {
    Sha256,
    Shards,
    Blake3,
}

/// A model with a signature that lies beside it.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) model: PathBuf,
    pub(super) signature: PathBuf,
    pub(super) public_key: PathBuf,
    pub(super) bytes: u64,
    /// Like `8 files of 512 MiB`.
    pub(super) shown: String,
}

/// Where models are made.
pub(super) struct Models {
    dir: PathBuf,
    keys: PathBuf,
    mib: u64,
    program: PathBuf,
}

impl Models {
    /// Models of this size in a folder of their own in `dir`, signed by `program`.
    pub(super) fn new(dir: &Path, mib: u64, program: PathBuf) -> Models {
        Models { dir: dir.join(format!("{mib}-MiB")), keys: dir.join("bench"), mib, program }
    }

    /// The model, signed; made and signed if it is not there yet.
    pub(super) fn signed(&self, watch: &Watch, model: Model, hashing: Hashing) -> Done<Signed> {
        let place = self.made(watch, model)?;
        let public_key = self.keys.with_extension("pub");
        if !public_key.exists() {
            let mut keygen = Command::new(&self.program);
            keygen.args(["keygen", "--type", "p256"]).arg(&self.keys);
            watch.run(keygen)?;
        }
        let suffix = match hashing {
            Hashing::Sha256 => "sha256.sig",
            Hashing::Shards => "shards.sig",
            Hashing::Blake3 => "blake3.sig",
        };
        let signature = place.with_extension(suffix);
        if !signature.exists() {
            let mut sign = Command::new(&self.program);
            sign.args(["sign", "key"]).arg(&place).arg("--signature").arg(&signature);
            sign.arg("--private-key").arg(self.keys.with_extension("key"));
            match hashing {
                Hashing::Sha256 => &mut sign,
                Hashing::Shards => sign.args(["--shard-size", "64MiB"]),
                Hashing::Blake3 => sign.args(["--hash-algorithm", "blake3"]),
            };
            watch.run(sign)?;
        }
        let sizes = sizes(&place)?;
        let bytes = sizes.iter().sum();
        let each = sizes.first().copied().unwrap_or(0);
        let shown = match (model, sizes.len()) {
            (Model::Tiny, count) => format!("{count} files, {:.0} MB in all", bytes as f64 / 1e6),
            (Model::Listed, count) => format!("{count} files, {LISTED_SMALL} of them small"),
            (_, 1) => format!("one file of {}", size(each)),
            (_, count) => format!("{count} files of {}", size(each)),
        };
        Ok(Signed { model: place, signature, public_key, bytes, shown })
    }

    /// A place beside the models for what belongs to a row.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn made(&self, watch: &Watch, model: Model) -> Done<PathBuf> {
        let name = match model {
            Model::Eight => "eight",
            Model::FourTimesEight => "four-times-eight",
            Model::One => "one",
            Model::Small => "small",
            Model::Tiny => "tiny",
            Model::Listed => "listed",
        };
        let place = self.dir.join(name);
        if place.is_dir() {
            return Ok(place);
        }
        // What is half made has another name, and is made afresh.
        let partial = self.dir.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        let total = self.mib << 20;
        let wanted = if matches!(model, Model::FourTimesEight | Model::Listed) { 0 } else { total };
        leave_room(&partial, wanted, &format!("the model {name}"))?;
        println!("making the model {name}");
        match model {
            Model::Eight => {
                for file in 1..=8_u64 {
                    watch.go_on()?;
                    matrices(
                        &partial.join(format!("model-{file:05}-of-00008.safetensors")),
                        total / 8,
                        file,
                    )?;
                }
            }
            Model::FourTimesEight => {
                for file in fs::read_dir(self.made(watch, Model::Eight)?)? {
                    let file = file?;
                    for copy in 1..=4 {
                        let name = format!("{copy}-{}", file.file_name().to_string_lossy());
                        fs::hard_link(file.path(), partial.join(name))?;
                    }
                }
            }
            Model::One => matrices(&partial.join("model.safetensors"), total, 9)?,
            Model::Small => {
                let count = (SMALL_FILES * self.mib / 4096).max(100);
                small_files(watch, &partial, "bin", count, SMALL)?;
            }
            Model::Tiny => {
                matrices(&partial.join("a.safetensors"), TINY, 10)?;
                matrices(&partial.join("b.safetensors"), TINY, 11)?;
            }
            Model::Listed => {
                small_files(watch, &partial, "bin", LISTED, LISTED_BYTES)?;
                small_files(watch, &partial, "json", LISTED_SMALL, LISTED_SMALL_BYTES)?;
            }
        }
        fs::rename(&partial, &place)?;
        Ok(place)
    }
}

/// Whether there is room for so many bytes more.
///
/// Errors when there is less, and something to spare.
pub(super) fn leave_room(dir: &Path, bytes: u64, what: &str) -> Done {
    let free = free_space(dir)?;
    if free < bytes + SPARE {
        let lacking = format!("{} are free, {what} takes {}", memory(free), memory(bytes));
        return Err(format!("{}: {lacking} and 1 GiB is to stay free", dir.display()).into());
    }
    Ok(())
}

/// Removes what was made in a folder, of every size, the keys, and what is beside.
pub(super) fn clean(dir: &Path) -> Done {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let own = name.strip_suffix("-MiB").is_some_and(|size| size.parse::<u64>().is_ok());
        if (own || BESIDES.contains(&name.as_ref())) && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if matches!(name.as_ref(), "bench.key" | "bench.pub") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes a safetensors file with `bytes` of matrices of `F32`, a kind of number that NumPy knows.
fn matrices(path: &Path, bytes: u64, seed: u64) -> Done {
    let (mut left, mut tensors) = (bytes / (4 * COLUMNS), Vec::new());
    while left > 0 {
        let rows = left.min(ROWS);
        let name = format!("model.layers.{:04}.weight", tensors.len());
        tensors.push(Tensor::new(name, Dtype::F32, [rows, COLUMNS]));
        left -= rows;
    }
    Ok(safetensors(path, &tensors, seed)?)
}

/// Writes this many small files of pseudo-random bytes, so many in each.
fn small_files(watch: &Watch, dir: &Path, extension: &str, count: u64, size: usize) -> Done {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(size);
    for file in 0..count {
        watch.go_on()?;
        bytes.clear();
        while bytes.len() < size {
            // Xorshift64: no two files are alike.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        fs::File::create(dir.join(format!("part-{file:05}.{extension}")))?.write_all(&bytes)?;
    }
    Ok(())
}

fn sizes(model: &Path) -> Done<Vec<u64>> {
    fs::read_dir(model)?.map(|entry| Ok(entry?.metadata()?.len())).collect()
}

/// The size of a file without its header, which is less than a KiB of every GiB.
fn size(bytes: u64) -> String {
    match bytes {
        b if b >> 30 > 0 => format!("{} GiB", b >> 30),
        b if b >> 20 > 0 => format!("{} MiB", b >> 20),
        b => format!("{} KiB", b >> 10),
    }
}
