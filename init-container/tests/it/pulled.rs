//! Pairs of a source and a folder: what comes into the folder is verified, or it does not come.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use testkit::{
    capture,
    hub::{Hub, Kind, Visibility},
    or_skip, s3,
    s3::{Bucket, Store},
    skip_or_fail,
};

use crate::{Volume, codes, key, line::Line, outcome, program};

/// The files of a folder, by their names.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}/"), files);
            } else {
                files.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    let mut files_found = Vec::new();
    walk(folder, "", &mut files_found);
    files_found.sort();
    files_found
}

/// Pairs with the key and the termination log of a volume, and nothing in the environment that leads elsewhere.
fn pulling(volume: &Volume, pairs: &[(&str, &Path)]) -> Command {
    let mut command = program();
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("AWS_") || name.starts_with("HF_") || name.ends_with("_PROXY") {
            command.env_remove(&*name);
        }
    }
    for (source, folder) in pairs {
        command.arg(source).arg(folder);
    }
    command.args(["--deadline", "1m"]);
    volume.rest(command)
}

/// Whether a folder holds nothing that a model server could load.
fn is_empty(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return true };
    entries.map(Result::unwrap).all(|entry| entry.file_name().to_str().unwrap().starts_with('.'))
}

/// The model of a volume in a bucket, under `llama/`.
fn uploaded(store: &Store, volume: &Volume) -> String {
    let bucket = store.bucket(Bucket::default());
    for (name, bytes) in files(&volume.model()) {
        store.put(&bucket, &format!("llama/{name}"), &bytes);
    }
    bucket
}

#[test]
fn a_path_is_pulled_verified_and_repaired() {
    let volume = Volume::new();
    let (model, folder) = (volume.model(), volume.path("mnt"));
    let pull = || capture(&mut pulling(&volume, &[(model.to_str().unwrap(), &folder)])).unwrap();
    let line = outcome(pull(), 0);
    assert_eq!((line.models[0].model.as_str(), volume.message().as_str()), (model.to_str().unwrap(), ""));
    assert_eq!(line.models[0].model_id.as_deref(), model.to_str());
    assert_eq!(files(&folder), files(&model));
    // Again, with one file changed and one gone.
    fs::write(folder.join("config.json"), "{}").unwrap();
    fs::remove_file(folder.join("README.md")).unwrap();
    outcome(pull(), 0);
    assert_eq!(files(&folder), files(&model));
    // What is not signed there is refused and stays; a pull of the whole puts the model in its place.
    fs::write(folder.join("modeling_x.py"), "evil").unwrap();
    assert_eq!(codes(pull(), 1), ["file-unsigned"]);
    let whole = capture(pulling(&volume, &[(model.to_str().unwrap(), &folder)]).arg("--no-repair")).unwrap();
    outcome(whole, 0);
    assert_eq!(files(&folder), files(&model));
}

#[test]
fn what_does_not_verify_is_put_nowhere() {
    let volume = Volume::new();
    let folder = volume.path("mnt");
    let source = volume.model().to_str().unwrap().to_owned();
    let run = |volume: &Volume| capture(&mut pulling(volume, &[(&source, &folder)])).unwrap();
    volume.change("model-00002-of-00002.safetensors", 100_000);
    assert_eq!(codes(run(&volume), 1), ["file-changed"]);
    assert!(is_empty(&folder));
    assert!(volume.message().starts_with("rejected: \""), "{}", volume.message());
    volume.change("model-00002-of-00002.safetensors", 100_000);
    fs::write(volume.path("release.pub"), key(1).public_pem()).unwrap();
    let line = outcome(run(&volume), 1);
    assert_eq!(line.verdicts(), ["rejected"]);
    assert!(is_empty(&folder));
    fs::write(volume.path("release.pub"), key(0).public_pem()).unwrap();
    fs::remove_file(volume.model().join("model.sig")).unwrap();
    assert_eq!(codes(run(&volume), 1), ["signature-missing"]);
    assert!(is_empty(&folder));
    fs::remove_dir_all(volume.model()).unwrap();
    assert_eq!(codes(run(&volume), 2), ["model-absent"]);
}

#[test]
fn a_folder_that_holds_something_else_is_not_replaced() {
    let volume = Volume::new();
    let folder = volume.path("mnt");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("precious"), "x").unwrap();
    let source = volume.model().to_str().unwrap().to_owned();
    let ended = capture(&mut pulling(&volume, &[(&source, &folder)])).unwrap();
    assert_eq!(codes(ended, 2), ["output-exists"]);
    assert_eq!(files(&folder), [("precious".to_owned(), b"x".to_vec())]);
}

