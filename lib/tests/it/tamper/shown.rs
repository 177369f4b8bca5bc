//! Hostile names: of files, models, certificates and releases, in text and in JSON.

use std::fs;

use testkit::{
    pki::{Key, KeyKind, Pki, email, sign_pae},
    temporary,
};
use weightseal::{Accept, Algorithm, Code, Hashing, Model, Policy, Report, Run, json};

use crate::good::{Good, envelope, pae, parse, refused, signer, verified};

/// Names that would leave their line, start a command, colour a terminal or turn text around.
const HOSTILE: [&str; 14] = [
    "new\nline",
    "\n::error::broken",
    "car\rriage",
    "esc\u{1b}[2J\u{1b}[31mred",
    "::error file=x::broken",
    "a::set-output name=x::y",
    "percent%0A::warning::x",
    "%0D%0A",
    "right\u{202e}fdp.exe",
    "isolate\u{2066}\u{2069}",
    "zero\u{200b}width\u{feff}",
    "quo\"te'`back\\slash",
    "\u{7f}\u{85}\u{9b}31m",
    "line\u{2028}paragraph\u{2029}",
];

/// Demands that a report cannot do what its names try, in either form, and that its JSON keeps them whole.
fn harmless(report: &Report, lines: usize) {
    let text = report.to_string();
    assert_eq!(text.lines().count(), lines, "{text}");
    assert!(!text.contains("::") && !text.contains('%'), "{text}");
    for c in text.chars().filter(|c| *c != '\n') {
        let marks = ['\u{202e}', '\u{2066}', '\u{2069}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{2029}'];
        assert!(!c.is_control() && !marks.contains(&c), "{c:?} in {text}");
    }
    for pretty in [false, true] {
        let written = json(report, pretty);
        assert!(written.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{written}");
        assert_eq!(written.trim_end().lines().count() == 1, !pretty);
        serde_json::from_str::<serde_json::Value>(&written).unwrap();
    }
}

#[test]
fn of_files() {
    for name in HOSTILE {
        for shards in [None, Some(3)] {
            let hashing = match shards {
                None => Hashing::files(Algorithm::Sha256),
                Some(size) => Hashing::shards(Algorithm::Sha256, size).unwrap(),
            };
            let good = Good::with(
                &hashing,
                KeyKind::Ed25519,
                |folder| fs::write(folder.join(name), "abc").unwrap(),
                |model| model,
            );
            let plain = Good::new();
            let usual = |code: Code| {
                fs::write(plain.path("plain"), "abc").unwrap();
                plain.refused(&[code]).to_string().lines().count()
            };
            let unsigned = usual(Code::FileUnsigned);
            // Changed, missing, unsigned: the finding has the name as it is, what it says has it escaped.
            fs::write(good.path(name), "abd").unwrap();
            let report = good.refused(&[Code::FileChanged]);
            harmless(&report, report.to_string().lines().count());
            let value: serde_json::Value = serde_json::from_str(&json(&report, false)).unwrap();
            assert_eq!(value["findings"][0]["name"], name);
            fs::remove_file(good.path(name)).unwrap();
            let report = good.refused(&[Code::FileMissing]);
            harmless(&report, unsigned);
            let plain = Good::new();
            fs::write(plain.path(name), "abc").unwrap();
            let report = plain.refused(&[Code::FileUnsigned]);
            harmless(&report, unsigned);
            assert_eq!(report.findings[0].name.as_deref(), Some(name));
        }
    }
}

#[test]
fn of_models_releases_and_bundles() {
    for name in HOSTILE {
        let dir = temporary().unwrap();
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a"), "abc").unwrap();
        let key = Key::new(KeyKind::Ed25519, 1);
        let model = || Model::open(&folder).unwrap().id(name).release(Some(name.into()), Some(name.into()));
        let bundle = model().sign(&Hashing::files(Algorithm::Sha256), &signer(&key), &Run::new()).unwrap();
        let path = folder.join(format!("{name}.sig"));
        bundle.write(&path, weightseal::Replace::Nothing).unwrap();
        let bundles = [weightseal::Bundle::read(&path).unwrap()];
        let policy = crate::good::trusting(&key).name(name).version(name).model(name);
        let report = verified(&model(), &policy, &bundles);
        harmless(&report, report.to_string().lines().count());
        assert_eq!(report.to_string().lines().count(), bound_lines());
        let value: serde_json::Value = serde_json::from_str(&json(&report, false)).unwrap();
        assert_eq!(value["signatures"][0]["name"], name);
        assert_eq!(value["model_id"], name);
        // Refused by each rule, with both names in the report.
        for (policy, code) in [
            (crate::good::trusting(&key).name("other"), Code::NameNotExpected),
            (crate::good::trusting(&key).version("other"), Code::VersionNotExpected),
            (crate::good::trusting(&key).model("other"), Code::ModelNotExpected),
        ] {
            let report = refused(&model(), &policy, &bundles, &[code]);
            harmless(&report, report.to_string().lines().count());
        }
    }
}

/// How many lines the report on a harmless model with name, version and bundle has.
fn bound_lines() -> usize {
    let dir = temporary().unwrap();
    fs::write(dir.path().join("a"), "abc").unwrap();
    let key = Key::new(KeyKind::Ed25519, 1);
    let model = || Model::open(dir.path()).unwrap().id("x").release(Some("x".into()), Some("x".into()));
    let bundle = model().sign(&Hashing::files(Algorithm::Sha256), &signer(&key), &Run::new()).unwrap();
    let path = dir.path().join("x.sig");
    bundle.write(&path, weightseal::Replace::Nothing).unwrap();
    let policy = crate::good::trusting(&key).name("x").version("x").model("x");
    let bundles = [weightseal::Bundle::read(&path).unwrap()];
    verified(&model(), &policy, &bundles).to_string().lines().count()
}

#[test]
fn of_certificates() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let good = Good::new();
    for name in ["new\\0Aline", "\\1B[31m", "::error::x", "%0A", "right\u{202e}left", "quo\\\"te"] {
        let root = Pki::root(KeyKind::P256).subject(&format!("CN=root {name}")).self_signed();
        let leaf = Pki::leaf(KeyKind::P256)
            .subject(&format!("CN=leaf {name}"))
            .names(&[email("a\n::error::\u{1b}%0A\"@example.com")])
            .issue(&root);
        let payload = good.payload();
        let mut wire = good.wire();
        wire["verificationMaterial"] = serde_json::json!({
            "x509CertificateChain": {"certificates": [{"rawBytes": STANDARD.encode(leaf.der())}]},
        });
        wire["dsseEnvelope"] = envelope(&payload, &sign_pae(leaf.key(), &pae(&payload)));
        let policy = Policy::new().accept(Accept::certificate(root.pem()).unwrap());
        let report = verified(&good.model(), &policy, &[parse(&wire)]);
        harmless(&report, report.to_string().lines().count());
        let other = Pki::root(KeyKind::P256).seed(9).self_signed();
        let policy = Policy::new().accept(Accept::certificate(other.pem()).unwrap());
        let report = refused(&good.model(), &policy, &[parse(&wire)], &[Code::CertificateAnchorUnknown]);
        harmless(&report, report.to_string().lines().count());
    }
}

