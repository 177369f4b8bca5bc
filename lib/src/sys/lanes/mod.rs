//! SHA-256 over several streams at once in one thread (FIPS 180-4, section 6.2).
//!
//! One stream leaves most of a core idle: each round waits for the one before, and the processor's SHA unit could begin
//! another meanwhile. Independent streams fill that time, so a thread drives a group of lanes, each with a message of its
//! own. A [`Kernel`] is one way to do that; all give the same digests, and [`Kernel::Sha2`], one stream after another
//! by the `sha2` crate, is the portable twin that the others are tested against and fall back to.

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod choose;
mod digests;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod wide;

use std::{fmt, str::FromStr};

use crate::{Error, code::Code, shown::Shown};

/// A hash in the making: the eight words H of FIPS 180-4, section 5.3.3 onwards, as the processor's own integers.
pub(crate) type State = [u32; 8];

/// What one step of the hash takes: 64 bytes of the padded message, as they come.
pub(crate) type Block = [u8; 64];

/// H(0), the hash before the first block (FIPS 180-4, section 5.3.3).
pub(crate) const INITIAL: State =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The most streams that a kernel drives at once.
pub(crate) const MAX_LANES: usize = 16;

/// The last blocks of a message: what follows its whole blocks, and the padding (FIPS 180-4, section 5.1.1).
pub(crate) struct End {
    blocks: [Block; 2],
    count: usize,
}

impl End {
    /// The end of a message of `length` bytes in all, of which `rest`, less than a block, follow the whole blocks.
    pub(crate) fn new(rest: &[u8], length: u64) -> Self {
        let mut blocks = [[0; size_of::<Block>()]; 2];
        let bytes = blocks.as_flattened_mut();
        for (to, from) in bytes.iter_mut().zip(rest.iter().chain(&[0x80])) {
            *to = *from;
        }
        // The length in bits stands at the end of the first block with room for it.
        let count = if rest.len() < size_of::<Block>() - size_of::<u64>() { 1 } else { 2 };
        if let Some(end) = bytes.get_mut(..count * size_of::<Block>()).and_then(<[u8]>::last_chunk_mut) {
            *end = (length << 3).to_be_bytes();
        }
        End { blocks, count }
    }

    /// One block or two.
    pub(crate) fn blocks(&self) -> &[Block] {
        self.blocks.get(..self.count).unwrap_or_default()
    }
}

/// The digest of a message whose last block is in the state.
pub(crate) fn digest(state: &State) -> [u8; 32] {
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// A stream: its hash so far, and the blocks that are at hand.
pub(crate) struct Lane<'a> {
    /// The hash over all blocks before these; moved on by [`Kernel::compress`].
    pub(crate) state: &'a mut State,
    /// Blocks in a row. Those that [`Kernel::compress`] took are for the caller to cut off.
    pub(crate) blocks: &'a [Block],
}

/// A way to compute SHA-256 over several messages in one thread.
///
/// Any value can be named on any processor: one that this processor cannot run, which [`Kernel::available`] does not
/// list, does its work as [`Kernel::Sha2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// One message after another by the `sha2` crate, on any processor; the twin of all others.
    Sha2,
    /// x86-64: four messages interleaved on the SHA extensions, in builds for AVX and for AVX-512VL.
    ShaNi,
    /// x86-64: eight messages in the eight parts of each AVX2 register.
    Avx2,
    /// x86-64: sixteen messages in the sixteen parts of each AVX-512 register, fewer on the SHA extensions where there are some.
    Avx512,
    /// arm64: four messages interleaved on the cryptographic extension's SHA-256 instructions.
    ArmSha2,
}

impl Kernel {
    /// Every kernel there is, on this processor or another.
    const ALL: [Kernel; 5] = [Kernel::Sha2, Kernel::ShaNi, Kernel::Avx2, Kernel::Avx512, Kernel::ArmSha2];

    /// The kernels that this processor can run; [`Kernel::Sha2`] always.
    pub fn available() -> Vec<Kernel> {
        Kernel::ALL.into_iter().filter(|kernel| kernel.runs_here()).collect()
    }

