//! What model servers load, told by names alone. `docs/load-set.md` has the table with the reasons.

use serde::Serialize;

/// What a file is to whoever loads the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LoadKind {
    /// Tensors, and the indexes that say in which file each of them lies. Pickled ones are code as well.
    Weights,
    /// What is run, or compiled and run.
    Code,
    /// What says how the model is built and used.
    Configuration,
    /// Templates of prompts, which are programs.
    Template,
    /// What turns text into numbers.
    Tokenizer,
}

impl LoadKind {
    /// The kind in a word: `weights`, `code`, `configuration`, `template` or `tokenizer`.
    pub const fn name(self) -> &'static str {
        match self {
            LoadKind::Weights => "weights",
            LoadKind::Code => "code",
            LoadKind::Configuration => "configuration",
            LoadKind::Template => "template",
            LoadKind::Tokenizer => "tokenizer",
        }
    }

    /// What a file of this name, relative to the model, would be loaded as; none where no loader opens it. Case does not
    /// count, nor does the folder: nested ones are loaded too.
    pub fn of(name: &str) -> Option<LoadKind> {
        let lower = name.to_lowercase();
        let (folder, file) = lower.rsplit_once('/').unwrap_or(("", &lower));
        if file.is_empty() {
            return None;
        }
        let ends = |endings: &[&str]| endings.iter().any(|ending| file.ends_with(ending));
        let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| file.starts_with(beginning));
        if ends(CODE) || file.contains(".so.") {
            return Some(LoadKind::Code);
        }
        // Signatures of other signers, and what the Hub's client notes of each download, are read by no loader. But those
        // look for `config.VERSION.json` and `tokenizer.VERSION.json`, whatever the version is called.
        let noted = folder == DOWNLOADS || folder.starts_with(&format!("{DOWNLOADS}/"));
        let is_versioned =
            begins(&["config.", "chat_template"]) || begins(TOKENIZER_NAMES) || file.contains("tokenizer.");
        if (ends(&[".sigstore.json"]) && !is_versioned)
            || (noted && ends(&[".metadata", ".lock", ".incomplete"]))
            || (folder == DOWNLOADS_TREES && file.strip_suffix(".json").is_some_and(is_commit))
        {
            return None;
        }
        if ends(TEMPLATES) || begins(&["chat_template"]) {
            return Some(LoadKind::Template);
        }
        if begins(TOKENIZER_NAMES) || ends(TOKENIZERS) {
            return Some(LoadKind::Tokenizer);
        }
        // The data of an ONNX file lie in others beside it: `model.onnx_data_1`.
        // So do those of a checkpoint of TensorFlow: `model.ckpt.index`, `variables.data-00000-of-00001`.
        if ends(WEIGHTS) || file.contains(".onnx") || file.contains(".data-") || is_index(file) {
            return Some(LoadKind::Weights);
        }
        ends(CONFIGURATIONS).then_some(LoadKind::Configuration)
    }
}

/// Where the Hub's client keeps notes on files that it downloaded into a folder of one's own.
const DOWNLOADS: &str = ".cache/huggingface";

/// Where it keeps the list of the files of each commit.
const DOWNLOADS_TREES: &str = ".cache/huggingface/trees";

