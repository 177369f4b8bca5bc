//! How the Hub goes wrong, each time in one thing alone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Answer, Body};
use super::api::Target;
use super::repository::{Commit, Content, Stored, sha256};
use super::state::State;
use crate::http::Request;

/// How a Hub goes wrong. What is about one file is about [`super::Hub::victim`].
///
/// Whatever has pages has at least two of them where a fault is about pages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubFault {
    /// The listing's first page says of no next one, though there is one.
    ListingCut,
    /// The listing's second page is empty and the last.
    ListingCutByEmptyPage,
    /// The address of the listing's next page has no host.
    RelativeNext,
    /// The listing's next page is on the CDN's host, which has it.
    NextToOtherHost,
    /// The listing's next page is the first one again.
    NextLoops,
    /// The listing has always a next page, with files that are not there.
    ListingEndless,
    /// The listing leaves one file out.
    RowMissing,
    /// The listing says of one file no digest: neither the one of LFS nor, for a small file, Git's.
    RowWithoutDigest,
    /// The listing says nothing of LFS for one file that is one.
    RowWithoutLfs,
    /// The listing has one file twice.
    DuplicateRow,
    /// The listing has one thing more, which is neither a file nor a folder.
    UnknownRow,
    /// The size of one file is one more than it is, wherever it is told.
    SizeLies,
    /// The same, in the listing only.
    SizeLiesInTree,
    /// The size of one file in the listing is less than nothing.
    SizeNegative,
    /// The size of one file in the listing is the largest number of 64 bits.
    SizeHuge,
    /// The digest of one file is another, wherever it is told.
    DigestLies,
    /// The same, in the listing only.
    DigestLiesInTree,
    /// The digest of one file in the listing is no digest.
    DigestMalformed,
    /// There is one more file, in the listing and in what is told of the repository: its name leads out by `..`.
    NameWithDots,
    /// The same with a name that begins at the root.
    AbsoluteName,
    /// The same with a name of control characters.
    ControlName,
    /// The same with a name of 5000 letters.
    LongName,
    /// The same with a name that is half of a character, as JSON can escape it.
    BadEscapes,
    /// The listing is JSON in brackets a hundred thousand deep.
    DeepJson,
    /// The listing is a web page.
    NotJson,
    /// The listing begins with so many spaces.
    HugePage {
        /// How many.
        bytes: u64,
    },
    /// The headers of all answers name another commit than the one that is told of the repository.
    CommitLies,
    /// The commit that is told of the repository is a path that leads out.
    CommitMalformed,
    /// The branch moves on, with another content in one file, as soon as somebody was told its commit.
    BranchMoves,
    /// The header with a large file's SHA-256 lies.
    LinkedDigestLies,
    /// The header with a large file's size lies, by one.
    LinkedSizeLies,
    /// A large file has another byte in its middle.
    BytesLie,
    /// Links to large files are good for so many requests.
    LinksExpire {
        /// How many.
        after: usize,
    },
    /// Large files are elsewhere: what their path on the CDN is put after.
    RedirectTo(String),
    /// Large files are where they were asked for.
    RedirectLoops,
    /// One file is listed and not there.
    FileGone,
    /// Answers 403 to everything, and repeats the token in all of its words.
    TokenEcho,
    /// Answers 429 first.
    RateLimited {
        /// How many requests are answered so.
        times: usize,
        /// In how many seconds to come again.
        seconds: u64,
        /// How that is told.
        told: Told,
    },
}

/// How a Hub tells when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By `Retry-After`.
    RetryAfter,
    /// By `RateLimit`, as the Hub itself does.
    RateLimit,
    /// Not at all.
    Nothing,
}

/// Where the next page is.
pub(super) enum Next {
    Here(usize),
    Relative(usize),
    Elsewhere(usize),
}

/// A stand-in for half of a character until the JSON is written.
const HALF: &str = "half-of-a-character";

/// The answer that comes instead of any other.
pub(super) fn refusal(state: &mut State, request: &Request) -> Option<Answer> {
    match state.fault.clone()? {
        HubFault::TokenEcho => {
            let token = request.header("authorization").unwrap_or("Bearer nothing");
            let message = format!("{token} may not have {}", request.path);
            Some(Answer::refusal(403, "", &message))
        }
        HubFault::RateLimited { times, seconds, told } => {
            state.failed += 1;
            (state.failed <= times).then(|| {
                let answer = Answer::refusal(429, "", "We had to rate limit you. Come again later.");
                match told {
                    Told::RetryAfter => answer.with("Retry-After", seconds.to_string()),
                    Told::RateLimit => answer
                        .with("RateLimit", format!("\"api\";r=0;t={seconds}"))
                        .with("RateLimit-Policy", "\"fixed window\";\"api\";q=500;w=300"),
                    Told::Nothing => answer,
                }
            })
        }
        _ => None,
    }
}

