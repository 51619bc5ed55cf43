//! Timers fire once each, whenever a run ends: those that others set, those set to what has passed, those
//! that the end of the input finds; and what sets timers for ever can be stopped.

#![expect(clippy::disallowed_methods, reason = "waits for a time of day")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::store::Location;
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::state::Event;
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::{RestartStrategy, Restore, Summary};

use super::event_time::{Record, trickle, trickle_beside};
use super::trickle::Trickle;

fn ascending() -> Watermarks<Record> {
    Watermarks::ascending(|(_, at): &Record| EventTime(*at))
}

fn job(name: &str) -> Job {
    Job::new(name).quiet().restart_strategy(RestartStrategy::None)
}

/// Each timer sets the next, ten milliseconds on, as long as `goes_on` says so of its number. Records
/// are at 0 and 95; the watermark does not come beyond that but at the end.
fn ticking(
    job: Job,
    is_endless: bool,
    goes_on: impl Fn(&Control<'_>, i64) -> bool + Clone + Send + Sync + 'static,
    sink: &CollectSink<i64>,
) -> highwater::Result<Summary> {
    let sink = sink.clone();
    let source = Trickle::new(VecSource::new([(1, 0), (1, 95)]), 1);
    let source = if is_endless { source.endless() } else { source };
    job.execute(move |flow| {
        let (run, goes_on) = (Arc::clone(flow.checkpoints().run()), goes_on.clone());
        let records = flow.source("records", source.clone().with_watermarks(ascending()));
        let ticks = records.keyed().process_timed("tick", |state| {
            let timers = state.event_timers();
            let mut fired = 0;
            move |ctx, event| match event {
                Event::Record(at) => {
                    timers.set(ctx, (), EventTime(at + 10));
                    if at == 95 {
                        goes_on(run.control(), 0);
                    }
                }
                Event::Timer { at, .. } => {
                    ctx.emit(at.0);
                    fired += 1;
                    if goes_on(run.control(), fired) {
                        timers.set(ctx, (), EventTime(at.0 + 10));
                    }
                }
                Event::Alarm { .. } => unreachable!("none is set"),
            }
        });
        ticks.sink("ticks", sink.clone());
    })
}

type Control<'a> = highwater::checkpoint::run::Control;

/// They fired only up to the last timer that was set when the input ended.
#[test]
fn regression_what_timers_set_at_the_end_fires_however_late_it_is() {
    let ticks = CollectSink::new();
    let summary = ticking(job("ticks"), false, |_, fired| fired < 10_000, &ticks);
    assert_eq!(summary.unwrap().outcome, Outcome::Finished);
    let found = ticks.records();
    assert_eq!(found.len(), 10_000);
    assert!(found.is_sorted() && found.last() > Some(&90_000), "{:?}", found.last());
}

/// Once by a stop alone, once by one that comes after a drain.
#[test]
fn what_sets_timers_for_ever_at_the_end_is_ended_by_a_stop_and_goes_on_from_the_last_checkpoint() {
    for is_drained in [false, true] {
        let (ticks, store) = (CollectSink::new(), Location::memory());
        let job = || {
            let job = job("ticks").checkpoint_store(store.clone());
            job.checkpoint_interval(Duration::from_millis(2))
        };
        let goes_on = move |control: &Control<'_>, fired| {
            match fired {
                0 if is_drained => control.request_drain(),
                50_000 => control.request_stop(),
                _ => {}
            }
            true
        };
        match ticking(job(), is_drained, goes_on, &ticks) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                let says = "operator \"tick\" was stopped while timers that fire at the end";
                assert!(error.to_string().contains(says), "{error}");
            }
            // All that the last epoch waits for took longer than that.
            Ok(summary) => assert_eq!(summary.outcome, Outcome::Stopped),
        }
        let committed = ticks.records();
        if is_drained {
            assert_eq!(committed, [] as [i64; 0], "who drains a job goes on from where it was");
            continue;
        }
        // The input was over for some epochs before the last, which checkpoints have.
        let end = |_: &Control<'_>, fired| fired < 20_000;
        assert_eq!(ticking(job(), false, end, &ticks).unwrap().outcome, Outcome::Finished);
        let found = ticks.records();
        assert!(found.len() >= 20_000 && found.starts_with(&committed));
        assert!(
            found.iter().copied().eq((0..found.len() as i64).map(|n| 105 + 10 * n)),
            "each once"
        );
    }
}

