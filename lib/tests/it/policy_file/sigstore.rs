//! Sigstore identities of policies, with an instance that runs nowhere.

use testkit::forge::{EMAIL, Forge, ISSUER, TIME};

use super::*;

/// The folder, with the root of the instance and a bundle of it over the model.
fn world() -> (World, Forge, Bundle) {
    let (world, forge) = (World::new(), Forge::new());
    fs::write(world.path("root.json"), forge.root().to_string()).unwrap();
    let payload = world.signed(1, ID, "1.2").unverified_statement().unwrap().payload().to_vec();
    let bundle = Bundle::parse(forge.v2().bundle(&payload).to_string().as_bytes()).unwrap();
    (world, forge, bundle)
}

fn policy(world: &World, identity: &str, lines: &str) -> Policy {
    let text = rule(&format!("name: acme/llama-3\n{lines}"));
    let text = text.replace("key: { file: keys/1.pub }", &format!("sigstore: {{ {identity} }}"));
    world.policy(&text.replace("identities:", "trusted_root: { file: root.json }\nidentities:"))
}

fn dev() -> String {
    format!("identity: {EMAIL}, issuer: {ISSUER}")
}

#[test]
fn an_identity_of_the_policy_verifies_and_no_other() {
    let (world, _, bundle) = world();
    let bundles = [bundle];
    let report = verified(&world.model(), &policy(&world, &dev(), ""), &bundles);
    assert_eq!(report.signatures[0].notes, ["accepted as release"]);
    let pattern = format!("identity_regexp: '.*', issuer: {ISSUER}");
    verified(&world.model(), &policy(&world, &pattern, ""), &bundles);
    for (identity, code) in [
        (format!("identity: {EMAIL}x, issuer: {ISSUER}"), Code::IdentityNotExpected),
        (format!("identity: {EMAIL}, issuer: {ISSUER}/"), Code::IssuerNotExpected),
        (format!("{}, claims: {{ build-trigger: push }}", dev()), Code::ClaimNotExpected),
    ] {
        refused(&world.model(), &policy(&world, &identity, ""), &bundles, &[code]);
    }
    refused(
        &world.model(),
        &policy(&world, &dev(), ""),
        &[world.signed(1, ID, "1.2")],
        &[Code::MethodNotAccepted],
    );
}

#[test]
fn a_time_that_is_proven_counts_and_one_too_early_does_not() {
    let (world, _, bundle) = world();
    let bundles = [bundle];
    let after = |unix: i64| {
        let time = jiff::Timestamp::from_second(unix).unwrap();
        policy(&world, &dev(), &format!("signed_after: {time}"))
    };
    verified(&world.model(), &after(TIME - 3600), &bundles);
    let report = refused(&world.model(), &after(TIME + 3600), &bundles, &[Code::SignedTooEarly]);
    assert!(report.signatures[0].identity.is_some() && !report.signatures[0].accepted);
}

#[test]
fn a_revoked_authority_revokes_what_it_issued() {
    use sha2::{Digest as _, Sha256};
    let (world, forge, bundle) = world();
    let bundles = [bundle];
    let revoking = |sha256: &str| policy(&world, &dev(), &format!("revoked: {{ certificates: [{sha256}] }}"));
    verified(&world.model(), &revoking(&format!("{:064x}", 1)), &bundles);
    let root = forge.root();
    let chain = root["certificateAuthorities"][0]["certChain"]["certificates"].as_array().unwrap();
    assert!(!chain.is_empty());
    for authority in chain {
        let der = testkit::forge::decode(authority["rawBytes"].as_str().unwrap());
        let sha256: String = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
        refused(&world.model(), &revoking(&sha256), &bundles, &[Code::CertificateRevoked]);
    }
}

#[test]
fn a_key_and_an_identity_are_two_signers() {
    let (world, _, bundle) = world();
    let both = policy(&world, &dev(), "require: { of: [release, second] }");
    let key = world.signed(2, ID, "1.2");
    verified(&world.model(), &both, &[bundle.clone(), key.clone()]);
    refused(&world.model(), &both, &[bundle.clone(), bundle], &[Code::TooFewSignatures]);
    refused(&world.model(), &both, &[key.clone(), key], &[Code::TooFewSignatures]);
}

