//! Whole chains. Each refusal starts from a chain that verifies.

use sha2::Digest as _;
use testkit::pki::{
    CODE_SIGNING, Case, Cert, Defect, Digest, FOREVER, FROM, KeyKind, KeyUsages, Pki, SERVER_AUTH, Shape, TO,
    directory, dns, email, ip, uri,
};
use x509_cert_02::der::{Encode, asn1::ObjectIdentifier};

use super::*;

mod form;

/// 2025-06-01.
const AT: i64 = 1_748_736_000;
const CURVES: [KeyKind; 4] = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];

fn anchors(certs: &[Cert]) -> Vec<Anchor> {
    let pem: String = certs.iter().map(Cert::pem).collect();
    anchors_from_pem(pem.as_bytes()).unwrap()
}

fn verify(chain: &[&Cert], given: &[&Cert]) -> Result<Leaf, Problem> {
    let chain: Vec<_> = chain.iter().map(|c| c.der()).collect();
    let given: Vec<_> = given.iter().map(|c| (*c).clone()).collect();
    verify_chain(&chain, &anchors(&given), AT)
}

fn check(case: &Case, at: i64) -> Result<Leaf, Problem> {
    verify_chain(&case.chain_der(), &anchors(&case.anchors), at)
}

#[test]
fn every_shape_verifies_with_every_kind_of_key() {
    for shape in Shape::ALL {
        for kind in CURVES {
            let case = shape.case(kind);
            let leaf = check(&case, AT).unwrap_or_else(|e| panic!("{shape:?} {kind:?}: {e}"));
            assert_eq!(leaf.spki_der, case.key().spki_der(), "{shape:?} {kind:?}");
        }
    }
}

#[test]
fn no_shape_verifies_without_its_anchors() {
    for shape in Shape::ALL {
        let case = shape.case(KeyKind::P256);
        let other = anchors(&[Pki::root(KeyKind::P256).subject("CN=Other").seed(9).self_signed()]);
        let refused = verify_chain(&case.chain_der(), &other, AT);
        assert!(matches!(refused, Err(Problem::UnknownAnchor { .. })), "{shape:?}: {refused:?}");
        let refused = verify_chain(&case.chain_der(), &[], AT);
        assert!(matches!(refused, Err(Problem::UnknownAnchor { .. })), "{shape:?}: {refused:?}");
    }
}

#[test]
fn every_defect_is_told() {
    for defect in Defect::ALL {
        for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384] {
            let (chain, _, pem) = defect.case(kind);
            let problem = verify_chain(&chain, &anchors_from_pem(pem.as_bytes()).unwrap(), AT).unwrap_err();
            let told = match defect {
                Defect::Expired => {
                    matches!(&problem, Problem::Expired { subject, not_after } if subject == "CN=Test Signer" && *not_after == FROM + 86_400)
                }
                Defect::NotYetValid => {
                    matches!(&problem, Problem::NotYetValid { subject, .. } if subject == "CN=Test Signer")
                }
                Defect::IntermediateExpired => {
                    matches!(&problem, Problem::Expired { subject, .. } if subject == "CN=Test Intermediate")
                }
                Defect::RootExpired => {
                    matches!(&problem, Problem::Expired { subject, .. } if subject == "CN=Test Root")
                }
                Defect::WrongUsage | Defect::NoUsage => matches!(problem, Problem::WrongUsage { .. }),
                Defect::OtherRoot | Defect::OtherRootSameName | Defect::Cut => {
                    matches!(problem, Problem::UnknownAnchor { .. })
                }
                Defect::OutOfOrder => matches!(problem, Problem::ChainOrder { .. }),
                Defect::NotACa | Defect::NoBasicConstraints => {
                    matches!(&problem, Problem::NotACa { subject } if subject == "CN=Test Intermediate")
                }
                Defect::NoCertSign => {
                    matches!(&problem, Problem::NoCertSign { subject } if subject == "CN=Test Intermediate")
                }
                Defect::PathLength => {
                    problem == Problem::PathLength { subject: "CN=Test Root".into(), allowed: 0, found: 1 }
                }
                Defect::NamePermitted => {
                    matches!(&problem, Problem::NameConstraint { name, .. } if name == "CN=Test Signer")
                }
                Defect::NameExcluded => {
                    matches!(&problem, Problem::NameConstraint { name, .. } if name == "build.example.com")
                }
                Defect::CriticalExtension => {
                    matches!(&problem, Problem::UnknownCriticalExtension { oid, .. } if oid == "1.3.6.1.4.1.55555.1")
                }
                Defect::Sha1 => {
                    matches!(&problem, Problem::WeakDigest { subject, .. } if subject == "CN=Test Signer")
                }
                Defect::Rsa1024 => {
                    matches!(&problem, Problem::WeakKey { subject, bits: 1024 } if subject == "CN=Test Intermediate")
                }
                Defect::Changed => matches!(problem, Problem::BadSignature { .. }),
                Defect::CrossSigned => matches!(problem, Problem::BadSignature { .. }),
                Defect::TooLong => matches!(problem, Problem::TooMany { found: 20, most: 16, .. }),
                Defect::Truncated => matches!(problem, Problem::Malformed { .. }),
            };
            assert!(told, "{defect:?} {kind:?}: {problem:?}");
        }
    }
}

