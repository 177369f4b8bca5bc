//! What is in a repository: the Hub is asked twice, in two ways, and has to say the same.
//!
//! A client of the Hub that follows pages as they come takes a listing for whole that was cut between two of them. So the
//! pages of the tree are held against the commit's own list of files, which comes in one piece.

use std::{collections::HashSet, sync::Arc};

use reqwest::{Url, header};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor},
};

use super::client::{Client, SERVICE, encoded_path, is_other_commit};
use crate::{
    Digest, Error, Run,
    code::Code,
    http::{Call, url_shown},
    limits,
    manifest::ResourceName,
    shown::Shown,
    source::{
        Entry, Kind, Stamp,
        uri::{HubUri, encoded},
    },
};

/// Largest page of a listing, in bytes: a thousand rows of a quarter of a KiB each, and much room.
const PAGE_BYTES: u64 = 16 << 20;

/// Largest list of a commit's files, in bytes: some 200,000 of them.
pub(super) const COMMIT_BYTES: u64 = 48 << 20;

/// Most pages of a listing: the Hub puts a thousand rows on each.
const PAGES: usize = limits::ENTRIES / 1000;

/// A file or folder at one commit.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its path in the repository, where [`is_bad`](Row::is_bad) says so a lossy rendering.
    pub(super) path: Box<str>,
    pub(super) size: u64,
    /// Git's id of it: of the file, or of what stands for it where it is in LFS.
    pub(super) oid: Box<str>,
    /// The SHA-256, where it is in LFS.
    pub(super) sha256: Option<[u8; 32]>,
    is_folder: bool,
    /// Whether its name cannot be one of a resource.
    is_bad: bool,
}

impl Row {
    /// The row as an entry; its name begins at byte `from` of its path.
    pub(super) fn entry(&self, from: usize, commit: &str) -> Entry {
        let kind = match (self.is_bad, self.is_folder) {
            (true, _) => Kind::BadName,
            (_, true) => Kind::Folder,
            _ => Kind::File,
        };
        let mut entry = Entry::plain(self.path.get(from..).unwrap_or_default().to_owned(), kind);
        entry.size = self.size;
        entry.stamp = self.stamp(commit);
        entry.stated = self.sha256.map(Digest::sha256);
        entry
    }

    /// Whether it is a file that can be read.
    pub(super) fn is_file(&self) -> bool {
        !self.is_folder && !self.is_bad
    }

    fn stamp(&self, commit: &str) -> Stamp {
        Stamp { tag: Some(Arc::from(format!("{commit}:{}", self.oid))), ..Stamp::default() }
    }
}

/// What the Hub says of a commit.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) id: String,
    /// The files that it has, sorted by path.
    pub(super) files: Vec<Row>,
    /// Whether it is said how long they are, and their digests; mirrors were seen that tell the names alone.
    pub(super) is_measured: bool,
}

impl Commit {
    /// Asks what a revision is, once: a branch may move.
    ///
    /// # Errors
    /// What the Hub's refusal means; `listing-invalid`, `service-failed`; those of [`Run::check`].
    pub(super) fn resolve(client: &Client, uri: &HubUri, run: &Run) -> Result<Self, Error> {
        let revision = uri.revision_or_main();
        let url = client.api(uri, &format!("revision/{}?blobs=true", encoded(revision)));
        let call = client.call(url).large(COMMIT_BYTES);
        let answer = client.ask(&call, uri, run)?;
        let info: Info = serde_json::from_slice(&answer.body).map_err(|error| unreadable(&call, &error))?;
        if !HubUri::is_commit(&info.sha) || is_other_commit(&answer.headers, &info.sha) {
            return Err(invalid(&call, "it does not say of which commit it is"));
        }
        if HubUri::is_commit(revision) && revision != info.sha {
            return Err(invalid(&call, "it is of another commit than was asked for"));
        }
        if info.siblings.len() > limits::ENTRIES {
            return Err(Error::new(Code::TooManyEntries, format!("{} has too many files", Shown(&uri.id))));
        }
        let lies = |what: &str, path: &str| invalid(&call, format!("{what} {:?}", Shown(path)));
        let is_measured = info.siblings.iter().any(|sibling| sibling.size.is_some() || sibling.lfs.is_some());
        let mut files = Vec::with_capacity(info.siblings.len());
        for sibling in info.siblings {
            let Sibling { rfilename: Name { text, is_lossy }, size, blob, lfs } = sibling;
            let size = match size {
                None if !is_measured => 0,
                size => size.ok_or_else(|| lies("it gives no size of", &text))?,
            };
            let oid = blob.filter(|oid| HubUri::is_commit(oid)).unwrap_or_default();
            let sha256 = match lfs {
                Some(lfs) if lfs.size.is_none_or(|other| other == size) => {
                    Some(sha256(lfs.sha256.as_deref()).ok_or_else(|| lies("it gives no digest of", &text))?)
                }
                Some(_) => return Err(lies("it gives two sizes of", &text)),
                None => None,
            };
            let is_bad = is_lossy || is_bad(&text);
            files.push(Row { path: text.into(), size, oid: oid.into(), sha256, is_folder: false, is_bad });
        }
        sort(&mut files, &call)?;
        Ok(Commit { id: info.sha, files, is_measured })
    }

