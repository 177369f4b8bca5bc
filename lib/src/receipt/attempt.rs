//! One verification's use of receipts: looks for one, and writes one where everything was hashed.

use std::path::PathBuf;

use super::{
    Receipts,
    record::{Bound, Moment, Record, Sum},
};
use crate::{
    Bundle, Run,
    policy::VerifiedStatement,
    report::{PolicyReport, ReceiptReport},
    source::{
        Entry, FileStamp, Kind,
        local::{Local, Settled},
    },
    verify::rfc3339,
};

/// What a verification has come to before step 4.
pub(crate) struct Circumstances<'a> {
    pub(crate) receipts: &'a Receipts,
    /// The model on this disk.
    pub(crate) local: &'a Local,
    /// Its path, free of links.
    pub(crate) place: PathBuf,
    pub(crate) id: Option<&'a str>,
    /// The policy file and the rule.
    pub(crate) policy: Option<&'a PolicyReport>,
    pub(crate) bundles: &'a [Bundle],
    pub(crate) statements: &'a [VerifiedStatement],
}

/// A receipt that is looked for.
pub(crate) struct Attempt<'a> {
    /// None where receipts do not come into question.
    circumstances: Option<Circumstances<'a>>,
    report: ReceiptReport,
    /// What is to be written when all was hashed and found right.
    pending: Option<Record>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(circumstances: Circumstances<'a>) -> Self {
        match circumstances.receipts.folder_is_safe() {
            Ok(()) => Attempt {
                circumstances: Some(circumstances),
                report: ReceiptReport::default(),
                pending: None,
            },
            Err(why) => Attempt::none(why),
        }
    }

    /// None is used and none is written.
    pub(crate) fn none(why: impl Into<String>) -> Self {
        let report = ReceiptReport { why: Some(why.into()), ..ReceiptReport::default() };
        Attempt { circumstances: None, report, pending: None }
    }

    /// The second half of step 4, for all files that are signed; then whether a receipt says that they were hashed, and
    /// nothing has changed since. Reads no byte of them.
    pub(crate) fn look(&mut self, files: &[&Entry], run: &Run) -> bool {
        let Some(circumstances) = &self.circumstances else { return false };
        let (settled, now) =
            match circumstances.local.settle(files, run).map(|settled| (settled, Moment::now())) {
                Ok((settled, Some(now))) => (settled, now),
                Ok((_, None)) => {
                    return self.refuse("the system does not tell when it was started".to_owned());
                }
                Err(why) => return self.refuse(why),
            };
        let bound = circumstances.bound(files, &settled);
        let measured = settled.measured.iter().flatten().count() as u64;
        self.report.measured = measured;
        let found = circumstances.receipts.read(&circumstances.place, &now);
        match found.and_then(|record| record.holds(&bound, &now).map(|()| record)) {
            Ok(record) => {
                self.report.used = true;
                self.report.hashed_at = Some(rfc3339(record.at.unix()));
                true
            }
            Err(why) => {
                self.report.why = Some(why);
                self.pending = Some(Record::new(now, files.len() as u64, measured, bound));
                false
            }
        }
    }

    /// Neither uses nor writes one.
    pub(crate) fn refuse(&mut self, why: String) -> bool {
        self.circumstances = None;
        self.report.why = Some(why);
        false
    }

    /// Writes the receipt, where one is due: `verified` says that everything was hashed in this run and nothing was found.
    pub(crate) fn finish(mut self, verified: bool) -> ReceiptReport {
        if let (true, Some(circumstances), Some(record)) = (verified, &self.circumstances, &self.pending) {
            match circumstances.receipts.write(&circumstances.place, record) {
                Ok(()) => {
                    self.report.written = true;
                    self.report.hashed_at = Some(rfc3339(record.at.unix()));
                }
                Err(why) => self.report.not_written = Some(why),
            }
        }
        self.report
    }
}

impl Circumstances<'_> {
    /// Everything that has to be as it was.
    fn bound(&self, files: &[&Entry], settled: &Settled) -> Bound {
        let file_system = settled.file_system;
        Bound {
            context: Sum::over(|sum| sum.bytes(self.receipts.context.as_bytes())),
            model: Sum::over(|sum| {
                sum.bytes(self.place.as_os_str().as_encoded_bytes());
                sum.maybe(self.id, |sum, id| sum.bytes(id));
            }),
            policy: Sum::over(|sum| {
                sum.maybe(self.policy, |sum, policy| {
                    sum.bytes(&policy.digest);
                    sum.number(policy.rule as u64);
                    sum.bytes(&policy.pattern);
                });
            }),
            signatures: Sum::over(|sum| {
                sum.number(self.bundles.len() as u64);
                self.bundles.iter().for_each(|bundle| sum.bytes(bundle.to_json()));
                sum.number(self.statements.len() as u64);
                self.statements.iter().for_each(|one| sum.bytes(one.statement().payload()));
            }),
            file_system: Sum::over(|sum| {
                sum.bytes(file_system.kind.name());
                sum.bytes(file_system.uuid);
                sum.number(file_system.fsid);
            }),
            files: Sum::over(|sum| {
                sum.number(files.len() as u64);
                for entry in files {
                    sum.bytes(&entry.name);
                    sum.bytes(entry.location());
                    sum.maybe(entry.through.as_ref(), |sum, link| sum.bytes(link));
                    sum.number(u8::from(entry.kind == Kind::File));
                    stamp(sum, &entry.stamp.file);
                    sum.maybe(entry.stamp.link, |sum, link| stamp(sum, &link));
                }
            }),
            measurements: Sum::over(|sum| {
                for measured in &settled.measured {
                    sum.maybe(measured.as_ref(), |sum, measured| sum.bytes(measured.to_bytes()));
                }
            }),
        }
    }
}

/// A stamp without the device's number, which changes whenever the volume is attached.
fn stamp(sum: &mut super::record::Parts, stamp: &FileStamp) {
    let FileStamp { device: _, inode, size, modified, changed } = *stamp;
    sum.number(inode);
    sum.number(size);
    sum.number(modified);
    sum.number(changed);
}
