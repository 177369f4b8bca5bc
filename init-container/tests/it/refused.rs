//! What keeps the pod from starting, each from a volume that passes and one change.

use std::fs;
use std::process::Stdio;

use testkit::{capture, pki::KeyKind};
use weightseal::PublicKey;

use crate::{Volume, codes, key, outcome, program, root_digest};

const HOSTILE: &str = "a\n::error::x\r\u{1b}[31m\u{202e}%0A\"'\\\u{feff}";

#[test]
fn a_changed_byte_is_named_in_the_first_line() {
    let volume = Volume::new();
    outcome(volume.run::<&str>(&[]), 0);
    volume.change("model-00002-of-00002.safetensors", 100_000);
    let line = outcome(volume.run::<&str>(&[]), 1);
    let [finding] = &line.models[0].findings[..] else { panic!("{line:?}") };
    assert_eq!((finding.code.as_str(), finding.class.as_str()), ("file-changed", "rejected"));
    assert_eq!(finding.name.as_deref(), Some("model-00002-of-00002.safetensors"));
    assert!(finding.expected.is_some() && finding.expected != finding.actual);
    let message = volume.message();
    let first = message.lines().next().unwrap();
    assert!(first.starts_with("rejected: \"") && first.chars().count() <= 200, "{message}");
    assert!(first.ends_with("/model\": file-changed: \"model-00002-of-00002.safetensors\""), "{message}");
    assert!(!message.contains("older message") && message.len() <= 4096, "{message}");
}

#[test]
fn content_that_is_not_as_signed() {
    for (change, code, name) in [
        (
            &(|v: &Volume| fs::remove_file(v.model().join("config.json")).unwrap()) as &dyn Fn(&Volume),
            "file-missing",
            "config.json",
        ),
        (&|v| fs::write(v.model().join("modeling_x.py"), "").unwrap(), "file-unsigned", "modeling_x.py"),
        (&|v| fs::write(v.model().join("README.md"), "").unwrap(), "file-changed", "README.md"),
    ] {
        let volume = Volume::new();
        outcome(volume.run::<&str>(&[]), 0);
        change(&volume);
        let line = outcome(volume.run::<&str>(&[]), 1);
        assert_eq!(line.codes(), [code]);
        assert_eq!(line.models[0].findings[0].name.as_deref(), Some(name));
        let first = volume.message().lines().next().unwrap().to_owned();
        assert!(first.ends_with(&format!(": {code}: \"{name}\"")), "{first}");
    }
}

#[test]
fn signatures_that_are_not_accepted() {
    let volume = Volume::new();
    let signature = volume.model().join("model.sig");
    let digest = root_digest(&signature);
    let other = format!("sha256:{}", "0".repeat(64));
    let fingerprint = PublicKey::from_pem(key(0).public_pem().as_bytes()).unwrap().fingerprint();
    outcome(
        volume.run(&[
            "--expect-digest",
            &digest,
            "--expect-digest",
            &other,
            "--name",
            "acme/llama-3",
            "--revoked-digest",
            &other,
        ]),
        0,
    );
    for (args, code) in [
        (["--expect-digest", other.as_str()], "digest-not-expected"),
        (["--name", "acme/llama-2"], "name-not-expected"),
        (["--version", "1.3"], "version-not-expected"),
        (["--require", "2"], "too-few-signatures"),
        (["--revoked-digest", &digest], "model-revoked"),
        (["--revoked-key", &fingerprint.to_uppercase()], "key-revoked"),
    ] {
        assert_eq!(codes(volume.run(&args), 1), [code]);
        assert!(volume.message().contains(code), "{}", volume.message());
    }
    fs::write(volume.path("release.pub"), key(1).public_pem()).unwrap();
    assert_eq!(codes(volume.run::<&str>(&[]), 1), ["key-not-trusted"]);
    fs::write(&signature, fs::read_to_string(&signature).unwrap().replace("mediaType", "mediatype")).unwrap();
    let line = outcome(volume.run::<&str>(&[]), 1);
    assert_eq!(line.codes(), ["field-missing"]);
    assert!(line.models[0].findings[0].message.contains("model.sig"), "{line:?}");
    fs::remove_file(&signature).unwrap();
    assert_eq!(codes(volume.run::<&str>(&[]), 1), ["signature-missing"]);
}

