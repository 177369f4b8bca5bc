//! What is told about files: the names of a revision, their sizes and digests, in one answer or in pages.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::{Answer, encoded, parameters};
use super::api::{Call, Target, Want};
use super::fault::{self, Next};
use super::repository::{Commit, Stored, folders, git_blob, pointer, sha256};
use super::state::State;

/// The time of everything.
const TIME: &str = "2026-01-01T00:00:00.000Z";

/// What a listing says of a file.
fn row(state: &State, commit: &Commit, path: &str, expand: bool) -> Option<Value> {
    let stored = fault::stated(state, commit, path)?;
    let mut row = json!({ "type": "file", "oid": stored.oid, "size": stored.size, "path": path });
    let fields = row.as_object_mut()?;
    if let Some(sha256) = &stored.sha256 {
        let length = pointer(sha256, stored.size).len();
        let lfs = json!({ "oid": sha256, "size": stored.size, "pointerSize": length });
        fields.insert("lfs".to_owned(), lfs);
        if state.xet {
            fields.insert("xetHash".to_owned(), xet_hash(&stored).into());
        }
    }
    if expand {
        fields
            .insert("lastCommit".to_owned(), json!({ "id": commit.id, "title": commit.title, "date": TIME }));
        let status = json!({ "status": "safe", "avScan": null, "pickleImportScan": null });
        fields.insert("securityFileStatus".to_owned(), status);
    }
    Some(row)
}

/// A stand-in: only whether it is there matters to clients without Xet.
pub(super) fn xet_hash(stored: &Stored) -> String {
    sha256(stored.oid.as_bytes())
}

/// `/api/models/ID` and `/api/models/ID/revision/REV`.
pub(super) fn info(call: &Call<'_>, target: &Target, revision: &str) -> Result<Answer, Answer> {
    let mut state = call.shared.state();
    let commit = call.commit(&state, target, revision, Want::Look)?;
    let blobs = call.is_set("blobs");
    let sibling = |path: &String| {
        let mut sibling = json!({ "rfilename": path });
        if let (true, Some(stored), Some(fields)) =
            (blobs, fault::stated(&state, &commit, path), sibling.as_object_mut())
        {
            fields.insert("blobId".to_owned(), stored.oid.clone().into());
            fields.insert("size".to_owned(), stored.size.into());
            if let Some(sha256) = &stored.sha256 {
                let length = pointer(sha256, stored.size).len();
                let lfs = json!({ "sha256": sha256, "size": stored.size, "pointerSize": length });
                fields.insert("lfs".to_owned(), lfs);
            }
        }
        sibling
    };
    let mut siblings: Vec<Value> = commit.files.keys().map(sibling).collect();
    fault::change_siblings(&state, &mut siblings);
    let visibility = state.repositories.get(&(target.kind, target.id.clone())).map(|found| found.visibility);
    let gated = if visibility == Some(super::Visibility::Gated) { json!("manual") } else { json!(false) };
    let mut info = json!({
        "_id": "0".repeat(24), "id": target.id, "author": target.id.split('/').next(),
        "sha": fault::stated_sha(&state, &commit.id), "private": visibility == Some(super::Visibility::Private),
        "gated": gated, "disabled": false, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings,
        "createdAt": TIME, "lastModified": TIME, "usedStorage": 0,
    });
    if let (super::Kind::Model, Some(fields)) = (target.kind, info.as_object_mut()) {
        fields.insert("modelId".to_owned(), target.id.clone().into());
    }
    let answer = fault::worded(&state, &info).with("X-Repo-Commit", fault::stated_commit(&state, &commit.id));
    fault::moves(&mut state, target, &commit);
    Ok(answer)
}

/// `/api/models/ID/tree/REV/FOLDER`, in pages.
pub(super) fn tree(call: &Call<'_>, target: &Target, revision: &str, folder: &str) -> Result<Answer, Answer> {
    let state = call.shared.state();
    let commit = call.commit(&state, target, revision, Want::Look)?;
    let (recursive, expand) = (call.is_set("recursive"), call.is_set("expand"));
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let depth = |path: &str| path.strip_prefix(&prefix).map(|rest| rest.matches('/').count());
    let shown = |path: &str| depth(path).is_some_and(|depth| recursive || depth == 0);
    let mut rows: Vec<(String, Value)> = Vec::new();
    for path in folders(commit.files.keys()).into_iter().filter(|path| shown(path)) {
        let oid = git_blob(path.as_bytes());
        rows.push((path.clone(), json!({ "type": "directory", "oid": oid, "size": 0, "path": path })));
    }
    for path in commit.files.keys().filter(|path| shown(path)) {
        rows.extend(row(&state, &commit, path, expand).map(|row| (path.clone(), row)));
    }
    if rows.is_empty() && !folder.is_empty() {
        let message = format!("{folder} does not exist on \"{revision}\"");
        return Err(Answer::refusal(404, "EntryNotFound", &message));
    }
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut rows: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
    fault::change_rows(&state, &mut rows);
    Ok(page(call, &state, rows).with("X-Repo-Commit", fault::stated_commit(&state, &commit.id)))
}