#[test]
fn each_pair_is_judged_by_itself_and_by_its_source() {
    let volume = Volume::new();
    let hub = Hub::start();
    hub.create(Kind::Model, "acme/llama", Visibility::Private);
    let all = files(&volume.model());
    let commit: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let commit = hub.commit(Kind::Model, "acme/llama", "main", &commit);
    fs::write(
        volume.path("policy.yaml"),
        "apiVersion: weightseal/v1\nkind: Policy\nidentities: {release: {key: {file: release.pub}}}\nrules:\n  \
         - {models: ['hf://acme/*'], require: {of: [release]}, name: acme/llama-3}\n",
    )
    .unwrap();
    let (one, two) = (volume.path("one"), volume.path("two"));
    let at = format!("hf://acme/llama@{commit}");
    let local = volume.model().to_str().unwrap().to_owned();
    let mut command = program();
    command.envs(hub.env()).args([&*at, one.to_str().unwrap(), &*local, two.to_str().unwrap()]);
    command.args(["--allow-http", "--hf-token-host", hub.url().trim_start_matches("http://")]);
    command.arg("--policy").arg(volume.path("policy.yaml")).arg("--termination-log").arg(volume.log());
    let ended = capture(&mut command).unwrap();
    assert!(!format!("{}{}{}", ended.err(), ended.out(), volume.message()).contains(hub.token()));
    let line = outcome(ended, 1);
    assert_eq!(
        (line.verdicts(), line.codes()),
        (vec!["verified", "rejected"], vec!["policy-no-rule".to_owned()])
    );
    assert_eq!(line.models[0].model_id.as_deref(), Some("hf://acme/llama"));
    assert_eq!((files(&one), is_empty(&two)), (all, true));
    // Without TLS nothing goes anywhere unless it is allowed.
    let mut plain = pulling(&volume, &[(&at, &two)]);
    assert_eq!(codes(capture(plain.envs(hub.env())).unwrap(), 2), ["transport-insecure"]);
}

#[test]
fn a_store_gives_a_model_or_a_reason() {
    let Some(store) = or_skip(s3::minio()) else { return };
    let volume = Volume::new();
    let bucket = uploaded(store, &volume);
    let source = format!("s3://{bucket}/llama");
    let folder = volume.path("mnt");
    let pull = |folder: &Path| {
        let mut command = pulling(&volume, &[(&source, folder)]);
        command.envs(store.env());
        command
    };
    let line = outcome(capture(&mut pull(&folder)).unwrap(), 0);
    assert_eq!((line.models[0].model_id.as_deref(), volume.message().as_str()), (Some(&*source), ""));
    assert_eq!(files(&folder), files(&volume.model()));

    let absent = |name: &str| volume.path(name);
    // The store is down: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut down = pull(&absent("down"));
    down.env("AWS_ENDPOINT_URL", format!("https://{nobody}")).env_remove("AWS_ENDPOINT_URL_S3");
    assert_eq!(codes(capture(&mut down).unwrap(), 3), ["service-failed"]);
    assert!(volume.message().starts_with("could-not-tell: \"s3://"), "{}", volume.message());
    let denied = capture(pull(&absent("denied")).env("AWS_SECRET_ACCESS_KEY", "not-this-one")).unwrap();
    assert!(!denied.out().contains("not-this-one") && !denied.err().contains("not-this-one"));
    assert_eq!(codes(denied, 3), ["access-denied"]);
    // A file of the store that is not the one that was signed.
    let mut forged = fs::read(volume.model().join("model-00002-of-00002.safetensors")).unwrap();
    forged[100_000] ^= 1;
    store.put(&bucket, "llama/model-00002-of-00002.safetensors", &forged);
    let ended = capture(&mut pull(&absent("forged"))).unwrap();
    assert_eq!(codes(ended, 1), ["file-changed"]);
    assert!(is_empty(&absent("forged")));
    let first = volume.message().lines().next().unwrap().to_owned();
    assert!(first.contains(&source) && first.contains("model-00002-of-00002.safetensors"), "{first}");
}

/// A folder that is the root of a file system of its own, as an emptyDir is; none where this machine cannot make one.
fn mounted(volume: &Volume, script: &str) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        skip_or_fail("only root can mount");
        return None;
    }
    let folder = volume.path("mnt");
    fs::create_dir(&folder).unwrap();
    let probe = "mount --make-rprivate / && mount -t tmpfs tmpfs \"$0\"";
    let possible = capture(Command::new("unshare").args(["--mount", "sh", "-c", probe]).arg(&folder));
    if !possible.is_ok_and(|ended| ended.code() == Some(0)) {
        skip_or_fail("no mounts of one's own");
        return None;
    }
    let mut command = crate::bare("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(env!("CARGO_BIN_EXE_weightseal-init"));
    command.arg(volume.model()).arg(&folder).env("FOLDER", &folder).env("MODEL", volume.model());
    Some(volume.rest(command))
}

