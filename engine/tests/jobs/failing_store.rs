//! A store that refuses, loses replies, is slow or is away: the job goes on, and loses nothing.
//!
//! A keyed count with running updates checkpoints every few milliseconds to a memory behind a
//! `FaultyStore`. Runs are killed in the middle, on a store that fails, and the next one resumes
//! from what survived. After each run the memory is looked at from behind, where nothing fails: a
//! checkpoint that the run had reported must be there, each checkpoint that is there must be whole,
//! and the next run must start from the newest or a later one. In the end each key has each number
//! from 1 to its count once.
//!
//! Faults are counted, and a test in which too few struck fails. `FAILING_STORE_ROUNDS=20` repeats
//! each case with other seeds: `FAILING_STORE_ROUNDS=20 cargo test -p highwater --test jobs
//! failing_store -- --nocapture`.

#![expect(clippy::disallowed_methods, reason = "waits for jobs that run beside it")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::RestartStrategy;
use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::metadata::{CheckpointId, CheckpointMetadata};
use highwater::checkpoint::run::Run;
use highwater::checkpoint::store::faulty::{Faults, FaultyStore};
use highwater::checkpoint::store::{BlobStore, Location, RetryPolicy, layout};
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::testing::{CollectSink, Random, VecSource};

use super::counts::check_updates;
use super::trickle::Trickle;
use super::waiting::PATIENCE;

const JOB: &str = "failing";

/// Long enough for five attempts: a restore of many segments from a store of whose answers every third
/// does not come would hardly ever have two for each.
const POLICY: RetryPolicy = RetryPolicy {
    deadline: Duration::from_millis(400),
    attempt_timeout: Duration::from_millis(50),
};

type Collected = CollectSink<(u64, u64)>;

fn rounds() -> u64 {
    std::env::var("FAILING_STORE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

fn input() -> Vec<Vec<u64>> {
    let mut random = Random::new(11);
    [300, 900, 0, 1800].map(|n| (0..n).map(|_| random.next_u64() % 91).collect()).into()
}

fn check(collected: &Collected, case: &str) {
    check_updates(collected.records(), &input(), case);
}

/// Records of a split that are read at once.
const FEW: usize = 16;

/// What a run left to look at: the run itself, and how it ended.
struct Ran {
    run: Option<Arc<Run>>,
    outcome: highwater::Result<highwater::Summary>,
}

fn run(
    location: Location,
    workers: usize,
    collected: &Collected,
    each: impl Fn(&Run, u64) + Clone + Send + Sync + 'static,
) -> Ran {
    let (source, sink) = (VecSource::splits(input()), collected.clone());
    let (started, seen) = (Arc::new(Mutex::new(None)), Arc::new(AtomicU64::new(0)));
    let to_started = Arc::clone(&started);
    let job = Job::new(JOB)
        .quiet()
        .workers(workers)
        .retain(2)
        .fold_bytes_min(0)
        .checkpoint_store(location)
        .store_retries(POLICY)
        .checkpoint_interval(Duration::from_millis(3))
        .tolerable_failed_checkpoints(u32::MAX)
        .restart_strategy(RestartStrategy::None);
    let outcome = job.execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        *to_started.lock().unwrap() = Some(Arc::clone(&run));
        let (each, seen) = (each.clone(), Arc::clone(&seen));
        flow.source("numbers", Trickle::new(source.clone(), FEW))
            .inspect(move |_| each(&run, seen.fetch_add(1, Ordering::Relaxed)))
            .key_by(|key| *key)
            .count("count")
            .sink("counts", sink.clone());
    });
    let run = started.lock().unwrap().take();
    Ran { run, outcome }
}

fn nothing(_: &Run, _: u64) {}

/// The store as it is, without faults.
struct Behind {
    store: BlobStore,
    runtime: tokio::runtime::Runtime,
}

impl Behind {
    fn of(location: &Location) -> Behind {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Behind { store: BlobStore::new(location.clone(), JOB), runtime }
    }

