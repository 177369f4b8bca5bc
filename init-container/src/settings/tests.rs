use super::*;

fn read(args: &[&str], variables: &[(&str, &str)]) -> Result<Given, Refused> {
    let args: Vec<OsString> = std::iter::once(&"weightseal-init").chain(args).map(OsString::from).collect();
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    Given::read(Task::Check, &args, &variables)
}

fn misuse(args: &[&str], variables: &[(&str, &str)]) -> String {
    match read(args, variables) {
        Err(Refused::Misuse(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn flags_win_over_variables_and_lists_are_taken_apart() {
    let given = read(
        &["--model", "/a", "--model=/b", "--allow-symlinks", "--name", "flag"],
        &[
            ("WEIGHTSEAL_MODEL", "/c"),
            ("WEIGHTSEAL_NAME", "variable"),
            ("WEIGHTSEAL_VERSION", "1.2\n"),
            ("WEIGHTSEAL_PUBLIC_KEY", "/k1:/k2"),
            ("WEIGHTSEAL_SIGNATURE", "/s:1\n/s 2\n"),
            ("WEIGHTSEAL_IGNORE_UNSIGNED_FILES", "false"),
            ("OTHER", ""),
            ("WEIGHTSEAL", "not one of these"),
        ],
    )
    .unwrap();
    assert_eq!(given.paths("model"), [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!((given.by("model"), given.by("version")), (Some("--model"), Some("WEIGHTSEAL_VERSION")));
    assert_eq!(
        (given.text("name").unwrap(), given.text("version").unwrap()),
        (Some("flag".into()), Some("1.2".into()))
    );
    assert_eq!(given.paths("public-key"), [PathBuf::from("/k1"), PathBuf::from("/k2")]);
    assert_eq!(given.paths("signature"), [PathBuf::from("/s:1"), PathBuf::from("/s 2")]);
    assert!(given.switch("allow-symlinks").unwrap() && !given.switch("ignore-unsigned-files").unwrap());
    assert!(!given.switch("no-ignore-git-paths").unwrap() && !given.has("mode"));
}

#[test]
fn what_cannot_be_right_is_misuse_and_names_itself() {
    for (args, variables, part) in [
        (&["--modle", "/a"][..], &[][..], "--modle"),
        (&["--modle=secret"], &[], "--modle: "),
        (&["--name"], &[], "--name"),
        (&["--name", "a", "--name", "b"], &[], "--name"),
        (&["--model", ""], &[], "--model has an empty value"),
        (&["--allow-symlinks=secret"], &[], "--allow-symlinks"),
        (&["--public-key-pem", "x"], &[], "--public-key-pem"),
        (&[], &[("WEIGHTSEAL_MODLE", "/a")], "the variable WEIGHTSEAL_MODLE is unknown"),
        (&[], &[("WEIGHTSEAL_A\u{202e}\n", "/a")], "WEIGHTSEAL_A\\u{202e}\\n"),
        (&[], &[("WEIGHTSEAL_", "/a")], "WEIGHTSEAL_ is unknown"),
        (&[], &[("WEIGHTSEAL_MODEL", "")], "WEIGHTSEAL_MODEL has an empty value"),
        (&[], &[("WEIGHTSEAL_MODEL", "/a\n\n/b")], "WEIGHTSEAL_MODEL has an empty value"),
        (&[], &[("WEIGHTSEAL_PUBLIC_KEY", "/a:")], "WEIGHTSEAL_PUBLIC_KEY has an empty value"),
    ] {
        let what = misuse(args, variables);
        assert!(
            what.contains(part) && !what.contains(['\n', '\u{202e}']) && !what.contains("secret"),
            "{what:?} lacks {part:?}"
        );
    }
    let given = read(&[], &[("WEIGHTSEAL_ALLOW_SYMLINKS", "yes")]).unwrap();
    assert_eq!(
        given.switch("allow-symlinks").unwrap_err().to_string(),
        "WEIGHTSEAL_ALLOW_SYMLINKS is not true or false"
    );
}

#[test]
fn the_termination_log_is_found_beside_wrong_settings() {
    let look = |args: &[&str], variable: Option<&str>| {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let variables: Vec<_> =
            variable.map(|value| ("WEIGHTSEAL_TERMINATION_LOG".into(), value.into())).into_iter().collect();
        look_for("termination-log", &args, &variables)
    };
    assert_eq!(look(&["x", "--nonsense", "--termination-log", "/t"], Some("/v")), Some("/t".into()));
    assert_eq!(look(&["x", "--termination-log=/t"], None), Some("/t".into()));
    assert_eq!(look(&["x", "--termination-log"], Some("/v\n")), Some("/v".into()));
    assert_eq!(look(&["x"], None), None);
}

#[test]
fn the_page_of_the_init_container_names_every_flag_and_variable() {
    let page = include_str!("../../../docs/init-container.md");
    for setting in Task::Watch.settings() {
        let by_flag = setting.takes == Takes::Text || page.contains(&format!("`--{}", setting.flag));
        assert!(
            by_flag && page.contains(&format!("`{}`", setting.variable())),
            "{} is missing",
            setting.flag
        );
    }
}
