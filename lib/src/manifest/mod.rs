//! The manifest: which resources a model consists of, each with its digest (OMS 1.0, predicate).
//!
//! Nothing here does I/O or reads a clock.

use std::{collections::HashMap, ops::Range};

use sha2::{Digest as _, Sha256};

use crate::{Error, code::Code};

mod digest;
mod name;
mod serialization;
mod shard;

pub(crate) use digest::hex;
pub use digest::{Algorithm, Digest};
pub use name::ResourceName;
pub use serialization::{Method, Serialization};
pub(crate) use shard::parse_shard_name;

/// One signed thing: a file, or a shard of one, with its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The file.
    pub name: ResourceName,
    /// The bytes of it, end exclusive; none for the whole file.
    pub range: Option<Range<u64>>,
    /// The digest of those bytes.
    pub digest: Digest,
}

impl Resource {
    /// The name as it stands in a statement: `path`, or `path:start:end`.
    pub fn identifier(&self) -> String {
        match &self.range {
            Some(range) => format!("{}:{}:{}", self.name.as_str(), range.start, range.end),
            None => self.name.as_str().to_owned(),
        }
    }
}

/// A model as a list of digests. Made only by [`Manifest::new`], which checks it, so that each one is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    serialization: Serialization,
    resources: Vec<Resource>,
    files: Vec<ManifestFile>,
}

/// A file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its name.
    pub name: ResourceName,
    /// Its resources: one for the whole file, or its shards in the order of their bytes; indices into the manifest's list.
    pub resources: Vec<u32>,
    /// Its length in bytes, where the shards give it.
    pub size: Option<u64>,
}

impl Manifest {
    /// A manifest of these resources, in this order, which the root digest is over.
    ///
    /// # Errors
    /// `resources-empty`; `name-duplicate`; `algorithm-mismatch` when a digest is not of the serialization's algorithm;
    /// `shard-invalid`, `shard-gap`, `shard-overlap` when the shards of a file are not contiguous from 0 in steps of the
    /// shard size; `name-invalid` for the name `.` beside others.
    pub fn new(serialization: Serialization, resources: Vec<Resource>) -> Result<Self, Error> {
        if resources.is_empty() {
            return Err(Error::new(Code::ResourcesEmpty, "the statement has no resources"));
        }
        let mut files: Vec<ManifestFile> = Vec::new();
        let mut places: HashMap<&ResourceName, usize> = HashMap::with_capacity(resources.len());
        for (index, resource) in resources.iter().enumerate() {
            if resource.digest.algorithm() != serialization.algorithm {
                return Err(Error::new(
                    Code::AlgorithmMismatch,
                    format!(
                        "resource {:?} has a {} digest in a statement of {} digests",
                        resource.name,
                        resource.digest.algorithm(),
                        serialization.algorithm
                    ),
                )
                .with_name(resource.name.as_str()));
            }
            let index = u32::try_from(index).map_err(|_| {
                Error::new(Code::TooManyEntries, "the statement has more than 2^32 resources")
            })?;
            let place = *places.entry(&resource.name).or_insert_with(|| {
                files.push(ManifestFile { name: resource.name.clone(), resources: Vec::new(), size: None });
                files.len() - 1
            });
            if let Some(file) = files.get_mut(place) {
                file.resources.push(index);
            }
        }
        for file in &mut files {
            match serialization.method {
                Method::Files => {
                    if file.resources.len() > 1 {
                        return Err(duplicate(file.name.as_str()));
                    }
                }
                Method::Shards { size } => file.size = Some(shard::check(&resources, file, size)?),
            }
        }
        if let Some(whole) = files.iter().find(|file| file.name.is_whole_model())
            && files.len() > 1
        {
            return Err(Error::new(
                Code::NameInvalid,
                "the name '.' stands for a single-file model, but there are other files",
            )
            .with_name(whole.name.as_str()));
        }
        drop(places);
        Ok(Manifest { serialization, resources, files })
    }

    /// How the model was serialized.
    pub fn serialization(&self) -> &Serialization {
        &self.serialization
    }

    /// The resources in the order of the statement.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The files in the order of their first resource.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// The root digest: SHA-256 over the raw digests of the resources, in their order (OMS, subject).
    pub fn root_digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        for resource in &self.resources {
            hasher.update(resource.digest.as_bytes());
        }
        Digest::sha256(hasher.finalize().into())
    }
}

fn duplicate(name: &str) -> Error {
    Error::new(Code::NameDuplicate, format!("the statement names {:?} twice", crate::shown::Shown(name)))
        .with_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, byte: u8) -> Resource {
        Resource { name: ResourceName::parse(name).unwrap(), range: None, digest: Digest::sha256([byte; 32]) }
    }

    #[test]
    fn order_counts_for_the_root_digest_and_names_are_unique() {
        let serialization = Serialization::new(Method::Files, Algorithm::Sha256);
        let ab = Manifest::new(serialization.clone(), vec![resource("a", 1), resource("b", 2)]).unwrap();
        let ba = Manifest::new(serialization.clone(), vec![resource("b", 2), resource("a", 1)]).unwrap();
        assert_ne!(ab.root_digest(), ba.root_digest());
        for (resources, code) in [
            (vec![], Code::ResourcesEmpty),
            (vec![resource("a", 1), resource("b", 2), resource("a", 1)], Code::NameDuplicate),
        ] {
            assert_eq!(Manifest::new(serialization.clone(), resources).unwrap_err().code(), code);
        }
        let blake3 = Serialization::new(Method::Files, Algorithm::Blake3);
        assert_eq!(
            Manifest::new(blake3, vec![resource("a", 1)]).unwrap_err().code(),
            Code::AlgorithmMismatch
        );
        let whole =
            Resource { name: ResourceName::whole_model(), range: None, digest: Digest::sha256([1; 32]) };
        assert!(Manifest::new(serialization.clone(), vec![whole.clone()]).is_ok());
        assert_eq!(
            Manifest::new(serialization, vec![whole, resource("a", 1)]).unwrap_err().code(),
            Code::NameInvalid
        );
    }
}
