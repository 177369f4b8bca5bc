//! One digest over bytes that come piece by piece; for BLAKE3 also the pieces of one digest, computed apart.

use blake2::Blake2b512;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use sha2::{Digest as _, Sha256};

use crate::{
    Error,
    code::Code,
    manifest::{Algorithm, Digest},
};

/// A digest in the making.
#[derive(Clone)]
pub(super) enum Digester {
    /// FIPS 180-4.
    Sha256(Sha256),
    /// RFC 7693, 64 bytes, no key.
    Blake2b(Box<Blake2b512>),
    /// Without key, on the calling thread alone; threads share the work by subtrees.
    Blake3(Box<blake3::Hasher>),
}

impl Digester {
    /// A digest over no bytes yet.
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Digester::Sha256(Sha256::new()),
            Algorithm::Blake2b => Digester::Blake2b(Box::new(Blake2b512::new())),
            Algorithm::Blake3 => Digester::Blake3(Box::default()),
        }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Digester::Sha256(state) => state.update(bytes),
            Digester::Blake2b(state) => state.update(bytes),
            Digester::Blake3(state) => {
                state.update(bytes);
            }
        }
    }

    /// The digest over all bytes taken.
    pub(super) fn finish(self) -> Result<Digest, Error> {
        match self {
            Digester::Sha256(state) => Digest::new(Algorithm::Sha256, &state.finalize()),
            Digester::Blake2b(state) => Digest::new(Algorithm::Blake2b, &state.finalize()),
            Digester::Blake3(state) => Digest::new(Algorithm::Blake3, state.finalize().as_bytes()),
        }
    }
}

/// A subtree of a BLAKE3 tree in the making (BLAKE3 paper, section 2.1).
///
/// Subtrees are all of one length, a power of two of at least 1024 bytes, save the last, which may be shorter; there are
/// at least two. Then [`merge`] gives the digest of the whole.
pub(super) struct Subtree(Box<blake3::Hasher>);

impl Subtree {
    /// The subtree that begins `offset` bytes into the whole, a multiple of the subtrees' length.
    pub(super) fn new(offset: u64) -> Self {
        let mut state: Box<blake3::Hasher> = Box::default();
        state.set_input_offset(offset);
        Subtree(state)
    }

    /// Takes the next bytes, in all no more than a subtree has.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The subtree's value, over at least one byte.
    pub(super) fn finish(self) -> ChainingValue {
        self.0.finalize_non_root()
    }
}

/// The BLAKE3 digest of the whole whose subtrees have these values, in order.
///
/// # Errors
/// When there are fewer than two, which no whole is divided into.
pub(super) fn merge(mut values: Vec<ChainingValue>) -> Result<Digest, Error> {
    // Level by level: neighbours are joined, and an odd one at the end moves up as it is.
    loop {
        values = match values.as_slice() {
            [] | [_] => {
                return Err(Error::new(Code::Panicked, "a digest was merged from fewer than two subtrees"));
            }
            [left, right] => {
                return Digest::new(
                    Algorithm::Blake3,
                    merge_subtrees_root(left, right, Mode::Hash).as_bytes(),
                );
            }
            level => {
                let (pairs, odd) = level.as_chunks::<2>();
                pairs
                    .iter()
                    .map(|[left, right]| merge_subtrees_non_root(left, right, Mode::Hash))
                    .chain(odd.iter().copied())
                    .collect()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    fn of(algorithm: Algorithm, pieces: &[&[u8]]) -> String {
        let mut digester = Digester::new(algorithm);
        for piece in pieces {
            digester.update(piece);
        }
        digester.finish().unwrap().hex()
    }

    /// The published digests of `abc`: FIPS 180-4 (examples), RFC 7693 (appendix A), and BLAKE3's own test vectors for no
    /// byte at all.
    #[test]
    fn digests_are_the_published_ones() {
        assert_eq!(
            of(Algorithm::Sha256, &[b"abc"]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            of(Algorithm::Blake2b, &[b"abc"]),
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
             7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
        );
        assert_eq!(
            of(Algorithm::Blake3, &[]),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn pieces_give_the_digest_of_the_whole() {
        let bytes = ramp(5000);
        for algorithm in Algorithm::ALL {
            let whole = of(algorithm, &[&bytes]);
            for cut in [0, 1, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 5000] {
                let (left, right) = bytes.split_at(cut);
                assert_eq!(of(algorithm, &[left, &[], right]), whole, "{algorithm} cut at {cut}");
            }
        }
    }

    #[test]
    fn subtrees_merge_to_the_digest_of_the_whole() {
        for subtree in [1024, 4096] {
            for count in 2..=17 {
                for len in [subtree * (count - 1) + 1, subtree * count - 1, subtree * count] {
                    let bytes = ramp(len);
                    let values: Vec<_> = bytes
                        .chunks(subtree)
                        .enumerate()
                        .map(|(at, chunk)| {
                            let mut part = Subtree::new((at * subtree) as u64);
                            for piece in chunk.chunks(1000) {
                                part.update(piece);
                            }
                            part.finish()
                        })
                        .collect();
                    assert_eq!(values.len(), count);
                    assert_eq!(
                        merge(values).unwrap().as_bytes(),
                        blake3::hash(&bytes).as_bytes(),
                        "{len} by {subtree}"
                    );
                }
            }
        }
        assert_eq!(merge(vec![[0; 32]]).unwrap_err().code(), Code::Panicked);
        assert_eq!(merge(Vec::new()).unwrap_err().code(), Code::Panicked);
    }
}
