//! The API: who asks, for what, and what is told about a repository.

use serde_json::{Value, json};

use super::answer::{Answer, decoded, parameters};
use super::repository::{Commit, Kind, Visibility};
use super::state::{Shared, State};
use super::{TOKEN, fault, files, listing, upload};
use crate::http::Request;

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    Owner,
    Somebody,
}

/// What somebody wants of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Look,
    Files,
    Change,
}

/// One request, taken apart.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) request: &'a Request,
    pub(super) who: Who,
    pub(super) path: &'a str,
    pub(super) parameters: Vec<(String, String)>,
}

/// A repository that is meant.
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) id: String,
}

impl Call<'_> {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| matches!(value, "true" | "True" | "1"))
    }

    pub(super) fn is(&self, method: &str) -> bool {
        self.request.method == method || (method == "GET" && self.request.method == "HEAD")
    }

    /// The body as JSON; null where it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.request.body).unwrap_or_default()
    }

    /// The address that the client used, as far as it is one of this machine.
    pub(super) fn host(&self) -> String {
        let host = self.request.header("host").unwrap_or_default();
        let near = host.starts_with("127.0.0.1:") || host.starts_with("localhost:");
        if near { format!("http://{host}") } else { self.shared.url(super::Place::Api).to_owned() }
    }

    /// Whether the repository is there and may be used so; where it got another name, the way there.
    pub(super) fn may(&self, state: &State, target: &Target, want: Want) -> Result<(), Answer> {
        let key = (target.kind, target.id.clone());
        if let Some(to) = state.moved.get(&key) {
            let place = self.request.path.replacen(&target.id, to, 1);
            return Err(Answer::new(307, "text/plain", "").with("Location", place));
        }
        let anonymous = self.who == Who::Nobody;
        let absent = || {
            let (status, message) = if anonymous {
                (401, "Invalid username or password.")
            } else {
                (404, "Repository not found")
            };
            Answer::refusal(status, "RepoNotFound", message)
        };
        let Some(repository) = state.repositories.get(&key) else { return Err(absent()) };
        match (repository.visibility, want) {
            _ if self.who == Who::Owner => Ok(()),
            (Visibility::Private, _) => Err(absent()),
            (_, Want::Change) if anonymous => Err(absent()),
            (_, Want::Change) => Err(Answer::refusal(403, "", "You don't have the rights to write to this")),
            (Visibility::Gated, Want::Files) => {
                let status = if anonymous { 401 } else { 403 };
                let message = format!("Access to {} {} is restricted.", target.kind.singular(), target.id);
                Err(Answer::refusal(status, "GatedRepo", &message))
            }
            _ => Ok(()),
        }
    }

    /// The commit that a revision names, for somebody who may want that.
    pub(super) fn commit(
        &self,
        state: &State,
        target: &Target,
        revision: &str,
        want: Want,
    ) -> Result<std::sync::Arc<Commit>, Answer> {
        self.may(state, target, want)?;
        let repository = state.repositories.get(&(target.kind, target.id.clone()));
        let commit = repository.and_then(|repository| repository.resolve(revision));
        commit.ok_or_else(|| Answer::refusal(404, "RevisionNotFound", &format!("Invalid rev id: {revision}")))
    }
}

/// Answers one request.
pub(super) fn answer(shared: &Shared, request: &Request) -> Answer {
    if let Some(refusal) = fault::refusal(&mut shared.state(), request) {
        return refusal;
    }
    let who = match request.header("authorization") {
        None => Who::Nobody,
        Some(value) => match value.strip_prefix("Bearer ") {
            Some(TOKEN) => Who::Owner,
            Some(token) if token.starts_with("hf_") => Who::Somebody,
            _ => return Answer::refusal(401, "", "Invalid credentials in Authorization header"),
        },
    };
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let Some(words) = path.trim_start_matches('/').split('/').map(decoded).collect::<Option<Vec<_>>>() else {
        return Answer::refusal(400, "", "Malformed URI");
    };
    let call = Call { shared, request, who, path, parameters: parameters(query) };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    routed(&call, &words).unwrap_or_else(|refusal| refusal)
}

