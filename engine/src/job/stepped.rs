//! A job whose workers are stepped by hand, all on the thread of who steps them: for simulations.

use std::sync::Arc;

use highwater_checkpoint::run::{Executor, Run};
use timely::communication::Allocator;
use timely::worker::Worker;

use super::runtime::{Build, leave, outcome, start};
use super::{Job, Outcome, Shared, SoFar};
use crate::error::{Error, Result};
use crate::stream::Flow;

/// A job that does nothing but when it is told to.
///
/// Workers do not park, and what asks to be scheduled after a while is scheduled in the next step:
/// whatever waits for time looks at the clock of the [`Executor`]. A run that fails is not started
/// again.
pub struct SteppedJob {
    shared: Arc<Shared>,
    build: Arc<Build>,
    workers: Vec<Stepped>,
}

struct Stepped {
    worker: Worker,
    has_started: bool,
}

impl Job {
    /// Begins a run whose tasks are those of `executor`, and builds nothing yet.
    ///
    /// # Errors
    ///
    /// As [`run`](Job::run).
    pub fn stepped<F>(self, executor: Executor, build: F) -> Result<SteppedJob>
    where
        F: for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static,
    {
        let (options, _strategy) = self.options()?;
        let run = Run::open_on(executor, options)?;
        let workers = allocators(run.workers())?.into_iter().map(|allocator| {
            // Without a timer, delays are none.
            let worker = Worker::new(timely::WorkerConfig::default(), allocator, None);
            Stepped { worker, has_started: false }
        });
        let workers = workers.collect();
        let shared = Arc::new(Shared::new(run, Arc::default(), SoFar::default()));
        Ok(SteppedJob { shared, build: Arc::new(build), workers })
    }
}

impl SteppedJob {
    /// The run.
    pub fn run(&self) -> &Arc<Run> {
        &self.shared.run
    }

    /// Lets a worker, from 0, do what it has to do now; its first step builds the dataflow.
    ///
    /// # Panics
    ///
    /// If the worker panics, or there is none of this number.
    pub fn step(&mut self, worker: usize) {
        let control = self.shared.run.control();
        if control.is_over() {
            return;
        }
        let Stepped { worker, has_started } = &mut self.workers[worker];
        if *has_started {
            if control.is_ready() {
                worker.step();
            }
            return;
        }
        *has_started = true;
        if let Err(error) = start(worker, &self.shared, &self.build, || ()) {
            control.fail(error);
        }
    }

    /// Whether there is nothing left to do for the workers, or the run has failed.
    pub fn is_over(&self) -> bool {
        self.shared.run.control().is_over()
    }

    /// Ends the run, which is over, and says how.
    ///
    /// # Errors
    ///
    /// As [`run`](Job::run).
    pub fn finish(mut self) -> Result<Outcome> {
        self.leave();
        let outcome = outcome(&self.shared);
        let run = &self.shared.run;
        run.withdraw_unless_begun();
        outcome.map(|()| {
            if run.start().input_ended {
                Outcome::HadFinished
            } else if run.control().is_stopping() && !run.control().has_input_ended() {
                Outcome::Stopped
            } else {
                Outcome::Finished
            }
        })
    }

    fn leave(&mut self) {
        for stepped in &mut self.workers {
            leave(&mut stepped.worker);
        }
    }
}

/// Drops the dataflows where they are, as the death of the process would.
impl Drop for SteppedJob {
    fn drop(&mut self) {
        self.leave();
    }
}

impl std::fmt::Debug for SteppedJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SteppedJob").field("run", &self.shared.run).finish_non_exhaustive()
    }
}

/// An allocator on its way from the thread that has made it.
struct Carried(Allocator);

// SAFETY: an allocator is made of channels, which are `Send`, and of `Rc`s. It leaves its thread
// right after it was made, before any of these was cloned to where it could stay behind, and that
// thread has ended when the allocator is used again.
#[expect(unsafe_code, reason = "timely makes allocators on the threads that it starts, only")]
unsafe impl Send for Carried {}

/// Connected allocators. Each waits for all others while it is made, so threads make them.
fn allocators(workers: usize) -> Result<Vec<Allocator>> {
    let config = timely::CommunicationConfig::Process(workers);
    let made = timely::communication::initialize(config, Carried).map_err(Error::Start)?;
    made.join().into_iter().map(|made| Ok(made.map_err(Error::Start)?.0)).collect()
}
