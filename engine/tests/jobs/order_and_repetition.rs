//! Deduplication, sorting, numbering and sampling: what comes out is what their definitions say, over a
//! stop and a start with another number of workers.
//!
//! Inputs are random splits, out of order by at most what their watermarks allow. The definitions are
//! checked on what comes out, or by a plain loop over the input.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::store::Location;
use highwater::prelude::*;
use highwater::state::Context;
use highwater::stream::Arrival;
use highwater::testing::{CollectSink, Random, VecSource};

use super::windows::{WAIT, Waiting, at};

/// A key, an event time and a number.
type Record = (u8, i64, u64);

const OUT_OF_ORDER_MS: i64 = 30;

fn input(seed: u64, records: u64) -> Vec<Vec<Record>> {
    let mut random = Random::new(seed);
    let mut splits = vec![Vec::new(); 5];
    let mut at = -300;
    for id in 0..records {
        at += random.below(3) as i64;
        let late = random.below(OUT_OF_ORDER_MS as usize + 1) as i64;
        splits[random.below(5)].push((random.below(5) as u8, at - late, id));
    }
    splits
}

/// Runs `build` on the input with `from` workers, stops it at a third, and goes on with `to`.
fn stopped_once<R, F>(input: &[Vec<Record>], (from, to): (usize, usize), build: F) -> Vec<R>
where
    R: highwater::Data + Clone,
    F: for<'scope> Fn(Stream<'scope, Record>) -> Stream<'scope, R> + Clone + Send + Sync + 'static,
{
    let (store, collected) = (Location::memory(), CollectSink::new());
    let records: usize = input.iter().map(Vec::len).sum();
    for (workers, stop_at) in [(from, records as u64 / 3), (to, u64::MAX)] {
        let bound = Duration::from_millis(OUT_OF_ORDER_MS as u64 + 3);
        let by_time = Watermarks::bounded(bound, |record: &Record| EventTime(record.1));
        let source = VecSource::splits(input.to_vec()).with_watermarks(by_time);
        let (sink, build, seen) = (collected.clone(), build.clone(), Arc::new(AtomicU64::new(0)));
        let summary = Job::new("order")
            .quiet()
            .workers(workers)
            .checkpoint_store(store.clone())
            .checkpoint_interval(Duration::from_millis(1))
            .execute(move |flow| {
                let (run, seen) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen));
                let records = flow.source("records", source.clone()).inspect(move |_| {
                    if seen.fetch_add(1, Ordering::Relaxed) == stop_at {
                        run.control().request_stop();
                    }
                });
                build(records).sink("out", sink.clone());
            });
        let late = summary.unwrap().late;
        assert!(late.is_empty(), "{late:?}");
    }
    collected.records()
}

const WORKERS: [(usize, usize); 4] = [(1, 1), (1, 3), (3, 2), (2, 1)];

#[test]
fn of_records_near_each_other_one_passes() {
    const WITHIN_MS: i64 = 25;
    for (seed, workers) in WORKERS.into_iter().enumerate() {
        let input = input(seed as u64, 6_000);
        let passed = stopped_once(&input, workers, |records| {
            let within = Duration::from_millis(WITHIN_MS as u64);
            records.deduplicate_within("once", |r| r.0, |r| EventTime(r.1), within)
        });
        let near = |a: &Record, b: &Record| a.0 == b.0 && (a.1 - b.1).abs() < WITHIN_MS;
        for (at, record) in passed.iter().enumerate() {
            let other = passed[..at].iter().find(|other| near(record, other));
            assert_eq!(other, None, "{workers:?}: beside {record:?}");
        }
        let lost = input.iter().flatten().find(|r| !passed.iter().any(|p| near(r, p)));
        assert_eq!(lost, None, "{workers:?}");
    }
}

