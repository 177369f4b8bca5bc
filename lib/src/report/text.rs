//! The report as text, for people.

use std::fmt;

use super::{
    Binding, Counts, Finding, Identity, LoadSetReport, ReceiptReport, Report, SignatureReport, Verdict,
};
use crate::shown::Shown;

/// At most this many findings are written out; the rest is counted.
const FINDINGS_SHOWN: usize = 20;

/// At most this many tensors of a finding are named.
const TENSORS_SHOWN: usize = 8;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admitted =
            if self.admitted && self.verdict != Verdict::Verified { " (admitted: warn mode)" } else { "" };
        writeln!(f, "{}{admitted}: {}", self.verdict, Shown(&self.model))?;
        if let Some(policy) = &self.policy {
            let path = policy.path.as_deref().unwrap_or(&policy.digest);
            writeln!(f, "  policy: rule {} in {} ({:?})", policy.rule, Shown(path), Shown(&policy.pattern))?;
        }
        for signature in &self.signatures {
            write_signature(f, signature)?;
        }
        if self.assurance.is_some() {
            write_bound(f, &self.bound)?;
        }
        if let Some(assurance) = self.assurance {
            writeln!(
                f,
                "  checked: {} of {} signed files, {} in {:.2} s ({}){}",
                self.counts.verified,
                self.counts.signed,
                Bytes(self.bytes),
                self.seconds,
                assurance.name(),
                Aside(&self.counts)
            )?;
        }
        if self.counts.missing > 0 {
            let Counts { signed, missing, .. } = self.counts;
            writeln!(f, "  {} of {signed} signed files are present", signed.saturating_sub(missing))?;
        }
        if let Some(LoadSetReport { files, bytes, base_model }) = &self.load_set {
            let s = if *files == 1 { "" } else { "s" };
            write!(f, "  load set: {files} file{s}, {}", Bytes(*bytes))?;
            if let Some(base) = base_model {
                write!(f, ", built on {}", Shown(base))?;
            }
            writeln!(f)?;
        }
        if let Some(receipt) = &self.receipt {
            writeln!(f, "  receipt: {receipt}")?;
        }
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            write_finding(f, finding)?;
        }
        if let Some(more) = self.findings.len().checked_sub(FINDINGS_SHOWN).filter(|more| *more > 0) {
            writeln!(f, "  … and {more} more")?;
        }
        let mut helps: Vec<&str> = Vec::new();
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            if !helps.contains(&finding.help()) {
                helps.push(finding.help());
            }
        }
        for help in helps {
            writeln!(f, "  help: {help}")?;
        }
        Ok(())
    }
}

fn write_signature(f: &mut fmt::Formatter<'_>, signature: &SignatureReport) -> fmt::Result {
    f.write_str("  signed by: ")?;
    match &signature.identity {
        Some(identity) => write!(f, "{identity}")?,
        None => f.write_str("nobody who is trusted")?,
    }
    if let Some(bundle) = &signature.bundle {
        write!(f, " in {}", Shown(bundle))?;
    }
    if !signature.accepted {
        f.write_str(" (not accepted)")?;
    }
    writeln!(f)?;
    if let Some(digest) = &signature.root_digest {
        writeln!(f, "  digest: {}", Shown(digest))?;
    }
    for note in &signature.notes {
        writeln!(f, "  note: {note}")?;
    }
    Ok(())
}

fn write_bound(f: &mut fmt::Formatter<'_>, bound: &[Binding]) -> fmt::Result {
    if bound.is_empty() {
        return writeln!(
            f,
            "  bound by: its content alone; any other model of this signer would pass in its place (see --expect-digest, --name)"
        );
    }
    f.write_str("  bound by:")?;
    for (n, binding) in bound.iter().enumerate() {
        write!(f, "{} {} {}", if n == 0 { "" } else { "," }, binding.by, Shown(&binding.value))?;
    }
    writeln!(f)
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    writeln!(f, "  {}: {}", finding.code, finding.what)?;
    if let (Some(expected), Some(actual)) = (&finding.expected, &finding.actual) {
        writeln!(f, "    expected {}", Shown(expected))?;
        writeln!(f, "    actual   {}", Shown(actual))?;
    }
    if !finding.tensors.is_empty() {
        f.write_str("    tensors:")?;
        for tensor in finding.tensors.iter().take(TENSORS_SHOWN) {
            write!(f, " {}", Shown(tensor))?;
        }
        if let Some(more) = finding.tensors.len().checked_sub(TENSORS_SHOWN).filter(|more| *more > 0) {
            write!(f, " and {more} more")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Key { algorithm, fingerprint } => write!(f, "{algorithm} key {fingerprint}"),
            Identity::Certificate { subject, names, issuer, .. } => {
                write!(f, "certificate {}", Shown(subject))?;
                for name in names {
                    write!(f, ", {}", Shown(name))?;
                }
                write!(f, " (issued by {})", Shown(issuer))
            }
            Identity::Sigstore { identity, issuer, .. } => {
                write!(f, "{} (vouched for by {})", Shown(identity), Shown(issuer))
            }
        }
    }
}

impl fmt::Display for ReceiptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.hashed_at, &self.why) {
            (Some(at), _) if self.used => write!(f, "hashed at {at}, unchanged since")?,
            (_, Some(why)) => write!(f, "not used: {why}")?,
            (_, None) => f.write_str("not used")?,
        }
        if self.written {
            f.write_str("; written")?;
        }
        if let Some(why) = &self.not_written {
            write!(f, "; not written: {why}")?;
        }
        if self.measured > 0 {
            write!(f, "; {} files measured by the kernel", self.measured)?;
        }
        Ok(())
    }
}

/// What else was seen, in brackets, where there is anything.
struct Aside<'a>(&'a super::Counts);

impl fmt::Display for Aside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, word) in [
            (self.0.ignored, "ignored"),
            (self.0.unsigned, "not signed and tolerated"),
            (self.0.links, "through links"),
        ] {
            if count > 0 {
                write!(f, ", {count} {word}")?;
            }
        }
        Ok(())
    }
}

/// A number of bytes for people: `12 bytes`, `90.9 MB`, `4.3 GB` (decimal units).
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        for (unit, size) in [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
            if bytes >= size {
                return write!(f, "{:.1} {unit}", bytes / size);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}