#[test]
fn misuse_ends_with_2_in_either_mode_and_is_told_where_it_was_asked_to_be() {
    let volume = Volume::new();
    fs::write(volume.path("rsa.pub"), testkit::pki::Key::new(KeyKind::Rsa2048, 0).public_pem()).unwrap();
    fs::write(volume.path("empty.pub"), "").unwrap();
    let path = |name: &str| volume.path(name).to_str().unwrap().to_owned();
    for mode in ["enforce", "warn"] {
        for (args, code) in [
            (&["--public-key", &path("rsa.pub")][..], "key-unsupported"),
            (&["--public-key", &path("empty.pub")], "key-malformed"),
            (&["--public-key", &path("none.pub")], "key-absent"),
            (&["--certificate-chain", &path("release.pub")], "key-malformed"),
            (&["--signature", &path("none.sig")], "signature-absent"),
            (&["--model", &path("none")], "model-absent"),
            (&["--no-such-flag"], "bad-argument"),
            (&["--expect-digest", "latest"], "bad-argument"),
            (&["--model", "s3://bucket/model?X-Amz-Signature=secret"], "uri-invalid"),
            (&["/secret"], "bad-argument"),
            (&["--model", "/other", "--name", "x"], "arguments-conflict"),
        ] {
            let ended = volume.run(&[&["--mode", mode], args].concat());
            assert!(!ended.err().contains("secret") && !ended.out().contains("secret"), "{ended}");
            assert_eq!(codes(ended, 2).iter().filter(|found| *found == code).count(), 1, "{args:?}");
            let message = volume.message();
            assert!(
                message.starts_with("misuse: ") && message.contains(code) && message.len() < 4096,
                "{message}"
            );
        }
    }
    for (name, value, code) in [
        ("WEIGHTSEAL_MODLE", "secret value", "bad-argument"),
        ("WEIGHTSEAL_LOG", "debug", "bad-argument"),
        ("WEIGHTSEAL_DEADLINE", "", "bad-argument"),
        ("WEIGHTSEAL_ALLOW_SYMLINKS", "secret", "bad-argument"),
        ("WEIGHTSEAL_PUBLIC_KEY_PEM", "x", "arguments-conflict"),
    ] {
        let ended = capture(volume.command().env(name, value)).unwrap();
        assert!(!ended.err().contains("secret") && !ended.out().contains("secret"), "{ended}");
        let line = outcome(ended, 2);
        assert_eq!(line.codes(), [code]);
        assert!(
            line.models.is_empty()
                && line.findings[0].message.contains(name)
                && volume.message().contains(name),
            "{line:?}"
        );
    }
}

#[test]
fn nothing_given_is_misuse_and_help_verifies_nothing() {
    let volume = Volume::new();
    assert_eq!(codes(capture(&mut program()).unwrap(), 2), ["bad-argument"]);
    assert_eq!(codes(capture(program().arg("--model").arg(volume.model())).unwrap(), 2), ["trust-missing"]);
    let help = volume.run(&["--help"]).expect_code(2);
    assert!(
        help.out().contains("--expect-digest <DIGEST>") && help.out().contains("[WEIGHTSEAL_EXPECT_DIGEST]"),
        "{help}"
    );
}

#[test]
fn of_several_models_the_worst_decides() {
    let volume = Volume::new();
    let copy = |name: &str| {
        let status =
            std::process::Command::new("cp").arg("-r").arg(volume.model()).arg(volume.path(name)).status();
        assert!(status.unwrap().success());
        volume.path(name)
    };
    let (good, bad, unsigned, absent) = (copy("good"), copy("bad"), copy("unsigned"), volume.path("absent"));
    fs::write(bad.join("config.json"), "{}").unwrap();
    fs::remove_file(unsigned.join("model.sig")).unwrap();
    let run = |models: &[&std::path::Path], more: &[&str]| capture(volume.models(models).args(more)).unwrap();
    assert_eq!(outcome(run(&[&good, &volume.model()], &[]), 0).verdicts(), ["verified", "verified"]);
    assert_eq!(volume.message(), "");
    let line = outcome(run(&[&good, &bad, &good], &[]), 1);
    assert_eq!(
        (line.verdict.as_str(), line.verdicts()),
        ("rejected", vec!["verified", "rejected", "verified"])
    );
    assert!(
        volume.message().starts_with("rejected: ")
            && volume.message().lines().next().unwrap().contains("/bad\"")
    );
    let line = outcome(run(&[&bad, &absent, &good], &[]), 2);
    assert_eq!(line.verdicts(), ["rejected", "misuse", "verified"]);
    let first = volume.message().lines().next().unwrap().to_owned();
    assert!(first.starts_with("misuse: ") && first.contains("/absent\""), "{first}");
    let line = outcome(run(&[&good, &bad, &unsigned], &["--mode", "warn"]), 0);
    assert_eq!(line.verdicts(), ["verified", "rejected", "rejected"]);
    let by_variable = capture(
        volume.models(&[]).env("WEIGHTSEAL_MODEL", format!("{}\n{}\n", good.display(), bad.display())),
    );
    assert_eq!(outcome(by_variable.unwrap(), 1).verdicts(), ["verified", "rejected"]);
}

