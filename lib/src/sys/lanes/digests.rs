//! Digests of many messages that are in memory.

use std::cmp::Reverse;

use super::{Block, INITIAL, Kernel, Lane, State};

/// A message in work: its hash so far and what of it is not hashed yet.
struct Stream<'a> {
    /// Its place among the messages.
    index: usize,
    state: State,
    blocks: &'a [Block],
    /// What follows the blocks: the rest of the message and the padding, in one or two blocks.
    end: [Block; 2],
    end_blocks: std::ops::Range<usize>,
}

impl<'a> Stream<'a> {
    fn new(index: usize, message: &'a [u8]) -> Self {
        let (blocks, rest) = message.as_chunks();
        let mut end = [[0; 64]; 2];
        let bytes = end.as_flattened_mut();
        bytes[..rest.len()].copy_from_slice(rest);
        // FIPS 180-4, section 5.1.1: a 1 bit, zeros, and the length in bits as the last eight bytes of a block.
        bytes[rest.len()] = 0x80;
        let end_len = if rest.len() < 56 { 64 } else { 128 };
        let bits = (message.len() as u64).wrapping_mul(8);
        bytes[end_len - 8..end_len].copy_from_slice(&bits.to_be_bytes());
        Stream { index, state: INITIAL, blocks, end, end_blocks: 0..end_len / 64 }
    }

    /// The blocks that come next: those of the message, then those of the end.
    fn lane(&mut self) -> Lane<'_> {
        let blocks = if self.blocks.is_empty() { &self.end[self.end_blocks.clone()] } else { self.blocks };
        Lane { state: &mut self.state, blocks }
    }

    /// So many blocks have been hashed; true when they were the last.
    fn advance(&mut self, count: usize) -> bool {
        if self.blocks.is_empty() {
            self.end_blocks.start += count;
        } else {
            self.blocks = &self.blocks[count..];
        }
        self.end_blocks.is_empty()
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }
}

impl Kernel {
    /// The SHA-256 digests of these messages, in their order, computed on the calling thread.
    ///
    /// [`lanes`](Kernel::lanes) messages are in work at once, the longest first, and the next one begins where one ends. The
    /// result is the same for every kernel and on every processor. Besides the result it takes some KiB, and a few words a message.
    ///
    /// ```
    /// let digests = weightseal::Kernel::fastest(3).digests(&[b"abc", b""]);
    /// assert_eq!(digests[0][..4], [0xba, 0x78, 0x16, 0xbf]);
    /// assert_eq!(digests[1][..4], [0xe3, 0xb0, 0xc4, 0x42]);
    /// ```
    pub fn digests(self, messages: &[&[u8]]) -> Vec<[u8; 32]> {
        let mut digests = vec![[0; 32]; messages.len()];
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.sort_by_key(|&index| Reverse(messages[index].len()));
        let mut waiting = order.into_iter().map(|index| Stream::new(index, messages[index]));
        let mut streams: Vec<Stream<'_>> = waiting.by_ref().take(self.lanes()).collect();
        while !streams.is_empty() {
            let mut lanes: Vec<Lane<'_>> = streams.iter_mut().map(Stream::lane).collect();
            let count = self.compress(&mut lanes);
            streams.retain_mut(|stream| {
                if !stream.advance(count) {
                    return true;
                }
                digests[stream.index] = stream.digest();
                match waiting.next() {
                    Some(next) => {
                        *stream = next;
                        true
                    }
                    None => false,
                }
            });
        }
        digests
    }
}
