//! The private Sigstore is real: its servers take each other's word and the peer's, and nothing of it is left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::faults::Fault;
use testkit::http::{Response, post};
use testkit::peers::{Hashing, Job, Peer, peer};
use testkit::pki::{Key, KeyKind};
use testkit::sigstore::{Options, Role, Sigstore, build, shared};
use testkit::{TempDir, models, or_skip, temporary};

const EMAIL: &str = "dev@example.com";

/// Asks Fulcio for a certificate as a client does: the key's possession is proven over who the token is for.
fn asked(url: &str, token: &str, subject: &str) -> Response {
    let key = Key::new(KeyKind::P256, 77);
    let proof = STANDARD.encode(key.sign(subject.as_bytes()));
    let request = json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_pem()},
            "proofOfPossession": proof,
        },
    });
    let url = format!("{url}/api/v2/signingCert");
    post(&url, "application/json", request.to_string().as_bytes()).expect("Fulcio answers")
}

/// The certificates of an answer, as PEM.
#[track_caller]
fn certificates(answer: &Response) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let chain = &answer["signedCertificateEmbeddedSct"]["chain"]["certificates"];
    let chain = chain.as_array().unwrap_or_else(|| panic!("no certificate with its timestamp in {answer}"));
    chain.iter().map(|pem| pem.as_str().expect("PEM").to_owned()).collect()
}

fn names(pem: &str, name: &str) -> bool {
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(base64).expect("base64");
    der.windows(name.len()).any(|window| window == name.as_bytes())
}

#[test]
fn a_token_becomes_a_certificate_for_its_email_address() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let chain = certificates(&asked(sigstore.fulcio_url(), &sigstore.token(EMAIL), EMAIL));
    assert!(names(&chain[0], EMAIL) && names(&chain[0], sigstore.issuer()), "{chain:?}");
    assert!(!names(&chain[0], "other@example.com"));
    assert_eq!(chain[1].trim(), sigstore.fulcio_intermediate().pem().trim());
    assert_eq!(chain[2].trim(), sigstore.fulcio_root().pem().trim());
}

#[test]
fn a_token_of_a_workload_becomes_a_certificate_for_its_address() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let subject = "http://localhost/ci";
    for token in [sigstore.uri_token(subject, None), sigstore.uri_token(subject, Some(EMAIL))] {
        let chain = certificates(&asked(sigstore.fulcio_url(), &token, subject));
        assert!(names(&chain[0], subject) && names(&chain[0], sigstore.uri_issuer()), "{chain:?}");
        assert!(!names(&chain[0], EMAIL));
    }
}

#[test]
fn a_token_with_a_wrong_claim_is_refused() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let good = sigstore.token_with(|_| ());
    assert_eq!(asked(sigstore.fulcio_url(), &good, EMAIL).status, 200);
    let now = |claims: &Value| claims["iat"].as_u64().expect("a time");
    for (what, token) in [
        ("expired", sigstore.token_with(|claims| claims["exp"] = (now(claims) - 60).into())),
        ("not yet valid", sigstore.token_with(|claims| claims["nbf"] = (now(claims) + 3600).into())),
        ("for another audience", sigstore.token_with(|claims| claims["aud"] = "other".into())),
        ("of another issuer", sigstore.token_with(|claims| claims["iss"] = "http://localhost:1".into())),
        ("not verified", sigstore.token_with(|claims| claims["email_verified"] = false.into())),
        ("changed", good.replacen('.', ".e", 1)),
    ] {
        let answer = asked(sigstore.fulcio_url(), &token, EMAIL);
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    }
}

/// A model with the place for its signature.
struct Case {
    _dir: TempDir,
    job: Job,
}

impl Case {
    fn new() -> Case {
        let dir = temporary().expect("temporary folder");
        let model = dir.path().join("model");
        models::small(&model).expect("a model");
        Case { job: Job::new(model, dir.path().join("model.sig")), _dir: dir }
    }

    fn bundle(&self) -> Value {
        let path = self._dir.path().join("model.sig");
        serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON")
    }

