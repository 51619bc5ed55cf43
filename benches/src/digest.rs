//! What a side has said, in two numbers that do not depend on the order in which it said it.
//!
//! Each row is hashed to 64 bits, and the hashes are added up. A query whose result changes as events
//! come says so by rows that replace others of their key, or by rows that are gone: what is summed is then
//! the result as it stands at the end.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::draws::mix;

/// A row of a changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<R> {
    /// It is in the result now.
    Insert(R),
    /// It is not any more.
    Retract(R),
}

/// Rows that the result has, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    pub(crate) digest: u64,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows, digest {:016x}", self.rows, self.digest)
    }
}

/// What all workers have come to.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    rows: AtomicU64,
    digest: AtomicU64,
}

impl Shared {
    pub(crate) fn totals(&self) -> Totals {
        let digest = self.digest.load(Ordering::Relaxed);
        Totals { rows: self.rows.load(Ordering::Relaxed), digest }
    }
}

/// Sums on one worker, and adds up when it is dropped.
pub(crate) struct Digest {
    totals: Totals,
    /// The hash of the last row of each key, for rows that replace others.
    last: hashbrown::HashMap<u64, u64, foldhash::fast::FixedState>,
    shared: Arc<Shared>,
}

impl Digest {
    pub(crate) fn new(shared: Arc<Shared>) -> Digest {
        Digest { totals: Totals::default(), last: hashbrown::HashMap::default(), shared }
    }

    /// A row that stays.
    #[inline]
    pub(crate) fn row<R: Hash>(&mut self, row: R) {
        self.add(1, hash(&row));
    }

    /// A row that stays, by a hash of it.
    #[inline]
    pub(crate) fn hashed(&mut self, hash: u64) {
        self.add(1, hash);
    }

    /// As many rows that are the same.
    #[inline]
    pub(crate) fn rows<R: Hash>(&mut self, row: R, count: u64) {
        self.add(count, hash(&row).wrapping_mul(count));
    }

    /// A row in place of the one of its key.
    #[inline]
    pub(crate) fn upsert<K: Hash, R: Hash>(&mut self, (key, row): (K, R)) {
        let key = hash(&key);
        let row = key ^ hash(&row).rotate_left(32);
        match self.last.insert(key, row) {
            Some(old) => self.add(0, row.wrapping_sub(old)),
            None => self.add(1, row),
        }
    }

    #[inline]
    pub(crate) fn change<R: Hash>(&mut self, change: Change<R>) {
        match change {
            Change::Insert(row) => self.add(1, hash(&row)),
            Change::Retract(row) => self.add(u64::MAX, hash(&row).wrapping_neg()),
        }
    }

    #[inline]
    fn add(&mut self, rows: u64, hash: u64) {
        self.totals.rows = self.totals.rows.wrapping_add(rows);
        self.totals.digest = self.totals.digest.wrapping_add(hash);
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        self.shared.rows.fetch_add(self.totals.rows, Ordering::Relaxed);
        self.shared.digest.fetch_add(self.totals.digest, Ordering::Relaxed);
    }
}

fn hash<T: Hash>(row: &T) -> u64 {
    let mut hasher = RowHasher(0);
    row.hash(&mut hasher);
    hasher.finish()
}

/// A hash that is the same everywhere and for ever, for it is in recorded digests: multiplies and
/// rotates word by word, and mixes at the end.
struct RowHasher(u64);

impl Hasher for RowHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    #[inline]
    fn write_i64(&mut self, word: i64) {
        self.write_u64(word.cast_unsigned());
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    /// Lengths of lists.
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_le_bytes(padded));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(note: impl FnOnce(&mut Digest)) -> Totals {
        let shared = Arc::new(Shared::default());
        note(&mut Digest::new(Arc::clone(&shared)));
        shared.totals()
    }

    #[test]
    fn order_does_not_matter_and_contents_do() {
        let of = |rows: [(u64, u64); 2]| {
            totals(|digest| rows.into_iter().for_each(|row| digest.row(row)))
        };
        assert_eq!(of([(1, 2), (3, 4)]), of([(3, 4), (1, 2)]));
        assert_ne!(of([(1, 2), (3, 4)]), of([(2, 1), (3, 4)]));
    }

    #[test]
    fn what_is_replaced_or_gone_does_not_count() {
        let end = totals(|digest| {
            digest.upsert((1u64, 20u64));
            digest.upsert((2u64, 7u64));
        });
        let changing = totals(|digest| {
            digest.upsert((1u64, 10u64));
            digest.upsert((2u64, 7u64));
            digest.upsert((1u64, 20u64));
        });
        assert_eq!(changing, end);
        let changes = totals(|digest| {
            digest.change(Change::Insert(5u64));
            digest.change(Change::Insert(6u64));
            digest.change(Change::Retract(5u64));
        });
        assert_eq!(changes, totals(|digest| digest.row(6u64)));
        assert_eq!(
            totals(|digest| digest.rows(6u64, 2)),
            totals(|digest| {
                digest.row(6u64);
                digest.row(6u64);
            })
        );
    }
}
