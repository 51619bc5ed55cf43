//! A store that is away for a while bounds the memory of a busy job, and does it no harm.
//!
//! The state is several times the limit, does not compress, and every key of it is changed over and
//! over, so both the scan of a seal and the captures of changes ahead of it would fill the memory.
//! The oracle knows from the source's offset how often each key came.

#![expect(clippy::disallowed_methods, reason = "waits for a run that goes on beside it")]
#![allow(clippy::unwrap_used)] // a panic is the report

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater_checkpoint::policy::CheckpointPolicy;
use highwater_checkpoint::run::{Restore, Run, RunOptions};
use highwater_checkpoint::state::{KeyGroups, stable_hash};
use highwater_checkpoint::store::faulty::{Faults, FaultyStore};
use highwater_checkpoint::store::{BlobStore, Location, PART_BYTES, RetryPolicy};
use timely::Config;
use timely::dataflow::operators::Inspect;

/// With [`NOISE_BYTES`] each, 30 MB.
const KEYS: u64 = 50_000;
const NOISE_BYTES: usize = 600;
const LIMIT: usize = 4 << 20;

/// Given up while the store is away, and made again for as long as the run lives; but a part may take
/// its time on a busy machine.
const HASTY: RetryPolicy =
    RetryPolicy { deadline: Duration::from_millis(800), attempt_timeout: Duration::from_secs(10) };

/// A count, and what no compression makes smaller.
type Value = (u64, String);

/// Letters from which the noise of all values is cut.
fn noise() -> String {
    let letter = |n: u64| char::from(b' ' + (stable_hash(&n) % 95) as u8);
    (0..2 << 20).map(letter).collect()
}

fn open(location: &Location) -> Arc<Run> {
    let store = BlobStore::new(location.clone(), "busy").retry_policy(HASTY);
    Run::open(RunOptions {
        job: "busy".to_owned(),
        workers: 1,
        key_groups: KeyGroups::default(),
        store: Some(store),
        policy: CheckpointPolicy {
            interval: Duration::from_millis(50),
            retain: 2,
            tolerable_failures: u32::MAX,
            ..CheckpointPolicy::default()
        },
        restore: Restore::Latest,
        allow_non_restored_state: false,
        request_interval: Duration::from_secs(1),
        bytes_in_flight_max: LIMIT,
    })
    .unwrap()
}

/// Changes keys in turn from where the checkpoint says, until told to stop; or, `is_over`, says what
/// the checkpoint has.
fn execute(run: &Arc<Run>, is_over: bool) -> BTreeMap<u64, u64> {
    let (shared, found) = (Arc::clone(run), Arc::new(Mutex::new(BTreeMap::new())));
    let (printed, noise) = (Arc::clone(&found), Arc::new(noise()));
    let guards = timely::execute(Config::process(1), move |worker| {
        let (printed, noise) = (Arc::clone(&printed), Arc::clone(&noise));
        shared.dataflow::<u64>(worker, |checkpoints| {
            let applied = Arc::new(AtomicU64::new(0));
            let (seen, mut emitted) = (Arc::clone(&applied), 0);
            let source = move |next: &mut u64, batch: &mut Vec<u64>| {
                if is_over {
                    return false;
                }
                // The program's own pacing.
                if emitted - seen.load(Ordering::Relaxed) < 5_000 {
                    batch.extend((*next..*next + 1000).map(|n| n % KEYS));
                    *next += 1000;
                    emitted += 1000;
                }
                true
            };
            let numbers = checkpoints.source("numbers", 0..1u64, source)?;
            let counts = checkpoints.keyed(
                "counts",
                numbers,
                |key| key,
                move |counts, batch, output| {
                    let Some(batch) = batch else {
                        output.extend(counts.iter().map(|(key, (count, _))| (*key, *count)));
                        return;
                    };
                    applied.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    for key in batch.drain(..) {
                        let change = |key: &u64, (count, text): &mut Value| {
                            *count += 1;
                            let places = (noise.len() - NOISE_BYTES) as u64;
                            let at = (stable_hash(&(*key, *count)) % places) as usize;
                            text.clear();
                            text.push_str(&noise[at..at + NOISE_BYTES]);
                        };
                        counts.update(stable_hash(&key), key, Value::default, change);
                    }
                },
            );
            counts.inspect(move |(key, count)| {
                printed.lock().unwrap().insert(*key, *count);
            });
            Ok(())
        });
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    run.outcome().unwrap();
    let found = found.lock().unwrap();
    found.clone()
}

fn wait_until(what: &str, run: &Run, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        let (status, in_flight) = (run.status(), run.in_flight());
        assert!(Instant::now() < deadline, "not within 60 s: {what}: {status:?}, {in_flight:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_store_that_is_away_bounds_what_is_captured_and_loses_nothing() {
    let (memory, faults) = (Location::memory(), Faults::default());
    let run = open(&FaultyStore::wrap(memory.clone(), faults.clone()));
    let (running, status) = (Arc::clone(&run), run.status());
    let job = std::thread::spawn(move || execute(&running, false));
    wait_until("all keys are in a checkpoint", &run, || {
        status.state().entries == KEYS
            && status.last().is_some_and(|last| last.bytes_total > 25 << 20)
    });

    let away = faults.clone().down_for_calls(0..u64::MAX);
    wait_until("a seal waits for the store", &run, || run.in_flight().bytes() >= LIMIT);
    std::thread::sleep(Duration::from_secs(1));
    let peak = run.in_flight().peak();
    // Beyond the limit: less than a part, what is being compressed, and a slice or a batch.
    let bound = LIMIT + PART_BYTES + (5 << 20);
    assert!(peak < bound, "{peak} bytes were in flight, bound {bound}");
    let completed = status.completed();
    away.heal();
    wait_until("checkpoints go on", &run, || status.completed() > completed + 2);
    run.control().request_stop();
    assert_eq!(job.join().unwrap(), BTreeMap::new(), "a stop is not the end");
    wait_until("nothing is left in flight", &run, || run.in_flight().bytes() == 0);

    let run = open(&memory);
    let source = run.start().operators.iter().find(|state| state.uid == "numbers").unwrap();
    let read = source.splits[0].offset.as_ref().unwrap().as_u64().unwrap();
    let found = execute(&run, true);
    assert_eq!(found.len() as u64, KEYS);
    for (key, count) in found {
        let meant = read / KEYS + u64::from(key < read % KEYS);
        assert_eq!(count, meant, "key {key} of {read} records");
    }
}
