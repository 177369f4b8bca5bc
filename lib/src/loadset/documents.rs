//! What the configurations and indexes of a model lead to: shards, modules, other repositories, a base model.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    names::{base, folder, inside, is_index},
    reading::Reading,
    scan::scan,
};
use crate::{code::Code, report::Finding, shown::Shown};

/// Which tensors lie in which file, as an index says.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The file that says so.
    pub(super) name: String,
    /// The files that it names, as names in the model.
    pub(super) shards: Vec<String>,
    /// All names of tensors one after the other.
    pub(super) text: String,
    /// Of each tensor its shard, and where its name begins and ends; in the order of the shards.
    pub(super) tensors: Vec<(u32, u32, u32)>,
}

impl Index {
    /// How much memory it takes, nearly.
    fn bytes(&self) -> usize {
        let shards: usize = self.shards.iter().map(|name| name.len() + size_of::<String>()).sum();
        self.text.len() + self.tensors.len() * size_of::<(u32, u32, u32)>() + shards
    }

    /// The tensors of one shard.
    pub(super) fn of(&self, shard: usize) -> impl Iterator<Item = &str> {
        let first = self.tensors.partition_point(|(of, ..)| (*of as usize) < shard);
        let rest = self.tensors.get(first..).unwrap_or_default();
        rest.iter()
            .take_while(move |(of, ..)| *of as usize == shard)
            .filter_map(|(_, start, end)| self.text.get(*start as usize..*end as usize))
    }
}

/// Most modules, folders, repositories and base models that all files of a model may name.
pub(super) const NAMED: usize = 10_000;

/// How much is kept of all indexes of a model, in bytes.
const INDEX_BYTES: usize = 64 << 20;

/// What a file of the model has to be there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    /// The names of which one has to be there.
    pub(super) any_of: Vec<String>,
    /// The file that says so.
    pub(super) by: String,
    /// What it is, in words.
    pub(super) what: &'static str,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) indexes: Vec<Index>,
    pub(super) needed: Vec<Needed>,
    /// Folders that something names.
    pub(super) folders: BTreeSet<String>,
    /// Of adapters: the file that says on which model it builds, and which that is.
    pub(super) base_models: BTreeMap<String, String>,
    /// Code of other repositories: the file, and what it names.
    pub(super) remote: Vec<(String, String)>,
    pub(super) findings: Vec<Finding>,
    index_bytes: usize,
}

impl Documents {
    /// Whether loaders read this file for what is looked for here. What tokenizers read by themselves holds words alone.
    pub(super) fn reads(name: &str) -> bool {
        let file = base(name);
        let words = ["tokenizer.json", "added_tokens.json"].contains(&file.as_str())
            || file.starts_with("vocab")
            || file.starts_with("tekken");
        file.ends_with(".json") && (!words || file.contains("config") || is_index(&file))
    }

    /// Whether what is no JSON, or too long, cannot be passed over: it is called as configurations are. Others are
    /// data, for all that loaders know.
    pub(super) fn is_strict(name: &str) -> bool {
        let file = base(name);
        file.contains("config")
            || file.contains("index")
            || ["modules.json", "params.json", "chat_template.json"].contains(&file.as_str())
    }

    /// Takes in a file that has these bytes.
    pub(super) fn read(&mut self, name: &str, bytes: &[u8]) {
        let mut reading = Reading {
            name,
            folder: folder(name),
            file: base(name),
            index: None,
            numbers: BTreeMap::new(),
            found: Documents::default(),
        };
        let mut refused = false;
        let done = scan(bytes, &mut |path, value| {
            reading.take(path, value).inspect_err(|_| refused = !path.is_empty())
        });
        let is_something = refused || reading.found.is_something() || reading.index.is_some();
        match done {
            Ok(()) => self.add(reading),
            // Of what is data, a reader that is less strict may still find what it is looking for.
            Err(why) if is_something || Self::is_strict(name) => self.invalid(name, &why),
            Err(_) => {}
        }
    }

    fn add(&mut self, reading: Reading<'_>) {
        let Reading { name, index, found, .. } = reading;
        if self.named() + found.named() > NAMED {
            return self.invalid(name, "names more than can be looked for");
        }
        self.index_bytes += index.as_ref().map_or(0, Index::bytes);
        if self.index_bytes > INDEX_BYTES {
            return self.invalid(name, "makes the indexes of the model larger than can be looked through");
        }
        if index.is_none() && is_called_index(name) {
            self.invalid(name, "is no index: it has no weight_map");
        }
        self.indexes.extend(index.map(|mut index| {
            index.tensors.sort_unstable();
            index
        }));
        self.needed.extend(found.needed);
        self.folders.extend(found.folders);
        self.base_models.extend(found.base_models);
        self.remote.extend(found.remote);
    }

