//! State that belongs to no key: lists that are dealt out or given to all on rescaling, and maps
//! that are the same on all workers.
//!
//! What a checkpoint holds is read from the metadata that the next run starts from; what workers
//! get, from the workers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::checkpoint::run::Run;
use highwater::checkpoint::store::Location;
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::sink::{Prepare, Redistribution, Sink, SinkRun, SinkWriter};
use highwater::state::BroadcastMap;
use highwater::testing::VecSource;
use highwater::{BoxError, Epoch, Summary};

use super::trickle::Trickle;

/// Records of a split that are read at once.
const FEW: usize = 17;

fn job(store: &Location, workers: usize) -> Job {
    let job = Job::new("operator").quiet().workers(workers);
    let job =
        job.checkpoint_store(store.clone()).restart_strategy(highwater::RestartStrategy::None);
    job.checkpoint_interval(Duration::from_millis(1))
}

/// The items of state `uid` that a run begins with.
fn items(run: &Run, uid: &str) -> Vec<u64> {
    let state = run.start().operators.iter().find(|state| state.uid == uid);
    let items = state.into_iter().flat_map(|state| &state.items);
    items.map(|item| item.as_u64().unwrap()).collect()
}

#[derive(Default)]
struct Seen {
    /// What the checkpoint holds that the run began with: `hold/held` and `hold/marks`.
    stored: [Vec<u64>; 2],
    /// What each worker began with.
    held: BTreeMap<usize, Vec<u64>>,
    marks: BTreeMap<usize, Vec<u64>>,
}

/// Holds every number that comes in a list that is split. In one that is given to all, each worker
/// of run `round` keeps nothing of what it gets and adds a mark of its own.
fn hold(store: &Location, workers: usize, round: u64) -> (Summary, Seen) {
    let numbers: Vec<Vec<u64>> = (0..6).map(|s| (0..500).map(|n| s * 1000 + n).collect()).collect();
    let source = Trickle::new(VecSource::splits(numbers), FEW);
    let (seen, count) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicU64::new(0)));
    let from_workers = Arc::clone(&seen);
    let summary = job(store, workers).execute(move |flow| {
        let (run, count) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&count));
        let (seen, worker) = (Arc::clone(&from_workers), flow.scope().index());
        seen.lock().unwrap().stored = ["hold/held", "hold/marks"].map(|uid| items(&run, uid));
        let numbers = flow.source("numbers", source.clone());
        let held = numbers.process("hold", move |state| {
            let held = state.split_list::<u64>("held");
            let marks = state.broadcast_list::<u64>("marks");
            let mut is_first = true;
            move |ctx, number| {
                if std::mem::take(&mut is_first) {
                    let mut seen = seen.lock().unwrap();
                    held.with(|held| drop(seen.held.insert(worker, held.clone())));
                    let mine = vec![round * 10 + worker as u64];
                    let marks = marks.with(|marks| std::mem::replace(marks, mine));
                    seen.marks.insert(worker, marks);
                }
                held.with(|held| held.push(number));
                ctx.emit(number);
                if count.fetch_add(1, Ordering::Relaxed) > 500 {
                    run.control().request_stop();
                }
            }
        });
        held.for_each(drop);
    });
    (summary.unwrap(), Arc::into_inner(seen).unwrap().into_inner().unwrap())
}

#[test]
fn lists_are_split_or_given_to_all_when_workers_change() {
    let (store, mut records) = (Location::memory(), 0);
    let mut marks_before: Vec<u64> = Vec::new();
    for (round, workers) in [2, 3, 1, 2].into_iter().enumerate() {
        let (summary, seen) = hold(&store, workers, round as u64);
        assert_eq!(summary.outcome, Outcome::Stopped, "the input is long enough");
        let [mut stored, marks] = seen.stored;
        assert_eq!(stored.len() as u64, records, "round {round}: every number is held once");
        assert_eq!(seen.held.len(), workers, "round {round}: every worker has worked");
        for held in seen.held.values() {
            let (share, even) = (held.len(), stored.len() / workers);
            assert!((even..=even + 1).contains(&share), "round {round}: {share} of {even}");
        }
        let mut held: Vec<u64> = seen.held.into_values().flatten().collect();
        held.sort_unstable();
        stored.sort_unstable();
        assert_eq!(held, stored, "round {round}: dealt out, nothing lost and nothing twice");
        assert_eq!(marks, marks_before, "round {round}");
        assert!(seen.marks.values().all(|got| *got == marks), "round {round}: given to all");
        records += summary.records_in;
        marks_before = (0..workers as u64).map(|worker| round as u64 * 10 + worker).collect();
    }
}