/// The path of the one file that is lied about.
fn victim<'a>(state: &'a State, commit: &'a Commit) -> Option<&'a str> {
    let first_of_lfs = || commit.files.iter().find(|(_, file)| file.sha256.is_some());
    let first = || first_of_lfs().or_else(|| commit.files.iter().next()).map(|(path, _)| path.as_str());
    state.victim.as_deref().or_else(first)
}

/// Whether this path is the one file that is lied about.
pub(super) fn is_victim(state: &State, commit: &Commit, path: &str) -> bool {
    victim(state, commit) == Some(path)
}

/// A file as it is told of everywhere.
pub(super) fn stated(state: &State, commit: &Commit, path: &str) -> Option<Arc<Stored>> {
    let stored = commit.files.get(path)?;
    if !is_victim(state, commit, path) {
        return Some(Arc::clone(stored));
    }
    let stored = match state.fault {
        Some(HubFault::SizeLies) => Arc::new(Stored { size: stored.size + 1, ..(**stored).clone() }),
        Some(HubFault::DigestLies) => Arc::new(match &stored.sha256 {
            Some(sha256) => Stored { sha256: Some(another(sha256)), ..(**stored).clone() },
            None => Stored { oid: another(&stored.oid), ..(**stored).clone() },
        }),
        _ => Arc::clone(stored),
    };
    Some(stored)
}

/// Digits like these, and others.
pub(super) fn another(digits: &str) -> String {
    let first = if digits.starts_with('0') { "1" } else { "0" };
    digits.get(1..).map_or_else(String::new, |rest| format!("{first}{rest}"))
}

/// The name of a file that is not there.
fn added_name(state: &State) -> Option<String> {
    match state.fault.as_ref()? {
        HubFault::NameWithDots => Some("weights/../../outside.bin".to_owned()),
        HubFault::AbsoluteName => Some("/etc/outside.bin".to_owned()),
        HubFault::ControlName => Some("weights\n\u{1b}[31m\u{202e}.bin".to_owned()),
        HubFault::LongName => Some("a".repeat(5000)),
        HubFault::BadEscapes => Some(HALF.to_owned()),
        _ => None,
    }
}

/// What is told of the repository.
pub(super) fn change_siblings(state: &State, siblings: &mut Vec<Value>) {
    let Some(name) = added_name(state) else { return };
    let Some(mut sibling) = siblings.last().cloned() else { return };
    sibling["rfilename"] = name.into();
    siblings.push(sibling);
}

/// The rows of a listing, before they are cut into pages.
pub(super) fn change_rows(state: &State, rows: &mut Vec<Value>) {
    let Some(fault) = &state.fault else { return };
    let named = |row: &Value| state.victim.as_deref().is_some_and(|victim| row["path"] == victim);
    let is_lfs = |row: &Value| row["lfs"].is_object();
    let is_file = |row: &Value| row["type"] == "file";
    let place = match &state.victim {
        Some(_) => rows.iter().position(named),
        None => rows.iter().position(is_lfs).or_else(|| rows.iter().position(is_file)),
    };
    let last_file = rows.iter().rfind(|row| is_file(row)).cloned();
    if let (Some(name), Some(mut row)) = (added_name(state), last_file) {
        row["path"] = name.into();
        rows.push(row);
    }
    let Some(place) = place else { return };
    if *fault == HubFault::RowMissing {
        rows.remove(place);
        return;
    }
    let Some(row) = rows.get_mut(place) else { return };
    let of_lfs = is_lfs(row);
    match fault {
        HubFault::RowWithoutDigest => without_digest(row),
        HubFault::RowWithoutLfs => drop(row.as_object_mut().map(|fields| fields.remove("lfs"))),
        HubFault::DuplicateRow => {
            let twice = row.clone();
            rows.insert(place, twice);
        }
        HubFault::UnknownRow => {
            let mut unknown = row.clone();
            (unknown["type"], unknown["path"]) = (json!("submodule"), json!("zz-vendor"));
            rows.push(unknown);
        }
        HubFault::SizeLiesInTree => {
            let size = row["size"].as_u64().unwrap_or(0) + 1;
            sized(row, &json!(size));
        }
        HubFault::SizeNegative => sized(row, &json!(-1)),
        HubFault::SizeHuge => sized(row, &json!(u64::MAX)),
        HubFault::DigestLiesInTree => {
            let digest = if of_lfs { &mut row["lfs"]["oid"] } else { &mut row["oid"] };
            *digest = another(digest.as_str().unwrap_or_default()).into();
        }
        HubFault::DigestMalformed => {
            let digest = if of_lfs { &mut row["lfs"]["oid"] } else { &mut row["oid"] };
            *digest = digest.as_str().unwrap_or_default().replacen(|_: char| true, "g", 1).into();
        }
        _ => {}
    }
}