    /// How many things are named.
    pub(super) fn named(&self) -> usize {
        self.needed.len() + self.folders.len() + self.base_models.len() + self.remote.len()
    }

    fn is_something(&self) -> bool {
        !self.needed.is_empty() || !self.remote.is_empty() || !self.base_models.is_empty()
    }

    /// What a file cannot be loaded for.
    pub(super) fn invalid(&mut self, name: &str, why: &str) {
        let what = format!("{:?} {why}", Shown(name));
        self.findings.push(Finding::new(Code::LoadSetInvalid, what).about(name));
    }

    /// Folders where loaders find whole weights as safetensors by the index that they look for, with the beginning of that
    /// index's name.
    pub(super) fn indexed(&self, there: &dyn Fn(&str) -> bool) -> HashSet<(&str, &'static str)> {
        let whole = self.indexes.iter().filter_map(|index| {
            let file = base(&index.name);
            let stem = STEMS.into_iter().find(|stem| file == format!("{stem}.safetensors.index.json"))?;
            is_whole(index, there).then_some((folder(&index.name), stem))
        });
        whole.collect()
    }

    /// Whether loaders go by an index: of pickled weights not beside whole safetensors, unless it is asked for by name.
    pub(super) fn follows(&self, index: &Index, there: &dyn Fn(&str) -> bool) -> bool {
        let stem = match base(&index.name).as_str() {
            "pytorch_model.bin.index.json" => "model",
            "diffusion_pytorch_model.bin.index.json" => "diffusion_pytorch_model",
            "adapter_model.bin.index.json" => "adapter_model",
            _ => return true,
        };
        let place = folder(&index.name);
        let called = format!("{stem}.safetensors.index.json");
        // Names first: shards are many.
        let mut indexes =
            self.indexes.iter().filter(|other| folder(&other.name) == place && base(&other.name) == called);
        let is_whole = there(&inside(place, &format!("{stem}.safetensors")))
            || indexes.any(|other| is_whole(other, there));
        !is_whole || self.needed.iter().any(|needed| needed.any_of.contains(&index.name))
    }
}

/// Whether all that an index names is there.
fn is_whole(index: &Index, there: &dyn Fn(&str) -> bool) -> bool {
    !index.shards.is_empty() && index.shards.iter().all(|shard| there(shard))
}

/// How the files are called in which loaders look for weights: `model.safetensors`, or an index of that.
pub(super) const STEMS: [&str; 3] = ["model", "diffusion_pytorch_model", "adapter_model"];

