//! Stopping, failing and going on: what a job has said is right after any way in which a run ends.
//!
//! Jobs run in this process on a store in memory. Their sink collects in memory, and goes wrong on
//! request at each of its steps; the next run, with a sink that works, must make the output
//! complete. The oracle counts the input in a plain loop. What takes a process of its own, signals,
//! re-executes this test.

#![expect(clippy::disallowed_methods, reason = "measures time, and is slow on purpose")]

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::checkpoint::run::Run;
use highwater::checkpoint::store::Location;
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::sink::{Prepare, Sink, SinkRun, SinkWriter};
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater::testing::{CollectSink, VecSource};
use highwater::{BoxError, Epoch, Error, RestartStrategy};

use super::counts::{check, check_totals, check_updates};
use super::waiting::until;

/// A run that fails must be over long before this.
const PROMPTLY: Duration = Duration::from_secs(10);

type Row = (u64, u64);
type Collected = CollectSink<Row>;

/// Where a sink, or a source, can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Abort,
    Open,
    Write,
    Prepare,
    Finish,
    Commit,
}

type Hook = Arc<dyn Fn(Step, Epoch) -> Result<(), BoxError> + Send + Sync>;

/// Collects, and asks `hook` at each step.
#[derive(Clone)]
struct Hooked {
    collected: Collected,
    hook: Hook,
}

struct HookedWriter {
    writer: <Collected as Sink<Row>>::Writer,
    hook: Hook,
}

impl Hooked {
    fn new(
        collected: &Collected,
        hook: impl Fn(Step, Epoch) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Hooked {
        Hooked { collected: collected.clone(), hook: Arc::new(hook) }
    }
}

impl Sink<Row> for Hooked {
    type Committable = <Collected as Sink<Row>>::Committable;
    type Writer = HookedWriter;

    fn begin(&self, run: &SinkRun) -> Result<(), BoxError> {
        (self.hook)(Step::Begin, Epoch(0))?;
        self.collected.begin(run)
    }

    fn commit(&self, run: &SinkRun, batches: Vec<Self::Committable>) -> Result<(), BoxError> {
        let newest = batches.iter().map(|batch| batch.epoch).max();
        (self.hook)(Step::Commit, newest.unwrap_or_default())?;
        self.collected.commit(run, batches)
    }

    fn abort(&self, run: &SinkRun) -> Result<(), BoxError> {
        (self.hook)(Step::Abort, Epoch(0))?;
        self.collected.abort(run)
    }

    fn open(&self, run: &SinkRun, worker: usize) -> Result<HookedWriter, BoxError> {
        (self.hook)(Step::Open, Epoch(0))?;
        let writer = self.collected.open(run, worker)?;
        Ok(HookedWriter { writer, hook: Arc::clone(&self.hook) })
    }
}

impl SinkWriter<Row> for HookedWriter {
    type Committable = <Collected as Sink<Row>>::Committable;

