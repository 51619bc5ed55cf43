//! Watermarks, timers, loops and requests: what they say together, over stops and other numbers of
//! workers, and at their edges.
//!
//! The oracle counts the input in plain loops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater::checkpoint::store::Location;
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::sink::{Sink, SinkRun};
use highwater::state::Event;
use highwater::stream::Arrival;
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::{AsyncOptions, BoxError, Summary};

use super::trickle::Trickle;

/// A key and an event time.
pub(crate) type Record = (u64, i64);

/// Yields a few records of each split at a time, and then pauses.
pub(crate) fn trickle(splits: &[Vec<Record>], few: usize) -> Trickle<Record> {
    Trickle::new(VecSource::splits(splits.to_vec()), few)
}

/// As [`trickle`]; the split `idle`, which has no records, stays open for ever.
pub(crate) fn trickle_beside(idle: usize, splits: &[Vec<Record>], few: usize) -> Trickle<Record> {
    let records = VecSource::splits(splits.to_vec());
    Trickle::paced(records, move |split, _| Ok(if split == idle { 0 } else { few }))
}

/// Out of order by at most this.
const DISORDER_MS: i64 = 200;

const BUCKET_MS: i64 = 1_000;

/// Five splits that are about equally far, each a little out of order.
fn input(seed: u64, records: usize) -> Vec<Vec<Record>> {
    let mut random = Random::new(seed);
    let mut splits = vec![Vec::new(); 5];
    for n in 0..records as i64 {
        let time = n * 7 - random.below(DISORDER_MS as usize) as i64 - 3_000;
        splits[random.below(5)].push((random.below(40) as u64, time));
    }
    splits
}

fn by_time() -> Watermarks<Record> {
    let disorder = Duration::from_millis(DISORDER_MS as u64);
    Watermarks::bounded(disorder, |(_, at): &Record| EventTime(*at))
}

type Bucket = (u64, i64, u64);

/// Counts records by key and bucket, after each was asked about and has gone round a few times.
fn run(
    (store, workers): (&Location, usize),
    input: &[Vec<Record>],
    stop_after: u64,
    collected: &CollectSink<Bucket>,
) -> highwater::Result<Summary> {
    let (source, sink) = (trickle(input, 16), collected.clone());
    let seen = Arc::new(AtomicU64::new(0));
    let job = Job::new("buckets").quiet().workers(workers).checkpoint_store(store.clone());
    job.checkpoint_interval(Duration::from_millis(2)).execute(move |flow| {
        let (seen, run) = (Arc::clone(&seen), Arc::clone(flow.checkpoints().run()));
        let records = flow.source("records", source.clone().with_watermarks(by_time()));
        let asked = records.map_async("ask", AsyncOptions::unordered().capacity(50), ask);
        let round = asked.map(|record| (record, 0)).iterate(|records| {
            records.split(|(record, rounds), again, done| {
                if rounds < record.0 % 4 {
                    again.push((record, rounds + 1));
                } else {
                    done.push(record);
                }
            })
        });
        let counted = round.keyed().process_timed("count", |state| {
            let (counts, ends) = (state.map::<i64, u64>("counts"), state.event_timers());
            move |ctx, event| match event {
                Event::Record(at) => {
                    if seen.fetch_add(1, Ordering::Relaxed) == stop_after {
                        run.control().request_stop();
                    }
                    let bucket = at.div_euclid(BUCKET_MS);
                    counts.update(ctx, bucket, |count| *count += 1);
                    ends.set(ctx, bucket, EventTime((bucket + 1) * BUCKET_MS));
                }
                Event::Timer { tag, .. } => {
                    let count = counts.remove(ctx, &tag).unwrap();
                    ctx.emit((*ctx.key(), tag, count));
                }
                Event::Alarm { .. } => unreachable!("none is set"),
            }
        });
        counted.sink("counted", sink.clone());
    })
}

/// Some answers come at once, some later, some at the second attempt.
async fn ask(record: Record) -> Result<Record, BoxError> {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let number = ASKED.fetch_add(1, Ordering::Relaxed);
    match number % 50 {
        0 => Err("not now".into()),
        1..5 => {
            tokio::time::sleep(Duration::from_millis(number % 7)).await;
            Ok(record)
        }
        _ => Ok(record),
    }
}

