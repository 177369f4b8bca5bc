//! Hashing: which digest over which byte ranges, computed over all threads in bounded memory.

use std::ops::Range;

use crate::{
    Error, Kernel, Run,
    code::Code,
    manifest::{Algorithm, Digest},
    source::{Entry, Source},
};

mod ahead;
mod digester;
mod engine;
mod group;
mod queue;
mod read;
mod remote;
mod results;

/// The digest of bytes that are at hand.
///
/// # Errors
/// None that is known.
pub(crate) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Result<Digest, Error> {
    let mut digester = digester::Digester::new(algorithm);
    digester.update(bytes);
    digester.finish()
}

/// How a model is hashed when it is signed: by files or by shards, and with which digest (OMS, serialization methods).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    pub(crate) algorithm: Algorithm,
    pub(crate) shard_size: Option<u64>,
}

/// The shard size that OMS names as the default, in bytes.
pub const DEFAULT_SHARD_SIZE: u64 = 1_000_000_000;

impl Hashing {
    /// One digest for each file: the default of every implementation.
    pub fn files(algorithm: Algorithm) -> Self {
        Hashing { algorithm, shard_size: None }
    }

    /// One digest for each `size` bytes of a file: a difference is found to the shard, and a huge file is hashed by all
    /// threads whatever the digest.
    ///
    /// # Errors
    /// `bad-argument` when `size` is zero.
    pub fn shards(algorithm: Algorithm, size: u64) -> Result<Self, Error> {
        if size == 0 {
            return Err(Error::new(Code::BadArgument, "a shard cannot have 0 bytes"));
        }
        Ok(Hashing { algorithm, shard_size: Some(size) })
    }
}

/// What is to be hashed: byte ranges of listed files, one digest for each.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The digest.
    pub algorithm: Algorithm,
    /// The files.
    pub entries: &'a [Entry],
    /// The ranges, of any length, in the order in which their digests are wanted.
    pub jobs: Vec<Job>,
    /// The digests that the ranges should have, in the same order, where that is known. A run that
    /// [fails fast](Run::fail_fast) ends at the first that differs.
    pub expected: Vec<Digest>,
}

impl Plan<'_> {
    /// What computes the digests of so many bytes in all.
    fn kernel(&self, bytes: u64, run: &Run) -> Kernel {
        match self.algorithm {
            Algorithm::Sha256 => run.sha256_kernel().unwrap_or_else(|| Kernel::fastest(bytes)),
            Algorithm::Blake2b | Algorithm::Blake3 => Kernel::Sha2,
        }
    }
}

/// What came of a plan.
#[derive(Debug)]
pub struct Hashes {
    /// For each job its digest, or why there is none; nothing where hashing ended at a difference before.
    pub digests: Vec<Option<Result<Digest, Error>>>,
    /// What computed them: a [`Kernel`](crate::Kernel)'s name, or `blake2b`, `blake3`; none where nothing was hashed.
    pub kernel: Option<&'static str>,
}

impl Hashes {
    /// Nothing of a plan.
    pub(crate) fn none(plan: &Plan<'_>) -> Self {
        Hashes { digests: plan.jobs.iter().map(|_| None).collect(), kernel: None }
    }

    /// What a plan expects, of bytes that are known to be so.
    pub(crate) fn expected(plan: &Plan<'_>) -> Self {
        let mut expected = plan.expected.iter();
        let digests = plan.jobs.iter().map(|_| expected.next().map(|digest| Ok(*digest)));
        Hashes { digests: digests.collect(), kernel: None }
    }
}

/// One range to be hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The file: an index into the plan's entries.
    pub entry: usize,
    /// The bytes, end exclusive.
    pub range: Range<u64>,
}

impl Job {
    /// How many bytes the range has.
    pub fn length(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

/// Is handed each range once, as it is read; a copy that is written while it is verified.
pub trait Sink: Send + Sync {
    /// Takes `bytes`, which stand at `offset` of the entry. Ranges of one file come in no particular order and from
    /// several threads.
    ///
    /// # Errors
    /// Ends the run with this error.
    fn take(&self, entry: &Entry, offset: u64, bytes: &[u8]) -> Result<(), Error>;
}

/// Hashes a plan.
///
/// Work is pulled by as many threads as the run allows, longest job first. A thread hashes several ranges at once with
/// SHA-256, as many as its [`Kernel`](crate::Kernel) has lanes; BLAKE3 divides one huge file among all threads. Of a source
/// whose [`Shape`](crate::Shape) says so, many parts are fetched at once and hashed as they arrive. Memory in flight is
/// bounded by the run's memory, whatever the sizes. A job whose file cannot be read, or changed, has its own
/// error; the others go on.
///
/// # Errors
/// `interrupted`, `deadline-passed`, the sink's error, or that of a store which answers nobody: then nothing is known about
/// any job.
pub fn hash(
    plan: &Plan<'_>,
    source: &dyn Source,
    tee: Option<&dyn Sink>,
    run: &Run,
) -> Result<Hashes, Error> {
    if source.shape().reads > 0 {
        remote::hash(plan, source, tee, run)
    } else {
        engine::hash(plan, source, tee, run)
    }
}
