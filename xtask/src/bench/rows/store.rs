//! Rows on models in stores. Server and client share the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::target_dir;

use super::super::models::{BESIDES, Hashing, LISTED_SMALL, Model, Signed, leave_room};
use super::super::peers::{self, Program};
use super::super::stats::{Sample, memory};
use super::super::store::{Kind, Stored, apart};
use super::super::table::{Line, Wanted, parts};
use super::super::{Bench, race::Race};
use super::warm::{PYTHON_FLAG, shown};
use crate::Done;

/// What a verification may hold in memory of a model in a store.
const MEMORY: u64 = 256 << 20;

/// The ranges that a store is asked for, and how many at once.
const PART: u64 = 4 << 20;
const AT_ONCE: usize = 24;

/// What the throttled server lets through, in bytes a second.
const CAP: u64 = 300_000_000;

/// How much of it another client must reach for the cap to be what bounds ours.
const NEAR: f64 = 0.95;

/// What hashing may cost besides, in times of what it costs on files of this machine.
const HASHING: f64 = 1.1;

pub(super) fn verify(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "s3-verify";
    let signed = bench.signed(Model::Eight, Hashing::Sha256)?;
    let stored = bench.stores()?.stored(&bench.watch, Kind::Tls, &signed)?;
    let work = format!("verify {}, sha256, from MinIO over TLS", signed.shown);
    let both = peers::boto3().and_then(|boto3| Ok((boto3, peers::python()?)));
    let name = both.as_ref().map_or(String::new(), |(boto3, python)| {
        format!("{} downloads, then {} verifies", boto3.shown, python.shown)
    });
    let theirs = both.map(|(boto3, python)| {
        let (stored, signed) = (&stored, &signed);
        move || -> Done<Sample> {
            let folder = fetched(bench, signed)?;
            let sample = download(bench, &boto3, stored, &folder, None)?;
            let local =
                Signed { model: folder.clone(), signature: folder.join("model.sig"), ..signed.clone() };
            let verified = bench.watch.run(python.verify(&local, PYTHON_FLAG))?;
            remove(&folder, signed)?;
            Ok(sample.then(verified))
        }
    });
    let (ours, others) = Race::new(bench, ROW, || streamed(bench, &stored, &signed))
        .warm()
        .against("download and model-signing", theirs)
        .run()?;
    let theirs = others.first().ok_or("no contender")?;
    let line = Line::raced(ROW, &work, &ours, &name, theirs, Wanted::AtLeast(2.0));
    let more = theirs.as_ref().map_or(String::new(), |theirs| parts(theirs, ["download", "verify"]));
    Ok(vec![line.ours_with(&ours.slow_rate(signed.bytes)).against_with(&more)])
}

pub(super) fn cpu(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "s3-cpu";
    let signed = bench.warm(Model::Eight, Hashing::Sha256)?;
    let stored = bench.stores()?.stored(&bench.watch, Kind::Tls, &signed)?;
    let work = format!("processor time to verify {}, sha256, from MinIO over TLS", signed.shown);
    let curl = peers::curl();
    let name = shown(&curl);
    let config = curl_config(&stored, &signed)?;
    let (ours, others) =
        Race::new(bench, ROW, || streamed(bench, &stored, &signed).map(Sample::of_processor))
            .warm()
            .against(
                "curl",
                curl.map(|curl| {
                    let (stored, signed, config) = (&stored, &signed, &config);
                    move || fetch(bench, &curl, stored, signed, config).map(Sample::of_processor)
                }),
            )
            .against("local files", Ok(|| bench.verify(&signed).map(Sample::of_processor)))
            .run()?;
    let wanted = Wanted::AtMost(1.0);
    Ok(vec![match others.as_slice() {
        [Ok(curl), Ok(local)] => {
            let against = format!(
                "{name} of the same ranges: {}; and {HASHING} times that for local files: {}",
                curl.shown(),
                local.shown()
            );
            let bound = curl.seconds() + HASHING * local.seconds();
            Line::compared(ROW, &work, &ours, against, bound, wanted)
        }
        [Err(why), ..] | [_, Err(why), ..] => Line::missing(ROW, &work, &why.to_string(), wanted),
        _ => return Err("no contender".into()),
    }])
}

