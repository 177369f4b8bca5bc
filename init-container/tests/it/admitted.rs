//! What lets the pod start, and what is said of it.

use std::fs;

use testkit::{
    capture, models,
    pki::{KeyKind, Pki, email},
};
use weightseal::{Algorithm, CertificateSigner, Hashing, KeySigner, Model, PrivateKey, Replace, Run};

use crate::{Volume, codes, key, line::Identity, outcome, program, root_digest, sign};

#[test]
fn a_model_as_it_was_signed_passes_and_clears_the_termination_log() {
    let volume = Volume::new();
    let line = outcome(volume.run(&["--model-id", "acme/llama"]), 0);
    assert_eq!(
        (line.verdict.as_str(), line.mode.as_str(), volume.message().as_str()),
        ("verified", "enforce", "")
    );
    assert_eq!(line.program_version, env!("CARGO_PKG_VERSION"));
    let [model] = &line.models[..] else { panic!("{line:?}") };
    assert_eq!(
        (model.model.as_str(), model.model_id.as_deref()),
        (volume.model().to_str().unwrap(), Some("acme/llama"))
    );
    assert_eq!((model.counts.signed, model.counts.verified, model.counts.ignored), (7, 7, 1));
    assert_eq!((model.assurance.as_deref(), model.bound.len(), model.more_findings), (Some("hashed"), 0, 0));
    assert!(model.bytes > 384 << 10 && line.findings.is_empty() && model.findings.is_empty());
    assert_eq!(model.kernel.as_deref(), Some(weightseal::Kernel::fastest(model.bytes).name()));
    let [signature] = &model.signatures[..] else { panic!("{model:?}") };
    assert!(
        signature.accepted
            && matches!(&signature.identity, Some(Identity::Key { algorithm, .. }) if algorithm == "ECDSA P-256")
    );
    assert_eq!(
        (signature.name.as_deref(), signature.version.as_deref()),
        (Some("acme/llama-3"), Some("1.2"))
    );
}

#[test]
fn settings_come_by_variable_as_well() {
    let volume = Volume::new();
    volume.change("README.md", 0);
    fs::write(volume.model().join("extra.png"), "x").unwrap();
    let mut command = program();
    command
        .env("WEIGHTSEAL_MODEL", format!("{}\n", volume.model().display()))
        .env("WEIGHTSEAL_PUBLIC_KEY_PEM", format!("{}{}", key(1).public_pem(), key(0).public_pem()))
        .env("WEIGHTSEAL_TERMINATION_LOG", volume.log())
        .env("WEIGHTSEAL_NAME", "acme/llama-3")
        .env("WEIGHTSEAL_VERSION", "1.2")
        .env("WEIGHTSEAL_EXPECT_DIGEST", format!("{}\n", root_digest(&volume.model().join("model.sig"))))
        .env("WEIGHTSEAL_IGNORE_UNSIGNED_FILES", "true")
        .env("WEIGHTSEAL_MODE", "warn")
        .env("WEIGHTSEAL_DEADLINE", "5m")
        .env("WEIGHTSEAL_THREADS", "1")
        .env("WEIGHTSEAL_MEMORY", "8Mi");
    let line = outcome(capture(&mut command).unwrap(), 0);
    assert_eq!((line.mode.as_str(), line.verdict.as_str()), ("warn", "rejected"));
    let model = &line.models[0];
    assert_eq!(
        (model.findings.len(), model.findings[0].name.as_deref(), model.counts.unsigned),
        (1, Some("README.md"), 1)
    );
    let bound: Vec<_> = model.bound.iter().map(|binding| binding.by.as_str()).collect();
    assert_eq!(bound, ["expected-digest", "name", "version"]);
    assert!(volume.message().starts_with("admitted (warn mode): rejected: "), "{}", volume.message());
    // The flag wins.
    assert_eq!(codes(capture(command.args(["--mode", "enforce"])).unwrap(), 1), ["file-changed"]);
}

