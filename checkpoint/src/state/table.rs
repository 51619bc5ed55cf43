//! Keyed entries in memory that know which of them changed in the running epoch.
//!
//! One [`HashTable`] per key group, with an epoch *stamp* in the padding beside each entry's tag. A
//! record costs one compare more than it would without checkpoints. The table's control bytes, one
//! an entry, stay in the cache; they say where the entry is, which is asked for ahead of time.
//!
//! ```text
//!   bucket [ tag | stamp | key | value ]        stamp == running: changed in the running epoch
//!
//!   seal   0 .......... cursor .............. end
//!          captured     |  captured when scanned, or when touched, whichever comes first
//! ```
//!
//! [`KeyedTable::begin_seal`] is constant work: it moves the running stamp on. From then the table
//! is scanned in slices between batches, and an entry that is touched ahead of the cursor is
//! captured first. So no seal stops a worker for longer than one slice, and what is captured is
//! the state at the moment of `begin_seal`.
//!
//! A capture *encodes* the entry. That is as cheap as the copy it replaces (bincode of two `u64`:
//! 1.2 ns; cloning a `String` key allocates) and leaves no typed value to be dropped elsewhere.
//! Compression, checksums and the upload happen off the worker's thread.
//!
//! # Invariants
//!
//! * **T1** Entries move only when their group grows, and a group grows only when it is wholly
//!   ahead of the cursor or wholly behind it (`grow` finishes a half-scanned group first).
//! * **T2** A removed entry stays as a tombstone until a delta holds it.
//! * **T3** Each entry is captured at most once a seal: a capture on touch gives it the running
//!   stamp, which the scan passes over.

use std::marker::PhantomData;
use std::ops::Range;

use hashbrown::HashTable;

use super::prefetch::prefetch;
use super::{Codec, KeyGroups};
use crate::error::BoxError;
use crate::metadata::SegmentKind;
use crate::segment::{BLOCK_BYTES_MAX, EntryBlock};

/// Keyed state of one operator on one worker. See the module.
pub struct KeyedTable<K, V, C> {
    key_groups: KeyGroups,
    first_group: u16,
    groups: Vec<Group<K, V>>,
    /// Stamp of the running epoch; entries restored have 0.
    stamp: u32,
    changed: u64,
    live: u64,
    seal: Option<Seal>,
    spare: Spare,
    codec: PhantomData<fn() -> C>,
}

type Group<K, V> = HashTable<Entry<K, V>>;

enum Entry<K, V> {
    Live { stamp: u32, key: K, value: V },
    Dead { stamp: u32, key: K },
}

impl<K, V> Entry<K, V> {
    fn key(&self) -> &K {
        match self {
            Entry::Live { key, .. } | Entry::Dead { key, .. } => key,
        }
    }
}

/// A seal under way.
struct Seal {
    kind: SegmentKind,
    /// Stamp of the epoch that is being sealed.
    stamp: u32,
    group: usize,
    slot: usize,
    /// What is captured and not handed out, per group.
    captured: Vec<Vec<EntryBlock>>,
    spare: Spare,
    /// The first failure of an encoding; reported by the next slice.
    failed: Option<BoxError>,
}

/// Where a key is, as far as its hash alone can tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    group: u32,
    low: u32,
    bucket: usize,
}

/// A place in a table, for [`KeyedTable::scan`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    group: usize,
    slot: usize,
}

/// Blocks whose memory is used again: to touch fresh pages is most of what a capture would cost.
#[derive(Default)]
struct Spare {
    blocks: Vec<(EntryBlock, usize)>,
    bytes: usize,
}

/// Bytes of blocks that are kept for the next captures, of one operator on one worker. Writing keeps
/// up with capturing, so a few blocks go round; a large state must not hold as many as it has.
const SPARE_BYTES_MAX: usize = 16 << 20;

impl Spare {
    fn put(&mut self, mut block: EntryBlock) {
        let bytes = block.raw_bytes();
        if self.bytes + bytes <= SPARE_BYTES_MAX {
            block.clear();
            self.bytes += bytes;
            self.blocks.push((block, bytes));
        }
    }

    fn take(&mut self) -> EntryBlock {
        let Some((block, bytes)) = self.blocks.pop() else { return EntryBlock::new() };
        self.bytes -= bytes;
        block
    }
}

/// What a slice of a seal left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealSlice {
    /// Call again.
    More,
    /// Every change of the sealed epoch was handed out.
    Done,
}

/// A delta with this share of all entries or more is written as a base instead: the bytes are at
/// most a third more, and everything older becomes garbage without being folded.
const BASE_ABOVE_CHANGED: (u64, u64) = (3, 4);

/// What the table of a group is given as the hash: it looks at the lowest bits and at the highest,
/// and the high half of ours is nearly the same throughout a group.
#[inline]
fn within_group(low: u32) -> u64 {
    u64::from(low) << 32 | u64::from(low)
}

