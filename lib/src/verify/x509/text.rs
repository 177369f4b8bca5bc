//! Names, numbers and digests as text.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use x509_cert_02::{
    attr::AttributeTypeAndValue,
    der::{Any, Encode, Tag, Tagged, oid::ObjectIdentifier},
    ext::pkix::name::GeneralName,
    name::Name,
};

/// Short names of attribute types: the nine of RFC 4514, section 3, and those of RFC 4519 and RFC 2985 that
/// certificates use. The list is our own, since identities in policies are compared as text and must not change with
/// some library's table.
const SHORT: [(ObjectIdentifier, &str); 18] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "sn"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "serialNumber"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "title"),
    (ObjectIdentifier::new_unwrap("2.5.4.15"), "businessCategory"),
    (ObjectIdentifier::new_unwrap("2.5.4.17"), "postalCode"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "givenName"),
    (ObjectIdentifier::new_unwrap("2.5.4.43"), "initials"),
    (ObjectIdentifier::new_unwrap("2.5.4.46"), "dnQualifier"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "emailAddress"),
];

/// A distinguished name as RFC 4514 writes it.
pub(super) fn name(name: &Name) -> String {
    let mut text = String::new();
    for (i, rdn) in name.0.iter().rev().enumerate() {
        for (j, attribute) in rdn.0.iter().enumerate() {
            text.push_str(match (i, j) {
                (0, 0) => "",
                (_, 0) => ",",
                _ => "+",
            });
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue) {
    let short = SHORT.iter().find(|(oid, _)| *oid == attribute.oid);
    if let Some(((_, short), value)) = short.zip(string(&attribute.value)) {
        text.push_str(short);
        text.push('=');
        push_escaped(text, &value);
        return;
    }
    // An attribute type or a value that has no text of its own is written as the DER of the value.
    let _ = write!(text, "{}=#{}", attribute.oid, hex(&attribute.value.to_der().unwrap_or_default()));
}

/// RFC 4514, section 2.4.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        match c {
            '\0' => text.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            '#' if i == 0 => text.push_str("\\#"),
            ' ' if i == 0 || i == last => text.push_str("\\ "),
            _ => text.push(c),
        }
    }
}

/// The text of an attribute's value, where it is a string whose characters are known.
///
/// TeletexString has no agreed characters past ASCII (RFC 4518, 2.1).
pub(super) fn string(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::VisibleString | Tag::NumericString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Tag::TeletexString if bytes.is_ascii() => String::from_utf8(bytes.to_vec()).ok(),
        Tag::BmpString if bytes.len().is_multiple_of(2) => bytes
            .chunks_exact(2)
            .map(|c| {
                <[u8; 2]>::try_from(c).ok().map(u16::from_be_bytes).and_then(|u| char::from_u32(u.into()))
            })
            .collect(),
        _ => None,
    }
}

/// Alternative names as text: email addresses, DNS names, URIs and IP addresses that look like what they are.
///
/// The kinds exclude one another, and none of them reads like a subject: an address has an `@` and neither colon nor `=`, a
/// DNS name none of these and is no IP address, a URI a colon after a scheme.
pub(super) fn sans(names: Vec<GeneralName>) -> Vec<String> {
    names
        .into_iter()
        .filter_map(|name| match name {
            GeneralName::Rfc822Name(s) => Some(s.as_str().to_owned()).filter(|s| {
                s.contains('@') && s.bytes().all(|b| b.is_ascii_graphic() && !b":=,".contains(&b))
            }),
            GeneralName::DnsName(s) => Some(s.as_str().to_owned()).filter(|s| {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._*".contains(&b);
                !s.is_empty() && s.bytes().all(plain) && s.parse::<IpAddr>().is_err()
            }),
            GeneralName::UniformResourceIdentifier(s) => {
                Some(s.as_str().to_owned()).filter(|s| scheme(s).is_some())
            }
            GeneralName::IpAddress(bytes) => ip(bytes.as_bytes()),
            _ => None,
        })
        .collect()
}

/// The scheme of a URI (RFC 3986, 3.1) and what follows its colon.
pub(super) fn scheme(uri: &str) -> Option<(&str, &str)> {
    uri.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

pub(super) fn ip(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).to_string()),
        _ => None,
    }
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
