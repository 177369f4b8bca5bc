//! How a model becomes resources (OMS 1.0, predicate.serialization).

use super::Algorithm;

/// The serialization method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One resource for each file.
    Files,
    /// One resource for each `size` bytes of a file; the last may be shorter, empty files have none.
    Shards {
        /// Bytes in a shard, at least 1.
        size: u64,
    },
}

impl Method {
    /// The name in statements: `files` or `shards`.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Files => "files",
            Method::Shards { .. } => "shards",
        }
    }
}

/// The signed description of how the model was serialized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serialization {
    /// By files or by shards.
    pub method: Method,
    /// The digest of each resource.
    pub algorithm: Algorithm,
    /// Whether the signer followed symbolic links.
    pub allow_symlinks: bool,
    /// What the signer left out: paths relative to the model, each with all below it; plain letters, no patterns.
    pub ignore_paths: Vec<String>,
}

impl Serialization {
    /// A serialization without links and without ignored paths.
    pub fn new(method: Method, algorithm: Algorithm) -> Self {
        Serialization { method, algorithm, allow_symlinks: false, ignore_paths: Vec::new() }
    }
}
