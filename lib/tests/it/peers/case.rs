//! A model with its keys, signed by us or by the peer.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use testkit::models::Weights;
use testkit::peers::Answer;
use testkit::pki::{Key, KeyKind};
use testkit::{TempDir, temporary};
use weightseal::{Accept, Algorithm, Bundle, Code, Hashing, KeySigner, Model, Policy, Replace, Run};

use super::Python;

/// What stands in the model of most tests beside its weights: names in which parts and code points sort differently, all
/// kinds of letters, dotfiles, an empty file.
const FILES: [(&str, &str); 18] = [
    (".hidden/x", "hidden"),
    ("config.json", "{\"model_type\": \"llama\"}"),
    ("copy of config (1).json", "{\"model_type\": \"llama\"}"),
    ("deploy-a", "a"),
    ("deploy.md", "# md"),
    ("deploy/deep/er/y.txt", "y"),
    ("deploy/x", "x"),
    ("e\u{301}.txt", "two code points"),
    ("\u{e9}.txt", "one code point"),
    ("empty.bin", ""),
    ("it's \"quoted\".txt", "quotes"),
    ("line\nfeed.txt", "line feed"),
    ("name with spaces.txt", " "),
    ("sub/.gitignore", "a git path only at the top"),
    ("tab\tand\\backslash", "\\"),
    ("weights/\u{30e2}\u{30c7}\u{30eb}.bin", "katakana"),
    ("\u{ff5e}.bin", "before the emoji as code points, after it as UTF-16"),
    ("\u{1f600}.bin", "emoji"),
];

/// Writes a model into a folder that it makes, always the same one.
pub(super) fn rich(dir: &Path) {
    Weights::single(70_001).write(dir).expect("weights");
    for (name, text) in FILES {
        write(&dir.join(name), text);
    }
}

/// Writes a file into folders that it makes.
pub(super) fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

/// Who signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    ByUs,
    ByPeer,
}

impl Signed {
    pub(super) const EACH: [Signed; 2] = [Signed::ByUs, Signed::ByPeer];
}

/// A model in a temporary folder, the key that signs it, and another key of the same kind.
pub(super) struct Case {
    dir: TempDir,
    pub(super) key: Key,
    pub(super) other: Key,
}

impl Case {
    /// The model of [`rich`], a P-256 key.
    pub(super) fn new() -> Case {
        let case = Case::empty(KeyKind::P256);
        rich(&case.model());
        case
    }

    /// An empty folder as the model.
    pub(super) fn empty(kind: KeyKind) -> Case {
        let case = Case {
            dir: temporary().expect("temporary folder"),
            key: Key::new(kind, 11),
            other: Key::new(kind, 12),
        };
        fs::create_dir(case.model()).expect("made");
        case.write("signer.key", case.key.pkcs8_pem());
        case.write("signer.pub", case.key.public_pem());
        case.write("other.pub", case.other.public_pem());
        case
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub(super) fn model(&self) -> PathBuf {
        self.path("model")
    }

    /// Writes a file beside or in the model.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        write(&self.path(name), text);
    }

    /// Signs into `model.sig` beside the model, with no option at all.
    pub(super) fn sign(&self, signed: Signed, python: &Python) {
        match signed {
            Signed::ByUs => self.sign_ours(&self.open(), &Hashing::files(Algorithm::Sha256)),
            Signed::ByPeer => self.peer_signs(python, &[]).expect_accepted(),
        }
    }

    /// Signs as we do, into `model.sig`.
    #[track_caller]
    pub(super) fn sign_ours(&self, model: &Model, hashing: &Hashing) {
        let signer = KeySigner::from_pem(self.key.pkcs8_pem().as_bytes(), None).expect("a key");
        let bundle = model.sign(hashing, &signer, &Run::new()).expect("signed");
        bundle.write(self.path("model.sig"), Replace::Signature).expect("written");
    }

    /// The peer's command line signs, with these further arguments, into `model.sig`.
    pub(super) fn peer_signs(&self, python: &Python, flags: &[&str]) -> Answer {
        let args = ["sign", "key", "model", "--signature", "model.sig", "--private_key", "signer.key"];
        python.cli(self.dir(), &[&args, flags].concat())
    }

    /// The peer's command line verifies, with these further arguments.
    pub(super) fn peer_verifies(&self, python: &Python, flags: &[&str]) -> Answer {
        let args = ["verify", "key", "model", "--signature", "model.sig", "--public_key", "signer.pub"];
        python.cli(self.dir(), &[&args, flags].concat())
    }

    pub(super) fn open(&self) -> Model {
        Model::open(self.model()).expect("a model")
    }

    /// What we find with the signer's key and no option at all; nothing when it is verified.
    pub(super) fn found(&self) -> Vec<Code> {
        self.found_in(&self.open())
    }

    /// What we find in this model with the signer's key.
    pub(super) fn found_in(&self, model: &Model) -> Vec<Code> {
        codes(model, &self.path("model.sig"), Accept::key(self.key.public_pem()).expect("a key"))
    }

    /// The statement of the bundle as JSON.
    pub(super) fn statement(&self) -> Value {
        let bundle: Value =
            serde_json::from_slice(&fs::read(self.path("model.sig")).expect("readable")).expect("JSON");
        serde_json::from_str(&decoded(&bundle["dsseEnvelope"]["payload"])).expect("JSON")
    }

    /// Changes the bundle's JSON.
    pub(super) fn edit(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("model.sig");
        let mut bundle = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        change(&mut bundle);
        write(&path, bundle.to_string());
    }

    /// Changes the text that is signed, and not the signature.
    pub(super) fn edit_payload(&self, change: impl FnOnce(String) -> String) {
        self.edit(|bundle| {
            let payload = &mut bundle["dsseEnvelope"]["payload"];
            let text = decoded(payload);
            let changed = change(text.clone());
            assert_ne!(changed, text);
            *payload = BASE64.encode(changed).into();
        });
    }

    /// Both verify it, without any option.
    #[track_caller]
    pub(super) fn expect_verified(&self, python: &Python) {
        assert_eq!(self.found(), []);
        self.peer_verifies(python, &[]).expect_accepted();
    }

    /// Both refuse it, we with these codes.
    #[track_caller]
    pub(super) fn expect_refused(&self, python: &Python, found: &[Code]) {
        assert_eq!(self.found(), found);
        self.peer_verifies(python, &[]).expect_refused();
    }
}

/// The text behind a field in base64.
fn decoded(field: &Value) -> String {
    let bytes = BASE64.decode(field.as_str().expect("a text")).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}

/// The codes of what we find, in the order of the report; nothing when the model is verified.
pub(super) fn codes(model: &Model, signature: &Path, accept: Accept) -> Vec<Code> {
    let bundle = match Bundle::read(signature) {
        Ok(bundle) => bundle,
        Err(error) => return vec![error.code()],
    };
    match model.verify(&Policy::new().accept(accept), &[bundle], &Run::new()) {
        Ok(verified) => {
            assert!(verified.report().is_verified() && verified.report().findings.is_empty());
            Vec::new()
        }
        Err(failure) => {
            let findings = &failure.report().findings;
            assert!(!findings.is_empty(), "refused without a reason: {}", failure.report());
            findings.iter().map(|finding| finding.code).collect()
        }
    }
}
