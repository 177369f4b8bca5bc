//! The load set: each case starts from a model that verifies with it, changes one thing, and asserts the code.

use std::{fs, path::Path};

use testkit::{Missing, pki::KeyKind};
use weightseal::{
    Algorithm, Bundle, Code, Hashing, LoadKind, LoadSet, Memory, Model, Policy, PolicyFile, Report, Run,
};

use crate::good::{
    At, Good, Moment, again, found, has_program, in_child, one, passed, refused, refused_in, signer,
    verified, write_files,
};

mod contents;
mod elsewhere;
mod hostile;
mod missing;

/// A safetensors file with these tensors, each of one 32-bit number.
pub(crate) fn safetensors(tensors: &[&str]) -> Vec<u8> {
    let header = tensors.iter().enumerate().map(|(at, name)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, at * 4, at * 4 + 4)
    });
    let header = format!("{{{}}}", header.collect::<Vec<_>>().join(","));
    let data = vec![7; tensors.len() * 4];
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The files of a model with code of its own, whose weights lie in two files.
pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    let index = format!(
        r#"{{"metadata": {{"total_size": 12}}, "weight_map": {{"a": "{FIRST}", "b": "{FIRST}", "c": "{SECOND}"}}}}"#
    );
    let config =
        r#"{"model_type": "x", "auto_map": {"AutoModel": "modeling_x.X"}, "limit": [0.0, Infinity]}"#;
    let tokenizer = r#"{"auto_map": {"AutoTokenizer": [null, "tokenization_x.T"]}}"#;
    vec![
        ("README.md", b"# A model\n".to_vec()),
        ("chat_template.jinja", b"{{ messages }}".to_vec()),
        ("config.json", config.into()),
        (FIRST, safetensors(&["a", "b"])),
        (SECOND, safetensors(&["c"])),
        (INDEX, index.into()),
        ("modeling_x.py", b"class X: pass\n".to_vec()),
        ("tokenization_x.py", b"class T: pass\n".to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
        ("tokenizer_config.json", tokenizer.into()),
    ]
}

/// That model, with one more change before it is signed.
pub(crate) fn signed_with(change: impl FnOnce(&Path)) -> Good {
    signed_as(&Hashing::files(Algorithm::Sha256), change)
}

fn signed_as(hashing: &Hashing, change: impl FnOnce(&Path)) -> Good {
    let write = |folder: &Path| {
        fs::remove_dir_all(folder).unwrap();
        write_files(folder, files().iter().map(|(name, bytes)| (*name, bytes.as_slice())));
        change(folder);
    };
    Good::with(hashing, KeyKind::Ed25519, write, |model| model)
}

/// The same, which is asserted to verify with its load set.
pub(crate) fn good() -> Good {
    let good = signed_with(|_| ());
    let report = verified(&good.model(), &demanding(&good), good.bundles());
    let set = report.load_set.unwrap();
    assert_eq!((set.files, set.base_model), (9, None));
    good
}

pub(crate) fn demanding(good: &Good) -> Policy {
    good.policy().load_set(true)
}

