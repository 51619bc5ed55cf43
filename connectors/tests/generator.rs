//! The generator yields every number once, whatever the splits, and no faster than its rate.

#![expect(clippy::disallowed_methods, reason = "measures the rate")]
// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater_connectors::generator::{GeneratorOffset, GeneratorSource};
use proptest::prelude::*;

proptest! {
    #[test]
    fn splits_change_the_order_only(total in 0u64..500, splits in 1u64..12, limit in 1usize..70) {
        let source = GeneratorSource::new(total, |n| n).splits(splits);
        let mut all = Vec::new();
        for NamedSplit { split, .. } in source.discover(&[]).unwrap() {
            let mut out = Vec::new();
            let mut reader = source.open(&split, None).unwrap();
            let limit = ReadLimit { records: limit, bytes: usize::MAX };
            while reader.read(limit, &mut out).unwrap() != ReadStatus::Finished {}
            prop_assert!(out.iter().all(|n| n % splits == split.index));
            prop_assert!(out.is_sorted());
            all.extend(out);
        }
        all.sort_unstable();
        prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
    }
}

#[test]
fn a_run_that_goes_on_keeps_its_splits() {
    let known = GeneratorSource::new(100, |n| n).splits(3).discover(&[]).unwrap();
    let source = GeneratorSource::new(100, |n| n).splits(5);
    assert!(source.discover(&known).unwrap().is_empty());
    let mut reader = source.open(&known[2].split, Some(GeneratorOffset { records: 32 })).unwrap();
    let mut out = Vec::new();
    let limit = ReadLimit { records: 10, bytes: usize::MAX };
    assert_eq!(reader.read(limit, &mut out).unwrap(), ReadStatus::Finished);
    assert_eq!(out, [98], "98 = 32 * 3 + 2");
}

#[test]
fn endless_is_never_finished() {
    let source = GeneratorSource::endless(|n| n).splits(1);
    let split = source.discover(&[]).unwrap()[0].split;
    let offset = GeneratorOffset { records: 1 << 60 };
    let mut reader = source.open(&split, Some(offset)).unwrap();
    let mut out = Vec::new();
    let limit = ReadLimit { records: 1000, bytes: 80 };
    assert_eq!(reader.read(limit, &mut out).unwrap(), ReadStatus::Ready);
    assert_eq!(out.len(), 10, "80 bytes of numbers of 8");
    assert_eq!(reader.progress(), None);
}

#[test]
fn all_splits_together_keep_to_the_rate() {
    let source = GeneratorSource::endless(|n| n).splits(4).rate(10_000.0);
    let splits = source.discover(&[]).unwrap();
    let begun = Instant::now();
    let mut readers: Vec<_> =
        splits.iter().map(|named| source.open(&named.split, None).unwrap()).collect();
    let opened_within = begun.elapsed();
    let mut out = Vec::new();
    let mut idle = Duration::ZERO;
    while begun.elapsed() < Duration::from_millis(100) {
        for reader in &mut readers {
            let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            match reader.read(limit, &mut out).unwrap() {
                ReadStatus::Idle { retry_after } => idle = idle.max(retry_after),
                status => panic!("{status:?} of a reader that has to wait"),
            }
        }
    }
    let due_max = (begun.elapsed().as_secs_f64() * 10_000.0) as usize + 4;
    let due_min = ((0.1 - opened_within.as_secs_f64()) * 10_000.0) as usize / 2;
    assert!((due_min..=due_max).contains(&out.len()), "{} of {due_max}", out.len());
    assert!(idle > Duration::ZERO && idle < Duration::from_millis(100), "{idle:?}");
    out.sort_unstable();
    out.dedup();
    assert!(out.len() >= due_min, "no number twice");
}
