//! Each way to go wrong is seen by a client without any wits, and what it is not about stays right.

use serde_json::Value;
use testkit::hub::{Hub, HubFault, Kind, Told};

use super::{ID, files, get, hub, info, json, names, next, resolve, rows};

/// What a plain client sees of a fault, and of nothing else: without it, listing and files are those of [`files`].
fn wrong(fault: HubFault) -> Hub {
    let hub = hub();
    let commit = hub.revision(Kind::Model, ID, "main").expect("a commit");
    let expected: Vec<&str> = files().iter().map(|(path, _)| *path).collect();
    assert_eq!(names(&rows(&hub)), expected);
    let told = info(&hub);
    assert_eq!(
        (told["sha"].as_str(), told["siblings"].as_array().map(Vec::len)),
        (Some(commit.as_str()), Some(5))
    );
    hub.misbehave(fault);
    hub
}

/// The row of the first file of LFS, which faults of one file are about.
const VICTIM: &str = "sub/weights.safetensors";

fn victim(hub: &Hub) -> Value {
    rows(hub).into_iter().find(|row| row["path"] == VICTIM).expect("a row")
}

fn sibling(hub: &Hub) -> Value {
    let siblings = info(hub)["siblings"].clone();
    siblings
        .as_array()
        .expect("files")
        .iter()
        .find(|file| file["rfilename"] == VICTIM)
        .expect("a file")
        .clone()
}

#[test]
fn a_listing_can_be_cut_in_each_way() {
    let first = |hub: &Hub| get(&format!("{}/api/models/{ID}/tree/main?recursive=true", hub.url()), &[]);

    let hub = wrong(HubFault::ListingCut);
    assert_eq!((names(&rows(&hub)).len(), next(&first(&hub))), (2, None));
    let hub = wrong(HubFault::ListingCutByEmptyPage);
    assert_eq!(names(&rows(&hub)).len(), 2);
    let empty = get(&next(&first(&hub)).expect("a next page"), &[]);
    assert_eq!((empty.text().as_str(), next(&empty)), ("[]", None));

    let hub = wrong(HubFault::RelativeNext);
    let place = next(&first(&hub)).expect("a next page");
    assert!(place.starts_with("/api/models/"), "{place}");
    assert_eq!(json(&get(&format!("{}{place}", hub.url()), &[])).as_array().map(Vec::len), Some(3));
    let hub = wrong(HubFault::NextToOtherHost);
    assert!(next(&first(&hub)).expect("a next page").starts_with(hub.cdn_url()));
    assert_eq!(names(&rows(&hub)).len(), 5);
    assert_eq!(hub.cdn_seen().len(), 2);

    let hub = wrong(HubFault::NextLoops);
    let page = first(&hub);
    let again = get(&next(&page).expect("a next page"), &[]);
    assert_eq!((&page.body, next(&again).is_some()), (&again.body, true));
    let hub = wrong(HubFault::ListingEndless);
    hub.page_size(4);
    let mut place = next(&first(&hub)).expect("a next page");
    for _ in 0..5 {
        let page = get(&place, &[]);
        assert_eq!(json(&page).as_array().map(Vec::len), Some(4));
        place = next(&page).expect("a next page");
    }
}

