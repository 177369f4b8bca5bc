//! Key pairs: what is written, and what is never written over.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::world::World;

fn mode(world: &World, name: &str) -> u32 {
    fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_type_signs_and_verifies_and_the_private_half_is_for_its_owner() {
    let world = World::new();
    for kind in ["ed25519", "p256", "p384", "p521"] {
        let ended = world.run(&["keygen", kind, "--type", kind]).expect_code(0);
        assert_eq!(ended.err().contains("model_signing does not know Ed25519"), kind == "ed25519", "{ended}");
        let (private, public) = (format!("{kind}.key"), format!("{kind}.pub"));
        assert_eq!((mode(&world, &private), mode(&world, &public)), (0o600, 0o644));
        let signed = world.run(&["sign", "m", "--private-key", &private]).expect_code(0);
        assert!(signed.out().contains(&format!("--public-key {public}\n")), "{signed}");
        let verified = world.run(&["verify", "m", "--public-key", &public]).expect_code(0);
        // What keygen calls the key is what reports call it, and what revokes it.
        let fingerprint = ended.out().trim_end().rsplit(' ').next().unwrap().to_owned();
        assert!(verified.out().contains(&fingerprint), "{ended}{verified}");
        world.run(&["verify", "m", "--public-key", &public, "--revoked-key", &fingerprint]).expect_code(1);
    }
    assert!(world.run(&["keygen", "default"]).expect_code(0).out().contains("Ed25519 key"));
}

#[test]
fn nothing_is_ever_written_over() {
    let world = World::new();
    for there in ["a.key", "a.pub"] {
        world.write(there, "mine");
        let before = world.listing();
        let ended = world.run(&["keygen", "a"]).expect_code(2);
        assert!(ended.err().contains("exists already"), "{ended}");
        assert_eq!((fs::read(world.path(there)).unwrap(), world.listing()), (b"mine".to_vec(), before));
        fs::remove_file(world.path(there)).unwrap();
    }
    // Not through a link either.
    std::os::unix::fs::symlink(world.path("elsewhere"), world.path("a.key")).unwrap();
    world.run(&["keygen", "a"]).expect_code(2);
    assert!(!world.path("elsewhere").exists() && !world.path("a.pub").exists());
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_and_no_other() {
    let world = World::new();
    let env = "WEIGHTSEAL_PASSPHRASE='correct horse'";
    world.shell(&format!("{env} weightseal keygen a --encrypt")).expect_code(0);
    world.run(&["keygen", "b", "--passphrase-file", "passphrase"]).expect_code(0);
    for name in ["a", "b"] {
        let text = fs::read_to_string(world.path(&format!("{name}.key"))).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
        world.shell(&format!("{env} weightseal sign m --private-key {name}.key")).expect_code(0);
        world.run(&["verify", "m", "--public-key", &format!("{name}.pub")]).expect_code(0);
        let ended =
            world.shell(&format!("WEIGHTSEAL_PASSPHRASE=wrong weightseal sign m --private-key {name}.key"));
        assert!(ended.code() == Some(2) && ended.err().contains("does not open"), "{ended}");
    }
}
