//! The double of the Hub is one to its real client and to a real mirror, and goes wrong only in the way it was asked to.

mod faults;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;
use testkit::digest::sha256_file;
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
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    send("GET", url, &headers, b"").expect("HTTP")
}

/// The lines of the answer to a `HEAD`, of which nothing may follow.
fn head(url: &str) -> Vec<String> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("connected");
    write!(stream, "HEAD /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.strip_suffix("\r\n\r\n").expect("no body").split("\r\n").map(str::to_owned).collect()
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
fn the_real_client_reads_when_to_come_again() {
    let Some(client) = or_skip(client()) else { return };
    let hub = hub();
    hub.misbehave(HubFault::RateLimited { times: 1, seconds: 1, told: Told::RateLimit });
    let error = download(&client, &hub, ID);
    assert!(error.contains("429 Too Many Requests") && error.contains("Retry after 1 seconds"), "{error}");
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
    hub.page_size(3);
    let Some(mirror) = or_skip(olah(&hub)) else { return };
    let page = get(&format!("{}/api/models/{ID}/tree/main/?recursive=true", mirror.url()), &[]);
    let place = next(&page).expect("a next page");
    // It passes these links on as they are, so that the second page is no longer the mirror's.
    assert!(place.starts_with(&format!("{}/api/models/", hub.url())), "{place}");
    client.snapshot_download(mirror.url(), ID, "main", &target).expect("it runs").expect_code(0);
    assert_eq!(digests(&target), digests(&source));
    assert!(hub.asked("GET /cdn/") > 0, "{:?}", hub.requests());
}

#[test]
fn a_small_file_comes_at_once_and_a_large_one_from_elsewhere() {
    let hub = hub();
    let commit = hub.revision(Kind::Model, ID, "main").expect("a commit");
    let token = format!("Bearer {}", hub.token());
    let small = get(&resolve(&hub, "config.json"), &[("authorization", &token), ("range", "bytes=1-")]);
    assert_eq!((small.status, small.text().as_str()), (206, "}\n"));
    assert_eq!(small.header("content-range"), Some("bytes 1-2/3"));
    assert_eq!(small.header("etag"), Some("\"0967ef424bce6791893e9a57bb952f80fd536e93\""));
    assert_eq!(small.header("x-repo-commit"), Some(commit.as_str()));

    let large = get(&resolve(&hub, "weights.bin"), &[]);
    assert_eq!((large.status, large.header("x-linked-size")), (302, Some("5000")));
    let row = rows(&hub).into_iter().find(|row| row["path"] == "weights.bin").expect("a row");
    let digest = format!("\"{}\"", row["lfs"]["oid"].as_str().expect("a digest"));
    assert_eq!(large.header("x-linked-etag"), Some(digest.as_str()));
    let lines = head(&resolve(&hub, "weights.bin"));
    assert!(lines[0].starts_with("HTTP/1.1 302 ") && lines.contains(&format!("X-Linked-Etag: {digest}")));
    let place = large.header("location").expect("a place");
    assert!(place.starts_with(hub.cdn_url()) && place.contains("?Expires=") && place.contains("&Signature="));
    assert_eq!(get(place, &[]).body, [7; 5000]);
    assert!(head(place).contains(&"Content-Length: 5000".to_owned()));
    let part = get(place, &[("range", "bytes=4990-9999")]);
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 4990-4999/5000")));
    assert_eq!(part.body, [7; 10]);
    let tag = part.header("etag").expect("a tag");
    assert_eq!(get(place, &[("if-match", tag)]).status, 200);
    assert_eq!(get(place, &[("if-match", "\"another\"")]).status, 412);
    assert_eq!(get(place, &[("range", "bytes=1-2"), ("if-range", tag)]).status, 206);
    assert_eq!(get(place, &[("range", "bytes=1-2"), ("if-range", "\"another\"")]).status, 200);
    let part = get(place, &[("range", "bytes=5000-")]);
    assert_eq!((part.status, part.header("content-range")), (416, Some("bytes */5000")));
    assert_eq!(get(&place.replace("Signature=", "Signature=0"), &[]).status, 403);
    hub.link_life(std::time::Duration::ZERO);
    let late = get(&resolve(&hub, "weights.bin"), &[]);
    assert_eq!(get(late.header("location").expect("a place"), &[]).status, 403);

    hub.redirects_small_files(true);
    let there = get(&resolve(&hub, "config.json"), &[]);
    let place = there.header("location").expect("a place");
    assert!(there.status == 307 && place.starts_with("/api/resolve-cache/models/acme/llama/"), "{place}");
    assert_eq!(get(&format!("{}{place}", hub.url()), &[]).text(), "{}\n");
}

#[test]
fn a_file_on_disk_is_served_from_there() {
    let dir = temporary().expect("temporary folder");
    let paths = models::Weights::single(3_000_000).write(dir.path()).expect("weights");
    let hub = Hub::start();
    hub.create(Kind::Space, "acme/app", Visibility::Public);
    hub.commit_files(Kind::Space, "acme/app", "main", &[("model.safetensors", paths[0].clone())]);
    let url = format!("{}/spaces/acme/app/resolve/main/model.safetensors", hub.url());
    let answer = get(&url, &[]);
    let linked = format!("\"{}\"", sha256_file(&paths[0]).expect("readable"));
    assert_eq!(answer.header("x-linked-etag"), Some(linked.as_str()));
    let place = answer.header("location").expect("a place");
    let (whole, content) = (get(place, &[]), fs::read(&paths[0]).expect("readable"));
    assert!(whole.body == content);
    assert!(get(place, &[("range", "bytes=1000000-1999999")]).body == content[1_000_000..2_000_000]);
}

#[test]
fn many_requests_on_one_connection_are_answered_in_their_order() {
    let hub = hub();
    let stream = TcpStream::connect(hub.url().trim_start_matches("http://")).expect("connected");
    let mut reader = BufReader::new(&stream);
    for (method, path, body) in
        [("GET", "config.json", "{}\n"), ("HEAD", "config.json", ""), ("GET", "README.md", "# a model\n")]
    {
        let request = format!("{method} /{ID}/resolve/main/{path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        (&stream).write_all(request.as_bytes()).expect("sent");
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(reader.read_line(&mut line).expect("a line") > 0);
        }
        let mut content = vec![0; body.len()];
        reader.read_exact(&mut content).expect("a body");
        assert_eq!(content, body.as_bytes());
    }
}

#[test]
fn a_revision_is_a_branch_a_tag_a_commit_or_a_pull_request() {
    let hub = hub();
    let first = hub.revision(Kind::Model, ID, "main").expect("a commit");
    hub.tag(Kind::Model, ID, "v1.0", "main");
    let pull = hub.pull_request(Kind::Model, ID);
    hub.branch(Kind::Model, ID, "wip", "v1.0");
    hub.commit(Kind::Model, ID, "main", &[("config.json", b"{\"main\": 1}")]);
    hub.commit(Kind::Model, ID, &pull, &[("config.json", b"{\"pull\": 1}")]);
    hub.remove(Kind::Model, ID, "wip", &["config.json"]);
    let config = |revision: &str| get(&format!("{}/{ID}/resolve/{revision}/config.json", hub.url()), &[]);
    for (revision, expected) in
        [("main", "{\"main\": 1}"), ("v1.0", "{}\n"), (&first, "{}\n"), ("refs%2Fpr%2F1", "{\"pull\": 1}")]
    {
        assert_eq!(config(revision).text(), expected, "{revision}");
        let url = format!("{}/api/models/{ID}/revision/{revision}", hub.url());
        let commit = config(revision).header("x-repo-commit").expect("a commit").to_owned();
        assert_eq!(json(&get(&url, &[]))["sha"], commit);
    }
    for (revision, code) in [("wip", "EntryNotFound"), ("nowhere", "RevisionNotFound")] {
        let answer = config(revision);
        assert_eq!((answer.status, answer.header("x-error-code")), (404, Some(code)));
    }
    let refs = json(&get(&format!("{}/api/models/{ID}/refs?include_prs=1", hub.url()), &[]));
    assert_eq!((&refs["tags"][0]["name"], &refs["tags"][0]["targetCommit"]), (&"v1.0".into(), &first.into()));
    assert_eq!(
        (&refs["branches"][1]["ref"], &refs["pullRequests"][0]["ref"]),
        (&"refs/heads/wip".into(), &"refs/pr/1".into())
    );
    let folder = format!("{}/api/models/{ID}/tree/main/sub", hub.url());
    let listed: Vec<_> =
        json(&get(&folder, &[])).as_array().expect("rows").iter().map(|row| row["path"].clone()).collect();
    assert_eq!(listed, ["sub/deep", "sub/weights.safetensors"]);
    assert_eq!(get(&format!("{folder}x"), &[]).header("x-error-code"), Some("EntryNotFound"));
    hub.rename(Kind::Model, ID, "acme/lama");
    let moved = config("main");
    assert_eq!((moved.status, moved.header("location")), (307, Some("/acme/lama/resolve/main/config.json")));
}

#[test]
fn a_commit_upon_what_is_no_longer_there_is_refused() {
    let hub = hub();
    let first = hub.revision(Kind::Model, ID, "main").expect("a commit");
    let post = |token: &str, parent: &str| {
        let header = serde_json::json!({"key": "header", "value": {"summary": "x", "parentCommit": parent}});
        let file = serde_json::json!({"key": "file", "value": {"path": "new.txt", "content": "eA=="}});
        let headers = [("authorization".to_owned(), format!("Bearer {token}"))];
        let url = format!("{}/api/models/{ID}/commit/main", hub.url());
        send("POST", &url, &headers, format!("{header}\n{file}\n").as_bytes()).expect("HTTP")
    };
    assert_eq!(post(hub.other_token(), &first).status, 403);
    let done = post(hub.token(), &first);
    assert_eq!(done.status, 200);
    assert_eq!(json(&done)["commitOid"].as_str(), hub.revision(Kind::Model, ID, "main").as_deref());
    assert_eq!(hub.get(Kind::Model, ID, "main", "new.txt").as_deref(), Some(&b"x"[..]));
    assert_eq!(post(hub.token(), &first).status, 412);
}

#[test]
fn what_came_in_is_counted_and_kept() {
    let hub = hub();
    let place = get(&resolve(&hub, "weights.bin"), &[("authorization", "Bearer hf_good")]);
    get(place.header("location").expect("a place"), &[("x-mark", "a mark")]);
    assert_eq!(hub.requests().get("GET /acme/llama/resolve/main/weights.bin"), Some(&1));
    assert_eq!((hub.asked("GET /cdn/"), hub.seen().len(), hub.cdn_seen().len()), (1, 1, 1));
    assert!(hub.received("hf_good") && !hub.cdn_received("hf_good") && hub.cdn_received("a mark"));
    assert_eq!(hub.seen()[0].header("authorization"), Some("Bearer hf_good"));
    hub.forget();
    assert!(hub.requests().is_empty());
}

#[test]
fn the_example_is_there() {
    let example = testkit::hub::serve_example().expect("written");
    assert_eq!(example.hub.paths(Kind::Model, ID, "main").len(), 7);
    let weights = get(&resolve(&example.hub, "model-00001-of-00002.safetensors"), &[]);
    assert_eq!(get(weights.header("location").expect("a place"), &[]).status, 200);
    assert!(example.to_string().starts_with(&format!("export HF_ENDPOINT={}", example.hub.url())));
}