#[test]
fn buckets_are_whole_over_stops_and_other_numbers_of_workers() {
    for seed in 0..3 {
        let input = input(seed, 6_000);
        let mut right = BTreeMap::<(u64, i64), u64>::new();
        for (key, at) in input.iter().flatten() {
            *right.entry((*key, at.div_euclid(BUCKET_MS))).or_default() += 1;
        }
        let (store, collected) = (Location::memory(), CollectSink::new());
        let mut stopped = 0;
        for workers in [2, 3, 1, 4, 2] {
            let summary = run((&store, workers), &input, 400 + seed * 200, &collected).unwrap();
            stopped += usize::from(summary.outcome == Outcome::Stopped);
        }
        let last = run((&store, 2), &input, u64::MAX, &collected).unwrap();
        assert!(matches!(last.outcome, Outcome::Finished | Outcome::HadFinished), "{last:?}");
        assert!(stopped >= 2, "stopped {stopped} times");
        let mut found = collected.records();
        found.sort_unstable();
        let right: Vec<Bucket> = right.into_iter().map(|((key, at), n)| (key, at, n)).collect();
        assert_eq!(found, right, "seed {seed}");
    }
}

/// The watermarks that an operator is told, by a job of `workers` that ends by itself or, if `until`
/// is reached, is stopped.
fn watermarks_of<S: Source<Item = Record> + Clone>(
    workers: usize,
    source: S,
    until: EventTime,
) -> (Vec<EventTime>, Outcome) {
    let told = CollectSink::new();
    let sink = told.clone();
    let summary = Job::new("watermarks").quiet().workers(workers).execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        let records = flow.source("records", source.clone());
        let watermarks = records.process_watermarks("watermarks", |_| {
            move |ctx, arrival| match arrival {
                Arrival::Record((_, at)) => assert!(EventTime(at) >= ctx.watermark(), "late: {at}"),
                Arrival::Watermark(watermark) => {
                    ctx.emit(watermark);
                    if watermark >= until && watermark < EventTime::MAX {
                        run.control().request_stop();
                    }
                }
            }
        });
        watermarks.sink("told", sink.clone());
    });
    (told.records(), summary.unwrap().outcome)
}

#[test]
fn watermarks_grow_to_the_end_and_nothing_is_late() {
    for workers in 1..=3 {
        let source = trickle(&input(7, 3_000), 32).with_watermarks(by_time());
        let (mut told, outcome) = watermarks_of(workers, source, EventTime::MAX);
        assert_eq!(outcome, Outcome::Finished);
        assert!(told.len() > 20, "{} watermarks", told.len());
        told.sort_unstable();
        assert_eq!(told.last(), Some(&EventTime::MAX));
    }
}

#[test]
fn a_split_that_is_idle_holds_nobody_back_when_it_may_be_idle() {
    let mut splits = input(8, 500);
    splits.truncate(2);
    splits.push(Vec::new());
    let last = splits.iter().flatten().map(|(_, at)| *at).max().unwrap();
    for workers in [1, 3] {
        let source = trickle_beside(2, &splits, 8);
        let idle = by_time().idle_after(Duration::from_millis(20));
        // It ends only because the watermark comes to where the others are.
        let until = EventTime(last - 2 * DISORDER_MS - 100);
        let (told, outcome) = watermarks_of(workers, source.with_watermarks(idle), until);
        assert_eq!(outcome, Outcome::Stopped);
        assert!(told.iter().max() >= Some(&until));
    }
}

#[test]
fn a_split_that_may_not_be_idle_is_waited_for() {
    let mut splits = input(8, 500);
    splits.truncate(2);
    splits.push(Vec::new());
    let source = trickle_beside(2, &splits, 8);
    let source = source.with_watermarks(by_time());
    let (told, collected) = (CollectSink::<EventTime>::new(), Arc::new(AtomicU64::new(0)));
    let (sink, seen) = (told.clone(), Arc::clone(&collected));
    let records = splits.iter().flatten().count() as u64;
    let job = Job::new("waits").quiet().workers(2).execute(move |flow| {
        let (run, seen) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen));
        let records = flow.source("records", source.clone()).inspect(move |_| {
            if seen.fetch_add(1, Ordering::Relaxed) + 1 == records {
                run.control().request_stop();
            }
        });
        let watermarks = records.process_watermarks("watermarks", |_| {
            move |ctx, arrival| {
                if let Arrival::Watermark(watermark) = arrival {
                    ctx.emit(watermark);
                }
            }
        });
        watermarks.sink("told", sink.clone());
    });
    assert_eq!(job.unwrap().outcome, Outcome::Stopped);
    assert_eq!(told.records(), [], "the third split has said nothing");
}

