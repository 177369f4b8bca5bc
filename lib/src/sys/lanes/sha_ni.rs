//! Up to six streams interleaved on the x86-64 SHA extensions.
//!
//! `sha256rnds2` takes four cycles to its result and two until the next may begin (Zen 5; Zen 4 alike), so that one stream
//! has the unit half idle and two would fill it if nothing else stood between. On a Zen 5 core at 4.2 GHz the unit's own
//! limit is 4.2 GB/s; the form for AVX-512VL does 2.1 with one stream, 3.5 with two, 3.8 with three, 4.1 with four, 4.2 with six.

use std::arch::x86_64::*;

use super::{Block, Lane, ROUND_CONSTANTS};

/// How many blocks before they are needed they are asked for. Four streams over mapped files beyond the caches gain 2 to 3
/// in a hundred by it, cached ones lose nothing.
const AHEAD: usize = 4;

/// Whether this processor has what [`compress`] needs.
pub(super) fn runs_here() -> bool {
    // Every processor with the SHA extensions that serves models has AVX too.
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx")
}

/// Moves 1 to 16 lanes on by `count` blocks; false, and nothing is done, when this processor cannot.
pub(super) fn compress(lanes: &mut [Lane<'_>], count: usize) -> bool {
    if !runs_here() || lanes.iter().any(|lane| lane.blocks.len() < count) {
        return false;
    }
    let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
    let mut rest = lanes;
    while !rest.is_empty() {
        // Even groups: 4 and 3 are faster than 6 and 1.
        let groups = rest.len().div_ceil(6);
        let (group, after) = rest.split_at_mut(rest.len().div_ceil(groups));
        // SAFETY: the processor has the features that each build is for, and every lane has `count` blocks.
        unsafe {
            match (group, wide) {
                ([a], true) => avx512vl([a], count),
                ([a, b], true) => avx512vl([a, b], count),
                ([a, b, c], true) => avx512vl([a, b, c], count),
                ([a, b, c, d], true) => avx512vl([a, b, c, d], count),
                ([a, b, c, d, e], true) => avx512vl([a, b, c, d, e], count),
                ([a, b, c, d, e, f], true) => avx512vl([a, b, c, d, e, f], count),
                ([a], false) => avx([a], count),
                ([a, b], false) => avx([a, b], count),
                ([a, b, c], false) => avx([a, b, c], count),
                ([a, b, c, d], false) => avx([a, b, c, d], count),
                ([a, b, c, d, e], false) => avx([a, b, c, d, e], count),
                ([a, b, c, d, e, f], false) => avx([a, b, c, d, e, f], count),
                _ => return false,
            }
        }
        rest = after;
    }
    true
}

/// Defines a build for a set of features. More registers and forms with three operands are worth a tenth.
macro_rules! build {
    ($name:ident, $features:literal) => {
        /// Moves these lanes on by `count` blocks.
        ///
        /// # Safety
        /// The processor has the features, and every lane has at least `count` blocks.
        #[target_feature(enable = $features)]
        unsafe fn $name<const N: usize>(lanes: [&mut Lane<'_>; N], count: usize) {
            // The bytes of a block are big-endian words.
            let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
            let mut abef = [_mm_setzero_si128(); N];
            let mut cdgh = [_mm_setzero_si128(); N];
            let mut blocks: [*const Block; N] = [std::ptr::null(); N];
            for l in 0..N {
                blocks[l] = lanes[l].blocks.as_ptr();
                let [a, b, c, d, e, f, g, h] = lanes[l].state.map(u32::cast_signed);
                abef[l] = _mm_set_epi32(a, b, e, f);
                cdgh[l] = _mm_set_epi32(c, d, g, h);
            }
            for _ in 0..count {
                let before = (abef, cdgh);
                for stream in &blocks {
                    _mm_prefetch::<_MM_HINT_T0>(stream.wrapping_add(AHEAD).cast());
                }
                // The last sixteen words of the message schedule; words 4g to 4g + 3 stand in `w[l][g % 4]`.
                let mut w = [[_mm_setzero_si128(); 4]; N];
                // Four rounds with `w[l][g % 4]`, in each stream.
                macro_rules! rounds {
                    ($g:expr) => {{
                        let [k0, k1, k2, k3] = [0, 1, 2, 3].map(|at| ROUND_CONSTANTS[4 * $g + at].cast_signed());
                        for l in 0..N {
                            let wk = _mm_add_epi32(w[l][$g % 4], _mm_set_epi32(k3, k2, k1, k0));
                            cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], wk);
                            let wk = _mm_shuffle_epi32::<0x0e>(wk);
                            abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], wk);
                        }
                    }};
                }
                // The first sixteen words are the block.
                macro_rules! load {
                    ($g:expr) => {{
                        for l in 0..N {
                            // SAFETY: `blocks[l]` points at a block that the lane has, and `g` is one of its four quarters.
                            let bytes = unsafe { _mm_loadu_si128(blocks[l].cast::<__m128i>().add($g)) };
                            w[l][$g] = _mm_shuffle_epi8(bytes, swap);
                        }
                        rounds!($g);
                    }};
                }
                // The others come from those 16, 15, 7 and 2 places before. `sha256msg1` of the first two has been taken
                // for `w[l][g % 4]` already, and is taken here for the group after the next, which is done with the plain words.
                macro_rules! extend {
                    ($g:expr) => {{
                        for l in 0..N {
                            let seven_before = _mm_alignr_epi8::<4>(w[l][($g + 3) % 4], w[l][($g + 2) % 4]);
                            let sum = _mm_add_epi32(w[l][$g % 4], seven_before);
                            w[l][$g % 4] = _mm_sha256msg2_epu32(sum, w[l][($g + 3) % 4]);
                            if $g < 14 {
                                w[l][($g + 2) % 4] =
                                    _mm_sha256msg1_epu32(w[l][($g + 2) % 4], w[l][($g + 3) % 4]);
                            }
                        }
                        rounds!($g);
                    }};
                }
                load!(0);
                load!(1);
                load!(2);
                load!(3);
                for l in 0..N {
                    w[l][0] = _mm_sha256msg1_epu32(w[l][0], w[l][1]);
                    w[l][1] = _mm_sha256msg1_epu32(w[l][1], w[l][2]);
                }
                extend!(4);
                extend!(5);
                extend!(6);
                extend!(7);
                extend!(8);
                extend!(9);
                extend!(10);
                extend!(11);
                extend!(12);
                extend!(13);
                extend!(14);
                extend!(15);
                for l in 0..N {
                    abef[l] = _mm_add_epi32(abef[l], before.0[l]);
                    cdgh[l] = _mm_add_epi32(cdgh[l], before.1[l]);
                    // Past the last block it is not read through.
                    blocks[l] = blocks[l].wrapping_add(1);
                }
            }
            for (l, lane) in lanes.into_iter().enumerate() {
                *lane.state = [
                    _mm_extract_epi32::<3>(abef[l]),
                    _mm_extract_epi32::<2>(abef[l]),
                    _mm_extract_epi32::<3>(cdgh[l]),
                    _mm_extract_epi32::<2>(cdgh[l]),
                    _mm_extract_epi32::<1>(abef[l]),
                    _mm_extract_epi32::<0>(abef[l]),
                    _mm_extract_epi32::<1>(cdgh[l]),
                    _mm_extract_epi32::<0>(cdgh[l]),
                ]
                .map(i32::cast_unsigned);
            }
        }
    };
}
build!(avx, "sha,ssse3,sse4.1,avx");
build!(avx512vl, "sha,ssse3,sse4.1,avx,avx512f,avx512vl");
