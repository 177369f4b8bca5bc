//! What is to be checked: models on disk, models to be pulled, and whatever lies below a folder.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use weightseal::{Code, Error, Mode, ModelUri, Shown};

use crate::{
    config::shown,
    settings::{Given, Task, bad},
};

/// One thing that a report is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where the model is; of [`Way::Below`] the folder.
    pub(crate) place: ModelUri,
    pub(crate) way: Way,
    /// The id, where it is not made of the place.
    pub(crate) id: Option<String>,
}

/// What is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is verified where it is.
    Here,
    /// It is pulled into this folder, and verified on its way.
    Into(PathBuf),
    /// The models below it are found and verified, and nothing else may be there.
    Below,
}

impl Target {
    /// A model on disk.
    pub(crate) fn on_disk(path: PathBuf, id: Option<String>) -> Self {
        Target { place: ModelUri::Path(path), way: Way::Here, id }
    }

    /// As reports call it: not escaped.
    pub(crate) fn name(&self) -> String {
        self.place.to_string()
    }

    /// Its id, where one is wanted.
    ///
    /// # Errors
    /// `bad-argument` when its path is no id.
    pub(crate) fn id(&self) -> Result<String, Error> {
        self.id.clone().map_or_else(|| self.place.id(), Ok)
    }

    /// Whether it has an id whether policies ask for it or not.
    pub(crate) fn has_id(&self) -> bool {
        self.id.is_some() || self.place.is_remote() || matches!(self.way, Way::Into(_))
    }

    /// For people, escaped.
    pub(crate) fn shown(&self) -> String {
        let place = Shown(&self.name()).to_string();
        match &self.way {
            Way::Here => place,
            Way::Into(folder) => format!("{place}, which is pulled into {}", shown(folder)),
            Way::Below => format!("what is below {place}"),
        }
    }
}

/// Reads what is to be checked; the folder whose models have to be found comes last.
///
/// # Errors
/// `bad-argument`, `uri-invalid`, `arguments-conflict`.
pub(crate) fn given(given: &Given, task: Task, mode: Mode) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::new();
    for path in given.paths("model") {
        let by = given.by("model").unwrap_or_default();
        let place = place(by, path.as_os_str())?;
        // What the Hub's cache holds is found on disk.
        if (mode == Mode::Enforce || task == Task::Watch) && matches!(place, ModelUri::S3(_)) {
            let what = format!(
                "{by} has a model in a store: what is checked there is not what the model server loads"
            );
            return Err(bad(what).with_help(
                "pull it into the volume: weightseal-init SRC DEST; or look at it only, with --mode warn",
            ));
        }
        targets.push(Target { place, way: Way::Here, id: None });
    }
    if !given.pairs.len().is_multiple_of(2) || given.pairs.iter().any(|part| part.is_empty()) {
        return Err(bad("the arguments without a flag are not pairs of a source and a folder".to_owned())
            .with_help("give each source its own folder: weightseal-init SRC DEST [SRC DEST ...]"));
    }
    if mode == Mode::Warn && !given.pairs.is_empty() {
        let by = given.by("mode").unwrap_or_default();
        let what =
            format!("{by} is warn, and a model was given to be pulled: what does not verify is put nowhere");
        return Err(Error::new(Code::ArgumentsConflict, what)
            .with_help("enforce, or let something else fetch the model and check it with --model"));
    }
    for pair in given.pairs.chunks_exact(2) {
        let [source, folder] = pair else { continue };
        let place = place("a source", &as_kserve_writes(source))?;
        if folder.to_string_lossy().contains("://") {
            return Err(bad("a model is to be pulled into something that is no folder".to_owned())
                .with_help("the order is weightseal-init SRC DEST"));
        }
        targets.push(Target { place, way: Way::Into(folder.into()), id: None });
    }
    if let Some(folder) = given.path("models-under") {
        targets.push(Target { place: ModelUri::Path(folder), way: Way::Below, id: None });
    }
    if targets.is_empty() {
        return Err(bad("no model was given".to_owned())
            .with_help("give one with --model, --models-under or their variables, or as SRC DEST"));
    }
    Ok(targets)
}

/// KServe writes the revision of a model on the Hub behind a colon: `hf://org/name:revision`.
fn as_kserve_writes(source: &OsStr) -> OsString {
    let rewritten = || {
        let (id, revision) = source.to_str()?.strip_prefix("hf://")?.split_once(':')?;
        (!id.contains('@') && !revision.contains('/')).then(|| format!("hf://{id}@{revision}").into())
    };
    rewritten().unwrap_or_else(|| source.to_owned())
}

/// Where a model is. What may follow an address is not shown, and refused: it may be a signature that opens the store.
fn place(by: &str, text: &OsStr) -> Result<ModelUri, Error> {
    let Some(text) = text.to_str() else { return Ok(ModelUri::Path(text.into())) };
    if text.contains("://") && text.contains(['?', '#']) {
        let what = format!("the address of {by} has a query or a fragment");
        return Err(Error::new(Code::UriInvalid, what).with_help(
            "write s3://bucket/prefix or hf://org/name@revision; credentials are read from the variables of the store's own tools",
        ));
    }
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_may_stand_behind_a_colon_as_kserve_writes_it() {
        for (given, read) in [
            ("hf://acme/llama:v1.2", "hf://acme/llama@v1.2"),
            ("hf://acme/llama@v1.2", "hf://acme/llama@v1.2"),
            ("hf://acme/llama", "hf://acme/llama"),
            ("hf://acme/llama@v1:2", "hf://acme/llama@v1:2"),
            ("s3://bucket/a:b", "s3://bucket/a:b"),
            ("/models/a:b", "/models/a:b"),
        ] {
            assert_eq!(as_kserve_writes(OsStr::new(given)), read);
        }
    }
}