#[test]
fn a_mount_point_is_pulled_into_as_it_is() {
    let volume = Volume::new();
    let script = "set -e; mount --make-rprivate /; mount -t tmpfs tmpfs \"$FOLDER\"; code=0; \"$@\" || code=$?; \
                  diff -r \"$MODEL\" \"$FOLDER\" >&2; \"$@\" >&2; exit $code";
    let Some(mut command) = mounted(&volume, script) else { return };
    outcome(capture(&mut command).unwrap(), 0);
}

#[test]
fn a_disk_that_is_full_is_no_verdict_and_leaves_nothing_to_load() {
    let volume = Volume::new();
    let script = "set -e; mount --make-rprivate /; mount -t tmpfs -o size=200k tmpfs \"$FOLDER\"; code=0; \"$@\" || code=$?; \
                  test -z \"$(ls \"$FOLDER\")\"; exit $code";
    let Some(mut command) = mounted(&volume, script) else { return };
    assert_eq!(codes(capture(&mut command).unwrap(), 3), ["disk-full"]);
    assert!(volume.message().contains(": disk-full: "), "{}", volume.message());
}

/// What is looked at in a store and not pulled.
fn looked_at(volume: &Volume, hub: &Hub, home: &Path, mode: &str) -> Command {
    let mut command = program();
    command.envs(hub.env()).env("HF_HOME", home).args([
        "--model",
        "hf://acme/llama",
        "--mode",
        mode,
        "--allow-http",
    ]);
    command.args(["--hf-token-host", hub.url().trim_start_matches("http://")]);
    volume.rest(command)
}

#[test]
fn a_model_of_the_hub_is_checked_in_the_cache_that_the_server_loads() {
    let volume = Volume::new();
    let home: PathBuf = volume.path("home");
    let revision = "0123456789abcdef0123456789abcdef01234567";
    let snapshot =
        testkit::models::hub_cache(&home.join("hub"), "acme/llama", revision, &volume.model()).unwrap();
    let hub = Hub::start();
    hub.create(Kind::Model, "acme/llama", Visibility::Public);
    let all = files(&volume.model());
    let commit: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    hub.commit(Kind::Model, "acme/llama", "main", &commit);
    let run = |home: &Path, mode: &str| capture(&mut looked_at(&volume, &hub, home, mode)).unwrap();

    let line = outcome(run(&home, "enforce"), 0);
    assert_eq!(line.models[0].model_id.as_deref(), Some("hf://acme/llama"));
    assert_eq!((line.models[0].counts.verified, line.models[0].assurance.as_deref()), (7, Some("hashed")));
    // A file of the cache is changed: its digest is not told, since it lies behind a link.
    let blob = fs::canonicalize(snapshot.join("config.json")).unwrap();
    fs::write(blob, "{}").unwrap();
    let line = outcome(run(&home, "enforce"), 1);
    let [finding] = &line.models[0].findings[..] else { panic!("{line:?}") };
    assert_eq!((finding.code.as_str(), finding.actual.as_deref()), ("file-changed", None));
    // Nothing is fetched where it is enforced; warn mode looks at the store itself.
    let nowhere = volume.path("nowhere");
    let ended = run(&nowhere, "enforce");
    assert!(ended.err().contains("weightseal-init SRC DEST"), "{ended}");
    assert_eq!(codes(ended, 2), ["model-absent"]);
    let line = outcome(run(&nowhere, "warn"), 0);
    assert_eq!((line.verdict.as_str(), nowhere.exists()), ("verified", false));
}

#[test]
fn a_store_that_never_answers_ends_with_the_deadline_and_at_once_with_a_signal() {
    let volume = Volume::new();
    // Connections are made by the kernel, and nobody takes them.
    let silent = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = volume.path("mnt");
    let command = |store: &std::net::TcpListener, deadline: &str| {
        let url = format!("http://{}", store.local_addr().unwrap());
        let mut command = program();
        command.args(["s3://bucket/llama", folder.to_str().unwrap(), "--allow-http", "--deadline", deadline]);
        for (name, value) in [
            ("AWS_ENDPOINT_URL", &*url),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ] {
            command.env(name, value);
        }
        command.env_remove("AWS_CA_BUNDLE").env_remove("AWS_ENDPOINT_URL_S3").env("NO_PROXY", "127.0.0.1");
        volume.rest(command)
    };
    let found = codes(capture(&mut command(&silent(), "1s")).unwrap(), 3);
    assert!(!found.is_empty() && found.iter().all(|code| code == "deadline-passed"), "{found:?}");

    let store = silent();
    let mut child = command(&store, "1h").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It is under way once somebody has connected.
    let _connection = store.accept().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    let mut stdout = Vec::new();
    std::io::Read::read_to_end(child.stdout.as_mut().unwrap(), &mut stdout).unwrap();
    let line = Line::read(&stdout);
    assert_eq!(
        (child.wait().unwrap().code(), line.codes().contains(&"interrupted".to_owned())),
        (Some(3), true)
    );
    assert!(is_empty(&folder));
}
