//! What indexes, headers and configurations lead to.

use std::{fs, path::Path};

use weightseal::{Code, Report};

use super::{
    FIRST, INDEX, SECOND, demanding, good, policy_file, refused_as_signed, safetensors, signed_with,
};
use crate::good::{refused, verified};

/// A change that writes one file anew before the model is signed.
fn writing(name: &'static str, bytes: impl AsRef<[u8]>) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Demands that a model which was signed with this in it is refused.
#[track_caller]
fn refuses(name: &'static str, bytes: impl AsRef<[u8]>, code: Code, part: &str) -> Report {
    let report = refused_as_signed(writing(name, bytes), &[code]);
    assert!(report.findings.iter().any(|finding| finding.what.contains(part)), "{report}");
    report
}

/// Demands that a model which was signed with this in it verifies.
#[track_caller]
fn accepts(name: &'static str, bytes: impl AsRef<[u8]>) {
    let good = signed_with(writing(name, bytes));
    verified(&good.model(), &demanding(&good), good.bundles());
}

#[test]
fn an_index_names_what_is_there_and_signed() {
    let index = |map: &str| format!(r#"{{"weight_map": {{{map}}}}}"#);
    accepts(INDEX, index(&format!(r#""a": "{FIRST}""#)));
    accepts(INDEX, index(""));
    for (map, code, part) in [
        (format!(r#""a": "{FIRST}", "d": "{FIRST}""#), Code::LoadSetInvalid, "has no tensor \"d\""),
        (format!(r#""a": "{SECOND}", "b": "{SECOND}""#), Code::LoadSetInvalid, "and 1 more"),
        (r#""a": "other.safetensors""#.to_owned(), Code::LoadSetIncomplete, "neither there nor signed"),
        (r#""a": "../x.safetensors""#.to_owned(), Code::LoadSetInvalid, "no file below its folder"),
        (r#""a": "/x.safetensors""#.to_owned(), Code::LoadSetInvalid, "no file below its folder"),
        (r#""a": "sub/x.safetensors""#.to_owned(), Code::LoadSetIncomplete, "neither there nor signed"),
        (r#""a": 1"#.to_owned(), Code::LoadSetInvalid, "names no file"),
        (format!(r#""a": "{FIRST}", "a": "{FIRST}""#), Code::LoadSetInvalid, "twice"),
    ] {
        refuses(INDEX, index(&map), code, part);
    }
    refuses(INDEX, "{}", Code::LoadSetInvalid, "no weight_map");
    refuses(INDEX, "not JSON", Code::LoadSetInvalid, "not valid JSON");
    // By whatever name it goes, what has a weight_map is an index, also where a configuration names it.
    let outside = r#"{"weight_map": {"a": "../outside/x.safetensors"}}"#;
    refuses("vocab.safetensors.index.json", outside, Code::LoadSetInvalid, "no file below its folder");
    // Of pickled weights beside whole safetensors nobody goes by the index.
    accepts("pytorch_model.bin.index.json", r#"{"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}"#);
    // But what nobody else would tell of is told, and so is an index that is asked for by its name.
    for (name, map) in [
        ("pytorch_model.bin.index.json", r#"{"weight_map": {"a": "w.dat"}}"#),
        ("pytorch_model.bin.index.fp16.json", r#"{"weight_map": {"a": "x.bin"}}"#),
        ("adapter_model.bin.index.json", r#"{"weight_map": {"a": "x.bin"}}"#),
    ] {
        refuses(name, map, Code::LoadSetIncomplete, "neither there nor signed");
    }
    refuses("unet/any.json", r#"{"weight_map": {"a": "x.bin"}}"#, Code::LoadSetIncomplete, "unet/x.bin");

    let good = good();
    fs::remove_file(good.path(SECOND)).unwrap();
    refused(&good.model(), &demanding(&good), good.bundles(), &[Code::FileMissing]);
    // It is there and not signed.
    let good = signed_with(|folder| fs::remove_file(folder.join(SECOND)).unwrap());
    refused(&good.model(), &demanding(&good), good.bundles(), &[Code::LoadSetIncomplete]);
    fs::write(good.path(SECOND), safetensors(&["c"])).unwrap();
    refused(&good.model(), &demanding(&good), good.bundles(), &[Code::FileUnsigned]);
}

#[test]
fn parts_are_all_there() {
    for name in ["m-00001-of-00002.gguf", "x-00002-of-00003.safetensors", "sub/m-00001-of-00002.bin"] {
        let bytes = if name.ends_with(".safetensors") { safetensors(&["x"]) } else { b"x".to_vec() };
        refuses(name, bytes, Code::LoadSetIncomplete, "a part of the same file");
    }
    for name in ["m-00003-of-00002.gguf", "m-00001-of-00000.gguf"] {
        refuses(name, "x", Code::LoadSetInvalid, "cannot be right");
    }
    for name in ["m-00001-of-00001.gguf", "m-00000-of-00001.bin", "notes-00001-of-00002.md"] {
        accepts(name, "x");
    }
    // Numbers as they are, without zeros before them.
    let plain = |last: u32| {
        signed_with(move |folder| {
            (1..=last)
                .for_each(|number| fs::write(folder.join(format!("m-{number}-of-12.bin")), "x").unwrap());
        })
    };
    let good = plain(12);
    verified(&good.model(), &demanding(&good), good.bundles());
    let good = plain(11);
    let report = refused(&good.model(), &demanding(&good), good.bundles(), &[Code::LoadSetIncomplete]);
    assert_eq!(report.findings[0].name.as_deref(), Some("m-12-of-12.bin"));
    // An index that names them says all that there is to say.
    let good = signed_with(|folder| {
        fs::write(folder.join("x-00001-of-00009.bin"), "x").unwrap();
        fs::write(folder.join("x.json"), r#"{"weight_map": {"a": "x-00001-of-00009.bin"}}"#).unwrap();
    });
    verified(&good.model(), &demanding(&good), good.bundles());
}

#[test]
fn headers_are_as_the_format_has_them() {
    let file = |length: u64, rest: &[u8]| [&length.to_le_bytes(), rest].concat();
    let tensor = |range: &str| {
        let header = format!(r#"{{"a":{{"dtype":"I8","shape":[4],"data_offsets":{range}}}}}"#);
        file(header.len() as u64, &[header.as_bytes(), b"1234"].concat())
    };
    accepts("x.safetensors", tensor("[0,4]"));
    for (bytes, part) in [
        (Vec::new(), "shorter than"),
        (b"1234567".to_vec(), "shorter than"),
        (file(u64::MAX, b"{}"), "no more than"),
        (file(3, b"{}"), "longer than the file"),
        (file(16 << 20, b"{}"), "longer than the file"),
        (file((16 << 20) + 1, b"{}"), "no more than"),
        (file(2, b"{}x"), "speaks of"),
        (tensor("[0,5]"), "as its shape says"),
        (tensor("[4,8]"), "behind bytes of none"),
        (tensor("[0,18446744073709551615]"), "as its shape says"),
        (tensor("[0,99999999999999999999]"), "no header says"),
    ] {
        refuses("x.safetensors", bytes, Code::LoadSetInvalid, part);
    }
}

#[test]
fn code_of_another_repository_is_refused() {
    for (name, text) in [
        ("config.json", r#"{"auto_map": {"AutoModel": "evil/repo--modeling.M"}}"#),
        ("config.json", r#"{"a": {"text_config": {"auto_map": {"AutoModel": "evil/repo--modeling.M"}}}}"#),
        ("tokenizer_config.json", r#"{"auto_map": {"AutoTokenizer": ["evil/repo--t.T", null]}}"#),
        ("processor_config.json", r#"{"auto_map": {"AutoProcessor": "evil/repo--p.P"}}"#),
        ("preprocessor_config.json", r#"{"auto_map": {"AutoImageProcessor": "evil/repo--p.P"}}"#),
        ("generation_config.json", r#"{"auto_map": {"x": "evil/repo--p.P"}}"#),
        ("adapter_config.json", r#"{"auto_mapping": null, "auto_map": {"x": "evil/repo--p.P"}}"#),
        ("sub/config.json", r#"{"auto_map": {"AutoModel": "evil/repo--modeling.M"}}"#),
        ("odd.json", r#"{"auto_map": {"AutoModel": "evil/repo--modeling.M"}}"#),
        ("model_index.json", r#"{"_class_name": ["evil/repo--pipe", "P"]}"#),
        ("modules.json", r#"[{"type": "evil/repo--custom_st.T"}]"#),
    ] {
        let report = refuses(name, text, Code::RemoteCode, "code of another repository");
        assert_eq!(report.findings[0].name.as_deref(), Some(name));
    }
}

#[test]
fn code_of_its_own_is_there() {
    accepts("config.json", r#"{"auto_map": {"AutoModel": "modeling_x.X", "AutoTokenizer": [null, null]}}"#);
    accepts("sub/config.json", r#"{"auto_map": {"AutoModel": "modeling_x.X"}}"#);
    for (name, text) in [
        ("config.json", r#"{"auto_map": {"AutoModel": "modeling_y.Y"}}"#),
        ("tokenizer_config.json", r#"{"auto_map": ["modeling_y.Y", null]}"#),
        ("model_index.json", r#"{"_class_name": ["modeling_y", "Y"]}"#),
        ("model_index.json", r#"{"custom_pipeline": "modeling_y"}"#),
        ("modules.json", r#"[{"type": "modeling_y.Y"}]"#),
    ] {
        refuses(name, text, Code::LoadSetIncomplete, "modeling_y.py");
    }
    for class in ["modeling_x", "a.b.C", "../modeling_x.X", "/modeling_x.X"] {
        let text = format!(r#"{{"auto_map": {{"AutoModel": "{class}"}}}}"#);
        refuses("config.json", text, Code::LoadSetInvalid, "no class of a module");
    }
    let good = good();
    fs::remove_file(good.path("modeling_x.py")).unwrap();
    refused(&good.model(), &demanding(&good), good.bundles(), &[Code::FileMissing]);
}

#[test]
fn an_adapter_builds_on_the_model_that_is_demanded() {
    let adapter =
        |base: &str| writing("adapter_config.json", format!(r#"{{"base_model_name_or_path": "{base}"}}"#));
    let good = signed_with(adapter("acme/llama-3"));
    let report = verified(&good.model(), &demanding(&good), good.bundles());
    assert_eq!(report.load_set.as_ref().unwrap().base_model.as_deref(), Some("acme/llama-3"));
    assert!(report.to_string().contains("built on acme/llama-3"), "{report}");
    let demand = |name: &str| good.policy().base_model(name);
    verified(&good.model(), &demand("acme/llama-3"), good.bundles());
    let report =
        refused(&good.model(), &demand("acme/llama-2"), good.bundles(), &[Code::BaseModelNotExpected]);
    assert_eq!(report.findings[0].actual.as_deref(), Some("acme/llama-3"));
    let rule = |name: &str| policy_file(&good, &format!("    base_model: {name}\n"));
    verified(&good.model().id("m"), &rule("acme/llama-3"), good.bundles());
    refused(&good.model().id("m"), &rule("other"), good.bundles(), &[Code::BaseModelNotExpected]);
    // What is no adapter builds on nothing.
    let plain = super::good();
    refused(&plain.model(), &plain.policy().base_model("x"), plain.bundles(), &[Code::BaseModelNotExpected]);
}

#[test]
fn what_is_parsed_is_what_was_signed() {
    let good = good();
    // As long as before, so that shards too are told apart by their digests alone.
    let text = fs::read_to_string(good.path("config.json")).unwrap();
    fs::write(good.path("config.json"), text.replace("modeling_x.X", "modeling_x.Y")).unwrap();
    let report = refused(&good.model(), &demanding(&good), good.bundles(), &[Code::FileChanged]);
    assert_eq!(report.findings.len(), 1, "{report}");
}
