//! Names of resources (OMS 1.0; the rules are listed at [`ResourceName`]).

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::{Error, code::Code, limits, shown::Shown};

/// The name of a file in a model: a relative path with `/` between its parts.
///
/// Never empty, no leading or trailing `/`, no empty, `.` or `..` part, no NUL, at most 4096 bytes, valid UTF-8; compared
/// byte for byte. Made only by parsing, so that whoever holds one may join it to a model's root.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// Parses a name.
    ///
    /// # Errors
    /// `name-invalid`, with the reason.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let refuse = |why: &str| {
            Err(Error::new(Code::NameInvalid, format!("name {:?} {why}", Shown(name))).with_name(name))
        };
        if name.is_empty() {
            return refuse("is empty");
        }
        if name.len() > limits::NAME_BYTES {
            return refuse("is longer than 4096 bytes");
        }
        if name.contains('\0') {
            return refuse("holds a NUL");
        }
        if name.starts_with('/') {
            return refuse("is an absolute path");
        }
        for part in name.split('/') {
            match part {
                "" => return refuse("has an empty part"),
                "." | ".." => return refuse("has a part '.' or '..'"),
                _ => {}
            }
        }
        Ok(ResourceName(name.into()))
    }

    /// The name `.`, by which older implementations call the file of a single-file model.
    pub(crate) fn whole_model() -> Self {
        ResourceName(".".into())
    }

    /// Whether this is the name `.`.
    pub(crate) fn is_whole_model(&self) -> bool {
        &*self.0 == "."
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first part: the file or folder at the top of the model.
    pub fn top(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// Whether this is `folder`, or lies in it.
    pub fn is_in(&self, folder: &str) -> bool {
        self.0.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Borrow<str> for ResourceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name made safe to show; see [`Shown`].
impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Shown(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_paths_in_the_model() {
        for good in ["a", "a/b", "..a", "a..", ".git", "a b:0:1", "a\\b", "a\nb", "…"] {
            assert_eq!(ResourceName::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(4097);
        for bad in ["", "/a", "a/", "a//b", ".", "..", "./a", "a/..", "a/../b", "a/.", "a\0b", &long] {
            assert_eq!(ResourceName::parse(bad).unwrap_err().code(), Code::NameInvalid, "{bad}");
        }
    }

    #[test]
    fn a_folder_holds_what_lies_under_it_only() {
        let name = ResourceName::parse("a/b").unwrap();
        assert!(
            name.is_in("a")
                && name.is_in("a/b")
                && !name.is_in("a/b/c")
                && !name.is_in("a/")
                && !name.is_in("")
                && !name.is_in("b")
        );
    }
}