    /// Whether one file has this very path.
    pub(super) fn file(&self, path: &str) -> Option<&Row> {
        self.files.binary_search_by(|row| (*row.path).cmp(path)).ok().and_then(|at| self.files.get(at))
    }

    /// The files below a folder, given with a slash at its end; empty for all.
    pub(super) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a Row> {
        let from = self.files.partition_point(|row| *row.path < *folder);
        let files = self.files.get(from..).unwrap_or_default();
        files.iter().take_while(move |row| row.path.starts_with(folder))
    }

    /// Lists a folder page by page, and holds the whole against what was said of the commit.
    ///
    /// # Errors
    /// `listing-invalid`, `service-failed`, `too-many-entries`; those of [`Run::check`].
    pub(super) fn list(&self, client: &Client, uri: &HubUri, run: &Run) -> Result<Vec<Row>, Error> {
        let folder = if uri.path.is_empty() { String::new() } else { format!("{}/", uri.path) };
        let below = if uri.path.is_empty() { String::new() } else { format!("/{}", encoded_path(&uri.path)) };
        let mut url = client.api(uri, &format!("tree/{}{below}?recursive=true&expand=false", self.id));
        // Every folder lies above a file.
        let most = self.below(&folder).map(|row| row.path.bytes().filter(|byte| *byte == b'/').count() + 1);
        let most = most.fold(0, usize::saturating_add);
        let (mut rows, mut seen) = (Vec::new(), HashSet::new());
        loop {
            run.check()?;
            let call = client.call(url.clone()).limit(PAGE_BYTES);
            if !seen.insert(url) || seen.len() > PAGES {
                return Err(invalid(&call, "its pages have no end"));
            }
            let answer = client.ask(&call, uri, run)?;
            if is_other_commit(&answer.headers, &self.id) {
                return Err(invalid(&call, "a page of it is about another commit"));
            }
            let page: Vec<Listed> =
                serde_json::from_slice(&answer.body).map_err(|error| unreadable(&call, &error))?;
            let links = answer.headers.get_all(header::LINK);
            let links: Option<Vec<&str>> = links.iter().map(|link| link.to_str().ok()).collect();
            let next = links
                .ok_or_else(|| "its links are no text".to_owned())
                .and_then(|links| next(&links, client))
                .map_err(|why| invalid(&call, why))?;
            if page.is_empty() && next.is_some() {
                return Err(invalid(&call, "a page of it is empty and not the last one"));
            }
            if rows.len() + page.len() > most {
                return Err(invalid(&call, "it has more than the commit has"));
            }
            for listed in page {
                rows.push(listed.check(&folder).map_err(|why| invalid(&call, why))?);
            }
            match next {
                Some(next) => url = next,
                None => {
                    sort(&mut rows, &call)?;
                    self.compare(&rows, &folder).map_err(|why| invalid(&call, why))?;
                    return Ok(rows);
                }
            }
        }
    }

    /// Whether a listing of a folder has the files that the commit has there.
    fn compare(&self, rows: &[Row], folder: &str) -> Result<(), String> {
        let mut listed = rows.iter().filter(|row| !row.is_folder);
        let mut stated = self.below(folder);
        loop {
            let (row, file) = match (listed.next(), stated.next()) {
                (None, None) => return Ok(()),
                (Some(row), Some(file)) => (row, file),
                (Some(row), None) | (None, Some(row)) => {
                    return Err(format!("one of its two lists lacks {:?}", Shown(&row.path)));
                }
            };
            if row.path != file.path {
                let lacking = (&row.path).min(&file.path);
                return Err(format!("one of its two lists lacks {:?}", Shown(lacking)));
            }
            let same_id = file.oid.is_empty() || file.oid == row.oid;
            let same = (row.size, row.sha256) == (file.size, file.sha256) && same_id;
            if self.is_measured && !same {
                return Err(format!("its two lists differ in {:?}", Shown(&row.path)));
            }
        }
    }
}

/// Sorts rows by path, and refuses what cannot be: two of one path, and a file with something below it.
fn sort(rows: &mut [Row], call: &Call) -> Result<(), Error> {
    rows.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let twice = rows.windows(2).find_map(|pair| match pair {
        [one, other] if one.path == other.path => Some(&other.path),
        _ => None,
    });
    if let Some(path) = twice {
        return Err(invalid(call, format!("it has {:?} twice", Shown(path))));
    }
    let at = |path: &str| rows.binary_search_by(|row| (*row.path).cmp(path)).ok().and_then(|at| rows.get(at));
    let mut checked = "";
    for row in rows.iter().filter(|row| !row.is_bad) {
        let mut rest: &str = &row.path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            // What the row before it lies in has been looked at.
            if parent == checked {
                break;
            }
            if at(parent).is_some_and(|row| !row.is_folder) {
                return Err(invalid(call, format!("it has the file {:?} as a folder too", Shown(parent))));
            }
            rest = parent;
        }
        checked = row.path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    Ok(())
}

