//! How a store is reached: addresses, authorities, credentials.

use std::{collections::BTreeMap, path::Path};

use testkit::{
    or_skip,
    s3::{Bucket, minio, plain_minio},
};
use weightseal::{Code, S3Options, Source as _};

use super::{bytes, files_of, filled, open, options, read, refused};
use crate::good::{again, in_child, passed};

#[test]
fn an_authority_that_nobody_named_is_not_trusted() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(10))]));
    let uri = format!("s3://{bucket}");
    assert!(open(&uri, &options(store)).is_ok());
    let without = S3Options::new().endpoint_url(store.url()).region(store.region()).credentials(
        store.access_key(),
        store.secret_key(),
        None,
    );
    let error = open(&uri, &without).unwrap_err();
    assert_eq!(error.code(), Code::ServiceFailed);
    assert!(error.to_string().contains("UnknownIssuer") && error.help().contains("AWS_CA_BUNDLE"), "{error}");
    for broken in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        refused(open(&uri, &without.clone().tls_ca(broken)), Code::KeyMalformed);
    }
}

#[test]
fn wrong_credentials_and_none_are_refused_and_never_repeated() {
    let Some(store) = or_skip(minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(10))]));
    let uri = format!("s3://{bucket}/a");
    let secret = "a-secret-that-is-not-the-right-one";
    for wrong in [
        options(store).credentials(store.access_key(), secret, None),
        options(store).credentials("nobody-of-that-name", secret, None),
        options(store).credentials(store.access_key(), store.secret_key(), Some("not-a-session-token")),
        S3Options::new()
            .endpoint_url(store.url())
            .tls_ca(&std::fs::read(store.ca()).unwrap())
            .anonymous(true),
    ] {
        let error = open(&uri, &wrong).unwrap_err();
        assert_eq!(error.code(), Code::AccessDenied, "{error}");
        let told = format!("{error} {error:?} {wrong:?}");
        for secret in [secret, store.secret_key(), "not-a-session-token", "Signature="] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[test]
fn a_public_bucket_is_read_without_credentials() {
    let Some(store) = or_skip(minio()) else { return };
    let public = store.bucket(Bucket { public: true, ..Bucket::default() });
    let content = bytes(5000);
    store.put(&public, "m/a", &content);
    let anonymous = S3Options::new()
        .endpoint_url(store.url())
        .tls_ca(&std::fs::read(store.ca()).unwrap())
        .anonymous(true);
    for at in ["m", "m/a"] {
        let model = open(&format!("s3://{public}/{at}"), &anonymous).unwrap();
        assert_eq!(read(&model, &files_of(&model)[0]).unwrap(), content);
    }
    let private = filled(store, "m/", &BTreeMap::from([("a".to_owned(), content)]));
    refused(open(&format!("s3://{private}/m"), &anonymous), Code::AccessDenied);
}

#[test]
fn plain_http_is_refused_unless_it_is_allowed_and_never_gets_a_key() {
    let Some(store) = or_skip(plain_minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(10))]));
    let uri = format!("s3://{bucket}/a");
    assert!(open(&uri, &options(store)).is_ok());
    refused(open(&uri, &options(store).allow_http(false)), Code::TransportInsecure);
    let key = weightseal::SseCKey::new([7; 32]);
    refused(open(&uri, &options(store).sse_c_key(key)), Code::TransportInsecure);
}

#[test]
fn addresses_that_nobody_answers_at_are_named() {
    let Some(store) = or_skip(minio()) else { return };
    let at = |url: &str| open("s3://bucket/a", &options(store).endpoint_url(url));
    let what = refused(at("https://127.0.0.1:1"), Code::ServiceFailed);
    assert!(what.contains("Connection refused"), "{what}");
    refused(at("https://no-such-host.invalid"), Code::ServiceFailed);
    refused(at("https://user:password@127.0.0.1:1"), Code::BadArgument);
    refused(at("127.0.0.1:1"), Code::BadArgument);
}

/// The environment for a process of its own.
fn environment(variables: &[(String, String)]) -> Vec<String> {
    let none = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let mut words = vec!["env".to_owned()];
    words.extend(none.iter().flat_map(|name| ["-u".to_owned(), (*name).to_owned()]));
    words.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
    words
}

#[track_caller]
fn passes_in(test: &str, variables: &[(String, String)], model: &str) {
    let mut words = environment(variables);
    words.push(format!("TEST_MODEL={model}"));
    passed(again(test, &words.iter().map(String::as_str).collect::<Vec<_>>()));
}

