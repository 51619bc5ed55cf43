//! What is to be done when: hashes by time, taken in order of both.

use std::collections::BTreeMap;

/// See the module. Few times, with many hashes each: the ends of windows.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    at: BTreeMap<i64, Hashes>,
}

#[derive(Debug, Default)]
struct Hashes {
    hashes: Vec<u64>,
    /// The greatest first: they are taken from the back, in the order in which a table has them.
    is_sorted: bool,
}

impl Agenda {
    /// Adds `hash` at `at`; what is there twice is taken twice.
    pub(super) fn push(&mut self, at: i64, hash: u64) {
        let there = self.at.entry(at).or_default();
        there.hashes.push(hash);
        there.is_sorted = false;
    }

    /// The next time at which there is something.
    pub(super) fn first(&self) -> Option<i64> {
        self.at.first_key_value().map(|(at, _)| *at)
    }

    /// Takes up to `count` of the hashes of the first time, if that is `until` or before; returns
    /// the time.
    pub(super) fn take(&mut self, until: i64, count: usize, taken: &mut Vec<u64>) -> Option<i64> {
        taken.clear();
        let mut first = self.at.first_entry().filter(|first| *first.key() <= until)?;
        let (at, there) = (*first.key(), first.get_mut());
        if !std::mem::replace(&mut there.is_sorted, true) {
            there.hashes.sort_unstable_by(|one, other| other.cmp(one));
        }
        let left = there.hashes.len().saturating_sub(count);
        taken.extend(there.hashes.drain(left..).rev());
        if left == 0 {
            first.remove();
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_taken_in_the_order_of_their_times_some_at_once() {
        let (mut agenda, mut taken) = (Agenda::default(), Vec::new());
        for (at, hash) in [(5, 1), (3, 9), (3, 2), (5, 0), (3, 4), (7, 7)] {
            agenda.push(at, hash);
        }
        assert_eq!(agenda.take(2, 9, &mut taken), None);
        assert_eq!((agenda.take(6, 2, &mut taken), &taken[..]), (Some(3), &[2, 4][..]));
        // What comes meanwhile has its turn.
        agenda.push(3, 1);
        assert_eq!((agenda.take(6, 9, &mut taken), &taken[..]), (Some(3), &[1, 9][..]));
        assert_eq!((agenda.take(6, 9, &mut taken), &taken[..]), (Some(5), &[0, 1][..]));
        assert_eq!((agenda.take(6, 9, &mut taken), &taken[..]), (None, &[][..]));
        assert_eq!(agenda.first(), Some(7));
    }
}