    fn names(&self, folder: &str) -> BTreeSet<String> {
        let objects = self.runtime.block_on(self.store.list(folder)).unwrap();
        objects.into_iter().map(|(name, _)| name).collect()
    }

    fn newest(&self) -> CheckpointId {
        let names = self.names(layout::CHECKPOINTS);
        let newest = names.iter().filter_map(|name| layout::parse_checkpoint(name)).max();
        newest.unwrap_or(CheckpointId(0))
    }

    /// Each checkpoint that is there has all that it refers to.
    fn check_whole(&self, case: &str) {
        for name in self.names(layout::CHECKPOINTS) {
            // A run that has ended may still be deleting.
            let Ok(bytes) = self.runtime.block_on(self.store.get(&name)) else { continue };
            let metadata = CheckpointMetadata::from_bytes(&name, &bytes).unwrap();
            let there = self.names(layout::SEGMENTS);
            let segments = metadata.operators.iter().flat_map(|operator| &operator.segments);
            let mut missing = segments.filter(|segment| !there.contains(&segment.object));
            if let Some(missing) = missing.next() {
                let is_there = self.names(layout::CHECKPOINTS).contains(&name);
                assert!(!is_there, "{case}: {name} is there and {} is not", missing.object);
            }
        }
    }
}

/// Kills runs at random places on a store with `faults`, until one comes to the end.
fn survives(name: &str, seed: u64, faults: &Faults, each: fn(&Faults, u64)) {
    let memory = Location::memory();
    let (behind, collected) = (Behind::of(&memory), Collected::new());
    let mut random = Random::new(seed);
    let (mut kills, mut not_opened, mut last) = (0, 0, String::new());
    let started = Instant::now();
    loop {
        let case = format!("{name}, seed {seed}, after {kills} kills");
        let newest = behind.newest();
        let dies_at = if kills < 3 { random.next_u64() % 1500 } else { u64::MAX };
        let location = FaultyStore::wrap(memory.clone(), faults.clone());
        let script = faults.clone();
        let dies = move |run: &Run, n: u64| {
            each(&script, n);
            if n == dies_at {
                run.control().fail("killed by the test");
            }
        };
        let ran = run(location, 1 + random.below(3), &collected, dies);
        let finished = match &ran.outcome {
            Ok(_) => true,
            // A run may find the store away when it starts, and then it can be started again.
            Err(error) if ran.run.is_none() => {
                let again = matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reconcile);
                assert!(again, "{case}: {error:?}");
                not_opened += 1;
                false
            }
            Err(error) => {
                let says = format!("{error:?}");
                let in_setup = says.contains("refused") || says.contains("unknown");
                assert!(says.contains("killed by the test") || in_setup, "{case}: {says}");
                (kills, last) = (kills + 1, says);
                false
            }
        };
        if let Some(run) = ran.run {
            if let Some(restored) = run.restored() {
                assert!(restored >= newest, "{case}: restored {restored}, there was {newest}");
            } else {
                assert_eq!(newest, CheckpointId(0), "{case}: started afresh");
            }
            if let Some(reported) = run.status().last() {
                let there = behind.newest();
                assert!(
                    there >= reported.id,
                    "{case}: {} was reported, {there} is there",
                    reported.id
                );
            }
        }
        behind.check_whole(&case);
        if finished {
            break;
        }
        let is_patient = started.elapsed() < PATIENCE;
        assert!(is_patient, "{case}: {not_opened} runs did not open; the last: {last}");
    }
    let case = format!("{name}, seed {seed}");
    check(&collected, &case);
    faults.heal();
    let again = run(memory, 2, &collected, nothing).outcome.unwrap();
    assert_eq!(again.outcome, Outcome::HadFinished, "{case}");
    check(&collected, &case);
    println!(
        "{case}: {kills} kills, {not_opened} not opened, {} calls, {:.1} s",
        faults.calls(),
        started.elapsed().as_secs_f64()
    );
}

fn no_change(_: &Faults, _: u64) {}

