use super::*;

const MIB: u64 = 1 << 20;

/// A system of files, as `room_by` finds it.
fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

const MEMINFO: (&str, &str) =
    ("proc/meminfo", "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   16777216 kB\n");

#[test]
fn without_groups_there_is_what_the_machine_has() {
    assert_eq!(room_by(system(&[MEMINFO]).path()), Some(16384 * MIB));
    assert_eq!(room_by(system(&[]).path()), None);
    assert_eq!(limit_by(system(&[MEMINFO]).path()), None);
    // A group without a limit.
    let root = system(&[
        MEMINFO,
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"),
        ("sys/fs/cgroup/memory.max", "max\n"),
    ]);
    assert_eq!((room_by(root.path()), limit_by(root.path())), (Some(16384 * MIB), None));
}

#[test]
fn the_tightest_group_above_counts_and_cached_files_are_room() {
    let stat = "anon 1\ninactive_file 1048576\nactive_file 2097152\nfile 9\n";
    let root = system(&[
        MEMINFO,
        ("proc/self/cgroup", "0::/pod/container\n"),
        ("proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw shared:1 - cgroup2 cgroup rw,nsdelegate\n"),
        ("sys/fs/cgroup/pod/container/memory.max", "1073741824\n"),
        ("sys/fs/cgroup/pod/container/memory.current", "4194304\n"),
        ("sys/fs/cgroup/pod/container/memory.stat", stat),
        ("sys/fs/cgroup/pod/memory.max", "536870912\n"),
        ("sys/fs/cgroup/pod/memory.current", "4194304\n"),
        ("sys/fs/cgroup/pod/memory.stat", stat),
    ]);
    assert_eq!((room_by(root.path()), limit_by(root.path())), (Some(511 * MIB), Some(512 * MIB)));
}

#[test]
fn a_container_sees_its_group_of_version_1_at_the_mount() {
    let files = |group| {
        system(&[
            MEMINFO,
            ("proc/self/cgroup", group),
            (
                "proc/self/mountinfo",
                "31 24 0:27 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n\
                 32 24 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                 33 24 0:29 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 7\ntotal_inactive_file 52428800\ntotal_active_file 0\n",
            ),
        ])
    };
    for group in ["5:cpu:/x\n4:memory:/docker/abc\n", "4:hugetlb,memory:/elsewhere\n", "4:memory:/../..\n"] {
        assert_eq!(room_by(files(group).path()), Some(974 * MIB), "{group}");
        assert_eq!(limit_by(files(group).path()), Some(1024 * MIB), "{group}");
    }
    // Without a limit version 1 says a number that is larger than the machine.
    let root = files("4:memory:/docker/abc\n");
    fs::write(root.path().join("sys/fs/cgroup/memory/memory.limit_in_bytes"), "9223372036854771712\n")
        .unwrap();
    assert_eq!(limit_by(root.path()), None);
    // Not in any group of memory.
    assert_eq!(room_by(files("5:cpu:/docker/abc\n").path()), Some(16384 * MIB));
}

#[test]
#[cfg(target_os = "linux")]
fn what_was_just_written_is_cached_until_it_is_forgotten() {
    let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![7; 8 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let all = 0..8 * MIB;
    assert_eq!(cached(&file, &all), Cached::Yes);
    assert_eq!(probe(&file, &all), Cached::Yes);
    // A file system that keeps everything in memory cannot forget.
    if crate::sys::kernel::is_in_memory(&file) {
        return;
    }
    forget(&file, &(4 * MIB..8 * MIB));
    assert_eq!(cached(&file, &(0..4 * MIB)), Cached::Yes);
    for range in [all, 4 * MIB..8 * MIB, 6 * MIB..6 * MIB + 8192] {
        assert_ne!(cached(&file, &range), Cached::Yes, "{range:?}");
        assert_ne!(probe(&file, &range), Cached::Yes, "{range:?}");
    }
}