    fn write(&mut self, batch: &mut Vec<Row>) -> Result<(), BoxError> {
        (self.hook)(Step::Write, Epoch(0))?;
        self.writer.write(batch)
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<Self::Committable>, BoxError> {
        (self.hook)(Step::Prepare, epoch)?;
        let (finish, hook) = (self.writer.prepare(epoch)?, Arc::clone(&self.hook));
        Ok(Box::new(move || {
            hook(Step::Finish, epoch)?;
            finish()
        }))
    }
}

/// Four splits of unequal length, few keys.
fn input(records: u64) -> Vec<Vec<u64>> {
    let key = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 257;
    (0..4)
        .map(|split| (0..records * (split + 1) / 10).map(|n| key(n * 4 + split)).collect())
        .collect()
}

fn job(store: &Location, workers: usize) -> Job {
    Job::new("recovery")
        .quiet()
        .workers(workers)
        .checkpoint_store(store.clone())
        .checkpoint_interval(Duration::from_millis(2))
        .restart_strategy(RestartStrategy::None)
}

/// Counts `input` into `sink`; `each` is called with every record's number, on any worker.
fn count<S: Sink<Row> + Clone>(
    job: Job,
    input: &[Vec<u64>],
    emit: Emit,
    sink: &S,
    each: impl Fn(&Run, u64) + Clone + Send + Sync + 'static,
) -> highwater::Result<highwater::Summary> {
    let (source, sink, seen) =
        (VecSource::splits(input.to_vec()), sink.clone(), Arc::new(AtomicU64::new(0)));
    job.execute(move |flow| {
        let (run, seen, each) =
            (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen), each.clone());
        flow.source("numbers", source.clone())
            .inspect(move |_| each(&run, seen.fetch_add(1, Ordering::Relaxed)))
            .key_by(|key| *key)
            .emit(emit)
            .count("count")
            .sink("counts", sink.clone());
    })
}

fn nothing(_: &Run, _: u64) {}

const ALL: [Emit; 3] = [Emit::EachUpdate, Emit::LastPerStep, Emit::AtEnd];

#[test]
fn a_job_that_is_stopped_resumes() {
    let input = input(20_000);
    for emit in ALL {
        for stop_at in [0, 1, 500, 7_000, 19_999] {
            let case = format!("{emit:?}, stopped at record {stop_at}");
            let (store, collected) = (Location::memory(), Collected::new());
            let stop = move |run: &Run, n: u64| {
                if n == stop_at {
                    run.control().request_stop();
                }
            };
            let summary = count(job(&store, 2), &input, emit, &collected, stop).unwrap();
            let is_all = summary.records_in == 20_000;
            assert!(summary.outcome == Outcome::Stopped || is_all, "{case}: {summary:?}");
            if emit == Emit::AtEnd && summary.outcome == Outcome::Stopped {
                assert_eq!(collected.records(), [], "{case}: nothing has ended");
            }
            let after = count(job(&store, 3), &input, emit, &collected, nothing).unwrap();
            assert_eq!(after.records_in, 20_000 - summary.records_in, "{case}");
            check(emit, collected.records(), &input, &case);
        }
    }
}

/// A stop ends the input of this run, not of the job: while the last commit is under way, the
/// dataflow is already taken down, and what operators say at the end of their input must not follow.
#[test]
fn regression_a_slow_commit_at_a_stop_does_not_let_the_end_of_input_through() {
    let input = input(20_000);
    let (store, updates, totals) = (Location::memory(), Collected::new(), Collected::new());
    let run = |is_first: bool| {
        let slow = Hooked::new(&updates, move |step, _| {
            if is_first && step == Step::Commit {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        });
        let (source, totals) = (VecSource::splits(input.clone()), totals.clone());
        job(&store, 2).execute(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            let numbers = flow.source("numbers", source.clone()).inspect(move |_| {
                if is_first {
                    run.control().request_stop();
                }
            });
            numbers.clone().key_by(|key| *key).count("updates").sink("slow", slow.clone());
            numbers
                .key_by(|key| *key)
                .emit(Emit::AtEnd)
                .count("totals")
                .sink("totals-out", totals.clone());
        })
    };
    let summary = run(true).unwrap();
    assert_eq!(summary.outcome, Outcome::Stopped);
    assert_eq!(totals.records(), [], "the input had not ended");
    run(false).unwrap();
    check_totals(totals.records(), &input, "totals");
    check_updates(updates.records(), &input, "updates");
}

#[test]
fn output_whose_commit_fails_is_committed_by_the_next_run() {
    let input = input(10_000);
    for emit in ALL {
        for fails_from in [1, 5, 1000] {
            let case = format!("{emit:?}, commits fail from epoch {fails_from} on");
            let (store, collected) = (Location::memory(), Collected::new());
            let ended = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&ended);
            let fails = Hooked::new(&collected, move |step, epoch| match step {
                Step::Commit if epoch >= Epoch(fails_from) || seen.load(Ordering::Relaxed) => {
                    Err("no commit today".into())
                }
                _ => Ok(()),
            });
            let mark = move |_: &Run, n: u64| ended.store(n == 9_999, Ordering::Relaxed);
            let mut failures = 0;
            while let Err(error) =
                count(job(&store, 1 + failures % 3), &input, emit, &fails, mark.clone())
            {
                let is_ours = matches!(&error, Error::Sink { uid, .. } if uid == "counts");
                assert!(is_ours, "{case}: {error:?}");
                failures += 1;
                if failures > 2 {
                    break;
                }
            }
            assert!(failures > 0, "{case}: no commit failed");
            count(job(&store, 2), &input, emit, &collected, nothing).unwrap();
            check(emit, collected.records(), &input, &case);
        }
    }
}

