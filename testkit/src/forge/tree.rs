//! The trees of logs (RFC 6962, section 2.1).

use sha2::{Digest as _, Sha256};

/// The hash of a leaf.
pub fn leaf_hash(body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(body).finalize().into()
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over these leaves, one at least.
pub fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The audit path of the leaf at this position, from the leaf up.
pub fn proof(leaves: &[[u8; 32]], index: usize) -> Vec<[u8; 32]> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, sibling) =
        if index < at { (proof(left, index), root(right)) } else { (proof(right, index - at), root(left)) };
    path.push(sibling);
    path
}

/// The largest power of two below.
fn split(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Climbs the path as RFC 9162, section 2.1.3.2 has it.
    fn climb(leaf: [u8; 32], index: usize, size: usize, path: &[[u8; 32]]) -> [u8; 32] {
        let (mut at, mut last, mut hash) = (index, size - 1, leaf);
        for sibling in path {
            if at & 1 == 1 || at == last {
                hash = node_hash(sibling, &hash);
                while at & 1 == 0 && at != 0 {
                    (at, last) = (at >> 1, last >> 1);
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        assert_eq!(last, 0);
        hash
    }

    #[test]
    fn every_path_of_every_small_tree_leads_to_its_root() {
        for size in 1..=33 {
            let leaves: Vec<_> = (0..size).map(|n| leaf_hash(&[n])).collect();
            for index in 0..leaves.len() {
                let path = proof(&leaves, index);
                assert_eq!(climb(leaves[index], index, leaves.len(), &path), root(&leaves));
            }
        }
    }
}
