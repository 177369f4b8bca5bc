//! Whole models with Sigstore bundles, by policies.

use testkit::forge::{EMAIL, Forge, ISSUER, Signing, TIME};
use weightseal::{
    Accept, Bundle, Code, Identity, Memory, Model, Policy, RootOrigin, RootSource, SigstoreIdentity,
    SigstoreVerifier,
};

use super::{payload, signed_by_dev, statement, trusted};
use crate::good::{refused, signer, trusting, verified};

fn model() -> Model {
    Model::from_source(Memory::new("m").with("a.bin", "weights"))
}

fn policy(forge: &Forge, identity: SigstoreIdentity) -> Policy {
    Policy::new().accept(Accept::verifier(SigstoreVerifier::new(trusted(&forge.root()), identity)))
}

fn bundle(signing: &Signing, payload: &[u8]) -> Bundle {
    Bundle::parse(signing.bundle(payload).to_string().as_bytes()).unwrap()
}

#[test]
fn a_model_verifies_and_the_report_says_by_whom_when_and_where_it_was_logged() {
    let forge = Forge::new();
    for (signing, by, log, index) in [
        (forge.v1(), "log", "https://log1.forge.example", 4_163_436),
        (forge.v2(), "timestamp", "https://log2.forge.example", 5),
    ] {
        let bundle = bundle(&signing, &payload());
        let report = verified(&model(), &policy(&forge, signed_by_dev()), &[bundle]);
        let signature = &report.signatures[0];
        assert_eq!(signature.signing_method.as_deref(), Some("sigstore"));
        let Some(Identity::Sigstore { identity, issuer, claims, .. }) = &signature.identity else {
            panic!("{report}")
        };
        assert_eq!((identity.as_str(), issuer.as_str(), claims.len()), (EMAIL, ISSUER, 0));
        let time = signature.time.as_ref().unwrap();
        assert_eq!((time.at.as_str(), time.by.as_str()), ("2025-06-15T15:06:40Z", by));
        assert_eq!((signature.logged[0].log.as_str(), signature.logged[0].index), (log, index));
        let origin = signature.trusted_root.as_ref().unwrap();
        assert_eq!(origin, &RootOrigin { source: RootSource::Given, ..RootOrigin::given("root") });
        assert_eq!(signature.notes, Vec::<String>::new());
    }
}

#[test]
fn a_changed_model_is_refused_and_so_is_somebody_elses() {
    let forge = Forge::new();
    let good = bundle(&forge.v2(), &payload());
    let changed = Model::from_source(Memory::new("m").with("a.bin", "weighty"));
    refused(&changed, &policy(&forge, signed_by_dev()), std::slice::from_ref(&good), &[Code::FileChanged]);
    let other = bundle(&forge.v2(), &statement("other..")); // as long
    refused(&model(), &policy(&forge, signed_by_dev()), &[other], &[Code::FileChanged]);
    let somebody = SigstoreIdentity::new("somebody@forge.example", ISSUER);
    refused(
        &model(),
        &policy(&forge, somebody.clone()),
        std::slice::from_ref(&good),
        &[Code::IdentityNotExpected],
    );
    // Of several who may sign, one suffices.
    let either = policy(&forge, somebody)
        .accept(Accept::verifier(SigstoreVerifier::new(trusted(&forge.root()), signed_by_dev())));
    verified(&model(), &either, &[good]);
}

#[test]
fn a_key_does_not_stand_for_an_identity_nor_an_identity_for_a_key() {
    let forge = Forge::new();
    let key = testkit::pki::Key::new(testkit::pki::KeyKind::P256, 300);
    let good = bundle(&forge.v2(), &payload());
    // Even the very key that signed.
    refused(&model(), &trusting(&key), std::slice::from_ref(&good), &[Code::MethodNotAccepted]);
    let run = weightseal::Run::new();
    let keyed = model()
        .sign(&weightseal::Hashing::files(weightseal::Algorithm::Sha256), &signer(&key), &run)
        .unwrap();
    refused(&model(), &policy(&forge, signed_by_dev()), &[keyed], &[Code::MethodNotAccepted]);
}

#[test]
fn the_signing_key_and_certificate_can_be_revoked() {
    let forge = Forge::new();
    let good = bundle(&forge.v2(), &payload());
    let report = verified(&model(), &policy(&forge, signed_by_dev()), std::slice::from_ref(&good));
    let Some(Identity::Sigstore { serial, fingerprint, .. }) = &report.signatures[0].identity else {
        panic!("{report}")
    };
    for revoked in [serial, fingerprint] {
        let policy = policy(&forge, signed_by_dev()).revoke_certificate(revoked).unwrap();
        refused(&model(), &policy, std::slice::from_ref(&good), &[Code::CertificateRevoked]);
    }
    let key = testkit::pki::Key::new(testkit::pki::KeyKind::P256, 300);
    let policy = policy(&forge, signed_by_dev()).revoke_key(&crate::good::sha256(&key.spki_der())).unwrap();
    refused(&model(), &policy, &[good], &[Code::KeyRevoked]);
}

#[test]
fn one_person_is_one_signer_however_often_he_signs() {
    let forge = Forge::new();
    let bundles = [bundle(&forge.v2(), &payload()), bundle(&forge.v1(), &payload())];
    refused(&model(), &policy(&forge, signed_by_dev()).require(2), &bundles, &[Code::TooFewSignatures]);
    verified(&model(), &policy(&forge, signed_by_dev()).require(1), &bundles);
}

#[test]
fn a_root_that_is_too_old_is_no_evidence_and_none_of_unknown_age_is_young() {
    let forge = Forge::new();
    let good = bundle(&forge.v2(), &payload());
    let root = |as_of| {
        let origin = RootOrigin { as_of, ..RootOrigin::given("root") };
        weightseal::TrustedRoot::parse(forge.root().to_string().as_bytes(), origin).unwrap()
    };
    let day = std::time::Duration::from_secs(86_400);
    let policy = |as_of| {
        Policy::new()
            .accept(Accept::verifier(SigstoreVerifier::new(root(as_of), signed_by_dev()).max_root_age(day)))
    };
    let now = weightseal::Run::new().now_unix();
    verified(&model(), &policy(Some(now - 80_000)), std::slice::from_ref(&good));
    refused(&model(), &policy(Some(now - 90_000)), std::slice::from_ref(&good), &[Code::TrustRootStale]);
    refused(&model(), &policy(Some(TIME)), std::slice::from_ref(&good), &[Code::TrustRootStale]);
    refused(&model(), &policy(None), &[good], &[Code::TrustRootStale]);
}
