//! Asking for the memory of states some records before their function comes to it.
//!
//! One cache miss a record is nearly the whole cost of a large state. The function works on one record
//! at a time, but the keys of a whole batch are known: asked for ahead, their misses overlap.

use crate::stream::Key;

/// Records that are looked ahead at.
pub(super) const CHUNK: usize = 64;

/// Asks for what states hold of the keys with these hashes.
pub(super) type Ask = Box<dyn Fn(&[u64])>;

/// Asks for the elements that these records will come to, given the hashes of their keys.
pub(super) type AskOfRecords<K, V> = Box<dyn Fn(&[(K, V)], &[u64])>;

/// The states of an operator that can be asked for ahead: those with one value a key, of which the key is
/// all that must be known, and the maps of which the program has said which element a record is about.
pub(crate) struct Lookahead<K, V> {
    of_keys: Vec<Ask>,
    of_records: Vec<AskOfRecords<K, V>>,
}

impl<K: Key, V> Lookahead<K, V> {
    pub(super) fn new(of_keys: Vec<Ask>, of_records: Vec<AskOfRecords<K, V>>) -> Self {
        Lookahead { of_keys, of_records }
    }

    /// Calls `work` with the parts of each record, in their order, and the hash of its key.
    #[inline]
    pub(crate) fn each(
        &self,
        batch: &mut Vec<(K, V)>,
        hash: impl Fn(&K) -> u64,
        mut work: impl FnMut(K, u64, V),
    ) {
        let mut hashes = [0; CHUNK];
        let mut records = batch.drain(..);
        loop {
            let ahead = &records.as_slice()[..records.as_slice().len().min(CHUNK)];
            let hashes = &mut hashes[..ahead.len()];
            if hashes.is_empty() {
                return;
            }
            hashes.iter_mut().zip(ahead).for_each(|(place, (key, _))| *place = hash(key));
            self.of_keys.iter().for_each(|ask| ask(hashes));
            self.of_records.iter().for_each(|ask| ask(ahead, hashes));
            for (hash, (key, value)) in hashes.iter().zip(records.by_ref()) {
                work(key, *hash, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Beyond all hashes.
    const OF_RECORD: u64 = 1 << 40;

    #[test]
    fn every_record_is_asked_for_before_it_is_worked_on_and_comes_in_its_order() {
        for count in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let asked = Rc::new(RefCell::new(Vec::new()));
            let note = Rc::clone(&asked);
            let ask = move |hashes: &[u64]| note.borrow_mut().extend_from_slice(hashes);
            let mut batch: Vec<(u64, usize)> = (0..count).map(|n| (n as u64 * 3, n)).collect();
            let mut worked = Vec::new();
            let note = Rc::clone(&asked);
            let ask_of_records = move |ahead: &[(u64, usize)], hashes: &[u64]| {
                assert!(ahead.iter().map(|(key, _)| key + 1).eq(hashes.iter().copied()));
                note.borrow_mut().extend(ahead.iter().map(|(_, n)| OF_RECORD + *n as u64));
            };
            let lookahead = Lookahead::new(vec![Box::new(ask)], vec![Box::new(ask_of_records)]);
            lookahead.each(
                &mut batch,
                |key| key + 1,
                |key, hash, n| {
                    assert_eq!(hash, key + 1);
                    assert!(asked.borrow().contains(&hash));
                    assert!(asked.borrow().contains(&(OF_RECORD + n as u64)));
                    worked.push(n);
                },
            );
            assert!(batch.is_empty() && worked.into_iter().eq(0..count));
            assert_eq!(asked.borrow().len(), 2 * count);
        }
    }
}
