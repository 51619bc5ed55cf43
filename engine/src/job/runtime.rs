//! The workers' loop: build the dataflow, step until the run is over, leave nothing running.

#![expect(clippy::disallowed_methods, reason = "notes when a run begins")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use highwater_checkpoint::Moment;
use timely::worker::Worker;

use super::Shared;
use crate::error::{Error, Result, unbox};
use crate::stream::Flow;

/// How long a worker sleeps at most when it has nothing to do. Whatever it waits for wakes it;
/// this bounds the harm of a wake-up that is lost.
const PARK: Duration = Duration::from_millis(100);

/// Between two looks whether the other workers are ready.
const BUILD_PARK: Duration = Duration::from_millis(1);

/// Builds a dataflow, on each worker.
pub(super) type Build = dyn for<'scope> Fn(&Flow<'scope>) + Send + Sync;

/// Runs the dataflow on all workers until the run is over.
pub(super) fn run_workers(shared: &Arc<Shared>, build: Arc<Build>) -> Result<()> {
    let config = match shared.run.workers() {
        1 => timely::Config::thread(),
        workers => timely::Config::process(workers),
    };
    let for_workers = Arc::clone(shared);
    let guards = timely::execute(config, move |worker| work(worker, &for_workers, &build));
    let guards = guards.map_err(Error::Start)?;
    for (worker, outcome) in guards.join().into_iter().enumerate() {
        if let Err(message) = outcome {
            shared.run.control().fail(Error::Panicked { worker, message });
        }
    }
    outcome(shared)
}

/// How the run has ended, all workers having left.
pub(super) fn outcome(shared: &Shared) -> Result<()> {
    match shared.run.control().take_failure() {
        None => Ok(()),
        // Whatever went wrong in a run that has been replaced went wrong because of that.
        Some(error) => Err(shared.run.fenced().map_or_else(|| unbox(error), Error::from)),
    }
}

fn work(worker: &mut Worker, shared: &Arc<Shared>, build: &Arc<Build>) {
    let control = shared.run.control();
    control.register_thread();
    let index = worker.index();
    // A panic must not leave the other workers waiting for this one for ever, as it does in timely.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        start(worker, shared, build, || wait_for_others(shared))?;
        wait_for_setup(shared);
        while !control.is_over() {
            worker.step_or_park(Some(PARK));
        }
        Ok::<(), Error>(())
    }));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => control.fail(error),
        Err(panic) => control.fail(Error::Panicked { worker: index, message: message(&*panic) }),
    }
    leave(worker);
}

/// Leaves nothing running on a worker.
pub(super) fn leave(worker: &mut Worker) {
    for dataflow in worker.installed_dataflows() {
        let dropped = catch_unwind(AssertUnwindSafe(|| worker.drop_dataflow(dataflow)));
        if dropped.is_err() {
            tracing::debug!(worker = worker.index(), "dropping the dataflow panicked");
        }
    }
}

/// Waits until all workers have built their dataflows, and so loaded their state, or one has failed.
fn wait_for_others(shared: &Shared) {
    let run = &shared.run;
    while shared.built.load(Ordering::Acquire) < run.workers() && !run.control().is_over() {
        std::thread::park_timeout(BUILD_PARK);
    }
}

/// Waits until worker 0 has done what comes before the first record. Sources wait for that as well, but
/// what was in flight goes on at once, requests that are asked again for instance: a sink that wrote of it
/// before older output was discarded would lose what it wrote.
fn wait_for_setup(shared: &Shared) {
    let control = shared.run.control();
    while !control.is_ready() && !control.is_over() {
        std::thread::park_timeout(BUILD_PARK);
    }
}

/// Builds the dataflow; on worker 0 also does what has to be done before the first record.
///
/// That is not to begin before the others have been waited for: it discards what older runs left, and
/// a start that fails, for a segment is damaged for instance, should change nothing.
pub(super) fn start(
    worker: &mut Worker,
    shared: &Arc<Shared>,
    build: &Arc<Build>,
    wait_for_others: impl FnOnce(),
) -> Result<()> {
    let setup = worker.dataflow::<Moment, _, _>(|scope| {
        let flow = Flow::new(scope, Arc::clone(shared));
        build(&flow);
        flow.finish()
    })?;
    if shared.run.is_planned() {
        // It has been built, which was all.
        shared.run.control().set_finished();
        return Ok(());
    }
    shared.built.fetch_add(1, Ordering::AcqRel);
    if worker.index() != 0 {
        return Ok(());
    }
    wait_for_others();
    if shared.run.control().has_failed() {
        return Ok(());
    }
    for step in setup {
        step()?;
    }
    // A run has begun once.
    let _ = shared.began_at.set(Instant::now());
    let control = shared.run.control();
    if shared.run.start().input_ended {
        // What its sinks had prepared is committed now, and that was all that was left.
        control.set_finished();
    } else {
        control.set_ready();
    }
    Ok(())
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
