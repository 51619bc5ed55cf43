//! When windows fire beside their ends, and what a checkpoint has of it: by the time of day, for late records
//! together, many at once while epochs end, and all of them when a job is drained.

#![expect(clippy::disallowed_methods, reason = "asks from another thread")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use highwater::checkpoint::run::{Elsewhere, Restore};
use highwater::checkpoint::savepoint::request::{self, Patience};
use highwater::checkpoint::store::{BlobStore, Location};
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::window::{Sliding, Trigger, Tumbling};

use super::trickle::Trickle;
use super::waiting::{block_on, until};
use super::windows::{
    How, Kind, LATE, Numbers, Record, Row, WAIT, at, in_order, input, job, model, ms, row, windows,
};

/// When it fires early is a matter of the clock. That it does is not: the third record waits for it.
#[test]
fn early_firings_by_the_time_of_day_say_what_is_new_and_nothing_twice() {
    let steps = [(1, 10, 0), (1, 20, 1), (1, WAIT, 1), (1, 30, 2), (1, WAIT, 2), (1, 130, 3)];
    for is_purging in [false, true] {
        let (rows, _, _) = in_order(&steps, move |records| {
            let early = Trigger::watermark().early_every_by_processing_time(ms(3));
            let early = if is_purging { early.purge() } else { early };
            let windows = records.window(Tumbling::of(ms(100)), at).trigger(early);
            windows.late_output().aggregate("windows", Numbers)
        });
        let first: Vec<&Row> = rows.iter().filter(|row| row.window.end == EventTime(100)).collect();
        let said: Vec<&[u64]> = first.iter().map(|row| row.value.as_slice()).collect();
        assert!(said.len() >= 2 && said[0].len() < 3, "nothing is said early: {said:?}");
        if is_purging {
            assert_eq!(said.concat(), [0, 1, 2], "{said:?}");
            continue;
        }
        let (early, last) = (&said[..said.len() - 1], said[said.len() - 1]);
        assert_eq!(last, [0, 1, 2]);
        assert!(early.windows(2).all(|two| two[0].len() < two[1].len()), "no news: {said:?}");
        assert!(said.iter().all(|said| last.starts_with(said)), "{said:?}");
    }
}

#[test]
fn late_records_that_wait_for_the_watermark_are_said_of_together() {
    for is_purging in [false, true] {
        let (rows, late, summary) = in_order(&LATE, move |records| {
            let trigger = Trigger::watermark().late_at_watermark();
            let trigger = if is_purging { trigger.purge() } else { trigger };
            let windows = records.window(Tumbling::of(ms(100)), at).trigger(trigger);
            windows.allowed_lateness(ms(50)).late_output().aggregate("windows", Numbers)
        });
        let again = if is_purging { vec![2, 3] } else { vec![0, 2, 3] };
        let right = [
            ((100, 200), vec![0]),
            ((100, 200), again),
            ((200, 300), vec![1, 4]),
            ((300, 400), vec![5]),
        ];
        assert_eq!(rows, right.map(|(bounds, value)| row(1, bounds, value)));
        assert_eq!((late.len(), summary.late["windows"].taken), (0, 2));
    }
}

/// An epoch ended when some of the windows that were due had fired, if a record of the next one came: its
/// checkpoint did not say so, and they fired again.
#[test]
fn regression_windows_that_fire_while_an_epoch_ends_fire_once() {
    const KEYS: u64 = 9_000;
    let (size, slide) = (200, 100);
    let burst = |n: u64| (0..KEYS).map(move |key| (key, n as i64 * 100 + 50, n * 100_000 + key));
    // What comes behind each burst makes the watermark pass it, and keeps epochs coming.
    let after =
        |n: u64| (0..40).map(move |i| (KEYS, n as i64 * 100 + 55, n * 100_000 + 50_000 + i));
    let records: Vec<Record> = (0..5).flat_map(|n| burst(n).chain(after(n))).collect();
    let kind = Kind::Sliding(size, slide, 0);
    let (store, collected, mut random) = (Location::memory(), CollectSink::new(), Random::new(9));
    let mut deaths = 0;
    loop {
        let (workers, dies_at) = (1 + random.below(2), random.below(9_000) as u64);
        let dies_at = if deaths < 10 { dies_at } else { u64::MAX };
        let (seen, sink) = (Arc::new(AtomicU64::new(0)), collected.clone());
        let source = Trickle::new(VecSource::new(records.clone()), 700);
        let source = source.with_watermarks(Watermarks::ascending(at));
        let job = job(workers).checkpoint_store(store.clone()).checkpoint_interval(ms(1));
        let outcome = job.execute(move |flow| {
            let seen = Arc::clone(&seen);
            let rows = windows(flow.source("records", source.clone()), kind, How::Aggregate);
            let rows = rows.inspect(move |_| {
                assert!(seen.fetch_add(1, Ordering::Relaxed) != dies_at, "dies on purpose");
            });
            rows.sink("rows", sink.clone());
        });
        match outcome {
            Ok(_) => break,
            Err(error) => assert!(format!("{error:?}").contains("on purpose"), "{error:?}"),
        }
        deaths += 1;
    }
    let (mut found, right) = (collected.records(), model((kind, How::Aggregate), &[records]));
    found.sort();
    assert!(deaths >= 4, "{deaths} deaths");
    let twice =
        found.windows(2).find(|two| two[0].key == two[1].key && two[0].window == two[1].window);
    assert_eq!(twice, None, "said twice");
    assert!(found == right, "{} windows of {}", found.len(), right.len());
}

