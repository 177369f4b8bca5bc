//! Envelope, material, and the keys behind them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::pki::{Key, KeyKind, Shape, sign_pae};
use weightseal::{Accept, Bundle, Code, Policy};

use crate::good::{Good, envelope, one, pae, parse, refused, trusting, unparsable, verified};

fn wire(good: &Good, change: impl FnOnce(&mut Value)) -> Value {
    let mut wire = good.wire();
    change(&mut wire);
    wire
}

#[test]
fn each_media_type_of_bundles_and_no_other() {
    let good = Good::new();
    let typed = |media: &str| wire(&good, |wire| wire["mediaType"] = media.into());
    for media in [
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    ] {
        verified(&good.model(), &good.policy(), &[parse(&typed(media))]);
    }
    for media in [
        "",
        "application/json",
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "application/vnd.dev.sigstore.bundle.v0.2+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.4",
        "application/vnd.dev.sigstore.bundle+json; version=0.1",
        "application/vnd.dev.sigstore.bundle+json",
        "Application/vnd.dev.sigstore.bundle.v0.3+json",
        " application/vnd.dev.sigstore.bundle.v0.3+json",
    ] {
        unparsable(typed(media).to_string().as_bytes(), Code::MediaTypeUnsupported);
    }
}

#[test]
fn one_kind_of_material_and_one_kind_of_signature() {
    let good = Good::new();
    let leaf = STANDARD.encode(Shape::Plain.case(KeyKind::P256).chain[0].der());
    let chain = json!({"certificates": [{"rawBytes": leaf}]});
    for (key, value) in [("x509CertificateChain", chain.clone()), ("certificate", json!({"rawBytes": leaf}))]
    {
        let both = wire(&good, |wire| wire["verificationMaterial"][key] = value);
        unparsable(both.to_string().as_bytes(), Code::MaterialAmbiguous);
    }
    let certificates = wire(&good, |wire| {
        wire["verificationMaterial"] =
            json!({"certificate": {"rawBytes": leaf}, "x509CertificateChain": chain});
    });
    unparsable(certificates.to_string().as_bytes(), Code::MaterialAmbiguous);
    let empty = wire(&good, |wire| {
        wire["verificationMaterial"] = json!({"x509CertificateChain": {"certificates": []}});
    });
    unparsable(empty.to_string().as_bytes(), Code::MaterialMissing);

    let message = json!({"messageDigest": {"algorithm": "SHA2_256", "digest": ""}, "signature": ""});
    let beside = wire(&good, |wire| wire["messageSignature"] = message.clone());
    unparsable(beside.to_string().as_bytes(), Code::MessageSignature);
    let instead = wire(&good, |wire| {
        wire.as_object_mut().unwrap().remove("dsseEnvelope");
        wire["messageSignature"] = message;
    });
    unparsable(instead.to_string().as_bytes(), Code::MessageSignature);
}

#[test]
fn one_signature_and_the_payload_type_of_statements() {
    let good = Good::new();
    let signature = good.wire()["dsseEnvelope"]["signatures"][0].clone();
    for signatures in [json!([]), json!([signature, signature]), json!([signature, {"sig": "", "keyid": ""}])]
    {
        let changed = wire(&good, |wire| wire["dsseEnvelope"]["signatures"] = signatures);
        unparsable(changed.to_string().as_bytes(), Code::SignatureCount);
    }
    for kind in ["", "application/json", "application/vnd.in-toto+json;v=1", "application/vnd.in-toto+JSON"] {
        let changed = wire(&good, |wire| wire["dsseEnvelope"]["payloadType"] = kind.into());
        unparsable(changed.to_string().as_bytes(), Code::PayloadTypeUnsupported);
    }
}

#[test]
fn a_signature_over_a_changed_payload_is_none() {
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        let hashing = weightseal::Hashing::files(weightseal::Algorithm::Sha256);
        let good = Good::with(&hashing, kind, |_| (), |model| model);
        let mut payload = good.payload();
        let old: Vec<u8> =
            STANDARD.decode(good.wire()["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        let with = |payload: &[u8], signature: &[u8]| {
            parse(&wire(&good, |wire| wire["dsseEnvelope"] = envelope(payload, signature)))
        };
        verified(&good.model(), &good.policy(), &[with(&payload, &old)]);
        payload.push(b' ');
        good.refuses(with(&payload, &old), Code::SignatureInvalid);
        payload.pop();
        for wrong in [
            vec![],
            vec![0; old.len()],
            old[..old.len() - 1].to_vec(),
            [&old[..], &[0]].concat(),
            sign_pae(&good.key, &payload),
            sign_pae(&good.key, &[pae(&payload), b" ".to_vec()].concat()),
        ] {
            good.refuses(with(&payload, &wrong), Code::SignatureInvalid);
        }
        let last = old.len() - 1;
        for at in [0, old.len() / 2, last] {
            let mut flipped = old.clone();
            flipped[at] ^= 1;
            good.refuses(with(&payload, &flipped), Code::SignatureInvalid);
        }
    }
}