fn routed(call: &Call<'_>, words: &[&str]) -> Result<Answer, Answer> {
    match words {
        ["api", "whoami-v2"] => whoami(call),
        ["api", "repos", "create"] if call.is("POST") => upload::create(call),
        ["api", "validate-yaml"] => Ok(Answer::json(&json!({ "errors": [], "warnings": [] }))),
        ["api", "resolve-cache", kind, rest @ ..] => {
            let (target, rest) = target(kind, rest).ok_or_else(nowhere)?;
            match rest {
                [revision, path @ ..] => files::resolve(call, &target, revision, &path.join("/"), true),
                [] => Err(nowhere()),
            }
        }
        ["api", kind, rest @ ..] => {
            let (target, rest) = target(kind, rest).ok_or_else(nowhere)?;
            about(call, &target, rest)
        }
        ["datasets", rest @ ..] => of_files(call, "datasets", rest),
        ["spaces", rest @ ..] => of_files(call, "spaces", rest),
        rest => of_files(call, "models", rest),
    }
}

pub(super) fn nowhere() -> Answer {
    Answer::refusal(404, "", "Sorry, we can't find the page you are looking for.")
}

/// What may follow an id, so that ids of one word are told from those of two.
const AFTER: [&str; 11] = [
    "tree",
    "revision",
    "refs",
    "paths-info",
    "preupload",
    "commit",
    "branch",
    "tag",
    "auth-check",
    "resolve",
    "raw",
];

fn target<'a, 'b>(kind: &str, words: &'a [&'b str]) -> Option<(Target, &'a [&'b str])> {
    let kind = Kind::named(kind)?;
    match words {
        [owner, name, rest @ ..] if !AFTER.contains(name) => {
            Some((Target { kind, id: format!("{owner}/{name}") }, rest))
        }
        [name, rest @ ..] if !name.is_empty() => Some((Target { kind, id: (*name).to_owned() }, rest)),
        _ => None,
    }
}

fn of_files(call: &Call<'_>, kind: &str, words: &[&str]) -> Result<Answer, Answer> {
    if let [id @ .., "info", "lfs", "objects", "batch"] = words {
        let id = id.join("/");
        let id = id.strip_suffix(".git").ok_or_else(nowhere)?;
        let target = Target { kind: Kind::named(kind).ok_or_else(nowhere)?, id: id.to_owned() };
        return upload::batch(call, &target);
    }
    let (target, rest) = target(kind, words).ok_or_else(nowhere)?;
    match rest {
        ["resolve" | "raw", revision, path @ ..] if call.is("GET") => {
            files::resolve(call, &target, revision, &path.join("/"), false)
        }
        _ => Err(nowhere()),
    }
}

fn about(call: &Call<'_>, target: &Target, words: &[&str]) -> Result<Answer, Answer> {
    match words {
        [] if call.is("GET") => listing::info(call, target, "main"),
        ["revision", revision] if call.is("GET") => listing::info(call, target, revision),
        ["tree", revision, folder @ ..] if call.is("GET") => {
            listing::tree(call, target, revision, folder.join("/").trim_matches('/'))
        }
        ["refs"] if call.is("GET") => listing::refs(call, target),
        ["paths-info", revision] if call.is("POST") => listing::paths_info(call, target, revision),
        ["auth-check"] if call.is("GET") => {
            call.may(&call.shared.state(), target, Want::Files).map(|()| Answer::json(&json!({})))
        }
        ["preupload", _] if call.is("POST") => upload::preupload(call, target),
        ["commit", branch] if call.is("POST") => upload::commit(call, target, branch),
        ["branch", name] if call.is("POST") => upload::branch(call, target, name),
        ["tag", revision] if call.is("POST") => upload::tag(call, target, revision),
        _ => Err(nowhere()),
    }
}

fn whoami(call: &Call<'_>) -> Result<Answer, Answer> {
    let name = match call.who {
        Who::Nobody => return Err(Answer::refusal(401, "", "Invalid username or password.")),
        Who::Owner => "me",
        Who::Somebody => "somebody",
    };
    let token =
        json!({ "accessToken": { "displayName": "a token", "role": "write" }, "type": "access_token" });
    Ok(Answer::json(&json!({ "type": "user", "id": "1", "name": name, "orgs": [], "auth": token })))
}
