use super::*;
use crate::HubOptions;

fn client() -> Client {
    let options = HubOptions::new().endpoint("https://hub.example/hf").no_token().no_cache();
    let uri = HubUri { kind: Default::default(), id: "a/b".to_owned(), revision: None, path: String::new() };
    Client::new(&options, options.settle(&Run::new()).unwrap(), &uri).unwrap()
}

#[test]
fn the_next_page_is_a_whole_address_on_the_same_server() {
    let client = client();
    let good = "https://hub.example/hf/api/models/a/b/tree/c?cursor=a%2Cb";
    for links in [
        vec![format!("<{good}>; rel=\"next\"")],
        vec![format!("<{good}>;rel=next")],
        vec![format!("<https://hub.example/x>; rel=\"prev\", <{good}>; title=\"x\"; rel=\"last next\"")],
        vec!["<https://other.example/>; rel=\"first\"".to_owned(), format!("<{good}>; REL=\"Next\"")],
    ] {
        let links: Vec<&str> = links.iter().map(String::as_str).collect();
        assert_eq!(next(&links, &client).unwrap().as_deref(), Some(good), "{links:?}");
    }
    assert_eq!(next(&[], &client).unwrap(), None);
    assert_eq!(next(&["<https://other.example/>; rel=\"xet-auth\""], &client).unwrap(), None);
    for bad in [
        "</api/models/a/b/tree/c?cursor=1>; rel=\"next\"",
        "<?cursor=1>; rel=\"next\"",
        "<//hub.example/x>; rel=\"next\"",
        "<http://hub.example/x>; rel=\"next\"",
        "<https://hub.example:8443/x>; rel=\"next\"",
        "<https://other.example/x>; rel=\"next\"",
        "<https://hub.example.evil.example/x>; rel=\"next\"",
        "<https://me@hub.example/x>; rel=\"next\"",
        "<ftp://hub.example/x>; rel=\"next\"",
        "<https://hub.example/x; rel=\"next\"",
        "https://hub.example/x; rel=\"next\"",
        "<https://hub.example/x>; rel=\"next\", <https://hub.example/y>; rel=\"next\"",
    ] {
        assert!(next(&[bad], &client).is_err(), "{bad}");
    }
}

#[test]
fn halves_of_characters_are_read_and_marked() {
    let name = |json: &str| serde_json::from_str::<Name>(json).map(|name| (name.text, name.is_lossy)).ok();
    assert_eq!(name(r#""a\u00e9""#), Some(("aé".to_owned(), false)));
    assert_eq!(name(r#""\ud83d\ude00""#), Some(("\u{1f600}".to_owned(), false)));
    assert!(name(r#""a\ud83d""#).is_some_and(|(text, is_lossy)| is_lossy && text.starts_with('a')));
    for bad in ["\"\"", "1", "null", "[97]"] {
        assert_eq!(name(bad), None, "{bad}");
    }
}

#[test]
fn a_file_has_nothing_below_it() {
    let row = |path: &str, is_folder| Row {
        path: path.into(),
        size: 0,
        oid: "".into(),
        sha256: None,
        is_folder,
        is_bad: is_bad(path),
    };
    let call = client().call("https://hub.example/x");
    let sorted = |paths: &[&str]| {
        let mut rows: Vec<Row> =
            paths.iter().map(|path| row(path.trim_end_matches('/'), path.ends_with('/'))).collect();
        sort(&mut rows, &call).is_ok()
    };
    assert!(sorted(&["a/", "a/b", "a.c", "a-d/e", "b/c/d"]));
    assert!(!sorted(&["a", "a.c", "a/b"]));
    assert!(!sorted(&["a/b/c/d", "a.c", "a"]));
    assert!(!sorted(&["a", "a"]) && !sorted(&["a", "a/"]));
}
