//! The list of what is under a prefix: page by page, each checked against those before it.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use aws_sdk_s3::{
    operation::list_objects_v2::ListObjectsV2Output,
    types::{EncodingType, Object},
};

use super::{Store, trouble::Trouble};
use crate::{Entry, Error, Kind, ResourceName, Run, Stamp, code::Code, limits, rt, shown::Shown};

/// So many objects are asked for at once: as many as any store gives.
const PAGE: i32 = 1000;

/// So many pages in a row may be empty while there are more.
const EMPTY_PAGES: u32 = 100;

/// What the names of buckets end in whose lists have no order (directory buckets).
const UNORDERED: &str = "--x-s3";

/// Asks for one page.
pub(super) async fn page(
    store: &Store,
    prefix: &str,
    token: Option<&str>,
    most: i32,
) -> Result<ListObjectsV2Output, Error> {
    let answer = store
        .call(|clients| {
            clients
                .calls
                .list_objects_v2()
                .bucket(&store.bucket)
                .prefix(prefix)
                .max_keys(most)
                // Without it a key with control characters has no place in XML.
                .encoding_type(EncodingType::Url)
                .set_continuation_token(token.map(str::to_owned))
                .send()
        })
        .await?;
    answer.map_err(|trouble: Trouble| store.failed(prefix, &trouble))
}

/// Whether there is anything under a prefix.
pub(super) async fn any(store: &Store, prefix: &str) -> Result<bool, Error> {
    let page = page(store, prefix, None, 1).await?;
    let mut pages = Pages::new(store, prefix);
    Ok(!pages.read(&page)?.is_empty())
}

/// Lists everything under a prefix.
pub(super) fn all(
    store: &Arc<Store>,
    prefix: &str,
    run: &Run,
    each: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut pages = Pages::new(store, prefix);
    let mut token: Option<String> = None;
    loop {
        let (asked, prefix, after) = (Arc::clone(store), prefix.to_owned(), token.clone());
        let answer = rt::wait(run, async move { page(&asked, &prefix, after.as_deref(), PAGE).await })??;
        for (index, object) in pages.read(&answer)?.into_iter().enumerate() {
            if index.is_multiple_of(256) {
                run.check()?;
            }
            if let Some(entry) = pages.entry(object)? {
                each(entry)?;
            }
        }
        match pages.next(&answer)? {
            Some(next) => token = Some(next),
            None => return Ok(()),
        }
    }
}

/// An object of a page, its key decoded.
struct Found<'a> {
    key: Vec<u8>,
    /// The key came as it stands, where what XML has no place for was replaced.
    is_lossy: bool,
    object: &'a Object,
}

/// What the pages so far said.
struct Pages<'a> {
    at: String,
    prefix: &'a str,
    /// The last key, where keys come in order; else what they were, hashed.
    last: Option<Vec<u8>>,
    /// Keys of objects that the last key begins with, each longer than the one before.
    trail: Vec<Vec<u8>>,
    seen: Option<(RandomState, HashSet<u64>)>,
    count: usize,
    empty: u32,
    token: Option<String>,
}

impl<'a> Pages<'a> {
    fn new(store: &Store, prefix: &'a str) -> Self {
        Pages {
            at: Shown(&store.uri(prefix).to_string()).to_string(),
            prefix,
            last: None,
            trail: Vec::new(),
            seen: store.bucket.ends_with(UNORDERED).then(Default::default),
            count: 0,
            empty: 0,
            token: None,
        }
    }

    fn invalid(&self, what: &str) -> Error {
        Error::new(Code::ListingInvalid, format!("the list of {} {what}", self.at))
    }

