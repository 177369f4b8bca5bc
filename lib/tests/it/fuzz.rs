//! Every parser over thousands of mutated inputs: none panics, nothing that was not signed verifies.

use std::sync::Arc;

use testkit::pki::{Key, KeyKind, Shape};
use weightseal::{
    Accept, Algorithm, Bundle, CertificateSigner, CertificateVerifier, Digest, Hashing, KeySigner, Memory,
    Model, Policy, PolicyFile, PrivateKey, PublicKey, ResourceName, Run, Shown, Statement, json,
};

use crate::good::{one, signer};

/// How many mutants of each kind.
const ROUNDS: usize = 3000;

/// Numbers that look random and are the same every time (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides.max(1) as u64).unwrap()
    }
}

/// What parsers stumble over.
const TOKENS: [&[u8]; 24] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"..",
    b"/",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"-----END",
    b"-----BEGIN CERTIFICATE-----\n",
    b"\x30\x84\xff\xff\xff\xff",
    b"=",
    b"\r\n",
    b":0:1",
];

/// A mutant of one of the seeds: bytes flipped, replaced, removed, doubled, inserted, cut off.
fn mutant(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len() + 1);
        let to = (at + 1 + dice.roll(12)).min(bytes.len());
        let from = at.min(to);
        match dice.roll(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
            2 => drop(bytes.drain(from..to)),
            3 => {
                let piece = bytes[from..to].to_vec();
                bytes.splice(from..from, piece);
            }
            4 => bytes.truncate(at),
            5 => {
                let other = &seeds[dice.roll(seeds.len())];
                let start = dice.roll(other.len() + 1);
                let piece = other[start..(start + dice.roll(40)).min(other.len())].to_vec();
                bytes.splice(from..from, piece);
            }
            _ => {
                let token = TOKENS[dice.roll(TOKENS.len())];
                bytes.splice(from..from, token.iter().copied());
            }
        }
    }
    bytes
}

/// Each seed and its mutants to `parse`, which says whether it took them. Both has to happen, or nothing was tried.
fn over(seeds: &[Vec<u8>], mut parse: impl FnMut(&[u8]) -> bool) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        assert!(parse(seed), "a seed is refused: {}", String::from_utf8_lossy(seed));
    }
    let refused = (0..ROUNDS).filter(|_| !parse(&mutant(seeds, &mut dice))).count();
    assert!(refused > ROUNDS / 10, "{refused} of {ROUNDS} refused");
}

fn model() -> Model {
    Model::from_source(Memory::new("m").with("a.bin", "weights").with("folder/b:c", "more weights"))
}

fn key() -> Key {
    Key::new(KeyKind::Ed25519, 1)
}

/// Bundles of every kind that can be signed, and who is trusted for them.
fn bundles() -> (Vec<Bundle>, Policy) {
    let case = Shape::Plain.case(KeyKind::P256);
    let private = PrivateKey::from_pem(case.key().pkcs8_pem().as_bytes(), || Ok(None)).unwrap();
    let certificate =
        CertificateSigner::new(private, case.leaf_pem().as_bytes(), case.intermediates_pem().as_bytes());
    let files = Hashing::files(Algorithm::Sha256);
    let shards = Hashing::shards(Algorithm::Blake3, 5).unwrap();
    let run = Run::new();
    let bundles = vec![
        model().sign(&files, &signer(&key()), &run).unwrap(),
        model().sign(&shards, &signer(&key()), &run).unwrap(),
        model().release(Some("n".into()), None).sign(&files, &certificate.unwrap(), &run).unwrap(),
    ];
    let policy = Policy::new()
        .accept(Accept::key(key().public_pem()).unwrap())
        .accept(Accept::certificate(case.anchors_pem()).unwrap());
    #[cfg(feature = "sigstore")]
    return with_sigstore(bundles, policy);
    #[cfg(not(feature = "sigstore"))]
    (bundles, policy)
}