/// The next page, from the headers `Link`.
fn next(links: &[&str], client: &Client) -> Result<Option<String>, String> {
    let mut found = None;
    let mut rest = links.join(",");
    while !rest.trim().is_empty() {
        let (url, after) = rest
            .trim_start_matches([',', ' '])
            .strip_prefix('<')
            .and_then(|text| text.split_once('>'))
            .ok_or("its links cannot be read")?;
        // Nothing in a parameter has a comma that ends it, but for what is quoted.
        let (parameters, later) = match after.find(",<").or_else(|| after.find(", <")) {
            Some(end) => after.split_at(end),
            None => (after, ""),
        };
        let is_next = parameters.split(';').any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
                name.trim().eq_ignore_ascii_case("rel")
                    && relations.any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        if is_next && found.replace(url.to_owned()).is_some() {
            return Err("two pages are to come next".to_owned());
        }
        rest = later.to_owned();
    }
    let Some(found) = found else { return Ok(None) };
    match Url::parse(&found) {
        Ok(url) if client.is_own(&url) => Ok(Some(url.to_string())),
        Ok(_) => Err(format!("its next page is on another server, {}", url_shown(&found))),
        Err(_) => Err("the address of its next page is not a whole one".to_owned()),
    }
}

/// A row of a page.
#[derive(Deserialize)]
struct Listed {
    r#type: String,
    oid: Option<String>,
    size: Option<u64>,
    path: Name,
    lfs: Option<Large>,
}

/// What is said of a file in LFS.
#[derive(Deserialize)]
struct Large {
    oid: Option<String>,
    size: Option<u64>,
}

impl Listed {
    fn check(self, folder: &str) -> Result<Row, String> {
        let Listed { r#type, oid, size, path: Name { text, is_lossy }, lfs } = self;
        let lies = |what: &str| Err(format!("{what} {:?}", Shown(&text)));
        if !text.starts_with(folder) || text.len() == folder.len() {
            return lies("it has what does not lie in the folder that was asked for,");
        }
        let is_folder = match r#type.as_str() {
            "file" => false,
            "directory" => true,
            _ => return lies("it does not say whether file or folder is"),
        };
        let size = match size {
            Some(size) if size <= i64::MAX as u64 => size,
            None if is_folder => 0,
            _ => return lies("it gives no size of"),
        };
        let oid = oid.filter(|oid| HubUri::is_commit(oid));
        let sha256 = match (lfs, is_folder) {
            (Some(lfs), false) if lfs.size != Some(size) => return lies("it gives two sizes of"),
            (Some(lfs), false) => match sha256(lfs.oid.as_deref()) {
                Some(digest) => Some(digest),
                None => return lies("it gives no digest of"),
            },
            (Some(_), true) => return lies("it gives the digest of a folder,"),
            (None, _) => None,
        };
        let oid = match oid {
            Some(oid) => oid,
            None if is_folder => String::new(),
            None => return lies("it gives no id of"),
        };
        let is_bad = is_lossy || is_bad(&text);
        Ok(Row { path: text.into(), size, oid: oid.into(), sha256, is_folder, is_bad })
    }
}

/// What is said of a commit.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: Name,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<LargeSibling>,
}

#[derive(Deserialize)]
struct LargeSibling {
    sha256: Option<String>,
    size: Option<u64>,
}

/// A name that may not be UTF-8: JSON can escape halves of characters.
struct Name {
    text: String,
    is_lossy: bool,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Name, E> {
                if bytes.is_empty() {
                    return Err(E::custom("an empty path"));
                }
                let text = String::from_utf8_lossy(bytes);
                Ok(Name { is_lossy: matches!(text, std::borrow::Cow::Owned(_)), text: text.into_owned() })
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                self.visit_bytes(text.as_bytes())
            }
        }
        deserializer.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}

/// Whether a path cannot be that of a resource, or holds what no file of a model has in its name.
fn is_bad(path: &str) -> bool {
    ResourceName::parse(path).is_err() || path.contains(char::is_control)
}

fn sha256(hex: Option<&str>) -> Option<[u8; 32]> {
    let digest = Digest::from_hex(crate::Algorithm::Sha256, hex?).ok()?;
    digest.as_bytes().try_into().ok()
}

/// Where it cannot be read, and nothing of what stands there.
fn unreadable(call: &Call, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    invalid(call, format!("it cannot be read from line {line}, column {column} on"))
}

/// The error for a listing that is not as it has to be; `why` is safe to show.
fn invalid(call: &Call, why: impl std::fmt::Display) -> Error {
    let what = format!("{SERVICE}'s list of files at {} is not to be trusted: {why}", call.shown());
    Error::new(Code::ListingInvalid, what)
}

#[cfg(test)]
mod tests;
