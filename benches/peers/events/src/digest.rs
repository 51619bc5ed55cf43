//! What a job has said, in two numbers that do not depend on the order in which it said it: as
//! `digest.rs` of the project's benchmarks defines them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The finisher of splitmix64.
#[inline]
pub fn mix(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of a row.
#[inline]
pub fn hash<T: Hash>(row: &T) -> u64 {
    let mut hasher = RowHasher(0);
    row.hash(&mut hasher);
    hasher.finish()
}

/// The hash of the one row of a key that stays in the end.
pub fn hash_of_key<K: Hash, R: Hash>(key: &K, row: &R) -> u64 {
    hash(key) ^ hash(row).rotate_left(32)
}

/// What all workers have come to.
#[derive(Debug, Default)]
pub struct Shared {
    rows: AtomicU64,
    digest: AtomicU64,
}

impl Shared {
    /// Rows and digest.
    pub fn totals(&self) -> (u64, u64) {
        (self.rows.load(Ordering::Relaxed), self.digest.load(Ordering::Relaxed))
    }
}

/// Sums on one worker, and adds up when it is dropped.
#[derive(Debug)]
pub struct Digest {
    rows: u64,
    digest: u64,
    shared: Arc<Shared>,
}

impl Digest {
    pub fn new(shared: &Arc<Shared>) -> Digest {
        Digest { rows: 0, digest: 0, shared: Arc::clone(shared) }
    }

    /// A row that stays.
    #[inline]
    pub fn row<R: Hash>(&mut self, row: R) {
        self.add(1, hash(&row));
    }

    /// As many rows, and the sum of their hashes.
    #[inline]
    pub fn add(&mut self, rows: u64, digest: u64) {
        self.rows = self.rows.wrapping_add(rows);
        self.digest = self.digest.wrapping_add(digest);
    }
}

/// Each worker has its own.
impl Clone for Digest {
    fn clone(&self) -> Digest {
        Digest::new(&self.shared)
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        self.shared.rows.fetch_add(self.rows, Ordering::Relaxed);
        self.shared.digest.fetch_add(self.digest, Ordering::Relaxed);
    }
}

struct RowHasher(u64);

impl Hasher for RowHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

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
