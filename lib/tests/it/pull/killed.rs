//! Pulls that are killed at any moment: the folder never holds what was not verified, unless readers are told.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use weightseal::Pull;

use super::*;
use crate::good::in_child;

/// How often a pull is killed, in each way.
const KILLS: u64 = 50;

const TEST: &str = "pull::killed::a_killed_pull_leaves_the_old_model_or_the_new_one";

/// A small world, the same in every process, but for its folder.
fn world() -> World {
    let key = Key::new(KeyKind::Ed25519, 1);
    let hashing = Hashing::shards(Algorithm::Sha256, 5_000).unwrap();
    let files = |seed: usize| -> Vec<(String, usize)> {
        (0..16).map(|n| (format!("{}/file-{n}", (n + seed) % 4), 1 + n * 1_500)).collect()
    };
    let signed = |seed: usize| {
        let files = files(seed);
        let files: Vec<(&str, usize)> = files.iter().map(|(name, length)| (name.as_str(), *length)).collect();
        Signed::new(&key, &hashing, &files, seed as u64)
    };
    World { dir: temporary().unwrap(), old: signed(1), new: signed(2), key }
}

/// What the child does: pulls the new release from a slow source.
fn child() {
    let dest = PathBuf::from(std::env::var_os("WEIGHTSEAL_TEST_DEST").unwrap());
    let in_place = std::env::var_os("WEIGHTSEAL_TEST_IN_PLACE").is_some();
    let world = world();
    let source = Tested::made(memory(&world.new.files), u64::MAX, Duration::from_micros(300), None);
    std::io::Write::write_all(&mut std::io::stdout(), b"begins\n").unwrap();
    let verified = world.try_pull(&source, &Pull::new(dest).in_place(in_place), &Run::new());
    assert!(verified.is_ok(), "{}", verified.unwrap_err());
}

/// Starts the child and waits until it begins.
fn start(dest: &Path, in_place: bool) -> Started {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env("WEIGHTSEAL_TEST_CHILD", TEST)
        .env("WEIGHTSEAL_TEST_DEST", dest)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if in_place {
        command.env("WEIGHTSEAL_TEST_IN_PLACE", "1");
    }
    let mut child = command.spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("begins") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0, "the child never began");
    }
    Started { child, _out: out }
}

/// A child that begins; its output can be written as long as this lives, and is a few lines.
struct Started {
    child: std::process::Child,
    _out: std::io::BufReader<std::process::ChildStdout>,
}

#[test]
fn a_killed_pull_leaves_the_old_model_or_the_new_one() {
    if in_child(TEST) {
        return child();
    }
    let kill = |in_place: bool| {
        let world = world();
        world.put_old();
        // How long it takes when nobody kills it.
        let began = Instant::now();
        assert!(start(&world.dest(), in_place).child.wait().unwrap().success());
        let whole = began.elapsed();
        world.stands(&world.new);

        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        world.put_old_again();
        for _ in 0..KILLS {
            let Started { mut child, _out } = start(&world.dest(), in_place);
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            thread::sleep(whole.mul_f64((state >> 33) as f64 / f64::from(1u32 << 31)));
            child.kill().unwrap();
            child.wait().unwrap();
            let found = [&world.old, &world.new].map(|signed| world.found_in_dest(signed));
            let verdict = if found.iter().any(BTreeSet::is_empty) {
                let is_new = found[1].is_empty();
                let signed = if is_new { &world.new } else { &world.old };
                world.stands(signed);
                if is_new { "new" } else { "old" }
            } else {
                assert!(in_place, "{found:?}");
                assert_eq!(found, [(); 2].map(|()| BTreeSet::from([Code::PullUnfinished])));
                // What stands under a signed name is what was signed, of the one or of the other.
                for (name, bytes) in tree(&world.dest()) {
                    let is = |signed: &Signed| signed.placed().get(&name) == Some(&bytes);
                    assert!(name.starts_with(".weightseal/") || is(&world.old) || is(&world.new), "{name}");
                }
                "unfinished"
            };
            *seen.entry(verdict).or_default() += 1;
            if verdict == "new" {
                world.put_old_again();
            }
        }
        assert_eq!(seen.values().sum::<u64>(), KILLS);
        println!("in place {in_place}: {seen:?}");
        world.pulled(&world.new.source(), &world.pull().in_place(in_place));
    };
    // They mostly wait for disks.
    thread::scope(|scope| {
        let other = scope.spawn(|| kill(true));
        kill(false);
        other.join().unwrap();
    });
}

impl World {
    fn put_old_again(&self) {
        fs::remove_dir_all(self.dest()).unwrap();
        let _ = fs::remove_dir_all(self.dir.path().join(".dest.weightseal-pull"));
        self.put_old();
    }
}