/// Counts what each writer of all runs has written; commits nothing.
#[derive(Clone, Default)]
struct CountingSink {
    redistribution: Redistribution,
    /// What each writer began with.
    restored: Arc<Mutex<BTreeMap<usize, Vec<u64>>>>,
}

struct CountingWriter {
    worker: usize,
    count: u64,
    restored: Arc<Mutex<BTreeMap<usize, Vec<u64>>>>,
    /// What others have counted, in a list that is split.
    others: Vec<u64>,
}

impl Sink<u64> for CountingSink {
    type Committable = ();
    type Writer = CountingWriter;

    fn begin(&self, _: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }
    fn commit(&self, _: &SinkRun, _: Vec<()>) -> Result<(), BoxError> {
        Ok(())
    }
    fn abort(&self, _: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }
    fn open(&self, _: &SinkRun, worker: usize) -> Result<CountingWriter, BoxError> {
        let restored = Arc::clone(&self.restored);
        Ok(CountingWriter { worker, count: 0, restored, others: Vec::new() })
    }
    fn redistribution(&self) -> Redistribution {
        self.redistribution
    }
}

impl SinkWriter<u64> for CountingWriter {
    type Committable = ();

    fn write(&mut self, batch: &mut Vec<u64>) -> Result<(), BoxError> {
        self.count += batch.len() as u64;
        Ok(())
    }
    fn prepare(&mut self, _: Epoch) -> Result<Prepare<()>, BoxError> {
        Ok(Box::new(|| Ok(Vec::new())))
    }
    fn items(&self) -> Result<Vec<serde_json::Value>, BoxError> {
        Ok([self.count].iter().chain(&self.others).map(|n| (*n).into()).collect())
    }
    fn restore(&mut self, items: Vec<serde_json::Value>) -> Result<(), BoxError> {
        self.others = items.iter().map(|item| item.as_u64().unwrap()).collect();
        self.restored.lock().unwrap().insert(self.worker, self.others.clone());
        Ok(())
    }
}

#[test]
fn items_of_sinks_are_split_or_given_to_all_when_workers_change() {
    for redistribution in [Redistribution::Split, Redistribution::Broadcast] {
        let (store, mut records, mut restored) = (Location::memory(), 0, BTreeMap::new());
        for workers in [2, 3, 1] {
            let sink = CountingSink { redistribution, ..CountingSink::default() };
            let (numbers, to_sink) = (vec![(0..3_000u64).collect(); 6], sink.clone());
            let (source, count) =
                (Trickle::new(VecSource::splits(numbers), FEW), Arc::new(AtomicU64::new(0)));
            let summary = job(&store, workers).execute(move |flow| {
                let (run, count) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&count));
                let numbers = flow.source("numbers", source.clone()).inspect(move |_| {
                    if count.fetch_add(1, Ordering::Relaxed) > 500 {
                        run.control().request_stop();
                    }
                });
                numbers.sink("count", to_sink.clone());
            });
            restored = std::mem::take(&mut *sink.restored.lock().unwrap());
            if redistribution == Redistribution::Split {
                let counted: u64 = restored.values().flatten().sum();
                assert_eq!(counted, records, "{workers} workers: dealt out, each to one");
            } else if records > 0 {
                assert_eq!(restored.len(), workers);
                assert!(restored.values().all(|all| *all == restored[&0]), "{restored:?}");
            }
            records += summary.unwrap().records_in;
        }
        assert!(!restored.is_empty(), "{redistribution:?}");
    }
}

type Rule = (u32, u64);

