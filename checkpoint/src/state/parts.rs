//! Where entries are in memory: hash tables that stay small, found by the high bits of the hash.
//!
//! ```text
//!   high 32 bits of the hash * number of groups = | key group | next bits .. |
//!                                                 |<--- position ---->|         in the directory
//!
//!   directory   [ 0 0 1 1 | 2 2 2 2 | 3 4 5 5 | .. ]     2^depth positions for each group
//!   parts       [ 0 | 1 | 2 | 3 | 4 | 5 | .. ]           a table each, of one group
//! ```
//!
//! Extendible hashing (Fagin and others, 1979). A table that grows moves all that it holds, at one
//! go: with one table for each group that is 10 ms at 400,000 entries. Here a part that is as large
//! as a part may be is split in two, by the next bit, so no growth ever moves more than one part.
//!
//! Each part says which of its buckets have changed, so that nobody has to look at the others.

use std::ops::{Index, IndexMut, Range};

use hashbrown::HashTable;

use super::prefetch::prefetch;
use crate::state::KeyGroups;

/// Bytes of a part's table, about: moved at one go, in less than a millisecond.
const PART_BYTES_MAX: usize = 512 << 10;

/// Buckets of a part at the most: what moving costs when each key has memory of its own to hash.
const PART_BUCKETS_MAX: usize = 1 << 14;

/// Most bits of a position below the group. A hash that does not spread cannot ask for more.
const DEPTH_MAX: u32 = 16;

/// Positions for each part, at the most: with a hash that spreads there are at most four.
const POSITIONS_PER_PART_MAX: usize = 16;

/// See the module.
pub(super) struct Parts<E> {
    key_groups: KeyGroups,
    owned: Range<u16>,
    /// Buckets of the largest part.
    pub(super) buckets_max: usize,
    depth: u32,
    /// Position of the first owned group.
    first: usize,
    directory: Vec<u32>,
    all: Vec<Part<E>>,
}

/// A table, and which of its buckets hold changes.
pub(super) struct Part<E> {
    pub(super) entries: HashTable<E>,
    /// One bit a bucket.
    pub(super) changed: Vec<u64>,
    /// The group of all its keys, counted from the first that is owned.
    pub(super) group: u16,
    /// Bits of the position, below the group, that all its keys have in common.
    depth: u32,
    /// Stamp of the last epoch for which all its changes were captured.
    pub(super) sealed: u32,
    /// Entries beyond which it grows.
    room: usize,
    /// The address at which the entries end, of which the first is the last; 0 if not known.
    end: usize,
}

/// What the table of a part is given as the hash: it looks at the lowest bits and at the highest,
/// and the high half of ours is nearly the same throughout a part.
#[inline]
pub(super) fn within_part(hash: u64) -> u64 {
    let low = hash & 0xffff_ffff;
    low << 32 | low
}

impl<E> Part<E> {
    fn new(group: u16, depth: u32, sealed: u32) -> Part<E> {
        Part {
            entries: HashTable::new(),
            changed: Vec::new(),
            group,
            depth,
            sealed,
            room: 0,
            end: 0,
        }
    }

    /// An empty one with room for `capacity` entries, or somewhat less: `number` says how much.
    fn with_capacity(
        (group, depth, sealed): (u16, u32, u32),
        capacity: usize,
        number: usize,
    ) -> Part<E> {
        let entries = HashTable::with_capacity(capacity);
        let changed = vec![0; entries.num_buckets().div_ceil(64)];
        // Hashes spread so well that all parts would grow at the same time.
        let capacity = entries.capacity();
        let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let early = if capacity < 1024 { 0 } else { capacity / 4 * spread as usize / 256 };
        Part { entries, changed, group, depth, sealed, room: capacity - early, end: 0 }
    }

