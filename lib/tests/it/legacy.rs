//! Bundles as the reference's releases wrote them: 0.2.0 with its own formats, 0.3 to 1.0 with the key inside.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::pki::{Digest, Key, KeyKind, sign_pae};
use weightseal::{Bundle, Code};

use crate::good::{FILES, Good, envelope, fit_root, one, pae, parse, refused, sha256, trusting, verified};

const CURVES: [KeyKind; 3] = [KeyKind::P256, KeyKind::P384, KeyKind::P521];

/// The good model in the statement of 0.2.0: each file is a subject.
fn old_statement() -> Value {
    let subjects: Vec<Value> = FILES
        .iter()
        .map(|(name, bytes)| json!({"name": name, "digest": {"sha256": sha256(bytes)}}))
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://model_signing/Digests/v0.1",
        "predicate": {"unused": "Unused, just passed due to API requirements"},
    })
}

/// Bytes as Python's `repr` writes them; no payload here has both kinds of quotes.
fn python(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') { '"' } else { '\'' };
    let mut out = format!("b{quote}");
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
    out
}

/// What 0.2.0 signed.
fn old_pae(payload: &[u8]) -> Vec<u8> {
    format!("DSSEV1 28 application/vnd.in-toto+json {} {}", payload.len(), python(payload)).into_bytes()
}

/// A bundle of that time: the key itself in it, called a P-256 one whatever it is.
fn old_bundle(key: &Key, payload: &[u8], signature: &[u8]) -> Bundle {
    parse(&json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {
                "rawBytes": STANDARD.encode(key.public_pem()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
            "tlogEntries": [],
        },
        "dsseEnvelope": envelope(payload, signature),
    }))
}

#[test]
fn release_0_2_0_signed_its_own_encoding_always_with_sha256() {
    let good = Good::new();
    for kind in CURVES {
        let key = Key::new(kind, 1);
        for statement in [old_statement().to_string(), format!("{:#}\n", old_statement())] {
            let payload = statement.as_bytes();
            let signature = key.sign_over(Digest::Sha256, &old_pae(payload));
            let bundle = old_bundle(&key, payload, &signature);
            let report = verified(&good.model(), &trusting(&key), one(&bundle));
            assert!(report.signatures[0].notes.iter().any(|note| note.contains("0.2.0")), "{report}");
            // Another key of the same curve, and the digest of the curve, do not fit.
            let other = trusting(&Key::new(kind, 2));
            refused(&good.model(), &other, &[bundle], &[Code::SignatureInvalid]);
            if kind != KeyKind::P256 {
                let bundle = old_bundle(&key, payload, &sign_pae(&key, &old_pae(payload)));
                refused(&good.model(), &trusting(&key), &[bundle], &[Code::SignatureInvalid]);
            }
        }
    }
}

/// Signed by OpenSSL over what Python made of the payload, so that somebody else vouches for both: digest and key longer
/// than each other, and both kinds of quotes.
const WITNESSED: &str = r#"{"_type": "https://in-toto.io/Statement/v1", "predicate": {"unused": "it's unused"}, "predicateType": "https://model_signing/Digests/v0.1", "subject": [{"digest": {"sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"}, "name": "a.bin"}]}"#;

const WITNESSES: [(&str, &str); 2] = [
    (
        "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAELvcbI6gXqtLRwwYR41Y3DXXxTiEpqHzI
O3Bdp94AbNR57xWPf+3PvX5IPGNu8VQibE/KWLBbdMC26GMZ/s7YRUpyXxH3GG6X
txjurUmFAm9oC1lgQnkrVcDY1PvnczPn
-----END PUBLIC KEY-----
",
        "MGYCMQCOdXwOxAYjrM5YQJ+/O8cb2GXOmsqZRi42KMUw6l4mi1ULXQovJiRKByWWXsRyygACMQCYZ0QkwDOJlHthL3\
         rIxuPLRDOfhX56+0aZAAmk21oWERz5qRoBqtBdedrTrYfkfng=",
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAMKJQTiTU1MU+M2khaKeeLpyqaUkK
TIKXUP4zs4aUzZbs4UbUsOzT89dYM0vjtahk2Bv/gH5TU6aj1oiRx0IEsKcBWMB/
XoG4D0dLB3e2XOhQWyjBtJPl3GjIXwKDkrxrYH2IMNgjmcPpVF6Ok7TMTFe8sq9n
YIGD7NkJ17ACZqfJD60=
-----END PUBLIC KEY-----
",
        "MIGHAkIBgZYNMIMR+wK/A88QPo4oWRyunCNm0MRogVGkNoXIyDC5064OLxldDtjnYkjIgvPIv4xJmswgA+X27BQ9V07TIs4C\
         QShGtyvfGJsnyk4JTew+Rfk3QyCmT+TicS5x05jpkNopU607ZOJvm6z/hTdbvkpojPCWNKHppbDVCNF3tXLKrhsU",
    ),
];

