//! Removes entries that have expired, a slice at a time.

use std::hash::Hash;

use super::{Persist, Retention};
use crate::state::{Codec, Cursor, KeyedTable};

/// Slots that are looked at in one slice: some 20 us.
const SLICE_SLOTS: usize = 4096;

/// A pass over the table takes this share of the time to live, so that the expired are at most a
/// quarter more than the live at a steady rate ...
const PASSES_PER_TTL: u64 = 4;
/// ... but no pass is shorter, for it is in vain where little expires ...
const PASS_MS_MIN: u64 = 1000;
/// ... or longer, so that memory comes back within the hour.
const PASS_MS_MAX: u64 = 3_600_000;

/// When to look for expired entries, and where.
///
/// The table may change between two slices. An entry that moves then, because its group grows, may
/// be passed over until the next pass: it is not returned by reads meanwhile.
#[derive(Debug, Default)]
pub struct Sweep {
    cursor: Cursor,
    next_ms: u64,
}

impl Sweep {
    /// When the next slice is due, in milliseconds since the Unix epoch; none if there is nothing
    /// in the table, or nothing in it ever expires.
    pub fn next_ms<K, V, M, C>(
        &self,
        table: &KeyedTable<K, M::Stored<V>, C>,
        retention: M,
    ) -> Option<u64>
    where
        K: Hash + Eq,
        V: Persist,
        M: Retention,
        C: Codec<K> + Codec<M::Stored<V>>,
    {
        (retention.ttl().is_some() && !table.is_empty()).then_some(self.next_ms)
    }

    /// Removes what has expired from the next slice of `table`, if one is due, and returns the
    /// keys.
    pub fn slice<K, V, M, C>(
        &mut self,
        table: &mut KeyedTable<K, M::Stored<V>, C>,
        retention: M,
        now_ms: u64,
    ) -> Vec<K>
    where
        K: Hash + Eq + Clone,
        V: Persist,
        M: Retention,
        C: Codec<K> + Codec<M::Stored<V>>,
    {
        let Some(ttl) = retention.ttl() else { return Vec::new() };
        if now_ms < self.next_ms || table.is_empty() {
            return Vec::new();
        }
        let mut expired = Vec::new();
        let has_more = table.scan(&mut self.cursor, SLICE_SLOTS, |key, stored| {
            if retention.is_expired(stored, now_ms) {
                expired.push(key.clone());
            }
        });
        if !has_more {
            self.cursor = Cursor::default();
        }
        for key in &expired {
            table.remove(table.hash_of(key), key.clone());
        }
        let millis = u64::try_from(ttl.duration().as_millis()).unwrap_or(u64::MAX);
        let pass_ms = (millis / PASSES_PER_TTL).clamp(PASS_MS_MIN, PASS_MS_MAX);
        // About half of the slots of a table hold an entry.
        let slices = table.len().saturating_mul(2).div_ceil(SLICE_SLOTS as u64).max(1);
        self.next_ms = now_ms + (pass_ms / slices).max(1);
        expired
    }
}
