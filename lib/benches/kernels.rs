//! How many bytes a second one core of this processor hashes: each SHA-256 kernel by how many messages it has in work, and
//! the other digests beside it.
//!
//! `cargo bench -p weightseal` runs all; `cargo bench -p weightseal -- avx512` what has that in its name. GB/s are 1e9 bytes.
//! "cached" messages lie in the second-level cache, so that the kernel alone is measured; "memory" is more than caches hold.

use std::{hint::black_box, time::Duration};

use blake2::{Blake2b512, Digest as _};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use weightseal::Kernel;

/// What one message has, in bytes, when all are to stay in the cache.
const CACHED: usize = 32 << 10;

/// What all messages have together, in bytes, when no cache is to hold them.
const MEMORY: usize = 128 << 20;

/// Numbers of messages that tell a kernel's forms from each other. Those that put every message in a part of a wide register
/// take as long for few as for many, so that only the fuller half is of interest.
fn messages(kernel: Kernel) -> Vec<usize> {
    match kernel.lanes() {
        lanes @ ..=4 => (1..=lanes).collect(),
        lanes => [4, 5, 6, 8].map(|eighths| lanes * eighths / 8).to_vec(),
    }
}

/// Not zeros: the memory is really there, and nothing in it repeats soon.
fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

fn sha256(criterion: &mut Criterion) {
    let memory = bytes(MEMORY);
    for (place, total) in [("cached", None), ("memory", Some(MEMORY))] {
        let mut group = criterion.benchmark_group(format!("sha256/{place}"));
        group.sampling_mode(SamplingMode::Flat);
        for kernel in Kernel::available() {
            for messages in messages(kernel) {
                let each = total.map_or(CACHED, |total| total / messages);
                let data: Vec<&[u8]> = memory.chunks_exact(each).take(messages).collect();
                group.throughput(Throughput::BytesDecimal((each * messages) as u64));
                group.bench_with_input(BenchmarkId::new(kernel.name(), messages), &data, |bencher, data| {
                    bencher.iter(|| kernel.digests(black_box(data)));
                });
            }
        }
        group.finish();
    }
}

fn others(criterion: &mut Criterion) {
    let memory = bytes(MEMORY);
    for (place, len) in [("cached", CACHED), ("memory", MEMORY)] {
        let data = &memory[..len];
        let mut group = criterion.benchmark_group(format!("one-stream/{place}"));
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::BytesDecimal(len as u64));
        group.bench_function("blake3", |bencher| bencher.iter(|| blake3::hash(black_box(data))));
        group.bench_function("blake2b", |bencher| bencher.iter(|| Blake2b512::digest(black_box(data))));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // A kernel's rate is steady; it is the machine around it that is not, and more samples do not help there.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2));
    targets = sha256, others
}
criterion_main!(benches);
