//! JSON for programs. Reports have a form of their own (docs/report.md); the forms here are in docs/cli.md.

use std::{fmt, ops::Range, path::Path};

use serde::Serialize;
use weightseal::{Error, Manifest, Method, ModelUri, Release, Resource, Shown};

/// The version of these forms; it changes when a field changes its meaning or goes, not when one is added.
pub(crate) const VERSION: u32 = 1;

/// An error before there is a report.
#[derive(Serialize)]
pub(crate) struct Failed<'a> {
    error: Failure<'a>,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: &'static str,
    class: &'static str,
    message: String,
    help: &'a str,
}

impl<'a> From<&'a Error> for Failed<'a> {
    fn from(error: &'a Error) -> Self {
        Failed {
            error: Failure {
                code: error.code().name(),
                class: error.class().name(),
                message: error.to_string(),
                help: error.help(),
            },
        }
    }
}

/// A path as text; what is not UTF-8 in it becomes U+FFFD.
pub(crate) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A place as text; what is not UTF-8 in a path becomes U+FFFD.
pub(crate) fn shown(place: &ModelUri) -> String {
    place.to_string()
}

/// How a manifest came to be.
#[derive(Serialize)]
pub(crate) struct Hashed {
    /// `files` or `shards`.
    pub(crate) serialization: &'static str,
    /// Bytes in a shard.
    pub(crate) shard_size: Option<u64>,
    pub(crate) hash_algorithm: &'static str,
    pub(crate) root_digest: String,
    /// How many.
    pub(crate) files: usize,
    /// How many.
    pub(crate) resources: usize,
}

impl From<&Manifest> for Hashed {
    fn from(manifest: &Manifest) -> Self {
        let method = manifest.serialization().method;
        Hashed {
            serialization: method.name(),
            shard_size: match method {
                Method::Shards { size } => Some(size),
                Method::Files => None,
            },
            hash_algorithm: manifest.serialization().algorithm.name(),
            root_digest: manifest.root_digest().to_string(),
            files: manifest.files().len(),
            resources: manifest.resources().len(),
        }
    }
}

/// The name and version in a statement.
#[derive(Serialize)]
pub(crate) struct Named {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    /// `stated` where the signer read no weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digests: Option<&'static str>,
}

impl From<&Release> for Named {
    fn from(release: &Release) -> Self {
        Named {
            name: release.name.clone(),
            version: release.version.clone(),
            digests: release.stated.then_some("stated"),
        }
    }
}

/// A file or shard with its digest.
#[derive(Serialize)]
pub(crate) struct Listed<'a> {
    name: &'a str,
    range: Option<Bytes>,
    digest: String,
}

#[derive(Serialize)]
struct Bytes {
    start: u64,
    end: u64,
}

impl<'a> From<&'a Resource> for Listed<'a> {
    fn from(resource: &'a Resource) -> Self {
        let bytes = |range: &Range<u64>| Bytes { start: range.start, end: range.end };
        Listed {
            name: resource.name.as_str(),
            range: resource.range.as_ref().map(bytes),
            digest: resource.digest.to_string(),
        }
    }
}

/// `sha256:0a1b…  name`, and for a shard its bytes.
impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.digest, Shown(self.name))?;
        match &self.range {
            Some(Bytes { start, end }) => write!(f, " bytes {start} to {end}"),
            None => Ok(()),
        }
    }
}