    /// The objects of a page, checked.
    fn read<'p>(&mut self, page: &'p ListObjectsV2Output) -> Result<Vec<Found<'p>>, Error> {
        let is_escaped = page.encoding_type() == Some(&EncodingType::Url);
        if !page.common_prefixes().is_empty() {
            return Err(self.invalid("has folders that nobody asked for"));
        }
        if page.contents().len() > PAGE as usize {
            return Err(self.invalid("has a page with more objects than were asked for"));
        }
        let mut found = Vec::with_capacity(page.contents().len());
        for object in page.contents() {
            let key = object.key().unwrap_or_default();
            let key = match is_escaped {
                true => unescaped(key).ok_or_else(|| self.invalid("has a key with a bad escape"))?,
                false => key.as_bytes().to_vec(),
            };
            if key.is_empty() || !key.starts_with(self.prefix.as_bytes()) {
                let what =
                    format!("has the key {:?}, which is not in it", Shown(&String::from_utf8_lossy(&key)));
                return Err(self.invalid(&what));
            }
            self.place(&key)?;
            let is_lossy =
                !is_escaped && object.key().is_some_and(|key| key.contains(char::REPLACEMENT_CHARACTER));
            found.push(Found { key, is_lossy, object });
        }
        self.count += found.len();
        if self.count > limits::ENTRIES {
            let what = format!("{} has more than {} objects", self.at, limits::ENTRIES);
            return Err(Error::new(Code::TooManyEntries, what));
        }
        Ok(found)
    }

    /// Each key comes after the one before it, or at least only once.
    fn place(&mut self, key: &[u8]) -> Result<(), Error> {
        let repeated = match &mut self.seen {
            Some((hasher, seen)) => !seen.insert(hasher.hash_one(key)),
            None => self.last.as_deref().is_some_and(|last| last >= key),
        };
        if repeated {
            let key = String::from_utf8_lossy(key);
            return Err(self.invalid(&format!("has the key {:?} twice, or out of order", Shown(&key))));
        }
        if self.seen.is_none() {
            self.last = Some(key.to_vec());
            // Keys that begin with another follow it, with those between that begin with it too.
            self.trail.retain(|before| key.starts_with(before));
            if let Some(object) = self.trail.iter().find(|before| key.get(before.len()) == Some(&b'/')) {
                let object = String::from_utf8_lossy(object);
                let what = format!("has {:?} as an object and as a folder", Shown(&object));
                return Err(self.invalid(&what));
            }
            if !key.ends_with(b"/") {
                self.trail.push(key.to_vec());
            }
        }
        Ok(())
    }

    /// The token for the next page; none after the last.
    fn next(&mut self, page: &ListObjectsV2Output) -> Result<Option<String>, Error> {
        let token = page.next_continuation_token().filter(|token| !token.is_empty());
        let next = match (page.is_truncated(), token) {
            (Some(true), Some(token)) => token.to_owned(),
            (Some(true), None) => return Err(self.invalid("is cut, and does not say where it goes on")),
            (Some(false), None) => return Ok(None),
            (Some(false), Some(_)) => return Err(self.invalid("says that it is whole, and where it goes on")),
            (None, _) => return Err(self.invalid("does not say whether it is whole")),
        };
        if self.token.as_ref() == Some(&next) {
            return Err(self.invalid("goes on where it was before"));
        }
        self.empty = if page.contents().is_empty() { self.empty + 1 } else { 0 };
        if self.empty > EMPTY_PAGES {
            return Err(self.invalid("goes on without any object"));
        }
        self.token = Some(next.clone());
        Ok(Some(next))
    }

    /// The entry of an object; none for the marker of the model's own folder.
    fn entry(&self, found: Found<'_>) -> Result<Option<Entry>, Error> {
        let name = found.key.get(self.prefix.len()..).unwrap_or_default();
        let size = found.object.size().and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| self.invalid("has an object without a size"))?;
        if name.is_empty() && size == 0 {
            return Ok(None);
        }
        let shown = String::from_utf8_lossy(name).into_owned();
        let (folder, is_marker) = match name.strip_suffix(b"/") {
            Some(folder) => (folder, true),
            None => (name, false),
        };
        let valid = std::str::from_utf8(folder)
            .ok()
            .filter(|name| ResourceName::parse(name).is_ok() && !found.is_lossy);
        Ok(Some(match (valid, is_marker, size) {
            (Some(folder), true, 0) => Entry::plain(folder.to_owned(), Kind::Folder),
            (Some(name), false, _) => {
                let tag = found.object.e_tag().filter(|tag| !tag.is_empty());
                let tag = tag.ok_or_else(|| self.invalid("has an object without an ETag"))?;
                if !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(self.invalid("has an ETag that is none"));
                }
                file(name.to_owned(), size, tag)
            }
            _ if shown.is_empty() => Entry::plain("/".to_owned(), Kind::BadName),
            _ => Entry::plain(shown, Kind::BadName),
        }))
    }
}

/// The entry of a file.
pub(super) fn file(name: String, size: u64, tag: &str) -> Entry {
    let stamp = Stamp { tag: Some(tag.into()), ..Stamp::default() };
    Entry { size, stamp, ..Entry::plain(name, Kind::File) }
}

