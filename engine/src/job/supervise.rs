//! Runs a job until it ends: when it fails it is started again, if its strategy says so.
//!
//! ```text
//!   open --> run --> finished, stopped: done
//!     ^       |
//!     |       +-- failed --> may it pass? --> is the limit reached? --> pause --> open again
//!     +---------------------------------------------------------------------+
//! ```
//!
//! A run that has failed leaves nothing behind that works: its workers are joined, its operators
//! dropped, and what it has under way for the store ends by itself, fenced by the run after it.

#![expect(clippy::disallowed_methods, reason = "measures how long the job takes")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_checkpoint::ErrorKind;
use highwater_checkpoint::metadata::CheckpointId;
use highwater_checkpoint::policy::Retention;
use highwater_checkpoint::run::{Run, RunOptions, StateSize};

use super::report::{Outcome, Reporter, Summary};
use super::restart::{RestartStrategy, Restarts, Verdict};
use super::runtime::{Build, run_workers};
use super::stop::Stop;
use super::{Shared, SoFar};
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// See the module.
pub(super) struct Supervisor {
    pub(super) options: RunOptions,
    pub(super) restarts: Restarts,
    pub(super) build: Arc<Build>,
    pub(super) stop: Arc<Stop>,
    pub(super) quiet: bool,
    pub(super) metrics: Arc<Metrics>,
    pub(super) so_far: SoFar,
    /// The last run that was opened.
    pub(super) last: Option<Arc<Run>>,
    /// Whether any run has come to its first epoch.
    pub(super) has_begun: bool,
    /// The newest checkpoint that is known to be complete, of all runs that have begun.
    pub(super) newest: Option<CheckpointId>,
    pub(super) down_since: Option<Instant>,
}

impl Supervisor {
    /// Runs the job to its end.
    pub(super) fn run(mut self) -> Result<Summary> {
        let started = Instant::now();
        loop {
            let began = started.elapsed();
            let error = match self.attempt() {
                Ok(shared) => return self.end(&shared, started.elapsed()),
                Err(error) => error,
            };
            self.down_since.get_or_insert_with(Instant::now);
            if !self.may_pass(&error) || self.stop.is_asked() {
                return Err(error);
            }
            let pause = match self.restarts.failed(began, started.elapsed(), random()) {
                Verdict::After(pause) => pause,
                Verdict::Never => return Err(self.give_up(error, started.elapsed())),
            };
            self.so_far.restarts += 1;
            let restart = self.so_far.restarts;
            tracing::warn!(?error, restart, ?pause, "the job has failed and is started again");
            if self.stop.wait(pause) {
                return Ok(self.stopped(started.elapsed()));
            }
        }
    }

    /// One run, from its beginning to its end.
    fn attempt(&mut self) -> Result<Arc<Shared>> {
        let run = match &self.last {
            None => Run::open(self.options.clone())?,
            Some(last) => last.reopen(self.newest)?,
        };
        self.last = Some(Arc::clone(&run));
        if let Some(id) = run.restored() {
            tracing::info!(checkpoint = id.0, epoch = run.start().epoch.0, "restored");
        }
        self.metrics.forget_progress();
        let so_far = self.so_far.clone();
        let shared = Arc::new(Shared::new(Arc::clone(&run), Arc::clone(&self.metrics), so_far));
        self.stop.watch(Arc::clone(&run));
        let report = || Reporter::start(Arc::clone(&shared));
        let reporter = (!self.quiet).then(report).transpose();
        let reporter = reporter.map_err(|error| Error::Start(error.to_string()))?;
        let outcome = run_workers(&shared, Arc::clone(&self.build));
        drop(reporter);
        self.stop.release();
        if run.has_begun() {
            self.has_begun = true;
            self.newest = self.newest.max(run.newest_checkpoint());
        }
        run.withdraw_unless_begun();
        self.count(&shared);
        outcome.map(|()| shared)
    }

    /// Takes up what a run has done that is over.
    fn count(&mut self, shared: &Shared) {
        self.so_far.add(&run_so_far(&shared.run));
        if let (Some(since), Some(up)) = (self.down_since, shared.began_at()) {
            self.so_far.downtime += up.saturating_duration_since(since);
            self.down_since = None;
        }
    }

    /// Whether it may help to start again. What is wrong before the job's first record is mostly a
    /// mistake, but for a store that does not answer.
    fn may_pass(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Retry | ErrorKind::Reconcile | ErrorKind::Restart => {
                let is_away = matches!(error, Error::Checkpoint(error) if error.may_pass());
                self.has_begun || is_away
            }
            _ => false,
        }
    }

    fn give_up(&self, error: Error, elapsed: Duration) -> Error {
        let strategy = self.restarts.strategy();
        if strategy == RestartStrategy::None {
            return error;
        }
        let restarts = self.so_far.restarts;
        Error::GaveUp { restarts, elapsed, strategy, last: Box::new(error) }
    }

    fn end(mut self, shared: &Shared, elapsed: Duration) -> Result<Summary> {
        let run = &shared.run;
        let outcome = if run.start().input_ended && self.so_far.restarts == 0 {
            Outcome::HadFinished
        } else if run.control().has_drained() {
            Outcome::Drained
        } else if run.control().is_stopping() && !run.control().has_input_ended() {
            Outcome::Stopped
        } else {
            Outcome::Finished
        };
        let is_cancelled = outcome == Outcome::Stopped
            && run.options().policy.retention == Retention::DeleteOnCancellation;
        if is_cancelled {
            run.delete_checkpoints()?;
            self.so_far.last = None;
            tracing::info!("the job's checkpoints are deleted");
        }
        let state = run.status().state();
        Ok(Summary::of(run.job(), outcome, elapsed, &self.metrics, state, &self.so_far))
    }

    /// A stop came while no run was under way: there is nothing to stop.
    fn stopped(mut self, elapsed: Duration) -> Summary {
        if let Some(since) = self.down_since {
            self.so_far.downtime += since.elapsed();
        }
        let (job, state) = (self.options.job.clone(), StateSize::default());
        Summary::of(&job, Outcome::Stopped, elapsed, &self.metrics, state, &self.so_far)
    }
}

fn run_so_far(run: &Run) -> SoFar {
    let status = run.status();
    SoFar {
        restarts: 0,
        downtime: Duration::ZERO,
        completed: status.completed(),
        failed: status.failed(),
        bytes_written: status.bytes_written(),
        stall_us_max: status.stall_us_max(),
        durations_ms: status.durations_ms(),
        last: status.last(),
    }
}

impl SoFar {
    /// Adds what a later run has done.
    fn add(&mut self, later: &SoFar) {
        self.completed += later.completed;
        self.failed += later.failed;
        self.bytes_written += later.bytes_written;
        self.stall_us_max = self.stall_us_max.max(later.stall_us_max);
        self.durations_ms.extend(&later.durations_ms);
        self.last = later.last.or(self.last);
    }
}

/// At least 0, below 1: the standard library seeds its hash maps from the system's randomness.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
