//! Signing method certificate: chains of every shape, and chains with something wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use testkit::peers::{Answer, Job};
use testkit::pki::{self, Defect, KeyKind, Pki, Shape};
use weightseal::Code::{
    self, CertificateAnchorUnknown, CertificateExpired, CertificateNotYetValid, FileChanged, SignatureInvalid,
};
use weightseal::{
    Accept, Algorithm, CertificateSigner, CertificateVerifier, Hashing, KeySigner, PrivateKey, Replace, Run,
};

use super::{Case, Python, Signed, codes, rich};

/// Puts a certificate's key pair and chain beside the model.
pub(super) fn lay_out(case: &Case, chain: &pki::Case) {
    case.write("leaf.key", chain.key().pkcs8_pem());
    case.write("leaf.crt", chain.leaf_pem());
    case.write("chain.crt", chain.intermediates_pem());
    case.write("anchors.crt", chain.anchors_pem());
    case.write("other.crt", Pki::root(KeyKind::P256).seed(77).subject("CN=Other Root").self_signed().pem());
}

pub(super) fn sign(case: &Case, chain: &pki::Case, signed: Signed, python: &Python) {
    match signed {
        Signed::ByUs => {
            let key = PrivateKey::from_pem(chain.key().pkcs8_pem().as_bytes(), || Ok(None)).expect("a key");
            let leaf = chain.leaf_pem();
            let signer = CertificateSigner::new(key, leaf.as_bytes(), chain.intermediates_pem().as_bytes())
                .expect("a signer");
            let hashing = Hashing::files(Algorithm::Sha256);
            let bundle = case.open().sign(&hashing, &signer, &Run::new()).expect("signed");
            bundle.write(case.path("model.sig"), Replace::Signature).expect("written");
        }
        Signed::ByPeer => peer_signs(case, python).expect_accepted(),
    }
}

/// A release signs with what was laid out.
pub(super) fn peer_signs(case: &Case, python: &Python) -> Answer {
    // The first one has no command line.
    if python.peer.version() == "0.2.0" {
        let job = Job::new(case.model(), case.path("model.sig"));
        let (key, leaf, chain) = (case.path("leaf.key"), case.path("leaf.crt"), case.path("chain.crt"));
        return python.peer.sign_certificate(&job, &key, &leaf, &[&chain]).expect("it runs");
    }
    let mut args = vec!["sign", "certificate", "model", "--signature", "model.sig"];
    args.extend(["--private_key", "leaf.key", "--signing_certificate", "leaf.crt"]);
    args.extend(["--certificate_chain", "chain.crt"]);
    python.cli(case.dir(), &args)
}

pub(super) fn found(case: &Case, anchors: &str) -> Vec<Code> {
    let pem = std::fs::read(case.path(anchors)).expect("readable");
    codes(&case.open(), &case.path("model.sig"), Accept::certificate(pem).expect("certificates"))
}

pub(super) fn peer(case: &Case, anchors: &str, python: &Python) -> Answer {
    let args = ["verify", "certificate", "model", "--signature", "model.sig", "--certificate_chain", anchors];
    python.cli(case.dir(), &args)
}

pub(super) fn new(kind: KeyKind) -> Case {
    let case = Case::empty(kind);
    rich(&case.model());
    case
}

#[test]
fn certificates_of_each_curve_under_rsa_and_ec_authorities_go_both_ways() {
    let Some(python) = Python::latest() else { return };
    for (shape, kind) in [
        (Shape::RsaAuthorities, KeyKind::P256),
        (Shape::RsaAuthorities, KeyKind::P384),
        (Shape::Plain, KeyKind::P256),
        (Shape::Plain, KeyKind::P521),
        (Shape::P384Authorities, KeyKind::P384),
    ] {
        for signed in Signed::EACH {
            let chain = shape.case(kind);
            let case = new(kind);
            lay_out(&case, &chain);
            sign(&case, &chain, signed, &python);
            let expect = |anchors: &str, codes: &[Code]| {
                assert_eq!(found(&case, anchors), codes, "{shape:?} {kind:?} signed {signed:?}");
                let answer = peer(&case, anchors, &python);
                assert_eq!(answer.accepted(), codes.is_empty(), "{}", answer.ended);
                assert_eq!(answer.refused(), !codes.is_empty(), "{}", answer.ended);
            };
            expect("anchors.crt", &[]);
            expect("other.crt", &[CertificateAnchorUnknown]);
            // A key bundle's verifier has nothing to do with it, for both.
            assert_eq!(case.found(), [Code::MethodNotAccepted]);
            case.peer_verifies(&python, &[]).expect_refused();

            case.write("model/config.json", "{}");
            expect("anchors.crt", &[FileChanged]);
            rich(&case.model());
            expect("anchors.crt", &[]);
            case.edit(|bundle| bundle["dsseEnvelope"]["payload"] = "e30=".into());
            expect("anchors.crt", &[SignatureInvalid]);
        }
    }
}

