//! Up to four streams interleaved on the SHA-256 instructions of arm64's cryptographic extension.

use std::arch::{aarch64::*, is_aarch64_feature_detected};

use super::{Block, Lane, ROUND_CONSTANTS};

/// Whether this processor has what [`compress`] needs.
pub(super) fn runs_here() -> bool {
    is_aarch64_feature_detected!("sha2")
}

/// Moves any number of lanes on by `count` blocks; false, and nothing is done, when this processor cannot.
pub(super) fn compress(lanes: &mut [Lane<'_>], count: usize) -> bool {
    if !runs_here() || lanes.iter().any(|lane| lane.blocks.len() < count) {
        return false;
    }
    let mut rest = lanes;
    while !rest.is_empty() {
        // Even groups: 3 and 2 leave less of the processor idle than 4 and 1.
        let groups = rest.len().div_ceil(4);
        let (group, after) = rest.split_at_mut(rest.len().div_ceil(groups));
        // SAFETY: the processor has the extension, and every lane has `count` blocks.
        unsafe {
            match group {
                [a] => interleaved([a], count),
                [a, b] => interleaved([a, b], count),
                [a, b, c] => interleaved([a, b, c], count),
                [a, b, c, d] => interleaved([a, b, c, d], count),
                _ => return false,
            }
        }
        rest = after;
    }
    true
}

/// Moves these lanes on by `count` blocks.
///
/// # Safety
/// The processor has the SHA-256 instructions, and every lane has at least `count` blocks.
#[target_feature(enable = "neon,sha2")]
unsafe fn interleaved<const N: usize>(lanes: [&mut Lane<'_>; N], count: usize) {
    let zero = vdupq_n_u32(0);
    let mut abcd = [zero; N];
    let mut efgh = [zero; N];
    let mut blocks: [*const Block; N] = [std::ptr::null(); N];
    for l in 0..N {
        blocks[l] = lanes[l].blocks.as_ptr();
        // SAFETY: eight words are read from an array of eight.
        unsafe {
            abcd[l] = vld1q_u32(lanes[l].state.as_ptr());
            efgh[l] = vld1q_u32(lanes[l].state.as_ptr().add(4));
        }
    }
    for _ in 0..count {
        let before = (abcd, efgh);
        // The last sixteen words of the message schedule; words 4g to 4g + 3 stand in `w[l][g % 4]`.
        let mut w = [[zero; 4]; N];
        for l in 0..N {
            for (g, words) in w[l].iter_mut().enumerate() {
                // SAFETY: `blocks[l]` points at a block that the lane has, and `g` is one of its four quarters.
                let bytes = unsafe { vld1q_u8(blocks[l].cast::<u8>().add(16 * g)) };
                // The bytes of a block are big-endian words.
                *words = vreinterpretq_u32_u8(vrev32q_u8(bytes));
            }
        }
        for (g, constants) in ROUND_CONSTANTS.as_chunks::<4>().0.iter().enumerate() {
            // SAFETY: four words are read from an array of four.
            let k = unsafe { vld1q_u32(constants.as_ptr()) };
            for l in 0..N {
                let [w0, w1, w2, w3] = w[l];
                let wk = vaddq_u32(w0, k);
                // The word that is needed four groups on, from those 16, 15, 7 and 2 places before it.
                let next = if g < 12 { vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3) } else { w0 };
                w[l] = [w1, w2, w3, next];
                let old = abcd[l];
                abcd[l] = vsha256hq_u32(old, efgh[l], wk);
                efgh[l] = vsha256h2q_u32(efgh[l], old, wk);
            }
        }
        for l in 0..N {
            abcd[l] = vaddq_u32(abcd[l], before.0[l]);
            efgh[l] = vaddq_u32(efgh[l], before.1[l]);
            // Past the last block it is not read through.
            blocks[l] = blocks[l].wrapping_add(1);
        }
    }
    for (l, lane) in lanes.into_iter().enumerate() {
        // SAFETY: eight words are written to an array of eight.
        unsafe {
            vst1q_u32(lane.state.as_mut_ptr(), abcd[l]);
            vst1q_u32(lane.state.as_mut_ptr().add(4), efgh[l]);
        }
    }
}