/// No epoch ended any more, and a stop was waited for in vain.
#[test]
fn regression_a_timer_that_is_set_to_the_past_each_time_holds_up_no_stop() {
    let (fired, store) = (CollectSink::<i64>::new(), Location::memory());
    let mut last = 0;
    for workers in [2, 1] {
        let (sink, source) = (fired.clone(), trickle_beside(1, &[vec![(1, 7)], vec![]], 1));
        let job = job("past").workers(workers).checkpoint_store(store.clone());
        let summary = job.checkpoint_interval(Duration::from_millis(2)).execute(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            let by_time = ascending().idle_after(Duration::from_millis(1));
            let records = flow.source("records", source.clone().with_watermarks(by_time));
            let fired = records.keyed().process_timed("past", |state| {
                let (timers, count) = (state.event_timers(), state.value::<i64>("count"));
                let mut here = 0;
                move |ctx, event| {
                    if let Event::Timer { .. } = event {
                        here += 1;
                        ctx.emit(count.update(ctx, |count| {
                            *count += 1;
                            *count
                        }));
                        if here == 30_000 {
                            run.control().request_stop();
                        }
                    }
                    timers.set(ctx, (), EventTime(5));
                }
            });
            fired.sink("fired", sink.clone());
        });
        let summary = summary.unwrap();
        assert_eq!(summary.outcome, Outcome::Stopped);
        let found = fired.records();
        assert!(found.iter().copied().eq(1..=found.len() as i64), "each once, in its turn");
        assert!(found.len() >= last + 30_000, "{} after {last}", found.len());
        last = found.len();
    }
}

/// So many timers are due at once that epochs end between them, and runs die; each fires once, and
/// records behind the watermark that has begun to fire are behind it for the next run, too.
#[test]
fn timers_that_fire_over_several_epochs_fire_once_each() {
    const KEYS: u64 = 20_000;
    let burst = |at: i64| (0..KEYS).map(move |key| (key, at));
    // What comes behind each burst makes the watermark pass it, and keeps epochs coming.
    let after = |at: i64| (0..400).map(move |n| (KEYS, at + n));
    let records: Vec<Record> =
        burst(0).chain(after(100)).chain(burst(600)).chain(after(700)).collect();
    let (store, fired) = (Location::memory(), CollectSink::<Record>::new());
    let mut random = Random::new(5);
    let mut deaths = 0;
    loop {
        let (source, sink) = (Trickle::new(VecSource::new(records.clone()), 500), fired.clone());
        let (workers, dies_at) = (1 + random.below(3), random.below(15_000) as u64);
        let dies_at = if deaths < 8 { dies_at } else { u64::MAX };
        let seen = Arc::new(AtomicU64::new(0));
        let job = job("burst").workers(workers).checkpoint_store(store.clone());
        let outcome = job.checkpoint_interval(Duration::from_millis(1)).execute(move |flow| {
            let seen = Arc::clone(&seen);
            let records = flow.source("records", source.clone().with_watermarks(ascending()));
            let fired = records.keyed().process_timed("burst", |state| {
                let timers = state.event_timers();
                move |ctx, event| match event {
                    Event::Record(at) => timers.set(ctx, at, EventTime(at + 10)),
                    Event::Timer { tag, .. } => ctx.emit((*ctx.key(), tag)),
                    Event::Alarm { .. } => {}
                }
            });
            let fired = fired.inspect(move |_| {
                assert!(seen.fetch_add(1, Ordering::Relaxed) != dies_at, "dies on purpose");
            });
            fired.sink("fired", sink.clone());
        });
        match outcome {
            Ok(_) => break,
            Err(error) => assert!(format!("{error:?}").contains("on purpose"), "{error:?}"),
        }
        deaths += 1;
    }
    let (mut found, mut right) = (fired.records(), records);
    found.sort_unstable();
    right.sort_unstable();
    assert!(found == right, "{} timers of {} have fired", found.len(), right.len());
    assert!(deaths >= 2, "{deaths} deaths");
}

