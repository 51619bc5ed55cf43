//! Working on a batch in chunks whose places in a table are asked for before the first is worked on.
//!
//! A table says by its control bytes where an entry is. Both are asked for ahead, one after the other,
//! so that the cache misses of a chunk overlap.

use smallvec::SmallVec;

/// Records of a chunk: 128 cache lines are a quarter of a first-level cache.
pub(super) const CHUNK: usize = 128;

/// Calls `announce` for each record of a chunk, then `locate` for what that has returned, then `work`
/// with both, in the order of the records; all of them with `context`.
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
        places.iter_mut().for_each(|place| locate(context, place));
        for (place, record) in places.iter().zip(records.by_ref()) {
            work(context, *place, record);
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