/// Whether a file is an index of weights by its name.
fn is_called_index(name: &str) -> bool {
    let file = base(name);
    is_index(&file) && (file.contains(".safetensors.") || file.contains(".bin."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Documents {
        let mut documents = Documents::default();
        documents.read(name, text.as_bytes());
        documents
    }

    /// The names of which one is needed, for each thing that is.
    fn needed(name: &str, text: &str) -> Vec<Vec<String>> {
        let documents = read(name, text);
        assert!(documents.findings.is_empty() && documents.remote.is_empty(), "{documents:?}");
        documents.needed.into_iter().map(|needed| needed.any_of).collect()
    }

    #[test]
    fn an_index_names_files_of_its_own_folder() {
        let text =
            r#"{"metadata": {"total_size": 1}, "weight_map": {"a": "x.bin", "b": "y.bin", "c": "x.bin"}}"#;
        let documents = read("sub/model.safetensors.index.json", text);
        let [index] = documents.indexes.as_slice() else { panic!("{documents:?}") };
        assert_eq!(index.shards, ["sub/x.bin", "sub/y.bin"]);
        assert_eq!(index.of(0).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(index.of(1).collect::<Vec<_>>(), ["b"]);
        assert_eq!(index.of(2).count(), 0);
        for map in [
            r#"{"a": "../x"}"#,
            r#"{"a": "/x"}"#,
            r#"{"a": ""}"#,
            r#"{"a": "."}"#,
            r#"{"a": 1}"#,
            r#"{"a": null}"#,
            r#"{"a": ["x"]}"#,
            r#"{"a": {"b": "x"}}"#,
            "[]",
            "1",
            "null",
            r#""x""#,
            r#"{"a": "x", "a": "y"}"#,
            r#"{"a": "x\\y"}"#,
            r#"{"a": "x\u0000"}"#,
        ] {
            let documents = read("x.index.json", &format!("{{\"weight_map\": {map}}}"));
            assert_eq!(documents.findings.len(), 1, "{map} {documents:?}");
            assert_eq!(documents.findings[0].code, Code::LoadSetInvalid);
            assert!(documents.indexes.is_empty());
        }
    }

    #[test]
    fn classes_are_found_wherever_they_are_named() {
        for (text, modules) in [
            (
                r#"{"auto_map": {"AutoConfig": "configuration_x.C", "AutoModel": "modeling_x.M"}}"#,
                vec!["configuration_x.py", "modeling_x.py"],
            ),
            (r#"{"auto_map": {"AutoTokenizer": ["tokenization_x.T", null]}}"#, vec!["tokenization_x.py"]),
            (r#"{"auto_map": ["tokenization_x.T", null]}"#, vec!["tokenization_x.py"]),
            (r#"{"text_config": {"auto_map": {"AutoModel": "m.M"}}}"#, vec!["m.py"]),
            (r#"{"a": [{"auto_map": {"AutoModel": "sub/m.M"}}]}"#, vec!["sub/m.py"]),
            (r#"{"custom_pipeline": "pipe"}"#, vec!["pipe.py"]),
            (r#"{"custom_pipelines": {"t": {"impl": "pipe.P", "pt": ["AutoModel"]}}}"#, vec!["pipe.py"]),
            (r#"{"impl": "eager", "custom_pipelines": {}}"#, vec![]),
            (r#"{"auto_map": null, "auto": {"map": "x.Y"}}"#, vec![]),
        ] {
            let expected: Vec<Vec<String>> =
                modules.iter().map(|module| vec![(*module).to_owned()]).collect();
            assert_eq!(needed("config.json", text), expected, "{text}");
        }
        assert_eq!(
            needed("vae/config.json", r#"{"auto_map": {"AutoModel": "m.M"}}"#),
            [["vae/m.py".to_owned(), "m.py".to_owned()]]
        );
        for text in [
            r#"{"auto_map": {"AutoModel": "m"}}"#,
            r#"{"auto_map": {"AutoModel": "a.b.C"}}"#,
            r#"{"auto_map": {"AutoModel": "../m.M"}}"#,
            r#"{"auto_map": {"AutoModel": "/m.M"}}"#,
            r#"{"auto_map": {"AutoModel": 1}}"#,
            r#"{"auto_map": {"AutoModel": true}}"#,
            r#"{"auto_map": {"A": "m.M"}"#,
        ] {
            assert_eq!(read("x.json", text).findings.len(), 1, "{text}");
        }
    }

    #[test]
    fn what_comes_from_elsewhere_is_told() {
        for (name, text) in [
            ("config.json", r#"{"auto_map": {"AutoModel": "evil/repo--modeling.M"}}"#),
            ("config.json", r#"{"vision_config": {"auto_map": {"AutoModel": "evil/repo--modeling.M"}}}"#),
            ("tokenizer_config.json", r#"{"auto_map": {"AutoTokenizer": [null, "evil/repo--t.T"]}}"#),
            (
                "config.json",
                r#"{"custom_pipelines": {"t": {"impl": "evil/repo--mod.Cls", "pt": ["AutoModel"]}}}"#,
            ),
            ("vocab_config.json", r#"{"auto_map": {"AutoModel": "evil/repo--modeling.M"}}"#),
            ("model_index.json", r#"{"custom_pipeline": "evil/repo--pipe"}"#),
            ("config.json", r#"{"attn_implementation": "evil/kernel@main"}"#),
            ("config.json", r#"{"text_config": {"_attn_implementation": {"": "evil/kernel"}}}"#),
            ("router_config.json", r#"{"types": {"query_0_X": "evil/repo--custom_st.X"}}"#),
            ("wordembedding_config.json", r#"{"tokenizer_class": "evil/repo--tok.T"}"#),
            ("sentence_bert_config.json", r#"{"tokenizer_name_or_path": "evil/repo"}"#),
            ("model_index.json", r#"{"_class_name": ["../pipe", "P"]}"#),
            ("model_index.json", r#"{"unet": ["evil/repo--unet", "U"]}"#),
            ("modular_model_index.json", r#"{"unet": ["diffusers", "U", {"repo": "evil/repo"}]}"#),
            ("modules.json", r#"[{"idx": 0, "path": "", "type": "evil/repo--custom_st.T"}]"#),
        ] {
            let documents = read(name, text);
            assert_eq!((documents.remote.len(), documents.findings.len()), (1, 0), "{name} {text}");
        }
    }

    #[test]
    fn pipelines_and_modules_name_folders() {
        let pipeline =
            r#"{"_class_name": "P", "unet": ["diffusers", "U"], "safety": [null, null], "a/b": ["x", "y"]}"#;
        let documents = read("model_index.json", pipeline);
        assert_eq!(documents.folders.into_iter().collect::<Vec<_>>(), ["unet"]);
        assert_eq!(needed("model_index.json", r#"{"_class_name": ["pipe", "P"]}"#), [["pipe.py"]]);
        let modules = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "custom_st.P"}]"#;
        let documents = read("modules.json", modules);
        assert_eq!(documents.folders.into_iter().collect::<Vec<_>>(), ["1_Pooling"]);
        assert_eq!(documents.needed[0].any_of, ["custom_st.py"]);
        assert_eq!(read("modules.json", r#"[{"path": "../x"}]"#).findings.len(), 1);
        let ignored = r#"{"_class_name": "P", "_ignore_files": ["text_encoder/model.fp16.safetensors"]}"#;
        assert_eq!(needed("model_index.json", ignored), [[""; 0]; 0]);
    }

    #[test]
    fn adapters_say_what_they_build_upon() {
        let documents = read("a/adapter_config.json", r#"{"base_model_name_or_path": "acme/llama-3"}"#);
        assert_eq!(documents.base_models["a/adapter_config.json"], "acme/llama-3");
        for (name, text) in [
            ("config.json", r#"{"medusa_num_heads": 4, "base_model_name_or_path": "acme/llama-3"}"#),
            ("config.json", r#"{"speculators_config": {"verifier": {"name_or_path": "acme/llama-3"}}}"#),
        ] {
            assert_eq!(read(name, text).base_models["config.json"], "acme/llama-3");
        }
        assert!(read("other.json", r#"{"base_model_name_or_path": "x"}"#).base_models.is_empty());
        assert!(read("adapter_config.json", r#"{"base_model_name_or_path": null}"#).findings.is_empty());
        assert_eq!(read("adapter_config.json", r#"{"base_model_name_or_path": 1}"#).findings.len(), 1);
    }

    #[test]
    fn weights_of_another_name_are_looked_for_and_looked_through() {
        assert_eq!(
            needed("config.json", r#"{"transformers_weights": "x.safetensors"}"#),
            [["x.safetensors"]]
        );
        for text in ["../x.safetensors", "tokenizer.json", "vocab.json"] {
            let text = format!("{{\"transformers_weights\": {text:?}}}");
            assert_eq!(read("config.json", &text).findings.len(), 1, "{text}");
        }
        assert!(Documents::reads("vocab.safetensors.index.json"));
        let text = r#"{"attn_implementation": "paged|sdpa", "types": {"query_0_Pooling": "a.Pooling"}}"#;
        assert_eq!(needed("config.json", text), [[""; 0]; 0]);
        assert!(
            read("router_config.json", r#"{"types": {"q/Pooling": "a.b.c.Pooling"}}"#)
                .folders
                .contains("q/Pooling")
        );
    }

    #[test]
    fn an_index_of_pickles_is_not_followed_beside_whole_safetensors() {
        let mut documents = Documents::default();
        documents.read("a/pytorch_model.bin.index.json", br#"{"weight_map": {"t": "x.bin"}}"#);
        let follows = |documents: &Documents, there: &str| {
            documents.follows(&documents.indexes[0], &|name| name == there)
        };
        for (there, expected) in [
            ("", true),
            ("model.safetensors", true),
            ("a/adapter_model.safetensors", true),
            ("a/model.safetensors", false),
        ] {
            assert_eq!(follows(&documents, there), expected, "{there}");
        }
        documents.read("a/model.safetensors.index.json", br#"{"weight_map": {"t": "x.safetensors"}}"#);
        assert!(!follows(&documents, "a/x.safetensors"));
        documents.read("a/config.json", br#"{"transformers_weights": "pytorch_model.bin.index.json"}"#);
        assert!(follows(&documents, "a/model.safetensors"));
        // One of another name is none that loaders look for.
        documents.read("zzz.json", br#"{"weight_map": {"t": "x.safetensors"}}"#);
        assert!(documents.indexed(&|name| name == "x.safetensors").is_empty());
    }

    #[test]
    fn data_may_be_no_json_and_configurations_may_not() {
        assert_eq!(read("x.safetensors.index.json", "{}").findings.len(), 1);
        for (name, findings) in
            [("results.json", 0), ("config.json", 1), ("a/generation_config.json", 1), ("x.index.json", 1)]
        {
            assert_eq!(read(name, "{'a': 1}").findings.len(), findings, "{name}");
            assert_eq!(read(name, "\"x\"").findings.len(), findings, "{name}");
        }
        assert!(!Documents::reads("tokenizer.json") && !Documents::reads("a/VOCAB.json"));
        assert!(Documents::reads("tokenizer_config.json") && Documents::reads("text.JSON"));
    }
}
