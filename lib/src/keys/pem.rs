//! PEM blocks (RFC 7468), read as leniently as key files in the wild need: any line width, CR LF, text between blocks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// One block of a PEM file.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    /// Whether it has headers, as encrypted keys of the traditional form have.
    pub(super) headers: bool,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// The blocks of a text; what is no block is skipped, a block that does not decode ends the list.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let (body, after) = after.split_once(&format!("-----END {label}-----"))?;
        rest = after;
        let headers = body.contains(':');
        let mut encoded = Zeroizing::new(Vec::with_capacity(body.len()));
        encoded.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let der = if headers { Vec::new() } else { STANDARD.decode(&*encoded).ok()? };
        Some(Block { label, headers, der: Zeroizing::new(der) })
    })
}
