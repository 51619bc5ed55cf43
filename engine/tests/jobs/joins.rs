//! Joins make the rows that a nested loop makes, on any number of workers, whatever the order in which
//! records come, and over a death and a start with another number of workers.
//!
//! Inputs are random: splits whose records are out of order by at most what their watermarks allow. The
//! model is a loop over all pairs that knows neither watermarks nor state. What is kept is read from
//! the metadata of checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater::checkpoint::metadata::CheckpointMetadata;
use highwater::checkpoint::store::{BlobStore, Location, layout};
use highwater::prelude::*;
use highwater::state::Context;
use highwater::stream::{Arrival, ConnectedByTime, JoinWindows};
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::{Error, RestartStrategy};
use serde::{Deserialize, Serialize};

use super::trickle::Trickle;

/// Records are out of order by at most this.
const OUT_OF_ORDER_MS: i64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Record {
    key: u8,
    at: i64,
    id: u32,
}

/// A row of a join: the key, the start of the window if there is one, and the numbers of the records.
type Row = (u8, i64, Option<u32>, Option<u32>);

/// Two inputs of some splits each, with many equal times.
fn inputs(seed: u64, records: usize) -> [Vec<Vec<Record>>; 2] {
    let mut random = Random::new(seed);
    let mut id = 0;
    [2, 3].map(|count| {
        let mut splits = vec![Vec::new(); count];
        let mut at = -500;
        for _ in 0..records {
            at += random.below(9) as i64;
            let late = random.below(OUT_OF_ORDER_MS as usize + 1) as i64;
            id += 1;
            let record = Record { key: random.below(6) as u8, at: at - late, id };
            splits[random.below(count)].push(record);
        }
        splits
    })
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Inner,
    Left,
    Right,
    Full,
}

#[derive(Clone, Copy, Debug)]
enum Join {
    Interval(i64, i64, Kind),
    Tumbling(i64, i64, Kind),
    Sliding(i64, i64, Kind),
    CoGroup(i64),
    AsOf(Kind),
    Unbounded,
}

