//! Keyed entries in memory that know which of them changed in the running epoch.
//!
//! One open-addressing table per key group, linear probing, with an epoch *stamp* in the padding
//! beside each entry's tag. A record costs one compare more than it would without checkpoints.
//!
//! ```text
//!   slot   [ tag | stamp | key | value ]        stamp == running: changed in the running epoch
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
    codec: PhantomData<fn() -> C>,
}

struct Group<K, V> {
    slots: Box<[Slot<K, V>]>,
    /// Slots that are not empty.
    used: usize,
}

enum Slot<K, V> {
    Empty,
    Live { stamp: u32, key: K, value: V },
    Dead { stamp: u32, key: K },
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
    /// The first failure of an encoding; reported by the next slice.
    failed: Option<BoxError>,
}

/// A place in a table, for [`KeyedTable::scan`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    group: usize,
    slot: usize,
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

impl<K, V> Group<K, V> {
    fn find(&self, hash: u64, wanted: &K) -> Probe
    where
        K: Eq,
    {
        let capacity = self.slots.len();
        let mut at = home(hash, capacity);
        loop {
            match &self.slots[at] {
                Slot::Live { key, .. } if key == wanted => return Probe::Live(at),
                Slot::Empty => return Probe::Absent(at),
                Slot::Dead { key, .. } if key == wanted => return Probe::Dead(at),
                _ => {}
            }
            at += 1;
            if at == capacity {
                at = 0;
            }
        }
    }

    /// Whether one more entry would fill the group over two thirds: above that a search goes past
    /// one slot more often than not.
    fn is_full(&self) -> bool {
        (self.used + 1) * 3 > self.slots.len() * 2
    }
}

enum Probe {
    Live(usize),
    Dead(usize),
    Absent(usize),
}

