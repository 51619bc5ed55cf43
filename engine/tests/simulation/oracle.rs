//! What the output must be, by plain loops over the input.

use std::collections::BTreeMap;

use highwater::prelude::*;

use super::job::{BUCKET_MS, Shape, Targets, time_of};
use super::said::Input;
use super::timed::{Row, Timed};

/// What is wrong with the output of a job that has finished.
pub(crate) fn complaint(shape: &Shape, targets: &Targets) -> Option<String> {
    let input: Vec<_> = shape.left.iter().chain(shape.right.iter()).flatten().copied().collect();
    let differs = |what: &str, found: String, right: String| {
        Some(format!("{what}: is {found}, should be {right}"))
    };
    let (mut all, mut right) = (targets.all.records(), input.clone());
    all.sort_unstable();
    right.sort_unstable();
    if all != right {
        return differs("all", format!("{all:?}"), format!("{right:?}"));
    }
    let mut counts = BTreeMap::new();
    for (key, _) in &input {
        *counts.entry(*key).or_insert(0u64) += 1;
    }
    if shape.toggles {
        let mut toggled = BTreeMap::new();
        let keys = targets.toggled.records();
        for key in keys {
            *toggled.entry(key).or_insert(0) += 1;
        }
        let halves = counts.iter().map(|(key, count)| (*key, count / 2));
        let halves: BTreeMap<_, _> = halves.filter(|(_, half)| *half > 0).collect();
        if toggled != halves {
            return differs("toggled", format!("{toggled:?}"), format!("{halves:?}"));
        }
    }
    if shape.buckets {
        let mut right = BTreeMap::<(u64, i64), u64>::new();
        for (key, serial) in &input {
            *right.entry((*key, time_of(*serial).0.div_euclid(BUCKET_MS))).or_default() += 1;
        }
        let mut buckets = targets.buckets.records();
        buckets.sort_unstable();
        if !buckets.iter().copied().eq(right.iter().map(|((key, at), n)| (*key, *at, *n))) {
            return differs("buckets", format!("{buckets:?}"), format!("{right:?}"));
        }
    }
    if let Some(timed) = shape.timed {
        let mut right = Input::of(shape).rows(timed);
        right.sort();
        let mut said = targets.timed.records();
        let is_sorted = matches!(timed, Timed::Sorted);
        if let Some(out) = is_sorted.then(|| out_of_order(&said)).flatten() {
            return differs("sorted", format!("{out:?}"), "in the order of time".to_owned());
        }
        said.sort();
        if said != right {
            return differs(&format!("{timed:?}"), format!("{said:?}"), format!("{right:?}"));
        }
    }
    let firsts = targets.firsts.records();
    let last = updates("firsts", firsts.clone(), shape.first, |n| *n, &counts);
    let Ok(last) = last else { return last.err() };
    if last != counts {
        return differs("firsts", format!("{last:?}"), format!("{counts:?}"));
    }
    let emit = shape.second?;
    // Which updates the first says, if not all, is left to chance: the second has seen the same.
    let mut folded = BTreeMap::<u64, (u64, u64)>::new();
    for (key, count) in firsts {
        let (records, sum) = folded.entry(key % 3).or_default();
        (*records, *sum) = (*records + 1, *sum + count);
    }
    let records = folded.iter().map(|(key, (records, _))| (*key, *records)).collect();
    let last = updates("seconds", targets.seconds.records(), emit, |(n, _)| *n, &records);
    match last {
        Err(complaint) => Some(complaint),
        Ok(last) if last == folded => None,
        Ok(last) => differs("seconds", format!("{last:?}"), format!("{folded:?}")),
    }
}

/// A row that comes before one of its key whose time is earlier.
fn out_of_order(rows: &[Row]) -> Option<&Row> {
    rows.iter().enumerate().find_map(|(n, row)| {
        let is_after =
            |later: &&Row| later.0 == row.0 && time_of(later.1 as u64) < time_of(row.1 as u64);
        rows[n..].iter().find(is_after).map(|_| row)
    })
}

/// The last value of each key, once it is clear that each update was said as often as it should be:
/// `number` counts the updates of a key, of which there are `counts`.
fn updates<V: Copy + std::fmt::Debug>(
    what: &str,
    said: Vec<(u64, V)>,
    emit: Emit,
    number: impl Fn(&V) -> u64,
    counts: &BTreeMap<u64, u64>,
) -> Result<BTreeMap<u64, V>, String> {
    let mut by_key = BTreeMap::<u64, Vec<V>>::new();
    for (key, value) in said {
        by_key.entry(key).or_default().push(value);
    }
    let mut last = BTreeMap::new();
    for (key, mut values) in by_key {
        values.sort_by_key(&number);
        let numbers: Vec<u64> = values.iter().map(&number).collect();
        let count = counts.get(&key).copied().unwrap_or_default();
        let is_right = match emit {
            Emit::EachUpdate => numbers.iter().copied().eq(1..=count),
            // Two steps that pass at once say the same.
            Emit::LastPerStep => numbers.last() == Some(&count) && numbers.len() as u64 <= count,
            Emit::AtEnd => numbers == [count],
        };
        if !is_right {
            return Err(format!("{what}: key {key} of {count}, by {emit:?}, has {values:?}"));
        }
        last.extend(values.last().map(|value| (key, *value)));
    }
    Ok(last)
}
