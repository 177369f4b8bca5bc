//! `--models-under`: every model below a folder, and nothing else.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use testkit::{Ended, capture, models, models::share_blobs};

use crate::{Volume, codes, line::Line, outcome, program};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A mount of a claim with one signed model in a folder and one in the Hub's cache.
fn claim() -> (Volume, PathBuf) {
    let volume = Volume::new();
    let root = volume.path("models");
    let claim = root.join("model-cache-pvc");
    fs::create_dir_all(claim.join("teams/a")).unwrap();
    models::hub_cache(&claim.join("hub"), "acme/llama-3", REVISION, &volume.model()).unwrap();
    fs::rename(volume.model(), claim.join("teams/a/llama-3")).unwrap();
    (volume, root)
}

fn command(volume: &Volume, root: &Path) -> Command {
    let mut command = program();
    command.arg("--models-under").arg(root);
    volume.rest(command)
}

fn run(volume: &Volume, root: &Path, args: &[&str]) -> Ended {
    capture(command(volume, root).args(args)).unwrap()
}

fn ids(line: &Line) -> Vec<Option<&str>> {
    line.models.iter().map(|model| model.model_id.as_deref()).collect()
}

#[test]
fn every_model_is_found_by_its_id() {
    let (volume, root) = claim();
    let line = outcome(run(&volume, &root, &[]), 0);
    assert_eq!(ids(&line), [Some("hf://acme/llama-3"), Some("model-cache-pvc/teams/a/llama-3")]);
    assert_eq!((line.verdict.as_str(), volume.message().as_str()), ("verified", ""));
    let snapshot = root.join("model-cache-pvc/hub/models--acme--llama-3/snapshots").join(REVISION);
    assert_eq!(line.models[0].model, snapshot.to_str().unwrap());
}

#[test]
fn each_model_has_its_rule() {
    let (volume, root) = claim();
    let policy = |rules: &str| {
        let text = format!(
            "apiVersion: weightseal/v1\nkind: Policy\nidentities: {{release: {{key: {{file: release.pub}}}}}}\nrules:\n{rules}"
        );
        fs::write(volume.path("policy.yaml"), text).unwrap();
        let mut command = program();
        command.arg("--models-under").arg(&root).arg("--policy").arg(volume.path("policy.yaml"));
        capture(command.arg("--termination-log").arg(volume.log())).unwrap()
    };
    let hub = "  - {models: ['hf://acme/*'], require: {of: [release]}, name: acme/llama-3}\n";
    let own = "  - {models: ['model-cache-pvc/teams/a/**'], require: {of: [release]}, name: acme/llama-3}\n";
    outcome(policy(&format!("{hub}{own}")), 0);
    let line = outcome(policy(hub), 1);
    assert_eq!(
        (line.codes(), line.verdicts()),
        (vec!["policy-no-rule".to_owned()], vec!["verified", "rejected"])
    );
    // A file of no model passes only where the rule for its path warns.
    fs::write(root.join("model-cache-pvc/teams/a/notes.txt"), "x").unwrap();
    assert_eq!(codes(policy(&format!("{hub}{own}")), 1), ["file-unsigned"]);
    let warned = own.replace("require", "mode: warn, require");
    let line = outcome(policy(&format!("{hub}{warned}")), 0);
    assert_eq!((line.verdict.as_str(), line.codes()), ("rejected", vec!["file-unsigned".to_owned()]));
    assert!(volume.message().starts_with("admitted (warn mode): "), "{}", volume.message());
}

