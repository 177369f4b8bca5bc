//! The in-toto statement about a model (OMS 1.0, statement and predicate) and its manifest.

use std::sync::Arc;

use serde::Serialize;

use super::json::{self, Object};
use crate::{
    Error,
    code::Code,
    limits,
    manifest::{
        Algorithm, Digest, Manifest, Method, Resource, ResourceName, Serialization, parse_shard_name,
    },
    report::Finding,
    shown::Shown,
};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// Written by the reference's release 0.2.0: every file is a subject, there is no serialization.
const LEGACY_PREDICATE_TYPE: &str = "https://model_signing/Digests/v0.1";

/// A statement: what was signed, and the manifest that it says.
///
/// It says so, no more: until a policy has accepted its signature nothing in it is true.
#[derive(Clone, Debug)]
pub struct Statement {
    payload: Arc<[u8]>,
    subject: String,
    release: Release,
    manifest: Manifest,
    legacy: bool,
}

/// Which model and which release of it a statement is for: `subject[0].annotations`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The model's name, for example `acme/llama-3`.
    pub name: Option<String>,
    /// The version, for example `1.2`.
    pub version: Option<String>,
    /// Whether the signer read no weights, and signed the digests that the store stated: the annotation `digests` is
    /// `stated` then.
    pub stated: bool,
}

/// What the annotation `digests` says where the signer took them from the store.
const STATED: &str = "stated";

impl Statement {
    /// A statement on a manifest; `subject` is the base name of the model.
    ///
    /// # Errors
    /// `json-too-large` when the statement does not fit into a bundle.
    pub fn new(subject: &str, release: Release, manifest: Manifest) -> Result<Self, Error> {
        let payload = wire::write(subject, &release, &manifest).map_err(|error| {
            Error::new(Code::IoFailed, "the statement cannot be written").with_source(error)
        })?;
        // Base64 makes four bytes of three, and the bundle has to be readable again.
        if payload.len() as u64 / 3 * 4 + 65_536 > limits::BUNDLE_BYTES {
            return Err(Error::new(
                Code::JsonTooLarge,
                format!("the statement has {} bytes, too many for a bundle", payload.len()),
            )
            .with_help("sign by files, or with larger shards"));
        }
        Ok(Statement {
            payload: payload.into(),
            subject: subject.to_owned(),
            release,
            manifest,
            legacy: false,
        })
    }

    /// Parses a payload. Fields that are unknown here are ignored: they are signed, and later formats may have them.
    ///
    /// # Errors
    /// The codes of JSON, of fields, of names, digests and shards; `root-digest-mismatch` when the subject's digest is not
    /// that of the resources.
    pub fn parse(payload: Arc<[u8]>) -> Result<Self, Error> {
        let text = json::check(&payload, "the payload")?;
        let mut statement = Object::document(text, "")?;
        let kind = statement.string("_type")?;
        if kind != STATEMENT_TYPE {
            return Err(Error::new(
                Code::StatementTypeUnsupported,
                format!("the statement type {:?} is not {STATEMENT_TYPE}", Shown(&kind)),
            ));
        }
        let predicate_type = statement.string("predicateType")?;
        let (subject, release, manifest, legacy) = match &*predicate_type {
            PREDICATE_TYPE => current(statement)?,
            LEGACY_PREDICATE_TYPE => legacy(statement)?,
            other => {
                return Err(Error::new(
                    Code::PredicateTypeUnsupported,
                    format!("the predicate type {:?} is not {PREDICATE_TYPE}", Shown(other)),
                ));
            }
        };
        Ok(Statement { payload, subject, release, manifest, legacy })
    }

    /// The bytes that are signed.
    pub fn payload(&self) -> &Arc<[u8]> {
        &self.payload
    }

    /// The base name of the model when it was signed; it binds nothing.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Which model and release the signer said it is.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether it is in the format of the reference's release 0.2.0.
    pub fn is_legacy(&self) -> bool {
        self.legacy
    }
}

/// Whether a payload claims the format of release 0.2.0, without saying whether it is a valid one.
pub(crate) fn claims_legacy(payload: &[u8]) -> bool {
    json::check(payload, "the payload")
        .and_then(|text| Object::document(text, ""))
        .and_then(|mut statement| statement.string("predicateType").map(|kind| kind == LEGACY_PREDICATE_TYPE))
        .unwrap_or(false)
}