#[test]
fn every_kth_request_is_refused() {
    for seed in 0..rounds() {
        for k in [2, 3, 5, 7] {
            let faults = Faults::default().refuse_every(k);
            survives(&format!("refuse every {k}th"), seed, &faults, no_change);
            assert!(faults.calls() / k >= 10, "k = {k}: {} calls", faults.calls());
        }
    }
}

#[test]
fn every_kth_reply_is_lost() {
    for seed in 0..rounds() {
        for k in [2, 3, 5, 7] {
            let faults = Faults::default().lose_reply_every(k);
            survives(&format!("lose every {k}th reply"), seed, &faults, no_change);
            assert!(faults.calls() / k >= 10, "k = {k}: {} calls", faults.calls());
        }
    }
}

#[test]
fn requests_are_refused_and_replies_lost() {
    for seed in 0..rounds() {
        for (refused, lost) in [(3, 4), (4, 3), (5, 7)] {
            let faults = Faults::default().refuse_every(refused).lose_reply_every(lost);
            survives(&format!("refuse {refused}, lose {lost}"), seed, &faults, no_change);
            assert!(faults.calls() / lost.max(refused) >= 10, "{} calls", faults.calls());
        }
    }
}

/// Seconds against attempts of 50 ms: each slow request is given up, and takes effect later or has
/// taken effect already.
#[test]
fn every_kth_request_is_slow_for_seconds() {
    for seed in 0..rounds() {
        for k in [3, 4] {
            let faults = Faults::default().slow_every(k, Duration::from_secs(2));
            survives(&format!("slow every {k}th"), seed, &faults, no_change);
            assert!(faults.calls() / k >= 10, "k = {k}: {} calls", faults.calls());
        }
    }
}

/// Longer than the deadline of a request, several times in a run.
#[test]
fn a_store_that_is_away_for_longer_than_the_deadline() {
    for seed in 0..rounds() {
        let faults = Faults::default();
        survives("away", seed, &faults, |faults, n| {
            if n % 500 == 250 {
                drop(faults.clone().down_during(Duration::ZERO..POLICY.deadline * 3));
            }
        });
    }
}

/// Windows that begin at each of a run's requests in turn, so that also the metadata of a
/// checkpoint is what is not written, or is written without anybody knowing.
#[test]
fn whole_checkpoints_fail_and_go_into_the_next() {
    let (failed, mut struck) = (AtomicU64::new(0), 0);
    let step = if rounds() > 1 { 4 } else { 16 };
    let once = (8..96u64).step_by(step).count();
    // Which request writes a metadata depends on timing: where none was hit, the windows between are
    // tried as well.
    let starts = (0..step as u64).flat_map(|shift| (8 + shift..96).step_by(step));
    for (tried, (at, lost)) in starts.zip([false, true].into_iter().cycle()).enumerate() {
        if tried >= once && failed.load(Ordering::Relaxed) > 0 && struck >= 60 {
            break;
        }
        let case = format!("from call {at} on, replies lost: {lost}");
        let faults = Faults::default();
        let calls = at..at + 24;
        let faults =
            if lost { faults.lose_replies_to_calls(calls) } else { faults.down_for_calls(calls) };
        let (memory, collected) = (Location::memory(), Collected::new());
        let behind = Behind::of(&memory);
        let started = Instant::now();
        loop {
            let location = FaultyStore::wrap(memory.clone(), faults.clone());
            let ran = run(location, 2, &collected, nothing);
            if let Some(run) = &ran.run {
                failed.fetch_add(run.status().failed(), Ordering::Relaxed);
            }
            behind.check_whole(&case);
            match ran.outcome {
                Ok(_) => break,
                Err(error) => {
                    let again = matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reconcile);
                    assert!(again && started.elapsed() < PATIENCE, "{case}: {error:?}");
                }
            }
        }
        check(&collected, &case);
        struck += faults.calls().min(at + 24).saturating_sub(at);
    }
    let failed = failed.load(Ordering::Relaxed);
    println!("{failed} checkpoints were not written at first, {struck} requests failed");
    assert!(failed > 0, "no metadata was ever hit");
    assert!(struck >= 60, "{struck} requests failed");
}

