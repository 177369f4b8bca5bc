//! The DSSE envelope and what its signature is over (DSSE 1.0, protocol).

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

use super::json::Object;
use crate::{Error, code::Code, limits, shown::Shown};

/// The payload type of an in-toto statement.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A payload and its one signature.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The signed bytes: a statement in JSON.
    pub(crate) payload: Arc<[u8]>,
    /// The raw signature.
    pub(crate) signature: Vec<u8>,
}

impl Envelope {
    pub(super) fn parse(mut envelope: Object<'_>) -> Result<Self, Error> {
        let payload_type = envelope.string("payloadType")?;
        let payload = envelope.string("payload")?;
        let payload = decode(&payload).ok_or_else(|| envelope.mistyped("payload", "base64"))?;
        let signatures = envelope.array("signatures", limits::JSON_ITEMS)?;
        envelope.finish()?;
        if payload_type != PAYLOAD_TYPE {
            return Err(Error::new(
                Code::PayloadTypeUnsupported,
                format!("the payload type {:?} is not {PAYLOAD_TYPE}", Shown(&payload_type)),
            ));
        }
        let mut items = signatures.objects();
        let (Some(first), None) = (items.next(), items.next()) else {
            return Err(Error::new(
                Code::SignatureCount,
                format!("the envelope has {} signatures, not one", signatures.len()),
            ));
        };
        let mut first = first?;
        let signature = first.string("sig")?;
        let signature = decode(&signature).ok_or_else(|| first.mistyped("sig", "base64"))?;
        // The key id is a hint that nobody signed: any value will do, and none is used.
        let _ = first.raw("keyid");
        first.finish()?;
        Ok(Envelope { payload: payload.into(), signature })
    }

    /// What the signature is over: DSSE's pre-authentication encoding.
    pub(crate) fn pae(&self) -> Vec<u8> {
        pae(&self.payload)
    }

    /// What releases before 0.3 of the reference signed instead: `DSSEV1`, and the payload as Python prints bytes.
    ///
    /// Only to be tried for statements in the format of those releases.
    pub(crate) fn legacy_pae(&self) -> Vec<u8> {
        let mut out =
            format!("DSSEV1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), self.payload.len()).into_bytes();
        python_repr(&self.payload, &mut out);
        out
    }
}

/// The pre-authentication encoding of a statement.
pub(crate) fn pae(payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Bytes as Python's `repr` prints them.
fn python_repr(bytes: &[u8], out: &mut Vec<u8>) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    out.extend([b'b', quote]);
    for &byte in bytes {
        match byte {
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            _ if byte == quote => out.extend([b'\\', quote]),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    out.push(quote);
}

/// Base64 with padding, in the standard or the URL-safe alphabet: DSSE wants both read.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.as_bytes()).or_else(|_| URL_SAFE.decode(text.as_bytes())).ok()
}

/// Base64 in the standard alphabet, with padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_as_specified_and_as_python_had_them() {
        assert_eq!(pae(b"{}"), b"DSSEv1 28 application/vnd.in-toto+json 2 {}");
        let envelope =
            Envelope { payload: b"{\"a\": \"it's \\\\ \xc3\xa9\n\t\"}"[..].into(), signature: vec![] };
        assert_eq!(
            String::from_utf8(envelope.legacy_pae()).unwrap(),
            r#"DSSEV1 28 application/vnd.in-toto+json 21 b'{"a": "it\'s \\\\ \xc3\xa9\n\t"}'"#
        );
    }
}