/// Whether it is the name of a commit: SHA-1 or longer.
fn is_commit(name: &str) -> bool {
    name.len() >= 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Modules that Python has cached among them: it loads them without looking at their text.
const CODE: &[&str] = &[
    ".py", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h",
    ".hh", ".hpp", ".ptx", ".cubin", ".hsaco", ".whl", ".egg",
];

const TEMPLATES: &[&str] = &[".jinja", ".jinja2", ".j2"];

/// By their beginnings: `tokenizer.model.v3`, `vocab.bpe` and `tekken_240911.json` end in anything.
const TOKENIZER_NAMES: &[&str] = &[
    "tokenizer",
    "vocab",
    "merges",
    "tekken",
    "special_tokens_map",
    "added_tokens",
    "spiece",
    "sentencepiece",
];

const TOKENIZERS: &[&str] =
    &[".model", ".spm", ".tiktoken", ".bpe", ".codes", ".vocab", ".tokenizer", ".dict", ".dic", ".txt"];

const WEIGHTS: &[&str] = &[
    ".safetensors",
    ".sft",
    ".bin",
    ".pt",
    ".pth",
    ".pt2",
    ".ckpt",
    ".gguf",
    ".ggml",
    ".h5",
    ".hdf5",
    ".keras",
    ".msgpack",
    ".ort",
    ".pb",
    ".tflite",
    ".pkl",
    ".pickle",
    ".npz",
    ".npy",
    ".joblib",
    ".dill",
    ".cloudpickle",
    ".nemo",
    ".tensors",
    ".engine",
    ".plan",
    ".trt",
    ".llamafile",
    ".mar",
    ".index",
    ".arpa",
    ".binary",
    ".faiss",
    ".flashpack",
    ".dduf",
    ".dpr",
    ".c_index",
    ".ot",
];

const CONFIGURATIONS: &[&str] = &[".json", ".yaml", ".yml", ".toml", ".xml", ".ini"];

/// Whether a name, in lower case, is one of an index of weights: `model.safetensors.index.json`, and with a variant
/// `model.safetensors.index.fp16.json`.
pub(super) fn is_index(file: &str) -> bool {
    file.ends_with(".json") && file.contains(".index.")
}

/// Whether it is the card of a model, which loaders of pipelines read and others do not.
pub(crate) fn is_card(name: &str) -> bool {
    base(name) == "readme.md"
}

/// The part of a name after its last slash, in lower case.
pub(super) fn base(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_lowercase()
}

/// The folder that a name lies in; empty at the top.
pub(super) fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A name in a folder.
pub(super) fn inside(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Whether a text names a file of the same folder, and nothing else.
pub(super) fn is_plain(name: &str) -> bool {
    !name.contains(['/', '\\']) && crate::ResourceName::parse(name).is_ok_and(|name| !name.is_whole_model())
}

/// Whether a text is a path below a folder, without parts that lead anywhere else.
pub(super) fn is_below(path: &str) -> bool {
    !path.contains('\\') && crate::ResourceName::parse(path).is_ok_and(|name| !name.is_whole_model())
}

/// A name that says that its file is one of several: `x-00001-of-00003.gguf`, or `x-1-of-61.safetensors`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Part<'a> {
    /// What stands before the numbers, the folder included.
    pub(super) before: &'a str,
    /// What stands after them.
    pub(super) after: &'a str,
    /// How many there are, as it is written.
    pub(super) total: &'a str,
}

/// The number of a part, and how many digits it is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) value: u32,
    pub(super) width: usize,
}

/// So many parts at most: more is no name that a tool writes.
const PARTS: u32 = 100_000;

impl<'a> Part<'a> {
    /// The parts that a name speaks of, and which of them its file is.
    pub(super) fn of(name: &'a str) -> Option<(Part<'a>, Number)> {
        let file = name.get(folder(name).len()..)?;
        let at = name.len() - file.len() + file.rfind("-of-")?;
        let (head, tail) = (name.get(..at)?, name.get(at + 4..)?);
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let total = tail.get(..digits(tail))?;
        let number = head.get(head.rfind('-')? + 1..)?;
        let after = tail.get(total.len()..)?;
        if total.is_empty()
            || number.is_empty()
            || digits(number) != number.len()
            || !after.starts_with(['.', '-'])
        {
            return None;
        }
        let before = head.get(..head.len() - number.len() - 1)?;
        Some((Part { before, after, total }, Number { value: number.parse().ok()?, width: number.len() }))
    }

    /// How many parts there are; none where that is no number of parts.
    pub(super) fn count(&self) -> Option<u32> {
        self.total.parse().ok().filter(|total| (1..=PARTS).contains(total))
    }

