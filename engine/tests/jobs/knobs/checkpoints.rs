//! When checkpoints are taken, how long they may take, which are kept, and what they promise.

#![expect(clippy::disallowed_methods, reason = "waits for jobs, and measures pauses")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use highwater::checkpoint::Error as CheckpointError;
use highwater::checkpoint::run::Run;
use highwater::checkpoint::state::{KeyGroups, stable_hash};
use highwater::checkpoint::store::{Location, layout};
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::testing::{CollectSink, VecSource};
use highwater::{CheckpointMode, Error, Retention};
use timely::dataflow::operators::Inspect;

use super::super::trickle::Trickle;
use super::super::waiting::{PATIENCE, until};
use super::{ENDLESS, Endless, Running, after, by_interval, job, ms, names, run, run_with};

#[test]
fn checkpoint_interval() {
    let store = Location::memory();
    run(job(&store).checkpoint_interval(ms(60)).retain(100), after(8));
    let all = by_interval(&store);
    assert!(all.len() >= 8, "{} in time", all.len());
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
        job(&Location::memory()).checkpoint_timeout(ms(300)).tolerable_failed_checkpoints(1000);
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

/// Bytes that folds have written when one key of five has changed in ten checkpoints, which is less
/// than is a reason to fold by itself; with `is_enough`, which ends the job.
fn folded(fold_bytes_min: u64, is_enough: fn(&Run) -> bool) -> u64 {
    let running = Running::default();
    let of_source = Arc::clone(&running);
    let started = Instant::now();
    let source = Trickle::paced(
        VecSource::new((0..1000_u64).map(|n| if n < 5 { n } else { 0 }).collect::<Vec<_>>()),
        move |_, read| {
            let Some(run) = of_source.lock().unwrap().clone() else { return Ok(0) };
            assert!(started.elapsed() < PATIENCE, "waited in vain: {:?}", run.status());
            if is_enough(&run) {
                run.control().request_stop();
            }
            let is_next = read < 15 && run.status().completed() > read as u64;
            Ok(if read == 0 { 5 } else { usize::from(is_next) })
        },
    );
    let to_running = Arc::clone(&running);
    let job = job(&Location::memory()).fold_bytes_min(fold_bytes_min);
    job.run(move |flow| {
        *to_running.lock().unwrap() = Some(Arc::clone(flow.checkpoints().run()));
        flow.source("numbers", source.clone()).key_by(|n| *n).count("count").for_each(drop);
    })
    .unwrap();
    let run = running.lock().unwrap().take().unwrap();
    run.status().bytes_folded()
}

#[test]
fn fold_bytes_min() {
    assert!(folded(0, |run| run.status().bytes_folded() > 0) > 0);
    assert_eq!(folded(u64::MAX, |run| run.status().completed() > 25), 0);
}
