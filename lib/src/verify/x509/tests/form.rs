//! The form of single certificates and of PEM texts, and what is said of it.

use testkit::pki::{Defect, KeyKind, KeyUsages, Pki, Shape};
use x509_cert_02::{
    Certificate, Version,
    der::{
        Any, Decode, Encode,
        asn1::{BitString, ObjectIdentifier},
    },
    ext::pkix::{
        CertificatePolicies, NameConstraints, PolicyConstraints, PolicyMapping, PolicyMappings,
        certpolicy::PolicyInformation, constraints::name::GeneralSubtree,
    },
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use super::{AT, anchors, verify};
use crate::verify::x509::{Problem, anchors_from_pem, ders_from_pem, verify_chain};

#[test]
fn cut_and_lengthened_certificates_are_malformed() {
    let case = Shape::Direct.case(KeyKind::P256);
    let given = anchors(&case.anchors);
    let der = case.chain_der().remove(0);
    for length in 0..der.len() {
        assert!(
            matches!(verify_chain(&[der[..length].to_vec()], &given, AT), Err(Problem::Malformed { .. })),
            "{length}"
        );
    }
    let longer = [der.as_slice(), &[0]].concat();
    assert!(matches!(verify_chain(&[longer], &given, AT), Err(Problem::Malformed { .. })));
    assert_eq!(verify_chain(&[], &given, AT), Err(Problem::NoCertificate));
}

#[test]
fn version_1_is_for_given_roots_only() {
    let old = Pki::root(KeyKind::P256).version_1().self_signed();
    let leaf = Pki::leaf(KeyKind::P256).issue(&old);
    assert!(verify(&[&leaf], &[&old]).is_ok() && verify(&[&leaf, &old], &[&old]).is_ok());
    let root = Pki::root(KeyKind::P256).self_signed();
    let old = Pki::intermediate(KeyKind::P256).version_1().issue(&root);
    let leaf = Pki::leaf(KeyKind::P256).issue(&old);
    for given in [&root, &old] {
        assert!(matches!(verify(&[&leaf, &old], &[given]), Err(Problem::NotACa { .. })));
    }
    // A root's certificate for its next key.
    let rolled = |request: Pki| request.seed(8).issue(&root);
    for (rolled, ok) in
        [(rolled(Pki::root(KeyKind::P256)), true), (rolled(Pki::root(KeyKind::P256).version_1()), false)]
    {
        let leaf = Pki::leaf(KeyKind::P256).issue(&rolled);
        assert_eq!(verify(&[&leaf, &rolled], &[&root]).is_ok(), ok);
    }
}

#[test]
fn critical_extensions_must_be_known_everywhere() {
    let unknown = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.7");
    let marked =
        |p: Pki, yes: bool, critical: bool| if yes { p.raw_extension(unknown, critical, &[5, 0]) } else { p };
    for n in 0..3 {
        for critical in [false, true] {
            let root = marked(Pki::root(KeyKind::P256), n == 0, critical).self_signed();
            let between = marked(Pki::intermediate(KeyKind::P256), n == 1, critical).issue(&root);
            let leaf = marked(Pki::leaf(KeyKind::P256), n == 2, critical).issue(&between);
            let refused =
                matches!(verify(&[&leaf, &between], &[&root]), Err(Problem::UnknownCriticalExtension { .. }));
            assert_eq!(refused, critical, "{n}");
        }
    }
}

#[test]
fn form_is_checked() {
    let root = Pki::root(KeyKind::P256).self_signed();
    let good = Pki::leaf(KeyKind::P256).issue(&root);
    assert!(verify(&[&good], &[&root]).is_ok());
    let spoilt = |spoil: &dyn Fn(&mut Certificate)| {
        let mut leaf = good.clone();
        spoil(leaf.certificate());
        verify(&[&leaf], &[&root])
    };
    let malformed = |result| matches!(result, Err(Problem::Malformed { .. }));
    assert!(malformed(spoilt(&|c| {
        let extensions = c.tbs_certificate.extensions.as_mut().unwrap();
        extensions.push(extensions[0].clone());
    })));
    assert!(malformed(spoilt(&|c| c.tbs_certificate.version = Version::V1)));
    assert!(malformed(spoilt(&|c| c.signature_algorithm = AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
        parameters: None,
    })));
    assert!(malformed(spoilt(
        &|c| c.signature = BitString::new(1, [c.signature.raw_bytes(), &[0]].concat()).unwrap()
    )));
    let unknown = AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap("1.2.3.4"), parameters: None };
    let refused = spoilt(&|c| {
        c.signature_algorithm = unknown.clone();
        c.tbs_certificate.signature = unknown.clone();
    });
    assert!(matches!(refused, Err(Problem::UnsupportedAlgorithm { oid, .. }) if oid == "1.2.3.4"));
}