#[test]
fn leaf_has_the_facts() {
    let names =
        [email("a@example.com"), uri("https://example.com/w"), dns("*.example.com"), ip(&[10, 0, 0, 1])];
    let root = Pki::root(KeyKind::P256).subject("CN=Root,O=Acme").self_signed();
    let between = Pki::intermediate(KeyKind::P384).serial(&[0x7f]).issue(&root);
    let mut leaf = Pki::leaf(KeyKind::Ed25519)
        .subject("CN=a\\,b,O=Acme")
        .serial(&[0xff, 0x01])
        .names(&names)
        .valid(FROM + 1, FOREVER)
        .issue(&between);
    let facts = verify(&[&leaf, &between], &[&root]).unwrap();
    assert_eq!(facts.subject, "CN=a\\,b,O=Acme");
    assert_eq!(facts.issuer, "CN=Test Intermediate");
    assert_eq!(facts.sans, ["a@example.com", "https://example.com/w", "*.example.com", "10.0.0.1"]);
    assert_eq!(facts.serial_hex, "ff01");
    assert_eq!((facts.not_before, facts.not_after), (FROM + 1, FOREVER));
    assert_eq!(facts.sha256_hex, text::hex(&Sha256::digest(leaf.certificate().to_der().unwrap())));
    let serials = |facts: &Leaf| facts.path.iter().map(|(serial, _)| serial.clone()).collect::<Vec<_>>();
    assert_eq!(serials(&facts)[..2], ["ff01", "7f"]);
    assert_eq!(facts.path.len(), 3, "the anchor is on the path");
    assert_eq!(facts.path[0].1, facts.sha256_hex);
    assert_eq!(serials(&verify(&[&leaf, &between], &[&leaf]).unwrap()), ["ff01"]);
}

#[test]
fn names_of_another_kind_do_not_pass_for_an_identity() {
    let root = Pki::root(KeyKind::P256).self_signed();
    let names =
        [dns("victim@example.com"), email("https://example.com"), uri("no scheme"), email("a@example.com")];
    let leaf = Pki::leaf(KeyKind::P256).names(&names).issue(&root);
    assert_eq!(verify(&[&leaf], &[&root]).unwrap().sans, ["a@example.com"]);
}

#[test]
fn validity_includes_both_ends() {
    for shape in [Shape::Plain, Shape::SelfSigned, Shape::IntermediateTrusted] {
        let case = shape.case(KeyKind::P256);
        assert!(check(&case, FROM).is_ok() && check(&case, TO).is_ok(), "{shape:?}");
        assert!(
            matches!(check(&case, FROM - 1), Err(Problem::NotYetValid { not_before: FROM, .. })),
            "{shape:?}"
        );
        assert!(matches!(check(&case, TO + 1), Err(Problem::Expired { not_after: TO, .. })), "{shape:?}");
        assert!(matches!(check(&case, -1), Err(Problem::NotYetValid { .. })), "{shape:?}");
    }
    let case = Shape::Forever.case(KeyKind::P256);
    assert!(check(&case, FOREVER).is_ok());
    assert!(matches!(check(&case, FOREVER + 1), Err(Problem::Expired { .. })));
}

