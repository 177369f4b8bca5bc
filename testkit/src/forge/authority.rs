//! The authority that issues short-lived certificates for identities, and the log of its certificates.

use sha2::{Digest as _, Sha256};
use x509_cert_02::{
    der::{
        Any, Encode, Tag,
        asn1::{ObjectIdentifier, OctetString, Utf8StringRef},
        flagset::FlagSet,
        oid::AssociatedOid,
    },
    ext::pkix::{
        KeyUsage, SubjectAltName,
        name::{GeneralName, OtherName},
    },
};

use super::TIME;
use crate::pki::{CODE_SIGNING, Cert, FOREVER, Key, KeyKind, KeyUsages, Pki, email};

/// Whose certificates are unless told otherwise.
pub const EMAIL: &str = "dev@forge.example";
/// Who vouches for him.
pub const ISSUER: &str = "https://issuer.forge.example";

/// The arc of Fulcio's extensions.
const FULCIO: &str = "1.3.6.1.4.1.57264.1";
/// The list of signed certificate timestamps (RFC 6962, section 3.3).
const SCTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// A root and the intermediate that issues.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The root.
    pub root: Cert,
    /// The intermediate.
    pub intermediate: Cert,
}

/// A log of certificates.
#[derive(Debug, Clone)]
pub struct CtLog {
    /// What it signs with: P-256.
    pub key: Key,
}

/// What one of these logs says of a certificate.
#[derive(Debug, Clone)]
pub struct Sct {
    /// Which log.
    pub log: CtLog,
    /// When it was logged, in seconds since 1970.
    pub time: i64,
    /// Whether its signature is wrong.
    pub broken: bool,
}

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The key pair.
    pub key: Key,
    /// The alternative names; a critical extension unless there are none.
    pub names: Vec<GeneralName>,
    /// Who vouches, as old certificates say it (arc 1: bare text).
    pub old_issuer: Option<String>,
    /// Who vouches (arc 8).
    pub issuer: Option<String>,
    /// What else is said of the build, by the last arc (9 and up).
    pub claims: Vec<(u32, String)>,
    /// Since when it is valid, in seconds since 1970.
    pub from: i64,
    /// Until when.
    pub to: i64,
    /// The key usages; no extension where there are none.
    pub usages: Vec<KeyUsages>,
    /// The extended key usages; no extension where there are none.
    pub extended: Vec<ObjectIdentifier>,
    /// Whether it is an authority's.
    pub ca: bool,
    /// What logs say of it; no extension where there are none.
    pub scts: Vec<Sct>,
    /// Whether it has a critical extension that nobody knows.
    pub strange: bool,
}

impl Authority {
    /// An authority of this name. Another seed brings other keys under the same names.
    pub fn new(name: &str, seed: u64) -> Authority {
        let root = Pki::root(KeyKind::P384)
            .seed(100 + 10 * seed)
            .subject(&format!("CN={name} Root,O={name}"))
            .valid(super::START, FOREVER)
            .self_signed();
        let intermediate = Pki::intermediate(KeyKind::P384)
            .seed(101 + 10 * seed)
            .subject(&format!("CN={name} Intermediate,O={name}"))
            .ca(Some(0))
            .extended(&[CODE_SIGNING])
            .valid(super::START, FOREVER)
            .issue(&root);
        Authority { root, intermediate }
    }

    /// Issues a certificate, with whatever its logs say.
    pub fn issue(&self, leaf: &Leaf) -> Cert {
        let draft = leaf.draft();
        if leaf.scts.is_empty() {
            return draft.issue(&self.intermediate);
        }
        // What logs sign is the certificate without the list of what they signed (RFC 6962, section 3.2).
        let tbs = draft.clone().issue(&self.intermediate).certificate().tbs_certificate.to_der().unwrap();
        let issuer = Sha256::digest(self.intermediate.key().spki_der());
        let scts: Vec<Vec<u8>> = leaf.scts.iter().map(|sct| sized16(&sct.encode(&issuer, &tbs))).collect();
        let list = OctetString::new(sized16(&scts.concat())).unwrap().to_der().unwrap();
        draft.raw_extension(SCTS, false, &list).issue(&self.intermediate)
    }
}

impl CtLog {
    /// A log with the key of this seed.
    pub fn new(seed: u64) -> CtLog {
        CtLog { key: Key::new(KeyKind::P256, 220 + seed) }
    }

    /// By what a trusted root knows it.
    pub fn id(&self) -> Vec<u8> {
        Sha256::digest(self.key.spki_der()).to_vec()
    }
}

impl Sct {
    /// The timestamp as TLS encodes it.
    fn encode(&self, issuer: &[u8], tbs: &[u8]) -> Vec<u8> {
        let time = (1000 * self.time).to_be_bytes();
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        // Version 1, of a certificate, at that time; a certificate to be; no extensions.
        let signed = [&[0, 0], &time[..], &[0, 1], issuer, &length[1..], tbs, &[0, 0]].concat();
        let mut signature = self.log.key.sign(&signed);
        if self.broken {
            *signature.last_mut().unwrap() ^= 1;
        }
        // SHA-256 with ECDSA.
        [&[0], self.log.id().as_slice(), &time, &[0, 0, 4, 3], &sized16(&signature)].concat()
    }
}

/// Bytes behind their length in two bytes.
fn sized16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

impl Leaf {
    /// A leaf that verifies.
    pub fn new(ct: &CtLog) -> Leaf {
        Leaf {
            key: Key::new(KeyKind::P256, 300),
            names: vec![email(EMAIL)],
            old_issuer: Some(ISSUER.to_owned()),
            issuer: Some(ISSUER.to_owned()),
            claims: Vec::new(),
            from: TIME - 300,
            to: TIME + 300,
            usages: vec![KeyUsages::DigitalSignature],
            extended: vec![CODE_SIGNING],
            ca: false,
            scts: vec![Sct { log: ct.clone(), time: TIME - 300, broken: false }],
            strange: false,
        }
    }

    fn draft(&self) -> Pki {
        let arc = |arc: u32| ObjectIdentifier::new(&format!("{FULCIO}.{arc}")).unwrap();
        let text = |text: &str| Utf8StringRef::new(text).unwrap().to_der().unwrap();
        let mut draft = Pki::leaf(self.key.kind()).key(&self.key).subject("").valid(self.from, self.to);
        draft = draft.without(KeyUsage::OID);
        if let Some(first) = self.usages.first() {
            draft = draft.usages(self.usages.iter().fold(FlagSet::from(*first), |all, one| all | *one));
        }
        if self.strange {
            draft = draft.raw_extension(arc(99), true, b"\x05\x00");
        }
        if self.ca {
            draft = draft.ca(None);
        }
        if !self.extended.is_empty() {
            draft = draft.extended(&self.extended);
        }
        if !self.names.is_empty() {
            draft = draft.extension(true, &SubjectAltName(self.names.clone()));
        }
        if let Some(issuer) = &self.old_issuer {
            draft = draft.raw_extension(arc(1), false, issuer.as_bytes());
        }
        if let Some(issuer) = &self.issuer {
            draft = draft.raw_extension(arc(8), false, &text(issuer));
        }
        for (at, claim) in &self.claims {
            draft = draft.raw_extension(arc(*at), false, &text(claim));
        }
        draft
    }
}

/// A bare user name as an alternative name.
pub fn user_name(text: &str) -> GeneralName {
    GeneralName::OtherName(OtherName {
        type_id: ObjectIdentifier::new(&format!("{FULCIO}.7")).unwrap(),
        value: Any::new(Tag::Utf8String, text.as_bytes()).unwrap(),
    })
}
