//! Every knob of checkpointing, and of restarts, does what it says: each test is named for its knob
//! and fails when the knob is ignored.
//!
//! Jobs in this process with checkpoints in memory. Their input has no end: a test stops them when
//! it has seen enough, or fails after a long while. Times are compared with lower bounds alone, as
//! the metadata says them, for the machine may be slow.

#![expect(clippy::disallowed_methods, reason = "waits for jobs, and measures pauses")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use highwater::checkpoint::Error as CheckpointError;
use highwater::checkpoint::metadata::{CheckpointMetadata, Origin};
use highwater::checkpoint::run::Run;
use highwater::checkpoint::state::{KeyGroups, stable_hash};
use highwater::checkpoint::store::{BlobStore, Location, layout};
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::sink::{Prepare, Sink, SinkRun, SinkWriter};
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater::testing::{CollectSink, VecSource};
use highwater::{BoxError, CheckpointMode, Epoch, Error, RestartStrategy, Retention, Summary};
use timely::dataflow::operators::Inspect;

use super::waiting::{PATIENCE, block_on, until};

const JOB: &str = "knobs";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Numbers without end, a few every millisecond; it fails at `fails_at`.
#[derive(Clone)]
struct Endless {
    splits: u64,
    fails_at: u64,
}

const ENDLESS: Endless = Endless { splits: 1, fails_at: u64::MAX };

struct EndlessReader {
    next: u64,
    fails_at: u64,
}

impl Source for Endless {
    type Item = u64;
    type Split = u64;
    type Offset = u64;
    type Reader = EndlessReader;

    fn discover(&self, known: &[NamedSplit<u64>]) -> Result<Vec<NamedSplit<u64>>, BoxError> {
        let new =
            (known.len() as u64..self.splits).map(|n| NamedSplit { id: n.to_string(), split: n });
        Ok(new.collect())
    }

    fn open(&self, _: &u64, at: Option<u64>) -> Result<EndlessReader, BoxError> {
        Ok(EndlessReader { next: at.unwrap_or(0), fails_at: self.fails_at })
    }
}

impl SplitReader for EndlessReader {
    type Item = u64;
    type Offset = u64;

    fn read(&mut self, _: ReadLimit, out: &mut Vec<u64>) -> Result<ReadStatus, BoxError> {
        if self.next >= self.fails_at {
            return Err("fails on purpose".into());
        }
        out.push(self.next);
        self.next += 1;
        Ok(ReadStatus::Idle { retry_after: ms(1) })
    }

    fn offset(&self) -> u64 {
        self.next
    }
}

type Hook = Arc<dyn Fn(Epoch) + Send + Sync>;

/// Writes nowhere, and calls a hook when an epoch's output is being made durable.
#[derive(Clone)]
struct Hooked(Hook);

impl Sink<(u64, u64)> for Hooked {
    type Committable = ();
    type Writer = Hooked;

    fn begin(&self, _: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&self, _: &SinkRun, _: Vec<()>) -> Result<(), BoxError> {
        Ok(())
    }

    fn abort(&self, _: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, _: &SinkRun, _: usize) -> Result<Hooked, BoxError> {
        Ok(self.clone())
    }
}

impl SinkWriter<(u64, u64)> for Hooked {
    type Committable = ();

    fn write(&mut self, batch: &mut Vec<(u64, u64)>) -> Result<(), BoxError> {
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<()>, BoxError> {
        let hook = Arc::clone(&self.0);
        Ok(Box::new(move || {
            hook(epoch);
            Ok(vec![()])
        }))
    }
}

fn job(store: &Location) -> Job {
    Job::new(JOB)
        .quiet()
        .checkpoint_store(store.clone())
        .checkpoint_interval(ms(2))
        .restart_strategy(RestartStrategy::None)
}

type Running = Arc<Mutex<Option<Arc<Run>>>>;

/// Counts an endless input into a sink with `hook`, and stops when `enough`.
fn run_with(
    job: Job,
    hook: impl Fn(&Run, Epoch) + Send + Sync + 'static,
    enough: impl Fn(&Run) -> bool + Clone + Send + Sync + 'static,
) -> highwater::Result<Summary> {
    let running = Running::default();
    let of_hook = Arc::clone(&running);
    let sink = Hooked(Arc::new(move |epoch| {
        let run = Arc::clone(of_hook.lock().unwrap().as_ref().unwrap());
        hook(&run, epoch);
    }));
    let started = Instant::now();
    job.execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        *running.lock().unwrap() = Some(Arc::clone(&run));
        let enough = enough.clone();
        let numbers = flow.source("numbers", ENDLESS).inspect(move |_| {
            assert!(started.elapsed() < PATIENCE, "waited in vain: {:?}", run.status());
            if enough(&run) {
                run.control().request_stop();
            }
        });
        numbers.key_by(|n| n % 7).count("count").sink("nowhere", sink.clone());
    })
}

