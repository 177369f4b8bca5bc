//! The double of the Hub is one to its real client and to a real mirror, and goes wrong only in the way it was asked to.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::digest::{hex, sha256_file};
use testkit::http::{Response, send};
use testkit::hub::{Client, Hub, HubFault, Kind, Told, Visibility, client, olah};
use testkit::{models, or_skip, temporary};

const ID: &str = "acme/llama";

/// A Hub with one repository of five files, two of them large.
fn hub() -> Hub {
    let hub = Hub::start();
    hub.create(Kind::Model, ID, Visibility::Public);
    hub.commit(Kind::Model, ID, "main", &files());
    hub
}

fn files() -> [(&'static str, &'static [u8]); 5] {
    [
        ("README.md", b"# a model\n"),
        ("config.json", b"{}\n"),
        ("sub/deep/tokenizer.json", b"{\"a\": 1}\n"),
        ("sub/weights.safetensors", b"small, and of LFS by its name"),
        ("weights.bin", &[7; 5000]),
    ]
}

fn get(url: &str, headers: &[(&str, &str)]) -> Response {
    asked("GET", url, headers)
}

fn asked(method: &str, url: &str, headers: &[(&str, &str)]) -> Response {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    send(method, url, &headers, b"").expect("HTTP")
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

/// All rows of a listing, by following the links to the next page as they stand.
fn rows(hub: &Hub) -> Vec<Value> {
    let mut url = format!("{}/api/models/{ID}/tree/main?recursive=true&expand=false", hub.url());
    let mut rows = Vec::new();
    loop {
        let page = get(&url, &[]);
        rows.extend(json(&page).as_array().expect("rows").iter().cloned());
        let Some(next) = next(&page) else { return rows };
        url = next;
    }
}

fn next(page: &Response) -> Option<String> {
    page.header("link")?.strip_prefix('<')?.strip_suffix(">; rel=\"next\"").map(str::to_owned)
}

fn names(rows: &[Value]) -> Vec<&str> {
    let files = rows.iter().filter(|row| row["type"] == "file");
    files.filter_map(|row| row["path"].as_str()).collect()
}

fn info(hub: &Hub) -> Value {
    json(&get(&format!("{}/api/models/{ID}/revision/main?blobs=true", hub.url()), &[]))
}

fn resolve(hub: &Hub, path: &str) -> String {
    format!("{}/{ID}/resolve/main/{path}", hub.url())
}

/// The paths and digests of all files below a folder, without what the client keeps for itself.
fn digests(folder: &Path) -> Vec<(String, String)> {
    fn below(folder: &Path, prefix: &str, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            match path.is_dir() {
                true if name == ".cache" => {}
                true => below(&path, &format!("{prefix}{name}/"), into),
                false => into.push((format!("{prefix}{name}"), sha256_file(&path).expect("readable"))),
            }
        }
    }
    let mut found = Vec::new();
    below(folder, "", &mut found);
    found.sort();
    found
}

/// A model of several folders, with 3 MB in one file.
fn model(folder: &Path) {
    models::small(folder).expect("a model");
    models::Weights::single(3_000_000).write(&folder.join("large")).expect("weights");
    fs::write(folder.join("1_Pooling/é und &.json"), "{}").expect("written");
}

#[test]
fn the_real_client_uploads_and_gets_the_same_back() {
    let Some(client) = or_skip(client()) else { return };
    let dir = temporary().expect("temporary folder");
    let (source, hub) = (dir.path().join("model"), Hub::start());
    model(&source);
    hub.page_size(3);
    let ended = client.upload_folder(hub.url(), &source, ID).expect("it runs").expect_code(0);
    assert_eq!(hub.revision(Kind::Model, ID, "main").as_deref(), Some(ended.out().trim()));
    let expected = digests(&source);
    assert_eq!(hub.paths(Kind::Model, ID, "main").len(), expected.len());

    let listed = client.list(hub.url(), ID, "main").expect("it runs").expect_code(0);
    for line in listed.out().lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let (_, digest) =
            expected.iter().find(|(path, _)| row["path"] == path.as_str()).expect("one that was uploaded");
        assert!(row["sha256"] == digest.as_str() || row["sha256"].is_null(), "{row}");
        assert_eq!(
            row["sha256"].is_null(),
            !line.contains("safetensors\"") && row["size"].as_u64() <= Some(1024),
            "{row}"
        );
    }
    assert_eq!(listed.out().lines().count(), expected.len());

    for revision in ["main", ended.out().trim()] {
        let target = dir.path().join(revision);
        client.snapshot_download(hub.url(), ID, revision, &target).expect("it runs").expect_code(0);
        assert_eq!(digests(&target), expected);
    }
    let cached = client.snapshot_cache(hub.url(), ID, "main", &dir.path().join("cache")).expect("it runs");
    assert_eq!(digests(Path::new(cached.expect_code(0).out().trim())), expected);
    assert!(hub.received(hub.token()) && !hub.cdn_received(hub.token()));
    assert!(hub.asked("GET /cdn/") >= 3 && hub.asked("PUT /upload/") >= 3, "{:?}", hub.requests());
}