#[test]
fn a_plain_verification_knows_of_no_load_set() {
    let good = signed_with(|folder| {
        fs::write(folder.join("config.json"), r#"{"auto_map": {"AutoModel": "evil/repo--m.M"}}"#).unwrap();
        fs::write(folder.join(FIRST), "no safetensors at all").unwrap();
    });
    let report = good.verifies();
    assert_eq!((report.load_set.as_ref(), report.counts.missing), (None, 0));
    assert!(!report.to_string().contains("load set"), "{report}");
    let report =
        refused(&good.model(), &demanding(&good), good.bundles(), &[Code::RemoteCode, Code::LoadSetInvalid]);
    assert!(report.load_set.is_some());
}

#[test]
fn the_report_says_what_is_loaded() {
    let good = good();
    let report = verified(&good.model(), &demanding(&good), good.bundles());
    let bytes: u64 =
        files().iter().filter(|file| file.0 != "README.md").map(|file| file.1.len() as u64).sum();
    assert_eq!(report.load_set.as_ref().unwrap().bytes, bytes);
    assert!(report.to_string().contains(&format!("load set: 9 files, {bytes} bytes")), "{report}");
}

/// Names that are loaded, and where they may be hidden.
const HIDDEN: [&str; 9] = [
    "hidden/modeling.py",
    "hidden/deep/x.safetensors",
    "hidden/config.json",
    "hidden/MODEL.BIN",
    "hidden/chat_template.jinja",
    "hidden/tokenizer.model.v3",
    "hidden/vocab.txt",
    "hidden/x.gguf",
    "hidden/__pycache__/modeling_x.cpython-312.pyc",
];

#[test]
fn nothing_that_is_loaded_hides_behind_what_is_ignored_or_tolerated() {
    for name in HIDDEN {
        for bytes in [&b"x"[..], b""] {
            let good = good();
            write_files(&good.folder(), [(name, bytes)]);
            let code = [Code::LoadSetUnsigned];
            // By whoever signed.
            let by_signer = good.changed(|statement| {
                statement["predicate"]["serialization"]["ignore_paths"] = serde_json::json!(["hidden"]);
            });
            verified(&good.model(), &good.policy(), one(&by_signer));
            let report = refused(&good.model(), &demanding(&good), one(&by_signer), &code);
            assert_eq!(report.findings[0].name.as_deref(), Some(name));
            assert!(report.findings[0].what.contains("the signature itself ignores it"), "{report}");
            // By whoever verifies.
            let mut model = good.model();
            assert!(model.ignore_path("hidden"));
            verified(&model, &good.policy(), good.bundles());
            let report = refused(&model, &demanding(&good), good.bundles(), &code);
            assert!(report.findings[0].what.contains("a path to ignore"), "{report}");
            let model = good.model().ignore_unsigned_files(true);
            verified(&model, &good.policy(), good.bundles());
            let report = refused(&model, &demanding(&good), good.bundles(), &code);
            assert!(report.findings[0].what.contains("tolerated"), "{report}");
            // Hidden by nothing, it is what it is for every verification.
            refused(&good.model(), &demanding(&good), good.bundles(), &[Code::FileUnsigned]);
        }
    }
}

#[test]
fn nothing_that_is_loaded_hides_where_git_keeps_its_files() {
    for name in [".github/modeling.py", ".git/config.json", ".gitattributes/x.bin", ".gitignore/x.so"] {
        let good = good();
        write_files(&good.folder(), [(name, &b"x"[..])]);
        good.verifies();
        let report = refused(&good.model(), &demanding(&good), good.bundles(), &[Code::LoadSetUnsigned]);
        assert!(report.findings[0].what.contains("what Git keeps is ignored"), "{report}");
    }
    let good = good();
    write_files(
        &good.folder(),
        [(".gitattributes", &b"x"[..]), (".github/workflows/x.md", b"x"), (".git/HEAD", b"x")],
    );
    verified(&good.model(), &demanding(&good), good.bundles());
}

#[test]
fn the_card_of_a_pipeline_is_read() {
    for (pipeline, name) in [(true, "README.md"), (true, "prior/README.md"), (false, "README.md")] {
        let good = signed_with(|folder| {
            fs::remove_file(folder.join("README.md")).unwrap();
            if pipeline {
                fs::write(folder.join("model_index.json"), r#"{"_class_name": "P"}"#).unwrap();
            }
        });
        verified(&good.model(), &demanding(&good), good.bundles());
        write_files(&good.folder(), [(name, &b"---\nprior: [evil/prior]\n---\n"[..])]);
        let model = good.model().ignore_unsigned_files(true);
        if pipeline && name == "README.md" {
            refused(&model, &demanding(&good), good.bundles(), &[Code::LoadSetUnsigned]);
        } else {
            verified(&model, &demanding(&good), good.bundles());
        }
    }
}

#[test]
fn a_link_is_no_card_and_neither_is_what_an_index_names() {
    let good = signed_with(|folder| fs::remove_file(folder.join("README.md")).unwrap());
    std::os::unix::fs::symlink("/", good.path("README.md")).unwrap();
    let model = || good.model().ignore_unsigned_files(true);
    verified(&model(), &good.policy(), good.bundles());
    refused(&model(), &demanding(&good), good.bundles(), &[Code::LoadSetUnsigned]);

    let good = signed_with(|folder| {
        fs::remove_file(folder.join("README.md")).unwrap();
        fs::write(folder.join("x.json"), r#"{"weight_map": {"a": "README.md"}}"#).unwrap();
    });
    fs::write(good.path("README.md"), "x").unwrap();
    let model = good.model().ignore_unsigned_files(true);
    verified(&model, &good.policy(), good.bundles());
    refused(&model, &demanding(&good), good.bundles(), &[Code::LoadSetIncomplete]);
}

#[test]
fn a_link_that_is_passed_over_may_lead_to_anything() {
    for (target, code) in [
        ("../outside", Code::LoadSetUnsigned),
        ("nothing", Code::LoadSetUnsigned),
        ("/", Code::LoadSetUnsigned),
        ("link", Code::LoadSetUnsigned),
    ] {
        let good = good();
        fs::create_dir_all(good.dir.path().join("outside")).unwrap();
        fs::create_dir_all(good.path("hidden")).unwrap();
        std::os::unix::fs::symlink(target, good.path("hidden/link")).unwrap();
        let mut model = good.model();
        assert!(model.ignore_path("hidden"));
        verified(&model, &good.policy(), good.bundles());
        refused(&model, &demanding(&good), good.bundles(), &[code]);
    }
}

#[test]
fn a_file_without_bytes_is_loaded_though_shards_cannot_name_it() {
    let shards = Hashing::shards(Algorithm::Sha256, 64).unwrap();
    for (name, loaded) in [("__init__.py", true), ("generation_config.json", true), ("notes.md", false)] {
        let good = signed_as(&shards, |_| ());
        verified(&good.model(), &demanding(&good), good.bundles());
        write_files(&good.folder(), [(name, &b""[..])]);
        good.verifies();
        if loaded {
            let report = refused(&good.model(), &demanding(&good), good.bundles(), &[Code::LoadSetUnsigned]);
            assert!(report.findings[0].what.contains("shards name no file without bytes"), "{report}");
        } else {
            verified(&good.model(), &demanding(&good), good.bundles());
        }
    }
}

#[test]
fn signatures_in_the_model_are_not_loaded() {
    let good = good();
    for name in ["model.sig", "other.json"] {
        let path = good.path(name);
        good.bundle.write(&path, weightseal::Replace::Anything).unwrap();
    }
    let bundles = ["model.sig", "other.json"].map(|name| Bundle::read(good.path(name)).unwrap());
    verified(&good.model(), &demanding(&good), &bundles);
    // Of one that nobody has given, nobody knows that it is one.
    refused(&good.model(), &demanding(&good), &bundles[..1], &[Code::FileUnsigned]);
    let mut model = good.model();
    assert!(model.ignore_path("other.json"));
    refused(&model, &demanding(&good), &bundles[..1], &[Code::LoadSetUnsigned]);
}

/// A policy file with one rule, which has these lines besides.
pub(crate) fn policy_file(good: &Good, lines: &str) -> Policy {
    let pem: String = good.key.public_pem().lines().map(|line| format!("        {line}\n")).collect();
    let text = format!(
        "apiVersion: weightseal/v1\nkind: Policy\nidentities:\n  a:\n    key:\n      pem: |\n{pem}rules:\n  - models: [m]\n    \
         require: {{of: [a]}}\n    identity: any-model-of-these\n{lines}"
    );
    PolicyFile::parse(text.as_bytes(), ".").unwrap().rule_for("m", &Run::new()).unwrap().into_policy()
}

#[test]
fn what_a_policy_lets_be_unsigned_is_not_loaded() {
    let good = good();
    write_files(&good.folder(), [("extra/notes.md", &b"x"[..])]);
    let model = || good.model().id("m");
    let allow = "    unsigned: {allow: ['extra/**']}\n";
    let demanding = format!("{allow}    load_set: true\n");
    verified(&model(), &policy_file(&good, allow), good.bundles());
    verified(&model(), &policy_file(&good, &demanding), good.bundles());
    write_files(&good.folder(), [("extra/evil.py", &b"x"[..])]);
    verified(&model(), &policy_file(&good, allow), good.bundles());
    let report = refused(&model(), &policy_file(&good, &demanding), good.bundles(), &[Code::LoadSetUnsigned]);
    assert!(report.findings[0].what.contains("the policy lets it be unsigned"), "{report}");
    // The gate demands it whatever the rule says.
    refused(&model(), &policy_file(&good, allow).load_set(true), good.bundles(), &[Code::LoadSetUnsigned]);
}

#[test]
fn a_folder_that_is_the_systems_own_can_be_let_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    const TEST: &str = "load_set::a_folder_that_is_the_systems_own_can_be_let_alone";
    if !in_child(TEST) && rustix::process::geteuid().is_root() {
        // Root reads everything.
        if !has_program("setpriv") {
            return testkit::skip_or_fail(Missing::new("setpriv", "a user who is not root is needed"));
        }
        return passed(again(TEST, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]));
    }
    let good = good();
    let model = || good.model().id("m");
    let lost = good.path("lost+found");
    fs::create_dir(&lost).unwrap();
    let set = |mode| fs::set_permissions(&lost, fs::Permissions::from_mode(mode)).unwrap();
    set(0o000);
    for (lines, passes) in [
        ("", false),
        ("    unsigned: {allow: ['**']}\n", false),
        ("    unsigned: {allow: ['lost+found/**']}\n", false),
        ("    unsigned: {allow: ['lost+found']}\n", true),
        ("    load_set: true\n    unsigned: {allow: ['lost+found']}\n", true),
    ] {
        let policy = policy_file(&good, lines);
        if passes {
            verified(&model(), &policy, good.bundles());
        } else {
            refused(&model(), &policy, good.bundles(), &[Code::PermissionDenied]);
        }
    }
    // Ignored, it may hold what is loaded.
    let mut ignoring = good.model();
    assert!(ignoring.ignore_path("lost+found"));
    verified(&ignoring, &good.policy(), good.bundles());
    refused(&ignoring, &demanding(&good), good.bundles(), &[Code::PermissionDenied]);
    set(0o700);
}

#[test]
fn what_is_swapped_after_it_was_parsed_is_caught() {
    for name in ["config.json", INDEX, FIRST] {
        for moment in [Moment::Listed, Moment::Reading, Moment::Read] {
            let good = good();
            let path = good.path(name);
            let run = At::run(moment, move || {
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, bytes).unwrap();
            });
            refused_in(&good.model(), &demanding(&good), good.bundles(), &[Code::ChangedWhileRead], &run);
        }
    }
    // What comes hidden and late is seen as well.
    let good = good();
    fs::create_dir_all(good.path(".github")).unwrap();
    let path = good.path(".github/evil.py");
    let run = At::run(Moment::Read, move || fs::write(path, "x").unwrap());
    refused_in(&good.model(), &demanding(&good), good.bundles(), &[Code::ChangedWhileRead], &run);
}

