//! What every store promises, held against each of them.

use std::{collections::BTreeMap, fs, os::unix::fs::FileExt as _};

use testkit::{
    models::{REVISION, hub_cache},
    temporary,
};
use weightseal::{Cancel, Code, Entry, Error, Kind, Local, Memory, Run, Source};

use crate::good::write_files;

/// Content of lengths around those that are read at once.
pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    let bytes = |length: usize| (0..length).map(|n| (n % 253) as u8).collect::<Vec<u8>>();
    [
        ("empty", 0),
        ("one", 1),
        ("folder/page", 4096),
        ("folder/more/page and one", 4097),
        ("a:0:10", 10),
        ("large", 300_001),
    ]
    .into_iter()
    .map(|(name, length)| (name.to_owned(), bytes(length)))
    .collect()
}

pub(crate) fn list(source: &dyn Source, run: &Run) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    source.list(run, &mut |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

pub(crate) fn contract(source: &dyn Source, expected: &BTreeMap<String, Vec<u8>>) {
    let run = Run::new();
    let entries = list(source, &run).unwrap();
    let listed: BTreeMap<&str, &Entry> = entries
        .iter()
        .filter(|entry| entry.kind != Kind::Folder)
        .map(|entry| (entry.name.as_str(), entry))
        .collect();
    assert_eq!(listed.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{source}");
    assert_eq!(source.is_single_file(), entries.len() == 1);
    assert!(!source.base_name().is_empty() && !source.to_string().is_empty());

    // Two listings of what stands still are the same.
    let again = list(source, &run).unwrap();
    for entry in &again {
        let before = entries.iter().find(|before| before.name == entry.name).unwrap();
        assert_eq!((&before.kind, before.size, &before.stamp), (&entry.kind, entry.size, &entry.stamp));
    }

    for (name, bytes) in expected {
        let entry = listed[name.as_str()];
        let length = bytes.len();
        assert_eq!((entry.kind.clone(), entry.size), (Kind::File, length as u64), "{name}");
        assert_eq!(entry.resource_name().unwrap().as_str(), name);
        for offset in [0, 1, length / 2, length.saturating_sub(1), length, length + 1, length + 10_000] {
            for wanted in [0, 1, 7, 4096, 65_536, length, length + 1] {
                let mut buf = vec![0xaa; wanted];
                let read = source.read_at(entry, offset as u64, &mut buf, &run).unwrap();
                let rest = bytes.get(offset..).unwrap_or_default();
                // Short only at the end.
                assert_eq!(read, rest.len().min(wanted), "{name} at {offset}, {wanted} bytes");
                assert_eq!(buf[..read], rest[..read]);
                assert!(
                    buf[read..].iter().all(|byte| *byte == 0xaa),
                    "nothing is written past what was read"
                );
            }
        }
        if let Some(file) = source.file(entry, &run).unwrap() {
            let mut all = vec![0; length];
            file.read_exact_at(&mut all, 0).unwrap();
            assert_eq!((&all, file.metadata().unwrap().len()), (bytes, length as u64));
        }
    }

    // An error of whoever listens ends the listing.
    let mut seen = 0;
    let error = source
        .list(&run, &mut |_| {
            seen += 1;
            Err(Error::new(Code::BadArgument, "enough"))
        })
        .unwrap_err();
    assert_eq!((error.code(), seen), (Code::BadArgument, 1));
}

#[test]
fn memory_keeps_it() {
    let memory = files().into_iter().fold(Memory::new("m"), |memory, (name, bytes)| memory.with(name, bytes));
    contract(&memory, &files());
    let entry = list(&memory, &Run::new()).unwrap().swap_remove(0);
    let error = memory.without(&entry.name).read_at(&entry, 0, &mut [0; 1], &Run::new()).unwrap_err();
    assert_eq!(error.code(), Code::ChangedWhileRead);
}

#[test]
fn a_folder_on_disk_keeps_it() {
    let dir = temporary().unwrap();
    write_files(dir.path(), files().iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let local = Local::open(dir.path()).unwrap();
    contract(&local, &files());
    goes(&local, &|name| fs::remove_file(dir.path().join(name)).unwrap());
}

#[test]
fn a_single_file_keeps_it() {
    let dir = temporary().unwrap();
    for (name, bytes) in files() {
        let name = name.replace('/', "-");
        fs::write(dir.path().join(&name), &bytes).unwrap();
        let local = Local::open(dir.path().join(&name)).unwrap();
        assert_eq!(local.base_name(), name);
        contract(&local, &BTreeMap::from([(name, bytes)]));
    }
}

#[test]
fn a_snapshot_of_the_hubs_cache_keeps_it() {
    let dir = temporary().unwrap();
    let model = dir.path().join("model");
    write_files(&model, files().iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let snapshot = hub_cache(&dir.path().join("hub"), "acme/llama", REVISION, &model).unwrap();
    let local = Local::open(&snapshot).unwrap();
    contract(&local, &files());
    let one = BTreeMap::from([("large".to_owned(), files()["large"].clone())]);
    contract(&Local::open(snapshot.join("large")).unwrap(), &one);
    goes(&local, &|name| fs::remove_file(snapshot.join(name).canonicalize().unwrap()).unwrap());
}

#[test]
fn offsets_past_every_end_read_nothing() {
    let dir = temporary().unwrap();
    write_files(dir.path(), [("a", &b"abc"[..])]);
    let (local, memory) = (Local::open(dir.path()).unwrap(), Memory::new("m").with("a", "abc"));
    let run = Run::new();
    for source in [&memory as &dyn Source, &local] {
        let entry = list(source, &run).unwrap().swap_remove(0);
        for offset in [1 << 40, i64::MAX as u64, 1 << 63, u64::MAX] {
            assert_eq!(source.read_at(&entry, offset, &mut [0; 8], &run).unwrap(), 0, "{source} at {offset}");
        }
    }
}

/// A listed file that is gone, or another one, is not read; and a run that is over reads nothing.
fn goes(source: &dyn Source, remove: &dyn Fn(&str)) {
    let run = Run::new();
    let entries = list(source, &run).unwrap();
    let large = entries.iter().find(|entry| entry.name == "large").unwrap();
    let cancel = Cancel::default();
    let over = Run::new().cancel(cancel.clone());
    assert!(source.read_at(large, 0, &mut [0; 8], &over).is_ok());
    cancel.cancel();
    assert_eq!(list(source, &over).unwrap_err().code(), Code::Interrupted);
    assert_eq!(source.read_at(large, 0, &mut [0; 8], &over).unwrap_err().code(), Code::Interrupted);

    let mut other = large.clone();
    other.stamp.file.inode += 1;
    for entry in [&other, large] {
        if entry.stamp == large.stamp {
            remove("large");
        }
        let read = source.read_at(entry, 0, &mut [0; 8], &run).unwrap_err();
        let opened = source.file(entry, &run).unwrap_err();
        assert_eq!((read.code(), opened.code()), (Code::ChangedWhileRead, Code::ChangedWhileRead));
    }
}