/// Each worker's map, after the last update that it has seen; what the checkpoint had, in entries;
/// and whether the input has ended.
struct Ruled {
    maps: BTreeMap<usize, BTreeMap<u32, u64>>,
    entries: Vec<u64>,
    summary: Summary,
}

/// Rules come from all splits and so from all workers; keys from 100 on have rules of many splits.
fn rules() -> Vec<Vec<Rule>> {
    let of = |split: u32| {
        (0..3_000).map(move |n| {
            let key = if n % 2 == 0 { 100 + n % 5 } else { split * 10 + n % 10 };
            (key, u64::from(split * 10_000 + n))
        })
    };
    (0..6).map(|split| of(split).collect()).collect()
}

fn rule(store: &Location, workers: usize, stop_at: u64) -> Ruled {
    let rules = Trickle::new(VecSource::splits(rules()), FEW);
    let data = VecSource::new([1u32, 2, 3]);
    let maps: Arc<Mutex<BTreeMap<usize, BTreeMap<u32, u64>>>> = Arc::default();
    let (entries, count) = (Arc::new(Mutex::default()), Arc::new(AtomicU64::new(0)));
    let (from_workers, stored) = (Arc::clone(&maps), Arc::clone(&entries));
    let summary = job(store, workers).checkpoint_interval(Duration::from_secs(3600));
    let summary = summary.execute(move |flow| {
        let (run, worker) = (Arc::clone(flow.checkpoints().run()), flow.scope().index());
        let state = run.start().operators.iter().filter(|state| state.uid == "ruled");
        let of_segments = state.flat_map(|state| &state.segments).map(|s| s.entries);
        *stored.lock().unwrap() = of_segments.collect::<Vec<u64>>();
        let (maps, count) = (Arc::clone(&from_workers), Arc::clone(&count));
        let rules = flow.source("rules", rules.clone()).inspect(move |_| {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == stop_at {
                run.control().request_stop();
            }
        });
        flow.source("data", data.clone())
            .with_broadcast(
                "ruled",
                rules,
                move |map: &mut BroadcastMap<u32, u64>, (key, value): Rule| {
                    if key >= 100 {
                        // Says in which order the rules have come.
                        let before: u64 = map.get(&key).copied().unwrap_or_default();
                        map.insert(key, before.wrapping_mul(31).wrapping_add(value));
                    } else if value % 10 == 9 {
                        map.remove(&key);
                    } else {
                        map.insert(key, value);
                    }
                    maps.lock().unwrap().insert(worker, (**map).clone());
                },
                |map, key| map.get(&key).copied(),
            )
            .for_each(drop);
    });
    let maps = std::mem::take(&mut *maps.lock().unwrap());
    let entries = std::mem::take(&mut *entries.lock().unwrap());
    Ruled { maps, entries, summary: summary.unwrap() }
}

#[test]
fn a_broadcast_map_is_the_same_on_all_workers_and_is_written_once() {
    let (store, mut before): (_, Option<BTreeMap<u32, u64>>) = (Location::memory(), None);
    let mut records = 0;
    for (round, (workers, stop_at)) in
        [(2, 4_000), (4, 4_000), (1, 1_000), (3, 999_999)].into_iter().enumerate()
    {
        let Ruled { maps, entries, summary } = rule(&store, workers, stop_at);
        records += summary.records_in;
        assert_eq!(maps.len(), workers, "round {round}");
        let map = maps[&0].clone();
        assert!(maps.values().all(|other| *other == map), "round {round}: {maps:?}");
        if round == 1 {
            let before = before.as_ref().unwrap();
            assert_eq!(entries.iter().sum::<u64>(), before.len() as u64, "each entry once");
        }
        before = Some(map);
    }
    assert_eq!(records, 6 * 3_000 + 3, "every rule was read once");
    // Of keys whose rules are all of one split a plain loop knows what is left of all four runs.
    let mut expected = BTreeMap::new();
    for (key, value) in rules().into_iter().flatten().filter(|(key, _)| *key < 100) {
        if value % 10 == 9 {
            expected.remove(&key);
        } else {
            expected.insert(key, value);
        }
    }
    let mut map = before.unwrap();
    let shared = map.split_off(&100);
    assert_eq!(map, expected);
    assert!(!shared.is_empty());
}
