//! Shards: what covers a file wholly and once, and nothing else.

use std::fs;

use serde_json::Value;
use weightseal::{Bundle, Code, Report};

use crate::good::{Good, fit_root, one, refused, sha256, verified};

const SIZE: u64 = 10;
/// 25 bytes long: shards of 10, 10 and 5.
const FILE: &str = "deploy/run.sh";
const CONTENT: &[u8] = b"last, but first by parts\n";

/// The statement with other shards of the one file: start, end as text, and the digest of those bytes of the file where
/// there are such bytes, so that nothing but the name is wrong.
fn with(good: &Good, ranges: &[(&str, &str)]) -> Bundle {
    assert_eq!(CONTENT.len(), 25);
    good.changed(|statement| {
        let resources = statement["predicate"]["resources"].as_array_mut().unwrap();
        resources.retain(|resource| !name(resource).starts_with(FILE));
        for (start, end) in ranges {
            let number = |text: &str| text.parse::<usize>().unwrap_or(0).min(CONTENT.len());
            let bytes = CONTENT.get(number(start)..number(end)).unwrap_or_default();
            resources.push(serde_json::json!({
                "name": format!("{FILE}:{start}:{end}"), "algorithm": "sha256", "digest": sha256(bytes),
            }));
        }
        fit_root(statement);
    })
}

fn name(resource: &Value) -> &str {
    resource["name"].as_str().unwrap()
}

/// Refused, and no flag forgives it.
fn refuses(good: &Good, bundle: Bundle, code: Code) -> Report {
    let forgiving = good.model().ignore_unsigned_files(true);
    refused(&forgiving, &good.policy(), one(&bundle), &[code]);
    refused(&good.model(), &good.policy(), &[bundle], &[code])
}

#[test]
fn the_shards_of_a_file_in_any_order_and_no_other() {
    let good = Good::shards(SIZE);
    for right in [[("0", "10"), ("10", "20"), ("20", "25")], [("20", "25"), ("0", "10"), ("10", "20")]] {
        verified(&good.model(), &good.policy(), &[with(&good, &right)]);
    }
    for (ranges, code) in [
        // A gap: at the start, between, of one byte and of a whole shard.
        (&[("10", "20"), ("20", "25")][..], Code::ShardGap),
        (&[("1", "10"), ("10", "20"), ("20", "25")], Code::ShardGap),
        (&[("0", "10"), ("20", "25")], Code::ShardGap),
        (&[("0", "10"), ("11", "20"), ("20", "25")], Code::ShardGap),
        // An overlap, and the same twice.
        (&[("0", "10"), ("9", "19"), ("19", "25")], Code::ShardOverlap),
        (&[("0", "10"), ("5", "10"), ("10", "20"), ("20", "25")], Code::ShardOverlap),
        (&[("0", "10"), ("0", "10"), ("10", "20"), ("20", "25")], Code::NameDuplicate),
        // Of another size.
        (&[("0", "25")], Code::ShardInvalid),
        (&[("0", "5"), ("5", "15"), ("15", "25")], Code::ShardInvalid),
        (&[("0", "10"), ("10", "25")], Code::ShardInvalid),
        (&[("0", "10"), ("10", "15"), ("15", "25")], Code::ShardInvalid),
        // Past the end of the file, and short of it.
        (&[("0", "10"), ("10", "20"), ("20", "26")], Code::FileShorter),
        (&[("0", "10"), ("10", "20"), ("20", "30"), ("30", "40")], Code::FileShorter),
        (&[("0", "10"), ("10", "20"), ("20", "24")], Code::FileLonger),
        (&[("0", "10"), ("10", "20")], Code::FileLonger),
        (&[("0", "10")], Code::FileLonger),
    ] {
        let report = refuses(&good, with(&good, ranges), code);
        let about = report.findings[0].name.as_deref().unwrap();
        assert!(about.starts_with(FILE), "{report}");
    }
}

#[test]
fn numbers_of_shards_have_one_spelling() {
    let good = Good::shards(SIZE);
    for (start, end) in [
        ("00", "10"),
        ("0", "010"),
        ("+0", "10"),
        ("-0", "10"),
        ("0", "+10"),
        (" 0", "10"),
        ("0", "10 "),
        ("0", "1_0"),
        ("0x0", "10"),
        ("0", "1e1"),
        ("0", "10.0"),
        ("", "10"),
        ("0", ""),
        ("10", "0"),
        ("0", "0"),
        ("10", "10"),
        ("0", "18446744073709551616"),
        ("0", "\u{661}\u{660}"),
    ] {
        refuses(&good, with(&good, &[(start, end), ("10", "20"), ("20", "25")]), Code::ShardInvalid);
    }
    // The largest number there is: it is far past the end.
    refuses(&good, with(&good, &[("0", "18446744073709551615")]), Code::ShardInvalid);
    for bare in [FILE.to_owned(), format!("{FILE}:0"), format!("{FILE}:0-10")] {
        let bundle = good.changed_with_root(|statement| {
            let resources = statement["predicate"]["resources"].as_array_mut().unwrap();
            let at = resources.iter().position(|resource| name(resource).starts_with(FILE)).unwrap();
            resources[at]["name"] = bare.clone().into();
        });
        refuses(&good, bundle, Code::ShardInvalid);
    }
}