/// The same and two Sigstore bundles over the first one's payload.
#[cfg(feature = "sigstore")]
fn with_sigstore(mut bundles: Vec<Bundle>, policy: Policy) -> (Vec<Bundle>, Policy) {
    use testkit::forge::{EMAIL, Forge, ISSUER};
    use weightseal::{RootOrigin, SigstoreIdentity, SigstoreVerifier, TrustedRoot};

    let forge = Forge::new();
    for signing in [forge.v1(), forge.v2()] {
        let wire = signing.bundle(&payload(&bundles[0])).to_string();
        bundles.push(Bundle::parse(wire.as_bytes()).unwrap());
    }
    let root = TrustedRoot::parse(forge.root().to_string().as_bytes(), RootOrigin::given("root")).unwrap();
    let verifier = SigstoreVerifier::new(root, SigstoreIdentity::new(EMAIL, ISSUER));
    (bundles, policy.accept(Accept::verifier(verifier)))
}

#[cfg(feature = "sigstore")]
#[test]
fn trusted_roots() {
    use weightseal::{RootOrigin, TrustedRoot};
    let seed = testkit::forge::Forge::new().root().to_string().into_bytes();
    over(&[seed], |bytes| TrustedRoot::parse(bytes, RootOrigin::given("root")).is_ok());
}

fn payload(bundle: &Bundle) -> Vec<u8> {
    bundle.unverified_statement().unwrap().payload().to_vec()
}

#[test]
fn bundles_parse_or_are_refused_and_none_verifies_what_was_not_signed() {
    let (good, policy) = bundles();
    let payloads: Vec<Vec<u8>> = good.iter().map(payload).collect();
    let seeds: Vec<Vec<u8>> = good.iter().map(|bundle| bundle.to_json().into_bytes()).collect();
    let mut verified = 0;
    over(&seeds, |bytes| {
        let Ok(bundle) = Bundle::parse(bytes).inspect_err(|error| drop(format!("{error} {}", error.help())))
        else {
            return false;
        };
        // What is written once is written so again.
        if bundle.signing_method() != "sigstore" {
            let written = bundle.to_json();
            assert_eq!(Bundle::parse(written.as_bytes()).unwrap().to_json(), written);
        }
        match model().verify(&policy, one(&bundle), &Run::new().threads(1)) {
            Ok(_) => {
                verified += 1;
                assert!(payloads.contains(&payload(&bundle)), "{}", String::from_utf8_lossy(bytes));
            }
            Err(failure) => drop((failure.report().to_string(), json(failure.report(), false))),
        }
        true
    });
    assert!(verified >= seeds.len());
}

#[test]
fn statements_parse_or_are_refused_and_none_is_another_model() {
    let seeds: Vec<Vec<u8>> = bundles().0.iter().map(payload).collect();
    let true_roots: Vec<Digest> = seeds.iter().map(|seed| root(seed).unwrap()).collect();
    over(&seeds, |bytes| {
        let Some(root) = root(bytes) else { return false };
        // Names may have changed, content may not have: its digest is the root, which no flip hits by chance.
        assert!(true_roots.contains(&root), "{}", String::from_utf8_lossy(bytes));
        true
    });
}

fn root(payload: &[u8]) -> Option<Digest> {
    Statement::parse(Arc::from(payload)).ok().map(|statement| statement.manifest().root_digest())
}

#[test]
fn public_keys() {
    let kinds = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];
    let pems: Vec<Vec<u8>> = kinds.iter().map(|kind| Key::new(*kind, 1).public_pem().into_bytes()).collect();
    over(&pems, |bytes| PublicKey::from_pem(bytes).is_ok_and(|key| round(&key)));
    let ders: Vec<Vec<u8>> = kinds.iter().map(|kind| Key::new(*kind, 1).spki_der()).collect();
    over(&ders, |bytes| PublicKey::from_der(bytes).is_ok_and(|key| round(&key)));
}

/// A key that was read is written and read again as itself.
fn round(key: &PublicKey) -> bool {
    PublicKey::from_pem(key.to_pem().as_bytes()).unwrap() == *key
}

#[test]
fn private_keys() {
    let kinds = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521];
    let mut seeds: Vec<Vec<u8>> =
        kinds.iter().map(|kind| Key::new(*kind, 1).pkcs8_pem().into_bytes()).collect();
    seeds.extend(kinds[1..].iter().map(|kind| Key::new(*kind, 1).sec1_pem().into_bytes()));
    over(&seeds, |bytes| PrivateKey::from_pem(bytes, || Ok(None)).is_ok());
    over(&seeds, |bytes| KeySigner::from_pem(bytes, None).is_ok());
}

