//! The signing method: named, or inferred from the flags.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use weightseal::{Code, Error, ModelUri, Shown};

use super::values;

/// A signing method of the grammar; the first of several that the flags leave is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A Sigstore identity, what is meant when nothing is said.
    Sigstore,
    /// A bare key.
    Key,
    /// A key with a certificate.
    Certificate,
    /// A bare key in a PKCS#11 device.
    Pkcs11Key,
    /// A key in a PKCS#11 device with a certificate.
    Pkcs11Certificate,
}

impl Method {
    const ALL: [Method; 5] =
        [Method::Sigstore, Method::Key, Method::Certificate, Method::Pkcs11Key, Method::Pkcs11Certificate];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Method::Sigstore => "sigstore",
            Method::Key => "key",
            Method::Certificate => "certificate",
            Method::Pkcs11Key => "pkcs11-key",
            Method::Pkcs11Certificate => "pkcs11-certificate",
        }
    }

    fn of_word(word: &OsStr) -> Option<Method> {
        Method::ALL.into_iter().find(|method| word == method.name())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a path, typed as it is, would be read as a signing method.
pub(crate) fn reads_as_method(path: &Path) -> bool {
    Method::of_word(path.as_os_str()).is_some()
}

/// `[METHOD] MODEL`.
#[derive(Args, Debug)]
pub(crate) struct Words {
    /// The signing method: sigstore, key, certificate, pkcs11-key or pkcs11-certificate; inferred from the flags where
    /// it is left out
    #[arg(value_name = "METHOD", value_hint = ValueHint::AnyPath)]
    first: Option<PathBuf>,

    /// The model: a folder, a single file, s3://bucket/prefix or hf://org/name@revision; one that is called like a method is
    /// written ./key
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    second: Option<PathBuf>,
}

impl Words {
    /// The method, where it is named, and the model.
    pub(crate) fn resolve(&self) -> Result<(Option<Method>, ModelUri), Error> {
        let (method, model) = self.words()?;
        Ok((method, values::place(&model)?))
    }

    /// `[METHOD] MODEL DEST`: the destination, and the words without it.
    pub(crate) fn split_dest(self, third: Option<PathBuf>) -> Result<(Words, PathBuf), Error> {
        let (words, dest) = match third {
            Some(dest) => (self, Some(dest)),
            None => (Words { first: self.first, second: None }, self.second),
        };
        let missing = || {
            Error::new(Code::BadArgument, "no folder is given for the model to go to")
                .with_help("give the model, and after it the folder")
        };
        Ok((words, dest.ok_or_else(missing)?))
    }

    fn words(&self) -> Result<(Option<Method>, PathBuf), Error> {
        let misuse = |what: String| Error::new(Code::BadArgument, what);
        match (&self.first, &self.second) {
            (Some(word), Some(model)) => match Method::of_word(word.as_os_str()) {
                Some(method) => Ok((Some(method), model.clone())),
                None => {
                    let shown = word.display().to_string();
                    Err(misuse(format!("{:?} is not a signing method", Shown(&shown))).with_help(
                        "give one model, and before it sigstore, key or certificate, or no method at all",
                    ))
                }
            },
            (Some(word), None) if reads_as_method(word) => {
                let word = word.display();
                Err(misuse(format!("no model is given after the signing method {word}"))
                    .with_help(format!("give a model; one that is called so is written ./{word}")))
            }
            (Some(model), None) => Ok((None, model.clone())),
            (None, _) => Err(misuse("no model is given".to_owned())),
        }
    }
}

/// A flag that was given, and the methods that it goes with.
pub(crate) struct Given {
    pub(crate) flag: &'static str,
    pub(crate) methods: &'static [Method],
    /// Whether it says which method is meant.
    pub(crate) tells: bool,
}

/// The method that is meant.
///
/// # Errors
/// `arguments-conflict` when flags of different methods are mixed.
pub(crate) fn infer(named: Option<Method>, given: &[Given]) -> Result<Method, Error> {
    let mut left: Vec<Method> = named.map_or(Method::ALL.to_vec(), |method| vec![method]);
    let mut told_by: Option<&str> = None;
    for Given { flag, methods, .. } in given.iter().filter(|given| given.tells || named.is_some()) {
        let rest: Vec<Method> = left.iter().copied().filter(|method| methods.contains(method)).collect();
        if rest.is_empty() {
            return Err(conflict(flag, named, told_by));
        }
        left = rest;
        told_by = Some(flag);
    }
    let method = match told_by {
        None => named.unwrap_or(Method::Sigstore),
        Some(_) => left.first().copied().unwrap_or(Method::Sigstore),
    };
    match given.iter().find(|given| !given.methods.contains(&method)) {
        // With no method named and none told, sigstore is not what was meant by this flag.
        Some(Given { flag, .. }) if told_by.is_some() => Err(conflict(flag, Some(method), None)),
        _ => Ok(method),
    }
}

fn conflict(flag: &str, named: Option<Method>, other: Option<&str>) -> Error {
    let what = match (named, other) {
        (Some(method), _) => format!("{flag} does not go with the signing method {method}"),
        (None, Some(other)) => format!("{other} and {flag} belong to different signing methods"),
        (None, None) => format!("{flag} goes with no signing method"),
    };
    Error::new(Code::ArgumentsConflict, what).with_help("give the flags of one signing method")
}

/// What is said of a method that this build does not have.
pub(crate) fn feature_missing(method: Method, feature: &str) -> Error {
    Error::new(
        Code::FeatureMissing,
        format!("the signing method {method} needs the feature {feature:?}, which is not built in"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Given = Given { flag: "--key", methods: &[Method::Key, Method::Certificate], tells: true };
    const CHAIN: Given =
        Given { flag: "--chain", methods: &[Method::Certificate, Method::Pkcs11Certificate], tells: true };
    const WHO: Given =
        Given { flag: "--who", methods: &[Method::Certificate, Method::Sigstore], tells: false };
    const TOKEN: Given = Given { flag: "--token", methods: &[Method::Sigstore], tells: true };

    #[test]
    fn flags_leave_one_method_or_conflict() {
        assert_eq!(infer(None, &[]).unwrap(), Method::Sigstore);
        assert_eq!(infer(None, &[KEY]).unwrap(), Method::Key);
        assert_eq!(infer(None, &[KEY, CHAIN]).unwrap(), Method::Certificate);
        assert_eq!(infer(None, &[CHAIN]).unwrap(), Method::Certificate);
        assert_eq!(infer(None, &[CHAIN, WHO]).unwrap(), Method::Certificate);
        assert_eq!(infer(None, &[WHO]).unwrap(), Method::Sigstore);
        assert_eq!(infer(Some(Method::Certificate), &[KEY]).unwrap(), Method::Certificate);
        for (named, given) in [
            (None, vec![KEY, TOKEN]),
            (None, vec![KEY, WHO]),
            (Some(Method::Key), vec![CHAIN]),
            (Some(Method::Key), vec![WHO]),
            (Some(Method::Sigstore), vec![KEY]),
        ] {
            assert_eq!(infer(named, &given).unwrap_err().code(), Code::ArgumentsConflict);
        }
    }
}
