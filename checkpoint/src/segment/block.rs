//! A batch of entries of one key group, in columns.
//!
//! A caller serializes keys and values straight into the columns; nothing is allocated for an
//! entry. Lengths are kept only once two of them differ, tombstones only once there is one, so
//! entries of fixed size cost nothing beyond their own bytes.

use std::fmt;

use crate::error::Error;

/// Size at which a caller should end a block and begin another: about what a reader holds, and
/// checks, at a time.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Bytes of keys and values that no block exceeds, so that none makes a reader allocate more.
///
/// Far above [`BLOCK_BYTES_MAX`] because a single entry cannot be split.
pub const BLOCK_BYTES_LIMIT: usize = 1 << 30;

/// Entries that no block exceeds: a bound for those that have no bytes at all.
pub const BLOCK_ENTRIES_LIMIT: usize = 1 << 24;

/// Largest [`EntryBlock::raw_bytes`]: two lengths and a bit for each entry come on top.
pub(super) const RAW_BYTES_LIMIT: usize = BLOCK_BYTES_LIMIT + 9 * BLOCK_ENTRIES_LIMIT;

/// Entries of one key group: keys with a value, or with a tombstone in its place.
///
/// ```
/// # use highwater_checkpoint::{Error, segment::EntryBlock};
/// let mut block = EntryBlock::new();
/// block.push::<Error>(
///     |key| Ok(key.extend_from_slice(b"clicks")),
///     |value| Ok(value.extend_from_slice(&7u64.to_le_bytes())),
/// )?;
/// block.push_tombstone::<Error>(|key| Ok(key.extend_from_slice(b"views")))?;
/// let entries: Vec<_> = block.iter().map(|(key, value)| (key, value.is_some())).collect();
/// assert_eq!(entries, [(&b"clicks"[..], true), (&b"views"[..], false)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct EntryBlock {
    pub(super) entries: usize,
    pub(super) keys: Column,
    /// Values of the entries that are no tombstones, so that these do not spoil a fixed width.
    pub(super) values: Column,
    pub(super) tombstones: Tombstones,
}

/// Byte strings, one after the other.
#[derive(Clone, Default)]
pub(super) struct Column {
    pub(super) bytes: Vec<u8>,
    pub(super) lengths: Lengths,
}

/// How long the byte strings of a column are.
#[derive(Clone)]
pub(super) enum Lengths {
    /// All the same; of an empty column, 0.
    Same(u32),
    /// One for each.
    Each(Vec<u32>),
}

impl Default for Lengths {
    fn default() -> Self {
        Lengths::Same(0)
    }
}

/// Which entries are tombstones: one bit for each, least significant first; no bytes if none is.
///
/// Invariant: bits at and beyond the number of entries are 0.
#[derive(Clone, Default)]
pub(super) struct Tombstones {
    pub(super) bits: Vec<u8>,
    pub(super) count: usize,
}

impl EntryBlock {
    /// A block without entries.
    pub fn new() -> EntryBlock {
        EntryBlock::default()
    }

    /// A block without entries that has memory for about `bytes` of keys and values, all of it
    /// touched: the kernel gives memory when it is first written to, zeroed, which takes up to 4 ms a
    /// megabyte on a virtual machine.
    pub(crate) fn touched(bytes: usize) -> EntryBlock {
        let column =
            || Column { bytes: Vec::with_capacity(bytes / 2), lengths: Lengths::default() };
        let mut block = EntryBlock { keys: column(), values: column(), ..EntryBlock::default() };
        block.clear_and_touch();
        block
    }

    /// Removes all entries; keeps the memory, and touches what of it was not used.
    pub(crate) fn clear_and_touch(&mut self) {
        for column in [&mut self.keys, &mut self.values] {
            // Not zeros, which an allocator may know to be there.
            column.bytes.resize(column.bytes.capacity(), 1);
        }
        self.clear();
    }