fn hash_of<K: std::hash::Hash, V>(entry: &Entry<K, V>) -> u64 {
    within_group(super::stable_hash(entry.key()) as u32)
}

impl Seal {
    #[inline]
    fn is_behind(&self, group: usize, slot: usize) -> bool {
        (group, slot) < (self.group, self.slot)
    }

    fn wants(&self, stamp: u32) -> bool {
        match self.kind {
            SegmentKind::Delta => stamp == self.stamp,
            SegmentKind::Base => stamp <= self.stamp,
        }
    }

    fn capture<K, V, C: Codec<K> + Codec<V>>(&mut self, group: usize, key: &K, value: Option<&V>) {
        let blocks = &mut self.captured[group];
        if blocks.last().is_none_or(|block| block.raw_bytes() >= BLOCK_BYTES_MAX) {
            blocks.push(self.spare.take());
        }
        let block = blocks.last_mut().expect("one was pushed if there was none");
        let encode_key = |bytes: &mut Vec<u8>| <C as Codec<K>>::encode(key, bytes);
        let pushed = match value {
            Some(value) => block.push(encode_key, |bytes| <C as Codec<V>>::encode(value, bytes)),
            None => block.push_tombstone(encode_key),
        };
        if let Err(error) = pushed {
            self.failed.get_or_insert(error);
        }
    }

    /// An entry with another stamp than the running one is about to change.
    #[cold]
    #[inline(never)]
    fn before_change<K, V, C: Codec<K> + Codec<V>>(
        &mut self,
        (group, slot): (usize, usize),
        stamp: u32,
        key: &K,
        value: Option<&V>,
    ) {
        if !self.is_behind(group, slot) && self.wants(stamp) {
            // A base needs no tombstones.
            if value.is_some() || self.kind == SegmentKind::Delta {
                self.capture::<K, V, C>(group, key, value);
            }
        }
    }
}