#[test]
fn a_source_without_event_time_holds_nobody_back() {
    let told = CollectSink::<EventTime>::new();
    let sink = told.clone();
    let timed = trickle(&input(9, 1_000), 16).with_watermarks(by_time());
    let outcome = Job::new("untimed").quiet().workers(2).execute(move |flow| {
        let untimed = flow.source("untimed", trickle(&[vec![(1, 0); 400]], 4));
        let both = flow.source("timed", timed.clone()).union(untimed);
        let watermarks = both.process_watermarks("watermarks", |_| {
            move |ctx, arrival| {
                if let Arrival::Watermark(watermark) = arrival {
                    ctx.emit(watermark);
                }
            }
        });
        watermarks.sink("told", sink.clone());
    });
    assert_eq!(outcome.unwrap().outcome, Outcome::Finished);
    let between = told.records().iter().filter(|at| at.0 > 0 && at.0 < 5_000).count();
    assert!(between > 2, "{between} watermarks on the way");
}

#[test]
fn a_split_that_runs_ahead_waits() {
    // Two splits that are a worker's each; the first has many more records for its time.
    let slow: Vec<Record> = (0..2_000).map(|n| (1, n)).collect();
    let fast: Vec<Record> = (0..2_000).map(|n| (2, n * 10)).collect();
    let ahead = Arc::new(AtomicU64::new(0));
    let times = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let drift = Duration::from_millis(500);
    let aligned = Watermarks::ascending(|(_, at): &Record| EventTime(*at)).aligned_within(drift);
    let source = trickle(&[slow, fast], 10).with_watermarks(aligned);
    let most = Arc::clone(&ahead);
    Job::new("aligned")
        .quiet()
        .workers(2)
        .run(move |flow| {
            let (times, most) = (Arc::clone(&times), Arc::clone(&most));
            flow.source("records", source.clone()).for_each(move |(key, at)| {
                times[key as usize - 1].store(at as u64, Ordering::Relaxed);
                let [slow, fast] = [0, 1].map(|split: usize| times[split].load(Ordering::Relaxed));
                // When the slow one has ended nobody is waited for.
                if slow < 1_900 {
                    most.fetch_max(fast.saturating_sub(slow), Ordering::Relaxed);
                }
            });
        })
        .unwrap();
    // What is read at once and what is on its way come on top.
    let most = ahead.load(Ordering::Relaxed);
    assert!(most < 3_000, "{most} ms ahead");
}

fn refused(build: impl for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static) -> String {
    format!("{:?}", Job::new("refused").quiet().run(build).unwrap_err())
}

#[test]
fn what_would_wait_for_itself_in_a_loop_is_refused() {
    let timed = refused(|flow| {
        let records = flow.source("records", VecSource::new([(1u64, 2i64)]));
        let out = records.iterate(|records| {
            let counted = records.keyed().process_timed("timed", |state| {
                let timers = state.event_timers();
                move |ctx, event| {
                    if let Event::Record(at) = event {
                        timers.set(ctx, (), EventTime(at));
                    }
                }
            });
            let counted: Stream<'_, Record> = counted;
            (counted.clone(), counted)
        });
        out.for_each(drop);
    });
    assert!(timed.contains("operator \"timed\" waits for event time"), "{timed}");
    let at_end = refused(|flow| {
        let records = flow.source("records", VecSource::new([1u64]));
        let out = records.iterate(|records| {
            let counted = records.key_by(|key| *key).emit(Emit::AtEnd).count("count");
            (counted.clone().map(|(key, _)| key), counted)
        });
        out.for_each(drop);
    });
    assert!(at_end.contains("operator \"count\" waits for the end of the input"), "{at_end}");
}

