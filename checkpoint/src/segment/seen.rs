//! Which keys of a key group have been seen, by who reads its segments newest first.
//!
//! ```text
//!   table   [ key of 8 bytes, 0 | hash, place of the key | .. ]     16 bytes a key
//!   keys    [ length, bytes | length, bytes | .. ]                  those of other lengths
//! ```
//!
//! To sort all entries by key instead takes more than three times as long (`docs/segment.md`).

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::state::xxh3_64;

/// Keys, as bytes. Cleared, it keeps its memory.
#[derive(Debug, Default)]
pub(crate) struct SeenKeys {
    table: HashTable<Seen>,
    keys: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The key, if it is eight bytes: most are, and need not be looked up elsewhere. Else its hash.
    word: u64,
    /// 1 more than where in `keys` it is; 0, if it is `word`.
    place: usize,
}

impl Seen {
    fn hash(self) -> u64 {
        if self.place == 0 { xxh3_64(&self.word.to_le_bytes()) } else { self.word }
    }
}

impl SeenKeys {
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.keys.clear();
    }

    /// Whether `key` was inserted.
    #[inline]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let hash = xxh3_64(key);
        if let Ok(word) = key.try_into() {
            let word = u64::from_le_bytes(word);
            return self.table.find(hash, |seen| seen.word == word && seen.place == 0).is_some();
        }
        self.table.find(hash, |seen| is_at(&self.keys, *seen, hash, key)).is_some()
    }

    /// Adds `key`; returns whether it was not there.
    #[inline]
    pub(crate) fn insert(&mut self, key: &[u8]) -> bool {
        let hash = xxh3_64(key);
        if let Ok(word) = key.try_into() {
            let word = u64::from_le_bytes(word);
            let is_it = |seen: &Seen| seen.word == word && seen.place == 0;
            let entry = self.table.entry(hash, is_it, |seen| seen.hash());
            let Entry::Vacant(free) = entry else { return false };
            free.insert(Seen { word, place: 0 });
            return true;
        }
        let is_it = |seen: &Seen| is_at(&self.keys, *seen, hash, key);
        let Entry::Vacant(free) = self.table.entry(hash, is_it, |seen| seen.hash()) else {
            return false;
        };
        free.insert(Seen { word: hash, place: self.keys.len() + 1 });
        self.keys.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.keys.extend_from_slice(key);
        true
    }
}

/// Whether `seen` is `key`, which is not of eight bytes and has this hash.
fn is_at(keys: &[u8], seen: Seen, hash: u64, key: &[u8]) -> bool {
    let Some(place) = seen.place.checked_sub(1) else { return false };
    let length = (key.len() as u32).to_le_bytes();
    seen.word == hash
        && keys[place..].starts_with(&length)
        && keys[place + length.len()..].starts_with(key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set(rounds in vec(vec((vec(0..3_u8, 0..11), any::<bool>()), 0..200), 1..4)) {
            let mut seen = SeenKeys::default();
            for keys in rounds {
                let mut model = BTreeSet::new();
                seen.clear();
                for (key, inserts) in keys {
                    prop_assert_eq!(seen.contains(&key), model.contains(&key));
                    if inserts {
                        prop_assert_eq!(seen.insert(&key), model.insert(key));
                    }
                }
            }
        }
    }

    /// A key of another length may have the bytes of a hash.
    #[test]
    fn a_key_is_not_taken_for_the_hash_of_another() {
        let mut seen = SeenKeys::default();
        assert!(seen.insert(b"nine byte"));
        let hash = xxh3_64(b"nine byte").to_le_bytes();
        assert!(!seen.contains(&hash) && seen.insert(&hash));
        assert!(!seen.insert(b"nine byte") && !seen.insert(&hash));
    }
}
