//! Chains that verify, and the same chain with one thing wrong.

use x509_cert_02::der::asn1::ObjectIdentifier;

use super::{
    Cert, Digest, FOREVER, FROM, Key, KeyKind, KeyUsages, Pki, SERVER_AUTH, TO, certificate::directory, dns,
    email,
};

/// A chain for a bundle, and what a verifier gives to trust.
#[derive(Debug, Clone)]
pub struct Case {
    /// The certificates of the bundle, leaf first.
    pub chain: Vec<Cert>,
    /// The certificates that the verifier gives.
    pub anchors: Vec<Cert>,
}

impl Case {
    /// The leaf's key pair, to sign with.
    pub fn key(&self) -> &Key {
        self.chain[0].key()
    }

    /// The chain as DER, leaf first.
    pub fn chain_der(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(Cert::der).collect()
    }

    /// The leaf as PEM.
    pub fn leaf_pem(&self) -> String {
        self.chain[0].pem()
    }

    /// The chain above the leaf as PEM; empty if there is none.
    pub fn intermediates_pem(&self) -> String {
        self.chain[1..].iter().map(Cert::pem).collect()
    }

    /// The anchors as PEM, one after the other.
    pub fn anchors_pem(&self) -> String {
        self.anchors.iter().map(Cert::pem).collect()
    }
}

/// How a chain that verifies is built. The leaf's key is of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Leaf and intermediate in the bundle, the root given.
    Plain,
    /// Leaf, intermediate and root in the bundle, the root given.
    RootInside,
    /// A leaf under a root.
    Direct,
    /// Only the leaf in the bundle, intermediate and root given.
    IntermediateGiven,
    /// Leaf and intermediate in the bundle, just the intermediate given.
    IntermediateTrusted,
    /// Leaf and intermediate in the bundle, just the leaf given.
    LeafTrusted,
    /// A self-signed leaf, itself given.
    SelfSigned,
    /// RSA authorities over SHA-256.
    RsaAuthorities,
    /// P-384 authorities over SHA-384; the leaf has key usage alone.
    P384Authorities,
    /// Leaf and intermediate with the same subject name.
    SameSubject,
    /// All valid to 9999-12-31.
    Forever,
    /// The leaf is an authority too.
    LeafIsCa,
    /// A root of version 1.
    Version1Root,
    /// Two roots of the same name given, the second one the right one.
    KeyRollover,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 14] = [
        Shape::Plain,
        Shape::RootInside,
        Shape::Direct,
        Shape::IntermediateGiven,
        Shape::IntermediateTrusted,
        Shape::LeafTrusted,
        Shape::SelfSigned,
        Shape::RsaAuthorities,
        Shape::P384Authorities,
        Shape::SameSubject,
        Shape::Forever,
        Shape::LeafIsCa,
        Shape::Version1Root,
        Shape::KeyRollover,
    ];

    /// The chain of this shape, with a leaf's key of this kind. The leaf has the email address `signer@example.com`.
    pub fn case(self, kind: KeyKind) -> Case {
        let authority = match self {
            Shape::RsaAuthorities => KeyKind::Rsa2048,
            Shape::P384Authorities => KeyKind::P384,
            _ => KeyKind::P256,
        };
        let (mut root, mut intermediate) = (Pki::root(authority), Pki::intermediate(authority));
        let mut leaf = Pki::leaf(kind).names(&[email("signer@example.com")]);
        match self {
            Shape::SameSubject => leaf = leaf.subject("CN=Test Intermediate"),
            Shape::Forever => {
                root = root.valid(FROM, FOREVER);
                intermediate = intermediate.valid(FROM, FOREVER);
                leaf = leaf.valid(FROM, FOREVER);
            }
            Shape::LeafIsCa => leaf = leaf.ca(None),
            Shape::Version1Root => root = root.version_1(),
            _ => {}
        }
        if self == Shape::SelfSigned {
            let leaf = leaf.self_signed();
            return Case { chain: vec![leaf.clone()], anchors: vec![leaf] };
        }
        let root = root.self_signed();
        if self == Shape::Direct {
            return Case { chain: vec![leaf.issue(&root)], anchors: vec![root] };
        }
        let intermediate = intermediate.issue(&root);
        let leaf = leaf.issue(&intermediate);
        match self {
            Shape::RootInside => Case { chain: vec![leaf, intermediate, root.clone()], anchors: vec![root] },
            Shape::IntermediateGiven => Case { chain: vec![leaf], anchors: vec![root, intermediate] },
            Shape::IntermediateTrusted => {
                Case { chain: vec![leaf, intermediate.clone()], anchors: vec![intermediate] }
            }
            Shape::LeafTrusted => Case { chain: vec![leaf.clone(), intermediate], anchors: vec![leaf] },
            Shape::KeyRollover => {
                let old = Pki::root(authority).seed(9).self_signed();
                Case { chain: vec![leaf, intermediate], anchors: vec![old, root] }
            }
            _ => Case { chain: vec![leaf, intermediate], anchors: vec![root] },
        }
    }
}