#[test]
fn requests_that_cannot_be_are_refused_and_those_that_fail_fail_the_job() {
    async fn never(_: u64) -> Result<u64, BoxError> {
        std::future::pending().await
    }
    let of = |options: AsyncOptions| {
        refused(move |flow| {
            let records = flow.source("records", VecSource::new([1u64]));
            records.map_async("ask", options, never).for_each(drop);
        })
    };
    let capacity = of(AsyncOptions::default().capacity(0));
    assert!(
        capacity.contains("\"ask\": a capacity of 0 is out of range: 1 to 100000"),
        "{capacity}"
    );
    let timeout = of(AsyncOptions::default().timeout(Duration::ZERO));
    assert!(timeout.contains("\"ask\": a timeout of 0 s"), "{timeout}");
    let soon = Duration::from_millis(5);
    let failed = of(AsyncOptions::default().timeout(soon).retries(2, soon));
    assert!(failed.contains("a request failed 3 times, the last time: no answer"), "{failed}");
}

/// A sink whose older output takes long to discard, and that must not be written to before it is.
#[derive(Clone)]
struct Discards {
    collected: CollectSink<u64>,
    is_done: Arc<AtomicBool>,
}

impl Sink<u64> for Discards {
    type Committable = <CollectSink<u64> as Sink<u64>>::Committable;
    type Writer = <CollectSink<u64> as Sink<u64>>::Writer;

    fn begin(&self, run: &SinkRun) -> Result<(), BoxError> {
        self.collected.begin(run)
    }

    fn commit(&self, run: &SinkRun, prepared: Vec<Self::Committable>) -> Result<(), BoxError> {
        self.collected.commit(run, prepared)
    }

    #[expect(clippy::disallowed_methods, reason = "takes long, which is what is tested")]
    fn abort(&self, run: &SinkRun) -> Result<(), BoxError> {
        std::thread::sleep(Duration::from_millis(300));
        self.collected.abort(run)?;
        self.is_done.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn open(&self, run: &SinkRun, worker: usize) -> Result<Self::Writer, BoxError> {
        if !self.is_done.load(Ordering::SeqCst) {
            return Err(format!("worker {worker} writes before older output is discarded").into());
        }
        self.collected.open(run, worker)
    }
}

/// Requests that were in flight are asked again whatever the sources do, and a file that was written of an
/// answer was deleted with what older runs had left.
#[test]
fn regression_nothing_is_written_before_older_output_is_discarded() {
    let (store, answers) = (Location::memory(), Arc::new(AtomicBool::new(false)));
    let collected = CollectSink::new();
    let is_done = Arc::new(AtomicBool::new(false));
    let sink = Discards { collected: collected.clone(), is_done: Arc::clone(&is_done) };
    let run = || {
        let (answers, sink, asked) =
            (Arc::clone(&answers), sink.clone(), Arc::new(AtomicU64::new(0)));
        let job = Job::new("asks").quiet().workers(3).checkpoint_store(store.clone());
        job.checkpoint_interval(Duration::from_millis(2)).execute(move |flow| {
            let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
            let run = Arc::clone(flow.checkpoints().run());
            let may = Arc::clone(&answers);
            let ask = move |number: u64| {
                let may_answer = Arc::clone(&may);
                if asked.fetch_add(1, Ordering::SeqCst) == 59 && !may_answer.load(Ordering::SeqCst)
                {
                    run.control().request_stop();
                }
                async move {
                    while !may_answer.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Ok::<_, BoxError>(number)
                }
            };
            let splits =
                vec![(0..20).collect(), (20..40).collect(), (40..60).collect(), Vec::new()];
            let may_end = Arc::clone(&answers);
            let source = Trickle::paced(VecSource::splits(splits), move |split, _| {
                let is_open = split == 3 && !may_end.load(Ordering::SeqCst);
                Ok(if is_open { 0 } else { 16 })
            });
            let asks = AsyncOptions::unordered().capacity(100);
            let records = flow.source("records", source).rebalance();
            records.map_async("ask", asks, ask).sink("rows", sink.clone());
        })
    };
    assert_eq!(run().unwrap().outcome, Outcome::Stopped);
    assert!(collected.records().is_empty());
    answers.store(true, Ordering::SeqCst);
    is_done.store(false, Ordering::SeqCst);
    run().unwrap();
    let mut rows = collected.records();
    rows.sort_unstable();
    assert_eq!(rows, (0..60).collect::<Vec<u64>>());
}
