//! Certificate chains: from a leaf that a bundle carries to a certificate that the caller gave.
//!
//! Three calls, no I/O and no clock:
//!
//! - [`ders_from_pem`]: the certificates of a PEM text, as DER;
//! - [`anchors_from_pem`]: the same, parsed, as the certificates that end a chain;
//! - [`verify_chain`]: the chain (leaf first, DER, untrusted) checked against the anchors at a given time; it gives back
//!   the [`Leaf`] whose key may then be used, or the [`Problem`] that stands in the way.
//!
//! What counts as a path. A path is a beginning of the chain in which each certificate names the next one as its issuer (a
//! copy of the certificate before it is skipped), and which ends either in a certificate that is itself an anchor, byte for
//! byte, or in one that an anchor issued. Whatever follows in the chain is not used, so that it does no harm. An anchor may be a root, an intermediate or the leaf itself; intermediates that the caller gave thereby
//! complete a chain that lacks them. Several anchors may share a name: those whose key identifier fits are tried first,
//! and the number of signatures checked is bounded.
//!
//! Every certificate of a path, the anchor included, is held to RFC 5280, section 6, at the given time, and to the
//! strength that [`signature`] asks for. The leaf may be an authority as well.
//!
//! What `pkix-path` does and does not do here is told in [`path`].

mod certificate;
#[cfg(feature = "sigstore")]
mod issuers;
mod names;
mod path;
mod pem;
mod problem;
mod signature;
#[cfg(feature = "sigstore")]
mod stated;
mod text;

use sha2::{Digest, Sha256};

use certificate::Certificate;
#[cfg(feature = "sigstore")]
pub(crate) use issuers::issuers;
pub(crate) use problem::Problem;
#[cfg(feature = "sigstore")]
pub(crate) use stated::{Stated, must_be_authority, stated};

/// Most certificates in a bundle's chain.
pub(crate) const CHAIN_LENGTH: usize = 16;

/// A certificate that the caller trusts: a chain may end in it.
#[derive(Debug, Clone)]
pub(crate) struct Anchor(Certificate);

impl Anchor {
    /// SHA-256 of the certificate in hex digits, and its subject, not escaped.
    pub(crate) fn fingerprint(&self) -> (String, &str) {
        (text::hex(&Sha256::digest(self.0.der())), self.0.subject())
    }
}

/// The leaf of a validated chain: whose key it is, and what vouched for it.
///
/// Names hold whatever their authority put there; they are made safe where they are shown, not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The public key, as a DER SubjectPublicKeyInfo.
    pub(crate) spki_der: Vec<u8>,
    /// The subject as RFC 4514 writes it: last part first, `CN=signer,O=Acme`.
    pub(crate) subject: String,
    /// The subject alternative names: email addresses, URIs, DNS names and IP addresses, each whole.
    ///
    /// One that does not look like its own kind (a DNS name with an `@`) is left out, so that a name of one kind
    /// cannot pass for a name of another.
    pub(crate) sans: Vec<String>,
    /// The serial number in lower-case hex digits, two a byte, without a leading sign byte.
    pub(crate) serial_hex: String,
    /// SHA-256 of the certificate's DER, in lower-case hex digits.
    pub(crate) sha256_hex: String,
    /// First second of the validity, in seconds since 1970.
    pub(crate) not_before: i64,
    /// Last second of the validity, in seconds since 1970.
    pub(crate) not_after: i64,
    /// The issuer, written as the subject is.
    pub(crate) issuer: String,
    /// Serial number and SHA-256, in hex digits, of each certificate of the path, from the leaf to the anchor.
    pub(crate) path: Vec<(String, String)>,
}

/// The certificates in a PEM text, as DER, in their order. Text between them and other PEM blocks are passed over.
///
/// # Errors
/// [`Problem::NoCertificate`] if there is none, [`Problem::Malformed`] if a block is cut or is not base64.
pub(crate) fn ders_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
    pem::certificates(pem)
}

/// The public key of a certificate, as a DER SubjectPublicKeyInfo.
///
/// # Errors
/// [`Problem::Malformed`] if it is no certificate.
pub(crate) fn public_key_der(der: &[u8]) -> Result<Vec<u8>, Problem> {
    Ok(Certificate::parse(der, "the certificate")?.spki_der().to_vec())
}

