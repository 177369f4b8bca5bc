//! Every kernel that this processor can run against its twin, and the digests against the `sha2` crate.

use sha2::{Digest as _, Sha256, block_api::compress256};

use super::*;

/// Bytes that look random and are the same in each run (xorshift64*, Vigna 2014).
struct Bytes(u64);

impl Bytes {
    fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.word().to_le_bytes()).take(len).collect()
    }

    fn state(&mut self) -> State {
        std::array::from_fn(|_| self.word() as u32)
    }
}

/// Lanes with these numbers of blocks, each at an odd address of its own, by the kernel and by the twin.
fn same_as_twin(kernel: Kernel, blocks: &[usize], seed: u64) {
    let mut bytes = Bytes(seed);
    let data: Vec<Vec<u8>> = blocks.iter().map(|blocks| bytes.take(blocks * 64 + 64)).collect();
    let mut states: Vec<State> = blocks.iter().map(|_| bytes.state()).collect();
    let mut expected = states.clone();
    let cut = |at: usize| data[at][at * 2 + 1..][..blocks[at] * 64].as_chunks().0;

    let least = blocks.iter().copied().min().unwrap_or(0);
    for (at, state) in expected.iter_mut().enumerate() {
        compress256(state, &cut(at)[..least]);
    }
    let mut lanes: Vec<Lane<'_>> =
        states.iter_mut().enumerate().map(|(at, state)| Lane { state, blocks: cut(at) }).collect();
    assert_eq!(kernel.compress(&mut lanes), least, "{kernel}, lanes of {blocks:?} blocks");
    assert_eq!(states, expected, "{kernel}, lanes of {blocks:?} blocks");
}

#[test]
fn each_kernel_is_its_twin_for_any_number_of_lanes_and_blocks() {
    for kernel in Kernel::available() {
        for lanes in 0..=MAX_LANES + 1 {
            for blocks in [0, 1, 2, 3, 7, 16, 65] {
                same_as_twin(kernel, &vec![blocks; lanes], 1 + lanes as u64 * 100 + blocks as u64);
            }
        }
    }
}

#[test]
fn lanes_of_unequal_length_advance_by_the_shortest() {
    for kernel in Kernel::available() {
        for lanes in 2..=MAX_LANES {
            for shortest in 0..lanes {
                let blocks: Vec<_> = (0..lanes).map(|at| if at == shortest { 3 } else { 4 + at }).collect();
                same_as_twin(kernel, &blocks, 1 + lanes as u64);
            }
            same_as_twin(kernel, &(0..lanes).collect::<Vec<_>>(), 1);
        }
    }
}

#[test]
fn a_long_run_of_blocks_is_hashed_in_one_call() {
    for kernel in Kernel::available() {
        same_as_twin(kernel, &vec![2000; kernel.lanes()], 7);
    }
}

#[test]
fn a_kernel_of_another_processor_does_its_work_as_the_twin() {
    for kernel in Kernel::ALL {
        same_as_twin(kernel, &[5, 5, 5, 6, 7], 9);
    }
}

/// A kernel that quietly were not there would leave the tests green and the users slow.
#[test]
fn the_processor_s_features_decide_which_kernels_there_are() {
    let available = Kernel::available();
    assert!(available.contains(&Kernel::Sha2));
    #[cfg(target_arch = "x86_64")]
    {
        let has = |kernel| available.contains(&kernel);
        let (sha, avx) = (is_x86_feature_detected!("sha"), is_x86_feature_detected!("avx"));
        assert_eq!(has(Kernel::ShaNi), sha && avx);
        assert_eq!(has(Kernel::Avx2), is_x86_feature_detected!("avx2"));
        assert_eq!(has(Kernel::Avx512), is_x86_feature_detected!("avx512bw"));
        assert!(!has(Kernel::ArmSha2));
        if sha && avx {
            assert_eq!(Kernel::fastest(0), Kernel::ShaNi);
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let sha2 = std::arch::is_aarch64_feature_detected!("sha2");
        assert_eq!(available.contains(&Kernel::ArmSha2), sha2);
        assert_eq!(available.len(), 1 + usize::from(sha2));
        assert_eq!(Kernel::fastest(u64::MAX) == Kernel::ArmSha2, sha2);
    }
}

#[test]
fn the_fastest_kernel_is_one_that_there_is_and_stays_the_same() {
    for bytes in [0, 1 << 30, (1 << 30) + 1, u64::MAX] {
        let fastest = Kernel::fastest(bytes);
        assert!(Kernel::available().contains(&fastest));
        assert!((0..8).all(|_| Kernel::fastest(bytes) == fastest));
    }
}

#[test]
fn a_kernel_is_named_and_read_back() {
    for kernel in Kernel::available() {
        assert_eq!(kernel.name().parse::<Kernel>().unwrap(), kernel);
        assert_eq!(kernel.to_string(), kernel.name());
        assert!((1..=MAX_LANES).contains(&kernel.lanes()));
    }
    let foreign = if cfg!(target_arch = "x86_64") { "arm-sha2" } else { "avx512" };
    let error = foreign.parse::<Kernel>().unwrap_err();
    assert_eq!(error.code(), Code::BadArgument);
    assert!(error.to_string().contains("cannot run on this processor; there are sha2"), "{error}");
    let error = "SHA2\n".parse::<Kernel>().unwrap_err();
    assert!(error.to_string().contains("is no SHA-256 kernel; there are sha2"), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// Lengths on every seam of padding and blocks, and so far apart that lanes end and are refilled at different times.
#[test]
fn digests_are_those_of_sha2_for_messages_of_any_length() {
    let mut lengths: Vec<usize> = (0..=130).collect();
    lengths.extend([191, 192, 1023, 4096, 4097, 65_535, (1 << 20) - 1, 1 << 20, (1 << 20) + 1]);
    // In no order of length.
    let mut bytes = Bytes(11);
    lengths.sort_by_cached_key(|_| bytes.word());
    let messages: Vec<Vec<u8>> = lengths.iter().map(|&len| bytes.take(len)).collect();
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let expected: Vec<[u8; 32]> = messages.iter().map(|message| Sha256::digest(message).into()).collect();
    for kernel in Kernel::available() {
        for some in [0, 1, 2, 3, 4, 5, 15, 16, 17, messages.len()] {
            assert!(
                kernel.digests(&messages[..some]) == expected[..some],
                "{kernel} over {some} messages is not what sha2 gives"
            );
        }
    }
}

#[test]
fn a_digest_is_the_published_one() {
    // FIPS 180-4's examples: one block, and two.
    let messages: [&[u8]; 2] = [b"abc", b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"];
    for kernel in Kernel::available() {
        let hex = kernel.digests(&messages).map_hex();
        assert_eq!(hex[0], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "{kernel}");
        assert_eq!(hex[1], "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", "{kernel}");
    }
}

trait MapHex {
    fn map_hex(self) -> Vec<String>;
}

impl MapHex for Vec<[u8; 32]> {
    fn map_hex(self) -> Vec<String> {
        self.iter().map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
    }
}