/// The page that is asked for, with the way to the next one.
fn page(call: &Call<'_>, state: &State, rows: Vec<Value>) -> Answer {
    let limit = call.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let size = fault::page_size(state, rows.len()).min(limit).max(1);
    let from = call.parameter("cursor").and_then(read_cursor).unwrap_or(0);
    let (rows, next) = fault::page(state, rows, from, size);
    let answer = fault::worded(state, &Value::Array(rows));
    let Some(next) = next else { return answer };
    let query = |cursor: usize| {
        let mut query: Vec<(String, String)> =
            parameters(call.request.path.split_once('?').map_or("", |(_, query)| query));
        query.retain(|(name, _)| name != "cursor");
        query.push(("cursor".to_owned(), BASE64_STANDARD.encode(format!("{{\"from\":{cursor}}}"))));
        let pairs = query.iter().map(|(name, value)| format!("{}={}", encoded(name, ""), encoded(value, "")));
        pairs.collect::<Vec<_>>().join("&")
    };
    let link = match next {
        Next::Here(cursor) => format!("{}{}?{}", call.host(), call.path, query(cursor)),
        Next::Relative(cursor) => format!("{}?{}", call.path, query(cursor)),
        Next::Elsewhere(cursor) => {
            format!("{}{}?{}", call.shared.cdn_for_clients(state), call.path, query(cursor))
        }
    };
    answer.with("Link", format!("<{link}>; rel=\"next\""))
}

fn read_cursor(cursor: &str) -> Option<usize> {
    let text: Value = serde_json::from_slice(&BASE64_STANDARD.decode(cursor).ok()?).ok()?;
    usize::try_from(text.get("from")?.as_u64()?).ok()
}

/// `/api/models/ID/refs`.
pub(super) fn refs(call: &Call<'_>, target: &Target) -> Result<Answer, Answer> {
    let state = call.shared.state();
    call.may(&state, target, Want::Look)?;
    let Some(repository) = state.repositories.get(&(target.kind, target.id.clone())) else {
        return Err(super::api::nowhere());
    };
    let listed = |refs: &BTreeMap<String, String>, before: &str| -> Vec<Value> {
        let reference = |name: &String| format!("{before}{name}");
        refs.iter()
            .map(|(name, id)| json!({ "name": name, "ref": reference(name), "targetCommit": id }))
            .collect()
    };
    let mut refs = json!({
        "branches": listed(&repository.branches, "refs/heads/"),
        "tags": listed(&repository.tags, "refs/tags/"),
        "converts": [],
    });
    if let (true, Some(fields)) = (call.is_set("include_prs"), refs.as_object_mut()) {
        fields.insert("pullRequests".to_owned(), listed(&repository.pulls, "").into());
    }
    Ok(Answer::json(&refs))
}

/// `/api/models/ID/paths-info/REV`, asked in JSON or as a form.
pub(super) fn paths_info(call: &Call<'_>, target: &Target, revision: &str) -> Result<Answer, Answer> {
    let state = call.shared.state();
    let commit = call.commit(&state, target, revision, Want::Look)?;
    let (paths, expand) = asked_paths(call);
    let folders = folders(commit.files.keys());
    let row = |path: &String| {
        let folder = || {
            let oid = git_blob(path.as_bytes());
            folders
                .contains(path)
                .then(|| json!({ "type": "directory", "oid": oid, "size": 0, "path": path }))
        };
        row(&state, &commit, path, expand).or_else(folder)
    };
    let rows: Vec<Value> = paths.iter().filter_map(row).collect();
    let answer = Answer::json(&Value::Array(rows));
    Ok(answer.with("X-Repo-Commit", fault::stated_commit(&state, &commit.id)))
}

fn asked_paths(call: &Call<'_>) -> (Vec<String>, bool) {
    if call.request.header("content-type").is_some_and(|kind| kind.contains("json")) {
        let body = call.json();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let paths = match &body["paths"] {
            Value::Array(paths) => paths.iter().filter_map(text).collect(),
            path => text(path).into_iter().collect(),
        };
        return (paths, body["expand"] == json!(true));
    }
    let form = parameters(&String::from_utf8_lossy(&call.request.body));
    let expand = form.iter().any(|(name, value)| name == "expand" && value.eq_ignore_ascii_case("true"));
    (form.into_iter().filter(|(name, _)| name == "paths").map(|(_, path)| path).collect(), expand)
}
