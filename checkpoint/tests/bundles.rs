//! Small states of one worker and epoch are one object, which is read back like any other.
//!
//! Twenty operators on two workers count the same numbers; an operator of its own sees only the first
//! few. Objects are counted from the log of a store, and looked at behind the run's back. The oracle
//! counts the input in a plain loop.

#![expect(clippy::disallowed_methods, reason = "the source is slow on purpose")]
#![allow(clippy::unwrap_used)] // a panic is the report

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_checkpoint::metadata::{CheckpointMetadata, SegmentMetadata};
use highwater_checkpoint::policy::CheckpointPolicy;
use highwater_checkpoint::run::{BYTES_IN_FLIGHT_MAX, Restore, Run, RunOptions};
use highwater_checkpoint::state::{KeyGroups, stable_hash};
use highwater_checkpoint::store::faulty::{Faults, FaultyStore};
use highwater_checkpoint::store::layout::{self, BundleName};
use highwater_checkpoint::store::{BlobStore, Location};
use timely::Config;
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::vec::Filter;

const OPERATORS: usize = 20;
const KEYS: u64 = 500;

/// The operator `seldom` sees numbers below this.
const FEW: u64 = 100;

type Counts = BTreeMap<(usize, u64), u64>;

fn open(location: &Location, workers: usize) -> Arc<Run> {
    Run::open(RunOptions {
        job: "many".to_owned(),
        workers,
        key_groups: KeyGroups::new(16).unwrap(),
        store: Some(BlobStore::new(location.clone(), "many")),
        policy: CheckpointPolicy {
            interval: Duration::from_millis(20),
            retain: 1,
            tolerable_failures: u32::MAX,
            ..CheckpointPolicy::default()
        },
        restore: Restore::Latest,
        allow_non_restored_state: false,
        request_interval: Duration::from_secs(1),
        bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
    })
    .unwrap()
}

