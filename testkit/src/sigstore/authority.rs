//! The keys and certificates of one private Sigstore, fresh for each.

use std::fs;
use std::io;
use std::path::Path;

use crate::pki::{CODE_SIGNING, Cert, Key, KeyKind, Pki, TIME_STAMPING};
use crate::ready::random;

/// The passphrase of Fulcio's key, which it does not take without one.
pub(super) const PASSPHRASE: &str = "pw";

/// What everybody is under.
pub(super) const ORGANIZATION: &str = "private-sigstore";

/// Who signs what.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) fulcio_root: Cert,
    /// The one that issues.
    pub(super) fulcio_intermediate: Cert,
    pub(super) tsa_root: Cert,
    pub(super) tsa_leaf: Cert,
    pub(super) ct: Key,
    pub(super) rekor_v1: Key,
    pub(super) rekor_v2: Key,
    /// Of both issuers of tokens.
    pub(super) oidc: Key,
}

impl Keys {
    /// Keys that no other Sigstore has.
    pub(super) fn fresh() -> Keys {
        let base = random();
        let key = |kind, number| Key::new(kind, base.wrapping_add(number));
        let named = |name: &str| format!("CN={name},O={ORGANIZATION}");
        let fulcio_root = Pki::root(KeyKind::P256).seed(base).subject(&named("fulcio-root")).ca(Some(1));
        let fulcio_root = fulcio_root.self_signed();
        let fulcio_intermediate = Pki::intermediate(KeyKind::P256)
            .seed(base.wrapping_add(1))
            .subject(&named("fulcio-intermediate"))
            .ca(Some(0))
            .extended(&[CODE_SIGNING])
            .issue(&fulcio_root);
        let tsa_root = Pki::root(KeyKind::P256)
            .seed(base.wrapping_add(2))
            .subject(&named("tsa-root"))
            .ca(Some(0))
            .self_signed();
        let tsa_leaf = Pki::leaf(KeyKind::P256)
            .seed(base.wrapping_add(3))
            .subject(&named("tsa-leaf"))
            .not_a_ca()
            .only_for(TIME_STAMPING)
            .issue(&tsa_root);
        Keys {
            fulcio_root,
            fulcio_intermediate,
            tsa_root,
            tsa_leaf,
            ct: key(KeyKind::P256, 4),
            rekor_v1: key(KeyKind::P256, 5),
            rekor_v2: key(KeyKind::Ed25519, 6),
            oidc: key(KeyKind::P256, 7),
        }
    }

    /// Fulcio's certificates, the one that issues first.
    pub(super) fn fulcio_chain(&self) -> [&Cert; 2] {
        [&self.fulcio_intermediate, &self.fulcio_root]
    }

    /// The timestamping authority's certificates, leaf first.
    pub(super) fn tsa_chain(&self) -> [&Cert; 2] {
        [&self.tsa_leaf, &self.tsa_root]
    }

    /// Writes each file as the server that reads it wants it.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let pem = |chain: [&Cert; 2]| chain.map(Cert::pem).concat();
        let files = [
            ("fulcio-key.pem", self.fulcio_intermediate.key().encrypted_pkcs8_pem(PASSPHRASE)),
            ("fulcio-chain.pem", pem(self.fulcio_chain())),
            ("fulcio-root.pem", self.fulcio_root.pem()),
            ("ct-key.pem", self.ct.sec1_pem()),
            ("ct-public.pem", self.ct.public_pem()),
            ("rekor-v1-key.pem", self.rekor_v1.pkcs8_pem()),
            ("rekor-v2-key.pem", self.rekor_v2.pkcs8_pem()),
            ("tsa-key.pem", self.tsa_leaf.key().pkcs8_pem()),
            ("tsa-chain.pem", pem(self.tsa_chain())),
        ];
        files.iter().try_for_each(|(name, text)| fs::write(dir.join(name), text))
    }
}