#[test]
fn a_row_of_a_listing_can_be_wrong_in_each_way() {
    let right = victim(&hub());
    let size = right["size"].as_u64().expect("a size");

    let hub = wrong(HubFault::RowMissing);
    assert_eq!(names(&rows(&hub)).len(), 4);
    assert_eq!(sibling(&hub)["lfs"]["sha256"], right["lfs"]["oid"]);
    let row = victim(&wrong(HubFault::RowWithoutDigest));
    assert!(row["lfs"]["oid"].is_null() && row["lfs"]["size"] == size && row["oid"] == right["oid"], "{row}");
    let row = victim(&wrong(HubFault::RowWithoutLfs));
    assert!(row.get("lfs").is_none() && row["oid"] == right["oid"], "{row}");
    assert_eq!(
        names(&rows(&wrong(HubFault::DuplicateRow))).iter().filter(|name| **name == VICTIM).count(),
        2
    );
    assert!(rows(&wrong(HubFault::UnknownRow)).iter().any(|row| row["type"] == "submodule"));

    for (fault, expected) in [
        (HubFault::SizeLiesInTree, Value::from(size + 1)),
        (HubFault::SizeNegative, Value::from(-1)),
        (HubFault::SizeHuge, Value::from(u64::MAX)),
    ] {
        let hub = wrong(fault);
        let row = victim(&hub);
        assert_eq!((&row["size"], &row["lfs"]["size"]), (&expected, &expected));
        assert_eq!((sibling(&hub)["size"].as_u64(), &row["lfs"]["oid"]), (Some(size), &right["lfs"]["oid"]));
    }
    for fault in [HubFault::DigestLiesInTree, HubFault::DigestMalformed] {
        let hub = wrong(fault.clone());
        let digest = victim(&hub)["lfs"]["oid"].as_str().expect("a digest").to_owned();
        assert!(digest.len() == 64 && right["lfs"]["oid"] != digest.as_str(), "{digest}");
        assert_eq!(digest.starts_with('g'), fault == HubFault::DigestMalformed);
        assert_eq!(sibling(&hub)["lfs"]["sha256"], right["lfs"]["oid"]);
    }

    let hub = wrong(HubFault::SizeLies);
    assert_eq!((&victim(&hub)["size"], &sibling(&hub)["size"]), (&(size + 1).into(), &(size + 1).into()));
    let linked = (size + 1).to_string();
    assert_eq!(get(&resolve(&hub, VICTIM), &[]).header("x-linked-size"), Some(linked.as_str()));
    let hub = wrong(HubFault::DigestLies);
    let digest = victim(&hub)["lfs"]["oid"].as_str().expect("a digest").to_owned();
    assert!(right["lfs"]["oid"] != digest.as_str() && sibling(&hub)["lfs"]["sha256"] == digest.as_str());
    let linked = format!("\"{digest}\"");
    assert_eq!(get(&resolve(&hub, VICTIM), &[]).header("x-linked-etag"), Some(linked.as_str()));
    hub.behave();
    hub.misbehave(HubFault::DigestLies);
    hub.victim("config.json");
    let tag = get(&resolve(&hub, "config.json"), &[]).header("etag").expect("a tag").to_owned();
    assert_ne!(tag, "\"0967ef424bce6791893e9a57bb952f80fd536e93\"");
    assert_eq!(victim(&hub), right);
}