/// The load set of files in memory.
pub(crate) fn set_of<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> LoadSet {
    let memory = files.into_iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(name, bytes));
    Model::from_source(memory).load_set(&Run::new()).unwrap()
}

#[test]
fn the_load_set_is_told_without_a_signature() {
    let mut set = set_of(files());
    assert_eq!(set.findings, []);
    let kinds: Vec<(&str, LoadKind)> = set.files.iter().map(|file| (file.name.as_str(), file.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("chat_template.jinja", LoadKind::Template),
            ("config.json", LoadKind::Configuration),
            (FIRST, LoadKind::Weights),
            (SECOND, LoadKind::Weights),
            (INDEX, LoadKind::Weights),
            ("modeling_x.py", LoadKind::Code),
            ("tokenization_x.py", LoadKind::Code),
            ("tokenizer.json", LoadKind::Tokenizer),
            ("tokenizer_config.json", LoadKind::Tokenizer),
        ]
    );
    assert!(set.files.iter().all(|file| file.signed.is_none()));
    let good = signed_with(|folder| fs::remove_file(folder.join("modeling_x.py")).unwrap());
    set.mark_signed(good.bundle.unverified_statement().unwrap().manifest());
    let unsigned: Vec<&str> =
        set.files.iter().filter(|file| file.signed == Some(false)).map(|file| file.name.as_str()).collect();
    assert_eq!(unsigned, ["modeling_x.py"]);
}