#[test]
fn certificates_and_chains() {
    let case = Shape::Plain.case(KeyKind::P256);
    let anchors = vec![case.anchors_pem().into_bytes(), case.intermediates_pem().into_bytes()];
    over(&anchors, |bytes| CertificateVerifier::from_pem(bytes).is_ok());

    // Whole chains from a bundle, which the signature of each certificate protects.
    let (good, policy) = bundles();
    let wire: serde_json::Value = serde_json::from_str(&good[2].to_json()).unwrap();
    let with = |der: &[u8]| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let mut wire = wire.clone();
        wire["verificationMaterial"]["x509CertificateChain"]["certificates"][0]["rawBytes"] =
            STANDARD.encode(der).into();
        Bundle::parse(wire.to_string().as_bytes()).unwrap()
    };
    let leaf = case.chain[0].der();
    over(std::slice::from_ref(&leaf), |der| {
        let verified = model().verify(&policy, &[with(der)], &Run::new().threads(1)).is_ok();
        assert_eq!(verified, der == leaf, "{der:02x?}");
        verified
    });
}

#[test]
fn policies() {
    let pem: String = key().public_pem().lines().map(|line| format!("        {line}\n")).collect();
    let small = format!(
        "apiVersion: weightseal/v1\nkind: Policy\nidentities:\n  a:\n    key:\n      pem: |\n{pem}rules:\n  \
         - {{models: [m, 'x/**'], require: {{signatures: 1, of: [a]}}, name: \"n\", min_version: 1.2, load_set: true}}\n"
    );
    let more = small.clone()
        + "  - models:\n    - '?*'\n    mode: warn\n    require: {of: [a]}\n    unsigned: {allow: ['*.md']}\n    missing: {allow: ['*.bin']}\n    base_model: b\n    \
           revoked: {certificates: [0A]}\n    signed_after: 2026-01-01T00:00:00Z\n";
    over(&[small.into_bytes(), more.into_bytes()], |bytes| {
        let Ok(policy) = PolicyFile::parse(bytes, ".").inspect_err(|error| {
            assert!(!error.to_string().contains('\n') && error.class().exit() != 1, "{error}")
        }) else {
            return false;
        };
        for id in ["m", "x/y", "z", ""] {
            drop(policy.explain(id).map(|explained| explained.to_string()));
            if let Ok(applied) = policy.rule_for(id, &Run::new()) {
                assert!(applied.report().line > 0);
            }
        }
        true
    });
}

#[test]
fn indexes_configurations_and_headers_of_tensors() {
    use crate::load_set::{files, set_of};
    let seeds: Vec<Vec<u8>> = files()
        .into_iter()
        .filter(|(name, _)| name.ends_with("onfig.json") || name.contains("safetensors"))
        .map(|(_, bytes)| bytes)
        .collect();
    for name in
        ["config.json", "model.safetensors.index.json", "x.safetensors", "model_index.json", "modules.json"]
    {
        let fits = |bytes: &[u8]| {
            let set = set_of([(name, bytes.to_vec())]);
            drop(json(&set, false));
            set.findings.iter().all(|finding| finding.code.class().exit() == 1 && finding.name.is_some())
        };
        let mut dice = Dice(11);
        assert!((0..ROUNDS).all(|_| fits(&mutant(&seeds, &mut dice))), "{name}");
    }
}

#[test]
fn digests_names_and_algorithms() {
    let digest = "0123456789abcdef".repeat(4);
    let seeds: Vec<Vec<u8>> =
        [digest.clone(), format!("sha256:{digest}"), format!("blake2b:{digest}{digest}")]
            .map(String::into_bytes)
            .to_vec();
    over(&seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        text.parse::<Digest>().is_ok_and(|digest| {
            assert!(text.ends_with(&digest.hex()));
            digest.to_string().parse::<Digest>().unwrap() == digest
        })
    });
    let names = ["a/b/c.txt", "\u{e9}t\u{e9}/x", "a:0:10"].map(|name| name.as_bytes().to_vec()).to_vec();
    let mut dice = Dice(7);
    for _ in 0..ROUNDS {
        let bytes = mutant(&names, &mut dice);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(name) = ResourceName::parse(&text) {
            let path = std::path::Path::new("/root").join(name.as_str());
            let plain = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
            assert!(plain && path.starts_with("/root") && path != std::path::Path::new("/root"), "{text:?}");
        }
        let shown = Shown(&text).to_string();
        assert!(shown.chars().all(|c| !c.is_control()) && !shown.contains("::"), "{text:?}");
    }
}
