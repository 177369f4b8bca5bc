//! Rows on files that are in the page cache.

use super::super::models::{Hashing, Model, Signed};
use super::super::stats::{memory, seconds};
use super::super::table::{Line, Wanted};
use super::super::{Bench, kernel, machine, peers, race::Race};
use crate::Done;

/// What a verification may hold in memory.
const MEMORY: u64 = 64 << 20;

/// How much longer than the Python implementation model-transparency-go took, both measured on the same 2-core Zen 4
/// and the same files as in the row here (3.13 s and 1.80 s). It stands in where the program itself cannot be had.
const GO_TO_PYTHON: f64 = 1.74;

/// How model-signing and model-transparency-go spell the flag.
pub(super) const PYTHON_FLAG: &str = "--public_key";
const GO_FLAG: &str = "--public-key";

pub(super) fn eight(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "warm-8";
    let signed = bench.warm(Model::Eight, Hashing::Sha256)?;
    let work = format!("verify {}, sha256", signed.shown);
    let (python, kernel) = (peers::python(), kernel::rate());
    let name = shown(&python);
    let mut race = Race::new(bench, ROW, || bench.verify(&signed)).warm().against(
        "model-signing",
        python.map(|python| bench.runner(move |s| python.verify(s, PYTHON_FLAG), &signed)),
    );
    if let Some(go) = bench.options.go.as_deref().map(peers::go) {
        race =
            race.against("model-transparency-go", Ok(bench.runner(move |s| go.verify(s, GO_FLAG), &signed)));
    }
    let (ours, others) = race.run()?;
    let rate = ours.rate(signed.bytes);
    let mut lines = Vec::new();
    let mut others = others.iter();
    let python = others.next().ok_or("no contender")?;
    lines.push(Line::raced(ROW, &work, &ours, &name, python, Wanted::AtLeast(2.4)).ours_with(&rate));

    let wanted = Wanted::AtLeast(4.2);
    lines.push(match (others.next(), python) {
        (Some(go), _) => Line::raced(ROW, &work, &ours, "model-transparency-go", go, wanted),
        (None, Ok(python)) => {
            let stands_in = python.seconds() * GO_TO_PYTHON;
            let against = format!(
                "model-transparency-go: {}, not measured: it has no release to install; {GO_TO_PYTHON} times \
                 model-signing's time, as measured elsewhere",
                seconds(stands_in)
            );
            Line::compared(ROW, &work, &ours, against, stands_in, wanted)
        }
        (None, Err(why)) => Line::missing(ROW, &work, &why.to_string(), wanted),
    });

    let wanted = Wanted::AtLeast(0.86);
    lines.push(match kernel {
        Ok(rate) => {
            let cores = machine::cores();
            let against = format!("the x4 kernel in memory: {rate:.2} GB/s x {cores} cores");
            let bound = signed.bytes as f64 / 1e9 / (rate * cores as f64);
            Line::compared(ROW, &work, &ours, against, bound, wanted)
        }
        Err(why) => Line::missing(ROW, &work, &why.to_string(), wanted),
    });
    Ok(lines)
}

pub(super) fn one_file(bench: &Bench<'_>) -> Done<Vec<Line>> {
    against_python(bench, "one-file", Model::One, Wanted::AtLeast(1.2))
}

pub(super) fn small_files(bench: &Bench<'_>) -> Done<Vec<Line>> {
    against_python(bench, "small-files", Model::Small, Wanted::AtLeast(18.0))
}

pub(super) fn tiny(bench: &Bench<'_>) -> Done<Vec<Line>> {
    against_python(bench, "tiny", Model::Tiny, Wanted::AtLeast(70.0))
}

fn against_python(bench: &Bench<'_>, row: &'static str, model: Model, wanted: Wanted) -> Done<Vec<Line>> {
    let signed = bench.warm(model, Hashing::Sha256)?;
    let work = format!("verify {}, sha256", signed.shown);
    let python = peers::python();
    let name = shown(&python);
    let (ours, others) = Race::new(bench, row, || bench.verify(&signed))
        .warm()
        .against(
            "model-signing",
            python.map(|python| bench.runner(move |s| python.verify(s, PYTHON_FLAG), &signed)),
        )
        .run()?;
    let theirs = others.first().ok_or("no contender")?;
    let line = Line::raced(row, &work, &ours, &name, theirs, wanted);
    // Where files are so small, their number is what counts.
    let by_rate = matches!(model, Model::One);
    Ok(vec![if by_rate { line.ours_with(&ours.rate(signed.bytes)) } else { line }])
}

pub(super) fn shards(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "shards";
    let signed = bench.warm(Model::One, Hashing::Shards)?;
    let work = format!("verify {}, sha256 in shards of 64 MiB", signed.shown);
    let openssl = peers::openssl();
    let name = openssl.as_ref().map_or(String::new(), |openssl| format!("{} dgst -sha256", openssl.shown));
    let digest =
        openssl.map(|openssl| bench.runner(move |s| openssl.digest(&["dgst", "-sha256"], &file(s)), &signed));
    let (ours, others) =
        Race::new(bench, ROW, || bench.verify(&signed)).warm().against("openssl", digest).run()?;
    let theirs = others.first().ok_or("no contender")?;
    let line = Line::raced(ROW, &work, &ours, &name, theirs, Wanted::AtLeast(4.0));
    Ok(vec![line.ours_with(&ours.rate(signed.bytes))])
}

pub(super) fn blake3(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "blake3";
    let signed = bench.warm(Model::One, Hashing::Blake3)?;
    let work = format!("verify {}, blake3", signed.shown);
    let b3sum = peers::b3sum();
    let name = shown(&b3sum);
    let digest = b3sum.map(|b3sum| bench.runner(move |s| b3sum.digest(&[], &file(s)), &signed));
    let (ours, others) =
        Race::new(bench, ROW, || bench.verify(&signed)).warm().against("b3sum", digest).run()?;
    let theirs = others.first().ok_or("no contender")?;
    let line = Line::raced(ROW, &work, &ours, &name, theirs, Wanted::AtLeast(1.0));
    let resident = match theirs {
        Ok(theirs) => format!("{name}: {}", memory(theirs.peak())),
        Err(why) => format!("not measured: {why}"),
    };
    let peak = Line::peak(ROW, "the same, peak memory", &ours, resident, MEMORY);
    Ok(vec![line.ours_with(&ours.rate(signed.bytes)), peak])
}

pub(super) fn memory_peak(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "memory";
    let small = bench.signed(Model::Eight, Hashing::Sha256)?;
    let large = bench.signed(Model::FourTimesEight, Hashing::Sha256)?;
    let (ours, others) = Race::new(bench, ROW, || bench.verify(&small))
        .against("four times the model", Ok(|| bench.verify(&large)))
        .run()?;
    let Some(Ok(large_series)) = others.first() else { return Err("no contender".into()) };
    let work = format!("peak memory of verifying {}, sha256", small.shown);
    let against = format!("{}, each of the former four times by hard links", large.shown);
    Ok(vec![Line::peaks(ROW, &work, &ours, &against, large_series, MEMORY)])
}

/// The one file of a model that has one.
fn file(signed: &Signed) -> std::path::PathBuf {
    signed.model.join("model.safetensors")
}

/// A program's name and version; nothing for one that is missing, which says so itself.
pub(super) fn shown(program: &Result<peers::Program, testkit::Missing>) -> String {
    program.as_ref().map_or(String::new(), |program| program.shown.clone())
}
