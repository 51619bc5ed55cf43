//! XXH3 of eight bytes: what most keys and values are.
//!
//! The crate's functions choose by length and read their secret from memory, in calls of their own:
//! for two words that takes longer than to hash them. Here all of it is known to the compiler, and
//! tests say that the hashes are the same. Algorithm: XXH3 by Yann Collet, version 0.8, inputs of 4
//! to 8 bytes.

use twox_hash::XxHash3_64;

const PRIME64_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_MX1: u64 = 0x1656_6791_9e37_79f9;
const PRIME_MX2: u64 = 0x9fb2_1c65_1e98_df25;

/// Words 1, 2 and 3 of the default secret.
const SECRET: [u64; 3] = [0x1cad_21f7_2c81_017c, 0xdb97_9083_e96d_d4de, 0x1f67_b3b7_a4a4_4072];

/// XXH3-64 of `bytes`.
#[inline]
pub(crate) fn xxh3_64(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(word) => xxh3_64_of_word(u64::from_le_bytes(word)),
        Err(_) => XxHash3_64::oneshot(bytes),
    }
}

/// XXH3-64 of the eight bytes of `word`, in little-endian order.
#[inline]
pub(crate) fn xxh3_64_of_word(word: u64) -> u64 {
    const FLIP: u64 = SECRET[0] ^ SECRET[1];
    let mut hash = FLIP ^ word.rotate_left(32);
    hash ^= hash.rotate_left(49) ^ hash.rotate_left(24);
    hash = hash.wrapping_mul(PRIME_MX2);
    hash ^= (hash >> 35).wrapping_add(8);
    hash = hash.wrapping_mul(PRIME_MX2);
    hash ^ hash >> 28
}

/// XXH3-128, with a seed, of the eight bytes of `word`, in little-endian order.
#[inline]
pub(super) fn xxh3_128_of_word(seed: u64, word: u64) -> u128 {
    const FLIP: u64 = SECRET[1] ^ SECRET[2];
    const FACTOR: u64 = PRIME64_1.wrapping_add(8 << 2);
    let seed = seed ^ u64::from((seed as u32).swap_bytes()) << 32;
    let product = u128::from(FLIP.wrapping_add(seed) ^ word) * u128::from(FACTOR);
    let (mut low, mut high) = (product as u64, (product >> 64) as u64);
    high = high.wrapping_add(low << 1);
    low ^= high >> 3;
    low ^= low >> 35;
    low = low.wrapping_mul(PRIME_MX2);
    low ^= low >> 28;
    high ^= high >> 37;
    high = high.wrapping_mul(PRIME_MX1);
    high ^= high >> 32;
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twox_hash::XxHash3_128;

    use super::*;

    proptest! {
        #[test]
        fn is_what_the_crate_computes(word in any::<u64>(), seed in any::<u64>()) {
            let bytes = word.to_le_bytes();
            prop_assert_eq!(xxh3_64_of_word(word), XxHash3_64::oneshot(&bytes));
            let meant = XxHash3_128::oneshot_with_seed(seed, &bytes);
            prop_assert_eq!(xxh3_128_of_word(seed, word), meant);
        }
    }
}