/// One thing that is wrong with [`Shape::Plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The leaf's validity has ended.
    Expired,
    /// The leaf's validity begins in 2048.
    NotYetValid,
    /// The intermediate's validity has ended.
    IntermediateExpired,
    /// The given root's validity has ended.
    RootExpired,
    /// The leaf is for TLS servers, with key usage keyEncipherment.
    WrongUsage,
    /// The leaf has no usage at all.
    NoUsage,
    /// Another root is given, with another name.
    OtherRoot,
    /// Another root is given, with the same name and another key.
    OtherRootSameName,
    /// The intermediate is missing.
    Cut,
    /// Leaf, root, intermediate.
    OutOfOrder,
    /// The intermediate is CA:FALSE.
    NotACa,
    /// The intermediate has no basic constraints.
    NoBasicConstraints,
    /// The intermediate lacks keyCertSign.
    NoCertSign,
    /// The root allows no intermediate.
    PathLength,
    /// The root permits another organization.
    NamePermitted,
    /// The root excludes the leaf's DNS name.
    NameExcluded,
    /// The intermediate has a critical extension that nobody knows.
    CriticalExtension,
    /// The leaf is signed over SHA-1.
    Sha1,
    /// The intermediate has an RSA key of 1024 bits.
    Rsa1024,
    /// A byte of the leaf was changed after it was signed.
    Changed,
    /// A hundred roots of the right name are given, and none issued the intermediate.
    CrossSigned,
    /// Twenty certificates in the bundle.
    TooLong,
    /// Not a certificate: the leaf's last byte is missing.
    Truncated,
}

impl Defect {
    /// Every defect.
    pub const ALL: [Defect; 23] = [
        Defect::Expired,
        Defect::NotYetValid,
        Defect::IntermediateExpired,
        Defect::RootExpired,
        Defect::WrongUsage,
        Defect::NoUsage,
        Defect::OtherRoot,
        Defect::OtherRootSameName,
        Defect::Cut,
        Defect::OutOfOrder,
        Defect::NotACa,
        Defect::NoBasicConstraints,
        Defect::NoCertSign,
        Defect::PathLength,
        Defect::NamePermitted,
        Defect::NameExcluded,
        Defect::CriticalExtension,
        Defect::Sha1,
        Defect::Rsa1024,
        Defect::Changed,
        Defect::CrossSigned,
        Defect::TooLong,
        Defect::Truncated,
    ];

    /// The chain with this defect, as DER, leaf first; the leaf's key pair; and the anchors as PEM.
    pub fn case(self, kind: KeyKind) -> (Vec<Vec<u8>>, Key, String) {
        let mut case = self.chain(kind);
        match self {
            Defect::OutOfOrder => case.chain.insert(1, case.anchors[0].clone()),
            Defect::Cut => case.chain.truncate(1),
            Defect::OtherRoot => {
                case.anchors = vec![Pki::root(kind).seed(9).subject("CN=Other Root").self_signed()]
            }
            Defect::OtherRootSameName => case.anchors = vec![Pki::root(kind).seed(9).self_signed()],
            Defect::CrossSigned => {
                case.anchors =
                    (100..200).map(|n| Pki::root(kind).seed(n).without_key_ids().self_signed()).collect();
            }
            Defect::TooLong => case.chain.extend(vec![case.anchors[0].clone(); 18]),
            _ => {}
        }
        let mut ders = case.chain_der();
        match self {
            Defect::Changed => {
                let name = b"Test Signer";
                let at = ders[0].windows(name.len()).position(|w| w == name).unwrap();
                ders[0][at] = b't';
            }
            Defect::Truncated => {
                ders[0].pop();
            }
            _ => {}
        }
        (ders, case.key().clone(), case.anchors_pem())
    }

    fn chain(self, kind: KeyKind) -> Case {
        const PAST: (i64, i64) = (FROM, FROM + 86_400);
        const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
        const UNKNOWN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");

        let (mut root, mut intermediate) = (Pki::root(KeyKind::P256), Pki::intermediate(KeyKind::P256));
        let mut leaf = Pki::leaf(kind).names(&[email("signer@example.com"), dns("build.example.com")]);
        match self {
            Defect::Expired => leaf = leaf.valid(PAST.0, PAST.1),
            Defect::NotYetValid => leaf = leaf.valid(TO - 2 * 31_536_000, TO),
            Defect::IntermediateExpired => intermediate = intermediate.valid(PAST.0, PAST.1),
            Defect::RootExpired => root = root.valid(PAST.0, PAST.1),
            Defect::WrongUsage => leaf = leaf.usages(KeyUsages::KeyEncipherment).extended(&[SERVER_AUTH]),
            Defect::NoUsage => leaf = leaf.without(ObjectIdentifier::new_unwrap("2.5.29.15")),
            Defect::NotACa => intermediate = intermediate.not_a_ca(),
            Defect::NoBasicConstraints => intermediate = intermediate.without(BASIC_CONSTRAINTS),
            Defect::NoCertSign => intermediate = intermediate.usages(KeyUsages::DigitalSignature),
            Defect::PathLength => root = root.ca(Some(0)),
            Defect::NamePermitted => {
                root = root.constrain(&[directory("O=Acme")], &[]);
                intermediate = intermediate.subject("CN=Test Intermediate,O=Acme");
            }
            Defect::NameExcluded => root = root.constrain(&[], &[dns("example.com")]),
            Defect::CriticalExtension => intermediate = intermediate.raw_extension(UNKNOWN, true, &[5, 0]),
            Defect::Sha1 => leaf = leaf.digest(Digest::Sha1),
            Defect::Rsa1024 => {
                intermediate = Pki::intermediate(KeyKind::Rsa1024);
            }
            _ => {}
        }
        let root = root.self_signed();
        let intermediate = intermediate.issue(&root);
        Case { chain: vec![leaf.issue(&intermediate), intermediate], anchors: vec![root] }
    }
}
