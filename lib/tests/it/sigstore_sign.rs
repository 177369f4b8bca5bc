//! Signing with a real private Sigstore, and with one that misbehaves.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use testkit::{
    faults::Fault,
    http::{Request, Response, Server, get, post},
    or_skip,
    peers::{Job, peer},
    sigstore::{Role, Sigstore, shared},
};
use weightseal::{
    Algorithm, Bundle, Code, Error, Hashing, Http, IdentityToken, Instance, Memory, Model, RekorVersion, Run,
    SigningConfig, SigstoreIdentity, SigstoreSigner, SigstoreVerifier, TokenFile, TrustStore, TrustedRoot,
    Verifier,
};

use crate::good::write_files;

const EMAIL: &str = "dev@example.com";

fn model() -> Model {
    Model::from_source(Memory::new("m").with("model.safetensors", "weights").with("config.json", "{}"))
}

fn signer(sigstore: &Sigstore, token: &str, config: &Path) -> SigstoreSigner {
    SigstoreSigner::new(
        SigningConfig::read(config).unwrap(),
        TrustedRoot::read(sigstore.trusted_root()).unwrap(),
        IdentityToken::parse(token).unwrap(),
        Http::new().unwrap(),
    )
}

fn sign(signer: &SigstoreSigner, run: &Run) -> Result<Bundle, Error> {
    model().sign(&Hashing::files(Algorithm::Sha256), signer, run)
}

/// Signs, and verifies what was signed as somebody would who read it from a file.
fn signed(sigstore: &Sigstore, signer: &SigstoreSigner, identity: &str, issuer: &str) -> Bundle {
    let bundle = sign(signer, &Run::new()).unwrap_or_else(|error| panic!("{error}; {}", error.help()));
    let bundle = Bundle::parse(bundle.to_json().as_bytes()).unwrap();
    assert_eq!(bundle.signing_method(), "sigstore");
    assert_eq!(bundle.unverified_log_indexes().len(), 1);
    let verifies = |identity: &str, issuer: &str| {
        let root = TrustedRoot::read(sigstore.trusted_root()).unwrap();
        SigstoreVerifier::new(root, SigstoreIdentity::new(identity, issuer))
            .verify(&bundle, &Run::new())
            .is_ok()
    };
    assert!(verifies(identity, issuer));
    assert!(!verifies("somebody@example.com", issuer) && !verifies(identity, "https://issuer.example"));
    bundle
}

#[track_caller]
fn refused(signer: &SigstoreSigner, code: Code) -> String {
    let error = sign(signer, &Run::new()).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

#[test]
fn both_logs_and_both_ways_to_describe_an_instance_sign() {
    let Some(sigstore) = or_skip(shared()) else { return };
    for config in [
        sigstore.signing_config(),
        sigstore.signing_config_v1(),
        sigstore.trust_config(),
        sigstore.trust_config_v1(),
    ] {
        signed(sigstore, &signer(sigstore, &sigstore.token(EMAIL), &config), EMAIL, sigstore.issuer());
    }
}

#[test]
fn a_log_can_do_without_a_timestamp_authority_if_it_says_when() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let bare = |config: &mut serde_json::Value| config["tsaUrls"] = serde_json::json!([]);
    let first = sigstore.signing_config_v1_with(bare);
    signed(sigstore, &signer(sigstore, &sigstore.token(EMAIL), &first), EMAIL, sigstore.issuer());
    let second = sigstore.signing_config_with(bare);
    refused(&signer(sigstore, &sigstore.token(EMAIL), &second), Code::SigningConfigInvalid);
}

#[test]
fn the_interface_of_the_log_can_be_chosen() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let token = sigstore.token(EMAIL);
    let both = sigstore.signing_config_with(|config| {
        let first = serde_json::json!({"url": sigstore.rekor_v1_url(), "majorApiVersion": 1, "operator": "other",
                                       "validFor": {"start": "2020-01-01T00:00:00Z"}});
        config["rekorTlogUrls"].as_array_mut().unwrap().push(first);
    });
    let by = |version: RekorVersion| {
        let signer = signer(sigstore, &token, &both).rekor(version);
        signed(sigstore, &signer, EMAIL, sigstore.issuer()).to_json()
    };
    assert!(by(RekorVersion::V1).contains("\"dsse\""));
    assert!(by(RekorVersion::V2).contains("\"hashedrekord\""));
}