fn run(job: Job, enough: impl Fn(&Run) -> bool + Clone + Send + Sync + 'static) -> Summary {
    run_with(job, |_, _| {}, enough).unwrap()
}

fn after(checkpoints: u64) -> impl Fn(&Run) -> bool + Clone + Send + Sync + 'static {
    move |run| run.status().completed() >= checkpoints
}

fn names(location: &Location, folder: &str) -> Vec<String> {
    let store = BlobStore::new(location.clone(), JOB);
    block_on(store.list(folder)).unwrap().into_iter().map(|(name, _)| name).collect()
}

/// The checkpoints that were taken because an interval was over, oldest first.
fn by_interval(location: &Location) -> Vec<CheckpointMetadata> {
    let store = BlobStore::new(location.clone(), JOB);
    let read = |name: String| {
        let bytes = block_on(store.get(&name)).unwrap();
        CheckpointMetadata::from_bytes(&name, &bytes).unwrap()
    };
    let mut all: Vec<_> = names(location, layout::CHECKPOINTS).into_iter().map(read).collect();
    all.retain(|metadata| metadata.origin == Origin::Interval);
    all.sort_by_key(|metadata| metadata.id);
    all
}

#[test]
fn checkpoint_interval() {
    let store = Location::memory();
    run(job(&store).checkpoint_interval(ms(60)).retain(100), after(4));
    let all = by_interval(&store);
    assert!(all.len() >= 4, "{} in time", all.len());
    for pair in all.windows(2) {
        assert!(pair[1].started_ms - pair[0].started_ms >= 60, "{pair:#?}");
    }
}

#[test]
fn min_pause_between_checkpoints() {
    let store = Location::memory();
    run(job(&store).min_pause_between_checkpoints(ms(80)).retain(100), after(4));
    for pair in by_interval(&store).windows(2) {
        assert!(pair[1].started_ms - pair[0].completed_ms >= 80, "{pair:#?}");
    }
}

/// How many epochs' outputs are being made durable at once, if each waits for the others.
fn most_at_once(max_concurrent: usize) -> usize {
    let (waiting, changed) = (Arc::new(Mutex::new(0)), Arc::new(Condvar::new()));
    let is_enough = Arc::new(AtomicBool::new(false));
    let (to_count, seen, done) =
        (Arc::clone(&waiting), Arc::clone(&changed), Arc::clone(&is_enough));
    let wait = move |_: &Run, _| {
        let mut count = to_count.lock().unwrap();
        *count += 1;
        seen.notify_all();
        let is_less = |count: &mut usize| *count < max_concurrent;
        let (count, _) = seen.wait_timeout_while(count, PATIENCE, is_less).unwrap();
        drop(count);
        // One too many gets the time to come.
        std::thread::sleep(ms(100));
        done.store(true, Ordering::Release);
    };
    let most = Arc::new(AtomicU64::new(0));
    let to_most = Arc::clone(&most);
    let enough = move |_: &Run| {
        // Before the first is done: all that have come are under way.
        if !is_enough.load(Ordering::Acquire) {
            to_most.fetch_max(*waiting.lock().unwrap() as u64, Ordering::Relaxed);
        }
        is_enough.load(Ordering::Acquire)
    };
    let job = job(&Location::memory()).max_concurrent_checkpoints(max_concurrent);
    run_with(job, wait, enough).unwrap();
    most.load(Ordering::Relaxed) as usize
}

#[test]
fn max_concurrent_checkpoints() {
    assert_eq!(most_at_once(1), 1);
    assert_eq!(most_at_once(3), 3);
}

#[test]
fn checkpoint_timeout() {
    let slow = |run: &Run, _| until("a checkpoint fails", || run.status().failed() > 0);
    let job =
        job(&Location::memory()).checkpoint_timeout(ms(30)).tolerable_failed_checkpoints(1000);
    let summary = run_with(job, slow, after(2)).unwrap();
    assert!(summary.failed_checkpoints > 0, "{summary:?}");
    assert_eq!(summary.outcome, Outcome::Stopped);
}

