//! Which signed files may be missing where a policy lets files be missing: none that would be loaded.

use std::collections::{BTreeSet, HashSet};

use super::{
    LoadKind,
    documents::{Documents, is_called_index},
    names::{Part, base, folder},
};
use crate::source::listing::covers;

/// File names under which loaders look for weights that are all in one file.
const SINGLE: [&str; 3] =
    ["model.safetensors", "diffusion_pytorch_model.safetensors", "adapter_model.safetensors"];

/// What is there of a model, and what it leads to.
pub(super) struct Present<'a> {
    documents: &'a Documents,
    /// Files that something names.
    named: HashSet<&'a str>,
    /// Folders that have a file of their own or deeper.
    folders: HashSet<&'a str>,
    /// Folders whose weights are whole as safetensors, by an index.
    indexed: HashSet<&'a str>,
    /// Folders whose weights are whole in one safetensors file.
    single: HashSet<&'a str>,
    /// Files in parts of which one is there.
    parts: BTreeSet<Part<'a>>,
    /// Folders with a GGUF file.
    gguf: HashSet<&'a str>,
}

impl<'a> Present<'a> {
    /// `names` are the signed files that are there.
    pub(super) fn new(names: &[&'a str], documents: &'a Documents) -> Self {
        let there: HashSet<&str> = names.iter().copied().collect();
        let mut folders = HashSet::new();
        for name in names {
            let mut name = *name;
            while let Some((above, _)) = name.rsplit_once('/') {
                if !folders.insert(above) {
                    break;
                }
                name = above;
            }
        }
        let whole = documents.indexes.iter().filter(|index| {
            let is_whole =
                |shard: &String| base(shard).ends_with(".safetensors") && there.contains(shard.as_str());
            !index.shards.is_empty() && index.shards.iter().all(is_whole)
        });
        let needed = documents.needed.iter().flat_map(|needed| &needed.any_of);
        let shards = documents.indexes.iter().flat_map(|index| &index.shards);
        let in_folder = |matching: &dyn Fn(&str) -> bool| -> HashSet<&'a str> {
            names.iter().filter(|name| matching(&base(name))).map(|name| folder(name)).collect()
        };
        Present {
            documents,
            named: needed.chain(shards).map(String::as_str).collect(),
            indexed: whole.map(|index| folder(&index.name)).collect(),
            single: in_folder(&|file| SINGLE.contains(&file)),
            parts: names.iter().filter_map(|name| Some(Part::of(name)?.0)).collect(),
            gguf: in_folder(&|file| file.ends_with(".gguf")),
            folders,
        }
    }

    /// Whether the signed file of this name, which is not there, would not be loaded if it were.
    pub(super) fn may_lack(&self, name: &str) -> bool {
        let Some(kind) = LoadKind::of(name) else { return !self.named.contains(name) };
        if self.named.contains(name) || matches!(kind, LoadKind::Code | LoadKind::Template) {
            return false;
        }
        self.is_folder_gone(name) || (kind == LoadKind::Weights && self.has_others(name))
    }

    /// Whether nothing is left of the file's folder, and nothing that is there names that folder: `original/params.json`.
    fn is_folder_gone(&self, name: &str) -> bool {
        let folder = folder(name);
        !folder.is_empty()
            && !self.folders.contains(folder)
            && !self.documents.folders.iter().any(|named| covers(named, name))
    }

    /// Whether loaders find whole weights in the same folder that go before these.
    fn has_others(&self, name: &str) -> bool {
        let (folder, file) = (folder(name), base(name));
        if Part::of(name).is_some_and(|(part, _)| self.parts.contains(&part)) {
            return false;
        }
        if file.contains(".safetensors") || file.ends_with(".sft") {
            // Without an index every safetensors file of the folder is loaded; and an index says which are not.
            return !is_called_index(name) && self.indexed.contains(folder);
        }
        self.indexed.contains(folder)
            || self.single.contains(folder)
            // Which of several GGUF files is loaded is said by its name.
            || (file.ends_with(".gguf") && self.gguf.contains(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_loaded_is_never_missing() {
        let indexed = [
            "config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        let single = ["config.json", "model.safetensors", "vae/config.json"];
        let gguf = ["m-Q4-00001-of-00002.gguf", "m-Q4-00002-of-00002.gguf"];
        let mut documents = Documents::default();
        documents.read(
            "model.safetensors.index.json",
            br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#,
        );
        documents.read("config.json", br#"{"auto_map": {"AutoModel": "modeling.M"}}"#);
        documents.read("modules.json", br#"[{"path": "1_Pooling"}]"#);
        for (present, names, may) in [
            (
                &indexed[..],
                &[
                    "README.md",
                    "LICENSE",
                    ".gitattributes",
                    "a.png",
                    "original/params.json",
                    "original/tokenizer.model",
                    "original/consolidated.00.pth",
                    "onnx/model.onnx",
                    "pytorch_model.bin",
                    "pytorch_model.bin.index.json",
                    "pytorch_model-00001-of-00002.bin",
                    "tf_model.h5",
                    "consolidated.safetensors",
                ][..],
                true,
            ),
            (
                &indexed,
                &[
                    "config.json",
                    "generation_config.json",
                    "tokenizer.json",
                    "tokenizer.model",
                    "modeling.py",
                    "original/model.py",
                    "chat_template.jinja",
                    "additional_chat_templates/x.jinja",
                    "LICENSE.txt",
                    "1_Pooling/config.json",
                    "model.safetensors.index.fp16.json",
                    "model-00003-of-00002.safetensors",
                ],
                false,
            ),
            (
                &indexed[..3],
                &["model-00002-of-00002.safetensors", "pytorch_model.bin", "consolidated.safetensors"],
                false,
            ),
            (&single, &["pytorch_model.bin", "tf_model.h5", "pytorch_model.bin.index.json"], true),
            (
                &single,
                &[
                    "other.safetensors",
                    "model.safetensors.index.json",
                    "vae/other.json",
                    "vae/diffusion_pytorch_model.bin",
                ],
                false,
            ),
            (&gguf, &["m-Q8-00001-of-00002.gguf", "m-Q8.gguf"], true),
            (&gguf[..1], &["m-Q4-00002-of-00002.gguf", "pytorch_model.bin"], false),
            (&[], &["model.safetensors", "pytorch_model.bin", "m.gguf"], false),
        ] {
            let present = Present::new(present, &documents);
            for name in names {
                assert_eq!(present.may_lack(name), may, "{name}");
            }
        }
        let none = Documents::default();
        assert!(!Present::new(&["model-00001-of-00002.safetensors"], &none).may_lack("pytorch_model.bin"));
    }
}
