//! Which kernel is the fastest on this processor.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::{Block, INITIAL, Kernel, Lane, MAX_LANES};

/// Below so many bytes no measurement is made: it would take longer than it could win.
const WORTH_MEASURING: u64 = 1 << 30;

/// Blocks of each stream in one measured call; with [`MAX_LANES`] streams on one buffer, memory plays no part.
const BLOCKS: usize = 64;

/// How long each of the two is measured at most; its first calls wake the wide registers up and do not count.
const PATIENCE: Duration = Duration::from_micros(800);
const CALLS: usize = 16;
const WAKING: usize = 4;

impl Kernel {
    /// The kernel that is fastest on this processor for `bytes` bytes in many messages.
    ///
    /// What the processor has decides. Where that leaves two, SHA extensions and AVX-512, and there is more than 1 GiB to
    /// hash, both are measured, once in a process and in less than 2 ms: on Zen 4 the first is faster, on Zen 5 and Sapphire
    /// Rapids the second.
    pub fn fastest(bytes: u64) -> Kernel {
        let have = |kernel: Kernel| kernel.runs_here();
        if have(Kernel::ShaNi) && have(Kernel::Avx512) && bytes > WORTH_MEASURING {
            static MEASURED: OnceLock<Kernel> = OnceLock::new();
            return *MEASURED.get_or_init(|| measured(Kernel::ShaNi, Kernel::Avx512));
        }
        [Kernel::ArmSha2, Kernel::ShaNi, Kernel::Avx512, Kernel::Avx2]
            .into_iter()
            .find(|kernel| have(*kernel))
            .unwrap_or(Kernel::Sha2)
    }
}

/// The faster of the two with as many lanes as there can be; the first when they are alike.
fn measured(first: Kernel, second: Kernel) -> Kernel {
    let buffer = vec![[0x5a; 64]; BLOCKS];
    if time(second, &buffer) < time(first, &buffer) { second } else { first }
}

/// The shortest time that a call of this kernel took.
fn time(kernel: Kernel, blocks: &[Block]) -> Duration {
    let mut states = [INITIAL; MAX_LANES];
    let begun = Instant::now();
    let mut shortest = Duration::MAX;
    for call in 0..CALLS {
        let mut lanes: Vec<_> = states.iter_mut().map(|state| Lane { state, blocks }).collect();
        let start = Instant::now();
        kernel.compress(&mut lanes);
        if call >= WAKING {
            shortest = shortest.min(start.elapsed());
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    shortest
}
