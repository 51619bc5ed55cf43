//! Elements of collections as keys of a table: the group is that of the key alone.
//!
//! ```text
//!   group of the key * 2^32 / groups  <=  high half of the hash  <  the same of the next group
//!                                         where between is by the element
//! ```
//!
//! So the elements of a key that has very many lie in as many parts of the table as they need.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::state::{KeyGroups, StableHasher, stable_hash};

/// One element of the collection of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element<K, E> {
    /// The key.
    pub key: K,
    /// Which of its elements.
    pub element: E,
}

/// The place of an element in a list: ascending, with gaps where elements were removed.
///
/// By its name, which takes no byte, a list is told from a map whose keys are numbers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position(pub u64);

/// Feeds the hash of the key rather than the key: whoever has it need not work it out again.
fn feed<E: Hash, H: Hasher>(key_hash: u64, element: &E, state: &mut H) {
    state.write_u64(key_hash);
    element.hash(state);
}

impl<K: Hash, E: Hash> Hash for Element<K, E> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        feed(stable_hash(&self.key), &self.element, state);
    }
}

impl<K: Hash, E: Hash> Element<K, E> {
    /// The hash by which a table places it: in the group of its key, and there where its element
    /// says.
    pub fn table_hash(&self, key_groups: KeyGroups) -> u64 {
        Self::hash_of(key_groups, stable_hash(&self.key), &self.element)
    }

    /// As [`table_hash`](Self::table_hash), of `element` of a key with this hash.
    #[inline]
    pub fn hash_of(key_groups: KeyGroups, key_hash: u64, element: &E) -> u64 {
        let mut hasher = StableHasher::default();
        feed(key_hash, element, &mut hasher);
        key_groups.hash_within(key_groups.of_hash(key_hash), hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::KEY_GROUPS_MAX;

    #[test]
    fn elements_are_in_the_group_of_their_key_and_spread_within_it() {
        for count in [1, 2, 3, 128, 1000, KEY_GROUPS_MAX] {
            let groups = KeyGroups::new(count).unwrap();
            for key in 0..50u64 {
                let group = groups.of_hash(stable_hash(&key));
                let (mut halves, mut slots) = ([0; 2], std::collections::BTreeSet::new());
                for element in 0..400u64 {
                    let hash = Element { key, element }.table_hash(groups);
                    assert_eq!(groups.of_hash(hash), group, "{count} groups");
                    // The first bit below the group.
                    halves[(((hash >> 32) * u64::from(count)) >> 31) as usize & 1] += 1;
                    slots.insert(hash as u32);
                }
                assert_eq!(slots.len(), 400);
                assert!(halves.iter().all(|half| (120..280).contains(half)), "{halves:?}");
            }
        }
    }
}
