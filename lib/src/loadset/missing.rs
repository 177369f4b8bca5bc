//! Which signed files may be missing where a policy lets files be missing: none that would be loaded.

use std::collections::{BTreeSet, HashSet};

use super::{
    LoadKind,
    documents::Documents,
    names::{Part, base, folder, inside},
};
use crate::source::listing::covers;

/// Files of other formats, by their beginning and their ending, that loaders pass over beside whole safetensors files: those
/// whose names begin as here (`pytorch_model.bin` beside `model.safetensors`).
const OTHERS: [(&str, &str, &str); 7] = [
    ("model", "pytorch_model", ".bin"),
    ("model", "tf_model", ".h5"),
    ("model", "flax_model", ".msgpack"),
    ("model", "rust_model", ".ot"),
    ("model", "consolidated", ".pth"),
    ("diffusion_pytorch_model", "diffusion_pytorch_model", ".bin"),
    ("adapter_model", "adapter_model", ".bin"),
];

/// What is there of a model, and what it leads to.
pub(super) struct Present<'a> {
    documents: &'a Documents,
    there: HashSet<&'a str>,
    /// Files that something names.
    named: HashSet<&'a str>,
    /// Folders that have a file of their own or deeper.
    folders: HashSet<&'a str>,
    /// Folders whose weights are whole as safetensors, by an index, and how that is called.
    indexed: HashSet<(&'a str, &'static str)>,
    /// Folders with weights and parameters as Mistral calls them, which vLLM takes before all others.
    mistral: HashSet<&'a str>,
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
        let needed = documents.needed.iter().flat_map(|needed| &needed.any_of);
        let followed =
            documents.indexes.iter().filter(|index| documents.follows(index, &|name| there.contains(name)));
        let shards = followed.flat_map(|index| &index.shards);
        let in_folder = |matching: &dyn Fn(&str) -> bool| -> HashSet<&'a str> {
            names.iter().filter(|name| matching(&base(name))).map(|name| folder(name)).collect()
        };
        let consolidated =
            |file: &str| file.strip_prefix("consolidated").is_some_and(|rest| is_usual(rest, ".safetensors"));
        let others = in_folder(&|file| {
            OTHERS.iter().any(|(_, begins, _)| *begins != "consolidated" && file.starts_with(begins))
        });
        Present {
            documents,
            named: needed.chain(shards).map(String::as_str).collect(),
            indexed: documents.indexed(&|name| there.contains(name)),
            mistral: in_folder(&consolidated)
                .into_iter()
                // Whoever does not take them would take what is left of other formats.
                .filter(|folder| there.contains(&*inside(folder, "params.json")) && !others.contains(folder))
                .collect(),
            parts: names.iter().filter_map(|name| Some(Part::of(name)?.0)).collect(),
            gguf: in_folder(&|file| file.ends_with(".gguf") && !file.contains("mmproj")),
            folders,
            there,
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
        // Processors look for the tokenizers of their parts, and take others where there are none.
        let is_tokenizer = folder.split('/').any(|part| part.to_lowercase().ends_with("_tokenizer"));
        !folder.is_empty()
            && !is_tokenizer
            && !self.folders.contains(folder)
            && !self.documents.folders.iter().any(|named| covers(named, name))
    }

    /// Whether loaders find whole weights in the same folder that go before these.
    fn has_others(&self, name: &str) -> bool {
        let (folder, file) = (folder(name), base(name));
        if Part::of(name).is_some_and(|(part, _)| self.parts.contains(&part)) {
            return false;
        }
        if file.ends_with(".gguf") {
            // Which of several is loaded is said by its name; but what sees for all of them is looked for.
            return self.gguf.contains(folder) && !file.contains("mmproj");
        }
        let is_models = file.strip_prefix("model").is_some_and(|rest| is_usual(rest, ".safetensors"));
        if self.mistral.contains(folder) && is_models {
            return true;
        }
        let is_whole = |stem: &str| {
            self.there.contains(&*inside(folder, &format!("{stem}.safetensors")))
                || self.indexed.iter().any(|indexed| *indexed == (folder, stem))
        };
        OTHERS.iter().any(|(stem, begins, ends)| {
            is_whole(stem) && file.strip_prefix(begins).is_some_and(|rest| is_usual(rest, ends))
        })
    }
}

/// Whether a name goes on as those that loaders look for by themselves: with the ending, the numbers of a part before it, or
/// that of an index behind it. Others are variants, which are asked for by name.
fn is_usual(rest: &str, ends: &str) -> bool {
    let rest = rest.strip_suffix(".index.json").unwrap_or(rest);
    rest.strip_suffix(ends).is_some_and(|middle| {
        middle.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.'))
            || Part::of(rest).is_some_and(|(part, _)| part.before.is_empty())
    })
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
                    "consolidated.00.pth",
                    "rust_model.ot",
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
                    // Loaders take these before the index.
                    "consolidated.safetensors",
                    "model.safetensors",
                    "shard-00001-model-00001-of-00001.safetensors",
                    "pytorch_model.fp16.bin",
                    "pytorch_model.fp16-00001-of-00002.bin",
                    "pytorch_model-lora-00001-of-00002.bin",
                    "adapter_model.bin",
                    "colbert_linear.pt",
                    "qformer_tokenizer/vocab.txt",
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
            (&gguf, &["mmproj-m.gguf"], false),
            (
                &["consolidated.safetensors", "params.json"],
                &["model-00001-of-00003.safetensors", "model.safetensors.index.json"],
                true,
            ),
            (
                &["consolidated.safetensors", "params.json"],
                &["model_extra.safetensors", "config.json"],
                false,
            ),
            (&["consolidated.safetensors"], &["model-00001-of-00003.safetensors"], false),
            (&["consolidated_lora.safetensors", "params.json"], &["model.safetensors"], false),
            (
                &["consolidated.safetensors", "params.json", "pytorch_model.bin"],
                &["model.safetensors"],
                false,
            ),
            (&["mmproj-m.gguf"], &["m-Q4.gguf"], false),
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