pub(super) fn wire(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "s3-wire";
    let signed = bench.signed(Model::Eight, Hashing::Sha256)?;
    let stores = bench.stores()?;
    let stored = stores.stored(&bench.watch, Kind::Plain, &signed)?;
    let stored = stores.throttled(&stored, CAP)?;
    let cap = format!("{:.0} MB/s", CAP as f64 / 1e6);
    let work = format!("verify {}, sha256, from MinIO that gives {cap}", signed.shown);
    let curl = peers::curl();
    let name = shown(&curl);
    let config = curl_config(&stored, &signed)?;
    let (ours, others) = Race::new(bench, ROW, || streamed(bench, &stored, &signed))
        .against(
            "curl",
            curl.map(|curl| {
                let (stored, signed, config) = (&stored, &signed, &config);
                move || fetch(bench, &curl, stored, signed, config)
            }),
        )
        .run()?;
    let bound = signed.bytes as f64 / CAP as f64;
    let witness = match others.first().ok_or("no contender")? {
        Ok(curl) => {
            let reached = if bound / curl.seconds() >= NEAR { "reaches" } else { "does not reach" };
            format!("{name}, which {reached} it, {}", curl.slow_rate(signed.bytes))
        }
        Err(why) => format!("whether another client reaches it was not measured, {why}"),
    };
    let line = Line::compared(ROW, &work, &ours, format!("{cap}: {witness}"), bound, Wanted::AtLeast(0.9));
    Ok(vec![line.ours_with(&ours.slow_rate(signed.bytes))])
}

pub(super) fn pull(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "s3-pull";
    let signed = bench.signed(Model::Eight, Hashing::Sha256)?;
    let stored = bench.stores()?.stored(&bench.watch, Kind::Tls, &signed)?;
    let work = format!("pull {}, sha256, from MinIO over TLS", signed.shown);
    let boto3 = peers::boto3();
    let name = boto3.as_ref().map_or(String::new(), |boto3| {
        format!("the download alone, {}, parts of {}, {AT_ONCE} at once", boto3.shown, memory(PART))
    });
    let (ours, others) = Race::new(bench, ROW, || {
        let folder = fetched(bench, &signed)?;
        let mut pull = Command::new(&bench.program);
        pull.args(["pull", &stored.uri()]).arg(&folder).arg("--public-key").arg(&signed.public_key);
        let sample = bench.watch.run(stored.lead(pull))?;
        remove(&folder, &signed)?;
        Ok(sample)
    })
    .warm()
    .against(
        "the download alone",
        boto3.map(|boto3| {
            let (stored, signed) = (&stored, &signed);
            move || {
                let folder = fetched(bench, signed)?;
                let sample = download(bench, &boto3, stored, &folder, Some((PART, AT_ONCE)))?;
                remove(&folder, signed)?;
                Ok(sample)
            }
        }),
    )
    .run()?;
    let theirs = others.first().ok_or("no contender")?;
    let line = Line::raced(ROW, &work, &ours, &name, theirs, Wanted::AtLeast(0.9));
    Ok(vec![line.ours_with(&ours.slow_rate(signed.bytes))])
}

pub(super) fn memory_peak(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "s3-memory";
    let small = bench.signed(Model::Eight, Hashing::Sha256)?;
    let large = bench.signed(Model::FourTimesEight, Hashing::Sha256)?;
    let stores = bench.stores()?;
    let stored = stores.stored(&bench.watch, Kind::Tls, &small)?;
    let copies = stores.copied(&bench.watch, &stored, &large)?;
    let measured = Race::new(bench, ROW, || streamed(bench, &stored, &small))
        .against("four times the model", Ok(|| streamed(bench, &copies, &large)))
        .run();
    stores.forget(&copies)?;
    let (ours, others) = measured?;
    let Some(Ok(large_series)) = others.first() else { return Err("no contender".into()) };
    let line = |shown: &str, series, against: &str| {
        let work = format!("peak memory of verifying {shown}, sha256, from MinIO over TLS");
        Line::peak(ROW, &work, series, against.to_owned(), MEMORY)
    };
    Ok(vec![
        line(&small.shown, &ours, ""),
        line(&large.shown, large_series, "each of the former four times, by copies"),
    ])
}