#[test]
fn keys_come_by_several_files() {
    let volume = Volume::new();
    fs::write(volume.path("other.pub"), key(1).public_pem()).unwrap();
    let mut command = program();
    command.arg("--model").arg(volume.model()).arg("--termination-log=none");
    command.env(
        "WEIGHTSEAL_PUBLIC_KEY",
        format!("{}:{}", volume.path("other.pub").display(), volume.path("release.pub").display()),
    );
    outcome(capture(&mut command).unwrap(), 0);
    assert_eq!(
        codes(capture(command.arg("--public-key").arg(volume.path("other.pub"))).unwrap(), 1),
        ["key-not-trusted"]
    );
}

#[test]
fn several_signatures_several_signers() {
    let volume = Volume::new();
    let second = volume.path("second.sig");
    let other = KeySigner::from_pem(key(1).pkcs8_pem().as_bytes(), None).unwrap();
    fs::rename(volume.model().join("model.sig"), volume.path("first.sig")).unwrap();
    sign(&volume.model(), &Hashing::files(Algorithm::Blake3), &other, &second);
    let both = |more: &[&str]| {
        let mut command = volume.command();
        command.arg("--signature").arg(volume.path("first.sig")).arg("--signature").arg(&second).args(more);
        capture(&mut command).unwrap()
    };
    fs::write(volume.path("other.pub"), key(1).public_pem()).unwrap();
    let other = volume.path("other.pub");
    let trusted = ["--public-key", other.to_str().unwrap(), "--require", "2"];
    assert_eq!(outcome(both(&trusted), 0).models[0].signatures.len(), 2);
    assert_eq!(codes(both(&[]), 1), ["key-not-trusted"]);
    outcome(both(&["--require", "1"]), 0);
    assert!(codes(both(&["--require", "2"]), 1).contains(&"too-few-signatures".to_owned()));
}

#[test]
fn certificates_of_whom_was_asked_for() {
    let volume = Volume::new();
    let root = Pki::root(KeyKind::P384).self_signed();
    let leaf = Pki::leaf(KeyKind::P256).names(&[email("release@acme.example")]).issue(&root);
    let key = PrivateKey::from_pem(leaf.key().pkcs8_pem().as_bytes(), || Ok(None)).unwrap();
    let signer = CertificateSigner::new(key, leaf.pem().as_bytes(), b"").unwrap();
    sign(&volume.model(), &Hashing::files(Algorithm::Sha256), &signer, &volume.model().join("model.sig"));
    fs::write(volume.path("root.pem"), root.pem()).unwrap();
    let run = |identity: &str, pem: bool| {
        let mut command = program();
        command.arg("--model").arg(volume.model()).arg("--termination-log").arg(volume.log());
        command.args(["--certificate-identity", identity]);
        if pem {
            command.env("WEIGHTSEAL_CERTIFICATE_CHAIN_PEM", root.pem());
        } else {
            command.arg("--certificate-chain").arg(volume.path("root.pem"));
        }
        capture(&mut command).unwrap()
    };
    for pem in [false, true] {
        let line = outcome(run("release@acme.example", pem), 0);
        let identity = &line.models[0].signatures[0].identity;
        assert!(
            matches!(identity, Some(Identity::Certificate { names, .. }) if names == &["release@acme.example"]),
            "{identity:?}"
        );
        assert_eq!(codes(run("acme.example", pem), 1), ["certificate-identity"]);
    }
    // A key is no certificate, and the other way round.
    assert_eq!(codes(volume.run::<&str>(&[]), 1), ["method-not-accepted"]);
}

#[test]
fn a_single_file_has_its_signature_beside_it() {
    let volume = Volume::new();
    let file = volume.path("weights.safetensors");
    let written = models::Weights::single(300_000).write(&volume.path("tmp")).unwrap();
    fs::rename(&written[0], &file).unwrap();
    let signature = volume.sign(&file);
    assert_eq!(signature.file_name().unwrap(), "weights.safetensors.sig");
    let line = outcome(capture(&mut volume.models(&[&file])).unwrap(), 0);
    assert_eq!((line.models[0].counts.signed, line.models[0].counts.ignored), (1, 0));
    fs::remove_file(signature).unwrap();
    assert_eq!(codes(capture(&mut volume.models(&[&file])).unwrap(), 1), ["signature-missing"]);
}