    fn change(&self) {
        let path = self._dir.path().join("model/config.json");
        let text = fs::read_to_string(&path).expect("readable").replace("llama", "lhama");
        fs::write(&path, text).expect("written");
    }
}

/// Peer and servers, where both can be had.
fn both() -> Option<(Peer, &'static Sigstore)> {
    Some((or_skip(peer("1.1.1"))?, or_skip(shared())?))
}

#[test]
fn the_peer_signs_and_verifies_with_each_log() {
    let Some((peer, sigstore)) = both() else { return };
    let logs = [
        (sigstore.trust_config(), sigstore.rekor_v2_log_id(), "0.0.2"),
        (sigstore.trust_config_v1(), sigstore.rekor_v1_log_id(), "0.0.1"),
    ];
    for (trust, log_id, version) in logs {
        let case = Case::new();
        let verify = |trust: &Path, identity: &str, issuer: &str| {
            peer.verify_sigstore(&case.job, trust, identity, issuer).expect("it runs")
        };
        peer.sign_sigstore(&case.job, &trust, &sigstore.token(EMAIL)).expect("it runs").expect_accepted();
        verify(&trust, EMAIL, sigstore.issuer()).expect_accepted();

        let bundle = case.bundle();
        let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
        assert_eq!(entry["logId"]["keyId"], STANDARD.encode(log_id));
        assert_eq!(entry["kindVersion"]["version"], version);

        verify(&trust, "other@example.com", sigstore.issuer()).expect_refused();
        verify(&trust, EMAIL, sigstore.uri_issuer()).expect_refused();
        let without = sigstore.trust_config_with(|config| config["trustedRoot"]["tlogs"] = json!([]));
        verify(&without, EMAIL, sigstore.issuer()).expect_refused();
        case.change();
        verify(&trust, EMAIL, sigstore.issuer()).expect_refused();
    }
}

#[test]
fn the_peers_interface_signs_shards_for_a_workload() {
    let Some((peer, sigstore)) = both() else { return };
    let case = Case::new();
    let job = case.job.clone().hashing(Hashing::Shards("sha256", 65_536));
    let (trust, subject) = (sigstore.trust_config(), "http://localhost/ci");
    let token = sigstore.uri_token(subject, None);
    peer.sign_sigstore(&job, &trust, &token).expect("it runs").expect_accepted();
    let verify =
        |identity| peer.verify_sigstore(&job, &trust, identity, sigstore.uri_issuer()).expect("it runs");
    verify(subject).expect_accepted();
    verify("http://localhost/other").expect_refused();
}

#[test]
fn a_fault_stands_in_front_of_the_server_it_was_asked_for() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let roles = [
        (Role::Fulcio, "caUrls"),
        (Role::RekorV1, "rekorTlogUrls"),
        (Role::RekorV2, "rekorTlogUrls"),
        (Role::Tsa, "tsaUrls"),
    ];
    for (role, list) in roles {
        let (server, config) = sigstore.faulty(role, Fault::Pass);
        let config: Value = serde_json::from_slice(&fs::read(config).expect("readable")).expect("JSON");
        let url = config[list][0]["url"].as_str().expect("an address");
        assert!(url.starts_with(server.url()), "{role:?}: {url}");
        let version = if role == Role::RekorV2 || role == Role::Tsa || role == Role::Fulcio { 2 } else { 1 };
        assert_eq!(config["rekorTlogUrls"][0]["majorApiVersion"], version);
    }

    let (server, _) = sigstore.faulty(Role::Fulcio, Fault::unavailable(1));
    let token = sigstore.token(EMAIL);
    assert_eq!(asked(server.url(), &token, EMAIL).status, 503);
    certificates(&asked(server.url(), &token, EMAIL));
    assert!(server.received(&token));
}