/// A job that is drained says what its windows have come to, and who starts from the savepoint says the
/// rest: each record is in each of its windows once, before or after, and none is late.
#[test]
fn regression_a_job_that_was_drained_goes_on_from_its_savepoint_with_what_is_left() {
    let patience = Patience { taken_up: ms(60_000), answered: ms(120_000) };
    for (number, (size, slide)) in [(70, 70), (90, 30)].into_iter().enumerate() {
        let records = input(number as u64, 900, 3, 5);
        let (store, name) = (Location::memory(), "drained".parse().unwrap());
        let open = Arc::new(AtomicUsize::new(150));
        let read = Arc::clone(&open);
        let source = Trickle::paced(VecSource::splits(records.clone()), move |_, at| {
            Ok(read.load(Ordering::Relaxed).saturating_sub(at).min(10))
        });
        let source = source.with_watermarks(Watermarks::bounded(ms(40), at));
        let run = move |job: Job, collected: &CollectSink<Row>, seen: &Arc<AtomicU64>| {
            let (source, sink, seen) = (source.clone(), collected.clone(), Arc::clone(seen));
            let job = job.checkpoint_interval(ms(2)).request_interval(ms(2));
            job.execute(move |flow| {
                let seen = Arc::clone(&seen);
                let records = flow.source("records", source.clone()).inspect(move |_| {
                    seen.fetch_add(1, Ordering::Relaxed);
                });
                let windows = records.key_by(|record| record.0);
                let windows = windows.window(Sliding::of(ms(size), ms(slide)), at);
                windows.aggregate("windows", Numbers).sink("rows", sink.clone());
            })
        };
        let (before, seen) = (CollectSink::new(), Arc::new(AtomicU64::new(0)));
        let first = job(2).checkpoint_store(store.clone());
        let running = {
            let (run, before, seen) = (run.clone(), before.clone(), Arc::clone(&seen));
            std::thread::spawn(move || run(first, &before, &seen))
        };
        until("everything that may be is read", || seen.load(Ordering::Relaxed) == 450);
        let jobs = BlobStore::new(store.clone(), "windows");
        block_on(request::request_drain(&jobs, Some(&name), patience)).unwrap();
        assert_eq!(running.join().unwrap().unwrap().outcome, Outcome::Drained);
        let of_first: Vec<Vec<Record>> =
            records.iter().map(|split| split[..150.min(split.len())].to_vec()).collect();
        let kind = Kind::Sliding(size, slide, 0);
        let mut fired = before.records();
        fired.sort();
        assert_eq!(fired, model((kind, How::Aggregate), &of_first), "a drain fires everything");

        open.store(usize::MAX, Ordering::Relaxed);
        let after = CollectSink::new();
        let from = Restore::From(Elsewhere::savepoint(&jobs, &name));
        let second = Job::new("goes-on").quiet().workers(3).checkpoint_store(store).restore(from);
        let summary = run(second, &after, &seen).unwrap();
        assert_eq!(summary.outcome, Outcome::Finished);
        assert!(summary.late.is_empty(), "{:?}", summary.late);
        let rest: Vec<Vec<Record>> =
            records.iter().map(|split| split[150.min(split.len())..].to_vec()).collect();
        let mut fired = after.records();
        fired.sort();
        assert_eq!(
            fired,
            model((kind, How::Aggregate), &rest),
            "what is left, and nothing of what was said"
        );
    }
}
