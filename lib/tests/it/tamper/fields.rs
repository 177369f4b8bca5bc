//! Each field of bundle and statement: missing, doubled, of another type, null; and fields that nobody knows.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::pki::{KeyKind, Shape};
use weightseal::{Accept, Bundle, CertificateSigner, Code, Model, Policy, PrivateKey, Run};

use crate::good::{Good, parse, unparsable, verified};

/// Where a field may stand and what it means when it is not there; all else about it is tried in the same way.
struct Field {
    at: &'static str,
    missing: Option<Code>,
}

const fn required(at: &'static str) -> Field {
    Field { at, missing: Some(Code::FieldMissing) }
}

const fn optional(at: &'static str) -> Field {
    Field { at, missing: None }
}

const BUNDLE: [Field; 11] = [
    required("/mediaType"),
    required("/verificationMaterial"),
    Field { at: "/verificationMaterial/publicKey", missing: Some(Code::MaterialMissing) },
    optional("/verificationMaterial/publicKey/hint"),
    optional("/verificationMaterial/tlogEntries"),
    required("/dsseEnvelope"),
    required("/dsseEnvelope/payload"),
    required("/dsseEnvelope/payloadType"),
    required("/dsseEnvelope/signatures"),
    required("/dsseEnvelope/signatures/0/sig"),
    optional("/dsseEnvelope/signatures/0/keyid"),
];

const CERTIFICATES: [Field; 3] = [
    Field { at: "/verificationMaterial/x509CertificateChain", missing: Some(Code::MaterialMissing) },
    required("/verificationMaterial/x509CertificateChain/certificates"),
    required("/verificationMaterial/x509CertificateChain/certificates/0/rawBytes"),
];

const STATEMENT: [Field; 20] = [
    required("/_type"),
    required("/predicateType"),
    required("/subject"),
    required("/subject/0/name"),
    required("/subject/0/digest"),
    required("/subject/0/digest/sha256"),
    optional("/subject/0/annotations"),
    optional("/subject/0/annotations/name"),
    optional("/subject/0/annotations/version"),
    required("/predicate"),
    required("/predicate/serialization"),
    required("/predicate/serialization/method"),
    required("/predicate/serialization/hash_type"),
    required("/predicate/serialization/shard_size"),
    required("/predicate/serialization/allow_symlinks"),
    optional("/predicate/serialization/ignore_paths"),
    required("/predicate/resources"),
    required("/predicate/resources/0/name"),
    required("/predicate/resources/0/algorithm"),
    required("/predicate/resources/0/digest"),
];

/// A sharded model with a name and a version: its statement has every field.
fn every_field() -> Good {
    let hashing = weightseal::Hashing::shards(weightseal::Algorithm::Sha256, 10).unwrap();
    Good::with(
        &hashing,
        KeyKind::Ed25519,
        |_| (),
        |model| model.release(Some("acme/llama-3".into()), Some("1.2".into())),
    )
}

/// The pointers of every field of a document; of an array the first item stands for all.
fn fields(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let at = format!("{at}/{key}");
                fields(value, &at, out);
                out.insert(at);
            }
        }
        Value::Array(items) => items.iter().take(1).for_each(|item| fields(item, &format!("{at}/0"), out)),
        _ => {}
    }
}

fn split(at: &str) -> (&str, &str) {
    at.rsplit_once('/').unwrap()
}

fn without(document: &Value, at: &str) -> Value {
    let mut changed = document.clone();
    let (parent, key) = split(at);
    assert!(changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).is_some(), "{at}");
    changed
}

/// The field twice in its object, the second time with this value.
fn doubled(document: &Value, at: &str, value: &Value) -> String {
    const MARK: &str = "the same key again";
    let mut changed = document.clone();
    let (parent, key) = split(at);
    changed.pointer_mut(parent).unwrap()[MARK] = value.clone();
    changed.to_string().replace(MARK, key)
}

/// The document with this value in the field's place, for each value of another type.
fn mistyped(document: &Value, at: &str) -> Vec<Value> {
    let kind = |value: &Value| std::mem::discriminant(value);
    let old = document.pointer(at).unwrap();
    [json!(null), json!(true), json!(5), json!("text"), json!([]), json!({})]
        .into_iter()
        .filter(|value| kind(value) != kind(old))
        .map(|value| {
            let mut changed = document.clone();
            *changed.pointer_mut(at).unwrap() = value;
            changed
        })
        .collect()
}