#[test]
fn as_many_logs_and_timestamps_are_used_as_are_demanded() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let other = |url: &str| {
        serde_json::json!({"url": url, "majorApiVersion": 1, "operator": "other",
                           "validFor": {"start": "2020-01-01T00:00:00Z"}})
    };
    let config = sigstore.signing_config_with(|config| {
        config["rekorTlogUrls"].as_array_mut().unwrap().push(other(sigstore.rekor_v1_url()));
        config["tsaUrls"].as_array_mut().unwrap().push(other(sigstore.tsa_url()));
        config["rekorTlogConfig"] = serde_json::json!({"selector": "ALL"});
        config["tsaConfig"] = serde_json::json!({"selector": "EXACT", "count": 2});
    });
    // That it verifies is checked before it is given away.
    let bundle = sign(&signer(sigstore, &sigstore.token(EMAIL), &config), &Run::new()).unwrap();
    assert_eq!(bundle.unverified_log_indexes().len(), 2);
    assert_eq!(bundle.to_json().matches("signedTimestamp").count(), 2);
}

#[test]
fn a_workload_signs_whether_or_not_its_token_has_a_mail_address() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let subject = "http://localhost/ci";
    for email in [None, Some(EMAIL)] {
        let token = sigstore.uri_token(subject, email);
        signed(
            sigstore,
            &signer(sigstore, &token, &sigstore.signing_config()),
            subject,
            sigstore.uri_issuer(),
        );
    }
}

#[test]
fn what_the_trusted_root_does_not_verify_is_not_given_away() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let services = SigningConfig::read(sigstore.signing_config()).unwrap();
    let token = IdentityToken::parse(&sigstore.token(EMAIL)).unwrap();
    let empty = testkit::temporary().unwrap();
    let foreign = TrustStore::new(Instance::PublicGood).cache_dir(empty.path()).load(&Run::new()).unwrap();
    let signer = SigstoreSigner::new(services, foreign, token, Http::new().unwrap());
    refused(&signer, Code::BundleUnverifiable);
}

#[test]
fn a_token_that_fulcio_would_refuse_is_refused_with_the_reason() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let config = sigstore.signing_config();
    let with = |edit: &dyn Fn(&mut serde_json::Value)| {
        let token = sigstore.token_with(|claims| edit(claims));
        (signer(sigstore, &token, &config), token)
    };
    let (good, _) = with(&|_| ());
    assert!(sign(&good, &Run::new()).is_ok());
    type Edit<'a> = &'a dyn Fn(&mut serde_json::Value);
    let set = |claim: &'static str, value: serde_json::Value| {
        move |claims: &mut serde_json::Value| claims[claim] = value.clone()
    };
    let cases: [(Edit<'_>, Code); 6] = [
        (&set("exp", 1_600_000_000.into()), Code::TokenExpired),
        (&set("nbf", 9_000_000_000_i64.into()), Code::TokenNotYetValid),
        (&set("aud", "somebody".into()), Code::TokenAudience),
        (&set("iss", "https://issuer.example".into()), Code::TokenIssuer),
        (&set("email_verified", false.into()), Code::TokenUnverified),
        (&|claims| drop(claims.as_object_mut().unwrap().remove("email")), Code::TokenMalformed),
    ];
    for (edit, code) in cases {
        let (signer, token) = with(edit);
        let text = refused(&signer, code);
        assert!(!text.contains(&token), "{text}");
    }
}

#[test]
fn a_token_with_a_wrong_signature_is_refused_by_fulcio_in_its_words() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let token = sigstore.token(EMAIL);
    let (kept, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{kept}.{first}{}", &signature[1..]);
    let text = refused(&signer(sigstore, &forged, &sigstore.signing_config()), Code::ServiceFailed);
    assert!(
        text.starts_with("the certificate authority Fulcio at ") && text.contains("answered 4"),
        "{text}"
    );
    assert!(!text.contains(&forged) && !text.contains(kept), "{text}");
}