#[test]
fn what_belongs_to_no_model_is_refused() {
    let (volume, root) = claim();
    let claim = root.join("model-cache-pvc");
    let hub = claim.join("hub/models--acme--llama-3");
    outcome(run(&volume, &root, &[]), 0);
    for (path, code) in [
        (claim.join("modeling_x.py"), "file-unsigned"),
        (claim.join("teams/a/config.json"), "file-unsigned"),
        (claim.join("hub/modules/transformers_modules/x.py"), "file-unsigned"),
        (claim.join("hub/.locks/evil.py"), "file-unsigned"),
        (claim.join("teams/version.txt"), "file-unsigned"),
        (claim.join("hub/version.txt"), "file-unsigned"),
        (claim.join("hub/CACHEDIR.TAG"), "file-unsigned"),
        (hub.join("evil.py"), "file-unsigned"),
        (hub.join("blobs/0000"), "file-unsigned"),
        (hub.join("blobs/deep/model.sig"), "special-file"),
        (hub.join("snapshots/evil.py"), "file-unsigned"),
        (hub.join("other/model.sig"), "file-unsigned"),
        (claim.join("hub/datasets--acme--d/snapshots/x/data.py"), "file-unsigned"),
    ] {
        let made: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "code").unwrap();
        let line = outcome(run(&volume, &root, &[]), 1);
        assert_eq!(line.codes(), [code], "{path:?}");
        let [.., report] = &line.models[..] else { panic!("{line:?}") };
        assert_eq!((report.model.as_str(), report.verdict.as_str()), (root.to_str().unwrap(), "rejected"));
        let first = volume.message().lines().next().unwrap().to_owned();
        assert!(first.starts_with("rejected: \"") && first.contains(code), "{first}");
        assert_eq!(outcome(run(&volume, &root, &["--mode", "warn"]), 0).verdict, "rejected");
        for path in made {
            if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
    // Links and pipes.
    for target in ["teams/a/llama-3", "/etc/passwd", "nothing"] {
        symlink(target, claim.join("link")).unwrap();
        assert_eq!(codes(run(&volume, &root, &[]), 1), ["symlink-refused"], "{target}");
        fs::remove_file(claim.join("link")).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        claim.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(codes(run(&volume, &root, &[]), 1), ["special-file"]);
    fs::remove_file(claim.join("pipe")).unwrap();
    // What a pull leaves is no verdict.
    fs::create_dir(claim.join(".llama.weightseal-pull")).unwrap();
    assert_eq!(codes(run(&volume, &root, &[]), 3), ["pull-unfinished"]);
    fs::remove_dir(claim.join(".llama.weightseal-pull")).unwrap();
    outcome(run(&volume, &root, &[]), 0);
}

#[test]
fn the_hubs_own_bookkeeping_may_be_there() {
    let (volume, root) = claim();
    let hub = root.join("model-cache-pvc/hub");
    for (path, text) in [
        (".locks/models--acme--llama-3/0123.lock", ""),
        ("version.txt", "1"),
        ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"),
        ("models--acme--llama-3/refs/pr/1", REVISION),
        (&format!("models--acme--llama-3/trees/{REVISION}.json"), r#"{"files": {}}"#),
        (&format!("models--acme--llama-3/.no_exist/{REVISION}/adapter_config.json"), ""),
    ] {
        let path = hub.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    outcome(run(&volume, &root, &[]), 0);
}

#[test]
fn repositories_may_share_their_blobs_and_nothing_else_may_lie_among_them() {
    let (volume, root) = claim();
    let hub = root.join("model-cache-pvc/hub");
    share_blobs(&hub).unwrap();
    outcome(run(&volume, &root, &[]), 0);
    let hash = "0".repeat(64);
    for name in ["modeling.py", "00/modeling.py", &format!("00/{hash}"), &format!("00/{hash}.lock")] {
        let path = hub.join("blobs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        assert_eq!(codes(run(&volume, &root, &[]), 1), ["file-unsigned"], "{name}");
        fs::remove_file(path).unwrap();
    }
    outcome(run(&volume, &root, &[]), 0);
}

#[test]
fn a_model_that_does_not_verify_is_named() {
    let (volume, root) = claim();
    let model = root.join("model-cache-pvc/teams/a/llama-3");
    fs::write(model.join("modeling_x.py"), "x").unwrap();
    let line = outcome(run(&volume, &root, &[]), 1);
    assert_eq!(
        (line.codes(), line.verdicts()),
        (vec!["file-unsigned".to_owned()], vec!["verified", "rejected"])
    );
    fs::remove_file(model.join("modeling_x.py")).unwrap();
    // A snapshot without its signature, and a model in a model.
    let snapshot = root.join("model-cache-pvc/hub/models--acme--llama-3/snapshots").join(REVISION);
    fs::rename(snapshot.join("model.sig"), volume.path("aside")).unwrap();
    assert!(codes(run(&volume, &root, &[]), 1).contains(&"signature-missing".to_owned()));
    fs::rename(volume.path("aside"), snapshot.join("model.sig")).unwrap();
    fs::create_dir(model.join("inner")).unwrap();
    fs::copy(model.join("model.sig"), model.join("inner/model.sig")).unwrap();
    assert_eq!(codes(run(&volume, &root, &[]), 1), ["file-unsigned"]);
    fs::remove_dir_all(model.join("inner")).unwrap();
    // What the volume holds is no misuse, which warn mode would not let pass.
    fs::remove_file(model.join("model.sig")).unwrap();
    let pipe = model.join("model.sig");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    assert_eq!(codes(run(&volume, &root, &[]), 1), ["special-file"]);
    assert_eq!(codes(run(&volume, &root, &["--mode=warn"]), 0), ["special-file"]);
}

#[test]
fn a_folder_without_models_is_misuse() {
    let (volume, root) = claim();
    let empty = volume.path("empty");
    for mode in ["enforce", "warn"] {
        assert_eq!(codes(run(&volume, &empty, &["--mode", mode]), 2), ["model-absent"]);
    }
    fs::create_dir_all(empty.join("model-cache-pvc")).unwrap();
    assert_eq!(codes(run(&volume, &empty, &[]), 2), ["model-absent"]);
    let model = root.join("model-cache-pvc/teams/a/llama-3");
    assert_eq!(codes(run(&volume, &model, &[]), 2), ["bad-argument"]);
    assert_eq!(codes(run(&volume, &model.join("config.json"), &[]), 2), ["bad-argument"]);
    assert_eq!(codes(run(&volume, &root, &["--name", "acme/llama-3"]), 2), ["arguments-conflict"]);
}

#[test]
fn a_cache_that_was_filled_by_patterns_has_its_signature_elsewhere() {
    let (volume, root) = claim();
    let claim = root.join("model-cache-pvc");
    fs::remove_dir_all(claim.join("teams")).unwrap();
    let snapshot = claim.join("hub/models--acme--llama-3/snapshots").join(REVISION);
    fs::create_dir(volume.path("signatures")).unwrap();
    let kept = volume.path("signatures/models--acme--llama-3.sig");
    let take = |name: &str| {
        let blob = fs::canonicalize(snapshot.join(name)).unwrap();
        fs::remove_file(snapshot.join(name)).unwrap();
        let bytes = fs::read(&blob).unwrap();
        fs::remove_file(blob).unwrap();
        bytes
    };
    fs::write(&kept, take("model.sig")).unwrap();
    let policy = |missing: &str| {
        let text = format!(
            "apiVersion: weightseal/v1\nkind: Policy\nidentities: {{release: {{key: {{file: release.pub}}}}}}\nrules:\n  \
             - {{models: ['hf://acme/*'], require: {{of: [release]}}, name: acme/llama-3{missing}}}\n"
        );
        fs::write(volume.path("policy.yaml"), text).unwrap();
        let mut command = program();
        command.arg("--models-under").arg(&root).arg("--policy").arg(volume.path("policy.yaml"));
        command.arg("--signatures").arg(volume.path("signatures"));
        capture(command.arg("--termination-log").arg(volume.log())).unwrap()
    };
    outcome(policy(""), 0);
    take("README.md");
    assert_eq!(codes(policy(""), 1), ["file-missing"]);
    let allowed = ", missing: {allow: ['*.md', '*.safetensors']}";
    let line = outcome(policy(allowed), 0);
    assert_eq!((line.models[0].counts.signed, line.models[0].counts.missing), (7, 1));
    // Never what would be loaded.
    take("model-00002-of-00002.safetensors");
    assert_eq!(outcome(policy(allowed), 1).verdict, "rejected");
    fs::remove_file(kept).unwrap();
    assert_eq!(codes(policy(allowed), 1), ["signature-missing"]);
}

#[test]
fn what_leads_a_loader_from_a_snapshot_to_something_else_is_refused() {
    let (volume, root) = claim();
    let cache = root.join("model-cache-pvc/hub");
    let repository = cache.join("models--acme--llama-3");
    let evil = "e".repeat(40);
    let on_hub = |revision: &str| {
        let mut command = program();
        command.arg("--model").arg(format!("hf://acme/llama-3@{revision}")).env("HF_HUB_CACHE", &cache);
        capture(&mut volume.rest(command)).unwrap()
    };
    let all = |code: i32, codes: &[&str]| {
        for ended in [run(&volume, &root, &[]), on_hub(REVISION), on_hub("main")] {
            assert_eq!(outcome(ended, code).codes(), codes);
        }
    };
    all(0, &[]);
    let upper = REVISION.to_uppercase();
    for (name, text) in [
        (format!("refs/{REVISION}"), REVISION.to_owned()),
        (format!("refs/{upper}"), REVISION.to_owned()),
        (format!("refs/pr/{REVISION}"), REVISION.to_owned()),
        ("refs/v1".to_owned(), format!("{REVISION}\n")),
        ("refs/v1".to_owned(), evil),
        ("refs/evil.py".to_owned(), "../x".to_owned()),
        // What is there, and what is signed, but not what is neither.
        (format!(".no_exist/{REVISION}/config.json"), String::new()),
        (format!(".no_exist/{REVISION}/1_Pooling/config.json"), String::new()),
    ] {
        let path = repository.join(&name);
        let made: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        all(1, &["file-unsigned"]);
        for path in made {
            if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        all(0, &[]);
    }
    symlink("main", repository.join("refs/v2")).unwrap();
    all(1, &["symlink-refused"]);
}