    /// The name of one of the parts, with a number of at least so many digits.
    pub(super) fn name(&self, number: u32, width: usize) -> String {
        format!("{}-{number:0width$}-of-{}{}", self.before, self.total, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_told_by_its_name() {
        for (kind, names) in [
            (
                Some(LoadKind::Weights),
                &[
                    "model.safetensors",
                    "MODEL.SafeTensors",
                    "a/b/pytorch_model.bin",
                    "x.pt",
                    "consolidated.00.pth",
                    "x.ckpt",
                    "m-Q4.gguf",
                    "x.ggml",
                    "tf_model.h5",
                    "flax_model.msgpack",
                    "onnx/model.onnx",
                    "x.pkl",
                    "x.pickle",
                    "x.npz",
                    "x.npy",
                    "x.joblib",
                    ".github/x.bin",
                    "model.safetensors.index.json",
                    "model.safetensors.index.fp16.json",
                    "pytorch_model.bin.index.json",
                    "x.tensors",
                    "x.flashpack",
                    "rust_model.ot",
                ][..],
            ),
            (
                Some(LoadKind::Code),
                &[
                    "modeling_x.py",
                    ".github/modeling.py",
                    "__pycache__/x.cpython-312.pyc",
                    "x.PY",
                    "lib/x.so",
                    "x.so.1",
                    "kernel.cu",
                    "tokenization_x.py",
                    "tokenizer.py",
                    "chat_template.py",
                ],
            ),
            (
                Some(LoadKind::Configuration),
                &[
                    "config.json",
                    "vae/config.json",
                    "x.JSON",
                    "model_index.json",
                    "params.json",
                    "x.yaml",
                    ".json",
                    "preset.ini",
                    "config.4.0.sigstore.json",
                    "my-tokenizer.4.0.sigstore.json",
                    ".cache/huggingface/trees/x.json",
                ],
            ),
            (
                Some(LoadKind::Template),
                &[
                    "chat_template.jinja",
                    "additional_chat_templates/x.jinja",
                    "x.jinja2",
                    "chat_template.json",
                ],
            ),
            (
                Some(LoadKind::Tokenizer),
                &[
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "tokenizer.model",
                    "tokenizer.model.v3",
                    "TOKENIZER",
                    "vocab.json",
                    "vocab.txt",
                    "vocab.bpe",
                    "merges.txt",
                    "spiece.model",
                    "source.spm",
                    "qwen.tiktoken",
                    "bpe.codes",
                    "dict.txt",
                    "tekken.json",
                    "special_tokens_map.json",
                    "tokenizer.4.0.sigstore.json",
                ],
            ),
            (
                None,
                &[
                    "README.md",
                    "LICENSE",
                    ".gitattributes",
                    ".gitignore",
                    "a.png",
                    "model.sig",
                    "x.sigstore.json",
                    ".git/HEAD",
                    "figures/x.pdf",
                    "data.jsonl",
                    "py",
                    "safetensors",
                    "x.py.orig",
                    ".cache/huggingface/download/tokenizer.json.metadata",
                    ".cache/huggingface/trees/0123456789abcdef0123456789abcdef01234567.json",
                ],
            ),
        ] {
            for name in names {
                assert_eq!(LoadKind::of(name), kind, "{name}");
            }
        }
        assert_eq!(LoadKind::of(".cache/huggingface/x.py"), Some(LoadKind::Code));
    }

    #[test]
    fn parts_say_how_many_they_are() {
        let (part, number) = Part::of("a/m-Q4-00002-of-00003.gguf").unwrap();
        assert_eq!((number, part.count()), (Number { value: 2, width: 5 }, Some(3)));
        assert_eq!(part.name(1, 5), "a/m-Q4-00001-of-00003.gguf");
        assert_eq!(Part::of("state-of-art-00002-of-00003.gguf").unwrap().0.before, "state-of-art");
        let (one, ten) = (Part::of("m-1-of-61.bin").unwrap(), Part::of("m-10-of-61.bin").unwrap());
        assert_eq!((one.0.clone(), one.1.width, one.0.name(2, 1).as_str()), (ten.0, 1, "m-2-of-61.bin"));
        assert_eq!(Part::of("m-00001-of-00002.fp16.safetensors").unwrap().0.after, ".fp16.safetensors");
        for name in [
            "m.gguf",
            "m-of-3.gguf",
            "m-1-of-.gguf",
            "m-x-of-3.gguf",
            "a-00001-of-00003/m.gguf",
            "m-1-of-2",
            "-of-",
            "m-99999999999-of-2.bin",
        ] {
            assert_eq!(Part::of(name), None, "{name}");
        }
        for (name, count) in
            [("m-1-of-0.bin", None), ("m-1-of-99999999999.bin", None), ("m-1-of-2.bin", Some(2))]
        {
            assert_eq!(Part::of(name).unwrap().0.count(), count, "{name}");
        }
    }

    #[test]
    fn names_of_the_same_folder_lead_nowhere_else() {
        assert!(is_plain("model-1.safetensors") && is_below("sub/x.py"));
        for name in ["", ".", "..", "/x", "../x", "a/b", "a\\b", "a/../b", "\0"] {
            assert!(!is_plain(name), "{name:?}");
        }
        for name in ["", ".", "..", "/x", "../x", "a\\b", "a/../b", "a//b", "\0"] {
            assert!(!is_below(name), "{name:?}");
        }
    }
}