#[test]
fn a_single_file_is_its_own_load_set() {
    let dir = testkit::temporary().unwrap();
    let path = dir.path().join("m.safetensors");
    fs::write(&path, safetensors(&["a"])).unwrap();
    let key = testkit::pki::Key::new(KeyKind::Ed25519, 1);
    let model = Model::open(&path).unwrap();
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&key), &Run::new()).unwrap();
    let policy = crate::good::trusting(&key).load_set(true);
    assert_eq!(verified(&model, &policy, one(&bundle)).load_set.unwrap().files, 1);
    let mut set = model.load_set(&Run::new()).unwrap();
    set.mark_signed(bundle.unverified_statement().unwrap().manifest());
    assert_eq!(set.files[0].signed, Some(true));
}

/// The codes with which a model is refused that was signed with a change, as it is.
pub(crate) fn refused_as_signed(change: impl FnOnce(&Path), codes: &[Code]) -> Report {
    let good = signed_with(change);
    let report = refused(&good.model(), &demanding(&good), good.bundles(), codes);
    let set = good.model().load_set(&Run::new()).unwrap();
    let said: std::collections::BTreeSet<Code> = set.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(said, found(&report), "the command says the same");
    report
}

#[test]
fn a_name_through_a_link_is_signed_as_that_name() {
    // As implementations sign that follow links to files alone: the folder's files, and no name through the link.
    let hashing = Hashing::files(Algorithm::Sha256);
    let files =
        |folder: &Path| write_files(folder, [("templates/x.jinja", &b"{{ x }}"[..]), ("notes/a.md", b"x")]);
    let write = |folder: &Path| {
        fs::remove_file(folder.join("model.safetensors")).unwrap();
        files(folder);
    };
    let good = Good::with(&hashing, KeyKind::Ed25519, write, |model| model.allow_symlinks(true));
    let model = || good.model().allow_symlinks(true);
    std::os::unix::fs::symlink("notes", good.path("alias")).unwrap();
    verified(&model(), &demanding(&good), good.bundles());
    std::os::unix::fs::symlink("templates", good.path("additional_chat_templates")).unwrap();
    verified(&model(), &good.policy(), good.bundles());
    let report = refused(&model(), &demanding(&good), good.bundles(), &[Code::LoadSetUnsigned]);
    assert_eq!(report.findings[0].name.as_deref(), Some("additional_chat_templates/x.jinja"));
}

