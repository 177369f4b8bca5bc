//! The timestamp over a signature (RFC 3161).

use der::{Decode, Tag, Tagged, asn1::AnyRef};
use sha2::{Digest, Sha256};

use super::Place;
use crate::{Error, http::Call};

const SERVICE: &str = "the timestamp authority";

/// `TimeStampReq` up to the digest: version 1 and a SHA-256 imprint. It is always the same, since it has no nonce: the
/// signature is new and random, so that no older answer can fit it.
const REQUEST: [u8; 24] = [
    0x30, 0x39, 0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
];

/// The end of it: the certificates are wanted too.
const CERTIFICATES: [u8; 3] = [0x01, 0x01, 0xff];

/// Asks for a timestamp; the whole answer is what bundles have.
///
/// # Errors
/// `service-failed`.
pub(super) fn timestamp(url: &str, signature: &[u8], place: &Place<'_>) -> Result<Vec<u8>, Error> {
    let body = [&REQUEST[..], &Sha256::digest(signature), &CERTIFICATES].concat();
    let call =
        Call::post(SERVICE, url, "application/timestamp-query", body).accept("application/timestamp-reply");
    let answer = place.http.call(&call, place.run)?;
    granted(&answer.body).map_err(|why| call.unusable(why))?;
    Ok(answer.body)
}

/// Whether a `TimeStampResp` has a timestamp; the timestamp itself is looked into when the bundle is verified.
fn granted(der: &[u8]) -> Result<(), String> {
    let (status, texts, token) = response(der).ok_or_else(|| "it is not a timestamp".to_owned())?;
    match (status, token) {
        // Granted, and granted with modifications.
        (0 | 1, true) => Ok(()),
        (0 | 1, false) => Err("there is no timestamp in it".to_owned()),
        _ => Err(format!("the timestamp is refused with the status {status} {texts}").trim_end().to_owned()),
    }
}

/// The status, its texts, and whether there is a token.
fn response(der: &[u8]) -> Option<(u8, String, bool)> {
    let parts = Vec::<AnyRef<'_>>::from_der(der).ok()?;
    let (info, token) = parts.split_first()?;
    let info = info.decode_as::<Vec<AnyRef<'_>>>().ok()?;
    let (status, rest) = info.split_first()?;
    let texts = rest.iter().filter(|part| part.tag() == Tag::Sequence);
    let texts = texts.filter_map(|texts| texts.decode_as::<Vec<AnyRef<'_>>>().ok()).flatten();
    let texts: Vec<_> = texts.map(|text| String::from_utf8_lossy(text.value()).into_owned()).collect();
    Some((status.decode_as::<u8>().ok()?, texts.join(", "), !token.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_sequence_of_version_imprint_and_flag() {
        let der = [&REQUEST[..], &Sha256::digest(b"signature"), &CERTIFICATES].concat();
        let parts = Vec::<AnyRef<'_>>::from_der(&der).unwrap();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0].decode_as::<u8>().unwrap(), 1);
        assert_eq!(
            parts[1].decode_as::<Vec<AnyRef<'_>>>().unwrap()[1].value(),
            Sha256::digest(b"signature").as_slice()
        );
        assert!(parts[2].decode_as::<bool>().unwrap());
    }

    #[test]
    fn only_a_granted_timestamp_is_one() {
        assert!(granted(&[0x30, 0x07, 0x30, 0x03, 0x02, 0x01, 0x00, 0x30, 0x00]).is_ok());
        assert!(granted(&[0x30, 0x07, 0x30, 0x03, 0x02, 0x01, 0x01, 0x30, 0x00]).is_ok());
        let refused = [0x30, 0x0b, 0x30, 0x09, 0x02, 0x01, 0x02, 0x30, 0x04, 0x0c, 0x02, b'n', b'o'];
        assert_eq!(granted(&refused).unwrap_err(), "the timestamp is refused with the status 2 no");
        assert_eq!(
            granted(&[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00]).unwrap_err(),
            "there is no timestamp in it"
        );
        assert_eq!(granted(b"<html>").unwrap_err(), "it is not a timestamp");
    }
}