#[test]
fn a_dataset_comes_from_its_own_addresses() {
    let Some(client) = or_skip(client()) else { return };
    let client = client.of(Kind::Dataset);
    let dir = temporary().expect("temporary folder");
    let (source, target, hub) = (dir.path().join("data"), dir.path().join("copy"), Hub::start());
    model(&source);
    client.upload_folder(hub.url(), &source, "acme/data").expect("it runs").expect_code(0);
    client.snapshot_download(hub.url(), "acme/data", "main", &target).expect("it runs").expect_code(0);
    assert_eq!(digests(&target), digests(&source));
    assert!(hub.asked("/datasets/acme/data/resolve/") > 0, "{:?}", hub.requests());
}

fn download(client: &Client, hub: &Hub, id: &str) -> String {
    let dir = temporary().expect("temporary folder");
    let ended = client.snapshot_download(hub.url(), id, "main", dir.path()).expect("it runs");
    if ended.code() == Some(0) { "fine".to_owned() } else { ended.err() }
}

#[test]
fn the_real_client_knows_each_refusal() {
    let Some(client) = or_skip(client()) else { return };
    let hub = Hub::start();
    for (id, visibility) in [("acme/gated", Visibility::Gated), ("acme/private", Visibility::Private)] {
        hub.create(Kind::Model, id, visibility);
        hub.commit(Kind::Model, id, "main", &files());
        assert_eq!(download(&client, &hub, id), "fine");
    }
    let other = client.clone().token(Some(hub.other_token()));
    let nobody = client.clone().token(None);
    for (client, id, expected) in [
        (&other, "acme/gated", "GatedRepoError: 403"),
        (&nobody, "acme/gated", "GatedRepoError: 401"),
        (&other, "acme/private", "RepositoryNotFoundError: 404"),
        (&nobody, "acme/private", "RepositoryNotFoundError: 401"),
        (&client, "acme/missing", "RepositoryNotFoundError: 404"),
    ] {
        let error = download(client, &hub, id);
        assert!(error.contains(expected), "{id}: {error}");
    }
    let dir = temporary().expect("temporary folder");
    let missing = client.snapshot_download(hub.url(), "acme/gated", "nowhere", dir.path()).expect("it runs");
    assert!(missing.err().contains("RevisionNotFoundError"), "{missing}");
}

#[test]
fn the_real_client_waits_where_it_is_told_to() {
    let Some(client) = or_skip(client()) else { return };
    let hub = hub();
    hub.misbehave(HubFault::RateLimited { times: 1, seconds: 1, told: Told::RateLimit });
    let first = download(&client, &hub, ID);
    assert!(first == "fine" || first.contains("429"), "{first}");
    assert_eq!(download(&client, &hub, ID), "fine");
}

#[test]
fn the_mirror_has_the_same() {
    let Some(client) = or_skip(client()) else { return };
    let dir = temporary().expect("temporary folder");
    let (source, target, hub) = (dir.path().join("model"), dir.path().join("copy"), Hub::start());
    model(&source);
    hub.create(Kind::Model, ID, Visibility::Public);
    hub.commit_folder(Kind::Model, ID, "main", &source);
    let Some(mirror) = or_skip(olah(&hub)) else { return };
    client.snapshot_download(mirror.url(), ID, "main", &target).expect("it runs").expect_code(0);
    assert_eq!(digests(&target), digests(&source));
    assert!(hub.asked("GET /cdn/") > 0, "{:?}", hub.requests());
}