impl<K, V, C> KeyedTable<K, V, C>
where
    K: Eq + std::hash::Hash,
    C: Codec<K> + Codec<V>,
{
    /// An empty table for the groups `owned`.
    pub fn new(key_groups: KeyGroups, owned: Range<u16>) -> Self {
        KeyedTable {
            key_groups,
            first_group: owned.start,
            groups: owned.map(|_| HashTable::new()).collect(),
            stamp: 1,
            changed: 0,
            live: 0,
            seal: None,
            spare: Spare::default(),
            codec: PhantomData,
        }
    }

    /// Number of live entries.
    pub fn len(&self) -> u64 {
        self.live
    }

    /// Whether there is no live entry.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Bytes that the tables take; what keys and values own on the heap is not counted.
    pub fn memory_bytes(&self) -> usize {
        self.groups.iter().map(HashTable::allocation_size).sum()
    }

    /// The groups that the table holds.
    pub fn owned_groups(&self) -> Range<u16> {
        self.first_group..self.first_group + self.groups.len() as u16
    }

    #[inline]
    fn group_of(&self, hash: u64) -> usize {
        usize::from(self.key_groups.of_hash(hash) - self.first_group)
    }

    /// Where a key with this [`stable_hash`](super::stable_hash) is, if it is there; the key lies
    /// in an owned group. Asks for its memory, without waiting for it.
    ///
    /// The cost of a record is one cache miss. Called for a whole batch first, the misses overlap.
    #[inline]
    pub fn place(&self, hash: u64) -> Place {
        let (group, low) = (self.group_of(hash), hash as u32);
        let table = &self.groups[group];
        // By its control byte alone: one time in a hundred it is another's.
        let bucket = table.find_bucket_index(within_group(low), |_| true).unwrap_or(usize::MAX);
        if let Some(entry) = table.get_bucket(bucket) {
            prefetch(entry);
        }
        Place { group: group as u32, low, bucket }
    }

    /// Applies `change` to the value of `key`, which is made by `init` if there is none.
    ///
    /// `hash` is the [`stable_hash`](super::stable_hash) of `key`, which lies in an owned group.
    #[inline]
    pub fn update<R>(
        &mut self,
        hash: u64,
        key: K,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&K, &mut V) -> R,
    ) -> R {
        self.update_at(self.place(hash), key, init, change)
    }

    /// As [`update`](Self::update), for a key whose place is known.
    #[inline]
    pub fn update_at<R>(
        &mut self,
        place: Place,
        key: K,
        init: impl FnOnce() -> V,
        change: impl FnOnce(&K, &mut V) -> R,
    ) -> R {
        let at = place.group as usize;
        let there = self.groups[at].get_bucket(place.bucket);
        let bucket = match there {
            Some(Entry::Live { key: there, .. }) if *there == key => place.bucket,
            _ => self.live(place, &key).unwrap_or_else(|| self.insert(place, key, init())),
        };
        let (stamp, seal, changed) = (self.stamp, &mut self.seal, &mut self.changed);
        let Some(Entry::Live { stamp: old, key, value }) = self.groups[at].get_bucket_mut(bucket)
        else {
            unreachable!("the entry was found or inserted there")
        };
        if *old != stamp {
            if let Some(seal) = seal {
                seal.before_change::<K, V, C>((at, bucket), *old, key, Some(value));
            }
            *old = stamp;
            *changed += 1;
        }
        change(key, value)
    }

    /// The bucket of `key`, if it is live.
    fn live(&self, place: Place, key: &K) -> Option<usize> {
        let is_it = |entry: &Entry<K, V>| matches!(entry, Entry::Live { key: k, .. } if k == key);
        self.groups[place.group as usize].find_bucket_index(within_group(place.low), is_it)
    }

    /// The value of `key`.
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        let place = self.place(hash);
        match self.groups[place.group as usize].get_bucket(self.live(place, key)?) {
            Some(Entry::Live { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, hash: u64, key: K) -> Option<V> {
        let place = self.place(hash);
        let bucket = self.live(place, &key)?;
        let at = place.group as usize;
        let entry = self.groups[at].get_bucket_mut(bucket)?;
        let dead = Entry::Dead { stamp: self.stamp, key };
        let Entry::Live { stamp, key, value } = std::mem::replace(entry, dead) else {
            unreachable!("the search was for live entries")
        };
        if stamp != self.stamp {
            if let Some(seal) = &mut self.seal {
                seal.before_change::<K, V, C>((at, bucket), stamp, &key, Some(&value));
            }
            self.changed += 1;
        }
        self.live -= 1;
        Some(value)
    }

    /// Puts an entry back that a segment holds; it does not count as changed. `None` is a
    /// tombstone of a delta: the entry that an older segment had is dropped.
    pub fn restore(&mut self, hash: u64, key: K, value: Option<V>) {
        let stamp = std::mem::replace(&mut self.stamp, 0);
        let place = self.place(hash);
        match (value, self.live(place, &key)) {
            (Some(new), Some(bucket)) => {
                let entry = self.groups[place.group as usize].get_bucket_mut(bucket);
                if let Some(Entry::Live { value, .. }) = entry {
                    *value = new;
                }
            }
            (Some(new), None) => drop(self.insert(place, key, new)),
            (None, _) => drop(self.remove(hash, key)),
        }
        self.stamp = stamp;
        self.changed = 0;
    }

    /// Makes room for `entries` more in `group`.
    pub fn reserve(&mut self, group: u16, entries: usize) {
        self.groups[usize::from(group - self.first_group)].reserve(entries, hash_of);
    }

    /// All live entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.groups.iter().flat_map(HashTable::iter).filter_map(|entry| match entry {
            Entry::Live { key, value, .. } => Some((key, value)),
            Entry::Dead { .. } => None,
        })
    }

    /// Visits the live entries in the next `slots` buckets from `cursor` on, and moves it; returns
    /// whether there are more. Nothing may change between two calls of one scan.
    pub fn scan(
        &self,
        cursor: &mut Cursor,
        mut slots: usize,
        mut visit: impl FnMut(&K, &V),
    ) -> bool {
        while let Some(group) = self.groups.get(cursor.group) {
            let end = cursor.slot.saturating_add(slots).min(group.num_buckets());
            for bucket in cursor.slot..end {
                if let Some(Entry::Live { key, value, .. }) = group.get_bucket(bucket) {
                    visit(key, value);
                }
            }
            slots -= end - cursor.slot;
            if end < group.num_buckets() {
                cursor.slot = end;
                return true;
            }
            *cursor = Cursor { group: cursor.group + 1, slot: 0 };
        }
        false
    }

    /// Puts an entry where there is no live one with its key, and returns its bucket.
    #[inline(never)]
    fn insert(&mut self, place: Place, key: K, value: V) -> usize {
        let at = place.group as usize;
        if self.groups[at].len() == self.groups[at].capacity() {
            self.grow(at);
        }
        let (hash, stamp) = (within_group(place.low), self.stamp);
        self.live += 1;
        let dead = self.groups[at].find_bucket_index(hash, |entry| *entry.key() == key);
        let entry = Entry::Live { stamp, key, value };
        let Some(bucket) = dead else {
            self.changed += 1;
            return self.groups[at].insert_unique(hash, entry, hash_of).bucket_index();
        };
        if let Some(there) = self.groups[at].get_bucket_mut(bucket) {
            if let Entry::Dead { stamp: old, key } = there
                && *old != stamp
            {
                if let Some(seal) = &mut self.seal {
                    seal.before_change::<K, V, C>((at, bucket), *old, key, None);
                }
                self.changed += 1;
            }
            *there = entry;
        }
        bucket
    }

    fn grow(&mut self, at: usize) {
        // T1: entries must not move under the cursor.
        if self.seal.as_ref().is_some_and(|seal| seal.group == at && seal.slot > 0) {
            self.scan_group(usize::MAX);
            if let Some(seal) = &mut self.seal {
                // Behind the cursor whatever size it grows to.
                seal.slot = usize::MAX;
            }
        }
        // T2: a tombstone is dropped when no seal, under way or to come, will ask for it.
        let (running, seal) = (self.stamp, self.seal.as_ref());
        self.groups[at].retain(|entry| match entry {
            Entry::Live { .. } => true,
            Entry::Dead { stamp, .. } => {
                *stamp == running || seal.is_some_and(|seal| seal.wants(*stamp))
            }
        });
        self.groups[at].reserve(1, hash_of);
    }

    /// Whether a seal is under way.
    pub fn is_sealing(&self) -> bool {
        self.seal.is_some()
    }

    /// Ends the running epoch: what changed in it is handed out by [`seal_slice`](Self::seal_slice)
    /// from now on. Returns what kind of segment that makes. Constant work.
    ///
    /// # Panics
    ///
    /// If the previous seal is not done.
    pub fn begin_seal(&mut self) -> SegmentKind {
        assert!(self.seal.is_none(), "a seal is under way");
        let (part, whole) = BASE_ABOVE_CHANGED;
        let kind = if self.changed * whole >= self.live * part && self.live > 0 {
            SegmentKind::Base
        } else {
            SegmentKind::Delta
        };
        self.seal = Some(Seal {
            kind,
            stamp: self.stamp,
            group: 0,
            slot: 0,
            captured: self.groups.iter().map(|_| Vec::new()).collect(),
            spare: std::mem::take(&mut self.spare),
            failed: None,
        });
        self.stamp = self.stamp.checked_add(1).expect("2^32 epochs of one run");
        self.changed = 0;
        kind
    }

    /// Takes back a block that was handed out and is written: its memory serves for a later one.
    pub fn recycle(&mut self, block: EntryBlock) {
        let spare = match &mut self.seal {
            Some(seal) => &mut seal.spare,
            None => &mut self.spare,
        };
        spare.put(block);
    }

    /// Scans up to `slots` buckets on, handing out each group's entries when the group is done, in
    /// the order of groups.
    ///
    /// # Errors
    ///
    /// If an entry could not be encoded. The seal cannot be completed then.
    ///
    /// # Panics
    ///
    /// If no seal is under way.
    pub fn seal_slice(
        &mut self,
        slots: usize,
        mut out: impl FnMut(u16, EntryBlock),
    ) -> Result<SealSlice, BoxError> {
        let mut left = slots;
        loop {
            let seal = self.seal.as_mut().expect("a seal is under way");
            if let Some(error) = seal.failed.take() {
                return Err(error);
            }
            if seal.group == self.groups.len() {
                self.spare = std::mem::take(&mut seal.spare);
                self.seal = None;
                return Ok(SealSlice::Done);
            }
            if seal.slot >= self.groups[seal.group].num_buckets() {
                let group = self.first_group + seal.group as u16;
                let blocks = std::mem::take(&mut seal.captured[seal.group]);
                seal.group += 1;
                seal.slot = 0;
                for block in blocks {
                    out(group, block);
                }
                // An empty group costs a little as well: a worker may own thousands.
                left = left.saturating_sub(16);
            } else {
                let from = seal.slot;
                self.scan_group(left);
                left -= self.seal.as_ref().map_or(0, |seal| seal.slot - from);
            }
            if left == 0 {
                return Ok(SealSlice::More);
            }
        }
    }

    /// Captures from the cursor on within its group, at most `slots` buckets.
    fn scan_group(&mut self, slots: usize) {
        let Some(seal) = &mut self.seal else { return };
        let group = &self.groups[seal.group];
        let end = seal.slot.saturating_add(slots).min(group.num_buckets());
        for bucket in seal.slot..end {
            match group.get_bucket(bucket) {
                Some(Entry::Live { stamp, key, value }) if seal.wants(*stamp) => {
                    seal.capture::<K, V, C>(seal.group, key, Some(value));
                }
                Some(Entry::Dead { stamp, key })
                    if seal.kind == SegmentKind::Delta && seal.wants(*stamp) =>
                {
                    seal.capture::<K, V, C>(seal.group, key, None);
                }
                _ => {}
            }
        }
        seal.slot = end.max(seal.slot);
    }
}

impl<K, V, C> std::fmt::Debug for KeyedTable<K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedTable")
            .field("groups", &self.groups.len())
            .field("live", &self.live)
            .field("changed", &self.changed)
            .field("sealing", &self.seal.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