#[test]
fn distinct_records_pass_once() {
    for (seed, workers) in WORKERS.into_iter().enumerate() {
        let input = input(10 + seed as u64, 6_000);
        let mut distinct =
            stopped_once(&input, workers, |records| records.map(|r| r.1 / 3).distinct("distinct"));
        distinct.sort_unstable();
        let expected: BTreeSet<i64> = input.iter().flatten().map(|r| r.1 / 3).collect();
        assert!(distinct.iter().eq(&expected), "{workers:?}");
        let firsts = stopped_once(&input, workers, |records| {
            let day = Duration::from_secs(86_400);
            records.deduplicate_for("firsts", |r| (r.0, r.1), day).deduplicate("first", |r| r.0)
        });
        let keys: BTreeSet<u8> = firsts.iter().map(|r| r.0).collect();
        assert_eq!((firsts.len(), keys.len()), (5, 5), "{workers:?}");
    }
}

#[test]
fn each_key_comes_in_the_order_of_its_times() {
    for (seed, workers) in WORKERS.into_iter().enumerate() {
        let input = input(20 + seed as u64, 6_000);
        let sorted = stopped_once(&input, workers, |records| {
            records.key_by(|r| r.0).sort_by_event_time("sorted", |r| EventTime(r.1))
        });
        let mut by_key: BTreeMap<u8, Vec<Record>> = BTreeMap::new();
        for (key, r) in sorted {
            by_key.entry(key).or_default().push(r);
        }
        for (key, found) in by_key {
            assert!(found.is_sorted_by_key(|r| r.1), "{workers:?}, key {key}");
            let mut ids: Vec<u64> = found.iter().map(|r| r.2).collect();
            ids.sort_unstable();
            let of_key = input.iter().flatten().filter(|r| r.0 == key);
            let expected: BTreeSet<u64> = of_key.map(|r| r.2).collect();
            assert!(ids.iter().eq(&expected), "{workers:?}, key {key}");
        }
        let sorted = stopped_once(&input, workers, |records| {
            records.sort_by_event_time("sorted", |r| EventTime(r.1))
        });
        assert!(sorted.is_sorted_by_key(|r| r.1), "{workers:?}");
        assert_eq!(sorted.len(), 6_000, "{workers:?}");
    }
}

/// The first two waits are over when what is below their times has come out.
#[test]
fn a_record_that_is_late_by_a_millisecond_is_not_sorted_but_goes_aside_and_is_counted() {
    let steps = [
        (1, 10, 0),
        (1, 30, 1),
        (1, WAIT, 1),
        (1, 30, 2),
        (1, 29, 3),
        (2, 40, 4),
        (1, WAIT, 3),
        (1, 39, 5),
        (1, 41, 6),
    ];
    let passed = Arc::new(AtomicU64::new(0));
    let source = Waiting { source: VecSource::new(steps), results: Arc::clone(&passed) };
    let source = source.with_watermarks(Watermarks::ascending(at));
    let (sorted, late) = (CollectSink::new(), CollectSink::new());
    let (to_sorted, to_late) = (sorted.clone(), late.clone());
    let summary = Job::new("late").quiet().execute(move |flow| {
        let (passed, records) = (Arc::clone(&passed), flow.source("records", source.clone()));
        let (sorted, late) = records.key_by(|_| ()).sort_by_event_time_with_late("order", at);
        let sorted = sorted.map(|((), record)| record.2).inspect(move |_| {
            passed.fetch_add(1, Ordering::Relaxed);
        });
        sorted.sink("sorted", to_sorted.clone());
        late.map(|((), record)| record.2).sink("late", to_late.clone());
    });
    let counts = summary.unwrap().late["order"];
    assert_eq!(sorted.records(), [0, 1, 2, 4, 6]);
    assert_eq!(late.records(), [3, 5], "of the time of the watermark is not late");
    assert_eq!((counts.taken, counts.dropped, counts.sent_aside), (0, 0, 2));
}

#[test]
fn numbers_are_unique_and_rise() {
    for (seed, workers) in WORKERS.into_iter().enumerate() {
        let input = input(30 + seed as u64, 6_000);
        let numbered =
            stopped_once(&input, workers, |records| records.zip_with_index("n").map(|(n, _)| n));
        let numbers: BTreeSet<u64> = numbered.iter().copied().collect();
        assert_eq!((numbered.len(), numbers.len()), (6_000, 6_000), "{workers:?}");
        if workers == (1, 1) {
            assert!(numbered.is_sorted());
            assert_eq!(numbers.last(), Some(&5_999), "one worker leaves no gaps");
        }
    }
}

