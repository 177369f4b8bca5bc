//! Name constraints (RFC 5280, 4.2.1.10): which names an authority may certify.
//!
//! Each authority's constraints are applied by themselves to every certificate below it, which comes to the same as
//! intersecting them and needs no rule for how two constraints intersect. Where it cannot be told whether a name lies
//! within a constraint (a kind of name that is not known here, a URI without a host name), it is refused: such a name is
//! neither permitted nor clear of what is excluded.

use x509_cert_02::{
    der::asn1::ObjectIdentifier,
    ext::pkix::{
        NameConstraints,
        constraints::name::GeneralSubtree,
        name::{GeneralName, OtherName},
    },
    name::{Name, RdnSequence},
};

use super::{Problem, certificate::Certificate, text};

/// Most comparisons of a name with a constraint, for one path.
const COMPARISONS: usize = 100_000;

/// The attribute emailAddress (RFC 2985), and the other name for addresses that are not ASCII (RFC 9598): constraints
/// on email addresses are about them too.
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");
const SMTP_UTF8_MAILBOX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.9");

/// Checks the names of each certificate of a path, leaf first, against the constraints of those above it.
pub(super) fn check(path: &[&Certificate]) -> Result<(), Problem> {
    let mut comparisons = 0;
    for (depth, authority) in path.iter().enumerate().skip(1) {
        let Some(constraints) = authority.extension::<NameConstraints>()? else { continue };
        let permitted = constraints.permitted_subtrees.unwrap_or_default();
        let excluded = constraints.excluded_subtrees.unwrap_or_default();
        if permitted.iter().chain(&excluded).any(|s| s.minimum != 0 || s.maximum.is_some()) {
            return Err(authority.malformed("its name constraints have a minimum or a maximum"));
        }
        for (below, certificate) in path.iter().enumerate().take(depth) {
            // RFC 5280, 6.1.3 (b): an authority's certificate for itself is exempt, unless it is the leaf.
            if below > 0 && certificate.is_self_issued() {
                continue;
            }
            for held in held(certificate)? {
                comparisons += permitted.len() + excluded.len();
                if comparisons > COMPARISONS {
                    return Err(Problem::TooMany {
                        what: "names to compare",
                        found: comparisons,
                        most: COMPARISONS,
                    });
                }
                if !held.is_allowed(&permitted, &excluded) {
                    return Err(Problem::NameConstraint {
                        subject: certificate.label(),
                        name: held.text(),
                        authority: authority.label(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// A name that a certificate holds, or one that can only be told to be there.
enum Held {
    General(GeneralName),
    /// An email address that cannot be read.
    SomeEmail,
}

/// The alternative names, the subject, and the email addresses in the subject.
fn held(certificate: &Certificate) -> Result<Vec<Held>, Problem> {
    let mut held: Vec<_> = certificate.alternative_names()?.into_iter().map(Held::General).collect();
    let subject = certificate.subject_name();
    if !subject.is_empty() {
        held.push(Held::General(GeneralName::DirectoryName(subject.clone())));
    }
    for attribute in subject.0.iter().flat_map(|rdn| rdn.0.iter()).filter(|a| a.oid == EMAIL_ADDRESS) {
        let email =
            text::string(&attribute.value).and_then(|s| x509_cert_02::der::asn1::Ia5String::new(&s).ok());
        held.push(email.map_or(Held::SomeEmail, |email| Held::General(GeneralName::Rfc822Name(email))));
    }
    Ok(held)
}

/// Whether a name lies within a constraint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Within,
    Outside,
    Unclear,
}

impl From<bool> for Fit {
    fn from(within: bool) -> Self {
        if within { Fit::Within } else { Fit::Outside }
    }
}

impl Held {
    /// Within one of those permitted for its kind, if there are any, and clear of all that are excluded.
    fn is_allowed(&self, permitted: &[GeneralSubtree], excluded: &[GeneralSubtree]) -> bool {
        let mut permits = permitted.iter().filter_map(|s| self.fit(&s.base)).peekable();
        (permits.peek().is_none() || permits.any(|fit| fit == Fit::Within))
            && excluded.iter().filter_map(|s| self.fit(&s.base)).all(|fit| fit == Fit::Outside)
    }

    /// How the name lies to a constraint; `None` for a constraint on another kind of name.
    fn fit(&self, constraint: &GeneralName) -> Option<Fit> {
        use GeneralName as G;
        let name = match (self, constraint) {
            (Held::General(name), _) => name,
            (Held::SomeEmail, G::Rfc822Name(_)) => return Some(Fit::Unclear),
            (Held::SomeEmail, _) => return None,
        };
        Some(match (name, constraint) {
            (G::Rfc822Name(name), G::Rfc822Name(constraint)) => email(name.as_str(), constraint.as_str()),
            (G::DnsName(name), G::DnsName(constraint)) => dns(name.as_str(), constraint.as_str()),
            (G::UniformResourceIdentifier(name), G::UniformResourceIdentifier(constraint)) => {
                uri(name.as_str(), constraint.as_str())
            }
            (G::DirectoryName(name), G::DirectoryName(constraint)) => directory(name, constraint).into(),
            (G::IpAddress(name), G::IpAddress(constraint)) => ip(name.as_bytes(), constraint.as_bytes()),
            (G::OtherName(OtherName { type_id, .. }), G::Rfc822Name(_)) if *type_id == SMTP_UTF8_MAILBOX => {
                Fit::Unclear
            }
            (G::OtherName(name), G::OtherName(constraint)) if name.type_id == constraint.type_id => {
                Fit::Unclear
            }
            (G::EdiPartyName(_), G::EdiPartyName(_)) | (G::RegisteredId(_), G::RegisteredId(_)) => {
                Fit::Unclear
            }
            _ => return None,
        })
    }

    fn text(&self) -> String {
        match self {
            Held::General(GeneralName::DirectoryName(name)) => text::name(name),
            Held::General(
                GeneralName::Rfc822Name(s)
                | GeneralName::DnsName(s)
                | GeneralName::UniformResourceIdentifier(s),
            ) => s.as_str().to_owned(),
            Held::General(GeneralName::IpAddress(bytes)) => {
                text::ip(bytes.as_bytes()).unwrap_or_else(|| text::hex(bytes.as_bytes()))
            }
            Held::General(GeneralName::OtherName(other)) => format!("of type {}", other.type_id),
            Held::General(GeneralName::RegisteredId(oid)) => oid.to_string(),
            Held::General(GeneralName::EdiPartyName(_)) => "of an EDI party".to_owned(),
            Held::SomeEmail => "emailAddress".to_owned(),
        }
    }
}

/// A mailbox, all mailboxes of a host, or with a leading period those of the hosts below it.
fn email(name: &str, constraint: &str) -> Fit {
    let Some((local, host)) = name.rsplit_once('@').filter(|(_, host)| is_host(host)) else {
        return Fit::Unclear;
    };
    match constraint.rsplit_once('@') {
        // RFC 5280, 7.5: the local part is compared exactly.
        Some((wanted, at)) => (local == wanted && host.eq_ignore_ascii_case(at)).into(),
        None => at_host(host, constraint),
    }
}

/// A host, or with a leading period the hosts below it: the rule of email addresses and URIs.
fn at_host(host: &str, constraint: &str) -> Fit {
    match constraint.strip_prefix('.') {
        _ if !is_host(constraint.strip_prefix('.').unwrap_or(constraint)) => Fit::Unclear,
        Some(domain) => is_below(host, domain).into(),
        None => host.trim_end_matches('.').eq_ignore_ascii_case(constraint.trim_end_matches('.')).into(),
    }
}

/// A domain and all below it, every name if it is empty; with a leading period, as some write it, only what is below.
fn dns(name: &str, constraint: &str) -> Fit {
    if constraint.is_empty() {
        return Fit::Within;
    }
    let (domain, below_only) =
        constraint.strip_prefix('.').map_or((constraint, false), |domain| (domain, true));
    if !is_host(name) || !is_host(domain) {
        return Fit::Unclear;
    }
    let equal = name.trim_end_matches('.').eq_ignore_ascii_case(domain.trim_end_matches('.'));
    if is_below(name, domain) || (equal && !below_only) {
        return Fit::Within;
    }
    // A wildcard stands for names within the constraint as well as for others.
    match name.strip_prefix("*.") {
        Some(parent) if is_below(domain, parent) => Fit::Unclear,
        _ => Fit::Outside,
    }
}

/// The host of a URI. One without a host name, as with an IP address, is refused under any constraint on URIs.
fn uri(name: &str, constraint: &str) -> Fit {
    let Some(rest) = text::scheme(name).and_then(|(_, rest)| rest.strip_prefix("//")) else {
        return Fit::Unclear;
    };
    // Some read a backslash as a slash.
    if name.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
        return Fit::Unclear;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if !is_host(host) || last.bytes().all(|b| b.is_ascii_digit()) {
        Fit::Unclear
    } else {
        at_host(host, constraint)
    }
}

fn is_host(name: &str) -> bool {
    !name.trim_matches('.').is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._*".contains(&b))
}

fn is_below(name: &str, domain: &str) -> bool {
    let (name, domain) =
        (name.trim_end_matches('.').to_ascii_lowercase(), domain.trim_end_matches('.').to_ascii_lowercase());
    name.strip_suffix(&domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// A name whose first parts are those of the constraint.
fn directory(name: &Name, constraint: &Name) -> bool {
    name.0
        .get(..constraint.0.len())
        .is_some_and(|start| pkix_path::names_match(&RdnSequence(start.to_vec()), constraint))
}

/// An address and a mask of the same length.
fn ip(address: &[u8], constraint: &[u8]) -> Fit {
    if !matches!(address.len(), 4 | 16) || !matches!(constraint.len(), 8 | 32) {
        return Fit::Unclear;
    }
    if 2 * address.len() != constraint.len() {
        return Fit::Outside;
    }
    let (net, mask) = constraint.split_at(address.len());
    address.iter().zip(net).zip(mask).all(|((a, n), m)| a & m == n & m).into()
}

#[cfg(test)]
mod tests {
    use super::{
        Fit::{self, Outside, Unclear, Within},
        *,
    };

    fn table(fit: fn(&str, &str) -> Fit, rows: &[(&str, &str, Fit)]) {
        for (name, constraint, expected) in rows {
            assert!(fit(name, constraint) == *expected, "{name} under {constraint:?}");
        }
    }

    #[test]
    fn emails() {
        table(
            email,
            &[
                ("a@example.com", "example.com", Within),
                ("a@EXAMPLE.com", "example.COM", Within),
                ("a@sub.example.com", "example.com", Outside),
                ("a@sub.example.com", ".example.com", Within),
                ("a@example.com", ".example.com", Outside),
                ("a@badexample.com", ".example.com", Outside),
                ("a@example.com", "a@example.com", Within),
                ("A@example.com", "a@example.com", Outside),
                ("\"x@evil.com\"@example.com", "evil.com", Outside),
                ("\"x@evil.com\"@example.com", "example.com", Within),
                ("a@example.com", "", Unclear),
                ("example.com", "example.com", Unclear),
                ("a@", "example.com", Unclear),
                ("a@[10.0.0.1]", "example.com", Unclear),
            ],
        );
    }

    #[test]
    fn dns_names() {
        table(
            dns,
            &[
                ("example.com", "example.com", Within),
                ("a.b.example.COM", "Example.com", Within),
                ("badexample.com", "example.com", Outside),
                ("example.com.", "example.com", Within),
                ("com", "example.com", Outside),
                ("a.example.com", ".example.com", Within),
                ("example.com", ".example.com", Outside),
                ("anything", "", Within),
                ("*.example.com", "example.com", Within),
                ("*.example.com", "a.example.com", Unclear),
                ("*.example.org", "a.example.com", Outside),
                ("a b", "example.com", Unclear),
                ("example.com", ".", Unclear),
            ],
        );
    }

    #[test]
    fn uris() {
        table(
            uri,
            &[
                ("https://example.com/x", "example.com", Within),
                ("https://u:p@example.com:8443?x", "example.com", Within),
                ("https://sub.example.com", "example.com", Outside),
                ("https://sub.example.com", ".example.com", Within),
                ("https://example.com", ".example.com", Outside),
                ("https://evil.com/@example.com", "example.com", Outside),
                ("https://evil.com?@example.com", "example.com", Outside),
                ("https://example.com@evil.com", "example.com", Outside),
                ("https://evil.com\\@example.com", "example.com", Unclear),
                ("https://10.0.0.1/", "example.com", Unclear),
                ("https://[::1]/", "example.com", Unclear),
                ("https:///x", "example.com", Unclear),
                ("urn:example.com", "example.com", Unclear),
                ("https://ex%61mple.com", "example.com", Unclear),
                ("https://example.com", "", Unclear),
            ],
        );
    }

    #[test]
    fn addresses() {
        let net = [10, 1, 0, 0, 255, 255, 0, 0];
        assert!(ip(&[10, 1, 2, 3], &net) == Within);
        assert!(ip(&[10, 2, 2, 3], &net) == Outside);
        assert!(ip(&[0; 16], &net) == Outside);
        assert!(ip(&[10, 1, 2], &net) == Unclear);
        assert!(ip(&[10, 1, 2, 3], &net[..7]) == Unclear);
    }

    #[test]
    fn what_is_unclear_is_neither_permitted_nor_clear() {
        let other = |type_id, value: &str| {
            let value = x509_cert_02::der::Any::new(x509_cert_02::der::Tag::Utf8String, value.as_bytes());
            GeneralName::OtherName(OtherName { type_id, value: value.unwrap() })
        };
        let subtree = |base| GeneralSubtree { base, minimum: 0, maximum: None };
        let some_type = ObjectIdentifier::new_unwrap("1.2.3");
        let held = Held::General(other(some_type, "a"));
        assert!(held.is_allowed(&[], &[]));
        assert!(!held.is_allowed(&[subtree(other(some_type, "a"))], &[]));
        assert!(!held.is_allowed(&[], &[subtree(other(some_type, "b"))]));
        let unrelated =
            [subtree(GeneralName::RegisteredId(EMAIL_ADDRESS)), subtree(testkit::pki::email("example.org"))];
        assert!(held.is_allowed(&unrelated, &unrelated));
        let mailbox = Held::General(other(SMTP_UTF8_MAILBOX, "ü@example.com"));
        assert!(!mailbox.is_allowed(&[], &[subtree(testkit::pki::email("example.org"))]));
        assert!(!Held::SomeEmail.is_allowed(&[], &[subtree(testkit::pki::email("example.com"))]));
    }
}