/// While the store is away for good a job neither ends nor fails, not when it is asked to stop
/// either: it tries on. It stops when the store is back.
#[test]
fn a_stop_waits_for_the_store() {
    let (memory, collected, faults) = (Location::memory(), Collected::new(), Faults::default());
    let location = FaultyStore::wrap(memory.clone(), faults.clone());
    let seen = Arc::new(Mutex::new(None));
    let (to_seen, script) = (Arc::clone(&seen), faults.clone());
    let goes_away = move |run: &Run, n: u64| {
        if n == 700 {
            run.control().request_stop();
            let call = script.calls();
            drop(script.clone().down_for_calls(call..u64::MAX));
            *to_seen.lock().unwrap() = Some(call);
        }
    };
    let to_collect = collected.clone();
    let job = std::thread::spawn(move || run(location, 2, &to_collect, goes_away).outcome);
    let started = Instant::now();
    // Enough for a request to have been given up several times.
    let enough = || seen.lock().unwrap().is_some_and(|call| faults.calls() > call + 20);
    while !enough() {
        assert!(!job.is_finished(), "{:?}", job.join());
        assert!(started.elapsed() < PATIENCE, "{} calls", faults.calls());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!job.is_finished(), "{:?}", job.join());
    faults.heal();
    let summary = job.join().unwrap().unwrap();
    assert_eq!(summary.outcome, Outcome::Stopped);
    assert!(summary.records_in < 3000, "{summary:?}");
    let after = run(memory, 3, &collected, nothing).outcome.unwrap();
    assert_eq!(after.records_in, 3000 - summary.records_in);
    check(&collected, "resumed when the store was back");
}

/// "No" comes at once, unlike silence: without a pause it would be asked for as fast as it comes.
#[test]
fn regression_a_store_that_denies_is_not_asked_as_fast_as_it_answers() {
    let (memory, collected, faults) = (Location::memory(), Collected::new(), Faults::default());
    let location = FaultyStore::wrap(memory.clone(), faults.clone());
    let since = Arc::new(Mutex::new(None));
    let (to_since, script) = (Arc::clone(&since), faults.clone());
    let denies = move |_: &Run, n: u64| {
        if n == 1000 {
            *to_since.lock().unwrap() = Some((script.calls(), Instant::now()));
            drop(script.clone().deny());
        }
    };
    let to_collect = collected.clone();
    let job = std::thread::spawn(move || run(location, 2, &to_collect, denies).outcome);
    let started = Instant::now();
    let calls = loop {
        if let Some((before, at)) = *since.lock().unwrap()
            && at.elapsed() > Duration::from_millis(500)
        {
            break faults.calls() - before;
        }
        assert!(started.elapsed() < PATIENCE && !job.is_finished(), "the job ended");
        std::thread::sleep(Duration::from_millis(1));
    };
    faults.heal();
    job.join().unwrap().unwrap();
    check(&collected, "denied for a while");
    assert!((1..100).contains(&calls), "{calls} requests in half a second");
}

/// Nobody would be fenced by a run whose token is gone.
#[test]
fn regression_a_run_whose_token_is_gone_stops() {
    let (memory, collected) = (Location::memory(), Collected::new());
    let behind = Mutex::new(Behind::of(&memory));
    let removes = Arc::new(move |n: u64| {
        if n == 200 {
            let behind = behind.lock().unwrap();
            for name in behind.names(layout::GENERATIONS) {
                behind.runtime.block_on(behind.store.delete(&name)).unwrap();
            }
        }
    });
    let each = move |_: &Run, n: u64| removes(n);
    let job = std::thread::spawn(move || run(memory, 2, &collected, each).outcome);
    let started = Instant::now();
    while !job.is_finished() {
        assert!(started.elapsed() < PATIENCE, "the job goes on without its token");
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = job.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error:?}");
    assert!(format!("{error:?}").contains("generations/"), "{error:?}");
}