impl Join {
    fn build(self, both: ConnectedByTime<'_, u8, Record, Record>) -> Stream<'_, Row> {
        let id = |record: &Record| record.id;
        let ms = |ms: i64| Duration::from_millis(ms as u64);
        match self {
            Join::Interval(lower, upper, kind) => {
                let join = both.interval_join("join", lower, upper);
                match kind {
                    Kind::Inner => join.inner(|k, l, r| (*k, 0, Some(l.id), Some(r.id))),
                    Kind::Left => join.left(move |k, l, r| (*k, 0, Some(l.id), r.map(id))),
                    Kind::Right => join.right(move |k, l, r| (*k, 0, l.map(id), Some(r.id))),
                    Kind::Full => join.full(move |k, l, r| (*k, 0, l.map(id), r.map(id))),
                }
            }
            Join::Tumbling(size, slide, kind) | Join::Sliding(size, slide, kind) => {
                let windows = match self {
                    Join::Tumbling(..) => JoinWindows::tumbling(ms(size)).offset_ms(slide),
                    _ => JoinWindows::sliding(ms(size), ms(slide)),
                };
                let join = both.window_join("join", windows);
                match kind {
                    Kind::Inner => join.inner(|k, w, l, r| (*k, w.start.0, Some(l.id), Some(r.id))),
                    Kind::Left => {
                        join.left(move |k, w, l, r| (*k, w.start.0, Some(l.id), r.map(id)))
                    }
                    Kind::Right => {
                        join.right(move |k, w, l, r| (*k, w.start.0, l.map(id), Some(r.id)))
                    }
                    Kind::Full => {
                        join.full(move |k, w, l, r| (*k, w.start.0, l.map(id), r.map(id)))
                    }
                }
            }
            Join::CoGroup(size) => {
                let windows = JoinWindows::tumbling(ms(size));
                both.co_group("join", windows, |key, window, lefts, rights| {
                    let count = |records: Vec<Record>| {
                        assert!(records.is_sorted_by_key(|record| record.at));
                        Some(records.len() as u32)
                    };
                    [(*key, window.start.0, count(lefts), count(rights))]
                })
            }
            Join::AsOf(Kind::Inner) => {
                both.as_of_join("join").inner(|k, l, r| (*k, 0, Some(l.id), Some(r.id)))
            }
            Join::AsOf(_) => {
                both.as_of_join("join").left(move |k, l, r| (*k, 0, Some(l.id), r.map(id)))
            }
            Join::Unbounded => unreachable!("it has no times"),
        }
    }

    /// Every row, by looking at all pairs.
    fn model(self, lefts: &[Record], rights: &[Record]) -> Vec<Row> {
        let mut rows = match self {
            Join::Interval(lower, upper, kind) => {
                let meets = |l: &Record, r: &Record| l.at + lower <= r.at && r.at <= l.at + upper;
                nested_loop(lefts, rights, kind, 0, meets)
            }
            Join::Tumbling(size, offset, kind) => {
                in_windows(lefts, rights, size, size, offset, kind)
            }
            Join::Sliding(size, slide, kind) => in_windows(lefts, rights, size, slide, 0, kind),
            Join::CoGroup(size) => {
                let mut counts: BTreeMap<(u8, i64), [u32; 2]> = BTreeMap::new();
                for (side, records) in [lefts, rights].into_iter().enumerate() {
                    for record in records {
                        let start = record.at - record.at.rem_euclid(size);
                        counts.entry((record.key, start)).or_default()[side] += 1;
                    }
                }
                let row =
                    |((key, start), [l, r]): ((u8, i64), [u32; 2])| (key, start, Some(l), Some(r));
                counts.into_iter().map(row).collect()
            }
            Join::AsOf(kind) => {
                let version = |l: &Record| {
                    let valid = rights.iter().filter(|r| r.key == l.key && r.at <= l.at);
                    valid.max_by_key(|r| r.at).map(|r| r.id)
                };
                let rows = lefts.iter().map(|l| (l.key, 0, Some(l.id), version(l)));
                rows.filter(|row| row.3.is_some() || matches!(kind, Kind::Left)).collect()
            }
            Join::Unbounded => nested_loop(lefts, rights, Kind::Inner, 0, |_, _| true),
        };
        rows.sort();
        rows
    }
}

fn nested_loop(
    lefts: &[Record],
    rights: &[Record],
    kind: Kind,
    start: i64,
    meets: impl Fn(&Record, &Record) -> bool,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for l in lefts {
        let partners = rights.iter().filter(|r| r.key == l.key && meets(l, r));
        rows.extend(partners.map(|r| (l.key, start, Some(l.id), Some(r.id))));
    }
    for l in lefts.iter().filter(|_| matches!(kind, Kind::Left | Kind::Full)) {
        if !rights.iter().any(|r| r.key == l.key && meets(l, r)) {
            rows.push((l.key, start, Some(l.id), None));
        }
    }
    for r in rights.iter().filter(|_| matches!(kind, Kind::Right | Kind::Full)) {
        if !lefts.iter().any(|l| r.key == l.key && meets(l, r)) {
            rows.push((r.key, start, None, Some(r.id)));
        }
    }
    rows
}

fn in_windows(
    lefts: &[Record],
    rights: &[Record],
    size: i64,
    slide: i64,
    offset: i64,
    kind: Kind,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for start in (-2_000..20_000).filter(|start| (start - offset) % slide == 0) {
        let within = |records: &[Record]| -> Vec<Record> {
            let within = records.iter().filter(|r| start <= r.at && r.at < start + size);
            within.copied().collect()
        };
        rows.extend(nested_loop(&within(lefts), &within(rights), kind, start, |_, _| true));
    }
    rows
}

fn job(store: &Location, workers: usize) -> Job {
    Job::new("joins")
        .quiet()
        .workers(workers)
        .checkpoint_store(store.clone())
        .checkpoint_interval(Duration::from_millis(1))
        .restart_strategy(RestartStrategy::None)
}

fn timed(splits: &[Vec<Record>], few: usize) -> impl Source<Item = Record> + Clone + use<> {
    let bound = Duration::from_millis(OUT_OF_ORDER_MS as u64 + 9);
    let by_time = Watermarks::bounded(bound, |record: &Record| EventTime(record.at));
    Trickle::new(VecSource::splits(splits.to_vec()), few).with_watermarks(by_time)
}

/// Runs a join; `each` is called with the number of each left record that is read.
fn run(
    (store, workers): (&Location, usize),
    inputs: &[Vec<Vec<Record>>; 2],
    join: Join,
    collected: &CollectSink<Row>,
    each: impl Fn(&highwater::checkpoint::run::Run, u64) + Clone + Send + Sync + 'static,
) -> highwater::Result<highwater::Summary> {
    let few = inputs[0][0].len().div_ceil(40).max(1);
    let (lefts, rights) = (timed(&inputs[0], few), timed(&inputs[1], few));
    let (sink, seen) = (collected.clone(), Arc::new(AtomicU64::new(0)));
    job(store, workers).execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        let (each, seen) = (each.clone(), Arc::clone(&seen));
        let lefts = flow
            .source("lefts", lefts.clone())
            .inspect(move |_| each(&run, seen.fetch_add(1, Ordering::Relaxed)))
            .key_by(|record| record.key);
        let rights = flow.source("rights", rights.clone()).key_by(|record| record.key);
        let both = lefts.connect(rights);
        let rows = match join {
            Join::Unbounded => {
                both.unbounded_join("join").inner(|k, l, r| (*k, 0, Some(l.id), Some(r.id)))
            }
            join => join.build(both.event_times(|l| EventTime(l.at), |r| EventTime(r.at))),
        };
        rows.sink("rows", sink.clone());
    })
}

