//! Working on a batch in chunks whose places in a table are asked for before the first is worked on.
//!
//! A table says by its control bytes where an entry is. Both are asked for ahead, one after the other,
//! so that the cache misses of a chunk overlap. The control bytes are small: they are asked for all at once.
//! Entries are asked for one at a time between the work on others, for a core keeps few requests to
//! memory: more than that wait for each other, or are dropped.

use smallvec::SmallVec;

/// Records of a chunk: 128 cache lines are a quarter of a first-level cache.
pub(super) const CHUNK: usize = 128;

/// Records between the one that is worked on and the one whose entry is asked for: about what is worked
/// on in the time of a request to memory.
const NEAR: usize = 24;

/// Calls `announce` for each record of a chunk, then `locate` for what that has returned, [`NEAR`] records
/// before `work` with both, in the order of the records; all of them with `context`.
#[inline]
pub(super) fn in_chunks<X, D, P: Copy>(
    context: &mut X,
    batch: &mut Vec<D>,
    mut announce: impl FnMut(&mut X, &D) -> P,
    mut locate: impl FnMut(&mut X, &mut P),
    mut work: impl FnMut(&mut X, P, D),
) {
    // Not an array: to fill one anew costs as much as the work on a small batch.
    let mut places = SmallVec::<[P; CHUNK]>::new();
    let mut records = batch.drain(..);
    while !records.as_slice().is_empty() {
        let ahead = &records.as_slice()[..records.as_slice().len().min(CHUNK)];
        places.clear();
        places.extend(ahead.iter().map(|record| announce(context, record)));
        // Which asks each time that it is used where it has its memory.
        let places = places.as_mut_slice();
        places.iter_mut().take(NEAR).for_each(|place| locate(context, place));
        for at in 0..places.len() {
            if let Some(place) = places.get_mut(at + NEAR) {
                locate(context, place);
            }
            let Some(record) = records.next() else {
                unreachable!("there is a record for each place")
            };
            work(context, places[at], record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_worked_on_once_in_its_order_after_both_steps() {
        for count in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let mut batch: Vec<usize> = (0..count).collect();
            let mut worked = Vec::new();
            in_chunks(
                &mut worked,
                &mut batch,
                |_, record| 2 * record,
                |_, place| *place += 1,
                |worked, place, record| worked.push((place, record)),
            );
            assert!(batch.is_empty());
            assert!(worked.into_iter().eq((0..count).map(|n| (2 * n + 1, n))), "{count}");
        }
    }
}
