//! The fields of a bundle with Sigstore material: missing, mistyped, unknown, too many, contradicting.

use serde_json::{Value, json};
use testkit::forge::{Forge, Signing};
use weightseal::Code;

use super::{Case, entries, entry, flip, payload, refused, stamps};

/// Numbers that are none of 63 bits.
fn bad_numbers() -> Vec<Value> {
    vec![
        Value::Null,
        json!(-1),
        json!("-1"),
        json!("05"),
        json!("+5"),
        json!(" 5"),
        json!("5 "),
        json!("5.0"),
        json!(5.0),
        json!("5e0"),
        json!("0x5"),
        json!(""),
        json!(true),
        json!([5]),
        json!({}),
        json!("9223372036854775808"),
        json!(u64::MAX),
        json!("99999999999999999999999999999999999999999999999999"),
        json!("\u{665}"),
    ]
}

#[test]
fn numbers_are_of_63_bits_and_nothing_else() {
    for case in [Case::v1(), Case::v2()] {
        for bad in bad_numbers() {
            for field in ["logIndex", "integratedTime"] {
                case.refuses_entry(Code::FieldMistyped, |entry| entry[field] = bad.clone());
            }
            for field in ["logIndex", "treeSize"] {
                case.refuses_entry(Code::FieldMistyped, |entry| entry["inclusionProof"][field] = bad.clone());
            }
        }
        // As large as can be, and still no such place.
        case.refuses_entry(Code::LogSizeMismatch, |entry| {
            entry["inclusionProof"]["logIndex"] = i64::MAX.to_string().into();
        });
        case.refuses_entry(Code::LogSizeMismatch, |entry| {
            entry["inclusionProof"]["treeSize"] = i64::MAX.to_string().into();
        });
    }
    Case::v1()
        .refuses_entry(Code::LogPromiseInvalid, |entry| entry["logIndex"] = i64::MAX.to_string().into());
    Case::v1().refuses_entry(Code::TimeInFuture, |entry| {
        entry["integratedTime"] = i64::MAX.to_string().into();
    });
}

#[test]
fn unknown_fields_are_refused_in_every_object() {
    for case in [Case::v1(), Case::v2()] {
        for path in [
            "",
            "/logId",
            "/kindVersion",
            "/inclusionProof",
            "/inclusionProof/checkpoint",
            "/inclusionPromise",
        ] {
            if entry(&mut case.wire.clone()).pointer(path).is_none() {
                continue;
            }
            for field in ["extra", "LogIndex", "log_index", ""] {
                case.refuses_entry(Code::FieldUnknown, |entry| {
                    entry.pointer_mut(path).unwrap()[field] = "x".into();
                });
            }
        }
        case.refuses(Code::FieldUnknown, |wire| wire["verificationMaterial"]["extra"] = "x".into());
        case.refuses(Code::FieldUnknown, |wire| {
            wire["verificationMaterial"]["certificate"]["extra"] = 0.into()
        });
    }
    let case = Case::v2();
    case.refuses(Code::FieldUnknown, |wire| stamps(wire)[0]["extra"] = "x".into());
    case.refuses(Code::FieldUnknown, |wire| {
        wire["verificationMaterial"]["timestampVerificationData"]["extra"] = json!([]);
    });
}

#[test]
fn what_an_entry_must_have_must_be_there_and_of_its_type() {
    for case in [Case::v1(), Case::v2()] {
        for field in ["logId", "kindVersion", "canonicalizedBody"] {
            case.refuses_entry(Code::FieldMissing, |entry| {
                drop(entry.as_object_mut().unwrap().remove(field))
            });
            for bad in [Value::Null, json!(5), json!([])] {
                case.refuses_entry(Code::FieldMistyped, |entry| entry[field] = bad.clone());
            }
        }
        for (object, field) in [
            ("logId", "keyId"),
            ("kindVersion", "kind"),
            ("kindVersion", "version"),
            ("inclusionProof", "rootHash"),
        ] {
            case.refuses_entry(Code::FieldMissing, |entry| {
                entry[object].as_object_mut().unwrap().remove(field);
            });
            case.refuses_entry(Code::FieldMistyped, |entry| entry[object][field] = Value::Null);
            case.refuses_entry(Code::FieldMistyped, |entry| entry[object][field] = json!(7));
        }
        for bad in [json!("x"), json!(["x", 5]), json!({}), Value::Null, json!(["="])] {
            case.refuses_entry(Code::FieldMistyped, |entry| entry["inclusionProof"]["hashes"] = bad.clone());
        }
        for bad in [json!("x"), json!([]), json!(5)] {
            case.refuses_entry(Code::FieldMistyped, |entry| entry["inclusionProof"] = bad.clone());
            case.refuses_entry(Code::FieldMistyped, |entry| entry["inclusionPromise"] = bad.clone());
            case.refuses(Code::FieldMistyped, |wire| entries(wire).push(bad.clone()));
        }
        for bad in [json!("x"), json!({}), Value::Null, json!(5)] {
            case.refuses(Code::FieldMistyped, |wire| {
                wire["verificationMaterial"]["tlogEntries"] = bad.clone()
            });
        }
    }
}

