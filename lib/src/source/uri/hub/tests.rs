use super::*;
use crate::{ModelUri, code::Code};

fn read(text: &str) -> HubUri {
    match text.parse() {
        Ok(ModelUri::Hub(uri)) => uri,
        other => panic!("{text}: {other:?}"),
    }
}

fn uri(kind: RepoKind, id: &str, revision: Option<&str>, path: &str) -> HubUri {
    HubUri { kind, id: id.to_owned(), revision: revision.map(str::to_owned), path: path.to_owned() }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn uris_are_read_as_the_hubs_own_file_system_reads_them() {
    use RepoKind::*;
    for (text, expected) in [
        ("hf://org/name", uri(Model, "org/name", None, "")),
        ("hf://org/name/", uri(Model, "org/name", None, "")),
        ("hf://models/org/name", uri(Model, "org/name", None, "")),
        ("hf://org/name@v1", uri(Model, "org/name", Some("v1"), "")),
        ("hf://org/name@main/", uri(Model, "org/name", Some("main"), "")),
        ("hf://org/name/a", uri(Model, "org/name", None, "a")),
        ("hf://org/name/a/b@c%20d", uri(Model, "org/name", None, "a/b@c%20d")),
        ("hf://org/name@v1/a/b", uri(Model, "org/name", Some("v1"), "a/b")),
        ("hf://org/name@a%2Fb/c", uri(Model, "org/name", Some("a/b"), "c")),
        ("hf://org/name@refs/pr/10", uri(Model, "org/name", Some("refs/pr/10"), "")),
        ("hf://org/name@refs%2Fpr%2F10/a", uri(Model, "org/name", Some("refs/pr/10"), "a")),
        ("hf://org/name@refs/pr/10/a/b", uri(Model, "org/name", Some("refs/pr/10"), "a/b")),
        ("hf://org/name@refs/convert/parquet/a", uri(Model, "org/name", Some("refs/convert/parquet"), "a")),
        ("hf://datasets/org/name@v1/a", uri(Dataset, "org/name", Some("v1"), "a")),
        ("hf://datasets/squad", uri(Dataset, "squad", None, "")),
        ("hf://spaces/org/name", uri(Space, "org/name", None, "")),
        ("hf://gpt2", uri(Model, "gpt2", None, "")),
        ("hf://gpt2@main", uri(Model, "gpt2", Some("main"), "")),
        ("hf://gpt2@main/a", uri(Model, "gpt2", Some("main"), "a")),
        ("hf://gpt2@v1/a/b", uri(Model, "gpt2", Some("v1"), "a/b")),
        ("hf://a/b/c", uri(Model, "a/b", None, "c")),
        ("hf://0rg/n.a-m_e", uri(Model, "0rg/n.a-m_e", None, "")),
    ] {
        let read = read(text);
        assert_eq!(read, expected, "{text}");
        // What is shown is read as the same.
        assert_eq!(self::read(&read.to_string()), read, "{text} is shown as {read}");
    }
    let pinned = read(&format!("hf://org/name@{COMMIT}"));
    assert!(HubUri::is_commit(pinned.revision_or_main()));
    for other in ["main", "", "0123456789abcdef", &COMMIT.to_uppercase(), &COMMIT.replace('0', "g")] {
        assert!(!HubUri::is_commit(other), "{other}");
    }
}

#[test]
fn what_is_no_uri_of_a_repository_is_refused() {
    let long = "x".repeat(97);
    for text in [
        "",
        "/",
        "@main",
        "org/",
        "/name",
        "datasets/",
        "datasets",
        "models/",
        "models/datasets/x",
        "Spaces/x",
        "org//name",
        "org/name//a",
        ".org/name",
        "org/.name",
        "org/name.",
        "org/name-",
        "-org/name",
        "o--g/name",
        "org/n..me",
        "org/n--me",
        "org/name.git",
        "org/name.GIT",
        "org/na me",
        "org/n%61me",
        "org/näme",
        "org/name?x",
        "org/name#x",
        "org/name:8080",
        "u:p@org/name",
        "org/name/..",
        "org/name/../b",
        "org/name/./b",
        "org/name/a//b",
        "org/name/a\nb",
        "org/name/a\0b",
        "org/name@",
        "org/name@/a",
        "org/name@a%2",
        "org/name@a%zz",
        "org/name@%ff",
        "org/name@a%00",
        "org/name@a%0A",
        "org/name@a b",
        "org/name@a..b",
        "org/name@a%2F..%2Fb",
        "org/name@%2Fa",
        "org/name@a%2F",
        "org/name@.a",
        "org/name@a.lock",
        "org/name@refs/heads/main",
        "org/name@refs/pr/x",
        "org/name@-a",
        "org/name@a~1",
        "org/name@a^",
        "org/name@a@{1}",
        "org/name@v1/../a",
        &long,
        &format!("org/{long}"),
        &format!("{long}/name"),
        &format!("org/name@{}", "x".repeat(256)),
        &format!("org/name/{}", "x".repeat(4097)),
    ] {
        let error = format!("hf://{text}").parse::<ModelUri>().unwrap_err();
        assert_eq!(error.code(), Code::UriInvalid, "{text}");
        assert!(error.help().contains("hf://"), "{text}");
    }
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn text(&mut self, from: &[&str], longest: usize) -> String {
        (0..self.below(longest + 1)).map(|_| from[self.below(from.len())]).collect()
    }
}

#[test]
fn every_uri_that_is_read_is_shown_so_that_it_is_read_as_the_same() {
    let mut numbers = Numbers(7);
    let pieces = [
        "a",
        "B",
        "7",
        "_",
        "-",
        ".",
        "/",
        "/",
        "@",
        "%",
        "%2F",
        "%25",
        "%20",
        "refs",
        "/pr/",
        "main",
        "é",
        "\u{202e}",
        "?",
        "#",
        "datasets/",
        "spaces/",
        "models/",
        " ",
        ":",
        "\n",
        "\\",
        "git",
        "org/name",
    ];
    let mut good = 0;
    for _ in 0..60_000 {
        let text = format!("hf://{}", numbers.text(&pieces, 9));
        let Ok(ModelUri::Hub(uri)) = text.parse() else { continue };
        good += 1;
        assert!(check_id(&uri.id).is_ok() && check_path(&uri.path).is_ok(), "{text}: {uri:?}");
        assert_eq!(read(&uri.to_string()), uri, "{text} is shown as {uri}");
        assert_eq!(uri.to_string(), read(&uri.to_string()).to_string());
        let file = uri.join("a b/c");
        let again = read(&file.to_string());
        assert_eq!(again.revision_or_main(), file.revision_or_main(), "{file}");
        assert_eq!((again.kind, &again.id, &again.path), (file.kind, &file.id, &file.path), "{file}");
        assert_eq!(uri.name_of(&again).as_deref(), Some("a b/c"));
    }
    assert!(good > 1000, "{good}");
}

#[test]
fn parts_of_urls_are_escaped() {
    assert_eq!(encoded("a/b c%é?#&.."), "a%2Fb%20c%25%C3%A9%3F%23%26..");
    assert_eq!(decoded(&encoded("a/b c%é?#&..")).unwrap(), "a/b c%é?#&..");
}
