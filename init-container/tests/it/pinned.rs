//! A policy whose digest is in the arguments, and one that is a variable.

use std::{fs, process::Command};

use testkit::{capture, digest::sha256_file};

use crate::{Volume, codes, key, outcome, program};

/// A policy that trusts the key which stands in it.
fn text(volume: &Volume) -> String {
    let pem = fs::read_to_string(volume.path("release.pub")).unwrap().replace('\n', "\n      ");
    format!(
        "apiVersion: weightseal/v1\nkind: Policy\nidentities:\n  release:\n    key:\n      pem: |\n        {}\nrules:\n  - {{models: ['**'], require: {{of: [release]}}, identity: any-model-of-these}}\n",
        pem.trim_end().replace("      ", "        ")
    )
}

fn command(volume: &Volume, sha256: &str) -> Command {
    let mut command = program();
    command.arg("--model").arg(volume.model()).arg("--policy").arg(volume.path("policy.yaml"));
    command.arg("--policy-sha256").arg(sha256).arg("--termination-log").arg(volume.log());
    command
}

#[test]
fn an_edited_policy_is_misuse() {
    let volume = Volume::new();
    let policy = volume.path("policy.yaml");
    fs::write(&policy, text(&volume)).unwrap();
    let sha256 = sha256_file(&policy).unwrap();
    let line = outcome(capture(&mut command(&volume, &sha256)).unwrap(), 0);
    assert_eq!(line.models[0].policy.as_ref().unwrap().digest, format!("sha256:{sha256}"));
    outcome(capture(&mut command(&volume, &sha256.to_uppercase())).unwrap(), 0);
    for edited in [
        text(&volume) + "\n",
        text(&volume).replace("{models", "{mode: warn, models"),
        text(&volume).replace("kind: Policy", "kind: Polite"),
        String::new(),
    ] {
        fs::write(&policy, edited).unwrap();
        assert_eq!(codes(capture(&mut command(&volume, &sha256)).unwrap(), 2), ["policy-not-expected"]);
        assert!(volume.message().starts_with("misuse: \""), "{}", volume.message());
        assert!(volume.message().lines().next().unwrap().contains("policy-not-expected"));
    }
    for wrong in ["0", &sha256[..63], &format!("sha256:{sha256}"), "latest"] {
        assert_eq!(codes(capture(&mut command(&volume, wrong)).unwrap(), 2), ["bad-argument"]);
    }
}

#[test]
fn a_pinned_policy_trusts_nothing_in_files_of_their_own() {
    let volume = Volume::new();
    let policy = volume.path("policy.yaml");
    fs::write(
        &policy,
        "apiVersion: weightseal/v1\nkind: Policy\nidentities: {release: {key: {file: release.pub}}}\nrules:\n  \
         - {models: ['**'], require: {of: [release]}, identity: any-model-of-these}\n",
    )
    .unwrap();
    let sha256 = sha256_file(&policy).unwrap();
    let ended = capture(&mut command(&volume, &sha256)).unwrap();
    assert!(ended.out().contains("release.pub"), "{ended}");
    assert_eq!(codes(ended, 2), ["policy-not-expected"]);
}

#[test]
fn a_policy_may_be_a_variable() {
    let volume = Volume::new();
    let run = |text: &str, args: &[&str]| {
        let mut command = program();
        command.arg("--model").arg(volume.model()).arg("--termination-log").arg(volume.log());
        capture(command.args(args).env("WEIGHTSEAL_POLICY_TEXT", text)).unwrap()
    };
    let good = text(&volume);
    outcome(run(&good, &[]), 0);
    fs::write(volume.path("policy.yaml"), &good).unwrap();
    let sha256 = sha256_file(&volume.path("policy.yaml")).unwrap();
    outcome(run(&good, &["--policy-sha256", &sha256]), 0);
    assert_eq!(codes(run(good.trim_end(), &["--policy-sha256", &sha256]), 2), ["policy-not-expected"]);
    assert_eq!(codes(run("nonsense", &[]), 2), ["policy-invalid"]);
    assert_eq!(codes(run("", &[]), 2), ["bad-argument"]);
    let path = volume.path("policy.yaml");
    assert_eq!(codes(run(&good, &["--policy", path.to_str().unwrap()]), 2), ["arguments-conflict"]);
    assert_eq!(codes(run(&good, &["--mode", "warn"]), 2), ["arguments-conflict"]);
    fs::write(volume.path("release.pub"), key(1).public_pem()).unwrap();
    assert_eq!(outcome(run(&text(&volume), &[]), 1).verdict, "rejected");
}
