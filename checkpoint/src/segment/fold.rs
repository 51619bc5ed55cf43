//! Folds what several segments say of one key group into what holds now.

use std::cmp::Ordering;

use super::block::{BLOCK_BYTES_MAX, EntryBlock};

/// What [`fold`] does with keys whose newest entry is a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Keeps the tombstone: the result is a delta, and older entries may be below it.
    Keep,
    /// Leaves the key out: the result is a base.
    Drop,
}

/// Merges the blocks of one key group, segment by segment from the oldest, into as few as possible.
///
/// Of the entries of a key the newest wins: that of the last segment, and within a segment the
/// last one. Keys are compared as bytes.
///
/// The result is in ascending order of the key bytes, whatever the order of the input, and is cut
/// into blocks at [`BLOCK_BYTES_MAX`](super::BLOCK_BYTES_MAX): for who shows entries, or compares
/// them. A running job, which makes new bases of old ones, does without the order.
///
/// Takes 48 bytes an entry, and 8 more to sort them, on top of the input and the output. One group
/// at a time bounds that.
pub fn fold(oldest_first: &[Vec<EntryBlock>], removed: Removed) -> Vec<EntryBlock> {
    let entries: Vec<_> = oldest_first.iter().flatten().flatten().collect();
    // Small, for sorting moves them: most comparisons need no more than the first bytes.
    let mut order: Vec<_> =
        (0_u32..).zip(&entries).map(|(at, (key, _))| (prefix(key), at)).collect();
    let key_of = |at: u32| entries[at as usize].0;
    // Stable: among equal keys the newest stays last. It also takes sorted runs as they are.
    order.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| compare_rest(key_of(a.1), key_of(b.1))));

    let mut folded = Vec::new();
    let mut block = EntryBlock::new();
    for (place, &(first, at)) in order.iter().enumerate() {
        let (key, value) = entries[at as usize];
        let newest = order.get(place + 1).is_none_or(|&(next_first, next)| {
            next_first != first || compare_rest(key, key_of(next)) != Ordering::Equal
        });
        if !newest || (value.is_none() && removed == Removed::Drop) {
            continue;
        }
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        if !block.is_empty() && block.raw_bytes() + bytes > BLOCK_BYTES_MAX {
            folded.push(std::mem::take(&mut block));
        }
        block.push_bytes(key, value).expect("an entry of some block fits in one of its own");
    }
    if !block.is_empty() {
        folded.push(block);
    }
    folded
}

/// Bytes of a key that its prefix has.
const PREFIX_LEN: usize = 8;

/// The first bytes of `key` as a number in the same order: most comparisons need no more.
fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0; PREFIX_LEN];
    let len = key.len().min(PREFIX_LEN);
    bytes[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(bytes)
}

/// The order of two keys whose prefixes are equal: of short ones their lengths say it, for the prefix
/// has zeros in place of what is missing.
fn compare_rest(a: &[u8], b: &[u8]) -> Ordering {
    let rest = |key: &'_ [u8]| key.len().min(PREFIX_LEN);
    a[rest(a)..].cmp(&b[rest(b)..]).then(a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Also for keys that end where the prefix does, and in zeros.
        #[test]
        fn prefix_and_rest_order_keys_as_bytes(
            a in prop::collection::vec(0_u8..3, 0..12),
            b in prop::collection::vec(0_u8..3, 0..12),
        ) {
            let order = prefix(&a).cmp(&prefix(&b)).then_with(|| compare_rest(&a, &b));
            prop_assert_eq!(order, a.cmp(&b));
        }
    }
}