#[test]
fn a_token_file_with_a_line_end_signs() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let dir = testkit::temporary().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, sigstore.token(EMAIL) + "\n").unwrap();
    let signer = SigstoreSigner::new(
        SigningConfig::read(sigstore.signing_config()).unwrap(),
        TrustedRoot::read(sigstore.trusted_root()).unwrap(),
        TokenFile(file),
        Http::new().unwrap(),
    );
    signer.check(&Run::new()).unwrap();
    signed(sigstore, &signer, EMAIL, sigstore.issuer());
}

/// Each service with this fault: signing fails in time, says which service it was, and gives no token away.
#[track_caller]
fn fails(sigstore: &Sigstore, fault: &dyn Fn() -> Fault, says: &str) {
    for (role, name) in [
        (Role::Fulcio, "Fulcio"),
        (Role::Tsa, "the timestamp authority"),
        (Role::RekorV2, "Rekor"),
        (Role::RekorV1, "Rekor"),
    ] {
        let (server, config) = sigstore.faulty(role, fault());
        let token = sigstore.token(EMAIL);
        let begun = Instant::now();
        let error = sign(&signer(sigstore, &token, &config), &Run::new().deadline(Duration::from_secs(12)));
        let error = error.map(|_| ()).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(14), "{role:?} {error}");
        assert_eq!(error.code(), Code::ServiceFailed, "{role:?} {error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(says), "{role:?} {text}");
        assert!(text.contains(server.url()), "{role:?} {text}");
        assert!(!text.contains(&token), "{role:?} {text}");
    }
}

#[test]
fn a_service_that_refuses_is_quoted() {
    let Some(sigstore) = or_skip(shared()) else { return };
    fails(sigstore, &|| Fault::forbidden("not today"), "not today");
}

#[test]
fn a_service_that_wants_more_time_than_there_is_is_not_waited_for() {
    let Some(sigstore) = or_skip(shared()) else { return };
    fails(sigstore, &|| Fault::too_many(100), "asks to wait 100 s");
}

#[test]
fn a_service_that_fails_each_time_is_asked_four_times() {
    let Some(sigstore) = or_skip(shared()) else { return };
    fails(sigstore, &Fault::internal, "(4 attempts)");
}

#[test]
fn a_service_that_closes_or_cuts_the_connection_is_told() {
    let Some(sigstore) = or_skip(shared()) else { return };
    fails(sigstore, &|| Fault::Close, "the connection failed: ");
    fails(sigstore, &|| Fault::NotHttp, "the connection failed: ");
}

#[test]
fn a_service_that_never_answers_costs_no_more_than_the_time_of_the_run() {
    let Some(sigstore) = or_skip(shared()) else { return };
    for role in [Role::Fulcio, Role::Tsa, Role::RekorV2, Role::RekorV1] {
        let (_server, config) = sigstore.faulty(role, Fault::Stall);
        let begun = Instant::now();
        let signer = signer(sigstore, &sigstore.token(EMAIL), &config);
        let error = sign(&signer, &Run::new().deadline(Duration::from_secs(3))).unwrap_err();
        assert_eq!(error.code(), Code::ServiceFailed, "{role:?} {error}");
        assert!(error.to_string().contains("gave no whole answer within"), "{role:?} {error}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{role:?} {:?}", begun.elapsed());
    }
}

#[test]
fn a_redirect_is_not_followed_and_no_token_goes_elsewhere() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let other = testkit::faults::FaultServer::start(Fault::Pass, sigstore.fulcio_url());
    let to = other.url().to_owned();
    fails(sigstore, &|| Fault::Redirect { code: 307, to: to.clone() }, "which is not followed");
    assert_eq!(other.requests(), 0);
}

#[test]
fn an_answer_without_end_or_sense_is_none() {
    let Some(sigstore) = or_skip(shared()) else { return };
    fails(sigstore, &Fault::huge, "answered with more than 1.0 MB");
    // Fulcio's garbage is met where it says what it knows, and then where it certifies.
    fails(sigstore, &|| Fault::Garbage, "gave an answer that cannot be used");
}

