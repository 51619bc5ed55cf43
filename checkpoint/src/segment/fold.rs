//! Folds what several segments say of one key group into what holds now.

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
/// into blocks at [`BLOCK_BYTES_MAX`](super::BLOCK_BYTES_MAX). So folding is deterministic, and
/// folding a result again is cheap, for it is sorted already.
///
/// Takes 40 bytes an entry, and as much again to sort them, on top of the input and the output. One group at a time bounds that.
pub fn fold(oldest_first: &[Vec<EntryBlock>], removed: Removed) -> Vec<EntryBlock> {
    let entries = oldest_first.iter().flatten().flatten();
    let mut entries: Vec<_> = entries.map(|(key, value)| (prefix(key), key, value)).collect();
    // Stable: among equal keys the newest stays last. It also takes sorted runs as they are.
    entries.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)));

    let mut folded = Vec::new();
    let mut block = EntryBlock::new();
    for (at, (_, key, value)) in entries.iter().enumerate() {
        let newest = entries.get(at + 1).is_none_or(|(_, next, _)| next != key);
        if !newest || (value.is_none() && removed == Removed::Drop) {
            continue;
        }
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        if !block.is_empty() && block.raw_bytes() + bytes > BLOCK_BYTES_MAX {
            folded.push(std::mem::take(&mut block));
        }
        block.push_bytes(key, *value).expect("an entry of some block fits in one of its own");
    }
    if !block.is_empty() {
        folded.push(block);
    }
    folded
}

/// The first bytes of `key` as a number in the same order: most comparisons need no more.
fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = key.len().min(8);
    bytes[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(bytes)
}
