//! Cases that verify, and ways to make one thing about them wrong.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{
    TempDir,
    pki::{Key, KeyKind, sign_pae},
    temporary,
};
use weightseal::{
    Accept, Algorithm, Bundle, Class, Code, Events, Hashing, KeySigner, Model, Policy, Report, Run, Verdict,
};

/// A small model, its signature by a bare key, and whom to trust.
pub(crate) struct Good {
    pub(crate) dir: TempDir,
    pub(crate) key: Key,
    /// The bundle as it was signed.
    pub(crate) bundle: Bundle,
}

/// The files of the small model, in code-point order: an empty one, a nested one, and `deploy` three times over, which
/// sorts otherwise by parts.
pub(crate) const FILES: [(&str, &[u8]); 7] = [
    ("README.md", b"# A model\n"),
    ("config.json", b"{\"model_type\": \"llama\"}\n"),
    ("deploy-a", b"first by code points\n"),
    ("deploy.md", b"second\n"),
    ("deploy/run.sh", b"last, but first by parts\n"),
    ("empty.txt", b""),
    ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      weights of a kind"),
];

/// Writes files into a folder, folders on the way included.
pub(crate) fn write_files<'a>(folder: &Path, files: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

impl Good {
    /// The small model, signed by files with SHA-256 and Ed25519; it is asserted to verify.
    pub(crate) fn new() -> Good {
        Good::with(&Hashing::files(Algorithm::Sha256), KeyKind::Ed25519, |_| (), |model| model)
    }

    /// The same in shards of this many bytes.
    pub(crate) fn shards(size: u64) -> Good {
        let hashing = Hashing::shards(Algorithm::Sha256, size).unwrap();
        Good::with(&hashing, KeyKind::Ed25519, |_| (), |model| model)
    }

    /// The small model with other files, signed with other settings; it is asserted to verify with the same settings.
    pub(crate) fn with(
        hashing: &Hashing,
        kind: KeyKind,
        files: impl FnOnce(&Path),
        set: impl Fn(Model) -> Model,
    ) -> Good {
        let dir = temporary().unwrap();
        let folder = dir.path().join("model");
        write_files(&folder, FILES);
        files(&folder);
        let key = Key::new(kind, 1);
        let model = set(Model::open(&folder).unwrap());
        let bundle = model.sign(hashing, &signer(&key), &Run::new()).unwrap();
        let good = Good { dir, key, bundle };
        verified(&model, &good.policy(), good.bundles());
        good
    }

    /// The model's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join("model")
    }

    /// A path in the model.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The model, with the default settings.
    pub(crate) fn model(&self) -> Model {
        Model::open(self.folder()).unwrap()
    }

    /// Trusts the key that signed.
    pub(crate) fn policy(&self) -> Policy {
        trusting(&self.key)
    }

    /// The bundle alone.
    pub(crate) fn bundles(&self) -> &[Bundle] {
        one(&self.bundle)
    }

    /// The bundle as JSON.
    pub(crate) fn wire(&self) -> Value {
        serde_json::from_str(&self.bundle.to_json()).unwrap()
    }

    /// The statement as JSON.
    pub(crate) fn statement(&self) -> Value {
        serde_json::from_slice(&self.payload()).unwrap()
    }

    /// The signed bytes.
    pub(crate) fn payload(&self) -> Vec<u8> {
        self.bundle.unverified_statement().unwrap().payload().to_vec()
    }

    /// The same bundle over another payload, rightly signed by the same key: only the payload is wrong.
    pub(crate) fn resigned(&self, payload: &[u8]) -> Bundle {
        let mut wire = self.wire();
        wire["dsseEnvelope"] = envelope(payload, &sign_pae(&self.key, &pae(payload)));
        parse(&wire)
    }

    /// The same bundle over a changed statement, rightly signed by the same key.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Value)) -> Bundle {
        let mut statement = self.statement();
        change(&mut statement);
        self.resigned(&serde_json::to_vec(&statement).unwrap())
    }

    /// As [`changed`](Good::changed), with the root digest made to fit the changed resources.
    pub(crate) fn changed_with_root(&self, change: impl FnOnce(&mut Value)) -> Bundle {
        self.changed(|statement| {
            change(statement);
            fit_root(statement);
        })
    }

    /// Demands that the model verifies with its own bundle.
    pub(crate) fn verifies(&self) -> Report {
        verified(&self.model(), &self.policy(), self.bundles())
    }

    /// Demands that the model as it is now is refused with exactly these codes.
    pub(crate) fn refused(&self, codes: &[Code]) -> Report {
        refused(&self.model(), &self.policy(), self.bundles(), codes)
    }

    /// Demands that the model is refused with this bundle, with exactly this code.
    pub(crate) fn refuses(&self, bundle: Bundle, code: Code) -> Report {
        refused(&self.model(), &self.policy(), &[bundle], &[code])
    }
}

