//! What a client does to put files there: a repository, which files are large, where these go, and the commit.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::Answer;
use super::api::{Call, Target, Want, Who};
use super::files::upload_place;
use super::repository::{Content, Files, Kind, Stored};
use super::state::{State, is_lfs};
use super::{Visibility, repository::Commit};

/// `/api/repos/create`.
pub(super) fn create(call: &Call<'_>) -> Result<Answer, Answer> {
    if call.who != Who::Owner {
        return Err(Answer::refusal(401, "", "Invalid username or password."));
    }
    let body = call.json();
    let name = body["name"].as_str().unwrap_or_default();
    let id = match body["organization"].as_str() {
        Some(owner) => format!("{owner}/{name}"),
        None if name.contains('/') => name.to_owned(),
        None => format!("me/{name}"),
    };
    let kind = body["type"].as_str().map_or(Some(Kind::Model), Kind::named);
    let Some(kind) = kind.filter(|_| !name.is_empty()) else { return Err(malformed("no such type or name")) };
    let private = body["private"] == json!(true) || body["visibility"] == "private";
    let visibility = if private { Visibility::Private } else { Visibility::Public };
    let url = format!("{}/{}{id}", call.host(), kind.prefix());
    let made = call.shared.state().create(kind, &id, visibility);
    let mut answer = Answer::json(&json!({ "url": url, "name": id, "id": "0".repeat(24) }));
    if !made {
        answer = Answer::json(&json!({ "error": "You already created this repo", "url": url, "name": id }));
        answer.status = 409;
    }
    Ok(answer)
}

/// `/api/models/ID/preupload/REV`: which of the files are to go by LFS.
pub(super) fn preupload(call: &Call<'_>, target: &Target) -> Result<Answer, Answer> {
    let state = call.shared.state();
    call.may(&state, target, Want::Change)?;
    let body = call.json();
    let file = |file: &Value| {
        let (path, size) = (file["path"].as_str().unwrap_or_default(), file["size"].as_u64().unwrap_or(0));
        let mode = if is_lfs(path, size, state.lfs_from) { "lfs" } else { "regular" };
        json!({ "path": path, "uploadMode": mode, "shouldIgnore": false, "oid": null })
    };
    let files: Vec<Value> = body["files"].as_array().into_iter().flatten().map(file).collect();
    Ok(Answer::json(&json!({ "files": files, "commitOid": null })))
}

/// `/ID.git/info/lfs/objects/batch`: where to put what is not there yet.
pub(super) fn batch(call: &Call<'_>, target: &Target) -> Result<Answer, Answer> {
    let mut state = call.shared.state();
    call.may(&state, target, Want::Change)?;
    let body = call.json();
    let mut objects = Vec::new();
    for object in body["objects"].as_array().into_iter().flatten() {
        let digest = object["oid"].as_str().unwrap_or_default();
        let mut answer = json!({ "oid": digest, "size": object["size"] });
        if !state.pool.contains_key(digest) {
            let place = upload_place(call.shared, &mut state, digest);
            answer["actions"] = json!({ "upload": { "href": place, "header": {} } });
        }
        objects.push(answer);
    }
    let text = json!({ "transfer": "basic", "objects": objects }).to_string();
    Ok(Answer::new(200, "application/vnd.git-lfs+json", text))
}