#[test]
fn any_digest_goes_with_any_authority_key() {
    let digests = [Digest::Sha256, Digest::Sha384, Digest::Sha512];
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Rsa2048] {
        let root = Pki::root(kind).self_signed();
        for digest in digests {
            for pss in [false, true] {
                let mut request = Pki::leaf(KeyKind::P256).digest(digest);
                if pss && kind != KeyKind::Rsa2048 {
                    continue;
                } else if pss {
                    request = request.pss();
                }
                let leaf = request.issue(&root);
                verify(&[&leaf], &[&root]).unwrap_or_else(|e| panic!("{kind:?} {digest:?} {pss}: {e}"));
                let mut ders = [leaf.der()];
                let last = ders[0].len() - 1;
                ders[0][last] ^= 1;
                let refused = verify_chain(&ders, &anchors(std::slice::from_ref(&root)), AT);
                assert!(
                    matches!(refused, Err(Problem::BadSignature { .. })),
                    "{kind:?} {digest:?} {pss}: {refused:?}"
                );
            }
        }
        let weak = Pki::leaf(KeyKind::P256).digest(Digest::Sha1).issue(&root);
        assert!(matches!(verify(&[&weak], &[&root]), Err(Problem::WeakDigest { .. })), "{kind:?}");
    }
    let root = Pki::root(KeyKind::Rsa2048).self_signed();
    let weak = Pki::leaf(KeyKind::P256).digest(Digest::Sha1).pss().issue(&root);
    assert!(matches!(verify(&[&weak], &[&root]), Err(Problem::WeakDigest { .. })));
}

#[test]
fn root_may_sign_itself_over_sha1() {
    // Nobody relies on the signature of an anchor.
    let root = Pki::root(KeyKind::P256).digest(Digest::Sha1).self_signed();
    let leaf = Pki::leaf(KeyKind::P256).issue(&root);
    assert!(verify(&[&leaf, &root], &[&root]).is_ok());
}

#[test]
fn weak_keys_are_refused_wherever_they_are() {
    let weak = Pki::root(KeyKind::Rsa1024).self_signed();
    let leaf = Pki::leaf(KeyKind::P256).issue(&weak);
    assert!(matches!(verify(&[&leaf], &[&weak]), Err(Problem::WeakKey { bits: 1024, .. })));
    let root = Pki::root(KeyKind::P256).self_signed();
    let leaf = Pki::leaf(KeyKind::Rsa1024).seed(1).issue(&root);
    assert!(matches!(verify(&[&leaf], &[&root]), Err(Problem::WeakKey { bits: 1024, .. })));
    assert!(matches!(verify(&[&leaf], &[&leaf]), Err(Problem::WeakKey { bits: 1024, .. })));
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let case = Shape::Plain.case(KeyKind::P256);
    let given = anchors(&case.anchors);
    let good = case.chain_der();
    assert!(verify_chain(&good, &given, AT).is_ok());
    for (n, der) in good.iter().enumerate() {
        for at in 0..der.len() {
            let mut chain = good.clone();
            chain[n][at] ^= 1 << (at % 8);
            assert!(verify_chain(&chain, &given, AT).is_err(), "certificate {n}, byte {at}");
        }
    }
}

#[test]
fn order_of_the_chain() {
    let root = Pki::root(KeyKind::P256).self_signed();
    let between = Pki::intermediate(KeyKind::P256).issue(&root);
    let leaf = Pki::leaf(KeyKind::P256).issue(&between);
    let other = Pki::root(KeyKind::P256).seed(7).subject("CN=Other").self_signed();
    assert!(verify(&[&leaf, &between], &[&root]).is_ok());
    assert!(
        verify(&[&leaf, &leaf, &between, &between, &root, &root], &[&root]).is_ok(),
        "copies are skipped"
    );
    for wrong in [&[&between, &leaf][..], &[&leaf, &root, &between], &[&root, &between, &leaf]] {
        assert!(matches!(verify(wrong, &[&root]), Err(Problem::ChainOrder { .. })), "{wrong:?}");
    }
    for surplus in [&[&leaf, &between, &leaf][..], &[&leaf, &between, &other]] {
        assert!(verify(surplus, &[&root]).is_ok(), "what follows a whole path is not used");
        assert!(matches!(verify(surplus, &[&other]), Err(Problem::ChainOrder { .. })), "{surplus:?}");
    }
}

#[test]
fn a_root_at_the_end_does_no_harm() {
    // The bundle carries the root as it was before it was issued again: with the same key, or with another.
    let root = Pki::root(KeyKind::P256).self_signed();
    let between = Pki::intermediate(KeyKind::P256).issue(&root);
    let leaf = Pki::leaf(KeyKind::P256).issue(&between);
    let same_key = Pki::root(KeyKind::P256).valid(FROM, FROM + 1).self_signed();
    let other_key = Pki::root(KeyKind::P256).seed(9).self_signed();
    assert!(verify(&[&leaf, &between, &same_key], &[&root]).is_ok());
    assert!(verify(&[&leaf, &between, &other_key], &[&root]).is_ok());
    assert!(matches!(verify(&[&leaf, &between, &root], &[&other_key]), Err(Problem::UnknownAnchor { .. })));
}