/// All of them verify here. The peer wants a self-signed certificate as the anchor.
#[test]
fn chains_of_every_shape_are_verified_by_both_save_without_a_root() {
    let Some(python) = Python::latest() else { return };
    for shape in Shape::ALL {
        let chain = shape.case(KeyKind::P256);
        let case = new(KeyKind::P256);
        lay_out(&case, &chain);
        sign(&case, &chain, Signed::ByUs, &python);
        assert_eq!(found(&case, "anchors.crt"), [], "{shape:?}");
        let rooted = !matches!(shape, Shape::IntermediateTrusted | Shape::LeafTrusted);
        let answer = peer(&case, "anchors.crt", &python);
        assert_eq!(answer.accepted(), rooted, "{shape:?}: {}", answer.ended);
        assert_eq!(answer.refused(), !rooted, "{shape:?}: {}", answer.ended);
        assert_eq!(found(&case, "other.crt"), [CertificateAnchorUnknown], "{shape:?}");
        peer(&case, "other.crt", &python).expect_refused();
    }
}

/// What is wrong with a chain is refused here. The peer looks at the moment in which the leaf began to be valid, takes
/// certificates in any order and number, and knows no weak ones.
#[test]
fn chains_with_a_defect_are_refused_by_us_and_most_of_them_by_the_peer() {
    let Some(python) = Python::latest() else { return };
    for defect in Defect::ALL {
        let (code, peer_verifies) = match defect {
            Defect::Expired | Defect::IntermediateExpired | Defect::RootExpired => (CertificateExpired, true),
            Defect::NotYetValid => (CertificateNotYetValid, true),
            Defect::OutOfOrder => (Code::CertificateChainBroken, true),
            Defect::TooLong => (Code::CertificateChainTooLong, true),
            Defect::Sha1 | Defect::Rsa1024 => (Code::CertificateWeak, true),
            Defect::WrongUsage | Defect::NoUsage => (Code::CertificateUsage, false),
            Defect::OtherRoot | Defect::OtherRootSameName | Defect::Cut => (CertificateAnchorUnknown, false),
            Defect::NotACa | Defect::NoBasicConstraints => (Code::CertificateNotACa, false),
            Defect::NoCertSign => (Code::CertificateKeyUsage, false),
            Defect::PathLength => (Code::CertificatePathLength, false),
            Defect::NamePermitted | Defect::NameExcluded => (Code::CertificateNameConstraint, false),
            Defect::CriticalExtension => (Code::CertificateCriticalExtension, false),
            Defect::Changed | Defect::CrossSigned => (Code::CertificateSignature, false),
            Defect::Truncated => (Code::CertificateMalformed, false),
        };
        let (chain, key, anchors) = defect.case(KeyKind::P256);
        let case = new(KeyKind::P256);
        case.write("anchors.crt", anchors);
        put_chain(&case, &chain, &key);
        assert_eq!(found(&case, "anchors.crt"), [code], "{defect:?}");
        let answer = peer(&case, "anchors.crt", &python);
        assert_eq!(answer.accepted(), peer_verifies, "{defect:?}: {}", answer.ended);
        assert_eq!(answer.refused(), !peer_verifies, "{defect:?}: {}", answer.ended);
    }
}

/// Signs with this key, and puts this chain into the bundle, whatever it is.
fn put_chain(case: &Case, chain: &[Vec<u8>], key: &pki::Key) {
    let signer = KeySigner::from_pem(key.pkcs8_pem().as_bytes(), None).expect("a key");
    let bundle = case.open().sign(&Hashing::files(Algorithm::Sha256), &signer, &Run::new()).expect("signed");
    bundle.write(case.path("model.sig"), Replace::Signature).expect("written");
    let certificates: Vec<_> =
        chain.iter().map(|der| serde_json::json!({ "rawBytes": BASE64.encode(der) })).collect();
    case.edit(|bundle| {
        bundle["verificationMaterial"] = serde_json::json!({
            "x509CertificateChain": { "certificates": certificates }, "tlogEntries": [],
        });
    });
}

/// The peer never lets a leaf expire; we do, unless we are told a time.
#[test]
fn a_leaf_outside_of_its_validity_is_refused_by_us_alone() {
    let Some(python) = Python::latest() else { return };
    for (defect, code, within) in [
        (Defect::Expired, CertificateExpired, pki::FROM + 3600),
        (Defect::NotYetValid, CertificateNotYetValid, pki::TO - 3600),
    ] {
        let (chain, key, anchors) = defect.case(KeyKind::P384);
        let case = new(KeyKind::P384);
        case.write("anchors.crt", &anchors);
        put_chain(&case, &chain, &key);
        assert_eq!(found(&case, "anchors.crt"), [code]);
        peer(&case, "anchors.crt", &python).expect_accepted();

        let verifier = CertificateVerifier::from_pem(anchors.as_bytes()).expect("certificates").at(within);
        assert_eq!(codes(&case.open(), &case.path("model.sig"), Accept::verifier(verifier)), []);
    }
}