/// The checkpoint after the end of the input is complete and nothing of it committed: the next run
/// has only that left to do, on any number of workers, and the one after it nothing.
#[test]
fn output_at_the_end_is_committed_once_if_the_run_dies_before_the_commit() {
    let input = input(5_000);
    for workers in 1..=4 {
        let (store, collected) = (Location::memory(), Collected::new());
        let dies = Hooked::new(&collected, |step, _| match step {
            Step::Commit => Err("dies before the commit".into()),
            _ => Ok(()),
        });
        count(job(&store, workers), &input, Emit::AtEnd, &dies, nothing).unwrap_err();
        count(job(&store, workers), &input, Emit::AtEnd, &dies, nothing).unwrap_err();
        assert_eq!(collected.records(), []);
        for _ in 0..2 {
            let job = job(&store, 5 - workers);
            let summary = count(job, &input, Emit::AtEnd, &collected, nothing).unwrap();
            assert_eq!((summary.outcome, summary.records_in), (Outcome::HadFinished, 0));
            check_totals(collected.records(), &input, &format!("{workers} workers"));
        }
    }
}

/// Two epochs are under way at once when the input ends, and the older one's output takes longer to
/// become durable than the newer one's. The one checkpoint that is complete in the end must name
/// both.
#[test]
fn regression_a_slow_prepare_does_not_fall_out_of_the_next_epochs_checkpoint() {
    let input = input(20_000);
    let (store, collected) = (Location::memory(), Collected::new());
    let (slow, later) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
    let sink = Hooked::new(&collected, move |step, epoch| {
        match step {
            Step::Finish => {
                let first = *slow.lock().unwrap().get_or_insert(epoch);
                if epoch == first {
                    until("a later epoch is prepared", || later.load(Ordering::Acquire));
                    // What would wrongly overtake gets the time for it.
                    std::thread::sleep(Duration::from_millis(100));
                }
                later.fetch_or(epoch > first, Ordering::Release);
            }
            Step::Commit => return Err("dies before the commit".into()),
            _ => {}
        }
        Ok(())
    });
    let error = count(job(&store, 1), &input, Emit::EachUpdate, &sink, nothing).unwrap_err();
    assert!(matches!(error, Error::Sink { .. }), "{error:?}");
    count(job(&store, 1), &input, Emit::EachUpdate, &collected, nothing).unwrap();
    check_updates(collected.records(), &input, "after a slow prepare");
}