#[test]
fn hostile_names_stay_in_their_lines() {
    let volume = Volume::new();
    let folder = volume.path(HOSTILE);
    fs::rename(volume.model(), &folder).unwrap();
    fs::write(folder.join(HOSTILE), "x").unwrap();
    let ended = capture(volume.models(&[&folder]).args(["--name", HOSTILE])).unwrap();
    let (stderr, message) = (ended.err(), volume.message());
    assert_eq!(codes(ended, 1), ["name-not-expected"]);
    let ended = capture(&mut volume.models(&[&folder])).unwrap();
    let (stderr, message) = (stderr + &ended.err(), message + &volume.message());
    let line = outcome(ended, 1);
    assert_eq!(
        (line.codes(), line.models[0].findings[0].name.as_deref()),
        (vec!["file-unsigned".to_owned()], Some(HOSTILE))
    );
    for text in [&stderr, &message] {
        assert!(text.contains("\\u{202e}") && !text.contains("::") && !text.contains("%0A"), "{text:?}");
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control() && !"\u{202e}\u{feff}".contains(c)),
            "{text:?}"
        );
    }
    assert!(stderr.lines().all(|line| !line.starts_with("error")), "{stderr}");
}

#[test]
fn many_long_names_are_counted_and_the_message_is_cut() {
    let volume = Volume::new();
    for n in 0..150 {
        fs::write(volume.model().join(format!("{}{n:03}", "é\u{202e}".repeat(50))), "x").unwrap();
    }
    let line = outcome(volume.run::<&str>(&[]), 1);
    assert_eq!((line.models[0].findings.len(), line.models[0].more_findings), (100, 50));
    let message = volume.message();
    assert!(message.len() > 3500 && message.len() <= 4096, "{}", message.len());
    let first: String = message.chars().take(200).collect();
    assert!(first.contains("/model\": file-unsigned: \"") && first.contains("000\"\n"), "{first}");
}

#[test]
fn an_outcome_that_nobody_can_read_is_no_success() {
    let volume = Volume::new();
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    for (mode, code) in [("enforce", 3), ("warn", 3)] {
        let status =
            volume.command().args(["--mode", mode]).stdout(full()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code));
        assert!(
            volume.message().starts_with("could-not-tell: the outcome cannot be written"),
            "{}",
            volume.message()
        );
    }
    // Logs are not the outcome.
    let mut command = volume.command();
    assert_eq!(command.stdout(Stdio::null()).stderr(full()).status().unwrap().code(), Some(0));
    // Evidence stays evidence.
    volume.change("README.md", 1);
    assert_eq!(volume.command().stdout(full()).stderr(Stdio::null()).status().unwrap().code(), Some(1));
    assert!(volume.message().starts_with("rejected: "), "{}", volume.message());
}

#[test]
fn a_termination_log_that_cannot_be_written_changes_no_verdict() {
    let volume = Volume::new();
    let run = |log: &str, code| {
        let mut command = program();
        command.arg("--model").arg(volume.model()).arg("--public-key").arg(volume.path("release.pub"));
        let ended = capture(command.args(["--termination-log", log])).unwrap();
        assert_eq!(ended.err().contains("cannot be used"), log != "none", "{ended}");
        outcome(ended, code)
    };
    let link = volume.path("link");
    std::os::unix::fs::symlink(volume.path("target"), &link).unwrap();
    for log in
        ["none", "/dev/full", "/no/such/folder/log", volume.model().to_str().unwrap(), link.to_str().unwrap()]
    {
        run(log, 0);
    }
    volume.change("README.md", 1);
    run("/no/such/folder/log", 1);
    assert!(!volume.path("target").exists());
    // One that was told is made.
    fs::remove_file(volume.log()).unwrap();
    assert_eq!(codes(volume.run::<&str>(&[]), 1), ["file-changed"]);
    assert!(volume.message().starts_with("rejected: "));
}