pub(super) fn stated(bench: &Bench<'_>) -> Done<Vec<Line>> {
    const ROW: &str = "hub-stated";
    const ID: &str = "bench/listed";
    let signed = bench.signed(Model::Listed, Hashing::Sha256)?;
    let stores = bench.stores()?;
    let url = stores.hub(ID, &signed)?;
    let mut verify = Command::new(&bench.program);
    verify.args(["verify", "key", &format!("hf://{ID}"), "--stated", "--assurance", "stated"]);
    verify.arg("--signature").arg(&signed.signature).arg("--public-key").arg(&signed.public_key);
    verify.args(["--hf-endpoint", &url, "--allow-http"]);
    apart(&mut verify).env("HF_HOME", "/nonexistent/huggingface").env("NO_PROXY", "127.0.0.1,localhost");
    bench.watch.run(verify)?;
    let count = stores.requests()?;
    let files = fs::read_dir(&signed.model)?.count() as u64;
    let work = format!("requests to verify {} by what a Hub states", signed.shown);
    let against = "three for each 1,000 files that are listed, and one for each small one";
    let most = 3 * files.div_ceil(1000) + LISTED_SMALL;
    Ok(vec![Line::counted(ROW, &work, count, "requests", against, most)])
}

/// Verifies a model from its store.
fn streamed(bench: &Bench<'_>, stored: &Stored, signed: &Signed) -> Done<Sample> {
    let mut verify = Command::new(&bench.program);
    verify.args(["verify", "key", &stored.uri()]).arg("--public-key").arg(&signed.public_key);
    if stored.is_plain() {
        verify.arg("--allow-http");
    }
    bench.watch.run(stored.lead(verify))
}

/// Downloads a model with boto3, signature and all.
fn download(
    bench: &Bench<'_>,
    boto3: &Program,
    stored: &Stored,
    folder: &Path,
    parts: Option<(u64, usize)>,
) -> Done<Sample> {
    bench.watch.run(stored.lead(boto3.download(&stored.bucket, &stored.prefix, folder, parts)))
}

/// Gets the ranges of a model with `curl`, every byte of them.
fn fetch(bench: &Bench<'_>, curl: &Program, stored: &Stored, signed: &Signed, config: &Path) -> Done<Sample> {
    let (sample, said) = bench.watch.run_with_output(stored.lead(curl.configured(config)))?;
    let bytes: u64 = said.lines().filter_map(|line| line.parse::<u64>().ok()).sum();
    if bytes == signed.bytes {
        Ok(sample)
    } else {
        Err(format!("curl got {bytes} bytes of {}", signed.bytes).into())
    }
}

/// Writes what `curl` is to get.
fn curl_config(stored: &Stored, signed: &Signed) -> Done<PathBuf> {
    let file = target_dir().join("bench/curl.conf");
    fs::write(&file, stored.curl_config(signed, PART, AT_ONCE)?)?;
    Ok(file)
}

/// The folder for what is fetched, which is not there, with what a run before left of it removed.
fn fetched(bench: &Bench<'_>, signed: &Signed) -> Done<PathBuf> {
    let [_, name] = BESIDES;
    let beside = bench.options.dir.join(name);
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(&beside)?;
    leave_room(&beside, signed.bytes, "the model that is fetched")?;
    Ok(beside.join("model"))
}

/// Removes what was fetched, all of which has to be there.
fn remove(folder: &Path, signed: &Signed) -> Done {
    for file in fs::read_dir(&signed.model)? {
        let file = file?;
        let fetched = folder.join(file.file_name()).metadata().map_or(0, |metadata| metadata.len());
        if fetched != file.metadata()?.len() {
            return Err(format!("{} was not fetched whole", file.file_name().display()).into());
        }
    }
    Ok(fs::remove_dir_all(folder)?)
}
