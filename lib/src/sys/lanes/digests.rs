//! Digests of many messages that are in memory.

use std::cmp::Reverse;

use super::{Block, End, INITIAL, Kernel, Lane, State, digest};

/// A message in work: its hash so far and what of it is not hashed yet.
struct Stream<'a> {
    /// Its place among the messages.
    index: usize,
    state: State,
    blocks: &'a [Block],
    end: End,
    /// How many blocks of the end are hashed.
    ended: usize,
}

impl<'a> Stream<'a> {
    fn new(index: usize, message: &'a [u8]) -> Self {
        let (blocks, rest) = message.as_chunks();
        Stream { index, state: INITIAL, blocks, end: End::new(rest, message.len() as u64), ended: 0 }
    }

    /// The blocks that come next: those of the message, then those of the end.
    fn lane(&mut self) -> Lane<'_> {
        let blocks = if self.blocks.is_empty() { &self.end.blocks()[self.ended..] } else { self.blocks };
        Lane { state: &mut self.state, blocks }
    }

    /// So many blocks have been hashed; true when they were the last.
    fn advance(&mut self, count: usize) -> bool {
        if self.blocks.is_empty() {
            self.ended += count;
        } else {
            self.blocks = &self.blocks[count..];
        }
        self.ended == self.end.blocks().len()
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
                digests[stream.index] = digest(&stream.state);
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