#[test]
fn the_tables_hold_every_field() {
    let names = |table: &[Field]| table.iter().map(|field| field.at.to_owned()).collect::<BTreeSet<_>>();
    let good = every_field();
    let mut of_bundle = BTreeSet::new();
    fields(&good.wire(), "", &mut of_bundle);
    assert_eq!(of_bundle, names(&BUNDLE));
    let mut of_statement = BTreeSet::new();
    fields(&good.statement(), "", &mut of_statement);
    assert_eq!(of_statement, names(&STATEMENT));
    let mut of_certificates = BTreeSet::new();
    fields(&certified().0, "", &mut of_certificates);
    assert!(of_certificates.is_superset(&names(&CERTIFICATES)));
    assert_eq!(of_certificates.len(), BUNDLE.len() - 2 + CERTIFICATES.len());
}

#[test]
fn each_field_of_the_bundle() {
    let good = every_field();
    try_bundle(&good.wire(), &BUNDLE, &good.model(), &good.policy());
    let (wire, good, policy) = certified();
    try_bundle(&wire, &CERTIFICATES, &good.model(), &policy);
}

fn try_bundle(wire: &Value, table: &[Field], model: &Model, policy: &Policy) {
    verified(model, policy, &[parse(wire)]);
    for Field { at, missing } in table {
        let changed = without(wire, at);
        match missing {
            Some(code) => unparsable(changed.to_string().as_bytes(), *code),
            None => drop(verified(model, policy, &[parse(&changed)])),
        }
        let value = wire.pointer(at).unwrap();
        unparsable(doubled(wire, at, value).as_bytes(), Code::JsonDuplicateKey);
        unparsable(doubled(wire, at, &json!(null)).as_bytes(), Code::JsonDuplicateKey);
        for changed in mistyped(wire, at) {
            if *at == "/dsseEnvelope/signatures/0/keyid" {
                // Nobody signed it and nobody reads it.
                verified(model, policy, &[parse(&changed)]);
            } else {
                unparsable(changed.to_string().as_bytes(), Code::FieldMistyped);
            }
        }
    }
}

#[test]
fn each_field_of_the_statement() {
    let good = every_field();
    let statement = good.statement();
    let resign = |changed: &str| good.resigned(changed.as_bytes());
    for Field { at, missing } in &STATEMENT {
        let mut changed = without(&statement, at);
        if *at == "/predicate/serialization/ignore_paths" {
            assert_ne!(statement.pointer(at).unwrap(), &json!([]));
        }
        match missing {
            Some(code) => drop(good.refuses(resign(&changed.to_string()), *code)),
            None => drop(verified(&good.model(), &good.policy(), &[resign(&changed.to_string())])),
        }
        let value = statement.pointer(at).unwrap();
        good.refuses(resign(&doubled(&statement, at, value)), Code::JsonDuplicateKey);
        good.refuses(resign(&doubled(&statement, at, &json!(null))), Code::JsonDuplicateKey);
        for wrong in mistyped(&statement, at) {
            changed = wrong;
            if at.starts_with("/subject/0/annotations/") {
                // An annotation of another type is somebody else's; it names no model.
                let report = verified(&good.model(), &good.policy(), &[resign(&changed.to_string())]);
                let row = &report.signatures[0];
                assert!(row.name.is_none() || row.version.is_none());
            } else {
                good.refuses(resign(&changed.to_string()), Code::FieldMistyped);
            }
        }
    }
}

#[test]
fn each_resource_counts_not_just_the_first() {
    let good = every_field();
    let last = good.statement()["predicate"]["resources"].as_array().unwrap().len() - 1;
    for key in ["name", "algorithm", "digest"] {
        let at = format!("/predicate/resources/{last}/{key}");
        good.refuses(
            good.resigned(without(&good.statement(), &at).to_string().as_bytes()),
            Code::FieldMissing,
        );
        let twice = doubled(&good.statement(), &at, &json!("x"));
        good.refuses(good.resigned(twice.as_bytes()), Code::JsonDuplicateKey);
        for wrong in mistyped(&good.statement(), &at) {
            good.refuses(good.resigned(wrong.to_string().as_bytes()), Code::FieldMistyped);
        }
    }
}