#[test]
fn everything_may_come_from_the_environment() {
    let test = "remote_s3::reached::everything_may_come_from_the_environment";
    if in_child(test) {
        let uri = std::env::var("TEST_MODEL").unwrap();
        let model = open(&uri, &S3Options::new()).unwrap();
        assert_eq!(read(&model, &files_of(&model)[0]).unwrap(), bytes(1000));
        // What is said in the program counts more.
        let elsewhere = S3Options::new().endpoint_url("https://127.0.0.1:1");
        refused(open(&uri, &elsewhere), Code::ServiceFailed);
        return;
    }
    let Some(store) = or_skip(minio()) else { return };
    let bucket = filled(store, "m/", &BTreeMap::from([("a".to_owned(), bytes(1000))]));
    let uri = format!("s3://{bucket}/m");
    passes_in(test, &store.env(), &uri);
    // The name for S3 alone counts more than the one for all services, and no region need be known.
    let mut one = store.env();
    one.retain(|(name, _)| name != "AWS_REGION");
    for (name, _) in &mut one {
        if name == "AWS_ENDPOINT_URL" {
            *name = "AWS_ENDPOINT_URL_S3".to_owned();
        }
    }
    one.push(("AWS_ENDPOINT_URL".to_owned(), "https://127.0.0.1:1".to_owned()));
    passes_in(test, &one, &uri);
    // From files, as AWS's own tools write them.
    let dir = testkit::temporary().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let config = format!("[profile team]\nregion = us-east-1\nendpoint_url = {}\n", store.url());
    let credentials = format!(
        "[team]\naws_access_key_id={}\naws_secret_access_key={}\n",
        store.access_key(),
        store.secret_key()
    );
    let ca: &Path = store.ca();
    let variables = [
        ("AWS_PROFILE", "team".to_owned()),
        ("AWS_CONFIG_FILE", file("config", config)),
        ("AWS_SHARED_CREDENTIALS_FILE", file("credentials", credentials)),
        ("AWS_CA_BUNDLE", ca.display().to_string()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    passes_in(test, &variables, &uri);
}

#[test]
fn plain_http_in_the_environment_is_refused_as_well() {
    let test = "remote_s3::reached::plain_http_in_the_environment_is_refused_as_well";
    if in_child(test) {
        let uri = std::env::var("TEST_MODEL").unwrap();
        refused(open(&uri, &S3Options::new()), Code::TransportInsecure);
        assert!(open(&uri, &S3Options::new().allow_http(true)).unwrap().is_single_file());
        return;
    }
    let Some(store) = or_skip(plain_minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(10))]));
    passes_in(test, &store.env(), &format!("s3://{bucket}/a"));
}

#[test]
fn a_proxy_of_the_environment_is_used_unless_the_host_is_left_out() {
    let test = "remote_s3::reached::a_proxy_of_the_environment_is_used_unless_the_host_is_left_out";
    if in_child(test) {
        let uri = std::env::var("TEST_MODEL").unwrap();
        let opened = open(&uri, &S3Options::new());
        match std::env::var("NO_PROXY").is_ok_and(|hosts| hosts.contains("127.0.0.1")) {
            true => assert!(opened.is_ok()),
            false => drop(refused(opened, Code::ServiceFailed)),
        }
        return;
    }
    let Some(store) = or_skip(minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(10))]));
    let mut variables = store.env();
    let uri = format!("s3://{bucket}/a");
    let proxy = ("HTTPS_PROXY".to_owned(), "http://127.0.0.1:1".to_owned());
    variables.push(proxy);
    passes_in(test, &variables, &uri);
    variables.retain(|(name, _)| name != "NO_PROXY");
    variables.push(("NO_PROXY".to_owned(), "example.com".to_owned()));
    passes_in(test, &variables, &uri);
}

#[test]
fn without_credentials_anywhere_it_says_so() {
    let test = "remote_s3::reached::without_credentials_anywhere_it_says_so";
    if in_child(test) {
        let what =
            refused(open(&std::env::var("TEST_MODEL").unwrap(), &S3Options::new()), Code::AccessDenied);
        assert!(what.contains("there are no credentials"), "{what}");
        return;
    }
    let Some(store) = or_skip(minio()) else { return };
    let bucket = filled(store, "", &BTreeMap::from([("a".to_owned(), bytes(10))]));
    let mut variables = store.env();
    variables.retain(|(name, _)| !name.contains("KEY"));
    variables.push(("AWS_ACCESS_KEY_ID".to_owned(), String::new()));
    passes_in(test, &variables, &format!("s3://{bucket}/a"));
}