/// A key as lists escape it: `%XX` for a byte, and `+` for a space.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(prefix: &str) -> Pages<'_> {
        Pages {
            at: "s3://b".to_owned(),
            prefix,
            last: None,
            seen: None,
            count: 0,
            empty: 0,
            trail: Vec::new(),
            token: None,
        }
    }

    fn object(key: &str, size: i64) -> Object {
        Object::builder().key(key).size(size).e_tag("\"t\"").build()
    }

    fn page(keys: &[&str]) -> ListObjectsV2Output {
        let objects = keys.iter().map(|key| object(key, 1)).collect();
        ListObjectsV2Output::builder().set_contents(Some(objects)).is_truncated(false).build()
    }

    #[test]
    fn keys_are_unescaped_byte_for_byte() {
        assert_eq!(unescaped("a+b%2Bc%0a/%C3%A9").unwrap(), "a b+c\n/é".as_bytes());
        for bad in ["%", "%4", "%zz", "a%"] {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_come_in_the_order_of_their_bytes_over_all_pages() {
        let mut pages = pages("m/");
        assert_eq!(pages.read(&page(&["m/a", "m/a-b", "m/a/b"])).unwrap().len(), 3);
        for bad in [&["m/a/b"][..], &["m/a"], &["m/c", "m/b"], &["m/c", "m/c"], &["n/a"], &["m"], &[""]] {
            let mut again = Pages { last: pages.last.clone(), at: pages.at.clone(), ..self::pages("m/") };
            assert_eq!(again.read(&page(bad)).err().unwrap().code(), Code::ListingInvalid, "{bad:?}");
        }
        assert!(pages.read(&page(&["m/b", "m/é"])).is_ok());
        // A directory bucket has no order, and no key twice.
        let mut pages = Pages { seen: Some(Default::default()), ..self::pages("") };
        assert!(pages.read(&page(&["b", "a"])).is_ok());
        assert_eq!(pages.read(&page(&["c", "b"])).err().unwrap().code(), Code::ListingInvalid);
    }

    #[test]
    fn a_list_says_whether_it_is_whole() {
        let with = |truncated: Option<bool>, token: Option<&str>| {
            ListObjectsV2Output::builder()
                .set_is_truncated(truncated)
                .set_next_continuation_token(token.map(str::to_owned))
                .build()
        };
        assert_eq!(pages("").next(&with(Some(false), None)).unwrap(), None);
        assert_eq!(pages("").next(&with(Some(true), Some("t"))).unwrap().as_deref(), Some("t"));
        for (truncated, token) in
            [(None, None), (Some(true), None), (Some(true), Some("")), (Some(false), Some("t"))]
        {
            let error = pages("").next(&with(truncated, token)).unwrap_err();
            assert_eq!(error.code(), Code::ListingInvalid, "{truncated:?} {token:?}");
        }
        let mut pages = pages("");
        assert!(pages.next(&with(Some(true), Some("t"))).is_ok());
        assert_eq!(pages.next(&with(Some(true), Some("t"))).unwrap_err().code(), Code::ListingInvalid);
        let endless = (0..1000).find_map(|n| pages.next(&with(Some(true), Some(&n.to_string()))).err());
        assert_eq!(endless.unwrap().code(), Code::ListingInvalid);
    }

    #[test]
    fn what_cannot_be_named_is_listed_as_such() {
        let entry = |key: &str, size: i64| {
            let object = object(key, size);
            pages("m/").entry(Found { key: key.into(), is_lossy: false, object: &object }).unwrap()
        };
        assert!(entry("m/", 0).is_none());
        let kind = |key: &str, size: i64| entry(key, size).map(|entry| (entry.name, entry.kind)).unwrap();
        assert_eq!(kind("m/a/", 0), ("a".to_owned(), Kind::Folder));
        assert_eq!(kind("m/a\n", 1), ("a\n".to_owned(), Kind::File));
        let long = format!("m/{}", "x".repeat(limits::NAME_BYTES + 1));
        for (key, size) in
            [("m/", 1), ("m/a/", 1), ("m//", 0), ("m/a//b", 1), ("m/../b", 1), ("m/.", 1), (&long, 1)]
        {
            assert_eq!(kind(key, size).1, Kind::BadName, "{key}");
        }
        let without_tag = Object::builder().key("m/a").size(1).build();
        let error = pages("m/")
            .entry(Found { key: b"m/a".to_vec(), is_lossy: false, object: &without_tag })
            .unwrap_err();
        assert_eq!(error.code(), Code::ListingInvalid);
        let without_size = Object::builder().key("m/a").e_tag("t").build();
        let error = pages("m/")
            .entry(Found { key: b"m/a".to_vec(), is_lossy: false, object: &without_size })
            .unwrap_err();
        assert_eq!(error.code(), Code::ListingInvalid);
    }
}