/// Who writes the last value of a key over the one before must be given them in that order.
#[test]
fn regression_a_slow_commit_is_not_overtaken_by_that_of_a_later_epoch() {
    let input = input(20_000);
    let (store, collected) = (Location::memory(), Collected::new());
    let (under_way, commits) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&commits);
    let sink = Hooked::new(&collected, move |step, _| {
        if step == Step::Commit {
            assert_eq!(under_way.fetch_add(1, Ordering::AcqRel), 0, "two commits at once");
            // What would wrongly overtake gets the time for it.
            let is_slow = counter.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            std::thread::sleep(Duration::from_millis(if is_slow { 20 } else { 0 }));
            under_way.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(())
    });
    let slowly = |_: &Run, n: u64| {
        if n.is_multiple_of(100) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    count(job(&store, 1), &input, Emit::LastPerStep, &sink, slowly).unwrap();
    assert!(commits.load(Ordering::Relaxed) > 2, "nothing could have been overtaken");
    check(Emit::LastPerStep, collected.records(), &input, "after slow commits");
}

/// Runs a job whose sink goes wrong at `step`, `how`; then one that does not.
fn sink_goes_wrong(step: Step, how: fn() -> BoxError) {
    let input = input(10_000);
    for (workers, after) in [(1, 0), (3, 2)] {
        let case = format!("at {step:?} number {after} with {workers} workers");
        let (store, collected) = (Location::memory(), Collected::new());
        let calls = AtomicU64::new(0);
        let sink = Hooked::new(&collected, move |at, _| {
            let is_due = at == step && {
                let is_single = matches!(step, Step::Begin | Step::Abort | Step::Open);
                calls.fetch_add(1, Ordering::Relaxed) >= if is_single { 0 } else { after }
            };
            if is_due { Err(how()) } else { Ok(()) }
        });
        let started = Instant::now();
        let outcome = count(job(&store, workers), &input, Emit::EachUpdate, &sink, nothing);
        assert!(started.elapsed() < PROMPTLY, "{case}: took {:?}", started.elapsed());
        let error = outcome.expect_err(&case);
        let says = format!("{error:?}");
        assert!(says.contains("on purpose"), "{case}: {says}");
        let blames_sink = matches!(&error, Error::Sink { uid, .. } if uid == "counts");
        assert!(blames_sink || matches!(error, Error::Panicked { .. }), "{case}: {error:?}");
        count(job(&store, 2), &input, Emit::EachUpdate, &collected, nothing).unwrap();
        check_updates(collected.records(), &input, &case);
    }
}

#[test]
fn a_sink_that_fails_ends_the_run_and_the_next_one_goes_on() {
    for step in [
        Step::Begin,
        Step::Abort,
        Step::Open,
        Step::Write,
        Step::Prepare,
        Step::Finish,
        Step::Commit,
    ] {
        sink_goes_wrong(step, || "fails on purpose".into());
    }
}

#[test]
fn regression_a_sink_that_panics_anywhere_ends_the_run() {
    for step in [
        Step::Begin,
        Step::Abort,
        Step::Open,
        Step::Write,
        Step::Prepare,
        Step::Finish,
        Step::Commit,
    ] {
        sink_goes_wrong(step, || panic!("panics on purpose"));
    }
}

#[test]
fn a_panicking_operator_ends_the_run_on_all_workers() {
    let input = input(20_000);
    for workers in 1..=4 {
        for at in [0, 3_000, 19_999] {
            let case = format!("{workers} workers, at record {at}");
            let (store, collected) = (Location::memory(), Collected::new());
            let panics = move |_: &Run, n: u64| assert!(n != at, "on purpose");
            let started = Instant::now();
            let error = count(job(&store, workers), &input, Emit::EachUpdate, &collected, panics)
                .unwrap_err();
            assert!(started.elapsed() < PROMPTLY, "{case}: took {:?}", started.elapsed());
            match error {
                Error::Panicked { worker, message } => {
                    assert!(
                        worker < workers && message.contains("on purpose"),
                        "{case}: {message}"
                    );
                }
                error => panic!("{case}: {error:?}"),
            }
            count(job(&store, 2), &input, Emit::EachUpdate, &collected, nothing).unwrap();
            check_updates(collected.records(), &input, &case);
        }
    }
}

/// Numbers that cannot be discovered, opened, or read beyond some place.
#[derive(Clone)]
struct BadSource {
    inner: VecSource<u64>,
    fails_at: &'static str,
}

struct BadReader {
    inner: <VecSource<u64> as Source>::Reader,
    fails: bool,
    reads: u64,
}

impl Source for BadSource {
    type Item = u64;
    type Split = <VecSource<u64> as Source>::Split;
    type Offset = <VecSource<u64> as Source>::Offset;
    type Reader = BadReader;

    fn discover(
        &self,
        known: &[NamedSplit<Self::Split>],
    ) -> Result<Vec<NamedSplit<Self::Split>>, BoxError> {
        if self.fails_at == "discover" {
            return Err("fails on purpose".into());
        }
        self.inner.discover(known)
    }

    fn open(
        &self,
        split: &Self::Split,
        offset: Option<Self::Offset>,
    ) -> Result<BadReader, BoxError> {
        if self.fails_at == "open" {
            return Err("fails on purpose".into());
        }
        let inner = self.inner.open(split, offset)?;
        Ok(BadReader { inner, fails: self.fails_at == "read", reads: 0 })
    }
}

impl SplitReader for BadReader {
    type Item = u64;
    type Offset = <VecSource<u64> as Source>::Offset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<u64>) -> Result<ReadStatus, BoxError> {
        self.reads += 1;
        if self.fails && self.reads > 3 {
            return Err("fails on purpose".into());
        }
        self.inner.read(limit, out)
    }

    fn offset(&self) -> Self::Offset {
        self.inner.offset()
    }
}

