//! Writing one small file: a commit of its own on a branch.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::Url;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    client::{Client, LINKED_ETAG, LINKED_SIZE, SERVICE, error_code, is_redirect, plain},
    read::bare,
};
use crate::{
    Bundle, Error, Replace, Run,
    code::Code,
    http::{Answer, Call},
    manifest::hex,
    shown::Shown,
    source::uri::{HubUri, encoded},
};

/// Largest file that is sent in a commit, in bytes: what the Hub takes so.
const LARGEST: usize = 10_000_000;

/// Largest list of references, in bytes.
const REFERENCES_BYTES: u64 = 16 << 20;

/// How many redirects are followed for one file.
const HOPS: usize = 5;

impl Client {
    /// Reads one small file whole, at a revision; none where there is none.
    ///
    /// # Errors
    /// What the Hub's refusal means; `changed-while-read` for content that is not what the Hub says of it; `service-failed`;
    /// those of [`Run::check`].
    pub(super) fn download(
        &self,
        uri: &HubUri,
        revision: &str,
        limit: u64,
        run: &Run,
    ) -> Result<Option<Vec<u8>>, Error> {
        let address = self.file(uri, revision, &uri.path);
        let mut call = self.call(&address).large(limit);
        let first = self.http.send(&call, run)?;
        if error_code(&first.headers) == "EntryNotFound" {
            return Ok(None);
        }
        let text = |name| first.headers.get(name).and_then(|value| value.to_str().ok());
        let (etag, size) =
            (text(LINKED_ETAG).map(|etag| bare(etag).to_owned()), text(LINKED_SIZE).map(str::to_owned));
        let mut url = Url::parse(&address).map_err(|_| call.unusable("that is no address"))?;
        let mut answer = first;
        let mut hops = 0;
        while is_redirect(answer.status) {
            url = self.redirect(&url, answer.location.as_deref()).map_err(|why| call.unusable(why))?;
            hops += 1;
            if hops > HOPS {
                return Err(call.unusable("too many redirects"));
            }
            // Without the token.
            call = Call::get(SERVICE, url.clone()).large(limit).redirects();
            answer = self.http.send(&call, run)?;
        }
        if answer.status != 200 {
            return Err(match hops {
                0 => self.refusal(&call, &answer, uri),
                _ => call.refused(&answer),
            });
        }
        let bytes = plain(&call, answer)?.body;
        let is_other = etag.is_some_and(|etag| etag.len() == 64 && etag != hex(&Sha256::digest(&bytes)))
            || size.is_some_and(|size| size.parse() != Ok(bytes.len() as u64));
        if is_other {
            let what = format!("{} is not what the Hub says of it", Shown(&uri.to_string()));
            return Err(Error::new(Code::ChangedWhileRead, what));
        }
        Ok(Some(bytes))
    }