/// `/api/models/ID/commit/BRANCH`, a line of JSON for each thing.
pub(super) fn commit(call: &Call<'_>, target: &Target, branch: &str) -> Result<Answer, Answer> {
    let lines = String::from_utf8_lossy(&call.request.body);
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    let lines: Result<Vec<Value>, _> = lines.map(serde_json::from_str).collect();
    let lines = lines.map_err(|_| malformed("not a line of JSON for each thing"))?;

    let mut state = call.shared.state();
    call.may(&state, target, Want::Change)?;
    let key = (target.kind, target.id.clone());
    let head = state.repositories.get(&key).and_then(|repository| repository.head(branch));
    let missing = || Answer::refusal(404, "RevisionNotFound", &format!("Invalid rev id: {branch}"));
    let head = head.ok_or_else(missing)?;
    let (files, title) = changed(&state, &head, &lines)?;

    let repository = state.repositories.get_mut(&key).ok_or_else(missing)?;
    let mut answer = json!({ "success": true, "hookOutput": "" });
    let id = if call.is_set("create_pr") {
        let (reference, id) = repository.open_pull(&head.id, files, &title);
        let number = reference.trim_start_matches("refs/pr/");
        let place = format!("{}/{}{}", call.host(), target.kind.prefix(), target.id);
        answer["pullRequestUrl"] = format!("{place}/discussions/{number}").into();
        id
    } else {
        let id = repository.add(&head.id, files, &title);
        repository.advance(branch, &id);
        id
    };
    let place = format!("{}/{}{}", call.host(), target.kind.prefix(), target.id);
    answer["commitUrl"] = format!("{place}/commit/{id}").into();
    answer["commitOid"] = id.into();
    Ok(Answer::json(&answer))
}

/// The files after a commit's lines, and its title.
fn changed(state: &State, head: &Commit, lines: &[Value]) -> Result<(Files, String), Answer> {
    let mut files = head.files.clone();
    let mut title = String::new();
    for line in lines {
        let value = &line["value"];
        let path = value["path"].as_str().unwrap_or_default().to_owned();
        match line["key"].as_str().unwrap_or_default() {
            "header" => {
                title = value["summary"].as_str().unwrap_or_default().to_owned();
                if value["parentCommit"].as_str().is_some_and(|parent| parent != head.id) {
                    let message = "A commit has happened since. Please refresh and try again.";
                    return Err(Answer::refusal(412, "", message));
                }
            }
            "file" => {
                let content = BASE64_STANDARD.decode(value["content"].as_str().unwrap_or_default());
                let content = content.map_err(|_| malformed("not base64"))?;
                files.insert(path, Arc::new(Stored::regular(Arc::from(content))));
            }
            "lfsFile" => {
                let digest = value["oid"].as_str().unwrap_or_default();
                let content = state.pool.get(digest).cloned();
                let content = content.ok_or_else(|| malformed("this object was not uploaded"))?;
                let size = match &content {
                    Content::Bytes(bytes) => bytes.len() as u64,
                    Content::File(path) => path.metadata().map_or(0, |metadata| metadata.len()),
                };
                if value["size"].as_u64().is_some_and(|stated| stated != size) {
                    return Err(malformed("this object has another size"));
                }
                files.insert(path, Arc::new(Stored::lfs(content, size, digest.to_owned())));
            }
            "deletedFile" => drop(files.remove(&path)),
            "deletedFolder" | "deletedEntry" => {
                let folder = format!("{}/", path.trim_end_matches('/'));
                files.retain(|name, _| *name != path && !name.starts_with(&folder));
            }
            key => return Err(malformed(&format!("no such thing as {key}"))),
        }
    }
    Ok((files, title))
}

/// `/api/models/ID/branch/NAME`.
pub(super) fn branch(call: &Call<'_>, target: &Target, name: &str) -> Result<Answer, Answer> {
    named(call, target, name, call.json()["startingPoint"].as_str().unwrap_or("main"), false)
}

/// `/api/models/ID/tag/REV`.
pub(super) fn tag(call: &Call<'_>, target: &Target, revision: &str) -> Result<Answer, Answer> {
    named(call, target, call.json()["tag"].as_str().unwrap_or_default(), revision, true)
}

fn named(call: &Call<'_>, target: &Target, name: &str, revision: &str, tag: bool) -> Result<Answer, Answer> {
    let mut state = call.shared.state();
    let commit = call.commit(&state, target, revision, Want::Change)?;
    let repository = state.repositories.get_mut(&(target.kind, target.id.clone()));
    let Some(repository) = repository else { return Err(super::api::nowhere()) };
    let refs = if tag { &mut repository.tags } else { &mut repository.branches };
    if refs.contains_key(name) {
        return Err(Answer::refusal(409, "", "Reference already exists"));
    }
    refs.insert(name.to_owned(), commit.id.clone());
    Ok(Answer::json(&json!({})))
}

fn malformed(why: &str) -> Answer {
    Answer::refusal(400, "", why)
}