#[test]
fn a_root_that_is_older_than_the_policy_allows_tells_nothing() {
    let (world, forge, bundle) = world();
    let text = rule("name: acme/llama-3")
        .replace("key: { file: keys/1.pub }", &format!("sigstore: {{ {} }}", dev()));
    let root = "trusted_root: { instance: public-good, max_age: 30d }\nidentities:";
    let file = world.parse(&text.replace("identities:", root)).unwrap();
    let found = |days: i64| {
        let as_of = Some(Run::new().now_unix() - days * 86_400);
        let origin = weightseal::RootOrigin { as_of, ..weightseal::RootOrigin::given("public-good") };
        let root = weightseal::TrustedRoot::parse(forge.root().to_string().as_bytes(), origin)?;
        file.rule_for_with(ID, |_| Ok(root.clone())).map(weightseal::Applied::into_policy)
    };
    let bundles = [bundle];
    verified(&world.model(), &found(29).unwrap(), &bundles);
    let report = refused(&world.model(), &found(31).unwrap(), &bundles, &[Code::TrustRootStale]);
    assert_eq!(report.exit_code(), 3);
}

#[test]
fn sigstore_identities_say_who_and_by_whom_and_with_which_root() {
    let world = World::new();
    let with = |identity: &str, root: &str| {
        let text =
            rule("name: x").replace("key: { file: keys/1.pub }", &format!("sigstore: {{ {identity} }}"));
        text.replace("identities:", &format!("{root}\nidentities:"))
    };
    let who = "identity: a@acme.example, issuer: https://accounts.example.com";
    let root = "trusted_root: { instance: public-good, max_age: 30d }";
    for good in [
        with(who, root),
        with(&format!("{who}, claims: {{ source-repository-ref: refs/heads/main }}"), root),
        with(&format!("{who}, trusted_root: {{ instance: staging }}"), ""),
        with("identity_regexp: '.*@acme[.]example', issuer_regexp: 'https://.*'", root),
    ] {
        let file = world.parse(&good).unwrap_or_else(|error| panic!("{error}\n{good}"));
        let explained = file.explain(ID).unwrap();
        assert!(explained.demands.of[0].identity.starts_with("Sigstore identity "), "{explained}");
        file.rule_for(ID, &Run::new()).unwrap();
    }
    for (identity, root, part) in [
        (who, "", "needs a trusted_root"),
        ("identity: a@acme.example", root, "give issuer or issuer_regexp"),
        ("issuer: https://accounts.example.com", root, "give identity or identity_regexp"),
        ("identity: a, identity_regexp: b, issuer: c", root, "and not both"),
        ("identity: a, issuer: b, issuer_regexp: c", root, "and not both"),
        ("identity_regexp: '(', issuer: c", root, "not a regular expression"),
        ("identity: a, issuer_regexp: '['", root, "not a regular expression"),
        ("identity: a, issuer: b, claims: { source-repository-branch: x }", root, "there is no claim"),
        ("identity: a, issuer: b, claim: { source-repository: x }", root, "there is no field \"claim\""),
        (who, "trusted_root: {}", "give file or instance"),
        (who, "trusted_root: { file: a, instance: staging }", "give file or instance"),
        (who, "trusted_root: { instance: github }", "none of public-good, staging"),
        (who, "trusted_root: { instance: staging, max_age: 30 }", "is not an age"),
        (who, "trusted_root: { file: root.json, max_age: 30d }", "max_age goes with an instance"),
    ] {
        world.invalid(&with(identity, root), part);
    }
    world.invalid_with(&with(who, "trusted_root: { file: none.json }"), Code::TrustRootAbsent, "none.json");
    fs::write(world.path("empty.json"), "{}").unwrap();
    world.invalid_with(
        &with(who, "trusted_root: { file: empty.json }"),
        Code::TrustRootInvalid,
        "empty.json",
    );
}