#[test]
fn signatures_of_another_implementation_in_the_old_encoding() {
    let model = weightseal::Model::from_source(weightseal::Memory::new("m").with("a.bin", "weights"));
    for (public, signature) in WITNESSES {
        let trust = || weightseal::Policy::new().accept(weightseal::Accept::key(public).unwrap());
        let signature = STANDARD.decode(signature).unwrap();
        let key = Key::new(KeyKind::P256, 1);
        verified(&model, &trust(), &[old_bundle(&key, WITNESSED.as_bytes(), &signature)]);
        let changed = WITNESSED.replace("it's", "it`s");
        let bundle = old_bundle(&key, changed.as_bytes(), &signature);
        refused(&model, &trust(), &[bundle], &[Code::SignatureInvalid]);
    }
}

#[test]
fn the_payload_is_printed_as_python_prints_bytes() {
    let dir = testkit::temporary().unwrap();
    let files =
        [("it's.txt", &b"x"[..]), ("back\\slash", b"x"), ("\u{e9}t\u{e9}", b"x"), ("tab\there", b"x")];
    crate::good::write_files(dir.path(), files);
    let subjects: Vec<Value> =
        files.iter().map(|(name, _)| json!({"name": name, "digest": {"sha256": sha256(b"x")}})).collect();
    let mut statement = old_statement();
    statement["subject"] = subjects.into();
    let payload = statement.to_string().into_bytes();
    // With quotes of both kinds in it, Python takes single ones and escapes those inside.
    let inner = python(&payload);
    assert!(inner.starts_with("b\"") && payload.contains(&b'"'));
    let escaped = format!("b'{}'", inner[2..inner.len() - 1].replace('\'', "\\'"));
    let encoded = format!("DSSEV1 28 application/vnd.in-toto+json {} {escaped}", payload.len());
    let key = Key::new(KeyKind::P256, 1);
    let signature = key.sign_over(Digest::Sha256, encoded.as_bytes());
    let model = weightseal::Model::open(dir.path()).unwrap();
    verified(&model, &trusting(&key), &[old_bundle(&key, &payload, &signature)]);
}

#[test]
fn content_under_an_old_signature_has_to_match() {
    let key = Key::new(KeyKind::P384, 1);
    let payload = old_statement().to_string().into_bytes();
    let bundle = old_bundle(&key, &payload, &key.sign_over(Digest::Sha256, &old_pae(&payload)));
    let good = Good::new();
    verified(&good.model(), &trusting(&key), one(&bundle));
    std::fs::write(good.path("deploy-a"), "x").unwrap();
    refused(&good.model(), &trusting(&key), one(&bundle), &[Code::FileChanged]);
    let good = Good::new();
    std::fs::write(good.path("new"), "x").unwrap();
    refused(&good.model(), &trusting(&key), one(&bundle), &[Code::FileUnsigned]);
    let good = Good::new();
    std::fs::remove_file(good.path("empty.txt")).unwrap();
    refused(&good.model(), &trusting(&key), &[bundle], &[Code::FileMissing]);
}

#[test]
fn old_statements_are_held_to_the_rules_of_names_and_digests() {
    let good = Good::new();
    let key = Key::new(KeyKind::P256, 1);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut statement = old_statement();
        change(&mut statement);
        let payload = statement.to_string().into_bytes();
        let signature = key.sign_over(Digest::Sha256, &old_pae(&payload));
        old_bundle(&key, &payload, &signature)
    };
    verified(&good.model(), &trusting(&key), &[with(&|_| ())]);
    type Change = fn(&mut Value);
    let changes: [(Change, Code); 9] = [
        (|s| s["subject"] = json!([]), Code::ResourcesEmpty),
        (|s| s["subject"][0]["name"] = "../x".into(), Code::NameInvalid),
        (|s| s["subject"][0]["name"] = ".".into(), Code::NameInvalid),
        (|s| s["subject"][0]["name"] = "config.json".into(), Code::NameDuplicate),
        (|s| s["subject"][0]["digest"]["sha256"] = "A".repeat(64).into(), Code::DigestMalformed),
        (|s| drop(s["subject"][0].as_object_mut().unwrap().remove("digest")), Code::FieldMissing),
        (|s| s["subject"][0]["name"] = json!(5), Code::FieldMistyped),
        (|s| drop(s.as_object_mut().unwrap().remove("subject")), Code::FieldMissing),
        (|s| s["_type"] = "https://in-toto.io/Statement/v0.1".into(), Code::StatementTypeUnsupported),
    ];
    for (change, code) in changes {
        for forgiving in [false, true] {
            let model = good.model().ignore_unsigned_files(forgiving);
            refused(&model, &trusting(&key), &[with(&change)], &[code]);
        }
    }
}

