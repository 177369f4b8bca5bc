//! Certificates: whose they are, when they were valid, what they say, and whether a log had them.

use serde_json::{Value, json};
use testkit::{
    forge::{Authority, CtLog, EMAIL, Forge, ISSUER, Leaf, Sct, Signing, TIME, encode, log_json, window},
    pki::{CODE_SIGNING, Key, KeyKind, KeyUsages, Pki, SERVER_AUTH, dns, email, uri},
};
use weightseal::Code;

use super::{Case, payload, proves, refused};

/// Demands that a bundle with this leaf is refused, however it is logged.
#[track_caller]
fn refuses(code: Code, change: impl Fn(Leaf) -> Leaf) {
    let forge = Forge::new();
    let leaf = forge.issue(&change(forge.leaf()));
    refused(&forge.root(), &forge.v2().by(&leaf).bundle(&payload()), code);
    refused(&forge.root(), &forge.v1().by(&leaf).bundle(&payload()), code);
}

#[test]
fn a_certificate_that_was_not_valid_at_the_proven_time_is_refused() {
    refuses(Code::CertificateExpired, |leaf| Leaf { to: TIME - 1, ..leaf });
    refuses(Code::CertificateNotYetValid, |leaf| Leaf { from: TIME + 1, ..leaf });
    refuses(Code::CertificateNotYetValid, |leaf| Leaf { from: TIME + 1, to: TIME + 86_400, ..leaf });
    let forge = Forge::new();
    for leaf in [Leaf { to: TIME, ..forge.leaf() }, Leaf { from: TIME, ..forge.leaf() }] {
        proves(&forge.root(), &forge.v2().by(&forge.issue(&leaf)).bundle(&payload()));
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let forge = Forge::new();
    let stranger = Authority::new("Stranger", 1).issue(&forge.leaf());
    refused(&forge.root(), &forge.v2().by(&stranger).bundle(&payload()), Code::CertificateAnchorUnknown);
    let namesake = Authority::new("Forge", 1).issue(&forge.leaf());
    refused(&forge.root(), &forge.v2().by(&namesake).bundle(&payload()), Code::CertificateSignature);
    let own = Pki::leaf(KeyKind::P256).names(&[email(EMAIL)]).extended(&[CODE_SIGNING]).self_signed();
    refused(&forge.root(), &forge.v2().by(&own).bundle(&payload()), Code::SctMissing);
    // Its authority's certificates in the bundle are no reason to trust it.
    let authority = Authority::new("Stranger", 1);
    let chain = vec![stranger.der(), authority.intermediate.der(), authority.root.der()];
    let signing = Signing { chain, ..forge.v1().by(&stranger).version(2) };
    refused(&forge.root(), &signing.bundle(&payload()), Code::CertificateAnchorUnknown);
}

#[test]
fn an_authority_that_was_not_trusted_at_the_proven_time_is_refused() {
    for case in [Case::v1(), Case::v2()] {
        let authority = "certificateAuthorities";
        let code = Code::CertificateAnchorUnknown;
        case.refuses_root(code, |root| window(&mut root[authority][0], TIME - 900, Some(TIME - 1)));
        case.refuses_root(code, |root| window(&mut root[authority][0], TIME + 1, None));
        case.refuses_root(code, |root| root[authority] = json!([]));
        // Another authority's time does not count for this one.
        case.refuses_root(code, |root| {
            window(&mut root[authority][0], TIME - 900, Some(TIME - 1));
            let other = Authority::new("Stranger", 1);
            let other = testkit::forge::authority_json("https://stranger.example", &[&other.root]);
            root[authority].as_array_mut().unwrap().push(other);
        });
    }
}

#[test]
fn a_second_leaf_in_the_chain_is_refused() {
    let forge = Forge::new();
    let other = forge.issue(&Leaf { names: vec![email("other@forge.example")], ..forge.leaf() });
    for version in [1, 2] {
        let mut signing = forge.v1().version(version);
        signing.chain.push(other.der());
        refused(&forge.root(), &signing.bundle(&payload()), Code::CertificateNotACa);
        signing.chain.insert(1, forge.authority.intermediate.der());
        refused(&forge.root(), &signing.bundle(&payload()), Code::CertificateNotACa);
    }
}

#[test]
fn a_chain_without_end_is_refused_before_a_path_is_looked_for() {
    let forge = Forge::new();
    let signing = |extra: usize| {
        let mut signing = forge.v1().version(2);
        signing.chain.extend(std::iter::repeat_n(forge.authority.intermediate.der(), extra));
        signing.bundle(&payload())
    };
    proves(&forge.root(), &signing(15));
    refused(&forge.root(), &signing(16), Code::CertificateChainTooLong);
    refused(&forge.root(), &signing(9_000), Code::CertificateChainTooLong);
}

#[test]
fn a_certificate_that_is_not_meant_for_signing_code_is_refused() {
    refuses(Code::CertificateUsage, |leaf| Leaf { extended: Vec::new(), ..leaf });
    refuses(Code::CertificateUsage, |leaf| Leaf { extended: vec![SERVER_AUTH], ..leaf });
    refuses(Code::CertificateUsage, |leaf| Leaf { ca: true, ..leaf });
    refuses(Code::CertificateUsage, |leaf| Leaf { usages: Vec::new(), ..leaf });
    refuses(Code::CertificateUsage, |leaf| Leaf { usages: vec![KeyUsages::KeyEncipherment], ..leaf });
    let forge = Forge::new();
    let usages = vec![KeyUsages::DigitalSignature, KeyUsages::NonRepudiation];
    let leaf = forge.issue(&Leaf { usages, extended: vec![SERVER_AUTH, CODE_SIGNING], ..forge.leaf() });
    proves(&forge.root(), &forge.v2().by(&leaf).bundle(&payload()));
}

#[test]
fn a_certificate_with_a_critical_extension_that_nobody_knows_is_refused() {
    refuses(Code::CertificateCriticalExtension, |leaf| Leaf { strange: true, ..leaf });
}

#[test]
fn a_certificate_for_a_key_of_another_kind_is_refused() {
    for kind in [KeyKind::P521, KeyKind::Rsa2048] {
        refuses(Code::CertificateAlgorithm, |leaf| Leaf { key: Key::new(kind, 1), ..leaf });
    }
}

#[test]
fn a_certificate_has_exactly_one_identity() {
    refuses(Code::CertificateMalformed, |leaf| Leaf { names: Vec::new(), ..leaf });
    refuses(Code::CertificateMalformed, |leaf| Leaf { names: vec![email(EMAIL), email(EMAIL)], ..leaf });
    refuses(Code::CertificateMalformed, |leaf| Leaf {
        names: vec![email(EMAIL), uri("https://forge.example/other")],
        ..leaf
    });
    refuses(Code::CertificateMalformed, |leaf| Leaf { names: vec![dns("forge.example")], ..leaf });
    refuses(Code::CertificateMalformed, |leaf| Leaf { names: vec![email("")], ..leaf });
}

#[test]
fn a_certificate_has_exactly_one_issuer() {
    let other = || Some("https://other.forge.example".to_owned());
    refuses(Code::CertificateMalformed, |leaf| Leaf { old_issuer: other(), ..leaf });
    refuses(Code::CertificateMalformed, |leaf| Leaf { issuer: other(), ..leaf });
    refuses(Code::CertificateMalformed, |leaf| Leaf { issuer: Some(format!("{ISSUER}/")), ..leaf });
    refuses(Code::IssuerNotExpected, |leaf| Leaf { issuer: None, old_issuer: None, ..leaf });
}

#[test]
fn a_certificate_that_no_log_had_is_refused() {
    let forge = Forge::new();
    let good = Sct { log: forge.ct.clone(), time: TIME - 300, broken: false };
    refuses(Code::SctMissing, |leaf| Leaf { scts: Vec::new(), ..leaf });
    for scts in [
        vec![Sct { broken: true, ..good.clone() }],
        vec![Sct { log: CtLog::new(1), ..good.clone() }],
        vec![good.clone(), good.clone()],
        vec![Sct { log: CtLog::new(1), ..good.clone() }, good.clone()],
        // Before anything of the instance was trusted.
        vec![Sct { time: testkit::forge::START - 1, ..good.clone() }],
    ] {
        refuses(Code::SctInvalid, |leaf| Leaf { scts: scts.clone(), ..leaf });
    }
}

#[test]
fn a_certificate_log_that_was_not_trusted_then_does_not_count() {
    for case in [Case::v1(), Case::v2()] {
        let code = Code::SctInvalid;
        case.refuses_root(code, |root| window(&mut root["ctlogs"][0], TIME - 900, Some(TIME - 301)));
        case.refuses_root(code, |root| window(&mut root["ctlogs"][0], TIME - 299, None));
        case.refuses_root(code, |root| {
            let other = CtLog::new(1);
            root["ctlogs"] = json!([log_json("https://ct.forge.example", &other.key, &other.id())]);
        });
        // Another key under the same id.
        case.refuses_root(code, |root| {
            root["ctlogs"][0]["publicKey"]["rawBytes"] = encode(&CtLog::new(1).key.spki_der()).into();
        });
        case.refuses_root(code, |root| root["ctlogs"] = json!([]));
    }
}

#[test]
fn what_a_log_had_was_this_very_certificate() {
    let forge = Forge::new();
    let scts = |der: Vec<u8>| -> (usize, Vec<u8>) {
        let mark = forge.ct.id();
        let at = der.windows(32).position(|window| window == mark).unwrap();
        (at, der[at..at + 32 + 8].to_vec())
    };
    // Issued again for somebody else, with the timestamp that the log gave for the first one.
    let first = forge.issue(&forge.leaf()).der();
    let other = Leaf { names: vec![email("own@forge.example")], ..forge.leaf() };
    assert_eq!(scts(first.clone()).1, scts(forge.issue(&other).der()).1);
    let stolen =
        Leaf { scts: vec![Sct { log: forge.ct.clone(), time: TIME - 299, broken: false }], ..forge.leaf() };
    let mut der = forge.issue(&stolen).der();
    let (at, bytes) = scts(first);
    der[at..at + 40].copy_from_slice(&bytes);
    let signing = Signing { chain: vec![der], ..forge.v2() };
    // The certificate's own signature is over its timestamps, too.
    refused(&forge.root(), &signing.bundle(&payload()), Code::CertificateSignature);
}

#[test]
fn a_certificate_that_cannot_be_read_is_refused() {
    let case = Case::v1();
    let certificate = |der: &'static [u8]| {
        move |wire: &mut Value| {
            wire["verificationMaterial"]["certificate"]["rawBytes"] = encode(der).into();
        }
    };
    for der in [&b""[..], b"\x30\x00", b"garbage", b"\x30\x84\xff\xff\xff\xff"] {
        case.refuses(Code::CertificateMalformed, certificate(der));
    }
    case.refuses(Code::CertificateMalformed, |wire| {
        let field = &mut wire["verificationMaterial"]["certificate"]["rawBytes"];
        let longer = [testkit::forge::decode(field.as_str().unwrap()), vec![0]].concat();
        *field = encode(&longer).into();
    });
}
