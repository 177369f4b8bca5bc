//! Sixteen streams in the sixteen 32-bit parts of each AVX-512 register.
//!
//! It takes as long for one stream as for sixteen.

use std::arch::{asm, x86_64::*};

use super::{
    Lane,
    wide::{Side, compress_block},
};

/// With how many lanes this is faster than the SHA extensions: 7.4 GB/s with sixteen, hence 4.6 with ten, where those
/// do 4.1 (Zen 5).
pub(super) const BEATS_SHA_NI: usize = 10;

/// How many blocks before they are needed they are asked for: sixteen streams are more than the processor keeps ahead of
/// by itself. With it, data beyond the caches are hashed at 6.2 GB/s instead of 5.3 (Zen 5); 4 to 8 blocks do alike.
const AHEAD: usize = 8;

/// Whether this processor has what [`compress`] needs.
pub(super) fn runs_here() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Moves 1 to 16 lanes on by `count` blocks; false, and nothing is done, when this processor cannot.
pub(super) fn compress(lanes: &mut [Lane<'_>], count: usize) -> bool {
    if !runs_here() {
        return false;
    }
    let Some(mut side) = Side::of(lanes, count) else { return false };
    // SAFETY: the processor has the features, and `Side::of` has seen that every lane has `count` blocks.
    unsafe { compress_wide(&mut side, count) };
    side.into_lanes(lanes);
    true
}

/// Moves sixteen streams on by `count` blocks.
///
/// # Safety
/// The processor has AVX512F and AVX512BW; every pointer in `side` is at `count` readable blocks.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn compress_wide(side: &mut Side<16>, count: usize) {
    // The bytes of a block are big-endian words.
    let swap = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let mut state = [_mm512_setzero_si512(); 8];
    for (register, words) in state.iter_mut().zip(&side.state) {
        // SAFETY: sixteen words are read from an array of sixteen; no alignment is asked for.
        *register = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
    }
    for at in 0..count {
        let mut w = [_mm512_setzero_si512(); 16];
        for (row, blocks) in w.iter_mut().zip(side.blocks) {
            _mm_prefetch::<_MM_HINT_T0>(blocks.wrapping_add(at + AHEAD).cast());
            // SAFETY: `at` is below `count`, so there is a whole block to read; no alignment is asked for.
            let bytes = unsafe { _mm512_loadu_si512(blocks.add(at).cast()) };
            *row = _mm512_shuffle_epi8(bytes, swap);
        }
        w = transpose(w);
        compress_block!(state, w);
    }
    for (register, words) in state.iter().zip(&mut side.state) {
        // SAFETY: sixteen words are written to an array of sixteen; no alignment is asked for.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), *register) };
    }
}

/// From a block a register to a word of every block a register: rows become columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // Within each 128-bit part: the words of two rows, then of four. Part p of `fours[4q + c]` has column 4p + c of
    // rows 4q to 4q + 3.
    let mut pairs = [zero; 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = [zero; 16];
    for q in 0..4 {
        for half in 0..2 {
            let (upper, lower) = (pairs[4 * q + half], pairs[4 * q + half + 2]);
            fours[4 * q + 2 * half] = _mm512_unpacklo_epi64(upper, lower);
            fours[4 * q + 2 * half + 1] = _mm512_unpackhi_epi64(upper, lower);
        }
    }
    // Then whole parts: 0x88 takes parts 0 and 2 of each operand, 0xdd parts 1 and 3.
    let mut columns = [zero; 16];
    for c in 0..4 {
        let even = _mm512_shuffle_i32x4::<0x88>(fours[c], fours[4 + c]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(fours[c], fours[4 + c]);
        let lower_even = _mm512_shuffle_i32x4::<0x88>(fours[8 + c], fours[12 + c]);
        let lower_odd = _mm512_shuffle_i32x4::<0xdd>(fours[8 + c], fours[12 + c]);
        columns[c] = _mm512_shuffle_i32x4::<0x88>(even, lower_even);
        columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, lower_odd);
        columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, lower_even);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, lower_odd);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

/// `a + b`, as a sum of its own: the compiler must not rearrange it with others.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum(a: __m512i, b: __m512i) -> __m512i {
    opaque(add(a, b))
}

/// `a - b`, as a difference of its own.
#[inline]
#[target_feature(enable = "avx512f")]
fn less(a: __m512i, b: __m512i) -> __m512i {
    opaque(_mm512_sub_epi32(a, b))
}

/// The same value, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "avx512f")]
fn opaque(mut a: __m512i) -> __m512i {
    // SAFETY: the text is a comment, so that nothing is executed and the register keeps its value.
    unsafe { asm!("/* {0} */", inout(zmm_reg) a, options(pure, nomem, nostack, preserves_flags)) };
    a
}

#[inline]
#[target_feature(enable = "avx512f")]
fn ror<const BY: i32>(a: __m512i) -> __m512i {
    _mm512_ror_epi32::<BY>(a)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn shr<const BY: u32>(a: __m512i) -> __m512i {
    _mm512_srli_epi32::<BY>(a)
}

// The number is the truth table: bit 4a + 2b + c is what comes of bits a, b and c.

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

/// Ch of FIPS 180-4, section 4.1.2.
#[inline]
#[target_feature(enable = "avx512f")]
fn choose(e: __m512i, f: __m512i, g: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xca>(e, f, g)
}

/// Maj of FIPS 180-4, section 4.1.2.
#[inline]
#[target_feature(enable = "avx512f")]
fn majority(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}
