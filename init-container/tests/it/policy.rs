//! Policy files: one rule for each model, and nothing beside it that would weaken it.

use std::{fs, path::Path, process::Command};

use testkit::{capture, models};

use crate::{Volume, codes, outcome, program};

/// A volume whose policy has a rule for `acme/*` and one, in warn mode, for whatever lies in a folder `lab`.
fn volume() -> Volume {
    let volume = Volume::new();
    fs::write(
        volume.path("policy.yaml"),
        "apiVersion: weightseal/v1\nkind: Policy\nidentities: {release: {key: {file: release.pub}}}\nrules:\n  \
         - {models: ['acme/*'], require: {of: [release]}, name_is_model_id: true}\n  \
         - {models: ['**/lab/*'], mode: warn, require: {of: [release]}}\n",
    )
    .unwrap();
    volume
}

/// The program with these models, the policy by its variable, and the termination log.
fn command(volume: &Volume, models: &[&Path], args: &[&str]) -> Command {
    let mut command = program();
    for model in models {
        command.arg("--model").arg(model);
    }
    command.args(args).arg("--termination-log").arg(volume.log());
    command.env("WEIGHTSEAL_POLICY", volume.path("policy.yaml"));
    command
}

#[test]
fn a_model_passes_by_its_rule_which_the_outcome_names() {
    let volume = volume();
    let model = volume.model();
    let run = |args: &[&str]| capture(&mut command(&volume, &[&model], args)).unwrap();
    let line = outcome(run(&["--model-id", "acme/llama-3", "--version", "1.2", "--fail-fast"]), 0);
    let policy = line.models[0].policy.as_ref().unwrap();
    assert_eq!((policy.rule, policy.pattern.as_str(), policy.mode.as_str()), (1, "acme/*", "enforce"));
    assert_eq!(policy.path.as_deref(), volume.path("policy.yaml").to_str());
    assert_eq!(line.models[0].model_id.as_deref(), Some("acme/llama-3"));

    assert_eq!(codes(run(&["--model-id", "acme/llama-2"]), 1), ["name-not-expected"]);
    assert_eq!(codes(run(&["--model-id", "acme/llama-3", "--version", "1.3"]), 1), ["version-not-expected"]);
    assert_eq!(codes(run(&["--model-id", "other/llama-3"]), 1), ["policy-no-rule"]);
    assert!(volume.message().contains("policy-no-rule"), "{}", volume.message());
    // Without an id it is the path, for which there is no rule.
    assert_eq!(codes(run(&[]), 1), ["policy-no-rule"]);
    volume.change("README.md", 0);
    assert_eq!(codes(run(&["--model-id", "acme/llama-3"]), 1), ["file-changed"]);
}

#[test]
fn each_model_has_its_own_rule_and_mode() {
    let volume = volume();
    fs::create_dir(volume.path("lab")).unwrap();
    let [one, two] = ["lab/one", "lab/two"].map(|name| volume.path(name));
    for model in [&one, &two] {
        models::small(model).unwrap();
    }
    volume.sign(&one);
    let both = || capture(&mut command(&volume, &[&one, &two], &[])).unwrap();
    let line = outcome(both(), 0);
    assert_eq!((line.verdict.as_str(), line.mode.as_str()), ("rejected", "enforce"));
    assert_eq!(line.models[0].verdict, "verified");
    let missing = &line.models[1];
    assert_eq!((missing.findings[0].code.as_str(), missing.mode.as_str()), ("signature-missing", "warn"));
    assert!(missing.admitted && missing.policy.as_ref().unwrap().rule == 2);
    assert!(volume.message().starts_with("admitted (warn mode): "), "{}", volume.message());
    // One model without a rule keeps the pod from starting.
    let three = volume.model();
    let ended = capture(&mut command(&volume, &[&one, &two, &three], &[])).unwrap();
    assert_eq!(codes(ended, 1), ["signature-missing", "policy-no-rule"]);
}

#[test]
fn what_would_weaken_the_policy_is_misuse() {
    let volume = volume();
    let model = volume.model();
    let key = volume.path("release.pub");
    let key = key.to_str().unwrap();
    for args in [
        &["--mode", "warn"][..],
        &["--mode", "enforce"],
        &["--require", "1"],
        &["--public-key", key],
        &["--certificate-chain", key],
        &["--certificate-identity", "x"],
        &["--ignore-paths", "README.md"],
        &["--ignore-unsigned-files"],
        &["--allow-symlinks"],
    ] {
        let ended =
            capture(&mut command(&volume, &[&model], &[&["--model-id", "acme/llama-3"], args].concat()));
        let line = outcome(ended.unwrap(), 2);
        assert_eq!(line.codes(), ["arguments-conflict"], "{args:?}");
        let what = &line.findings[0].message;
        assert!(what.starts_with(&format!("WEIGHTSEAL_POLICY was given, and {} ", args[0])), "{what}");
    }
    let mut by_variable = command(&volume, &[&model], &["--model-id", "acme/llama-3"]);
    by_variable.env("WEIGHTSEAL_PUBLIC_KEY_PEM", "x");
    assert_eq!(codes(capture(&mut by_variable).unwrap(), 2), ["arguments-conflict"]);
    let contradicting = ["--model-id", "acme/llama-3", "--name", "acme/llama-2"];
    assert_eq!(
        codes(capture(&mut command(&volume, &[&model], &contradicting)).unwrap(), 2),
        ["arguments-conflict"]
    );
}

#[test]
fn a_policy_that_cannot_be_used_is_misuse() {
    let volume = volume();
    let model = volume.model();
    let run = || capture(&mut command(&volume, &[&model], &["--model-id", "acme/llama-3"])).unwrap();
    outcome(run(), 0);
    let good = fs::read_to_string(volume.path("policy.yaml")).unwrap();
    for (text, code) in [
        (good.replace("models:", "model:"), "policy-invalid"),
        (good.replace("release.pub", "none.pub"), "key-absent"),
        (good.replace("'**/lab/*'", "'acme/*'"), "policy-ambiguous"),
        (
            good.replace(
                "key: {file: release.pub}",
                "certificate: {anchors: {file: release.pub}, identity: a}",
            ),
            "key-malformed",
        ),
    ] {
        fs::write(volume.path("policy.yaml"), text).unwrap();
        assert_eq!(codes(run(), 2), [code]);
        assert!(volume.message().starts_with("misuse: "), "{}", volume.message());
    }
    fs::remove_file(volume.path("policy.yaml")).unwrap();
    assert_eq!(codes(run(), 2), ["policy-absent"]);
}