#[test]
fn base64_is_read_strictly() {
    let case = Case::v2();
    for bad in ["=", "A", "AAA", "AA==\n", " AAAA", "AAAA====", "AAB=", "\u{ff21}AAA", "AA==AAAA"] {
        for path in
            ["/canonicalizedBody", "/logId/keyId", "/inclusionProof/rootHash", "/inclusionProof/hashes/0"]
        {
            case.refuses_entry(Code::FieldMistyped, |entry| *entry.pointer_mut(path).unwrap() = bad.into());
        }
        case.refuses(Code::FieldMistyped, |wire| stamps(wire)[0]["signedTimestamp"] = bad.into());
        case.refuses(Code::FieldMistyped, |wire| {
            wire["verificationMaterial"]["certificate"]["rawBytes"] = bad.into();
        });
    }
}

#[test]
fn lists_are_of_bounded_length() {
    for case in [Case::v1(), Case::v2()] {
        let repeated = |wire: &mut Value, times| {
            let first = entry(wire).clone();
            *entries(wire) = vec![first; times];
        };
        case.refuses(Code::JsonTooLarge, |wire| repeated(wire, 33));
        let mut most = case.wire.clone();
        repeated(&mut most, 32);
        super::proves(&case.root, &most);
        case.refuses_entry(Code::JsonTooLarge, |entry| {
            entry["inclusionProof"]["hashes"] = vec![json!("AAAA"); 129].into();
        });
        case.refuses_entry(Code::LogProofInvalid, |entry| {
            let hash = entry["inclusionProof"]["rootHash"].clone();
            entry["inclusionProof"]["hashes"] = vec![hash; 128].into();
        });
    }
    Case::v2().refuses(Code::JsonTooLarge, |wire| {
        let first = stamps(wire)[0].clone();
        *stamps(wire) = vec![first; 33];
    });
}

#[test]
fn there_is_one_kind_of_material_and_it_fits_the_format() {
    let case = Case::v2();
    case.refuses(Code::MaterialAmbiguous, |wire| {
        wire["verificationMaterial"]["publicKey"] = json!({"hint": "x"});
    });
    case.refuses(Code::MaterialAmbiguous, |wire| {
        let certificate = wire["verificationMaterial"]["certificate"].clone();
        wire["verificationMaterial"]["x509CertificateChain"] = json!({"certificates": [certificate]});
    });
    case.refuses(Code::MaterialMissing, |wire| {
        wire["verificationMaterial"].as_object_mut().unwrap().remove("certificate");
    });
    case.refuses(Code::MessageSignature, |wire| {
        wire["messageSignature"] = json!({"signature": "AAAA"});
    });
    case.refuses(Code::MediaTypeUnsupported, |wire| {
        wire["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json".into();
    });
    // A chain in format 0.3 is a certificate of somebody's own authority.
    let forge = Forge::new();
    let chained = Signing { chained: true, ..forge.v2() };
    refused(&forge.root(), &chained.bundle(&payload()), Code::MethodNotAccepted);
    let keyed = Signing { chain: Vec::new(), ..forge.v2() };
    refused(&forge.root(), &keyed.bundle(&payload()), Code::MethodNotAccepted);
}

#[test]
fn an_old_format_does_not_make_what_is_new_in_it_weaker() {
    let forge = Forge::new();
    for version in [1, 2] {
        // Without promise and without proof.
        let mut wire = forge.v1().version(version).bundle(&payload());
        entry(&mut wire).as_object_mut().unwrap().remove("inclusionPromise");
        entry(&mut wire).as_object_mut().unwrap().remove("inclusionProof");
        refused(&forge.root(), &wire, Code::LogProofMissing);
        // A promise that is wrong beside a proof that is right.
        let mut wire = forge.v1().version(version).bundle(&payload());
        flip(&mut entry(&mut wire)["inclusionPromise"]["signedEntryTimestamp"]);
        refused(&forge.root(), &wire, Code::LogPromiseInvalid);
        // A proof that is wrong beside a promise that is right.
        let mut wire = forge.v1().version(version).bundle(&payload());
        flip(&mut entry(&mut wire)["inclusionProof"]["hashes"][1]);
        refused(&forge.root(), &wire, Code::LogProofInvalid);
    }
}
