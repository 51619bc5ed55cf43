//! The sides of a comparison: a job of the engine, a dataflow of timely's, a plain loop. Each does the
//! same work, and sums its rows.

use std::sync::Arc;
use std::time::Duration;

use highwater::{Flow, Job, Summary};
use timely::dataflow::Scope;

use crate::digest::{Digest, Shared};
use crate::measure::Measured;
use crate::rounds::Run;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The loop without any dataflow, on one thread.
pub(crate) const LOOP: &str = "loop";
/// The dataflow written by hand.
pub(crate) const TIMELY: &str = "timely";
/// The engine without checkpoints.
pub(crate) const ENGINE: &str = "engine";
/// The engine with checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// What all sides work on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Name of the job.
    pub(crate) name: &'static str,
    pub(crate) records: u64,
    pub(crate) workers: usize,
}

impl Work {
    /// Runs a job, with a checkpoint each `interval` if there is one. No record may be late.
    pub(crate) fn engine(
        &self,
        interval: Option<Duration>,
        build: impl for<'s> Fn(&Flow<'s>, Digest) + Send + Sync + 'static,
    ) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let mut job = Job::new(self.name).workers(self.workers).quiet();
        if let Some(interval) = interval {
            job = job.checkpoint_interval(interval).checkpoint_dir(folder.path().to_string_lossy());
        }
        let shared = Arc::new(Shared::default());
        let summed = Arc::clone(&shared);
        let (measured, summary) = Measured::of(self.records, || -> Result<Summary> {
            let summary = job.execute(move |flow| build(flow, Digest::new(Arc::clone(&summed))))?;
            match summary.late.iter().find(|(_, late)| late.dropped > 0) {
                Some((uid, late)) => {
                    Err(format!("{late} at {uid:?}, though all are in order").into())
                }
                None => Ok(summary),
            }
        })?;
        let run = Run::new(measured, self.workers, shared.totals());
        Ok(Run { interval, summary: Some(summary), ..run })
    }

    pub(crate) fn timely_config(&self) -> timely::Config {
        match self.workers {
            1 => timely::Config::thread(),
            workers => timely::Config::process(workers),
        }
    }

    /// Runs a dataflow of timely's.
    pub(crate) fn timely(
        &self,
        build: impl for<'s> Fn(Scope<'s, u64>, Digest) + Send + Sync + 'static,
    ) -> Result<Run> {
        let config = self.timely_config();
        let shared = Arc::new(Shared::default());
        let summed = Arc::clone(&shared);
        let (measured, ()) = Measured::of(self.records, || -> Result<()> {
            let guards = timely::execute(config, move |worker| {
                let digest = Digest::new(Arc::clone(&summed));
                worker.dataflow::<u64, _, _>(|scope| build(scope, digest));
            })?;
            for outcome in guards.join() {
                outcome?;
            }
            Ok(())
        })?;
        Ok(Run::new(measured, self.workers, shared.totals()))
    }

    /// Runs a loop on this thread: what a core does when nothing is in its way.
    pub(crate) fn plain(&self, work: impl FnOnce(&mut Digest)) -> Result<Run> {
        let shared = Arc::new(Shared::default());
        let mut digest = Digest::new(Arc::clone(&shared));
        let (measured, ()) = Measured::of(self.records, move || -> Result<()> {
            work(&mut digest);
            Ok(())
        })?;
        Ok(Run::new(measured, 1, shared.totals()))
    }
}
