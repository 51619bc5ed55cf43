//! Keyed entries in memory that know which of them changed in the running epoch.
//!
//! Hash tables of bounded size ([`Parts`]), with an epoch *stamp* in the padding beside each entry's
//! tag, and a bit for each bucket that changed. A record costs one compare more than it would
//! without checkpoints. A table's control bytes, one an entry, stay in the cache; they say where the
//! entry is, which is asked for ahead of time.
//!
//! ```text
//!   bucket [ tag | stamp | key | value ]        stamp == running: changed in the running epoch
//!
//!   seal   0 .......... cursor .............. end         of the changed buckets, or of all
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
//! * **T1** Entries move only when their part grows, and a part grows only when it is wholly
//!   captured or not captured at all (`grow` finishes a half-scanned part first).
//! * **T2** A removed entry stays as a tombstone until a seal has come by: then a delta holds it, or a
//!   base hides what it was for. One that was new in the running epoch ([`NEW`]) leaves nothing: no
//!   segment says anything of it that a tombstone would have to hide.
//! * **T3** Each entry is captured at most once a seal: a capture on touch gives it the running
//!   stamp, which the scan passes over.
//! * **T4** The bit of a bucket is set if its entry changed and is not captured.
//! * **T5** The digest of a seal is that of the entries at the moment of `begin_seal`: an entry
//!   is taken off when it is first touched in an epoch, and added when it is captured; of what is captured
//!   both are done for a block at once, before it is handed out.

use std::marker::PhantomData;
use std::ops::Range;

use super::changes::{Changes, wanted_bytes};
use super::parts::{Parts, within_part};
use super::prefetch::prefetch;
use super::{Codec, KeyGroups, StateDigest, stable_hash};
use crate::error::BoxError;
use crate::metadata::SegmentKind;
use crate::segment::EntryBlock;

/// Keyed state of one operator on one worker. See the module.
pub struct KeyedTable<K, V, C> {
    pub(super) parts: Parts<Entry<K, V>>,
    pub(super) placement: Placement<K>,
    pub(super) changes: Changes,
    pub(super) live: u64,
    /// The next seal is a base, whatever changed.
    rewrite: bool,
    codec: PhantomData<fn() -> C>,
}

pub(super) enum Entry<K, V> {
    Live { stamp: u32, key: K, value: V },
    Dead { stamp: u32, key: K },
}

/// Set in the stamp of an entry that was put where there was nothing with its key, until it changes in
/// a later epoch.
pub(super) const NEW: u32 = 1 << 31;

/// The epoch of a stamp.
#[inline]
pub(super) fn epoch_of(stamp: u32) -> u32 {
    stamp & !NEW
}

impl<K, V> Entry<K, V> {
    pub(super) fn key(&self) -> &K {
        match self {
            Entry::Live { key, .. } | Entry::Dead { key, .. } => key,
        }
    }

    fn epoch(&self) -> u32 {
        match self {
            Entry::Live { stamp, .. } | Entry::Dead { stamp, .. } => epoch_of(*stamp),
        }
    }

    fn into_live(self) -> Option<(K, V)> {
        match self {
            Entry::Live { key, value, .. } => Some((key, value)),
            Entry::Dead { .. } => None,
        }
    }
}

/// Where a key is, as far as its hash alone can tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub(super) hash: u64,
    pub(super) part: u32,
    /// That of an entry whose hash is alike; beyond all where there is none.
    pub(super) bucket: u32,
}

impl Place {
    /// Where nothing is known to be.
    pub(crate) fn of_hash(hash: u64) -> Place {
        Place { hash, part: 0, bucket: u32::MAX }
    }

    pub(crate) fn hash(self) -> u64 {
        self.hash
    }

    /// Whether there was no entry whose hash is alike.
    pub(crate) fn is_nowhere(self) -> bool {
        self.bucket == u32::MAX
    }
}

