//! The command lines of model_signing's documentation for keys and certificates that name their signature: they work as they
//! stand, in the spelling of each of its releases, save that a certificate anchor has to be given.

use crate::world::World;

/// A model folder as it is called there.
fn world() -> World {
    let world = World::new();
    std::fs::rename(world.path("m"), world.path("bert-base-uncased")).unwrap();
    std::fs::copy(world.path("release.key"), world.path("key.priv")).unwrap();
    std::fs::copy(world.path("release.pub"), world.path("key.pub")).unwrap();
    world
}

#[test]
fn lines_for_keys_work_as_they_stand() {
    let world = world();
    for (sign, verify) in [
        (
            "sign key bert-base-uncased --private_key key.priv --signature resnet.sig",
            "verify key bert-base-uncased --signature resnet.sig --public_key key.pub",
        ),
        (
            "sign key bert-base-uncased --private-key key.priv --signature resnet.sig",
            "verify key bert-base-uncased --signature resnet.sig --public-key key.pub",
        ),
        (
            "sign key --signature model.sig --private_key key.priv bert-base-uncased",
            "verify key --signature model.sig --public_key key.pub bert-base-uncased",
        ),
        (
            "--log-level debug sign key bert-base-uncased --private_key key.priv --signature model.sig --ignore-paths \
             bert-base-uncased/config.json --no-ignore-git-paths --allow_symlinks",
            "--log-level INFO verify key bert-base-uncased --signature model.sig --public_key key.pub --ignore-paths \
             bert-base-uncased/config.json --no-ignore-git-paths --allow_symlinks --ignore_unsigned_files",
        ),
        (
            "sign key bert-base-uncased --private-key key.priv --signature model.sig --ignore_paths nothing \
             --ignore_git_paths --allow-symlinks",
            "verify key bert-base-uncased --signature model.sig --public-key key.pub --ignore_paths nothing \
             --ignore_git_paths --allow-symlinks --no-ignore_unsigned_files",
        ),
    ] {
        let signed = world.shell(&format!("weightseal {sign}")).expect_code(0);
        assert!(signed.out().starts_with("signed: bert-base-uncased\n"), "{signed}");
        let verified = world.shell(&format!("weightseal {verify}")).expect_code(0);
        assert!(verified.out().starts_with("verified: bert-base-uncased\n"), "{verified}");
        let wrong = verify.replace("key.pub", "other.pub");
        world.shell(&format!("weightseal {wrong}")).expect_code(1);
    }
}

#[test]
fn an_encrypted_key_opens_with_password() {
    let world = world();
    let sign =
        "weightseal sign key bert-base-uncased --private_key encrypted.key --signature model.sig --password";
    let ended = world.shell(&format!("{sign} 'correct horse'")).expect_code(0);
    assert!(ended.err().contains("warning: --password shows"), "{ended}");
    world
        .shell("weightseal verify key bert-base-uncased --signature model.sig --public_key key.pub")
        .expect_code(0);
    world.shell(&format!("{sign} wrong")).expect_code(2);
}

#[test]
fn lines_for_certificates_work_with_an_anchor() {
    let world = world();
    for (sign, verify) in [
        (
            "sign certificate bert-base-uncased --signature model.sig --private_key leaf.key --signing_certificate \
             leaf.pem --certificate_chain ca.pem",
            "verify certificate bert-base-uncased --signature model.sig --certificate_chain root.pem",
        ),
        (
            "sign certificate bert-base-uncased --private-key leaf.key --signing-certificate leaf.pem \
             --certificate-chain ca.pem --certificate-chain root.pem --signature model.sig",
            "verify certificate bert-base-uncased --signature model.sig --certificate-chain root.pem \
             --certificate-chain ca.pem --log-fingerprints --ignore-unsigned-files",
        ),
    ] {
        world.shell(&format!("weightseal {sign}")).expect_code(0);
        let verified = world.shell(&format!("weightseal {verify}")).expect_code(0);
        assert!(verified.out().starts_with("verified: bert-base-uncased\n"), "{verified}");
        let wrong = verify.replace("root.pem", "other-root.pem").replace("ca.pem", "other-root.pem");
        world.shell(&format!("weightseal {wrong}")).expect_code(1);
        // The system's store of web roots is no anchor.
        let bare = "verify certificate bert-base-uncased --signature model.sig";
        assert!(
            world
                .shell(&format!("weightseal {bare}"))
                .expect_code(2)
                .err()
                .contains("--certificate-chain FILE")
        );
    }
}

#[test]
fn lines_for_devices_name_the_feature() {
    let world = world();
    for line in [
        "sign pkcs11-key --signature model.sig --pkcs11_uri pkcs11:x bert-base-uncased",
        "sign pkcs11-certificate bert-base-uncased --signature model.sig --pkcs11_uri pkcs11:x \
         --signing_certificate leaf.pem --certificate_chain ca.pem",
    ] {
        let ended = world.shell(&format!("weightseal {line}")).expect_code(2);
        assert!(ended.err().contains("needs the feature \"pkcs11\", which is not built in"), "{ended}");
    }
}

#[test]
fn lines_that_verify_an_identity_look_for_the_signature() {
    let world = world();
    for trust in ["--offline", "--use_staging --offline"] {
        let line =
            "verify bert-base-uncased --signature none.sig --identity a@example.com --identity_provider y";
        let ended = world.shell(&format!("weightseal {line} {trust}")).expect_code(2);
        assert!(ended.err().contains("cannot read the signature none.sig"), "{ended}");
    }
}

#[test]
fn lines_that_sign_with_an_identity_say_what_they_lack() {
    let world = world();
    for (line, lacking) in [
        ("sign bert-base-uncased", "no identity token is given"),
        ("sign bert-base-uncased --signature model.sig", "no identity token is given"),
        ("sign bert-base-uncased --trust_config client_trust_config.json", "no identity token is given"),
        ("sign sigstore bert-base-uncased --use_staging --use_ambient_credentials", "no job of a service"),
        ("sign bert-base-uncased --identity_token x", "the identity token has 1 parts"),
    ] {
        let ended = world.shell(&format!("weightseal {line}")).expect_code(2);
        assert!(ended.err().contains(lacking), "{ended}");
    }
}