#[test]
fn a_service_that_recovers_is_waited_for() {
    let Some(sigstore) = or_skip(shared()) else { return };
    for role in [Role::Fulcio, Role::Tsa, Role::RekorV2, Role::RekorV1] {
        let (server, config) = sigstore.faulty(role, Fault::unavailable(2));
        signed(sigstore, &signer(sigstore, &sigstore.token(EMAIL), &config), EMAIL, sigstore.issuer());
        assert!(server.requests() >= 3, "{role:?}");
    }
}

#[test]
fn an_entry_whose_answer_was_lost_is_found_again() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let upstream = sigstore.rekor_v1_url().to_owned();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    // Keeps the first answer for itself, and then says what logs say that do not take an entry twice.
    let server = Server::start(move |stream| {
        let Ok(Some(request)) = Request::read(stream) else { return };
        let url = format!("{upstream}{}", request.path);
        let mut seen = heard.lock().unwrap();
        let answer = match (request.method.as_str(), seen.len()) {
            ("POST", 0) => {
                let made = post(&url, "application/json", &request.body).unwrap();
                let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
                seen.push(made.as_object().unwrap().keys().next().unwrap().clone());
                return;
            }
            ("POST", _) => {
                let place = format!("/api/v1/log/entries/{}", seen[0]);
                let body = r#"{"code":409,"message":"an equivalent entry already exists"}"#;
                let mut answer = Response::new(409, "application/json", body);
                answer.headers.push(("location".to_owned(), place));
                answer
            }
            _ => get(&url).unwrap(),
        };
        seen.push(request.method);
        answer.write(stream).unwrap();
    })
    .unwrap();
    let config = sigstore.signing_config_at(Role::RekorV1, &format!("http://127.0.0.1:{}", server.port()));
    signed(sigstore, &signer(sigstore, &sigstore.token(EMAIL), &config), EMAIL, sigstore.issuer());
    assert_eq!(seen.lock().unwrap()[1..], ["POST", "GET"]);
}

#[test]
fn the_reference_verifies_what_is_signed_here() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let Some(peer) = or_skip(peer("1.1.1")) else { return };
    let dir = testkit::temporary().unwrap();
    let place = dir.path().join("m");
    write_files(&place, [("model.safetensors", &b"weights"[..]), ("config.json", b"{}")]);
    for config in [sigstore.trust_config(), sigstore.trust_config_v1()] {
        let signer = signer(sigstore, &sigstore.token(EMAIL), &config);
        let bundle =
            Model::open(&place).unwrap().sign(&Hashing::files(Algorithm::Sha256), &signer, &Run::new());
        bundle.unwrap().write(dir.path().join("m.sig"), weightseal::Replace::Anything).unwrap();
        let job = Job::new(&place, dir.path().join("m.sig"));
        let verifies = |identity| {
            let answer = peer.verify_sigstore(&job, &config, identity, sigstore.issuer()).unwrap();
            (answer.accepted(), answer.ended.to_string())
        };
        let (accepted, said) = verifies(EMAIL);
        assert!(accepted, "{said}");
        assert!(!verifies("somebody@example.com").0);
    }
}

#[test]
fn a_statement_of_twenty_megabytes_signs_on_both_logs() {
    let Some(sigstore) = or_skip(shared()) else { return };
    let files = (0..150_000).fold(Memory::new("m"), |memory, n: u32| {
        memory.with(format!("shard-{:03}/expert-{n:06}.bin", n / 1000), n.to_le_bytes())
    });
    let model = Model::from_source(files);
    for config in [sigstore.signing_config(), sigstore.signing_config_v1()] {
        let signer = signer(sigstore, &sigstore.token(EMAIL), &config);
        let bundle = model.sign(&Hashing::files(Algorithm::Sha256), &signer, &Run::new());
        let bundle = bundle.unwrap_or_else(|error| panic!("{error}"));
        assert!(bundle.to_json().len() > 20_000_000);
    }
}
