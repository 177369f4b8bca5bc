//! What the configurations and indexes of a model lead to: shards, modules, other repositories, a base model.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    names::{base, folder, inside, is_below, is_index, is_plain},
    scan::{Step, Value, scan},
};
use crate::{code::Code, limits, report::Finding, shown::Shown};

/// Which tensors lie in which file, as an index says.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The file that says so.
    pub(super) name: String,
    /// The files that it names, as names in the model.
    pub(super) shards: Vec<String>,
    /// All names of tensors one after the other.
    text: String,
    /// Of each tensor its shard, and where its name begins and ends; in the order of the shards.
    tensors: Vec<(u32, u32, u32)>,
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

/// Most files that one index may name.
const SHARDS: usize = 100_000;

/// Most modules, folders, repositories and base models that all files of a model may name.
const NAMED: usize = 10_000;

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

/// Fields whose texts name classes in modules of the model.
const CLASSES: &str = "auto_map";

impl Documents {
    /// Whether loaders read this file for what is looked for here. What tokenizers read by themselves holds words alone.
    pub(super) fn reads(name: &str) -> bool {
        let file = base(name);
        let words = ["tokenizer.json", "added_tokens.json"].contains(&file.as_str())
            || file.starts_with("vocab")
            || file.starts_with("tekken");
        file.ends_with(".json") && (!words || file.contains("config"))
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
    fn named(&self) -> usize {
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
}

/// A file that is being read.
struct Reading<'n> {
    name: &'n str,
    folder: &'n str,
    file: String,
    index: Option<Index>,
    /// The numbers of the shards of the index.
    numbers: BTreeMap<String, u32>,
    found: Documents,
}

impl Reading<'_> {
    fn take(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
        if self.found.named() > NAMED {
            return Err("names more than can be looked for".to_owned());
        }
        match (path, value) {
            ([], Value::Map | Value::List) => {}
            ([], _) => return Err("is neither an object nor a list".to_owned()),
            ([step], value) if step.is("weight_map") => match value {
                Value::Map => {
                    self.index = Some(Index { name: self.name.to_owned(), ..Index::default() });
                }
                _ => return Err("has a weight_map that is no object".to_owned()),
            },
            ([step, Step::Key(tensor)], value) if step.is("weight_map") => self.tensor(tensor, value)?,
            ([step, ..], _) if step.is("weight_map") => {
                return Err("names something else than one file for a tensor".to_owned());
            }
            _ => {}
        }
        if path.iter().any(|step| step.is(CLASSES)) {
            match value {
                Value::Text(class) => self.class(class)?,
                Value::Map | Value::List | Value::Null => {}
                _ => return Err(format!("has an {CLASSES} with something else than names")),
            }
        }
        if let ([.., step], Value::Text(pipeline)) = (path, value)
            && step.is("custom_pipeline")
        {
            self.module(pipeline, &[""])?;
        }
        // Pipelines of transformers: `"custom_pipelines": {"task": {"impl": "module.Class"}}`.
        if let ([.., step], Value::Text(class)) = (path, value)
            && step.is("impl")
            && path.iter().any(|step| step.is("custom_pipelines"))
        {
            self.class(class)?;
        }
        match self.file.as_str() {
            "adapter_config.json" => self.adapter(path, value),
            "model_index.json" | "modular_model_index.json" => self.pipeline(path, value),
            "modules.json" => self.modules(path, value),
            _ => Ok(()),
        }
    }

