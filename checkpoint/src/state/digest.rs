//! A hash of all live entries that does not depend on their order, on workers or on segments.
//!
//! ```text
//!   digest = sum over entries of XXH3-128(encoded value, seed = XXH3-64(encoded key)), modulo 2^128
//! ```
//!
//! A sum, so that it can be kept up to date: what an entry contributed is taken off before the
//! entry changes, and added again when it is captured. That each hash is seeded by the key's ties
//! the two together, and keeps the border between them: `("ab", "c")` is not `("a", "bc")`.
//!
//! It proves that two states are equal against mistakes, not against somebody who makes entries up:
//! sums of hashes can be forged.

use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_128;

use super::short_hash::{xxh3_64, xxh3_128_of_word};
use crate::segment::EntryBlock;

/// The digest of a set of entries; prints as 32 hexadecimal digits. That of no entries is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateDigest(u128);

impl StateDigest {
    /// That of one entry, of which these are the encodings.
    #[inline]
    pub fn of_entry(key: &[u8], value: &[u8]) -> StateDigest {
        let seed = xxh3_64(key);
        StateDigest(match value.try_into() {
            Ok(word) => xxh3_128_of_word(seed, u64::from_le_bytes(word)),
            Err(_) => XxHash3_128::oneshot_with_seed(seed, value),
        })
    }

    /// Those of all entries of a block, and of those whose bits in `which` are set.
    pub(super) fn of_block(block: &EntryBlock, which: &[u64]) -> (StateDigest, StateDigest) {
        let (mut all, mut some) = (StateDigest::default(), StateDigest::default());
        let words = which.iter().copied().chain(std::iter::repeat(0));
        let is_in = words.flat_map(|word| (0..64).map(move |bit| word >> bit & 1));
        for ((key, value), is_in) in block.iter().zip(is_in) {
            if let Some(value) = value {
                let entry = StateDigest::of_entry(key, value);
                all += entry;
                some += StateDigest(entry.0 * u128::from(is_in));
            }
        }
        (all, some)
    }
}

/// Joins two sets that have no key in common.
impl AddAssign for StateDigest {
    #[inline]
    fn add_assign(&mut self, other: StateDigest) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// Takes a part of the set away.
impl SubAssign for StateDigest {
    #[inline]
    fn sub_assign(&mut self, other: StateDigest) {
        self.0 = self.0.wrapping_sub(other.0);
    }
}

impl std::iter::Sum for StateDigest {
    fn sum<I: Iterator<Item = StateDigest>>(parts: I) -> StateDigest {
        parts.fold(StateDigest::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for StateDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<StateDigest, String> {
        let is_ours =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let digest = is_ours.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        let reason = || format!("{text:?} is not a digest of 32 lower-case hexadecimal digits");
        digest.map(StateDigest).ok_or_else(reason)
    }
}

impl Serialize for StateDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StateDigest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, no checkpoint ever written can be told to be equal to one of today.
    #[test]
    fn golden() {
        let digest = |key: &str, value: &str| {
            StateDigest::of_entry(key.as_bytes(), value.as_bytes()).to_string()
        };
        assert_eq!(digest("", ""), GOLDEN[0]);
        assert_eq!(digest("key", "value"), GOLDEN[1]);
        assert_eq!(digest("k", &"v".repeat(1000)), GOLDEN[2]);
    }
    const GOLDEN: [&str; 3] = [
        "7a3edd697cf3f9535310e30cce3262d6",
        "e84582f5c8fe2c1351ad8f295ea71283",
        "31decf7a2e79f7e691294cc1badf2a99",
    ];

    #[test]
    fn a_block_is_the_sum_of_its_entries_without_tombstones() {
        let mut block = EntryBlock::new();
        let (mut all, mut some) = (StateDigest::default(), StateDigest::default());
        let which = [1 << 3 | 1 << 5, 0, 1 << 7];
        for n in 0..300_u64 {
            let key = n.to_le_bytes();
            let value = vec![7; if n % 9 == 0 { 20 } else { 8 }];
            let value = (n % 5 != 0).then_some(value);
            block.push_bytes(&key, value.as_deref()).unwrap();
            let Some(value) = value else { continue };
            all += StateDigest::of_entry(&key, &value);
            if [3, 5, 135].contains(&n) {
                some += StateDigest::of_entry(&key, &value);
            }
        }
        assert_ne!(some, StateDigest::default());
        assert_eq!(StateDigest::of_block(&block, &which), (all, some));
    }

    #[test]
    fn what_is_taken_away_is_as_if_it_had_never_been_there() {
        let (one, other) = (StateDigest::of_entry(b"a", b"1"), StateDigest::of_entry(b"b", b"2"));
        let mut sum: StateDigest = [other, one].into_iter().sum();
        sum -= one;
        assert_eq!(sum, other);
        sum -= other;
        assert_eq!(sum, StateDigest::default());
    }

    #[test]
    fn the_border_between_key_and_value_matters() {
        let whole = b"abcabcabc";
        let all: std::collections::BTreeSet<_> =
            (0..=9).map(|at| StateDigest::of_entry(&whole[..at], &whole[at..])).collect();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn text_comes_back_and_other_text_is_refused() {
        let digest = StateDigest::of_entry(b"key", b"value");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for other in ["", "0", "+0000000000000000000000000000000", &"A".repeat(32)] {
            assert!(other.parse::<StateDigest>().is_err(), "{other}");
        }
    }
}