    /// Whether an entry more needs another table.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        // The second where erased entries have left marks.
        self.entries.len() >= self.room || self.entries.len() >= self.entries.capacity()
    }

    /// How many buckets it has; an empty `HashTable` says 1.
    pub(super) fn buckets(&self) -> usize {
        if self.changed.is_empty() { 0 } else { self.entries.num_buckets() }
    }

    #[inline]
    pub(super) fn mark(&mut self, bucket: usize) {
        self.changed[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Takes an entry out whose change need not be captured.
    pub(super) fn erase(&mut self, bucket: usize) -> Option<E> {
        self.changed[bucket / 64] &= !(1 << (bucket % 64));
        let entry = self.entries.get_bucket_entry(bucket).ok()?;
        Some(entry.remove().0)
    }

    /// Asks for the control bytes with which a search for this hash begins.
    #[inline]
    pub(super) fn ask_for_control(&self, hash: u64) {
        let bucket = within_part(hash) as usize & (self.entries.num_buckets() - 1);
        prefetch(std::ptr::without_provenance::<u8>(self.end.wrapping_add(bucket)));
    }

    /// Asks for the memory where an entry of this hash is likely to be put, which says where from:
    /// the bucket that its hash names is free, or one that is next to it.
    #[inline]
    pub(super) fn ask_for_slot(&self, hash: u64) {
        let bucket = within_part(hash) as usize & (self.entries.num_buckets() - 1);
        let start = self.end.wrapping_sub((bucket + 1) * size_of::<E>());
        prefetch(std::ptr::without_provenance::<E>(start));
    }

    /// Puts an entry in that is not there, given that there is room.
    fn put(&mut self, hash: u64, entry: E, is_changed: bool, rehash: impl Fn(&E) -> u64) -> usize {
        let hasher = |entry: &E| within_part(rehash(entry));
        let entry = self.entries.insert_unique(within_part(hash), entry, hasher);
        let bucket = entry.bucket_index();
        // `hashbrown` has its buckets in front of their control bytes, the last first. If that were
        // to change, hints would be about other memory, and nothing else.
        let start = std::ptr::from_ref(entry.get()).addr();
        self.end = start + (bucket + 1) * size_of::<E>();
        if is_changed {
            self.mark(bucket);
        }
        bucket
    }
}

/// How many buckets of entries of this size a part has at the most.
fn buckets_max<E>() -> usize {
    let by_size = PART_BYTES_MAX / size_of::<E>().max(1);
    let power = if by_size.is_power_of_two() { by_size } else { by_size.next_power_of_two() / 2 };
    power.clamp(64, PART_BUCKETS_MAX)
}

impl<E> Parts<E> {
    pub(super) fn new(key_groups: KeyGroups, owned: Range<u16>) -> Parts<E> {
        let count = owned.len() as u16;
        Parts {
            key_groups,
            first: usize::from(owned.start),
            owned,
            buckets_max: buckets_max::<E>(),
            depth: 0,
            directory: (0..u32::from(count)).collect(),
            all: (0..count).map(|group| Part::new(group, 0, 0)).collect(),
        }
    }

    pub(super) fn key_groups(&self) -> KeyGroups {
        self.key_groups
    }

    pub(super) fn owned(&self) -> &Range<u16> {
        &self.owned
    }

    /// The part of a hash; its group is an owned one.
    #[inline]
    pub(super) fn of_hash(&self, hash: u64) -> usize {
        let product = (hash >> 32) * u64::from(self.key_groups.count());
        let position = (product >> (32 - self.depth)) as usize;
        self.directory[position.wrapping_sub(self.first)] as usize
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Part<E>> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Part<E>> {
        self.all.iter_mut()
    }

    /// The part of that number; parts are not in the order of their groups.
    pub(super) fn get(&self, number: usize) -> Option<&Part<E>> {
        self.all.get(number)
    }

    /// How far a walk over the directory has to go.
    pub(super) fn positions(&self) -> usize {
        self.directory.len()
    }

    /// The part at a position of the directory.
    pub(super) fn at(&self, position: usize) -> usize {
        self.directory[position] as usize
    }

    /// The position behind the part at `position`, and whether another group begins there.
    pub(super) fn next(&self, position: usize) -> (usize, bool) {
        let depth = self.all[self.at(position)].depth;
        let next = position + (1 << (self.depth - depth));
        (next, next.is_multiple_of(1 << self.depth))
    }

    /// Which group a position is in, counted from the first that is owned.
    pub(super) fn group_at(&self, position: usize) -> usize {
        position >> self.depth
    }

    /// Puts an entry in a part that has room for it, and returns its bucket.
    #[inline]
    pub(super) fn put(
        &mut self,
        (number, hash): (usize, u64),
        entry: E,
        is_changed: bool,
        rehash: impl Fn(&E) -> u64,
    ) -> usize {
        debug_assert!(!self.all[number].is_full(), "`grow` comes before");
        self.all[number].put(hash, entry, is_changed, rehash)
    }

    /// Asks for the memory where an entry of this hash is likely to be put.
    #[inline]
    pub(super) fn ask_for_slot(&self, hash: u64) {
        self.all[self.of_hash(hash)].ask_for_slot(hash);
    }

    /// Makes room in a part, which may be by splitting it. Returns by how many bits positions have
    /// become longer: 0 or 1.
    pub(super) fn grow(
        &mut self,
        number: usize,
        hash: impl Fn(&E) -> u64,
        is_changed: impl Fn(&E) -> bool,
    ) -> u32 {
        let old = &mut self.all[number];
        let (group, depth, sealed) = (old.group, old.depth, old.sealed);
        let buckets = old.buckets();
        let mut entries = std::mem::take(&mut old.entries);
        let full = if buckets < 8 { buckets.saturating_sub(1) } else { buckets / 8 * 7 };
        let has_erased = entries.len() * 2 <= full && buckets > 0;
        if has_erased || buckets < self.buckets_max || !self.can_split(depth) {
            let capacity = if has_erased { full } else { (full * 2).max(3) };
            let mut part = Part::with_capacity((group, depth, sealed), capacity, number);
            for entry in entries.drain() {
                let is_changed = is_changed(&entry);
                part.put(hash(&entry), entry, is_changed, &hash);
            }
            self.all[number] = part;
            return 0;
        }
        let deeper = u32::from(depth == self.depth);
        if deeper == 1 {
            self.deepen();
        }
        let other = self.all.len();
        // Each could take all, for a hash may spread badly.
        let mut halves =
            [number, other].map(|n| Part::with_capacity((group, depth + 1, sealed), full, n));
        for entry in entries.drain() {
            let (hash_of_entry, is_changed) = (hash(&entry), is_changed(&entry));
            let half = self.half(hash_of_entry, depth + 1);
            halves[half].put(hash_of_entry, entry, is_changed, &hash);
        }
        let [lower, upper] = halves;
        self.all[number] = lower;
        self.all.push(upper);
        self.point_to_upper(number, other, depth + 1);
        deeper
    }

    /// Makes room for `entries` in a group that is empty.
    pub(super) fn reserve(&mut self, group: u16, entries: usize) {
        let number = self.at(usize::from(group) << self.depth);
        let part = &self.all[number];
        if !part.entries.is_empty() || part.depth > 0 {
            return;
        }
        let (sealed, largest) = (part.sealed, self.buckets_max / 2);
        let wanted = entries.div_ceil(largest).next_power_of_two().ilog2();
        let mut depth = 0;
        while depth < wanted && self.can_split(depth) {
            depth += 1;
            if depth > self.depth {
                self.deepen();
            }
            let span = 1 << (self.depth - depth);
            let start = usize::from(group) << self.depth;
            for at in (start..start + (1 << self.depth)).step_by(span).skip(1).step_by(2) {
                let other = self.all.len();
                self.all.push(Part::new(group, depth, sealed));
                self.directory[at..at + span].fill(other as u32);
            }
        }
        let share = entries >> depth;
        // Six standard deviations, and what `with_capacity` keeps back.
        let capacity = (share + 6 * share.isqrt() + 8) * 4 / 3;
        let capacity = capacity.min(self.buckets_max / 8 * 7);
        let start = usize::from(group) << self.depth;
        for at in (start..start + (1 << self.depth)).step_by(1 << (self.depth - depth)) {
            let number = self.at(at);
            self.all[number] = Part::with_capacity((group, depth, sealed), capacity, number);
        }
    }

    fn can_split(&self, depth: u32) -> bool {
        let is_needed = self.directory.len() < POSITIONS_PER_PART_MAX * self.all.len();
        depth < self.depth || (self.depth < DEPTH_MAX && is_needed)
    }

    /// The last of the first `depth` bits below the group.
    fn half(&self, hash: u64, depth: u32) -> usize {
        let product = (hash >> 32) * u64::from(self.key_groups.count());
        (product >> (32 - depth)) as usize & 1
    }

    /// Makes positions one bit longer.
    fn deepen(&mut self) {
        self.depth += 1;
        self.first *= 2;
        self.directory = self.directory.iter().flat_map(|number| [*number; 2]).collect();
    }

    /// Gives the upper half of the positions of a part, which is split at bit `depth`, to another.
    fn point_to_upper(&mut self, lower: usize, upper: usize, depth: u32) {
        let group = usize::from(self.all[lower].group) << self.depth;
        let span = 1 << (self.depth - depth);
        for at in (group..group + (1 << self.depth)).step_by(span).skip(1).step_by(2) {
            if self.directory[at] == lower as u32 {
                self.directory[at..at + span].fill(upper as u32);
            }
        }
    }
}

impl<E> Index<usize> for Parts<E> {
    type Output = Part<E>;

    #[inline]
    fn index(&self, number: usize) -> &Part<E> {
        &self.all[number]
    }
}

impl<E> IndexMut<usize> for Parts<E> {
    #[inline]
    fn index_mut(&mut self, number: usize) -> &mut Part<E> {
        &mut self.all[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::stable_hash;

    fn parts(groups: u16, owned: Range<u16>, buckets_max: usize) -> Parts<u64> {
        let mut parts = Parts::new(KeyGroups::new(groups).unwrap(), owned);
        parts.buckets_max = buckets_max;
        parts
    }

    fn insert(parts: &mut Parts<u64>, key: u64, hash: impl Fn(&u64) -> u64) {
        loop {
            let at = parts.of_hash(hash(&key));
            if !parts[at].is_full() {
                parts.put((at, hash(&key)), key, key.is_multiple_of(3), hash);
                return;
            }
            parts.grow(at, &hash, |key| key.is_multiple_of(3));
        }
    }

    /// Each part is come by once, in the order of groups, and each key is where its hash says.
    fn check(parts: &Parts<u64>, keys: u64, hash: impl Fn(&u64) -> u64) {
        let (mut position, mut seen, mut groups) = (0, Vec::new(), Vec::new());
        while position < parts.positions() {
            let at = parts.at(position);
            seen.push(at);
            assert_eq!(usize::from(parts[at].group), parts.group_at(position));
            let (next, ends_group) = parts.next(position);
            if ends_group {
                groups.push(parts.group_at(position));
            }
            position = next;
        }
        assert!(groups.into_iter().eq(0..parts.owned().len()));
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..parts.iter().count()));
        assert_eq!(parts.iter().map(|part| part.entries.len()).sum::<usize>() as u64, keys);
        for key in 0..keys {
            let part = &parts[parts.of_hash(hash(&key))];
            let bucket = part.entries.find_bucket_index(within_part(hash(&key)), |k| *k == key);
            let bucket = bucket.unwrap();
            assert_eq!(part.changed[bucket / 64] >> (bucket % 64) & 1 == 1, key.is_multiple_of(3));
        }
    }

    #[test]
    fn no_part_grows_beyond_its_bound() {
        for (groups, owned) in [(1, 0..1), (7, 0..7), (64, 0..64)] {
            let mut parts = parts(groups, owned, 64);
            for key in 0..20_000 {
                insert(&mut parts, key, stable_hash);
            }
            check(&parts, 20_000, stable_hash);
            assert!(parts.iter().all(|part| part.buckets() <= 64));
            assert!(parts.positions() <= POSITIONS_PER_PART_MAX * parts.iter().count());
        }
    }

    #[test]
    fn a_worker_holds_only_its_groups() {
        let groups = KeyGroups::new(128).unwrap();
        let mut parts = parts(128, 37..73, 32);
        let hash = |key: &u64| {
            // Moved into an owned group.
            let hash = stable_hash(key);
            let group = 37 + hash % 36;
            let high = (group << 32).div_ceil(128) + (hash >> 40) % (1 << 25);
            high << 32 | hash & 0xffff_ffff
        };
        for key in 0..5000 {
            assert!((37..73).contains(&groups.of_hash(hash(&key))));
            insert(&mut parts, key, hash);
        }
        check(&parts, 5000, hash);
    }

    /// Tables then grow as they would without parts; the directory must not.
    #[test]
    fn a_hash_that_does_not_spread_costs_speed_and_no_memory() {
        let hash = |key: &u64| stable_hash(key) & 0xffff_ffff;
        let mut parts = parts(4, 0..4, 16);
        for key in 0..5000 {
            insert(&mut parts, key, hash);
        }
        check(&parts, 5000, hash);
        assert!(parts.positions() < 1000, "{} positions", parts.positions());
    }

    /// Hints are about the memory of the entries.
    #[test]
    fn an_entry_is_where_its_hint_says() {
        let mut parts = parts(4, 0..4, 256);
        (0..1000).for_each(|key| insert(&mut parts, key, stable_hash));
        for part in parts.iter().filter(|part| !part.entries.is_empty()) {
            for bucket in 0..part.buckets() {
                let Some(entry) = part.entries.get_bucket(bucket) else { continue };
                let start = std::ptr::from_ref(entry).addr();
                assert_eq!(start, part.end - (bucket + 1) * size_of::<u64>());
            }
        }
    }

    #[test]
    fn what_was_reserved_need_not_grow() {
        let mut parts = parts(4, 0..4, 256);
        for group in 0..4 {
            parts.reserve(group, 2500 + usize::from(group) * 700);
        }
        let reserved = parts.iter().count();
        assert!(reserved >= 4 * 16, "{reserved}");
        for key in 0..10_000 {
            insert(&mut parts, key, stable_hash);
        }
        check(&parts, 10_000, stable_hash);
        assert_eq!(parts.iter().count(), reserved);
    }
}
