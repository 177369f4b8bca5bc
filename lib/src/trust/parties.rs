//! Who a trusted root trusts, in a form to be shown.

use serde::Serialize;
use sigstore_verify::trust_root as family;

use super::{cache::sha256_hex, root::TrustedRoot};

/// What somebody in a trusted root is trusted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PartyKind {
    /// Logs signatures (Rekor).
    Log,
    /// Issues certificates to identities (Fulcio).
    CertificateAuthority,
    /// Logs certificates.
    CertificateLog,
    /// Says when a signature was there.
    TimestampAuthority,
}

impl PartyKind {
    /// As reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            PartyKind::Log => "log",
            PartyKind::CertificateAuthority => "certificate authority",
            PartyKind::CertificateLog => "certificate log",
            PartyKind::TimestampAuthority => "timestamp authority",
        }
    }
}

/// Somebody whom a trusted root trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrustedParty {
    /// For what.
    pub kind: PartyKind,
    /// Where it is, as the trusted root says; not escaped.
    pub uri: Option<String>,
    /// SHA-256 over a log's public key, or over the last certificate of an authority's chain, in DER; in hex.
    pub fingerprint: String,
    /// Since when, in seconds since 1970; none for always.
    pub from: Option<i64>,
    /// Until when, in seconds since 1970; none for no end.
    pub until: Option<i64>,
}

impl TrustedRoot {
    /// Everybody in it, in its own order.
    pub fn parties(&self) -> Vec<TrustedParty> {
        let root = &self.family;
        let logs = root.tlogs.iter().map(|log| keyed(PartyKind::Log, &log.base_url, &log.public_key));
        let authorities = root.certificate_authorities.iter().map(|authority| {
            let uri = Some(authority.uri.clone());
            certified(
                PartyKind::CertificateAuthority,
                uri,
                &authority.cert_chain,
                authority.valid_for.as_ref(),
            )
        });
        let certificates =
            root.ctlogs.iter().map(|log| keyed(PartyKind::CertificateLog, &log.base_url, &log.public_key));
        let timestamps = root.timestamp_authorities.iter().map(|authority| {
            let uri = authority.uri.clone();
            certified(PartyKind::TimestampAuthority, uri, &authority.cert_chain, authority.valid_for.as_ref())
        });
        logs.chain(authorities).chain(certificates).chain(timestamps).collect()
    }
}

fn keyed(kind: PartyKind, uri: &str, key: &family::trusted_root::PublicKey) -> TrustedParty {
    party(kind, Some(uri.to_owned()), key.raw_bytes.as_bytes(), key.valid_for.as_ref())
}

fn certified(
    kind: PartyKind,
    uri: Option<String>,
    chain: &family::trusted_root::CertChain,
    valid: Option<&family::TimeRange>,
) -> TrustedParty {
    let last = chain.certificates.last().map_or(&[] as &[u8], |certificate| certificate.raw_bytes.as_bytes());
    party(kind, uri, last, valid)
}

fn party(
    kind: PartyKind,
    uri: Option<String>,
    der: &[u8],
    valid: Option<&family::TimeRange>,
) -> TrustedParty {
    TrustedParty {
        kind,
        uri: uri.filter(|uri| !uri.is_empty()),
        fingerprint: sha256_hex(der),
        from: valid.map(|range| range.start.as_second()),
        until: valid.and_then(|range| range.end).map(jiff_02::Timestamp::as_second),
    }
}