/// What a certificate says of itself, with nothing of it checked: subject, alternative names, issuer, serial number and
/// SHA-256, each as in a [`Leaf`].
///
/// # Errors
/// [`Problem::Malformed`] if it is no certificate.
pub(crate) fn claims(der: &[u8]) -> Result<Claims, Problem> {
    let certificate = Certificate::parse(der, "the certificate")?;
    Ok(Claims {
        subject: certificate.subject().to_owned(),
        sans: text::sans(certificate.alternative_names()?),
        issuer: certificate.issuer().to_owned(),
        serial_hex: certificate.serial_hex(),
        sha256_hex: text::hex(&Sha256::digest(der)),
    })
}

/// What a certificate says of itself.
pub(crate) struct Claims {
    pub(crate) subject: String,
    pub(crate) sans: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) serial_hex: String,
    pub(crate) sha256_hex: String,
}

/// The certificates in a PEM text, each as an anchor.
///
/// # Errors
/// As [`ders_from_pem`], and [`Problem::Malformed`] if one of them is no certificate.
pub(crate) fn anchors_from_pem(pem: &[u8]) -> Result<Vec<Anchor>, Problem> {
    let ders = pem::certificates(pem)?;
    (1..)
        .zip(&ders)
        .map(|(n, der)| Certificate::parse(der, &format!("certificate {n} of the PEM text")).map(Anchor))
        .collect()
}

/// Checks a chain (DER, leaf first, from a bundle and hence untrusted) against the anchors, as of `at`, in seconds since
/// 1970.
///
/// # Errors
/// The [`Problem`]. Where several paths were tried, it is that of the first one which led to an anchor.
pub(crate) fn verify_chain(chain_der: &[Vec<u8>], anchors: &[Anchor], at: i64) -> Result<Leaf, Problem> {
    if chain_der.len() > CHAIN_LENGTH {
        return Err(Problem::TooMany {
            what: "certificates in the chain",
            found: chain_der.len(),
            most: CHAIN_LENGTH,
        });
    }
    let mut chain = (1..)
        .zip(chain_der)
        .map(|(n, der)| Certificate::parse(der, &format!("certificate {n} of the chain")))
        .collect::<Result<Vec<_>, _>>()?;
    chain.dedup_by(|b, a| a.der() == b.der());
    let leaf = chain.first().ok_or(Problem::NoCertificate)?;
    // What follows a break cannot be on the path; whether it matters shows when there is none without it.
    let broken = chain.iter().zip(chain.iter().skip(1)).position(|(below, above)| !below.names_issuer(above));
    let ordered = chain.get(..broken.map_or(chain.len(), |at| at + 1)).unwrap_or(&chain);
    let path = path::find(ordered, anchors, at).map_err(|problem| match (&problem, broken) {
        (Problem::UnknownAnchor { .. }, Some(at)) => chain_order(&chain, at).unwrap_or(problem),
        _ => problem,
    })?;
    if !leaf.may_sign()? {
        // An authority that stands first is out of order rather than misused.
        let order = broken.and_then(|at| chain_order(&chain, at));
        return Err(order.unwrap_or_else(|| Problem::WrongUsage { subject: leaf.label() }));
    }
    let (not_before, not_after) = leaf.validity();
    Ok(Leaf {
        spki_der: leaf.spki_der().to_vec(),
        subject: leaf.subject().to_owned(),
        sans: text::sans(leaf.alternative_names()?),
        serial_hex: leaf.serial_hex(),
        sha256_hex: text::hex(&Sha256::digest(leaf.der())),
        not_before,
        not_after,
        issuer: leaf.issuer().to_owned(),
        path: path.iter().map(|c| (c.serial_hex(), text::hex(&Sha256::digest(c.der())))).collect(),
    })
}

fn chain_order(chain: &[Certificate], at: usize) -> Option<Problem> {
    let (below, above) = (chain.get(at)?, chain.get(at + 1)?);
    Some(Problem::ChainOrder {
        subject: below.label(),
        issuer: below.issuer().to_owned(),
        next: above.label(),
    })
}

#[cfg(test)]
mod tests;
