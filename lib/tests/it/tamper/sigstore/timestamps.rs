//! Timestamps and other times: whose they are, of what, and what they prove.

use serde_json::{Value, json};
use testkit::{
    forge::{Forge, Leaf, Logged, Signing, TIME, Tsa, authority_json, decode, encode, window},
    pki::TO,
};
use weightseal::{Bundle, Code, FixedClock, NotProven, Run, SigstoreVerifier, Verifier};

use super::{Case, payload, proves, refused, signed_by_dev, stamps, trusted};

/// The bundle with this timestamp instead of its own.
#[track_caller]
fn refuses_stamp(code: Code, stamp: &[u8]) {
    Case::v2().refuses(code, |wire| stamps(wire)[0] = json!({"signedTimestamp": encode(stamp)}));
    // One that is good does not help.
    Case::v2().refuses(code, |wire| stamps(wire).push(json!({"signedTimestamp": encode(stamp)})));
    Case::v2().refuses(code, |wire| stamps(wire).insert(0, json!({"signedTimestamp": encode(stamp)})));
}

fn signature() -> Vec<u8> {
    Forge::new().v2().signature(&payload())
}

#[test]
fn a_timestamp_by_an_unknown_authority_is_refused() {
    refuses_stamp(Code::TimestampUntrusted, &Tsa::new("Stranger", 1).stamp(&signature(), TIME));
    // Other keys under the same names.
    refuses_stamp(Code::TimestampUntrusted, &Tsa::new("Forge", 1).stamp(&signature(), TIME));
    // Another key behind the same name and number.
    let forge = Forge::new();
    let serial = forge.tsa.leaf.clone().certificate().tbs_certificate.serial_number.clone();
    let mut namesake = Tsa::new("Forge", 1);
    namesake.leaf.certificate().tbs_certificate.serial_number = serial;
    refuses_stamp(Code::TimestampInvalid, &namesake.stamp(&signature(), TIME));
    Case::v2().refuses_root(Code::TimestampUntrusted, |root| root["timestampAuthorities"] = json!([]));
    Case::v2().refuses_root(Code::TimestampUntrusted, |root| {
        let other = Tsa::new("Stranger", 1);
        root["timestampAuthorities"] =
            json!([authority_json("https://x.example", &[&other.leaf, &other.root])]);
    });
}

#[test]
fn a_timestamp_of_something_else_is_refused() {
    let tsa = Forge::new().tsa;
    refuses_stamp(Code::TimestampInvalid, &tsa.stamp(b"another signature", TIME));
    refuses_stamp(Code::TimestampInvalid, &tsa.stamp(&payload(), TIME));
}

#[test]
fn a_timestamp_that_cannot_be_read_is_refused() {
    let good = Forge::new().tsa.stamp(&signature(), TIME);
    for stamp in [&b""[..], b"garbage", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", &good[..good.len() - 1]] {
        refuses_stamp(Code::TimestampInvalid, stamp);
    }
    refuses_stamp(Code::TimestampInvalid, &[&good[..], b"\0"].concat());
    // The authority's refusal, with a good token behind it.
    let mut refusal = good.clone();
    let at = refusal.windows(3).position(|window| window == [2, 1, 0]).unwrap();
    refusal[at + 2] = 2;
    refuses_stamp(Code::TimestampInvalid, &refusal);
    // The token alone is what some write.
    let mut wire = Case::v2().wire;
    let forge = Forge::new();
    stamps(&mut wire)[0] = json!({"signedTimestamp": encode(&forge.tsa.token(&signature(), TIME))});
    proves(&forge.root(), &wire);
}

#[test]
fn a_timestamp_at_which_its_authority_was_not_trusted_is_refused() {
    let case = Case::v2();
    let code = Code::TimestampUntrusted;
    let authority = "timestampAuthorities";
    case.refuses_root(code, |root| window(&mut root[authority][0], TIME - 900, Some(TIME - 1)));
    case.refuses_root(code, |root| window(&mut root[authority][0], TIME + 1, None));
    case.refuses_root(code, |root| window(&mut root[authority][0], 4_000_000_000, None));
    // Another authority's time does not count for this one.
    case.refuses_root(code, |root| {
        window(&mut root[authority][0], TIME - 900, Some(TIME - 1));
        let other = Tsa::new("Stranger", 1);
        let other = authority_json("https://x.example", &[&other.leaf, &other.root]);
        root[authority].as_array_mut().unwrap().push(other);
    });
    let mut root = case.root.clone();
    window(&mut root[authority][0], TIME, Some(TIME));
    proves(&root, &case.wire);
}

#[test]
fn a_timestamp_before_or_after_the_certificate_is_refused() {
    let tsa = Forge::new().tsa;
    refuses_stamp(Code::CertificateNotYetValid, &tsa.stamp(&signature(), TIME - 301));
    refuses_stamp(Code::CertificateExpired, &tsa.stamp(&signature(), TIME + 301));
}