#[test]
fn authorities_with_one_name_and_many_keys() {
    let roots: Vec<_> = (0..100).map(|n| Pki::root(KeyKind::P256).seed(1000 + n).self_signed()).collect();
    let blank: Vec<_> =
        (0..100).map(|n| Pki::root(KeyKind::P256).seed(1000 + n).without_key_ids().self_signed()).collect();
    let leaf = Pki::leaf(KeyKind::P256).issue(&roots[99]);
    let stranger = Pki::root(KeyKind::P256).seed(5000).self_signed();
    let other = Pki::leaf(KeyKind::P256).issue(&stranger);
    for given in [&roots, &blank] {
        assert!(verify_chain(&[leaf.der()], &anchors(given), AT).is_ok());
    }
    assert!(matches!(verify_chain(&[other.der()], &anchors(&roots), AT), Err(Problem::UnknownAnchor { .. })));
    assert!(matches!(verify_chain(&[other.der()], &anchors(&blank), AT), Err(Problem::BadSignature { .. })));
    // Twice as many are more than are tried, unless a key identifier leads to the right one.
    let more: Vec<_> = (0..100)
        .map(|n| Pki::root(KeyKind::P256).seed(2000 + n).without_key_ids().self_signed())
        .chain(blank)
        .collect();
    assert!(matches!(
        verify_chain(&[other.der()], &anchors(&more), AT),
        Err(Problem::TooMany { most: 128, .. })
    ));
    let more: Vec<_> = more.into_iter().chain(roots).collect();
    assert!(verify_chain(&[leaf.der()], &anchors(&more), AT).is_ok());
}

#[test]
fn cross_signed_authorities() {
    // One key, certified by two roots: the bundle has one certificate for it, the caller trusts the other root.
    let (old, new) = (
        Pki::root(KeyKind::P256).self_signed(),
        Pki::root(KeyKind::P384).subject("CN=New Root").self_signed(),
    );
    let (by_old, by_new) =
        (Pki::intermediate(KeyKind::P256).issue(&old), Pki::intermediate(KeyKind::P256).issue(&new));
    let leaf = Pki::leaf(KeyKind::P256).issue(&by_old);
    assert!(verify(&[&leaf, &by_old], &[&old]).is_ok());
    assert!(verify(&[&leaf, &by_new], &[&new]).is_ok());
    assert!(verify(&[&leaf, &by_old], &[&by_new, &new]).is_ok());
    assert!(matches!(verify(&[&leaf, &by_old], &[&new]), Err(Problem::UnknownAnchor { .. })));
    // Of two certificates for one key, the one that still holds is used.
    let expired = Pki::intermediate(KeyKind::P256).valid(FROM, FROM + 1).issue(&old);
    assert!(verify(&[&leaf, &expired], &[&expired, &by_new]).is_ok());
    assert!(matches!(verify(&[&leaf], &[&expired]), Err(Problem::Expired { .. })));
    // A self-issued certificate for a new key, signed with the old one (RFC 4210, 4.4).
    let rolled = Pki::root(KeyKind::P256).seed(8).issue(&old);
    let leaf = Pki::leaf(KeyKind::P256).issue(&rolled);
    assert!(verify(&[&leaf, &rolled], &[&old]).is_ok());
}

#[test]
fn a_leaf_with_the_name_of_its_issuer() {
    let root = Pki::root(KeyKind::P256).self_signed();
    let between = Pki::intermediate(KeyKind::P256).issue(&root);
    let leaf = Pki::leaf(KeyKind::P256).subject("CN=Test Intermediate").issue(&between);
    for given in [&root, &between, &leaf] {
        assert!(verify(&[&leaf, &between], &[given]).is_ok());
    }
    assert!(verify(&[&leaf], &[&between]).is_ok());
    // All three alike.
    let between = Pki::intermediate(KeyKind::P256).subject("CN=Test Root").serial(&[1]).issue(&root);
    let leaf = Pki::leaf(KeyKind::P256).subject("CN=Test Root").serial(&[1]).issue(&between);
    for given in [&root, &between, &leaf] {
        assert!(verify(&[&leaf, &between], &[given]).is_ok());
    }
}

#[test]
fn equal_serial_numbers_of_one_issuer_are_let_pass() {
    let root = Pki::root(KeyKind::P256).serial(&[1]).self_signed();
    let between = Pki::intermediate(KeyKind::P256).serial(&[1]).issue(&root);
    let leaf = Pki::leaf(KeyKind::P256).serial(&[1]).issue(&between);
    assert!(verify(&[&leaf, &between, &root], &[&root]).is_ok());
}