/// A signer with a key of the test's.
pub(crate) fn signer(key: &Key) -> KeySigner {
    KeySigner::from_pem(key.pkcs8_pem().as_bytes(), None).unwrap()
}

/// A policy that trusts this key.
pub(crate) fn trusting(key: &Key) -> Policy {
    Policy::new().accept(Accept::key(key.public_pem()).unwrap())
}

/// One bundle, where several could be given.
pub(crate) fn one(bundle: &Bundle) -> &[Bundle] {
    std::slice::from_ref(bundle)
}

/// A bundle from JSON that must parse.
pub(crate) fn parse(wire: &Value) -> Bundle {
    Bundle::parse(wire.to_string().as_bytes()).unwrap()
}

/// The encoding that DSSE signs, written here once more from its definition.
pub(crate) fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
    [head.as_bytes(), payload].concat()
}

/// An envelope with one signature.
pub(crate) fn envelope(payload: &[u8], signature: &[u8]) -> Value {
    json!({
        "payload": STANDARD.encode(payload),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": STANDARD.encode(signature), "keyid": ""}],
    })
}

/// Makes the root digest that of the resources, in their order.
pub(crate) fn fit_root(statement: &mut Value) {
    use sha2::Digest as _;
    let mut root = sha2::Sha256::new();
    for resource in statement["predicate"]["resources"].as_array().unwrap() {
        root.update(unhex(resource["digest"].as_str().unwrap_or_default()));
    }
    statement["subject"][0]["digest"]["sha256"] = hex(&root.finalize()).into();
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hex.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).filter_map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(bytes))
}

/// Demands a verdict of verified, and gives the report.
#[track_caller]
pub(crate) fn verified(model: &Model, policy: &Policy, bundles: &[Bundle]) -> Report {
    verified_in(model, policy, bundles, &Run::new())
}

/// The same in a run of one's own.
#[track_caller]
pub(crate) fn verified_in(model: &Model, policy: &Policy, bundles: &[Bundle], run: &Run) -> Report {
    let verified =
        model.verify(policy, bundles, run).unwrap_or_else(|failure| panic!("{}", failure.report()));
    let report = verified.into_report();
    assert!(report.is_verified() && report.admitted && report.exit_code() == 0, "{report}");
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.verified, report.counts.signed);
    report
}

/// Demands that a model is refused with exactly these codes, and the verdict and exit code of their classes.
#[track_caller]
pub(crate) fn refused(model: &Model, policy: &Policy, bundles: &[Bundle], codes: &[Code]) -> Report {
    refused_in(model, policy, bundles, codes, &Run::new())
}

