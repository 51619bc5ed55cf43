//! Programs that are written against timely and use `Run::dataflow`: that what they keep survives a
//! stop with any number of workers, and that what is wrong with them ends the run with an error.
//!
//! Method: jobs in this process whose checkpoints are in memory.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_checkpoint::Result;
use highwater_checkpoint::dataflow::CheckpointScope;
use highwater_checkpoint::policy::CheckpointPolicy;
use highwater_checkpoint::run::{Run, RunOptions};
use highwater_checkpoint::state::{KeyGroups, stable_hash};
use highwater_checkpoint::store::{BlobStore, Location};
use timely::Config;
use timely::dataflow::operators::{Inspect, Probe};

fn open(location: &Location, workers: usize) -> Arc<Run> {
    Run::open(RunOptions {
        job: "plain".to_owned(),
        workers,
        key_groups: KeyGroups::default(),
        store: Some(BlobStore::new(location.clone(), "plain")),
        policy: CheckpointPolicy {
            interval: Duration::from_millis(5),
            retain: 2,
            ..CheckpointPolicy::default()
        },
        restore: highwater_checkpoint::run::Restore::Latest,
        allow_non_restored_state: false,
        request_interval: Duration::from_secs(1),
        bytes_in_flight_max: highwater_checkpoint::run::BYTES_IN_FLIGHT_MAX,
    })
    .unwrap()
}

/// Runs a dataflow on all workers of `run`, and returns what stopped it.
fn execute<F>(run: &Arc<Run>, threads: usize, build: F) -> Option<String>
where
    F: for<'scope> Fn(&CheckpointScope<'scope, u64>) -> Result<()> + Send + Sync + 'static,
{
    let shared = Arc::clone(run);
    let guards = timely::execute(Config::process(threads), move |worker| {
        shared.dataflow::<u64>(worker, |checkpoints| build(checkpoints));
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    run.outcome().err().map(|error| error.to_string())
}

const NUMBERS: u64 = 60_000;
const KEYS: u64 = 1_000;

type Counts = Arc<Mutex<BTreeMap<u64, u64>>>;

/// Counts numbers by their remainders; asks for a stop when one worker has read `stop_after`.
fn count(run: &Arc<Run>, stop_after: u64) -> Counts {
    let counts = Counts::default();
    let (control, printed) = (Arc::clone(run), Arc::clone(&counts));
    let failed = execute(run, run.workers(), move |checkpoints| {
        let (control, mut read) = (Arc::clone(&control), 0);
        let numbers = checkpoints.source("numbers", 0..5, move |next: &mut u64, batch| {
            for _ in 0..50 {
                if *next < NUMBERS {
                    batch.push(*next % KEYS);
                    *next += 5;
                    read += 1;
                }
            }
            if read >= stop_after {
                control.control().request_stop();
            }
            *next < NUMBERS
        })?;
        let keyed = checkpoints.keyed(
            "counts",
            numbers,
            |key| key,
            |counts, batch, output| {
                let Some(batch) = batch else {
                    return output.extend(counts.iter().map(|(key, count)| (*key, *count)));
                };
                for key in batch.drain(..) {
                    counts.update(stable_hash(&key), key, || 0u64, |_, count| *count += 1);
                }
            },
        );
        let printed = Arc::clone(&printed);
        keyed.inspect(move |(key, count)| {
            assert!(printed.lock().unwrap().insert(*key, *count).is_none(), "{key} came twice");
        });
        Ok(())
    });
    assert_eq!(failed, None);
    counts
}

#[test]
fn state_and_offsets_survive_a_stop_with_any_number_of_workers() {
    let location = Location::memory();
    for workers in [2, 3, 1, 4, 1] {
        let run = open(&location, workers);
        let counts = count(&run, 2_000);
        assert_eq!(*counts.lock().unwrap(), BTreeMap::new(), "a stop is not the end");
        assert_ne!(run.status().last().unwrap().bytes_total, 0);
    }
    let expected: BTreeMap<u64, u64> = (0..KEYS).map(|key| (key, NUMBERS / KEYS)).collect();
    // The second run restores the end of the input, and sees that end again.
    for workers in [3, 2] {
        let run = open(&location, workers);
        assert!(run.start().epoch.0 >= 5, "{:?}", run.start());
        assert_eq!(*count(&run, u64::MAX).lock().unwrap(), expected);
    }
}

#[test]
fn a_panic_on_one_worker_ends_the_run() {
    let run = open(&Location::memory(), 3);
    let failed = execute(&run, 3, |checkpoints| {
        let numbers = checkpoints.source("numbers", 0..3, |next: &mut u64, batch| {
            assert!(*next != 1, "split 1 cannot be read");
            batch.push(*next);
            true
        })?;
        numbers.probe_with(checkpoints.tail());
        Ok(())
    });
    assert_eq!(failed.as_deref(), Some("worker 1 panicked"));
}

#[test]
fn a_run_of_other_workers_than_timely_has_is_refused() {
    let run = open(&Location::memory(), 2);
    let failed = execute(&run, 1, |_| Ok(())).unwrap();
    assert!(failed.contains("2 workers") && failed.contains("has 1"), "{failed}");
}
