//! What a certificate of a Sigstore authority states: whose it is, and what build signed (Fulcio, `docs/oid-info.md`).

use sha2::{Digest, Sha256};
use x509_cert_02::{
    der::{
        Decode,
        asn1::{ObjectIdentifier, Utf8StringRef},
    },
    ext::pkix::{BasicConstraints, name::GeneralName},
};

use super::{Problem, certificate::Certificate, text};

/// The arc of Fulcio's extensions.
const FULCIO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
/// Who vouches, as bare text; written before [`ISSUER`].
const OLD_ISSUER: u32 = 1;
/// Who vouches.
const ISSUER: u32 = 8;
/// The type of an alternative name that is a bare user name.
const USER_NAME: u32 = 7;
/// The list of signed certificate timestamps (RFC 6962, 3.3).
const SCTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// The statements of one certificate. None of them is proven here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    /// The one alternative name: a mail address, a URI or a user name.
    pub(crate) identity: String,
    /// Who vouches for it.
    pub(crate) issuer: Option<String>,
    /// The extensions under Fulcio's arc that hold texts, by the last arc.
    pub(crate) claims: Vec<(u32, String)>,
    /// Whether it is for signing code: key usage digitalSignature and extended usage codeSigning, both.
    pub(crate) signs_code: bool,
    /// Whether it carries signed certificate timestamps.
    pub(crate) scts: bool,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) spki_der: Vec<u8>,
    pub(crate) serial_hex: String,
    pub(crate) sha256_hex: String,
}

/// What this certificate states.
///
/// # Errors
/// [`Problem::Malformed`], also where it has more than one identity, none, or two different issuers.
pub(crate) fn stated(der: &[u8]) -> Result<Stated, Problem> {
    let certificate = Certificate::parse(der, "the signing certificate")?;
    let (not_before, not_after) = certificate.validity();
    let texts = texts(&certificate)?;
    let text_at = |arc| texts.iter().find(|(at, _)| *at == arc).map(|(_, text)| text.clone());
    let (old, new) = (text_at(OLD_ISSUER), text_at(ISSUER));
    if old.is_some() && new.is_some() && old != new {
        return Err(certificate.malformed("it names two different issuers of its identity"));
    }
    Ok(Stated {
        identity: identity(&certificate)?,
        issuer: new.or(old),
        signs_code: certificate.has_digital_signature()? && certificate.has_code_signing()?,
        scts: certificate.extensions().iter().any(|extension| extension.extn_id == SCTS),
        claims: texts,
        not_before,
        not_after,
        spki_der: certificate.spki_der().to_vec(),
        serial_hex: certificate.serial_hex(),
        sha256_hex: text::hex(&Sha256::digest(der)),
    })
}

/// Refuses a certificate that is not an authority's.
///
/// # Errors
/// [`Problem::NotACa`], [`Problem::Malformed`].
pub(crate) fn must_be_authority(der: &[u8]) -> Result<(), Problem> {
    let certificate = Certificate::parse(der, "a certificate of the chain")?;
    match certificate.extension::<BasicConstraints>()? {
        Some(BasicConstraints { ca: true, .. }) => Ok(()),
        _ => Err(Problem::NotACa { subject: certificate.label() }),
    }
}

fn identity(certificate: &Certificate) -> Result<String, Problem> {
    let names = certificate.alternative_names()?;
    let [name] = names.as_slice() else {
        return Err(certificate.malformed("it has not exactly one identity"));
    };
    match name {
        GeneralName::Rfc822Name(text) => Some(text.to_string()),
        GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::OtherName(other) if arc_of(other.type_id) == Some(USER_NAME) => {
            other.value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned())
        }
        _ => None,
    }
    .filter(|text| !text.is_empty())
    .ok_or_else(|| {
        certificate.malformed("its identity is neither a mail address, nor a URI, nor a user name")
    })
}

fn texts(certificate: &Certificate) -> Result<Vec<(u32, String)>, Problem> {
    let mut texts = Vec::new();
    for extension in certificate.extensions() {
        let Some(arc) = arc_of(extension.extn_id) else { continue };
        let bytes = extension.extn_value.as_bytes();
        // Up to arc 6 they hold bare text, from arc 8 on DER.
        let text = if arc < USER_NAME {
            std::str::from_utf8(bytes).ok().map(ToOwned::to_owned)
        } else {
            Utf8StringRef::from_der(bytes).ok().map(|text| text.as_str().to_owned())
        };
        match text {
            Some(text) => texts.push((arc, text)),
            // What is only told may be of a kind that came later; what is decided by may not.
            None if matches!(arc, OLD_ISSUER | ISSUER) => {
                return Err(certificate.malformed("the issuer of its identity is not text"));
            }
            None => {}
        }
    }
    Ok(texts)
}

/// The last arc of an identifier right under Fulcio's.
fn arc_of(identifier: ObjectIdentifier) -> Option<u32> {
    (identifier.parent()? == FULCIO).then(|| identifier.arc(FULCIO.len()))?
}