    /// Bytes that there is memory for.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.keys.bytes.capacity() + self.values.bytes.capacity()
    }

    /// Appends an entry: `key` and `value` append their bytes to the buffer that they are given.
    ///
    /// If either fails the block is as it was before.
    ///
    /// # Errors
    ///
    /// Those of `key` and `value`; [`Error::Invalid`] if the block would exceed
    /// [`BLOCK_BYTES_LIMIT`] or [`BLOCK_ENTRIES_LIMIT`].
    ///
    /// # Panics
    ///
    /// If `key` or `value` shortens its buffer.
    #[inline]
    pub fn push<E: From<Error>>(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = (self.keys.bytes.len(), self.values.bytes.len());
        if let Err(error) = key(&mut self.keys.bytes).and_then(|()| value(&mut self.values.bytes)) {
            self.take_back(before);
            return Err(error);
        }
        if self.end_entry(before, false) { Ok(()) } else { Err(self.refuse(before).into()) }
    }

    /// Appends an entry that says that `key` was removed.
    ///
    /// # Errors
    ///
    /// As [`push`](EntryBlock::push).
    ///
    /// # Panics
    ///
    /// As [`push`](EntryBlock::push).
    #[inline]
    pub fn push_tombstone<E: From<Error>>(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = (self.keys.bytes.len(), self.values.bytes.len());
        if let Err(error) = key(&mut self.keys.bytes) {
            self.take_back(before);
            return Err(error);
        }
        if self.end_entry(before, true) { Ok(()) } else { Err(self.refuse(before).into()) }
    }

    /// Appends an entry that is bytes already; `None` is a tombstone.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the block would exceed its limits.
    pub fn push_bytes(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let append = |bytes: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        match value {
            Some(value) => self.push(|out| append(key, out), |out| append(value, out)),
            None => self.push_tombstone(|out| append(key, out)),
        }
    }

    /// Counts what was appended since the columns were `before` long as an entry.
    ///
    /// False, and nothing is counted, if the block is then beyond its limits. A `Result` would be
    /// too large for a register, in a function that is called for every entry.
    #[inline]
    fn end_entry(&mut self, (keys, values): (usize, usize), tombstone: bool) -> bool {
        let (keys_end, values_end) = (self.keys.bytes.len(), self.values.bytes.len());
        assert!(keys_end >= keys && values_end >= values, "an entry may only append to the block");
        if keys_end + values_end > BLOCK_BYTES_LIMIT || self.entries >= BLOCK_ENTRIES_LIMIT {
            return false;
        }
        self.keys.lengths.push((keys_end - keys) as u32, self.entries);
        if tombstone {
            self.tombstones.set(self.entries);
        } else {
            let live = self.entries - self.tombstones.count;
            self.values.lengths.push((values_end - values) as u32, live);
        }
        self.entries += 1;
        true
    }

    /// Removes what was appended since the columns were `before` long.
    #[cold]
    fn take_back(&mut self, (keys, values): (usize, usize)) {
        self.keys.bytes.truncate(keys);
        self.values.bytes.truncate(values);
    }

    /// Removes an entry that does not fit, and says so.
    #[cold]
    fn refuse(&mut self, before: (usize, usize)) -> Error {
        let with = self.keys.bytes.len() + self.values.bytes.len();
        let (without, entries) = (before.0 + before.1, self.entries);
        self.take_back(before);
        Error::invalid(format!(
            "an entry of {} bytes does not fit in a block of {entries} entries and {without} \
             bytes, limited to {BLOCK_ENTRIES_LIMIT} and {BLOCK_BYTES_LIMIT}",
            with - without
        ))
    }

    /// Number of entries, tombstones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of the entries in memory, lengths and tombstones included.
    #[inline]
    pub fn raw_bytes(&self) -> usize {
        self.keys.raw_bytes() + self.values.raw_bytes() + self.tombstones.raw_bytes(self.entries)
    }

    /// Whether the block has reached [`BLOCK_BYTES_MAX`].
    #[inline]
    pub fn is_full(&self) -> bool {
        self.raw_bytes() >= BLOCK_BYTES_MAX
    }

    /// Removes all entries; keeps the memory.
    pub fn clear(&mut self) {
        self.entries = 0;
        self.keys.clear();
        self.values.clear();
        self.tombstones.bits.clear();
        self.tombstones.count = 0;
    }

    /// Bytes of all keys and values.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes.len() + self.values.bytes.len()
    }

    /// The entries in the order in which they were pushed; `None` is a tombstone.
    pub fn iter(&self) -> Entries<'_> {
        Entries { block: self, at: 0, live: 0, key_start: 0, value_start: 0 }
    }
}

impl<'a> IntoIterator for &'a EntryBlock {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// Says how much there is; the bytes are the user's.
impl fmt::Debug for EntryBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryBlock")
            .field("entries", &self.entries)
            .field("tombstones", &self.tombstones.count)
            .field("raw_bytes", &self.raw_bytes())
            .finish_non_exhaustive()
    }
}

impl Column {
    fn raw_bytes(&self) -> usize {
        match &self.lengths {
            Lengths::Same(_) => self.bytes.len(),
            Lengths::Each(lengths) => self.bytes.len() + 4 * lengths.len(),
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lengths = Lengths::default();
    }
}

impl Lengths {
    #[inline]
    fn push(&mut self, length: u32, count: usize) {
        match self {
            Lengths::Same(all) if *all == length => {}
            Lengths::Same(all) if count == 0 => *all = length,
            Lengths::Same(all) => *self = Lengths::differing(*all, count, length),
            Lengths::Each(lengths) => lengths.push(length),
        }
    }

    /// `count` times `all`, then another.
    #[cold]
    fn differing(all: u32, count: usize, other: u32) -> Lengths {
        let mut lengths = vec![all; count];
        lengths.push(other);
        Lengths::Each(lengths)
    }

    #[inline]
    fn get(&self, at: usize) -> usize {
        match self {
            Lengths::Same(all) => *all as usize,
            Lengths::Each(lengths) => lengths[at] as usize,
        }
    }
}

impl Tombstones {
    fn set(&mut self, at: usize) {
        if self.bits.len() <= at / 8 {
            self.bits.resize(at / 8 + 1, 0);
        }
        self.bits[at / 8] |= 1 << (at % 8);
        self.count += 1;
    }

    /// Whether entry `at` is one.
    #[inline]
    fn get(&self, at: usize) -> bool {
        // Bits are only as many as the last tombstone needs.
        self.count > 0 && self.bits.get(at / 8).is_some_and(|bits| bits >> (at % 8) & 1 == 1)
    }

    fn raw_bytes(&self, entries: usize) -> usize {
        if self.count == 0 { 0 } else { entries.div_ceil(8) }
    }
}

/// Iterator over the entries of an [`EntryBlock`].
#[derive(Debug)]
pub struct Entries<'a> {
    block: &'a EntryBlock,
    at: usize,
    live: usize,
    key_start: usize,
    value_start: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let block = self.block;
        if self.at == block.entries {
            return None;
        }
        let key_end = self.key_start + block.keys.lengths.get(self.at);
        let key = &block.keys.bytes[self.key_start..key_end];
        self.key_start = key_end;

        let value = if block.tombstones.get(self.at) {
            None
        } else {
            let value_end = self.value_start + block.values.lengths.get(self.live);
            let value = &block.values.bytes[self.value_start..value_end];
            self.value_start = value_end;
            self.live += 1;
            Some(value)
        };
        self.at += 1;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.block.entries - self.at;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Entries<'_> {}
