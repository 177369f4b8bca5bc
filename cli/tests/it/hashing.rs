//! How files are read and hashed: `--fail-fast`, `--read`, `--kernel`.

use std::fs;

use serde_json::Value;
use testkit::{Ended, capture_within, skip_or_fail};

use crate::world::{LIMIT, World};

const VERIFY: [&str; 4] = ["verify", "m", "--public-key", "release.pub"];

/// Verifies `m` with more arguments.
fn verify(world: &World, more: &[&str]) -> Ended {
    world.run(&[&VERIFY[..], more].concat())
}

/// The same, as JSON.
fn report(world: &World, more: &[&str], code: i32) -> Value {
    let ended = verify(world, &[more, &["--format", "json"]].concat()).expect_code(code);
    serde_json::from_str(&ended.out()).unwrap()
}

fn codes(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// Changes a byte of a file, and not its length.
fn change(world: &World, name: &str) {
    let mut bytes = fs::read(world.path(name)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    world.write(name, bytes);
}

/// The kernels that the program says it can use.
fn kernels(world: &World) -> Vec<String> {
    let about = world.run(&["--version", "--json"]).expect_code(0).out();
    serde_json::from_value(serde_json::from_str::<Value>(&about).unwrap()["kernels"].clone()).unwrap()
}

/// Runs weightseal with a kernel in its environment.
fn in_environment(world: &World, kernel: &str, args: &[&str]) -> Ended {
    let mut command = world.command(env!("CARGO_BIN_EXE_weightseal"));
    capture_within(command.args(args).env("WEIGHTSEAL_KERNEL", kernel), &[], LIMIT).unwrap()
}

#[test]
fn fail_fast_tells_one_difference_and_hashes_nothing_where_names_differ() {
    let world = World::new();
    world.sign();
    let good = report(&world, &["--fail-fast"], 0);
    assert_eq!((&good["verdict"], codes(&good)), (&Value::from("verified"), vec![]));
    let bytes = good["bytes"].as_u64().unwrap();
    assert_eq!((good["counts"]["verified"].as_u64(), bytes > 16 << 10), (Some(2), true));

    change(&world, "m/model.safetensors");
    change(&world, "m/config.json");
    assert_eq!(codes(&report(&world, &[], 1)), ["file-changed"; 2]);
    // By itself, so that one file is done before the other.
    let one = report(&world, &["--fail-fast", "--threads", "1", "--kernel", "sha2"], 1);
    assert_eq!(codes(&one), ["file-changed"]);
    assert_eq!(one["findings"][0]["name"], "model.safetensors");
    assert_eq!((&one["verdict"], one["counts"]["verified"].as_u64()), (&Value::from("rejected"), Some(0)));
    assert!((1..bytes).contains(&one["bytes"].as_u64().unwrap()), "{one}");

    fs::remove_file(world.path("m/config.json")).unwrap();
    assert_eq!(codes(&report(&world, &[], 1)), ["file-missing", "file-changed"]);
    let none = report(&world, &["--fail-fast"], 1);
    assert_eq!((codes(&none), none["bytes"].as_u64()), (vec!["file-missing"], Some(0)));
    assert_eq!(none["kernel"], Value::Null);
}

/// Whether the model's files can be read past the page cache.
#[cfg(target_os = "linux")]
fn reads_direct(world: &World) -> bool {
    use std::os::unix::fs::OpenOptionsExt;

    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    fs::OpenOptions::new().read(true).custom_flags(direct).open(world.path("m/config.json")).is_ok()
}

/// No other system is asked to.
#[cfg(not(target_os = "linux"))]
fn reads_direct(_: &World) -> bool {
    false
}

#[test]
fn files_are_read_in_the_way_that_is_asked_for() {
    let world = World::new();
    world.sign();
    let mut ways = vec!["mmap", "pread", "auto"];
    if reads_direct(&world) {
        ways.push("direct");
    } else {
        skip_or_fail("temporary files cannot be read past the page cache");
    }
    for way in &ways {
        let ended = verify(&world, &["--read", way]).expect_code(0);
        assert!(ended.out().starts_with("verified: m\n"), "{ended}");
    }
    change(&world, "m/model.safetensors");
    for way in &ways {
        assert_eq!(codes(&report(&world, &["--read", way], 1)), ["file-changed"], "{way}");
    }
    for way in ["nonsense", "", "Direct"] {
        let ended = verify(&world, &["--read", way]).expect_code(2);
        assert!(ended.err().contains("not one of auto, mmap, pread, direct"), "{ended}");
        assert_eq!(ended.out(), "");
    }
}

#[test]
fn a_kernel_can_be_forced_and_is_told() {
    let world = World::new();
    world.sign();
    let root = |args: &[&str]| {
        let ended = world.run(&[&["digest", "m", "--format", "json"], args].concat()).expect_code(0);
        let digest: Value = serde_json::from_str(&ended.out()).unwrap();
        (digest["root_digest"].clone(), digest["kernel"].clone())
    };
    let kernels = kernels(&world);
    assert_eq!(kernels[0], "sha2");
    let (right, unforced) = root(&[]);
    assert!(kernels.iter().any(|kernel| unforced == kernel.as_str()), "{unforced}");
    assert_eq!(report(&world, &[], 0)["kernel"], unforced);
    for kernel in &kernels {
        assert_eq!(root(&["--kernel", kernel]), (right.clone(), kernel.as_str().into()));
        assert_eq!(report(&world, &["--kernel", kernel], 0)["kernel"], kernel.as_str());
        let ended = verify(&world, &["-v", "--kernel", kernel]).expect_code(0);
        assert!(ended.err().contains(&format!("hashing by {kernel}: 1 threads, ")), "{ended}");
        let ended = in_environment(&world, kernel, &["digest", "m", "-v"]).expect_code(0);
        assert!(ended.err().contains(&format!("hashing by {kernel}: ")), "{ended}");
        let sign = ["sign", "m", "--private-key", "release.key", "--format", "json", "--kernel", kernel];
        let signed: Value = serde_json::from_str(&world.run(&sign).expect_code(0).out()).unwrap();
        assert_eq!((&signed["root_digest"], &signed["kernel"]), (&right, &kernel.as_str().into()));
        verify(&world, &[]).expect_code(0);
    }
    change(&world, "m/config.json");
    for kernel in &kernels {
        let changed = report(&world, &["--kernel", kernel], 1);
        assert_eq!(codes(&changed), ["file-changed"]);
        assert_eq!(changed["kernel"], kernel.as_str());
    }
}

#[test]
fn a_kernel_that_is_none_is_misuse_and_the_others_are_named() {
    let world = World::new();
    world.sign();
    let there = format!("; there are {}", kernels(&world).join(", "));
    for ended in [
        verify(&world, &["--kernel", "nonsense"]),
        in_environment(&world, "nonsense", &VERIFY),
        in_environment(&world, "nonsense", &["digest", "m"]),
        in_environment(&world, "nonsense", &["sign", "m", "--private-key", "release.key"]),
    ] {
        let ended = ended.expect_code(2);
        assert!(ended.err().contains(&format!("nonsense is no SHA-256 kernel{there}")), "{ended}");
        assert_eq!(ended.out(), "");
    }
    // Of another processor.
    #[cfg(target_arch = "x86_64")]
    {
        let ended = verify(&world, &["--kernel", "arm-sha2"]).expect_code(2);
        assert!(ended.err().contains(&format!("arm-sha2 cannot run on this processor{there}")), "{ended}");
    }
    // The command line stands above the environment.
    let more = [&VERIFY[..], &["--kernel", "sha2", "-v"]].concat();
    let ended = in_environment(&world, "nonsense", &more).expect_code(0);
    assert!(ended.err().contains("hashing by sha2: "), "{ended}");
}

/// What is read ahead leaves the hash its file descriptors, however few a process has.
#[cfg(target_os = "linux")]
#[test]
fn cold_files_verify_with_few_file_descriptors() {
    use rustix::fs::{Advice, fadvise};

    let world = World::new();
    for number in 0..32 {
        world.write(&format!("m/shard-{number}.safetensors"), vec![number; 1 << 20]);
    }
    world.sign();
    for file in fs::read_dir(world.path("m")).unwrap() {
        let file = fs::File::open(file.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
    let script = "ulimit -n 24 && exec \"$@\"";
    let mut command = world.command("/bin/sh");
    command
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_weightseal")])
        .args(VERIFY)
        .args(["--threads", "2"]);
    let ended = capture_within(&mut command, &[], LIMIT).unwrap().expect_code(0);
    assert!(ended.out().starts_with("verified: m\n"), "{ended}");
}
