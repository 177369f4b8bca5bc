//! Every cap on what comes from outside, by name.

/// Largest bundle, and largest payload in it, that is read, in bytes: 160 MiB, room for a million resources.
pub const BUNDLE_BYTES: u64 = 160 << 20;

/// Deepest nesting of a JSON document: 64 levels of objects and arrays.
pub const JSON_DEPTH: usize = 64;

/// Longest resource name, in bytes: what Linux takes as a path.
pub const NAME_BYTES: usize = 4096;

/// Deepest nesting of folders in a model; each level holds one open directory handle during the walk.
pub const FOLDER_DEPTH: usize = 256;

/// Most entries of one listing, names through followed links included.
pub const ENTRIES: usize = 10_000_000;

/// Most names through links to folders that are looked at; a handful of such links can multiply without end.
pub const ALIASES: usize = 100_000;

/// Most items of an array of a bundle, and most keys of an object, where the format has no long ones.
pub const JSON_ITEMS: usize = 10_000;

/// Most resources of a statement.
pub const RESOURCES: usize = 4_000_000;

/// Most symbolic links followed to resolve one path, as the kernel has it.
pub const LINKS_FOLLOWED: usize = 40;

/// Largest policy file, in bytes.
pub const POLICY_BYTES: u64 = 1 << 20;

/// Deepest nesting of a policy file: 32 levels of mappings and lists.
pub const POLICY_DEPTH: usize = 32;

/// Largest key, certificate or passphrase file that is read, in bytes.
pub const KEY_BYTES: u64 = 1 << 20;

/// Largest receipt that is read, in bytes; the ones that are written have under 1 KiB, whatever the model.
pub const RECEIPT_BYTES: u64 = 16 << 10;

/// Largest safetensors header that is read to name tensors, in bytes.
pub const SAFETENSORS_HEADER_BYTES: u64 = 16 << 20;

/// Largest configuration or index that is read to tell what a model server would load, in bytes.
pub const LOADED_JSON_BYTES: u64 = 32 << 20;

/// Most keys of such a file, and of a safetensors header.
pub const LOADED_KEYS: usize = 1_000_000;

/// Most such files of one model.
pub const LOADED_DOCUMENTS: usize = 10_000;

/// Most threads that hash at once.
pub const THREADS: usize = 256;

/// Most log entries, and most timestamps, of a bundle; each costs signature checks.
pub const LOG_ENTRIES: usize = 32;

/// Largest body of a log entry, and largest timestamp, of a bundle, in bytes: they hold digests, signatures and certificates.
pub const EVIDENCE_BYTES: usize = 1 << 20;

/// Largest checkpoint of a log entry, in bytes.
pub const CHECKPOINT_BYTES: usize = 64 << 10;

/// Most lines of a checkpoint: each may be a signature that has to be checked, the log's own or a witness's.
pub const CHECKPOINT_LINES: usize = 128;

/// Most hashes of a proof that a log holds an entry: one for each level of a tree of 2^63 leaves, and some more.
pub const PROOF_HASHES: usize = 128;

/// Largest cache of a trusted root, in bytes.
pub const TRUST_CACHE_BYTES: u64 = 32 << 20;

/// Most rotations of a trust repository's root that are followed in one go.
pub const ROOT_ROTATIONS: u32 = 256;
