//! A job that fails starts again in the same process, and its output is as if it had not failed.
//!
//! Jobs in this process with checkpoints in memory count keys; a source, a worker, a sink or the
//! store goes wrong some times. The oracle is a plain loop over the input. What must not be tried
//! again is not: a job that somebody else has taken over, checkpoints that are gone.

#![expect(clippy::disallowed_methods, reason = "waits for jobs that run beside it")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::store::faulty::{Faults, FaultyStore};
use highwater::checkpoint::store::{BlobStore, Location, RetryPolicy, layout};
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::sink::{Sink, SinkRun};
use highwater::testing::{CollectSink, VecSource};
use highwater::{BoxError, Error, RestartStrategy, Restore, Summary};

use super::counts::check_updates;
use super::trickle::Trickle;
use super::waiting::{block_on, until};

const JOB: &str = "restart";

type Row = (u64, u64);
type Collected = CollectSink<Row>;

/// Counts down: goes wrong while there is something left of it.
#[derive(Clone, Default)]
struct Times(Arc<AtomicU64>);

impl Times {
    fn new(times: u64) -> Times {
        Times(Arc::new(AtomicU64::new(times)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    }

    fn left(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Numbers, a few every millisecond; a read beyond `from` fails so many times, and waits while it is
/// held.
fn numbers(from: usize, fails: Times, is_held: Arc<AtomicBool>) -> Trickle<u64> {
    Trickle::paced(VecSource::splits(input()), move |_, read| {
        if read >= from && fails.take() {
            return Err("the source is away".into());
        }
        Ok(if read >= from && is_held.load(Ordering::Acquire) { 0 } else { 16 })
    })
}

/// Collects; a commit fails so many times.
#[derive(Clone)]
struct Unreliable<T> {
    collected: CollectSink<T>,
    fails: Times,
}

impl<T: 'static> Sink<T> for Unreliable<T>
where
    CollectSink<T>: Sink<T>,
{
    type Committable = <CollectSink<T> as Sink<T>>::Committable;
    type Writer = <CollectSink<T> as Sink<T>>::Writer;

    fn begin(&self, run: &SinkRun) -> Result<(), BoxError> {
        self.collected.begin(run)
    }

    fn commit(&self, run: &SinkRun, batches: Vec<Self::Committable>) -> Result<(), BoxError> {
        if self.fails.take() {
            return Err("the sink is away".into());
        }
        self.collected.commit(run, batches)
    }

    fn abort(&self, run: &SinkRun) -> Result<(), BoxError> {
        self.collected.abort(run)
    }

    fn open(&self, run: &SinkRun, worker: usize) -> Result<Self::Writer, BoxError> {
        self.collected.open(run, worker)
    }
}

fn input() -> Vec<Vec<u64>> {
    [700_u64, 1200, 2000].map(|n| (0..n).map(|i| (i * i + n) % 53).collect()).into()
}

fn check(collected: &Collected, case: &str) {
    check_updates(collected.records(), &input(), case);
}

fn soon(attempts: u32) -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts, delay: Duration::from_millis(5) }
}

fn job(store: &Location, workers: usize) -> Job {
    Job::new(JOB)
        .quiet()
        .workers(workers)
        .checkpoint_store(store.clone())
        .checkpoint_interval(Duration::from_millis(4))
        .restart_strategy(soon(20))
}

/// What goes wrong, how many times, and where the output goes.
#[derive(Clone)]
struct Case {
    source_fails: Times,
    commit_fails: Times,
    panics: Times,
    is_held: Arc<AtomicBool>,
    collected: Collected,
}

impl Case {
    fn new() -> Case {
        let [source_fails, commit_fails, panics] = [(); 3].map(|()| Times::new(0));
        let (is_held, collected) = (Arc::default(), Collected::new());
        Case { source_fails, commit_fails, panics, is_held, collected }
    }

    fn run(&self, job: Job) -> highwater::Result<Summary> {
        self.run_and(job, || {})
    }

    /// `built` is called for each worker of each run.
    fn run_and(
        &self,
        job: Job,
        built: impl Fn() + Send + Sync + 'static,
    ) -> highwater::Result<Summary> {
        let Case { source_fails, commit_fails, panics, is_held, collected } = self.clone();
        let source = numbers(300, source_fails, is_held);
        let sink = Unreliable { collected, fails: commit_fails };
        let seen = Arc::new(AtomicU64::new(0));
        job.execute(move |flow| {
            built();
            let (seen, panics) = (Arc::clone(&seen), panics.clone());
            flow.source("numbers", source.clone())
                .inspect(move |_| {
                    // So that there are checkpoints between.
                    let is_due = seen.fetch_add(1, Ordering::Relaxed) % 900 == 899;
                    assert!(!is_due || !panics.take(), "on purpose");
                })
                .key_by(|key| *key)
                .count("count")
                .sink("counts", sink.clone());
        })
    }
}

#[test]
fn a_source_that_errors_twice() {
    for workers in [1, 3] {
        let case = Case { source_fails: Times::new(2), ..Case::new() };
        let summary = case.run(job(&Location::memory(), workers)).unwrap();
        assert!((1..=2).contains(&summary.restarts), "{summary:?}");
        assert_eq!((case.source_fails.left(), summary.outcome), (0, Outcome::Finished));
        assert!(summary.downtime >= Duration::from_millis(5) * summary.restarts, "{summary:?}");
        assert!(summary.checkpoints > 0);
        check(&case.collected, &format!("{workers} workers"));
    }
}

#[test]
fn a_worker_that_panics() {
    for workers in [1, 3] {
        let case = Case { panics: Times::new(3), ..Case::new() };
        let summary = case.run(job(&Location::memory(), workers)).unwrap();
        // Two may go wrong in one run.
        assert!((1..=3).contains(&summary.restarts), "{summary:?}");
        assert_eq!(summary.outcome, Outcome::Finished);
        check(&case.collected, &format!("{workers} workers"));
    }
}

#[test]
fn a_sink_whose_commit_fails() {
    let case = Case { commit_fails: Times::new(3), ..Case::new() };
    let summary = case.run(job(&Location::memory(), 2)).unwrap();
    // Two may go wrong in one run.
    assert!((1..=3).contains(&summary.restarts), "{summary:?}");
    assert_eq!(summary.outcome, Outcome::Finished);
    check(&case.collected, "commits");
}

/// Also what is committed only by the run after the last record is a job that finished now.
#[test]
fn a_last_commit_that_fails() {
    let collected = CollectSink::<u64>::new();
    let sink = Unreliable { collected: collected.clone(), fails: Times::new(2) };
    let job = job(&Location::memory(), 1).checkpoint_interval(Duration::from_secs(3600));
    let summary = job.execute(move |flow| {
        flow.source("numbers", VecSource::new(vec![1_u64, 2, 3])).sink("numbers-out", sink.clone());
    });
    let summary = summary.unwrap();
    assert_eq!((summary.restarts, summary.outcome), (2, Outcome::Finished), "{summary:?}");
    assert_eq!(collected.records(), [1, 2, 3]);
}

const HASTY: RetryPolicy = RetryPolicy {
    deadline: Duration::from_millis(150),
    attempt_timeout: Duration::from_millis(50),
};

/// The store goes away while the job runs, until it has failed and could not start again either.
#[test]
fn a_store_that_is_away_for_a_while() {
    let (faults, case) = (Faults::default(), Case::new());
    let location = FaultyStore::wrap(Location::memory(), faults.clone());
    let job = job(&location, 2).store_retries(HASTY).tolerable_failed_checkpoints(0);
    let job = job.restart_strategy(soon(u32::MAX));
    // Without checkpoints in time the run fails, and the input does not end before that.
    let job = job.checkpoint_timeout(Duration::from_millis(500));
    case.is_held.store(true, Ordering::Release);
    let is_held = Arc::clone(&case.is_held);
    let (script, healing) = (faults.clone(), faults.clone());
    let heal = move || {
        until("the job has begun", || script.calls() > 40);
        let call = script.calls();
        drop(script.clone().down_for_calls(call..u64::MAX));
        // A checkpoint that is given up takes some requests, and each start that fails one.
        until("the store was asked often", || script.calls() > call + 40);
        healing.heal();
        is_held.store(false, Ordering::Release);
    };
    let healer = std::thread::Builder::new().spawn(heal).unwrap();
    let summary = case.run(job).unwrap();
    healer.join().unwrap();
    assert!(summary.restarts > 0, "{summary:?}");
    assert_eq!(summary.outcome, Outcome::Finished);
    check(&case.collected, "away");
}

#[test]
fn a_store_that_is_away_at_the_start() {
    let (faults, case) = (Faults::default(), Case::new());
    let location = FaultyStore::wrap(Location::memory(), faults.clone());
    drop(faults.clone().down_for_calls(0..12));
    let job = job(&location, 1).store_retries(HASTY).restart_strategy(soon(u32::MAX));
    let summary = case.run(job).unwrap();
    assert!(summary.restarts > 0, "{summary:?}");
    check(&case.collected, "away at the start");
}

#[test]
fn past_the_limit_it_says_how_often_and_why() {
    let case = Case { source_fails: Times::new(u64::MAX), ..Case::new() };
    let error = case.run(job(&Location::memory(), 2).restart_strategy(soon(2))).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Retry, 3));
    let text = format!("{error:?}");
    assert!(text.starts_with("gave up after 2 restarts in "), "{text}");
    assert!(text.ends_with("source \"numbers\" failed: the source is away"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

/// What is wrong before the first record is mostly a mistake, and somebody looks on.
#[test]
fn a_start_that_fails_is_not_tried_again() {
    let (builds, collected) = (Arc::new(AtomicU64::new(0)), Collected::new());
    // Holds output of a job that this one does not go on from.
    Case { collected: collected.clone(), ..Case::new() }.run(job(&Location::memory(), 1)).unwrap();
    let (case, to_builds) = (Case { collected, ..Case::new() }, Arc::clone(&builds));
    let count = move || {
        to_builds.fetch_add(1, Ordering::Relaxed);
    };
    let error = case.run_and(job(&Location::memory(), 1), count).unwrap_err();
    assert!(matches!(error, Error::Sink { .. }), "{error:?}");
    assert_eq!(builds.load(Ordering::Relaxed), 1);
}

/// It went on from what the first start was told, and its output came twice.
#[test]
fn a_restart_goes_on_from_its_own_newest_checkpoint() {
    let store = Location::memory();
    Case::new().run(job(&store, 2)).unwrap();
    let afresh = Case { source_fails: Times::new(2), ..Case::new() };
    let summary = afresh.run(job(&store, 2).restore(Restore::Nothing)).unwrap();
    assert!(summary.restarts > 0);
    check(&afresh.collected, "with --restore none");
}

/// Waits for the first failure of `case`, whose job waits `pause` before it starts again; meanwhile
/// `meddle`s with it.
fn meddled(pause: Duration, store: &Location, meddle: impl FnOnce()) -> highwater::Result<Summary> {
    let case = Case { source_fails: Times::new(1), ..Case::new() };
    let strategy = RestartStrategy::FixedDelay { attempts: 5, delay: pause };
    let (job, running) = (job(store, 2).restart_strategy(strategy), case.clone());
    let outcome = std::thread::Builder::new().spawn(move || running.run(job)).unwrap();
    until("it fails", || case.source_fails.left() == 0);
    // Time to take the dataflow down; if it takes longer, what follows is right as well.
    std::thread::sleep(Duration::from_millis(300));
    meddle();
    outcome.join().unwrap()
}

#[test]
fn a_job_that_was_taken_over_while_it_waited_is_not_taken_back() {
    let store = Location::memory();
    let newer = Case::new();
    let outcome = meddled(Duration::from_secs(4), &store, || {
        let (newer, job) = (newer.clone(), job(&store, 1).restore(Restore::Nothing));
        newer.run(job).unwrap();
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop, "{error:?}");
    check(&newer.collected, "the newer");
}

#[test]
fn checkpoints_that_are_gone_are_not_a_reason_to_start_afresh() {
    let store = Location::memory();
    let outcome = meddled(Duration::from_secs(2), &store, || {
        let behind = BlobStore::new(store.clone(), JOB);
        for (name, _) in block_on(behind.list(layout::CHECKPOINTS)).unwrap() {
            block_on(behind.delete(&name)).unwrap();
        }
    });
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Data, 1), "{error:?}");
    let text = format!("{error:?}");
    assert!(text.contains("is damaged") && text.contains("metadata.json is missing"), "{text}");
}

#[test]
fn nothing_is_left_of_the_run_before() {
    let held: Arc<Mutex<Vec<Weak<()>>>> = Arc::default();
    let is_left = Arc::new(AtomicBool::new(false));
    let (to_held, to_left) = (Arc::clone(&held), Arc::clone(&is_left));
    let source = numbers(100, Times::new(3), Arc::default());
    let summary = job(&Location::memory(), 1).execute(move |flow| {
        let mut held = to_held.lock().unwrap();
        to_left.fetch_or(held.iter().any(|held| held.strong_count() > 0), Ordering::Relaxed);
        let token = Arc::new(());
        held.push(Arc::downgrade(&token));
        flow.source("numbers", source.clone())
            .inspect(move |_| assert!(Arc::strong_count(&token) > 0))
            .for_each(drop);
    });
    assert!(summary.unwrap().restarts > 0);
    assert!(held.lock().unwrap().len() > 1);
    assert!(!is_left.load(Ordering::Relaxed), "operators of a run that failed are left");
}

/// The only test here that sends a signal: it is for the whole process.
#[test]
fn a_signal_ends_the_wait_at_once() {
    let case = Case { source_fails: Times::new(u64::MAX), ..Case::new() };
    let strategy =
        RestartStrategy::FixedDelay { attempts: 5, delay: Duration::from_secs(24 * 3600) };
    let args = JobArgs { quiet: true, ..JobArgs::default() };
    let job = Job::with_args(JOB, args)
        .checkpoint_store(Location::memory())
        .checkpoint_interval(Duration::from_millis(4))
        .restart_strategy(strategy);
    let running = case.clone();
    let outcome = std::thread::Builder::new().spawn(move || running.run(job)).unwrap();
    until("it fails", || case.source_fails.left() < u64::MAX);
    std::thread::sleep(Duration::from_secs(1));
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
    until("the job ends", || outcome.is_finished());
    match outcome.join().unwrap() {
        Ok(summary) => {
            assert_eq!((summary.outcome, summary.restarts), (Outcome::Stopped, 1), "{summary:?}");
        }
        // The signal came before it had begun to wait.
        Err(error) => assert!(matches!(error, Error::Source { .. }), "{error:?}"),
    }
}