#[test]
fn a_source_that_fails_ends_the_run_and_the_next_one_goes_on() {
    let input = input(40_000);
    for fails_at in ["discover", "open", "read"] {
        for workers in [1, 3] {
            let case = format!("{fails_at} with {workers} workers");
            let (store, collected) = (Location::memory(), Collected::new());
            let bad = BadSource { inner: VecSource::splits(input.clone()), fails_at };
            let sink = collected.clone();
            let started = Instant::now();
            let outcome = job(&store, workers).execute(move |flow| {
                let numbers = flow.source("numbers", bad.clone());
                numbers.key_by(|key| *key).count("count").sink("counts", sink.clone());
            });
            assert!(started.elapsed() < PROMPTLY, "{case}: took {:?}", started.elapsed());
            let error = outcome.expect_err(&case);
            let is_ours = matches!(&error, Error::Source { uid, .. } if uid == "numbers");
            assert!(is_ours, "{case}: {error:?}");
            count(job(&store, 2), &input, Emit::EachUpdate, &collected, nothing).unwrap();
            check_updates(collected.records(), &input, &case);
        }
    }
}

#[test]
fn runs_that_die_one_after_the_other_leave_the_output_exact() {
    let input = input(40_000);
    for emit in ALL {
        let (store, collected) = (Location::memory(), Collected::new());
        let (mut deaths, mut restored) = (0_usize, 0);
        loop {
            let case = format!("{emit:?} after {deaths} deaths");
            let at = 3_000 + 1_500 * deaths as u64;
            let dies = move |_: &Run, n: u64| assert!(n != at, "on purpose");
            let job = job(&store, 1 + deaths * 7 % 4);
            match count(job, &input, emit, &collected, dies) {
                Ok(summary) => {
                    restored += 40_000 - summary.records_in;
                    check(emit, collected.records(), &input, &case);
                    break;
                }
                Err(Error::Panicked { .. }) => deaths += 1,
                Err(error) => panic!("{case}: {error:?}"),
            }
            assert!(deaths < 100, "{case}: nothing gets on");
        }
        assert!(deaths > 1, "{emit:?}: {deaths} deaths; {restored} records were not read again");
    }
}