#[test]
fn tolerable_failed_checkpoints() {
    for tolerable in [0, 2] {
        let stuck = |run: &Run, _| until("the run fails", || run.control().has_failed());
        let job = job(&Location::memory())
            .checkpoint_timeout(ms(20))
            .tolerable_failed_checkpoints(tolerable);
        let error = run_with(job, stuck, |_| false).unwrap_err();
        let Error::Checkpoint(CheckpointError::TooManyFailures {
            failures, tolerable: limit, ..
        }) = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((*failures, *limit), (tolerable + 1, tolerable));
        let says =
            format!("{tolerable} are tolerable; the last: a snapshot was not durable within");
        assert!(error.to_string().contains(&says), "{error}");
    }
}

#[test]
fn retain() {
    for retain in [1, 2, 5] {
        let store = Location::memory();
        run(job(&store).retain(retain), after(8));
        // The run deletes in the background.
        until("old checkpoints go", || names(&store, layout::CHECKPOINTS).len() <= retain);
        assert_eq!(names(&store, layout::CHECKPOINTS).len(), retain);
    }
}

#[test]
fn externalized_checkpoint_retention() {
    let is_empty = |store: &Location| {
        let folders = [layout::CHECKPOINTS, layout::SEGMENTS];
        folders.map(|folder| names(store, folder).is_empty())
    };
    let store = Location::memory();
    let with = |retention| job(&store).externalized_checkpoint_retention(retention);
    let kept = run(with(Retention::RetainOnCancellation), after(3));
    assert!(kept.last_checkpoint.is_some());
    assert_eq!(is_empty(&store), [false, false]);
    let failing = with(Retention::DeleteOnCancellation);
    run_with(failing, |_, _| {}, |run| run.status().completed() > 2 && panic!("on purpose"))
        .unwrap_err();
    assert_eq!(is_empty(&store), [false, false], "a failure is no cancellation");
    let gone = run(with(Retention::DeleteOnCancellation), after(3));
    assert_eq!((gone.outcome, gone.last_checkpoint), (Outcome::Stopped, None));
    until("what is under way ends", || is_empty(&store) == [true, true]);

    // What has finished must be known to have.
    let (job, sink) = (with(Retention::DeleteOnCancellation), CollectSink::new());
    job.run(move |flow| {
        let numbers = flow.source("numbers", VecSource::new(vec![1_u64, 2, 3]));
        numbers.key_by(|n| *n).count("count").sink("counts", sink.clone());
    })
    .unwrap();
    assert_eq!(is_empty(&store), [false, false], "the end of the input is no cancellation");
}

/// Worker 1 is stuck in its first epoch; worker 0 reads on. Returns the last epoch of which worker 0
/// has counted records, when it has read some of the second.
fn counts_while_another_is_stuck(mode: CheckpointMode) -> u64 {
    let groups = KeyGroups::default();
    let is_of_0 = move |key: &u64| groups.worker_of(groups.of_hash(stable_hash(key)), 2) == 0;
    let key = (0..1000_u64).find(is_of_0).unwrap();
    let (read, counted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (is_released, result) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watch = {
        let (read, counted) = (Arc::clone(&read), Arc::clone(&counted));
        let (is_released, result) = (Arc::clone(&is_released), Arc::clone(&result));
        move || {
            until("the second epoch is read", || read.load(Ordering::Acquire) >= 2);
            if mode == CheckpointMode::AtLeastOnce {
                until("it is counted", || counted.load(Ordering::Acquire) >= 2);
            } else {
                // What wrongly goes through gets the time for it.
                std::thread::sleep(ms(200));
            }
            result.store(counted.load(Ordering::Acquire), Ordering::Release);
            is_released.store(true, Ordering::Release);
        }
    };
    let watcher = std::thread::Builder::new().spawn(watch).unwrap();
    let job = job(&Location::memory()).workers(2).checkpoint_interval(ms(20)).checkpoint_mode(mode);
    job.run(move |flow| {
        let worker = flow.scope().index();
        let run = Arc::clone(flow.checkpoints().run());
        let (read, counted) = (Arc::clone(&read), Arc::clone(&counted));
        let is_released = Arc::clone(&is_released);
        let numbers = flow.source("numbers", Endless { splits: 2, ..ENDLESS });
        let numbers = numbers.into_timely().inspect_batch(move |time, _| {
            if worker == 0 {
                read.fetch_max(time.tick.epoch().0, Ordering::AcqRel);
            } else {
                until("it is released", || is_released.load(Ordering::Acquire));
            }
            if is_released.load(Ordering::Acquire) {
                run.control().request_stop();
            }
        });
        let counts = flow.from_timely(numbers).key_by(move |_| key).count("count").into_timely();
        let counts = counts.inspect_batch(move |time, _| {
            counted.fetch_max(time.tick.epoch().0, Ordering::AcqRel);
        });
        flow.from_timely(counts).for_each(drop);
    })
    .unwrap();
    watcher.join().unwrap();
    result.load(Ordering::Acquire)
}

#[test]
fn checkpoint_mode() {
    assert!(counts_while_another_is_stuck(CheckpointMode::AtLeastOnce) >= 2);
    assert_eq!(counts_while_another_is_stuck(CheckpointMode::ExactlyOnce), 1);
}

#[test]
fn allow_non_restored_state() {
    let store = Location::memory();
    run_with(job(&store), |_, _| {}, after(2)).unwrap();
    let without = |job: Job| {
        let sink = CollectSink::<u64>::new();
        let started = Instant::now();
        job.execute(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            let numbers = flow.source("numbers", ENDLESS).inspect(move |_| {
                assert!(started.elapsed() < PATIENCE);
                if run.status().completed() > 1 {
                    run.control().request_stop();
                }
            });
            numbers.sink("elsewhere", sink.clone());
        })
    };
    let error = without(job(&store)).unwrap_err();
    let text = format!("{error:?}");
    for part in [
        "operator \"count\" (",
        " entries in segments), operator \"nowhere\" (",
        "--allow-non-restored-state",
        "the program has \"elsewhere\", \"numbers\"",
    ] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
    without(job(&store).allow_non_restored_state()).unwrap();
    // It is gone from what followed.
    without(job(&store)).unwrap();
    until("its segments go", || names(&store, layout::SEGMENTS).is_empty());
}

