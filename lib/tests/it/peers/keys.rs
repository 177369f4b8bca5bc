//! Signing method key: each curve, each form of the private key, models of one file.

use std::fs;

use testkit::pki::{Key, KeyKind};
use weightseal::{Accept, Algorithm, Code, Hashing, KeySigner, Model, Passphrase, Replace, Run};

use super::{Case, Python, Signed, codes, rich};

const CURVES: [KeyKind; 3] = [KeyKind::P256, KeyKind::P384, KeyKind::P521];

/// A private key in one of its forms.
type Form = fn(&Key) -> String;
const FORMS: [Form; 2] = [Key::pkcs8_pem, Key::sec1_pem];

#[test]
fn each_curve_and_each_form_of_the_private_key_goes_both_ways() {
    let Some(python) = Python::latest() else { return };
    for kind in CURVES {
        let case = Case::empty(kind);
        rich(&case.model());
        for form in FORMS {
            let signer = KeySigner::from_pem(form(&case.key).as_bytes(), None).expect("a key");
            let hashing = Hashing::files(Algorithm::Sha256);
            let bundle = case.open().sign(&hashing, &signer, &Run::new()).expect("signed");
            bundle.write(case.path("model.sig"), Replace::Signature).expect("written");
            case.expect_verified(&python);

            case.write("signer.key", form(&case.key));
            case.peer_signs(&python, &[]).expect_accepted();
            case.expect_verified(&python);
        }
    }
}

/// The peer's own `--password` fails for every key, its Python interface takes bytes.
#[test]
fn a_passphrase_opens_the_same_key_for_both() {
    const SIGN: &str = "
from model_signing import signing
key = {'private_key': 'signer.key', 'password': args[0].encode()}
signing.Config().use_elliptic_key_signer(**key).sign('model', 'model.sig')
print('Signing succeeded')
";
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    let encrypted = case.key.encrypted_pkcs8_pem("seal me");
    case.write("signer.key", &encrypted);
    python.run(SIGN, case.dir(), &["seal me"]).expect_accepted();
    case.expect_verified(&python);
    assert!(!python.run(SIGN, case.dir(), &["wrong"]).accepted());

    let open = |words: &str| KeySigner::from_pem(encrypted.as_bytes(), Some(Passphrase::new(words)));
    assert_eq!(open("wrong").expect_err("refused").code(), Code::PassphraseWrong);
    let signer = open("seal me").expect("a key");
    let bundle = case.open().sign(&Hashing::files(Algorithm::Sha256), &signer, &Run::new()).expect("signed");
    bundle.write(case.path("model.sig"), Replace::Signature).expect("written");
    case.expect_verified(&python);
}

/// Both write the same resources, each in its own order: the peer by the parts of the path, we by code points.
#[test]
fn the_order_of_the_files_may_be_either_ones() {
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    let names = |signed| {
        case.sign(signed, &python);
        case.expect_verified(&python);
        let statement = case.statement();
        let resources = statement["predicate"]["resources"].as_array().expect("resources").clone();
        let digest = statement["subject"][0]["digest"]["sha256"].clone();
        let names: Vec<String> =
            resources.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect();
        (names, digest)
    };
    let (ours, our_root) = names(Signed::ByUs);
    let (theirs, their_root) = names(Signed::ByPeer);
    let place = |names: &[String], name: &str| names.iter().position(|one| one == name).expect("it is there");
    let order = |names: &[String]| {
        let mut all = ["deploy/x", "deploy-a", "deploy.md"];
        all.sort_by_key(|name| place(names, name));
        all
    };
    assert_eq!(order(&ours), ["deploy-a", "deploy.md", "deploy/x"]);
    assert_eq!(order(&theirs), ["deploy/x", "deploy-a", "deploy.md"]);
    assert_ne!(our_root, their_root);
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert!(ours.is_sorted());
    assert_eq!(sorted(ours), sorted(theirs));
}

#[test]
fn a_signed_name_and_version_do_not_disturb_the_peer() {
    let Some(python) = Python::latest() else { return };
    let case = Case::new();
    let model = case.open().release(Some("acme/llama-3".to_owned()), Some("1.2".to_owned()));
    case.sign_ours(&model, &Hashing::files(Algorithm::Sha256));
    assert_eq!(case.statement()["subject"][0]["annotations"]["version"], "1.2");
    case.expect_verified(&python);
}

/// The peer calls the only file `.` and accepts no other name; we write its name, as the specification has it, and accept
/// both.
#[test]
fn the_file_of_a_single_file_model_is_named_differently() {
    let Some(python) = Python::latest() else { return };
    let case = Case::empty(KeyKind::P384);
    case.write("weights.bin", "weights");
    let file = Model::open(case.path("weights.bin")).expect("a model");
    let accept = || Accept::key(case.key.public_pem()).expect("a key");
    let peer = |verb: &str, key: [&str; 2]| {
        let args = [verb, "key", "weights.bin", "--signature", "weights.bin.sig", key[0], key[1]];
        python.cli(case.dir(), &args)
    };
    let signature = case.path("weights.bin.sig");

    peer("sign", ["--private_key", "signer.key"]).expect_accepted();
    assert_eq!(codes(&file, &signature, accept()), []);
    peer("verify", ["--public_key", "signer.pub"]).expect_accepted();
    let theirs = fs::read(&signature).expect("readable");

    case.sign_ours(&file, &Hashing::files(Algorithm::Sha256));
    fs::rename(case.path("model.sig"), &signature).expect("moved");
    assert_eq!(codes(&file, &signature, accept()), []);
    peer("verify", ["--public_key", "signer.pub"]).expect_refused();

    // A folder is not the file that `.` stands for, whatever lies in it.
    fs::write(&signature, theirs).expect("written");
    case.write("model/weights.bin", "weights");
    assert_eq!(codes(&case.open(), &signature, accept()), [Code::FileMissing, Code::FileUnsigned]);

    case.write("weights.bin", "Weights");
    let file = Model::open(case.path("weights.bin")).expect("a model");
    assert_eq!(codes(&file, &signature, accept()), [Code::FileChanged]);
    peer("verify", ["--public_key", "signer.pub"]).expect_refused();
}
