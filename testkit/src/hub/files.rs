//! The contents of files: what the API answers for one, and the CDN that large ones come from.

use std::sync::Arc;

use serde_json::json;

use super::answer::{Answer, Body, encoded, parameters};
use super::api::{self, Call, Target, Want};
use super::fault::{self, HubFault};
use super::listing::xet_hash;
use super::repository::{Content, sha256};
use super::state::{Place, Shared, State};
use crate::http::Request;

/// `/ID/resolve/REV/PATH`: a small file itself, for a large one the way to it.
pub(super) fn resolve(
    call: &Call<'_>,
    target: &Target,
    revision: &str,
    path: &str,
    cached: bool,
) -> Result<Answer, Answer> {
    let mut state = call.shared.state();
    let commit = call.commit(&state, target, revision, Want::Files)?;
    let id = fault::stated_commit(&state, &commit.id);
    let gone = state.fault == Some(HubFault::FileGone) && fault::is_victim(&state, &commit, path);
    let stored = commit.files.get(path).filter(|_| !gone).cloned();
    let Some((stored, stated)) = stored.zip(fault::stated(&state, &commit, path)) else {
        return Err(Answer::refusal(404, "EntryNotFound", "Entry not found").with("X-Repo-Commit", id));
    };
    let Some(digest) = &stored.sha256 else {
        if state.resolve_cache && !cached {
            let (kind, name, path) = (target.kind.plural(), &target.id, encoded(path, "/"));
            let place = format!("/api/resolve-cache/{kind}/{name}/{}/{path}", commit.id);
            let answer =
                Answer::new(307, "text/plain", format!("Temporary Redirect. Redirecting to {place}"));
            let answer = answer.with("Location", place).with("X-Repo-Commit", id);
            return Ok(answer
                .with("X-Linked-Size", stated.size.to_string())
                .with("X-Linked-Etag", format!("\"{}\"", stated.oid)));
        }
        let content = Answer::content(call.request, stored.content.clone(), stored.size, &stated.oid);
        return Ok(content.with("X-Repo-Commit", id));
    };
    let place = location(call, &mut state, digest);
    let (mut linked, mut size) = (stated.sha256.clone().unwrap_or_default(), stated.size);
    match state.fault {
        Some(HubFault::LinkedDigestLies) => linked = fault::another(&linked),
        Some(HubFault::LinkedSizeLies) => size += 1,
        _ => {}
    }
    let mut answer = Answer::new(302, "text/plain; charset=utf-8", format!("Found. Redirecting to {place}"))
        .with("Location", place)
        .with("X-Repo-Commit", id)
        .with("X-Linked-Size", size.to_string())
        .with("X-Linked-Etag", format!("\"{linked}\""));
    if state.xet {
        let (host, kind, name) = (call.host(), target.kind.plural(), &target.id);
        let auth = format!("<{host}/api/{kind}/{name}/xet-read-token/{}>; rel=\"xet-auth\"", commit.id);
        answer = answer.with("X-Xet-Hash", xet_hash(&stored)).with("Link", auth);
    }
    Ok(answer)
}

/// Where a large file is, or is said to be.
fn location(call: &Call<'_>, state: &mut State, digest: &str) -> String {
    let signed = state.signed(&format!("/cdn/{digest}"));
    match &state.fault {
        Some(HubFault::RedirectTo(to)) => format!("{}{signed}", to.trim_end_matches('/')),
        Some(HubFault::RedirectLoops) => format!("{}{}", call.host(), call.request.path),
        _ => format!("{}{signed}", call.shared.cdn_for_clients(state)),
    }
}

/// Answers one request at the CDN.
pub(super) fn cdn(shared: &Shared, request: &Request) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path.starts_with("/api/") && shared.state().fault == Some(HubFault::NextToOtherHost) {
        return api::answer(shared, request);
    }
    let given = parameters(query);
    let mut state = shared.state();
    if !state.lets_in(path, &given) || !still_good(&mut state, request) {
        return denied();
    }
    if let Some(digest) = path.strip_prefix("/upload/").filter(|_| request.method == "PUT") {
        drop(state);
        return upload(shared, request, digest);
    }
    let found = path.strip_prefix("/cdn/").and_then(|digest| Some((digest, state.pool.get(digest)?.clone())));
    let lies = state.fault == Some(HubFault::BytesLie);
    drop(state);
    let Some((digest, content)) = found.filter(|_| matches!(request.method.as_str(), "GET" | "HEAD")) else {
        return denied();
    };
    let size = match &content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(path) => path.metadata().map_or(0, |metadata| metadata.len()),
    };
    let content = if lies { lying(&content) } else { content };
    // Like that of an object store, it is none of the digests that the Hub tells.
    let tag = sha256(format!("object {digest}").as_bytes());
    Answer::content(request, content, size, tag.get(..32).unwrap_or(&tag))
}

/// Whether a link was not used too often.
fn still_good(state: &mut State, request: &Request) -> bool {
    let Some(HubFault::LinksExpire { after }) = state.fault else { return true };
    let uses = state.uses.entry(request.path.clone()).or_default();
    *uses += 1;
    *uses <= after
}

fn lying(content: &Content) -> Content {
    let mut bytes = content.read().map(|bytes| bytes.to_vec()).unwrap_or_default();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    Content::Bytes(Arc::from(bytes))
}

fn denied() -> Answer {
    let body =
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>";
    Answer::new(403, "application/xml", body)
}

fn upload(shared: &Shared, request: &Request, digest: &str) -> Answer {
    if sha256(&request.body) != digest {
        let mut answer = Answer::json(&json!({ "error": "the content has another digest" }));
        answer.status = 400;
        return answer;
    }
    let content = Content::Bytes(Arc::from(request.body.as_slice()));
    shared.state().pool.insert(digest.to_owned(), content);
    Answer { status: 200, headers: Vec::new(), body: Body::Bytes(Vec::new()) }
}

/// Where an upload of this digest is to go.
pub(super) fn upload_place(shared: &Shared, state: &mut State, digest: &str) -> String {
    let signed = state.signed(&format!("/upload/{digest}"));
    format!("{}{signed}", shared.url(Place::Cdn))
}
