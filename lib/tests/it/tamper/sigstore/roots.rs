//! Trusted roots: what is none, and what one cannot be verified with.

use serde_json::{Value, json};
use testkit::forge::{Authority, CtLog, Forge, Log, authority_json, log_json};
use weightseal::{Class, Code, RootOrigin, TrustedRoot};

use super::{Case, proves};

#[track_caller]
fn invalid(bytes: &[u8]) {
    let error = TrustedRoot::parse(bytes, RootOrigin::given("root")).expect_err("this is no trusted root");
    assert_eq!(error.code(), Code::TrustRootInvalid, "{error}");
    assert_eq!(error.class(), Class::Misuse);
    let dir = testkit::temporary().unwrap();
    let path = dir.path().join("root.json");
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(TrustedRoot::read(&path).unwrap_err().code(), Code::TrustRootInvalid);
}

/// Demands that a root that is changed so is none.
#[track_caller]
fn refuses(change: impl FnOnce(&mut Value)) {
    let good = Forge::new().root();
    let mut root = good.clone();
    change(&mut root);
    assert_ne!(root, good, "nothing was changed");
    invalid(root.to_string().as_bytes());
}

#[test]
fn what_is_no_trusted_root_is_refused() {
    for bytes in [&b""[..], b"{}", b"[]", b"null", b"\xff", b"{\"mediaType\":", b"garbage"] {
        invalid(bytes);
    }
    for media_type in [
        "",
        "application/vnd.dev.sigstore.trustedroot+json;version=0.9",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/json",
    ] {
        refuses(|root| root["mediaType"] = media_type.into());
    }
    refuses(|root| drop(root.as_object_mut().unwrap().remove("mediaType")));
    let padded = format!("{}{}", Forge::new().root(), " ".repeat(2 << 20));
    invalid(padded.as_bytes());
    let text = Forge::new().root().to_string();
    invalid(format!("{{\"tlogs\":[],{}", &text[1..]).as_bytes());
    assert_eq!(TrustedRoot::read("/nowhere/trusted_root.json").unwrap_err().code(), Code::TrustRootAbsent);
}

#[test]
fn an_empty_root_is_refused() {
    for lists in [json!([]), Value::Null] {
        refuses(|root| {
            for list in ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"] {
                if lists.is_null() {
                    root.as_object_mut().unwrap().remove(list);
                } else {
                    root[list] = lists.clone();
                }
            }
        });
    }
}

#[test]
fn periods_have_to_begin_and_to_end_after_that() {
    for list in ["tlogs", "ctlogs"] {
        refuses(|root| root[list][0]["publicKey"]["validFor"] = json!({}));
        refuses(|root| root[list][0]["publicKey"]["validFor"] = json!({"end": "2099-01-01T00:00:00Z"}));
        refuses(|root| root[list][0]["publicKey"]["validFor"]["start"] = "yesterday".into());
        refuses(|root| root[list][0]["publicKey"]["validFor"]["end"] = "2000-01-01T00:00:00Z".into());
    }
    for list in ["certificateAuthorities", "timestampAuthorities"] {
        refuses(|root| root[list][0]["validFor"] = json!({}));
        refuses(|root| root[list][0]["validFor"] = json!({"end": "2099-01-01T00:00:00Z"}));
        refuses(|root| root[list][0]["validFor"]["end"] = "2000-01-01T00:00:00Z".into());
    }
}

#[test]
fn two_logs_under_one_id_are_refused() {
    for list in ["tlogs", "ctlogs"] {
        refuses(|root| {
            let first = root[list][0].clone();
            root[list].as_array_mut().unwrap().push(first);
        });
    }
    refuses(|root| {
        let stranger = Log::v1("stranger.example", 9);
        let own = Forge::new().v1;
        let second = log_json(&stranger.url, &stranger.key, &own.id);
        root["tlogs"].as_array_mut().unwrap().push(second);
    });
}

#[test]
fn keys_and_certificates_that_cannot_be_read_are_refused() {
    for list in ["tlogs", "ctlogs"] {
        for garbage in ["", "AAAA", "!", "MA=="] {
            refuses(|root| root[list][0]["publicKey"]["rawBytes"] = garbage.into());
        }
        refuses(|root| root[list][0]["logId"]["keyId"] = "AAAA".into());
        refuses(|root| drop(root[list][0].as_object_mut().unwrap().remove("logId")));
        refuses(|root| drop(root[list][0].as_object_mut().unwrap().remove("publicKey")));
    }
    for list in ["certificateAuthorities", "timestampAuthorities"] {
        refuses(|root| root[list][0]["certChain"]["certificates"] = json!([]));
        refuses(|root| root[list][0]["certChain"]["certificates"][0]["rawBytes"] = "AAAA".into());
        refuses(|root| drop(root[list][0].as_object_mut().unwrap().remove("certChain")));
    }
}

#[test]
fn each_part_that_a_bundle_needs_has_to_be_there() {
    for case in [Case::v1(), Case::v2()] {
        let without = |list: &'static str| move |root: &mut Value| root[list] = json!([]);
        case.refuses_root(Code::LogUnknown, without("tlogs"));
        case.refuses_root(Code::CertificateAnchorUnknown, without("certificateAuthorities"));
        case.refuses_root(Code::SctInvalid, without("ctlogs"));
    }
    Case::v2().refuses_root(Code::TimestampUntrusted, |root| root["timestampAuthorities"] = json!([]));
    // What it does not need may be missing.
    let mut root = Case::v1().root;
    root["timestampAuthorities"] = json!([]);
    proves(&root, &Case::v1().wire);
}

#[test]
fn a_root_may_have_more_than_is_needed_and_may_come_in_a_trust_configuration() {
    let case = Case::v2();
    let mut root = case.root.clone();
    let other = CtLog::new(1);
    root["ctlogs"]
        .as_array_mut()
        .unwrap()
        .insert(0, log_json("https://ct2.example", &other.key, &other.id()));
    root["tlogs"].as_array_mut().unwrap().reverse();
    // Another authority under the very names of the right one.
    let namesake = Authority::new("Forge", 1);
    let namesake = authority_json("https://ca.forge.example", &[&namesake.intermediate, &namesake.root]);
    root["certificateAuthorities"].as_array_mut().unwrap().insert(0, namesake);
    proves(&root, &case.wire);
    for media_type in [
        "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    ] {
        root["mediaType"] = media_type.into();
        proves(&root, &case.wire);
    }
    let config = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
    proves(&json!({"mediaType": config, "trustedRoot": root, "signingConfig": {}}), &case.wire);
    invalid(json!({"mediaType": config, "signingConfig": {}}).to_string().as_bytes());
    invalid(json!({"mediaType": config, "trustedRoot": {"mediaType": config}}).to_string().as_bytes());
}
