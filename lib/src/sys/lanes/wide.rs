//! What the forms for AVX2 and AVX-512 share: the same word of every stream stands in one register, so that the code is
//! that of FIPS 180-4, section 6.2.2, with one instruction for all streams.

use super::{Block, Lane, State};

/// The blocks and hashes of up to `N` streams, with word `i` of all of them side by side in `state[i]`.
pub(super) struct Side<const N: usize> {
    pub(super) state: [[u32; N]; 8],
    /// Where each stream's blocks begin. Idle places repeat the first stream: they cost nothing, and nobody reads what
    /// comes of them.
    pub(super) blocks: [*const Block; N],
}

impl<const N: usize> Side<N> {
    /// These lanes side by side; `None` when there are none, too many, or one has fewer than `count` blocks.
    pub(super) fn of(lanes: &[Lane<'_>], count: usize) -> Option<Self> {
        let first = lanes.first()?;
        if lanes.len() > N || lanes.iter().any(|lane| lane.blocks.len() < count) {
            return None;
        }
        let mut side = Side { state: [[0; N]; 8], blocks: [first.blocks.as_ptr(); N] };
        for (at, lane) in lanes.iter().enumerate() {
            side.blocks[at] = lane.blocks.as_ptr();
            for (words, word) in side.state.iter_mut().zip(*lane.state) {
                words[at] = word;
            }
        }
        Some(side)
    }

    /// Gives the hashes back.
    pub(super) fn into_lanes(self, lanes: &mut [Lane<'_>]) {
        for (at, lane) in lanes.iter_mut().enumerate().take(N) {
            *lane.state = State::from(self.state.map(|words| words[at]));
        }
    }
}

/// One block of every stream: `$state` moves on by the sixteen words `$w`, which are used up.
///
/// Where it stands, `add`, `sum`, `less`, `ror`, `shr`, `xor3`, `choose`, `majority` and `splat` are functions over the
/// register type. `sum` and `less` are sums and differences that the compiler, where it pays, leaves in the order in which
/// they are written.
///
/// The order matters, since a processor that does three such instructions in a cycle waits for their results most of the
/// time: what is known early is summed early, so that only a sigma and one sum lie between one e and the next, and one a
/// and the next. T1 of the standard is then found from the new e by taking the old d off again. On Zen 5, where each
/// instruction takes two cycles, this makes 7.4 GB/s of 5.9 with AVX-512.
// Each run of the formatter would indent the inner macros further.
#[rustfmt::skip]
macro_rules! compress_block {
    ($state:ident, $w:ident) => {{
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $state;
        // One round; instead of moving eight words to the next names, the names are moved.
        macro_rules! round {
            ($t:expr, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {{
                let k = splat($crate::sys::lanes::ROUND_CONSTANTS[$t]);
                let hk = sum($h, add($w[$t % 16], k));
                let dhk = sum(sum($d, hk), choose($e, $f, $g));
                let new_e = sum(dhk, xor3(ror::<6>($e), ror::<11>($e), ror::<25>($e)));
                let t1 = less(new_e, $d);
                $d = new_e;
                $h = add(sum(t1, majority($a, $b, $c)), xor3(ror::<2>($a), ror::<13>($a), ror::<22>($a)));
            }};
        }
        // The word for sixteen rounds on takes the place of this round's.
        macro_rules! next_word {
            ($t:expr) => {{
                let (x, y) = ($w[($t + 1) % 16], $w[($t + 14) % 16]);
                let x = xor3(ror::<7>(x), ror::<18>(x), shr::<3>(x));
                let y = xor3(ror::<17>(y), ror::<19>(y), shr::<10>(y));
                $w[$t % 16] = add(add($w[$t % 16], $w[($t + 9) % 16]), add(x, y));
            }};
        }
        macro_rules! no_word {
            ($t:expr) => {};
        }
        macro_rules! eight_rounds {
            ($t:expr, $after:ident) => {
                round!($t, a b c d e f g h);
                $after!($t);
                round!($t + 1, h a b c d e f g);
                $after!($t + 1);
                round!($t + 2, g h a b c d e f);
                $after!($t + 2);
                round!($t + 3, f g h a b c d e);
                $after!($t + 3);
                round!($t + 4, e f g h a b c d);
                $after!($t + 4);
                round!($t + 5, d e f g h a b c);
                $after!($t + 5);
                round!($t + 6, c d e f g h a b);
                $after!($t + 6);
                round!($t + 7, b c d e f g h a);
                $after!($t + 7);
            };
        }
        eight_rounds!(0, next_word);
        eight_rounds!(8, next_word);
        eight_rounds!(16, next_word);
        eight_rounds!(24, next_word);
        eight_rounds!(32, next_word);
        eight_rounds!(40, next_word);
        eight_rounds!(48, no_word);
        eight_rounds!(56, no_word);
        for (old, new) in $state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *old = add(*old, new);
        }
    }};
}
pub(super) use compress_block;
