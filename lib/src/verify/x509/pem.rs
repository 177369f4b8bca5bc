//! PEM texts (RFC 7468), read as tools write them: comments between blocks, any line length, `\r\n`.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Problem;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// The DER of each CERTIFICATE block.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
    let mut ders = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    let malformed = |ders: &[_], why: &str| Problem::Malformed {
        which: format!("certificate {} of the PEM text", ders.len() + 1),
        why: why.to_owned(),
    };
    for line in pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem).split(|&b| b == b'\n') {
        let line = line.trim_ascii();
        match &mut open {
            None if line == BEGIN => open = Some(Vec::new()),
            None => {}
            Some(text) if line == END => {
                ders.push(
                    STANDARD.decode(&*text).map_err(|e| malformed(&ders, &e.to_string().to_lowercase()))?,
                );
                open = None;
            }
            Some(_) if line.starts_with(b"-----") => return Err(malformed(&ders, "it has no end line")),
            Some(text) => text.extend_from_slice(line),
        }
    }
    if open.is_some() {
        return Err(malformed(&ders, "it has no end line"));
    }
    if ders.is_empty() { Err(Problem::NoCertificate) } else { Ok(ders) }
}