#[test]
fn several_sources_and_sinks_recover_together() {
    let (left, right) = (input(15_000), input(30_000));
    let (store, deaths) = (Location::memory(), AtomicU64::new(0));
    let (of_left, of_right) = (Collected::new(), Collected::new());
    let run = |dies_at: u64| {
        let (left, right) = (VecSource::splits(left.clone()), VecSource::splits(right.clone()));
        let (of_left, of_right) = (of_left.clone(), of_right.clone());
        let seen = Arc::new(AtomicU64::new(0));
        let workers = 1 + (deaths.load(Ordering::Relaxed) % 4) as usize;
        job(&store, workers).execute(move |flow| {
            let seen = Arc::clone(&seen);
            flow.source("left", left.clone())
                .key_by(|key| *key)
                .count("of-left")
                .inspect(move |_| {
                    assert!(seen.fetch_add(1, Ordering::Relaxed) != dies_at, "on purpose");
                })
                .sink("left-counts", of_left.clone());
            flow.source("right", right.clone())
                .key_by(|key| *key)
                .emit(Emit::AtEnd)
                .count("of-right")
                .sink("right-counts", of_right.clone());
        })
    };
    while let Err(error) = run(2_000 + 1_000 * deaths.load(Ordering::Relaxed)) {
        assert!(matches!(error, Error::Panicked { .. }), "{error:?}");
        assert!(deaths.fetch_add(1, Ordering::Relaxed) < 100, "nothing gets on");
    }
    check_updates(of_left.records(), &left, "left");
    check_totals(of_right.records(), &right, "right");
    assert!(deaths.into_inner() > 1);
}

#[test]
fn an_empty_input_finishes() {
    for (splits, workers) in [(vec![], 1), (vec![], 3), (vec![vec![]; 5], 1), (vec![vec![]; 5], 4)]
    {
        for emit in ALL {
            let case = format!("{emit:?}, {} splits, {workers} workers", splits.len());
            let (store, collected) = (Location::memory(), Collected::new());
            let started = Instant::now();
            let summary = count(job(&store, workers), &splits, emit, &collected, nothing).unwrap();
            assert!(started.elapsed() < PROMPTLY, "{case}: took {:?}", started.elapsed());
            assert_eq!((summary.outcome, summary.records_in), (Outcome::Finished, 0), "{case}");
            let again = count(job(&store, 2), &splits, emit, &collected, nothing).unwrap();
            assert_eq!(again.outcome, Outcome::HadFinished, "{case}");
            assert_eq!(collected.records(), [], "{case}");
        }
    }
}

#[test]
fn a_job_that_had_finished_does_nothing() {
    let input = input(10_000);
    for emit in ALL {
        let (store, collected) = (Location::memory(), Collected::new());
        count(job(&store, 2), &input, emit, &collected, nothing).unwrap();
        for workers in 1..=4 {
            let reads = |_: &Run, n: u64| panic!("record {n} was read again");
            let summary = count(job(&store, workers), &input, emit, &collected, reads).unwrap();
            assert_eq!((summary.outcome, summary.records_out), (Outcome::HadFinished, 0));
            assert_eq!(summary.checkpoints, 0);
            check(emit, collected.records(), &input, &format!("{emit:?}"));
        }
    }
}

