//! One bucket as it is spoken to: its clients, and what is demanded of its answers.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::ServerSideEncryption,
};

use super::{
    connect::{Clients, connect},
    options::S3Options,
    trouble::Trouble,
};
use crate::{Error, Run, S3Uri, code::Code, report::Finding, rt, shown::Shown};

/// Of so many files the version is remembered: those that are being read.
const VERSIONS: usize = 4096;

/// One bucket, and how it is spoken to.
pub(super) struct Store {
    pub(super) bucket: String,
    pub(super) options: S3Options,
    clients: Mutex<Arc<Clients>>,
    versions: Mutex<VecDeque<Version>>,
}

/// The version that a file had in the first answer about it.
struct Version {
    key: String,
    tag: Arc<str>,
    id: Option<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?})", Shown(&self.bucket))
    }
}

impl Store {
    pub(super) fn connect(bucket: &str, options: &S3Options, run: &Run) -> Result<Arc<Self>, Error> {
        let options = options.clone();
        let bucket = bucket.to_owned();
        rt::wait(run, async move {
            let clients = Mutex::new(Arc::new(connect(&options).await?));
            Ok(Arc::new(Store { bucket, options, clients, versions: Mutex::default() }))
        })?
    }

    pub(super) fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the credentials anew, unless somebody did so since these clients were taken.
    pub(super) async fn renew(&self, taken: &Arc<Clients>) -> Result<(), Error> {
        if !Arc::ptr_eq(&self.clients(), taken) {
            return Ok(());
        }
        let renewed = Arc::new(connect(&self.options).await?);
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// Makes a call, once more with new credentials where the old ones' time is over.
    pub(super) async fn call<T, E, F>(
        &self,
        call: impl Fn(Arc<Clients>) -> F,
    ) -> Result<Result<T, Trouble>, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let clients = self.clients();
        let trouble = match call(Arc::clone(&clients)).await {
            Ok(answer) => return Ok(Ok(answer)),
            Err(error) => Trouble::of(&error),
        };
        if !trouble.is_expired() {
            return Ok(Err(trouble));
        }
        self.renew(&clients).await?;
        Ok(call(self.clients()).await.map_err(|error| Trouble::of(&error)))
    }

    /// A key of the bucket as a URI.
    pub(super) fn uri(&self, key: &str) -> S3Uri {
        S3Uri { bucket: self.bucket.clone(), key: key.to_owned(), is_folder: false }
    }

    /// The error for what the store said about a key.
    pub(super) fn failed(&self, key: &str, trouble: &Trouble) -> Error {
        let error = trouble.error(Shown(&self.uri(key).to_string()), &self.clients().region);
        match self.options.customer_key.is_some() && trouble.is_denied() {
            true => error.with_help("check the credentials, and the key that the file is encrypted with"),
            false => error,
        }
    }

    /// What the headers of an answer say against the encryption that is demanded.
    pub(super) fn objection(
        &self,
        name: &str,
        encryption: Option<&ServerSideEncryption>,
        key: Option<&str>,
    ) -> Option<Finding> {
        let demanded = self.options.kms_key.as_deref()?;
        let by_service =
            matches!(encryption, Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse));
        if by_service && key.is_some_and(|key| same_key(demanded, key)) {
            return None;
        }
        let actual = match (by_service, encryption) {
            (true, _) => key.unwrap_or("a key that the store does not name"),
            (false, Some(other)) => other.as_str(),
            (false, None) => "none",
        };
        let what = format!(
            "{:?} is not encrypted with the key {:?} in the store, but with: {}",
            Shown(name),
            Shown(demanded),
            Shown(actual)
        );
        Some(Finding::new(Code::EncryptionNotExpected, what).about(name).differs(demanded, Shown(actual)))
    }

    /// Whether the version of a file is the one that the first answer about it had.
    pub(super) fn is_same_version(&self, key: &str, tag: &Arc<str>, id: Option<&str>) -> bool {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = versions.iter().rev().find(|known| known.key == key && known.tag == *tag) {
            return known.id.as_deref() == id;
        }
        if versions.len() >= VERSIONS {
            versions.pop_front();
        }
        versions.push_back(Version { key: key.to_owned(), tag: Arc::clone(tag), id: id.map(str::to_owned) });
        true
    }

    /// Forgets the versions: the files are listed again, and may be others.
    pub(super) fn forget_versions(&self) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Whether the key that a store names is the one that is demanded: the same words, or what is demanded is the end of an
/// ARN, which some stores do not write as AWS does.
fn same_key(demanded: &str, actual: &str) -> bool {
    actual == demanded
        || actual.strip_suffix(demanded).is_some_and(|rest| rest.ends_with('/') || rest.ends_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_arn_or_the_end_of_it() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234-abcd";
        for demanded in [arn, "1234-abcd", "key/1234-abcd"] {
            assert!(same_key(demanded, arn), "{demanded}");
        }
        assert!(same_key("test-key", "arn:aws:kms:test-key") && same_key("test-key", "test-key"));
        for (demanded, actual) in
            [("abcd", arn), ("key", "arn:aws:kms:test-key"), (arn, "1234-abcd"), ("a", "")]
        {
            assert!(!same_key(demanded, actual), "{demanded} {actual}");
        }
    }
}