#[test]
fn the_old_encoding_counts_for_old_statements_only() {
    let good = Good::new();
    for kind in CURVES {
        let key = Key::new(kind, 1);
        let payload = good.payload();
        let right = old_bundle(&key, &payload, &sign_pae(&key, &pae(&payload)));
        verified(&good.model(), &trusting(&key), &[right]);
        for signature in
            [key.sign_over(Digest::Sha256, &old_pae(&payload)), sign_pae(&key, &old_pae(&payload))]
        {
            let bundle = old_bundle(&key, &payload, &signature);
            refused(&good.model(), &trusting(&key), &[bundle], &[Code::SignatureInvalid]);
        }
        // Nor does the old digest go with the new encoding.
        if kind != KeyKind::P256 {
            let bundle = old_bundle(&key, &payload, &key.sign_over(Digest::Sha256, &pae(&payload)));
            refused(&good.model(), &trusting(&key), &[bundle], &[Code::SignatureInvalid]);
        }
    }
    // An old statement in the encoding of DSSE is what release 0.3 wrote at first.
    let key = Key::new(KeyKind::P384, 1);
    let payload = old_statement().to_string().into_bytes();
    let bundle = old_bundle(&key, &payload, &sign_pae(&key, &pae(&payload)));
    verified(&good.model(), &trusting(&key), &[bundle]);
}

#[test]
fn releases_up_to_1_0_carried_the_key_and_no_hint() {
    let good = Good::new();
    for kind in CURVES {
        let key = Key::new(kind, 1);
        let mut statement = good.statement();
        statement["predicate"]["serialization"].as_object_mut().unwrap().remove("ignore_paths");
        let payload = statement.to_string().into_bytes();
        let bundle = old_bundle(&key, &payload, &sign_pae(&key, &pae(&payload)));
        verified(&good.model(), &trusting(&key), one(&bundle));
        // Among several keys the right one is found without a hint.
        let several = trusting(&Key::new(kind, 2)).accept(weightseal::Accept::key(key.public_pem()).unwrap());
        verified(&good.model(), &several, one(&bundle));
        refused(&good.model(), &trusting(&Key::new(kind, 2)), &[bundle], &[Code::SignatureInvalid]);
    }
}

#[test]
fn resources_in_the_order_of_path_parts() {
    let by_parts = |name: &str| name.split('/').map(str::to_owned).collect::<Vec<_>>();
    let good = Good::new();
    let bundle = good.changed(|statement| {
        let resources = statement["predicate"]["resources"].as_array_mut().unwrap();
        resources.sort_by_key(|resource| by_parts(resource["name"].as_str().unwrap()));
        let at = |name: &str| resources.iter().position(|r| r["name"] == name).unwrap();
        assert!(at("deploy/run.sh") < at("deploy-a") && at("deploy-a") < at("deploy.md"));
        fit_root(statement);
    });
    verified(&good.model(), &good.policy(), &[bundle]);
    // Shards by number: 10 before 100, unlike by letters.
    let good = Good::shards(2);
    let bundle = good.changed(|statement| {
        let resources = statement["predicate"]["resources"].as_array_mut().unwrap();
        resources.sort_by_key(|resource| {
            let mut parts: Vec<_> = resource["name"].as_str().unwrap().rsplitn(3, ':').collect();
            parts.reverse();
            (by_parts(parts[0]), parts[1].parse::<u64>().unwrap())
        });
        fit_root(statement);
    });
    assert_ne!(bundle.to_json(), good.bundle.to_json());
    verified(&good.model(), &good.policy(), &[bundle]);
}
