//! Who may have issued a certificate that a library verified, which does not say by which path it did.

use sha2::{Digest, Sha256};

use super::{certificate::Certificate, signature, text};

/// Serial number and SHA-256, in hex digits, of each of these certificates (DER) that the leaf leads to: whose subject the
/// one below names as its issuer, and whose key signed it. Where that cannot be told it counts as one, so that one that is
/// revoked is found whichever path was taken.
pub(crate) fn issuers<'a>(leaf: &[u8], among: impl Iterator<Item = &'a [u8]>) -> Vec<(String, String)> {
    let parsed = |der: &[u8]| Certificate::parse(der, "a certificate of the chain").ok();
    let mut others: Vec<Certificate> = among.filter_map(parsed).collect();
    let mut below: Vec<Certificate> = parsed(leaf).into_iter().collect();
    let mut found = Vec::new();
    while !below.is_empty() {
        let issued = |issuer: &Certificate| {
            let by = |one: &Certificate| {
                one.names_issuer(issuer) && signature::made_by(one, issuer).unwrap_or(true)
            };
            below.iter().any(by)
        };
        let (above, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(issued);
        found.extend(above.iter().map(|one| (one.serial_hex(), text::hex(&Sha256::digest(one.der())))));
        (below, others) = (above, rest);
    }
    found
}