fn without_digest(row: &mut Value) {
    let fields = if row["lfs"].is_object() { row["lfs"].as_object_mut() } else { row.as_object_mut() };
    drop(fields.map(|fields| fields.remove("oid")));
}

fn sized(row: &mut Value, size: &Value) {
    row["size"] = size.clone();
    if row["lfs"].is_object() {
        row["lfs"]["size"] = size.clone();
    }
}

/// How many rows a page has.
pub(super) fn page_size(state: &State, rows: usize) -> usize {
    match state.fault {
        Some(
            HubFault::ListingCut
            | HubFault::ListingCutByEmptyPage
            | HubFault::RelativeNext
            | HubFault::NextToOtherHost
            | HubFault::NextLoops,
        ) => state.page.min(rows / 2),
        _ => state.page,
    }
}

/// The rows of one page, and where the next one is.
pub(super) fn page(state: &State, rows: Vec<Value>, from: usize, size: usize) -> (Vec<Value>, Option<Next>) {
    let end = from.saturating_add(size);
    let more = end < rows.len();
    let mut shown: Vec<Value> = rows.into_iter().skip(from).take(size).collect();
    let next = match state.fault {
        Some(HubFault::ListingCut) => None,
        Some(HubFault::ListingCutByEmptyPage) if from > 0 => return (Vec::new(), None),
        Some(HubFault::RelativeNext) => more.then_some(Next::Relative(end)),
        Some(HubFault::NextToOtherHost) => more.then_some(Next::Elsewhere(end)),
        Some(HubFault::NextLoops) => Some(Next::Here(0)),
        Some(HubFault::ListingEndless) => {
            for number in from + shown.len()..end {
                let path = format!("zz-endless/{number}.json");
                let oid = super::repository::git_blob(path.as_bytes());
                shown.push(json!({ "type": "file", "oid": oid, "size": 2, "path": path }));
            }
            Some(Next::Here(end))
        }
        _ => more.then_some(Next::Here(end)),
    };
    (shown, next)
}

/// JSON of a listing, or of what is told of a repository.
pub(super) fn worded(state: &State, value: &Value) -> Answer {
    let mut answer = Answer::json(value);
    match state.fault {
        Some(HubFault::BadEscapes) => {
            answer.body = Body::Bytes(value.to_string().replace(HALF, r"half\ud83d.bin").into_bytes());
        }
        Some(HubFault::DeepJson) if value.is_array() => answer.body = Body::Bytes(vec![b'['; 100_000]),
        Some(HubFault::NotJson) if value.is_array() => {
            return Answer::new(200, "text/html", "<!DOCTYPE html><title>Log in to the network</title>");
        }
        Some(HubFault::HugePage { bytes }) if value.is_array() => {
            answer.body = Body::Padded(bytes, value.to_string().into_bytes());
        }
        _ => {}
    }
    answer
}

/// The commit that is told of the repository.
pub(super) fn stated_sha(state: &State, commit: &str) -> String {
    match state.fault {
        Some(HubFault::CommitMalformed) => "../../main".to_owned(),
        _ => commit.to_owned(),
    }
}

/// The commit that the headers name.
pub(super) fn stated_commit(state: &State, commit: &str) -> String {
    if state.fault == Some(HubFault::CommitLies) { another(commit) } else { commit.to_owned() }
}

/// Moves the branches that are at this commit on, once.
pub(super) fn moves(state: &mut State, target: &Target, commit: &Commit) {
    if state.fault != Some(HubFault::BranchMoves) || state.failed > 0 {
        return;
    }
    let Some(path) = victim(state, commit).map(str::to_owned) else { return };
    let content: Arc<[u8]> = Arc::from(&b"moved on\n"[..]);
    let digest = sha256(&content);
    let stored = match commit.files.get(&path).and_then(|file| file.sha256.as_ref()) {
        Some(_) => Stored::lfs(Content::Bytes(Arc::clone(&content)), content.len() as u64, digest.clone()),
        None => Stored::regular(Arc::clone(&content)),
    };
    state.failed += 1;
    state.pool.insert(digest, Content::Bytes(content));
    let Some(repository) = state.repositories.get_mut(&(target.kind, target.id.clone())) else { return };
    let mut files = commit.files.clone();
    files.insert(path, Arc::new(stored));
    let next = repository.add(&commit.id, files, "moved on");
    for head in repository.branches.values_mut().filter(|head| **head == commit.id) {
        head.clone_from(&next);
    }
}
