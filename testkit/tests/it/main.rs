//! What testkit stands in for is real. The peers: each release signs, verifies what it signed, and refuses what was
//! changed since.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod faults;
#[cfg(feature = "pki")]
mod hub;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "sigstore")]
mod sigstore;

use std::fs;
use std::path::{Path, PathBuf};

use testkit::peers::{Hashing, Job, Peer, VERSIONS, peer};
use testkit::{TempDir, models, or_skip, temporary};

/// A model with its signature beside it, an EC key and a certificate for it under two authorities.
struct Case {
    dir: TempDir,
    job: Job,
}

impl Case {
    fn new(peer: &Peer) -> Case {
        let dir = temporary().expect("temporary folder");
        let model = dir.path().join("model");
        models::small(&model).expect("a model");
        fs::write(model.join("notes.txt"), "not part of it").expect("written");
        let made = peer.script(include_str!("keys.py"), &[dir.path().into()], None).expect("Python runs");
        made.expect_code(0);
        let job = Job::new(&model, dir.path().join("model.sig")).ignore(model.join("notes.txt"));
        Case { dir, job }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn change(&self) {
        let path = self.path("model/config.json");
        let text = fs::read_to_string(&path).expect("readable").replace("llama", "lhama");
        fs::write(&path, text).expect("written");
    }

    fn signed(&self) -> serde_json::Value {
        let bundle: serde_json::Value = read(&self.path("model.sig"));
        assert!(bundle["dsseEnvelope"]["payload"].is_string(), "{bundle}");
        bundle
    }
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON")
}

#[test]
fn each_release_signs_and_verifies_with_a_key() {
    for version in VERSIONS {
        let Some(peer) = or_skip(peer(version)) else { continue };
        let case = Case::new(&peer);
        peer.sign_key(&case.job, &case.path("leaf.key")).expect("it runs").expect_accepted();
        case.signed();
        let verify = |key: &str| peer.verify_key(&case.job, &case.path(key)).expect("it runs");
        verify("leaf.pub").expect_accepted();
        verify("root.pub").expect_refused();
        case.change();
        verify("leaf.pub").expect_refused();
    }
}

#[test]
fn each_release_that_can_signs_and_verifies_with_a_certificate() {
    for version in VERSIONS {
        let Some(peer) = or_skip(peer(version)) else { continue };
        let case = Case::new(&peer);
        let (key, leaf, middle) = (case.path("leaf.key"), case.path("leaf.crt"), case.path("middle.crt"));
        let answer = peer.sign_certificate(&case.job, &key, &leaf, &[&middle]).expect("it runs");
        assert_eq!(answer.accepted(), peer.signs_certificates(), "{}", answer.ended);
        if !peer.signs_certificates() {
            continue;
        }
        let chain = &case.signed()["verificationMaterial"]["x509CertificateChain"]["certificates"];
        assert_eq!(chain.as_array().map(Vec::len), Some(2));
        let verify = |root: &str| peer.verify_certificate(&case.job, &[&case.path(root)]).expect("it runs");
        assert_eq!(
            verify("root.crt").accepted(),
            peer.verifies_certificates(),
            "{}",
            verify("root.crt").ended
        );
        verify("other.crt").expect_refused();
        case.change();
        verify("root.crt").expect_refused();
    }
}

#[test]
fn the_interface_hashes_as_the_command_line_cannot() {
    let Some(peer) = or_skip(peer("1.1.1")) else { return };
    for hashing in [Hashing::Files("blake3"), Hashing::Files("blake2"), Hashing::Shards("sha256", 65_536)] {
        let case = Case::new(&peer);
        let job = case.job.clone().hashing(hashing);
        peer.sign_key(&job, &case.path("leaf.key")).expect("it runs").expect_accepted();
        case.signed();
        let verify = || peer.verify_key(&job, &case.path("leaf.pub")).expect("it runs");
        verify().expect_accepted();
        case.change();
        verify().expect_refused();
    }
}

#[test]
fn the_flags_reach_the_peer() {
    let Some(peer) = or_skip(peer("1.1.1")) else { return };
    let case = Case::new(&peer);
    let model = case.path("model");
    fs::write(model.join(".gitattributes"), "*.safetensors filter=lfs\n").expect("written");
    std::os::unix::fs::symlink("config.json", model.join("link.json")).expect("a link");
    let sign = |job: &Job| peer.sign_key(job, &case.path("leaf.key")).expect("it runs");
    let verify = |job: &Job| peer.verify_key(job, &case.path("leaf.pub")).expect("it runs");

    sign(&case.job).expect_refused();
    let job = case.job.clone().allow_symlinks().with_git_paths();
    sign(&job).expect_accepted();
    verify(&job).expect_accepted();

    fs::write(model.join("unsigned.txt"), "added").expect("written");
    verify(&job).expect_refused();
    verify(&job.clone().ignore_unsigned_files()).expect_accepted();

    // A relative path is against the folder that the peer is started in.
    let here =
        Job::new("model", "here.sig").ignore("model/notes.txt").allow_symlinks().current_dir(case.dir.path());
    sign(&here).expect_accepted();
    assert!(case.path("here.sig").is_file());
}
