//! Where models are, as users write it: a path, `s3://bucket/prefix`, `hf://org/name@revision`.

use std::{ffi::OsString, fmt, path::PathBuf, str::FromStr};

use crate::{Error, code::Code, model_id_of, shown::Shown};

mod hub;
mod s3;

#[cfg(feature = "hub")]
pub(super) use hub::encoded;
pub use hub::{HubUri, RepoKind};
pub use s3::S3Uri;

/// Where a model is, or a file such as its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelUri {
    /// On disk.
    Path(PathBuf),
    /// In S3, or in a store that speaks its protocol.
    S3(S3Uri),
    /// On the Hugging Face Hub.
    Hub(HubUri),
}

impl ModelUri {
    /// Whether it is in a store and not on disk.
    pub fn is_remote(&self) -> bool {
        !matches!(self, ModelUri::Path(_))
    }

    /// The model's id where no other was given: for a store the URI without a revision and a slash at its end; for a path
    /// what [`model_id_of`] says.
    ///
    /// # Errors
    /// As [`model_id_of`].
    pub fn id(&self) -> Result<String, Error> {
        match self {
            ModelUri::Path(path) => model_id_of(path),
            ModelUri::S3(uri) => Ok(S3Uri { is_folder: false, ..uri.clone() }.to_string()),
            ModelUri::Hub(uri) => Ok(uri.clone().without_revision().to_string()),
        }
    }

    /// The file of this name in the model.
    #[must_use]
    pub fn join(&self, name: &str) -> ModelUri {
        match self {
            ModelUri::Path(path) => ModelUri::Path(path.join(name)),
            ModelUri::S3(uri) => ModelUri::S3(uri.join(name)),
            ModelUri::Hub(uri) => ModelUri::Hub(uri.join(name)),
        }
    }

    /// The file beside it, whose name is longer by this ending.
    #[must_use]
    pub fn beside(&self, ending: &str) -> ModelUri {
        match self {
            ModelUri::Path(path) => {
                let mut beside = OsString::from(path);
                beside.push(ending);
                ModelUri::Path(beside.into())
            }
            ModelUri::S3(uri) => ModelUri::S3(S3Uri { key: format!("{}{ending}", uri.key), ..uri.clone() }),
            ModelUri::Hub(uri) => {
                ModelUri::Hub(HubUri { path: format!("{}{ending}", uri.path), ..uri.clone() })
            }
        }
    }

    /// The name that `file` has in this model; none for what lies elsewhere, in another revision too, for the model itself and on disk.
    pub fn name_of(&self, file: &ModelUri) -> Option<String> {
        match (self, file) {
            (ModelUri::S3(model), ModelUri::S3(file)) => model.name_of(file),
            (ModelUri::Hub(model), ModelUri::Hub(file)) => model.name_of(file),
            _ => None,
        }
    }
}

impl FromStr for ModelUri {
    type Err = Error;

    /// Reads a URI; what has no scheme of ours is a path.
    ///
    /// # Errors
    /// `uri-invalid`, also for a scheme that is not known.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once("://") {
            Some(("s3", rest)) => S3Uri::parse(rest).map(ModelUri::S3),
            Some(("hf", rest)) => HubUri::parse(rest).map(ModelUri::Hub),
            Some((scheme, _)) if is_scheme(scheme) => {
                Err(invalid(text, "its scheme is not known").with_help("write s3://, hf://, or a path"))
            }
            _ => Ok(ModelUri::Path(PathBuf::from(text))),
        }
    }
}

/// A scheme as RFC 3986 has it (3.1): what comes before `://` in a path need not be one.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn invalid(text: &str, why: &str) -> Error {
    // What follows may be a signature that opens the store.
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    Error::new(Code::UriInvalid, format!("the URI {:?} cannot be used: {why}", Shown(shown)))
}

impl fmt::Display for ModelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelUri::Path(path) => path.display().fmt(f),
            ModelUri::S3(uri) => uri.fmt(f),
            ModelUri::Hub(uri) => uri.fmt(f),
        }
    }
}
