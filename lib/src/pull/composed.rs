//! A source of which a part is on this disk already.

use std::{fmt, fs::File, ops::Range};

use super::staging::{Origin, Staging};
use crate::{
    Error, Run,
    manifest::Digest,
    report::Finding,
    source::{Entry, Shape, Source, shorter},
};

/// Reads what is staged, or right in the folder that is pulled into, from there, and all else from the source.
#[derive(Debug)]
pub(super) struct Composed<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) staging: &'a Staging,
}

impl Composed<'_> {
    /// Reads `range` to its end into `buf`, which is as long.
    fn read(&self, entry: &Entry, range: Range<u64>, buf: &mut [u8], run: &Run) -> Result<(), Error> {
        let mut rest = buf;
        for (piece, origin) in self.staging.origins(&entry.name, &range) {
            let length = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX).min(rest.len());
            let (here, after) = rest.split_at_mut(length);
            let mut done = 0;
            while let Some(here) = here.get_mut(done..).filter(|here| !here.is_empty()) {
                let at = piece.start.saturating_add(done as u64);
                let read = match (origin, self.staging.find(&entry.name)) {
                    (Origin::Part | Origin::Old, Some((number, _))) => {
                        let read = self.staging.read(number, origin, at, here, run);
                        if !matches!(read, Ok(1..)) {
                            self.staging.is_unreadable(number);
                        }
                        read?
                    }
                    _ => self.source.read_at(entry, at, here, run)?,
                };
                if read == 0 {
                    return Err(shorter(entry));
                }
                done += read;
            }
            rest = after;
        }
        Ok(())
    }
}

impl Source for Composed<'_> {
    fn list(&self, run: &Run, each: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        self.source.list(run, each)
    }

    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8], run: &Run) -> Result<usize, Error> {
        let left = entry.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..length).unwrap_or_default();
        self.read(entry, offset..offset.saturating_add(length as u64), buf, run)?;
        Ok(length)
    }

    fn file(&self, entry: &Entry, run: &Run) -> Result<Option<File>, Error> {
        // Opened in any case: it is from this call on that every change shows.
        let file = self.source.file(entry, run)?;
        Ok(file.filter(|_| !self.staging.is_local(&entry.name, &(0..entry.size))))
    }

    fn shape(&self) -> Shape {
        self.source.shape()
    }

    fn fetch(
        &self,
        entry: &Entry,
        range: Range<u64>,
        mut buffer: Vec<u8>,
        run: &Run,
    ) -> Result<Vec<u8>, Error> {
        if !self.staging.is_local(&entry.name, &range) {
            return self.source.fetch(entry, range, buffer, run);
        }
        buffer.clear();
        for (piece, origin) in self.staging.origins(&entry.name, &range) {
            if origin == Origin::Source {
                buffer.extend(self.source.fetch(entry, piece, Vec::new(), run)?);
                continue;
            }
            let filled = buffer.len();
            let length = usize::try_from(piece.end - piece.start).unwrap_or_default();
            buffer.resize(filled.saturating_add(length), 0);
            self.read(entry, piece, buffer.get_mut(filled..).unwrap_or_default(), run)?;
        }
        Ok(buffer)
    }

    fn stated(&self, entries: &[&Entry], run: &Run) -> Result<Vec<Option<Digest>>, Error> {
        self.source.stated(entries, run)
    }

    fn objections(&self, entries: &[&Entry], run: &Run) -> Result<Vec<Finding>, Error> {
        self.source.objections(entries, run)
    }

    fn unmoved(&self, run: &Run) -> Result<(), Error> {
        self.source.unmoved(run)
    }

    fn is_single_file(&self) -> bool {
        self.source.is_single_file()
    }

    fn base_name(&self) -> String {
        self.source.base_name()
    }
}

impl fmt::Display for Composed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.source, f)
    }
}
