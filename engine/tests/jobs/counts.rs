//! What a keyed count of an input must have said, for each way of emitting: plain loops.

use std::collections::BTreeMap;
use std::fmt::Debug;

use highwater::prelude::*;

/// How often each key comes in `input`.
pub(crate) fn counts<K: Ord + Clone>(input: &[Vec<K>]) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    input.iter().flatten().for_each(|key| *counts.entry(key.clone()).or_insert(0) += 1);
    counts
}

/// Whether `rows`, in the order in which they came out, are what a count of `input` emits.
pub(crate) fn check<K: Ord + Clone + Debug>(
    emit: Emit,
    rows: Vec<(K, u64)>,
    input: &[Vec<K>],
    case: &str,
) {
    match emit {
        Emit::EachUpdate => check_updates(rows, input, case),
        Emit::LastPerStep => check_last(rows, input, case),
        Emit::AtEnd => check_totals(rows, input, case),
    }
}

/// Each key must have each number from 1 to its count once.
pub(crate) fn check_updates<K: Ord + Clone + Debug>(
    rows: Vec<(K, u64)>,
    input: &[Vec<K>],
    case: &str,
) {
    let mut found: BTreeMap<K, Vec<u64>> = BTreeMap::new();
    for (key, n) in rows {
        found.entry(key).or_default().push(n);
    }
    for (key, count) in counts(input) {
        let mut numbers = found.remove(&key).unwrap_or_default();
        numbers.sort_unstable();
        let right = numbers.iter().copied().eq(1..=count);
        assert!(right, "{case}: key {key:?} of {count} has {numbers:?}");
    }
    assert!(found.is_empty(), "{case}: rows of keys that are not in the input: {found:?}");
}

/// Each key must have its count, once.
pub(crate) fn check_totals<K: Ord + Clone + Debug>(
    mut rows: Vec<(K, u64)>,
    input: &[Vec<K>],
    case: &str,
) {
    rows.sort_unstable();
    let expected: Vec<(K, u64)> = counts(input).into_iter().collect();
    assert_eq!(rows, expected, "{case}");
}

/// Counts must only ever grow, and the last of each key be its count.
fn check_last<K: Ord + Clone + Debug>(rows: Vec<(K, u64)>, input: &[Vec<K>], case: &str) {
    let mut last = BTreeMap::new();
    for (key, n) in rows {
        let before = last.get(&key).copied().unwrap_or(0);
        assert!(before <= n, "{case}: key {key:?} went from {before} to {n}");
        last.insert(key, n);
    }
    assert_eq!(last, counts(input), "{case}");
}