#[test]
fn items_of_lists_have_types_too() {
    let good = every_field();
    for at in ["/subject/0", "/predicate/resources/0", "/predicate/serialization/ignore_paths/0"] {
        for wrong in mistyped(&good.statement(), at) {
            good.refuses(good.resigned(wrong.to_string().as_bytes()), Code::FieldMistyped);
        }
    }
    for wrong in mistyped(&good.wire(), "/dsseEnvelope/signatures/0") {
        unparsable(wrong.to_string().as_bytes(), Code::FieldMistyped);
    }
    for wrong in mistyped(&certified().0, "/verificationMaterial/x509CertificateChain/certificates/0") {
        unparsable(wrong.to_string().as_bytes(), Code::FieldMistyped);
    }
    for item in [json!(null), json!(true), json!(5), json!("text"), json!([])] {
        let mut wire = good.wire();
        wire["verificationMaterial"]["tlogEntries"] = json!([item]);
        unparsable(wire.to_string().as_bytes(), Code::FieldMistyped);
    }
}

#[test]
fn a_key_is_doubled_however_it_is_spelled_and_however_deep() {
    let good = Good::new();
    let text = good.bundle.to_json();
    let escaped = text.replacen('{', "{\"media\\u0054ype\":\"x\",", 1);
    unparsable(escaped.as_bytes(), Code::JsonDuplicateKey);
    let deep = |twice: &str| good.changed(|statement| statement["later"] = json!([{"a": [{"b": twice}]}]));
    let payload = |bundle: &Bundle| bundle.unverified_statement().unwrap().payload().to_vec();
    let once = String::from_utf8(payload(&deep("MARK"))).unwrap();
    verified(&good.model(), &good.policy(), &[good.resigned(once.as_bytes())]);
    let twice = once.replace("\"MARK\"", "{\"c\":1,\"c\":1}");
    good.refuses(good.resigned(twice.as_bytes()), Code::JsonDuplicateKey);
}

#[test]
fn unknown_fields_are_refused_where_nobody_signed_them() {
    let good = Good::new();
    let (certified, _, _) = certified();
    for (wire, parents) in [
        (
            good.wire(),
            &[
                "",
                "/verificationMaterial",
                "/verificationMaterial/publicKey",
                "/dsseEnvelope",
                "/dsseEnvelope/signatures/0",
            ][..],
        ),
        (
            certified,
            &[
                "/verificationMaterial/x509CertificateChain",
                "/verificationMaterial/x509CertificateChain/certificates/0",
            ],
        ),
    ] {
        for parent in parents {
            for value in [json!(null), json!("x"), json!({"a": 1})] {
                let mut changed = wire.clone();
                changed.pointer_mut(parent).unwrap()["later"] = value;
                unparsable(changed.to_string().as_bytes(), Code::FieldUnknown);
            }
        }
    }
}

#[test]
fn unknown_fields_are_passed_over_where_they_are_signed() {
    let good = every_field();
    for parent in [
        "",
        "/subject/0",
        "/subject/0/digest",
        "/subject/0/annotations",
        "/predicate",
        "/predicate/serialization",
        "/predicate/resources/0",
    ] {
        let bundle = good.changed(|statement| {
            statement.pointer_mut(parent).unwrap()["later"] = json!({"a": [1, null]});
        });
        verified(&good.model(), &good.policy(), &[bundle]);
    }
}

#[test]
fn base64_is_whole_or_refused() {
    let good = Good::new();
    for at in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
        let text = good.wire().pointer(at).unwrap().as_str().unwrap().to_owned();
        for wrong in
            [format!("{text}!"), format!(" {text}"), format!("{text}\n"), format!("{text}A"), "é".into()]
        {
            let mut wire = good.wire();
            *wire.pointer_mut(at).unwrap() = wrong.into();
            unparsable(wire.to_string().as_bytes(), Code::FieldMistyped);
        }
    }
    let mut wire = certified().0;
    wire["verificationMaterial"]["x509CertificateChain"]["certificates"][0]["rawBytes"] = "!".into();
    unparsable(wire.to_string().as_bytes(), Code::FieldMistyped);
}

/// A bundle that was signed with a certificate, its model, and who is trusted.
fn certified() -> (Value, Good, Policy) {
    let good = Good::new();
    let case = Shape::Plain.case(KeyKind::P256);
    let key = PrivateKey::from_pem(case.key().pkcs8_pem().as_bytes(), || Ok(None)).unwrap();
    let signer =
        CertificateSigner::new(key, case.leaf_pem().as_bytes(), case.intermediates_pem().as_bytes()).unwrap();
    let hashing = weightseal::Hashing::files(weightseal::Algorithm::Sha256);
    let bundle = good.model().sign(&hashing, &signer, &Run::new()).unwrap();
    let policy = Policy::new().accept(Accept::certificate(case.anchors_pem()).unwrap());
    (serde_json::from_str(&bundle.to_json()).unwrap(), good, policy)
}
