//! Keys and certificates in files, each error with the file that it is about.

use std::path::{Path, PathBuf};

use weightseal::{
    CertificateVerifier, Class, Code, Error, KeyVerifier, ModelUri, PrivateKey, PublicKey, Shown, read_key,
};

use crate::passphrase::PassphraseFrom;

/// The same error, saying which file it is about.
pub(crate) fn in_file(path: &Path, error: Error) -> Error {
    let what = format!("{}: {error}", Shown(&path.display().to_string()));
    Error::new(error.code(), what).with_help(error.help().to_owned()).with_source(error)
}

/// The same for a file wherever it is. What stores say names it already.
pub(crate) fn in_place(place: &ModelUri, error: Error) -> Error {
    match (place, error.class()) {
        (ModelUri::Path(path), _) => in_file(path, error),
        (_, Class::Rejected) => in_file(Path::new(&place.to_string()), error),
        _ => error,
    }
}

/// A private key; its passphrase is opened when it is encrypted.
pub(crate) fn private_key(path: &Path, passphrase: &PassphraseFrom) -> Result<PrivateKey, Error> {
    let mut asked = false;
    let key = PrivateKey::from_pem(&read_key(path)?, || {
        asked = true;
        passphrase.open()
    })
    .map_err(|error| match error.code() {
        Code::KeyMalformed | Code::KeyUnsupported | Code::PassphraseWrong | Code::PassphraseMissing => {
            in_file(path, error)
        }
        // That is about the passphrase's file, or a signal.
        _ => error,
    })?;
    if !asked && !matches!(passphrase, PassphraseFrom::Asking) {
        tracing::warn!("the private key is not encrypted; the passphrase was not needed");
    }
    Ok(key)
}

/// The file beside a private key that holds its public key, where there is one.
pub(crate) fn public_key_beside(private: &Path, key: &PublicKey) -> Option<PathBuf> {
    let path = private.with_extension("pub");
    let there = PublicKey::from_pem(&read_key(&path).ok()?).ok()?;
    (there == *key).then_some(path)
}

/// Everybody whose public key is in these files.
pub(crate) fn public_keys(paths: &[PathBuf]) -> Result<Vec<KeyVerifier>, Error> {
    let verifier = |path| KeyVerifier::from_pem(&read_key(path)?).map_err(|error| in_file(path, error));
    paths.iter().map(|path| verifier(path)).collect()
}

/// The certificates of several files as one PEM text.
pub(crate) fn certificates(paths: &[PathBuf]) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    for path in paths {
        let pem = read_key(path)?;
        CertificateVerifier::from_pem(&pem).map_err(|error| in_file(path, error))?;
        all.extend(pem);
        all.push(b'\n');
    }
    Ok(all)
}
