//! The trusted root, refreshed from a real TUF repository, cached, and used without it.

mod attacks;
mod cache;
mod embedded;
mod import;
mod refresh;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{
    Missing, TempDir,
    pki::{Key, KeyKind},
    skip_or_fail, temporary,
    tuf::{Server, repository},
};
use weightseal::{Code, Error, FixedClock, Instance, Run, TrustStore, TrustedRoot};

/// A repository at the points of its life that tests need, made once. `v1` is its beginning, `v2` has another trusted root,
/// in `v3` the keys of root and timestamp were changed, `v4` goes on from there. `expired-ROLE` goes on from `v2`, `foreign`
/// is another repository whose root was changed once.
struct Story(TempDir);

fn story() -> Option<&'static Path> {
    static STORY: OnceLock<Result<Story, Missing>> = OnceLock::new();
    let made = STORY.get_or_init(|| {
        let dir = temporary().unwrap();
        repository(dir.path(), &steps()).map(|()| Story(dir))
    });
    match made {
        Ok(story) => Some(story.0.path()),
        Err(missing) => {
            skip_or_fail(missing.clone());
            None
        }
    }
}

fn steps() -> Value {
    let files =
        |name: &str| json!({"trusted_root.json": trusted_root(name), "signing_config.v0.2.json": name});
    let mut steps = vec![
        json!({"do": "init", "targets": files("foreign")}),
        json!({"do": "rotate", "roles": ["root"]}),
        json!({"do": "save", "to": "foreign"}),
        json!({"do": "init", "targets": files("one")}),
        json!({"do": "save", "to": "v1"}),
        json!({"do": "targets", "targets": files("two")}),
        json!({"do": "save", "to": "v2"}),
        json!({"do": "rotate", "roles": ["root", "timestamp"]}),
        json!({"do": "save", "to": "v3"}),
        json!({"do": "targets", "targets": files("four")}),
        json!({"do": "save", "to": "v4"}),
        json!({"do": "targets", "targets": {"trusted_root.json": "{\"mediaType\": \"something else\"}"}}),
        json!({"do": "save", "to": "useless"}),
        json!({"do": "targets", "targets": {"readme": "no trusted root"}}),
        json!({"do": "save", "to": "empty"}),
    ];
    for role in ["root", "timestamp", "snapshot", "targets"] {
        steps.push(json!({"do": "load", "from": "v2"}));
        steps.push(json!({"do": "expire", "role": role, "ago": 3600}));
        steps.push(json!({"do": "save", "to": format!("expired-{role}")}));
    }
    Value::Array(steps)
}

/// A trusted root with one log, whose address tells one from another.
fn trusted_root(name: &str) -> String {
    let der = STANDARD.encode(Key::new(KeyKind::Ed25519, 7).spki_der());
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": format!("https://{name}.example"),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": der,
                "keyDetails": "PKIX_ED25519",
                "validFor": {"start": "2025-01-01T00:00:00Z"},
            },
            "logId": {"keyId": STANDARD.encode([7; 32])},
        }],
    })
    .to_string()
}

/// A server of the repository, and a store with a cache of its own that begins with the first root.
struct Case {
    story: &'static Path,
    server: Server,
    dir: TempDir,
    root: Vec<u8>,
}

impl Case {
    /// Serves a point of the story; nothing where there can be no repository.
    fn at(point: &str) -> Option<Case> {
        let story = story()?;
        let dir = temporary().unwrap();
        let server = Server::start(story.join(point)).unwrap();
        let root = fs::read(story.join("v1/1.root.json")).unwrap();
        Some(Case { story, server, dir, root })
    }

    /// The same after one good refresh.
    fn refreshed(point: &str) -> Option<Case> {
        let case = Case::at(point)?;
        case.store().refresh(&Run::new()).unwrap();
        case.server.asked();
        Some(case)
    }

    fn serve(&self, point: &str) {
        self.server.serve(self.story.join(point));
    }

    fn store(&self) -> TrustStore {
        self.store_at(&self.server.url())
    }

    fn store_at(&self, url: &str) -> TrustStore {
        let instance = Instance::Mirror { url: url.to_owned(), root: self.root.clone() };
        TrustStore::new(instance).cache_dir(self.dir.path())
    }

    /// The folder of the cache.
    fn folder(&self) -> PathBuf {
        let mut folders = fs::read_dir(self.dir.path()).unwrap();
        let folder = folders.next().unwrap().unwrap().path();
        assert!(folders.next().is_none());
        folder
    }

    fn file(&self) -> PathBuf {
        self.folder().join("trust-cache")
    }

    /// A copy of a point of the story, to be changed.
    fn copy(&self, point: &str) -> PathBuf {
        let to = self
            .dir
            .path()
            .parent()
            .unwrap()
            .join(format!("{}-{point}", self.dir.path().file_name().unwrap().to_str().unwrap()));
        copy(&self.story.join(point), &to);
        to
    }

    /// Demands that a refresh is refused with this code, that the cache is as it was, and that its root is still used.
    #[track_caller]
    fn refused(&self, code: Code) -> Error {
        let before = fs::read(self.file()).unwrap();
        let root = named(&self.store().load(&Run::new()).unwrap());
        let error = self.store().refresh(&Run::new()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(fs::read(self.file()).unwrap() == before);
        assert_eq!(named(&self.store().load(&Run::new()).unwrap()), root);
        error
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The name in the address of the root's log.
fn named(root: &TrustedRoot) -> String {
    let uri = root.parties()[0].uri.clone().unwrap();
    uri.trim_start_matches("https://").trim_end_matches(".example").to_owned()
}

/// A run so many days from now.
fn in_days(days: u64) -> Run {
    Run::new().clock(FixedClock(SystemTime::now() + Duration::from_secs(days * 86_400)))
}
