//! Signatures beside the model that they are of, on the Hub.

use weightseal::{Algorithm, Bundle, Hashing, KeySigner, KeyType, Memory, Model, PrivateKey, Replace};

use super::*;

fn bundle(weights: &str) -> Bundle {
    let model = Model::from_source(Memory::new("m").with("model.safetensors", weights));
    let signer = KeySigner::new(PrivateKey::generate(KeyType::Ed25519).unwrap());
    model.sign(&Hashing::files(Algorithm::Sha256), &signer, &Run::new()).unwrap()
}

struct Place {
    hub: Double,
    access: Access,
}

impl Place {
    fn new() -> Place {
        let hub = double(&model());
        let access = Access::new().allow_http(true).hub(options(&hub));
        Place { hub, access }
    }

    fn write(&self, bundle: &Bundle, text: &str, replace: Replace) -> Result<(), Error> {
        self.access.write_bundle(bundle, &text.parse().unwrap(), replace, &Run::new())
    }

    fn read(&self, text: &str) -> Result<Bundle, Error> {
        self.access.read_bundle(&text.parse().unwrap(), &Run::new())
    }

    fn head(&self) -> String {
        self.hub.revision(RepoType::Model, ID, "main").unwrap()
    }
}

const SIGNATURE: &str = "hf://acme/llama/model.sig";

#[test]
fn a_signature_is_written_as_a_commit_of_its_own_and_read_again() {
    let place = Place::new();
    let (before, one, two) = (place.head(), bundle("one"), bundle("two"));
    fails(place.read(SIGNATURE), Code::SignatureAbsent);
    place.write(&one, SIGNATURE, Replace::Nothing).unwrap();
    assert_eq!(place.read(SIGNATURE).unwrap().to_json(), one.to_json());
    assert_eq!(
        place.read(&format!("hf://acme/llama@{}/model.sig", place.head())).unwrap().to_json(),
        one.to_json()
    );
    fails(place.read(&format!("hf://acme/llama@{before}/model.sig")), Code::SignatureAbsent);
    let mut paths = place.hub.paths(RepoType::Model, ID, "main");
    paths.retain(|path| path != "model.sig");
    assert_eq!(paths, place.hub.paths(RepoType::Model, ID, &before));

    let after = place.head();
    fails(place.write(&two, SIGNATURE, Replace::Nothing), Code::OutputExists);
    assert_eq!(place.head(), after);
    place.write(&two, SIGNATURE, Replace::Signature).unwrap();
    assert_eq!(place.read(SIGNATURE).unwrap().to_json(), two.to_json());
    // The same once more is no commit.
    let after = place.head();
    place.write(&two, SIGNATURE, Replace::Signature).unwrap();
    assert_eq!(place.head(), after);

    let config = "hf://acme/llama/config.json";
    fails(place.write(&one, config, Replace::Signature), Code::OutputExists);
    fails(place.write(&one, "hf://acme/llama/more/weights.bin", Replace::Signature), Code::OutputExists);
    assert_eq!(place.head(), after);
    place.write(&one, config, Replace::Anything).unwrap();
    assert_eq!(place.read(config).unwrap().to_json(), one.to_json());
    assert!(!place.hub.cdn_received(place.hub.token()));
}

#[test]
fn only_what_moves_is_written_to() {
    let place = Place::new();
    let one = bundle("one");
    place.hub.tag(RepoType::Model, ID, "v1", "main");
    place.hub.branch(RepoType::Model, ID, "next/one", "main");
    let commit = place.head();
    for text in
        [&format!("hf://acme/llama@{commit}/model.sig"), "hf://acme/llama@v1/model.sig", "hf://acme/llama"]
    {
        fails(place.write(&one, text, Replace::Anything), Code::BadArgument);
    }
    fails(place.write(&one, "hf://acme/llama@none/model.sig", Replace::Anything), Code::ModelAbsent);
    fails(place.write(&one, "hf://acme/none/model.sig", Replace::Anything), Code::ModelAbsent);
    assert_eq!(place.head(), commit);
    let pull = place.hub.pull_request(RepoType::Model, ID);
    for revision in ["next%2Fone", &pull] {
        let text = format!("hf://acme/llama@{revision}/deep/er/model.sig");
        place.write(&one, &text, Replace::Nothing).unwrap();
        assert_eq!(place.read(&text).unwrap().to_json(), one.to_json());
    }
    assert_eq!(place.head(), commit);
    let nobody = Access::new().allow_http(true).hub(options(&place.hub).no_token());
    let write = nobody.write_bundle(&one, &SIGNATURE.parse().unwrap(), Replace::Nothing, &Run::new());
    fails(write, Code::AccessDenied);
}

#[test]
fn who_writes_at_the_same_time_as_somebody_else_is_told_so() {
    let place = Place::new();
    let one = bundle("one");
    place.hub.misbehave(HubFault::BranchMoves);
    fails(place.write(&one, SIGNATURE, Replace::Nothing), Code::ChangedWhileRead);
    assert!(!place.hub.paths(RepoType::Model, ID, "main").contains(&"model.sig".to_owned()));
    place.hub.behave();
    place.write(&one, SIGNATURE, Replace::Nothing).unwrap();
}

#[test]
fn a_signature_that_is_a_large_file_is_read_and_held_against_its_digest() {
    let place = Place::new();
    let one = bundle("one").to_json();
    assert!(one.len() > 1024);
    place.hub.commit(RepoType::Model, ID, "main", &[("model.sig", one.as_bytes())]);
    assert_eq!(place.read(SIGNATURE).unwrap().to_json(), one);
    place.hub.victim("model.sig");
    for fault in [HubFault::BytesLie, HubFault::LinkedDigestLies, HubFault::LinkedSizeLies] {
        place.hub.misbehave(fault);
        fails(place.read(SIGNATURE), Code::ChangedWhileRead);
    }
    place.hub.misbehave(HubFault::RedirectLoops);
    fails(place.read(SIGNATURE), Code::ServiceFailed);
    place.hub.misbehave(HubFault::RedirectTo("ftp://127.0.0.1".to_owned()));
    fails(place.read(SIGNATURE), Code::ServiceFailed);
    place.hub.misbehave(HubFault::FileGone);
    fails(place.read(SIGNATURE), Code::SignatureAbsent);
    assert!(!place.hub.cdn_received(place.hub.token()));
}