type Parsed = (String, Release, Manifest, bool);

fn current(mut statement: Object<'_>) -> Result<Parsed, Error> {
    let subjects = statement.array("subject", limits::RESOURCES)?;
    let mut items = subjects.objects();
    let (Some(subject), None) = (items.next(), items.next()) else {
        return Err(Error::new(
            Code::SubjectCount,
            format!("the statement has {} subjects, not one", subjects.len()),
        ));
    };
    let mut subject = subject?;
    let name = subject.string("name")?.into_owned();
    let stated = Digest::from_hex(Algorithm::Sha256, &subject.object("digest")?.string("sha256")?)?;
    let release = match subject.optional_object("annotations")? {
        // A value of another type is somebody else's annotation.
        Some(mut annotations) => Release {
            name: annotations.string("name").ok().map(Into::into),
            version: annotations.string("version").ok().map(Into::into),
            stated: annotations.string("digests").is_ok_and(|from| from == STATED),
        },
        None => Release::default(),
    };

    let mut predicate = statement.object("predicate")?;
    let items = predicate.array("resources", limits::RESOURCES)?;
    // Such statements break the schema in other ways too, which would tell their reader less.
    if let Some(Ok(mut first)) = items.objects().next()
        && let Ok(algorithm) = first.string("algorithm")
        && let Some((base, _)) = algorithm.split_once("-sharded-")
    {
        return Err(legacy_shards(base));
    }
    let serialization = serialization(predicate.object("serialization")?)?;
    let only = items.len() == 1;
    let mut resources = Vec::with_capacity(items.len());
    for item in items.objects() {
        resources.push(resource(item?, &serialization, only, resources.last())?);
    }
    let manifest = Manifest::new(serialization, resources)?;
    let actual = manifest.root_digest();
    if actual != stated {
        let what = "the root digest in the statement is not that of its resources";
        return Err(Finding::new(Code::RootDigestMismatch, what).differs(stated, actual).into());
    }
    Ok((name, release, manifest, false))
}

fn serialization(mut wire: Object<'_>) -> Result<Serialization, Error> {
    let method = wire.string("method")?;
    let hash_type = wire.string("hash_type")?;
    if let Some((base, _)) = hash_type.split_once("-sharded-") {
        return Err(legacy_shards(base));
    }
    let algorithm = hash_type.parse()?;
    let method = match &*method {
        "files" => Method::Files,
        "shards" => {
            let size = wire.whole("shard_size")?;
            if size == 0 {
                return Err(Error::new(Code::ShardInvalid, "the shard size is 0"));
            }
            Method::Shards { size }
        }
        other => {
            return Err(Error::new(
                Code::AlgorithmUnsupported,
                format!("the serialization method {:?} is neither files nor shards", Shown(other)),
            ));
        }
    };
    let allow_symlinks = wire.boolean("allow_symlinks")?;
    let ignore_paths = wire
        .optional_array("ignore_paths", limits::RESOURCES)?
        .strings()
        .map(|path| path.map(Into::into))
        .collect::<Result<_, _>>()?;
    Ok(Serialization { method, algorithm, allow_symlinks, ignore_paths })
}

fn legacy_shards(base: &str) -> Error {
    Error::new(
        Code::ShardedAlgorithmLegacy,
        format!(
            "the shards are recorded as {}-sharded-N, as older releases of the reference's library did",
            Shown(base)
        ),
    )
}

fn resource(
    mut wire: Object<'_>,
    serialization: &Serialization,
    only: bool,
    previous: Option<&Resource>,
) -> Result<Resource, Error> {
    let name = wire.string("name")?;
    let algorithm = wire.string("algorithm")?;
    if algorithm != serialization.algorithm.name() {
        return Err(Error::new(
            Code::AlgorithmMismatch,
            format!(
                "resource {:?} is recorded as {:?} in a statement of {} digests",
                Shown(&name),
                Shown(&algorithm),
                serialization.algorithm
            ),
        )
        .with_name(&*name));
    }
    let digest = Digest::from_hex(serialization.algorithm, &wire.string("digest")?)
        .map_err(|error| error.with_name(&*name))?;
    let (path, range) = match serialization.method {
        Method::Files => (&*name, None),
        Method::Shards { .. } => {
            let (path, range) = parse_shard_name(&name)?;
            (path, Some(range))
        }
    };
    let name = match previous {
        // The shards of a file follow each other; they share its name.
        Some(previous) if previous.name.as_str() == path => previous.name.clone(),
        // The reference calls the file of a single-file model "."; under shards there may be several resources of it.
        None if path == "." && (only || range.is_some()) => ResourceName::whole_model(),
        _ => ResourceName::parse(path)?,
    };
    Ok(Resource { name, range, digest })
}