#[test]
fn of_fields_in_statements_and_bundles() {
    let good = Good::new();
    for name in HOSTILE {
        let mut wire = good.wire();
        wire["mediaType"] = name.into();
        harmless_error(&weightseal::Bundle::parse(wire.to_string().as_bytes()).unwrap_err());
        let mut wire = good.wire();
        wire[name] = 1.into();
        harmless_error(&weightseal::Bundle::parse(wire.to_string().as_bytes()).unwrap_err());
        let twice =
            good.wire().to_string().replacen('{', &format!("{{{0}:1,{0}:2,", serde_json::json!(name)), 1);
        let error = weightseal::Bundle::parse(twice.as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::JsonDuplicateKey);
        harmless_error(&error);
        for (pointer, code) in [
            ("/_type", Code::StatementTypeUnsupported),
            ("/predicateType", Code::PredicateTypeUnsupported),
            ("/predicate/serialization/hash_type", Code::AlgorithmUnsupported),
            ("/predicate/serialization/method", Code::AlgorithmUnsupported),
            ("/predicate/resources/0/algorithm", Code::AlgorithmMismatch),
            ("/predicate/resources/0/digest", Code::DigestMalformed),
        ] {
            let bundle = good.changed(|s| *s.pointer_mut(pointer).unwrap() = name.into());
            let report = good.refuses(bundle, code);
            harmless(&report, report.to_string().lines().count());
        }
        let bundle = good.changed(|s| s["predicate"]["resources"][0]["name"] = format!("/{name}").into());
        let report = good.refuses(bundle, Code::NameInvalid);
        harmless(&report, report.to_string().lines().count());
    }
}

fn harmless_error(error: &weightseal::Error) {
    let text = format!("{error} {}", error.help());
    assert!(text.chars().all(|c| !c.is_control()) && !text.contains("::") && !text.contains('%'), "{text}");
}
