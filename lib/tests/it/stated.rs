//! Verified by what a store states, no weights read; and signed from that.

use std::{collections::BTreeMap, fmt};

use serde_json::json;
use testkit::pki::KeyKind;
use weightseal::{Algorithm, Assurance, Code, Digest, Entry, Error, Hashing, Memory, Model, Run, Source};

use crate::good::{FILES, Good, refused, sha256, verified};

/// A store that states digests and cannot be read.
#[derive(Clone, Debug)]
struct Stating {
    listed: Memory,
    stated: BTreeMap<String, Option<String>>,
}

impl Stating {
    fn new() -> Self {
        let listed = FILES.iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(*name, *bytes));
        let stated = FILES.iter().map(|(name, bytes)| ((*name).to_owned(), Some(sha256(bytes))));
        Stating { listed, stated: stated.collect() }
    }

    fn states(mut self, name: &str, digest: Option<String>) -> Self {
        self.stated.insert(name.to_owned(), digest);
        self
    }

    fn model(self) -> Model {
        Model::from_source(self).stated(true)
    }
}

impl fmt::Display for Stating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that states")
    }
}

impl Source for Stating {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.listed.list(run, &mut |mut entry| {
            let stated = self.stated.get(&entry.name).cloned().flatten();
            entry.stated = stated.map(|hex| Digest::from_hex(Algorithm::Sha256, &hex).unwrap());
            each(entry)
        })
    }

    fn read_at(&self, entry: &Entry, _: u64, _: &mut [u8], _: &Run) -> Result<usize, Error> {
        panic!("{} is read", entry.name)
    }

    fn base_name(&self) -> String {
        "m".to_owned()
    }
}

#[test]
fn a_model_is_held_against_what_its_store_states_where_the_policy_accepts_that() {
    let good = Good::new();
    let policy = || good.policy().assurance(Assurance::Stated);
    let report = verified(&Stating::new().model(), &policy(), good.bundles());
    assert_eq!((report.assurance, report.bytes), (Some(Assurance::Stated), 0));
    assert_eq!(report.counts.verified, FILES.len() as u64);
    assert!(report.to_string().contains("(stated)"), "{report}");

    refused(&Stating::new().model(), &good.policy(), good.bundles(), &[Code::AssuranceTooLow]);
    refused(
        &Stating::new().model(),
        &good.policy().assurance(Assurance::Receipt),
        good.bundles(),
        &[Code::AssuranceTooLow],
    );

    let other = Stating::new().states("model.safetensors", Some(sha256(b"other")));
    let report = refused(&other.model(), &policy(), good.bundles(), &[Code::FileChanged]);
    assert_eq!(report.findings[0].actual, Some(format!("sha256:{}", sha256(b"other"))));
    let silent = Stating::new().states("model.safetensors", None);
    let report = refused(&silent.model(), &policy(), good.bundles(), &[Code::NotStated]);
    assert_eq!(report.findings[0].name.as_deref(), Some("model.safetensors"));
    let mut shorter = Stating::new();
    shorter.listed = shorter.listed.without("config.json");
    refused(&shorter.model(), &policy(), good.bundles(), &[Code::FileMissing]);
    let mut longer = Stating::new();
    longer.listed = longer.listed.with("pickle.bin", "x");
    refused(&longer.model(), &policy(), good.bundles(), &[Code::FileUnsigned]);
}

#[test]
fn no_store_states_shards_or_other_digests() {
    let hashings = [
        Hashing::shards(Algorithm::Sha256, 16).unwrap(),
        Hashing::files(Algorithm::Blake3),
        Hashing::files(Algorithm::Blake2b),
    ];
    for hashing in hashings {
        let good = Good::with(&hashing, KeyKind::Ed25519, |_| (), |model| model);
        let policy = good.policy().assurance(Assurance::Stated);
        refused(&Stating::new().model(), &policy, good.bundles(), &[Code::NotStated]);
    }
}

#[test]
fn a_signer_who_read_no_weights_says_so_and_has_to_be_accepted() {
    let good = Good::new();
    let annotated =
        |annotations| good.changed(|statement| statement["subject"][0]["annotations"] = annotations);
    let bundle = annotated(json!({"digests": "stated"}));
    let report =
        refused(&good.model(), &good.policy(), std::slice::from_ref(&bundle), &[Code::AssuranceTooLow]);
    assert!(report.findings[0].help().contains("stated"));
    let policy = good.policy().assurance(Assurance::Stated);
    let report = verified(&good.model(), &policy, &[bundle]);
    assert!(report.signatures[0].notes.iter().any(|note| note.contains("read no weights")));
    assert_eq!(report.assurance, Some(Assurance::Hashed), "here the weights were read");
    // Another tool's annotation of that name says nothing.
    for other in [json!({"digests": 7}), json!({"digests": "read"}), json!({"digests": {"sha256": "00"}})] {
        verified(&good.model(), &good.policy(), &[annotated(other)]);
    }
}

#[test]
fn only_a_full_commit_is_signed_from_what_is_stated() {
    let good = Good::new();
    let signer = crate::good::signer(&good.key);
    let sign =
        |model: Model, hashing: &Hashing| model.sign(hashing, &signer, &Run::new()).unwrap_err().code();
    let files = Hashing::files(Algorithm::Sha256);
    assert_eq!(sign(Stating::new().model(), &files), Code::BadArgument);
    assert_eq!(sign(good.model().stated(true), &files), Code::BadArgument);
    let shards = Hashing::shards(Algorithm::Sha256, 16).unwrap();
    assert_eq!(sign(good.model().stated(true), &shards), Code::ArgumentsConflict);
}