fn check(inputs: &[Vec<Vec<Record>>; 2], join: Join, collected: &CollectSink<Row>, case: &str) {
    let [lefts, rights] = inputs.each_ref().map(|splits| splits.concat());
    let mut rows = collected.records();
    rows.sort();
    let expected = join.model(&lefts, &rights);
    assert!(!expected.is_empty(), "{case}");
    if rows != expected {
        let extra = rows.iter().find(|row| !expected.contains(row));
        let missing = expected.iter().find(|row| !rows.contains(row));
        let counts = (rows.len(), expected.len());
        panic!("{case}: {counts:?} rows and expected, one too many {extra:?}, missing {missing:?}");
    }
}

const ALL: [Kind; 4] = [Kind::Inner, Kind::Left, Kind::Right, Kind::Full];

fn joins() -> Vec<Join> {
    let mut joins = vec![Join::CoGroup(35), Join::Unbounded];
    joins.extend([Kind::Inner, Kind::Left].map(Join::AsOf));
    for kind in ALL {
        joins.extend([
            Join::Interval(-7, 12, kind),
            Join::Interval(5, 30, kind),
            Join::Interval(-90, -60, kind),
            Join::Interval(0, 0, kind),
            Join::Tumbling(25, 0, kind),
            Join::Tumbling(10, -3, kind),
            Join::Sliding(30, 7, kind),
            Join::Sliding(24, 8, kind),
        ]);
    }
    joins
}

/// Versions of one time have an order only within a split.
fn unambiguous(join: Join, mut inputs: [Vec<Vec<Record>>; 2]) -> [Vec<Vec<Record>>; 2] {
    if matches!(join, Join::AsOf(_)) {
        let mut seen = std::collections::BTreeSet::new();
        for split in &mut inputs[1] {
            split.retain(|record| seen.insert((record.key, record.at)));
        }
    }
    inputs
}

#[test]
fn joins_make_the_rows_of_a_nested_loop() {
    for (number, join) in joins().into_iter().enumerate() {
        let workers = 1 + number % 3;
        let inputs = unambiguous(join, inputs(number as u64, 150));
        let (store, collected) = (Location::memory(), CollectSink::new());
        let case = format!("{join:?}, {workers} workers");
        run((&store, workers), &inputs, join, &collected, |_, _| {}).unwrap();
        check(&inputs, join, &collected, &case);
    }
}