#[test]
fn a_sample_is_a_share_and_the_same_whenever_it_is_taken() {
    let input = input(40, 6_000);
    let take = |workers, seed| {
        let ids = stopped_once(&input, workers, move |all| all.sample(0.25, seed).map(|r| r.2));
        ids.into_iter().collect::<BTreeSet<u64>>()
    };
    let sample = take((1, 2), 1);
    assert!((1_200..1_800).contains(&sample.len()), "{}", sample.len());
    assert_eq!(take((3, 1), 1), sample);
    assert_ne!(take((1, 2), 2), sample);
    let by_key = stopped_once(&input, (1, 1), |all| all.sample_by(0.5, 3, |r| r.1 / 10));
    let chosen: BTreeSet<i64> = by_key.iter().map(|r| r.1 / 10).collect();
    let of_chosen = input.iter().flatten().filter(|r| chosen.contains(&(r.1 / 10)));
    assert_eq!(of_chosen.count(), by_key.len(), "a key is chosen whole");
    let all = stopped_once(&input, (1, 1), |all| all.sample(1.0, 4));
    assert_eq!(all.len(), 6_000);
}

/// An operator that hears of watermarks and keeps nothing has no epoch to hold its capabilities in.
#[test]
fn regression_an_operator_without_state_is_told_of_watermarks() {
    for (seed, workers) in WORKERS.into_iter().enumerate() {
        let input = input(50 + seed as u64, 6_000);
        let told = stopped_once(&input, workers, |records| {
            records.process_watermarks("told", |_| {
                move |ctx: &Context<'_, (), i64>, arrival| match arrival {
                    Arrival::Record(_) => {}
                    Arrival::Watermark(watermark) => ctx.emit(watermark.0),
                }
            })
        });
        let ended = told.iter().filter(|at| **at == i64::MAX).count();
        assert_eq!(ended, workers.1, "each worker is told of the end");
        assert!(told.len() > 2 * workers.1, "{told:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures a rate")]
fn what_a_rate_limit_holds_back_passes_once_and_not_too_soon() {
    for (seed, workers) in WORKERS.into_iter().enumerate() {
        let input = input(30 + seed as u64, 2_000);
        let began = Instant::now();
        let mut passed = stopped_once(&input, workers, |records| records.rate_limit(4_000.0));
        // The two runs may each begin with a burst: a hundredth of a second's, or a record a worker.
        let least = Duration::from_millis((2_000 - 2 * 43) / 4);
        assert!(began.elapsed() >= least, "{workers:?}: {:?}", began.elapsed());
        let mut expected: Vec<Record> = input.iter().flatten().copied().collect();
        passed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(passed, expected, "{workers:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_values() {
    let refused = |build: fn(Stream<'_, Record>) -> Stream<'_, Record>| {
        let outcome = Job::new("bad").quiet().run(move |flow| {
            build(flow.source("none", VecSource::new(Vec::new()))).for_each(drop);
        });
        let error = outcome.expect_err("it must not run");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        format!("{error:?}")
    };
    let text = refused(|all| all.sample(1.5, 0));
    assert!(text.contains("a sample of 1.5 of all records: it must be 0 to 1"), "{text}");
    assert!(refused(|all| all.sample(f64::NAN, 0)).contains("NaN"));
    let text = refused(|all| all.rate_limit(0.0));
    assert!(text.contains("a rate limit of 0 records a second: it must be above 0"), "{text}");
    assert!(refused(|all| all.rate_limit(f64::INFINITY)).contains("inf"));
    let text = refused(|all| all.deduplicate_for("once", |r| r.0, Duration::ZERO));
    assert!(text.contains("\"once\"") && text.contains("0ns"), "{text}");
    let text = refused(|all| {
        all.deduplicate_within("once", |r| r.0, |r| EventTime(r.1), Duration::from_micros(999))
    });
    assert!(text.contains("999\u{b5}s") && text.contains("at least 1ms"), "{text}");
}