/// The same in a run of one's own.
#[track_caller]
pub(crate) fn refused_in(
    model: &Model,
    policy: &Policy,
    bundles: &[Bundle],
    codes: &[Code],
    run: &Run,
) -> Report {
    let report = match model.verify(policy, bundles, run) {
        Ok(verified) => panic!("this should not verify: {}", verified.report()),
        Err(failure) => failure.into_report(),
    };
    assert_eq!(found(&report), BTreeSet::from_iter(codes.iter().copied()), "{report}");
    let classes: BTreeSet<u8> = codes.iter().map(|code| code.class().exit()).collect();
    // Misuse before all, then evidence, then what could not be told.
    let (verdict, exit) = [
        (Class::Misuse, Verdict::Misuse),
        (Class::Rejected, Verdict::Rejected),
        (Class::CouldNotTell, Verdict::CouldNotTell),
    ]
    .into_iter()
    .find(|(class, _)| classes.contains(&class.exit()))
    .map(|(class, verdict)| (verdict, class.exit()))
    .unwrap();
    assert_eq!((report.verdict, report.exit_code()), (verdict, exit), "{report}");
    assert!(!report.is_verified() && !report.admitted);
    report
}

/// The codes of a report's findings.
pub(crate) fn found(report: &Report) -> BTreeSet<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

/// Demands that bytes do not parse as a bundle, read from memory or from a file, with this code of the class rejected.
#[track_caller]
pub(crate) fn unparsable(bytes: &[u8], code: Code) {
    let error = Bundle::parse(bytes).expect_err("this should not parse");
    assert_eq!(error.code(), code, "{error}");
    assert_eq!(error.class().exit(), 1);
    let dir = temporary().unwrap();
    let path = dir.path().join("model.sig");
    fs::write(&path, bytes).unwrap();
    assert_eq!(Bundle::read(&path).unwrap_err().code(), code);
}

/// Does something at one moment of a run.
pub(crate) struct At {
    moment: Moment,
    action: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Between the first listing and the first read.
    Listed,
    /// After the first bytes were read.
    Reading,
    /// Between the last read and the second listing.
    Read,
}

impl At {
    /// A run in which `action` is done at that moment, once.
    pub(crate) fn run(moment: Moment, action: impl FnOnce() + Send + 'static) -> Run {
        Run::new().threads(1).events(Arc::new(At { moment, action: Mutex::new(Some(Box::new(action))) }))
    }

    fn reached(&self, moment: Moment) {
        if moment == self.moment
            && let Some(action) = self.action.lock().unwrap().take()
        {
            action();
        }
    }
}

impl Events for At {
    fn hashing(&self, _: u64, _: u64) {
        self.reached(Moment::Listed);
    }

    fn hashed(&self, _: u64) {
        self.reached(Moment::Reading);
    }

    fn done(&self) {
        self.reached(Moment::Read);
    }
}

impl Drop for At {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.action.lock().unwrap().is_none(), "the run never came to {:?}", self.moment);
        }
    }
}

/// Runs one test of this binary again in a process of its own, behind `before` (a program and its first arguments), and
/// says how it ended. The test there finds [`in_child`] true.
pub(crate) fn again(test: &str, before: &[&str]) -> testkit::Ended {
    // A copy where everybody may run it.
    let dir = temporary().unwrap();
    let exe = dir.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut arguments: Vec<std::ffi::OsString> = before.iter().map(Into::into).collect();
    arguments.push(exe.into());
    let mut command = Command::new(arguments.remove(0));
    command.args(arguments).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env("WEIGHTSEAL_TEST_CHILD", test).current_dir("/");
    testkit::capture(&mut command).unwrap()
}

/// Demands that a test which was run [`again`] ran and passed.
#[track_caller]
pub(crate) fn passed(ended: testkit::Ended) {
    let ended = ended.expect_code(0);
    assert!(ended.out().contains("1 passed"), "{ended}");
}

/// Whether this process runs one test [`again`].
pub(crate) fn in_child(test: &str) -> bool {
    std::env::var_os("WEIGHTSEAL_TEST_CHILD").is_some_and(|name| name == *test)
}

/// Whether a command is there.
pub(crate) fn has_program(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}
