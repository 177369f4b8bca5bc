use super::*;

fn read(args: &[&str]) -> Result<Config, Refused> {
    let args: Vec<OsString> = ["weightseal-init", "--model", "/m", "--public-key", "/k"]
        .iter()
        .chain(args)
        .map(OsString::from)
        .collect();
    Config::read(Task::Check, &args, &[])
}

fn misuse(args: &[&str]) -> (Code, String) {
    match read(args) {
        Err(Refused::Misuse(error)) => (error.code(), error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults_are_the_strict_ones() {
    let config = read(&[]).unwrap();
    assert_eq!((config.mode, config.deadline), (Mode::Enforce, Some(Duration::from_secs(1800))));
    assert!(!config.ignore_unsigned_files && !config.allow_symlinks && !config.include_git_paths);
    assert_eq!(config.termination, Termination::Default);
    assert_eq!(read(&["--termination-log", "none"]).unwrap().termination, Termination::Off);
}

#[test]
fn durations_and_sizes_are_read_or_refused() {
    let deadline = |text| read(&["--deadline", text]).map(|config| config.deadline).ok();
    assert_eq!(deadline("90s"), Some(Some(Duration::from_secs(90))));
    assert_eq!(deadline("1h30m"), Some(Some(Duration::from_secs(5400))));
    assert_eq!(deadline("1ns"), Some(Some(Duration::from_nanos(1))));
    assert_eq!(deadline("none"), Some(None));
    for wrong in ["0s", "30", "-1s", "soon", "1m ago", "99999999999999999999h"] {
        assert_eq!(deadline(wrong), None, "{wrong}");
    }
    assert_eq!(
        [size("1048576"), size("64Mi"), size("64MiB"), size("2GB")],
        [Some(1 << 20), Some(64 << 20), Some(64 << 20), Some(2_000_000_000)]
    );
    for wrong in ["", "Mi", "1Ki", "64 Mi", "1.5Gi", "-1Mi", "99999999999Gi", "1Ti"] {
        assert_eq!(size(wrong), None, "{wrong}");
    }
}

#[test]
fn what_contradicts_itself_is_misuse() {
    assert_eq!(
        misuse(&["--model", "/n", "--name", "x"]),
        (Code::ArgumentsConflict, "--name says something of one model, and there may be others".into())
    );
    assert_eq!(misuse(&["--certificate-identity", "x"]).0, Code::ArgumentsConflict);
    for args in [
        &["--name", "x", "--models-under", "/d"][..],
        &["--mode", "warn", "/src", "/dest"],
        &["--policy-sha256", &"0".repeat(64)],
    ] {
        assert_eq!(misuse(args).0, Code::ArgumentsConflict, "{args:?}");
    }
    // What was checked in a store is not what is loaded, unless it is pulled; the Hub's cache is on disk.
    assert_eq!(misuse(&["--model", "s3://b/m"]).0, Code::BadArgument);
    for args in [
        &["--model", "s3://b/m", "--mode=warn"][..],
        &["--model", "hf://o/m@v1"],
        &["s3://b/m", "/d"],
        &["/s", "/d"],
    ] {
        assert!(read(args).is_ok(), "{args:?}");
    }
    for args in [&["/s"][..], &["/s", "/d", "/s"], &["/s", ""], &["/s", "s3://b/m"], &["watch", "/d", "/s"]] {
        assert_eq!(misuse(args).0, Code::BadArgument, "{args:?}");
    }
    for args in [&["s3://b/m?X-Amz-Signature=x", "/d"][..], &["ftp://b/m", "/d"], &["hf://m@v1/..", "/d"]] {
        assert_eq!(misuse(args).0, Code::UriInvalid, "{args:?}");
    }
    let digest = "0".repeat(63);
    for args in [
        ["--require", "0"],
        ["--threads", "257"],
        ["--mode", "off"],
        ["--expect-digest", &digest],
        ["--revoked-digest", "blake2b:00"],
        ["--revoked-key", &digest],
        ["--revoked-certificate", "serial"],
    ] {
        let (code, what) = misuse(&args);
        assert!(code == Code::BadArgument && what.starts_with(args[0]), "{what}");
    }
    let variables =
        [("WEIGHTSEAL_MODEL".into(), "/m".into()), ("WEIGHTSEAL_PUBLIC_KEY_PEM".into(), "x".into())];
    assert!(Config::read(Task::Check, &["x".into()], &variables).is_ok());
    assert!(
        matches!(Config::read(Task::Check, &["x".into(), "--public-key=/k".into()], &variables), Err(Refused::Misuse(error)) if error.code() == Code::ArgumentsConflict)
    );
    assert!(
        matches!(Config::read(Task::Check, &["x".into()], &variables[..1]), Err(Refused::Misuse(error)) if error.code() == Code::TrustMissing)
    );
}
