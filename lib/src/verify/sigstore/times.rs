//! When a signature was made, as somebody else than its signer says: a timestamp authority (RFC 3161), or a log.

use sigstore_verify::tsa;

use super::family;
use crate::{
    Bundle, Run,
    code::Code,
    report::{Finding, ProvenTime},
    shown::Shown,
    trust::TrustedRoot,
    verify::rfc3339,
};

/// How far the clocks of an authority and of this machine may differ, in seconds.
const SKEW: i64 = 60;

/// The times that a bundle brings, in seconds since 1970: all of them count, not the one that suits best.
#[derive(Debug)]
pub(super) struct Times {
    /// By timestamp authorities; proven.
    pub(super) stamped: Vec<i64>,
    /// By logs; proven only with the logs' promises, which are checked with the entries.
    pub(super) integrated: Vec<i64>,
}

impl Times {
    /// Checks the timestamps, and collects what logs say.
    ///
    /// # Errors
    /// `timestamp-invalid`, `timestamp-untrusted`, `time-in-future`.
    pub(super) fn of(bundle: &Bundle, root: &TrustedRoot, run: &Run) -> Result<Times, Finding> {
        let stamped = bundle
            .evidence
            .timestamps
            .iter()
            .map(|der| stamped(der, bundle, root))
            .collect::<Result<Vec<_>, _>>()?;
        // Without a promise nobody has signed this time, and Rekor v2 knows none.
        let promised = bundle.evidence.entries.iter().filter(|entry| entry.promise.is_some());
        let integrated = promised.filter_map(|entry| entry.integrated).collect();
        let times = Times { stamped, integrated };
        let now = run.now_unix();
        if let Some(time) = times.all().find(|time| *time > now.saturating_add(SKEW)) {
            let what = format!("the signature was made at {}, and it is {}", rfc3339(time), rfc3339(now));
            return Err(Finding::new(Code::TimeInFuture, what));
        }
        Ok(times)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = i64> {
        self.stamped.iter().chain(&self.integrated).copied()
    }

    /// The earliest of them, and whose it is.
    pub(super) fn earliest(&self) -> Option<ProvenTime> {
        let time = self.all().min()?;
        let by = if self.stamped.contains(&time) { "timestamp" } else { "log" };
        Some(ProvenTime { at: rfc3339(time), by: by.to_owned() })
    }
}

/// The time of one timestamp, once one of the root's authorities is found to have made it while it was trusted.
fn stamped(der: &[u8], bundle: &Bundle, root: &TrustedRoot) -> Result<i64, Finding> {
    let (token, signature) = (family::token(der), family::signature(bundle));
    let mut reason: Option<Finding> = None;
    for authority in root.family.tsa_authorities() {
        let finding = match tsa::verify_timestamp_for_authority(&token, &signature, &authority) {
            Ok(time) => return Ok(time.as_second()),
            Err(error) => finding(&error),
        };
        // What is wrong in itself is wrong with every authority; that it is none of theirs says the least.
        if reason.as_ref().is_none_or(|reason| reason.code == Code::TimestampUntrusted) {
            reason = Some(finding);
        }
    }
    Err(reason.unwrap_or_else(|| {
        Finding::new(Code::TimestampUntrusted, "the trusted root has no timestamp authority")
    }))
}

fn finding(error: &tsa::Error) -> Finding {
    let why = error.to_string();
    let code = match error {
        tsa::Error::TimestampOutsideValidity { .. } | tsa::Error::CertificateValidationError(_) => {
            Code::TimestampUntrusted
        }
        // The library has one kind of error for a signer whom the root does not have and for a wrong signature.
        tsa::Error::SignatureVerificationError(why) if why.contains("any trusted TSA certificate") => {
            Code::TimestampUntrusted
        }
        _ => Code::TimestampInvalid,
    };
    Finding::new(code, format!("a timestamp does not hold: {}", Shown(&why)))
}