/// Where the probe for `hash` begins: order-preserving in the hash's low bits, so that growing
/// reads and writes sequentially, and any capacity will do.
#[inline]
fn home(hash: u64, capacity: usize) -> usize {
    ((u64::from(hash as u32) * capacity as u64) >> 32) as usize
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
            blocks.push(EntryBlock::new());
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
            groups: owned.map(|_| Group { slots: Box::new([]), used: 0 }).collect(),
            stamp: 1,
            changed: 0,
            live: 0,
            seal: None,
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

    /// Bytes that the table's slots take; what keys and values own on the heap is not counted.
    pub fn memory_bytes(&self) -> usize {
        self.groups.iter().map(|group| group.slots.len() * size_of::<Slot<K, V>>()).sum()
    }

    /// The groups that the table holds.
    pub fn owned_groups(&self) -> Range<u16> {
        self.first_group..self.first_group + self.groups.len() as u16
    }

    #[inline]
    fn group_of(&self, hash: u64) -> usize {
        usize::from(self.key_groups.of_hash(hash) - self.first_group)
    }

    /// Asks for the memory where the search for `hash` will begin, without waiting for it.
    ///
    /// The cost of a record is one cache miss. Called for a whole batch first, the misses overlap.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let slots = &self.groups[self.group_of(hash)].slots;
        prefetch(slots, home(hash, slots.len()));
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
        let at = self.group_of(hash);
        let group = &mut self.groups[at];
        if !group.slots.is_empty()
            && let Probe::Live(slot) = group.find(hash, &key)
            && let Slot::Live { stamp, key, value } = &mut group.slots[slot]
        {
            if *stamp != self.stamp {
                if let Some(seal) = &mut self.seal {
                    seal.before_change::<K, V, C>((at, slot), *stamp, key, Some(value));
                }
                *stamp = self.stamp;
                self.changed += 1;
            }
            return change(key, value);
        }
        let slot = self.insert(at, hash, key, init());
        match &mut self.groups[at].slots[slot] {
            Slot::Live { key, value, .. } => change(key, value),
            _ => unreachable!("insert returns the slot of a live entry"),
        }
    }

    /// The value of `key`.
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        let group = &self.groups[self.group_of(hash)];
        if group.slots.is_empty() {
            return None;
        }
        match group.find(hash, key) {
            Probe::Live(slot) => match &group.slots[slot] {
                Slot::Live { value, .. } => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let at = self.group_of(hash);
        let group = &mut self.groups[at];
        if group.slots.is_empty() {
            return None;
        }
        let Probe::Live(slot) = group.find(hash, key) else { return None };
        let old = std::mem::replace(&mut group.slots[slot], Slot::Empty);
        let Slot::Live { stamp, key, value } = old else {
            unreachable!("find said that the entry is live")
        };
        if stamp != self.stamp {
            if let Some(seal) = &mut self.seal {
                seal.before_change::<K, V, C>((at, slot), stamp, &key, Some(&value));
            }
            self.changed += 1;
        }
        group.slots[slot] = Slot::Dead { stamp: self.stamp, key };
        self.live -= 1;
        Some(value)
    }

    /// Puts an entry back that a segment holds; it does not count as changed. `None` is a
    /// tombstone of a delta: the entry that an older segment had is dropped.
    pub fn restore(&mut self, hash: u64, key: K, value: Option<V>) {
        let stamp = std::mem::replace(&mut self.stamp, 0);
        match value {
            Some(value) => {
                let mut value = Some(value);
                let mut make = || value.take().expect("init and change do not both run");
                let at = self.group_of(hash);
                let group = &mut self.groups[at];
                match (!group.slots.is_empty()).then(|| group.find(hash, &key)) {
                    Some(Probe::Live(slot)) => {
                        if let Slot::Live { value, .. } = &mut group.slots[slot] {
                            *value = make();
                        }
                    }
                    _ => {
                        self.insert(at, hash, key, make());
                    }
                }
            }
            None => drop(self.remove(hash, &key)),
        }
        self.stamp = stamp;
        self.changed = 0;
    }

    /// Makes room for `entries` more in `group`.
    pub fn reserve(&mut self, group: u16, entries: usize) {
        let at = usize::from(group - self.first_group);
        let wanted = (self.groups[at].used + entries).div_ceil(2) * 3 + 4;
        if wanted > self.groups[at].slots.len() {
            self.rebuild(at, wanted);
        }
    }

    /// All live entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.groups.iter().flat_map(|group| group.slots.iter()).filter_map(|slot| match slot {
            Slot::Live { key, value, .. } => Some((key, value)),
            _ => None,
        })
    }

    /// Visits the live entries in the next `slots` slots from `cursor` on, and moves it; returns
    /// whether there are more. Nothing may change between two calls of one scan.
    pub fn scan(
        &self,
        cursor: &mut Cursor,
        mut slots: usize,
        mut visit: impl FnMut(&K, &V),
    ) -> bool {
        while let Some(group) = self.groups.get(cursor.group) {
            let end = cursor.slot.saturating_add(slots).min(group.slots.len());
            for slot in &group.slots[cursor.slot..end] {
                if let Slot::Live { key, value, .. } = slot {
                    visit(key, value);
                }
            }
            slots -= end - cursor.slot;
            if end < group.slots.len() {
                cursor.slot = end;
                return true;
            }
            *cursor = Cursor { group: cursor.group + 1, slot: 0 };
        }
        false
    }

    /// Puts a new entry into group `at` and returns its slot.
    #[inline(never)]
    fn insert(&mut self, at: usize, hash: u64, key: K, value: V) -> usize {
        if self.groups[at].is_full() {
            self.grow(at);
        }
        let stamp = self.stamp;
        let mut is_change = true;
        let group = &mut self.groups[at];
        let slot = match group.find(hash, &key) {
            Probe::Absent(slot) => {
                group.used += 1;
                slot
            }
            Probe::Dead(slot) => {
                if let Slot::Dead { stamp: old, key } = &group.slots[slot] {
                    is_change = *old != stamp;
                    if is_change && let Some(seal) = &mut self.seal {
                        seal.before_change::<K, V, C>((at, slot), *old, key, None);
                    }
                }
                slot
            }
            Probe::Live(_) => unreachable!("insert is called for keys that are not live"),
        };
        group.slots[slot] = Slot::Live { stamp, key, value };
        self.live += 1;
        self.changed += u64::from(is_change);
        slot
    }

    fn grow(&mut self, at: usize) {
        // T1: slots must not move under the cursor.
        if self.seal.as_ref().is_some_and(|seal| seal.group == at && seal.slot > 0) {
            self.scan_group(usize::MAX);
            if let Some(seal) = &mut self.seal {
                // Behind the cursor whatever size it grows to.
                seal.slot = usize::MAX;
            }
        }
        let capacity = self.groups[at].slots.len();
        let keep = self.groups[at].slots.iter().filter(|slot| self.is_kept(slot)).count();
        // Half as many again rather than twice: at its emptiest a group is 4/9 full.
        let grown = if keep * 2 > capacity { capacity + capacity / 2 } else { capacity };
        self.rebuild(at, grown.max(8));
    }

    /// T2: a tombstone is dropped when no seal, under way or to come, will ask for it.
    fn is_kept(&self, slot: &Slot<K, V>) -> bool {
        match slot {
            Slot::Empty => false,
            Slot::Live { .. } => true,
            Slot::Dead { stamp, .. } => {
                *stamp == self.stamp || self.seal.as_ref().is_some_and(|seal| seal.wants(*stamp))
            }
        }
    }

    fn rebuild(&mut self, at: usize, capacity: usize) {
        let empty: Box<[Slot<K, V>]> = (0..capacity).map(|_| Slot::Empty).collect();
        let old = std::mem::replace(&mut self.groups[at].slots, empty);
        let mut used = 0;
        for slot in old {
            if !self.is_kept(&slot) {
                continue;
            }
            let hash = match &slot {
                Slot::Live { key, .. } | Slot::Dead { key, .. } => super::stable_hash(key),
                Slot::Empty => continue,
            };
            let slots = &mut self.groups[at].slots;
            let mut to = home(hash, capacity);
            while !matches!(slots[to], Slot::Empty) {
                to = if to + 1 == capacity { 0 } else { to + 1 };
            }
            slots[to] = slot;
            used += 1;
        }
        self.groups[at].used = used;
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
            failed: None,
        });
        self.stamp = self.stamp.checked_add(1).expect("2^32 epochs of one run");
        self.changed = 0;
        kind
    }

    /// Scans up to `slots` slots on, handing out each group's entries when the group is done, in
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
                self.seal = None;
                return Ok(SealSlice::Done);
            }
            if seal.slot >= self.groups[seal.group].slots.len() {
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

    /// Captures from the cursor on within its group, at most `slots` slots.
    fn scan_group(&mut self, slots: usize) {
        let Some(seal) = &mut self.seal else { return };
        let group = &self.groups[seal.group].slots;
        let end = seal.slot.saturating_add(slots).min(group.len());
        for slot in group.get(seal.slot..end).unwrap_or_default() {
            match slot {
                Slot::Live { stamp, key, value } if seal.wants(*stamp) => {
                    seal.capture::<K, V, C>(seal.group, key, Some(value));
                }
                Slot::Dead { stamp, key }
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
