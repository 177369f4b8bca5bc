//! What is not JSON, or more of it than is read.

use std::fs;

use serde_json::{Value, json};
use testkit::temporary;
use weightseal::{Bundle, Code, limits};

use crate::good::{Good, parse, unparsable, verified};

fn nested(levels: usize) -> Value {
    (1..levels).fold(json!([]), |inner, _| json!([inner]))
}

#[test]
fn what_is_not_json_is_no_bundle_and_no_statement() {
    let good = Good::new();
    let text = good.bundle.to_json();
    let statement = String::from_utf8(good.payload()).unwrap();
    for (name, change) in [
        ("nothing", (|_| String::new()) as fn(&str) -> String),
        ("cut", |text| text[..text.len() - 1].to_owned()),
        ("twice", |text| format!("{text}{text}")),
        ("text after it", |text| format!("{text} x")),
        ("a mark before it", |text| format!("\u{feff}{text}")),
        ("a comment", |text| format!("/* */{text}")),
        ("a last comma", |text| format!("{},}}", &text[..text.len() - 1])),
        ("a NUL after it", |text| format!("{text}\0")),
        ("single quotes", |text| text.replace('"', "'")),
        ("half a surrogate", |text| text.replacen("{", "{\"\\ud800\":0,", 1)),
        ("a control character", |text| text.replacen("{", "{\"\u{1}\":0,", 1)),
        ("NaN", |text| text.replacen("{", "{\"x\":NaN,", 1)),
    ] {
        let changed = change(&text);
        assert_eq!(Bundle::parse(changed.as_bytes()).unwrap_err().code(), Code::JsonInvalid, "{name}");
        unparsable(changed.as_bytes(), Code::JsonInvalid);
        good.refuses(good.resigned(change(&statement).as_bytes()), Code::JsonInvalid);
    }
    let not_utf8 = |text: &str| [text.as_bytes(), b" \xff"].concat();
    unparsable(&not_utf8(&text), Code::JsonInvalid);
    good.refuses(good.resigned(&not_utf8(&statement)), Code::JsonInvalid);
    unparsable(b"-----BEGIN PUBLIC KEY-----\n", Code::JsonInvalid);
}

#[test]
fn other_json_is_no_bundle_and_no_statement() {
    let good = Good::new();
    for other in ["[]", "null", "true", "5", "\"text\""] {
        unparsable(other.as_bytes(), Code::FieldMistyped);
        good.refuses(good.resigned(other.as_bytes()), Code::FieldMistyped);
    }
    unparsable(b"{}", Code::FieldMissing);
    good.refuses(good.resigned(b"{}"), Code::FieldMissing);
}

#[test]
fn a_bundle_may_be_as_long_as_the_cap_and_not_a_byte_longer() {
    let good = Good::new();
    let cap = usize::try_from(limits::BUNDLE_BYTES).unwrap();
    let mut text = good.bundle.to_json().into_bytes();
    text.resize(cap, b' ');
    verified(&good.model(), &good.policy(), &[Bundle::parse(&text).unwrap()]);
    text.push(b' ');
    assert_eq!(Bundle::parse(&text).unwrap_err().code(), Code::JsonTooLarge);
}

#[test]
fn a_longer_file_is_refused_by_its_length() {
    let good = Good::new();
    let dir = temporary().unwrap();
    let path = dir.path().join("model.sig");
    fs::write(&path, good.bundle.to_json()).unwrap();
    assert!(Bundle::read(&path).is_ok());
    // Without blocks on the disk.
    fs::File::options().write(true).open(&path).unwrap().set_len(limits::BUNDLE_BYTES + 1).unwrap();
    let error = Bundle::read(&path).unwrap_err();
    assert_eq!((error.code(), error.class().exit()), (Code::JsonTooLarge, 1));
}

#[test]
fn sixty_four_levels_are_read_and_not_one_more() {
    let good = Good::new();
    // In the bundle a key id may be anything; it stands on the fourth level.
    let deep = |levels| {
        let mut wire = good.wire();
        wire["dsseEnvelope"]["signatures"][0]["keyid"] = nested(levels);
        wire
    };
    verified(&good.model(), &good.policy(), &[parse(&deep(60))]);
    unparsable(deep(61).to_string().as_bytes(), Code::JsonTooDeep);

    // In the statement unknown fields are passed over.
    let deep = |levels| good.changed(|statement| statement["later"] = nested(levels));
    verified(&good.model(), &good.policy(), &[deep(63)]);
    good.refuses(deep(64), Code::JsonTooDeep);
    unparsable("[".repeat(10_000_000).as_bytes(), Code::JsonTooDeep);
}
