//! The hash by which keys are routed and placed, fixed for the life of the format.
//!
//! A std or third-party hasher may change between builds, and then every key would move to another
//! key group. The algorithm is a multiply-and-fold in the manner of wyhash (Wang Yi, public
//! domain), written out here so that it stays; `tests::golden` pins it. It is not meant to resist
//! an adversary who chooses keys.

use std::hash::{Hash, Hasher};

const SEED: u64 = 0xa076_1d64_78bd_642f;
const MULTIPLIER: u64 = 0xe703_7ed1_a0b4_28db;
const FINISH: u64 = 0x8ebc_6af0_9c88_c6e3;

/// Hashes `key` to 64 bits, the same in every build and on every machine.
///
/// What `K`'s `Hash` feeds it is up to `K`; recovery checks that every key still hashes to the
/// group that it was stored in, so a changed `Hash` is an error and not lost state.
#[inline]
pub fn stable_hash<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = StableHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// See [`stable_hash`].
#[derive(Clone, Debug)]
pub struct StableHasher(u64);

impl Default for StableHasher {
    #[inline]
    fn default() -> Self {
        StableHasher(SEED)
    }
}

/// Multiplies to 128 bits and folds the halves: every input bit reaches every output bit.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

impl Hasher for StableHasher {
    #[inline]
    fn finish(&self) -> u64 {
        fold(self.0 ^ FINISH, MULTIPLIER)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(word(chunk));
        }
        let rest = chunks.remainder();
        // The length keeps a short tail apart from the same bytes followed by zeros.
        self.write_u64(word(rest) ^ (bytes.len() as u64).rotate_left(56));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value, MULTIPLIER).wrapping_add(value.rotate_left(23));
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }

    // A 32-bit machine would feed four bytes where this one feeds eight.
    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    #[inline]
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, every checkpoint ever written has its keys in the wrong groups.
    #[test]
    fn golden() {
        assert_eq!(stable_hash(&0u64), GOLDEN[0]);
        assert_eq!(stable_hash(&1u64), GOLDEN[1]);
        assert_eq!(stable_hash(""), GOLDEN[2]);
        assert_eq!(stable_hash("highwater"), GOLDEN[3]);
        assert_eq!(stable_hash(&("a", 7i32)), GOLDEN[4]);
    }
    const GOLDEN: [u64; 5] = [
        10_874_994_732_282_882_608,
        529_904_005_085_458_798,
        5_043_186_314_743_020_287,
        12_071_165_584_945_613_074,
        11_506_414_960_928_720_093,
    ];

    #[test]
    fn sequential_keys_spread_over_groups_and_slots() {
        for stride in [1u64, 2, 8, 1 << 20, 1 << 32] {
            let (mut groups, mut slots) = ([0u32; 128], [0u32; 128]);
            for key in 0..128_000u64 {
                let hash = stable_hash(&key.wrapping_mul(stride));
                groups[(hash >> 57) as usize] += 1;
                slots[((hash as u32) >> 25) as usize] += 1;
            }
            for count in groups.into_iter().chain(slots) {
                assert!((800..1200).contains(&count), "stride {stride}: {count}");
            }
        }
    }

    #[test]
    fn strings_spread_and_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..100_000u32 {
            assert!(seen.insert(stable_hash(&format!("w{i}"))));
        }
        assert_ne!(stable_hash("a"), stable_hash("a\0"));
    }
}