#[test]
fn a_pull_checks_the_load_set_of_what_comes_and_of_what_is_there() {
    use weightseal::Pull;
    let good = good();
    let pull = |good: &Good, policy: &Policy, pull: Pull| {
        let done = good.model().pull(policy, good.bundles(), &pull, &Run::new());
        done.map(|verified| verified.into_report()).map_err(|failure| found(failure.report()))
    };
    let dest = good.dir.path().join("dest");
    let report = pull(&good, &demanding(&good), Pull::new(&dest)).unwrap();
    assert_eq!(report.load_set.unwrap().files, 9);
    // What hides in the folder that is pulled into.
    let repair = || Pull::new(&dest).repair(true).in_place(true);
    assert!(pull(&good, &demanding(&good), repair()).is_ok());
    write_files(&dest, [(".github/evil.py", &b"x"[..])]);
    assert!(pull(&good, &good.policy(), repair()).is_ok());
    assert_eq!(pull(&good, &demanding(&good), repair()), Err([Code::LoadSetUnsigned].into()));
    fs::remove_file(dest.join(".github/evil.py")).unwrap();
    // Damage is repaired, and is no finding.
    for name in ["config.json", FIRST, INDEX] {
        fs::write(dest.join(name), "{}").unwrap();
        assert!(pull(&good, &demanding(&good), repair()).is_ok(), "{name}");
        assert_eq!(fs::read(dest.join(name)).unwrap(), fs::read(good.path(name)).unwrap());
    }
    // What a pull leaves out could stand there already, so that nothing may be missing.
    let may = good.policy().may_be_missing("**").unwrap();
    assert!(pull(&good, &may, repair()).is_ok());
    fs::remove_file(good.path("README.md")).unwrap();
    verified_without_one(&good, &may);
    assert_eq!(pull(&good, &may, repair()), Err([Code::FileMissing].into()));

    let remote = signed_with(|folder| {
        fs::write(folder.join("config.json"), r#"{"auto_map": {"AutoModel": "evil/repo--m.M"}}"#).unwrap();
    });
    let dest = remote.dir.path().join("dest");
    assert_eq!(pull(&remote, &demanding(&remote), Pull::new(&dest)), Err([Code::RemoteCode].into()));
    assert!(!dest.exists());
    assert!(pull(&remote, &remote.policy(), Pull::new(&dest)).is_ok());
}

fn verified_without_one(good: &Good, policy: &Policy) {
    let report = good.model().verify(policy, good.bundles(), &Run::new()).unwrap().into_report();
    assert_eq!((report.counts.missing, report.is_verified()), (1, true));
}