#[test]
fn policies() {
    let [one, two] = ["1.2.3.1", "1.2.3.2"].map(ObjectIdentifier::new_unwrap);
    let information =
        |p: &ObjectIdentifier| PolicyInformation { policy_identifier: *p, policy_qualifiers: None };
    let policies = |all: &[ObjectIdentifier]| CertificatePolicies(all.iter().map(information).collect());
    let required = PolicyConstraints { require_explicit_policy: Some(0), inhibit_policy_mapping: None };
    let verify_with = |leaf: Pki, mapped: bool| {
        let mut root =
            Pki::root(KeyKind::P256).extension(false, &policies(&[one])).extension(true, &required);
        if mapped {
            let mapping = PolicyMapping { issuer_domain_policy: one, subject_domain_policy: two };
            root = root.extension(false, &PolicyMappings(vec![mapping]));
        }
        let root = root.self_signed();
        verify(&[&leaf.issue(&root)], &[&root])
    };
    let leaf = || Pki::leaf(KeyKind::P256);
    assert!(verify_with(leaf().extension(false, &policies(&[one])), false).is_ok());
    assert!(matches!(verify_with(leaf(), false), Err(Problem::Policy { .. })));
    assert!(matches!(
        verify_with(leaf().extension(false, &policies(&[two])), false),
        Err(Problem::Policy { .. })
    ));
    assert!(matches!(
        verify_with(leaf().extension(false, &policies(&[two])), true),
        Err(Problem::Policy { .. })
    ));
    let twice = verify_with(leaf().extension(false, &policies(&[one, one])), false);
    assert!(matches!(twice, Err(Problem::Malformed { .. })));
}

#[test]
fn pem_texts() {
    let case = Shape::RootInside.case(KeyKind::P256);
    let [leaf, between, root] = [0, 1, 2].map(|n| case.chain[n].pem());
    let text = format!("\u{feff}Some root\n{root}# and\n{}\n{between}", case.key().pkcs8_pem())
        .replace('\n', "\r\n");
    assert_eq!(ders_from_pem(text.as_bytes()).unwrap(), [case.chain[2].der(), case.chain[1].der()]);
    let unwrapped: String = leaf.lines().filter(|l| !l.starts_with('-')).collect();
    let long = format!("-----BEGIN CERTIFICATE-----\n{unwrapped}\n-----END CERTIFICATE-----");
    assert_eq!(ders_from_pem(long.as_bytes()).unwrap(), [case.chain[0].der()]);

    for none in ["", "hello", &case.key().public_pem()] {
        assert_eq!(anchors_from_pem(none.as_bytes()).unwrap_err(), Problem::NoCertificate);
    }
    let cut = leaf.replace("-----END CERTIFICATE-----\n", "");
    for broken in [cut.clone(), format!("{cut}{root}"), leaf.replacen("MI", "M!", 1)] {
        assert!(matches!(ders_from_pem(broken.as_bytes()), Err(Problem::Malformed { .. })), "{broken}");
    }
    let second = format!("{root}-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    assert!(
        matches!(anchors_from_pem(second.as_bytes()), Err(Problem::Malformed { which, .. }) if which == "certificate 2 of the PEM text")
    );
}

#[test]
fn problems_say_what_and_where_on_one_line() {
    let (chain, _, pem) = Defect::Expired.case(KeyKind::P256);
    let problem = verify_chain(&chain, &anchors_from_pem(pem.as_bytes()).unwrap(), AT).unwrap_err();
    assert_eq!(problem.to_string(), "certificate CN=Test Signer expired after 2020-01-02T00:00:00Z");
    let (chain, _, pem) = Defect::Cut.case(KeyKind::P256);
    let problem = verify_chain(&chain, &anchors_from_pem(pem.as_bytes()).unwrap(), AT).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "certificate CN=Test Signer was issued by CN=Test Intermediate, which is not among the given certificates"
    );
    let root = Pki::root(KeyKind::P256).self_signed();
    let hostile = Pki::leaf(KeyKind::P256)
        .subject("CN=a\\0a::error::\\1b[2J\\e2\\80\\aeb")
        .usages(KeyUsages::KeyEncipherment)
        .issue(&root);
    let text = verify(&[&hostile], &[&root]).unwrap_err().to_string();
    assert!(!text.contains(['\n', '\u{1b}', '\u{202e}']) && !text.contains("::"), "{text}");
    let nameless =
        Pki::leaf(KeyKind::P256).subject("").serial(&[0xab]).usages(KeyUsages::KeyEncipherment).issue(&root);
    let text = verify(&[&nameless], &[&root]).unwrap_err().to_string();
    assert!(text.starts_with("certificate serial ab has neither"), "{text}");
}