    /// A tensor of an index, and the file that it lies in.
    fn tensor(&mut self, tensor: &str, value: &Value<'_>) -> Result<(), String> {
        let (Value::Text(shard), Some(index)) = (value, &mut self.index) else {
            return Err(format!("names no file for the tensor {:?}", Shown(tensor)));
        };
        if !is_plain(shard) {
            return Err(format!("names {:?}, which is no file of its folder", Shown(shard)));
        }
        let number = match self.numbers.get(&**shard) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(index.shards.len()).unwrap_or(u32::MAX);
                if index.shards.len() >= SHARDS {
                    return Err(format!("names more than {SHARDS} files"));
                }
                index.shards.push(inside(self.folder, shard));
                self.numbers.insert(shard.clone().into_owned(), number);
                number
            }
        };
        let too_long = |_| "names too many tensors".to_owned();
        let start = u32::try_from(index.text.len()).map_err(too_long)?;
        index.text.push_str(tensor);
        let end = u32::try_from(index.text.len()).map_err(too_long)?;
        index.tensors.push((number, start, end));
        Ok(())
    }

    /// A class: `module.Class`, or `ORG/REPO--module.Class` of another repository.
    fn class(&mut self, class: &str) -> Result<(), String> {
        if class.contains("--") {
            return self.remote(class);
        }
        let module = class.split_once('.').filter(|(_, class)| !class.contains(['.', '/', '\\']));
        let Some((module, _)) = module.filter(|(module, _)| is_below(&format!("{module}.py"))) else {
            return Err(format!("names {:?}, which is no class of a module", Shown(class)));
        };
        self.module(module, &[self.folder, ""])
    }

    /// What is another repository's.
    fn remote(&mut self, what: &str) -> Result<(), String> {
        if what.len() > limits::NAME_BYTES {
            return Err("names something by a text that is no name".to_owned());
        }
        self.found.remote.push((self.name.to_owned(), what.to_owned()));
        Ok(())
    }

    /// A module, which has to lie in one of these folders; what cannot be a name there is another repository's.
    fn module(&mut self, module: &str, folders: &[&str]) -> Result<(), String> {
        let file = if module.ends_with(".py") { module.to_owned() } else { format!("{module}.py") };
        if !is_below(&file) || module.contains("--") {
            return self.remote(module);
        }
        let mut any_of: Vec<String> = folders.iter().map(|folder| inside(folder, &file)).collect();
        any_of.dedup();
        self.found.needed.push(Needed { any_of, by: self.name.to_owned(), what: "the module" });
        Ok(())
    }

    /// An adapter's configuration: the model that it builds upon.
    fn adapter(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
        if let ([step], value) = (path, value)
            && step.is("base_model_name_or_path")
        {
            match value {
                Value::Text(base) if base.len() <= limits::NAME_BYTES => {
                    self.found.base_models.insert(self.name.to_owned(), base.clone().into_owned());
                }
                Value::Null => {}
                _ => return Err("has a base_model_name_or_path that is no name".to_owned()),
            }
        }
        Ok(())
    }

    /// A pipeline of diffusers: `"unet": ["library", "Class"]` for each folder.
    fn pipeline(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
        match (path, value) {
            ([Step::Key(key), Step::Item(0)], Value::Text(module)) if key == "_class_name" => {
                self.module(module, &[""])?;
            }
            ([Step::Key(part), Step::Item(0)], Value::Text(library)) => {
                if library.contains(['/', '\\']) || library.contains("--") {
                    self.remote(library)?;
                }
                if is_plain(part) {
                    self.found.folders.insert(inside(self.folder, part));
                }
            }
            // Parts of a modular pipeline that come from somewhere else.
            ([.., step], Value::Text(repository))
                if (step.is("repo") || step.is("pretrained_model_name_or_path")) && path.len() > 1 =>
            {
                self.remote(repository)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A model of sentence-transformers: the class and the folder of each of its modules.
    fn modules(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
        let ([Step::Item(_), step], Value::Text(text)) = (path, value) else { return Ok(()) };
        match step.key() {
            // What lies deeper is a class of an installed package.
            Some("type")
                if !text.starts_with("sentence_transformers.")
                    && (text.contains("--") || text.matches('.').count() == 1) =>
            {
                self.class(text)
            }
            Some("path") if text.is_empty() => Ok(()),
            Some("path") if is_below(text) => {
                self.found.folders.insert(inside(self.folder, text));
                Ok(())
            }
            Some("path") => Err(format!("names {:?}, which is no folder of the model", Shown(text))),
            _ => Ok(()),
        }
    }
}

/// Whether a file is an index of weights by its name.
pub(super) fn is_called_index(name: &str) -> bool {
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
            r#"{"a": "b/x"}"#,
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
    }

    #[test]
    fn adapters_say_what_they_build_upon() {
        let documents = read("a/adapter_config.json", r#"{"base_model_name_or_path": "acme/llama-3"}"#);
        assert_eq!(documents.base_models["a/adapter_config.json"], "acme/llama-3");
        assert!(read("config.json", r#"{"base_model_name_or_path": "x"}"#).base_models.is_empty());
        assert!(read("adapter_config.json", r#"{"base_model_name_or_path": null}"#).findings.is_empty());
        assert_eq!(read("adapter_config.json", r#"{"base_model_name_or_path": 1}"#).findings.len(), 1);
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