#[test]
fn the_peer_signs_through_a_server_of_faults_or_says_that_it_could_not() {
    let Some((peer, sigstore)) = both() else { return };
    for role in [Role::Fulcio, Role::RekorV1, Role::RekorV2, Role::Tsa] {
        let signed = |fault| {
            let (case, (server, trust)) = (Case::new(), sigstore.faulty_trust(role, fault));
            let answer = peer.sign_sigstore(&case.job, &trust, &sigstore.token(EMAIL)).expect("it runs");
            assert!(server.requests() > 0, "{role:?} was not asked\n{}", answer.ended);
            answer
        };
        signed(Fault::Pass).expect_accepted();
        assert!(!signed(Fault::internal()).accepted(), "{role:?} failed and was not missed");
    }
}

#[test]
fn two_run_side_by_side_with_keys_of_their_own() {
    let Some(first) = or_skip(shared()) else { return };
    let Some(second) = or_skip(Sigstore::start(&Options::default())) else { return };
    assert_ne!(first.fulcio_root().pem(), second.fulcio_root().pem());
    assert_ne!(first.rekor_v2_log_id(), second.rekor_v2_log_id());
    certificates(&asked(first.fulcio_url(), &first.token(EMAIL), EMAIL));
    certificates(&asked(second.fulcio_url(), &second.token(EMAIL), EMAIL));
    // The keys of one are not those of the other.
    let foreign = asked(second.fulcio_url(), &first.token(EMAIL), EMAIL);
    assert!((400..500).contains(&foreign.status), "{}", foreign.text());

    let (url, dir) = (second.fulcio_url().to_owned(), second.dir().to_path_buf());
    assert!(listens(&url) && dir.is_dir());
    drop(second);
    assert!(!listens(&url) && !dir.exists());
}

/// The program behind `cargo xtask services`, with temporary folders of its own.
struct Program {
    child: Child,
    temporary: TempDir,
    urls: Vec<String>,
}

impl Program {
    fn start() -> Program {
        let temporary = temporary().expect("temporary folder");
        let files = temporary.path().join("files");
        let mut command = Command::new(env!("CARGO_BIN_EXE_services"));
        command.arg("sigstore").arg(&files).env("TMPDIR", temporary.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut urls = Vec::new();
        for line in output.lines() {
            let line = line.expect("text");
            if let Some((_, url)) =
                line.split_once("http://127.0.0.1:").filter(|_| !line.contains("weightseal"))
            {
                urls.push(format!("http://127.0.0.1:{}", url.split('/').next().unwrap_or_default()));
            }
            if line.starts_with("They end") {
                break;
            }
        }
        assert_eq!(urls.len(), 5, "{urls:?}");
        assert!(urls.iter().all(|url| listens(url)), "{urls:?}");
        for file in ["trusted_root.json", "signing_config_v1.json", "trust_config.json", "token"] {
            assert!(files.join(file).is_file(), "there is no {file}");
        }
        let token = fs::read_to_string(files.join("token")).expect("a token");
        certificates(&asked(&urls[0], &token, EMAIL));
        Program { child, temporary, urls }
    }

    /// Only the folder that was asked for is left.
    #[track_caller]
    fn nothing_is_left(&self) {
        let start = Instant::now();
        let left = || -> Vec<_> {
            let entries = fs::read_dir(self.temporary.path()).expect("readable");
            entries.map(|entry| entry.expect("readable").file_name()).filter(|name| name != "files").collect()
        };
        while self.urls.iter().any(|url| listens(url)) || !left().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "left: {:?}, {:?}", self.urls, left());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn listens(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("http://")).is_ok()
}

#[test]
fn the_servers_do_not_outlive_a_starter_that_is_killed() {
    if or_skip(build()).is_none() {
        return;
    }
    let mut program = Program::start();
    program.child.kill().expect("it runs");
    program.child.wait().expect("it ended");
    program.nothing_is_left();
}

#[test]
fn the_servers_end_with_standard_input() {
    if or_skip(build()).is_none() {
        return;
    }
    let mut program = Program::start();
    drop(program.child.stdin.take());
    assert_eq!(program.child.wait().expect("it ended").code(), Some(0));
    assert!(program.urls.iter().all(|url| !listens(url)), "{:?}", program.urls);
    program.nothing_is_left();
}
