//! Eight streams in the eight 32-bit parts of each AVX2 register, for processors without SHA extensions and AVX-512.
//!
//! It takes as long for one stream as for eight.

use std::arch::x86_64::*;

use super::{
    Block, Lane,
    wide::{Side, compress_block},
};

/// Whether this processor has what [`compress`] needs.
pub(super) fn runs_here() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Moves 1 to 16 lanes on by `count` blocks; false, and nothing is done, when this processor cannot.
pub(super) fn compress(lanes: &mut [Lane<'_>], count: usize) -> bool {
    if !runs_here() || lanes.iter().any(|lane| lane.blocks.len() < count) {
        return false;
    }
    for eight in lanes.chunks_mut(8) {
        let Some(mut side) = Side::of(eight, count) else { return false };
        // SAFETY: the processor has AVX2, and `Side::of` has seen that every lane has `count` blocks.
        unsafe { compress_wide(&mut side, count) };
        side.into_lanes(eight);
    }
    true
}

/// Moves eight streams on by `count` blocks.
///
/// # Safety
/// The processor has AVX2; every pointer in `side` is at `count` readable blocks.
#[target_feature(enable = "avx2")]
unsafe fn compress_wide(side: &mut Side<8>, count: usize) {
    let mut state = [_mm256_setzero_si256(); 8];
    for (register, words) in state.iter_mut().zip(&side.state) {
        // SAFETY: eight words are read from an array of eight; no alignment is asked for.
        *register = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    }
    for at in 0..count {
        // SAFETY: `at` is below `count`, so that every stream has a whole block there.
        let [left, right] = unsafe { [columns(&side.blocks, at, 0), columns(&side.blocks, at, 1)] };
        let mut w = [_mm256_setzero_si256(); 16];
        w[..8].copy_from_slice(&left);
        w[8..].copy_from_slice(&right);
        compress_block!(state, w);
    }
    for (register, words) in state.iter().zip(&mut side.state) {
        // SAFETY: eight words are written to an array of eight; no alignment is asked for.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), *register) };
    }
}

/// Eight words of block `at` of every stream, from the left or (`half` = 1) the right half of the block, a word of all
/// streams a register.
///
/// # Safety
/// The processor has AVX2; every pointer is at more than `at` readable blocks.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn columns(blocks: &[*const Block; 8], at: usize, half: usize) -> [__m256i; 8] {
    // The bytes of a block are big-endian words.
    let swap =
        _mm256_broadcastsi128_si256(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let zero = _mm256_setzero_si256();
    let mut rows = [zero; 8];
    for (row, blocks) in rows.iter_mut().zip(blocks) {
        // SAFETY: the half of a whole block is read; no alignment is asked for.
        let bytes = unsafe { _mm256_loadu_si256(blocks.add(at).cast::<__m256i>().add(half)) };
        *row = _mm256_shuffle_epi8(bytes, swap);
    }
    // Within each 128-bit part: the words of two rows, then of four. Part p of `fours[4q + c]` has column 4p + c of
    // rows 4q to 4q + 3.
    let mut pairs = [zero; 8];
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = [zero; 8];
    for q in 0..2 {
        for half in 0..2 {
            let (upper, lower) = (pairs[4 * q + half], pairs[4 * q + half + 2]);
            fours[4 * q + 2 * half] = _mm256_unpacklo_epi64(upper, lower);
            fours[4 * q + 2 * half + 1] = _mm256_unpackhi_epi64(upper, lower);
        }
    }
    // Then whole parts: 0x20 takes the left part of both operands, 0x31 the right one.
    let mut columns = [zero; 8];
    for c in 0..4 {
        columns[c] = _mm256_permute2x128_si256::<0x20>(fours[c], fours[4 + c]);
        columns[4 + c] = _mm256_permute2x128_si256::<0x31>(fours[c], fours[4 + c]);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u32) -> __m256i {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

/// `a + b`, in whatever order the compiler sums: without rotations and three-operand logic it is the number of instructions
/// that counts, and holding it to an order was seen to win nothing.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(a: __m256i, b: __m256i) -> __m256i {
    add(a, b)
}

/// `a - b`, as [`sum`].
#[inline]
#[target_feature(enable = "avx2")]
fn less(a: __m256i, b: __m256i) -> __m256i {
    _mm256_sub_epi32(a, b)
}

/// There is no rotation: what is shifted out on the right is shifted in on the left.
#[inline]
#[target_feature(enable = "avx2")]
fn ror<const BY: i32>(a: __m256i) -> __m256i {
    let left = _mm_cvtsi32_si128(32 - BY);
    _mm256_or_si256(_mm256_srli_epi32::<BY>(a), _mm256_sll_epi32(a, left))
}

#[inline]
#[target_feature(enable = "avx2")]
fn shr<const BY: i32>(a: __m256i) -> __m256i {
    _mm256_srli_epi32::<BY>(a)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

/// Ch of FIPS 180-4, section 4.1.2: where `e` is set `f`, else `g`.
#[inline]
#[target_feature(enable = "avx2")]
fn choose(e: __m256i, f: __m256i, g: __m256i) -> __m256i {
    _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
}

/// Maj of FIPS 180-4, section 4.1.2: what at least two of the three have.
#[inline]
#[target_feature(enable = "avx2")]
fn majority(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
}