/// Runs a job that always fails, under `strategy`; returns when its runs began, and the error.
fn fails_for_ever(strategy: RestartStrategy) -> (Vec<Instant>, Error) {
    let begun: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let to_begun = Arc::clone(&begun);
    let error = job(&Location::memory()).restart_strategy(strategy).run(move |flow| {
        to_begun.lock().unwrap().push(Instant::now());
        flow.source("numbers", Endless { splits: 1, fails_at: 3 }).for_each(drop);
    });
    let begun = begun.lock().unwrap().clone();
    (begun, error.unwrap_err())
}

fn pauses(begun: &[Instant]) -> Vec<Duration> {
    begun.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn restart_strategy_none() {
    let (begun, error) = fails_for_ever(RestartStrategy::None);
    assert_eq!(begun.len(), 1);
    assert!(matches!(error, Error::Source { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn restart_strategy_fixed_delay() {
    let delay = ms(40);
    let (begun, error) = fails_for_ever(RestartStrategy::FixedDelay { attempts: 3, delay });
    assert_eq!(begun.len(), 4, "{error:?}");
    assert!(pauses(&begun).iter().all(|pause| *pause >= delay), "{begun:?}");
    let says = format!("{error:?}");
    assert!(says.starts_with("gave up after 3 restarts in "), "{says}");
    assert!(says.contains("fixed-delay: at most 3 restarts, 40ms after a failure"), "{says}");
    assert!(
        says.ends_with("the last failure: source \"numbers\" failed: fails on purpose"),
        "{says}"
    );
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn restart_strategy_exponential_delay() {
    let strategy = |attempts, reset_backoff_threshold| RestartStrategy::ExponentialDelay {
        initial_backoff: ms(20),
        max_backoff: ms(80),
        backoff_multiplier: 2.0,
        jitter_factor: 0.0,
        reset_backoff_threshold,
        attempts,
    };
    let (begun, error) = fails_for_ever(strategy(4, Duration::from_secs(3600)));
    assert_eq!(begun.len(), 5, "{error:?}");
    for (pause, least) in pauses(&begun).into_iter().zip([20, 40, 80, 80]) {
        assert!(pause >= ms(least), "{begun:?}");
    }
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn restart_strategy_failure_rate() {
    let strategy = RestartStrategy::FailureRate {
        max_failures_per_interval: 2,
        interval: Duration::from_secs(3600),
        delay: ms(30),
    };
    let (begun, error) = fails_for_ever(strategy);
    assert_eq!(begun.len(), 3, "{error:?}");
    assert!(pauses(&begun).iter().all(|pause| *pause >= ms(30)), "{begun:?}");
    assert!(error.to_string().contains("failure-rate: at most 2 in 3600s"), "{error}");
}
