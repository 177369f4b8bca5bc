//! Rows on files that are not in the page cache.

use super::super::models::{Hashing, Model, Signed};
use super::super::stats::{Sample, Series};
use super::super::table::{Line, Wanted, parts};
use super::super::{Bench, cgroup::Cgroup, machine, peers, race::Race, volume::Volume};
use crate::Done;

/// The memory that a container has left for the page cache in the row with a cgroup.
const LIMIT: u64 = 1 << 30;

pub(super) fn disk(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "cold-disk";
    let signed = bench.signed(Model::Eight, Hashing::Sha256)?;
    machine::drop_caches()?;
    let work = format!("verify {}, sha256, cold on this disk", signed.shown);
    let (ours, others) = Race::new(bench, ROW, || {
        machine::drop_caches()?;
        bench.verify(&signed)
    })
    .against(
        "cat",
        Ok(|| {
            machine::drop_caches()?;
            bench.watch.run(peers::cats(&signed.model))
        }),
    )
    .run()?;
    let theirs = others.first().ok_or("no contender")?;
    let line = Line::raced(ROW, &work, &ours, "cat of each, side by side", theirs, Wanted::AtLeast(0.95));
    Ok(vec![line.ours_with(&ours.rate(signed.bytes))])
}

pub(super) fn slow_1ms(bench: &Bench<'_>) -> Done<Vec<Line>> {
    slow(bench, "slow-1ms", 1, Wanted::AtLeast(2.8))
}

pub(super) fn slow_2ms(bench: &Bench<'_>) -> Done<Vec<Line>> {
    slow(bench, "slow-2ms", 2, Wanted::AtLeast(3.5))
}

fn slow(bench: &Bench<'_>, row: &'static str, milliseconds: u32, wanted: Wanted) -> Done<Vec<Line>> {
    let signed = bench.signed(Model::Eight, Hashing::Sha256)?;
    let work = format!("verify, then load {}, cold, {milliseconds} ms a read", signed.shown);
    machine::drop_caches()?;
    let volume = Volume::mount(&signed.model, milliseconds)?;
    let slow = Signed { model: volume.path().to_path_buf(), ..signed };
    loading(bench, row, &work, &slow, None, wanted)
}

pub(super) fn slow_cgroup(bench: &Bench<'_>) -> Done<Vec<Line>> {
    let signed = bench.signed(Model::Eight, Hashing::Sha256)?;
    let work = "the same in a memory cgroup of 1 GiB, 1 ms a read";
    machine::drop_caches()?;
    let cgroup = Cgroup::new(LIMIT)?;
    let volume = Volume::mount(&signed.model, 1)?;
    let slow = Signed { model: volume.path().to_path_buf(), ..signed };
    loading(bench, "slow-cgroup", work, &slow, Some(&cgroup), Wanted::AtMost(1.1))
}

pub(super) fn disk_load(bench: &Bench<'_>) -> Done<Vec<Line>> {
    let signed = bench.signed(Model::Eight, Hashing::Sha256)?;
    let work = format!("verify, then load {}, cold on this disk", signed.shown);
    loading(bench, "disk-load", &work, &signed, None, Wanted::AtMost(1.6))
}

/// Verifies and then loads a cold model, against loading it without a check.
fn loading(
    bench: &Bench<'_>,
    row: &'static str,
    work: &str,
    signed: &Signed,
    cgroup: Option<&Cgroup>,
    wanted: Wanted,
) -> Done<Vec<Line>> {
    let loader = peers::loader()?;
    machine::drop_caches()?;
    let within = |command| match cgroup {
        Some(cgroup) => cgroup.inside(&command),
        None => command,
    };
    let load = || -> Done<Sample> {
        let (sample, said) = bench.watch.run_with_output(within(loader.load(&signed.model)))?;
        // Less than the files by their headers.
        let loaded = said.split(' ').next().and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
        let headers = signed.bytes.saturating_sub(loaded);
        if loaded > signed.bytes || headers > signed.bytes / 100 {
            return Err(
                format!("the loader loaded {loaded} bytes of {}: {}", signed.bytes, said.trim()).into()
            );
        }
        Ok(sample)
    };
    let (ours, others) = Race::new(bench, row, || {
        machine::drop_caches()?;
        let verified = bench.watch.run(within(bench.verification(signed)))?;
        Ok(verified.then(load()?))
    })
    .against(
        "the load alone",
        Ok(|| {
            machine::drop_caches()?;
            load()
        }),
    )
    .run()?;
    let theirs: &Result<Series, _> = others.first().ok_or("no contender")?;
    let against = format!("the load alone, {}", loader.shown);
    Ok(vec![
        Line::raced(row, work, &ours, &against, theirs, wanted).ours_with(&parts(&ours, ["verify", "load"])),
    ])
}