#[test]
fn a_join_that_is_stopped_or_dies_goes_on_with_other_workers() {
    for (number, join) in joins().into_iter().enumerate() {
        let (from, to) = (1 + number % 3, 1 + (number / 3 + 1) % 3);
        let inputs = unambiguous(join, inputs(100 + number as u64, 300));
        let (store, collected) = (Location::memory(), CollectSink::new());
        let case = format!("{join:?}, from {from} to {to} workers");
        let stops = |run: &highwater::checkpoint::run::Run, n: u64| {
            if n == 70 {
                run.control().request_stop();
            }
        };
        run((&store, from), &inputs, join, &collected, stops).unwrap();
        let dies =
            |_: &highwater::checkpoint::run::Run, n: u64| assert!(n != 120, "dies on purpose");
        let outcome = run((&store, to), &inputs, join, &collected, dies);
        assert!(matches!(outcome, Err(Error::Panicked { .. })), "{case}: {outcome:?}");
        run((&store, from), &inputs, join, &collected, |_, _| {}).unwrap();
        check(&inputs, join, &collected, &case);
    }
}

/// Entries of each state of the operator in the newest checkpoint.
fn entries(location: &Location) -> BTreeMap<String, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = BlobStore::new(location.clone(), "joins");
    let names = runtime.block_on(store.list(layout::CHECKPOINTS)).unwrap();
    let newest = names.iter().filter_map(|(name, _)| layout::parse_checkpoint(name)).max();
    let name = layout::checkpoint(newest.unwrap());
    let bytes = runtime.block_on(store.get(&name)).unwrap();
    let metadata = CheckpointMetadata::from_bytes(&name, &bytes).unwrap();
    let states = metadata.operators.iter().filter(|state| state.uid.starts_with("join/"));
    states.map(|state| (state.uid.clone(), state.entries.unwrap_or(0))).collect()
}

/// However much went by, what is kept is within the bounds of the watermark, and what is ahead of it.
#[test]
fn joins_by_time_keep_what_the_watermark_still_needs() {
    let record = |id: u32| Record { key: (id % 3) as u8, at: i64::from(id), id };
    let source = timed(&[(0..6_000).map(record).collect()], 50);
    let joins = [
        Join::Interval(-20, 30, Kind::Full),
        Join::Tumbling(50, 0, Kind::Inner),
        Join::Sliding(60, 20, Kind::Inner),
        Join::AsOf(Kind::Left),
    ];
    for join in joins {
        let (store, source, seen) = (Location::memory(), source.clone(), AtomicU64::new(0));
        let seen = Arc::new(seen);
        let summary = job(&store, 2).execute(move |flow| {
            let (run, seen) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen));
            // One source, so that neither side is ahead of the other.
            let all = flow.source("all", source.clone()).inspect(move |_| {
                if seen.fetch_add(1, Ordering::Relaxed) == 5_000 {
                    run.control().request_stop();
                }
            });
            let lefts = all.clone().filter(|record| record.id % 2 == 0);
            let rights = all.filter(|record| record.id % 2 == 1);
            let both = lefts.key_by(|record| record.key).connect(rights.key_by(|r| r.key));
            let rows = join.build(both.event_times(|l| EventTime(l.at), |r| EventTime(r.at)));
            rows.for_each(drop);
        });
        assert_eq!(summary.unwrap().outcome, highwater::job::Outcome::Stopped);
        let entries = entries(&store);
        assert!(entries.len() >= 3, "{entries:?}");
        // The disorder that is allowed for, the bounds, and some batches on their way.
        assert!(entries.values().all(|count| *count < 600), "{join:?}: {entries:?}");
    }
}

/// Yields its first record, and the others when it is told that the watermark has come that far.
fn scripted(records: Vec<Record>, told: &Arc<AtomicBool>) -> Trickle<Record> {
    let told = Arc::clone(told);
    let goes_on = move |read| read == 0 || told.load(Ordering::SeqCst);
    Trickle::paced(VecSource::new(records), move |_, read| Ok(usize::from(goes_on(read))))
}