#[test]
fn sizes_are_bounded() {
    let root = Pki::root(KeyKind::P256).self_signed();
    let with = |request: Pki| verify(&[&request.issue(&root)], &[&root]);
    let leaf = || Pki::leaf(KeyKind::P256);
    let padded = |n: usize| leaf().raw_extension(ObjectIdentifier::new_unwrap("1.2.3.4"), false, &vec![0; n]);
    let named = |n: usize| leaf().subject(&vec!["CN=a"; n].join(","));
    let policies = |n: u32| {
        let policy = |n| PolicyInformation {
            policy_identifier: ObjectIdentifier::new_unwrap("1.2.3").push_arc(n).unwrap(),
            policy_qualifiers: None,
        };
        leaf().extension(false, &CertificatePolicies((0..n).map(policy).collect()))
    };
    for (fits, does_not) in
        [(padded(64_000), padded(65_536)), (named(64), named(65)), (policies(64), policies(65))]
    {
        assert!(with(fits).is_ok());
        assert!(matches!(with(does_not), Err(Problem::Malformed { .. })));
    }
    let names = |n: usize| vec![testkit::pki::dns("a.b"); n];
    for (constraints, ok) in [(100, true), (1000, false)] {
        let root = Pki::root(KeyKind::P256).constrain(&names(constraints), &[]).self_signed();
        let leaf = leaf().names(&names(200)).issue(&root);
        let verified = verify(&[&leaf], &[&root]);
        assert_eq!(verified.is_ok(), ok, "{constraints}");
        assert_eq!(matches!(verified, Err(Problem::TooMany { .. })), !ok);
    }
}

#[test]
fn an_empty_name_is_nobodys() {
    let root = Pki::root(KeyKind::P256).subject("").self_signed();
    let leaf = Pki::leaf(KeyKind::P256).issue(&root);
    assert!(matches!(verify(&[&leaf], &[&root]), Err(Problem::UnknownAnchor { .. })));
    assert!(matches!(verify(&[&leaf, &root], &[&root]), Err(Problem::ChainOrder { .. })));
    let own = Pki::leaf(KeyKind::P256).subject("").self_signed();
    assert!(verify(&[&own], &[&own]).is_ok());
}

#[test]
fn name_constraints_have_no_minimum() {
    for minimum in [0, 1] {
        let base = testkit::pki::dns("example.com");
        let permitted_subtrees = Some(vec![GeneralSubtree { base, minimum, maximum: None }]);
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: None };
        let root = Pki::root(KeyKind::P256).extension(true, &constraints).self_signed();
        let refused = verify(&[&Pki::leaf(KeyKind::P256).issue(&root)], &[&root]);
        assert_eq!(matches!(refused, Err(Problem::Malformed { .. })), minimum == 1, "{refused:?}");
    }
}

#[test]
fn rsa_keys_of_any_smallness_are_weak() {
    let mut root = Pki::root(KeyKind::Rsa2048).self_signed();
    let leaf = Pki::leaf(KeyKind::P256).issue(&root);
    assert!(verify(&[&leaf], &[&root]).is_ok());
    // RSAPublicKey with a modulus of 512 bits; an anchor's own signature does not count.
    let key = [&[0x30, 0x48, 0x02, 0x41, 0x00][..], &[0xff; 64], &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
    let spki = &mut root.certificate().tbs_certificate.subject_public_key_info;
    *spki = SubjectPublicKeyInfoOwned {
        algorithm: spki.algorithm.clone(),
        subject_public_key: BitString::from_bytes(&key).unwrap(),
    };
    assert!(matches!(verify(&[&leaf], &[&root]), Err(Problem::WeakKey { bits: 512, .. })));
}

#[test]
fn a_pss_mask_is_made_with_the_same_digest() {
    let root = Pki::root(KeyKind::Rsa2048).self_signed();
    let mut leaf = Pki::leaf(KeyKind::P256).pss().issue(&root);
    assert!(verify(&[&leaf], &[&root]).is_ok());
    let certificate = leaf.certificate();
    let mut parameters = certificate.signature_algorithm.parameters.to_der().unwrap();
    let sha256 = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1").to_der().unwrap();
    let mask = parameters.windows(sha256.len()).rposition(|w| w == sha256).unwrap() + sha256.len() - 1;
    parameters[mask] = 2;
    let algorithm = AlgorithmIdentifierOwned {
        oid: certificate.signature_algorithm.oid,
        parameters: Some(Any::from_der(&parameters).unwrap()),
    };
    certificate.signature_algorithm = algorithm.clone();
    certificate.tbs_certificate.signature = algorithm;
    assert!(matches!(verify(&[&leaf], &[&root]), Err(Problem::UnsupportedAlgorithm { .. })));
}
