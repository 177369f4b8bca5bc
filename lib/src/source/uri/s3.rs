//! `s3://bucket/prefix`.

use std::fmt;

use super::invalid;
use crate::Error;

/// A bucket and a key or prefix in it, as they stand: nothing in an S3 URI is escaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S3Uri {
    /// The bucket.
    pub bucket: String,
    /// The key of one object, or the folder of many, without a slash at its end; empty for the whole bucket.
    pub key: String,
    /// It was written with a slash at its end: only a folder is meant.
    pub is_folder: bool,
}

impl S3Uri {
    /// Reads what follows `s3://`.
    pub(crate) fn parse(rest: &str) -> Result<Self, Error> {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(named) {
            return Err(invalid(&format!("s3://{rest}"), "it does not begin with the name of a bucket"));
        }
        let folder = key.strip_suffix('/');
        let (key, is_folder) = (folder.unwrap_or(key), folder.is_some() || key.is_empty());
        Ok(S3Uri { bucket: bucket.to_owned(), key: key.to_owned(), is_folder })
    }

    /// The object of this name below the key.
    #[must_use]
    pub(crate) fn join(&self, name: &str) -> S3Uri {
        S3Uri { bucket: self.bucket.clone(), key: format!("{}{name}", self.prefix()), is_folder: false }
    }

    /// What the keys of everything below it begin with.
    pub(crate) fn prefix(&self) -> String {
        if self.key.is_empty() { String::new() } else { format!("{}/", self.key) }
    }

    pub(crate) fn name_of(&self, file: &S3Uri) -> Option<String> {
        let name = file.key.strip_prefix(&self.prefix())?;
        (self.bucket == file.bucket && !name.is_empty()).then(|| name.to_owned())
    }
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.is_folder && !self.key.is_empty() { "/" } else { "" };
        match self.key.is_empty() {
            true => write!(f, "s3://{}", self.bucket),
            false => write!(f, "s3://{}/{}{slash}", self.bucket, self.key),
        }
    }
}
