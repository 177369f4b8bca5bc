//! Transparency logs: entries with promise, proof and checkpoint.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Body, TIME, encode, hex, tree};
use crate::pki::{Key, KeyKind};

/// A log.
#[derive(Debug, Clone)]
pub struct Log {
    /// Its address.
    pub url: String,
    /// What its checkpoints call it.
    pub origin: String,
    /// What it signs with.
    pub key: Key,
    /// By what a trusted root knows it.
    pub id: Vec<u8>,
    /// How many entries its earlier trees hold, which Rekor v1 counts too.
    pub earlier: usize,
}

/// An entry in a log that is about to give out a proof of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What is logged.
    pub body: Body,
    /// How many leaves the tree has.
    pub size: usize,
    /// Which of them it is.
    pub index: usize,
    /// When it was logged, where the log says so.
    pub integrated: Option<i64>,
    /// Whether the log promises to hold it.
    pub promise: bool,
    /// Whether the log proves to hold it.
    pub proof: bool,
}

impl Log {
    /// A log as Rekor v1 runs it, at this host: P-256, the tree's number in the origin, known by its key's hash.
    pub fn v1(host: &str, seed: u64) -> Log {
        let key = Key::new(KeyKind::P256, 200 + seed);
        Log {
            url: format!("https://{host}"),
            origin: format!("{host} - {}", 1_193_050_959_916_656_506 + seed),
            id: Sha256::digest(key.spki_der()).to_vec(),
            key,
            earlier: 4_163_431,
        }
    }

    /// A log as Rekor v2 runs it, at this host: Ed25519, known by a hash over origin and key (C2SP signed-note).
    pub fn v2(host: &str, seed: u64) -> Log {
        let key = Key::new(KeyKind::Ed25519, 210 + seed);
        let spki = key.spki_der();
        let id = [host.as_bytes(), &[b'\n', 1], &spki[spki.len() - 32..]].concat();
        Log {
            url: format!("https://{host}"),
            origin: host.to_owned(),
            id: Sha256::digest(id).to_vec(),
            key,
            earlier: 0,
        }
    }

    /// Whether it is one of Rekor v2's.
    pub fn is_v2(&self) -> bool {
        self.key.kind() == KeyKind::Ed25519
    }

    /// The checkpoint of a tree: a signed note (C2SP tlog-checkpoint).
    pub fn checkpoint(&self, size: usize, root: &[u8]) -> String {
        self.note(&format!("{}\n{size}\n{}\n", self.origin, encode(root)))
    }

    /// A note of any text, which ends with a newline, signed.
    pub fn note(&self, text: &str) -> String {
        let name = self.origin.split(" - ").next().unwrap_or_default();
        let signature = [&self.id[..4], &self.key.sign(text.as_bytes())].concat();
        format!("{text}\n\u{2014} {name} {}\n", encode(&signature))
    }

    /// The log's promise to hold an entry (Rekor v1's signed entry timestamp).
    pub fn promise(&self, body: &Body, index: usize, integrated: i64) -> Vec<u8> {
        // Canonical JSON (RFC 8785): no spaces, keys in order.
        let signed = format!(
            r#"{{"body":"{}","integratedTime":{integrated},"logID":"{}","logIndex":{index}}}"#,
            encode(&body.json),
            hex(&self.id)
        );
        self.key.sign(signed.as_bytes())
    }

    /// The entry as bundles have it.
    pub fn entry(&self, entry: &Entry) -> Value {
        let index = self.earlier + entry.index;
        let mut wire = json!({
            "logIndex": index.to_string(),
            "logId": {"keyId": encode(&self.id)},
            "kindVersion": {"kind": entry.body.kind, "version": entry.body.version},
            "canonicalizedBody": encode(&entry.body.json),
        });
        if let Some(time) = entry.integrated {
            wire["integratedTime"] = time.to_string().into();
        }
        if entry.promise {
            let promise = self.promise(&entry.body, index, entry.integrated.unwrap_or(0));
            wire["inclusionPromise"] = json!({"signedEntryTimestamp": encode(&promise)});
        }
        if entry.proof {
            wire["inclusionProof"] = self.proof(entry);
        }
        wire
    }

    /// The proof that the log holds an entry, as bundles have it.
    pub fn proof(&self, entry: &Entry) -> Value {
        let leaves = entry.leaves();
        let root = tree::root(&leaves);
        let hashes: Vec<String> = tree::proof(&leaves, entry.index).iter().map(|hash| encode(hash)).collect();
        json!({
            "logIndex": entry.index.to_string(),
            "rootHash": encode(&root),
            "treeSize": entry.size.to_string(),
            "hashes": hashes,
            "checkpoint": {"envelope": self.checkpoint(entry.size, &root)},
        })
    }
}

impl Entry {
    /// The sixth of eleven entries, logged at [`TIME`] and proven.
    pub fn new(body: Body) -> Entry {
        Entry { body, size: 11, index: 5, integrated: Some(TIME), promise: true, proof: true }
    }

    /// The leaves of its tree: others before and behind it.
    fn leaves(&self) -> Vec<[u8; 32]> {
        (0..self.size)
            .map(|n| match n == self.index {
                true => tree::leaf_hash(&self.body.json),
                false => tree::leaf_hash(format!("entry {n}").as_bytes()),
            })
            .collect()
    }
}