#[test]
fn the_path_of_a_shard_is_a_path_in_the_model() {
    let good = Good::shards(SIZE);
    for path in ["", "..", "/x", "a//b", "a/../b", "./a", "a/", "a\0"] {
        let bundle = good.changed_with_root(|statement| {
            let resources = statement["predicate"]["resources"].as_array_mut().unwrap();
            let mut more = resources[0].clone();
            more["name"] = format!("{path}:0:10").into();
            resources.push(more);
        });
        refuses(&good, bundle, Code::NameInvalid);
    }
}

#[test]
fn the_shard_size_is_a_whole_number_and_that_of_the_shards() {
    let good = Good::shards(SIZE);
    let sized = |size: &str| {
        let text =
            good.statement().to_string().replace("\"shard_size\":10", &format!("\"shard_size\":{size}"));
        good.resigned(text.as_bytes())
    };
    verified(&good.model(), &good.policy(), &[sized("10")]);
    for mistyped in ["4.0", "10.0", "1e1", "-10", "\"10\"", "null", "18446744073709551616"] {
        refuses(&good, sized(mistyped), Code::FieldMistyped);
    }
    for other in ["0", "9", "11", "1000000000"] {
        refuses(&good, sized(other), Code::ShardInvalid);
    }
}

#[test]
fn shards_under_an_algorithm_with_a_size_are_told_by_name() {
    let good = Good::shards(SIZE);
    for everywhere in [false, true] {
        let bundle = good.changed(|statement| {
            for resource in statement["predicate"]["resources"].as_array_mut().unwrap() {
                resource["algorithm"] = "sha256-sharded-10".into();
            }
            if everywhere {
                statement["predicate"]["serialization"]["hash_type"] = "sha256-sharded-10".into();
            }
        });
        let report = refuses(&good, bundle, Code::ShardedAlgorithmLegacy);
        assert!(report.findings[0].what.contains("sha256-sharded-N"), "{report}");
    }
    // As the library that wrote them did, the size as a fraction.
    let legacy = good.statement().to_string();
    let legacy = legacy
        .replace("\"algorithm\":\"sha256\"", "\"algorithm\":\"sha256-sharded-4\"")
        .replace("\"hash_type\":\"sha256\"", "\"hash_type\":\"sha256-sharded-4\"")
        .replace("\"shard_size\":10", "\"shard_size\":4.0");
    refuses(&good, good.resigned(legacy.as_bytes()), Code::ShardedAlgorithmLegacy);
}

#[test]
fn a_sharded_file_ends_where_its_last_shard_ends() {
    for forgiving in [false, true] {
        for (change, code) in [
            (
                (|mut bytes: Vec<u8>| {
                    bytes.push(b'x');
                    bytes
                }) as fn(Vec<u8>) -> Vec<u8>,
                Code::FileLonger,
            ),
            (|bytes| bytes.repeat(2), Code::FileLonger),
            (
                |mut bytes| {
                    bytes.pop();
                    bytes
                },
                Code::FileShorter,
            ),
            (
                |mut bytes| {
                    bytes.truncate(10);
                    bytes
                },
                Code::FileShorter,
            ),
            (|_| Vec::new(), Code::FileShorter),
        ] {
            let good = Good::shards(SIZE);
            fs::write(good.path(FILE), change(CONTENT.to_vec())).unwrap();
            let model = good.model().ignore_unsigned_files(forgiving);
            let report = refused(&model, &good.policy(), good.bundles(), &[code]);
            let finding = &report.findings[0];
            assert_eq!(finding.name.as_deref(), Some(FILE));
            assert_eq!(finding.expected.as_deref(), Some("25 bytes"));
        }
    }
}

#[test]
fn a_changed_shard_is_told_by_its_bytes() {
    let good = Good::shards(SIZE);
    let mut bytes = CONTENT.to_vec();
    bytes[12] ^= 1;
    bytes[24] ^= 1;
    fs::write(good.path(FILE), bytes).unwrap();
    let report = good.refused(&[Code::FileChanged]);
    let ranges: Vec<_> = report.findings.iter().map(|finding| finding.range.clone().unwrap()).collect();
    assert_eq!(ranges, [10..20, 20..25]);
    assert_eq!((report.counts.signed, report.counts.verified), (6, 5));
}

#[test]
fn a_file_without_bytes_is_neither_signed_nor_unsigned() {
    let good = Good::shards(SIZE);
    assert!(!good.statement().to_string().contains("empty.txt"));
    fs::remove_file(good.path("empty.txt")).unwrap();
    good.verifies();
    fs::write(good.path("another.txt"), "").unwrap();
    good.verifies();
    fs::write(good.path("another.txt"), "x").unwrap();
    good.refused(&[Code::FileUnsigned]);
}