#[test]
fn a_time_in_the_future_is_refused() {
    let forge = Forge::new();
    let lasting = forge.issue(&Leaf { to: TO, ..forge.leaf() });
    let now = Run::new().now_unix();
    let stamped = |at| Signing { stamps: vec![(forge.tsa.clone(), at)], ..forge.v2().by(&lasting) };
    let logged = |at| Signing {
        logged: vec![Logged { integrated: Some(at), ..Logged::v1(&forge.v1) }],
        ..forge.v1().by(&lasting)
    };
    proves(&forge.root(), &stamped(now - 10).bundle(&payload()));
    proves(&forge.root(), &logged(now - 10).bundle(&payload()));
    refused(&forge.root(), &stamped(now + 7200).bundle(&payload()), Code::TimeInFuture);
    refused(&forge.root(), &logged(now + 7200).bundle(&payload()), Code::TimeInFuture);
}

#[test]
fn what_nobody_says_the_time_of_is_refused() {
    let case = Case::v2();
    case.refuses(Code::TimeUnproven, |wire| stamps(wire).clear());
    case.refuses(Code::TimeUnproven, |wire| {
        wire["verificationMaterial"].as_object_mut().unwrap().remove("timestampVerificationData");
    });
    case.refuses(Code::TimeUnproven, |wire| {
        wire["verificationMaterial"]["timestampVerificationData"] = Value::Null;
    });
    // A time that the log has not signed proves nothing, whatever the entry says.
    case.refuses(Code::TimeUnproven, |wire| {
        stamps(wire).clear();
        super::entry(wire)["integratedTime"] = TIME.to_string().into();
    });
    let case = Case::v1();
    case.refuses_entry(Code::TimeUnproven, |entry| {
        entry.as_object_mut().unwrap().remove("inclusionPromise");
    });
    case.refuses_entry(Code::TimeUnproven, |entry| {
        entry.as_object_mut().unwrap().remove("integratedTime");
    });
    case.refuses_entry(Code::TimeUnproven, |entry| entry["integratedTime"] = "0".into());
}

#[test]
fn the_earliest_time_is_reported_and_every_one_counts() {
    let forge = Forge::new();
    let stamps = |times: &[i64]| times.iter().map(|time| (forge.tsa.clone(), *time)).collect();
    let both = Signing {
        logged: vec![Logged { integrated: Some(TIME - 7), ..Logged::v1(&forge.v1) }],
        stamps: stamps(&[TIME + 9, TIME - 3]),
        ..forge.v2()
    };
    proves(&forge.root(), &both.bundle(&payload()));
    let late = Signing { stamps: stamps(&[TIME, TIME + 301]), ..both.clone() };
    refused(&forge.root(), &late.bundle(&payload()), Code::CertificateExpired);
    let early = Signing { stamps: stamps(&[TIME, TIME - 301]), ..both };
    refused(&forge.root(), &early.bundle(&payload()), Code::CertificateNotYetValid);
}

#[test]
fn no_flip_in_a_timestamp_makes_another_time_of_it() {
    let forge = Forge::new();
    let root = trusted(&forge.root());
    let good = forge.v2().bundle(&payload());
    let stamp = decode(stamps(&mut good.clone())[0]["signedTimestamp"].as_str().unwrap());
    let verifier = SigstoreVerifier::new(root, signed_by_dev());
    let mut accepted = Vec::new();
    for at in 0..stamp.len() {
        let mut flipped = stamp.clone();
        flipped[at] ^= 1 << (at % 8);
        let mut wire = good.clone();
        stamps(&mut wire)[0] = json!({"signedTimestamp": encode(&flipped)});
        let bundle = Bundle::parse(wire.to_string().as_bytes()).unwrap();
        if let Ok(proof) = verifier.verify(&bundle, &Run::new()) {
            // All that is signed is still the same.
            assert!(format!("{proof:?}").contains("2025-06-15T15:06:40Z"), "byte {at}");
            accepted.push(at);
        }
    }
    // What nobody signed and nothing is decided by: that it was granted, the digests announced, the type of the string
    // that holds the signed text, the name of the signature's algorithm, which the key determines.
    let unsigned = [8..9, 41..50, 67..68, 324..332];
    let signed: Vec<_> =
        accepted.iter().filter(|at| !unsigned.iter().any(|range| range.contains(*at))).collect();
    assert!(signed.is_empty(), "{signed:?} of {}", stamp.len());
}

#[test]
fn a_clock_before_the_day_of_the_build_tells_nothing() {
    let forge = Forge::new();
    let wire = forge.v2().bundle(&payload());
    let bundle = Bundle::parse(wire.to_string().as_bytes()).unwrap();
    let verifier = SigstoreVerifier::new(trusted(&forge.root()), signed_by_dev());
    assert!(verifier.verify(&bundle, &Run::new()).is_ok());
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(TIME as u64 + 3600);
    let outcome = verifier.verify(&bundle, &Run::new().clock(FixedClock(then)));
    let Err(NotProven::Refused(finding)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(finding.code, Code::ClockWrong);
}
