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
use highwater::stream::{Arrival, ConnectedByTime};
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::window::{Cumulating, Days, Global, Session, Sliding, Tumbling, Window};
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

/// A row of a join: the key, the bounds of the window if there is one, and the numbers of the records.
type Row = (u8, (i64, i64), Option<u32>, Option<u32>);

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

/// Sizes, offsets and gaps in milliseconds.
#[derive(Clone, Copy, Debug)]
enum Windows {
    Tumbling(i64, i64),
    Sliding(i64, i64),
    Cumulating(i64, i64),
    Days,
    Global,
    Session(i64),
}

#[derive(Clone, Copy, Debug)]
enum Join {
    Interval(i64, i64, Kind),
    Windowed(Windows, Kind),
    CoGroup(Windows),
    AsOf(Kind),
    Unbounded,
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

/// Applies a macro to the assigner.
macro_rules! with_windows {
    ($windows:expr, $then:ident) => {
        match $windows {
            Windows::Tumbling(size, offset) if offset < 0 => {
                $then!(Tumbling::of(ms(size)).offset_back(ms(offset)))
            }
            Windows::Tumbling(size, offset) => $then!(Tumbling::of(ms(size)).offset(ms(offset))),
            Windows::Sliding(size, slide) => $then!(Sliding::of(ms(size), ms(slide))),
            Windows::Cumulating(max, step) => $then!(Cumulating::of(ms(max), ms(step))),
            Windows::Days => $then!(Days::of("UTC")),
            Windows::Global => $then!(Global),
            Windows::Session(gap) => $then!(Session::gap(ms(gap))),
        }
    };
}

fn bounds(window: Window) -> (i64, i64) {
    (window.start.0, window.end.0)
}

impl Join {
    fn build(self, both: ConnectedByTime<'_, u8, Record, Record>) -> Stream<'_, Row> {
        let id = |record: &Record| record.id;
        match self {
            Join::Interval(lower, upper, kind) => {
                let join = both.interval_join("join", lower, upper);
                match kind {
                    Kind::Inner => join.inner(|k, l, r| (*k, (0, 0), Some(l.id), Some(r.id))),
                    Kind::Left => join.left(move |k, l, r| (*k, (0, 0), Some(l.id), r.map(id))),
                    Kind::Right => join.right(move |k, l, r| (*k, (0, 0), l.map(id), Some(r.id))),
                    Kind::Full => join.full(move |k, l, r| (*k, (0, 0), l.map(id), r.map(id))),
                }
            }
            Join::Windowed(windows, kind) => {
                macro_rules! join {
                    ($assigner:expr) => {
                        both.window_join("join", $assigner)
                    };
                }
                let join = with_windows!(windows, join);
                match kind {
                    Kind::Inner => join.inner(|k, w, l, r| (*k, bounds(w), Some(l.id), Some(r.id))),
                    Kind::Left => {
                        join.left(move |k, w, l, r| (*k, bounds(w), Some(l.id), r.map(id)))
                    }
                    Kind::Right => {
                        join.right(move |k, w, l, r| (*k, bounds(w), l.map(id), Some(r.id)))
                    }
                    Kind::Full => {
                        join.full(move |k, w, l, r| (*k, bounds(w), l.map(id), r.map(id)))
                    }
                }
            }
            Join::CoGroup(windows) => {
                let group = |key: &u8, window: Window, lefts, rights| {
                    let count = |records: Vec<Record>| {
                        assert!(records.is_sorted_by_key(|record| record.at));
                        Some(records.len() as u32)
                    };
                    [(*key, bounds(window), count(lefts), count(rights))]
                };
                macro_rules! co_group {
                    ($assigner:expr) => {
                        both.co_group("join", $assigner, group)
                    };
                }
                with_windows!(windows, co_group)
            }
            Join::AsOf(Kind::Inner) => {
                both.as_of_join("join").inner(|k, l, r| (*k, (0, 0), Some(l.id), Some(r.id)))
            }
            Join::AsOf(_) => {
                both.as_of_join("join").left(move |k, l, r| (*k, (0, 0), Some(l.id), r.map(id)))
            }
            Join::Unbounded => unreachable!("it has no times"),
        }
    }

    /// Every row, by looking at all pairs.
    fn model(self, lefts: &[Record], rights: &[Record]) -> Vec<Row> {
        let mut rows = match self {
            Join::Interval(lower, upper, kind) => {
                let meets = |l: &Record, r: &Record| l.at + lower <= r.at && r.at <= l.at + upper;
                nested_loop(lefts, rights, kind, (0, 0), meets)
            }
            Join::Windowed(windows, kind) => {
                let mut rows = Vec::new();
                each_window(windows, lefts, rights, |_, bounds, lefts, rights| {
                    rows.extend(nested_loop(lefts, rights, kind, bounds, |_, _| true));
                });
                rows
            }
            Join::CoGroup(windows) => {
                let mut rows = Vec::new();
                each_window(windows, lefts, rights, |key, bounds, lefts, rights| {
                    if lefts.len() + rights.len() > 0 {
                        let count = |records: &[Record]| Some(records.len() as u32);
                        rows.push((key, bounds, count(lefts), count(rights)));
                    }
                });
                rows
            }
            Join::AsOf(kind) => {
                let version = |l: &Record| {
                    let valid = rights.iter().filter(|r| r.key == l.key && r.at <= l.at);
                    valid.max_by_key(|r| r.at).map(|r| r.id)
                };
                let rows = lefts.iter().map(|l| (l.key, (0, 0), Some(l.id), version(l)));
                rows.filter(|row| row.3.is_some() || matches!(kind, Kind::Left)).collect()
            }
            Join::Unbounded => nested_loop(lefts, rights, Kind::Inner, (0, 0), |_, _| true),
        };
        rows.sort();
        rows
    }
}

/// The windows in which a record of these may be, by their definitions.
fn candidates(windows: Windows, records: &[Record]) -> Vec<(i64, i64)> {
    let starts = |every: i64, offset: i64| {
        (-2_000..8_000).filter(move |start| (start - offset).rem_euclid(every) == 0)
    };
    match windows {
        Windows::Tumbling(size, offset) => {
            starts(size, offset).map(|start| (start, start + size)).collect()
        }
        Windows::Sliding(size, slide) => {
            starts(slide, 0).map(|start| (start, start + size)).collect()
        }
        Windows::Cumulating(max, step) => starts(max, 0)
            .flat_map(|start| (1..=max / step).map(move |n| (start, start + n * step)))
            .collect(),
        Windows::Days => vec![(-86_400_000, 0), (0, 86_400_000)],
        Windows::Global => vec![(i64::MIN, i64::MAX)],
        Windows::Session(gap) => {
            let mut times: Vec<i64> = records.iter().map(|record| record.at).collect();
            times.sort_unstable();
            let sessions = times.chunk_by(|one, next| next - one < gap);
            sessions.map(|of| (of[0], of[of.len() - 1] + gap)).collect()
        }
    }
}

fn each_window(
    windows: Windows,
    lefts: &[Record],
    rights: &[Record],
    mut each: impl FnMut(u8, (i64, i64), &[Record], &[Record]),
) {
    for key in 0..6 {
        let of_key = |records: &[Record]| -> Vec<Record> {
            records.iter().filter(|record| record.key == key).copied().collect()
        };
        let (lefts, rights) = (of_key(lefts), of_key(rights));
        for (start, end) in candidates(windows, &[&*lefts, &*rights].concat()) {
            let within = |records: &[Record]| -> Vec<Record> {
                records.iter().filter(|r| start <= r.at && r.at < end).copied().collect()
            };
            each(key, (start, end), &within(&lefts), &within(&rights));
        }
    }
}

fn nested_loop(
    lefts: &[Record],
    rights: &[Record],
    kind: Kind,
    window: (i64, i64),
    meets: impl Fn(&Record, &Record) -> bool,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for l in lefts {
        let partners = rights.iter().filter(|r| r.key == l.key && meets(l, r));
        rows.extend(partners.map(|r| (l.key, window, Some(l.id), Some(r.id))));
    }
    for l in lefts.iter().filter(|_| matches!(kind, Kind::Left | Kind::Full)) {
        if !rights.iter().any(|r| r.key == l.key && meets(l, r)) {
            rows.push((l.key, window, Some(l.id), None));
        }
    }
    for r in rights.iter().filter(|_| matches!(kind, Kind::Right | Kind::Full)) {
        if !lefts.iter().any(|l| r.key == l.key && meets(l, r)) {
            rows.push((r.key, window, None, Some(r.id)));
        }
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
                both.unbounded_join("join").inner(|k, l, r| (*k, (0, 0), Some(l.id), Some(r.id)))
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
    let mut joins = vec![Join::Unbounded];
    joins.extend(
        [
            Windows::Tumbling(35, 0),
            Windows::Cumulating(60, 15),
            Windows::Days,
            Windows::Session(8),
            Windows::Global,
        ]
        .map(Join::CoGroup),
    );
    joins.extend([Kind::Inner, Kind::Left].map(Join::AsOf));
    for kind in ALL {
        joins.extend([
            Join::Interval(-7, 12, kind),
            Join::Interval(5, 30, kind),
            Join::Interval(-90, -60, kind),
            Join::Interval(0, 0, kind),
            Join::Windowed(Windows::Tumbling(25, 0), kind),
            Join::Windowed(Windows::Tumbling(10, -3), kind),
            Join::Windowed(Windows::Sliding(30, 7), kind),
            Join::Windowed(Windows::Sliding(24, 8), kind),
            Join::Windowed(Windows::Session(11), kind),
            Join::Windowed(Windows::Session(30), kind),
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
        Join::Windowed(Windows::Tumbling(50, 0), Kind::Inner),
        Join::Windowed(Windows::Sliding(60, 20), Kind::Inner),
        Join::Windowed(Windows::Cumulating(60, 20), Kind::Inner),
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

/// Joins `lefts`, of which all but the first come when the join has acted on the watermark 100, with
/// `rights`, which are there; returns the rows and the count of late records.
fn late(
    lefts: Vec<Record>,
    rights: Vec<Record>,
    join: impl for<'scope> Fn(ConnectedByTime<'scope, u8, Record, Record>) -> Stream<'scope, Row>
    + Send
    + Sync
    + 'static,
) -> (Vec<Row>, u64) {
    let told = Arc::new(AtomicBool::new(false));
    let by_time = || Watermarks::ascending(|record: &Record| EventTime(record.at));
    let lefts = scripted(lefts, &told).with_watermarks(by_time());
    let rights = VecSource::new(rights).with_watermarks(by_time());
    let collected = CollectSink::<Row>::new();
    let sink = collected.clone();
    let summary = Job::new("late").quiet().execute(move |flow| {
        let lefts = flow.source("lefts", lefts.clone()).key_by(|record| record.key);
        let rights = flow.source("rights", rights.clone()).key_by(|record| record.key);
        let both = lefts.connect(rights);
        let joined = join(both.event_times(|l| EventTime(l.at), |r| EventTime(r.at)));
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
    let mut rows = collected.records();
    rows.sort();
    (rows, summary.unwrap().late["join"].dropped)
}

const fn record(at: i64, id: u32) -> Record {
    Record { key: 0, at, id }
}

/// A record at the watermark is not late, one a millisecond before it is.
#[test]
fn a_record_a_millisecond_late_is_dropped_and_counted() {
    let lefts = vec![record(100, 1), record(100, 2), record(99, 3), record(101, 4)];
    let rights = vec![record(100, 11), record(1_000, 12)];
    let (rows, dropped) = late(lefts, rights, |both| {
        let join = both.interval_join("join", -10, 10);
        join.inner(|k, l, r| (*k, (0, 0), Some(l.id), Some(r.id)))
    });
    assert_eq!(rows, [1, 2, 4].map(|id| (0, (0, 0), Some(id), Some(11))));
    assert_eq!(dropped, 1);
}

/// A record whose own session would be over is late, unless it is within one that is not.
#[test]
fn a_late_record_is_taken_by_a_session_that_is_open() {
    // The one at 85 is near that at 91, which is not late and near that at 100.
    let lefts = vec![record(100, 1), record(90, 2), record(91, 3), record(85, 4), record(75, 5)];
    let rights = vec![record(109, 11), record(1_000, 12)];
    let (rows, dropped) = late(lefts, rights, |both| {
        let join = both.window_join("join", Session::gap(ms(10)));
        join.inner(|k, w, l, r| (*k, bounds(w), Some(l.id), Some(r.id)))
    });
    assert_eq!(rows, [1, 3, 4].map(|id| (0, (85, 119), Some(id), Some(11))));
    assert_eq!(dropped, 2);
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
        both.window_join("none", Tumbling::of(Duration::ZERO))
            .inner(|_, _, _, _| ())
            .for_each(drop);
    });
    assert!(text.contains("\"none\"") && text.contains("windows is 0ns"), "{text}");
    let text = refused(|both| {
        let windows = Sliding::of(Duration::from_secs(1), Duration::from_secs(2));
        both.window_join("gaps", windows).inner(|_, _, _, _| ()).for_each(drop);
    });
    assert!(text.contains("2000 ms, is longer than their size, 1000 ms"), "{text}");
    let text = refused(|both| {
        both.co_group("near", Session::gap(Duration::ZERO), |_, _, _, _| [()]).for_each(drop);
    });
    assert!(text.contains("\"near\"") && text.contains("session windows is 0ns"), "{text}");
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
