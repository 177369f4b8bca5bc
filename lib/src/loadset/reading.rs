//! One configuration or index, value by value: what it names.

use std::collections::BTreeMap;

use super::{
    documents::{Documents, Index, NAMED, Needed},
    names::{inside, is_below, is_plain},
    scan::{Step, Value},
};
use crate::{limits, shown::Shown};

/// Most files that one index may name.
const SHARDS: usize = 100_000;

/// Fields whose texts name classes in modules of the model.
const CLASSES: &str = "auto_map";

/// Fields whose texts, where they have a slash, name a repository whose native code is loaded (transformers, kernels).
const KERNELS: [&str; 3] = ["attn_implementation", "_attn_implementation", "experts_implementation"];

/// A file that is being read.
pub(super) struct Reading<'n> {
    pub(super) name: &'n str,
    pub(super) folder: &'n str,
    pub(super) file: String,
    pub(super) index: Option<Index>,
    /// The numbers of the shards of the index.
    pub(super) numbers: BTreeMap<String, u32>,
    pub(super) found: Documents,
}

impl Reading<'_> {
    /// Takes in a value and where it stands.
    ///
    /// # Errors
    /// Why the file is not accepted, in words that follow on its name.
    pub(super) fn take(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
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
        if let Value::Text(kernel) = value
            && kernel.contains('/')
            && path.iter().any(|step| KERNELS.iter().any(|field| step.is(field)))
        {
            self.remote(kernel)?;
        }
        if let ([step], Value::Text(weights)) = (path, value)
            && step.is("transformers_weights")
        {
            self.weights(weights)?;
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
            // Of several `config.VERSION.json` transformers takes one by its own version.
            file if file.starts_with("config.") => {
                self.adapter(path, value).and_then(|()| self.router(path, value))
            }
            "router_config.json" => self.router(path, value),
            "model_index.json" | "modular_model_index.json" => self.pipeline(path, value),
            "modules.json" => self.modules(path, value),
            "wordembedding_config.json" => match (path, value) {
                ([step], Value::Text(class)) if step.is("tokenizer_class") => self.sentence_class(class),
                _ => Ok(()),
            },
            file if file.starts_with("sentence_") => match (path, value) {
                // A tokenizer from elsewhere, with the code that its own configuration names.
                ([step], Value::Text(name)) if step.is("tokenizer_name_or_path") && !name.is_empty() => {
                    self.remote(name)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The file that weights are loaded from in the place of the usual ones, or an index of them.
    fn weights(&mut self, weights: &str) -> Result<(), String> {
        if !is_below(weights) || (weights.ends_with(".json") && !Documents::reads(weights)) {
            return Err(format!("names the weights {:?}, which nobody can look through", Shown(weights)));
        }
        let any_of = vec![inside(self.folder, weights)];
        self.found.needed.push(Needed { any_of, by: self.name.to_owned(), what: "the file" });
        Ok(())
    }

    /// A tensor of an index, and the file that it lies in.
    fn tensor(&mut self, tensor: &str, value: &Value<'_>) -> Result<(), String> {
        let (Value::Text(shard), Some(index)) = (value, &mut self.index) else {
            return Err(format!("names no file for the tensor {:?}", Shown(tensor)));
        };
        if !is_below(shard) {
            return Err(format!("names {:?}, which is no file below its folder", Shown(shard)));
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

    /// The model that it builds upon, as an adapter, a draft head (Medusa) or a speculator says.
    fn adapter(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
        let is_named = match path {
            [step] => step.is("base_model_name_or_path"),
            [outer, middle, step] => {
                outer.is("speculators_config") && middle.is("verifier") && step.is("name_or_path")
            }
            _ => false,
        };
        if is_named {
            match value {
                Value::Text(base) if base.len() <= limits::NAME_BYTES => {
                    self.found.base_models.insert(self.name.to_owned(), base.clone().into_owned());
                }
                Value::Null => {}
                _ if self.file != "adapter_config.json" => {}
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
            ([Step::Key(part), Step::Item(0)], Value::Text(library)) if !part.starts_with('_') => {
                if library.contains(['/', '\\']) || library.contains("--") {
                    self.remote(library)?;
                }
                if is_plain(part) {
                    self.found.folders.insert(inside(self.folder, part));
                }
            }
            // Parts of a modular pipeline that come from somewhere else.
            ([.., step], Value::Text(repository))
                if (step.is("repo") || step.is("pretrained_model_name_or_path"))
                    && path.len() > 1
                    && !repository.is_empty() =>
            {
                self.remote(repository)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A class as sentence-transformers names it. What lies deeper is a class of an installed package.
    fn sentence_class(&mut self, class: &str) -> Result<(), String> {
        let is_own = class.contains("--") || class.matches('.').count() == 1;
        if is_own && !class.starts_with("sentence_transformers.") { self.class(class) } else { Ok(()) }
    }

    /// A router of sentence-transformers: the class of each folder (`"types": {"query_0_Pooling": "…"}`).
    fn router(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
        let ([types, Step::Key(part)], Value::Text(class)) = (path, value) else { return Ok(()) };
        // In other configurations anything may be called so.
        if !types.is("types") || (self.file != "router_config.json" && !class.contains("--")) {
            return Ok(());
        }
        if is_below(part) {
            self.found.folders.insert(inside(self.folder, part));
        }
        self.sentence_class(class)
    }

    /// A model of sentence-transformers: the class and the folder of each of its modules.
    fn modules(&mut self, path: &[Step<'_>], value: &Value<'_>) -> Result<(), String> {
        let ([Step::Item(_), step], Value::Text(text)) = (path, value) else { return Ok(()) };
        match step.key() {
            Some("type") => self.sentence_class(text),
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