/// A record at the watermark is not late, one a millisecond before it is.
#[test]
fn a_record_a_millisecond_late_is_dropped_and_counted() {
    let record = |at, id| Record { key: 0, at, id };
    // The watermark is 100 after the first.
    let lefts = vec![record(100, 1), record(100, 2), record(99, 3), record(101, 4)];
    let rights = vec![record(100, 11), record(1_000, 12)];
    let told = Arc::new(AtomicBool::new(false));
    let by_time = || Watermarks::ascending(|record: &Record| EventTime(record.at));
    let lefts = scripted(lefts, &told).with_watermarks(by_time());
    let rights = VecSource::new(rights).with_watermarks(by_time());
    let collected = CollectSink::<Row>::new();
    let sink = collected.clone();
    let summary = Job::new("late").quiet().execute(move |flow| {
        let lefts = flow.source("lefts", lefts.clone()).key_by(|record| record.key);
        let rights = flow.source("rights", rights.clone()).key_by(|record| record.key);
        let joined = lefts
            .connect(rights)
            .event_times(|l| EventTime(l.at), |r| EventTime(r.at))
            .interval_join("join", -10, 10)
            .inner(|k, l, r| (*k, 0, Some(l.id), Some(r.id)));
        // What comes behind the join is told of a watermark when the join has acted on it.
        let told = Arc::clone(&told);
        let watched = joined.process_watermarks("watch", |_| {
            move |ctx: &Context<'_, (), Row>, arrival| match arrival {
                Arrival::Record(row) => ctx.emit(row),
                Arrival::Watermark(at) => told.store(at.0 >= 100, Ordering::SeqCst),
            }
        });
        watched.sink("rows", sink.clone());
    });
    let summary = summary.unwrap();
    let mut rows = collected.records();
    rows.sort();
    assert_eq!(rows, [1, 2, 4].map(|id| (0, 0, Some(id), Some(11))));
    assert_eq!(summary.late["join"].dropped, 1);
}

#[test]
fn bounds_and_windows_that_cannot_be_are_refused_with_both_values() {
    let refused = |build: fn(ConnectedByTime<'_, u8, Record, Record>)| {
        let outcome = Job::new("bad").quiet().workers(2).run(move |flow| {
            let source = || VecSource::new(Vec::<Record>::new());
            let lefts = flow.source("lefts", source()).key_by(|record| record.key);
            let rights = flow.source("rights", source()).key_by(|record| record.key);
            let both = lefts.connect(rights);
            build(both.event_times(|l| EventTime(l.at), |r| EventTime(r.at)));
        });
        let error = outcome.expect_err("it must not run");
        assert_eq!(error.kind(), highwater::checkpoint::ErrorKind::Invalid);
        format!("{error:?}")
    };
    let text = refused(|both| {
        both.interval_join("near", 5, -7).inner(|_, _, _| ()).for_each(drop);
    });
    assert!(text.contains("\"near\"") && text.contains("5 ms") && text.contains("-7 ms"), "{text}");
    let text = refused(|both| {
        let windows = JoinWindows::tumbling(Duration::ZERO);
        both.window_join("none", windows).inner(|_, _, _, _| ()).for_each(drop);
    });
    assert!(text.contains("\"none\"") && text.contains("size of 0ns"), "{text}");
    let text = refused(|both| {
        let windows = JoinWindows::sliding(Duration::from_secs(1), Duration::from_secs(2));
        both.window_join("gaps", windows).inner(|_, _, _, _| ()).for_each(drop);
    });
    assert!(text.contains("size of 1s") && text.contains("slide of 2s"), "{text}");
}

#[test]
fn a_time_to_live_of_nothing_is_refused() {
    for too_short in [Duration::ZERO, Duration::from_micros(999)] {
        let outcome = Job::new("bad").quiet().workers(2).run(move |flow| {
            let source = || VecSource::new(Vec::<Record>::new());
            let lefts = flow.source("lefts", source()).key_by(|record| record.key);
            let rights = flow.source("rights", source()).key_by(|record| record.key);
            let join = lefts.connect(rights).unbounded_join("brief").time_to_live(too_short);
            join.left(|_, _, _| ()).for_each(drop);
        });
        let error = outcome.expect_err("it must not run");
        assert_eq!(error.kind(), highwater::checkpoint::ErrorKind::Invalid);
        let says =
            format!("join \"brief\" has a time to live of {too_short:?}: it must be at least 1ms");
        assert!(error.to_string().contains(&says), "{error}");
    }
}
