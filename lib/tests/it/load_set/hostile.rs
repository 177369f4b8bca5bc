//! Files that are made to take memory, time or the program's life.

use std::time::{Duration, Instant};

use weightseal::Code;

use super::{INDEX, files, safetensors, set_of};

/// The codes that are found of one file, beside a small model.
fn codes(name: &str, bytes: Vec<u8>) -> Vec<Code> {
    let started = Instant::now();
    let mut found: Vec<Code> = set_of([(name, bytes)]).findings.iter().map(|finding| finding.code).collect();
    found.dedup();
    // No more than a sign that nothing grows without end.
    assert!(started.elapsed() < Duration::from_secs(120), "{name}");
    found
}

#[test]
fn what_is_too_long_is_not_read() {
    assert_eq!(codes(INDEX, vec![b' '; 100 << 20]), [Code::LoadSetInvalid]);
    assert_eq!(codes("config.json", vec![b'['; (32 << 20) + 1]), [Code::LoadSetInvalid]);
    assert_eq!(codes("config.json", vec![b'['; 32 << 20]), [Code::LoadSetInvalid]);
    // What is data may be long, and what only tokenizers read is not read here.
    assert_eq!(codes("results.json", vec![b' '; (32 << 20) + 1]), []);
    assert_eq!(codes("tokenizer.json", vec![b'['; 1 << 20]), []);
}

#[test]
fn what_is_deep_or_wide_is_refused() {
    for piece in ["[", "{\"a\":", "{\"auto_map\":", "{\"weight_map\":{\"a\":"] {
        assert_eq!(
            codes("config.json", piece.repeat(100_000).into_bytes()),
            [Code::LoadSetInvalid],
            "{piece}"
        );
    }
    let entries = |count: usize, shard: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(|n| format!("\"{n}\":\"{}\"", shard(n))).collect();
        format!("{{\"weight_map\":{{{}}}}}", all.join(",")).into_bytes()
    };
    assert_eq!(codes(INDEX, entries(1_000_001, &|_| "x.bin".to_owned())), [Code::LoadSetInvalid]);
    assert_eq!(codes(INDEX, entries(200_000, &|n| format!("{n}.bin"))), [Code::LoadSetInvalid]);
    assert_eq!(codes(INDEX, entries(900_000, &|_| "x.bin".to_owned())), [Code::LoadSetIncomplete]);
    let set = set_of([(INDEX, entries(50_000, &|n| format!("{n}.bin")))]);
    assert!(set.findings.len() <= 10_000);
    // A million tensors that are not in the one file that is there.
    let index = entries(900_000, &|_| "x.safetensors".to_owned());
    let set = set_of([(INDEX, index), ("x.safetensors", safetensors(&["a"]))]);
    assert!(
        set.findings.iter().any(|finding| finding.what.contains("and 899999 more")),
        "{:?}",
        set.findings
    );
}

#[test]
fn headers_lie_about_lengths() {
    let file = |length: u64, rest: &[u8]| [&length.to_le_bytes(), rest].concat();
    for bytes in [
        file(u64::MAX, b""),
        file(u64::MAX - 7, b"{}"),
        file(1 << 40, b"{}"),
        file(0, b""),
        file(4 << 20, &vec![b'{'; 4 << 20]),
        file(4 << 20, &vec![b'['; 4 << 20]),
        file(4 << 20, "{\"a\":{".repeat(1 << 20).as_bytes()),
    ] {
        assert_eq!(codes("x.safetensors", bytes), [Code::LoadSetInvalid]);
    }
    let wide: Vec<String> = (0..300_000).map(|n| format!("\"{n}\":{{}}")).collect();
    let wide = format!("{{{}}}", wide.join(","));
    assert_eq!(codes("x.safetensors", file(wide.len() as u64, wide.as_bytes())), [Code::LoadSetInvalid]);
    let shape = format!("{{\"a\":{{\"shape\":[{}1]}}}}", "1,".repeat(1 << 20));
    assert_eq!(codes("x.safetensors", file(shape.len() as u64, shape.as_bytes())), [Code::LoadSetInvalid]);
}

#[test]
fn many_files_are_bounded_too() {
    let names: Vec<String> = (0..10_001).map(|n| format!("{n}.json")).collect();
    let set = set_of(names.iter().map(|name| (name.as_str(), b"{}".to_vec())));
    assert!(set.findings.iter().any(|finding| finding.code == Code::TooManyEntries));
    let parts: Vec<String> = (1..2000).map(|n| format!("m{n}-00001-of-99999.gguf")).collect();
    let set = set_of(parts.iter().map(|name| (name.as_str(), b"x".to_vec())));
    assert_eq!(set.findings.len(), 1999);
}

#[test]
fn files_without_anything_wrong_have_no_findings() {
    assert_eq!(set_of(files()).findings, []);
}
