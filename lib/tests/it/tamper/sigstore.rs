//! Sigstore bundles of an instance of our own: what verifies, and one thing changed about it at a time.

use serde_json::Value;
use testkit::forge::{EMAIL, Forge, ISSUER, Signing, decode, encode};
use weightseal::{
    Algorithm, Bundle, Code, Hashing, Memory, Model, NotProven, Proof, RootOrigin, Run, SigstoreIdentity,
    SigstoreVerifier, TrustedRoot, Verifier,
};

use crate::good::signer;

mod certificates;
mod checkpoints;
mod entries;
mod fields;
mod flips;
mod identities;
mod kinds;
mod methods;
mod models;
mod roots;
mod timestamps;

/// A bundle that verifies, and the trusted root that it verifies with.
struct Case {
    root: Value,
    wire: Value,
}

impl Case {
    /// The bundle that is signed so; it is asserted to verify.
    #[track_caller]
    fn new(forge: &Forge, signing: &Signing) -> Case {
        let case = Case { root: forge.root(), wire: signing.bundle(&payload()) };
        proves(&case.root, &case.wire);
        case
    }

    /// A bundle with an entry of Rekor v1, which says when.
    #[track_caller]
    fn v1() -> Case {
        let forge = Forge::new();
        Case::new(&forge, &forge.v1())
    }

    /// A bundle with an entry of Rekor v2 and a timestamp.
    #[track_caller]
    fn v2() -> Case {
        let forge = Forge::new();
        Case::new(&forge, &forge.v2())
    }

    /// Demands that the bundle is refused with this code once it is changed.
    #[track_caller]
    fn refuses(&self, code: Code, change: impl FnOnce(&mut Value)) {
        let mut wire = self.wire.clone();
        change(&mut wire);
        assert_ne!(wire, self.wire, "nothing was changed");
        refused(&self.root, &wire, code);
    }

    /// The same with a change of its first log entry.
    #[track_caller]
    fn refuses_entry(&self, code: Code, change: impl FnOnce(&mut Value)) {
        self.refuses(code, |wire| change(entry(wire)));
    }

    /// Demands that the bundle is refused with this code under a changed root.
    #[track_caller]
    fn refuses_root(&self, code: Code, change: impl FnOnce(&mut Value)) {
        let mut root = self.root.clone();
        change(&mut root);
        assert_ne!(root, self.root, "nothing was changed");
        refused(&root, &self.wire, code);
    }
}

/// The statement about a small model.
fn payload() -> Vec<u8> {
    statement("weights")
}

/// The statement about a model with this content.
fn statement(content: &str) -> Vec<u8> {
    let model = Model::from_source(Memory::new("m").with("a.bin", content));
    let key = testkit::pki::Key::new(testkit::pki::KeyKind::Ed25519, 1);
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer(&key), &Run::new()).unwrap();
    bundle.unverified_statement().unwrap().payload().to_vec()
}

/// The root, read.
#[track_caller]
fn trusted(root: &Value) -> TrustedRoot {
    TrustedRoot::parse(root.to_string().as_bytes(), RootOrigin::given("root")).unwrap()
}

/// Who signs unless told otherwise.
fn signed_by_dev() -> SigstoreIdentity {
    SigstoreIdentity::new(EMAIL, ISSUER)
}

/// What becomes of a bundle: proof or the code of what is wrong with it, also where it does not parse.
fn verify(root: &TrustedRoot, wire: &Value, identity: SigstoreIdentity) -> Result<Proof, (Code, String)> {
    let bundle =
        Bundle::parse(wire.to_string().as_bytes()).map_err(|error| (error.code(), error.to_string()))?;
    SigstoreVerifier::new(root.clone(), identity)
        .verify(&bundle, &Run::new())
        .map_err(|(NotProven::NotMine(finding) | NotProven::Refused(finding))| (finding.code, finding.what))
}

/// Demands that the bundle verifies, of the signer that all have.
#[track_caller]
fn proves(root: &Value, wire: &Value) -> Proof {
    proves_of(root, wire, signed_by_dev())
}

/// Demands that the bundle verifies, of this signer.
#[track_caller]
fn proves_of(root: &Value, wire: &Value, identity: SigstoreIdentity) -> Proof {
    match verify(&trusted(root), wire, identity) {
        Ok(proof) => proof,
        Err((code, what)) => panic!("this should verify: {code}: {what}"),
    }
}

/// Demands that the bundle is refused with this code.
#[track_caller]
fn refused(root: &Value, wire: &Value, code: Code) {
    refused_of(root, wire, signed_by_dev(), code);
}

/// Demands that the bundle is refused with this code when it has to be of this signer.
#[track_caller]
fn refused_of(root: &Value, wire: &Value, identity: SigstoreIdentity, code: Code) {
    match verify(&trusted(root), wire, identity) {
        Ok(_) => panic!("this should not verify, but be refused as {code}"),
        Err((found, what)) => assert_eq!(found, code, "{what}"),
    }
}

/// The first log entry of a bundle.
fn entry(wire: &mut Value) -> &mut Value {
    &mut wire["verificationMaterial"]["tlogEntries"][0]
}

/// The list of log entries of a bundle.
fn entries(wire: &mut Value) -> &mut Vec<Value> {
    wire["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap()
}

/// The list of timestamps of a bundle.
fn stamps(wire: &mut Value) -> &mut Vec<Value> {
    wire["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"].as_array_mut().unwrap()
}

/// The checkpoint of the first log entry.
fn checkpoint(entry: &mut Value) -> &mut Value {
    &mut entry["inclusionProof"]["checkpoint"]["envelope"]
}

/// Flips the last bit of bytes in base64.
fn flip(field: &mut Value) {
    let mut bytes = decode(field.as_str().unwrap());
    *bytes.last_mut().unwrap() ^= 1;
    *field = encode(&bytes).into();
}