/// A place in a table, for [`KeyedTable::scan`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    part: usize,
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

/// Entries that take no more than this are in the cache: half of what second-level caches have, or less.
const CACHED_BYTES: usize = 256 << 10;

/// A delta with this share of all entries or more is written as a base instead: the bytes are at
/// most a quarter more, and everything older becomes garbage without being folded.
const BASE_ABOVE_CHANGED: (u64, u64) = (4, 5);

/// The hash by which keys are placed, if it is not their own. It may be in another place of the
/// group, for another number of groups, but must be in the group.
pub(super) struct Placement<K> {
    key_groups: KeyGroups,
    hash: Option<fn(&K, KeyGroups) -> u64>,
}

impl<K> Clone for Placement<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Placement<K> {}

impl<K: std::hash::Hash> Placement<K> {
    #[inline]
    pub(super) fn of(self, key: &K) -> u64 {
        match self.hash {
            None => stable_hash(key),
            Some(hash) => hash(key, self.key_groups),
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
        Self::placed(Placement { key_groups, hash: None }, owned)
    }

    /// As [`new`](Self::new), of keys that are placed by `hash` in place of their
    /// [`stable_hash`](super::stable_hash).
    pub fn placed_by(
        key_groups: KeyGroups,
        owned: Range<u16>,
        hash: fn(&K, KeyGroups) -> u64,
    ) -> Self {
        Self::placed(Placement { key_groups, hash: Some(hash) }, owned)
    }

    fn placed(placement: Placement<K>, owned: Range<u16>) -> Self {
        KeyedTable {
            parts: Parts::new(placement.key_groups, owned),
            placement,
            changes: Changes::new(),
            live: 0,
            rewrite: false,
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
        self.parts.iter().map(|part| part.entries.allocation_size() + 8 * part.changed.len()).sum()
    }

    /// The key groups of the job.
    pub fn key_groups(&self) -> KeyGroups {
        self.parts.key_groups()
    }

    /// The groups that the table holds.
    pub fn owned_groups(&self) -> Range<u16> {
        self.parts.owned().clone()
    }

    /// The hash by which `key` is placed, which the other methods ask for.
    #[inline]
    pub fn hash_of(&self, key: &K) -> u64 {
        self.placement.of(key)
    }

    /// The digest of all live entries at the moment of the last `begin_seal`, or as they were
    /// restored if there was none; none while a seal is under way, and from the restore of entries
    /// that do not encode to the bytes that they came from to the next base. Never for a codec that
    /// is not [canonical](Codec::IS_CANONICAL).
    pub fn digest(&self) -> Option<StateDigest> {
        self.changes.digest().filter(|_| <C as Codec<V>>::IS_CANONICAL)
    }

    /// Where a key with this [hash](Self::hash_of) is, if it is there; the key lies in an owned group.
    /// Asks for its memory, without waiting for it.
    ///
    /// The cost of a record is a cache miss or two. Called for a whole batch first, the misses overlap.
    #[inline]
    pub fn place(&self, hash: u64) -> Place {
        let mut place = Place { hash, part: self.parts.of_hash(hash) as u32, bucket: u32::MAX };
        self.locate(&mut place);
        place
    }

    /// The first half of [`place`](Self::place), for who has many to place: asks for what the second
    /// half reads, without waiting for it.
    #[inline]
    pub fn announce(&self, hash: u64) -> Place {
        let part = self.parts.of_hash(hash);
        self.parts[part].ask_for_control(hash);
        Place { hash, part: part as u32, bucket: u32::MAX }
    }

    /// The second half of [`place`](Self::place).
    #[inline]
    pub fn locate(&self, place: &mut Place) {
        let part = &self.parts[place.part as usize];
        let table = &part.entries;
        // By its control byte alone: one time in a hundred it is another's.
        let bucket =
            table.find_bucket_index(within_part(place.hash), |_| true).unwrap_or(usize::MAX);
        match table.get_bucket(bucket) {
            Some(entry) => prefetch(entry),
            // It may be about to be put in.
            None => part.ask_for_slot(place.hash),
        }
        place.bucket = bucket as u32;
    }

    /// Asks for the memory of all keys with these hashes, for who will come to them soon; unless the
    /// table is so small that it is in the cache.
    #[inline]
    pub fn ask_for(&self, hashes: impl Iterator<Item = u64> + Clone) {
        if !self.is_out_of_cache() {
            return;
        }
        for hash in hashes.clone() {
            self.announce(hash);
        }
        for hash in hashes {
            self.place(hash);
        }
    }

    /// Applies `change` to the value of `key`, which is made by `init` if there is none.
    ///
    /// `hash` is the [hash](Self::hash_of) of `key`, which lies in an owned group.
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
        let (part, bucket) = (place.part as usize, place.bucket as usize);
        let at = match self.parts[part].entries.get_bucket_mut(bucket) {
            Some(Entry::Live { stamp, key: there, value }) if *there == key => {
                // Nearly always.
                if epoch_of(*stamp) == self.changes.stamp {
                    return change(there, value);
                }
                (part, bucket)
            }
            // The part may have been split since.
            _ => self
                .live(place.hash, |there| *there == key)
                .unwrap_or_else(|| self.insert(place.hash, key, init())),
        };
        self.change_at(at, change)
    }

    /// As [`update`](Self::update), for who has the parts of a key and not the key: `make` makes both,
    /// if there is none for which `is_key` holds.
    #[inline]
    pub fn update_or_make<R>(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
        change: impl FnOnce(&mut V) -> R,
    ) -> R {
        let part = self.parts.of_hash(hash);
        let is_it = |entry: &Entry<K, V>| matches!(entry, Entry::Live { key, .. } if is_key(key));
        if let Some(Entry::Live { stamp, value, .. }) =
            self.parts[part].entries.find_mut(within_part(hash), is_it)
            && epoch_of(*stamp) == self.changes.stamp
        {
            // Nearly always.
            return change(value);
        }
        let at = self.live(hash, is_key).unwrap_or_else(|| {
            let (key, value) = make();
            self.insert(hash, key, value)
        });
        self.change_at(at, |_, value| change(value))
    }

    /// Puts an entry of which there is no live one: who has looked for it puts it in by this.
    pub(crate) fn put_new(&mut self, hash: u64, key: K, value: V) {
        debug_assert!(self.live(hash, |there| *there == key).is_none(), "it is there");
        self.insert(hash, key, value);
    }

    /// Whether it is so large that it pays to ask for its memory ahead.
    pub(crate) fn is_out_of_cache(&self) -> bool {
        self.live as usize * size_of::<Entry<K, V>>() > CACHED_BYTES
    }

    /// Applies `change` to the live entry that is there.
    #[inline]
    fn change_at<R>(
        &mut self,
        (at, bucket): (usize, usize),
        change: impl FnOnce(&K, &mut V) -> R,
    ) -> R {
        let part = &mut self.parts[at];
        let Some(Entry::Live { stamp: old, key, value }) = part.entries.get_bucket_mut(bucket)
        else {
            unreachable!("the entry was found or inserted there")
        };
        if epoch_of(*old) != self.changes.stamp {
            let place = (at, bucket, part.sealed, part.group);
            self.changes.before_first::<K, V, C>(place, epoch_of(*old), key, Some(value));
            *old = self.changes.stamp;
            part.changed[bucket / 64] |= 1 << (bucket % 64);
        }
        change(key, value)
    }

    /// Part and bucket of the live key with this hash for which `is_key` holds.
    #[inline]
    fn live(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<(usize, usize)> {
        let part = self.parts.of_hash(hash);
        let is_it = |entry: &Entry<K, V>| matches!(entry, Entry::Live { key, .. } if is_key(key));
        let bucket = self.parts[part].entries.find_bucket_index(within_part(hash), is_it)?;
        Some((part, bucket))
    }

    /// The value of `key`.
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        self.find(hash, |there| there == key)
    }

    /// The value of the key that has this hash and for which `is_key` holds: for who has the parts
    /// of a key and not the key.
    pub fn find(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<&V> {
        let (part, bucket) = self.live(hash, is_key)?;
        match self.parts[part].entries.get_bucket(bucket) {
            Some(Entry::Live { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// An entry whose key has this hash and for which `is_it` holds: for who has no key.
    pub fn find_entry(&self, hash: u64, is_it: impl Fn(&K, &V) -> bool) -> Option<(&K, &V)> {
        let (part, bucket) = self.entry(hash, is_it)?;
        match self.parts[part].entries.get_bucket(bucket) {
            Some(Entry::Live { key, value, .. }) => Some((key, value)),
            _ => None,
        }
    }

    /// Part and bucket of such an entry.
    #[inline]
    fn entry(&self, hash: u64, is_it: impl Fn(&K, &V) -> bool) -> Option<(usize, usize)> {
        let part = self.parts.of_hash(hash);
        // A table compares a part of the hash.
        let is_entry = |entry: &Entry<K, V>| match entry {
            Entry::Live { key, value, .. } => is_it(key, value) && self.placement.of(key) == hash,
            Entry::Dead { .. } => false,
        };
        let bucket = self.parts[part].entries.find_bucket_index(within_part(hash), is_entry)?;
        Some((part, bucket))
    }

    /// Removes an entry whose key has this hash and for which `is_it` holds, and returns it.
    pub fn take(&mut self, hash: u64, is_it: impl Fn(&K, &V) -> bool) -> Option<(K, V)>
    where
        K: Clone,
    {
        let (part, bucket) = self.entry(hash, is_it)?;
        let key = self.parts[part].entries.get_bucket(bucket)?.key().clone();
        self.remove_at((part, bucket), key)
    }

    /// Applies `change` to the value of the key that has this hash and for which `is_key` holds, if
    /// it is there.
    pub fn change<R>(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
        let at = self.live(hash, is_key)?;
        Some(self.change_at(at, |_, value| change(value)))
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, hash: u64, key: K) -> Option<V> {
        let at = self.live(hash, |there| *there == key)?;
        self.remove_at(at, key).map(|(_, value)| value)
    }

    /// Removes the live entry that is there, of which `key` is the key.
    #[inline]
    fn remove_at(&mut self, (at, bucket): (usize, usize), key: K) -> Option<(K, V)> {
        let part = &mut self.parts[at];
        let entry = part.entries.get_bucket_mut(bucket)?;
        self.live -= 1;
        if matches!(entry, Entry::Live { stamp, .. } if *stamp == self.changes.stamp | NEW) {
            self.changes.count -= 1;
            return part.erase(bucket).and_then(Entry::into_live);
        }
        let dead = Entry::Dead { stamp: self.changes.stamp, key };
        let Entry::Live { stamp, key, value } = std::mem::replace(entry, dead) else {
            unreachable!("the search was for live entries")
        };
        if epoch_of(stamp) != self.changes.stamp {
            let place = (at, bucket, part.sealed, part.group);
            self.changes.before_first::<K, V, C>(place, epoch_of(stamp), &key, Some(&value));
            part.mark(bucket);
        }
        self.changes.dead += 1;
        Some((key, value))
    }

    /// Makes the next seal a base, even of nothing: what segments hold of the table is encoded in
    /// another way than it will be from now on.
    pub fn rewrite(&mut self) {
        self.rewrite = true;
    }

    /// Whether the next seal is a base for that reason.
    pub fn is_to_be_rewritten(&self) -> bool {
        self.rewrite
    }

    /// Makes room for `entries` in `group`, which is best done while it is empty.
    pub fn reserve(&mut self, group: u16, entries: usize) {
        self.parts.reserve(group - self.parts.owned().start, entries);
    }

    /// All live entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.entries.iter()).filter_map(|entry| match entry {
            Entry::Live { key, value, .. } => Some((key, value)),
            Entry::Dead { .. } => None,
        })
    }

    /// Visits the live entries in the next `slots` buckets from `cursor` on, and moves it; returns
    /// whether there are more. Between two calls of one scan nothing may change but by `remove`, or
    /// entries may be passed over, and visited twice.
    pub fn scan(
        &self,
        cursor: &mut Cursor,
        mut slots: usize,
        mut visit: impl FnMut(&K, &V),
    ) -> bool {
        while let Some(part) = self.parts.get(cursor.part) {
            let buckets = part.buckets();
            let end = cursor.slot.saturating_add(slots).min(buckets).max(cursor.slot);
            for bucket in cursor.slot..end {
                if let Some(Entry::Live { key, value, .. }) = part.entries.get_bucket(bucket) {
                    visit(key, value);
                }
            }
            slots -= end - cursor.slot;
            if end < buckets {
                cursor.slot = end;
                return true;
            }
            *cursor = Cursor { part: cursor.part + 1, slot: 0 };
        }
        false
    }

    /// Puts an entry where there is no live one with its key; returns its part and bucket.
    #[inline(never)]
    fn insert(&mut self, hash: u64, key: K, value: V) -> (usize, usize) {
        self.live += 1;
        if self.changes.dead > 0
            && let Some((at, bucket)) = self.dead(hash, &key)
        {
            self.insert_over_dead((at, bucket), key, value);
            return (at, bucket);
        }
        self.changes.count += 1;
        let entry = Entry::Live { stamp: self.changes.stamp | NEW, key, value };
        let (at, placement) = (self.with_room(hash), self.placement);
        (at, self.parts.put((at, hash), entry, true, |entry| placement.of(entry.key())))
    }

    /// Part and bucket of the tombstone of a key that has no live entry.
    fn dead(&self, hash: u64, key: &K) -> Option<(usize, usize)> {
        let part = self.parts.of_hash(hash);
        let is_it = |there: &Entry<K, V>| there.key() == key;
        let bucket = self.parts[part].entries.find_bucket_index(within_part(hash), is_it)?;
        Some((part, bucket))
    }

    /// As `insert`, where the key has a tombstone.
    fn insert_over_dead(&mut self, (at, bucket): (usize, usize), key: K, value: V) {
        let part = &mut self.parts[at];
        self.changes.dead -= 1;
        if let Some(there) = part.entries.get_bucket_mut(bucket) {
            if let Entry::Dead { stamp: old, key } = there
                && *old != self.changes.stamp
            {
                let place = (at, bucket, part.sealed, part.group);
                self.changes.before_first::<K, V, C>(place, *old, key, None);
            }
            // Not as a new one: a segment may say something of the key.
            *there = Entry::Live { stamp: self.changes.stamp, key, value };
        }
        part.mark(bucket);
    }

    /// The part of a hash, which has room for an entry more.
    #[inline]
    pub(super) fn with_room(&mut self, hash: u64) -> usize {
        loop {
            let at = self.parts.of_hash(hash);
            if !self.parts[at].is_full() {
                return at;
            }
            self.grow(at);
        }
    }

    fn grow(&mut self, at: usize) {
        // T1: entries must not move under the cursor.
        if let Some(seal) = &self.changes.seal
            && seal.part == at
            && seal.bucket > 0
        {
            let mut all = usize::MAX;
            self.changes.scan::<K, V, C>(&mut self.parts[at], &mut all);
        }
        // T4, for each bucket that an entry comes to.
        let (running, sealed) = (self.changes.stamp, self.parts[at].sealed);
        let unsealed = self.changes.seal.as_ref().map(|seal| seal.stamp).filter(|s| *s != sealed);
        let is_changed = |entry: &Entry<K, V>| {
            let epoch = entry.epoch();
            epoch == running || unsealed == Some(epoch)
        };
        let placement = self.placement;
        let deeper = self.parts.grow(at, |entry| placement.of(entry.key()), is_changed);
        if let Some(seal) = &mut self.changes.seal {
            seal.position <<= deeper;
        }
    }

    /// Bytes of the keys and values that are captured and not handed out.
    pub fn captured_bytes(&self) -> usize {
        self.changes.captured_bytes()
    }

    /// Whether a seal is under way.
    pub fn is_sealing(&self) -> bool {
        self.changes.seal.is_some()
    }

    /// Ends the running epoch: what changed in it is handed out by [`seal_slice`](Self::seal_slice)
    /// from now on. Returns what kind of segment that makes. Constant work.
    ///
    /// # Panics
    ///
    /// If the previous seal is not done.
    pub fn begin_seal(&mut self) -> SegmentKind {
        assert!(!self.is_sealing(), "a seal is under way");
        let (part, whole) = BASE_ABOVE_CHANGED;
        let is_large = self.changes.count * whole >= self.live * part && self.live > 0;
        let kind = if std::mem::take(&mut self.rewrite) || is_large {
            SegmentKind::Base
        } else {
            SegmentKind::Delta
        };
        let first = if self.parts.positions() > 0 { self.parts.at(0) } else { 0 };
        self.changes.begin_seal(kind, first, self.parts.owned().len());
        kind
    }

    /// Takes back a block that was handed out and is written: its memory serves for a later one.
    pub fn recycle(&mut self, block: EntryBlock) {
        self.changes.recycle(block);
    }

    /// Bytes of blocks that captures have in reserve.
    pub(crate) fn spare_bytes(&self) -> usize {
        self.changes.spare_bytes()
    }

    /// Bytes of blocks that a seal may need at once, about: to be made ahead, and recycled.
    pub(crate) fn wanted_bytes(&self) -> usize {
        wanted_bytes(self.live, size_of::<(K, V)>())
    }

    /// Goes on with the seal for `work` units, each what about an entry of two words takes, handing
    /// out each group's entries when the group is done, in the order of groups.
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
        mut work: usize,
        mut out: impl FnMut(u16, EntryBlock),
    ) -> Result<SealSlice, BoxError> {
        loop {
            if let Some(error) = self.changes.failure() {
                return Err(error);
            }
            let seal = self.changes.seal.as_ref().expect("a seal is under way");
            let (stamp, position) = (seal.stamp, seal.position);
            if position >= self.parts.positions() {
                self.changes.seal = None;
                return Ok(SealSlice::Done);
            }
            let at = self.parts.at(position);
            // A part that had to grow while it was scanned is done already, and so is its other half.
            let is_done = self.parts[at].sealed == stamp
                || self.changes.scan::<K, V, C>(&mut self.parts[at], &mut work);
            if !is_done {
                return Ok(SealSlice::More);
            }
            let (next, ends_group) = self.parts.next(position);
            if ends_group {
                let group = self.parts.group_at(position);
                let number = self.parts.owned().start + group as u16;
                self.changes.hand_out(group, |block| out(number, block));
            }
            if let Some(seal) = &mut self.changes.seal {
                seal.position = next;
                seal.bucket = 0;
                seal.part = if next < self.parts.positions() { self.parts.at(next) } else { 0 };
            }
            // An empty part costs a little as well: a worker may own thousands.
            work = work.saturating_sub(16);
            if work == 0 {
                return Ok(SealSlice::More);
            }
        }
    }
}

impl<K, V, C> std::fmt::Debug for KeyedTable<K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedTable")
            .field("groups", self.parts.owned())
            .field("live", &self.live)
            .field("changed", &self.changes.count)
            .field("sealing", &self.changes.seal.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