    /// The name in reports and in the variable that forces a kernel: `sha2`, `sha-ni`, `avx2`, `avx512` or `arm-sha2`.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Sha2 => "sha2",
            Kernel::ShaNi => "sha-ni",
            Kernel::Avx2 => "avx2",
            Kernel::Avx512 => "avx512",
            Kernel::ArmSha2 => "arm-sha2",
        }
    }

    /// How many messages a thread should have in work at once for this kernel to be at its best, 1 to 16.
    pub fn lanes(self) -> usize {
        match self {
            Kernel::Sha2 => 1,
            Kernel::ShaNi | Kernel::ArmSha2 => 4,
            Kernel::Avx2 => 8,
            Kernel::Avx512 => 16,
        }
    }

    /// Whether this processor has what the kernel's instructions need.
    #[cfg(target_arch = "x86_64")]
    fn runs_here(self) -> bool {
        match self {
            Kernel::Sha2 => true,
            Kernel::ShaNi => sha_ni::runs_here(),
            Kernel::Avx2 => avx2::runs_here(),
            Kernel::Avx512 => avx512::runs_here(),
            Kernel::ArmSha2 => false,
        }
    }

    /// Whether this processor has what the kernel's instructions need.
    #[cfg(target_arch = "aarch64")]
    fn runs_here(self) -> bool {
        match self {
            Kernel::Sha2 => true,
            Kernel::ArmSha2 => arm::runs_here(),
            Kernel::ShaNi | Kernel::Avx2 | Kernel::Avx512 => false,
        }
    }

    /// Whether this processor has what the kernel's instructions need.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn runs_here(self) -> bool {
        self == Kernel::Sha2
    }

    /// Moves every lane on by as many blocks as the lane with the fewest has, and says how many those were.
    ///
    /// No lane, or one without a block, makes it 0. At best there are as many lanes as [`Kernel::lanes`] says; with fewer or
    /// more the kernel takes the narrower forms that are fastest for them.
    pub(crate) fn compress(self, lanes: &mut [Lane<'_>]) -> usize {
        let count = lanes.iter().map(|lane| lane.blocks.len()).min().unwrap_or(0);
        if count == 0 {
            return 0;
        }
        for lane in lanes.iter_mut() {
            lane.blocks = lane.blocks.get(..count).unwrap_or_default();
        }
        for group in lanes.chunks_mut(MAX_LANES) {
            if !self.compress_group(group, count) {
                compress_in_turn(group);
            }
        }
        count
    }

    /// [`Kernel::compress`] for 1 to 16 lanes that have `count` blocks each; false when this processor cannot, or a twin
    /// would be faster.
    #[cfg(target_arch = "x86_64")]
    fn compress_group(self, lanes: &mut [Lane<'_>], count: usize) -> bool {
        match self {
            Kernel::ShaNi => sha_ni::compress(lanes, count),
            // The wide forms take as long for one lane as for all; for one alone the twin is faster.
            Kernel::Avx2 => lanes.len() > 1 && avx2::compress(lanes, count),
            Kernel::Avx512 => {
                let few = lanes.len() < avx512::BEATS_SHA_NI;
                (few && sha_ni::compress(lanes, count)) || (lanes.len() > 1 && avx512::compress(lanes, count))
            }
            Kernel::Sha2 | Kernel::ArmSha2 => false,
        }
    }

    /// [`Kernel::compress`] for 1 to 16 lanes that have `count` blocks each; false when this processor cannot.
    #[cfg(target_arch = "aarch64")]
    fn compress_group(self, lanes: &mut [Lane<'_>], count: usize) -> bool {
        self == Kernel::ArmSha2 && arm::compress(lanes, count)
    }

    /// There is the twin alone.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn compress_group(self, _: &mut [Lane<'_>], _: usize) -> bool {
        false
    }
}

/// The portable twin: one lane after another.
fn compress_in_turn(lanes: &mut [Lane<'_>]) {
    for lane in lanes {
        sha2::block_api::compress256(lane.state, lane.blocks);
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kernel {
    type Err = Error;

    /// The available kernel of this name.
    ///
    /// # Errors
    /// `bad-argument` when there is none of this name or this processor cannot run it; the text names those that it can.
    fn from_str(name: &str) -> Result<Self, Error> {
        let available = Kernel::available();
        available.iter().copied().find(|kernel| kernel.name() == name).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|kernel| kernel.name()).collect();
            let why = match Kernel::ALL.iter().any(|kernel| kernel.name() == name) {
                true => "cannot run on this processor",
                false => "is no SHA-256 kernel",
            };
            Error::new(Code::BadArgument, format!("{} {why}; there are {}", Shown(name), names.join(", ")))
        })
    }
}

/// The round constants K (FIPS 180-4, section 4.2.2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static ROUND_CONSTANTS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];