#[test]
fn a_leaf_issues_nothing() {
    let root = Pki::root(KeyKind::P256).self_signed();
    let leaf = Pki::leaf(KeyKind::P256).issue(&root);
    let forged = Pki::leaf(KeyKind::P256).seed(5).subject("CN=Victim").issue(&leaf);
    assert!(matches!(verify(&[&forged, &leaf], &[&root]), Err(Problem::NotACa { .. })));
    assert!(matches!(verify(&[&forged, &leaf], &[&leaf]), Err(Problem::NotACa { .. })));
    assert!(matches!(verify(&[&forged], &[&leaf]), Err(Problem::NotACa { .. })));
}

#[test]
fn path_length_counts_intermediates() {
    for (allowed, ok) in [(0, false), (1, true)] {
        let root = Pki::root(KeyKind::P256).ca(Some(allowed)).self_signed();
        let between = Pki::intermediate(KeyKind::P256).ca(Some(0)).issue(&root);
        let leaf = Pki::leaf(KeyKind::P256).ca(None).issue(&between);
        let below = Pki::leaf(KeyKind::P256).seed(6).subject("CN=Below").issue(&leaf);
        assert_eq!(verify(&[&leaf, &between], &[&root]).is_ok(), ok, "{allowed}");
        assert!(
            matches!(verify(&[&below, &leaf, &between], &[&root]), Err(Problem::PathLength { .. })),
            "{allowed}"
        );
    }
}

#[test]
fn either_usage_suffices() {
    let root = Pki::root(KeyKind::P256).self_signed();
    let usage = |p: Pki| verify(&[&p.issue(&root)], &[&root]).is_ok();
    let leaf = || Pki::leaf(KeyKind::P256);
    assert!(usage(leaf()));
    assert!(usage(leaf().extended(&[SERVER_AUTH])), "key usage stands alone");
    assert!(usage(leaf().usages(KeyUsages::KeyEncipherment).extended(&[CODE_SIGNING])));
    assert!(usage(leaf().without(ObjectIdentifier::new_unwrap("2.5.29.15")).extended(&[CODE_SIGNING])));
    assert!(!usage(leaf().usages(KeyUsages::NonRepudiation)));
    assert!(!usage(leaf().usages(KeyUsages::KeyEncipherment).extended(&[SERVER_AUTH])));
    let unreadable =
        leaf().raw_extension(ObjectIdentifier::new_unwrap("2.5.29.15"), true, &[0x04, 0x00]).issue(&root);
    assert!(matches!(verify(&[&unreadable], &[&root]), Err(Problem::Malformed { .. })));
}

#[test]
fn name_constraints_hold_through_the_chain() {
    let permitted = [email("example.com"), uri(".example.com"), directory("O=Acme")];
    let root = Pki::root(KeyKind::P256).subject("CN=Root").constrain(&permitted, &[dns("")]).self_signed();
    // The intermediate repeats what the root permits.
    let between =
        Pki::intermediate(KeyKind::P256).subject("CN=Between,O=Acme").constrain(&permitted, &[]).issue(&root);
    let leaf = || Pki::leaf(KeyKind::P256).subject("CN=x,O=Acme");
    let with = |p: Pki| verify(&[&p.issue(&between), &between], &[&root]);
    let refused = |p: Pki| matches!(with(p), Err(Problem::NameConstraint { .. }));
    assert!(with(leaf().names(&[email("a@example.com"), uri("https://w.example.com/x")])).is_ok());
    assert!(refused(leaf().names(&[email("a@sub.example.com")])));
    assert!(refused(leaf().names(&[uri("https://evil.com/@w.example.com")])));
    assert!(refused(leaf().names(&[dns("example.com")])), "all DNS names are excluded");
    assert!(refused(leaf().subject("CN=x,O=Evil")));
    assert!(
        refused(leaf().subject("1.2.840.113549.1.9.1=#0c0a61406576696c2e636f6d,CN=x,O=Acme")),
        "emailAddress as UTF8String"
    );
    // A root's certificate for its next key has the root's name, whatever the root permits.
    let rolled = Pki::root(KeyKind::P256).subject("CN=Root").seed(8).issue(&root);
    assert!(verify(&[&leaf().issue(&rolled), &rolled], &[&root]).is_ok());
    // The same below the intermediate alone, and for one that has the name of its issuer.
    let between = Pki::intermediate(KeyKind::P256).constrain(&[directory("O=Acme")], &[]).issue(&root);
    assert!(matches!(
        verify(&[&leaf().subject("CN=Test Intermediate").issue(&between)], &[&between]),
        Err(Problem::NameConstraint { .. })
    ));
}