/// Counts up to `numbers`, and asks for a stop after `stop_after` checkpoints of this run.
fn count(run: &Arc<Run>, numbers: u64, stop_after: u64) -> (Counts, Option<String>) {
    let (shared, found) = (Arc::clone(run), Arc::new(Mutex::new(Counts::new())));
    let printed = Arc::clone(&found);
    let guards = timely::execute(Config::process(run.workers()), move |worker| {
        shared.dataflow::<u64>(worker, |checkpoints| {
            let control = Arc::clone(&shared);
            let mut emitted = 0;
            let source = move |next: &mut u64, batch: &mut Vec<(u64, u64)>| {
                std::thread::sleep(Duration::from_micros(200));
                let completed = control.status().completed();
                if completed >= stop_after {
                    control.control().request_stop();
                }
                // Every key comes in every epoch, and a run that is to be stopped does not end.
                let is_ahead = stop_after < u64::MAX && emitted > (completed + 1) * 1000;
                for _ in 0..50 {
                    if *next < numbers && !is_ahead {
                        batch.push((*next % KEYS, *next));
                        *next += 4;
                        emitted += 1;
                    }
                }
                *next < numbers
            };
            let all = checkpoints.source("numbers", 0..4u64, source)?;
            for operator in 0..=OPERATORS {
                let uid = if operator == 0 { "seldom".into() } else { format!("count-{operator}") };
                let numbers = all.clone().filter(move |(_, n)| operator > 0 || *n < FEW);
                let counts = checkpoints.keyed(
                    &uid,
                    numbers,
                    |(key, _)| key,
                    move |counts, batch, output| {
                        let Some(batch) = batch else {
                            output.extend(counts.iter().map(|(key, count)| (*key, *count)));
                            return;
                        };
                        for (key, _) in batch.drain(..) {
                            counts.update(stable_hash(&key), key, || 0u64, |_, count| *count += 1);
                        }
                    },
                );
                let printed = Arc::clone(&printed);
                counts.inspect(move |(key, count)| {
                    let before = printed.lock().unwrap().insert((operator, *key), *count);
                    assert_eq!(before, None, "{key} of {operator} came twice");
                });
            }
            Ok(())
        });
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    let failed = run.outcome().err().map(|error| error.to_string());
    let counts = found.lock().unwrap().clone();
    (counts, failed)
}

fn expected(numbers: u64) -> Counts {
    let mut counts = Counts::new();
    for n in 0..numbers {
        for operator in 0..=OPERATORS {
            if operator > 0 || n < FEW {
                *counts.entry((operator, n % KEYS)).or_default() += 1;
            }
        }
    }
    counts
}

/// The store as it is, without faults.
struct Behind(BlobStore, tokio::runtime::Runtime);

impl Behind {
    fn of(location: &Location) -> Behind {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Behind(BlobStore::new(location.clone(), "many"), runtime)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let objects = self.1.block_on(self.0.list(folder)).unwrap();
        objects.into_iter().map(|(name, _)| name).collect()
    }

    fn newest(&self) -> CheckpointMetadata {
        let name = self.names(layout::CHECKPOINTS).pop().unwrap();
        let bytes = self.1.block_on(self.0.get(&name)).unwrap();
        CheckpointMetadata::from_bytes(&name, &bytes).unwrap()
    }

    fn segments(&self, uid: &str) -> Vec<SegmentMetadata> {
        let newest = self.newest();
        newest.operators.into_iter().find(|state| state.uid == uid).unwrap().segments
    }

    /// Flips a byte in the middle of a segment.
    fn flip(&self, segment: &SegmentMetadata) {
        let mut bytes = self.1.block_on(self.0.get(&segment.object)).unwrap().to_vec();
        let at = segment.offset.unwrap_or(0) + segment.bytes / 2;
        bytes[usize::try_from(at).unwrap()] ^= 1;
        self.1.block_on(self.0.put(&segment.object, bytes.into())).unwrap();
    }
}

/// Numbers that are not all read before the runs here are stopped.
const MANY: u64 = 100_000;

#[test]
fn objects_are_as_many_as_workers_and_any_other_number_of_workers_reads_them() {
    let (memory, faults) = (Location::memory(), Faults::default());
    let behind = Behind::of(&memory);
    let run = open(&FaultyStore::wrap(memory.clone(), faults.clone()), 2);
    let (counts, failed) = count(&run, MANY, 8);
    assert_eq!((counts, failed), (Counts::new(), None), "a stop is not the end");
    let completed = run.status().completed();
    let puts: BTreeSet<String> = faults
        .log()
        .into_iter()
        .filter(|call| ["put", "start_upload"].contains(&call.operation))
        .map(|call| call.path)
        .filter(|path| path.contains(&format!("/{}/", layout::SEGMENTS)))
        .collect();
    // Two where all hand in in time. An operator that lingers, a fold: twice that, not twenty times.
    let (puts, bound) = (puts.len() as u64, completed * 2 * 2);
    assert!(puts >= completed, "{puts} objects for {completed} checkpoints");
    assert!(puts <= bound, "{puts} objects for {completed} checkpoints, bound {bound}");

    // What nothing refers to is gone, and what something refers to is not.
    let seldom = behind.segments("seldom");
    let offsets: Vec<_> = seldom.iter().filter_map(|segment| segment.offset).collect();
    assert!(!offsets.is_empty(), "{seldom:?}");
    let oldest = seldom.iter().map(|segment| segment.epoch).min().unwrap();
    let others = behind.segments("count-7");
    assert!(others.iter().all(|segment| segment.epoch > oldest), "{oldest}: {others:?}");
    let there = behind.names(layout::SEGMENTS);
    let newest = behind.newest();
    let named: BTreeSet<_> = newest
        .operators
        .iter()
        .flat_map(|state| state.segments.iter().map(|segment| segment.object.clone()))
        .collect();
    assert!(named.iter().all(|object| there.contains(object)), "{named:?} of {there:?}");
    assert!(named.iter().any(|object| BundleName::parse(object).is_some()), "{named:?}");

    for (workers, stop_after) in [(3, 1), (1, 1), (2, u64::MAX)] {
        let run = open(&memory, workers);
        let (counts, failed) = count(&run, MANY, stop_after);
        assert_eq!(failed, None, "{workers} workers");
        let meant = if stop_after == u64::MAX { expected(MANY) } else { Counts::new() };
        assert!(counts == meant, "{workers} workers, other counts");
    }
}

#[test]
fn a_flipped_byte_in_a_bundle_names_the_object_and_the_operator() {
    let memory = Location::memory();
    let behind = Behind::of(&memory);
    let run = open(&memory, 1);
    let (_, failed) = count(&run, MANY, 2);
    assert_eq!(failed, None);
    let segment = behind.segments("count-7").pop().unwrap();
    assert!(BundleName::parse(&segment.object).is_some(), "{segment:?}");
    assert!(segment.offset.is_some(), "{segment:?}");
    behind.flip(&segment);
    let (_, failed) = count(&open(&memory, 2), MANY, 1);
    let failed = failed.expect("a damaged checkpoint is no start");
    assert!(failed.contains(&segment.object) && failed.contains("\"count-7\""), "{failed}");
}
