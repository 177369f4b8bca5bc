use super::*;

fn settled(options: &HubOptions, variables: &[(&str, &str)]) -> Result<Settled, Error> {
    let found = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    options.settle_in(&found)
}

/// The token that is sent, if any, and what is told of it.
fn token(options: &HubOptions, variables: &[(&str, &str)]) -> (Option<String>, String) {
    let settled = settled(options, variables).unwrap();
    let notes = settled.notes.join("; ");
    for (name, value) in variables.iter().filter(|(name, _)| name.contains("TOKEN") && !name.contains("PATH"))
    {
        assert!(value.len() < 4 || !notes.contains(value), "{name} is in {notes}");
    }
    (settled.token.map(|token| token.to_string()), notes)
}

fn sent(options: &HubOptions, variables: &[(&str, &str)]) -> Option<String> {
    token(options, variables).0
}

fn given() -> HubOptions {
    HubOptions::new().token(Zeroizing::new("hf_given".to_owned()))
}

#[test]
fn a_token_is_looked_for_where_the_hubs_own_client_does() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    let file = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    file(".cache/huggingface/token", "hf_home\n");
    let (xdg, own) = (file("xdg/huggingface/token", "hf_xdg"), file("own/token", "hf_own"));
    let other = file("other", "\n hf_other \r\n");
    let (xdg, own) = (xdg.replace("/huggingface/token", ""), own.replace("/token", ""));
    let none = HubOptions::new();

    let mut variables = vec![("HOME", home)];
    let mut expect = |variable: Option<(&'static str, &str)>, wanted: &str| {
        let owned = variable.map(|(name, value)| (name, value.to_owned()));
        if let Some((name, value)) = owned {
            variables.push((name, Box::leak(value.into_boxed_str())));
        }
        let (token, notes) = token(&none, &variables);
        assert_eq!(token.as_deref(), Some(wanted));
        let from = variable.map_or("token", |(name, value)| {
            if wanted == "hf_env" || name.ends_with("HUB_TOKEN") { name } else { value }
        });
        assert!(notes.contains(from), "{notes}");
    };
    // Each goes before those above it.
    expect(None, "hf_home");
    expect(Some(("XDG_CACHE_HOME", &xdg)), "hf_xdg");
    expect(Some(("HF_HOME", &own)), "hf_own");
    expect(Some(("HF_TOKEN_PATH", &other)), "hf_other");
    expect(Some(("HUGGING_FACE_HUB_TOKEN", "hf_hub")), "hf_hub");
    expect(Some(("HF_TOKEN", " hf_env\n")), "hf_env");
    assert_eq!(sent(&given(), &variables).as_deref(), Some("hf_given"));
    assert_eq!(sent(&given().no_token(), &variables), None);
    for on in ["1", "true", "YES", "on"] {
        variables.push(("HF_HUB_DISABLE_IMPLICIT_TOKEN", on));
        assert_eq!(sent(&none, &variables), None, "{on}");
        assert_eq!(sent(&given(), &variables).as_deref(), Some("hf_given"));
        variables.pop();
    }
    assert_eq!(
        sent(&none, &[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0"), ("HF_TOKEN", "hf_a")]).as_deref(),
        Some("hf_a")
    );
    assert_eq!(sent(&none, &[]), None);
    assert_eq!(sent(&none, &[("HF_TOKEN", ""), ("HOME", "/nonexistent")]), None);
    // What cannot be read is told and does without.
    let (token, notes) = token(&none, &[("HF_TOKEN_PATH", home)]);
    assert!(token.is_none() && notes.contains("not a regular file"), "{notes}");
}

#[test]
fn a_token_goes_over_tls_to_hosts_that_were_named_and_nowhere_else() {
    let at = |url: &'static str| [("HF_ENDPOINT", url)];
    let http = || given().allow_http(true);
    for (options, variables, may) in [
        (given(), &[][..], true),
        (given().endpoint("https://huggingface.co/"), &[], true),
        (given().endpoint("https://mirror.example"), &[], true),
        (given(), &at("https://huggingface.co"), true),
        (given(), &at("https://mirror.example"), false),
        (given(), &at("https://huggingface.co:8443"), false),
        (given(), &at("https://huggingface.co.evil.example"), false),
        (given(), &at("https://evilhuggingface.co"), false),
        (given().token_host("mirror.example"), &at("https://mirror.example"), true),
        (given().token_host("Mirror.Example"), &at("https://mirror.example:8443"), true),
        (given().token_host("mirror.example:8443"), &at("https://mirror.example:8443"), true),
        (given().token_host("mirror.example:443"), &at("https://mirror.example"), true),
        (given().token_host("mirror.example:8443"), &at("https://mirror.example"), false),
        (given().token_host("mirror.example"), &at("https://a.mirror.example"), false),
        (given().token_host("example"), &at("https://mirror.example"), false),
        (given().token_host(""), &at("https://mirror.example"), false),
        (http(), &at("http://127.0.0.1:5000"), true),
        (http(), &at("http://localhost:5000"), true),
        (http(), &at("http://[::1]:5000"), true),
        (http(), &at("http://127.0.0.1.evil.example"), false),
        (http(), &at("http://huggingface.co"), false),
        (http().endpoint("http://mirror.example"), &[], false),
        (http().token_host("mirror.example"), &at("http://mirror.example"), false),
        (http(), &at("https://mirror.example"), false),
    ] {
        let (token, notes) = token(&options, variables);
        assert_eq!(token.is_some(), may, "{options:?} {variables:?}");
        assert_eq!(notes.contains("not named"), !may, "{notes}");
        assert!(!notes.contains("hf_given"), "{notes}");
    }
}

#[test]
fn addresses_that_cannot_be_used_are_refused() {
    let code =
        |options: HubOptions, variables: &[(&str, &str)]| settled(&options, variables).err().unwrap().code();
    for bad in [
        "huggingface.co",
        "ftp://h",
        "https://u:p@h",
        "https://u@h",
        "https://h?x",
        "https://h#x",
        "https://",
        "x y",
    ] {
        assert_eq!(code(given().endpoint(bad), &[]), Code::BadArgument, "{bad}");
        assert_eq!(code(given(), &[("HF_ENDPOINT", bad)]), Code::BadArgument, "{bad}");
    }
    for url in ["http://127.0.0.1:1", "http://huggingface.co"] {
        assert_eq!(code(given().endpoint(url), &[]), Code::TransportInsecure);
        assert_eq!(code(given(), &[("HF_ENDPOINT", url)]), Code::TransportInsecure);
    }
    let error = settled(&given().endpoint("https://me:secret@h"), &[]).err().unwrap();
    assert!(!error.to_string().contains("secret"), "{error}");
    for bad in ["hf a", "hf\na", "hf_ä"] {
        let options = HubOptions::new().token(Zeroizing::new(bad.to_owned()));
        let error = settled(&options, &[]).err().unwrap();
        assert!(error.code() == Code::BadArgument && !error.to_string().contains(bad), "{error}");
    }
}

#[test]
fn the_cache_is_where_the_hubs_own_client_has_it() {
    let cache = |options: &HubOptions, variables: &[(&str, &str)]| {
        settled(options, variables).unwrap().cache.map(|path| path.to_str().unwrap().to_owned())
    };
    let none = HubOptions::new();
    let mut variables = Vec::new();
    for (name, value, folder) in [
        ("HOME", "/me", "/me/.cache/huggingface/hub"),
        ("XDG_CACHE_HOME", "/xdg", "/xdg/huggingface/hub"),
        ("HF_HOME", "~/hf", "/me/hf/hub"),
        ("HUGGINGFACE_HUB_CACHE", "/old", "/old"),
        ("HF_HUB_CACHE", "~/hub", "/me/hub"),
    ] {
        variables.push((name, value));
        assert_eq!(cache(&none, &variables).as_deref(), Some(folder));
    }
    assert_eq!(cache(&HubOptions::new().cache("/said"), &variables).as_deref(), Some("/said"));
    assert_eq!(cache(&HubOptions::new().cache("/said").no_cache(), &variables), None);
    assert!(settled(&none, &[("HF_HUB_OFFLINE", "1")]).unwrap().offline);
    assert!(!settled(&none, &[("HF_HUB_OFFLINE", "0")]).unwrap().offline);
}

#[test]
fn no_token_is_in_what_is_shown_of_options() {
    let shown = format!("{:?}", given().endpoint("https://u:secret@host/?secret"));
    assert!(!shown.contains("hf_given") && !shown.contains("secret"), "{shown}");
}