#[test]
fn warn_mode_lets_pass_and_says_what_was_wrong() {
    let volume = Volume::new();
    let warn = |args: &[&str]| outcome(volume.run(&[&["--mode", "warn"], args].concat()), 0);
    assert_eq!((warn(&[]).verdict.as_str(), volume.message().as_str()), ("verified", ""));
    volume.change("config.json", 3);
    let line = warn(&[]);
    assert_eq!((line.verdict.as_str(), line.codes()), ("rejected", vec!["file-changed".to_owned()]));
    let first = volume.message().lines().next().unwrap().to_owned();
    assert!(
        first.starts_with("admitted (warn mode): rejected: ")
            && first.ends_with(": file-changed: \"config.json\""),
        "{first}"
    );
    // No signature at all, and one that cannot be parsed.
    fs::write(volume.model().join("model.sig"), "{").unwrap();
    assert_eq!(warn(&[]).codes(), ["json-invalid"]);
    fs::remove_file(volume.model().join("model.sig")).unwrap();
    assert_eq!(warn(&[]).codes(), ["signature-missing"]);
    // Misuse is never let pass.
    assert_eq!(
        codes(volume.run(&["--mode", "warn", "--signature", "/no/such/file"]), 2),
        ["signature-absent"]
    );
}

#[test]
fn what_is_left_out_or_tolerated_is_counted() {
    let volume = Volume::new();
    fs::create_dir(volume.model().join("cache")).unwrap();
    fs::write(volume.model().join("cache/x"), "x").unwrap();
    fs::write(volume.model().join(".gitignore"), "x").unwrap();
    assert_eq!(codes(volume.run::<&str>(&[]), 1), ["file-unsigned"]);
    let inside = volume.model().join("cache");
    for path in ["cache", "cache/x", inside.to_str().unwrap()] {
        let line = outcome(volume.run(&["--ignore-paths", path]), 0);
        assert_eq!(line.models[0].counts.ignored, 3, "{path}");
    }
    outcome(volume.run(&["--ignore-unsigned-files"]), 0);
    assert_eq!(codes(volume.run(&["--ignore-paths", "/elsewhere"]), 1), ["file-unsigned"]);
    // Signed with Git's own files, of which there were none: the statement leaves none out.
    fs::remove_file(volume.model().join(".gitignore")).unwrap();
    let path = volume.model().join("model.sig");
    let signer = KeySigner::from_pem(key(0).pkcs8_pem().as_bytes(), None).unwrap();
    let mut model = Model::open(volume.model()).unwrap().include_git_paths(true);
    model.leave_out_signature(&path);
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer, &Run::new()).unwrap();
    bundle.write(&path, Replace::Signature).unwrap();
    fs::write(volume.model().join(".gitignore"), "x").unwrap();
    outcome(volume.run::<&str>(&[]), 0);
    assert_eq!(codes(volume.run(&["--no-ignore-git-paths"]), 1), ["file-unsigned"]);
}

#[test]
fn links_are_followed_only_if_both_sides_say_so() {
    let volume = Volume::new();
    fs::rename(volume.model().join("config.json"), volume.model().join("1_Pooling/real.json")).unwrap();
    std::os::unix::fs::symlink("1_Pooling/real.json", volume.model().join("config.json")).unwrap();
    let path = volume.model().join("model.sig");
    let signer = KeySigner::from_pem(key(0).pkcs8_pem().as_bytes(), None).unwrap();
    let mut model = Model::open(volume.model()).unwrap().allow_symlinks(true);
    model.leave_out_signature(&path);
    let run = Run::new();
    let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer, &run).unwrap();
    bundle.write(&path, Replace::Signature).unwrap();
    assert!(codes(volume.run::<&str>(&[]), 1).contains(&"symlink-refused".to_owned()));
    let line = outcome(volume.run(&["--allow-symlinks"]), 0);
    assert_eq!((line.models[0].counts.signed, line.models[0].counts.links), (8, 1));
}