/// Two sources, one of them without event time and without end: when the other has ended the
/// watermark is at its end, while the job goes on.
#[test]
fn a_drain_when_event_time_has_come_to_its_end_fires_nothing_twice() {
    let timed: Vec<Record> = (0..200).map(|n| (n % 7, n as i64)).collect();
    let untimed: Vec<Record> = (0..600).map(|n| (n % 7, 10_000 + n as i64)).collect();
    let (store, fired) = (Location::memory(), CollectSink::<Record>::new());
    for (workers, drains_at) in [(2, 350), (3, 600)] {
        let sink = fired.clone();
        let (timed, untimed) = (trickle(std::slice::from_ref(&timed), 20), untimed.clone());
        let untimed = Trickle::new(VecSource::new(untimed), 2).endless();
        let seen = Arc::new(AtomicU64::new(fired.records().len() as u64));
        let job = job("end").workers(workers).checkpoint_store(store.clone());
        let last = last_checkpoint(&store);
        let job = if let Some(last) = last { job.restore(Restore::Id(last)) } else { job };
        let summary = job.checkpoint_interval(Duration::from_millis(2)).execute(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            let seen = Arc::clone(&seen);
            let timed = flow.source("timed", timed.clone().with_watermarks(ascending()));
            let all = timed.union(flow.source("untimed", untimed.clone()));
            let fired = all.keyed().process_timed("fire", |state| {
                let timers = state.event_timers();
                move |ctx, event| match event {
                    Event::Record(at) => timers.set(ctx, at, EventTime(at + 1_000)),
                    Event::Timer { tag, .. } => ctx.emit((*ctx.key(), tag)),
                    Event::Alarm { .. } => {}
                }
            });
            // Beyond 200 only because timers fire that are set when the watermark is at its end.
            let fired = fired.inspect(move |_| {
                if seen.fetch_add(1, Ordering::Relaxed) + 1 >= drains_at {
                    run.control().request_drain();
                }
            });
            fired.sink("fired", sink.clone());
        });
        assert_eq!(summary.unwrap().outcome, Outcome::Drained);
    }
    let (mut found, all) = (fired.records(), [timed, untimed].concat());
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), count, "a timer has fired twice");
    assert!(count >= 600 && found.iter().all(|record| all.contains(record)), "{count} have fired");
    // What was read before the drain has fired, and no record is skipped by it.
    let last = found.iter().map(|record| record.1).max().unwrap();
    let right = all.iter().filter(|record| record.1 <= last).count();
    assert_eq!(count, right);
}

/// The newest checkpoint of the job `end`.
fn last_checkpoint(store: &Location) -> Option<highwater::checkpoint::metadata::CheckpointId> {
    use highwater::checkpoint::store::{BlobStore, layout};
    let objects =
        super::waiting::block_on(BlobStore::new(store.clone(), "end").list(layout::CHECKPOINTS));
    objects.unwrap().iter().filter_map(|(object, _)| layout::parse_checkpoint(object)).max()
}

#[test]
fn an_alarm_rings_at_its_time_of_day() {
    let rung = CollectSink::<(u64, u64)>::new();
    let sink = rung.clone();
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let began = Instant::now();
    // An input that goes on, idle, until the alarm has rung.
    let source = trickle_beside(1, &[vec![(5, 0)], Vec::new()], 1);
    Job::new("alarm")
        .quiet()
        .workers(2)
        .run(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            let rung =
                flow.source("records", source.clone()).keyed().process_timed("ring", |state| {
                    let alarms = state.alarms();
                    move |ctx, event| match event {
                        Event::Record(_) => {
                            alarms.set(ctx, (), ctx.processing_time_ms() + 10_000);
                            alarms.set(ctx, (), ctx.processing_time_ms() + 50);
                        }
                        Event::Alarm { at_ms, .. } => {
                            ctx.emit((*ctx.key(), at_ms));
                            run.control().request_stop();
                        }
                        Event::Timer { .. } => unreachable!("none is set"),
                    }
                });
            rung.sink("rung", sink.clone());
        })
        .unwrap();
    let rung = rung.records();
    assert_eq!(rung.len(), 1);
    assert!(rung[0].1 <= now_ms() && began.elapsed() >= Duration::from_millis(50), "{rung:?}");
}