/// Release 0.2.0: every file is a subject with a SHA-256 digest; the root digest is taken over them.
fn legacy(mut statement: Object<'_>) -> Result<Parsed, Error> {
    let subjects = statement.array("subject", limits::RESOURCES)?;
    let only = subjects.len() == 1;
    let mut resources: Vec<Resource> = Vec::with_capacity(subjects.len());
    for subject in subjects.objects() {
        let mut subject = subject?;
        let name = subject.string("name")?;
        let digest = Digest::from_hex(Algorithm::Sha256, &subject.object("digest")?.string("sha256")?)
            .map_err(|error| error.with_name(&*name))?;
        let name =
            if only && name == "." { ResourceName::whole_model() } else { ResourceName::parse(&name)? };
        resources.push(Resource { name, range: None, digest });
    }
    let manifest = Manifest::new(Serialization::new(Method::Files, Algorithm::Sha256), resources)?;
    Ok((String::new(), Release::default(), manifest, true))
}

/// The statement as it is written (OMS schemas: no further fields).
mod wire {
    use serde::ser::SerializeSeq;

    use super::*;

    #[derive(Serialize)]
    struct Statement<'a> {
        _type: &'static str,
        subject: [Subject<'a>; 1],
        #[serde(rename = "predicateType")]
        predicate_type: &'static str,
        predicate: Predicate<'a>,
    }

    #[derive(Serialize)]
    struct Subject<'a> {
        name: &'a str,
        digest: Sha256,
        #[serde(skip_serializing_if = "Option::is_none")]
        annotations: Option<Annotations<'a>>,
    }

    #[derive(Serialize)]
    struct Sha256 {
        sha256: String,
    }

    #[derive(Serialize)]
    struct Annotations<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        digests: Option<&'static str>,
    }

    #[derive(Serialize)]
    struct Predicate<'a> {
        serialization: Wire<'a>,
        resources: Resources<'a>,
    }

    #[derive(Serialize)]
    struct Wire<'a> {
        method: &'static str,
        hash_type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        shard_size: Option<u64>,
        allow_symlinks: bool,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        ignore_paths: &'a [String],
    }

    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        algorithm: &'static str,
        digest: String,
    }

    struct Resources<'a>(&'a [Resource]);

    impl Serialize for Resources<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_seq(Some(self.0.len()))?;
            for resource in self.0 {
                let entry = Entry {
                    name: &resource.identifier(),
                    algorithm: resource.digest.algorithm().name(),
                    digest: resource.digest.hex(),
                };
                list.serialize_element(&entry)?;
            }
            list.end()
        }
    }

    pub(super) fn write(
        subject: &str,
        release: &Release,
        manifest: &Manifest,
    ) -> serde_json::Result<Vec<u8>> {
        let serialization = manifest.serialization();
        let shard_size = match serialization.method {
            Method::Files => None,
            Method::Shards { size } => Some(size),
        };
        let annotations = (*release != Release::default()).then_some(Annotations {
            name: &release.name,
            version: &release.version,
            digests: release.stated.then_some(STATED),
        });
        serde_json::to_vec(&Statement {
            _type: STATEMENT_TYPE,
            subject: [Subject {
                name: subject,
                digest: Sha256 { sha256: manifest.root_digest().hex() },
                annotations,
            }],
            predicate_type: PREDICATE_TYPE,
            predicate: Predicate {
                serialization: Wire {
                    method: serialization.method.name(),
                    hash_type: serialization.algorithm.name(),
                    shard_size,
                    allow_symlinks: serialization.allow_symlinks,
                    ignore_paths: &serialization.ignore_paths,
                },
                resources: Resources(manifest.resources()),
            },
        })
    }
}
