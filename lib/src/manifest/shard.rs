//! Shards: `path:start:end`, end exclusive (OMS 1.0, serialization method shards).

use std::ops::Range;

use super::{ManifestFile, Resource, duplicate};
use crate::{Error, code::Code, shown::Shown};

/// Splits a shard's name at its last two colons into path and range; the path may hold colons.
///
/// # Errors
/// `shard-invalid` unless both numbers are canonical decimals of 64 bits and the range is not empty.
pub(crate) fn parse_shard_name(name: &str) -> Result<(&str, Range<u64>), Error> {
    let mut parts = name.rsplitn(3, ':');
    let (end, start, path) = (parts.next(), parts.next(), parts.next());
    let numbers = start.and_then(canonical).zip(end.and_then(canonical));
    match (path, numbers) {
        (Some(path), Some((start, end))) if start < end => Ok((path, start..end)),
        _ => Err(Error::new(
            Code::ShardInvalid,
            format!("{:?} is not a shard's name of the form path:start:end", Shown(name)),
        )
        .with_name(name)),
    }
}

/// A decimal without sign, space, underscore or leading zero.
fn canonical(text: &str) -> Option<u64> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Checks that the shards of a file follow each other from 0 in steps of the shard size, sorts them so, and returns the
/// length of the file that they cover.
pub(super) fn check(resources: &[Resource], file: &mut ManifestFile, size: u64) -> Result<u64, Error> {
    let range = |index: &u32| {
        resources.get(*index as usize).and_then(|resource| resource.range.clone()).unwrap_or(0..0)
    };
    file.resources.sort_by_key(|index| (range(index).start, range(index).end));
    let mut end = 0;
    let last = file.resources.len().saturating_sub(1);
    for (position, index) in file.resources.iter().enumerate() {
        let shard = range(index);
        let broken = |code, why: &str| {
            Err(Error::new(
                code,
                format!("the signed shards of {:?} {why} at byte {}", file.name, shard.start),
            )
            .with_name(file.name.as_str()))
        };
        if position > 0 && file.resources.get(position - 1).map(range).as_ref() == Some(&shard) {
            return Err(duplicate(&format!("{}:{}:{}", file.name.as_str(), shard.start, shard.end)));
        }
        if shard.start > end {
            return broken(Code::ShardGap, "leave a gap");
        }
        if shard.start < end {
            return broken(Code::ShardOverlap, "overlap");
        }
        let length = shard.end.saturating_sub(shard.start);
        if length == 0 || length > size || (length < size && position != last) {
            return broken(Code::ShardInvalid, &format!("are not {size} bytes long"));
        }
        end = shard.end;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Algorithm, Digest, Manifest, Method, ResourceName, Serialization};

    #[test]
    fn names_split_at_the_last_two_colons_and_numbers_are_canonical() {
        assert_eq!(parse_shard_name("a:b:0:10").unwrap(), ("a:b", 0..10));
        assert_eq!(parse_shard_name("a:0:18446744073709551615").unwrap(), ("a", 0..u64::MAX));
        for bad in [
            "a",
            "a:0",
            "0:10",
            "a:0:010",
            "a:00:10",
            "a:+0:10",
            "a:0:1_0",
            "a: 0:10",
            "a:0:",
            "a::10",
            "a:0:10 ",
            "a:5:5",
            "a:6:5",
            "a:-1:5",
            "a:0:18446744073709551616",
            "a:0:٣",
            "a:0x0:5",
        ] {
            assert_eq!(parse_shard_name(bad).unwrap_err().code(), Code::ShardInvalid, "{bad}");
        }
    }

    fn manifest(ranges: &[Range<u64>]) -> Result<Manifest, Error> {
        let resources = ranges
            .iter()
            .map(|range| Resource {
                name: ResourceName::parse("f").unwrap(),
                range: Some(range.clone()),
                digest: Digest::sha256([0; 32]),
            })
            .collect();
        Manifest::new(Serialization::new(Method::Shards { size: 10 }, Algorithm::Sha256), resources)
    }

    #[test]
    fn shards_cover_a_file_without_gap_or_overlap() {
        let good = manifest(&[10..20, 0..10, 20..25]).unwrap();
        assert_eq!(good.files()[0].size, Some(25));
        assert_eq!(good.files()[0].resources, [1, 0, 2]);
        for (ranges, code) in [
            (vec![0..10, 11..20], Code::ShardGap),
            (vec![1..10, 10..20], Code::ShardGap),
            (vec![0..10, 9..19], Code::ShardOverlap),
            (vec![0..10, 0..10], Code::NameDuplicate),
            (vec![0..11, 11..21], Code::ShardInvalid),
            (vec![0..5, 5..15], Code::ShardInvalid),
        ] {
            assert_eq!(manifest(&ranges).unwrap_err().code(), code, "{ranges:?}");
        }
    }
}
