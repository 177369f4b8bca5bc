//! Receipts: hashed once, and nothing changed since. `docs/receipts.md` says what they are worth.
//!
//! A receipt replaces step 5 of a verification alone. It lies in a folder of its own, authenticated by a key that only the
//! verifier has, and holds digests of everything that has to be as it was. Anything wrong with it means hashing again.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{Error, code::Code, fs, limits, shown::Shown};

mod attempt;
mod record;

pub(crate) use attempt::{Attempt, Circumstances};
use record::{Moment, Record};

/// Where receipts are kept, and the key that they are authenticated with.
///
/// Given to [`Model::receipts`](crate::Model::receipts). A receipt is a shortcut and nothing else: where it cannot be used or
/// written the model is hashed, and the report says why.
#[derive(Clone)]
pub struct Receipts {
    folder: PathBuf,
    key: Zeroizing<[u8; 32]>,
    context: blake3::Hash,
}

impl Receipts {
    /// Receipts in a folder, authenticated with a secret of at least 32 bytes.
    ///
    /// `context` is what else has to be as it was for a receipt to count: a digest over the caller's settings, for example.
    /// The folder has to be there; it has to belong to whom this process runs as or to root, and nobody else may write into it.
    /// Where that is not so there are no receipts, and the report says so.
    ///
    /// # Errors
    /// `bad-argument` for a shorter secret.
    pub fn open(folder: impl AsRef<Path>, key: &[u8], context: &[u8]) -> Result<Self, Error> {
        if key.len() < KEY_BYTES {
            let what =
                format!("the key of the receipts has {} bytes, and needs {KEY_BYTES} or more", key.len());
            return Err(Error::new(Code::BadArgument, what)
                .with_help("make one: head -c 32 /dev/urandom | base64 > FILE"));
        }
        Ok(Receipts {
            folder: folder.as_ref().to_owned(),
            key: Zeroizing::new(blake3::derive_key("weightseal receipts v1: authentication", key)),
            context: blake3::hash(context),
        })
    }

    /// The file of the receipt on a model: one for each boot of a machine, context and model, so that machines that share a
    /// folder do not replace each other's.
    fn path(&self, place: &Path, now: &Moment) -> PathBuf {
        let mut name = blake3::Hasher::new_derive_key("weightseal receipts v1: file name");
        name.update(blake3::hash(now.boot().as_bytes()).as_bytes()).update(self.context.as_bytes());
        name.update(place.as_os_str().as_encoded_bytes());
        self.folder.join(format!("{}.receipt", name.finalize().to_hex()))
    }

    /// The receipt on a model.
    ///
    /// # Errors
    /// Why there is none that counts, in words.
    fn read(&self, place: &Path, now: &Moment) -> Result<Record, String> {
        let path = self.path(place, now);
        let bytes = fs::read_bounded(
            &path,
            limits::RECEIPT_BYTES,
            "the receipt",
            Code::SignatureAbsent,
            Code::JsonTooLarge,
        )
        .map_err(|error| match error.code() {
            Code::SignatureAbsent => "there is none yet".to_owned(),
            _ => error.to_string(),
        })?;
        Record::open(&bytes, &self.key)
    }

    /// Writes the receipt on a model, in place of an older one.
    ///
    /// # Errors
    /// Why it could not be written, in words.
    fn write(&self, place: &Path, record: &Record) -> Result<(), String> {
        let bytes = record.seal(&self.key)?;
        fs::write_whole(&self.path(place, &record.at), &bytes, fs::Replace::Anything, fs::PRIVATE)
            .map_err(|error| error.to_string())
    }

    /// Whether the folder is one that nobody else writes into.
    ///
    /// # Errors
    /// Why it is not, in words.
    fn folder_is_safe(&self) -> Result<(), String> {
        let shown = self.folder.display().to_string();
        let shown = Shown(&shown);
        let stat = rustix::fs::stat(&self.folder).map_err(|error| {
            format!("the folder {shown} cannot be looked at: {}", std::io::Error::from(error).kind())
        })?;
        let own = rustix::process::geteuid().as_raw();
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
            return Err(format!("{shown} is no folder"));
        }
        if stat.st_uid != 0 && stat.st_uid != own {
            return Err(format!("the folder {shown} belongs to somebody else (user {})", stat.st_uid));
        }
        // Kubernetes makes a volume writable by a group that it gives to the pod.
        if stat.st_mode & 0o002 != 0 || (stat.st_mode & 0o020 != 0 && !is_own_group(stat.st_gid)) {
            return Err(format!("others may write into the folder {shown}"));
        }
        Ok(())
    }
}

/// Shortest secret, in bytes.
const KEY_BYTES: usize = 32;

/// Whether this process belongs to a group.
fn is_own_group(group: u32) -> bool {
    let groups = rustix::process::getgroups().unwrap_or_default();
    groups.into_iter().chain([rustix::process::getegid()]).any(|own| own.as_raw() == group)
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("folder", &self.folder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_is_refused_and_no_key_is_shown() {
        let error = Receipts::open("/tmp", &[7; 31], b"").unwrap_err();
        assert_eq!((error.code(), error.class().exit()), (Code::BadArgument, 2));
        let receipts = Receipts::open("/tmp", &[7; 32], b"").unwrap();
        assert_eq!(format!("{receipts:?}"), "Receipts { folder: \"/tmp\", .. }");
    }

    #[test]
    fn each_boot_context_and_model_has_a_file_of_its_own() {
        let on = |boot: &str, key: u8, context: &[u8], place: &str| {
            let receipts = Receipts::open("/r", &[key; 32], context).unwrap();
            receipts.path(Path::new(place), &Moment::of_boot(boot))
        };
        let of = |key: u8, context: &[u8], place: &str| on("one", key, context, place);
        let one = of(7, b"a", "/models/a");
        assert_eq!(one, of(8, b"a", "/models/a"));
        assert_ne!(one, of(7, b"b", "/models/a"));
        assert_ne!(one, of(7, b"a", "/models/b"));
        assert_ne!(one, on("two", 7, b"a", "/models/a"));
        assert_eq!(one.parent(), Some(Path::new("/r")));
    }
}