/// The stop comes while a sink that takes a millisecond for each batch is far behind: what is in
/// flight is written, and not all of the input.
#[test]
fn a_stop_does_not_wait_for_the_input_of_a_slow_sink() {
    let input = input(2_000_000);
    let (store, collected) = (Location::memory(), Collected::new());
    let sink = Hooked::new(&collected, |step, _| {
        if step == Step::Write {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });
    let asked = Arc::new(Mutex::new(None));
    let when = Arc::clone(&asked);
    let stop = move |run: &Run, n: u64| {
        if n == 20_000 {
            run.control().request_stop();
            *when.lock().unwrap() = Some(Instant::now());
        }
    };
    let summary = count(job(&store, 2), &input, Emit::EachUpdate, &sink, stop).unwrap();
    let took = asked.lock().unwrap().unwrap().elapsed();
    assert!(took < PROMPTLY, "took {took:?}");
    assert_eq!(summary.outcome, Outcome::Stopped);
    assert!(summary.records_in < 1_000_000, "{summary:?}");
    assert_eq!(collected.records().len() as u64, summary.records_in);
}

/// The input has ended, the last checkpoint is complete, and while it is committed somebody asks for
/// a stop: nothing is left to resume.
#[test]
fn regression_a_stop_after_the_end_of_the_input_is_no_stop() {
    let (input, store, collected) = (input(1_000), Location::memory(), Collected::new());
    let running: Arc<Mutex<Option<Arc<Run>>>> = Arc::default();
    let to_stop = Arc::clone(&running);
    let sink = Hooked::new(&collected, move |step, _| {
        if let (Step::Commit, Some(run)) = (step, &*to_stop.lock().unwrap()) {
            run.control().request_stop();
        }
        Ok(())
    });
    let source = VecSource::splits(input.clone());
    let job = job(&store, 2).checkpoint_interval(Duration::from_secs(3600));
    let summary = job.execute(move |flow| {
        *running.lock().unwrap() = Some(Arc::clone(flow.checkpoints().run()));
        let numbers = flow.source("numbers", source.clone());
        numbers.key_by(|key| *key).count("count").sink("counts", sink.clone());
    });
    assert_eq!(summary.unwrap().outcome, Outcome::Finished);
    check_updates(collected.records(), &input, "stopped after the end");
}

/// The part of the signal tests that runs in a process of its own.
#[test]
fn child() {
    let Ok(role) = std::env::var("RECOVERY_CHILD") else { return };
    let args = highwater::JobArgs {
        checkpoint_dir: std::env::var("RECOVERY_DIR").ok(),
        checkpoint_interval: Duration::from_millis(20),
        quiet: true,
        ..highwater::JobArgs::default()
    };
    let (source, announced) =
        (VecSource::splits(input(1_000_000)), Arc::new(AtomicBool::new(false)));
    let outcome = Job::with_args("signals", args).execute(move |flow| {
        let (role, announced) = (role.clone(), Arc::clone(&announced));
        flow.source("numbers", source.clone())
            .inspect(move |_| {
                if !announced.swap(true, Ordering::Relaxed) {
                    println!("\nreading");
                }
                match role.as_str() {
                    "stuck" => loop {
                        std::thread::park();
                    },
                    // Ten seconds in all: the signal comes before the end.
                    _ => std::thread::sleep(Duration::from_micros(10)),
                }
            })
            .key_by(|key| *key)
            .emit(Emit::AtEnd)
            .count("count")
            .for_each(drop);
    });
    println!("\noutcome {:?}", outcome.map(|summary| summary.outcome));
}

/// Starts [`child`] and waits until it reads.
fn start_child(role: &str, directory: &std::path::Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recovery::child", "--nocapture"])
        .env("RECOVERY_CHILD", role)
        .env("RECOVERY_DIR", directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.as_mut().unwrap();
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\nreading\n") {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    child
}

fn signal(child: &Child, signal: &str) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// The child's output and exit code, once it has ended.
fn ended(mut child: Child) -> (String, Option<i32>) {
    let mut status = None;
    until("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (text, status.unwrap().code())
}

#[test]
fn sigterm_and_sigint_stop_with_a_checkpoint() {
    for name in ["TERM", "INT"] {
        let directory = tempfile::tempdir().unwrap();
        let child = start_child("slow", directory.path());
        signal(&child, name);
        let (said, code) = ended(child);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("outcome Ok(Stopped)"), "{said}");

        let (collected, input) = (Collected::new(), input(1_000_000));
        let (source, sink) = (VecSource::splits(input.clone()), collected.clone());
        let job = Job::new("signals").quiet().workers(2);
        let job = job.checkpoint_dir(directory.path().to_str().unwrap());
        let summary = job
            .execute(move |flow| {
                flow.source("numbers", source.clone())
                    .key_by(|key| *key)
                    .emit(Emit::AtEnd)
                    .count("count")
                    .sink("counts", sink.clone());
            })
            .unwrap();
        assert!(summary.records_in < 1_000_000, "{name}: {summary:?}");
        check_totals(collected.records(), &input, name);
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = start_child("stuck", directory.path());
    // Whether the first has arrived shows only in that the second ends the process, and two that
    // are pending at once count as one: the second is sent until it does.
    signal(&child, "INT");
    until("the process ends", || {
        signal(&child, "INT");
        std::thread::sleep(Duration::from_millis(1));
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(ended(child).1, Some(130));
}