/// The bundle without a hint.
fn hintless(bundle: &Bundle) -> Bundle {
    let mut wire: Value = serde_json::from_str(&bundle.to_json()).unwrap();
    wire["verificationMaterial"]["publicKey"] = json!({});
    parse(&wire)
}

#[test]
fn another_key_is_not_trusted_whatever_its_type() {
    let good = Good::new();
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521] {
        let policy = trusting(&Key::new(kind, 7));
        refused(&good.model(), &policy, good.bundles(), &[Code::KeyNotTrusted]);
        let without = hintless(&good.bundle);
        refused(&good.model(), &policy, one(&without), &[Code::SignatureInvalid]);
        // Beside the right key it does no harm, in either order.
        for (first, second) in [(&good.key, &Key::new(kind, 7)), (&Key::new(kind, 7), &good.key)] {
            let both = trusting(first).accept(Accept::key(second.public_pem()).unwrap());
            verified(&good.model(), &both, good.bundles());
            verified(&good.model(), &both, one(&without));
        }
    }
}

#[test]
fn a_hint_chooses_and_never_adds() {
    let good = Good::new();
    let other = Key::new(KeyKind::Ed25519, 7);
    let hinted = |hint: &str| {
        parse(&wire(&good, |wire| wire["verificationMaterial"]["publicKey"]["hint"] = hint.into()))
    };
    // The hint of another key that is trusted as well: it is taken at its word.
    let foreign = crate::good::sha256(other.public_pem().as_bytes());
    let both = good.policy().accept(Accept::key(other.public_pem()).unwrap());
    refused(&good.model(), &both, &[hinted(&foreign)], &[Code::SignatureInvalid]);
    refused(&good.model(), &good.policy(), &[hinted(&foreign)], &[Code::KeyNotTrusted]);
    let right = crate::good::sha256(good.key.public_pem().as_bytes());
    verified(&good.model(), &good.policy(), &[hinted(&right)]);
    refused(&good.model(), &good.policy(), &[hinted(&right.to_uppercase())], &[Code::KeyNotTrusted]);
}

#[test]
fn a_key_inside_the_bundle_is_never_trusted() {
    let good = Good::new();
    let attacker = Key::new(KeyKind::P256, 66);
    let old_form = |key: &Key| {
        wire(&good, |wire| {
            wire["verificationMaterial"]["publicKey"] = json!({
                "rawBytes": STANDARD.encode(key.public_pem()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            });
        })
    };
    verified(&good.model(), &good.policy(), &[parse(&old_form(&good.key))]);

    let mut forged = old_form(&attacker);
    let payload = good.payload();
    forged["dsseEnvelope"] = envelope(&payload, &sign_pae(&attacker, &pae(&payload)));
    // The forgery is a sound signature: whoever trusts the attacker accepts it.
    verified(&good.model(), &trusting(&attacker), &[parse(&forged)]);
    good.refuses(parse(&forged), Code::SignatureInvalid);
    let hint = crate::good::sha256(good.key.public_pem().as_bytes());
    forged["verificationMaterial"]["publicKey"]["hint"] = hint.into();
    good.refuses(parse(&forged), Code::SignatureInvalid);
}

/// What an entry of a log has to have.
fn entry() -> serde_json::Value {
    json!({
        "logIndex": "1",
        "logId": {"keyId": "AAAA"},
        "kindVersion": {"kind": "dsse", "version": "0.0.1"},
        "canonicalizedBody": "AAAA",
    })
}

#[test]
fn trust_of_one_method_is_none_of_another() {
    let good = Good::new();
    let case = Shape::Plain.case(KeyKind::P256);
    let certificates = Policy::new().accept(Accept::certificate(case.anchors_pem()).unwrap());
    refused(&good.model(), &certificates, good.bundles(), &[Code::MethodNotAccepted]);

    // A sigstore bundle, by its certificate, and in the older form by the entries of a log.
    let leaf = json!({"rawBytes": STANDARD.encode(case.chain[0].der())});
    let sigstore = wire(&good, |wire| {
        wire["verificationMaterial"] = json!({"certificate": leaf, "tlogEntries": [entry()]});
    });
    let older = wire(&good, |wire| {
        wire["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
        wire["verificationMaterial"] = json!({
            "x509CertificateChain": {"certificates": [leaf]}, "tlogEntries": [entry()],
        });
    });
    let code = if cfg!(feature = "sigstore") { Code::MethodNotAccepted } else { Code::MethodUnsupported };
    for bundle in [sigstore, older] {
        for policy in [&certificates, &good.policy()] {
            refused(&good.model(), policy, &[parse(&bundle)], &[code]);
        }
    }
}

#[test]
fn log_entries_that_nobody_checked_are_told() {
    let good = Good::new();
    let logged = wire(&good, |wire| wire["verificationMaterial"]["tlogEntries"] = json!([entry()]));
    let report = verified(&good.model(), &good.policy(), &[parse(&logged)]);
    assert!(report.signatures[0].notes.iter().any(|note| note.contains("not checked")), "{report}");
}