    /// Writes one small file as a commit of its own.
    ///
    /// # Errors
    /// `output-exists` where there is something that may not be replaced; `bad-argument` where nothing can be written;
    /// `changed-while-read` when somebody else wrote to the branch meanwhile; what the Hub's refusal means; `service-failed`;
    /// those of [`Run::check`].
    pub(super) fn upload(
        &self,
        uri: &HubUri,
        bytes: &[u8],
        replace: Replace,
        run: &Run,
    ) -> Result<(), Error> {
        let shown = uri.to_string();
        let shown = Shown(&shown);
        if bytes.len() > LARGEST {
            let what = format!(
                "{shown} would have {} bytes, and larger ones than {LARGEST} cannot be written to the Hub",
                bytes.len()
            );
            return Err(Error::new(Code::BadArgument, what)
                .with_help("write the signature to a file, and upload it with a tool of the Hub"));
        }
        let branch = uri.revision_or_main();
        self.check_branch(uri, run)?;
        let head = self.head(uri, run)?;
        let there = self.download(uri, &head, crate::limits::BUNDLE_BYTES, run)?;
        let may = match (&there, replace) {
            (None, _) | (_, Replace::Anything) => true,
            (Some(_), Replace::Nothing) => false,
            (Some(there), Replace::Signature) => Bundle::parse(there).is_ok(),
        };
        match there {
            Some(there) if !may => {
                let what = match replace {
                    Replace::Signature if !there.is_empty() => "is not a model signature",
                    _ => "exists already",
                };
                return Err(Error::new(Code::OutputExists, format!("{shown} {what}"))
                    .with_help("choose another name"));
            }
            // Nothing would be in the commit.
            Some(there) if there == bytes => return Ok(()),
            _ => {}
        }

        let call = self.post(
            self.api(uri, &format!("commit/{}", encoded(branch))),
            "application/x-ndjson",
            commit(uri, &head, bytes).into_bytes(),
        );
        let answer = self.http.send(&call, run);
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                let done: Option<Committed> = serde_json::from_slice(&answer.body).ok();
                match done.is_some_and(|done| HubUri::is_commit(&done.id)) {
                    true => Ok(()),
                    false => Err(call.unusable("it names no commit")),
                }
            }
            // It may have been written by an attempt whose answer was lost.
            Ok(Answer { status: 409 | 412, .. }) | Err(_) if self.is_there(uri, bytes, run) => Ok(()),
            Ok(Answer { status: 409 | 412, .. }) => {
                let what = format!("somebody wrote to {shown} at the same time, so that nothing was written");
                Err(Error::new(Code::ChangedWhileRead, what).with_help("try again"))
            }
            Ok(answer) => Err(self.refusal(&call, &answer, uri)),
            Err(error) => Err(error),
        }
    }

    /// Whether a file stands on its branch with these bytes.
    fn is_there(&self, uri: &HubUri, bytes: &[u8], run: &Run) -> bool {
        let there = self.download(uri, uri.revision_or_main(), crate::limits::BUNDLE_BYTES, run);
        there.is_ok_and(|there| there.as_deref() == Some(bytes))
    }

    /// Only what moves can be written to.
    fn check_branch(&self, uri: &HubUri, run: &Run) -> Result<(), Error> {
        let revision = uri.revision_or_main();
        let fixed = |what: &str| {
            let what = format!("{} cannot be written to: {what}", Shown(&uri.to_string()));
            Err(Error::new(Code::BadArgument, what).with_help("name a branch"))
        };
        if HubUri::is_commit(revision) {
            return fixed("it is a commit");
        }
        let call = self.call(self.api(uri, "refs")).limit(REFERENCES_BYTES);
        let answer = self.ask(&call, uri, run)?;
        let references: References = serde_json::from_slice(&answer.body)
            .map_err(|_| call.unusable("that is no list of references"))?;
        let named = |list: &[Reference]| list.iter().any(|reference| reference.name == revision);
        match named(&references.tags) && !named(&references.branches) {
            true => fixed("it is at a tag"),
            false => Ok(()),
        }
    }

    /// The commit that a branch is at.
    fn head(&self, uri: &HubUri, run: &Run) -> Result<String, Error> {
        let call = self.call(self.api(uri, &format!("revision/{}", encoded(uri.revision_or_main()))));
        let call = call.limit(super::listing::COMMIT_BYTES);
        let answer = self.ask(&call, uri, run)?;
        let info: Option<Head> = serde_json::from_slice(&answer.body).ok();
        match info {
            Some(head) if HubUri::is_commit(&head.sha) => Ok(head.sha),
            _ => Err(call.unusable("it names no commit")),
        }
    }
}

/// The body of a commit: a line of JSON for its head, and one for the file.
fn commit(uri: &HubUri, parent: &str, bytes: &[u8]) -> String {
    let name = uri.path.rsplit('/').next().unwrap_or_default();
    let head = serde_json::json!({
        "key": "header",
        "value": { "summary": format!("Write {name}"), "description": "", "parentCommit": parent },
    });
    let file = serde_json::json!({
        "key": "file",
        "value": { "path": uri.path, "encoding": "base64", "content": BASE64_STANDARD.encode(bytes) },
    });
    format!("{head}\n{file}\n")
}

#[derive(Deserialize)]
struct Head {
    sha: String,
}

#[derive(Deserialize)]
struct Committed {
    #[serde(rename = "commitOid")]
    id: String,
}

#[derive(Deserialize)]
struct References {
    #[serde(default)]
    branches: Vec<Reference>,
    #[serde(default)]
    tags: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
}