#[test]
fn a_name_can_be_wrong_in_each_way() {
    for (fault, expected) in [
        (HubFault::NameWithDots, "/../../"),
        (HubFault::AbsoluteName, "/etc/"),
        (HubFault::ControlName, "\n\u{1b}["),
        (HubFault::LongName, "aaaaaaaa"),
    ] {
        let hub = wrong(fault);
        let rows = rows(&hub);
        assert_eq!(names(&rows).len(), 6);
        assert!(names(&rows)[5].contains(expected));
        assert_eq!(info(&hub)["siblings"][5]["rfilename"], names(&rows)[5]);
    }
    let hub = wrong(HubFault::BadEscapes);
    for path in ["tree/main?recursive=true", "revision/main?blobs=true"] {
        let text = get(&format!("{}/api/models/{ID}/{path}", hub.url()), &[]).text();
        assert!(text.contains(r#""half\ud83d.bin""#), "{text}");
    }
}

#[test]
fn a_listing_can_be_none() {
    let page = |hub: &Hub| get(&format!("{}/api/models/{ID}/tree/main?recursive=true", hub.url()), &[]);
    assert_eq!(page(&wrong(HubFault::DeepJson)).text(), "[".repeat(100_000));
    let answer = page(&wrong(HubFault::NotJson));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html")));
    let answer = page(&wrong(HubFault::HugePage { bytes: 1_000_000 }));
    assert!(answer.body.len() > 1_000_000 && json(&answer).is_array());
}

#[test]
fn a_commit_can_be_wrong_in_each_way() {
    let hub = wrong(HubFault::CommitLies);
    let commit = hub.revision(Kind::Model, ID, "main").expect("a commit");
    assert_eq!(info(&hub)["sha"], commit.as_str());
    for url in [
        resolve(&hub, "config.json"),
        resolve(&hub, VICTIM),
        format!("{}/api/models/{ID}/tree/main", hub.url()),
    ] {
        let answer = get(&url, &[]);
        let lie = answer.header("x-repo-commit").expect("a commit");
        assert!(lie.len() == 40 && lie != commit, "{lie}");
    }
    let hub = wrong(HubFault::CommitMalformed);
    assert_eq!(info(&hub)["sha"], "../../main");

    let hub = wrong(HubFault::BranchMoves);
    assert_eq!(info(&hub)["sha"], commit.as_str());
    let moved = hub.revision(Kind::Model, ID, "main").expect("a commit");
    assert_ne!(moved, commit);
    assert_eq!([info(&hub)["sha"].as_str(), info(&hub)["sha"].as_str()], [Some(moved.as_str()); 2]);
    let old = format!("{}/{ID}/resolve/{commit}/{VICTIM}", hub.url());
    assert_ne!(
        get(&old, &[]).header("x-linked-etag"),
        get(&resolve(&hub, VICTIM), &[]).header("x-linked-etag")
    );
}

#[test]
fn a_large_file_can_go_wrong_in_each_way() {
    let right = get(&resolve(&hub(), "weights.bin"), &[]);
    let place =
        |hub: &Hub| get(&resolve(hub, "weights.bin"), &[]).header("location").expect("a place").to_owned();

    let answer = get(&resolve(&wrong(HubFault::LinkedDigestLies), "weights.bin"), &[]);
    assert_ne!(answer.header("x-linked-etag"), right.header("x-linked-etag"));
    let answer = get(&resolve(&wrong(HubFault::LinkedSizeLies), "weights.bin"), &[]);
    assert_eq!(answer.header("x-linked-size"), Some("5001"));
    let hub = wrong(HubFault::BytesLie);
    let part = get(&place(&hub), &[("range", "bytes=2499-2501")]);
    assert_eq!((part.status, part.body.as_slice()), (206, &[7, 6, 7][..]));

    let hub = wrong(HubFault::LinksExpire { after: 2 });
    let once = place(&hub);
    assert_eq!([(); 3].map(|()| get(&once, &[]).status), [200, 200, 403]);
    assert_eq!(get(&place(&hub), &[]).status, 200);
    let other = Hub::start();
    assert!(place(&wrong(HubFault::RedirectTo(other.url().to_owned()))).starts_with(other.url()));
    let hub = wrong(HubFault::RedirectLoops);
    assert_eq!(place(&hub), resolve(&hub, "weights.bin"));

    let hub = wrong(HubFault::FileGone);
    let answer = get(&resolve(&hub, VICTIM), &[]);
    assert_eq!((answer.status, answer.header("x-error-code")), (404, Some("EntryNotFound")));
    assert_eq!(
        (get(&resolve(&hub, "weights.bin"), &[]).status, victim(&hub)["path"].as_str()),
        (302, Some(VICTIM))
    );
    hub.cdn_through("http://127.0.0.1:1/");
    assert!(place(&hub).starts_with("http://127.0.0.1:1/cdn/"));
}

#[test]
fn a_refusal_can_repeat_the_token_or_come_with_a_time() {
    let hub = wrong(HubFault::TokenEcho);
    let answer = get(&resolve(&hub, "config.json"), &[("authorization", "Bearer hf_good")]);
    assert!(answer.status == 403 && answer.text().contains("hf_good"), "{}", answer.text());
    assert!(answer.header("x-error-message").is_some_and(|message| message.contains("hf_good")));

    for (told, after, limit) in [
        (Told::RetryAfter, Some("3"), None),
        (Told::RateLimit, None, Some("\"api\";r=0;t=3")),
        (Told::Nothing, None, None),
    ] {
        let hub = wrong(HubFault::RateLimited { times: 2, seconds: 3, told });
        for _ in 0..2 {
            let answer = get(&resolve(&hub, "config.json"), &[]);
            assert_eq!(
                (answer.status, answer.header("retry-after"), answer.header("ratelimit")),
                (429, after, limit)
            );
        }
        assert_eq!(get(&resolve(&hub, "config.json"), &[]).status, 200);
    }
}
