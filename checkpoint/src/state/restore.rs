//! Puts entries back that segments hold, the newest segment first.
//!
//! What comes first counts, so what is older is only looked for: it is not decoded as a value,
//! hashed for the digest, or written anywhere. A tombstone counts too, and stays in the table
//! until all is there.

use std::hash::Hash;

use super::Codec;
use super::changes::Encoded;
use super::parts::within_part;
use super::table::{Entry, KeyedTable, Place};

/// The stamp of entries that a segment held.
const RESTORED: u32 = 0;

impl<K, V, C> KeyedTable<K, V, C>
where
    K: Eq + Hash,
    C: Codec<K> + Codec<V>,
{
    /// Puts an entry back whose key no newer segment has; it does not count as changed. `None` is a
    /// tombstone, which hides what older segments say of the key.
    ///
    /// Once all entries are there, [`restored`](Self::restored) is to be called.
    #[inline]
    pub fn restore(&mut self, hash: u64, key: K, value: Option<V>) {
        self.restore_newest(hash, key, value, None);
    }

    /// As [`restore`](Self::restore), of an entry that was decoded from `encoded`.
    #[inline]
    pub(crate) fn restore_newest(
        &mut self,
        hash: u64,
        key: K,
        value: Option<V>,
        encoded: Option<Encoded<'_>>,
    ) {
        let entry = if let Some(value) = value {
            self.changes.restored::<K, V, C>(&key, &value, encoded);
            self.live += 1;
            Entry::Live { stamp: RESTORED, key, value }
        } else {
            self.changes.dead += 1;
            Entry::Dead { stamp: RESTORED, key }
        };
        let (at, placement) = (self.with_room(hash), self.placement);
        self.parts.put((at, hash), entry, false, |entry| placement.of(entry.key()));
    }

    /// Asks for the memory where an entry of this hash is likely to be put.
    #[inline]
    pub(crate) fn ask_for_slot(&self, hash: u64) {
        self.parts.ask_for_slot(hash);
    }

    /// Whether a newer segment than the one that says `key` has said something of it; `place` is
    /// that of its hash, since when no entry of the same key was restored.
    #[inline]
    pub(crate) fn is_restored(&self, place: Place, key: &K) -> bool {
        // Nobody's hash is alike.
        if place.is_nowhere() {
            return false;
        }
        let (part, bucket) = (place.part as usize, place.bucket as usize);
        if self.parts[part].entries.get_bucket(bucket).is_some_and(|there| there.key() == key) {
            return true;
        }
        // Another has, or the part was split since.
        let part = &self.parts[self.parts.of_hash(place.hash)];
        part.entries.find(within_part(place.hash), |there| there.key() == key).is_some()
    }

    /// Says that all entries are there: what was removed goes.
    pub fn restored(&mut self) {
        if self.changes.dead == 0 {
            return;
        }
        for part in self.parts.iter_mut() {
            part.entries.retain(|entry| matches!(entry, Entry::Live { .. }));
        }
        self.changes.dead = 0;
    }
}
